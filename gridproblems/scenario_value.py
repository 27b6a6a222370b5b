"""What a model of scenarios is worth: value of the stochastic solution, of perfect information."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gridproblems.objectives import Objective
from gridproblems.problem import GridProblem
from gridproblems.situations import Axis, Delta, Product, SituationGrid, axes_of
from gridproblems.situations.axis import Multiplies
from gridproblems.state import FloatArray


@dataclass(frozen=True)
class ScenarioValue:
    """Expected values of an objective that is minimised, in its unit.

    Attributes:
        recourse: Of the solution found for all scenarios.
        of_mean: Of the solution found for the mean scenario, tried in all; infinite where it
            breaks a limit in them.
        wait_and_see: Mean of the best values where each scenario is solved by itself, as if it
            were known before.
        x, x_mean: The two solutions.
        x_each: Those of the scenarios, one row each.
    """

    recourse: float
    of_mean: float
    wait_and_see: float
    x: FloatArray
    x_mean: FloatArray
    x_each: FloatArray

    @property
    def vss(self) -> float:
        """Value of the stochastic solution: what the scenarios are worth against their mean."""
        return self.of_mean - self.recourse

    @property
    def evpi(self) -> float:
        """Expected value of perfect information: what knowing the scenario would be worth."""
        return self.recourse - self.wait_and_see

    def __str__(self) -> str:
        return (
            f"all scenarios {self.recourse:.6g}, their mean {self.of_mean:.6g} "
            f"(VSS {self.vss:.4g}), each known before {self.wait_and_see:.6g} "
            f"(EVPI {self.evpi:.4g})"
        )


def scenario_value(
    make: Callable[[Any], GridProblem],
    situations: Any,
    solve: Callable[[GridProblem], ArrayLike],
    x: ArrayLike | None = None,
) -> ScenarioValue:
    """The value of a model of scenarios against their mean, for problems of one objective.

    As good as ``solve``: with a heuristic, differences below its scatter mean nothing, and may be
    negative.

    Source:
        J. R. Birge, F. Louveaux, Introduction to Stochastic Programming, 2nd ed., Springer 2011,
        chapter 4, doi:10.1007/978-1-4614-0237-4.

    Args:
        make: The problem in given situations.
        situations: With one axis of several scenarios; hours and outages stay in all problems.
        solve: The best vector of a problem.
        x: The solution for all scenarios where it is known already.

    Raises:
        ValueError: Several objectives, one that is no mean over the scenarios, none or several axes
            of scenarios, a problem whose solution breaks limits (of the mean's only in itself).
    """
    axes = axes_of(situations)
    problem = make(situations)
    _check(problem)
    own = [axis for axis in problem.situations.axes if _is_uncertain(axis)]
    if len(own) != 1:
        raise ValueError(f"situations: expected one axis of several scenarios, got {len(own)}")
    n = len(own[0])
    weight = np.ones(n) if own[0].weight is None else own[0].weight
    if x is None:
        x = solve(problem)
    best = np.asarray(x, dtype=float)
    mean = make(Product(tuple(_Mean(axis) for axis in axes)))
    x_mean = np.asarray(solve(mean), dtype=float)
    _value(mean, x_mean, "the mean scenario")
    of_mean, G = problem.evaluate(x_mean)
    each, values = [], []
    for i in np.flatnonzero(weight > 0):
        alone = make(Product(tuple(_One(axis, int(i)) for axis in axes)))
        each.append(np.asarray(solve(alone), dtype=float))
        values.append(_value(alone, each[-1], f"scenario {i}"))
    weight = weight[weight > 0]
    return ScenarioValue(
        _value(problem, best, "all scenarios"),
        float(of_mean[0]) if (G <= 0).all() else np.inf,
        float(weight @ values / weight.sum()),
        best,
        x_mean,
        np.array(each),
    )


def _check(problem: GridProblem) -> None:
    if len(problem.objectives) != 1:
        raise ValueError(f"objectives: expected one, got {', '.join(problem.objective_names)}")
    objective = problem.objectives[0]
    if not isinstance(objective, Objective) or objective.over_rest != "mean":
        raise ValueError(
            f"objectives: {objective.name}: expected a mean over the scenarios, whose values the "
            "differences of expected values are"
        )


def _value(problem: GridProblem, x: FloatArray, what: str) -> float:
    F, G = problem.evaluate(x)
    if (G > 0).any():
        worst = problem.constraint_names[int(G.argmax())]
        raise ValueError(f"solve: its solution for {what} breaks limits, {worst} most")
    return float(F[0])


def _is_uncertain(axis: Axis) -> bool:
    return not axis.is_time and axis.group is None and len(axis) > 1


@dataclass(frozen=True)
class _Mean(Multiplies):
    """Of an axis of scenarios their weighted mean; other axes as they are."""

    of: Any

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation."""
        axis = self.of.bind(grid)
        if not _is_uncertain(axis):
            return axis
        weight = np.ones(len(axis)) if axis.weight is None else axis.weight
        share = weight / weight.sum()
        deltas = tuple(Delta(d.field, (share @ d.values)[np.newaxis], d.how) for d in axis.deltas)
        drivers = {name: np.array([share @ values]) for name, values in axis.drivers.items()}
        return Axis(("mean",), deltas, drivers=drivers)


@dataclass(frozen=True)
class _One(Multiplies):
    """Of an axis of scenarios a single one; other axes as they are."""

    of: Any
    which: int

    def bind(self, grid: SituationGrid) -> Axis:
        """One situation."""
        axis: Axis = self.of.bind(grid)
        if not _is_uncertain(axis):
            return axis
        return replace(axis.some(np.array([self.which])), weight=None)
