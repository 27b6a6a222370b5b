"""Joint problems that no task has, by value against plain loops that know the case data alone.

The loops put what `describe` and the names of variables say into a net by hand, one `runpp` per
situation, or into a freshly compiled OpenDSS circuit.
"""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from independent import (
    Judged,
    as_settings,
    feeder_limits,
    feeder_objectives,
    fresh_circuit,
    grid_limits,
    machine_limits,
    objectives,
    over_time,
    solve,
    states_of_charge,
)
from test_all_problems import INSTANCES

from gridproblems import GridProblem
from gridproblems.cases import load_case
from gridproblems.controls import (
    Control,
    PlacedCapacitors,
    Regulators,
    Schedules,
    Setpoints,
    Switching,
    Taps,
    Units,
)
from gridproblems.controls.block import BlockConstraint
from gridproblems.controls.direct import DirectBlock
from gridproblems.disturbances import LoadMultiplier
from gridproblems.feeders import load_feeder
from gridproblems.situations import Hours, Outages, Scenarios
from gridproblems.testing import check_problem, encodes_present

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "quality"))

import joint

Values = dict[str, float]
VARIABLE_IN_PERIOD = re.compile(r"(.+) in period (\d+)")
NET_ENTRY = re.compile(
    r"(\w+) (\d+)(?: \(.*\))? (vm_pu|loading_percent|p_mw|q_mvar)(?: (max|min))?"
)


