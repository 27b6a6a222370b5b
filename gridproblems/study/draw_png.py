"""Draws the charts of a report with matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gridproblems.study.charts import Chart, NetworkChart, Series, colour_of

NEUTRAL = "#555555"


def draw(chart: Chart | NetworkChart) -> Figure:
    """The chart as a figure of its own."""
    if isinstance(chart, NetworkChart):
        return _network(chart)
    height = 4.2 if not chart.rows else 1.6 + 0.45 * len(chart.rows)
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for number, series in enumerate(chart.series):
        _draw_series(axes, chart, series, number)
    axes.set_xlabel(_plain(chart.x_label))
    axes.set_ylabel(_plain(chart.y_label))
    if chart.x_log:
        axes.set_xscale("log")
    if chart.y_log:
        axes.set_yscale("log")
    if chart.rows:
        axes.set_yticks(range(len(chart.rows)), [_plain(row) for row in chart.rows])
        axes.set_ylim(len(chart.rows) - 0.5, -0.5)
    elif chart.y_range:
        axes.set_ylim(*chart.y_range)
    axes.set_title(_plain(chart.title), loc="left")
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 and not chart.row_per_series:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False
        )
    return figure


def _draw_series(axes: Axes, chart: Chart, series: Series, number: int) -> None:
    colour = colour_of(series, NEUTRAL)
    label = _plain(series.name)
    style: dict[str, Any] = {"color": colour, "label": label}
    if series.kind == "box":
        row = chart.rows.index(series.name)
        boxes = axes.boxplot(
            [series.x], positions=[row], orientation="horizontal", widths=0.5, showfliers=False
        )
        for parts in boxes.values():
            for part in parts:
                part.set_color(colour)
        jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(series.x))
        axes.plot(series.x, row + jitter, "o", markersize=3, alpha=0.6, **style)
    elif series.kind == "level":
        axes.axhline(series.y[0], linestyle="--", linewidth=1.2, **style)
    elif series.kind == "points":
        y, bars = np.asarray(series.y), None
        if chart.rows:
            # beside each other where several algorithms share a row
            shift = 0.0 if chart.row_per_series else _shift(chart, number)
            y = np.array([chart.rows.index(row) for row in series.y]) + shift
        if series.low is not None:
            x = np.asarray(series.x)
            bars = np.maximum([x - np.asarray(series.low), np.asarray(series.high) - x], 0.0)
        if series.colour is None:
            style |= {"markersize": 10, "markerfacecolor": "none"}
        axes.errorbar(series.x, y, xerr=bars, fmt="o", **{"markersize": 5, **style})
    else:
        steps = "steps-post" if series.kind == "steps" else "default"
        axes.plot(series.x, series.y, drawstyle=steps, linewidth=1.8, **style)
        if series.low is not None:
            axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15)


def _shift(chart: Chart, number: int) -> float:
    return 0.7 * ((number + 0.5) / len(chart.series) - 0.5)


def _network(chart: NetworkChart) -> Figure:
    network = chart.network
    positions = np.array(network["positions"], dtype=float)
    figure = Figure(figsize=(7.6, 6.0), layout="constrained")
    axes = figure.subplots()
    for is_open in (False, True):
        branches = [b for b in network["branches"] if b["open"] == is_open]
        segments = [positions[b["ends"]] for b in branches]
        lines = LineCollection(
            segments,
            linestyles="--" if is_open else "-",
            linewidths=1.2 if is_open else 2.0,
            colors="#D55E00" if is_open else "#888888",
        )
        axes.add_collection(lines)
    voltages = [np.nan if v is None else v for v in network["vm_pu"]]
    x, y = positions.T
    dots = axes.scatter(x, y, c=voltages, cmap="viridis", s=30, zorder=3)
    at = network["sources"]
    axes.scatter(x[at], y[at], marker="s", s=120, facecolors="none", edgecolors="k")
    figure.colorbar(dots, ax=axes, label="voltage [p.u.]", shrink=0.8)
    axes.set_title(_plain(chart.title), loc="left")
    axes.set_axis_off()
    return figure


def _plain(text: str) -> str:
    """Text as it is: matplotlib would read dollar signs as mathematics."""
    return text.replace("$", r"\$")
