"""Fingerprints: equal for equal content, everywhere; another one for any other content."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pandas as pd
import pytest
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import ElementwiseProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.problems import get_problem

from algorithms import MVMO, HarmonySearch
from gridproblems import PROBLEMS, ReactivePowerDispatch, Reconfiguration, RegulatorControl
from gridproblems.fingerprint import fingerprint_of, fingerprint_of_problem

LIMITS = {"vm_pu": (0.9, 1.1)}


def net() -> pp.pandapowerNet:
    return pn.case9()


def dispatch(net: Any, **options: Any) -> ReactivePowerDispatch:
    return ReactivePowerDispatch(net, **{"controls": ("gen",), "limits": LIMITS, **options})


BASE = dispatch(net()).fingerprint()


def test_equal_content_wherever_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "moved" / "net.json"
    path.parent.mkdir()
    pp.to_json(net(), str(path))
    assert dispatch(net()).fingerprint() == BASE
    assert dispatch(str(path)).fingerprint() == BASE
    assert dispatch(net(), n_jobs=2).fingerprint() == BASE
    assert dispatch(net(), controls=("gen",), aggregate=False).fingerprint() == BASE
    solved = net()
    pp.runpp(solved)
    solved.name = "another name"
    solved.line = solved.line[reversed(solved.line.columns)]
    assert dispatch(solved).fingerprint() == BASE


def changed(table: str, column: str, value: Any) -> Callable[[], Any]:
    def make() -> Any:
        made = net()
        made[table].loc[made[table].index[-1], column] = value
        return made

    return make


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (changed("line", "r_ohm_per_km", 1.0), {}),
        (changed("load", "p_mw", 60.0 + 1e-9), {}),
        (changed("line", "in_service", False), {}),
        (changed("gen", "vm_pu", 1.01), {}),
        (net, {"limits": {"vm_pu": (0.9, 1.09)}}),
        (net, {"limits": {"vm_pu": (0.9, 1.1), "loading_percent": 90.0}}),
        (net, {"limits": {"vm_pu": (0.9, 1.1), "loading_percent": None}}),
        (net, {"objectives": "voltage_deviation_pu"}),
        (net, {"objectives": lambda settings, state: state.p_loss_mw.mean()}),
        (net, {"engine": "reference"}),
        (net, {"aggregate": True}),
    ],
)
def test_any_other_content_is_another_problem(make: Callable[[], Any], options: Any) -> None:
    assert dispatch(make(), **options).fingerprint() != BASE


def test_limits_count_as_they_hold_given_or_in_the_tables() -> None:
    assert set(net().line.max_loading_percent) == {100.0}
    given = dispatch(net(), limits={**LIMITS, "loading_percent": 100.0})
    assert given.fingerprint() == BASE
    assert given.limits[0][1].limits == dispatch(net()).limits[0][1].limits


def test_arguments_of_a_task_count_and_their_defaults_do_too() -> None:
    one = Reconfiguration("case33bw", objectives="energy_loss_kwh")
    assert one.fingerprint() != Reconfiguration("case33bw").fingerprint()
    assert one.fingerprint() == Reconfiguration("case33bw", ["energy_loss_kwh"]).fingerprint()
    other = Reconfiguration("case33bw", objectives="energy_loss_kwh", hours=2.0)
    assert other.fingerprint() != one.fingerprint()


def test_profiles_count_by_content(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    made = []
    for factor in (1.0, 1.0, 1.5):
        pd.DataFrame({"all": [1.0, factor]}).to_csv(path, index=False)
        made.append(fingerprint_of(pd.read_csv(path)))
    assert made[0] == made[1] != made[2]


def test_a_feeder_counts_by_its_commands_and_the_files_they_read(tmp_path: Path) -> None:
    def feeder(folder: str, kw: float, multiplier: float) -> str:
        home = tmp_path / folder
        home.mkdir()
        (home / "shape.csv").write_text(f"1\n{multiplier}\n")
        (home / "master.dss").write_text(
            "Clear\n"
            "New Circuit.c basekv=12.47 bus1=a pu=1.0\n"
            "New Transformer.t windings=2 buses=(a, b) conns=(wye, wye) kvs=(12.47, 12.47) "
            "kvas=(5000, 5000) xhl=1\n"
            "New RegControl.r transformer=t winding=2 vreg=120 band=2 ptratio=60\n"
            "New LoadShape.s npts=2 interval=1 csvfile=shape.csv\n"
            "New Line.l bus1=b bus2=c length=1 units=km\n"
            f"New Load.x bus1=c kv=12.47 kw={kw} kvar=1\n"
            "Set VoltageBases=[12.47]\nCalcVoltageBases\nSolve\n"
        )
        return str(home / "master.dss")

    made = [
        RegulatorControl(feeder(name, kw, multiplier)).fingerprint()
        for name, kw, multiplier in (("a", 9, 1), ("b", 9, 1), ("c", 8, 1), ("d", 9, 2))
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_copies_and_used_problems_keep_it() -> None:
    problem = dispatch(net())
    problem.evaluate(problem.base_x[None, :])
    problem.pareto_front()
    for one in (problem, copy.copy(problem), copy.deepcopy(problem)):
        assert one.fingerprint() == BASE
    assert cloudpickle.loads(cloudpickle.dumps(problem)).fingerprint() == BASE


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import test_fingerprint as t
print(*t.some())
"""


