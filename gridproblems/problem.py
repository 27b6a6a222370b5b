"""`GridProblem`: a grid task as a pymoo problem for every algorithm."""

from __future__ import annotations

import inspect
import math
import reprlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pymoo.core import variable as pymoo_variable
from pymoo.core.problem import ElementwiseProblem

from gridproblems import _summary, _vectors
from gridproblems._arguments import shown
from gridproblems.cases import BestKnown, KnownFront
from gridproblems.constraints import Constraint
from gridproblems.controls import Codec, Variable, bounds, checked_mapping
from gridproblems.engines import Engine
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.fingerprint import derived, fingerprint_of, fingerprint_of_arguments, grid_of
from gridproblems.objectives import (
    OBJECTIVES,
    Objective,
    ObjectiveFunction,
    resolve_objective,
)
from gridproblems.parallel import PopulationRunner
from gridproblems.state import FloatArray, GridState, Settings, SettingsMapping
from gridproblems.violations import Violation, violations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAILED_F = 1e9
FAILED_G = 1e3
#: Arguments that change no result, or whose content `GridProblem.fingerprint` takes from elsewhere.
_NOT_TOLD = frozenset(
    {"aggregate", "best_known", "codec", "engine", "n_jobs", "name", "objectives"}
)
_Made = TypeVar("_Made", bound="GridProblem")
_MAX_TOGETHER = 1024  # power flows in one call of the engine


class Counts:
    """How often a problem was evaluated, and what came of it.

    Attributes:
        evaluated: Vectors asked for.
        cached: Of these, answered from the cache.
        failed: Candidates whose power flow diverged or left loads without supply.
        power_flows: Power flows solved, one per snapshot of a candidate.
    """

    def __init__(self) -> None:
        self.evaluated = self.cached = self.failed = self.power_flows = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return self.as_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        names = ("evaluated", "cached", "failed", "power_flows")
        return {name: self.__dict__[name] for name in names}

    def add(
        self, evaluated: int = 0, cached: int = 0, failed: int = 0, power_flows: int = 0
    ) -> None:
        """Adds to the counts; safe from several threads."""
        with self._lock:
            self.evaluated += evaluated
            self.cached += cached
            self.failed += failed
            self.power_flows += power_flows


