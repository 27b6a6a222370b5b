"""How far a run is, in generations and as a share of its budget, whatever ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import inf, isfinite
from typing import Any

from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination, TerminateIfAll, Termination
from pymoo.termination.cv import UntilFeasibleTermination
from pymoo.termination.delta import DeltaToleranceTermination
from pymoo.termination.fmin import MinimumFunctionValueTermination
from pymoo.termination.indicator import IndicatorTermination
from pymoo.termination.max_eval import MaximumFunctionCallTermination
from pymoo.termination.max_gen import MaximumGenerationTermination
from pymoo.termination.max_time import TimeBasedTermination
from pymoo.termination.robust import RobustTermination

DEFAULT_EVALUATIONS = 10_000
FEWEST_TO_RUN_THROUGH = 2_000
TARGETS = (MinimumFunctionValueTermination, UntilFeasibleTermination, IndicatorTermination)
LIMITS = (MaximumFunctionCallTermination, MaximumGenerationTermination, TimeBasedTermination)


class Pace(Termination):
    """Ends a run where another termination does, and says which share of its budget is spent.

    pymoo's ``perc`` says how near the end is, and with tolerances jumps up and down; schedules
    need what never falls and comes to 1 step by step. That is `spent`: of evaluations, generations
    or time where the termination limits one of them, the largest share of several; else of 10,000
    evaluations. Time is counted from the end of the first population on, so that what is compiled
    or read at the start does not move schedules.

    A tolerance that is met before schedules have come to their end does not end the run: they then
    run through, in as many evaluations as were made up to there and in at least 2,000, and from
    then on it counts. Values to reach (``fmin``, feasibility, an indicator) count at once.

    Attributes:
        termination: The other termination.
        spent: Share of the budget, in [0, 1].
        perc: The same, below 1 until the run ends.
    """

    def __init__(self, termination: Termination) -> None:
        super().__init__()
        self.termination = termination
        self.spent = 0.0
        self._n_met: int | None = None
        self._spent_met = 0.0

    def _update(self, algorithm: Any) -> float:
        self.termination.update(algorithm)
        self.note(algorithm)
        if _ends(self.termination, tolerances_count=algorithm.is_settled()):
            return 1.0
        if self._n_met is None and _ends(self.termination, tolerances_count=True):
            self._n_met, self._spent_met = algorithm.evaluator.n_eval, self.spent
        return min(self.spent, 1.0 - 1e-9)

    def note(self, algorithm: PacedAlgorithm) -> None:
        """Takes note of a step of the run, also of one inside a generation."""
        n_eval = algorithm.evaluator.n_eval
        share = _share(self.termination, algorithm)
        if share is None:
            share = n_eval / DEFAULT_EVALUATIONS
        if self._n_met is not None:
            n_through = max(self._n_met, FEWEST_TO_RUN_THROUGH)
            through = (n_eval - self._n_met) / n_through
            share = max(share, self._spent_met + (1.0 - self._spent_met) * through)
        self.spent = min(1.0, max(share, self.spent))

    def is_over(self, algorithm: PacedAlgorithm) -> bool:
        """Whether the run ends inside a generation: budget spent, value reached, end asked for."""
        return self.force_termination or _is_over(self.termination, algorithm)

    def evaluations_left(self, algorithm: PacedAlgorithm) -> float:
        """The fewest evaluations after which a budget ends the run, infinite if none does."""
        return _evaluations_left(self.termination, algorithm)


class PacedAlgorithm(Algorithm):
    """A pymoo algorithm whose generations, budgets and schedules count evaluations.

    A step of a search inside a run may be a single evaluation or a large batch. What pymoo does
    once in a generation (terminations, display, history, callback) is done when as many
    evaluations were made as a generation proposes: ``n_gen`` is 1 after the first population and
    then grows by one with each `generation_size` evaluations, whichever step makes them.

    Attributes:
        is_proposal: Whether the present step is a generation of the population, not of a search.
    """

    is_proposal = True
    _n_asked = _n_before = _n_counted = _n_generations = _n_since = 0
    _seconds_first = 0.0
    termination: Any
    n_iter: Any
    start_time: float | None

    def setup(self, problem: Problem, **kwargs: Any) -> Algorithm:
        """Prepare a run on ``problem``; options as in pymoo."""
        self._n_asked = self._n_before = self._n_counted = self._n_generations = self._n_since = 0
        self._seconds_first = 0.0
        super().setup(problem, **kwargs)
        self._pace  # noqa: B018  wraps the termination of pymoo
        return self

    def generation_size(self) -> int:
        """Evaluations of one generation after the first population."""
        return 1

    def is_settled(self) -> bool:
        """Whether tolerances may end the run now."""
        return True

    def progress(self) -> float:
        """Share of the budget spent, in [0, 1], never falling; see `Pace`."""
        return self._pace.spent

    def affordable(self, n_wanted: int) -> int:
        """``n_wanted``, or the evaluations left if they are fewer; at least one."""
        return int(max(1, min(n_wanted, self._pace.evaluations_left(self))))

    def generations(self) -> float:
        """Generations made, with the part of the present one."""
        return self._n_generations + self._n_since / self.generation_size()

    def evaluations_of(self, n_generations: float) -> float:
        """Evaluations until so many generations are made, infinite before the first is."""
        if not self._n_generations:
            return inf
        return (n_generations - self._n_generations) * self.generation_size() - self._n_since

    def seconds(self) -> tuple[float, float]:
        """Time since the start of the run, and what of it the first population took. [s]"""
        since = 0.0 if self.start_time is None else time.time() - self.start_time
        return since, self._seconds_first

    @property
    def _pace(self) -> Pace:
        """The termination; one that was set in the middle of a run begins a pace of its own."""
        if not isinstance(self.termination, Pace):
            pace = Pace(self.termination)
            if self.is_initialized:
                pace.note(self)
            self.termination = pace
        found: Pace = self.termination
        return found

    def infill(self) -> Population | None:
        """The next individuals, as in pymoo."""
        infills = super().infill()
        asked = Population.empty() if infills is None else infills
        self._n_asked = sum(len(individual.evaluated) == 0 for individual in asked)
        self._n_before = self.evaluator.n_eval
        return infills

    def advance(self, infills: Population | None = None, **kwargs: Any) -> Any:
        """Takes evaluated individuals, as in pymoo.

        What was evaluated without the evaluator of this algorithm, as in ask and tell, is counted
        by it too: budgets and schedules follow its count.
        """
        if self.evaluator.n_eval == self._n_before:
            self.evaluator.n_eval += self._n_asked
        self._n_asked = 0
        return super().advance(infills=infills, **kwargs)

    def _post_advance(self) -> None:
        self._count()
        self._pace.note(self)
        if self._n_generations < self.n_iter:
            self._set_optimum()
            if not self._pace.is_over(self):
                return
        self.n_iter = max(self.n_iter, self._n_generations)
        super()._post_advance()

    def _count(self) -> None:
        """Counts the evaluations of a step towards generations."""
        n_new = self.evaluator.n_eval - self._n_counted
        self._n_counted = self.evaluator.n_eval
        if not self._n_generations:
            self._n_generations, self._seconds_first = 1, self.seconds()[0]
            return
        finished, self._n_since = divmod(self._n_since + n_new, self.generation_size())
        if self.is_proposal and not finished:  # one of fewer points than usual
            finished, self._n_since = 1, 0
        self._n_generations += finished

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or stored, with the time that the run has taken so far."""
        return {**self.__dict__, "_seconds_stored": self.seconds()[0]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Goes on from there: the time between storing and loading is no time of the run."""
        since = state.pop("_seconds_stored")
        self.__dict__.update(state)
        if self.start_time is not None:
            self.start_time = time.time() - since


def _parts(termination: Termination) -> Iterator[Termination]:
    """What a termination is put together of."""
    for name in ("criteria", "terminations"):
        yield from getattr(termination, name, ())
    if isinstance(termination, (RobustTermination, Pace)):
        yield termination.termination


def _share(termination: Termination, algorithm: PacedAlgorithm) -> float | None:
    """Share of a budget that is spent, None for what has none."""
    parts = list(_parts(termination))
    if parts:
        shares = [s for part in parts if (s := _share(part, algorithm)) is not None]
        worst = min if isinstance(termination, TerminateIfAll) else max
        return worst(shares) if shares else None
    if isinstance(termination, MaximumFunctionCallTermination):
        return _ratio(algorithm.evaluator.n_eval, termination.n_max_evals)
    if isinstance(termination, MaximumGenerationTermination):
        return _ratio(algorithm.generations(), termination.n_max_gen)
    if isinstance(termination, TimeBasedTermination):
        since, first = algorithm.seconds()
        return _ratio(max(0.0, since - first), max(termination.max_time - first, 1e-9))
    if isinstance(termination, (NoTermination, DeltaToleranceTermination, *TARGETS)):
        return None
    # A termination of the user's own: either its perc grows, or it is 0 until the end.
    return termination.perc if 0.0 < termination.perc < 1.0 else None


def _ratio(made: float, allowed: float | None) -> float | None:
    if allowed is None or not isfinite(allowed):
        return None
    return made / allowed if allowed > 0 else 1.0


def _is_over(termination: Termination, algorithm: PacedAlgorithm) -> bool:
    """Whether evaluations, generations or time are spent or a value to reach is reached."""
    if termination.force_termination:
        return True
    parts = list(_parts(termination))
    if isinstance(termination, RobustTermination):
        return False
    if parts:
        every = all if isinstance(termination, TerminateIfAll) else any
        return every(_is_over(part, algorithm) for part in parts)
    if isinstance(termination, TARGETS):
        return termination.update(algorithm) >= 1.0
    share = _share(termination, algorithm) if isinstance(termination, LIMITS) else None
    return share is not None and share >= 1.0


def _ends(termination: Termination, tolerances_count: bool) -> bool:
    """Whether an updated termination ends the run; tolerances may count as not met."""
    if termination.force_termination:
        return True
    parts = list(_parts(termination))
    if isinstance(termination, RobustTermination):
        return termination.has_terminated() and (tolerances_count or not _is_tolerance(*parts))
    if parts:
        every = all if isinstance(termination, TerminateIfAll) else any
        return every(_ends(part, tolerances_count) for part in parts)
    return termination.has_terminated() and (tolerances_count or not _is_tolerance(termination))


def _is_tolerance(termination: Termination) -> bool:
    """Whether a termination waits for gains to become small."""
    until_feasible = getattr(termination, "terminate_when_feasible", False)
    if isinstance(termination, DeltaToleranceTermination):
        return not until_feasible
    return any(_is_tolerance(part) for part in _parts(termination))


def _evaluations_left(termination: Termination, algorithm: PacedAlgorithm) -> float:
    """The fewest evaluations after which a budget ends a run, infinite if it has none."""
    if isinstance(termination, MaximumFunctionCallTermination):
        allowed = termination.n_max_evals
        return inf if allowed is None else allowed - algorithm.evaluator.n_eval
    if isinstance(termination, MaximumGenerationTermination):
        allowed = termination.n_max_gen
        return inf if allowed is None else algorithm.evaluations_of(allowed)
    if isinstance(termination, (TerminateIfAll, RobustTermination)):
        return inf
    return min((_evaluations_left(part, algorithm) for part in _parts(termination)), default=inf)
