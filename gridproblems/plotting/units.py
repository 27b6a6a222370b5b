"""The grid as a map with the units placed in it, and what storages do over time."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from pandapower.auxiliary import pandapowerNet

from gridproblems.plotting.style import AFTER, KNOWN, LIMIT, MANY, MARKED, SERIES, style
from gridproblems.plotting.topology import bus_positions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_storages", "plot_units"]

STYLES = {
    "pv": (MARKED, "o"),
    "dg": (LIMIT, "D"),
    "capacitor": (AFTER, "^"),
    "storage": (KNOWN, "s"),
}
_LARGEST = 900.0  # area of the largest marker, in square points
_ROW_LABELS = 12


def plot_units(net: pandapowerNet, units: pd.DataFrame, *, title: str = "") -> Figure:
    """The grid with bus voltages as colours and units as markers whose areas are their sizes.

    Args:
        net: Solved net; ``net.bus.geo`` gives the positions of buses, without them they are laid
            out by their connections.
        units: Columns ``unit``, ``kind``, ``bus``, ``size`` and ``size_unit``, one row per unit.
        title: Names the grid.

    Returns:
        The figure; its axes have one collection per kind of unit, labelled with the kind.
    """
    figure = Figure(figsize=(8.0, 6.2), layout="constrained")
    axes = figure.subplots()
    positions = bus_positions(net)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    _open_lines(axes, net, positions, place)
    for table, (start, end) in {
        "line": ("from_bus", "to_bus"),
        "trafo": ("hv_bus", "lv_bus"),
    }.items():
        in_service = net[table][net[table].in_service.astype(bool)]
        if table == "line":
            in_service = in_service.drop(index=_opened_by_switches(net), errors="ignore")
        pairs = zip(in_service[start], in_service[end], strict=True)
        segments = [positions[[place[a], place[b]]] for a, b in pairs]
        axes.add_collection(LineCollection(segments, colors="#555555", linewidths=1.2))
    size = 36 if len(net.bus) <= MANY else 14
    x, y = positions.T
    points = axes.scatter(
        x, y, c=net.res_bus.vm_pu, s=size, cmap="viridis", zorder=3, plotnonfinite=True
    )
    figure.colorbar(points, ax=axes, shrink=0.7, pad=0.01).set_label("bus voltage [p.u.]")
    sources = [place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    axes.scatter(x[sources], y[sources], marker="s", s=4 * size, facecolors="none", edgecolors="k")
    if len(net.bus) <= MANY:
        for bus, at in zip(net.bus.index, positions, strict=True):
            axes.annotate(
                str(bus), tuple(at), xytext=(4, 4), textcoords="offset points", fontsize="x-small"
            )
    built = units[units["size"] > 0]
    largest = float(built["size"].max()) if len(built) else 1.0
    for kind, group in built.groupby("kind", sort=False):
        colour, marker = STYLES[str(kind)]
        at = positions[[place[bus] for bus in group["bus"]]]
        area = np.maximum(_LARGEST * group["size"].to_numpy(dtype=float) / largest, 30.0)
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=area,
            marker=marker,
            facecolors="none",
            edgecolors=colour,
            linewidths=2.0,
            label=str(kind),
            zorder=4,
        )
    names: dict[Any, list[str]] = {}
    for _, unit in built.iterrows():
        text = f"{unit['unit']}: {unit['size']:.3g} {unit['size_unit']}"
        names.setdefault(unit["bus"], []).append(text)
    if len(built) <= MANY:
        for bus, texts in names.items():
            axes.annotate(
                "\n".join(texts),
                tuple(positions[place[bus]]),
                xytext=(14, -14),
                textcoords="offset points",
                fontsize="small",
                path_effects=[withStroke(linewidth=2.0, foreground="white")],
            )
    axes.set_axis_off()
    axes.autoscale_view()
    axes.margins(0.08)
    count = f"{len(built)} units" if len(built) != 1 else "1 unit"
    axes.set_title(f"{title}: {count}, areas are sizes" if title else count, loc="left")
    if len(built):
        legend = figure.legend(loc="outside lower center", ncols=4, frameon=False)
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([60.0])
    return figure


def _opened_by_switches(net: pandapowerNet) -> list[int]:
    """Lines in service with an open switch."""
    own = net.switch[(net.switch.et == "l") & ~net.switch.closed.astype(bool)]
    return sorted(set(own.element) & set(net.line.index[net.line.in_service.astype(bool)]))


def _open_lines(
    axes: Axes, net: pandapowerNet, positions: np.ndarray, place: dict[Any, int]
) -> None:
    """Dashes where a line is out of service, or opened by a switch."""
    out = net.line.index[~net.line.in_service.astype(bool)]
    opened = net.line.loc[[*out, *_opened_by_switches(net)]]
    pairs = zip(opened.from_bus, opened.to_bus, strict=True)
    segments = [positions[[place[a], place[b]]] for a, b in pairs]
    if segments:
        axes.add_collection(
            LineCollection(
                segments, colors="#bbbbbb", linewidths=1.0, linestyles="--", label="open line"
            )
        )


def plot_storages(
    schedule: pd.DataFrame,
    *,
    hours: float = 1.0,
    soc_start: float | None = None,
    title: str = "",
) -> Figure:
    """Powers of storages and their states of charge over time.

    Args:
        schedule: Columns ``"<name> p_mw"`` (charging positive) and ``"<name> soc"`` (after the
            snapshot, share of the capacity) for every storage, one row per snapshot.
        hours: Duration of a snapshot. [h]
        soc_start: State of charge before the first snapshot, drawn where given.
        title: Names the grid.

    Returns:
        The figure; the upper axes have one step line of powers (kW) per storage, the lower ones a
        line of states of charge (%) at the ends of the snapshots.
    """
    names = [c.removesuffix(" p_mw") for c in schedule.columns if c.endswith(" p_mw")]
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    style(upper)
    style(lower)
    colours = cycle(SERIES)
    edges = np.arange(len(schedule) + 1) * hours
    many = len(names) > _ROW_LABELS
    for name in names:
        kw = 1e3 * schedule[f"{name} p_mw"].to_numpy(dtype=float)
        label = None if many else name
        colour = next(colours)
        upper.step(edges, np.append(kw, kw[-1]), where="post", label=label, color=colour)
        soc = 100.0 * schedule[f"{name} soc"].to_numpy(dtype=float)
        if soc_start is None:
            lower.plot(edges[1:], soc, color=colour)
        else:
            lower.plot(edges, [100.0 * soc_start, *soc], color=colour)
    upper.axhline(0.0, color="k", linewidth=0.8)
    upper.set_ylabel("power [kW]\n(charging positive)")
    lower.set_ylabel("state of charge [%]")
    lower.set_ylim(-2, 102)
    lower.set_xlabel("time [h]")
    lower.set_xlim(0, edges[-1])
    if edges[-1] <= 48.0:
        lower.set_xticks(np.arange(0.0, edges[-1] + 1e-9, 3.0))
    upper.set_title(f"{title}: storages" if title else "storages", loc="left")
    if names and not many:
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
