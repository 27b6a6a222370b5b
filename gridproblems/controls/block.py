"""`Block`: a control bound to a grid, one block of ``x`` and all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridproblems.constraints import Measure
from gridproblems.controls.variables import Variable
from gridproblems.situations import Situations
from gridproblems.state import Field, FloatArray, GridState, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """What figures draw.

    Attributes:
        title: Names the grid.
        situations: In which it was solved.
        before, after: Settings and state of one candidate; ``after`` is None for the present grid
            alone.
        voltage_band_pu: The tightest voltage limits of all buses, None without any. [p.u.]
        tables: Tables of all controls, see `Block.tables`.
        solved: Gives the grid with the settings shown, in a situation, solved by its own tool.
    """

    title: str
    situations: Situations
    before: tuple[Settings, GridState]
    after: tuple[Settings, GridState] | None
    voltage_band_pu: tuple[float, float] | None
    tables: Mapping[str, pd.DataFrame]
    solved: Callable[[int], Any]

    @property
    def states(self) -> dict[str, GridState]:
        """The states by name."""
        return {name: state for name, (_, state) in self.pairs.items()}

    @property
    def pairs(self) -> dict[str, tuple[Settings, GridState]]:
        """Settings and states by name."""
        found = {"before": self.before}
        if self.after is not None:
            found["after"] = self.after
        return found


@dataclass(frozen=True)
class Change:
    """A value of an element that a vector changes.

    Attributes:
        table, column, element: Which value.
        before, after: What the grid has now, and what the vector sets.
    """

    table: str
    column: str
    element: Any
    before: float
    after: float


@dataclass(frozen=True)
class Moves:
    """How the values of a block move with its vectors: the entries of a sparse matrix.

    Attributes:
        n_steps: Number of steps of the values, see `Block.values`.
        step: Step of every entry, shape (n_entries,).
        column: Value that moves, shape (n_entries,), or (n, n_entries) where it differs from
            vector to vector.
        variable: Variable it moves with, shape (n_entries,).
        slope: By how much, shape (n_entries,) or (n, n_entries).
    """

    n_steps: int
    step: NDArray[np.int64]
    column: NDArray[np.int64]
    variable: NDArray[np.int64]
    slope: FloatArray


_NONE = np.zeros(0, dtype=np.int64)
#: Of blocks whose values are piecewise constant.
NO_MOVES = Moves(1, _NONE, _NONE, _NONE, np.zeros(0))


@dataclass(frozen=True)
class BlockObjective:
    """An objective of the settings of one control alone.

    Attributes:
        name: Its name; that of a method in the registry of names.
        unit: Its unit.
        function: Of the block's own snapped vectors (n, n_var), shape (n,).
        slopes: By the vectors, shape (n, n_var); None: differences of the function tell.
    """

    name: str
    unit: str
    function: Callable[[FloatArray], FloatArray]
    slopes: Callable[[FloatArray], FloatArray] | None = None


@dataclass(frozen=True)
class BlockConstraint:
    """Entries of the constraint vector that depend on one control alone.

    Attributes:
        names, kinds: Of the entries; entries of a kind may be aggregated.
        function: Of the block's own snapped vectors (n, n_var), shape (n, n_entries), feasible
            where <= 0.
        slopes: Of the entries by the vectors, shape (n, n_entries, n_var); None: differences of
            the function tell.
        measures: What the entries mean in physical units; without any they count as they are.
        pieces: Of entries that are the largest of several functions, all these functions, without
            curvature of their own, and their slopes by the vectors, shapes (n, n_pieces) and
            (n, n_pieces, n_var); they are all <= 0 where the entries are. None: of no entry.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    function: Callable[[FloatArray], FloatArray]
    slopes: Callable[[FloatArray], FloatArray] | None = None
    measures: tuple[Measure, ...] = ()
    pieces: Callable[[FloatArray], tuple[FloatArray, FloatArray]] | None = None


