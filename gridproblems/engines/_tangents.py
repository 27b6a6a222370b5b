"""Compiled loops of sensitivities: how the state of a solved power flow moves with parameters.

With the mismatch ``g(s, p) = S_wanted(p) - S(s, p) = 0`` of the unknowns ``s`` (angles and
logarithms of magnitudes) and the parameters ``p``, the implicit function theorem gives

    ds/dp = J^-1 (dS_wanted/dp - dS/dp),    J = dS/ds.

Forward, one solution per parameter gives the movement of all results; backward (adjoint), one
solution with the transposed Jacobian per result gives its slope by all parameters. The loops here
make the right-hand sides and what comes after; `_batched.solve_linear_blocks` solves.

Where a result has a kink, the slope is that of the branch that counts: of two equal currents the
first end's, of several windings the first's; an end without current does not move.

Sources:
    H. W. Dommel, W. F. Tinney, Optimal power flow solutions, IEEE Transactions on Power Apparatus
    and Systems PAS-87 (1968) 1866-1876, doi 10.1109/TPAS.1968.292150.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled, compiled_in_place
from gridproblems.engines._kernels import (
    SAME_PU,
    TO_END,
    WHOLE,
    Arrays,
    ComplexArray,
    IntArray,
    magnitude,
    prepare,
)
from gridproblems.state import FloatArray

#: Sections of the parameter vector, see `_compiled.SECTIONS`.
SETPOINT, P, Q, SCALING, SHUNT_P, SHUNT_Q, STEP, TAP, STATUS, UNIT = range(10)


class Places(NamedTuple):
    """Where branches and parameters meet buses; made once per model.

    Attributes:
        start, incident: Branches at a bus, ``incident[start[b] : start[b + 1]]``.
        holds: Whether a set-point is the one that holds its bus (the last of those there).
        section: Of every parameter.
    """

    start: IntArray
    incident: IntArray
    holds: IntArray
    section: IntArray


def places_of(a: Arrays) -> Places:
    """Puts together where branches and parameters meet buses."""
    n_bus = len(a.v_start_pu)
    ends = np.concatenate([a.branch_from, a.branch_to])
    branch = np.tile(np.arange(len(a.branch_from)), 2)
    last = {int(bus): i for i, bus in enumerate(a.setpoint_bus)}
    holds = np.array([last[int(bus)] == i for i, bus in enumerate(a.setpoint_bus)], dtype=np.int64)
    return Places(
        np.searchsorted(np.sort(ends), np.arange(n_bus + 1)).astype(np.int64),
        branch[np.argsort(ends, kind="stable")].astype(np.int64),
        holds,
        np.repeat(np.arange(len(a.sections) - 1), np.diff(a.sections)).astype(np.int64),
    )


class ByModel(NamedTuple):
    """Slopes of sums by the voltages and the admittance matrix of the bus/branch model.

    As those of `backward`: the sum moves by ``Re(conj(slope) dz)``.

    Attributes:
        v: By the voltages, shape (n_rows, n_sums, n_buses), n_sums 0 for none.
        ybus: By the entries of the matrix, shape (n_rows, n_sums, n_nonzeros).
        branch_position, diagonal_position: Of `CompiledModel`.
    """

    v: ComplexArray
    ybus: ComplexArray
    branch_position: IntArray
    diagonal_position: IntArray


class Flow(NamedTuple):
    """One solved power flow: voltages, admittances, currents. [p.u.]"""

    v: ComplexArray
    y: ComplexArray
    shunt: ComplexArray
    i_from: ComplexArray
    i_to: ComplexArray
    injected: ComplexArray  # current from a bus into branches and shunts
    tap_slope: ComplexArray  # of the admittances of `Arrays.tap_branch` by their position
    loaded: IntArray  # the end by which a branch decides its loading column, 1, 2 or 0 for none
    held: NDArray[np.bool_]  # buses whose voltage a machine holds, of those that may be PV or PQ
    is_out: NDArray[np.bool_]  # machines out of service
    is_at_limit: NDArray[np.bool_]  # machines at a reactive limit, which the power flow keeps
    more: FloatArray  # (n_buses, 6) of demand that depends on voltage: what it takes more than at
    # 1 p.u. of active and of reactive power, per demand (1/p.u. base), how both grow with the
    # logarithm of the voltage (p.u.), and how that growth does; or none


@compiled
def flow_of(parameters, v, tap_slope, a, m):  # type: ignore[no-untyped-def]
    """The `Flow` of solved voltages; slopes of taps on open branches are taken in."""
    n_bus, n_branch = len(a.v_start_pu), len(a.branch_from)
    start, s, demand, shunt = (
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
    )
    y = np.empty((n_branch, 4), dtype=np.complex128)
    prepare(parameters, a, start, s, demand, y, shunt)
    slope = tap_slope.copy()
    for i in range(len(a.status_branch)):
        if parameters[a.sections[8] + i] == 0:
            for k in range(len(a.tap_branch)):
                if a.tap_branch[k] == a.status_branch[i]:
                    _open_slope(slope[k], closed(parameters, k, a), a.status_end[i])
    i_from = np.empty(n_branch, dtype=np.complex128)
    i_to = np.empty(n_branch, dtype=np.complex128)
    injected = shunt * v
    for b in range(n_branch):
        f, t = a.branch_from[b], a.branch_to[b]
        i_from[b] = y[b, 0] * v[f] + y[b, 1] * v[t]
        i_to[b] = y[b, 2] * v[f] + y[b, 3] * v[t]
        injected[f] += i_from[b]
        injected[t] += i_to[b]
    loaded = np.zeros(n_branch, dtype=np.int64)
    n_columns = 0
    for b in range(n_branch):
        n_columns = max(n_columns, a.branch_loading_column[b] + 1)
    largest = np.zeros(n_columns)
    decides = np.full(n_columns, -1, dtype=np.int64)
    for b in range(n_branch):
        column = a.branch_loading_column[b]
        if column < 0:
            continue
        at_from = magnitude(i_from[b]) * a.branch_loading[b, 0]
        at_to = magnitude(i_to[b]) * a.branch_loading[b, 1]
        if max(at_from, at_to) > largest[column]:
            if decides[column] >= 0:
                loaded[decides[column]] = 0
            largest[column], decides[column] = max(at_from, at_to), b
            loaded[b] = 1 if at_from >= at_to else 2
    held = _held(parameters, v, start, a, m)
    is_out, is_at_limit = _special_machines(parameters, held, a)
    more = _more(v, demand, m)
    return Flow(v, y, shunt, i_from, i_to, injected, slope, loaded, held, is_out, is_at_limit, more)


@compiled
def _special_machines(parameters, held, a):  # type: ignore[no-untyped-def]
    """`Flow.is_out` and `Flow.is_at_limit`."""
    bus, unit, limit, first = a.machine_bus, a.machine_unit, a.machine_limit, a.sections[UNIT]
    is_out, is_at_limit = np.zeros(len(bus), dtype=np.bool_), np.zeros(len(bus), dtype=np.bool_)
    for i in range(len(bus)):
        is_out[i] = unit[i] >= 0 and parameters[first + unit[i]] == 0
        is_at_limit[i] = limit[i] >= 0 and not held[bus[i]]
    return is_out, is_at_limit


@compiled
def _held(parameters, v, start, a, m):  # type: ignore[no-untyped-def]
    """Which buses that may be PV or PQ are PV; see `_batched.solve_linear_blocks`."""
    held = m.held >= 0
    for i in range(len(a.unit_bus)):
        if parameters[a.sections[UNIT] + i] == 0:
            held[a.unit_bus[i]] = False
    for b in a.limit_bus:
        if abs(magnitude(v[b]) - magnitude(start[b])) > SAME_PU:
            held[b] = False
    return held


@compiled
def _more(v, demand, m):  # type: ignore[no-untyped-def]
    """`Flow.more`."""
    n = len(v) if len(m.zip_share_pu) else 0
    more = np.empty((n, 6))
    for b in range(n):
        vm = magnitude(v[b])
        for k in range(2):
            square, linear = m.zip_share_pu[b, 2 * k], m.zip_share_pu[b, 2 * k + 1]
            own = demand[b].real if k == 0 else demand[b].imag
            more[b, k] = square * (vm * vm - 1.0) + linear * (vm - 1.0)
            more[b, 2 + k] = own * (2.0 * square * vm * vm + linear * vm)
            more[b, 4 + k] = own * (4.0 * square * vm * vm + linear * vm)
    return more


@compiled
def holding_setpoints(flow, a, m, places):  # type: ignore[no-untyped-def]
    """Which set-points are the voltage of their bus."""
    bus, may_be, held, last = a.setpoint_bus, m.held, flow.held, places.holds
    holding = np.zeros(len(bus), dtype=np.bool_)
    for i in range(len(bus)):
        holding[i] = last[i] and (may_be[bus[i]] < 0 or held[bus[i]])
    return holding


@compiled
def closed(parameters, k, a):  # type: ignore[no-untyped-def]
    """Admittances of a branch with tap changer as if it were closed at both ends."""
    step = round(parameters[a.sections[7] + a.tap_changer[k]]) - a.tap_first[a.tap_changer[k]]
    return a.tap_y_pu[a.tap_row[k] + step]


@compiled
def _open_slope(slope, y, end):  # type: ignore[no-untyped-def]
    """Slope of `_kernels.open_branch`, in place."""
    if end == WHOLE:
        slope[:] = 0
        return
    own, far = (0, 3) if end == TO_END else (3, 0)
    if y[far] != 0:
        through = (slope[1] * y[2] + y[1] * slope[2]) / y[far]
        slope[own] += y[1] * y[2] * slope[far] / (y[far] * y[far]) - through
    for c in range(4):
        if c != own:
            slope[c] = 0


# -- forward -------------------------------------------------------------------------------------


@compiled
def right_sides(parameters, v, tap_slope, wanted, sides, a, m, places):  # type: ignore[no-untyped-def]
    """What moves the voltages when parameters grow.

    Args:
        parameters, v, tap_slope: One row per power flow.
        wanted: Parameters, shape (n_wanted,).
        sides: Filled, shape (n_rows, n_wanted, n_unknowns).
        a, m, places: `Arrays`, `Structure`, `Places`.
    """
    sides[:] = 0.0
    for row in range(len(parameters)):
        flow = flow_of(parameters[row], v[row], tap_slope[row], a, m)
        of_power = np.where(flow.held, -1, m.magnitude)  # equations of reactive power
        holding = holding_setpoints(flow, a, m, places)
        for k in range(len(wanted)):
            side = sides[row, k]
            section = places.section[wanted[k]]
            i = wanted[k] - a.sections[section]
            if section == SETPOINT:
                if holding[i]:
                    _raise_setpoint(side, a.setpoint_bus[i], flow, of_power, a, m, places)
            elif section == TAP:
                _raise_tap(side, i, flow, of_power, a, m)
            elif section in (SHUNT_P, SHUNT_Q, STEP):
                bus = a.shunt_bus[i]
                square = (flow.v[bus] * np.conj(flow.v[bus])).real
                power = -square * np.conj(shunt_slope(parameters[row], section, i, a))
                _add(side, m.angle[bus], of_power[bus], power)
            elif section in (P, Q, SCALING):
                bus = a.injection_bus[i]
                power = wanted_slope(parameters[row], section, i, flow, a)
                _add(side, m.angle[bus], of_power[bus], power)


@compiled_in_place
def _raise_setpoint(side, bus, flow, of_power, a, m, places):  # type: ignore[no-untyped-def]
    """Power that the buses around a raised voltage lack."""
    v, y, of_active = flow.v, flow.y, m.angle
    vm = magnitude(v[bus])
    dv = v[bus] / vm
    power = dv * np.conj(flow.injected[bus]) + v[bus] * np.conj(flow.shunt[bus] * dv)
    if len(flow.more):
        power += (flow.more[bus, 2] + 1j * flow.more[bus, 3]) / vm
    _add(side, of_active[bus], of_power[bus], -power)
    branch_from, branch_to, incident = a.branch_from, a.branch_to, places.incident
    for c in range(places.start[bus], places.start[bus + 1]):
        b = incident[c]
        f, t = branch_from[b], branch_to[b]
        y_from, y_to = y[b, 0], y[b, 2]
        if bus == t:
            y_from, y_to = y[b, 1], y[b, 3]
        _add(side, of_active[f], of_power[f], -v[f] * np.conj(y_from * dv))
        _add(side, of_active[t], of_power[t], -v[t] * np.conj(y_to * dv))


@compiled_in_place
def _raise_tap(side, changer, flow, of_power, a, m):  # type: ignore[no-untyped-def]
    """Power that the ends of the branches of a tap changer lack as its position grows."""
    for c in range(len(a.tap_branch)):
        if a.tap_changer[c] == changer:
            b, slope = a.tap_branch[c], flow.tap_slope[c]
            f, t = a.branch_from[b], a.branch_to[b]
            d_from = slope[0] * flow.v[f] + slope[1] * flow.v[t]
            d_to = slope[2] * flow.v[f] + slope[3] * flow.v[t]
            _add(side, m.angle[f], of_power[f], -flow.v[f] * np.conj(d_from))
            _add(side, m.angle[t], of_power[t], -flow.v[t] * np.conj(d_to))


@compiled_in_place
def _add(side, of_active, of_power, power):  # type: ignore[no-untyped-def]
    """Adds a power to the equations of a bus, where it has any."""
    if of_active >= 0:
        side[of_active] += power.real
    if of_power >= 0:
        side[of_power] += power.imag


@compiled_in_place
def shunt_slope(p, section, i, a):  # type: ignore[no-untyped-def]
    """Slope of a shunt's admittance by its active or reactive power or its steps. [p.u.]"""
    step = p[a.sections[STEP] + i]
    if section == SHUNT_P:
        return step * a.shunt_y_pu[i] + 0j
    if section == SHUNT_Q:
        return -1j * step * a.shunt_y_pu[i]
    return (p[a.sections[SHUNT_P] + i] - 1j * p[a.sections[SHUNT_Q] + i]) * a.shunt_y_pu[i]


