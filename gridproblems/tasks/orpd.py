"""Optimal reactive power dispatch: voltages, taps and reactive sources for the best operation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import check_arguments, shown
from gridproblems._names import with_nearest
from gridproblems.cases import BestKnown, Case
from gridproblems.constraints import Constraint, Limit, StateLimits
from gridproblems.controls import Control, ControlSet
from gridproblems.engines._reference import layout_of
from gridproblems.net_problem import NetProblem
from gridproblems.network import (
    label_of,
    machine_limits,
    net_of_case,
    number,
    radial_constraint,
)
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.tasks._limits import check_limits, grid_limits

DEFAULT_SET_POINT_PU = (0.95, 1.05)
TAP_CHANGER_TYPES = ("Ratio", "Symmetrical", "Ideal", "Tabular")
LIMITS = (
    "vm_pu",
    "loading_percent",
    "gen_q_mvar",
    "ext_grid_p_mw",
    "ext_grid_q_mvar",
    "gen_vm_pu",
    "ext_grid_vm_pu",
    "radial",
)

Band = tuple[float, float]
Limits = Mapping[str, Any]


class ReactivePowerDispatch(NetProblem):
    """Sets generator voltages, taps, shunts and compensators of a net with given active power.

    Without ``controls`` everything in the net that can be set is: generators that regulate
    (``gen``), external grids with voltage limits (``ext_grid``), tap changers with whole limits
    (``tap``), shunts with a reactive range or with more than one step (``shunt``), and
    controllable static generators with a reactive range (``compensator``).

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file.
        objectives: Any of `gridproblems.objectives.OBJECTIVES` or callables of (settings,
            state); several make the problem multi-objective.
        controls: Names of control groups, or `Control` objects, or a mapping of group names to
            element indices; None for all that the net or the case offers.
        limits: Overrides the limits in the net's tables; None takes a limit away:
            ``vm_pu`` (low, high) at all buses, ``loading_percent`` of all branches,
            ``gen_q_mvar``, ``ext_grid_p_mw`` (also of slack generators) and ``ext_grid_q_mvar``
            (low, high),
            ``gen_vm_pu`` and ``ext_grid_vm_pu`` (low, high) of the set-points, ``radial`` True.
        fixed: Settings of every candidate, None for those of the case.
        engine, n_jobs, cache, aggregate, require_base_solution: See `NetProblem`.

    Raises:
        ValueError: Unknown case, objective, control group or limit; no controls found; the net
            has bad data. The message names the element and what was expected.
        PowerFlowNotConverged: The base case does not converge and has to.

    Source:
        The three published systems: Computation 10 (2022) 128, doi 10.3390/computation10080128.
    """

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        objectives: Sequence[str | ObjectiveFunction | Objective] = ("p_loss_mw",),
        controls: Sequence[str | Control] | Mapping[str, Sequence[int]] | None = None,
        limits: Limits | None = None,
        fixed: Mapping[tuple[str, str], Mapping[int, float]] | None = None,
        *,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
    ) -> None:
        check_arguments(ReactivePowerDispatch.__init__, locals())
        net, self.case = net_of_case(case)
        limits = check_limits(limits, LIMITS)
        if self.case and controls is None:
            controls = self.case.controls
        if self.case and fixed is None:
            fixed = self.case.fixed
        found = find_controls(net, controls, limits)
        controlled = {(c.table, c.column, e) for c in found for e in c.elements}
        fixed = {
            key: free
            for key, values in (fixed or {}).items()
            if (free := {e: v for e, v in values.items() if (*key, e) not in controlled})
        }
        _check_fixed(net, fixed)
        super().__init__(
            net,
            ControlSet(found, fixed),
            objectives,
            _constraints(net, limits, grid_limits(net, limits, self.case)),
            engine=engine,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            require_base_solution=require_base_solution,
            name=self.case.name if self.case else str(net.name or "net"),
        )
        if self.case and not limits:
            self.best_known = _best_known(self.case, self.objective_names, controls)


def find_controls(
    net: pandapowerNet,
    selection: Sequence[str | Control] | Mapping[str, Sequence[int]] | None,
    limits: Limits,
) -> list[Control]:
    """The controls of a net that a selection asks for.

    Raises:
        ValueError: An unknown group, a group or element that cannot be controlled, or nothing
            to control at all.
    """
    if selection is None:
        found = [c for group in CONTROL_GROUPS.values() for c in group(net, limits, None)]
        if not found:
            raise ValueError(
                "no controls found: the net has no generator, no tap changer with tap_min and "
                "tap_max, no shunt with steps and no controllable sgen with min_q_mvar and "
                "max_q_mvar; give limits in its tables or pass controls"
            )
        return found
    if isinstance(selection, (str, Control)):
        selection = (selection,)
    found = []
    for item in selection:
        if isinstance(item, Control):
            _check_control(net, item)
            found.append(item)
            continue
        if item not in CONTROL_GROUPS:
            named = with_nearest(str(item), CONTROL_GROUPS)
            raise ValueError(f"controls: unknown group {named}")
        elements = selection[item] if isinstance(selection, Mapping) else ()
        group = CONTROL_GROUPS[item](net, limits, list(elements))
        if not group:
            raise ValueError(f"controls: the net has nothing to control in group {item!r}")
        found += group
    return found


def _check_fixed(net: pandapowerNet, fixed: Mapping[tuple[str, str], Mapping[int, float]]) -> None:
    for (table, column), values in fixed.items():
        if table not in net or column not in net[table]:
            raise ValueError(f"fixed: the net has no column {table}.{column}")
        for element, value in values.items():
            if element not in net[table].index:
                raise ValueError(f"fixed: {table}.{column}: the net has no {table} {element}")
            if not isinstance(value, (Real, np.bool_)) or not math.isfinite(value):
                raise ValueError(
                    f"fixed: {table}.{column}[{element}]: expected a finite number, "
                    f"got {shown(value)}"
                )


def _check_control(net: pandapowerNet, control: Control) -> None:
    if control.table not in net or control.column not in net[control.table]:
        raise ValueError(f"{control.name}: the net has no column {control.table}.{control.column}")
    for element in control.elements:
        if element not in net[control.table].index:
            raise ValueError(f"{control.name}: the net has no {control.table} {element}")


def _elements(net: pandapowerNet, table: str, asked: list[int] | None) -> list[int]:
    """Elements in service, or the asked ones."""
    for element in asked or ():
        if not isinstance(element, Integral):
            raise ValueError(f"controls: expected indices of {table}, got {shown(element)}")
        if element not in net[table].index:
            raise ValueError(f"controls: the net has no {table} {element}")
    return list(asked or net[table].index[net[table].in_service.astype(bool)])


def _bus_groups(net: pandapowerNet) -> dict[int, int]:
    """For each bus the first of the buses that closed couplers join it with."""
    graph = nx.Graph()
    graph.add_nodes_from(net.bus.index)
    couplers = net.switch[(net.switch.et == "b") & net.switch.closed.astype(bool)]
    graph.add_edges_from(zip(couplers.bus, couplers.element, strict=True))
    return {bus: min(group) for group in nx.connected_components(graph) for bus in group}


def _set_points(
    net: pandapowerNet, table: str, elements: list[int], limits: Limits
) -> list[Control]:
    """One voltage set-point per bus; machines that share a bus share it."""
    group_of = _bus_groups(net)
    by_bus: dict[int, list[int]] = {}
    for element in elements:
        by_bus.setdefault(group_of[net[table].at[element, "bus"]], []).append(element)
    controls, unlimited = [], []
    for members in by_bus.values():
        band = limits.get(f"{table}_vm_pu") or _band(net, table, members[0])
        if band is None:
            unlimited.append(members[0])
        low, high = band or DEFAULT_SET_POINT_PU
        label = label_of(net, table, members[0])
        controls.append(
            Control(table, "vm_pu", tuple(members), "real", low, high, unit="p.u.", label=label)
        )
    if unlimited:
        warnings.warn(
            f"{table} {unlimited}: no voltage limits (min_vm_pu, max_vm_pu) of the {table} or "
            f"its bus; using {DEFAULT_SET_POINT_PU[0]}..{DEFAULT_SET_POINT_PU[1]} p.u., or pass "
            f"limits={{'{table}_vm_pu': (low, high)}}",
            stacklevel=5,
        )
    return controls


def _band(net: pandapowerNet, table: str, element: int) -> Band | None:
    """Set-point limits of a machine: its own, else its bus's, None where there are none."""
    for owner, index in ((table, element), ("bus", net[table].at[element, "bus"])):
        low, high = (number(net, owner, index, f"{m}_vm_pu") for m in ("min", "max"))
        if np.isfinite(low) and np.isfinite(high):
            return low, high
    return None


