"""`Powers`: active power of generators and static generators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._names import with_nearest
from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.controls.elements import asked_elements
from gridproblems.nets.network import label_of, number
from gridproblems.situations import Situations

SOURCES = ("gen", "sgen")


@dataclass(frozen=True)
class Powers:
    """Active power of generators between ``min_p_mw`` and ``max_p_mw``; slacks give the rest.

    Attributes:
        table: ``"gen"`` or ``"sgen"``.
        elements: Generators by index, None for all in service with a range that are not slacks
            and not marked as not controllable.
        optional: Whether a net without any is no error.

    Raises:
        ValueError: Another table.
    """

    of_grid: ClassVar[str] = "net"

    table: str = "gen"
    elements: Sequence[int] | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.table not in SOURCES:
            raise ValueError(f"powers: unknown table {with_nearest(str(self.table), SOURCES)}")

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The generators of a net whose active power may be set.

        Raises:
            ValueError: No such generator or none at all, a slack, or one without a range.
        """
        found = _powers(grid.net, self)
        return bound(f"{self.table} powers", found, grid, self.optional)


def _powers(net: pandapowerNet, wanted: Powers) -> list[Control]:
    table, controls = wanted.table, []
    for element in asked_elements(net, table, wanted.elements):
        label = label_of(net, table, element)
        low, high = (number(net, table, element, f"{m}_p_mw") for m in ("min", "max"))
        if table == "gen" and bool(net.gen.at[element, "slack"]):
            if wanted.elements:
                raise ValueError(f"{label}: a slack, whose active power the power flow gives")
            continue
        has_range = np.isfinite(low) and np.isfinite(high)
        if wanted.elements and not has_range:
            raise ValueError(f"{label}: needs min_p_mw and max_p_mw")
        may_move = wanted.elements or (low < high and _controllable(net, table, element))
        if has_range and may_move:
            controls.append(
                Control(table, "p_mw", (element,), "real", low, high, "MW", label=label)
            )
    return controls


def _controllable(net: pandapowerNet, table: str, element: int) -> bool:
    """Whether the net does not say that it is not."""
    if "controllable" not in net[table]:
        return True
    given = net[table].at[element, "controllable"]
    return not (isinstance(given, (bool, np.bool_)) and not given)