@compiled_in_place
def injection_slope(p, section, i, a):  # type: ignore[no-untyped-def]
    """Slope of an injection by its active or reactive power or its scaling. [MVA]"""
    power = p[a.sections[P] + i] + 1j * p[a.sections[Q] + i]
    return slope_of_power(section, a.injection_sign[i], p[a.sections[SCALING] + i], power)


@compiled_in_place
def slope_of_power(section, sign, scaling, power):  # type: ignore[no-untyped-def]
    """Slope of ``sign * scaling * power`` by the power's parts or the scaling. [MVA]"""
    if section == P:
        return sign * scaling + 0j
    if section == Q:
        return 1j * sign * scaling
    return sign * power


@compiled
def wanted_slope(p, section, i, flow, a):  # type: ignore[no-untyped-def]
    """Slope of the power that a bus is to have by an injection's power or scaling. [p.u.]

    Demand that depends on voltage grows with the demand; a unit out of service injects nothing.
    """
    moved = injection_slope(p, section, i, a)
    if a.injection_is_machine[i]:
        return 0j if injections_off(p, a)[i] else moved / a.base_mva
    if len(flow.more):
        bus = a.injection_bus[i]
        more = moved.real * flow.more[bus, 0] + 1j * moved.imag * flow.more[bus, 1]
        return moved / a.base_mva + more
    return moved / a.base_mva


