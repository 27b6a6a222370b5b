"""Networks as data: tables, limits, published settings and best known values with their sources.

>>> from gridproblems.cases import CASES, load_case
>>> load_case("ieee14").published["GA"].loss_mw
13.573

A data file in ``data/`` holds the tables of one network and the cases that use it; a file in
``data/best_known/`` the best values found for one case. Names in the files are the published ones:
a generator, compensator or shunt is called as its bus, a branch as its two buses. Branches of
feeders are called by their published numbers, from 1; in the net, branch 1 is line 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridproblems._names import with_nearest

if TYPE_CHECKING:
    from pandapower.auxiliary import pandapowerNet

__all__ = [
    "CASES",
    "DATA",
    "BestKnown",
    "Case",
    "KnownFront",
    "Published",
    "SettingsByElement",
    "check_case_name",
    "load_case",
]

DATA = Path(__file__).parent / "data"
#: What codes of SimBench's networks look like, such as 1-LV-rural1--0-sw.
SIMBENCH_CODE = r"\d-[A-Za-z_]+[-\w]*-\d-(no_)?sw"

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
    "pegase1354": "PEGASE 1,354 buses, 494 variables, voltages 0.9 .. 1.1 pu",
    "pegase9241": "PEGASE 9,241 buses, 2,764 variables, voltages 0.9 .. 1.1 pu",
    "case16": "Civanlar 16 buses, three feeders with a source each, 3 normally open branches",
    "case33bw": "Baran-Wu 33 buses, 5 normally open branches",
    "case33mg": "33 buses with the other impedance of branch 7-8, 5 normally open branches",
    "case69": "Baran-Wu 69 buses, 5 normally open branches of the literature",
    "case118zh": "Zhang 118 buses, 15 normally open branches",
    "case136ma": "Mantovani 136 buses, 21 normally open branches",
    "lv18": "Low voltage, 18 buses, 17 households with generation and load over 24 hours",
}

SettingsByElement = Mapping[tuple[str, str], Mapping[int, float]]
"""(table, column) -> pandapower index -> value in pandapower's unit and sign."""


@dataclass(frozen=True)
class BestKnown:
    """The best value known for one choice of objective and controls.

    Attributes:
        objectives: Names of the objectives.
        controls: Control groups that were free.
        value: Value of the objective at ``settings``.
        unit: Unit of the objective.
        status: "proven", "best found" or "published".
        method: How it was obtained.
        settings: All free settings; feasible for the limits of the case.
        relaxation_value: Local optimum with the integer settings relaxed, not a proven bound.
        bound: Proven: no settings give a lower value. None where no bound is known.
    """

    objectives: tuple[str, ...]
    controls: tuple[str, ...]
    value: float
    unit: str
    status: str
    method: str
    settings: SettingsByElement
    relaxation_value: float | None
    bound: float | None

    @property
    def gap_percent(self) -> float | None:
        """How far the value may be above the optimum, None without a bound. [%]"""
        if self.bound is None:
            return None
        return 100.0 * (self.value - self.bound) / max(abs(self.value), 1e-12)


@dataclass(frozen=True)
class KnownFront:
    """The best trade-offs known between several objectives.

    Attributes:
        objectives: Names of the objectives, all minimised.
        values: One row of objectives per trade-off, ascending in the first.
        settings: Settings of each trade-off.
        status: "proven" if no other trade-off exists, else "best found".
        method: How it was obtained.
    """

    objectives: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    settings: tuple[SettingsByElement, ...]
    status: str
    method: str


@dataclass(frozen=True)
class Published:
    """One solution of a publication.

    Attributes:
        name: Base case or algorithm, as the publication calls it.
        source: Publication with DOI.
        loss_mw: Loss as printed. [MW]
        measured_loss_mw: What the settings lose, where that is not the printed loss. [MW]
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
    note: str
    measured_loss_mw: float | None = None
    line_loading_percent: Mapping[str, float] | None = None
    run_time_s: float | None = None
    as_printed: SettingsByElement = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A network with limits, conventions and known results of one or several tasks.

    Attributes:
        name: Key in ``CASES``.
        title: One line.
        source: Where the data come from.
        tasks: Keys in ``gridproblems.PROBLEMS``: what the case is meant for.
        notes: Conventions, and differences from the printed tables.
        controls: Control groups of reactive dispatch that are free unless the user says otherwise.
        fixed: Settings of every candidate where they differ from the base case.
        published: Solutions in publications, by name.
        best_known: Best values known of single objectives.
        fronts: Best trade-offs known between several objectives.
        profiles: CSV files of powers over time by kind ("generation", "load"), MW.
    """

    name: str
    title: str
    source: str
    tasks: tuple[str, ...]
    notes: tuple[str, ...]
    controls: tuple[str, ...]
    fixed: SettingsByElement
    published: Mapping[str, Published]
    best_known: tuple[BestKnown, ...]
    fronts: tuple[KnownFront, ...]
    profiles: Mapping[str, Path]

    def net(self) -> pandapowerNet:
        """A fresh net of the base case; bus indices are the published bus numbers."""
        from gridproblems.cases._build import build_feeder, build_net
        from gridproblems.cases._shipped import build_shipped
        from gridproblems.cases._standard_types import build_from_types

        data = _network(self.name)
        if "shipped" in data:
            return build_shipped(data, title=self.title)
        if "profiles" in data:
            return build_from_types(data, title=self.title)
        if "normally_open" in data:
            return build_feeder(data, title=self.title)
        case = data["cases"][self.name]
        return build_net(
            _tables(data, case),
            title=self.title,
            f_hz=data["f_hz"],
            sn_mva=data["sn_mva"],
            generator_vm_pu=case["vm_pu"]["gen"],
            load_vm_pu=case["vm_pu"]["load"],
        )


