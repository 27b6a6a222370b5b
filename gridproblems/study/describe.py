"""What the file of a study keeps of a problem: facts, and solutions in the words of the grid."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from gridproblems.controls.switching import SwitchingBlock
from gridproblems.grids import NetGrid
from gridproblems.outlook import checked_limits, not_limited
from gridproblems.problem import GridProblem

MOST_IN_TEXT = 8
MOST_PICTURE_BYTES = 8_000_000
MOST_PIXELS = 10_000
#: No number of a grid is larger; charts and statistics compute with larger ones in vain.
LARGEST = 1e100
_PNG = b"\x89PNG\r\n\x1a\n"


def facts_of(problem: Problem) -> dict[str, Any]:
    """Names, units, and what is known of the best values, as plain values.

    ``reference`` holds the best known objectives, one row per point, with ``status`` and
    ``method``; None where nothing is known.
    """
    is_grid = isinstance(problem, GridProblem)
    names = [f"f{i + 1}" for i in range(problem.n_obj)]
    reference = None
    known = (problem.known_front or problem.best_known) if is_grid else None
    points = problem.pareto_front()
    if points is not None and np.isfinite(points).all():
        reference = {
            "values": np.atleast_2d(points).tolist(),
            "status": known.status if known else "given by the problem",
            "method": known.method if known else "",
        }
    return {
        "title": str(getattr(problem, "name", "") or type(problem).__name__),
        "n_var": int(problem.n_var),
        "n_constraints": int(problem.n_constr),
        "objectives": list(problem.objective_names) if is_grid else names,
        "units": list(problem.objective_units) if is_grid else [""] * problem.n_obj,
        "variables": (
            [str(name) for name in problem.vars]
            if getattr(problem, "vars", None)
            else [f"x{i + 1}" for i in range(problem.n_var)]
        ),
        "base": _base_values(problem) if is_grid else None,
        "reference": reference,
        "limits": [str(limit) for limit in checked_limits(problem)] if is_grid else [],
        "not_limited": not_limited(problem) if is_grid else [],
    }


def checked_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts from a file that anybody may have written.

    Raises:
        ValueError: They are not what `facts_of` makes.
    """
    texts = ("objectives", "units", "variables")
    for name in texts:
        values = facts.get(name)
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise ValueError(f"facts: {name}: expected a list of texts")
    n_obj = len(facts["objectives"])
    if not n_obj or len(facts["units"]) != n_obj:
        raise ValueError("facts: expected a unit for each objective, and at least one")
    if len({*facts["objectives"], *facts["variables"]}) < n_obj + len(set(facts["variables"])):
        raise ValueError("facts: expected different names of objectives and variables")
    for name in ("n_var", "n_constraints"):
        if type(facts.get(name)) is not int or facts[name] < 0:
            raise ValueError(f"facts: {name}: expected a whole number")
    if len(facts["variables"]) != facts["n_var"]:
        raise ValueError("facts: expected a name for each variable")
    base, reference = facts.get("base"), facts.get("reference")
    if base is not None and not _are_numbers(base, n_obj):
        raise ValueError("facts: base: expected a number for each objective")
    if reference is not None:
        rows = reference.get("values") if isinstance(reference, dict) else None
        if not isinstance(rows, list) or not rows or not all(_are_numbers(r, n_obj) for r in rows):
            raise ValueError("facts: reference: expected rows of numbers")
        if not all(isinstance(reference.get(name), str) for name in ("status", "method")):
            raise ValueError("facts: reference: expected status and method as texts")
    said = {name: facts.get(name, []) for name in ("limits", "not_limited")}  # old files lack them
    for name, lines in said.items():
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ValueError(f"facts: {name}: expected a list of texts")
    title = str(facts.get("title", ""))
    return {**facts, **said, "title": title, "base": base, "reference": reference}


def checked_solution(described: Mapping[str, Any]) -> dict[str, Any]:
    """A described solution from a file that anybody may have written; what is wrong is left out."""
    rows = described.get("rows")
    plain = (bool, int, float, str, type(None))
    good = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(v, plain) for v in row.values()) for row in rows
    )
    found: dict[str, Any] = {
        "text": str(described.get("text", "")),
        "rows": rows if good else [],
        "full": bool(described.get("full")),
    }
    if isinstance(described.get("network"), dict) and _is_network(described["network"]):
        found["network"] = described["network"]
    pictures = described.get("pictures")
    if isinstance(pictures, dict):
        checked = {str(name): png_of(picture) for name, picture in pictures.items()}
        found["pictures"] = {name: png for name, png in checked.items() if png is not None}
    return found


def png_of(picture: Any) -> str | None:
    """A PNG in base64 as it is to be written into a page, None for anything else."""
    if not isinstance(picture, str) or len(picture) > MOST_PICTURE_BYTES:
        return None
    try:
        data = base64.b64decode(picture, validate=True)
    except ValueError:
        return None
    if not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return None
    sides = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    position, kind = len(_PNG), b""
    while kind != b"IEND":  # length, kind, content and checksum, one after the other
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        told = int.from_bytes(data[end - 4 : end], "big")
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != told:
            return None
        position = end
    if position != len(data) or not all(0 < side <= MOST_PIXELS for side in sides):
        return None
    return base64.b64encode(data).decode()