class GridProblem(ElementwiseProblem):
    """Decodes a vector, solves the grid and gives objectives and constraints; the only evaluation.

    Flat vectors and dicts of variables are both understood, so that every pymoo algorithm runs on
    the same object. A vector need not be on the grid of allowed values: the nearest vector that is
    (within bounds, integers whole) is evaluated, and pymoo's population gets that one back, so
    ``result.X`` is what was evaluated.

    A candidate whose power flow diverges or leaves a load without supply has finite worst
    objectives and constraints (first entry ``"power_flow"``) and is counted. Constraints of the
    settings alone, such as radiality, still grade it.

    Args:
        codec: Turns vectors into settings, usually a `ControlSet`.
        engine: Solves the grid with these settings.
        objectives: Names in `OBJECTIVES`, or callables of (settings, state) that get one candidate
            at a time, or `Objective` objects; one or several, all minimised.
        constraints: Functions of (settings, state), feasible where <= 0.
        n_jobs: Workers that evaluate a population, -1 for all cores.
        cache: Answer repeated vectors from memory: True for the latest 100,000, or how many.
        aggregate: One constraint per kind (the worst entry, or the sum of violations) instead of
            one per element and limit.
        name: What to call the problem.
        best_known: The best value known for these objectives and controls, if any.

    Attributes:
        OBJECTIVES: Objectives by name that this class of problems knows.
        OBJECTIVE_METHODS: Names and units of methods of (settings, state) that are objectives too.
        NEGATIVE_METHODS: Those that give the negative of what is to be large.
        engine_name, engine_note: Which engine solves the grid, and why.

    Raises:
        ValueError: An argument is wrong; the message names it.
    """

    OBJECTIVES: Mapping[str, Objective] = OBJECTIVES
    OBJECTIVE_METHODS: Mapping[str, str] = MappingProxyType({})
    NEGATIVE_METHODS: frozenset[str] = frozenset()

    _arguments = ""

    def __new__(cls: type[_Made], *args: Any, **kwargs: Any) -> _Made:
        """Remembers the fingerprint of the arguments of a task; its grid counts by content."""
        made = super().__new__(cls)
        grid = next(iter(inspect.signature(cls).parameters), "")
        made._arguments = fingerprint_of_arguments(cls, args, kwargs, _NOT_TOLD | {grid})
        return made

    def __init__(
        self,
        codec: Codec,
        engine: Engine,
        objectives: str | ObjectiveFunction | Sequence[str | ObjectiveFunction | Objective],
        constraints: Sequence[Constraint] = (),
        *,
        engine_name: str = "",
        engine_note: str = "",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        name: str = "",
        best_known: BestKnown | None = None,
    ) -> None:
        self._name = name
        self.codec = codec
        self.engine, self.engine_name, self.engine_note = engine, engine_name, engine_note
        self.objectives = self._resolved(objectives)
        self.constraints = tuple(c for c in constraints if c.names)
        self.aggregate = aggregate
        self.best_known = best_known
        self.known_front: KnownFront | None = None
        self.counts = Counts()
        if not isinstance(cache, (bool, Integral)) or cache < 0:
            raise ValueError(f"cache: expected True, False or 0 or more, got {shown(cache)}")
        self._cache_size = 100_000 if cache is True else int(cache)
        self._cache: OrderedDict[bytes, tuple[FloatArray, FloatArray]] = OrderedDict()
        self._cache_lock = threading.Lock()

        kinds = [kind for c in self.constraints for kind in c.kinds]
        entries = [entry for c in self.constraints for entry in c.names]
        self._kinds = tuple(dict.fromkeys(kinds))
        self._kind_of_entry = np.array([self._kinds.index(kind) for kind in kinds], dtype=int)
        self.constraint_names = ("power_flow", *(self._kinds if aggregate else entries))

        xl, xu, _ = bounds(codec)
        super().__init__(
            vars={v.name: _pymoo_variable(v) for v in codec.variables},
            n_var=len(codec.variables),
            n_obj=len(self.objectives),
            n_ieq_constr=len(self.constraint_names),
            xl=xl,
            xu=xu,
            elementwise_runner=PopulationRunner(n_jobs),
        )

    def _resolved(
        self, objectives: str | ObjectiveFunction | Sequence[str | ObjectiveFunction | Objective]
    ) -> tuple[Objective, ...]:
        if isinstance(objectives, (str, Objective)) or callable(objectives):
            objectives = (objectives,)
        if not isinstance(objectives, (Sequence, np.ndarray)) or isinstance(objectives, bytes):
            raise ValueError(
                f"objectives: expected a list of names or functions, got {shown(objectives)}"
            )
        if not len(objectives):
            raise ValueError("objectives: expected at least one")
        known = {
            **self.OBJECTIVES,
            **{
                name: Objective(
                    name,
                    unit,
                    getattr(self, name),
                    batched=True,
                    is_negative=name in self.NEGATIVE_METHODS,
                )
                for name, unit in self.OBJECTIVE_METHODS.items()
            },
        }
        return tuple(resolve_objective(objective, known) for objective in objectives)

    def fingerprint(self) -> str:
        """What the results depend on, as a text that is equal for equal content.

        Grid (the content of the net or feeder, not where it came from), the variables and what they
        set, objectives, constraints, engine and all further arguments of the task; the same in
        every process and on every machine.
        """
        middle = (self.xl + self.xu) / 2.0
        settings = [self.codec.decode(self.codec.snap(x)) for x in (self.xl, middle, self.xu)]
        return fingerprint_of(
            {
                "task": type(self),
                "arguments": self._arguments,
                "grid": grid_of(self),
                "engine": self.engine_name or type(self.engine),
                "variables": self.codec.variables,
                "fields": settings[0].fields,
                "values": [derived(s.values) for s in settings],
                "objectives": [
                    (o.name, o.unit, getattr(o.function, "__func__", o.function))
                    for o in self.objectives
                ],
                "constraints": [
                    (type(c), c.names, getattr(c, "limits", None)) for c in self.constraints
                ],
                "aggregate": self.aggregate,
            }
        )

    # -- from x to the grid and back ------------------------------------------------------

    @property
    def name(self) -> str:
        """What the problem is called.

        A property, where pymoo has a method of this name that only its ``__str__`` calls: objects
        of pymoo that copy a problem's attributes keep their own method.
        """
        return self._name

    def __str__(self) -> str:
        return _summary.as_text(self)

    def __repr__(self) -> str:
        return _summary.as_line(self)

    def _repr_html_(self) -> str:
        return _summary.as_html(self)

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives, in the order of F."""
        return tuple(objective.name for objective in self.objectives)

    @property
    def objective_units(self) -> tuple[str, ...]:
        """Units of the objectives, in the order of F."""
        return tuple(objective.unit for objective in self.objectives)

    @property
    def base_x(self) -> FloatArray:
        """The vector of the grid as it is now, shape (n_var,)."""
        raise NotImplementedError

    def base_values(self) -> FloatArray:
        """Objectives of the grid as it is now, (n_obj,); NaN where its power flow fails."""
        return self._values_of(*self.base_solution)

    @property
    def base_solution(self) -> tuple[Settings, GridState]:
        """Settings and state of the grid as it is now."""
        return self.codec.decode(self.base_x), self.solve(self.base_x)

    def violations(self, x: ArrayLike | Mapping[str, Any]) -> list[Violation]:
        """Limits that ``x`` breaks, in physical units, nearest to holding first.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: There is no state: it diverges or leaves loads without supply.
        """
        settings = self.decode(x)
        state = self.engine.solve(settings)
        if not state.solved:
            raise PowerFlowNotConverged(f"{self.name}: no state that limits could be checked in")
        return violations(self.constraints, settings, state)

    @property
    def objective_signs(self) -> FloatArray:
        """-1 for objectives that are the negative of what they are called, else 1, (n_obj,)."""
        return np.array([-1.0 if o.is_negative else 1.0 for o in self.objectives])

    def remarks(self, x: ArrayLike | Mapping[str, Any]) -> list[str]:
        """What else a reader should know of the settings of ``x``, as sentences."""
        return []

    def _values_of(self, settings: Settings, state: GridState) -> FloatArray:
        if not state.solved:
            return np.full(len(self.objectives), np.nan)
        return np.array([objective(settings, state) for objective in self.objectives], dtype=float)

    def _flat(self, x: ArrayLike | Mapping[str, Any]) -> FloatArray:
        """A vector from what an algorithm hands over, a vector or a dict of variables."""
        if isinstance(x, Mapping):
            return _vectors.of_dict(x, self.codec.variables)
        return _vectors.numbers(x, self.codec.variables)

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
                f"x[{i}] ({self.codec.variables[i].name}): {flat[i]} is not within "
                f"[{self.xl[i]}, {self.xu[i]}]"
            )
        return self.codec.snap(flat)

    def check_snapshot(self, snapshot: int) -> None:
        """Raises ValueError for what is no number of one of the power flows of a candidate."""
        n = self.codec.n_snapshots
        if not isinstance(snapshot, Integral) or not 0 <= snapshot < n:
            raise ValueError(f"snapshot: expected 0 to {n - 1}, got {snapshot!r}")

    def decode(self, x: ArrayLike | Mapping[str, Any]) -> Settings:
        """Settings of a vector.

        Args:
            x: Shape (n_var,), or a dict of variables; it is moved onto the grid.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        return self.codec.decode(self._checked(x))

    def encode(self, settings: Settings | SettingsMapping) -> FloatArray:
        """The inverse of `decode`.

        Raises:
            ValueError: A controlled element is missing or its value is not on the grid.
        """
        if isinstance(settings, Settings):
            settings = settings.as_mapping()
        return self.codec.encode(checked_mapping(settings))

    def snap(self, x: ArrayLike) -> FloatArray:
        """Vectors on the grid, shape (..., n_var): within bounds, integers and choices whole.

        Raises:
            ValueError: Wrong length, or entries that are no finite numbers.
        """
        return self.codec.snap(_vectors.numbers(x, self.codec.variables))

    def solve(self, x: ArrayLike | Mapping[str, Any]) -> GridState:
        """State of the grid with the settings of ``x``, by the problem's engine."""
        return self.engine.solve(self.decode(x))

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """What ``x`` sets beside what is set now, one row per element."""
        raise NotImplementedError

    def measured(self, x: ArrayLike | Mapping[str, Any] | None = None) -> dict[str, float]:
        """Further figures that every result shows, by name; without x of the grid as it is."""
        return {}

    def write(self, x: Any, folder: Path) -> None:
        """Writes the grid with the settings of ``x`` into a folder, in its tool's own form."""
        raise NotImplementedError

    def figures(self, x: Any) -> dict[str, Figure]:
        """Figures of the grid before and after, by name.

        Args:
            x: The settings, None for figures of the grid as it is now alone.
        """
        return {}

    # -- evaluation -----------------------------------------------------------------------

    def evaluate(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Objectives and constraints of a vector, a dict of variables, or several.

        Args:
            X: Shape (n_var,) or (n, n_var), a dict, or a list of vectors or dicts.
            *args, **kwargs: See pymoo's ``Problem.evaluate``.

        Returns:
            F and G, each with one row per vector, without that axis for a single one.

        Raises:
            ValueError: Wrong length, unknown or missing variables, no finite numbers.
        """
        if isinstance(X, Mapping):
            X = self._flat(X)
        elif not _holds_dicts(X):
            X = _vectors.numbers(X, self.codec.variables)
            if X.ndim > 2:
                raise ValueError(
                    f"x: expected vectors of {self.n_var} values, got an array of {X.shape}"
                )
        return super().evaluate(X, *args, **kwargs)

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
            ValueError: Vectors of the wrong length, or entries that are no finite numbers.
        """
        if not isinstance(X, (np.ndarray, Sequence)) or isinstance(X, (str, bytes)):
            raise ValueError(f"X: expected vectors or dicts of variables, got {reprlib.repr(X)}")
        if not len(X):
            return []
        is_dict = isinstance(X[0], Mapping)
        if is_dict or not isinstance(X, np.ndarray):
            X = np.array([self._flat(x) for x in X])
        flat = _vectors.numbers(X, self.codec.variables)
        if flat.ndim != 2:
            raise ValueError(
                f"x: expected vectors of {self.n_var} values, got an array of {flat.shape}"
            )
        on_grid = self.codec.snap(flat)
        F, G = self._through_cache(on_grid) if self._cache_size else self._solve(on_grid)
        self.counts.add(len(X))
        if is_dict:
            return [{"F": f, "G": g} for f, g in zip(F, G, strict=True)]
        return [{"F": f, "G": g, "X": x} for f, g, x in zip(F, G, on_grid, strict=True)]

    def _solve(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Objectives (n, n_obj) and constraints (n, n_ieq_constr) of vectors on the grid."""
        F = np.empty((len(X), len(self.objectives)))
        G = np.empty((len(X), len(self.constraint_names)))
        n_together = max(1, _MAX_TOGETHER // self.codec.n_snapshots)
        for start in range(0, len(X), n_together):
            some = slice(start, start + n_together)
            F[some], G[some] = self.evaluate_settings(self.codec.decode(X[some]))
        return F, G

    def evaluate_settings(self, settings: Settings) -> tuple[FloatArray, FloatArray]:
        """Objectives (n, n_obj) and constraints (n, n_ieq_constr) of a batch of settings."""
        self.counts.add(power_flows=len(settings.rows))
        return self._judge(settings, self.engine.solve(settings))

    def _judge(self, settings: Settings, state: GridState) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of a batch; the only place where failure is a value."""
        solved = state.solved
        if solved.all():
            f, g = self._measure(settings, state)
            if math.isfinite(f.sum() + g.sum()):
                return f, g
        n = len(solved)
        F = np.full((n, len(self.objectives)), FAILED_F)
        G = np.full((n, len(self.constraint_names)), FAILED_G)
        which = np.flatnonzero(solved)
        if len(which):
            f, g = self._measure(settings.candidates(which), state.candidates(which))
            finite = np.isfinite(f).all(axis=1) & np.isfinite(g).all(axis=1)
            F[which[finite]], G[which[finite]] = f[finite], g[finite]
            solved[which[~finite]] = False
        failed = np.flatnonzero(~solved)
        self.counts.add(failed=len(failed))
        self._grade(settings.candidates(failed), state.candidates(failed), failed, G)
        return F, G

    def _measure(self, settings: Settings, state: GridState) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of a batch of solved candidates."""
        n = len(state.values)
        F = np.empty((n, len(self.objectives)))
        for i, objective in enumerate(self.objectives):
            F[:, i] = objective(settings, state)
        parts = [constraint(settings, state) for constraint in self.constraints]
        g = np.concatenate([np.full((n, 1), -1.0), *parts], axis=1)
        if self.aggregate and self._kinds:
            g = np.concatenate([g[:, :1], self._aggregated(g[:, 1:])], axis=1)
        return F, g

    def _grade(
        self, settings: Settings, state: GridState, failed: NDArray[np.int64], G: FloatArray
    ) -> None:
        """Adds to the worst constraint values what the settings alone violate."""
        for constraint in self.constraints:
            if not constraint.needs_state and len(failed):
                violation = np.maximum(constraint(settings, state), 0.0)
                G[failed, 0] += violation.sum(axis=1)

    def _through_cache(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `_solve`, but solves only what is not remembered, and each vector once."""
        keys = [x.tobytes() for x in X]
        known: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        with self._cache_lock:
            for key in keys:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    known[key] = self._cache[key]
        rows = {key: i for i, key in enumerate(keys) if key not in known}
        if rows:
            solved = self._solve(X[list(rows.values())])
            known.update(zip(rows, zip(*solved, strict=True), strict=True))
        with self._cache_lock:
            self._cache.update((key, known[key]) for key in rows)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        self.counts.add(cached=len(X) - len(rows))
        F, G = zip(*(known[key] for key in keys), strict=True)
        return np.array(F), np.array(G)

    def _aggregated(self, g: FloatArray) -> FloatArray:
        """Per kind the sum of violations, or the largest entry when there are none."""
        entries = [g[:, self._kind_of_entry == kind] for kind in range(len(self._kinds))]
        violation = np.array([np.maximum(part, 0.0).sum(axis=1) for part in entries])
        worst = np.array([part.max(axis=1) for part in entries])
        return np.where(violation > 0, violation, worst).T

    # -- pymoo's hooks, copies ------------------------------------------------------------

    def _calc_pareto_front(self, *args: Any, **kwargs: Any) -> FloatArray | None:
        if self.known_front is not None:
            return np.array(self.known_front.values)
        if self.best_known is None or len(self.objectives) > 1:
            return None
        return np.array([[self.best_known.value]])

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


def _holds_dicts(X: Any) -> bool:
    """Whether these are dicts of variables, or nothing at all."""
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and (not len(X) or isinstance(X[0], Mapping))
    return isinstance(X, list) and (not X or isinstance(X[0], Mapping))


def _pymoo_variable(variable: Variable) -> pymoo_variable.Variable:
    makers: dict[str, Callable[[], pymoo_variable.Variable]] = {
        "real": lambda: pymoo_variable.Real(bounds=(variable.lower, variable.upper)),
        "integer": lambda: pymoo_variable.Integer(
            bounds=(int(variable.lower), int(variable.upper))
        ),
        "binary": lambda: pymoo_variable.Binary(),
        "choice": lambda: pymoo_variable.Choice(options=list(variable.options)),
    }
    return makers[variable.kind]()
