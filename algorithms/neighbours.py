"""Moves between neighbours that a problem offers: a mutation for pymoo, and a local search.

``problem.neighbours(x, n_wanted)`` gives neighbours of a vector, shape (n, n_var), the most
promising first: branch exchanges of a feeder, swaps in an order, single steps of integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem

from algorithms._variables import Variables


def offers_neighbours(problem: Problem) -> bool:
    """Whether a problem has one objective and a method ``neighbours(x, n_wanted)``."""
    return problem.n_obj == 1 and hasattr(problem, "neighbours")


class NeighbourMutation(Mutation):
    """Replaces a vector by one of its most promising neighbours, each equally likely.

    Args:
        n_considered: How many of them.
        prob: Chance that a vector is mutated.
    """

    def __init__(self, n_considered: int = 12, prob: float = 0.9) -> None:
        super().__init__(prob=prob)
        self.n_considered = n_considered

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        mutated = []
        for x in X:
            offered = problem.neighbours(x, self.n_considered)
            mutated.append(random_state.choice(offered) if len(offered) else x)
        return np.array(mutated)


class NeighbourSearch:
    """Moves to better neighbours until the most promising ones are no better.

    Of every batch the best is taken if it improves; then its neighbours are next.
    """

    def __init__(
        self,
        problem: Problem,
        variables: Variables,
        start: np.ndarray,
        n_tried: int = 12,
        n_together: int = 4,
    ) -> None:
        """Prepare a search from an evaluated vector.

        Args:
            start: Flat vector, shape (n_var,).
            n_tried: Neighbours tried before a vector counts as a local optimum.
            n_together: Neighbours evaluated in one batch.
        """
        self._problem, self._variables = problem, variables
        self._n_tried, self._n_together = n_tried, n_together
        self._merit: tuple[float, float] = (np.inf, np.inf)
        self._seen = {start.tobytes()}
        self._queue = self._neighbours(start)

    def ask(self) -> np.ndarray | None:
        """The vectors to evaluate next, shape (n, n_var); None at a local optimum."""
        batch, self._queue = self._queue[: self._n_together], self._queue[self._n_together :]
        self._seen.update(x.tobytes() for x in batch)
        return batch if len(batch) else None

    def tell(self, X: np.ndarray, F: np.ndarray, G: Any, H: Any, CV: np.ndarray) -> None:
        """Take the values of the vectors asked for, or of the start; G and H are not used."""
        best = np.lexsort((F[:, 0], CV[:, 0]))[0]
        merit = (float(CV[best, 0]), float(F[best, 0]))
        started = self._merit == (np.inf, np.inf)
        if merit < self._merit:
            self._merit = merit
            if not started:
                self._queue = self._neighbours(X[best])

    def _neighbours(self, x: np.ndarray) -> np.ndarray:
        offered = self._problem.neighbours(x, self._n_tried)
        new = [y for y in self._variables.snap(offered) if y.tobytes() not in self._seen]
        return np.array(new).reshape(-1, len(x))
