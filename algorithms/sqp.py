"""Sequential quadratic programming with gradients, whole variables rounded in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.core.individual import Individual
from pymoo.core.population import Population

from algorithms._base import MixedVariableAlgorithm, check_range
from algorithms._rounding import MOST_VARIABLES, RoundedSearch, hessian_of, values_of


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
    (n_pieces, n_var) where pymoo asks for them. Constraints that are largest values may have all of
    theirs as ``G_pieces`` and ``dG_pieces`` beside ``G``; these have to be straight, or nearly so.

    A problem may offer second derivatives, which save half of the evaluations and more: a method
    ``hessian(x, weights)`` that gives those of a weighted sum of objective and constraints, shape
    (n_var, n_var), with an attribute ``gives_hessian`` that is true.

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
        hessian: bool | None = None,
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
            hessian: Whether the problem's own second derivatives are used; None: where it offers
                them and has at most 5,000 variables. Without them the slopes of the points that
                were seen tell (BFGS).
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
        self.hessian = hessian
        self._search: RoundedSearch
        self._starts: list[np.ndarray] = []
        self._n_started = 0

    def _setup(self, problem: Any, **kwargs: Any) -> None:
        if problem.n_obj != 1:
            raise ValueError(f"sqp: expected a problem with one objective, got {problem.n_obj}")
        if problem.n_eq_constr:
            raise ValueError(f"sqp: expected no equality constraints, got {problem.n_eq_constr}")
        if self.variables.takes_dicts:
            raise ValueError("sqp: expected a problem with numeric xl and xu, got bounds as dicts")
        self._hessian_of = None if self.hessian is False else hessian_of(problem)
        if self.hessian and self._hessian_of is None:
            raise ValueError(
                "hessian: expected a problem with hessian(x, weights), gives_hessian and at most "
                f"{MOST_VARIABLES} variables"
            )
        self.evaluator.evaluate_values_of = values_of(problem)

    def is_settled(self) -> bool:
        """Whether tolerances count: at the end of a search."""
        return self._search.ask() is None

    def has_searches(self) -> bool:
        """Whether searches are counted: the starts."""
        return True

    def has_slopes(self) -> bool:
        """Whether slopes are counted apart: all evaluations have them."""
        return False

    @property
    def n_searches(self) -> int:
        """Searches begun so far."""
        return self._n_started

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
        self._search.tell(found)
        x = np.asarray(found.X, dtype=float)
        if np.array_equal(self.variables.snap(x[np.newaxis])[0], x):
            self._keep(found)
        is_last = self.n_starts is not None and self._n_started >= self.n_starts
        if self._search.ask() is None and is_last:
            self.termination.force_termination = True

    def _next(self) -> Population:
        """The next point of the search, or of a new one from another start."""
        x = self._search.ask()
        if x is None:
            self._begin()
            x = self._search.ask()
        assert x is not None
        is_between = not np.array_equal(self.variables.snap(x[np.newaxis])[0], x)
        return Population.new(X=x[np.newaxis], is_between=[is_between])

    def _begin(self) -> None:
        """Starts from the next point given, or a random one."""
        self._n_started += 1
        drawn = self.variables.sample(1, self.random_state)[0]
        x = self._starts.pop(0) if self._starts else drawn
        self._search = RoundedSearch(
            self.variables,
            x,
            self.rounding,
            self.radius,
            self.margin,
            self.tolerance,
            self._hessian_of,
            self.random_state if self._n_started > 1 else None,
        )

    def _keep(self, found: Individual) -> None:
        """Takes a whole vector among the best."""
        pop = Population.merge(self.pop, Population([found]))
        n = min(self.pop_size, len(pop))
        self.pop = self._survival.do(
            self.problem, pop, n_survive=n, random_state=self.random_state, algorithm=self
        )
