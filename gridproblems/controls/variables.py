"""`Variable`: one entry of ``x``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gridproblems.state import FloatArray

KINDS = ("real", "integer", "binary", "choice")


@dataclass(frozen=True)
class Variable:
    """One entry of ``x``.

    Attributes:
        name: Name of the variable, unique within a problem.
        kind: ``"real"``, ``"integer"``, ``"binary"`` or ``"choice"``.
        lower, upper: Bounds of the entry of ``x``; a choice is an index into its options.
        options: The values of a choice, in order.
    """

    name: str
    kind: str
    lower: float
    upper: float
    options: tuple[float, ...] = ()


class HasVariables(Protocol):
    """Anything with variables."""

    variables: tuple[Variable, ...]


def bounds(codec: HasVariables) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Lower and upper bounds of ``x`` and which entries are whole, each of shape (n_var,)."""
    variables = codec.variables
    return (
        np.array([v.lower for v in variables], dtype=float),
        np.array([v.upper for v in variables], dtype=float),
        np.array([v.kind != "real" for v in variables]),
    )
