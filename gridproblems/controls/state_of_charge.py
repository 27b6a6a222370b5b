"""What a storage can do over a series: its state of charge, limits, and schedules made feasible.

Powers are shares of the rated power, positive when the storage charges (consumer sign, as in
``net.storage``); states of charge are shares of the energy capacity. A storage of duration ``d``
(hours at rated power that fill or empty it without losses) changes in a snapshot of ``h`` hours by

    soc[t + 1] = soc[t] + h / d * (eta * p[t])    while charging, p > 0
    soc[t + 1] = soc[t] + h / d * (p[t] / eta)    while discharging, p < 0

with ``eta`` the square root of the round-trip efficiency: losses are shared by both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from gridproblems._compile import compiled
from gridproblems.state import FloatArray, GridState, Settings

TOLERANCE = 1e-6  # of the energy capacity


@dataclass(frozen=True)
class Battery:
    """Losses and limits of a storage.

    Attributes:
        round_trip_efficiency: Energy given back over energy taken in, in (0, 1].
        soc_min, soc_max: Limits of the state of charge, shares of the capacity.
        soc_start: State of charge at the start of the series, and again at its end.
    """

    round_trip_efficiency: float = 0.9
    soc_min: float = 0.0
    soc_max: float = 1.0
    soc_start: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.round_trip_efficiency <= 1:
            raise ValueError(
                f"round_trip_efficiency: expected in (0, 1], got {self.round_trip_efficiency}"
            )
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ValueError(
                    f"{field.name}: expected a share of the capacity, 0 to 1, got {value}"
                )
        if not self.soc_min <= self.soc_start <= self.soc_max:
            raise ValueError(
                f"soc_start: the storage cannot return to its start {self.soc_start}, it is not "
                f"within soc_min {self.soc_min} and soc_max {self.soc_max}"
            )

    @property
    def one_way_efficiency(self) -> float:
        """Efficiency of charging, and of discharging."""
        return float(np.sqrt(self.round_trip_efficiency))

    def soc(self, share: FloatArray, duration_hours: FloatArray, hours: float) -> FloatArray:
        """States of charge before the first and after every snapshot.

        Args:
            share: Power as share of the rating, shape (..., n_snapshots).
            duration_hours: Energy capacity over rated power, shape (...). [h]
            hours: Duration of a snapshot. [h]

        Returns:
            Shape (..., n_snapshots + 1).
        """
        eta = self.one_way_efficiency
        change = np.where(share > 0, share * eta, share / eta)
        change = change * (hours / np.asarray(duration_hours))[..., np.newaxis]
        start = np.zeros((*share.shape[:-1], 1))
        return self.soc_start + np.concatenate([start, np.cumsum(change, axis=-1)], axis=-1)

    def repair(self, share: FloatArray, duration_hours: FloatArray, hours: float) -> FloatArray:
        """The schedule made feasible: within rating and limits, back at the start at the end.

        All snapshots shift by the same power so that the storage ends where it starts; where it
        would then leave its limits, or could not return any more, the power is cut. A feasible
        schedule, one within the tolerance of the constraints, stays as it is.

        Args:
            share, duration_hours, hours: As of `soc`.

        Returns:
            Shape (..., n_snapshots).
        """
        rows = np.clip(share, -1.0, 1.0).reshape(-1, share.shape[-1])
        duration = np.broadcast_to(duration_hours, share.shape[:-1]).reshape(-1)
        _repair(
            rows,
            hours / duration,
            self.one_way_efficiency,
            self.soc_min,
            self.soc_max,
            self.soc_start,
        )
        return rows.reshape(share.shape)

    def check(
        self, name: str, share: FloatArray, duration_hours: float, hours: float
    ) -> FloatArray:
        """A schedule of one storage, shape (n_snapshots,).

        Raises:
            ValueError: It exceeds the rated power or a limit, or does not return to its start; the
                message names the storage and the snapshot.
        """
        over = np.flatnonzero(~(np.abs(share) <= 1 + TOLERANCE))
        if len(over):
            raise ValueError(
                f"{name}: power {share[over[0]]:.6g} of its rating in snapshot {over[0]}"
            )
        soc = self.soc(share, np.asarray(duration_hours), hours)
        outside = (soc < self.soc_min - TOLERANCE) | (soc > self.soc_max + TOLERANCE)
        if outside.any():
            t = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"{name}: state of charge {soc[t]:.6g} after snapshot {t - 1} is not within "
                f"[{self.soc_min}, {self.soc_max}]"
            )
        if abs(soc[-1] - self.soc_start) > TOLERANCE:
            raise ValueError(
                f"{name}: does not return to its start: state of charge {soc[-1]:.6g} at the end, "
                f"{self.soc_start} at the start"
            )
        return np.clip(share, -1.0, 1.0)


def battery_of(given: Battery | Mapping[str, float] | None) -> Battery:
    """A battery, also from a mapping with its attributes; None for the defaults.

    Raises:
        ValueError: An unknown attribute, or a value that cannot be.
    """
    if isinstance(given, Battery):
        return given
    known = [field.name for field in fields(Battery)]
    unknown = sorted(set(given or {}) - set(known))
    if unknown:
        raise ValueError(f"battery: unknown {unknown[0]!r}; known: {', '.join(known)}")
    return Battery(**(given or {}))


class ChargeLimits:
    """State of charge within its limits at all times, and at the end where it was at the start.

    Violations are shares of the energy capacity, beyond a tolerance of 1e-6.

    Args:
        names: Names of the storages.
        battery: Their losses and limits.
        soc: Gives the states of charge of settings, shape (..., n_snapshots + 1, n_storages).
    """

    needs_state = False

    def __init__(
        self, names: Sequence[str], battery: Battery, soc: Callable[[Settings], FloatArray]
    ) -> None:
        self.names = tuple(f"{name} {limit}" for limit in ("max", "min", "end") for name in names)
        self.kinds = ("state_of_charge",) * len(self.names)
        self._battery, self._soc = battery, soc

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Distance beyond the limits, the worst of all snapshots, shape (..., n_entries)."""
        soc = self._soc(settings)
        above = soc.max(axis=-2) - self._battery.soc_max
        below = self._battery.soc_min - soc.min(axis=-2)
        end = np.abs(soc[..., -1, :] - self._battery.soc_start)
        return np.concatenate([above, below, end], axis=-1) - TOLERANCE


