"""Units to place, such as PV, capacitors and storages: their variables, powers and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems._names import with_nearest
from gridproblems.controls.block import NO_MOVES, Moves
from gridproblems.controls.state_of_charge import Battery
from gridproblems.controls.variables import Variable, bounds
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping

#: Kinds of units, and what each does.
UNIT_KINDS = {
    "pv": "active power by a profile over time",
    "dg": "the same active power at all times",
    "capacitor": "the same reactive power at all times",
    "storage": "active power by a schedule of its own",
}
Range = float | tuple[float, float]


@dataclass(frozen=True)
class Unit:
    """One unit to place.

    Attributes:
        kind: One of `UNIT_KINDS`.
        name: What to call it.
        max_size: Largest rated active power, reactive power of a capacitor. [MW, Mvar]
        power_factor: Of pv and dg, in (0, 1]; negative when the unit draws reactive power. A pair
            of limits makes it a variable.
        storage_hours: Of storages, energy capacity over rated power. A pair of limits makes it a
            variable. [h]
    """

    kind: str
    name: str
    max_size: float
    power_factor: Range = 1.0
    storage_hours: Range = 2.0

    @property
    def size_unit(self) -> str:
        """Unit of the size."""
        return "Mvar" if self.kind == "capacitor" else "MW"


class UnitCodec:
    """Vectors as units: of each its bus and size, and what else is free.

    Variables of a unit, one after the other: ``bus``, the place among the candidate buses;
    ``size_mw`` (``size_mvar``); ``power_factor`` and ``storage_hours`` where these are ranges; for
    a storage ``p_share[t]``, power over rating in every snapshot, positive when it charges.
    Equal units are sorted by bus, so that every design has one vector.

    Args:
        units: The units.
        buses: Candidate buses in the order of their places.
        elements: The static generator of the net at each of them; it stands for all units there.
        profile: Active power of pv over rating, shape (n_snapshots,).
        series: Settings of every candidate with one row per snapshot, if any.
        battery: Losses and limits of storages.
        hours: Duration of a snapshot. [h]
        size_step: Sizes are multiples of it, 0 for any size. [MW, Mvar]
        choice: Whether buses are choices, none nearer than another, instead of integers.
        repair: Whether storage schedules are made feasible.
        sort: Whether equal units are sorted.
        n_snapshots: Length of schedules; None: that of the profile, which else has several series
            one after the other, such as scenarios.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        buses: Sequence[int],
        elements: Sequence[int],
        profile: FloatArray,
        series: Settings | None,
        battery: Battery,
        hours: float,
        *,
        size_step: float = 0.0,
        choice: bool = False,
        repair: bool = True,
        sort: bool = True,
        n_snapshots: int | None = None,
    ) -> None:
        self.units, self.buses = tuple(units), np.array(buses, dtype=np.int64)
        self.battery, self.hours = battery, hours
        self.n_snapshots = n_snapshots or len(profile)
        #: Snapshot in time of each entry of the profile.
        self._time = np.arange(len(profile)) % self.n_snapshots
        self._profile, self._step, self._repair = profile, size_step, repair
        self.series = series or Settings((), np.zeros((len(profile), 0)))
        variables: list[Variable] = []
        self._start: list[int] = []
        self._columns: list[dict[str, int]] = []
        for unit in units:
            own = _variables(unit, len(buses) if not choice else buses, self.n_snapshots)
            self._start.append(len(variables))
            self._columns.append({key: len(variables) + i for i, key in enumerate(own)})
            variables += own.values()
        self.variables = tuple(variables)
        self._xl, self._xu, self._whole = bounds(self)
        self._size = np.array([c["size"] for c in self._columns])
        self._bus = np.array([c["bus"] for c in self._columns])
        self.storages = [i for i, unit in enumerate(units) if unit.kind == "storage"]
        columns = ["p_mw"] if any(unit.kind != "capacitor" for unit in units) else []
        if any(unit.kind != "storage" and unit.power_factor != 1.0 for unit in units) or any(
            unit.kind == "capacitor" for unit in units
        ):
            columns.append("q_mvar")
        self._columns_set = columns
        self.fields = (
            *(Field("sgen", column, tuple(elements)) for column in columns),
            *self.series.fields,
        )
        self._equal = self._equal_units() if sort else []

    def _equal_units(self) -> list[NDArray[np.int64]]:
        """Columns of equal units, each of shape (n_units, n_columns)."""
        alike: dict[tuple[object, ...], list[NDArray[np.int64]]] = {}
        for unit, columns in zip(self.units, self._columns, strict=True):
            key = (unit.kind, unit.max_size, unit.power_factor, unit.storage_hours)
            alike.setdefault(key, []).append(np.array(list(columns.values())))
        return [np.array(group) for group in alike.values() if len(group) > 1]

    @property
    def n_unit_values(self) -> int:
        """How many of the first values of the settings are powers of units."""
        return len(self._columns_set) * len(self.buses)

    # -- what a vector means --------------------------------------------------------------

    def snap(self, x: ArrayLike) -> FloatArray:
        """Vectors within bounds, buses whole, schedules feasible, equal units sorted by bus."""
        inside: FloatArray = np.minimum(np.maximum(np.asarray(x, dtype=float), self._xl), self._xu)
        np.rint(inside, out=inside, where=self._whole)
        if self._step:
            steps = np.rint(inside[..., self._size] / self._step)
            steps = np.minimum(steps, np.floor(self._xu[self._size] / self._step + 1e-9))
            inside[..., self._size] = steps * self._step
        if self._repair:
            for i in self.storages:
                part = self.schedule_part(i)
                duration = self.storage_hours(inside)[..., i]
                inside[..., part] = self.battery.repair(inside[..., part], duration, self.hours)
        for columns in self._equal:
            blocks = inside[..., columns]
            order = np.lexsort((blocks[..., 1], blocks[..., 0]), axis=-1)
            inside[..., columns] = np.take_along_axis(blocks, order[..., np.newaxis], axis=-2)
        return inside

    def relaxed(self, x: ArrayLike) -> FloatArray:
        """Vectors within bounds, buses whole; sizes between steps, schedules as they are."""
        inside: FloatArray = np.minimum(np.maximum(np.asarray(x, dtype=float), self._xl), self._xu)
        np.rint(inside, out=inside, where=self._whole)
        return inside

    @property
    def columns(self) -> list[dict[str, int]]:
        """Variables of every unit by what they are."""
        return self._columns

    def schedule_part(self, unit: int) -> slice:
        """Where the schedule of a storage stands in a vector."""
        first = self._columns[unit]["p_share[0]"]
        return slice(first, first + self.n_snapshots)

    def places(self, x: FloatArray) -> NDArray[np.int64]:
        """Place of every unit's bus among the candidates, shape (..., n_units)."""
        return x.take(self._bus, axis=-1).astype(np.int64)

    def sizes(self, x: FloatArray) -> FloatArray:
        """Sizes of the units, shape (..., n_units). [MW, Mvar for capacitors]"""
        return x.take(self._size, axis=-1)

    def power_factors(self, x: FloatArray) -> FloatArray:
        """Power factors of the units, 1 for storages, 0 for capacitors, shape (..., n_units)."""
        given = {"storage": 1.0, "capacitor": 0.0}
        return self._free(
            x, "power_factor", [given.get(u.kind, u.power_factor) for u in self.units]
        )

    def storage_hours(self, x: FloatArray) -> FloatArray:
        """Energy capacity over rated power, 0 for other units, shape (..., n_units). [h]"""
        return self._free(
            x,
            "storage_hours",
            [u.storage_hours if u.kind == "storage" else 0.0 for u in self.units],
        )

    def _free(self, x: FloatArray, key: str, fixed: Sequence[Range]) -> FloatArray:
        """A quantity of the units: its variable where it has one, else its fixed value."""
        values = np.empty((*x.shape[:-1], len(self.units)))
        for i, columns in enumerate(self._columns):
            values[..., i] = x[..., columns[key]] if key in columns else fixed[i]
        return values

    def energies_mwh(self, x: FloatArray) -> FloatArray:
        """Energy capacities of the units, 0 for all but storages, shape (..., n_units). [MWh]"""
        return self.sizes(x) * self.storage_hours(x)

    def shares(self, x: FloatArray) -> FloatArray:
        """Power over rating of the storages, charging positive, (..., n_snapshots, n_storages)."""
        parts = [x[..., self.schedule_part(i)] for i in self.storages]
        return np.stack(parts, axis=-1) if parts else np.zeros((*x.shape[:-1], self.n_snapshots, 0))

    def soc(self, x: FloatArray) -> FloatArray:
        """States of charge of the storages, shape (..., n_snapshots + 1, n_storages)."""
        duration = self.storage_hours(x)[..., self.storages]
        soc = self.battery.soc(np.swapaxes(self.shares(x), -1, -2), duration, self.hours)
        return np.swapaxes(soc, -1, -2)

    @property
    def n_steps(self) -> int:
        """Number of values that the units have: one per entry of the profile."""
        return len(self._profile)

    def powers(self, x: FloatArray, rows: slice = slice(None)) -> tuple[FloatArray, FloatArray]:
        """Active and reactive power that the units inject, each (..., n_snapshots, n_units).

        A storage that charges injects a negative power. [MW, Mvar]

        Args:
            x: Vectors.
            rows: Which entries of the profile.
        """
        profile, time = self._profile[rows], self._time[rows]
        size = self.sizes(x)[..., np.newaxis, :]
        p = np.zeros((*x.shape[:-1], len(profile), len(self.units)))
        q = np.zeros_like(p)
        factor = self.power_factors(x)
        shares = self.shares(x)
        for i, unit in enumerate(self.units):
            if unit.kind == "capacitor":
                q[..., i] = size[..., i]
                continue
            if unit.kind == "storage":
                p[..., i] = -size[..., i] * shares[..., time, self.storages.index(i)]
                continue
            p[..., i] = size[..., i] * (profile if unit.kind == "pv" else 1.0)
            reactive = np.sign(factor[..., i]) * np.sqrt(1.0 / factor[..., i] ** 2 - 1.0)
            q[..., i] = p[..., i] * reactive[..., np.newaxis]
        return p, q

    def decode(self, x: FloatArray, rows: slice = slice(None)) -> Settings:
        """Settings of snapped vectors, of one or of a batch; units at one bus add up.

        Args:
            x: Vectors.
            rows: Which entries of the profile.
        """
        p, q = self.powers(x, rows)
        n_buses, n_units = len(self.buses), self.n_unit_values
        n_steps = p.shape[-2]
        values = np.zeros((*x.shape[:-1], n_steps, n_units + self.series.values.shape[-1]))
        values[..., n_units:] = self.series.values[rows]
        places = self.places(x)
        for k, power in enumerate(p if c == "p_mw" else q for c in self._columns_set):
            for i in range(len(self.units)):
                column = places[..., i] + k * n_buses
                if x.ndim == 1:
                    values[:, column] += power[:, i]
                else:
                    values[np.arange(len(x)), :, column] += power[..., i]
        return Settings(self.fields, values)

    def moves(self, x: FloatArray) -> Moves:
        """How the powers at the buses move with sizes, power factors and schedules.

        The slope by a power factor is infinite at 1; there it is that of 1 - 1e-6.
        """
        entries: list[tuple[NDArray[np.int64], FloatArray, NDArray[np.int64], NDArray[np.int64]]]
        entries = []  # of a unit's entries: step, slope, column, variable
        n_steps = len(self._profile)
        steps, everywhere = np.arange(n_steps), np.ones((len(x), n_steps))
        places, sizes, factors = self.places(x), self.sizes(x), self.power_factors(x)
        shares = self.shares(x)
        start_of = {c: k * len(self.buses) for k, c in enumerate(self._columns_set)}

        def note(unit: int, column: str, variable: Any, slope: FloatArray) -> None:
            if column in start_of:
                place = places[:, unit, np.newaxis] + start_of[column] + 0 * steps
                entries.append((steps, slope, place, variable + 0 * steps))

        for i, (unit, own) in enumerate(zip(self.units, self._columns, strict=True)):
            size = sizes[:, i, np.newaxis]
            if unit.kind == "capacitor":
                note(i, "q_mvar", own["size"], everywhere)
                continue
            if unit.kind == "storage":
                share = shares[:, self._time, self.storages.index(i)]
                note(i, "p_mw", own["size"], -share)
                note(i, "p_mw", own["p_share[0]"] + self._time, -size * everywhere)
                continue
            output = self._profile * everywhere if unit.kind == "pv" else everywhere
            factor = factors[:, i, np.newaxis]
            reactive = np.sign(factor) * np.sqrt(1.0 / factor**2 - 1.0)
            note(i, "p_mw", own["size"], output)
            note(i, "q_mvar", own["size"], output * reactive)
            if "power_factor" in own:
                near = np.minimum(np.abs(factor), 1.0 - 1e-6)
                steep = -1.0 / (near**3 * np.sqrt(1.0 / near**2 - 1.0))
                note(i, "q_mvar", own["power_factor"], size * output * steep)
        if not entries:
            return NO_MOVES
        step, slope, column, variable = (
            np.concatenate(parts, axis=-1) for parts in zip(*entries, strict=True)
        )
        return Moves(n_steps, step, column, variable, slope)

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """Powers per bus do not tell which units inject them.

        Raises:
            ValueError: Always; see `encode_units`.
        """
        raise ValueError("settings of buses do not tell units apart; use encode_units")

    # -- tables ---------------------------------------------------------------------------

    def table(self, x: FloatArray) -> pd.DataFrame:
        """The units of a snapped vector, one row each, in pandapower's words and units."""
        rows = []
        factors, hours, energies = (
            values(x) for values in (self.power_factors, self.storage_hours, self.energies_mwh)
        )
        for i, unit in enumerate(self.units):
            of_power = unit.kind in ("pv", "dg")
            rows.append(
                {
                    "unit": unit.name,
                    "kind": unit.kind,
                    "bus": int(self.buses[self.places(x)[i]]),
                    "size": float(self.sizes(x)[i]),
                    "size_unit": unit.size_unit,
                    "power_factor": float(factors[i]) if of_power else math.nan,
                    "storage_hours": float(hours[i]) if unit.kind == "storage" else math.nan,
                    "energy_mwh": float(energies[i]) if unit.kind == "storage" else math.nan,
                }
            )
        return pd.DataFrame(rows)

    @property
    def has_steps(self) -> bool:
        """Whether sizes are multiples of a step."""
        return self._step > 0.0

    def base_x(self) -> FloatArray:
        """The vector of no units: sizes of 0, idle storages."""
        x = self._xl.copy()
        for columns in self._columns:
            for key, column in columns.items():
                if key.startswith("p_share"):
                    x[column] = 0.0
                elif key == "power_factor":
                    x[column] = self._xu[column]
        return self.snap(x)

    def encode_units(self, table: pd.DataFrame, shares: FloatArray | None = None) -> FloatArray:
        """The vector of units in a table, one row per unit in their order.

        Args:
            table: Columns ``bus`` and ``size``, and where they are variables ``power_factor`` and
                ``storage_hours``.
            shares: Power over rating of the storages, shape (n_snapshots, n_storages); None leaves
                them idle.

        Raises:
            ValueError: Another number of rows, a bus that is no candidate, a value out of bounds, a
                storage that cannot do what its schedule says.
        """
        if len(table) != len(self.units):
            raise ValueError(f"units: expected {len(self.units)} rows, got {len(table)}")
        x = self.base_x()
        for i, (unit, columns) in enumerate(zip(self.units, self._columns, strict=True)):
            row = table.iloc[i]
            places = np.flatnonzero(self.buses == row["bus"])
            if not len(places):
                raise ValueError(
                    f"{unit.name}: bus {row['bus']:g} is no candidate; the candidates are "
                    f"{_listed(self.buses)}"
                )
            x[columns["bus"]] = places[0]
            for key in ("size", "power_factor", "storage_hours"):
                if key in columns:
                    value, column = float(row[key]), columns[key]
                    if not self._xl[column] - 1e-9 <= value <= self._xu[column] + 1e-9:
                        raise ValueError(
                            f"{unit.name}: {key} {value} is not within "
                            f"[{self._xl[column]}, {self._xu[column]}]"
                        )
                    x[column] = value
        if shares is not None:
            expected = (self.n_snapshots, len(self.storages))
            if np.shape(shares) != expected:
                raise ValueError(
                    f"schedule: expected an array of {expected}, got {np.shape(shares)}"
                )
            for k, i in enumerate(self.storages):
                x[self.schedule_part(i)] = self.battery.check(
                    self.units[i].name,
                    np.asarray(shares, dtype=float)[:, k],
                    float(self.storage_hours(x)[i]),
                    self.hours,
                )
        return self.snap(x)


