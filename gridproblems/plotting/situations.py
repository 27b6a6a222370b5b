"""Figures of situations: a fan of voltages, bars by situation, the price of security."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gridproblems.plotting.style import (
    AFTER,
    BEFORE,
    KNOWN,
    LIMIT,
    MARKED,
    SERIES,
    legend_below,
    new_figure,
    style,
    ticks,
)

__all__ = ["plot_price_of_security", "plot_situation_bars", "plot_voltage_fan"]

#: Bars of one panel; the others are counted.
MOST_BARS = 30
_AS_IT_IS = "as it is"
#: Colours of the bands of a fan, the widest first: shades of the one for after.
_SHADES = ("#CCE3F0", "#8CC0DE", "#4C9CCB")


def plot_voltage_fan(
    vm_pu: np.ndarray,
    shares: Sequence[float],
    *,
    labels: Sequence[str] | None = None,
    hours: float = 1.0,
    band: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Shares of the voltages per bus over all situations, or per snapshot over all buses.

    Args:
        vm_pu: Voltages that these shares do not exceed, shape (n_shares, n). [p.u.]
        shares: Rising and symmetric, with 0.5 in the middle: 0, 0.05, 0.25, 0.5, ...
        labels: Of the buses; None for snapshots in time.
        hours: Duration of a snapshot. [h]
        band: Lower and upper limit, drawn where given. [p.u.]
        title: Comes before the extremes.

    Returns:
        The figure; its first line is the median.
    """
    n, n_bands = vm_pu.shape[1], len(shares) // 2
    figure, axes = new_figure(height=4.4)
    edges = np.arange(n + 1) * (1.0 if labels is not None else hours)
    for k in range(n_bands):
        low, high = shares[k], shares[-1 - k]
        label = "all" if k == 0 and low == 0.0 else f"{100 * low:g} to {100 * high:g} %"
        axes.fill_between(
            edges,
            np.append(vm_pu[k], vm_pu[k, -1]),
            np.append(vm_pu[-1 - k], vm_pu[-1 - k, -1]),
            step="post",
            color=_SHADES[min(k, len(_SHADES) - 1)],
            linewidth=0.0,
            label=label,
        )
    median = vm_pu[n_bands]
    axes.step(
        edges, np.append(median, median[-1]), where="post", color=AFTER, lw=1.5, label="median"
    )
    for value in band or ():
        axes.axhline(value, color=LIMIT, linestyle="--", linewidth=1.2, label="limit")
    axes.set_xlim(0.0, edges[-1])
    if labels is None:
        axes.set_xlabel("time [h]")
        if edges[-1] <= 48.0:
            axes.set_xticks(np.arange(0.0, edges[-1] + 1e-9, 3.0))
        what = "all buses and situations of each hour"
    else:
        ticks(axes, labels, 0.5)
        axes.set_xlabel("bus")
        what = "each bus in all situations"
    axes.set_ylabel("voltage magnitude [p.u.]")
    text = f"voltages of {what}, {np.nanmin(vm_pu):.3f} to {np.nanmax(vm_pu):.3f} p.u."
    axes.set_title(_titled(title, text), loc="left", fontsize="medium")
    legend_below(figure, axes)
    return figure


