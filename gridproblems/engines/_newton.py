"""Newton's method on pandapower's own bus/branch model, many power flows at once.

lightsim2grid's solver is the check and takes over where that does not converge.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from lightsim2grid.algorithm import NRSing_KLU
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet
from scipy.sparse import csc_matrix

from gridproblems._compile import compiled, is_stored
from gridproblems._union_find import union
from gridproblems.engines._batched import (
    CONVERGED,
    OFF_TABLE,
    BatchedNewton,
    Structure,
    solve_blocks,
    structure_of,
)
from gridproblems.engines._between import TapCurves, on_curves, tap_curves, with_positions
from gridproblems.engines._compiled import (
    CompiledModel,
    NothingToSolve,
    beyond_numbers,
    bus_branch_solution,
    bus_kinds,
    compile_model,
    dc_start,
    equal_setpoints,
    is_numeric,
    unsupported_reason,
)
from gridproblems.engines._elimination import Elimination
from gridproblems.engines._kernels import (
    ComplexArray,
    IntArray,
    assemble,
    prepare_all,
    read_results,
)
from gridproblems.engines._lanes import LANES
from gridproblems.engines._sensitivities import (
    Linearised,
    LinearRows,
    has_slope,
    parameter_of,
)
from gridproblems.engines._tangents import Places, places_of
from gridproblems.engines.reference import (
    ReferenceEngine,
    apply_settings,
    layout_of,
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
LOW_PU = 0.8  # down here ``runpp`` may find no solution where loads depend on voltage
_MAX_STRUCTURES = 64
_MAX_ROWS = 128
_PAYS = 40_000  # results of a batch, per thread, from which threads pay
_ALL_ROWS = np.arange(_MAX_ROWS)


class NewtonEngine:
    """Changes numbers of the compiled model and solves it; recompiles when structure changes.

    Newton starts from the angles that ``runpp`` starts with in the base case. Where it does not
    converge from there, or ends above `HIGH_PU`, it starts again from those that ``runpp`` takes
    for these settings, and that counts.

    Set-points, injections, tap positions, shunts, branch status and generators in service are
    numbers of a model that pandapower built once. Anything else (couplers, a generator beside
    others at its bus that goes out of service, positions off the tap changer's range, a branch
    whose outage splits the grid) makes pandapower build the model anew; the latest structures are
    kept.

    Loads that depend on voltage, reactive limits (``enforce_q_lims``) and slack power that machines
    share (``distributed_slack``) are part of the equations; ``runpp`` itself takes over where they
    do not converge.

    Args:
        net: The base case; it is copied and never changed.

    Attributes:
        n_threads: Threads that solve parts of a large batch side by side; the bits stay.

    Raises:
        UnsupportedByEngine: The net has what the model cannot represent, such as converters.
    """

    releases_gil = True

    def __init__(self, net: pandapowerNet) -> None:
        reason = unsupported_reason(net)
        if reason:
            raise UnsupportedByEngine(f"newton engine: {reason}")
        self._is_plain = beyond_numbers(net) is None
        if not self._is_plain and not is_stored(solve_blocks):
            raise UnsupportedByEngine(
                f"newton engine: {beyond_numbers(net)}, and there is no folder for compiled code"
            )
        self._net = copy.deepcopy(net)
        self._tolerance_mva = tolerance_mva(net)
        iterations = net.get("user_pf_options", {}).get("max_iteration", "auto")
        self._max_iterations = DEFAULT_ITERATIONS if iterations == "auto" else int(iterations)
        self._models: OrderedDict[Any, _Compiled] = OrderedDict()
        self.n_threads = 1
        self._forget_runtime()

    def _forget_runtime(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._last: tuple[tuple[Field, ...], _Plan] | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_net", "_is_plain", "_tolerance_mva", "_max_iterations", "_models", "n_threads")
        return {key: self.__dict__[key] for key in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_runtime()

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, all in one call."""
        plan = self._plan(settings.fields)
        values, shape = settings.rows, settings.shape
        n = len(values)
        rows = np.empty((n, plan.layout.n_values))
        if n <= _MAX_ROWS and self.n_threads == 1:
            blocks = [self._solve_rows(plan, values, rows)]
            size = n
        else:
            n_parts = self._n_threads_for(n, rows.shape[1])
            size = min(_MAX_ROWS, max(1, -(-n // (n_parts * LANES))) * LANES)
            parts = [slice(first, first + size) for first in range(0, n, size)]
            blocks = self._in_threads(
                n_parts, lambda some: self._solve_rows(plan, values[some], rows[some]), parts
            )
        if len(blocks) == 1:
            converged, n_unsupplied = blocks[0].converged, blocks[0].n_unsupplied
        else:
            converged, n_unsupplied = (
                np.concatenate([np.zeros(0, dtype), *(getattr(b, name) for b in blocks)])
                for name, dtype in (("converged", np.bool_), ("n_unsupplied", np.int64))
            )
        return GridState(
            plan.layout,
            rows.reshape(*shape, plan.layout.n_values),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            lambda row: blocks[row // size].bus_branch(row % size),
        )

    def _n_threads_for(self, n: int, n_values: int) -> int:
        """How many threads pay for a number of power flows with so many results each."""
        return max(1, min(self.n_threads, n * n_values // _PAYS))

    def _in_threads(
        self, n_threads: int, solve: Callable[[slice], _Block], parts: list[slice]
    ) -> list[_Block]:
        """Solves parts side by side; results do not depend on who solves what."""
        if n_threads == 1 or len(parts) < 2:
            return [solve(part) for part in parts]
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.n_threads)
        return list(self._threads.map(solve, parts))

    def linearise(self, settings: Settings) -> Linearised:
        """The states of settings, and how they move with set-points, powers, taps and shunts.

        Tap changers may stand between whole positions; at these the state is that of `solve`.
        """
        plan = self._plan(settings.fields)
        values, shape = settings.rows, settings.shape
        n, n_values = values.shape
        rows = np.full((n, plan.layout.n_values), np.nan)
        converged = np.zeros(n, dtype=np.bool_)
        n_unsupplied = np.zeros(n, dtype=np.int64)
        solutions: list[tuple[_Solution, int]] = [(_NOTHING_SOLVED, 0)] * n
        parts: list[LinearRows] = []
        smooth = np.ones(n_values, dtype=np.bool_)
        left = [(0, np.arange(n))]
        while left:
            level, which = left.pop()
            for model, own in self._by_model(plan, plan.levels[level], values, which):
                found = self._workspace(model).between(plan.fields, values[own])
                solution = found.solution
                assert solution.structure_changes is not None
                changes = own[solution.structure_changes]
                if len(changes) and level + 1 < len(plan.levels):
                    left.append((level + 1, changes))
                rows[own], converged[own] = found.rows, solution.converged
                n_unsupplied[own] = solution.n_unsupplied
                for t, row in enumerate(own.tolist()):
                    solutions[row] = (solution, t)
                parameter = parameter_of(model.places, model.source, n_values)
                if level == 0:
                    smooth &= has_slope(parameter, model.model.arrays.sections)
                own_solution = solution.converged.copy()
                if solution.taken_over is not None:
                    own_solution[solution.taken_over[0]] = False
                solved = np.flatnonzero(own_solution)
                if len(solved) and not plan.fixes_taps(level):
                    parts.append(found.linear_rows(own, solved, parameter))
        smooth[np.repeat(plan.structural, [len(f.elements) for f in plan.fields])] = False
        state = GridState(
            plan.layout,
            rows.reshape(*shape, plan.layout.n_values),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            lambda row: solutions[row][0].bus_branch(solutions[row][1]),
        )
        return Linearised(state, parts, smooth)

    def _by_model(
        self,
        plan: _Plan,
        structural: tuple[bool, ...],
        values: FloatArray,
        which: IntArray,
    ) -> list[tuple[_Compiled, IntArray]]:
        """Models of power flows, and which of them each is of; none where nothing is solved."""
        if plan.compiled is not None and structural == plan.structural:
            return [(plan.compiled, which)]
        groups: dict[int, tuple[_Compiled, list[int]]] = {}
        for row in which.tolist():
            with contextlib.suppress(NothingToSolve):
                compiled = self._compiled(plan.fields, structural, values[row])
                groups.setdefault(id(compiled), (compiled, []))[1].append(row)
        return [(compiled, np.array(own)) for compiled, own in groups.values()]

    def check(self, settings: Settings) -> None:
        """Newton solves any settings of a net it can represent."""

    def _by_reference(self, fields: tuple[Field, ...], values: FloatArray) -> GridState:
        """What ``runpp`` says, for this thread."""
        local = self._local.__dict__
        reference = local.get("reference")
        if reference is None:
            reference = local["reference"] = ReferenceEngine(self._net)
        return reference.solve(Settings(fields, values))

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

    def _solve_rows(self, plan: _Plan, values: FloatArray, rows: FloatArray) -> _Block:
        """Solves several snapshots and fills their rows."""
        if plan.compiled is None:
            converged = np.zeros(len(values), dtype=np.bool_)
            block = _Block(None, {}, converged, np.zeros(len(values), dtype=np.int64))
            self._solve_others(plan, plan.structural, range(len(values)), values, rows, block)
            return block
        together = self._workspace(plan.compiled).solve(plan.fields, values, rows)
        block = _Block(together, {}, together.converged, together.n_unsupplied)
        if together.structure_changes is not None and together.structure_changes.any():
            which = np.flatnonzero(together.structure_changes).tolist()
            self._solve_others(plan, plan.movable, which, values, rows, block)
        return block

    def _solve_others(
        self,
        plan: _Plan,
        structural: tuple[bool, ...],
        which: Iterable[int],
        values: FloatArray,
        rows: FloatArray,
        block: _Block,
    ) -> None:
        """Solves some snapshots of a block, each on a model of its own."""
        for t in which:
            solution = self._solve_anew(plan, structural, values[t], rows[t])
            block.others[t] = solution
            block.converged[t] = solution.converged[0]
            block.n_unsupplied[t] = solution.n_unsupplied[0]

    def _solve_anew(
        self, plan: _Plan, structural: tuple[bool, ...], values: FloatArray, row: FloatArray
    ) -> _Solution:
        """Solves one snapshot on the model that pandapower builds for its structure."""
        try:
            workspace = self._workspace(self._compiled(plan.fields, structural, values))
        except NothingToSolve:
            row[:] = np.nan
            return _NOTHING_SOLVED
        solution = workspace.solve(plan.fields, values[np.newaxis], row[np.newaxis])
        changes = solution.structure_changes
        if changes is not None and changes[0] and structural != plan.movable:
            return self._solve_anew(plan, plan.movable, values, row)
        return solution

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
                compiled,
                self._tolerance_mva,
                self._max_iterations,
                None if self._is_plain else self._by_reference,
            )
        return space


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A model and which values of the settings go where in its parameter vector."""

    model: CompiledModel
    places: IntArray
    source: IntArray

    @cached_property
    def structure(self) -> tuple[Structure, Elimination]:
        """What `BatchedNewton` needs to know of the model; all threads share it."""
        return structure_of(self.model)

    @cached_property
    def branch_places(self) -> Places:
        """Where its branches and parameters meet buses."""
        return places_of(self.model.arrays)

    @cached_property
    def tap_curves(self) -> TapCurves:
        """Its tap changers between whole positions."""
        return tap_curves(self.model.arrays)


class _Block(NamedTuple):
    """Snapshots that were solved in one go, and those that have models of their own."""

    together: _Solution | None
    others: dict[int, _Solution]
    converged: NDArray[np.bool_]
    n_unsupplied: NDArray[np.int64]

    def bus_branch(self, row: int) -> BusBranchSolution:
        """Admittances and voltages of one power flow."""
        other = self.others.get(row)
        if other is not None:
            return other.bus_branch(0)
        assert self.together is not None
        return self.together.bus_branch(row)


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
        switched = tuple(
            s or field.column in ("in_service", "closed")
            for field, s in zip(fields, structural, strict=True)
        )
        #: Fields that the model is built with: as few as can be, then statuses, then also taps.
        self.levels = tuple(dict.fromkeys((structural, switched, self.movable)))
        self.compiled: _Compiled | None = None  # set when no field changes the structure

    def fixes_taps(self, level: int) -> bool:
        """Whether a model of a level is built with tap positions that else are numbers."""
        return any(
            fixed and not s and field.column == "tap_pos"
            for field, fixed, s in zip(
                self.fields, self.levels[level], self.structural, strict=True
            )
        )


class _Solution(NamedTuple):
    """Solved snapshots of one model; arrays have one row per snapshot."""

    model: CompiledModel | None
    n_unsupplied: NDArray[np.int64]
    converged: NDArray[np.bool_]
    structure_changes: NDArray[np.bool_] | None  # off the tap table, or a split grid; None: none
    parameters: FloatArray
    v_pu: ComplexArray
    taken_over: tuple[IntArray, GridState] | None = None  # snapshots that ``runpp`` solved

    def bus_branch(self, row: int) -> BusBranchSolution:
        """Admittances and voltages of one power flow.

        Raises:
            ValueError: There was nothing to solve.
        """
        if self.model is None:
            raise ValueError("a grid without a branch in service has no admittance matrix")
        if self.taken_over is not None and row in self.taken_over[0]:
            which, state = self.taken_over
            return state.bus_branch(int(np.searchsorted(which, row)))
        return bus_branch_solution(self.model, self.parameters[row], self.v_pu[row])


_NOTHING_SOLVED = _Solution(
    None,
    np.zeros(1, dtype=np.int64),
    np.array([False]),
    None,
    np.zeros((1, 0)),
    np.zeros((1, 0), dtype=np.complex128),
)


class _Workspace:
    """What one thread needs to solve power flows of one model.

    Power flows are solved together (`BatchedNewton`). Those that do not converge there, end above
    `HIGH_PU` or meet a weak pivot are solved by lightsim2grid one by one, and its answer counts.
    It solves all of them where the compiled code of `BatchedNewton` cannot be stored, for to
    compile it takes seconds. Where its equations are not those of the net, ``by_reference`` stands
    in its place.

    Args:
        compiled: The model, and where settings go in it.
        tolerance_mva: Largest mismatch of a solution.
        max_iterations: Steps after which a power flow is given up.
        by_reference: What ``runpp`` says of settings.
        model: One of the same structure that is solved in its place.
    """

    def __init__(
        self,
        compiled: _Compiled,
        tolerance_mva: float,
        max_iterations: int,
        by_reference: Callable[[tuple[Field, ...], FloatArray], GridState] | None = None,
        model: CompiledModel | None = None,
    ) -> None:
        self.compiled = compiled
        self._by_reference = by_reference
        self._model = m = model or compiled.model
        self._is_simple = not len(m.arrays.status_branch) and not len(m.paired_place)
        self._limits = (tolerance_mva, max_iterations)
        self._one_by_one = _OneByOne(m, tolerance_mva / m.arrays.base_mva, max_iterations)
        self._together = self._batched() if is_stored(solve_blocks) else None

    def solve(self, fields: tuple[Field, ...], values: FloatArray, rows: FloatArray) -> _Solution:
        """Solves snapshots and fills their rows of the state, NaN where one does not converge.

        Args:
            fields: Fields of the settings.
            values: Values of the settings, shape (n_snapshots, n_values).
            rows: Rows of the state, shape (n_snapshots, layout.n_values).
        """
        return self._solve(fields, values, self._parameters(values), rows)

    def _parameters(self, values: FloatArray) -> FloatArray:
        parameters = np.empty((len(values), len(self._model.parameters)))
        parameters[:] = self._model.parameters
        parameters[:, self.compiled.places] = values[:, self.compiled.source]
        return parameters

    def _solve(
        self,
        fields: tuple[Field, ...],
        values: FloatArray,
        parameters: FloatArray,
        rows: FloatArray,
    ) -> _Solution:
        m = self._model
        n = len(parameters)
        v = np.empty((n, len(m.slack_weights)), dtype=np.complex128)
        n_unsupplied = np.full(n, m.n_unsupplied)
        if self._is_simple and self._together is not None:  # nothing to find out before
            every = _ALL_ROWS[:n] if n <= _MAX_ROWS else np.arange(n)
            status = self._together.solve(parameters, every, rows, v)
            converged = status == CONVERGED
            if converged.all():
                return _Solution(m, n_unsupplied, converged, None, parameters, v)
        structure_changes = _splits(m, parameters)
        solvable = ~structure_changes & equal_setpoints(m, parameters)
        if self._together is None:
            converged = np.zeros(n, dtype=np.bool_)
        else:
            if not self._is_simple:
                status = self._together.solve(parameters, np.flatnonzero(solvable), rows, v)
                converged = status == CONVERGED
            structure_changes |= status == OFF_TABLE
        rest = np.flatnonzero(solvable & ~converged & ~structure_changes)
        taken_over = None
        if len(rest) and self._by_reference is not None:
            state = self._by_reference(fields, values[rest])
            converged[rest], rows[rest] = state.converged, state.values
            n_unsupplied[rest] = state.n_unsupplied
            taken_over = rest, state
        elif len(rest):
            solved = self._one_by_one.solve(parameters[rest], tried=self._together is not None)
            converged[rest], rows[rest], v[rest] = solved.converged, solved.rows, solved.v_pu
            structure_changes[rest] = ~solved.on_table
        if not converged.all():
            rows[~converged] = np.nan
        return _Solution(m, n_unsupplied, converged, structure_changes, parameters, v, taken_over)

    def between(self, fields: tuple[Field, ...], values: FloatArray) -> _Between:
        """As `solve`, for tap changers that may stand between whole positions."""
        a = self._model.arrays
        parameters = self._parameters(values)
        first, last = a.sections[7:9]
        position = parameters[:, first:last].copy()
        shape = (3, len(values), len(a.tap_branch), 4)
        y, slope, curvature = np.empty(shape, dtype=np.complex128)
        on_curves(position, self.compiled.tap_curves.coefficients, a, y, slope, curvature)
        rows = np.empty((len(values), self._model.layout.n_values))
        space = self
        if (position != np.rint(position)).any():
            space = _Workspace(
                self.compiled,
                *self._limits,
                self._by_reference,
                with_positions(self._model, position, y),
            )
            parameters[:, first:last] = np.arange(len(values))[:, np.newaxis]
        solution = space._solve(fields, values, parameters, rows)
        off_table = ((position < a.tap_first) | (position > a.tap_first + a.tap_count - 1)).any(-1)
        if solution.structure_changes is None:
            solution = solution._replace(structure_changes=np.zeros(len(values), dtype=np.bool_))
        assert solution.structure_changes is not None
        solution.structure_changes[off_table] = True
        solution.converged[off_table] = False
        return _Between(rows, solution, slope, curvature, space)

    def linear_solver(self) -> BatchedNewton:
        """Solves linear equations with the Jacobians of its power flows."""
        return self._together or self._batched()

    def _batched(self) -> BatchedNewton:
        tolerance_mva, max_iterations = self._limits
        m = self._model
        is_sure = m.dc is None and self._by_reference is None
        is_zip = len(m.arrays.zip_share) > 0
        band_pu = (LOW_PU if is_zip else 0.0, np.inf if is_sure else HIGH_PU)
        tolerance_pu = tolerance_mva / m.arrays.base_mva
        return BatchedNewton(m, self.compiled.structure, tolerance_pu, max_iterations, band_pu)


class _Between(NamedTuple):
    """Power flows whose tap changers may stand between whole positions.

    Attributes:
        rows: Of the state.
        solution: The solved power flows.
        tap_slope, tap_curvature: Of the admittances of branches with tap changers, see
            `on_curves`.
        space: Solved them.
    """

    rows: FloatArray
    solution: _Solution
    tap_slope: ComplexArray
    tap_curvature: ComplexArray
    space: _Workspace

    def linear_rows(self, rows: IntArray, solved: IntArray, parameter: IntArray) -> LinearRows:
        """Those that are solved, for sensitivities.

        Args:
            rows: Where each stands in the whole batch.
            solved: Which of them.
            parameter: See `LinearRows`.
        """
        model = self.solution.model
        assert model is not None
        return LinearRows(
            rows[solved],
            model,
            self.space.compiled.structure[0],
            self.space.compiled.branch_places,
            self.space.linear_solver(),
            self.solution.parameters[solved],
            self.solution.v_pu[solved],
            self.tap_slope[solved],
            self.tap_curvature[solved],
            parameter,
        )


class _Solved(NamedTuple):
    """Results of `_OneByOne`; arrays have one row per power flow."""

    on_table: NDArray[np.bool_]  # all tap changers have such a position
    converged: NDArray[np.bool_]
    rows: FloatArray
    v_pu: ComplexArray


class _OneByOne:
    """lightsim2grid's solver with an admittance matrix, for one thread."""

    def __init__(self, model: CompiledModel, tolerance_pu: float, max_iterations: int) -> None:
        self._model = m = model
        self._tolerance_pu, self._max_iterations = tolerance_pu, max_iterations
        self._solver = NRSing_KLU()
        n_bus = len(m.slack_weights)
        self._ybus = csc_matrix(
            (m.ybus_fixed_pu.copy(), m.indices.copy(), m.indptr.copy()), (n_bus, n_bus)
        )

    def solve(self, parameters: FloatArray, tried: bool = False) -> _Solved:
        """Solves power flows one after the other.

        Args:
            parameters: Parameter vectors, shape (n, n_parameters).
            tried: Whether the start of the base case was tried and did not do; where ``runpp``
                starts from a DC power flow, that of these settings is then what counts.
        """
        m = self._model
        on_table, v, s, demand, y, shunt = prepare_all(parameters, m.arrays)
        ybus = assemble(
            y,
            shunt,
            m.ybus_fixed_pu,
            m.varying_branch,
            m.branch_position,
            m.diagonal_position,
        )
        converged = np.zeros(len(parameters), dtype=np.bool_)
        for t in np.flatnonzero(on_table).tolist():
            found = None
            kinds = bus_kinds(m, parameters[t], v[t])
            if m.dc is None or not tried:
                found = self._newton(ybus[t], v[t], s[t], *kinds)
            if m.dc is not None and (found is None or np.abs(found).max() > HIGH_PU):
                start = dc_start(m, m.dc, parameters[t], v[t], s[t], shunt[t], y[t])
                found = self._newton(ybus[t], start, s[t], *kinds)
            if found is not None:
                converged[t] = True
                v[t] = found
        rows = np.empty((len(parameters), m.layout.n_values))
        _read_results(rows, converged, v, demand, parameters, y, shunt, m.arrays)
        return _Solved(on_table, converged, rows, v)

    def _newton(
        self,
        ybus: ComplexArray,
        v: ComplexArray,
        s: ComplexArray,
        pv: NDArray[np.int32],
        pq: NDArray[np.int32],
    ) -> ComplexArray | None:
        """Solved voltages, None where Newton's method does not converge from ``v``."""
        m = self._model
        self._ybus.data = ybus
        if self._solver.compute_pf(
            self._ybus,
            v.copy(),  # it is overwritten
            s,
            m.reference,
            m.slack_weights,
            pv,
            pq,
            self._max_iterations,
            self._tolerance_pu,
        ):
            return self._solver.get_V()
        return None


def _splits(m: CompiledModel, parameters: FloatArray) -> NDArray[np.bool_]:
    """Whether branches out of service leave a bus without connection, shape (n_rows,)."""
    a = m.arrays
    status = parameters[:, a.sections[8] : a.sections[9]]
    return split_grids(
        status == 0, a.status_branch, a.branch_from, a.branch_to, len(m.slack_weights)
    )


@compiled
def split_grids(is_out, branch, branch_from, branch_to, n_bus):  # type: ignore[no-untyped-def]
    """Whether a grid has more islands than with all of its branches, per set of outages.

    Args:
        is_out: Which of ``branch`` are out, shape (n_sets, n_switched).
        branch: Branches that can be out, shape (n_switched,).
        branch_from, branch_to: Ends of all branches.
        n_bus: Number of buses.
    """
    splits = np.zeros(len(is_out), dtype=np.bool_)
    alive = np.ones(len(branch_from), dtype=np.bool_)
    n_joined = _n_joined(alive, branch_from, branch_to, n_bus) if is_out.any() else 0
    for t in range(len(is_out)):
        if is_out[t].any():
            alive[:] = True
            for i in range(len(branch)):
                if is_out[t, i]:
                    alive[branch[i]] = False
            splits[t] = _n_joined(alive, branch_from, branch_to, n_bus) < n_joined
    return splits


@compiled
def _n_joined(alive, branch_from, branch_to, n_bus):  # type: ignore[no-untyped-def]
    """Number of branches of a spanning forest."""
    above = np.arange(n_bus)
    n_joined = 0
    for i in range(len(alive)):
        if alive[i] and union(above, branch_from[i], branch_to[i]):
            n_joined += 1
    return n_joined


@compiled
def _read_results(  # type: ignore[no-untyped-def]
    rows, converged, v, demand, parameters, y, shunt, a
):
    """`read_results` for every row, NaN where the power flow did not converge."""
    for t in range(len(rows)):
        if converged[t]:
            read_results(rows[t], v[t], demand[t], parameters[t], y[t], shunt[t], a)
        else:
            rows[t, :] = np.nan
