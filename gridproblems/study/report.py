"""The report of a study: one HTML file that needs nothing else, and PNG figures."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gridproblems._html import html_table
from gridproblems._written import replaced, write_text
from gridproblems.study.analyse import (
    ALPHA,
    TARGETS_PERCENT,
    Comparison,
    compare,
    pairs,
    run_table,
    table,
)
from gridproblems.study.blobs import vector_key
from gridproblems.study.charts import Chart, NetworkChart, overall_charts, problem_charts
from gridproblems.study.draw_page import figure_of
from gridproblems.study.results import OWN, Entry, Results
from gridproblems.study.specs import CALLABLE, OBJECT
from gridproblems.study.template import PAGE, SCRIPT, STYLE

MOST_ROWS = 60
MOST_NAMED = 4
AT_OPTIMUM_PERCENT = 1e-4
_YOURS = {CALLABLE: "<your callable>", OBJECT: "<your problem>"}
_GOALS = {
    "proven": "the proven optimum",
    OWN: "the best value of this study",
    "given by the problem": "the known optimum",
}
_FRONT_GOALS = {
    "proven": "the proven front",
    OWN: "all runs together",
    "given by the problem": "the known front",
}


def write_report(
    results: Results,
    path: str | Path,
    figures: bool = False,
    renewed: tuple[int, str] | None = None,
) -> Path:
    """Writes the report; an old one stays until the new one is whole.

    Nothing of the file of the study is trusted: texts are escaped, pictures are checked, and no
    script but the page's own two can run.

    Args:
        results: What to report on.
        path: The HTML file.
        figures: Write the same charts as PNG files too, into the folder ``figures`` beside it.
        renewed: Seconds after which a browser is to load the page again, and what it says on top.

    Returns:
        The path.

    Raises:
        ValueError: No run is finished.
        ImportError: plotly is not installed.
    """
    from plotly.offline import get_plotlyjs

    if not any(run.outcome.status == "finished" for run in results.runs):
        raise ValueError(f"{results.path}: no finished run to report on")
    report = _Report(results)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {_id(chart): figure_of(chart) for chart in report.charts}
    plotly = get_plotlyjs().replace("\r", "\n")
    parts = {
        "HASHES": f"{_source_hash(plotly)} {_source_hash(SCRIPT)}",
        "TITLE": _text(report.title),
        "STYLE": STYLE,
        "BODY": report.body,
        "REFRESH": "",
        "FIGURES": _packed(json.dumps(data, allow_nan=False)),
        "PLOTLY": _packed(plotly),
        "SCRIPT": SCRIPT,
    }
    if renewed is not None:
        every_s, words = renewed
        parts["REFRESH"] = f'<meta http-equiv="refresh" content="{every_s}">\n'
        parts["BODY"] = f'<p class="note" id="running">{_text(words)}</p>\n{report.body}'
    write_text(path, re.sub("@([A-Z]+)@", lambda match: parts[match.group(1)], PAGE))
    if figures:
        from gridproblems.study.draw_png import draw

        folder = path.parent / "figures"
        folder.mkdir(exist_ok=True)
        for chart in report.charts:
            with replaced(folder / f"{chart.key}.png") as new:
                draw(chart).savefig(new, dpi=150)
    return path


def _packed(text: str) -> str:
    """Deflated text in base 85, which the page's own script unpacks."""
    packed = base64.b85encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
    return packed.replace("<", ",")


