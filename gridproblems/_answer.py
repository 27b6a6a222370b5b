"""The answer of one run for a person, as Markdown and as one page that holds its pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gridproblems._html import html_table
from gridproblems.by_situation import BySituation
from gridproblems.controls.direct import FixedBlock
from gridproblems.problem import GridProblem
from gridproblems.state import FloatArray, GridState, Settings, SettingsMapping
from gridproblems.violations import listed

#: Entries of constraints from here to 0 are limits that bind: one percent of the band or rating.
_BINDS = -0.01
_MOST_ROWS = 200
_MOST_BROKEN = 10
_MOST_SITUATIONS = 30
#: What the grid without an outage or change is called.
AS_IT_IS = "as it is"
#: What the columns hold that are no plain numbers.
_PLAIN: dict[str, type] = {"in_service": bool, "closed": bool, "tap_pos": int, "step": int}
_BEFORE_AFTER = ("", "before", "after")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886; }
img { max-width: 100%; height: auto; background: #fff; }
@media (max-width: 40rem) {  /* rows are cards, whose cells say the name of their column */
  .wide thead, .wide td:empty { display: none; }
  .wide :is(table, tbody, tr) { display: block; }
  .wide tr { padding: .3rem 0; border-bottom: 1px solid #8886; }
  .wide td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0;
    text-align: right; overflow-wrap: anywhere; }
  .wide td::before { content: attr(data-name); text-align: left; flex-shrink: 0; max-width: 50%; }
  .wide td[data-name=""] { justify-content: start; }
  .wide td:first-child { font-weight: 700; } }
"""
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""


@dataclass(frozen=True)
class Table:
    """Rows of texts under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A title, sentences, a table and code, each where there is one."""

    title: str
    lines: Sequence[str] = ()
    table: Table | None = None
    code: str = ""


@dataclass(frozen=True)
class Answer:
    """What a run found, for a person.

    Attributes:
        title: Of the run.
        sections: In the order of reading.
    """

    title: str
    sections: Sequence[Section]

    def markdown(self) -> str:
        """The answer as Markdown."""
        parts = [f"# {_in_cell(self.title)}"]
        for section in self.sections:
            parts.append(f"## {section.title}")
            parts += [_in_cell(line) for line in section.lines]
            if section.table and section.table.rows:
                rows = [section.table.head, ["---"] * len(section.table.head), *section.table.rows]
                parts.append("\n".join(f"| {' | '.join(map(_in_cell, row))} |" for row in rows))
            if section.code:
                parts.append("\n".join(f"    {line}" for line in section.code.splitlines()))
        return "\n\n".join(parts) + "\n"

    def html(self, pictures: Mapping[str, Path]) -> str:
        """The answer as a page that loads nothing and runs nothing.

        Args:
            pictures: PNG files by what they show.
        """
        title = escape(self.title)
        parts = [_HEAD, f"<title>{title}</title><style>{_STYLE}</style></head><body>"]
        parts.append(f"<h1>{title}</h1>")
        for section in self.sections:
            parts.append(f"<h2>{escape(section.title)}</h2>")
            parts += [f"<p>{escape(line)}</p>" for line in section.lines]
            if section.table and section.table.rows:
                parts.append(_html_table(section.table))
            if section.code:
                parts.append(f"<pre>{escape(section.code)}</pre>")
        for name, path in pictures.items():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            alt = escape(name.replace("_", " "), quote=True)
            parts.append(f'<h2>{alt}</h2><img alt="{alt}" src="data:image/png;base64,{data}">')
        return "\n".join([*parts, "</body></html>\n"])


def answer(
    title: str,
    problem: GridProblem,
    x: Any,
    result: Mapping[str, Any],
    F: FloatArray,
    of_each: BySituation | None = None,
) -> Answer:
    """The answer of a run.

    Args:
        title: Of the run.
        problem: What was solved.
        x: The chosen vector.
        result: What ``result.json`` holds.
        F: Nondominated points as they are shown, shape (n, n_obj).
        of_each: What the vector does in each of several situations.
    """
    sections = [Section("Result", _headline(result), _objectives(result))]
    if result["converged"]:
        sections.append(Section("Grid before and after", result["before"], _grid(problem, x)))
        sections.append(Section("Limits", _limits(result), _binding(problem, x)))
    if of_each is not None:
        sections += [_binding_situations(of_each)] if of_each.bindings else []
        sections.append(_situations(of_each))
    sections.append(_settings(result))
    if result["converged"]:
        sections.append(_how_to_apply(problem, x))
    sections.append(Section("How sure this is", _how_sure(result)))
    if result["front"] is not None:
        sections.append(_front(problem, F, result["front"]["knee"]))
    return Answer(title, sections)


def _headline(result: Mapping[str, Any]) -> list[str]:
    words = "All limits that were checked hold."
    if not result["converged"]:
        words = "No settings were found whose power flow solves and supplies every load."
    elif not result["feasible"]:
        words = f"NOT FEASIBLE: {len(result['violated_limits'])} limits do not hold."
    front = result["front"]
    more = (
        [] if front is None else [f"{front['points']} trade-offs in front.csv; this is the knee."]
    )
    return [words, *more, *result["remarks"]]


