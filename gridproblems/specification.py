"""Problems by the name of their task and arguments that may be words, for the command line and
studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gridproblems import PROBLEMS
from gridproblems._arguments import shown
from gridproblems._names import lookup, with_nearest
from gridproblems.problem import GridProblem, arguments_of
from gridproblems.words import limits_of, listed, split

#: The problem made of parts, for which no task needs to be named.
GRID = "grid"
#: Arguments that are lists of words.
LISTS = ("objectives", "controls", "regulators", "capacitors")
#: What constructors raise that were handed nonsense.
NONSENSE = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def problem_named(task: str, case: str, arguments: Mapping[str, Any]) -> GridProblem:
    """Makes a problem.

    Args:
        task: Name in `PROBLEMS`.
        case: Of a case or feeder, or the path of a file.
        arguments: Of the task, see `from_words`.

    Raises:
        ValueError: The task is unknown, has no such argument, or cannot use its value.
    """
    make: Callable[..., GridProblem] = lookup("task", task, PROBLEMS)
    check_names(task, arguments)
    try:
        return make(case, **arguments)
    except NONSENSE as error:
        given = ", ".join(f"{name}={shown(value)}" for name, value in arguments.items())
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"{task} cannot use {given or repr(case)} ({what}); see the arguments of "
            f"{make.__name__}"
        ) from error


def check_names(task: str, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that a task has not, and a problem of parts without controls.

    Raises:
        ValueError: The message has the nearest known name.
    """
    known = list(arguments_of(lookup("task", task, PROBLEMS)))[1:]
    for name in arguments:
        if name not in known:
            raise ValueError(f"{task} has no option {with_nearest(name, known)}")
    if task == GRID and not arguments.get("controls"):
        raise ValueError(
            "controls: a problem without a task needs some, such as switching or units:dg:3; "
            f"controls and tasks: gridproblems list (tasks: {', '.join(PROBLEMS)})"
        )


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
