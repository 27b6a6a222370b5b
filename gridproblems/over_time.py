"""Objectives over time that problems with series of snapshots share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gridproblems.state import GridState, Settings

#: Objectives of `OverTime` with their units.
OVER_TIME_METHODS: Mapping[str, str] = {
    "line_loading_sum_percent": "%",
    "line_loading_max_percent": "%",
    "energy_loss_kwh": "kWh",
    "exchange_energy_kwh": "kWh",
    "exchange_peak_kw": "kW",
}


class OverTime:
    """Objectives of a series, for problems whose snapshots last ``hours`` each.

    Attributes:
        hours: Duration of a snapshot. [h]
    """

    hours: float

    def line_loading_sum_percent(self, settings: Settings, state: GridState) -> Any:
        """Loading of the most loaded line, summed over the snapshots. [%]"""
        return state.line_loading_percent.max(axis=-1, initial=0.0).sum(axis=-1)

    def line_loading_max_percent(self, settings: Settings, state: GridState) -> Any:
        """Loading of the most loaded line in the worst snapshot. [%]"""
        return state.line_loading_percent.max(axis=(-2, -1), initial=0.0)

    def energy_loss_kwh(self, settings: Settings, state: GridState) -> Any:
        """Active losses over all snapshots, times their duration. [kWh]"""
        return 1e3 * self.hours * state.p_loss_mw.sum(axis=-1)

    def exchange_energy_kwh(self, settings: Settings, state: GridState) -> Any:
        """Energy through external grids and slack generators, drawn and fed in alike. [kWh]"""
        return 1e3 * self.hours * np.abs(state.exchange_mw).sum(axis=-1)

    def exchange_peak_kw(self, settings: Settings, state: GridState) -> Any:
        """Largest power through external grids and slack generators, drawn or fed in. [kW]"""
        return 1e3 * np.abs(state.exchange_mw).max(axis=-1)


def check_hours(hours: float) -> float:
    """The duration of a snapshot.

    Raises:
        ValueError: It is not positive and finite.
    """
    if not 0 < hours < np.inf:
        raise ValueError(f"hours: expected a positive duration, got {hours}")
    return float(hours)