def _objectives(result: Mapping[str, Any]) -> Table:
    head = ("objective", "unit", "before", "after", "change", "best known", "gap")
    return Table(
        head,
        [(entry["name"], entry["unit"], *objective_texts(entry)) for entry in result["objectives"]],
    )


def _grid(problem: GridProblem, x: Any) -> Table:
    before, after = _figures(problem.states()), _figures(problem.states(x))
    return Table(
        _BEFORE_AFTER, [(name, before.get(name, ""), text) for name, text in after.items()]
    )


def _figures(states: Iterable[GridState]) -> dict[str, str]:
    """Lowest and highest voltage and worst loading over all situations."""
    known = {
        "lowest voltage [p.u.]": ("vm_pu", np.min),
        "highest voltage [p.u.]": ("vm_pu", np.max),
        "worst line loading [%]": ("line_loading_percent", np.max),
        "worst transformer loading [%]": ("trafo_loading_percent", np.max),
    }
    found: dict[str, list[float]] = {}
    for state in states:
        for name, (quantity, reduce) in known.items():
            values = state[quantity] if quantity in state.layout.slices else np.zeros(0)
            values = values[np.isfinite(values)]
            if values.size and (values != 0).any():
                found.setdefault(name, []).append(float(reduce(values)))
    return {
        name: number_text(float(reduce(found[name])))
        for name, (_, reduce) in known.items()
        if name in found
    }


def _limits(result: Mapping[str, Any]) -> list[str]:
    lines = []
    if result["not_limited"]:
        lines.append(f"Not limited, so not checked: {', '.join(result['not_limited'])}.")
    broken = result["violated_limits"][::-1]  # the farthest beyond first
    for one in broken[:_MOST_BROKEN]:
        lines.append(f"Broken: {one['name']} by {one['beyond']:.3g} {one['unit']}".rstrip())
    if len(broken) > _MOST_BROKEN:
        lines.append(f"And {len(broken) - _MOST_BROKEN} more, see result.json.")
    return lines


def _binding(problem: GridProblem, x: Any) -> Table:
    """Limits within one percent of their band or rating, the nearest first."""
    values, names = problem.entries(x), problem.evaluation.entries.names
    near = [
        i
        for i in np.argsort(-values, kind="stable")
        if _BINDS <= values[i] <= 0 and not names[i].endswith("power_flow")
    ]
    rows = [(names[i], f"{-100 * values[i] + 0.0:.3f} %") for i in near]
    return Table(("limit that binds", "room, of its band or rating"), rows[:_MOST_ROWS])


def _binding_situations(of_each: BySituation) -> Section:
    """Every limit in the situation that decides it, least room first."""
    named = of_each.bindings
    failed = [of_each.names[i] for i in np.flatnonzero(~of_each.solved)]
    lines = [f"No solution in {len(failed)} situations: {listed(failed, ', ')}."] if failed else []
    if len(named) > _MOST_SITUATIONS:
        lines.append(f"The {_MOST_SITUATIONS} limits with the least room; all are in limits.csv.")
    rows = [
        (
            one.name,
            one.situation if one.situation or one.number is None else AS_IT_IS,
            _with_unit(one.value, one.unit),
            _with_unit(one.limit, one.unit),
            _with_unit(one.margin, one.unit),
            f"{100.0 * one.room:.2f} %",
        )
        for one in named[:_MOST_SITUATIONS]
    ]
    head = ("limit", "binds in", "value", "limit is", "margin", "room, of its band or rating")
    return Section("Which situation binds", lines, Table(head, rows))


def _situations(of_each: BySituation) -> Section:
    """Situations by what they leave to the limits, those without solution first."""
    n_held = int(of_each.survived.sum())
    lines = [f"{n_held} of {len(of_each.names)} situations solve and break no limit."]
    outages = np.array([bool(group) for group in of_each.group])
    if outages.any():
        held = int(of_each.survived[outages].sum())
        lines.append(f"Of them {held} of {outages.sum()} outages.")
    order = np.argsort(np.where(of_each.solved, of_each.room, -np.inf), kind="stable")
    if len(order) > _MOST_SITUATIONS:
        lines.append(
            f"The {_MOST_SITUATIONS} with the least room; all are in situations.csv, in order."
        )
    units = of_each.units
    head = [
        "situation",
        *(f"{name} [{units[name]}]" if units[name] else name for name in of_each.objectives),
        "limits broken",
        "nearest limit",
        "room",
    ]
    rows = []
    for i in order[:_MOST_SITUATIONS]:
        row = [of_each.names[i] or AS_IT_IS]
        if of_each.solved[i]:
            row += [number_text(float(values[i])) for values in of_each.objectives.values()]
            row += [str(of_each.n_broken[i]), of_each.nearest[i]]
            row.append(
                number_text(100.0 * of_each.room[i], ".2f", " %") if of_each.nearest[i] else ""
            )
        else:
            row += ["" for _ in of_each.objectives] + ["no solution", "", ""]
        rows.append(row)
    return Section("Situations, least room first", lines, Table(head, rows))


