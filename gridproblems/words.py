"""Parts in words, as they come from a command line or a specification: ``"units:dg:3"``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from gridproblems._names import lookup


def part_of(kind: str, text: str, registry: Mapping[str, Callable[..., Any]]) -> Any:
    """The part that a text asks for.

    Args:
        kind: What to call it in messages, for example ``"control"``.
        text: A name in the registry and arguments, separated by colons: ``"units:dg:3"`` or
            ``"units:dg:n_units=3:max_size=1.5"``; values are JSON where they can be.
        registry: Parts by name.

    Raises:
        ValueError: An unknown name or argument, or a value that cannot be.
    """
    name, *words = text.split(":")
    make = lookup(kind, name.strip(), registry)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            kwargs[key.strip()] = _value(value)
        elif kwargs:
            raise ValueError(f"{kind} {text!r}: {word!r} comes after arguments with names")
        else:
            args.append(_value(word))
    try:
        inspect.signature(make).bind(*args, **kwargs)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise ValueError(f"{kind} {text!r}: {error}; arguments: {known or 'none'}") from None
    try:
        return make(*args, **kwargs)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{kind} {text!r}: cannot use that ({error})") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()
