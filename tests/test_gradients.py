"""Gradients through the power flow, checked against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower.networks as pn
import pytest
from golden.calls import CALLS, make
from nets import feeder, switched, tap_zoo, two_bus
from pandapower.auxiliary import pandapowerNet
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population

from gridproblems import (
    GridProblem,
    ReactivePowerDispatch,
    evaluation,
    gradients,
    linear_states,
)
from gridproblems.cases import load_case
from gridproblems.controls import CONTROLS, Control, Setpoints, Taps
from gridproblems.engines import ENGINES, Linearised, NewtonEngine
from gridproblems.evaluation import FAILED_F
from gridproblems.objectives import MODEL_SLOPES, OBJECTIVES, SLOPES
from gridproblems.reductions import REDUCTIONS, reduction, slope_of
from gridproblems.situations import Hours, Outages, Scenarios
from gridproblems.state import GridState, Settings
from gridproblems.testing import check_gradients, random_vectors

LIMITS = {"vm_pu": (0.9, 1.1), "loading_percent": 100.0, "gen_q_mvar": (-20.0, 30.0)}
#: Calls whose differences are no measure, or take long.
LEFT_OUT = {
    "placement-hosting": "capacities are found to a millionth of the largest",
    **{name: "differences of OpenDSS" for name in CALLS if name.startswith("regulators-ieee123")},
    "regulators-bounds": "differences of OpenDSS",
    "regulators-day": "regulators act in steps",
}
#: Quantities without slopes: their gradients are differences of power flows.
BY_DIFFERENCES = {"loading_margin_percent"}


def zoo_of_controls() -> list[Any]:
    """Every number that a compiled model knows."""
    return [
        Setpoints(band_pu=(0.95, 1.05)),
        Taps(),
        Control("shunt", "q_mvar", (0,), "real", -4.0, 4.0),
        Control("shunt", "p_mw", (0,), "real", 0.0, 1.0),
        Control("shunt", "step", (1,), "integer", 0, 4),
        Control("gen", "p_mw", (0,), "real", 2.0, 8.0),
        Control("gen", "p_mw", (2,), "real", 2.0, 8.0),
        Control("sgen", "p_mw", (0,), "real", 0.0, 4.0),
        Control("sgen", "q_mvar", (0,), "real", -3.0, 3.0),
        Control("sgen", "scaling", (0,), "real", 0.2, 1.0),
        Control("load", "p_mw", (0,), "real", 5.0, 12.0),
        Control("load", "scaling", (1, 2), "real", 0.5, 1.2),
        Control("storage", "p_mw", (0,), "real", -1.0, 1.0),
    ]


@pytest.fixture
def no_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slope has to be known."""

    def refuse(self: Any, X: Any, variables: Any) -> None:
        raise AssertionError("a slope that only differences tell")

    monkeypatch.setattr(gradients.Gradients, "_differences", refuse)


def on_the_zoo(objectives: Any, **arguments: Any) -> GridProblem:
    return GridProblem(
        tap_zoo(), zoo_of_controls(), objectives=objectives, limits=LIMITS, **arguments
    )


