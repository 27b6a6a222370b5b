"""Figures: every function takes states and tables, and returns a ``matplotlib.figure.Figure``.

The figure belongs to nobody else (no ``pyplot`` state), so ``figure.savefig("voltage.png")`` is all
a caller needs.
"""

from __future__ import annotations

from gridproblems.plotting.changes import plot_changes
from gridproblems.plotting.feeder import (
    plot_campaign,
    plot_distance_profile,
    plot_screening,
    plot_voltage_histogram,
)
from gridproblems.plotting.net import plot_branch_loading, plot_voltage_profile
from gridproblems.plotting.run import plot_convergence, plot_pareto_front
from gridproblems.plotting.series import plot_line_loading, plot_map, plot_voltage_band
from gridproblems.plotting.situations import (
    plot_price_of_security,
    plot_situation_bars,
    plot_voltage_fan,
)
from gridproblems.plotting.topology import plot_feeder
from gridproblems.plotting.units import plot_storages, plot_units

__all__ = [
    "plot_branch_loading",
    "plot_campaign",
    "plot_changes",
    "plot_convergence",
    "plot_distance_profile",
    "plot_feeder",
    "plot_line_loading",
    "plot_map",
    "plot_pareto_front",
    "plot_price_of_security",
    "plot_screening",
    "plot_situation_bars",
    "plot_storages",
    "plot_units",
    "plot_voltage_band",
    "plot_voltage_fan",
    "plot_voltage_histogram",
    "plot_voltage_profile",
]
