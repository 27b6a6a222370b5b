"""Distribution networks: published numbers, number of trees, losses as built and at the optimum."""

from __future__ import annotations

import csv
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from gridproblems.cases import CASES, Case, load_case
from gridproblems.nets.topology import switching_graph

FEEDERS = [name for name in CASES if "reconfiguration" in load_case(name).tasks]
TOP_100 = Path(__file__).parent / "data" / "case33bw_top100.csv"


class Expected(NamedTuple):
    """What is known of a feeder: sums in kW and kvar, losses in kW, voltages in p.u."""

    n_buses: int
    n_branches: int
    n_loops: int
    n_trees: int
    p_kw: float
    q_kvar: float
    loss_kw: float
    v_min_pu: float
    v_min_bus: int


EXPECTED = {
    "case16": Expected(16, 16, 3, 190, 28700, 5900, 511.435615, 0.969266, 12),
    "case33bw": Expected(33, 37, 5, 50_751, 3715, 2300, 202.677126, 0.913090, 18),
    "case33mg": Expected(33, 37, 5, 50_751, 3715, 2300, 210.998336, 0.903772, 18),
    "case69": Expected(69, 73, 5, 407_924, 3802.1, 2694.7, 224.991694, 0.909188, 65),
    "case118zh": Expected(
        118, 132, 15, 4_460_226_199_546_680, 22709.72, 17041.068, 1298.091617, 0.868797, 77
    ),
    "case136ma": Expected(
        136, 156, 21, 2_268_613_367_486_060_112, 18313.807, 7932.568, 320.364219, 0.930652, 117
    ),
}

# Open branches, loss [kW], lowest voltage [p.u.] and its bus; found by enumeration elsewhere.
OPTIMA = {
    "case16": ((7, 8, 16), 466.126733, 0.971575, 12),
    "case33bw": ((7, 9, 14, 32, 37), 139.551347, 0.937819, 32),
    "case33mg": ((7, 9, 14, 32, 37), 139.551347, 0.937819, 32),
    "case69": ((14, 58, 61, 69, 70), 98.604598, 0.949471, 61),
}


def with_open(net: Any, branches: Any) -> Any:
    """The net solved with these published branches open and all others closed."""
    net.line["in_service"] = ~np.isin(net.line.index + 1, list(branches))
    return solved(net)


