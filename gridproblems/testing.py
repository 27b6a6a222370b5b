"""Checks that every problem, control, engine and algorithm must pass; for one's own in three lines.

The tests of this package run the same functions over its registries. Each raises ``AssertionError``
with what is wrong, and nothing else is needed but numpy and pymoo:

>>> from gridproblems import ReactivePowerDispatch
>>> from gridproblems.testing import check_problem
>>> check_problem(ReactivePowerDispatch("ieee14"))
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import ElementwiseProblem, Problem
from pymoo.core.variable import Binary, Choice, Integer, Real
from pymoo.optimize import minimize

from gridproblems.evaluation import FAILED_F, FAILED_G
from gridproblems.gradients import Gradients
from gridproblems.problem import GridProblem
from gridproblems.state import Field, FloatArray, GridState, Settings

__all__ = [
    "MixedProblem",
    "check_algorithm",
    "check_control",
    "check_engine",
    "check_gradients",
    "check_hessian",
    "check_problem",
    "random_vectors",
]


def random_vectors(problem: GridProblem, n: int, seed: int = 5) -> FloatArray:
    """Vectors within the bounds, shape (n, n_var); whole numbers are not whole."""
    return np.random.default_rng(seed).uniform(problem.xl, problem.xu, (n, problem.n_var))


# -- problems ------------------------------------------------------------------------------------


def check_problem(problem: GridProblem, n: int = 12) -> None:
    """Names and shapes, the same values whatever the way there, failure as a value, encoding.

    Args:
        problem: Any problem; some of ``n`` random vectors have to solve.
        n: Number of vectors.
    """
    _check_names(problem)
    _check_the_same_values(problem, random_vectors(problem, n))
    _check_vectors(problem, random_vectors(problem, n))
    _check_failure(problem)


def _check_names(problem: GridProblem) -> None:
    f, g = problem.evaluate(random_vectors(problem, 3))
    _require(f.shape == (3, problem.n_obj), f"F has the shape {f.shape}")
    _require(g.shape == (3, len(problem.constraint_names)), f"G has the shape {g.shape}")
    _require(problem.n_obj == len(problem.objective_units), "an objective without unit")
    for what, names in (
        ("variables", list(problem.vars)),
        ("constraints", list(problem.constraint_names)),
    ):
        twice = [name for name in names if names.count(name) > 1]
        _require(not twice, f"{what}: {twice[:1]} is there twice")
    _require(problem.constraint_names[0] == "power_flow", "the first constraint is no power_flow")
    _require(bool(np.isfinite(f).all() and np.isfinite(g).all()), "F or G is not finite")


def _check_the_same_values(problem: GridProblem, X: FloatArray) -> None:
    """Order, batch, copies and pickles change no bit."""
    f, g = problem.evaluate(X)
    ways: dict[str, Callable[[], tuple[FloatArray, FloatArray]]] = {
        "backwards": lambda: _reversed(problem.evaluate(X[::-1])),
        "one by one": lambda: _stacked([problem.evaluate(x[np.newaxis]) for x in X]),
        "in two batches": lambda: _stacked([problem.evaluate(X[:3]), problem.evaluate(X[3:])]),
        "a copy": lambda: copy.deepcopy(problem).evaluate(X),
        "a pickle": lambda: cloudpickle.loads(cloudpickle.dumps(problem)).evaluate(X),
    }
    for name, way in ways.items():
        f2, g2 = way()
        _require(np.array_equal(f, f2), f"{name}: F differs by {_largest(f, f2)}")
        _require(np.array_equal(g, g2), f"{name}: G differs by {_largest(g, g2)}")


def _reversed(values: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return values[0][::-1], values[1][::-1]


def _stacked(parts: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    return np.concatenate([f for f, _ in parts]), np.concatenate([g for _, g in parts])


def _check_vectors(problem: GridProblem, X: FloatArray) -> None:
    """Snapping is done once, decoding does not depend on it, and the present grid has a vector."""
    for x in X:
        snapped = problem.snap(x)
        _require(np.array_equal(problem.snap(snapped), snapped), "snapping twice moves a vector")
        inside = (snapped >= problem.xl - 1e-9) & (snapped <= problem.xu + 1e-9)
        _require(bool(inside.all()), "snapping leaves the bounds")
        same = problem.decode(x).values, problem.decode(snapped).values
        _require(np.array_equal(*same), "a vector and its snapped one decode differently")
        _require(len(problem.describe(snapped).columns) > 0, "describe says nothing")
    base = problem.base_x
    _require(np.array_equal(problem.snap(base), base), "base_x is not snapped")
    if encodes_present(problem):
        f = problem.evaluate(base)[0]
        _require(
            np.allclose(f, problem.base_values(), rtol=1e-9, atol=1e-9, equal_nan=True),
            f"the present grid has {problem.base_values()}, its vector {f}",
        )


def encodes_present(problem: GridProblem) -> bool:
    """Whether the vector of the present grid decodes to exactly what the grid has now."""
    of_vector, present = problem.decode(problem.base_x), problem.base_settings
    return of_vector.fields == present.fields and np.array_equal(of_vector.rows, present.rows)


def _check_failure(problem: GridProblem) -> None:
    """A power flow that fails, or leaves loads without supply, is finite and ranks last."""
    X = random_vectors(problem, 30)
    solved_f, solved_g = problem.evaluate(X)
    solved = solved_f[:, 0] < FAILED_F
    _require(bool(solved.any()), "none of 30 random vectors solves")
    for converged, n_unsupplied in ((False, 0), (True, 3)):
        spoilt = problem.with_engine(_Spoilt(problem.engine, converged, n_unsupplied))
        f, g = spoilt.evaluate(X[0])
        _require(bool((f == FAILED_F).all()), f"a failed candidate has F {f}")
        _require(bool((g >= FAILED_G).all()), f"a failed candidate has G {g}")
        _require(bool((f > solved_f[solved]).all()), "a failed candidate is better than another")
        worst = float(np.maximum(solved_g[solved], 0).sum(axis=1).max())
        _require(float(g.sum()) > worst, "a failed candidate violates less than another")


def check_gradients(
    problem: GridProblem, x: FloatArray | None = None, tolerance: float = 1e-6
) -> None:
    """Slopes are those of central differences, and values at whole numbers those of evaluation.

    Where a value has a kink near ``x``, its slope has to be that of one side, or between both.

    Args:
        problem: Any problem.
        x: Where, shape (n_var,); None: a random vector that solves.
        tolerance: Largest error of an entry, over the largest slope of its row; slopes are taken
            per range of a variable.
    """
    gradients = Gradients(problem.evaluation)
    x = _solving(problem) if x is None else np.asarray(x, dtype=float)
    _check_whole(problem, x)
    F, G, dF, dG = problem.gradients(x)
    slopes = np.concatenate([dF, dG])
    _require(bool(np.isfinite(slopes).all()), "a slope is not finite")
    span = problem.xu - problem.xl
    moves = np.flatnonzero(problem.joint.counts_as_real & (span > 0))
    if not len(moves):
        stepwise = ~problem.joint.counts_in_steps
        _require(not slopes[:, stepwise].any(), "nothing counts as real, and yet a slope is not 0")
        return
    steps = 5e-4 * span[moves]

    def values(step: FloatArray) -> FloatArray:
        X = np.tile(problem.joint.relaxed(x), (len(moves), 1))
        X[np.arange(len(moves)), moves] += step
        return np.concatenate(gradients.values(X), axis=1).T

    def central(h: FloatArray) -> FloatArray:
        return (values(h) - values(-h)) / (2.0 * h)

    expected = (4.0 * central(steps / 2) - central(steps)) / 3.0
    found = slopes[:, moves] * span[moves]
    scale = np.abs(expected * span[moves]).max(axis=1, keepdims=True)
    error = np.abs(found - expected * span[moves]) / np.maximum(scale, 1e-3)
    wrong = error > tolerance
    at = np.concatenate([F, G])[:, np.newaxis]
    sides = np.array([(values(h) - at) / h for h in (-steps / 8, steps / 8)]) * span[moves]
    slack = 1e-3 * np.maximum(scale, 1e-3)
    has_kink = np.abs(sides[0] - sides[1]) > slack
    inside = (found >= sides.min(axis=0) - slack) & (found <= sides.max(axis=0) + slack)
    wrong &= ~(has_kink & inside)
    names = [*problem.objective_names, *problem.constraint_names]
    for i, k in np.argwhere(wrong)[:1]:
        name = problem.joint.variables[moves[k]].name
        _require(
            False,
            f"slope of {names[i]} by {name}: {slopes[i, moves[k]]}, by differences "
            f"{expected[i, k]} (relative error {error[i, k]:.1e})",
        )


def check_hessian(
    problem: GridProblem, x: FloatArray | None = None, tolerance: float = 1e-5
) -> None:
    """Hessians of random weighted sums are those of central differences of slopes.

    Of the objectives alone, and of objectives and constraints. Entries at whose variable a slope
    has a kink near ``x`` are left out.

    Args:
        problem: Any problem whose slopes are known.
        x: Where, shape (n_var,); None: a random vector that solves.
        tolerance: Largest error of an entry, over the largest of the matrix, per range of the
            variables.
    """
    gradients = Gradients(problem.evaluation)
    x = problem.joint.relaxed(_solving(problem) if x is None else np.asarray(x, dtype=float))
    random = np.random.default_rng(5)
    span = problem.xu - problem.xl
    moves = np.flatnonzero(problem.joint.counts_as_real & (span > 0))
    if not len(moves):
        given = np.ones(problem.n_obj + problem.n_ieq_constr)
        _require(not problem.hessian(x, given).any(), "nothing counts as real, and yet it curves")
        return
    known = [gradients(_shifted(x, moves, s * 1e-3 * span)) for s in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    for with_G in (False, True):
        of_F = random.uniform(0.5, 1.5, problem.n_obj)
        of_G = random.uniform(0.5, 1.5, problem.n_ieq_constr) * with_G
        found = problem.hessian(x, np.append(of_F, of_G) if with_G else of_F)
        _require(found.shape == (len(x), len(x)), f"a matrix of shape {found.shape}")
        _require(bool(np.isfinite(found).all()), "a second derivative is not finite")
        _require(np.array_equal(found, found.T), "a Hessian is not symmetric")
        # (n_shifts, n_moves, n_var), per range of the variable that moves
        slopes = np.array([of_F @ own.dF + of_G @ own.dG for own in known])
        whole, half = (slopes[4] - slopes[0]) / 2e-3, (slopes[3] - slopes[1]) / 1e-3
        sides = (slopes[2] - slopes[1]) / 5e-4, (slopes[3] - slopes[2]) / 5e-4
        expected = (4.0 * half - whole) / 3.0 * span
        scale = max(float(np.abs(found * np.outer(span, span)).max(initial=0.0)), 1e-3)
        error = np.abs(found[moves] * span[moves, np.newaxis] * span - expected) / scale
        has_kink = np.abs(sides[0] - sides[1]) * span > 0.02 * scale
        has_kink |= np.abs(whole - half) * span > 0.02 * scale
        error[has_kink.any(axis=1)] = 0.0
        error[:, moves[has_kink.any(axis=1)]] = 0.0  # of a symmetric matrix
        for k, v in np.argwhere(error > tolerance)[:1]:
            names = [problem.joint.variables[i].name for i in (moves[k], v)]
            at = found[moves[k], v] * span[moves[k]] * span[v]
            _require(
                False,
                f"second derivative by {names[0]} and {names[1]}: {at}, by differences "
                f"{expected[k, v]} (error {error[k, v]:.1e} of the largest)",
            )


def _shifted(x: FloatArray, moves: NDArray[np.intp], steps: FloatArray) -> FloatArray:
    """A vector moved along each of some variables, shape (n_moves, n_var)."""
    X = np.tile(x, (len(moves), 1))
    X[np.arange(len(moves)), moves] += steps[moves]
    return X


def _solving(problem: GridProblem) -> FloatArray:
    """A random vector well within the bounds that solves, relaxed."""
    random = np.random.default_rng(3)
    span = problem.xu - problem.xl
    X = problem.joint.relaxed(problem.xl + span * random.uniform(0.2, 0.8, (30, problem.n_var)))
    solved = np.flatnonzero(Gradients(problem.evaluation).values(X)[1][:, 0] <= 0.0)
    _require(len(solved) > 0, "none of 30 random vectors solves")
    return np.asarray(X[solved[0]])


def _check_whole(problem: GridProblem, x: FloatArray) -> None:
    """At vectors that snapping leaves as they are, values are those of evaluation, bit for bit."""
    snapped = problem.snap(x)
    if np.array_equal(problem.joint.relaxed(snapped), snapped):
        F, G = problem.evaluate(snapped)
        with_slopes = problem.evaluate(snapped, return_values_of=["F", "G", "dF", "dG"])
        for name, one, other in (("F", F, with_slopes[0]), ("G", G, with_slopes[1])):
            close = np.allclose(one, other, rtol=1e-9, atol=1e-9)
            _require(close, f"{name} beside slopes differs by {_largest(one, other)}")


class _Spoilt:
    """An engine whose power flows fail, or leave loads without supply."""

    releases_gil = False

    def __init__(self, engine: Any, converged: bool, n_unsupplied: int) -> None:
        self._engine, self._converged, self._n_unsupplied = engine, converged, n_unsupplied

    def check(self, settings: Settings) -> None:
        """Any settings."""

    def solve(self, settings: Settings) -> GridState:
        """The engine's state, spoilt."""
        state = self._engine.solve(settings)
        converged = np.full(state.converged.shape, self._converged)
        n_unsupplied = np.full(state.converged.shape, self._n_unsupplied, dtype=np.int64)
        return GridState(state.layout, np.zeros_like(state.values), converged, n_unsupplied)


