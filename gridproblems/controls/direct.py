"""Controls that set columns as they are: `Control`, one variable for one column."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gridproblems.controls.block import NO_MOVES, Block, Change, Moves
from gridproblems.controls.variables import KINDS, Variable, bounds
from gridproblems.situations import Situations
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping

#: Columns that say whether something is on.
STATUS_COLUMNS = ("in_service", "closed")


class DirectGrid(Protocol):
    """What direct controls ask of a grid.

    Attributes:
        has_between: Whether steps and positions have a meaning between whole numbers, for
            gradients.
    """

    has_between: bool

    def present(self, field: Field) -> FloatArray:
        """What the grid has in a column now, shape (n_elements,)."""
        ...

    def label(self, table: str, element: object) -> str:
        """What a reader calls an element."""
        ...


@dataclass(frozen=True)
class Control:
    """One variable: a column of one element, or of several that share the value.

    Attributes:
        table: pandapower table, for example ``"trafo"``.
        column: Its column, for example ``"tap_pos"``.
        elements: Index labels; all of them take the same value.
        kind: ``"real"``, ``"integer"``, ``"binary"`` or ``"choice"``.
        lower, upper: Bounds in physical units; for a choice the range of its options. Those of
            an integer become the outermost whole numbers within, those of a binary are 0 and 1.
        unit: Physical unit, empty for counts and positions.
        options: The values of a choice, in order.
        label: What a reader calls the element.

    Raises:
        ValueError: No elements, an unknown kind, bounds or options that are not finite, an integer
            without a whole number, options given twice, or to something else than a choice.
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
        column = f"{self.table}.{self.column}"
        if isinstance(self.elements, (str, bytes)) or not isinstance(self.elements, Sequence):
            raise ValueError(
                f"{column}: elements: expected index labels in a tuple, got {self.elements!r}"
            )
        object.__setattr__(self, "elements", tuple(self.elements))
        if not self.elements:
            raise ValueError(f"{column}: elements: expected at least one index label")
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind {self.kind!r}; known kinds: {', '.join(KINDS)}")
        for bound in (self.lower, self.upper):
            if not _is_finite(bound):
                raise ValueError(
                    f"{self.name}: bounds must be finite, got {self.lower} and {self.upper}"
                )
        if self.lower > self.upper:
            raise ValueError(f"{self.name}: lower bound {self.lower} above upper {self.upper}")
        if self.kind == "binary" and (self.lower, self.upper) != (0, 1):
            raise ValueError(
                f"{self.name}: the bounds of a binary are 0 and 1, "
                f"got {self.lower} and {self.upper}"
            )
        if self.kind == "integer":
            self._keep_whole_bounds()
        self._check_options()

    def _keep_whole_bounds(self) -> None:
        lower, upper = math.ceil(self.lower), math.floor(self.upper)
        if lower > upper:
            raise ValueError(f"{self.name}: no whole number within [{self.lower}, {self.upper}]")
        object.__setattr__(self, "lower", float(lower))
        object.__setattr__(self, "upper", float(upper))

    def _check_options(self) -> None:
        if isinstance(self.options, (str, bytes)) or not isinstance(self.options, Sequence):
            raise ValueError(f"{self.name}: options: expected a tuple, got {self.options!r}")
        object.__setattr__(self, "options", tuple(self.options))
        if self.kind != "choice":
            if self.options:
                raise ValueError(f"{self.name}: only a choice has options, not a {self.kind}")
            return
        if len(self.options) < 2:
            raise ValueError(f"{self.name}: a choice needs at least two options")
        for option in self.options:
            if not _is_finite(option):
                raise ValueError(f"{self.name}: options must be finite, got {option!r}")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"{self.name}: an option is given twice: {list(self.options)}")

    @property
    def name(self) -> str:
        """Name of the variable, unique within a problem."""
        return f"{self.table}.{self.column}[{self.elements[0]}]"

    def prepare(self, grid: object) -> None:
        """Adds nothing."""

    def bind(self, grid: DirectGrid, situations: Situations, prepared: object) -> Block:
        """The control on a grid that has its column and elements.

        Raises:
            ValueError: The grid has not.
        """
        return DirectBlock("control", [self], grid)


def _counts_as_real(control: Control, has_between: bool) -> bool:
    if control.kind == "real":
        return True
    return has_between and not control.options and control.column not in STATUS_COLUMNS


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def checked_mapping(settings: Any) -> SettingsMapping:
    """Settings of one candidate whose values are numbers.

    Raises:
        ValueError: Something else, which the message shows.
    """
    expected = "expected {(table, column): {element: value}}"
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings: {expected}, got {reprlib.repr(settings)}")
    for key, column in settings.items():
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(column, Mapping)):
            raise ValueError(
                f"settings: {expected}, got {reprlib.repr(key)}: {reprlib.repr(column)}"
            )
        for element, value in column.items():
            if not isinstance(value, (Real, np.bool_)):
                raise ValueError(
                    f"{key[0]}.{key[1]}[{element}]: expected a number, got {reprlib.repr(value)}"
                )
    return settings


