"""Networks as data: tables, limits, published settings and best known values with their sources.

>>> from gridproblems.cases import CASES, load_case
>>> load_case("ieee14").published["GA"].loss_mw
13.573

A data file in ``data/`` holds the tables of one network and the cases that use it; a file in
``data/best_known/`` the best values found for one case. Names in the files are the published ones:
a generator, compensator or shunt is called as its bus, a branch as its two buses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandapower.auxiliary import pandapowerNet

__all__ = ["CASES", "DATA", "BestKnown", "Case", "Published", "SettingsByElement", "load_case"]

DATA = Path(__file__).parent / "data"

CASES: dict[str, str] = {
    "ieee6": "Ward-Hale 6 buses, published study: 1 generator, 2 taps, 2 compensators",
    "ieee14": "IEEE 14 buses, published study: 1 generator, 5 taps, 3 compensators",
    "ieee39": "New England 39 buses, published study: 9 generators, 12 taps",
    "ieee30": "IEEE 30 buses, 19 variables, load buses up to 1.10 pu",
    "ieee30-19var-v1.05": "IEEE 30 buses, 19 variables, load buses up to 1.05 pu",
    "ieee30-13var-v1.10": "IEEE 30 buses, 13 variables, load buses up to 1.10 pu",
    "ieee30-13var-v1.05": "IEEE 30 buses, 13 variables, load buses up to 1.05 pu",
    "ieee57": "IEEE 57 buses, 25 variables, shunts up to 10, 5.9 and 6.3 Mvar",
    "ieee57-shunt30": "IEEE 57 buses, 25 variables, shunts up to 30 Mvar",
    "ieee118": "IEEE 118 buses, 77 variables, voltages 0.94 .. 1.06 pu",
    "ieee118-v1.10": "IEEE 118 buses, 77 variables, voltages 0.95 .. 1.10 pu",
    "ieee300": "IEEE 300 buses, 212 variables, voltages 0.94 .. 1.06 pu",
}

SettingsByElement = Mapping[tuple[str, str], Mapping[int, float]]
"""(table, column) -> pandapower index -> value in pandapower's unit and sign."""


@dataclass(frozen=True)
class BestKnown:
    """The best value known for one choice of objective and controls.

    Attributes:
        objectives: Names of the objectives.
        controls: Control groups that were free.
        value: Value of the objective at ``settings``. [MW]
        status: "proven", "best found" or "published".
        method: How it was obtained.
        settings: All free settings; feasible for the limits of the case.
        relaxation_value: Local optimum with the integer settings relaxed, not a proven bound. [MW]
    """

    objectives: tuple[str, ...]
    controls: tuple[str, ...]
    value: float
    status: str
    method: str
    settings: SettingsByElement
    relaxation_value: float | None


@dataclass(frozen=True)
class Published:
    """One solution of a publication.

    Attributes:
        name: Base case or algorithm, as the publication calls it.
        source: Publication with DOI.
        loss_mw: Loss as printed. [MW]
        settings: The settings that reproduce the printed results, slack included.
        line_loading_percent: Line name -> loading as printed, if the publication has them. [%]
        run_time_s: Run time as printed, if the publication has it. [s]
        as_printed: The settings that the publication prints differently, empty if none.
        note: What differs, in words.
    """

    name: str
    source: str
    loss_mw: float
    settings: SettingsByElement
    line_loading_percent: Mapping[str, float] | None
    run_time_s: float | None
    as_printed: SettingsByElement
    note: str


@dataclass(frozen=True)
class Case:
    """A network with limits, conventions and known results of one task.

    Attributes:
        name: Key in ``CASES``.
        title: One line.
        source: Where the data come from.
        task: Key in ``gridproblems.PROBLEMS``.
        notes: Conventions, and differences from the printed tables.
        controls: Control groups that are free unless the user says otherwise.
        fixed: Settings of every candidate where they differ from the base case.
        published: Solutions in publications, by name.
        best_known: Best values known.
    """

    name: str
    title: str
    source: str
    task: str
    notes: tuple[str, ...]
    controls: tuple[str, ...]
    fixed: SettingsByElement
    published: Mapping[str, Published]
    best_known: tuple[BestKnown, ...]

    def net(self) -> pandapowerNet:
        """A fresh net of the base case; bus indices are the published bus numbers."""
        from gridproblems.cases._build import build_net

        data = _network(self.name)
        case = data["cases"][self.name]
        return build_net(
            _tables(data, case),
            title=self.title,
            f_hz=data["f_hz"],
            sn_mva=data["sn_mva"],
            generator_vm_pu=case["vm_pu"]["gen"],
            load_vm_pu=case["vm_pu"]["load"],
        )


def load_case(name: str) -> Case:
    """Loads a case by name.

    Raises:
        ValueError: If there is no case of that name.
    """
    if name not in CASES:
        raise ValueError(f"case: no case is called {name!r}; known cases: {', '.join(CASES)}")
    data = _network(name)
    case = data["cases"][name]
    index = _index_by_name(_tables(data, case))
    best_known = DATA / "best_known" / f"{name}.json"
    return Case(
        name=name,
        title=CASES[name],
        source=data["source"],
        task="orpd",
        notes=tuple(case["notes"]),
        controls=tuple(case["controls"]),
        fixed=_by_element(case["fixed"], index),
        published={
            solution: Published(
                name=solution,
                source=data["source"],
                loss_mw=entry["loss_mw"],
                settings=_by_element(entry["settings"], index),
                line_loading_percent=entry["line_loading_percent"],
                run_time_s=entry["run_time_s"],
                as_printed=_by_element(entry["as_printed"], index),
                note=entry["note"],
            )
            for solution, entry in case["published"].items()
        },
        best_known=tuple(
            BestKnown(
                objectives=tuple(entry["objectives"]),
                controls=tuple(entry["controls"]),
                value=entry["value"],
                status=entry["status"],
                method=entry["method"],
                settings=_by_element(entry["settings"], index),
                relaxation_value=entry["relaxation_value"],
            )
            for entry in (
                json.loads(best_known.read_text(encoding="utf-8")) if best_known.exists() else []
            )
        ),
    )


@lru_cache
def _network(name: str) -> dict[str, Any]:
    """The data file of a case: the part of its name before the first hyphen."""
    data: dict[str, Any] = json.loads(
        (DATA / f"{name.split('-')[0]}.json").read_text(encoding="utf-8")
    )
    return data


def _tables(data: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    return {**data["tables"], **case.get("tables", {})}


def _index_by_name(tables: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Table -> name of an element -> its pandapower index."""
    return {
        table: {row[0]: index for index, row in enumerate(rows["rows"])}
        for table, rows in tables.items()
    }


def _by_element(
    settings: Mapping[str, Mapping[str, float]], index: Mapping[str, Mapping[str, int]]
) -> SettingsByElement:
    """Settings of a data file, ``{"trafo.tap_pos": {"4-1": 11100}}``, by pandapower index."""
    result: dict[tuple[str, str], dict[int, float]] = {}
    for field, values in settings.items():
        table, column = field.split(".")
        result[table, column] = {index[table][name]: value for name, value in values.items()}
    return result
