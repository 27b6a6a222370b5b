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
