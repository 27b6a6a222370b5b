"""Figures of a feeder: histogram of bus voltages, voltage over distance, campaign of disturbances.

As in `gridproblems.plotting`, every function returns a ``matplotlib.figure.Figure`` of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from gridproblems.plotting import AFTER, BEFORE, LIMIT, MANY, MARKED, _figure, _legend_below

if TYPE_CHECKING:
    from gridproblems.state import GridState
    from gridproblems.tasks.regulators import Campaign, RegulatorControl

__all__ = ["plot_campaign", "plot_distance_profile", "plot_voltage_histogram"]

PHASE_COLOURS = {"1": "#0072B2", "2": "#D55E00", "3": "#009E73"}
PHASE_MARKERS = {"1": "o", "2": "^", "3": "s"}


def _states(
    problem: RegulatorControl, x: Any, snapshot: int
) -> dict[str, tuple[GridState, int, str]]:
    """States to compare by name, each with the row to draw and its colour."""
    problem.check_snapshot(snapshot)
    states = {"baseline": (problem.base_state, 0, BEFORE)}
    if problem.codec.n_snapshots > 1 or problem.disturbances[0] is not None:
        states["disturbed"] = (problem.disturbed_state, snapshot, MARKED)
    if x is not None:
        states["optimised"] = (problem.solve(x), snapshot, AFTER)
    return states


def plot_voltage_histogram(problem: RegulatorControl, x: Any, *, snapshot: int = 0) -> Figure:
    """How many phases of buses have which voltage: baseline, disturbed, optimised.

    Args:
        problem: Its ``fitness`` gives the band.
        x: Settings, None for baseline and disturbed alone.
        snapshot: Which disturbance of a list, or which snapshot in time.

    Returns:
        The figure; a mean over the phases of a bus would hide unbalance. [p.u.]
    """
    states = _states(problem, x, snapshot)
    voltages = {name: s["node_vm_pu"][row] for name, (s, row, _) in states.items()}
    band = problem.fitness.low_pu, problem.fitness.high_pu
    every = np.concatenate([v[~np.isnan(v)] for v in voltages.values()])
    bins = np.linspace(min(every.min(), band[0]), max(every.max(), band[1]), 31).tolist()
    figure, axes = _figure(height=4.0)
    for name, (_, _, colour) in states.items():
        v = voltages[name][~np.isnan(voltages[name])]
        outside = int(((v < band[0]) | (v > band[1])).sum())
        label = f"{name}: {v.min():.3f} to {v.max():.3f} p.u., {outside} of {len(v)} outside"
        axes.hist(v, bins=bins, histtype="step", linewidth=1.8, color=colour, label=label)
    for limit in band:
        axes.axvline(limit, color=LIMIT, linestyle="--", linewidth=1.2)
    axes.set_xlabel("voltage of a phase [p.u.]")
    axes.set_ylabel("phases of buses")
    axes.set_title(f"{problem.name}: voltages", loc="left")
    axes.legend(frameon=False, fontsize="small")
    return figure


def plot_distance_profile(problem: RegulatorControl, x: Any, *, snapshot: int = 0) -> Figure:
    """Voltage of every phase over the distance from the source, one panel per state.

    Args:
        problem: Its ``fitness`` gives the band.
        x: Settings, None for baseline and disturbed alone.
        snapshot: Which disturbance of a list, or which snapshot in time.

    Returns:
        The figure; panels share their axes, the line of each phase has the distances of its buses
        as x [km] and their voltages as y [p.u.].
    """
    states = _states(problem, x, snapshot)
    circuit = problem.circuit
    figure = Figure(figsize=(4.0 * len(states) + 1.0, 4.0), layout="constrained")
    panels = figure.subplots(1, len(states), squeeze=False, sharex=True, sharey=True)[0]
    n_phases = np.diff(circuit.first_node, append=len(circuit.nodes))
    distance_km = np.repeat(circuit.distance_km, n_phases)
    phase = np.array([node.rpartition(".")[2] for node in circuit.nodes])
    for axes, (name, (state, row, _)) in zip(panels, states.items(), strict=True):
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
        for limit in (problem.fitness.low_pu, problem.fitness.high_pu):
            axes.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(name, loc="left", fontsize="medium")
        axes.set_xlabel("distance from the source [km]")
    panels[0].set_ylabel("voltage magnitude [p.u.]")
    figure.suptitle(f"{problem.name}: voltage profile", x=0.01, ha="left", fontsize="large")
    _legend_below(figure, panels[0])
    return figure


def plot_campaign(campaign: Campaign, *, title: str = "") -> Figure:
    """Heat map of bus voltages: a row per disturbance, a column per bus.

    Args:
        campaign: Of `RegulatorControl.campaign`.
        title: Names the feeder.

    Returns:
        The figure; its image holds the mean voltages of the buses, white where a bus has no supply
        or the power flow failed. [p.u.]
    """
    vm_pu = campaign.bus_vm_pu
    n = len(vm_pu)
    figure = Figure(figsize=(10.0, min(max(2.5, 0.16 * n + 1.5), 20.0)), layout="constrained")
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
    axes.set_yticks(range(n), vm_pu.index, fontsize="xx-small" if n > 30 else "small")
    axes.set_xlabel("bus")
    figure.colorbar(image, ax=axes, label="mean voltage of the bus [p.u.]")
    worst = campaign.table["voltage_fitness"].idxmax()
    text = f"{n} disturbances, worst for the voltages: {campaign.table['disturbance'][worst]}"
    axes.set_title(f"{title}: {text}" if title else text, loc="left", fontsize="medium")
    return figure
