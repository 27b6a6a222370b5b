"""Reductions: from one value per situation to one value per candidate.

Two of them, over time first and then over the rest (scenarios, disturbances), since the two do not
commute: the 5 % worst of 100 scenarios' daily means is not that of 2,400 snapshots.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridproblems.state import FloatArray

Reduction = Callable[[FloatArray, FloatArray], FloatArray]


def mean(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Mean, weighted where weights differ, shape (..., n) to (...)."""
    if (weight == weight[0]).all():
        equal: FloatArray = values.mean(axis=-1)
        return equal
    weighted: FloatArray = (values * weight).sum(axis=-1) / weight.sum()
    return weighted


def total(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Sum, each value times its weight, shape (..., n) to (...)."""
    values = values if (weight == 1.0).all() else values * weight
    summed: FloatArray = values.sum(axis=-1)
    return summed


def worst(values: FloatArray, weight: FloatArray) -> FloatArray:
    """Largest value, shape (..., n) to (...)."""
    largest: FloatArray = values.max(axis=-1)
    return largest


def first(values: FloatArray, weight: FloatArray) -> FloatArray:
    """The first value, that of the first snapshot in time, shape (..., n) to (...)."""
    return values[..., 0]


def cvar(values: FloatArray, weight: FloatArray, share: float = 0.95) -> FloatArray:
    """Mean of the worst ``1 - share`` of the weight, shape (..., n) to (...).

    Source: R. T. Rockafellar, S. Uryasev, Optimization of conditional value-at-risk, Journal of
    Risk 2 (2000) 21-41, doi:10.21314/JOR.2000.038.
    """
    order, used = _tail(values, weight, share)
    ordered = np.take_along_axis(values, order, axis=-1)
    tail: FloatArray = (ordered * used).sum(axis=-1) / used.sum(axis=-1)
    return tail


def _tail(
    values: FloatArray, weight: FloatArray, share: float
) -> tuple[NDArray[np.int64], FloatArray]:
    """The order of values, the worst first, and how much of the weight of each is in the tail."""
    order = np.argsort(-values, axis=-1, kind="stable")
    shares = (weight / weight.sum())[order]
    before = np.cumsum(shares, axis=-1) - shares
    used: FloatArray = np.clip(1.0 - share - before, 0.0, shares)
    return order, used


REDUCTIONS: dict[str, Reduction] = {
    "mean": mean,
    "sum": total,
    "energy": total,  # times the duration of a snapshot, which the objective multiplies with
    "max": worst,
    "first": first,
    "cvar": cvar,
}


def reduction(given: Any) -> Reduction:
    """A reduction by name, or ``("cvar", share)``.

    Raises:
        ValueError: An unknown name, or a share that is not within (0, 1).
    """
    name, *rest = (given,) if isinstance(given, str) else tuple(given)
    if name not in REDUCTIONS:
        raise ValueError(f"reduction: unknown {name!r}; known: {', '.join(REDUCTIONS)}")
    if not rest:
        return REDUCTIONS[name]
    share = rest[0]
    if name != "cvar" or len(rest) > 1 or not 0 < share < 1:
        raise ValueError(f"reduction: expected ('cvar', share) with 0 < share < 1, got {given!r}")
    return partial(cvar, share=share)


def slope_of(given: Any, values: FloatArray, weight: FloatArray) -> FloatArray:
    """How a reduction moves with each of its values.

    Where several values are the worst, the first of them is taken.

    Args:
        given: A reduction as of `reduction`.
        values, weight: As of the reduction, shapes (..., n) and (n,).

    Returns:
        Shape (..., n).
    """
    name, *rest = (given,) if isinstance(given, str) else tuple(given)
    if name == "mean":
        return np.broadcast_to(weight / weight.sum(), values.shape)
    if name in ("sum", "energy"):
        return np.broadcast_to(weight, values.shape)
    slope = np.zeros(values.shape)
    if name == "first":
        slope[..., 0] = 1.0
    elif name == "max":
        np.put_along_axis(slope, values.argmax(axis=-1, keepdims=True), 1.0, axis=-1)
    elif name == "cvar":
        order, used = _tail(values, weight, *rest or (0.95,))
        np.put_along_axis(slope, order, used / used.sum(axis=-1, keepdims=True), axis=-1)
    else:
        raise ValueError(f"reduction: unknown {name!r}; known: {', '.join(REDUCTIONS)}")
    return slope
