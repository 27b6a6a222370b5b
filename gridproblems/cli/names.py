"""Names on the command line, checked before anything is loaded that takes seconds.

The messages are those of the problems and studies themselves, which check again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from gridproblems._declared import (
    NotDeclared,
    arguments,
    calls_in,
    made_in,
    names_in,
    places_in,
    takes_others,
    text_of,
)
from gridproblems._names import lookup, with_nearest
from gridproblems._own import check_trusted, own_part
from gridproblems.cases import check_case_name
from gridproblems.feeders import FEEDERS, check_feeder_name, check_grid_name
from gridproblems.study.functions import is_function
from gridproblems.words import GRID, check_options, named_options, split, task_and_case

TASKS = "gridproblems.tasks.registry:PROBLEMS"
ALGORITHMS = "algorithms.registry:ALGORITHMS"
CONTROLS = "gridproblems.controls:CONTROLS"
SITUATIONS = "gridproblems.situations:SITUATIONS"
ENGINES = "gridproblems.engines:ENGINES"
OBJECTIVES = "gridproblems.objectives:OBJECTIVES"
OF_SITUATIONS = "gridproblems.evaluation:OF_SITUATIONS"


def check_problem(
    task: str, case: str, given: Mapping[str, Any], further: Mapping[str, Any]
) -> None:
    """Checks all names in a problem.

    Args:
        task: Its name.
        case: Of a case or feeder, or a path.
        given: Arguments in words: controls, situations, objectives, limits and engine.
        further: Other arguments by name.

    Raises:
        ValueError: The message has the nearest known name.
    """
    with suppress(NotDeclared):  # the problem itself checks again
        _check_problem(task, case, given, further)


def _check_problem(
    task: str, case: str, given: Mapping[str, Any], further: Mapping[str, Any]
) -> None:
    tasks = places_in(TASKS)
    known = arguments(lookup("task", task, tasks))[1:]
    if "options" in known:
        shared = arguments("gridproblems.problem:Options")
        known = (*(name for name in known if name != "options"), *shared)
    check_options(task, {**given, **further}, known, tasks)
    {"regulators": check_feeder_name, GRID: check_grid_name}.get(task, check_case_name)(case)
    is_feeder = task == "regulators" or case in FEEDERS or Path(case).suffix.lower() == ".dss"
    _check_controls(task, given.get("controls") or ())
    situations = given.get("situations")
    if isinstance(situations, str):
        for text in split(situations, "*"):
            _check_part("situation", text, SITUATIONS)
    _check_engine(given.get("engine", "auto"), is_feeder)
    _check_objectives(task, given, is_feeder)
    _check_limits(task, given.get("limits") or {}, is_feeder)
    for text in given.get("constraints") or ():
        if isinstance(text, str):
            check_trusted(text)
    if "coding" in further:
        encodings = names_in("gridproblems.controls.encodings:ENCODINGS")
        if isinstance(further["coding"], str) and further["coding"] not in encodings:
            named = with_nearest(further["coding"], encodings)
            raise ValueError(f"encoding: unknown encoding {named}")


def check_algorithm(name: str) -> None:
    """Checks the name of an algorithm.

    Raises:
        ValueError: The message has the nearest known name.
    """
    if own_part(name) is not None:
        check_trusted(name)
    else:
        lookup("algorithm", name, places_in(ALGORITHMS))


def check_other_problem(spec: str) -> bool:
    """Whether a specification is of a test problem of pymoo or of the user's own file.

    Raises:
        ValueError: The file may not be run.
    """
    name = named_options(spec)[0]
    if own_part(name) is not None:
        check_trusted(name)
        return True
    return is_function(name)


def check_study(problems: Sequence[str], algorithms: Sequence[str]) -> None:
    """Checks the names in specifications of problems and algorithms.

    Raises:
        ValueError: The message has the specification and the nearest known name.
    """
    for spec in problems:
        if check_other_problem(spec):
            continue
        task, case, options = task_and_case(spec)
        try:
            check_problem(task, case, options, options)
        except ValueError as error:
            raise ValueError(f"problem {spec!r}: {error}") from error
    for spec in algorithms:
        check_algorithm(named_options(spec)[0])


def feeder_objectives() -> dict[str, str]:
    """Objectives of feeders, and where they are declared."""
    quantities = "gridproblems.grids.feeder:FeederQuantities"
    table = "gridproblems.grids.feeder:OF_FEEDERS"
    return {name: f"{quantities}.{text_of(table, name)}" for name in names_in(table)}


def own_objectives(block: str) -> dict[str, str]:
    """Objectives of a control itself, and where they are declared."""
    found: dict[str, str] = {}
    with suppress(NotDeclared):  # it has none of this kind
        found |= {name: f"{block}.{name}" for name in names_in(f"{block}.objective_methods")}
    with suppress(NotDeclared):
        for name, search in places_in(f"{block}.searches").items():
            _, _, function, *_ = calls_in(search)[0]
            found[name] = function
    return found


@cache
def block_of(control: str) -> str | None:
    """What a control of that name becomes, where it has objectives of its own; None where not."""
    place = places_in(CONTROLS).get(control)
    if place is not None:
        with suppress(NotDeclared):  # a control without a `bind` of its own
            for made in made_in(f"{place}.bind"):
                if own_objectives(made):
                    return made
    return None


def blocks() -> list[str]:
    """All that controls become and that has objectives of its own."""
    found = [block_of(control) for control in names_in(CONTROLS)]
    return [block for block in found if block is not None]


def controls_of(task: str) -> list[str]:
    """Names of the controls that a task is made of."""
    made = made_in(places_in(TASKS)[task])
    return [name for name, place in places_in(CONTROLS).items() if place in made]


def kind_of(block: str) -> str:
    """What a block is called."""
    return text_of(f"{block}.kind")


def _check_part(kind: str, text: str, registry: str) -> None:
    """Checks a part in words, see `gridproblems.words.part_of`."""
    name, *words = split(text, ":")
    place = lookup(kind, name.strip(), places_in(registry))
    if takes_others(place):
        return
    known = arguments(place)
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and key.strip().isidentifier() and key.strip() not in known:
            raise ValueError(
                f"{kind} {text!r}: got an unexpected keyword argument {key.strip()!r}; arguments: "
                f"{', '.join(known) or 'none'}"
            )


def _check_controls(task: str, controls: Any) -> None:
    words = (controls,) if isinstance(controls, str) else controls
    groups = names_in("gridproblems.tasks.orpd:CONTROL_GROUPS")
    for text in words:
        if not isinstance(text, str):
            continue
        name, colon, _ = text.partition(":")
        is_part = bool(colon) and name.strip() in places_in(CONTROLS)
        if task == GRID or (task == "orpd" and text not in groups and is_part):
            _check_part("control", text, CONTROLS)
        elif task == "orpd" and text not in groups:
            raise ValueError(f"controls: unknown group {with_nearest(text, groups)}")


def _check_engine(name: Any, is_feeder: bool) -> None:
    if not isinstance(name, str) or name == "auto":
        return
    known = ("auto", *places_in(ENGINES))
    if is_feeder and name != "opendss":
        raise ValueError(f"engine: {name!r} is none for feeders; known: auto, opendss")
    if not is_feeder and name not in known:
        raise ValueError(f"engine: unknown engine {with_nearest(name, known)}")


def _check_objectives(task: str, given: Mapping[str, Any], is_feeder: bool) -> None:
    objectives = given.get("objectives") or ()
    if isinstance(objectives, str):
        objectives = (objectives,)
    controls = given.get("controls") or ()
    words = [c.partition(":")[0].strip() for c in controls if isinstance(c, str)]
    of_controls = words if task == GRID else controls_of(task)
    known = list(feeder_objectives() if is_feeder else names_in(OBJECTIVES))
    known += names_in(OF_SITUATIONS)
    for block in map(block_of, of_controls):
        known += own_objectives(block) if block is not None else ()
    for text in objectives:
        if isinstance(text, str) and own_part(text) is not None:
            check_trusted(text)
        elif isinstance(text, str) and text.partition(":")[0].strip() not in known:
            named = with_nearest(text.partition(":")[0].strip(), known)
            raise ValueError(f"objectives: unknown objective {named}")


def _check_limits(task: str, limits: Any, is_feeder: bool) -> None:
    if not isinstance(limits, Mapping):
        return
    known = names_in(
        "gridproblems.grids.feeder:FEEDER_LIMITS"
        if is_feeder
        else "gridproblems.grids.net:NET_LIMITS"
    )
    if task == "reconfiguration":
        known = tuple(name for name in known if name != "radial")
    if task == "orpd":
        known += names_in("gridproblems.tasks.orpd:SET_POINT_LIMITS")
    for name in limits:
        if name not in known:
            raise ValueError(f"limits: unknown {with_nearest(str(name), known)}")