@pytest.fixture(scope="module", params=joint.PROBLEMS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def problem(name: str) -> GridProblem:
    return joint.problem_of(name, 2)


def vectors(problem: GridProblem, n: int, seed: int = 1) -> np.ndarray:
    X = np.random.default_rng(seed).uniform(problem.xl, problem.xu, (n, problem.n_var))
    return problem.snap(X)


# -- the plain loops -------------------------------------------------------------------------------


def entries_of(found: dict[Any, float]) -> Values:
    """Entries by the words of a reader: table, element, quantity, side."""
    return {" ".join(map(str, key)).strip(): value for key, value in found.items()}


def plain_dispatch(problem: GridProblem, x: np.ndarray) -> tuple[Values, Values] | None:
    """The whole net, then the net without each line that no bus depends on."""
    net = load_case("ieee39").net()
    settings = as_settings(problem.vars, x)
    whole = solve(net, settings)
    if whole is None:
        return None
    G = entries_of({**grid_limits(whole), **machine_limits(whole)})
    worst: Values = {}
    n_failed = 0
    for line in net.line.index:
        graph = nx.MultiGraph()
        graph.add_nodes_from(net.bus.index)
        graph.add_edges_from(net.line.drop(index=line)[["from_bus", "to_bus"]].to_numpy())
        graph.add_edges_from(net.trafo[["hv_bus", "lv_bus"]].to_numpy())
        if not nx.is_connected(graph):
            continue
        without = solve(net, {**settings, ("line", "in_service", line): False})
        if without is None:
            n_failed += 1
            continue
        entries = entries_of({**grid_limits(without, (0.9, 1.1)), **machine_limits(without)})
        for key, value in entries.items():
            worst[f"n-1 {key}"] = max(value, worst.get(f"n-1 {key}", -np.inf))
    G |= worst
    G["n-1 power_flow"] = n_failed
    return objectives(whole), G


def plain_switching(problem: GridProblem, x: np.ndarray) -> tuple[Values, Values] | None:
    """Opens and closes what `describe` says, adds the units it lists, solves every hour."""
    net = load_case("case33bw").net()
    load = net.load[["p_mw", "q_mvar"]].copy()
    cost = 0.0
    annuity = 0.05 / (1.0 - 1.05**-20)
    for row in problem.describe(x).to_dict("records"):
        if row["action"] in ("open", "close"):
            net.line.loc[row["line"], "in_service"] = row["action"] == "close"
        elif row["kind"] == "dg":
            pp.create_sgen(net, row["bus"], p_mw=row["size"], q_mvar=0.0)
            cost += 1e6 * row["size"] * (annuity + 0.02)
        else:
            pp.create_sgen(net, row["bus"], p_mw=0.0, q_mvar=row["size"])
            cost += (3e4 * row["size"] + 1e3 * (row["size"] > 0)) * annuity
    solved = []
    for share in joint.DAY:
        net.load[["p_mw", "q_mvar"]] = share * load
        solved.append(solve(net, {}))
    judged = over_time(solved, 1.0, (0.95, 1.05), None)
    if judged.F is None or judged.G is None:
        return None
    return {**judged.F, "unit_cost_eur_per_year": cost}, entries_of(judged.G)


def plain_storages(problem: GridProblem, x: np.ndarray) -> tuple[Values, Values] | None:
    """The tap of the hour's period and the storages as loads, in every hour of the case's files."""
    net = load_case("lv18").net()
    power = {
        kind: pd.read_csv(path).drop(columns="hour").to_numpy()
        for kind, path in load_case("lv18").profiles.items()
    }
    values = dict(zip(problem.vars, x, strict=True))
    buses = {int(s["bus"]): s for s in joint.STORAGES}
    solved = []
    for t in range(24):
        net.trafo.loc[0, "tap_pos"] = values[f"trafo.tap_pos[0] in period {t // 4}"]
        net.load["p_mw"], net.sgen["p_mw"] = power["load"][t], power["generation"][t]
        hour = copy.deepcopy(net)
        for bus in buses:
            pp.create_load(hour, bus, p_mw=values[f"storage at bus {bus} p_mw[{t}]"])
        solved.append(solve(hour, {}))
    judged: Judged = over_time(solved, 1.0, None, None)
    if judged.F is None or judged.G is None:
        return None
    G = entries_of(judged.G)
    for bus, storage in buses.items():
        p_mw = [values[f"storage at bus {bus} p_mw[{t}]"] for t in range(24)]
        charge = states_of_charge(p_mw, float(storage["energy_mwh"]), 1.0, 0.9, 0.5)
        G[f"storage at bus {bus} max"] = max(charge) - 1.0 - 1e-6
        G[f"storage at bus {bus} min"] = -min(charge) - 1e-6
        G[f"storage at bus {bus} end"] = abs(charge[-1] - 0.5) - 1e-6
    return judged.F, G


def plain_regulators(problem: GridProblem, x: np.ndarray) -> tuple[Values, Values] | None:
    """A circuit compiled anew for each of three situations, with the capacitors that are built."""
    edits = [
        f"Edit RegControl.{variable[15:-1]} MaxTapChange=0 TapNum={value:.0f}"
        for variable, value in zip(problem.vars, x, strict=True)
        if variable.startswith("regcontrol.tap[")
    ]
    placed = problem.describe(x).to_dict("records")[len(edits) :]
    for i, row in enumerate(placed):
        kv = 0.48 if row["bus"] == "610" else 4.16
        edits.append(
            f"New Capacitor.own{i} bus1={row['bus']} phases=3 kv={kv} kvar={row['size']}"
            + (" enabled=no" if not row["size"] else "")
        )
    disturbed: list[list[str]] = [
        [],
        ["Edit Load.s1a kW=200", "Edit Load.s1a kvar=100"],  # of 40 kW and 20 kvar
        ["Set LoadMult=1.1"],
    ]
    commands = [command.text for command in load_feeder("ieee123").commands]
    circuits = [fresh_circuit(commands, [*edits, *change]) for change in disturbed]
    # the worst of the disturbances is what a feeder is judged by
    F = {"p_loss_kw": max(feeder_objectives(dss)["p_loss_kw"] for dss in circuits)}
    F["placed_kvar"] = sum(row["size"] for row in placed)
    limits = [feeder_limits(dss, (0.93, 1.07), 100.0) for dss in circuits]
    G = {
        f"{element} {limit}": max(entries[element, limit] for entries in limits)
        for element, limit in limits[0]
        if limit != "loading_percent"
    }
    return F, G


PLAIN = {
    "dispatch": plain_dispatch,
    "switching": plain_switching,
    "storages": plain_storages,
    "regulators": plain_regulators,
}


def key_of(name: str) -> str:
    """The name of an entry without the name that an element has besides its index."""
    group, rest = ("n-1 ", name[4:]) if name.startswith("n-1 ") else ("", name)
    found = NET_ENTRY.fullmatch(rest)
    return group + " ".join(part for part in found.groups() if part) if found else name


def test_a_plain_loop_gives_the_same(name: str, problem: GridProblem) -> None:
    n_solved = 0
    for x in vectors(problem, 2):
        (out,) = problem.evaluate_many([x])
        expected = PLAIN[name](problem, x)
        if expected is None:
            assert out["G"][0] > 0
            continue
        n_solved += 1
        F, G = expected
        assert out["G"][0] <= 0
        wanted = [F[objective] for objective in problem.objective_names]
        np.testing.assert_allclose(out["F"], wanted, 1e-6, 1e-8)
        names = [key_of(entry) for entry in problem.constraint_names[1:]]
        assert sorted(names) == sorted(G)
        for entry, value in zip(names, out["G"][1:], strict=True):
            assert value == pytest.approx(G[entry], rel=1e-5, abs=2e-6), entry
    assert n_solved == 2


# -- what every problem promises -------------------------------------------------------------------


def test_the_shared_checks(problem: GridProblem) -> None:
    check_problem(problem, n=5)


def test_apply_is_what_was_evaluated(name: str, problem: GridProblem) -> None:
    x = next(x for x in vectors(problem, 20) if problem.solve(x).solved.all())
    state = problem.solve(x)
    for situation in (0, problem.situations.n - 1):
        applied = problem.apply(x, situation)
        if name == "regulators":
            p_loss_kw = applied.Circuit.Losses()[0] / 1e3
            assert p_loss_kw == pytest.approx(state["p_loss_kw"][situation, 0], rel=1e-9)
        else:
            np.testing.assert_allclose(applied.res_bus.vm_pu, state.vm_pu[situation], atol=1e-8)


def test_figures_of_every_problem(name: str, problem: GridProblem) -> None:
    x = next(x for x in vectors(problem, 20) if problem.solve(x).solved.all())
    figures = problem.figures(x)
    assert joint.PROBLEMS[name].figure in figures
    for figure in figures.values():
        figure.canvas.draw()  # type: ignore[attr-defined]
    axes = figures[joint.PROBLEMS[name].figure].axes
    if name == "dispatch":
        named = [label.get_text() for label in axes[0].get_xticklabels()]
        assert named == ["as it is", *problem.situations.names[1:]]
    elif name == "switching":
        markers = {c.get_label(): c for c in axes[0].collections}
        n_built = [len(markers[kind].get_offsets()) for kind in ("dg", "capacitor")]
        assert n_built == [3, 2]
        n_open = len(problem.joint.blocks[0].open_lines(x[problem.joint.placed[0].part])[0])
        assert len(markers["open line"].get_segments()) == n_open == 5
    elif name == "regulators":
        limits = [line.get_ydata()[0] for line in axes[0].lines if len(line.get_ydata()) == 2]
        assert limits == [0.93, 1.07]


def test_units_of_several_controls_are_in_one_table(tmp_path: Path) -> None:
    problem = joint.problem_of("switching", 2)
    x = vectors(problem, 1)[0]
    names = ["dg 1", "dg 2", "dg 3", "capacitor 1", "capacitor 2"]
    net = problem.apply(x, 3)
    assert net["units"]["unit"].tolist() == names
    assert len(net.sgen) == 5
    again = GridProblem(net, [Units("pv")], limits={"vm_pu": (0.9, 1.1), "loading_percent": None})
    assert len(again.apply(again.xu)["units"]) == 1
    problem.write(x, tmp_path)
    assert pd.read_csv(tmp_path / "units.csv")["unit"].tolist() == names


def test_schedules_of_several_controls_stand_side_by_side(tmp_path: Path) -> None:
    two = [Units("storage", max_size=0.004), Units("storage", max_size=0.002)]
    problem = GridProblem("lv18", [*two, Schedules(joint.STORAGES)], Hours(), "exchange_peak_kw")
    x = vectors(problem, 1)[0]
    problem.write(x, tmp_path)
    written = pd.read_csv(tmp_path / "schedule.csv", index_col="snapshot")
    storages = ["storage 1", "storage 1 (2)", "storage at bus 9", "storage at bus 18"]
    assert [column[:-5] for column in written if column.endswith(" p_mw")] == storages
    for i, placed in enumerate(problem.joint.placed[:2]):
        own = placed.block.schedule(x[placed.part])["storage 1 p_mw"]
        np.testing.assert_allclose(written[f"{storages[i]} p_mw"], own, rtol=1e-12)
    assert list(problem.apply(x)["storage_schedule"]) == list(written)
    upper, lower = problem.figures(x)["schedule"].axes
    assert len(upper.lines) - 1 == len(lower.lines) == 4


# -- joining ---------------------------------------------------------------------------------------

STORAGE = [{"bus": 9, "power_mw": 0.004, "energy_mwh": 0.01}]
NET = load_case("ieee14").net()
#: Three hours of the loads of 14 buses.
THREE_HOURS = Hours({("load", "p_mw"): np.outer([0.7, 0.9, 1.1], NET.load.p_mw)}, hours=0.5)
CLASHES: dict[str, tuple[Any, Any, str]] = {
    "one control twice": ("ieee14", [Taps(), Taps()], r"trafo.tap_pos\[\d\] is set by taps twice"),
    "two controls": (
        "ieee14",
        [Taps(), Control("trafo", "tap_pos", (0,), "integer", -2, 2)],
        r"trafo.tap_pos\[0\] is set by both taps and control",
    ),
    "lines": (
        "case33bw",
        [Switching(), Control("line", "in_service", (9,), "binary", 0, 1)],
        r"line.in_service\[9\] is set by both switching and control",
    ),
    "regulators": (
        "ieee123",
        [Regulators("taps"), Regulators("taps", names=["creg1a"])],
        r"regcontrol.tap\[creg1a\] is set by regulators twice",
    ),
    "a net's control on a feeder": (
        "ieee123",
        [Taps()],
        "Taps is for a pandapower net, and ieee123 is a feeder of OpenDSS; known: regulators,",
    ),
    "a feeder's control on a net": (
        "ieee14",
        ["capacitors"],
        "Capacitors is for a feeder of OpenDSS, and ieee14 is a pandapower net; known: setpoints,",
    ),
}


@pytest.mark.parametrize("kind", CLASHES)
def test_controls_that_do_not_fit_are_refused_by_name(kind: str) -> None:
    grid, controls, message = CLASHES[kind]
    with pytest.raises(ValueError, match=message):
        GridProblem(grid, controls)


def test_what_a_control_and_a_situation_set_is_refused() -> None:
    series = Hours({("trafo", "tap_pos"): np.zeros((2, len(NET.trafo)))})
    with pytest.raises(ValueError, match=r"tap_pos\[\d\] is set by both taps and the situations"):
        GridProblem("ieee14", [Taps()], series)


PERIODS: dict[str, tuple[Any, Any, str]] = {
    "units": ([Units("dg", max_size=0.01)], 3, "periods of units: units stay where they are"),
    "schedules": ([Schedules(STORAGE)], 3, "periods of schedules: schedules have a value for"),
    "taps": ([Taps()], 25, "periods of taps: expected 1 to 24, the snapshots of the series"),
    "tap": ([Taps()], 2, "periods: no control is called 'tap'; known: taps"),
    "control": (
        [Control("load", "p_mw", (0,), "real", 0, 1)],
        1.5,
        "periods: expected a mapping .*whole number",
    ),
}


@pytest.mark.parametrize("control", PERIODS)
def test_periods_that_cannot_be_are_refused(control: str) -> None:
    controls, n, message = PERIODS[control]
    series = {} if control == "control" else None
    with pytest.raises(ValueError, match=message):
        GridProblem("lv18", controls, Hours(series), periods={control: n})


@pytest.mark.parametrize("n_periods", [1, 2, 3])
def test_any_control_over_periods(n_periods: int) -> None:
    """Every hour has the settings of its period, and constraints hold in the worst of them."""
    both = {"setpoints": n_periods, "taps": n_periods}
    problem = GridProblem("ieee14", [Setpoints(), Taps()], THREE_HOURS, periods=both)
    x = vectors(problem, 1)[0]
    values = dict(zip(problem.vars, x, strict=True))
    losses = []
    for hour, share in enumerate([0.7, 0.9, 1.1]):
        end = f" in period {hour * n_periods // 3}"
        own = {name.removesuffix(end): v for name, v in values.items() if name.endswith(end)}
        settings = as_settings(own, own.values())
        settings |= {("load", "p_mw", e): share * NET.load.p_mw[e] for e in NET.load.index}
        losses.append(objectives(solve(NET, settings))["p_loss_mw"])
    assert problem.evaluate(x)[0][0] == pytest.approx(np.mean(losses), rel=1e-7)
    assert problem.describe(x)["period"].value_counts().tolist() == [6] * n_periods


def test_machines_at_one_bus_are_refused_in_periods_too() -> None:
    net = copy.deepcopy(NET)
    pp.create_gen(net, net.gen.bus[0], p_mw=0.0, vm_pu=net.gen.vm_pu[0])
    own = [Control("gen", "vm_pu", (e,), "real", 0.95, 1.05) for e in net.gen.index]
    with pytest.raises(ValueError, match="gen 0 and gen 1"):
        GridProblem(net, own, THREE_HOURS, periods={"control": 3})


def test_own_constraints_and_objectives_hold_over_periods() -> None:
    """A block with a budget keeps it in every period, and its objective is the mean of them."""

    class Budget(DirectBlock):
        objective_methods = {"used_mvar": "Mvar"}  # noqa: RUF012

        def __init__(self, controls: Any, grid: Any) -> None:
            super().__init__("budget", controls, grid)
            self.constraints = (BlockConstraint(("budget",), ("budget",), self.beyond),)

        def used_mvar(self, x: Any) -> Any:
            return np.abs(x).sum(axis=-1)

        def beyond(self, x: Any) -> Any:
            return np.abs(x).sum(axis=-1, keepdims=True) - 3.0

    class Budgeted:
        def prepare(self, grid: Any) -> None:
            pass

        def bind(self, grid: Any, situations: Any, prepared: Any) -> Any:
            own = [Control("load", "q_mvar", (e,), "real", -3.0, 3.0) for e in (0, 1)]
            return Budget(own, grid)

    problem = GridProblem(
        "ieee14", [Budgeted()], THREE_HOURS, ["p_loss_mw", "used_mvar"], periods={"budget": 3}
    )
    f, g = problem.evaluate([1, 0, -2, 2, 0, 1])
    assert f[1] == pytest.approx((1 + 4 + 1) / 3)
    assert g[problem.constraint_names.index("budget")] == 1.0


def test_outages_times_hours_is_every_hour_with_every_line_out() -> None:
    band = {"vm_pu": (0.95, 1.06), "loading_percent": None}
    problem = GridProblem(
        "ieee14", [Setpoints(), Taps()], Outages([0, 2]) * THREE_HOURS, "energy_loss_kwh", band
    )
    assert problem.situations.names[:4] == ["hour 0", "hour 1", "hour 2", "line 0 out, hour 0"]
    x = vectors(problem, 1)[0]
    loads = [
        {("load", "p_mw", e): share * NET.load.p_mw[e] for e in NET.load.index}
        for share in (0.7, 0.9, 1.1)
    ]
    settings = as_settings(problem.vars, x)
    whole = [solve(NET, {**settings, **load}) for load in loads]
    out = [
        solve(NET, {**settings, **load, ("line", "in_service", line): False})
        for line in (0, 2)
        for load in loads
    ]
    f, g = problem.evaluate(x)
    losses = [objectives(net)["p_loss_kw"] for net in whole]
    assert f[0] == pytest.approx(0.5 * sum(losses), rel=1e-7)
    G = dict(zip(problem.constraint_names, g, strict=True))
    assert G["n-1 power_flow"] == 0
    for prefix, nets in (("", whole), ("n-1 ", out)):
        for bus in NET.bus.index:
            lowest = min(net.res_bus.vm_pu[bus] for net in nets)
            (entry,) = [v for k, v in G.items() if re.match(rf"{prefix}bus {bus}\b.* min", k)]
            assert entry == pytest.approx((0.95 - lowest) / 0.11, abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_cvar_over_scenarios_of_means_over_hours(share: float) -> None:
    weights, factors = np.array([2.0, 1.0, 1.0]), [0.9, 1.0, 1.2]
    problem = GridProblem(
        "ieee14",
        [Setpoints()],
        Scenarios({"load.q_mvar": factors}, weights) * THREE_HOURS,
        [("p_loss_mw", "cvar", share), ("p_loss_mw", "max"), "p_loss_mw"],
    )
    x = vectors(problem, 1)[0]
    of_scenarios = []
    for factor in factors:
        losses = []
        for hour in (0.7, 0.9, 1.1):
            settings = as_settings(problem.vars, x)
            settings |= {("load", "p_mw", e): hour * NET.load.p_mw[e] for e in NET.load.index}
            settings |= {("load", "q_mvar", e): factor * NET.load.q_mvar[e] for e in NET.load.index}
            losses.append(objectives(solve(NET, settings))["p_loss_mw"])
        of_scenarios.append(np.mean(losses))
    worst_first = [*of_scenarios[::-1][:2], of_scenarios[0]]  # weights 1/4, 1/4, 1/2
    assert worst_first == sorted(of_scenarios, reverse=True)
    tail = worst_first[0] if share == 0.95 else np.mean(worst_first[:2])
    expected = [tail, worst_first[0], weights @ of_scenarios / 4.0]
    np.testing.assert_allclose(problem.evaluate(x)[0], expected, rtol=1e-7)


# -- feeders are grids like any other --------------------------------------------------------------

PLAIN_FEEDER = """
Clear
New Circuit.plain bus1=a basekv=12.47 pu=1.02
New Line.ab bus1=a bus2=b phases=3 length=2 units=km normamps=200
New Line.bc bus1=b.1.2 bus2=c.1.2 phases=2 length=1 units=km normamps=100
New Load.b bus1=b phases=3 kv=12.47 kw=900 kvar=500
New Load.c bus1=c.1 phases=1 kv=7.2 kw=300 kvar=150
Set VoltageBases=[12.47]
CalcVoltageBases
"""


@pytest.fixture
def plain_feeder(tmp_path: Path) -> Path:
    master = tmp_path / "plain.dss"
    master.write_text(PLAIN_FEEDER)
    return master


def test_a_feeder_without_regulators_is_a_grid(plain_feeder: Path) -> None:
    names = ["p_loss_mw", "p_loss_kw", "voltage_deviation_pu", "loading_percent"]
    problem = GridProblem(
        plain_feeder,
        [PlacedCapacitors(2, 150.0, 3), Control("load", "kw", ("c",), "real", 100.0, 400.0)],
        [LoadMultiplier(1.2)],
        [*names, "placed_kvar"],
        {"vm_pu": (0.95, 1.05), "loading_percent": 90.0},
    )
    check_problem(problem, 4)
    assert problem.joint.placed[0].block.buses == ("a", "b")
    x = problem.snap([1, 2, 1, 3, 350.0])
    f, g = problem.evaluate(x)
    commands = [line for line in PLAIN_FEEDER.splitlines() if line]
    more = ["New Capacitor.own bus1=b phases=3 kv=12.47 kvar=750", "Edit Load.c kW=350"]
    dss = fresh_circuit(commands, [*more, "Edit Load.c kvar=150", "Set LoadMult=1.2"])
    judged = feeder_objectives(dss)
    means = []
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        means.append(np.mean(dss.Bus.puVmagAngle()[::2]))
    loading = 100.0 * max(
        np.array(of_line).max() / rated
        for of_line, rated in (currents(dss, "ab", 200.0), currents(dss, "bc", 100.0))
    )
    losses = judged["p_loss_kw"]
    deviation = np.abs(np.array(means) - 1.0).sum()
    np.testing.assert_allclose(f, [losses / 1e3, losses, deviation, loading, 750.0], rtol=1e-6)
    wanted = feeder_limits(dss, (0.95, 1.05), 90.0)
    for name, value in list(zip(problem.constraint_names, g, strict=True))[1:]:
        element, _, limit = re.fullmatch(r"(\w+ \S+)( )(.+)", name).groups()  # type: ignore[union-attr]
        assert value == pytest.approx(wanted[element, limit], abs=2e-6), name


def currents(dss: Any, line: str, rated: float) -> tuple[Any, float]:
    dss.Circuit.SetActiveElement(f"line.{line}")
    first_end = 2 * dss.CktElement.NumConductors()
    return dss.CktElement.CurrentsMagAng()[:first_end:2], rated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"buses": ["nowhere"]}, "buses: the feeder has no bus 'nowhere'"),
        ({"buses": ["c"]}, "buses: bus c lacks a phase, or a way to the source"),
        ({"buses": ["b", "B"]}, "buses: expected each once"),
        ({"buses": "b"}, "buses: expected a list of names"),
        ({"n_units": 0}, "n_units: expected 1 or more"),
        ({"step_kvar": -1.0}, "step_kvar: expected a positive power"),
    ],
)
def test_capacitors_that_cannot_be_placed(
    plain_feeder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GridProblem(plain_feeder, [PlacedCapacitors(**arguments)])


def test_placed_capacitors_are_encoded(plain_feeder: Path) -> None:
    problem = GridProblem(plain_feeder, [PlacedCapacitors(2, n_steps=3), PlacedCapacitors(1)])
    for x in vectors(problem, 10):
        settings = problem.decode(x).as_mapping()
        again = problem.decode(problem.encode(settings))
        np.testing.assert_array_equal(again.values, problem.decode(x).values)
    assert list(problem.vars)[-2:] == ["placed capacitor 1 bus (2)", "placed capacitor 1 steps (2)"]
    steps = dict.fromkeys(problem.joint.fields[0].elements, 0.0)
    steps |= dict.fromkeys(problem.joint.fields[1].elements, 0.0)
    steps["placed1_a"], steps["placed1_b"] = 5.0, 1.0
    with pytest.raises(ValueError, match="3 capacitors of 3 steps at most would be needed, and"):
        problem.encode({("capacitor", "steps"): steps})


# -- the grid as it is now -------------------------------------------------------------------------

#: Of the tasks and joint problems, those whose present grid no vector has, and why.
NOT_ENCODED = {
    "orpd-ieee14": "the published case has another voltage of the external grid",
    "orpd-mixed": "a step and a power are no values that their variables have",
    "regulators-village": "the regulators act until their taps are set",
    "regulators": "the regulators act in every situation",
}


@pytest.mark.parametrize("which", [*INSTANCES, *joint.PROBLEMS])
def test_the_present_grid_is_what_its_vector_gives(which: str) -> None:
    if which in INSTANCES:
        make, own = INSTANCES[which]
        problem = make(own)
    else:
        problem = joint.problem_of(which, 2)
    assert encodes_present(problem) == (which not in NOT_ENCODED)
    if encodes_present(problem):
        f, g = problem.evaluate(problem.base_x)
        np.testing.assert_allclose(f, problem.base_values(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(g[1:], problem.present_entries(), rtol=1e-9, atol=1e-9)