@compiled
def injections_off(p, a):  # type: ignore[no-untyped-def]
    """Which injections are those of units out of service."""
    off = np.zeros(len(a.injection_bus), dtype=np.bool_)
    for k in range(len(a.unit_bus)):
        if a.unit_injection[k] >= 0 and p[a.sections[UNIT] + k] == 0:
            off[a.unit_injection[k]] = True
    return off


@compiled
def movements(  # type: ignore[no-untyped-def]
    parameters, v, tap_slope, wanted, solutions, place, results, a, m, places
):
    """How results move when parameters grow.

    Args:
        parameters, v, tap_slope: One row per power flow.
        wanted: Parameters, shape (n_wanted,).
        solutions: Of `right_sides`, shape (n_rows, n_wanted, n_unknowns).
        place: Where each column of the state goes in ``results``, -1 for those that are not asked
            for, shape (n_values,).
        results: Filled, shape (n_rows, n_results, n_wanted).
        a, m, places: `Arrays`, `Structure`, `Places`.
    """
    results[:] = 0.0
    n_bus = len(a.v_start_pu)
    turn, growth = np.empty((n_bus, len(wanted))), np.empty((n_bus, len(wanted)))
    asks = np.zeros(n_bus, dtype=np.bool_)  # buses with machines whose results are asked for
    for i in range(len(a.machine_bus)):
        if place[a.machine_p_column[i]] >= 0 or place[a.machine_q_column[i]] >= 0:
            asks[a.machine_bus[i]] = True
    for row in range(len(parameters)):
        p = parameters[row]
        flow = flow_of(p, v[row], tap_slope[row], a, m)
        read_solutions(turn, growth, solutions[row], wanted, flow, a, m, places)
        _move_voltages(results[row], place, turn, growth, flow, a)
        _move_branches(results[row], place, turn, growth, flow, a)
        _move_machines(results[row], place, turn, growth, flow, p, a, places)
        for k in range(len(wanted)):
            section = places.section[wanted[k]]
            own = wanted[k] - a.sections[section]
            _move_directly(results[row], k, place, section, own, flow, p, a, asks)


