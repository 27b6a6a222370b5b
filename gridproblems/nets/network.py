"""Reads a user's network, refuses what would give silent nonsense, and finds what limits it."""

from __future__ import annotations

import copy
import math
import numbers
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.cases import CASES, Case, check_case_name, load_case
from gridproblems.constraints import Limit, Radial
from gridproblems.nets.files.net_file import NetFile
from gridproblems.nets.files.registry import read_file
from gridproblems.nets.net_check import check_net
from gridproblems.nets.simbench import SIMBENCH_NOTES, is_simbench_code, simbench_grid

_BRANCH_ENDS = {
    "line": ("from_bus", "to_bus"),
    "trafo": ("hv_bus", "lv_bus"),
    "impedance": ("from_bus", "to_bus"),
}


def load_net(source: pandapowerNet | str | Path) -> pandapowerNet:
    """A private copy of a net, or the net in a file; see `net_file_of`."""
    return net_file_of(source).net


def net_file_of(source: pandapowerNet | str | Path) -> NetFile:
    """A net and what reading it changed; nothing in a file runs.

    Args:
        source: A net, of which this is a private copy; the path of a file of any of the formats of
            `gridproblems.nets.files.registry.FORMATS`; or a SimBench code.

    Raises:
        ValueError: The file is a pickle (it could run code), does not exist, holds no net or
            something that a net does not need.
    """
    if isinstance(source, pandapowerNet):
        return NetFile(copy.deepcopy(source), "pandapower net")
    if not isinstance(source, (str, Path)):
        raise ValueError(
            "case: expected a pandapower net or the path of its JSON file, got "
            f"{type(source).__name__}"
        )
    if is_simbench_code(source):
        return NetFile(simbench_grid(str(source)), "SimBench", SIMBENCH_NOTES)
    return read_file(Path(source))


def label_of(net: pandapowerNet, table: str, element: int) -> str:
    """What a reader calls an element: table, index, and its name where it has one."""
    name = net[table].at[element, "name"] if "name" in net[table] else None
    missing = name is None or name is pd.NA or (isinstance(name, float) and math.isnan(name))
    if missing or str(name) in ("", str(element)):
        return f"{table} {element}"
    return f"{table} {element} ({name})"


def number(net: pandapowerNet, table: str, element: int, column: str) -> float:
    """A value of a table, NaN where the column or the value is missing.

    Raises:
        ValueError: The value is no number.
    """
    if column not in net[table]:
        return math.nan
    value = net[table].at[element, column]
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    if not isinstance(value, numbers.Real):
        raise ValueError(f"{table}.{column}: {table} {element} has {value!r}, expected a number")
    return float(value)


def net_of_case(
    case: str | Path | pandapowerNet,
) -> tuple[pandapowerNet, Case | None, tuple[str, ...]]:
    """The net of a packaged case, and the case; or a user's net, checked, and None; and notes.

    Returns:
        Net, case, and what reading a file changed, one sentence each.

    Raises:
        ValueError: No such case or file, or the net would give silent nonsense (`check_net`).
    """
    if isinstance(case, str) and case in CASES:
        packaged = load_case(case)
        return packaged.net(), packaged, ()
    check_case_name(case)
    found = net_file_of(case)
    net = found.net
    check_net(net)
    if not net.name and not isinstance(case, pandapowerNet):
        net.name = Path(case).stem
    return net, None, found.notes


def voltage_limits(net: pandapowerNet, band: tuple[float, float] | None) -> list[Limit]:
    """Voltage bands of all buses in service: the given one, or that of the bus table.

    Raises:
        ValueError: The band is no pair of numbers, or one that no voltage can keep.
    """
    band = _band("vm_pu", band)
    limits: list[Limit] = []
    for row, bus in enumerate(net.bus.index):
        if not net.bus.at[bus, "in_service"]:
            continue
        low, high = band or (number(net, "bus", bus, f"{m}_vm_pu") for m in ("min", "max"))
        name = f"{label_of(net, 'bus', bus)} vm_pu"
        if high <= 0:
            raise ValueError(f"{name}: no voltage is below the upper limit of {high:g} p.u.")
        limits += _pair("vm_pu", row, name, low, high, 0.05)
    return limits


def loading_limits(net: pandapowerNet, limit_percent: float | None) -> list[Limit]:
    """Loading limits of all branches: the given one, or ``max_loading_percent``.

    Raises:
        ValueError: A limit is no positive number, or the rating of a line with a limit is not
            above 0: no candidate could keep it.

    Warns:
        UserWarning: Lines with a limit have no rating, so nothing limits them.
    """
    if limit_percent is not None and not isinstance(limit_percent, numbers.Real):
        raise ValueError(f"limits: loading_percent: expected a number, got {limit_percent!r}")
    limits, unrated = [], []
    for table in ("line", "trafo", "trafo3w"):
        for row, element in enumerate(net[table].index):
            limit = limit_percent
            if limit is None:
                limit = number(net, table, element, "max_loading_percent")
            if not np.isfinite(limit):
                continue
            name = f"{label_of(net, table, element)} loading_percent"
            if limit <= 0:
                raise ValueError(
                    f"{name}: a limit of {limit:g} %, which no candidate can keep; expected a "
                    "positive one, or limits={'loading_percent': None} for none"
                )
            if table == "line" and not _is_rated(net, element):
                unrated.append(label_of(net, table, element))
                continue
            limits.append(Limit(f"{table}_loading_percent", row, name, limit, limit, True))
    if unrated:
        more = f" and {len(unrated) - 5} more" if len(unrated) > 5 else ""
        warn_user(
            f"max_i_ka is missing, so that nothing limits the loading of {', '.join(unrated[:5])}"
            f"{more}"
        )
    return limits


