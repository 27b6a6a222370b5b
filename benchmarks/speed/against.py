"""One evaluation of every task in this checkout and in another one, in turn.

    python benchmarks/speed/against.py FOLDER [--rounds 15]

FOLDER is another checkout of the project, for example a git worktree of an earlier version. Both
run in a process of their own and measure in turn, a population of 100 and one vector at a time;
processor time of the process, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parents[2]

_WORKER = """
import sys, time
import numpy as np
from gridproblems import (DERAllocation, DERPlacement, ReactivePowerDispatch, Reconfiguration,
                          RegulatorControl, StorageSchedule)
TASKS = {
    "orpd ieee39": lambda: ReactivePowerDispatch("ieee39"),
    "orpd ieee118": lambda: ReactivePowerDispatch("ieee118"),
    "reconfiguration case33bw": lambda: Reconfiguration("case33bw"),
    "placement case33bw": lambda: DERPlacement("case33bw"),
    "allocation lv18": lambda: DERAllocation("lv18"),
    "storage lv18": lambda: StorageSchedule(
        "lv18", [{"bus": 5, "power_mw": 0.02, "energy_mwh": 0.06}]
    ),
    "regulators ieee123": lambda: RegulatorControl("ieee123"),
}
made = {}
for line in sys.stdin:
    name, n = line.rstrip().split("\\t")
    n = int(n)
    if name not in made:
        problem = TASKS[name]()
        rng = np.random.default_rng(1)
        made[name] = problem, rng.uniform(problem.xl, problem.xu, (100, problem.n_var))
    problem, X = made[name]
    X = X if n == 100 else X[:n]
    start = time.process_time()
    if n == 100:
        F = problem.evaluate(X, return_values_of=["F"])
    else:
        F = [problem.evaluate(x, return_values_of=["F"]) for x in X]
    took_s = time.process_time() - start
    print(f"{took_s!r}\\t{float(np.sum(F))!r}", flush=True)
"""
TASKS = (
    "orpd ieee39",
    "orpd ieee118",
    "reconfiguration case33bw",
    "placement case33bw",
    "allocation lv18",
    "storage lv18",
    "regulators ieee123",
)


class Worker:
    """A process that evaluates with the code of a checkout."""

    def __init__(self, folder: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _WORKER],
            cwd=folder,
            env={**os.environ, **threads, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, name: str, n: int) -> tuple[float, float]:
        """Processor time [s] of n evaluations, and the sum of F."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(f"{name}\t{n}", file=self._process.stdin, flush=True)
        took_s, total = self._process.stdout.readline().split("\t")
        return float(took_s), float(total)


def main() -> None:
    """Prints microseconds per evaluation and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    workers = [Worker(HERE), Worker(given.folder.resolve())]
    rows = []
    for name in TASKS:
        for n, how in ((100, "together"), (20, "one by one")):
            totals = [worker.measure(name, n)[1] for worker in workers]  # warms up
            took = np.array(
                [
                    [worker.measure(name, n)[0] / n for worker in workers]
                    for _ in range(given.rounds)
                ]
            )
            here_us, there_us = 1e6 * np.median(took, axis=0)
            ratio = np.median(took[:, 0] / took[:, 1])
            rows.append((name, how, here_us, there_us, ratio, totals[0] == totals[1]))
    columns = ["task", "how", "here_us", "there_us", "ratio", "equal"]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__":
    main()
