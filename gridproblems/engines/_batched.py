"""Newton's method for many power flows of one structure, `LANES` of them at once.

The equations are those of `runpp`: polar coordinates, the full Jacobian in every iteration, steps
of the whole length. What differs is that everything that only depends on the structure (pattern,
order of elimination, where numbers go) is made once, and that compiled code then treats `LANES`
power flows like one (`_lanes`).

With the injection ``S_i = V_i conj(sum_j Y_ij V_j)`` and ``c_ij = V_i conj(Y_ij V_j)``, the
columns of the Jacobian belong to the angle and to the logarithm of the magnitude of a voltage,

    dS_i/dtheta_j = -1j c_ij,  dS_i/dln|V_j| = c_ij,  and on the diagonal +1j S_i and +S_i,

which is `runpp`'s Jacobian with its columns scaled, so the steps are the same.

A power flow that has converged is not touched again, and a block that is not full is filled with
copies, so that a result depends on nothing but its own parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.experimental import structref

from gridproblems._compile import compiled, compiled_in_place
from gridproblems.engines._compiled import CompiledModel
from gridproblems.engines._elimination import (
    Elimination,
    Indices,
    eliminate,
    factorise,
    minimum_degree,
    solve,
    solve_transposed,
)
from gridproblems.engines._kernels import (
    SAME_PU,
    ComplexArray,
    IntArray,
    mean_start,
    open_branch,
    unit_power,
)
from gridproblems.engines._lanes import (
    LANES,
    absolute,
    lane_array,
    lanes,
    larger,
    load,
    multiply_add,
    nearest,
    sine_cosine,
    square_root,
    store,
    subtract_product,
    where_less,
)
from gridproblems.state import FloatArray

#: Ratio of a diagonal entry before and after elimination from which digits are lost.
MAX_GROWTH = 1e9
#: What became of a power flow.
RUNNING, CONVERGED, FAILED, OFF_TABLE = 0, 1, 2, 3


class Structure(NamedTuple):
    """Newton's equations of a model, but for the numbers that settings change.

    Attributes:
        angle, magnitude: Place of a bus's unknowns in the order of elimination, -1 where the
            angle or the magnitude is given; equations have the place of their unknown.
        y_start, y_bus: Admittance matrix by rows (CSR).
        y_diagonal: Place of the diagonal in it.
        y_fixed_pu: Its fixed part, with shunts.
        place: Where the derivatives of every entry stand among the entries of the elimination,
            that of active power by angle; -1 for entries without unknown.
        row_length: Entries of the rows of a bus.
        va_start: Angles to start from. [rad]
        varying: For every branch its place among those that settings change, or -1.
        varying_entry: (n_varying, 4) where their admittances go in the admittance matrix.
        varying_y_pu: (n_varying, 4) their admittances with the settings of the base case.
        tap_varying, status_varying: Place of `Arrays.tap_branch` and `status_branch` there.
        held: For every bus its place among those that are PV or PQ by power flow, or -1. Such a bus
            has an unknown magnitude; while its voltage is held, that stays and its equation of
            reactive power is left out.
        zip_share_pu: Shares of the demand that depend on voltage, `Arrays.zip_share` over the base
            power; or none.
        slack: The bus with the given angle where machines share the slack's power; or none. It
            has that power as its unknown, and an equation of active power.
        slack_share: Share of every bus in that power, (n_buses,); or none.
        slack_place: Where the derivative of active power by it stands, or -1.
    """

    angle: Indices
    magnitude: Indices
    y_start: Indices
    y_bus: Indices
    y_diagonal: Indices
    y_fixed_pu: ComplexArray
    place: Indices
    row_length: Indices
    va_start: FloatArray
    varying: Indices
    varying_entry: Indices
    varying_y_pu: ComplexArray
    tap_varying: Indices
    status_varying: Indices
    held: Indices
    zip_share_pu: FloatArray
    slack: Indices
    slack_share: FloatArray
    slack_place: Indices


class Work(NamedTuple):
    """Arrays of lanes of one block; a row per parameter, bus, entry and so on."""

    parameters: FloatArray
    vm: FloatArray
    va: FloatArray
    e: FloatArray  # real part of the voltage
    f: FloatArray  # imaginary part
    p: FloatArray  # injections that are wanted. [p.u.]
    q: FloatArray
    p_now: FloatArray  # injections of the present voltages. [p.u.]
    q_now: FloatArray
    demand_p: FloatArray  # [MW]
    demand_q: FloatArray
    g: FloatArray  # admittance matrix
    b: FloatArray
    branch: FloatArray  # 8 rows per varying branch: real and imaginary parts of its admittances
    entries: FloatArray  # Jacobian, then its factors
    x: FloatArray  # mismatches, then the step
    moving: FloatArray  # 1 in lanes that are to move, else 0
    worst: FloatArray  # largest mismatch
    growth: FloatArray
    held: FloatArray  # 1 in lanes where a bus that may be PV or PQ is PV, else 0
    at_limit: FloatArray  # 1 where the reactive power of a bus is at its maximum, -1 at its minimum
    shared: FloatArray  # power that machines share. [p.u.]
    results: FloatArray  # a row per column of the state


def structure_of(model: CompiledModel) -> tuple[Structure, Elimination]:
    """Makes all that Newton's method needs to know of a model once."""
    a = model.arrays
    n = len(a.v_start_pu)
    y_row = model.indices.astype(np.int64)
    y_column = np.repeat(np.arange(n), np.diff(model.indptr))
    by_row = np.lexsort((y_column, y_row))
    entry_of = np.empty(len(by_row), dtype=np.int64)
    entry_of[by_row] = np.arange(len(by_row))
    row, column = y_row[by_row], y_column[by_row]
    diagonal = entry_of[model.diagonal_position]
    y_fixed = model.ybus_fixed_pu[by_row]
    np.add.at(y_fixed, diagonal, a.shunt_fixed_pu)

    n_unknowns = np.zeros(n, dtype=np.int64)
    n_unknowns[model.pv], n_unknowns[model.pq], n_unknowns[model.switchable] = 1, 2, 2
    slack = model.reference.astype(np.int64)[: len(model.slack_share)]
    n_unknowns[slack] = 1
    sharing = np.flatnonzero(model.slack_share)
    e, first = _elimination(n_unknowns, row, column, slack, sharing)
    has_angle, has_magnitude = n_unknowns > 0, n_unknowns == 2
    angle = np.where(has_angle, first, -1)
    group = np.searchsorted(e.first, angle, side="right") - 1
    row_length = np.zeros(n, dtype=np.int64)
    row_length[has_angle] = e.length[group[has_angle]]
    place = np.full(len(row), -1, dtype=np.int64)

    def place_of(i: Any, j: Any) -> int:
        columns = e.column[e.column_start[group[i]] : e.column_start[group[i] + 1]]
        return int(e.start[group[i]] + np.searchsorted(columns, angle[j]))

    for k in np.flatnonzero(has_angle[row] & has_angle[column] & ~np.isin(column, slack)):
        place[k] = place_of(row[k], column[k])
    slack_place = np.full(len(model.slack_share), -1, dtype=np.int64)
    for i in sharing:
        slack_place[i] = place_of(i, slack[0])
    held = np.full(n, -1, dtype=np.int64)
    held[model.switchable] = np.arange(len(model.switchable))

    varying = np.full(len(a.branch_from), -1, dtype=np.int64)
    varying[model.varying_branch] = np.arange(len(model.varying_branch))
    indices = {
        "angle": angle,
        "magnitude": np.where(has_magnitude, first + 1, -1),
        "y_start": np.searchsorted(row, np.arange(n + 1)),
        "y_bus": column,
        "y_diagonal": diagonal,
        "place": place,
        "row_length": row_length,
        "varying": varying,
        "varying_entry": entry_of[model.branch_position[model.varying_branch]].reshape(-1, 4),
        "tap_varying": varying[a.tap_branch],
        "status_varying": varying[a.status_branch],
        "held": held,
        "slack": slack,
        "slack_place": slack_place,
    }
    structure = Structure(
        y_fixed_pu=y_fixed,
        va_start=np.angle(a.v_start_pu),
        varying_y_pu=np.ascontiguousarray(a.branch_y_pu[model.varying_branch]),
        zip_share_pu=np.ascontiguousarray(a.zip_share / a.base_mva),
        slack_share=model.slack_share,
        **{name: np.ascontiguousarray(part, dtype=np.int32) for name, part in indices.items()},
    )
    return structure, e


