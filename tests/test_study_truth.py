"""Studies that tell the truth: what a run belongs to, runs that die, work that is shared."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import ElementwiseProblem
from pymoo.operators.mutation.pm import PM
from pymoo.problems import get_problem
from study_files import facts, finished, results

from algorithms import MVMO
from gridproblems import ReactivePowerDispatch
from gridproblems.study import Results, Study
from gridproblems.study.report import how_to_repeat
from gridproblems.study.run import Outcome
from gridproblems.study.specs import algorithm_of, problem_of
from gridproblems.study.store import RunKey, Store, this_process

LIMITS = {"vm_pu": (0.9, 1.1)}


def statuses(path: Path) -> dict[tuple[str, str, int], str]:
    with Store(path, read_only=True) as store:
        return {
            (r.key.problem, r.key.algorithm, r.key.seed): r.outcome.status for r in store.runs()
        }


def ran(study: Study) -> list[RunKey]:
    keys: list[RunKey] = []
    study.run(progress=False, on_outcome=lambda key, _: keys.append(key))
    return keys


# -- what a run belongs to ------------------------------------------------------------------------


def test_runs_of_a_net_do_not_stand_for_the_net_it_became(tmp_path: Path) -> None:
    file = tmp_path / "net.json"

    def study() -> Study:
        spec = {"mine": f"orpd:{file}?controls=gen"}
        return Study(tmp_path / "s.db", spec, ["ga"], seeds=1, n_evals=20)

    net = pn.case9()
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.1
    pp.to_json(net, str(file))
    first = study()
    assert len(ran(first)) == 1
    assert ran(study()) == []
    before = first.results().runs[0].outcome.F
    net.load.p_mw *= 1.2
    pp.to_json(net, str(file))
    second = study()
    assert len(ran(second)) == 1
    assert before != second.results().runs[0].outcome.F
    assert before == first.results().runs[0].outcome.F
    labels = [entry.label for entry in Results(tmp_path / "s.db").entries]
    assert len(set(labels)) == 2
    assert all("definition " in label for label in labels)
    net.load.p_mw *= 0.7
    pp.to_json(net, str(file))
    third = Study(tmp_path / "s.db", {"mine": f"orpd:{file}?controls=gen"}, ["ga"], 1, 20)
    net.load.p_mw *= 1.2
    pp.to_json(net, str(file))
    ran(third)
    failed = [run.outcome for run in third.results().runs]
    assert "a file behind it was changed" in failed[0].traceback


def test_an_algorithm_is_its_operators_too(tmp_path: Path) -> None:
    def study(eta: float) -> Study:
        algorithms = {"ga": lambda problem, n_evals: GA(pop_size=10, mutation=PM(eta=eta))}
        problems = {"sphere": lambda: get_problem("sphere", n_var=3)}
        return Study(tmp_path / "s.db", problems, algorithms, seeds=1, n_evals=30)

    assert len(ran(study(20))) == 1
    assert ran(study(20)) == []
    assert len(ran(study(5))) == 1
    assert len(set(Results(tmp_path / "s.db").algorithms)) == 2


def test_objects_are_accepted_as_they_are(tmp_path: Path) -> None:
    problem = ReactivePowerDispatch(pn.case9(), controls=("gen",), limits=LIMITS)
    problem.evaluate(problem.base_x[None, :])

    def study() -> Study:
        return Study(
            tmp_path / "s.db",
            problems={"a": problem, "g1": get_problem("g1")},
            algorithms={"mine": MVMO(), "ga": GA(pop_size=10)},
            seeds=2,
            n_evals=40,
        )

    assert len(ran(study())) == 8
    assert ran(study()) == []
    found = study().results()
    assert {run.outcome.status for run in found.runs} == {"finished"}
    seeds = [r.outcome.F[0, 0] for r in found.runs if (r.problem, r.algorithm) == ("a", "mine")]
    assert len(set(seeds)) == 2, "every run starts from a fresh algorithm"
    text = how_to_repeat(found)
    assert "'a': <your problem>" in text
    study().report(tmp_path / "r.html")


@pytest.mark.parametrize(
    ("problems", "algorithms", "message"),
    [
        ({"a": MVMO()}, ["ga"], "problems 'a': expected one of the problems"),
        ({"a": get_problem("g1")}, {"b": get_problem("g1")}, "algorithms 'b': expected one of"),
        ({"a": get_problem("g1"), "b": 3}, ["ga"], "problems 'b': expected text or a callable"),
    ],
)
def test_wrong_objects_are_named(
    tmp_path: Path, problems: Any, algorithms: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Study(tmp_path / "s.db", problems, algorithms)


def test_what_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    used = GA(pop_size=5)
    used.setup(get_problem("g1"))
    with pytest.raises(ValueError, match="GA ran already, expected a fresh one"):
        Study(tmp_path / "s.db", {"a": get_problem("g1")}, {"used": used})
    held = get_problem("g1")
    held.lock = threading.Lock()
    with pytest.raises(ValueError, match="cannot be sent to a worker"):
        Study(tmp_path / "s.db", {"a": held}, ["ga"])


def test_mixed_versions_are_said(tmp_path: Path) -> None:
    machines = [{"pymoo": "0.6.1"}, {"pymoo": "0.6.2"}]
    runs = {
        ("p", "a", seed): finished([[1, 0, 0, 1.0]], machine=machine)
        for seed, machine in enumerate(machines)
    }
    found = results(tmp_path / "s.db", {"p": facts()}, runs)
    from gridproblems.study.analyse import table

    assert "pymoo 0.6.1 (1 runs) and 0.6.2 (1 runs)" in " ".join(found.notes)
    assert table(found).versions.tolist() == ["pymoo 0.6.1 and 0.6.2"]
    same = {key: finished([[1, 0, 0, 1.0]], machine=machines[0]) for key in runs}
    assert "versions" not in table(results(tmp_path / "t.db", {"p": facts()}, same))


# -- runs that die --------------------------------------------------------------------------------


class Deadly(ElementwiseProblem):
    """Ends its process, exits, or hangs, until a file exists."""

    def __init__(self, how: str, switch: str) -> None:
        super().__init__(n_var=2, n_obj=1, xl=0.0, xu=1.0)
        self.how, self.switch = how, switch

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = x.sum()
        if os.path.exists(self.switch):
            return
        if self.how == "abort":
            os.abort()
        if self.how == "exit":
            sys.exit("no more")
        if self.how == "leave":
            os._exit(0)
        if self.how == "print":
            os.write(1, b"no outcome\n")
        if self.how == "hang":
            time.sleep(600)


@pytest.mark.parametrize("n_jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_runs_that_end_their_process_fail_alone_and_come_last(tmp_path: Path, n_jobs: int) -> None:
    switch = tmp_path / "switch"
    kinds = ["abort", "exit", "leave", "hang", "print"]

    def study() -> Study:
        problems = {how: Deadly(how, str(switch)) for how in kinds}
        problems |= {"good": get_problem("sphere", n_var=2)}
        return Study(tmp_path / "s.db", problems, ["ga"], seeds=1, n_evals=10, timeout_s=20.0)

    study().run(n_jobs=n_jobs, progress=False)
    found = statuses(tmp_path / "s.db")
    assert len(found) == 6
    assert {key[0] for key, status in found.items() if status == "finished"} == {"good", "print"}
    with Store(tmp_path / "s.db", read_only=True) as store:
        reasons = {run.key.problem: run.outcome.traceback for run in store.runs()}
    assert "killed by SIGABRT" in reasons["abort"]
    assert "SystemExit: no more" in reasons["exit"]
    assert "ended with exit code 0" in reasons["leave"]
    assert "longer than timeout_s = 20 s" in reasons["hang"]
    grown = Study(
        tmp_path / "s.db",
        {"abort": Deadly("abort", str(switch)), "new": get_problem("sphere", n_var=3)},
        ["ga"], seeds=1, n_evals=10,
    )  # fmt: skip
    assert [key.problem for key in grown.missing()] == ["new", "abort"]
    switch.touch()
    study().run(n_jobs=n_jobs, progress=False)
    assert set(statuses(tmp_path / "s.db").values()) == {"finished"}


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_a_time(tmp_path: Path, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s: expected more than 0 s"):
        Study(tmp_path / "s.db", ["orpd:ieee14"], ["ga"], timeout_s=timeout_s)


# -- sharing --------------------------------------------------------------------------------------

SHARED = """
import sys, time
from pymoo.core.problem import ElementwiseProblem
from gridproblems.study import Study

