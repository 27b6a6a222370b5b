"""`GridProblem`: one grid task as a pymoo problem for every algorithm."""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from pymoo.core.problem import ElementwiseProblem
from pymoo.core.variable import Binary, Choice, Integer, Real, Variable

from gridproblems.cases import BestKnown
from gridproblems.constraints import Constraint
from gridproblems.controls import Control, ControlSet
from gridproblems.engines import ENGINES, Engine, ReferenceEngine
from gridproblems.engines._reference import RUNPP_OPTIONS, apply_settings
from gridproblems.errors import PowerFlowNotConverged, UnsupportedByEngine
from gridproblems.objectives import Objective, ObjectiveFunction, resolve_objective
from gridproblems.parallel import PopulationRunner
from gridproblems.state import FloatArray, GridState, Settings, SettingsMapping

FAILED_F = 1e9
FAILED_G = 1e3
_MAX_TOGETHER = 128  # vectors in one call of the engine
_SOLVED = np.array([-1.0])  # the entry "power_flow" of a solved state
_ENGINE_TOLERANCE = {"vm_pu": 1e-7, "branch_loss_mw": 1e-5}


class Counts:
    """How often a problem was evaluated, and what came of it.

    Attributes:
        evaluated: Vectors asked for.
        cached: Of these, answered from the cache.
        failed: Of the solved ones, power flows that diverged or left loads without supply.
    """

    def __init__(self) -> None:
        self.evaluated = self.cached = self.failed = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return self.as_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return {"evaluated": self.evaluated, "cached": self.cached, "failed": self.failed}

    def add(self, evaluated: int = 0, cached: int = 0, failed: int = 0) -> None:
        """Adds to the counts; safe from several threads."""
        with self._lock:
            self.evaluated += evaluated
            self.cached += cached
            self.failed += failed