def some() -> list[str]:
    """Fingerprints of many kinds of things."""
    problems = [
        PROBLEMS["orpd"]("ieee14"),
        PROBLEMS["reconfiguration"]("case16"),
        PROBLEMS["regulators"]("village"),
        PROBLEMS["allocation"]("lv18"),
        get_problem("g1"),
        Own(3.0),
    ]
    algorithms = [GA(pop_size=20), MVMO(), HarmonySearch()]
    rest = [{"b", "a", "c"}, {"x": {1, 2}, "y": frozenset("abc")}, lambda x: x in {"a", "b"}]
    return [*map(fingerprint_of_problem, problems), *map(fingerprint_of, [*algorithms, *rest])]


class Own(ElementwiseProblem):
    """A problem of the user."""

    def __init__(self, factor: float) -> None:
        super().__init__(n_var=2, n_obj=1, xl=0.0, xu=1.0)
        self.factor = factor
        self.table = {"b": np.arange(3.0), "a": {1, 2, 3}}
        self.lock = threading.Lock()
        self.itself = self

    def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = self.factor * x.sum()


@pytest.mark.parametrize("seed", [pytest.param("0", marks=pytest.mark.slow), "77"])
def test_the_same_in_every_process(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=str(Path(__file__).parent))],
        env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == some()
    assert len(set(some())) == len(some())


def test_other_problems_count_by_class_bounds_and_state() -> None:
    base = fingerprint_of_problem(Own(3.0))
    assert fingerprint_of_problem(Own(3.0)) == base
    assert fingerprint_of_problem(Own(4.0)) != base
    wider = Own(3.0)
    wider.xu = wider.xu * 2.0
    assert fingerprint_of_problem(wider) != base
    used = Own(3.0)
    used.pareto_front()
    assert fingerprint_of_problem(used) == base
    assert len({fingerprint_of_problem(get_problem("zdt1", n_var=n)) for n in (4, 5)}) == 2


def test_the_code_of_the_user_counts() -> None:
    def with_body(body: str) -> Any:
        space: dict[str, Any] = {"ElementwiseProblem": ElementwiseProblem}
        exec(
            "class P(ElementwiseProblem):\n"
            "    def __init__(self):\n        super().__init__(n_var=1, xl=0.0, xu=1.0)\n"
            f"    def _evaluate(self, x, out, *args, **kwargs):\n        out['F'] = {body}\n",
            space,
        )
        return space["P"]()

    one, same, other = (fingerprint_of_problem(with_body(b)) for b in ("x[0]", "x[0]", "-x[0]"))
    assert one == same != other


def test_captured_values_count() -> None:
    def make(factor: float) -> Callable[[float], float]:
        return lambda x: factor * x

    assert fingerprint_of(make(1.0)) == fingerprint_of(make(1.0)) != fingerprint_of(make(2.0))


@pytest.mark.parametrize(
    "other",
    [
        GA(pop_size=21),
        GA(pop_size=20, crossover=SBX(prob=0.9, eta=16)),
        GA(pop_size=20, mutation=PM(eta=21)),
        GA(pop_size=20, eliminate_duplicates=False),
        MVMO(),
    ],
)
def test_operators_of_an_algorithm_count(other: Any) -> None:
    base = fingerprint_of(GA(pop_size=20))
    assert fingerprint_of(GA(pop_size=20)) == base
    assert fingerprint_of(GA(pop_size=20, seed=3, verbose=True)) == base
    assert fingerprint_of(other) != base


def test_numbers_count_by_value() -> None:
    assert fingerprint_of([1, 2.0]) == fingerprint_of((1.0, np.int32(2)))
    assert fingerprint_of(np.array([1, 2])) == fingerprint_of(np.array([1.0, 2.0]))
    assert fingerprint_of(0.0) == fingerprint_of(-0.0)
    assert fingerprint_of(1) != fingerprint_of(True) != fingerprint_of("1")
    assert fingerprint_of(np.array([2**53 + 1])) != fingerprint_of(np.array([2**53]))
    assert fingerprint_of(["ab", "c"]) != fingerprint_of(["a", "bc"])
    frame = pd.DataFrame({"a": [1, None], "b": ["x", None]})
    assert fingerprint_of(frame) == fingerprint_of(frame[["b", "a"]].astype(object))
    assert fingerprint_of(frame) != fingerprint_of(frame.rename(columns={"a": "c"}))
