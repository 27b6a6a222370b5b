"""The grid as a map with the set-points, positions and powers that were changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from pandapower.auxiliary import pandapowerNet

from gridproblems.plotting.style import AFTER, LIMIT, MANY
from gridproblems.plotting.topology import bus_positions

__all__ = ["plot_changes"]

#: Of a change upwards and downwards.
UP, DOWN = LIMIT, AFTER
#: What is changed: its name in the legend, its short name, and the marker.
KINDS = {
    "vm_pu": ("voltage", "V", "o"),
    "tap_pos": ("tap", "tap", "D"),
    "q_mvar": ("reactive power fed in", "Q", "s"),
    "step": ("step", "step", "s"),
    "p_mw": ("active power fed in", "P", "h"),
}
#: Buses that stand for an element.
PLACES = {
    "trafo": ("hv_bus", "lv_bus"),
    "trafo3w": ("hv_bus", "mv_bus"),
    **dict.fromkeys(("gen", "ext_grid", "sgen", "shunt", "load", "storage"), ("bus", "bus")),
}
#: Tables whose powers are consumption in the net; the map shows what is fed in.
_CONSUMPTION = ("load", "shunt", "storage")
_POWERS = ("p_mw", "q_mvar")
_MOST_LABELS = 40
_SIZE_PT = 400.0  # of the map, for the boxes of labels
_MOST_LAID_OUT = 400  # buses without coordinates


class Change(Protocol):
    """What `gridproblems.controls.block.Change` says."""

    @property
    def table(self) -> str: ...
    @property
    def column(self) -> str: ...
    @property
    def element(self) -> Any: ...
    @property
    def before(self) -> float: ...
    @property
    def after(self) -> float: ...


def can_show(net: pandapowerNet, changes: Sequence[Change]) -> bool:
    """Whether there is something to mark, and a place for every bus."""
    has_places = "geo" in net.bus and bool(net.bus.geo.notna().all())
    is_small = len(net.bus) <= _MOST_LAID_OUT
    return any(_is_shown(change) for change in changes) and (has_places or is_small)


def plot_changes(net: pandapowerNet, changes: Sequence[Change], *, title: str = "") -> Figure:
    """The grid with a marker for every set-point, position and power that was changed.

    Args:
        net: Solved net with the new settings; ``net.bus.geo`` gives the positions of buses, without
            them they are laid out by their connections.
        changes: What was changed; elements without a bus are left out.
        title: Names the grid.

    Returns:
        The figure; its axes have one collection per kind of change and direction, labelled
        ``"tap up"``. Beside up to 40 markers stands what was and what is.
    """
    figure = Figure(figsize=(6.4, 6.8), layout="constrained")
    axes = figure.subplots()
    positions = bus_positions(net)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    _draw_branches(axes, net, positions, place)
    x, y = positions.T
    size = 14 if len(net.bus) <= MANY else 5
    axes.scatter(x, y, c="#555555", s=size, zorder=3)
    sources = [place[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    axes.scatter(x[sources], y[sources], marker="*", s=120, c="black", zorder=3, label="grid")
    marks = _marks(net, changes, positions, place)
    for column, (name, _, marker) in KINDS.items():
        for up, colour, direction in ((True, UP, "up"), (False, DOWN, "down")):
            at = [m.at for m in marks if m.column == column and (m.after > m.before) == up]
            if not at:
                continue
            axes.scatter(
                [x for x, _ in at],
                [y for _, y in at],
                s=130 if column == "vm_pu" else 70,
                marker=marker,
                facecolors="none" if column == "vm_pu" else colour,
                edgecolors=colour,
                linewidths=2.0,
                alpha=0.9,
                zorder=4,
                label=f"{name} {direction}",
            )
    if len(marks) <= _MOST_LABELS:
        _label(axes, marks, positions)
    axes.set_axis_off()
    axes.autoscale_view()
    axes.margins(0.14)
    count = f"{len(marks)} changes" if len(marks) != 1 else "1 change"
    axes.set_title(f"{title}: {count}" if title else count, loc="left", wrap=True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="medium")
    return figure


def _is_shown(change: Change) -> bool:
    return change.table in PLACES and change.column in KINDS


class _Mark(NamedTuple):
    """A change on the map: where, of what, by whom, from what to what."""

    at: tuple[float, float]
    name: str
    column: str
    before: float
    after: float


def _marks(
    net: pandapowerNet, changes: Sequence[Change], positions: np.ndarray, place: dict[Any, int]
) -> list[_Mark]:
    """One per kind of change and place: powers at a bus are added, set-points are one."""
    found: dict[tuple[str, str], _Mark] = {}
    for change in changes:
        if not _is_shown(change):
            continue
        ends = net[change.table].loc[change.element, list(PLACES[change.table])].tolist()
        x, y = positions[[place[bus] for bus in ends]].mean(axis=0).tolist()
        name = str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"
        is_power = change.column in _POWERS
        sign = -1.0 if is_power and change.table in _CONSUMPTION else 1.0
        before, after = sign * change.before, sign * change.after
        key = (name, change.column)
        if key in found and is_power:
            before, after = before + found[key].before, after + found[key].after
        elif key in found and change.column != "vm_pu":  # a parallel transformer
            key = (f"{name} ({change.element})", change.column)
        found[key] = _Mark((x, y), name, change.column, before, after)
    return [mark for mark in found.values() if mark.after != mark.before]


def _draw_branches(
    axes: Axes, net: pandapowerNet, positions: np.ndarray, place: dict[Any, int]
) -> None:
    for table, (start, end), colour in (
        ("line", ("from_bus", "to_bus"), "#aaaaaa"),
        ("trafo", ("hv_bus", "lv_bus"), "#56B4E9"),
        ("trafo3w", ("hv_bus", "mv_bus"), "#56B4E9"),
        ("trafo3w", ("hv_bus", "lv_bus"), "#56B4E9"),
        ("impedance", ("from_bus", "to_bus"), "#aaaaaa"),
    ):
        own = net[table][net[table].in_service.astype(bool)]
        pairs = zip(own[start], own[end], strict=True)
        segments = [positions[[place[a], place[b]]] for a, b in pairs]
        if segments:
            axes.add_collection(LineCollection(segments, colors=colour, linewidths=1.2, zorder=1))


def _label(axes: Axes, marks: Sequence[_Mark], positions: np.ndarray) -> None:
    """What was and what is, one text per place, where it covers least."""
    texts: dict[tuple[float, float], list[str]] = {}
    for mark in marks:
        both = mark.before + 0.0, mark.after + 0.0
        is_whole = all(value.is_integer() for value in both)  # positions are no powers of ten
        digits = ".3f" if mark.column == "vm_pu" else ".0f" if is_whole else ".4g"
        values = " → ".join(f"{value:{digits}}" for value in both)
        lines = texts.setdefault(mark.at, [])
        name = f"{mark.name}: " if not lines else ""
        lines.append(f"{name}{KINDS[mark.column][1]} {values}")
    low, high = positions.min(axis=0), positions.max(axis=0)
    scale = _SIZE_PT / np.maximum(high - low, 1e-12)
    points = (np.array(list(texts)) - low) * scale
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    taken += [(x - 3, y - 3, x + 3, y + 3) for x, y in (positions - low) * scale]
    for (where, lines), (x, y) in zip(texts.items(), points, strict=True):
        width, height = 5.0 * max(map(len, lines)), 11.0 * len(lines)
        boxes = {
            (right, above): (
                x + (9 if right > 0 else -9 - width if right < 0 else -width / 2),
                y + (6 if above > 0 else -6 - height if above < 0 else -height / 2),
            )
            for right, above in (
                (1, 1),
                (-1, 1),
                (1, -1),
                (-1, -1),
                (0, 1),
                (0, -1),
                (1, 0),
                (-1, 0),
            )
        }
        covered = {
            side: sum(
                max(0.0, min(a + width, x1) - max(a, x0))
                * max(0.0, min(b + height, y1) - max(b, y0))
                for x0, y0, x1, y1 in taken
            )
            for side, (a, b) in boxes.items()
        }
        side = min(boxes, key=lambda each: covered[each])
        a, b = boxes[side]
        taken.append((a, b, a + width, b + height))
        right, above = side
        axes.annotate(
            "\n".join(lines),
            where,
            xytext=(9 * right, 6 * above),
            textcoords="offset points",
            ha={1: "left", 0: "center", -1: "right"}[right],
            va={1: "bottom", 0: "center", -1: "top"}[above],
            fontsize="small",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=5,
        )
