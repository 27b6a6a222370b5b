"""The grid as a map: what is open, voltages and loadings, before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from pandapower.auxiliary import pandapowerNet

from gridproblems.plotting.style import LIMIT, MANY

if TYPE_CHECKING:
    from gridproblems.state import GridState

__all__ = ["bus_positions", "plot_feeder"]

#: Halos around lines that were opened and closed.
OPENED, CLOSED = "#E69F00", "#009E73"


def plot_feeder(
    net: pandapowerNet,
    panels: Mapping[str, tuple[Sequence[int], GridState]],
    *,
    snapshot: int = 0,
    title: str = "",
) -> Figure:
    """The grid with its open lines, one panel each; colours are voltages, widths currents.

    Args:
        net: Gives the positions of buses (``net.bus.geo``); without them they are laid out by
            their connections.
        panels: Under "before" and "after", or other names: the open lines (index of ``net.line``)
            and the state of one candidate.
        snapshot: Which snapshot to draw.
        title: Names the grid.

    Returns:
        The figure; in each axes the open lines are a collection labelled ``open``, and those that
        are open or closed otherwise than in the first panel have halos, collections labelled
        ``opened`` and ``closed again``.
    """
    states = [state.snapshot(snapshot) for _, state in panels.values()]
    figure = Figure(figsize=(6.5 * len(states), 6.2), layout="constrained")
    every = figure.subplots(1, len(states), squeeze=False)[0]
    positions = bus_positions(net)
    voltages = [state.vm_pu[0] for state in states]
    currents = [_current_ka(net, state) for state in states]
    low, high = np.nanmin(voltages), np.nanmax(voltages)
    widest = max(np.nanmax(currents), 1e-12)
    first = sorted(next(iter(panels.values()))[0])
    for axes, (name, (opened, state)), current in zip(every, panels.items(), currents, strict=True):
        open_lines = sorted(opened)
        vm_pu = state.snapshot(snapshot).vm_pu[0]
        points = _draw(axes, net, positions, vm_pu, current / widest, open_lines)
        points.set_clim(low, high)
        _mark_changes(axes, net, positions, first, open_lines)
        names = ", ".join(_line_name(net, line) for line in open_lines[:8])
        more = f" and {len(open_lines) - 8} more" if len(open_lines) > 8 else ""
        axes.set_title(f"{name}: open {names}{more}", loc="left", fontsize="medium", wrap=True)
    bar = figure.colorbar(points, ax=list(every), shrink=0.7, pad=0.01)
    bar.set_label("bus voltage [p.u.]")
    figure.suptitle(
        f"{title}: dashed lines are open, widths follow the current (widest {1e3 * widest:.3g} A)"
        + (
            "; halos: x opened, + closed"
            if any(sorted(o) != first for o, _ in panels.values())
            else ""
        ),
        fontsize="medium",
    )
    return figure


def bus_positions(net: pandapowerNet) -> np.ndarray:
    """Positions of the buses, shape (n_buses, 2): their coordinates, else a layout."""
    if "geo" in net.bus and net.bus.geo.notna().all():
        return np.array([json.loads(geo)["coordinates"][:2] for geo in net.bus.geo], dtype=float)
    graph = nx.Graph()
    graph.add_nodes_from(net.bus.index)
    graph.add_edges_from(zip(net.line.from_bus, net.line.to_bus, strict=True))
    graph.add_edges_from(zip(net.trafo.hv_bus, net.trafo.lv_bus, strict=True))
    couplers = net.switch[net.switch.et == "b"]
    graph.add_edges_from(zip(couplers.bus, couplers.element, strict=True))
    layout = nx.kamada_kawai_layout(graph)
    return np.array([layout[bus] for bus in net.bus.index])


def _current_ka(net: pandapowerNet, state: GridState) -> np.ndarray:
    """Larger end current of each line in a state of one snapshot. [kA]"""
    rated = net.line.max_i_ka * net.line.df * net.line.parallel
    return np.nan_to_num(state.line_loading_percent[0] / 100.0 * rated.to_numpy(dtype=float))


def _draw(
    axes: Axes,
    net: pandapowerNet,
    positions: np.ndarray,
    vm_pu: np.ndarray,
    width: np.ndarray,
    open_lines: list[int],
) -> Any:
    place = {bus: i for i, bus in enumerate(net.bus.index)}

    def ends(table: str, columns: tuple[str, str]) -> list[np.ndarray]:
        pairs = zip(*(net[table][c] for c in columns), strict=True)
        return [positions[[place[a], place[b]]] for a, b in pairs]

    segments = ends("line", ("from_bus", "to_bus"))
    is_open = net.line.index.isin(open_lines)
    closed_lines = [segment for segment, open_ in zip(segments, is_open, strict=True) if not open_]
    dashed = [segment for segment, open_ in zip(segments, is_open, strict=True) if open_]
    widths = (0.8 + 4.0 * width[~is_open]).tolist()
    axes.add_collection(
        LineCollection(closed_lines, linewidths=widths, colors="#555555", label="closed")
    )
    axes.add_collection(
        LineCollection(dashed, linewidths=1.2, colors=LIMIT, linestyles="--", label="open")
    )
    if len(net.trafo):
        axes.add_collection(LineCollection(ends("trafo", ("hv_bus", "lv_bus")), colors="#56B4E9"))
    size = 36 if len(net.bus) <= MANY else 14
    px, py = positions.T
    points = axes.scatter(px, py, c=vm_pu, s=size, cmap="viridis", zorder=3, plotnonfinite=True)
    sources = [place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    axes.scatter(
        px[sources], py[sources], marker="s", s=4 * size, facecolors="none", edgecolors="k"
    )
    if len(net.bus) <= MANY:
        for bus, at in zip(net.bus.index, positions, strict=True):
            axes.annotate(
                str(bus), tuple(at), xytext=(4, 4), textcoords="offset points", fontsize="x-small"
            )
    axes.set_axis_off()
    axes.autoscale_view()
    return points


def _mark_changes(
    axes: Axes,
    net: pandapowerNet,
    positions: np.ndarray,
    before: Sequence[int],
    after: Sequence[int],
) -> None:
    """Halos around lines that were opened or closed since the first panel."""
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    for label, colour, marker, lines in (
        ("opened", OPENED, "x", set(after) - set(before)),
        ("closed again", CLOSED, "+", set(before) - set(after)),
    ):
        ends = net.line.loc[sorted(lines), ["from_bus", "to_bus"]].to_numpy()
        if not len(ends):
            continue
        segments = positions[[[place[a], place[b]] for a, b in ends]]
        halo = LineCollection(
            list(segments), linewidths=9.0, colors=colour, alpha=0.45, label=label, zorder=1
        )
        axes.add_collection(halo)
        x, y = segments.mean(axis=1).T
        axes.scatter(x, y, marker=marker, s=60, c="black", zorder=4)


def _line_name(net: pandapowerNet, line: int) -> str:
    start, end = net.line.loc[line, ["from_bus", "to_bus"]]
    return f"{start}-{end}"
