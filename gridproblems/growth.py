"""`Growth`: which loads grow on the way to the loading margin, and who generates what they draw."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown
from gridproblems._names import with_nearest
from gridproblems.state import ComplexArray, FloatArray, Settings

_PICK_UP = ("slack", "gens")
_WEIGHTS = ("p_weight", "q_weight")


@dataclass(frozen=True, eq=False)
class Growth:
    """A direction in which the loads of a net grow.

    A load of weight w draws ``(1 + w lambda)`` times what it draws now; the margin is lambda.

    Attributes:
        loads: Which loads grow, by index or name: a list; a mapping or a Series of weights,
            ``{"hospital": 0.0, 3: 1.5}``; a DataFrame indexed by loads with a column ``weight``, or
            with ``p_weight`` and ``q_weight`` of active and reactive power; None for all alike.
        zone: Loads at buses of this zone (``net.bus.zone``) alone.
        pick_up: Who generates what they draw more: ``"slack"``; ``"gens"``, the generators in
            service in proportion to what they generate, as far as they are no slacks; or a mapping
            of generators, by index or name, to their shares. Losses are the slack's.

    Raises:
        ValueError: Neither of these.
    """

    loads: Any = None
    zone: Any = None
    pick_up: Any = "slack"

    def __post_init__(self) -> None:
        is_word = isinstance(self.pick_up, str) and self.pick_up in _PICK_UP
        if not is_word and not (isinstance(self.pick_up, Mapping) and self.pick_up):
            raise ValueError(
                "growth: pick_up: expected 'slack', 'gens' or shares of generators {gen: share}, "
                f"got {shown(self.pick_up)}"
            )

    def bind(self, net: pandapowerNet) -> BoundGrowth:
        """The direction on a net.

        Raises:
            ValueError: A load, zone or generator that the net has not, weights that are no finite
                numbers of 0 or more, or none above 0.
        """
        elements, weights = self._weights(net)
        if self.zone is not None:
            elements, weights = _in_zone(net, self.zone, elements, weights)
        if not (weights > 0).any():
            raise ValueError("growth: loads: expected at least one weight above 0")
        gens, shares = self._shares(net)
        return BoundGrowth(
            _Powers.of(net, "load", elements, ("p_mw", "q_mvar")),
            weights,
            _Powers.of(net, "gen", gens, ("p_mw",)),
            shares,
            float(net.sn_mva),
            len(net.bus),
        )

    def _weights(self, net: pandapowerNet) -> tuple[tuple[int, ...], FloatArray]:
        """Loads by index, and their weights of active and reactive power, shape (n, 2)."""
        given = self.loads
        if given is None:
            return tuple(net.load.index), np.ones((len(net.load), 2))
        if isinstance(given, pd.DataFrame):
            columns = [c for c in ("weight", *_WEIGHTS) if c in given]
            if columns not in (["weight"], list(_WEIGHTS)):
                raise ValueError(
                    "growth: loads: expected a table with a column weight, or p_weight and "
                    f"q_weight, got {', '.join(map(str, given.columns)) or 'none'}"
                )
            values = given[columns * (3 - len(columns))].to_numpy()
            names = list(given.index)
        elif isinstance(given, (Mapping, pd.Series)):
            names = list(given.keys())
            values = np.array([[w, w] for _, w in given.items()], dtype=object)
        elif isinstance(given, Sequence) and not isinstance(given, str):
            names, values = list(given), np.ones((len(given), 2), dtype=object)
        else:
            raise ValueError(
                "growth: loads: expected a list of loads, weights {load: weight} or a table of "
                f"them, got {shown(given)}"
            )
        elements = _elements(net, "load", names, "growth: loads")
        weights = np.array(
            [[_number(f"growth: loads: {name!r}", w) for w in row]
             for name, row in zip(names, values, strict=True)]
        ).reshape(-1, 2)  # fmt: skip
        return elements, weights

    def _shares(self, net: pandapowerNet) -> tuple[tuple[int, ...], FloatArray | None]:
        """Generators by index, and their shares; None for what they generate."""
        if self.pick_up == "slack":
            return (), None
        if self.pick_up == "gens":
            own = net.gen[~net.gen["slack"].astype(bool)] if "slack" in net.gen else net.gen
            gens = tuple(own.index)
            if not (net.gen.loc[list(gens), "p_mw"] > 0).any():
                raise ValueError("growth: pick_up: expected generators that generate, got none")
            return gens, None
        names = list(self.pick_up)
        gens = _elements(net, "gen", names, "growth: pick_up")
        shares = np.array([_number(f"growth: pick_up: {n!r}", self.pick_up[n]) for n in names])
        if not shares.any():
            raise ValueError("growth: pick_up: expected at least one share above 0")
        return gens, shares


@dataclass(frozen=True, eq=False)
class _Powers:
    """Powers of elements of a net, in which settings have the last word.

    Attributes:
        table, elements: Which elements.
        bus_row: Row of the bus of each.
        present: By column what the net has, shape (n,) each; also ``scaling`` and ``in_service``.
    """

    table: str
    elements: tuple[int, ...]
    bus_row: NDArray[np.int64]
    present: Mapping[str, FloatArray]

    @classmethod
    def of(
        cls, net: pandapowerNet, table: str, elements: Collection[int], columns: tuple[str, ...]
    ) -> _Powers:
        own = net[table].loc[list(elements)]
        present = {
            c: own[c].to_numpy(dtype=float) if c in own else np.ones(len(own))
            for c in (*columns, "scaling", "in_service")
        }
        rows = net.bus.index.get_indexer(own["bus"].to_numpy()).astype(np.int64)
        return cls(table, tuple(elements), rows, present)

    def in_row(self, settings: Settings, values: FloatArray) -> dict[str, FloatArray]:
        """By column what holds in one power flow, shape (n,) each.

        Args:
            settings: Say which value stands where.
            values: Of the power flow, shape (n_values,).
        """
        found = dict(self.present)
        place = {element: i for i, element in enumerate(self.elements)}
        start = 0
        for f in settings.fields:
            if f.table == self.table and f.column in found:
                column = found[f.column] = found[f.column].copy()
                for at, element in enumerate(f.elements):
                    if element in place:
                        column[place[element]] = values[start + at]
            start += len(f.elements)
        return found


@dataclass(frozen=True, eq=False)
class BoundGrowth:
    """A direction on a net.

    Attributes:
        loads: Those that grow.
        weights: Of their active and reactive power, shape (n_loads, 2).
        gens: Those that pick up.
        shares: Of each; None for what they generate, shape (n_gens,).
        base_mva: Of the net.
        n_buses: Rows of its table of buses.
    """

    loads: _Powers
    weights: FloatArray
    gens: _Powers
    shares: FloatArray | None
    base_mva: float
    n_buses: int

    def in_row(self, settings: Settings, row: int) -> tuple[ComplexArray, FloatArray]:
        """What one more lambda draws, and what machines give for it, per row of the buses.

        Args:
            settings: Of all power flows.
            row: Which of them.

        Returns:
            Shape (n_buses,) each. [p.u.]
        """
        values = settings.rows[row]
        load = self.loads.in_row(settings, values)
        factor = load["scaling"] * load["in_service"] / self.base_mva
        p, q = (self.weights.T * factor) * (load["p_mw"], load["q_mvar"])
        drawn = np.zeros(self.n_buses, dtype=np.complex128)
        np.add.at(drawn, self.loads.bus_row, p + 1j * q)
        given = np.zeros(self.n_buses)
        if self.gens.elements:
            gen = self.gens.in_row(settings, values)
            share = np.maximum(gen["p_mw"] * gen["scaling"], 0.0)
            share = (share if self.shares is None else self.shares) * (gen["in_service"] != 0)
            if share.sum() > 0:  # else the slack has it all
                np.add.at(given, self.gens.bus_row, p.sum() * share / share.sum())
        return drawn, given


def _in_zone(
    net: pandapowerNet, zone: Any, elements: tuple[int, ...], weights: FloatArray
) -> tuple[tuple[int, ...], FloatArray]:
    """The loads of a zone."""
    of_bus = net.bus["zone"] if "zone" in net.bus else pd.Series(np.nan, index=net.bus.index)
    own = [i for i, e in enumerate(elements) if of_bus[net.load.at[e, "bus"]] == zone]
    if not own:
        known = [str(z) for z in pd.unique(of_bus.dropna())]
        raise ValueError(
            f"growth: zone: no such load is at a bus of {with_nearest(str(zone), known)}"
        )
    return tuple(elements[i] for i in own), weights[own]


def _elements(net: pandapowerNet, table: str, given: Sequence[Any], where: str) -> tuple[int, ...]:
    """Elements by index or name.

    Raises:
        ValueError: One that the net has not, a name of several, or one that is there twice.
    """
    names = net[table]["name"] if "name" in net[table] else pd.Series(dtype=object)
    found: list[int] = []
    for one in given:
        if isinstance(one, Integral) and one in net[table].index:
            found.append(int(one))
            continue
        same = list(names.index[names == one]) if isinstance(one, str) else []
        if len(same) != 1:
            known = [str(n) for n in names.dropna()] if isinstance(one, str) else net[table].index
            why = f"{len(same)} of them are called" if same else f"the net has no {table}"
            raise ValueError(f"{where}: {why} {with_nearest(str(one), map(str, known))}")
        found.append(int(same[0]))
    twice = [e for e in found if found.count(e) > 1]
    if twice:
        raise ValueError(f"{where}: {table} {twice[0]} is there twice")
    return tuple(found)


def _number(where: str, value: Any) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0.0 <= float(value) < np.inf:
        raise ValueError(f"{where}: expected a number of 0 or more, got {shown(value)}")
    return float(value)