class DirectBlock(Block):
    """Controls that set columns as they are: set-points, positions, steps, powers.

    Args:
        kind: What a reader calls them.
        controls: One per variable; those of one column need not be neighbours.
        grid: The grid; it knows the present values and what readers call its elements.

    Raises:
        ValueError: No controls, or an element is set twice.
    """

    def __init__(self, kind: str, controls: Sequence[Control], grid: DirectGrid) -> None:
        if not controls:
            raise ValueError("no controls: nothing to optimise")
        self.kind, self.controls = kind, tuple(controls)
        self._has_between = grid.has_between
        self.variables = tuple(
            Variable(c.name, c.kind, 0.0, len(c.options) - 1.0, c.options)
            if c.options
            else Variable(c.name, c.kind, c.lower, c.upper)
            for c in controls
        )
        self._xl, self._xu, self._is_whole = bounds(self)
        columns: dict[tuple[str, str], dict[int, int]] = {}  # element: its variable
        for i, c in enumerate(controls):
            taken = columns.setdefault((c.table, c.column), {})
            for element in c.elements:
                if element in taken:
                    name = f"{c.table}.{c.column}[{element}]"
                    raise ValueError(f"{name} is set by more than one control")
                taken[element] = i
        self.fields = tuple(Field(*key, tuple(taken)) for key, taken in columns.items())
        #: Variable of each value, shape (n_values,).
        self._variable = np.array([i for taken in columns.values() for i in taken.values()])
        self._choices = [
            (i, np.flatnonzero(self._variable == i), np.array(c.options, dtype=float))
            for i, c in enumerate(controls)
            if c.options
        ]
        present = [np.asarray(grid.present(f), dtype=float) for f in self.fields]
        self._present = np.concatenate(present)[np.newaxis]
        now = {
            (f.table, f.column, e): value
            for f, values in zip(self.fields, present, strict=True)
            for e, value in zip(f.elements, values.tolist(), strict=True)
        }
        self._now = [[now[c.table, c.column, e] for e in c.elements] for c in self.controls]
        self._labels = [
            [f"{c.label or grid.label(c.table, e)} {c.column}" for e in c.elements]
            for c in self.controls
        ]

    @property
    def gathered(self) -> tuple[NDArray[np.int64], FloatArray] | None:
        """The variable of every value, unless one is a choice."""
        if self._choices:
            return None
        return self._variable, np.zeros(len(self._variable))

    @property
    def base_x(self) -> FloatArray:
        """The present values, moved into the bounds where they are outside."""
        x = np.empty(len(self.controls))
        for i, (control, now) in enumerate(zip(self.controls, self._now, strict=True)):
            options = np.array(control.options)
            x[i] = float(np.abs(options - now[0]).argmin()) if control.options else now[0]
        return self.snap(np.nan_to_num(x))

    def snap(self, x: ArrayLike) -> FloatArray:
        """Vectors within bounds, integers and choices whole, shape (..., n_var)."""
        inside = self._clipped(x)
        np.rint(inside, out=inside, where=self._is_whole)
        return inside

    def _clipped(self, x: ArrayLike) -> FloatArray:
        inside: FloatArray = np.minimum(np.maximum(np.asarray(x, dtype=float), self._xl), self._xu)
        return inside

    @property
    def counts_as_real(self) -> NDArray[np.bool_]:
        """All but choices and statuses: of a net steps and positions may be between whole ones."""
        is_real = [_counts_as_real(c, self._has_between) for c in self.controls]
        return np.array(is_real, dtype=np.bool_)

    @property
    def counts_in_steps(self) -> NDArray[np.bool_]:
        """Whole numbers that mean nothing in between."""
        is_whole = np.array([c.kind == "integer" for c in self.controls], dtype=np.bool_)
        return is_whole & ~self.counts_as_real

    def relaxed(self, x: FloatArray) -> FloatArray:
        """Vectors within bounds, choices and statuses whole."""
        inside = self._clipped(x)
        np.rint(inside, out=inside, where=~self.counts_as_real)
        return inside

    def moves(self, x: FloatArray, situations: Situations) -> Moves:
        """Every value is its variable."""
        column = np.flatnonzero(self.counts_as_real[self._variable])
        step = np.zeros(len(column), dtype=np.int64)
        return Moves(1, step, column, self._variable[column], np.ones(len(column)))

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """What vectors set, the same in every situation, shape (n, 1, n_values)."""
        values: FloatArray = x[:, np.newaxis, self._variable]
        for i, places, options in self._choices:
            values[..., places] = options[x[:, i].astype(int)][:, np.newaxis, np.newaxis]
        return values

    def present(self, situations: Situations) -> FloatArray:
        """What the grid has now, whether a vector can say so or not."""
        return self._present

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The vector with these values.

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
            x[i] = _encoded(control, values[0])
        return x

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """Columns: control, unit, base, new, lower, upper."""
        rows = []
        for i, c in enumerate(self.controls):
            value = c.options[int(x[i])] if c.options else x[i]
            whole = c.kind != "real" and not c.options
            for label, now in zip(self._labels[i], self._now[i], strict=True):
                rows.append(
                    {
                        "control": label,
                        "unit": c.unit,
                        "base": _shown(now, whole),
                        "new": _shown(value, whole),
                        "lower": _shown(c.lower, whole),
                        "upper": _shown(c.upper, whole),
                    }
                )
        return pd.DataFrame(rows, dtype=object)

    def changes(self, x: FloatArray) -> list[Change]:
        """Values that move by more than a ten-thousandth of their range."""
        found = []
        for i, c in enumerate(self.controls):
            value = float(c.options[int(x[i])] if c.options else x[i])
            least = 1e-4 * (c.upper - c.lower)
            found += [
                Change(c.table, c.column, element, float(now), value)
                for element, now in zip(c.elements, self._now[i], strict=True)
                if abs(value - now) > least
            ]
        return found