@compiled
def read_solutions(turn, growth, solutions, wanted, flow, a, m, places):  # type: ignore[no-untyped-def]
    """How voltages move: angles, and logarithms of magnitudes, shape (n_buses, n_wanted)."""
    slack = m.slack[0] if len(m.slack) else -1
    n = len(wanted)
    for first in range(0, n, 8):  # lines of memory are read once
        last = min(n, first + 8)
        for b in range(len(m.angle)):
            at, of = m.angle[b], m.magnitude[b]
            if b == slack:
                at = -1
            for k in range(first, last):
                turn[b, k] = solutions[k, at] if at >= 0 else 0.0
                growth[b, k] = solutions[k, of] if of >= 0 else 0.0
    holding = holding_setpoints(flow, a, m, places)
    for k in range(len(wanted)):
        if places.section[wanted[k]] == SETPOINT:
            i = wanted[k] - a.sections[SETPOINT]
            if holding[i]:
                b = a.setpoint_bus[i]
                growth[b, k] += 1.0 / magnitude(flow.v[b])


@compiled
def _move_voltages(results, place, turn, growth, flow, a):  # type: ignore[no-untyped-def]
    n_rows = len(a.row_bus)
    for i in range(n_rows):
        b = a.row_bus[i]
        if b < 0:
            continue
        if place[i] >= 0:
            _add_scaled(results[place[i]], magnitude(flow.v[b]), growth[b])
        if place[n_rows + i] >= 0:
            _add_scaled(results[place[n_rows + i]], 180.0 / np.pi, turn[b])


