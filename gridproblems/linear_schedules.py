"""Schedules of storages that are best where the grid is linear, for searches to start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_array, diags_array, eye_array, hstack

from gridproblems.controls.block import PlacedBlock
from gridproblems.controls.schedules import ScheduleBlock
from gridproblems.linear_states import Pieces
from gridproblems.state import FloatArray


def linear_schedules(
    x: FloatArray, pieces: Pieces, placed: Sequence[PlacedBlock]
) -> FloatArray | None:
    """A vector with the schedules that make the largest of linear functions smallest.

    With the power over the rating as charging less discharging, ``c - d`` with both in [0, 1], and
    ``e`` as the states of charge, this is a linear programme:

        min t    F_k + dF_k (x' - x) <= t
                 e[t] = e[t - 1] + h / duration (eta c[t] - d[t] / eta)

    It may charge and discharge at once, which burns energy and which no storage can. So it is
    solved again, with each storage in each snapshot in the direction that it has come to.

    Args:
        x: A snapped vector, shape (n_var,).
        pieces: Values and slopes there, shapes (n_pieces,) and (n_pieces, n_var).
        placed: All blocks; what is no schedule stays as it is.

    Returns:
        Shape (n_var,), not snapped; None where there are no schedules.
    """
    own = [(p.part, p.block) for p in placed if isinstance(p.block, ScheduleBlock)]
    if not own:
        return None
    which = np.concatenate([np.arange(part.start, part.stop) for part, _ in own])
    rated = np.concatenate(
        [np.repeat(block.codec.power_mw, block.codec.n_snapshots) for _, block in own]
    )
    by_share = pieces.dF[:, which] * rated
    beyond = by_share @ (x[which] / rated) - pieces.F
    charge, start, low, high = _charge([block for _, block in own])
    n = len(which)
    rows = hstack([-np.ones((len(beyond), 1)), by_share, -by_share, csr_array((len(beyond), n))])
    of_charge = hstack([csr_array((n, 1)), charge])
    solved = np.zeros(n)
    most = np.ones((2, n))
    for _ in range(2):
        upper = np.concatenate([[np.inf], *most, high])
        found = linprog(
            np.eye(1, 1 + 3 * n)[0],
            A_ub=csr_array(rows),
            b_ub=beyond,
            A_eq=csr_array(of_charge),
            b_eq=start,
            bounds=np.column_stack([np.concatenate([[-np.inf], np.zeros(2 * n), low]), upper]),
        )
        if found.x is None:
            return None
        solved = found.x[1 : 1 + n] - found.x[1 + n : 1 + 2 * n]
        most = np.stack([solved > 0, solved <= 0]).astype(float)
    new = x.copy()
    new[which] = solved * rated
    return new


def _charge(
    blocks: Sequence[ScheduleBlock],
) -> tuple[csr_array, FloatArray, FloatArray, FloatArray]:
    """What states of charge follow from: a matrix of charging, discharging and states.

    Returns:
        The matrix, shape (n, 3 n) of n powers, the right-hand side, and the lowest and highest
        states, which are those at the start where a series ends, shape (n,) each.
    """
    charging, discharging, states = [], [], []
    sides: list[tuple[NDArray[np.float64], ...]] = []
    for codec in (block.codec for block in blocks):
        battery, m, eta = codec.battery, codec.n_snapshots, codec.battery.one_way_efficiency
        first, last = np.zeros(m), np.zeros(m, dtype=bool)
        first[0], last[-1] = battery.soc_start, True
        for duration in codec.duration_hours.tolist():
            gain = codec.hours / duration
            charging.append(-gain * eta * eye_array(m))
            discharging.append(gain / eta * eye_array(m))
            states.append(eye_array(m) - diags_array(np.ones(m - 1), offsets=-1))
            limits = (battery.soc_min, battery.soc_max)
            sides.append((first, *(np.where(last, battery.soc_start, end) for end in limits)))
    matrix = hstack([block_diag(each) for each in (charging, discharging, states)])
    start, low, high = (np.concatenate(each) for each in zip(*sides, strict=True))
    return csr_array(matrix), start, low, high
