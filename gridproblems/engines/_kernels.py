"""Compiled loops over the arrays of a `CompiledModel`: parameters in, state rows out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled, compiled_in_place
from gridproblems.state import FloatArray

ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

WHOLE, FROM_END, TO_END = 0, 1, 2
#: How far a voltage that a machine holds may be from its set-point.
SAME_PU = 1e-9


class Arrays(NamedTuple):
    """What the loops need of a compiled model; complex powers are in MVA, admittances in p.u.

    The parameter vector of a power flow holds one value per member of each of the sections of
    `_compiled.SECTIONS`, one section after the other; ``sections`` has the start of each and the
    end of the last.
    """

    base_mva: float
    v_start_pu: ComplexArray  # where Newton starts in the base case
    s_fixed_mva: ComplexArray
    demand_fixed_mva: ComplexArray
    shunt_fixed_pu: ComplexArray
    zip_share: FloatArray  # (n_model_buses, 4) of demand: constant z, i of p, of q; or none
    branch_from: IntArray
    branch_to: IntArray
    branch_y_pu: ComplexArray  # (n_branches, 4): yff, yft, ytf, ytt
    # what settings change
    sections: IntArray
    setpoint_bus: IntArray
    mean_start_bus: IntArray  # buses that start at the mean set-point of all machines
    n_machines: int  # how many machines that mean is over
    mean_start_pu: float  # that mean in the base case
    setpoint_base_pu: FloatArray
    injection_bus: IntArray
    injection_sign: FloatArray
    injection_is_machine: NDArray[np.bool_]
    shunt_bus: IntArray
    shunt_y_pu: FloatArray  # p.u. per MW or Mvar
    tap_first: IntArray  # lowest position of each tap changer
    tap_count: IntArray
    tap_branch: IntArray  # branches that follow a tap changer (three for a trafo3w)
    tap_changer: IntArray  # the tap changer each of them follows
    tap_row: IntArray  # where its rows start in the table
    tap_y_pu: ComplexArray  # (n_rows, 4)
    status_branch: IntArray
    status_end: IntArray  # WHOLE, FROM_END or TO_END of the branch that a status connects
    # results: columns of a state row
    row_bus: IntArray  # model bus per row of net.bus, -1 without supply
    branch_loading: FloatArray  # (n_branches, 2) percent per p.u. of current at either end
    branch_loss_column: IntArray  # -1 for branches without result
    branch_loading_column: IntArray
    machine_bus: IntArray
    machine_p_column: IntArray
    machine_q_column: IntArray
    machine_injection: IntArray  # its place among the injections that settings change, else -1
    machine_unit: IntArray  # its place among the units that settings take out, else -1
    machine_limit: IntArray  # its place among the buses with reactive limits, else -1
    machine_p_mw: FloatArray  # scheduled power, 0 for slack machines
    machine_p_share: FloatArray  # share of the slack bus's power, 0 for scheduled machines
    machine_q_mvar: FloatArray
    machine_q_share: FloatArray
    # units: generators that settings take out of service, each alone at its bus
    unit_bus: IntArray
    unit_p_mw: FloatArray  # scheduled power, 0 where it is among the injections of settings
    unit_injection: IntArray  # its place among the injections that settings change, else -1
    unit_setpoint: IntArray  # its place among the set-points that settings change, else -1
    unit_setpoint_pu: FloatArray
    # PV buses whose reactive power is kept within limits, each with a single machine
    limit_bus: IntArray
    limit_min_mvar: FloatArray
    limit_max_mvar: FloatArray


@compiled
def prepare(parameters, a, v, s, demand, y, shunt):  # type: ignore[no-untyped-def]
    """Puts the parameters of one power flow into voltages, injections and admittances.

    Args:
        parameters: The parameter vector.
        a: `Arrays`.
        v, s, demand, shunt: Filled, shape (n_model_buses,): start voltages, injections (both
            p.u.), demand (MVA), shunt admittances (p.u.).
        y: Filled, shape (n_branches, 4): branch admittances. [p.u.]

    Returns:
        Whether every tap position is in the table of its tap changer; branches whose is not keep
        the admittances of the base case.
    """
    p = parameters
    v[:] = a.v_start_pu
    higher = 0.0
    for i in range(len(a.setpoint_bus)):
        b = a.setpoint_bus[i]
        v[b] = v[b] / abs(v[b]) * p[a.sections[0] + i]
        higher += p[a.sections[0] + i] - a.setpoint_base_pu[i]
    if higher != 0.0:
        for b in a.mean_start_bus:
            v[b] *= 1.0 + higher / (a.n_machines * a.mean_start_pu)
    if len(a.unit_bus):
        mean = mean_start(p, a, higher)
        for b in a.mean_start_bus:
            v[b] = v[b] / abs(v[b]) * mean

    s[:] = a.s_fixed_mva
    demand[:] = a.demand_fixed_mva
    for i in range(len(a.injection_bus)):
        injected = (
            a.injection_sign[i]
            * p[a.sections[3] + i]
            * (p[a.sections[1] + i] + 1j * p[a.sections[2] + i])
        )
        s[a.injection_bus[i]] += injected
        if not a.injection_is_machine[i]:
            demand[a.injection_bus[i]] -= injected
    for i in range(len(a.unit_bus)):
        if p[a.sections[9] + i] == 0:
            b = a.unit_bus[i]
            s[b] -= unit_power(p, a, i)
            if len(a.mean_start_bus):
                v[b] = v[b] / abs(v[b]) * mean
    s /= a.base_mva

    shunt[:] = a.shunt_fixed_pu
    for i in range(len(a.shunt_bus)):
        drawn = p[a.sections[4] + i] - 1j * p[a.sections[5] + i]
        shunt[a.shunt_bus[i]] += p[a.sections[6] + i] * drawn * a.shunt_y_pu[i]

    y[:] = a.branch_y_pu
    on_table = True
    for i in range(len(a.tap_branch)):
        changer = a.tap_changer[i]
        position = p[a.sections[7] + changer]
        step = round(position) - a.tap_first[changer]
        if step < 0 or step >= a.tap_count[changer] or position != round(position):
            on_table = False
            continue
        for k in range(4):
            y[a.tap_branch[i], k] = a.tap_y_pu[a.tap_row[i] + step, k]
    for i in range(len(a.status_branch)):
        if p[a.sections[8] + i] == 0:
            open_branch(y[a.status_branch[i]], a.status_end[i])
    return on_table


@compiled_in_place
def mean_start(p, a, higher):  # type: ignore[no-untyped-def]
    """Mean set-point of the machines in service, where ``runpp`` starts buses that none holds.

    Args:
        p: Parameter vector of one power flow.
        a: `Arrays`.
        higher: Sum by which its set-points are above those of the base case.
    """
    n = a.n_machines
    total = n * a.mean_start_pu + higher
    for i in range(len(a.unit_bus)):
        if p[a.sections[9] + i] == 0:
            n -= 1
            place = a.unit_setpoint[i]
            total -= p[a.sections[0] + place] if place >= 0 else a.unit_setpoint_pu[i]
    return total / n


@compiled_in_place
def unit_power(p, a, i):  # type: ignore[no-untyped-def]
    """Active power that a unit is scheduled to inject, by the parameter vector. [MW]"""
    k = a.unit_injection[i]
    return p[a.sections[1] + k] * p[a.sections[3] + k] if k >= 0 else a.unit_p_mw[i]


@compiled
def open_branch(y, end):  # type: ignore[no-untyped-def]
    """Takes a branch out of service, or opens it at one end: the other end still charges it.

    An end that is open already may be opened again.
    """
    yff, yft, ytf, ytt = y
    if end == WHOLE:
        y[:] = 0
    elif end == TO_END:
        if yft != 0:
            y[0] = yff - yft * ytf / ytt if ytt != 0 else 0
        y[1:] = 0
    else:
        if yft != 0:
            y[3] = ytt - ytf * yft / yff if yff != 0 else 0
        y[:3] = 0


@compiled
def read_results(row, v, demand, parameters, y, shunt, a):  # type: ignore[no-untyped-def]
    """Fills the row of a state from solved voltages; its order is that of `QUANTITIES`.

    Args:
        row: Filled, shape (layout.n_values,).
        v: Solved voltages, NaN where there is no supply. [p.u.]
        demand, parameters, y, shunt: Of this power flow, as `prepare` gives them.
        a: `Arrays`.
    """
    n_rows = len(a.row_bus)
    for i in range(n_rows):
        b = a.row_bus[i]
        row[i] = magnitude(v[b]) if b >= 0 else np.nan
        row[n_rows + i] = np.angle(v[b]) * 180.0 / np.pi if b >= 0 else np.nan
    row[2 * n_rows :] = 0.0

    current = shunt * v
    for i in range(len(a.branch_from)):
        f, t = a.branch_from[i], a.branch_to[i]
        if y[i, 0] == 0 and y[i, 3] == 0:
            continue
        i_from = i_to = 0j
        if y[i, 0] != 0:
            i_from += y[i, 0] * v[f]
        if y[i, 3] != 0:
            i_to += y[i, 3] * v[t]
        if y[i, 1] != 0:
            i_from += y[i, 1] * v[t]
            i_to += y[i, 2] * v[f]
        current[f] += i_from
        current[t] += i_to
        loss = 0.0
        if y[i, 0] != 0:
            loss += (v[f] * np.conj(i_from)).real
        if y[i, 3] != 0:
            loss += (v[t] * np.conj(i_to)).real
        if np.isnan(loss):  # a branch without supply
            continue
        column = a.branch_loss_column[i]
        if column >= 0:
            row[column] += loss * a.base_mva
        column = a.branch_loading_column[i]
        if column >= 0:
            loading = max(
                magnitude(i_from) * a.branch_loading[i, 0], magnitude(i_to) * a.branch_loading[i, 1]
            )
            row[column] = max(row[column], loading)

    n_machines = len(a.machine_bus)
    for i in range(n_machines):
        p = a.machine_p_mw[i]
        if a.machine_injection[i] >= 0 and a.machine_p_share[i] == 0:
            e = a.machine_injection[i]
            p = parameters[a.sections[1] + e] * parameters[a.sections[3] + e]
        row[a.machine_p_column[i]] = p
    for i in range(n_machines):
        b = a.machine_bus[i]
        total = v[b] * np.conj(current[b]) * a.base_mva + demand[b]
        row[a.machine_q_column[i]] = a.machine_q_mvar[i] + a.machine_q_share[i] * total.imag
        if a.machine_p_share[i] > 0:
            scheduled = 0.0
            for k in range(n_machines):
                if a.machine_bus[k] == b and a.machine_p_share[k] == 0:
                    scheduled += row[a.machine_p_column[k]]
            row[a.machine_p_column[i]] += a.machine_p_share[i] * (total.real - scheduled)
        unit = a.machine_unit[i]
        if unit >= 0 and parameters[a.sections[9] + unit] == 0:
            row[a.machine_p_column[i]] = row[a.machine_q_column[i]] = 0.0


@compiled
def magnitude(z):  # type: ignore[no-untyped-def]
    """Absolute value, without the care for overflow that abs() takes."""
    return np.sqrt(z.real * z.real + z.imag * z.imag)


@compiled
def prepare_all(parameters, a):  # type: ignore[no-untyped-def]
    """`prepare` for every row of parameters: what it returns, and the arrays it fills."""
    n, n_bus, n_branch = len(parameters), len(a.v_start_pu), len(a.branch_from)
    on_table = np.ones(n, dtype=np.bool_)
    v, s, demand, shunt = (
        np.empty((n, n_bus), dtype=np.complex128),
        np.empty((n, n_bus), dtype=np.complex128),
        np.empty((n, n_bus), dtype=np.complex128),
        np.empty((n, n_bus), dtype=np.complex128),
    )
    y = np.empty((n, n_branch, 4), dtype=np.complex128)
    for t in range(n):
        on_table[t] = prepare(parameters[t], a, v[t], s[t], demand[t], y[t], shunt[t])
    return on_table, v, s, demand, y, shunt


@compiled
def assemble(  # type: ignore[no-untyped-def]
    y_all, shunt_all, ybus_fixed, varying_branch, branch_position, diagonal_position
):
    """Data of the admittance matrices, one row per power flow."""
    ybus = np.empty((len(y_all), len(ybus_fixed)), dtype=np.complex128)
    for t in range(len(y_all)):
        y, shunt = y_all[t], shunt_all[t]
        ybus[t] = ybus_fixed
        for b in range(len(shunt)):
            ybus[t, diagonal_position[b]] += shunt[b]
        for i in range(len(varying_branch)):
            b = varying_branch[i]
            for k in range(4):
                ybus[t, branch_position[b, k]] += y[b, k]
    return ybus