def _with_unit(value: float, unit: str) -> str:
    return "" if np.isnan(value) else f"{round(value, 6) + 0.0:.5g} {unit}".rstrip()


def _front(problem: GridProblem, F: FloatArray, knee: int) -> Section:
    """All trade-offs by the first objective, the one that is applied marked."""
    names = zip(problem.objective_names, problem.objective_units, strict=True)
    head = ["", *(f"{name} [{unit}]" if unit else name for name, unit in names)]
    rows = [
        ["applied" if row == knee else "", *(number_text(float(value)) for value in F[row])]
        for row in np.argsort(F[:, 0], kind="stable")
    ]
    return Section("All trade-offs", ["The settings of each are in front.csv."], Table(head, rows))


def _settings(result: Mapping[str, Any]) -> Section:
    rows = result["settings"]
    head = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell_text(row.get(name)) for name in head] for row in rows[:_MOST_ROWS]]
    more = len(rows) - len(cells)
    lines = [f"The first {len(cells)} rows; {more} more are in settings.csv."] if more > 0 else []
    return Section("What to set", lines, Table(head, cells))


def _how_to_apply(problem: GridProblem, x: Any) -> Section:
    controlled = problem.controlled(x)
    if problem.grid.kind == "feeder":
        return Section(
            "How to apply it",
            ["In OpenDSS, after the master file; also in settings.dss:"],
            code=problem.grid.script(controlled),
        )
    given = problem.grid.given
    known = {
        key: {e: value for e, value in values.items() if e in given[key[0]].index}
        for key, values in {**controlled, **_fixed(problem, x, controlled)}.items()
    }
    lines = ["net.json is the solved net with these settings. In pandapower, for your own net:"]
    if any(len(known[key]) < len(values) for key, values in controlled.items()):
        lines.append("What is added to the grid is in net.json only, the code leaves it out.")
    if problem.situations.n > 1:
        lines.append("The code holds the first situation; the tables beside this page hold all.")
    return Section("How to apply it", lines, code=pandapower_code(known))


def _fixed(problem: GridProblem, x: Any, controlled: SettingsMapping) -> SettingsMapping:
    """What all candidates have in common, together with what is controlled of the same columns."""
    settings = problem.joint.decode(problem.snap(x)[np.newaxis], slice(0, 1))
    first = Settings(settings.fields, settings.rows[0]).as_mapping()
    found: dict[tuple[str, str], Mapping[Any, float]] = {}
    for placed in problem.joint.placed:
        if isinstance(placed.block, FixedBlock):
            for f in placed.block.fields:
                key = (f.table, f.column)
                values = {e: first[key][e] for e in f.elements}
                found[key] = {**values, **found.get(key, controlled.get(key, {}))}
    return found


def pandapower_code(settings: SettingsMapping) -> str:
    """Python that gives a pandapower net these settings."""
    lines = []
    for (table, column), values in settings.items():
        kind = _PLAIN.get(column, float)
        for element, value in values.items():
            text = repr(kind(value) if kind is bool or value == kind(value) else float(value))
            lines.append(f"net.{table}.loc[{element!r}, {column!r}] = {text}")
    return "\n".join(lines) + "\n"


def _how_sure(result: Mapping[str, Any]) -> list[str]:
    gradients = result.get("gradient_evaluations", 0)
    with_slopes = f" ({gradients} of them gradients)" if gradients else ""
    lines = [
        f"One run of {result['algorithm']['name']} with seed {result['seed']}: "
        f"{result['evaluations']} evaluations{with_slopes}, "
        f"{result['failed_evaluations']} failed power flows."
    ]
    (first, *others) = result["objectives"]
    if not others and first["gap_percent"] is not None:
        lines.append(
            f"{first['gap_percent']:+.3g} % from the best value known, "
            f"which is {first['best_known_status']}."
        )
    else:
        lines.append("No best value is known for this problem.")
    if result["interrupted"]:
        lines.append("The run was interrupted; this is the best so far.")
    lines.append("Other seeds may end elsewhere: compare several with gridproblems compare.")
    return lines


def objective_texts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """An objective of ``result.json`` before and after, its change, the best known, the gap."""
    return (
        number_text(entry["base"]),
        number_text(entry["best"]),
        number_text(entry["change_percent"], "+.2f", " %"),
        number_text(entry["best_known"]),
        number_text(entry["gap_percent"], "+.3f", " %"),
    )


def number_text(value: float | None, form: str = ".6g", unit: str = "") -> str:
    """A number for a person, empty for None."""
    return "" if value is None else f"{value:{form}}{unit}"


def cell_text(value: Any) -> str:
    """A cell of a table of settings for a person."""
    return number_text(value) if isinstance(value, float) else "" if value is None else str(value)


def _in_cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table, and is no HTML."""
    escaped = escape(str(text), quote=False).replace("|", "\\|")
    return " ".join(escaped.split())


def _html_table(table: Table) -> str:
    rows = ([escape(str(cell)) for cell in row] for row in table.rows)
    return html_table([escape(str(name)) for name in table.head], rows, "wide", names=True)
