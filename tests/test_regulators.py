"""Voltage control on feeders: objectives by value, disturbances, robust and in time, bad input."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from pymoo.optimize import minimize

from algorithms import MVMO, HarmonySearch
from gridproblems.disturbances import LoadChange, LoadMultiplier, Outage, Together
from gridproblems.engines.opendss import OpenDSSEngine
from gridproblems.engines.opendss.context import build, new_context
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.evaluation import FAILED_F
from gridproblems.feeders import Command, Feeder, load_feeder
from gridproblems.grids.feeder import OF_FEEDERS, VoltageFitness
from gridproblems.plotting import plot_campaign
from gridproblems.state import GridState, Layout, Settings
from gridproblems.tasks.regulators import RegulatorControl

LARGE_LOAD = LoadChange("s1a", kw=200.0)
ALL = tuple(OF_FEEDERS)
DAY = [0.5, 0.5, 0.9, 1.3, 1.0, 0.5]
NONE = Settings.from_mapping({})

MAKE: dict[str, Callable[..., RegulatorControl]] = {
    "set-points": lambda **k: RegulatorControl("village", ("voltage_fitness",), **k),
    "everything": lambda **k: RegulatorControl(
        "village",
        ALL,
        variables="taps",
        capacitors=True,
        volt_var=True,
        disturbance=[None, LoadMultiplier(1.4), Outage("pvsystem.solar")],
        limits={"vm_pu": (0.95, 1.05), "loading_percent": 100.0},
        **k,
    ),
    "a day": lambda **k: RegulatorControl(
        "village", ALL, capacitors=True, load_shape=DAY, irradiance_shape=[0, 0.2, 1, 1, 0, 0], **k
    ),
}


@pytest.fixture(scope="module")
def ieee123() -> RegulatorControl:
    return RegulatorControl(disturbance=LARGE_LOAD)


@pytest.fixture(scope="module", params=MAKE)
def problem(request: pytest.FixtureRequest) -> RegulatorControl:
    return MAKE[request.param]()


def vectors(problem: RegulatorControl, n: int) -> np.ndarray:
    return np.random.default_rng(6).uniform(problem.xl, problem.xu, (n, problem.n_var))


def state_of(problem: RegulatorControl, **values: Any) -> GridState:
    """A made-up state: node_vm_pu by node, or any quantity, snapshots as rows."""
    lengths = {name: s.stop - s.start for name, s in problem.engine.layout.slices.items()}
    layout = Layout(lengths)
    n = len(next(iter(values.values())))
    array = np.zeros((n, layout.n_values))
    for name, rows in values.items():
        array[:, layout.slices[name]] = rows
    return GridState(layout, array, np.ones(n, dtype=bool), np.zeros(n, dtype=np.int64))


def objective_of(problem: RegulatorControl, name: str, state: GridState) -> float:
    """An objective of a made-up state."""
    situations = problem.situations
    return float(problem.grid.objectives_in(situations)[name](NONE, state, situations))


# -- objectives --------------------------------------------------------------------------------


def test_fitness_by_hand() -> None:
    """0.94 is 0.01 below, 1.06 above, 1.02 inside: 1000 (1e-4 + 1e-4) + 4e-4 + 10 variance."""
    vm_pu = np.array([0.94, 1.06, 1.02])
    variance = ((vm_pu - 3.02 / 3) ** 2).mean()
    assert VoltageFitness()(vm_pu) == pytest.approx(0.2 + 4e-4 + 10.0 * variance)
    assert VoltageFitness()(np.array([1.0, 1.0])) == 0.0
    assert VoltageFitness()(np.array([0.95, 1.05])) == pytest.approx(0.005 + 10 * 0.0025)
    own = VoltageFitness(low_pu=0.9, high_pu=1.1, penalty=3.0, variance_weight=0.0)
    assert own(np.array([0.8, 0.95])) == pytest.approx(3.0 * 0.01 + 0.0025)
    with_dead = np.array([[0.94, np.nan, 1.06], [1.0, 1.0, np.nan]])
    np.testing.assert_allclose(VoltageFitness()(with_dead), [0.2 + 10 * 0.0036, 0.0])


def test_published_values(ieee123: RegulatorControl) -> None:
    """With OpenDSS's own tolerance as published, 0.09196; with ours a little below."""
    assert ieee123.fitness(ieee123.undisturbed_state["bus_mean_vm_pu"][0]) == pytest.approx(
        0.091955, abs=1e-6
    )
    loose = OpenDSSEngine(ieee123.feeder, tolerance=1e-4).solve(NONE)
    assert ieee123.fitness(loose["bus_mean_vm_pu"][0]) == pytest.approx(0.09196, abs=5e-6)
    assert ieee123.base_values()[0] == pytest.approx(0.08321, abs=5e-6)
    np.testing.assert_array_equal(ieee123.present_taps, [6, 0, 2, 0, 10, 4, 6])
    stressed = RegulatorControl(disturbance=LoadMultiplier(2.0))
    assert stressed.base_values()[0] == pytest.approx(5.29, abs=5e-3)


