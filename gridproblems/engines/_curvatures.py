"""Compiled loops of second derivatives: how slopes of a weighted sum move with parameters.

With the multipliers ``l = J^-T df/ds`` of the mismatch g (see `_tangents`), the Lagrangian
``L = f + l g`` of a weighted sum f of results has the slopes of f by the parameters, and

    d2f/dp2 = D' (d2L / d(s, p)2) D,    D = [ds/dp; 1],

for the terms with d2s/dp2 cancel. The loops here make ``(d2L / d(s, p)2) D``, one column per
parameter: the movement of what `_tangents.backward` gives, without another linear equation. All is
smooth between the kinks of `_tangents`.

Source:
    H. W. Dommel, W. F. Tinney, Optimal power flow solutions, IEEE Transactions on Power Apparatus
    and Systems PAS-87 (1968) 1866-1876, doi 10.1109/TPAS.1968.292150, appendix on second
    derivatives.
"""

from __future__ import annotations

import numpy as np

from gridproblems._compile import compiled, compiled_in_place
from gridproblems.engines._kernels import TO_END, WHOLE, magnitude
from gridproblems.engines._tangents import (
    SCALING,
    SETPOINT,
    SHUNT_P,
    SHUNT_Q,
    STEP,
    TAP,
    P,
    Q,
    backward,
    closed,
    flow_of,
    holding_setpoints,
    injection_slope,
    read_solutions,
    shunt_slope,
    weigh_machines,
)