# -- controls ------------------------------------------------------------------------------------


def check_control(control: Any, grid: Any, situations: Any = None, n: int = 8) -> None:
    """A control on a grid: what a block must say, and a problem with it alone.

    Args:
        control: The control as a user writes it.
        grid: A grid that it fits, see `GridProblem`.
        situations: What it is tried in, see `GridProblem`.
        n: Number of vectors.
    """
    again = pickle.loads(pickle.dumps(control))
    _require(type(again) is type(control), "the control cannot be pickled")
    problem = GridProblem(grid, [control], situations, require_base_solution=False)
    (placed,) = problem.joint.placed
    block = placed.block
    n_values = sum(len(field.elements) for field in block.fields)
    X = problem.snap(random_vectors(problem, n))
    values = block.values(X, problem.situations)
    _require(values.shape[0] == n, f"values of {n} vectors have the shape {values.shape}")
    _require(values.shape[2] == n_values, f"{n_values} values are set, but {values.shape} given")
    for x, own in zip(X, values, strict=True):
        one = block.values(x[np.newaxis], problem.situations)[0]
        _require(np.array_equal(one, own), "values depend on the batch")
    for constraint in block.constraints:
        _require(
            constraint.function(X).shape == (n, len(constraint.names)),
            f"constraint {constraint.names[:1]} has another shape than its names",
        )
    for objective in block.objectives.values():
        _require(bool(objective.name and block.kind), "a control and its objectives have names")
    if block.has_neighbours:
        for x in X[:3]:
            near = problem.neighbours(x, 5)
            _require(len(near) <= 5, "more neighbours than wanted")
            _require(np.array_equal(problem.snap(near), near), "neighbours are not snapped")
    _check_vectors(problem, random_vectors(problem, n))