@compiled
def _add_scaled(found, factor, moved):  # type: ignore[no-untyped-def]
    """``found += factor * moved``."""
    for k in range(len(found)):
        found[k] += factor * moved[k]


@compiled
def _add_moved(found, slope, v, turn, growth):  # type: ignore[no-untyped-def]
    """Adds what a slope by a complex voltage makes of its movement, ``Re(conj(slope) dv)``."""
    moved = np.conj(slope) * v
    for k in range(len(found)):
        found[k] += moved.real * growth[k] - moved.imag * turn[k]


@compiled
def _move_branches(results, place, turn, growth, flow, a):  # type: ignore[no-untyped-def]
    """Losses and loadings of branches."""
    for b in range(len(a.branch_from)):
        loss, loading = a.branch_loss_column[b], a.branch_loading_column[b]
        wants_loss = loss >= 0 and place[loss] >= 0
        wants_loading = loading >= 0 and place[loading] >= 0 and flow.loaded[b] > 0
        if not (wants_loss or wants_loading):
            continue
        f, t = a.branch_from[b], a.branch_to[b]
        y, v_from, v_to = flow.y[b], flow.v[f], flow.v[t]
        if wants_loss:
            by_from = flow.i_from[b] + np.conj(y[0]) * v_from + np.conj(y[2]) * v_to
            by_to = flow.i_to[b] + np.conj(y[1]) * v_from + np.conj(y[3]) * v_to
            found = results[place[loss]]
            _add_moved(found, a.base_mva * by_from, v_from, turn[f], growth[f])
            _add_moved(found, a.base_mva * by_to, v_to, turn[t], growth[t])
        if wants_loading:
            end = flow.loaded[b] - 1
            current = flow.i_from[b] if end == 0 else flow.i_to[b]
            current *= a.branch_loading[b, end] / magnitude(current)
            found = results[place[loading]]
            _add_moved(found, np.conj(y[2 * end]) * current, v_from, turn[f], growth[f])
            _add_moved(found, np.conj(y[2 * end + 1]) * current, v_to, turn[t], growth[t])


@compiled
def _move_machines(results, place, turn, growth, flow, p, a, places):  # type: ignore[no-untyped-def]
    """Active and reactive power of generators and external grids, as voltages move."""
    for i in range(len(a.machine_bus)):
        bus, share = a.machine_bus[i], a.machine_p_share[i]
        p_place = place[a.machine_p_column[i]] if share > 0 else -1
        q_place = place[a.machine_q_column[i]]
        if flow.is_at_limit[i]:
            q_place = -1
        if flow.is_out[i] or (p_place < 0 and q_place < 0):
            continue
        for which in range(2):
            at = p_place if which == 0 else q_place
            if at < 0:
                continue
            weight = (
                a.base_mva * share + 0j if which == 0 else 1j * a.base_mva * a.machine_q_share[i]
            )
            by_current = np.conj(weight) * flow.v[bus]
            found, v = results[at], flow.v[bus]
            own = weight * flow.injected[bus] + np.conj(flow.shunt[bus]) * by_current
            for c in range(places.start[bus], places.start[bus + 1]):
                b = places.incident[c]
                f, t = a.branch_from[b], a.branch_to[b]
                at_from = f == bus
                far = t if at_from else f
                y_own, y_far = (flow.y[b, 0], flow.y[b, 1])
                if not at_from:
                    y_own, y_far = flow.y[b, 3], flow.y[b, 2]
                own += np.conj(y_own) * by_current
                slope = np.conj(y_far) * by_current
                _add_moved(found, slope, flow.v[far], turn[far], growth[far])
            _add_moved(found, own, v, turn[bus], growth[bus])


@compiled_in_place
def _move_directly(results, k, place, section, own, flow, p, a, asks):  # type: ignore[no-untyped-def]
    """What a parameter moves apart from the voltages, of the k-th parameter."""
    bus, power = -1, 0j
    if section == TAP:
        for c in range(len(a.tap_branch)):
            if a.tap_changer[c] == own:
                _move_tap_branch(results, k, place, c, flow, p, a, asks)
    elif section in (SHUNT_P, SHUNT_Q, STEP):
        bus = a.shunt_bus[own]
        square = (flow.v[bus] * np.conj(flow.v[bus])).real
        power = a.base_mva * square * np.conj(shunt_slope(p, section, own, a))
    elif section in (P, Q, SCALING):
        if a.injection_is_machine[own]:
            _move_scheduled(results, k, place, section, own, flow, p, a)
        else:
            bus = a.injection_bus[own]
            power = -injection_slope(p, section, own, a)
    if bus >= 0 and asks[bus]:
        _move_power(results, k, place, bus, power, flow, p, a)


