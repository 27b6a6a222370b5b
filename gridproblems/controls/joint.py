"""`Joint`: blocks side by side, and what situations do to their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gridproblems._compile import compiled
from gridproblems.controls.block import Block, Moves, PeriodBlock, PlacedBlock
from gridproblems.controls.direct import Control, DirectBlock
from gridproblems.controls.variables import Variable, bounds
from gridproblems.situations import SCALE, SET, Delta, Situations
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping


class PresentValues(Protocol):
    """Gives what a grid has in a column now."""

    def present(self, field: Field) -> FloatArray:
        """Shape (n_elements,)."""
        ...


class DecodedSettings(Settings):
    """Settings of one candidate, and the snapped vector (n_var,) that they were decoded from."""

    def __init__(self, fields: tuple[Field, ...], values: FloatArray, x: FloatArray) -> None:
        super().__init__(fields, values)
        self.x = x


class Slopes(NamedTuple):
    """How settings move with vectors: entries of a sparse matrix per power flow.

    Attributes:
        start: First entry of every power flow, situations of a candidate one after the other, and
            the end of the last, shape (n_power_flows + 1,).
        column: Value of the settings that moves, shape (n_entries,).
        variable: Entry of ``x`` it moves with.
        slope: By how much.
    """

    start: NDArray[np.int64]
    column: NDArray[np.int64]
    variable: NDArray[np.int64]
    slope: FloatArray


class Joint:
    """The vector ``x`` of a problem: its blocks one after the other.

    Args:
        blocks: The controls on the grid.
        situations: What every candidate is tried in.
        grid: Gives the present values of columns that situations scale and no control sets.

    Attributes:
        variables: One per entry of ``x``, names unique.
        fields: What the settings hold: columns of the blocks, then those of situations alone.
        placed: The blocks, and where each stands in ``x`` and in the values of the settings.

    Raises:
        ValueError: No variables; a column of an element that two controls set, or a control and
            a situation, or two axes of situations.
    """

    def __init__(
        self, blocks: Sequence[Block], situations: Situations, grid: PresentValues
    ) -> None:
        self.blocks, self.situations = tuple(blocks), situations
        self.variables = _unique([v for block in blocks for v in block.variables])
        if not self.variables:
            raise ValueError(
                "no controls found: the net has no generator, no tap changer with tap_min and "
                "tap_max, no shunt with steps and no controllable sgen with min_q_mvar and "
                "max_q_mvar; give limits in its tables or pass controls"
            )
        parts = _slices([len(block.variables) for block in blocks])
        columns = _slices([sum(len(f.elements) for f in b.fields) for b in blocks])
        self.placed = tuple(map(PlacedBlock, blocks, parts, columns))
        self._owner: dict[tuple[str, str, object], tuple[str, int]] = {}
        fields: list[Field] = []
        for block in blocks:
            for f in block.fields:
                self._take(f, block.kind)
                fields.append(f)
        #: Columns of the blocks that have variables.
        self.controlled_fields = tuple(f for b in blocks if b.variables for f in b.fields)
        #: (columns, values, row of each situation) of what is set, and of what is scaled.
        self._set: list[tuple[NDArray[np.int64], FloatArray, NDArray[np.int64]]] = []
        self._scaled: list[tuple[NDArray[np.int64], FloatArray, NDArray[np.int64]]] = []
        for how in (SET, SCALE):
            for k, axis in enumerate(situations.axes):
                owner = f"the situations ({axis.kind or f'axis {k + 1}'})"
                for delta in axis.deltas:
                    if delta.how == how:
                        fields += self._change(delta, situations.index[k], owner, grid)
        self.fields = tuple(fields)
        self.n_values = len(self._owner)
        self.xl, self.xu, self._is_whole = bounds(self)
        self._compile()

    def _compile(self) -> None:
        """Puts all blocks whose values are entries of ``x`` into one look-up."""
        self._template = np.zeros(self.n_values)
        places: list[NDArray[np.int64]] = []
        entries: list[NDArray[np.int64]] = []
        #: The other blocks, where they stand in ``x``, and where in the values.
        self._computed: list[PlacedBlock] = []
        for placed in self.placed:
            part, own = placed.part, placed.columns
            gathered = placed.block.gathered
            if gathered is None:
                self._computed.append(placed)
                continue
            variable, constants = gathered
            self._template[own] = constants
            moves = np.flatnonzero(variable >= 0)
            places.append(own.start + moves)
            entries.append(part.start + variable[moves])
        self._places = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
        self._entries = np.concatenate(entries) if entries else np.zeros(0, dtype=np.int64)

    def _take(self, f: Field, owner: str) -> None:
        """Gives the elements of a column to an owner."""
        for element in f.elements:
            key = (f.table, f.column, element)
            if key in self._owner:
                first = self._owner[key][0]
                both = f"both {first} and {owner}" if first != owner else f"{owner} twice"
                raise ValueError(f"{f}[{element}] is set by {both}")
            self._owner[key] = (owner, len(self._owner))

    def _change(
        self, delta: Delta, rows: NDArray[np.int64], owner: str, grid: PresentValues
    ) -> list[Field]:
        """Notes what an axis does to a column; gives the fields that this adds."""
        f, values, how = delta.field, delta.values, delta.how
        new = tuple(e for e in f.elements if (f.table, f.column, e) not in self._owner)
        added = [Field(f.table, f.column, new)] if new else []
        if how == SET:
            self._take(f, owner)
        elif new:
            self._take(added[0], owner)
            present = np.asarray(grid.present(added[0]), dtype=float)[np.newaxis]
            everywhere = np.zeros(self.situations.n, dtype=np.int64)
            self._set.append((self._columns(added[0]), present, everywhere))
        changes = self._set if how == SET else self._scaled
        changes.append((self._columns(f), values, rows))
        return added

    def _columns(self, f: Field) -> NDArray[np.int64]:
        return np.array([self._owner[f.table, f.column, e][1] for e in f.elements], dtype=np.int64)

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls of all blocks that set columns as they are, also in periods."""
        plain = [block.block if isinstance(block, PeriodBlock) else block for block in self.blocks]
        return tuple(
            control
            for block in plain
            if isinstance(block, DirectBlock)
            for control in block.controls
        )

    # -- vectors ---------------------------------------------------------------------------

    def snap(self, x: ArrayLike) -> FloatArray:
        """The vectors that are evaluated in place of these, shape (..., n_var)."""
        x = np.asarray(x, dtype=float)
        if len(self._computed) == len(self.blocks) == 1:
            return self.blocks[0].snap(x)
        snapped: FloatArray = np.minimum(np.maximum(x, self.xl), self.xu)
        np.rint(snapped, out=snapped, where=self._is_whole)
        for placed in self._computed:
            snapped[..., placed.part] = placed.block.snap(x[..., placed.part])
        return snapped

    @cached_property
    def counts_as_real(self) -> NDArray[np.bool_]:
        """Variables that gradients move by any amount, see `Block.counts_as_real`, (n_var,)."""
        return self._of_variables("counts_as_real")

    @cached_property
    def counts_in_steps(self) -> NDArray[np.bool_]:
        """Variables whose slope is a difference of whole values, (n_var,)."""
        return self._of_variables("counts_in_steps")

    def _of_variables(self, name: str) -> NDArray[np.bool_]:
        """What blocks say of each variable; of those that are piecewise constant always no."""
        parts = [getattr(block, name) & (not block.is_stepwise) for block in self.blocks]
        return np.concatenate(parts)

    def relaxed(self, x: ArrayLike) -> FloatArray:
        """The vectors that gradients are taken at, see `Block.relaxed`, shape (..., n_var)."""
        relaxed = np.array(x, dtype=float)
        for placed in self.placed:
            relaxed[..., placed.part] = placed.block.relaxed(relaxed[..., placed.part])
        return relaxed

    def slopes(self, X: FloatArray, rows: slice | None = None) -> tuple[Slopes, NDArray[np.bool_]]:
        """How the settings of relaxed vectors move with them in some situations.

        Args:
            X: Shape (n, n_var).
            rows: Situations that follow each other, None for all.

        Returns:
            The slopes, and which variables they lack, for a block does not know them, (n_var,).
        """
        s = self.situations
        rows = rows or slice(0, s.n)
        n_rows = rows.stop - rows.start
        lacking = np.zeros(len(self.variables), dtype=np.bool_)
        parts: list[tuple[NDArray[np.int64], ...]] = []
        slopes: list[FloatArray] = []
        for placed in self.placed:
            own = placed.block.moves(X[:, placed.part], s)
            if own is None:
                lacking[placed.part] = True
                continue
            entry, row = self._entries_in(own, rows)
            shape = (len(X), len(entry))
            column = np.broadcast_to(own.column[..., entry], shape) + placed.columns.start
            variable = np.broadcast_to(own.variable[entry] + placed.part.start, shape)
            power_flow = np.arange(len(X))[:, np.newaxis] * n_rows + row
            parts.append((power_flow.ravel(), column.ravel(), variable.ravel()))
            slopes.append(np.broadcast_to(own.slope[..., entry], shape).ravel())
        none = np.zeros(0, dtype=np.int64)
        flows, columns, variables = (
            np.concatenate(p) for p in (zip(*parts, strict=True) if parts else ((none,),) * 3)
        )
        slope = np.concatenate([np.zeros(0), *slopes])
        slope = slope * self._factors(flows % n_rows + rows.start, columns)
        order = np.argsort(flows, kind="stable")
        start = np.searchsorted(flows[order], np.arange(len(X) * n_rows + 1))
        return Slopes(start, columns[order], variables[order], slope[order]), lacking

    def _entries_in(self, moves: Moves, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries of moves and the situations they hold in, counted from the first."""
        n_rows = rows.stop - rows.start
        if moves.n_steps == 1:
            n = len(moves.step)
            return np.tile(np.arange(n), n_rows), np.repeat(np.arange(n_rows), n)
        step = np.arange(self.situations.n)[self._steps(moves.n_steps, rows)]
        order = np.argsort(moves.step, kind="stable")
        ends = np.searchsorted(moves.step[order], np.arange(moves.n_steps + 1))
        first, number = ends[step], np.diff(ends)[step]
        row = np.repeat(np.arange(n_rows), number)
        before = np.repeat(np.cumsum(number) - number, number)
        return order[np.repeat(first, number) + np.arange(len(row)) - before], row

    def _factors(self, situation: NDArray[np.int64], column: NDArray[np.int64]) -> FloatArray:
        """What situations multiply values of the settings by, shape (n,)."""
        factor = np.ones(len(column))
        for columns, factors, row in self._scaled:
            place = np.full(self.n_values, -1, dtype=np.int64)
            place[columns] = np.arange(len(columns))
            scaled = np.flatnonzero(place[column] >= 0)
            factor[scaled] *= factors[row[situation[scaled]], place[column[scaled]]]
        return factor

    @property
    def base_x(self) -> FloatArray:
        """The vector of the grid as it is now, or the nearest to it, shape (n_var,)."""
        return np.concatenate([block.base_x for block in self.blocks])

    def decode(self, X: FloatArray, rows: slice | None = None) -> Settings:
        """Settings of snapped vectors in some situations.

        Args:
            X: Shape (n, n_var).
            rows: Situations that follow each other, None for all.

        Returns:
            A batch, values of shape (n, n_rows, n_values).
        """
        s = self.situations
        rows = rows or slice(0, s.n)
        values = np.empty((len(X), rows.stop - rows.start, self.n_values))
        values[:] = self._template
        values[..., self._places] = X[:, np.newaxis, self._entries]
        for placed in self._computed:
            x = X[:, placed.part]
            if values.shape[1] < s.n:
                some = placed.block.values_in(x, s, rows)
                if some is not None:
                    values[..., placed.columns] = some
                    continue
            own = placed.block.values(x, s)
            self._put(values[..., placed.columns], own, rows)
        self._situate(values, rows)
        return Settings(self.fields, values)

    def present(self, rows: slice | None = None) -> Settings:
        """Settings of the grid as it is now, one row per situation.

        Args:
            rows: Situations that follow each other, None for all.
        """
        s = self.situations
        rows = rows or slice(0, s.n)
        n_rows = rows.stop - rows.start
        values = np.empty((n_rows, self.n_values))
        for placed in self.placed:
            own = placed.block.present_in(s, rows) if n_rows < s.n else None
            if own is None:
                self._put(values[..., placed.columns], placed.block.present(s), rows)
            else:
                values[..., placed.columns] = own
        self._situate(values, rows)
        return Settings(self.fields, values)

    def situational(self, rows: slice | None = None) -> Settings:
        """Settings of the situations alone, one row each: what no control sets.

        Args:
            rows: Situations that follow each other, None for all.
        """
        rows = rows or slice(0, self.situations.n)
        first = sum(len(f.elements) for block in self.blocks for f in block.fields)
        n_fields = sum(len(block.fields) for block in self.blocks)
        values = np.empty((rows.stop - rows.start, self.n_values))
        self._situate(values, rows)
        return Settings(self.fields[n_fields:], values[:, first:])

    def _put(self, values: FloatArray, own: FloatArray, rows: slice) -> None:
        """Puts a block's values, one per step, where they hold in some situations."""
        values[:] = own if own.shape[-2] == 1 else own[..., self._steps(own.shape[-2], rows), :]

    def _situate(self, values: FloatArray, rows: slice) -> None:
        """Does to settings what the situations do, in place."""
        in_batch = values if values.ndim == 3 else values[np.newaxis]
        for columns, few, row in self._set:
            _set_columns(in_batch, columns, few, row[rows])
        for columns, factors, row in self._scaled:
            _scale_columns(in_batch, columns, factors, row[rows])

    def _steps(self, n_steps: int, rows: slice) -> slice | NDArray[np.int64]:
        """Which step of a block's values holds in each situation."""
        s = self.situations
        if n_steps == s.n:
            return rows
        return s.time[rows] * n_steps // s.n_time

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The vector with these settings at all times, shape (n_var,).

        Raises:
            ValueError: A controlled element is missing, or its value is none that a vector has.
        """
        return np.concatenate([block.encode(settings) for block in self.blocks])

    def encode_series(self, settings: Settings) -> FloatArray:
        """The vector with these settings, shape (n_var,).

        Those over time in the first of the other situations are read, which outages leave whole.

        Args:
            settings: Of one candidate, one row for all situations or one each. `DecodedSettings`
                bring along the vector of blocks whose settings do not tell it, such as units at
                one bus, or are scaled.

        Raises:
            ValueError: Another number of rows; a controlled element is missing, its value is none
                that a vector has, or situations scale it.
        """
        rows, n = settings.rows, self.situations.n
        if len(rows) not in (1, n):
            one = "" if n == 1 else f" or {n}, one per situation,"
            raise ValueError(f"settings: expected one row{one} of one candidate, got {len(rows)}")
        if settings.values.ndim > 1:
            settings_in_time = Settings(settings.fields, rows[: self.situations.n_time])
        else:
            settings_in_time = settings
        x = settings.x if isinstance(settings, DecodedSettings) else None
        parts = []
        for placed in self.placed:
            block = placed.block
            scaled = self._scaled_in_time(placed.columns)
            if x is not None and (scaled or not block.settings_tell):
                parts.append(x[placed.part])
            elif scaled:
                raise ValueError(f"settings: situations scale {scaled}, give it as {{...}}")
            elif block.variables:
                parts.append(block.encode_series(_of_fields(settings_in_time, block.fields)))
        return np.concatenate(parts)

    def _scaled_in_time(self, columns: slice) -> str:
        """The first column of a block that situations scale over time, empty for none."""
        fields = [f for f in self.fields for _ in f.elements]
        for scaled, factors, row in self._scaled:
            inside = (scaled >= columns.start) & (scaled < columns.stop)
            moved = (factors[row[: self.situations.n_time]] != 1.0).any(axis=0) & inside
            if moved.any():
                return str(fields[int(scaled[moved][0])])
        return ""


@compiled
def _set_columns(values, columns, few, row):  # type: ignore[no-untyped-def]
    """Puts the rows ``few[row]`` into columns of settings (n, n_rows, n_values)."""
    for i in range(values.shape[0]):
        for r in range(values.shape[1]):
            for k in range(len(columns)):
                values[i, r, columns[k]] = few[row[r], k]


@compiled
def _scale_columns(values, columns, factors, row):  # type: ignore[no-untyped-def]
    """Multiplies columns of settings (n, n_rows, n_values) by the rows ``factors[row]``."""
    for i in range(values.shape[0]):
        for r in range(values.shape[1]):
            for k in range(len(columns)):
                values[i, r, columns[k]] *= factors[row[r], k]


def _of_fields(settings: Settings, fields: Sequence[Field]) -> Settings:
    """The columns of some fields, as far as settings have them.

    Raises:
        ValueError: Other values than the settings' own fields say.
    """
    elements = [(f.table, f.column, e) for f in settings.fields for e in f.elements]
    if settings.values.shape[-1] != len(elements):
        names = ", ".join(map(str, settings.fields))
        raise ValueError(
            f"settings: expected {len(elements)} values of {names}, got {settings.values.shape[-1]}"
        )
    place = {element: i for i, element in enumerate(elements)}
    kept: list[Field] = []
    columns: list[int] = []
    for f in fields:
        found = tuple(e for e in f.elements if (f.table, f.column, e) in place)
        kept.append(Field(f.table, f.column, found))
        columns += [place[f.table, f.column, e] for e in found]
    return Settings(tuple(kept), settings.values[..., columns])


def _slices(lengths: Sequence[int]) -> list[slice]:
    ends = np.cumsum([0, *lengths]).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]


def _unique(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    """Variables whose names are unique: the second "dg 1 bus" is "dg 1 bus (2)"."""
    seen: dict[str, int] = {}
    named = []
    for variable in variables:
        count = seen[variable.name] = seen.get(variable.name, 0) + 1
        named.append(
            variable if count == 1 else replace(variable, name=f"{variable.name} ({count})")
        )
    return tuple(named)
