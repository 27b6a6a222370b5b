"""Objectives and constraints against values worked by hand."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import tap_zoo, two_bus

from gridproblems import ReactivePowerDispatch
from gridproblems.constraints import Limit, StateLimits
from gridproblems.engines import NewtonEngine, ReferenceEngine
from gridproblems.nets.network import (
    loading_limits,
    machine_limits,
    radial_constraint,
    voltage_limits,
)
from gridproblems.objectives import (
    OBJECTIVES,
    l_index,
    line_loss_mw,
    loading_percent,
    p_loss_mw,
    voltage_deviation_pu,
)
from gridproblems.state import GridState, Settings

NOTHING = Settings((), np.zeros(0))

# Two buses: V1 = 1, Z = 1 + 4j ohm at 10 kV, S = 1 + 0.5j MVA. With Z = 0.01 + 0.04j p.u.
# (base 1 MVA, 100 ohm), V2^2 solves V^4 + V^2 (2 (R P + X Q) - 1) + |Z|^2 |S|^2 = 0.
R_PU, X_PU, P_MW, Q_MVAR = 0.01, 0.04, 1.0, 0.5
_B = 2 * (R_PU * P_MW + X_PU * Q_MVAR) - 1
V2_PU = np.sqrt((-_B + np.sqrt(_B**2 - 4 * (R_PU**2 + X_PU**2) * (P_MW**2 + Q_MVAR**2))) / 2)
CURRENT_PU = np.hypot(P_MW, Q_MVAR) / V2_PU


@pytest.fixture(scope="module", params=[NewtonEngine, ReferenceEngine])
def state(request: pytest.FixtureRequest) -> GridState:
    return request.param(two_bus()).solve(NOTHING)


def test_two_bus_values_by_hand(state: GridState) -> None:
    assert pytest.approx(0.968367, abs=1e-6) == V2_PU
    assert state.vm_pu[0] == pytest.approx([1.0, V2_PU], abs=1e-9)
    loss_mw = R_PU * CURRENT_PU**2
    assert line_loss_mw(NOTHING, state) == pytest.approx(loss_mw, abs=1e-9)
    assert p_loss_mw(NOTHING, state) == pytest.approx(loss_mw, abs=1e-9)
    assert state.ext_grid_p_mw[0, 0] == pytest.approx(P_MW + loss_mw, abs=1e-9)
    assert voltage_deviation_pu(NOTHING, state) == pytest.approx(1 - V2_PU, abs=1e-9)
    rated_current_pu = 1.0 * np.sqrt(3) * 10.0  # 1 kA at 10 kV, base 1 MVA
    assert loading_percent(NOTHING, state) == pytest.approx(
        100 * CURRENT_PU / rated_current_pu, rel=1e-9
    )


def test_l_index_of_two_buses_by_hand(state: GridState) -> None:
    """With one load bus L = |1 - V1 / V2| = |Z S*| / V2^2."""
    z_s = abs((R_PU + 1j * X_PU) * (P_MW - 1j * Q_MVAR))
    assert l_index(NOTHING, state) == pytest.approx(z_s / V2_PU**2, rel=1e-9)


def test_l_index_limits() -> None:
    unloaded = NewtonEngine(two_bus(0.0, 0.0)).solve(NOTHING)
    assert l_index(NOTHING, unloaded) == pytest.approx(0.0, abs=1e-9)
    # at the nose of a lossless line with unit power factor V2 = 1/sqrt(2), P = 1 / (2 X), L = 1
    net = two_bus(0.0, 0.0)
    net.line["r_ohm_per_km"] = 0.0
    net.load["p_mw"] = 0.9999 / (2 * X_PU)
    near_nose = NewtonEngine(net).solve(NOTHING)
    assert near_nose.solved
    assert l_index(NOTHING, near_nose) == pytest.approx(1.0, abs=0.02)


def test_losses_count_every_kind_of_branch() -> None:
    net = tap_zoo()
    state = NewtonEngine(net).solve(NOTHING)
    pp.runpp(net, lightsim2grid=False, tolerance_mva=1e-9)
    parts = [net[f"res_{t}"].pl_mw.sum() for t in ("line", "trafo", "trafo3w", "impedance")]
    assert p_loss_mw(NOTHING, state) == pytest.approx(sum(parts), abs=1e-7)
    assert line_loss_mw(NOTHING, state) == pytest.approx(parts[0], abs=1e-7)
    loading = max(net[f"res_{t}"].loading_percent.max() for t in ("line", "trafo", "trafo3w"))
    assert loading_percent(NOTHING, state) == pytest.approx(loading, abs=1e-5)


#: What several hours make of their values; all other objectives are averaged.
ALL_SNAPSHOTS: dict[str, Any] = {
    "l_index": max,
    "loading_percent": max,
    "v_min_pu": max,
    "loading_margin_percent": max,
    "line_loading_sum_percent": sum,
    "line_loading_max_percent": max,
    "energy_loss_kwh": sum,
    "exchange_energy_kwh": sum,
    "exchange_peak_kw": max,
}


def test_snapshots_are_averaged_and_extremes_are_the_worst() -> None:
    engine = NewtonEngine(two_bus())
    one, two = (Settings.from_mapping({("load", "p_mw"): {0: p_mw}}) for p_mw in (0.5, 2.0))
    both = Settings(one.fields, np.array([one.values, two.values]))
    states = [engine.solve(s) for s in (one, two)]
    series = engine.solve(both)
    for objective in OBJECTIVES.values():
        values = [objective(NOTHING, state) for state in states]
        expected = ALL_SNAPSHOTS.get(objective.name, np.mean)(values)
        assert objective(both, series) == pytest.approx(expected, rel=1e-12)


def test_unknown_objective_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown objective 'loss'.*p_loss_mw, line_loss_mw"):
        ReactivePowerDispatch("ieee6", "loss")
    with pytest.raises(ValueError, match="expected a name or a callable"):
        ReactivePowerDispatch("ieee6", [3])


def test_limits_are_scaled_by_band_and_rating(state: GridState) -> None:
    net = two_bus()
    band = StateLimits(voltage_limits(net, None), state.layout)
    assert band.names[2:] == ("bus 1 vm_pu max", "bus 1 vm_pu min")
    assert band(NOTHING, state)[2:] == pytest.approx([(V2_PU - 1.1) / 0.2, (0.9 - V2_PU) / 0.2])
    tight = StateLimits(voltage_limits(net, (0.98, 1.02)), state.layout)
    assert tight(NOTHING, state)[3] == pytest.approx((0.98 - V2_PU) / 0.05)  # least scale
    loading = StateLimits(loading_limits(net, None), state.layout)
    assert loading(NOTHING, state) == pytest.approx([state.line_loading_percent[0, 0] / 100 - 1])
    slack = StateLimits(machine_limits(net, "ext_grid", "p_mw", (-1.0, 0.5)), state.layout)
    p_mw = state.ext_grid_p_mw[0, 0]
    assert slack(NOTHING, state) == pytest.approx([(p_mw - 0.5) / 1.5, (-1.0 - p_mw) / 1.5])


def test_limit_takes_the_worst_snapshot() -> None:
    engine = NewtonEngine(two_bus())
    series = engine.solve(Settings.from_mapping({("load", "p_mw"): {0: 0.5}}))
    field = Settings.from_mapping({("load", "p_mw"): {0: 0.5}}).fields
    series = engine.solve(Settings(field, np.array([[0.5], [3.0], [1.0]])))
    limit = StateLimits([Limit("vm_pu", 1, "low", 0.95, 0.1, False)], series.layout)
    assert limit(NOTHING, series) == pytest.approx([(0.95 - series.vm_pu[1, 1]) / 0.1])


def test_crossed_limits_are_refused() -> None:
    net = two_bus()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 1.1, 0.9
    with pytest.raises(ValueError, match=r"bus 0 vm_pu: lower limit 1.1 above upper limit 0.9"):
        voltage_limits(net, None)


def test_radial_counts_independent_loops() -> None:
    net = pn.mv_oberrhein()
    radial = radial_constraint(net)
    state = ReferenceEngine(net).solve(NOTHING)
    assert radial(NOTHING, state).tolist() == [0.0]
    all_closed = {("switch", "closed"): dict.fromkeys(net.switch.index, 1.0)}
    closed = radial(Settings.from_mapping(all_closed), state)[0]
    graph = nx.MultiGraph(zip(net.line.from_bus, net.line.to_bus, strict=True))
    graph.add_edges_from(zip(net.trafo.hv_bus, net.trafo.lv_bus, strict=True))
    n_parts = nx.number_connected_components(graph)
    assert closed == graph.number_of_edges() - graph.number_of_nodes() + n_parts > 0


def test_radial_counts_parallel_couplers_and_three_windings() -> None:
    net = tap_zoo()  # loops over 1-2-6-1; the three-winding transformer closes none
    state = ReferenceEngine(net).solve(NOTHING)
    assert radial_constraint(net)(NOTHING, state).tolist() == [1.0]
    pp.create_switch(net, 2, 3, et="b", closed=True)
    assert radial_constraint(net)(NOTHING, state).tolist() == [2.0]
    opened = Settings.from_mapping(
        {("switch", "closed"): {0: 0.0}, ("trafo", "in_service"): {2: 0}}
    )
    assert radial_constraint(net)(opened, state).tolist() == [0.0]


def test_the_power_of_slack_generators_is_limited_as_that_of_external_grids() -> None:
    """The slack takes 1 MW and losses: 0.1 MW more than the limit, over a range of 1.4 MW."""
    net = two_bus()
    net.ext_grid["in_service"] = False
    slack = pp.create_gen(net, 0, p_mw=0.0, vm_pu=1.0, slack=True)
    pp.create_gen(net, 1, p_mw=0.0, vm_pu=V2_PU, in_service=False)
    state = ReferenceEngine(net).solve(NOTHING)
    entries = machine_limits(net, "gen", "p_mw", (-0.5, 0.9))
    assert [limit.name for limit in entries] == [f"gen {slack} p_mw max", f"gen {slack} p_mw min"]
    values = StateLimits(entries, state.layout)(NOTHING, state)
    taken_mw = P_MW + R_PU * CURRENT_PU**2
    np.testing.assert_allclose(values, [(taken_mw - 0.9) / 1.4, (-0.5 - taken_mw) / 1.4], atol=1e-8)
    problem = ReactivePowerDispatch(
        net,
        controls={"gen": [slack]},
        limits={"vm_pu": None, "ext_grid_p_mw": (-0.5, 0.9), "gen_vm_pu": (0.95, 1.05)},
    )
    assert f"gen {slack} p_mw max" in problem.constraint_names
