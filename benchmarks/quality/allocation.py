"""Algorithms on the allocation of 18 buses at equal budgets: distribution over seeds.

    python benchmarks/quality/allocation.py [--seeds 11] [--evals 10000 --evals 200] [--jobs 2]
        [--only ROW ...] [--out docs/tables/allocation.md]

Seeds 1, 2, ... and default parameters for all; an evaluation is 24 power flows. Vector algorithms
see random keys. "search" is the local search over swaps in the order of the linear estimate, whose
evaluations count; the estimate needs no power flow. "greedy swaps" is that search alone, from
random allocations again and again: what is better than it comes from the algorithm around it.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import typer
from pymoo.core.algorithm import Algorithm
from pymoo.operators.crossover.ox import OrderCrossover
from runs import HEADER, Run, best_within, row

from algorithms import ALGORITHMS
from algorithms.permutation import BlockCrossover, PermutationGA, order_ga, permutation_ga
from gridproblems.tasks.allocation import DERAllocation

Make = Callable[[DERAllocation], Algorithm]


def registered(name: str, **parameters: object) -> Make:
    """An algorithm of the registry."""
    return lambda problem: ALGORITHMS[name](problem, **parameters)


def order_crossover(problem: DERAllocation) -> Algorithm:
    """The permutation GA without search, with order crossover."""
    return PermutationGA(crossover=BlockCrossover(OrderCrossover()), neighbour_search=False)


ROWS: dict[str, Make] = {
    "permutation GA": lambda problem: permutation_ga(problem, neighbour_search=False),
    "permutation GA, order crossover": order_crossover,
    "permutation GA with search (default)": permutation_ga,
    "permutation GA with search, population 20": lambda p: permutation_ga(p, pop_size=20),
    "the study's GA": order_ga,
    "`hs`": registered("hs"),
    "`mvmo`": registered("mvmo"),
    "`hs`, no search": registered("hs", neighbour_search=False),
    "`mvmo`, no search": registered("mvmo", neighbour_search=False),
    "`ga`": registered("ga"),
    "`pso`": registered("pso"),
    "`de`": registered("de"),
    "`cmaes`": registered("cmaes"),
}
ALONE = ("greedy swaps", "random allocations")
BUILT: list[DERAllocation] = []


def problem_of() -> DERAllocation:
    """The problem, built once in each worker."""
    if not BUILT:
        BUILT.append(DERAllocation("lv18"))
    return BUILT[0]


def run(name: str, seed: int, evals: int) -> Run:
    """One run of one row."""
    problem = problem_of()
    if name == "random allocations":
        return random_allocations(problem, seed, evals)
    if name == "greedy swaps":
        return greedy_swaps(problem, seed, evals)
    return best_within(problem, ROWS[name](problem), seed, evals)


def random_allocations(problem: DERAllocation, seed: int, evals: int) -> Run:
    """The best of as many random allocations."""
    start = time.perf_counter()
    f, g = problem.evaluate(np.random.default_rng(seed).random((evals, problem.n_var)))
    feasible = (g <= 0).all(axis=1)
    return Run(float(f[feasible].min(initial=np.inf)), time.perf_counter() - start)


def greedy_swaps(problem: DERAllocation, seed: int, evals: int) -> Run:
    """The first better one of the 12 most promising swaps, from random allocations."""
    random = np.random.default_rng(seed)
    start = time.perf_counter()
    best, left = np.inf, evals

    def values(X: np.ndarray) -> np.ndarray:
        nonlocal best, left
        X = X[:left]
        left -= len(X)
        f, g = problem.evaluate(X)
        f = np.where((g <= 0).all(axis=1), f[:, 0], np.inf)
        best = min(best, f.min(initial=np.inf))
        return f

    while left > 0:
        x = problem.snap(random.random(problem.n_var))
        here, moved = values(x[np.newaxis])[0], True
        while moved and left > 0:
            near, moved = problem.neighbours(x, 12), False
            for batch in np.array_split(near, 3):
                if left <= 0:
                    break
                f = values(batch)
                if f.min() < here:
                    x, here, moved = batch[f.argmin()], f.min(), True
                    break
    return Run(best, time.perf_counter() - start)


def main(
    seeds: int = 11,
    evals: Annotated[list[int] | None, typer.Option(help="Budgets")] = None,
    jobs: int = 2,
    only: Annotated[list[str] | None, typer.Option(help="Rows of the table")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table per budget with one row per algorithm, and writes them where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    best_known = problem_of().best_known
    known = best_known.value if best_known else np.nan
    BUILT.clear()  # workers build their own
    lines: list[str] = []
    for budget in evals or [10_000, 200]:
        title = (
            f"`lv18`, sum over 24 hours of the largest line loading in percent, {budget:,} "
            f"evaluations, seeds 1 to {seeds}, best known {known:.4f} %"
        )
        lines += ["", title, "", *HEADER]
        typer.echo("\n".join(lines[-5:]))
        for label in only or (*ROWS, *ALONE):
            runs = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(run)(label, seed, budget) for seed in range(1, seeds + 1)
            )
            lines.append(row(label, runs, known))
            typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