def _generators(net: pandapowerNet, limits: Limits, asked: list[int] | None) -> list[Control]:
    group_of = _bus_groups(net)
    held = {group_of[bus] for bus in net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]}
    elements = [
        e for e in _elements(net, "gen", asked) if group_of[net.gen.at[e, "bus"]] not in held
    ]
    return _set_points(net, "gen", elements, limits)


def _external_grids(net: pandapowerNet, limits: Limits, asked: list[int] | None) -> list[Control]:
    elements = _elements(net, "ext_grid", asked)
    if asked is None:  # found by itself: only where the net says that it may be set
        elements = [
            e
            for e in elements
            if np.isfinite(number(net, "ext_grid", e, "min_vm_pu"))
            and np.isfinite(number(net, "ext_grid", e, "max_vm_pu"))
        ]
    controls = _set_points(net, "ext_grid", elements, limits)
    group_of = _bus_groups(net)
    buses = {group_of[net.ext_grid.at[e, "bus"]] for c in controls for e in c.elements}
    for gen in net.gen.index[net.gen.in_service.astype(bool)]:
        if group_of[net.gen.at[gen, "bus"]] in buses:
            raise ValueError(
                f"gen {gen} holds the voltage of the bus of an ext_grid that is a control; "
                "take one of them out of service, or leave ext_grid out of the controls"
            )
    return controls


