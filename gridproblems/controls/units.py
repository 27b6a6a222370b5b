"""`Units`: where units such as PV, capacitors and storages should be, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import NDArray

from gridproblems._names import with_nearest
from gridproblems.cases import Case
from gridproblems.controls.block import (
    Block,
    BlockSearch,
    Moves,
    PlacedBlock,
    Shown,
    add_table,
)
from gridproblems.controls.economics import UnitCost, unit_cost
from gridproblems.controls.schedules import (
    beyond_charge,
    charge_constraint,
    charge_pieces,
    charge_slopes,
)
from gridproblems.controls.state_of_charge import Battery, battery_of
from gridproblems.controls.storages import SCHEDULE
from gridproblems.controls.unit_codec import (
    UNIT_KINDS,
    Range,
    UnitCodec,
    candidate_buses,
    largest_load,
    units_of,
)
from gridproblems.nets.case_series import pv_profile
from gridproblems.situations import Situations
from gridproblems.state import FloatArray, GridState, Settings, SettingsMapping
from gridproblems.violations import listed, violations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUS_VARIABLES = ("integer", "choice")
BISECTIONS = 20  # capacities to a millionth of the largest one looked for
TIMES_LOAD = 10.0  # the largest capacity looked for, over the largest load


@dataclass(frozen=True)
class Units:
    """Places units in a net and sizes them.

    Every unit has a bus among the candidates and a size; storages also a schedule. Units at one
    bus add up. The grid before has no units.

    Attributes:
        kind: One of `UNIT_KINDS` for all units, or one per unit.
        n_units: Number of units; None: one, or one per kind of a sequence.
        buses: Candidate buses; None: all supplied buses but those of external grids and slack
            generators and those that closed couplers join to them.
        bus_variable: ``"integer"``: the place of the bus on a walk along the grid, so that near
            numbers are near buses; ``"choice"``: a choice among them.
        max_size: Largest size of a unit, for all or by kind; None: the largest active load of the
            net, the largest reactive load for capacitors. [MW, Mvar]
        size_step: Sizes are multiples of it, 0 for any size. [MW, Mvar]
        power_factor: Of pv and dg, in (0, 1]; negative when units draw reactive power. A pair of
            limits makes it a variable of each unit.
        storage_hours: Energy capacity of storages over their rated power; a pair of limits makes
            it a variable of each unit. [h]
        battery: Losses and limits of storages, a `Battery` or a mapping with its attributes.
        costs: For objective ``unit_cost_eur_per_year``: kind -> `UnitCost` or mapping.
        max_hosting_mw: For objective ``hosting_capacity_mw``: the largest capacity looked for;
            None: ten times the largest load. [MW]
        repair: Whether storage schedules are made feasible before they are evaluated.
        sort: Whether equal units are sorted by bus, so that every design has one vector.
    """

    of_grid: ClassVar[str] = "net"

    kind: str | Sequence[str] = "pv"
    n_units: int | None = None
    buses: Sequence[int] | None = None
    bus_variable: str = "integer"
    max_size: float | Mapping[str, float] | None = None
    size_step: float = 0.0
    power_factor: Range = 1.0
    storage_hours: Range = 2.0
    battery: Battery | Mapping[str, float] | None = None
    costs: Mapping[str, UnitCost | Mapping[str, float]] = field(default_factory=dict)
    max_hosting_mw: float | None = None
    repair: bool = True
    sort: bool = True

    def __post_init__(self) -> None:
        if self.bus_variable not in BUS_VARIABLES:
            named = with_nearest(str(self.bus_variable), BUS_VARIABLES)
            raise ValueError(f"bus_variable: unknown {named}")
        if not 0 <= self.size_step < np.inf:
            raise ValueError(f"size_step: expected 0 or more, got {self.size_step}")
        most = self.max_hosting_mw
        if most is not None and not 0 < most < np.inf:
            raise ValueError(f"max_hosting_mw: expected a positive power, got {most}")
        unknown = sorted(set(self.costs) - set(UNIT_KINDS))
        if unknown:
            raise ValueError(f"costs: unknown kind {with_nearest(unknown[0], UNIT_KINDS)}")

    def prepare(self, grid: Any) -> tuple[list[int], list[int]]:
        """Adds a static generator at every candidate bus, which stands for the units there."""
        buses = candidate_buses(grid.given, self.buses)
        names = [f"units at bus {bus}" for bus in buses]
        elements = pp.create_sgens(grid.net, buses, p_mw=0.0, name=names)
        return buses, [int(element) for element in elements]

    def bind(
        self, grid: Any, situations: Situations, prepared: tuple[list[int], list[int]]
    ) -> Block:
        """The units at the candidate buses.

        Raises:
            ValueError: An unknown kind, a number, size, factor or duration that cannot be, a
                storage without a series.
        """
        series = _series(situations)
        units = units_of(
            grid.given,
            series,
            self.n_units,
            self.kind,
            self.max_size,
            self.power_factor,
            self.storage_hours,
        )
        kinds = {unit.kind for unit in units}
        if "storage" in kinds and situations.n_time < 2:
            raise ValueError(
                "series: a storage cannot return to its start within one snapshot; "
                "expected a series of at least two"
            )
        codec = UnitCodec(
            units,
            *prepared,
            _pv_profile(situations, grid.case, "pv" in kinds),
            None,
            battery_of(self.battery),
            situations.hours,
            size_step=self.size_step,
            choice=self.bus_variable == "choice",
            repair=self.repair,
            sort=self.sort,
            n_snapshots=situations.n_time,
        )
        most = self.max_hosting_mw or TIMES_LOAD * largest_load(grid.net, series, "p_mw")
        return UnitBlock(codec, self.costs, most)


def _pv_profile(situations: Situations, case: Case | None, has_pv: bool) -> FloatArray:
    """Output of pv over its rating: per snapshot, or where scenarios differ per situation.

    Raises:
        ValueError: Nothing says what pv does over time.
    """
    driver = situations.driver("pv")
    is_one = situations.n_time == situations.n_chains == 1
    in_time = any(axis.is_time and "pv" in axis.drivers for axis in situations.axes)
    if driver is None and (not has_pv or is_one):
        return np.ones(situations.n_time)
    if has_pv and not is_one and not in_time:
        shape = _shape_in_time(situations, case, driver is not None)
        driver = np.tile(shape, situations.n // situations.n_time) * (
            1.0 if driver is None else driver
        )
    assert driver is not None
    per_series = driver.reshape(-1, situations.n_time)
    return per_series[0] if (per_series == per_series[0]).all() else driver


def _shape_in_time(situations: Situations, case: Case | None, is_scaled: bool) -> FloatArray:
    """The output of pv over its rating in the snapshots of a packaged case.

    Args:
        situations: Which say nothing of it in time.
        case: The case.
        is_scaled: Whether scenarios say something.

    Raises:
        ValueError: The case has none of that length.
    """
    but = ""
    if is_scaled:
        but = "; scenarios of pv multiply it, and without it pv would give as much at night"
    if situations.n_chains > 1:
        raise ValueError(
            "units: pv in some hours or days of a series: expected Hours(..., drivers={"
            f'"pv": output over rating per snapshot}}) of the whole series{but}'
        )
    try:
        return pv_profile(case, None, Settings((), np.zeros((situations.n_time, 0))), True)
    except ValueError as error:
        raise ValueError(
            f'units: pv over {situations.n_time} snapshots: expected Hours(..., drivers={{"pv":'
            f" output over rating per snapshot}}){but}"
        ) from error


def _series(situations: Situations) -> Settings | None:
    """What situations set in time, for the largest loads."""
    deltas = [d for axis in situations.axes if axis.is_time for d in axis.deltas]
    if not deltas:
        return None
    values = np.concatenate([delta.values for delta in deltas], axis=1)
    return Settings(tuple(delta.field for delta in deltas), values)


@dataclass(frozen=True)
class Hosting:
    """How far the units of a vector can be scaled.

    Attributes:
        capacity_mw: Rated power of pv and dg at the largest scaling. [MW]
        scaling: The largest scaling of all units that violates no limit.
        at_cap: Whether the search ended at ``max_hosting_mw`` without meeting a limit.
        binding: The limits that larger units break, in words; empty at the cap.
        sizes: Sizes of the units at this scaling. [MW, Mvar of capacitors]
    """

    capacity_mw: float
    scaling: float
    at_cap: bool
    binding: tuple[str, ...]
    sizes: tuple[float, ...]


def hosting_capacity_mw(
    placed: Sequence[PlacedBlock], X: FloatArray, settings: Settings, evaluation: Any
) -> FloatArray:
    """Rated power of pv and dg at the largest scaling of all units that violates no limit. [MW]

    Maximised: its negative is minimised. Found by bisection between no units, which violate
    nothing, and ``max_hosting_mw``; if larger units can be allowed where smaller ones are not,
    it is the capacity of one such change. All candidates take a step in one call of the engine.
    """
    low, _, rated_mw = _scalings(placed, X, settings, evaluation)
    return 0.0 - low * rated_mw


def hosting_of(placed: Sequence[PlacedBlock], x: FloatArray, evaluation: Any) -> Hosting:
    """The hosting capacity with the units of a snapped vector scaled, and what limits it."""
    X = x[np.newaxis]
    settings = evaluation.joint.decode(X)
    found = _scalings(placed, X, settings, evaluation)
    low, high, rated_mw = (float(values[0]) for values in found)
    at_cap = low == high and rated_mw > 0
    sizes = [size for block, p in _unit_blocks(placed) for size in block.codec.sizes(x[p.part])]
    return Hosting(
        low * rated_mw,
        low,
        at_cap,
        () if at_cap or rated_mw == 0 else _beyond(placed, X, settings, high, evaluation),
        tuple(low * float(size) for size in sizes),
    )


def _unit_blocks(placed: Sequence[PlacedBlock]) -> list[tuple[UnitBlock, PlacedBlock]]:
    return [(p.block, p) for p in placed if isinstance(p.block, UnitBlock)]


def _scalings(
    placed: Sequence[PlacedBlock], X: FloatArray, settings: Settings, evaluation: Any
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per candidate the largest scaling without violation, a hair more, and rated power. [MW]

    Both scalings are the same where even ``max_hosting_mw`` violates nothing.
    """
    rated_mw = np.zeros(len(X))
    for block, p in _unit_blocks(placed):
        rated_mw += block.rated_mw(X[:, p.part])
    most = max(block.max_hosting_mw for block, _ in _unit_blocks(placed))

    def fits(scaling: FloatArray) -> Any:
        larger = _scaled(placed, settings, scaling)
        return evaluation.breaks_no_limit(larger, evaluation.solve(larger))

    low, high = np.zeros(len(X)), np.zeros(len(X))
    np.divide(most, rated_mw, out=high, where=rated_mw > 0)
    ok = fits(high)
    low[ok] = high[ok]
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        ok = fits(middle)
        low, high = np.where(ok, middle, low), np.where(ok, high, middle)
    return low, high, rated_mw


