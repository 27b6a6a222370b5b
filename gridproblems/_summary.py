"""What a problem consists of, as text and as a table for notebooks."""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gridproblems.problem import GridProblem

_SHOWN = 6  # names of one kind in a summary


def summary(problem: GridProblem) -> dict[str, str]:
    """Variables, objectives, limits, situations and engine of a problem, each as a line."""
    units = zip(problem.objective_names, problem.objective_units, strict=True)
    rows = {
        "variables": _variables(problem),
        "objectives": ", ".join(f"{name} [{unit}]" if unit else name for name, unit in units),
        "limits": _limits(problem),
        "situations": _counted(problem.situations.n, "power flow") + " per candidate",
        "engine": problem.engine_name or type(problem.engine).__name__,
    }
    if problem.engine_note:
        rows["engine"] += f" ({problem.engine_note})"
    if problem.best_known is not None:
        known = problem.best_known
        rows["best known"] = f"{known.value:.9g} {problem.objective_units[0]} ({known.status})"
    return rows


def as_line(problem: GridProblem) -> str:
    """Class, name and sizes in one line."""
    return (
        f"<{type(problem).__name__} {problem.name!r}: "
        f"{_counted(problem.n_var, 'variable')}, {_counted(problem.n_obj, 'objective')}, "
        f"{_counted(problem.n_ieq_constr, 'constraint')}, engine {problem.engine_name!r}>"
    )


def as_text(problem: GridProblem) -> str:
    """The summary, one line per row."""
    rows = summary(problem)
    width = max(map(len, rows))
    title = f"{type(problem).__name__} {problem.name}".rstrip()
    return "\n".join([title, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])


def as_html(problem: GridProblem) -> str:
    """The summary as a table; all text of the net and the user is escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(key)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for key, value in summary(problem).items()
    )
    title = html.escape(f"{type(problem).__name__} {problem.name}".rstrip())
    return f"<table><caption>{title}</caption>{rows}</table>"


def _variables(problem: GridProblem) -> str:
    variables = problem.joint.variables
    kinds = Counter(v.kind for v in variables)
    by_kind = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return f"{len(variables)} ({by_kind}): {_first([v.name for v in variables])}"


def _limits(problem: GridProblem) -> str:
    counts = Counter(problem.evaluation.entries.kinds)
    if not counts:
        return "none are checked, only that the power flow converges and supplies every load"
    each = ", ".join(f"{kind} ({n})" for kind, n in counts.items())
    return each + (", one constraint per kind" if problem.evaluation.aggregate else "")


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)
