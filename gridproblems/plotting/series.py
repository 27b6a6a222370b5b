"""Figures over time and the map of a day: line loading, voltage band, energy at the buses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from pandapower.auxiliary import pandapowerNet

from gridproblems.plotting.style import AFTER, BEFORE, LIMIT, MANY, legend_below, new_figure, ticks
from gridproblems.plotting.topology import bus_positions

__all__ = ["plot_line_loading", "plot_map", "plot_voltage_band"]

_COLORS = {"before": BEFORE, "after": AFTER}
_GENERATES, _USES = "#E69F00", "#56B4E9"


def plot_line_loading(
    loading_percent: Mapping[str, np.ndarray],
    *,
    hours: float = 1.0,
    names: Sequence[str] | None = None,
    limit: float | None = None,
    title: str = "",
) -> Figure:
    """Loading of the most loaded line in every snapshot, and its sum and maximum.

    Args:
        loading_percent: Under "before" and "after", or other names: loadings of all lines, shape
            (n_snapshots, n_lines). [%]
        hours: Duration of a snapshot. [h]
        names: Of the snapshots where they are situations that do not follow each other in time.
        limit: Drawn where given. [%]
        title: Comes before the sums.

    Returns:
        The figure; the step lines are labelled by the names.
    """
    figure, axes = _over_time(len(next(iter(loading_percent.values()))), hours, names)
    hours = hours if names is None else 1.0
    texts = []
    for name, values in loading_percent.items():
        largest = values.max(axis=1, initial=0.0)
        _steps(axes, largest, hours, name)
        texts.append(f"{name} sum {largest.sum():.2f} %, highest {largest.max():.2f} %")
    if limit is not None:
        axes.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.2, label="limit")
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("largest line loading [%]")
    axes.set_title(_titled(title, "; ".join(texts)), loc="left", fontsize="medium")
    legend_below(figure, axes)
    return figure


def plot_voltage_band(
    vm_pu: Mapping[str, np.ndarray],
    *,
    band: tuple[float, float] | None = None,
    hours: float = 1.0,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """From the lowest to the highest bus voltage in every snapshot.

    Args:
        vm_pu: Under "before" and "after", or other names: voltages of all buses, NaN without
            supply, shape (n_snapshots, n_buses). [p.u.]
        band: Lower and upper limit, drawn where given. [p.u.]
        hours: Duration of a snapshot. [h]
        names: Of the snapshots where they are situations that do not follow each other in time.
        title: Comes before the extremes.

    Returns:
        The figure; one filled band per name.
    """
    figure, axes = _over_time(len(next(iter(vm_pu.values()))), hours, names)
    hours = hours if names is None else 1.0
    texts = []
    for name, values in vm_pu.items():
        low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
        edges = np.arange(len(low) + 1) * hours
        color = _COLORS.get(name)
        axes.fill_between(
            edges,
            np.append(low, low[-1]),
            np.append(high, high[-1]),
            step="post",
            color=color,
            alpha=0.35,
            linewidth=0.0,
            label=name,
        )
        for side in (low, high):
            axes.stairs(side, edges, baseline=None, color=color, linewidth=1.4)
        texts.append(f"{name} {low.min():.4f} to {high.max():.4f} p.u.")
    for value in band or ():
        axes.axhline(value, color=LIMIT, linestyle="--", linewidth=1.2, label="limit")
    axes.set_ylabel("bus voltages [p.u.]")
    axes.set_title(_titled(title, "; ".join(texts)), loc="left", fontsize="medium")
    legend_below(figure, axes)
    return figure


def plot_map(
    net: pandapowerNet,
    loading_percent: Mapping[str, np.ndarray],
    energy_kwh: Mapping[str, pd.Series],
    *,
    title: str = "",
) -> Figure:
    """The grid: colours of lines are loadings, sizes of buses the energy they give or take.

    Args:
        net: Its buses give the positions (``net.bus.geo``); else they are laid out.
        loading_percent: Per panel the loadings to show, shape (n_lines,). [%]
        energy_kwh: Per panel the energy generated less used, by bus. [kWh]
        title: Above the panels.
    """
    names = list(loading_percent)
    figure = Figure(figsize=(6.5 * len(names), 5.6), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    positions = pd.DataFrame(bus_positions(net), index=net.bus.index)
    largest_percent = max(float(np.max(v, initial=0.0)) for v in loading_percent.values())
    largest_kwh = max(float(series.abs().max()) for series in energy_kwh.values()) or 1.0
    for axes, name in zip(panels, names, strict=True):
        lines = _branches(axes, net, positions, loading_percent[name])
        lines.set_clim(0.0, largest_percent or 1.0)
        _buses(axes, net, positions, energy_kwh[name] / largest_kwh)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.set_axis_off()
        axes.margins(0.08)
    bar = figure.colorbar(lines, ax=list(panels), shrink=0.7, pad=0.01)
    bar.set_label("highest loading of the line [%]")
    text = f"areas follow the energy of the bus, the largest is {largest_kwh:.3g} kWh"
    figure.suptitle(_titled(title, text), fontsize="medium")
    legend_below(figure, panels[0])
    return figure


def _branches(
    axes: Axes, net: pandapowerNet, positions: pd.DataFrame, loading_percent: np.ndarray
) -> LineCollection:
    def segments(table: str, start: str, end: str) -> list[np.ndarray]:
        return [
            positions.loc[[a, b]].to_numpy()
            for a, b in zip(net[table][start], net[table][end], strict=True)
        ]

    if len(net.trafo):
        trafos = LineCollection(
            segments("trafo", "hv_bus", "lv_bus"), colors="#555555", linestyles=":"
        )
        trafos.set_label("transformer")
        axes.add_collection(trafos)
    lines = LineCollection(segments("line", "from_bus", "to_bus"), cmap="viridis", linewidths=3.0)
    lines.set_array(loading_percent)
    axes.add_collection(lines)
    return lines


def _buses(axes: Axes, net: pandapowerNet, positions: pd.DataFrame, share: pd.Series) -> None:
    """Discs whose areas are the shares, by sign, and the sources as squares."""
    x, y = positions[0].to_numpy(), positions[1].to_numpy()
    for sign, color, label in (
        (1.0, _GENERATES, "generates more"),
        (-1.0, _USES, "uses more"),
    ):
        size = 500.0 * np.maximum(sign * share.reindex(positions.index).to_numpy(), 0.0)
        axes.scatter(x, y, s=size, color=color, alpha=0.8, zorder=2, linewidth=0.0)
        axes.scatter([], [], s=60.0, color=color, label=label)
    axes.scatter(x, y, s=8, color="black", zorder=3)
    sources = positions.loc[net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    axes.scatter(
        sources[0], sources[1], marker="s", s=90, facecolors="none", edgecolors="k", zorder=3
    )
    if len(positions) <= MANY:
        for bus, at in positions.iterrows():
            axes.annotate(
                str(bus), tuple(at), xytext=(5, 5), textcoords="offset points", fontsize="x-small"
            )


def _over_time(n: int, hours: float, names: Sequence[str] | None) -> tuple[Figure, Axes]:
    """Axes over ``n`` snapshots in time, or over situations by name."""
    figure, axes = new_figure()
    if names is not None:
        ticks(axes, [name or "as it is" for name in names], 0.5)
        axes.set_xlim(0.0, n)
        return figure, axes
    axes.set_xlim(0.0, n * hours)
    if n * hours <= 48.0:
        axes.set_xticks(np.arange(0.0, n * hours + 1e-9, 3.0))
    axes.set_xlabel("time [h]")
    return figure, axes


def _steps(axes: Axes, values: np.ndarray, hours: float, name: str) -> None:
    edges = np.arange(len(values) + 1) * hours
    color = _COLORS.get(name)
    axes.stairs(values, edges, baseline=None, color=color, linewidth=1.8, label=name)


def _titled(title: str, text: str) -> str:
    return f"{title}: {text}" if title else text