def _is_network(network: Mapping[str, Any]) -> bool:
    """Whether it is as `network_of` makes it."""
    positions, buses = network.get("positions"), network.get("buses")
    voltages, sources = network.get("vm_pu"), network.get("sources")
    branches = network.get("branches")
    lists = (positions, buses, voltages, sources, branches)
    if not all(isinstance(entry, list) for entry in lists):
        return False
    n = len(positions)  # type: ignore[arg-type]

    def is_place(value: Any) -> bool:
        return type(value) is int and 0 <= value < n

    return (
        0 < len(buses) == len(voltages) == n  # type: ignore[arg-type]
        and all(_are_numbers(p, 2) for p in positions)  # type: ignore[union-attr]
        and all(isinstance(bus, str) for bus in buses)  # type: ignore[union-attr]
        and all(v is None or _are_numbers([v], 1) for v in voltages)  # type: ignore[union-attr]
        and all(map(is_place, sources))  # type: ignore[arg-type]
        and all(
            isinstance(branch, dict)
            and isinstance(branch.get("name"), str)
            and isinstance(branch.get("open"), bool)
            and isinstance(branch.get("ends"), list)
            and len(branch["ends"]) == 2
            and all(map(is_place, branch["ends"]))
            and (
                branch.get("loading_percent", "") is None
                or _are_numbers([branch.get("loading_percent")], 1)
            )
            for branch in branches  # type: ignore[union-attr]
        )
    )


def _are_numbers(values: Any, n: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == n
        and all(type(v) in (int, float) and abs(v) <= LARGEST for v in values)
    )


def _base_values(problem: GridProblem) -> list[float] | None:
    values = problem.base_values().tolist()
    return values if all(map(math.isfinite, values)) else None


def solution_of(problem: Problem, x: Any, pictures: bool) -> dict[str, Any]:
    """A solution in words, as plain values.

    Args:
        problem: Whose solution it is.
        x: A vector, or a dict of variables.
        pictures: Draw the grid too.

    Returns:
        ``text`` in one line, ``rows`` as a table, and with pictures ``network`` (positions,
        voltages and loadings) or, for grids without that, ``pictures`` by name as PNG in base64.
    """
    if not isinstance(problem, GridProblem):
        values = x if isinstance(x, Mapping) else {f"x{i + 1}": v for i, v in enumerate(x)}
        rows = [{"variable": str(k), "value": _plain(v)} for k, v in values.items()]
        return {"text": _line(f"{r['variable']} {_number(r['value'])}" for r in rows), "rows": rows}
    rows = [
        {str(key): _plain(value) for key, value in row.items()}
        for row in problem.describe(x).to_dict("records")
    ]
    described: dict[str, Any] = {
        "text": _line(map(_words, filter(_changes, rows))) or "no change",
        "rows": rows,
    }
    if pictures and all(state.solved for state in problem.states(x)):
        if isinstance(problem.grid, NetGrid):
            described["network"] = network_of(problem, x)
        else:
            described["pictures"] = {k: _png(f) for k, f in problem.figures(x).items()}
    return described


def network_of(problem: GridProblem, x: Any) -> dict[str, Any]:
    """The grid with the settings of ``x``: buses and branches with positions and results.

    Of a series of snapshots the lowest voltages and the highest loadings.
    """
    from gridproblems.plotting.topology import bus_positions

    net, layout = problem.net, problem.grid.layout()
    extremes = [(s.values.min(axis=0), s.values.max(axis=0)) for s in problem.states(x)]
    lowest = np.min([low for low, _ in extremes], axis=0)
    highest = np.max([high for _, high in extremes], axis=0)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    open_lines = [
        lines
        for p in problem.joint.placed
        if isinstance(p.block, SwitchingBlock)
        for lines in p.block.open_lines(problem.snap(x)[p.part])
    ]
    opened = {line for period in open_lines for line in period}
    branches = []
    for table, ends in (("line", ("from_bus", "to_bus")), ("trafo", ("hv_bus", "lv_bus"))):
        loading = highest[layout.slices[f"{table}_loading_percent"]]
        for i, (index, row) in enumerate(net[table].iterrows()):
            is_open = table == "line" and index in opened
            if not (row["in_service"] or is_open or open_lines):
                continue
            branches.append(
                {
                    "kind": table,
                    "name": f"{table} {index}",
                    "ends": [place[row[end]] for end in ends],
                    "open": bool(is_open),
                    "loading_percent": _plain(loading[i]),
                }
            )
    return {
        "positions": bus_positions(net).tolist(),
        "buses": [str(bus) for bus in net.bus.index],
        "sources": [place[bus] for bus in net.ext_grid.bus],
        "vm_pu": [_plain(v) for v in lowest[layout.slices["vm_pu"]]],
        "branches": branches,
    }


def _changes(row: Mapping[str, Any]) -> bool:
    return "new" not in row or row["new"] != row.get("base")


def _words(row: Mapping[str, Any]) -> str:
    if "action" in row:
        return f"{row['action']} {row['control']}"
    if "new" in row:
        return f"{row.get('control', '')} {_number(row['new'])} {row.get('unit') or ''}".strip()
    return " ".join(_number(value) for value in row.values())


def _line(parts: Any) -> str:
    parts = list(parts)
    more = [f"and {len(parts) - MOST_IN_TEXT} more"] if len(parts) > MOST_IN_TEXT else []
    return "; ".join([*parts[:MOST_IN_TEXT], *more])


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
