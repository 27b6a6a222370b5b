"""Scenarios, chances and what they are worth, against values worked by hand."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from nets import feeder, two_bus
from scipy import stats
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from gridproblems import Chance, Control, GridProblem, Hours, Outages, Scenarios, Units
from gridproblems.by_situation import by_situation
from gridproblems.cli import app
from gridproblems.grids import FeederGrid, NetGrid
from gridproblems.outlook import checked_limits, not_limited
from gridproblems.reductions import reduction
from gridproblems.scenario_value import scenario_value
from gridproblems.situations import Axis, Typical, axes_of
from gridproblems.situations.medoids import k_medoids
from gridproblems.words import limits_of

VALUES = np.array([[1.0, 4.0, 2.0, 3.0], [5.0, 5.0, 5.0, 6.0]])
EQUAL = np.ones(4)
WEIGHTED = np.array([1.0, 1.0, 2.0, 0.0])
SLACK = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)


@pytest.mark.parametrize(
    ("how", "weight", "expected"),
    [
        (("quantile", 0.75), EQUAL, [3.0, 5.0]),  # three of four are not above
        (("quantile", 0.76), EQUAL, [4.0, 6.0]),
        (("quantile", 0.5), EQUAL, [2.0, 5.0]),
        (("quantile", 0.25), WEIGHTED, [1.0, 5.0]),  # 1 and 4 weigh a quarter, 2 a half, 3 nothing
        (("quantile", 0.75), WEIGHTED, [2.0, 5.0]),
        (("quantile", 0.8), WEIGHTED, [4.0, 5.0]),
        (("probability", 2.0), EQUAL, [0.5, 1.0]),
        (("probability", 2.0), WEIGHTED, [0.25, 1.0]),
        (("probability", 5.0), EQUAL, [0.0, 0.25]),
    ],
)
def test_quantiles_and_probabilities_by_hand(
    how: Any, weight: np.ndarray, expected: list[float]
) -> None:
    assert reduction(how)(VALUES, weight).tolist() == expected


@pytest.mark.parametrize("n", [3, 7, 10, 20, 100])
def test_a_quantile_of_equal_weights_does_not_suffer_from_rounding(n: int) -> None:
    values = np.arange(1.0, n + 1)
    for k in range(1, n):
        assert reduction(("quantile", k / n))(values, np.ones(n)) == k
        assert reduction(("quantile", k / n))(values, np.full(n, 0.1)) == k


@pytest.mark.parametrize("how", [("quantile", 1.0), ("quantile", "a"), ("probability", np.inf)])
def test_numbers_of_reductions_that_cannot_be_are_refused(how: Any) -> None:
    with pytest.raises(ValueError, match="reduction: expected"):
        reduction(how)


FACTORS = [0.5, 1.0, 1.5, 2.0]


def voltages_and_problem(limits: dict[str, Any], weights: list[float] | None = None) -> Any:
    """Bus voltages of two buses under four loads, and the problem."""
    scenarios = Scenarios({"load.p_mw": FACTORS, "load.q_mvar": FACTORS}, weights)
    objectives = [("v_min_pu", "quantile", 0.75)]
    problem = GridProblem(two_bus(), [SLACK], scenarios, objectives, limits)
    return problem.solve([1.0]).vm_pu[:, 1], problem


@pytest.mark.parametrize(
    ("share", "weights", "decides"),
    [
        (0.75, None, 2),  # the largest load may break the limit
        (0.74, None, 2),
        (0.76, None, 3),
        (0.5, None, 1),
        (0.75, [1.0, 1.0, 1.0, 5.0], 3),  # five eighths may not
        (0.35, [1.0, 1.0, 1.0, 5.0], 2),
    ],
)
def test_a_chance_is_decided_by_the_situation_at_its_share(
    share: float, weights: list[float] | None, decides: int
) -> None:
    vm_pu, problem = voltages_and_problem(
        {"vm_pu": Chance(share, (0.99, 1.1)), "loading_percent": None}, weights
    )
    names = list(problem.constraint_names)
    low = names.index(f"bus 1 vm_pu min in {share * 100:g} %")
    G = problem.evaluate([1.0])[1]
    assert G[low] == pytest.approx((0.99 - vm_pu[decides]) / 0.11, rel=1e-12)
    upper = names.index(f"bus 1 vm_pu max in {share * 100:g} %")
    assert (G[upper] <= 0) == (vm_pu < 1.1).all()


def test_a_chance_holds_where_the_limit_holds_in_its_share_of_the_weight() -> None:
    vm_pu, problem = voltages_and_problem({"loading_percent": None})
    between = (vm_pu[2] + vm_pu[3]) / 2  # only the largest load is below
    for share, holds in ((0.7, True), (0.75, True), (0.8, False)):
        limits = {"vm_pu": Chance(share, (between, 1.1)), "loading_percent": None}
        _, problem = voltages_and_problem(limits)
        assert (problem.evaluate([1.0])[1] <= 0).all() == holds


def test_a_chance_without_a_limit_takes_that_of_the_tables() -> None:
    vm_pu, problem = voltages_and_problem({"vm_pu": Chance(0.75), "loading_percent": Chance(0.5)})
    entry = problem.constraint_names.index("bus 1 vm_pu min in 75 %")
    assert problem.evaluate([1.0])[1][entry] == pytest.approx((0.9 - vm_pu[2]) / 0.2, rel=1e-12)
    assert [str(limit) for limit in checked_limits(problem)] == [
        "vm_pu from 0.9 to 1.1 p.u. in 75 % of the situations (2)",
        "line_loading_percent to 100 % in 50 % of the situations (1)",
    ]
    assert problem.evaluate([1.0])[0][0] == pytest.approx(-vm_pu[2], rel=1e-15)


def test_probabilities_are_objectives_with_bounds_in_the_unit_of_the_objective() -> None:
    vm_pu, _ = voltages_and_problem({})
    scenarios = Scenarios({"load.p_mw": FACTORS, "load.q_mvar": FACTORS}, [1, 2, 3, 4])
    loss_kw = GridProblem(two_bus(), [SLACK], scenarios).solve([1.0]).p_loss_mw * 1e3
    objectives = [
        ("v_min_pu", "probability", (vm_pu[1] + vm_pu[2]) / 2),
        f"p_loss_kw:probability:{(loss_kw[0] + loss_kw[1]) / 2}",
    ]
    problem = GridProblem(two_bus(), [SLACK], scenarios, objectives)
    assert problem.objective_names == ("probability_of_v_min_pu", "probability_of_p_loss_kw")
    np.testing.assert_allclose(problem.evaluate([1.0])[0], [0.7, 0.9], rtol=1e-15)
    np.testing.assert_array_equal(problem.objective_signs, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"expected \(name, reduction, bound\)"):
        GridProblem(two_bus(), [SLACK], scenarios, [("p_loss_kw", "probability")])


@pytest.mark.parametrize("weights", [None, [5.0, 1.0, 0.0, 2.0, 1.0, 3.0, 1.0]])
def test_chances_in_chunks_have_the_same_bits(
    weights: list[float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = feeder()
    series = Hours({"load.scaling": np.linspace(0.5, 1.5, 5)[:, None] * np.ones(len(net.load))})
    both = Scenarios({"load.p_mw": [0.9, 0.2, 1.4, 1.2, 0.7, 1.3, 0.3]}, weights) * series
    limits = {"vm_pu": Chance(0.7, (0.98, 1.0)), "loading_percent": Chance(0.9, 20.0)}

    def problem() -> GridProblem:
        return GridProblem(net, [SLACK], both, ["p_loss_kw"], limits)

    whole = problem()
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 11)
    chunks = problem()
    X = np.linspace(0.95, 1.05, 6)[:, np.newaxis]
    for a, b in zip(whole.evaluate(X), chunks.evaluate(X), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="has no slopes here"):
        chunks.gradients([1.0])


JOINT_WEIGHTS = [5.0, 1.0, 0.0, 2.0, 1.0, 3.0, 1.0]


def joint_problem(share: float, joint: bool = True) -> GridProblem:
    """Voltages and loadings of a feeder that hold together in a share of scenarios."""
    net = feeder()
    factors = np.random.default_rng(4).uniform(0.2, 1.6, (7, len(net.load)))
    limits = {
        "vm_pu": Chance(share, (0.9345, 1.2), joint),
        "loading_percent": Chance(share, 60.0, joint),
    }
    scenarios = Scenarios({"load.p_mw": factors}, JOINT_WEIGHTS)
    return GridProblem(net, [SLACK], scenarios, ["p_loss_kw"], limits)


def test_a_joint_chance_is_the_weight_in_which_all_limits_hold() -> None:
    problem = joint_problem(0.6)
    assert problem.constraint_names == (
        "power_flow",
        "all vm_pu and loading_percent together in 60 %",
    )
    weights = np.array(JOINT_WEIGHTS) / sum(JOINT_WEIGHTS)
    seen = set()
    for slack in np.linspace(0.98, 1.05, 15):
        state = problem.solve([slack])
        beyond = np.concatenate(
            [
                (0.9345 - state.vm_pu) / 0.2655,
                (state.vm_pu - 1.2) / 0.2655,
                state.line_loading_percent / 60.0 - 1.0,
                state.trafo_loading_percent / 60.0 - 1.0,
            ],
            axis=1,
        ).max(axis=1)
        held = float(weights[beyond <= 0].sum())
        for share in (0.2, 0.6, 0.9):
            G = joint_problem(share).evaluate([slack])[1]
            assert (G[1] <= 0) == (held >= share - 1e-9)
            seen.add(bool(G[1] <= 0))
        order = np.argsort(beyond)
        decides = order[np.cumsum(weights[order]) >= 0.6 - 1e-9][0]
        assert problem.evaluate([slack])[1][1] == pytest.approx(beyond[decides], rel=1e-9)
    assert seen == {True, False}


def test_limits_that_hold_together_hold_less_often_than_each_by_itself() -> None:
    joint, each = joint_problem(0.6), joint_problem(0.6, joint=False)
    X = np.linspace(0.98, 1.05, 15)[:, np.newaxis]
    of_joint, of_each = (p.evaluate(X)[1].max(axis=1) for p in (joint, each))
    assert (of_joint >= of_each - 1e-12).all()
    assert (of_joint > of_each + 1e-6).any()


def test_joint_chances_in_chunks_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.linspace(0.95, 1.05, 6)[:, np.newaxis]
    whole = joint_problem(0.6).evaluate(X)
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 3)
    for a, b in zip(whole, joint_problem(0.6).evaluate(X), strict=True):
        np.testing.assert_array_equal(a, b)


def test_slopes_of_a_joint_chance_are_those_of_what_decides() -> None:
    problem = joint_problem(0.6)
    for slack in (0.97, 1.02, 1.04):
        dG = problem.gradients([slack]).dG
        G = [problem.evaluate([slack + side * 1e-6])[1] for side in (1, -1)]
        np.testing.assert_allclose(dG[:, 0], (G[0] - G[1]) / 2e-6, rtol=1e-4, atol=1e-4)
        assert abs(dG[1, 0]) > 0.1


def test_joint_chances_are_named_where_limits_are() -> None:
    problem = joint_problem(0.6)
    (limit,) = checked_limits(problem)
    assert "vm_pu and loading_percent together in 60 % of the situations" in str(limit)
    assert not_limited(problem) == []
    (one,) = by_situation(problem, [1.0]).bindings
    assert one.room == pytest.approx(-problem.evaluate([1.0])[1][1])
    assert one.situation.startswith("scenario")
    limits = {"vm_pu": Chance(0.9, (0.9, 1.1), joint=True)}
    with pytest.raises(ValueError, match="a chance counts situations"):
        GridProblem(two_bus(), [SLACK], Hours(n=3), limits=limits, every_situation=True)
    with pytest.raises(ValueError, match="Chance: joint: expected True or False"):
        Chance(0.9, None, "all")  # type: ignore[arg-type]


def test_slopes_of_chances_are_those_of_the_situation_that_decides() -> None:
    _, problem = voltages_and_problem({"vm_pu": Chance(0.75, (0.99, 1.1))})
    dG = problem.gradients([1.0]).dG
    G = [problem.evaluate([1.0 + side * 1e-5])[1] for side in (1, -1)]
    np.testing.assert_allclose(dG[:, 0], (G[0] - G[1]) / 2e-5, atol=1e-5)
    entry = problem.constraint_names.index("bus 1 vm_pu min in 75 %")
    assert abs(dG[entry, 0]) > 1.0


def test_in_a_group_of_outages_all_outages_count_alike() -> None:
    limits = {"loading_percent": Chance(0.5, 30.0), "vm_pu": None}
    problem = GridProblem("ieee14", ["setpoints"], Outages([0, 1, 2, 3]), limits=limits)
    state = problem.solve(problem.base_x)
    label = problem.grid.label("line", 4)
    entry = problem.constraint_names.index(f"n-1 {label} loading_percent in 50 %")
    loading = np.sort(state.line_loading_percent[1:, 4])
    G = problem.evaluate(problem.base_x)[1]
    assert G[entry] == pytest.approx((loading[1] - 30.0) / 30.0)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("vm_pu=chance:0.95", Chance(0.95)),
        ("vm_pu=chance:0.95:0.95,1.05", Chance(0.95, [0.95, 1.05])),
        ("vm_pu=chance:0.9:none", Chance(0.9)),
        ("vm_pu=chance:0.9:joint", Chance(0.9, None, True)),
        ("vm_pu=chance:0.9:0.95,1.05:joint", Chance(0.9, [0.95, 1.05], True)),
    ],
)
def test_chances_in_words(text: str, limit: Chance) -> None:
    assert limits_of([text]) == {"vm_pu": limit}


@pytest.mark.parametrize("text", ["vm_pu=chance:1", "vm_pu=chance:x", "vm_pu=chance:0.9:1:2"])
def test_chances_that_cannot_be_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"limits vm_pu.*expected"):
        limits_of([text])


def test_chances_that_cannot_be_are_refused() -> None:
    for share in (0, 1, 1.5, True, "0.9", None):
        with pytest.raises(ValueError, match=r"Chance: expected a share within \(0, 1\)"):
            Chance(share)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vm_pu: expected a lower and an upper limit"):
        voltages_and_problem({"vm_pu": Chance(0.9, 1.0)})
    with pytest.raises(ValueError, match="radial: has no chance; known with one: vm_pu, loading"):
        GridProblem("case33bw", ["switching"], limits={"radial": Chance(0.9, True)})
    with pytest.raises(ValueError, match=r"a chance counts situations.*every_situation=True"):
        GridProblem(
            two_bus(), [SLACK], Hours(n=3), limits={"vm_pu": Chance(0.9)}, every_situation=True
        )


# -- drawn ------------------------------------------------------------------------------------


def bound(scenarios: Any, net: Any = None) -> Axis:
    axis: Axis = scenarios.bind(NetGrid(feeder() if net is None else net))
    return axis


def test_one_number_is_a_relative_standard_deviation_of_all_loads_and_of_a_driver() -> None:
    axis = bound(Scenarios(2000, load=0.1, pv=0.2, seed=1))
    p, q = axis.deltas
    assert (str(p.field), str(q.field), p.how) == ("load.p_mw", "load.q_mvar", "scale")
    assert (p.values == p.values[:, :1]).all()  # one factor for all loads
    np.testing.assert_array_equal(p.values[:, 0], q.values[:, 0])
    load, pv = p.values[:, 0], axis.drivers["pv"]
    for values, std in ((load, 0.1), (pv, 0.2)):
        assert values.mean() == pytest.approx(1.0, abs=1e-4)  # a Latin hypercube hits the mean
        assert values.std() == pytest.approx(std, rel=0.01)
    assert abs(np.corrcoef(load, pv)[0, 1]) < 0.06
    assert axis.weight is not None
    assert (axis.weight == 1.0).all()


@pytest.mark.parametrize("method", ["latin", "sobol", "random"])
def test_the_same_arguments_give_the_same_draws(method: str) -> None:
    def draws(seed: int) -> np.ndarray:
        return bound(Scenarios(100, load=0.1, seed=seed, method=method)).deltas[0].values

    np.testing.assert_array_equal(draws(1), draws(1))
    assert (draws(1) != draws(2)).any()
    before = draws(1)
    np.random.default_rng().random(5)
    np.random.random(3)  # noqa: NPY002 nobody else's numbers change these
    np.testing.assert_array_equal(draws(1), before)


def test_a_latin_hypercube_has_one_draw_in_every_part_of_equal_probability() -> None:
    axis = bound(Scenarios(8, load=("uniform", 0.0, 8.0), wind=("uniform", 0.0, 8.0), seed=3))
    for values in (axis.deltas[0].values[:, 0], axis.drivers["wind"]):
        assert sorted(np.floor(values)) == list(range(8))


def test_sobol_numbers_balance_halves_and_need_no_power_of_two() -> None:
    values = bound(Scenarios(16, load=("uniform", 0.0, 2.0), method="sobol")).deltas[0].values
    assert (values[:, 0] < 1.0).sum() == 8
    twelve = bound(Scenarios(12, load=("uniform", 0.0, 2.0), method="sobol")).deltas[0].values
    np.testing.assert_array_equal(twelve, values[:12])


@pytest.mark.parametrize(
    ("told", "mean", "std"),
    [
        (("normal", 0.8, 0.05), 0.8, 0.05),
        (("uniform", 0.5, 1.1), 0.8, 0.6 / np.sqrt(12)),
        (("lognormal", 1.2, 0.3), 1.2, 0.3),  # of the value, not of its logarithm
        (("beta", 2.0, 3.0), 0.4, np.sqrt(6 / (25 * 6))),
        (["beta", 2.0, 3.0, 1.0, 3.0], 1.8, 2 * np.sqrt(6 / (25 * 6))),
        (stats.gamma(4.0, scale=0.25), 1.0, 0.5),
    ],
    ids=lambda value: "gamma" if hasattr(value, "rvs") else str(value),
)
def test_distributions_have_the_moments_of_their_formulas(
    told: Any, mean: float, std: float
) -> None:
    values = bound(Scenarios(4000, load=told)).deltas[0].values[:, 0]
    assert values.mean() == pytest.approx(mean, rel=2e-3)
    assert values.std() == pytest.approx(std, rel=2e-2)


def test_factors_below_zero_are_taken_as_zero() -> None:
    values = bound(Scenarios(1000, load=("normal", 0.0, 1.0))).deltas[0].values[:, 0]
    assert values.min() == 0.0
    assert (values == 0.0).mean() == pytest.approx(0.5, abs=0.001)


def test_correlation_is_that_of_the_normal_variables_behind() -> None:
    axis = bound(Scenarios(4000, load=0.1, pv=0.2, correlation={"load*pv": -0.6}))
    assert np.corrcoef(axis.deltas[0].values[:, 0], axis.drivers["pv"])[0, 1] == pytest.approx(
        -0.6, abs=0.02
    )
    # of uniform marginals it is 6 / pi arcsin(rho / 2)
    uniform = {"load": ("uniform", 0.0, 1.0), "pv": ("uniform", 0.0, 1.0)}
    axis = bound(Scenarios(4000, correlation=0.7, **uniform))
    found = np.corrcoef(axis.deltas[0].values[:, 0], axis.drivers["pv"])[0, 1]
    assert found == pytest.approx(6 / np.pi * np.arcsin(0.35), abs=0.02)
    axis = bound(Scenarios(50, load=0.1, pv=0.1, correlation=1.0))
    np.testing.assert_allclose(axis.deltas[0].values[:, 0], axis.drivers["pv"], rtol=1e-6)


def test_loads_with_factors_of_their_own() -> None:
    axis = bound(Scenarios(4000, load=0.1, each=["load"], correlation={"load": 0.5}))
    p, q = axis.deltas
    np.testing.assert_array_equal(p.values, q.values)  # power factors stay
    correlation = np.corrcoef(p.values.T)
    assert correlation[~np.eye(len(correlation), dtype=bool)] == pytest.approx(0.5, abs=0.04)
    free = bound(Scenarios(4000, load=0.1, each=["load"])).deltas[0].values
    assert np.abs(np.corrcoef(free.T) - np.eye(free.shape[1])).max() < 0.06


def test_draws_of_a_feeder_multiply_all_its_loads() -> None:
    axis = Scenarios(3, load=0.1, seed=2).bind(FeederGrid("village"))
    assert [str(delta.field) for delta in axis.deltas] == ["solution.load_multiplier"]
    np.testing.assert_array_equal(
        axis.deltas[0].values[:, 0], bound(Scenarios(3, load=0.1, seed=2)).deltas[0].values[:, 0]
    )
    with pytest.raises(ValueError, match="each: load is one factor here"):
        Scenarios(3, load=0.1, each=["load"]).bind(FeederGrid("village"))


@pytest.mark.parametrize(
    ("given", "of", "message"),
    [
        (0, {"load": 0.1}, "expected at least one scenario"),
        (10**9, {"load": 0.1}, "expected at most 1,000,000, got 1,000,000,000"),
        (3, {}, "expected what to draw"),
        (3, {"load": 0.0}, "load: .*expected std above 0, got 0"),
        (3, {"load": -0.1}, "expected std above 0"),
        (3, {"load": "wide"}, "load: expected a relative standard deviation"),
        (3, {"load": ("cauchy", 1.0, 1.0)}, "load: expected a relative standard deviation"),
        (3, {"load": ("uniform", 2.0, 1.0)}, "expected high - low above 0, got -1"),
        (3, {"load": ("beta", 1.0)}, "load: .*missing 1 required"),
        (3, {"load": 0.1, "seed": -1}, "seed: expected a whole number of 0 or more, got -1"),
        (3, {"load": 0.1, "method": "magic"}, "method: unknown 'magic'; known: latin, sobol"),
        (3, {"load": 0.1, "each": ["pv"]}, "each: 'pv' is not drawn; known: load"),
        (3, {"load": 0.1, "correlation": 1.1}, r"expected numbers within \[-1, 1\], got 1.1"),
        (3, {"load": 0.1, "correlation": {"load*pv": 0.5}}, "'pv' is not drawn; known: load"),
        (3, {"a.b.c": 0.1}, "expected a table and a column"),
        ({"load.p_mw": [1.0]}, {"pv": 0.1}, "pv: what is drawn needs how many"),
        (1.5, {}, "expected factors .*, a table, or how many to draw, got 1.5"),
        ("no_such.csv", {}, "no table can be read from 'no_such.csv'"),
    ],
)
def test_draws_that_cannot_be_are_refused(given: Any, of: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bound(Scenarios(given, **of))


def test_correlations_that_nothing_can_have_are_refused() -> None:
    three = {"a": 0.1, "b": 0.1, "load": 0.1}
    with pytest.raises(ValueError, match=r"can have these together.*eigenvalue -0\.8"):
        bound(Scenarios(5, correlation=-0.9, **three))
    with pytest.raises(ValueError, match="each: a is one factor here"):
        bound(Scenarios(5, each=["a"], **three))


def test_scenarios_from_a_table_with_probabilities(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"load": [0.5, 1.5], "sgen.p_mw": [1.0, 0.0], "pv": [0.9, 0.1], "probability": [0.75, 0.25]}
    )
    table.to_csv(tmp_path / "scenarios.csv", index=False)
    for scenarios in (Scenarios(table), Scenarios(tmp_path / "scenarios.csv")):
        axis = bound(scenarios, two_bus())
        columns = {str(delta.field): delta.values[:, 0].tolist() for delta in axis.deltas}
        assert columns == {
            "load.p_mw": [0.5, 1.5],
            "load.q_mvar": [0.5, 1.5],
            "sgen.p_mw": [1.0, 0.0],
        }
        assert axis.drivers["pv"].tolist() == [0.9, 0.1]
        assert axis.weight is not None
        assert axis.weight.tolist() == [0.75, 0.25]
        assert pickle.loads(pickle.dumps(scenarios)) == scenarios


def test_a_table_of_factors_has_one_column_per_element() -> None:
    net = feeder()
    factors = np.linspace(0.5, 1.5, 3 * len(net.load)).reshape(3, -1)
    axis = bound(Scenarios({"load.p_mw": factors}))
    np.testing.assert_array_equal(axis.deltas[0].values, factors)
    with pytest.raises(ValueError, match=r"load\.p_mw: expected finite numbers of shape"):
        bound(Scenarios({"load.p_mw": factors[:, 1:]}))


@pytest.mark.parametrize(
    "word",
    [
        "scenarios:20:load=0.1:pv=0.2:seed=1",
        'scenarios:20:load=["uniform", 0.8, 1.2]:method=sobol'
        ':correlation={"load": 0.5}:each=["load"]',
        'scenarios:{"load.p_mw": [0.8, 1.2]}:weights=[1, 3]',
    ],
)
def test_scenarios_in_words_are_those_in_python(word: str) -> None:
    (found,) = axes_of(word)
    expected = [
        Scenarios(20, load=0.1, pv=0.2, seed=1),
        Scenarios(
            20,
            load=("uniform", 0.8, 1.2),
            method="sobol",
            correlation={"load": 0.5},
            each=["load"],
        ),
        Scenarios({"load.p_mw": [0.8, 1.2]}, weights=[1, 3]),
    ]
    assert found in expected
    assert pickle.loads(pickle.dumps(found)) == found


# -- typical ones -----------------------------------------------------------------------------


def test_medoids_of_groups_on_a_line_by_hand() -> None:
    points = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [13.0], [30.0]])
    medoids, nearest = k_medoids(points, np.ones(7), 3)
    assert medoids.tolist() == [1, 4, 6]
    assert nearest.tolist() == [0, 0, 0, 1, 1, 1, 2]
    heavy = np.array([9.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0])
    assert k_medoids(points, heavy, 3)[0].tolist() == [0, 5, 6]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_medoids_are_near_the_best_of_all_choices(k: int) -> None:
    random = np.random.default_rng(4)
    points, weight = random.random((14, 2)), random.random(14)
    distance = cdist(points, points)
    best = min(
        weight @ distance[:, list(own)].min(axis=1) for own in itertools.combinations(range(14), k)
    )
    medoids, nearest = k_medoids(points, weight, k)
    assert weight @ distance[np.arange(14), medoids[nearest]] == pytest.approx(best, rel=0.02)
    for place in range(k):  # no swap of one of them helps
        for other in range(14):
            swapped = np.where(np.arange(k) == place, other, medoids)
            assert weight @ distance[:, swapped].min(axis=1) >= weight @ distance[:, medoids].min(
                axis=1
            ) * (1 - 1e-9)


def test_many_points_are_reduced_by_samples() -> None:
    centres = np.array([0.0, 10.0, 50.0])
    points = np.repeat(centres, [4000, 500, 60])[:, np.newaxis]
    points += np.random.default_rng(1).normal(0.0, 0.1, points.shape)
    medoids, nearest = k_medoids(points, np.ones(len(points)), 3)
    np.testing.assert_allclose(points[medoids, 0], centres, atol=0.05)
    assert np.bincount(nearest).tolist() == [4000, 500, 60]


def test_typical_hours_weigh_what_they_stand_for() -> None:
    p_mw = np.array([1.0, 1.1, 3.0, 1.2, 2.9, 3.2])[:, np.newaxis]
    hours = Hours({"load.p_mw": p_mw}, hours=0.5, drivers={"pv": [0, 0, 1, 0, 1, 1]})
    axis = bound(hours.typical(2), two_bus())
    assert axis.names == ("hour 1", "hour 2")
    assert axis.deltas[0].values[:, 0].tolist() == [1.1, 3.0]
    assert axis.drivers["pv"].tolist() == [0.0, 1.0]
    assert axis.weight is not None
    assert axis.weight.tolist() == [0.5, 0.5]
    reduced = axis.reduced
    assert reduced is not None
    size = p_mw.mean()
    assert reduced.distance_percent["load.p_mw"] == pytest.approx(100 * (0.5 / 6) / size)
    assert reduced.mean_percent["load.p_mw"] == pytest.approx(
        100 * ((3 * 1.1 + 3 * 3.0) / 6 - size) / size
    )
    assert reduced.distance_percent["pv"] == 0.0
    problem = GridProblem(two_bus(), [SLACK], hours.typical(2), ["energy_loss_kwh", "p_loss_kw"])
    assert (problem.situations.n, problem.situations.n_time) == (2, 1)
    loss = problem.solve([1.0]).p_loss_mw * 1e3
    F = problem.evaluate([1.0])[0]
    np.testing.assert_allclose(F, [3.0 * loss.mean(), loss.mean()], rtol=1e-14)  # 6 half hours
    assert "2 power flows per candidate; 2 typical of 6: load.p_mw 4 % off" in str(problem)


def test_as_many_typical_as_there_are_is_the_whole_series() -> None:
    net = feeder()
    shape = np.random.default_rng(2).uniform(0.3, 1.4, 12)
    hours = Hours({"load.scaling": shape[:, np.newaxis] * np.ones(len(net.load))}, hours=2.0)
    objectives = ["energy_loss_kwh", "p_loss_kw", "loading_percent", "line_loading_sum_percent"]
    whole = GridProblem(net, [SLACK], hours, objectives).evaluate([1.02])
    for snapshots in (1, 3, 4):
        few = GridProblem(net, [SLACK], hours.typical(12 // snapshots, snapshots), objectives)
        assert few.situations.n_time == snapshots
        for a, b in zip(few.evaluate([1.02]), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_typical_days_keep_their_hours_together() -> None:
    calm, windy = np.array([1.0, 2.0, 1.0]), np.array([3.0, 4.0, 5.0])
    days = np.concatenate([calm, windy, calm + 0.01, calm - 0.01, windy + 0.01])
    hours = Hours({"load.p_mw": days[:, np.newaxis]})
    problem = GridProblem(two_bus(), [SLACK], hours.typical(2, 3), [("p_loss_kw", "max")])
    s = problem.situations
    assert (s.n, s.n_time, s.n_chains, s.stands_for) == (6, 3, 2, 5.0)
    assert s.time.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(s.rest_weight, [0.6, 0.4], rtol=1e-15)
    p_mw = problem.decode([1.0]).get("load", "p_mw")[0]
    np.testing.assert_array_equal(p_mw, [*calm, *windy])
    loss = problem.solve([1.0]).p_loss_mw.reshape(2, 3) * 1e3
    assert problem.evaluate([1.0])[0][0] == pytest.approx(loss.mean(axis=1).max(), rel=1e-14)
    joint = GridProblem(
        two_bus(), [SLACK], Scenarios({"load.q_mvar": [1.0, 2.0]}) * hours.typical(2, 3)
    )
    assert joint.situations.time.tolist() == [0, 1, 2] * 4
    np.testing.assert_allclose(joint.situations.rest_weight, [0.6, 0.4, 0.6, 0.4], rtol=1e-15)


def test_bootstrapped_days_are_days_of_the_series() -> None:
    days = np.arange(12.0) + 1.0
    hours = Hours({"load.p_mw": days[:, np.newaxis] / 10})
    axis = bound(hours.bootstrap(50, 3, seed=7), two_bus())
    drawn = axis.deltas[0].values.reshape(50, 3) * 10
    of_series = days.reshape(4, 3).tolist()
    assert all(day in of_series for day in np.round(drawn).tolist())
    assert len({tuple(day) for day in drawn.tolist()}) == 4
    again = bound(hours.bootstrap(50, 3, seed=7), two_bus())
    np.testing.assert_array_equal(again.deltas[0].values, axis.deltas[0].values)
    other = bound(hours.bootstrap(50, 3, seed=8), two_bus())
    assert (other.deltas[0].values != axis.deltas[0].values).any()
    problem = GridProblem(two_bus(), [SLACK], hours.bootstrap(2000, 3), ["energy_loss_kwh"])
    whole = GridProblem(two_bus(), [SLACK], hours, ["energy_loss_kwh"])
    estimate, exact = problem.evaluate([1.0])[0][0], whole.evaluate([1.0])[0][0]
    assert estimate == pytest.approx(exact, rel=0.05)


def test_typical_scenarios_keep_the_weight() -> None:
    factors = [0.5, 0.52, 0.9, 1.5, 1.52]
    axis = bound(Scenarios({"load.p_mw": factors}, [1.0, 3.0, 2.0, 2.5, 0.5]).typical(3))
    assert axis.names == ("scenario 1", "scenario 2", "scenario 3")
    assert axis.weight is not None
    assert axis.weight.tolist() == [4.0, 2.0, 3.0]
    drawn = bound(Scenarios(200, load=0.2, pv=0.3, seed=1).typical(10))
    assert drawn.weight is not None
    assert drawn.weight.sum() == 200.0
    assert drawn.reduced is not None
    assert abs(drawn.reduced.mean_percent["load.p_mw"]) < 2.0


def test_reductions_to_typical_ones_that_cannot_be_are_refused() -> None:
    hours = Hours({"load.p_mw": np.ones((6, 1))})
    for make, message in (
        (lambda: hours.typical(0), "n: expected a whole number of 1 or more, got 0"),
        (lambda: hours.typical(7), "typical: expected at most 6, all there are, got 7"),
        (lambda: hours.typical(1, 4), "6 in the series are no multiple of 4"),
        (lambda: hours.bootstrap(2, 4), "6 in the series are no multiple of 4"),
        (lambda: Typical(Scenarios({"load.p_mw": [1.0, 2.0]}), 1, 2), "only a series in time"),
    ):
        with pytest.raises(ValueError, match=message):
            bound(make(), two_bus())
    with pytest.raises(ValueError, match="pv in some hours or days of a series: expected Hours"):
        GridProblem("lv18", [Units("pv", 1)], Hours().typical(3))


def test_typical_hours_in_words() -> None:
    assert axes_of("typical_hours:3:4") == (Hours().typical(3, 4),)
    assert axes_of("bootstrap:5:24:seed=2") == (Hours().bootstrap(5, 24, 2),)
    problem = GridProblem("lv18", ["units:dg:1"], "typical_hours:3", ["energy_loss_kwh"])
    assert problem.situations.n == 3


# -- what scenarios are worth -----------------------------------------------------------------


SIZES = np.linspace(0.0, 4.0, 9)
WEIGHTS = [5.0, 3.0, 2.0]
LOADS = [0.4, 1.0, 3.5]


def sized(situations: Any, limits: Any = None) -> GridProblem:
    """A static generator beside the load of two buses, in steps of 0.5 MW."""
    generator = Control("sgen", "p_mw", (0,), "real", 0.0, 4.0)
    limits = {"vm_pu": None, "loading_percent": None} if limits is None else limits
    return GridProblem(two_bus(), [generator], situations, ["p_loss_kw"], limits)


def best_of_sizes(problem: GridProblem) -> np.ndarray:
    F, G = problem.evaluate(SIZES[:, np.newaxis])
    values: np.ndarray = np.where((G > 0).any(axis=1), np.inf, F[:, 0])
    return SIZES[[values.argmin()]]


def test_the_value_of_scenarios_is_that_of_a_plain_table() -> None:
    table = np.empty((len(SIZES), 3))  # losses of every size in every scenario, one net each
    mean = np.empty(len(SIZES))
    expected = float(np.dot(WEIGHTS, LOADS) / sum(WEIGHTS))
    for i, size in enumerate(SIZES):
        for j, factor in enumerate([*LOADS, expected]):
            net = two_bus()
            net.load["p_mw"] *= factor
            net.sgen["p_mw"] = size
            pp.runpp(net, tolerance_mva=1e-10)
            loss = net.res_line.pl_mw.sum() * 1e3
            (mean if j == 3 else table[:, j])[i] = loss
    probability = np.array(WEIGHTS) / sum(WEIGHTS)
    recourse = (table @ probability).min()
    of_mean = (table @ probability)[mean.argmin()]
    wait_and_see = table.min(axis=0) @ probability

    found = scenario_value(sized, Scenarios({"load.p_mw": LOADS}, WEIGHTS), best_of_sizes)
    assert found.recourse == pytest.approx(recourse, rel=1e-7)
    assert found.of_mean == pytest.approx(of_mean, rel=1e-7)
    assert found.wait_and_see == pytest.approx(wait_and_see, rel=1e-7)
    assert found.vss == pytest.approx(of_mean - recourse, abs=1e-6)
    assert found.evpi == pytest.approx(recourse - wait_and_see, rel=1e-6)
    assert found.evpi > 0
    assert found.vss >= 0
    np.testing.assert_array_equal(found.x_mean, SIZES[[mean.argmin()]])
    np.testing.assert_array_equal(found.x_each[:, 0], SIZES[table.argmin(axis=0)])
    known = scenario_value(sized, Scenarios({"load.p_mw": LOADS}, WEIGHTS), best_of_sizes, found.x)
    assert known.recourse == found.recourse
    assert "VSS" in str(found)


def test_a_mean_that_breaks_limits_in_the_scenarios_is_worth_nothing() -> None:
    scenarios = Scenarios({"load.p_mw": [0.5, 2.5], "load.q_mvar": [0.5, 2.5]})
    lowest = sized(scenarios).solve([2.0]).vm_pu.min()
    band = {"vm_pu": (lowest, 1.2), "loading_percent": None}
    found = scenario_value(lambda s: sized(s, band), scenarios, best_of_sizes)
    assert found.x_mean[0] < 2.0
    assert found.of_mean == found.vss == np.inf
    assert found.x[0] >= 2.0


def test_values_that_have_no_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one axis of several scenarios, got 0"):
        scenario_value(sized, Hours(n=2), best_of_sizes)
    both = Scenarios({"load.p_mw": LOADS}) * Scenarios({"load.q_mvar": [1.0, 2.0]})
    with pytest.raises(ValueError, match="expected one axis of several scenarios, got 2"):
        scenario_value(sized, both, best_of_sizes)

    def worst(situations: Any) -> GridProblem:
        return GridProblem(two_bus(), [SLACK], situations, [("p_loss_kw", "max")])

    with pytest.raises(ValueError, match="p_loss_kw: expected a mean over the scenarios"):
        scenario_value(worst, Scenarios({"load.p_mw": LOADS}), best_of_sizes)
    band = {"vm_pu": (0.999, 1.2)}
    scenarios = Scenarios({"load.p_mw": [9.0, 8.0]})
    with pytest.raises(ValueError, match="its solution for the mean scenario breaks limits"):
        scenario_value(lambda s: sized(s, band), scenarios, best_of_sizes)


def test_scenarios_and_chances_on_the_command_line(tmp_path: Path) -> None:
    words = ["--case", "case33bw", "--control", "units:dg:1", "--evals", "12", "--quiet"]
    words += ["--situations", "scenarios:5:load=0.1:seed=1", "--limit", "vm_pu=chance:0.8:0.9,1.1"]
    words += ["--objective", "p_loss_kw:quantile:0.8", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["solve", *words])
    assert result.exit_code == 0, result.output
    (written,) = tmp_path.rglob("result.json")
    told = json.loads(written.read_text())
    assert told["options"]["limits"] == {"vm_pu": {"share": 0.8, "limit": [0.9, 1.1]}}
    (voltages,) = [limit for limit in told["limits"] if limit["name"] == "vm_pu"]
    assert voltages["share"] == 0.8


def test_a_chance_of_a_limit_that_is_nowhere_is_refused() -> None:
    limits = {"vm_pu": Chance(0.95), "loading_percent": None}
    with pytest.raises(ValueError, match=r"vm_pu: .* no such limit.*Chance\(0.95, \(0.95, 1.05"):
        GridProblem("case33bw", [Units("dg", 1)], Scenarios({"load.p_mw": [1.0]}), limits=limits)
