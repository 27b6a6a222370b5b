"""`Outages` and `Disturbances`: what may happen to a grid, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridproblems.disturbances import as_disturbance
from gridproblems.situations.axis import SCALE, Axis, Delta, Multiplies, SituationGrid
from gridproblems.state import Field


@dataclass(frozen=True)
class Outages(Multiplies):
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
class Disturbances(Multiplies):
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