def _elimination(
    n_unknowns: IntArray, row: IntArray, column: IntArray, slack: IntArray, sharing: IntArray
) -> tuple[Elimination, IntArray]:
    """The steps of elimination, and the first unknown of every bus in their order.

    The slack whose power buses are ``sharing`` is a neighbour of all of them and comes last.
    """
    buses = np.flatnonzero(n_unknowns)
    group = np.full(len(n_unknowns), -1, dtype=np.int64)
    group[buses] = np.arange(len(buses))
    neighbours: list[set[int]] = [set() for _ in buses]
    between = (row != column) & (group[row] >= 0) & (group[column] >= 0)
    for i, j in zip(group[row[between]].tolist(), group[column[between]].tolist(), strict=True):
        neighbours[i].add(j)
    for i in group[slack].tolist():
        for j in group[sharing][group[sharing] != i].tolist():
            neighbours[i].add(j)
            neighbours[j].add(i)
    order = minimum_degree(neighbours, n_unknowns[buses])
    is_slack = np.isin(order, group[slack])
    order = np.concatenate([order[~is_slack], order[is_slack]])
    e = eliminate(order, neighbours, n_unknowns[buses])
    first = np.full(len(n_unknowns), -1, dtype=np.int64)
    first[buses[order]] = e.first[:-1]
    return e, first


