"""Peak memory of the algorithms over a long run.

    python benchmarks/speed/memory.py

Every run in a process of its own, defaults but for 100 offspring; the problems cost next to
nothing. Writes docs/tables/algorithms_memory.md.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import multiprocessing
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.problems import get_problem

from algorithms import MVMO, HarmonySearch

TABLE = Path(__file__).parents[2] / "docs" / "tables" / "algorithms_memory.md"
SHARES = (0.01, 0.1, 0.5, 1.0)
N_VAR = 10


class WholeSphere(Problem):
    """Sum of squares of integers from -1000 to 1000."""

    def __init__(self) -> None:
        super().__init__(n_var=N_VAR, n_obj=1, xl=-1000, xu=1000, vtype=int)

    def _evaluate(self, X, out, *args, **kwargs):  # type: ignore[no-untyped-def]
        out["F"] = (X.astype(float) ** 2).sum(axis=1)


#: Label, algorithm, problem.
RUNS: list[tuple[str, Callable[[], Algorithm], Callable[[], Problem]]] = [
    ("`hs`", lambda: HarmonySearch(n_offsprings=100), lambda: get_problem("rastrigin", N_VAR)),
    ("`mvmo-sh`", lambda: MVMO(n_particles=100), lambda: get_problem("rastrigin", N_VAR)),
    ("`hs`, whole variables", lambda: HarmonySearch(n_offsprings=100), WholeSphere),
    ("`mvmo`, whole variables", lambda: MVMO(n_particles=100), WholeSphere),
]


def main(evals: Annotated[int, typer.Option(help="Evaluations of a run")] = 1_000_000) -> None:
    """Measures all runs and writes the table."""
    marks = [f"{round(share * evals):,}" for share in SHARES]
    lines = [
        f"Peak memory of the process in MB, {N_VAR} variables.",
        "",
        f"| after evaluations | {' | '.join(marks)} |",
        f"|---|{'---:|' * len(marks)}",
    ]
    context = multiprocessing.get_context("spawn")
    for k, (label, _, _) in enumerate(RUNS):
        with context.Pool(1) as pool:
            peaks = pool.apply(peaks_mb, (k, evals))
        lines.append(f"| {label} | {' | '.join(f'{peak:.0f}' for peak in peaks)} |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo(TABLE.read_text(encoding="utf-8"))


def peaks_mb(run: int, evals: int) -> list[float]:
    """Peak memory of this process after each of `SHARES` of a run."""
    _, algorithm_of, problem_of = RUNS[run]
    algorithm = algorithm_of()
    algorithm.setup(problem_of(), termination=("n_evals", evals), seed=1)
    peaks: list[float] = []
    while algorithm.has_next():
        algorithm.next()
        while algorithm.evaluator.n_eval >= SHARES[len(peaks)] * evals:
            peaks.append(_peak_mb())
            if len(peaks) == len(SHARES):
                return peaks
    raise RuntimeError(f"the run ended after {algorithm.evaluator.n_eval} evaluations")


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    typer.run(main)
