"""Writes the tables of ``docs/cases.md`` and ``docs/proven.md`` from the case data and power flows.

    python docs/make_tables.py

Text between ``<!-- table: name -->`` and ``<!-- end -->`` is replaced, everything else is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp

from gridproblems.cases import CASES, BestKnown, Case, SettingsByElement, load_case
from gridproblems.nets.topology import switching_graph
from gridproblems.tasks.regulators import BEST_TAPS_123

DOCS = Path(__file__).parent


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; columns of numbers are aligned to the right."""
    rows = list(rows)
    numeric = [
        all(re.fullmatch(r"[-+]?[\d.,]*( %)?", row[i]) for row in rows) for i in range(len(header))
    ]
    rule = ["--:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def solved(net: Any, *settings: SettingsByElement) -> Any:
    """The net with settings applied, after a power flow."""
    for setting in settings:
        for (table, column), values in setting.items():
            kind = net[table][column].dtype
            net[table].loc[list(values), column] = np.array(list(values.values())).astype(kind)
    pp.runpp(net, init="dc", lightsim2grid=False, tolerance_mva=1e-8)
    return net


def line_loss_mw(net: Any) -> float:
    """Losses of the lines of a solved net. [MW]"""
    return float(net.res_line.pl_mw.sum())


def band(values: Any) -> str:
    """Range of limits of a table column pair, [lowest, highest]."""
    return f"{values.min_vm_pu.min():.2f} .. {values.max_vm_pu.max():.2f}"


def cases_of(task: str) -> list[Case]:
    """The cases meant for a task."""
    return [case for name in CASES if task in (case := load_case(name)).tasks]


def cases_table() -> str:
    """Size, limits and base losses of the cases of reactive dispatch."""
    rows = []
    for case in cases_of("orpd"):
        net = solved(case.net())
        held = net.bus.index.isin([*net.gen.bus, *net.ext_grid.bus])
        voltages = len(net.gen) + len(net.ext_grid) * ("ext_grid" in case.controls)
        taps = int(net.trafo.tap_min.notna().sum())
        shunts = sum(
            int(net[table].min_q_mvar.notna().sum())
            for table in ("sgen", "shunt")
            if "min_q_mvar" in net[table]
        )
        total = line_loss_mw(net) + net.res_trafo.pl_mw.sum()
        rows.append(
            (
                f"`{case.name}`",
                str(len(net.bus)),
                str(voltages + taps + shunts),
                str(voltages),
                str(taps),
                str(shunts),
                band(net.bus[held]),
                band(net.bus[~held]),
                "yes" if net.gen.min_q_mvar.notna().any() else "no",
                f"{line_loss_mw(net):.4f}",
                f"{total:.4f}",
            )
        )
    return markdown(
        (
            "Case",
            "Buses",
            "Variables",
            "Voltages",
            "Taps",
            "Shunts or compensators",
            "Generator buses [pu]",
            "Load buses [pu]",
            "Generator Q limits",
            "Base loss of lines [MW]",
            "Base loss, all [MW]",
        ),
        rows,
    )


def feeders_table() -> str:
    """Size, load and losses as built of every distribution network."""
    rows = []
    for case in cases_of("reconfiguration"):
        net = solved(case.net())
        lowest = net.res_bus.vm_pu.idxmin()
        rows.append(
            (
                f"`{case.name}`",
                f"{net.bus.vn_kv.iloc[0]:g}",
                str(len(net.bus)),
                str(len(net.ext_grid)),
                str(len(net.line)),
                str((~net.line.in_service).sum()),
                f"{switching_graph(net).n_spanning_trees():,}",
                f"{1e3 * net.load.p_mw.sum():,.1f}",
                f"{1e3 * net.load.q_mvar.sum():,.1f}",
                f"{1e3 * line_loss_mw(net):.3f}",
                f"{net.res_bus.vm_pu[lowest]:.4f} (bus {lowest})",
            )
        )
    return markdown(
        (
            "Case",
            "Voltage [kV]",
            "Buses",
            "Sources",
            "Branches",
            "Normally open",
            "Radial configurations",
            "Load [kW]",
            "Load [kvar]",
            "Loss as built [kW]",
            "Lowest voltage as built [pu]",
        ),
        rows,
    )


def best_known_feeders_table() -> str:
    """Best known values of distribution networks."""
    return markdown(
        ("Case", "Objective", "Best known", "Unit", "Open branches", "Status", "Gap [%]"),
        (
            (
                f"`{case.name}`",
                f"`{best.objectives[0]}`",
                f"{best.value:.6f}",
                best.unit,
                ", ".join(map(str, open_branches(best.settings))),
                best.status,
                "" if best.gap_percent is None else f"{best.gap_percent:.4f}",
            )
            for case in cases_of("reconfiguration")
            for best in case.best_known
        ),
    )


def fronts_table() -> str:
    """Sizes and ends of the known fronts."""
    return markdown(
        ("Case", "Objectives", "Trade-offs", "First", "Last", "Status"),
        (
            (
                f"`{case.name}`",
                ", ".join(f"`{name}`" for name in front.objectives),
                str(len(front.values)),
                *(", ".join(f"{v:.4f}" for v in front.values[i]) for i in (0, -1)),
                front.status,
            )
            for case in cases_of("reconfiguration")
            for front in case.fronts
        ),
    )


def published_feeders_table() -> str:
    """Printed losses of configurations beside measured ones."""
    rows = []
    for case in cases_of("reconfiguration"):
        for solution in case.published.values():
            net = solved(case.net(), solution.settings)
            rows.append(
                (
                    f"`{case.name}`",
                    solution.name,
                    ", ".join(map(str, open_branches(solution.settings))),
                    f"{1e3 * solution.loss_mw:.3f}",
                    f"{1e3 * line_loss_mw(net):.3f}",
                )
            )
    return markdown(
        ("Case", "Solution", "Open branches", "Printed loss [kW]", "Measured [kW]"), rows
    )


def open_branches(settings: SettingsByElement) -> list[int]:
    """Published numbers of the branches that settings open."""
    return [line + 1 for line, closed in settings["line", "in_service"].items() if not closed]


def best_known_table() -> str:
    """Best known values of reactive dispatch."""
    return markdown(
        ("Case", "Objective", "Free controls", "Best known [MW]", "Relaxed [MW]", "Status"),
        (
            (
                f"`{case.name}`",
                f"`{best.objectives[0]}`",
                ", ".join(best.controls),
                f"{best.value:.6f}",
                "" if best.relaxation_value is None else f"{best.relaxation_value:.6f}",
                best.status,
            )
            for case in cases_of("orpd")
            for best in case.best_known
        ),
    )


def published_table() -> str:
    """Printed results of reactive dispatch beside measured ones."""
    rows = []
    for case in cases_of("orpd"):
        for solution in case.published.values():
            net = solved(case.net(), solution.settings)
            assert solution.line_loading_percent is not None
            printed = np.array([solution.line_loading_percent[line] for line in net.line.name])
            difference = np.abs(net.res_line.loading_percent / printed - 1).max()
            literal = (
                f"{line_loss_mw(solved(case.net(), solution.settings, solution.as_printed)):.4f}"
                if solution.as_printed
                else ""
            )
            rows.append(
                (
                    f"`{case.name}`",
                    solution.name,
                    f"{solution.loss_mw:.3f}",
                    f"{line_loss_mw(net):.4f}",
                    literal,
                    f"{100 * difference:.4f} %",
                    f"{net.res_bus.vm_pu.min():.4f}",
                    f"{net.res_bus.vm_pu.max():.5f}",
                )
            )
    return markdown(
        (
            "Case",
            "Solution",
            "Printed loss [MW]",
            "Measured [MW]",
            "Measured, literal tables [MW]",
            "Largest difference of a line loading",
            "Lowest voltage [pu]",
            "Highest voltage [pu]",
        ),
        rows,
    )


def notes_list() -> str:
    """Conventions and differences from the printed tables, one section per network."""
    networks: dict[str, list[Case]] = {}
    for name in CASES:
        networks.setdefault(name.split("-")[0], []).append(load_case(name))
    blocks = []
    for network, cases in networks.items():
        shared = [note for note in cases[0].notes if all(note in case.notes for case in cases)]
        own = [
            f"`{case.name}`: {note}" for case in cases for note in case.notes if note not in shared
        ]
        published = [f"{p.name}: {p.note}" for p in cases[0].published.values() if p.note]
        notes = "\n".join(f"- {note}" for note in [*own, *shared, *published])
        blocks.append(f"### {network}\n\nSource: {cases[0].source}\n\n{notes}")
    return "\n\n".join(blocks)


def known_table() -> str:
    """Published, best found and proven values of the objectives that cases are published with."""
    rows = []
    for name in CASES:
        case = load_case(name)
        for best in case.best_known:
            if set(best.controls) != set(case.controls) or not is_main(case, best):
                continue
            rows.append(
                (
                    f"`{name}`",
                    case.tasks[0],
                    f"`{best.objectives[0]}`",
                    *printed_and_measured(case, best),
                    f"{best.value:.6f} {best.unit}".strip(),
                    by_what(best),
                    "" if best.bound is None else f"{best.bound:.6f}",
                    "unknown" if best.gap_percent is None else f"{best.gap_percent:.4f} %",
                )
            )
    best = BEST_TAPS_123
    unknown = "" if best.bound is None else f"{best.bound:.6f}"
    rows.append(
        (
            "`ieee123`",
            "regulators",
            f"`{best.objectives[0]}`",
            "",
            "",
            f"{best.value:.6f}",
            by_what(best),
            unknown,
            "unknown" if best.gap_percent is None else f"{best.gap_percent:.4f} %",
        )
    )
    return markdown(
        (
            "Case",
            "Task",
            "Objective",
            "Printed, best",
            "What that loses",
            "Best known",
            "By",
            "Proven bound",
            "Gap",
        ),
        rows,
    )


def is_main(case: Case, best: BestKnown) -> bool:
    """Whether it is an objective that the case is published with, or its first one."""
    if case.tasks[0] == "orpd":
        return best.objectives == ("line_loss_mw" if case.published else "p_loss_mw",)
    return best.objectives == case.best_known[0].objectives


def printed_and_measured(case: Case, best: BestKnown) -> tuple[str, str]:
    """The lowest printed loss of a publication, and what its settings lose."""
    solutions = [s for s in case.published.values() if s.name not in ("base", "before")]
    if not solutions:
        return "", ""
    lowest = min(solutions, key=lambda solution: solution.loss_mw)
    measured = line_loss_mw(solved(case.net(), lowest.settings))
    in_kw = 1e3 if best.unit == "kW" else 1.0
    return f"{lowest.name} {in_kw * lowest.loss_mw:.3f}", f"{in_kw * measured:.4f}"


def by_what(best: BestKnown) -> str:
    """The method in a few words."""
    return re.split(r": |; | \(|, \d| from ", best.method)[0]


#: Pages and their tables.
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    DOCS / "cases.md": {
        "cases": cases_table,
        "best_known": best_known_table,
        "published": published_table,
        "feeders": feeders_table,
        "best_known_feeders": best_known_feeders_table,
        "fronts": fronts_table,
        "published_feeders": published_feeders_table,
        "notes": notes_list,
    },
    DOCS / "proven.md": {"known": known_table},
}


def page(path: Path) -> str:
    """A page with every table made anew."""
    text = path.read_text(encoding="utf-8")
    for name, make in PAGES[path].items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        before, rest = text.split(start)
        text = before + start + "\n" + make() + "\n\n" + rest[rest.index(end) :]
    return text


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path), encoding="utf-8")