def work_of(model: CompiledModel, structure: Structure, e: Elimination) -> Work:
    """Memory for one block of power flows."""
    n = len(structure.angle)
    rows = {
        "parameters": len(model.parameters),
        "g": len(structure.y_bus),
        "b": len(structure.y_bus),
        "branch": 8 * len(structure.varying_y_pu),
        "entries": e.n_entries,
        "x": e.n_unknowns,
        "moving": 1,
        "worst": 1,
        "growth": 1,
        "held": len(model.switchable),
        "at_limit": len(model.arrays.limit_bus),
        "shared": 1,
        "results": model.layout.n_values,
    }
    return Work(*(lane_array(rows.get(name, n)) for name in Work._fields))


@structref.register
class _KeptType(types.StructRef):
    """Type of `_Kept` in compiled code."""

    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(type_)) for name, type_ in fields)


class _Kept(structref.StructRefProxy):
    """All arrays of a model and of its work, held by compiled code.

    To hand a hundred arrays over takes longer than a small power flow; this is handed over as one.
    """


_KEPT = ("arrays", "structure", "elimination", "work")
structref.define_proxy(_Kept, _KeptType, list(_KEPT))


@compiled
def keep(arrays, structure, elimination, work):  # type: ignore[no-untyped-def]
    """Puts them into one object."""
    return _Kept(arrays, structure, elimination, work)


@compiled
def solve_blocks(  # type: ignore[no-untyped-def]
    parameters, which, rows, v, status, kept, tolerance_pu, max_iterations, band_pu
):
    """Solves power flows block by block.

    Args:
        parameters: Parameter vectors, shape (n, n_parameters).
        which: Rows of ``parameters`` to solve.
        rows: Rows of the state, shape (n, n_values); filled where the power flow converged.
        v: Voltages, shape (n, n_model_buses), filled likewise.
        status: Filled with what became of each power flow, shape (n,).
        kept: `keep` of `Arrays`, `Structure`, `Elimination`, `Work`.
        tolerance_pu: Largest mismatch allowed.
        max_iterations: Steps after which a power flow is given up.
        band_pu: Lowest and highest voltage of a solution that is taken.
    """
    a, m, e, w = kept.arrays, kept.structure, kept.elimination, kept.work
    block = np.empty(LANES, dtype=np.int64)
    state = np.empty(LANES, dtype=np.int64)
    for first in range(0, len(which), LANES):
        n = min(LANES, len(which) - first)
        for lane in range(LANES):
            block[lane] = which[first + min(lane, n - 1)]
        _fill_parameters(parameters, block, w)
        prepare_lanes(state, a, m, w)
        newton(state, m, e, w, tolerance_pu, max_iterations)
        while len(a.limit_bus) and _reaches_limits(state, a, m, w):
            newton(state, m, e, w, tolerance_pu, max_iterations)
        _refuse_beyond(state, band_pu, w)
        read_lanes(a, m, w)
        for lane in range(n):
            status[block[lane]] = state[lane]
            if state[lane] == CONVERGED:
                for i in range(len(w.e)):
                    v[block[lane], i] = w.e[i, lane] + 1j * w.f[i, lane]
                for i in range(len(w.results)):
                    rows[block[lane], i] = w.results[i, lane]


@compiled
def solve_linear_blocks(  # type: ignore[no-untyped-def]
    parameters, v, right_sides, solutions, transposed, kept
):
    """Solves linear equations with the Jacobians of given voltages, block by block.

    Args:
        parameters: Parameter vectors, shape (n, n_parameters).
        v: Voltages, shape (n, n_model_buses).
        right_sides: Shape (n, n_right_sides, n_unknowns).
        solutions: Filled, of the same shape.
        transposed: Whether the Jacobians are to be transposed.
        kept: `keep` of `Arrays`, `Structure`, `Elimination`, `Work`.

    Returns:
        The largest growth of `factorise`; NaN or infinite where a Jacobian is singular.
    """
    a, m, e, w = kept.arrays, kept.structure, kept.elimination, kept.work
    block = np.empty(LANES, dtype=np.int64)
    state = np.empty(LANES, dtype=np.int64)
    growth = 0.0
    for first in range(0, len(parameters), LANES):
        n = min(LANES, len(parameters) - first)
        for lane in range(LANES):
            block[lane] = first + min(lane, n - 1)
        _fill_parameters(parameters, block, w)
        prepare_lanes(state, a, m, w)
        for i in range(len(w.e)):
            for lane in range(LANES):
                w.e[i, lane], w.f[i, lane] = v[block[lane], i].real, v[block[lane], i].imag
        for bus in a.limit_bus:
            for lane in range(LANES):
                vm = abs(v[block[lane], bus])
                if abs(vm - w.vm[bus, lane]) > SAME_PU:
                    w.held[m.held[bus], lane] = 0.0
        store(w.worst, 0, mismatches(m, w))
        jacobian(m, w)
        store(w.growth, 0, factorise(w.entries, e))
        for lane in range(LANES):
            growth = w.growth[0, lane] if not w.growth[0, lane] <= growth else growth
        for k in range(right_sides.shape[1]):
            for i in range(len(w.x)):
                for lane in range(LANES):
                    w.x[i, lane] = right_sides[block[lane], k, i]
            if transposed:
                solve_transposed(w.entries, w.x, e)
            else:
                solve(w.entries, w.x, e)
            for i in range(len(w.x)):
                for lane in range(n):
                    solutions[block[lane], k, i] = w.x[i, lane]
    return growth


