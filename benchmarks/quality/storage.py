"""Algorithms on storage schedules at equal budgets, with and without repair of schedules.

    python benchmarks/quality/storage.py [--seeds 11] [--evals 10000] [--jobs 2]
        [--algorithm mvmo ...] [--out docs/tables/storage.md]

Largest power through the external grid of `lv18` over 24 hours, with two storages. With repair
every schedule is feasible before it is evaluated; without, the limits of the state of charge are
constraints alone. The reference is a linear program on the total of loads, generation, storages and
the losses of the idle grid; that storages change these losses a little is left out.
Default parameters for all, seeds 1, 2, ...
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import typer
from runs import HEADER, Run, best_within, row
from scipy.optimize import linprog

from algorithms import ALGORITHMS
from gridproblems.tasks.storage import StorageSchedule

STORAGES = [{"bus": bus, "power_mw": 0.003, "energy_mwh": 0.009} for bus in (9, 18)]
ALGORITHM_NAMES = ("mvmo-s", "hs", "ga", "pso", "de", "cmaes")
BUILT: dict[bool, StorageSchedule] = {}


def problem_of(repair: bool) -> StorageSchedule:
    """The problem, built once in each worker."""
    if repair not in BUILT:
        BUILT[repair] = StorageSchedule("lv18", STORAGES, repair=repair)
    return BUILT[repair]


def linear_program_kw(problem: StorageSchedule) -> float:
    """Smallest peak of load and losses less generation plus storages, as if losses stayed. [kW]

    Variables: the peak, then charging and discharging power of one storage as large as all.
    """
    codec = problem.schedules.codec
    battery = codec.battery
    net_mw = problem.base_state.ext_grid_p_mw.sum(axis=1)
    n, power = codec.n_snapshots, codec.power_mw.sum()
    energy = (codec.power_mw * codec.duration_hours).sum()
    eta = battery.one_way_efficiency
    lower = np.tril(np.ones((n, n))) * problem.situations.hours
    stored = np.hstack([np.zeros((n, 1)), lower * eta, -lower / eta])
    grid = np.hstack([np.zeros((n, 1)), np.eye(n), -np.eye(n)])
    peak = np.hstack([np.ones((n, 1)), np.zeros((n, 2 * n))])
    start = battery.soc_start * energy
    solution = linprog(
        np.eye(1, 2 * n + 1)[0],
        A_ub=np.vstack([grid - peak, -grid - peak, stored, -stored]),
        b_ub=np.concatenate(
            [
                -net_mw,
                net_mw,
                np.full(n, battery.soc_max * energy - start),
                np.full(n, start - battery.soc_min * energy),
            ]
        ),
        A_eq=stored[-1:],
        b_eq=[0.0],
        bounds=[(0, None)] + [(0, power)] * (2 * n),
    )
    return float(1e3 * solution.fun)


def run(repair: bool, algorithm: str, seed: int, evals: int) -> Run:
    """One run of one algorithm."""
    problem = problem_of(repair)
    return best_within(problem, ALGORITHMS[algorithm](problem), seed, evals)


def main(
    seeds: int = 11,
    evals: int = 10_000,
    jobs: int = 2,
    algorithm: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table with one row per algorithm and coding, and writes it where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    problem = problem_of(True)
    known = linear_program_kw(problem)
    lines = [
        f"`lv18` with two storages of 3 kW and 9 kWh, largest power through the external grid in "
        f"kW, {evals} evaluations, seeds 1 to {seeds}; idle {problem.base_values()[0]:.4f} kW, "
        f"linear program {known:.4f} kW",
        "",
        *HEADER,
    ]
    typer.echo("\n".join(lines))
    for repair in (True, False):
        for name in algorithm or ALGORITHM_NAMES:
            runs = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(run)(repair, name, seed, evals) for seed in range(1, seeds + 1)
            )
            lines.append(row(f"`{name}`" + ("" if repair else ", no repair"), runs, known))
            typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
