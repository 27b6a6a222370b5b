"""Backward/forward sweep on pandapower's bus/branch model: radial grids without PV buses.

Shirmohammadi, Hong, Semlyen & Luo (1988), IEEE Transactions on Power Systems 3:753-762,
doi:10.1109/59.192932. Every branch is a general two-port, so transformers (ratio, phase shift),
line charging and shunts are part of the sweep.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._compile import compiled
from gridproblems.engines._compiled import (
    CompiledModel,
    NothingToSolve,
    asks_for,
    bus_branch_solution,
    compile_model,
    equal_setpoints,
    is_numeric,
    unsupported_reason,
)
from gridproblems.engines._kernels import IntArray, magnitude, prepare, read_results
from gridproblems.engines._newton import HIGH_PU, NewtonEngine
from gridproblems.engines._sensitivities import Linearised
from gridproblems.engines.reference import ReferenceEngine, depends_on_voltage
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import BusBranchSolution, Field, FloatArray, GridState, Settings

MAX_ITERATIONS = 10_000  # thousands are needed only next to voltage collapse
TOLERANCE_PU = 1e-11  # largest change of a voltage in the last sweep
COLLAPSED_PU = 1e-2  # a lower voltage ends the sweep without a solution
LOOP = -1
UNREACHED, ROOT = -2, -1


class SweepEngine:
    """Backward/forward sweep for radial grids; every power flow may have its own topology.

    Buses without path to an external grid are without supply, as in pandapower. A topology with
    loops, or a path between two external grids, is a state that did not converge: this engine
    cannot solve it.

    Power flows with a tap position that is not whole or off the tap changer's range, and those with
    a voltage above `HIGH_PU`, where several solutions exist, are left to the Newton engine (the
    reference where loads depend on voltage), which gives what ``runpp`` gives.

    Args:
        net: The base case; it is copied and never changed.

    Raises:
        UnsupportedByEngine: The net has generators that hold a voltage, or elements that the
            bus/branch model cannot represent.
    """

    releases_gil = True

    def __init__(self, net: pandapowerNet) -> None:
        reason = unsupported_reason(net) or _beyond_sweep(net) or _held_voltage(net)
        if reason:
            raise UnsupportedByEngine(f"sweep engine: {reason}")
        self._net = copy.deepcopy(net)
        self._plans: dict[tuple[Field, ...], _Columns] = {}
        self._lock = threading.Lock()
        self._forget_others()

    def _forget_others(self) -> None:
        self._other: NewtonEngine | ReferenceEngine | None = None
        self._newton: NewtonEngine | None = None  # gives the slopes
        self._asked_newton = False

    def __getstate__(self) -> dict[str, Any]:
        return {"_net": self._net, "_plans": self._plans}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._forget_others()

    def check(self, settings: Settings) -> None:
        """Raises `UnsupportedByEngine` for fields that change more than numbers, and for loops."""
        for field in settings.fields:
            if not is_numeric(self._net, field):
                raise UnsupportedByEngine(
                    f"sweep engine: {field} changes the structure of the bus/branch model"
                )
        try:
            plan = self._plan(settings.fields)
        except NothingToSolve:
            raise UnsupportedByEngine("sweep engine: no branch is in service") from None
        loop = _first_loop(plan, settings.rows)
        if loop:
            raise UnsupportedByEngine(f"sweep engine: the grid is not radial, {loop}")

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, all power flows in one call."""
        plan, rows, shape = self._plan(settings.fields), settings.rows, settings.shape
        model, n = plan.model, len(rows)
        v = np.empty((n, len(model.arrays.v_start_pu)), dtype=np.complex128)
        values = np.empty((n, model.layout.n_values))
        converged = np.zeros(n, dtype=np.bool_)
        n_unsupplied = np.zeros(n, dtype=np.int64)
        left = np.zeros(n, dtype=np.bool_)
        _solve_rows(
            values,
            converged,
            left,
            n_unsupplied,
            v,
            rows,
            (model.parameters, plan.places, plan.source),
            model.arrays,
            plan.incident_start,
            plan.incident,
            plan.switchable,
            model.reference,
            model.consumer_bus,
        )
        if len(model.paired_place):
            refused = ~equal_setpoints(model, _parameters(plan, rows))
            converged[refused] = left[refused] = False
            values[refused] = np.nan
        n_unsupplied += model.n_unsupplied
        others = np.flatnonzero(left)
        other: GridState | None = None
        if len(others):
            other = self._leave(Settings(settings.fields, rows[others]))
            values[others] = other.values
            converged[others], n_unsupplied[others] = other.converged, other.n_unsupplied

        def solution(row: int) -> BusBranchSolution:
            if other is not None and left[row]:
                return other.bus_branch(int(np.searchsorted(others, row)))
            (parameters,) = _parameters(plan, rows[row : row + 1])
            return bus_branch_solution(model, parameters, v[row])

        return GridState(
            model.layout,
            values.reshape(*shape, model.layout.n_values),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            solution,
        )

    @property
    def linearise(self) -> Callable[[Settings], Linearised] | None:
        """See `Engine`; None where the Newton engine cannot represent the net."""
        with self._lock:
            if not self._asked_newton:
                self._asked_newton = True
                with contextlib.suppress(UnsupportedByEngine):
                    own = self._other
                    self._newton = own if isinstance(own, NewtonEngine) else NewtonEngine(self._net)
        return None if self._newton is None else partial(self._linearise, self._newton)

    def _linearise(self, newton: NewtonEngine, settings: Settings) -> Linearised:
        """Slopes by the Jacobian of Newton's method at the solution.

        States are those of `solve`; those with tap changers between whole positions are Newton's.
        """
        rows, shape = settings.rows, settings.shape
        between = np.zeros(len(rows), dtype=np.bool_)
        start = 0
        for field in settings.fields:
            stop = start + len(field.elements)
            if field.column == "tap_pos":
                own = rows[:, start:stop]
                between |= (own != np.rint(own)).any(axis=1)
            start = stop
        whole = np.flatnonzero(~between)
        state = self.solve(Settings(settings.fields, rows[whole]))
        solved = np.ones(len(rows), dtype=np.bool_)
        solved[whole] = state.converged & (state.n_unsupplied == 0)
        which = np.flatnonzero(solved)
        linear = newton.linearise(Settings(settings.fields, rows[which]))
        values = np.empty((len(rows), state.layout.n_values))
        converged = np.empty(len(rows), dtype=np.bool_)
        n_unsupplied = np.empty(len(rows), dtype=np.int64)
        for places, part in ((which, linear.state), (whole, state)):
            values[places], converged[places] = part.values, part.converged
            n_unsupplied[places] = part.n_unsupplied
        place = np.empty(len(rows), dtype=np.int64)
        place[which], place[whole] = np.arange(len(which)), np.arange(len(whole))

        def solution(row: int) -> BusBranchSolution:
            return (linear.state if between[row] else state).bus_branch(int(place[row]))

        combined = GridState(
            state.layout,
            values.reshape(*shape, state.layout.n_values),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            solution,
        )
        return linear.of_rows(combined, which)

    def _leave(self, settings: Settings) -> GridState:
        """What the engine says that gives what ``runpp`` gives."""
        with self._lock:
            if self._other is None:
                zip_loads = depends_on_voltage(self._net)
                self._other = (ReferenceEngine if zip_loads else NewtonEngine)(self._net)
        return self._other.solve(settings)

    def _plan(self, fields: tuple[Field, ...]) -> _Columns:
        with self._lock:
            if fields not in self._plans:
                model, places = compile_model(self._net, fields)
                if len(model.pv):
                    raise UnsupportedByEngine("sweep engine: a generator holds a bus voltage")
                self._plans[fields] = _Columns(
                    model,
                    places[places >= 0],
                    np.flatnonzero(places >= 0),
                    *_incidence(model),
                    np.unique(model.arrays.status_branch),
                )
        return self._plans[fields]


