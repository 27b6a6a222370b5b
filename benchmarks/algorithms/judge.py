"""Judges the algorithms on problems that no default was chosen on, beside other packages.

    python benchmarks/algorithms/judge.py [--seeds 31] [--group grid,functions] [--dims 10]
        [--algorithms hs,mvmo-s] [--again hs,mvmo-s] [--jobs 2] [--dry-run] [--tables-only]

Every algorithm with its defaults, every problem with the same seeds and the same budget, exact to
the evaluation. Runs are kept in results/algorithms/judging.db and not repeated; after a change of
an algorithm name it under ``--again``. Tables go to docs/tables, pictures to docs/images, and one
line per run to benchmarks/algorithms/judging_runs.csv. What was not run is left out of the tables,
so the full size may be reached in parts.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from judge_tables import write_all
from peers import PEERS
from problem_sets import DIMENSIONS, Groups, judging

from gridproblems.study import Study
from gridproblems.study.results import Results
from gridproblems.study.specs import AlgorithmSpec

ROOT = Path(__file__).parents[2]
STORE = ROOT / "results" / "algorithms" / "judging.db"
OWN = ("hs", "mvmo-s", "mvmo-sh")
ALGORITHMS: dict[str, AlgorithmSpec] = {
    **{name: name for name in (*OWN, "ga", "pso", "de", "cmaes")},
    **PEERS,
}
BUDGET = 5000
BUDGETS = {"regulators, 123 nodes": 3000}


def main(
    seeds: Annotated[int, typer.Option(help="31 at full size")] = 31,
    group: Annotated[str, typer.Option(help="Groups of problems, in the order to run")] = (
        "grid,functions,constrained,mixed"
    ),
    dims: Annotated[str, typer.Option(help="Dimensions of the functions, in the order to run")] = (
        "10,20,5,40"
    ),
    algorithms: Annotated[str, typer.Option(help="Those to run")] = ",".join(ALGORITHMS),
    again: Annotated[str, typer.Option(help="Those whose stored runs are of older code")] = "",
    jobs: Annotated[int, typer.Option(help="Processes")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only the expected time")] = False,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Run nothing")] = False,
) -> None:
    """Runs what is missing and writes tables and pictures."""
    if again and not dry_run:
        forget(again.split(","))
    wanted = {name: ALGORITHMS[name] for name in algorithms.split(",")}
    seconds = 0.0
    for part in () if tables_only else parts(group.split(","), [int(d) for d in dims.split(",")]):
        problems = {name: spec for of_group in part.values() for name, spec in of_group.items()}
        budgets = {name: BUDGETS.get(name, BUDGET) for name in problems}
        study = Study(STORE, problems, wanted, seeds, budgets)
        if dry_run:
            plan = study.plan(jobs)
            typer.echo(plan.to_string(index=False))
            seconds += float(plan.s.sum())
        else:
            study.run(jobs)
    if dry_run:
        typer.echo(f"{seconds / 60:.0f} minutes")
        return
    everything = judging(DIMENSIONS)
    names = {group: list(problems) for group, problems in everything.items()}
    write_all(Results(STORE), names, list(ALGORITHMS), OWN, list(PEERS))


def parts(groups: list[str], dimensions: list[int]) -> list[Groups]:
    """Problems in the order to run: group after group, functions by dimension."""
    found: list[Groups] = []
    for group in groups:
        if group == "functions":
            found += [{group: judging([n_var])[group]} for n_var in dimensions]
        else:
            found.append({group: judging()[group]})
    return found


def forget(algorithms: list[str]) -> None:
    """Removes the stored runs of algorithms."""
    with closing(sqlite3.connect(STORE)) as store, store:
        for name in algorithms:
            store.execute("DELETE FROM runs WHERE algorithm = ?", (name,))


if __name__ == "__main__":
    typer.run(main)
