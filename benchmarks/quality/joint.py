"""Four joint problems that no task has, solved by four algorithms, with a picture of each.

    python benchmarks/quality/joint.py [--seeds 3] [--evals 600] [--jobs 2]
        [--problem dispatch ...] [--out docs/tables/joint.md] [--images docs/images]

- ``dispatch``: set-points and taps of 39 buses that hold with any line out;
- ``switching``: open lines, three generators and two capacitors on 33 buses over a day;
- ``storages``: taps in six periods of a day and the schedules of two storages on 18 buses;
- ``regulators``: taps of regulators and two capacitors to place on 123 nodes, in three situations.

`hs`, `mvmo` and `ga` minimise the first objective, `nsga2` both. Default parameters for all, seeds
1, 2, ...
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import joblib
import numpy as np
import typer
from pymoo.core.individual import Individual
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from runs import feasible_within
from sections import show_sections

from algorithms import ALGORITHMS
from gridproblems import GridProblem, UnitCost
from gridproblems.cases import load_case
from gridproblems.controls import (
    PlacedCapacitors,
    Regulators,
    Schedules,
    Setpoints,
    Switching,
    Taps,
    Units,
)
from gridproblems.disturbances import LoadChange, LoadMultiplier
from gridproblems.situations import Hours, Outages

#: Load of a day over that of the tables.
DAY = 0.01 * np.array(
    [
        *(55, 50, 48, 47, 48, 53, 63, 75, 82, 85, 87, 90),
        *(92, 90, 87, 86, 88, 94, 100, 99, 93, 84, 72, 62),
    ]
)
COSTS = {
    "dg": UnitCost(rate=0.05, years=20, per_mw=1e6, operation_share=0.02),
    "capacitor": UnitCost(rate=0.05, years=20, per_mw=3e4, per_unit=1e3),
}
STORAGES = [{"bus": bus, "power_mw": 0.004, "energy_mwh": 0.01} for bus in (9, 18)]
Objectives = Sequence[str]


def dispatch(objectives: Objectives) -> GridProblem:
    """Reactive dispatch of 39 buses; with any line out, voltages may leave the band a little."""
    return GridProblem(
        "ieee39",
        [Setpoints(), Taps()],
        Outages("lines"),
        objectives,
        emergency_limits={"vm_pu": (0.9, 1.1)},
        name="N-1 dispatch, ieee39",
    )


def switching(objectives: Objectives) -> GridProblem:
    """Which lines to open for the day, and where three generators and two capacitors should be."""
    load = load_case("case33bw").net().load
    series = {
        ("load", column): np.outer(DAY, load[column].to_numpy(dtype=float))
        for column in ("p_mw", "q_mvar")
    }
    return GridProblem(
        "case33bw",
        [
            Switching(),
            Units("dg", 3, max_size=1.0, costs=COSTS),
            Units("capacitor", 2, max_size=0.6, costs=COSTS),
        ],
        Hours(series),
        objectives,
        limits={"vm_pu": (0.95, 1.05)},
        name="switching and units, case33bw",
    )


def storages(objectives: Objectives) -> GridProblem:
    """Taps of the transformer in six periods of a day and two storages, with the case's series."""
    return GridProblem(
        "lv18",
        [Taps(), Schedules(STORAGES)],
        Hours(),
        objectives,
        periods={"taps": 6},
        name="taps and storages, lv18",
    )


def regulators(objectives: Objectives) -> GridProblem:
    """Taps and two capacitors to place that hold in three situations."""
    return GridProblem(
        "ieee123",
        [Regulators("taps"), PlacedCapacitors(2, step_kvar=100.0, n_steps=6)],
        [None, LoadChange("s1a", kw=200.0), LoadMultiplier(1.1)],
        objectives,
        limits={"vm_pu": (0.93, 1.07)},
        name="regulators and capacitors, ieee123",
    )


class Joint(NamedTuple):
    """A problem, two objectives of it, and the figure that shows a solution."""

    make: Callable[[Objectives], GridProblem]
    objectives: tuple[str, str]
    figure: str


PROBLEMS = {
    "dispatch": Joint(dispatch, ("p_loss_mw", "voltage_deviation_pu"), "voltage_band"),
    "switching": Joint(switching, ("energy_loss_kwh", "unit_cost_eur_per_year"), "units"),
    "storages": Joint(storages, ("exchange_peak_kw", "energy_loss_kwh"), "schedule"),
    "regulators": Joint(regulators, ("p_loss_kw", "placed_kvar"), "profile"),
}
SINGLE = ("hs", "mvmo", "ga")
BUILT: dict[tuple[str, int], GridProblem] = {}


