"""What ``verbose=True`` prints, one line for each generation."""

from __future__ import annotations

from typing import Any

from pymoo.util.display.column import Column
from pymoo.util.display.multi import MultiObjectiveOutput
from pymoo.util.display.output import Output
from pymoo.util.display.single import SingleObjectiveOutput


def progress(algorithm: Any) -> str:
    """Share of the budget that is spent, which schedules follow. [%]"""
    return f"{100.0 * algorithm.progress():.1f}"


def n_searches(algorithm: Any) -> int:
    """Local searches begun so far."""
    return int(algorithm.n_searches)


def n_gradients(algorithm: Any) -> int:
    """Evaluations with slopes so far."""
    return int(algorithm.n_gradients)


class _OfRuns(Output):
    """Adds to pymoo's columns how far the run is and what searches did."""

    def initialize(self, algorithm: Any) -> None:
        """Chooses the columns, after the first population."""
        self.columns += [Column("done_%", width=6, func=progress)]
        if algorithm.has_searches():
            self.columns += [Column("n_srch", width=6, func=n_searches)]
        if algorithm.has_slopes():
            self.columns += [Column("n_grad", width=8, func=n_gradients)]
        super().initialize(algorithm)


class SingleOutput(_OfRuns, SingleObjectiveOutput):
    """Lines for one objective."""


class SeveralOutput(_OfRuns, MultiObjectiveOutput):
    """Lines for several objectives."""
