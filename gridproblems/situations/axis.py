"""Axes of situations bound to a grid, and their product."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridproblems._arguments import shown
from gridproblems.state import Field, FloatArray, Settings

IntArray = NDArray[np.int64]

SET, SCALE = "set", "scale"


@dataclass(frozen=True, eq=False)
class Delta:
    """What an axis does to one column of the settings.

    Attributes:
        field: The column and its elements.
        values: One row per situation of the axis, shape (n, n_elements).
        how: ``"set"`` puts the values in place of the grid's; ``"scale"`` multiplies what the
            grid, a control or another axis has set.
    """

    field: Field
    values: FloatArray
    how: str = SET


@dataclass(frozen=True)
class Reduced:
    """What is lost where some situations stand for all.

    Attributes:
        n_from, n_to: How many there were, how many there are.
        distance_percent: By what is set, scaled or followed, the mean distance of the values from
            those that stand for them, in terms of their mean size. [%]
        mean_percent: By the same, how far the weighted mean is off. [%]
    """

    n_from: int
    n_to: int
    distance_percent: Mapping[str, float]
    mean_percent: Mapping[str, float]

    def __str__(self) -> str:
        means = self.mean_percent
        each = ", ".join(
            f"{name} {off:.2g} % off, its mean {means[name]:+.2g} %"
            for name, off in self.distance_percent.items()
        )
        return f"{self.n_to} typical of {self.n_from}" + (f": {each}" if each else "")


@dataclass(frozen=True, eq=False)
class Axis:
    """One bound axis of situations.

    Attributes:
        names: What to call each situation, empty for the grid as it is.
        deltas: What the situations change.
        weight: Share in objectives, not necessarily adding up to 1; situations of weight 0 are
            seen by limits alone, shape (n,).
        must_solve: Whether a failed power flow makes the candidate a failed one; else it is
            counted in an entry of the limits, shape (n,).
        group: Name of the limits that hold, empty for those of every day.
        is_time: Whether the situations follow each other in time.
        hours: Duration of a situation in time. [h]
        drivers: Series by name that controls may follow, such as ``"pv"``, shape (n,) each.
        chain: Number of snapshots that follow each other, where the axis is made of several such
            chains, one after the other (typical days); None for one of all.
        stands_for: Number of chains that those of the axis stand for; energies count by it.
        reduced: What is lost where they stand for more, None where nothing is.
        kind: What a reader calls the axis, empty for no name of its own.
    """

    names: tuple[str, ...]
    deltas: tuple[Delta, ...] = ()
    weight: FloatArray | None = None
    must_solve: NDArray[np.bool_] | None = None
    group: tuple[str, ...] | None = None
    is_time: bool = False
    hours: float = 1.0
    drivers: Mapping[str, FloatArray] = field(default_factory=dict)
    chain: int | None = None
    stands_for: float = 1.0
    reduced: Reduced | None = None
    kind: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def some(self, which: IntArray) -> Axis:
        """Some of its situations."""
        return replace(
            self,
            names=tuple(self.names[i] for i in which),
            deltas=tuple(replace(delta, values=delta.values[which]) for delta in self.deltas),
            weight=None if self.weight is None else self.weight[which],
            must_solve=None if self.must_solve is None else self.must_solve[which],
            group=None if self.group is None else tuple(self.group[i] for i in which),
            drivers={name: values[which] for name, values in self.drivers.items()},
        )


class SituationGrid(Protocol):
    """What situations ask of a grid."""

    def series(self, tables: Mapping[Any, Any] | Settings | None) -> tuple[Delta, ...]:
        """Tables over time as deltas of equal length; ValueError names what is wrong."""
        ...

    def shapes(self, name: str) -> tuple[tuple[Delta, ...], dict[str, FloatArray]]:
        """What a packaged series of a name scales, and its drivers; ValueError where none is."""
        ...

    def loads(self) -> tuple[Field, ...]:
        """The columns that hold the powers of all loads."""
        ...

    def whole(self, table: str, column: str) -> Field:
        """A column of all elements in service; ValueError where there is none."""
        ...

    def secure_branches(self, asked: Any) -> tuple[Field, ...]:
        """Columns ``in_service`` of what can go out one at a time."""
        ...

    def outage_sets(self, pairs: Any) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
        """Names of what can go out together, and its elements, table and index."""
        ...

    def disturbance(self, given: Any) -> tuple[str, Mapping[tuple[str, str], Mapping[Any, float]]]:
        """Name and settings of a disturbance."""
        ...

    def present(self, field: Field) -> FloatArray:
        """What the grid has in a column now, shape (n_elements,)."""
        ...


class SituationAxis(Protocol):
    """One axis as a user writes it."""

    def bind(self, grid: SituationGrid) -> Axis:
        """The axis on a grid; ValueError names an element or table that the grid has not."""
        ...


class Multiplies:
    """Products of axes by ``*``."""

    @property
    def axes(self) -> tuple[Any, ...]:
        return (self,)

    def __mul__(self, other: Any) -> Product:
        if not hasattr(other, "axes"):
            return NotImplemented
        return Product((*self.axes, *other.axes))


@dataclass(frozen=True)
class Product(Multiplies):
    """Every situation of each axis with every one of the others."""

    parts: tuple[Any, ...]

    @property
    def axes(self) -> tuple[Any, ...]:
        """The axes, in the order they were multiplied."""
        return self.parts


class Situations:
    """The product of bound axes; time is last, so that snapshots of one scenario are neighbours.

    Args:
        axes: The axes, at most one of them in time.

    Attributes:
        n: Number of situations.
        n_time: Number of snapshots that follow each other in time, 1 without an axis in time.
        n_chains: Number of such chains of the axis in time, which are not joined; mostly 1.
        stands_for: Number of chains that the axis in time stands for, by which energies count.
        hours: Duration of a snapshot. [h]
        index: Row of every axis in each situation, shape (n_axes, n).
        time: Snapshot in time of each situation, shape (n,).
        weight, must_solve: Of each situation, see `Axis`, shape (n,).
        group: Group of limits of each situation.
        counted: The situations that objectives see, shape (n_counted,).
        limit_weight: As weight, with the situations of an axis that has groups of its own alike:
            by it chance limits count, shape (n,).

    Raises:
        ValueError: Two axes in time.
    """

    def __init__(self, axes: Iterable[Axis] = ()) -> None:
        self.axes = tuple(sorted(axes, key=lambda axis: axis.is_time))
        in_time = [k for k, axis in enumerate(self.axes) if axis.is_time]
        if len(in_time) > 1:
            raise ValueError("situations: two series in time cannot be multiplied")
        shape = [len(axis) for axis in self.axes]
        self.index: IntArray = np.indices(shape).reshape(len(shape), math.prod(shape))
        self.n = self.index.shape[1]
        self.n_time, self.n_chains, self.stands_for, self.hours = 1, 1, 1.0, 1.0
        self.time: IntArray = np.zeros(self.n, np.int64)
        if in_time:
            axis = self.axes[in_time[0]]
            self.n_time = axis.chain or len(axis)
            self.n_chains = len(axis) // self.n_time
            self.stands_for, self.hours = axis.stands_for, axis.hours
            self.time = self.index[in_time[0]] % self.n_time
        self.weight, self.limit_weight = np.ones(self.n), np.ones(self.n)
        self.must_solve = np.ones(self.n, dtype=bool)
        groups = [""] * self.n
        for axis, rows in zip(self.axes, self.index, strict=True):
            if axis.weight is not None:
                self.weight *= axis.weight[rows]
                if axis.group is None:
                    self.limit_weight *= axis.weight[rows]
            if axis.must_solve is not None:
                self.must_solve &= axis.must_solve[rows]
            if axis.group is not None:
                groups = [_joined(g, axis.group[row]) for g, row in zip(groups, rows, strict=True)]
        self.group = tuple(groups)
        self.counted: IntArray = np.flatnonzero(self.weight)
        if not len(self.counted):
            raise ValueError("situations: none has a weight above 0")
        #: Weights of the counted situations apart from time, shape (n_rest,).
        self.rest_weight: FloatArray = self.weight[self.counted][:: self.n_time]

    @property
    def names(self) -> list[str]:
        """What to call each situation."""
        return [
            ", ".join(name for axis, row in zip(self.axes, column, strict=True)
                      if (name := axis.names[row]))
            for column in self.index.T
        ]  # fmt: skip

    def some_snapshots(self, which: IntArray) -> Situations:
        """The same with some of the snapshots in time alone."""
        return Situations(axis.some(which) if axis.is_time else axis for axis in self.axes)

    def part(self, rows: slice) -> Situations:
        """Some that follow each other, of one series in time or of several whole ones."""
        new = copy.copy(self)
        new.index, new.n = self.index[:, rows], len(self.time[rows])
        new.n_time = min(self.n_time, new.n)
        new.time, new.must_solve = self.time[rows], self.must_solve[rows]
        new.weight, new.limit_weight = self.weight[rows], self.limit_weight[rows]
        new.group = self.group[rows]
        new.counted = np.flatnonzero(new.weight)
        new.rest_weight = new.weight[new.counted][:: new.n_time]
        return new

    def driver(self, name: str) -> FloatArray | None:
        """The product of the axes' drivers of a name, shape (n,); None where no axis has it."""
        found = [
            axis.drivers[name][rows]
            for axis, rows in zip(self.axes, self.index, strict=True)
            if name in axis.drivers
        ]
        return np.prod(found, axis=0) if found else None

    def rows_of(self, group: str) -> IntArray:
        """The situations of a group of limits."""
        if len(self.groups) == 1:
            return np.arange(self.n if group in self.groups else 0, dtype=np.int64)
        return np.array([i for i, g in enumerate(self.group) if g == group], dtype=np.int64)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of limits, the one of every day first."""
        return tuple(sorted(dict.fromkeys(self.group)))


def _joined(first: str, second: str) -> str:
    return " ".join(part for part in (first, second) if part)


def split_key(key: Any) -> tuple[str, str]:
    """Table and column of ``("load", "p_mw")`` or ``"load.p_mw"``.

    Raises:
        ValueError: It is neither.
    """
    parts = key.split(".") if isinstance(key, str) else tuple(key)
    if len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{key!r}: expected a table and a column, such as 'load.p_mw'")
    return parts[0], parts[1]


def numbers(name: str, given: Any) -> FloatArray:
    """A list of finite numbers.

    Raises:
        ValueError: It is none.
    """
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected a list of finite numbers, got {given!r}")
    return values


def factors_of(name: str, rows: str, field: Field, given: Any) -> FloatArray:
    """Factors of the elements of a column, shape (n, n_elements).

    Args:
        name: What an error calls them.
        rows: What it calls their number.
        field: The column.
        given: One number per situation for all elements, or one column per element.

    Raises:
        ValueError: No finite numbers, or of another shape.
    """
    n = len(field.elements)
    if np.ndim(given) != 2:
        return np.tile(numbers(name, given)[:, np.newaxis], n)
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        values = np.full(np.shape(given), np.nan)
    if values.shape[1] != n or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"{name}: expected finite numbers of shape ({rows}, {n}), one column per element in "
            f"service, got {shown(given)}"
        )
    return values
