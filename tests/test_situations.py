"""Situations and reductions against values worked by hand."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nets import feeder, two_bus

from gridproblems import Control, GridProblem, Hours, Outages, Profiles, Scenarios, Units
from gridproblems.cases import load_case
from gridproblems.disturbances import LoadMultiplier
from gridproblems.objectives import Objective
from gridproblems.reductions import reduction
from gridproblems.situations import Axis, Delta, Situations
from gridproblems.state import Settings

VALUES = np.array([[1.0, 4.0, 2.0, 3.0], [5.0, 5.0, 5.0, 6.0]])
EQUAL = np.ones(4)
WEIGHTED = np.array([1.0, 1.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("how", "weight", "expected"),
    [
        ("mean", EQUAL, [2.5, 5.25]),
        ("mean", WEIGHTED, [(1 + 4 + 4) / 4, 5.0]),
        ("sum", EQUAL, [10.0, 21.0]),
        ("sum", WEIGHTED, [9.0, 20.0]),
        ("max", EQUAL, [4.0, 6.0]),
        ("first", EQUAL, [1.0, 5.0]),
        (("cvar", 0.75), EQUAL, [4.0, 6.0]),  # the worst of four
        (("cvar", 0.5), EQUAL, [3.5, 5.5]),  # the worst two
        (("cvar", 0.7), EQUAL, [(4 * 0.25 + 3 * 0.05) / 0.3, (6 * 0.25 + 5 * 0.05) / 0.3]),
        (("cvar", 0.5), WEIGHTED, [(4 * 0.25 + 2 * 0.25) / 0.5, 5.0]),
    ],
)
def test_reductions_by_hand(how: str, weight: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(reduction(how)(VALUES, weight), expected, rtol=1e-15)


@pytest.mark.parametrize("how", ["median", ("cvar", 1.0), ("mean", 0.5), ("cvar", 0.5, 0.5)])
def test_unknown_reductions_are_refused(how: str) -> None:
    with pytest.raises(ValueError, match=r"reduction: (unknown|expected)"):
        reduction(how)


def hours_of(*names: str) -> Axis:
    return Axis(names, is_time=True, hours=0.5)


def test_time_is_reduced_before_the_rest() -> None:
    """CVaR of the daily means is not the CVaR of all hours."""
    rest = Axis(("calm", "storm"), weight=np.array([3.0, 1.0]))
    situations = Situations([hours_of("a", "b"), rest])
    assert situations.names == ["calm, a", "calm, b", "storm, a", "storm, b"]
    assert situations.time.tolist() == [0, 1, 0, 1]
    assert situations.rest_weight.tolist() == [3.0, 1.0]
    values = np.array([[1.0, 9.0, 6.0, 7.0]])
    quantity = Objective("q", "", lambda settings, state: values)
    assert quantity.reduce(values, situations) == pytest.approx([(3 * 5.0 + 6.5) / 4])
    assert quantity.over(rest=("cvar", 0.75)).reduce(values, situations) == pytest.approx([6.5])
    assert quantity.over(time="max", rest="max").reduce(values, situations) == [9.0]
    energy = quantity.over(time="energy", rest="mean").reduce(values, situations)
    assert energy == pytest.approx([(3 * 5.0 + 6.5) / 4])  # sums of 10 and 13 times half an hour


def test_two_series_and_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="two series in time cannot be multiplied"):
        Situations([hours_of("a"), hours_of("b")])
    with pytest.raises(ValueError, match="none has a weight above 0"):
        Situations([Axis(("a",), weight=np.zeros(1))])


def test_products_keep_time_last_and_multiply_weights_and_drivers() -> None:
    one = Axis(("x", "y"), weight=np.array([1.0, 0.0]), drivers={"pv": np.array([1.0, 0.5])})
    time = Axis(("0", "1", "2"), is_time=True, drivers={"pv": np.array([0.0, 2.0, 4.0])})
    situations = Situations([time, one])
    assert situations.n == 6
    assert situations.n_time == 3
    assert situations.counted.tolist() == [0, 1, 2]
    pv = situations.driver("pv")
    assert pv is not None
    assert pv.tolist() == [0, 2, 4, 0, 1, 2]
    assert situations.driver("wind") is None
    assert Situations().n == 1


def test_a_number_of_hours_is_the_grid_as_it_is_so_many_times() -> None:
    problem = GridProblem("lv18", [Profiles()], Hours(n=24))
    assert problem.situations.n == 24
    with pytest.raises(ValueError, match="profiles: have 24 rows, but the situations 12 snapshots"):
        GridProblem("lv18", [Profiles()], Hours(n=12))
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="n: expected at least one snapshot"):
            Hours(n=wrong)


def test_situations_set_and_scale_what_reaches_the_engine() -> None:
    net = two_bus(p_mw=2.0)
    slack = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)
    series = Hours({"load.p_mw": pd.DataFrame({0: [1.0, 3.0]})})
    scenarios = Scenarios({"load.p_mw": [1.0, 0.5], "load.q_mvar": [2.0, 1.0]}, [3.0, 1.0])
    problem = GridProblem(net, [slack], scenarios * series, limits={"vm_pu": None})
    settings = problem.decode([1.0])
    assert settings.get("load", "p_mw")[0].tolist() == [1.0, 3.0, 0.5, 1.5]
    q_mvar = net.load.q_mvar[0]
    assert settings.get("load", "q_mvar")[0].tolist() == [2 * q_mvar, 2 * q_mvar, q_mvar, q_mvar]
    each = problem.engine.solve(settings).p_loss_mw
    f = problem.evaluate([1.0])[0][0]
    assert f == pytest.approx((3 * each[:2].mean() + each[2:].mean()) / 4, rel=1e-14)
    with pytest.raises(
        ValueError, match=r"is set by both the situations \(axis 1\) and the .*\(hours\)"
    ):
        GridProblem(net, [slack], [Hours({"load.p_mw": [[1.0]]}), LoadOf(2.0)])


class LoadOf:
    """Another axis that sets the load."""

    axes: tuple[LoadOf, ...]

    def __init__(self, p_mw: float) -> None:
        self.p_mw = p_mw
        self.axes = (self,)

    def bind(self, grid: object) -> Axis:
        settings = Settings.from_mapping({("load", "p_mw"): {0: self.p_mw}})
        return Axis(("other",), (Delta(settings.fields[0], settings.values[np.newaxis]),))


def test_long_products_are_solved_in_chunks_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = feeder()
    control = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)
    factors = np.linspace(0.2, 1.2, 7)
    series = Hours({"load.scaling": np.linspace(0.5, 1.5, 5)[:, None] * np.ones(len(net.load))})
    both = Scenarios({"load.p_mw": factors}) * series

    def problem() -> GridProblem:
        objectives = ["p_loss_kw", ("p_loss_kw", "cvar", 0.8), "exchange_peak_kw"]
        return GridProblem(net, [control], both, objectives, limits={"vm_pu": (0.9, 1.1)})

    whole = problem()
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 11)
    chunks = problem()
    X = np.linspace(0.95, 1.05, 6)[:, np.newaxis]
    for a, b in zip(whole.evaluate(X), chunks.evaluate(X), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "given", [Hours(n=3), Scenarios({"load.p_mw": [1.0]}), Outages([1, 2]) * Hours({})], ids=str
)
def test_situations_as_written_can_be_pickled(given: object) -> None:
    assert pickle.loads(pickle.dumps(given)) == given


def test_pv_over_time_follows_the_case_or_has_to_be_told() -> None:
    shapes = GridProblem("lv18", [Units("pv", 1)], Hours(), limits={"vm_pu": None})
    placed = shapes.joint.blocks[0]
    (size,) = [i for i, v in enumerate(shapes.joint.variables) if v.name.endswith("size_mw")]
    x = shapes.base_x
    x[size] = 0.001
    powers = placed.values(x[np.newaxis], shapes.situations)
    output = powers[0].sum(axis=1) / 0.001
    assert output.max() == pytest.approx(1.0)
    assert output.min() < 0.1
    two_hours = Hours({"load.scaling": np.ones((2, 32))})
    with pytest.raises(ValueError, match=r"units: pv over 2 snapshots: expected Hours\(.*drivers"):
        GridProblem("case33bw", [Units("pv", 1)], two_hours)


def test_scenarios_of_pv_multiply_what_it_does_over_time() -> None:
    two = Scenarios(drivers={"pv": [1.0, 0.5]})
    both = GridProblem("lv18", [Units("pv", 1)], two * Hours(), limits={"vm_pu": None})
    alone = GridProblem("lv18", [Units("pv", 1)], Hours(), limits={"vm_pu": None})
    x = alone.base_x
    x[[v.name.endswith("size_mw") for v in alone.joint.variables]] = 0.001
    of_case, of_both = (
        p.joint.blocks[0].values(x[np.newaxis], p.situations)[0].sum(axis=1) for p in (alone, both)
    )
    np.testing.assert_allclose(of_both, np.concatenate([of_case, 0.5 * of_case]), rtol=1e-12)
    assert of_case.min() < 0.1 * of_case.max()


@pytest.mark.parametrize("hours", [Hours(load=[0.5, 1.0]), Hours(load=[0.5, 1.0, 0.8]).typical(2)])
def test_pv_that_would_shine_at_night_is_refused(hours: Any) -> None:
    drawn = Scenarios(3, load=0.1, pv=0.2)
    with pytest.raises(ValueError, match=r"expected Hours\(.*pv.*as much at night"):
        GridProblem("case33bw", [Units("pv", 1)], drawn * hours, limits={"vm_pu": None})
    GridProblem("case33bw", [Units("dg", 1)], drawn * hours, limits={"vm_pu": None})


def test_the_summary_says_how_situations_are_reduced() -> None:
    net = two_bus(p_mw=2.0)
    slack = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)
    series = Hours({"load.p_mw": [[1.0], [3.0]]})
    drawn = Scenarios({"load.q_mvar": [2.0, 1.0]})
    given = ["p_loss_kw", ("loading_percent", "cvar", 0.9)]
    both = GridProblem(net, [slack], drawn * series, given, limits={"vm_pu": None})
    assert "p_loss_kw [kW], mean in time, mean over the other situations;" in str(both)
    assert "loading_percent [%], max in time, cvar 0.9 over the other situations" in str(both)
    plain = GridProblem(net, [slack], None, ["p_loss_kw"], limits={"vm_pu": None})
    assert "p_loss_kw [kW]\n" in str(plain)
    feeder = GridProblem("ieee123", ["regulators"], [None, LoadMultiplier(1.1)], ["p_loss_kw"])
    assert "p_loss_kw [kW], max over the other situations" in str(feeder)


def test_units_that_follow_scenarios_are_the_same_bits_in_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sun = np.array([0.0, 0.4, 0.9, 0.3])
    series = {"load.p_mw": np.outer([0.5, 0.8, 1.0, 0.9], load_case("case33bw").net().load.p_mw)}
    situations = Scenarios(5, load=0.1, pv=0.3, seed=1) * Hours(series, drivers={"pv": sun})

    def answers() -> tuple[list[slice], np.ndarray, np.ndarray]:
        controls = [Units("pv", 2), Units("storage", 1)]
        problem = GridProblem("case33bw", controls, situations, ["p_loss_kw"])
        X = np.random.default_rng(1).uniform(problem.xl, problem.xu, (6, problem.n_var))
        return problem.evaluation.chunks, *problem.evaluate(X)

    whole, F, G = answers()
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 8)
    chunks, F_in_chunks, G_in_chunks = answers()
    assert (len(whole), len(chunks)) == (1, 3)
    assert np.unique(F).size == 6
    np.testing.assert_array_equal(F_in_chunks, F)
    np.testing.assert_array_equal(G_in_chunks, G)
