"""The folder a run leaves behind: figures and settings as JSON, the solved net, plots."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pymoo.core.algorithm import Algorithm

from gridproblems._answer import answer
from gridproblems._names import in_words
from gridproblems._progress import Recorder, gap_percent
from gridproblems._written import replaced, write_csv, write_text, write_xlsx
from gridproblems.by_situation import by_situation, situation_figures
from gridproblems.constraints import Chance
from gridproblems.outlook import checked_limits, not_limited
from gridproblems.plotting import (
    plot_convergence,
    plot_pareto_front,
)
from gridproblems.problem import GridProblem

PACKAGES = ("gridproblems", "pymoo", "pandapower", "lightsim2grid", "numpy", "scipy")


@dataclass(frozen=True)
class Run:
    """What was asked for, what came out.

    Attributes:
        parameters: Constructor arguments of the algorithm, as far as they are plain values.
        interrupted: Whether the user ended the run before its budget was spent.
        before: What was said of the limits before the search.
        options: Arguments of the problem, as the user gave them.
    """

    task: str
    case: str
    algorithm: str
    parameters: dict[str, Any]
    seed: int
    problem: GridProblem
    recorder: Recorder
    run_time_s: float
    interrupted: bool
    before: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Case, algorithm and seed, for figures."""
        case = Path(self.case).stem if Path(self.case).is_file() else self.case
        return f"{case}, {self.algorithm}, seed {self.seed}"

    @property
    def objectives(self) -> list[str]:
        """Names with units, for figures and tables."""
        return objective_labels(self.problem)

    @property
    def chosen(self) -> int:
        """Row of the front that is applied to the net: the only one, or the knee."""
        return knee(self.recorder.F)

    @property
    def x(self) -> Any:
        """Settings of the chosen row, as evaluated."""
        return self.recorder.X[self.chosen]

    @property
    def best_known(self) -> float | None:
        """Best known value where the problem has one and a single objective."""
        return best_known_value(self.problem)


def objective_labels(problem: GridProblem) -> list[str]:
    """Names of the objectives with their units in brackets."""
    return [
        (f"{o.name} [{o.unit}]" if o.unit else o.name) + (", maximised" if o.is_negative else "")
        for o in problem.objectives
    ]


def _objectives_in_words(problem: GridProblem) -> list[str]:
    """What the objectives are, for axes of pictures."""
    return [
        in_words(o.name, o.unit) + (", maximised" if o.is_negative else "")
        for o in problem.objectives
    ]


def best_known_value(problem: GridProblem) -> float | None:
    """Best known value where the problem has one and a single objective."""
    known = problem.best_known if problem.n_obj == 1 else None
    return known.value if known else None


def knee(F: np.ndarray) -> int:
    """Row with the smallest sum of objectives, each scaled to [0, 1] over the front.

    For two objectives this is the point farthest below the line through the two extremes
    (Das 1999, doi 10.1007/s001580050111).
    """
    span = np.ptp(F, axis=0)
    scaled = (F - F.min(axis=0)) / np.where(span > 0.0, span, 1.0)
    return int(scaled.sum(axis=1).argmin())


def new_folder(parent: Path, name: str) -> Path:
    """Makes and returns `parent`/`name`, or with -2, -3, ... where that holds files already."""
    parent.mkdir(parents=True, exist_ok=True)
    folder, attempt = parent / name, 1
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        attempt += 1
        folder = parent / f"{name}-{attempt}"
    folder.mkdir(exist_ok=True)
    return folder


