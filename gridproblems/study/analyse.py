"""Statistics of stored runs: quality, targets, ranks, tests, intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy import stats

from gridproblems.study.indicators import (
    additive_epsilon,
    hypervolume_ratio,
    hypervolume_steps,
    igd_plus,
)
from gridproblems.study.results import Results, Run, mixed_versions
from gridproblems.study.run import FloatArray

TARGETS_PERCENT = (10.0, 1.0, 0.1, 0.01)
ECDF_TARGETS_PERCENT = np.logspace(2, -2, 51)
ALPHA = 0.05
RESAMPLES = 2000
#: What was worked out of the runs in memory, which never change.
_REMEMBERED: WeakKeyDictionary[Results, dict[Any, Any]] = WeakKeyDictionary()
_ROUNDING_PERCENT = 1e-7
_DIGITS = 9
_FIGURES = ("median", "q25", "q75", "best", "worst", "median_low", "median_high")
_MIRRORED = {"q25": "q75", "q75": "q25", "median_low": "median_high", "median_high": "median_low"}


def run_table(results: Results) -> pd.DataFrame:
    """One row per run; not to be changed, it is remembered.

    Columns: problem, algorithm, seed, budget, status, feasible, value, gap_percent, violation,
    evaluations, gradients (those of them that gave slopes), infeasible, diverged, cached, time_s,
    processor_s (both NaN in runs of older files), points, and with several objectives
    hypervolume_ratio, igd_plus and epsilon (NaN for one objective). ``value`` is the best feasible
    objective, or minus the hypervolume ratio: small is good, infinite if nothing was feasible.
    """
    memory = _REMEMBERED.setdefault(results, {})
    if "runs" not in memory:
        memory["runs"] = _run_table(results)
    found: pd.DataFrame = memory["runs"]
    return found


def _run_table(results: Results) -> pd.DataFrame:
    rows = []
    for run in results.runs:
        o = run.outcome
        row: dict[str, Any] = {
            "problem": run.problem,
            "algorithm": run.algorithm,
            "seed": run.key.seed,
            "budget": run.key.budget,
            "status": o.status,
            "feasible": run.feasible,
            "value": np.inf,
            "gap_percent": np.inf,
            "violation": o.violation,
            "evaluations": o.evaluations,
            "gradients": o.gradients if o.gradients >= 0 else np.nan,
            "infeasible": o.infeasible,
            "diverged": o.diverged,
            "cached": o.cached,
            "time_s": o.run_time_s,
            "processor_s": o.processor_time_s,
            "points": len(o.F) if run.feasible else 0,
        }
        several = results.entry(run.problem).n_obj > 1
        indicators = dict.fromkeys(("hypervolume_ratio", "igd_plus", "epsilon"), np.nan)
        if run.feasible:
            reference = results.reference(run.problem)
            if several:
                points = reference.scaled(reference.points)
                found = reference.scaled(o.F)
                indicators = {
                    "hypervolume_ratio": hypervolume_ratio(found, points),
                    "igd_plus": igd_plus(found, points),
                    "epsilon": additive_epsilon(found, points),
                }
                row["value"] = -indicators["hypervolume_ratio"]
                row["gap_percent"] = 100.0 * (1.0 - indicators["hypervolume_ratio"])
            else:
                row["value"] = float(o.F[0, 0])
                row["gap_percent"] = float(_gap_percent(o.F[0, 0], reference.points[0, 0]))
        elif o.status == "finished" and several:
            indicators["hypervolume_ratio"] = 0.0
        rows.append({**row, **indicators})
    return pd.DataFrame(rows)


def table(results: Results) -> pd.DataFrame:
    """One row per problem and algorithm, from finished runs.

    Columns: problem, algorithm, runs, failed, feasible (share of runs), median, q25, q75, best,
    worst (of the objective; with several objectives of the hypervolume ratio, where more is
    better), median_low and median_high (95 % bootstrap interval of the median), gap_percent
    (of the median), for each target reached_10%, ... (share of runs) and ert_10%, ...
    (evaluations), the medians of gradients, time_s and processor_s, mean_rank within the problem,
    and the medians of igd_plus and epsilon. Where versions of packages differ between runs,
    ``versions`` says which each row has.
    """
    runs = run_table(results)
    mixed = mixed_versions(run.outcome for run in results.runs)
    hits = target_hits(results, TARGETS_PERCENT)
    rows = []
    for entry in results.entries:
        several = entry.n_obj > 1
        ranks = problem_ranks(results, entry.label)
        for algorithm in results.algorithms:
            mine = runs[(runs.problem == entry.label) & (runs.algorithm == algorithm)]
            done = mine[mine.status == "finished"]
            if mine.empty:
                continue
            row: dict[str, Any] = {
                "problem": entry.label,
                "algorithm": algorithm,
                "runs": len(done),
                "failed": len(mine) - len(done),
                "feasible": done.feasible.mean() if len(done) else np.nan,
            }
            if len(done):
                value = done.value.to_numpy()
                low, high = median_interval(value)
                q25, median, q75 = (quantile(value, q) for q in (0.25, 0.5, 0.75))
                figures = {
                    "median": median,
                    "q25": q25,
                    "q75": q75,
                    "best": value.min(),
                    "worst": value.max(),
                    "median_low": low,
                    "median_high": high,
                }
                if several:
                    figures = {_MIRRORED.get(k, k): max(-v, 0.0) for k, v in figures.items()}
                row |= {name: figures[name] for name in _FIGURES}
                row["gap_percent"] = quantile(done.gap_percent.to_numpy(), 0.5)
                of_mine = hits[(hits.problem == entry.label) & (hits.algorithm == algorithm)]
                for target in TARGETS_PERCENT:
                    at = of_mine[of_mine.target_percent == target]
                    first, spent = at.evaluations.to_numpy(), at.spent.to_numpy()
                    row[f"reached_{target:g}%"] = float(np.isfinite(first).mean())
                    row[f"ert_{target:g}%"] = expected_running_time(first, spent)
                for spent_on in ("gradients", "time_s", "processor_s"):
                    row[spent_on] = done[spent_on].median()
                row["mean_rank"] = ranks.get(algorithm, np.nan)
                for indicator in ("igd_plus", "epsilon"):
                    known = done[indicator].dropna()
                    row[indicator] = known.median() if len(known) else np.nan
            if mixed:
                row["versions"] = _versions(results.finished(entry.label, algorithm), list(mixed))
            rows.append(row)
    return pd.DataFrame(rows)


def _versions(runs: Sequence[Run], packages: Sequence[str]) -> str:
    texts = []
    for package in packages:
        found = sorted({str(run.outcome.machine.get(package, "not there")) for run in runs})
        texts.append(f"{package} {' and '.join(found)}")
    return "; ".join(texts)


def quantile(values: FloatArray, q: float) -> float:
    """A quantile, linear between values; infinite as soon as it depends on an infinite one."""
    if np.isfinite(values).all():
        return float(np.quantile(values, q))
    return float(np.quantile(values, q, method="higher"))


def median_interval(values: FloatArray) -> tuple[float, float]:
    """95 % bootstrap interval (percentiles) of the median; NaN with an infinite value or one run.

    The same values always give the same interval.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    interval = stats.bootstrap(
        (values,),
        np.median,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


# -- targets ------------------------------------------------------------------------------------


def gap_curve(results: Results, run: Run) -> tuple[FloatArray, FloatArray]:
    """Evaluations and gap to the reference after each improvement of a run, feasible ones only.

    The gap is the distance of the best objective above the best known one, relative to it (to 1
    where it is 0); with several objectives what is missing of the hypervolume of the reference. [%]
    """
    memory = _REMEMBERED.setdefault(results, {})
    if run.key not in memory:
        memory[run.key] = _gap_curve(results, run)
    curve: tuple[FloatArray, FloatArray] = memory[run.key]
    return curve


def _gap_curve(results: Results, run: Run) -> tuple[FloatArray, FloatArray]:
    curve = run.outcome.curve
    rows = curve[curve[:, 2] <= 0.0] if run.feasible else curve[:0]
    if not len(rows):
        return np.empty(0), np.empty(0)
    reference = results.reference(run.problem)
    F = rows[:, 3:]
    if F.shape[1] == 1:
        return rows[:, 0], _gap_percent(F[:, 0], float(reference.points[0, 0]))
    evaluations, ratio = hypervolume_steps(
        rows[:, 0], reference.scaled(F), reference.scaled(reference.points)
    )
    return evaluations, 100.0 * (1.0 - ratio)


def _gap_percent(values: FloatArray | float, best: float) -> FloatArray:
    scale = abs(best) if best != 0.0 else 1.0
    return np.asarray(100.0 * (np.asarray(values) - best) / scale)


def target_hits(results: Results, targets_percent: Sequence[float] | FloatArray) -> pd.DataFrame:
    """When each finished run first came within each gap.

    Columns: problem, algorithm, seed, target_percent, evaluations (infinite: never), spent.
    """
    rows = []
    for run in results.runs:
        if run.outcome.status != "finished":
            continue
        evaluations, gaps = gap_curve(results, run)
        for target in targets_percent:
            within = np.flatnonzero(gaps <= target + _ROUNDING_PERCENT)
            first = evaluations[within[0]] if len(within) else np.inf
            spent = run.outcome.evaluations
            rows.append((run.problem, run.algorithm, run.key.seed, target, first, spent))
    columns = ["problem", "algorithm", "seed", "target_percent", "evaluations", "spent"]
    return pd.DataFrame(rows, columns=columns)


def expected_running_time(hits: FloatArray, spent: FloatArray) -> float:
    """Evaluations of all runs up to the target or their end, per run that reached it.

    Args:
        hits: When each run reached the target, infinite if it did not.
        spent: Evaluations of each run.

    Returns:
        The expected number of evaluations when runs are repeated until one succeeds; infinite if
        none did.

    Source:
        N. Hansen et al., COCO: a platform for comparing continuous optimizers in a black-box
        setting, Optimization Methods and Software 36 (2021), doi:10.1080/10556788.2020.1808977.
    """
    successes = int(np.isfinite(hits).sum())
    return float(np.minimum(hits, spent).sum() / successes) if successes else float("inf")


def ecdf(results: Results, algorithm: str) -> tuple[FloatArray, FloatArray]:
    """Share of (problem, target, run) that an algorithm reached within a number of evaluations.

    51 targets per problem, from a gap of 100 % to 0.01 %, evenly on a logarithmic scale.

    Returns:
        Evaluations, and the share from there on, both of shape (n_steps,).
    """
    hits = target_hits(results, ECDF_TARGETS_PERCENT)
    return ecdf_steps(hits[hits.algorithm == algorithm].evaluations.to_numpy())


def ecdf_steps(hits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Steps of the empirical distribution of numbers, of which some may be infinite."""
    reached = np.sort(hits[np.isfinite(hits)])
    steps, last = np.unique(reached, return_index=True)
    counts = np.append(last[1:], len(reached)) if len(reached) else last
    return steps, counts / max(len(hits), 1)


# -- which algorithm is better, and is the difference real ----------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Algorithms over blocks; small ranks are good.

    Attributes:
        algorithms: Labels, best mean rank first.
        n_blocks: Blocks, each a problem and a seed.
        mean_ranks: In the order of `algorithms`.
        friedman_p: Probability of such different ranks without any difference; NaN for two.
        nemenyi_p: The same for each pair, shape (k, k).
        critical_difference: Mean ranks farther apart differ (Nemenyi, 5 %).
    """

    algorithms: list[str]
    n_blocks: int
    mean_ranks: FloatArray
    friedman_p: float
    nemenyi_p: FloatArray
    critical_difference: float


@dataclass(frozen=True)
class Pair:
    """Two algorithms on one problem.

    Attributes:
        p: Wilcoxon's signed-rank test over the seeds, Holm-corrected for all pairs.
        effect: Probability that a run of `first` is better than one of `second`, a tie counting
            half (Vargha and Delaney's A); 0.5 for no difference.
    """

    problem: str
    first: str
    second: str
    p: float
    effect: float


def scores(results: Results, problem: str) -> pd.DataFrame:
    """What ranks are made of: seeds as rows, algorithms as columns, small is good.

    Seeds that not all algorithms have finished are left out. A run without anything feasible is
    worse than every feasible one; of two such the smaller violation is better. Values that differ
    by less than 1e-9 of the largest are equal.
    """
    runs = run_table(results)
    mine = runs[(runs.problem == problem) & (runs.status == "finished")].copy()
    value, violation = mine.value.to_numpy(), mine.violation.to_numpy()
    feasible = np.isfinite(value)
    scaled = value / (np.abs(value[feasible]).max(initial=0.0) or 1.0)
    most = violation[np.isfinite(violation)].max(initial=0.0) or 1.0
    worse = 2.0 + np.minimum(violation / most, 2.0)  # the feasible are in [-1, 1]
    mine["score"] = np.where(feasible, np.round(scaled, _DIGITS), worse)
    wide = mine.pivot(index="seed", columns="algorithm", values="score")
    present = [a for a in results.algorithms if a in wide.columns]
    return wide[present].dropna()


def problem_ranks(results: Results, problem: str) -> dict[str, float]:
    """Mean rank of each algorithm over the seeds of a problem."""
    blocks = scores(results, problem)
    if blocks.empty:
        return {}
    ranks = stats.rankdata(blocks.to_numpy(), axis=1).mean(axis=0)
    return dict(zip(blocks.columns, ranks.tolist(), strict=True))


def compare(results: Results) -> Comparison | None:
    """Ranks over all problems and seeds, Friedman's test and Nemenyi's; None without blocks.

    A block is a problem and a seed, so the answer holds for these problems; it does not say what
    would happen on others. Only problems that all algorithms were run on count.
    """
    blocks = [scores(results, entry.label) for entry in results.entries]
    blocks = [b for b in blocks if list(b.columns) == results.algorithms and len(b)]
    if len(results.algorithms) < 2 or not blocks or sum(map(len, blocks)) < 2:
        return None
    return friedman_nemenyi(np.vstack([b.to_numpy() for b in blocks]), results.algorithms)


def friedman_nemenyi(blocks: FloatArray, algorithms: Sequence[str]) -> Comparison:
    """Friedman's test with Nemenyi's as post-hoc, on scores of shape (n_blocks, k).

    Source:
        J. Demšar, Statistical comparisons of classifiers over multiple data sets, Journal of
        Machine Learning Research 7 (2006) 1-30.
    """
    n, k = blocks.shape
    ranks = stats.rankdata(blocks, axis=1)
    mean = ranks.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    all_equal = bool((ranks == ranks[:, :1]).all())
    p = np.nan if k < 3 else 1.0
    if k >= 3 and not all_equal:
        p = float(stats.friedmanchisquare(*blocks.T).pvalue)
    scale = np.sqrt(k * (k + 1) / (12.0 * n))  # of rank differences, for Tukey's distribution
    distances = np.abs(mean[:, None] - mean[None, :]) / scale
    pairs = stats.studentized_range.sf(distances, k, np.inf)
    return Comparison(
        [algorithms[i] for i in order],
        n,
        mean[order],
        p,
        pairs[np.ix_(order, order)],
        float(stats.studentized_range.ppf(1.0 - ALPHA, k, np.inf) * scale),
    )


def pairs(results: Results, problem: str) -> list[Pair]:
    """Every pair of algorithms on a problem: Wilcoxon's test with Holm's correction, effect size.

    Needs at least two seeds; empty otherwise.
    """
    blocks = scores(results, problem)
    if len(blocks) < 2 or blocks.shape[1] < 2:
        return []
    couples = list(itertools.combinations(blocks.columns, 2))
    raw = [wilcoxon_p(blocks[a].to_numpy(), blocks[b].to_numpy()) for a, b in couples]
    corrected = holm(raw)
    return [
        Pair(problem, a, b, float(p), superiority(blocks[a].to_numpy(), blocks[b].to_numpy()))
        for (a, b), p in zip(couples, corrected, strict=True)
    ]


def holm(p: Sequence[float]) -> FloatArray:
    """Probabilities corrected for their number, in the given order.

    Source:
        S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6 (1979) 65-70.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * factors), 1.0)
    return corrected


def wilcoxon_p(first: FloatArray, second: FloatArray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0."""
    if (first == second).all():
        return 1.0
    return float(stats.wilcoxon(first, second).pvalue)


def superiority(first: FloatArray, second: FloatArray) -> float:
    """Probability that a value of `first` is smaller than one of `second`, ties counting half.

    Source:
        A. Vargha, H. D. Delaney, A critique and improvement of the CL common language effect size
        statistics of McGraw and Wong, Journal of Educational and Behavioral Statistics 25 (2000)
        101-132, doi:10.3102/10769986025002101.
    """
    u = stats.mannwhitneyu(second, first).statistic
    return float(u / (len(first) * len(second)))
