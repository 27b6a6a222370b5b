"""What candidates cost that are tried in many situations: 24 hours in 100 scenarios, and a year.

    python benchmarks/speed/many_situations.py [--rounds 9] [--hours 8760] [--scenarios 100]
        [--out docs/tables/speed_situations.md]

First a placement of three units on `case33bw` in 24 hours times 100 scenarios, beside packages that
solve the same 2,400 power flows with loads changed and no units: processor time of one thread,
medians over rounds that take all ways one after the other. An evaluation also decodes, reduces
(mean and CVaR) and judges the voltages of all buses; the packages give voltages alone. Then one
candidate in every hour of a year in every scenario: peak memory of the whole process, in which
nothing else has run, and processor time. Needs ``pip install gridproblems[peers]``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gridproblems import Chance, DERPlacement, Hours, PowerFlowProgress, Scenarios

N_CANDIDATES = 10


def placement(hours: Hours, scenarios: int) -> DERPlacement:
    """Three PV units on `case33bw`."""
    return DERPlacement(
        "case33bw",
        3,
        situations=hours * Scenarios(scenarios, load=0.1, pv=0.2, seed=1),
        objectives=[("p_loss_kw", "mean"), ("p_loss_kw", "cvar", 0.95)],
        limits={"vm_pu": Chance(0.95, (0.9, 1.05))},
        max_size=1.5,
    )


def processor_s(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def speed(scenarios: int, rounds: int) -> list[str]:
    """The table of times per candidate."""
    import pandapower as pp
    import power_grid_model as pgm
    from batched import time_series
    from peers import grid_model

    problem = placement(Hours("day"), scenarios)
    rng = np.random.default_rng(1)
    X = problem.snap(rng.uniform(problem.xl, problem.xu, (N_CANDIDATES, problem.n_var)))
    settings = problem.joint.decode(problem.base_x[np.newaxis])
    p, q = (np.array([*settings.get("load", c).values()])[:, 0].T for c in ("p_mw", "q_mvar"))
    net = problem.grid.given
    pp.runpp(net, tolerance_mva=1e-8)
    series = time_series(net, p, q)
    assert series is not None
    ways: dict[str, tuple[Callable[[], object], int]] = {
        f"an evaluation, {N_CANDIDATES} candidates": (lambda: problem.evaluate(X), N_CANDIDATES),
        "an evaluation alone": (lambda: problem.evaluate(X[0]), 1),
        f"of it, power flows by {problem.engine_name}": (lambda: problem.engine.solve(settings), 1),
        "lightsim2grid TimeSeriesCPP": (series, 1),
    }
    expected = problem.engine.solve(settings).vm_pu[0]
    found = [np.abs(series())]
    for method in ("iterative_current", "newton_raphson"):
        way = grid_model(net, p, q, pgm.CalculationMethod[method])
        assert way is not None
        ways[f"power-grid-model {method}"] = way, 1
        found.append(way())
    far = max(float(np.abs(vm_pu - expected).max()) for vm_pu in found)
    assert far < 1e-8, far
    samples = [
        {name: processor_s(call) / n for name, (call, n) in ways.items()} for _ in range(rounds)
    ]
    n = problem.situations.n
    rows = []
    for name in ways:
        median_s = statistics.median(sample[name] for sample in samples)
        rows.append(f"| {name} | {median_s * 1e3:.1f} | {median_s / n * 1e6:.1f} |")
    return [
        f"| one candidate in {n:,} situations | ms | of them each [µs] |",
        "|---|--:|--:|",
        *rows,
    ]


def year(hours: int, scenarios: int) -> str:
    """One row of the table of memory; to be called in a process of its own."""
    start_mb = _peak_mb()
    factors = 0.8 + 0.3 * np.sin(np.arange(hours) / 24.0)
    sun = np.clip(np.sin((np.arange(hours) % 24 - 6) / 12.0 * np.pi), 0.0, 1.0)
    built_s = time.process_time()
    problem = placement(Hours(load=factors, pv=sun), scenarios)
    built_s = time.process_time() - built_s
    with PowerFlowProgress(problem.counts, problem.situations.n):
        taken_s = processor_s(lambda: problem.evaluate(problem.base_x))
    return (
        f"| {hours:,} x {scenarios} = {problem.situations.n:,} | {built_s:.1f} | {taken_s:.1f} "
        f"| {start_mb:.0f} | {_peak_mb():.0f} |"
    )


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(
    rounds: int = 9,
    hours: int = 8760,
    scenarios: int = 100,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints both tables, and writes them where asked."""
    context = multiprocessing.get_context("spawn")
    memory = [
        "| hours x scenarios | to build [s] | to evaluate once [s] | memory at first [MB] "
        "| at its peak [MB] |",
        "|--:|--:|--:|--:|--:|",
    ]
    for n in (max(1, scenarios // 10), scenarios):
        with context.Pool(1) as pool:
            memory.append(pool.apply(year, (hours, n)))
    lines = [*speed(100, rounds), "", *memory]
    text = "\n".join(lines) + "\n"
    typer.echo(text)
    if out:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
