"""A second implementation of the tasks, written from the documentation: slow, plain, on its own.

Nothing of ``gridproblems`` is imported. Settings go into the tables of a copy of the net,
``pandapower.runpp`` solves it, and objectives and constraints are read from its result tables by
the formulas of ``docs/tasks/``.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandapower as pp
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet

VARIABLE = re.compile(r"(\w+)\.(\w+)\[(\d+)\]")
ENTRY = re.compile(
    r"(\w+) (\d+)(?: \(.*\))? (vm_pu|loading_percent|p_mw|q_mvar)(?: (max|min))?(?: at (\d+))?"
)
CONSUMERS = ("load", "asymmetric_load", "motor", "ward", "xward", "storage")
Key = tuple[str, int, str, str]


@dataclass
class Judged:
    """One candidate: None for F and G where its power flow fails."""

    F: dict[str, float] | None
    G: dict[Key, float] | None


def as_settings(names: Iterable[str], x: Any) -> dict[tuple[str, str, int], float]:
    """The values of a vector by table, column and element, from the names of its variables."""
    places = [VARIABLE.fullmatch(name) for name in names]
    assert all(places), list(names)
    return {
        (p[1], p[2], int(p[3])): float(value)
        for p, value in zip(places, x, strict=True)
        if p is not None
    }


def at_one_bus(net: pandapowerNet) -> dict[int, int]:
    """For each bus the smallest of the buses that closed couplers join it with."""
    first = {int(bus): int(bus) for bus in net.bus.index}
    couplers = net.switch[(net.switch.et == "b") & net.switch.closed.astype(bool)]
    pairs = list(zip(couplers.bus, couplers.element, strict=True))
    moved = True
    while moved:
        moved = False
        for a, b in pairs:
            if first[a] != first[b]:
                first[a] = first[b] = min(first[a], first[b])
                moved = True
    return first


def set_in(net: pandapowerNet, settings: Mapping[tuple[str, str, int], float]) -> None:
    """Writes settings into the tables; a voltage set-point goes to all machines of its bus."""
    place = at_one_bus(net)
    for (table, column, element), value in settings.items():
        elements = [element]
        if column == "vm_pu":
            at = place[net[table].bus[element]]
            elements = [
                e
                for e, bus, runs in zip(
                    net[table].index, net[table].bus, net[table].in_service, strict=True
                )
                if runs and place[bus] == at
            ]
        if net[table][column].dtype.kind != "b":
            net[table][column] = net[table][column].astype(float)
        for e in elements:
            net[table].at[e, column] = value


def solve(net: pandapowerNet, settings: Mapping[tuple[str, str, int], float]) -> Any:
    """A solved copy of the net with these settings; None if that fails."""
    net = copy.deepcopy(net)
    set_in(net, settings)
    try:
        pp.runpp(
            net,
            calculate_voltage_angles=True,
            tolerance_mva=1e-10 * min(100.0, max(0.01, _power_mw(net))),
            lightsim2grid=False,
        )
    except LoadflowNotConverged:
        return None
    for table in CONSUMERS:
        if not len(net[table]):
            continue
        there = net[table][net[table].in_service.astype(bool)]
        if net.res_bus.vm_pu.reindex(there.bus).isna().any():
            return None
    return net


def _power_mw(net: pandapowerNet) -> float:
    phases = [f"p_{phase}_mw" for phase in "abc"]
    asymmetric = net.asymmetric_load[phases].to_numpy(float)
    return float(net.load.p_mw.abs().sum() + np.abs(asymmetric).sum())


def _results(net: pandapowerNet, tables: Iterable[str], column: str) -> list[float]:
    found = [net[f"res_{t}"][column].dropna().to_numpy(float) for t in tables if len(net[t])]
    return [float(v) for values in found for v in values]


def held_buses(net: pandapowerNet) -> set[int]:
    """Buses whose voltage a generator or an external grid holds, also through a coupler."""
    place = at_one_bus(net)
    held = {
        place[bus]
        for table in ("gen", "ext_grid")
        for bus in net[table].bus[net[table].in_service.astype(bool)]
    }
    return {bus for bus, first in place.items() if first in held}


def l_index(net: pandapowerNet) -> float:
    """max_j |1 - sum_i F_ji V_i / V_j| with F = -Y_LL^-1 Y_LG, dense."""
    model = net._ppc["internal"]
    y, v = model["Ybus"].toarray(), model["V"]
    held = np.concatenate([model["ref"], model["pv"]]).astype(int)
    load = np.setdiff1d(np.arange(len(v)), held)
    if not len(load):
        return 0.0
    f = -np.linalg.inv(y[np.ix_(load, load)]) @ y[np.ix_(load, held)]
    return float(np.abs(1.0 - f @ v[held] / v[load]).max())


def objectives(net: pandapowerNet) -> dict[str, float]:
    """The objectives of every net, of one solved power flow."""
    vm_pu = net.res_bus.vm_pu.dropna()
    branches = ("line", "trafo", "trafo3w", "impedance")
    loss = sum(_results(net, branches, "pl_mw"))
    held = held_buses(net)
    free = [float(v) for bus, v in vm_pu.items() if bus not in held]
    return {
        "p_loss_mw": loss,
        "p_loss_kw": 1000.0 * loss,
        "line_loss_mw": sum(_results(net, ("line",), "pl_mw")),
        "voltage_deviation_pu": sum(abs(v - 1.0) for v in free),
        "v_min_pu": -float(vm_pu.min()),
        "loading_percent": max(
            _results(net, ("line", "trafo", "trafo3w"), "loading_percent"), default=0.0
        ),
    }


def _cell(net: pandapowerNet, table: str, element: int, column: str) -> float:
    if column not in net[table]:
        return np.nan
    value = net[table].at[element, column]
    return np.nan if value is None else float(value)


def _beyond(low: float, high: float, value: float, least: float) -> dict[str, float]:
    """Distance beyond a lower and an upper limit, over their range or the one there is."""
    value = np.nan if value is None else value
    if np.isfinite(low) and np.isfinite(high):
        scale = max(high - low, least)
    else:
        scale = max(abs(high if np.isfinite(high) else low), 1.0)
    sides = {"max": (value - high) / scale, "min": (low - value) / scale}
    limits = {"max": high, "min": low}
    # a bus that is switched off breaks no limit
    return {
        side: 0.0 if np.isnan(value) else beyond
        for side, beyond in sides.items()
        if np.isfinite(limits[side])
    }


def grid_limits(
    net: pandapowerNet,
    band: tuple[float, float] | None = None,
    loading_percent: float | None = None,
) -> dict[Key, float]:
    """Voltage bands and loading limits, of one solved power flow."""
    entries: dict[Key, float] = {}
    for bus in net.bus.index[net.bus.in_service.astype(bool)]:
        low, high = band or (
            _cell(net, "bus", bus, "min_vm_pu"),
            _cell(net, "bus", bus, "max_vm_pu"),
        )
        for side, value in _beyond(low, high, net.res_bus.vm_pu[bus], 0.05).items():
            entries["bus", bus, "vm_pu", side] = value
    for table in ("line", "trafo", "trafo3w"):
        for element in net[table].index:
            if table == "line" and np.isnan(_cell(net, table, element, "max_i_ka")):
                continue  # a line without rating has no loading to limit
            limit = loading_percent or _cell(net, table, element, "max_loading_percent")
            if np.isfinite(limit):
                loading = np.nan_to_num(net[f"res_{table}"].loading_percent[element])
                entries[table, element, "loading_percent", ""] = loading / limit - 1.0
    return entries


def machine_limits(net: pandapowerNet) -> dict[Key, float]:
    """Reactive power of generators, power of external grids, of one solved power flow."""
    entries: dict[Key, float] = {}
    for table, quantity in (
        ("gen", "q_mvar"),
        ("ext_grid", "p_mw"),
        ("gen", "p_mw"),
        ("ext_grid", "q_mvar"),
    ):
        for element in net[table].index[net[table].in_service.astype(bool)]:
            if (table, quantity) == ("gen", "p_mw") and not net.gen.slack[element]:
                continue  # only what a slack takes is left to the power flow
            low, high = (
                _cell(net, table, element, f"{side}_{quantity}") for side in ("min", "max")
            )
            low, high = (v if abs(v) < 1e6 else np.nan for v in (low, high))
            if quantity == "p_mw" and low == high:
                continue
            value = float(net[f"res_{table}"][quantity][element])
            for side, beyond in _beyond(low, high, np.nan_to_num(value), 1.0).items():
                entries[table, element, quantity, side] = beyond
    return entries


def dispatch(
    net: pandapowerNet,
    names: Iterable[str],
    x: Any,
    band: tuple[float, float] | None = None,
    loading_percent: float | None = None,
    with_l_index: bool = True,
) -> Judged:
    """Optimal reactive power dispatch: all objectives and all entries of G of one vector."""
    solved = solve(net, as_settings(names, x))
    if solved is None:
        return Judged(None, None)
    F = objectives(solved)
    if with_l_index:
        F["l_index"] = l_index(solved)
    return Judged(F, {**grid_limits(solved, band, loading_percent), **machine_limits(solved)})


def dispatch_bounds(net: pandapowerNet) -> dict[tuple[str, str, int], tuple[float, float]]:
    """The controls of a net and their bounds, by the table of the documentation."""
    found: dict[tuple[str, str, int], tuple[float, float]] = {}
    place = at_one_bus(net)
    external = {place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    seen: set[int] = set()
    for gen in net.gen.index[net.gen.in_service.astype(bool)]:
        bus = place[net.gen.at[gen, "bus"]]
        if bus in external or bus in seen:
            continue
        seen.add(bus)
        found["gen", "vm_pu", gen] = _band(net, "gen", gen) or (0.95, 1.05)
    seen = set()
    for grid in net.ext_grid.index[net.ext_grid.in_service.astype(bool)]:
        low, high = (_cell(net, "ext_grid", grid, f"{side}_vm_pu") for side in ("min", "max"))
        bus = place[net.ext_grid.at[grid, "bus"]]
        if np.isfinite([low, high]).all() and bus not in seen:
            seen.add(bus)
            found["ext_grid", "vm_pu", grid] = (low, high)
    for table in ("trafo", "trafo3w"):
        for trafo in net[table].index[net[table].in_service.astype(bool)]:
            low, high = (_cell(net, table, trafo, f"tap_{side}") for side in ("min", "max"))
            if np.isnan([low, high]).any():
                continue
            steps = [_cell(net, table, trafo, f"tap_step_{unit}") for unit in ("percent", "degree")]
            if np.nan_to_num(steps).any():
                found[table, "tap_pos", trafo] = (low, high)
    for shunt in net.shunt.index[net.shunt.in_service.astype(bool)]:
        low, high = (_cell(net, "shunt", shunt, f"{side}_q_mvar") for side in ("min", "max"))
        if np.isfinite([low, high]).all():
            found["shunt", "q_mvar", shunt] = (low, high)
        elif _cell(net, "shunt", shunt, "max_step") > 1:
            found["shunt", "step", shunt] = (0.0, _cell(net, "shunt", shunt, "max_step"))
    for sgen in net.sgen.index[net.sgen.in_service.astype(bool)]:
        low, high = (_cell(net, "sgen", sgen, f"{side}_q_mvar") for side in ("min", "max"))
        if np.isfinite([low, high]).all() and _cell(net, "sgen", sgen, "controllable") == 1.0:
            found["sgen", "q_mvar", sgen] = (low, high)
    return found


def _band(net: pandapowerNet, table: str, element: int) -> tuple[float, float] | None:
    for owner, index in ((table, element), ("bus", net[table].at[element, "bus"])):
        low, high = (_cell(net, owner, index, f"{side}_vm_pu") for side in ("min", "max"))
        if np.isfinite([low, high]).all():
            return low, high
    return None


# -- tasks over time ----------------------------------------------------------------------------


def over_time(
    nets: list[pandapowerNet | None],
    hours: float,
    band: tuple[float, float] | None,
    loading_percent: float | None,
) -> Judged:
    """Objectives of solved snapshots, and the worst of all snapshots of every limit."""
    if any(net is None for net in nets):
        return Judged(None, None)
    solved = [net for net in nets if net is not None]
    each = [objectives(net) for net in solved]
    lines = [max(_results(net, ("line",), "loading_percent"), default=0.0) for net in solved]
    # what the external grids and the generators that balance the grid deliver
    exchange = [_exchange_mw(net) for net in solved]
    F = {
        name: float(np.mean([one[name] for one in each]))
        for name in ("p_loss_mw", "p_loss_kw", "line_loss_mw", "voltage_deviation_pu")
    }
    F |= {name: max(one[name] for one in each) for name in ("v_min_pu", "loading_percent")}
    F |= {
        "energy_loss_kwh": hours * sum(one["p_loss_kw"] for one in each),
        "exchange_energy_kwh": 1000.0 * hours * sum(map(abs, exchange)),
        "exchange_peak_kw": 1000.0 * max(map(abs, exchange)),
        "line_loading_sum_percent": sum(lines),
        "line_loading_max_percent": max(lines),
    }
    entries = [grid_limits(net, band, loading_percent) for net in solved]
    return Judged(F, {key: max(one[key] for one in entries) for key in entries[0]})


def _exchange_mw(net: pandapowerNet) -> float:
    slack = net.gen.index[net.gen.slack.astype(bool) & net.gen.in_service.astype(bool)]
    return float(net.res_ext_grid.p_mw.sum() + net.res_gen.p_mw.reindex(slack).sum())


def with_powers(
    net: pandapowerNet, settings: Mapping[tuple[str, str, int], float], injected: Any = ()
) -> Any:
    """A solved net with settings of one snapshot and (bus, MW, Mvar) injected beside."""
    net = copy.deepcopy(net)
    for bus, p_mw, q_mvar in injected:
        pp.create_sgen(net, bus, p_mw=p_mw, q_mvar=q_mvar)
    return solve(net, settings)


def states_of_charge(
    p_mw: Any, energy_mwh: float, hours: float, efficiency: float, start: float
) -> list[float]:
    """The states of charge of a storage whose round trip has this efficiency."""
    one_way, charge = efficiency**0.5, [start]
    for p in p_mw:
        gained = hours / energy_mwh * (p * one_way if p > 0 else p / one_way)
        charge.append(charge[-1] + gained)
    return charge


# -- reconfiguration -------------------------------------------------------------------------------


def open_lines_of_keys(net: pandapowerNet, keys: Mapping[int, float]) -> set[int]:
    """Lines outside the maximum spanning tree of the keys; all external grids are one node."""
    place = at_one_bus(net)
    sources = {place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    graph = nx.Graph()

    def node(bus: int) -> int:
        return -1 if place[bus] in sources else place[bus]

    fixed = [*zip(net.trafo.hv_bus, net.trafo.lv_bus, strict=True)]
    fixed += [(net.line.from_bus[e], net.line.to_bus[e]) for e in net.line.index if e not in keys]
    for a, b in fixed:
        graph.add_edge(node(a), node(b))
    closed = set()
    for line in sorted(keys, key=lambda e: -keys[e]):  # Kruskal
        a, b = node(net.line.from_bus[line]), node(net.line.to_bus[line])
        graph.add_nodes_from((a, b))
        if not nx.has_path(graph, a, b):
            graph.add_edge(a, b)
            closed.add(line)
    return set(keys) - closed


def is_spanning_tree(net: pandapowerNet, open_lines: set[int]) -> bool:
    """Whether the grid with these lines open is a tree that reaches every bus from a source."""
    place = at_one_bus(net)
    sources = {place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    graph = nx.MultiGraph()
    graph.add_nodes_from({-1} | set(place.values()) - sources)
    ends = [*zip(net.trafo.hv_bus, net.trafo.lv_bus, strict=True)]
    ends += [
        (net.line.from_bus[e], net.line.to_bus[e]) for e in net.line.index if e not in open_lines
    ]
    for a, b in ends:
        graph.add_edge(*(-1 if place[bus] in sources else place[bus] for bus in (a, b)))
    return bool(nx.is_tree(graph))


def reconfigured(net: pandapowerNet, open_lines: set[int], switchable: set[int]) -> Any:
    """A solved net with these lines open: by their switches, else by ``in_service``."""
    net = copy.deepcopy(net)
    for line in switchable:
        own = (net.switch.et == "l") & (net.switch.element == line)
        if own.any():
            net.switch.loc[own, "closed"] = line not in open_lines
        else:
            net.line.loc[line, "in_service"] = line not in open_lines
    return solve(net, {})


def interruptions(net: pandapowerNet, open_lines: set[int]) -> tuple[float, float]:
    """SAIFI and SAIDI: faults on the path from the source, by customers."""
    place = at_one_bus(net)
    graph = nx.Graph()
    for e in net.line.index:
        if e not in open_lines:
            graph.add_edge(place[net.line.from_bus[e]], place[net.line.to_bus[e]], line=e)
    paths = nx.single_source_shortest_path(graph, place[net.ext_grid.bus.iloc[0]])
    often = long = customers = 0.0
    for load in net.load.index[net.load.in_service.astype(bool)]:
        path = paths[place[net.load.bus[load]]]
        lines = [graph.edges[a, b]["line"] for a, b in itertools.pairwise(path)]
        n = net.load.n_customers[load] if "n_customers" in net.load else 1.0
        rate = net.line.failure_rate_per_year[lines]
        often += n * rate.sum()
        long += n * (rate * net.line.repair_hours[lines]).sum()
        customers += n
    return often / customers, long / customers


# -- OpenDSS feeders ------------------------------------------------------------------------------


def fitness(vm_pu: Any) -> float:
    """The fitness of the published script, by its formula."""
    total = 0.0
    for v in vm_pu:
        if v < 0.95:
            total += 1000.0 * (0.95 - v) ** 2
        elif v > 1.05:
            total += 1000.0 * (v - 1.05) ** 2
        else:
            total += (v - 1.0) ** 2
    return total + 10.0 * float(np.var(vm_pu))


def fresh_circuit(commands: Iterable[str], edits: Iterable[str]) -> Any:
    """A circuit compiled and solved in a context of its own."""
    import opendssdirect

    dss = opendssdirect.dss.NewContext()
    for command in [
        *commands,
        *edits,
        "Set Mode=Snapshot ControlMode=Static MaxIterations=100 MaxControlIter=100 Tolerance=1e-6",
        "Solve",
    ]:
        dss.Text.Command(command)
    return dss


def feeder_objectives(dss: Any) -> dict[str, float]:
    """Objectives of a solved circuit, from its own list of buses."""
    means, nodes, unbalance = [], [], [0.0]
    turn = np.exp(2j * np.pi / 3)
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        live = [n in (1, 2, 3) for n in dss.Bus.Nodes()]
        magnitudes = np.array(dss.Bus.puVmagAngle())[::2][live]
        angles = np.array(dss.Bus.puVmagAngle())[1::2][live]
        dead = magnitudes < 0.1
        nodes += magnitudes[~dead].tolist()
        if (~dead).any():
            means.append(float(magnitudes[~dead].mean()))
        if len(magnitudes) == 3 and not dead.any():
            by_node = np.argsort([n for n in dss.Bus.Nodes() if n in (1, 2, 3)])
            a, b, c = (magnitudes * np.exp(1j * np.radians(angles)))[by_node]
            positive, negative = a + turn * b + turn**2 * c, a + turn**2 * b + turn * c
            unbalance.append(100.0 * abs(negative) / abs(positive))
    return {
        "voltage_fitness": fitness(means),
        "node_voltage_fitness": fitness(nodes),
        "node_voltage_deviation_pu": float(np.abs(np.array(nodes) - 1.0).sum()),
        "p_loss_kw": dss.Circuit.Losses()[0] / 1000.0,
        "voltage_unbalance_percent": max(unbalance),
    }


def feeder_limits(
    dss: Any, band: tuple[float, float], loading_percent: float
) -> dict[tuple[str, str], float]:
    """Voltage limits of every node and loading limits of every line and transformer."""
    scale = max(band[1] - band[0], 0.05)
    entries: dict[tuple[str, str], float] = {}
    voltages = zip(dss.Circuit.AllNodeNames(), dss.Circuit.AllBusMagPu(), strict=True)
    for node, v in voltages:
        entries[f"node {node}", "vm_pu max"] = (v - band[1]) / scale
        entries[f"node {node}", "vm_pu min"] = (band[0] - v) / scale
    for kind, of_class in (("line", dss.Lines), ("transformer", dss.Transformers)):
        for name in of_class.AllNames():
            dss.Circuit.SetActiveElement(f"{kind}.{name}")
            first = dss.CktElement.NumConductors()
            amps = np.array(dss.CktElement.CurrentsMagAng())[::2][:first].max()
            loading = 100.0 * amps / dss.CktElement.NormalAmps()
            label = f"{'line' if kind == 'line' else 'trafo'} {name}"
            entries[label, "loading_percent"] = loading / loading_percent - 1.0
    return entries