def _scaled(placed: Sequence[PlacedBlock], settings: Settings, scaling: FloatArray) -> Settings:
    """A batch of candidates with the powers of their units scaled."""
    values = settings.values.copy()
    for p in placed:
        values[..., p.columns] *= scaling[:, np.newaxis, np.newaxis]
    return Settings(settings.fields, values)


def _beyond(
    placed: Sequence[PlacedBlock],
    X: FloatArray,
    settings: Settings,
    scaling: float,
    evaluation: Any,
) -> tuple[str, ...]:
    """What holds no more with units a hair larger than the largest that violate nothing."""
    larger = _scaled(placed, settings, np.array([scaling]))
    state = evaluation.solve(larger)
    if not evaluation.solves(state)[0]:
        return ("the power flow, which does not solve beyond",)
    values = evaluation.values_of_entries(X, larger, state)[0]
    order = np.argsort(-values, kind="stable")
    return tuple(evaluation.entries.names[i] for i in order if values[i] > 0)


def hosting_remarks(placed: Sequence[PlacedBlock], x: FloatArray, evaluation: Any) -> list[str]:
    """The capacity, the units at it, and what binds."""
    hosting = hosting_of(placed, x, evaluation)
    tables = [block.codec.table(x[p.part]) for block, p in _unit_blocks(placed)]
    rows = [row for table in tables for row in table.itertuples()]
    units = ", ".join(
        f"{row.unit} at bus {row.bus} {round(size, 9):.4g} {row.size_unit}"
        for row, size in zip(rows, hosting.sizes, strict=True)
    )
    said = [f"hosting capacity {hosting.capacity_mw:.5g} MW: {units}"]
    if hosting.at_cap:
        most = max(block.max_hosting_mw for block, _ in _unit_blocks(placed))
        said.append(
            f"the search ended at its cap max_hosting_mw = {most:g} MW without "
            "meeting a limit: the capacity is at least that"
        )
    elif hosting.binding:
        said.append(f"what binds: {', '.join(hosting.binding[:5])}")
    else:
        said.append("all units have size 0, so there is nothing to scale")
    return said