class _Columns(NamedTuple):
    """The model for settings with certain fields, and where their values go.

    ``incident[incident_start[b] : incident_start[b + 1]]`` are the branches at bus b;
    ``switchable`` are those that settings open, as a whole or at one end.
    """

    model: CompiledModel
    places: IntArray
    source: IntArray
    incident_start: IntArray
    incident: IntArray
    switchable: IntArray


def _parameters(plan: _Columns, rows: FloatArray) -> FloatArray:
    parameters = np.empty((len(rows), len(plan.model.parameters)))
    parameters[:] = plan.model.parameters
    parameters[:, plan.places] = rows[:, plan.source]
    return parameters


def _incidence(model: CompiledModel) -> tuple[IntArray, IntArray]:
    ends = np.concatenate([model.arrays.branch_from, model.arrays.branch_to])
    branch = np.tile(np.arange(len(model.arrays.branch_from)), 2)
    start = np.searchsorted(np.sort(ends), np.arange(len(model.arrays.v_start_pu) + 1))
    return start.astype(np.int64), branch[np.argsort(ends, kind="stable")]


def _beyond_sweep(net: pandapowerNet) -> str | None:
    """Names what Newton's method takes and the sweep does not, or None."""
    if len(net.dcline):
        return "the net has elements in table 'dcline'"
    for option in ("enforce_q_lims", "distributed_slack"):
        if asks_for(net, option):
            return f"the net asks for the power flow option {option}=True"
    return None