class GridProblem(ElementwiseProblem):
    """Controls, an engine, objectives and constraints as a pymoo problem.

    The same object runs under vector algorithms (``x`` a float vector, integers rounded) and
    under ``MixedVariableGA`` (``x`` a dict). Whatever vector an algorithm proposes, the one on
    the grid (within bounds, integers whole) is evaluated, and pymoo's population gets that one
    back, so ``result.X`` is what was evaluated.

    A candidate whose power flow diverges or leaves a load without supply has finite worst
    objectives and constraints (first entry ``"power_flow"``) and is counted.

    Args:
        net: The base case; it is copied and never changed.
        controls: One per variable.
        objectives: Names, or callables of (settings, state); one or several, all minimised.
        constraints: Functions of (settings, state), feasible where <= 0.
        fixed: Settings that hold for every candidate.
        engine: Name of an engine, or ``"auto"``: the first that supports the net and agrees
            with ``pandapower.runpp`` on the base case; ``engine_name`` says which it is.
        n_jobs: Workers that evaluate a population, -1 for all cores.
        cache: Answer repeated vectors from memory: True for the latest 100,000, or how many.
        aggregate: One constraint per kind (the worst entry, or the sum of violations) instead
            of one per element and limit.
        require_base_solution: Refuse a base case whose power flow does not converge.
        name: What to call the problem.
        best_known: The best value known for these objectives and controls, if any.

    Raises:
        ValueError: An argument is wrong; the message names it.
        PowerFlowNotConverged: The base case does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    def __init__(
        self,
        net: pandapowerNet,
        controls: Sequence[Control],
        objectives: Sequence[str | ObjectiveFunction | Objective],
        constraints: Sequence[Constraint] = (),
        *,
        fixed: SettingsMapping | None = None,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
        name: str = "",
        best_known: BestKnown | None = None,
    ) -> None:
        self.net = copy.deepcopy(net)
        self.name = name
        self.control_set = ControlSet(controls, fixed)
        if isinstance(objectives, str) or callable(objectives):
            objectives = (objectives,)
        self.objectives = tuple(resolve_objective(objective) for objective in objectives)
        if not self.objectives:
            raise ValueError("objectives: expected at least one")
        self.constraints = tuple(c for c in constraints if c.names)
        self.aggregate = aggregate
        self.best_known = best_known
        self.counts = Counts()
        self._cache_size = 100_000 if cache is True else int(cache)
        self._cache: OrderedDict[bytes, tuple[FloatArray, FloatArray]] = OrderedDict()
        self._cache_lock = threading.Lock()

        kinds = [kind for c in self.constraints for kind in c.kinds]
        entries = [entry for c in self.constraints for entry in c.names]
        self._kinds = tuple(dict.fromkeys(kinds))
        self._kind_of_entry = np.array([self._kinds.index(kind) for kind in kinds], dtype=int)
        self.constraint_names = ("power_flow", *(self._kinds if aggregate else entries))

        self.base_state = self._solve_base(require_base_solution)
        self.engine_name, self.engine, self.engine_note = self._choose_engine(engine)
        super().__init__(
            vars={c.name: _variable(c) for c in self.control_set.controls},
            n_var=len(self.control_set.controls),
            n_obj=len(self.objectives),
            n_ieq_constr=len(self.constraint_names),
            xl=self.control_set.xl,
            xu=self.control_set.xu,
            elementwise_runner=PopulationRunner(n_jobs),
        )

    # -- construction ---------------------------------------------------------------------

    def _solve_base(self, required: bool) -> GridState:
        state = ReferenceEngine(self.net).solve(Settings((), np.zeros(0)))
        if required and not state.solved:
            raise PowerFlowNotConverged(
                f"{self.name}: the power flow of the base case does not converge; check the net, "
                "or pass require_base_solution=False if only the candidates have to"
            )
        return state

    def _choose_engine(self, name: str) -> tuple[str, Engine, str]:
        if name != "auto" and name not in ENGINES:
            raise ValueError(f"engine: unknown engine {name!r}; known: auto, {', '.join(ENGINES)}")
        if name != "auto":
            return name, ENGINES[name](self.net), "chosen by the caller"
        settings = self.control_set.decode(self.base_x)
        expected = ReferenceEngine(self.net).solve(settings)
        notes = []
        for candidate, engine_class in ENGINES.items():
            try:
                engine = engine_class(self.net)
            except UnsupportedByEngine as error:
                notes.append(str(error))
                continue
            difference = _difference(engine.solve(settings), expected)
            if difference is None:
                note = "; ".join([*notes, "agrees with pandapower.runpp on the base case"])
                return candidate, engine, note
            notes.append(f"{candidate} engine: {difference}")
            warnings.warn(f"{self.name}: {notes[-1]}; trying the next engine", stacklevel=4)
        raise UnsupportedByEngine("; ".join(notes))

    @property
    def base_x(self) -> FloatArray:
        """The settings of the net as given, moved onto the grid where they are off it."""
        x = np.empty(len(self.control_set.controls))
        for i, control in enumerate(self.control_set.controls):
            value = float(self.net[control.table].at[control.elements[0], control.column])
            if control.options:
                value = float(np.abs(np.array(control.options) - value).argmin())
            x[i] = value
        return self.control_set.snap(np.nan_to_num(x))

    # -- from x to the grid and back ------------------------------------------------------

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives, in the order of F."""
        return tuple(objective.name for objective in self.objectives)

    @property
    def objective_units(self) -> tuple[str, ...]:
        """Units of the objectives, in the order of F."""
        return tuple(objective.unit for objective in self.objectives)

    def _flat(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A vector from what an algorithm hands over, a vector or a dict of variables."""
        if not isinstance(x, Mapping):
            return np.asarray(x, dtype=float)
        return np.array(
            [
                float(c.options.index(x[c.name])) if c.options else float(x[c.name])
                for c in self.control_set.controls
            ]
        )

    def _checked(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A user's vector on the grid.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        flat = self._flat(x)
        if flat.shape != (self.n_var,):
            raise ValueError(f"x: expected {self.n_var} values, got an array of {flat.shape}")
        slack = 1e-9 * np.maximum(1.0, np.maximum(np.abs(self.xl), np.abs(self.xu)))
        outside = ~((flat >= self.xl - slack) & (flat <= self.xu + slack))
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"x[{i}] ({self.control_set.names[i]}): {flat[i]} is not within "
                f"[{self.xl[i]}, {self.xu[i]}]"
            )
        return self.control_set.snap(flat)

    def decode(self, x: ArrayLike | Mapping[str, Any]) -> Settings:
        """Settings of a vector.

        Args:
            x: Shape (n_var,), or a dict of variables; it is moved onto the grid.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        return self.control_set.decode(self._checked(x))

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """The inverse of `decode`, also for the settings in the tables of a net.

        Raises:
            ValueError: A controlled element is missing or its value is not on the grid.
        """
        if isinstance(settings, Settings):
            return self.control_set.encode(settings.as_mapping())
        if isinstance(settings, pandapowerNet):
            mapping: dict[tuple[str, str], dict[int, float]] = {}
            for control in self.control_set.controls:
                column = mapping.setdefault((control.table, control.column), {})
                for element in control.elements:
                    column[element] = float(settings[control.table].at[element, control.column])
            return self.control_set.encode(mapping)
        return self.control_set.encode(settings)

    def snap(self, x: ArrayLike) -> FloatArray:
        """Vectors on the grid, shape (..., n_var): within bounds, integers and choices whole."""
        return self.control_set.snap(x)

    def solve(self, x: ArrayLike | Mapping[str, Any]) -> GridState:
        """State of the grid with the settings of ``x``, by the problem's engine."""
        return self.engine.solve(self.decode(x))

    def apply(self, x: ArrayLike | Mapping[str, Any]) -> pandapowerNet:
        """A copy of the net with the settings of ``x``, solved by ``pandapower.runpp``.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: The power flow does not converge.
        """
        net = copy.deepcopy(self.net)
        apply_settings(net, self.decode(x))
        try:
            pp.runpp(net, **RUNPP_OPTIONS)
        except LoadflowNotConverged as error:
            raise PowerFlowNotConverged(f"{self.name}: these settings diverge") from error
        return net

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The settings of ``x`` beside those of the base case, one row per element.

        Columns: control, unit, base, new, lower, upper.
        """
        new = self.decode(x).as_mapping()
        rows = []
        for c in self.control_set.controls:
            for element in c.elements:
                base = self.net[c.table].at[element, c.column]
                value = new[c.table, c.column][element]
                whole = c.kind != "real" and not c.options
                rows.append(
                    {
                        "control": f"{c.label or f'{c.table} {element}'} {c.column}",
                        "unit": c.unit,
                        "base": _shown(base, whole),
                        "new": _shown(value, whole),
                        "lower": _shown(c.lower, whole),
                        "upper": _shown(c.upper, whole),
                    }
                )
        return pd.DataFrame(rows, dtype=object)

    # -- evaluation -----------------------------------------------------------------------

    def _evaluate(
        self, x: FloatArray | dict[str, Any], out: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        out.update(self.evaluate_many([x])[0])

    def evaluate_many(self, X: Sequence[Any] | NDArray[Any]) -> list[dict[str, Any]]:
        """Evaluates vectors or dicts of variables in few calls of the engine.

        Args:
            X: Any number of vectors, or of dicts.

        Returns:
            For each what pymoo expects in ``out``: F, G, and for vectors X, the vector on the
            grid that was evaluated and that pymoo's population is to keep.

        Raises:
            ValueError: Vectors of the wrong length, or NaN.
        """
        if not len(X):
            return []
        is_dict = isinstance(X[0], dict)
        flat = np.asarray([self._flat(x) for x in X] if is_dict else X, dtype=float)
        if flat.shape[1:] != (self.n_var,):
            raise ValueError(f"x: expected {self.n_var} values, got an array of {flat.shape[1:]}")
        if math.isnan(flat.sum()):
            i = int(np.flatnonzero(np.isnan(flat).any(axis=0))[0])
            raise ValueError(f"x[{i}] ({self.control_set.names[i]}): expected a number, got NaN")
        on_grid = self.control_set.snap(flat)
        values = self._through_cache(on_grid) if self._cache_size else self._solve(on_grid)
        self.counts.add(len(X))
        if is_dict:
            return [{"F": f, "G": g} for f, g in values]
        return [{"F": f, "G": g, "X": x} for (f, g), x in zip(values, on_grid, strict=True)]

    def _solve(self, X: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Objectives and constraints of vectors on the grid, shape (n, n_var)."""
        values = []
        for start in range(0, len(X), _MAX_TOGETHER):
            together = self.control_set.decode(X[start : start + _MAX_TOGETHER])
            states = self.engine.solve(together)
            for t, row in enumerate(together.values):
                state = states.snapshot(t) if len(together.values) > 1 else states
                values.append(self._judge(Settings(together.fields, row), state))
        return values

    def _judge(self, settings: Settings, state: GridState) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of one solved state; the only place where failure is one."""
        if state.solved:
            f = np.array([o.function(settings, state) for o in self.objectives], dtype=float)
            parts = [constraint(settings, state) for constraint in self.constraints]
            g = np.concatenate([_SOLVED, *parts])
            if self.aggregate:
                g = np.concatenate([_SOLVED, self._aggregated(g[1:])])
            if math.isfinite(f @ f + g @ g):
                return f, g
        self.counts.add(failed=1)
        n_g = len(self.constraint_names)
        return np.full(len(self.objectives), FAILED_F), np.full(n_g, FAILED_G)

    def _through_cache(self, X: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """As `_solve`, but solves only what is not remembered, and each vector once."""
        keys = [x.tobytes() for x in X]
        known: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        with self._cache_lock:
            for key in keys:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    known[key] = self._cache[key]
        rows = {key: i for i, key in enumerate(keys) if key not in known}
        known.update(zip(rows, self._solve(X[list(rows.values())]), strict=True))
        with self._cache_lock:
            self._cache.update((key, known[key]) for key in rows)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        self.counts.add(cached=len(X) - len(rows))
        return [known[key] for key in keys]

    def _aggregated(self, g: FloatArray) -> FloatArray:
        """Per kind the sum of violations, or the largest entry when there are none."""
        violation = np.bincount(self._kind_of_entry, np.maximum(g, 0.0), len(self._kinds))
        worst = np.full(len(self._kinds), -np.inf)
        np.maximum.at(worst, self._kind_of_entry, g)
        return np.where(violation > 0, violation, worst)

    # -- pymoo's hooks, copies ------------------------------------------------------------

    def _calc_pareto_front(self, *args: Any, **kwargs: Any) -> FloatArray | None:
        return None if self.best_known is None else np.array([[self.best_known.value]])

    def __deepcopy__(self, memo: dict[int, Any]) -> GridProblem:
        """A new problem that shares what never changes: net, engine, counts, cache."""
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        return new

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        del state["_cache_lock"]
        state["_cache"] = OrderedDict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache_lock = threading.Lock()


def _variable(control: Control) -> Variable:
    makers: dict[str, Callable[[], Variable]] = {
        "real": lambda: Real(bounds=(control.lower, control.upper)),
        "integer": lambda: Integer(bounds=(int(control.lower), int(control.upper))),
        "binary": lambda: Binary(),
        "choice": lambda: Choice(options=list(control.options)),
    }
    return makers[control.kind]()


def _difference(state: GridState, expected: GridState) -> str | None:
    """How a state differs from the reference beyond rounding, None where it does not."""
    if state.solved != expected.solved:
        return "converges where pandapower.runpp does not, or the reverse, on the base case"
    if not expected.solved:
        return None
    for quantity, tolerance in _ENGINE_TOLERANCE.items():
        columns = state.layout.slices[quantity]
        gap = np.nanmax(np.abs(state.values[:, columns] - expected.values[:, columns]), initial=0)
        if gap > tolerance:
            return f"{quantity} differs from pandapower.runpp by {gap:.1e} on the base case"
    return None


def _shown(value: float, whole: bool) -> float | int:
    return int(value) if whole and np.isfinite(value) else float(value)
