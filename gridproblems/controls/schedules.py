"""`Schedules`: when the storages of a grid charge and discharge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridproblems.controls.block import Block, BlockConstraint, Moves, Shown, add_table
from gridproblems.controls.state_of_charge import TOLERANCE, Battery, battery_of
from gridproblems.controls.storages import SCHEDULE, StorageCodec, add_storages, storages_of
from gridproblems.situations import Situations
from gridproblems.state import FloatArray, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Schedules:
    """The power of given storages in every snapshot, positive when they charge.

    Attributes:
        storages: Rows with ``bus``, ``power_mw`` and ``energy_mwh``, as DataFrame or mappings;
            they are added to the net. None: the storages of the net, rated ``sn_mva`` or else the
            larger of ``max_p_mw`` and ``-min_p_mw``, with a capacity of ``max_e_mwh``. Powers and
            ratings are those at the bus: storages of a schedule have a ``scaling`` of 1, whatever
            the net says.
        battery: Losses and limits of the storages, a `Battery` or a mapping with its attributes.
        repair: Whether schedules are made feasible before they are evaluated.
    """

    of_grid: ClassVar[str] = "net"

    storages: pd.DataFrame | Sequence[Mapping[str, float]] | None = None
    battery: Battery | Mapping[str, float] | None = None
    repair: bool = True

    def prepare(self, grid: Any) -> pd.DataFrame:
        """Adds the storages to the net; gives them with their ratings.

        Raises:
            ValueError: There are none, or one has no rating.
        """
        if self.storages is None:
            return storages_of(grid.net)
        return add_storages(grid.net, self.storages)

    def bind(self, grid: Any, situations: Situations, prepared: pd.DataFrame) -> Block:
        """The storages over the snapshots in time.

        Raises:
            ValueError: Fewer than two snapshots.
        """
        if situations.n_time < 2:
            raise ValueError(
                "series: a storage cannot return to its start within one snapshot; "
                "expected a series of at least two"
            )
        _check_series(situations, prepared)
        nothing = Settings((), np.zeros((situations.n_time, 0)))
        battery = battery_of(self.battery)
        codec = StorageCodec(prepared, nothing, battery, situations.hours, self.repair)
        return ScheduleBlock(codec, grid.net)


def _check_series(situations: Situations, storages: pd.DataFrame) -> None:
    """Refuses series of what a schedule sets.

    Raises:
        ValueError: A series of power or scaling of a storage of the schedule.
    """
    for field in (delta.field for axis in situations.axes for delta in axis.deltas):
        taken = [element for element in field.elements if element in storages.index]
        if field.table == "storage" and field.column in ("p_mw", "scaling") and taken:
            raise ValueError(
                f"series {field}: storage {taken[0]} has a schedule, which sets its power; leave "
                "its column out, or take the storage out of service and pass others"
            )


class ScheduleBlock(Block):
    """Powers of storages over time.

    Args:
        codec: Vectors as powers.
        net: The net.
    """

    kind = "schedules"
    no_periods = "schedules have a value for every snapshot"

    def __init__(self, codec: StorageCodec, net: Any) -> None:
        self.codec, self._net = codec, net
        self.variables, self.fields = codec.variables, codec.fields
        of_charge = self._beyond_charge, self._charge_slopes, self._charge_pieces
        self.constraints = (charge_constraint(codec.names, *of_charge),)

    @property
    def base_x(self) -> FloatArray:
        """The idle schedule."""
        return np.zeros(len(self.variables))

    def snap(self, x: FloatArray) -> FloatArray:
        """Schedules within the ratings, and if asked for within the limits of the storages."""
        return self.codec.snap(x)

    def relaxed(self, x: FloatArray) -> FloatArray:
        """Schedules within the ratings; the limits of the storages are constraints."""
        return self.codec.clip(x)

    def moves(self, x: FloatArray, situations: Situations) -> Moves:
        """Every power is a variable."""
        n, n_snapshots = len(self.codec.names), self.codec.n_snapshots
        step = np.tile(np.arange(n_snapshots), n)
        column = np.repeat(np.arange(n), n_snapshots)
        return Moves(n_snapshots, step, column, np.arange(len(step)), np.ones(len(step)))

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Powers, charging positive, shape (n, n_time, n_storages). [MW]"""
        return self.codec.decode(x).values

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """One value per storage is no schedule; see `encode_schedule`."""
        return self.codec.encode(settings)

    def encode_series(self, settings: Settings) -> FloatArray:
        """The vector of the settings of one candidate over time.

        Raises:
            ValueError: Other fields, or one snapshot.
        """
        n = len(self.codec.names)
        if settings.fields[:1] != self.fields or settings.values.ndim != 2:
            raise ValueError("settings: expected those of one candidate over the series")
        return self.codec.x_of(settings.values[: self.codec.n_snapshots, :n])

    def _beyond_charge(self, x: FloatArray) -> FloatArray:
        """State of charge beyond its limits and at the end, shares of the capacity."""
        return beyond_charge(self.codec.soc(self.codec.p_mw(x)), self.codec.battery)

    def _charge_slopes(self, x: FloatArray) -> FloatArray:
        by_share, _ = charge_slopes(*self._charge(x))
        return self._by_powers(by_share)

    def _charge_pieces(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """State of charge beyond its limits after every snapshot, and its slopes."""
        values, by_share, _ = charge_pieces(*self._charge(x))
        return values, self._by_powers(by_share)

    def _charge(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float, Battery]:
        """Shares, states of charge, durations, hours and the battery, as of `charge_slopes`."""
        codec, p_mw = self.codec, self.codec.p_mw(x)
        duration = np.broadcast_to(codec.duration_hours, (len(x), len(codec.names)))
        return p_mw / codec.power_mw, codec.soc(p_mw), duration, codec.hours, codec.battery

    def _by_powers(self, by_share: FloatArray) -> FloatArray:
        """Slopes of entries of every storage, by its shares, as those of all by the vectors."""
        n_vectors, n_each, n, n_snapshots = by_share.shape
        slopes = np.zeros((n_vectors, n_each, n, n, n_snapshots))
        for i in range(n):
            slopes[:, :, i, i] = by_share[:, :, i] / self.codec.power_mw[i]
        return slopes.reshape(n_vectors, n_each * n, n * n_snapshots)

    def schedule(self, x: FloatArray) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        p_mw, soc = self.codec.p_mw(x), self.codec.soc(self.codec.p_mw(x))
        table = pd.DataFrame(index=pd.RangeIndex(self.codec.n_snapshots, name="snapshot"))
        for i, name in enumerate(self.codec.names):
            table[f"{name} p_mw"], table[f"{name} soc"] = p_mw[:, i], soc[1:, i]
        return table

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
                self.codec.hours,
            )
        return self.codec.snap(self.codec.x_of(p_mw))

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """What every storage does, one row each.

        Columns: control, bus, power_mw and energy_mwh (ratings), charged_mwh, discharged_mwh,
        soc_min, soc_max.
        """
        p_mw = self.codec.p_mw(x)
        soc, hours = self.codec.soc(p_mw), self.codec.hours
        rows = []
        for i, (name, element) in enumerate(
            zip(self.codec.names, self.fields[0].elements, strict=True)
        ):
            rows.append(
                {
                    "control": name,
                    "bus": int(self._net.storage.at[element, "bus"]),
                    "power_mw": float(self.codec.power_mw[i]),
                    "energy_mwh": float(self.codec.power_mw[i] * self.codec.duration_hours[i]),
                    "charged_mwh": float(np.maximum(p_mw[:, i], 0.0).sum() * hours),
                    "discharged_mwh": float(np.maximum(-p_mw[:, i], 0.0).sum() * hours),
                    "soc_min": float(soc[:, i].min()),
                    "soc_max": float(soc[:, i].max()),
                }
            )
        return pd.DataFrame(rows, dtype=object)

    def finish(self, applied: Any, x: FloatArray, snapshot: int) -> None:
        """The whole schedule as a table of the net, and states of charge in per cent."""
        add_table(applied, SCHEDULE, self.schedule(x))
        soc = self.codec.soc(self.codec.p_mw(x))[snapshot % self.codec.n_snapshots + 1]
        applied.storage.loc[list(self.fields[0].elements), "soc_percent"] = 100.0 * soc

    def tables(self, x: FloatArray) -> dict[str, pd.DataFrame]:
        """The schedule."""
        return {"schedule": self.schedule(x)}

    def figures(self, x: FloatArray | None, shown: Shown) -> dict[str, Figure]:
        """Powers and states of charge over time."""
        from gridproblems.plotting import plot_storages

        if x is None:
            return {}
        figure = plot_storages(
            shown.tables["schedule"],
            hours=self.codec.hours,
            soc_start=self.codec.battery.soc_start,
            title=shown.title,
        )
        return {"schedule": figure}