def _variables(unit: Unit, buses: int | Sequence[int], n_snapshots: int) -> dict[str, Variable]:
    """Variables of a unit by what they are; ``bus`` and ``size`` come first."""
    if isinstance(buses, int):
        bus = Variable(f"{unit.name} bus", "integer", 0.0, buses - 1.0)
    else:
        bus = Variable(
            f"{unit.name} bus", "choice", 0.0, len(buses) - 1.0, tuple(map(float, buses))
        )
    size = f"{unit.name} size_{unit.size_unit.lower()}"
    own = {"bus": bus, "size": Variable(size, "real", 0.0, unit.max_size)}
    free = {"pv": "power_factor", "dg": "power_factor", "storage": "storage_hours"}.get(unit.kind)
    limits = getattr(unit, free) if free else None
    if free and isinstance(limits, tuple):
        own[free] = Variable(f"{unit.name} {free}", "real", *limits)
    if unit.kind == "storage":
        for t in range(n_snapshots):
            own[f"p_share[{t}]"] = Variable(f"{unit.name} p_share[{t}]", "real", -1.0, 1.0)
    return own


def candidate_buses(net: pandapowerNet, buses: Sequence[int] | None) -> list[int]:
    """Buses that units may stand at, in an order in which neighbours are near each other.

    The order is that of a walk along the grid from its sources, shorter branches first.

    Args:
        net: The net.
        buses: The candidates; None: all supplied buses but those of external grids and slack
            generators and those that closed couplers join to them: power there never enters the
            grid.

    Raises:
        ValueError: A bus does not exist, is named twice, is out of service or without supply.
    """
    sources = [*net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    sources += [*net.gen.bus[net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)]]
    graph = nx.Graph(create_nxgraph(net, respect_switches=True))
    walk: list[int] = []
    for source in dict.fromkeys(sources):
        if source not in walk:
            walk += _walk(graph, source)
    if buses is None:
        held = _joined(net, sources)
        found = [bus for bus in walk if bus not in held]
        if not found:
            raise ValueError(
                "buses: every supplied bus of the net is at an external grid or a slack generator, "
                "or joined to one by closed couplers; name the candidates"
            )
        return found
    wanted = [int(bus) for bus in buses]
    for bus in wanted:
        if bus not in net.bus.index:
            raise ValueError(f"buses: the net has no bus {bus}; it has {_listed(net.bus.index)}")
        if bus not in walk:
            raise ValueError(f"buses: bus {bus} is out of service or without supply")
    if len(set(wanted)) < len(wanted) or not wanted:
        raise ValueError(f"buses: expected at least one bus, each once, got {wanted}")
    return [bus for bus in walk if bus in wanted]


