"""The charts of a report as plain data, drawn by plotly for the page and by matplotlib as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridproblems.study.analyse import (
    ECDF_TARGETS_PERCENT,
    Comparison,
    compare,
    ecdf_steps,
    gap_curve,
    quantile,
    run_table,
    target_hits,
)
from gridproblems.study.blobs import vector_key
from gridproblems.study.indicators import attainment_surface
from gridproblems.study.results import OWN, Entry, Results, Run
from gridproblems.study.run import FloatArray

N_GRID = 80
SMALLEST_GAP_PERCENT = 1e-3
REFERENCE = "best known"
#: Okabe and Ito, without yellow and black, which vanish on white and on dark pages.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#9467BD", "#8C8C8C")


@dataclass(frozen=True)
class Series:
    """One set of data of a chart.

    Attributes:
        name: In the legend.
        kind: "line", "steps", "points", "box" (of ``x``, at the row of its name) or "level" (one
            horizontal line at ``y[0]``).
        x, y: The data.
        low, high: A band around a line, or horizontal bars of points.
        text: For each point, what hovering shows.
        colour: Number of the algorithm, None for the reference.
    """

    name: str
    kind: str
    x: Any
    y: Any = ()
    low: Any = None
    high: Any = None
    text: Sequence[str] = ()
    colour: int | None = None


@dataclass(frozen=True)
class Chart:
    """Axes with series.

    Attributes:
        key: Name of the PNG file, unique in a report.
        title, note: Above and below it.
        rows: Labels of a vertical axis of categories, from the top.
        y_range: Shown part of the vertical axis.
    """

    key: str
    title: str
    note: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    x_log: bool = False
    y_log: bool = False
    rows: tuple[str, ...] = ()
    y_range: tuple[float, float] | None = None

    @property
    def row_per_series(self) -> bool:
        """Whether the vertical axis says already what a legend would."""
        return bool(self.rows) and {series.name for series in self.series} == set(self.rows)


@dataclass(frozen=True)
class NetworkChart:
    """The grid with one solution; ``network`` as made by `describe.network_of`."""

    key: str
    title: str
    note: str
    network: dict[str, Any]


def overall_charts(results: Results) -> list[Chart]:
    """Ranking, shares of targets reached, and gaps of all problems."""
    charts = []
    comparison = compare(results)
    if comparison is not None:
        charts.append(ranking(results, comparison))
    if any(results.has_reference(entry.label) for entry in results.entries):
        charts += [targets_reached(results), gaps(results)]
    return charts


def problem_charts(results: Results, entry: Entry, number: int) -> list[Chart | NetworkChart]:
    """Convergence, final values, fronts and the grid of one problem."""
    if not results.has_reference(entry.label):
        return []
    prefix = f"{number}-"
    charts: list[Chart | NetworkChart] = [
        convergence(results, entry, prefix, over_time=False),
        convergence(results, entry, prefix, over_time=True),
        final_values(results, entry, prefix),
    ]
    if entry.n_obj > 1:
        charts.append(front(results, entry, prefix))
    if entry.n_obj == 2:
        charts.append(attainment(results, entry, prefix))
    described = results.solutions(entry.label)
    for _, row in results.chosen(entry.label).iterrows():
        network = described.get(vector_key(row["x"]), {}).get("network")
        if network and row["choice"] in ("best", "knee"):
            charts.append(
                NetworkChart(
                    f"{prefix}network",
                    f"The grid with the {row['choice']} solution",
                    "Squares are sources, dashed branches are open.",
                    network,
                )
            )
    return charts


def ranking(results: Results, comparison: Comparison) -> Chart:
    """Mean ranks with bars of half the critical difference."""
    half = comparison.critical_difference / 2.0
    series = [
        Series(
            name,
            "points",
            [rank],
            [name],
            [rank - half],
            [rank + half],
            [f"{name}: mean rank {rank:.2f}"],
            results.algorithms.index(name),
        )
        for name, rank in zip(comparison.algorithms, comparison.mean_ranks.tolist(), strict=True)
    ]
    return Chart(
        "ranking",
        "Mean rank and critical difference",
        "1 is best. Algorithms whose bars do not overlap differ (Nemenyi, 5 %), "
        f"over {comparison.n_blocks} pairs of problem and seed.",
        "mean rank",
        "",
        series,
        rows=tuple(comparison.algorithms),
    )


def targets_reached(results: Results) -> Chart:
    """The empirical distribution of targets over evaluations."""
    hits = target_hits(results, ECDF_TARGETS_PERCENT)
    end = float(max(entry.budget for entry in results.entries))
    series = []
    for i, name in enumerate(results.algorithms):
        x, y = ecdf_steps(hits[hits.algorithm == name].evaluations.to_numpy())
        last = y[-1] if len(y) else 0.0
        series.append(Series(name, "steps", [*x, end], [*y, last], colour=i))
    return Chart(
        "targets",
        "Share of targets reached",
        f"{len(ECDF_TARGETS_PERCENT)} gaps per problem, from 100 % to 0.01 % of the reference, "
        "all problems and runs together.",
        "evaluations",
        "share of targets",
        series,
        x_log=True,
        y_range=(0.0, 1.02),
    )


def gaps(results: Results) -> Chart:
    """Median gap to the reference at the end, quartiles as bars."""
    runs = run_table(results)
    runs = runs[runs.status == "finished"]
    series = []
    for i, name in enumerate(results.algorithms):
        x, low, high, y, text = [], [], [], [], []
        for entry in results.entries:
            mine = runs[(runs.algorithm == name) & (runs.problem == entry.label)]
            values = mine.gap_percent.to_numpy()
            if not len(values) or not np.isfinite(quantile(values, 0.5)):
                continue
            q25, median, q75 = (quantile(values, q) for q in (0.25, 0.5, 0.75))
            shown = [max(v, SMALLEST_GAP_PERCENT) for v in (q25, median, q75)]
            low.append(shown[0])
            x.append(shown[1])
            high.append(shown[2] if np.isfinite(shown[2]) else shown[1])
            y.append(entry.title)
            text.append(f"{name} on {entry.title}: {median:.4g} %")
        series.append(Series(name, "points", x, y, low, high, text, i))
    return Chart(
        "gaps",
        "Gap to the best known",
        "Median of the runs, quartiles as bars; up to 0.001 % at the left edge. With several "
        "objectives what is missing of the hypervolume. Algorithms without a feasible median run "
        "are not drawn.",
        "gap [%]",
        "",
        series,
        x_log=True,
        rows=tuple(entry.title for entry in results.entries),
    )


def convergence(results: Results, entry: Entry, prefix: str, over_time: bool) -> Chart:
    """Gap to the reference over evaluations or time, on a logarithmic axis."""
    reference = results.reference(entry.label)
    series, shown = [], [SMALLEST_GAP_PERCENT]
    for i, name in enumerate(results.algorithms):
        runs = results.finished(entry.label, name)
        if not runs:
            continue
        last = float(
            np.median([r.outcome.run_time_s for r in runs]) if over_time
            else max(r.outcome.evaluations for r in runs)
        )  # fmt: skip
        start = max(last / 500.0, 1e-3) if over_time else 1.0
        grid = np.geomspace(start, max(last, start), N_GRID)
        if not over_time:
            grid = np.unique(grid.round())
        values = np.array([_at(*_steps(results, run, over_time), grid) for run in runs])
        low, middle, high = (
            np.array([quantile(column, q) for column in values.T]) for q in (0.25, 0.5, 0.75)
        )
        drawn = np.isfinite(high)
        if not drawn.any():
            continue
        low, middle, high = (
            np.maximum(line[drawn], SMALLEST_GAP_PERCENT) for line in (low, middle, high)
        )
        shown += [*low, *high]
        series.append(Series(name, "line", grid[drawn], middle, low, high, colour=i))
    several = entry.n_obj > 1
    what = "hypervolume missing" if several else f"gap of {entry.objectives[0].partition(' [')[0]}"
    best = "" if several else f" {reference.points[0, 0]:.6g}"
    goal = f"{REFERENCE if reference.status != OWN else OWN}{best}"
    return Chart(
        f"{prefix}{'time' if over_time else 'convergence'}",
        f"Convergence over {'time' if over_time else 'evaluations'}",
        f"Distance to what is {goal}{f', {reference.status}' if reference.status != OWN else ''}; "
        f"median of the runs with quartiles, from where three quarters of them are feasible. What "
        f"is nearer than {SMALLEST_GAP_PERCENT:g} % is at the lower edge.",
        "time [s]" if over_time else "evaluations",
        f"{what} [%]",
        series,
        x_log=True,
        y_log=True,
        y_range=(0.8 * SMALLEST_GAP_PERCENT, 1.3 * max(shown)),
    )


def _steps(results: Results, run: Run, over_time: bool) -> tuple[FloatArray, FloatArray]:
    """When a run improved, and how far from the reference it was then. [%]"""
    evaluations, gap = gap_curve(results, run)
    if over_time and len(evaluations):
        curve = run.outcome.curve
        evaluations = np.interp(evaluations, curve[:, 0], curve[:, 1])
    return evaluations, gap


def _at(when: FloatArray, gap: FloatArray, grid: FloatArray) -> FloatArray:
    """What a run had at each point of the grid; infinite before anything feasible."""
    return np.concatenate([[np.inf], gap])[np.searchsorted(when, grid, side="right")]


def final_values(results: Results, entry: Entry, prefix: str) -> Chart:
    """Box plots of what the runs ended with."""
    runs = run_table(results)
    runs = runs[(runs.problem == entry.label) & (runs.status == "finished")]
    several = entry.n_obj > 1
    series, missing = [], []
    for i, name in enumerate(results.algorithms):
        mine = runs[runs.algorithm == name]
        values = mine[mine.feasible].value.to_numpy()
        if len(values) < len(mine):
            missing.append(f"{name}: {len(mine) - len(values)} of {len(mine)} runs not feasible")
        if len(values):
            series.append(Series(name, "box", -values if several else values, colour=i))
    return Chart(
        f"{prefix}values",
        "Final values",
        "; ".join(["Box: quartiles and median; every run is a dot", *missing]) + ".",
        "hypervolume ratio" if several else entry.objectives[0],
        "",
        series,
        rows=tuple(s.name for s in series),
    )


def front(results: Results, entry: Entry, prefix: str) -> Chart:
    """Nondominated points of all runs, hover shows the settings, and the reference front."""
    points = results.front_with_settings(entry.label)
    reference = results.reference(entry.label)
    first, second = entry.facts["objectives"][:2]
    series = []
    if reference.status != OWN:
        known = [f"{REFERENCE}: {_values(entry, row)}" for row in reference.points]
        label = f"{REFERENCE} ({reference.status})"
        x, y = reference.points[:, :2].T
        series.append(Series(label, "points", x, y, text=known))
    for i, name in enumerate(results.algorithms):
        mine = points[points.algorithm == name]
        text = [
            f"{_values(entry, row[entry.facts['objectives']].to_numpy(dtype=float))}; "
            f"{row.settings} ({name}, seed {row.seed})"
            for _, row in mine.iterrows()
        ]
        if len(mine):
            x, y = mine[first].to_numpy(), mine[second].to_numpy()
            series.append(Series(name, "points", x, y, text=text, colour=i))
    more = "" if entry.n_obj == 2 else f" The first two of {entry.n_obj} objectives."
    return Chart(
        f"{prefix}front",
        "Trade-offs",
        "Nondominated points of all runs, in the colour of the first algorithm that found them."
        + more,
        entry.objectives[0],
        entry.objectives[1],
        series,
    )


def _values(entry: Entry, row: FloatArray) -> str:
    return ", ".join(f"{n} {v:.6g}" for n, v in zip(entry.objectives, row, strict=True))


def attainment(results: Results, entry: Entry, prefix: str) -> Chart:
    """What half of the runs of each algorithm attained."""
    series = []
    for i, name in enumerate(results.algorithms):
        runs = results.finished(entry.label, name)
        fronts = [run.outcome.F if run.feasible else np.empty((0, 2)) for run in runs]
        surface = attainment_surface(fronts, 0.5)
        if len(surface):
            series.append(Series(name, "steps", surface[:, 0], surface[:, 1], colour=i))
    return Chart(
        f"{prefix}attainment",
        "Median attainment",
        "Half of the runs of an algorithm reached at least this line.",
        entry.objectives[0],
        entry.objectives[1],
        series,
    )


def colour_of(series: Series, neutral: str) -> str:
    """The colour of an algorithm, or the neutral one."""
    return neutral if series.colour is None else COLOURS[series.colour % len(COLOURS)]
