"""`Taps`: positions of tap changers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.controls.elements import asked_elements
from gridproblems.nets.network import label_of, number
from gridproblems.situations import Situations

_TAP_NUMBERS = ("min", "max", "pos", "neutral", "step_percent", "step_degree")
TAP_CHANGER_TYPES = ("Ratio", "Symmetrical", "Ideal", "Tabular")


@dataclass(frozen=True)
class Taps:
    """Positions of the tap changers of two- and three-winding transformers, whole numbers.

    Attributes:
        elements: Two-winding transformers by index, None for all in service of both kinds.
        optional: Whether a net without any is no error.
        band: Lowest and highest ratio, such as (0.9, 1.1), for two-winding transformers whose
            table has no ``tap_min`` and ``tap_max``; None: these are left alone. [p.u.]
        step: Of that ratio, counted from the present one, which is position 0, over the
            transformer's rated voltage. [p.u.]

    Raises:
        ValueError: A band or step that is none.
    """

    of_grid: ClassVar[str] = "net"

    elements: Sequence[int] | None = None
    optional: bool = False
    band: tuple[float, float] | None = None
    step: float = 0.0125

    def __post_init__(self) -> None:
        if self.band is None:
            return
        if not is_pair(self.band) or not 0 < self.band[0] < self.band[1]:
            raise ValueError(f"taps: band: expected ratios like (0.9, 1.1), got {self.band!r}")
        if isinstance(self.step, bool) or not isinstance(self.step, Real) or not 0 < self.step < 1:
            raise ValueError(f"taps: step: expected a ratio like 0.0125, got {self.step!r}")

    def prepare(self, grid: Any) -> None:
        """Gives transformers without a range of positions one, where there is a band."""
        if self.band is not None:
            add_ranges(grid.net, self.elements, self.band, float(self.step))

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The tap changers of a net between ``tap_min`` and ``tap_max``.

        Raises:
            ValueError: No such transformer or none at all, a tap changer without limits or of a
                type that pandapower ignores.
        """
        return bound("taps", _taps(grid.net, self), grid, self.optional, group="tap")


def is_pair(given: Any) -> bool:
    """Whether it is two finite numbers."""
    return (
        isinstance(given, Sequence)
        and len(given) == 2
        and all(
            isinstance(v, Real) and not isinstance(v, bool) and np.isfinite(float(v)) for v in given
        )
    )


def add_ranges(
    net: pandapowerNet, elements: Sequence[int] | None, band: tuple[float, float], step: float
) -> None:
    """Gives two-winding transformers without a range a tap changer on the high-voltage side.

    The present ratio is position 0, so that the power flow stays as it is.

    Args:
        net: The net, changed in place.
        elements: Transformers by index, None for all in service.
        band: Lowest and highest ratio over that of the rated voltages of the buses; it reaches to
            the present ratio where that is outside. [p.u.]
        step: Of a position, over the rated voltage of the transformer. [p.u.]

    Raises:
        ValueError: No such transformer, a tap on the low-voltage side, or one that turns the angle.
    """
    trafo = net.trafo
    for element in asked_elements(net, "trafo", elements):
        own = {c: number(net, "trafo", element, f"tap_{c}") for c in _TAP_NUMBERS}
        if not (np.isnan(own["min"]) and np.isnan(own["max"])):
            continue
        label = label_of(net, "trafo", element)
        is_lv = "tap_side" in trafo and trafo.at[element, "tap_side"] == "lv"
        if is_lv or np.nan_to_num(own["step_degree"]):
            raise ValueError(
                f"{label}: tap on the low-voltage side or of the angle; give its tap_min and "
                "tap_max in the table instead of a band"
            )
        moved = np.nan_to_num((own["pos"] - own["neutral"]) * own["step_percent"] / 100.0)
        row = trafo.loc[element]
        rated = row.vn_hv_kv / net.bus.vn_kv.at[row.hv_bus]
        rated *= net.bus.vn_kv.at[row.lv_bus] / row.vn_lv_kv
        ratio = rated * (1.0 + moved)
        low = min(0.0, np.ceil((band[0] - ratio) / (rated * step) - 1e-9))
        high = max(0.0, np.floor((band[1] - ratio) / (rated * step) + 1e-9))
        trafo.at[element, "tap_side"] = "hv"
        trafo.at[element, "tap_changer_type"] = "Ratio"
        new = {"neutral": -moved / step, "pos": 0.0, "step_percent": 100.0 * step}
        for name, value in {**new, "min": low, "max": high}.items():
            column = f"tap_{name}"
            if column in trafo:
                trafo[column] = trafo[column].astype(float)
            trafo.at[element, column] = float(value)


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