def test_published_disturbance_is_no_stress(ieee123: RegulatorControl) -> None:
    """None of the 91 loads at 200 kW brings a node under 0.95 p.u."""
    campaign = ieee123.campaign([LoadChange(name, kw=200.0) for name in ieee123.circuit.loads])
    assert len(campaign.table) == 91
    assert campaign.table["converged"].all()
    assert campaign.table["v_min_pu"].min() > 0.95
    assert campaign.table["disturbance"][0] == "s1a 200 kW"
    assert campaign.table["voltage_fitness"][0] == pytest.approx(ieee123.base_values()[0])


def test_best_known_taps(ieee123: RegulatorControl) -> None:
    problem = RegulatorControl(variables="taps", disturbance=LARGE_LOAD)
    assert problem.best_known is not None
    x = problem.encode(problem.best_known.settings)
    assert problem.evaluate(x, return_values_of=["F"])[0] == pytest.approx(
        problem.best_known.value, abs=1e-9
    )
    assert problem.best_known.value <= 0.013367
    assert ieee123.best_known is None
    assert RegulatorControl(variables="taps").best_known is None


def test_bus_means_hide_unbalance() -> None:
    """Means of 1 with phases at 0.9 and 1.1: perfect for the published fitness, not per node."""
    problem = MAKE["set-points"]()
    nodes = np.array([[0.9 if n.endswith("1") else 1.1 for n in problem.circuit.nodes]])
    state = state_of(problem, node_vm_pu=nodes, bus_mean_vm_pu=np.ones((1, 7)))
    assert objective_of(problem, "voltage_fitness", state) == 0.0
    variance = nodes.var()
    expected = 1000.0 * 0.0025 * nodes.size + 10 * variance
    assert objective_of(problem, "node_voltage_fitness", state) == pytest.approx(expected)
    deviation = objective_of(problem, "node_voltage_deviation_pu", state)
    assert deviation == pytest.approx(0.1 * nodes.size)
    assert objective_of(problem, "voltage_deviation_pu", state) == 0.0


UNBALANCED = """
Clear
New Circuit.mine basekv=12.47 bus1=source pu=1.0 MVAsc3=150 MVAsc1=120
New Transformer.reg phases=3 windings=2 buses=[source low] kVs=[12.47 12.47] kVAs=[9000 9000] xhl=1
New RegControl.reg transformer=reg winding=2 vreg=120 band=2 ptratio=60
New LineCode.lane nphases=3 units=km r1=0.4 x1=0.5 r0=0.8 x0=1.4
New Line.l bus1=low bus2=end linecode=lane length=6 units=km
New Load.a bus1=end.1 phases=1 kv=7.2 kW=900 kvar=300
New Load.b bus1=end.2 phases=1 kv=7.2 kW=50 kvar=-400
Set VoltageBases=[12.47]
CalcVoltageBases
"""