@compiled
def _fill_parameters(parameters, block, w):  # type: ignore[no-untyped-def]
    """Takes the parameter vectors of a block into its lanes."""
    for i in range(parameters.shape[1]):
        for lane in range(LANES):
            w.parameters[i, lane] = parameters[block[lane], i]


@compiled
def prepare_lanes(state, a, m, w):  # type: ignore[no-untyped-def]
    """Puts parameters into start voltages, injections and admittances; see `_kernels.prepare`.

    Args:
        state: Filled with RUNNING, or OFF_TABLE where a tap changer has no such position.
        a, m, w: `Arrays`, `Structure`, `Work`.
    """
    state[:] = RUNNING
    for i in range(len(w.vm)):
        store(w.vm, i, lanes(abs(a.v_start_pu[i])))
        store(w.va, i, lanes(m.va_start[i]))
        store(w.p, i, lanes(a.s_fixed_mva[i].real))
        store(w.q, i, lanes(a.s_fixed_mva[i].imag))
        store(w.demand_p, i, lanes(a.demand_fixed_mva[i].real))
        store(w.demand_q, i, lanes(a.demand_fixed_mva[i].imag))
    higher = lanes(0.0)
    for i in range(len(a.setpoint_bus)):
        setpoint = load(w.parameters, a.sections[0] + i)
        store(w.vm, a.setpoint_bus[i], setpoint)
        higher = higher + (setpoint - a.setpoint_base_pu[i])
    for i in range(len(a.mean_start_bus)):
        bus = a.mean_start_bus[i]
        factor = 1.0 + higher / (a.n_machines * a.mean_start_pu)
        store(w.vm, bus, load(w.vm, bus) * factor)
    store(w.shared, 0, lanes(0.0))
    for i in range(len(w.held)):
        store(w.held, i, lanes(1.0))
    for i in range(len(w.at_limit)):
        store(w.at_limit, i, lanes(0.0))
    for i in range(len(a.injection_bus)):
        bus = a.injection_bus[i]
        scaling = a.injection_sign[i] * load(w.parameters, a.sections[3] + i)
        p = scaling * load(w.parameters, a.sections[1] + i)
        q = scaling * load(w.parameters, a.sections[2] + i)
        store(w.p, bus, load(w.p, bus) + p)
        store(w.q, bus, load(w.q, bus) + q)
        if not a.injection_is_machine[i]:
            store(w.demand_p, bus, load(w.demand_p, bus) - p)
            store(w.demand_q, bus, load(w.demand_q, bus) - q)
    if len(a.unit_bus):
        store(w.worst, 0, higher)
        _take_units_out(a, m, w)
    for i in range(len(w.p)):
        store(w.p, i, load(w.p, i) / a.base_mva)
        store(w.q, i, load(w.q, i) / a.base_mva)

    for k in range(len(w.g)):
        store(w.g, k, lanes(m.y_fixed_pu[k].real))
        store(w.b, k, lanes(m.y_fixed_pu[k].imag))
    for i in range(len(a.shunt_bus)):
        k = m.y_diagonal[a.shunt_bus[i]]
        step = a.shunt_y_pu[i] * load(w.parameters, a.sections[6] + i)
        p, q = load(w.parameters, a.sections[4] + i), load(w.parameters, a.sections[5] + i)
        store(w.g, k, multiply_add(step, p, load(w.g, k)))
        store(w.b, k, subtract_product(step, q, load(w.b, k)))
    _prepare_branches(state, a, m, w)
    for i in range(len(m.varying_entry)):
        for c in range(4):
            k = m.varying_entry[i, c]
            store(w.g, k, load(w.g, k) + load(w.branch, 8 * i + c))
            store(w.b, k, load(w.b, k) + load(w.branch, 8 * i + 4 + c))


@compiled
def _take_units_out(a, m, w):  # type: ignore[no-untyped-def]
    """Frees the voltage of units out of service and takes their power away.

    Buses that no machine holds then start at the mean set-point of the others; ``w.worst`` is the
    sum by which set-points are above those of the base case.
    """
    for lane in range(LANES):
        mean = mean_start(w.parameters[:, lane], a, w.worst[0, lane])
        for i in range(len(a.mean_start_bus)):
            w.vm[a.mean_start_bus[i], lane] = mean
        for i in range(len(a.unit_bus)):
            if w.parameters[a.sections[9] + i, lane] == 0:
                bus = a.unit_bus[i]
                w.held[m.held[bus], lane] = 0.0
                w.p[bus, lane] -= unit_power(w.parameters[:, lane], a, i)
                if len(a.mean_start_bus):
                    w.vm[bus, lane] = mean


