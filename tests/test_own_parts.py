"""Parts of the user's own on the command line, and pymoo's test problems by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymoo.problems import get_problem
from typer.testing import CliRunner

from gridproblems import GridProblem, ReactivePowerDispatch, Reconfiguration, _own
from gridproblems.cli import app
from gridproblems.cli import names as known
from gridproblems.study import Results
from gridproblems.study.functions import FUNCTIONS

MINE = '''
import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import ElementwiseProblem
from beside import WEIGHT
from gridproblems import ReactivePowerDispatch

class MyGA(GA):
    """A genetic algorithm."""
    def __init__(self, pop_size=12, **options):
        super().__init__(pop_size=pop_size, **options)

def make_ga(problem, n_evals):
    return GA(pop_size=max(5, n_evals // 10))

class Sphere(ElementwiseProblem):
    """Sum of squares."""
    def __init__(self, n_var=3):
        super().__init__(n_var=n_var, n_obj=1, xl=-1.0, xu=1.0)
    def _evaluate(self, x, out, *args, **kwargs):
        out["F"] = WEIGHT * (x**2).sum()

def make():
    return Sphere(2)

def dispatch():
    return ReactivePowerDispatch("ieee14")

def spread(settings, state):
    return float(np.ptp(state.vm_pu))

def low(settings, state):
    return 1.0 - state.vm_pu.min()

def each(settings, state):
    return 0.95 - state.vm_pu[0]
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of parts of one's own in the present folder, and one that it imports."""
    (tmp_path / "my.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "beside.py").write_text("WEIGHT = 2.0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_own, "_TRUSTED", set())
    monkeypatch.setattr(_own, "_LOADED", {})
    return tmp_path


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def solved(*arguments: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and its ``result.json``."""
    asked = ("solve", *arguments, "--quiet", "--out", "out")
    result = invoke(*asked)
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    return folder, json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_algorithm_objective_and_constraint_of_ones_own(mine: Path) -> None:
    folder, result = solved(
        *("orpd", "--case", "ieee14", "--algorithm", "my.py:MyGA?pop_size=8", "--evals", "80"),
        *("--objective", "my.py:spread", "--constraint", "my.py:low"),
    )
    assert folder.name == "orpd-ieee14-MyGA-seed1"
    assert result["algorithm"]["parameters"]["pop_size"] == 8
    assert [entry["name"] for entry in result["objectives"]] == ["spread"]
    assert result["options"]["constraints"] == ["my.py:low"]
    import pandapower

    net = pandapower.from_json(str(folder / "net.json"))
    spread = net.res_bus.vm_pu.max() - net.res_bus.vm_pu.min()
    assert result["objectives"][0]["best"] == pytest.approx(spread, abs=1e-6)


def test_problems_of_ones_own(mine: Path) -> None:
    _, result = solved("--problem", "my.py:dispatch", "--evals", "30")
    assert result["case"] == "my.py:dispatch"
    assert result["objectives"][0]["name"] == "p_loss_mw"
    folder, result = solved("--problem", "my.py:Sphere?n_var=4", "--algorithm", "hs",
                            "--evals", "200")  # fmt: skip
    assert result["n_var"] == 4
    best = pd.read_csv(folder / "best.csv", float_precision="round_trip").iloc[0]
    assert best.f1 == pytest.approx(2.0 * (best[["x1", "x2", "x3", "x4"]] ** 2).sum())
    assert result["objectives"] == {"f1": best.f1}


def test_comparison_of_ones_own_parts_runs_them_in_workers(mine: Path) -> None:
    result = invoke(
        *("compare", "my.py:make", "orpd:ieee14?objectives=my.py:spread", "--algorithms"),
        *("my.py:MyGA?pop_size=8,my.py:make_ga", "--seeds", "2", "--evals", "40", "--jobs", "2"),
        *("--out", "out", "--quiet"),
    )
    assert result.exit_code == 0, result.output
    runs = Results("out").runs
    assert {run.outcome.status for run in runs} == {"finished"}, runs[0].outcome.traceback
    assert len(runs) == 8
    assert {run.key.spec for run in runs} == {
        "my.py:make", "orpd:ieee14?objectives=my.py:spread",
    }  # fmt: skip
    before = {run.key for run in runs}
    (mine / "my.py").write_text(MINE.replace("np.ptp", "2 * np.ptp"), encoding="utf-8")
    _own._LOADED.clear()
    again = invoke("compare", "orpd:ieee14?objectives=my.py:spread", "--algorithms", "hs",
                   "--seeds", "1", "--evals", "20", "--out", "out", "--quiet")  # fmt: skip
    assert again.exit_code == 0, again.output
    (added,) = [run.key for run in Results("out").runs if run.key not in before]
    assert added.problem_fingerprint not in {key.problem_fingerprint for key in before}


def test_a_run_of_a_stranger_runs_nothing_unless_it_is_named(mine: Path) -> None:
    asked = ("solve", "orpd", "--case", "ieee14", "--algorithm", "my.py:MyGA", "--evals", "40")
    assert invoke(*asked, "--out", "out", "--quiet").exit_code == 0
    (folder,) = (mine / "out").iterdir()
    text = {
        "format": 1, "task": "orpd", "case": "ieee14", "algorithm": "evil.py:MyGA", "evals": 40,
        "seed": 1, "objectives": [], "controls": [], "situations": None, "engine": "auto",
        "series": [], "constraints": [], "limit": [], "option": [], "jobs": 1, "population": None,
        "checkpoint_every": None, "problem": None, "folder": str(mine),
    }  # fmt: skip
    (mine / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n" + MINE)
    for change in (
        {},
        {"algorithm": "hs", "objectives": ["evil.py:spread"]},
        {"algorithm": "hs", "constraints": ["evil.py:low"]},
        {"algorithm": "hs", "option": ['objectives=["evil.py:spread"]']},
        {"algorithm": "hs", "option": ['constraints=["evil.py:low"]']},
        {"algorithm": "hs", "task": "grid", "case": "", "problem": "evil.py:make"},
        {"algorithm": "hs", "task": "grid", "case": "",
         "problem": "orpd:ieee14?objectives=evil.py:spread"},
    ):  # fmt: skip
        (folder / "run.json").write_text(json.dumps({**text, **change}), encoding="utf-8")
        result = invoke("resume", folder)
        assert result.exit_code == 2, (change, result.output)
        assert "--trust evil.py" in result.stderr
        assert not (mine / "ran").exists()
    (folder / "run.json").write_text(json.dumps(text), encoding="utf-8")
    result = invoke("resume", folder, "--trust", "evil.py", "--quiet")
    assert result.exit_code == 0, result.output
    assert (mine / "ran").exists()


def test_a_study_of_a_stranger_runs_nothing_unless_it_is_named(mine: Path) -> None:
    (mine / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n" + MINE)
    plan = {
        "problems": {"a": "evil.py:make"}, "algorithms": {"hs": "hs"}, "seeds": [1],
        "n_evals": {"a": 30}, "timeout_s": None, "checkpoint_every": None, "folder": str(mine),
    }  # fmt: skip
    (mine / "study.json").write_text(json.dumps({"format": 1, "plans": [plan]}))
    result = invoke("resume", mine)
    assert (result.exit_code, "--trust evil.py" in result.stderr) == (2, True), result.output
    assert not (mine / "ran").exists()
    assert invoke("resume", mine, "--trust", "evil.py", "--quiet").exit_code == 0
    assert (mine / "ran").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--algorithm", "your.py:MyGA"), "your.py: no such file"),
        (("--algorithm", "my.py:MyGa"), "no 'MyGa' (did you mean 'MyGA'?)"),
        (("--algorithm", "my.py:spread"), "algorithm 'my.py:spread': "),
        (("--algorithm", "my.py:Sphere"), "algorithm 'my.py:Sphere': "),
        (("--objective", "my.py:nothing"), "my.py: no 'nothing'"),
        (("--constraint", "low"), "expected file.py:name"),
        (("--constraint", "bad.py:low"), "bad.py: ZeroDivisionError: division by zero"),
        (("--problem", "my.py:make"), "expected no case beside it"),
    ],
)
def test_what_is_wrong_with_ones_own_parts_is_one_line(
    words: tuple[str, ...], message: str, mine: Path
) -> None:
    (mine / "bad.py").write_text("1 / 0\n")
    result = invoke("solve", "orpd", "--case", "ieee14", "--evals", "20", *words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
    assert message in result.stderr


def test_test_problems_of_pymoo_by_name(mine: Path) -> None:
    folder, result = solved("--problem", "zdt1?n_var=5", "--algorithm", "nsga2?pop_size=20",
                            "--evals", "200")  # fmt: skip
    front = pd.read_csv(folder / "front.csv")
    assert list(front.columns) == ["f1", "f2", "x1", "x2", "x3", "x4", "x5"]
    expected = get_problem("zdt1", n_var=5).evaluate(front.iloc[:, 2:].to_numpy())
    assert np.allclose(front.iloc[:, :2], expected)
    assert result["points"] == len(front) > 1
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "All trade-offs" in page
    assert not re.search(r"<script|src=\"http", page)
    _, result = solved("--problem", "rastrigin", "--algorithm", "mvmo", "--evals", "500")
    assert result["best_known"] == 0.0
    asked = ("rastrigin", "sphere?n_var=4", "--algorithms", "hs", "--seeds", "1", "--evals", "50")
    compared = invoke("compare", *asked, "--out", "both", "--quiet")
    assert compared.exit_code == 0, compared.output
    assert {run.key.spec for run in Results("both").runs} == {"rastrigin", "sphere?n_var=4"}


def test_every_listed_test_problem_is_one() -> None:
    n_obj = {"one objective": {1}, "two objectives": {2}}
    for kind, of_kind in FUNCTIONS.items():
        for name in of_kind:
            assert known.check_other_problem(name)
            assert get_problem(name).n_obj in n_obj.get(kind, set(range(3, 20))), name
    assert all(name in invoke("list").stdout for name in ("zdt1", "rastrigin", "welded_beam"))


# -- constraints in Python ----------------------------------------------------------------------


def low(settings: Any, state: Any) -> float:
    """The lowest voltage stays above 1.01 p.u."""
    return float(1.01 - state.vm_pu.min())


def each(settings: Any, state: Any) -> Any:
    """Every voltage does, in the first situation."""
    return 1.01 - state.vm_pu[0]


@pytest.mark.parametrize("task", [ReactivePowerDispatch, Reconfiguration, GridProblem])
def test_functions_are_constraints_as_they_are_objectives(task: Any) -> None:
    case = "case33bw" if task is Reconfiguration else "ieee14"
    more = {"controls": ["setpoints"]} if task is GridProblem else {}
    problem = task(case, constraints=[low, each], objectives=[low], **more)
    n_bus = len(problem.base_state.vm_pu[0])
    assert list(problem.constraint_names[-n_bus - 1 : -n_bus + 1]) == ["low", "each 0"]
    X = np.random.default_rng(1).uniform(problem.xl, problem.xu, (20, problem.n_var))
    F, G = problem.evaluate(X)
    solves = [problem.solves(x) for x in problem.joint.snap(X)]
    assert any(solves)
    for f, g, x, is_solved in zip(F, G, X, solves, strict=True):
        if is_solved:
            vm_pu = problem.solve(problem.joint.snap(x[None])[0]).vm_pu
            assert g[-n_bus - 1] == f[0] == 1.01 - vm_pu.min()
            assert g[-n_bus:] == pytest.approx(1.01 - vm_pu[0], abs=0.0)
    assert (
        problem.fingerprint()
        != task(case, constraints=[low], objectives=[low], **more).fingerprint()
    )


def test_constraints_that_are_none_are_named() -> None:
    def words(settings: Any, state: Any) -> str:
        return "low"

    def table(settings: Any, state: Any) -> Any:
        return state.vm_pu[:, :2] * [[1.0], [1.0]]

    def nothing(settings: Any, state: Any) -> float:
        return float("nan")

    for function, message in ((words, "got 'low'"), (table, r"got an array of \(2, 2\)")):
        with pytest.raises(ValueError, match=f"constraints: {function.__name__}: .*{message}"):
            ReactivePowerDispatch("ieee14", constraints=[function])
    problem = ReactivePowerDispatch("ieee14", constraints=[nothing])
    assert problem.evaluate(problem.base_x)[1][-1] == 1e3