def test_a_feeder_of_the_user_is_judged_per_phase_with_a_band(tmp_path: Path) -> None:
    """Phases beyond 0.95 and 1.05, the mean of each bus inside: only per phase is that seen."""
    (tmp_path / "mine.dss").write_text(UNBALANCED)
    mine = RegulatorControl(tmp_path / "mine.dss", variables="taps")
    assert mine.objective_names == ("node_voltage_fitness",)
    assert set(mine.constraint_names[1:]) == {
        f"node {node} vm_pu {side}" for node in mine.circuit.nodes for side in ("min", "max")
    }
    means, nodes = (mine.base_state[name][0] for name in ("bus_mean_vm_pu", "node_vm_pu"))
    assert ((means >= 0.95) & (means <= 1.05)).all()
    outside = int(((nodes < 0.95) | (nodes > 1.05)).sum())
    assert outside > 0
    assert mine.measured() == {
        "v_min_pu": nodes.min(),
        "v_max_pu": nodes.max(),
        "nodes_outside": outside,
        "nodes": 9,
    }
    x = mine.snap(mine.base_x)
    assert (mine.evaluate(x)[1] > 0.0).sum() == outside
    assert mine.measured(x)["nodes_outside"] == outside
    texts = [t.get_text() for t in mine.figures(x)["histogram"].axes[0].get_legend().get_texts()]
    assert all(f"{outside} of 9 outside" in text for text in texts)


def test_limits_of_a_feeder_of_the_user_are_replaced_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.dss"
    path.write_text(UNBALANCED)
    names = RegulatorControl(path, limits={"loading_percent": 90.0}).constraint_names
    assert any("vm_pu" in name for name in names)
    assert any("loading_percent" in name for name in names)
    wide = RegulatorControl(path, limits={"vm_pu": (0.5, 1.5)})
    assert len(wide.constraint_names) == 19
    assert (wide.evaluate(wide.base_x)[1] < 0.0).all()
    assert RegulatorControl(path, limits={"vm_pu": None}).constraint_names == ("power_flow",)
    own = RegulatorControl(path, fitness=VoltageFitness(low_pu=0.5, high_pu=1.5))
    assert (own.evaluate(own.base_x)[1] < 0.0).all()


def test_packaged_feeders_keep_the_published_fitness() -> None:
    for feeder in ("ieee123", load_feeder("ieee123"), "village"):
        problem = RegulatorControl(feeder)
        assert problem.objective_names == ("voltage_fitness",)
        assert problem.constraint_names == ("power_flow",)
    assert problem.measured()["nodes"] == len(problem.circuit.nodes)


def test_measures_of_a_failed_power_flow_are_none_but_the_count() -> None:
    problem = RegulatorControl("village", disturbance=Outage("line.l2"))
    measured = problem.measured()
    assert np.isnan([measured[name] for name in ("v_min_pu", "v_max_pu", "nodes_outside")]).all()
    assert measured["nodes"] == len(problem.circuit.nodes)


def test_voltage_unbalance_by_hand() -> None:
    """One phase at 0.9, the others at 1, 120 degrees apart: V2/V1 = (0.1 / 3) / (2.9 / 3)."""
    problem = MAKE["set-points"]()
    name = "voltage_unbalance_percent"
    phase = np.array([int(node[-1]) for node in problem.circuit.nodes])
    vm_pu = np.ones((1, len(phase)))
    angles = np.array([{1: 30.0, 2: -90.0, 3: 150.0}[p] for p in phase])[np.newaxis]
    balanced = state_of(problem, node_vm_pu=vm_pu, node_va_degree=angles)
    assert objective_of(problem, name, balanced) == pytest.approx(0.0, abs=1e-12)
    vm_pu[0, problem.circuit.nodes.index("hill.1")] = 0.9
    state = state_of(problem, node_vm_pu=vm_pu, node_va_degree=angles)
    assert objective_of(problem, name, state) == pytest.approx(100 * 0.1 / 2.9)
    vm_pu[0, :] = 1.0
    vm_pu[0, problem.circuit.nodes.index("barn.2")] = 0.5  # one phase alone has no unbalance
    alone = state_of(problem, node_vm_pu=vm_pu, node_va_degree=angles)
    assert objective_of(problem, name, alone) == pytest.approx(0.0, abs=1e-12)


def test_tap_movements_and_operations_by_hand() -> None:
    static = MAKE["set-points"]()
    taps = static.present_taps + np.array([[1.0, -2.0, 0.0]])
    assert objective_of(static, "tap_movements", state_of(static, tap=taps)) == 3.0
    assert objective_of(static, "tap_operations", state_of(static, tap=taps)) == 0.0
    day = MAKE["a day"]()
    steps = [[1.0, 0, 0], [1, 2, 0], [1, 2, 0], [-1, 2, 1], [-1, 2, 1], [-1, 2, 1]]
    rows = day.present_taps + np.array(steps)
    assert objective_of(day, "tap_movements", state_of(day, tap=rows)) == 1.0
    assert objective_of(day, "tap_operations", state_of(day, tap=rows)) == 5.0


