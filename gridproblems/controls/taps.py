"""`Taps`: positions of tap changers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.controls.elements import asked_elements
from gridproblems.nets.network import label_of, number
from gridproblems.situations import Situations

TAP_CHANGER_TYPES = ("Ratio", "Symmetrical", "Ideal", "Tabular")


@dataclass(frozen=True)
class Taps:
    """Positions of the tap changers of two- and three-winding transformers, whole numbers.

    Attributes:
        elements: Two-winding transformers by index, None for all in service of both kinds.
        optional: Whether a net without any is no error.
    """

    of_grid: ClassVar[str] = "net"

    elements: Sequence[int] | None = None
    optional: bool = False

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The tap changers of a net between ``tap_min`` and ``tap_max``.

        Raises:
            ValueError: No such transformer or none at all, a tap changer without limits or of a
                type that pandapower ignores.
        """
        return bound("taps", _taps(grid.net, self), grid, self.optional, group="tap")


def _taps(net: pandapowerNet, wanted: Taps) -> list[Control]:
    asked = wanted.elements
    controls, without_range = [], []
    for table in ("trafo", "trafo3w"):
        if not len(net[table]) or (asked and table == "trafo3w"):
            continue
        for element in asked_elements(net, table, asked):
            label = label_of(net, table, element)
            step = number(net, table, element, "tap_step_percent")
            angle = number(net, table, element, "tap_step_degree")
            has_changer = np.nan_to_num(step) != 0 or np.nan_to_num(angle) != 0
            low, high = (number(net, table, element, f"tap_{m}") for m in ("min", "max"))
            if not has_changer:
                if asked:
                    raise ValueError(f"{label}: no tap changer (tap_step_percent is missing)")
                continue
            if np.isnan(low) and np.isnan(high) and not asked:
                without_range.append(label)  # a fixed ratio
                continue
            controls.append(_checked(net, table, element, label, low, high))
    if without_range and not controls:
        message = f"tap changers without tap_min and tap_max: {', '.join(without_range)}"
        if not wanted.optional:
            raise ValueError(message)
        warn_user(f"{message}; their taps are left alone")
    return controls


def _checked(
    net: pandapowerNet, table: str, element: int, label: str, low: float, high: float
) -> Control:
    """The control of a tap changer whose table says all that it must."""
    if not (np.isfinite(low) and np.isfinite(high)):
        missing = "tap_max" if np.isfinite(low) else "tap_min"
        raise ValueError(f"{label}: {missing} is missing")
    if low > high:
        raise ValueError(f"{label}: tap_min {low:g} above tap_max {high:g}")
    if low != round(low) or high != round(high):
        raise ValueError(f"{label}: tap_min {low} and tap_max {high} must be whole")
    has_type = "tap_changer_type" in net[table]
    kind = net[table].at[element, "tap_changer_type"] if has_type else None
    if kind not in TAP_CHANGER_TYPES:
        raise ValueError(
            f"{label}: tap_changer_type is {kind!r}, so pandapower would ignore its tap "
            f"position; expected one of {', '.join(TAP_CHANGER_TYPES)}"
        )
    if not np.isfinite(number(net, table, element, "tap_pos")):
        raise ValueError(f"{label}: tap_pos is missing")
    return Control(table, "tap_pos", (element,), "integer", low, high, label=label)
