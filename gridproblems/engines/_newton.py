"""Newton's method on pandapower's own bus/branch model, solved by lightsim2grid's C++ code."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from lightsim2grid.algorithm import NRSing_KLU
from numba import njit
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.csgraph import connected_components

from gridproblems.engines._compiled import (
    CompiledModel,
    NoBranchInService,
    compile_model,
    is_numeric,
    unsupported_reason,
)
from gridproblems.engines._reference import apply_settings, layout_of
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import (
    BusBranchSolution,
    Field,
    FloatArray,
    GridState,
    Layout,
    Settings,
)

ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

MAX_ITERATIONS = 10
TOLERANCE_MVA = 1e-8  # as the reference engine's
_MAX_STRUCTURES = 64
_MAX_ROWS = 128


class NewtonEngine:
    """Changes numbers of the compiled model and solves it; recompiles when structure changes.

    Set-points, injections, tap positions, shunts and branch status are numbers of a model that
    pandapower built once. Anything else (switches, generators in service, positions off the
    tap changer's range, a branch whose outage splits the grid) makes pandapower build the model
    anew; the latest structures are kept.

    Args:
        net: The base case; it is copied and never changed.

    Raises:
        UnsupportedByEngine: The net has what the model cannot represent, such as
            voltage-dependent loads.
    """

    releases_gil = True

    def __init__(self, net: pandapowerNet) -> None:
        reason = unsupported_reason(net)
        if reason:
            raise UnsupportedByEngine(f"newton engine: {reason}")
        self._net = copy.deepcopy(net)
        self._models: OrderedDict[Any, _Compiled] = OrderedDict()
        self._forget_runtime()

    def _forget_runtime(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._last: tuple[tuple[Field, ...], _Plan] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_net": self._net, "_models": self._models}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_runtime()

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, snapshot by snapshot."""
        plan = self._plan(settings.fields)
        values = settings.values if settings.values.ndim == 2 else settings.values[np.newaxis]
        n = len(values)
        rows = np.empty((n, plan.layout.n_values))
        converged = np.zeros(n, dtype=np.bool_)
        n_unsupplied = np.zeros(n, dtype=np.int64)
        solutions: list[tuple[_Solution, int]] = []
        for start in range(0, n, _MAX_ROWS):
            some = slice(start, min(n, start + _MAX_ROWS))
            for solution, t in self._solve_rows(plan, values[some], rows[some]):
                converged[len(solutions)] = solution.converged[t]
                n_unsupplied[len(solutions)] = solution.n_unsupplied
                solutions.append((solution, t))
        return GridState(
            plan.layout,
            rows,
            converged,
            n_unsupplied,
            lambda t: _bus_branch_solution(*solutions[t]),
        )

    def _plan(self, fields: tuple[Field, ...]) -> _Plan:
        last = self._last
        if last is None or last[0] is not fields:
            structural = tuple(not is_numeric(self._net, field) for field in fields)
            plan = _Plan(fields, structural, layout_of(self._net))
            if not any(structural):
                n_values = sum(len(field.elements) for field in fields)
                with contextlib.suppress(NoBranchInService):
                    plan.compiled = self._compiled(fields, structural, np.zeros(n_values))
            last = self._last = (fields, plan)
        return last[1]

    def _solve_rows(
        self, plan: _Plan, values: FloatArray, rows: FloatArray
    ) -> list[tuple[_Solution, int]]:
        """Solves several snapshots; gives for each its solution and its place in there."""
        if plan.compiled is not None:
            together = self._workspace(plan.compiled).solve(values, rows)
            found = [(together, t) for t in range(len(values))]
            for t in np.flatnonzero(together.structure_changes).tolist():
                found[t] = self._solve_anew(plan.fields, plan.movable, values[t], rows[t])
            return found
        return [
            self._solve_anew(plan.fields, plan.structural, snapshot, row)
            for snapshot, row in zip(values, rows, strict=True)
        ]

    def _solve_anew(
        self,
        fields: tuple[Field, ...],
        structural: tuple[bool, ...],
        values: FloatArray,
        row: FloatArray,
    ) -> tuple[_Solution, int]:
        """Solves one snapshot on the model that pandapower builds for its structure."""
        try:
            workspace = self._workspace(self._compiled(fields, structural, values))
        except NoBranchInService:
            row[:] = np.nan
            return _NOTHING_SOLVED, 0
        solution = workspace.solve(values[np.newaxis], row[np.newaxis])
        movable = _movable(fields, structural)
        if solution.structure_changes[0] and movable != structural:
            return self._solve_anew(fields, movable, values, row)
        return solution, 0

    def _compiled(
        self, fields: tuple[Field, ...], structural: tuple[bool, ...], values: FloatArray
    ) -> _Compiled:
        """The model for these fields, built with the values of the structural ones."""
        index = np.repeat(
            np.array(structural, dtype=bool), [len(field.elements) for field in fields]
        )
        key = (fields, structural, values[index].tobytes())
        with self._lock:
            compiled = self._models.get(key)
            if compiled is None:
                net = self._net
                if any(structural):
                    net = copy.deepcopy(net)
                    fixed = tuple(f for f, s in zip(fields, structural, strict=True) if s)
                    apply_settings(net, Settings(fixed, values[index]))
                numeric = tuple(f for f, s in zip(fields, structural, strict=True) if not s)
                model, places = compile_model(net, numeric)
                source = np.flatnonzero(~index)[places >= 0]
                compiled = _Compiled(model, places[places >= 0], source)
                self._models[key] = compiled
                if len(self._models) > _MAX_STRUCTURES:
                    self._models.popitem(last=False)
            else:
                self._models.move_to_end(key)
        return compiled

    def _workspace(self, compiled: _Compiled) -> _Workspace:
        """This thread's solver for a model."""
        spaces: dict[int, _Workspace] = self._local.__dict__.setdefault("spaces", {})
        space = spaces.get(id(compiled))
        if space is None or space.compiled is not compiled:
            if len(spaces) > _MAX_STRUCTURES:
                spaces.clear()
            space = spaces[id(compiled)] = _Workspace(compiled)
        return space


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A model and which values of the settings go where in its parameter vector."""

    model: CompiledModel
    places: IntArray
    source: IntArray


class _Plan:
    """How settings with the same fields are solved."""

    def __init__(
        self, fields: tuple[Field, ...], structural: tuple[bool, ...], layout: Layout
    ) -> None:
        self.fields = fields
        self.layout = layout
        self.structural = structural
        self.movable = _movable(fields, structural)
        self.compiled: _Compiled | None = None  # set when no field changes the structure


def _movable(fields: tuple[Field, ...], structural: tuple[bool, ...]) -> tuple[bool, ...]:
    """The structural fields and those that are numbers only within limits."""
    return tuple(
        s or field.column in ("tap_pos", "in_service")
        for field, s in zip(fields, structural, strict=True)
    )


class _Solution(NamedTuple):
    """Solved snapshots of one model; arrays have one row per snapshot."""

    model: CompiledModel | None
    n_unsupplied: int
    converged: NDArray[np.bool_]
    structure_changes: NDArray[np.bool_]  # off the tap table, or an outage splits the grid
    ybus_pu: ComplexArray
    v_pu: ComplexArray


_NOTHING_SOLVED = _Solution(
    None,
    0,
    np.array([False]),
    np.array([False]),
    np.zeros((1, 0), dtype=np.complex128),
    np.zeros((1, 0), dtype=np.complex128),
)


class _Workspace:
    """A solver and an admittance matrix of one thread for one model."""

    def __init__(self, compiled: _Compiled) -> None:
        self.compiled = compiled
        m = compiled.model
        self._solver = NRSing_KLU()
        n_bus = len(m.v_start_pu)
        self._ybus = csc_matrix(
            (m.ybus_fixed_pu.copy(), m.indices.copy(), m.indptr.copy()), (n_bus, n_bus)
        )

    def solve(self, values: FloatArray, rows: FloatArray) -> _Solution:
        """Solves snapshots and fills their rows of the state, NaN where one does not converge.

        Args:
            values: Values of the settings, shape (n_snapshots, n_values).
            rows: Rows of the state, shape (n_snapshots, layout.n_values).
        """
        m = self.compiled.model
        n = len(values)
        parameters = np.empty((n, len(m.parameters)))
        parameters[:] = m.parameters
        parameters[:, self.compiled.places] = values[:, self.compiled.source]
        on_table, v, s, demand, y, ybus = _prepare(
            parameters,
            m.sections,
            m.base_mva,
            m.v_start_pu,
            m.setpoint_bus,
            m.s_fixed_mva,
            m.demand_fixed_mva,
            m.injection_bus,
            m.injection_sign,
            m.injection_is_machine,
            m.shunt_bus,
            m.shunt_y_pu,
            m.branch_y_pu,
            m.tap_first,
            m.tap_count,
            m.tap_branch,
            m.tap_changer,
            m.tap_row,
            m.tap_y_pu,
            m.status_branch,
            m.varying_branch,
            m.ybus_fixed_pu,
            m.branch_position,
            m.diagonal_position,
        )
        structure_changes = ~on_table
        if len(m.status_branch):
            for t, status in enumerate(parameters[:, m.sections[8] :]):
                structure_changes[t] |= not status.all() and _splits(m, status)

        tolerance_pu = TOLERANCE_MVA / m.base_mva
        converged = np.zeros(n, dtype=np.bool_)
        for t in range(n):
            if structure_changes[t]:
                continue
            self._ybus.data = ybus[t]
            if self._solver.compute_pf(
                self._ybus,
                v[t],
                s[t],
                m.reference,
                m.slack_weights,
                m.pv,
                m.pq,
                MAX_ITERATIONS,
                tolerance_pu,
            ):
                converged[t] = True
                v[t] = self._solver.get_V()
        _read_results(
            rows,
            converged,
            v,
            demand,
            parameters,
            m.sections,
            m.base_mva,
            y,
            ybus,
            m.indptr,
            m.indices,
            m.row_bus,
            m.branch_from,
            m.branch_to,
            m.branch_loading,
            m.branch_loss_column,
            m.branch_loading_column,
            m.machine_bus,
            m.machine_p_column,
            m.machine_q_column,
            m.machine_injection,
            m.machine_p_mw,
            m.machine_p_share,
            m.machine_q_mvar,
            m.machine_q_share,
        )
        return _Solution(m, m.n_unsupplied, converged, structure_changes, ybus, v)


def _bus_branch_solution(solution: _Solution, t: int) -> BusBranchSolution:
    m = solution.model
    if m is None:
        raise ValueError("a grid without a branch in service has no admittance matrix")
    return BusBranchSolution(
        indptr=m.indptr,
        indices=m.indices,
        ybus_pu=solution.ybus_pu[t],
        v_pu=solution.v_pu[t],
        generator_buses=np.concatenate([m.reference, m.pv]),
        load_buses=m.pq,
    )


def _splits(m: CompiledModel, status: FloatArray) -> bool:
    """Whether the branches out of service leave a bus without connection to the others."""
    alive = np.ones(len(m.branch_from), dtype=bool)
    alive[m.status_branch[status == 0]] = False
    n_bus = len(m.v_start_pu)
    graph = coo_matrix((alive[alive], (m.branch_from[alive], m.branch_to[alive])), (n_bus, n_bus))
    base = coo_matrix((np.ones(len(alive)), (m.branch_from, m.branch_to)), (n_bus, n_bus))
    return bool(
        connected_components(graph, directed=False)[0]
        > connected_components(base, directed=False)[0]
    )


@njit(cache=True, nogil=True)
def _prepare(  # type: ignore[no-untyped-def]
    parameters,
    sections,
    base_mva,
    v_start,
    setpoint_bus,
    s_fixed,
    demand_fixed,
    injection_bus,
    injection_sign,
    injection_is_machine,
    shunt_bus,
    shunt_y,
    branch_y,
    tap_first,
    tap_count,
    tap_branch,
    tap_changer,
    tap_row,
    tap_y,
    status_branch,
    varying_branch,
    ybus_fixed,
    branch_position,
    diagonal_position,
):
    """Puts the parameters of every snapshot into start voltages, injections and admittances."""
    n = len(parameters)
    n_bus = len(v_start)
    on_table = np.ones(n, dtype=np.bool_)
    v = np.empty((n, n_bus), dtype=np.complex128)
    s = np.empty((n, n_bus), dtype=np.complex128)
    demand = np.empty((n, n_bus), dtype=np.complex128)
    y = np.empty((n, len(branch_y), 4), dtype=np.complex128)
    ybus = np.empty((n, len(ybus_fixed)), dtype=np.complex128)
    for t in range(n):
        p = parameters[t]
        v[t] = v_start
        for i in range(len(setpoint_bus)):
            b = setpoint_bus[i]
            v[t, b] = v_start[b] / abs(v_start[b]) * p[sections[0] + i]

        s[t] = s_fixed
        demand[t] = demand_fixed
        for i in range(len(injection_bus)):
            injected = (
                injection_sign[i]
                * p[sections[3] + i]
                * (p[sections[1] + i] + 1j * p[sections[2] + i])
            )
            s[t, injection_bus[i]] += injected
            if not injection_is_machine[i]:
                demand[t, injection_bus[i]] -= injected
        s[t] /= base_mva

        ybus[t] = ybus_fixed
        for i in range(len(shunt_bus)):
            drawn = p[sections[4] + i] - 1j * p[sections[5] + i]
            ybus[t, diagonal_position[shunt_bus[i]]] += p[sections[6] + i] * drawn * shunt_y[i]

        y[t] = branch_y
        for i in range(len(tap_branch)):
            changer = tap_changer[i]
            position = p[sections[7] + changer]
            step = round(position) - tap_first[changer]
            if step < 0 or step >= tap_count[changer] or position != round(position):
                on_table[t] = False
                break
            for k in range(4):
                y[t, tap_branch[i], k] = tap_y[tap_row[i] + step, k]
        for i in range(len(status_branch)):
            if p[sections[8] + i] == 0:
                y[t, status_branch[i]] = 0
        for i in range(len(varying_branch)):
            b = varying_branch[i]
            for k in range(4):
                ybus[t, branch_position[b, k]] += y[t, b, k]
    return on_table, v, s, demand, y, ybus


@njit(cache=True, nogil=True)
def _read_results(  # type: ignore[no-untyped-def]
    rows,
    converged,
    v_all,
    demand_all,
    parameters_all,
    sections,
    base_mva,
    y_all,
    ybus_all,
    indptr,
    indices,
    row_bus,
    branch_from,
    branch_to,
    branch_loading,
    branch_loss_column,
    branch_loading_column,
    machine_bus,
    machine_p_column,
    machine_q_column,
    machine_injection,
    machine_p,
    machine_p_share,
    machine_q,
    machine_q_share,
):
    """Fills rows of the state from solved voltages; their order is that of `QUANTITIES`."""
    for t in range(len(rows)):
        row = rows[t]
        if not converged[t]:
            row[:] = np.nan
            continue
        v, demand, parameters = v_all[t], demand_all[t], parameters_all[t]
        y, ybus = y_all[t], ybus_all[t]
        n_rows = len(row_bus)
        for i in range(n_rows):
            b = row_bus[i]
            row[i] = abs(v[b]) if b >= 0 else np.nan
            row[n_rows + i] = np.angle(v[b]) * 180.0 / np.pi if b >= 0 else np.nan
        row[2 * n_rows :] = 0.0

        for i in range(len(branch_from)):
            v_from, v_to = v[branch_from[i]], v[branch_to[i]]
            i_from = y[i, 0] * v_from + y[i, 1] * v_to
            i_to = y[i, 2] * v_from + y[i, 3] * v_to
            column = branch_loss_column[i]
            if column >= 0:
                loss = v_from * np.conj(i_from) + v_to * np.conj(i_to)
                row[column] += loss.real * base_mva
            column = branch_loading_column[i]
            if column >= 0:
                loading = max(abs(i_from) * branch_loading[i, 0], abs(i_to) * branch_loading[i, 1])
                row[column] = max(row[column], loading)

        n_bus = len(v)
        current = np.zeros(n_bus, dtype=np.complex128)
        for column in range(n_bus):
            for k in range(indptr[column], indptr[column + 1]):
                current[indices[k]] += ybus[k] * v[column]
        scheduled = np.zeros(n_bus)
        for i in range(len(machine_bus)):
            p = machine_p[i]
            if machine_injection[i] >= 0 and machine_p_share[i] == 0:
                e = machine_injection[i]
                p = parameters[sections[1] + e] * parameters[sections[3] + e]
            row[machine_p_column[i]] = p
            if machine_p_share[i] == 0:
                scheduled[machine_bus[i]] += p
        for i in range(len(machine_bus)):
            b = machine_bus[i]
            total = v[b] * np.conj(current[b]) * base_mva + demand[b]
            row[machine_q_column[i]] = machine_q[i] + machine_q_share[i] * total.imag
            if machine_p_share[i] > 0:
                row[machine_p_column[i]] += machine_p_share[i] * (total.real - scheduled[b])
