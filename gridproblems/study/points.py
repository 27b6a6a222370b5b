"""The folder of one run on a problem that is no grid: figures, points, plots and a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymoo.core.problem import Problem

from gridproblems._answer import Answer, Section, Table, number_text
from gridproblems._progress import Recorder, gap_percent
from gridproblems._results import knee, plain_rows
from gridproblems._written import replaced, write_csv, write_text
from gridproblems.checkpoints import versions
from gridproblems.plotting import plot_convergence, plot_pareto_front
from gridproblems.study.describe import facts_of

_MOST_POINTS = 200


@dataclass(frozen=True)
class PointsRun:
    """What was asked for, what came out.

    Attributes:
        spec, algorithm, parameters, seed: What was run.
        interrupted: Whether the user ended the run before its budget was spent.
    """

    spec: str
    algorithm: str
    parameters: dict[str, Any]
    seed: int
    problem: Problem
    recorder: Recorder
    run_time_s: float
    interrupted: bool

    @property
    def title(self) -> str:
        """Problem, algorithm and seed."""
        return f"{self.spec}, {self.algorithm}, seed {self.seed}"


def write_points(run: PointsRun, folder: Path) -> dict[str, Any]:
    """Writes every file of the run and returns what ``result.json`` holds."""
    facts = facts_of(run.problem)
    result = _figures(run, facts)
    points = _points(run, facts)
    write_csv(folder / ("front.csv" if run.problem.n_obj > 1 else "best.csv"), points)
    history = run.recorder.history()
    write_csv(folder / "history.csv", history)
    known = result["best_known"]
    several = run.problem.n_obj > 1
    plots = {
        "convergence": plot_convergence(
            history,
            best_known=known,
            ylabel="normalised hypervolume" if several else facts["objectives"][0],
            title=run.title,
        )
    }
    if run.problem.n_obj == 2:
        plots["pareto"] = plot_pareto_front(
            run.recorder.F, facts["objectives"], knee=knee(run.recorder.F), title=run.title
        )
    pictures = {name: folder / f"{name}.png" for name in plots}
    for name, figure in plots.items():
        with replaced(pictures[name]) as new:
            figure.savefig(new, dpi=150)
    answer = Answer(run.title, _sections(run, result, points))
    write_text(folder / "summary.md", answer.markdown())
    write_text(folder / "report.html", answer.html(pictures))
    write_text(folder / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    return result


def _figures(run: PointsRun, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything measured, as plain values without NaN."""
    recorder, reference = run.recorder, facts["reference"]
    is_known = run.problem.n_obj == 1 and reference is not None
    known = float(reference["values"][0][0]) if is_known else None
    best = recorder.F[knee(recorder.F)]
    gap = gap_percent(float(best[0]), known) if known is not None else None
    return {
        "problem": run.spec,
        "title": facts["title"],
        "n_var": facts["n_var"],
        "n_constraints": facts["n_constraints"],
        "algorithm": {
            "name": run.algorithm,
            "parameters": {
                k: list(v) if isinstance(v, tuple) else v for k, v in run.parameters.items()
            },
        },
        "seed": run.seed,
        "interrupted": run.interrupted,
        "feasible": bool(recorder.feasible),
        "violation": float(recorder.violation),
        "objectives": dict(zip(facts["objectives"], best.tolist(), strict=True)),
        "best_known": known,
        "gap_percent": None if gap is None or np.isnan(gap) else gap,
        "points": len(recorder.F),
        "budget_evaluations": recorder.budget,
        "evaluations": recorder.evaluations,
        "run_time_s": run.run_time_s,
        "evaluations_per_second": recorder.evaluations / run.run_time_s,
        "versions": versions(),
    }


def _points(run: PointsRun, facts: dict[str, Any]) -> pd.DataFrame:
    """One row per nondominated point by the first objective: objectives, then variables."""
    frame = pd.DataFrame(run.recorder.F, columns=facts["objectives"])
    rows = []
    for x in run.recorder.X:
        rows.append(x if isinstance(x, dict) else dict(zip(facts["variables"], x, strict=True)))
    joined = pd.concat([frame, pd.DataFrame(rows)], axis=1)
    return joined.sort_values(facts["objectives"], kind="stable", ignore_index=True)


def _sections(run: PointsRun, result: dict[str, Any], points: pd.DataFrame) -> list[Section]:
    words = "All constraints hold."
    if not result["feasible"]:
        words = f"NOT FEASIBLE: violation {result['violation']:.3g}."
    elif not result["n_constraints"]:
        words = "The problem has no constraints."
    lines = [words]
    if result["points"] > 1:
        lines.append(f"{result['points']} trade-offs; this is the knee.")
    table = Table(
        ("objective", "value", "best known", "gap"),
        [
            (
                name,
                number_text(value),
                number_text(result["best_known"]),
                number_text(result["gap_percent"], "+.3f", " %"),
            )
            for name, value in result["objectives"].items()
        ],
    )
    shown = plain_rows(points.head(_MOST_POINTS))
    cells = [
        [number_text(v) if isinstance(v, float) else str(v) for v in row.values()] for row in shown
    ]
    more = len(points) - len(shown)
    return [
        Section("Result", lines, table),
        Section(
            "All trade-offs" if run.problem.n_obj > 1 else "The best point",
            [f"{more} more are in front.csv."] if more else [],
            Table([str(name) for name in points.columns], cells),
        ),
        Section(
            "How sure this is",
            [
                f"One run of {run.algorithm} with seed {run.seed}: {result['evaluations']} "
                "evaluations.",
                "Other seeds may end elsewhere: compare several with gridproblems compare.",
            ],
        ),
    ]