def _source_hash(script: str) -> str:
    """What a content security policy calls the one script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def headline(results: Results, comparison: Comparison | None) -> str:
    """What came out, in one line."""
    n_problems = len(results.entries)
    over = f"{n_problems} problems" if n_problems > 1 else results.entries[0].title
    if comparison is None:
        return f"{_listed(results.algorithms)} on {over}"
    best, others = comparison.algorithms[0], comparison.algorithms[1:]
    worse, _ = _told_apart(comparison)
    if not worse:
        return f"{_listed([best, *others])} cannot be told apart on {over}"
    if len(worse) == len(others):
        return f"{best} is the best of {len(others) + 1} algorithms on {over}"
    return f"{best} ranks first on {over}, and is better than {_listed(worse)}"


def verdict(results: Results) -> str:
    """What came out, in two sentences."""
    return f"{_which_is_best(results, compare(results))} {_how_good(results)}"


class _Report:
    """Title, body and charts of the page."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.table = table(results)
        self.runs = run_table(results)
        self.comparison = compare(results)
        self.charts: list[Chart | NetworkChart] = []
        self.title = headline(results, self.comparison)
        sections = [
            self._head(),
            self._ranking(),
            *(self._problem(i, entry) for i, entry in enumerate(results.entries, start=1)),
            self._repeat(),
        ]
        self.body = "\n".join(sections)

    def _head(self) -> str:
        results = self.results
        links = [("ranking", "Ranking"), *self._anchors(), ("repeat", "How to repeat it")]
        return "\n".join(
            [
                f'<p class="soft">{_text(self._what())}</p>',
                f"<h1>{_text(self.title)}</h1>",
                f'<p class="verdict" id="verdict">{_text(verdict(results))}</p>',
                *(f'<p class="note">{_text(note)}</p>' for note in results.notes),
                f'<p class="soft">{_text(self._numbers())}</p>',
                "<nav>" + "".join(f'<a href="#{a}">{_text(t)}</a>' for a, t in links) + "</nav>",
            ]
        )

    def _what(self) -> str:
        names = _listed([entry.title for entry in self.results.entries])
        return f"Study of {_listed(self.results.algorithms)} on {names}"

    def _anchors(self) -> list[tuple[str, str]]:
        return [(f"problem-{i}", e.title) for i, e in enumerate(self.results.entries, start=1)]

    def _numbers(self) -> str:
        done = self.runs[self.runs.status == "finished"]
        failed = len(self.runs) - len(done)
        text = (
            f"{len(done)} runs, {done.evaluations.sum():,} evaluations, "
            f"{_duration(done.time_s.sum())} of computing"
        )
        if done.diverged.sum():
            text += f", {done.diverged.sum():,} evaluations without a power flow"
        return text + (f", {failed} runs failed" if failed else "") + "."

    def _ranking(self) -> str:
        parts = ['<h2 id="ranking">Ranking</h2>']
        if self.comparison is not None:
            parts.append(f'<p class="soft">{_text(_tests(self.comparison))}</p>')
        parts += [self._chart(chart) for chart in overall_charts(self.results)]
        parts += ["<h3>Median gap to the best known</h3>", self._gap_table()]
        return "\n".join(parts)

    def _gap_table(self) -> str:
        wide = self.table.pivot(index="problem", columns="algorithm", values="gap_percent")
        rows = []
        for entry in self.results.entries:
            gaps = wide.loc[entry.label].reindex(self.results.algorithms)
            rows.append([_text(entry.title), *(_gap(value, gaps.min()) for value in gaps)])
        return _html_table(["problem", *map(_text, self.results.algorithms)], rows)

    def _problem(self, number: int, entry: Entry) -> str:
        several = entry.n_obj > 1
        parts = [
            f'<h2 id="problem-{number}">{_text(entry.title)}</h2>',
            *([f"<p><code>{_text(entry.label)}</code></p>"] if "?" in entry.label else []),
            f'<p class="soft">{_text(self._about(entry))}</p>',
            self._statistics(entry),
            *(self._chart(chart) for chart in problem_charts(self.results, entry, number)),
            self._solution(entry),
        ]
        if several:
            parts.append(self._front(entry))
        parts.append(self._pairs(entry))
        failed = [
            run
            for run in self.results.runs
            if run.problem == entry.label and run.outcome.status == "failed"
        ]
        for run in failed[:3]:
            parts.append(
                f"<details><summary>Failed: {_text(run.algorithm)}, "
                f"seed {_text(run.key.seed)}</summary>"
                f"<pre>{_text(run.outcome.traceback)}</pre></details>"
            )
        return "\n".join(parts)

    def _about(self, entry: Entry) -> str:
        facts = entry.facts
        text = (
            f"{', '.join(entry.objectives)}; {facts['n_var']} variables, "
            f"{facts['n_constraints']} constraints, {entry.budget:,} evaluations a run."
        )
        if self.results.has_reference(entry.label):
            reference = self.results.reference(entry.label)
            known = "Best known" if reference.status != OWN else "Best of this study"
            if entry.n_obj == 1:
                text += f" {known}: {reference.points[0, 0]:.8g}"
            else:
                text += f" {known}: a front of {len(reference.points)} points"
            text += f", {reference.status}" if reference.status != OWN else ""
            text += f" ({reference.method})." if reference.method else "."
        if facts.get("base"):
            values = [f"{v:.6g}" for v in facts["base"]]
            text += f" The grid as it is now: {', '.join(values)}."
        if facts["limits"]:
            text += f" Limits checked: {', '.join(facts['limits'])}."
        if facts["not_limited"]:
            text += f" NOT limited: {', '.join(facts['not_limited'])}."
        return text

    def _statistics(self, entry: Entry) -> str:
        mine = self.table[self.table.problem == entry.label]
        several = entry.n_obj > 1
        what = "hypervolume ratio" if several else entry.objectives[0]
        head = ["algorithm", "median", "95 % interval", "quartiles", "best", "worst", "feasible",
                *(["IGD+", "epsilon"] if several else []), "mean rank"]  # fmt: skip
        rows = [
            [
                _text(row["algorithm"]),
                _figure(row["median"]),
                f"{_figure(row['median_low'])} … {_figure(row['median_high'])}",
                f"{_figure(row['q25'])} … {_figure(row['q75'])}",
                _figure(row["best"]),
                _figure(row["worst"]),
                f"{row['feasible']:.0%}",
                *([_figure(row["igd_plus"]), _figure(row["epsilon"])] if several else []),
                f"{row['mean_rank']:.2f}",
            ]
            if row["runs"]
            else [_text(row["algorithm"]), "no finished run"]
            for _, row in mine.iterrows()
        ]
        of_values = f"<h3>{_text(what)}</h3>{_html_table(head, rows)}"
        return of_values + self._targets(mine) + self._cost(mine[mine.runs > 0])

    def _cost(self, mine: pd.DataFrame) -> str:
        """What the median run takes."""
        has_gradients = bool((mine.gradients > 0).any())
        head = ["algorithm", "time [s]", "processor s", *(["gradients"] if has_gradients else [])]
        rows = [
            [
                _text(row["algorithm"]),
                f"{row['time_s']:.2g}",
                _figure(float(f"{row['processor_s']:.2g}")),
                *([_figure(row["gradients"])] if has_gradients else []),
            ]
            for _, row in mine.iterrows()
        ]
        return f"<h3>What a run takes</h3>{_html_table(head, rows)}"

    def _targets(self, mine: pd.DataFrame) -> str:
        """How many runs come near the reference, and how soon."""
        targets = [t for t in TARGETS_PERCENT if mine[f"reached_{t:g}%"].max() > 0]
        if not targets:
            return ""
        head = ["algorithm", *(f"within {t:g} %" for t in targets)]
        rows = [
            [
                _text(row["algorithm"]),
                *(
                    f"{100 * row[f'reached_{t:g}%']:.0f} %, {_figure(row[f'ert_{t:g}%'])}"
                    if row[f"reached_{t:g}%"] > 0
                    else "no run"
                    for t in targets
                ),
            ]
            for _, row in mine[mine.runs > 0].iterrows()
        ]
        note = (
            "Share of runs that came so near to the reference, and the evaluations it takes when "
            "runs are repeated until one does (ERT)."
        )
        return f"<h3>How near, and how soon</h3><p class='soft'>{note}</p>{_html_table(head, rows)}"

    def _solution(self, entry: Entry) -> str:
        described = self.results.solutions(entry.label)
        parts = []
        for _, row in self.results.chosen(entry.label).iterrows():
            solution = described.get(vector_key(row["x"]))
            if not solution:
                continue
            values = ", ".join(
                f"{label} {row[name]:.8g}"
                for label, name in zip(entry.objectives, entry.facts["objectives"], strict=True)
            )
            title = f"Settings of the {row['choice']} solution"
            if row["choice"] not in ("best", "knee"):
                title = f"Settings with the {row['choice']}"
            body = _records(solution["rows"])
            pictures = solution.get("pictures", {})
            body += "".join(
                f'<p><img alt="{_text(name)}" src="data:image/png;base64,{picture}"></p>'
                for name, picture in pictures.items()
            )
            found = f"found by {row['algorithm']}, seed {row['seed']}"
            is_open = " open" if row["choice"] in ("best", "knee") else ""
            parts.append(
                f"<details{is_open}><summary>{_text(title)}: {_text(values)}, {_text(found)}"
                f"</summary>{body}</details>"
            )
        return "\n".join(parts)

    def _front(self, entry: Entry) -> str:
        front = self.results.front_with_settings(entry.label)
        names = entry.facts["objectives"]
        rows = [
            [*(_figure(row[name]) for name in names), _text(row["algorithm"]), _text(row.settings)]
            for _, row in front.head(MOST_ROWS).iterrows()
        ]
        more = f"<p class='soft'>The first {MOST_ROWS} of {len(front)}; all of them by export.</p>"
        head = [*map(_text, entry.objectives), "found by", "settings"]
        return (
            f"<h3>All {len(front)} trade-offs</h3>{_html_table(head, rows, left=('settings',))}"
            + (more if len(front) > MOST_ROWS else "")
        )

    def _pairs(self, entry: Entry) -> str:
        rows = [
            [_text(pair.first), _text(pair.second), _p(pair.p), f"{pair.effect:.2f}",
             _text(_sentence(pair.first, pair.second, pair.p, pair.effect))]
            for pair in pairs(self.results, entry.label)
        ]  # fmt: skip
        if not rows:
            return ""
        head = ["first", "second", "p", "effect", "in words"]
        note = (
            "Wilcoxon's signed-rank test over the seeds, Holm-corrected. Effect: probability that "
            "a run of the first is better, ties counting half."
        )
        return (
            "<details><summary>Pairs of algorithms</summary>"
            f"{_html_table(head, rows, left=('second', 'in words'))}"
            f"<p class='soft'>{note}</p></details>"
        )

    def _repeat(self) -> str:
        machines = {json.dumps(run.outcome.machine, sort_keys=True) for run in self.results.runs}
        lines = "\n".join(
            ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
            for text in sorted(machines)
        )
        parameters = "\n".join(
            f"{name}: {json.loads(text)}"
            for name, text in sorted(
                {(run.algorithm, run.key.parameters) for run in self.results.runs}
            )
        )
        return "\n".join(
            [
                '<h2 id="repeat">How to repeat it</h2>',
                f"<pre>{_text(how_to_repeat(self.results))}</pre>",
                '<p class="soft">Runs depend on problem, algorithm, seed and budget alone; the '
                "same versions give the same results.</p>",
                "<details><summary>Versions and machine</summary>"
                f"<pre>{_text(lines)}</pre></details>",
                "<details><summary>Parameters of the algorithms</summary>"
                f"<pre>{_text(parameters)}</pre></details>",
            ]
        )

    def _chart(self, chart: Chart | NetworkChart) -> str:
        self.charts.append(chart)
        return (
            f"<h3>{_text(chart.title)}</h3>"
            f'<p class="soft">{_text(chart.note)}</p>'
            f'<div class="chart" id="{_id(chart)}"></div>'
        )


