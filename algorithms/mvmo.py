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
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from algorithms._base import check_pair, check_range
from algorithms._hybrid import HybridAlgorithm

SELECTIONS = ("sequential", "random", "block", "sliding_block")


class MVMO(HybridAlgorithm):
    """Mean-Variance Mapping Optimization for real, integer, binary and choice variables.

    A swarm of particles; every particle keeps its best solutions in an archive of its own, and
    every generation makes one offspring of each. Real and ordered variables are mutated by the
    mapping function, ordered ones then rounded; binary and unordered choice variables, which have
    no mean and variance, take the value of a random archived solution or, as if it were one more
    of these, any value.

    With several objectives the particles are the survivors (rank and crowding), and the archive of
    a particle is made of the survivors nearest to it in objective space.

    The forms of the papers, each with ``neighbour_search=False, avoid_repeats=False``:

    - Erlich et al. (2010), one particle: ``MVMO(n_particles=1, local_search=False)``
    - Rueda & Erlich (2013, SIS), MVMO-S, the swarm: ``MVMO(local_search=False)``
    - Rueda & Erlich (2013, CEC), MVMO-SH, the hybrid: ``MVMO(local_search=True)``

    Differences from them: the factors d follow the shapes before these are multiplied by f_s, and
    both are multiplied afterwards; ordered variables have steps of equal width, so that their first
    and last values are as likely as all others; violations come before objectives instead of
    penalties; an offspring equal to its parent is moved by a step; local search has rules of its
    own (`HybridAlgorithm`).
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
            **kwargs: Options of `HybridAlgorithm` (searches, constraints, reference directions),
                ``sampling``, ``survival`` (several objectives only) and the options of pymoo's
                ``Algorithm``.

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
        if n_particles is not None:
            check_range("n_particles", n_particles, 1, np.inf)
        check_range("archive_size", archive_size, 2, np.inf)
        check_range("asymmetry", asymmetry, 1e-300, np.inf)
        check_pair("scaling_factor", scaling_factor, 1e-300, np.inf)
        check_pair("mutated", mutated, 0.0, 1.0)
        check_pair("good", good, 0.0, 1.0)
        if selection not in SELECTIONS:
            raise ValueError(f"selection: expected one of {SELECTIONS}, got {selection!r}")

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        super()._setup(problem, **kwargs)
        self.swarm_size = self.n_particles or self._default_size(10)

    def _initialize_infill(self) -> Population:
        return self.first_population(self.swarm_size)

    def _start(self, infills: Population) -> None:
        n_var = len(self.variables)
        self.swarm_size = len(infills)
        self.table = np.full((self.swarm_size, self.archive_size, n_var), np.nan)
        self.merit = np.full((self.swarm_size, self.archive_size, 2), np.inf)
        self.n_archived = np.zeros(self.swarm_size, dtype=int)
        self.mean: np.ndarray = np.zeros((self.swarm_size, n_var))
        self.shape: np.ndarray = np.zeros((self.swarm_size, n_var))
        self.d: np.ndarray = np.ones((self.swarm_size, n_var))
        self.pointer = self.random_state.integers(n_var, size=self.swarm_size)
        self.pop = infills
        self._learn(infills)

    def generation_size(self) -> int:
        """One offspring of every particle."""
        return self.swarm_size

    def _propose(self) -> np.ndarray:
        return self._mutate()[: self.affordable(self.swarm_size)]

    def _learn(self, infills: Population) -> None:
        infills.set("particle", np.arange(len(infills)))
        if self.problem.n_obj == 1:
            self._store(infills)
        else:
            self._share_survivors(Population.merge(self.pop, infills))

    def _replace(self, begun: Individual, found: Individual, better: Individual) -> None:
        i = begun.get("particle")
        better.set("particle", i)
        if found is begun or self.pop[i] is not found:
            self._store(Population([better]))
            return
        # Later points of one search take the place of earlier ones: the archive keeps the spread
        # that the mapping needs.
        self.table[i, 0] = self._normalised(Population([better]))[0]
        self.merit[i, 0] = better.cv, better.f
        self.pop[i] = better
        self._measure(np.array([i]))

    def _best_first(self) -> Population:
        return self.pop[self._ranking()]

    def _normalised(self, pop: Population) -> np.ndarray:
        """Positions in [0, 1], shape (n, n_var); of an ordered variable the middles of its steps.

        An ordered variable of n values has n steps of equal width, so that draws from [0, 1] give
        each of them the same chance, the first and the last too.
        """
        lower, width = self._steps()
        return (self.variables.vectors(ind.X for ind in pop) - lower) / width

    def _allowed(self, positions: np.ndarray) -> np.ndarray:
        """The allowed points at positions in [0, 1]: ordered variables by their steps."""
        lower, width = self._steps()
        return self.variables.snap(lower + positions * width)

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """What positions 0 stand for, and the distance to positions 1, each (n_var,)."""
        v = self.variables
        lower = np.where(v.ordered, v.lower - 0.5, v.lower)
        width = np.where(v.ordered, v.span + 1.0, np.where(v.span > 0, v.span, 1.0))
        return lower, width

    def _store(self, pop: Population) -> None:
        """Offer every individual to the archive of its particle (n best, best first).

        The particles of the individuals differ. Equal merits keep their order, and what is in the
        archive already is not stored again.
        """
        i, cv, f = pop.get("particle", "cv", "f")
        i = i.astype(int)
        X = self._normalised(pop)[:, None]
        merit = np.stack([cv, f], axis=1).astype(float)[:, None]
        merit[np.isnan(merit)] = np.inf
        empty = np.arange(self.archive_size) >= self.n_archived[i, None]
        empty = np.column_stack([empty, (self.table[i] == X).all(axis=2).any(axis=1)])
        table = np.concatenate([self.table[i], X], axis=1)
        merit = np.concatenate([self.merit[i], merit], axis=1)
        order = np.lexsort((merit[..., 1], self.violation(merit[..., 0]), empty))
        order = order[:, : self.archive_size, None]
        self.table[i] = np.take_along_axis(table, order, axis=1)
        self.merit[i] = np.take_along_axis(merit, order, axis=1)
        self.n_archived[i] = np.minimum((~empty).sum(axis=1), self.archive_size)
        stored = (order == self.archive_size)[..., 0] & ~empty[:, -1:]
        leading = stored[:, 0]
        self.pop[i[leading]] = pop[leading]
        self._measure(i[stored.any(axis=1)])

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

    def _measure(self, i: np.ndarray | slice) -> None:
        """Mean and shape factors of the archives of particles ``i``."""
        stored = np.arange(self.archive_size) < self.n_archived[i, None]
        n = self.n_archived[i, None]
        mean = np.where(stored[..., None], self.table[i], 0.0).sum(axis=1) / n
        deviation = np.where(stored[..., None], self.table[i] - mean[:, None], 0.0)
        self.mean[i] = mean
        self.shape[i] = shape_factor((deviation**2).sum(axis=1) / n, self.shape[i])

    def _mutate(self) -> np.ndarray:
        """One offspring of every particle, allowed points of shape (n_particles, n_var)."""
        rs, variables = self.random_state, self.variables
        squared = self.progress() ** 2
        parent, mean = self._parents(squared)

        n_mutated = number_mutated(*self.mutated, squared, self.mean.shape, rs)  # m
        mutated, self.pointer = select(self.selection, n_mutated, self.pointer, len(variables), rs)
        # f_s = f_s* (1 + U(0, 1)), f_s* grows with the square of progress.
        scaling = between(*self.scaling_factor, squared) * (1.0 + rs.random(mean.shape))
        changing = mutated & (self.shape > 0)
        self.d = np.where(changing, asymmetric(self.d, self.shape, self.asymmetry, rs), self.d)
        left = rs.random(mean.shape) < 0.5  # which side of the mean has d instead of s
        s1 = scaling * np.where(left, self.d, self.shape)
        s2 = scaling * np.where(left, self.shape, self.d)
        u = rs.random(mean.shape)
        new = np.where(changing, mapping(mean, s1, s2, u), u)  # h(mean, s1, s2, u)
        new = np.where(variables.nominal, self._drawn(), new)

        before = self._allowed(parent)
        after = self._allowed(np.where(mutated, new, parent))
        # An ordered variable that is mapped onto itself would waste the evaluation.
        unchanged = (after == before).all(axis=1)
        moved = unchanged[:, None] & (np.arange(len(variables)) == self.pointer[:, None])
        return np.where(moved, variables.step(before, rs), after)

    def _parents(self, squared: float) -> tuple[np.ndarray, np.ndarray]:
        """Starting points and means of the offspring, both normalised, (n_particles, n_var).

        A good particle starts from its best solution and its archive's mean. A bad one takes for
        both a mix of good particles, ``x_RG + beta * (x_GB - x_LG)`` with the globally best GB, the
        last good LG and a random good RG between them; with several objectives, where particles
        have no order, GB and LG are any two.
        """
        rs = self.random_state
        parent, mean = self.table[:, 0].copy(), self.mean.copy()
        n_good = max(3, round(self.swarm_size * between(*self.good, squared)))
        if self.swarm_size <= n_good:
            return parent, mean
        order = self._ranking()
        bad = order[n_good:]
        random_good = parent[order[rs.integers(1, n_good - 1, size=len(bad))]]
        if self.problem.n_obj == 1:
            best, last = parent[order[0]], parent[order[n_good - 1]]
        else:
            best, last = parent[rs.integers(self.swarm_size, size=(2, len(bad)))]
        mixed = mix(random_good, best, last, squared, rs)
        mixed = np.where(self.variables.nominal, random_good, mixed)
        parent[bad] = mean[bad] = mixed
        return parent, mean

    def _ranking(self) -> np.ndarray:
        if self.problem.n_obj > 1:
            return np.arange(self.swarm_size)
        return np.lexsort((self.merit[:, 0, 1], self.violation(self.merit[:, 0, 0])))

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
    d: np.ndarray,
    shape: np.ndarray,
    asymmetry: float,
    random_state: np.random.Generator,
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
    """``first`` at share 0, ``last`` at 1, linear between."""
    return first + (last - first) * share
