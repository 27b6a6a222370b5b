"""``gridproblems compare``, ``report`` and ``export`` as a user sees them."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from matplotlib.figure import Figure
from study_files import facts, finished, results
from typer.testing import CliRunner

from gridproblems import PROBLEMS, GridProblem
from gridproblems._written import harmless
from gridproblems.cli import studies
from gridproblems.controls import Switching, Units
from gridproblems.situations import Scenarios
from gridproblems.study import Results, Study
from gridproblems.study.blobs import vector_key
from gridproblems.study.describe import checked_solution
from gridproblems.study.export import export_csv
from gridproblems.study.ready import STUDIES
from gridproblems.study.report import how_to_repeat, verdict, write_report
from gridproblems.study.run import Outcome
from gridproblems.study.specs import algorithm_of, described, problem_of
from gridproblems.study.store import RunKey, Store
from gridproblems.study.watch import watch

app = typer.Typer(pretty_exceptions_enable=False)
for command in (studies.compare, studies.report, studies.export):
    app.command()(command)

PNG = b"\x89PNG"
SMALL = ("orpd:ieee14", "reconfiguration:case16", "--algorithms", "hs,pso?pop_size=10")


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def compared(out: Path, *options: str | Path) -> Any:
    return invoke("compare", *SMALL, "--seeds", "2", "--evals", "60", "--out", out, *options)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    result = compared(folder)
    assert result.exit_code == 0, result.output
    assert "has the best mean rank" in result.stdout.replace("\n", " ")
    assert "8/8 runs" in result.stderr
    return folder


def test_compare_leaves_a_file_and_a_report(done: Path) -> None:
    assert sorted(path.name for path in done.iterdir()) == ["report.html", "study.db"]
    found = Results(done)
    assert {run.key.seed for run in found.runs} == {1, 2}
    assert {run.outcome.evaluations for run in found.runs} == {60}
    assert found.algorithms == ["hs", "pso?pop_size=10"]
    (pso,) = {json.loads(r.key.parameters)["pop_size"] for r in found.runs if "pso" in r.algorithm}
    assert pso == 10
    assert "Study of hs and pso?pop_size=10 on orpd ieee14" in (done / "report.html").read_text()


def test_the_same_command_repeats_nothing(done: Path) -> None:
    before = {run.key: run.outcome.run_time_s for run in Results(done).runs}
    result = compared(done, "--quiet")
    assert result.exit_code == 0
    assert result.stdout.split() == [str(done / "report.html")]
    assert {run.key: run.outcome.run_time_s for run in Results(done).runs} == before


def test_the_report_says_how_to_repeat_it(done: Path, tmp_path: Path) -> None:
    line = how_to_repeat(Results(done))
    assert line == (
        "gridproblems compare orpd:ieee14 reconfiguration:case16 "
        "--algorithms 'hs,pso?pop_size=10' --seeds 2 --evals 60"
    )
    words = line.replace("'", "").split()[1:]
    assert invoke(*words, "--out", tmp_path, "--quiet").exit_code == 0
    first, second = Results(done), Results(tmp_path)
    for one, other in zip(first.runs, second.runs, strict=True):
        assert one.key == other.key
        assert np.array_equal(one.outcome.F, other.outcome.F)


def test_python_lines_where_a_problem_is_a_callable(tmp_path: Path) -> None:
    found = results(
        tmp_path / "s.db", {"mine": facts()}, {("mine", "a", 4): finished([[1, 0, 0, 1]])}
    )
    text = how_to_repeat(found)
    assert "problems={'mine': <your callable>}" in text
    assert "seeds=[4]" in text
    assert "n_evals=100" in text


def test_dry_run_shows_the_plan_and_runs_nothing(tmp_path: Path) -> None:
    result = compared(tmp_path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "8 of 8 runs to do, about" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_a_finished_study_has_nothing_to_do(done: Path) -> None:
    assert "0 of 8 runs to do, about 0 s" in compared(done, "--dry-run").stdout


def test_parameters_that_are_pairs(tmp_path: Path) -> None:
    named = "hs?par=[0.3,0.9]&bandwidth=[0.5,1e-3],mvmo?mutated=[0.4,0.1]"
    arguments = ["orpd:ieee6", "--algorithms", named, "--seeds", "1", "--evals", "60", "--dry-run"]
    result = invoke("compare", *arguments, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 runs to do" in result.stdout
    problem = problem_of("orpd:ieee6")
    made = algorithm_of("hs?par=[0.3,0.9]&bandwidth=[0.5,1e-3]", problem, 60)
    assert made.par == (0.3, 0.9)
    assert made.bandwidth == (0.5, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["orpd:iee39"], "did you mean 'ieee39'?"),
        (["orpx:ieee39"], "did you mean 'orpd'?"),
        (["orpd:ieee39", "--algorithms", "mvno"], "did you mean 'mvmo'?"),
        (["orpd:ieee39", "--algorithms", "hs?hmc=0.9"], "unknown option ['hmc']"),
        (["orpd:ieee39", "--study", "papers"], "not both"),
        ([], "expected problems, such as orpd:ieee39, or --study"),
        (["--study", "paper"], "did you mean 'papers'?"),
        (["orpd:ieee39", "--algorithms", ","], "algorithms: expected at least one"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = invoke("compare", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_plotly_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "find_spec", lambda name: None)
    result = compared(tmp_path)
    assert result.exit_code == 2
    assert "pip install 'gridproblems[report]'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_runs_that_failed_are_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gridproblems.study import study as study_module

    real = study_module.outcomes

    def sometimes(*arguments: Any) -> Any:
        for job, outcome in real(*arguments):
            if job.seed == 2 and job.algorithm == "hs":
                outcome = Outcome("failed", "ValueError: a test", machine={"a": "1"})
            yield job, outcome

    monkeypatch.setattr(study_module, "outcomes", sometimes)
    result = compared(tmp_path)
    assert result.exit_code == 1
    assert "2 runs failed; the same command repeats them" in result.stderr
    page = (tmp_path / "report.html").read_text()
    assert "Failed: hs, seed 2" in page
    monkeypatch.undo()
    assert compared(tmp_path).exit_code == 0
    assert "Failed:" not in (tmp_path / "report.html").read_text()


def test_ctrl_c_reports_what_is_there_and_is_exit_code_130(tmp_path: Path) -> None:
    script = tmp_path / "cli.py"
    script.write_text(
        "import typer\nfrom gridproblems.cli.studies import compare\ntyper.run(compare)\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, str(script), "orpd:ieee14", "--algorithms", "hs,pso", "--seeds", "500",
         "--evals", "500", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        while process.poll() is None:
            if (out / "study.db").exists() and len(Results(out).runs) > 3:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Interrupted; the same command goes on" in stderr
    assert "Report in" in stdout
    assert (out / "report.html").exists()
    assert 3 < len(Results(out).runs) < 1000


def test_report_can_be_written_again_with_figures(done: Path, tmp_path: Path) -> None:
    result = invoke("report", done, "--out", tmp_path / "r.html", "--figures")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "r.html")
    keys = set(re.findall(r'class="chart" id="chart-([^"]+)"', (tmp_path / "r.html").read_text()))
    figures = {path.stem: path for path in (tmp_path / "figures").iterdir()}
    assert set(figures) == keys
    assert all(path.read_bytes().startswith(PNG) for path in figures.values())
    assert {"ranking", "targets", "gaps", "1-convergence", "1-network"} <= keys


def test_report_of_nothing(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert result.exit_code == 2
    assert "no study in" in result.stderr
    found = results(tmp_path / "s.db", {"p": facts()}, {("p", "a", 1): Outcome(status="failed")})
    with pytest.raises(ValueError, match="no finished run to report on"):
        write_report(found, tmp_path / "r.html")


def test_csv_holds_runs_table_curves_and_fronts(done: Path, tmp_path: Path) -> None:
    result = invoke("export", done, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    tables = {path.stem: pd.read_csv(path) for path in tmp_path.glob("*.csv")}
    assert set(tables) == {
        "runs", "table", "curves", "front-1-orpd-ieee14", "front-2-reconfiguration-case16",
    }  # fmt: skip
    assert len(tables["runs"]) == 8
    assert len(tables["table"]) == 4
    best = tables["runs"].groupby("problem").value.min()
    front = tables["front-1-orpd-ieee14"]
    assert front.p_loss_mw[0] == best["orpd:ieee14"]
    assert "tap_pos" in front.settings[0]
    curves = tables["curves"]
    last = curves[curves.problem == "orpd:ieee14"].groupby(["algorithm", "seed"]).p_loss_mw.last()
    assert last.min() == pytest.approx(best["orpd:ieee14"])


def test_ioh_files_hold_the_improvements(done: Path, tmp_path: Path) -> None:
    result = invoke("export", done, "--format", "ioh", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hs", "pso-pop_size-10"]
    meta = json.loads((tmp_path / "hs" / "IOHprofiler_f1_orpd-ieee14.json").read_text())
    assert meta["function_id"] == 1
    assert meta["maximization"] is False
    assert meta["attributes"] == ["evaluations", "raw_y"]
    (scenario,) = meta["scenarios"]
    assert scenario["dimension"] == 9
    runs = scenario["runs"]
    assert [run["instance"] for run in runs] == [1, 2]
    data = (tmp_path / "hs" / scenario["path"]).read_text()
    blocks = [block.split() for block in data.split("evaluations raw_y\n")[1:]]
    assert len(blocks) == 2
    for run, block in zip(runs, blocks, strict=True):
        assert run["evals"] == 60 == int(block[-2])
        assert run["best"]["y"] == pytest.approx(float(block[-1]))
        assert len(run["best"]["x"]) == 9


def test_ioh_needs_one_objective(tmp_path: Path) -> None:
    runs = {("p", "a", 1): finished([[1, 0, 0, 1.0, 2.0]])}
    results(tmp_path / "study.db", {"p": facts(("f", "g"))}, runs)
    result = invoke("export", tmp_path, "--format", "ioh")
    assert result.exit_code == 2
    assert "ioh: expected a problem with one objective" in result.stderr


def test_ready_studies_can_be_made(tmp_path: Path) -> None:
    for name, ready in STUDIES.items():
        tasks = {spec.split(":")[0] for spec in ready.problems.values()}
        if not tasks <= set(PROBLEMS):
            pytest.fail(f"{name}: {sorted(tasks - set(PROBLEMS))} not in PROBLEMS")
        study = Study(
            tmp_path / "s.db", ready.problems, ready.algorithms, ready.seeds, ready.n_evals
        )
        assert len(study.jobs) == len(ready.problems) * len(ready.algorithms) * ready.seeds


def runs_of(**means: float) -> dict[tuple[str, str, int], Outcome]:
    rng = np.random.default_rng(1)
    return {
        ("p", name, seed): finished([[1, 0, 0, mean + 0.01 * rng.random()]])
        for seed in range(1, 12)
        for name, mean in means.items()
    }


# -- files of strangers ---------------------------------------------------------------------------

ATTACK = '"><img src=x onerror=alert(1)><script>alert(2)</script>$x$'
TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "main", "script", "p", "h1", "h2",
    "h3", "nav", "a", "div", "table", "thead", "tbody", "tr", "th", "td", "b", "details",
    "summary", "pre", "img",
}  # fmt: skip


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name == "src"]


def png() -> str:
    figure = Figure(figsize=(1, 1))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def attacked(path: Path) -> Results:
    """A study whose every text is an attack, with good checksums."""
    about = {
        **facts((ATTACK, "g" + ATTACK), [[0.1, 0.1]]),
        "title": ATTACK, "units": [ATTACK, ATTACK], "variables": ["v" + ATTACK, "y" + ATTACK],
        "reference": {"values": [[0.1, 0.1]], "status": ATTACK, "method": ATTACK},
    }  # fmt: skip
    network = {
        "positions": [[0, 0], [1, 1]], "buses": [ATTACK, "b"], "sources": [0], "vm_pu": [1, None],
        "branches": [{"kind": ATTACK, "name": ATTACK, "ends": [0, 1], "open": True,
                      "loading_percent": None}],
    }  # fmt: skip
    described = {
        "text": ATTACK, "rows": [{ATTACK: ATTACK, "n": 1.0}], "full": True, "network": network,
        "pictures": {ATTACK: png(), "bad": ATTACK, "svg": base64.b64encode(b"<svg/>").decode(),
                     "tail": png()[:-8] + "AAAAAAAA"},
    }  # fmt: skip
    points = [[1, 0, 0, 1.0, 2.0], [2, 0, 0, 2.0, 1.0], [3, 0, 0, 0.5, 0.5]]
    with Store(path) as store:
        store.set_problem(ATTACK, ATTACK, about)
        for name in (ATTACK, "x" + ATTACK):
            for seed in (1, 2):
                key = RunKey(ATTACK, ATTACK, name, json.dumps({ATTACK: ATTACK}), seed, 100)
                store.add(key, finished(points, machine={ATTACK: ATTACK}))
            failed = replace(key, seed=9)
            store.add(failed, Outcome("failed", ATTACK, machine={ATTACK: seed}))
        x = vector_key(np.array([0.5, 0.0]))
        store.set_solutions(ATTACK, ATTACK, {x: described})
    return Results(path)


def test_everything_of_a_stored_study_is_escaped(tmp_path: Path) -> None:
    found = attacked(tmp_path / "s.db")
    page = write_report(found, tmp_path / "r.html").read_text()
    seen = Seen(page)
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert not [pair for pair in seen.attributes if pair[1].startswith("on")]
    assert set(seen.sources) == {f"data:image/png;base64,{png()}"}  # one of four is a picture
    assert "<img src=x" not in page
    assert "unsafe-inline" not in page.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize(
    "change",
    [
        {"objectives": [1]}, {"objectives": []}, {"units": ["a", "b"]}, {"n_var": "<b>"},
        {"n_var": 3},
        {"base": ["<b>"]}, {"reference": {"values": [["x"]]}}, {"reference": 3}, {"variables": 1},
    ],
)  # fmt: skip
def test_facts_that_are_none_cost_their_runs_only(tmp_path: Path, change: dict[str, Any]) -> None:
    runs = {(p, "a", 1): finished([[1, 0, 0, 1.0]]) for p in ("p", "q")}
    about = {"p": {**facts(), **change}, "q": facts()}
    found = results(tmp_path / "s.db", about, runs)
    assert [run.problem for run in found.runs] == ["q"]
    assert "facts" in str(found.altered[0])
    write_report(found, tmp_path / "r.html")


@pytest.mark.parametrize(
    "change",
    [
        {"positions": [["<b>", 0]]}, {"ends": 5}, {"sources": [7]}, {"vm_pu": ["<ink>", None]},
        {"branches": [{}]}, {"buses": [None, None]}, {"positions": 3},
    ],
)  # fmt: skip
def test_networks_that_are_none_are_left_out(change: dict[str, Any]) -> None:
    network = {"positions": [[0, 0], [1, 1]], "buses": ["a", "b"], "sources": [0],
               "vm_pu": [1.0, None], "branches": []}  # fmt: skip
    assert "network" in checked_solution({"text": "", "rows": [], "network": network})
    if "ends" in change:
        change = {"branches": [{"name": "l", "open": False, "ends": [0, 5],
                                "loading_percent": 1.0}]}  # fmt: skip
    assert "network" not in checked_solution({"rows": [], "network": {**network, **change}})


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("a;=1", "a;'=1"),
        (" =1", "' =1"), ("a\n=1", "a\n'=1"), ('a,"=1', "a,'\"=1"),
        ("-1.5", "-1.5"), ("+3", "+3"), ("-1e-3", "-1e-3"), (-1.5, -1.5),
        ("-1.5; -2 MW", "-1.5; -2 MW"),
        ("close line 3; open line 4", "close line 3; open line 4"), ("a=b", "a=b"), ("x@y", "x@y"),
        (None, None),
    ],
)  # fmt: skip
def test_cells_that_spreadsheets_would_run(cell: Any, written: Any) -> None:
    assert harmless(cell) == written


def test_every_exported_csv_is_harmless(tmp_path: Path) -> None:
    evil = "=HYPERLINK(1)"
    about = {**facts((evil,)), "variables": [evil + "x", "@v"]}
    runs = {(evil, "+a", 1): finished([[1, 0, 0, -1.5]])}
    found = results(tmp_path / "s.db", {evil: about}, runs)
    with Store(tmp_path / "s.db") as store:
        store.set_solutions(evil, "callable", {"[-1.5, 0.0]": {"text": "=cmd()", "rows": []}})
    paths = export_csv(found, tmp_path / "csv")
    assert len(paths) == 4
    for path in paths:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        cells = [cell for row in rows for cell in row]
        assert not [c for c in cells if re.match(r"[=+@\t\r]|-(?!\d)", c)], path
        assert any("-1.5" in row for row in rows), path.name
    front = pd.read_csv(next(p for p in paths if p.name.startswith("front")))
    assert front.iloc[0, 0] == -1.5


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """A disk that is full after 100 kB, and a process that is killed while it writes."""
    found = results(tmp_path / "s.db", {"p": facts()}, {("p", "a", 1): finished([[1, 0, 0, 1]])})
    target = tmp_path / "r.html"
    write_report(found, target)
    old = target.read_bytes()
    script = (
        "import resource, signal, sys, os, pathlib\n"
        "from gridproblems.study import Results\n"
        "from gridproblems.study.report import write_report\n"
        "found = Results(sys.argv[1])\n"
        "if sys.argv[3] == 'full':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "else:\n"
        "    pathlib.Path.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_report(found, sys.argv[2])\n"
    )
    for how in ("full", "killed"):
        arguments = [sys.executable, "-c", script, str(found.path), str(target), how]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode != 0
        assert "Error" in done.stderr or how == "killed"
        assert target.read_bytes() == old
    left = [p.name for p in tmp_path.iterdir() if p.name.endswith(".part.html")]
    assert len(left) <= 1, "a full disk leaves nothing, a kill the half-written file"


@pytest.mark.parametrize("command", ["report", "export"])
def test_damaged_and_foreign_files_are_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "study.db").write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40)
    result = invoke(command, tmp_path)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")


def test_compare_into_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("no folder")
    result = compared(tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    (tmp_path / "there" / "study.db").mkdir(parents=True)
    result = compared(tmp_path / "there")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_altered_runs_are_said_on_stderr(tmp_path: Path) -> None:
    runs = {("p", "a", seed): finished([[1, 0, 0, 1.0]]) for seed in (1, 2)}
    found = results(tmp_path / "study.db", {"p": facts()}, runs)
    db = sqlite3.connect(found.path)
    db.execute("UPDATE runs SET evaluations = 5, algorithm_fingerprint = 'x' WHERE id = 1")
    db.commit()
    db.close()
    result = invoke("report", tmp_path)
    assert result.exit_code == 0
    assert "Note: Left out, altered or damaged since it was stored: run 1" in result.stderr
    assert "run 1 (p, a, seed 1)" in (tmp_path / "report.html").read_text()


def test_a_time_limit_on_the_command_line(tmp_path: Path) -> None:
    result = compared(tmp_path, "--timeout", "0.001", "--quiet")
    assert result.exit_code == 1
    assert "8 runs failed" in result.stderr


def test_verdict_names_a_real_difference(tmp_path: Path) -> None:
    known = {"p": facts(reference=[[1.0]])}
    found = results(tmp_path / "s.db", known, runs_of(good=1.0, also=1.0, bad=2.0))
    text = verdict(found)
    assert re.match(r"(good|also) has the best mean rank \(1\.\d\d\) of 3 algorithms", text)
    assert "the difference to bad is real (Nemenyi, 5 %); to" in text
    assert re.search(r"On p the median run of (good|also) ends 0\.\d+ % above the proven", text)


def test_verdict_without_a_difference(tmp_path: Path) -> None:
    found = results(tmp_path / "s.db", {"p": facts()}, runs_of(a=1.0, b=1.0, c=1.0))
    assert "the runs do not show that it differs from the others" in verdict(found)
    assert "above the best value of this study" in verdict(found)


def test_verdict_where_nothing_is_feasible(tmp_path: Path) -> None:
    runs = {("p", name, seed): finished([[1, 0, 3.0, 1.0]]) for name in "ab" for seed in (1, 2)}
    found = results(tmp_path / "s.db", {"p": facts()}, runs)
    assert "On p half of the runs or more found nothing feasible." in verdict(found)
    write_report(found, tmp_path / "r.html", figures=True)


PARTS = (
    "grid:case33bw?controls=switching,units:dg:2:buses=[5,9]&objectives=p_loss_kw:max"
    '&situations=scenarios:{"load.p_mw":[0.8,1.1]}&limits=vm_pu=0.9,1.05;loading_percent=none'
)


def test_a_problem_of_parts_is_compared(tmp_path: Path) -> None:
    arguments = (PARTS, "--algorithms", "hs,mvmo", "--seeds", "2", "--evals", "40", "--quiet")
    result = invoke("compare", *arguments, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    results = Results(tmp_path)
    assert len(results.runs) == 4
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "p_loss_kw" in page
    again = invoke("compare", *arguments, "--out", tmp_path, "--dry-run")
    assert again.exit_code == 0, again.stderr


def test_words_of_a_specification_are_the_parts(tmp_path: Path) -> None:
    made = problem_of(PARTS)
    same = GridProblem(
        "case33bw",
        [Switching(), Units("dg", 2, buses=[5, 9])],
        Scenarios({"load.p_mw": [0.8, 1.1]}),
        [("p_loss_kw", "max")],
        {"vm_pu": [0.9, 1.05], "loading_percent": None},
    )
    assert made.fingerprint() == same.fingerprint()
    as_json = PARTS.replace(
        "vm_pu=0.9,1.05;loading_percent=none", '{"vm_pu": [0.9, 1.05], "loading_percent": null}'
    )
    assert described(as_json) == described(PARTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "controls: a problem without a task needs some"),
        ("?controls=switch", "did you mean 'switching'?"),
        ("?controls=units:dg:n=2", "arguments: kind, n_units"),
        ("?controls=switching&situation=hours", "did you mean 'situations'?"),
        ("?controls=switching&situations=hour", "did you mean 'hours'?"),
        ("?controls=switching&objectives=p_loss_kw:worst", "known: mean, sum, energy, max"),
        ("?controls=switching&limits=vm_pu", "limits: vm_pu: expected name=value"),
        ("?controls=switching&limits=vm=1,2", "did you mean 'vm_pu'?"),
    ],
)
def test_wrong_words_of_a_specification_are_one_line(
    tmp_path: Path, options: str, message: str
) -> None:
    result = invoke("compare", f"grid:case33bw{options}", "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- a page that renews itself ------------------------------------------------------------------


def test_the_page_of_a_watch_renews_itself_until_the_study_has_ended(tmp_path: Path) -> None:
    study, page = tmp_path / "study.db", tmp_path / "page" / "report.html"
    pages: list[str] = []
    one = results(tmp_path / "one.db", {"p": facts()}, {("p", "a", 1): finished([[1, 0, 0, 1]])})
    (run,) = one.runs

    def sleep(seconds: float) -> None:
        assert seconds == 7.0
        pages.append(page.read_text(encoding="utf-8"))
        if len(pages) == 1:
            with Store(study) as store:
                store.set_problem("p", "callable", facts())
                store.claim(run.key, 0, "somebody else")
        elif len(pages) == 3:
            with Store(study) as store:
                store.add(run.key, run.outcome)
                store.claim(replace(run.key, seed=2), 0, "somebody else")
        elif len(pages) == 5:
            with Store(study) as store:
                store.drop_claims("somebody else")

    assert watch(study, page, 7.0, sleep) == page
    refresh = '<meta http-equiv="refresh" content="7">'
    assert len(pages) == 6
    assert all(refresh in text for text in pages)
    assert all("No run has finished yet" in text for text in pages[:3])
    assert all("The study is running: 1 runs so far" in text for text in pages[3:])
    last = page.read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in last
    assert "The study is running" not in last
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_watch_on_the_command_line(done: Path, tmp_path: Path) -> None:
    result = invoke("report", done, "--watch", "--every", "1", "--out", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "r.html")
    assert 'http-equiv="refresh"' not in (tmp_path / "r.html").read_text(encoding="utf-8")