def _held_voltage(net: pandapowerNet) -> str | None:
    """Names a generator in service that holds the voltage of a bus which no slack holds."""
    in_service = net.gen[net.gen.in_service.astype(bool)]
    held = set(net.ext_grid.bus[net.ext_grid.in_service.astype(bool)])
    held |= set(in_service.bus[in_service.slack.astype(bool)])
    for gen, bus in in_service.bus.items():
        if bus not in held:
            return f"gen {gen} holds the voltage of bus {bus}; make it an sgen or use newton"
    return None


def _first_loop(plan: _Columns, rows: FloatArray) -> str | None:
    """Names a bus on a loop of the first power flow that has one."""
    a = plan.model.arrays
    if not len(plan.switchable):  # all have the same branches
        rows = rows[:1]
    for parameters in _parameters(plan, rows):
        bus = _bus_on_loop(parameters, a, plan.incident_start, plan.incident, plan.model.reference)
        if bus >= 0:
            labels = np.flatnonzero(a.row_bus == bus)
            where = f"near row {labels[0]} of the bus table" if len(labels) else "in a transformer"
            return f"there is a loop, or a path between two external grids, {where}"
    return None


@compiled
def _bus_on_loop(parameters, a, incident_start, incident, reference):  # type: ignore[no-untyped-def]
    """A model bus that is reached twice, -1 in a radial grid."""
    n_bus = len(a.v_start_pu)
    v, s, demand, shunt = (
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
    )
    y = np.empty((len(a.branch_from), 4), dtype=np.complex128)
    prepare(parameters, a, v, s, demand, y, shunt)
    order = np.empty(n_bus, dtype=np.int64)
    parent = np.empty(n_bus, dtype=np.int64)
    place = np.empty(n_bus, dtype=np.int64)
    ends = a.branch_from, a.branch_to
    if _grow(y, ends, incident_start, incident, reference, order, parent, place) == LOOP:
        return order[0]
    return -1


@compiled
def _grow(y, ends, incident_start, incident, reference, order, parent, place):  # type: ignore[no-untyped-def]
    """Breadth-first trees from the slack buses over branches that connect.

    Args:
        ends: The buses at which each branch begins and ends.
        order: Filled with the buses reached, parents before children.
        parent: Filled with the branch to the parent per place in ``order``, ROOT for slack buses.
        place: Filled with the place in ``order`` per bus, UNREACHED for the others.

    Returns:
        Number of buses reached; LOOP if one is reached twice, with that bus in ``order[0]``.
    """
    branch_from, branch_to = ends
    place[:] = UNREACHED
    n = 0
    for b in reference:
        order[n], parent[n], place[b] = b, ROOT, n
        n += 1
    i = 0
    while i < n:
        b = order[i]
        for k in range(incident_start[b], incident_start[b + 1]):
            branch = incident[k]
            if y[branch, 1] == 0 or branch == parent[i]:
                continue
            other = branch_to[branch] if branch_from[branch] == b else branch_from[branch]
            if place[other] != UNREACHED:
                order[0] = other
                return LOOP
            order[n], parent[n], place[other] = other, branch, n
            n += 1
        i += 1
    return n