@compiled_in_place
def _move_tap_branch(results, k, place, c, flow, p, a, asks):  # type: ignore[no-untyped-def]
    """What a tap changer's position does to a branch that follows it, at given voltages."""
    b = a.tap_branch[c]
    f, t = a.branch_from[b], a.branch_to[b]
    slope = flow.tap_slope[c]
    d_from = slope[0] * flow.v[f] + slope[1] * flow.v[t]
    d_to = slope[2] * flow.v[f] + slope[3] * flow.v[t]
    s_from, s_to = flow.v[f] * np.conj(d_from), flow.v[t] * np.conj(d_to)
    loss, loading = a.branch_loss_column[b], a.branch_loading_column[b]
    if loss >= 0 and place[loss] >= 0:
        results[place[loss], k] += a.base_mva * (s_from + s_to).real
    if loading >= 0 and place[loading] >= 0 and flow.loaded[b] > 0:
        current, moved = flow.i_from[b], d_from
        if flow.loaded[b] == 2:
            current, moved = flow.i_to[b], d_to
        grown = (np.conj(current) * moved).real / magnitude(current)
        results[place[loading], k] += a.branch_loading[b, flow.loaded[b] - 1] * grown
    if asks[f]:
        _move_power(results, k, place, f, a.base_mva * s_from, flow, p, a)
    if asks[t]:
        _move_power(results, k, place, t, a.base_mva * s_to, flow, p, a)


@compiled_in_place
def _move_power(results, k, place, bus, power, flow, p, a):  # type: ignore[no-untyped-def]
    """Power that a bus's machines have to give more, in their results. [MVA]"""
    for i in range(len(a.machine_bus)):
        if a.machine_bus[i] != bus or flow.is_out[i]:
            continue
        p_place, q_place = place[a.machine_p_column[i]], place[a.machine_q_column[i]]
        if q_place >= 0 and not flow.is_at_limit[i]:
            results[q_place, k] += a.machine_q_share[i] * power.imag
        if p_place >= 0:
            results[p_place, k] += a.machine_p_share[i] * power.real


@compiled_in_place
def _move_scheduled(results, k, place, section, own, flow, p, a):  # type: ignore[no-untyped-def]
    """Scheduled power of a machine, and what a slack at its bus gives less."""
    for i in range(len(a.machine_bus)):
        if a.machine_injection[i] != own or a.machine_p_share[i] > 0 or flow.is_out[i]:
            continue
        slope = _scheduled_slope(p, i, section, own, a)
        if place[a.machine_p_column[i]] >= 0:
            results[place[a.machine_p_column[i]], k] += slope
        for other in range(len(a.machine_bus)):
            if a.machine_bus[other] == a.machine_bus[i] and a.machine_p_share[other] > 0:
                at = place[a.machine_p_column[other]]
                if at >= 0:
                    results[at, k] -= a.machine_p_share[other] * slope


@compiled_in_place
def _scheduled_slope(p, machine, section, own, a):  # type: ignore[no-untyped-def]
    """How the scheduled power of a machine moves with a parameter."""
    if a.machine_injection[machine] != own:
        return 0.0
    if section == P:
        return p[a.sections[SCALING] + own]
    if section == SCALING:
        return p[a.sections[P] + own]
    return 0.0


# -- backward ------------------------------------------------------------------------------------


@compiled
def adjoint_sides(  # type: ignore[no-untyped-def]
    parameters, v, tap_slope, weights, by_model, sides, a, m, places
):
    """Slopes of weighted sums of results by the unknowns.

    Args:
        parameters, v, tap_slope: One row per power flow.
        weights: Of the columns of the state, shape (n_rows, n_sums, n_values).
        by_model: Further slopes of the sums by voltages and admittances, `ByModel`.
        sides: Filled, shape (n_rows, n_sums, n_unknowns).
        a, m, places: `Arrays`, `Structure`, `Places`.
    """
    angle, of_magnitude = m.angle, m.magnitude
    slack = m.slack[0] if len(m.slack) else -1
    n_bus, n_branch = len(a.v_start_pu), len(a.branch_from)
    by_v = np.empty(n_bus, dtype=np.complex128)
    by_y = np.empty((n_branch, 4), dtype=np.complex128)
    by_shunt = np.empty(n_bus, dtype=np.complex128)
    by_power = np.empty(n_bus, dtype=np.complex128)
    by_scheduled = np.empty(len(a.machine_bus))
    for row in range(len(parameters)):
        flow = flow_of(parameters[row], v[row], tap_slope[row], a, m)
        voltage = flow.v
        for k in range(weights.shape[1]):
            w, side = weights[row, k], sides[row, k]
            weigh_machines(w, by_power, by_scheduled, flow, a)
            backward(w, by_power, by_v, by_y, by_shunt, flow, a)
            _add_by_model(by_v, by_y, by_shunt, row, k, by_model)
            for b in range(n_bus):
                slope = np.conj(by_v[b]) * voltage[b]
                if angle[b] >= 0:
                    side[angle[b]] = -slope.imag if b != slack else 0.0
                if of_magnitude[b] >= 0:
                    side[of_magnitude[b]] = slope.real


