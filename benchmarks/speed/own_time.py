"""Own time of the algorithms per evaluation, at equal numbers of offspring.

    python benchmarks/speed/own_time.py

The problem costs next to nothing (Rosenbrock's function, evaluated in batches), so what is timed is
the algorithm and pymoo's frame around it. Processor time, median of the runs.
Writes docs/tables/algorithms_speed.md.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core; set before numpy is loaded

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from algorithms import MVMO, HarmonySearch

TABLE = Path(__file__).parents[2] / "docs" / "tables" / "algorithms_speed.md"
MAKERS: dict[str, Callable[[int], Algorithm]] = {
    "`hs`": lambda n: HarmonySearch(n_offsprings=n),
    "`hs?local_search=false`": lambda n: HarmonySearch(n_offsprings=n, local_search=False),
    "`mvmo-sh`": lambda n: MVMO(n_particles=n),
    "`mvmo-s`": lambda n: MVMO(n_particles=n, local_search=False),
    "`ga` of pymoo": lambda n: GA(n_offsprings=n),
}
OFFSPRING = (1, 5, 10, 20, 100)


def main(
    evals: Annotated[int, typer.Option(help="Evaluations of a run")] = 3000,
    runs: Annotated[int, typer.Option(help="Runs of each")] = 5,
    n_var: Annotated[int, typer.Option(help="Number of variables")] = 20,
) -> None:
    """Times the algorithms and writes the table."""
    problem = get_problem("rosenbrock", n_var=n_var)
    lines = [
        f"Microseconds per evaluation, {n_var} real variables, median of {runs} runs of "
        f"{evals:,} evaluations.",
        "",
        f"| offspring | {' | '.join(MAKERS)} |",
        f"|---:|{'---:|' * len(MAKERS)}",
    ]
    for n_offspring in OFFSPRING:
        figures = []
        for make in MAKERS.values():
            times = []
            for seed in range(1, runs + 1):
                begun = process_time()
                minimize(problem, make(n_offspring), ("n_evals", evals), seed=seed)
                times.append((process_time() - begun) / evals * 1e6)
            figures.append(f"{np.median(times):.0f}")
        lines.append(f"| {n_offspring} | {' | '.join(figures)} |")
        typer.echo(lines[-1])
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
