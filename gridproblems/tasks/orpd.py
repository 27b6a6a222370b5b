"""Optimal reactive power dispatch: voltages, taps and reactive sources for the best operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandapower.auxiliary import pandapowerNet
from typing_extensions import Unpack

from gridproblems._names import with_nearest
from gridproblems.cases import BestKnown
from gridproblems.controls import CONTROLS
from gridproblems.controls.direct import Control, Fixed
from gridproblems.controls.setpoints import Setpoints
from gridproblems.controls.shunts import Compensators, Shunts
from gridproblems.controls.taps import Taps
from gridproblems.grids import NetGrid
from gridproblems.grids.limits import check_limits
from gridproblems.problem import GridProblem, Options, check_task_arguments

#: Names of the control groups, in the order in which a net's own controls are found.
CONTROL_GROUPS = ("gen", "ext_grid", "tap", "shunt", "compensator")
#: Limits of set-points, which bound variables instead of being constraints.
SET_POINT_LIMITS = {"gen_vm_pu": "gen", "ext_grid_vm_pu": "ext_grid"}

Limits = Mapping[str, Any]
Selection = str | Control | Sequence[str | Control] | Mapping[str, Sequence[int]]


class ReactivePowerDispatch(GridProblem):
    """Sets generator voltages, taps, shunts and compensators of a net with given active power.

    Without ``controls`` everything in the net that can be set is: generators that regulate
    (``gen``), external grids with voltage limits (``ext_grid``), tap changers with whole limits
    (``tap``), shunts with a reactive range or with more than one step (``shunt``), and
    controllable static generators with a reactive range (``compensator``).

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        objectives: See `GridProblem`; several make the problem multi-objective.
        controls: Names of control groups, or `Control` objects, or a mapping of group names to
            element indices, or any control in words with arguments, ``"taps:band=[0.9,1.1]"``;
            None for all that the net or the case offers.
        limits: Overrides the limits in the net's tables, see `NetGrid.limits`; also ``gen_vm_pu``
            and ``ext_grid_vm_pu`` (low, high) of the set-points.
        fixed: Settings of every candidate, None for those of the case.
        situations, periods: See `GridProblem`.
        **options: How it is evaluated, see `GridProblem`.

    Raises:
        ValueError: Unknown case, objective, control group or limit; no controls found; the net
            has bad data. The message names the element and what was expected.
        PowerFlowNotConverged: The base case does not converge and has to.

    Source:
        The three published systems: Computation 10 (2022) 128, doi 10.3390/computation10080128.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet | NetGrid,
        objectives: Any = ("p_loss_mw",),
        controls: Selection | None = None,
        limits: Limits | None = None,
        fixed: Mapping[tuple[str, str], Mapping[int, float]] | None = None,
        *,
        situations: Any = None,
        periods: Mapping[str, int] | None = None,
        **options: Unpack[Options],
    ) -> None:
        check_task_arguments(ReactivePowerDispatch.__init__, locals(), options)
        grid = case if isinstance(case, NetGrid) else NetGrid(case)
        self.case = grid.case
        if self.case and controls is None:
            controls = self.case.controls
        if self.case and fixed is None:
            fixed = self.case.fixed
        limits = check_limits(limits, [*grid.limit_names, *SET_POINT_LIMITS])
        bands = {t: limits.pop(name, None) for name, t in SET_POINT_LIMITS.items()}
        super().__init__(
            grid,
            [*_controls(controls, bands), Fixed(fixed or {})],
            situations,
            objectives,
            limits,
            periods=periods,
            **options,
        )
        if situations is None and not limits and not any(bands.values()):
            self.best_known = self._best_known(controls)

    def _best_known(self, controls: Any) -> BestKnown | None:
        """That of the case for these objectives and controls."""
        if self.case is None or not all(isinstance(group, str) for group in controls):
            return None
        for best in self.case.best_known:
            if best.objectives == self.objective_names and set(best.controls) == set(controls):
                return best
        return None


def _controls(selection: Selection | None, bands: Mapping[str, Any]) -> list[Any]:
    """The controls that a selection asks for.

    Raises:
        ValueError: An unknown group.
    """
    if selection is None:
        return [_group(name, bands, None, True) for name in CONTROL_GROUPS]
    if isinstance(selection, (str, Control)):
        selection = (selection,)
    found: list[Any] = []
    for item in selection:
        if isinstance(item, Control):
            found.append(item)
        elif item in CONTROL_GROUPS:
            elements = selection[item] if isinstance(selection, Mapping) else None
            found.append(_group(item, bands, elements, False))
        elif isinstance(item, str) and ":" in item and item.partition(":")[0] in CONTROLS:
            found.append(item)
        else:
            named = with_nearest(str(item), CONTROL_GROUPS)
            raise ValueError(f"controls: unknown group {named}")
    return found


def _group(
    name: str, bands: Mapping[str, Any], elements: Sequence[int] | None, optional: bool
) -> Any:
    """A control of a group; ``optional`` takes what a net offers by itself."""
    if name in bands:
        return Setpoints(name, elements, bands[name], optional)
    kinds = {"tap": Taps, "shunt": Shunts, "compensator": Compensators}
    return kinds[name](elements, optional)
