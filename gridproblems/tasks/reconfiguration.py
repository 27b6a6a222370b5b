"""Reconfiguration of distribution networks: which lines to open so that the grid stays radial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet
from typing_extensions import Unpack

from gridproblems.cases import Case
from gridproblems.controls.switching import Switching, SwitchingBlock
from gridproblems.grids import NetGrid
from gridproblems.grids.limits import check_limits
from gridproblems.grids.net import NET_LIMITS
from gridproblems.nets.series import series_settings
from gridproblems.nets.topology import SwitchingGraph
from gridproblems.problem import GridProblem, Options, check_task_arguments
from gridproblems.state import FloatArray
from gridproblems.tasks._over_time import grid_limits, over_time, situations_or

#: Limits of the grid; that it is radial is no limit, for every configuration is.
LIMITS = tuple(name for name in NET_LIMITS if name != "radial")


class Reconfiguration(GridProblem):
    """Opens and closes lines of a net so that it stays radial and supplies every load.

    Every candidate is a radial configuration, see `Switching`.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file. What is closed in it is the present configuration.
        objectives: See `GridProblem`; ``switching_actions``, ``saifi_per_year`` and
            ``saidi_hours_per_year`` are those of the configuration alone.
        coding: Name of the encoding, see `Switching`.
        switchable, max_switching_actions: See `Switching`.
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        series: Tables over time, ``{("load", "p_mw"): table, ...}``, one row per snapshot and one
            column per element, as DataFrame or array.
        hours: Duration of a snapshot. [h]
        situations: See `GridProblem`; instead of ``series`` and ``hours``.
        periods: Number of configurations over the series, one after the other; 1 for one
            configuration at all times.
        **options: How it is evaluated, see `GridProblem`.

    Raises:
        ValueError: Unknown case, objective, encoding or limit; a load that no configuration can
            supply; nothing to switch; bad data. The message names the element.
        PowerFlowNotConverged: The present configuration does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        objectives: Any = ("p_loss_kw",),
        coding: str = "nearest_tree",
        limits: Mapping[str, Any] | None = None,
        *,
        switchable: Sequence[int] | None = None,
        series: Mapping[tuple[str, str], Any] | None = None,
        hours: float = 1.0,
        periods: int = 1,
        max_switching_actions: int | None = None,
        situations: Any = None,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(Reconfiguration.__init__, locals(), options)
        grid = NetGrid(case)
        self.case = grid.case
        super().__init__(
            grid,
            [Switching(coding, switchable, max_switching_actions, periods)],
            situations_or(
                situations,
                lambda: over_time(series_settings(grid.given, series) if series else None, hours),
                series=series or None,
                hours=hours,
            ),
            objectives,
            grid_limits(check_limits(limits, LIMITS)),
            **options,
        )
        restricted = max_switching_actions is not None or switchable is not None
        restricted = restricted or bool(self.limits[0][1].limits or self.evaluation.constraints)
        if self.case and not restricted and series is None and situations is None:
            self._find_known(self.case)

    def _find_known(self, case: Case) -> None:
        """The best known value, or the best known front, of the case for these objectives."""
        names = self.objective_names
        for best in case.best_known:
            if best.objectives == names:
                self.best_known = best
        for front in case.fronts:
            if sorted(front.objectives) == sorted(names):
                order = [front.objectives.index(name) for name in names]
                values = tuple(tuple(row[i] for i in order) for row in front.values)
                self.known_front = replace(front, objectives=names, values=values)

    @property
    def switching(self) -> SwitchingBlock:
        """The lines that can open and close, and what a vector opens."""
        (block,) = self.joint.blocks
        assert isinstance(block, SwitchingBlock)
        return block

    @property
    def graph(self) -> SwitchingGraph:
        """What can be switched, contracted to what matters for it."""
        return self.switching.graph

    def open_lines(self, x: ArrayLike | Mapping[str, Any]) -> list[list[int]]:
        """Lines (index of ``net.line``) that a vector opens, one list per period."""
        return self.switching.open_lines(self._checked(x))

    def encode_open_lines(self, lines: Sequence[int]) -> FloatArray:
        """A vector that opens exactly these lines, in every period.

        Raises:
            ValueError: A line that cannot open, or the rest is no spanning tree.
        """
        return self.switching.encode_open_lines(lines)

    def evaluate_closed(self, closed: np.ndarray) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of configurations, as far as an encoding has vectors for them.

        Args:
            closed: Which edges of the switching graph are closed, shape (n, n_edges).
        """
        encoding = self.switching.codec.encoding
        return self.evaluation(np.array([encoding.encode(row) for row in closed]))
