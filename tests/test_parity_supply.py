"""Supply and switching beside plain ``runpp``: what counts as lost, and what an open end leaves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from nets import NO_LIMITS, feeder, tap_zoo
from pandapower.auxiliary import pandapowerNet
from test_all_engines import assert_equal, n_dead_consumers, solve_plainly

from gridproblems import PowerFlowNotConverged, ReactivePowerDispatch
from gridproblems.controls import Control
from gridproblems.engines import ENGINES
from gridproblems.problem import GridProblem
from gridproblems.situations import Hours
from gridproblems.state import Settings

NOTHING = Settings((), np.zeros(0))


def ring(last_bus: Callable[[pandapowerNet, int], object]) -> pandapowerNet:
    """A ring of three buses of which one line is open; what is at the last bus is the caller's."""
    net = pp.create_empty_network(sn_mva=1.0, name="ring")
    buses = pp.create_buses(net, 3, vn_kv=20.0)
    pp.create_ext_grid(net, 0)
    for ends in ((0, 1), (1, 2), (0, 2)):
        pp.create_line(net, *(buses[e] for e in ends), 5.0, "NA2XS2Y 1x95 RM/25 12/20 kV")
    net.line.loc[2, "in_service"] = False
    pp.create_load(net, 1, p_mw=0.5, q_mvar=0.1)
    last_bus(net, 2)
    return net


CONSUMERS: dict[str, Callable[[pandapowerNet, int], object]] = {
    "load": lambda net, bus: pp.create_load(net, bus, p_mw=1.0),
    "asymmetric_load": lambda net, bus: pp.create_asymmetric_load(net, bus, p_a_mw=1.0),
    "motor": lambda net, bus: pp.create_motor(net, bus, pn_mech_mw=1.0, cos_phi=0.9),
    "ward": lambda net, bus: pp.create_ward(net, bus, 1.0, 0.1, 0.0, 0.0),
    "xward": lambda net, bus: pp.create_xward(net, bus, 1.0, 0.1, 0.0, 0.0, 1.0, 4.0, 1.0),
    "storage": lambda net, bus: pp.create_storage(net, bus, p_mw=1.0, max_e_mwh=2.0),
}
GENERATORS: dict[str, Callable[[pandapowerNet, int], object]] = {
    "sgen": lambda net, bus: pp.create_sgen(net, bus, p_mw=1.0),
    "asymmetric_sgen": lambda net, bus: pp.create_asymmetric_sgen(net, bus, p_a_mw=1.0),
    "gen": lambda net, bus: pp.create_gen(net, bus, p_mw=1.0),
    "shunt": lambda net, bus: pp.create_shunt(net, bus, q_mvar=-0.1),
}
ISLANDED = {("line", "in_service"): {1: 0.0}}


def engines_for(net: pandapowerNet, table: str) -> list[str]:
    """Engines that support what stands at the ring's last bus."""
    return [n for n in ENGINES if not (n == "sweep" and table in ("xward", "gen"))]


@pytest.mark.parametrize("table", [*CONSUMERS, *GENERATORS])
def test_consumers_that_lose_supply_are_counted_in_every_table(table: str) -> None:
    net = ring({**CONSUMERS, **GENERATORS}[table])
    settings = Settings.from_mapping(ISLANDED)
    expected = solve_plainly(net, settings)
    assert expected is not None
    assert np.isnan(expected.res_bus.vm_pu[2])
    for name in engines_for(net, table):
        engine = ENGINES[name](net)
        state = engine.solve(settings)
        assert state.converged[0], name
        assert state.n_unsupplied[0] == (table in CONSUMERS), name
        assert bool(state.solved) == (table not in CONSUMERS), name
        assert_equal(state, expected)
        net[table]["in_service"] = False  # what is out of service need not be served
        assert ENGINES[name](net).solve(settings).solved, name
        net[table]["in_service"] = True


