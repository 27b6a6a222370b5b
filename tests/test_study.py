"""Studies: what a run keeps, that it depends on its key alone, that nothing finished is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.algorithms.soo.nonconvex.nelder import NelderMead
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import ElementwiseProblem, Problem
from pymoo.core.variable import Choice, Integer, Real
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from algorithms import ALGORITHMS
from gridproblems.study import Results, Study
from gridproblems.study import store as store_module
from gridproblems.study.analyse import table
from gridproblems.study.report import write_report
from gridproblems.study.run import Job, Outcome, run_job
from gridproblems.study.specs import described, portable
from gridproblems.study.store import RunKey, Store

BUDGET = 130


class Slope(ElementwiseProblem):
    """Minimise x + y above a line; by hand: 1 at x + y = 1."""

    def __init__(self) -> None:
        super().__init__(n_var=2, n_obj=1, n_ieq_constr=1, xl=0.0, xu=1.0)

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"], out["G"] = x.sum(), 1.0 - x.sum()


class Broken(Slope):
    """Raises until a file exists."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if not os.path.exists(self.path):
            raise RuntimeError("the simulator is not there")
        super()._evaluate(x, out)


class Counted(Slope):
    """Writes a byte into a file for every evaluation, wherever it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        with open(self.path, "ab") as file:
            file.write(b".")
        super()._evaluate(x, out)


class Undefined(Slope):
    """NaN on half of its domain."""

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._evaluate(x, out)
        out["F"] = np.nan if x[0] < 0.5 else x.sum()


class Mixed(ElementwiseProblem):
    """Variables as a dict."""

    def __init__(self) -> None:
        variables = {
            "r": Real(bounds=(0, 1)),
            "i": Integer(bounds=(0, 5)),
            "c": Choice(options=["a", "b"]),
        }
        super().__init__(vars=variables, n_obj=1)

    def _evaluate(self, X: dict[str, Any], out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = X["r"] + X["i"] + (X["c"] == "b")


def same_but_times(first: Outcome, second: Outcome) -> bool:
    """Whether two outcomes agree in every bit, times and machine aside."""
    arrays = all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("F", "G", "X")
    ) and np.array_equal(np.delete(first.curve, 1, axis=1), np.delete(second.curve, 1, axis=1))
    names = ("status", "traceback", "evaluations", "infeasible", "diverged", "cached", "violation")
    return arrays and all(getattr(first, name) == getattr(second, name) for name in names)


def outcomes(path: Path) -> dict[RunKey, Outcome]:
    with Store(path, read_only=True) as store:
        return {run.key: run.outcome for run in store.runs()}


def job(problem: Any, algorithm: Any, budget: int = BUDGET, seed: int = 1) -> Job:
    return Job("p", "a", seed, budget, portable(problem), portable(algorithm))


# -- a run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n in ALGORITHMS if n not in ("mixed-ga", "permutation-ga", "order-ga", "nsga3")]
)
def test_the_budget_is_kept_exactly(name: str) -> None:
    _, outcome = run_job(job("orpd:ieee14", name))
    assert outcome.traceback == ""
    assert outcome.evaluations == BUDGET  # 130 is in the middle of a generation of 100


@pytest.mark.parametrize(
    "make", [lambda p, n: CMAES(), lambda p, n: NelderMead(), lambda p, n: GA(pop_size=100)]
)
def test_the_problem_is_never_asked_more_often_than_the_budget(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    _, outcome = run_job(job(lambda: Counted(str(asked)), make, budget=37))
    assert outcome.status == "finished", outcome.traceback
    assert asked.stat().st_size == outcome.evaluations <= 37


def test_what_is_kept_is_what_pymoo_evaluated() -> None:
    seen: list[tuple[float, float, np.ndarray]] = []

    def watch(population: Any) -> None:
        seen.extend((i.F[0], i.CV[0], i.X.copy()) for i in population)

    problem = Slope()
    minimize(problem, GA(pop_size=20), ("n_eval", 100), seed=3, evaluator=Evaluator(callback=watch))
    _, outcome = run_job(job(Slope, lambda p, n: GA(pop_size=20), budget=100, seed=3))
    feasible = [(f, x) for f, cv, x in seen if cv <= 0]
    best, x = min(feasible, key=lambda pair: pair[0])
    assert outcome.F.tolist() == [[best]]
    assert outcome.X.tolist() == [x.tolist()]
    assert outcome.G.tolist() == [[1.0 - x.sum()]]
    assert outcome.infeasible == len(seen) - len(feasible) > 0
    running = np.inf
    steps = []
    for number, (f, cv, _) in enumerate(seen, start=1):
        if cv <= 0 and f < running:
            running = f
            steps.append((number, f))
    reached = outcome.curve[outcome.curve[:, 2] <= 0]
    assert [(int(r[0]), r[3]) for r in reached] == steps
    assert (np.diff(outcome.curve[:, 0]) >= 0).all()
    assert (np.diff(outcome.curve[:, 1]) >= 0).all()
    assert outcome.curve[-1, 1] <= outcome.run_time_s


def test_points_without_finite_objectives_are_counted_and_never_kept() -> None:
    _, outcome = run_job(job(Undefined, lambda p, n: GA(pop_size=20), budget=60))
    assert outcome.diverged > 0
    assert np.isfinite(outcome.F).all()


def test_variables_as_a_dict_are_kept(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db", {"mixed": Mixed}, ["mixed-ga", "hs"], seeds=2, n_evals=60)
    study.run(progress=False)
    front = study.results().front("mixed")
    assert list(front.columns[:4]) == ["f1", "r", "i", "c"]
    assert front.f1[0] == front.r[0] + front.i[0] + (front.c[0] == "b")


def test_a_run_leaves_the_global_generators_alone() -> None:
    random.seed(5), np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5), np.random.seed(5)  # noqa: NPY002
    run_job(job(Slope, lambda p, n: CMAES(), budget=20))
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_counts_do_not_depend_on_earlier_runs() -> None:
    cached = "reconfiguration:case16?cache=true"
    first = run_job(job(cached, "pso"))[1]
    second = run_job(job(cached, "pso"))[1]
    assert first.cached == second.cached > 0
    assert same_but_times(first, second)


def test_gradients_and_processor_time_are_counted_and_shown(tmp_path: Path) -> None:
    algorithms = ["hs", "hs?gradients=false"]
    study = Study(tmp_path / "s.db", ["orpd:ieee14"], algorithms, seeds=2, n_evals=120)
    study.run(progress=False)
    found = outcomes(tmp_path / "s.db")
    assert all(outcome.processor_time_s > 0.0 for outcome in found.values())
    for key, outcome in found.items():
        assert (0 < outcome.gradients < 120) == (key.algorithm == "hs")
    shown = table(Results(tmp_path / "s.db")).set_index("algorithm")
    assert shown.gradients["hs"] > 0.0 == shown.gradients["hs?gradients=false"]
    assert (shown.processor_s > 0.0).all()
    page = write_report(Results(tmp_path / "s.db"), tmp_path / "report.html")
    assert ">gradients</th>" in page.read_text(encoding="utf-8")


# -- a study --------------------------------------------------------------------------------------


def small(path: Path, **changes: Any) -> Study:
    arguments: dict[str, Any] = {
        "problems": {"line": Slope, "g1": lambda: get_problem("g1")},
        "algorithms": {
            "ga": "ga",
            "cmaes": "cmaes",
            "small ga": lambda problem, n_evals: GA(pop_size=max(4, n_evals // 20)),
        },
        "seeds": 3,
        "n_evals": 70,
    }
    return Study(path, **{**arguments, **changes})


def test_parallel_equals_serial_bit_for_bit(tmp_path: Path) -> None:
    small(tmp_path / "serial.db").run(progress=False)
    small(tmp_path / "parallel.db").run(n_jobs=2, progress=False)
    serial, parallel = outcomes(tmp_path / "serial.db"), outcomes(tmp_path / "parallel.db")
    assert len(serial) == 18
    assert serial.keys() == parallel.keys()
    assert all(same_but_times(serial[key], parallel[key]) for key in serial)


def test_evaluations_are_spread_where_runs_are_fewer_than_workers(tmp_path: Path) -> None:
    for jobs in (1, 2):
        study = Study(tmp_path / f"{jobs}.db", ["orpd:ieee14"], ["ga"], seeds=1, n_evals=150)
        study.run(n_jobs=jobs, progress=False)
    (serial,), (spread,) = (outcomes(tmp_path / f"{jobs}.db").values() for jobs in (1, 2))
    assert same_but_times(serial, spread)


def test_only_what_is_missing_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    ran: list[RunKey] = []
    small(path, seeds=[1, 2]).run(progress=False, on_outcome=lambda key, _: ran.append(key))
    assert len(ran) == 12
    before = outcomes(path)
    ran.clear()
    grown = small(path, seeds=[2, 3])
    assert {key.seed for key in grown.missing()} == {3}
    grown.run(progress=False, on_outcome=lambda key, _: ran.append(key))
    assert [key.seed for key in ran] == [3] * 6
    after = outcomes(path)
    assert all(before[key].run_time_s == after[key].run_time_s for key in before)
    assert len(grown.results().runs) == 12  # seeds 2 and 3; the file holds seed 1 too
    assert len(Results(path).runs) == 18


@pytest.mark.parametrize(
    "change",
    [
        {"n_evals": 71},
        {"algorithms": {"ga": "ga?pop_size=30"}},
        {"algorithms": {"other": "ga"}},
        {"problems": {"line": "reconfiguration:case33bw"}},
        {"problems": {"other": Slope}},
        {"seeds": [9]},
    ],
)
def test_a_run_is_another_one_if_any_part_of_its_key_is(tmp_path: Path, change: Any) -> None:
    base = {"problems": {"line": Slope}, "algorithms": {"ga": "ga"}, "seeds": [1]}
    small(tmp_path / "s.db", **base).run(progress=False)
    assert not small(tmp_path / "s.db", **base).missing()
    assert len(small(tmp_path / "s.db", **{**base, **change}).missing()) == 1


def test_a_failed_run_is_kept_stops_nobody_and_is_repeated(tmp_path: Path) -> None:
    switch = str(tmp_path / "switch")
    problems = {"broken": lambda: Broken(switch), "line": Slope}

    def study() -> Study:
        return Study(tmp_path / "s.db", problems, ["ga"], seeds=2, n_evals=30)

    study().run(progress=False)
    statuses = {(k.problem, k.seed): o.status for k, o in outcomes(tmp_path / "s.db").items()}
    assert statuses == {
        ("broken", 1): "failed",
        ("broken", 2): "failed",
        ("line", 1): "finished",
        ("line", 2): "finished",
    }
    failed = [o for k, o in outcomes(tmp_path / "s.db").items() if k.problem == "broken"]
    assert "RuntimeError: the simulator is not there" in failed[0].traceback
    table = study().table().set_index("problem")
    assert table.failed["broken"] == 2
    assert table.runs["broken"] == 0
    Path(switch).touch()
    assert {key.problem for key in study().missing()} == {"broken"}
    study().run(progress=False)
    assert {o.status for o in outcomes(tmp_path / "s.db").values()} == {"finished"}
    assert not study().missing()


def test_the_bar_names_the_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = {"broken": lambda: Broken(str(tmp_path / "never"))}
    Study(tmp_path / "s.db", problems, ["ga"], seeds=1, n_evals=30).run()
    shown = capsys.readouterr().err
    assert "failed: broken ga seed 1: RuntimeError: the simulator is not there" in shown
    assert "1/1 runs" in shown


def test_plan_says_what_would_run_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    plan = small(path).plan()
    assert plan.missing.tolist() == [3] * 6
    assert (plan.s_per_run > 0).all()
    assert not path.exists()
    small(path, seeds=[1]).run(progress=False)
    plan = small(path).plan(n_jobs=2)
    assert plan.stored.tolist() == [1] * 6
    assert plan.missing.tolist() == [2] * 6
    assert plan.s.to_numpy() == pytest.approx(plan.s_per_run.to_numpy())  # 2 runs on 2 workers
    stored = {(k.problem, k.algorithm): o.run_time_s for k, o in outcomes(path).items()}
    first = plan.iloc[0]
    assert first.s_per_run == stored[first.problem, first.algorithm]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": {}}, "problems: expected at least one"),
        ({"problems": [Slope]}, "a name for each callable"),
        ({"problems": ["orpd:ieee14", "orpd:ieee14"]}, "expected each once"),
        ({"problems": ["orpd"]}, "expected task:case"),
        ({"problems": ["orpd:iee39"]}, r"did you mean 'ieee39'"),
        ({"problems": ["opd:ieee39"]}, r"did you mean 'orpd'"),
        ({"problems": ["orpd:ieee14?objectve=l_index"]}, r"did you mean 'objectives'"),
        ({"problems": ["orpd:ieee14?objectives"]}, r"expected name\?option=value"),
        ({"problems": {"x": lambda: 3}}, "make pymoo problems, got 3"),
        ({"algorithms": ["mvno"]}, r"did you mean 'mvmo'"),
        ({"algorithms": {"x": lambda p, n: 3}}, "make pymoo algorithms, got 3"),
        ({"algorithms": {"x": 3}}, "expected text or a callable"),
        ({"seeds": 0}, "seeds: expected"),
        ({"seeds": [1, 1]}, "seeds: expected"),
        ({"seeds": [-1]}, "seeds: expected"),
        ({"n_evals": 0}, "n_evals: expected at least 1"),
        ({"n_evals": {"line": 5}}, "n_evals: expected"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(tmp_path / "s.db", **change)
    assert not (tmp_path / "s.db").exists()


def test_an_algorithm_that_cannot_solve_a_problem_is_refused_at_once(tmp_path: Path) -> None:
    problem = "reconfiguration:case33bw?objectives=p_loss_kw,switching_actions"
    with pytest.raises(ValueError, match="ga: expected a problem with one objective, got 2"):
        Study(tmp_path / "s.db", [problem], ["ga"])


def test_the_description_of_a_problem_does_not_depend_on_how_it_is_written() -> None:
    one = "reconfiguration:case33bw?objectives=p_loss_kw,v_min_pu&coding=loops"
    two = 'reconfiguration:case33bw?coding="loops"&objectives=["p_loss_kw","v_min_pu"]'
    assert (
        described(one)
        == described(two)
        == ("reconfiguration:case33bw?coding=loops&objectives=p_loss_kw,v_min_pu")
    )
    assert described(described(one)) == described(one)


# -- the file -------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_went_in(tmp_path: Path) -> None:
    key = RunKey("p", "s", "a", '{"k": 1}', 7, 9)
    rng = np.random.default_rng(1)
    outcome = Outcome(
        "finished", "", 9, 3, 2, 1, 0.25, 4, 0.5, 0.0, rng.random((2, 2)), rng.random((2, 5)),
        rng.random((2, 3)), rng.random((4, 5)), {"numpy": "2"},
    )  # fmt: skip
    with Store(tmp_path / "new" / "s.db") as store:
        store.set_problem("p", "s", {"objectives": ["f1"]})
        store.add(key, outcome)
        (run,) = store.runs()
        assert run.key == key
        assert run.outcome.machine == {"numpy": "2"}
        assert same_but_times(run.outcome, outcome)
        assert (run.outcome.gradients, run.outcome.processor_time_s) == (4, 0.5)
        assert np.array_equal(run.outcome.curve, outcome.curve)
        assert store.keys() == {key}
        assert store.problems() == {("p", "s", ""): {"objectives": ["f1"]}}
        assert store.times() == {("p", "s", "a", '{"k": 1}', 9): 0.25}


def test_a_finished_run_is_never_overwritten_a_failed_one_is(tmp_path: Path) -> None:
    key = RunKey("p", "s", "a", "{}", 1, 9)
    with Store(tmp_path / "s.db") as store:
        store.set_problem("p", "s", {})
        store.add(key, Outcome(status="failed", traceback="oh"))
        store.add(key, Outcome(evaluations=1))
        store.add(key, Outcome(evaluations=2))
        (run,) = store.runs()
        assert (run.outcome.status, run.outcome.evaluations) == ("finished", 1)


def test_a_run_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.set_problem("p", "s", {})
        bad = Outcome(machine={"new": "machine"}, run_time_s=np.nan)  # NaN is NULL in SQLite
        with pytest.raises(sqlite3.IntegrityError, match="run_time_s"):
            store.add(RunKey("p", "s", "a", "{}", 1, 9), bad)
        assert store._db.execute("SELECT * FROM machines").fetchall() == []
        with pytest.raises(ValueError, match="problem 'unknown'"):
            store.add(RunKey("unknown", "s", "a", "{}", 1, 9), Outcome())
        assert list(store.runs()) == []
        store.add(RunKey("p", "s", "a", "{}", 1, 9), Outcome())
        assert len(list(store.runs())) == 1


def test_the_file_is_in_wal_mode_and_knows_its_version(tmp_path: Path) -> None:
    Store(tmp_path / "s.db").close()
    db = sqlite3.connect(tmp_path / "s.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone() == (len(store_module.MIGRATIONS),)
    db.close()


def test_an_old_file_opens_in_a_newer_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    small(path, seeds=[1]).run(progress=False)
    before = outcomes(path)
    newer = (
        *store_module.MIGRATIONS,
        "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT 'none'; CREATE TABLE t (a TEXT)",
    )
    monkeypatch.setattr(store_module, "MIGRATIONS", newer)
    with Store(path) as store:
        assert store._db.execute("SELECT DISTINCT note FROM runs").fetchall() == [("none",)]
    assert all(same_but_times(before[key], outcome) for key, outcome in outcomes(path).items())
    assert not small(path, seeds=[1]).missing()
    monkeypatch.undo()
    with pytest.raises(ValueError, match=f"is of schema version {len(newer)}, this program knows"):
        Store(path)


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    small(path, seeds=[1]).run(progress=False)
    bad = (
        *store_module.MIGRATIONS,
        "CREATE TABLE t (a TEXT); ALTER TABLE missing ADD COLUMN b TEXT",
    )
    monkeypatch.setattr(store_module, "MIGRATIONS", bad)
    with pytest.raises(ValueError, match="no such table: missing"):
        Store(path)
    monkeypatch.undo()
    assert len(outcomes(path)) == 6


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to look at" * 50)
    with pytest.raises(ValueError, match="is not the file of a study"):
        Store(tmp_path / "text.db")
    db = sqlite3.connect(tmp_path / "other.db")
    db.execute("CREATE TABLE mine (a TEXT)")
    db.close()
    with pytest.raises(ValueError, match="it has other tables"):
        Store(tmp_path / "other.db")
    with pytest.raises(FileNotFoundError, match="no study in"):
        Results(tmp_path)


# -- the end of the world -------------------------------------------------------------------------

DRIVER = """
import sys
from pymoo.problems import get_problem
from gridproblems.study import Study
study = Study(
    sys.argv[1],
    {"ackley": lambda: get_problem("ackley", n_var=5), "g1": lambda: get_problem("g1")},
    ["hs", "mvmo", "ga", "pso", "de", "cmaes"], seeds=5, n_evals=400,
)
print("ready", flush=True)
study.run(n_jobs=int(sys.argv[2]), progress=False)
"""


@contextmanager
def driving(script: Path, path: Path, n_jobs: int) -> Iterator[subprocess.Popen[str]]:
    """The study in a process of its own, from where it is about to run."""
    with subprocess.Popen(
        [sys.executable, str(script), str(path), str(n_jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def n_stored(path: Path) -> int:
    return len(outcomes(path)) if path.exists() else 0


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, n_kills: int) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    whole, killed = tmp_path / "whole.db", tmp_path / "killed.db"
    start = time.monotonic()
    with driving(script, whole, n_jobs=2) as process:
        assert process.wait() == 0
    some_runs_s = (time.monotonic() - start) / 18
    rng = random.Random(20)
    stored = [0]
    for attempt in range(n_kills):
        with driving(script, killed, n_jobs=2 if attempt % 5 == 0 else 1) as process:
            # wait for one new run, so that most kills meet a study at work
            while attempt % 3 and process.poll() is None and n_stored(killed) == stored[-1]:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, some_runs_s))
            process.send_signal(signal.SIGKILL)
        stored.append(n_stored(killed))
    assert stored == sorted(stored), "a finished run was lost"
    assert n_kills // 2 < stored[-1] < 60
    with driving(script, killed, n_jobs=2) as process:
        assert process.wait() == 0
    expected, resumed = outcomes(whole), outcomes(killed)
    assert len(expected) == 60
    assert resumed.keys() == expected.keys()
    assert [key for key in expected if not same_but_times(expected[key], resumed[key])] == []


def test_ctrl_c_keeps_what_is_finished_and_ends_at_once(tmp_path: Path) -> None:
    script, path = tmp_path / "driver.py", tmp_path / "s.db"
    script.write_text(DRIVER)
    for n_jobs in (1, 2):
        before = n_stored(path)
        with driving(script, path, n_jobs) as process:
            while process.poll() is None and n_stored(path) < before + 3:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == -signal.SIGINT
        assert before + 3 <= n_stored(path) < 60


def test_dask_cluster_of_two_processes_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["processes"] == 2
    assert report["driver"] not in report["workers"]
    serial, cluster = outcomes(tmp_path / "serial.db"), outcomes(tmp_path / "cluster.db")
    assert len(serial) == 12
    assert serial.keys() == cluster.keys()
    assert all(same_but_times(serial[key], cluster[key]) for key in serial)


CLUSTER = """
import json, os, sys
from pathlib import Path
import joblib
from distributed import Client, LocalCluster
from pymoo.problems import get_problem
from gridproblems.study import Study

