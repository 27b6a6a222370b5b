"""Tables and pictures of the judging study, from stored runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from markdown_lines import head, line
from scoring import FLOOR_PERCENT, compare_groups, compare_medians, mean_ranks, scores

from gridproblems.study.analyse import (
    Comparison,
    ecdf_steps,
    holm,
    run_table,
    superiority,
    table,
    target_hits,
    wilcoxon_p,
)
from gridproblems.study.charts import Chart, Series, ranking
from gridproblems.study.draw_png import draw
from gridproblems.study.results import Results

ROOT = Path(__file__).parents[2]
TABLES, IMAGES = ROOT / "docs" / "tables", ROOT / "docs" / "images"
RUNS_CSV = Path(__file__).parent / "judging_runs.csv"
#: Gaps of the pictures: 100 to 1e-8 where the best known value is 0, 100 % to 0.001 % on grids.
FUNCTION_TARGETS_PERCENT = np.logspace(4, -6, 51)
GRID_TARGETS_PERCENT = np.logspace(2, -3, 51)
#: Colours of the ranks, of those of a report.
OURS, PYMOO, OTHERS = 0, 2, 7
#: Groups of problems by name of the group, labels of problems.
Names = Mapping[str, Sequence[str]]


def write_all(
    results: Results,
    groups: Names,
    algorithms: Sequence[str],
    own: Sequence[str],
    peers: Sequence[str],
) -> None:
    """Writes every table and picture that the stored runs suffice for, and the list of runs.

    Args:
        results: Stored runs.
        groups: "functions", "constrained", "mixed" and "grid".
        algorithms: All, in the order of the tables.
        own: Those of this package.
        peers: Those of other packages.
    """
    TABLES.mkdir(parents=True, exist_ok=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    finished = run_table(results).query("status == 'finished'")
    ran = set(zip(finished.problem, finished.algorithm, strict=True))

    def of(problems: Sequence[str]) -> list[str]:
        """Algorithms that have run on any of the problems."""
        return [a for a in algorithms if any((problem, a) in ran for problem in problems)]

    def complete(problems: Sequence[str]) -> list[str]:
        """Problems that all of these have run on; none if one of ours is not among them."""
        names = of(problems)
        if not set(own) <= set(names):
            return []
        return [problem for problem in problems if ran >= {(problem, a) for a in names}]

    functions, tasks = complete(groups["functions"]), complete(groups["grid"])
    constrained, mixed = complete(groups["constrained"]), complete(groups["mixed"])
    by_dimension = _by_dimension(functions)
    ten = by_dimension.get("10-D", [])
    overall = {"all functions": functions} if len(by_dimension) > 1 else {}
    texts = {
        "algorithms_functions": [
            *_rank_table(results, overall | by_dimension, of(functions)),
            *_rank_table(results, {"constrained": constrained}, of(constrained)),
            *_rank_table(results, {"mixed": mixed}, of(mixed)),
            *_gap_table(results, [*constrained, *mixed], of([*constrained, *mixed])),
        ],
        "algorithms_ten": _family_table(
            results, ten, [a for a in of(ten) if a in (*own, *peers)], peers
        ),
        "algorithms_grid": [
            *_rank_table(results, {"all tasks": tasks, **{t: [t] for t in tasks}}, of(tasks)),
            *_target_tables(results, tasks, of(tasks)),
        ],
    }
    for name, lines in texts.items():
        if lines:
            (TABLES / f"{name}.md").write_text("\n".join(lines).strip() + "\n", encoding="utf-8")
            print(f"written: docs/tables/{name}.md")
    for name, targets in (
        ("functions", FUNCTION_TARGETS_PERCENT),
        ("grid", GRID_TARGETS_PERCENT),
    ):
        problems = complete(groups[name])
        _pictures(results, name, problems, of(problems), own, peers, targets)
    run_table(results)[
        ["problem", "algorithm", "seed", "budget", "evaluations", "feasible", "value",
         "gap_percent", "violation", "time_s"]
    ].sort_values(["problem", "algorithm", "seed"]).to_csv(
        RUNS_CSV, index=False, float_format="%.8g", lineterminator="\n"
    )  # fmt: skip


def _by_dimension(functions: Sequence[str]) -> dict[str, list[str]]:
    ends = sorted({name.rsplit(" ", 1)[1] for name in functions}, key=lambda d: int(d[:-2]))
    return {end: [name for name in functions if name.endswith(f" {end}")] for end in ends}


def _rank_table(results: Results, groups: Names, algorithms: Sequence[str]) -> list[str]:
    """Mean ranks by group, ordered by the first, with what the tests say."""
    compared = compare_groups(results, groups, algorithms)
    if not compared:
        return []
    first, overall = next(iter(compared.items()))
    columns = {name: mean_ranks(comparison) for name, comparison in compared.items()}
    lines = head(["mean rank", *columns])
    for algorithm in overall.algorithms:
        ranks = [f"{column[algorithm]:.2f}" for column in columns.values()]
        lines.append(line([f"`{algorithm}`", *ranks]))
    lines.append(
        line(["critical difference", *(f"{c.critical_difference:.2f}" for c in compared.values())])
    )
    lines.append(line(["pairs of problem and seed", *(str(c.n_blocks) for c in compared.values())]))
    text = f"{first[0].upper()}{first[1:]}: {in_words(overall)}"
    medians = compare_medians(results, groups[first], algorithms)
    if medians is not None:
        leaders = zip(medians.algorithms[:3], medians.mean_ranks.tolist(), strict=False)
        text += (
            " With one block per problem, the medians: "
            + ", ".join(f"`{name}` {rank:.2f}" for name, rank in leaders)
            + f", critical difference {medians.critical_difference:.2f}."
        )
    return [*lines, "", text, ""]


def in_words(comparison: Comparison) -> str:
    """What Friedman's and Nemenyi's tests say about the best algorithm."""
    best = comparison.algorithms[0]
    equal = [
        f"`{name}`"
        for name, p in zip(comparison.algorithms, comparison.nemenyi_p[0], strict=True)
        if name != best and p >= 0.05
    ]
    p = "below 1e-10" if comparison.friedman_p < 1e-10 else f"{comparison.friedman_p:.2g}"
    text = f"Friedman's test p {p}; `{best}` has the best mean rank"
    return (
        f"{text}, not significantly better than {', '.join(equal)}."
        if equal
        else f"{text}, significantly better than every other (Nemenyi, 5 %)."
    )


def _gap_table(results: Results, problems: Sequence[str], algorithms: Sequence[str]) -> list[str]:
    """Median gaps, problems as rows; the best are bold."""
    if not problems:
        return []
    gaps = _medians(results, problems, algorithms)
    lines = head(["median gap [%]", *(f"`{name}`" for name in algorithms)])
    for problem in gaps.index:
        lines.append(line([problem, *_bold_best(gaps.loc[problem].to_numpy(), FLOOR_PERCENT)]))
    return [*lines, "", "Where the best known value is 0, 100 % stands for a value of 1.", ""]


def _medians(results: Results, problems: Sequence[str], algorithms: Sequence[str]) -> pd.DataFrame:
    wide = table(results).pivot(index="problem", columns="algorithm", values="gap_percent")
    return wide.reindex(index=list(problems), columns=list(algorithms))


def _family_table(
    results: Results, problems: Sequence[str], algorithms: Sequence[str], peers: Sequence[str]
) -> list[str]:
    """Harmony Search and MVMO of several packages: medians, and tests against the best other."""
    if not problems:
        return []
    gaps = _medians(results, problems, algorithms) / 100.0
    others = {
        "hs": [a for a in peers if a in algorithms and "mvmo" not in a],
        "mvmo-s": [a for a in peers if a in algorithms and "mvmo" in a],
    }
    columns = {name: rivals for name, rivals in others.items() if name in algorithms and rivals}
    found = {name: _against_best(results, gaps, name, rivals) for name, rivals in columns.items()}
    lines = head(
        ["median of f − f_opt", *(f"`{a}`" for a in algorithms)]
        + [f"`{name}` better than the best other" for name in columns]
    )
    for i, problem in enumerate(problems):
        lines.append(
            line(
                [
                    problem.removesuffix(" 10-D"),
                    *_bold_best(gaps.loc[problem].to_numpy(), FLOOR_PERCENT / 100.0),
                ]
                + [found[name][i] for name in columns]
            )
        )
    note = (
        "Last columns: the best other package by its median, the probability that a run of ours "
        "is better than one of it (ties count half), and p of Wilcoxon's test, Holm-corrected over "
        "the functions."
    )
    return [*lines, "", note]


def _against_best(
    results: Results, gaps: pd.DataFrame, name: str, rivals: Sequence[str]
) -> list[str]:
    best, effect, p = [], [], []
    for problem in gaps.index:
        rival = str(gaps.loc[problem, list(rivals)].astype(float).idxmin())
        runs = scores(results, problem)
        best.append(rival)
        effect.append(superiority(runs[name].to_numpy(), runs[rival].to_numpy()))
        p.append(wilcoxon_p(runs[name].to_numpy(), runs[rival].to_numpy()))
    return [
        f"`{rival}`: {share:.2f}, p {value:.2g}"
        for rival, share, value in zip(best, effect, holm(p), strict=True)
    ]


def _target_tables(
    results: Results, problems: Sequence[str], algorithms: Sequence[str]
) -> list[str]:
    """For each task: median gap, share of runs within targets and expected running time."""
    whole = table(results)
    lines = []
    for problem in problems:
        mine = whole[whole.problem == problem].set_index("algorithm").reindex(list(algorithms))
        mine = mine[mine.runs > 0].sort_values("gap_percent", kind="stable")
        entry = results.entry(problem)
        reference = results.reference(problem)
        lines += [
            f"**{problem[0].upper()}{problem[1:]}**: {entry.budget:,} evaluations, best known "
            f"{' '.join([f'{reference.points[0, 0]:.8g}', *filter(None, entry.facts['units'])])} "
            f"({reference.status}), "
            f"{int(mine.runs.max())} seeds.",
            "",
            *head(["algorithm", "median gap [%]", "worst gap [%]", "within 1 %", "within 0.1 %",
                    "within 0.01 %", "evaluations to 0.1 %", "to 0.01 %"]),
        ]  # fmt: skip
        best = float(reference.points[0, 0])
        for name, row in mine.iterrows():
            worst = 100.0 * (row.worst - best) / (abs(best) or 1.0)
            lines.append(
                line(
                    [f"`{name}`", _figure(row.gap_percent), _figure(worst)]
                    + [f"{100.0 * row[f'reached_{t}%']:.0f} %" for t in ("1", "0.1", "0.01")]
                    + [_count(row[f"ert_{t}%"]) for t in ("0.1", "0.01")]
                )
            )
        lines.append("")
    return lines


def _pictures(
    results: Results,
    name: str,
    problems: Sequence[str],
    algorithms: Sequence[str],
    own: Sequence[str],
    peers: Sequence[str],
    targets_percent: np.ndarray,
) -> None:
    """Mean ranks of all; targets reached over evaluations of ours, pymoo's and the best peer."""
    compared = compare_groups(results, {name: problems}, algorithms)
    if not compared:
        return
    title = {"functions": "Functions", "grid": "Grid tasks"}[name]
    chart = ranking(results, compared[name])
    chart = replace(
        chart,
        title=f"{title}: mean rank (blue: ours, green: pymoo, grey: other packages)",
        series=[
            replace(one, colour=OURS if one.name in own else OTHERS if one.name in peers else PYMOO)
            for one in chart.series
        ],
    )
    draw(chart).savefig(IMAGES / f"algorithms-ranks-{name}.png", dpi=110)
    best_peer = [a for a in compared[name].algorithms if a in peers][:1]
    shown = [a for a in algorithms if a not in peers] + best_peer
    hits = target_hits(results, targets_percent)
    hits = hits[hits.problem.isin(problems)]
    end = float(max(results.entry(problem).budget for problem in problems))
    series = []
    for i, algorithm in enumerate(shown):
        x, y = ecdf_steps(hits[hits.algorithm == algorithm].evaluations.to_numpy())
        series.append(
            Series(algorithm, "steps", [*x, end], [*y, y[-1] if len(y) else 0.0], colour=i)
        )
    draw(
        Chart(
            "targets", f"{title}: share of targets reached", "", "evaluations", "share of targets",
            series, x_log=True, y_range=(0.0, 1.02),
        )
    ).savefig(IMAGES / f"algorithms-targets-{name}.png", dpi=110)  # fmt: skip


def _bold_best(values: np.ndarray, floor: float) -> list[str]:
    texts = [_figure(value, floor) for value in values]
    best = _figure(np.nanmin(values), floor)
    return [
        f"**{text}**" if text == best and np.isfinite(value) else text
        for text, value in zip(texts, values, strict=True)
    ]


def _figure(value: float, floor: float = FLOOR_PERCENT) -> str:
    """Three digits; up to the floor the optimum is reached."""
    if np.isnan(value):
        return ""
    if not np.isfinite(value):
        return "none feasible"
    return "0" if abs(value) <= floor else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "never"
