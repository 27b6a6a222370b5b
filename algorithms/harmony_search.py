"""Harmony Search: new solutions are played from the notes of remembered ones.

Geem, Kim & Loganathan (2001), Simulation 76(2):60-68, doi:10.1177/003754970107600201, gave the
method; Lee & Geem (2005), Comput. Methods Appl. Mech. Engrg. 194:3902-3933,
doi:10.1016/j.cma.2004.09.007, its steps 1 to 5 for continuous and discrete variables; Mahdavi,
Fesanghary & Damangir (2007), Appl. Math. Comput. 188:1567-1579, doi:10.1016/j.amc.2006.11.033,
pitch adjustment that changes over the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from algorithms._base import MixedVariableAlgorithm, check_range
from algorithms._variables import Variables
from algorithms.neighbours import NeighbourSearch, offers_neighbours


class HarmonySearch(MixedVariableAlgorithm):
    """Harmony Search for real, integer, binary and choice variables.

    A *harmony* is a solution, a *note* the value of one of its variables, the *harmony memory*
    the population. With a pair for ``par`` and ``bandwidth`` this is Mahdavi's improved Harmony
    Search, with numbers that of Lee & Geem.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        hmcr: float = 0.99,
        par: float | tuple[float, float] = (0.6, 0.99),
        bandwidth: ArrayLike | tuple[ArrayLike, ArrayLike] = (1.0, 1e-4),
        same_harmony: float = 0.0,
        n_offsprings: int = 5,
        neighbour_search: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the parameters.

        Args:
            pop_size: Harmony memory size (HMS). None: 20, or 100 for several objectives.
            hmcr: Harmony memory considering rate: the chance that a note comes from memory. [0, 1]
            par: Pitch adjusting rate: the chance that a remembered note is adjusted; a pair grows
                linearly from the first to the second over the run. [0, 1]
            bandwidth: Largest pitch adjustment as a share of the variable's range, one number or
                one for each variable; a tuple of two shrinks exponentially from the first to the
                second over the run. (0, 1]
            same_harmony: Chance that all remembered notes of a new harmony come from the same
                remembered one, so that notes which belong together stay together (an addition of
                ours for variables that depend on each other); 0 is the rule of the papers, where
                every note has a source of its own. [0, 1]
            n_offsprings: Harmonies improvised, and then judged together, in one iteration.
            neighbour_search: Whether the best harmony of every iteration, and every one of the
                first memory, is improved by local search over its neighbours. None: where the
                problem offers neighbours (`offers_neighbours`).
            **kwargs: ``sampling``, ``survival`` and the options of pymoo's ``Algorithm``.

        Raises:
            ValueError: A parameter out of its range.
            TypeError: An unknown option.
        """
        super().__init__(**kwargs)
        self.pop_size = pop_size
        self.hmcr = hmcr
        self.par = tuple(par) if isinstance(par, (tuple, list)) else (par, par)
        self.bandwidth = bandwidth if isinstance(bandwidth, tuple) else (bandwidth, bandwidth)
        self.same_harmony = same_harmony
        self.n_offsprings = n_offsprings
        self.neighbour_search = neighbour_search
        check_range("hmcr", hmcr, 0.0, 1.0)
        check_range("same_harmony", same_harmony, 0.0, 1.0)
        check_range("n_offsprings", n_offsprings, 1, np.inf)
        if pop_size is not None:
            check_range("pop_size", pop_size, 1, np.inf)
        for name, pair, low in (("par", self.par, 0.0), ("bandwidth", self.bandwidth, 1e-300)):
            if len(pair) != 2:
                raise ValueError(f"{name}: expected one value or (first, last), got {pair!r}")
            for value in pair:
                check_range(name, value, low, 1.0)

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        self.memory_size = self.pop_size or (20 if problem.n_obj == 1 else 100)
        self._searches = offers_neighbours(problem)
        if self.neighbour_search is not None:
            if self.neighbour_search and not self._searches:
                raise ValueError("neighbour_search: the problem offers no neighbours")
            self._searches = self.neighbour_search
        self._waiting = Population.empty()
        self._search: NeighbourSearch | None = None
        self._found = Population.empty()

    def _initialize_infill(self) -> Population:
        return self.first_population(self.memory_size)

    def _initialize_advance(self, infills: Population, **kwargs: Any) -> None:
        self._remember(infills)
        if self._searches:
            self._waiting = self.pop

    def _infill(self) -> Population:
        points = self._search_on()
        if points is not None:
            return self.variables.population(points[: self.affordable(len(points))])
        progress = self.progress()
        harmonies = improvise(
            self.memory,
            self.variables,
            self.affordable(self.n_offsprings),
            hmcr=self.hmcr,
            par=linear(self.par[0], self.par[1], progress),
            bandwidth=exponential(self.bandwidth[0], self.bandwidth[1], progress),
            same_harmony=self.same_harmony,
            random_state=self.random_state,
        )
        return self.variables.population(harmonies)

    def _advance(self, infills: Population, **kwargs: Any) -> None:
        # Step 4 of Lee & Geem: better new harmonies replace the worst, none is stored twice.
        if self._search is None:
            self._remember(Population.merge(self.pop, infills))
            if self._searches:
                self._waiting = infills[best_of(infills)]
            return
        X = self.variables.vectors(ind.X for ind in infills)
        self._search.tell(X, *infills.get("F", "G", "H", "CV"))
        found = Population.merge(self._found, infills)
        found = found[best_of(found)]
        if found[0] is not self._found[0]:  # a search has one place in the memory
            kept = [ind for ind in self.pop if ind is not self._found[0]]
            self._remember(Population.merge(Population(kept), found))
            self._found = found

    def _search_on(self) -> np.ndarray | None:
        """The next vectors of the search, or of one from the next harmony that waits for it."""
        while self._search is not None or len(self._waiting):
            if self._search is None:
                self._found, self._waiting = self._waiting[:1], self._waiting[1:]
                start = self.variables.vectors([self._found[0].X])
                self._search = NeighbourSearch(self.problem, self.variables, start[0])
                self._search.tell(start, *self._found.get("F", "G", "H", "CV"))
            points = self._search.ask()
            if points is not None:
                return points
            self._search = None
        return None

    def _remember(self, pop: Population) -> None:
        X = self.variables.vectors(ind.X for ind in pop)
        _, first = np.unique(X, axis=0, return_index=True)
        self.pop = self._survival.do(
            self.problem,
            pop[np.sort(first)],
            n_survive=self.memory_size,
            random_state=self.random_state,
            algorithm=self,
        )
        self.memory = self.variables.vectors(ind.X for ind in self.pop)


def best_of(pop: Population) -> np.ndarray:
    """Place of the best individual, feasibility first, as an array of one."""
    cv, f = pop.get("cv", "f")
    return np.lexsort((f, cv))[:1]


def improvise(
    memory: np.ndarray,
    variables: Variables,
    n_harmonies: int,
    hmcr: float,
    par: float,
    bandwidth: ArrayLike,
    same_harmony: float,
    random_state: np.random.Generator,
) -> np.ndarray:
    """Play new harmonies, note by note (step 3 of Lee & Geem).

    Args:
        memory: Remembered harmonies, shape (HMS, n_var).
        bandwidth: Largest pitch adjustment as a share of the range, scalar or shape (n_var,).
        same_harmony: Chance that one remembered harmony gives all remembered notes.

    Returns:
        Shape (n_harmonies, n_var). Memory consideration: with chance ``hmcr`` the note of a random
        remembered harmony, with chance ``same_harmony`` of the same one for all notes; pitch
        adjustment: with chance ``par`` a neighbour of that note; otherwise any note of the range.
    """
    shape = (n_harmonies, len(variables))
    remembered = random_state.random(shape) < hmcr
    adjusted = remembered & (random_state.random(shape) < par)
    sources = random_state.integers(len(memory), size=shape)
    together = random_state.random((n_harmonies, 1)) < same_harmony
    sources = np.where(together, sources[:, :1], sources)
    notes = np.where(
        remembered,
        memory[sources, np.arange(shape[1])],
        variables.sample(n_harmonies, random_state),
    )
    share = np.maximum(bandwidth, rarest_pitch(variables))
    neighbours = variables.pitch(notes, share, random_state)
    return np.where(adjusted, neighbours, notes)


def rarest_pitch(variables: Variables) -> np.ndarray:
    """Bandwidths at which one of ``n_var`` adjusted discrete notes really moves, (n_var,).

    Smaller bandwidths than these would freeze discrete notes; for real ones there is no limit.
    """
    n_var = len(variables)
    rare = np.where(variables.ordered, 2.0 / (n_var * np.maximum(variables.span, 1.0)), 0.0)
    return np.where(variables.nominal, 1.0 / n_var, rare)


def linear(first: float, last: float, progress: float) -> float:
    """Pitch adjusting rate of Mahdavi et al.: linear from ``first`` to ``last``."""
    return first + (last - first) * progress


def exponential(first: ArrayLike, last: ArrayLike, progress: float) -> np.ndarray:
    """Bandwidth of Mahdavi et al.: ``first * exp(c * progress)``, c = ln(last / first)."""
    first, last = np.asarray(first, dtype=float), np.asarray(last, dtype=float)
    return first * np.exp(np.log(last / first) * progress)
