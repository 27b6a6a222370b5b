"""Tap changers between their whole positions.

pandapower gives the admittances of a branch at every whole position of its tap changer. Between
them they follow cubic splines through these values, which pass through them exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from gridproblems._compile import compiled
from gridproblems.engines._compiled import CompiledModel
from gridproblems.engines._kernels import Arrays, ComplexArray
from gridproblems.state import FloatArray


class TapCurves(NamedTuple):
    """Admittances of branches with tap changers as smooth functions of the position.

    Attributes:
        coefficients: Of the cubic polynomial from each row of ``Arrays.tap_y_pu`` to the next,
            highest power first, shape (n_rows, 4, 4): power, then admittance.
    """

    coefficients: ComplexArray


def tap_curves(a: Arrays) -> TapCurves:
    """Splines through the tables of tap positions."""
    coefficients = np.zeros((len(a.tap_y_pu), 4, 4), dtype=np.complex128)
    coefficients[:, 3] = a.tap_y_pu
    for i in range(len(a.tap_branch)):
        first, n = a.tap_row[i], a.tap_count[a.tap_changer[i]]
        table = a.tap_y_pu[first : first + n]
        finite = np.isfinite(table).all()  # positions without turns left have no admittance
        if n < 2 or not finite:
            coefficients[first : first + n, :3] = 0.0 if n < 2 else np.nan
            continue
        spline = CubicSpline(np.arange(n), table, axis=0)
        coefficients[first : first + n - 1, :3] = np.moveaxis(spline.c, 1, 0)[:, :3]
        # at the last position the polynomial before it goes on: its slope, seen from there
        cubic, square, linear = coefficients[first + n - 2, :3]
        coefficients[first + n - 1, 0] = cubic
        coefficients[first + n - 1, 1] = 3.0 * cubic + square
        coefficients[first + n - 1, 2] = 3.0 * cubic + 2.0 * square + linear
    return TapCurves(coefficients)


@compiled
def on_curves(position, coefficients, a, y, slope, curvature):  # type: ignore[no-untyped-def]
    """Admittances at positions, their slopes, and how these move.

    Args:
        position: Of every tap changer, shape (n, n_changers).
        coefficients: Of `TapCurves`.
        a: `Arrays`.
        y, slope, curvature: Filled, shape (n, n_tap_branches, 4); NaN off the tables. [p.u.]
    """
    for row in range(len(position)):
        for i in range(len(a.tap_branch)):
            changer = a.tap_changer[i]
            steps = position[row, changer] - a.tap_first[changer]
            if not (0 <= steps <= a.tap_count[changer] - 1):
                y[row, i, :] = np.nan
                slope[row, i, :] = np.nan
                curvature[row, i, :] = np.nan
                continue
            first = int(steps)
            t = steps - first
            c = coefficients[a.tap_row[i] + first]
            for k in range(4):
                y[row, i, k] = c[3, k]
                if t > 0:
                    y[row, i, k] = ((c[0, k] * t + c[1, k]) * t + c[2, k]) * t + c[3, k]
                slope[row, i, k] = (3.0 * c[0, k] * t + 2.0 * c[1, k]) * t + c[2, k]
                curvature[row, i, k] = 6.0 * c[0, k] * t + 2.0 * c[1, k]


def with_positions(model: CompiledModel, position: FloatArray, y: ComplexArray) -> CompiledModel:
    """A model whose tap changers have the positions of a batch instead of their own.

    Position ``row`` of every tap changer is the one that it has in power flow ``row``.

    Args:
        model: A compiled model.
        position: Of every tap changer, shape (n, n_changers).
        y: Of the branches that follow, see `on_curves`.
    """
    a = model.arrays
    n, n_branches = y.shape[:2]
    dc = model.dc
    if dc is not None:
        nearest = np.rint(position - a.tap_first).astype(np.int64).clip(0, a.tap_count - 1)
        row = (a.tap_row + nearest[:, a.tap_changer]).T.ravel()
        dc = dc._replace(tap_b_pu=dc.tap_b_pu[row], tap_shift_rad=dc.tap_shift_rad[row])
    arrays = a._replace(
        tap_first=np.zeros_like(a.tap_first),
        tap_count=np.full_like(a.tap_count, n),
        tap_row=np.arange(n_branches, dtype=np.int64) * n,
        tap_y_pu=np.ascontiguousarray(np.swapaxes(y, 0, 1)).reshape(-1, 4),
    )
    return replace(model, arrays=arrays, dc=dc)
