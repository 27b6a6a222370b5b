"""What the file of a study keeps of a problem: facts, and solutions in the words of the grid."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from gridproblems.net_problem import NetProblem
from gridproblems.problem import GridProblem

MOST_IN_TEXT = 8


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
    }


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
    if pictures and problem.solve(x).solved:
        if isinstance(problem, NetProblem):
            described["network"] = network_of(problem, x)
        else:
            described["pictures"] = {k: _png(f) for k, f in problem.figures(x).items()}
    return described


def network_of(problem: NetProblem, x: Any) -> dict[str, Any]:
    """The grid with the settings of ``x``: buses and branches with positions and results.

    Of a series of snapshots the lowest voltages and the highest loadings.
    """
    from gridproblems.plotting_topology import bus_positions

    net, state = problem.net, problem.solve(x)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    open_lines = problem.open_lines(x) if hasattr(problem, "open_lines") else []
    opened = {line for period in open_lines for line in period}
    branches = []
    for table, ends in (("line", ("from_bus", "to_bus")), ("trafo", ("hv_bus", "lv_bus"))):
        loading = getattr(state, f"{table}_loading_percent").max(axis=0)
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
        "vm_pu": [_plain(v) for v in state.vm_pu.min(axis=0)],
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
