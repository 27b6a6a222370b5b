"""Problems in words, as they come from a command line or a specification: ``"units:dg:3"``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gridproblems._names import lookup, with_nearest

if TYPE_CHECKING:
    from gridproblems.constraints import Chance

#: The problem made of parts, for which no task needs to be named.
GRID = "grid"
#: Arguments that are lists of words.
LISTS = ("objectives", "controls", "regulators", "capacitors", "constraints")
#: Situations that have series over time.
_IN_TIME = ("hours", "typical_hours", "bootstrap")
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
    from gridproblems._arguments import check_arguments

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


def with_series(situations: str | None, pairs: Sequence[str]) -> str | None:
    """Situations in words, with series over time from files.

    Args:
        situations: In words, None without.
        pairs: ``"load.p_mw=file.csv"``, or ``load=`` and ``pv=`` for factors.

    Returns:
        The words with an axis of hours that has these series, ``'hours:series={"load": "d.csv"}'``.

    Raises:
        ValueError: A pair without a name and an equals sign, or a series given twice.

    >>> with_series("outages:lines", ["load=day.csv"])
    'hours:series={"load": "day.csv"}*outages:lines'
    """
    if not pairs:
        return situations
    series: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = (part.strip() for part in pair.partition("="))
        if not (name and equals and path):
            raise ValueError(f"--series {pair}: expected name=file, such as load.p_mw=day.csv")
        if name in series:
            raise ValueError(f"--series {pair}: {name} is given twice")
        series[name] = path
    text = f"series={json.dumps(series, ensure_ascii=False)}"
    parts = split(situations, "*") if situations else []
    for i, part in enumerate(parts):
        name, *words = split(part, ":")
        if name.strip() in _IN_TIME:
            if any(word.strip().startswith("series=") for word in words):
                raise ValueError(f"--series: {part.strip()} has series already")
            parts[i] = f"{part.strip()}:{text}"
            return "*".join(parts)
    return "*".join([f"hours:{text}", *parts])


def objective_of(text: str) -> str | tuple[Any, ...]:
    """The name of an objective, or a pair with its reduction: ``"p_loss_kw:cvar:0.95"``."""
    name, *reduction = split(text, ":")
    return (name.strip(), *map(value_of, reduction)) if reduction else text


def limits_of(pairs: Iterable[str], option: str = "limits ") -> dict[str, Any]:
    """``["vm_pu=0.95,1.05", "loading_percent=100"]`` as an argument ``limits``.

    Args:
        pairs: Name and value; None, True and False are written ``none``, ``true`` and ``false``,
            and a limit that holds in 95 % of the situations ``chance:0.95`` for that of the tables
            or ``chance:0.95:0.95,1.05``, with ``:joint`` at the end for all elements together.
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
    from gridproblems.constraints import Chance

    _, share, *limit = text.split(":")
    joint = limit[-1:] == ["joint"]
    limit = limit[:-1] if joint else limit
    if len(limit) > 1:
        raise ValueError(text)
    return Chance(float(share), _limit(limit[0]) if limit else None, joint)


def _limit(text: str) -> Any:
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    values = [float(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def from_words(name: str, text: str) -> Any:
    """An argument that is a list of words, or limits; other texts stay as they are.

    Args:
        name: Of the argument.
        text: ``"switching,units:dg:3"``, or of limits ``"vm_pu=0.95,1.05;loading_percent=100"``.

    Raises:
        ValueError: Limits that are none.
    """
    if name in LISTS:
        return tuple(listed(text))
    if name in ("limits", "emergency_limits"):
        return limits_of(split(text, ";"), f"{name}: ")
    return text


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


def named_options(spec: str) -> tuple[str, dict[str, Any]]:
    """``name?key=value&key=value`` as the name and the options.

    Raises:
        ValueError: An option without a name or an equals sign.
    """
    name, _, text = spec.partition("?")
    options: dict[str, Any] = {}
    for pair in text.split("&") if text else ():
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ValueError(f"{spec!r}: expected name?option=value&..., got {pair!r}")
        try:
            found = value_of(value)
            options[key] = from_words(key, found) if isinstance(found, str) else found
        except ValueError as error:
            raise ValueError(f"{spec[:60]!r}: {key}: {error}") from None
    return name, options


def task_and_case(spec: str) -> tuple[str, str, dict[str, Any]]:
    """The parts of ``task:case?option=value&...``; ``series=load.p_mw=day.csv`` are situations.

    Raises:
        ValueError: No task or no case, or what `named_options` refuses.
    """
    name, options = named_options(spec)
    task, colon, case = name.partition(":")
    if not (task and colon and case):
        raise ValueError(f"problem {spec!r}: expected task:case, for example orpd:ieee39")
    if isinstance(options.get("series"), str):
        series = split(options.pop("series"), ";")
        try:
            options["situations"] = with_series(options.get("situations"), series)
        except ValueError as error:
            raise ValueError(f"problem {spec!r}: {error}") from None
    return task, case, options


def check_options(
    task: str, arguments: Mapping[str, Any], known: Sequence[str], tasks: Iterable[str]
) -> None:
    """Refuses arguments that a task has not, and a problem of parts without controls.

    Args:
        task: Its name.
        arguments: What is given to it.
        known: Its arguments.
        tasks: Names of all tasks.

    Raises:
        ValueError: The message has the nearest known name.
    """
    for name in arguments:
        if name not in known:
            raise ValueError(f"{task} has no option {with_nearest(name, known)}")
    if task == GRID and not arguments.get("controls"):
        raise ValueError(
            "controls: a problem without a task needs some, such as switching or units:dg:3; "
            f"controls and tasks: gridproblems list (tasks: {', '.join(tasks)})"
        )
