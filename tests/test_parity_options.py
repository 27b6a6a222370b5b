"""Options, start, taps and storages beside plain ``runpp``."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import NO_LIMITS, feeder, meshed, tap_zoo, two_bus
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from test_all_engines import assert_equal, is_radial, solve_plainly

from gridproblems import Control, PowerFlowNotConverged, StorageSchedule
from gridproblems.engines import ENGINES, NewtonEngine, ReferenceEngine, SweepEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.problem import GridProblem
from gridproblems.state import Field, GridState, Settings

NOTHING = Settings((), np.zeros(0))

# -- options of the net -------------------------------------------------------------------------

FOLLOWED: list[dict[str, Any]] = [
    {"calculate_voltage_angles": False},
    {"trafo_model": "pi"},
    {"trafo3w_losses": "lv"},
    {"init": "dc"},
    {"init_vm_pu": 1.03, "init_va_degree": "dc"},
    {"max_iteration": 25},
    {"tolerance_mva": 1e-3},
]
REFUSED: list[dict[str, Any]] = [
    {"trafo_loading": "power"},
    {"trafo3w_losses": "star"},
    {"algorithm": "iwamoto_nr"},
    {"enforce_q_lims": True},
    {"enforce_p_lims": True},
    {"consider_line_temperature": True},
    {"neglect_open_switch_branches": True},
]


def optioned(options: dict[str, Any]) -> pandapowerNet:
    net = tap_zoo()
    net.line["temperature_degree_celsius"], net.line["alpha"] = 80.0, 0.004
    pp.set_user_pf_options(net, **options)
    return net


def problem_of(net: pandapowerNet, objective: str = "loading_percent") -> GridProblem:
    controls = [Control("trafo", "tap_pos", (1,), "integer", -3.0, 13.0)]
    return GridProblem(net, controls, objectives=objective, limits=NO_LIMITS, name="options")


@pytest.mark.parametrize("options", FOLLOWED, ids=str)
def test_options_that_the_compiled_model_follows(options: dict[str, Any]) -> None:
    net = optioned(options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        problem = problem_of(net)
    assert problem.engine_name == "newton"
    for tap in (3.0, 5.0, 8.0):
        expected = solve_plainly(net, problem.decode([tap]))
        assert expected is not None
        assert_equal(problem.solve([tap]), expected)
        assert_equal(ReferenceEngine(net).solve(problem.decode([tap])), expected)


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_options_that_only_runpp_follows(options: dict[str, Any]) -> None:
    net = optioned(options)
    for engine_class in (NewtonEngine, SweepEngine):
        with pytest.raises(UnsupportedByEngine, match=f"option {next(iter(options))}="):
            engine_class(net)
    problem = problem_of(net)
    assert problem.engine_name == "reference"
    expected = solve_plainly(net, problem.decode([7.0]))
    assert expected is not None
    loading = max(expected[f"res_{t}"].loading_percent.max() for t in ("line", "trafo", "trafo3w"))
    assert problem.evaluate_many([[7.0]])[0]["F"] == pytest.approx([loading], abs=1e-5)


@pytest.mark.parametrize("algorithm", ["bfsw", "gs", "iwamoto_nr", "fdbx"])
def test_the_reference_knows_other_algorithms(algorithm: str) -> None:
    net = two_bus()
    pp.set_user_pf_options(net, algorithm=algorithm)
    state = ReferenceEngine(net).solve(NOTHING)
    assert state.solved
    pp.runpp(net, lightsim2grid=False, tolerance_mva=1e-11)
    np.testing.assert_allclose(state.vm_pu[0], net.res_bus.vm_pu, rtol=0, atol=1e-8)
    out = Settings.from_mapping({("line", "in_service"): {0: 0.0}})
    assert not ReferenceEngine(net).solve(out).solved


def test_the_reference_starts_from_given_results_every_time() -> None:
    net = meshed()
    pp.runpp(net)
    pp.set_user_pf_options(net, init="results")
    engine = ReferenceEngine(net)
    settings = Settings.from_mapping({("load", "scaling"): dict.fromkeys(net.load.index, 1.2)})
    first = engine.solve(settings)
    engine.solve(Settings.from_mapping({("load", "scaling"): dict.fromkeys(net.load.index, 0.4)}))
    np.testing.assert_array_equal(first.values, engine.solve(settings).values)
    assert_equal(NewtonEngine(net).solve(settings), solve_plainly(net, settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("quantity", ["gen_q_mvar", "trafo_loading_percent", "va_degree"])
def test_auto_compares_every_quantity(quantity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is right in voltages and losses alone is not taken."""

    class Wrong(NewtonEngine):
        def solve(self, settings: Settings) -> GridState:
            state = super().solve(settings)
            values = state.values.copy()
            values[..., state.layout.slices[quantity]] *= 1.01
            return GridState(state.layout, values, state.converged, state.n_unsupplied)

    monkeypatch.setitem(ENGINES, "newton", Wrong)
    net = tap_zoo()
    with pytest.warns(UserWarning, match=f"{quantity} differs from pandapower.runpp by"):
        assert problem_of(net, "p_loss_mw").engine_name == "reference"


