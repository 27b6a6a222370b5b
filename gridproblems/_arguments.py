"""Arguments of the wrong kind are refused by name, by what the signature says of them."""

from __future__ import annotations

import math
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Mapping, Set
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

_SIMPLE = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}

_PLURAL = {int: "whole numbers", float: "numbers", str: "names"}


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Compares arguments with the annotations of a function.

    Containers are looked into by one level: what is wrong further inside is named by who reads it.
    ``objectives`` are left to who resolves them.

    Args:
        function: Its annotations say what is expected.
        arguments: By name; others, such as ``self``, are ignored.

    Raises:
        ValueError: An argument is of another kind, or a number that is not finite.
    """
    for name, hint in typing.get_type_hints(function).items():
        if name not in arguments or name == "objectives":
            continue
        value = arguments[name]
        if not _fits(value, hint) or (isinstance(value, float) and not math.isfinite(value)):
            what = "the text " if isinstance(value, str) else ""
            raise ValueError(f"{name}: expected {_words(hint)}, got {what}{shown(value)}")


def shown(value: Any) -> str:
    """What came, in one short line."""
    return " ".join(reprlib.repr(value).split())


def _fits(value: Any, hint: Any, depth: int = 0) -> bool:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part, depth) for part in inside)
    if hint is Any:
        return True
    if hint is bool:
        return isinstance(value, (bool, np.bool_))
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    if origin is Callable:
        return callable(value)
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, kind) and (depth > 0 or _entries_fit(value, inside))
    if issubclass(kind, Collection) and kind is not str and inside:
        return _is_list(value) and (depth > 0 or _elements_fit(value, kind, inside))
    return isinstance(value, kind)


def _is_list(value: Any) -> bool:
    known = isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))
    return known and not isinstance(value, (Set, pd.DataFrame))


def _entries_fit(value: Mapping[Any, Any], inside: tuple[Any, ...]) -> bool:
    return not inside or all(
        _fits(key, inside[0], 1) and _fits(entry, inside[1], 1) for key, entry in value.items()
    )


def _elements_fit(value: Collection[Any], kind: type, inside: tuple[Any, ...]) -> bool:
    if isinstance(value, np.ndarray) and not value.ndim:
        return False
    if kind is tuple and Ellipsis not in inside:
        return len(value) == len(inside) and all(map(_fits, value, inside, [1] * len(inside)))
    return all(_fits(element, inside[0], 1) for element in value)


def _words(hint: Any) -> str:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part) for part in inside if part is not type(None))
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if hint is Any:
        return "anything"
    if origin is Callable:
        return "a function"
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping) and inside:
        return f"a mapping {{{_words(inside[0])}: {_words(inside[1])}}}"
    if kind is tuple and inside and Ellipsis not in inside:
        return f"({', '.join(_words(part) for part in inside)})"
    if inside and isinstance(kind, type) and issubclass(kind, Collection):
        return f"a list of {_PLURAL.get(inside[0]) or _words(inside[0])}"
    return f"a {getattr(kind, '__name__', kind)}"
