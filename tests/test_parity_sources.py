"""Machines that hold voltages beside plain ``runpp``: shared buses, slack generators, DC lines."""

from __future__ import annotations

import warnings

import numpy as np
import pandapower as pp
import pytest
from nets import NO_LIMITS, feeder, meshed, two_bus
from pandapower.auxiliary import pandapowerNet
from test_all_engines import assert_equal, solve_plainly

from gridproblems import Control, ReactivePowerDispatch, StorageSchedule
from gridproblems.engines import ENGINES, NewtonEngine, ReferenceEngine, SweepEngine
from gridproblems.engines.reference import layout_of
from gridproblems.errors import UnsupportedByEngine
from gridproblems.objectives import voltage_deviation_pu
from gridproblems.problem import GridProblem
from gridproblems.state import Settings

NOTHING = Settings((), np.zeros(0))


def coupled(net: pandapowerNet, bus: int, *, closed: bool = True, z_ohm: float = 0.0) -> int:
    """A new bus behind a coupler."""
    other = int(pp.create_bus(net, vn_kv=net.bus.at[bus, "vn_kv"]))
    pp.create_switch(net, bus, other, et="b", closed=closed, z_ohm=z_ohm)
    return other


# -- one set-point per bus ----------------------------------------------------------------------


@pytest.mark.parametrize("behind_coupler", [False, True])
@pytest.mark.parametrize("table", ["gen", "ext_grid"])
def test_one_of_two_machines_at_a_bus_is_no_control_of_its_own(
    table: str, behind_coupler: bool
) -> None:
    net = meshed()
    bus = int(net.gen.bus[0] if table == "gen" else net.ext_grid.bus[0])
    vm_pu = float(net[table].vm_pu.iloc[0])
    if behind_coupler:
        bus = coupled(net, bus)
    new = int(pp.create_gen(net, bus, p_mw=1.0, vm_pu=vm_pu))
    with pytest.raises(ValueError, match=rf"{table} 0 and gen {new} hold .*only {table} 0 is"):
        GridProblem(net, [Control(table, "vm_pu", (0,), "real", 0.95, 1.05)], limits=NO_LIMITS)
    two = [Control(t, "vm_pu", (e,), "real", 0.95, 1.05) for t, e in ((table, 0), ("gen", new))]
    with pytest.raises(ValueError, match="are two controls"):
        GridProblem(net, two, limits=NO_LIMITS)
    if table == "gen":
        with pytest.raises(ValueError, match=f"gen 0 and gen {new} hold"):
            ReactivePowerDispatch(net, controls={"gen": [0]}, limits={"gen_vm_pu": (0.95, 1.05)})
        both = Control("gen", "vm_pu", (0, new), "real", 0.95, 1.05)
        problem = GridProblem(net, [both], limits=NO_LIMITS, name="both")
        expected = solve_plainly(net, problem.decode([1.03]))
        assert expected is not None
        assert_equal(problem.solve([1.03]), expected)
    net.gen.loc[new, "in_service"] = False
    GridProblem(net, [Control(table, "vm_pu", (0,), "real", 0.95, 1.05)], limits=NO_LIMITS)


def test_a_base_net_with_two_set_points_at_one_bus_names_both() -> None:
    net = meshed()
    pp.create_gen(net, net.gen.bus[1], p_mw=1.0, vm_pu=net.gen.vm_pu[1] + 0.01)
    controls = [Control("gen", "vm_pu", (0,), "real", 0.95, 1.05)]
    with pytest.raises(ValueError, match=r"gen 1 and gen 4 hold .* different set-points, vm_pu 1"):
        GridProblem(net, controls, limits=NO_LIMITS)


@pytest.mark.parametrize("name", ENGINES)
def test_engines_do_not_solve_two_set_points_at_one_bus(name: str) -> None:
    net = feeder()
    pp.create_gen(net, 0, p_mw=0.01, vm_pu=1.02)
    engine = ENGINES[name](net)
    for vm_pu, solved in ((1.02, True), (1.03, False)):
        settings = Settings.from_mapping({("ext_grid", "vm_pu"): {0: vm_pu}})
        assert engine.solve(settings).solved == solved
    both = {("ext_grid", "vm_pu"): {0: 1.03}, ("gen", "vm_pu"): {0: 1.03}}
    assert engine.solve(Settings.from_mapping(both)).solved


@pytest.mark.parametrize("name", ["newton", "reference"])
def test_settings_that_runpp_refuses_are_not_solved(name: str) -> None:
    net = meshed()
    other = coupled(net, int(net.gen.bus[0]), closed=False)
    pp.create_gen(net, other, p_mw=1.0, vm_pu=net.gen.vm_pu[0] + 0.02)
    pp.create_line_from_parameters(net, other, net.gen.bus[1], 1.0, 5.0, 50.0, 0.0, 1.0)
    engine = ENGINES[name](net)
    assert engine.solve(NOTHING).solved
    assert not engine.solve(Settings.from_mapping({("switch", "closed"): {0: 1.0}})).solved
    assert not engine.solve(Settings.from_mapping({("ext_grid", "in_service"): {0: 0.0}})).solved


