"""Every engine gives what plain ``pandapower.runpp`` gives, on every net, for random settings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pandapower.topology
import pytest
from nets import feeder, meshed, switched, tap_zoo, two_bus
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from pandapower.toolbox import nets_equal

from gridproblems import ReactivePowerDispatch
from gridproblems.cases import load_case
from gridproblems.engines import ENGINES, Engine, NewtonEngine, SweepEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, GridState, Settings

FAST_ENGINES = [name for name in ENGINES if name != "reference"]
#: Nets that each engine supports; the others solve them all.
SUPPORTED = {"sweep": ("two_bus", "switched", "feeder", "trees of 33 buses")}
#: A net with changing tap positions or topology that an engine supports.
VARIED = {"sweep": "feeder"}
NETWORKS = ["ieee6", "ieee14", "ieee30", "ieee39", "ieee57", "ieee118", "ieee300"]

Draw = Callable[[Any, np.random.Generator], np.ndarray]
Ranges = dict[tuple[str, str], Draw]


def around(low: float, high: float) -> Draw:
    return lambda column, rng: column.to_numpy(dtype=float) * rng.uniform(low, high, len(column))


def between(low: float, high: float) -> Draw:
    return lambda column, rng: rng.uniform(low, high, len(column))


def whole(low: int, high: int) -> Draw:
    return lambda column, rng: rng.integers(low, high + 1, len(column)).astype(float)


def flipped(probability: float) -> Draw:
    return lambda column, rng: (
        column.to_numpy(dtype=bool) ^ (rng.random(len(column)) < probability)
    ).astype(float)


def tree_or_flips(column: Any, rng: np.random.Generator) -> np.ndarray:
    """Lines of a random tree of the 33-bus feeder, every third time with some lines flipped."""
    net = pn.case33bw()
    graph = nx.Graph()
    for line, start, end in net.line[["from_bus", "to_bus"]].itertuples():
        graph.add_edge(start, end, weight=rng.random(), line=line)
    tree = nx.minimum_spanning_tree(graph)
    closed = np.zeros(len(column))
    closed[[line for *_, line in tree.edges(data="line")]] = 1.0
    flips = rng.random(len(closed)) < (0.08 if rng.random() < 0.33 else 0.0)
    return np.where(flips, 1.0 - closed, closed)


NET_ZOO: dict[str, tuple[Callable[[], pandapowerNet], Ranges]] = {
    "two_bus": (two_bus, {("load", "p_mw"): around(0, 12), ("sgen", "q_mvar"): between(-1, 1)}),
    "tap_zoo": (
        tap_zoo,
        {
            ("trafo", "tap_pos"): lambda c, rng: np.array([0.0, 5, -3]) + rng.integers(-8, 9, 3),
            ("trafo3w", "tap_pos"): whole(-6, 6),
            ("shunt", "step"): whole(0, 3),
            ("shunt", "q_mvar"): around(0, 2),
            ("shunt", "p_mw"): around(0, 2),
            ("load", "scaling"): between(0.2, 1.5),
            ("load", "p_mw"): around(0.5, 1.5),
            ("load", "q_mvar"): around(0.5, 1.5),
            ("sgen", "p_mw"): between(0, 5),
            ("sgen", "q_mvar"): between(-3, 3),
            ("sgen", "scaling"): between(0, 1),
            ("storage", "p_mw"): between(-2, 2),
            ("storage", "q_mvar"): between(-1, 1),
            ("gen", "p_mw"): between(0, 8),
            ("line", "in_service"): lambda c, rng: np.ones(len(c)),
        },
    ),
    "switched": (
        switched,
        {
            ("switch", "closed"): flipped(0.01),
            ("load", "scaling"): between(0.3, 1.2),
            ("sgen", "q_mvar"): between(-0.3, 0.3),
            ("ext_grid", "vm_pu"): between(0.98, 1.04),
            ("trafo", "tap_pos"): whole(-5, 5),
        },
    ),
    "outages": (
        meshed,
        {
            ("line", "in_service"): flipped(0.15),
            ("trafo", "in_service"): flipped(0.1),
            ("gen", "in_service"): flipped(0.1),
            ("gen", "vm_pu"): between(0.95, 1.08),
        },
    ),
    "another base power": (  # 1 MVA, loads of 1,700 MW, transformers of 330 degrees
        pn.create_cigre_network_hv,
        {("gen", "vm_pu"): between(0.95, 1.05), ("load", "q_mvar"): around(0.5, 1.5)},
    ),
    "feeder": (
        feeder,
        {
            ("switch", "closed"): flipped(0.15),
            ("trafo", "tap_pos"): whole(-2, 2),
            ("load", "p_mw"): around(0, 3),
            ("load", "scaling"): between(0, 2),
            ("sgen", "p_mw"): between(0, 0.2),
            ("storage", "p_mw"): between(-0.1, 0.1),
            ("shunt", "step"): whole(0, 3),
            ("ext_grid", "vm_pu"): between(0.95, 1.05),
        },
    ),
    "trees of 33 buses": (
        pn.case33bw,
        {("line", "in_service"): tree_or_flips, ("load", "scaling"): between(0.2, 1.6)},
    ),
    "multivoltage": (
        pn.example_multivoltage,
        {
            ("load", "p_mw"): around(0.5, 1.0),
            ("gen", "vm_pu"): between(0.99, 1.04),
            ("switch", "closed"): flipped(0.01),
        },
    ),
}


def random_settings(net: pandapowerNet, ranges: Ranges, rng: np.random.Generator) -> Settings:
    fields = tuple(Field(t, c, tuple(net[t].index)) for t, c in ranges)
    return Settings(
        fields, np.concatenate([draw(net[t][c], rng) for (t, c), draw in ranges.items()])
    )


def solve_plainly(net: pandapowerNet, settings: Settings) -> pandapowerNet | None:
    """Plain pandapower, written apart from the reference engine; None when it diverges."""
    net = copy.deepcopy(net)
    for field, values in settings:
        column = net[field.table][field.column].astype(float)
        column.loc[list(field.elements)] = values
        boolean = field.column in ("in_service", "closed")
        net[field.table][field.column] = column.astype(bool) if boolean else column
    # Newton in pandapower leaves ZIP out of its Jacobian and then takes up to 50 iterations
    depends_on_voltage = net.load.filter(like="const_").to_numpy().any()
    try:
        tolerance = 1e-9 if net.load.p_mw.sum() > 50 else 1e-11
        pp.runpp(
            net,
            lightsim2grid=False,
            tolerance_mva=tolerance,
            calculate_voltage_angles=True,
            max_iteration=200 if depends_on_voltage else "auto",
        )
    except LoadflowNotConverged:
        return None
    return net


def assert_equal(state: GridState, net: pandapowerNet) -> None:
    """Voltages to 1e-8 p.u., powers to 1e-6 MW, loadings to 1e-5 percentage points."""
    close = np.testing.assert_allclose
    vm_pu = net.res_bus.vm_pu.to_numpy()
    close(state.vm_pu[0], vm_pu, rtol=0, atol=1e-8)
    alive = ~np.isnan(vm_pu)
    close(state.va_degree[0, alive], net.res_bus.va_degree.to_numpy()[alive], rtol=0, atol=1e-6)
    for table in ("line", "trafo", "trafo3w", "impedance"):
        result = net[f"res_{table}"].fillna(0.0)
        loss = getattr(state, f"{table}_loss_mw")[0]
        close(loss, result.get("pl_mw", np.zeros(0)), rtol=0, atol=1e-6)
        if table != "impedance":
            loading = getattr(state, f"{table}_loading_percent")[0]
            close(loading, result.get("loading_percent", np.zeros(0)), rtol=0, atol=1e-5)
    for table in ("gen", "ext_grid"):
        for quantity in ("p_mw", "q_mvar"):
            power = getattr(state, f"{table}_{quantity}")[0]
            result = net[f"res_{table}"]
            expected = result[quantity].fillna(0.0) if len(power) else np.zeros(0)
            close(power, expected, rtol=0, atol=1e-6)


def n_dead_consumers(net: pandapowerNet) -> int:
    """Elements in service that draw power, at buses without voltage in a solved net."""
    n_dead = 0
    for table in ("load", "asymmetric_load", "motor", "ward", "xward", "storage"):
        buses = net[table].bus[net[table].in_service.astype(bool)]
        n_dead += int(net.res_bus.vm_pu.reindex(buses).isna().sum())
    return n_dead


def is_radial(net: pandapowerNet) -> bool:
    """Whether what is connected to the external grids has no loop and joins no two of them."""
    graph = pandapower.topology.create_nxgraph(net, multi=True)
    for grid in net.ext_grid.bus.iloc[1:]:
        graph.add_edge(grid, net.ext_grid.bus.iloc[0])
    nodes = nx.node_connected_component(graph, net.ext_grid.bus.iloc[0])
    return bool(graph.subgraph(nodes).number_of_edges() == len(nodes) - 1)


def check_engine(net: pandapowerNet, engine: Engine, draws: list[Settings]) -> int:
    """Compares an engine with plain pandapower; returns how many draws converged."""
    n_converged = 0
    for settings in draws:
        state = engine.solve(settings)
        expected = solve_plainly(net, settings)
        if isinstance(engine, SweepEngine) and expected is not None and not is_radial(expected):
            assert not state.solved
            continue
        if expected is None:
            assert not state.solved
            continue
        if "V" not in expected._ppc["internal"]:  # no branch left: pandapower solves nothing
            assert not state.solved
            continue
        assert state.converged[0]
        assert state.n_unsupplied[0] == n_dead_consumers(expected)
        assert_equal(state, expected)
        n_converged += 1
    return n_converged


@pytest.mark.parametrize(
    ("name", "net_name"), [(e, n) for e in ENGINES for n in SUPPORTED.get(e, NET_ZOO)]
)
def test_engine_equals_runpp_on_net_zoo(name: str, net_name: str) -> None:
    make, ranges = NET_ZOO[net_name]
    net = make()
    rng = np.random.default_rng(1)
    draws = [random_settings(net, ranges, rng) for _ in range(20 if name != "reference" else 5)]
    assert check_engine(net, ENGINES[name](net), draws) >= 3


@pytest.mark.parametrize(
    ("name", "net_name"),
    [(e, n) for e, known in SUPPORTED.items() for n in NET_ZOO if n not in known],
)
def test_engine_says_which_nets_it_cannot_solve(name: str, net_name: str) -> None:
    net = NET_ZOO[net_name][0]()
    with pytest.raises(UnsupportedByEngine, match=f"{name} engine: "):
        ENGINES[name](net).check(Settings((), np.zeros(0)))


@pytest.mark.parametrize("name", [name for name in FAST_ENGINES if name not in SUPPORTED])
@pytest.mark.parametrize("case_name", NETWORKS)
@pytest.mark.parametrize("n", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_engine_equals_runpp_on_every_case(name: str, case_name: str, n: int) -> None:
    """Random vectors of every case; in every fifth the loads grow until most diverge."""
    net = load_case(case_name).net()
    controls = ReactivePowerDispatch(net).joint.controls
    rng = np.random.default_rng(2)
    columns = dict.fromkeys((c.table, c.column) for c in controls)
    ranges: Ranges = {}
    for table, column in columns:
        mine = [c for c in controls if (c.table, c.column) == (table, column)]
        lower, upper = (np.array([getattr(c, end) for c in mine]) for end in ("lower", "upper"))
        whole_numbers = mine[0].kind == "integer"

        def draw(
            _: Any,
            rng: np.random.Generator,
            lower: np.ndarray = lower,
            upper: np.ndarray = upper,
            whole_numbers: bool = whole_numbers,
        ) -> np.ndarray:
            x = rng.uniform(lower, upper)
            return np.rint(x) if whole_numbers else x

        ranges[table, column] = draw
    fields = tuple(
        Field(t, c, tuple(e for k in controls if (k.table, k.column) == (t, c) for e in k.elements))
        for t, c in columns
    )
    fields += (Field("load", "scaling", tuple(net.load.index)),)
    draws = []
    for i in range(n):
        values = [ranges[key](None, rng) for key in columns]
        scaling = rng.uniform(1.5, 4.0) if i % 5 == 4 else 1.0
        draws.append(Settings(fields, np.concatenate([*values, np.full(len(net.load), scaling)])))
    n_converged = check_engine(net, ENGINES[name](net), draws)
    assert n / 10 <= n_converged < n


@pytest.mark.parametrize("name", ENGINES)
def test_result_depends_on_the_settings_alone(name: str) -> None:
    make, ranges = NET_ZOO[VARIED.get(name, "tap_zoo")]
    net = make()
    rng = np.random.default_rng(3)
    draws = [random_settings(net, ranges, rng) for _ in range(6 if name == "reference" else 40)]
    diverging = Settings.from_mapping({("load", "scaling"): dict.fromkeys(net.load.index, 100.0)})
    engine = ENGINES[name](net)
    forwards = [engine.solve(settings).values for settings in draws]
    assert not engine.solve(diverging).solved
    backwards = [engine.solve(settings).values for settings in reversed(draws)][::-1]
    fresh = [ENGINES[name](net).solve(settings).values for settings in draws[:3]]
    pickled = cloudpickle.loads(cloudpickle.dumps(engine))
    np.testing.assert_array_equal(forwards, backwards)
    np.testing.assert_array_equal(forwards[:3], fresh)
    np.testing.assert_array_equal(forwards[0], pickled.solve(draws[0]).values)
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda settings: engine.solve(settings).values, draws))
    np.testing.assert_array_equal(forwards, threaded)


@pytest.mark.parametrize("name", ENGINES)
def test_snapshots_and_candidates_equal_one_by_one(name: str) -> None:
    make, ranges = NET_ZOO[VARIED.get(name, "tap_zoo")]
    net = make()
    rng = np.random.default_rng(4)
    draws = [random_settings(net, ranges, rng) for _ in range(4)]
    engine = ENGINES[name](net)
    series = engine.solve(Settings(draws[0].fields, np.array([d.values for d in draws])))
    assert series.n_snapshots == 4
    for t, settings in enumerate(draws):
        np.testing.assert_array_equal(series.values[t], engine.solve(settings).values[0])
    values = np.array([[d.values for d in draws[:2]], [d.values for d in draws[2:]]])
    batch = engine.solve(Settings(draws[0].fields, values))
    assert batch.vm_pu.shape == (2, 2, len(net.bus))
    np.testing.assert_array_equal(batch.values.reshape(4, -1), series.values)
    second = batch.candidate(1)
    np.testing.assert_array_equal(second.values, series.values[2:])
    np.testing.assert_array_equal(batch.candidates(np.array([1])).values[0], second.values)
    for state, row in ((second, 1), (batch, 3), (second.snapshot(1), 0)):
        np.testing.assert_array_equal(state.bus_branch(row).v_pu, series.bus_branch(3).v_pu)


@pytest.mark.parametrize("name", ENGINES)
def test_losses_equal_feed_in_minus_demand(name: str) -> None:
    net = pn.case33bw() if name in SUPPORTED else load_case("ieee39").net()
    state = ENGINES[name](net).solve(Settings((), np.zeros(0)))
    feed_in = state.gen_p_mw.sum() + state.ext_grid_p_mw.sum()
    assert state.p_loss_mw[0] == pytest.approx(feed_in - net.load.p_mw.sum(), abs=1e-6)


@pytest.mark.parametrize("name", ENGINES)
def test_engine_leaves_its_net_alone(name: str) -> None:
    net = feeder()
    before = copy.deepcopy(net)
    engine = ENGINES[name](net)
    changed = {("switch", "closed"): {0: 1.0}, ("load", "p_mw"): {0: 3.0}}
    engine.solve(Settings.from_mapping(changed))
    assert nets_equal(net, before)


def test_tap_position_off_its_range_is_left_to_pandapower() -> None:
    net = tap_zoo()
    settings = Settings.from_mapping({("trafo", "tap_pos"): {0: 2.5, 1: 20.0}})
    expected = solve_plainly(net, settings)
    assert expected is not None
    assert_equal(NewtonEngine(net).solve(settings), expected)


def test_a_dead_grid_is_not_solved() -> None:
    net = two_bus()
    settings = Settings.from_mapping({("line", "in_service"): {0: 0.0}})
    for engine_class in ENGINES.values():
        assert not engine_class(net).solve(settings).solved


@pytest.mark.parametrize("net_name", ["two_bus", "feeder"])
def test_sweep_equals_runpp_with_loads_that_depend_on_voltage(net_name: str) -> None:
    make, ranges = NET_ZOO[net_name]
    net = make()
    rng = np.random.default_rng(7)
    pp.create_load(net, net.load.bus.iloc[0], p_mw=0.1, q_mvar=0.1)  # shares hold for the bus
    for part in "pq":
        net.load[f"const_z_{part}_percent"] = rng.uniform(0, 60, len(net.load))
        net.load[f"const_i_{part}_percent"] = rng.uniform(0, 40, len(net.load))
    draws = [random_settings(net, ranges, rng) for _ in range(20)]
    assert check_engine(net, ENGINES["sweep"](net), draws) >= 3


def test_newton_says_what_it_cannot_represent() -> None:
    net = meshed()
    pp.create_svc(net, 3, 1.0, -10.0, 1.0, 145.0)
    with pytest.raises(UnsupportedByEngine, match="table 'svc'"):
        NewtonEngine(net)


def test_sweep_names_what_it_cannot_solve() -> None:
    net = two_bus()
    pp.create_dcline(net, 0, 1, 0.1, 1.0, 0.0, 1.0, 1.0)
    with pytest.raises(UnsupportedByEngine, match="dcline"):
        SweepEngine(net)
    net = feeder()
    tie = Settings.from_mapping({("switch", "closed"): {0: 1.0, 1: 1.0}})
    with pytest.raises(UnsupportedByEngine, match="not radial, there is a loop"):
        SweepEngine(net).check(tie)
    coupler = Settings.from_mapping({("bus", "in_service"): {4: 1.0}})
    with pytest.raises(UnsupportedByEngine, match=r"bus.in_service changes the structure"):
        SweepEngine(net).check(coupler)
    pp.create_gen(net, 4, p_mw=0.1)
    with pytest.raises(UnsupportedByEngine, match="gen 0 holds the voltage of bus 4"):
        SweepEngine(net)


def test_sweep_near_the_nose_of_two_buses() -> None:
    """Up to the largest power that a line carries; beyond it there is no answer to invent."""
    net = two_bus()
    r, x, v = 0.01, 0.04, 1.0  # ohm per 100 ohm
    sine, cosine = 0.6, 0.8
    z = np.hypot(r, x)
    s_max = v**2 / (2 * (z + r * cosine + x * sine))  # apparent power at the nose, p.u. of 1 MVA
    engine = SweepEngine(net)
    for share, solvable in ((0.5, True), (0.95, True), (0.999, True), (1.001, False), (3.0, False)):
        power = {("load", "p_mw"): {0: share * s_max * cosine}}
        power["load", "q_mvar"] = {0: share * s_max * sine}
        settings = Settings.from_mapping(power)
        assert engine.solve(settings).solved == solvable
        if solvable:
            expected = solve_plainly(net, settings)
            assert expected is not None
            assert engine.solve(settings).vm_pu[0, 1] == pytest.approx(
                expected.res_bus.vm_pu[1], abs=1e-8
            )
