"""Permutations for pymoo: several in one vector, operators, a published and a better GA.

A problem says with ``permutation_blocks``, the lengths of its permutations, that its vectors are
permutations one after the other, each of 0, 1, ..., n - 1. A problem without it is taken by the
operators as one permutation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.core.selection import Selection
from pymoo.operators.crossover.ox import OrderCrossover
from pymoo.operators.sampling.rnd import PermutationRandomSampling

from algorithms._base import check_options
from algorithms._pace import PacedAlgorithm
from algorithms._variables import Variables
from algorithms.neighbours import NeighbourSearch, offers_neighbours


def blocks_of(problem: Problem) -> list[slice]:
    """Where each permutation stands in a vector."""
    lengths: Sequence[int] = getattr(problem, "permutation_blocks", (problem.n_var,))
    stops = np.cumsum(lengths)
    return [slice(int(stop - n), int(stop)) for n, stop in zip(lengths, stops, strict=True)]


class PermutationSampling(Sampling):
    """Every permutation equally likely, in every block."""

    def _do(
        self,
        problem: Problem,
        n_samples: int,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        sampling = PermutationRandomSampling()
        parts = [
            sampling._do(
                Problem(n_var=block.stop - block.start), n_samples, random_state=random_state
            )
            for block in blocks_of(problem)
        ]
        return np.concatenate(parts, axis=1).astype(float)


class BlockCrossover(Crossover):
    """A crossover of permutations, block by block.

    Args:
        crossover: Of two permutations, for example pymoo's ``OrderCrossover``.
        prob: Chance that two parents are crossed.
    """

    def __init__(self, crossover: Crossover, prob: float = 0.9) -> None:
        super().__init__(crossover.n_parents, crossover.n_offsprings, prob=prob)
        self.crossover = crossover

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        parts = [
            self.crossover._do(problem, X[..., block], random_state=random_state)
            for block in blocks_of(problem)
        ]
        return np.concatenate(parts, axis=-1).astype(X.dtype)


class CycleCrossover(Crossover):
    """Every position keeps the value of one of the parents, cycle by cycle.

    A cycle is a set of positions that hold the same values in both parents; the first child takes
    each from a parent chosen at random, the second from the other one. With ``alternate`` the
    cycles, in the order of their first positions, are taken from the first and the second parent
    in turn, as published.

    Source: I. M. Oliver, D. J. Smith, J. R. C. Holland, A study of permutation crossover operators
    on the traveling salesman problem, Proc. 2nd Int. Conf. on Genetic Algorithms (1987) 224-230.
    """

    def __init__(self, alternate: bool = False, prob: float = 0.9) -> None:
        super().__init__(2, 2, prob=prob)
        self.alternate = alternate

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        Y = X.copy()
        for mating in range(X.shape[1]):
            cycle = cycles(X[0, mating], X[1, mating])
            n_cycles = cycle.max() + 1
            swapped = (
                np.arange(n_cycles) % 2 == 1
                if self.alternate
                else random_state.random(n_cycles) < 0.5
            )[cycle]
            Y[0, mating, swapped] = X[1, mating, swapped]
            Y[1, mating, swapped] = X[0, mating, swapped]
        return Y


def cycles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of the cycle of every position of two permutations, by first position."""
    place = np.empty(len(a), dtype=int)
    place[a.astype(int)] = np.arange(len(a))
    following = place[b.astype(int)].tolist()
    number = [-1] * len(a)
    n_cycles = 0
    for start in range(len(a)):
        if number[start] >= 0:
            continue
        i = start
        while number[i] < 0:
            number[i] = n_cycles
            i = following[i]
        n_cycles += 1
    return np.array(number)


class SwapMutation(Mutation):
    """Swaps two entries of a permutation; which block is drawn by its length.

    Args:
        prob: Chance that a vector is mutated.
    """

    def __init__(self, prob: float = 1.0) -> None:
        super().__init__(prob=prob)

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        Y = X.copy()
        for y in Y:
            i, j = _two_places(problem, random_state)
            y[[i, j]] = y[[j, i]]
        return Y


class InsertionMutation(Mutation):
    """Takes one entry of a permutation out and inserts it elsewhere; those between move by one.

    Args:
        prob: Chance that a vector is mutated.
    """

    def __init__(self, prob: float = 1.0) -> None:
        super().__init__(prob=prob)

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        Y = X.copy()
        for y in Y:
            source, target = _two_places(problem, random_state)
            y[:] = np.insert(np.delete(y, source), target, y[source])
        return Y


def _two_places(problem: Problem, random_state: np.random.Generator) -> np.ndarray:
    """Two different positions in one block."""
    blocks = [block for block in blocks_of(problem) if block.stop - block.start > 1]
    lengths = np.array([block.stop - block.start for block in blocks])
    block = blocks[random_state.choice(len(blocks), p=lengths / lengths.sum())]
    return block.start + random_state.choice(block.stop - block.start, 2, replace=False)


