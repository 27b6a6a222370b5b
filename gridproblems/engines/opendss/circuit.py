"""What a feeder is as it is built, and which of it can be set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, FloatArray

COLUMNS = (
    ("regcontrol", "vreg_v"),
    ("regcontrol", "tap"),
    ("capacitor", "steps"),
    ("load", "kw"),
    ("load", "kvar"),
    ("pvsystem", "irradiance"),
    ("xycurve", "y_pu"),
    ("solution", "load_multiplier"),
)
SWITCHED = ("line", "capacitor", "generator", "pvsystem")


@dataclass(frozen=True)
class Regulator:
    """What a regulator control is now.

    Attributes:
        name: Name of the control.
        transformer: Transformer whose tap it moves.
        vreg_v: Set-point on the secondary side of its voltage transformer. [V]
        nominal_v: Nominal voltage there. [V]
        tap: Position in the feeder file, as a whole number of steps.
        min_tap, max_tap: Range of the tap changer.
    """

    name: str
    transformer: str
    vreg_v: float
    nominal_v: float
    tap: int
    min_tap: int
    max_tap: int


@dataclass(frozen=True)
class Circuit:
    """Names and numbers of a feeder as it is built, in OpenDSS's order; all names in lower case.

    Attributes:
        nodes: Phases of buses, ``"bus.phase"``, in the order of ``node_vm_pu``.
        buses: Buses with phases, in the order of ``bus_mean_vm_pu``.
        first_node: First node of each bus, shape (n_buses,).
        base_kv: Nominal voltage to neutral of each bus, shape (n_buses,). [kV]
        distance_km: Length of lines from the source to each bus, shape (n_buses,). [km]
        loads: Active and reactive power of each load. [kW, kvar]
        load_nodes: Nodes of each load on phases by its name, as positions in ``nodes``.
        regulators: Regulator controls by name.
        capacitor_steps: Switching state of the steps of each capacitor.
        capacitor_controls: Capacitor that each capacitor control switches.
        irradiance: Irradiance of each PV system. [kW/m2]
        load_multiplier: What multiplies all loads.
        volt_var: Points of the volt-var curves of inverter controls: voltages and reactive powers.
        load_shapes: Multipliers of the load shapes. [1]
        lines, transformers: Names, in the order of their loadings.
        generators: Names.
        remembers: Classes with elements that cannot be reset exactly.
    """

    nodes: tuple[str, ...]
    buses: tuple[str, ...]
    first_node: NDArray[np.int64]
    base_kv: FloatArray
    distance_km: FloatArray
    loads: dict[str, tuple[float, float]]
    load_nodes: dict[str, NDArray[np.int64]]
    regulators: dict[str, Regulator]
    capacitor_steps: dict[str, tuple[int, ...]]
    capacitor_controls: dict[str, str]
    irradiance: dict[str, float]
    load_multiplier: float
    volt_var: dict[str, tuple[FloatArray, FloatArray]]
    load_shapes: dict[str, FloatArray]
    lines: tuple[str, ...]
    transformers: tuple[str, ...]
    generators: tuple[str, ...]
    remembers: tuple[str, ...]

    def elements(self, table: str) -> tuple[str, ...]:
        """Names of the elements that a table of settings knows."""
        names: dict[str, Sequence[str]] = {
            "regcontrol": tuple(self.regulators),
            "capacitor": tuple(self.capacitor_steps),
            "load": tuple(self.loads),
            "pvsystem": tuple(self.irradiance),
            "xycurve": [
                f"{name}[{i + 1}]" for name, (x, _) in self.volt_var.items() for i in range(len(x))
            ],
            "line": self.lines,
            "generator": self.generators,
            "solution": ("all",),
        }
        if table not in names:
            raise ValueError(f"{table!r}: no such kind of element; known: {', '.join(names)}")
        return tuple(names[table])

    def base(self, table: str, column: str, element: str) -> float:
        """What a setting is in the feeder file.

        Raises:
            ValueError: There is no such element or column.
        """
        if element not in self.elements(table):
            known = ", ".join(self.elements(table)) or "none"
            raise ValueError(f"the feeder has no {table} {element!r}; known: {known}")
        if column == "closed" and table in SWITCHED:
            return 1.0
        if (table, column) not in COLUMNS:
            known = ", ".join(f"{t}.{c}" for t, c in COLUMNS)
            raise ValueError(
                f"{table}.{column} cannot be set; known: {known}, and closed of {SWITCHED}"
            )
        values: dict[str, Callable[[], float]] = {
            "vreg_v": lambda: self.regulators[element].vreg_v,
            "tap": lambda: float(self.regulators[element].tap),
            "steps": lambda: float(sum(self.capacitor_steps[element])),
            "kw": lambda: self.loads[element][0],
            "kvar": lambda: self.loads[element][1],
            "irradiance": lambda: self.irradiance[element],
            "load_multiplier": lambda: self.load_multiplier,
            "y_pu": lambda: self._point(element),
        }
        return values[column]()

    def _point(self, element: str) -> float:
        curve, point = curve_point(element)
        return float(self.volt_var[curve][1][point])


def curve_point(element: str) -> tuple[str, int]:
    """Curve and position of an element of the table ``xycurve``: ``"curve[1]"`` is the first."""
    curve, _, number = element.rstrip("]").rpartition("[")
    return curve, int(number) - 1


def check_fields(circuit: Circuit, fields: Sequence[Field]) -> None:
    for field in fields:
        for element in field.elements:
            try:
                circuit.base(field.table, field.column, element)
            except ValueError as error:
                raise UnsupportedByEngine(str(error)) from None