def _is_rated(net: pandapowerNet, line: int) -> bool:
    """Whether a line has a rating.

    Raises:
        ValueError: One that is not above 0.
    """
    for column in ("max_i_ka", "df", "parallel"):
        value = number(net, "line", line, column)
        if value <= 0:
            raise ValueError(
                f"{label_of(net, 'line', line)}: {column} is {value:g}, so no candidate can keep "
                "its loading limit; give its rating, or limits={'loading_percent': None}"
            )
    return np.isfinite(number(net, "line", line, "max_i_ka"))


def machine_limits(
    net: pandapowerNet, table: str, quantity: str, band: tuple[float, float] | None
) -> list[Limit]:
    """Limits on P or Q of generators or external grids: the given ones, or those of the table.

    Args:
        table: ``"gen"`` or ``"ext_grid"``; the active power of generators is limited where they are
            slacks and so take what is left.
        quantity: ``"p_mw"`` or ``"q_mvar"``.

    Raises:
        ValueError: The given limits are no pair of numbers, or a lower one is above an upper.
    """
    band = _band(f"{'ext_grid' if quantity == 'p_mw' else table}_{quantity}", band)
    limits: list[Limit] = []
    for row, element in enumerate(net[table].index):
        if not net[table].at[element, "in_service"]:
            continue
        if (table, quantity) == ("gen", "p_mw") and not net.gen.at[element, "slack"]:
            continue
        low, high = band or (number(net, table, element, f"{m}_{quantity}") for m in ("min", "max"))
        # a range of over 1e6 MW is pandapower's way to say "no limit"
        low, high = (value if abs(value) < 1e6 else math.nan for value in (low, high))
        if quantity == "p_mw" and low == high:  # the slack takes what is left: not a limit
            continue
        name = f"{label_of(net, table, element)} {quantity}"
        limits += _pair(f"{table}_{quantity}", row, name, low, high, 1.0)
    return limits


def _band(name: str, given: Any) -> tuple[float, float] | None:
    """Given limits as a pair of numbers, None for those of the tables."""
    if given is None:
        return None
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        raise ValueError(f"limits: {name}: expected (low, high), got {given!r}") from None
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ValueError(f"limits: {name}: expected (low, high), got ({low:g}, {high:g})")
    return low, high


def _pair(
    quantity: str, row: int, name: str, low: float, high: float, least_scale: float
) -> list[Limit]:
    """Lower and upper limit where finite, both scaled by their distance."""
    if low > high:
        raise ValueError(f"{name}: lower limit {low} above upper limit {high}")
    both = np.isfinite(low) and np.isfinite(high)
    scale = max(high - low, least_scale) if both else max(abs(np.nan_to_num(low + high)), 1.0)
    limits = []
    if np.isfinite(high):
        limits.append(Limit(quantity, row, f"{name} max", high, scale, True))
    if np.isfinite(low):
        limits.append(Limit(quantity, row, f"{name} min", low, scale, False))
    return limits


def radial_constraint(net: pandapowerNet) -> Radial:
    """The constraint that lines, transformers, impedances and bus couplers form no loop."""
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    edges: list[tuple[int, int]] = []
    conditions: list[tuple[str, str, int]] = []
    condition_edge: list[int] = []
    holds: list[bool] = []

    def add_condition(table: str, column: str, element: int, edge: int) -> None:
        conditions.append((table, column, element))
        condition_edge.append(edge)
        holds.append(bool(net[table].at[element, column]))

    def add_edge(ends: tuple[Any, Any]) -> int:
        edges.append((place[ends[0]], place[ends[1]]))
        return len(edges) - 1

    switch_type = {"line": "l", "trafo": "t"}
    for table, (start, end) in _BRANCH_ENDS.items():
        for element in net[table].index:
            edge = add_edge((net[table].at[element, start], net[table].at[element, end]))
            add_condition(table, "in_service", element, edge)
            own = (net.switch.et == switch_type.get(table)) & (net.switch.element == element)
            for switch in net.switch.index[own]:
                add_condition("switch", "closed", switch, edge)
    for element in net.trafo3w.index:
        hv, mv, lv = (net.trafo3w.at[element, f"{side}_bus"] for side in ("hv", "mv", "lv"))
        for low in (mv, lv):
            edge = add_edge((hv, low))
            add_condition("trafo3w", "in_service", element, edge)
    for switch in net.switch.index[net.switch.et == "b"]:
        edge = add_edge((net.switch.at[switch, "bus"], net.switch.at[switch, "element"]))
        add_condition("switch", "closed", switch, edge)
    return Radial(
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        len(net.bus),
        conditions,
        np.array(condition_edge, dtype=np.int64),
        np.array(holds, dtype=bool),
    )


def set_zip(net: pandapowerNet, zip_percent: tuple[float, float]) -> None:
    """Makes all loads depend on voltage, active and reactive power alike, in place.

    Args:
        net: The net.
        zip_percent: Constant-impedance and constant-current shares. [%]

    Raises:
        ValueError: Not two shares of 0 to 100 % that add up to 100 % at most.
    """
    shares = np.asarray(zip_percent, dtype=float)
    if shares.shape != (2,) or not ((shares >= 0).all() and shares.sum() <= 100):
        raise ValueError(
            "zip_percent: expected shares of constant impedance and constant current, 0 to 100 in "
            f"all, got {zip_percent}"
        )
    for share, part in zip(shares, "zi", strict=True):
        for power in "pq":
            net.load[f"const_{part}_{power}_percent"] = share
