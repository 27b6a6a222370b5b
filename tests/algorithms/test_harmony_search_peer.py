"""Harmony Search configured like another implementation of the same method gives the same results.

pygmo's ``ihs`` follows Mahdavi et al. as ours does: one harmony at a time, every note with a source
of its own, linear pitch adjusting rate, exponential bandwidth as a share of the range, the worst
harmony replaced, notes outside of their range mirrored.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from scipy.stats import mannwhitneyu

from algorithms import HarmonySearch

if not sys.platform.startswith("linux"):
    pytest.skip("platform: pygmo comes built for Linux only", allow_module_level=True)
pygmo = pytest.importorskip("pygmo")
N_RUNS, MEMORY, N_HARMONIES = 50, 20, 230


class InPygmo:
    """A pymoo problem as pygmo wants it."""

    def __init__(self, name: str, n_var: int) -> None:
        self.problem = get_problem(name, n_var=n_var)

    def fitness(self, x: np.ndarray) -> list[float]:
        return [float(self.problem.evaluate(np.asarray(x)[None])[0, 0])]

    def get_bounds(self) -> tuple[list[float], list[float]]:
        return self.problem.xl.tolist(), self.problem.xu.tolist()


def of_pygmo(name: str, hmcr: float) -> np.ndarray:
    found = []
    for seed in range(1, N_RUNS + 1):
        rules = pygmo.ihs(N_HARMONIES, hmcr, 0.35, 0.99, 1e-3, 0.1, seed)
        memory = pygmo.population(pygmo.problem(InPygmo(name, 5)), MEMORY, seed=seed)
        found.append(pygmo.algorithm(rules).evolve(memory).champion_f[0])
    return np.array(found)


def ours(name: str, hmcr: float) -> np.ndarray:
    found = []
    for seed in range(1, N_RUNS + 1):
        algorithm = HarmonySearch(
            pop_size=MEMORY,
            hmcr=hmcr,
            par=(0.35, 0.99),
            bandwidth=(0.1, 1e-3),
            global_best=0.0,
            n_offsprings=1,
            local_search=False,
        )
        problem = get_problem(name, n_var=5)
        found.append(
            minimize(problem, algorithm, ("n_evals", MEMORY + N_HARMONIES), seed=seed).F[0]
        )
    return np.array(found)


@pytest.mark.parametrize("name", ["sphere", pytest.param("rastrigin", marks=pytest.mark.slow)])
def test_same_distribution_as_pygmo(name: str) -> None:
    same = of_pygmo(name, 0.85)
    assert mannwhitneyu(ours(name, 0.85), same).pvalue > 0.01
    # The samples are large enough to tell another considering rate from this one.
    assert mannwhitneyu(of_pygmo(name, 0.5), same).pvalue < 0.01
