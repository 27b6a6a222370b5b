"""Harmony Search on the regulators of the IEEE 123-node feeder: published, and stronger search.

The published script optimises the set-points of seven regulators (harmony memory 10, HMCR 0.9, PAR
0.3, bandwidth 0.5 V, 80 improvisations, 6 V around the present set-points within 110 to 130 V)
after load s1a is set to 200 kW, with a fitness of the mean voltages of the buses. It solves one
candidate after the other on the same OpenDSS circuit, whose taps stay where the candidate before
left them; here every candidate starts from the feeder file.

    python benchmarks/papers/regulators_123bus.py --seeds 20 --jobs 2
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import typer
from joblib import Parallel, delayed
from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize
from rich.console import Console
from rich.markdown import Markdown

from algorithms import ALGORITHMS, HarmonySearch
from gridproblems.disturbances import Disturbance, LoadChange, LoadMultiplier
from gridproblems.plotting import plot_screening
from gridproblems.tasks.regulators import RegulatorControl

PUBLISHED = LoadChange("s1a", kw=200.0)
STRESS = LoadMultiplier(2.0)
HMS, IMPROVISATIONS, BANDWIDTH_V = 10, 80, 0.5
GOOD_ENOUGH = 0.01340


@dataclass(frozen=True)
class Search:
    """One way to search.

    Attributes:
        title: Name in the table.
        variables: ``"vreg"`` or ``"taps"``.
        capacitors: Whether capacitors are variables too.
        evals: Budget of a run, in evaluations.
        make: Makes the algorithm for the problem.
    """

    title: str
    variables: str
    capacitors: bool
    evals: int
    make: Callable[[RegulatorControl], Algorithm]


def as_published(problem: RegulatorControl) -> Algorithm:
    """Harmony Search with the published parameters, one harmony at a time."""
    bandwidth = BANDWIDTH_V / (problem.xu - problem.xl)
    return HarmonySearch(
        HMS,
        hmcr=0.9,
        par=0.3,
        bandwidth=bandwidth,
        global_best=0.0,
        n_offsprings=1,
        local_search=False,
    )


def by_name(name: str) -> Callable[[RegulatorControl], Algorithm]:
    """An algorithm with its defaults."""
    return lambda problem: ALGORITHMS[name](problem)


def searches(evals: int) -> list[Search]:
    """The rows of the tables."""
    return [
        Search("as published", "vreg", False, HMS + IMPROVISATIONS, as_published),
        *(Search(f"`{name}`", "vreg", False, evals, by_name(name)) for name in ("hs", "mvmo-s")),
        *(
            Search(f"`{name}`", "taps", False, evals, by_name(name))
            for name in ("hs", "mvmo-s", "ga")
        ),
        *(Search(f"`{name}`", "taps", True, evals, by_name(name)) for name in ("hs", "mvmo-s")),
    ]


def problem_of(search: Search, disturbance: Disturbance) -> RegulatorControl:
    """The problem of a row."""
    return RegulatorControl(
        variables=search.variables, capacitors=search.capacitors, disturbance=disturbance
    )


def run(search: Search, disturbance: Disturbance, seed: int) -> tuple[float, Any]:
    """Best fitness of a run and its vector."""
    problem = problem_of(search, disturbance)
    result = minimize(problem, search.make(problem), ("n_eval", search.evals), seed=seed)
    return float(result.F[0]), result.X


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table, all columns but the first aligned to the right."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def present_table() -> str:
    """What the disturbances do to the feeder with its present settings."""
    problem = RegulatorControl()
    every = [LoadChange(name, kw=200.0) for name in problem.circuit.loads]
    screening = problem.screening([None, PUBLISHED, STRESS, *every]).table
    loads = screening.iloc[3:]
    worst, lowest = loads["voltage_fitness"].idxmax(), loads["v_min_pu"].idxmin()
    rows = [
        [
            what,
            f"{row.voltage_fitness:.5f}",
            f"{row.v_min_pu:.4f}",
            f"{row.v_max_pu:.4f}",
            f"{row.nodes_outside:.0f} of {len(problem.circuit.nodes)}",
            f"{row.p_loss_kw:.1f}",
        ]
        for what, row in (
            ("undisturbed", screening.iloc[0]),
            ("published: load s1a at 200 kW", screening.iloc[1]),
            (
                f"highest fitness of all 91 loads at 200 kW: {loads.disturbance[worst]}",
                loads.loc[worst],
            ),
            (f"lowest voltage of all 91: {loads.disturbance[lowest]}", loads.loc[lowest]),
            ("all loads twice", screening.iloc[2]),
        )
    ]
    header = [
        "disturbance",
        "fitness",
        "lowest node",
        "highest node",
        "nodes outside",
        "losses [kW]",
    ]
    return markdown(header, rows)


def search_table(
    disturbance: Disturbance, seeds: int, evals: int, jobs: int, good: float | None
) -> tuple[str, Any]:
    """Distribution over the seeds for every search, and the best tap positions found."""
    rows, best = [], (np.inf, None)
    for search in searches(evals):
        results = Parallel(n_jobs=jobs)(
            delayed(run)(search, disturbance, seed) for seed in range(1, seeds + 1)
        )
        fitness = np.array([f for f, _ in results])
        quartiles = np.percentile(fitness, [25, 75])
        rows.append(
            [
                search.title,
                "set-points" if search.variables == "vreg" else "taps",
                "yes" if search.capacitors else "no",
                str(search.evals),
                f"{np.median(fitness):.6f}",
                f"{quartiles[0]:.6f} to {quartiles[1]:.6f}",
                f"{fitness.min():.6f}",
                f"{fitness.max():.6f}",
                *([f"{(fitness <= good).sum()} of {seeds}"] if good else []),
            ]
        )
        if search.variables == "taps" and not search.capacitors and fitness.min() < best[0]:
            best = (fitness.min(), results[int(fitness.argmin())][1])
    header = ["search", "variables", "capacitors", "evaluations", "median", "quartiles", "best"]
    header += ["worst", *([f"<= {good:.5f}"] if good else [])]
    return markdown(header, rows), best[1]


def plateaus(n: int) -> str:
    """How often a set-point moved by up to the bandwidth changes no tap."""
    problem = RegulatorControl(disturbance=PUBLISHED)
    rng = np.random.default_rng(0)
    x = rng.uniform(problem.xl, problem.xu, (n, problem.n_var))
    moved = x.copy()
    which = rng.integers(problem.n_var, size=n)
    moved[np.arange(n), which] += rng.uniform(-BANDWIDTH_V, BANDWIDTH_V, n)
    before, after = (
        problem.engine.solve(problem.joint.decode(problem.snap(y))) for y in (x, moved)
    )
    same = (before["tap"] == after["tap"]).all(axis=(1, 2)).sum()
    return (
        f"A set-point moved by up to {BANDWIDTH_V} V changes no tap in {same} of {n} random cases."
    )


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every search.")] = 20,
    evals: Annotated[int, typer.Option(min=50, help="Evaluations of a run.")] = 3000,
    jobs: Annotated[int, typer.Option(help="Runs at the same time.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write as well.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for figures.")] = None,
) -> None:
    """Prints the published protocol beside ours."""
    published, taps = search_table(PUBLISHED, seeds, evals, jobs, GOOD_ENOUGH)
    stress, stress_taps = search_table(STRESS, seeds, evals, jobs, None)
    text = "\n\n".join(
        (
            "## The feeder with its present settings",
            present_table(),
            f"## Load s1a at 200 kW, seeds 1 to {seeds}",
            published,
            plateaus(200),
            f"## All loads twice, seeds 1 to {seeds}",
            stress,
        )
    )
    Console().print(Markdown(text))
    if out is not None:
        out.write_text(f"{text}\n", encoding="utf-8")
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for name, disturbance, x in (
            ("published", PUBLISHED, taps),
            ("stress", STRESS, stress_taps),
        ):
            problem = RegulatorControl(variables="taps", disturbance=disturbance)
            histogram = problem.figures(x)["histogram"]
            histogram.savefig(figures / f"ieee123-{name}.png", dpi=150)
        loads = [LoadChange(name, kw=200.0) for name in problem.circuit.loads]
        plot_screening(problem.screening(loads), title="ieee123").savefig(
            figures / "ieee123-screening.png", dpi=110
        )


if __name__ == "__main__":
    typer.run(main)
