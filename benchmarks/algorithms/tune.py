"""Chooses parameters of the algorithms on the training problems.

    python benchmarks/algorithms/tune.py compare hs 'hs?same_harmony=0.5' hs-opposition --seeds 7
    python benchmarks/algorithms/tune.py compare hs 'hs?at_bounds=clip' --problems judging
    python benchmarks/algorithms/tune.py select hs --configurations 32 --seeds 16

`compare` shows medians and mean ranks of variants; with ``--problems judging``, once a choice is
made, on the problems it was not made on. `select` searches the space below: all
configurations run with two seeds, the better half goes on with twice as many, and so on
(successive halving: K. Jamieson, A. Talwalkar, Non-stochastic best arm identification and
hyperparameter optimization, AISTATS 2016); the default is always in. What counts is the rank of
the final gap, of runs at the optimum the evaluations it took, over problems and seeds, the mean of
the groups. Stored runs are used again as long as the code of the algorithms is the same.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from markdown_lines import head, line
from problem_sets import Groups, judging, training
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from scoring import compare_groups, mean_ranks
from variants import VARIANTS

from algorithms import ALGORITHMS
from gridproblems._names import lookup
from gridproblems.study import Study
from gridproblems.study.analyse import run_table, table
from gridproblems.study.results import Results
from gridproblems.study.specs import name_and_parameters

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "docs" / "tables"
#: Values to try of each parameter; the first is the default.
SPACES: dict[str, dict[str, list[Any]]] = {
    "hs": {
        "pop_size": [20, 10, 30, 50],
        "hmcr": [0.99, 0.9, 0.95, 0.98, 1.0],
        "par": [[0.6, 0.99], 0.3, [0.35, 0.99], [0.9, 0.99]],
        "bandwidth": [[1.0, 1e-4], [0.1, 1e-4], [1.0, 1e-6], [0.3, 1e-5], 0.01],
        "global_best": [0.2, 0.0, 0.1, 0.5],
        "same_harmony": [0.0, 0.3, 0.5, 0.9],
        "n_offsprings": [5, 1, 10],
        "local_search_rate": [0.3, 0.1, 1.0],
        "local_search_backoff": [0.7, 1.0, 0.5],
        "local_search_window": [None, [0.0, 1.0], [0.2, 0.9], [0.5, 0.9]],
        "local_search_margin": [[1e-3, 1e-7], [1e-3, 1e-5]],
    },
    "mvmo-s": {
        "n_particles": [10, 1, 5, 20],
        "archive_size": [4, 3, 6, 10],
        "scaling_factor": [[1.0, 20.0], [1.0, 10.0], [1.0, 50.0], [1.0, 1.0]],
        "mutated": [[0.5, 0.0], [0.3, 0.0], [0.7, 0.1], [1.0, 0.2]],
        "selection": ["sequential", "random", "sliding_block"],
        "good": [[0.7, 0.2], [0.5, 0.1], [1.0, 0.2]],
        "asymmetry": [0.05, 0.01, 0.2],
    },
    "mvmo-sh": {
        "n_particles": [10, 1, 5, 20],
        "archive_size": [4, 3, 6],
        "scaling_factor": [[1.0, 20.0], [1.0, 10.0], [1.0, 50.0]],
        "mutated": [[0.5, 0.0], [0.3, 0.0], [0.7, 0.1]],
        "local_search_rate": [0.3, 0.1, 1.0],
        "local_search_backoff": [0.7, 1.0, 0.5],
        "local_search_window": [None, [0.0, 1.0], [0.2, 0.9], [0.5, 0.9]],
        "local_search_margin": [[1e-3, 1e-7], [1e-4, 1e-6], [1e-3, 1e-5]],
    },
}
CSV_COLUMNS = ["problem", "algorithm", "seed", "evaluations", "feasible", "value", "gap_percent"]
#: Share of the parameters in which a drawn configuration differs from the default.
SHARE_CHANGED = 0.4
app = typer.Typer(add_completion=False)

Evals = Annotated[int, typer.Option(help="Evaluations of a run")]
Dims = Annotated[str, typer.Option(help="Dimensions of the functions")]
Group = Annotated[str, typer.Option(help="functions, constrained, mixed, grid; or several")]
Jobs = Annotated[int, typer.Option(help="Processes")]
Csv = Annotated[Path | None, typer.Option(help="CSV file to write, one line per run")]


@app.command()
def compare(
    variants: Annotated[list[str], typer.Argument(help="name?parameter=value&...")],
    seeds: int = 7,
    evals: Evals = 5000,
    dims: Dims = "10",
    group: Group = "functions,constrained,mixed,grid",
    problems: Annotated[str, typer.Option(help="training or judging")] = "training",
    jobs: Jobs = 1,
    out: Annotated[Path | None, typer.Option(help="Markdown file for the ranks")] = None,
    csv: Csv = None,
) -> None:
    """Prints median gaps and mean ranks of variants."""
    groups = _groups(dims, group, problems)
    results = _run(variants, groups, seeds, evals, jobs)
    _write_runs(results, csv)
    gaps = table(results).pivot(index="problem", columns="algorithm", values="gap_percent")
    ordered = [name for problems in groups.values() for name in problems]
    with pd.option_context("display.width", 250, "display.max_columns", None):
        typer.echo("median gap, % (of 1 where the optimum is 0)")
        typer.echo(gaps.loc[ordered, variants].to_string(float_format=lambda v: f"{v:.3g}"))
        if len(variants) > 1:
            ranks = _ranks(results, groups, variants)
            typer.echo("\nmean rank")
            typer.echo(ranks.to_string(float_format="{:.2f}".format))
            if out:
                out.write_text(_markdown(ranks, seeds, evals, dims, problems), encoding="utf-8")


@app.command()
def select(
    algorithm: Annotated[str, typer.Argument(help=f"One of {', '.join(SPACES)}")],
    configurations: Annotated[int, typer.Option(help="Drawn from the space")] = 32,
    seeds: Annotated[int, typer.Option(help="Of the last round")] = 16,
    evals: Evals = 5000,
    dims: Dims = "5,10,20,40",
    group: Group = "functions,constrained,mixed,grid",
    jobs: Jobs = 1,
    csv: Csv = None,
) -> None:
    """Searches the space of an algorithm and writes the table of the best."""
    groups = _groups(dims, group)
    left = drawn(algorithm, configurations)
    n_seeds = min(2, seeds)
    while True:
        results = _run(left, groups, n_seeds, evals, jobs)
        ranks = _ranks(results, groups, left)
        typer.echo(f"\n{len(left)} configurations, seeds 1 to {n_seeds}")
        typer.echo(ranks.to_string(float_format="{:.2f}".format))
        if n_seeds >= seeds:
            break
        best = ranks.index[: max(2, (len(left) + 1) // 2)]
        left = list(dict.fromkeys([algorithm, *best]))
        n_seeds = min(2 * n_seeds, seeds)
    _write_runs(results, csv)
    path = TABLES / f"algorithms_tuning_{algorithm}.md"
    path.write_text(_markdown(ranks, n_seeds, evals, dims), encoding="utf-8")
    typer.echo(f"written: {path.relative_to(ROOT)}")


def drawn(algorithm: str, n: int) -> list[str]:
    """The default and n - 1 other configurations of the space; the same ones every time."""
    space, random_state = SPACES[algorithm], np.random.default_rng(1)
    found = {algorithm: None}
    while len(found) < n:
        parameters = {
            name: values[random_state.integers(1, len(values))]
            for name, values in space.items()
            if random_state.random() < SHARE_CHANGED
        }
        found[_spec(algorithm, parameters)] = None
    return list(found)


def _spec(algorithm: str, parameters: dict[str, Any]) -> str:
    listed = (
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in parameters.items()
    )
    text = "&".join(listed).replace(" ", "")
    return f"{algorithm}?{text}" if text else algorithm


def make_variant(spec: str, problem: Problem, n_evals: int) -> Algorithm:
    """The algorithm of ``name?parameter=value``; lists become pairs."""
    name, parameters = name_and_parameters(spec)
    return lookup("algorithm", name, {**ALGORITHMS, **VARIANTS})(problem, **parameters)


def _groups(dims: str, group: str, problems: str = "training") -> Groups:
    sets = {"training": training, "judging": judging}
    every = lookup("problems", problems, sets)([int(text) for text in dims.split(",")])
    return {name: every[name] for name in group.split(",")}


def _run(variants: list[str], groups: Groups, seeds: int, evals: int, jobs: int) -> Results:
    problems = {name: spec for group in groups.values() for name, spec in group.items()}
    path = ROOT / "results" / "algorithms" / f"training-{_code_version()}.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    makers = {spec: partial(make_variant, spec) for spec in variants}
    study = Study(path, problems, makers, seeds, evals)
    study.run(jobs)
    return study.results()


def _write_runs(results: Results, csv: Path | None) -> None:
    if csv:
        run_table(results)[CSV_COLUMNS].to_csv(csv, index=False, float_format="%.8g")


def _code_version() -> str:
    """Changes with every change of the algorithms."""
    digest = hashlib.sha256()
    variants = Path(__file__).with_name("variants.py")
    for path in [*sorted((ROOT / "algorithms").glob("*.py")), variants]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _ranks(results: Results, groups: Groups, variants: list[str]) -> pd.DataFrame:
    """Mean rank by variant and group, and the mean of the groups, best first."""
    names = {group: list(problems) for group, problems in groups.items()}
    comparisons = compare_groups(results, names, variants, speed=True)
    ranks = pd.DataFrame({group: mean_ranks(c) for group, c in comparisons.items()})
    ranks["all"] = ranks.mean(axis=1)
    ranks = ranks.sort_values("all", kind="stable")
    ranks.loc["critical difference"] = [
        *(c.critical_difference for c in comparisons.values()),
        np.nan,
    ]
    return ranks


def _markdown(
    ranks: pd.DataFrame, seeds: int, evals: int, dims: str, problems: str = "training"
) -> str:
    lines = [
        f"Mean ranks on the {problems} problems, {evals:,} evaluations, functions in {dims} "
        f"dimensions, seeds 1 to {seeds}.",
        "",
        *head(["configuration", *ranks.columns]),
    ]
    for name, row in ranks.iterrows():
        label = f"`{name}`" if name != "critical difference" else str(name)
        figures = ("" if np.isnan(value) else f"{value:.2f}" for value in row)
        lines.append(line([label, *figures]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app()