def check_case_name(name: Any) -> None:
    """Refuses a text that is neither a packaged case nor looks like a file.

    Raises:
        ValueError: The nearest known name is suggested.
    """
    if is_bare_name(name) and name not in CASES:
        raise ValueError(
            f"case: no case is called {with_nearest(name, CASES)}; or pass a pandapower net or "
            "the path of its JSON file"
        )


def is_bare_name(given: Any) -> bool:
    """Whether this is a text that can be no path: without suffix, and no such file is there.

    Codes of SimBench's networks are none of those.
    """
    if not isinstance(given, str) or re.fullmatch(SIMBENCH_CODE, given):
        return False
    return not Path(given).suffix and not Path(given).exists()


def load_case(name: str) -> Case:
    """Loads a case by name.

    Raises:
        ValueError: If there is no case of that name.
    """
    if name not in CASES:
        raise ValueError(f"case: no case is called {with_nearest(name, CASES)}")
    data = _network(name)
    case = data["cases"][name]
    path = DATA / "best_known" / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return Case(
        name=name,
        title=CASES[name],
        source=data["source"],
        tasks=tuple(case.get("tasks", ["orpd"])),
        notes=tuple(case["notes"]),
        controls=tuple(case.get("controls", ())),
        fixed=_settings(data, case, case.get("fixed", {})),
        published={
            solution: Published(
                name=solution,
                source=entry.get("source", data["source"]),
                loss_mw=entry["loss_mw"],
                settings=_settings(data, case, entry["settings"]),
                note=entry["note"],
                measured_loss_mw=entry.get("measured_loss_mw"),
                line_loading_percent=entry.get("line_loading_percent"),
                run_time_s=entry.get("run_time_s"),
                as_printed=_settings(data, case, entry.get("as_printed", {})),
            )
            for solution, entry in case["published"].items()
        },
        best_known=tuple(
            BestKnown(
                objectives=tuple(entry["objectives"]),
                controls=tuple(entry.get("controls", ())),
                value=entry["value"],
                unit=entry.get("unit", "MW"),
                status=entry["status"],
                method=entry["method"],
                settings=_settings(data, case, entry["settings"]),
                relaxation_value=entry.get("relaxation_value"),
                bound=entry.get("bound"),
            )
            for entry in known
            if "value" in entry
        ),
        fronts=tuple(
            KnownFront(
                objectives=tuple(entry["objectives"]),
                values=tuple(tuple(values) for values, _ in entry["front"]),
                settings=tuple(_settings(data, case, settings) for _, settings in entry["front"]),
                status=entry["status"],
                method=entry["method"],
            )
            for entry in known
            if "front" in entry
        ),
        profiles={kind: DATA / file for kind, file in data.get("profiles", {}).items()},
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


def _settings(
    data: Mapping[str, Any], case: Mapping[str, Any], settings: Mapping[str, Any]
) -> SettingsByElement:
    """Settings of a data file by pandapower index.

    Args:
        data, case: The data file, and what it holds of the case.
        settings: ``{"trafo.tap_pos": {"4-1": 11100}}``, of a net that pandapower ships a list with
            the values of all elements, None for those without; or ``{"open": [7, 9]}``: the
            branches of a feeder that are open while all others are closed.
    """
    if "open" in settings:
        n_branches = len(data["tables"]["branch"]["rows"])
        closed = {line: float(line + 1 not in settings["open"]) for line in range(n_branches)}
        return {("line", "in_service"): closed}
    index = {} if "shipped" in data else _index_by_name(_tables(data, case))
    result: dict[tuple[str, str], dict[int, float]] = {}
    for name, values in settings.items():
        table, column = name.split(".")
        if isinstance(values, list):
            result[table, column] = {i: v for i, v in enumerate(values) if v is not None}
        else:
            result[table, column] = {index[table][e]: value for e, value in values.items()}
    return result
