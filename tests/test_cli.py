"""The command line as a user sees it: files, tables, errors, interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandapower
import pandas as pd
import pytest
from nets import switched
from typer.testing import CliRunner

from algorithms import ALGORITHMS
from gridproblems import PROBLEMS, MissingLimits, ReactivePowerDispatch, _results, _written
from gridproblems._written import write_xlsx
from gridproblems.cases import CASES, load_case
from gridproblems.cli import app
from gridproblems.controls import CONTROLS
from gridproblems.engines import ENGINES
from gridproblems.objectives import OBJECTIVES
from gridproblems.situations import SITUATIONS

PNG = b"\x89PNG"
#: What a run leaves for a person to read.
ANSWER = ("report.html", "settings.csv", "settings.xlsx", "summary.md")


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def solve(tmp_path: Path, *options: str | Path, task: str = "orpd") -> Any:
    return invoke("solve", task, "--out", tmp_path, "--quiet", *options)


def strict_json(path: Path) -> Any:
    """Parses JSON and refuses NaN and Infinity, which Python's parser lets pass."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path.name} holds {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run of MVMO on 14 buses."""
    parent = tmp_path_factory.mktemp("results")
    result = solve(parent, "--case", "ieee14", "--algorithm", "mvmo", "--evals", "300")
    assert result.exit_code == 0, result.output
    folder = parent / "orpd-ieee14-mvmo-seed1"
    assert result.stdout.split() == [str(folder)]
    return folder


def test_list_names_everything_there_is() -> None:
    result = invoke("list")
    assert result.exit_code == 0
    for registry in (PROBLEMS, CASES, ALGORITHMS, CONTROLS, SITUATIONS, OBJECTIVES, ENGINES):
        missing = [name for name in registry if name not in result.stdout]
        assert not missing


def test_run_leaves_every_file(finished: Path) -> None:
    plots = ["changes.png", "convergence.png", "loading.png", "voltage.png"]
    assert sorted(path.name for path in finished.iterdir()) == sorted(
        [
            *plots,
            *("history.csv", "net.json", "result.json"),
            *ANSWER,
        ]
    )
    for plot in plots:
        assert (finished / plot).read_bytes().startswith(PNG)


def test_result_states_what_was_run(finished: Path) -> None:
    result = strict_json(finished / "result.json")
    assert (result["task"], result["case"], result["seed"]) == ("orpd", "ieee14", 1)
    assert result["algorithm"]["name"] == "mvmo"
    assert result["algorithm"]["parameters"]["archive_size"] == 4
    assert result["algorithm"]["parameters"]["scaling_factor"] == [1.0, 20.0]
    assert result["interrupted"] is False
    assert result["budget_evaluations"] == result["evaluations"] == 300
    assert set(result["versions"]) >= {"gridproblems", "pymoo", "pandapower", "python"}


def test_figures_agree_with_the_settings_and_the_net(finished: Path) -> None:
    result = strict_json(finished / "result.json")
    net = pandapower.from_json(str(finished / "net.json"))
    problem = ReactivePowerDispatch("ieee14")
    (objective,) = result["objectives"]
    assert result["feasible"] is True
    assert result["violation"] == 0.0
    assert objective["base"] > objective["best"]
    assert objective["best_known"] == problem.best_known.value
    expected_gap = 100 * (objective["best"] / objective["best_known"] - 1)
    assert objective["gap_percent"] == pytest.approx(expected_gap)

    pandapower.runpp(net, tolerance_mva=1e-8)
    losses = {"line_loss_mw": net.res_line.pl_mw.sum()}
    losses["p_loss_mw"] = losses["line_loss_mw"] + net.res_trafo.pl_mw.sum()
    assert objective["best"] == pytest.approx(losses[objective["name"]], abs=1e-6)

    settings = {row["control"]: row for row in result["settings"]}
    assert len(settings) == problem.n_var
    table = problem.describe(problem.encode(net))
    for row in table.itertuples():
        assert settings[row.control]["new"] == pytest.approx(row.new, abs=1e-9)
        assert settings[row.control]["lower"] == row.lower
        assert settings[row.control]["upper"] == row.upper


