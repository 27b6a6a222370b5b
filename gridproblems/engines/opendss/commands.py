"""From settings to the commands that OpenDSS takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gridproblems.engines.opendss.circuit import Circuit, curve_point
from gridproblems.state import Field

_PLAIN_NAME = re.compile(r"""[^\s.,=!/"'()\[\]{}]+""")

Values = dict[str, float]
Planned = tuple[str, str, list[tuple[str, int]]]


def plan_of(fields: Sequence[Field]) -> list[Planned]:
    """What settings of these fields set: kind of element, name, and columns with their position.

    The points of a curve are columns of the curve, for OpenDSS takes all of them at once.
    """
    plan: dict[tuple[str, str], list[tuple[str, int]]] = {}
    position = 0
    for field in fields:
        for element in field.elements:
            name, column = element, field.column
            if field.table == "xycurve":
                name, point = curve_point(element)
                column = str(point)
            plan.setdefault((field.table, name), []).append((column, position))
            position += 1
    return [(table, name, columns) for (table, name), columns in plan.items()]


def commands_of(circuit: Circuit, table: str, element: str, values: Values) -> list[str]:
    """The commands that give one element these settings.

    Args:
        circuit: The circuit as it is built.
        table: Kind of element.
        element: Its name.
        values: Settings by column.
    """
    commands = []
    if "closed" in values and table == "generator":  # OpenDSS lets an open one feed in
        commands.append(edit(table, element, f"enabled={'yes' if values['closed'] else 'no'}"))
    elif "closed" in values:
        verb = "Close" if values["closed"] else "Open"
        terminals = (1, 2) if table == "line" else (1,)
        name = f"{table}.{element}" if _PLAIN_NAME.fullmatch(element) else f'"{table}.{element}"'
        commands += [f"{verb} {name} {terminal}" for terminal in terminals]
    if "vreg_v" in values:
        commands.append(edit(table, element, f"vreg={values['vreg_v']!r}"))
    if "tap" in values:
        commands.append(edit(table, element, f"TapNum={values['tap']:.0f}"))
    if "steps" in values:
        n_steps = len(circuit.capacitor_steps[element])
        states = " ".join("1" if i < values["steps"] else "0" for i in range(n_steps))
        commands.append(edit(table, element, f"states=[{states}]"))
    if table == "load":
        kw, kvar = circuit.loads[element]
        commands.append(edit(table, element, f"kW={values.get('kw', kw)!r}"))
        commands.append(edit(table, element, f"kvar={values.get('kvar', kvar)!r}"))
    if "irradiance" in values:
        commands.append(edit(table, element, f"irradiance={values['irradiance']!r}"))
    if "load_multiplier" in values:
        commands.append(f"Set LoadMult={values['load_multiplier']!r}")
    if table == "xycurve":
        x, y = circuit.volt_var[element]
        points = " ".join(repr(float(values.get(str(i), y[i]))) for i in range(len(x)))
        commands.append(edit(table, element, f"yarray=[{points}]"))
    return commands


def edit(kind: str, name: str, change: str) -> str:
    """The command that changes a property of an element.

    The short form is not for names with dots or blanks, and ends a value at its first quote.
    """
    if _PLAIN_NAME.fullmatch(name) and '"' not in change:
        return f"{kind}.{name}.{change}"
    return f'Edit "{kind}.{name}" {change}'
