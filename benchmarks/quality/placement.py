"""Algorithms on placement at equal budgets: distribution over seeds.

    python benchmarks/quality/placement.py [--case case33bw] [--device unity] [--units 1 ...]
        [--seeds 11] [--evals 10000] [--jobs 2] [--algorithm mvmo ...] [--variant ...]
        [--out docs/tables/placement.md]
    python benchmarks/quality/placement.py --over-a-day [--seeds 11] [--evals 500]
        [--out docs/tables/placement_over_a_day.md]

Losses of the 33-bus feeder with generators at unity power factor, with generators whose power
factor is free, or with capacitors. The reference of each row is the minimum over all combinations
of buses, with sizes by Newton's method; the file with these values is read by the tests too.
Default parameters for all, seeds 1, 2, ...

Over a day: sizes, buses and schedules for the smallest largest value of 24 hours, with gradients
and without. There the reference is the best value of all rows, and no proven minimum.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import pandas as pd
import typer
from runs import HEADER, Run, best_within, row

from algorithms import ALGORITHMS
from gridproblems.cases import load_case
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
#: Problems over a day by name: what they are, and the unit of the objective.
OVER_A_DAY: dict[str, tuple[Callable[[], DERPlacement], str]] = {
    "three generators on `case33bw`, largest losses": (lambda: largest_losses(), "kW"),
    "a generator and a storage on `lv18`, largest exchange": (
        lambda: DERPlacement(
            "lv18",
            kind=("dg", "storage"),
            objectives=("exchange_peak_kw",),
            max_size={"dg": 0.005, "storage": 0.003},
            storage_hours=3.0,
        ),
        "kW",
    ),
    "two pv and a storage on `lv18`, largest loading of a line": (
        lambda: DERPlacement(
            "lv18",
            kind=("pv", "pv", "storage"),
            objectives=("line_loading_max_percent",),
            max_size={"pv": 0.01, "storage": 0.003},
            storage_hours=3.0,
        ),
        "%",
    ),
}


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


def largest_losses() -> DERPlacement:
    """Loads between 20 % at four in the morning and 100 % at four in the afternoon, a cosine."""
    load = load_case("case33bw").net().load
    factor = 0.6 - 0.4 * np.cos(2.0 * np.pi * (np.arange(24) - 4) / 24)
    series = {("load", c): np.outer(factor, load[c]) for c in ("p_mw", "q_mvar")}
    limits = {"vm_pu": None, "loading_percent": None}
    objectives = [("p_loss_kw", "max")]
    return DERPlacement("case33bw", 3, "dg", objectives, limits=limits, series=series)


def run_over_a_day(name: str, algorithm: str, gradients: bool, seed: int, evals: int) -> Run:
    """One run on one of the problems over a day."""
    problem = OVER_A_DAY[name][0]()
    return best_within(problem, ALGORITHMS[algorithm](problem, gradients=gradients), seed, evals)


def over_a_day(seeds: int, evals: int, jobs: int) -> list[str]:
    """Prints and gives a table per problem over a day."""
    lines: list[str] = []
    for name, (_, unit) in OVER_A_DAY.items():
        found: dict[str, list[Run]] = {}
        for algorithm in ("hs", "mvmo"):
            for gradients in (True, False):
                label = f"`{algorithm}` {'with' if gradients else 'without'} gradients"
                found[label] = joblib.Parallel(n_jobs=jobs)(
                    joblib.delayed(run_over_a_day)(name, algorithm, gradients, seed, evals)
                    for seed in range(1, seeds + 1)
                )
        best = min(run.best for runs in found.values() for run in runs)
        title = f"{name} in {unit}, {evals} evaluations, seeds 1 to {seeds}, best {best:.4f}"
        own = ["", title[0].upper() + title[1:], "", *HEADER]
        own += [row(label, runs, best) for label, runs in found.items()]
        typer.echo("\n".join(own))
        lines += own
    return lines


def main(
    case: str = "case33bw",
    device: Annotated[list[str] | None, typer.Option()] = None,
    units: Annotated[list[int] | None, typer.Option()] = None,
    seeds: int = 11,
    evals: Annotated[int | None, typer.Option(help="10,000; over a day 500.")] = None,
    jobs: int = 2,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    variant: Annotated[list[str] | None, typer.Option()] = None,
    is_over_a_day: Annotated[bool, typer.Option("--over-a-day")] = False,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table per number of units with one row per algorithm, and writes them."""
    warnings.simplefilter("ignore", DeprecationWarning)
    lines: list[str] = over_a_day(seeds, evals or 500, jobs) if is_over_a_day else []
    evals = evals or 10_000
    for kind in () if is_over_a_day else device or ("unity",):
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
