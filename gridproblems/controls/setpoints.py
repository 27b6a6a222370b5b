"""`Setpoints`: voltage set-points of generators and external grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import networkx as nx
import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.controls.elements import asked_elements
from gridproblems.nets.network import label_of, number
from gridproblems.situations import Situations

DEFAULT_BAND_PU = (0.95, 1.05)
MACHINES = ("gen", "ext_grid")

Band = tuple[float, float]


@dataclass(frozen=True)
class Setpoints:
    """Voltage set-points, one per bus: machines that share a bus share it.

    Attributes:
        table: ``"gen"`` or ``"ext_grid"``.
        elements: Machines by index, None for all in service.
        band_pu: Lowest and highest set-point; None: the limits of the machine, else of its bus,
            else 0.95 to 1.05 with a warning. [p.u.]
        optional: Whether a net without any is no error, and external grids are only taken where
            the net limits their voltage.
    """

    of_grid: ClassVar[str] = "net"

    table: str = "gen"
    elements: Sequence[int] | None = None
    band_pu: Band | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.table not in MACHINES:
            raise ValueError(f"set-points: unknown table {self.table!r}; known: gen, ext_grid")

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The machines of a net whose voltage may be set.

        Raises:
            ValueError: No such machine, or none at all.
        """
        find = _generators if self.table == "gen" else _external_grids
        found = find(grid.net, self)
        return bound(f"{self.table} set-points", found, grid, self.optional, group=self.table)


def bus_groups(net: pandapowerNet) -> dict[int, int]:
    """For each bus the first of the buses that closed couplers join it with."""
    graph = nx.Graph()
    graph.add_nodes_from(net.bus.index)
    couplers = net.switch[(net.switch.et == "b") & net.switch.closed.astype(bool)]
    graph.add_edges_from(zip(couplers.bus, couplers.element, strict=True))
    return {bus: min(group) for group in nx.connected_components(graph) for bus in group}


def _set_points(net: pandapowerNet, wanted: Setpoints, elements: list[int]) -> list[Control]:
    """One voltage set-point per bus; machines that share a bus share it."""
    table = wanted.table
    group_of = bus_groups(net)
    by_bus: dict[int, list[int]] = {}
    for element in elements:
        by_bus.setdefault(group_of[net[table].at[element, "bus"]], []).append(element)
    controls, unlimited = [], []
    for members in by_bus.values():
        band = wanted.band_pu or _band(net, table, members[0])
        if band is None:
            unlimited.append(members[0])
        low, high = band or DEFAULT_BAND_PU
        label = label_of(net, table, members[0])
        controls.append(
            Control(table, "vm_pu", tuple(members), "real", low, high, unit="p.u.", label=label)
        )
    if unlimited:
        warn_user(
            f"{table} {unlimited}: no voltage limits (min_vm_pu, max_vm_pu) of the {table} or "
            f"its bus; using {DEFAULT_BAND_PU[0]}..{DEFAULT_BAND_PU[1]} p.u., or pass "
            f"limits={{'{table}_vm_pu': (low, high)}}"
        )
    return controls


def _band(net: pandapowerNet, table: str, element: int) -> Band | None:
    """Set-point limits of a machine: its own, else its bus's, None where there are none."""
    for owner, index in ((table, element), ("bus", net[table].at[element, "bus"])):
        low, high = (number(net, owner, index, f"{m}_vm_pu") for m in ("min", "max"))
        if np.isfinite(low) and np.isfinite(high):
            return low, high
    return None


def _generators(net: pandapowerNet, wanted: Setpoints) -> list[Control]:
    group_of = bus_groups(net)
    held = {group_of[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    elements = [
        e
        for e in asked_elements(net, "gen", wanted.elements)
        if group_of[net.gen.at[e, "bus"]] not in held
    ]
    return _set_points(net, wanted, elements)


def _external_grids(net: pandapowerNet, wanted: Setpoints) -> list[Control]:
    elements = asked_elements(net, "ext_grid", wanted.elements)
    if wanted.optional:  # found by itself: only where the net says that it may be set
        elements = [
            e
            for e in elements
            if np.isfinite(number(net, "ext_grid", e, "min_vm_pu"))
            and np.isfinite(number(net, "ext_grid", e, "max_vm_pu"))
        ]
    controls = _set_points(net, wanted, elements)
    group_of = bus_groups(net)
    buses = {group_of[net.ext_grid.at[e, "bus"]] for c in controls for e in c.elements}
    for gen in net.gen.index[net.gen.in_service.astype(bool)]:
        if group_of[net.gen.at[gen, "bus"]] in buses:
            raise ValueError(
                f"gen {gen} holds the voltage of the bus of an ext_grid that is a control; "
                "take one of them out of service, or leave ext_grid out of the controls"
            )
    return controls
