"""Allocation over time: which generation and which load profile goes to which connection point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandapower.auxiliary import pandapowerNet
from typing_extensions import Unpack

from gridproblems.controls.permutations import PROFILE
from gridproblems.controls.profiles import ProfileBlock, Profiles
from gridproblems.grids import NetGrid
from gridproblems.problem import GridProblem, Options, check_task_arguments
from gridproblems.situations import Outages, Product
from gridproblems.state import FloatArray, Settings, SettingsMapping
from gridproblems.tasks._over_time import grid_limits, situations_or


class DERAllocation(GridProblem):
    """Gives every static generator and every load of a net one of as many profiles.

    A candidate is one permutation for the generators, one for the loads, see `Profiles`. The
    allocation before is the identity. Only active powers move, reactive powers stay as in the net.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        generation, load: See `Profiles`.
        objectives: See `GridProblem`.
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        hours: Duration of a snapshot. [h]
        every_snapshot: Constraints of every snapshot instead of those of the worst one per element
            and limit.
        outages: Limits also hold when one of these lines is out: ``"lines"`` for all that can be,
            or lines by index.
        situations: See `GridProblem`, with as many snapshots in time as the profiles have rows;
            instead of ``hours`` and ``outages``.
        zip_percent: Constant-impedance and constant-current shares of all loads as pandapower
            models them; the rest is constant power. None: as in the net. [%]
        **options: How it is evaluated, see `GridProblem`.

    Raises:
        ValueError: Unknown case, objective or limit, no profiles, a table of the wrong shape or
            with values that cannot be. The message names the table, row and column.
        PowerFlowNotConverged: The identity does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet = "lv18",
        generation: Any = None,
        load: Any = None,
        objectives: Any = ("line_loading_sum_percent",),
        limits: Mapping[str, Any] | None = None,
        *,
        hours: float = 1.0,
        every_snapshot: bool = False,
        outages: str | Sequence[int] | None = None,
        zip_percent: tuple[float, float] | None = None,
        situations: Any = None,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(DERAllocation.__init__, locals(), options)
        grid = NetGrid(case, zip_percent)
        self.case = grid.case
        profiles = Profiles(generation, load)

        def made() -> Product:
            in_time = profiles.hours(grid, hours)
            return Product((in_time,)) if outages is None else Outages(outages) * in_time

        super().__init__(
            grid,
            [profiles],
            situations_or(situations, made, hours=hours, outages=outages),
            objectives,
            grid_limits(limits),
            every_situation=every_snapshot,
            **options,
        )
        given = (generation, load, limits, zip_percent, outages, situations)
        if self.case and all(argument is None for argument in given):
            for best in self.case.best_known:
                if best.objectives == self.objective_names:
                    self.best_known = best

    @property
    def profiles(self) -> ProfileBlock:
        """The elements, and which profile a vector gives to each."""
        (block,) = self.joint.blocks
        assert isinstance(block, ProfileBlock)
        return block

    def encode(self, settings: Settings | SettingsMapping | pandapowerNet) -> FloatArray:
        """The inverse of `decode`, also for the column ``profile`` of a net that `apply` gave.

        Raises:
            ValueError: The powers of an element are no profile, or that of another element too.
        """
        if isinstance(settings, pandapowerNet):
            for block in self.profiles.codec.blocks:
                if PROFILE not in settings[block.field.table]:
                    raise ValueError(
                        f"net: expected one with a column {block.field.table}.{PROFILE}, as apply "
                        "gives"
                    )
            return self.profiles.encode_labels(
                {
                    block.name: settings[block.field.table].loc[list(block.field.elements), PROFILE]
                    for block in self.profiles.codec.blocks
                }
            )
        return super().encode(settings)
