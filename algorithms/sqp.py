"""Sequential quadratic programming with gradients, whole variables rounded in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.individual import Individual
from pymoo.core.population import Population

from algorithms._base import MixedVariableAlgorithm, check_range
from algorithms._largest import LargestOf, Pieces
from algorithms._trust_region import Point, TrustRegion

FINE = 500  # ordered variables of more values are rounded last and together
COARSE = 100.0  # tolerance of searches whose end is rounded, over that of the last
VALUES = ("F", "G", "H", "dF", "dG", "F_pieces", "dF_pieces")


class SQP(MixedVariableAlgorithm):
    """A local search for one objective, started again from new points while the budget lasts.

    The problem has to give ``dF`` and ``dG`` where pymoo asks for them, and values of ordered
    variables between whole numbers, which count as real at first. A share of those left is then
    rounded and held, the nearest first, and the rest is solved again, until all are whole; those of
    more than 500 values are rounded last and together, for half a step of them hardly moves
    anything. Nominal variables stay as they are at the start. Values with slopes count as one
    evaluation.

    An objective that is the largest of several functions is better served with all of them: a
    problem may give their values as ``F_pieces`` (n_pieces,) and their slopes as ``dF_pieces``
    (n_pieces, n_var) where pymoo asks for them.

    Only whole vectors are members of ``pop``; individuals that are asked for between whole numbers
    say so, ``individual.get("is_between")``.
    """

    def __init__(
        self,
        *,
        rounding: float = 0.5,
        radius: float = 0.2,
        margin: float = 1e-7,
        tolerance: float = 1e-7,
        n_starts: int | None = None,
        pop_size: int = 20,
        **kwargs: Any,
    ) -> None:
        """Set up a search.

        Args:
            rounding: Share of the ordered variables left that is rounded at a time, of those of few
                values, in (0, 1].
            radius: Largest step at first, as a share of the range of a variable.
            margin: Distance kept from constraints, so that searches end inside. [their unit]
            tolerance: Smallest gain that counts, as a share of the objective where above 1.
            n_starts: Most starts, None for as many as the termination allows.
            pop_size: Number of best vectors kept.
            **kwargs: See `MixedVariableAlgorithm`; ``sampling`` gives the first starts.
        """
        check_range("rounding", rounding, 1e-9, 1.0)
        check_range("radius", radius, 1e-6, 1.0)
        check_range("margin", margin, 0.0, np.inf)
        check_range("tolerance", tolerance, 0.0, np.inf)
        check_range("pop_size", pop_size, 1, np.inf)
        if n_starts is not None:
            check_range("n_starts", n_starts, 1, np.inf)
        super().__init__(**kwargs)
        self.rounding, self.radius, self.margin = rounding, radius, margin
        self.tolerance, self.n_starts, self.pop_size = tolerance, n_starts, int(pop_size)
        self._search: TrustRegion | LargestOf
        self._held: np.ndarray
        self._asked: np.ndarray | None = None
        self._starts: list[np.ndarray] = []
        self._n_started = 0

    def _setup(self, problem: Any, **kwargs: Any) -> None:
        if problem.n_obj != 1:
            raise ValueError(f"sqp: expected a problem with one objective, got {problem.n_obj}")
        if problem.n_eq_constr:
            raise ValueError(f"sqp: expected no equality constraints, got {problem.n_eq_constr}")
        if self.variables.takes_dicts:
            raise ValueError("sqp: expected a problem with numeric xl and xu, got bounds as dicts")
        self.evaluator.evaluate_values_of = list(VALUES)

    def _initialize_infill(self) -> Population:
        given = self.variables.vectors(ind.X for ind in self.first_population(1))
        self._starts = list(given)
        self._begin()
        return self._next()

    def _initialize_advance(self, infills: Population | None = None, **kwargs: Any) -> None:
        self.pop = Population.empty()
        self._advance(infills)

    def _infill(self) -> Population:
        return self._next()

    def _advance(self, infills: Population | None = None, **kwargs: Any) -> None:
        assert infills is not None
        (found,) = infills
        self._tell(_point_of(found), _pieces_of(found))
        x = np.asarray(found.X, dtype=float)
        if np.array_equal(self.variables.snap(x[np.newaxis])[0], x):
            self._keep(found)
        is_last = self.n_starts is not None and self._n_started >= self.n_starts
        if self._next_x() is None and is_last:
            self.termination.force_termination = True

    def _tell(self, point: Point, pieces: Pieces | None) -> None:
        """Takes values; the first ones say whether the objective has pieces."""
        if isinstance(self._search, LargestOf):
            self._search.tell(point, pieces)
        elif pieces is not None and point.is_known:
            low, high = self._bounds(point.x)
            how = (self.radius, self.margin, self._needed())
            self._search = LargestOf(point, pieces, low, high, self._span(), *how)
        else:
            self._search.tell(point)

    def _span(self) -> np.ndarray:
        """What a step of 1 is for each variable."""
        span: np.ndarray = np.where(self.variables.span > 0, self.variables.span, 1.0)
        return span

    def _next(self) -> Population:
        """The next point of the search, or of a new one from another start."""
        x = self._next_x()
        if x is None:
            self._begin()
            x = self._next_x()
        assert x is not None
        self._asked = None
        is_between = not np.array_equal(self.variables.snap(x[np.newaxis])[0], x)
        return Population.new(X=x[np.newaxis], is_between=[is_between])

    def _next_x(self) -> np.ndarray | None:
        """The next point of this start, None when all is whole and solved."""
        if self._asked is None:
            self._asked = self._search.ask()
            while self._asked is None and self._round():
                self._asked = self._search.ask()
        return self._asked

    def _begin(self) -> None:
        """Starts from the next point given, or a random one."""
        self._n_started += 1
        drawn = self.variables.sample(1, self.random_state)[0]
        x = self._starts.pop(0) if self._starts else drawn
        self._held = self.variables.nominal.copy()
        self._asked = None
        low, high = self._bounds(x)
        self._search = TrustRegion(
            x, low, high, self._span(), self.radius, self.margin, self._needed()
        )

    def _needed(self) -> float:
        """Tolerance of a search: a coarse one while there are variables to be rounded."""
        to_round = (self.variables.ordered & ~self._held).any()
        return self.tolerance * (COARSE if to_round else 1.0)

    def _bounds(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of a search in which some variables are held."""
        v = self.variables
        return np.where(self._held, x, v.lower), np.where(self._held, x, v.upper)

    def _round(self) -> bool:
        """Rounds some of the ordered variables that are left; whether there were any."""
        left = np.flatnonzero(self.variables.ordered & ~self._held)
        at = self._search.at
        if not len(left) or at is None or not at.is_known:
            return False
        whole = self.variables.snap(at.x[np.newaxis])[0]
        coarse = left[self.variables.span[left] < FINE]
        share = self.rounding if len(coarse) else 1.0
        left = coarse if len(coarse) else left
        n_now = int(np.ceil(share * len(left)))
        nearest = left[np.argsort(np.abs(at.x - whole)[left], kind="stable")[:n_now]]
        self._held[nearest] = True
        low, high = self._bounds(np.where(self._held, whole, at.x))
        self._search = self._search.restricted(low, high, 0.1 * self.radius, self._needed())
        return True

    def _keep(self, found: Individual) -> None:
        """Takes a whole vector among the best."""
        pop = Population.merge(self.pop, Population([found]))
        n = min(self.pop_size, len(pop))
        self.pop = self._survival.do(
            self.problem, pop, n_survive=n, random_state=self.random_state, algorithm=self
        )


def _point_of(found: Individual) -> Point:
    """A point with its slopes.

    Raises:
        ValueError: The problem gives none.
    """
    x = np.asarray(found.X, dtype=float)
    df, dg = (np.asarray(part, dtype=float) for part in (found.dF, found.dG))
    if df.shape != (1, len(x)) or np.isinf(df).any() or np.isinf(dg).any():
        raise ValueError("sqp: expected a problem that gives dF and dG where it is asked for them")
    return Point(x, float(found.F[0]), np.asarray(found.G, float), df[0], dg.reshape(-1, len(x)))


def _pieces_of(found: Individual) -> Pieces | None:
    """The functions that the objective is the largest of, None where the problem gives none."""
    f, df = (np.asarray(found.get(name), dtype=float) for name in ("F_pieces", "dF_pieces"))
    if f.ndim != 1 or df.ndim != 2 or np.isinf(df).any():
        return None
    return Pieces(f, df)
