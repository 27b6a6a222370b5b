"""Final gaps of stored runs as scores, and mean ranks over groups of problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gridproblems.study.analyse import Comparison, friedman_nemenyi, gap_curve, run_table
from gridproblems.study.results import Results

#: Gaps below this count as reached: 1e-8 where the best known value is 0, as in COCO.
FLOOR_PERCENT = 1e-6
_WORSE_THAN_FEASIBLE = 1e3


def scores(results: Results, problem: str, speed: bool = False) -> pd.DataFrame:
    """Seeds as rows, algorithms as columns, small is good; seeds that all have finished.

    Args:
        results: Stored runs.
        problem: Label of the problem.
        speed: Of two runs that reached the optimum, the one that did so earlier is better;
            otherwise they are equal.

    Returns:
        The logarithm of the final gap, not below `FLOOR_PERCENT`. A run without a feasible point
        is worse than all with one, and better the less it violates.
    """
    gaps = run_table(results).set_index(["problem", "algorithm", "seed"])
    rows = []
    for run in results.finished(problem):
        row = gaps.loc[(problem, run.algorithm, run.key.seed)]
        if not row.feasible:
            score = _WORSE_THAN_FEASIBLE + row.violation
        else:
            score = float(np.log10(max(row.gap_percent, FLOOR_PERCENT)))
            if speed and row.gap_percent <= FLOOR_PERCENT:
                evaluations, reached = gap_curve(results, run)
                first = evaluations[np.flatnonzero(reached <= FLOOR_PERCENT)[0]]
                score -= 1.0 - first / run.key.budget
        rows.append((run.key.seed, run.algorithm, round(score, 9)))
    table = pd.DataFrame(rows, columns=["seed", "algorithm", "score"])
    return table.pivot(index="seed", columns="algorithm", values="score").dropna()


def compare_groups(
    results: Results,
    groups: Mapping[str, Sequence[str]],
    algorithms: Sequence[str],
    speed: bool = False,
) -> dict[str, Comparison]:
    """Friedman's test and mean ranks for each group; a block is a problem and a seed.

    Args:
        results: Stored runs.
        groups: Labels of problems by name of the group; those without runs are left out.
        algorithms: Labels; all of them must have run on a problem for it to count.
        speed: See `scores`.
    """
    present = {entry.label for entry in results.entries}
    comparisons = {}
    for group, problems in groups.items():
        tables = [scores(results, problem, speed) for problem in problems if problem in present]
        blocks = [
            table[list(algorithms)].to_numpy()
            for table in tables
            if len(table) and set(algorithms) <= set(table.columns)
        ]
        if blocks and sum(map(len, blocks)) > 1:
            comparisons[group] = friedman_nemenyi(np.vstack(blocks), list(algorithms))
    return comparisons


def compare_medians(
    results: Results, problems: Sequence[str], algorithms: Sequence[str]
) -> Comparison | None:
    """The same with one block per problem, the medians over its seeds; None with less than two.

    Runs of one problem are no independent evidence about other problems, so this is the careful
    answer for a choice on a problem that is not in the study.
    """
    tables = [scores(results, problem) for problem in problems]
    blocks = [
        table[list(algorithms)].median().to_numpy()
        for table in tables
        if len(table) and set(algorithms) <= set(table.columns)
    ]
    return friedman_nemenyi(np.array(blocks), list(algorithms)) if len(blocks) > 1 else None


def mean_ranks(comparison: Comparison) -> dict[str, float]:
    """Mean rank by algorithm."""
    return dict(zip(comparison.algorithms, comparison.mean_ranks.tolist(), strict=True))
