"""
A control, an objective and an algorithm of one's own
=====================================================

Each part is a small class or function, and each is checked in a line.
Taps and curtailment then keep the voltages of a low-voltage grid close together.
"""

from dataclasses import dataclass

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.optimize import minimize

from algorithms.mixed import AllowedSampling, SnapToGrid
from gridproblems import Control, GridProblem, Hours, Taps
from gridproblems.controls.direct import DirectBlock
from gridproblems.testing import check_algorithm, check_control, check_problem


@dataclass(frozen=True)
class Curtailment:
    """Feeds in a share of every static generator."""

    least: float = 0.0

    def prepare(self, grid):
        """Adds nothing to the grid."""

    def bind(self, grid, situations, prepared):
        """One share per static generator in service."""
        elements = grid.whole("sgen", "scaling").elements
        shares = [Control("sgen", "scaling", (e,), "real", self.least, 1.0) for e in elements]
        return DirectBlock("curtailment", shares, grid)


def v_spread_pu(settings, state):
    """Highest less lowest voltage, of the hour where that is most."""
    return np.ptp(state.vm_pu, axis=1).max()


def small_ga(problem):
    """pymoo's genetic algorithm with few individuals."""
    return GA(pop_size=20, sampling=AllowedSampling(), repair=SnapToGrid())


problem = GridProblem("lv18", [Curtailment(0.2), Taps()], Hours(), v_spread_pu)

check_control(Curtailment(0.2), "lv18")
check_problem(problem)
check_algorithm(small_ga)

result = minimize(problem, small_ga(problem), ("n_evals", 500), seed=1)
print(f"spread of voltages {result.F[0]:.4f} p.u., now {problem.base_values()[0]:.4f} p.u.")
problem.figures(result.X)["voltage_band"].savefig("voltage_band.png")
