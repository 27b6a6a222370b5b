"""Unknown names: the nearest known one, and all of them, for one line of an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def lookup(kind: str, name: str, among: Mapping[str, Any]) -> Any:
    """The entry of that name.

    Raises:
        ValueError: There is none; the nearest name is suggested.
    """
    if name not in among:
        raise ValueError(f"{kind}: no {kind} is called {with_nearest(name, among)}")
    return among[name]


def with_nearest(name: str, among: Iterable[str]) -> str:
    """The unknown name with the nearest known one and all others, for messages."""
    names = list(among)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{name!r}{hint}; known: {', '.join(names)}"


_ENDINGS = (
    "_eur_per_year",
    "_hours_per_year",
    "_per_year",
    "_percent",
    "_mvar",
    "_kvar",
    "_kwh",
    "_kw",
    "_mw",
    "_pu",
)
_SAID = {
    "p_loss": "losses",
    "line_loss": "line losses",
    "energy_loss": "energy lost",
    "v_min": "lowest voltage",
    "l_index": "L-index",
    "loading": "highest loading",
    "line_loading_sum": "sum of line loadings",
    "line_loading_max": "highest line loading",
    "exchange_energy": "energy exchanged with the grid above",
    "exchange_peak": "highest exchange with the grid above",
    "node_voltage_fitness": "voltage fitness of all phases",
    "node_voltage_deviation": "voltage deviation of all phases",
    "saifi": "SAIFI",
    "saidi": "SAIDI",
}


def in_words(name: str, unit: str = "") -> str:
    """A quantity as a reader says it, with its unit in brackets.

    >>> in_words("p_loss_mw", "MW"), in_words("tap_operations")
    ('losses [MW]', 'tap operations')
    """
    chance = name.removeprefix("probability_of_")
    stem = chance
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
        if stem != chance:
            break
    said = _SAID.get(stem, stem.replace("_", " "))
    said = f"probability of {said}" if chance != name else said
    return f"{said} [{unit}]" if unit else said