@compiled
def second_slopes(  # type: ignore[no-untyped-def]
    parameters,
    v,
    tap_slope,
    tap_curvature,
    wanted,
    solutions,
    weights,
    multipliers,
    by_unknown,
    by_parameter,
    a,
    m,
    places,
):
    """How slopes of the Lagrangian move when parameters grow.

    Args:
        parameters, v, tap_slope: One row per power flow.
        tap_curvature: Of the admittances of branches with tap changers by the position, twice.
        wanted: Parameters, shape (n_wanted,).
        solutions: Of `_tangents.right_sides`, shape (n_rows, n_wanted, n_unknowns).
        weights: Of the columns of the state, shape (n_rows, n_values).
        multipliers: Solutions of `_tangents.adjoint_sides`, shape (n_rows, n_unknowns).
        by_unknown: Filled: slopes by the unknowns, shape (n_rows, n_wanted, n_unknowns).
        by_parameter: Filled: slopes by the parameters, shape (n_rows, n_wanted, n_wanted).
        a, m, places: `Arrays`, `Structure`, `Places`.
    """
    n_bus, n_branch = len(a.v_start_pu), len(a.branch_from)
    slack = m.slack[0] if len(m.slack) else -1
    turn, growth = np.empty((n_bus, len(wanted))), np.empty((n_bus, len(wanted)))
    by_v = np.empty(n_bus, dtype=np.complex128)
    by_y = np.empty((n_branch, 4), dtype=np.complex128)
    by_shunt = np.empty(n_bus, dtype=np.complex128)
    by_power = np.empty(n_bus, dtype=np.complex128)
    by_wanted = np.empty(n_bus, dtype=np.complex128)
    by_scheduled = np.empty(len(a.machine_bus))
    moved_v = np.empty(n_bus, dtype=np.complex128)
    moved_y = np.zeros((n_branch, 4), dtype=np.complex128)
    moved_shunt = np.zeros(n_bus, dtype=np.complex128)
    of_v = np.empty(n_bus, dtype=np.complex128)
    of_y = np.empty((n_branch, 4), dtype=np.complex128)
    of_shunt = np.empty(n_bus, dtype=np.complex128)
    of_growth, of_tap = np.empty(n_bus), np.empty(a.sections[8] - a.sections[7])
    for row in range(len(parameters)):
        p, w, multiplier = parameters[row], weights[row], multipliers[row]
        flow = flow_of(p, v[row], tap_slope[row], a, m)
        curvature = tap_curvature[row].copy()
        _open_curvatures(curvature, p, tap_slope[row], a)
        read_solutions(turn, growth, solutions[row], wanted, flow, a, m, places)
        holding = holding_setpoints(flow, a, m, places)
        weigh_machines(w, by_power, by_scheduled, flow, a)
        for b in range(n_bus):
            real = multiplier[m.angle[b]] if m.angle[b] >= 0 else 0.0
            imaginary = 0.0
            if m.magnitude[b] >= 0 and not flow.held[b]:
                imaginary = multiplier[m.magnitude[b]]
            by_wanted[b] = real + 1j * imaginary
            by_power[b] -= by_wanted[b]
        backward(w, by_power, by_v, by_y, by_shunt, flow, a)
        for k in range(len(wanted)):
            section = places.section[wanted[k]]
            own = wanted[k] - a.sections[section]
            for b in range(n_bus):
                moved_v[b] = flow.v[b] * (growth[b, k] + 1j * turn[b, k])
            if section == TAP:
                _put_tap(moved_y, flow, own, a, 1.0)
            if section in (SHUNT_P, SHUNT_Q, STEP):
                moved_shunt[a.shunt_bus[own]] = shunt_slope(p, section, own, a)
            _move_backward(
                w, by_power, moved_v, moved_y, moved_shunt, of_v, of_y, of_shunt, flow, a
            )
            for b in range(n_bus):
                slope = np.conj(of_v[b]) * flow.v[b] + np.conj(by_v[b]) * moved_v[b]
                of_growth[b] = slope.real
                if m.angle[b] >= 0:
                    by_unknown[row, k, m.angle[b]] = -slope.imag if b != slack else 0.0
            if len(flow.more):
                _move_demand(of_growth, by_wanted, growth, k, section, own, p, flow, a, m)
            for b in range(n_bus):
                if m.magnitude[b] >= 0:
                    by_unknown[row, k, m.magnitude[b]] = of_growth[b]
            of_tap[:] = 0.0
            for c in range(len(a.tap_branch)):
                for e in range(4):
                    moved = (np.conj(of_y[a.tap_branch[c], e]) * flow.tap_slope[c, e]).real
                    if section == TAP and a.tap_changer[c] == own:
                        moved += (np.conj(by_y[a.tap_branch[c], e]) * curvature[c, e]).real
                    of_tap[a.tap_changer[c]] += moved
            for j in range(len(wanted)):
                other = places.section[wanted[j]]
                i = wanted[j] - a.sections[other]
                found = 0.0
                if other == SETPOINT:
                    if holding[i]:
                        b = a.setpoint_bus[i]
                        slope = (np.conj(by_v[b]) * flow.v[b]).real
                        if len(flow.more):
                            slope -= by_wanted[b].real * flow.more[b, 2]
                            slope -= by_wanted[b].imag * flow.more[b, 3]
                        found = (of_growth[b] - slope * growth[b, k]) / magnitude(flow.v[b])
                elif other == TAP:
                    found = of_tap[i]
                elif other in (SHUNT_P, SHUNT_Q, STEP):
                    bus = a.shunt_bus[i]
                    found = (np.conj(of_shunt[bus]) * shunt_slope(p, other, i, a)).real
                    if section in (SHUNT_P, SHUNT_Q, STEP) and own == i:
                        twice = _shunt_curvature(section, other, i, a)
                        found += (np.conj(by_shunt[bus]) * twice).real
                elif other in (P, Q, SCALING):
                    found = _of_injection(
                        section, own, other, i, k, p, by_wanted, by_power, growth, flow, a, m
                    )
                    if own == i and _is_scaled(section, other) and section != Q and other != Q:
                        for c in range(len(a.machine_bus)):
                            if a.machine_injection[c] == i:
                                found += by_scheduled[c]
                by_parameter[row, k, j] = found
            if section == TAP:
                _put_tap(moved_y, flow, own, a, 0.0)
            if section in (SHUNT_P, SHUNT_Q, STEP):
                moved_shunt[a.shunt_bus[own]] = 0.0


@compiled
def _open_curvatures(curvature, p, tap_slope, a):  # type: ignore[no-untyped-def]
    """Second derivative of `_kernels.open_branch` of branches with tap changers, in place."""
    for i in range(len(a.status_branch)):
        if p[a.sections[8] + i] != 0:
            continue
        for k in range(len(a.tap_branch)):
            if a.tap_branch[k] != a.status_branch[i]:
                continue
            end, twice, once, y = a.status_end[i], curvature[k], tap_slope[k], closed(p, k, a)
            if end == WHOLE:
                twice[:] = 0
                continue
            own, far = (0, 3) if end == TO_END else (3, 0)
            if y[far] != 0:
                through = y[1] * y[2]
                by_once = once[1] * y[2] + y[1] * once[2]
                by_twice = twice[1] * y[2] + 2.0 * once[1] * once[2] + y[1] * twice[2]
                grown = once[far] / y[far]
                moved = by_twice - 2.0 * by_once * grown
                moved += through * (2.0 * grown * grown - twice[far] / y[far])
                twice[own] -= moved / y[far]
            for c in range(4):
                if c != own:
                    twice[c] = 0


