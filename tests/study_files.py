"""Files of studies with made-up results, for tests of analysis and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gridproblems.study import Results
from gridproblems.study.run import Outcome
from gridproblems.study.store import RunKey, Store

Curve = Sequence[Sequence[float]]


def facts(objectives: Sequence[str] = ("loss",), reference: Any = None) -> dict[str, Any]:
    """What the file keeps of a problem with two variables."""
    return {
        "title": "made up",
        "n_var": 2,
        "n_constraints": 1,
        "objectives": list(objectives),
        "units": ["MW", "", ""][: len(objectives)],
        "variables": ["x1", "x2"],
        "base": None,
        "reference": reference and {"values": reference, "status": "proven", "method": "by hand"},
    }


def finished(curve: Curve, evaluations: int = 100, **changes: Any) -> Outcome:
    """A run with these improvements: rows of evaluation, time, violation and objectives."""
    rows = np.array(curve, dtype=float)
    last = rows[rows[:, 2] <= 0.0] if (rows[:, 2] <= 0.0).any() else rows[-1:]
    F = last[:, 3:] if rows.shape[1] > 4 else last[-1:, 3:]
    values: dict[str, Any] = {
        "evaluations": evaluations,
        "run_time_s": 2.0,
        "violation": float(last[-1, 2]),
        "F": F,
        "X": np.column_stack([F[:, 0], np.zeros(len(F))]),
        "G": np.zeros((len(F), 1)),
        "curve": rows,
        "machine": {"python": "3"},
    }
    return Outcome(**{**values, **changes})


def results(
    path: Path,
    problems: Mapping[str, dict[str, Any]],
    runs: Mapping[tuple[str, str, int], Outcome],
    budget: int = 100,
) -> Results:
    """Results with outcomes by problem, algorithm and seed."""
    with Store(path) as store:
        for name, about in problems.items():
            store.set_problem(name, "callable", about)
        for (problem, algorithm, seed), outcome in runs.items():
            key = RunKey(problem, "callable", algorithm, '{"class": "Made"}', seed, budget)
            store.add(key, outcome)
    return Results(path)
