"""The engine `newton` beside lightsim2grid's solver and ``pandapower.runpp``, easy to diverging.

    python benchmarks/references/newton_parity.py [--net ieee118] [--vectors 1000] [--runpp 40]

For every net, settings that go from the base case (the first) to far beyond what it can carry (the
last): set-points, all loads one by one, tap positions, and a branch out in every third. Columns:
power flows that converge with the engine, with lightsim2grid alone, and how often the two
disagree; how many of the engine's were solved by lightsim2grid; the largest difference of a
voltage; the same for every n-th vector beside ``runpp``. Then all vectors again backwards, one by
one, in two threads and in another process: bits that differ.

    python benchmarks/references/newton_parity.py --beyond [--net ieee118] [--runpp 40]

The same beside ``runpp`` alone, for what lightsim2grid's solver does not take: loads that depend on
voltage, reactive limits, slack power that machines share, DC lines, and generators that go out.
Columns: power flows that converge with the engine and with ``runpp``, how often they disagree, how
many the engine left to ``runpp``, the largest difference of a voltage, and of any quantity relative
to its size (absolute below 1).
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Annotated

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import typer
from networkx import bridges
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems.cases import CASES, load_case
from gridproblems.engines import NewtonEngine, ReferenceEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, FloatArray, GridState, Settings

NETS = [
    *("ieee6", "ieee14", "ieee30", "ieee39", "ieee57", "ieee118", "ieee300"),
    *("case9", "case14", "case57", "case89pegase", "case145", "case_illinois200", "case1354pegase"),
    *("example_multivoltage", "mv_oberrhein", "create_cigre_network_hv"),
]
#: How far the last vector is from the base case: set-points in p.u., loads relative.
SPREAD = {"setpoint": 0.15, "load": 4.0}


def net_of(name: str) -> pandapowerNet:
    """A packaged case, or a net that pandapower ships."""
    return load_case(name).net() if name in CASES else getattr(pn, name)()


def settings_of(net: pandapowerNet, n: int) -> Settings:
    """Settings from easy to diverging, shape (n, 1, n_values)."""
    rng = np.random.default_rng(0)
    far = np.linspace(0.0, 1.0, n)[:, np.newaxis] ** 2
    fields, values = [], []

    def add(table: str, column: str, elements: list[int], columns: FloatArray) -> None:
        if elements:
            fields.append(Field(table, column, tuple(int(e) for e in elements)))
            values.append(columns)

    for table in ("gen", "ext_grid"):
        base = net[table].vm_pu.to_numpy(dtype=float)
        moved = base + SPREAD["setpoint"] * far * rng.uniform(-1, 1, (n, len(base)))
        same_bus = net[table].bus.duplicated().any() or (
            table == "gen" and net.gen.bus.isin(net.ext_grid.bus).any()
        )
        add(table, "vm_pu", [] if same_bus else list(net[table].index), moved)
    for column in ("p_mw", "q_mvar"):
        base = net.load[column].to_numpy(dtype=float)
        factor = 1 + SPREAD["load"] * far * rng.uniform(-0.5, 1, (n, len(base)))
        add("load", column, list(net.load.index), base * factor)
    taps = net.trafo[net.trafo.get("tap_min", np.nan).notna() & net.trafo.tap_max.notna()]
    whole = (
        (taps.tap_pos % 1 == 0) & (taps.tap_min <= taps.tap_pos) & (taps.tap_pos <= taps.tap_max)
    )
    taps = taps[whole]
    reach = far * (taps.tap_max - taps.tap_min).to_numpy(dtype=float)
    position = np.rint(taps.tap_pos.to_numpy() + reach * rng.uniform(-1, 1, (n, len(taps))))
    add("trafo", "tap_pos", list(taps.index), np.clip(position, taps.tap_min, taps.tap_max))
    lines = meshed_lines(net)
    status = np.ones((n, len(lines)))
    if lines:
        status[np.arange(0, n, 3), rng.integers(0, len(lines), len(range(0, n, 3)))] = 0.0
    add("line", "in_service", lines, status)
    return Settings(tuple(fields), np.concatenate(values, axis=1)[:, np.newaxis, :])


def meshed_lines(net: pandapowerNet) -> list[int]:
    """Lines in service whose outage leaves nobody without supply."""
    graph = create_nxgraph(net, multi=False)
    cut = {frozenset(edge) for edge in bridges(graph)}
    ends = net.line[["from_bus", "to_bus"]]
    return [
        int(line)
        for line, a, b in ends.itertuples()
        if net.line.at[line, "in_service"] and graph.has_edge(a, b) and frozenset((a, b)) not in cut
    ]


def bits_that_differ(engine: NewtonEngine, settings: Settings, state: GridState) -> int:
    """Values that another order, block, thread or process changes."""
    n = len(settings.values)
    backwards = np.arange(n)[::-1]
    halves = [settings.candidates(np.arange(k, n, 2)) for k in range(2)]
    found = [(np.arange(n), engine.solve(settings.candidates(backwards)).values[::-1])]
    found += [(np.array([k]), engine.solve(settings.candidates(np.array([k]))).values)
              for k in range(0, n, 25)]  # fmt: skip
    with ThreadPoolExecutor(2) as threads:
        for k, other in enumerate(threads.map(engine.solve, halves)):
            found.append((np.arange(k, n, 2), other.values))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        sent = pickle.dumps((engine, halves[1]))
        found.append((np.arange(1, n, 2), processes.submit(values_of, sent).result()))
    bits = state.values.view(np.int64)
    return sum(int((values.copy().view(np.int64) != bits[rows]).sum()) for rows, values in found)


def values_of(sent: bytes) -> FloatArray:
    """In another process: the solved values of an engine and settings."""
    engine, settings = pickle.loads(sent)
    values: FloatArray = engine.solve(settings).values
    return values


def row_of(name: str, n_vectors: int, n_runpp: int) -> list[str]:
    """One row of the table."""
    net = net_of(name)
    settings = settings_of(net, n_vectors)
    engine, alone = NewtonEngine(net), NewtonEngine(net)
    few = settings.candidates(np.arange(1))
    engine.solve(few)
    alone.solve(few)
    taken_over = 0
    for space in alone._local.spaces.values():
        space._together = None
    for space in engine._local.spaces.values():
        solve = space._one_by_one.solve

        def counted(parameters: FloatArray, tried: bool = False, solve=solve):  # type: ignore
            nonlocal taken_over
            solved = solve(parameters, tried)
            taken_over += int(solved.converged.sum())
            return solved

        space._one_by_one.solve = counted
    state, other = engine.solve(settings), alone.solve(settings)
    both = state.converged & other.converged
    gap = np.abs((state.vm_pu - other.vm_pu)[both])
    some = np.linspace(0, n_vectors - 1, n_runpp).astype(int)
    expected = ReferenceEngine(net).solve(settings.candidates(some))
    of_some = state.candidates(some)
    agree = of_some.converged & expected.converged
    runpp_gap = np.abs((of_some.vm_pu - expected.vm_pu)[agree])
    fresh = NewtonEngine(net)
    return [
        f"`{name}`",
        str(int(state.converged.sum())),
        str(int(other.converged.sum())),
        str(int((state.converged != other.converged).sum())),
        str(taken_over),
        f"{np.nanmax(gap, initial=0):.0e}",
        f"{int(expected.converged.sum())} of {n_runpp}",
        str(int((of_some.converged != expected.converged).sum())),
        f"{np.nanmax(runpp_gap, initial=0):.0e}",
        str(bits_that_differ(fresh, settings, state)),
    ]


def zip_loads(net: pandapowerNet, settings: Settings) -> Settings:
    """All loads in part of constant impedance and current."""
    rng = np.random.default_rng(1)
    for part in "pq":
        net.load[f"const_z_{part}_percent"] = rng.uniform(0, 60, len(net.load))
        net.load[f"const_i_{part}_percent"] = rng.uniform(0, 40, len(net.load))
    return settings


def reactive_limits(net: pandapowerNet, settings: Settings) -> Settings:
    """Generators hold their voltage as far as their reactive power allows."""
    pp.set_user_pf_options(net, enforce_q_lims=True)
    return settings


def shared_slack(net: pandapowerNet, settings: Settings) -> Settings:
    """All machines share what is missing."""
    net.gen["slack_weight"] = np.random.default_rng(1).uniform(0, 2, len(net.gen))
    net.ext_grid["slack_weight"] = 1.0
    pp.set_user_pf_options(net, distributed_slack=True)
    return settings


def dc_lines(net: pandapowerNet, settings: Settings) -> Settings:
    """Three DC lines between buses that no machine holds."""
    held = set(net.gen.bus) | set(net.ext_grid.bus)
    free = [int(bus) for bus in net.bus.index if bus not in held]
    ends = np.random.default_rng(1).choice(free, (3, 2), replace=False)
    p_mw = 0.02 * float(net.load.p_mw.sum())
    for start, end in ends.tolist():
        pp.create_dcline(net, start, end, p_mw, 1.5, 0.1, 1.0, 1.0)
    return settings


def generators_out(net: pandapowerNet, settings: Settings) -> Settings:
    """Every vector with another generator out of service."""
    gens = net.gen.index[~net.gen.slack.astype(bool) & net.gen.in_service.astype(bool)]
    n = len(settings.values)
    status = np.ones((n, 1, len(gens)))
    status[np.arange(n), 0, np.arange(n) % len(gens)] = 0.0
    field = Field("gen", "in_service", tuple(int(g) for g in gens))
    values = np.concatenate([settings.values, status], axis=2)
    return Settings((*settings.fields, field), values)


BEYOND: tuple[Callable[[pandapowerNet, Settings], Settings], ...] = (
    zip_loads,
    reactive_limits,
    shared_slack,
    dc_lines,
    generators_out,
)


def beyond_row(
    name: str, change: Callable[[pandapowerNet, Settings], Settings], n: int
) -> list[str] | None:
    """One row of the second table, None where the engine refuses the net."""
    net = net_of(name)
    settings = change(net, settings_of(net, n))
    try:
        engine = NewtonEngine(net)
    except UnsupportedByEngine:
        return None
    left = 0
    by_reference = engine._by_reference

    def counted(fields: tuple[Field, ...], values: FloatArray) -> GridState:
        nonlocal left
        left += len(values)
        return by_reference(fields, values)

    engine._by_reference = counted  # type: ignore[method-assign]
    state, expected = engine.solve(settings), ReferenceEngine(net).solve(settings)
    both = state.converged & expected.converged
    found, right = state.values[both], expected.values[both]
    with np.errstate(invalid="ignore"):  # equal infinities, where a rating is 0
        gap = np.where(found == right, 0.0, np.abs(found - right) / np.maximum(1, np.abs(right)))
    vm_gap = np.abs((state.vm_pu - expected.vm_pu)[both])
    return [
        f"`{name}`",
        change.__name__.replace("_", " "),
        f"{int(state.converged.sum())} of {n}",
        str(int(expected.converged.sum())),
        str(int((state.converged != expected.converged).sum())),
        str(left),
        f"{np.nanmax(vm_gap, initial=0):.0e}",
        f"{np.nanmax(gap, initial=0):.0e}",
    ]


def print_row(row: list[str]) -> None:
    """A line of a Markdown table."""
    typer.echo("| " + " | ".join(row) + " |")


def print_beyond(names: list[str], n: int) -> None:
    """The second table."""
    header = ["net", "with", "converge", "runpp", "disagree", "left to runpp"]
    header += ["voltage [p.u.]", "any quantity"]
    print_row(header)
    print_row(["---"] * len(header))
    for name in names:
        for change in BEYOND:
            row = beyond_row(name, change, n)
            if row:
                print_row(row)


def main(
    net: Annotated[list[str] | None, typer.Option(help="Net; may be repeated.")] = None,
    vectors: int = 1000,
    runpp: int = 40,
    beyond: Annotated[bool, typer.Option("--beyond", help="The second table.")] = False,
) -> None:
    """Prints the table."""
    if beyond:
        print_beyond(net or NETS[1:], runpp)
        return
    header = [
        "net",
        "converge",
        "with lightsim2grid",
        "disagree",
        "taken over",
        "voltage [p.u.]",
        "runpp converges",
        "disagree",
        "voltage [p.u.]",
        "bits that differ",
    ]
    print_row(header)
    print_row(["---"] * len(header))
    for name in net or NETS:
        print_row(row_of(name, vectors, runpp))


if __name__ == "__main__":
    typer.run(main)
