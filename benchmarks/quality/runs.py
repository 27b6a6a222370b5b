"""One run of an algorithm, judged by the best feasible point within a budget of evaluations."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.optimize import minimize

from gridproblems import GridProblem

HEADER = (
    "| algorithm | median | quartiles | best | worst | feasible | median gap | s per run |",
    "|---|---|---|---|---|---|---|---|",
)


class Run(NamedTuple):
    """Best feasible value, infinite if there is none, and the run time."""

    best: float
    seconds: float


def best_within(problem: GridProblem, algorithm: Algorithm, seed: int, evals: int) -> Run:
    """One run; pymoo's own algorithms finish a generation, what is beyond ``evals`` is not seen."""
    best = np.inf
    n_seen = 0

    def watch(population: Population) -> None:
        nonlocal best, n_seen
        for individual in population[: max(0, evals - n_seen)]:
            if individual.CV[0] <= 0 and not individual.get("is_between"):
                best = min(best, float(individual.F[0]))
        n_seen += len(population)

    start = time.perf_counter()
    minimize(problem, algorithm, ("n_evals", evals), seed=seed, evaluator=Evaluator(callback=watch))
    return Run(best, time.perf_counter() - start)


def row(name: str, runs: list[Run], known: float) -> str:
    """A row of the table."""
    best = np.array([r.best for r in runs])
    low, median, high = np.quantile(best, [0.25, 0.5, 0.75], method="nearest")
    gap = round(median / known - 1, 5) + 0.0  # no -0.000%
    return (
        f"| {name} | {median:.4f} | {low:.4f} to {high:.4f} | {best.min():.4f} "
        f"| {best.max():.4f} | {np.isfinite(best).mean():.0%} | {gap:.3%} "
        f"| {np.median([r.seconds for r in runs]):.1f} |"
    )