def _joined(net: pandapowerNet, buses: Sequence[int]) -> set[int]:
    """These buses and those that closed couplers join to them."""
    couplers = net.switch[(net.switch.et == "b") & net.switch.closed.astype(bool)]
    graph = nx.Graph(zip(couplers.bus, couplers.element, strict=True))
    graph.add_nodes_from(buses)
    return {int(bus) for start in buses for bus in nx.node_connected_component(graph, start)}


def _walk(graph: nx.Graph, source: int) -> list[int]:
    """Buses from a source on, depth first, smaller subtrees of the breadth-first tree first."""
    tree = nx.bfs_tree(graph, source)
    size: dict[int, int] = {}
    for bus in reversed(list(nx.topological_sort(tree))):
        size[bus] = 1 + sum(size[child] for child in tree[bus])
    order, stack = [], [source]
    while stack:
        bus = stack.pop()
        order.append(int(bus))
        stack += sorted(tree[bus], key=lambda child: size[child], reverse=True)
    return order


def _listed(buses: Sequence[int] | NDArray[np.int64] | pd.Index) -> str:
    some = [str(int(bus)) for bus in buses[:12]]
    return ", ".join(some) + (f", ... ({len(buses)} in all)" if len(buses) > 12 else "")


def units_of(
    net: pandapowerNet,
    series: Settings | None,
    n_units: int | None,
    kind: str | Sequence[str],
    max_size: float | Mapping[str, float] | None,
    power_factor: Range,
    storage_hours: Range,
) -> list[Unit]:
    """The units that the arguments ask for."""
    kinds = [kind] * (n_units or 1) if isinstance(kind, str) else list(kind)
    if n_units is not None and (n_units < 1 or n_units != len(kinds)):
        raise ValueError(f"n_units: expected {max(len(kinds), 1)}, one per kind, got {n_units}")
    if not kinds:
        raise ValueError("kind: expected at least one kind, got an empty list")
    for one in kinds:
        if one not in UNIT_KINDS:
            raise ValueError(f"kind: unknown kind {with_nearest(one, UNIT_KINDS)}")
    factor = _checked_range("power_factor", power_factor, -1.0, 1.0)
    if factor == 0 or (isinstance(factor, tuple) and factor[0] <= 0):
        raise ValueError(
            f"power_factor: expected in (0, 1], or in [-1, 0) for units that draw reactive power, "
            f"or a pair of limits in (0, 1], got {power_factor}"
        )
    duration = _checked_range("storage_hours", storage_hours, 0.0, np.inf)
    if min(np.atleast_1d(duration)) <= 0:
        raise ValueError(f"storage_hours: expected more than 0, got {storage_hours}")
    sizes: dict[str, float] = {}
    for one in kinds:
        given = max_size.get(one) if isinstance(max_size, Mapping) else max_size
        if given is None:
            given = largest_load(net, series, "q_mvar" if one == "capacitor" else "p_mw")
        if not 0 < given < np.inf:
            raise ValueError(f"max_size of {one}: expected a positive size, got {given}")
        sizes[one] = float(given)
    return [
        Unit(one, f"{one} {kinds[: i + 1].count(one)}", sizes[one], factor, duration)
        for i, one in enumerate(kinds)
    ]


def _checked_range(name: str, given: Any, low: float, high: float) -> Range:
    values = np.asarray(given, dtype=float)
    within = np.isfinite(values) & (values >= low) & (values <= high)
    if values.shape not in ((), (2,)) or not within.all():
        raise ValueError(
            f"{name}: expected a number or a pair of limits in [{low:g}, {high:g}], got {given}"
        )
    if values.ndim == 0:
        return float(values)
    if not values[0] < values[1]:
        raise ValueError(f"{name}: expected a lower and a higher limit, got {given}")
    return (float(values[0]), float(values[1]))


def largest_load(net: pandapowerNet, series: Settings | None, column: str) -> float:
    """The largest total load of all snapshots, at least the one of the tables. [MW, Mvar]"""
    table = net.load[net.load.in_service.astype(bool)]
    total = float((table[column] * table.scaling).abs().sum())
    for field, values in series or ():
        if (field.table, field.column) == ("load", column):
            total = max(total, float(np.abs(values).sum(axis=-1).max()))
    return total