def test_losses_are_opendss_s(ieee123: RegulatorControl) -> None:
    context = ieee123.apply(ieee123.base_x)
    loss_kw = RegulatorControl("ieee123", ("p_loss_kw",), disturbance=LARGE_LOAD).base_values()[0]
    assert loss_kw == pytest.approx(context.Circuit.Losses()[0] / 1e3, rel=1e-12)


# -- what every problem promises ----------------------------------------------------------------


def test_order_copies_pickles_and_threads_change_nothing(problem: RegulatorControl) -> None:
    x = vectors(problem, 12)
    f, g = problem.evaluate(x)
    threads = copy.deepcopy(problem)
    threads.elementwise_runner = type(problem.elementwise_runner)(2)
    for other in (
        [value[::-1] for value in problem.evaluate(x[::-1])],
        cloudpickle.loads(cloudpickle.dumps(problem)).evaluate(x),
        threads.evaluate(x),
    ):
        np.testing.assert_array_equal(f, other[0])
        np.testing.assert_array_equal(g, other[1])
    np.testing.assert_array_equal(problem.evaluate(x[5])[0], f[5])
    assert np.isfinite(f).all()


def test_apply_is_what_was_evaluated(problem: RegulatorControl) -> None:
    x = problem.snap(vectors(problem, 1)[0])
    state = problem.solve(x)
    for snapshot in range(problem.situations.n):
        context = problem.apply(x, snapshot)
        place = {
            n.lower(): v
            for n, v in zip(
                context.Circuit.AllNodeNames(), context.Circuit.AllBusMagPu(), strict=True
            )
        }
        expected = [place[node] for node in problem.circuit.nodes]
        np.testing.assert_array_equal(state["node_vm_pu"][snapshot], expected)


def test_script_puts_the_settings_into_a_model_of_the_user() -> None:
    problem = RegulatorControl("village", capacitors=True, volt_var=True)
    x = problem.snap(vectors(problem, 1)[0])
    feeder = load_feeder("village")
    lines = [Command(line) for line in problem.script(x).splitlines()]
    own = OpenDSSEngine(Feeder("own", "", (*feeder.commands, *lines))).solve(NONE)
    np.testing.assert_array_equal(own.values, problem.solve(x).values)
    taps = RegulatorControl("village", variables="taps")
    x = np.array([5.0, -3.0, 2.0])
    context = new_context()
    build(context, feeder)
    for line in taps.script(x).splitlines():
        context.Text.Command(line)
    context.Text.Command("Set MaxControlIter=100")
    context.Solution.Solve()
    measured = [
        (context.RegControls.Idx(i + 1), context.RegControls.TapNumber())[1] for i in range(3)
    ]
    assert measured == [5, -3, 2]


def test_codec_round_trip_and_description(problem: RegulatorControl) -> None:
    for x in vectors(problem, 10):
        on_grid = problem.snap(x)
        np.testing.assert_array_equal(problem.encode(problem.decode(x)), on_grid)
    table = problem.describe(on_grid)
    assert list(table) == ["control", "unit", "base", "new", "lower", "upper"]
    assert len(table) >= problem.n_var
    assert (problem.base_x >= problem.xl).all()
    assert (problem.base_x <= problem.xu).all()


def test_write_and_figures(problem: RegulatorControl, tmp_path: Path) -> None:
    problem.write(problem.base_x, tmp_path)
    assert (tmp_path / "settings.dss").read_text() == problem.script(problem.base_x)
    assert (
        set(problem.figures(problem.base_x))
        == set(problem.figures(None))
        == {
            "histogram",
            "profile",
        }
    )


@pytest.mark.parametrize("algorithm", [HarmonySearch, MVMO])
def test_algorithms_improve_it(algorithm: Callable[[], Any]) -> None:
    problem = RegulatorControl("village", variables="taps", disturbance=LoadMultiplier(1.4))
    result = minimize(problem, algorithm(), ("n_eval", 150), seed=1)
    assert result.F[0] < 0.9 * problem.base_values()[0]


# -- variables ----------------------------------------------------------------------------------


