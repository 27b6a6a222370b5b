"""Placement: where units such as PV, capacitors and storages should be, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandapower as pp
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet
from typing_extensions import Unpack

from gridproblems.controls.economics import UnitCost
from gridproblems.controls.state_of_charge import Battery
from gridproblems.controls.unit_codec import Range
from gridproblems.controls.units import HOSTING_CAPACITY, Hosting, UnitBlock, Units, hosting_of
from gridproblems.grids import NetGrid
from gridproblems.problem import GridProblem, Options, check_task_arguments
from gridproblems.situations import Product
from gridproblems.state import FloatArray, Settings, SettingsMapping
from gridproblems.tasks._over_time import (
    grid_limits,
    over_time,
    pv_driver,
    series_of,
    situations_or,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DERPlacement(GridProblem):
    """Places units in a net and sizes them, for one snapshot or over a series.

    Every unit has a bus among the candidates and a size; storages also a schedule. Units at one bus
    add up. The grid before has no units.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        n_units, kind, buses, bus_variable, max_size, size_step: See `Units`.
        power_factor, storage_hours, battery, costs, max_hosting_mw, repair, sort: See `Units`.
        objectives: See `GridProblem`; ``unit_cost_eur_per_year`` and ``hosting_capacity_mw`` are
            those of the units.
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        series: Tables over time, see `case_series`; None: those of the packaged case, if any.
        profile: Output of pv over its rating, one number per snapshot; see `pv_profile`.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        situations: See `GridProblem`; instead of ``series``, ``profile``, ``hours`` and
            ``outages``.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        **options: How it is evaluated, see `GridProblem`.

    Raises:
        ValueError: An argument is wrong; the message names it.
        PowerFlowNotConverged: The grid without units does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        n_units: int | None = None,
        kind: str | Sequence[str] = "pv",
        objectives: Any = ("p_loss_kw",),
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
        situations: Any = None,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(DERPlacement.__init__, locals(), options)
        grid = NetGrid(case, zip_percent)
        self.case = grid.case
        units = Units(
            kind,
            n_units,
            buses,
            bus_variable,
            max_size,
            size_step,
            power_factor,
            storage_hours,
            battery,
            costs or {},
            max_hosting_mw,
            repair,
            sort,
        )
        has_pv = "pv" in ((kind,) if isinstance(kind, str) else kind)

        def made() -> Product:
            in_time = series_of(grid, series)
            pv = pv_driver(grid, profile, in_time, has_pv)
            return over_time(in_time, hours, outages, pv)

        super().__init__(
            grid,
            [units],
            situations_or(
                situations,
                made,
                series=series,
                profile=profile,
                hours=hours,
                outages=outages,
            ),
            objectives,
            grid_limits(limits),
            every_situation=every_snapshot,
            **options,
        )

    @property
    def placed(self) -> UnitBlock:
        """The units, and what a vector makes of them."""
        (block,) = self.joint.blocks
        assert isinstance(block, UnitBlock)
        return block

    def units(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The units of a vector, one row each: kind, bus, size and what else was free."""
        return self.placed.codec.table(self._checked(x))

    def schedule(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        return self.placed.schedule(self._checked(x))

    # -- hosting capacity --------------------------------------------------------------------

    def hosting(self, x: ArrayLike | Mapping[str, Any]) -> Hosting:
        """The hosting capacity with the units of ``x`` scaled, and what limits it.

        Raises:
            ValueError: Wrong length, NaN, or out of bounds.
        """
        return hosting_of(self.joint.placed, self._checked(x), self.evaluation)

    @property
    def _is_hosting(self) -> bool:
        return HOSTING_CAPACITY.name in self.objective_names

    def _at_capacity(self, x: Any, snapshot: int) -> pandapowerNet:
        """The solved net with the units scaled to the hosting capacity."""
        scaling, own = self.hosting(x).scaling, self._checked(x)

        def finish(net: pandapowerNet) -> None:
            self.placed.finish(net, own, snapshot, scaling)

        return self.grid.apply(self.engine, self.decode(own), snapshot, finish)

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """The units of ``x``, see `UnitBlock.describe`; with objective ``hosting_capacity_mw`` a
        column ``at_capacity``, the size there."""
        described = super().describe(x)
        if self._is_hosting:
            place = described.columns.get_loc("with")
            described.insert(place, "at_capacity", self.hosting(x).sizes)
        return described

    def write(self, x: Any, folder: Path) -> None:
        """The net and the tables of units and schedules; with objective ``hosting_capacity_mw``
        also ``net_at_capacity.json``, the units scaled."""
        super().write(x, folder)
        if self._is_hosting:
            worst = self.grid.worst_situation(self.solve(x))
            pp.to_json(self._at_capacity(x, worst), str(folder / "net_at_capacity.json"))
            units = self.units(x).assign(at_capacity=self.hosting(x).sizes)
            units.to_csv(folder / "units.csv", index=False)

    def figures(self, x: Any) -> dict[str, Figure]:
        """Those of the grid and the units; with objective ``hosting_capacity_mw`` also the map
        with the units at their capacity."""
        from gridproblems.plotting import plot_units

        found = super().figures(x)
        if x is not None and self._is_hosting:
            net, capacity_mw = self._at_capacity(x, 0), self.hosting(x).capacity_mw
            title = f"{self.name}, at its hosting capacity of {capacity_mw:.4g} MW"
            found["units_at_capacity"] = plot_units(net, net["units"], title=title)
        return found

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """A vector of the units of a net that `apply` gave.

        Raises:
            ValueError: Settings or other nets: powers of buses do not tell units apart.
        """
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
        """The vector of units given as table, see `UnitBlock.encode_units`."""
        return self.placed.encode_units(units, schedule)
