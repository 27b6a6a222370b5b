"""F and every entry of G against a second implementation, over the nets that pandapower ships.

Left out of the sweep: nets of more than 1,000 buses (GBnetwork, case1354pegase, case1888rte,
case2848rte, case2869pegase, case3120sp, case6470rte, case6495rte, case6515rte, case9241pegase,
lv_schutterwald), whose `runpp` beside ours would take minutes, and the four of the six like nets
kb_extrem_vorstadtnetz_* and create_kerber_vorstadtnetz_* that take a second each to build.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandapower.networks as pn
import pandas as pd
import pytest
from independent import (
    ENTRY,
    Judged,
    Key,
    dispatch,
    dispatch_bounds,
    feeder_limits,
    feeder_objectives,
    fresh_circuit,
    interruptions,
    is_spanning_tree,
    open_lines_of_keys,
    over_time,
    reconfigured,
    states_of_charge,
    with_powers,
)
from pandapower.auxiliary import pandapowerNet

from gridproblems import DERPlacement, ReactivePowerDispatch, Reconfiguration, StorageSchedule
from gridproblems.cases import load_case
from gridproblems.errors import UnsupportedByEngine
from gridproblems.tasks.allocation import DERAllocation
from gridproblems.tasks.regulators import RegulatorControl

SWEPT = (
    "GBreducednetwork", "case4gs", "case5", "case6ww", "case9", "case11_iwamoto", "case14",
    "case24_ieee_rts", "case30", "case33bw", "case39", "case57", "case89pegase", "case118",
    "case145", "case300", "case_ieee30", "case_illinois200", "create_cigre_network_hv",
    "create_cigre_network_lv", "create_cigre_network_mv", "create_dickert_lv_network",
    "create_kerber_dorfnetz", "create_kerber_landnetz_freileitung_1",
    "create_kerber_landnetz_freileitung_2", "create_kerber_landnetz_kabel_1",
    "create_kerber_landnetz_kabel_2", "create_kerber_vorstadtnetz_kabel_1",
    "create_synthetic_voltage_control_lv_network", "example_multivoltage", "example_simple",
    "four_loads_with_branches_out", "iceland", "ieee_european_lv_asymmetric",
    "kb_extrem_dorfnetz", "kb_extrem_dorfnetz_trafo", "kb_extrem_landnetz_freileitung",
    "kb_extrem_landnetz_freileitung_trafo", "kb_extrem_landnetz_kabel",
    "kb_extrem_landnetz_kabel_trafo", "kb_extrem_vorstadtnetz_trafo_1", "mv_oberrhein",
    "panda_four_load_branch", "simple_four_bus_system", "simple_mv_open_ring_net",
)  # fmt: skip
VARIANTS = {
    "create_cigre_network_mv with wind": lambda: pn.create_cigre_network_mv(with_der="pv_wind"),
    "create_synthetic_voltage_control_lv_network suburb": lambda: (
        pn.create_synthetic_voltage_control_lv_network("suburb_1")
    ),
    "mv_oberrhein generation": lambda: pn.mv_oberrhein("generation"),
}
ALL_OBJECTIVES = (
    "p_loss_mw", "p_loss_kw", "line_loss_mw", "voltage_deviation_pu", "v_min_pu", "l_index",
    "loading_percent",
)  # fmt: skip
BAND, LOADING_PERCENT = (0.93, 1.07), 90.0
RTOL, ATOL = 1e-6, 1e-7


def net_called(name: str) -> pandapowerNet:
    net = VARIANTS[name]() if name in VARIANTS else getattr(pn, name)()
    net = net[0] if isinstance(net, tuple) else net
    # taps that may move on nets that say nothing of their range
    for table in ("trafo",):
        trafos = net[table]
        if not len(trafos):
            continue
        for column in ("tap_min", "tap_max"):
            if column not in trafos:
                trafos[column] = np.nan
        movable = trafos.tap_pos.notna() & (trafos.tap_changer_type == "Ratio")
        movable &= trafos.tap_min.isna() & trafos.tap_max.isna()
        position = trafos.tap_pos[movable].round()
        trafos.loc[movable, "tap_pos"] = position
        trafos.loc[movable, "tap_min"] = position - 2
        trafos.loc[movable, "tap_max"] = position + 2
    return net


def problem_of(net: pandapowerNet, engine: str, **arguments: Any) -> ReactivePowerDispatch:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ReactivePowerDispatch(
            net, ALL_OBJECTIVES, engine=engine, require_base_solution=False, **arguments
        )


def two_problems(net: pandapowerNet, **arguments: Any) -> list[ReactivePowerDispatch]:
    """With the engine that is chosen by itself, and with another one."""
    first = problem_of(net, "auto", **arguments)
    for engine in ("newton", "sweep", "reference"):
        if engine == first.engine_name:
            continue
        try:
            return [first, problem_of(net, engine, **arguments)]
        except UnsupportedByEngine:
            continue
    raise AssertionError("no second engine")


def arguments_for(net: pandapowerNet) -> dict[str, Any]:
    """Limits where the tables have none, and a control where nothing else can be set."""
    limits: dict[str, Any] = {}
    if "max_vm_pu" not in net.bus or net.bus.max_vm_pu.isna().all():
        limits["vm_pu"] = BAND
    if "max_loading_percent" not in net.line or net.line.max_loading_percent.isna().all():
        limits["loading_percent"] = LOADING_PERCENT
    if dispatch_bounds(net):
        return {"limits": limits}
    limits["ext_grid_vm_pu"] = (0.97, 1.06)
    return {"limits": limits, "controls": {"ext_grid": net.ext_grid.index[:1].tolist()}}


def vectors(problem: ReactivePowerDispatch, seed: int) -> np.ndarray:
    """The base, two near it, two anywhere, the corners."""
    rng = np.random.default_rng(seed)
    base, low, high = problem.base_x, problem.xl, problem.xu
    near = base + 0.2 * (rng.uniform(low, high, (2, len(base))) - base)
    return problem.snap(np.array([base, *near, *rng.uniform(low, high, (2, len(base))), low, high]))


def key_of(name: str) -> Key:
    parts = ENTRY.fullmatch(name)
    assert parts, name
    return parts[1], int(parts[2]), parts[3], parts[4] or ""


def agree(problem: Any, x: np.ndarray, out: dict[str, Any], judged: Judged) -> None:
    assert np.isfinite(out["F"]).all()
    assert np.isfinite(out["G"]).all()
    if judged.F is None or judged.G is None:
        assert out["G"][0] > 0, "a candidate whose power flow fails is infeasible"
        return
    assert out["G"][0] <= 0
    expected = [judged.F[name] for name in problem.objective_names]
    np.testing.assert_allclose(out["F"], expected, RTOL, ATOL, err_msg=str(problem.objective_names))
    names = problem.constraint_names[1:]
    assert {key_of(name) for name in names} == set(judged.G)
    wanted = np.array([judged.G[key_of(name)] for name in names])
    worst = np.argmax(np.abs(out["G"][1:] - wanted)) if len(names) else 0
    np.testing.assert_allclose(
        out["G"][1:], wanted, 1e-5, 1e-6, err_msg=names[worst] if names else ""
    )


@pytest.mark.parametrize("name", [*SWEPT, *VARIANTS])
def test_dispatch(name: str) -> None:
    net = net_called(name)
    arguments = arguments_for(net)
    band = arguments["limits"].get("vm_pu")
    loading = arguments["limits"].get("loading_percent")
    problems = two_problems(net, **arguments)
    X = vectors(problems[0], seed=len(net.bus))
    judged = [dispatch(net, problems[0].vars, x, band, loading) for x in X]
    for problem in problems:
        for x, out, one in zip(X, problem.evaluate_many(X), judged, strict=True):
            agree(problem, x, out, one)


# -- the other tasks ------------------------------------------------------------------------------


def agree_on(problem: Any, out: dict[str, Any], judged: Judged, own: dict[str, float]) -> None:
    """F, the limits of the grid by element, and further entries of G by name."""
    assert np.isfinite(out["F"]).all()
    assert np.isfinite(out["G"]).all()
    if judged.F is None or judged.G is None:
        assert out["G"][0] > 0
        return
    assert out["G"][0] <= 0
    expected = [judged.F[name] for name in problem.objective_names]
    np.testing.assert_allclose(out["F"], expected, RTOL, ATOL, err_msg=str(problem.objective_names))
    wanted = {}
    for name in problem.constraint_names[1:]:
        wanted[name] = own[name] if name in own else judged.G[key_of(name)]
    assert len(wanted) == len(judged.G) + len(own)
    np.testing.assert_allclose(out["G"][1:], list(wanted.values()), 1e-5, 1e-6)


def random_vectors(problem: Any, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return problem.snap([problem.base_x, *rng.uniform(problem.xl, problem.xu, (n, problem.n_var))])


def ring(name: str) -> pandapowerNet:
    """A net with loops, and with failure rates of its lines."""
    net = getattr(pn, name)() if hasattr(pn, name) else load_case(name).net()
    net.line["failure_rate_per_year"] = 0.1 + 0.01 * np.arange(len(net.line))
    net.line["repair_hours"] = 1.0 + np.arange(len(net.line)) % 5
    net.load["n_customers"] = 1.0 + np.arange(len(net.load)) % 7
    return net


@pytest.mark.parametrize("coding", ["nearest_tree", "spanning_tree"])
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("case33bw", "sweep"),
        ("case33bw", "newton"),
        ("case16", "sweep"),
        ("create_cigre_network_mv", "sweep"),
        ("create_cigre_network_mv", "reference"),
        ("simple_mv_open_ring_net", "newton"),
        ("mv_oberrhein", "sweep"),
    ],
)
def test_reconfiguration(name: str, engine: str, coding: str) -> None:
    net = ring(name)
    names = ["p_loss_kw", "voltage_deviation_pu", "v_min_pu", "loading_percent",
             "switching_actions"]  # fmt: skip
    with_paths = len(net.trafo) == 0 and len(net.ext_grid) == 1
    if with_paths:
        names += ["saifi_per_year", "saidi_hours_per_year"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem = Reconfiguration(
            net,
            names,
            coding,
            {"vm_pu": BAND, "loading_percent": LOADING_PERCENT},
            engine=engine,
            require_base_solution=False,
            # few of its lines have switches, and none that could open in their place
            switchable=net.line.index.tolist() if name == "create_cigre_network_mv" else None,
        )
    switchable = set(problem.graph.lines[problem.graph.switchable].tolist())
    (before,) = problem.open_lines(problem.base_x)
    X = random_vectors(problem, 4, seed=3)
    for x, out in zip(X, problem.evaluate_many(X), strict=True):
        (opened,) = problem.open_lines(x)
        assert is_spanning_tree(net, set(opened))
        if coding == "spanning_tree":
            keys = {
                int(re.match(r"key of line (\d+)", v)[1]): k  # type: ignore[index]
                for v, k in zip(problem.vars, x, strict=True)
            }
            stay_open = set(opened) - set(keys)
            assert open_lines_of_keys(net, keys) | stay_open == set(opened)
        solved = reconfigured(net, set(opened), switchable)
        judged = over_time([solved], 1.0, BAND, LOADING_PERCENT)
        if judged.F is not None:
            judged.F["switching_actions"] = float(len(set(opened) ^ set(before)))
            if with_paths:
                often, long = interruptions(net, set(opened))
                judged.F |= {"saifi_per_year": often, "saidi_hours_per_year": long}
        agree_on(problem, out, judged, {})


LOAD_33 = np.outer([0.6, 1.1, 0.9], load_case("case33bw").net().load.p_mw)
PV_33 = [0.2, 1.0, 0.5]
OVER_TIME = [
    "p_loss_kw", "energy_loss_kwh", "exchange_energy_kwh", "exchange_peak_kw",
    "line_loading_sum_percent", "line_loading_max_percent", "voltage_deviation_pu", "v_min_pu",
]  # fmt: skip


@pytest.mark.parametrize("engine", ["sweep", "newton"])
@pytest.mark.parametrize("name", ["case33bw", "create_cigre_network_mv", "case14"])
def test_placement(name: str, engine: str) -> None:
    if name == "case14" and engine == "sweep":
        engine = "reference"
    net = load_case(name).net() if name == "case33bw" else getattr(pn, name)()
    kinds = ("pv", "dg", "dg", "capacitor", "storage")
    power = np.outer([0.6, 1.1, 0.9], net.load.p_mw)
    hours, limits = 0.5, {"vm_pu": BAND, "loading_percent": LOADING_PERCENT}
    series = {("load", "p_mw"): power}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem = DERPlacement(
            net, 5, kinds, OVER_TIME, limits, series=series, profile=PV_33, hours=hours,
            power_factor=(0.8, 1.0), engine=engine, battery={"round_trip_efficiency": 0.8},
        )  # fmt: skip
    loads = [
        {("load", "p_mw", e): p for e, p in zip(net.load.index, row, strict=True)} for row in power
    ]
    X = random_vectors(problem, 4, seed=4)
    for x, out in zip(X, problem.evaluate_many(X), strict=True):
        units, schedule = problem.units(x), problem.schedule(x)
        values = dict(zip(problem.vars, x, strict=True))
        solved = []
        for t, settings in enumerate(loads):
            injected = []
            for unit in units.itertuples():
                p, q = 0.0, 0.0
                size = values[f"{unit.unit} size_{'mvar' if unit.kind == 'capacitor' else 'mw'}"]
                if unit.kind == "capacitor":
                    q = size
                elif unit.kind == "storage":
                    p = -size * values[f"{unit.unit} p_share[{t}]"]
                else:
                    p = size * (PV_33[t] if unit.kind == "pv" else 1.0)
                    q = p * np.tan(np.arccos(values[f"{unit.unit} power_factor"]))
                injected.append((unit.bus, p, q))
            solved.append(with_powers(net, settings, injected))
        size = values["storage 1 size_mw"]
        share = [values[f"storage 1 p_share[{t}]"] for t in range(3)]
        charge = states_of_charge(share, 2.0, hours, 0.8, 0.5)
        np.testing.assert_allclose(schedule["storage 1 p_mw"], size * np.array(share), atol=1e-12)
        own = {
            "storage 1 max": max(charge) - 1.0 - 1e-6,
            "storage 1 min": -min(charge) - 1e-6,
            "storage 1 end": abs(charge[-1] - 0.5) - 1e-6,
        }
        assert max(own.values()) <= 0, "random schedules are made feasible"
        agree_on(problem, out, over_time(solved, hours, BAND, LOADING_PERCENT), own)


@pytest.mark.parametrize(("repair", "engine"), [(True, "sweep"), (False, "newton")])
def test_storage(repair: bool, engine: str) -> None:
    net = load_case("lv18").net()
    files = load_case("lv18").profiles
    power = {k: pd.read_csv(path).drop(columns="hour").to_numpy() for k, path in files.items()}
    storages = [
        {"bus": 9, "power_mw": 0.004, "energy_mwh": 0.009},
        {"bus": 17, "power_mw": 0.002, "energy_mwh": 0.003},
    ]
    problem = StorageSchedule("lv18", storages, OVER_TIME, repair=repair, engine=engine)
    X = random_vectors(problem, 3, seed=5)
    for x, out in zip(X, problem.evaluate_many(X), strict=True):
        values = dict(zip(problem.vars, x, strict=True))
        p_mw = {b: [values[f"storage at bus {b} p_mw[{t}]"] for t in range(24)] for b in (9, 17)}
        solved = []
        for t in range(24):
            settings = {("load", "p_mw", e): power["load"][t, e] for e in range(17)}
            settings |= {("sgen", "p_mw", e): power["generation"][t, e] for e in range(17)}
            solved.append(with_powers(net, settings, [(b, -p[t], 0.0) for b, p in p_mw.items()]))
        own = {}
        for storage in storages:
            bus = int(storage["bus"])
            charge = states_of_charge(p_mw[bus], storage["energy_mwh"], 1.0, 0.9, 0.5)
            own[f"storage at bus {bus} max"] = max(charge) - 1.0 - 1e-6
            own[f"storage at bus {bus} min"] = -min(charge) - 1e-6
            own[f"storage at bus {bus} end"] = abs(charge[-1] - 0.5) - 1e-6
        agree_on(problem, out, over_time(solved, 1.0, None, None), own)


@pytest.mark.parametrize("engine", ["sweep", "newton"])
@pytest.mark.parametrize("name", ["lv18", "create_cigre_network_lv"])
def test_allocation(name: str, engine: str) -> None:
    net = load_case(name).net() if name == "lv18" else getattr(pn, name)()
    elements = net.load.index.tolist()
    rng = np.random.default_rng(6)
    load = rng.uniform(0.001, 0.004, (4, len(elements)))
    sgen = rng.uniform(0.0, 0.005, (4, len(net.sgen))) if len(net.sgen) else None
    problem = DERAllocation(
        net, sgen, load, OVER_TIME, {"vm_pu": BAND, "loading_percent": 40.0}, engine=engine,
        hours=0.25,
    )  # fmt: skip
    X = rng.random((3, problem.n_var))
    for x, out in zip(X, problem.evaluate_many(X), strict=True):
        parts = [("sgen", sgen)] if sgen is not None else []
        solved = []
        for t in range(4):
            settings, start = {}, 0
            for table, profiles in [*parts, ("load", load)]:
                n = profiles.shape[1]
                place = np.argsort(np.argsort(x[start : start + n]))  # ranks of random keys
                at = net[table].index[place]
                settings |= {(table, "p_mw", e): profiles[t, k] for k, e in enumerate(at)}
                start += n
            solved.append(with_powers(net, settings))
        agree_on(problem, out, over_time(solved, 0.25, BAND, 40.0), {})


FEEDER_OBJECTIVES = [
    "voltage_fitness", "node_voltage_fitness", "node_voltage_deviation_pu", "p_loss_kw",
    "voltage_unbalance_percent",
]  # fmt: skip


@pytest.mark.parametrize("variables", ["vreg", "taps"])
@pytest.mark.parametrize("feeder", ["village", "ieee123"])
def test_regulators(feeder: str, variables: str) -> None:
    band, rated = (0.96, 1.04), 80.0
    problem = RegulatorControl(
        feeder,
        FEEDER_OBJECTIVES,
        variables,
        capacitors=True,
        limits={"vm_pu": band, "loading_percent": rated},
    )
    commands = [command.text for command in problem.grid.feeder.commands]
    for x in random_vectors(problem, 3, seed=7):
        (out,) = problem.evaluate_many([x])
        edits = []
        for name, value in zip(problem.vars, x, strict=True):
            column, element = re.fullmatch(r"(\w+\.\w+)\[(.+)\]", name).groups()  # type: ignore[union-attr]
            if column == "regcontrol.vreg_v":
                edits.append(f"Edit RegControl.{element} Vreg={value}")
            elif column == "regcontrol.tap":
                edits.append(f"Edit RegControl.{element} MaxTapChange=0 TapNum={value:.0f}")
            else:
                steps = 2 if element == "farm" else 1
                on = " ".join("1" if i < value else "0" for i in range(steps))
                edits.append(f"Edit Capacitor.{element} States=[{on}]")
        dss = fresh_circuit(commands, edits)
        judged = feeder_objectives(dss)
        np.testing.assert_allclose(out["F"], [judged[n] for n in FEEDER_OBJECTIVES], 1e-7, 1e-9)
        wanted = feeder_limits(dss, band, rated)
        names = problem.constraint_names[1:]
        assert len(names) == len(wanted)
        for name, value in zip(names, out["G"][1:], strict=True):
            element, _, limit = re.fullmatch(r"(\w+ \S+)( )(.+)", name).groups()  # type: ignore[union-attr]
            assert value == pytest.approx(wanted[element, limit], abs=2e-6), name
