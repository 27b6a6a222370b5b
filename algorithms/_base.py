"""What Harmony Search and MVMO share: checked arguments, start, budget and pace of a run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import FitnessSurvival
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.core.survival import Survival
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.termination.max_eval import MaximumFunctionCallTermination
from pymoo.util.archive import Archive

from algorithms._offered import offered
from algorithms._output import SeveralOutput, SingleOutput
from algorithms._pace import DEFAULT_EVALUATIONS, PacedAlgorithm
from algorithms._variables import Variables

SETUP_OPTIONS = ("progress", "history")


class MixedVariableAlgorithm(PacedAlgorithm):
    """A pymoo algorithm on flat vectors of real, ordered and nominal variables.

    A subclass proposes vectors; everything between them and pymoo is here. Evaluations never
    exceed an ``n_evals`` termination (pymoo alone finishes the generation first). Schedules follow
    the share of evaluations, generations or time that is spent (`Pace`). Without any termination a
    run lasts 10,000 evaluations.
    """

    def __init__(
        self,
        sampling: Sampling | Population | np.ndarray | Iterable[Any] | None = None,
        survival: Survival | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep what every algorithm of this package accepts.

        Args:
            sampling: First solutions: a pymoo ``Sampling``, a ``Population`` (evaluated members
                are not evaluated again), an array of vectors or a list of dicts; if they are fewer
                than needed, uniform draws fill up. None: the ``starts`` of a problem that offers
                any, an array of vectors, as if they were given; all others uniform.
            survival: Who stays when solutions compete. None: feasibility first, then the objective
                (Deb); rank and crowding for several objectives.
            **kwargs: Options of ``pymoo.core.algorithm.Algorithm``: termination, output, seed, ...

        Raises:
            TypeError: An unknown option.
        """
        check_options(type(self), kwargs)
        super().__init__(**kwargs)
        self.sampling = sampling
        self.survival = survival
        self.variables: Variables
        self._survival: Survival
        self.archive: Archive | None

    def setup(self, problem: Problem, **kwargs: Any) -> Algorithm:
        """Prepare a run on ``problem``; options as in pymoo, unknown ones raise TypeError."""
        check_options(Algorithm, kwargs, also=("verbose", *SETUP_OPTIONS))
        if self.termination is None and kwargs.get("termination") is None:
            kwargs["termination"] = MaximumFunctionCallTermination(DEFAULT_EVALUATIONS)
        single = problem.n_obj == 1
        if getattr(self, "output", None) is None and kwargs.get("output") is None:
            self.output = SingleOutput() if single else SeveralOutput()
        self._survival = self.survival or (FitnessSurvival() if single else RankAndCrowding())
        self.variables = Variables(problem)
        return super().setup(problem, **kwargs)

    def advance(self, infills: Population | None = None, **kwargs: Any) -> Any:
        """Takes evaluated individuals, as in pymoo, none between whole values into an archive."""
        archive: Archive | None = self.archive
        result = super().advance(infills=infills, **kwargs)
        if infills is not None and any(individual.get("is_between") for individual in infills):
            self.archive = archive
        return result

    def first_population(self, size: int) -> Population:
        """``size`` solutions to start from: those given by ``sampling`` first, in their order, or
        else the ``starts`` of a problem that offers any.

        Evaluated members of a given population come as they are; all others are snapped to the
        allowed values. More given solutions than ``size`` are all taken.
        """
        given = offered(self.problem, "starts") if self.sampling is None else self.sampling
        if isinstance(given, Sampling):
            given = given(self.problem, size, random_state=self.random_state)
        if given is None:
            given = Population.empty()
        if not isinstance(given, Population):
            X = self.variables.vectors(_rows(given))
            given = self.variables.population(self.variables.snap(X))

        known = [ind.copy() for ind in given if len(ind.evaluated) > 0]
        fresh = Population([ind for ind in given if len(ind.evaluated) == 0])
        X = self.variables.snap(self.variables.vectors(ind.X for ind in fresh))
        n_missing = max(0, size - len(known) - len(fresh))
        X = np.vstack([X, self.variables.sample(n_missing, self.random_state)])
        X = X[: self.affordable(len(X))]
        return Population.merge(Population(known), self.variables.population(X))


def _rows(points: Any) -> Any:
    """The points one by one; a single vector is one point."""
    vector = isinstance(points, np.ndarray) and points.dtype != object and points.ndim == 1
    return points[None] if vector else points


def check_options(cls: type, options: Iterable[str], also: Iterable[str] = ()) -> None:
    """Refuse options that no constructor of ``cls`` or its bases names.

    pymoo's constructors and ``setup`` swallow any keyword, a misspelt one too.

    Raises:
        TypeError: Names the unknown options and lists the known ones.
    """
    known = set(also)
    for base in cls.__mro__:
        constructor = vars(base).get("__init__", object.__init__)
        for p in list(inspect.signature(constructor).parameters.values())[1:]:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                known.add(p.name)
    unknown = sorted(set(options) - known)
    if unknown:
        raise TypeError(f"{cls.__name__}: unknown option {unknown}, known are {sorted(known)}")


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse a number or array that is not inside [low, high].

    Raises:
        ValueError: Names the argument, the range and what came.
    """
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        array = np.array(np.nan)  # no number, so in no range
    if not np.all((array >= low) & (array <= high)):
        raise ValueError(f"{name}: expected values in [{low}, {high}], got {value!r}")


def check_pair(name: str, pair: Any, low: float, high: float) -> None:
    """Refuse anything but two numbers inside [low, high].

    Raises:
        ValueError: Names the argument, the range and what came.
    """
    if np.shape(pair) != (2,):
        raise ValueError(f"{name}: expected (first, last), got {pair!r}")
    check_range(name, pair, low, high)
