"""What every grid problem promises, whatever its task."""

from __future__ import annotations

import copy
import html
import inspect
import pickle
import re
from collections.abc import Callable

import cloudpickle
import numpy as np
import pandapower.networks as pn
import pytest
from nets import tap_zoo
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
from pymoo.algorithms.soo.nonconvex.de import DE
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.algorithms.soo.nonconvex.pso import PSO
from pymoo.constraints.as_penalty import ConstraintsAsPenalty
from pymoo.core.algorithm import Algorithm
from pymoo.core.mixed import MixedVariableGA
from pymoo.optimize import minimize
from pymoo.util.ref_dirs import get_reference_directions

from algorithms import MVMO, HarmonySearch
from gridproblems import (
    PROBLEMS,
    Control,
    DERPlacement,
    GridProblem,
    ReactivePowerDispatch,
    Reconfiguration,
    RegulatorControl,
    StorageSchedule,
)
from gridproblems.controls.encodings import ENCODINGS
from gridproblems.evaluation import FAILED_F, FAILED_G
from gridproblems.problem import arguments_of
from gridproblems.state import GridState, Settings

Objectives = tuple[str, ...]


def mixed(objectives: Objectives) -> GridProblem:
    """Real, integer, binary and choice variables."""
    net = tap_zoo()
    choice = Control("sgen", "q_mvar", (0,), "choice", -3.0, 3.0, "Mvar", (-3.0, 0.0, 1.0, 3.0))
    binary = Control("shunt", "step", (1,), "binary", 0, 1)
    return ReactivePowerDispatch(
        net,
        objectives,
        ("gen", "tap", choice, binary),
        limits={"gen_vm_pu": (0.95, 1.05), "vm_pu": (0.9, 1.1), "loading_percent": 120.0},
    )


def reconfigured(coding: str) -> Callable[[Objectives], GridProblem]:
    return lambda objectives: Reconfiguration(pn.case33bw(), objectives, coding)


#: For every task, how to make a problem of it, and two objectives.
INSTANCES: dict[str, tuple[Callable[[Objectives], GridProblem], Objectives]] = {
    "orpd-ieee14": (
        lambda objectives: PROBLEMS["orpd"]("ieee14", objectives),
        ("p_loss_mw", "voltage_deviation_pu"),
    ),
    "orpd-ieee30": (
        lambda objectives: PROBLEMS["orpd"]("ieee30", objectives),
        ("p_loss_mw", "l_index"),
    ),
    "orpd-mixed": (mixed, ("p_loss_mw", "voltage_deviation_pu")),
    **{
        f"reconfiguration-{coding}": (reconfigured(coding), ("p_loss_kw", "switching_actions"))
        for coding in ENCODINGS
    },
    "allocation-lv18": (
        lambda objectives: PROBLEMS["allocation"]("lv18", objectives=objectives),
        ("line_loading_sum_percent", "energy_loss_kwh"),
    ),
    "placement-mixed": (
        lambda objectives: DERPlacement(
            "lv18",
            kind=("pv", "pv", "storage"),
            objectives=objectives,
            max_size=0.02,
            power_factor=(0.9, 1.0),
            storage_hours=(1.0, 4.0),
        ),
        ("energy_loss_kwh", "exchange_peak_kw"),
    ),
    "placement-case33bw": (
        lambda objectives: DERPlacement("case33bw", 3, "capacitor", objectives, size_step=0.15),
        ("p_loss_kw", "voltage_deviation_pu"),
    ),
    "storage-lv18": (
        lambda objectives: StorageSchedule(
            "lv18",
            [{"bus": bus, "power_mw": 0.002, "energy_mwh": 0.006} for bus in (9, 18)],
            objectives,
        ),
        ("exchange_peak_kw", "energy_loss_kwh"),
    ),
    "regulators-village": (
        lambda objectives: RegulatorControl(
            "village", objectives, "taps", capacitors=True, volt_var=True
        ),
        ("voltage_fitness", "p_loss_kw"),
    ),
    "grid-switching-units": (
        lambda objectives: PROBLEMS["grid"](
            "case33bw", ["switching", "units:dg:2"], objectives=objectives
        ),
        ("p_loss_kw", "voltage_deviation_pu"),
    ),
}


def test_every_task_has_an_instance() -> None:
    assert {name.split("-")[0] for name in INSTANCES} == set(PROBLEMS)


