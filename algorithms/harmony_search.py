"""Harmony Search: new solutions are played from the notes of remembered ones.

Geem, Kim & Loganathan (2001), Simulation 76(2):60-68, doi:10.1177/003754970107600201, gave the
method; Lee & Geem (2005), Comput. Methods Appl. Mech. Engrg. 194:3902-3933,
doi:10.1016/j.cma.2004.09.007, its steps 1 to 5 for continuous and discrete variables; Mahdavi,
Fesanghary & Damangir (2007), Appl. Math. Comput. 188:1567-1579, doi:10.1016/j.amc.2006.11.033,
pitch adjustment that changes over the run; Fesanghary, Mahdavi, Minary-Jolandan & Alizadeh (2008),
Comput. Methods Appl. Mech. Engrg. 197:3080-3091, doi:10.1016/j.cma.2008.02.006, the hybrid with
sequential quadratic programming; Omran & Mahdavi (2008), Appl. Math. Comput. 198:643-656,
doi:10.1016/j.amc.2007.09.004, pitch adjustment to the notes of the best harmony.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from algorithms._base import check_range
from algorithms._hybrid import HybridAlgorithm, exponential
from algorithms._variables import AT_BOUNDS, Variables

#: Options of the papers where the defaults differ in kind.
AS_PUBLISHED: dict[str, Any] = {
    "n_offsprings": 1,
    "global_best": 0.0,
    "same_harmony": 0.0,
    "at_bounds": "clip",
    "local_search": False,
    "neighbour_search": False,
    "avoid_repeats": False,
}


class HarmonySearch(HybridAlgorithm):
    """Harmony Search for real, integer, binary and choice variables.

    A *harmony* is a solution, a *note* the value of one of its variables, the *harmony memory*
    the population. The forms of the papers, each with the options `AS_PUBLISHED`:

    - Geem et al. (2001), Lee & Geem (2005): ``HarmonySearch(pop_size=HMS, hmcr=HMCR, par=PAR,
      bandwidth=bw / range, **AS_PUBLISHED)``
    - Mahdavi et al. (2007), improved Harmony Search: ``par=(PAR_min, PAR_max)`` and
      ``bandwidth=(bw_max / range, bw_min / range)``
    - Fesanghary et al. (2008), hybrid: the same and ``local_search=True``
    - Omran & Mahdavi (2008), global-best Harmony Search: ``global_best=1.0``

    The defaults differ from them: five harmonies are improvised before they are judged, and none is
    remembered twice; one adjusted note in five is that of the best harmony, of the same variable;
    notes outside of their range are mirrored, with one objective; violations come before objectives
    instead of penalties; whole notes move by whole steps, rounded up or down at random, and as the
    bandwidth shrinks one of them still moves in each harmony; local search has rules of its own
    (`HybridAlgorithm`). ``hmcr``, ``par`` and ``bandwidth`` are larger than in the papers.
    """

    def __init__(
        self,
        pop_size: int | None = None,
        hmcr: float = 0.99,
        par: float | tuple[float, float] = (0.6, 0.99),
        bandwidth: ArrayLike | tuple[ArrayLike, ArrayLike] = (1.0, 1e-4),
        global_best: float = 0.2,
        same_harmony: float = 0.0,
        n_offsprings: int = 5,
        at_bounds: str | None = None,
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
            global_best: Chance that an adjusted note becomes that of the best harmony instead of a
                neighbour of its own (global-best Harmony Search of Omran & Mahdavi, where it is 1
                and the note may be that of any variable). One objective. [0, 1]
            same_harmony: Chance that all remembered notes of a new harmony come from the same
                remembered one, so that notes which belong together stay together (an addition of
                ours for variables that depend on each other); 0 is the rule of the papers, where
                every note has a source of its own. [0, 1]
            n_offsprings: Harmonies improvised, and then judged together, in one iteration.
            at_bounds: What becomes of an adjusted note outside of its range: "reflect" mirrors it
                at the bound, "clip" moves it onto the bound, as codes of the papers do. Clipping
                gives the bounds a chance of their own: it finds an optimum there by luck, and
                spends harmonies there where the optimum lies elsewhere. None: "reflect" for one
                objective; "clip" for several, whose fronts often end at bounds.
            **kwargs: Options of `HybridAlgorithm` (searches, constraints, reference directions),
                ``sampling``, ``survival`` and the options of pymoo's ``Algorithm``.

        Raises:
            ValueError: A parameter out of its range.
            TypeError: An unknown option.
        """
        super().__init__(**kwargs)
        self.pop_size = pop_size
        self.hmcr = hmcr
        self.par = tuple(par) if isinstance(par, (tuple, list)) else (par, par)
        self.bandwidth = bandwidth if isinstance(bandwidth, tuple) else (bandwidth, bandwidth)
        self.global_best = global_best
        self.same_harmony = same_harmony
        self.n_offsprings = n_offsprings
        self.at_bounds = at_bounds
        check_range("hmcr", hmcr, 0.0, 1.0)
        check_range("global_best", global_best, 0.0, 1.0)
        check_range("same_harmony", same_harmony, 0.0, 1.0)
        check_range("n_offsprings", n_offsprings, 1, np.inf)
        if pop_size is not None:
            check_range("pop_size", pop_size, 1, np.inf)
        if at_bounds is not None and at_bounds not in AT_BOUNDS:
            raise ValueError(f"at_bounds: expected one of {AT_BOUNDS}, got {at_bounds!r}")
        for name, pair, low in (
            ("par", self.par, 0.0),
            ("bandwidth", self.bandwidth, 1e-300),
        ):
            if len(pair) != 2:
                raise ValueError(f"{name}: expected one value or (first, last), got {pair!r}")
            for value in pair:
                check_range(name, value, low, 1.0)

    def _setup(self, problem: Problem, **kwargs: Any) -> None:
        super()._setup(problem, **kwargs)
        self.memory_size = self.pop_size or self._default_size(20)
        self._at_bounds = self.at_bounds or ("reflect" if problem.n_obj == 1 else "clip")

    def _initialize_infill(self) -> Population:
        return self.first_population(self.memory_size)

    def _start(self, infills: Population) -> None:
        self._remember(infills)

    def generation_size(self) -> int:
        """Harmonies improvised together."""
        return self.n_offsprings

    def _propose(self) -> np.ndarray:
        progress = self.progress()
        return improvise(
            self.memory,
            self.variables,
            self.affordable(self.n_offsprings),
            hmcr=self.hmcr,
            par=linear(self.par[0], self.par[1], progress),  # PAR(gn) of Mahdavi et al.
            bandwidth=exponential(self.bandwidth[0], self.bandwidth[1], progress),  # bw(gn)
            global_best=self.global_best if self.problem.n_obj == 1 else 0.0,
            same_harmony=self.same_harmony,
            at_bounds=self._at_bounds,
            random_state=self.random_state,
        )

    def _learn(self, infills: Population) -> None:
        # Step 4 of Lee & Geem: better new harmonies replace the worst, none is stored twice.
        self._remember(Population.merge(self.pop, infills))

    def _replace(self, begun: Individual, found: Individual, better: Individual) -> None:
        kept = [ind for ind in self.pop if ind is not found]  # a search has one place in memory
        self._remember(Population([*kept, better]))

    def _best_first(self) -> Population:
        return self.pop

    def _remember(self, pop: Population) -> None:
        X = self.variables.vectors(ind.X for ind in pop)
        if self.problem.n_obj == 1 and self.survival is None:
            f, cv = pop.get("f", "cv")
            order = np.lexsort((f, self.violation(cv)))
            order = order[first_of_equal(X[order])][: self.memory_size]
            self.pop, self.memory = pop[order], X[order]
            return
        pop = pop[first_of_equal(X)]
        self.pop = self._survival.do(
            self.problem,
            pop,
            n_survive=self.memory_size,
            random_state=self.random_state,
            algorithm=self,
        )
        self.memory = self.variables.vectors(ind.X for ind in self.pop)


