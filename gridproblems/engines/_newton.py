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
    NothingToSolve,
    bus_branch_solution,
    compile_model,
    dc_start,
    equal_setpoints,
    is_numeric,
    unsupported_reason,
)
from gridproblems.engines._kernels import (
    ComplexArray,
    IntArray,
    assemble,
    prepare_all,
    read_results,
)
from gridproblems.engines._reference import (
    apply_settings,
    layout_of,
    max_iterations,
    tolerance_mva,
)
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import (
    BusBranchSolution,
    Field,
    FloatArray,
    GridState,
    Layout,
    Settings,
)

DEFAULT_ITERATIONS = 10  # of pandapower's Newton
HIGH_PU = 1.2  # up here several solutions exist, and the start decides which is found
_MAX_STRUCTURES = 64
_MAX_ROWS = 128


class NewtonEngine:
    """Changes numbers of the compiled model and solves it; recompiles when structure changes.

    Newton starts from the angles that ``runpp`` starts with in the base case. Where it does not
    converge from there, or ends above `HIGH_PU`, it starts again from those that ``runpp`` takes
    for these settings, and that counts.

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
        self._tolerance_mva = tolerance_mva(net)
        iterations = max_iterations(net)
        self._max_iterations = DEFAULT_ITERATIONS if iterations == "auto" else int(iterations)
        self._models: OrderedDict[Any, _Compiled] = OrderedDict()
        self._forget_runtime()

    def _forget_runtime(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._last: tuple[tuple[Field, ...], _Plan] | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_net", "_tolerance_mva", "_max_iterations", "_models")
        return {key: self.__dict__[key] for key in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_runtime()

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, one power flow after the other."""
        plan = self._plan(settings.fields)
        values, shape = settings.rows, settings.shape
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
            rows.reshape(*shape, -1),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            lambda row: solutions[row][0].bus_branch(solutions[row][1]),
        )

    def check(self, settings: Settings) -> None:
        """Newton solves any settings of a net it can represent."""

    def _plan(self, fields: tuple[Field, ...]) -> _Plan:
        last = self._last
        if last is None or last[0] is not fields:
            structural = tuple(not is_numeric(self._net, field) for field in fields)
            plan = _Plan(fields, structural, layout_of(self._net))
            if not any(structural):
                n_values = sum(len(field.elements) for field in fields)
                with contextlib.suppress(NothingToSolve):
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
                found[t] = self._solve_anew(plan, plan.movable, values[t], rows[t])
            return found
        return [
            self._solve_anew(plan, plan.structural, snapshot, row)
            for snapshot, row in zip(values, rows, strict=True)
        ]

    def _solve_anew(
        self, plan: _Plan, structural: tuple[bool, ...], values: FloatArray, row: FloatArray
    ) -> tuple[_Solution, int]:
        """Solves one snapshot on the model that pandapower builds for its structure."""
        try:
            workspace = self._workspace(self._compiled(plan.fields, structural, values))
        except NothingToSolve:
            row[:] = np.nan
            return _NOTHING_SOLVED, 0
        solution = workspace.solve(values[np.newaxis], row[np.newaxis])
        if solution.structure_changes[0] and structural != plan.movable:
            return self._solve_anew(plan, plan.movable, values, row)
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
            space = spaces[id(compiled)] = _Workspace(
                compiled, self._tolerance_mva, self._max_iterations
            )
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
        self.movable = tuple(  # and those that are numbers only within limits
            s or field.column in ("tap_pos", "in_service", "closed")
            for field, s in zip(fields, structural, strict=True)
        )
        self.compiled: _Compiled | None = None  # set when no field changes the structure


