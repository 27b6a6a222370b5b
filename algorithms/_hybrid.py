"""What Harmony Search and MVMO add to their own rules: searches, constraints, no repetitions."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
from pymoo.core.algorithm import filter_optimum
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.util.ref_dirs import get_reference_directions

from algorithms._base import MixedVariableAlgorithm, check_pair, check_range
from algorithms._local_search import LocalSearch
from algorithms._offered import offered
from algorithms._rounding import RoundedSearch, gives_slopes, hessian_of, values_of
from algorithms._variables import Variables
from algorithms.neighbours import NeighbourSearch, offers_neighbours

FIRST_LEVEL_QUANTILE = 0.2
N_TRIES = 20
WITH_SLOPES = 20  # what a local search with slopes costs, as differences by as many variables
WINDOW_REAL = (0.2, 0.9)
WINDOW_MIXED = (0.35, 0.9)


class HybridAlgorithm(MixedVariableAlgorithm):
    """A population that learns from its own proposals and from searches around its best members.

    A subclass proposes vectors, learns from them, and gives the best point of a search its place.
    One search runs at a time, and the subclass proposes nothing while it does. Vectors without real
    variables are not evaluated twice.
    """

    def __init__(
        self,
        local_search: bool | None = None,
        local_search_rate: float = 0.3,
        local_search_backoff: float = 0.7,
        local_search_window: tuple[float, float] | None = None,
        local_search_margin: tuple[float, float] = (1e-3, 1e-7),
        gradients: bool | None = None,
        neighbour_search: bool | None = None,
        epsilon: float = 0.0,
        ref_dirs: np.ndarray | int | None = None,
        avoid_repeats: bool = True,
        **kwargs: Any,
    ) -> None:
        """Set what both algorithms accept; a pair holds the values at the start and at the end.

        Args:
            local_search: Whether the best members are improved by a local search, for one
                objective. None: where there is one objective and a real variable.
            local_search_rate: Chance that a proposal starts a local search, times n_var; with
                slopes times 20, whatever the number of variables.
            local_search_backoff: Factor on that chance for every local search since the last one
                that found a new best point, so that few evaluations go into plateaus and into
                local optima (rewarding searches by what they gain: Ong & Keane 2004,
                doi:10.1109/TEVC.2003.819944). 1: none. [0, 1]
            local_search_window: Progress between which a local search may start. None: 0.2 and 0.9
                where all variables are real, else 0.35 and 0.9, as a search also fits the real
                variables to the others, which then are harder to change.
            local_search_margin: Distance that local searches keep from inequality constraints, in
                the unit of the constraints; shrinks exponentially with progress. Wide margins
                leave room for rounded variables, narrow ones come closer to the optimum. > 0
            gradients: Whether local searches use slopes of the problem (``dF``, ``dG``) in a
                trust-region SQP, an evaluation with slopes counting as one, instead of differences
                in SLSQP; the first then starts from the best member of the first population, the
                others have no window and the smallest margin. None: where the problem offers
                slopes (`offers_slopes`) and has neither equality constraints nor variables whose
                values have no order.
            neighbour_search: Whether the best proposal of every generation, and every member of the
                first population, is improved by local search over its neighbours. None: where the
                problem offers neighbours (`offers_neighbours`).
            epsilon: Share of the run in which violations below a level count as none; the level
                falls to 0 as in the epsilon constrained method (Takahama & Sakai 2006, IEEE CEC,
                doi:10.1109/CEC.2006.1688283). 0: feasibility first. One objective. [0, 1]
            ref_dirs: Reference directions, shape (n, n_obj), or how many at most, whose niches
                decide who survives instead of crowding (NSGA-III: Deb & Jain 2014,
                doi:10.1109/TEVC.2013.2281535). Several objectives.
            avoid_repeats: Whether vectors without real variables are evaluated once only; the
                algorithms as published spend evaluations on repetitions.
            **kwargs: ``sampling``, ``survival`` and the options of pymoo's ``Algorithm``.

        Raises:
            ValueError: A parameter out of its range.
            TypeError: An unknown option.
        """
        super().__init__(**kwargs)
        self.local_search = local_search
        self.local_search_rate = local_search_rate
        self.local_search_backoff = local_search_backoff
        self.local_search_window = local_search_window
        self.local_search_margin = local_search_margin
        self.gradients = gradients
        self.neighbour_search = neighbour_search
        self.epsilon = epsilon
        self.ref_dirs = ref_dirs
        self.avoid_repeats = avoid_repeats
        check_range("local_search_rate", local_search_rate, 0.0, np.inf)
        check_range("local_search_backoff", local_search_backoff, 0.0, 1.0)
        if local_search_window is not None:
            check_pair("local_search_window", local_search_window, 0.0, 1.0)
        check_pair("local_search_margin", local_search_margin, 1e-300, np.inf)
        check_range("epsilon", epsilon, 0.0, 1.0)

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        one = problem.n_obj == 1
        for name in ("local_search", "epsilon"):
            if getattr(self, name) and not one:
                raise ValueError(f"{name}: expected one objective, got {problem.n_obj}")
        self._n_directions = 100
        if self.ref_dirs is not None:
            directions = reference_directions(problem.n_obj, self.ref_dirs)
            self._n_directions = len(directions)
            self._survival = self.survival or ReferenceDirectionSurvival(directions)
        offered = offers_neighbours(problem)
        if self.neighbour_search and not offered:
            raise ValueError("neighbour_search: the problem offers no neighbours")
        moving = self.variables.real & (self.variables.span > 0)
        self._is_local = one and moving.any() if self.local_search is None else self.local_search
        window = WINDOW_REAL if self.variables.real.all() else WINDOW_MIXED
        self._window = window if self.local_search_window is None else self.local_search_window
        self._is_neighbour = offered if self.neighbour_search is None else self.neighbour_search
        self._seen = SeenVectors() if self.avoid_repeats and not moving.any() else None
        self._waiting: Any = Population.empty()
        self._search: LocalSearch | NeighbourSearch | RoundedSearch | None = None
        self._plain_values = list(self.evaluator.evaluate_values_of)
        self._uses_slopes = False
        #: How many of the evaluations were asked for with slopes.
        self.n_gradients = 0
        #: How many local searches were begun.
        self.n_searches = 0
        self._asked: np.ndarray
        self._begun: Individual
        self._found: Individual
        self._level = self._first_level = 0.0
        self._record: tuple[float, float]
        self._n_failed = 0
        self._kept: Any = Population.empty()
        self.opt: Any

    def _default_size(self, single: int) -> int:
        """Size of the population: ``single`` for one objective, else one for each direction."""
        return single if self.problem.n_obj == 1 else self._n_directions

    @abstractmethod
    def _start(self, infills: Population) -> None:
        """Take the evaluated first population."""

    @abstractmethod
    def _propose(self) -> np.ndarray:
        """The next vectors, shape (n, n_var), not more than are affordable."""

    @abstractmethod
    def _learn(self, infills: Population) -> None:
        """Take the values of the vectors proposed, in their order."""

    @abstractmethod
    def _replace(self, begun: Individual, found: Individual, better: Individual) -> None:
        """Give ``better`` the place of ``found``, the best so far of the search from ``begun``."""

    @abstractmethod
    def _best_first(self) -> Population:
        """The members of the population, best first."""

    def is_settled(self) -> bool:
        """Whether tolerances count: schedules have come to their end, and no search is running."""
        return self.progress() >= 1.0 and self.is_proposal

    def has_searches(self) -> bool:
        """Whether there are local searches, with or without slopes."""
        return bool(self._is_local)

    def has_slopes(self) -> bool:
        """Whether local searches use slopes."""
        return self._uses_slopes

    def violation(self, cv: np.ndarray) -> np.ndarray:
        """Violations as they count now: none up to the present level of ``epsilon``."""
        return np.where(cv <= self._level, 0.0, cv)

    def _initialize_advance(self, infills: Population, **kwargs: Any) -> None:
        if self.epsilon > 0:
            self._first_level = float(np.quantile(infills.get("cv"), FIRST_LEVEL_QUANTILE))
        self._set_level()
        if self._seen is not None:
            self._seen.update(self.variables.vectors(ind.X for ind in infills))
        self._start(infills)
        if self._is_neighbour:
            self._waiting = infills
        self._uses_slopes = self._can_use_slopes(infills)

    def _can_use_slopes(self, evaluated: Population) -> bool:
        """Whether local searches are those with slopes.

        Raises:
            ValueError: They are asked for and cannot be.
        """
        if not self._is_local or self.gradients is False:
            return False
        fits = not self.variables.takes_dicts and not self.problem.n_eq_constr
        if self.gradients and not fits:
            raise ValueError(
                "gradients: expected a problem with vectors and without equality constraints"
            )
        if self.gradients:
            return True
        return fits and not self.variables.nominal.any() and offers_slopes(self.problem, evaluated)

    def _infill(self) -> Population:
        self._set_level()
        X = self._search_on()
        with_slopes = isinstance(self._search, RoundedSearch)
        values = values_of(self.problem) if with_slopes else self._plain_values
        self.evaluator.evaluate_values_of = values
        if with_slopes and X is not None:
            is_between = not np.array_equal(self.variables.snap(X), X)
            return Population.new(X=X, is_between=[is_between])
        if X is not None:
            self._asked = X[: self.affordable(len(X))]
            return self.variables.population(self._asked)
        X = self._propose()
        if self._seen is not None:
            X = self._seen.exchange(X, self.variables, self.random_state)
        return self.variables.population(X)

    def _advance(self, infills: Population, **kwargs: Any) -> None:
        self.is_proposal = self._search is None
        if self._search is None:
            self._learn(infills)
            if self._is_neighbour:
                self._waiting = infills[best_of(infills)]
            return
        if isinstance(self._search, RoundedSearch):
            self._follow_slopes(infills[0])
            return
        if self._seen is not None:
            self._seen.update(self.variables.vectors(ind.X for ind in infills))
        # What was asked for: a problem may have put the individuals into another form.
        self._search.tell(self._asked, *infills.get("F", "G", "H", "CV"))
        best = infills[best_of(infills)][0]
        if (best.cv, best.f) < (self._found.cv, self._found.f):
            best.set("searched", True)
            self._replace(self._begun, self._found, best)
            self._found = best

    def _follow_slopes(self, found: Individual) -> None:
        """Takes a point of the search with slopes; the population gets it where it is whole.

        Raises:
            ValueError: Gradients are asked for, and the problem gives none.
        """
        assert isinstance(self._search, RoundedSearch)
        if not gives_slopes(found):
            if self.gradients:
                raise ValueError("gradients: expected a problem that gives dF and dG")
            self._search, self._uses_slopes = None, False  # as asked and told with values alone
            self._begun.set("searched", False)
        else:
            self.n_gradients += 1
            self._search.tell(found)
        if not found.get("is_between") and (found.cv, found.f) < (self._found.cv, self._found.f):
            found.set("searched", True)
            self._replace(self._begun, self._found, found)
            self._found = found

    def _set_level(self) -> None:
        if self._first_level > 0:
            self._level = epsilon_level(self._first_level, self.progress(), self.epsilon)

    def _set_optimum(self) -> None:
        super()._set_optimum()
        if self.epsilon > 0:  # the population may lose the best feasible member for a while
            self._kept = filter_optimum(Population.merge(self._kept, self.opt), True)
            self.opt = self._kept

    def _search_on(self) -> np.ndarray | None:
        """The next vectors of the search that runs, or of the next one to open."""
        while self._search is not None or self._opens_search():
            assert self._search is not None
            points = self._search.ask()
            if points is not None:
                return np.atleast_2d(points)
            if isinstance(self._search, (LocalSearch, RoundedSearch)):
                gained = (self._found.cv, self._found.f) < self._record
                self._n_failed = 0 if gained else self._n_failed + 1
            self._search = None
        return None

    def _opens_search(self) -> bool:
        """Opens the next search if there is one to open."""
        if len(self._waiting):
            begun, self._waiting = self._waiting[0], self._waiting[1:]
            x = self.variables.vectors([begun.X])[0]
            self._open(begun, NeighbourSearch(self.problem, self.variables, x))
            return True
        begun = self._begins_local_search()
        if begun is None:
            return False
        first, last = self.local_search_margin
        x = self.variables.vectors([begun.X])[0]
        best = self._best_first()[0]
        self._record = best.cv, best.f
        self.n_searches += 1
        if self._uses_slopes:
            begun.set("searched", True)
            self._begun = self._found = begun
            own = hessian_of(self.problem)
            # Whatever the start, the nearest whole values are often the same; the order is not.
            order = self.random_state if self.n_searches > 1 else None
            self._search = RoundedSearch(
                self.variables, x, margin=last, hessian=own, random_state=order
            )
            return True
        margin = float(exponential(first, last, self.progress()))
        self._open(begun, LocalSearch(self.variables, x, margin))
        return True

    def _begins_local_search(self) -> Individual | None:
        """The best member that no search has started from or ended at, if one is to start."""
        if not self._is_local:
            return None
        first, last = self._window
        # A search by differences costs evaluations by the number of variables, one with slopes
        # does not.
        cost = WITH_SLOPES if self._uses_slopes else len(self.variables)
        chance = self.local_search_rate * self.generation_size() / cost
        chance *= self.local_search_backoff**self._n_failed
        if self._uses_slopes:
            if self.n_gradients and self.random_state.random() >= chance:
                return None
        elif not first <= self.progress() <= last or self.random_state.random() >= chance:
            return None
        return next((ind for ind in self._best_first() if not ind.get("searched")), None)

    def _open(self, begun: Individual, search: LocalSearch | NeighbourSearch) -> None:
        search.tell(
            self.variables.vectors([begun.X]),
            *(np.array([value]) for value in begun.get("F", "G", "H", "CV")),
        )
        begun.set("searched", True)
        self._search, self._begun, self._found = search, begun, begun


def offers_slopes(problem: Problem, evaluated: Population) -> bool:
    """Whether a problem gives ``dF`` and ``dG`` for about the price of an evaluation.

    That is what its attribute ``gives_slopes`` says or, without one, whether the individuals
    ``evaluated`` have come with slopes that nobody has asked for.
    """
    said = offered(problem, "gives_slopes")
    if said is not None:
        return bool(said)
    return len(evaluated) > 0 and gives_slopes(evaluated[0])


def reference_directions(n_obj: int, wanted: np.ndarray | int) -> np.ndarray:
    """Directions for niches in objective space, shape (n, n_obj), rows that sum to 1.

    Args:
        n_obj: Number of objectives, at least 2.
        wanted: The directions themselves, or how many at most: the finest even grid (Das & Dennis
            1998, doi:10.1137/S1052623496307510) that is not larger, at least n_obj.

    Raises:
        ValueError: One objective, or directions of another shape.
    """
    if n_obj < 2:
        raise ValueError(f"ref_dirs: expected several objectives, got {n_obj}")
    if np.ndim(wanted) == 0:
        n_parts = 1
        while comb(n_obj + n_parts, n_obj - 1) <= int(wanted):
            n_parts += 1
        return np.asarray(get_reference_directions("das-dennis", n_obj, n_partitions=n_parts))
    directions = np.asarray(wanted, dtype=float)
    if directions.ndim != 2 or directions.shape[1] != n_obj:
        raise ValueError(f"ref_dirs: expected shape (n, {n_obj}), got {directions.shape}")
    return directions


class SeenVectors:
    """Remembers which vectors have been evaluated, the last ones at least, in bounded memory."""

    def __init__(self, capacity: int = 50_000) -> None:
        """Remember ``capacity`` vectors or more, at most twice as many."""
        self.capacity = capacity
        self._recent: set[bytes] = set()
        self._older: set[bytes] = set()

    def __contains__(self, x: np.ndarray) -> bool:
        key = _digest(x)
        return key in self._recent or key in self._older

    def update(self, X: np.ndarray) -> None:
        """Remember rows."""
        for x in X:
            if len(self._recent) >= self.capacity:
                self._recent, self._older = set(), self._recent
            self._recent.add(_digest(x))

    def exchange(
        self, X: np.ndarray, variables: Variables, random_state: np.random.Generator
    ) -> np.ndarray:
        """The rows, those known already exchanged for new ones near by; remembers them all.

        A known row walks by single steps of random variables until it is new; after ``N_TRIES``
        steps random vectors are tried, and after as many of them the last one is taken as it is.
        """
        X = X.copy()
        for k in range(len(X)):
            for attempt in range(2 * N_TRIES):
                if X[k] not in self:
                    break
                j = random_state.integers(len(variables))
                if attempt < N_TRIES:
                    X[k, j] = variables.step(X[k : k + 1], random_state)[0, j]
                else:
                    X[k] = variables.sample(1, random_state)[0]
            self.update(X[k : k + 1])
        return X


def _digest(x: np.ndarray) -> bytes:
    return hashlib.blake2b(x.tobytes(), digest_size=8).digest()


def epsilon_level(first: float, progress: float, share: float) -> float:
    """Level of Takahama & Sakai: ``first (1 - t / T_c)^5`` with T_c at ``share``, then 0."""
    return first * max(0.0, 1.0 - progress / share) ** 5


def best_of(pop: Population) -> np.ndarray:
    """Place of the best individual, feasibility first, as an array of one."""
    cv, f = pop.get("cv", "f")
    return np.lexsort((f, cv))[:1]


def exponential(first: ArrayLike, last: ArrayLike, progress: float) -> np.ndarray:
    """From ``first`` to ``last`` in equal ratios: ``first * exp(c * progress)``."""
    first, last = np.asarray(first, dtype=float), np.asarray(last, dtype=float)
    return first * np.exp(np.log(last / first) * progress)