def test_result_says_which_limits_were_checked(finished: Path) -> None:
    result = strict_json(finished / "result.json")
    (band,) = [limit for limit in result["limits"] if limit["name"] == "vm_pu"]
    assert (band["n_elements"], band["lower"], band["upper"]) == (14, [0.9, 0.9], [1.1, 1.1])
    assert result["not_limited"] == ["line loadings", "transformer loadings"]
    assert result["violated_limits"] == []


def test_end_without_a_feasible_point_says_what_is_nearest(tmp_path: Path) -> None:
    result = invoke(
        *("solve", "orpd", "--case", "ieee14", "--algorithm", "hs", "--evals", "40"),
        *("--limit", "vm_pu=1.0,1.001", "--out", tmp_path),
    )
    assert result.exit_code == 0, result.output
    assert "NOT FEASIBLE" in result.stdout
    assert "limits do not hold: bus" in result.stdout
    assert "limits checked: power flow solved and all supplied, vm_pu from 1 to" in result.stdout
    assert "NOT limited: line loadings" in result.stdout
    assert "As it is the grid breaks" in result.stdout
    report = strict_json(next(tmp_path.iterdir()) / "result.json")
    broken = report["violated_limits"]
    assert report["before"]
    assert len(broken) > 1
    assert [v["share"] for v in broken] == sorted(v["share"] for v in broken)
    net = pandapower.from_json(str(next(tmp_path.iterdir()) / "net.json"))
    names = net.bus.name.astype(str)
    for violation in broken:  # the same distance from the voltages of the net that was written
        label, _, side = violation["name"].partition(" vm_pu ")
        index = int(label.split()[1])
        assert str(index) in label or names[index] in label
        vm_pu = net.res_bus.vm_pu[index]
        beyond = vm_pu - 1.001 if side == "max" else 1.0 - vm_pu
        assert violation["beyond"] == pytest.approx(beyond, abs=1e-6)
        assert violation["unit"] == "p.u."


def test_hosting_capacity_is_positive_with_sizes_and_what_binds(tmp_path: Path) -> None:
    result = invoke(
        *("solve", "placement", "--case", "lv18", "--algorithm", "hs", "--evals", "30"),
        *("--objectives", "hosting_capacity_mw", "--option", "n_units=2", "--out", tmp_path),
        *("--option", "buses=[9,12]"),
    )
    assert result.exit_code == 0, result.output
    folder = next(tmp_path.iterdir())
    report = strict_json(folder / "result.json")
    (objective,) = report["objectives"]
    capacity_mw = objective["best"]
    assert capacity_mw > 0
    assert objective["base"] == 0
    assert sum(row["at_capacity"] for row in report["settings"]) == pytest.approx(capacity_mw)
    said = " ".join(report["remarks"])
    assert f"hosting capacity {capacity_mw:.5g} MW" in said
    assert "what binds: " in said
    assert said.split("what binds: ")[1] in result.stdout
    net = pandapower.from_json(str(folder / "net_at_capacity.json"))
    placed = net.sgen[net.sgen.name.isin([row["control"] for row in report["settings"]])]
    assert placed.sn_mva.sum() == pytest.approx(capacity_mw)
    with (folder / "history.csv").open() as file:
        assert float(list(csv.DictReader(file))[-1]["best"]) == pytest.approx(capacity_mw)
    assert (folder / "units_at_capacity.png").read_bytes().startswith(PNG)


def test_the_summary_says_how_many_evaluations_were_gradients(finished: Path) -> None:
    result = strict_json(finished / "result.json")
    gradients = result["gradient_evaluations"]
    assert 0 < gradients < result["evaluations"]
    assert result["processor_time_s"] > 0.0
    text = (finished / "summary.md").read_text(encoding="utf-8")
    assert f"{result['evaluations']} evaluations ({gradients} of them gradients)" in text


