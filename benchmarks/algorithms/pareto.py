"""Several objectives: Harmony Search and MVMO beside NSGA-II and NSGA-III.

    python benchmarks/algorithms/pareto.py [--seeds 11] [--jobs 2] [--algorithms hs,nsga2]
        [--table docs/tables/algorithms_pareto.md]

Functions, losses against voltage deviation, and losses against switching actions; 5,000 evaluations
(three objectives: 9,000), with the defaults and with reference directions. What counts is the
hypervolume of all nondominated points found, as a share of that of the best front known: the exact
one of the functions, the proven one of the reconfiguration, for the dispatch that of all runs.
Runs are kept in results/algorithms/pareto.db.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from markdown_lines import head, line
from pymoo.problems import get_problem

from gridproblems.study import Study
from gridproblems.study.analyse import compare
from gridproblems.study.specs import AlgorithmSpec, ProblemSpec

ROOT = Path(__file__).parents[2]
STORE = ROOT / "results" / "algorithms" / "pareto.db"
TABLE = ROOT / "docs" / "tables" / "algorithms_pareto.md"
PROBLEMS: dict[str, ProblemSpec] = {
    "ZDT1, 10 variables": partial(get_problem, "zdt1", n_var=10),
    "ZDT2, 10 variables": partial(get_problem, "zdt2", n_var=10),
    "DTLZ2, three objectives": partial(get_problem, "dtlz2"),
    "dispatch, 14 buses": "orpd:ieee14?objectives=p_loss_mw,voltage_deviation_pu",
    "dispatch, 39 buses": "orpd:ieee39?objectives=p_loss_mw,voltage_deviation_pu",
    "reconfiguration, 33 buses": "reconfiguration:case33bw?objectives=p_loss_kw,switching_actions",
}
ALGORITHMS = ("hs", "mvmo", "nsga2", "hs?ref_dirs=100", "mvmo?ref_dirs=100", "nsga3")
BUDGETS = {name: 9000 if "three" in name else 5000 for name in PROBLEMS}


def main(
    seeds: Annotated[int, typer.Option(help="Runs of each")] = 11,
    jobs: Annotated[int, typer.Option(help="Processes")] = 1,
    algorithms: Annotated[str, typer.Option(help="Those to compare")] = ",".join(ALGORITHMS),
    table: Annotated[Path, typer.Option(help="Markdown file to write")] = TABLE,
) -> None:
    """Runs what is missing and writes the table."""
    STORE.parent.mkdir(parents=True, exist_ok=True)
    compared: dict[str, AlgorithmSpec] = {name: name for name in algorithms.split(",")}
    study = Study(STORE, PROBLEMS, compared, seeds, BUDGETS)
    study.run(jobs)
    medians = study.table().pivot(index="problem", columns="algorithm", values="gap_percent")
    title = f"lacking hypervolume [%], median of {seeds} runs"
    lines = head([title, *(f"`{name}`" for name in compared)])
    for problem in PROBLEMS:
        cells = (f"{abs(medians.loc[problem, name]):.2f}" for name in compared)
        lines.append(line([problem, *cells]))
    comparison = compare(study.results())
    if comparison is not None:
        ranks = dict(zip(comparison.algorithms, comparison.mean_ranks, strict=True))
        lines.append(line(["mean rank", *(f"{ranks[name]:.2f}" for name in compared)]))
        lines += ["", f"Critical difference of the ranks {comparison.critical_difference:.2f}."]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo(table.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
