"""Runs that are killed and go on: nothing is lost, and not a bit is different."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandapower
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.core.result import Result
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from typer.testing import CliRunner

from algorithms import ALGORITHMS, MVMO
from gridproblems import (
    DERAllocation,
    ReactivePowerDispatch,
    Reconfiguration,
    _results,
    checkpoints,
)
from gridproblems.cases import load_case
from gridproblems.checkpoints import Checkpoint, CheckpointError, why_not
from gridproblems.cli import app
from gridproblems.study import Results
from gridproblems.study.run import Job, Outcome, fresh_problem, run_job
from gridproblems.study.specs import portable

EVALS = 240
#: A problem with real, whole and on/off variables, and its trade-off.
MIXED = (
    *("solve", "orpd", "--case", "ieee39", "--evals", str(EVALS), "--seed", "3", "--quiet"),
    *("--checkpoint-every", "1"),
)


def in_a_process(prepare: Callable[[], None], *arguments: str | Path) -> int:
    """Runs the command line in a process of its own, and says how it ended: -9 by SIGKILL."""
    if not hasattr(os, "fork"):
        pytest.skip("platform: no fork")
    child = os.fork()
    if child == 0:
        try:
            prepare()
            os._exit(invoke(*arguments).exit_code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def sent(number: int, at: int) -> Callable[[], None]:
    """Has the process send itself a signal after its `at`-th batch, before that is kept."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        left = [at]
        keep = Checkpoint._keep

        def kept(self: Checkpoint, *of_batch: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)
            keep(self, *of_batch)

        Checkpoint._keep = kept  # type: ignore[method-assign]

    return prepare


def killed(at: int, *arguments: str | Path) -> None:
    """Runs the command line until it is killed at a batch of evaluations."""
    assert in_a_process(sent(signal.SIGKILL, at), *arguments) == -signal.SIGKILL


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def solved(parent: Path, *arguments: str | Path) -> Path:
    """The folder of a run that is not interrupted."""
    result = invoke(*arguments, "--out", parent)
    assert result.exit_code == 0, result.output
    (folder,) = parent.iterdir()
    return folder


