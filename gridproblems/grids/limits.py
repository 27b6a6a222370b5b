"""The argument ``limits`` of every problem: checked, and read from the tables of a net."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._names import with_nearest
from gridproblems._warn import warn_user
from gridproblems.constraints import Chance, Limit
from gridproblems.controls.over_time import OVER_TIME
from gridproblems.errors import MissingLimits
from gridproblems.nets.network import loading_limits, voltage_limits

_NUMBERS = {"loading_percent", "loading_margin_percent"}  # limits that are one number
_SWITCHES = {"radial"}  # limits that are on or off; all others are a pair (low, high)
_OF_QUANTITY = {  # limits by the quantities they are on; those with a chance are among them
    "vm_pu": ("vm_pu", "node_vm_pu"),
    "loading_percent": ("line_loading_percent", "trafo_loading_percent", "trafo3w_loading_percent"),
    "gen_q_mvar": ("gen_q_mvar",),
    "ext_grid_p_mw": ("ext_grid_p_mw", "gen_p_mw"),
    "ext_grid_q_mvar": ("ext_grid_q_mvar",),
}
_BRANCHES = {"line": "lines", "trafo": "transformers", "trafo3w": "three-winding transformers"}


def check_limits(limits: Any, known: Collection[str]) -> dict[str, Any]:
    """The argument ``limits`` as a dict, checked.

    Args:
        limits: Name of a limit -> (low, high), one number, True or False, or None for no limit;
            or a `Chance` of it.
        known: Names that the grid knows.

    Raises:
        ValueError: No mapping, an unknown name, or a value that cannot be.
    """
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise ValueError(
            'limits: expected a mapping such as {"vm_pu": [0.95, 1.05], "loading_percent": 100}, '
            f"got {limits!r}"
        )
    for name, value in limits.items():
        if name not in known:
            raise ValueError(f"limits: unknown {with_nearest(str(name), known)}")
        if isinstance(value, Chance):
            if name not in _OF_QUANTITY:
                able = ", ".join(n for n in known if n in _OF_QUANTITY)
                raise ValueError(f"limits: {name}: has no chance; known with one: {able}")
            value = value.limit
        if value is not None and name not in OVER_TIME:  # of what controls do, checked there
            _check_limit(name, value)
    return dict(limits)


def without_chances(limits: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Chance]]:
    """Checked limits as if they held in all situations, and the chances of those that do not.

    A `Chance` without a limit of its own is left out, so that the tables say it.
    """
    chances = {n: value for n, value in limits.items() if isinstance(value, Chance)}
    bare = {n: value.limit if n in chances else value for n, value in limits.items()}
    return {n: v for n, v in bare.items() if n not in chances or v is not None}, chances


def with_shares(entries: Sequence[Limit], chances: Mapping[str, Chance]) -> list[Limit]:
    """Entries with the chances of their limits, see `without_chances`.

    Raises:
        ValueError: A chance of a limit that is nowhere.
    """
    limited = {limit.quantity for limit in entries}
    for name, chance in chances.items():
        if not limited & set(_OF_QUANTITY[name]):
            limit = "(0.95, 1.05)" if name == "vm_pu" else "limit"
            raise ValueError(
                f"limits: {name}: the grid has no such limit of its own; give it with the chance: "
                f"Chance({chance.share:g}, {limit})"
            )
    by_quantity = {q: chance for name, chance in chances.items() for q in _OF_QUANTITY[name]}
    return [
        replace(limit, share=own.share, joint=own.joint)
        if (own := by_quantity.get(limit.quantity)) is not None
        else limit
        for limit in entries
    ]


def _check_limit(name: str, value: Any) -> None:
    if name in _SWITCHES:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"limits: {name}: expected True or False, got {value!r}")
    elif name in _NUMBERS:
        if not (_is_number(value) and value > 0):
            raise ValueError(f"limits: {name}: expected a positive number, got {value!r}")
    else:
        is_pair = np.ndim(value) == 1 and len(value) == 2 and all(map(_is_number, value))
        if not (is_pair and value[0] <= value[1]):
            raise ValueError(
                f"limits: {name}: expected a lower and an upper limit (low, high), got {value!r}"
            )


def _is_number(value: Any) -> bool:
    real = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    return real and not math.isnan(value)


def grid_limits(net: pandapowerNet, limits: Mapping[str, Any], warns: bool) -> list[Limit]:
    """Limits on bus voltages and branch loadings.

    Given limits are written into the tables too, so that figures and written nets show those that
    were checked.

    Args:
        net: The net, whose tables hold the limits; a copy that may be changed.
        limits: Checked; they override the tables, None takes a limit away: ``vm_pu`` (low, high)
            at all buses, ``loading_percent`` of all branches.
        warns: Whether limits that are nowhere are warned of.
    """
    entries: list[Limit] = []
    if limits.get("vm_pu", ()) is not None:
        entries += voltage_limits(net, limits.get("vm_pu"))
    if limits.get("loading_percent", ()) is not None:
        entries += loading_limits(net, limits.get("loading_percent"))
    write_limits(net, limits)
    missing = _missing(net, entries, limits) if warns else []
    if missing:
        warn_user(_advice(str(net.name or "net"), missing), MissingLimits)
    return entries


def write_limits(net: pandapowerNet, limits: Mapping[str, Any]) -> None:
    """Puts given limits into the tables of a net, in place."""
    if "vm_pu" in limits:
        low, high = limits["vm_pu"] or (math.nan, math.nan)
        net.bus["min_vm_pu"], net.bus["max_vm_pu"] = float(low), float(high)
    if "loading_percent" in limits:
        percent = limits["loading_percent"]
        for table in _BRANCHES:
            net[table]["max_loading_percent"] = math.nan if percent is None else float(percent)


def _missing(
    net: pandapowerNet, entries: Sequence[Limit], limits: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What no limit holds, though nobody said so: name of the limit, and in words."""
    limited = {entry.quantity for entry in entries}
    missing = []
    if "vm_pu" not in limited and limits.get("vm_pu", ()) is not None:
        missing.append(("vm_pu", "no voltage band (bus.min_vm_pu, bus.max_vm_pu)"))
    bare = [
        words
        for table, words in _BRANCHES.items()
        if net[table].in_service.astype(bool).any() and f"{table}_loading_percent" not in limited
    ]
    if bare and limits.get("loading_percent", ()) is not None:
        words = f"no loading limit of {' and '.join(bare)} (max_loading_percent)"
        missing.append(("loading_percent", words))
    return missing


def _advice(name: str, missing: list[tuple[str, str]]) -> str:
    examples = {"vm_pu": ("(0.95, 1.05)", "0.95,1.05"), "loading_percent": ("100", "100")}
    given = ", ".join(f"'{limit}': {examples[limit][0]}" for limit, _ in missing)
    options = " ".join(f"--limit {limit}={examples[limit][1]}" for limit, _ in missing)
    none = ", ".join(f"'{limit}': None" for limit, _ in missing)
    return (
        f"{name} has {' and '.join(words for _, words in missing)}, so results may break what the "
        f"grid can bear; give limits={{{given}}} (command line: {options}), or "
        f"limits={{{none}}} if none is meant"
    )
