"""Newton beyond plain PQ, PV and slack buses: as ``runpp``, alone and beside other power flows."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import numpy as np
import pandapower as pp
import pytest
from nets import meshed, two_bus
from pandapower.auxiliary import pandapowerNet

from gridproblems import GridProblem
from gridproblems.cases import load_case
from gridproblems.engines import NewtonEngine, ReferenceEngine, SweepEngine
from gridproblems.engines import _newton as newton
from gridproblems.engines._compiled import is_numeric
from gridproblems.errors import UnsupportedByEngine
from gridproblems.grids import NetGrid
from gridproblems.objectives import l_index
from gridproblems.situations import Outages
from gridproblems.state import QUANTITIES, Field, GridState, Settings

NOTHING = Settings((), np.zeros((1, 0)))
CASES = ["ieee14", "ieee30", "ieee39", "ieee57"]
N_VECTORS = 19


# -- nets -----------------------------------------------------------------------------------


def with_zip_loads(net: pandapowerNet) -> None:
    rng = np.random.default_rng(3)
    pp.create_load(net, net.load.bus.iloc[0], p_mw=2.0, q_mvar=1.0)  # shares hold for the bus
    for part in "pq":
        net.load[f"const_z_{part}_percent"] = rng.uniform(0, 60, len(net.load))
        net.load[f"const_i_{part}_percent"] = rng.uniform(0, 40, len(net.load))


def with_reactive_limits(net: pandapowerNet) -> None:
    span = net.gen.max_q_mvar - net.gen.min_q_mvar
    net.gen["max_q_mvar"] -= 0.3 * span
    pp.set_user_pf_options(net, enforce_q_lims=True)


def with_shared_slack(net: pandapowerNet) -> None:
    net.gen["slack_weight"] = np.random.default_rng(4).uniform(0, 2, len(net.gen)).round(1)
    net.gen.loc[net.gen.index[0], "slack_weight"] = 0.0
    net.ext_grid["slack_weight"] = 1.5
    pp.set_user_pf_options(net, distributed_slack=True)


def with_dc_lines(net: pandapowerNet) -> None:
    held = set(net.gen.bus) | set(net.ext_grid.bus)
    free = [int(bus) for bus in net.bus.index if bus not in held]
    limits = {f"{way}_q_{end}_mvar": q for way, q in (("min", -9.0), ("max", 9.0))
              for end in ("from", "to")}  # fmt: skip
    pp.create_dcline(net, free[0], free[-1], 6.0, 1.5, 0.2, 1.01, 1.0, **limits)
    slack = net.ext_grid.iloc[0]
    pp.create_dcline(net, slack.bus, free[1], 4.0, 1.5, 0.2, slack.vm_pu, 1.0, **limits)
    pp.create_dcline(net, free[2], free[3], -3.0, 1.5, 0.2, 1.0, 1.01, **limits)
    pp.create_dcline(net, free[2], free[4], 5.0, 1.5, 0.2, 0.9, 1.0, in_service=False, **limits)


def with_dc_lines_and_limits(net: pandapowerNet) -> None:
    with_dc_lines(net)
    net.dcline = net.dcline.drop(index=[1, 3])  # at the slack's bus, and beside another
    pp.set_user_pf_options(net, enforce_q_lims=True)


def with_zip_loads_and_shared_slack(net: pandapowerNet) -> None:
    with_zip_loads(net)
    with_shared_slack(net)


KINDS: list[Callable[[pandapowerNet], None]] = [
    with_zip_loads,
    with_reactive_limits,
    with_shared_slack,
    with_dc_lines,
    with_dc_lines_and_limits,
    with_zip_loads_and_shared_slack,
]


def made(case: str, kind: Callable[[pandapowerNet], None]) -> pandapowerNet:
    net = load_case(case).net()
    kind(net)
    return net


def some_settings(net: pandapowerNet, far: float = 1.0) -> Settings:
    """Loads, generators and set-points from the base case to ``far`` from it, a batch."""
    rng = np.random.default_rng(5)
    reach = np.linspace(0.0, far, N_VECTORS)[:, np.newaxis]
    alone = net.gen[~net.gen.bus.isin(set(net.ext_grid.bus))]
    tables = [("load", "p_mw", net.load), ("load", "q_mvar", net.load), ("gen", "p_mw", alone)]
    fields, values = [], []
    for table, column, rows in tables:
        factor = 1.0 + reach * rng.uniform(-0.3, 0.4, (N_VECTORS, len(rows)))
        fields.append(Field(table, column, tuple(rows.index)))
        values.append(factor * rows[column].to_numpy(dtype=float))
    fields.append(Field("gen", "vm_pu", tuple(alone.index)))
    moved = reach * rng.uniform(-0.03, 0.03, (N_VECTORS, len(alone)))
    values.append(alone.vm_pu.to_numpy(dtype=float) + moved)
    return Settings(tuple(fields), np.concatenate(values, axis=1)[:, np.newaxis, :])


def assert_same(found: GridState, expected: GridState, atol: float = 1e-7) -> None:
    """All quantities, relative to their size where that is above 1."""
    np.testing.assert_array_equal(found.converged, expected.converged)
    np.testing.assert_array_equal(found.n_unsupplied, expected.n_unsupplied)
    for quantity in QUANTITIES:
        a, b = (state[quantity][expected.converged] for state in (found, expected))
        size = np.maximum(1.0, np.abs(b))
        np.testing.assert_allclose(a / size, b / size, rtol=0, atol=atol, err_msg=quantity)


def assert_bits_stay(engine: NewtonEngine, settings: Settings, state: GridState) -> None:
    """Backwards and one by one."""
    n = len(settings.values)
    backwards = np.arange(n)[::-1]
    found = engine.solve(settings.candidates(backwards))
    np.testing.assert_array_equal(found.values[::-1], state.values)
    for i in (0, n // 2, n - 1):
        one = engine.solve(settings.candidates(np.array([i])))
        np.testing.assert_array_equal(one.values[0], state.values[i])


# -- beside runpp -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_newton_equals_runpp(
    case: str, kind: Callable[[pandapowerNet], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = made(case, kind)
    settings = some_settings(net)
    engine = NewtonEngine(net)
    state = engine.solve(settings)
    assert state.converged.sum() >= 10
    assert_same(state, ReferenceEngine(net).solve(settings))
    for i in range(0, N_VECTORS, 6):
        model, expected = state.bus_branch(i), ReferenceEngine(net)
        if state.converged[i, 0]:
            other = expected.solve(settings.candidates(np.array([i]))).bus_branch(0)
            np.testing.assert_array_equal(np.sort(model.load_buses), np.sort(other.load_buses))
            np.testing.assert_allclose(model.v_pu, other.v_pu, rtol=0, atol=1e-7)
    assert_bits_stay(engine, settings, state)

    def refuse(*arguments: object) -> GridState:
        raise AssertionError("solved by the reference")

    monkeypatch.setattr(engine, "_by_reference", refuse)
    for space in engine._local.spaces.values():
        space._by_reference = refuse
    few = settings.candidates(np.flatnonzero(state.converged[:, 0])[:10])
    assert engine.solve(few).converged.all()  # nearly all are solved together


@pytest.mark.parametrize("kind", [with_zip_loads, with_reactive_limits, with_shared_slack])
def test_what_diverges_is_left_to_runpp(kind: Callable[[pandapowerNet], None]) -> None:
    net = made("ieee14", kind)
    settings = some_settings(net, far=0.1)
    settings.values[N_VECTORS // 2 :, 0, : len(net.load)] *= 20.0
    state = NewtonEngine(net).solve(settings)
    assert state.converged.any()
    assert not state.converged.all()
    assert np.isnan(state.values[~state.converged]).all()
    assert_same(state, ReferenceEngine(net).solve(settings))


def test_auto_takes_newton_for_meshed_nets_with_zip_loads() -> None:
    net = made("ieee14", with_zip_loads)
    problem = GridProblem(net, ["setpoints"], limits={"vm_pu": (0.9, 1.1)})
    assert problem.engine_name == "newton"
    f, _ = problem.evaluate(problem.base_x)
    assert f[0] == pytest.approx(float(ReferenceEngine(net).solve(NOTHING).p_loss_mw[0]), abs=1e-7)


# -- by hand ----------------------------------------------------------------------------------


def test_a_load_of_constant_impedance_is_a_shunt() -> None:
    """1 + 0.5j MVA at 1 p.u. behind 1 + 4j ohm at 10 kV: a voltage divider."""
    net = two_bus()
    for part in "pq":
        net.load[f"const_z_{part}_percent"] = 100.0
    z_line, z_load = (1 + 4j) / 100.0, 1.0 / np.conj(1.0 + 0.5j)  # p.u. of 1 MVA
    state = NewtonEngine(net).solve(NOTHING)
    assert state.vm_pu[0, 1] == pytest.approx(abs(z_load / (z_load + z_line)), abs=1e-9)
    assert state.ext_grid_p_mw[0, 0] == pytest.approx((1 / (z_load + z_line)).real, abs=1e-9)


def test_a_machine_at_its_limit_gives_it_and_lets_the_voltage_go() -> None:
    net = two_bus()
    pp.create_gen(net, 1, p_mw=0.5, vm_pu=1.0, min_q_mvar=-0.1, max_q_mvar=0.2)
    free = NewtonEngine(net).solve(NOTHING)
    assert free.vm_pu[0, 1] == pytest.approx(1.0, abs=1e-14)
    assert free.gen_q_mvar[0, 0] > 0.2
    pp.set_user_pf_options(net, enforce_q_lims=True)
    kept = NewtonEngine(net).solve(NOTHING)
    assert kept.gen_q_mvar[0, 0] == 0.2  # to the last bit, so that its limit holds
    assert kept.vm_pu[0, 1] < 1.0
    net.gen["max_q_mvar"] = 2.0
    np.testing.assert_allclose(NewtonEngine(net).solve(NOTHING).values, free.values, atol=1e-9)


def test_machines_share_what_is_missing_by_their_weights() -> None:
    net = two_bus()
    pp.create_gen(net, 1, p_mw=0.5, vm_pu=1.0, slack_weight=3.0)
    net.ext_grid["slack_weight"] = 1.0
    pp.set_user_pf_options(net, distributed_slack=True)
    state = NewtonEngine(net).solve(NOTHING)
    missing = 1.0 + float(state.p_loss_mw[0]) - 0.5
    assert state.gen_p_mw[0, 0] == pytest.approx(0.5 + 0.75 * missing, abs=1e-8)
    assert state.ext_grid_p_mw[0, 0] == pytest.approx(0.25 * missing, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enforce_q_lims": True}, "enforce_q_lims=True, with gen 1 and gen 4 at one bus"),
        ({"enforce_q_lims": 2}, "enforce_q_lims=2"),
        ({"distributed_slack": True}, "distributed_slack=True, with gen 1 and gen 4 at one bus"),
    ],
)
def test_what_runpp_alone_does(options: dict[str, object], message: str) -> None:
    net = meshed()
    pp.create_gen(net, net.gen.bus[1], p_mw=1.0, vm_pu=net.gen.vm_pu[1])
    pp.set_user_pf_options(net, **options)
    for engine in (NewtonEngine, SweepEngine):
        with pytest.raises(UnsupportedByEngine, match="the net asks for the power flow option"):
            engine(net)
    with pytest.raises(UnsupportedByEngine, match=message):
        NewtonEngine(net)


def test_without_stored_code_these_are_left_to_runpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newton, "is_stored", lambda function: False)
    NewtonEngine(load_case("ieee14").net())
    with pytest.raises(UnsupportedByEngine, match=r"depend on voltage.*no folder"):
        NewtonEngine(made("ieee14", with_zip_loads))


def test_options_of_a_grid() -> None:
    grid = NetGrid("ieee30", power_flow={"enforce_q_lims": True})
    problem = GridProblem(grid, ["setpoints"])
    assert problem.engine_name == "newton"
    x = problem.xu
    state, q_mvar = problem.solve(x), problem.net.gen.max_q_mvar.to_numpy()
    assert (state.gen_q_mvar[0] <= q_mvar).all()
    assert (GridProblem("ieee30", ["setpoints"]).solve(x).gen_q_mvar[0] > q_mvar).any()
    np.testing.assert_allclose(problem.apply(x).res_gen.q_mvar, state.gen_q_mvar[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"power_flow: unknown option 'enforce_qlims' \(did you"):
        NetGrid("ieee30", power_flow={"enforce_qlims": True})


# -- generators out of service ------------------------------------------------------------------


def outages_of(net: pandapowerNet, gens: list[int]) -> Settings:
    """All in service, each out, and the first two out."""
    rows = np.ones((len(gens) + 2, len(gens)))
    rows[1:-1][np.eye(len(gens), dtype=bool)] = 0.0
    rows[-1, :2] = 0.0
    return Settings((Field("gen", "in_service", tuple(gens)),), rows[:, np.newaxis, :])


@pytest.mark.parametrize("case", [*CASES, "ieee118"])
@pytest.mark.parametrize("limited", [False, True])
def test_outages_of_generators_equal_runpp(case: str, limited: bool) -> None:
    net = load_case(case).net()
    if limited:
        with_reactive_limits(net)
    gens = [int(g) for g in net.gen.index[~net.gen.slack & ~net.gen.bus.isin(net.ext_grid.bus)]][:9]
    net.gen.loc[gens[-1], "in_service"] = False  # settings put it back
    settings = outages_of(net, gens)
    assert is_numeric(net, settings.fields[0])
    engine = NewtonEngine(net)
    state = engine.solve(settings)
    assert len(engine._models) == 1
    assert_same(state, ReferenceEngine(net).solve(settings))
    out = np.flatnonzero(state.converged[1:-1, 0])
    assert len(out)
    places = net.gen.index.get_indexer(np.array(gens)[out])
    assert not state.gen_p_mw[1 + out, 0, places].any()
    assert not state.gen_q_mvar[1 + out, 0, places].any()
    assert_bits_stay(engine, settings, state)


def test_lightsim2grid_takes_outages_of_generators_over() -> None:
    net = load_case("ieee39").net()
    settings = outages_of(net, [1, 2, 4])
    engine = NewtonEngine(net)
    together = engine.solve(settings)
    for space in engine._local.spaces.values():
        space._together = None
    assert_same(engine.solve(settings), together)
    np.testing.assert_allclose(
        l_index(settings, engine.solve(settings)),
        l_index(settings, ReferenceEngine(net).solve(settings)),
        atol=1e-8,
    )


def test_a_generator_beside_another_makes_pandapower_build_anew() -> None:
    net = meshed()
    pp.create_gen(net, net.gen.bus[1], p_mw=1.0, vm_pu=net.gen.vm_pu[1])
    assert not is_numeric(net, Field("gen", "in_service", (1,)))
    settings = outages_of(net, [1, 4])
    engine = NewtonEngine(net)
    assert_same(engine.solve(settings), ReferenceEngine(net).solve(settings))
    assert len(engine._models) == 4


def test_outages_of_generators_as_situations() -> None:
    limits = {"vm_pu": (0.9, 1.1)}
    problem = GridProblem("ieee30", ["setpoints"], Outages("gens"), limits=limits)
    assert problem.engine_name == "newton"
    assert problem.situations.names == ["", *(f"gen {g} out" for g in range(5))]
    f, g = problem.evaluate(problem.base_x)
    whole = GridProblem("ieee30", ["setpoints"], limits=limits)
    assert f == pytest.approx(whole.evaluate(whole.base_x)[0], abs=1e-9)
    entry = dict(zip(problem.constraint_names, g, strict=True))
    assert entry["n-1 power_flow"] == 0.0
    lowest = np.full(len(problem.net.bus), np.inf)
    for gen in range(5):
        net = copy.deepcopy(problem.net)
        net.gen.loc[gen, "in_service"] = False
        pp.runpp(net, tolerance_mva=1e-9)
        lowest = np.minimum(lowest, net.res_bus.vm_pu.to_numpy())
    for bus in (2, 5, 13, 30):
        expected = (0.9 - lowest[bus - 1]) / 0.2
        assert entry[f"n-1 bus {bus} vm_pu min"] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("taps", "expected 'lines', 'gens', lines by index"),
        ({"bus": [0]}, "unknown table 'bus'"),
        ({}, "empty mapping"),
        ({"gen": [99]}, "no generator 99 in service"),
        ({"gen": []}, "at least one generator"),
        ({"gen": "lines"}, "expected 'gens'"),
    ],
)
def test_outages_that_are_none(asked: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridProblem("ieee14", ["setpoints"], Outages(asked))


def test_a_slack_cannot_go_out() -> None:
    net = two_bus()
    pp.create_gen(net, 1, p_mw=0.5, vm_pu=1.0, slack=True)
    with pytest.raises(ValueError, match="generator 0 is a slack"):
        GridProblem(net, ["setpoints"], Outages({"gen": [0]}), limits={"vm_pu": (0.9, 1.1)})
    with pytest.raises(ValueError, match="no generator in service but slacks"):
        GridProblem(net, ["setpoints"], Outages("gens"), limits={"vm_pu": (0.9, 1.1)})


def test_outages_of_lines_and_generators() -> None:
    asked = Outages({"line": [3], "gen": [0, 2]})
    problem = GridProblem("ieee30", ["setpoints"], asked, limits={"vm_pu": (0.9, 1.1)})
    assert problem.situations.names == ["", "line 3 out", "gen 0 out", "gen 2 out"]
    state = problem.solve(problem.base_x)
    assert state.line_loading_percent[1, 3] == 0.0
    assert state.gen_p_mw[2, 0] == state.gen_q_mvar[3, 2] == 0.0


# -- threads ----------------------------------------------------------------------------------


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    net = load_case("ieee39").net()
    rng = np.random.default_rng(6)
    lines = tuple(int(line) for line in net.line.index)
    status = np.ones((151, len(lines)))
    status[np.arange(151), rng.integers(0, len(lines), 151)] = 0.0  # some split the grid
    settings = Settings((Field("line", "in_service", lines),), status[:, np.newaxis, :])
    expected = NewtonEngine(net).solve(settings)
    engine = NewtonEngine(net)
    engine.n_threads = 3
    monkeypatch.setattr(newton, "_PAYS", 1)
    parts = []
    solve_rows = engine._solve_rows

    def noted(plan: object, values: np.ndarray, rows: np.ndarray) -> object:
        parts.append((threading.get_ident(), len(values)))
        return solve_rows(plan, values, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_solve_rows", noted)
    found = engine.solve(settings)
    assert sum(n for _, n in parts) == 151
    assert len(parts) >= 3
    assert threading.get_ident() not in {ident for ident, _ in parts}
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.converged, expected.converged)
    np.testing.assert_array_equal(found.n_unsupplied, expected.n_unsupplied)
    assert (found.n_unsupplied > 0).any()
    for row in (0, 60, 149, 150):
        one, other = found.bus_branch(row), expected.bus_branch(row)
        np.testing.assert_array_equal(one.v_pu, other.v_pu)
        np.testing.assert_array_equal(one.ybus_pu, other.ybus_pu)


def test_few_power_flows_are_solved_without_threads() -> None:
    engine = NewtonEngine(load_case("ieee14").net())
    engine.n_threads = 4
    load = Field("load", "p_mw", (0,))
    state = engine.solve(Settings((load,), np.linspace(1.0, 30.0, 20)[:, np.newaxis, np.newaxis]))
    assert state.converged.all()
    assert engine._threads is None
    assert engine.solve(Settings((load,), np.zeros((0, 1, 1)))).values.shape[0] == 0


def test_a_problem_with_workers_has_them_in_its_engine() -> None:
    problem = GridProblem("ieee39", ["setpoints"], n_jobs=2)
    assert problem.engine.n_threads == 2
    assert GridProblem("ieee39", ["setpoints"]).engine.n_threads == 1
    rng = np.random.default_rng(7)
    X = rng.uniform(problem.xl, problem.xu, (40, problem.n_var))
    alone = GridProblem("ieee39", ["setpoints"])
    for found, expected in zip(problem.evaluate(X), alone.evaluate(X), strict=True):
        np.testing.assert_array_equal(found, expected)