# -- engines -------------------------------------------------------------------------------------


def check_engine(
    engine_class: Callable[[Any], Any], net: Any, fields: tuple[Field, ...] = (), n: int = 6
) -> None:
    """An engine on a pandapower net: the states of ``pandapower.runpp``, whatever the way there.

    Args:
        engine_class: Makes the engine of a net.
        net: A net that it can represent.
        fields: Columns that are varied by up to 5 %; none for the net as it is.
        n: Number of power flows.
    """
    from gridproblems.engines import ReferenceEngine

    present = [net[f.table].loc[list(f.elements), f.column].to_numpy(float) for f in fields]
    factors = np.random.default_rng(3).uniform(0.95, 1.05, (n, sum(map(len, present))))
    values = np.concatenate([np.zeros(0), *present]) * factors
    settings = Settings(fields, values)
    engine = engine_class(net)
    engine.check(settings)
    state, expected = engine.solve(settings), ReferenceEngine(net).solve(settings)
    _require(np.array_equal(state.converged, expected.converged), "converges where runpp does not")
    _require(np.array_equal(state.n_unsupplied, expected.n_unsupplied), "other loads are lost")
    solved = expected.converged
    for quantity in expected.layout.slices:
        difference = _largest(state[quantity][solved], expected[quantity][solved])
        _require(difference < 1e-5, f"{quantity} differs from runpp by {difference:.1e}")
    again = engine.solve(Settings(fields, values[::-1]))
    _require(np.array_equal(again.values[::-1], state.values, equal_nan=True), "the order matters")
    copied = pickle.loads(pickle.dumps(engine)).solve(settings)
    _require(np.array_equal(copied.values, state.values, equal_nan=True), "a pickle differs")


