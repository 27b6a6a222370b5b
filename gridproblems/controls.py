"""Controls: what the optimiser may set, as named columns of the vector ``x``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gridproblems.state import Field, FloatArray, Settings, SettingsMapping

KINDS = ("real", "integer", "binary", "choice")


@dataclass(frozen=True)
class Control:
    """One variable: a column of one element, or of several that share the value.

    Attributes:
        table: pandapower table, for example ``"trafo"``.
        column: Its column, for example ``"tap_pos"``.
        elements: Index labels; all of them take the same value.
        kind: ``"real"``, ``"integer"``, ``"binary"`` or ``"choice"``.
        lower, upper: Bounds in physical units; for a choice the range of its options.
        unit: Physical unit, empty for counts and positions.
        options: The values of a choice, in order.
        label: What a reader calls the element.
    """

    table: str
    column: str
    elements: tuple[int, ...]
    kind: str
    lower: float
    upper: float
    unit: str = ""
    options: tuple[float, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind {self.kind!r}; known kinds: {', '.join(KINDS)}")
        if self.kind == "choice" and len(self.options) < 2:
            raise ValueError(f"{self.name}: a choice needs at least two options")
        if not (np.isfinite(self.lower) and np.isfinite(self.upper)):
            raise ValueError(
                f"{self.name}: bounds must be finite, got {self.lower} and {self.upper}"
            )
        if self.lower > self.upper:
            raise ValueError(f"{self.name}: lower bound {self.lower} above upper {self.upper}")

    @property
    def name(self) -> str:
        """Name of the variable, unique within a problem."""
        return f"{self.table}.{self.column}[{self.elements[0]}]"


class ControlSet:
    """The codec between ``x`` and settings: clips, rounds and picks options.

    Args:
        controls: One control per variable; those of one column need not be neighbours.
        fixed: Settings that hold for every candidate.

    Raises:
        ValueError: No controls, or an element is set twice.
    """

    def __init__(self, controls: Sequence[Control], fixed: SettingsMapping | None = None) -> None:
        if not controls:
            raise ValueError("no controls: nothing to optimise")
        self.controls = tuple(controls)
        self.names = tuple(control.name for control in controls)
        choices = [i for i, c in enumerate(controls) if c.kind == "choice"]
        self.xl = np.array([0.0 if c.options else c.lower for c in controls])
        self.xu = np.array([len(c.options) - 1.0 if c.options else c.upper for c in controls])
        self.is_discrete = np.array([c.kind != "real" for c in controls])
        self._choices = [(i, np.array(controls[i].options, dtype=float)) for i in choices]

        constants = Settings.from_mapping(fixed or {})
        columns = dict.fromkeys((c.table, c.column) for c in controls)
        variables = [
            (i, element)
            for key in columns
            for i, c in enumerate(controls)
            if (c.table, c.column) == key
            for element in c.elements
        ]
        fields = []
        for key in columns:
            elements = tuple(
                e for i, e in variables if (controls[i].table, controls[i].column) == key
            )
            fields.append(Field(*key, elements))
        self._variable = np.array([i for i, _ in variables])
        self._constants = constants.values
        self.fields = (*fields, *constants.fields)
        self._check_unique()

    def _check_unique(self) -> None:
        seen: set[tuple[str, str, int]] = set()
        for field in self.fields:
            for element in field.elements:
                key = (field.table, field.column, element)
                if key in seen:
                    raise ValueError(f"{field}[{element}] is set by more than one control")
                seen.add(key)

    def snap(self, x: ArrayLike) -> FloatArray:
        """The nearest vectors on the grid: within bounds, integers and choices whole.

        Args:
            x: Shape (..., n_var).
        """
        inside: FloatArray = np.minimum(np.maximum(np.asarray(x, dtype=float), self.xl), self.xu)
        np.rint(inside, out=inside, where=self.is_discrete)
        return inside

    def decode(self, x: FloatArray) -> Settings:
        """Settings of vectors on the grid (`snap`), one row per vector.

        Args:
            x: Shape (n_var,), or (n, n_var) for settings of n snapshots.
        """
        values = np.empty((*x.shape[:-1], len(self._variable) + len(self._constants)))
        values[..., : len(self._variable)] = x[..., self._variable]
        values[..., len(self._variable) :] = self._constants
        for i, options in self._choices:
            chosen = options[x[..., i].astype(int)]
            values[..., np.flatnonzero(self._variable == i)] = chosen[..., np.newaxis]
        return Settings(self.fields, values)

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The inverse of `decode`.

        Args:
            settings: Value of every controlled element, ``{("gen", "vm_pu"): {0: 1.02}}``;
                other elements are ignored.

        Raises:
            ValueError: An element is missing, its value is no option or not within bounds, or
                elements that share a variable differ.
        """
        x = np.empty(len(self.controls))
        for i, control in enumerate(self.controls):
            column = settings.get((control.table, control.column), {})
            missing = [e for e in control.elements if e not in column]
            if missing:
                raise ValueError(f"{control.name}: no value given for element {missing[0]}")
            values = [float(column[e]) for e in control.elements]
            if np.ptp(values) > 1e-9:
                raise ValueError(f"{control.name}: elements that share it differ: {values}")
            x[i] = self._encode_one(control, values[0])
        return x

    @staticmethod
    def _encode_one(control: Control, value: float) -> float:
        if control.options:
            if value not in control.options:
                raise ValueError(f"{control.name}: {value} is no option of {control.options}")
            return float(control.options.index(value))
        tolerance = 1e-9 * max(1.0, abs(control.lower), abs(control.upper))
        if not control.lower - tolerance <= value <= control.upper + tolerance:
            raise ValueError(
                f"{control.name}: value {value} not within [{control.lower}, {control.upper}]"
            )
        if control.kind != "real" and value != round(value):
            raise ValueError(f"{control.name}: value {value} is no whole number")
        return min(max(value, control.lower), control.upper)