# -- where Newton starts ------------------------------------------------------------------------


def starts(net: pandapowerNet) -> np.ndarray:
    """Magnitudes that plain ``runpp`` starts with, per bus."""
    net = copy.deepcopy(net)
    with pytest.raises(LoadflowNotConverged):
        pp.runpp(net, lightsim2grid=False, max_iteration=0)
    lookup = net._pd2ppc_lookups["bus"][net.bus.index]
    return np.asarray(net._ppc["internal"]["V"])[lookup]


def test_newton_starts_at_the_mean_set_point_of_every_candidate() -> None:
    from gridproblems.engines._kernels import prepare_all

    net = meshed()
    field = Field("gen", "vm_pu", tuple(net.gen.index))
    engine = NewtonEngine(net)
    for vm_pu in (net.gen.vm_pu.to_numpy(), np.array([1.1, 0.95, 1.08, 1.09])):
        net.gen["vm_pu"] = vm_pu
        compiled = engine._plan((field,)).compiled
        assert compiled is not None
        parameters = compiled.model.parameters.copy()
        parameters[compiled.places] = vm_pu[compiled.source]
        _, v, *_ = prepare_all(parameters[np.newaxis], compiled.model.arrays)
        found = v[0][compiled.model.arrays.row_bus]
        np.testing.assert_allclose(found, starts(net), rtol=0, atol=1e-12)


@pytest.mark.parametrize("net_name", ["tap_zoo", "meshed", "feeder"])
def test_newton_knows_where_runpp_starts_these_very_settings(net_name: str) -> None:
    """Angles of the DC power flow with other taps, injections, shunts and open branches."""
    from gridproblems.engines._compiled import dc_start
    from gridproblems.engines._kernels import prepare_all

    net = {"tap_zoo": tap_zoo, "meshed": meshed, "feeder": feeder}[net_name]()
    rng = np.random.default_rng(9)
    changes: dict[tuple[str, str], np.ndarray] = {
        ("load", "p_mw"): net.load.p_mw.to_numpy() * rng.uniform(0.5, 3.0, len(net.load)),
        ("gen", "p_mw"): net.gen.p_mw.to_numpy() * rng.uniform(0.5, 3.0, len(net.gen)),
        ("shunt", "p_mw"): rng.uniform(0.0, 5.0, len(net.shunt)),
    }
    if net_name == "meshed":
        changes["line", "in_service"] = (np.arange(len(net.line)) != 3).astype(float)
    else:
        neutral = net.trafo.tap_neutral.to_numpy(dtype=float)
        changes["trafo", "tap_pos"] = neutral + rng.integers(-2, 3, len(net.trafo))
    fields = tuple(Field(t, c, tuple(net[t].index)) for t, c in changes)
    values = np.concatenate(list(changes.values()))
    compiled = NewtonEngine(net)._plan(fields).compiled
    assert compiled is not None
    model = compiled.model
    assert model.dc is not None
    parameters = model.parameters.copy()
    parameters[compiled.places] = values[compiled.source]
    _, v, s, _, y, shunt = (part[0] for part in prepare_all(parameters[np.newaxis], model.arrays))
    start = dc_start(model, model.dc, parameters, v, s, shunt, y)
    for (table, column), column_values in changes.items():
        boolean = column == "in_service"
        net[table][column] = column_values.astype(bool) if boolean else column_values
    here = model.arrays.row_bus
    np.testing.assert_allclose(start[here], starts(net), rtol=0, atol=1e-10)


def test_a_large_grid_converges_where_runpp_does() -> None:
    """From 1 p.u. Newton diverges here."""
    net = pn.case6515rte()
    expected = solve_plainly(net, NOTHING)
    assert expected is not None
    state = NewtonEngine(net).solve(NOTHING)
    assert state.solved
    np.testing.assert_allclose(state.vm_pu[0], expected.res_bus.vm_pu, rtol=0, atol=1e-7)


# -- taps and high voltages in the sweep --------------------------------------------------------


