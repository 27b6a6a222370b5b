"""Constrained problems of design with whole variables, and g18, with their published optima."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.problem import Problem
from pymoo.core.variable import Integer, Real, Variable
from pymoo.problems.single.g import G18

FloatArray = NDArray[np.float64]


class Design(Problem):
    """A design problem with one objective and inequality constraints.

    Attributes:
        x_opt, f_opt: The best known design and its value.
    """

    x_opt: FloatArray
    f_opt: float

    def __init__(self, variables: list[Variable], n_constraints: int) -> None:
        low, high = np.array([variable.bounds for variable in variables], dtype=float).T
        super().__init__(
            vars=dict(enumerate(variables)),
            n_obj=1,
            n_ieq_constr=n_constraints,
            xl=low,
            xu=high,
        )

    def _calc_pareto_front(self) -> FloatArray:
        return np.array([[self.f_opt]])

    def _calc_pareto_set(self) -> FloatArray:
        return self.x_opt[None, :]


class PressureVessel(Design):
    """Cost of a pressure vessel: two thicknesses in sixteenths of an inch, radius, length.

    B. K. Kannan, S. N. Kramer, An augmented Lagrange multiplier based method for mixed integer
    discrete continuous optimization and its applications to mechanical design, Journal of
    Mechanical Design 116 (1994) 405-411, doi:10.1115/1.2919393. The best known 6059.714335 holds
    for a radius and a length of 10 to 200.
    """

    x_opt = np.array([13.0, 7.0, 42.09844559585492, 176.6365958424394])
    f_opt = 6059.714335

    def __init__(self) -> None:
        thickness, size = Integer(bounds=(1, 99)), Real(bounds=(10.0, 200.0))
        super().__init__([thickness, thickness, size, size], 3)

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        n_shell, n_head, radius, length = np.asarray(X, dtype=float).T
        shell, head = np.round(n_shell) / 16.0, np.round(n_head) / 16.0
        out["F"] = (
            0.6224 * shell * radius * length
            + 1.7781 * head * radius**2
            + 3.1661 * shell**2 * length
            + 19.84 * shell**2 * radius
        )
        volume = np.pi * radius**2 * length + 4.0 / 3.0 * np.pi * radius**3
        out["G"] = np.column_stack(
            [0.0193 * radius - shell, 0.00954 * radius - head, 1.0 - volume / 1_296_000.0]
        )


class SpeedReducer(Design):
    """Weight of a speed reducer: face width, module, teeth of the pinion, two shafts.

    J. Golinski, Optimal synthesis problems solved by means of nonlinear programming and random
    methods, Journal of Mechanisms 5 (1970) 287-309. The best known 2994.471066 holds for both
    lengths between bearings from 7.3.
    """

    x_opt = np.array([3.5, 0.7, 17.0, 7.3, 7.71531991, 3.35021467, 5.28665446])
    f_opt = 2994.471066

    def __init__(self) -> None:
        length = Real(bounds=(7.3, 8.3))
        super().__init__(
            [
                Real(bounds=(2.6, 3.6)),
                Real(bounds=(0.7, 0.8)),
                Integer(bounds=(17, 28)),
                length,
                length,
                Real(bounds=(2.9, 3.9)),
                Real(bounds=(5.0, 5.5)),
            ],
            11,
        )

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        width, module, teeth, length1, length2, shaft1, shaft2 = np.asarray(X, dtype=float).T
        teeth = np.round(teeth)
        out["F"] = (
            0.7854 * width * module**2 * (3.3333 * teeth**2 + 14.9334 * teeth - 43.0934)
            - 1.508 * width * (shaft1**2 + shaft2**2)
            + 7.4777 * (shaft1**3 + shaft2**3)
            + 0.7854 * (length1 * shaft1**2 + length2 * shaft2**2)
        )
        out["G"] = np.column_stack(
            [
                27.0 / (width * module**2 * teeth) - 1.0,
                397.5 / (width * module**2 * teeth**2) - 1.0,
                1.93 * length1**3 / (module * teeth * shaft1**4) - 1.0,
                1.93 * length2**3 / (module * teeth * shaft2**4) - 1.0,
                np.sqrt((745.0 * length1 / (module * teeth)) ** 2 + 16.9e6) / (110.0 * shaft1**3)
                - 1.0,
                np.sqrt((745.0 * length2 / (module * teeth)) ** 2 + 157.5e6) / (85.0 * shaft2**3)
                - 1.0,
                module * teeth / 40.0 - 1.0,
                5.0 * module / width - 1.0,
                width / (12.0 * module) - 1.0,
                (1.5 * shaft1 + 1.9) / length1 - 1.0,
                (1.1 * shaft2 + 1.9) / length2 - 1.0,
            ]
        )


class GearTrain(Design):
    """Four gears of 12 to 60 teeth whose ratio is to be 1 / 6.931; squared error.

    E. Sandgren, Nonlinear integer and discrete programming in mechanical design optimization,
    Journal of Mechanical Design 112 (1990) 223-229, doi:10.1115/1.2912596. The minimum 2.7009e-12
    follows by trying all combinations.
    """

    x_opt = np.array([16.0, 19.0, 43.0, 49.0])
    f_opt = 2.7008571488865134e-12

    def __init__(self) -> None:
        super().__init__([Integer(bounds=(12, 60))] * 4, 0)

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        a, b, c, d = np.round(np.asarray(X, dtype=float)).T
        out["F"] = (1.0 / 6.931 - a * b / (c * d)) ** 2


class TwoTriangles(G18):
    """g18 of CEC 2006 with its exact optimum; the point in pymoo is 0.03 % away from it.

    At the optimum four corners fall on two, and the area is that of two equilateral triangles.
    """

    def _calc_pareto_set(self) -> FloatArray:
        corners = [-1.0, 0.0, -0.5, -np.sqrt(0.75)]
        return np.array([[*corners, *corners, 0.0]])
