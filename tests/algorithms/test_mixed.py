from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Choice, Integer, Real
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from algorithms import AllowedSampling, MixedCMAES, SnapToGrid

VARIABLES = {
    "x": Real(bounds=(0, 1)),
    "k": Integer(bounds=(-3, 3)),
    "on": Binary(),
    "c": Choice(options=["a", "b", "c"]),
}
PROBLEM = Problem(vars=VARIABLES, xl=np.array([0.0, -3, 0, 0]), xu=np.array([1.0, 3, 1, 2]))


def test_snap_to_grid_rounds_discrete_columns_and_clips_all() -> None:
    pop = Population.new(X=np.array([[0.5, 1.4, 0.7, 0.2], [1.5, -9.0, -0.2, 7.0]]))
    snapped = SnapToGrid()(PROBLEM, pop).get("X")
    np.testing.assert_array_equal(snapped, [[0.5, 1, 1, 0], [1, -3, 0, 2]])


def test_allowed_sampling_repeats_under_a_seed_and_needs_no_snapping() -> None:
    first, second = (
        AllowedSampling()(PROBLEM, 50, random_state=np.random.default_rng(3)).get("X")
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(SnapToGrid()(PROBLEM, Population.new(X=first)).get("X"), first)


def test_cmaes_hears_feasibility_first_as_ranks() -> None:
    problem = get_problem("g9")
    algorithm = MixedCMAES(pop_size=40, sigma=0.3)
    algorithm.setup(problem, termination=("n_evals", 1000), seed=1)
    told: list[float] = []

    class Listener:
        """Stands between the algorithm and CMA-ES, and hears the values."""

        def __init__(self, strategy: Any) -> None:
            self.strategy = strategy

        def send(self, values: list[float]) -> Any:
            told.extend(values)
            return self.strategy.send(values)

    algorithm.next()
    algorithm.es = Listener(algorithm.es)
    algorithm.next()
    f, cv = algorithm.pop.get("f", "cv")
    assert 0 < (cv <= 0).sum() < 40
    np.testing.assert_array_equal(np.argsort(told), np.lexsort((f * (cv <= 0), cv)))
    np.testing.assert_array_equal(np.array(told)[cv <= 0], f[cv <= 0])


def test_cmaes_solves_a_constrained_problem() -> None:
    res = minimize(get_problem("g9"), MixedCMAES(), ("n_evals", 4000), seed=1)
    assert res.CV[0] <= 0.0
    assert 680.63 <= res.F[0] < 690.0
