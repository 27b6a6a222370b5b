"""Algorithms on reactive power dispatch at equal budgets: distribution over seeds.

    python benchmarks/quality/dispatch.py [--case ieee39] [--objective line_loss_mw]
        [--seeds 31] [--evals 5000] [--jobs 2] [--algorithm hs --algorithm mvmo] [--out FILE.md]

Every algorithm has its default parameters and the same seeds 1, 2, ... pymoo's own algorithms
finish the generation they are in, so what counts for all is the best feasible point among the
first ``evals`` evaluations.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import time
import warnings
from pathlib import Path
from typing import Annotated, NamedTuple

import joblib
import numpy as np
import typer
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import ReactivePowerDispatch

SINGLE_OBJECTIVE = ("mvmo-sh", "hs", "mvmo", "ga", "pso", "de", "cmaes")


class Run(NamedTuple):
    """Best feasible value, infinite if there is none, and the run time."""

    best: float
    seconds: float


BUILT: dict[tuple[str, str], ReactivePowerDispatch] = {}


def problem_of(case: str, objective: str) -> ReactivePowerDispatch:
    """The problem, built once in each worker."""
    if (case, objective) not in BUILT:
        BUILT[case, objective] = ReactivePowerDispatch(case, (objective,))
    return BUILT[case, objective]


def run(case: str, objective: str, algorithm: str, seed: int, evals: int) -> Run:
    """One run of one algorithm."""
    problem = problem_of(case, objective)
    best = np.inf
    n_seen = 0

    def watch(population: Population) -> None:
        nonlocal best, n_seen
        for individual in population[: max(0, evals - n_seen)]:
            if individual.CV[0] <= 0:
                best = min(best, float(individual.F[0]))
        n_seen += len(population)

    start = time.perf_counter()
    minimize(
        problem,
        ALGORITHMS[algorithm](problem),
        ("n_evals", evals),
        seed=seed,
        evaluator=Evaluator(callback=watch),
    )
    return Run(best, time.perf_counter() - start)


def main(
    case: str = "ieee39",
    objective: str = "line_loss_mw",
    seeds: int = 31,
    evals: int = 5000,
    jobs: int = 2,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table with one row per algorithm, and writes it where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    best_known = problem_of(case, objective).best_known
    known = best_known.value if best_known else np.nan
    BUILT.clear()  # workers build their own
    lines = [
        f"`{case}`, `{objective}`, {evals} evaluations, seeds 1 to {seeds}, "
        f"best known {known:.4f} MW",
        "",
        "| algorithm | median | quartiles | best | worst | feasible | median gap | s per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    typer.echo("\n".join(lines))
    for name in algorithm or SINGLE_OBJECTIVE:
        runs = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(run)(case, objective, name, seed, evals) for seed in range(1, seeds + 1)
        )
        best = np.array([r.best for r in runs])
        low, median, high = np.quantile(best, [0.25, 0.5, 0.75], method="nearest")
        lines.append(
            f"| `{name}` | {median:.4f} | {low:.4f} to {high:.4f} | {best.min():.4f} "
            f"| {best.max():.4f} | {np.isfinite(best).mean():.0%} | {median / known - 1:.3%} "
            f"| {np.median([r.seconds for r in runs]):.1f} |"
        )
        typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
