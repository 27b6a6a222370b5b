"""The variables of a pymoo problem as arrays, whichever way the problem declares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Choice, Integer, Real, Variable

from algorithms._offered import offered

KINDS = ("real", "ordered", "nominal")
AT_BOUNDS = ("reflect", "clip")


class Variables:
    """Bounds and kinds of the columns of a flat vector, and the way to the problem and back.

    The algorithms of this package compute with flat float vectors only. A column is *real*,
    *ordered* (integers, and choices whose options are ascending or descending numbers; neighbours
    are one step apart) or *nominal* (binaries and all other choices; no option is nearer than
    another). A choice is held as the index of its option.

    Attributes:
        lower, upper: Bounds, shape (n_var,).
        span: ``upper - lower``.
        real, ordered, nominal: Masks of the columns, shape (n_var,), disjoint and complete.
        names: Names of the variables, or their positions where the problem gives none.
        takes_dicts: Whether the problem evaluates dicts, not vectors.
    """

    def __init__(self, problem: Problem) -> None:
        """Read ``problem.vars``, or else ``problem.vtype``, and the bounds.

        Args:
            problem: A problem with ``vars`` (mapping or sequence of pymoo variables) or with
                ``vtype`` None, float, int or bool; with or without numeric ``xl`` and ``xu``.

        Raises:
            ValueError: A variable is of an unknown type, or its bounds are missing, not finite or
                crossed.
        """
        declared = _declared(problem)
        numeric = not isinstance(problem.xl, Mapping) and not isinstance(problem.xu, Mapping)
        self.names = list(declared)
        self._options = [
            list(v.options) if isinstance(v, Choice) else None for v in declared.values()
        ]
        self._types = [_native_type(name, v) for name, v in declared.items()]
        self.takes_dicts = offered(problem, "vars") is not None and not numeric
        self._vtype = problem.vtype if problem.vtype in (int, bool) else float

        bounds = [_own_bounds(v) for v in declared.values()]
        xl, xu = (problem.xl, problem.xu) if numeric else (None, None)
        self.lower = _bound(xl, [low for low, _ in bounds])
        self.upper = _bound(xu, [high for _, high in bounds])
        self._check_bounds()
        self.span = self.upper - self.lower

        kinds = np.array([_kind(v) for v in declared.values()])
        self.real, self.ordered, self.nominal = (kinds == kind for kind in KINDS)
        self._discrete = ~self.real
        self._n_options = np.where(self._discrete, self.span + 1, 0).astype(int)

    def __len__(self) -> int:
        return len(self.lower)

    def _check_bounds(self) -> None:
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError(f"variable {name!r}: bounds must be finite, got [{low}, {high}]")
            if low > high:
                raise ValueError(f"variable {name!r}: lower bound {low} above upper bound {high}")

    def sample(self, n_samples: int, random_state: np.random.Generator) -> np.ndarray:
        """Uniform draws, every integer and option equally likely, shape (n_samples, n_var)."""
        u = random_state.random((n_samples, len(self)))
        whole = np.floor(u * self._n_options)
        return self.lower + np.where(self._discrete, whole, u * self.span)

    def snap(self, X: np.ndarray) -> np.ndarray:
        """The nearest allowed points: inside the bounds, whole where discrete. A new array."""
        X = np.clip(np.asarray(X, dtype=float), self.lower, self.upper)
        return np.where(self._discrete, np.round(X), X)

    def step(self, X: np.ndarray, random_state: np.random.Generator) -> np.ndarray:
        """Nearest other values, shape of ``X``; real entries stay.

        Ordered: one step up or down, inwards at a bound. Nominal: any other option.
        """
        move = np.where(random_state.random(X.shape) < 0.5, 1.0, -1.0)
        inside = (X + move >= self.lower) & (X + move <= self.upper)
        one_step = np.clip(np.where(inside, X + move, X - move), self.lower, self.upper)
        jump = random_state.integers(1, np.maximum(self._n_options, 2), X.shape)
        other = self.lower + (X - self.lower + jump) % np.maximum(self._n_options, 1)
        return np.where(self.ordered, one_step, np.where(self.nominal, other, X))

    def pitch(
        self,
        X: np.ndarray,
        share: np.ndarray,
        at_bounds: str,
        random_state: np.random.Generator,
    ) -> np.ndarray:
        """Neighbours of every entry of ``X``, by the rule of its column.

        Args:
            X: Allowed points, shape (n, n_var).
            share: Largest move of each column as a share of its range, shape (n_var,), at most 1.
            at_bounds: What becomes of a move that leaves the bounds, one of `AT_BOUNDS`.

        Returns:
            Real: ``x + U(-1, 1) * share * range``. Ordered: the same, the move rounded up or down
            at random so that it is right on average. Nominal: another option with chance
            ``share``. "reflect" mirrors what leaves the bounds (half a step outside of the last
            whole values, so that none of them is hit more often than others), "clip" moves it to
            the bound.
        """
        move = random_state.uniform(-1.0, 1.0, X.shape) * share * self.span
        chance = random_state.random(X.shape)
        whole = np.floor(move + chance)
        numeric = X + np.where(self.ordered, whole, move)
        if at_bounds == "reflect":
            half = np.where(self.ordered, 0.5, 0.0)
            low, high = self.lower - half, self.upper + half
            numeric = np.where(numeric < low, 2.0 * low - numeric, numeric)
            numeric = np.where(numeric > high, 2.0 * high - numeric, numeric)
        numeric = np.clip(numeric, self.lower, self.upper)
        other = np.where(chance < share, self.step(X, random_state), X)
        return np.where(self.nominal, other, numeric)

    def population(self, X: np.ndarray) -> Population:
        """Individuals in the form the problem evaluates: vectors, or dicts of native values.

        Args:
            X: Allowed points, shape (n, n_var).
        """
        if not self.takes_dicts:
            return Population.new(X=X.astype(self._vtype))
        return Population.new(X=[self._to_dict(x) for x in X])

    def vectors(self, points: Iterable[Any]) -> np.ndarray:
        """Flat vectors of points given as vectors or dicts, shape (n, n_var).

        Raises:
            ValueError: A point has the wrong length or names, or an option that does not exist.
        """
        rows = [self._from_dict(x) if isinstance(x, Mapping) else x for x in points]
        for row in rows:
            if np.shape(row) != (len(self),):
                raise ValueError(
                    f"points: expected vectors of {len(self)} variables, got shape {np.shape(row)}"
                )
        return np.array(rows, dtype=float).reshape(len(rows), len(self))

    def _to_dict(self, x: np.ndarray) -> dict[Any, Any]:
        columns = zip(self.names, self._options, self._types, x, strict=True)
        return {
            name: options[int(value)] if options is not None else native(value)
            for name, options, native, value in columns
        }

    def _from_dict(self, point: Mapping[Any, Any]) -> list[float]:
        if set(point) != set(self.names):
            raise ValueError(f"point: expected the variables {self.names}, got {list(point)}")
        row = []
        for name, options in zip(self.names, self._options, strict=True):
            value = point[name]
            if options is None or not self.takes_dicts:
                row.append(float(value))
            elif value in options:
                row.append(float(options.index(value)))
            else:
                raise ValueError(f"variable {name!r}: expected one of {options}, got {value!r}")
        return row


def _declared(problem: Problem) -> dict[Any, Variable]:
    declared = offered(problem, "vars")
    if declared is None:
        kinds = {None: Real, float: Real, int: Integer, bool: Binary}
        if problem.vtype not in kinds:
            raise ValueError(f"vtype: expected float, int or bool, got {problem.vtype!r}")
        return {i: kinds[problem.vtype]() for i in range(problem.n_var)}
    if isinstance(declared, Mapping):
        return dict(declared)
    return dict(enumerate(declared))


def _native_type(name: Any, variable: Variable) -> type:
    for kind, native in ((Real, float), (Integer, int), (Binary, bool), (Choice, object)):
        if isinstance(variable, kind):
            return native
    raise ValueError(
        f"variable {name!r}: expected Real, Integer, Binary or Choice, "
        f"got {type(variable).__name__}"
    )


def _own_bounds(variable: Variable) -> tuple[float, float]:
    if isinstance(variable, Binary):
        return 0.0, 1.0
    if isinstance(variable, Choice):
        return 0.0, len(variable.options) - 1.0
    low, high = variable.bounds
    return (np.nan if low is None else float(low)), (np.nan if high is None else float(high))


def _bound(given: Any, own: list[float]) -> np.ndarray:
    if given is None:
        return np.array(own, dtype=float)
    return np.broadcast_to(np.asarray(given, dtype=float), len(own)).copy()


def _kind(variable: Variable) -> str:
    if isinstance(variable, Real):
        return "real"
    if isinstance(variable, Integer):
        return "ordered"
    if isinstance(variable, Choice) and _is_ordered(variable.options):
        return "ordered"
    return "nominal"


def _is_ordered(options: Iterable[Any]) -> bool:
    """Whether the options are numbers in ascending or descending order."""
    values = list(options)
    if not all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values):
        return False
    steps = np.diff(values)
    return bool(np.all(steps > 0) or np.all(steps < 0))
