"""Tables of evaluations to the best known losses, from the lines of ``gradients_runs.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from markdown_lines import head, line

from gridproblems.study.analyse import friedman_nemenyi, holm, wilcoxon_p

RUNS = Path(__file__).parent / "gradients_runs.csv"
TABLES = Path(__file__).parents[2] / "docs" / "tables"
CASES = {
    "ieee39": 39,
    "ieee57": 57,
    "ieee118": 118,
    "ieee300": 300,
    "pegase1354": 1354,
    "pegase9241": 9241,
}
WITH_SLOPES = ("sqp", "hs", "mvmo")
ALGORITHMS = {
    "sqp": "`sqp`",
    "hs": "`hs`",
    "mvmo": "`mvmo`",
    "hs?gradients=false": "`hs` without",
    "mvmo?gradients=false": "`mvmo` without",
    "bipop-cmaes": "BIPOP-CMA-ES (cma)",
    "cmaes": "CMA-ES (pymoo)",
    "pso": "PSO (pymoo)",
    "ga": "GA (pymoo)",
    "de": "DE (pymoo)",
}
TARGETS_PERCENT = (1.0, 0.1, 0.01)
ALPHA = 0.05
#: Scores of runs: evaluations where the target is reached, then gaps, then violations.
MISSED, INFEASIBLE = 1e6, 1e9


class Run(NamedTuple):
    """A line of the list of runs: evaluations and processor time to each target, inf if never.

    ``gap_percent`` and ``violation`` are those of the best point; ``evaluations``, ``gradients``
    and ``seconds`` those of the whole run.
    """

    case: str
    algorithm: str
    seed: int
    budget: int
    evaluations: int
    gradients: int
    seconds: float
    gap_percent: float
    violation: float
    evaluations_1: float
    evaluations_01: float
    evaluations_001: float
    seconds_1: float
    seconds_01: float
    seconds_001: float


def read_runs() -> pd.DataFrame:
    """All runs so far."""
    if not RUNS.exists():
        return pd.DataFrame(columns=list(Run._fields))
    return pd.read_csv(RUNS)


def write_tables(runs: pd.DataFrame) -> None:
    """Writes the table of every case, that of the ranks and that of the whole."""
    TABLES.mkdir(parents=True, exist_ok=True)
    texts = {
        "algorithms_gradients": gradient_table(runs),
        "algorithms_gradients_peers": peer_table(runs),
        "algorithms_gradients_ranks": rank_table(runs),
    }
    for name, lines in texts.items():
        if lines:
            (TABLES / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def gradient_table(runs: pd.DataFrame) -> list[str]:
    """Of those with slopes and the same without: evaluations until 0.01 %."""
    lines = head(
        ["case", "algorithm", "seeds", "evaluations, median", "least to most", "runs there",
         "with slopes, median", "processor s, median", "largest gap at the end"]
    )  # fmt: skip
    names = [*WITH_SLOPES, "hs?gradients=false", "mvmo?gradients=false"]
    for case, name, part in _parts(runs, names):
        numbers = part.evaluations_001.to_numpy(float)
        low, median, high = np.quantile(numbers, [0.0, 0.5, 1.0], method="nearest")
        lines.append(
            line(
                [case, ALGORITHMS[name], str(len(part)), _number(median),
                 f"{_number(low)} to {_number(high)}", f"{np.isfinite(numbers).mean():.0%}",
                 f"{part.gradients.median():.0f}", f"{part.seconds.median():.2g}",
                 _gap(part.gap_percent.max())]
            )
        )  # fmt: skip
    return lines


def peer_table(runs: pd.DataFrame) -> list[str]:
    """Of all algorithms: evaluations and processor time to 1 %, 0.1 % and 0.01 %."""
    lines = head(
        ["case", "algorithm", "seeds", "feasible",
         *(f"evaluations to {t:g} %" for t in TARGETS_PERCENT),
         *(f"processor s to {t:g} %" for t in TARGETS_PERCENT), "final gap, median"]
    )  # fmt: skip
    for case, name, part in _parts(runs, list(ALGORITHMS)):
        cells = []
        for kind in ("evaluations", "seconds"):
            for target in ("1", "01", "001"):
                values = part[f"{kind}_{target}"].to_numpy(float)
                median = np.quantile(values, 0.5, method="nearest")
                cells.append(_number(median) if kind == "evaluations" else _seconds(median))
        gap = np.quantile(part.gap_percent, 0.5, method="nearest")
        feasible = f"{np.isfinite(part.gap_percent).mean():.0%}"
        lines.append(
            line([case, ALGORITHMS[name], str(len(part)), feasible, *cells, _gap(float(gap))])
        )
    return lines


def rank_table(runs: pd.DataFrame) -> list[str]:
    """Mean ranks with Friedman's and Nemenyi's tests, and Wilcoxon's of each pair that matters."""
    columns, lines = {}, []
    tables = {case: scores(runs, case) for case in CASES}
    tables = {case: t for case, t in tables.items() if len(t) > 1 and t.shape[1] == len(ALGORITHMS)}
    if not tables:
        return []
    names = list(ALGORITHMS)
    blocks = {"all": pd.concat(tables.values()), **tables}
    for case, table in blocks.items():
        columns[case] = friedman_nemenyi(table[names].to_numpy(), names)
    lines = head(["mean rank", *columns])
    for name in columns["all"].algorithms:
        ranks = [c.mean_ranks[c.algorithms.index(name)] for c in columns.values()]
        lines.append(line([ALGORITHMS[name], *(f"{rank:.2f}" for rank in ranks)]))
    lines.append(
        line(["critical difference", *(f"{c.critical_difference:.2f}" for c in columns.values())])
    )
    lines.append(line(["pairs of case and seed", *(str(len(t)) for t in blocks.values())]))
    others = [name for name in names if name not in WITH_SLOPES]
    couples = [(mine, other) for mine in ("hs", "mvmo") for other in others]
    p = holm(
        [wilcoxon_p(blocks["all"][a].to_numpy(), blocks["all"][b].to_numpy()) for a, b in couples]
    )
    overall = columns["all"]
    lines += [
        "",
        f"Friedman's test: p = {overall.friedman_p:.1g}. Wilcoxon's signed-rank test of `hs` and "
        f"of `mvmo` against each of those without gradients, corrected by Holm: largest p = "
        f"{p.max():.1g}, "
        + (
            "all of them differ."
            if p.max() < ALPHA
            else f"{(p < ALPHA).sum()} of {len(p)} pairs differ."
        ),
    ]
    return lines


