"""`Shunts` and `Compensators`: reactive power at buses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.controls.elements import asked_elements
from gridproblems.nets.network import label_of, number
from gridproblems.situations import Situations


@dataclass(frozen=True)
class Shunts:
    """Shunts: reactive power within a range, or whole steps.

    Attributes:
        elements: Shunts by index, None for all in service.
        optional: Whether a net without any is no error, and shunts of one step are left alone.
    """

    of_grid: ClassVar[str] = "net"

    elements: Sequence[int] | None = None
    optional: bool = False

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The shunts of a net with ``min_q_mvar`` and ``max_q_mvar``, or ``max_step``.

        Raises:
            ValueError: No such shunt, or none at all.
        """
        return bound("shunts", _shunts(grid.net, self), grid, self.optional, group="shunt")


@dataclass(frozen=True)
class Compensators:
    """Reactive power of controllable static generators.

    Attributes:
        elements: Static generators by index, None for all that are controllable.
        optional: Whether a net without any is no error.
    """

    of_grid: ClassVar[str] = "net"

    elements: Sequence[int] | None = None
    optional: bool = False

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The static generators of a net with ``controllable`` and a reactive range.

        Raises:
            ValueError: No such generator or none at all, or one without a range.
        """
        found = _compensators(grid.net, self)
        return bound("compensators", found, grid, self.optional, group="compensator")


def _shunts(net: pandapowerNet, wanted: Shunts) -> list[Control]:
    controls = []
    for element in asked_elements(net, "shunt", wanted.elements):
        label = label_of(net, "shunt", element)
        low, high = (number(net, "shunt", element, f"{m}_q_mvar") for m in ("min", "max"))
        if np.isfinite(low) and np.isfinite(high):
            controls.append(
                Control("shunt", "q_mvar", (element,), "real", low, high, "Mvar", label=label)
            )
            continue
        steps = np.nan_to_num(number(net, "shunt", element, "max_step"))
        if steps > 1:
            controls.append(
                Control("shunt", "step", (element,), "integer", 0.0, float(steps), label=label)
            )
        elif wanted.elements and steps == 1:  # every pandapower shunt has one step
            controls.append(Control("shunt", "step", (element,), "binary", 0.0, 1.0, label=label))
    return controls


def _compensators(net: pandapowerNet, wanted: Compensators) -> list[Control]:
    controls = []
    for element in asked_elements(net, "sgen", wanted.elements):
        label = label_of(net, "sgen", element)
        low, high = (number(net, "sgen", element, f"{m}_q_mvar") for m in ("min", "max"))
        limited = np.isfinite(low) and np.isfinite(high)
        controllable = "controllable" in net.sgen and net.sgen.at[element, "controllable"]
        if limited and isinstance(controllable, (bool, np.bool_)) and controllable:
            controls.append(
                Control("sgen", "q_mvar", (element,), "real", low, high, "Mvar", label=label)
            )
        elif wanted.elements:
            raise ValueError(f"{label}: needs controllable=True, min_q_mvar and max_q_mvar")
    return controls
