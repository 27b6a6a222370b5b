from __future__ import annotations

import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Integer, Real
from pymoo.problems import get_problem

from algorithms._local_search import Descent, LocalSearch
from algorithms._variables import Variables


def drive(
    search: LocalSearch, problem: Problem, start: np.ndarray, interrupted: bool = False
) -> tuple[Population, list[int]]:
    """Answer every question; returns all evaluated points and the size of each batch."""
    pop = Evaluator().eval(problem, search.descent.variables.population(start[None]))
    search.tell(start[None], *pop.get("F", "G", "H", "CV"))
    sizes = []
    while (X := search.ask()) is not None:
        if interrupted:
            search = pickle.loads(pickle.dumps(search))
        new = Evaluator().eval(problem, search.descent.variables.population(X))
        search.tell(X, *new.get("F", "G", "H", "CV"))
        pop, sizes = Population.merge(pop, new), [*sizes, len(X)]
    return pop, sizes


def test_published_constrained_optimum_is_reached_from_a_poor_point() -> None:
    problem = get_problem("g7")
    start = np.full(10, 3.0)
    pop, sizes = drive(LocalSearch(Variables(problem), start), problem, start)
    feasible = pop[pop.get("CV")[:, 0] <= 0]
    assert feasible.get("F").min() == pytest.approx(24.3062, abs=2e-3)
    # Gradients come as batches of n_var points, line searches as single points.
    assert set(sizes) == {1, 10}
    assert sum(sizes) < 600


class Valley(Problem):
    """Ten turned axes, weighted from 1 to 1e6, around (0.3, ..., 0.3)."""

    def __init__(self) -> None:
        super().__init__(n_var=10, n_obj=1, xl=-5.0, xu=5.0)
        self.axes = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0]

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        out["F"] = (((X - 0.3) @ self.axes) ** 2 * np.geomspace(1.0, 1e6, 10)).sum(axis=1)


def test_finer_differences_reach_the_bottom_of_a_badly_scaled_valley(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, start = Valley(), np.full(10, 4.0)
    found = {}
    for n_restarts in (0, Descent.N_RESTARTS):
        monkeypatch.setattr(Descent, "N_RESTARTS", n_restarts)
        search = LocalSearch(Variables(problem), start)
        pop, _ = drive(search, problem, start)
        found[n_restarts] = pop.get("F").min()
        # Difference and margin shrink by ten with every start.
        assert search.descent.steps[0] == pytest.approx(1e-5 / 10.0**search.descent.n_starts)
        assert search.descent.margin == pytest.approx(1e-4 / 10.0**search.descent.n_starts)
    assert found[3] < 1e-2 * found[0]


def test_equality_constraints_are_kept() -> None:
    problem = get_problem("g11")
    start = np.array([0.5, 0.9])
    pop, _ = drive(LocalSearch(Variables(problem), start), problem, start)
    assert pop[pop.get("CV")[:, 0] <= 0].get("F").min() == pytest.approx(0.75, abs=1e-3)


def test_an_interrupted_search_asks_for_the_same_points() -> None:
    problem = get_problem("g7")
    start = np.full(10, 3.0)
    whole, _ = drive(LocalSearch(Variables(problem), start), problem, start)
    parts, _ = drive(LocalSearch(Variables(problem), start), problem, start, interrupted=True)
    np.testing.assert_array_equal(whole.get("X"), parts.get("X"))


def test_what_was_not_evaluated_is_asked_for_again() -> None:
    problem = get_problem("g7")
    start = np.full(10, 3.0)
    search = LocalSearch(Variables(problem), start)
    pop = Evaluator().eval(problem, Population.new(X=start[None]))
    search.tell(start[None], *pop.get("F", "G", "H", "CV"))
    X = search.ask()
    assert X is not None
    assert len(X) == 10
    pop = Evaluator().eval(problem, Population.new(X=X[:4]))  # the budget ended here
    search.tell(X[:4], *pop.get("F", "G", "H", "CV"))
    np.testing.assert_array_equal(search.ask(), X[4:])


def test_the_thread_that_asks_may_change() -> None:
    problem = get_problem("g7")
    start = np.full(10, 3.0)
    whole, _ = drive(LocalSearch(Variables(problem), start), problem, start)
    search = LocalSearch(Variables(problem), start)
    pop = Evaluator().eval(problem, Population.new(X=start[None]))
    search.tell(start[None], *pop.get("F", "G", "H", "CV"))
    asked = [start[None]]
    with ThreadPoolExecutor(1) as other:
        for k in range(20):
            X = search.ask() if k % 2 else other.submit(search.ask).result()
            assert X is not None
            pop = Evaluator().eval(problem, Population.new(X=X))
            search.tell(X, *pop.get("F", "G", "H", "CV"))
            asked.append(X)
    together = np.vstack(asked)
    np.testing.assert_array_equal(together, whole.get("X")[: len(together)])


def test_a_search_that_is_dropped_leaves_nothing_behind() -> None:
    problem, start = Valley(), np.full(10, 4.0)
    search = LocalSearch(Variables(problem), start)
    pop = Evaluator().eval(problem, Population.new(X=start[None]))
    search.tell(start[None], *pop.get("F", "G", "H", "CV"))
    assert search.ask() is not None  # SLSQP waits now
    left = weakref.ref(search.descent)
    del search
    assert left() is None


class Staircase(Problem):
    """(x - 0.3)^2 + ((k - 70) / 100)^2, worse by 1 if off."""

    def __init__(self) -> None:
        variables = {
            "x": Real(bounds=(0, 1)),
            "k": Integer(bounds=(0, 200)),
            "on": Binary(),
        }
        bounds = np.zeros(3), np.array([1.0, 200.0, 1.0])
        super().__init__(vars=variables, n_obj=1, xl=bounds[0], xu=bounds[1])

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        assert (X[:, 1:] == np.round(X[:, 1:])).all()
        out["F"] = (X[:, 0] - 0.3) ** 2 + ((X[:, 1] - 70) / 100) ** 2 + 1 - X[:, 2]


def test_integers_move_in_whole_steps_and_binaries_stay() -> None:
    problem = Staircase()
    start = np.array([1.0, 200.0, 0.0])
    pop, sizes = drive(LocalSearch(Variables(problem), start), problem, start)
    best = pop[pop.get("F")[:, 0].argmin()].X
    assert best[0] == pytest.approx(0.3, abs=1e-3)
    assert abs(best[1] - 70) <= 1
    assert (pop.get("X")[:, 2] == 0).all()
    # At the upper bounds the differences are taken backwards, by one integer at least.
    np.testing.assert_allclose(pop.get("X")[1:3], [[1 - 1e-6, 200, 0], [1, 199, 0]])
    assert sum(sizes) < 100


def test_there_is_nothing_to_do_without_variables_that_move() -> None:
    problem = Problem(vars={"a": Binary(), "b": Binary()})
    assert LocalSearch(Variables(problem), np.zeros(2)).ask() is None
