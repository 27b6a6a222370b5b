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

import warnings
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import typer
from runs import HEADER, Run, best_within, row

from algorithms import ALGORITHMS
from gridproblems import ReactivePowerDispatch

SINGLE_OBJECTIVE = ("mvmo-sh", "hs", "mvmo-s", "ga", "pso", "de", "cmaes")


BUILT: dict[tuple[str, str], ReactivePowerDispatch] = {}


def problem_of(case: str, objective: str) -> ReactivePowerDispatch:
    """The problem, built once in each worker."""
    if (case, objective) not in BUILT:
        BUILT[case, objective] = ReactivePowerDispatch(case, (objective,))
    return BUILT[case, objective]


def run(case: str, objective: str, algorithm: str, seed: int, evals: int) -> Run:
    """One run of one algorithm."""
    problem = problem_of(case, objective)
    return best_within(problem, ALGORITHMS[algorithm](problem), seed, evals)


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
        *HEADER,
    ]
    typer.echo("\n".join(lines))
    for name in algorithm or SINGLE_OBJECTIVE:
        runs = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(run)(case, objective, name, seed, evals) for seed in range(1, seeds + 1)
        )
        lines.append(row(f"`{name}`", runs, known))
        typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