def plot_situation_bars(
    names: Sequence[str],
    values: np.ndarray,
    violation: np.ndarray,
    *,
    label: str = "",
    largest_first: bool = True,
    title: str = "",
) -> Figure:
    """An objective and the violations by situation, the worst first.

    Args:
        names: Of the situations, empty for the grid as it is.
        values: Of the objective, NaN without solution, shape (n,).
        violation: Summed distance beyond limits in terms of their bands and ratings, NaN without
            solution, shape (n,).
        label: Name and unit of the objective.
        largest_first: Whether large values of it are the worst ones.
        title: Names the grid.

    Returns:
        The figure: on the left the objective, on the right, where there are any, the violations, in
        per cent of the band or rating; at most `MOST_BARS` bars each, the others are counted.
    """
    shown = [name or _AS_IT_IS for name in names]
    order = np.argsort(-values if largest_first else values, kind="stable")
    order = order[np.isfinite(values[order])]
    failed = np.flatnonzero(np.isnan(violation))
    broken = np.argsort(-np.nan_to_num(violation), kind="stable")
    broken = broken[np.nan_to_num(violation)[broken] > 0.0]
    right = np.concatenate([failed, broken])
    n_panels = 2 if len(right) else 1
    n_bars = max(1, min(MOST_BARS, max(len(order), len(right))))
    figure = Figure(
        figsize=(2.0 + 4.5 * n_panels, 1.6 + 0.2 * max(n_bars, 5)), layout="constrained"
    )
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    for axes in panels:
        style(axes)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    _bars(panels[0], order, values, shown, n_bars, SERIES[0])
    panels[0].set_xlabel(label)
    panels[0].set_title(_worst(len(order)), loc="left", fontsize="medium")
    text = "no limit is broken"
    if len(right):
        _bars(panels[1], right, 100.0 * violation, shown, n_bars, LIMIT)
        panels[1].set_xlabel("beyond limits, in all [% of band or rating]")
        panels[1].set_title(_worst(len(right)), loc="left", fontsize="medium")
        text = f"limits broken in {len(broken)}"
    if len(failed):
        text += f", no solution in {len(failed)}"
    text += f" of {_counted(len(names), 'situation')}"
    figure.suptitle(_titled(title, text), x=0.01, ha="left")
    return figure


def plot_price_of_security(
    survived: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    n_outages: int,
    label: str = "",
    known: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
) -> Figure:
    """What it costs to survive more outages.

    Args:
        survived: Numbers of outages, shape (n,).
        values: By series, the least value found that survives at least as many, NaN for none,
            shape (n,).
        n_outages: Number of outages there are.
        label: Name and unit of the value.
        known: Further points by name: number survived and value.
        title: Names the grid.

    Returns:
        The figure; one line of steps per series.
    """
    figure, axes = new_figure(width=7.6, height=4.4)
    for (name, series), colour in zip(values.items(), SERIES, strict=False):
        axes.step(
            survived, series, where="pre", color=colour, label=name, lw=1.8, marker="o", ms=3.5
        )
    markers = zip((known or {}).items(), ("s", "D", "^", "v"), (BEFORE, MARKED, KNOWN, LIMIT),
                  strict=False)  # fmt: skip
    for (name, point), marker, colour in markers:
        axes.plot(
            *point, marker, color=colour, markeredgecolor="black", ms=8, label=name, clip_on=False
        )
    axes.set_xlim(right=n_outages + 0.5)
    axes.set_xlabel(f"outages survived, of {n_outages}")
    axes.set_ylabel(label)
    axes.set_title(_titled(title, "the price of security"), loc="left", fontsize="medium")
    legend_below(figure, axes)
    return figure


def _bars(
    axes: Axes,
    order: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    n_bars: int,
    colour: str,
) -> None:
    """Horizontal bars, the first on top; a row in words where there is no value."""
    own = order[:MOST_BARS]
    place = np.arange(len(own))
    axes.barh(place, np.nan_to_num(values[own]), color=colour, height=0.7)
    for at in np.flatnonzero(np.isnan(values[own])):
        axes.annotate(
            "no solution",
            (0.0, float(place[at])),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
        )
    axes.set_yticks(place, [_short(names[i]) for i in own], fontsize="x-small")
    axes.set_ylim(n_bars - 0.4, -0.6)


def _worst(n: int) -> str:
    """Which bars are shown."""
    return f"the worst {MOST_BARS} of {n}" if n > MOST_BARS else _counted(n, "situation")


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + "s" * (n != 1)


def _titled(title: str, text: str) -> str:
    return f"{title}: {text}" if title else text
