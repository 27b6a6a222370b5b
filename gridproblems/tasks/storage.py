"""Storage schedules: when the storages of a grid charge and discharge over a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet
from typing_extensions import Unpack

from gridproblems.controls.schedules import ScheduleBlock, Schedules
from gridproblems.controls.state_of_charge import Battery
from gridproblems.controls.storages import SCHEDULE
from gridproblems.grids import NetGrid
from gridproblems.problem import GridProblem, Options, check_task_arguments
from gridproblems.state import FloatArray, Settings, SettingsMapping
from gridproblems.tasks._over_time import grid_limits, over_time, series_of, situations_or


class StorageSchedule(GridProblem):
    """Finds the power of given storages in every snapshot of a series.

    Powers have pandapower's sign: positive when the storage charges. The schedule before is idle.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        storages, battery, repair: See `Schedules`.
        objectives: See `GridProblem`.
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        series: Tables over time, see `case_series`; None: those of the packaged case, if any.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        situations: See `GridProblem`; instead of ``series``, ``hours`` and ``outages``.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        **options: How it is evaluated, see `GridProblem`.

    Raises:
        ValueError: An argument is wrong, no storage, no series; the message names it.
        PowerFlowNotConverged: The grid with idle storages does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        storages: pd.DataFrame | Sequence[Mapping[str, float]] | None = None,
        objectives: Any = ("exchange_peak_kw",),
        limits: Mapping[str, Any] | None = None,
        *,
        battery: Battery | Mapping[str, float] | None = None,
        series: Mapping[Any, Any] | None = None,
        hours: float = 1.0,
        every_snapshot: bool = False,
        outages: str | Sequence[int] | None = None,
        zip_percent: tuple[float, float] | None = None,
        repair: bool = True,
        situations: Any = None,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(StorageSchedule.__init__, locals(), options)
        grid = NetGrid(case, zip_percent)
        self.case = grid.case
        super().__init__(
            grid,
            [Schedules(storages, battery, repair)],
            situations_or(
                situations,
                lambda: over_time(series_of(grid, series), hours, outages),
                series=series,
                hours=hours,
                outages=outages,
            ),
            objectives,
            grid_limits(limits),
            every_situation=every_snapshot,
            **options,
        )

    @property
    def schedules(self) -> ScheduleBlock:
        """The storages, and what a vector lets them do."""
        (block,) = self.joint.blocks
        assert isinstance(block, ScheduleBlock)
        return block

    def schedule(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """Power (MW, charging positive) and state of charge after every snapshot per storage."""
        return self.schedules.schedule(self._checked(x))

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """A vector of settings over time, or of the schedule in a net that `apply` gave.

        Raises:
            ValueError: Settings of one snapshot, or a net without a schedule.
        """
        if isinstance(settings, pandapowerNet):
            if SCHEDULE not in settings:
                raise ValueError(f"net: expected one with a table {SCHEDULE!r}, as apply gives")
            return self.encode_schedule(settings[SCHEDULE])
        return super().encode(settings)

    def encode_schedule(self, schedule: pd.DataFrame) -> FloatArray:
        """A vector of powers over time, see `ScheduleBlock.encode_schedule`."""
        return self.schedules.encode_schedule(schedule)