@dataclass(frozen=True)
class BlockSearch:
    """An objective that needs power flows of its own, over all blocks that have it.

    Attributes:
        name, unit: Its name and unit.
        function: Of the blocks with their place, the snapped vectors (n, n_var) of the whole
            problem, their settings and the evaluation; shape (n,).
        check: Raises ValueError where the present grid allows no such search; of the blocks, the
            evaluation and the settings and state of the grid as it is now, as a batch of one.
        remarks: What a reader should know of one vector (n_var,), as sentences; of the blocks, the
            vector and the evaluation.
        is_negative: Whether the value is the negative of what the name says.
    """

    name: str
    unit: str
    function: Callable[[Sequence[PlacedBlock], FloatArray, Settings, Any], FloatArray]
    check: Callable[[Sequence[PlacedBlock], Any, Settings, GridState], None]
    remarks: Callable[[Sequence[PlacedBlock], FloatArray, Any], list[str]]
    is_negative: bool = False


class Block:
    """One block of ``x`` on a grid; what a kind of control must and may say.

    Vectors are the block's own part of ``x``, snapped, shape (n, n_var) or (n_var,).

    Attributes:
        kind: What a reader calls the control, for example ``"taps"``.
        variables: One per entry of the block.
        fields: The columns that the block sets.
        constraints: Entries that depend on the block alone.
        objective_methods: Names and units of methods of snapped vectors (n, n_var), shape (n,),
            that are objectives of the block alone; ``name_slopes``, where there is one, gives
            their slopes (n, n_var).
        searches: Objectives that need power flows of their own, by name.
        no_periods: Why there cannot be a vector for each of several periods; empty where there can.
        settings_tell: Whether `encode_series` finds the vector in its settings.
        has_steps: Whether real variables are rounded to steps, so that slopes lead to values that
            are not taken.
    """

    kind: str = ""
    settings_tell = True
    has_steps: bool = False
    variables: tuple[Variable, ...] = ()
    fields: tuple[Field, ...] = ()
    constraints: tuple[BlockConstraint, ...] = ()
    objective_methods: Mapping[str, str] = {}
    searches: Mapping[str, BlockSearch] = {}
    no_periods: str = ""

    @property
    def objectives(self) -> dict[str, BlockObjective]:
        """Objectives of the block alone, by name."""
        return {
            name: BlockObjective(
                name, unit, getattr(self, name), getattr(self, f"{name}_slopes", None)
            )
            for name, unit in self.objective_methods.items()
        }

    @property
    def gathered(self) -> tuple[NDArray[np.int64], FloatArray] | None:
        """How the values are entries of ``x``: for each its variable, or -1 for a constant, and
        the constants; both of shape (n_values,).

        A block that has this is snapped to its bounds, with whole numbers where a variable is not
        real, and is the same in every situation. None for blocks that compute.
        """
        return None

    @property
    def base_x(self) -> FloatArray:
        """The vector of the grid as it is now, or the nearest to it, shape (n_var,)."""
        raise NotImplementedError

    def snap(self, x: FloatArray) -> FloatArray:
        """The vectors that are evaluated in place of these, shape (..., n_var)."""
        raise NotImplementedError

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Values of the fields, shape (n, n_steps, n_values).

        ``n_steps`` is 1 for values that hold in every situation, the number of snapshots in time
        or of situations, or a number of periods of equal length.
        """
        raise NotImplementedError

    def values_in(self, x: FloatArray, situations: Situations, rows: slice) -> FloatArray | None:
        """`values` in some situations alone, shape (n, n_rows, n_values).

        Args:
            x, situations: As of `values`.
            rows: Situations that follow each other.

        Returns:
            None where they are best taken from all values.
        """
        return None

    def present_in(self, situations: Situations, rows: slice) -> FloatArray | None:
        """`present` in some situations alone, shape (n_rows, n_values); None as of `values_in`."""
        if type(self).present is not Block.present:
            return None
        some = self.values_in(self.base_x[np.newaxis], situations, rows)
        return None if some is None else some[0]

    # -- gradients ---------------------------------------------------------------------------

    #: Whether all that the block sets and says is piecewise constant: its slopes are 0.
    is_stepwise = False

    @property
    def counts_as_real(self) -> NDArray[np.bool_]:
        """Variables that gradients move by any amount, whole numbers too, shape (n_var,)."""
        return np.array([v.kind == "real" for v in self.variables], dtype=np.bool_)

    @property
    def counts_in_steps(self) -> NDArray[np.bool_]:
        """Variables whose slope is the difference of neighbouring whole values, shape (n_var,).

        Others that do not count as real, such as choices and statuses, have a slope of 0.
        """
        return np.array([v.kind == "integer" for v in self.variables], dtype=np.bool_)

    def relaxed(self, x: FloatArray) -> FloatArray:
        """The vectors that gradients are taken at in place of these, shape (..., n_var).

        As `snap`, but variables that count as real stay between whole numbers, and nothing is
        repaired: what a repair would keep within limits is a constraint.
        """
        return self.snap(x)

    def moves(self, x: FloatArray, situations: Situations) -> Moves | None:
        """How `values` move with vectors (n, n_var) that are `relaxed`.

        None where the block does not know; then differences of power flows tell. Piecewise
        constant variables, such as buses and statuses, have no entries.
        """
        return NO_MOVES if self.is_stepwise else None

    def present(self, situations: Situations) -> FloatArray:
        """Values of the grid as it is now, shape (n_steps, n_values) as of `values`."""
        return self.values(self.base_x[np.newaxis], situations)[0]

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The vector with these settings, shape (n_var,).

        Raises:
            ValueError: There is none; the message names the element.
        """
        raise NotImplementedError

    def encode_series(self, settings: Settings) -> FloatArray:
        """The vector with these settings over time, shape (n_var,).

        Args:
            settings: Values of the block's columns, of the snapshots in time or of one for all.

        Raises:
            ValueError: There is none; the message names the element.
        """
        (mapping,) = mappings_of_periods(settings, 1)
        return self.encode(mapping)

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """What ``x`` (n_var,) sets beside what is set now, one row per element or action."""
        raise NotImplementedError

    def over_periods(self, n_periods: int, situations: Situations) -> Block:
        """The block with a vector for each of several periods of equal length.

        Raises:
            ValueError: More periods than snapshots, or a control that cannot have any.
        """
        return PeriodBlock(self, n_periods, situations)

    # -- what a kind may have besides ------------------------------------------------------

    has_neighbours = False

    def neighbours(
        self, x: FloatArray, n_wanted: int | None, placed: PlacedBlock, evaluation: Any
    ) -> FloatArray:
        """Neighbours of the block's part of a vector, the most promising first.

        Args:
            x: The whole vector of the problem, snapped, shape (n_var,).
            n_wanted: Most neighbours wanted, None for all.
            placed: Where the block stands in it.
            evaluation: The problem's `Evaluation`, for blocks that judge estimated states.

        Returns:
            Snapped parts, shape (n, n_var of the block).
        """
        return np.empty((0, len(self.variables)))

    def finish(self, applied: Any, x: FloatArray, snapshot: int) -> None:
        """Adds what settings do not say to a grid that has those of ``x``, before it is solved."""

    def tables(self, x: FloatArray) -> dict[str, pd.DataFrame]:
        """Tables of what ``x`` (n_var,) sets, by the name of the CSV file that holds them.

        Those of a name that several blocks have become one, see `together`.
        """
        return {}

    def figures(self, x: FloatArray | None, shown: Shown) -> dict[str, Figure]:
        """Figures of the block's own, by name; of the present grid where ``x`` is None."""
        return {}

    def changes(self, x: FloatArray) -> list[Change]:
        """Single values that ``x`` (n_var,) changes, for the map of the grid."""
        return []