def test_variables_and_bounds() -> None:
    problem = RegulatorControl("ieee123", capacitors=["C83"], regulators=["creg1a", "creg4a"])
    assert list(problem.vars) == [
        "regcontrol.vreg_v[creg1a]",
        "regcontrol.vreg_v[creg4a]",
        "capacitor.steps[c83]",
    ]
    np.testing.assert_array_equal(problem.xl, [114.0, 118.0, 0.0])
    np.testing.assert_array_equal(problem.xu, [126.0, 130.0, 1.0])
    narrow = RegulatorControl("ieee123", vreg_v=(115.0, 125.0), vreg_span_v=8.0)
    np.testing.assert_array_equal(narrow.xl[[0, 4]], [115.0, 116.0])
    np.testing.assert_array_equal(narrow.xu, 125.0)
    taps = RegulatorControl("village", variables="taps", capacitors=True)
    np.testing.assert_array_equal(taps.xl, [-16, -16, -16, 0])
    np.testing.assert_array_equal(taps.xu, [16, 16, 16, 2])
    np.testing.assert_array_equal(taps.base_x, [*taps.present_taps, 2])
    alone = RegulatorControl("village", regulators=[], capacitors=True)
    assert list(alone.vars) == ["capacitor.steps[farm]"]


def test_regulators_that_are_no_variables_still_act() -> None:
    """creg1a fixed at 0 steps; the others make up for it."""
    problem = RegulatorControl("ieee123", variables="taps", regulators=["creg1a"])
    state = problem.solve([0.0])
    assert state["tap"][0, 0] == 0
    assert (state["tap"][0, 4:] > problem.present_taps[4:]).all()


def test_volt_var_points() -> None:
    problem = RegulatorControl("village", volt_var=True)
    names = [name for name in problem.vars if name.startswith("xycurve")]
    assert names == [f"xycurve.y_pu[voltvar[{i}]]" for i in (1, 3, 4, 5)]
    np.testing.assert_array_equal(problem.xl[3:], [0, 0, -1, -1])
    np.testing.assert_array_equal(problem.xu[3:], [1, 1, 0, 0])
    x = problem.base_x
    x[3:] = [1.0, 0.5, 0.0, 0.0]
    low = problem.solve(x)
    x[3:] = 0.0
    off = problem.solve(x)
    node = problem.circuit.nodes.index("solar.3")
    assert low["node_vm_pu"][0, node] > off["node_vm_pu"][0, node]


def test_capacitor_raises_voltage() -> None:
    problem = RegulatorControl("village", variables="taps", capacitors=True)
    on, half, off = (problem.solve([0, 0, 0, n])["bus_mean_vm_pu"][0] for n in (2, 1, 0))
    farm = problem.circuit.buses.index("farm")
    assert on[farm] > half[farm] > off[farm]


# -- disturbances -------------------------------------------------------------------------------


def test_load_changes_by_value(ieee123: RegulatorControl) -> None:
    circuit = ieee123.circuit
    assert LARGE_LOAD.settings(circuit) == {
        ("load", "kw"): {"s1a": 200.0},
        ("load", "kvar"): {"s1a": 100.0},
    }
    kept = LoadChange("S1a", factor=2.5, keep_power_factor=False)
    assert kept.settings(circuit) == {
        ("load", "kw"): {"s1a": 100.0},
        ("load", "kvar"): {"s1a": 20.0},
    }
    assert (LARGE_LOAD.name, kept.name) == ("s1a 200 kW", "S1a x 2.5")
    both = Together([LARGE_LOAD, LoadMultiplier(1.5), Outage("Capacitor.C83")])
    assert both.name == "s1a 200 kW, loads x 1.5, Capacitor.C83 out"
    assert both.settings(circuit) == {
        **LARGE_LOAD.settings(circuit),
        ("solution", "load_multiplier"): {"all": 1.5},
        ("capacitor", "closed"): {"c83": 0.0},
    }


def test_short_forms() -> None:
    short = [None, 1.5, "line.l32", {"load": "s1a", "kw": 200}, LoadMultiplier(2.0)]
    problem = RegulatorControl(disturbance=short)
    assert problem.disturbances == (
        None,
        LoadMultiplier(1.5),
        Outage("line.l32"),
        LoadChange("s1a", kw=200),
        LoadMultiplier(2.0),
    )
    assert RegulatorControl(disturbance="capacitor.c83").disturbances == (Outage("capacitor.c83"),)


