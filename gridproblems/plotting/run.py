"""Figures of a run: convergence, and the front of two objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridproblems.plotting.style import (
    AFTER,
    BEFORE,
    KNOWN,
    MARKED,
    legend_below,
    new_figure,
)

if TYPE_CHECKING:
    import pandas as pd


def plot_convergence(
    history: pd.DataFrame,
    *,
    best_known: float | None = None,
    ylabel: str = "best feasible value",
    title: str = "",
) -> Figure:
    """Best feasible value over evaluations, or the least violation if nothing feasible was found.

    Args:
        history: Columns ``evaluations``, ``best`` and ``violation``, one row per improvement and
            one for the end of the run, in order; ``best`` is NaN while no feasible point is known.
        best_known: Drawn as a horizontal line when given.
        ylabel: Name and unit of the value.
        title: Names the run; the final value is added.

    Returns:
        The figure; its first line holds ``evaluations`` and ``best`` (or ``violation``).
    """
    evaluations = history["evaluations"].to_numpy(float)
    best = history["best"].to_numpy(float)
    feasible = np.isfinite(best)
    figure, axes = new_figure(height=3.8)
    if feasible.any():
        found = f"{best[-1]:.6g} after {evaluations[-1]:.0f} evaluations"
        axes.set_ylabel(ylabel)
        _best_so_far(axes, evaluations, best)
        if not feasible[0]:
            until = evaluations[feasible][0]
            axes.axvspan(
                0, until, color=BEFORE, alpha=0.2, linewidth=0, label="no feasible point yet"
            )
        if best_known is not None:
            label = f"best known {best_known:.6g}"
            axes.axhline(best_known, color=KNOWN, linestyle="--", linewidth=1.2, label=label)
        _zoom(axes, best[feasible], best_known)
    else:
        found = f"nothing feasible in {evaluations[-1]:.0f} evaluations"
        axes.set_ylabel("violation")
        _best_so_far(axes, evaluations, history["violation"].to_numpy(float))
        axes.set_ylim(bottom=0)
    axes.set_xlim(0, evaluations[-1])
    axes.set_xlabel("evaluations")
    axes.set_title(f"{title}: {found}" if title else found, loc="left")
    legend_below(figure, axes)
    return figure


def plot_pareto_front(
    F: np.ndarray,
    names: Sequence[str],
    *,
    base: Sequence[float] | None = None,
    knee: int | None = None,
    title: str = "",
) -> Figure:
    """Nondominated points of two objectives.

    Args:
        F: Objective values, shape (n_points, 2).
        names: Names with units, for the two axes.
        base: Objective values of the base case, shape (2,), marked when given.
        knee: Row of `F` to mark.
        title: Names the run; the number of points is added.

    Returns:
        The figure; its first line holds `F` in increasing order of the first objective.

    Raises:
        ValueError: If `F` does not have two columns or `names` two entries.
    """
    F = np.asarray(F, dtype=float)
    if F.ndim != 2 or F.shape[1] != 2 or len(names) != 2:
        raise ValueError(
            f"F: expected shape (n_points, 2) with two names, got shape {F.shape} "
            f"with names {list(names)}"
        )
    figure, axes = new_figure(width=6.4, height=4.6)
    ordered = F[np.argsort(F[:, 0], kind="stable")]
    axes.plot(*ordered.T, "o", color=AFTER, markersize=4, label="nondominated")
    if knee is not None:
        axes.plot(*F[knee], "D", color=MARKED, markersize=9, markeredgecolor="black", label="knee")
    if base is not None and np.isfinite(base).all():
        axes.plot(*base, "s", color=BEFORE, markersize=8, markeredgecolor="black", label="before")
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    count = f"{len(F)} nondominated points" if len(F) != 1 else "1 nondominated point"
    axes.set_title(f"{title}: {count}" if title else count, loc="left")
    legend_below(figure, axes)
    return figure


def _best_so_far(axes: Axes, evaluations: np.ndarray, values: np.ndarray) -> None:
    axes.step(evaluations, values, where="post", color=AFTER, linewidth=1.8, label="best so far")


def _zoom(axes: Axes, best: np.ndarray, best_known: float | None) -> None:
    """Leave room around the values, so that the line does not touch the axes."""
    values = best if best_known is None else np.append(best, best_known)
    low, high = values.min(), values.max()
    margin = 0.08 * max(high - low, 1e-3 * max(abs(low), 1e-12))
    axes.set_ylim(low - margin, high + margin)
