"""Statistics of studies against textbooks, other libraries and numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moocore import eaf
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus
from pymoo.problems import get_problem
from scikit_posthocs import posthoc_nemenyi_friedman, posthoc_wilcoxon
from scipy import stats
from study_files import facts, finished, results

from gridproblems.study import analyse
from gridproblems.study.analyse import (
    ecdf_steps,
    expected_running_time,
    friedman_nemenyi,
    gap_curve,
    holm,
    median_interval,
    quantile,
    run_table,
    superiority,
    target_hits,
    wilcoxon_p,
)
from gridproblems.study.indicators import (
    CORNER,
    additive_epsilon,
    attainment_surface,
    hypervolume,
    hypervolume_ratio,
    hypervolume_steps,
    igd_plus,
)
from gridproblems.study.run import Outcome

#: Area under the curve of four variants of C4.5 on 14 data sets: Demšar (2006), table 6.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # printed as equal, ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
)
VARIANTS = ["C4.5", "+m", "+cf", "+m+cf"]


def test_ranks_and_critical_difference_of_the_textbook() -> None:
    found = friedman_nemenyi(-DEMSAR, VARIANTS)
    assert found.algorithms == ["+m+cf", "+m", "+cf", "C4.5"]
    assert found.mean_ranks == pytest.approx([1.964, 2.000, 2.893, 3.143], abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert found.n_blocks == 14
    assert found.friedman_p == stats.friedmanchisquare(*DEMSAR.T).pvalue


def test_nemenyi_equals_scikit_posthocs() -> None:
    found = friedman_nemenyi(-DEMSAR, VARIANTS)
    theirs = posthoc_nemenyi_friedman(-DEMSAR).to_numpy()
    order = [VARIANTS.index(name) for name in found.algorithms]
    assert found.nemenyi_p == pytest.approx(theirs[np.ix_(order, order)], abs=1e-9)


def test_nemenyi_and_the_critical_difference_agree() -> None:
    rng = np.random.default_rng(1)
    found = friedman_nemenyi(rng.random((20, 5)) + np.arange(5) * 0.2, list("abcde"))
    farther = np.subtract.outer(found.mean_ranks, found.mean_ranks)
    differs = np.abs(farther) > found.critical_difference
    assert differs.any()
    assert not differs.all()
    assert (differs == (found.nemenyi_p < 0.05)).all()


def test_without_any_difference_nothing_is_significant() -> None:
    found = friedman_nemenyi(np.ones((5, 3)), list("abc"))
    assert found.friedman_p == 1.0
    assert found.nemenyi_p == pytest.approx(np.ones((3, 3)))


def test_wilcoxon_with_holm_equals_scikit_posthocs() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((4, 15)) + np.arange(4)[:, None] * 0.15
    theirs = posthoc_wilcoxon(list(values), p_adjust="holm").to_numpy()
    couples = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    ours = holm([wilcoxon_p(values[i], values[j]) for i, j in couples])
    assert ours == pytest.approx([theirs[i, j] for i, j in couples], rel=1e-9)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]


def test_wilcoxon_of_equal_samples_is_one() -> None:
    assert wilcoxon_p(np.ones(4), np.ones(4)) == 1.0


def test_effect_size_by_hand() -> None:
    # of the nine pairs, 1 beats 2 and 3 and ties 1, 2 beats 3 and ties 2, 3 ties 3
    values = np.array([1.0, 2.0, 3.0])
    assert superiority(values, values) == 0.5
    assert superiority(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 3.5 / 4
    assert superiority(values, values - 10) == 0.0


def test_expected_running_time_by_hand() -> None:
    # 100 and 300 to succeed, 1000 lost in between: 1400 evaluations for two successes
    hits, spent = np.array([100.0, np.inf, 300.0]), np.array([1000, 1000, 1000])
    assert expected_running_time(hits, spent) == 700.0
    assert expected_running_time(np.array([np.inf]), np.array([50])) == np.inf
    assert expected_running_time(np.array([20.0, 40.0]), np.array([50, 50])) == 30.0


def test_distribution_of_targets_by_hand() -> None:
    x, y = ecdf_steps(np.array([5.0, np.inf, 2.0, 5.0]))
    assert x.tolist() == [2.0, 5.0]
    assert y.tolist() == [0.25, 0.75]
    x, y = ecdf_steps(np.array([np.inf]))
    assert (x.tolist(), y.tolist()) == ([], [])


def test_quantiles_with_infeasible_runs() -> None:
    assert quantile(np.array([1.0, 2.0, 4.0]), 0.25) == 1.5
    assert quantile(np.array([1.0, 2.0, np.inf]), 0.5) == 2.0
    assert quantile(np.array([1.0, np.inf]), 0.5) == np.inf


def test_bootstrap_interval_equals_scipy() -> None:
    values = np.random.default_rng(3).normal(10, 1, 31)
    theirs = stats.bootstrap(
        (values,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert median_interval(values) == (theirs.low, theirs.high)
    low, high = median_interval(values)
    assert low < np.median(values) < high
    assert np.isnan(median_interval(np.array([1.0]))).all()
    assert np.isnan(median_interval(np.array([1.0, np.inf]))).all()
    assert median_interval(np.ones(5)) == (1.0, 1.0)


# -- fronts ----------------------------------------------------------------------------------------


def test_hypervolume_equals_pymoo_and_the_hand() -> None:
    F = get_problem("zdt1").pareto_front()
    assert hypervolume(F) == HV(ref_point=np.array([1.1, 1.1]))(F)
    assert hypervolume(np.array([[0.0, 0.5]])) == pytest.approx(1.1 * 0.6)
    # two corners that overlap in 0.6 times 0.6
    assert hypervolume(np.array([[0.0, 0.5], [0.5, 0.0]])) == pytest.approx(2 * 0.66 - 0.36)
    assert hypervolume(np.array([[CORNER, 0.0]])) == 0.0
    cube = np.array([[0.1, 0.1, 0.1]])
    assert hypervolume(cube) == pytest.approx(1.0)


def test_igd_plus_equals_pymoo_and_the_hand() -> None:
    reference = np.array([[0.0, 1.0], [1.0, 0.0]])
    F = np.array([[0.3, 1.4], [1.0, -1.0]])
    # from (0, 1): 0.5 to the first point, 1 to the second; (1, 0) is dominated by the second
    assert igd_plus(F, reference) == pytest.approx(0.25)
    assert igd_plus(F, reference) == IGDPlus(reference)(F)
    assert igd_plus(reference, reference) == 0.0


def test_additive_epsilon_by_hand() -> None:
    reference = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert additive_epsilon(reference, reference) == 0.0
    # (0, 1) needs 0.2 off the first point; (1, 0) needs 1.1 off the first or 0.3 off the second
    F = np.array([[0.2, 1.1], [1.3, 0.1]])
    assert additive_epsilon(F, reference) == pytest.approx(0.3)
    assert additive_epsilon(reference - 0.1, reference) == pytest.approx(-0.1)


def test_hypervolume_over_evaluations_by_hand() -> None:
    reference = np.array([[0.0, 0.0]])
    evaluations = np.array([1.0, 4.0, 4.0, 9.0])
    F = np.array([[1.0, 1.0], [0.0, 0.5], [0.5, 0.0], [0.0, 0.0]])
    when, ratio = hypervolume_steps(evaluations, F, reference)
    assert when.tolist() == [1.0, 4.0, 9.0]
    assert ratio == pytest.approx(np.array([0.01, 0.96, 1.21]) / 1.21)


def test_hypervolume_over_many_evaluations_is_thinned_but_never_early() -> None:
    rng = np.random.default_rng(4)
    F = rng.random((1000, 2))
    evaluations = np.arange(1.0, 1001.0)
    when, ratio = hypervolume_steps(evaluations, F, np.zeros((1, 2)))
    assert len(when) == 150
    assert when[-1] == 1000.0
    for n, value in zip(when[::30], ratio[::30], strict=True):
        assert value == pytest.approx(hypervolume_ratio(F[: int(n)], np.zeros((1, 2))))


def test_attainment_by_hand() -> None:
    runs = [
        np.array([[1.0, 3.0], [2.0, 1.0]]),
        np.array([[1.0, 4.0], [3.0, 2.0]]),
        np.array([[2.0, 2.0]]),
    ]
    # two of three runs: 4 at 1 (first and second run), 2 at 2 (first and third)
    assert attainment_surface(runs, 0.5).tolist() == [[1.0, 4.0], [2.0, 2.0]]
    assert attainment_surface(runs, 1.0).tolist() == [[2.0, 4.0], [3.0, 2.0]]
    assert attainment_surface(runs, 0.01).tolist() == [[1.0, 3.0], [2.0, 1.0]]
    empty = np.empty((0, 2))
    assert attainment_surface([runs[0], empty, empty], 0.5).tolist() == []


def test_attainment_equals_moocore() -> None:
    rng = np.random.default_rng(5)
    runs = [rng.random((8, 2)) for _ in range(7)]
    stacked = np.vstack([np.column_stack([F, np.full(len(F), i)]) for i, F in enumerate(runs, 1)])
    theirs = eaf(stacked[:, :2], sets=stacked[:, 2], percentiles=[100 * 4 / 7])[:, :2]
    theirs = theirs[np.argsort(theirs[:, 0])]
    assert attainment_surface(runs, 0.5) == pytest.approx(theirs)


# -- from the file to the table --------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> analyse.Results:
    """Two algorithms, three seeds, the optimum 10; b fails once and is infeasible once."""
    runs: dict[tuple[str, str, int], Outcome] = {
        ("p", "a", 1): finished([[5, 0.1, 1.0, 3.0], [10, 0.2, 0, 10.5], [40, 0.9, 0, 10.0]]),
        ("p", "a", 2): finished([[20, 0.3, 0, 10.05]]),
        ("p", "a", 3): finished([[30, 0.3, 0, 12.0]]),
        ("p", "b", 1): finished([[50, 0.3, 0, 11.0]]),
        ("p", "b", 2): finished([[1, 0.3, 4.0, 9.0]]),
        ("p", "b", 3): Outcome(status="failed", traceback="E", machine={"python": "3"}),
    }
    return results(tmp_path / "s.db", {"p": facts(reference=[[10.0]])}, runs)


def test_gaps_and_targets_by_hand(small: analyse.Results) -> None:
    first = small.runs[0]
    evaluations, gaps = gap_curve(small, first)
    assert evaluations.tolist() == [10, 40]
    assert gaps == pytest.approx([5.0, 0.0])
    hits = target_hits(small, [10.0, 1.0]).set_index(["algorithm", "seed", "target_percent"])
    assert hits.evaluations["a", 1, 10.0] == 10
    assert hits.evaluations["a", 1, 1.0] == 40
    assert hits.evaluations["a", 2, 1.0] == 20
    assert hits.evaluations["a", 3, 10.0] == np.inf
    assert hits.evaluations["b", 1, 10.0] == 50
    assert hits.evaluations["b", 2, 10.0] == np.inf
    assert ("b", 3, 10.0) not in hits.index


def test_the_table_by_hand(small: analyse.Results) -> None:
    table = analyse.table(small).set_index("algorithm")
    a, b = table.loc["a"], table.loc["b"]
    assert (a.runs, a.failed, a.feasible) == (3, 0, 1.0)
    assert (a["median"], a.best, a.worst) == (10.05, 10.0, 12.0)
    assert (a.q25, a.q75) == (10.025, 11.025)
    assert a.gap_percent == pytest.approx(0.5)
    assert a["reached_10%"] == pytest.approx(2 / 3)
    assert a["ert_10%"] == (10 + 20 + 100) / 2
    assert a["reached_0.01%"] == pytest.approx(1 / 3)
    assert a["ert_0.01%"] == 40 + 100 + 100
    assert (b.runs, b.failed, b.feasible) == (2, 1, 0.5)
    assert b["median"] == np.inf
    assert b["ert_1%"] == np.inf
    # seeds 1 and 2 have both algorithms: a is better in each
    assert (a.mean_rank, b.mean_rank) == (1.0, 2.0)


def test_a_run_without_anything_feasible_loses_and_less_violation_is_better(
    tmp_path: Path,
) -> None:
    runs = {
        ("p", "bad", 1): finished([[1, 0, 5.0, 1.0]]),
        ("p", "better", 1): finished([[1, 0, 2.0, 1.0]]),
        ("p", "feasible", 1): finished([[1, 0, 0.0, 99.0]]),
        ("p", "same", 1): finished([[1, 0, 0.0, 99.0 + 1e-9]]),
    }
    found = results(tmp_path / "s.db", {"p": facts()}, runs)
    assert analyse.problem_ranks(found, "p") == {
        "bad": 4.0,
        "better": 3.0,
        "feasible": 1.5,
        "same": 1.5,
    }


def test_the_best_known_is_the_best_of_the_study_where_nothing_is_known(tmp_path: Path) -> None:
    runs = {
        ("p", "a", 1): finished([[1, 0, 0, -4.0]]),
        ("p", "b", 1): finished([[1, 0, 0, -3.0]]),
        ("zero", "a", 1): finished([[1, 0, 0, 0.0]]),
        ("zero", "b", 1): finished([[1, 0, 0, 0.02]]),
        ("never", "a", 1): finished([[1, 0, 1.0, 0.0]]),
    }
    names = {"p": facts(), "zero": facts(reference=[[0.0]]), "never": facts()}
    found = results(tmp_path / "s.db", names, runs)
    assert found.reference("p").status == "best of this study"
    gaps = run_table(found).set_index(["problem", "algorithm"]).gap_percent
    assert gaps["p", "a"] == 0.0
    assert gaps["p", "b"] == 25.0
    assert gaps["zero", "b"] == pytest.approx(2.0)  # relative to 1 where the best is 0
    assert gaps["never", "a"] == np.inf
    assert not found.has_reference("never")
    with pytest.raises(ValueError, match="never: no run found anything feasible"):
        found.reference("never")
    table = analyse.table(found).set_index(["problem", "algorithm"])
    assert table["median"]["never", "a"] == np.inf


def test_fronts_are_measured_on_the_scale_of_the_reference(tmp_path: Path) -> None:
    reference = [[100.0, 0.2], [200.0, 0.1]]
    runs = {
        ("p", "exact", 1): finished([[3, 0, 0, *reference[0]], [7, 0, 0, *reference[1]]]),
        ("p", "half", 1): finished([[3, 0, 0, *reference[0]]]),
        ("p", "never", 1): finished([[3, 0, 1.0, *reference[0]]]),
    }
    found = results(tmp_path / "s.db", {"p": facts(("loss", "spread"), reference)}, runs)
    rows = run_table(found).set_index("algorithm")
    # scaled to (0, 1) and (1, 0): 2 * 1.1 * 0.1 - 0.1 * 0.1 for both, 1.1 * 0.1 for one
    assert rows.hypervolume_ratio["exact"] == pytest.approx(1.0)
    assert rows.hypervolume_ratio["half"] == pytest.approx(0.11 / 0.21)
    assert rows.hypervolume_ratio["never"] == 0.0
    assert rows.igd_plus["half"] == pytest.approx(0.5)  # (1, 0) is 1 away, (0, 1) is there
    assert rows.epsilon["half"] == pytest.approx(1.0)
    hits = target_hits(found, [1.0]).set_index("algorithm").evaluations
    assert hits.to_dict() == {"exact": 7.0, "half": np.inf, "never": np.inf}
    table = analyse.table(found).set_index("algorithm")
    assert table["median"].to_dict() == pytest.approx(
        {"exact": 1.0, "half": 0.11 / 0.21, "never": 0.0}
    )
    assert found.front("p")[["loss", "spread"]].to_numpy().tolist() == reference


def test_quartiles_of_hypervolumes_are_the_right_way_round(tmp_path: Path) -> None:
    reference = [[0.0, 1.0], [1.0, 0.0]]
    runs = {
        ("p", "a", seed): finished([[1, 0, 0, offset, 1.0], [1, 0, 0, 1.0, offset]])
        for seed, offset in enumerate((0.0, 0.1, 0.2, 0.3), start=1)
    }
    found = results(tmp_path / "s.db", {"p": facts(("f", "g"), reference)}, runs)
    (row,) = analyse.table(found).to_dict("records")
    assert row["worst"] < row["q25"] < row["median"] < row["q75"] < row["best"] == 1.0
    assert row["median_low"] <= row["median"] <= row["median_high"]


def test_problems_that_not_all_algorithms_ran_on_do_not_enter_the_ranking(tmp_path: Path) -> None:
    runs = {
        ("both", "a", 1): finished([[1, 0, 0, 1.0]]),
        ("both", "b", 1): finished([[1, 0, 0, 2.0]]),
        ("both", "a", 2): finished([[1, 0, 0, 1.0]]),
        ("both", "b", 2): finished([[1, 0, 0, 2.0]]),
        ("one", "b", 1): finished([[1, 0, 0, 2.0]]),
    }
    found = results(tmp_path / "s.db", {"both": facts(), "one": facts()}, runs)
    comparison = analyse.compare(found)
    assert comparison is not None
    assert comparison.n_blocks == 2
    assert comparison.algorithms == ["a", "b"]
    assert comparison.mean_ranks.tolist() == [1.0, 2.0]


def test_pairs_name_the_better_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    runs = {
        ("p", name, seed): finished([[1, 0, 0, rng.normal(mean, 0.1)]])
        for seed in range(1, 12)
        for name, mean in (("a", 1.0), ("b", 2.0), ("c", 1.0))
    }
    found = results(tmp_path / "s.db", {"p": facts()}, runs)
    pairs = {(pair.first, pair.second): pair for pair in analyse.pairs(found, "p")}
    assert pairs["a", "b"].p < 0.01
    assert pairs["a", "b"].effect == 1.0
    assert pairs["b", "c"].effect == 0.0
    assert pairs["a", "c"].p > 0.05
