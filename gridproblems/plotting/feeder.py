"""Figures of a feeder: histogram of voltages, voltage over distance, screening of disturbances.

As in `gridproblems.plotting`, every function returns a ``matplotlib.figure.Figure`` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from gridproblems.plotting.style import AFTER, BEFORE, LIMIT, MANY, MARKED, legend_below, new_figure

if TYPE_CHECKING:
    from gridproblems.disturbances import Screening
    from gridproblems.engines.opendss import Circuit
    from gridproblems.state import GridState

__all__ = [
    "plot_campaign",
    "plot_distance_profile",
    "plot_screening",
    "plot_voltage_histogram",
]

COLOURS = {"baseline": BEFORE, "disturbed": MARKED, "optimised": AFTER}
MOST_ROWS = 100  # of a heat map that are named
PHASE_COLOURS = {"1": "#0072B2", "2": "#D55E00", "3": "#009E73"}
PHASE_MARKERS = {"1": "o", "2": "^", "3": "s"}


def plot_voltage_histogram(
    states: Mapping[str, tuple[GridState, int]], band: tuple[float, float], *, title: str = ""
) -> Figure:
    """How many phases of buses have which voltage: baseline, disturbed, optimised.

    Args:
        states: By name the state of one candidate, and which of its snapshots.
        band: Lowest and highest voltage. [p.u.]
        title: Names the feeder.

    Returns:
        The figure; a mean over the phases of a bus would hide unbalance. [p.u.]
    """
    voltages = {name: s["node_vm_pu"][row] for name, (s, row) in states.items()}
    every = np.concatenate([v[~np.isnan(v)] for v in voltages.values()])
    bins = np.linspace(min(every.min(), band[0]), max(every.max(), band[1]), 31).tolist()
    figure, axes = new_figure(height=4.0)
    for name in states:
        v = voltages[name][~np.isnan(voltages[name])]
        outside = int(((v < band[0]) | (v > band[1])).sum())
        label = f"{name}: {v.min():.3f} to {v.max():.3f} p.u., {outside} of {len(v)} outside"
        axes.hist(
            v, bins=bins, histtype="step", linewidth=1.8, color=COLOURS.get(name), label=label
        )
    for limit in band:
        axes.axvline(limit, color=LIMIT, linestyle="--", linewidth=1.2)
    axes.set_xlabel("voltage of a phase [p.u.]")
    axes.set_ylabel("phases of buses")
    axes.set_title(f"{title}: voltages", loc="left")
    axes.legend(frameon=False, fontsize="small")
    return figure


def plot_distance_profile(
    circuit: Circuit,
    states: Mapping[str, tuple[GridState, int]],
    band: tuple[float, float],
    *,
    title: str = "",
) -> Figure:
    """Voltage of every phase over the distance from the source, one panel per state.

    Args:
        circuit: Names and places of the nodes.
        states: By name the state of one candidate, and which of its snapshots.
        band: Lowest and highest voltage. [p.u.]
        title: Names the feeder.

    Returns:
        The figure; panels share their axes, the line of each phase has the distances of its buses
        as x [km] and their voltages as y [p.u.].
    """
    figure = Figure(figsize=(4.0 * len(states) + 1.0, 4.0), layout="constrained")
    panels = figure.subplots(1, len(states), squeeze=False, sharex=True, sharey=True)[0]
    n_phases = np.diff(circuit.first_node, append=len(circuit.nodes))
    distance_km = np.repeat(circuit.distance_km, n_phases)
    phase = np.array([node.rpartition(".")[2] for node in circuit.nodes])
    for axes, (name, (state, row)) in zip(panels, states.items(), strict=True):
        for label, colour in PHASE_COLOURS.items():
            of_phase = phase == label
            axes.plot(
                distance_km[of_phase],
                state["node_vm_pu"][row, of_phase],
                PHASE_MARKERS[label],
                color=colour,
                markersize=3,
                label=f"phase {label}",
            )
        for limit in band:
            axes.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.set_xlabel("distance from the source [km]")
    panels[0].set_ylabel("voltage magnitude [p.u.]")
    figure.suptitle(f"{title}: voltage profile", x=0.01, ha="left", fontsize="large")
    legend_below(figure, panels[0])
    return figure


def plot_screening(screening: Screening, *, title: str = "") -> Figure:
    """Heat map of bus voltages: a row per disturbance, a column per bus.

    Args:
        screening: Of `RegulatorControl.screening`.
        title: Names the feeder.

    Returns:
        The figure; its image holds the mean voltages of the buses, white where a bus has no supply
        or the power flow failed. [p.u.]
    """
    vm_pu = screening.bus_vm_pu
    n = len(vm_pu)
    figure = Figure(figsize=(10.0, min(max(2.5, 0.2 * n + 1.5), 24.0)), layout="constrained")
    axes = figure.subplots()
    reach = max(float(np.nanmax(np.abs(vm_pu.to_numpy() - 1.0))), 0.05)
    image = axes.imshow(
        vm_pu.to_numpy(),
        aspect="auto",
        cmap="RdBu_r",
        vmin=1.0 - reach,
        vmax=1.0 + reach,
        interpolation="nearest",
    )
    step = int(np.ceil(vm_pu.shape[1] / MANY))
    axes.set_xticks(
        range(0, vm_pu.shape[1], step), vm_pu.columns[::step], rotation=90, fontsize="xx-small"
    )
    rows, common = _without_common_end([str(name) for name in vm_pu.index])
    every = int(np.ceil(n / MOST_ROWS))
    axes.set_yticks(range(0, n, every), rows[::every], fontsize="small")
    axes.set_ylabel(f"disturbance, each {common}" if common else "disturbance")
    axes.set_xlabel("bus")
    figure.colorbar(image, ax=axes, label="mean voltage of the bus [p.u.]")
    worst = screening.table["voltage_fitness"].idxmax()
    text = f"{n} disturbances, worst for the voltages: {screening.table['disturbance'][worst]}"
    axes.set_title(f"{title}: {text}" if title else text, loc="left", fontsize="medium")
    return figure


def _without_common_end(names: list[str]) -> tuple[list[str], str]:
    """Names without the last words that all of them share, and these words."""
    words = [name.split() for name in names]
    n_shared = 0
    while len(names) > 1 and all(len(w) > n_shared + 1 for w in words):
        if len({w[-1 - n_shared] for w in words}) > 1:
            break
        n_shared += 1
    if not n_shared:
        return names, ""
    return [" ".join(w[:-n_shared]) for w in words], " ".join(words[0][-n_shared:])


plot_campaign = plot_screening  # its name until 0.1
