"""Reductions: from one value per situation to one value per candidate.

Two of them, over time first and then over the rest (scenarios, disturbances), since the two do not
commute: the 5 % worst of 100 scenarios' daily means is not that of 2,400 snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Real
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


def quantile(values: FloatArray, weight: FloatArray, share: float = 0.95) -> FloatArray:
    """Smallest of the values that at least ``share`` of the weight does not exceed.

    Args:
        values: Shape (..., n).
        weight: Shape (n,).
        share: Within (0, 1].

    Returns:
        Shape (...).
    """
    whole = float(weight.sum())
    n_largest = n_deciding(weight, share)
    if values.shape[-1] > n_largest:
        seen = values if weight.all() else np.where(weight > 0, values, -np.inf)
        values, weight = largest(seen, np.broadcast_to(weight, seen.shape), n_largest)
    at = quantile_place(values, weight, share, whole)
    found: FloatArray = np.take_along_axis(values, at[..., np.newaxis], axis=-1)[..., 0]
    return found


def n_deciding(weight: FloatArray, share: float) -> int:
    """How many of the largest values decide a `quantile`, whichever of the weights are theirs."""
    least = np.sort(weight[weight > 0])
    return int((np.cumsum(least) <= may_exceed(float(weight.sum()), share)).sum()) + 1


def largest(values: FloatArray, weight: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """The n largest values in any order and their weights, shape (..., m) to (..., n)."""
    at = np.argpartition(values, -n, axis=-1)[..., -n:]
    return np.take_along_axis(values, at, axis=-1), np.take_along_axis(weight, at, axis=-1)


def quantile_place(
    values: FloatArray, weight: FloatArray, share: float, total: float | None = None
) -> NDArray[np.int64]:
    """Where the `quantile` stands among the values, shape (..., n) to (...).

    Args:
        values: Shape (..., n).
        weight: Shape (n,), or that of the values; a value without weight is never the one.
        share: Within (0, 1].
        total: Sum of all weights where the smallest values are left out, None for that of weight.
    """
    order = np.argsort(-values, axis=-1, kind="stable")
    ordered = np.take_along_axis(np.broadcast_to(weight, values.shape), order, axis=-1)
    at_least = np.cumsum(ordered, axis=-1)  # weight of a value and of all larger ones
    whole = float(weight.sum()) if total is None else total
    rank = (at_least > may_exceed(whole, share)).argmax(axis=-1)
    found: NDArray[np.int64] = np.take_along_axis(order, rank[..., np.newaxis], axis=-1)[..., 0]
    return found


def may_exceed(total: float, share: float) -> float:
    """Weight of what may lie above a `quantile`, a rounding error more than exact."""
    return (1.0 - share + 1e-9) * total


def probability(values: FloatArray, weight: FloatArray, bound: float = 0.0) -> FloatArray:
    """Share of the weight whose values exceed a bound, shape (..., n) to (...)."""
    exceeding: FloatArray = ((values > bound) * weight).sum(axis=-1) / weight.sum()
    return exceeding


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
    "quantile": quantile,
    "probability": probability,
}


def reduction(given: Any) -> Reduction:
    """By name, ``("cvar", share)``, ``("quantile", share)`` or ``("probability", bound)``.

    Raises:
        ValueError: An unknown name, a share that is not within (0, 1), a bound that is no number.
    """
    name, *rest = (given,) if isinstance(given, str) else tuple(given)
    if name not in REDUCTIONS:
        raise ValueError(f"reduction: unknown {name!r}; known: {', '.join(REDUCTIONS)}")
    if not rest:
        return REDUCTIONS[name]
    number = rest[0]
    is_number = isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)
    if name == "probability" and len(rest) == 1 and is_number:
        return partial(probability, bound=float(number))
    with_share = {"cvar": cvar, "quantile": quantile}
    if name not in with_share or len(rest) > 1 or not is_number or not 0 < number < 1:
        raise ValueError(
            "reduction: expected ('cvar', share) or ('quantile', share) with 0 < share < 1, or "
            f"('probability', bound), got {given!r}"
        )
    return partial(with_share[name], share=float(number))


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
    elif name == "quantile":
        at = quantile_place(values, weight, *rest or (0.95,))
        np.put_along_axis(slope, at[..., np.newaxis], 1.0, axis=-1)
    elif name != "probability":  # which moves in steps
        raise ValueError(f"reduction: unknown {name!r}; known: {', '.join(REDUCTIONS)}")
    return slope