@compiled
def _prepare_branches(state, a, m, w):  # type: ignore[no-untyped-def]
    """Admittances of the branches that settings change."""
    for i in range(len(m.varying_y_pu)):
        for c in range(4):
            store(w.branch, 8 * i + c, lanes(m.varying_y_pu[i, c].real))
            store(w.branch, 8 * i + 4 + c, lanes(m.varying_y_pu[i, c].imag))
    for i in range(len(a.tap_branch)):
        changer = a.tap_changer[i]
        to = 8 * m.tap_varying[i]
        for lane in range(LANES):
            position = w.parameters[a.sections[7] + changer, lane]
            step = round(position) - a.tap_first[changer]
            if step < 0 or step >= a.tap_count[changer] or position != round(position):
                state[lane] = OFF_TABLE
                continue
            for c in range(4):
                y = a.tap_y_pu[a.tap_row[i] + step, c]
                w.branch[to + c, lane] = y.real
                w.branch[to + 4 + c, lane] = y.imag
    y = np.empty(4, dtype=np.complex128)
    for i in range(len(a.status_branch)):
        to = 8 * m.status_varying[i]
        for lane in range(LANES):
            if w.parameters[a.sections[8] + i, lane] == 0:
                for c in range(4):
                    y[c] = w.branch[to + c, lane] + 1j * w.branch[to + 4 + c, lane]
                open_branch(y, a.status_end[i])
                for c in range(4):
                    w.branch[to + c, lane] = y[c].real
                    w.branch[to + 4 + c, lane] = y[c].imag


@compiled
def newton(state, m, e, w, tolerance_pu, max_iterations):  # type: ignore[no-untyped-def]
    """Newton's method from the voltages in ``w``; ``state`` says what became of every lane."""
    for i in range(len(m.angle)):
        update_voltage(w, i)
    for iteration in range(max_iterations + 1):
        store(w.worst, 0, mismatches(m, w))
        n_running = 0
        for lane in range(LANES):
            w.moving[0, lane] = 0.0
            if state[lane] != RUNNING:
                continue
            if w.worst[0, lane] < tolerance_pu:
                state[lane] = CONVERGED
            elif iteration == max_iterations or not np.isfinite(w.worst[0, lane]):
                state[lane] = FAILED
            else:
                w.moving[0, lane] = 1.0
                n_running += 1
        if n_running == 0:
            return
        jacobian(m, w)
        store(w.growth, 0, factorise(w.entries, e))
        solve(w.entries, w.x, e)
        for lane in range(LANES):
            if w.moving[0, lane] == 1.0 and not w.growth[0, lane] < MAX_GROWTH:
                state[lane] = FAILED
                w.moving[0, lane] = 0.0
        _move(m, w)


@compiled
def _reaches_limits(state, a, m, w):  # type: ignore[no-untyped-def]
    """Frees the voltages of solved power flows whose machines are beyond their reactive limits.

    As ``runpp`` does it: all that are beyond at once, and none comes back.

    Returns:
        Whether there are any; they are RUNNING again.
    """
    any_beyond = False
    solved = np.empty(LANES, dtype=np.bool_)
    for lane in range(LANES):
        solved[lane] = state[lane] == CONVERGED
    for i in range(len(a.limit_bus)):
        bus = a.limit_bus[i]
        for lane in range(LANES):
            if not solved[lane] or w.held[m.held[bus], lane] == 0.0:
                continue
            q = a.base_mva * w.q_now[bus, lane] + w.demand_q[bus, lane]
            if q > a.limit_max_mvar[i]:
                limit, w.at_limit[i, lane] = a.limit_max_mvar[i], 1.0
            elif q < a.limit_min_mvar[i]:
                limit, w.at_limit[i, lane] = a.limit_min_mvar[i], -1.0
            else:
                continue
            w.held[m.held[bus], lane] = 0.0
            w.q[bus, lane] = (limit - w.demand_q[bus, lane]) / a.base_mva
            state[lane] = RUNNING
            any_beyond = True
    return any_beyond


@compiled
def _refuse_beyond(state, band_pu, w):  # type: ignore[no-untyped-def]
    """Fails the lanes that ended with a voltage beyond a band."""
    highest, lowest = lanes(0.0), lanes(np.inf)
    for i in range(len(w.vm)):
        vm = absolute(load(w.vm, i))
        highest = larger(highest, vm)
        lowest = where_less(vm, lowest, vm, lowest)
    store(w.worst, 0, highest)
    store(w.growth, 0, lowest)
    for lane in range(LANES):
        if w.worst[0, lane] > band_pu[1] or w.growth[0, lane] < band_pu[0]:
            state[lane] = FAILED if state[lane] == CONVERGED else state[lane]