def test_code_of_the_summary_gives_the_net_of_the_run(finished: Path) -> None:
    text = (finished / "summary.md").read_text(encoding="utf-8")
    code = [line.strip() for line in text.splitlines() if line.startswith("    net.")]
    net = load_case("ieee14").net()
    for line in code:
        exec(line, {"net": net})
    pandapower.runpp(net, tolerance_mva=1e-8)
    expected = pandapower.from_json(str(finished / "net.json"))
    pandapower.runpp(expected, tolerance_mva=1e-8)
    np.testing.assert_allclose(net.res_bus.vm_pu, expected.res_bus.vm_pu, atol=1e-9)
    (lowest,) = [line for line in text.splitlines() if line.startswith("| lowest voltage")]
    assert float(lowest.split("|")[3]) == pytest.approx(expected.res_bus.vm_pu.min(), abs=1e-5)
    settings = pd.read_csv(finished / "settings.csv")
    told = strict_json(finished / "result.json")["settings"]
    assert list(settings.control) == [row["control"] for row in told]
    np.testing.assert_allclose(settings["new"], [row["new"] for row in told])


def test_page_of_a_run_holds_its_pictures_and_runs_nothing(tmp_path: Path) -> None:
    net = load_case("ieee14").net()
    net.gen["name"] = "<script>alert(1)</script>|"
    path = tmp_path / "<b>.json"
    pandapower.to_json(net, str(path))
    result = solve(
        tmp_path,
        *("--case", path, "--algorithm", "nsga2", "--evals", "60", "--population", "20"),
        *("--objectives", "p_loss_mw,voltage_deviation_pu"),
    )
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert "default-src 'none'; img-src data:" in page
    assert "http:" not in page
    assert "https:" not in page
    assert page.count('src="data:image/png;base64,') == len(list(folder.glob("*.png")))
    with (folder / "front.csv").open() as file:
        n_points = len(list(csv.DictReader(file)))
    _, _, table = page.partition("<h2>All trade-offs</h2>")
    table, _, _ = table.partition("</table>")
    assert table.count("<tr>") == n_points + 1
    assert table.count(">applied</td>") == 1
    assert "p_loss_mw [MW]" in table
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert "<script" not in summary