@compiled
def _solve_rows(  # type: ignore[no-untyped-def]
    values,
    converged,
    left,
    n_unsupplied,
    v_all,
    rows,
    put,
    a,
    incident_start,
    incident,
    switchable,
    reference,
    consumer_bus,
):
    """Solves one power flow per row and fills its row of the state, NaN where there is none.

    ``put`` are the parameters of the base case, and where which values of a row go in them.

    Rows that are ``left`` to another engine are those with taps off the table in a grid without
    loop, and those with a voltage above `HIGH_PU`.
    """
    # each loop is given what it reads: all arrays cost it more than its work does
    ends, zip_share, base_mva = (a.branch_from, a.branch_to), a.zip_share, a.base_mva
    branch_from, branch_to = ends
    n_bus, n_branch = len(a.v_start_pu), len(a.branch_from)
    s, demand, shunt = (
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
        np.empty(n_bus, dtype=np.complex128),
    )
    y = np.empty((n_branch, 4), dtype=np.complex128)
    order, parent, place = (
        np.empty(n_bus, dtype=np.int64),
        np.empty(n_bus, dtype=np.int64),
        np.empty(n_bus, dtype=np.int64),
    )
    above = np.empty(n_bus, dtype=np.int64)
    port = np.empty((n_bus, 4), dtype=np.complex128)
    charging = np.empty(n_bus, dtype=np.complex128)
    n_reached = 0
    base, places, source = put
    parameters, before = base.copy(), base.copy()
    for row in range(len(values)):
        v = v_all[row]
        before[:] = parameters
        for i in range(len(places)):
            parameters[places[i]] = rows[row, source[i]]
        on_table = prepare(parameters, a, v, s, demand, y, shunt)
        rewired = row == 0 or _differ(parameters, before, a.sections[8])
        if rewired:
            n_reached = _grow(y, ends, incident_start, incident, reference, order, parent, place)
        if n_reached != LOOP and _is_loaded(n_reached, y, ends, switchable, place, len(reference)):
            if rewired or len(a.tap_branch):
                _orient(n_reached, y, ends, order, parent, place, above, port)
            charging[:] = shunt
            for branch in switchable:
                if y[branch, 1] == 0:  # open ends charge from the other
                    charging[branch_from[branch]] += y[branch, 0]
                    charging[branch_to[branch]] += y[branch, 3]
            if on_table:
                converged[row] = _sweep(
                    n_reached,
                    len(reference),
                    v,
                    s,
                    demand,
                    charging,
                    order,
                    above,
                    port,
                    zip_share,
                    base_mva,
                )
                left[row] = converged[row] and _is_high(v, place)
            else:
                left[row] = True
        if not converged[row]:
            values[row, :] = np.nan
            v[:] = np.nan
            continue
        for b in range(n_bus):
            if place[b] == UNREACHED:
                v[b] = np.nan
        for b in consumer_bus:
            n_unsupplied[row] += place[b] == UNREACHED
        read_results(values[row], v, demand, parameters, y, shunt, a)


@compiled
def _is_loaded(n_reached, y, ends, switchable, place, n_roots):  # type: ignore[no-untyped-def]
    """Whether anything is connected to the slack buses, if only a branch open at its far end."""
    branch_from, branch_to = ends
    n_connected = n_reached - n_roots
    for branch in switchable:
        if y[branch, 1] == 0:
            at_from = y[branch, 0] != 0 and place[branch_from[branch]] != UNREACHED
            at_to = y[branch, 3] != 0 and place[branch_to[branch]] != UNREACHED
            n_connected += at_from + at_to
    return n_connected > 0