@compiled
def adjoint_slopes(  # type: ignore[no-untyped-def]
    parameters, v, tap_slope, weights, by_model, solutions, slopes, a, m, places
):
    """Slopes of weighted sums of results by all parameters.

    Args:
        parameters, v, tap_slope, weights, by_model: As of `adjoint_sides`.
        solutions: Its sides solved with the transposed Jacobians.
        slopes: Filled, shape (n_rows, n_sums, n_parameters).
        a, m, places: `Arrays`, `Structure`, `Places`.
    """
    n_bus, n_branch = len(a.v_start_pu), len(a.branch_from)
    by_v = np.empty(n_bus, dtype=np.complex128)
    by_y = np.empty((n_branch, 4), dtype=np.complex128)
    by_shunt = np.empty(n_bus, dtype=np.complex128)
    by_power = np.empty(n_bus, dtype=np.complex128)
    by_wanted = np.empty(n_bus, dtype=np.complex128)
    by_scheduled = np.empty(len(a.machine_bus))
    # once: every use of a field of `a` counts the references of all its arrays
    sections, base_mva, is_machine = a.sections, a.base_mva, a.injection_is_machine
    injection_bus, injection_sign = a.injection_bus, a.injection_sign
    slopes[:] = 0.0
    for row in range(len(parameters)):
        p = parameters[row]
        flow = flow_of(p, v[row], tap_slope[row], a, m)
        more = flow.more
        for k in range(weights.shape[1]):
            w, solution, found = weights[row, k], solutions[row, k], slopes[row, k]
            weigh_machines(w, by_power, by_scheduled, flow, a)
            for b in range(n_bus):
                real = solution[m.angle[b]] if m.angle[b] >= 0 else 0.0
                imaginary = 0.0
                if m.magnitude[b] >= 0 and not flow.held[b]:
                    imaginary = solution[m.magnitude[b]]
                by_wanted[b] = real + 1j * imaginary
                by_power[b] -= by_wanted[b]
            backward(w, by_power, by_v, by_y, by_shunt, flow, a)
            _add_by_model(by_v, by_y, by_shunt, row, k, by_model)
            holding = holding_setpoints(flow, a, m, places)
            for i in range(len(holding)):
                if holding[i]:
                    b = a.setpoint_bus[i]
                    slope = (np.conj(by_v[b]) * flow.v[b]).real
                    if len(flow.more):
                        slope -= by_wanted[b].real * flow.more[b, 2]
                        slope -= by_wanted[b].imag * flow.more[b, 3]
                    found[a.sections[SETPOINT] + i] = slope / magnitude(flow.v[b])
            off = injections_off(p, a)
            for i in range(len(injection_bus)):
                b, sign, scaling = injection_bus[i], injection_sign[i], p[sections[SCALING] + i]
                power = p[sections[P] + i] + 1j * p[sections[Q] + i]
                for section in (P, Q, SCALING):
                    moved = slope_of_power(section, sign, scaling, power)
                    seen = moved / base_mva
                    if is_machine[i]:
                        total = 0.0 if off[i] else (np.conj(by_wanted[b]) * seen).real
                    else:
                        wanted = seen
                        if len(more):
                            wanted += moved.real * more[b, 0] + 1j * moved.imag * more[b, 1]
                        total = (np.conj(by_wanted[b]) * wanted).real
                        # results of machines see the demand
                        total -= (np.conj(by_power[b] + by_wanted[b]) * seen).real
                    found[sections[section] + i] = total
            for i in range(len(a.machine_bus)):
                own = a.machine_injection[i]
                if own >= 0:
                    for section in (P, SCALING):
                        slope = _scheduled_slope(p, i, section, own, a)
                        found[a.sections[section] + own] += by_scheduled[i] * slope
            for i in range(len(a.shunt_bus)):
                for section in (SHUNT_P, SHUNT_Q, STEP):
                    slope = shunt_slope(p, section, i, a)
                    moved = np.conj(by_shunt[a.shunt_bus[i]]) * slope
                    found[a.sections[section] + i] = moved.real
            for i in range(len(a.tap_branch)):
                total = 0.0
                for c in range(4):
                    total += (np.conj(by_y[a.tap_branch[i], c]) * flow.tap_slope[i, c]).real
                found[a.sections[TAP] + a.tap_changer[i]] += total


