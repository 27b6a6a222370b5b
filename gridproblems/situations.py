"""Situations: what every candidate is tried in, as axes and products of them.

A situation as a user writes it (`Hours`, `Scenarios`, `Outages`, `Disturbances`, products by ``*``)
knows no grid and can be pickled. Bound to a grid it becomes an `Axis`: names, weights, and what it
does to settings as `Delta`. `Situations` is the product of the axes, time last; it is never
expanded beyond index arrays.

>>> hours = Hours({("load", "p_mw"): [[1.0], [2.0]]})
>>> (Outages("lines") * hours).axes[0]
Outages(lines='lines')
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gridproblems.disturbances import as_disturbance
from gridproblems.state import Field, FloatArray, Settings
from gridproblems.words import part_of, split

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
    """

    names: tuple[str, ...]
    deltas: tuple[Delta, ...] = ()
    weight: FloatArray | None = None
    must_solve: NDArray[np.bool_] | None = None
    group: tuple[str, ...] | None = None
    is_time: bool = False
    hours: float = 1.0
    drivers: Mapping[str, FloatArray] = field(default_factory=dict)

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

    def whole(self, table: str, column: str) -> Field:
        """A column of all elements in service; ValueError where there is none."""
        ...

    def secure_branches(self, asked: Any) -> tuple[Field, ...]:
        """Columns ``in_service`` of what can go out one at a time."""
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


class _Multiplies:
    """Products of axes by ``*``."""

    @property
    def axes(self) -> tuple[Any, ...]:
        return (self,)

    def __mul__(self, other: Any) -> Product:
        if not hasattr(other, "axes"):
            return NotImplemented
        return Product((*self.axes, *other.axes))


@dataclass(frozen=True)
class Product(_Multiplies):
    """Every situation of each axis with every one of the others."""

    parts: tuple[Any, ...]

    @property
    def axes(self) -> tuple[Any, ...]:
        """The axes, in the order they were multiplied."""
        return self.parts


@dataclass(frozen=True)
class Hours(_Multiplies):
    """Snapshots that follow each other in time.

    Attributes:
        series: Tables over time, ``{("load", "p_mw"): table, ...}`` or with keys like
            ``"load.p_mw"``; DataFrames with elements as columns, arrays with one column per
            element of the table, or paths of CSV files. On a feeder: multipliers of all loads,
            ``{"loads": values}``, and of the irradiance, ``{"irradiance": values}``. None: those
            of the packaged case. Empty: one snapshot of the grid as it is.
        hours: Duration of a snapshot. [h]
        drivers: Series that controls follow, such as ``{"pv": output over rating}``.
        n: Number of snapshots; where it is given and ``series`` is not, nothing is set over time
            but what controls do.

    Raises:
        ValueError: A duration that is not positive, no snapshot.
    """

    series: Mapping[Any, Any] | Settings | None = None
    hours: float = 1.0
    drivers: Mapping[str, Any] = field(default_factory=dict)
    n: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.hours < np.inf:
            raise ValueError(f"hours: expected a positive duration, got {self.hours}")
        if self.n is not None and self.n < 1:
            raise ValueError(f"n: expected at least one snapshot, got {self.n}")

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation per row of the tables."""
        series = {} if self.series is None and self.n else self.series
        deltas = grid.series(series)
        drivers = {name: np.asarray(v, dtype=float) for name, v in self.drivers.items()}
        lengths = {f"series {d.field}": len(d.values) for d in deltas}
        lengths |= {f"drivers {name}": len(v) for name, v in drivers.items()}
        if not lengths and series is None:
            raise ValueError("situations: Hours needs series, and the case has none")
        n = self.n or next(iter(lengths.values()), 1)
        for name, length in lengths.items():
            if length != n:
                whose = "n says" if self.n else "in the first table"
                raise ValueError(f"{name}: expected {n} rows as {whose}, got {length}")
        return Axis(
            tuple(f"hour {t}" for t in range(n)),
            deltas,
            is_time=True,
            hours=float(self.hours),
            drivers=drivers,
        )


@dataclass(frozen=True)
class Scenarios(_Multiplies):
    """Situations that may happen, each with a weight.

    Attributes:
        factors: What multiplies columns, ``{"load.p_mw": factors}``, one number per scenario.
        weights: Of the scenarios; None for equal ones.
        drivers: Factors that controls follow, such as ``{"pv": factors}``.
    """

    factors: Mapping[Any, Sequence[float]] = field(default_factory=dict)
    weights: Sequence[float] | None = None
    drivers: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation per factor."""
        deltas = []
        lengths: dict[str, int] = {}
        for key, given in self.factors.items():
            table, column = split_key(key)
            field = grid.whole(table, column)
            values = _numbers(f"scenarios {field}", given)
            lengths[f"scenarios {field}"] = len(values)
            deltas.append(Delta(field, np.tile(values[:, None], len(field.elements)), SCALE))
        drivers = {name: _numbers(f"drivers {name}", v) for name, v in self.drivers.items()}
        lengths |= {f"drivers {name}": len(v) for name, v in drivers.items()}
        if not lengths:
            raise ValueError("scenarios: expected factors or drivers")
        n = next(iter(lengths.values()))
        weights = np.ones(n) if self.weights is None else _numbers("weights", self.weights)
        for name, length in {**lengths, "weights": len(weights)}.items():
            if length != n:
                raise ValueError(f"{name}: expected {n} numbers as in the first, got {length}")
        if (weights < 0).any() or not weights.any():
            raise ValueError("weights: expected numbers of 0 or more, at least one above 0")
        names = tuple(f"scenario {i}" for i in range(n))
        return Axis(names, tuple(deltas), weights, drivers=drivers)


