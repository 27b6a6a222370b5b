"""What can happen to a feeder: loads change, lines, generators and capacitors drop out.

A disturbance is an object with a ``name`` and a method ``settings(circuit)``, so that a list of
them can be swept, or made the scenarios of a robust optimisation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from gridproblems.state import Field, Settings, SettingsMapping

if TYPE_CHECKING:
    from gridproblems.engines.opendss import Circuit


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


class Disturbance(Protocol):
    """Anything that changes a feeder."""

    @property
    def name(self) -> str:
        """What a reader calls it."""
        ...

    def settings(self, circuit: Circuit) -> SettingsMapping:
        """The settings that it changes.

        Raises:
            ValueError: The circuit has no such element.
        """
        ...


@dataclass(frozen=True)
class LoadChange:
    """One load takes another power.

    Args:
        load: Name of the load.
        kw: Its active power. [kW]
        factor: In place of ``kw``, what its active power is multiplied by.
        keep_power_factor: Change the reactive power likewise; else it stays.

    Raises:
        ValueError: Both or neither of ``kw`` and ``factor`` are given, or not finite.
    """

    load: str
    kw: float | None = None
    factor: float | None = None
    keep_power_factor: bool = True

    def __post_init__(self) -> None:
        given = [value for value in (self.kw, self.factor) if value is not None]
        if len(given) != 1 or not _is_finite(given[0]):
            raise ValueError(
                f"load {self.load}: expected a finite kw or factor, one of the two, "
                f"got kw={self.kw!r}, factor={self.factor!r}"
            )

    @property
    def name(self) -> str:
        """Load and change."""
        change = f"{self.kw:g} kW" if self.kw is not None else f"x {self.factor:g}"
        return f"{self.load} {change}"

    def settings(self, circuit: Circuit) -> SettingsMapping:
        """Active and reactive power of the load."""
        load = self.load.lower()
        kw, kvar = (circuit.base("load", column, load) for column in ("kw", "kvar"))
        new_kw = self.kw if self.kw is not None else kw * (self.factor or 0.0)
        if self.keep_power_factor:
            if not kw:
                raise ValueError(
                    f"load {self.load}: has no active power and so no power factor to keep; "
                    "pass keep_power_factor=False"
                )
            kvar *= new_kw / kw
        return {("load", "kw"): {load: new_kw}, ("load", "kvar"): {load: kvar}}


@dataclass(frozen=True)
class LoadMultiplier:
    """All loads are multiplied.

    Args:
        factor: What active and reactive powers are multiplied by, at least 0.

    Raises:
        ValueError: The factor is negative or not finite.
    """

    factor: float

    def __post_init__(self) -> None:
        if not (_is_finite(self.factor) and self.factor >= 0.0):
            raise ValueError(f"load multiplier: expected a number >= 0, got {self.factor}")

    @property
    def name(self) -> str:
        """The factor."""
        return f"loads x {self.factor:g}"

    def settings(self, circuit: Circuit) -> SettingsMapping:
        """The multiplier of all loads."""
        base = circuit.base("solution", "load_multiplier", "all")
        return {("solution", "load_multiplier"): {"all": base * self.factor}}


@dataclass(frozen=True)
class Outage:
    """A line, capacitor, generator or PV system drops out.

    Args:
        element: Class and name, for example ``"line.l10"`` or ``"capacitor.c83"``.
    """

    element: str

    @property
    def name(self) -> str:
        """The element."""
        return f"{self.element} out"

    def settings(self, circuit: Circuit) -> SettingsMapping:
        """The element open at all terminals."""
        table, _, element = self.element.lower().partition(".")
        circuit.base(table, "closed", element)
        return {(table, "closed"): {element: 0.0}}


@dataclass(frozen=True)
class Together:
    """Several disturbances at once; what several set, the last sets."""

    parts: Sequence[Disturbance]

    @property
    def name(self) -> str:
        """The names of the parts."""
        return ", ".join(part.name for part in self.parts)

    def settings(self, circuit: Circuit) -> SettingsMapping:
        """The settings of all parts."""
        merged: dict[tuple[str, str], dict[str, float]] = {}
        for part in self.parts:
            for key, values in part.settings(circuit).items():
                merged.setdefault(key, {}).update(values)
        return merged


def as_disturbance(value: Any) -> Disturbance | None:
    """A disturbance from its short form, as it comes from a command line or a JSON file.

    Args:
        value: A number is a `LoadMultiplier`, a text the `Outage` of that element, a mapping a
            `LoadChange` (``{"load": "s1a", "kw": 200}``); disturbances and None stay.

    Raises:
        ValueError: Anything else.
    """
    if value is None or hasattr(value, "settings"):
        found: Disturbance | None = value
        return found
    known = {"load", "kw", "factor", "keep_power_factor"}
    try:
        if isinstance(value, str):
            return Outage(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return LoadMultiplier(float(value))
        if isinstance(value, Mapping) and {"load"} <= set(value) <= known:
            return LoadChange(**value)
    except ValueError as error:
        raise ValueError(f"disturbance: {error}") from error
    raise ValueError(
        "disturbance: expected an object with a method settings, a load multiplier, the name of an "
        f"element to lose, or a mapping with {sorted(known)}, got {value!r}"
    )


def scenario_settings(circuit: Circuit, disturbances: Sequence[Disturbance | None]) -> Settings:
    """Settings with one row per disturbance; what a disturbance leaves alone is as in the feeder.

    Args:
        circuit: The feeder.
        disturbances: One per row, None for the feeder as it is.

    Raises:
        ValueError: A disturbance names an element that the circuit does not have.
    """
    changes = []
    for disturbance in disturbances:
        try:
            changes.append({} if disturbance is None else disturbance.settings(circuit))
        except ValueError as error:
            raise ValueError(f"disturbance: {error}") from error
    elements: dict[tuple[str, str], dict[str, None]] = {}
    for change in changes:
        for key, values in change.items():
            elements.setdefault(key, {}).update(dict.fromkeys(values))
    rows = [
        [
            change.get(key, {}).get(element, circuit.base(*key, element))
            for key, names in elements.items()
            for element in names
        ]
        for change in changes
    ]
    fields = tuple(Field(*key, tuple(names)) for key, names in elements.items())
    return Settings(fields, np.array(rows, dtype=float).reshape(len(changes), -1))


@dataclass(frozen=True)
class Screening:
    """What each of many disturbances does to a feeder.

    Attributes:
        table: One row per disturbance: ``disturbance``, ``voltage_fitness``, ``v_min_pu``,
            ``v_max_pu``, ``nodes_outside`` the band, ``p_loss_kw``, ``n_unsupplied`` loads and
            ``converged``; NaN where the power flow or its controls do not converge.
        bus_vm_pu: Mean voltage of the phases of each bus, disturbances as rows. [p.u.]
    """

    table: pd.DataFrame
    bus_vm_pu: pd.DataFrame
