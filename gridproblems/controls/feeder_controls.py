"""Controls of OpenDSS feeders: `Regulators`, `Capacitors` and `VoltVar`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gridproblems._names import with_nearest
from gridproblems.controls.block import Block
from gridproblems.controls.direct import Control, bound
from gridproblems.situations import Situations

if TYPE_CHECKING:
    from gridproblems.engines.opendss import Circuit

VARIABLES = ("vreg", "taps")
#: Set-points make sense within this band around the nominal voltage. [p.u.]
SENSIBLE_PU = (0.8, 1.2)

Band = tuple[float, float]


@dataclass(frozen=True)
class Regulators:
    """Regulators of a feeder.

    Attributes:
        variables: ``"vreg"``: set-points, real, in volts on the secondary side of their voltage
            transformers; the regulators find the taps. ``"taps"``: tap positions, integer; the
            regulators keep them.
        names: Names of the regulators, None for all.
        vreg_span_v: How far a set-point may go from the present one. [V]
        vreg_v: Lowest and highest set-point. [V]
    """

    of_grid: ClassVar[str] = "feeder"

    variables: str = "vreg"
    names: Sequence[str] | None = None
    vreg_span_v: float = 6.0
    vreg_v: Band = (110.0, 130.0)

    def __post_init__(self) -> None:
        if self.variables not in VARIABLES:
            raise ValueError(f"variables: unknown {with_nearest(str(self.variables), VARIABLES)}")

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The regulators of a feeder.

        Raises:
            ValueError: No regulators, an unknown one, or set-points that make no sense.
        """
        found = _regulator_controls(
            grid.circuit, self.variables, self.names, self.vreg_v, self.vreg_span_v
        )
        return bound("regulators", found, grid, optional=False)


@dataclass(frozen=True)
class Capacitors:
    """Capacitors of a feeder: on or off, or the number of steps that are on.

    Attributes:
        names: Names of the capacitors, None for all.
    """

    of_grid: ClassVar[str] = "feeder"

    names: Sequence[str] | None = None

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The capacitors of a feeder.

        Raises:
            ValueError: There are none, or an unknown one.
        """
        asked = True if self.names is None else self.names
        return bound("capacitors", _capacitor_controls(grid.given, asked), grid, optional=False)


@dataclass(frozen=True)
class VoltVar:
    """Reactive powers of the volt-var curves of inverters.

    0 to 1 below nominal voltage, -1 to 0 above, the flat ends as one. [p.u.]
    """

    of_grid: ClassVar[str] = "feeder"

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The points of the curves that a feeder's inverters follow.

        Raises:
            ValueError: No inverter follows one.
        """
        return bound("volt-var curves", _curve_controls(grid.circuit), grid, optional=False)


def _chosen(argument: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names in lower case, as OpenDSS has them."""
    if isinstance(asked, str):
        raise ValueError(f"{argument}: expected a list of names, got the text {asked!r}")
    for name in asked:
        if name.lower() not in known:
            raise ValueError(
                f"{argument}: the feeder has no {name!r}; known: {', '.join(known) or 'none'}"
            )
    return [name.lower() for name in asked]


def _control(table: str, column: str, elements: Any, kind: str, band: Band, unit: str) -> Control:
    return Control(table, column, elements, kind, *band, unit=unit)


def _regulator_controls(
    circuit: Circuit,
    variables: str,
    asked: Sequence[str] | None,
    vreg_v: Band,
    span_v: float,
) -> list[Control]:
    """Set-points near the present ones, or tap positions.

    Raises:
        ValueError: No regulators, an unknown one, or set-points that make no sense.
    """
    if not circuit.regulators:
        raise ValueError("the feeder has no regulators (RegControl): nothing to optimise")
    names = _chosen("regulators", asked, list(circuit.regulators)) if asked is not None else None
    controls = []
    for name in circuit.regulators if names is None else names:
        regulator = circuit.regulators[name]
        if variables == "taps":
            band = (float(regulator.min_tap), float(regulator.max_tap))
            controls.append(_control("regcontrol", "tap", (name,), "integer", band, ""))
            continue
        low = max(vreg_v[0], regulator.vreg_v - span_v)
        high = min(vreg_v[1], regulator.vreg_v + span_v)
        sensible = [factor * regulator.nominal_v for factor in SENSIBLE_PU]
        if not sensible[0] <= low <= high <= sensible[1]:
            raise ValueError(
                f"regulator {name}: set-points from {low:g} to {high:g} V make no sense; expected "
                f"a range within {sensible[0]:.0f} to {sensible[1]:.0f} V, for its nominal voltage "
                f"is {regulator.nominal_v:.1f} V and its present set-point {regulator.vreg_v:g} V"
            )
        controls.append(_control("regcontrol", "vreg_v", (name,), "real", (low, high), "V"))
    return controls


def _capacitor_controls(circuit: Circuit, asked: bool | Sequence[str]) -> list[Control]:
    if isinstance(asked, bool):
        names = list(circuit.capacitor_steps) if asked else []
        if asked and not names:
            raise ValueError("capacitors: the feeder has none")
    else:
        names = _chosen("capacitors", asked, list(circuit.capacitor_steps))
    controls = []
    for name in names:
        n_steps = len(circuit.capacitor_steps[name])
        kind = "binary" if n_steps == 1 else "integer"
        controls.append(_control("capacitor", "steps", (name,), kind, (0.0, float(n_steps)), ""))
    return controls


def _curve_controls(circuit: Circuit) -> list[Control]:
    """Reactive power of the points of volt-var curves; equal ends of a curve move as one.

    Raises:
        ValueError: No inverter control follows a volt-var curve.
    """
    if not circuit.volt_var:
        raise ValueError("volt_var: the feeder has no InvControl with mode=VOLTVAR and a curve")
    controls = []
    for curve, (x, y) in circuit.volt_var.items():
        groups: list[list[int]] = []
        for i in range(len(x)):
            is_flat_end = i in (1, len(x) - 1) and y[i] == y[i - 1]
            if is_flat_end:
                groups[-1].append(i)
            else:
                groups.append([i])
        for group in groups:
            if x[group[-1]] == 1.0:
                continue
            band = (0.0, 1.0) if x[group[-1]] < 1.0 else (-1.0, 0.0)
            elements = tuple(f"{curve}[{i + 1}]" for i in group)
            controls.append(_control("xycurve", "y_pu", elements, "real", band, "p.u."))
    return controls
