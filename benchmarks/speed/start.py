"""Seconds of whole processes: import, help, list, wrong words, a first small solve.

``python benchmarks/speed/start.py`` prints the median of several processes of each, after one that
is not counted (it compiles and stores), and the imports that took longest. Last come the first
evaluation and the first gradient of a new installation, one process each with an empty cache of
compiled code, less the same with the cache that it left.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 5
LONGEST = 12
SOLVE = ["solve", "orpd", "--case", "ieee14", "--evals", "2000", "--quiet"]
COMMANDS = {
    "python": ["-c", "pass"],
    "import pandapower": ["-c", "import pandapower"],
    "import gridproblems": ["-c", "import gridproblems"],
    "import a task": ["-c", "from gridproblems import ReactivePowerDispatch"],
    "--help": ["-m", "gridproblems", "--help"],
    "list": ["-m", "gridproblems", "list"],
    "wrong task": ["-m", "gridproblems", "solve", "orpdd", "--case", "ieee14"],
    "wrong algorithm": ["-m", "gridproblems", *SOLVE, "--algorithm", "hss"],
    "wrong problem in compare": ["-m", "gridproblems", "compare", "orpd:ieee139"],
}
COMPILED = {
    "evaluation": "p.evaluate([p.base_x] * 3)",
    "evaluation and gradient": "p.evaluate([p.base_x] * 3), p.gradients(p.base_x)",
}


def compiling_s(statement: str) -> float:
    """How much longer a process takes that has to compile. [s]"""
    made = f"from gridproblems import ReactivePowerDispatch as R; p = R('ieee14'); {statement}"
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for _ in range(2):
            start = time.perf_counter()
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            subprocess.run([sys.executable, "-c", made], env=environment, check=True)
            taken.append(time.perf_counter() - start)
    return taken[0] - taken[1]


def seconds(arguments: list[str]) -> float:
    """Median of whole processes, the first left out. [s]"""
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def longest_imports(statement: str) -> list[str]:
    """The imports with the longest cumulated time, by ``-X importtime``."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.split("|") for line in lines if line.count("|") == 2 and "cumulative" not in line]
    rows.sort(key=lambda row: -int(row[1]))
    return [f"{int(row[1]) / 1e3:8.0f} ms  {row[2].strip()}" for row in rows[:LONGEST]]


def main() -> None:
    """Prints the table."""
    for name, arguments in COMMANDS.items():
        print(f"{seconds(arguments):6.2f} s  {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(["-m", "gridproblems", *SOLVE, "--out", folder])
        print(f"{took:6.2f} s  first solve: 14 buses, 2,000 evaluations", flush=True)
    for name, statement in COMPILED.items():
        print(f"{compiling_s(statement):6.1f} s  compiling for a first {name}", flush=True)
    print("\n".join(longest_imports("from gridproblems import ReactivePowerDispatch")))


if __name__ == "__main__":
    main()
