"""Problems by the name of their task and arguments that may be words, for the command line and
studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gridproblems._arguments import shown
from gridproblems._names import lookup
from gridproblems._own import load_own, own_part
from gridproblems.problem import GridProblem, arguments_of
from gridproblems.tasks.registry import PROBLEMS
from gridproblems.words import check_options, split, value_of

#: What constructors raise that were handed nonsense.
NONSENSE = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def problem_named(task: str, case: Any, arguments: Mapping[str, Any]) -> GridProblem:
    """Makes a problem.

    Args:
        task: Name in `PROBLEMS`.
        case: Name of a case or feeder, the path of a file, or a grid.
        arguments: Of the task, see `gridproblems.words.from_words`.

    Raises:
        ValueError: The task is unknown, has no such argument, or cannot use its value.
    """
    make: Callable[..., GridProblem] = lookup("task", task, PROBLEMS)
    check_names(task, arguments)
    arguments = {**arguments, **_loaded(arguments)}
    try:
        return make(case, **arguments)
    except NONSENSE as error:
        given = ", ".join(f"{name}={shown(value)}" for name, value in arguments.items())
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"{task} cannot use {given or repr(case)} ({what}); see the arguments of "
            f"{make.__name__}"
        ) from error


def _loaded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Objectives and constraints with those of the user's own files in place of their words.

    Raises:
        ValueError: A file that may not be run, or without such a name; a constraint in other words.
    """
    found: dict[str, Any] = {}
    for name in ("objectives", "constraints"):
        given = arguments.get(name)
        words = (given,) if isinstance(given, str) else given
        if not isinstance(words, (list, tuple)):
            continue
        if any(isinstance(word, str) and own_part(word) for word in words):
            found[name] = tuple(map(_own, words))
        if name == "constraints":
            for word in words:
                if isinstance(word, str) and not own_part(word):
                    raise ValueError(f"constraints: expected file.py:name, got {word!r}")
    return found


def _own(word: Any) -> Any:
    part = own_part(word) if isinstance(word, str) else None
    if part is None:
        return word
    loaded = load_own(word)
    return (loaded, *map(value_of, split(part.rest, ":"))) if part.rest else loaded


def check_names(task: str, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that a task has not, and a problem of parts without controls.

    Raises:
        ValueError: The message has the nearest known name.
    """
    known = list(arguments_of(lookup("task", task, PROBLEMS)))[1:]
    check_options(task, arguments, known, PROBLEMS)