@compiled_in_place
def update_voltage(w, i):  # type: ignore[no-untyped-def]
    """Real and imaginary part of a voltage from magnitude and angle."""
    vm = load(w.vm, i)
    sine, cosine = sine_cosine(load(w.va, i))
    store(w.e, i, vm * cosine)
    store(w.f, i, vm * sine)


@compiled
def _move(m, w):  # type: ignore[no-untyped-def]
    """Adds the step to the voltages of the lanes that move."""
    zero, moving = lanes(0.0), load(w.moving, 0)
    slack = m.slack[0] if len(m.slack) > 0 else -1
    if slack >= 0:
        shared = load(w.shared, 0)
        step = load(w.x, m.angle[slack])
        store(w.shared, 0, where_less(zero, moving, shared + step, shared))
    for i in range(len(m.angle)):
        if m.angle[i] < 0 or i == slack:
            continue
        va = load(w.va, i)
        store(w.va, i, where_less(zero, moving, va + load(w.x, m.angle[i]), va))
        if m.magnitude[i] >= 0:
            vm = load(w.vm, i)
            moved = multiply_add(vm, load(w.x, m.magnitude[i]), vm)
            store(w.vm, i, where_less(zero, moving, moved, vm))
        update_voltage(w, i)


@compiled
def mismatches(m, w):  # type: ignore[no-untyped-def]
    """Injections of the present voltages, and in ``w.x`` what is missing; the worst per lane."""
    worst = lanes(0.0)
    share, is_zip, is_shared = m.zip_share_pu, len(m.zip_share_pu) > 0, len(m.slack) > 0
    for i in range(len(m.angle)):
        real, imaginary = lanes(0.0), lanes(0.0)
        for k in range(m.y_start[i], m.y_start[i + 1]):
            e, f = load(w.e, m.y_bus[k]), load(w.f, m.y_bus[k])
            g, b = load(w.g, k), load(w.b, k)
            real = subtract_product(b, f, multiply_add(g, e, real))
            imaginary = multiply_add(b, e, multiply_add(g, f, imaginary))
        e, f = load(w.e, i), load(w.f, i)
        p = multiply_add(e, real, f * imaginary)
        q = subtract_product(e, imaginary, f * real)
        store(w.p_now, i, p)
        store(w.q_now, i, q)
        if m.angle[i] >= 0:
            missing = load(w.p, i) - p
            if is_zip:
                square = e * e + f * f
                more = share[i, 0] * (square - 1.0) + share[i, 1] * (square_root(square) - 1.0)
                missing = missing - load(w.demand_p, i) * more
            if is_shared:
                missing = missing - m.slack_share[i] * load(w.shared, 0)
            store(w.x, m.angle[i], missing)
            worst = larger(worst, absolute(missing))
        if m.magnitude[i] >= 0:
            missing = load(w.q, i) - q
            if is_zip:
                square = e * e + f * f
                more = share[i, 2] * (square - 1.0) + share[i, 3] * (square_root(square) - 1.0)
                missing = missing - load(w.demand_q, i) * more
            if m.held[i] >= 0:
                missing = where_less(lanes(0.0), load(w.held, m.held[i]), lanes(0.0), missing)
            store(w.x, m.magnitude[i], missing)
            worst = larger(worst, absolute(missing))
    return worst


@compiled_in_place
def is_slack(m, i):  # type: ignore[no-untyped-def]
    """Whether a bus is the slack whose power machines share.

    Not for loops where time counts: every use counts references to all arrays of ``m``.
    """
    return len(m.slack) > 0 and m.slack[0] == i


@compiled
def jacobian(m, w):  # type: ignore[no-untyped-def]
    """Derivatives of the injections by angle and logarithm of magnitude, in ``w.entries``."""
    for k in range(len(w.entries)):
        store(w.entries, k, lanes(0.0))
    for i in range(len(m.angle)):
        if m.angle[i] < 0:
            continue
        e_i, f_i = load(w.e, i), load(w.f, i)
        two_rows = m.magnitude[i] >= 0
        for k in range(m.y_start[i], m.y_start[i + 1]):
            place = m.place[k]
            if place < 0:
                continue
            j = m.y_bus[k]
            e_j, f_j, g, b = load(w.e, j), load(w.f, j), load(w.g, k), load(w.b, k)
            real = subtract_product(b, f_j, g * e_j)
            imaginary = multiply_add(b, e_j, g * f_j)
            p = multiply_add(e_i, real, f_i * imaginary)
            q = subtract_product(e_i, imaginary, f_i * real)
            p_total, q_total = p, q
            if i == j:
                p_now, q_now = load(w.p_now, i), load(w.q_now, i)
                p_total, q_total = p + p_now, q + q_now
                p, q = p - p_now, q - q_now
            two_columns = m.magnitude[j] >= 0
            store(w.entries, place, q)
            if two_columns:
                store(w.entries, place + 1, p_total)
            if two_rows:
                store(w.entries, place + m.row_length[i], -p)
                if two_columns:
                    store(w.entries, place + m.row_length[i] + 1, q_total)
    if len(m.zip_share_pu) > 0:
        _add_growing_demand(m, w)
    if len(w.held) > 0:
        _leave_out_held(m, w)
    for i in range(len(m.slack_place)):
        if m.slack_place[i] >= 0:
            store(w.entries, m.slack_place[i], lanes(m.slack_share[i]))


