"""When what pays: engines and threads by size of the net and of the batch.

    python benchmarks/speed/pays.py [--case ieee39] [--threads 2] [--rounds 15] [--out FILE]

Power flows with changed loads, all ways in the same run, one after the other in each round; times
are in microseconds per power flow, the least of all rounds, since whatever else the machine does
only adds to them; ratios are those of such times. "newton"
is the engine from settings to all results on one thread; "threads" how many times faster it is on
several; "one by one" how many times as long lightsim2grid's solver takes in its place (up to
100 power flows); "sweep" is that engine on one thread, where the grid is radial. All ways give
the same voltages to 1e-7 p.u., and threads the same bits. The last row is OpenDSS: candidates of a
feeder, one regulator vector each, by `n_jobs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandapower.networks as pn
import typer
from pandapower.auxiliary import pandapowerNet
from table import show_table

from gridproblems import RegulatorControl
from gridproblems.cases import CASES, load_case
from gridproblems.engines import NewtonEngine, SweepEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, Settings

NETS = ("case33bw", "ieee39", "ieee118", "case136ma", "ieee300", "case1354pegase")
SIZES = (1, 8, 100, 1000)
LARGEST_ONE_BY_ONE = 100
HEADER = (
    "grid",
    "buses",
    "power flows at once",
    "newton [µs]",
    "threads",
    "one by one",
    "sweep [µs]",
)


def net_of(name: str) -> pandapowerNet:
    """A packaged case, or a net that pandapower ships."""
    return load_case(name).net() if name in CASES else getattr(pn, name)()


def changed_loads(net: pandapowerNet, n: int) -> Settings:
    """Every load scaled by itself, a batch of n."""
    factor = np.random.default_rng(1).uniform(0.85, 1.1, (n, len(net.load)))
    elements = tuple(int(i) for i in net.load.index)
    fields = (Field("load", "p_mw", elements), Field("load", "q_mvar", elements))
    powers = [factor * net.load[column].to_numpy() for column in ("p_mw", "q_mvar")]
    return Settings(fields, np.concatenate(powers, axis=1)[:, np.newaxis, :])


def seconds(function: Callable[[], Any], least_s: float = 2e-3) -> float:
    """Wall-clock time of one call, the mean of as many as take a while."""
    n, start = 0, time.perf_counter()
    while True:
        function()
        n += 1
        passed = time.perf_counter() - start
        if passed > least_s:
            return passed / n


def ways_of(name: str, threads: int) -> tuple[int, dict[str, Any]]:
    """Number of buses, and engines by name of the way."""
    net = net_of(name)
    ways: dict[str, Any] = {
        "newton": NewtonEngine(net),
        "threads": NewtonEngine(net),
        "one by one": NewtonEngine(net),
    }
    ways["threads"].n_threads = threads
    few = changed_loads(net, 2)
    ways["one by one"].solve(few)
    for space in ways["one by one"]._local.spaces.values():
        space._together = None
    try:
        sweep = SweepEngine(net)
        sweep.check(few)
        ways["sweep"] = sweep
    except UnsupportedByEngine:
        pass
    settings = changed_loads(net, max(SIZES))
    states = {way: engine.solve(settings) for way, engine in ways.items()}
    expected = states["newton"]
    assert expected.solved.all()
    np.testing.assert_array_equal(states["threads"].values, expected.values)
    for state in states.values():
        np.testing.assert_allclose(state.vm_pu, expected.vm_pu, rtol=0, atol=1e-7)
    return len(net.bus), ways


def rows_of(name: str, threads: int, rounds: int) -> list[list[str]]:
    """Rows of the table of one net, one per size of the batch."""
    n_buses, ways = ways_of(name, threads)
    rows = []
    for n in SIZES:
        settings = changed_loads(net_of(name), n)
        solves = {
            way: partial(engine.solve, settings)
            for way, engine in ways.items()
            if way != "one by one" or n <= LARGEST_ONE_BY_ONE
        }
        rounds_s = [{way: seconds(solve) for way, solve in solves.items()} for _ in range(rounds)]
        least = {way: min(times[way] for times in rounds_s) / n for way in solves}
        newton = least["newton"]
        alone = f"{least['one by one'] / newton:.1f}" if "one by one" in least else "-"
        sweep = f"{least['sweep'] * 1e6:.1f}" if "sweep" in least else "-"
        gain = f"{newton / least['threads']:.2f}"
        rows.append([f"`{name}`", str(n_buses), str(n), f"{newton * 1e6:.1f}", gain, alone, sweep])
    return rows


def opendss_rows(threads: int, rounds: int, n: int = 16) -> list[list[str]]:
    """The row of a packaged OpenDSS feeder."""
    one, several = (RegulatorControl("ieee123", n_jobs=jobs) for jobs in (1, threads))
    X = np.random.default_rng(1).uniform(one.xl, one.xu, (n, one.n_var))
    np.testing.assert_array_equal(one.evaluate(X)[0], several.evaluate(X)[0])
    samples = [
        (seconds(lambda: one.evaluate(X)) / n, seconds(lambda: several.evaluate(X)) / n)
        for _ in range(rounds)
    ]
    alone, together = (min(column) for column in zip(*samples, strict=True))
    n_buses = len(one.grid.circuit.buses)
    time_us = f"{alone * 1e6:.0f}"
    gain = f"{alone / together:.2f}"
    return [["`ieee123` (OpenDSS)", str(n_buses), str(n), time_us, gain, "-", "-"]]


def main(
    case: Annotated[list[str] | None, typer.Option(help="Net; may be repeated.")] = None,
    threads: int = 2,
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    rows = [list(HEADER), ["---"] + ["--:"] * (len(HEADER) - 1)]
    for name in case or NETS:
        rows += rows_of(name, threads, rounds)
    if not case:
        rows += opendss_rows(threads, rounds)
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
