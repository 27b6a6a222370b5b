"""Problems by the name of their task and arguments that may be words, for the command line and
studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gridproblems._arguments import shown
from gridproblems._names import lookup
from gridproblems.problem import GridProblem, arguments_of
from gridproblems.tasks.registry import PROBLEMS
from gridproblems.words import check_options

#: What constructors raise that were handed nonsense.
NONSENSE = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def problem_named(task: str, case: str, arguments: Mapping[str, Any]) -> GridProblem:
    """Makes a problem.

    Args:
        task: Name in `PROBLEMS`.
        case: Of a case or feeder, or the path of a file.
        arguments: Of the task, see `gridproblems.words.from_words`.

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
    check_options(task, arguments, known, PROBLEMS)