# -- algorithms ----------------------------------------------------------------------------------


class MixedProblem(ElementwiseProblem):
    """Real, integer, binary and choice variables; x + y >= 5 is active at the optimum F = 1.

    Args:
        vectors: Whether points are flat vectors; else dicts of variables.
        disturbance: What numpy's global generator is seeded with in every evaluation, None to
            leave it alone.

    Attributes:
        seen: The points that were evaluated.
    """

    def __init__(self, vectors: bool, disturbance: int | None = None) -> None:
        variables = {
            "x": Real(bounds=(-2.0, 2.0)),
            "y": Real(bounds=(0.0, 10.0)),
            "k": Integer(bounds=(-5, 20)),
            "on": Binary(),
            "size": Choice(options=[0.5, 1.0, 2.0, 8.0]),
        }
        xl = np.array([-2.0, 0.0, -5.0, 0.0, 0.0]) if vectors else None
        xu = np.array([2.0, 10.0, 20.0, 1.0, 3.0]) if vectors else None
        super().__init__(vars=variables, n_obj=1, n_ieq_constr=1, xl=xl, xu=xu)
        self.vectors, self._disturbance = vectors, disturbance
        self.seen: list[Any] = []

    def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.seen.append(copy.deepcopy(x))
        if self._disturbance is not None:
            np.random.seed(self._disturbance)  # noqa: NPY002 (only those who draw from it notice)
        x1, y, k, on, size = x.values() if isinstance(x, dict) else x
        if not isinstance(x, dict):
            size = (0.5, 1.0, 2.0, 8.0)[int(size)]
        misses = (k - 7) ** 2 / 50 + 0.5 * (not on) + abs(size - 2.0)
        out["F"] = [2 * ((x1 - 0.5) ** 2 + (y - 3.5) ** 2) + misses]
        out["G"] = [5.0 - x1 - y]


