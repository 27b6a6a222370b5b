"""Figures of a run: convergence, voltage profile, branch loading, Pareto front.

Every function returns a ``matplotlib.figure.Figure`` that belongs to nobody else (no ``pyplot``
state), so ``figure.savefig("voltage.png")`` is all a caller needs. Colours are from the palette of
Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from gridproblems.problem import GridProblem
    from gridproblems.state import GridState

__all__ = [
    "plot_branch_loading",
    "plot_convergence",
    "plot_pareto_front",
    "plot_voltage_profile",
]

BEFORE = "#888888"
AFTER = "#0072B2"
LIMIT = "#D55E00"
KNOWN = "#009E73"
MARKED = "#E69F00"

# Above this many elements, tick labels are thinned and markers made smaller.
MANY = 60


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
    figure, axes = _figure(height=3.8)
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
    _legend_below(figure, axes)
    return figure


def plot_voltage_profile(
    problem: GridProblem, x: np.ndarray | dict | None, *, snapshot: int = 0
) -> Figure:
    """Bus voltage magnitudes of the base case and of the settings `x`, with the voltage band.

    Args:
        problem: Its ``net.bus`` gives the limits ``min_vm_pu`` and ``max_vm_pu`` where present.
        x: Settings, shape (n_var,) or a dict of pymoo; None draws the base case alone.
        snapshot: Which snapshot to draw.

    Returns:
        The figure; lines labelled ``before`` and ``after`` hold the voltages in the row order of
        ``net.bus``. [pu]
    """
    bus = problem.net.bus
    before = _row(problem.base_state.vm_pu, snapshot)
    after = None if x is None else _row(problem.solve(x).vm_pu, snapshot)
    lower, upper = (_limit(bus, f"{side}_vm_pu") for side in ("min", "max"))
    figure, axes = _figure(height=4.2)
    _dumbbells(axes, before, after, [str(label) for label in bus.index])
    for limit in (lower, upper):
        _limit_line(axes, limit)
    text = f"{_voltages(before, lower, upper)} before"
    if after is not None:
        text += f", {_voltages(after, lower, upper)} after"
    axes.set_title(f"{problem.name}: bus voltages {text}", loc="left", fontsize="medium")
    axes.set_xlabel("bus")
    axes.set_ylabel("voltage magnitude [p.u.]")
    _legend_below(figure, axes)
    return figure


def plot_branch_loading(
    problem: GridProblem, x: np.ndarray | dict | None, *, snapshot: int = 0, most_loaded: int = 40
) -> Figure:
    """Loading of lines and transformers in the base case and with the settings `x`.

    Args:
        problem: Its ``net.line``, ``net.trafo`` and ``net.trafo3w`` give ``max_loading_percent``
            where present.
        x: Settings, shape (n_var,) or a dict of pymoo; None draws the base case alone.
        snapshot: Which snapshot to draw.
        most_loaded: A table with more branches than this shows only its most loaded ones.

    Returns:
        The figure, one panel per table that has rows; lines labelled ``before`` and ``after`` hold
        the loadings in the row order of the table, or in decreasing order if not all are shown. [%]
    """
    state = None if x is None else problem.solve(x)
    tables = list(_branches(problem, state, snapshot))
    if not tables:
        raise ValueError(f"{problem.name} has no line and no transformer to draw")
    widths = np.array([min(len(table.before), most_loaded) for table in tables])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(
        1, len(tables), squeeze=False, width_ratios=np.maximum(widths, 0.4 * widths.max())
    )[0]
    for axes, table in zip(panels, tables, strict=True):
        _style(axes)
        shown = table.shown(most_loaded)
        labels = [table.labels[row] for row in shown]
        after = None if table.after is None else table.after[shown]
        _dumbbells(axes, table.before[shown], after, labels)
        _limit_line(axes, table.limit[shown])
        axes.set_ylim(bottom=0)
        total = len(table.before)
        chosen = "" if len(shown) == total else f", {len(shown)} most loaded of {total}"
        axes.set_xlabel(f"{table.name}{chosen}")
        change = "" if table.after is None else f" → {np.nanmax(table.after):.1f}"
        axes.set_title(
            f"highest {np.nanmax(table.before):.1f}{change} %", loc="left", fontsize="medium"
        )
    panels[0].set_ylabel("loading [%]")
    figure.suptitle(f"{problem.name}: branch loading", x=0.01, ha="left", fontsize="large")
    _legend_below(figure, max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1])))
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
    figure, axes = _figure(width=6.4, height=4.6)
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
    _legend_below(figure, axes)
    return figure


@dataclass(frozen=True)
class _Branches:
    """Loadings of one pandapower table, each of shape (n_rows,). [%]"""

    name: str
    labels: list[str]
    before: np.ndarray
    after: np.ndarray | None
    limit: np.ndarray

    def shown(self, most_loaded: int) -> np.ndarray:
        """Rows to draw: all, or the most loaded ones in decreasing order."""
        if len(self.before) <= most_loaded:
            return np.arange(len(self.before))
        highest = np.nan_to_num(self.before if self.after is None else self.after)
        return np.argsort(-highest, kind="stable")[:most_loaded]


def _row(values: np.ndarray, snapshot: int) -> np.ndarray:
    if not isinstance(snapshot, int) or not 0 <= snapshot < len(values):
        raise ValueError(f"snapshot: expected 0 to {len(values) - 1}, got {snapshot!r}")
    row: np.ndarray = values[snapshot]
    return row


def _branches(problem: GridProblem, state: GridState | None, snapshot: int) -> Iterator[_Branches]:
    for table, name in (
        ("line", "line"),
        ("trafo", "transformer"),
        ("trafo3w", "three-winding transformer"),
    ):
        frame = problem.net[table]
        if frame.empty:
            continue
        attribute = f"{table}_loading_percent"
        names = [
            str(index) if text is None or text != text or not str(text) else str(text)
            for index, text in zip(frame.index, frame["name"], strict=True)
        ]
        yield _Branches(
            name=name,
            labels=names,
            before=_row(getattr(problem.base_state, attribute), snapshot),
            after=None if state is None else _row(getattr(state, attribute), snapshot),
            limit=_limit(frame, "max_loading_percent"),
        )


def _limit(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column of limits, NaN where the table has none."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(float)


def _figure(width: float = 10.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _dumbbells(
    axes: Axes, before: np.ndarray, after: np.ndarray | None, labels: Sequence[str]
) -> None:
    """One position per element: a ring for before, a dot for after, a thin line between."""
    position = np.arange(len(before))
    size = 6.5 if len(before) <= MANY else 4.0
    if after is not None:
        axes.vlines(position, before, after, color="#bbbbbb", linewidth=0.8)
    axes.plot(
        position, before, "o", color=BEFORE, markerfacecolor="none", markersize=size, label="before"
    )
    if after is not None:
        axes.plot(position, after, "o", color=AFTER, markersize=0.65 * size, label="after")
    axes.set_xlim(-0.7, len(before) - 0.3)
    _ticks(axes, labels)


def _ticks(axes: Axes, labels: Sequence[str]) -> None:
    """Every label where there is room, else every second, fifth, tenth, ..."""
    step = next(
        step
        for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000, 10**9)
        if len(labels) / step <= MANY
    )
    shown = list(range(0, len(labels), step))
    text = [labels[position] for position in shown]
    long = max((len(label) for label in text), default=0) > 2
    axes.set_xticks(shown, text, rotation=90 if long else 0, fontsize="x-small")


def _limit_line(axes: Axes, limit: np.ndarray) -> None:
    """A step line through the limits; infinite and missing ones leave a gap."""
    finite = np.where(np.isfinite(limit), limit, np.nan)
    if np.isnan(finite).all():
        return
    edges = np.arange(len(limit) + 1) - 0.5
    axes.stairs(
        finite, edges, baseline=None, color=LIMIT, linestyle="--", linewidth=1.2, label="limit"
    )


def _legend_below(figure: Figure, axes: Axes) -> None:
    """One legend entry per label, below the axes and so never over data."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(),
        unique.keys(),
        loc="outside lower right",
        ncols=len(unique),
        frameon=False,
        fontsize="small",
    )


def _best_so_far(axes: Axes, evaluations: np.ndarray, values: np.ndarray) -> None:
    axes.step(evaluations, values, where="post", color=AFTER, linewidth=1.8, label="best so far")


def _zoom(axes: Axes, best: np.ndarray, best_known: float | None) -> None:
    """Leave room around the values, so that the line does not touch the axes."""
    values = best if best_known is None else np.append(best, best_known)
    low, high = values.min(), values.max()
    margin = 0.08 * max(high - low, 1e-3 * max(abs(low), 1e-12))
    axes.set_ylim(low - margin, high + margin)


def _voltages(vm_pu: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> str:
    count = int(np.sum((vm_pu < lower - 1e-6) | (vm_pu > upper + 1e-6)))
    text = f"{np.nanmin(vm_pu):.3f} to {np.nanmax(vm_pu):.3f} p.u."
    return f"{text} ({count} outside the limits)" if count else text
