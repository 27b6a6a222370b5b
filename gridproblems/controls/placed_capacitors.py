"""`PlacedCapacitors`: where capacitors should be in an OpenDSS feeder, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from gridproblems._names import with_nearest
from gridproblems.controls.block import Block
from gridproblems.controls.variables import Variable, bounds
from gridproblems.situations import Situations
from gridproblems.state import Field, FloatArray, SettingsMapping

if TYPE_CHECKING:
    from gridproblems.engines.opendss import Circuit

PHASES = (1, 2, 3)


@dataclass(frozen=True)
class PlacedCapacitors:
    """Places capacitors with three phases in a feeder and sizes them in steps.

    Every capacitor has a bus among the candidates and a number of steps, 0 for none. Those at one
    bus add up. Reactive powers follow the square of the voltage, as OpenDSS has it.

    Attributes:
        n_units: Number of capacitors.
        step_kvar: Reactive power of a step at nominal voltage, all phases together. [kvar]
        n_steps: Most steps of a capacitor.
        buses: Candidate buses; None: all with three phases, in the feeder's order, in which
            neighbours along a line are near each other.

    Raises:
        ValueError: A number or a power that cannot be.
    """

    of_grid: ClassVar[str] = "feeder"

    n_units: int = 1
    step_kvar: float = 100.0
    n_steps: int = 6
    buses: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("n_units", "n_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if not 0 < self.step_kvar < np.inf:
            raise ValueError(f"step_kvar: expected a positive power, got {self.step_kvar}")

    def prepare(self, grid: Any) -> tuple[list[str], list[str]]:
        """Adds a capacitor without any step switched on at every candidate bus.

        Raises:
            ValueError: A bus that the feeder has not, or that lacks a phase.
        """
        buses = _candidates(grid.circuit, self.buses)
        most = self.n_units * self.n_steps
        prefix = f"placed{len(grid.added) + 1}"
        names = [f"{prefix}_{bus}" for bus in buses]
        line_kv = dict(
            zip(grid.circuit.buses, (3.0**0.5 * grid.circuit.base_kv).tolist(), strict=True)
        )
        off = " ".join(["0"] * most)
        grid.add(
            f'New "Capacitor.{name}" bus1="{bus}.1.2.3" phases=3 kv={line_kv[bus]!r}'
            f" kvar={float(most * self.step_kvar)!r} numsteps={most} states=[{off}]"
            for name, bus in zip(names, buses, strict=True)
        )
        return buses, names

    def bind(
        self, grid: Any, situations: Situations, prepared: tuple[list[str], list[str]]
    ) -> Block:
        """The capacitors at the candidate buses."""
        return PlacedCapacitorBlock(self, *prepared)


def _candidates(circuit: Circuit, asked: Sequence[str] | None) -> list[str]:
    """Buses with three phases, all or those that are asked for."""
    nodes = set(circuit.nodes)
    able = [
        bus
        for bus, km in zip(circuit.buses, circuit.distance_km, strict=True)
        if np.isfinite(km) and nodes.issuperset(f"{bus}.{phase}" for phase in PHASES)
    ]
    if asked is None:
        if not able:
            raise ValueError("buses: the feeder has no bus with three phases")
        return able
    if isinstance(asked, str) or not len(asked):
        raise ValueError(f"buses: expected a list of names, got {asked!r}")
    wanted = [str(bus).lower() for bus in asked]
    for bus in wanted:
        if bus not in circuit.buses:
            raise ValueError(f"buses: the feeder has no bus {with_nearest(bus, circuit.buses)}")
        if bus not in able:
            raise ValueError(f"buses: bus {bus} lacks a phase, or a way to the source")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"buses: expected each once, got {wanted}")
    return [bus for bus in able if bus in wanted]


class PlacedCapacitorBlock(Block):
    """Capacitors at candidate buses.

    Variables of a capacitor: ``bus``, the place among the candidates, and ``steps``. They are
    sorted by bus, so that equal designs have one vector.

    Args:
        control: The control.
        buses: Candidate buses in the order of their places.
        names: The capacitor of the feeder at each of them.
    """

    kind = "placed capacitors"
    no_periods = "capacitors stay where they are"
    objective_methods: Mapping[str, str] = {"placed_kvar": "kvar"}

    def __init__(
        self, control: PlacedCapacitors, buses: Sequence[str], names: Sequence[str]
    ) -> None:
        self.buses, self._control = tuple(buses), control
        self.variables = tuple(
            variable
            for i in range(1, control.n_units + 1)
            for variable in (
                Variable(f"placed capacitor {i} bus", "integer", 0.0, len(buses) - 1.0),
                Variable(f"placed capacitor {i} steps", "integer", 0.0, float(control.n_steps)),
            )
        )
        self.fields = (Field("capacitor", "steps", tuple(names)),)
        self._xl, self._xu, _ = bounds(self)

    @property
    def base_x(self) -> FloatArray:
        """No capacitor."""
        return np.zeros(len(self.variables))

    def snap(self, x: FloatArray) -> FloatArray:
        """Whole numbers within bounds, capacitors sorted by bus."""
        whole = np.rint(np.minimum(np.maximum(x, self._xl), self._xu))
        units = whole.reshape(*x.shape[:-1], self._control.n_units, 2)
        order = np.lexsort((units[..., 1], units[..., 0]), axis=-1)
        return np.take_along_axis(units, order[..., np.newaxis], axis=-2).reshape(x.shape)

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Steps that are on at every bus, the same in every situation, shape (n, 1, n_buses)."""
        steps = np.zeros((len(x), 1, len(self.buses)))
        for bus, own in zip(x[:, 0::2].T.astype(int), x[:, 1::2].T, strict=True):
            steps[np.arange(len(x)), 0, bus] += own
        return steps

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The vector with these steps at the buses.

        Raises:
            ValueError: A bus without value, or more steps than the capacitors have.
        """
        column = settings.get(("capacitor", "steps"), {})
        most, rows = self._control.n_steps, []
        for place, name in enumerate(self.fields[0].elements):
            if name not in column:
                raise ValueError(f"capacitor.steps[{name}]: no value given")
            left = float(column[name])
            if left < 0 or left != round(left):
                raise ValueError(f"capacitor.steps[{name}]: {left} is no number of steps")
            while left > 0:
                rows.append((float(place), min(left, float(most))))
                left -= most
        if len(rows) > self._control.n_units:
            raise ValueError(
                f"capacitor.steps: {len(rows)} capacitors of {most} steps at most would be needed, "
                f"and there are {self._control.n_units}"
            )
        rows += [(0.0, 0.0)] * (self._control.n_units - len(rows))
        return self.snap(np.array(rows).ravel())

    def placed_kvar(self, x: FloatArray) -> FloatArray:
        """Reactive power of all placed capacitors at nominal voltage, shape (n,). [kvar]"""
        kvar: FloatArray = x[..., 1::2].sum(axis=-1) * self._control.step_kvar
        return kvar

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """The capacitors, one row each. Columns: control, bus, size, unit."""
        rows = [
            {
                "control": f"placed capacitor {i + 1}",
                "bus": self.buses[int(x[2 * i])],
                "size": float(x[2 * i + 1]) * self._control.step_kvar,
                "unit": "kvar",
            }
            for i in range(self._control.n_units)
        ]
        return pd.DataFrame(rows, dtype=object)
