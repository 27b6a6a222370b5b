"""`Profiles`: which generation and which load profile goes to which connection point."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridproblems.controls.block import Block, PlacedBlock, Shown
from gridproblems.controls.permutations import (
    PROFILE,
    Permutation,
    PermutationCodec,
    elements_of,
    profile_tables,
)
from gridproblems.controls.sensitivity_estimate import SensitivityEstimate
from gridproblems.nets.network import label_of
from gridproblems.nets.profiles import warn_of_kw
from gridproblems.situations import Hours, Situations
from gridproblems.state import FloatArray, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SWAPS, MOST_SNAPSHOTS = 150, 48  # that an estimate looks at


@dataclass(frozen=True)
class Profiles:
    """Gives every static generator and every load of a net one of as many profiles.

    A vector is one permutation for the generators, one for the loads: profile (column) ``k`` goes
    to element ``order[k]``, elements in the order of the net's tables. Only active powers move.

    Attributes:
        generation, load: Profiles, one row per snapshot and one column per element in service of
            ``net.sgen`` and ``net.load``: DataFrame, array or path of a CSV file. None: those of
            the packaged case; for a net of your own its generators or loads then stay as they are.
    """

    of_grid: ClassVar[str] = "net"

    generation: Any = None
    load: Any = None

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def hours(self, grid: Any, hours: float) -> Hours:
        """As many snapshots as the profiles have rows."""
        n = len(next(iter(self._tables(grid).values())))
        return Hours(hours=hours, n=n)

    def _tables(self, grid: Any) -> dict[str, pd.DataFrame]:
        return profile_tables(
            grid.given, grid.case, {"generation": self.generation, "load": self.load}
        )

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The elements in service of a net.

        Raises:
            ValueError: No profiles, a table of the wrong shape or with values that cannot be, as
                many rows as the situations have not.
        """
        tables = self._tables(grid)
        n = len(next(iter(tables.values())))
        if n != situations.n_time:
            raise ValueError(
                f"profiles: have {n} rows, but the situations {situations.n_time} snapshots"
            )
        warn_of_kw(grid.net, tables)
        of_kinds = [Permutation(k, elements_of(grid.net, k), table) for k, table in tables.items()]
        return ProfileBlock(PermutationCodec(of_kinds), grid.net, situations.hours)