@dataclass(frozen=True)
class Outages(_Multiplies):
    """The grid as it is, and with one line or generator out at a time; settings stay as they are.

    Objectives see the whole grid alone. Limits hold in all situations; an outage whose power flow
    fails is counted in the entry ``"n-1 power_flow"``.

    Attributes:
        lines: ``"lines"`` for all whose outage leaves every bus supplied, or lines by index;
            ``"gens"`` for all generators but slacks, which then make up for what is lost; or a
            mapping of both, ``{"line": "lines", "gen": [0, 2]}``.
    """

    lines: Any = "lines"

    def bind(self, grid: SituationGrid) -> Axis:
        """The whole grid, then one situation per outage."""
        fields = grid.secure_branches(self.lines)
        n = 1 + sum(len(f.elements) for f in fields)
        names, deltas, row = [""], [], 1
        for f in fields:
            factors = np.ones((n, len(f.elements)))
            for i, element in enumerate(f.elements):
                factors[row, i] = 0.0
                names.append(f"{f.table} {element} out")
                row += 1
            deltas.append(Delta(f, factors, SCALE))
        is_whole = np.arange(n) == 0
        return Axis(
            tuple(names),
            tuple(deltas),
            weight=is_whole.astype(float),
            must_solve=is_whole,
            group=("", *["n-1"] * (n - 1)),
        )


@dataclass(frozen=True)
class Disturbances(_Multiplies):
    """What may happen to a feeder, one at a time.

    Attributes:
        given: Disturbances or their short forms (`gridproblems.disturbances`), None for the feeder
            as it is.
    """

    given: Sequence[Any]

    @property
    def objects(self) -> tuple[Any, ...]:
        """The disturbances, short forms turned into objects."""
        return tuple(as_disturbance(given) for given in self.given)

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation per disturbance; what one leaves alone is as in the grid."""
        if not self.given:
            raise ValueError("disturbance: expected at least one, got an empty list")
        named = [grid.disturbance(d) for d in self.given]
        elements: dict[tuple[str, str], dict[Any, None]] = {}
        for _, change in named:
            for key, values in change.items():
                elements.setdefault(key, {}).update(dict.fromkeys(values))
        deltas = []
        for key, own in elements.items():
            f = Field(*key, tuple(own))
            table = np.tile(grid.present(f), (len(named), 1))
            for row, (_, change) in enumerate(named):
                for i, element in enumerate(f.elements):
                    table[row, i] = change.get(key, {}).get(element, table[row, i])
            deltas.append(Delta(f, table))
        return Axis(tuple(name for name, _ in named), tuple(deltas))


def axes_of(situations: Any) -> tuple[Any, ...]:
    """The axes of an argument ``situations``: None, one, a product, or a list of disturbances.

    Also in words: ``"outages"``, ``"hours*outages:lines"``.

    Raises:
        ValueError: It is none of these.
    """
    if situations is None:
        return ()
    if isinstance(situations, str):
        return tuple(part_of("situation", text, SITUATIONS) for text in split(situations, "*"))
    if hasattr(situations, "axes"):
        axes: tuple[Any, ...] = tuple(situations.axes)
        return axes
    if isinstance(situations, Sequence) and not isinstance(situations, str):
        if situations and all(hasattr(s, "axes") for s in situations):
            return tuple(axis for s in situations for axis in s.axes)
        return (Disturbances(tuple(situations)),)
    raise ValueError(
        "situations: expected Hours, Scenarios, Outages, Disturbances, a product of them, or a "
        f"list of disturbances, got {situations!r}"
    )


def split_key(key: Any) -> tuple[str, str]:
    """Table and column of ``("load", "p_mw")`` or ``"load.p_mw"``.

    Raises:
        ValueError: It is neither.
    """
    parts = key.split(".") if isinstance(key, str) else tuple(key)
    if len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{key!r}: expected a table and a column, such as 'load.p_mw'")
    return parts[0], parts[1]


def disturbances(*given: Any) -> Disturbances:
    """What may happen to a feeder, one at a time; null for the feeder as it is."""
    return Disturbances(given)


#: Situations by the name that the command line and specifications use.
SITUATIONS: dict[str, Callable[..., Any]] = {
    "hours": Hours,
    "scenarios": Scenarios,
    "outages": Outages,
    "disturbances": disturbances,
}


class Situations:
    """The product of bound axes; time is last, so that snapshots of one scenario are neighbours.

    Args:
        axes: The axes, at most one of them in time.

    Attributes:
        n: Number of situations.
        n_time: Number of snapshots in time, 1 without an axis in time.
        hours: Duration of a snapshot. [h]
        index: Row of every axis in each situation, shape (n_axes, n).
        time: Snapshot in time of each situation, shape (n,).
        weight, must_solve: Of each situation, see `Axis`, shape (n,).
        group: Group of limits of each situation.
        counted: The situations that objectives see, shape (n_counted,).

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
        self.n_time = len(self.axes[in_time[0]]) if in_time else 1
        self.hours = self.axes[in_time[0]].hours if in_time else 1.0
        self.time: IntArray = self.index[in_time[0]] if in_time else np.zeros(self.n, np.int64)
        self.weight = np.ones(self.n)
        self.must_solve = np.ones(self.n, dtype=bool)
        groups = [""] * self.n
        for axis, rows in zip(self.axes, self.index, strict=True):
            if axis.weight is not None:
                self.weight *= axis.weight[rows]
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
        return np.array([i for i, g in enumerate(self.group) if g == group], dtype=np.int64)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of limits, the one of every day first."""
        return tuple(sorted(dict.fromkeys(self.group)))


def _joined(first: str, second: str) -> str:
    return " ".join(part for part in (first, second) if part)


def _numbers(name: str, given: Any) -> FloatArray:
    values = np.asarray(given, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected a list of finite numbers, got {given!r}")
    return values
