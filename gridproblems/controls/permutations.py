"""Permutations of profiles over the elements of a net: `PermutationCodec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems.cases import Case
from gridproblems.controls.variables import Variable
from gridproblems.nets.profiles import profile_table
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping

TABLES = {"generation": "sgen", "load": "load"}
PROFILE = "profile"  # the column of a net's table that names the profile of an element


def profile_tables(
    net: pandapowerNet, case: Case | None, given: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """The checked profiles by kind; those of the case where none are given."""
    packaged = case.profiles if case else {}
    tables = {}
    for kind, source in given.items():
        if source is None:
            source = packaged.get(kind)
        if source is not None:
            tables[kind] = profile_table(source, kind, len(elements_of(net, kind).elements))
    if not tables:
        raise ValueError(
            "generation, load: expected profiles for at least one of them, as DataFrame, array or "
            "path of a CSV file; only the case 'lv18' has its own"
        )
    lengths = {kind: len(table) for kind, table in tables.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"generation has {lengths['generation']} rows and load {lengths['load']}; "
            "expected one row per snapshot in both"
        )
    return tables


def elements_of(net: pandapowerNet, kind: str) -> Field:
    """Active powers of the elements in service that profiles of a kind go to."""
    table = TABLES[kind]
    in_service = net[table].in_service.astype(bool)
    return Field(table, "p_mw", tuple(net[table].index[in_service]))


class Permutation:
    """Profiles and the elements that they are given to.

    Args:
        name: Kind of the profiles.
        field: The elements, as many as profiles.
        profiles: One row per snapshot, one column per profile. [MW]
    """

    def __init__(self, name: str, field: Field, profiles: pd.DataFrame) -> None:
        self.name, self.field, self.profiles = name, field, profiles
        self.by_profile = np.ascontiguousarray(profiles.to_numpy(dtype=float).T)


class PermutationCodec:
    """Vectors as permutations, one after the other: profile ``k`` goes to element ``order[k]``.

    Real numbers stand for the permutation of their ranks (random keys), so that any vector is
    allowed, and a permutation stands for itself.

    Args:
        blocks: One per permutation.
    """

    def __init__(self, blocks: Sequence[Permutation]) -> None:
        self.blocks = tuple(blocks)
        self.fields = tuple(block.field for block in blocks)
        self.n_snapshots = len(blocks[0].profiles)
        lengths = [len(block.profiles.columns) for block in blocks]
        self._slices = [
            slice(stop - n, stop) for n, stop in zip(lengths, np.cumsum(lengths), strict=True)
        ]
        self.variables = tuple(
            Variable(f"{block.name}[{k}]", "real", 0.0, n - 1.0)
            for block, n in zip(blocks, lengths, strict=True)
            for k in range(n)
        )

    def parts(self, x: FloatArray) -> list[NDArray[np.int64]]:
        """The permutations of snapped vectors, each of shape (..., n_elements)."""
        return [x[..., part].astype(np.int64) for part in self._slices]

    def element_places(self, x: FloatArray) -> NDArray[np.int64]:
        """Which value of the settings the profile of each variable becomes, shape (n_var,)."""
        return np.concatenate(
            [part.start + order for part, order in zip(self._slices, self.parts(x), strict=True)]
        )

    def swaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs of variables of the same permutation, as two arrays (n_pairs,)."""
        pairs = [
            part.start + np.array(np.triu_indices(part.stop - part.start, 1))
            for part in self._slices
        ]
        first, second = np.concatenate(pairs, axis=1)
        return first, second

    def snap(self, x: ArrayLike) -> FloatArray:
        """Ranks within each permutation, equal numbers in their order, shape (..., n_var)."""
        keys = np.asarray(x, dtype=float)
        ranks = np.empty_like(keys)
        for part in self._slices:
            order = keys[..., part].argsort(axis=-1, kind="stable")
            ranks[..., part] = order.argsort(axis=-1)
        return ranks

    def decode(self, x: FloatArray) -> Settings:
        """Powers of permutations, (n_snapshots, n_values), of a batch with (n,) before."""
        values = [
            block.by_profile[order.argsort(axis=-1)]
            for block, order in zip(self.blocks, self.parts(x), strict=True)
        ]
        return Settings(self.fields, np.concatenate(values, axis=-2).swapaxes(-1, -2))

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """A vector with these powers, for a series of one snapshot, or with these profiles.

        Args:
            settings: ``{("load", "p_mw"): {element: MW}}``, or the column of the profile of each
                element, counted from 0, ``{("load", "profile"): {element: column}}``.

        Returns:
            Shape (n_var,).

        Raises:
            ValueError: An element is missing, or its power is no profile's.
        """
        if all((block.field.table, PROFILE) in settings for block in self.blocks):
            columns = {
                block.name: [
                    block.profiles.columns[int(settings[block.field.table, PROFILE][e])]
                    for e in block.field.elements
                ]
                for block in self.blocks
            }
            return self.encode_labels(columns)
        values = []
        for block in self.blocks:
            column = settings.get((block.field.table, block.field.column), {})
            missing = [e for e in block.field.elements if e not in column]
            if missing:
                raise ValueError(f"{block.field}: no value given for element {missing[0]}")
            values += [column[e] for e in block.field.elements]
        return self.encode_series(Settings(self.fields, np.array([values], dtype=float)))

    def encode_series(self, settings: Settings) -> FloatArray:
        """A vector with the powers of one candidate, shape (n_var,).

        Raises:
            ValueError: Other fields or snapshots, or the powers of an element are no profile.
        """
        expected = (self.n_snapshots, len(self.variables))
        rows = settings.rows  # a single snapshot may come without its axis
        if settings.fields != self.fields or settings.values.ndim > 2 or rows.shape != expected:
            raise ValueError(
                f"settings: expected the powers of {', '.join(map(str, self.fields))} in an array "
                f"of {expected}, got {settings.values.shape}"
            )
        x = np.empty(len(self.variables))
        for block, part in zip(self.blocks, self._slices, strict=True):
            left = list(range(len(block.by_profile)))
            for place, powers in enumerate(rows[:, part].T):
                same = [k for k in left if np.allclose(block.by_profile[k], powers, 1e-12, 1e-15)]
                if not same:
                    element = block.field.elements[place]
                    raise ValueError(
                        f"{block.field}: not a permutation of the profiles: the powers of "
                        f"{block.field.table} {element} are none that is left"
                    )
                x[part.start + same[0]] = place
                left.remove(same[0])
        return x

    def encode_labels(self, labels: Mapping[str, Sequence[Any]]) -> FloatArray:
        """A vector of the profile names of each block's elements, shape (n_var,).

        Raises:
            ValueError: The names are not those of the profiles, each once.
        """
        x = np.empty(len(self.variables))
        for block, part in zip(self.blocks, self._slices, strict=True):
            names = list(labels[block.name])
            columns = list(block.profiles.columns)
            if sorted(map(str, names)) != sorted(map(str, columns)):
                raise ValueError(
                    f"{block.name}: not a permutation of the profiles {columns}: {names}"
                )
            place = {str(name): i for i, name in enumerate(names)}
            x[part] = [place[str(name)] for name in columns]
        return x
