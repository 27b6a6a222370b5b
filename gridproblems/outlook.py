"""Before a search: which limits are checked, and whether some settings keep them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gridproblems.constraints import Measure
from gridproblems.problem import GridProblem
from gridproblems.state import FloatArray, Layout
from gridproblems.violations import Violation, listed, violations

_RANDOM = 30  # settings looked at before a search, beside the present ones, ends and middle
_MOST_POWER_FLOWS = 3000  # for them, outages aside
_UNMOVED = 1e-9


@dataclass(frozen=True)
class CheckedLimits:
    """The limits on one quantity.

    Attributes:
        name: The quantity, such as ``"vm_pu"``, or the kind of the constraint.
        n_elements: Number of elements that have a limit.
        lower, upper: Lowest and highest of the lower and of the upper limits; None without any.
        unit: Of the limits.
        share: Of the weight of the situations in which they have to hold.
    """

    name: str
    n_elements: int
    lower: tuple[float, float] | None = None
    upper: tuple[float, float] | None = None
    unit: str = ""
    share: float = 1.0

    def __str__(self) -> str:
        sides = [
            f"{word} {_span(side)}"
            for word, side in (("from", self.lower), ("to", self.upper))
            if side is not None
        ]
        text = " ".join([self.name, *sides, self.unit if sides else ""]).rstrip()
        if self.share < 1.0:
            text += f" in {self.share * 100:g} % of the situations"
        return f"{text} ({self.n_elements})"


@dataclass(frozen=True)
class Outlook:
    """What some settings say about the limits before a search; no proof of anything.

    Attributes:
        now: Limits that the grid breaks with its present settings, nearest to holding first.
        n_settings: Number of settings looked at; 0 if the present ones break nothing.
        n_solved: Of these, those whose power flow solves.
        never: Limits that every one of them breaks, by the least amount seen.
        unmoved: Names of those whose amount was the same every time.
    """

    now: tuple[Violation, ...]
    n_settings: int = 0
    n_solved: int = 0
    never: tuple[Violation, ...] = ()
    unmoved: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The same as sentences, none where there is nothing to say."""
        said = []
        if self.now:
            said.append(f"As it is the grid breaks {_counted(self.now)}: {listed(self.now[::-1])}")
        looked = f"{self.n_settings} settings looked at before the search"
        if self.n_settings and not self.n_solved:
            said.append(f"In none of {looked} does the power flow solve")
        if self.never:
            said.append(
                f"All {looked} break {_counted(self.never)}, perhaps none can mend that; least "
                f"seen: {listed(self.never[::-1])}"
            )
        if self.unmoved:
            said.append(f"None of them changed these at all: {listed(self.unmoved, ', ')}")
        return said


def checked_limits(problem: GridProblem) -> list[CheckedLimits]:
    """The limits that a problem checks, one entry per quantity."""
    found: dict[str, tuple[set[str], list[Measure]]] = {}
    entries = problem.evaluation.entries
    for kind, name, measure in zip(entries.kinds, entries.names, entries.measures, strict=True):
        names, measures = found.setdefault(kind, (set(), []))
        names.add(measure.element or name)
        measures.append(measure)
    return [
        CheckedLimits(
            kind,
            len(names),
            _range([m.limit for m in measures if not m.is_upper]),
            _range([m.limit for m in measures if m.is_upper]),
            measures[0].unit,
            min(m.share for m in measures),
        )
        for kind, (names, measures) in found.items()
    ]


def not_limited(problem: GridProblem) -> list[str]:
    """Voltages and loadings of the grid that no limit holds."""
    layout = problem.grid.layout()
    kinds = {limit.quantity for _, limits in problem.limits for limit in limits.limits}
    wanted = {"vm_pu": "voltages", "line_loading_percent": "line loadings"}
    wanted["trafo_loading_percent"] = "transformer loadings"
    return [
        words
        for quantity, words in wanted.items()
        if quantity not in kinds and _size(layout, quantity) > 0
    ]


def _size(layout: Layout, quantity: str) -> int:
    part = layout.slices.get(quantity, slice(0, 0))
    return int(part.stop - part.start)


def outlook(problem: GridProblem, seed: int = 1) -> Outlook:
    """Whether the present settings keep the limits, and if not, whether some others do.

    Looks at the ends and the middle of all ranges and at settings drawn at random. Nothing of it
    counts as an evaluation.

    Args:
        problem: What is to be solved.
        seed: Of the random settings.
    """
    evaluation = problem.with_engine(problem.engine).evaluation  # with counts of its own
    entries = evaluation.entries
    present = problem.present_entries()
    now = () if present is None else tuple(violations(entries, present))
    if present is not None and not now:
        return Outlook(())
    ends = np.vstack([problem.base_x, problem.xl, problem.xu, 0.5 * (problem.xl + problem.xu)])
    n_random = min(_RANDOM, max(4, _MOST_POWER_FLOWS // problem.situations.n))
    drawn = np.random.default_rng(seed).uniform(problem.xl, problem.xu, (n_random, problem.n_var))
    tried: list[FloatArray] = []
    for x in problem.snap(np.vstack([ends, drawn]))[:, np.newaxis]:
        values = evaluation.entries_of(x)
        if values is not None:
            tried.append(values)
    n = len(ends) + n_random
    if not tried:
        return Outlook(now, n)
    least, most = np.min(tried, axis=0), np.max(tried, axis=0)
    never = tuple(violations(entries, least))
    held = (least > 0) & (most - least <= _UNMOVED)
    unmoved = tuple(entries.names[i] for i in np.argsort(least, kind="stable") if held[i])
    return Outlook(now, n, len(tried), never, unmoved)


def _counted(found: Sequence[Violation]) -> str:
    return f"{len(found)} limit{'s' if len(found) > 1 else ''}"


def _range(limits: list[float]) -> tuple[float, float] | None:
    finite = [limit for limit in limits if not math.isnan(limit)]
    return (min(finite), max(finite)) if finite else None


def _span(limits: tuple[float, float]) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"
