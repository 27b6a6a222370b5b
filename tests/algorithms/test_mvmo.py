"""The rules of MVMO, by values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Choice, Integer, Real
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from scipy.stats import chisquare

from algorithms import MVMO
from algorithms.mvmo import (
    asymmetric,
    between,
    mapping,
    mix,
    number_mutated,
    select,
    shape_factor,
)


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("s1", [1e-9, 1.0, 15.0, 3000.0])
@pytest.mark.parametrize("s2", [1e-9, 1.0, 15.0, 3000.0])
def test_mapping_is_monotone_from_0_to_1(mean: float, s1: float, s2: float) -> None:
    u = np.linspace(0.0, 1.0, 501)
    x = mapping(mean, s1, s2, u)
    assert x[0] == 0.0
    assert x[-1] == 1.0
    assert (np.diff(x) >= -1e-12).all()
    assert x.min() >= 0.0
    assert x.max() <= 1.0


def test_mapping_by_hand() -> None:
    # mean 0.5, both shapes ln 4, u = 0.5: exp(-u s) = 1/2 and exp(-s) = 1/4.
    # h = 0.5 (1 - 1/2) + 0.5 (1/2) = 0.5; h0 = 0.5/4; h1 = 0.5 (3/4) + 0.5 = 0.875
    # x = 0.5 + (1 - 0.875 + 0.125) 0.5 - 0.125 = 0.5
    s = np.log(4.0)
    assert mapping(0.5, s, s, 0.5) == pytest.approx(0.5)
    # u = 1/4: exp(-u s) = 2^-0.5, exp(-(1 - u) s) = 2^-1.5
    # h = 0.5 (1 - 2^-0.5) + 0.5 2^-1.5, x = h + 0.25 / 4 - 0.125
    by_hand = 0.5 * (1 - 2**-0.5) + 0.5 * 2**-1.5 - 0.0625
    assert mapping(0.5, s, s, 0.25) == pytest.approx(by_hand)


def test_large_shapes_pull_everything_inside_to_the_mean() -> None:
    np.testing.assert_allclose(mapping(0.3, 500.0, 500.0, [0.1, 0.5, 0.9]), 0.3, atol=1e-12)
    # A larger s1 pulls harder from below, s2 from above.
    below, above = mapping(0.5, 50.0, 5.0, [0.1, 0.9])
    assert 0.5 - below < above - 0.5


def test_zero_shapes_leave_the_draw_as_it_is() -> None:
    u = np.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(mapping(0.7, 0.0, 0.0, u), u)


def test_shape_is_minus_log_of_variance_and_stays_where_there_is_none() -> None:
    shape = shape_factor(np.array([np.exp(-3.0), 0.0]), np.array([1.0, 7.0]))
    np.testing.assert_allclose(shape, [3.0, 7.0])


def test_asymmetry_factor_follows_the_shape() -> None:
    class Middle:
        def random(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.full(shape, 0.5)

    d = asymmetric(np.array([1.0, 8.0]), np.array([4.0, 4.0]), 0.25, Middle())  # type: ignore[arg-type]
    np.testing.assert_allclose(d, [1.25, 6.4])
    d = asymmetric(np.ones(1000), np.full(1000, 9.0), 0.25, np.random.default_rng(1))
    assert 1.0 <= d.min() < 1.01
    assert 1.49 < d.max() <= 1.5


def test_number_of_mutated_variables_falls_with_progress() -> None:
    rng = np.random.default_rng(1)
    start = number_mutated(0.5, 0.0, 0.0, (2000, 20), rng)
    assert set(start) == set(range(1, 11))
    # Half of the budget: squared progress 0.25, 10 - 0.25 * 9 = 7.75, rounded 8.
    assert number_mutated(0.5, 0.0, 0.25, (2000, 20), rng).max() == 8
    assert set(number_mutated(0.5, 0.0, 1.0, (50, 20), rng)) == {1}
    assert set(number_mutated(1.0, 1.0, 0.3, (50, 20), rng)) == {20}


@pytest.mark.parametrize("strategy", ["sequential", "random", "block", "sliding_block"])
def test_every_strategy_selects_the_number_asked_for(strategy: str) -> None:
    n = np.array([1, 2, 5])
    chosen, pointer = select(strategy, n, np.array([0, 4, 2]), 5, np.random.default_rng(1))
    np.testing.assert_array_equal(chosen.sum(axis=1), n)
    assert chosen[np.arange(3), pointer].all()


def test_selection_strategies_move_as_their_names_say() -> None:
    rng = np.random.default_rng(1)
    two, at = np.array([2]), np.array([0])
    _, pointer = select("sequential", two, at, 5, rng)
    assert pointer == [4]
    chosen, pointer = select("block", two, np.array([2]), 5, rng)
    assert list(np.flatnonzero(chosen[0])) == [0, 4]
    assert pointer == [4]
    chosen, pointer = select("sliding_block", two, np.array([2]), 5, rng)
    assert list(np.flatnonzero(chosen[0])) == [3, 4]
    counts = sum(select("random", two, at, 5, rng)[0][0].astype(int) for _ in range(2000))
    np.testing.assert_allclose(counts / 2000, 0.4, atol=0.04)


def test_bad_particles_are_mixed_from_good_ones_inside_the_box() -> None:
    best, last = np.array([0.4, 0.9]), np.array([0.2, 0.1])
    good = np.tile([0.5, 0.5], (4000, 1))
    start = mix(good, best, last, 0.0, np.random.default_rng(1))
    # beta is uniform in [-1, 1]: 0.5 + beta * 0.2, and 0.5 + beta * 0.8 inside the box.
    assert start[:, 0].min() == pytest.approx(0.3, abs=0.01)
    assert start[:, 0].max() == pytest.approx(0.7, abs=0.01)
    assert start.min() >= 0.0
    assert start.max() <= 1.0
    # At the end beta is uniform in [-0.01, 1.99]: towards the best.
    end = mix(good, best, last, 1.0, np.random.default_rng(1))
    assert end[:, 0].min() == pytest.approx(0.498, abs=0.01)
    assert end[:, 0].max() == pytest.approx(0.898, abs=0.01)


def test_schedules_run_with_the_square_of_progress() -> None:
    # Half of the run: 1 + (20 - 1) / 4 and 0.7 - (0.7 - 0.2) / 4.
    assert between(1.0, 20.0, 0.5**2) == pytest.approx(5.75)
    assert between(0.7, 0.2, 0.5**2) == pytest.approx(0.575)
    X = np.column_stack([np.linspace(0.5, 0.95, 10), np.full(10, 0.5)])
    parent, _ = started(n_particles=10, sampling=X)._parents(0.5**2)
    # Of ten particles 0.575 are six: they start from their own best, the other four do not.
    np.testing.assert_array_equal((parent == X).all(axis=1), [True] * 6 + [False] * 4)


def test_merits_that_are_equal_keep_their_order_and_failures_come_last() -> None:
    algorithm = started(n_particles=1, archive_size=3, sampling=np.array([[0.9, 0.5]]))
    for x, f in ((0.2, 0.25), (0.3, np.nan), (0.4, 0.25)):
        new = Population.new(X=np.array([[x, 0.5]]), F=np.array([[f]]), G=np.empty((1, 0)))
        new.set("CV", np.zeros((1, 1)))
        algorithm._learn(new)
    # 0.9 has the value 0.16, and 0.3 has none.
    np.testing.assert_allclose(algorithm.table[0, :, 0], [0.9, 0.2, 0.4])


def started(problem_name: str = "sphere", **parameters: object) -> MVMO:
    algorithm = MVMO(**parameters)  # type: ignore[arg-type]
    algorithm.setup(get_problem(problem_name, n_var=2), seed=1)
    infills = algorithm.ask()
    algorithm.evaluator.eval(algorithm.problem, infills)
    algorithm.tell(infills=infills)
    return algorithm


def offer(algorithm: MVMO, point: list[float], particle: int = 0) -> None:
    new = Population.new(X=np.array([point]), particle=[particle])
    algorithm.evaluator.eval(algorithm.problem, new)
    algorithm.tell(infills=new)


def test_archive_keeps_the_n_best_in_order_with_their_mean_and_variance() -> None:
    algorithm = started(n_particles=1, archive_size=3, sampling=np.array([[0.9, 0.5]]))
    for x in (0.7, 0.8, 0.6, 0.95, 0.6):
        offer(algorithm, [x, 0.5])
    np.testing.assert_allclose(algorithm.table[0, :, 0], [0.6, 0.7, 0.8])
    np.testing.assert_allclose(algorithm.merit[0, :, 1], [0.01, 0.04, 0.09])
    np.testing.assert_allclose(algorithm.mean[0], [0.7, 0.5])
    # Variance of 0.6, 0.7, 0.8; the second variable has none and keeps its initial shape.
    np.testing.assert_allclose(algorithm.shape[0], [-np.log(0.02 / 3), 0.0])
    np.testing.assert_allclose(algorithm.opt[0].X, [0.6, 0.5])


def test_each_particle_keeps_its_own_archive() -> None:
    algorithm = started(n_particles=2, sampling=np.array([[0.9, 0.5], [0.2, 0.5]]))
    offer(algorithm, [0.8, 0.5], particle=0)
    np.testing.assert_allclose(algorithm.table[0, :2, 0], [0.8, 0.9])
    np.testing.assert_array_equal(algorithm.n_archived, [2, 1])
    np.testing.assert_allclose(algorithm.pop.get("X")[:, 0], [0.8, 0.2])


def test_good_particles_start_from_themselves_bad_ones_from_good_ones() -> None:
    X = np.column_stack([np.linspace(0.5, 0.95, 10), np.full(10, 0.5)])
    algorithm = started(n_particles=10, sampling=X, good=(0.5, 0.5))
    parent, mean = algorithm._parents(0.0)
    np.testing.assert_allclose(parent[:5], X[:5])
    np.testing.assert_allclose(mean[:5], X[:5])
    # 0.5 + step * (1, 2 or 3) + beta * (0.5 - 0.7): the bad ones leave their places.
    assert (parent[5:, 0] <= 0.65 + 0.2).all()
    assert not np.isin(parent[5:, 0], X[5:, 0]).any()
    np.testing.assert_array_equal(parent[5:], mean[5:])


def test_offspring_never_repeats_its_parent_on_discrete_variables() -> None:
    from pymoo.core.problem import ElementwiseProblem

    class Whole(ElementwiseProblem):
        def __init__(self) -> None:
            variables = {
                "k": Integer(bounds=(0, 3)),
                "on": Binary(),
                "c": Choice(options=["a", "b", "c"]),
            }
            super().__init__(vars=variables, n_obj=1)

        def _evaluate(self, x: dict, out: dict, *args: object, **kwargs: object) -> None:
            out["F"] = (x["k"] - 3) ** 2 + (not x["on"]) + (x["c"] != "b")

    algorithm = MVMO(n_particles=5)
    algorithm.setup(Whole(), termination=("n_evals", 200), seed=1)
    while algorithm.has_next():
        before = [dict(ind.X) for ind in algorithm.pop] if algorithm.is_initialized else None
        infills = algorithm.ask()
        if before is not None and algorithm.progress() > 0.9:
            # Late in the run three of five particles are good and start from their best.
            same = [before[i] == infills[i].X for i in range(len(infills))]
            assert sum(same) <= 2
        algorithm.evaluator.eval(algorithm.problem, infills)
        algorithm.tell(infills=infills)
    assert algorithm.opt[0].X == {"k": 3, "on": True, "c": "b"}


@pytest.mark.parametrize("n_values", [2, 3, 5, 40])
def test_all_whole_values_have_the_same_chance(n_values: int) -> None:
    class Flat(Problem):
        """The same value everywhere, over an integer, an ordered choice and a real variable."""

        def __init__(self) -> None:
            last = n_values - 1
            variables = {
                "k": Integer(bounds=(3, 3 + last)),
                "size": Choice(options=[2.0**i for i in range(n_values)]),
                "x": Real(bounds=(0.0, 1.0)),
            }
            xl, xu = np.array([3.0, 0.0, 0.0]), np.array([3.0 + last, last, 1.0])
            super().__init__(vars=variables, n_obj=1, xl=xl, xu=xu)

        def _evaluate(self, X: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
            out["F"] = np.zeros(len(X))

    algorithm = MVMO(n_particles=3000, mutated=(1.0, 1.0), good=(1.0, 1.0))
    algorithm.setup(Flat(), termination=("n_evals", 10_000), seed=5)
    algorithm.next()
    # Archives of one solution have no variance, so values are drawn over the whole range.
    X = algorithm.ask().get("X") - algorithm.problem.xl
    for column in X.T[:2]:
        counts = np.bincount(column.astype(int), minlength=n_values)
        assert chisquare(counts).pvalue > 0.01


def test_positions_of_whole_values_are_the_middles_of_equal_steps() -> None:
    problem = Problem(vars={"k": Integer(bounds=(2, 5))}, n_obj=1, xl=2.0, xu=5.0)
    algorithm = MVMO()
    algorithm.setup(problem, termination=("n_evals", 100), seed=1)
    X = np.array([[2.0], [3.0], [4.0], [5.0]])
    np.testing.assert_allclose(
        algorithm._normalised(Population.new(X=X)), [[0.125], [0.375], [0.625], [0.875]]
    )
    positions = np.array([[0.0], [0.24], [0.26], [0.5], [0.76], [1.0]])
    np.testing.assert_array_equal(algorithm._allowed(positions)[:, 0], [2, 2, 3, 4, 5, 5])


@pytest.mark.parametrize("selection", ["sequential", "random", "block", "sliding_block"])
def test_every_strategy_solves_the_sphere(selection: str) -> None:
    algorithm = MVMO(selection=selection)
    res = minimize(get_problem("sphere", n_var=5), algorithm, ("n_evals", 2000), seed=1)
    assert res.F[0] < 1e-5


def test_a_single_particle_is_the_classic_form() -> None:
    res = minimize(get_problem("sphere", n_var=5), MVMO(n_particles=1), ("n_evals", 2000), seed=1)
    assert res.F[0] < 1e-4
    assert len(res.pop) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_particles": 0}, "n_particles: expected values in"),
        ({"archive_size": 1}, "archive_size: expected values in"),
        ({"scaling_factor": (0.0, 1.0)}, "scaling_factor: expected values in"),
        ({"mutated": (0.5, 1.5)}, "mutated: expected values in"),
        ({"good": 0.5}, "good: expected"),
        ({"selection": "tournament"}, "selection: expected one of"),
        ({"asymmetry": 0.0}, "asymmetry: expected values in"),
        ({"local_search_rate": -1.0}, "local_search_rate: expected values in"),
        ({"local_search_margin": (1e-3, 0.0)}, "local_search_margin: expected values in"),
        ({"local_search_window": (0.5, 1.5)}, "local_search_window: expected values in"),
    ],
)
def test_parameters_out_of_range_are_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MVMO(**parameters)


def test_local_search_needs_one_objective() -> None:
    with pytest.raises(ValueError, match="local_search: expected one objective, got 2"):
        minimize(get_problem("zdt1"), MVMO(local_search=True), ("n_evals", 10), seed=1)