@compiled
def _repair(share, gain, eta, low, high, start):  # type: ignore[no-untyped-def]
    """`Battery.repair` for rows of shares within [-1, 1], in place."""
    n = share.shape[1]
    for row in range(len(share)):
        p, k = share[row], gain[row]
        soc, inside = start, True
        for t in range(n):
            soc += k * (p[t] * eta if p[t] > 0 else p[t] / eta)
            inside &= low - TOLERANCE <= soc <= high + TOLERANCE
        if inside and abs(soc - start) <= TOLERANCE:
            continue
        shift_low, shift_high = -2.0, 2.0
        for _ in range(60):
            shift = 0.5 * (shift_low + shift_high)
            total = 0.0
            for t in range(n):
                q = min(max(p[t] + shift, -1.0), 1.0)
                total += q * eta if q > 0 else q / eta
            if total > 0:
                shift_high = shift
            else:
                shift_low = shift
        soc = start
        for t in range(n):
            q = min(max(p[t] + shift_low, -1.0), 1.0)
            new = soc + k * (q * eta if q > 0 else q / eta)
            left = n - t - 1  # snapshots in which to come back
            lowest = max(low, start - left * k * eta)
            highest = min(high, start + left * k / eta)
            allowed = min(max(new, lowest), highest)
            if allowed != new:
                change = (allowed - soc) / k
                q = change / eta if change > 0 else change * eta
                q = min(max(q, -1.0), 1.0)
            p[t] = q
            soc = allowed
