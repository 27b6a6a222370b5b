"""The published study of the 33-bus feeder: Harmony Search against particle swarm, 200 runs each.

    python benchmarks/papers/reconfiguration_33bus.py [--runs 200] [--jobs 2] [--sweep]
        [--out docs/tables/reconfiguration33.md] [--plot docs/images/reconfiguration33.png]

The protocol is the study's: harmony memory of 10, HMCR 0.85, PAR 0.3, 250 improvisations, one open
line per loop; the swarm has 10 particles and as many evaluations (260). Its losses cannot be
repeated on the data it cites: the configurations it prints lose more, and none of all 50,751 loses
as little as it claims (see docs/tasks/reconfiguration.md). What can be repeated is the comparison
of the algorithms, on its coding and on ours.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one core per run; set before numpy is loaded

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import joblib
import numpy as np
import typer
from matplotlib.figure import Figure
from pymoo.algorithms.soo.nonconvex.pso import PSO
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.optimize import minimize

from algorithms import ALGORITHMS, AllowedSampling, HarmonySearch, SnapToGrid
from gridproblems import Reconfiguration
from gridproblems.cases import load_case

HMS, IMPROVISATIONS = 10, 250
EVALUATIONS = HMS + IMPROVISATIONS
LIMITS = {"vm_pu": None, "loading_percent": None}


def study_search(hms: int = HMS, hmcr: float = 0.85, par: float = 0.3) -> Algorithm:
    """Harmony Search with the study's parameters; neighbours are the next lines on the loop."""
    return HarmonySearch(
        pop_size=hms,
        hmcr=hmcr,
        par=par,
        bandwidth=0.05,
        global_best=0.0,
        n_offsprings=1,
        local_search=False,
        neighbour_search=False,
        avoid_repeats=False,
    )


def study_swarm() -> Algorithm:
    """pymoo's particle swarm with as many particles as harmonies."""
    return PSO(pop_size=HMS, sampling=AllowedSampling(), repair=SnapToGrid())


class Run(NamedTuple):
    """One run: best loss after each evaluation [kW], lowest voltage at the end [p.u.], time."""

    curve: np.ndarray
    v_min_pu: float
    seconds: float


#: Row: coding, algorithm.
ROWS: dict[str, tuple[str, Callable[[Reconfiguration], Algorithm]]] = {
    "Harmony Search, the study's coding": ("loops", lambda problem: study_search()),
    "particle swarm, the study's coding": ("loops", lambda problem: study_swarm()),
    "Harmony Search, always radial": ("nearest_tree", lambda problem: study_search()),
    "particle swarm, always radial": ("nearest_tree", lambda problem: study_swarm()),
    "our default `hs`": ("nearest_tree", lambda problem: ALGORITHMS["hs"](problem)),
    "our default `mvmo`": ("nearest_tree", lambda problem: ALGORITHMS["mvmo"](problem)),
}
SWEEP = {
    "HMS": [{"hms": value} for value in (5, 10, 20, 30)],
    "HMCR": [{"hmcr": value} for value in (0.6, 0.7, 0.85, 0.95)],
    "PAR": [{"par": value} for value in (0.1, 0.3, 0.5, 0.9)],
}
BUILT: dict[str, Reconfiguration] = {}


def problem_of(coding: str) -> Reconfiguration:
    """The problem, built once in each worker."""
    if coding not in BUILT:
        BUILT[coding] = Reconfiguration("case33bw", coding=coding, limits=LIMITS)
    return BUILT[coding]


def run(row: str, seed: int, parameters: dict[str, float] | None = None) -> Run:
    """One run of one row, or of the study's search with other parameters."""
    coding, make = ROWS[row]
    problem = problem_of(coding)
    algorithm = make(problem) if parameters is None else study_search(**parameters)  # type: ignore[arg-type]
    curve = np.full(EVALUATIONS, np.inf)
    best, best_x, n_seen = np.inf, problem.base_x, 0

    def watch(population: Population) -> None:
        nonlocal best, best_x, n_seen
        for individual in population[: max(0, EVALUATIONS - n_seen)]:
            if individual.CV[0] <= 0 and individual.F[0] < best:
                best, best_x = float(individual.F[0]), individual.X
            curve[n_seen] = best
            n_seen += 1

    start = time.perf_counter()
    evaluator = Evaluator(callback=watch)
    minimize(problem, algorithm, ("n_evals", EVALUATIONS), seed=seed, evaluator=evaluator)
    seconds = time.perf_counter() - start
    return Run(curve, float(problem.solve(best_x).vm_pu.min()), seconds)


