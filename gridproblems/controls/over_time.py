"""Limits on what controls do from hour to hour: operations per day, and ramps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridproblems.constraints import Measure
from gridproblems.controls.block import Block, BlockConstraint, PlacedBlock
from gridproblems.situations import Situations
from gridproblems.state import FloatArray


@dataclass(frozen=True)
class OverTime:
    """A kind of limit on the changes of settings over the hours of a candidate.

    Attributes:
        columns: Columns that it looks at, table and column.
        unit: Of the limit.
        what: What a reader calls such elements.
        is_daily: Whether changes add up over every day; else each is a rate per hour.
    """

    columns: tuple[tuple[str, str], ...]
    unit: str
    what: str
    is_daily: bool


#: Limits over time by name.
OVER_TIME: dict[str, OverTime] = {
    "tap_operations_per_day": OverTime(
        (("trafo", "tap_pos"), ("trafo3w", "tap_pos")),
        "operations per day",
        "positions of tap changers",
        True,
    ),
    "shunt_operations_per_day": OverTime(
        (("shunt", "step"),), "operations per day", "steps of shunts", True
    ),
    "switch_operations_per_day": OverTime(
        (("line", "in_service"), ("switch", "closed")),
        "operations per day",
        "lines or switches that open and close",
        True,
    ),
    "ramp_mw_per_h": OverTime(
        tuple((table, "p_mw") for table in ("gen", "sgen", "storage")),
        "MW/h",
        "active powers of generators, static generators or storages",
        False,
    ),
}


def split_limits(
    limits: Mapping[str, Any], emergency: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Limits of the grid, and those over time.

    Raises:
        ValueError: A value that cannot be, or a limit over time among those of outages.
    """
    for name in OVER_TIME:
        if name in emergency:
            raise ValueError(
                f"emergency_limits: {name}: settings do not change by an outage; give it in limits"
            )
    of_grid = {name: value for name, value in limits.items() if name not in OVER_TIME}
    asked = {n: v for n, v in limits.items() if n in OVER_TIME and v is not None}
    for name, value in asked.items():
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not (is_number and value >= 0 and math.isfinite(value)):
            raise ValueError(f"limits: {name}: expected a number of 0 or more, got {value!r}")
    return of_grid, {name: float(value) for name, value in asked.items()}


def limits_over_time(
    placed: Sequence[PlacedBlock], limits: Mapping[str, float], situations: Situations, grid: Any
) -> list[tuple[BlockConstraint, slice]]:
    """Limits over time as constraints of the blocks whose settings they look at.

    Args:
        placed: The blocks of a problem.
        limits: By name, see `OVER_TIME`.
        situations: With a series in time.
        grid: Says what a reader calls its elements.

    Returns:
        The constraints, each with the place of its block in ``x``.

    Raises:
        ValueError: No series in time, or no control of what is limited.
    """
    found = []
    for name, limit in limits.items():
        kind = OVER_TIME[name]
        if situations.n_time < 2:
            raise ValueError(
                f"limits: {name}: needs hours that follow each other, such as "
                f"situations=Hours(...); got {situations.n} situation"
                f"{'' if situations.n == 1 else 's'} without time"
            )
        concerned = [(p, c) for p in placed if len(c := _columns(p.block, kind))]
        if not concerned:
            raise ValueError(f"limits: {name}: no control sets {kind.what}")
        for p, columns in concerned:
            changes = Changes(p.block, name, limit, columns, situations)
            found.append((changes.constraint(grid), p.part))
    return found


def _columns(block: Block, kind: OverTime) -> NDArray[np.int64]:
    """The values of a block that a kind of limit looks at."""
    if not block.variables:
        return np.zeros(0, dtype=np.int64)
    inside = [(f.table, f.column) in kind.columns for f in block.fields for _ in f.elements]
    return np.flatnonzero(inside)


