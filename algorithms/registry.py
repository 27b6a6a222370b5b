"""Algorithms by name, each ready for a given problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.soo.nonconvex.de import DE
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.algorithms.soo.nonconvex.pso import PSO
from pymoo.core.algorithm import Algorithm
from pymoo.core.mixed import MixedVariableGA
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from algorithms._base import check_options
from algorithms._hybrid import reference_directions
from algorithms._offered import offered
from algorithms._variables import Variables
from algorithms.harmony_search import HarmonySearch
from algorithms.mixed import AllowedSampling, MixedCMAES, SnapToGrid
from algorithms.mvmo import MVMO
from algorithms.permutation import order_ga, permutation_ga
from algorithms.sqp import SQP


def harmony_search(problem: Problem, **parameters: Any) -> Algorithm:
    """Harmony Search; any variables, any number of objectives, local search by default."""
    return HarmonySearch(**parameters)


def mvmo(problem: Problem, **parameters: Any) -> Algorithm:
    """MVMO; any variables, any number of objectives, local search by default."""
    return MVMO(**parameters)


def mvmo_s(problem: Problem, **parameters: Any) -> Algorithm:
    """MVMO without local search; any variables, any number of objectives."""
    return MVMO(**{"local_search": False, **parameters})


def mvmo_sh(problem: Problem, **parameters: Any) -> Algorithm:
    """MVMO with local search, also where no variable is real; one objective."""
    _require_one_objective("mvmo-sh", problem)
    return MVMO(**{"local_search": True, **parameters})


def sqp(problem: Problem, **parameters: Any) -> Algorithm:
    """Sequential quadratic programming with restarts; one objective, a problem with gradients."""
    _require_one_objective("sqp", problem)
    _require_vectors("sqp", problem)
    middle = Variables(problem).snap((problem.xl + problem.xu) / 2.0)
    slopes = problem.evaluate(middle, return_values_of=["dF"])
    if not np.isfinite(slopes).all():
        raise ValueError("sqp: expected a problem that gives dF and dG where it is asked for them")
    return SQP(**parameters)


def ga(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's genetic algorithm, snapped to allowed values; one objective."""
    _require_one_objective("ga", problem)
    return _snapped("ga", GA, problem, parameters)


def de(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's differential evolution, snapped to allowed values; one objective."""
    _require_one_objective("de", problem)
    return _snapped("de", DE, problem, parameters)


def pso(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's particle swarm, snapped to allowed values; one objective."""
    _require_one_objective("pso", problem)
    return _snapped("pso", PSO, problem, parameters)


def cmaes(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's CMA-ES, snapped and feasibility first; one objective."""
    _require_one_objective("cmaes", problem)
    _require_vectors("cmaes", problem)
    check_options(MixedCMAES, parameters)
    return MixedCMAES(**parameters)


def nsga2(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's NSGA-II, snapped to allowed values."""
    return _snapped("nsga2", NSGA2, problem, parameters)


def nsga3(problem: Problem, ref_dirs: Any = 100, **parameters: Any) -> Algorithm:
    """pymoo's NSGA-III, snapped to allowed values; ``ref_dirs`` an array or a number of them."""
    if problem.n_obj < 2:
        raise ValueError("nsga3: expected a problem with several objectives, got 1")
    directions = reference_directions(problem.n_obj, ref_dirs)
    return _snapped("nsga3", NSGA3, problem, {"ref_dirs": directions, **parameters})


def mixed_ga(problem: Problem, **parameters: Any) -> Algorithm:
    """pymoo's genetic algorithm for problems with ``vars``, which works on dicts.

    With several objectives its survivors are chosen by rank and crowding.
    """
    if offered(problem, "vars") is None:
        raise ValueError("mixed-ga: expected a problem with vars, got one with bounds only")
    check_options(MixedVariableGA, parameters)
    if problem.n_obj > 1:
        parameters = {"survival": RankAndCrowding(), **parameters}
    return MixedVariableGA(**parameters)


ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "hs": harmony_search,
    "mvmo": mvmo,
    "mvmo-s": mvmo_s,
    "mvmo-sh": mvmo_sh,
    "sqp": sqp,
    "ga": ga,
    "de": de,
    "pso": pso,
    "cmaes": cmaes,
    "nsga2": nsga2,
    "nsga3": nsga3,
    "mixed-ga": mixed_ga,
    "permutation-ga": permutation_ga,
    "order-ga": order_ga,
}
"""``ALGORITHMS[name](problem, **parameters)`` is an algorithm suited to that problem.

Raises ValueError where it cannot solve the problem, TypeError for an unknown parameter.
"""


def _snapped(
    name: str, cls: type[Algorithm], problem: Problem, parameters: dict[str, Any]
) -> Algorithm:
    _require_vectors(name, problem)
    check_options(cls, parameters)
    return cls(**{"sampling": AllowedSampling(), "repair": SnapToGrid(), **parameters})


def _require_one_objective(name: str, problem: Problem) -> None:
    if problem.n_obj != 1:
        raise ValueError(f"{name}: expected a problem with one objective, got {problem.n_obj}")


def _require_vectors(name: str, problem: Problem) -> None:
    if Variables(problem).takes_dicts:
        raise ValueError(
            f"{name}: expected a problem with numeric xl and xu, got bounds as dicts; "
            "use hs, mvmo or mixed-ga"
        )