def charge_constraint(
    names: Sequence[str],
    function: Callable[[FloatArray], FloatArray],
    slopes: Callable[[FloatArray], FloatArray],
    pieces: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
) -> BlockConstraint:
    """Limits of the states of charge of storages.

    Args:
        names: Of the storages.
        function, slopes, pieces: What `beyond_charge`, `charge_slopes` and `charge_pieces` say of a
            block's vectors, see `BlockConstraint`.
    """
    entries = tuple(f"{name} {limit}" for limit in ("max", "min", "end") for name in names)
    kinds = ("state_of_charge",) * len(entries)
    return BlockConstraint(entries, kinds, function, slopes, pieces=pieces)


def beyond_charge(soc: FloatArray, battery: Battery) -> FloatArray:
    """State of charge within its limits at all times, and at the end where it was at the start.

    Args:
        soc: Shape (n, n_snapshots + 1, n_storages).
        battery: Limits of the storages.

    Returns:
        Shares of the energy capacity beyond a tolerance of 1e-6, shape (n, 3 n_storages).
    """
    above = soc.max(axis=-2) - battery.soc_max
    below = battery.soc_min - soc.min(axis=-2)
    end = np.abs(soc[..., -1, :] - battery.soc_start)
    return np.concatenate([above, below, end], axis=-1) - TOLERANCE


