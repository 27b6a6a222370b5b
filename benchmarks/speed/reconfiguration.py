"""How much faster one radial configuration is than through ``pandapower.runpp``, side by side.

    python benchmarks/speed/reconfiguration.py [--rounds 15] [--out docs/tables/speed_radial.md]

Each round times all ways one after the other, ratios are medians over rounds. "runpp" writes the
open lines of a decoded vector into the net, runs ``pandapower.runpp`` with its defaults and adds
up the losses. "in a population" is `evaluate_many` of 100 vectors, decoding and objective included;
"sweep alone" the engine's share of it, and "newton / sweep" how many times as long the engine
`newton` takes for that share.
"""

from __future__ import annotations

import copy
import statistics
from pathlib import Path
from typing import Annotated

import numpy as np
import pandapower as pp
import typer
from ratios import POPULATION, seconds
from table import show_table

from gridproblems import Reconfiguration

N_PLAIN = 10
NO_LIMITS = {"vm_pu": None, "loading_percent": None}


def working_vectors(problem: Reconfiguration, n: int) -> np.ndarray:
    """Vectors near the present configuration: random walks of a few branch exchanges."""
    rng = np.random.default_rng(0)
    found = []
    while len(found) < n:
        x = problem.base_x
        for _ in range(rng.integers(1, 6)):
            x = rng.choice(problem.neighbours(x, 10))
        if problem.solve(x).solved:
            found.append(x)
    return np.array(found)


def plain_loss_kw(problem: Reconfiguration, x: np.ndarray) -> float:
    """Losses of one configuration by plain pandapower."""
    net = problem.net
    net.line["in_service"] = ~net.line.index.isin(problem.open_lines(x)[0])
    pp.runpp(net)
    return float(1e3 * net.res_line.pl_mw.sum())


def measure(case: str, coding: str, rounds: int) -> list[str]:
    """One row of the table."""
    problem = Reconfiguration(case, coding=coding, limits=NO_LIMITS)
    near = Reconfiguration(case)
    trees = working_vectors(near, POPULATION)
    vectors = np.array([problem.encode_open_lines(near.open_lines(x)[0]) for x in trees])
    apart = copy.deepcopy(problem)
    apart.grid = copy.deepcopy(problem.grid)
    f, _ = problem.evaluate(vectors)
    assert np.allclose(f[:3, 0], [plain_loss_kw(apart, x) for x in vectors[:3]], atol=1e-3)
    settings = problem.joint.decode(problem.snap(vectors))
    newton = Reconfiguration(case, coding=coding, engine="newton", limits=NO_LIMITS).engine
    newton.solve(settings)
    samples = []
    for _ in range(rounds):
        population = seconds(problem.evaluate_many, vectors) / POPULATION
        sweep = seconds(problem.engine.solve, settings) / POPULATION
        by_newton = seconds(newton.solve, settings) / POPULATION
        one = seconds(lambda: [problem.evaluate(x) for x in vectors[:30]]) / 30
        runpp = seconds(lambda: [plain_loss_kw(apart, x) for x in vectors[:N_PLAIN]]) / N_PLAIN
        samples.append((population, sweep, one, runpp, by_newton))
    population, sweep, one, runpp, _ = (statistics.median(c) for c in zip(*samples, strict=True))
    ratios = [sample[3] / sample[0] for sample in samples]
    return [
        f"`{case}`, `{coding}`",
        f"{runpp * 1e3:.1f}",
        f"{population * 1e6:.1f}",
        f"{sweep * 1e6:.1f}",
        f"{one * 1e6:.0f}",
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f}-{max(ratios):.0f})",
        f"{statistics.median(sample[4] / sample[1] for sample in samples):.1f}",
    ]


def main(
    case: Annotated[list[str] | None, typer.Option(help="Case; may be repeated.")] = None,
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    header = [
        "case, coding",
        "runpp [ms]",
        "in a population [µs]",
        "sweep alone [µs]",
        "one by one [µs]",
        "runpp / population",
        "newton / sweep",
    ]
    rows = [header, ["---"] * len(header)]
    for name in case or ["case33bw", "case69", "case118zh", "case136ma"]:
        for coding in ("nearest_tree", "spanning_tree"):
            rows.append(measure(name, coding, rounds))
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
