"""A newcomer's first ten minutes with a stopwatch: commands, seconds, what is seen.

    python benchmarks/speed/stopwatch.py [--before DIR] [--repeats 3]

Every command is a whole new process in an empty folder with the files of `docs/examples/own_grid`;
seconds are the median of its repetitions after one that is not counted, as compiled code is stored
by then. With ``--before`` the same is done with another checkout of this repository, such as one of
0.1; a command that it does not know is a dash. Writes docs/tables/stopwatch.md.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "tables" / "stopwatch.md"
OWN = ROOT / "docs" / "examples" / "own_grid"


class Step(NamedTuple):
    """A command as a user types it, what is seen, and whether it is meant to end in an error."""

    words: str
    seen: str
    fails: bool = False


STEPS = (
    Step("gridproblems --help", "seven commands, one line each"),
    Step("gridproblems list", "tasks, cases, algorithms, parts"),
    Step("gridproblems solve orpdd --case ieee14", "did you mean 'orpd'?", True),
    Step("gridproblems solve orpd --case ieee41", "did you mean 'ieee14'?", True),
    Step('python -c "import gridproblems"', "nothing"),
    Step("python first.py", "the ten lines of the README: losses, settings"),
    Step(
        "gridproblems solve orpd --case ieee14 --evals 2000 --quiet",
        "a folder with report, settings, pictures",
    ),
    Step(
        "gridproblems solve orpd --case ieee39 --evals 2000 --quiet",
        "the same, 0.01 % above the best known losses",
    ),
    Step("gridproblems check five_bus.m", "what a MATPOWER file holds, and its power flow"),
    Step(
        "gridproblems solve orpd --case five_bus.m --series load=day.csv "
        "--situations outages:lines --evals 500 --quiet",
        "set-points that hold at four hours with any line out",
    ),
    Step(
        "gridproblems compare orpd:ieee14 --algorithms hs,ga --seeds 3 --evals 1000 "
        "--out results/compared",
        "which of two is better, with statistics and report",
    ),
)


def once(step: Step, tree: Path) -> float | None:
    """One process of a command with the code of a tree. [s] None where it ends otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        for path in OWN.iterdir():
            shutil.copy(path, folder)
        shutil.copy(ROOT / "docs" / "examples" / "solve_a_case.py", Path(folder) / "first.py")
        program, _, rest = step.words.partition(" ")
        module = "-m gridproblems " if program == "gridproblems" else ""
        shell = f"{sys.executable} {module}{rest}"
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        start = time.perf_counter()
        done = subprocess.run(
            shell,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
        )
        taken = time.perf_counter() - start
    return taken if (done.returncode != 0) == step.fails else None


def seconds(step: Step, tree: Path, repeats: int) -> str:
    """The median of several, a dash where the command is not known. [s]"""
    taken = [once(step, tree) for _ in range(repeats + 1)][1:]
    known = [each for each in taken if each is not None]
    return f"{statistics.median(known):.1f}" if len(known) == repeats else "–"


def main(
    before: Annotated[Path | None, typer.Option(help="Another checkout, such as of 0.1")] = None,
    repeats: Annotated[int, typer.Option(help="Processes that count")] = 3,
) -> None:
    """Measures and writes the table."""
    names = ["command", "before [s]", "now [s]", "seen"] if before else ["command", "[s]", "seen"]
    lines = [f"| {' | '.join(names)} |", f"|---|{'--:|' * (len(names) - 2)}---|"]
    for step in STEPS:
        trees = [ROOT] if before is None else [before.resolve(), ROOT]
        cells = [f"`{step.words}`", *(seconds(step, t, repeats) for t in trees), step.seen]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