def _taps(net: pandapowerNet, limits: Limits, asked: list[int] | None) -> list[Control]:
    controls, without_range = [], []
    for table in ("trafo", "trafo3w"):
        if not len(net[table]) or (asked and table == "trafo3w"):
            continue
        for element in _elements(net, table, asked):
            label = label_of(net, table, element)
            step = number(net, table, element, "tap_step_percent")
            angle = number(net, table, element, "tap_step_degree")
            has_changer = np.nan_to_num(step) != 0 or np.nan_to_num(angle) != 0
            low, high = (number(net, table, element, f"tap_{m}") for m in ("min", "max"))
            if not has_changer:
                if asked:
                    raise ValueError(f"{label}: no tap changer (tap_step_percent is missing)")
                continue
            if np.isnan(low) and np.isnan(high) and not asked:
                without_range.append(label)  # a fixed ratio
                continue
            if not (np.isfinite(low) and np.isfinite(high)):
                missing = "tap_max" if np.isfinite(low) else "tap_min"
                raise ValueError(f"{label}: {missing} is missing")
            if low > high:
                raise ValueError(f"{label}: tap_min {low:g} above tap_max {high:g}")
            if low != round(low) or high != round(high):
                raise ValueError(f"{label}: tap_min {low} and tap_max {high} must be whole")
            kind = net[table].at[element, "tap_changer_type"] if _has_type(net, table) else None
            if kind not in TAP_CHANGER_TYPES:
                raise ValueError(
                    f"{label}: tap_changer_type is {kind!r}, so pandapower would ignore its tap "
                    f"position; expected one of {', '.join(TAP_CHANGER_TYPES)}"
                )
            if not np.isfinite(number(net, table, element, "tap_pos")):
                raise ValueError(f"{label}: tap_pos is missing")
            controls.append(
                Control(table, "tap_pos", (element,), "integer", low, high, label=label)
            )
    if without_range and not controls:
        message = f"tap changers without tap_min and tap_max: {', '.join(without_range)}"
        if asked is not None:
            raise ValueError(message)
        warnings.warn(f"{message}; their taps are left alone", stacklevel=5)
    return controls


