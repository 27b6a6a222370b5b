"""Constraints: functions of settings and state with known size, feasible where <= 0.

Every entry is scaled by its limit or band, so that entries of different kinds are comparable:
a violation of 0.01 is one percent of the band, the rating or the reactive range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from gridproblems.state import FloatArray, GridState, Layout, Settings


class Constraint(Protocol):
    """What a problem needs of a constraint."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each entry."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each entry, by which entries may be aggregated."""
        ...

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Values, shape (n_entries,), feasible where <= 0."""
        ...


@dataclass(frozen=True)
class Limit:
    """An upper or lower limit of one element's quantity.

    Attributes:
        quantity: A quantity of the state, for example ``"vm_pu"``.
        row: Row of the element in its pandapower table.
        name: What a reader calls the entry.
        limit: The limit, in the quantity's unit.
        scale: What a violation is measured in, in the quantity's unit, positive.
        is_upper: Whether values above the limit violate it.
    """

    quantity: str
    row: int
    name: str
    limit: float
    scale: float
    is_upper: bool


class StateLimits:
    """Limits on quantities of the state, the worst of all snapshots each.

    Args:
        limits: One per entry.
        layout: Layout of the states.
    """

    def __init__(self, limits: Sequence[Limit], layout: Layout) -> None:
        self.limits = tuple(limits)
        self.names = tuple(limit.name for limit in limits)
        self.kinds = tuple(limit.quantity for limit in limits)
        self._columns = np.array(
            [layout.slices[limit.quantity].start + limit.row for limit in limits], dtype=np.int64
        )
        sign = np.array([1.0 if limit.is_upper else -1.0 for limit in limits])
        scale = np.array([limit.scale for limit in limits])
        self._factor = sign / scale
        self._offset = self._factor * np.array([limit.limit for limit in limits])

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Distance beyond each limit in units of its scale, shape (n_entries,)."""
        worst = state.values[0].take(self._columns) * self._factor - self._offset
        for row in state.values[1:]:
            worst = np.maximum(worst, row.take(self._columns) * self._factor - self._offset)
        if math.isnan(worst @ worst):  # buses switched off with nothing to supply
            worst = np.where(np.isnan(worst), 0.0, worst)
        return worst


class Radial:
    """No loops: the branches in service form a forest.

    Args:
        edges: Pairs of buses joined by branches and couplers, numbered from 0, (n_edges, 2).
        n_buses: Number of buses.
        conditions: What must hold for an edge to be closed, ``(table, column, element)``.
        condition_edge: The edge each condition belongs to, shape (n_conditions,).
        holds: Whether each condition holds in the base case, shape (n_conditions,).
    """

    names = ("radial",)
    kinds = ("radial",)

    def __init__(
        self,
        edges: NDArray[np.int64],
        n_buses: int,
        conditions: Sequence[tuple[str, str, int]],
        condition_edge: NDArray[np.int64],
        holds: NDArray[np.bool_],
    ) -> None:
        self._edges = edges
        self._n_buses = n_buses
        self._edge = condition_edge
        self._holds = holds
        self._position: dict[tuple[str, str, int], list[int]] = {}
        for i, condition in enumerate(conditions):
            self._position.setdefault(condition, []).append(i)

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Number of independent loops, the most of all snapshots, shape (1,)."""
        return np.array([max(self._n_loops(settings, t) for t in range(settings.n_snapshots))])

    def _n_loops(self, settings: Settings, snapshot: int) -> float:
        holds = self._holds.copy()
        for field, values in settings:
            row = values if values.ndim == 1 else values[snapshot]
            for element, value in zip(field.elements, row, strict=True):
                key = (field.table, field.column, element)
                holds[self._position.get(key, [])] = bool(value)
        closed = np.ones(len(self._edges), dtype=bool)
        closed[self._edge[~holds]] = False
        graph = nx.MultiGraph()
        graph.add_nodes_from(range(self._n_buses))
        graph.add_edges_from(self._edges[closed].tolist())
        n_components = nx.number_connected_components(graph)
        return float(graph.number_of_edges() - self._n_buses + n_components)