def first_of_equal(X: np.ndarray) -> np.ndarray:
    """Places of the rows that no row before equals, ascending."""
    places: dict[bytes, int] = {}
    for place, row in enumerate(X):
        places.setdefault(row.tobytes(), place)
    return np.fromiter(places.values(), dtype=int)


def improvise(
    memory: np.ndarray,
    variables: Variables,
    n_harmonies: int,
    hmcr: float,
    par: float,
    bandwidth: ArrayLike,
    global_best: float,
    same_harmony: float,
    at_bounds: str,
    random_state: np.random.Generator,
) -> np.ndarray:
    """Play new harmonies, note by note (step 3 of Lee & Geem).

    Args:
        memory: Remembered harmonies, shape (HMS, n_var), the best first.
        bandwidth: Largest pitch adjustment as a share of the range, scalar or shape (n_var,).
        global_best: Chance that an adjusted note is that of the best harmony.
        same_harmony: Chance that one remembered harmony gives all remembered notes.
        at_bounds: What becomes of adjusted notes outside of their range, one of `AT_BOUNDS`.

    Returns:
        Shape (n_harmonies, n_var). Memory consideration: with chance ``hmcr`` the note of a random
        remembered harmony, with chance ``same_harmony`` of the same one for all notes; pitch
        adjustment: with chance ``par`` a neighbour of that note, with chance ``global_best`` the
        note of the best harmony instead; otherwise any note of the range.
    """
    shape = (n_harmonies, len(variables))
    remembered = random_state.random(shape) < hmcr  # HMCR: from memory, else from the range
    adjusted = remembered & (random_state.random(shape) < par)  # PAR: of those from memory
    sources = random_state.integers(len(memory), size=shape)
    together = random_state.random((n_harmonies, 1)) < same_harmony
    sources = np.where(together, sources[:, :1], sources)
    notes = np.where(  # x'_i from {x_i^1, ..., x_i^HMS} or from X_i
        remembered,
        memory[sources, np.arange(shape[1])],
        variables.sample(n_harmonies, random_state),
    )
    share = np.maximum(bandwidth, rarest_pitch(variables))
    pitches = variables.pitch(notes, share, at_bounds, random_state)  # x'_i + U(-1, 1) bw
    if global_best > 0:  # Omran & Mahdavi: x'_i = x_i^best
        pitches = np.where(random_state.random(shape) < global_best, memory[0], pitches)
    return np.where(adjusted, pitches, notes)


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
