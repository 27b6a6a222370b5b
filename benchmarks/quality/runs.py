"""One run of an algorithm, judged by the best feasible point within a budget of evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.optimize import minimize

from gridproblems import GridProblem

HEADER = (
    "| algorithm | median | quartiles | best | worst | feasible | median gap | s per run |",
    "|---|---|---|---|---|---|---|---|",
)


class Run(NamedTuple):
    """Best feasible value, infinite if there is none, the run time, and the vector."""

    best: float
    seconds: float
    x: Any = None


def feasible_within(
    problem: GridProblem,
    algorithm: Algorithm,
    seed: int,
    evals: int,
    take: Callable[[Individual], None],
) -> None:
    """One run that hands over its feasible points with whole values, one after the other.

    pymoo's own algorithms finish a generation, what is beyond ``evals`` is not seen; points between
    whole numbers, which searches with gradients evaluate, are no settings.
    """
    n_seen = 0

    def watch(population: Population) -> None:
        nonlocal n_seen
        for individual in population[: max(0, evals - n_seen)]:
            if individual.CV[0] <= 0 and not individual.get("is_between"):
                take(individual)
        n_seen += len(population)

    minimize(problem, algorithm, ("n_evals", evals), seed=seed, evaluator=Evaluator(callback=watch))


def best_within(problem: GridProblem, algorithm: Algorithm, seed: int, evals: int) -> Run:
    """The best point of one run, see `feasible_within`."""
    best, x = np.inf, None

    def take(individual: Individual) -> None:
        nonlocal best, x
        if individual.F[0] < best:
            best, x = float(individual.F[0]), np.array(individual.X)

    start = time.perf_counter()
    feasible_within(problem, algorithm, seed, evals, take)
    return Run(best, time.perf_counter() - start, x)


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
