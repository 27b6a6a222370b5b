"""Evaluations until the best known losses are reached, with gradients and without.

    python benchmarks/algorithms/gradients.py [--case ieee39 ...] [--algorithm sqp ...]
        [--seeds 31] [--evals 5000] [--jobs 2] [--again sqp] [--tables-only]

A run is over when a feasible point with whole values is within 0.01 % of the best known value, or
after ``evals`` evaluations. An evaluation with slopes counts as one; processor time is that of the
run alone, with the problem ready. Starts are random, on 9,241 buses the grid as it is; all have
their defaults. One run there takes a quarter of an hour (``--case pegase9241 --algorithm sqp
--seeds 1 --evals 34``) and is left out unless named.

Every run is a line of ``gradients_runs.csv`` and is not repeated; after a change of an algorithm
name it under ``--again``. Tables are made of these lines (`gradients_tables.py`). Needs the package
cma for ``bipop-cmaes``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import contextlib
import time
from typing import Annotated

import joblib
import numpy as np
import pandas as pd
import typer
from gradients_tables import ALGORITHMS, CASES, RUNS, TARGETS_PERCENT, Run, read_runs, write_tables
from peers import PEERS
from pymoo.core.algorithm import Algorithm

from gridproblems import ReactivePowerDispatch
from gridproblems._progress import Recorder, gap_percent
from gridproblems.study.specs import algorithm_of

NAMED_ALONE = ("pegase9241",)
BUILT: dict[str, ReactivePowerDispatch] = {}


class OverError(Exception):
    """The target is reached, or the budget is spent."""


class Watch:
    """Ends a run at the target or the budget, and remembers when each target was reached.

    Args:
        best: Best known value.
        evals: Budget.
    """

    def __init__(self, best: float, evals: int) -> None:
        self.best, self.evals = best, evals
        self.recorder = Recorder(1, evals, self._look)
        self.seconds = dict.fromkeys(TARGETS_PERCENT, np.inf)
        self._start = time.process_time()

    def spent(self) -> float:
        """Processor time since the start. [s]"""
        return time.process_time() - self._start

    def _look(self, recorder: Recorder) -> None:
        gap = np.inf
        if recorder.feasible:
            gap = gap_percent(float(recorder.F[0, 0]), self.best)
        for target, seconds in self.seconds.items():
            if gap <= target and np.isinf(seconds):
                self.seconds[target] = self.spent()
        if gap <= min(TARGETS_PERCENT) or recorder.evaluations >= self.evals:
            raise OverError

    def reached(self) -> tuple[dict[float, float], float, float]:
        """Evaluations to each target, the last gap in percent and the last violation.

        Algorithms that evaluate many at once may ask for more than the budget; these do not count.
        """
        history = self.recorder.history()
        history = history[history.evaluations <= self.evals]
        gaps = np.array([gap_percent(float(value), self.best) for value in history.best])
        gaps = np.where(np.isnan(gaps), np.inf, gaps)
        numbers = history.evaluations.to_numpy(float)
        first = {t: float(numbers[gaps <= t].min(initial=np.inf)) for t in TARGETS_PERCENT}
        return first, float(gaps.min(initial=np.inf)), float(history.violation.min())


def problem_of(case: str) -> ReactivePowerDispatch:
    """The problem, built once in each worker, its compiled code loaded."""
    if case not in BUILT:
        BUILT[case] = ReactivePowerDispatch(case)
        BUILT[case].gradients(BUILT[case].base_x)
    return BUILT[case]


def run(case: str, name: str, seed: int, evals: int) -> Run:
    """One run of one algorithm with its defaults."""
    problem = problem_of(case)
    assert problem.best_known is not None
    algorithm: Algorithm
    make = PEERS.get(name)
    algorithm = make(problem, evals) if make else algorithm_of(name, problem, evals)
    watch = Watch(problem.best_known.value, evals)
    recorder = watch.recorder
    algorithm.setup(problem, termination=("n_eval", evals), seed=seed, evaluator=recorder.evaluator)
    with contextlib.suppress(OverError):
        algorithm.run()
    spent = watch.spent()
    first, gap, violation = watch.reached()
    seconds = [watch.seconds[t] if np.isfinite(first[t]) else np.inf for t in TARGETS_PERCENT]
    n = min(recorder.evaluations, evals)
    reached = (*first.values(), *seconds)
    return Run(case, name, seed, evals, n, recorder.gradients, spent, gap, violation, *reached)


def main(
    case: Annotated[list[str] | None, typer.Option()] = None,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    seeds: int = 31,
    evals: int = 5000,
    jobs: int = 2,
    again: Annotated[list[str] | None, typer.Option(help="Algorithms to run anew.")] = None,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Run nothing.")] = False,
) -> None:
    """Runs what is missing, seed after seed, and writes the tables."""
    runs = read_runs()
    cases = case or [one for one in CASES if one not in NAMED_ALONE]
    names = algorithm or list(ALGORITHMS)
    if again:
        runs = runs[~(runs.algorithm.isin(again) & runs.case.isin(cases))]
    done = set(zip(runs.case, runs.algorithm, runs.seed, runs.budget, strict=True))
    for one in () if tables_only else cases:
        for seed in range(1, seeds + 1):
            missing = [name for name in names if (one, name, seed, evals) not in done]
            new = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(run)(one, name, seed, evals) for name in missing
            )
            if new:
                parts = [part for part in (runs, pd.DataFrame(new)) if len(part)]
                runs = pd.concat(parts, ignore_index=True)
                runs = runs.sort_values(["case", "algorithm", "seed"], kind="stable")
                runs.to_csv(RUNS, index=False, float_format="%.6g", lineterminator="\n")
                typer.echo(f"{one}, seed {seed}: {len(new)} runs")
    write_tables(read_runs())


if __name__ == "__main__":
    typer.run(main)