def charge_slopes(
    share: FloatArray,
    soc: FloatArray,
    duration_hours: FloatArray,
    hours: float,
    battery: Battery,
) -> tuple[FloatArray, FloatArray]:
    """Slopes of the entries of `beyond_charge`.

    At kinks they are one-sided: those of the first of several equal extremes, of discharging at
    power 0, and of an end above the start where the two are equal.

    Args:
        share: Power over rating, shape (n, n_snapshots, n_storages).
        soc: States of charge, shape (n, n_snapshots + 1, n_storages).
        duration_hours: Energy capacity over rated power, shape (n, n_storages). [h]
        hours: Duration of a snapshot. [h]
        battery: Limits of the storages.

    Returns:
        By the shares, shape (n, 3, n_storages, n_snapshots): upper limit, lower limit, end; and by
        the durations, shape (n, 3, n_storages). [1/h]
    """
    n_snapshots = share.shape[1]
    when = np.stack(
        [soc.argmax(axis=1), soc.argmin(axis=1), np.full(soc[:, 0].shape, n_snapshots)], axis=1
    )
    end = np.where(soc[:, -1] >= battery.soc_start, 1.0, -1.0)
    sign = np.stack([np.ones_like(end), -np.ones_like(end), end], axis=1)
    return _slopes_after(when, sign, share, soc, duration_hours, hours, battery)


def charge_pieces(
    share: FloatArray,
    soc: FloatArray,
    duration_hours: FloatArray,
    hours: float,
    battery: Battery,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The functions that the entries of `beyond_charge` are the largest of, and their slopes.

    Per storage these are the upper limit after each snapshot, the lower limit after each, and the
    end above and below the start.

    Args:
        share, soc, duration_hours, hours, battery: As of `charge_slopes`, whose kink of charging
            and discharging they have.

    Returns:
        Values, shape (n, n_each * n_storages) with n_each = 2 n_snapshots + 2; and slopes by the
        shares, (n, n_each, n_storages, n_snapshots), and by the durations, (n, n_each, n_storages).
    """
    n, n_snapshots, n_storages = share.shape
    after = np.arange(1, n_snapshots + 1)
    when = np.concatenate([after, after, [n_snapshots, n_snapshots]])
    signs = np.concatenate([np.ones(n_snapshots), -np.ones(n_snapshots), [1.0, -1.0]])
    bounds = np.repeat(
        [battery.soc_max, battery.soc_min, battery.soc_start], [n_snapshots, n_snapshots, 2]
    )
    values = signs[:, np.newaxis] * (soc[:, when] - bounds[:, np.newaxis]) - TOLERANCE
    shape = n, len(when), n_storages
    by_share, by_duration = _slopes_after(
        np.broadcast_to(when[:, np.newaxis], shape),
        np.broadcast_to(signs[:, np.newaxis], shape),
        share,
        soc,
        duration_hours,
        hours,
        battery,
    )
    return values.reshape(n, -1), by_share, by_duration


def _slopes_after(
    when: NDArray[np.intp],
    sign: FloatArray,
    share: FloatArray,
    soc: FloatArray,
    duration_hours: FloatArray,
    hours: float,
    battery: Battery,
) -> tuple[FloatArray, FloatArray]:
    """Slopes of states of charge after ``when`` snapshots, times a sign, (n, n_each, n_storages).

    The others, and what comes back, as of `charge_slopes`.
    """
    n_snapshots = share.shape[1]
    eta = battery.one_way_efficiency
    gain = np.where(share > 0, eta, 1.0 / eta) * (hours / duration_hours)[:, np.newaxis]
    before = np.arange(n_snapshots) < when[..., np.newaxis]
    by_share = before * np.moveaxis(gain, 1, 2)[:, np.newaxis] * sign[..., np.newaxis]
    reached = np.take_along_axis(soc, when, axis=1)
    by_duration = -sign * (reached - battery.soc_start) / duration_hours[:, np.newaxis]
    return by_share, by_duration
