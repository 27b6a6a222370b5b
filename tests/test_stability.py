"""Loading margins against values worked by hand and bisection with ``pandapower.runpp``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from nets import two_bus
from pandapower.auxiliary import pandapowerNet

from gridproblems import DERAllocation, GridProblem, Reconfiguration
from gridproblems.engines import ENGINES, NewtonEngine
from gridproblems.evaluation import FAILED_F, FAILED_G
from gridproblems.grids import NetGrid
from gridproblems.growth import Growth
from gridproblems.objectives import loading_margin_percent
from gridproblems.situations import Hours, Outages
from gridproblems.stability import LARGEST_PERCENT, LoadingMargin, margins_percent
from gridproblems.state import Field, Settings

NOTHING = Settings((), np.zeros(0))
X_PU = 0.04  # of the line of two buses, base 1 MVA


def lossless(p_mw: float, q_mvar: float = 0.0) -> pandapowerNet:
    """Two buses with a line of X = 0.04 p.u. and nothing else."""
    net = two_bus(10.0 * p_mw, 10.0 * q_mvar)
    net.line["r_ohm_per_km"] = 0.0
    return net


def with_load(net: pandapowerNet, factor: Any = 1.0) -> Settings:
    """Powers of all loads as settings, times one or several factors."""
    fields = tuple(Field("load", c, tuple(net.load.index)) for c in ("p_mw", "q_mvar"))
    values = np.concatenate([net.load[c].to_numpy(dtype=float) for c in ("p_mw", "q_mvar")])
    return Settings(fields, np.atleast_1d(factor)[:, np.newaxis] * values)


def margin(net: pandapowerNet, engine: str = "newton") -> float:
    return float(margins_percent(ENGINES[engine](net).solve(with_load(net)))[0])


def all_loads(net: pandapowerNet, growth: float) -> None:
    net.load[["p_mw", "q_mvar"]] *= 1.0 + growth


def by_bisection(
    net: pandapowerNet, grow: Callable[[pandapowerNet, float], None] = all_loads, high: float = 6.0
) -> tuple[float, float]:
    """Between which growths of loads ``runpp`` stops converging, 1e-4 apart. [%]

    Next to the end, ``runpp`` may leave machines at the upper reactive limit although their
    voltages are above the set-points: that is no solution.
    """

    def solves(growth: float) -> bool:
        grown = copy.deepcopy(net)
        grow(grown, growth)
        try:
            pp.runpp(grown, lightsim2grid=False, max_iteration=40, tolerance_mva=1e-8)
        except pp.LoadflowNotConverged:
            return False
        if not grown.user_pf_options.get("enforce_q_lims"):
            return True
        at_limit = grown.res_gen.q_mvar > grown.gen.max_q_mvar - 1e-6
        return not (at_limit & (grown.res_gen.vm_pu > grown.gen.vm_pu + 1e-6)).any()

    low = 0.0
    assert solves(low)
    assert not solves(high)
    while high - low > 1e-4 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if solves(middle) else (low, middle)
    return 100.0 * low, 100.0 * high


def assert_ends_there(margin_percent: float, net: pandapowerNet) -> None:
    low, high = by_bisection(net)
    assert 0.999 * low < margin_percent < 1.001 * high


# -- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_nose_of_a_lossless_line_by_hand(engine: str) -> None:
    """P_max = cos(phi) / (2 X (1 + sin(phi))) with V1 = 1, at unity power factor 1 / (2 X)."""
    assert margin(lossless(2.0), engine) == pytest.approx(
        100.0 * (1.0 / (2.0 * X_PU) / 2.0 - 1.0), rel=1e-6
    )
    most_mw = 0.8 / (2.0 * X_PU * (1.0 + 0.6))
    assert margin(lossless(0.8, 0.6), engine) == pytest.approx(
        100.0 * (most_mw / 0.8 - 1.0), rel=1e-6
    )


def test_generation_stays_while_loads_grow() -> None:
    net = lossless(2.0)
    net.sgen["p_mw"] = 1.0
    assert margin(net) == pytest.approx(100.0 * ((1.0 / (2.0 * X_PU) + 1.0) / 2.0 - 1.0), rel=1e-6)


def test_loads_of_the_slack_or_none_have_no_nose() -> None:
    assert margin(lossless(0.0)) == LARGEST_PERCENT
    net = lossless(0.0)
    pp.create_load(net, 0, p_mw=1.0, q_mvar=0.5)
    assert margin(net) == LARGEST_PERCENT


def test_what_is_left_of_a_margin_shrinks_with_the_load() -> None:
    net = NetGrid("ieee30").net
    whole = margin(net)
    growth = np.array([0.1, 0.5, 0.9, 0.99]) * whole / 100.0
    left = margins_percent(NewtonEngine(net).solve(with_load(net, 1.0 + growth)))
    np.testing.assert_allclose((1.0 + growth) * (1.0 + left / 100.0), 1.0 + whole / 100.0, 1e-6)


def test_a_situation_without_solution_has_no_margin() -> None:
    net = lossless(2.0)
    state = NewtonEngine(net).solve(with_load(net, [1.0, 100.0]))
    assert state.converged.tolist() == [True, False]
    assert margins_percent(state) == pytest.approx([525.0, 0.0], rel=1e-6)
    assert loading_margin_percent(NOTHING, state) == pytest.approx([-525.0, 0.0], rel=1e-6)
    assert LoadingMargin(50.0)(NOTHING, state) == pytest.approx([1.0])
    assert LoadingMargin(50.0)(NOTHING, state.snapshot(0)) == pytest.approx([1.0 - 10.5], rel=1e-6)


# -- against runpp ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["ieee14", "ieee30", "ieee57", "ieee118", "case33bw"])
def test_margins_are_those_of_bisection(case: str) -> None:
    net = NetGrid(case).net
    assert_ends_there(margin(net), net)


@pytest.mark.parametrize(
    ("case", "controls"),
    [("ieee14", ["setpoints", "taps"]), ("ieee57", ["setpoints", "taps", "shunts"])],
)
def test_margins_of_candidates_are_those_of_bisection(case: str, controls: list[str]) -> None:
    problem = GridProblem(case, controls, objectives=["loading_margin_percent"])
    X = np.random.default_rng(5).uniform(problem.xl, problem.xu, (4, problem.n_var))
    F, G = problem.evaluate(X)
    solved = np.flatnonzero(G[:, 0] < 0.0)
    assert len(solved) >= 2
    assert len(np.unique(F[solved])) == len(solved)
    for i in solved[:2]:
        assert_ends_there(-F[i, 0], problem.apply(X[i]))


@pytest.mark.parametrize("case", ["ieee30", "ieee118"])
def test_reactive_limits_end_margins_earlier(case: str) -> None:
    net = NetGrid(case, power_flow={"enforce_q_lims": True}).net
    found = margin(net)
    assert found < 0.7 * margin(NetGrid(case).net)
    assert found == pytest.approx(margin(net, "reference"), rel=1e-6)
    assert_ends_there(found, net)


@pytest.mark.parametrize(("case", "i"), [("ieee30", 2), ("ieee57", 5)])
def test_reactive_limits_are_reached_and_left_alike_from_wherever_the_curve_begins(
    case: str, i: int
) -> None:
    grid = NetGrid(case, power_flow={"enforce_q_lims": True})
    problem = GridProblem(grid, ["setpoints"], require_base_solution=False)
    x = np.random.default_rng(1).uniform(problem.xl, problem.xu, (6, problem.n_var))[i]
    net = problem.apply(x)
    whole = margin(net)
    growth = np.array([0.3, 0.6, 0.9]) * whole / 100.0
    state = NewtonEngine(net).solve(with_load(net, 1.0 + growth))
    assert state.converged.all()
    left = margins_percent(state)
    np.testing.assert_allclose((1.0 + growth) * (1.0 + left / 100.0), 1.0 + whole / 100.0, 1e-6)


def shared_slack() -> pandapowerNet:
    net = NetGrid("ieee30", power_flow={"distributed_slack": True}).net
    net.gen["slack_weight"] = net.gen.p_mw.clip(lower=0.0)
    return net


@pytest.mark.parametrize(
    "make",
    [
        shared_slack,
        lambda: NetGrid("case33bw", zip_percent=(20.0, 30.0)).net,
        lambda: NetGrid("ieee14", zip_percent=(10.0, 20.0)).net,
    ],
    ids=["shared slack", "zip loads, radial", "zip loads, meshed"],
)
def test_shared_slacks_and_loads_that_depend_on_voltage(make: Any) -> None:
    """``runpp`` fails long before the nose here, so that Newton's method with all of the Jacobian
    says where it is."""
    net = make()
    whole = margin(net)
    assert whole == pytest.approx(margin(net, "reference"), rel=1e-6)
    growth = np.array([0.5, 0.8, 1.001]) * whole / 100.0
    state = NewtonEngine(net).solve(with_load(net, 1.0 + growth))
    assert state.converged.tolist() == [True, True, False]
    left = margins_percent(state)[:2]
    np.testing.assert_allclose((1.0 + growth[:2]) * (1.0 + left / 100.0), 1.0 + whole / 100.0, 1e-5)


def test_engines_agree() -> None:
    net = NetGrid("case33bw").net
    values = [margin(net, engine) for engine in ENGINES]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-6)


# -- in a direction ------------------------------------------------------------------------------


def some_loads(net: pandapowerNet) -> dict[int, float]:
    """Weights of every second load, not all alike."""
    return {int(e): 0.5 + (i % 3) for i, e in enumerate(net.load.index[::2])}


def grow_some(net: pandapowerNet, growth: float) -> float:
    """Grows `some_loads` in the tables of a net; what they draw more. [MW]"""
    before = net.load.p_mw.sum()
    for e, weight in some_loads(net).items():
        net.load.loc[e, ["p_mw", "q_mvar"]] *= 1.0 + weight * growth
    return float(net.load.p_mw.sum() - before)


def grow_loads(net: pandapowerNet, growth: float) -> None:
    grow_some(net, growth)


def grow_with_generators(net: pandapowerNet, growth: float) -> None:
    more = grow_some(net, growth)
    net.gen["p_mw"] += more * net.gen.p_mw.clip(lower=0.0) / net.gen.p_mw.clip(lower=0.0).sum()


def margin_along(case: str, growth: Growth, **options: Any) -> tuple[float, pandapowerNet]:
    grid = NetGrid(case, growth=growth, **options)
    state = NewtonEngine(grid.net).solve(with_load(grid.net))
    bound = growth.bind(grid.net)
    return float(margins_percent(state, with_load(grid.net), bound)[0]), grid.net


@pytest.mark.parametrize("case", ["ieee14", "ieee30", "ieee57", "ieee118", "case33bw"])
def test_margins_of_some_loads_are_those_of_bisection(case: str) -> None:
    weights = some_loads(NetGrid(case).net)
    found, net = margin_along(case, Growth(weights))
    low, high = by_bisection(net, grow_loads, 20.0)
    assert 0.999 * low < found < 1.001 * high


@pytest.mark.parametrize("case", ["ieee30", "ieee57", "ieee118"])
def test_margins_with_generators_that_pick_up_are_those_of_bisection(case: str) -> None:
    weights = some_loads(NetGrid(case).net)
    found, net = margin_along(case, Growth(weights, pick_up="gens"))
    low, high = by_bisection(net, grow_with_generators, 20.0)
    assert 0.999 * low < found < 1.001 * high
    assert abs(found - margin_along(case, Growth(weights))[0]) > 1.0


def test_reactive_limits_hold_in_a_direction_too() -> None:
    weights = some_loads(NetGrid("ieee30").net)
    limited = {"power_flow": {"enforce_q_lims": True}}
    found, net = margin_along("ieee30", Growth(weights, pick_up="gens"), **limited)
    low, high = by_bisection(net, grow_with_generators, 20.0)
    assert 0.999 * low < found < 1.001 * high
    assert found < 0.95 * margin_along("ieee30", Growth(weights, pick_up="gens"))[0]


def three_bus() -> pandapowerNet:
    """The line of two buses, a second load by name at the slack, and a zone."""
    net = lossless(2.0)
    net.load.loc[0, "name"] = "far"
    pp.create_load(net, 0, p_mw=1.0, name="near")
    pp.create_sgen(net, 1, p_mw=0.0)
    net.bus["zone"] = ["home", "away"]
    return net


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        (Growth(), 525.0),  # 12.5 MW of 2
        (Growth(["far"]), 525.0),
        (Growth([0]), 525.0),
        (Growth({"far": 2.0, 1: 1.0}), 262.5),
        (Growth(pd.Series({0: 0.5})), 1050.0),
        (Growth(pd.DataFrame({"weight": [2.0]}, index=["far"])), 262.5),
        (Growth(pd.DataFrame({"p_weight": [1.0], "q_weight": [0.0]}, index=[0])), 525.0),
        (Growth(zone="away"), 525.0),
        (Growth(["near"]), LARGEST_PERCENT),
    ],
)
@pytest.mark.parametrize("engine", ["newton", "reference"])
def test_directions_by_hand(growth: Growth, expected: float, engine: str) -> None:
    net = three_bus()
    settings = with_load(net)
    state = ENGINES[engine](net).solve(settings)
    found = margins_percent(state, settings, growth.bind(net))
    assert found[0] == pytest.approx(expected, rel=1e-6)


def test_a_direction_follows_the_settings_of_every_situation() -> None:
    grid = NetGrid(three_bus(), growth=Growth(["far"]))
    problem = GridProblem(
        grid,
        ["compensators"],
        Hours({"load.p_mw": [[2.0, 1.0], [5.0, 1.0]]}),
        ["loading_margin_percent"],
        {"loading_margin_percent": 200.0, "vm_pu": None, "loading_percent": None},
    )
    x = problem.encode({("sgen", "q_mvar"): {0: 0.0}})
    F, G = problem.evaluate(x)
    assert F[0] == pytest.approx(-150.0, rel=1e-6)
    assert G[problem.constraint_names.index("loading_margin_percent")] == pytest.approx(0.25)
    plain = GridProblem(three_bus(), ["compensators"], objectives=["loading_margin_percent"])
    given = NetGrid(three_bus(), growth=Growth(["near"]))
    along = GridProblem(given, ["compensators"], objectives=["loading_margin_percent"])
    assert plain.fingerprint() != along.fingerprint()
    assert -along.evaluate(along.base_x)[0][0] == LARGEST_PERCENT


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"loads": ["fat"]}, r"growth: loads: the net has no load 'fat' \(did you mean 'far'"),
        ({"loads": [7]}, "growth: loads: the net has no load '7'.*known: 0, 1"),
        ({"loads": [0, "far"]}, "growth: loads: load 0 is there twice"),
        ({"loads": {"far": -1.0}}, "growth: loads: 'far': expected a number of 0 or more, got -1"),
        ({"loads": {"far": "much"}}, "growth: loads: 'far': expected a number"),
        ({"loads": {"far": 0.0}}, "growth: loads: expected at least one weight above 0"),
        ({"loads": "far"}, "growth: loads: expected a list of loads"),
        ({"loads": pd.DataFrame({"w": [1.0]}, index=[0])}, "a column weight, or p_weight.*got w"),
        ({"zone": "nowhere"}, "growth: zone: .*'nowhere'.*known: home, away"),
        ({"pick_up": "gens"}, "growth: pick_up: expected generators that generate, got none"),
        ({"pick_up": {3: 1.0}}, "growth: pick_up: the net has no gen '3'"),
        ({"pick_up": "wind"}, "growth: pick_up: expected 'slack', 'gens' or shares"),
    ],
)
def test_directions_that_cannot_be_name_what_is_wrong(growth: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetGrid(three_bus(), growth=Growth(**growth))


# -- in problems --------------------------------------------------------------------------------


def hours(factors: list[float]) -> Hours:
    return Hours({"load.p_mw": 2.0 * np.array(factors)[:, np.newaxis]})


def test_the_worst_situation_counts() -> None:
    problem = GridProblem(
        lossless(2.0),
        ["compensators"],
        hours([1.0, 2.5, 0.5]),
        ["loading_margin_percent"],
        {"loading_margin_percent": 200.0},
    )
    settings = {("sgen", "q_mvar"): {0: 0.0}}
    F, G = problem.evaluate(problem.encode(settings))
    assert F[0] == pytest.approx(-150.0, rel=1e-6)  # 12.5 MW of 5
    at = problem.constraint_names.index("loading_margin_percent")
    assert G[at] == pytest.approx(0.25, rel=1e-6)
    (broken,) = [
        v for v in problem.violations(problem.encode(settings)) if v.name.startswith("loading_m")
    ]
    assert str(broken) == "loading_margin_percent 200 % by 50 %"
    assert problem.objective_signs.tolist() == [-1.0]


def test_outages_leave_smaller_margins() -> None:
    lines = [0, 1, 2]
    plain, secure = (
        GridProblem("ieee14", ["setpoints"], situations, limits={"loading_margin_percent": 20.0})
        for situations in (None, Outages({"line": lines}))
    )
    x = plain.base_x
    entries = [p.evaluate(x)[1][p.constraint_names.index("loading_margin_percent")]
               for p in (plain, secure)]  # fmt: skip
    margins = []
    for line in (None, *lines):
        net = NetGrid("ieee14").net
        if line is not None:
            net.line.loc[line, "in_service"] = False
        margins.append(margin(net))
    assert min(margins) < margins[0]
    assert entries == pytest.approx([1 - margins[0] / 20.0, 1 - min(margins) / 20.0], rel=1e-6)


def test_a_margin_after_outages_may_be_another_than_before() -> None:
    lines = [0, 1, 2]
    given = "ieee14", ["setpoints"], Outages({"line": lines})
    limits = {"loading_margin_percent": 50.0}
    problem = GridProblem(*given, limits=limits, emergency_limits={"loading_margin_percent": 20.0})
    margins = []
    for line in (None, *lines):
        net = NetGrid("ieee14").net
        if line is not None:
            net.line.loc[line, "in_service"] = False
        margins.append(margin(net))
    entries = dict(zip(problem.constraint_names, problem.evaluate(problem.base_x)[1], strict=True))
    assert entries["loading_margin_percent"] == pytest.approx(1 - margins[0] / 50.0, rel=1e-6)
    after = entries["n-1 loading_margin_percent"]
    assert after == pytest.approx(1 - min(margins[1:]) / 20.0, rel=1e-6)
    none = GridProblem(*given, limits=limits, emergency_limits={"loading_margin_percent": None})
    names = [name for name in none.constraint_names if name.endswith("loading_margin_percent")]
    assert names == ["loading_margin_percent"]
    assert none.evaluate(none.base_x)[1][none.constraint_names.index(names[0])] == pytest.approx(
        1 - margins[0] / 50.0, rel=1e-6
    )


def test_a_limit_of_settings_cannot_differ_after_outages() -> None:
    for before, after in ((False, True), (True, False)):
        with pytest.raises(ValueError, match="emergency_limits: radial: expected as in limits"):
            GridProblem(
                "ieee14",
                ["setpoints"],
                Outages([0, 1]),
                limits={"radial": before},
                emergency_limits={"radial": after},
            )


def test_candidates_that_fail_are_failed() -> None:
    problem = GridProblem(
        lossless(2.0),
        ["compensators"],
        hours([1.0, 8.0]),
        ["loading_margin_percent"],
        {"loading_margin_percent": 20.0},
        require_base_solution=False,
    )
    F, G = problem.evaluate(problem.base_x)
    assert F.tolist() == [FAILED_F]
    assert (G >= FAILED_G).all()


def test_more_reactive_power_raises_the_margin() -> None:
    problem = GridProblem(lossless(2.0), ["compensators"], objectives=["loading_margin_percent"])
    low, high = problem.evaluate(np.array([problem.xl, problem.xu]))[0].ravel()
    assert high < low < 0.0


def test_the_least_margin_is_a_positive_number() -> None:
    with pytest.raises(ValueError, match="loading_margin_percent: expected a positive number"):
        GridProblem("ieee14", ["setpoints"], limits={"loading_margin_percent": -5})


def test_a_limit_on_the_margin_is_another_problem_than_that_of_known_optima() -> None:
    free = Reconfiguration("case33bw")
    limited = Reconfiguration("case33bw", limits={"loading_margin_percent": 250.0})
    assert free.best_known is not None
    assert limited.best_known is None


@pytest.mark.parametrize("objective", ["l_index", "loading_margin_percent"])
def test_neighbours_without_an_estimate_of_their_values(objective: str) -> None:
    problem = DERAllocation("lv18", objectives=[objective])
    near = problem.neighbours(problem.base_x, 5)
    assert near.shape == (5, problem.n_var)