class Slow(ElementwiseProblem):
    def __init__(self, log):
        super().__init__(n_var=2, n_obj=1, xl=0.0, xu=1.0)
        self.log = log
    def _evaluate(self, x, out, *args, **kwargs):
        with open(self.log, "a") as file:
            file.write(".")
        time.sleep(0.02)
        out["F"] = x.sum()

study = Study(sys.argv[1], {"slow": Slow(sys.argv[2])}, ["ga", "pso"], seeds=8, n_evals=20)
print("ready", flush=True)
mine = []
study.run(progress=False, on_outcome=lambda key, outcome: mine.append(key))
print(len(mine), len(study.results().runs), len(study.missing()))
"""


def test_two_processes_share_the_runs_of_one_file(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SHARED, str(tmp_path / "s.db"), str(tmp_path / "log")]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    shares = []
    for process in both:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        done, stored, missing = map(int, out.splitlines()[-1].split())
        assert (stored, missing) == (16, 0), "both wait until all is done"
        shares.append(done)
    assert sum(shares) == 16
    assert min(shares) > 0
    assert (tmp_path / "log").stat().st_size == 16 * 20, "nothing was done twice"


def test_claims_of_the_dead_and_the_silent_are_void(tmp_path: Path) -> None:
    key = RunKey("p", "s", "a", "{}", 1, 9)
    me, other = this_process(), this_process()
    with Store(tmp_path / "s.db") as store:
        store.set_problem("p", "s", facts())
        assert store.claim(key, 0, me) == "mine"
        assert store.claim(key, 0, me) == "mine"
        assert store.claim(key, 0, other) == "others"
        store._db.execute("UPDATE claims SET seen_s = seen_s - 1000")
        assert store.claim(key, 0, other) == "mine"
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        host = me.split()[0]
        store._db.execute("UPDATE claims SET owner = ?", (f"{host} {gone.pid} 1",))
        assert store.claim(key, 0, me) == "mine"
        store._db.execute("UPDATE claims SET owner = 'elsewhere 1 1'")
        assert store.claim(key, 0, me) == "others"
        store.drop_claims("elsewhere 1 1")
        assert store.claim(key, 0, me) == "mine"
        store.add(key, Outcome(status="failed", traceback="oh"))
        assert store.claim(key, 0, me) == "done", "somebody tried it meanwhile"
        assert store.claim(key, store.last_id(), me) == "mine"
        store.add(key, Outcome())
        assert store.claim(key, 1, me) == "done"
        assert store._db.execute("SELECT * FROM claims").fetchall() == []


def test_a_run_that_was_tried_anew_has_a_new_number(tmp_path: Path) -> None:
    key = RunKey("p", "s", "a", "{}", 1, 9)
    with Store(tmp_path / "s.db") as store:
        store.set_problem("p", "s", facts())
        store.add(key, Outcome(status="failed"))
        first = store.last_id()
        store.add(key, Outcome(status="failed"))
        assert store.last_id() == first + 1


# -- nonsense in specifications -------------------------------------------------------------------

NONSENSE = [
    "3", "[]", "{}", "null", "true", "[[]]", '{"vm_pu":3}', '{"vm_pu":[1]}', '{"vm_pu":["a",2]}',
    '{"x":[0,1]}', '[["vm_pu",1,2,3]]', "-1", "1e999", "NaN", '"', "=", "[" * 5000, "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("option", ["limits", "controls", "objectives", "aggregate", "engine"])
@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_in_a_specification_is_one_line(option: str, value: str) -> None:
    try:
        problem_of(f"orpd:ieee14?{option}={value}")
    except ValueError as error:
        text = str(error)
    else:
        text = "fine"
    assert "\n" not in text


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("parameter", ["pop_size", "hmcr", "par"])
def test_nonsense_in_an_algorithm_is_one_line(parameter: str, value: str) -> None:
    problem = problem_of("orpd:ieee14")
    try:
        algorithm_of(f"hs?{parameter}={value}", problem, 10)
    except (ValueError, TypeError) as error:
        text = str(error)
    else:
        text = "fine"
    assert "\n" not in text