def _id(chart: Chart | NetworkChart) -> str:
    return f"chart-{chart.key}"


def how_to_repeat(results: Results) -> str:
    """The command that makes the study, or the lines of Python where problems are callables."""
    from algorithms import ALGORITHMS

    seeds = sorted({run.key.seed for run in results.runs})
    problems = {entry.name: entry.spec for entry in results.entries}
    budgets = {entry.name: entry.budget for entry in results.entries}
    names = list(dict.fromkeys(run.key.algorithm for run in results.runs))
    by_text = not {CALLABLE, OBJECT} & set(problems.values()) and all(
        name.split("?")[0] in ALGORITHMS for name in names
    )
    one_budget = len(set(budgets.values())) == 1
    if by_text and one_budget and seeds == list(range(1, len(seeds) + 1)):
        specs = " ".join(_quoted(spec) for spec in problems.values())
        return (
            f"gridproblems compare {specs} --algorithms {_quoted(','.join(names))} "
            f"--seeds {len(seeds)} --evals {next(iter(budgets.values()))}"
        )
    made = ", ".join(
        f"{name!r}: {_YOURS.get(spec) or repr(spec)}" for name, spec in problems.items()
    )
    algorithms = ", ".join(
        f"{name!r}: {repr(name) if name.split('?')[0] in ALGORITHMS else '<as below>'}"
        for name in names
    )
    first_seeds = seeds == list(range(1, len(seeds) + 1))
    return (
        "from gridproblems.study import Study\n\n"
        f"study = Study(\n    {results.path.name!r},\n    problems={{{made}}},\n"
        f"    algorithms={{{algorithms}}},\n    seeds={len(seeds) if first_seeds else seeds},\n"
        f"    n_evals={next(iter(budgets.values())) if one_budget else budgets},\n)\n"
        "study.run(n_jobs=-1)"
    )


