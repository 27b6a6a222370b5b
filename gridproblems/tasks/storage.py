"""Storage schedules: when the storages of a grid charge and discharge over a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import check_arguments, shown
from gridproblems.case_series import case_series
from gridproblems.controls import Variable
from gridproblems.net_problem import NetProblem
from gridproblems.network import label_of, net_of_case, number, set_zip
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.over_time import OVER_TIME_METHODS, OverTime, check_hours
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping
from gridproblems.state_of_charge import Battery, ChargeLimits, battery_of
from gridproblems.tasks._limits import grid_constraints, voltage_band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEDULE = "storage_schedule"  # the table of a net that `apply` gave


class StorageSchedule(OverTime, NetProblem):
    """Finds the power of given storages in every snapshot of a series.

    Powers have pandapower's sign: positive when the storage charges. The schedule before is idle.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        storages: Rows with ``bus``, ``power_mw`` and ``energy_mwh``, as DataFrame or mappings;
            they are added to the net. None: the storages of the net, rated ``sn_mva`` or else the
            larger of ``max_p_mw`` and ``-min_p_mw``, with a capacity of ``max_e_mwh``. Powers and
            ratings are those at the bus: storages of a schedule have a ``scaling`` of 1, whatever
            the net says.
        objectives: Any of `OBJECTIVES` and `OBJECTIVE_METHODS`, or callables of (settings, state).
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        battery: Losses and limits of the storages, a `Battery` or a mapping with its attributes.
        series: Tables over time, see `case_series`; None: those of the packaged case, if any.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        repair: Whether schedules are made feasible before they are evaluated.
        engine, n_jobs, cache, aggregate, require_base_solution: See `NetProblem`.

    Raises:
        ValueError: An argument is wrong, no storage, no series; the message names it.
        PowerFlowNotConverged: The grid with idle storages does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    OBJECTIVE_METHODS: Mapping[str, str] = OVER_TIME_METHODS

    codec: StorageCodec

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        storages: pd.DataFrame | Sequence[Mapping[str, float]] | None = None,
        objectives: Sequence[str | ObjectiveFunction | Objective] = ("exchange_peak_kw",),
        limits: Mapping[str, Any] | None = None,
        *,
        battery: Battery | Mapping[str, float] | None = None,
        series: Mapping[Any, Any] | None = None,
        hours: float = 1.0,
        every_snapshot: bool = False,
        outages: str | Sequence[int] | None = None,
        zip_percent: tuple[float, float] | None = None,
        repair: bool = True,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
    ) -> None:
        check_arguments(StorageSchedule.__init__, locals())
        net, self.case = net_of_case(case)
        if zip_percent is not None:
            set_zip(net, zip_percent)
        self.hours = check_hours(hours)
        own_series = case_series(net, self.case, series)
        if own_series is None or own_series.n_snapshots < 2:
            raise ValueError(
                "series: a storage cannot return to its start within one snapshot; "
                "expected a series of at least two"
            )
        table = _storages(net) if storages is None else _added(net, storages)
        _check_series(own_series, table)
        codec = StorageCodec(table, own_series, battery_of(battery), self.hours, repair)
        self.limits, n_minus_1 = grid_constraints(
            net, limits, codec.n_snapshots if every_snapshot else None, outages, self.case
        )
        charge = ChargeLimits(codec.names, codec.battery, codec.soc_of_settings)
        super().__init__(
            net,
            codec,
            objectives,
            [self.limits, *n_minus_1, charge],
            engine=engine,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            require_base_solution=require_base_solution,
            name=self.case.name if self.case else str(net.name or "net"),
        )

    @property
    def base_x(self) -> FloatArray:
        """The idle schedule."""
        return np.zeros(len(self.codec.variables))

    def _base_settings(self, codec: Any) -> Settings:
        settings: Settings = codec.decode(np.zeros(len(codec.variables)))
        return settings

    def schedule(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        snapped = self._checked(x)
        p_mw, soc = self.codec.p_mw(snapped), self.codec.soc(self.codec.p_mw(snapped))
        table = pd.DataFrame(index=pd.RangeIndex(self.codec.n_snapshots, name="snapshot"))
        for i, name in enumerate(self.codec.names):
            table[f"{name} p_mw"], table[f"{name} soc"] = p_mw[:, i], soc[1:, i]
        return table

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """A vector of settings over time, or of the schedule in a net that `apply` gave.

        Raises:
            ValueError: Settings of one snapshot, or a net without a schedule.
        """
        if isinstance(settings, pandapowerNet):
            if SCHEDULE not in settings:
                raise ValueError(f"net: expected one with a table {SCHEDULE!r}, as apply gives")
            return self.encode_schedule(settings[SCHEDULE])
        if not isinstance(settings, Settings):
            return super().encode(settings)
        n = len(self.codec.names)
        if settings.fields != self.codec.fields or settings.values.ndim != 2:
            raise ValueError("settings: expected those of one candidate over the series")
        return self.codec.x_of(settings.values[:, :n])

    def encode_schedule(self, schedule: pd.DataFrame) -> FloatArray:
        """A vector of powers over time.

        Args:
            schedule: Columns ``"storage 0 p_mw"``, ..., one row per snapshot, charging positive.

        Raises:
            ValueError: A missing column, another number of rows, a storage that exceeds its rating
                or limits or does not return to its start; the message names storage and snapshot.
        """
        columns = [f"{name} p_mw" for name in self.codec.names]
        missing = [column for column in columns if column not in schedule]
        if missing:
            raise ValueError(f"schedule: column {missing[0]!r} is missing")
        p_mw = schedule[columns].to_numpy(dtype=float)
        if len(p_mw) != self.codec.n_snapshots:
            raise ValueError(f"schedule: expected {self.codec.n_snapshots} rows, got {len(p_mw)}")
        for i, name in enumerate(self.codec.names):
            self.codec.battery.check(
                name,
                p_mw[:, i] / self.codec.power_mw[i],
                float(self.codec.duration_hours[i]),
                self.hours,
            )
        return self.codec.snap(self.codec.x_of(p_mw))

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> pandapowerNet:
        """A copy of the net with one snapshot of the schedule, solved by ``runpp``.

        ``net["storage_schedule"]`` is the whole schedule, ``net.storage.soc_percent`` the state of
        charge at the end of the snapshot.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which snapshot.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: The power flow does not converge.
        """
        net = super().apply(x, snapshot)
        net[SCHEDULE] = self.schedule(x)
        soc = self.codec.soc(self.codec.p_mw(self._checked(x)))[snapshot + 1]
        net.storage.loc[list(self.codec.fields[0].elements), "soc_percent"] = 100.0 * soc
        return net

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """What every storage does, one row each.

        Columns: control, bus, power_mw and energy_mwh (ratings), charged_mwh, discharged_mwh,
        soc_min, soc_max.
        """
        p_mw = self.codec.p_mw(self._checked(x))
        soc = self.codec.soc(p_mw)
        rows = []
        for i, (name, element) in enumerate(
            zip(self.codec.names, self.codec.fields[0].elements, strict=True)
        ):
            rows.append(
                {
                    "control": name,
                    "bus": int(self.net.storage.at[element, "bus"]),
                    "power_mw": float(self.codec.power_mw[i]),
                    "energy_mwh": float(self.codec.power_mw[i] * self.codec.duration_hours[i]),
                    "charged_mwh": float(np.maximum(p_mw[:, i], 0.0).sum() * self.hours),
                    "discharged_mwh": float(np.maximum(-p_mw[:, i], 0.0).sum() * self.hours),
                    "soc_min": float(soc[:, i].min()),
                    "soc_max": float(soc[:, i].max()),
                }
            )
        return pd.DataFrame(rows, dtype=object)

    def write(self, x: Any, folder: Path) -> None:
        """The net of the most loaded snapshot in ``net.json``, the schedule as CSV file."""
        worst = int(self.solve(x)["branch_loading_percent"].max(axis=-1, initial=0.0).argmax())
        pp.to_json(self.apply(x, worst), str(folder / "net.json"))
        self.schedule(x).to_csv(folder / "schedule.csv")

    def figures(self, x: Any) -> dict[str, Figure]:
        """Line loading and voltages over time before and after, and the schedule."""
        from gridproblems.plotting_series import plot_line_loading, plot_voltage_band
        from gridproblems.plotting_units import plot_storages

        states = {"before": self.base_state}
        if x is not None:
            states["after"] = self.solve(x)
        loading = {name: state.line_loading_percent for name, state in states.items()}
        vm_pu = {name: state.vm_pu for name, state in states.items()}
        band = voltage_band(self.limits)
        found = {
            "line_loading": plot_line_loading(loading, hours=self.hours, title=self.name),
            "voltage_band": plot_voltage_band(vm_pu, band=band, hours=self.hours, title=self.name),
        }
        if x is not None:
            found["schedule"] = plot_storages(self.schedule(x), hours=self.hours, title=self.name)
        return found


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
        inside: FloatArray = np.minimum(
            np.maximum(np.asarray(x, dtype=float), -self._limit), self._limit
        )
        if not self._repair:
            return inside
        p_mw = inside.reshape(*inside.shape[:-1], len(self.names), self.n_snapshots)
        share = p_mw / self.power_mw[:, np.newaxis]
        repaired = self.battery.repair(share, self.duration_hours, self.hours)
        kept = np.where(repaired == share, p_mw, repaired * self.power_mw[:, np.newaxis])
        return kept.reshape(inside.shape)

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
            ValueError: Always; see `StorageSchedule.encode_schedule`.
        """
        raise ValueError("settings of one snapshot are no schedule; use encode_schedule")


def _storages(net: pandapowerNet) -> pd.DataFrame:
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


def _added(
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


def _check_series(series: Settings, storages: pd.DataFrame) -> None:
    """Refuses series of what a schedule sets.

    Raises:
        ValueError: A series of power or scaling of a storage of the schedule.
    """
    for field in series.fields:
        taken = [element for element in field.elements if element in storages.index]
        if field.table == "storage" and field.column in ("p_mw", "scaling") and taken:
            raise ValueError(
                f"series {field}: storage {taken[0]} has a schedule, which sets its power; leave "
                "its column out, or take the storage out of service and pass others"
            )


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    for _, row in table.iterrows():
        for column in ("power_mw", "energy_mwh"):
            value = row[column]
            if not isinstance(value, Real) or not 0 < float(value) < np.inf:
                raise ValueError(
                    f"storages: {row['name']}: expected a positive {column}, got {shown(value)}"
                )
    return table