def test_generator_outage() -> None:
    feeder = load_feeder("village")
    more = Command("New Generator.g bus1=hill kv=12.47 kW=300 pf=1")
    with_generator = Feeder("more", "", (*feeder.commands, more))
    lost = RegulatorControl(with_generator, ("p_loss_kw",), disturbance=Outage("generator.g"))
    without = RegulatorControl("village", ("p_loss_kw",))
    assert lost.base_values()[0] == pytest.approx(without.base_values()[0], rel=1e-4)
    assert lost.base_state["source_p_kw"] > lost.undisturbed_state["source_p_kw"] + 250.0


def test_the_base_state_is_the_present_feeder_in_all_situations() -> None:
    """With taps as variables that stay, the vector of the present taps gives it exactly."""
    parts = [None, LoadMultiplier(1.4), Outage("capacitor.farm")]
    problem = RegulatorControl("village", ("voltage_fitness",), disturbance=parts)
    assert problem.base_state.values.shape[0] == len(parts)
    assert problem.disturbed_state is problem.base_state
    undisturbed = problem.undisturbed_state.values[0]
    np.testing.assert_array_equal(problem.base_state.values[0], undisturbed)
    np.testing.assert_array_equal(problem.solve(problem.base_x).values, problem.base_state.values)
    alone = [RegulatorControl("village", disturbance=part).base_values()[0] for part in parts]
    assert problem.base_values()[0] == max(alone) > alone[0]


def test_robust_problem_is_worst_or_mean_of_its_parts() -> None:
    parts = [None, LoadMultiplier(1.4), Outage("capacitor.farm")]
    objectives = ("voltage_fitness", "p_loss_kw")
    single = [RegulatorControl("village", objectives, disturbance=part) for part in parts]
    x = vectors(single[0], 4)
    each = np.array([p.evaluate(x, return_values_of=["F"]) for p in single])
    for combine, reduce in (("worst", np.max), ("mean", np.mean)):
        robust = RegulatorControl("village", objectives, disturbance=parts, combine=combine)
        f = robust.evaluate(x, return_values_of=["F"])
        np.testing.assert_allclose(f, reduce(each, axis=0), rtol=1e-12)
        assert robust.counts.power_flows == 12


def test_a_disturbance_that_cuts_loads_off_fails_every_candidate() -> None:
    problem = RegulatorControl("village", disturbance=[None, Outage("line.l3")])
    assert np.isnan(problem.base_values()).all()
    assert (problem.evaluate(problem.base_x)[0] == FAILED_F).all()
    table = problem.campaign([Outage("line.l3"), None]).table
    assert table["n_unsupplied"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="snapshot: expected 0 to 1, got 2"):
        problem.apply(problem.base_x, 2)


def test_a_feeder_that_leaves_loads_without_supply_is_refused() -> None:
    """Every candidate would fail; the names say which loads."""
    feeder = load_feeder("village")
    broken = Feeder("mine", "", (*feeder.commands, Command("Open Line.l3 2", "mine.dss:1")))
    message = "mine: loads without supply in the feeder as it is: hill; every candidate would fail"
    with pytest.raises(ValueError, match=message):
        RegulatorControl(broken)


def test_campaign_with_settings() -> None:
    problem = RegulatorControl("village", variables="taps")
    x = np.array([4.0, 0.0, 1.0])
    disturbances = [None, LoadMultiplier(1.2)]
    campaign = problem.campaign(disturbances, x)
    for i, disturbance in enumerate(disturbances):
        alone = RegulatorControl("village", variables="taps", disturbance=disturbance)
        state = alone.solve(x)
        row = campaign.table.iloc[i]
        assert row["voltage_fitness"] == alone.evaluate(x)[0][0]
        assert row["v_min_pu"] == state["node_vm_pu"].min()
        np.testing.assert_array_equal(campaign.bus_vm_pu.iloc[i], state["bus_mean_vm_pu"][0])
    assert list(campaign.bus_vm_pu) == list(problem.circuit.buses)


# -- in time ------------------------------------------------------------------------------------


