"""Command line: ``gridproblems list``."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from gridproblems._declared import calls_in, places_in, summary
from gridproblems.cases import CASES, load_case
from gridproblems.cli import names
from gridproblems.feeders import FEEDERS
from gridproblems.study.functions import FUNCTIONS


def list_everything() -> None:
    """Tasks, cases, feeders, algorithms, parts of problems, test problems and engines."""
    console = Console()
    console.print(_two_columns("task", _summaries(names.TASKS)))
    cases = Table("case", "network", "best known")
    for name in CASES:
        case = load_case(name)
        known = [
            f"{', '.join(best.objectives)} {best.value:.4f}, {best.status}"
            for best in case.best_known
            if set(best.controls) == set(case.controls)
        ]
        cases.add_row(name, case.title, "\n".join(known))
    console.print(cases)
    console.print(_two_columns("feeder", FEEDERS))
    console.print(_two_columns("algorithm", _summaries(names.ALGORITHMS)))
    console.print(_two_columns("control", _summaries(names.CONTROLS)))
    console.print(_two_columns("situation", _summaries(names.SITUATIONS)))
    console.print(_two_columns("objective", objectives()))
    console.print(
        _two_columns("test problem", {kind: ", ".join(n) for kind, n in FUNCTIONS.items()})
    )
    console.print(_two_columns("engine", _summaries(names.ENGINES)))


def objectives() -> dict[str, str]:
    """What every objective is, its unit, how it is reduced over time, and who has it."""
    of_feeders = names.feeder_objectives()
    found = {}
    for name, unit, quantity, *over_time in calls_in(names.OBJECTIVES):
        of_unit = f" [{unit}]" if unit else ""
        what = f"{_without_unit(summary(quantity))}{of_unit}, {[*over_time, 'mean'][0]} in time"
        found[name] = f"{what} (nets{' and feeders' if name in of_feeders else ''})"
    for block in names.blocks():
        for name, where in names.own_objectives(block).items():
            found[name] = f"{summary(where)} ({names.kind_of(block)})"
    for name, where in places_in(names.OF_SITUATIONS).items():
        found[name] = f"{summary(where)} (situations)"
    for name, where in of_feeders.items():
        found.setdefault(name, f"{summary(where)} (feeders)")
    return found


def _summaries(where: str) -> dict[str, str]:
    return {name: summary(place) for name, place in places_in(where).items()}


def _without_unit(text: str) -> str:
    return text.partition(" [")[0]


def _two_columns(kind: str, rows: Mapping[str, str]) -> Table:
    table = Table(kind, "")
    for name, text in rows.items():
        table.add_row(name, text.replace("[", r"\["))
    return table
