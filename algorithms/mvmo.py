"""Mean-Variance Mapping Optimization: mutation shaped by the mean and variance of an archive.

Erlich, Venayagamoorthy & Worawat (2010), IEEE CEC, doi:10.1109/CEC.2010.5586027, gave the archive,
the mapping and its shape factors for one particle; Rueda & Erlich (2013), IEEE SIS,
doi:10.1109/SIS.2013.6615164, the swarm of good and bad particles; Rueda & Erlich (2013), IEEE CEC,
doi:10.1109/CEC.2013.6557761, the schedules used here and the hybrid with local search (MVMO-SH).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from algorithms._base import MixedVariableAlgorithm, check_range
from algorithms._local_search import LocalSearch
from algorithms.neighbours import NeighbourSearch, offers_neighbours

SELECTIONS = ("sequential", "random", "block", "sliding_block")


class MVMO(MixedVariableAlgorithm):
    """Mean-Variance Mapping Optimization for real, integer, binary and choice variables.

    A swarm of particles; every particle keeps its best solutions in an archive of its own, and
    every generation makes one offspring of each. Real and ordered variables are mutated by the
    mapping function, ordered ones then rounded; binary and unordered choice variables, which have
    no mean and variance, take the value of a random archived solution or, as if it were one more
    of these, any value.

    With several objectives the particles are the survivors (rank and crowding), and the archive of
    a particle is made of the survivors nearest to it in objective space.
    """

    def __init__(
        self,
        n_particles: int | None = None,
        archive_size: int = 4,
        scaling_factor: tuple[float, float] = (1.0, 20.0),
        mutated: tuple[float, float] = (0.5, 0.0),
        selection: str = "sequential",
        good: tuple[float, float] = (0.7, 0.2),
        asymmetry: float = 0.05,
        local_search: bool = False,
        local_search_rate: float = 0.3,
        local_search_window: tuple[float, float] = (0.2, 0.9),
        local_search_margin: tuple[float, float] = (1e-3, 1e-5),
        neighbour_search: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the parameters; a pair holds the values at the start and at the end of the run.

        Args:
            n_particles: Swarm size. None: 10, or 100 for several objectives. 1 is the classic MVMO.
            archive_size: Best solutions kept by each particle, at least 2.
            scaling_factor: f_s, which sharpens the mapping; grows with the square of progress. > 0
            mutated: Largest number of mutated variables as a share of all; falls with the square of
                progress. At least one variable is mutated. [0, 1]
            selection: Which variables are mutated: "sequential" (one in turn, the others random),
                "random", "block" (neighbours, one block after the other), "sliding_block"
                (neighbours, the block moves by one).
            good: Share of the particles that start from their own best solution, the others from a
                mix of good ones; falls with the square of progress. [0, 1]
            asymmetry: Delta d0, by which the asymmetry factors d change. > 0
            local_search: Whether the best particles are improved by SLSQP (MVMO-SH); one objective.
            local_search_rate: Chance that an offspring starts a local search, times n_var. The
                authors' 0.015 is meant for budgets of 10,000 evaluations per variable.
            local_search_window: Progress between which a local search may start.
            local_search_margin: Distance that local searches keep from inequality constraints, in
                the unit of the constraints; shrinks exponentially with progress. Wide margins
                leave room for rounded variables, narrow ones come closer to the optimum. > 0
            neighbour_search: Whether the best offspring of every generation, and every one of the
                first swarm, is improved by local search over its neighbours. None: where the
                problem offers neighbours (`offers_neighbours`).
            **kwargs: ``sampling``, ``survival`` (several objectives only) and the options of
                pymoo's ``Algorithm``.

        Raises:
            ValueError: A parameter out of its range.
            TypeError: An unknown option.
        """
        super().__init__(**kwargs)
        self.n_particles = n_particles
        self.archive_size = archive_size
        self.scaling_factor = scaling_factor
        self.mutated = mutated
        self.selection = selection
        self.good = good
        self.asymmetry = asymmetry
        self.local_search = local_search
        self.local_search_rate = local_search_rate
        self.local_search_window = local_search_window
        self.local_search_margin = local_search_margin
        self.neighbour_search = neighbour_search
        if n_particles is not None:
            check_range("n_particles", n_particles, 1, np.inf)
        check_range("archive_size", archive_size, 2, np.inf)
        check_range("asymmetry", asymmetry, 1e-300, np.inf)
        check_range("local_search_rate", local_search_rate, 0.0, np.inf)
        check_pair("scaling_factor", scaling_factor, 1e-300, np.inf)
        check_pair("mutated", mutated, 0.0, 1.0)
        check_pair("good", good, 0.0, 1.0)
        check_pair("local_search_window", local_search_window, 0.0, 1.0)
        check_pair("local_search_margin", local_search_margin, 1e-300, np.inf)
        if selection not in SELECTIONS:
            raise ValueError(f"selection: expected one of {SELECTIONS}, got {selection!r}")

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        if self.local_search and problem.n_obj > 1:
            raise ValueError(f"local_search: expected one objective, got {problem.n_obj}")
        self.swarm_size = self.n_particles or (10 if problem.n_obj == 1 else 100)
        self._searches = offers_neighbours(problem)
        if self.neighbour_search is not None:
            if self.neighbour_search and not self._searches:
                raise ValueError("neighbour_search: the problem offers no neighbours")
            self._searches = self.neighbour_search
        self._waiting = Population.empty()

    def _initialize_infill(self) -> Population:
        return self.first_population(self.swarm_size)

    def _initialize_advance(self, infills: Population, **kwargs: Any) -> None:
        n_var = len(self.variables)
        self.swarm_size = len(infills)
        self.table = np.full((self.swarm_size, self.archive_size, n_var), np.nan)
        self.merit = np.full((self.swarm_size, self.archive_size, 2), np.inf)
        self.n_archived = np.zeros(self.swarm_size, dtype=int)
        self.mean: np.ndarray = np.zeros((self.swarm_size, n_var))
        self.shape: np.ndarray = np.zeros((self.swarm_size, n_var))
        self.d: np.ndarray = np.ones((self.swarm_size, n_var))
        self.pointer = self.random_state.integers(n_var, size=self.swarm_size)
        self.searched = np.zeros(self.swarm_size, dtype=bool)
        self._search: LocalSearch | NeighbourSearch | None = None
        self.pop = infills
        infills.set("particle", np.arange(self.swarm_size))
        if self.problem.n_obj == 1:
            self._store(infills)
        else:
            self._share_survivors(infills)
        if self._searches:
            self._waiting = infills

    def _infill(self) -> Population:
        while self._search is not None or self._opens_search():
            assert self._search is not None
            points = self._search.ask()
            if points is not None:
                return self.variables.population(points[: self.affordable(len(points))])
            self._search = None
        offspring = self._mutate()[: self.affordable(self.swarm_size)]
        infills = self.variables.population(offspring)
        infills.set("particle", np.arange(len(infills)))
        return infills

    def _advance(self, infills: Population, **kwargs: Any) -> None:
        if self._search is not None:
            self._advance_local_search(self._search, infills)
        elif self.problem.n_obj == 1:
            self._store(infills)
            if self._searches:
                self._waiting = infills[np.lexsort(infills.get("f", "cv"))[:1]]
        else:
            self._share_survivors(Population.merge(self.pop, infills))

    def _opens_search(self) -> bool:
        """Opens the next search if there is one to open."""
        if len(self._waiting):
            individual, self._waiting = self._waiting[0], self._waiting[1:]
            start = self.variables.vectors([individual.X])
            self._particle, self._found = individual.get("particle"), False
            self._search = NeighbourSearch(self.problem, self.variables, start[0])
            self._search.tell(start, *(np.array([v]) for v in individual.get("F", "G", "H", "CV")))
            return True
        if self._starts_local_search():
            self._open_local_search()
            return True
        return False

    def _normalised(self, pop: Population) -> np.ndarray:
        """Positions in [0, 1], shape (n, n_var)."""
        X = self.variables.vectors(ind.X for ind in pop)
        span = np.where(self.variables.span > 0, self.variables.span, 1.0)
        return (X - self.variables.lower) / span

    def _store(self, pop: Population) -> None:
        """Offer every individual to the archive of its particle (n best, best first)."""
        for individual, x in zip(pop, self._normalised(pop), strict=True):
            i, *merit = individual.get("particle", "cv", "f")
            merit = np.where(np.isnan(merit), np.inf, merit)
            n = self.n_archived[i]
            place = sum(tuple(known) <= tuple(merit) for known in self.merit[i, :n])
            if place == self.archive_size or (self.table[i, :n] == x).all(axis=1).any():
                continue
            self.table[i, place + 1 :] = self.table[i, place:-1]
            self.merit[i, place + 1 :] = self.merit[i, place:-1]
            self.table[i, place], self.merit[i, place] = x, merit
            self.n_archived[i] = min(n + 1, self.archive_size)
            if place == 0:
                self.pop[i] = individual
                self.searched[i] = False
            self._measure(i)

    def _share_survivors(self, pop: Population) -> None:
        """Several objectives: the survivors are the particles, the nearest of them its archive."""
        kept = self._survival.do(
            self.problem,
            pop,
            n_survive=self.swarm_size,
            return_indices=True,
            random_state=self.random_state,
            algorithm=self,
        )
        origin = pop.get("particle")[kept]
        self.pop, self.d, self.shape = pop[kept], self.d[origin], self.shape[origin]
        self.pop.set("particle", np.arange(len(kept)))
        X, F = self._normalised(self.pop), self.pop.get("F")
        F = F / np.maximum(np.ptp(F, axis=0), 1e-300)
        distance = ((F[:, None] - F[None]) ** 2).sum(axis=2)
        np.fill_diagonal(distance, -1.0)
        nearest = distance.argsort(axis=1, kind="stable")[:, : self.archive_size]
        self.n_archived[:] = nearest.shape[1]
        self.table[:, : nearest.shape[1]] = X[nearest]
        self._measure(slice(None))

    def _measure(self, i: int | slice) -> None:
        """Mean and shape factors of the archive of particle ``i``, or of all."""
        known = self.table[i, ..., : np.min(self.n_archived[i]), :]
        self.mean[i] = known.mean(axis=-2)
        self.shape[i] = shape_factor(known.var(axis=-2), self.shape[i])

    def _mutate(self) -> np.ndarray:
        """One offspring of every particle, allowed points of shape (n_particles, n_var)."""
        rs, variables = self.random_state, self.variables
        squared = self.progress() ** 2
        parent, mean = self._parents(squared)

        n_mutated = number_mutated(*self.mutated, squared, self.mean.shape, rs)
        mutated, self.pointer = select(self.selection, n_mutated, self.pointer, len(variables), rs)
        scaling = between(*self.scaling_factor, squared) * (1.0 + rs.random(mean.shape))
        changing = mutated & (self.shape > 0)
        self.d = np.where(changing, asymmetric(self.d, self.shape, self.asymmetry, rs), self.d)
        left = rs.random(mean.shape) < 0.5
        s1 = scaling * np.where(left, self.d, self.shape)
        s2 = scaling * np.where(left, self.shape, self.d)
        u = rs.random(mean.shape)
        new = np.where(changing, mapping(mean, s1, s2, u), u)
        new = np.where(variables.nominal, self._drawn(), new)

        before = variables.snap(variables.lower + parent * variables.span)
        after = variables.lower + np.where(mutated, new, parent) * variables.span
        after = variables.snap(after)
        # An ordered variable that is mapped onto itself would waste the evaluation.
        unchanged = (after == before).all(axis=1)
        moved = unchanged[:, None] & (np.arange(len(variables)) == self.pointer[:, None])
        return np.where(moved, variables.step(before, rs), after)

    def _parents(self, squared: float) -> tuple[np.ndarray, np.ndarray]:
        """Starting points and means of the offspring, both normalised, (n_particles, n_var).

        A good particle starts from its best solution and its archive's mean. A bad one takes for
        both a mix of good particles, ``x_RG + beta * (x_GB - x_LG)`` with the globally best GB, the
        last good LG and a random good RG between them.
        """
        rs = self.random_state
        parent, mean = self.table[:, 0].copy(), self.mean.copy()
        n_good = max(3, round(self.swarm_size * between(*self.good, squared)))
        if self.swarm_size <= n_good:
            return parent, mean
        order = self._ranking()
        bad = order[n_good:]
        best, last = parent[order[0]], parent[order[n_good - 1]]
        random_good = parent[order[rs.integers(1, n_good - 1, size=len(bad))]]
        mixed = mix(random_good, best, last, squared, rs)
        mixed = np.where(self.variables.nominal, random_good, mixed)
        parent[bad] = mean[bad] = mixed
        return parent, mean

    def _ranking(self) -> np.ndarray:
        if self.problem.n_obj > 1:
            return np.arange(self.swarm_size)
        return np.lexsort((self.merit[:, 0, 1], self.merit[:, 0, 0]))

    def _drawn(self) -> np.ndarray:
        """Values of a random archived solution or, as one more of them, any value; normalised."""
        rs, variables = self.random_state, self.variables
        shape = self.mean.shape
        k = np.floor(rs.random(shape) * (self.n_archived[:, None] + 1)).astype(int)
        anywhere = k == self.n_archived[:, None]
        k = np.where(anywhere, 0, k)
        archived = self.table[np.arange(shape[0])[:, None], k, np.arange(shape[1])]
        free = (variables.sample(shape[0], rs) - variables.lower) / np.maximum(variables.span, 1)
        return np.where(anywhere, free, archived)

    def _starts_local_search(self) -> bool:
        if not self.local_search or self.searched.all():
            return False
        first, last = self.local_search_window
        chance = self.local_search_rate * self.swarm_size / len(self.variables)
        return first <= self.progress() <= last and self.random_state.random() < chance

    def _open_local_search(self) -> None:
        """Start from the best particle that has not been searched since it last improved."""
        i = next(i for i in self._ranking() if not self.searched[i])
        leader = self.pop[i]
        start = self.variables.vectors([leader.X])
        first, last = self.local_search_margin
        margin = first * (last / first) ** self.progress()
        self._search = LocalSearch(self.variables, start[0], margin)
        self._particle, self._found = i, False
        self._search.tell(start, *(np.array([v]) for v in leader.get("F", "G", "H", "CV")))
        self.searched[i] = True

    def _advance_local_search(
        self, search: LocalSearch | NeighbourSearch, infills: Population
    ) -> None:
        """Hand the values to the search; the best point it found leads the particle's archive."""
        X = self.variables.vectors(ind.X for ind in infills)
        search.tell(X, *infills.get("F", "G", "H", "CV"))
        cv, f = infills.get("cv", "f")
        best = np.lexsort((f, cv))[:1]
        infills.set("particle", self._particle)
        i = self._particle
        if self._found:
            # Later points of one search take the place of earlier ones: the archive keeps the
            # spread that the mapping needs.
            if (cv[best[0]], f[best[0]]) >= tuple(self.merit[i, 0]):
                return
            self.table[i, 0] = self._normalised(infills[best])
            self.merit[i, 0] = cv[best[0]], f[best[0]]
            self.pop[i] = infills[best[0]]
            self._measure(i)
        elif (cv[best[0]], f[best[0]]) < tuple(self.merit[i, 0]):
            self._store(infills[best])
            self._found = True
        self.searched[i] = True


