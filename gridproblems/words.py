"""Problems in words, as they come from a command line or a specification: ``"units:dg:3"``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gridproblems._arguments import check_arguments
from gridproblems._names import lookup
from gridproblems.constraints import Chance

_OPENING, _CLOSING = "([{", ")]}"
_NAMED = {"none": None, "true": True, "false": False}
_LIMIT = "such as vm_pu=0.95,1.05 or loading_percent=100"


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators, those in brackets or quotes left alone.

    >>> split('disturbances:1.2:{"load": "s1a", "kw": 200}', ":")
    ['disturbances', '1.2', '{"load": "s1a", "kw": 200}']
    """
    parts, depth, quoted = [""], 0, False
    for character in text:
        if character == '"' and not parts[-1].endswith("\\"):
            quoted = not quoted
        elif not quoted:
            depth += (character in _OPENING) - (character in _CLOSING)
            if character == separator and depth <= 0:
                parts.append("")
                continue
        parts[-1] += character
    return parts


def listed(texts: str | Iterable[str]) -> list[str]:
    """Words of one text separated by commas, or of several, without those that are empty."""
    texts = [texts] if isinstance(texts, str) else texts
    return [word.strip() for text in texts for word in split(text, ",") if word.strip()]


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
    name, *words = split(text, ":")
    make = lookup(kind, name.strip(), registry)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.strip().isidentifier():
            kwargs[key.strip()] = value_of(value)
        elif kwargs:
            raise ValueError(f"{kind} {text!r}: {word!r} comes after arguments with names")
        else:
            args.append(value_of(word))
    try:
        given = inspect.signature(make).bind(*args, **kwargs).arguments
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise ValueError(f"{kind} {text!r}: {error}; arguments: {known or 'none'}") from None
    try:
        if inspect.isclass(make):
            check_arguments(make.__init__, given)
        return make(*args, **kwargs)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{kind} {text!r}: {error}") from error


def objective_of(text: str) -> str | tuple[Any, ...]:
    """The name of an objective, or a pair with its reduction: ``"p_loss_kw:cvar:0.95"``."""
    name, *reduction = split(text, ":")
    return (name.strip(), *map(value_of, reduction)) if reduction else text


def limits_of(pairs: Iterable[str], option: str = "limits ") -> dict[str, Any]:
    """``["vm_pu=0.95,1.05", "loading_percent=100"]`` as an argument ``limits``.

    Args:
        pairs: Name and value; None, True and False are written ``none``, ``true`` and ``false``,
            and a limit that holds in 95 % of the situations ``chance:0.95`` for that of the tables
            or ``chance:0.95:0.95,1.05``.
        option: How messages begin.

    Raises:
        ValueError: A pair without a name and an equals sign, a limit given twice, or no numbers.
    """
    limits: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not (name and equals):
            raise ValueError(f"{option}{pair}: expected name=value, {_LIMIT}")
        if name in limits:
            raise ValueError(f"{option}{pair}: {name} is given twice")
        try:
            limits[name] = _chance(text) if text.startswith("chance:") else _limit(text)
        except ValueError:
            raise ValueError(f"{option}{pair}: expected numbers, {_LIMIT}, or none") from None
    return limits


def _chance(text: str) -> Chance:
    _, share, *limit = text.split(":")
    if len(limit) > 1:
        raise ValueError(text)
    return Chance(float(share), _limit(limit[0]) if limit else None)


def _limit(text: str) -> Any:
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    values = [float(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def value_of(text: str) -> Any:
    """The value of a word: JSON where it can be, else the text.

    Raises:
        ValueError: Brackets within brackets without end.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()
    except RecursionError:
        raise ValueError(f"{text[:40]!r}...: too deep") from None