@pytest.fixture(scope="module", params=INSTANCES)
def instance(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def problem(instance: str) -> GridProblem:
    make, objectives = INSTANCES[instance]
    return make(objectives)


@pytest.fixture(scope="module")
def with_one_objective(instance: str) -> GridProblem:
    make, objectives = INSTANCES[instance]
    return make(objectives[:1])


def vectors(problem: GridProblem, n: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(problem.xl, problem.xu, (n, problem.n_var))


def test_names_and_shapes(problem: GridProblem) -> None:
    f, g = problem.evaluate(vectors(problem, 7))
    assert f.shape == (7, len(problem.objective_names)) == (7, len(problem.objective_units))
    assert g.shape == (7, len(problem.constraint_names))
    assert len(set(problem.constraint_names)) == len(problem.constraint_names)
    assert list(problem.vars) == [v.name for v in problem.joint.variables]
    assert problem.constraint_names[0] == "power_flow"
    assert np.isfinite(f).all()
    assert np.isfinite(g).all()


def test_order_repetition_copies_and_threads_change_nothing(problem: GridProblem) -> None:
    x = vectors(problem, 12)
    f, g = problem.evaluate(x)
    backwards = [value[::-1] for value in problem.evaluate(x[::-1])]
    copied = copy.deepcopy(problem).evaluate(x)
    pickled = cloudpickle.loads(cloudpickle.dumps(problem)).evaluate(x)
    plainly = pickle.loads(pickle.dumps(problem))
    again = pickle.loads(pickle.dumps(plainly))
    shallow = copy.copy(problem)
    one_by_one = problem.evaluate(x[5])
    stored = [p.evaluate(x) for p in (plainly, again, shallow)]
    for p in (plainly, again, shallow):
        np.testing.assert_array_equal(p.base_values(), problem.base_values())
    for f2, g2 in (backwards, copied, pickled, *stored):
        np.testing.assert_array_equal(f, f2)
        np.testing.assert_array_equal(g, g2)
    np.testing.assert_array_equal(f[5], one_by_one[0])


def test_a_problem_says_what_it_consists_of(problem: GridProblem) -> None:
    text, line, table = str(problem), repr(problem), problem._repr_html_()
    for name in (*problem.objective_names, *problem.evaluation.entries.kinds, problem.engine_name):
        assert name in text
        assert html.escape(name) in table
    assert next(iter(problem.vars)) in text
    assert f"{problem.situations.n} power flow" in text
    assert problem.name in line
    assert f"{problem.n_var} variables" in line
    assert "\n" not in line
    assert problem.name in str(ConstraintsAsPenalty(problem))


def test_engine_of_the_problem_agrees_with_apply(problem: GridProblem) -> None:
    x = next(x for x in problem.snap(vectors(problem, 30)) if problem.solve(x).solved)
    applied = problem.apply(x)
    state = problem.solve(x)
    if isinstance(problem, RegulatorControl):
        assert applied.Circuit.Losses()[0] / 1e3 == pytest.approx(state["p_loss_kw"][0, 0])
    else:
        np.testing.assert_allclose(state.vm_pu[0], applied.res_bus.vm_pu, rtol=0, atol=1e-8)


def test_codec_round_trip(problem: GridProblem) -> None:
    unique = not isinstance(problem, Reconfiguration)  # two vectors can open the same lines
    for x in vectors(problem, 20):
        on_grid = problem.snap(x)
        settings = problem.decode(x)
        again = problem.decode(problem.encode(settings))
        np.testing.assert_array_equal(again.values, settings.values)
        if unique:
            np.testing.assert_array_equal(problem.encode(settings), on_grid)
        np.testing.assert_array_equal(problem.snap(on_grid), on_grid)
    # a feeder has no net to read settings from, and a net does not tell which of some units inject
    if not isinstance(problem, RegulatorControl) and type(problem) is not GridProblem:
        applied = problem.decode(problem.encode(problem.apply(on_grid)))
        np.testing.assert_array_equal(applied.values, problem.decode(on_grid).values)
    assert "control" in problem.describe(on_grid)


def values_of(problem: GridProblem) -> dict[str, object]:
    """The present settings as a dict of variables."""
    return {
        v.name: v.options[int(value)] if v.options else value
        for v, value in zip(problem.joint.variables, problem.base_x, strict=True)
    }


def changed(x: np.ndarray, value: object) -> list[object]:
    return [x[0], value, *x[2:]]


BAD_VECTORS: dict[str, tuple[Callable[[np.ndarray, GridProblem], object], str]] = {
    "too short": (lambda x, p: x[:-1], "expected .* values, got an array of"),
    "empty": (lambda x, p: [], "expected .* values, got an array of"),
    "a number": (lambda x, p: 1.0, "expected .* values, got"),
    "none": (lambda x, p: None, "expected .* values, got None"),
    "text": (lambda x, p: "abc", "expected .* values, got 'abc'"),
    "an object": (lambda x, p: object(), "expected .* values, got <object"),
    "a set": (lambda x, p: {1.0}, "expected .* values, got {1.0}"),
    "ragged": (lambda x, p: [[1.0], [1.0, 2.0]], r"expected .* values, got \[\[1.0\], \[1.0"),
    "nan": (lambda x, p: changed(x, np.nan), r"x\[1\] \(.*\): expected a number, got NaN"),
    "infinity": (lambda x, p: changed(x, -np.inf), r"x\[1\] \(.*\): expected a number, got -inf"),
    "text inside": (
        lambda x, p: changed(x, "1"),
        r"x\[1\] \(.*\): expected a number, got '1'",
    ),
    "none inside": (lambda x, p: changed(x, None), r"x\[1\] \(.*\): expected a number, got None"),
    "complex": (lambda x, p: x + 1j, r"x\[0\] \(.*\): expected a number, got"),
    "no dict": (lambda x, p: {}, "no value for variable '"),
    "missing": (lambda x, p: dict(list(values_of(p).items())[1:]), "no value for variable '"),
    "unknown": (lambda x, p: {**values_of(p), "tap": 1.0}, "unknown variable 'tap'; known: "),
    "dict with text": (
        lambda x, p: {**values_of(p), p.joint.variables[0].name: "1"},
        r"x\[0\] \(.*\): expected a number, got '1'",
    ),
    "dict with nan": (
        lambda x, p: {**values_of(p), p.joint.variables[0].name: np.nan},
        r"x\[0\] \(.*\): expected a number, got NaN",
    ),
}


@pytest.mark.parametrize("kind", BAD_VECTORS)
def test_bad_vectors_are_refused(problem: GridProblem, kind: str) -> None:
    spoil, message = BAD_VECTORS[kind]
    x = spoil(problem.base_x.copy(), problem)
    one = [problem.decode, problem.apply, problem.describe, problem.solve]
    if kind != "empty":
        one.append(problem.evaluate)
        if not isinstance(x, dict):
            one.append(problem.snap)
    if hasattr(problem, "neighbours"):
        one.append(problem.neighbours)
    for method in one:
        with pytest.raises(ValueError, match=message):
            method(x)
    for method in (problem.evaluate, problem.evaluate_many):
        with pytest.raises(ValueError, match=r"^x(\[\d+\] \(.*\))?: "):
            method([x])


def test_vectors_out_of_bounds_are_refused(problem: GridProblem) -> None:
    for method in (problem.decode, problem.apply, problem.describe, problem.solve):
        with pytest.raises(ValueError, match=r"x\[0\] \(.*\): .* is not within"):
            method(problem.xu + 1.0)


def test_whole_numbers_lists_and_dicts_are_vectors(problem: GridProblem) -> None:
    x = problem.base_x
    expected = problem.evaluate(x)
    ways = [x.tolist(), x.astype(object), values_of(problem)]
    if (x == x.round()).all():
        ways.append(x.astype(int))
    for way in ways:
        for value, wanted in zip(problem.evaluate(way), expected, strict=True):
            np.testing.assert_array_equal(value, wanted)
        np.testing.assert_array_equal(problem.decode(way).values, problem.decode(x).values)
    for both in ([x, x], [x.tolist()] * 2, [values_of(problem)] * 2):
        f, g = problem.evaluate(both)
        np.testing.assert_array_equal(f, [expected[0]] * 2)
        np.testing.assert_array_equal(g, [expected[1]] * 2)


@pytest.mark.parametrize(
    "settings",
    [None, 1, "abc", [], [1.0], {"a": 1}, {("gen", "vm_pu"): 1.0}, {("gen", "vm_pu"): {0: "1"}}],
    ids=repr,
)
def test_settings_that_are_none_are_refused(problem: GridProblem, settings: object) -> None:
    with pytest.raises(ValueError, match=r"expected|no value|encode_"):
        problem.encode(settings)


@pytest.mark.parametrize("snapshot", [-1, 10_000, 0.5, None, "0"])
def test_snapshots_that_there_are_not(problem: GridProblem, snapshot: object) -> None:
    with pytest.raises(ValueError, match=rf"snapshot: expected 0 to \d+, got {snapshot!r}"):
        problem.apply(problem.base_x, snapshot)


def test_nan_is_refused_by_name(problem: GridProblem) -> None:
    x = vectors(problem, 3)
    x[1, 2] = np.nan
    with pytest.raises(ValueError, match=rf"x\[2\] \({re.escape(list(problem.vars)[2])}\).*NaN"):
        problem.evaluate(x)
    with pytest.raises(ValueError, match=r"expected .* values, got an array"):
        problem.evaluate_many(x[:, :-1])


def test_a_failed_power_flow_is_a_finite_worst_value(problem: GridProblem) -> None:
    class Failing:
        releases_gil = False

        def __init__(self, engine: object) -> None:
            self.engine = engine

        def solve(self, settings: Settings) -> GridState:
            state = self.engine.solve(settings)  # type: ignore[attr-defined]
            none = np.zeros_like(state.converged)
            return GridState(state.layout, np.zeros_like(state.values), none, none.astype(int))

    failing = problem.with_engine(Failing(problem.engine))  # type: ignore[arg-type]
    f, g = failing.evaluate(problem.base_x)
    assert (f == FAILED_F).all()
    assert (g >= FAILED_G).all()
    assert failing.counts.failed == 1
    solved_f, solved_g = problem.evaluate(vectors(problem, 30))
    solved = solved_f[:, 0] < FAILED_F
    assert solved.any()
    assert (f > solved_f[solved]).all()
    assert g.sum() > np.maximum(solved_g[solved], 0).sum(axis=1).max()


def test_a_dead_grid_is_no_good_score(problem: GridProblem) -> None:
    """No losses, because no load is supplied: it must rank last."""

    class Dead:
        releases_gil = False

        def solve(self, settings: Settings) -> GridState:
            state = problem.engine.solve(settings)
            dead = np.full(state.converged.shape, 3)
            return GridState(state.layout, np.zeros_like(state.values), dead > 0, dead)

    dead_grid = problem.with_engine(Dead())  # type: ignore[arg-type]
    assert (dead_grid.evaluate(problem.base_x)[0] == FAILED_F).all()


def single_objective() -> dict[str, Algorithm]:
    return {
        "ga": GA(pop_size=10),
        "pso": PSO(pop_size=10),
        "de": DE(pop_size=10),
        "cmaes": CMAES(),
        "hs": HarmonySearch(),
        "mvmo": MVMO(),
        "mixed-ga": MixedVariableGA(pop_size=10),
    }


def multi_objective(n_obj: int) -> dict[str, Algorithm]:
    directions = get_reference_directions("das-dennis", n_obj, n_partitions=9)
    return {
        "nsga2": NSGA2(pop_size=10),
        "nsga3": NSGA3(directions, pop_size=10),
        "hs": HarmonySearch(),
        "mvmo": MVMO(),
    }


def run(problem: GridProblem, algorithm: Algorithm) -> None:
    """Runs an algorithm; every vector of its result is on the grid and is what was evaluated."""
    result = minimize(problem, algorithm, ("n_evals", 80), seed=1)
    individuals = [*result.pop, *result.algorithm.opt]
    if isinstance(algorithm, CMAES):  # pymoo's CMA-ES overwrites F of infeasible points by inf
        individuals = [individual for individual in individuals if individual.feas]
    for individual in individuals:
        x = individual.X
        if not isinstance(x, dict):
            np.testing.assert_array_equal(problem.snap(x), x)
        f, g = problem.evaluate(problem._flat(x))
        np.testing.assert_array_equal(individual.F, f)
        np.testing.assert_array_equal(individual.G, g)


@pytest.mark.parametrize("name", single_objective())
def test_runs_under_single_objective_algorithms(with_one_objective: GridProblem, name: str) -> None:
    run(with_one_objective, single_objective()[name])


@pytest.mark.parametrize("name", multi_objective(2))
def test_runs_under_multi_objective_algorithms(problem: GridProblem, name: str) -> None:
    run(problem, multi_objective(2)[name])


#: Of every task, what its constructor needs beside its first argument.
NEEDED: dict[str, dict[str, object]] = {
    "storage": {"storages": [{"bus": 9, "power_mw": 0.002, "energy_mwh": 0.006}]},
    "grid": {"controls": ["switching"]},
}
CASES = {
    "orpd": "ieee14",
    "reconfiguration": "case16",
    "regulators": "village",
    "allocation": "lv18",
    "placement": "case33bw",
    "storage": "lv18",
    "grid": "case16",
}
NOTHING_FITS = [object(), b"x", {1.5: object()}, {object(): None}, [object()], {1.0}, 1j]
#: Arguments that may be anything, for their kinds are many: who reads them says what was expected.
ANYTHING = {"disturbance", "generation", "load", "profile"}


def arguments() -> list[tuple[str, str]]:
    return [(task, name) for task in PROBLEMS for name in arguments_of(PROBLEMS[task])]


@pytest.mark.parametrize(("task", "name"), arguments())
def test_arguments_of_the_wrong_kind_are_refused_by_name(task: str, name: str) -> None:
    first = next(iter(inspect.signature(PROBLEMS[task]).parameters))
    given = {first: CASES[task], **NEEDED.get(task, {})}
    for value in NOTHING_FITS:
        with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
            PROBLEMS[task](**{**given, name: value})
        if name not in ANYTHING:
            assert re.match(rf"{name}\b.*(expected|unknown)", str(refused.value))


@pytest.mark.parametrize(
    ("task", "argument", "message"),
    [
        ("reconfiguration", {"hours": "1"}, "hours: expected a finite number, got the text '1'"),
        ("reconfiguration", {"hours": np.inf}, "hours: expected a finite number, got inf"),
        ("reconfiguration", {"periods": 1.5}, "periods: expected a whole number, got 1.5"),
        (
            "reconfiguration",
            {"switchable": 3},
            "switchable: expected a list of whole numbers, got 3",
        ),
        ("reconfiguration", {"coding": None}, "coding: expected text, got None"),
        ("reconfiguration", {"cache": -1}, "cache: expected True, False or 0 or more, got -1"),
        ("reconfiguration", {"objectives": 1}, "objectives: expected a list of names or functions"),
        (
            "reconfiguration",
            {"objectives": {"p_loss_kw": 1}},
            "objectives: expected a list of names",
        ),
        ("reconfiguration", {"series": {"load": [1]}}, "series: expected a mapping"),
        (
            "reconfiguration",
            {"series": {("load", "p_mw"): "x"}},
            "series load.p_mw: expected numbers",
        ),
        ("placement", {"series": {1: [1]}}, "series: expected tables by .* got 1"),
        ("orpd", {"n_jobs": "2"}, "n_jobs: expected a whole number, got the text '2'"),
        ("orpd", {"engine": ["newton"]}, "engine: expected text, got"),
        ("orpd", {"aggregate": 1}, "aggregate: expected True or False, got 1"),
        ("orpd", {"fixed": {("load", "p_mw"): [1]}}, "fixed: expected a mapping"),
        (
            "orpd",
            {"fixed": {("load", "p_mw"): {0: None}}},
            r"fixed: load.p_mw\[0\]: expected a finite number, got None",
        ),
        ("orpd", {"fixed": {("load", "p_mw"): {0: np.nan}}}, r"expected a finite number, got nan"),
        (
            "orpd",
            {"fixed": {("load", "p_mw"): {99: 1}}},
            "fixed: load.p_mw: the net has no load 99",
        ),
        ("orpd", {"fixed": {("load", "p"): {0: 1}}}, "fixed: the net has no column load.p"),
        ("orpd", {"controls": {"gen": [[0]]}}, r"controls: expected indices of gen, got \[0\]"),
        ("placement", {"kind": []}, "kind: expected at least one kind"),
        ("placement", {"kind": "storage", "storage_hours": (2, np.inf)}, "storage_hours: expected"),
        (
            "storage",
            {"storages": [{"bus": 9, "power_mw": None, "energy_mwh": 1}]},
            "storages: .*: expected a positive power_mw, got None",
        ),
        (
            "regulators",
            {"disturbance": {"load": "s1a", "kw": "a"}},
            "load s1a: expected a finite kw",
        ),
        ("allocation", {"zip_percent": (1, 2, 3)}, "zip_percent: expected"),
        ("regulators", {"vreg_v": (110.0,)}, "vreg_v: expected"),
        (
            "regulators",
            {"capacitors": None},
            "capacitors: expected True or False or a list of names",
        ),
    ],
)
def test_messages_about_arguments(task: str, argument: dict[str, object], message: str) -> None:
    given = {**NEEDED.get(task, {}), **argument}
    with pytest.raises(ValueError, match=message):
        PROBLEMS[task](CASES[task], **given)
