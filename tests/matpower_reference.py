"""MATPOWER's power flow from the matrices of a case, as its manual has it (chapters 3 and 4)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from gridproblems.nets.files.matpower import MatpowerCase

FloatArray = np.ndarray


def admittances(case: MatpowerCase) -> sp.csr_matrix:
    """The bus admittance matrix, equations (3.2), (3.13); rows in the order of the file. [p.u.]"""
    bus, branch = case.bus, case.branch
    row = {int(number): i for i, number in enumerate(bus[:, 0])}
    isolated = set(bus[bus[:, 1] == 4, 0].astype(int))
    n = len(bus)
    entries: dict[tuple[int, int], complex] = {}

    def add(i: int, j: int, y: complex) -> None:
        entries[i, j] = entries.get((i, j), 0.0) + y

    for f, t, r, x, b, _, _, _, tap, shift, status, *_ in branch:
        if not status > 0 or int(f) in isolated or int(t) in isolated:
            continue
        y, tau = 1 / complex(r, x), (tap or 1.0) * np.exp(1j * np.deg2rad(shift))
        i, j = row[int(f)], row[int(t)]
        add(i, i, (y + 0.5j * b) / abs(tau) ** 2)
        add(j, j, y + 0.5j * b)
        add(i, j, -y / tau.conjugate())
        add(j, i, -y / tau)
    for i, (g, b) in enumerate(bus[:, [4, 5]]):
        if bus[i, 1] != 4:
            add(i, i, complex(g, b) / case.base_mva)
    rows, columns = zip(*entries, strict=True)
    return sp.csr_matrix((list(entries.values()), (rows, columns)), shape=(n, n))


def solve(case: MatpowerCase, start: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Voltages of the buses that are not isolated, by Newton's method in polar coordinates.

    Args:
        case: The matrices.
        start: Complex voltages to begin with; None: flat, at the angle of the slack.

    Returns:
        Rows of the bus matrix, and their complex voltages. [p.u.]
    """
    bus, gen, base = case.bus, case.gen, case.base_mva
    kept = np.flatnonzero(bus[:, 1] != 4)
    place = {int(number): i for i, number in enumerate(bus[kept, 0])}
    y_bus = admittances(case)[kept][:, kept].tocsr()
    on = gen[(gen[:, 7] > 0) & np.isin(gen[:, 0], bus[kept, 0])]
    at = np.array([place[int(number)] for number in on[:, 0]])
    power = -(bus[kept, 2] + 1j * bus[kept, 3]) / base
    np.add.at(power, at, (on[:, 1] + 1j * on[:, 2]) / base)
    kinds = bus[kept, 1].copy()
    fed = np.isin(np.arange(len(kept)), at)
    kinds[~fed] = 1
    if not (kinds == 3).any():
        kinds[np.flatnonzero(kinds == 2)[0]] = 3
    slack, pq = np.flatnonzero(kinds == 3), np.flatnonzero(kinds == 1)
    pvpq = np.flatnonzero(kinds != 3)
    v = np.ones(len(kept), complex) if start is None else start[kept].copy()
    if start is None:
        v *= np.exp(1j * np.deg2rad(bus[kept, 8][slack[0]]))
    v[slack] = np.exp(1j * np.deg2rad(bus[kept, 8][slack]))
    for i, vm in zip(at, on[:, 5], strict=True):  # the last one holds
        if kinds[i] != 1:
            v[i] *= vm / abs(v[i])
    for _ in range(60):
        current = y_bus @ v
        mismatch = v * current.conj() - power
        residual = np.r_[mismatch[pvpq].real, mismatch[pq].imag]
        if np.abs(residual).max(initial=0.0) < 1e-12:
            return kept, v
        of_v, of_i, unit = sp.diags(v), sp.diags(current), sp.diags(v / abs(v))
        by_angle = 1j * of_v @ (of_i - y_bus @ of_v).conj()
        by_size = of_v @ (y_bus @ unit).conj() + of_i.conj() @ unit
        jacobian = sp.bmat(
            [
                [by_angle[pvpq][:, pvpq].real, by_size[pvpq][:, pq].real],
                [by_angle[pq][:, pvpq].imag, by_size[pq][:, pq].imag],
            ]
        ).tocsc()
        step = spsolve(jacobian, residual)
        angle, size = np.angle(v), np.abs(v)
        angle[pvpq] -= step[: len(pvpq)]
        size[pq] -= step[len(pvpq) :]
        v = size * np.exp(1j * angle)
        if np.abs(residual).max() < 1e-9:  # as near as rounding lets it come
            return kept, v
    raise RuntimeError("the reference power flow does not converge")
