"""Constraints: functions of settings and state with known size, feasible where <= 0.

Every entry is scaled by its limit or band, so that entries of different kinds are comparable:
a violation of 0.01 is one percent of the band, the rating or the reactive range. As objectives,
they work for one candidate and for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled
from gridproblems._union_find import union
from gridproblems.reductions import largest, n_deciding, quantile, quantile_place
from gridproblems.state import Field, FloatArray, GridState, Layout, Settings

#: What stands for a value of the user's that is no number.
_LARGE = 1e3


class Constraint(Protocol):
    """What a problem needs of a constraint.

    Attributes:
        needs_state: Whether the values depend on the state. Where the power flow fails, those of
            settings alone still grade how far a candidate is from one that works.

    One that is piecewise constant may say so by ``is_stepwise = True``: its gradients are 0. Those
    of others are differences of power flows.
    """

    needs_state: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each entry."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each entry, by which entries may be aggregated."""
        ...

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Values, shape (n_entries,) or (n_candidates, n_entries), feasible where <= 0."""
        ...


@dataclass(frozen=True)
class Chance:
    """A limit that has to hold in a share of the weight of the situations only.

    Every entry is judged by itself: with ``{"vm_pu": Chance(0.95)}`` each bus may leave its band
    upwards in 5 % of the weight and downwards in 5 %, whatever other buses do at that time. With
    ``joint`` all of them have to hold together in 95 % of the weight; so have limits of several
    names that are joint and have the same share. Situations count by their weight; in a group of
    their own (outages), whose weight in objectives is 0, all outages alike.

    Attributes:
        share: Of the weight, within (0, 1).
        limit: As of the limit without chance; None for those of the grid's tables.
        joint: Whether all entries have to hold together.

    Raises:
        ValueError: A share that is not within (0, 1), ``joint`` that is not True or False.
    """

    share: float
    limit: Any = None
    joint: bool = False

    def __post_init__(self) -> None:
        is_number = isinstance(self.share, Real) and not isinstance(self.share, bool)
        if not is_number or not 0 < self.share < 1:
            raise ValueError(f"Chance: expected a share within (0, 1), got {self.share!r}")
        if not isinstance(self.joint, bool):
            raise ValueError(f"Chance: joint: expected True or False, got {self.joint!r}")


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
        share: Of the weight of the situations in which it has to hold, see `Chance`.
        joint: Whether it has to hold there together with all others of this share.
    """

    quantity: str
    row: int
    name: str
    limit: float
    scale: float
    is_upper: bool
    share: float = 1.0
    joint: bool = False