@compiled
def _add_growing_demand(m, w):  # type: ignore[no-untyped-def]
    """Adds to the derivatives by a bus's own magnitude what its demand grows by."""
    share = m.zip_share_pu
    for i in range(len(m.magnitude)):
        if m.magnitude[i] < 0:
            continue
        e, f = load(w.e, i), load(w.f, i)
        square = e * e + f * f
        vm = square_root(square)
        place = m.place[m.y_diagonal[i]] + 1
        grows = load(w.demand_p, i) * ((2.0 * share[i, 0]) * square + share[i, 1] * vm)
        store(w.entries, place, load(w.entries, place) + grows)
        place += m.row_length[i]
        grows = load(w.demand_q, i) * ((2.0 * share[i, 2]) * square + share[i, 3] * vm)
        store(w.entries, place, load(w.entries, place) + grows)


@compiled
def _leave_out_held(m, w):  # type: ignore[no-untyped-def]
    """Puts "the magnitude stays" in place of the reactive power of buses that are held."""
    zero, one = lanes(0.0), lanes(1.0)
    for i in range(len(m.held)):
        if m.held[i] < 0:
            continue
        held = load(w.held, m.held[i])
        for k in range(m.y_start[i], m.y_start[i + 1]):
            if m.place[k] < 0:
                continue
            j = m.y_bus[k]
            place = m.place[k] + m.row_length[i]
            store(w.entries, place, where_less(zero, held, zero, load(w.entries, place)))
            if m.magnitude[j] >= 0:
                new = one if i == j else zero
                store(w.entries, place + 1, where_less(zero, held, new, load(w.entries, place + 1)))


@compiled
def read_lanes(a, m, w):  # type: ignore[no-untyped-def]
    """Results of solved voltages, in ``w.results``; see `_kernels.read_results`."""
    n_rows = len(a.row_bus)
    for i in range(n_rows):
        bus = a.row_bus[i]
        if bus < 0:
            store(w.results, i, lanes(np.nan))
            store(w.results, n_rows + i, lanes(np.nan))
            continue
        vm, va = load(w.vm, bus), load(w.va, bus)
        va = where_less(vm, lanes(0.0), va + np.pi, va)  # as the angle of a complex number
        va = va - (2.0 * np.pi) * nearest(va * (0.5 / np.pi))
        store(w.results, i, absolute(vm))
        store(w.results, n_rows + i, va * (180.0 / np.pi))
    for i in range(2 * n_rows, len(w.results)):
        store(w.results, i, lanes(0.0))
    _read_branches(a, m, w)
    _read_machines(a, w)


@compiled
def _read_branches(a, m, w):  # type: ignore[no-untyped-def]
    """Losses and loadings of branches."""
    fixed, branch, results = a.branch_y_pu, w.branch, w.results
    for i in range(len(a.branch_from)):
        loss_column, loading_column = a.branch_loss_column[i], a.branch_loading_column[i]
        if loss_column < 0 and loading_column < 0:
            continue
        k = 8 * m.varying[i]
        if k < 0:
            g_ff, b_ff = lanes(fixed[i, 0].real), lanes(fixed[i, 0].imag)
            g_ft, b_ft = lanes(fixed[i, 1].real), lanes(fixed[i, 1].imag)
            g_tf, b_tf = lanes(fixed[i, 2].real), lanes(fixed[i, 2].imag)
            g_tt, b_tt = lanes(fixed[i, 3].real), lanes(fixed[i, 3].imag)
        else:
            g_ff, b_ff = load(branch, k), load(branch, k + 4)
            g_ft, b_ft = load(branch, k + 1), load(branch, k + 5)
            g_tf, b_tf = load(branch, k + 2), load(branch, k + 6)
            g_tt, b_tt = load(branch, k + 3), load(branch, k + 7)
        e_from, f_from = load(w.e, a.branch_from[i]), load(w.f, a.branch_from[i])
        e_to, f_to = load(w.e, a.branch_to[i]), load(w.f, a.branch_to[i])
        r_from = g_ff * e_from - b_ff * f_from + g_ft * e_to - b_ft * f_to
        i_from = g_ff * f_from + b_ff * e_from + g_ft * f_to + b_ft * e_to
        r_to = g_tf * e_from - b_tf * f_from + g_tt * e_to - b_tt * f_to
        i_to = g_tf * f_from + b_tf * e_from + g_tt * f_to + b_tt * e_to
        if loss_column >= 0:
            loss = e_from * r_from + f_from * i_from + e_to * r_to + f_to * i_to
            store(results, loss_column, load(results, loss_column) + a.base_mva * loss)
        if loading_column >= 0:
            at_from = a.branch_loading[i, 0] * square_root(r_from * r_from + i_from * i_from)
            at_to = a.branch_loading[i, 1] * square_root(r_to * r_to + i_to * i_to)
            loading = larger(load(results, loading_column), larger(at_from, at_to))
            store(results, loading_column, loading)


