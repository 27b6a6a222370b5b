"""Fewer situations that stand for many: typical ones, and days drawn from a history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gridproblems.situations.axis import Axis, IntArray, Multiplies, Reduced, SituationGrid
from gridproblems.situations.medoids import k_medoids
from gridproblems.state import FloatArray


@dataclass(frozen=True)
class Typical(Multiplies):
    """Some situations of an axis that stand for all of them, found by k-medoids.

    Each weighs as much as those it stands for, so that objectives estimate those of the whole
    axis; an energy is that of the whole series. Near are situations whose values are, each column
    in terms of its range. The bound axis says what is lost (`Reduced`), as does the summary of a
    problem.

    Attributes:
        of: The axis: `Hours` or `Scenarios`.
        n: How many.
        snapshots: Length of a situation in time: 24 for typical days of a series of hours.

    Raises:
        ValueError: A number below 1.
    """

    of: Any
    n: int
    snapshots: int = 1

    def __post_init__(self) -> None:
        _check(self.n, self.snapshots)

    def bind(self, grid: SituationGrid) -> Axis:
        """The typical situations of the axis, in their order.

        Raises:
            ValueError: More than there are, or snapshots that do not divide the series.
        """
        axis = self.of.bind(grid)
        n_blocks = _n_blocks(axis, self.snapshots)
        if self.n > n_blocks:
            raise ValueError(f"typical: expected at most {n_blocks}, all there are, got {self.n}")
        weight = _block_weight(axis, n_blocks)
        medoids, nearest = k_medoids(_features(axis, n_blocks), weight, self.n)
        own = np.bincount(nearest, weight, minlength=self.n).astype(float)
        chosen = _blocks(axis, medoids, self.snapshots, own, n_blocks)
        return replace(chosen, reduced=_reduced(axis, medoids[nearest], weight, n_blocks, self.n))


@dataclass(frozen=True)
class Bootstrap(Multiplies):
    """Days drawn from a series, each as likely as the others, with replacement.

    Objectives estimate those of the whole series; an energy is that of the whole series.

    Attributes:
        of: The series, `Hours`.
        n: How many days.
        snapshots: Length of a day in snapshots.
        seed: Of the draws; the same seed gives the same days.

    Raises:
        ValueError: A number below 1.
    """

    of: Any
    n: int
    snapshots: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.n, self.snapshots)

    def bind(self, grid: SituationGrid) -> Axis:
        """The days, in the order in which they were drawn.

        Raises:
            ValueError: Snapshots that do not divide the series.
        """
        axis = self.of.bind(grid)
        n_blocks = _n_blocks(axis, self.snapshots)
        drawn = np.random.default_rng(self.seed).integers(n_blocks, size=self.n)
        return _blocks(axis, drawn, self.snapshots, np.full(self.n, 1.0 / self.n), n_blocks)


def _check(n: int, snapshots: int) -> None:
    for name, value in (("n", n), ("snapshots", snapshots)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: expected a whole number of 1 or more, got {value!r}")


def _n_blocks(axis: Axis, snapshots: int) -> int:
    if snapshots > 1 and (not axis.is_time or axis.chain):
        raise ValueError("snapshots: only a series in time has days; expected 1")
    if len(axis) % snapshots:
        raise ValueError(f"snapshots: {len(axis)} in the series are no multiple of {snapshots}")
    return len(axis) // snapshots


def _block_weight(axis: Axis, n_blocks: int) -> FloatArray:
    """Weight of each block: that of scenarios, or the share of a series in time."""
    if axis.weight is None:
        return np.full(n_blocks, 1.0 / n_blocks) if axis.is_time else np.ones(n_blocks)
    weight: FloatArray = axis.weight.reshape(n_blocks, -1)[:, 0]
    return weight


def _blocks(axis: Axis, which: IntArray, snapshots: int, weight: FloatArray, n_blocks: int) -> Axis:
    """Some blocks of an axis with weights of their own."""
    rows = (which[:, np.newaxis] * snapshots + np.arange(snapshots)).ravel()
    some = replace(axis.some(rows), weight=np.repeat(weight, snapshots))
    if not axis.is_time:
        return some
    return replace(some, chain=snapshots, stands_for=axis.stands_for * n_blocks)


def _columns(axis: Axis, n_blocks: int) -> Iterator[tuple[str, FloatArray]]:
    """What the situations set, scale and drive, by name, shape (n_blocks, n)."""
    for delta in axis.deltas:
        yield str(delta.field), delta.values.reshape(n_blocks, -1)
    for name, values in axis.drivers.items():
        yield name, values.reshape(n_blocks, -1)


def _features(axis: Axis, n_blocks: int) -> FloatArray:
    """Values in terms of their column's range, every column alike in distances."""
    found = [np.zeros((n_blocks, 1))]
    for _, values in _columns(axis, n_blocks):
        extent = np.ptp(values)
        if extent > 0:
            found.append(values / (extent * np.sqrt(values.shape[1])))
    return np.concatenate(found, axis=1)


def _reduced(
    axis: Axis, representative: IntArray, weight: FloatArray, n_blocks: int, n: int
) -> Reduced:
    distance, mean = {}, {}
    for name, values in _columns(axis, n_blocks):
        size = weight @ np.abs(values).mean(axis=1)
        if size > 0:
            off = values[representative] - values
            distance[name] = 100.0 * float(weight @ np.abs(off).mean(axis=1) / size)
            mean[name] = 100.0 * float(weight @ off.mean(axis=1) / size)
    return Reduced(n_blocks, n, distance, mean)