class OneOf(Mutation):
    """One of several mutations for every vector, each equally likely.

    Args:
        mutations: The mutations; their own chances are not used.
        prob: Chance that a vector is mutated.
    """

    def __init__(self, mutations: Sequence[Mutation], prob: float = 1.0) -> None:
        super().__init__(prob=prob)
        self.mutations = tuple(mutations)

    def _do(
        self,
        problem: Problem,
        X: np.ndarray,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        chosen = random_state.integers(len(self.mutations), size=len(X))
        Y = X.copy()
        for k, mutation in enumerate(self.mutations):
            Y[chosen == k] = mutation._do(problem, X[chosen == k], random_state=random_state)
        return Y


class FitnessProportionalSelection(Selection):
    """Parents by roulette wheel: the chance grows with the distance to the worst of the population.

    Feasible solutions of one objective have weight ``f_worst - f``, the worst and infeasible ones
    none; where all are alike, each is equally likely.
    """

    def _do(
        self,
        problem: Problem,
        pop: Population,
        n_select: int,
        n_parents: int,
        *args: Any,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> np.ndarray:
        f, cv = pop.get("f", "cv")
        judged = np.where(cv <= 0, f, np.nan) if (cv <= 0).any() else cv
        weight = np.nan_to_num(np.nanmax(judged) - judged)
        total = weight.sum()
        chance = weight / total if total > 0 else np.full(len(pop), 1.0 / len(pop))
        return random_state.choice(len(pop), (n_select, n_parents), p=chance)


class PermutationGA(PacedAlgorithm, GA):
    """pymoo's genetic algorithm on permutations, with local search over neighbours.

    The best offspring of every generation is improved by local search, whose evaluations count, as
    generations too: as many of them as a generation has offspring are one; it then has one place
    in the population.
    """

    pop: Any

    def __init__(
        self,
        pop_size: int = 100,
        crossover: Crossover | None = None,
        mutation: Mutation | None = None,
        neighbour_search: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Prepare a run.

        Args:
            pop_size: Size of the population.
            crossover: None: cycle crossover.
            mutation: None: a swap or an insertion.
            neighbour_search: Whether there is local search: over the neighbours that the problem
                offers, or over random swaps. None: where the problem offers neighbours.
            **kwargs: Options of pymoo's ``GA``.

        Raises:
            TypeError: An unknown option.
        """
        check_options(type(self), kwargs)
        super().__init__(
            pop_size=pop_size,
            crossover=crossover or BlockCrossover(CycleCrossover()),
            mutation=mutation or OneOf((SwapMutation(), InsertionMutation()), prob=0.9),
            **{"sampling": PermutationSampling(), **kwargs},
        )
        self.neighbour_search = neighbour_search
        self._search: NeighbourSearch | None = None
        self._found: Any = Population.empty()

    def generation_size(self) -> int:
        """Offspring of one generation."""
        return int(self.n_offsprings)

    def is_settled(self) -> bool:
        """Whether tolerances count: while no search is running."""
        return self.is_proposal

    def _infill(self) -> Population:
        if self._search is not None:
            points = self._search.ask()
            if points is not None:
                return Population.new(X=points)
            self._search = None
        return super()._infill()

    def _advance(self, infills: Any = None, **kwargs: Any) -> None:
        self.is_proposal = self._search is None
        if self._search is None:
            super()._advance(infills, **kwargs)
            if self._searches():
                self._found = _best(infills)
                self._search = NeighbourSearch(
                    self._swaps(), Variables(self.problem), self._found[0].X
                )
                self._search.tell(self._found.get("X"), *self._found.get("F", "G", "H", "CV"))
            return
        self._search.tell(infills.get("X"), *infills.get("F", "G", "H", "CV"))
        found = _best(Population.merge(self._found, infills))
        if found[0] is not self._found[0]:
            others = Population([i for i in self.pop if i is not self._found[0]])
            self.pop, self._found = others, found
            super()._advance(self.eliminate_duplicates.do(found, others), **kwargs)

    def _searches(self) -> bool:
        if self.neighbour_search is None:
            return offers_neighbours(self.problem)
        return self.neighbour_search

    def _swaps(self) -> Any:
        """Whatever offers neighbours: the problem, or else random swaps."""
        if offers_neighbours(self.problem):
            return self.problem
        return RandomSwaps(self.problem, self.random_state)


class RandomSwaps:
    """Neighbours of permutations for `NeighbourSearch`: swaps in random order."""

    def __init__(self, problem: Problem, random_state: np.random.Generator) -> None:
        self._problem, self._random_state = problem, random_state

    def neighbours(self, x: np.ndarray, n_wanted: int) -> np.ndarray:
        """Vectors with two entries of one permutation swapped, shape (n_wanted, n_var)."""
        X = np.tile(np.asarray(x, dtype=float), (n_wanted, 1))
        return SwapMutation()._do(self._problem, X, random_state=self._random_state)


def _best(pop: Population) -> Any:
    """The best individual, feasibility first."""
    cv, f = pop.get("cv", "f")
    return pop[np.lexsort((f, cv))[:1]]


def permutation_ga(problem: Problem, **parameters: Any) -> PermutationGA:
    """Genetic algorithm on permutations: cycle crossover, swaps, insertions, local search."""
    _require_permutations("permutation-ga", problem)
    return PermutationGA(**parameters)


def order_ga(problem: Problem, **parameters: Any) -> GA:
    """GA of a published study: order crossover, 10 % swaps, roulette wheel, population 10."""
    _require_permutations("order-ga", problem)
    check_options(GA, parameters)
    return GA(
        **{
            "pop_size": 10,
            "sampling": PermutationSampling(),
            "selection": FitnessProportionalSelection(),
            "crossover": BlockCrossover(OrderCrossover()),
            "mutation": SwapMutation(prob=0.1),
            **parameters,
        }
    )


def _require_permutations(name: str, problem: Problem) -> None:
    if not hasattr(problem, "permutation_blocks"):
        raise ValueError(
            f"{name}: expected a problem whose vectors are permutations (with the attribute "
            f"permutation_blocks), got {type(problem).__name__}; use ga, hs or mvmo"
        )
    if problem.n_obj != 1:
        raise ValueError(f"{name}: expected a problem with one objective, got {problem.n_obj}")