@compiled
def _read_machines(a, w):  # type: ignore[no-untyped-def]
    """Active and reactive power of generators and external grids."""
    n = len(a.machine_bus)
    for i in range(n):
        p = lanes(a.machine_p_mw[i])
        k = a.machine_injection[i]
        if k >= 0 and a.machine_p_share[i] == 0:
            p = load(w.parameters, a.sections[1] + k) * load(w.parameters, a.sections[3] + k)
        store(w.results, a.machine_p_column[i], p)
    for i in range(n):
        bus = a.machine_bus[i]
        q = a.base_mva * load(w.q_now, bus) + load(w.demand_q, bus)
        store(w.results, a.machine_q_column[i], a.machine_q_mvar[i] + a.machine_q_share[i] * q)
        if a.machine_p_share[i] > 0:
            p = a.base_mva * load(w.p_now, bus) + load(w.demand_p, bus)
            for k in range(n):
                if a.machine_bus[k] == bus and a.machine_p_share[k] == 0:
                    p = p - load(w.results, a.machine_p_column[k])
            column = a.machine_p_column[i]
            store(w.results, column, load(w.results, column) + a.machine_p_share[i] * p)
    for i in range(n):
        unit = a.machine_unit[i]
        if unit >= 0:
            for lane in range(LANES):
                if w.parameters[a.sections[9] + unit, lane] == 0:
                    w.results[a.machine_p_column[i], lane] = 0.0
                    w.results[a.machine_q_column[i], lane] = 0.0
        limit = a.machine_limit[i]
        if limit >= 0:
            for lane in range(LANES):
                if w.at_limit[limit, lane] > 0:
                    w.results[a.machine_q_column[i], lane] = a.limit_max_mvar[limit]
                elif w.at_limit[limit, lane] < 0:
                    w.results[a.machine_q_column[i], lane] = a.limit_min_mvar[limit]


class BatchedNewton:
    """Solves power flows of one model; for one thread at a time.

    Args:
        model: A compiled model.
        structure: What `structure_of` makes of it; threads share it.
        tolerance_pu: Largest mismatch of a solution.
        max_iterations: Steps after which a power flow is given up.
        band_pu: Lowest and highest voltage of a solution that is taken.
    """

    def __init__(
        self,
        model: CompiledModel,
        structure: tuple[Structure, Elimination],
        tolerance_pu: float,
        max_iterations: int,
        band_pu: tuple[float, float] = (0.0, np.inf),
    ) -> None:
        self._kept = keep(model.arrays, *structure, work_of(model, *structure))
        self._limits = (tolerance_pu, max_iterations, band_pu)

    def solve(
        self, parameters: FloatArray, which: IntArray, rows: FloatArray, v: ComplexArray
    ) -> IntArray:
        """Solves power flows and fills their rows.

        Args:
            parameters: Parameter vectors, shape (n, n_parameters).
            which: Rows to solve, shape (n_solved,).
            rows: Rows of the state, shape (n, layout.n_values), filled where one converges.
            v: Voltages, shape (n, n_model_buses), filled likewise. [p.u.]

        Returns:
            What became of every power flow, shape (n,): RUNNING where ``which`` leaves it out.
        """
        status = np.full(len(parameters), RUNNING, dtype=np.int64)
        solve_blocks(parameters, which, rows, v, status, self._kept, *self._limits)
        return status

    def solve_linear(
        self,
        parameters: FloatArray,
        v: ComplexArray,
        right_sides: FloatArray,
        *,
        transposed: bool = False,
    ) -> FloatArray:
        """Solves linear equations with the Jacobians of power flows, for sensitivities.

        Equations and unknowns are in the order of elimination: those of a bus are at
        ``Structure.angle`` (active power in p.u. by angle in radian) and ``magnitude``
        (reactive power in p.u. by the logarithm of the magnitude). An injection that grows by
        the right-hand side moves the voltages by the solution.

        Args:
            parameters: Parameter vectors, shape (n, n_parameters).
            v: Their voltages, shape (n, n_model_buses). [p.u.]
            right_sides: Shape (n, n_right_sides, n_unknowns).
            transposed: Solve with the transposed Jacobians (for adjoints).

        Returns:
            Shape (n, n_right_sides, n_unknowns).

        Raises:
            np.linalg.LinAlgError: A Jacobian is singular, or nearly so.
        """
        solutions = np.empty_like(right_sides)
        growth = solve_linear_blocks(parameters, v, right_sides, solutions, transposed, self._kept)
        if not growth < MAX_GROWTH:
            raise np.linalg.LinAlgError(
                f"a Jacobian is singular: pivots shrink by a factor of {growth:.1e}"
            )
        return solutions