@dataclass(frozen=True)
class Measure:
    """What an entry of a constraint means in physical units.

    A constraint may offer one per entry as ``measures``; others are counted as they are.

    Attributes:
        scale: Distance beyond the limit that an entry of 1 stands for. [unit]
        limit: The limit, NaN for none. [unit]
        unit: Of both.
        is_upper: Whether values above the limit violate it.
        element: What the limit belongs to, so that lower and upper ones are of one element.
        share: Of the weight of the situations in which it has to hold.
    """

    scale: float = 1.0
    limit: float = math.nan
    unit: str = ""
    is_upper: bool = True
    element: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class Entries:
    """Entries of constraints.

    Attributes:
        names, kinds: What each is called, and by what it may be aggregated.
        measures: What each means in physical units.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    measures: tuple[Measure, ...]


_UNITS = {"_pu": "p.u.", "_percent": "%", "_mw": "MW", "_mvar": "Mvar", "_kw": "kW"}


def _measure(limit: Limit) -> Measure:
    units = [unit for end, unit in _UNITS.items() if limit.quantity.endswith(end)]
    element = f"{limit.quantity} {limit.row}"
    unit = "".join(units)
    return Measure(limit.scale, limit.limit, unit, limit.is_upper, element, limit.share)


class StateLimits:
    """Limits on quantities of the state, the worst of all snapshots each.

    An entry with a share below 1 is the value that this share of the weight does not exceed; joint
    limits of one share are one entry, the worst of them in each situation.

    Args:
        limits: One per entry, but for joint ones, whose entries come last.
        layout: Layout of the states.
        n_each: Number of snapshots, if every snapshot is to have its own entries.
        weight: Of the snapshots, for limits with a share below 1; None for equal ones.

    Attributes:
        chance: The entries with a share below 1.
        shares: Of each entry.

    Raises:
        ValueError: A share below 1 together with entries of every snapshot.
    """

    needs_state = True

    def __init__(
        self,
        limits: Sequence[Limit],
        layout: Layout,
        n_each: int | None = None,
        weight: FloatArray | None = None,
    ) -> None:
        self.limits = tuple(limits)
        self.n_each = n_each
        self.weight = weight
        together = sorted({limit.share for limit in limits if limit.joint})
        self._alone = np.flatnonzero([not limit.joint for limit in limits])
        self._joint = [
            np.flatnonzero([limit.joint and limit.share == share for limit in limits])
            for share in together
        ]
        alone = [limit for limit in limits if not limit.joint]
        shares = self.shares = np.array([limit.share for limit in alone] + together)
        names = [_named(limit) for limit in alone]
        kinds = [limit.quantity for limit in alone]
        measures = [_measure(limit) for limit in alone]
        for share, own in zip(together, self._joint, strict=True):
            of = dict.fromkeys(_limited(limits[i].quantity) for i in own.tolist())
            kinds.append(f"all {' and '.join(of)} together")
            names.append(f"{kinds[-1]} in {share * 100:g} %")
            measures.append(Measure(share=share))
        self.chance: NDArray[np.int64] = np.flatnonzero(shares < 1.0)
        self._by_share = [
            (float(share), np.flatnonzero(shares == share))
            for share in np.unique(shares[self.chance])
        ]
        if n_each is not None and len(self.chance):
            raise ValueError(
                f"limits: {names[self.chance[0]]}: a chance counts situations, so it has no entry "
                "for each of them (every_situation=True)"
            )
        self.names = tuple(
            f"{name}{suffix}"
            for suffix in ([f" at {t}" for t in range(n_each)] if n_each is not None else [""])
            for name in names
        )
        self.kinds = tuple(kinds) * (n_each or 1)
        self.measures = tuple(measures) * (n_each or 1)
        self._columns = np.array(
            [layout.slices[limit.quantity].start + limit.row for limit in limits], dtype=np.int64
        )
        sign = np.array([1.0 if limit.is_upper else -1.0 for limit in limits])
        scale = np.array([limit.scale for limit in limits])
        self._factor = sign / scale
        self._offset = self._factor * np.array([limit.limit for limit in limits])

    def __call__(
        self,
        settings: Settings,
        state: GridState,
        solved: NDArray[np.bool_] | None = None,
        weight: FloatArray | None = None,
    ) -> FloatArray:
        """Distance beyond each limit in units of its scale, shape (..., n_entries).

        Args:
            settings: Not used.
            state: The state.
            solved: Which snapshots count, shape (..., n_snapshots); without any, -inf. None: all.
            weight: Of the snapshots where they are others than the limits were made for.
        """
        return self.entries(self.beyond(state, solved), weight)

    def entries(self, beyond: FloatArray, weight: FloatArray | None = None) -> FloatArray:
        """Entries of distances in every snapshot, (..., n_snapshots, n_limits) to (..., n_entries).

        Args:
            beyond: See `beyond`.
            weight: Of the snapshots, None for that of the limits.
        """
        if self.n_each is not None:
            return beyond.reshape(*beyond.shape[:-2], -1)
        if beyond.shape[-2] == 1:
            return beyond[..., 0, :]
        found: FloatArray = beyond.max(axis=-2)
        for share, own in self._by_share:
            values = np.swapaxes(beyond[..., own], -1, -2)
            found[..., own] = quantile(values, self._weights(beyond, weight), share)
        return found

    def _weights(self, beyond: FloatArray, weight: FloatArray | None = None) -> FloatArray:
        weight = self.weight if weight is None else weight
        return np.ones(beyond.shape[-2]) if weight is None else weight

    def beyond(
        self,
        state: GridState,
        solved: NDArray[np.bool_] | None = None,
        missing: float = 0.0,
    ) -> FloatArray:
        """Distance beyond each entry in every snapshot, shape (..., n_snapshots, n).

        Args:
            state: The state.
            solved: Which snapshots count, shape (..., n_snapshots); others are -inf. None: all.
            missing: What buses have that are switched off with nothing to supply.
        """
        beyond = self._of_limits(state, missing)
        if solved is not None and not solved.all():
            beyond[~solved] = -np.inf
        return self._collapsed(beyond) if self._joint else beyond

    def _of_limits(self, state: GridState, missing: float = 0.0) -> FloatArray:
        """Distance beyond each limit in every snapshot, shape (..., n_snapshots, n_limits)."""
        beyond: FloatArray = state.values.take(self._columns, axis=-1)
        beyond *= self._factor
        beyond -= self._offset
        beyond[np.isnan(beyond)] = missing
        return beyond

    def _collapsed(self, beyond: FloatArray) -> FloatArray:
        """The worst of those that hold together in place of them, the last entries."""
        worst = [beyond[..., own].max(axis=-1, keepdims=True) for own in self._joint]
        return np.concatenate([beyond[..., self._alone], *worst], axis=-1)

    def slopes(self, state: GridState, solved: NDArray[np.bool_]) -> StateLimitSlopes:
        """How the entries move with the values of the state.

        Args:
            state: Of a batch.
            solved: Which snapshots count, shape (n, n_snapshots).
        """
        beyond = self.beyond(state, solved)
        values = beyond.max(axis=-2)
        snapshot = beyond.argmax(axis=-2)
        for share, own in self._by_share:
            each = np.swapaxes(beyond[..., own], -1, -2)
            snapshot[..., own] = quantile_place(each, self._weights(beyond), share)
            values = np.take_along_axis(beyond, snapshot[..., np.newaxis, :], axis=-2)[..., 0, :]
        n, n_limits = len(beyond), len(self.limits)
        if self.n_each is not None:
            values = beyond.reshape(n, -1)
            snapshot = np.tile(np.repeat(np.arange(self.n_each), n_limits), (n, 1))
            limit = np.tile(np.arange(n_limits), (n, self.n_each))
        else:
            limit = self._deciding(state, snapshot)
        decides = state.values[np.arange(n)[:, np.newaxis], snapshot, self._columns[limit]]
        moves = ~np.isnan(decides) & np.isfinite(values)
        return StateLimitSlopes(values, snapshot, self._columns[limit], self._factor[limit], moves)

    def _deciding(self, state: GridState, snapshot: NDArray[np.int64]) -> NDArray[np.int64]:
        """The limit that decides each entry in its snapshot, shape (n, n_entries)."""
        n = len(snapshot)
        found = np.tile(np.concatenate([self._alone, np.zeros(len(self._joint), np.int64)]), (n, 1))
        if self._joint:
            each = self._of_limits(state)
            first = len(self._alone)
            for k, own in enumerate(self._joint):
                there = each[np.arange(n), snapshot[:, first + k]][:, own]
                found[:, first + k] = own[there.argmax(axis=-1)]
        return found


def _limited(quantity: str) -> str:
    """Name of the limit on a quantity: one for loadings of all branches."""
    return "loading_percent" if quantity.endswith("_loading_percent") else quantity


def _named(limit: Limit) -> str:
    """Name of an entry."""
    return limit.name if limit.share == 1.0 else f"{limit.name} in {limit.share * 100:g} %"


class ChanceTails:
    """The largest distances of entries with a share below 1, of many situations in parts.

    No more are kept than decide the entries, so that memory does not grow with the situations.

    Args:
        limits: The limits.
        n: Number of candidates.
        weight: Of all situations, shape (n_situations,).
    """

    def __init__(self, limits: StateLimits, n: int, weight: FloatArray) -> None:
        self._shares = limits.shares[limits.chance]
        self._total = float(weight.sum())
        self._n_kept = n_deciding(weight, float(self._shares.min()))
        self._values = np.full((n, len(self._shares), 0), -np.inf)
        self._weight = np.zeros((n, len(self._shares), 0))

    def add(self, which: NDArray[np.int64], beyond: FloatArray, weight: FloatArray) -> None:
        """Takes up some candidates' distances in some situations.

        Args:
            which: The candidates; the others take part no more.
            beyond: Of the entries with a share below 1, shape (len(which), n_situations, n).
            weight: Of the situations.
        """
        n, n_entries, n_before = self._values.shape
        shape = (n, n_entries, n_before + len(weight))
        values, weights = np.full(shape, -np.inf), np.zeros(shape)
        values[..., :n_before], weights[..., :n_before] = self._values, self._weight
        seen = np.where(weight > 0, np.swapaxes(beyond, -1, -2), -np.inf)
        values[which, :, n_before:], weights[which, :, n_before:] = seen, weight
        if shape[-1] > self._n_kept:  # of equal values it does not matter which are kept
            values, weights = largest(values, weights, self._n_kept)
        self._values, self._weight = values, weights

    def entries(self) -> FloatArray:
        """The entries with a share below 1, shape (n_candidates, n)."""
        found = np.empty(self._values.shape[:2])
        for share in np.unique(self._shares):
            own = self._shares == share
            place = quantile_place(self._values[:, own], self._weight[:, own], share, self._total)
            found[:, own] = np.take_along_axis(
                self._values[:, own], place[..., np.newaxis], axis=-1
            )[..., 0]
        return found


class StateLimitSlopes(NamedTuple):
    """How entries of `StateLimits` move: each with one value of the state in one snapshot.

    Attributes:
        values: The entries, -inf where nothing is solved, shape (n, n_entries).
        snapshot: The one that decides each, the first of several, shape (n, n_entries).
        columns: Value of the state that decides each, shape (n, n_entries).
        factor: How the entry moves with it, shape (n, n_entries).
        moves: Which entries move at all, shape (n, n_entries).
    """

    values: FloatArray
    snapshot: NDArray[np.int64]
    columns: NDArray[np.int64]
    factor: FloatArray
    moves: NDArray[np.bool_]


class OfCandidates:
    """A constraint of the user's own: a function of one candidate in all its situations.

    Args:
        function: Of (settings, state), feasible where what it gives is <= 0: a number, or a list
            of numbers whose length never changes. NaN stands for a large violation.
        settings, state: The grid as it is now, of which the number of entries is learnt.

    Raises:
        ValueError: It gives neither a number nor a list of numbers.
    """

    needs_state = True

    def __init__(
        self, function: Callable[[Settings, GridState], Any], settings: Settings, state: GridState
    ) -> None:
        self.function = function
        self._name = str(getattr(function, "__name__", type(function).__name__))
        values = self._numbers(function(settings, state))
        if values.ndim > 1:
            raise ValueError(
                f"constraints: {self._name}: expected a number or a list of numbers, got an array "
                f"of {values.shape}"
            )
        n = values.size
        self.names = (self._name,) if not values.ndim else tuple(self._numbered(n))
        self.kinds = (self._name,) * n

    def _numbered(self, n: int) -> list[str]:
        return [f"{self._name} {i}" for i in range(n)]

    def _numbers(self, given: Any) -> FloatArray:
        try:
            return np.asarray(given, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(
                f"constraints: {self._name}: expected a number or a list of numbers, got {given!r}"
            ) from None

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Values, shape (n_entries,) or (n_candidates, n_entries).

        Raises:
            ValueError: The function gives another number of entries than for the grid as it is.
        """
        if state.values.ndim == 2:
            return self._of_one(settings, state)
        each = [
            self._of_one(settings.candidate(i), state.candidate(i))
            for i in range(len(state.values))
        ]
        return np.array(each, dtype=float).reshape(len(each), len(self.names))

    def _of_one(self, settings: Settings, state: GridState) -> FloatArray:
        values = self._numbers(self.function(settings, state)).ravel()
        if len(values) != len(self.names):
            raise ValueError(
                f"constraints: {self._name}: gave {len(values)} entries, and {len(self.names)} for "
                "the grid as it is"
            )
        return np.where(np.isnan(values), _LARGE, values)


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
    needs_state = False
    is_stepwise = True

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
        """Number of independent loops, the most of all snapshots, shape (..., 1)."""
        holds = np.repeat(self._holds[np.newaxis], len(settings.rows), axis=0)
        source, condition = self._places(settings.fields)
        holds[:, condition] = settings.rows[:, source] != 0
        n_loops = count_loops(holds, self._edge, self._edges, self._n_buses)
        return n_loops.reshape(settings.shape).max(axis=-1)[..., np.newaxis].astype(float)

    def _places(self, fields: tuple[Field, ...]) -> tuple[list[int], list[int]]:
        """Which value of the settings decides which condition."""
        keys = [(f.table, f.column, element) for f in fields for element in f.elements]
        places = [(i, p) for i, key in enumerate(keys) for p in self._position.get(key, ())]
        return [i for i, _ in places], [p for _, p in places]


@compiled
def count_loops(  # type: ignore[no-untyped-def]
    holds, condition_edge, edges, n_nodes
):
    """Independent loops of graphs whose edges are closed where all their conditions hold.

    Args:
        holds: Whether each condition holds, one row per graph, (n_graphs, n_conditions).
        condition_edge: The edge of each condition, shape (n_conditions,).
        edges: Pairs of nodes, shape (n_edges, 2).
        n_nodes: Number of nodes.

    Returns:
        Shape (n_graphs,): closed edges that join two nodes which others join already.
    """
    n_loops = np.zeros(len(holds), dtype=np.int64)
    above = np.empty(n_nodes, dtype=np.int64)
    for row in range(len(holds)):
        closed = np.ones(len(edges), dtype=np.bool_)
        for i in range(len(condition_edge)):
            closed[condition_edge[i]] &= holds[row, i]
        above[:] = np.arange(n_nodes)
        for e in range(len(edges)):
            if closed[e] and not union(above, edges[e, 0], edges[e, 1]):
                n_loops[row] += 1
    return n_loops