class Run(NamedTuple):
    """Feasible points that none dominates, (n, n_obj) and (n, n_var)."""

    F: np.ndarray
    X: np.ndarray


def problem_of(name: str, n_obj: int) -> GridProblem:
    """The problem with some of its objectives, built once in each worker."""
    if (name, n_obj) not in BUILT:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lines whose outage leaves buses without supply
            BUILT[name, n_obj] = PROBLEMS[name].make(PROBLEMS[name].objectives[:n_obj])
    return BUILT[name, n_obj]


def run(name: str, algorithm: str, seed: int, evals: int) -> Run:
    """One run."""
    problem = problem_of(name, 1 if algorithm in SINGLE else 2)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def take(individual: Individual) -> None:
        seen.append((individual.F.copy(), np.array(individual.X)))

    feasible_within(problem, ALGORITHMS[algorithm](problem), seed, evals, take)
    if not seen:
        return Run(np.empty((0, problem.n_obj)), np.empty((0, problem.n_var)))
    F, X = (np.array(column) for column in zip(*seen, strict=True))
    _, first = np.unique(F, axis=0, return_index=True)
    front = first[NonDominatedSorting().do(F[first], only_non_dominated_front=True)]
    return Run(F[front], X[front])


def row_of_one(name: str, runs: Sequence[Run]) -> str:
    """A row for an algorithm with one objective."""
    best = np.array([r.F.min(initial=np.inf) for r in runs])
    return _row(name, best, "", runs)


def row_of_front(name: str, runs: Sequence[Run]) -> str:
    """A row for an algorithm with two objectives: its best first objective, and its front."""
    best = np.array([r.F[:, 0].min(initial=np.inf) for r in runs])
    front = max(runs, key=lambda r: len(r.F)).F
    ends = "none"
    if len(front):
        low, high = front[front[:, 0].argmin()], front[front[:, 1].argmin()]
        between = " to ".join(f"{point[0]:.2f} and {point[1]:.2f}" for point in (low, high))
        ends = f"{len(front)} points, {between}"
    return _row(name, best, ends, runs)


def _row(name: str, best: np.ndarray, ends: str, runs: Sequence[Run]) -> str:
    return (
        f"| `{name}` | {np.median(best):.2f} | {best.min():.2f} | {best.max():.2f} "
        f"| {np.isfinite(best).sum()} of {len(runs)} | {ends} |"
    )


def section(name: str, seeds: int, evals: int, jobs: int, images: Path | None) -> list[str]:
    """Lines of the table of one problem; draws its best solution."""
    problem = problem_of(name, 2)
    present = problem.base_values()
    (one, two), units = PROBLEMS[name].objectives, problem.objective_units
    lines = [
        f"**{problem.name}**: {problem.n_var} variables, {problem.situations.n} situations, "
        f"{problem.n_ieq_constr} constraints. `{one}` [{units[0]}], as it is {present[0]:.2f}; "
        f"beside it `{two}` [{units[1]}], as it is {present[1]:.2f}.",
        "",
        f"| algorithm | median {one} | best | worst | feasible | front |",
        "|---|---|---|---|---|---|",
    ]
    best: tuple[float, np.ndarray] | None = None
    for algorithm in (*SINGLE, "nsga2"):
        runs = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(run)(name, algorithm, seed, evals) for seed in range(1, seeds + 1)
        )
        lines.append((row_of_one if algorithm in SINGLE else row_of_front)(algorithm, runs))
        for r in runs:
            if len(r.F) and (best is None or r.F[:, 0].min() < best[0]):
                best = float(r.F[:, 0].min()), r.X[r.F[:, 0].argmin()]
    if images and best:
        figure = problem.figures(best[1])[PROBLEMS[name].figure]
        figure.savefig(images / f"joint-{name}.png", dpi=110, metadata={"Software": None})
    return [*lines, ""]


def main(
    seeds: int = 3,
    evals: int = 600,
    jobs: int = 2,
    problem: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
) -> None:
    """Prints a table per problem, writes them where asked, and draws the best solutions."""
    warnings.simplefilter("ignore", DeprecationWarning)
    show_sections(
        f"{evals} evaluations, seeds 1 to {seeds}.",
        problem or PROBLEMS,
        lambda name: section(name, seeds, evals, jobs, images),
        out,
    )


if __name__ == "__main__":
    typer.run(main)
