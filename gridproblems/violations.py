"""Which limits are broken, and by how much, in physical units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridproblems.constraints import Entries
from gridproblems.state import FloatArray

_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """A limit that does not hold.

    Attributes:
        name: Element and quantity, as in ``constraint_names``.
        beyond: Distance beyond the limit, positive. [unit]
        limit: The limit, NaN where the entry is no limit of a quantity. [unit]
        unit: Of both.
        share: Distance in terms of the scale of the limit, as in G.
    """

    name: str
    beyond: float
    limit: float
    unit: str
    share: float

    def __str__(self) -> str:
        limit = "" if math.isnan(self.limit) else f" {self.limit:g} {self.unit}".rstrip()
        return f"{self.name}{limit} by {self.beyond:.3g} {self.unit}".rstrip()


def violations(entries: Entries, values: FloatArray) -> list[Violation]:
    """Limits that one candidate breaks, nearest to holding first.

    Args:
        entries: The entries of the constraints.
        values: Their values, shape (n_entries,).
    """
    found = []
    for i in np.argsort(values, kind="stable"):
        if values[i] > 0:
            measure, share = entries.measures[i], float(values[i])
            beyond = float(share * measure.scale)
            found.append(Violation(entries.names[i], beyond, measure.limit, measure.unit, share))
    return found


def listed(found: Sequence[object], separator: str = "; ") -> str:
    """The first few in words, and how many more there are."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return separator.join(map(str, found[:_SHOWN])) + more