def told(folder: Path) -> dict[str, bytes]:
    """What a run says, without times and pictures."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    for name in ("run_time_s", "processor_time_s", "evaluations_per_second"):
        assert result.pop(name) > 0
    found = {"result.json": json.dumps(result).encode()}
    for path in folder.iterdir():
        if path.suffix in (".csv", ".md"):
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.parametrize("kills", [(2,), pytest.param((1, 2, 7), marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize("algorithm", ["hs", "mvmo", "ga", "pso", "de", "sqp", "cmaes"])
def test_killed_and_resumed_equals_uninterrupted(
    algorithm: str, kills: tuple[int, ...], tmp_path: Path
) -> None:
    size = ("--population", "10") if algorithm in ("hs", "ga", "pso", "de") else ()
    evals = 60 if algorithm == "sqp" else EVALS
    asked = (*MIXED, "--algorithm", algorithm, "--evals", str(evals), *size)
    whole = solved(tmp_path / "whole", *asked)
    parent = tmp_path / "killed"
    killed(3, *asked, "--out", parent)
    (folder,) = parent.iterdir()
    sizes = [(folder / "evaluations.bin").stat().st_size]
    for at in kills:  # batches of those that are left, the last of which is lost
        killed(at, "resume", folder)
        sizes.append((folder / "evaluations.bin").stat().st_size)
        assert (sizes[-1] > sizes[-2]) == (at > 1)
    result = invoke("resume", folder, "--quiet")
    assert result.exit_code == 0, result.output
    assert told(folder) == told(whole)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


def test_two_objectives_killed_and_resumed(tmp_path: Path) -> None:
    asked = (*MIXED, "--algorithm", "nsga2", "--population", "20")
    asked += ("--objective", "p_loss_mw,voltage_deviation_pu")
    whole = solved(tmp_path / "whole", *asked)
    killed(1, *asked, "--out", tmp_path / "killed")
    (folder,) = (tmp_path / "killed").iterdir()
    for at in (3, 6):
        killed(at, "resume", folder)
    assert invoke("resume", folder).exit_code == 0
    assert told(folder) == told(whole)
    assert "front.csv" in told(folder)


def test_switching_and_units_killed_and_resumed(tmp_path: Path) -> None:
    asked = ("solve", "--case", "case33bw", "--control", "switching,units:dg:2", "--evals", "200")
    asked += ("--objective", "p_loss_kw", "--limit", "vm_pu=0.95,1.05", "--quiet")
    asked += ("--algorithm", "mvmo", "--checkpoint-every", "7")
    whole = solved(tmp_path / "whole", *asked)
    killed(50, *asked, "--out", tmp_path / "killed")
    (folder,) = (tmp_path / "killed").iterdir()
    assert invoke("resume", folder).exit_code == 0
    assert told(folder) == told(whole)


def test_killed_while_the_results_are_written(tmp_path: Path) -> None:
    asked = ("solve", "orpd", "--case", "ieee14", "--evals", "50", "--quiet")
    whole = solved(tmp_path / "whole", *asked)

    def prepare() -> None:
        _results.write_csv = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    ended = in_a_process(prepare, *asked, "--out", tmp_path / "killed")
    assert ended == -signal.SIGKILL
    (folder,) = (tmp_path / "killed").iterdir()
    assert invoke("resume", folder).exit_code == 0
    assert told(folder) == told(whole)


def test_ctrl_c_then_resume_equals_uninterrupted(tmp_path: Path) -> None:
    asked = ("solve", "orpd", "--case", "ieee14", "--evals", "300", "--quiet")
    whole = solved(tmp_path / "whole", *asked)
    ended = in_a_process(sent(signal.SIGINT, 15), *asked, "--out", tmp_path / "stopped")
    assert ended == 130
    (folder,) = (tmp_path / "stopped").iterdir()
    assert {"run.json", "evaluations.bin"} < {path.name for path in folder.iterdir()}
    assert json.loads((folder / "result.json").read_text())["interrupted"] is True
    assert invoke("resume", folder).exit_code == 0
    assert told(folder) == told(whole)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = solved(tmp_path, "solve", "orpd", "--case", "ieee14", "--evals", "40", "--quiet")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = invoke("resume", folder)
    assert result.exit_code == 0
    assert "has finished" in result.stderr
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def begun(tmp_path: Path, *more: str) -> Path:
    """The folder of a run that was killed."""
    killed(10, "solve", "orpd", "--case", "ieee14", "--checkpoint-every", "5", *more,
           "--out", tmp_path)  # fmt: skip
    (folder,) = tmp_path.iterdir()
    return folder


def test_what_cannot_go_on_says_so_in_one_line(tmp_path: Path) -> None:
    folder = begun(tmp_path / "a")
    asked = folder / "run.json"
    text = asked.read_text(encoding="utf-8")
    for old, new, message in (
        ('"seed": 1', '"seed": 2', "seed was 1, and is 2 now"),
        ('"mvmo"', '"hs"', "algorithm was 'mvmo', and is 'hs' now"),
        ('"objectives": []', '"objectives": ["l_index"]', "of another problem"),
        ('"case": "ieee14"', '"case": "ieee30"', "of another problem"),
        ('"case": "ieee14"', '"case": "ieee41"', "no case is called"),
        ('"jobs": 1', '"jobs": "1"', "wrong: jobs"),
        ('"format": 1', '"format": 9', "expected what a run of this version"),
        ("{", "[" * 100_000, "cannot be read"),
    ):
        assert old in text
        asked.write_text(text.replace(old, new, 1), encoding="utf-8")
        result = invoke("resume", folder)
        assert (result.exit_code, message in result.stderr) == (2, True), result.output
        assert len(result.stderr.splitlines()) == 1
    asked.write_text(text, encoding="utf-8")
    result = invoke("resume", tmp_path)
    assert (result.exit_code, "no run or study that could go on" in result.stderr) == (2, True)


def test_a_grid_that_was_changed_is_another_problem(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    net = load_case("ieee14").net()
    pandapower.to_json(net, str(path))
    killed(10, "solve", "orpd", "--case", path, "--checkpoint-every", "5", "--evals", "100",
           "--out", tmp_path / "out")  # fmt: skip
    (folder,) = (tmp_path / "out").iterdir()
    before = (folder / "evaluations.bin").read_bytes()
    net.load.loc[0, "p_mw"] *= 1.01
    pandapower.to_json(net, str(path))
    result = invoke("resume", folder)
    assert (result.exit_code, "of another problem" in result.stderr) == (2, True), result.output
    assert (folder / "evaluations.bin").read_bytes() == before
    path.unlink()
    assert invoke("resume", folder).exit_code == 2


def test_another_version_is_named_and_may_be_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path, "--evals", "90")
    now = checkpoints.versions()
    monkeypatch.setattr(checkpoints, "versions", lambda: {**now, "pymoo": "0.6.9"})
    result = invoke("resume", folder)
    assert result.exit_code == 2
    assert f"made with pymoo {now['pymoo']} (now 0.6.9)" in result.stderr
    assert invoke("resume", folder, "--mixed-versions", "--quiet").exit_code == 0


def test_two_processes_do_not_write_to_one_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="platform: no locks of files")
    folder = begun(tmp_path)
    problem = ReactivePowerDispatch("ieee14")
    same = {"algorithm": "mvmo", "population": None, "evals": 5000, "seed": 1}
    with Checkpoint(folder / "evaluations.bin", problem, told=same):
        result = invoke("resume", folder)
    assert result.exit_code == 2
    assert "still going, in another process" in result.stderr


def test_nsga3_says_why_it_cannot_be_continued(tmp_path: Path) -> None:
    asked = ("solve", "orpd", "--case", "ieee14", "--objective", "p_loss_mw,l_index")
    asked += ("--algorithm", "nsga3", "--evals", "100", "--out", str(tmp_path))
    result = invoke(*asked, "--checkpoint-every", "10")
    assert result.exit_code == 2
    assert "nsga3 cannot be continued: NSGA3 also draws from a generator" in result.stderr


# -- in Python ----------------------------------------------------------------------------------


def of_name(name: str, problem: Problem) -> Algorithm:
    """An algorithm with small generations."""
    return ALGORITHMS[name](problem, **({"pop_size": 10} if name in ("ga", "mixed-ga") else {}))


def run(problem: Problem, algorithm: str, path: Path, evals: int = 120, **how: Any) -> Result:
    """A run with a checkpoint."""
    with Checkpoint(path, problem, **how) as checkpoint:
        made = of_name(algorithm, problem)
        return minimize(problem, made, ("n_eval", evals), seed=1, evaluator=checkpoint.evaluator)


def same(first: Result, second: Result) -> bool:
    return bool(
        np.array_equal(first.F, second.F)
        and str(first.X) == str(second.X)
        and first.pop.get("F").tobytes() == second.pop.get("F").tobytes()
        and first.pop.get("G").tobytes() == second.pop.get("G").tobytes()
    )


@pytest.mark.parametrize(
    ("problem", "algorithm"),
    [
        (get_problem("rastrigin"), "hs"),
        (get_problem("zdt1"), "nsga2"),
        (get_problem("g1"), "mvmo"),
        (Reconfiguration("case33bw"), "mixed-ga"),
        (DERAllocation("lv18"), "permutation-ga"),
    ],
    ids=["rastrigin", "zdt1", "g1", "case33bw", "lv18"],
)
def test_any_problem_goes_on_at_any_byte(problem: Problem, algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "run.bin"
    plain = minimize(problem, of_name(algorithm, problem), ("n_eval", 120), seed=1)
    assert same(run(problem, algorithm, path), plain)
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.1, 0.5, 0.77, 0.999, 1.0):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert same(run(problem, algorithm, path, every=1), plain)
        assert same(run(problem, algorithm, path), plain)  # all of it from the file


def test_evaluations_of_the_file_are_not_made_again(tmp_path: Path) -> None:
    problem = ReactivePowerDispatch("ieee14")
    run(problem, "hs", tmp_path / "run.bin")
    counted = problem.counts.as_dict()
    fresh = ReactivePowerDispatch("ieee14")
    solved: list[int] = []
    made = fresh.engine.solve
    fresh.engine.solve = lambda settings: solved.append(1) or made(settings)  # type: ignore[func-returns-value]
    result = run(fresh, "hs", tmp_path / "run.bin")
    assert result.algorithm.evaluator.n_eval == 120
    assert not solved
    assert {**fresh.counts.as_dict(), "power_flows": 0} == {**counted, "power_flows": 0}


def test_a_changed_byte_ends_what_is_used_of_a_file(tmp_path: Path) -> None:
    problem = get_problem("rastrigin")
    path = tmp_path / "run.bin"
    plain = run(problem, "ga", path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with Checkpoint(path, problem) as checkpoint:
        assert 0 < checkpoint.n_kept < 120
    assert same(run(problem, "ga", path), plain)


def test_other_runs_and_other_files_are_refused(tmp_path: Path) -> None:
    problem, path = get_problem("rastrigin"), tmp_path / "run.bin"
    run(problem, "ga", path)
    with pytest.raises(CheckpointError, match="asks for other points"):
        run(problem, "hs", path)
    with pytest.raises(CheckpointError, match="of another problem"):
        Checkpoint(path, get_problem("rastrigin", n_var=3))
    with pytest.raises(ValueError, match="every: expected a whole number from 1 on"):
        Checkpoint(path, problem, every=0)
    other = tmp_path / "notes.txt"
    other.write_text("these are my notes")
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        Checkpoint(other, problem)
    assert other.read_text() == "these are my notes"
    data = bytearray(path.read_bytes())
    data[40] ^= 1  # the head
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="its head cannot be read"):
        Checkpoint(path, problem)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"arrays": [["F", "|O8", "C", [10, 1], "raw", 80]], "counts": {}}',
        b'{"arrays": [["F", "<f8", "C", [1000000000, 1000000000], "zlib", 8]], "counts": {}}',
        b'{"arrays": [["F", "<f8", "C", [-1, 10], "raw", 80]], "counts": {}}',
        b'{"arrays": [["F", "<f8", "C", [10, 1], "raw", 8]], "counts": {}}',
        b'{"arrays": [["F", "<f8", "C", ["a"], "raw", 8]], "counts": {}}',
    ],
)
def test_files_of_strangers_end_in_one_error(head: bytes, tmp_path: Path) -> None:
    problem, path = get_problem("rastrigin"), tmp_path / "run.bin"
    run(problem, "ga", path)
    frames, digest = path.read_bytes(), checkpoints._RECORD
    start = len(checkpoints._MAGIC)
    length, _ = struct.unpack_from("<II", frames, start)
    end = start + 8 + length
    elapsed, n, asked, _ = digest.unpack_from(frames, end + 8)
    record = digest.pack(elapsed, n, asked, len(head)) + head + b"\0" * 80
    path.write_bytes(frames[:end] + struct.pack("<II", len(record), zlib.crc32(record)) + record)
    with pytest.raises(CheckpointError, match="damaged"):
        run(problem, "ga", path)


def test_a_full_disk_ends_the_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, path = get_problem("rastrigin"), tmp_path / "run.bin"
    plain = run(problem, "ga", tmp_path / "whole.bin")
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 3_000)
    with pytest.warns(UserWarning, match="as large as it may be"):
        assert same(run(problem, "ga", path, every=1), plain)
    assert 0 < path.stat().st_size <= 3_000
    monkeypatch.undo()
    assert same(run(problem, "ga", path), plain)
    resource = pytest.importorskip("resource", reason="platform: no limits of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))
    try:
        with pytest.warns(UserWarning, match="File too large"):
            assert same(run(problem, "ga", tmp_path / "full.bin", every=1), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Checkpoint(tmp_path / "full.bin", problem) as checkpoint:
        assert 0 < checkpoint.n_kept < 120
    assert same(run(problem, "ga", tmp_path / "full.bin"), plain)


def test_a_folder_that_is_gone_or_read_only_ends_the_checkpoint_only(tmp_path: Path) -> None:
    problem = get_problem("rastrigin")
    with pytest.warns(UserWarning, match="No such file or directory"):
        run(problem, "ga", tmp_path / "nowhere" / "run.bin", every=1)
    plain = run(problem, "ga", tmp_path / "run.bin", evals=60)
    (tmp_path / "run.bin").chmod(0o400)  # which root may write to all the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert same(run(problem, "ga", tmp_path / "run.bin", evals=60), plain)


def test_limits_in_time_are_named() -> None:
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.termination import get_termination

    assert why_not(GA()) == ""
    assert why_not(GA(), get_termination("n_eval", 100)) == ""
    assert "a limit in time" in why_not(GA(), get_termination("time", "00:00:10"))
    assert "a limit in time" in why_not(MVMO(termination=get_termination("time", 10)))


# -- studies ------------------------------------------------------------------------------------


def same_outcome(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes agree to the last bit, times aside."""
    return bool(
        (one.status, one.evaluations, one.infeasible, one.diverged, one.violation)
        == (other.status, other.evaluations, other.infeasible, other.diverged, other.violation)
        and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in ("F", "X", "G")
        )
        and np.array_equal(np.delete(one.curve, 1, axis=1), np.delete(other.curve, 1, axis=1))
    )