class Changes:
    """Entries of a limit on changes of the settings of one block, one per element.

    Of operations an entry is that of the day with most of them, of ramps that of the steepest hour;
    what changes at midnight counts for the day that begins. The first hour of a series, and of each
    typical day, has nothing before it. Controls count as they are set, before scenarios scale them.

    Args:
        block: The block.
        name: Of the limit, see `OVER_TIME`.
        limit: The limit, 0 or more.
        columns: Values of the block that are looked at.
        situations: With a series in time.
    """

    def __init__(
        self,
        block: Block,
        name: str,
        limit: float,
        columns: NDArray[np.int64],
        situations: Situations,
    ) -> None:
        self._block, self._name, self._limit, self._columns = block, name, limit, columns
        self._situations = situations
        self._kind = OVER_TIME[name]
        #: What a violation is measured in; a limit of 0 has no scale of its own.
        self._scale = limit or 1.0
        first = np.arange(1, situations.n_time)
        if self._kind.is_daily:
            day = np.floor(first * situations.hours / 24.0 + 1e-9).astype(int)
            self._starts = np.flatnonzero(np.diff(day, prepend=-1))
            self._factor = 1.0
        else:
            self._starts = np.arange(len(first))
            self._factor = 1.0 / situations.hours

    def constraint(self, grid: Any) -> BlockConstraint:
        """The entries as a constraint of the block."""
        elements = [(f.table, e) for f in self._block.fields for e in f.elements]
        labels = [grid.label(*elements[column]) for column in self._columns]
        measures = tuple(
            Measure(self._scale, self._limit, self._kind.unit, True, f"{label} {self._name}")
            for label in labels
        )
        known = self._block.moves(self._block.base_x[np.newaxis], self._situations) is not None
        return BlockConstraint(
            tuple(f"{label} {self._name}" for label in labels),
            (self._name,) * len(labels),
            self.beyond,
            self.slopes if known else None,
            measures,
        )

    def _series(self, x: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
        """Values over time, shape (n, n_chains, n_time, n_columns), and the step of each
        (n_chains, n_time)."""
        s = self._situations
        values = self._block.values(x, s)[..., self._columns]
        n_steps = values.shape[1]
        if n_steps == s.n and s.n > s.n_time:
            steps = np.arange(s.n).reshape(-1, s.n_time)
        else:
            steps = (np.arange(s.n_time) * n_steps // s.n_time)[np.newaxis]
        return values[:, steps], steps

    def _totals(self, changes: FloatArray) -> FloatArray:
        """Sums over each day, or rates, shape (n, n_chains, n_days, n_columns)."""
        totals: FloatArray = np.add.reduceat(np.abs(changes), self._starts, axis=2)
        return totals * self._factor

    def beyond(self, x: FloatArray) -> FloatArray:
        """Of snapped vectors (n, n_var) of the block, shape (n, n_entries)."""
        series, _ = self._series(x)
        worst = self._totals(np.diff(series, axis=2)).max(axis=(1, 2))
        entries: FloatArray = (worst - self._limit) / self._scale
        return entries

    def slopes(self, x: FloatArray) -> FloatArray:
        """Slopes of the entries by the vectors, shape (n, n_entries, n_var).

        Those of the first of several days or hours that are alike; a value that does not change
        has a slope of 0 there.
        """
        n, n_columns = len(x), len(self._columns)
        series, steps = self._series(x)
        changes = np.diff(series, axis=2)
        totals = self._totals(changes)
        n_parts = totals.shape[2]
        worst = totals.reshape(n, -1, n_columns).argmax(axis=1)
        part = np.searchsorted(self._starts, np.arange(changes.shape[2]), side="right") - 1
        place = np.arange(len(steps))[:, np.newaxis] * n_parts + part  # (n_chains, n_changes)
        counts = place[np.newaxis, ..., np.newaxis] == worst[:, np.newaxis, np.newaxis]
        sign = np.where(counts, np.sign(changes), 0.0) * (self._factor / self._scale)
        by_hour = np.zeros(series.shape)
        by_hour[:, :, 1:] += sign
        by_hour[:, :, :-1] -= sign
        of_step = steps.ravel() == np.arange(steps.max() + 1)[:, np.newaxis]
        by_step = of_step.astype(float) @ by_hour.reshape(n, -1, n_columns)
        moves = self._block.moves(x, self._situations)
        assert moves is not None
        column = np.broadcast_to(moves.column, (n, len(moves.step)))
        slope = np.broadcast_to(moves.slope, column.shape)
        entry = np.full(int(max(column.max(initial=0), self._columns.max())) + 1, -1)
        entry[self._columns] = np.arange(n_columns)
        found = np.zeros((n, n_columns, x.shape[1]))
        vector, move = np.nonzero(entry[column] >= 0)
        own = entry[column[vector, move]]
        moved = by_step[vector, moves.step[move], own] * slope[vector, move]
        np.add.at(found, (vector, own, moves.variable[move]), moved)
        return found
