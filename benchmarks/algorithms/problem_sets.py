"""The problems that defaults are chosen on, and the others that they are judged on.

Nothing of `judging` may be looked at when a default is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import functions
from engineering import GearTrain, PressureVessel, SpeedReducer, TwoTriangles
from pymoo.core.problem import Problem
from pymoo.problems import get_problem

from gridproblems.study.specs import ProblemSpec

#: Problems by name, in groups by name.
Groups = dict[str, dict[str, ProblemSpec]]
DIMENSIONS = (5, 10, 20, 40)


def training(dimensions: Sequence[int] = DIMENSIONS, instance: int = 1) -> Groups:
    """What defaults are chosen on."""
    return {
        "functions": _instances(
            functions.ShiftedRotated,
            (
                "sphere",
                "ellipsoid",
                "bent_cigar",
                "step_ellipsoid",
                "rosenbrock",
                "rastrigin",
                "levy",
                "salomon",
            ),
            dimensions,
            instance,
        ),
        "constrained": _cec2006("g06", "g07", "g09"),
        "mixed": _instances(
            functions.PartlyWhole,
            ("sphere", "ellipsoid", "rastrigin"),
            (10, 20),
            instance,
            "mixed ",
        ),
        "grid": {"orpd:ieee14": "orpd:ieee14", "orpd:ieee30": "orpd:ieee30"},
    }


def judging(dimensions: Sequence[int] = DIMENSIONS, instance: int = 1) -> Groups:
    """What they are judged on."""
    names = ("griewank", "ackley", "schaffers", "weierstrass", "different_powers")
    lunacek: dict[str, ProblemSpec] = {
        f"lunacek {n_var}-D": partial(functions.Lunacek, n_var, instance) for n_var in dimensions
    }
    return {
        "functions": _instances(functions.ShiftedRotated, names, dimensions, instance) | lunacek,
        "constrained": _cec2006("g01", "g02", "g04", "g10") | {"g18": TwoTriangles},
        "mixed": _instances(
            functions.PartlyWhole, ("griewank", "different_powers"), (10, 20), instance, "mixed "
        )
        | {
            "pressure vessel": PressureVessel,
            "speed reducer": SpeedReducer,
            "gear train": GearTrain,
        },
        "grid": {
            "dispatch, 39 buses": "orpd:ieee39",
            "dispatch, 57 buses": "orpd:ieee57",
            "reconfiguration, 33 buses": "reconfiguration:case33bw",
            "regulators, 123 nodes": "regulators:ieee123?variables=taps",
            "placement, 33 buses": "placement:case33bw?n_units=3&kind=dg",
        },
    }


def _instances(
    cls: type[Problem],
    names: Sequence[str],
    dimensions: Sequence[int],
    instance: int,
    prefix: str = "",
) -> dict[str, ProblemSpec]:
    """Of functions by name, as problems of a class."""
    return {
        f"{prefix}{name.replace('_', ' ')} {n_var}-D": partial(
            cls, getattr(functions, name), n_var, instance
        )
        for name in names
        for n_var in dimensions
    }


def _cec2006(*names: str) -> dict[str, ProblemSpec]:
    """Problems of the CEC 2006 special session on constrained optimisation, as pymoo has them."""
    return {name: partial(get_problem, f"g{int(name[1:])}") for name in names}