def scores(runs: pd.DataFrame, case: str) -> pd.DataFrame:
    """Seeds as rows, algorithms as columns, small is good; seeds that all have finished.

    A run that reached 0.01 % is the better the fewer evaluations it took; then come the others by
    gap, and then those without a feasible point by violation.
    """
    own = runs[runs.case == case].copy()
    missed = np.where(
        np.isfinite(own.gap_percent), MISSED * (1.0 + own.gap_percent), INFEASIBLE + own.violation
    )
    own["score"] = np.where(np.isfinite(own.evaluations_001), own.evaluations_001, missed)
    names = [name for name in ALGORITHMS if name in set(own.algorithm)]
    return own.pivot(index="seed", columns="algorithm", values="score")[names].dropna()


def _parts(runs: pd.DataFrame, names: list[str]) -> list[tuple[str, str, pd.DataFrame]]:
    """The runs of each case and algorithm that there are any of."""
    found = []
    for case in CASES:
        for name in names:
            part = runs[(runs.case == case) & (runs.algorithm == name)]
            if len(part):
                found.append((case, name, part))
    return found


def _number(value: float) -> str:
    return "never" if np.isinf(value) else f"{value:.0f}"


def _seconds(value: float) -> str:
    return "never" if np.isinf(value) else f"{value:.2g}"


def _gap(percent: float) -> str:
    return "infeasible" if np.isinf(percent) else f"{max(percent, 0.0):.2g} %"