def check_hosting(
    placed: Sequence[PlacedBlock], evaluation: Any, settings: Settings, state: GridState
) -> None:
    """Raises ValueError where no scaling can be the largest without violation."""
    units = [unit for block, _ in _unit_blocks(placed) for unit in block.codec.units]
    if not any(unit.kind in ("pv", "dg") for unit in units):
        raise ValueError("hosting_capacity_mw: expected units of kind pv or dg")
    if not any(limit.limits for _, limit in evaluation.limits):
        raise ValueError(
            "hosting_capacity_mw: the net has neither voltage band nor loading limits, so "
            "the capacity would be where the power flow gives up; give "
            "limits={'vm_pu': (0.95, 1.05), 'loading_percent': 100} (command line: "
            "--limit vm_pu=0.95,1.05 --limit loading_percent=100)"
        )
    if not evaluation.solves(state)[0]:
        raise ValueError("hosting_capacity_mw: the grid without units does not solve")
    x = evaluation.joint.base_x[np.newaxis]
    values = evaluation.values_of_entries(x, settings, state)[0]
    broken = violations(evaluation.entries, values)
    if broken:
        raise ValueError(
            "hosting_capacity_mw: the grid without units already violates "
            f"{listed(broken[::-1])}; no scaling can be the largest without violation"
        )


