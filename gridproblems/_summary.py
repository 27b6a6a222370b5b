"""What a problem consists of, as text and as a table for notebooks."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any, Protocol

from gridproblems.cases import BestKnown
from gridproblems.controls.joint import Joint
from gridproblems.evaluation import AnyObjective, Evaluation
from gridproblems.objectives import Objective
from gridproblems.situations import Situations

_SHOWN = 6  # names of one kind in a summary


class Summarised(Protocol):
    """What a summary takes of a problem."""

    joint: Joint
    situations: Situations
    evaluation: Evaluation
    engine: Any
    engine_name: str
    engine_note: str
    best_known: BestKnown | None
    n_var: int
    n_obj: int
    n_ieq_constr: int

    @property
    def name(self) -> str:
        """What the problem is called."""
        ...

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Names of the objectives."""
        ...

    @property
    def objective_units(self) -> tuple[str, ...]:
        """Units of the objectives."""
        ...


def summary(problem: Summarised) -> dict[str, str]:
    """Variables, objectives, limits, situations and engine of a problem, each as a line."""
    rows = {
        "variables": _variables(problem),
        "objectives": "; ".join(
            _objective(objective, problem.situations) for objective in problem.evaluation.objectives
        ),
        "limits": _limits(problem),
        "situations": _situations(problem),
        "engine": problem.engine_name or type(problem.engine).__name__,
    }
    if problem.engine_note:
        rows["engine"] += f" ({problem.engine_note})"
    if problem.best_known is not None:
        known = problem.best_known
        rows["best known"] = f"{known.value:.9g} {problem.objective_units[0]} ({known.status})"
    return rows


def as_line(problem: Summarised) -> str:
    """Class, name and sizes in one line."""
    return (
        f"<{type(problem).__name__} {problem.name!r}: "
        f"{_counted(problem.n_var, 'variable')}, {_counted(problem.n_obj, 'objective')}, "
        f"{_counted(problem.n_ieq_constr, 'constraint')}, engine {problem.engine_name!r}>"
    )


def as_text(problem: Summarised) -> str:
    """The summary, one line per row."""
    rows = summary(problem)
    width = max(map(len, rows))
    title = f"{type(problem).__name__} {problem.name}".rstrip()
    return "\n".join([title, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])


def as_html(problem: Summarised) -> str:
    """The summary as a table; all text of the net and the user is escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(key)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for key, value in summary(problem).items()
    )
    title = html.escape(f"{type(problem).__name__} {problem.name}".rstrip())
    return f"<table><caption>{title}</caption>{rows}</table>"


def _variables(problem: Summarised) -> str:
    variables = problem.joint.variables
    kinds = Counter(v.kind for v in variables)
    by_kind = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return f"{len(variables)} ({by_kind}): {_first([v.name for v in variables])}"


def _objective(objective: AnyObjective, situations: Situations) -> str:
    """Name, unit, and how the situations are reduced where there are several."""
    text = f"{objective.name} [{objective.unit}]" if objective.unit else objective.name
    if not isinstance(objective, Objective):
        return text
    if situations.n_time > 1:
        text += f", {_reduction(objective.over_time)} in time"
    if len(situations.rest_weight) > 1:
        text += f", {_reduction(objective.over_rest)} over the other situations"
    return text


def _reduction(how: Any) -> str:
    return how if isinstance(how, str) else " ".join(map(str, how))


def _limits(problem: Summarised) -> str:
    counts = Counter(problem.evaluation.entries.kinds)
    if not counts:
        return "none are checked, only that the power flow converges and supplies every load"
    each = ", ".join(f"{kind} ({n})" for kind, n in counts.items())
    return each + (", one constraint per kind" if problem.evaluation.aggregate else "")


def _situations(problem: Summarised) -> str:
    reduced = [str(axis.reduced) for axis in problem.situations.axes if axis.reduced]
    return "; ".join([_counted(problem.situations.n, "power flow") + " per candidate", *reduced])


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)
