"""Algorithms on reconfiguration at equal budgets: distribution over seeds.

    python benchmarks/quality/reconfiguration.py [--case case33bw ...] [--jobs 2] [--seeds N]
        [--evals N] [--others] [--out docs/tables/reconfiguration.md]

Seeds 1, 2, ... and default parameters for all. "branch exchange" is the baseline: from random
trees, close one line and open another on its loop, always the best of all such exchanges, until
none is better, then again from the next random tree. "guided exchange" restarts the local search
of HS and MVMO, which tries the exchanges in the order of the estimate, from random trees; what it
lacks to HS and MVMO is what these add. Every evaluation is one power flow; the estimate needs none.
``--others`` shows other algorithms, encodings and parts of ours in place of these four.
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
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from runs import HEADER, Run, best_within, row

from algorithms import ALGORITHMS, NeighbourMutation
from algorithms.mixed import AllowedSampling, SnapToGrid
from gridproblems import Reconfiguration

#: Case: evaluations, seeds.
BUDGETS = {
    "case33bw": (2_000, 200),
    "case69": (5_000, 100),
    "case118zh": (20_000, 31),
    "case136ma": (20_000, 31),
}
Make = Callable[[Reconfiguration], Algorithm]


def registered(name: str, **parameters: object) -> Make:
    """An algorithm of the registry."""
    return lambda problem: ALGORITHMS[name](problem, **parameters)


def exchanging_ga(problem: Reconfiguration) -> Algorithm:
    """pymoo's GA with branch exchange as mutation."""
    return GA(sampling=AllowedSampling(), repair=SnapToGrid(), mutation=NeighbourMutation())


#: Row of the table: coding, algorithm.
ROWS: dict[str, tuple[str, Make]] = {
    "`hs`": ("nearest_tree", registered("hs")),
    "`mvmo`": ("nearest_tree", registered("mvmo")),
    "`hs`, no neighbour search": ("nearest_tree", registered("hs", neighbour_search=False)),
    "`mvmo`, no neighbour search": ("nearest_tree", registered("mvmo", neighbour_search=False)),
    "`ga`, exchange as mutation": ("nearest_tree", exchanging_ga),
    **{
        f"`{name}`, `{coding}`": (coding, registered(name))
        for coding in ("nearest_tree", "spanning_tree", "loops")
        for name in ("ga", "pso")
    },
    "`hs`, `loops`, no neighbour search": ("loops", registered("hs", neighbour_search=False)),
}
MAIN = ("`hs`", "`mvmo`", "branch exchange", "guided exchange")
BUILT: dict[tuple[str, str], Reconfiguration] = {}


def problem_of(case: str, coding: str) -> Reconfiguration:
    """The problem, built once in each worker."""
    if (case, coding) not in BUILT:
        BUILT[case, coding] = Reconfiguration(
            case, coding=coding, limits={"vm_pu": None, "loading_percent": None}
        )
    return BUILT[case, coding]


def run(case: str, name: str, seed: int, evals: int) -> Run:
    """One run of one row."""
    if name == "branch exchange":
        return restarted_exchange(case, seed, evals, n_tried=None)
    if name == "guided exchange":
        return restarted_exchange(case, seed, evals, n_tried=12)
    coding, make = ROWS[name]
    problem = problem_of(case, coding)
    return best_within(problem, make(problem), seed, evals)


def restarted_exchange(case: str, seed: int, evals: int, n_tried: int | None) -> Run:
    """Best of descents from random trees; steepest, or the first better of the most promising."""
    trees, problem = problem_of(case, "spanning_tree"), problem_of(case, "nearest_tree")
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    best, left = np.inf, evals

    def values(X: np.ndarray) -> np.ndarray:
        nonlocal left, best
        X = X[:left]
        left -= len(X)
        f = np.array([out["F"][0] for out in problem.evaluate_many(X)])
        best = min(best, f.min(initial=np.inf))
        return f

    together = 4 if n_tried else None
    while left > 0:
        keys = rng.random((1, trees.n_var))
        x = problem.switching.codec.encoding.encode(trees.switching.codec.closed(keys)[0, 0])
        here = values(x[np.newaxis])[0]
        moved = True
        while moved and left > 0:
            moved = False
            near = problem.neighbours(x, n_tried)
            for first in range(0, len(near), together or len(near)):
                batch = near[first : first + (together or len(near))]
                f = values(batch)
                if len(f) and f.min() < here:
                    x, here, moved = batch[f.argmin()], f.min(), True
                    break
                if left <= 0:
                    break
    return Run(best, time.perf_counter() - start)


def main(
    case: Annotated[list[str] | None, typer.Option()] = None,
    seeds: int | None = None,
    evals: int | None = None,
    jobs: int = 2,
    others: Annotated[bool, typer.Option(help="The other rows.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Rows that begin like this.")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table per case with one row per algorithm, and writes them where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    labels = [label for label in ROWS if label not in MAIN] if others else list(MAIN)
    if only:
        labels = [label for label in labels if label.startswith(tuple(only))]
    lines: list[str] = []
    for name in case or BUDGETS:
        n_evals, n_seeds = BUDGETS[name]
        n_evals, n_seeds = evals or n_evals, seeds or n_seeds
        best_known = problem_of(name, "nearest_tree").best_known
        known = best_known.value if best_known else np.nan
        status = best_known.status if best_known else "none"
        BUILT.clear()  # workers build their own
        title = (
            f"`{name}`, losses in kW, {n_evals} evaluations, seeds 1 to {n_seeds}, "
            f"best known {known:.4f} kW ({status})"
        )
        lines += ["", title, "", HEADER[0][:-1] + "| at best known |", HEADER[1] + "---|"]
        typer.echo("\n".join(lines[-5:]))
        for label in labels:
            runs = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(run)(name, label, seed, n_evals) for seed in range(1, n_seeds + 1)
            )
            hits = np.mean([r.best <= known * (1 + 1e-6) for r in runs])
            lines.append(f"{row(label, runs, known)} {hits:.1%} |")
            typer.echo(lines[-1])
            if out:
                out.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