HOSTING_CAPACITY = BlockSearch(
    "hosting_capacity_mw",
    "MW",
    hosting_capacity_mw,
    check_hosting,
    hosting_remarks,
    is_negative=True,
)


class UnitBlock(Block):
    """Units at candidate buses.

    Args:
        codec: Vectors as units.
        costs: Of the kinds of units.
        max_hosting_mw: The largest capacity looked for. [MW]
    """

    kind = "units"
    no_periods = "units stay where they are, and storages have a value for every snapshot"
    objective_methods: Mapping[str, str] = {"unit_cost_eur_per_year": "EUR/a"}
    searches: Mapping[str, BlockSearch] = {
        "hosting_capacity_mw": HOSTING_CAPACITY,
    }

    def __init__(
        self,
        codec: UnitCodec,
        costs: Mapping[str, UnitCost | Mapping[str, float]],
        max_hosting_mw: float,
    ) -> None:
        self.codec, self.max_hosting_mw = codec, max_hosting_mw
        self.variables, self.fields = codec.variables, codec.fields
        self.has_steps = codec.has_steps
        self.costs = {kind: unit_cost(kind, cost) for kind, cost in costs.items()}
        if codec.storages:
            own = [codec.units[i].name for i in codec.storages]
            of_charge = self._beyond_charge, self._charge_slopes, self._charge_pieces
            self.constraints = (charge_constraint(own, *of_charge),)

    @property
    def base_x(self) -> FloatArray:
        """A vector without units: sizes of 0, idle storages."""
        return self.codec.base_x()

    def snap(self, x: FloatArray) -> FloatArray:
        """Vectors within bounds, buses whole, schedules feasible, equal units sorted by bus."""
        return self.codec.snap(x)

    @property
    def counts_in_steps(self) -> NDArray[np.bool_]:
        """None: buses are places, no amounts."""
        return np.zeros(len(self.variables), dtype=np.bool_)

    def relaxed(self, x: FloatArray) -> FloatArray:
        """Vectors within bounds, buses whole; schedules are not repaired, units not sorted."""
        return self.codec.relaxed(x)

    def moves(self, x: FloatArray, situations: Situations) -> Moves:
        """Powers move with all but the buses."""
        return self.codec.moves(x)

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Powers at the candidate buses, shape (n, n_time, n_values). [MW, Mvar]"""
        return self.codec.decode(x).values

    def values_in(self, x: FloatArray, situations: Situations, rows: slice) -> FloatArray | None:
        """Powers in some situations, where units have values of their own in each."""
        if self.codec.n_steps != situations.n:
            return None
        return self.codec.decode(x, rows).values

    settings_tell = False

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """Powers per bus do not tell which units inject them; see `UnitCodec.encode_units`."""
        return self.codec.encode(settings)

    def encode_series(self, settings: Settings) -> FloatArray:
        """As `encode`."""
        return self.codec.encode({})

    def _beyond_charge(self, x: FloatArray) -> FloatArray:
        return beyond_charge(self.codec.soc(x), self.codec.battery)

    def _charge_slopes(self, x: FloatArray) -> FloatArray:
        return self._by_vectors(*charge_slopes(*self._charge(x)))

    def _charge_pieces(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """State of charge beyond its limits after every snapshot, and its slopes."""
        values, by_share, by_duration = charge_pieces(*self._charge(x))
        return values, self._by_vectors(by_share, by_duration)

    def _charge(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float, Battery]:
        """Shares, states of charge, durations, hours and the battery, as of `charge_slopes`."""
        codec = self.codec
        duration = codec.storage_hours(x)[:, codec.storages]
        return codec.shares(x), codec.soc(x), duration, codec.hours, codec.battery

    def _by_vectors(self, by_share: FloatArray, by_duration: FloatArray) -> FloatArray:
        """Slopes of entries of every storage, by its shares and duration, as those by vectors."""
        codec = self.codec
        n, n_each, n_storages = by_duration.shape
        slopes = np.zeros((n, n_each * n_storages, len(self.variables)))
        for k, i in enumerate(codec.storages):
            rows = k + n_storages * np.arange(n_each)
            slopes[:, rows, codec.schedule_part(i)] = by_share[:, :, k]
            if "storage_hours" in codec.columns[i]:
                slopes[:, rows, codec.columns[i]["storage_hours"]] = by_duration[:, :, k]
        return slopes

    def unit_cost_eur_per_year_slopes(self, x: FloatArray) -> FloatArray:
        """Slopes by sizes and durations; the step from no unit to a small one is left out."""
        slopes = np.zeros((len(x), len(self.variables)))
        sizes, hours = self.codec.sizes(x), self.codec.storage_hours(x)
        for i, (unit, own) in enumerate(zip(self.codec.units, self.codec.columns, strict=True)):
            cost = replace(self.costs[unit.kind], per_unit=0.0)
            slopes[:, own["size"]] = cost.eur_per_year(1.0, hours[:, i])
            if "storage_hours" in own:
                slopes[:, own["storage_hours"]] = cost.eur_per_year(0.0, sizes[:, i])
        return slopes

    def unit_cost_eur_per_year(self, x: FloatArray) -> FloatArray:
        """Annuities of the units' capital, and their operation. [EUR/a]

        Raises:
            ValueError: The costs of a kind that is to be placed are missing.
        """
        missing = sorted({unit.kind for unit in self.codec.units} - set(self.costs))
        if missing:
            raise ValueError(
                f"costs: expected those of {missing[0]}, which is to be placed, for example costs="
                f"{{{missing[0]!r}: {{'rate': 0.05, 'years': 20, 'per_mw': 1e6}}}}"
            )
        sizes, energies = self.codec.sizes(x), self.codec.energies_mwh(x)
        total = np.zeros(x.shape[:-1])
        for i, unit in enumerate(self.codec.units):
            total += self.costs[unit.kind].eur_per_year(sizes[..., i], energies[..., i])
        return total

    def rated_mw(self, x: FloatArray) -> FloatArray:
        """Rated power of all pv and dg, shape (n,). [MW]"""
        rated = np.zeros(len(x))
        for unit, size in zip(self.codec.units, self.codec.sizes(x).T, strict=True):
            rated += size if unit.kind in ("pv", "dg") else 0.0
        return rated

    def schedule(self, x: FloatArray) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        shares, soc, sizes = self.codec.shares(x), self.codec.soc(x), self.codec.sizes(x)
        table = pd.DataFrame(index=pd.RangeIndex(self.codec.n_snapshots, name="snapshot"))
        for k, i in enumerate(self.codec.storages):
            name = self.codec.units[i].name
            table[f"{name} p_mw"] = shares[:, k] * sizes[i]
            table[f"{name} p_share"] = shares[:, k]
            table[f"{name} soc"] = soc[1:, k]
        return table

    def encode_units(
        self,
        units: pd.DataFrame | Sequence[Mapping[str, Any]],
        schedule: pd.DataFrame | None = None,
    ) -> FloatArray:
        """The vector of units given as table.

        Args:
            units: One row per unit, in their order: ``bus``, ``size`` (MW, Mvar of capacitors), and
                ``power_factor`` and ``storage_hours`` where they are variables.
            schedule: Columns ``"storage 1 p_share"``, ...: power over rating per snapshot,
                charging positive. None leaves storages idle.

        Raises:
            ValueError: A bus that is no candidate, a value out of bounds, a storage that leaves
                its limits or does not return to its start; the message names the unit.
        """
        shares = None
        if schedule is not None and self.codec.storages:
            columns = [f"{self.codec.units[i].name} p_share" for i in self.codec.storages]
            missing = [column for column in columns if column not in schedule]
            if missing:
                raise ValueError(f"schedule: column {missing[0]!r} is missing")
            shares = schedule[columns].to_numpy(dtype=float)
        return self.codec.encode_units(pd.DataFrame(units), shares)

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """The units, one row each.

        Columns: control, kind, bus, size, unit, where units have them power_factor, energy_mwh,
        and with, the other units at the same bus (their powers add up).
        """
        table = self.codec.table(x)
        described = pd.DataFrame(
            {
                "control": table["unit"],
                "kind": table["kind"],
                "bus": table["bus"],
                "size": table["size"],
                "unit": table["size_unit"],
            }
        )
        for column in ("power_factor", "energy_mwh"):
            if table[column].notna().any():
                described[column] = table[column]
        described["with"] = [
            ", ".join(table["unit"][(table["bus"] == row["bus"]) & (table.index != i)])
            for i, row in table.iterrows()
        ]
        return described.astype(object)

    def finish(self, applied: Any, x: FloatArray, snapshot: int, scaling: float = 1.0) -> None:
        """Static generators and storages in place of what stood for the units.

        ``net["units"]`` and ``net["storage_schedule"]`` hold the tables of units and schedule.

        Args:
            applied: The net.
            x: The block's vector.
            snapshot: Which situation.
            scaling: Of the sizes of all units.
        """
        applied.sgen.drop(index=list(self.fields[0].elements), inplace=True)
        step = snapshot % self.codec.n_snapshots
        p, q = (scaling * power for power in self.codec.powers(x))
        table = self.codec.table(x)
        table[["size", "energy_mwh"]] *= scaling
        for i, row in table.iterrows():
            power, at = float(p[step, i]), {"bus": row["bus"], "name": row["unit"]}
            if row["size"] == 0:
                continue
            if row["kind"] == "storage":
                energy = row["energy_mwh"]
                pp.create_storage(applied, p_mw=-power, max_e_mwh=energy, sn_mva=row["size"], **at)
            else:
                reactive = float(q[step, i])
                pp.create_sgen(applied, p_mw=power, q_mvar=reactive, sn_mva=row["size"], **at)
        schedule = self.schedule(x)
        schedule.loc[:, [column for column in schedule if column.endswith(" p_mw")]] *= scaling
        add_table(applied, "units", table)
        add_table(applied, SCHEDULE, schedule)

    def tables(self, x: FloatArray) -> dict[str, pd.DataFrame]:
        """Units, and schedules of storages."""
        found = {"units": self.codec.table(x)}
        if self.codec.storages:
            found["schedule"] = self.schedule(x)
        return found

    def figures(self, x: FloatArray | None, shown: Shown) -> dict[str, Figure]:
        """The map with the units, and the schedules of storages."""
        from gridproblems.plotting import plot_storages, plot_units

        if x is None:
            return {}
        title, hours = shown.title, self.codec.hours
        found = {"units": plot_units(shown.solved(0), shown.tables["units"], title=title)}
        if self.codec.storages:
            found["schedule"] = plot_storages(
                shown.tables["schedule"],
                hours=hours,
                soc_start=self.codec.battery.soc_start,
                title=title,
            )
        return found