def check_algorithm(
    make: Callable[[Problem], Algorithm],
    n_evals: int = 300,
    vectors: bool = True,
    own_generator: bool = True,
) -> None:
    """An algorithm on a small mixed and constrained problem: seeds, bounds, budget, its inputs.

    Args:
        make: Makes the algorithm for a problem.
        n_evals: Budget of the runs; it may be exceeded by less than a generation.
        vectors: Whether it takes flat vectors; else dicts of variables.
        own_generator: Whether it draws from ``random_state`` alone. Else numpy's global generator
            is left alone during a run.
    """
    first = _run(make, n_evals, 3, vectors, disturbance=0 if own_generator else None)
    second = _run(make, n_evals, 3, vectors, disturbance=1 if own_generator else None)
    other = _run(make, n_evals, 4, vectors)
    _require(_same(first.seen, second.seen), "the same seed gives another run")
    _require(not _same(first.seen, other.seen), "another seed gives the same run")
    _require(len(first.seen) <= 2 * n_evals, f"{len(first.seen)} evaluations of {n_evals}")
    for point in first.seen:
        _check_point(point)


def _run(
    make: Callable[[Problem], Algorithm],
    n_evals: int,
    seed: int,
    vectors: bool,
    disturbance: int | None = None,
) -> MixedProblem:
    problem = MixedProblem(vectors, disturbance)
    minimize(problem, make(problem), ("n_evals", n_evals), seed=seed, copy_algorithm=False)
    return problem


def _check_point(point: Any) -> None:
    if isinstance(point, dict):
        _require(point["size"] in (0.5, 1.0, 2.0, 8.0), f"size {point['size']} is no option")
        values = np.array([point[name] for name in ("x", "y", "k", "on")], dtype=float)
    else:
        values = np.asarray(point, dtype=float)[:4]
    low, high = np.array([-2.0, 0.0, -5.0, 0.0]), np.array([2.0, 10.0, 20.0, 1.0])
    inside = (values >= low) & (values <= high)
    _require(bool(inside.all()), f"{point} is out of bounds")
    _require(bool((values[2:] == np.round(values[2:])).all()), f"{point} is not whole")


def _same(first: list[Any], second: list[Any]) -> bool:
    def as_rows(points: list[Any]) -> list[list[float]]:
        return [list(map(float, p.values() if isinstance(p, dict) else p)) for p in points]

    return as_rows(first) == as_rows(second)


def _largest(first: FloatArray, second: FloatArray) -> float:
    return float(np.abs(np.nan_to_num(first - second)).max(initial=0.0))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
