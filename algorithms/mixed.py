"""What lets pymoo's vector algorithms work well on mixed variables and constraints."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
from pymoo.core.initialization import Initialization
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling

from algorithms._variables import Variables


class SnapToGrid(Repair):
    """Move vectors to the nearest allowed points: inside the bounds, whole where discrete.

    With it pymoo's operators see duplicates that differ only by rounding, and the solutions in a
    result are exactly those that were evaluated.
    """

    def _do(self, problem: Problem, X: np.ndarray, **kwargs: Any) -> np.ndarray:
        return Variables(problem).snap(X)


class AllowedSampling(Sampling):
    """Uniform draws from the allowed points, every integer and option equally likely."""

    def _do(
        self,
        problem: Problem,
        n_samples: int,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        return Variables(problem).sample(n_samples, random_state)


class MixedCMAES(CMAES):
    """pymoo's CMA-ES for discrete variables and constraints.

    Points are snapped before they are evaluated. CMA-ES learns from ranks alone, so feasibility
    first (Deb) reaches it as values: infeasible points come after the worst feasible one, in the
    order of their violation. (pymoo's CMA-ES sets their objective to infinity, and knows no order
    among them.) One objective.
    """

    def __init__(self, sampling: Sampling | np.ndarray | None = None, **kwargs: Any) -> None:
        """Set the parameters.

        Args:
            sampling: Where the starting point is chosen from; None: 20 uniform draws.
            **kwargs: Parameters of pymoo's ``CMAES`` and options of CMA-ES.
        """
        super().__init__(**kwargs)
        self.initialization = Initialization(AllowedSampling() if sampling is None else sampling)

    def _infill(self) -> Population:
        return SnapToGrid()(self.problem, super()._infill())

    def _advance(self, infills: Population | None = None, **kwargs: Any) -> Any:
        if infills is None:
            return super()._advance(infills=None, **kwargs)
        f, cv = infills.get("f", "cv")
        feasible = cv <= 0
        worst = f[feasible].max(initial=f.min())
        ranked = np.where(feasible, f, worst + cv)
        judged = Population.new(X=infills.get("X"), F=ranked[:, None])
        return super()._advance(infills=judged, **kwargs)
