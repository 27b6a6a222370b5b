"""Figures of a net before and after: bus voltages and branch loadings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from gridproblems.plotting.style import dumbbells, legend_below, limit_line, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from pandapower.auxiliary import pandapowerNet

    from gridproblems.state import GridState


def plot_voltage_profile(
    net: pandapowerNet,
    before: GridState,
    after: GridState | None = None,
    *,
    snapshot: int = 0,
    title: str = "",
) -> Figure:
    """Bus voltage magnitudes before and after, with the voltage band.

    Args:
        net: Its table ``bus`` gives the limits ``min_vm_pu`` and ``max_vm_pu`` where present.
        before, after: States of one candidate; without ``after`` the first is drawn alone.
        snapshot: Which snapshot to draw.
        title: Names the grid.

    Returns:
        The figure; lines labelled ``before`` and ``after`` hold the voltages in the row order of
        ``net.bus``. [pu]
    """
    bus = net.bus
    old = before.snapshot(snapshot).vm_pu[0]
    new = None if after is None else after.snapshot(snapshot).vm_pu[0]
    lower, upper = (_limit(bus, f"{side}_vm_pu") for side in ("min", "max"))
    figure, axes = new_figure(height=4.2)
    dumbbells(axes, old, new, [str(label) for label in bus.index])
    for limit in (lower, upper):
        limit_line(axes, limit)
    text = f"{_voltages(old, lower, upper)} before"
    if new is not None:
        text += f", {_voltages(new, lower, upper)} after"
    axes.set_title(f"{title}: bus voltages {text}", loc="left", fontsize="medium")
    axes.set_xlabel("bus")
    axes.set_ylabel("voltage magnitude [p.u.]")
    legend_below(figure, axes)
    return figure


def plot_branch_loading(
    net: pandapowerNet,
    before: GridState,
    after: GridState | None = None,
    *,
    snapshot: int = 0,
    most_loaded: int = 40,
    title: str = "",
) -> Figure:
    """Loading of lines and transformers before and after.

    Args:
        net: Its tables ``line``, ``trafo`` and ``trafo3w`` give ``max_loading_percent`` where
            present.
        before, after: States of one candidate; without ``after`` the first is drawn alone.
        snapshot: Which snapshot to draw.
        most_loaded: A table with more branches than this shows only its most loaded ones.
        title: Names the grid.

    Returns:
        The figure, one panel per table that has rows; lines labelled ``before`` and ``after`` hold
        the loadings in the row order of the table, or in decreasing order if not all are shown. [%]
    """
    tables = list(_branches(net, before, after, snapshot))
    if not tables:
        raise ValueError(f"{title or 'the net'} has no line and no transformer to draw")
    widths = np.array([min(len(table.before), most_loaded) for table in tables])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(
        1, len(tables), squeeze=False, width_ratios=np.maximum(widths, 0.4 * widths.max())
    )[0]
    for axes, table in zip(panels, tables, strict=True):
        style(axes)
        shown = table.shown(most_loaded)
        labels = [table.labels[row] for row in shown]
        after = None if table.after is None else table.after[shown]
        dumbbells(axes, table.before[shown], after, labels)
        limit_line(axes, table.limit[shown])
        axes.set_ylim(bottom=0)
        total = len(table.before)
        chosen = "" if len(shown) == total else f", {len(shown)} most loaded of {total}"
        axes.set_xlabel(f"{table.name}{chosen}")
        change = "" if table.after is None else f" → {np.nanmax(table.after):.1f}"
        axes.set_title(
            f"highest {np.nanmax(table.before):.1f}{change} %", loc="left", fontsize="medium"
        )
    panels[0].set_ylabel("loading [%]")
    figure.suptitle(f"{title}: branch loading", x=0.01, ha="left", fontsize="large")
    legend_below(figure, max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1])))
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


def _branches(
    net: pandapowerNet, before: GridState, after: GridState | None, snapshot: int
) -> Iterator[_Branches]:
    for table, name in (
        ("line", "line"),
        ("trafo", "transformer"),
        ("trafo3w", "three-winding transformer"),
    ):
        frame = net[table]
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
            before=getattr(before.snapshot(snapshot), attribute)[0],
            after=None if after is None else getattr(after.snapshot(snapshot), attribute)[0],
            limit=_limit(frame, "max_loading_percent"),
        )


def _limit(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column of limits, NaN where the table has none."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(float)


def _voltages(vm_pu: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> str:
    count = int(np.sum((vm_pu < lower - 1e-6) | (vm_pu > upper + 1e-6)))
    text = f"{np.nanmin(vm_pu):.3f} to {np.nanmax(vm_pu):.3f} p.u."
    return f"{text} ({count} outside the limits)" if count else text