@compiled_in_place
def _put_tap(moved_y, flow, changer, a, factor):  # type: ignore[no-untyped-def]
    """Slopes of admittances by a tap changer's position, times a factor, at its branches."""
    for c in range(len(a.tap_branch)):
        if a.tap_changer[c] == changer:
            for e in range(4):
                moved_y[a.tap_branch[c], e] = factor * flow.tap_slope[c, e]


@compiled
def _move_backward(  # type: ignore[no-untyped-def]
    w, by_power, moved_v, moved_y, moved_shunt, of_v, of_y, of_shunt, flow, a
):
    """How the slopes of `_tangents.backward` move with voltages and admittances.

    Args:
        w, by_power: As there.
        moved_v, moved_y, moved_shunt: Movements.
        of_v, of_y, of_shunt: Filled.
        flow, a: `Flow`, `Arrays`.
    """
    n_rows = len(a.row_bus)
    v, y, i_from, i_to, loaded = flow.v, flow.y, flow.i_from, flow.i_to, flow.loaded
    branch_from, branch_to, branch_loading = a.branch_from, a.branch_to, a.branch_loading
    loss_column, loading_column = a.branch_loss_column, a.branch_loading_column
    for b in range(len(of_v)):
        by_current = np.conj(by_power[b]) * v[b]
        moved = np.conj(by_power[b]) * moved_v[b]
        of_shunt[b] = moved * np.conj(v[b]) + by_current * np.conj(moved_v[b])
        injected = moved_shunt[b] * v[b] + flow.shunt[b] * moved_v[b]
        of_v[b] = by_power[b] * injected
        of_v[b] += np.conj(moved_shunt[b]) * by_current + np.conj(flow.shunt[b]) * moved
    for i in range(n_rows):
        b = a.row_bus[i]
        if b >= 0:
            if w[i] != 0:
                vm = magnitude(v[b])
                turn = (moved_v[b] * np.conj(v[b])).imag / (vm * vm)
                of_v[b] += (w[i] * turn / vm) * 1j * v[b]
            if w[n_rows + i] != 0:
                away = -1j * np.conj(moved_v[b]) / (np.conj(v[b]) * np.conj(v[b]))
                of_v[b] += w[n_rows + i] * (180.0 / np.pi) * away
    for b in range(len(branch_from)):
        f, t = branch_from[b], branch_to[b]
        moved_from = y[b, 0] * moved_v[f] + y[b, 1] * moved_v[t]
        moved_from += moved_y[b, 0] * v[f] + moved_y[b, 1] * v[t]
        moved_to = y[b, 2] * moved_v[f] + y[b, 3] * moved_v[t]
        moved_to += moved_y[b, 2] * v[f] + moved_y[b, 3] * v[t]
        of_v[f] += by_power[f] * moved_from
        of_v[t] += by_power[t] * moved_to
        by_from, by_to = np.conj(by_power[f]) * v[f], np.conj(by_power[t]) * v[t]
        of_from, of_to = np.conj(by_power[f]) * moved_v[f], np.conj(by_power[t]) * moved_v[t]
        if loss_column[b] >= 0:
            weight = a.base_mva * w[loss_column[b]]
            by_from += weight * v[f]
            by_to += weight * v[t]
            of_from += weight * moved_v[f]
            of_to += weight * moved_v[t]
            of_v[f] += weight * moved_from
            of_v[t] += weight * moved_to
        if loaded[b] == 1 and w[loading_column[b]] != 0:
            weight = branch_loading[b, 0] * w[loading_column[b]]
            length = magnitude(i_from[b])
            unit = i_from[b] / length
            by_from += weight * unit
            of_from += weight * (moved_from - unit * (np.conj(unit) * moved_from).real) / length
        elif loaded[b] == 2 and w[loading_column[b]] != 0:
            weight = branch_loading[b, 1] * w[loading_column[b]]
            length = magnitude(i_to[b])
            unit = i_to[b] / length
            by_to += weight * unit
            of_to += weight * (moved_to - unit * (np.conj(unit) * moved_to).real) / length
        of_v[f] += np.conj(y[b, 0]) * of_from + np.conj(y[b, 2]) * of_to
        of_v[f] += np.conj(moved_y[b, 0]) * by_from + np.conj(moved_y[b, 2]) * by_to
        of_v[t] += np.conj(y[b, 1]) * of_from + np.conj(y[b, 3]) * of_to
        of_v[t] += np.conj(moved_y[b, 1]) * by_from + np.conj(moved_y[b, 3]) * by_to
        of_y[b, 0] = of_from * np.conj(v[f]) + by_from * np.conj(moved_v[f])
        of_y[b, 1] = of_from * np.conj(v[t]) + by_from * np.conj(moved_v[t])
        of_y[b, 2] = of_to * np.conj(v[f]) + by_to * np.conj(moved_v[f])
        of_y[b, 3] = of_to * np.conj(v[t]) + by_to * np.conj(moved_v[t])