def solved(net: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp(net, lightsim2grid=False, tolerance_mva=1e-9)
    return net


def loss_kw(net: Any) -> float:
    return float(1e3 * net.res_line.pl_mw.sum())


def open_branches(settings: Any) -> list[int]:
    """Published numbers of the branches that settings open; every line must have a status."""
    ((field, statuses),) = settings.items()
    assert field == ("line", "in_service")
    assert set(statuses.values()) <= {0.0, 1.0}
    return [line + 1 for line, closed in statuses.items() if not closed]


@pytest.fixture(scope="module", params=FEEDERS)
def case(request: pytest.FixtureRequest) -> Case:
    return load_case(request.param)


def test_every_feeder_has_expected_values() -> None:
    assert set(FEEDERS) == set(EXPECTED)


def test_feeder_as_built(case: Case) -> None:
    expected, net = EXPECTED[case.name], solved(case.net())
    assert (len(net.bus), len(net.line)) == (expected.n_buses, expected.n_branches)
    assert 1e3 * net.load.p_mw.sum() == pytest.approx(expected.p_kw, abs=1e-9)
    assert 1e3 * net.load.q_mvar.sum() == pytest.approx(expected.q_kvar, abs=1e-9)
    assert loss_kw(net) == pytest.approx(expected.loss_kw, abs=2e-5)
    assert net.res_bus.vm_pu.min() == pytest.approx(expected.v_min_pu, abs=5e-6)
    assert net.res_bus.vm_pu.idxmin() == expected.v_min_bus
    assert (~net.line.in_service).sum() == expected.n_loops


def test_number_of_radial_configurations(case: Case) -> None:
    """Kirchhoff's theorem in whole numbers, sources merged."""
    graph = switching_graph(case.net())
    assert graph.n_loops == EXPECTED[case.name].n_loops
    assert graph.n_spanning_trees() == EXPECTED[case.name].n_trees


def test_numbers_of_the_net_are_the_published_ones(case: Case) -> None:
    net = case.net()
    assert net.bus.index.tolist() == list(range(1, len(net.bus) + 1))
    assert net.line.index.tolist() == list(range(len(net.line)))
    names = [f"{a}-{b}" for a, b in zip(net.line.from_bus, net.line.to_bus, strict=True)]
    assert net.line.name.tolist() == names
    assert net.line.name.is_unique
    assert (net.ext_grid.vm_pu == 1.0).all()


def test_feeders_have_no_limits(case: Case) -> None:
    """The sources have none, and defaults of the file format are no limits."""
    net = case.net()
    for table, columns in (
        ("bus", ("min_vm_pu", "max_vm_pu")),
        ("line", ("max_loading_percent",)),
    ):
        for column in columns:
            assert column not in net[table] or net[table][column].isna().all()
    assert (net.line.max_i_ka == 1.0).all()


@pytest.mark.parametrize(
    ("name", "branch", "ends"),
    [
        ("case33bw", 25, (6, 26)),
        ("case33bw", 37, (25, 29)),
        ("case69", 46, (4, 47)),
        ("case69", 72, (50, 59)),
        ("case118zh", 53, (53, 54)),
        ("case16", 16, (7, 16)),
    ],
)
def test_branches_by_number(name: str, branch: int, ends: tuple[int, int]) -> None:
    line = load_case(name).net().line.loc[branch - 1]
    assert (line.from_bus, line.to_bus) == ends


def test_33_buses_equal_the_net_that_pandapower_ships() -> None:
    """Up to numbering from 0; that one also rounds loads to the same kW."""
    net, shipped = load_case("case33bw").net(), pn.case33bw()
    for column in ("r_ohm_per_km", "x_ohm_per_km", "in_service"):
        np.testing.assert_allclose(net.line[column], shipped.line[column], rtol=1e-12)
    np.testing.assert_array_equal(
        net.line[["from_bus", "to_bus"]] - 1, shipped.line[["from_bus", "to_bus"]]
    )
    np.testing.assert_allclose(
        net.load[["p_mw", "q_mvar"]], shipped.load[["p_mw", "q_mvar"]], rtol=1e-12
    )


def test_the_two_variants_of_33_buses_differ_in_one_branch() -> None:
    one, other = load_case("case33bw").net(), load_case("case33mg").net()
    impedance = ["r_ohm_per_km", "x_ohm_per_km"]
    differs = (one.line[impedance] != other.line[impedance]).any(axis=1)
    assert one.line.index[differs].tolist() == [6]
    assert one.line.loc[6, impedance].tolist() == [0.7114, 0.2351]
    assert other.line.loc[6, impedance].tolist() == [1.7114, 1.2351]
    assert one.load.equals(other.load)


def test_16_buses_read_as_ohm_at_12_66_kv_lose_far_less() -> None:
    """The reading of MATPOWER's file, which the published 511.4 kW exclude."""
    net = load_case("case16").net()
    net.line[["r_ohm_per_km", "x_ohm_per_km"]] /= 5.29
    net.bus["vn_kv"] = 12.66
    assert loss_kw(solved(net)) == pytest.approx(312.777, abs=1e-3)
    assert loss_kw(with_open(net, (7, 8, 16))) == pytest.approx(285.722, abs=1e-3)


def test_118_buses_with_the_other_branch() -> None:
    net = load_case("case118zh").net()
    net.line.loc[52, "from_bus"] = 52
    assert loss_kw(solved(net)) == pytest.approx(1296.573, abs=1e-3)


@pytest.mark.parametrize("name", OPTIMA)
def test_known_optima(name: str) -> None:
    branches, loss, v_min_pu, v_min_bus = OPTIMA[name]
    net = with_open(load_case(name).net(), branches)
    assert loss_kw(net) == pytest.approx(loss, abs=2e-6)
    assert net.res_bus.vm_pu.min() == pytest.approx(v_min_pu, abs=1e-6)
    assert net.res_bus.vm_pu.idxmin() == v_min_bus


def test_optimum_of_69_buses_is_fourfold() -> None:
    """No load between branches 55 and 58: any of them may be the open one."""
    net = load_case("case69").net()
    losses = [loss_kw(with_open(net, (14, branch, 61, 69, 70))) for branch in (55, 56, 57, 58)]
    np.testing.assert_allclose(losses, 98.604598, atol=2e-6)


def test_best_hundred_of_33_buses() -> None:
    """Every tenth configuration of a table enumerated elsewhere."""
    net = load_case("case33bw").net()
    with TOP_100.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    for row in rows[::10]:
        solution = with_open(net, [int(row[f"open{i}"]) for i in range(1, 6)])
        assert loss_kw(solution) == pytest.approx(float(row["loss_kw"]), abs=2e-5)
        assert solution.res_bus.vm_pu.min() == pytest.approx(float(row["vmin_pu"]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "claimed_kw", "real_kw"),
    [("before", 201.588, 202.677126), ("HSA", 120.39, 152.440160), ("PSO", 120.85, 153.207758)],
)
def test_published_claims_do_not_hold(name: str, claimed_kw: float, real_kw: float) -> None:
    case = load_case("case33bw")
    published = case.published[name]
    net = with_open(case.net(), open_branches(published.settings))
    assert 1e3 * published.loss_mw == pytest.approx(claimed_kw)
    assert published.measured_loss_mw is not None
    assert 1e3 * published.measured_loss_mw == pytest.approx(real_kw, abs=1e-9)
    assert loss_kw(net) == pytest.approx(real_kw, abs=2e-5)


def values(net: Any) -> dict[str, float]:
    """What the objectives mean, from the results of a power flow."""
    at_source = net.bus.index.isin(net.ext_grid.bus)
    return {
        "p_loss_kw": loss_kw(net),
        "voltage_deviation_pu": float((1 - net.res_bus.vm_pu[~at_source]).abs().sum()),
        "v_min_pu": float(-net.res_bus.vm_pu.min()),
        "loading_percent": float(net.res_line.loading_percent.max()),
    }


def is_radial(net: Any) -> bool:
    """Whether the lines in service form one tree, sources being one node."""
    node = {bus: 0 if bus in set(net.ext_grid.bus) else bus for bus in net.bus.index}
    lines = net.line[net.line.in_service]
    graph = nx.MultiGraph()
    graph.add_nodes_from(node.values())
    ends = zip(lines.from_bus, lines.to_bus, strict=True)
    graph.add_edges_from((node[a], node[b]) for a, b in ends)
    return bool(nx.is_tree(graph))


@cache
def measured(name: str, branches: tuple[int, ...]) -> dict[str, float]:
    """Objectives of a case with these branches open, which has to be radial."""
    net = load_case(name).net()
    present = net.line.in_service
    net = with_open(net, branches)
    assert is_radial(net)
    actions = float((net.line.in_service != present).sum())
    return {**values(net), "switching_actions": actions}


def test_every_feeder_has_a_proven_optimum(case: Case) -> None:
    [best] = [b for b in case.best_known if b.objectives == ("p_loss_kw",)]
    assert best.status == "proven"


def test_best_known_values_are_radial_and_reproduce(case: Case) -> None:
    for best in case.best_known:
        [objective] = best.objectives
        result = measured(case.name, tuple(open_branches(best.settings)))
        assert result[objective] == pytest.approx(best.value, abs=2e-6)
        assert best.bound is not None
        assert best.bound <= best.value
        assert best.gap_percent is not None
        assert best.status == ("proven" if best.gap_percent <= 1.001e-4 else "best found")


@pytest.mark.parametrize("name", OPTIMA)
def test_best_known_losses_are_those_found_elsewhere(name: str) -> None:
    case = load_case(name)
    [best] = [b for b in case.best_known if b.objectives == ("p_loss_kw",)]
    assert best.value == pytest.approx(OPTIMA[name][1], abs=2e-6)


def test_fronts_reproduce_and_no_trade_off_beats_another() -> None:
    case = load_case("case33bw")
    best = {b.objectives: b.value for b in case.best_known}
    pairs = {frozenset(front.objectives) for front in case.fronts}
    assert len(pairs) == len(case.fronts) == 10  # of five objectives
    for front in case.fronts:
        for printed, settings in zip(front.values, front.settings, strict=True):
            result = measured(case.name, tuple(open_branches(settings)))
            assert [result[o] for o in front.objectives] == pytest.approx(printed, abs=2e-6)
        first, second = np.array(front.values).T
        assert (np.diff(first) > 0).all()
        assert (np.diff(second) < 0).all()
        assert first.min() == pytest.approx(best[front.objectives[:1]], abs=1e-8)
        assert second.min() == pytest.approx(best[front.objectives[1:]], abs=1e-8)
