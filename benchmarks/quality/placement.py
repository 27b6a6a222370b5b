"""Algorithms on placement at equal budgets: distribution over seeds.

    python benchmarks/quality/placement.py [--case case33bw] [--device unity] [--units 1 ...]
        [--seeds 11] [--evals 10000] [--jobs 2] [--algorithm mvmo ...] [--variant ...]
        [--out docs/tables/placement.md]

Losses of the 33-bus feeder with generators at unity power factor, with generators whose power
factor is free, or with capacitors. The reference of each row is the minimum over all combinations
of buses, with sizes by Newton's method; the file with these values is read by the tests too.
Default parameters for all, seeds 1, 2, ...
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from pathlib import Path
from typing import Annotated, Any

import joblib
import pandas as pd
import typer
from runs import HEADER, Run, best_within, row

from algorithms import ALGORITHMS
from gridproblems.tasks.placement import DERPlacement

REFERENCES = Path(__file__).parents[2] / "tests" / "data" / "dg_33bus.csv"
ALGORITHM_NAMES = ("mvmo-s", "hs", "ga", "mixed-ga", "pso", "de", "cmaes")
#: Device: name in the table of references, arguments of the problem.
DEVICES: dict[str, tuple[str, dict[str, Any]]] = {
    "unity": ("DG unity pf", {"kind": "dg"}),
    "optimal": ("DG optimal pf", {"kind": "dg", "power_factor": (0.5, 1.0)}),
    "capacitor": ("capacitor", {"kind": "capacitor"}),
}
#: How the buses are coded: integers along the feeder, or choices; units sorted, or not.
VARIANTS: dict[str, tuple[str, bool]] = {
    "default": ("integer", True),
    "unsorted": ("integer", False),
    "choice": ("choice", True),
}
BUILT: dict[tuple[str, str, int, str], DERPlacement] = {}


def problem_of(case: str, device: str, n_units: int, variant: str) -> DERPlacement:
    """The problem, built once in each worker."""
    key = (case, device, n_units, variant)
    if key not in BUILT:
        bus_variable, sort = VARIANTS[variant]
        arguments = DEVICES[device][1]
        limits = {"vm_pu": None, "loading_percent": None}
        BUILT[key] = DERPlacement(
            case, n_units, limits=limits, bus_variable=bus_variable, sort=sort, **arguments
        )
    return BUILT[key]


def reference_kw(case: str, device: str, n_units: int) -> float:
    """Losses of the best sites and sizes, by enumeration."""
    table = pd.read_csv(REFERENCES)
    name = DEVICES[device][0]
    rows = table[(table.case == case) & (table.device == name) & (table.n == n_units)]
    return float(rows.loss_kw.iloc[0])


def run(
    case: str, device: str, n_units: int, variant: str, algorithm: str, seed: int, evals: int
) -> Run:
    """One run of one algorithm."""
    problem = problem_of(case, device, n_units, variant)
    return best_within(problem, ALGORITHMS[algorithm](problem), seed, evals)


def main(
    case: str = "case33bw",
    device: Annotated[list[str] | None, typer.Option()] = None,
    units: Annotated[list[int] | None, typer.Option()] = None,
    seeds: int = 11,
    evals: int = 10_000,
    jobs: int = 2,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    variant: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table per number of units with one row per algorithm, and writes them."""
    warnings.simplefilter("ignore", DeprecationWarning)
    lines: list[str] = []
    for kind in device or ("unity",):
        for n_units in units or (1, 2, 3):
            known = reference_kw(case, kind, n_units)
            title = (
                f"`{case}`, {n_units} x {DEVICES[kind][0]}, losses in kW, {evals} evaluations, "
                f"seeds 1 to {seeds}, minimum by enumeration {known:.3f} kW"
            )
            lines += ["", title, "", *HEADER]
            typer.echo("\n".join(lines[-5:]))
            for coding in variant or ("default",):
                for name in algorithm or ALGORITHM_NAMES:
                    runs = joblib.Parallel(n_jobs=jobs)(
                        joblib.delayed(run)(case, kind, n_units, coding, name, seed, evals)
                        for seed in range(1, seeds + 1)
                    )
                    label = f"`{name}`" if coding == "default" else f"`{name}`, {coding}"
                    lines.append(row(label, runs, known))
                    typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