class ProfileBlock(Block):
    """Permutations of profiles over elements.

    Args:
        codec: Vectors as permutations.
        net: The net.
        hours: Duration of a snapshot. [h]
    """

    kind = "profiles"
    is_stepwise = True
    has_neighbours = True

    def __init__(self, codec: PermutationCodec, net: Any, hours: float) -> None:
        self.codec, self._net, self._hours = codec, net, hours
        self.variables, self.fields = codec.variables, codec.fields
        self._estimates: dict[int, SensitivityEstimate] = {}

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of the permutations, one after the other."""
        return tuple(len(block.profiles.columns) for block in self.codec.blocks)

    @property
    def base_x(self) -> FloatArray:
        """The identity: profile k at the k-th element."""
        return np.concatenate([np.arange(n, dtype=float) for n in self.lengths])

    def snap(self, x: FloatArray) -> FloatArray:
        """Ranks within each permutation."""
        return self.codec.snap(x)

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Powers of the elements, shape (n, n_time, n_values)."""
        return self.codec.decode(x).values

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """The vector of the profile of each element, or of its power in a series of one."""
        return self.codec.encode(settings)

    def encode_labels(self, labels: Mapping[str, Sequence[Any]]) -> FloatArray:
        """The vector of the profile names of each permutation's elements."""
        return self.codec.encode_labels(labels)

    def encode_series(self, settings: Settings) -> FloatArray:
        """The vector with the powers of one candidate."""
        return self.codec.encode_series(settings)

    def at_elements(self, x: FloatArray) -> list[tuple[Permutation, NDArray[np.int64]]]:
        """Per permutation which profile every element has, by its column."""
        return [
            (block, np.argsort(order))
            for block, order in zip(self.codec.blocks, self.codec.parts(x), strict=True)
        ]

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """The profile of every element, one row each.

        Columns: control, bus, base, new, the profiles before and after by their column names, and
        energy_kwh, that of the new profile.
        """
        rows = []
        for block, at_element in self.at_elements(x):
            table, labels = block.field.table, block.profiles.columns
            energy = 1e3 * self._hours * block.profiles.sum(axis=0).to_numpy()
            for place, element in enumerate(block.field.elements):
                rows.append(
                    {
                        "control": f"{block.name} of {label_of(self._net, table, element)}",
                        "bus": int(self._net[table].at[element, "bus"]),
                        "base": str(labels[place]),
                        "new": str(labels[at_element[place]]),
                        "energy_kwh": float(energy[at_element[place]]),
                    }
                )
        return pd.DataFrame(rows, dtype=object)

    def finish(self, applied: Any, x: FloatArray, snapshot: int) -> None:
        """Names the profile of every element in a column ``profile``."""
        for block, at_element in self.at_elements(x):
            table = applied[block.field.table]
            labels = pd.Series(None, index=table.index, dtype=object)
            labels.loc[list(block.field.elements)] = block.profiles.columns[at_element].to_numpy()
            table[PROFILE] = labels

    def tables(self, x: FloatArray) -> dict[str, pd.DataFrame]:
        """Powers per element."""
        found = {}
        for block, at_element in self.at_elements(x):
            powers = block.profiles.iloc[:, at_element]
            powers.columns = [f"{block.field.table} {element}" for element in block.field.elements]
            found[f"{block.name}_p_mw"] = powers.rename_axis("snapshot")
        return found

    # -- moves -----------------------------------------------------------------------------

    def neighbours(
        self, x: FloatArray, n_wanted: int | None, placed: PlacedBlock, evaluation: Any
    ) -> FloatArray:
        """Swaps of two profiles of a vector, those that promise the best objective first.

        The order follows a linear estimate of the grid, see `SensitivityEstimate`, without a power
        flow: least violation first, then the first objective. Of many swaps and snapshots it looks
        at some, drawn at random but the same for the same vector.
        """
        own = x[placed.part]
        random = np.random.default_rng(zlib.crc32(own.tobytes()))
        first, second = self.codec.swaps()
        if len(first) > MOST_SWAPS:
            some = random.choice(len(first), MOST_SWAPS, replace=False)
            first, second = first[some], second[some]
        swapped = np.tile(own, (len(first), 1))
        rows = np.arange(len(first))
        swapped[rows, first], swapped[rows, second] = own[second], own[first]
        estimate = self._estimate(evaluation, placed)
        s = evaluation.situations
        if not estimate.solved or s.n != s.n_time or not evaluation.can_estimate:
            return random.permutation(swapped)[:n_wanted]
        which = np.arange(s.n_time)
        if s.n_time > MOST_SNAPSHOTS:
            which = np.sort(random.choice(s.n_time, MOST_SNAPSHOTS, replace=False))
        X = np.tile(x, (len(first), 1))
        X[:, placed.part] = swapped
        before, after = (evaluation.joint.decode(vectors) for vectors in (x[np.newaxis], X))
        after = Settings(after.fields, after.values[:, which])
        places = placed.columns.start + self.codec.element_places(own)
        state = estimate.exchanges(before.values[0, which], places[first], places[second])
        f, violation = evaluation.estimate(X, after, state, s.some_snapshots(which))
        return swapped[np.lexsort((f, violation))[:n_wanted]]

    def _estimate(self, evaluation: Any, placed: PlacedBlock) -> SensitivityEstimate:
        """Around the mean load without generation, so that every line on the way is loaded."""
        key = id(evaluation)
        if key not in self._estimates:
            means = [
                np.full(len(block.field.elements), block.by_profile.mean())
                * (len(self.codec.blocks) == 1 or block.name == "load")
                for block in self.codec.blocks
            ]
            origin = evaluation.joint.present().values[0].copy()
            origin[placed.columns] = np.concatenate(means)
            step = max(float(np.abs(origin[placed.columns]).max()), 1e-6)
            working_point = Settings(evaluation.joint.fields, origin)
            self._estimates[key] = SensitivityEstimate(
                evaluation.engine, self._net, working_point, step
            )
        return self._estimates[key]

    def figures(self, x: FloatArray | None, shown: Shown) -> dict[str, Figure]:
        """The map, before and after."""
        from gridproblems.plotting import plot_map

        loading = {name: s.line_loading_percent.max(axis=0) for name, s in shown.states.items()}
        energy = {name: self.bus_energy_kwh(s) for name, (s, _) in shown.pairs.items()}
        return {"map": plot_map(self._net, loading, energy, title=shown.title)}

    def bus_energy_kwh(self, settings: Settings) -> pd.Series:
        """Energy generated less energy used at every bus. [kWh]"""
        energy = pd.Series(0.0, index=self._net.bus.index)
        for field, values in settings:
            if field not in self.fields:
                continue
            sign = 1.0 if field.table == "sgen" else -1.0
            buses = self._net[field.table].bus.loc[list(field.elements)]
            np.add.at(
                energy.values,
                self._net.bus.index.get_indexer(buses),
                sign * 1e3 * self._hours * values.sum(axis=0),
            )
        return energy