def _quoted(text: str) -> str:
    return f"'{text}'" if re.search(r"[^\w:,./=-]", text) else text


def _which_is_best(results: Results, comparison: Comparison | None) -> str:
    if comparison is None:
        reason = (
            "only one algorithm was run"
            if len(results.algorithms) == 1
            else "no problem has two runs of every algorithm yet"
        )
        return f"There is nothing to rank: {reason}."
    n_problems = len(results.entries)
    over = f"{n_problems} problem{'s' if n_problems > 1 else ''}"
    best = comparison.algorithms[0]
    worse, equal = _told_apart(comparison)
    rank = f"{best} has the best mean rank ({comparison.mean_ranks[0]:.2f})"
    among = f"of {len(comparison.algorithms)} algorithms on {over}"
    if not worse:
        return f"{rank} {among}, but the runs do not show that it differs from the others."
    text = f"{rank} {among}, and the difference to {_listed(worse)} is real (Nemenyi, 5 %)"
    return f"{text}; to {_listed(equal)} none is shown." if equal else f"{text}."


def _told_apart(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Algorithms that the best one is shown to be better than, and the others."""
    others, p = comparison.algorithms[1:], comparison.nemenyi_p[0][1:]
    if math.isfinite(comparison.friedman_p) and comparison.friedman_p >= ALPHA:
        return [], list(others)
    worse = [name for name, value in zip(others, p, strict=True) if value < ALPHA]
    return worse, [name for name in others if name not in worse]


def _how_good(results: Results) -> str:
    """How near the best algorithm of each problem comes to what is known."""
    medians = table(results)
    texts = []
    for entry in results.entries:
        mine = medians[(medians.problem == entry.label) & (medians.runs > 0)]
        if mine.empty or not math.isfinite(mine.gap_percent.min()):
            texts.append(f"on {entry.title} half of the runs or more found nothing feasible")
            continue
        gap = float(mine.gap_percent.min())
        best = _listed(mine.algorithm[mine.gap_percent <= gap + AT_OPTIMUM_PERCENT].tolist())
        status = results.reference(entry.label).status
        if entry.n_obj > 1:
            goal = _FRONT_GOALS.get(status, f"the reference front ({status})")
            text = f"has {100.0 - gap:.4g} % of the hypervolume of {goal}"
        else:
            goal = _GOALS.get(status, f"the best known value ({status})")
            side = "above" if gap > 0 else "below"
            text = f"ends {abs(gap):.2g} % {side} {goal}"
            if abs(gap) <= AT_OPTIMUM_PERCENT:
                text = f"ends at {goal}"
        texts.append(f"on {entry.title} the median run of {best} {text}")
    shown = texts[:MOST_NAMED]
    more = f"; {len(texts) - len(shown)} more problems below" if len(texts) > len(shown) else ""
    text = "; ".join(shown) + more + "."
    return text[0].upper() + text[1:]


def _tests(comparison: Comparison) -> str:
    friedman = (
        f"Friedman's test: p {_p_words(comparison.friedman_p)}. "
        if math.isfinite(comparison.friedman_p)
        else ""
    )
    return (
        f"{friedman}Critical difference of mean ranks {comparison.critical_difference:.2f}. Seeds "
        "and problems are the blocks, so this holds for the problems of this study."
    )


def _sentence(first: str, second: str, p: float, effect: float) -> str:
    if p >= ALPHA or effect == 0.5:
        return "no difference shown"
    return f"{first if effect > 0.5 else second} is better"


def _p_words(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"


def _p(p: float) -> str:
    return "&lt; 0.0001" if p < 1e-4 else f"{p:.4f}"


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:5], f"{len(names) - 5} more"] if len(names) > 6 else list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _figure(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.6g}"


def _gap(value: float, best: float) -> str:
    if not isinstance(value, float) or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "not feasible"
    text = "0 %" if abs(value) < 1e-6 else f"{value:.3g} %"
    if 1e-6 <= abs(value) < 1e-3:
        text = "&lt; 0.001 %"
    return f"<b>{text}</b>" if value <= best + 1e-6 else text


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _text(text: Any) -> str:
    return html.escape(str(text))


def _records(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>no settings change</p>"
    frame = pd.DataFrame(rows, dtype=object)
    body = [
        [_figure(v) if isinstance(v, float) else _text("" if v is None else v) for v in row]
        for row in frame.itertuples(index=False)
    ]
    texts = [c for c in frame.columns if any(isinstance(row.get(c), str) for row in rows)]
    return _html_table([_text(c) for c in frame.columns], body, left=texts, tall=True)


def _html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = (), tall: bool = False
) -> str:
    """A table of escaped cells; the first column and those in ``left`` are words."""
    classes = ["text" if i == 0 or name in left else "" for i, name in enumerate(head)]
    if "settings" in left:
        classes[-1] = "text long"
    return html_table(head, rows, "scroll tall" if tall else "scroll cards", classes, names=True)