def test_a_day_has_memory_within_a_candidate_only() -> None:
    problem = MAKE["a day"]()
    x = vectors(problem, 6)
    state = problem.engine.solve(problem.joint.decode(problem.snap(x)))
    taps = state["tap"]
    assert taps.shape == (6, 6, 3)
    assert (taps[:, 0] != taps[:, -1]).any()  # the same load at first and last
    np.testing.assert_array_equal(problem.solve(x[3])["tap"], taps[3])
    operations = problem.evaluate(x)[0][:, problem.objective_names.index("tap_operations")]
    np.testing.assert_array_equal(operations, np.abs(np.diff(taps, axis=1)).sum(axis=(1, 2)))


def test_shapes_by_name_and_with_a_disturbance() -> None:
    named = RegulatorControl("village", load_shape="default", disturbance=LoadMultiplier(2.0))
    assert named.situations.n == 24
    multipliers = named.decode(named.base_x).get("solution", "load_multiplier")["all"]
    np.testing.assert_allclose(multipliers, 2.0 * named.circuit.load_shapes["default"])


# -- limits -------------------------------------------------------------------------------------


def test_limits_are_entries_of_g() -> None:
    limits = {"vm_pu": (0.97, 1.03), "loading_percent": 50.0}
    problem = RegulatorControl("village", variables="taps", limits=limits)
    x = problem.base_x
    g = dict(zip(problem.constraint_names, problem.evaluate(x)[1], strict=True))
    state = problem.solve(x)
    vm_pu = dict(zip(problem.circuit.nodes, state["node_vm_pu"][0], strict=True))
    assert len(g) == 1 + 2 * 19 + 4 + 4
    assert g["power_flow"] == -1.0
    assert g["node mill.1 vm_pu min"] == pytest.approx((0.97 - vm_pu["mill.1"]) / 0.06)
    assert g["node mill.1 vm_pu min"] > 0.0
    loading = state["line_loading_percent"][0, problem.circuit.lines.index("l1")]
    assert g["line l1 loading_percent"] == pytest.approx(loading / 50.0 - 1.0)


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feeder": "nowhere.dss"}, r"the file .*nowhere\.dss does not exist"),
        ({"variables": "tap"}, "variables: unknown 'tap' .*; known: vreg, taps"),
        ({"objectives": ("loss",)}, "unknown objective 'loss'.*; known: voltage_fitness, node"),
        ({"regulators": ["creg9"]}, "regulators: the feeder has no 'creg9'; known: creg1a, creg2a"),
        ({"regulators": "creg1a"}, "regulators: expected a list of names, got the text 'creg1a'"),
        ({"capacitors": ["c1"]}, "capacitors: the feeder has no 'c1'; known: c83"),
        ({"regulators": []}, "regulators: nothing to optimise; name at least one, or add capac"),
        ({"regulators": [], "capacitors": []}, "regulators: nothing to optimise"),
        ({"volt_var": True}, "volt_var: the feeder has no InvControl"),
        ({"disturbance": LoadChange("s999", kw=1.0)}, "the feeder has no load 's999'; known: s1a"),
        ({"disturbance": Outage("line.l999")}, "the feeder has no line 'l999'; known: l115"),
        ({"disturbance": Outage("tree.l1")}, "'tree': no such kind of element"),
        ({"disturbance": {"lod": "s1a"}}, "disturbance: expected an object with a method settings"),
        ({"disturbance": []}, "disturbance: expected at least one"),
        ({"combine": "best"}, "combine: unknown 'best'; known: worst, mean"),
        ({"limits": {"va_degree": 3}}, "limits: unknown 'va_degree'.*; known: vm_pu, loading"),
        (
            {"limits": {"vm_pu": (1.1, 0.9)}},
            r"vm_pu: expected a lower and an upper .*got \(1.1",
        ),
        ({"limits": {"loading_percent": -1.0}}, "loading_percent: expected a positive number"),
        (
            {"vreg_v": (110.0, 1200.0), "vreg_span_v": 1080.0},
            r"regulator creg1a: set-points from 110 to 1200 V make no sense; .*nominal .*120\.1 V",
        ),
        (
            {"vreg_v": (130.0, 110.0)},
            "regulator creg1a: set-points from 130 to 110 V make no sense",
        ),
        ({"load_shape": "nope"}, "load_shape: the feeder has no load shape 'nope'; known: default"),
        ({"load_shape": [1.0, np.nan]}, "load_shape: expected a list of finite numbers >= 0"),
        (
            {"load_shape": [1.0, 1.0], "irradiance_shape": [1.0]},
            "expected 2 values as in load_shape",
        ),
        ({"irradiance_shape": [1.0]}, "irradiance_shape: the feeder has no PV systems"),
        (
            {"load_shape": [1.0], "disturbance": [None, LARGE_LOAD]},
            "disturbance: a list of them cannot go with shapes",
        ),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegulatorControl(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoadChange("a"), "load a: expected a finite kw or factor, one of the two"),
        (lambda: LoadChange("a", kw=1.0, factor=2.0), "one of the two, got kw=1.0, factor=2.0"),
        (lambda: LoadChange("a", kw=np.inf), "expected a finite kw"),
        (lambda: LoadMultiplier(-1.0), "load multiplier: expected a number >= 0, got -1.0"),
    ],
)
def test_bad_disturbances(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_feeder_without_regulators(tmp_path: Path) -> None:
    path = tmp_path / "master.dss"
    path.write_text(
        "New Circuit.a basekv=12.47 bus1=s\nNew Line.l bus1=s bus2=e\n"
        "New Load.e bus1=e kv=12.47 kW=100\nSet VoltageBases=[12.47]\nCalcVoltageBases\n"
    )
    with pytest.raises(ValueError, match=r"the feeder has no regulators \(RegControl\)"):
        RegulatorControl(path)


def test_a_set_point_of_the_file_that_makes_no_sense() -> None:
    feeder = load_feeder("village")
    wrong = Feeder("w", "", (*feeder.commands, Command("RegControl.regb.vreg=1200")))
    with pytest.raises(
        ValueError, match=r"regulator regb: set-points from .* its present set-point 1200"
    ):
        RegulatorControl(wrong)


def test_a_feeder_that_does_not_converge() -> None:
    feeder = load_feeder("village")
    heavy = Command("BatchEdit Load..* model=1 vminpu=0.01 vlowpu=0.01 kW=9000")
    with pytest.raises(PowerFlowNotConverged, match="undisturbed feeder does not converge"):
        RegulatorControl(Feeder("h", "", (*feeder.commands, heavy)))


def test_vectors_out_of_bounds(ieee123: RegulatorControl) -> None:
    x = ieee123.base_x
    x[2] = 1200.0
    for method in (ieee123.apply, ieee123.script, ieee123.describe, ieee123.solve):
        with pytest.raises(ValueError, match=r"x\[2\] \(regcontrol\.vreg_v\[creg3a\]\): 1200"):
            method(x)


# -- figures ------------------------------------------------------------------------------------


def test_histogram_counts_phases(ieee123: RegulatorControl) -> None:
    figure = ieee123.figures(ieee123.base_x)["histogram"]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [text.split(":")[0] for text in texts] == ["baseline", "disturbed", "optimised"]
    assert re.search(r"0\.979 to 1\.050 p\.u\., 0 of 278 outside", texts[0])
    heights = [patch.get_xy()[:, 1].max() for patch in figure.axes[0].patches]
    assert max(heights) > 10


def test_profile_holds_voltages_over_distance(ieee123: RegulatorControl) -> None:
    figure = ieee123.figures(None)["profile"]
    assert [axes.get_title("left") for axes in figure.axes] == ["baseline", "disturbed"]
    first = figure.axes[0].get_lines()[0]
    of_phase = [i for i, node in enumerate(ieee123.circuit.nodes) if node.endswith(".1")]
    np.testing.assert_array_equal(
        first.get_ydata(), ieee123.undisturbed_state["node_vm_pu"][0, of_phase]
    )
    assert max(first.get_xdata()) == pytest.approx(1.90, abs=0.01)


def test_heat_map_holds_the_campaign() -> None:
    problem = RegulatorControl("village")
    campaign = problem.campaign([None, LoadMultiplier(1.3), Outage("line.l4")])
    figure = plot_campaign(campaign, title="village")
    (image,) = figure.axes[0].get_images()
    np.testing.assert_array_equal(
        np.ma.filled(image.get_array(), np.nan), campaign.bus_vm_pu.to_numpy()
    )
    assert "worst for the voltages: loads x 1.3" in figure.axes[0].get_title("left")