def mapping(mean: ArrayLike, s1: ArrayLike, s2: ArrayLike, u: ArrayLike) -> np.ndarray:
    """New value of a mutated variable from a uniform draw ``u``, all in [0, 1].

    ``h(u) = mean (1 - exp(-u s1)) + (1 - mean) exp(-(1 - u) s2)`` corrected at both ends to
    ``h(u) + (1 - h(1) + h(0)) u - h(0)``, so that 0 stays 0 and 1 stays 1; here with equal terms
    put together. The larger the shapes ``s1`` (below the mean) and ``s2`` (above it), the closer
    to the mean is all between.
    """
    mean, s1, s2, u = (np.asarray(a, dtype=float) for a in (mean, s1, s2, u))
    below = 1.0 - (np.exp(-u * s1) - u * np.exp(-s1))
    above = np.exp(-(1.0 - u) * s2) - (1.0 - u) * np.exp(-s2)
    return mean * below + (1.0 - mean) * above


def shape_factor(variance: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Shape ``s = -ln(variance)``; ``previous`` where all archived values are the same."""
    spread = variance > 0
    return np.where(spread, -np.log(np.where(spread, variance, 1.0)), previous)


def asymmetric(
    d: np.ndarray, shape: np.ndarray, asymmetry: float, random_state: np.random.Generator
) -> np.ndarray:
    """Asymmetry factors d, which follow the shape up and down by a random factor.

    The factor is ``1 + asymmetry + 2 asymmetry (U(0, 1) - 0.5)``: between 1 and 1 + 2 asymmetry.
    """
    factor = 1.0 + asymmetry + 2.0 * asymmetry * (random_state.random(d.shape) - 0.5)
    return np.where(shape > d, d * factor, d / factor)


def number_mutated(
    first: float,
    last: float,
    squared: float,
    shape: tuple[int, int],
    random_state: np.random.Generator,
) -> np.ndarray:
    """Variables to mutate, (n_particles,): random between the last number and the present one.

    Args:
        first, last: Shares of all variables at the start and the end of the run.
        squared: Square of progress.
        shape: (n_particles, n_var).
    """
    n_particles, n_var = shape
    final = max(1.0, last * n_var)
    present = round(max(1.0, between(first * n_var, final, squared)))
    return np.round(final + random_state.random(n_particles) * (present - final)).astype(int)


def select(
    strategy: str,
    n_mutated: np.ndarray,
    pointer: np.ndarray,
    n_var: int,
    random_state: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the variables to mutate.

    Args:
        n_mutated: Number to choose in each particle, (n_particles,).
        pointer: Where each particle's sequence or block stands, (n_particles,).

    Returns:
        The choice, (n_particles, n_var), and the pointers, each on a chosen variable.
    """
    columns = np.arange(n_var)
    if strategy in ("block", "sliding_block"):
        pointer = (pointer + (n_mutated if strategy == "block" else 1)) % n_var
        return (columns - pointer[:, None]) % n_var < n_mutated[:, None], pointer
    order = random_state.random((len(n_mutated), n_var))
    if strategy == "sequential":
        pointer = (pointer - 1) % n_var
        order[columns == pointer[:, None]] = -1.0
    else:
        pointer = order.argmin(axis=1)
    return order.argsort(axis=1).argsort(axis=1) < n_mutated[:, None], pointer


def mix(
    random_good: np.ndarray,
    best: np.ndarray,
    last: np.ndarray,
    squared: float,
    random_state: np.random.Generator,
) -> np.ndarray:
    """``random_good + beta (best - last)`` with ``beta = 2 (U(0, 1) - 0.5 (1 - 0.99 squared))``.

    Draws again where the result leaves [0, 1], and clips what still does after ten draws.
    """
    mixed = np.full_like(random_good, np.inf)
    for _ in range(10):
        beta = 2.0 * (random_state.random(mixed.shape) - 0.5 * (1.0 - 0.99 * squared))
        outside = (mixed < 0.0) | (mixed > 1.0)
        mixed = np.where(outside, random_good + beta * (best - last), mixed)
    return np.clip(mixed, 0.0, 1.0)


def between(first: float, last: float, share: float) -> float:
    return first + (last - first) * share


def check_pair(name: str, pair: Any, low: float, high: float) -> None:
    if np.shape(pair) != (2,):
        raise ValueError(f"{name}: expected (first, last), got {pair!r}")
    check_range(name, pair, low, high)