@pytest.mark.parametrize(
    ("algorithm", "problem"),
    [
        ("hs?pop_size=10", "orpd:ieee14"),
        ("nsga2?pop_size=20", "orpd:ieee14?objectives=p_loss_mw,l_index"),
        ("cmaes", "rosenbrock"),
    ],
)
def test_a_run_of_a_study_goes_on(algorithm: str, problem: str, tmp_path: Path) -> None:
    spec: str | bytes = problem if ":" in problem else portable(get_problem(problem))
    job = Job("p", "a", 2, 205, spec, algorithm)
    _, expected = run_job(job)
    assert expected.status == "finished", expected.traceback
    kept = replace(job, checkpoint=str(tmp_path / "run.bin"), checkpoint_every=1)
    if not hasattr(os, "fork"):
        pytest.skip("platform: no fork")
    for at in (4, 3):
        child = os.fork()
        if child == 0:
            sent(signal.SIGKILL, at)()
            run_job(kept)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with Checkpoint(kept.checkpoint, fresh_problem(spec)) as checkpoint:
        n_kept = checkpoint.n_kept
    assert 0 < n_kept < 205
    _, resumed = run_job(kept)
    assert same_outcome(resumed, expected)
    assert (np.diff(resumed.curve[:, 1]) >= 0).all()
    with Checkpoint(kept.checkpoint, fresh_problem(spec)) as checkpoint:
        assert checkpoint.n_kept == 205