def test_sweep_solves_any_tap_position() -> None:
    net = feeder()
    engine = SweepEngine(net)
    taps = np.array([0.0, 0.5, 1.0, 7.0, -2.0, -2.25])
    statuses = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    fields = (Field("trafo", "tap_pos", (0,)), Field("line", "in_service", (4,)))
    batch = engine.solve(Settings(fields, np.stack([taps, statuses], axis=1)))
    for t, (tap, status) in enumerate(zip(taps, statuses, strict=True)):
        settings = Settings(fields, np.array([tap, status]))
        expected = solve_plainly(net, settings)
        assert expected is not None
        alone = engine.solve(settings)
        assert_equal(alone, expected)
        np.testing.assert_array_equal(batch.values[t], alone.values[0])
        np.testing.assert_array_equal(batch.bus_branch(t).v_pu, alone.bus_branch(0).v_pu)
    problem = GridProblem(
        net,
        [Control("trafo", "tap_pos", (0,), "real", -3.0, 3.0)],
        limits=NO_LIMITS,
        engine="sweep",
        name="real tap",
    )
    applied = problem.apply([0.3])
    losses = applied.res_line.pl_mw.sum() + applied.res_trafo.pl_mw.sum()
    assert problem.evaluate_many([[0.3]])[0]["F"] == pytest.approx([losses], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "zip_percent"), [("sweep", 0.0), ("sweep", 20.0), ("newton", 0.0)]
)
def test_engines_and_apply_agree_on_high_voltages(name: str, zip_percent: float) -> None:
    """Large units raise voltages to where several solutions exist, or none that runpp finds."""
    net = pn.case33bw()
    net.load["const_z_p_percent"] = zip_percent
    pp.create_sgens(net, [17, 32], p_mw=0.0, q_mvar=0.0)
    controls = [
        Control("sgen", column, (e,), "real", 0.0, 60.0)
        for column in ("p_mw", "q_mvar")
        for e in (0, 1)
    ]
    problem = GridProblem(net, controls, limits=NO_LIMITS, engine=name, name="high")
    rng = np.random.default_rng(8)
    n_high = n_failed = 0
    for x in rng.uniform(0.0, 1.0, (25, 4)) * np.array([20.0, 20.0, 60.0, 60.0]):
        state = problem.solve(x)
        if not state.solved:
            n_failed += 1
            with pytest.raises(PowerFlowNotConverged):
                problem.apply(x)
            continue
        applied = problem.apply(x)
        assert is_radial(applied)
        np.testing.assert_allclose(state.vm_pu[0], applied.res_bus.vm_pu, rtol=0, atol=1e-7)
        n_high += bool(applied.res_bus.vm_pu.max() > 1.5)
    assert n_high >= 2
    assert n_failed >= 2


# -- storages -----------------------------------------------------------------------------------


def test_state_of_charge_counts_what_the_storage_draws() -> None:
    """The net scales its storages; the power at the bus is what fills them."""
    net = feeder()
    net.storage.loc[0, ["sn_mva", "max_e_mwh", "scaling"]] = 0.02, 0.04, 0.5
    series = {("load", "scaling"): np.ones((2, len(net.load)))}
    problem = StorageSchedule(
        net, objectives=("p_loss_mw",), series=series, battery={"round_trip_efficiency": 1.0}
    )
    x = np.array([0.01, -0.01])
    schedule = problem.schedule(x)
    applied = problem.apply(x, 0)
    drawn_mw = applied.res_storage.p_mw[0]
    assert drawn_mw == pytest.approx(schedule.filter(like="p_mw").iloc[0, 0])
    soc = schedule.filter(like="soc").iloc[:, 0]
    assert soc[0] == pytest.approx(0.5 + drawn_mw * 1.0 / 0.04)
    losses = problem.solve(x).p_loss_mw[0]
    assert losses == pytest.approx(
        applied.res_line.pl_mw.sum() + applied.res_trafo.pl_mw.sum(), abs=1e-8
    )
    assert net.storage.scaling[0] == 0.5


@pytest.mark.parametrize("column", ["p_mw", "scaling"])
def test_a_series_cannot_set_what_a_schedule_sets(column: str) -> None:
    net = feeder()
    net.storage.loc[0, "sn_mva"] = 0.02
    with pytest.raises(ValueError, match=f"series storage.{column}: storage 0 has a schedule"):
        StorageSchedule(net, series={("storage", column): np.ones((3, 1))})


@pytest.mark.parametrize("name", ENGINES)
def test_a_line_without_rating_is_not_loaded(name: str) -> None:
    """As in the reference: its loading is 0, alone and beside other power flows."""
    net = feeder()
    net.line.loc[1, "max_i_ka"] = np.nan
    factors = np.linspace(0.5, 1.0, 9)
    rows = (net.load.p_mw.to_numpy() * factors[:, np.newaxis])[:, np.newaxis]
    state = ENGINES[name](net).solve(
        Settings((Field("load", "p_mw", tuple(net.load.index)),), rows)
    )
    assert state.solved.all()
    assert (state.line_loading_percent[..., 1] == 0.0).all()
    assert (state.line_loading_percent[..., 0] > 0.0).all()
