"""What gradients take over a power flow of the same batch, in processor time of one process.

    python benchmarks/speed/gradients.py [--case ieee118] [--rounds 15] [--n 64]
        [--out docs/tables/speed_gradients.md]

Every round times all ways one after the other on the same random vectors, whose taps stand between
whole positions; ratios are medians over rounds. "power flow" is the evaluation of the same vectors
with whole taps, F and G included; the other columns say how often that time F and G between whole
positions take, then dF besides, by one backward solution, then dF and dG of all limits, then dG of
the constraints within 0.02 of their limits alone (``near=0.02``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gridproblems import ReactivePowerDispatch
from gridproblems.gradients import Gradients

NEAR = 0.02
CASES = ("ieee39", "ieee118", "ieee300", "pegase1354")


def processor_seconds(function: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Processor time of one call. [s]"""
    before = time.process_time()
    function(*arguments, **options)
    return time.process_time() - before


def row(name: str, n: int, rounds: int) -> str:
    """The line of the table of one case."""
    problem = ReactivePowerDispatch(name)
    near_base = problem.base_x + 0.1 * np.random.default_rng(0).uniform(
        -1, 1, (n, problem.n_var)
    ) * (problem.xu - problem.xl)
    X = problem.joint.relaxed(np.clip(near_base, problem.xl, problem.xu))
    whole = problem.snap(X)
    gradients = Gradients(problem.evaluation)
    ways: list[Callable[[], Any]] = [
        lambda: problem.evaluation(whole),
        lambda: gradients.values(X),
        lambda: gradients(X, with_dG=False),
        lambda: gradients(X),
        lambda: gradients(X, near=NEAR),
    ]
    for way in ways:
        way()
    samples = [[processor_seconds(way) for way in ways] for _ in range(rounds)]
    values = statistics.median(sample[0] for sample in samples)
    ratios = [statistics.median(s[k] / s[0] for s in samples) for k in range(1, len(ways))]
    sizes = f"| `{name}` | {problem.n_var} | {problem.n_ieq_constr} | {values / n * 1e6:.0f} |"
    return sizes + "".join(f" {ratio:.1f} |" for ratio in ratios)


def main(
    case: Annotated[list[str], typer.Option(help="Name of a case.")] = list(CASES),  # noqa: B006
    n: Annotated[int, typer.Option(help="Vectors in a batch.")] = 64,
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    lines = [
        "| case | variables | constraints | power flow [µs] | F, G | with dF | with dF, dG "
        "| with dF, near dG |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in case:
        lines.append(row(name, n, rounds))
        typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
