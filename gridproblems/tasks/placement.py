"""Placement: where units such as PV, capacitors and storages should be, and how large."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet

from gridproblems._arguments import check_arguments
from gridproblems._names import with_nearest
from gridproblems.case_series import case_series, pv_profile
from gridproblems.constraints import Constraint
from gridproblems.economics import UnitCost, unit_cost
from gridproblems.engines._reference import apply_settings, runpp_options
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.net_problem import NetProblem
from gridproblems.network import net_of_case, set_zip
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.over_time import OVER_TIME_METHODS, OverTime, check_hours
from gridproblems.state import FloatArray, GridState, Settings, SettingsMapping
from gridproblems.state_of_charge import Battery, ChargeLimits, battery_of
from gridproblems.tasks._limits import (
    check_limits,
    grid_constraints,
    voltage_band,
    write_limits,
)
from gridproblems.units import (
    UNIT_KINDS,
    Range,
    Unit,
    UnitCodec,
    UnitSettings,
    candidate_buses,
)
from gridproblems.violations import listed, violations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUS_VARIABLES = ("integer", "choice")
_BISECTIONS = 20  # capacities to a millionth of the largest one looked for
_TIMES_LOAD = 10.0  # the largest capacity looked for, over the largest load


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


class DERPlacement(OverTime, NetProblem):
    """Places units in a net and sizes them, for one snapshot or over a series.

    Every unit has a bus among the candidates and a size; storages also a schedule. Units at one bus
    add up. The grid before has no units.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        n_units: Number of units; None: one, or one per kind of a sequence.
        kind: One of `gridproblems.units.UNIT_KINDS` for all units, or one per unit.
        objectives: Any of `OBJECTIVES` and `OBJECTIVE_METHODS`, or callables of (settings, state).
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
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
        series: Tables over time, see `case_series`; None: those of the packaged case, if any.
        profile: Output of pv over its rating, one number per snapshot; see `pv_profile`.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        costs: For objective ``unit_cost_eur_per_year``: kind -> `UnitCost` or mapping.
        max_hosting_mw: For objective ``hosting_capacity_mw``: the largest capacity looked for;
            None: ten times the largest load. [MW]
        repair: Whether storage schedules are made feasible before they are evaluated.
        sort: Whether equal units are sorted by bus, so that every design has one vector.
        engine, n_jobs, cache, aggregate, require_base_solution: See `NetProblem`.

    Raises:
        ValueError: An argument is wrong; the message names it.
        PowerFlowNotConverged: The grid without units does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    OBJECTIVE_METHODS: Mapping[str, str] = {
        **OVER_TIME_METHODS,
        "unit_cost_eur_per_year": "EUR/a",
        "hosting_capacity_mw": "MW",
    }
    NEGATIVE_METHODS = frozenset({"hosting_capacity_mw"})

    codec: UnitCodec

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        n_units: int | None = None,
        kind: str | Sequence[str] = "pv",
        objectives: Sequence[str | ObjectiveFunction | Objective] = ("p_loss_kw",),
        limits: Mapping[str, Any] | None = None,
        *,
        buses: Sequence[int] | None = None,
        bus_variable: str = "integer",
        max_size: float | Mapping[str, float] | None = None,
        size_step: float = 0.0,
        power_factor: Range = 1.0,
        storage_hours: Range = 2.0,
        battery: Battery | Mapping[str, float] | None = None,
        series: Mapping[Any, Any] | None = None,
        profile: Any = None,
        hours: float = 1.0,
        every_snapshot: bool = False,
        outages: str | Sequence[int] | None = None,
        zip_percent: tuple[float, float] | None = None,
        costs: Mapping[str, UnitCost | Mapping[str, float]] | None = None,
        max_hosting_mw: float | None = None,
        repair: bool = True,
        sort: bool = True,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
    ) -> None:
        check_arguments(DERPlacement.__init__, locals())
        net, self.case = net_of_case(case)
        if bus_variable not in BUS_VARIABLES:
            named = with_nearest(bus_variable, BUS_VARIABLES)
            raise ValueError(f"bus_variable: unknown {named}")
        if not 0 <= size_step < np.inf:
            raise ValueError(f"size_step: expected 0 or more, got {size_step}")
        if zip_percent is not None:
            set_zip(net, zip_percent)
        self.hours = check_hours(hours)
        own_series = case_series(net, self.case, series)
        units = _units(net, own_series, n_units, kind, max_size, power_factor, storage_hours)
        kinds = {unit.kind for unit in units}
        self.costs = {k: unit_cost(k, cost) for k, cost in (costs or {}).items()}
        candidates = candidate_buses(net, buses)
        write_limits(net, check_limits(limits))
        self._without_units = copy.deepcopy(net)
        elements = pp.create_sgens(
            net, candidates, p_mw=0.0, name=[f"units at bus {bus}" for bus in candidates]
        )
        codec = UnitCodec(
            units,
            candidates,
            [int(element) for element in elements],
            pv_profile(self.case, profile, own_series, "pv" in kinds),
            own_series,
            battery_of(battery),
            self.hours,
            size_step=size_step,
            choice=bus_variable == "choice",
            repair=repair,
            sort=sort,
        )
        if "storage" in kinds and codec.n_snapshots < 2:
            raise ValueError(
                "series: a storage cannot return to its start within one snapshot; "
                "expected a series of at least two"
            )
        self.limits, n_minus_1 = grid_constraints(
            net, limits, codec.n_snapshots if every_snapshot else None, outages, self.case
        )
        constraints: list[Constraint] = [self.limits, *n_minus_1]
        if codec.storages:
            names = [units[i].name for i in codec.storages]
            constraints.append(ChargeLimits(names, codec.battery, self._soc))
        super().__init__(
            net,
            codec,
            objectives,
            constraints,
            engine=engine,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            require_base_solution=require_base_solution,
            name=self.case.name if self.case else str(net.name or "net"),
        )
        self._check_costs(kinds)
        self.max_hosting_mw = self._max_hosting_mw(max_hosting_mw)

    def _check_costs(self, kinds: set[str]) -> None:
        unknown = sorted(set(self.costs) - set(UNIT_KINDS))
        if unknown:
            raise ValueError(f"costs: unknown kind {with_nearest(unknown[0], UNIT_KINDS)}")
        missing = sorted(kinds - set(self.costs))
        if missing and "unit_cost_eur_per_year" in self.objective_names:
            raise ValueError(f"costs: expected those of {missing[0]}, which is to be placed")

    def _max_hosting_mw(self, given: float | None) -> float:
        """The largest capacity looked for, checked where capacity is an objective."""
        if given is not None and not 0 < given < np.inf:
            raise ValueError(f"max_hosting_mw: expected a positive power, got {given}")
        if "hosting_capacity_mw" in self.objective_names:
            if not any(unit.kind in ("pv", "dg") for unit in self.codec.units):
                raise ValueError("hosting_capacity_mw: expected units of kind pv or dg")
            if not self.limits.limits:
                raise ValueError(
                    "hosting_capacity_mw: the net has neither voltage band nor loading limits, so "
                    "the capacity would be where the power flow gives up; give "
                    "limits={'vm_pu': (0.95, 1.05), 'loading_percent': 100} (command line: "
                    "--limit vm_pu=0.95,1.05 --limit loading_percent=100)"
                )
            broken = violations(self.constraints, self.base_settings, self.base_state)
            if broken:
                raise ValueError(
                    "hosting_capacity_mw: the grid without units already violates "
                    f"{listed(broken[::-1])}; no scaling can be the largest without violation"
                )
        return given or _TIMES_LOAD * _largest_load(self.net, self.codec.series, "p_mw")

    # -- what it is now, and what a vector means ------------------------------------------

    @property
    def base_x(self) -> FloatArray:
        """A vector without units: sizes of 0, idle storages."""
        return self.codec.base_x()

    def _base_settings(self, codec: Any) -> Settings:
        settings: Settings = codec.decode(codec.base_x())
        return settings

    def units(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The units of a vector, one row each: kind, bus, size and what else was free."""
        return self.codec.table(self._checked(x))

    def schedule(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        snapped = self._checked(x)
        shares, soc = self.codec.shares(snapped), self.codec.soc(snapped)
        sizes = self.codec.sizes(snapped)
        table = pd.DataFrame(index=pd.RangeIndex(self.codec.n_snapshots, name="snapshot"))
        for k, i in enumerate(self.codec.storages):
            name = self.codec.units[i].name
            table[f"{name} p_mw"] = shares[:, k] * sizes[i]
            table[f"{name} p_share"] = shares[:, k]
            table[f"{name} soc"] = soc[1:, k]
        return table

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """A vector of the units of settings that `decode` gave, or of a net that `apply` gave.

        Raises:
            ValueError: Other settings or nets: powers of buses do not tell units apart.
        """
        if isinstance(settings, UnitSettings):
            return settings.x.copy()
        if isinstance(settings, pandapowerNet):
            if "units" not in settings:
                raise ValueError("net: expected one with a table 'units', as apply gives")
            return self.encode_units(settings["units"], settings["storage_schedule"])
        return super().encode(settings)

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

    def apply(self, x: ArrayLike | Mapping[str, Any], snapshot: int = 0) -> pandapowerNet:
        """A copy of the net with the units of ``x`` as static generators and storages, solved.

        ``net["units"]`` and ``net["storage_schedule"]`` hold the tables of `units` and `schedule`.

        Args:
            x: Shape (n_var,), or a dict of variables.
            snapshot: Which snapshot of a series.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
            PowerFlowNotConverged: The power flow does not converge.
        """
        self.check_snapshot(snapshot)
        return self._apply(self._checked(x), snapshot)

    def _apply(self, snapped: FloatArray, snapshot: int, scaling: float = 1.0) -> pandapowerNet:
        """The solved net with the units of a vector, all of them scaled."""
        net = copy.deepcopy(self._without_units)
        apply_settings(net, self.codec.series, snapshot)
        p, q = (scaling * power for power in self.codec.powers(snapped))
        table = self.codec.table(snapped)
        table[["size", "energy_mwh"]] *= scaling
        for i, row in table.iterrows():
            power, at = float(p[snapshot, i]), {"bus": row["bus"], "name": row["unit"]}
            if row["size"] == 0:
                continue
            if row["kind"] == "storage":
                pp.create_storage(
                    net, p_mw=-power, max_e_mwh=row["energy_mwh"], sn_mva=row["size"], **at
                )
            else:
                pp.create_sgen(
                    net, p_mw=power, q_mvar=float(q[snapshot, i]), sn_mva=row["size"], **at
                )
        schedule = self.schedule(snapped)
        schedule.loc[:, [column for column in schedule if column.endswith(" p_mw")]] *= scaling
        net["units"], net["storage_schedule"] = table, schedule
        try:
            pp.runpp(net, **runpp_options(self.net))
        except LoadflowNotConverged as error:
            raise PowerFlowNotConverged(f"{self.name}: these units diverge") from error
        return net

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The units of ``x``, one row each.

        Columns: control, kind, bus, size, unit, where units have them power_factor, energy_mwh,
        with objective ``hosting_capacity_mw`` at_capacity (the size there), and with, the other
        units at the same bus (their powers add up).
        """
        table = self.units(x)
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
        if self._is_hosting:
            described["at_capacity"] = self.hosting(x).sizes
        described["with"] = [
            ", ".join(table["unit"][(table["bus"] == row["bus"]) & (table.index != i)])
            for i, row in table.iterrows()
        ]
        return described.astype(object)

    def write(self, x: Any, folder: Path) -> None:
        """The net of the most loaded snapshot in ``net.json``; units and schedules as CSV files.

        With objective ``hosting_capacity_mw`` also ``net_at_capacity.json``, the units scaled.
        """
        worst = int(self.solve(x)["branch_loading_percent"].max(axis=-1, initial=0.0).argmax())
        pp.to_json(self.apply(x, worst), str(folder / "net.json"))
        units = self.units(x)
        if self._is_hosting:
            hosting = self.hosting(x)
            units["at_capacity"] = hosting.sizes
            at_capacity = self._apply(self._checked(x), worst, hosting.scaling)
            pp.to_json(at_capacity, str(folder / "net_at_capacity.json"))
        units.to_csv(folder / "units.csv", index=False)
        if self.codec.storages:
            self.schedule(x).to_csv(folder / "schedule.csv")

    def figures(self, x: Any) -> dict[str, Figure]:
        """Voltages and loadings before and after, the map with the units, storage schedules."""
        from gridproblems.plotting_units import plot_storages, plot_units

        over_time = self.codec.n_snapshots > 1
        found = self._figures_over_time(x) if over_time else super().figures(x)
        if x is not None:
            found["units"] = plot_units(self.apply(x), self.units(x), title=self.name)
            if self._is_hosting:
                hosting = self.hosting(x)
                net = self._apply(self._checked(x), 0, hosting.scaling)
                title = f"{self.name}, at its hosting capacity of {hosting.capacity_mw:.4g} MW"
                found["units_at_capacity"] = plot_units(net, net["units"], title=title)
            if self.codec.storages:
                found["schedule"] = plot_storages(
                    self.schedule(x), hours=self.hours, title=self.name
                )
        return found

    def _figures_over_time(self, x: Any) -> dict[str, Figure]:
        from gridproblems.plotting_series import plot_line_loading, plot_voltage_band

        states = {"before": self.base_state}
        if x is not None:
            states["after"] = self.solve(x)
        loading = {name: state.line_loading_percent for name, state in states.items()}
        vm_pu = {name: state.vm_pu for name, state in states.items()}
        band = voltage_band(self.limits)
        return {
            "line_loading": plot_line_loading(loading, hours=self.hours, title=self.name),
            "voltage_band": plot_voltage_band(vm_pu, band=band, hours=self.hours, title=self.name),
        }

    # -- objectives ------------------------------------------------------------------------

    def _soc(self, settings: Settings) -> FloatArray:
        return self.codec.soc(_vectors(settings))

    def unit_cost_eur_per_year(self, settings: Settings, state: GridState | None = None) -> Any:
        """Annuities of the units' capital, and their operation. [EUR/a]"""
        x = _vectors(settings)
        sizes, energies = self.codec.sizes(x), self.codec.energies_mwh(x)
        total = np.zeros(x.shape[:-1])
        for i, unit in enumerate(self.codec.units):
            total += self.costs[unit.kind].eur_per_year(sizes[..., i], energies[..., i])
        return total

    def hosting_capacity_mw(self, settings: Settings, state: GridState | None = None) -> Any:
        """Rated power of pv and dg at the largest scaling of all units that violates no limit. [MW]

        Maximised: its negative is minimised. Found by bisection between no units, which violate
        nothing, and ``max_hosting_mw``; if larger units can be allowed where smaller ones are not,
        it is the capacity of one such change. All candidates take a step in one call of the engine.
        """
        low, _, rated_mw = self._scalings(settings)
        capacity = low * rated_mw
        return 0.0 - (capacity[0] if settings.values.ndim == 2 else capacity)

    def hosting(self, x: ArrayLike | Mapping[str, Any]) -> Hosting:
        """The hosting capacity with the units of ``x`` scaled, and what limits it.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        snapped = self._checked(x)
        settings = self.codec.decode(snapped)
        low, high, rated_mw = (float(values[0]) for values in self._scalings(settings))
        at_cap = low == high and rated_mw > 0
        return Hosting(
            low * rated_mw,
            low,
            at_cap,
            () if at_cap or rated_mw == 0 else self._beyond(settings, high),
            tuple((low * self.codec.sizes(snapped)).tolist()),
        )

    def _beyond(self, settings: Settings, scaling: float) -> tuple[str, ...]:
        """What holds no more with units a hair larger than the largest that violate nothing."""
        larger = self._scaled(settings, np.array([scaling])).candidate(0)
        state = self.engine.solve(larger)
        if not state.solved:
            return ("the power flow, which does not solve beyond",)
        broken = violations(self._of_the_grid(), larger, state)
        return tuple(violation.name for violation in broken[::-1])

    @property
    def _is_hosting(self) -> bool:
        return "hosting_capacity_mw" in self.objective_names

    def remarks(self, x: ArrayLike | Mapping[str, Any]) -> list[str]:
        """With objective ``hosting_capacity_mw``, the capacity and what limits it."""
        if not self._is_hosting:
            return []
        hosting = self.hosting(x)
        units = ", ".join(
            f"{row.unit} at bus {row.bus} {round(size, 9):.4g} {row.size_unit}"
            for row, size in zip(self.units(x).itertuples(), hosting.sizes, strict=True)
        )
        said = [f"hosting capacity {hosting.capacity_mw:.5g} MW: {units}"]
        if hosting.at_cap:
            said.append(
                f"the search ended at its cap max_hosting_mw = {self.max_hosting_mw:g} MW without "
                "meeting a limit: the capacity is at least that"
            )
        elif hosting.binding:
            said.append(f"what binds: {', '.join(hosting.binding[:5])}")
        else:
            said.append("all units have size 0, so there is nothing to scale")
        return said

    def _scalings(self, settings: Settings) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Per candidate the largest scaling without violation, a hair more, and rated power. [MW]

        Both scalings are the same where even ``max_hosting_mw`` violates nothing.
        """
        x = np.atleast_2d(_vectors(settings))
        rated_mw = np.zeros(len(x))
        for unit, size in zip(self.codec.units, self.codec.sizes(x).T, strict=True):
            rated_mw += size if unit.kind in ("pv", "dg") else 0.0
        low, high = np.zeros(len(x)), np.zeros(len(x))
        np.divide(self.max_hosting_mw, rated_mw, out=high, where=rated_mw > 0)
        fits = self._fits(settings, high)
        low[fits] = high[fits]
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            fits = self._fits(settings, middle)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return low, high, rated_mw

    def _fits(self, settings: Settings, scaling: FloatArray) -> Any:
        """Which candidates violate no limit of the grid with their units scaled."""
        larger = self._scaled(settings, scaling)
        state = self.engine.solve(larger)
        self.counts.add(power_flows=len(larger.rows))
        fits = np.array(state.solved)
        for constraint in self._of_the_grid():
            fits &= (constraint(larger, state) <= 0).all(axis=-1)
        return fits

    def _scaled(self, settings: Settings, scaling: FloatArray) -> Settings:
        """A batch of candidates with the powers of their units scaled."""
        scaled = settings.values.reshape(len(scaling), self.codec.n_snapshots, -1).copy()
        scaled[..., : self.codec.n_unit_values] *= scaling[:, np.newaxis, np.newaxis]
        return Settings(settings.fields, scaled)

    def _of_the_grid(self) -> list[Constraint]:
        return [constraint for constraint in self.constraints if constraint.needs_state]


def _units(
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
    if not kinds:
        raise ValueError("kind: expected at least one kind, got an empty list")
    if n_units is not None and (n_units < 1 or n_units != len(kinds)):
        raise ValueError(f"n_units: expected {max(len(kinds), 1)}, one per kind, got {n_units}")
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
            given = _largest_load(net, series, "q_mvar" if one == "capacitor" else "p_mw")
        if not 0 < given < np.inf:
            raise ValueError(f"max_size of {one}: expected a positive size, got {given}")
        sizes[one] = float(given)
    return [
        Unit(one, f"{one} {kinds[: i + 1].count(one)}", sizes[one], factor, duration)
        for i, one in enumerate(kinds)
    ]


def _checked_range(name: str, given: Any, low: float, high: float) -> Range:
    values = np.asarray(given, dtype=float)
    if (
        values.shape not in ((), (2,))
        or not (np.isfinite(values) & (values >= low) & (values <= high)).all()
    ):
        raise ValueError(
            f"{name}: expected a number or a pair of limits in [{low:g}, {high:g}], got {given}"
        )
    if values.ndim == 0:
        return float(values)
    if not values[0] < values[1]:
        raise ValueError(f"{name}: expected a lower and a higher limit, got {given}")
    return (float(values[0]), float(values[1]))


def _largest_load(net: pandapowerNet, series: Settings | None, column: str) -> float:
    """The largest total load of all snapshots, at least the one of the tables. [MW, Mvar]"""
    table = net.load[net.load.in_service.astype(bool)]
    total = float((table[column] * table.scaling).abs().sum())
    for field, values in series or ():
        if (field.table, field.column) == ("load", column):
            total = max(total, float(np.abs(values).sum(axis=-1).max()))
    return total


def _vectors(settings: Settings) -> FloatArray:
    """The vectors that settings were decoded from.

    Raises:
        ValueError: They are not those of a placement.
    """
    if not isinstance(settings, UnitSettings):
        raise ValueError("settings: expected those that decode gives, which know their units")
    return settings.x