# -- how machines at one bus share --------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "slack_gen"), [((1.0, 3.0), False), ((1.0, 0.0), True), ((1.0, 1.0), True)]
)
def test_unequal_shares_of_a_slack_bus_are_left_to_runpp(
    weights: tuple[float, float], slack_gen: bool
) -> None:
    net = two_bus()
    net.ext_grid["slack_weight"] = weights[0]
    if slack_gen:
        pp.create_gen(net, 0, p_mw=0.4, vm_pu=1.0, slack=True, slack_weight=weights[1])
    else:
        pp.create_ext_grid(net, 0, vm_pu=1.0, slack_weight=weights[1])
    for engine_class in (NewtonEngine, SweepEngine):
        with pytest.raises(UnsupportedByEngine, match=r"ext_grid 0 .* share the power of a slack"):
            engine_class(net)
    problem = GridProblem(
        net,
        [Control("sgen", "q_mvar", (0,), "real", -1.0, 1.0)],
        limits=NO_LIMITS,
        name="shared",
    )
    assert problem.engine_name == "reference"
    expected = solve_plainly(net, NOTHING)
    assert expected is not None
    assert_equal(problem.base_state, expected)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kind", ["two equal grids", "slack gens without weight", "gen at slack"])
def test_equal_shares_of_a_slack_bus_equal_runpp(name: str, kind: str) -> None:
    net = two_bus()
    if kind == "two equal grids":
        pp.create_ext_grid(net, 0, vm_pu=1.0)
    elif kind == "gen at slack":
        pp.create_gen(net, 0, p_mw=0.3, vm_pu=1.0, min_q_mvar=-1.0, max_q_mvar=2.0)
    else:
        net.ext_grid["in_service"] = False
        net.ext_grid["slack_weight"] = 0.0
        for p_mw in (0.1, 0.4):
            pp.create_gen(net, 0, p_mw=p_mw, vm_pu=1.0, slack=True)
    settings = Settings.from_mapping({("load", "p_mw"): {0: 1.3}})
    expected = solve_plainly(net, settings)
    assert expected is not None
    assert_equal(ENGINES[name](net).solve(settings), expected)


def test_exchange_counts_slack_generators() -> None:
    """A grid fed by a slack generator alone, and one fed by both kinds."""
    for both in (False, True):
        net = feeder()
        net.storage = net.storage.iloc[:0]
        if both:
            far = pp.create_buses(net, 2, vn_kv=20.0)
            pp.create_line(net, *far, 1.0, "NA2XS2Y 1x95 RM/25 12/20 kV")
            pp.create_load(net, far[1], p_mw=0.2)
            pp.create_gen(net, far[0], p_mw=0.0, vm_pu=1.0, slack=True)
        else:
            net.ext_grid["in_service"] = False
            pp.create_gen(net, 0, p_mw=0.0, vm_pu=1.02, slack=True)
        series = {("load", "scaling"): np.array([[0.5], [1.2]]) * np.ones(len(net.load))}
        problem = StorageSchedule(
            net,
            [{"bus": 7, "power_mw": 0.01, "energy_mwh": 0.02}],
            objectives=("exchange_peak_kw", "exchange_energy_kwh"),
            series=series,
        )
        x = np.array([0.005, -0.005])
        feed_in = []
        for t in range(2):
            solved = problem.apply(x, t)
            feed_in.append(solved.res_ext_grid.p_mw.sum() + solved.res_gen.p_mw.sum())
        f = problem.evaluate_many([x])[0]["F"]
        assert min(feed_in) > 0.05
        assert f == pytest.approx([1e3 * max(feed_in), 1e3 * sum(feed_in)], abs=1e-3)


@pytest.mark.parametrize(
    ("closed", "z_ohm", "counts"), [(True, 0.0, False), (False, 0.0, True), (True, 0.1, True)]
)
def test_voltage_deviation_leaves_out_what_a_coupler_joins_to_a_machine(
    closed: bool, z_ohm: float, counts: bool
) -> None:
    net = meshed()
    other = coupled(net, int(net.gen.bus[0]), closed=closed, z_ohm=z_ohm)
    pp.create_load(net, other, p_mw=1.0, in_service=closed)
    assert layout_of(net).is_load_bus[-1] == counts
    state = ReferenceEngine(net).solve(NOTHING)
    held = set(net.gen.bus) | set(net.ext_grid.bus) | (set() if counts else {other})
    vm_pu = solve_plainly(net, NOTHING).res_bus.vm_pu  # type: ignore[union-attr]
    expected = (vm_pu.drop(list(held)) - 1.0).abs().sum()
    assert voltage_deviation_pu(NOTHING, state) == pytest.approx(expected, abs=1e-9)


# -- DC lines -----------------------------------------------------------------------------------


def dc_linked() -> pandapowerNet:
    net = meshed()
    pp.create_dcline(net, 4, 9, 5.0, 1.0, 0.1, vm_from_pu=1.01, vm_to_pu=1.02)
    return net


def test_a_net_with_a_dc_line_is_solved_again_and_again() -> None:
    net = dc_linked()
    engines = NewtonEngine(net), ReferenceEngine(net)
    for p_mw in (5.0, 8.0, 5.0):
        settings = Settings.from_mapping({("dcline", "p_mw"): {0: p_mw}})
        expected = solve_plainly(net, settings)
        assert expected is not None
        for engine in engines:
            assert_equal(engine.solve(settings), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        problem = ReactivePowerDispatch(
            net, controls={"gen": [0]}, limits={"gen_vm_pu": (0.9, 1.1)}
        )
    assert problem.engine_name == "newton"
    assert problem.apply([1.04]).res_gen.vm_pu[0] == pytest.approx(1.04)
    assert not problem.engine.solve(NOTHING).layout.is_load_bus[[4, 9]].any()


def test_an_end_of_a_dc_line_without_supply_is_counted() -> None:
    net = dc_linked()
    alone = pp.create_bus(net, vn_kv=135.0)
    net.dcline.loc[0, "to_bus"] = alone
    assert ReferenceEngine(net).solve(NOTHING).n_unsupplied[0] == 1
    net.dcline.loc[0, "in_service"] = False
    assert ReferenceEngine(net).solve(NOTHING).solved
