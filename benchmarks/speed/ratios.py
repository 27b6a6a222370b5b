"""How much faster one evaluation is than through ``pandapower.runpp``, side by side in one run.

    python benchmarks/speed/ratios.py [--case ieee39] [--rounds 15] [--out docs/speed.md]

Each round times all ways one after the other; the ratios are medians over rounds, so that a
machine whose speed drifts does not change them. "runpp" is a plain loop around
``pandapower.runpp`` with its defaults, which calls lightsim2grid's solver itself where that is
installed; "reference" is the same problem with ``engine="reference"``, which is ``runpp`` with
pandapower's own Newton. "lightsim2grid / population" compares with the same engine where
lightsim2grid's solver takes all power flows one by one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from plain import plain_evaluation, random_vectors
from table import show_table

from gridproblems import ReactivePowerDispatch
from gridproblems.engines import NewtonEngine

POPULATION = 100
N_PLAIN = 10


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure(case: str, rounds: int) -> list[str]:
    """One row of the table."""
    problem = ReactivePowerDispatch(case)
    assert isinstance(problem.engine, NewtonEngine)
    vectors = random_vectors(problem, POPULATION)
    plain = plain_evaluation(problem)
    reference = ReactivePowerDispatch(case, engine="reference")
    reference.evaluate(vectors[0])
    solver = ReactivePowerDispatch(case)
    solver.evaluate(vectors[:2])
    for space in solver.engine._local.spaces.values():
        space._together = None
    f, _ = problem.evaluate(vectors)
    assert np.allclose(f[:3, 0], [plain(x)[0] for x in vectors[:3]], atol=1e-4)

    samples = []
    for _ in range(rounds):
        population = seconds(problem.evaluate, vectors) / POPULATION
        one = seconds(lambda: [problem.evaluate(x) for x in vectors[:30]]) / 30
        runpp = seconds(lambda: [plain(x) for x in vectors[:N_PLAIN]]) / N_PLAIN
        slow = seconds(reference.evaluate, vectors[:N_PLAIN]) / N_PLAIN
        singly = seconds(solver.evaluate, vectors) / POPULATION
        samples.append((population, one, runpp, slow, singly))

    population, one, runpp, slow, *_ = (statistics.median(c) for c in zip(*samples, strict=True))

    def ratio(slower: int, faster: int) -> str:
        ratios = [sample[slower] / sample[faster] for sample in samples]
        return f"{statistics.median(ratios):.0f} ({min(ratios):.0f}-{max(ratios):.0f})"

    return [
        f"`{case}`",
        f"{runpp * 1e3:.1f}",
        f"{slow * 1e3:.1f}",
        f"{population * 1e6:.0f}",
        f"{one * 1e6:.0f}",
        ratio(2, 0),
        ratio(3, 0),
        ratio(2, 1),
        ratio(4, 0),
    ]


def main(
    case: Annotated[list[str] | None, typer.Option(help="Case; may be repeated.")] = None,
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    header = [
        "case",
        "runpp [ms]",
        "reference [ms]",
        "newton, in a population [µs]",
        "one by one [µs]",
        "runpp / population",
        "reference / population",
        "runpp / one by one",
        "lightsim2grid / population",
    ]
    rows = [header, ["---"] * len(header)]
    for name in case or ["ieee14", "ieee39", "ieee118", "ieee300", "pegase1354"]:
        rows.append(measure(name, rounds))
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