class _Solution(NamedTuple):
    """Solved snapshots of one model; arrays have one row per snapshot."""

    model: CompiledModel | None
    n_unsupplied: int
    converged: NDArray[np.bool_]
    structure_changes: NDArray[np.bool_]  # off the tap table, or an outage splits the grid
    parameters: FloatArray
    v_pu: ComplexArray

    def bus_branch(self, row: int) -> BusBranchSolution:
        """Admittances and voltages of one power flow.

        Raises:
            ValueError: There was nothing to solve.
        """
        if self.model is None:
            raise ValueError("a grid without a branch in service has no admittance matrix")
        return bus_branch_solution(self.model, self.parameters[row], self.v_pu[row])


_NOTHING_SOLVED = _Solution(
    None,
    0,
    np.array([False]),
    np.array([False]),
    np.zeros((1, 0)),
    np.zeros((1, 0), dtype=np.complex128),
)


class _Workspace:
    """A solver and an admittance matrix of one thread for one model."""

    def __init__(self, compiled: _Compiled, tolerance_mva: float, max_iterations: int) -> None:
        self.compiled = compiled
        self._max_iterations = max_iterations
        m = compiled.model
        self._tolerance_pu = tolerance_mva / m.arrays.base_mva
        self._solver = NRSing_KLU()
        n_bus = len(m.slack_weights)
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
        on_table, v, s, demand, y, shunt = prepare_all(parameters, m.arrays)
        ybus = assemble(
            y,
            shunt,
            m.ybus_fixed_pu,
            m.varying_branch,
            m.branch_position,
            m.diagonal_position,
        )
        structure_changes = ~on_table
        if len(m.arrays.status_branch):
            for t, status in enumerate(parameters[:, m.arrays.sections[8] :]):
                structure_changes[t] |= not status.all() and _splits(m, status)

        converged = np.zeros(n, dtype=np.bool_)
        solvable = ~structure_changes & equal_setpoints(m, parameters)
        for t in np.flatnonzero(solvable).tolist():
            found = self._newton(ybus[t], v[t], s[t])
            if m.dc is not None and (found is None or np.abs(found).max() > HIGH_PU):
                start = dc_start(m, m.dc, parameters[t], v[t], s[t], shunt[t], y[t])
                found = self._newton(ybus[t], start, s[t])
            if found is not None:
                converged[t] = True
                v[t] = found
        _read_results(rows, converged, v, demand, parameters, y, shunt, m.arrays)
        return _Solution(m, m.n_unsupplied, converged, structure_changes, parameters, v)

    def _newton(self, ybus: ComplexArray, v: ComplexArray, s: ComplexArray) -> ComplexArray | None:
        """Solved voltages, None where Newton's method does not converge from ``v``."""
        m = self.compiled.model
        self._ybus.data = ybus
        if self._solver.compute_pf(
            self._ybus,
            v.copy(),  # it is overwritten
            s,
            m.reference,
            m.slack_weights,
            m.pv,
            m.pq,
            self._max_iterations,
            self._tolerance_pu,
        ):
            return self._solver.get_V()
        return None


def _splits(m: CompiledModel, status: FloatArray) -> bool:
    """Whether the branches out of service leave a bus without connection to the others."""
    start, end = m.arrays.branch_from, m.arrays.branch_to
    alive = np.ones(len(start), dtype=bool)
    alive[m.arrays.status_branch[status == 0]] = False
    n_bus = len(m.slack_weights)
    graph = coo_matrix((alive[alive], (start[alive], end[alive])), (n_bus, n_bus))
    base = coo_matrix((np.ones(len(alive)), (start, end)), (n_bus, n_bus))
    return bool(
        connected_components(graph, directed=False)[0]
        > connected_components(base, directed=False)[0]
    )


@njit(cache=True, nogil=True)
def _read_results(  # type: ignore[no-untyped-def]
    rows, converged, v, demand, parameters, y, shunt, a
):
    """`read_results` for every row, NaN where the power flow did not converge."""
    for t in range(len(rows)):
        if converged[t]:
            read_results(rows[t], v[t], demand[t], parameters[t], y[t], shunt[t], a)
        else:
            rows[t, :] = np.nan