@compiled
def _add_by_model(by_v, by_y, by_shunt, row, k, by_model):  # type: ignore[no-untyped-def]
    """Adds slopes by voltages and by the admittance matrix to those of results."""
    if not by_model.v.shape[1]:
        return
    of_matrix = by_model.ybus[row, k]
    for b in range(len(by_v)):
        by_v[b] += by_model.v[row, k, b]
        by_shunt[b] += of_matrix[by_model.diagonal_position[b]]
    for b in range(len(by_y)):
        for c in range(4):
            by_y[b, c] += of_matrix[by_model.branch_position[b, c]]


@compiled
def weigh_machines(w, by_power, by_scheduled, flow, a):  # type: ignore[no-untyped-def]
    """Weights of the power of buses (p.u.) and of scheduled powers in results of machines."""
    by_power[:] = 0.0
    by_scheduled[:] = 0.0
    machine_bus, p_share, q_share = a.machine_bus, a.machine_p_share, a.machine_q_share
    p_column, q_column = a.machine_p_column, a.machine_q_column
    is_out, is_at_limit, base_mva = flow.is_out, flow.is_at_limit, a.base_mva
    for i in range(len(machine_bus)):
        bus, share = machine_bus[i], p_share[i]
        if is_out[i]:
            continue
        if not is_at_limit[i]:
            by_power[bus] += 1j * base_mva * q_share[i] * w[q_column[i]]
        weight = w[p_column[i]]
        if share == 0:
            by_scheduled[i] += weight
        elif weight != 0:
            by_power[bus] += base_mva * share * weight
            for k in range(len(machine_bus)):
                if machine_bus[k] == bus and p_share[k] == 0:
                    by_scheduled[k] -= share * weight


@compiled
def backward(w, by_power, by_v, by_y, by_shunt, flow, a):  # type: ignore[no-untyped-def]
    """Slopes of a weighted sum by voltages and admittances, as if they were free.

    A slope by a complex number z is a complex number c, so that the sum moves by
    ``Re(conj(c) dz)``.

    Args:
        w: Weights of the columns of the state.
        by_power: Weights of the power that leaves a bus, ``Re(conj(weight) S)``. [1/p.u.]
        by_v, by_y, by_shunt: Filled.
        flow, a: `Flow`, `Arrays`.
    """
    n_rows = len(a.row_bus)
    v, y, i_from, i_to, loaded = flow.v, flow.y, flow.i_from, flow.i_to, flow.loaded
    branch_from, branch_to, branch_loading = a.branch_from, a.branch_to, a.branch_loading
    loss_column, loading_column = a.branch_loss_column, a.branch_loading_column
    for b in range(len(by_v)):
        by_v[b] = by_power[b] * flow.injected[b]
        by_current = np.conj(by_power[b]) * flow.v[b]
        by_shunt[b] = by_current * np.conj(flow.v[b])
        by_v[b] += np.conj(flow.shunt[b]) * by_current
    for i in range(n_rows):
        b = a.row_bus[i]
        if b >= 0:
            by_v[b] += w[i] * flow.v[b] / magnitude(flow.v[b])
            if w[n_rows + i] != 0:
                turn = 1j * flow.v[b] / (flow.v[b] * np.conj(flow.v[b])).real
                by_v[b] += w[n_rows + i] * (180.0 / np.pi) * turn
    for b in range(len(branch_from)):
        f, t = branch_from[b], branch_to[b]
        by_from = np.conj(by_power[f]) * v[f]
        by_to = np.conj(by_power[t]) * v[t]
        if loss_column[b] >= 0:
            weight = a.base_mva * w[loss_column[b]]
            by_from += weight * v[f]
            by_to += weight * v[t]
            by_v[f] += weight * i_from[b]
            by_v[t] += weight * i_to[b]
        if loaded[b] == 1 and w[loading_column[b]] != 0:
            weight = branch_loading[b, 0] * w[loading_column[b]]
            by_from += weight * i_from[b] / magnitude(i_from[b])
        elif loaded[b] == 2 and w[loading_column[b]] != 0:
            weight = branch_loading[b, 1] * w[loading_column[b]]
            by_to += weight * i_to[b] / magnitude(i_to[b])
        by_v[f] += np.conj(y[b, 0]) * by_from + np.conj(y[b, 2]) * by_to
        by_v[t] += np.conj(y[b, 1]) * by_from + np.conj(y[b, 3]) * by_to
        by_y[b, 0] = by_from * np.conj(v[f])
        by_y[b, 1] = by_from * np.conj(v[t])
        by_y[b, 2] = by_to * np.conj(v[f])
        by_y[b, 3] = by_to * np.conj(v[t])