@pytest.mark.parametrize("table", CONSUMERS)
def test_intact_ring_wins_over_the_islanded_one(table: str) -> None:
    net = ring(CONSUMERS[table])
    lines = [Control("line", "in_service", (line,), "binary", 0.0, 1.0) for line in (1, 2)]
    problem = GridProblem(net, lines, limits=NO_LIMITS, name="ring")
    f, g = problem.evaluation(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert f[0, 0] < f[1, 0]
    assert g[0].max() <= 0 < g[1, 0]


@pytest.mark.parametrize("name", ENGINES)
def test_a_load_at_a_bus_out_of_service_is_without_supply(name: str) -> None:
    net = feeder()
    net.bus.loc[5, "in_service"] = False
    expected = solve_plainly(net, NOTHING)
    assert expected is not None
    state = ENGINES[name](net).solve(NOTHING)
    assert state.n_unsupplied[0] == n_dead_consumers(expected) == 1
    assert_equal(state, expected)
    net.load.loc[net.load.bus == 5, "in_service"] = False
    assert ENGINES[name](net).solve(NOTHING).solved


def test_a_base_case_without_supply_says_what_loses_it() -> None:
    net = ring(CONSUMERS["motor"])
    controls = [Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)]
    status = Hours({"line.in_service": pd.DataFrame({1: [True, False]})})
    with pytest.raises(PowerFlowNotConverged, match="leaves motor 0 without supply in snapshot 1"):
        GridProblem(net, controls, status, limits=NO_LIMITS, name="ring")
    net.line.loc[1, "in_service"] = False
    with pytest.raises(ValueError, match=r"disconnected from every .* but motor 0"):
        GridProblem(net, controls, limits=NO_LIMITS, name="ring")


def doubled_switches(net: pandapowerNet) -> pandapowerNet:
    """Two closed switches at either end of every line and transformer."""
    for kind, table, ends in (("l", "line", ("from_bus", "to_bus")), ("t", "trafo", _SIDES)):
        for element in net[table].index:
            for end in (*ends, *ends):
                pp.create_switch(net, net[table].at[element, end], element, et=kind)
    return net


_SIDES = ("hv_bus", "lv_bus")


@pytest.mark.parametrize("name", ENGINES)
def test_any_open_switches_at_the_ends_of_one_branch(name: str) -> None:
    """Same end twice, both ends, beside a status out of service; charging and magnetising stay."""
    net = doubled_switches(feeder())
    engine = ENGINES[name](net)
    rng = np.random.default_rng(5)
    mine = {("l", 7): "line 7", ("l", 3): "line 3", ("t", 0): "trafo 0"}
    for kind, element in mine:
        switches = net.switch.index[(net.switch.et == kind) & (net.switch.element == element)]
        table = "line" if kind == "l" else "trafo"
        for _ in range(4 if name == "reference" else 12):
            closed = dict(
                zip(switches, (rng.random(len(switches)) < 0.6).astype(float), strict=True)
            )
            status = {element: float(rng.random() < 0.8)}
            settings = Settings.from_mapping(
                {("switch", "closed"): closed, (table, "in_service"): status}
            )
            expected = solve_plainly(net, settings)
            assert expected is not None
            state = engine.solve(settings)
            assert_equal(state, expected)
            assert state.n_unsupplied[0] == n_dead_consumers(expected)


@pytest.mark.parametrize("name", ["newton", "reference"])
def test_open_switch_leaves_a_transformer_magnetised_between_supplied_buses(name: str) -> None:
    """Both sides have supply, so that the model stays; no-load losses stay as well."""
    net = tap_zoo()
    switch = int(pp.create_switch(net, net.trafo.at[1, "lv_bus"], 1, et="t"))
    other = int(pp.create_switch(net, net.trafo.at[1, "hv_bus"], 1, et="t"))
    pp.create_line_from_parameters(net, 6, 3, 1.0, 0.1, 0.3, 10.0, 1.0)
    engine = ENGINES[name](net)
    for closed in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0)):
        settings = Settings.from_mapping(
            {("switch", "closed"): dict(zip((switch, other), closed, strict=True))}
        )
        expected = solve_plainly(net, settings)
        assert expected is not None
        assert (expected.res_trafo.pl_mw[1] > 0.01) == (sum(closed) == 1)
        assert_equal(engine.solve(settings), expected)


def test_dispatch_of_a_net_with_a_dead_consumer_is_refused_truly() -> None:
    net = ring(CONSUMERS["ward"])
    net.line.loc[1, "in_service"] = False
    with pytest.raises((PowerFlowNotConverged, ValueError), match=r"without supply|disconnected"):
        ReactivePowerDispatch(
            net, controls={"ext_grid": [0]}, limits={"ext_grid_vm_pu": (0.9, 1.1)}
        )
