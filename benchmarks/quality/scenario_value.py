"""What a model of scenarios is worth in placing PV units: VSS and EVPI.

    python benchmarks/quality/scenario_value.py [--case case33bw] [--units 1 --units 2 --units 3]
        [--scenarios 30] [--evals 2000] [--seeds 3] [--out docs/tables/scenario_value.md]

Mean losses of a feeder with PV units at buses and of sizes that are free, in scenarios of load
(lognormal, standard deviation 20 %) and sunshine (beta distributed between 10 and 100 % of the
rating, less where load is large). Each problem, of all scenarios, of their mean and of every
single one, is solved by `mvmo` with its defaults; the best of several seeds counts, and the table
says how far the worst of them is off.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import DERPlacement, GridProblem, Scenarios
from gridproblems.scenario_value import scenario_value

NO_LIMITS: dict[str, Any] = {"vm_pu": None, "loading_percent": None}
MAX_SIZE_MW = 6.0


class BestOfSeeds:
    """Solves a problem by several runs; knows by how much their values differed at most.

    Args:
        evals: Evaluations of each run.
        seeds: Number of runs.
    """

    def __init__(self, evals: int, seeds: int) -> None:
        self._evals, self._seeds = evals, seeds
        self.scatter = 0.0

    def __call__(self, problem: GridProblem) -> np.ndarray:
        runs = [
            minimize(problem, ALGORITHMS["mvmo"](problem), ("n_evals", self._evals), seed=seed)
            for seed in range(1, self._seeds + 1)
        ]
        values = [float(run.F[0]) for run in runs]
        if problem.situations.n > 1:
            self.scatter = max(values) / min(values) - 1.0
        best: np.ndarray = runs[int(np.argmin(values))].X
        return best


def row(case: str, n_units: int, n_scenarios: int, evals: int, seeds: int) -> str:
    """The line of the table of one number of units."""

    def made(situations: Any) -> GridProblem:
        return DERPlacement(
            case, n_units, "pv", limits=NO_LIMITS, max_size=MAX_SIZE_MW, situations=situations
        )

    scenarios = Scenarios(
        n_scenarios,
        load=("lognormal", 1.0, 0.2),
        pv=("beta", 2.0, 2.0, 0.1, 1.0),
        correlation={"load*pv": -0.3},
        seed=1,
    )
    solve = BestOfSeeds(evals, seeds)
    value = scenario_value(made, scenarios, solve)
    sizes = [_sizes(made(scenarios), x) for x in (value.x, value.x_mean)]
    return (
        f"| {n_units} | {value.recourse:.3f} | {value.of_mean:.3f} | {value.wait_and_see:.3f} "
        f"| {value.vss:.3f} ({value.vss / value.recourse:.2%}) "
        f"| {value.evpi:.3f} ({value.evpi / value.recourse:.2%}) "
        f"| {sizes[0]:.3f} | {sizes[1]:.3f} | {solve.scatter:.3%} |"
    )


def _sizes(problem: GridProblem, x: np.ndarray) -> float:
    """Ratings of all units. [MW]"""
    assert isinstance(problem, DERPlacement)
    return float(problem.units(x)["size"].sum())


def main(
    case: str = "case33bw",
    units: Annotated[list[int] | None, typer.Option()] = None,
    scenarios: int = 30,
    evals: int = 2000,
    seeds: int = 3,
    out: Path | None = None,
) -> None:
    """Prints the table, and writes it where asked."""
    warnings.simplefilter("ignore")
    lines = [
        f"`{case}`, PV units, {scenarios} scenarios, mean losses in kW, no limits; best of {seeds} "
        f"runs of {evals:,} evaluations for each problem",
        "",
        "| units | all scenarios | of their mean | each known before | VSS | EVPI | MW placed | "
        "MW for the mean | scatter of runs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n_units in units or [1, 2, 3]:
        lines.append(row(case, n_units, scenarios, evals, seeds))
        typer.echo(lines[-1])
    if out is not None:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
