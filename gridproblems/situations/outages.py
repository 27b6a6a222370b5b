"""`Outages` and `Disturbances`: what may happen to a grid, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from gridproblems._names import with_nearest
from gridproblems.disturbances import as_disturbance
from gridproblems.situations.axis import SCALE, Axis, Delta, Multiplies, SituationGrid
from gridproblems.state import Field


@dataclass(frozen=True, init=False)
class Outages(Multiplies):
    """The grid as it is, and with one of its elements out at a time; settings stay as they are.

    Objectives see the whole grid alone. Limits hold in all situations; those with something out,
    however much at a time, are the group ``"n-1"``. An outage whose power flow fails is counted in
    the entry ``"n-1 power_flow"``.

    Args:
        lines: ``"lines"`` or ``"trafos"`` for all whose outage leaves every bus supplied, or lines
            by index; ``"gens"`` for all generators but slacks, which then make up for what is
            lost; a mapping, ``{"line": "lines", "trafo": [1], "gen": [0, 2]}``; or None for
            ``pairs`` alone.
        *more: Further words, ``Outages("lines", "trafos")``.
        pairs: What goes out together: a list ``[(3, 5), (3, "trafo 2")]``, or with names
            ``{"corridor": [3, 4, "gen 1"]}``; numbers are lines.
        without: What does not go out although ``lines`` and ``pairs`` say so: ``[3, "trafo 2",
            "corridor"]``.

    Raises:
        ValueError: Further words beside something that is no word.
    """

    lines: Any
    pairs: Any
    without: Any

    def __init__(
        self, lines: Any = "lines", *more: Any, pairs: Any = (), without: Any = ()
    ) -> None:
        words = (lines, *more)
        if more and not all(isinstance(word, str) for word in words):
            raise ValueError(f"outages: expected words like 'lines', 'trafos', got {words!r}")
        object.__setattr__(self, "lines", words if more else lines)
        object.__setattr__(self, "pairs", pairs)
        if isinstance(without, (str, Integral)):
            without = (without,)
        if not isinstance(without, Sequence):
            raise ValueError(
                f"outages: without: expected a list like [3, 'trafo 2'], got {without!r}"
            )
        object.__setattr__(self, "without", tuple(without))

    def bind(self, grid: SituationGrid) -> Axis:
        """The whole grid, then one situation per outage."""
        fields = () if self.lines is None else grid.secure_branches(self.lines)
        sets: list[tuple[str, tuple[tuple[str, Any], ...]]] = [
            (f"{f.table} {e} out", ((f.table, e),)) for f in fields for e in f.elements
        ]
        sets += grid.outage_sets(self.pairs)
        sets = _without(sets, self.without)
        if not sets:
            raise ValueError("outages: expected lines, trafos, gens or pairs, got none")
        names, n = ["", *(name for name, _ in sets)], 1 + len(sets)
        elements: dict[str, dict[Any, int]] = {}
        for table, element in (own for _, together in sets for own in together):
            places = elements.setdefault(table, {})
            places.setdefault(element, len(places))
        factors = {table: np.ones((n, len(places))) for table, places in elements.items()}
        for row, (_, together) in enumerate(sets, start=1):
            for table, element in together:
                factors[table][row, elements[table][element]] = 0.0
        deltas = [
            Delta(Field(table, "in_service", tuple(places)), factors[table], SCALE)
            for table, places in elements.items()
        ]
        is_whole = np.arange(n) == 0
        return Axis(
            tuple(names),
            tuple(deltas),
            weight=is_whole.astype(float),
            must_solve=is_whole,
            group=("", *["n-1"] * (n - 1)),
            kind="outages",
        )


def _without(
    sets: Sequence[tuple[str, tuple[tuple[str, Any], ...]]], names: Sequence[Any]
) -> list[tuple[str, tuple[tuple[str, Any], ...]]]:
    """The sets that have none of some names.

    Raises:
        ValueError: No set is called so.
    """
    known = [name for name, _ in sets]
    dropped = set()
    for given in names:
        name = f"line {given}" if isinstance(given, Integral) else str(given)
        found = {name, f"{name} out"} & set(known)
        if not found:
            raise ValueError(f"outages: without: no outage is called {with_nearest(name, known)}")
        dropped |= found
    return [one for one in sets if one[0] not in dropped]


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
        return Axis(tuple(name for name, _ in named), tuple(deltas), kind="disturbances")
