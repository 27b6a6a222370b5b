"""Evaluations until the best known losses are reached, with gradients and without.

    python benchmarks/algorithms/gradients.py [--case ieee39 ...] [--algorithm sqp ...]
        [--seeds 31] [--evals 5000] [--jobs 2] [--out FILE.md]

A run is over when a feasible point with whole values is within 0.01 % of the best known value, or
after ``evals`` evaluations. An evaluation with slopes counts as one; processor time is that of the
run alone, with the problem ready.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import time
from pathlib import Path
from typing import Annotated, NamedTuple

import joblib
import numpy as np
import typer

from gridproblems import ReactivePowerDispatch
from gridproblems._progress import Recorder
from gridproblems.study.specs import algorithm_of

NEAR = 1e-4
ALGORITHMS = ("sqp", "hs", "mvmo", "hs?gradients=false", "mvmo?gradients=false")
BUILT: dict[str, ReactivePowerDispatch] = {}


class Reached(NamedTuple):
    """Evaluations and processor time until the target, infinite if never, and the last gap."""

    evaluations: float
    gradients: int
    seconds: float
    gap: float


def problem_of(case: str) -> ReactivePowerDispatch:
    """The problem, built once in each worker, its compiled code loaded."""
    if case not in BUILT:
        BUILT[case] = ReactivePowerDispatch(case)
        BUILT[case].gradients(BUILT[case].base_x)
    return BUILT[case]


def run(case: str, name: str, seed: int, evals: int) -> Reached:
    """One run of one algorithm with its defaults."""
    problem = problem_of(case)
    assert problem.best_known is not None
    best = problem.best_known.value
    recorder = Recorder(1, evals)
    start = time.process_time()
    algorithm = algorithm_of(name, problem, evals)
    algorithm.setup(problem, termination=("n_eval", evals), seed=seed, evaluator=recorder.evaluator)
    gap = np.inf
    while algorithm.has_next() and gap > NEAR:
        algorithm.next()
        if recorder.feasible:
            gap = float(recorder.F[0, 0]) / best - 1.0
    spent = time.process_time() - start
    first = float(recorder.evaluations) if gap <= NEAR else np.inf
    return Reached(first, recorder.gradients, spent, gap)


def row(case: str, name: str, runs: list[Reached]) -> str:
    """A row of the table."""
    evaluations = np.array([r.evaluations for r in runs])
    low, median, high = np.quantile(evaluations, [0.0, 0.5, 1.0], method="nearest")
    shown = ["never" if np.isinf(v) else f"{v:.0f}" for v in (median, low, high)]
    gaps = np.array([r.gap for r in runs])
    worst = "infeasible" if np.isinf(gaps).any() else f"{max(gaps.max(), 0.0):.3%}"
    return (
        f"| {case} | `{name}` | {len(runs)} | {shown[0]} | {shown[1]} to {shown[2]} "
        f"| {np.isfinite(evaluations).mean():.0%} | {np.median([r.gradients for r in runs]):.0f} "
        f"| {np.median([r.seconds for r in runs]):.2f} | {worst} |"
    )


def main(
    case: Annotated[list[str] | None, typer.Option()] = None,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    seeds: int = 31,
    evals: int = 5000,
    jobs: int = 2,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table with one row per case and algorithm, and writes it where asked."""
    lines = [
        f"Losses within 0.01 % of the best known, at most {evals} evaluations, random starts.",
        "",
        "| case | algorithm | seeds | evaluations, median | least to most | runs there "
        "| with slopes, median | processor s, median | largest gap at the end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    typer.echo("\n".join(lines))
    for one in case or ("ieee39", "ieee57", "ieee118"):
        for name in algorithm or ALGORITHMS:
            runs = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(run)(one, name, seed, evals) for seed in range(1, seeds + 1)
            )
            lines.append(row(one, name, runs))
            typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
