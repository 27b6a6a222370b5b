"""Situations: what every candidate is tried in, as axes and products of them.

A situation as a user writes it (`Hours`, `Scenarios`, `Outages`, `Disturbances`, products by ``*``)
knows no grid and can be pickled. Bound to a grid it becomes an `Axis`: names, weights, and what it
does to settings as `Delta`. `Situations` is the product of the axes, time last; it is never
expanded beyond index arrays.

>>> hours = Hours({("load", "p_mw"): [[1.0], [2.0]]})
>>> (Outages("lines") * hours).axes[0]
Outages(lines='lines', pairs=(), without=())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gridproblems.situations.axis import (
    SCALE,
    SET,
    Axis,
    Delta,
    Product,
    Reduced,
    SituationAxis,
    SituationGrid,
    Situations,
    split_key,
)
from gridproblems.situations.chosen import Bootstrap, Typical
from gridproblems.situations.hours import Hours, bootstrap, typical_hours
from gridproblems.situations.outages import Disturbances, Outages
from gridproblems.situations.scenarios import Scenarios
from gridproblems.words import part_of, split

__all__ = [
    "SCALE",
    "SET",
    "SITUATIONS",
    "Axis",
    "Bootstrap",
    "Delta",
    "Disturbances",
    "Hours",
    "Outages",
    "Product",
    "Reduced",
    "Scenarios",
    "SituationAxis",
    "SituationGrid",
    "Situations",
    "Typical",
    "axes_of",
    "disturbances",
    "split_key",
]


def disturbances(*given: Any) -> Disturbances:
    """What may happen to a feeder, one at a time; null for the feeder as it is."""
    return Disturbances(given)


#: Situations by the name that the command line and specifications use.
SITUATIONS: dict[str, Callable[..., Any]] = {
    "hours": Hours,
    "typical_hours": typical_hours,
    "bootstrap": bootstrap,
    "scenarios": Scenarios,
    "outages": Outages,
    "disturbances": disturbances,
}


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
    if isinstance(situations, Sequence) and not isinstance(situations, (str, bytes)):
        if situations and all(hasattr(s, "axes") for s in situations):
            return tuple(axis for s in situations for axis in s.axes)
        return (Disturbances(tuple(situations)),)
    raise ValueError(
        "situations: expected Hours, Scenarios, Outages, Disturbances, a product of them, or a "
        f"list of disturbances, got {situations!r}"
    )