@dataclass(frozen=True)
class PlacedBlock:
    """A block, and where it stands in ``x`` and in the values of the settings."""

    block: Block
    part: slice
    columns: slice


class ControlKind(Protocol):
    """A control as a user writes it: it knows no grid and can be pickled.

    One for one kind of grid alone says so by a class attribute ``of_grid``, ``"net"`` or
    ``"feeder"``.
    """

    def prepare(self, grid: Any) -> Any:
        """Adds to the grid what the control needs, before any control is bound; gives what
        `bind` is to know of it."""
        ...

    def bind(self, grid: Any, situations: Situations, prepared: Any) -> Block:
        """The control on a grid.

        Raises:
            ValueError: The grid has nothing to control, or no such element.
        """
        ...


class PeriodBlock(Block):
    """A block with a vector of its own for each of several periods of equal length.

    Constraints of the block hold in every period; its objectives are the means over the periods.

    Args:
        block: A block whose values hold in every situation.
        n_periods: Number of periods, one after the other.
        situations: What they divide.

    Raises:
        ValueError: More periods than snapshots, or a block whose values change over time already.
    """

    def __init__(self, block: Block, n_periods: int, situations: Situations) -> None:
        if block.no_periods or len(block.present(situations)) > 1 or block.searches:
            why = block.no_periods or "its values change over time already"
            raise ValueError(f"periods of {block.kind}: {why}")
        if not 1 <= n_periods <= situations.n_time:
            raise ValueError(
                f"periods of {block.kind}: expected 1 to {situations.n_time}, the snapshots of the "
                f"series, got {n_periods}"
            )
        self.block, self.n_periods, self._n_time = block, n_periods, situations.n_time
        self.settings_tell = block.settings_tell
        self.kind, self.fields = block.kind, block.fields
        self.variables = tuple(
            Variable(f"{v.name} in period {p}", v.kind, v.lower, v.upper, v.options)
            for p in range(n_periods)
            for v in block.variables
        )

        self.constraints = tuple(
            BlockConstraint(c.names, c.kinds, partial(self._worst, c.function))
            for c in block.constraints
        )

    @property
    def objectives(self) -> dict[str, BlockObjective]:
        """Those of the block, means over the periods."""
        return {
            name: BlockObjective(name, own.unit, partial(self._mean, own.function))
            for name, own in self.block.objectives.items()
        }

    def _of_periods(
        self, function: Callable[[FloatArray], FloatArray], x: FloatArray
    ) -> FloatArray:
        """A function of the vectors of each period, shape (n, n_periods, ...)."""
        each = self._each(x)
        values = function(each.reshape(-1, each.shape[-1]))
        return values.reshape(*each.shape[:-1], *values.shape[1:])

    def _worst(self, function: Callable[[FloatArray], FloatArray], x: FloatArray) -> FloatArray:
        worst: FloatArray = self._of_periods(function, x).max(axis=1)
        return worst

    def _mean(self, function: Callable[[FloatArray], FloatArray], x: FloatArray) -> FloatArray:
        mean: FloatArray = self._of_periods(function, x).mean(axis=1)
        return mean

    def _each(self, x: FloatArray) -> FloatArray:
        return x.reshape(*x.shape[:-1], self.n_periods, len(self.block.variables))

    @property
    def base_x(self) -> FloatArray:
        """The present vector in every period."""
        return np.tile(self.block.base_x, self.n_periods)

    def snap(self, x: FloatArray) -> FloatArray:
        """Each period's vector snapped."""
        return self.block.snap(self._each(x)).reshape(x.shape)

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Values of every period, shape (n, n_periods, n_values)."""
        each = self._each(x)
        rows = self.block.values(each.reshape(-1, each.shape[-1]), situations)
        return rows.reshape(len(x), self.n_periods, -1)

    @property
    def counts_as_real(self) -> NDArray[np.bool_]:
        """Those of the block in every period."""
        return np.tile(self.block.counts_as_real, self.n_periods)

    @property
    def counts_in_steps(self) -> NDArray[np.bool_]:
        """Those of the block in every period."""
        return np.tile(self.block.counts_in_steps, self.n_periods)

    def relaxed(self, x: FloatArray) -> FloatArray:
        """Each period's vector relaxed."""
        return self.block.relaxed(self._each(x)).reshape(x.shape)

    def moves(self, x: FloatArray, situations: Situations) -> Moves | None:
        """Those of the block with each period's vector."""
        each = self._each(x)
        n, n_periods, n_own = each.shape
        own = self.block.moves(each.reshape(-1, n_own), situations)
        if own is None:
            return None
        period = np.repeat(np.arange(n_periods), len(own.variable))
        variable = np.tile(own.variable, n_periods) + n_own * period

        def in_periods(part: NDArray[Any]) -> NDArray[Any]:
            return part.reshape(n, -1) if part.ndim == 2 else np.tile(part, n_periods)

        return Moves(n_periods, period, in_periods(own.column), variable, in_periods(own.slope))

    def present(self, situations: Situations) -> FloatArray:
        """What is set now, at all times."""
        return self.block.present(situations)

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The same vector in every period."""
        return np.tile(self.block.encode(settings), self.n_periods)

    def encode_series(self, settings: Settings) -> FloatArray:
        """The vector of every period."""
        each = mappings_of_periods(settings, self.n_periods)
        return np.concatenate([self.block.encode(mapping) for mapping in each])

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """The rows of every period, with a column ``period``."""
        tables = [self.block.describe(part) for part in self._each(x)]
        return pd.concat([t.assign(period=p) for p, t in enumerate(tables)], ignore_index=True)

    def finish(self, applied: Any, x: FloatArray, snapshot: int) -> None:
        """What the block adds in the period of the snapshot."""
        period = snapshot % self._n_time * self.n_periods // self._n_time
        self.block.finish(applied, self._each(x)[period], snapshot)


def mappings_of_periods(settings: Settings, n_periods: int) -> list[SettingsMapping]:
    """Settings of one candidate in each of several periods of equal length.

    Args:
        settings: One row per snapshot, or one for all.
        n_periods: Number of periods.

    Raises:
        ValueError: A value changes within a period; the message names the element.
    """
    rows = settings.rows
    each = np.arange(len(rows)) * n_periods // len(rows)
    found: list[SettingsMapping] = []
    for period in range(n_periods):
        own = rows if len(rows) == 1 else rows[each == period]
        changes = np.flatnonzero((own != own[0]).any(axis=0))
        if len(changes):
            names = [f"{f}[{element}]" for f in settings.fields for element in f.elements]
            within = "over time" if n_periods == 1 else f"within period {period}"
            raise ValueError(f"{names[changes[0]]}: expected one value, but it changes {within}")
        found.append(Settings(settings.fields, own[0]).as_mapping())
    return found


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of several blocks as one.

    Those with a named index, such as snapshots, stand side by side, the second column ``"a"`` as
    ``"a (2)"``; others one below the other.
    """
    if len(tables) == 1:
        return tables[0]
    if tables[0].index.name is None:
        return pd.concat(tables, ignore_index=True)
    joined = pd.concat(tables, axis=1)
    columns: list[str] = []
    for table in tables:
        taken = set(columns)
        n = 1
        while any(_numbered(str(column), n) in taken for column in table):
            n += 1
        columns += [_numbered(str(column), n) for column in table]
    return joined.set_axis(columns, axis=1)


def _numbered(column: str, n: int) -> str:
    """``"storage 1 soc"`` as ``"storage 1 (2) soc"``: the last word says what the column holds."""
    if n == 1:
        return column
    name, _, quantity = column.rpartition(" ")
    return f"{name} ({n}) {quantity}" if name else f"{column} ({n})"


def add_table(applied: Any, name: str, table: pd.DataFrame) -> None:
    """Puts a table of a block into a net, together with those that other blocks have put there."""
    applied[name] = together([applied[name], table]) if name in applied else table


def concatenated(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of several controls as one; columns that a control lacks are empty there."""
    filled = [table for table in tables if len(table)]
    if not filled:
        return tables[0] if tables else pd.DataFrame()
    if len(filled) == 1:
        return filled[0]
    return pd.concat(filled, ignore_index=True).astype(object)
