"""Every engine gives what plain ``pandapower.runpp`` gives, on every net, for random settings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import meshed, switched, tap_zoo, two_bus
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from pandapower.toolbox import nets_equal

from gridproblems.cases import load_case
from gridproblems.engines import ENGINES, Engine, NewtonEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, GridState, Settings
from gridproblems.tasks.orpd import find_controls

FAST_ENGINES = [name for name in ENGINES if name != "reference"]
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
    try:
        pp.runpp(net, lightsim2grid=False, tolerance_mva=1e-9, calculate_voltage_angles=True)
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


def check_engine(net: pandapowerNet, engine: Engine, draws: list[Settings]) -> int:
    """Compares an engine with plain pandapower; returns how many draws converged."""
    n_converged = 0
    for settings in draws:
        state = engine.solve(settings)
        expected = solve_plainly(net, settings)
        if expected is None:
            assert not state.solved
            continue
        alive = expected.res_bus.vm_pu.notna()
        dead_loads = expected.load[
            expected.load.in_service.astype(bool)
            & expected.bus.in_service.reindex(expected.load.bus).to_numpy(dtype=bool)
            & ~alive.reindex(expected.load.bus).to_numpy()
        ]
        if "V" not in expected._ppc["internal"]:  # no branch left: pandapower solves nothing
            assert not state.solved
            continue
        assert state.converged[0]
        assert state.n_unsupplied[0] == len(dead_loads)
        assert_equal(state, expected)
        n_converged += 1
    return n_converged


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("net_name", NET_ZOO)
def test_engine_equals_runpp_on_net_zoo(name: str, net_name: str) -> None:
    make, ranges = NET_ZOO[net_name]
    net = make()
    rng = np.random.default_rng(1)
    draws = [random_settings(net, ranges, rng) for _ in range(20 if name != "reference" else 5)]
    assert check_engine(net, ENGINES[name](net), draws) >= 3


@pytest.mark.parametrize("name", FAST_ENGINES)
@pytest.mark.parametrize("case_name", NETWORKS)
def test_engine_equals_runpp_on_every_case(name: str, case_name: str) -> None:
    """200 random vectors a case; in every fifth the loads grow until most diverge."""
    net = load_case(case_name).net()
    controls = find_controls(net, None, {})
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
    for i in range(200):
        values = [ranges[key](None, rng) for key in columns]
        scaling = rng.uniform(1.5, 4.0) if i % 5 == 4 else 1.0
        draws.append(Settings(fields, np.concatenate([*values, np.full(len(net.load), scaling)])))
    n_converged = check_engine(net, ENGINES[name](net), draws)
    assert 20 <= n_converged < 200


@pytest.mark.parametrize("name", ENGINES)
def test_result_depends_on_the_settings_alone(name: str) -> None:
    make, ranges = NET_ZOO["tap_zoo"]
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
def test_snapshots_equal_one_by_one(name: str) -> None:
    make, ranges = NET_ZOO["tap_zoo"]
    net = make()
    rng = np.random.default_rng(4)
    draws = [random_settings(net, ranges, rng) for _ in range(4)]
    engine = ENGINES[name](net)
    series = engine.solve(Settings(draws[0].fields, np.array([d.values for d in draws])))
    assert series.n_snapshots == 4
    for t, settings in enumerate(draws):
        np.testing.assert_array_equal(series.values[t], engine.solve(settings).values[0])


@pytest.mark.parametrize("name", ENGINES)
def test_losses_equal_feed_in_minus_demand(name: str) -> None:
    net = load_case("ieee39").net()
    state = ENGINES[name](net).solve(Settings((), np.zeros(0)))
    feed_in = state.gen_p_mw.sum() + state.ext_grid_p_mw.sum()
    assert state.p_loss_mw[0] == pytest.approx(feed_in - net.load.p_mw.sum(), abs=1e-6)


@pytest.mark.parametrize("name", ENGINES)
def test_engine_leaves_its_net_alone(name: str) -> None:
    net = meshed()
    before = copy.deepcopy(net)
    engine = ENGINES[name](net)
    engine.solve(Settings.from_mapping({("gen", "vm_pu"): {0: 1.0}, ("load", "p_mw"): {0: 3.0}}))
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


def test_newton_says_what_it_cannot_represent() -> None:
    net = two_bus()
    net.load["const_z_p_percent"] = 30.0
    with pytest.raises(UnsupportedByEngine, match="depend on voltage"):
        NewtonEngine(net)
    net = meshed()
    pp.create_dcline(net, 0, 3, 1.0, 1.0, 0.1, 1.0, 1.0)
    with pytest.raises(UnsupportedByEngine, match="dcline"):
        NewtonEngine(net)
