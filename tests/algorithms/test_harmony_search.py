"""The rules of Harmony Search, by values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Integer
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from algorithms import HarmonySearch
from algorithms._hybrid import exponential
from algorithms._variables import Variables
from algorithms.harmony_search import AS_PUBLISHED, improvise, linear

BOX = Variables(Problem(n_var=3, xl=0.0, xu=10.0))
MEMORY = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def play(**parameters: float) -> np.ndarray:
    options = {
        "hmcr": 1.0,
        "par": 0.0,
        "bandwidth": 0.1,
        "global_best": 0.0,
        "same_harmony": 0.0,
        "at_bounds": "reflect",
        **parameters,
    }
    return improvise(
        MEMORY,
        BOX,
        4000,
        random_state=np.random.default_rng(1),
        **options,  # type: ignore[arg-type]
    )


def test_memory_consideration_takes_each_note_from_any_harmony_of_its_column() -> None:
    X = play()
    for column in range(3):
        values, counts = np.unique(X[:, column], return_counts=True)
        np.testing.assert_array_equal(values, MEMORY[:, column])
        np.testing.assert_allclose(counts / 4000, 0.5, atol=0.04)
    # Notes of different harmonies are mixed: all 2^3 combinations appear.
    assert len(np.unique(X, axis=0)) == 8


def test_notes_that_come_from_one_harmony_stay_together() -> None:
    X = play(same_harmony=1.0)
    rows, counts = np.unique(X, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, MEMORY)
    np.testing.assert_allclose(counts / 4000, 0.5, atol=0.04)
    # Half together, half apart: of these, one in four is a remembered harmony by chance.
    whole = (play(same_harmony=0.5)[:, None] == MEMORY).all(axis=2).any(axis=1).mean()
    assert whole == pytest.approx(0.5 + 0.5 * 0.25, abs=0.03)


def test_without_memory_notes_are_uniform_over_the_range() -> None:
    X = play(hmcr=0.0, par=1.0)
    assert not np.isin(X, MEMORY).any()
    np.testing.assert_allclose(X.mean(axis=0), 5.0, atol=0.2)
    np.testing.assert_allclose(X.var(axis=0), 100 / 12, atol=0.4)


def test_share_of_remembered_notes_is_hmcr() -> None:
    assert np.isin(play(hmcr=0.9), MEMORY).mean() == pytest.approx(0.9, abs=0.01)


def test_only_remembered_notes_are_adjusted_by_at_most_the_bandwidth() -> None:
    X = play(par=0.25)
    kept = np.isin(X, MEMORY)
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    distance = np.abs(X[:, :, None] - MEMORY.T[None]).min(axis=2)
    assert distance[~kept].max() <= 1.0
    assert distance[~kept].mean() == pytest.approx(0.5, abs=0.02)
    # hmcr 0.5, par 0.25: half random, 3/8 kept, 1/8 adjusted.
    assert np.isin(play(hmcr=0.5, par=0.25), MEMORY).mean() == pytest.approx(0.375, abs=0.02)


def test_adjusted_notes_may_become_those_of_the_best_harmony() -> None:
    best = MEMORY[0]
    np.testing.assert_array_equal(play(par=1.0, global_best=1.0), np.tile(best, (4000, 1)))
    # 0.4 adjusted, a quarter of them to the best: 0.1, and 0.3 of the notes as they were.
    X = play(par=0.4, global_best=0.25, bandwidth=0.05)
    assert (best == X).mean() == pytest.approx(0.1 + 0.3, abs=0.02)
    assert (MEMORY[1] == X).mean() == pytest.approx(0.3, abs=0.02)
    # The notes that come from no harmony are not adjusted.
    assert (play(hmcr=0.0, par=1.0, global_best=1.0) == best).mean() == 0.0


def test_bandwidth_of_each_variable() -> None:
    widths = np.array([0.01, 0.05, 0.1])
    X = improvise(
        MEMORY[:1], BOX, 500, 1.0, 1.0, widths, 0.0, 0.0, "clip", np.random.default_rng(2)
    )
    np.testing.assert_allclose(np.abs(X - MEMORY[0]).max(axis=0), [0.1, 0.5, 1.0], rtol=0.03)


def test_adjusted_integers_and_binaries_keep_moving_when_the_bandwidth_has_shrunk() -> None:
    variables = Variables(Problem(vars={"k": Integer(bounds=(0, 100)), "on": Binary()}))
    memory = np.array([[50.0, 0.0]])
    X = improvise(
        memory, variables, 8000, 1.0, 1.0, 1e-9, 0.0, 0.0, "clip", np.random.default_rng(3)
    )
    assert set(X[:, 0]) == {49.0, 50.0, 51.0}
    # Two variables: each adjusted discrete note really moves once in two.
    assert np.mean(X[:, 0] != 50.0) == pytest.approx(0.5, abs=0.03)
    assert np.mean(X[:, 1] != 0.0) == pytest.approx(0.5, abs=0.03)


def test_schedules_of_mahdavi() -> None:
    # PAR(t) = 0.35 + (0.99 - 0.35) t / T
    assert linear(0.35, 0.99, 0.0) == 0.35
    assert linear(0.35, 0.99, 0.25) == pytest.approx(0.51)
    assert linear(0.35, 0.99, 1.0) == pytest.approx(0.99)
    # bw(t) = 0.1 exp(t / T ln(0.001 / 0.1)): a decade at half time
    np.testing.assert_allclose(
        [exponential(0.1, 0.001, p) for p in (0, 0.5, 1)], [0.1, 0.01, 0.001]
    )
    np.testing.assert_allclose(exponential([0.1, 1.0], [0.001, 1.0], 0.5), [0.01, 1.0])


def test_a_better_harmony_replaces_the_worst_and_a_worse_one_nothing() -> None:
    algorithm = HarmonySearch(pop_size=3)
    algorithm.setup(get_problem("sphere", n_var=1), seed=1)
    first = Population.new(X=np.array([[0.1], [0.6], [0.9]]))
    algorithm.sampling = first
    infills = algorithm.ask()
    algorithm.evaluator.eval(algorithm.problem, infills)
    algorithm.tell(infills=infills)
    for note, expected in (
        (0.95, [0.1, 0.6, 0.9]),
        (0.55, [0.1, 0.55, 0.6]),
        (0.55, [0.1, 0.55, 0.6]),
    ):
        new = Population.new(X=np.array([[note]]))
        algorithm.evaluator.eval(algorithm.problem, new)
        algorithm.tell(infills=new)
        np.testing.assert_allclose(np.sort(algorithm.memory[:, 0]), expected)


def test_feasible_harmonies_come_before_infeasible_ones() -> None:
    class Half(Problem):
        """Minimise x where only x >= 0.5 is allowed."""

        def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
            out["F"], out["G"] = x, 0.5 - x

    problem = Half(n_var=1, n_obj=1, n_ieq_constr=1, xl=0.0, xu=1.0)
    algorithm = HarmonySearch(pop_size=2, sampling=np.array([[0.1], [0.4]]))
    algorithm.setup(problem, seed=1)
    infills = algorithm.ask()
    algorithm.evaluator.eval(problem, infills)
    algorithm.tell(infills=infills)
    new = Population.new(X=np.array([[0.9], [0.6]]))
    algorithm.evaluator.eval(problem, new)
    algorithm.tell(infills=new)
    np.testing.assert_array_equal(algorithm.memory, [[0.6], [0.9]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hmcr": 1.2}, "hmcr: expected values in"),
        ({"par": (0.5, -0.1)}, "par: expected values in"),
        ({"par": (0.1, 0.2, 0.3)}, "par: expected one value or"),
        ({"bandwidth": 0.0}, "bandwidth: expected values in"),
        ({"bandwidth": (np.array([0.1, 2.0]), 1e-3)}, "bandwidth: expected values in"),
        ({"pop_size": 0}, "pop_size: expected values in"),
        ({"at_bounds": "wrap"}, "at_bounds: expected one of"),
        ({"n_offsprings": 0}, "n_offsprings: expected values in"),
    ],
)
def test_parameters_out_of_range_are_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HarmonySearch(**parameters)


def test_fixed_rates_give_the_search_of_2005() -> None:
    algorithm = HarmonySearch(
        hmcr=0.9, par=0.3, bandwidth=0.01, global_best=0.0, n_offsprings=1, local_search=False
    )
    res = minimize(get_problem("sphere", n_var=3), algorithm, ("n_evals", 2000), seed=1)
    assert res.F[0] < 1e-4
    assert res.algorithm.n_gen == 2 + 1980


def test_the_form_of_the_papers_is_a_set_of_options() -> None:
    algorithm = HarmonySearch(hmcr=0.9, par=0.3, bandwidth=0.01, **AS_PUBLISHED)
    problem = get_problem("sphere", n_var=3)
    res = minimize(problem, algorithm, ("n_gen", 981), seed=1)
    assert res.algorithm.evaluator.n_eval == 20 + 980  # one harmony in a generation
    assert res.algorithm.n_searches == 0
    assert res.F[0] < 1e-3


def test_notes_pile_up_on_the_bounds_only_where_they_are_clipped() -> None:
    def share(name: str, at_bounds: str | None) -> float:
        algorithm = HarmonySearch(at_bounds=at_bounds, local_search=False)
        algorithm.setup(get_problem(name, n_var=4), termination=("n_eval", 2000), seed=1)
        X: list[np.ndarray] = []
        while algorithm.has_next():
            algorithm.next()
            X += [ind.X for ind in algorithm.off]
        return float(np.isin(X, [0.0, 1.0]).mean())

    assert share("sphere", "reflect") == share("sphere", None) == share("zdt1", "reflect") == 0.0
    assert share("sphere", "clip") > 0.005
    # With several objectives the papers' rule is the default: many a front ends at bounds.
    assert share("zdt1", None) == share("zdt1", "clip") > 0.05


def test_real_variables_only_reach_the_rosenbrock_valley() -> None:
    res = minimize(get_problem("rosenbrock", n_var=4), HarmonySearch(), ("n_evals", 5000), seed=1)
    assert res.F[0] < 1.5
