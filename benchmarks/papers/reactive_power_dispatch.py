"""Tables 8 to 13 of the study of reactive power dispatch on 6, 14 and 39 buses, beside ours.

M. M. Sánchez-Mora, D. L. Bernal-Romero, O. D. Montoya, W. M. Villa-Acevedo, J. M. López-Lezama,
Solving the Optimal Reactive Power Dispatch Problem through a Python-DIgSILENT Interface,
Computation 2022, 10(8), 128, doi:10.3390/computation10080128.

The published settings are evaluated again, and MVMO, GA and Harmony Search are run from several
seeds on the same problem: losses of the lines, voltages within 0.9 .. 1.1 pu, slack at 1.05 pu. The
run times of the paper are those of its tool and laptop; ours are of this machine.

    python benchmarks/papers/reactive_power_dispatch.py --seeds 5 --evals 5000 --jobs 2
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import typer
from joblib import Parallel, delayed
from numpy.typing import NDArray
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize
from rich.console import Console
from rich.markdown import Markdown

from algorithms import MVMO, HarmonySearch
from gridproblems import ReactivePowerDispatch
from gridproblems.cases import Case, load_case

CASES = {"ieee6": (8, 9), "ieee14": (10, 11), "ieee39": (12, 13)}
"""Case -> tables of the paper with settings and with line loadings."""

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "MVMO": MVMO,
    "GA": lambda: GA(pop_size=50),
    "HS": HarmonySearch,
}


@dataclass(frozen=True)
class Run:
    """One optimisation.

    Attributes:
        x: Best settings, shape (n_var,), None without a feasible one.
        loss_mw: Losses of the lines at ``x``, infinite without a feasible one.
        seconds: Time of the whole run.
        evaluations: Candidates evaluated.
    """

    x: NDArray[np.float64] | None
    loss_mw: float
    seconds: float
    evaluations: int


BUILT: dict[str, ReactivePowerDispatch] = {}


def problem_of(name: str) -> ReactivePowerDispatch:
    """The problem of the paper, losses of the lines only; built once in each worker."""
    if name not in BUILT:
        BUILT[name] = ReactivePowerDispatch(name, objectives=("line_loss_mw",))
    return BUILT[name]


def optimise(name: str, algorithm: str, seed: int, evals: int) -> Run:
    """Runs one algorithm from one seed."""
    problem = problem_of(name)
    start = time.perf_counter()
    result = minimize(problem, ALGORITHMS[algorithm](), ("n_eval", evals), seed=seed)
    seconds = time.perf_counter() - start
    if result.X is None:
        return Run(None, np.inf, seconds, result.algorithm.evaluator.n_eval)
    x = problem.snap(result.X)
    loss_mw = float(problem.solve(x).line_loss_mw.sum())
    return Run(x, loss_mw, seconds, result.algorithm.evaluator.n_eval)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table, all columns but the first aligned to the right."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def number(value: float | int, decimals: int = 4) -> str:
    """Whole numbers without decimals, nothing where there is no value."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{decimals}f}" if np.isfinite(value) else ""


def settings_table(case: Case, runs: dict[str, Run]) -> str:
    """Settings and losses: base case, published, ours, best known."""
    problem = problem_of(case.name)
    settings = {
        f"{name}, paper": problem.encode(solution.settings)
        for name, solution in case.published.items()
        if name != "base"
    }
    settings |= {f"{name}, ours": run.x for name, run in runs.items() if run.x is not None}
    if problem.best_known is not None:
        settings["best known"] = problem.encode(problem.best_known.settings)
    columns = {"base": problem.describe(problem.base_x)["base"]}
    columns |= {name: problem.describe(x)["new"] for name, x in settings.items()}
    states = {"base": problem.base_state}
    states |= {name: problem.solve(x) for name, x in settings.items()}
    printed = {"base": case.published["base"].loss_mw}
    printed |= {f"{name}, paper": s.loss_mw for name, s in case.published.items()}
    controls = problem.describe(problem.base_x)
    rows = [
        [row.control, *(number(columns[name].iloc[i]) for name in columns)]
        for i, row in enumerate(controls.itertuples())
    ]
    rows.append(
        ["line losses, printed [MW]", *(number(printed.get(n, np.nan), 3) for n in columns)]
    )
    rows.append(
        ["line losses, measured [MW]"]
        + [number(float(states[n].line_loss_mw.sum()), 6) for n in columns]
    )
    for label, extreme in (("lowest", np.min), ("highest", np.max)):
        rows.append(
            [f"{label} voltage [pu]", *(f"{extreme(states[n].vm_pu):.5f}" for n in columns)]
        )
    return markdown(["control", *columns], rows)