def parameters_of(algorithm: Algorithm) -> dict[str, Any]:
    """Arguments of the algorithm's constructors that it keeps as plain values."""
    found: dict[str, Any] = {}
    for cls in type(algorithm).__mro__:
        if cls is Algorithm or "__init__" not in vars(cls):
            continue
        for name in inspect.signature(cls).parameters:
            value = getattr(algorithm, name, None)
            parts = value if isinstance(value, tuple) else (value,)
            if all(isinstance(part, (bool, int, float, str)) for part in parts):
                found.setdefault(name, value)
    return found


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Writes every file of the run and returns what ``result.json`` holds.

    ``net.json`` is left out when the power flow of the chosen settings does not converge.
    """
    result = figures(run)
    text = json.dumps(result, indent=2, allow_nan=False, default=_as_dict)
    write_text(folder / "result.json", text + "\n")
    history = shown_history(run)
    write_csv(folder / "history.csv", history)
    several, signs = run.problem.n_obj > 1, run.problem.objective_signs
    if several:
        write_csv(folder / "front.csv", _front(run))
    if result["converged"]:
        run.problem.write(run.x, folder)

    several_situations = result["converged"] and run.problem.situations.n > 1
    of_each = by_situation(run.problem, run.x) if several_situations else None
    if of_each is not None:
        write_csv(folder / "situations.csv", of_each.table())
        write_csv(folder / "limits.csv", of_each.limits())
    said = _objectives_in_words(run.problem)
    plots = {
        "convergence": plot_convergence(
            history,
            best_known=run.best_known,
            ylabel="normalised hypervolume" if several else said[0],
            title=run.title,
        ),
        **run.problem.figures(run.x if result["converged"] else None),
        **({} if of_each is None else situation_figures(of_each, run.problem)),
    }
    if run.problem.n_obj == 2:
        plots["pareto"] = plot_pareto_front(
            run.recorder.F * signs,
            said,
            base=(run.problem.base_values() * signs).tolist(),
            knee=run.chosen,
            title=run.title,
        )
    pictures = {name: folder / f"{name}.png" for name in plots}
    for name, figure in plots.items():
        with replaced(pictures[name]) as new:
            figure.savefig(new, dpi=150)
    settings = pd.DataFrame(result["settings"])
    write_csv(folder / "settings.csv", settings)
    sheets = {"settings": settings}
    if several:
        sheets["front"] = _front(run)
        with_units = dict(zip(run.problem.objective_names, run.objectives, strict=True))
        sheets["front"] = sheets["front"].rename(columns=with_units)
    write_xlsx(folder / "settings.xlsx", sheets)
    found = answer(run.title, run.problem, run.x, result, run.recorder.F * signs, of_each)
    write_text(folder / "summary.md", found.markdown())
    write_text(folder / "report.html", found.html(pictures))
    return result


def _as_dict(value: Any) -> dict[str, Any]:
    """What ``result.json`` holds of an option; of a chance ``joint`` only where it is."""
    found = asdict(value)
    if isinstance(value, Chance) and not value.joint:
        del found["joint"]
    return found


def figures(run: Run) -> dict[str, Any]:
    """Everything measured and set, as plain values without NaN."""
    problem, recorder = run.problem, run.recorder
    known = problem.best_known if problem.n_obj == 1 else None
    objectives = [
        {
            "name": objective.name,
            "unit": objective.unit,
            "base": base,
            "best": best,
            "change_percent": gap_percent(best, base),
            "best_known": known.value if known else None,
            "best_known_status": known.status if known else None,
            "gap_percent": gap_percent(best, known.value) if known else None,
        }
        for objective, base, best in zip(
            problem.objectives,
            problem.base_values() * problem.objective_signs + 0.0,
            recorder.F[run.chosen] * problem.objective_signs,
            strict=True,
        )
    ]
    solved = problem.solves(run.x)
    broken = problem.violations(run.x) if solved and not recorder.feasible else []
    result = {
        "task": run.task,
        "case": run.case,
        "options": dict(run.options),
        "algorithm": {"name": run.algorithm, "parameters": run.parameters},
        "seed": run.seed,
        "engine": problem.engine_name,
        "interrupted": run.interrupted,
        "converged": solved,
        "feasible": recorder.feasible,
        "violation": recorder.violation,
        "limits": [asdict(limit) for limit in checked_limits(problem)],
        "not_limited": not_limited(problem),
        "violated_limits": [asdict(violation) for violation in broken],
        "before": list(run.before),
        "remarks": problem.remarks(run.x) if solved else [],
        "objectives": objectives,
        "measured": _measured(problem, run.x),
        "front": _front_summary(run) if problem.n_obj > 1 else None,
        "budget_evaluations": recorder.budget,
        "evaluations": recorder.evaluations,
        "gradient_evaluations": recorder.gradients,
        "failed_evaluations": problem.counts.failed,
        "run_time_s": run.run_time_s,
        "processor_time_s": recorder.processor_time_s,
        "evaluations_per_second": recorder.evaluations / run.run_time_s,
        "settings": plain_rows(problem.describe(run.x)),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
    return cast("dict[str, Any]", _plain(result))


def _measured(problem: GridProblem, x: Any) -> list[dict[str, Any]]:
    """What else is known of the grid before and after, one entry per figure."""
    before, after = problem.measured(), problem.measured(x)
    return [{"name": name, "base": before[name], "best": after[name]} for name in after]


def _front_summary(run: Run) -> dict[str, Any]:
    F = run.recorder.F
    names = run.problem.objective_names
    shown = F * run.problem.objective_signs
    return {
        "points": len(F),
        "knee": run.chosen,
        "extremes": [dict(zip(names, shown[row], strict=True)) for row in F.argmin(axis=0)],
    }


def shown_history(run: Run) -> pd.DataFrame:
    """The history with the objective as it is shown: what is maximised grows."""
    history = run.recorder.history()
    if run.problem.n_obj == 1:
        history["best"] *= run.problem.objective_signs[0]
    return history


def _front(run: Run) -> pd.DataFrame:
    """One row per nondominated point: its objectives, then its settings by variable name."""
    vectors = [run.problem.vector(x) for x in run.recorder.X]
    return pd.DataFrame(
        np.hstack([run.recorder.F * run.problem.objective_signs, vectors]),
        columns=[*run.problem.objective_names, *run.problem.vars],
    )


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values without NaN."""
    return cast("list[dict[str, Any]]", _plain(table.to_dict("records")))


def _plain(value: Any) -> Any:
    """The same with numpy types made Python's own and NaN and infinity made None."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
