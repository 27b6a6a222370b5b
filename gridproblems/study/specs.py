"""What a study compares, in words: ``orpd:ieee39?objectives=p_loss_mw`` and ``hs?pop_size=20``."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import cloudpickle
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.problems import get_problem

from gridproblems._names import lookup
from gridproblems._own import load_own, own_part
from gridproblems.specification import NONSENSE, problem_named
from gridproblems.study.functions import is_function
from gridproblems.words import LISTS, named_options, task_and_case

MakeProblem = Callable[[], Problem]
MakeAlgorithm = Callable[[Problem, int], Algorithm]
ProblemSpec: TypeAlias = str | MakeProblem | Problem
AlgorithmSpec: TypeAlias = str | MakeAlgorithm | Algorithm

CALLABLE, OBJECT = "callable", "object"
SIZES = {"pop_size", "n_offsprings", "n_particles"}


def problem_of(spec: str | bytes) -> Problem:
    """Makes the problem of a specification.

    Args:
        spec: ``"task:case"``, ``"task:case?option=value&..."`` (values are JSON where they can be,
            lists are separated by commas), or a pickled problem, or callable without arguments.
            ``"grid:case?controls=switching,units:dg:3"`` is a problem made of parts,
            ``"rastrigin?n_var=10"`` a test problem of pymoo, ``"my.py:make"`` what a file of the
            user's makes (`gridproblems._own.trust`).

    Raises:
        ValueError: Unknown task, case or option; the nearest known name is suggested.
    """
    if isinstance(spec, bytes):
        loaded = cloudpickle.loads(spec)
        made = loaded if isinstance(loaded, Problem) else loaded()
        if not isinstance(made, Problem):
            raise ValueError(f"problems: expected callables that make pymoo problems, got {made!r}")
        return made
    name, options = named_options(spec)
    if own_part(name) is not None:
        return _own_problem(spec, name, options)
    if is_function(name):
        try:
            return get_problem(name, **options)
        except NONSENSE as error:
            raise ValueError(f"problem {spec!r}: {_in_one_line(error)}") from error
    task, case, options = task_and_case(spec)
    try:
        return problem_named(task, case, options)
    except ValueError as error:
        raise ValueError(f"problem {spec!r}: {error}") from error


def _own_problem(spec: str, name: str, options: Mapping[str, Any]) -> Problem:
    """A problem of the user's own file: an object, a class, or a function that makes one."""
    found = load_own(name)
    if isinstance(found, Problem) and not options:
        return found
    if isinstance(found, Problem) or not callable(found):
        raise ValueError(
            f"problem {spec!r}: expected a pymoo problem without options, or a class or function "
            f"that makes one, got {type(found).__name__}"
        )
    try:
        made = found(**options)
    except NONSENSE as error:
        raise ValueError(f"problem {spec!r}: {_in_one_line(error)}") from error
    if not isinstance(made, Problem):
        raise ValueError(f"problem {spec!r}: expected a pymoo problem, got {type(made).__name__}")
    return made


def _own_algorithm(
    spec: str, name: str, parameters: Mapping[str, Any], problem: Problem, n_evals: int
) -> Algorithm:
    """An algorithm of the user's own file: a class, or a function of (problem, n_evals)."""
    found = load_own(name)
    is_class = isinstance(found, type) and issubclass(found, Algorithm)
    try:
        made = found(**parameters) if is_class else found(problem, n_evals, **parameters)
    except NONSENSE as error:
        raise ValueError(f"algorithm {spec!r}: {_in_one_line(error)}") from error
    if not isinstance(made, Algorithm):
        raise ValueError(
            f"algorithm {spec!r}: expected a class of pymoo algorithms, or a function of (problem, "
            f"n_evals) that makes one, got {type(made).__name__}"
        )
    return made


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{text or 'no such value'} ({type(error).__name__})"


