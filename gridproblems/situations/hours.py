"""`Hours`: snapshots that follow each other in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gridproblems._arguments import shown
from gridproblems.situations.axis import (
    SCALE,
    Axis,
    Delta,
    Multiplies,
    SituationGrid,
    factors_of,
    numbers,
)
from gridproblems.situations.chosen import Bootstrap, Typical
from gridproblems.state import Settings

#: Keys of series that stand for no table.
_SHORT = ("load", "pv")


@dataclass(frozen=True)
class Hours(Multiplies):
    """Snapshots that follow each other in time.

    Attributes:
        series: Tables over time, ``{("load", "p_mw"): table, ...}`` or with keys like
            ``"load.p_mw"``; DataFrames with elements as columns, arrays with one column per
            element of the table, or paths of CSV files or workbooks. ``"load"`` multiplies
            the powers of all loads, by one number per snapshot or one column per load, and
            ``"pv"`` is a driver. On a feeder: multipliers of all loads, ``{"loads": values}``, and
            of the irradiance, ``{"irradiance": values}``. ``"day"`` or ``"year"``: the
            synthetic one of some packaged cases (`gridproblems.nets.synthetic`). None: those of
            the packaged case. Empty: one snapshot of the grid as it is.
        hours: Duration of a snapshot. [h]
        drivers: Series that controls follow, such as ``{"pv": output over rating}``.
        n: Number of snapshots; where it is given and ``series`` is not, nothing is set over time
            but what controls do.
        load, pv: Short for these two in ``series``, ``Hours(load=[0.5, 1.0])``; also the path of a
            file.

    Raises:
        ValueError: A duration that is not positive, no snapshot, a short form given twice.
    """

    series: Mapping[Any, Any] | Settings | str | None = None
    hours: float = 1.0
    drivers: Mapping[str, Any] = field(default_factory=dict)
    n: int | None = None
    load: InitVar[Any] = None
    pv: InitVar[Any] = None

    def __post_init__(self, load: Any, pv: Any) -> None:
        short = {name: v for name, v in (("load", load), ("pv", pv)) if v is not None}
        if short:
            given = {} if self.series is None else self.series
            if not isinstance(given, Mapping) or short.keys() & given.keys():
                raise ValueError(
                    f"{next(iter(short))}: expected it in series or by itself, not beside "
                    f"{shown(self.series)}"
                )
            object.__setattr__(self, "series", {**given, **short})
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
        deltas: tuple[Delta, ...] = ()
        drivers = {name: np.asarray(v, dtype=float) for name, v in self.drivers.items()}
        if isinstance(series, str):
            deltas, shapes = grid.shapes(series)
            drivers = {**shapes, **drivers}
        elif isinstance(series, Mapping):
            tables = {key: v for key, v in series.items() if key not in _SHORT}
            deltas = grid.series(tables)
            if "load" in series:
                load = _numbers_in("load", series["load"])
                deltas += tuple(
                    Delta(f, factors_of(f"series {f}", "n_snapshots", f, load), SCALE)
                    for f in grid.loads()
                )
            if "pv" in series:
                drivers["pv"] = numbers("series pv", _numbers_in("pv", series["pv"]))
        else:
            deltas = grid.series(series)
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
            kind="hours",
            hours=float(self.hours),
            drivers=drivers,
        )


def _numbers_in(name: str, given: Any) -> Any:
    """What is given, or the numbers in the file of that path: a list if it has one column."""
    if not isinstance(given, (str, Path)):
        return given
    from gridproblems.nets.files.number_table import read_table

    table = read_table(Path(given), f"series {name}")
    return table.iloc[:, 0].to_numpy() if table.shape[1] == 1 else table.to_numpy()


def typical_hours(
    n: int,
    snapshots: int = 1,
    series: Mapping[Any, Any] | str | None = None,
    hours: float = 1.0,
    drivers: Mapping[str, Any] | None = None,
) -> Typical:
    """Some snapshots, or days of so many snapshots, of a series that stand for all of it."""
    return Hours(series, hours, drivers or {}).typical(n, snapshots)


def bootstrap(
    n: int,
    snapshots: int = 24,
    seed: int = 0,
    series: Mapping[Any, Any] | str | None = None,
    hours: float = 1.0,
    drivers: Mapping[str, Any] | None = None,
) -> Bootstrap:
    """Days of so many snapshots drawn from a series."""
    return Hours(series, hours, drivers or {}).bootstrap(n, snapshots, seed)