def test_workbook_holds_the_settings(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openpyxl")
    sheet = pd.read_excel(finished / "settings.xlsx")
    expected = pd.read_csv(finished / "settings.csv")
    pd.testing.assert_frame_equal(sheet, expected, check_dtype=False)
    frame = pd.DataFrame({"=a": ["=1+1", "-2.5", "@x"], "b": [1.0, 2.0, 3.0]})
    assert write_xlsx(finished.parent / "t.xlsx", {"s": frame})
    back = pd.read_excel(finished.parent / "t.xlsx")
    assert list(back.columns) == ["'=a", "b"]
    assert back["'=a"].tolist() == ["'=1+1", "-2.5", "'@x"]
    monkeypatch.setattr(_written, "find_spec", lambda name: None)
    assert not write_xlsx(finished.parent / "none.xlsx", {"s": frame})
    assert not (finished.parent / "none.xlsx").exists()


def test_history_ends_at_the_result_and_never_rises(finished: Path) -> None:
    result = strict_json(finished / "result.json")
    with (finished / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = np.array([float(row["best"]) for row in rows if row["best"]])
    assert best[-1] == pytest.approx(result["objectives"][0]["best"])
    assert (np.diff(best) <= 0).all()
    assert [int(row["evaluations"]) for row in rows][-1] == 300


def test_same_seed_same_settings_in_a_second_folder(finished: Path) -> None:
    second = solve(finished.parent, "--case", "ieee14", "--algorithm", "mvmo", "--evals", "300")
    folder = finished.parent / "orpd-ieee14-mvmo-seed1-2"
    assert second.stdout.split() == [str(folder)]
    before, after = (strict_json(path / "result.json") for path in (finished, folder))
    assert after["settings"] == before["settings"]
    assert after["objectives"] == before["objectives"]


def test_tables_are_printed_unless_quiet(tmp_path: Path) -> None:
    result = invoke(
        "solve", "orpd", "--case", "ieee6", "--algorithm", "hs", "--evals", "60", "--out", tmp_path
    )
    assert result.exit_code == 0, result.output
    for text in ("ieee6, hs, seed 1: finished", "best known", "60 evaluations", "per second"):
        assert text in result.stdout
    assert str(tmp_path) in result.stdout.replace("\n", "")


def test_two_objectives_leave_a_front(tmp_path: Path) -> None:
    result = solve(
        tmp_path,
        *("--case", "ieee14", "--algorithm", "nsga2", "--evals", "200", "--population", "20"),
        *("--objectives", "p_loss_mw,voltage_deviation_pu"),
    )
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    report = strict_json(folder / "result.json")
    with (folder / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    F = np.array([[float(r["p_loss_mw"]), float(r["voltage_deviation_pu"])] for r in rows])
    dominated = [(np.delete(F, i, 0) <= f).all(axis=1).any() for i, f in enumerate(F)]
    assert len(F) == report["front"]["points"] > 1
    assert not any(dominated)
    best = [entry["best"] for entry in report["objectives"]]
    np.testing.assert_allclose(F[report["front"]["knee"]], best)
    assert report["front"]["extremes"][0]["p_loss_mw"] == F[:, 0].min()
    assert report["front"]["extremes"][1]["voltage_deviation_pu"] == F[:, 1].min()
    assert [entry["best_known"] for entry in report["objectives"]] == [None, None]
    assert (folder / "pareto.png").read_bytes().startswith(PNG)

    problem = ReactivePowerDispatch("ieee14", objectives=("p_loss_mw", "voltage_deviation_pu"))
    names = list(problem.vars)
    X = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_allclose(problem.evaluate(X)[0], F, rtol=1e-9)


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "_front", lambda run: pd.DataFrame({"=1+1": ["@x", "-2.5"]}))
    result = solve(
        tmp_path,
        *("--case", "ieee6", "--algorithm", "nsga2", "--evals", "20", "--population", "10"),
        *("--objectives", "p_loss_mw,voltage_deviation_pu"),
    )
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    assert (folder / "front.csv").read_text().splitlines() == ["'=1+1", "'@x", "-2.5"]


def test_case_from_a_file_with_chosen_controls(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    pandapower.to_json(load_case("ieee14").net(), str(path))
    result = solve(tmp_path, "--case", path, "--controls", "tap", "--evals", "40")
    assert result.exit_code == 0, result.output
    report = strict_json(tmp_path / "orpd-mine-mvmo-seed1" / "result.json")
    assert len(report["settings"]) == len(load_case("ieee14").net().trafo)
    assert report["objectives"][0]["best_known"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--case", "ieee15"), ["ieee15", "did you mean 'ieee", "ieee14"]),
        (("--case", "ieee6", "--algorithm", "magic"), ["algorithm", "magic", "mvmo"]),
        (("--case", "ieee6", "--algorithm", "mvm"), ["did you mean 'mvmo'?"]),
        (("--case", "ieee6", "--objectives", "p_loss"), ["did you mean 'p_loss_", "p_loss_mw"]),
        (("--case", "ieee6", "--controls", "taps"), ["taps", "did you mean 'tap'?"]),
        (("--case", "ieee6", "--engine", "newtn"), ["newtn", "did you mean 'newton'?"]),
        (("--case", "ieee6", "--option", "limits=3"), ["limits: expected a mapping", "got 3"]),
        (("--case", "ieee6", "--option", "limit=3"), ["'limit'", "did you mean 'limits'?"]),
        (("--case", "ieee6", "--option", "fixed=3"), ["fixed: expected a mapping", "got 3"]),
        (("--case", "ieee6", "--option", "cache=[]"), ["--option cache=[]: expected true or"]),
        (("--case", "ieee6", "--option", "aggregate"), ["aggregate: expected name=value"]),
        (("--case", "ieee6", *("--option", "cache=1") * 2), ["cache is given twice"]),
        (("--case", "ieee6", "--limit", "vm=0.9,1.1"), ["'vm'", "did you mean 'vm_pu'?"]),
        (("--case", "ieee6", "--limit", "vm_pu=0.9"), ["vm_pu", "(low, high)", "got 0.9"]),
        (("--case", "ieee6", "--limit", "vm_pu=1.1,0.9"), ["vm_pu", "(low, high)"]),
        (("--case", "ieee6", "--limit", "vm_pu=a,b"), ["--limit vm_pu=a,b: expected numbers"]),
        (("--case", "ieee6", "--limit", "vm_pu=nan,1"), ["vm_pu", "(low, high)"]),
        (("--case", "ieee6", "--limit", "vm_pu"), ["--limit vm_pu: expected name=value"]),
        (("--case", "ieee6", "--limit", "loading_percent=0"), ["a positive number, got 0"]),
        (("--case", "ieee6", *("--limit", "vm_pu=none") * 2), ["vm_pu is given twice"]),
        (
            ("--case", "ieee6", "--limit", "vm_pu=none", "--option", "limits={}"),
            ["limits is given twice"],
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, options: tuple[str, ...], words: list[str]
) -> None:
    result = solve(tmp_path, *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert all(word in line for word in words)
    assert not list(tmp_path.iterdir())


def test_unknown_task_is_named(tmp_path: Path) -> None:
    result = solve(tmp_path, "--case", "ieee6", task="opf")
    assert result.exit_code == 2
    assert "no task is called 'opf' (did you mean 'orpd'?); known: orpd" in result.stderr


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("placement", ("--case", "case33bw", "--option", "n_units=x"), "expected a whole number"),
        ("placement", ("--case", "case33bw", "--option", "buses=3"), "expected a list"),
        ("placement", ("--case", "case33bw", "--option", "kind=pvv"), "did you mean 'pv'?"),
        (
            "placement",
            ("--case", "case33bw", "--option", "series=3"),
            "series: expected a mapping",
        ),
        ("reconfiguration", ("--case", "case33bw", "--option", "coding=loop"), "'loops'?"),
        ("reconfiguration", ("--case", "case33bw", "--option", "hours=a"), "expected a number"),
        ("reconfiguration", ("--case", "case33bw", "--limit", "radial=true"), "'radial'"),
        ("allocation", ("--case", "lv18", "--limit", "vm_pu=3"), "(low, high), got 3"),
        (
            "placement",
            ("--case", "lv18", "--option", "battery=3"),
            "battery: expected a Battery or a mapping",
        ),
        ("regulators", ("--feeder", "villag"), "did you mean 'village'?"),
        ("regulators", ("--feeder", "village", "--limit", "vm_pu=3"), "(low, high), got 3"),
        ("regulators", ("--feeder", "village", "--option", "fitness=3"), "a VoltageFitness, got 3"),
        (
            "regulators",
            ("--feeder", "village", "--engine", "newton"),
            "engine: 'newton' is none for feeders; known: auto, opendss",
        ),
    ],
)
def test_bad_options_of_every_task_are_one_line(
    tmp_path: Path, task: str, options: tuple[str, ...], words: str
) -> None:
    result = solve(tmp_path, *options, task=task)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line


def bare_net(tmp_path: Path) -> Path:
    """A file with a real grid that has neither voltage bands nor loading limits."""
    path = tmp_path / "bare.json"
    pandapower.to_json(switched(), str(path))
    return path


def test_net_without_limits_warns_in_one_line_that_says_how_to_give_them(tmp_path: Path) -> None:
    path = bare_net(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always", MissingLimits)
        result = solve(tmp_path, "--case", path, "--evals", "5")
        some = solve(tmp_path, "--case", path, "--evals", "5", "--limit", "vm_pu=0.95,1.05")
        given = "--limit vm_pu=0.95,1.05 --limit loading_percent=100"
        assert given in result.stderr
        none = solve(tmp_path, "--case", path, "--evals", "5", *given.split())
    assert [r.exit_code for r in (result, some, none)] == [0, 0, 0]
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: mv_oberrhein has no voltage band")
    assert "no loading limit of lines and transformers" in line
    (line,) = some.stderr.splitlines()
    assert "no loading limit" in line
    assert "voltage band" not in line
    assert none.stderr == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = solve(tmp_path, "--case", "ieee15", "--debug")
    assert isinstance(result.exception, ValueError)


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gridproblems", "solve", "orpd", "--case", "ieee6"]
    command += ["--evals", "10000000", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    folder = tmp_path / "orpd-ieee6-mvmo-seed1"
    deadline = time.monotonic() + 60
    while not folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "interrupted, best so far" in stdout
    assert "Traceback" not in stderr
    result = strict_json(folder / "result.json")
    assert result["interrupted"] is True
    assert 0 < result["evaluations"] < 10_000_000
    assert {path.name for path in folder.iterdir()} == {
        *ANSWER,
        *("changes.png", "convergence.png", "loading.png", "voltage.png"),
        *("history.csv", "net.json", "result.json"),
        *("run.json", "evaluations.bin"),  # for gridproblems resume
    }
    best = np.array([row["new"] for row in result["settings"]])
    problem = ReactivePowerDispatch("ieee6")
    F, _ = problem.evaluate(best)
    assert F[0] == pytest.approx(result["objectives"][0]["best"])


def test_reconfiguration_says_what_to_switch(tmp_path: Path) -> None:
    result = solve(
        tmp_path,
        *("--case", "case33bw", "--algorithm", "hs", "--evals", "150"),
        *("--option", "coding=spanning_tree"),
        task="reconfiguration",
    )
    assert result.exit_code == 0, result.output
    folder = tmp_path / "reconfiguration-case33bw-hs-seed1"
    (objective,) = strict_json(folder / "result.json")["objectives"]
    assert objective["best_known"] == pytest.approx(139.551347)
    assert objective["best_known_status"] == "proven"
    assert objective["base"] == pytest.approx(202.677126, abs=1e-5)
    net = pandapower.from_json(str(folder / "net.json"))
    assert 1e3 * net.res_line.pl_mw.sum() == pytest.approx(objective["best"], abs=1e-6)
    assert (folder / "feeder.png").read_bytes().startswith(PNG)


def test_regulators_leave_a_script_for_the_feeder(tmp_path: Path) -> None:
    result = invoke(
        *("solve", "regulators", "--out", tmp_path, "--feeder", "village", "--evals", "30"),
        *("--option", "variables=taps"),
        *("--option", 'disturbance={"load": "hill", "factor": 2}'),
    )
    assert result.exit_code == 0, result.output
    folder = tmp_path / "regulators-village-mvmo-seed1"
    report = strict_json(folder / "result.json")
    script = (folder / "settings.dss").read_text()
    for row in report["settings"]:
        _, regulator, _ = row["control"].split()
        assert f"regcontrol.{regulator}.TapNum={row['new']}" in script
    assert (folder / "histogram.png").read_bytes().startswith(PNG)
    measured = {entry["name"]: entry for entry in report["measured"]}
    assert list(measured) == ["v_min_pu", "v_max_pu", "nodes_outside", "nodes"]
    assert 0.8 < measured["v_min_pu"]["best"] < measured["v_max_pu"]["best"] < 1.2
    assert all(name in result.output for name in measured)
    unknown = solve(
        tmp_path, "--feeder", "village", "--option", 'disturbance="line.x"', task="regulators"
    )
    assert unknown.exit_code == 2
    assert "line 'x'" in unknown.stderr


def grid(tmp_path: Path, *options: str | Path) -> Any:
    return invoke("solve", "--out", tmp_path, "--quiet", *options)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without a task: switching and generators at once."""
    parent = tmp_path_factory.mktemp("joint")
    result = grid(
        parent,
        *("--case", "case33bw", "--control", "switching", "--control", "units:dg:2:max_size=1.5"),
        *("--objective", "p_loss_kw", "--limit", "vm_pu=0.9,1.05", "--evals", "200"),
    )
    assert result.exit_code == 0, result.output
    folder = parent / "grid-case33bw-mvmo-seed1"
    assert result.stdout.split() == [str(folder)]
    return folder


def test_a_problem_of_parts_leaves_every_file(joint: Path) -> None:
    plots = {"convergence.png", "feeder.png", "loading.png", "units.png", "voltage.png"}
    others = {"history.csv", "net.json", "result.json", "units.csv", *ANSWER}
    assert {path.name for path in joint.iterdir()} == plots | others
    for plot in plots:
        assert (joint / plot).read_bytes().startswith(PNG)


def test_a_problem_of_parts_is_the_one_that_python_makes(joint: Path) -> None:
    result = strict_json(joint / "result.json")
    assert result["task"] == "grid"
    assert result["options"] == {
        "controls": ["switching", "units:dg:2:max_size=1.5"],
        "objectives": ["p_loss_kw"],
        "limits": {"vm_pu": [0.9, 1.05]},
    }
    net = pandapower.from_json(str(joint / "net.json"))
    (objective,) = result["objectives"]
    losses_kw = 1e3 * net.res_line.pl_mw.sum()
    assert objective["best"] == pytest.approx(losses_kw, abs=1e-6)
    assert objective["base"] == pytest.approx(202.677126, abs=1e-5)
    units = pd.read_csv(joint / "units.csv")
    assert list(units["kind"]) == ["dg", "dg"]
    injected = net.sgen.groupby("bus").p_mw.sum()
    for bus, size in units.groupby("bus")["size"].sum().items():
        assert injected[bus] == pytest.approx(size)
    actions = [row for row in result["settings"] if row["action"]]
    opened = {row["line"] for row in actions if row["action"] == "open"}
    assert opened <= set(net.line.index[~net.line.in_service])
    assert len(result["settings"]) == len(actions) + 2


@pytest.mark.parametrize(
    ("options", "n_situations"),
    [
        (("--case", "ieee39", "--control", "setpoints,taps", "--situations", "outages:[0,1]"), 3),
        (("--case", "ieee14", "--control", "setpoints:gen:band_pu=[0.95,1.1]"), 1),
        (("--case", "ieee30", "--controls", "shunts", "--objective", "l_index"), 1),
        (
            (
                *("--case", "ieee14", "--control", "setpoints"),
                *("--objective", "loading_margin_percent", "--limit", "loading_margin_percent=20"),
            ),
            1,
        ),
        (("--case", "lv18", "--control", "units:pv:2", "--situations", "hours"), 24),
        (("--case", "lv18", "--control", "profiles", "--situations", "hours:n=24"), 24),
        (
            (
                *("--case", "lv18", "--situations", "hours", "--objective", "exchange_peak_kw"),
                *("--control", 'schedules:[{"bus": 9, "power_mw": 0.002, "energy_mwh": 0.006}]'),
            ),
            24,
        ),
        (
            (
                *("--case", "case33bw", "--control", "units:capacitor:2"),
                *("--situations", 'scenarios:{"load.p_mw": [0.8, 1.0, 1.2]}:weights=[1, 2, 1]'),
                *("--objective", "p_loss_kw:cvar:0.9"),
            ),
            3,
        ),
        (
            (
                *("--feeder", "ieee123", "--control", "regulators:taps,capacitors"),
                *("--situations", 'disturbances:null:{"load": "s1a", "kw": 200}:1.1'),
                *("--objective", "voltage_fitness:mean"),
            ),
            3,
        ),
        (("--feeder", "village", "--control", "voltvar", "--objective", "p_loss_kw"), 1),
    ],
)
def test_words_reach_controls_situations_and_reductions(
    tmp_path: Path, options: tuple[str, ...], n_situations: int
) -> None:
    from gridproblems import specification

    made = []
    original = specification.problem_named

    def watched(*arguments: Any) -> Any:
        made.append(original(*arguments))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specification, "problem_named", watched)
        result = grid(tmp_path, *options, "--evals", "12")
    assert result.exit_code == 0, result.output
    (problem,) = made
    assert problem.situations.n == n_situations
    (written,) = tmp_path.iterdir()
    assert strict_json(written / "result.json")["evaluations"] == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "controls: a problem without a task needs some"),
        (
            ("--control", "untis:dg"),
            "'untis' (did you mean 'units'?); known: setpoints, powers, taps",
        ),
        (("--control", "units:dgg"), "'dgg' (did you mean 'dg'?); known: pv, dg"),
        (("--control", "units:dg:n=3"), "control 'units:dg:n=3'"),
        (("--control", "units:dg:n=3"), "arguments: kind, n_units, buses"),
        (("--control", "units:dg:x"), "n_units: expected a whole number, got the text 'x'"),
        (("--control", "units:n_units=2:dg"), "'dg' comes after arguments with names"),
        (("--control", "units:dg:buses=[99]"), "the net has no bus 99"),
        (("--control", "switching:encoding=loop"), "'loops'"),
        (("--control", "switching", "--objective", "p_los_kw"), "did you mean 'p_loss_kw'?"),
        (("--control", "switching", "--objective", "p_loss_kw:worst"), "known: mean, sum"),
        (("--control", "switching", "--objective", "p_loss_kw:cvar:2"), "0 < share < 1"),
        (("--control", "switching", "--situations", "hour"), "did you mean 'hours'?"),
        (("--control", "switching", "--situations", "hours:24"), "situation 'hours:24': series"),
        (("--control", "switching", "--situations", "hours:n=0"), "at least one snapshot, got 0"),
        (("--control", "switching", "--situations", "hours*outage"), "did you mean 'outages'?"),
        (("--control", "switching", "--limit", "vm=3"), "'vm' (did you mean 'vm_pu'?)"),
        (("--control", "switching", "--option", "periods=3"), "periods: expected a mapping"),
        (("--control", "switching", "--option", "controls=a"), "controls is given twice"),
        (("--control", "switching", "--option", "period=3"), "did you mean 'periods'?"),
    ],
)
def test_wrong_words_are_one_line_with_the_known_ones(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = grid(tmp_path, "--case", "case33bw", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_tasks_take_situations_but_no_controls_of_others(tmp_path: Path) -> None:
    result = solve(tmp_path, "--case", "case69", "--situations", "hours", task="placement")
    assert result.exit_code == 2
    assert "situations: Hours needs series, and the case has none" in result.stderr
    result = solve(tmp_path, "--case", "case69", "--control", "switching", task="placement")
    assert result.exit_code == 2
    assert "placement has no option 'controls'" in result.stderr


def test_list_says_what_objectives_are_in_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = invoke("list").stdout.splitlines()
    told = {line.split()[1]: line for line in lines if line.startswith("│") and line.split()[1:]}
    assert "transformers and impedances. [kW], mean in time (nets and feeders)" in told["p_loss_kw"]
    assert "[kWh], energy in time (nets)" in told["energy_loss_kwh"]
    assert "(switching)" in told["switching_actions"]
    assert "[%] (feeders)" in told["voltage_unbalance_percent"]
