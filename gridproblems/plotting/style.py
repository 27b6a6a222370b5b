"""What the figures share: colours, axes, legends.

Colours are from the palette of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BEFORE = "#888888"
AFTER = "#0072B2"
LIMIT = "#D55E00"
KNOWN = "#009E73"
MARKED = "#E69F00"
#: Of several series side by side.
SERIES = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")

# Above this many elements, tick labels are thinned and markers made smaller.
MANY = 60
# Above this many, markers run into each other: lines through all of them, the change as an area.
TOO_MANY = 150


def new_figure(width: float = 10.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def dumbbells(
    axes: Axes, before: np.ndarray, after: np.ndarray | None, labels: Sequence[str]
) -> None:
    """One position per element: a ring for before, a dot for after, a thin line between.

    Many elements are two lines with the change between them as an area.
    """
    position = np.arange(len(before))
    axes.set_xlim(-0.7, len(before) - 0.3)
    ticks(axes, labels)
    if len(before) > TOO_MANY:
        axes.plot(position, before, color=BEFORE, linewidth=0.9, label="before")
        if after is not None:
            axes.plot(position, after, color=AFTER, linewidth=1.1, label="after")
            axes.fill_between(position, before, after, color=AFTER, alpha=0.15, linewidth=0)
        return
    size = 6.5 if len(before) <= MANY else 4.0
    if after is not None:
        axes.vlines(position, before, after, color="#bbbbbb", linewidth=0.8)
    axes.plot(
        position, before, "o", color=BEFORE, markerfacecolor="none", markersize=size, label="before"
    )
    if after is not None:
        axes.plot(position, after, "o", color=AFTER, markersize=0.65 * size, label="after")


def ticks(axes: Axes, labels: Sequence[str], offset: float = 0.0) -> None:
    """Every label where there is room, else every second, fifth, tenth, ...

    Args:
        axes: Whose horizontal axis gets them.
        labels: At 0, 1, 2, ...
        offset: What is added to these places.
    """
    step = next(
        step
        for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000, 10**9)
        if len(labels) / step <= MANY
    )
    shown = list(range(0, len(labels), step))
    text = [labels[position] for position in shown]
    long = max((len(label) for label in text), default=0) > 2
    axes.set_xticks(
        [place + offset for place in shown], text, rotation=90 if long else 0, fontsize="x-small"
    )


def limit_line(axes: Axes, limit: np.ndarray) -> None:
    """A step line through the limits; infinite and missing ones leave a gap."""
    finite = np.where(np.isfinite(limit), limit, np.nan)
    if np.isnan(finite).all():
        return
    edges = np.arange(len(limit) + 1) - 0.5
    axes.stairs(
        finite, edges, baseline=None, color=LIMIT, linestyle="--", linewidth=1.2, label="limit"
    )


def legend_below(figure: Figure, axes: Axes) -> None:
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
