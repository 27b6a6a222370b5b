"""`Scenarios`: what may happen, each with a weight; given, from tables, or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridproblems._arguments import shown
from gridproblems.situations.axis import (
    SCALE,
    Axis,
    Delta,
    Multiplies,
    SituationGrid,
    factors_of,
    numbers,
    split_key,
)
from gridproblems.situations.chosen import Typical
from gridproblems.situations.draws import Draws, distribution
from gridproblems.state import Field, FloatArray

_WEIGHTS = ("probability", "weight")


@dataclass(frozen=True, init=False)
class Scenarios(Multiplies):
    """Situations that may happen, each with a weight.

    Given factor by factor, ``Scenarios({"load.p_mw": [0.8, 1.2]}, weights=[3, 1])``; from a table,
    ``Scenarios("scenarios.csv")``, with one row per scenario, columns ``load``, ``load.p_mw``,
    others that are drivers, and ``probability``; or drawn, ``Scenarios(100, load=0.1, pv=0.2,
    seed=1)``. All candidates are tried in the same draws, and the same arguments give the same
    draws in every process (common random numbers).

    A name of what is drawn is ``load`` (active and reactive power of all loads), a column such as
    ``sgen.p_mw``, or a driver such as ``pv`` that controls follow. Its distribution is

    - a number: normal with mean 1 and this standard deviation;
    - ``("normal", mean, std)``, ``("uniform", low, high)``, ``("lognormal", mean, std)`` (of the
      factor itself, not of its logarithm), ``("beta", a, b)`` between 0 and 1 or ``("beta", a, b,
      low, high)``;
    - a distribution of ``scipy.stats`` with its parameters, such as ``scipy.stats.gamma(2.0)``.

    Factors below 0 are taken as 0.

    Args:
        given: Factors by column, ``{"load.p_mw": factors}``, one number per scenario or a table
            with one column per element in service; a table or its path; or the number of scenarios
            to draw.
        weights: Of the scenarios; None for equal ones, or those of the table.
        drivers: Factors that controls follow, such as ``{"pv": factors}``.
        seed: Of the draws.
        method: ``"latin"`` (Latin hypercube), ``"sobol"`` (scrambled) or ``"random"``.
        correlation: Between what is drawn, of the normal variables behind a Gaussian copula: a
            number for all, or by name, ``{"load*pv": -0.3, "load": 0.8}``, where ``"load"`` is
            between the elements of ``each``.
        each: Names whose elements have factors of their own instead of one for all.
        **of: What is drawn, ``load=0.1``; a column as ``**{"sgen.p_mw": 0.2}``.

    Raises:
        ValueError: A distribution, method, correlation or table that cannot be.
    """

    factors: Mapping[Any, Any]
    weights: Sequence[float] | None
    drivers: Mapping[str, Any]
    draws: Draws | None

    def __init__(
        self,
        given: Any = None,
        weights: Sequence[float] | None = None,
        drivers: Mapping[str, Any] | None = None,
        *,
        factors: Mapping[Any, Any] | None = None,
        seed: int = 0,
        method: str = "latin",
        correlation: Any = 0.0,
        each: Sequence[str] = (),
        **of: Any,
    ) -> None:
        given = factors if given is None else given
        drivers, draws = dict(drivers or {}), None
        if isinstance(given, (str, Path)):
            given = _read(given)
        if isinstance(given, pd.DataFrame):
            given, drivers, weights = _from_table(given, drivers, weights)
        if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
            what = {name: distribution(name, told) for name, told in of.items()}
            draws = Draws(int(given), what, seed, method, correlation, tuple(each))
            given = {}
        elif of:
            raise ValueError(
                f"scenarios: {next(iter(of))}: what is drawn needs how many, such as "
                f"Scenarios(100, {next(iter(of))}=...), got {shown(given)}"
            )
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(
                "scenarios: expected factors {'load.p_mw': [...]}, a table, or how many to draw, "
                f"got {shown(given)}"
            )
        own = {"factors": given or {}, "weights": weights, "drivers": drivers, "draws": draws}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def typical(self, n: int) -> Typical:
        """The ``n`` of them that stand for all, see `Typical`."""
        return Typical(self, n)

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation per factor."""
        changes: list[tuple[str, Field, FloatArray]] = []
        for key, given in self.factors.items():
            for field in _fields(key, grid):
                where = f"scenarios {field}"
                changes.append((where, field, factors_of(where, "n_scenarios", field, given)))
        drivers = {name: numbers(f"drivers {name}", v) for name, v in self.drivers.items()}
        if self.draws is not None:
            drawn, more = _drawn(self.draws, grid)
            changes += drawn
            drivers |= more
        lengths = {name: len(values) for name, _, values in changes}
        lengths |= {f"drivers {name}": len(v) for name, v in drivers.items()}
        if not lengths:
            raise ValueError("scenarios: expected factors or drivers")
        n = next(iter(lengths.values()))
        weights = np.ones(n) if self.weights is None else numbers("weights", self.weights)
        for name, length in {**lengths, "weights": len(weights)}.items():
            if length != n:
                raise ValueError(f"{name}: expected {n} numbers as in the first, got {length}")
        if (weights < 0).any() or not weights.any():
            raise ValueError("weights: expected numbers of 0 or more, at least one above 0")
        names = tuple(f"scenario {i}" for i in range(n))
        deltas = tuple(Delta(field, values, SCALE) for _, field, values in changes)
        return Axis(names, deltas, weights, drivers=drivers, kind="scenarios")


def _fields(key: Any, grid: SituationGrid) -> tuple[Field, ...]:
    """The columns that a name stands for."""
    return grid.loads() if key == "load" else (grid.whole(*split_key(key)),)


def _drawn(
    draws: Draws, grid: SituationGrid
) -> tuple[list[tuple[str, Field, FloatArray]], dict[str, FloatArray]]:
    """Factors of columns, and drivers, as drawn."""
    fields = {name: _fields(name, grid) for name in draws.of if name == "load" or "." in name}
    sizes = {}
    for name in draws.of:
        sizes[name] = len(fields[name][0].elements) if name in draws.each and name in fields else 1
        if name in draws.each and (name not in fields or fields[name][0].table == "solution"):
            raise ValueError(f"each: {name} is one factor here, it has no elements of its own")
    found = draws(sizes)
    changes = [
        (f"scenarios {field}", field, np.broadcast_to(found[name], (draws.n, len(field.elements))))
        for name, own in fields.items()
        for field in own
    ]
    return changes, {name: found[name][:, 0] for name in draws.of if name not in fields}


def _read(path: str | Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"scenarios: no table can be read from {str(path)!r}: {error}") from error


def _from_table(
    table: pd.DataFrame, drivers: dict[str, Any], weights: Any
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Factors, drivers and weights of a table with one row per scenario."""
    factors = {}
    for name in map(str, table.columns):
        values = tuple(table[name])
        if name in _WEIGHTS:
            weights = values if weights is None else weights
        elif name == "load" or "." in name:
            factors[name] = values
        else:
            drivers[name] = values
    return factors, drivers, weights