@pytest.mark.parametrize("name", [name for name in CALLS if name not in LEFT_OUT])
def test_documented_calls_have_the_slopes_of_differences(name: str) -> None:
    check_gradients(make(name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_the_slopes_of_differences(
    name: str, request: pytest.FixtureRequest
) -> None:
    if name not in BY_DIFFERENCES:
        request.getfixturevalue("no_differences")
    hours = Hours({"load.p_mw": np.linspace(0.5, 1.0, 3)[:, None] * [[9.0, 12.0, 6.0, 4.0, 7.0]]})
    controls = [
        c for c in zoo_of_controls() if getattr(c, "table", "") != "load" or c.column != "p_mw"
    ]
    check_gradients(GridProblem(tap_zoo(), controls, hours, objectives=[name], limits=LIMITS))


def test_every_quantity_has_slopes_or_says_that_it_has_none() -> None:
    without = {
        name for name, o in OBJECTIVES.items() if o.quantity not in {**SLOPES, **MODEL_SLOPES}
    }
    assert without == BY_DIFFERENCES


def with_ranges_of_power() -> Any:
    """30 buses, whose generators may give up to 10 MW more than twice what they do."""
    net = load_case("ieee30").net()
    net.gen["min_p_mw"], net.gen["max_p_mw"] = 0.0, 10.0 + 2.0 * net.gen.p_mw
    return net


#: Of every control, a problem with it.
OF_CONTROLS: dict[str, Any] = {
    "setpoints": lambda: GridProblem("ieee30", ["setpoints"]),
    "powers": lambda: GridProblem(with_ranges_of_power(), ["powers"]),
    "taps": lambda: GridProblem(tap_zoo(), ["taps"], limits=LIMITS),
    "shunts": lambda: GridProblem(tap_zoo(), ["shunts"], limits=LIMITS),
    "compensators": lambda: GridProblem(two_bus(), ["compensators"]),
    "switching": lambda: GridProblem("case33bw", ["switching"]),
    "units": lambda: GridProblem("case33bw", ["units:dg:3"]),
    "profiles": lambda: make("allocation-lv18"),
    "schedules": lambda: make("storage-lv18"),
    "regulators": lambda: GridProblem("village", ["regulators"]),
    "capacitors": lambda: GridProblem("village", ["capacitors"]),
    "voltvar": lambda: GridProblem("village", ["voltvar"]),
    "placed_capacitors": lambda: GridProblem("village", ["placed_capacitors"]),
}


def test_every_control_has_a_problem() -> None:
    assert set(OF_CONTROLS) == set(CONTROLS)


@pytest.mark.parametrize("name", OF_CONTROLS)
def test_every_control_has_the_slopes_of_differences(
    name: str, request: pytest.FixtureRequest
) -> None:
    if name not in ("regulators", "capacitors", "voltvar", "placed_capacitors"):
        request.getfixturevalue("no_differences")
    check_gradients(OF_CONTROLS[name]())


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_the_slopes_of_the_newton_engine(engine: str) -> None:
    controls = [Taps(), Control("sgen", "p_mw", (0,), "real", -0.05, 0.05)]
    limits = {"vm_pu": (0.9, 1.1), "loading_percent": 100.0}
    problem, other = (
        GridProblem(feeder(), controls, objectives=["p_loss_kw"], limits=limits, engine=name)
        for name in (engine, "newton")
    )
    x = problem.xl + 0.4 * (problem.xu - problem.xl)
    for own, expected in zip(problem.gradients(x), other.gradients(x), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("given", [*REDUCTIONS, ("cvar", 0.6)])
def test_slopes_of_reductions_are_those_of_differences(given: Any) -> None:
    random = np.random.default_rng(2)
    values, weight = random.random((4, 6)), random.random(6)
    slope = slope_of(given, values, weight)
    for k in range(6):
        step = np.zeros(6)
        step[k] = 1e-7
        sides = [reduction(given)(values + s * step, weight) for s in (1, -1)]
        np.testing.assert_allclose(slope[:, k], (sides[0] - sides[1]) / 2e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("situations", "over"),
    [
        (Outages([0, 1, 4]), None),
        (Outages([0, 1, 4]) * Hours({"load.q_mvar": np.full((2, 11), 3.0)}), None),
        (Scenarios({"gen.p_mw": [0.8, 1.0, 1.3]}, [1.0, 2.0, 1.0]), ("cvar", 0.5)),
        (Scenarios({"gen.p_mw": [0.8, 1.0, 1.3]}, [1.0, 2.0, 1.0]), "max"),
    ],
    ids=["outages", "outages in time", "cvar of scaled controls", "max of scaled controls"],
)
def test_slopes_go_through_situations(situations: Any, over: Any, no_differences: None) -> None:
    net = pn.case14()
    net.line["max_i_ka"], net.line["max_loading_percent"] = 0.5, 100.0
    net.gen[["min_vm_pu", "max_vm_pu"]] = 0.95, 1.05
    controls = [Setpoints(), Control("gen", "p_mw", (0,), "real", 20.0, 60.0)]
    objective: Any = "p_loss_mw"
    if over is not None:
        objective = (objective, *(over if isinstance(over, tuple) else (over,)))
    problem = GridProblem(net, controls, situations, [objective], {"vm_pu": (0.9, 1.1)})
    check_gradients(problem)


def test_pieces_are_the_situations_of_a_largest_value(no_differences: None) -> None:
    problem = make("storage-lv18")
    x = problem.xl + 0.4 * (problem.xu - problem.xl)
    found = problem.pieces(x)
    assert found is not None
    F, _, dF, _ = problem.gradients(x)
    assert found.F.shape == (24,)
    assert found.F.max() == pytest.approx(F[0], rel=1e-12)
    np.testing.assert_allclose(found.dF[found.F.argmax()], dF[0], rtol=1e-9, atol=1e-12)
    for v in (0, 7, 20):
        step = np.zeros(problem.n_var)
        step[v] = 1e-4 * (problem.xu - problem.xl)[v]
        sides = [problem.pieces(x + sign * step)[0] for sign in (1.0, -1.0)]
        expected = (sides[0] - sides[1]) / (2.0 * step[v])
        np.testing.assert_allclose(found.dF[:, v], expected, atol=1e-6 * np.abs(expected).max())
    values, slopes = problem.evaluate(x, return_values_of=["F_pieces", "dF_pieces"])
    assert np.array_equal(values, found.F)
    assert np.array_equal(slopes, found.dF)
    other = GridProblem("ieee30", ["setpoints"])
    assert other.pieces(other.base_x) is None


@pytest.mark.parametrize("name", ["storage-lv18", "placement-mixed", "placement-battery"])
def test_pieces_of_charge_limits_are_the_states_after_every_snapshot(name: str) -> None:
    problem = make(name)
    charge = ["state_of_charge" in kind for kind in problem.evaluation.entries.kinds]
    (battery,) = [b.codec.battery for b in problem.joint.blocks]
    x = problem.joint.relaxed(random_vectors(problem, 1)[0])
    wanted = ["G", "G_pieces", "dG_pieces"]
    G, pieces, slopes = problem.evaluate(x, return_values_of=wanted)
    n_storages = sum(charge) // 3
    assert pieces.shape == (50 * n_storages,)
    above, below, ends = np.split(pieces.reshape(50, n_storages), [24, 48])
    at_start = battery.soc_start - battery.soc_max, battery.soc_min - battery.soc_start
    largest = [part.max(axis=0) for part in (above, below, ends)]
    largest[:2] = [np.maximum(a, b - 1e-6) for a, b in zip(largest, at_start, strict=False)]
    np.testing.assert_allclose(np.concatenate(largest), G[1:][charge], rtol=0.0, atol=1e-12)
    moves = np.flatnonzero(problem.joint.counts_as_real & (problem.xu > problem.xl))
    for v in moves:
        step = 1e-5 * (problem.xu - problem.xl)[v]
        X = np.tile(x, (2, 1))
        X[:, v] += step, -step
        sides = problem.evaluate(X, return_values_of=["G_pieces", "dG_pieces"])[0]
        expected = (sides[0] - sides[1]) / (2.0 * step)
        np.testing.assert_allclose(slopes[:, v], expected, atol=1e-6 * np.abs(slopes).max())
    assert not slopes[:, np.setdiff1d(np.arange(problem.n_var), moves)].any()


def test_problems_without_charge_limits_or_with_very_many_have_no_pieces_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ["dG", "G_pieces", "dG_pieces"]
    other = GridProblem("ieee30", ["setpoints"])
    problem = make("storage-lv18")
    monkeypatch.setattr("gridproblems.problem.MOST_OF_PIECES", 1_000)
    for of in (other, problem):
        _, values, slopes = of.evaluate(of.base_x, return_values_of=wanted)
        assert np.isinf([values, slopes]).all()  # pymoo's word for what is not there


def test_periods_have_slopes_of_their_own(no_differences: None) -> None:
    hours = Hours({"load.q_mvar": np.linspace(1.0, 6.0, 4)[:, None] * np.ones((1, 5))})
    controls = [Setpoints(band_pu=(0.95, 1.05)), Taps()]
    problem = GridProblem(tap_zoo(), controls, hours, limits=LIMITS, periods={"taps": 2})
    check_gradients(problem)
    dF = problem.gradients(problem.base_x).dF
    assert (dF != 0.0).all()


def test_periods_take_no_more_solutions_than_one_value_for_all_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_solutions: list[int] = []
    forward = Linearised.forward

    def counted(self: Linearised, rows: Any, columns: Any, wanted: Any) -> Any:
        n_solutions.append(len(rows) * len(columns))
        return forward(self, rows, columns, wanted)

    monkeypatch.setattr(Linearised, "forward", counted)
    found = []
    for n_periods in (1, 24):
        n_solutions.clear()
        kinds = ("gen set-points", "ext_grid set-points", "taps", "shunts")
        periods = dict.fromkeys(kinds, n_periods)
        problem = ReactivePowerDispatch("ieee57", situations=Hours("day"), periods=periods)
        slopes = problem.gradients(problem.base_x).dG
        found.append((sum(n_solutions), slopes.reshape(len(slopes), n_periods, -1)))
    (n_once, once), (n_often, often) = found
    assert n_often == n_once
    blocks = problem.joint.placed
    by_kind = [often.reshape(len(often), -1)[:, b.part] for b in blocks if b.block.variables]
    summed = [own.reshape(len(own), 24, -1).sum(axis=1) for own in by_kind]
    np.testing.assert_allclose(np.concatenate(summed, axis=1), once[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("few", [0.0, np.inf], ids=["forward", "backward"])
def test_slopes_of_limits_are_the_same_by_settings_and_by_entries(
    few: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours({"load.q_mvar": np.linspace(1.0, 6.0, 4)[:, None] * np.ones((1, 5))})
    problem = on_the_zoo(["p_loss_mw"], situations=hours)
    X = problem.joint.relaxed(random_vectors(problem, 3))
    usual = gradients.Gradients(problem.evaluation)(X).dG
    monkeypatch.setattr(linear_states, "_FEW", few)
    own = gradients.Gradients(problem.evaluation)(X).dG
    np.testing.assert_allclose(own, usual, rtol=1e-9, atol=1e-9 * np.abs(usual).max())


def test_sparse_slopes_are_those_of_limits_near_to_being_violated() -> None:
    problem = ReactivePowerDispatch("ieee118")
    wanted = ["G", "dG_near"]
    G, near = problem.evaluate(np.array([problem.base_x, problem.xl]), return_values_of=wanted)
    for x, g, own in zip((problem.base_x, problem.xl), G, near, strict=True):
        full = problem.gradients(x).dG
        is_near = g >= -0.3
        assert 0 < is_near.sum() < len(g)
        scale = 1e-9 * np.abs(full).max()
        np.testing.assert_allclose(own.toarray()[is_near], full[is_near], rtol=1e-9, atol=scale)
        assert not own[~is_near].nnz


def test_one_entry_per_kind_has_the_slopes_of_its_entries(no_differences: None) -> None:
    x = on_the_zoo(["p_loss_mw"]).xl + 0.3
    for limits in (LIMITS, {"vm_pu": (0.999, 1.0), "loading_percent": 10.0}):
        problem = GridProblem(tap_zoo(), zoo_of_controls(), limits=limits, aggregate=True)
        check_gradients(problem, np.clip(x, problem.xl, problem.xu))


def test_a_grid_with_switches_has_slopes(no_differences: None) -> None:
    controls = [Control("load", "scaling", (i,), "real", 0.2, 1.0) for i in range(5)]
    controls.append(Control("switch", "closed", (int(switched().switch.index[0]),), "binary", 0, 1))
    problem = GridProblem(switched(), controls, objectives=["p_loss_mw", "exchange_energy_kwh"])
    check_gradients(problem)


def test_situations_in_several_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = np.linspace(0.3, 1.1, 8)[:, None] * np.array([[9.0, 12.0, 6.0, 4.0, 7.0]])
    arguments = (tap_zoo(), [Setpoints(band_pu=(0.95, 1.05)), Taps()], Hours({"load.p_mw": loads}))
    objectives = ["energy_loss_kwh", "v_min_pu", "voltage_deviation_pu"]
    whole = GridProblem(*arguments, objectives, LIMITS)
    x = whole.xl + 0.37 * (whole.xu - whole.xl)
    expected = whole.gradients(x)
    monkeypatch.setattr(evaluation, "MAX_SITUATIONS", 3)
    in_parts = GridProblem(*arguments, objectives, LIMITS)
    assert len(in_parts.evaluation.chunks) > 2
    for own, other in zip(in_parts.gradients(x), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-12)


def own_quantity(settings: Settings, state: GridState) -> float:
    """Summed squares of the voltages. [p.u.]"""
    return float((state.vm_pu**2).sum())


def test_what_is_not_known_is_found_by_differences() -> None:
    check_gradients(on_the_zoo([own_quantity, "p_loss_mw"]))


def test_a_power_flow_that_fails_has_slopes_of_zero() -> None:
    net = two_bus()
    problem = GridProblem(net, [Control("load", "p_mw", (0,), "real", 0.5, 500.0)])
    F, G, dF, dG = problem.gradients(problem.xu)
    assert (F == FAILED_F).all()
    assert G[0] > 0
    assert not dF.any()
    assert not dG.any()
    both = problem.evaluate(np.array([problem.xl, problem.xu]), return_values_of=["dF", "dG"])
    assert both[0][0].any()
    assert not both[0][1].any()


def test_pymoo_gets_slopes_where_it_asks_for_them() -> None:
    problem = ReactivePowerDispatch("ieee14", ("p_loss_mw", "voltage_deviation_pu"))
    X = problem.snap(problem.xl + 0.5 * (problem.xu - problem.xl) * np.ones((3, 1)))
    wanted = ["F", "G", "dF", "dG"]
    F, G, dF, dG = problem.evaluate(X, return_values_of=wanted)
    assert dF.shape == (3, 2, problem.n_var)
    assert dG.shape == (3, problem.n_ieq_constr, problem.n_var)
    plain = problem.evaluate(X)
    assert np.array_equal(F, plain[0])
    assert np.array_equal(G, plain[1])
    one = problem.gradients(X[0])
    assert np.array_equal(one.dF, dF[0])
    assert np.array_equal(one.dG, dG[0])
    by_name = dict(zip(problem.vars, X[0], strict=True))
    assert np.array_equal(problem.gradients(by_name).dF, dF[0])
    population = Evaluator(evaluate_values_of=wanted).eval(problem, Population.new(X=X))
    assert np.array_equal(population.get("dF"), dF)


def test_slopes_of_constraints_cost_nothing_where_nobody_asks(monkeypatch: Any) -> None:
    problem = ReactivePowerDispatch("ieee14")
    dG = problem.gradients(problem.base_x).dG
    assert dG.any()

    def refuse(*arguments: Any) -> None:
        raise AssertionError("forward solutions that nobody asked for")

    monkeypatch.setattr(Linearised, "forward", refuse)
    dF = problem.evaluate(problem.base_x, return_values_of=["dF"])
    assert dF.shape == (1, problem.n_var)
    assert dF.any()
    with pytest.raises(AssertionError, match="nobody"):
        problem.gradients(problem.base_x)


def test_slopes_of_near_limits_are_those_of_all() -> None:
    problem = ReactivePowerDispatch("ieee30")
    x = problem.xl + 0.6 * (problem.xu - problem.xl)
    every, some = problem.gradients(x), problem.gradients(x, near=0.3)
    near = every.G >= -0.3
    assert near.any()
    assert not near.all()
    assert np.array_equal(some.dG[near], every.dG[near])
    assert not some.dG[~near].any()
    assert np.array_equal(some.dF, every.dF)
    assert np.array_equal(some.G, every.G)


def test_counts_see_gradients() -> None:
    problem = ReactivePowerDispatch("ieee14")
    problem.gradients(problem.base_x)
    assert problem.counts.evaluated == 1
    assert problem.counts.power_flows == 1


def test_a_population_is_evaluated_without_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ReactivePowerDispatch("ieee14")

    def refuse(self: Any, settings: Settings) -> None:
        raise AssertionError("slopes that nobody asked for")

    monkeypatch.setattr(NewtonEngine, "linearise", refuse)
    problem.evaluate(np.array([problem.xl, problem.xu]))
    with pytest.raises(AssertionError, match="nobody"):
        problem.gradients(problem.base_x)


def test_positions_between_whole_ones_are_those_of_pandapower() -> None:
    problem = GridProblem(tap_zoo(), [Taps()], limits=LIMITS)
    other = GridProblem(tap_zoo(), [Taps()], limits=LIMITS, engine="reference")
    X = problem.xl + np.array([2.0, 2.3, 2.8, 3.0])[:, None] * np.ones(problem.n_var)
    assert isinstance(problem.engine, NewtonEngine)
    F = problem.evaluate(X, return_values_of=["F", "dF"])[0]
    expected = other.evaluate(X, return_values_of=["F", "dF"])[0]
    np.testing.assert_allclose(F, expected, rtol=1e-6)
    assert np.array_equal(F[[0, -1]], problem.evaluate(X[[0, -1]])[0])


def voltage_dependent() -> pandapowerNet:
    net = pn.case14()
    for k in ("p", "q"):
        net.load[f"const_z_{k}_percent"] = np.linspace(10.0, 60.0, len(net.load))
        net.load[f"const_i_{k}_percent"] = 20.0
    return net


def within_reactive_limits() -> pandapowerNet:
    """Some generators are at a limit, others hold their voltages."""
    net = pn.case39()
    net.gen["max_q_mvar"] = np.where(np.arange(len(net.gen)) % 2, 500.0, 120.0)
    net.gen["min_q_mvar"] = -300.0
    net["user_pf_options"] = {"enforce_q_lims": True}
    return net


def with_shared_slack() -> pandapowerNet:
    net = pn.case14()
    net.gen["slack_weight"], net.ext_grid["slack_weight"] = [1.0, 0.0, 2.0, 0.0], 1.5
    net["user_pf_options"] = {"distributed_slack": True}
    return net


WHAT_NEWTON_SOLVES = pytest.mark.parametrize(
    ("make_net", "situations"),
    [
        (voltage_dependent, None),
        (within_reactive_limits, None),
        (with_shared_slack, None),
        (pn.case39, [None, {"gen.in_service": {1: 0.0}}]),
    ],
    ids=["loads that depend on voltage", "reactive limits", "shared slack", "generator out"],
)


def solved_by_newton(net: pandapowerNet, situations: Any) -> GridProblem:
    """Set-points, powers and limits of all kinds on a net that newton alone has slopes of."""
    controls = [
        Setpoints(band_pu=(0.98, 1.06)),
        Control("gen", "p_mw", (0,), "real", 50.0, 100.0),
        Control("load", "q_mvar", (0, 1), "real", 0.0, 20.0),
        Control("load", "p_mw", (2,), "real", 10.0, 20.0),
        Control("ext_grid", "vm_pu", (0,), "real", 0.98, 1.06),
    ]
    limits = {
        "vm_pu": (0.9, 1.1),
        "loading_percent": 100.0,
        "gen_q_mvar": (-100.0, 100.0),
        "ext_grid_p_mw": (0.0, 500.0),
        "ext_grid_q_mvar": (-50.0, 50.0),
    }
    objectives = ["p_loss_mw", "voltage_deviation_pu", "exchange_energy_kwh", "l_index"]
    return GridProblem(net, controls, situations, objectives, limits, engine="newton")


@WHAT_NEWTON_SOLVES
def test_slopes_go_through_what_newton_solves(
    make_net: Callable[[], pandapowerNet], situations: Any, no_differences: None
) -> None:
    problem = solved_by_newton(make_net(), situations)
    check_gradients(problem, problem.xl + 0.41 * (problem.xu - problem.xl))


def test_vectors_out_of_bounds_are_refused() -> None:
    problem = ReactivePowerDispatch("ieee14")
    with pytest.raises(ValueError, match="is not within"):
        problem.gradients(problem.xu + 1.0)


def test_gradients_together_are_those_one_by_one() -> None:
    problem = on_the_zoo(["p_loss_mw", "voltage_deviation_pu"])
    random = np.random.default_rng(4)
    X = problem.joint.relaxed(random.uniform(problem.xl, problem.xu, (11, problem.n_var)))
    together = gradients.Gradients(problem.evaluation)(X)
    for i, x in enumerate(X):
        for own, expected in zip(problem.gradients(x), together, strict=True):
            np.testing.assert_allclose(own, expected[i], rtol=1e-12, atol=1e-12)