def test_a_run_that_goes_another_way_begins_again(tmp_path: Path) -> None:
    job = Job("p", "a", 2, 105, "orpd:ieee14", "hs?pop_size=10")
    kept = replace(job, checkpoint=str(tmp_path / "run.bin"), checkpoint_every=1)
    run_job(replace(kept, seed=3))
    assert same_outcome(run_job(kept)[1], run_job(job)[1])
    (tmp_path / "run.bin").write_text("no checkpoint")
    assert same_outcome(run_job(kept)[1], run_job(job)[1])


def test_a_killed_comparison_is_resumed(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("platform: no fork")
    asked = ("orpd:ieee14", "--algorithms", "mvmo,hs?pop_size=10", "--seeds", "2")
    asked += ("--evals", "2000", "--checkpoint-every", "20", "--quiet")
    assert invoke("compare", *asked, "--out", tmp_path / "whole").exit_code == 0
    out = tmp_path / "killed"
    child = os.fork()
    if child == 0:
        invoke("compare", *asked, "--out", out)
        os._exit(0)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(path.stat().st_size > 50_000 for path in out.glob("study-runs/*.bin")):
            break
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (out / "study.json").is_file()
    assert list(out.glob("study-runs/*.bin"))
    result = invoke("resume", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "study.db"]
    whole, resumed = Results(tmp_path / "whole").runs, Results(out).runs
    assert len(whole) == 4
    found = {run.key: run.outcome for run in resumed}
    assert all(same_outcome(found[run.key], run.outcome) for run in whole)
    result = invoke("resume", out)
    assert (result.exit_code, "the study has finished" in result.stderr) == (0, True)
    added = ("orpd:ieee14", "--algorithms", "pso", "--seeds", "2", "--evals", "2000", "--quiet")
    more = invoke("compare", *added, "--out", out)
    assert more.exit_code == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("mvmo", "hs?pop_size=10", "pso"))  # all of the folder


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 1, "plans": 3}',
        '{"format": 1, "plans": [{"problems": {}}]}',
        '{"format": 1, "plans": [{"problems": {"a": 1}, "algorithms": {}, "seeds": [], '
        '"n_evals": {}, "timeout_s": null, "checkpoint_every": null, "folder": ""}]}',
    ],
)
def test_plans_of_strangers_end_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(text, encoding="utf-8")
    result = invoke("resume", tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
    assert "study.json: " in result.stderr