folder = Path(sys.argv[1])

def make(path):
    problems = {"ackley": lambda: get_problem("ackley", n_var=5), "g1": lambda: get_problem("g1")}
    return Study(path, problems, ["ga", "cmaes"], seeds=3, n_evals=150)

if __name__ == "__main__":
    make(folder / "serial.db").run(progress=False)
    with (
        LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        workers = client.run(os.getpid)
        with joblib.parallel_config(backend="dask"):
            make(folder / "cluster.db").run(n_jobs=-1, progress=False)
    pids = sorted(workers.values())
    print(json.dumps({"processes": len(set(pids)), "workers": pids, "driver": os.getpid()}))
"""


# -- fronts ---------------------------------------------------------------------------------------


def test_the_exact_front_of_33_buses_is_recovered(tmp_path: Path) -> None:
    problem = "reconfiguration:case33bw?objectives=p_loss_kw,switching_actions"
    study = Study(tmp_path / "s.db", {"33": problem}, ["nsga2", "hs"], seeds=3, n_evals=3000)
    study.run(n_jobs=2, progress=False)
    front = study.results().front_with_settings("33")
    proven = study.results().reference("33")
    assert proven.status == "proven"
    assert front[["p_loss_kw", "switching_actions"]].to_numpy() == pytest.approx(
        proven.points, abs=1e-6
    )
    assert front.settings.iloc[-1] == "no change"
    assert front.settings.iloc[-2].count(";") == 1  # one line closes, one opens
    table = study.table()
    assert (table["median"] > 0.98).all()
    assert table.best.max() == pytest.approx(1.0, abs=1e-9)
    assert table.igd_plus.min() == pytest.approx(0.0, abs=1e-9)


def test_knee_and_extremes_of_a_front(tmp_path: Path) -> None:
    problems: dict[str, Callable[[], Problem]] = {"zdt1": lambda: get_problem("zdt1", n_var=5)}
    algorithms = {"nsga2": lambda problem, n_evals: NSGA2(pop_size=20)}
    study = Study(tmp_path / "s.db", problems, algorithms, seeds=2, n_evals=400)
    study.run(progress=False)
    front = study.results().front("zdt1")
    chosen = study.results().chosen("zdt1").set_index("choice")
    assert list(chosen.index) == ["knee", "lowest f1", "lowest f2"]
    assert chosen.f1["lowest f1"] == front.f1.min() == front.f1.iloc[0]
    assert chosen.f2["lowest f2"] == front.f2.min() == front.f2.iloc[-1]
    assert (np.diff(front.f2) < 0).all()


def test_an_algorithm_that_is_made_for_the_problem_is_one_row(tmp_path: Path) -> None:
    study = Study(
        tmp_path / "s.db",
        {"small": Slope, "large": lambda: get_problem("sphere", n_var=9)},
        {"ga": lambda problem, n_evals: GA(pop_size=4 * problem.n_var)},
        seeds=2,
        n_evals=80,
    )
    study.run(progress=False)
    assert study.results().algorithms == ["ga"]
    assert len(study.table()) == 2
