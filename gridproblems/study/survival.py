"""Which outages no settings were found to survive, each of them looked at by itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms import ALGORITHMS
from gridproblems.by_situation import by_situation
from gridproblems.problem import GridProblem
from gridproblems.situations import Axis, Outages, SituationGrid, axes_of
from gridproblems.situations.axis import Multiplies
from gridproblems.state import FloatArray
from gridproblems.violations import Violation, listed
from gridproblems.words import split

#: Searches and their evaluations, one after the other until one finds settings that keep all
#: limits; the first needs variables that count as real.
SEARCHES = (("sqp", 60), ("hs", 150))
_TOGETHER = 3  # outages that are looked at alone before the others are searched for anew


@dataclass(frozen=True)
class Lost:
    """An outage that no settings were found to survive.

    Attributes:
        name: Of the outage, ``"line 10 out"``.
        broken: Limits that the best settings for it break, nearest to holding first.
    """

    name: str
    broken: tuple[Violation, ...]

    def __str__(self) -> str:
        return f"{self.name} ({listed(self.broken[::-1])})"


@dataclass(frozen=True)
class Survival:
    """What searches found; no proof of anything.

    Attributes:
        lost: Outages whose limits no settings were found to keep, even where nothing else but the
            whole grid has to.
        whole: Limits that the best settings break without any outage; where there are some, single
            outages were not looked at.
        names: Of all outages.
    """

    lost: tuple[Lost, ...]
    whole: tuple[Violation, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Some(Multiplies):
    """Some of the situations of `Outages`, the first of which is the whole grid."""

    outages: Outages
    rows: tuple[int, ...]

    def bind(self, grid: SituationGrid) -> Axis:
        """Those situations."""
        return self.outages.bind(grid).some(np.array(self.rows))


def survival(make: Callable[[Any, str], GridProblem], situations: Any) -> Survival:
    """Searches for settings that survive all outages, and leaves out those that cannot be.

    Of the outages that the best settings for all do not survive, the worst are looked at alone.
    Those that nothing is found for are lost; then the search for the others begins anew.

    Args:
        make: Gives the problem in situations, with an engine.
        situations: As for `GridProblem`, `Outages` among them.

    Raises:
        ValueError: There are no outages among the situations.
    """
    axes = axes_of(situations)
    place = next((k for k, axis in enumerate(axes) if isinstance(axis, Outages)), None)
    if place is None:
        raise ValueError("--survivable: expected outages among the --situations")
    engine = "auto"

    def problem_of(rows: Sequence[int] | None) -> GridProblem:
        own = axes[place] if rows is None else _Some(axes[place], tuple(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make([*axes[:place], own, *axes[place + 1 :]], engine)

    everything = problem_of(None)
    engine = everything.engine_name
    names = next(a for a in everything.situations.axes if a.kind == "outages").names
    x, is_feasible = _best(whole := problem_of([0]))
    if not is_feasible:
        return Survival((), tuple(whole.violations(x)), names[1:])
    left, lost, can_survive = list(range(len(names))), [], {0}
    problem = everything
    while True:
        x, is_feasible = _best(problem)
        found = [] if is_feasible else [left[k] for k in _not_survived(problem, x)]
        suspects = [row for row in found if row not in can_survive]
        before = len(left)
        for first in range(0, len(suspects), _TOGETHER):
            for row in suspects[first : first + _TOGETHER]:
                x, is_feasible = _best(alone := problem_of([0, row]))
                if is_feasible:
                    can_survive.add(row)
                else:
                    lost.append((row, Lost(names[row], tuple(alone.violations(x)))))
                    left.remove(row)
            if len(left) < before:
                break
        if len(left) in (before, 1):
            return Survival(tuple(one for _, one in sorted(lost)), (), names[1:])
        problem = problem_of(left)


def without(situations: str, names: Sequence[str]) -> str:
    """Situations in words, without some outages.

    >>> without('hours:n=2*outages:lines', ["line 3 out"])
    'hours:n=2*outages:lines:without=["line 3"]'
    """
    import json

    parts = split(situations, "*")
    for i, part in enumerate(parts):
        if split(part, ":")[0].strip() == "outages":
            short = json.dumps([name.removesuffix(" out") for name in names], ensure_ascii=False)
            parts[i] = f"{part.strip()}:without={short}"
            break
    return "*".join(parts)


def _best(problem: GridProblem) -> tuple[FloatArray, bool]:
    """The settings found that break limits least, and whether they keep all."""
    has_slopes = bool(problem.joint.counts_as_real.any())
    best, least = problem.base_x, np.inf
    for name, n_evals in SEARCHES[0 if has_slopes else 1 :]:
        algorithm = ALGORITHMS[name](problem)
        algorithm.setup(problem, termination=("n_eval", n_evals), seed=1)
        while algorithm.has_next() and least > 0.0:
            evaluated = algorithm.ask()
            if evaluated is None:
                break
            algorithm.evaluator.eval(problem, evaluated)
            algorithm.tell(infills=evaluated)
            for one in evaluated:
                violation = float(np.maximum(one.G, 0.0).sum())
                if violation < least and not one.get("is_between"):
                    best, least = np.asarray(one.X, dtype=float), violation
    return best, least <= 0.0


def _not_survived(problem: GridProblem, x: FloatArray) -> list[int]:
    """Rows of the outages in which settings do not solve or break a limit, the worst first."""
    s = problem.situations
    k = next(i for i, axis in enumerate(s.axes) if axis.kind == "outages")
    found = by_situation(problem, x)
    violation = np.where(found.solved, found.violation, np.inf)
    worst = np.zeros(len(s.axes[k]))
    np.maximum.at(worst, s.index[k], violation)
    return [int(row) for row in np.argsort(-worst, kind="stable") if row > 0 and worst[row] > 0]
