"""Algorithms on storage schedules, with gradients and without, with and without repair.

    python benchmarks/quality/storage.py [--seeds 11] [--evals 10000] [--few 500] [--jobs 2]
        [--out docs/tables/storage.md]
    python benchmarks/quality/storage.py --quarters [--out docs/tables/storage_quarters.md]

Largest power through the external grid of `lv18`, with two storages, over 24 hours, and over 96
quarters whose loads and generation lie on straight lines between those of the hours. With repair
every schedule is feasible before it is evaluated; without, the limits of the state of charge are
constraints alone. Searches with gradients know no repair.

The reference is a mixed-integer linear programme: in every snapshot a storage charges or
discharges, never both, and what the grid draws is the total of loads, storages and the losses of
the idle grid less generation. It leaves out that storages change these losses. Default parameters
for all, seeds 1, 2, ...
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import joblib
import numpy as np
import typer
from pymoo.operators.sampling.rnd import FloatRandomSampling
from runs import HEADER, Run, best_within, row
from scipy.optimize import Bounds, LinearConstraint, milp

from algorithms import ALGORITHMS
from gridproblems.tasks.storage import StorageSchedule

STORAGES = [{"bus": bus, "power_mw": 0.003, "energy_mwh": 0.009} for bus in (9, 18)]
WITH_GRADIENTS = ("sqp", "hs", "mvmo")
VERY_FEW = 50
BUILT: dict[tuple[int, bool], StorageSchedule] = {}


class Kind(NamedTuple):
    """A row: an algorithm by name, how often it may evaluate, options, and whether schedules are
    repaired."""

    name: str
    label: str
    evals: int
    options: Mapping[str, Any] = MappingProxyType({})
    repair: bool = True


def kinds_in_quarters(few: int) -> list[Kind]:
    """The rows of the table over 96 quarters."""
    found = []
    for label, options in (("", {}), (", random starts", {"sampling": "random"})):
        for name in WITH_GRADIENTS:
            found.append(Kind(name, f"`{name}` with gradients{label}", VERY_FEW, options))
    plain = {"gradients": False, "sampling": "random"}
    for name in ("hs", "mvmo"):
        found.append(Kind(name, f"`{name}` without gradients, random starts", few, plain))
    return [*found, Kind("cmaes", "`cmaes`", few)]


def kinds_in_hours(few: int, evals: int) -> list[Kind]:
    """The rows of the table over 24 hours."""
    short = [
        Kind(name, f"`{name}` with gradients", budget)
        for budget in (VERY_FEW, few)
        for name in WITH_GRADIENTS
    ]
    short += [
        Kind(name, f"`{name}` with gradients, random starts", few, {"sampling": "random"})
        for name in WITH_GRADIENTS
    ]
    plain = {"gradients": False, "sampling": "random"}
    without = [
        Kind("hs", "`hs` without gradients, random starts", evals, plain),
        Kind("mvmo", "`mvmo` without gradients, random starts", evals, plain),
    ]
    others = [
        Kind(name, f"`{name}`", evals, {"sampling": "random"} if name == "mvmo-s" else {})
        for name in ("mvmo-s", "ga", "pso", "de", "cmaes")
    ]
    rough = [
        kind._replace(label=f"{kind.label}, no repair", repair=False)
        for kind in [*without[:1], *others]
    ]
    return [*short, *without, *others, *rough]


def problem_of(per_hour: int, repair: bool) -> StorageSchedule:
    """The problem, built once in each worker."""
    if (per_hour, repair) not in BUILT:
        series = None if per_hour == 1 else refined(per_hour)
        hours = 1.0 / per_hour
        BUILT[per_hour, repair] = StorageSchedule(
            "lv18", STORAGES, series=series, hours=hours, repair=repair
        )
    return BUILT[per_hour, repair]


def refined(per_hour: int) -> dict[tuple[str, str], Any]:
    """The series of the case with more snapshots, on straight lines between its hours."""
    (in_time,) = [axis for axis in problem_of(1, True).situations.axes if axis.is_time]
    n = problem_of(1, True).situations.n_time
    at, hours = np.arange(n * per_hour) / per_hour, np.arange(n + 1)
    series = {}
    for delta in in_time.deltas:
        closed = np.vstack([delta.values, delta.values[:1]])
        lines = [np.interp(at, hours, column) for column in closed.T]
        series[delta.field.table, delta.field.column] = np.stack(lines, axis=1)
    return series


def reference_kw(problem: StorageSchedule) -> float:
    """Smallest peak of load and losses less generation plus storages, as if losses stayed. [kW]

    Variables: the peak in MW; then of all storages, snapshot by snapshot, the shares of their
    rating that they charge with and discharge with, and whether they charge.
    """
    codec, hours = problem.schedules.codec, problem.situations.hours
    battery, eta = codec.battery, codec.battery.one_way_efficiency
    net_mw = problem.base_state.ext_grid_p_mw.sum(axis=1)
    n, n_storages = codec.n_snapshots, len(codec.names)
    one, none, all_n = np.eye(n), np.zeros((n, n)), n * n_storages
    powers = np.hstack([rated * one for rated in codec.power_mw])
    grid = np.hstack([powers, -powers, np.zeros((n, all_n))])
    peak = np.ones((n, 1))
    rows = [
        LinearConstraint(np.hstack([peak, -grid]), net_mw, np.inf),
        LinearConstraint(np.hstack([peak, grid]), -net_mw, np.inf),
    ]
    low, high = np.full(n, battery.soc_min), np.full(n, battery.soc_max)
    low[-1] = high[-1] = battery.soc_start
    for i, duration in enumerate(codec.duration_hours):
        own = np.eye(1, n_storages, i)
        stored = np.tril(np.ones((n, n))) * hours / duration
        first = np.zeros((n, 1))
        charged = [first, np.kron(own, eta * stored), np.kron(own, -stored / eta)]
        rows += [
            LinearConstraint(
                np.hstack([*charged, np.zeros((n, all_n))]),
                low - battery.soc_start,
                high - battery.soc_start,
            ),
            LinearConstraint(
                np.hstack([first, np.kron(own, one), np.kron(own, none), -np.kron(own, one)]),
                -np.inf,
                0.0,
            ),
            LinearConstraint(
                np.hstack([first, np.kron(own, none), np.kron(own, one), np.kron(own, one)]),
                -np.inf,
                1.0,
            ),
        ]
    solution = milp(
        np.eye(1, 1 + 3 * all_n)[0],
        constraints=rows,
        bounds=Bounds(0.0, np.concatenate([[np.inf], np.ones(3 * all_n)])),
        integrality=np.concatenate([np.zeros(1 + 2 * all_n), np.ones(all_n)]),
        options={"mip_rel_gap": 1e-6},
    )
    if solution.status != 0:
        raise RuntimeError(f"mixed-integer linear programme: {solution.message}")
    return float(1e3 * solution.fun)


def run(per_hour: int, kind: Kind, seed: int) -> Run:
    """One run of one algorithm."""
    problem, options = problem_of(per_hour, kind.repair), dict(kind.options)
    if options.get("sampling") == "random":
        options["sampling"] = FloatRandomSampling()
    algorithm = ALGORITHMS[kind.name](problem, **options)
    return best_within(problem, algorithm, seed, kind.evals)


def table(per_hour: int, rows: list[Kind], seeds: int, jobs: int) -> list[str]:
    """Prints and gives the lines of a table."""
    problem = problem_of(per_hour, True)
    known = reference_kw(problem)
    (start,) = problem.starts
    n = problem.schedules.codec.n_snapshots
    when = f"{n} hours" if per_hour == 1 else f"{n} snapshots of {60 // per_hour} minutes"
    lines = [
        f"`lv18` over {when} with two storages of 3 kW and 9 kWh, largest power through the "
        f"external grid in kW, seeds 1 to {seeds}; idle {problem.base_values()[0]:.4f} kW, "
        f"mixed-integer linear programme with the losses of the idle grid {known:.4f} kW, "
        f"schedules of `problem.starts` {problem.evaluate(start)[0][0]:.4f} kW",
        "",
        HEADER[0].replace("| algorithm |", "| algorithm | evaluations |"),
        f"|---{HEADER[1]}",
    ]
    typer.echo("\n".join(lines))
    for kind in rows:
        runs = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(run)(per_hour, kind, seed) for seed in range(1, seeds + 1)
        )
        lines.append(row(f"{kind.label} | {kind.evals}", runs, known))
        typer.echo(lines[-1])
    return lines


def main(
    seeds: int = 11,
    evals: Annotated[int, typer.Option(help="Budget without gradients.")] = 10_000,
    few: Annotated[int, typer.Option(help="Budget with gradients.")] = 500,
    jobs: int = 2,
    quarters: Annotated[bool, typer.Option(help="96 quarters, not 24 hours.")] = False,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints a table with one row per algorithm, and writes it where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    if quarters:
        lines = table(4, kinds_in_quarters(few), seeds, jobs)
    else:
        lines = table(1, kinds_in_hours(few, evals), seeds, jobs)
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
