"""The arguments limits, every_snapshot and outages of tasks over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pandapower.auxiliary import pandapowerNet

from gridproblems.constraints import Limit, StateLimits
from gridproblems.contingency import LineOutages, outage_lines
from gridproblems.engines._reference import layout_of
from gridproblems.network import loading_limits, voltage_limits

LIMITS = ("vm_pu", "loading_percent")


def grid_constraints(
    net: pandapowerNet,
    limits: Mapping[str, Any] | None,
    n_snapshots: int | None,
    outages: str | Sequence[int] | None,
) -> tuple[StateLimits, list[LineOutages]]:
    """Limits of the grid as it is, and with each of some lines out.

    Args:
        net: The net, whose tables hold the limits.
        limits: See `grid_limits`.
        n_snapshots: Length of the series for entries of every snapshot, None for the worst one.
        outages: See `outage_lines`; None for none.

    Raises:
        ValueError: An unknown limit, or a line that cannot be out.
    """
    entries, layout = grid_limits(net, limits), layout_of(net)
    n_minus_1 = []
    if outages is not None:
        n_minus_1.append(LineOutages(outage_lines(net, outages), entries, layout))
    return StateLimits(entries, layout, n_snapshots), n_minus_1


def grid_limits(net: pandapowerNet, limits: Mapping[str, Any] | None) -> list[Limit]:
    """Limits on bus voltages and branch loadings.

    Args:
        net: The net, whose tables hold the limits.
        limits: Overrides them; None takes a limit away: ``vm_pu`` (low, high) at all buses,
            ``loading_percent`` of all branches.

    Raises:
        ValueError: An unknown limit.
    """
    given = dict(limits or {})
    unknown = set(given) - set(LIMITS)
    if unknown:
        raise ValueError(f"limits: unknown {sorted(unknown)}; known: {', '.join(LIMITS)}")
    entries: list[Limit] = []
    if given.get("vm_pu", ()) is not None:
        entries += voltage_limits(net, given.get("vm_pu"))
    if given.get("loading_percent", ()) is not None:
        entries += loading_limits(net, given.get("loading_percent"))
    return entries


def voltage_band(limits: StateLimits) -> tuple[float, float] | None:
    """The tightest voltage limits of all buses, None without any."""
    vm_pu = [limit for limit in limits.limits if limit.quantity == "vm_pu"]
    lower = [limit.limit for limit in vm_pu if not limit.is_upper]
    upper = [limit.limit for limit in vm_pu if limit.is_upper]
    return (max(lower), min(upper)) if lower and upper else None
