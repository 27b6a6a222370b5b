"""What the tasks on nets over time share: series, outages, and limits of the grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gridproblems.grids import NetGrid
from gridproblems.nets.case_series import case_series, pv_profile
from gridproblems.situations import Hours, Outages, Product
from gridproblems.state import Settings

#: Duration of a snapshot where none is given. [h]
ONE_HOUR = 1.0
#: Limits of machines, which only reactive dispatch has by default.
OF_MACHINES = ("gen_q_mvar", "ext_grid_p_mw", "ext_grid_q_mvar")


def grid_limits(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Limits on voltages and loadings as in the net's tables; those of machines only if given."""
    return {**dict.fromkeys(OF_MACHINES), **(given or {})}


def over_time(
    series: Settings | Mapping[Any, Any] | None,
    hours: float,
    outages: Any = None,
    drivers: Mapping[str, Any] | None = None,
) -> Product:
    """Snapshots of a series, or one; with each of some lines out where asked.

    Args:
        series: Settings with one row per snapshot, tables, or None for one snapshot.
        hours: Duration of a snapshot. [h]
        outages: See `Outages`; None for none.
        drivers: Series that controls follow.
    """
    in_time = Hours({} if series is None else series, hours, drivers or {})
    return Product((in_time,)) if outages is None else Outages(outages) * in_time


def situations_or(
    given: Any, made: Callable[[], Product], hours: float = ONE_HOUR, **others: Any
) -> Any:
    """An argument ``situations``, or what the older arguments of a task make.

    Args:
        given: The argument.
        made: Gives the situations without it.
        hours: Duration of a snapshot, which is no argument that was given where it is the default.
        **others: Arguments that say the same, None where they are not given.

    Raises:
        ValueError: Both.
    """
    if given is None:
        return made()
    others["hours"] = None if hours == ONE_HOUR else hours
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name}: cannot go with situations, which say it already")
    return given


def pv_driver(grid: NetGrid, profile: Any, series: Settings | None, needed: bool) -> dict[str, Any]:
    """The output of pv over its rating as a driver, see `pv_profile`."""
    return {"pv": pv_profile(grid.case, profile, series, needed)}


def series_of(grid: NetGrid, series: Mapping[Any, Any] | None) -> Settings | None:
    """Settings of a series, None without; see `case_series`."""
    return case_series(grid.given, grid.case, series)
