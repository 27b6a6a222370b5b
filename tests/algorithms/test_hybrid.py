"""What Harmony Search and MVMO share: searches, epsilon, no repetitions, reference directions."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Choice, Integer, Real
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from algorithms import ALGORITHMS, MVMO, HarmonySearch
from algorithms._hybrid import SeenVectors, epsilon_level, reference_directions
from algorithms._offered import offered
from algorithms._variables import Variables

BOTH = pytest.mark.parametrize("cls", [HarmonySearch, MVMO])


class Whole(Problem):
    """Distance of integers, binaries and a choice from (3, 3, 3, on, on, "b"); keeps its points."""

    def __init__(self) -> None:
        variables: dict[str, Any] = {f"k{i}": Integer(bounds=(0, 4)) for i in range(3)}
        variables |= {"on": Binary(), "too": Binary(), "c": Choice(options=["a", "b", "c"])}
        upper = np.array([4.0, 4, 4, 1, 1, 2])
        super().__init__(vars=variables, n_obj=1, xl=np.zeros(6), xu=upper)
        self.points: list[bytes] = []

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        self.points.extend(x.tobytes() for x in X)
        out["F"] = np.abs(X - np.array([3.0, 3, 3, 1, 1, 1])).sum(axis=1)


@BOTH
def test_no_discrete_vector_is_evaluated_twice(cls: type[Algorithm]) -> None:
    problem = Whole()
    algorithm = cls(
        sampling=np.unique(Variables(problem).sample(20, np.random.default_rng(1)), axis=0)
    )
    algorithm.setup(problem, termination=("n_evals", 500), seed=1)
    while algorithm.has_next():
        algorithm.next()
    # 500 of the 1500 points there are, found although the search has long converged.
    assert len(problem.points) == len(set(problem.points)) == 500
    assert algorithm.opt[0].F[0] == 0.0


@BOTH
def test_repetitions_are_spent_where_they_are_asked_for(cls: type[Algorithm]) -> None:
    problem = Whole()
    minimize(problem, cls(avoid_repeats=False), ("n_evals", 500), seed=1)
    assert len(problem.points) == 500
    assert len(set(problem.points)) < 400


@BOTH
def test_a_run_goes_on_when_every_point_is_known(cls: type[Algorithm]) -> None:
    problem = Problem(vars={"a": Binary(), "b": Binary()}, n_obj=1, xl=np.zeros(2), xu=np.ones(2))
    problem._evaluate = lambda X, out, *_, **__: out.update(F=X.sum(axis=1))  # type: ignore[method-assign]
    result = minimize(problem, cls(), ("n_evals", 100), seed=1)
    assert result.F[0] == 0.0
    assert result.algorithm.evaluator.n_eval == 100


def test_seen_vectors_are_remembered_up_to_the_capacity() -> None:
    seen = SeenVectors(capacity=3)
    rows = np.arange(7.0)[:, None]
    seen.update(rows)
    # After 3 a new generation begins, and the one before the last is forgotten.
    assert [x in seen for x in rows] == [False, False, False, True, True, True, True]


def test_a_known_vector_is_exchanged_for_a_neighbour() -> None:
    variables = Variables(Problem(vars={"k": Integer(bounds=(0, 9)), "m": Integer(bounds=(0, 9))}))
    seen = SeenVectors()
    seen.update(np.array([[5.0, 5.0]]))
    X = seen.exchange(np.array([[5.0, 5.0], [1.0, 2.0]]), variables, np.random.default_rng(1))
    assert np.abs(X[0] - 5.0).sum() == 1.0
    np.testing.assert_array_equal(X[1], [1.0, 2.0])
    assert X[0] in seen
    assert X[1] in seen


def test_epsilon_level_by_hand() -> None:
    # 32 (1 - 0.25 / 0.5)^5 = 1, and nothing from half of the run on.
    assert epsilon_level(32.0, 0.0, 0.5) == 32.0
    assert epsilon_level(32.0, 0.25, 0.5) == 1.0
    assert epsilon_level(32.0, 0.5, 0.5) == 0.0
    assert epsilon_level(32.0, 0.9, 0.5) == 0.0


class Half(Problem):
    """Minimise x where only x >= 0.5 is allowed."""

    def __init__(self) -> None:
        super().__init__(n_var=1, n_obj=1, n_ieq_constr=1, xl=0.0, xu=1.0)

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        out["F"], out["G"] = X, 0.5 - X


@BOTH
def test_below_the_level_the_objective_decides(cls: type[Algorithm]) -> None:
    X = np.array([[0.1], [0.4], [0.45], [0.48], [0.9]])
    algorithm = cls(epsilon=0.5, local_search=False, sampling=X, **SIZE[cls](5))
    algorithm.setup(Half(), termination=("n_evals", 1000), seed=1)
    infills = algorithm.ask()
    algorithm.evaluator.eval(algorithm.problem, infills)
    algorithm.tell(infills=infills)
    # Violations 0.4, 0.1, 0.05, 0.02, 0: the quantile at 0.2 is between 0 and 0.02, 0.8 of the way.
    assert algorithm._level == pytest.approx(0.016)
    np.testing.assert_array_equal(algorithm.violation(np.array([0.01, 0.02])), [0.0, 0.02])
    order = algorithm._best_first().get("X")[:, 0]
    np.testing.assert_allclose(order, [0.9, 0.48, 0.45, 0.4, 0.1])
    algorithm._level = 0.11
    better = Population.new(X=np.array([[0.49]]))
    algorithm.evaluator.eval(algorithm.problem, better)
    algorithm._learn(better)
    best = algorithm._best_first()[0].X[0]
    assert best == 0.4
    # The best feasible point is kept although the population prefers others.
    algorithm._set_optimum()
    assert algorithm.opt[0].X[0] == 0.9


SIZE = {HarmonySearch: lambda n: {"pop_size": n}, MVMO: lambda n: {"n_particles": n}}


@BOTH
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_published_optimum_on_six_active_limits(cls: type[Algorithm], epsilon: float) -> None:
    result = minimize(get_problem("g7"), cls(epsilon=epsilon), ("n_evals", 5000), seed=1)
    assert result.CV[0] <= 0.0
    assert result.F[0] == pytest.approx(24.3062, rel=1e-3)


@BOTH
def test_local_search_is_the_default_with_real_variables_and_one_objective(
    cls: type[Algorithm],
) -> None:
    problem = get_problem("rosenbrock", n_var=10)
    with_search = minimize(problem, cls(), ("n_evals", 3000), seed=1)
    without = minimize(problem, cls(local_search=False), ("n_evals", 3000), seed=1)
    assert with_search.F[0] < 1e-4 < without.F[0]
    for other in (get_problem("zdt1"), Whole()):
        algorithm = cls()
        algorithm.setup(other, termination=("n_evals", 10), seed=1)
        assert not algorithm._is_local


@BOTH
def test_searches_start_later_with_variables_that_are_not_real(cls: type[Algorithm]) -> None:
    variables = {"x": Real(bounds=(0, 1)), "k": Integer(bounds=(0, 9))}
    mixed = Problem(vars=variables, n_obj=1, xl=np.zeros(2), xu=np.array([1.0, 9.0]))
    windows = []
    for problem, given in ((get_problem("sphere"), None), (mixed, None), (mixed, (0.1, 0.3))):
        algorithm = cls(local_search_window=given)
        algorithm.setup(problem, termination=("n_evals", 10), seed=1)
        windows.append(algorithm._window)
    assert windows == [(0.2, 0.9), (0.35, 0.9), (0.1, 0.3)]


@BOTH
def test_searches_start_inside_their_window(cls: type[Algorithm]) -> None:
    algorithm = cls(local_search_window=(0.5, 0.6), local_search_rate=100.0)
    algorithm.setup(get_problem("rosenbrock", n_var=4), termination=("n_evals", 2000), seed=1)
    opened = []
    while algorithm.has_next():
        before, running = algorithm.progress(), algorithm._search
        algorithm.next()
        if algorithm._search is not None and algorithm._search is not running:
            opened.append(before)
    assert opened
    assert min(opened) >= 0.5
    assert max(opened) <= 0.6


class Sorted(Problem):
    """Distance from (0.2, 0.5, 0.7) in any order."""

    def __init__(self) -> None:
        super().__init__(n_var=3, n_obj=1, xl=0.0, xu=1.0)

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        out["F"] = ((np.sort(X, axis=1) - np.array([0.2, 0.5, 0.7])) ** 2).sum(axis=1)


@BOTH
def test_problems_may_put_vectors_into_another_form(cls: type[Algorithm]) -> None:
    algorithm = cls()
    algorithm.setup(Sorted(), termination=("n_evals", 1000), seed=1)
    while algorithm.has_next():
        infills = algorithm.ask()
        algorithm.evaluator.eval(algorithm.problem, infills)
        for individual in infills:
            individual.X = np.sort(individual.X)
        algorithm.tell(infills=infills)
    assert algorithm.opt[0].F[0] < 1e-10
    np.testing.assert_allclose(algorithm.opt[0].X, [0.2, 0.5, 0.7], atol=1e-5)


class Plateau(Problem):
    """The same value everywhere."""

    def __init__(self) -> None:
        super().__init__(n_var=5, n_obj=1, xl=0.0, xu=1.0)

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        out["F"] = np.ones(len(X))


@BOTH
def test_searches_that_gain_nothing_become_rare(cls: type[Algorithm]) -> None:
    def searches(backoff: float) -> int:
        algorithm = cls(local_search_backoff=backoff)
        algorithm.setup(Plateau(), termination=("n_evals", 4000), seed=1)
        n_opened = 0
        while algorithm.has_next():
            running = algorithm._search
            algorithm.next()
            n_opened += algorithm._search is not None and algorithm._search is not running
        return n_opened

    assert searches(0.0) == 1
    assert 1 < searches(0.5) < searches(1.0)


@BOTH
def test_a_search_that_finds_a_new_best_restores_the_chance(cls: type[Algorithm]) -> None:
    algorithm = cls(local_search_backoff=0.5)
    algorithm.setup(get_problem("rastrigin", n_var=5), termination=("n_evals", 4000), seed=3)
    n_failed, best_at_start = [], np.inf
    while algorithm.has_next():
        best = algorithm.opt[0].F[0] if algorithm.opt is not None else np.inf
        running, before = algorithm._search, algorithm._n_failed
        algorithm.next()
        n_failed.append(algorithm._n_failed)
        if algorithm._search is not running:
            if running is not None:
                assert algorithm._n_failed == (0 if best < best_at_start else before + 1)
            best_at_start = best
    assert max(n_failed) > 1
    assert any(a > 0 and b == 0 for a, b in pairwise(n_failed))


@BOTH
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"local_search_rate": -1.0}, "local_search_rate: expected values in"),
        ({"local_search_backoff": 1.5}, "local_search_backoff: expected values in"),
        ({"local_search_backoff": "much"}, "local_search_backoff: expected values in .* 'much'"),
        ({"local_search_margin": (1e-3, 0.0)}, "local_search_margin: expected values in"),
        ({"local_search_window": (0.5, 1.5)}, "local_search_window: expected values in"),
        ({"local_search_window": 0.5}, "local_search_window: expected"),
        ({"epsilon": 1.5}, "epsilon: expected values in"),
    ],
)
def test_parameters_out_of_range_are_named(
    cls: type[Algorithm], parameters: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**parameters)


@BOTH
@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("zdt1", {"epsilon": 0.5}, "epsilon: expected one objective, got 2"),
        ("zdt1", {"local_search": True}, "local_search: expected one objective, got 2"),
        ("zdt1", {"ref_dirs": np.ones((4, 3))}, r"ref_dirs: expected shape \(n, 2\)"),
        ("sphere", {"ref_dirs": 10}, "ref_dirs: expected several objectives, got 1"),
        ("sphere", {"neighbour_search": True}, "neighbour_search: the problem offers no"),
    ],
)
def test_options_that_the_problem_does_not_allow(
    cls: type[Algorithm], name: str, parameters: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**parameters).setup(get_problem(name), termination=("n_evals", 10), seed=1)


def test_reference_directions_are_the_finest_grid_that_is_not_larger() -> None:
    # n parts of the simplex of 3 objectives: (n + 1)(n + 2) / 2 points, 91 with 12 and 105 with 13.
    assert len(reference_directions(3, 100)) == 91
    assert len(reference_directions(2, 100)) == 100
    np.testing.assert_allclose(reference_directions(4, 50).sum(axis=1), 1.0)
    assert len(reference_directions(5, 1)) == 5
    given = np.eye(3)
    np.testing.assert_array_equal(reference_directions(3, given), given)


class MixedFront(Problem):
    """Two objectives over a real, an integer, a binary and a choice; convex front x -> 1 - sqrt x.

    All but ``x`` only add to the second objective.
    """

    def __init__(self) -> None:
        variables = {
            "x": Real(bounds=(0, 1)),
            "k": Integer(bounds=(0, 20)),
            "on": Binary(),
            "c": Choice(options=["a", "b", "c"]),
        }
        upper = np.array([1.0, 20, 1, 2])
        super().__init__(vars=variables, n_obj=2, xl=np.zeros(4), xu=upper)

    def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        g = 1 + np.abs(X[:, 1] - 7) + (1 - X[:, 2]) + (X[:, 3] != 1)
        out["F"] = np.column_stack([X[:, 0], g * (1 - np.sqrt(X[:, 0] / g))])


# MVMO, made for one objective, stays behind: few variables change at a time.
SHARE = {HarmonySearch: 0.97, MVMO: 0.88}
FRONTS = {
    "zdt1": (lambda: get_problem("zdt1", n_var=10), 5000, np.array([1.1, 1.1])),
    "dtlz2": (lambda: get_problem("dtlz2", n_var=12, n_obj=3), 9000, np.array([1.1, 1.1, 1.1])),
    "mixed": (MixedFront, 3000, np.array([1.1, 1.1])),
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("directions", [None, 100])
@BOTH
def test_hypervolume_is_near_that_of_nsga(
    cls: type[Algorithm], directions: int | None, front: str
) -> None:
    make, n_evals, corner = FRONTS[front]
    problem = make()
    peer = ALGORITHMS["nsga2" if directions is None else "nsga3"](problem)
    volumes = [
        HV(ref_point=corner)(minimize(problem, algorithm, ("n_evals", n_evals), seed=1).F)
        for algorithm in (cls(ref_dirs=directions), peer)
    ]
    assert volumes[0] > SHARE[cls] * volumes[1]


@BOTH
def test_memory_is_flat(cls: type[Algorithm]) -> None:
    algorithm = cls(local_search=False, **SIZE[cls](20))
    algorithm.setup(get_problem("sphere", n_var=5), termination=("n_evals", 16_000), seed=1)
    tracemalloc.start()
    sizes = []
    while algorithm.has_next():
        algorithm.next()
        if algorithm.evaluator.n_eval % 4_000 < 20:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[-1] < sizes[0] + 50_000


class Broken(Half):
    """Whether it gives slopes ends in the error of a typing slip."""

    @property
    def gives_slopes(self) -> bool:
        return bool(self.no_such_name)


@BOTH
def test_an_error_inside_of_what_a_problem_offers_is_not_hidden(cls: type[Algorithm]) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        minimize(Broken(), cls(), ("n_evals", 50), seed=1)


def test_what_a_wrapper_hands_on_is_offered() -> None:
    class Wrapper:
        def __init__(self, problem: Problem) -> None:
            self.wrapped = problem

        def __getattr__(self, name: str) -> Any:
            return getattr(self.wrapped, name)

    assert offered(Wrapper(Half()), "n_ieq_constr") == 1  # type: ignore[arg-type]
    assert offered(Wrapper(Half()), "gives_slopes") is None  # type: ignore[arg-type]
