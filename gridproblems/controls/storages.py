"""Storages of a net with their ratings, and vectors as their powers over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown
from gridproblems.controls.state_of_charge import Battery
from gridproblems.controls.variables import Variable
from gridproblems.nets.network import label_of, number
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping

SCHEDULE = "storage_schedule"  # the table of a net that `apply` gave


class StorageCodec:
    """Vectors as powers: of the first storage in every snapshot, then of the next.

    Args:
        storages: Columns ``name``, ``power_mw`` and ``energy_mwh``; the index are the elements.
        series: Settings of every candidate with one row per snapshot.
        battery: Losses and limits of the storages.
        hours: Duration of a snapshot. [h]
        repair: Whether schedules are made feasible.
    """

    def __init__(
        self, storages: pd.DataFrame, series: Settings, battery: Battery, hours: float, repair: bool
    ) -> None:
        self.names = tuple(storages["name"])
        self.power_mw = storages["power_mw"].to_numpy(dtype=float)
        self.duration_hours = storages["energy_mwh"].to_numpy(dtype=float) / self.power_mw
        self.battery, self.hours = battery, hours
        self._series, self._repair = series, repair
        self.n_snapshots = series.n_snapshots
        elements = tuple(int(element) for element in storages.index)
        self.fields = (Field("storage", "p_mw", elements), *series.fields)
        self.variables = tuple(
            Variable(f"{name} p_mw[{t}]", "real", -power, power)
            for name, power in zip(self.names, self.power_mw.tolist(), strict=True)
            for t in range(self.n_snapshots)
        )
        self._limit = np.repeat(self.power_mw, self.n_snapshots)

    def snap(self, x: ArrayLike) -> FloatArray:
        """Schedules within the ratings, and if asked for within the limits of the storages."""
        inside = self.clip(x)
        if not self._repair:
            return inside
        p_mw = inside.reshape(*inside.shape[:-1], len(self.names), self.n_snapshots)
        share = p_mw / self.power_mw[:, np.newaxis]
        repaired = self.battery.repair(share, self.duration_hours, self.hours)
        kept = np.where(repaired == share, p_mw, repaired * self.power_mw[:, np.newaxis])
        return kept.reshape(inside.shape)

    def clip(self, x: ArrayLike) -> FloatArray:
        """Schedules within the ratings."""
        inside: FloatArray = np.minimum(
            np.maximum(np.asarray(x, dtype=float), -self._limit), self._limit
        )
        return inside

    def p_mw(self, x: FloatArray) -> FloatArray:
        """Powers of the storages, charging positive, shape (..., n_snapshots, n_storages)."""
        parts = x.reshape(*x.shape[:-1], len(self.names), self.n_snapshots)
        return np.swapaxes(parts, -1, -2)

    def x_of(self, p_mw: FloatArray) -> FloatArray:
        """The vector of powers of shape (n_snapshots, n_storages)."""
        return np.ascontiguousarray(p_mw.T).ravel()

    def soc(self, p_mw: FloatArray) -> FloatArray:
        """States of charge of powers, shape (..., n_snapshots + 1, n_storages)."""
        share = np.swapaxes(p_mw / self.power_mw, -1, -2)
        return np.swapaxes(self.battery.soc(share, self.duration_hours, self.hours), -1, -2)

    def soc_of_settings(self, settings: Settings) -> FloatArray:
        """States of charge of settings, shape (..., n_snapshots + 1, n_storages)."""
        return self.soc(settings.values[..., : len(self.names)])

    def decode(self, x: FloatArray) -> Settings:
        """Settings of snapped vectors, of one or of a batch."""
        p_mw = self.p_mw(x)
        series = np.broadcast_to(
            self._series.values, (*p_mw.shape[:-1], self._series.values.shape[-1])
        )
        return Settings(self.fields, np.concatenate([p_mw, series], axis=-1))

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """One value per storage is no schedule.

        Raises:
            ValueError: Always; see `ScheduleBlock.encode_schedule`.
        """
        raise ValueError("settings of one snapshot are no schedule; use encode_schedule")


def storages_of(net: pandapowerNet) -> pd.DataFrame:
    """The storages in service of a net with their ratings.

    Raises:
        ValueError: There are none, or one has no rating.
    """
    rows = []
    for element in net.storage.index[net.storage.in_service.astype(bool)]:
        rated = number(net, "storage", element, "sn_mva")
        limits = [number(net, "storage", element, column) for column in ("max_p_mw", "min_p_mw")]
        power = rated if np.isfinite(rated) else max(limits[0], -limits[1])
        rows.append(
            {
                "name": label_of(net, "storage", element),
                "power_mw": power,
                "energy_mwh": number(net, "storage", element, "max_e_mwh"),
            }
        )
    if not rows:
        raise ValueError("storages: expected at least one; the net has no storage in service")
    elements = net.storage.index[net.storage.in_service.astype(bool)]
    net.storage.loc[elements, "scaling"] = 1.0  # powers of a schedule are those drawn
    return _checked(pd.DataFrame(rows, index=elements))


def add_storages(
    net: pandapowerNet, storages: pd.DataFrame | Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    """Adds storages to a net; the storages of the net stay as they are.

    Raises:
        ValueError: A missing column, a bus that does not exist, a rating that is not positive.
    """
    table = pd.DataFrame(storages)
    missing = [c for c in ("bus", "power_mw", "energy_mwh") if c not in table]
    if missing or not len(table):
        wanted = missing[0] if missing else "row"
        raise ValueError(f"storages: expected bus, power_mw and energy_mwh; {wanted} is missing")
    for bus in table["bus"]:
        if bus not in net.bus.index or not net.bus.at[bus, "in_service"]:
            raise ValueError(f"storages: the net has no bus {bus} in service")
    table["name"] = [f"storage at bus {int(bus)}" for bus in table["bus"]]
    twice = table["name"].duplicated()
    table.loc[twice, "name"] += [f" ({i})" for i in range(2, 2 + int(twice.sum()))]
    _checked(table)
    table.index = [
        int(
            pp.create_storage(
                net,
                int(row["bus"]),
                p_mw=0.0,
                max_e_mwh=row["energy_mwh"],
                sn_mva=row["power_mw"],
                name=row["name"],
            )
        )
        for _, row in table.iterrows()
    ]
    return table


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    for _, row in table.iterrows():
        for column in ("power_mw", "energy_mwh"):
            value = row[column]
            if not isinstance(value, Real) or not 0 < float(value) < np.inf:
                raise ValueError(
                    f"storages: {row['name']}: expected a positive {column}, got {shown(value)}"
                )
    return table