def algorithm_of(spec: str | bytes, problem: Problem, n_evals: int) -> Algorithm:
    """Makes the algorithm of a specification, for one run.

    Args:
        spec: A name in ``algorithms.ALGORITHMS``, with parameters as ``"hs?pop_size=20"`` (lists
            are pairs: ``"hs?par=[0.3,0.9]"``), ``"my.py:MyGA?pop_size=20"`` of a file of the user's
            (`gridproblems._own.trust`), or a pickled algorithm, or callable of (problem, n_evals).
        problem: What it is to solve.
        n_evals: The budget of the run.

    Raises:
        ValueError: Unknown name, or an algorithm that cannot solve the problem.
        TypeError: Unknown parameter.
    """
    if isinstance(spec, bytes):
        loaded = cloudpickle.loads(spec)
        made = loaded if isinstance(loaded, Algorithm) else loaded(problem, n_evals)
        if not isinstance(made, Algorithm):
            raise ValueError(
                f"algorithms: expected callables that make pymoo algorithms, got {made!r}"
            )
        return made
    from algorithms import ALGORITHMS

    name, parameters = name_and_parameters(spec)
    if own_part(name) is not None:
        return _own_algorithm(spec, name, parameters, problem, n_evals)
    make = lookup("algorithm", name, ALGORITHMS)
    for size in SIZES & parameters.keys():
        value = parameters[size]
        if value is not None and not (type(value) is int and value >= 1):
            raise ValueError(f"algorithm {spec!r}: {size}: expected a whole number, got {value!r}")
    try:
        return make(problem, **parameters)
    except (ValueError, TypeError):
        raise
    except NONSENSE as error:
        raise ValueError(f"algorithm {spec!r}: {_in_one_line(error)}") from error


def name_and_parameters(spec: str) -> tuple[str, dict[str, Any]]:
    """The parts of ``name?parameter=value&...`` of an algorithm; lists become pairs.

    Raises:
        ValueError: A parameter without a name or an equals sign.
    """
    name, parameters = named_options(spec)
    return name, {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()}


def _written(key: str, value: Any) -> str:
    """The value of an option, the same for every way of writing it."""
    if key in LISTS and isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def portable(spec: ProblemSpec | AlgorithmSpec) -> str | bytes:
    """The specification as it travels to a worker: text as it is, all else pickled.

    Raises:
        ValueError: It cannot be pickled, or is an algorithm that ran already.
    """
    if isinstance(spec, str):
        return spec
    if isinstance(spec, Algorithm) and (spec.is_initialized or spec.problem is not None):
        raise ValueError(f"algorithms: {type(spec).__name__} ran already, expected a fresh one")
    try:
        return cloudpickle.dumps(spec)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        kind = type(spec).__name__
        raise ValueError(f"{kind}: cannot be sent to a worker, for it holds {error}") from error


def described(spec: ProblemSpec) -> str:
    """What identifies a problem beside its name and fingerprint.

    Its text with options in order, or "callable" or "object".
    """
    if isinstance(spec, Problem):
        return OBJECT
    if not isinstance(spec, str):
        return CALLABLE
    name, options = named_options(spec)
    listed = (f"{key}={_written(key, options[key])}" for key in sorted(options))
    return "&".join([name, *listed]).replace("&", "?", 1)


def by_name(kind: str, specs: Mapping[str, Any] | Iterable[Any]) -> dict[str, Any]:
    """Specifications by name; texts may come as a list, each is its own name then.

    Raises:
        ValueError: None given, a repeated name, or a callable without a name.
    """
    if isinstance(specs, str):
        specs = [specs]
    if not isinstance(specs, Mapping):
        specs = list(specs)
        if not all(isinstance(spec, str) for spec in specs):
            raise ValueError(f"{kind}: expected a dict with a name for each callable")
        if len(set(specs)) < len(specs):
            raise ValueError(f"{kind}: expected each once, got {specs}")
        specs = {spec: spec for spec in specs}
    if not specs:
        raise ValueError(f"{kind}: expected at least one")
    for name, spec in specs.items():
        if not (isinstance(spec, (str, Problem, Algorithm)) or callable(spec)):
            raise ValueError(
                f"{kind} {name!r}: expected text or a callable or an object of pymoo, got {spec!r}"
            )
        if isinstance(spec, Algorithm if kind == "problems" else Problem):
            raise ValueError(f"{kind} {name!r}: expected one of the {kind}, got {spec!r}")
    return {str(name): spec for name, spec in specs.items()}
