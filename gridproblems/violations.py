"""Which limits are checked, which are broken and by how much, in physical units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridproblems.constraints import Measure
from gridproblems.evaluation import Entries
from gridproblems.state import FloatArray, Layout

if TYPE_CHECKING:
    from gridproblems.problem import GridProblem

_SHOWN = 5
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
    """

    name: str
    n_elements: int
    lower: tuple[float, float] | None = None
    upper: tuple[float, float] | None = None
    unit: str = ""

    def __str__(self) -> str:
        sides = [
            f"{word} {_span(side)}"
            for word, side in (("from", self.lower), ("to", self.upper))
            if side is not None
        ]
        text = " ".join([self.name, *sides, self.unit if sides else ""]).rstrip()
        return f"{text} ({self.n_elements})"


@dataclass(frozen=True)
class Violation:
    """A limit that does not hold.

    Attributes:
        name: Element and quantity, as in ``constraint_names``.
        beyond: Distance beyond the limit, positive. [unit]
        limit: The limit, NaN where the entry is no limit of a quantity. [unit]
        unit: Of both.
        share: Distance in terms of the scale of the limit, as in G.
    """

    name: str
    beyond: float
    limit: float
    unit: str
    share: float

    def __str__(self) -> str:
        limit = "" if math.isnan(self.limit) else f" {self.limit:g} {self.unit}".rstrip()
        return f"{self.name}{limit} by {self.beyond:.3g} {self.unit}".rstrip()


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
            names = ", ".join(self.unmoved[:_SHOWN])
            said.append(f"None of them changed these at all: {names}{_more(self.unmoved)}")
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
        )
        for kind, (names, measures) in found.items()
    ]


def not_limited(problem: GridProblem) -> list[str]:
    """Voltages and loadings of the grid that no limit holds."""
    layout = problem.base_state.layout
    kinds = set(problem.evaluation.entries.kinds)
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


def violations(entries: Entries, values: FloatArray) -> list[Violation]:
    """Limits that one candidate breaks, nearest to holding first.

    Args:
        entries: The entries of the constraints.
        values: Their values, shape (n_entries,).
    """
    return [_violation(entries.names[i], values[i], entries.measures[i]) for i in _broken(values)]


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
        settings = problem.joint.decode(x)
        state = evaluation.solve(settings)
        if evaluation.solves(state)[0]:
            tried.append(evaluation.values_of_entries(x, settings, state)[0])
    n = len(ends) + n_random
    if not tried:
        return Outlook(now, n)
    least, most = np.min(tried, axis=0), np.max(tried, axis=0)
    never = tuple(_violation(entries.names[i], least[i], entries.measures[i])
                  for i in _broken(least))  # fmt: skip
    unmoved = tuple(entries.names[i] for i in _broken(least) if most[i] - least[i] <= _UNMOVED)
    return Outlook(now, n, len(tried), never, unmoved)


def listed(found: Sequence[Violation]) -> str:
    """The first few violations in words, and how many more there are."""
    return "; ".join(map(str, found[:_SHOWN])) + _more(found)


def _more(found: Sequence[object]) -> str:
    return f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""


def _counted(found: Sequence[Violation]) -> str:
    return f"{len(found)} limit{'s' if len(found) > 1 else ''}"


def _broken(values: FloatArray) -> list[int]:
    return [int(i) for i in np.argsort(values, kind="stable") if values[i] > 0]


def _violation(name: str, share: float, measure: Measure) -> Violation:
    beyond = float(share * measure.scale)
    return Violation(name, beyond, measure.limit, measure.unit, float(share))


def _range(limits: list[float]) -> tuple[float, float] | None:
    finite = [limit for limit in limits if not math.isnan(limit)]
    return (min(finite), max(finite)) if finite else None


def _span(limits: tuple[float, float]) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"
