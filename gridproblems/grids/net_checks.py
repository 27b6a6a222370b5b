"""What must hold of a net before a problem is made of it, and why a net is not solved."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandapower as pp
from pandapower.auxiliary import pandapowerNet

from gridproblems.controls.direct import Control
from gridproblems.engines.reference import (
    NO_SOLUTION,
    apply_settings,
    fused_buses,
    has_unknowns,
    runpp_options,
    unsupplied,
)
from gridproblems.state import Field, Settings

_MAX_NAMED = 5
#: Where the machines that hold a voltage stand: table, bus and set-point.
_MACHINES = (
    ("ext_grid", "bus", "vm_pu"),
    ("gen", "bus", "vm_pu"),
    ("dcline", "from_bus", "vm_from_pu"),
    ("dcline", "to_bus", "vm_to_pu"),
)


def why_not_solved(net: pandapowerNet, settings: Settings, situation: int) -> str:
    """What is wrong with a situation that is not solved, for an error."""
    where = f" in snapshot {situation}" if len(settings.rows) > 1 else ""
    net = copy.deepcopy(net)
    apply_settings(net, settings, situation)
    try:
        pp.runpp(net, **runpp_options(net))
    except NO_SOLUTION as error:
        return f"does not converge{where} ({error})"
    lost = [f"{table} {element}" for table, element in unsupplied(net)]
    if lost:
        more = f" and {len(lost) - _MAX_NAMED} more" if len(lost) > _MAX_NAMED else ""
        return f"leaves {', '.join(lost[:_MAX_NAMED])}{more} without supply{where}"
    if not has_unknowns(net):
        return f"does not converge{where}: nothing is connected to the sources"
    return f"does not converge{where} with this engine"


def check_set_points(
    net: pandapowerNet, controls: Sequence[Control], fields: Sequence[Field], base: Settings
) -> None:
    """Machines at one bus, also one of several that couplers join, must have one set-point.

    Raises:
        ValueError: They have not, or not all of them are one control; the message names two.
    """
    control_of = {(c.table, c.column, element): c.name for c in controls for element in c.elements}
    switched_on = {(f.table, e) for f in fields if f.column == "in_service" for e in f.elements}
    first_bus = fused_buses(net)
    at_bus: dict[int, list[tuple[str, int, str]]] = {}
    for table, bus_column, column in _MACHINES:
        for element, bus in net[table][bus_column].items():
            on = bool(net[table].at[element, "in_service"]) or (table, element) in switched_on
            if on and bool(net.bus.in_service.get(bus, False)):
                at_bus.setdefault(first_bus[bus], []).append((table, element, column))
    for machines in at_bus.values():
        for other in machines[1:]:
            _check_pair(net, control_of, base, machines[0], other)


def _check_pair(
    net: pandapowerNet,
    control_of: Mapping[tuple[str, str, int], str],
    base: Settings,
    one: tuple[str, int, str],
    other: tuple[str, int, str],
) -> None:
    """Refuses two machines of one bus whose set-points (table, element, column) may differ."""
    names = f"{one[0]} {one[1]} and {other[0]} {other[1]} hold the voltage of one bus"
    keys = [(table, column, element) for table, element, column in (one, other)]
    controls = [control_of.get(key) for key in keys]
    if controls[0] != controls[1]:
        how = (
            "are two controls"
            if all(controls)
            else f"only {' '.join(map(str, (one if controls[0] else other)[:2]))} is a control"
        )
        raise ValueError(
            f"{names}, but {how}; set both by one control, leave both out of the controls, or "
            "take one of them out of service"
        )
    if controls[0] is not None:
        return
    columns = [(one[2], other[2])]
    if one[0] == other[0] == "ext_grid":
        columns.append(("va_degree", "va_degree"))
    for pair in columns:
        values = [
            base.get(table, column).get(element, net[table].at[element, column])
            for (table, element, _), column in zip((one, other), pair, strict=True)
        ]
        if not np.allclose(values[1], values[0]):
            raise ValueError(
                f"{names} with different set-points, {pair[0]} {np.ravel(values[0])[0]:g} and "
                f"{pair[1]} {np.ravel(values[1])[0]:g}; pandapower has no solution for that"
            )
