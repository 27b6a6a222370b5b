"""What a study costs beside bare ``minimize``, and what a second core gains.

    python benchmarks/speed/study.py [--evals 5000] [--repeats 5] [--runs 40]

The overhead compares processor time, the least of several measurements, which other programs on
the machine disturb least: the same runs of the same seeds, once by ``minimize`` on a problem made
once, once by a study with file and recorded curves, in turns. The gain of the second core is wall
time, so the machine has to be idle.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # set before numpy is loaded

import tempfile
import time
from pathlib import Path
from typing import Annotated

import joblib
import typer
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems.study import Study
from gridproblems.study.run import fresh_problem
from gridproblems.study.store import Store

PROBLEMS = ("orpd:ieee39", "reconfiguration:case33bw")
NAMES = ("hs", "mvmo", "ga", "pso")
SEEDS = (1, 2)


def main(
    evals: Annotated[int, typer.Option(help="Evaluations of a run")] = 5000,
    repeats: Annotated[int, typer.Option(help="Pairs of measurements of the overhead")] = 5,
    runs: Annotated[int, typer.Option(help="Runs for the gain of a second core")] = 40,
) -> None:
    """Prints both."""
    print("problem                    algorithm  minimize [s]  study [s]  overhead")
    for problem in PROBLEMS:
        for name in NAMES:
            bare, whole = overhead(problem, name, evals, repeats)
            print(f"{problem:26s} {name:9s} {bare:13.2f} {whole:10.2f} {whole / bare - 1:+9.1%}")
    one, two = (wall_time_s(runs, evals, n_jobs) for n_jobs in (1, 2))
    print(f"{runs} runs of {evals} evaluations: {one:.1f} s on one core, {two:.1f} s on two,")
    print(f"{one / two:.2f} times as fast; load of the machine {os.getloadavg()[0]:.1f}")


def overhead(problem: str, name: str, evals: int, repeats: int) -> tuple[float, float]:
    """Least processor time of the runs by ``minimize`` and by a study. [s]"""
    made = fresh_problem(problem)
    times: list[tuple[float, float]] = []
    for repeat in range(repeats + 1):
        start = time.process_time()
        for seed in SEEDS:
            algorithm = ALGORITHMS[name](made)
            minimize(made, algorithm, ("n_eval", evals), seed=seed, copy_algorithm=False)
        bare = time.process_time() - start
        with tempfile.TemporaryDirectory() as folder:
            study = Study(Path(folder) / "s.db", [problem], [name], SEEDS, evals)
            start = time.process_time()
            study.run(progress=False)
            whole = time.process_time() - start
            with Store(study.path) as store:
                assert {r.outcome.evaluations for r in store.runs()} == {evals}
        if repeat:  # the first pair compiles
            times.append((bare, whole))
    return min(bare for bare, _ in times), min(whole for _, whole in times)


def wall_time_s(runs: int, evals: int, n_jobs: int) -> float:
    """Wall time of a study, its worker processes ready beforehand. [s]"""
    with tempfile.TemporaryDirectory() as folder:
        seeds = runs // len(NAMES)
        warm = Study(Path(folder) / "warm.db", PROBLEMS[:1], NAMES, seeds=n_jobs, n_evals=100)
        warm.run(n_jobs, progress=False)
        study = Study(Path(folder) / "s.db", PROBLEMS[:1], NAMES, seeds, evals)
        start = time.perf_counter()
        study.run(n_jobs, progress=False)
        seconds = time.perf_counter() - start
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    return seconds


if __name__ == "__main__":
    typer.run(main)