def _has_type(net: pandapowerNet, table: str) -> bool:
    return "tap_changer_type" in net[table]


def _shunts(net: pandapowerNet, limits: Limits, asked: list[int] | None) -> list[Control]:
    controls = []
    for element in _elements(net, "shunt", asked):
        label = label_of(net, "shunt", element)
        low, high = (number(net, "shunt", element, f"{m}_q_mvar") for m in ("min", "max"))
        if np.isfinite(low) and np.isfinite(high):
            controls.append(
                Control("shunt", "q_mvar", (element,), "real", low, high, "Mvar", label=label)
            )
            continue
        steps = np.nan_to_num(number(net, "shunt", element, "max_step"))
        if steps > 1:
            controls.append(
                Control("shunt", "step", (element,), "integer", 0.0, float(steps), label=label)
            )
        elif asked and steps == 1:  # every pandapower shunt has one step
            controls.append(Control("shunt", "step", (element,), "binary", 0.0, 1.0, label=label))
    return controls


def _compensators(net: pandapowerNet, limits: Limits, asked: list[int] | None) -> list[Control]:
    controls = []
    for element in _elements(net, "sgen", asked):
        label = label_of(net, "sgen", element)
        low, high = (number(net, "sgen", element, f"{m}_q_mvar") for m in ("min", "max"))
        limited = np.isfinite(low) and np.isfinite(high)
        controllable = "controllable" in net.sgen and net.sgen.at[element, "controllable"]
        if limited and isinstance(controllable, (bool, np.bool_)) and controllable:
            controls.append(
                Control("sgen", "q_mvar", (element,), "real", low, high, "Mvar", label=label)
            )
        elif asked:
            raise ValueError(f"{label}: needs controllable=True, min_q_mvar and max_q_mvar")
    return controls


#: Control groups by name: (net, limits, asked elements) -> controls. Asked is None when the
#: group was not named, empty when it was named without elements.
CONTROL_GROUPS: dict[str, Callable[[pandapowerNet, Limits, list[int] | None], list[Control]]] = {
    "gen": _generators,
    "ext_grid": _external_grids,
    "tap": _taps,
    "shunt": _shunts,
    "compensator": _compensators,
}


def _constraints(net: pandapowerNet, limits: Limits, of_grid: list[Limit]) -> list[Constraint]:
    """The limits of buses and branches, and those of machines: given, or else in the tables."""
    entries = list(of_grid)
    for table, quantity in (("gen", "q_mvar"), ("ext_grid", "p_mw"), ("ext_grid", "q_mvar")):
        key = f"{table}_{quantity}"
        if limits.get(key, ()) is not None:
            entries += machine_limits(net, table, quantity, limits.get(key))
            if quantity == "p_mw":  # slack generators stand for external grids
                entries += machine_limits(net, "gen", quantity, limits.get(key))
    constraints: list[Constraint] = [StateLimits(entries, layout_of(net))]
    if limits.get("radial"):
        constraints.append(radial_constraint(net))
    return constraints


def _best_known(case: Case, objectives: tuple[str, ...], controls: Any) -> BestKnown | None:
    if not all(isinstance(group, str) for group in controls):
        return None
    for best in case.best_known:
        if best.objectives == objectives and set(best.controls) == set(controls):
            return best
    return None