def loading_table(case: Case) -> str:
    """Line loadings as printed and as measured with the published settings, best known. [%]"""
    problem = problem_of(case.name)
    header, columns = ["line"], []
    for name, solution in case.published.items():
        if name == "base":
            state = problem.base_state
        else:
            state = problem.solve(problem.encode(solution.settings))
        header += [f"{name}, printed", f"{name}, measured"]
        printed = solution.line_loading_percent or {}
        columns.append([printed.get(line, np.nan) for line in problem.net.line.name])
        columns.append(state.line_loading_percent[0])
    if problem.best_known is not None:
        header.append("best known")
        columns.append(
            problem.solve(problem.encode(problem.best_known.settings)).line_loading_percent[0]
        )
    return markdown(
        header,
        (
            [line, *(f"{column[i]:.4f}" for column in columns)]
            for i, line in enumerate(problem.net.line.name)
        ),
    )


def summary_table(case: Case, runs: dict[str, list[Run]]) -> str:
    """Losses and run times over the seeds, beside those of the paper."""
    problem = problem_of(case.name)
    best_mw = np.nan if problem.best_known is None else problem.best_known.value
    rows = []
    for name, solution in case.published.items():
        if solution.run_time_s is not None:
            seconds = f"{solution.run_time_s:.1f}"
            rows.append([f"{name}, paper", "", number(solution.loss_mw, 3), *[""] * 4, seconds])
    for name, group in runs.items():
        losses = np.array([run.loss_mw for run in group])
        rows.append(
            [
                f"{name}, ours",
                f"{np.isfinite(losses).sum()} of {len(losses)}",
                *(f"{f(losses):.6f}" for f in (np.min, np.median, np.max)),
                f"{100 * (np.median(losses) / best_mw - 1):.4f} %",
                str(max(run.evaluations for run in group)),
                f"{np.median([run.seconds for run in group]):.1f}",
            ]
        )
    return markdown(
        (
            "algorithm",
            "feasible runs",
            "best [MW]",
            "median [MW]",
            "worst [MW]",
            "median above best known",
            "evaluations",
            "time of a run [s]",
        ),
        rows,
    )


def report(name: str, seeds: int, evals: int, jobs: int) -> str:
    """All tables of one system."""
    case = load_case(name)
    keys = [(algorithm, seed) for algorithm in ALGORITHMS for seed in range(1, seeds + 1)]
    BUILT.clear()  # workers build their own
    results = Parallel(n_jobs=jobs)(delayed(optimise)(name, *key, evals) for key in keys)
    runs: dict[str, list[Run]] = {algorithm: [] for algorithm in ALGORITHMS}
    for (algorithm, _), run in zip(keys, results, strict=True):
        runs[algorithm].append(run)
    best = {a: min(group, key=lambda run: run.loss_mw) for a, group in runs.items()}
    settings, loadings = CASES[name]
    return "\n\n".join(
        (
            f"## {case.title}",
            f"### Run times and losses over seeds 1 to {seeds}",
            summary_table(case, runs),
            f"### Settings (table {settings} of the paper)",
            settings_table(case, best),
            f"### Line loadings in percent of 1 kA (table {loadings} of the paper)",
            loading_table(case),
            "### Notes",
            "\n".join(f"- {note}" for note in case.notes)
            + "".join(f"\n- {s.name}: {s.note}" for s in case.published.values() if s.note),
        )
    )


def main(
    case: Annotated[list[str], typer.Option(help="System: ieee6, ieee14, ieee39.")] = list(CASES),  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every algorithm.")] = 5,
    evals: Annotated[int, typer.Option(min=1, help="Evaluations of a run.")] = 5000,
    jobs: Annotated[int, typer.Option(help="Runs at the same time; more slow each other.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write as well.")] = None,
) -> None:
    """Prints the published results of reactive power dispatch beside ours."""
    text = "# Optimal reactive power dispatch, published and ours\n"
    for name in case:
        if name not in CASES:
            raise typer.BadParameter(f"{name!r} is not in the paper; its systems: {list(CASES)}")
        text += "\n" + report(name, seeds, evals, jobs) + "\n"
    Console().print(Markdown(text))
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
