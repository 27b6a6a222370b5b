"""What a checkpoint costs: seconds of the processor, bytes of an evaluation, seconds to go on.

``python benchmarks/speed/checkpoints.py`` runs algorithms on 39 and 118 buses without and with a
checkpoint, and once more from the finished file alone; medians of several runs. Seconds are those
that the process computes, so that other programs matter little.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import GridProblem, ReactivePowerDispatch
from gridproblems.checkpoints import Checkpoint

CASES = ("ieee39", "ieee118")
NAMES = ("hs", "mvmo", "ga", "pso", "de", "nsga2", "sqp")
EVALUATIONS, REPEATS = 2000, 3


def seconds(problem: GridProblem, name: str, path: Path | None, n: int) -> float:
    """Processor time of a run, with a checkpoint where there is a path. [s]"""
    algorithm = ALGORITHMS[name](problem)
    start = time.process_time()
    if path is None:
        minimize(problem, algorithm, ("n_eval", n), seed=1)
    else:
        with Checkpoint(path, problem) as checkpoint:
            minimize(problem, algorithm, ("n_eval", n), seed=1, evaluator=checkpoint.evaluator)
    return time.process_time() - start


def main() -> None:
    """Prints one row for each case and algorithm."""
    print("case     algorithm  without     with  from file  bytes an evaluation")
    for case in CASES:
        problem = ReactivePowerDispatch(case)
        for name in NAMES:
            n = EVALUATIONS // 20 if name == "sqp" else EVALUATIONS
            rows = []
            with tempfile.TemporaryDirectory() as folder:
                for repeat in range(REPEATS + 1):
                    path = Path(folder) / f"{repeat}.bin"
                    plain = seconds(problem, name, None, n)
                    kept = seconds(problem, name, path, n)
                    rows.append((plain, kept, seconds(problem, name, path, n)))
                size = path.stat().st_size / n
            plain, kept, again = (
                statistics.median(column) for column in zip(*rows[1:], strict=True)
            )
            print(f"{case:8} {name:9} {plain:7.2f} s {kept:6.2f} s {again:8.2f} s {size:12,.0f}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