def bound(
    kind: str,
    controls: Sequence[Control],
    grid: DirectGrid,
    optional: bool = False,
    group: str = "",
) -> Block:
    """The block of controls that a kind has found in a grid.

    Args:
        kind: What a reader calls the block.
        controls: What was found.
        grid: The grid.
        optional: Whether none is no error.
        group: What errors call it where that is another name.

    Raises:
        ValueError: There are none, and there have to be.
    """
    if controls:
        return DirectBlock(kind, controls, grid)
    if optional:
        return FixedBlock({}, grid)
    raise ValueError(f"controls: the grid has nothing to control in group {group or kind!r}")


@dataclass(frozen=True)
class Fixed:
    """Settings of every candidate, which no variable moves, as in a published case.

    The grid as it is now is not changed by them.

    Attributes:
        settings: ``{("gen", "vm_pu"): {0: 1.02}}``; what another control sets is left to it.
    """

    settings: SettingsMapping

    def prepare(self, grid: object) -> None:
        """Adds nothing."""

    def bind(self, grid: DirectGrid, situations: Situations, prepared: object) -> Block:
        """A block without variables."""
        return FixedBlock(self.settings, grid)


class FixedBlock(Block):
    """Settings without a variable.

    Args:
        settings: Value of every element.
        grid: Gives the present values.
    """

    kind = "fixed settings"

    def __init__(self, settings: SettingsMapping, grid: DirectGrid) -> None:
        _check_fixed(settings)
        self._settings, self._grid = settings, grid
        constants = Settings.from_mapping(settings)
        self.fields = constants.fields
        self._values = constants.values[np.newaxis]
        try:
            present = [np.asarray(grid.present(f), dtype=float) for f in self.fields]
        except ValueError as error:
            raise ValueError(f"fixed: {error}") from error
        self._present = np.concatenate([np.zeros(0), *present])[np.newaxis]

    def without(self, taken: AbstractSet[tuple[str, str, object]]) -> FixedBlock:
        """The settings of what no other control sets, ``{("gen", "vm_pu", 0), ...}``."""
        left = {
            key: free
            for key, values in self._settings.items()
            if (free := {e: v for e, v in values.items() if (*key, e) not in taken})
        }
        return FixedBlock(left, self._grid)

    @property
    def gathered(self) -> tuple[NDArray[np.int64], FloatArray]:
        """Constants alone."""
        constants = self._values[0]
        return np.full(len(constants), -1, dtype=np.int64), constants

    @property
    def base_x(self) -> FloatArray:
        """No entry."""
        return np.zeros(0)

    def snap(self, x: FloatArray) -> FloatArray:
        """No entry."""
        return x

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """The settings, the same for every candidate, shape (n, 1, n_values)."""
        return np.broadcast_to(self._values, (len(x), *self._values.shape))

    def moves(self, x: FloatArray, situations: Situations) -> Moves:
        """Nothing moves."""
        return NO_MOVES

    def present(self, situations: Situations) -> FloatArray:
        """What the grid has now."""
        return self._present

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """No entry."""
        return np.zeros(0)

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """No row: no variable."""
        return pd.DataFrame()


def _check_fixed(settings: SettingsMapping) -> None:
    for (table, column), values in settings.items():
        for element, value in values.items():
            if not isinstance(value, (Real, np.bool_)) or not math.isfinite(value):
                raise ValueError(
                    f"fixed: {table}.{column}[{element}]: expected a finite number, "
                    f"got {reprlib.repr(value)}"
                )


def _encoded(control: Control, value: float) -> float:
    """The entry of ``x`` of a value."""
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


def _shown(value: float, whole: bool) -> float | int:
    return int(value) if whole and np.isfinite(value) else float(value)
