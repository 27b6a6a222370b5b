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

from gridproblems import GridProblem
from gridproblems.cases import load_case
from gridproblems.controls import Schedules, Units
from gridproblems.feeders import load_feeder
from gridproblems.situations import Hours
from gridproblems.testing import check_problem

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