def published() -> list[str]:
    """What the study prints, and what its configurations lose on the data it cites."""
    problem = problem_of("loops")
    rows = [
        "| study | open branches | loss printed [kW] | loss [kW] | lowest voltage [p.u.] |",
        "|---|---|---|---|---|",
    ]
    for solution in load_case("case33bw").published.values():
        x = problem.encode(solution.settings)
        state = problem.solve(x)
        branches = "-".join(str(line + 1) for line in problem.open_lines(x)[0])
        rows.append(
            f"| {solution.name} | {branches} | {1e3 * solution.loss_mw:.3f} "
            f"| {1e3 * state.p_loss_mw[0]:.3f} | {state.vm_pu.min():.5f} |"
        )
    best = problem.best_known
    if best:
        state = problem.solve(problem.encode(best.settings))
        branches = "-".join(
            str(line + 1) for line in problem.open_lines(problem.encode(best.settings))[0]
        )
        rows.append(
            f"| lowest of all configurations ({best.status}) | {branches} | | {best.value:.3f} "
            f"| {state.vm_pu.min():.5f} |"
        )
    return rows


def table_row(name: str, runs: list[Run], optimum_kw: float) -> str:
    """Best, worst, mean and deviation of the final losses, lowest voltage, time per run."""
    final = np.array([r.curve[-1] for r in runs])
    found = np.isfinite(final)
    best = int(final.argmin())
    hits = int((final <= optimum_kw * (1 + 1e-6)).sum())
    return (
        f"| {name} | {final.min():.3f} | {final[found].max():.3f} | {final[found].mean():.3f} "
        f"| {final[found].std(ddof=1):.3f} | {runs[best].v_min_pu:.5f} | {hits} of {len(runs)} "
        f"| {int((~found).sum())} | {1e3 * np.median([r.seconds for r in runs]):.0f} |"
    )


def convergence(runs: dict[str, list[Run]], path: Path) -> None:
    """Mean of the best losses so far against evaluations, one line per row."""
    figure = Figure(figsize=(8.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, some in runs.items():
        curves = np.array([r.curve for r in some])
        median = np.median(curves, axis=0)
        style = "--" if "swarm" in name else "-"
        axes.plot(np.arange(1, EVALUATIONS + 1), median, style, label=name.replace("`", ""))
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best loss so far, median of the runs [kW]")
    axes.set_yscale("log")
    axes.set_yticks([140, 150, 160, 180, 200, 250, 300], minor=False)
    axes.set_yticklabels(["140", "150", "160", "180", "200", "250", "300"])
    axes.minorticks_off()
    axes.set_ylim(138, 320)
    axes.set_xlim(0, EVALUATIONS)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    axes.set_title(f"33 buses, {len(next(iter(runs.values())))} runs each", loc="left")
    figure.savefig(path, dpi=150)


def main(
    runs: int = 200,
    jobs: int = 2,
    sweep: Annotated[bool, typer.Option(help="Also vary HMS, HMCR and PAR")] = False,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture to write.")] = None,
) -> None:
    """Prints published beside measured, and writes table and picture where asked."""
    warnings.simplefilter("ignore", DeprecationWarning)
    known = problem_of("loops").best_known
    optimum_kw = known.value if known else np.nan
    lines = published()
    BUILT.clear()  # workers build their own
    header = [
        "| {} | best [kW] | worst [kW] | mean [kW] | deviation [kW] | lowest voltage [p.u.] "
        "| optimum found | nothing radial | ms per run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += ["", header[0].format(f"{EVALUATIONS} evaluations, {runs} runs"), header[1]]
    typer.echo("\n".join(lines))
    parallel = joblib.Parallel(n_jobs=jobs)
    done: dict[str, list[Run]] = {}
    for name in ROWS:
        done[name] = parallel(joblib.delayed(run)(name, seed) for seed in range(1, runs + 1))
        lines.append(table_row(name, done[name], optimum_kw))
        typer.echo(lines[-1])
    if sweep:
        name = next(iter(ROWS))
        lines += ["", header[0].format("the study's search with"), header[1]]
        typer.echo("\n".join(lines[-3:]))
        for label, settings in SWEEP.items():
            for parameters in settings:
                some = parallel(
                    joblib.delayed(run)(name, seed, parameters) for seed in range(1, runs + 1)
                )
                value = next(iter(parameters.values()))
                lines.append(table_row(f"{label} {value}", some, optimum_kw))
                typer.echo(lines[-1])
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if plot:
        convergence(done, plot)


if __name__ == "__main__":
    typer.run(main)