@compiled
def _move_demand(  # type: ignore[no-untyped-def]
    of_growth, by_wanted, growth, k, section, own, p, flow, a, m
):
    """Takes off how the growth of demand with the voltage moves, in place.

    Args:
        of_growth: Movement of slopes by logarithms of magnitudes, shape (n_buses,).
        by_wanted: Slopes by the power that buses are to have.
        growth: Of logarithms of magnitudes, shape (n_buses, n_wanted).
        k, section, own: The parameter that grows.
        p, flow, a, m: Parameters, `Flow`, `Arrays`, `Structure`.
    """
    for b in range(len(of_growth)):
        of_growth[b] -= by_wanted[b].real * flow.more[b, 4] * growth[b, k]
        of_growth[b] -= by_wanted[b].imag * flow.more[b, 5] * growth[b, k]
    if section in (P, Q, SCALING) and not a.injection_is_machine[own]:
        b = a.injection_bus[own]
        moved = injection_slope(p, section, own, a)
        grows = _growing(b, flow, m)
        of_growth[b] += by_wanted[b].real * moved.real * grows.real
        of_growth[b] += by_wanted[b].imag * moved.imag * grows.imag


@compiled
def _growing(b, flow, m):  # type: ignore[no-untyped-def]
    """How the shares of demand at a bus grow with the logarithm of the voltage, of active and
    reactive power as real and imaginary part. [1/p.u. base]"""
    vm, share = magnitude(flow.v[b]), m.zip_share_pu
    of_p = 2.0 * share[b, 0] * vm * vm + share[b, 1] * vm
    of_q = 2.0 * share[b, 2] * vm * vm + share[b, 3] * vm
    return of_p + 1j * of_q


@compiled_in_place
def _is_scaled(one, other):  # type: ignore[no-untyped-def]
    """Whether two numbers of an injection are multiplied: its scaling, and one of its powers."""
    return (one == SCALING) != (other == SCALING)


@compiled
def _of_injection(  # type: ignore[no-untyped-def]
    section, own, other, i, k, p, by_wanted, by_power, growth, flow, a, m
):
    """How the slope by a number of an injection moves with the k-th parameter."""
    b = a.injection_bus[i]
    is_machine = a.injection_is_machine[i]
    if is_machine:
        for c in range(len(a.unit_bus)):
            if a.unit_injection[c] == i and p[a.sections[9] + c] == 0:
                return 0.0
    twice = 0j
    if section in (P, Q, SCALING) and own == i and _is_scaled(section, other):
        twice = a.injection_sign[i] * (1j if Q in (section, other) else 1.0 + 0j)
    moved = twice / a.base_mva
    if len(flow.more) and not is_machine:
        moved += twice.real * flow.more[b, 0] + 1j * twice.imag * flow.more[b, 1]
        slope, grows = injection_slope(p, other, i, a), _growing(b, flow, m)
        moved += (slope.real * grows.real + 1j * slope.imag * grows.imag) * growth[b, k]
    found = (np.conj(by_wanted[b]) * moved).real
    if not is_machine:
        found -= (np.conj(by_power[b] + by_wanted[b]) * twice / a.base_mva).real
    return found


@compiled
def _shunt_curvature(section, other, i, a):  # type: ignore[no-untyped-def]
    """Second derivative of a shunt's admittance: steps and one of its powers are multiplied."""
    if (section == STEP) == (other == STEP):
        return 0j
    return -1j * a.shunt_y_pu[i] if SHUNT_Q in (section, other) else a.shunt_y_pu[i] + 0j
