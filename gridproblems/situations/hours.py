"""`Hours`: snapshots that follow each other in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridproblems.situations.axis import Axis, Multiplies, SituationGrid
from gridproblems.situations.chosen import Bootstrap, Typical
from gridproblems.state import Settings


@dataclass(frozen=True)
class Hours(Multiplies):
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

    def typical(self, n: int, snapshots: int = 1) -> Typical:
        """``n`` of the snapshots that stand for all, or of the days; see `Typical`.

        Args:
            n: How many.
            snapshots: Length of a day in snapshots, 1 for single ones.
        """
        return Typical(self, n, snapshots)

    def bootstrap(self, n: int, snapshots: int = 24, seed: int = 0) -> Bootstrap:
        """``n`` days drawn from the series; see `Bootstrap`.

        Args:
            n: How many.
            snapshots: Length of a day in snapshots.
            seed: Of the draws.
        """
        return Bootstrap(self, n, snapshots, seed)

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


def typical_hours(
    n: int,
    snapshots: int = 1,
    series: Mapping[Any, Any] | None = None,
    hours: float = 1.0,
    drivers: Mapping[str, Any] | None = None,
) -> Typical:
    """Some snapshots, or days of so many snapshots, of a series that stand for all of it."""
    return Hours(series, hours, drivers or {}).typical(n, snapshots)


def bootstrap(
    n: int,
    snapshots: int = 24,
    seed: int = 0,
    series: Mapping[Any, Any] | None = None,
    hours: float = 1.0,
    drivers: Mapping[str, Any] | None = None,
) -> Bootstrap:
    """Days of so many snapshots drawn from a series."""
    return Hours(series, hours, drivers or {}).bootstrap(n, snapshots, seed)