@compiled
def _is_high(v, place):  # type: ignore[no-untyped-def]
    """Whether a bus that was reached has a voltage above `HIGH_PU`."""
    n_high = 0
    for b in range(len(v)):
        n_high += place[b] != UNREACHED and magnitude(v[b]) > HIGH_PU
    return n_high > 0


@compiled
def _differ(one, other, first):  # type: ignore[no-untyped-def]
    """Whether two vectors differ from a place on."""
    n_different = 0
    for i in range(first, len(one)):
        n_different += one[i] != other[i]
    return n_different > 0


@compiled
def _orient(n_reached, y, ends, order, parent, place, above, port):  # type: ignore[no-untyped-def]
    """Writes every branch of the trees as a two-port between parent p and child c.

    With the currents into the branch, ``V_c = port[0] V_p + port[1] I_c`` and
    ``I_p = port[2] V_p + port[3] I_c``; ``above`` is the place of the parent in ``order``.
    """
    branch_from, branch_to = ends
    for i in range(n_reached):
        branch = parent[i]
        if branch == ROOT:
            continue
        if branch_to[branch] == order[i]:
            above[i] = place[branch_from[branch]]
            ypp, ypc, ycp, ycc = y[branch]
        else:
            above[i] = place[branch_to[branch]]
            ycc, ycp, ypc, ypp = y[branch]
        z = 1.0 / ycc
        port[i, 0] = -ycp * z
        port[i, 1] = z
        port[i, 2] = ypp - ypc * ycp * z
        port[i, 3] = ypc * z


@compiled
def _sweep(  # type: ignore[no-untyped-def]
    n_reached, n_roots, v_bus, s_bus, demand, charging, order, above, port, zip_share, base_mva
):
    """Sweeps until no voltage changes any more; leaves the voltages in ``v_bus``.

    Where loads depend on voltage (ZIP), so does all demand at their bus, as in pandapower: of
    its share z falls with the square of the voltage, the share i with the voltage.

    Returns:
        Whether the voltages settled; where there is no solution, steps grow after a while.
    """
    v, s, current, y = (
        np.empty(n_reached, dtype=np.complex128),
        np.empty(n_reached, dtype=np.complex128),
        np.empty(n_reached, dtype=np.complex128),
        np.empty(n_reached, dtype=np.complex128),
    )
    for i in range(n_reached):
        b = order[i]
        v[i] = v_bus[b] if i < n_roots else port[i, 0] * v[above[i]]
        s[i], y[i] = s_bus[b], charging[b]
    is_zip = len(zip_share) > 0
    settled = False
    least = np.inf
    for iteration in range(MAX_ITERATIONS):
        for i in range(n_roots, n_reached):
            square = v[i].real * v[i].real + v[i].imag * v[i].imag
            if not square > COLLAPSED_PU * COLLAPSED_PU:
                return False
            injected = s[i]
            if is_zip:
                b = order[i]
                z_p, i_p, z_q, i_q = zip_share[b]
                vm = np.sqrt(square)
                less_p = z_p * (1.0 - square) + i_p * (1.0 - vm)
                less_q = z_q * (1.0 - square) + i_q * (1.0 - vm)
                d = demand[b] / base_mva
                injected += less_p * d.real + 1j * less_q * d.imag
            current[i] = np.conj(injected) * v[i] / square - y[i] * v[i]
        for i in range(n_reached - 1, n_roots - 1, -1):
            up = above[i]
            current[up] -= port[i, 2] * v[up] + port[i, 3] * current[i]
        change = 0.0
        for i in range(n_roots, n_reached):
            new = port[i, 0] * v[above[i]] + port[i, 1] * current[i]
            step = new - v[i]
            change = max(change, step.real * step.real + step.imag * step.imag)
            v[i] = new
        if change < TOLERANCE_PU * TOLERANCE_PU:
            settled = True
            break
        if iteration > 10 and change > 4.0 * least:  # squares: the steps have grown twofold
            break
        least = min(change, least)
    for i in range(n_reached):
        v_bus[order[i]] = v[i]
    return settled
