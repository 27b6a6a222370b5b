"""All ways in which pymoo runs an algorithm, as in the table of docs/algorithms.md."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import cloudpickle
import numpy as np
import pytest
from pymoo.core.algorithm import Algorithm
from pymoo.core.callback import Callback
from pymoo.core.population import Population
from pymoo.core.problem import ElementwiseProblem, Problem
from pymoo.core.termination import NoTermination, TerminateIfAll, Termination
from pymoo.core.variable import Integer, Real
from pymoo.operators.sampling.rnd import FloatRandomSampling
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from pymoo.termination import get_termination
from pymoo.termination.collection import TerminationCollection
from pymoo.termination.ftol import (
    MultiObjectiveSpaceTermination,
    SingleObjectiveSpaceTermination,
)
from pymoo.termination.max_eval import MaximumFunctionCallTermination
from pymoo.termination.max_time import TimeBasedTermination
from pymoo.termination.robust import RobustTermination

from algorithms import ALGORITHMS, MVMO, SQP, HarmonySearch

N_VAR = 4
TARGET = np.array([0.3, 0.55, 3.0, 6.0])


class Distance(Problem):
    """Distance from a target, which one limit keeps at 0.05 of the first variable, or from two.

    Args:
        kind: "real", "mixed" (the last two variables are whole) or "several" objectives.
        slopes: Whether gradients are offered.
    """

    def __init__(self, kind: str, slopes: bool) -> None:
        n_obj, upper = (2 if kind == "several" else 1), np.array([1.0, 1.0, 9.0, 9.0])
        real, whole = Real(bounds=(0, 1)), Integer(bounds=(0, 9))
        third = whole if kind == "mixed" else Real(bounds=(0, 9))
        super().__init__(
            vars={"a": real, "b": real, "k": third, "m": third},
            n_obj=n_obj,
            n_ieq_constr=1,
            xl=np.zeros(N_VAR),
            xu=upper,
        )
        self.kind, self.gives_slopes = kind, slopes

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        away = (X - TARGET) / self.xu
        out["F"] = (away**2).sum(axis=-1, keepdims=True)
        out["G"] = 0.35 - X[..., :1]
        if self.n_obj == 2:
            other = ((X - TARGET[::-1] / self.xu[::-1] * self.xu) / self.xu) ** 2
            out["F"] = np.concatenate([out["F"], other.sum(axis=-1, keepdims=True)], axis=-1)
        elif self.gives_slopes:
            out["dF"] = (2.0 * away / self.xu)[..., None, :]
            out["dG"] = np.broadcast_to(-np.eye(N_VAR)[:1], (*X.shape[:-1], 1, N_VAR))


class OneByOne(Distance, ElementwiseProblem):
    """The same, evaluated point by point by a runner."""

    def __init__(self, kind: str, slopes: bool, runner: Any) -> None:
        super().__init__(kind, slopes)
        self.elementwise, self.elementwise_runner = True, runner


#: Name, kind of problem, whether it offers slopes.
WAYS = [
    *((name, kind, False) for name in ("hs", "mvmo") for kind in ("real", "mixed", "several")),
    *((name, kind, True) for name in ("hs", "mvmo", "sqp") for kind in ("real", "mixed")),
]
IDS = [f"{name}-{kind}{'-slopes' * slopes}" for name, kind, slopes in WAYS]
SIZE = {"hs": "pop_size", "mvmo": "n_particles", "sqp": "pop_size"}


@pytest.fixture(params=WAYS, ids=IDS)
def way(request: pytest.FixtureRequest) -> tuple[str, str, bool]:
    """One algorithm on one kind of problem."""
    found: tuple[str, str, bool] = request.param
    return found


@pytest.fixture
def problem(way: tuple[str, str, bool]) -> Distance:
    return Distance(way[1], way[2])


@pytest.fixture
def make(way: tuple[str, str, bool], problem: Distance) -> Callable[..., Algorithm]:
    """Makes the algorithm, its population small where the default is 100."""
    size = {SIZE[way[0]]: 20} if way[1] == "several" else {}
    return lambda **parameters: ALGORITHMS[way[0]](problem, **size, **parameters)


def same(one: Algorithm, other: Algorithm) -> None:
    for name in ("X", "F", "G"):
        np.testing.assert_array_equal(one.opt.get(name), other.opt.get(name))
        np.testing.assert_array_equal(one.pop.get(name), other.pop.get(name))
    assert one.evaluator.n_eval == other.evaluator.n_eval
    assert one.n_gen == other.n_gen
    assert one.progress() == other.progress()


def test_minimize_in_evaluations(problem: Distance, make: Callable[..., Algorithm]) -> None:
    result = minimize(problem, make(), ("n_eval", 150), seed=1)
    assert result.algorithm.evaluator.n_eval == 150
    assert result.algorithm.progress() == 1.0
    f, g = problem.evaluate(result.opt.get("X"), return_values_of=["F", "G"])
    np.testing.assert_array_equal(result.opt.get("F"), f)
    assert (g <= 0).all()
    if problem.n_obj == 1 and problem.gives_slopes:
        assert result.F[0] == pytest.approx(0.0025, abs=1e-5)


def test_a_loop_and_ask_and_tell_are_the_same_run(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    def own(algorithm: Algorithm, asked: Population) -> None:
        values = algorithm.evaluator.evaluate_values_of
        found = problem.evaluate(asked.get("X"), return_values_of=values, return_as_dictionary=True)
        for name in values:
            asked.set(name, found[name])

    expected = minimize(problem, make(), ("n_eval", 130), seed=2).algorithm
    runs = [make() for _ in range(3)]
    for algorithm in runs:
        algorithm.setup(problem, termination=("n_eval", 130), seed=2)
    n_told = 0
    while runs[0].has_next():
        runs[0].next()
    while runs[1].has_next():
        asked = runs[1].ask()
        runs[1].evaluator.eval(problem, asked)
        runs[1].tell(infills=asked)
    while runs[2].has_next():
        asked = runs[2].ask()
        own(runs[2], asked)  # nobody but the algorithm counts these
        n_told += len(asked)
        runs[2].tell(infills=asked)
    assert n_told == 130
    for algorithm in runs:
        same(algorithm, expected)
    if problem.n_obj == 1:
        assert runs[2].n_searches > 0


def size_of(algorithm: Algorithm) -> int:
    """Evaluations of a generation, as the table says."""
    if isinstance(algorithm, MVMO):
        return algorithm.n_particles or 10
    return 5 if isinstance(algorithm, HarmonySearch) else 1


def test_a_generation_is_as_many_evaluations_as_it_proposes(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    class Count(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, int]] = []

        def notify(self, algorithm: Algorithm) -> None:
            self.seen.append((algorithm.n_gen, algorithm.evaluator.n_eval))

    count = Count()
    algorithm = make(callback=count, save_history=True)
    algorithm.setup(problem, termination=("n_gen", 30), seed=1)
    algorithm.run()
    n_first = count.seen[0][1]
    assert algorithm.evaluator.n_eval == n_first + 29 * size_of(algorithm)
    assert algorithm.progress() == 1.0
    assert [n_gen for n_gen, _ in count.seen] == list(range(1, 31))
    assert [past.evaluator.n_eval for past in algorithm.history] == [n for _, n in count.seen]
    for n_gen, n_eval in count.seen:
        # Single points of searches are carried over, less than a generation of them.
        assert 0 <= n_eval - n_first - (n_gen - 1) * size_of(algorithm) < size_of(algorithm)
    by_iterations = make()
    by_iterations.setup(problem, termination=("n_iter", 30), seed=1)
    by_iterations.run()
    same(by_iterations, algorithm)


@pytest.mark.parametrize("name", ["hs", "mvmo"])
def test_batches_larger_than_a_generation_are_several(name: str) -> None:
    problem = get_problem("rosenbrock", n_var=60)
    algorithm = ALGORITHMS[name](problem, local_search_rate=100.0)
    algorithm.setup(problem, termination=("n_gen", 100), seed=1)
    seen, batches = [], []
    while algorithm.has_next():
        before, done = algorithm.evaluator.n_eval, algorithm.progress()
        algorithm.next()
        batches.append(algorithm.evaluator.n_eval - before)
        seen.append(algorithm.n_gen)
        assert algorithm.progress() >= done
    size = 5 if name == "hs" else 10
    assert 60 in batches
    assert algorithm.evaluator.n_eval == (20 if name == "hs" else 10) + 99 * size
    assert algorithm.n_gen == 101
    assert max(b - a for a, b in pairwise(seen)) == 60 // size


class Clock:
    """Stands for the time; evaluations make it go on."""

    def __init__(self) -> None:
        self.now, self.extra = 1e9, 0.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of which every evaluated vector takes a second, and the next call what is extra."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    plain = Distance._evaluate

    def slow(self: Distance, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        clock.now += len(X) + clock.extra
        clock.extra = 0.0
        plain(self, X, out)

    monkeypatch.setattr(Distance, "_evaluate", slow)
    return clock


def test_time_moves_schedules_evenly(
    problem: Distance, make: Callable[..., Algorithm], clock: Clock
) -> None:
    algorithm = make()
    algorithm.setup(problem, termination=("time", "00:05:00"), seed=1)
    clock.extra = 60.0  # compiling, say
    begun, done, n_evals = clock.now, [0.0], [0]
    while algorithm.has_next():
        algorithm.next()
        done.append(algorithm.progress())
        n_evals.append(algorithm.evaluator.n_eval)
    # The slow first population leaves the whole schedule to the rest.
    assert done[:2] == [0.0, 0.0]
    n_first = n_evals[1]
    n_rest = 300 - 60 - n_first
    expected = [min(1.0, max(0, n - n_first) / n_rest) for n in n_evals]
    np.testing.assert_allclose(done, expected, atol=1e-12)
    assert done[-1] == 1.0
    assert done[-2] < 1.0  # the first step after the time is the last one
    assert clock.now - begun >= 300


def test_time_between_storing_and_loading_is_no_time_of_the_run(
    problem: Distance, make: Callable[..., Algorithm], clock: Clock
) -> None:
    algorithm = make()
    algorithm.setup(problem, termination=TimeBasedTermination(200), seed=1)
    while algorithm.evaluator.n_eval < 60:
        algorithm.next()
    stored, done = pickle.dumps(algorithm), algorithm.progress()
    algorithm.run()
    clock.now += 3600.0
    loaded = pickle.loads(stored)
    assert loaded.progress() == done
    loaded.run()
    same(loaded, algorithm)


class OwnBudget(Termination):
    """A user's own: points looked at in steps of 7."""

    def _update(self, algorithm: Any) -> float:
        return float(algorithm.evaluator.n_eval // 7 * 7 / 280)


class OwnDecision(Termination):
    """A user's own that says only whether the run ends."""

    def _update(self, algorithm: Any) -> float:
        return float(algorithm.evaluator.n_eval >= 280)


def default_tolerances(n_obj: int) -> Termination:
    """What pymoo takes by default."""
    return get_termination("soo" if n_obj == 1 else "moo")


def tolerance(n_obj: int) -> Termination:
    """Met soon."""
    kind = SingleObjectiveSpaceTermination if n_obj == 1 else MultiObjectiveSpaceTermination
    return kind(tol=1.0)


#: By the number of objectives.
TERMINATIONS: dict[str, Callable[[int], Any]] = {
    "evaluations": lambda n_obj: ("n_eval", 300),
    "generations": lambda n_obj: ("n_gen", 60),
    "default": default_tolerances,
    "any": lambda n_obj: TerminationCollection(
        MaximumFunctionCallTermination(300), default_tolerances(n_obj), TimeBasedTermination(3600)
    ),
    "all": lambda n_obj: TerminateIfAll(MaximumFunctionCallTermination(300), tolerance(n_obj)),
    "robust": lambda n_obj: RobustTermination(MaximumFunctionCallTermination(300), period=5),
    "tolerance": tolerance,
    "fmin": lambda n_obj: ("fmin", 0.0),
    "none": lambda n_obj: NoTermination(),
    "unlimited": lambda n_obj: MaximumFunctionCallTermination(),
    "own budget": lambda n_obj: OwnBudget(),
    "own decision": lambda n_obj: OwnDecision(),
}


@pytest.mark.parametrize("termination", TERMINATIONS)
def test_progress_never_falls_nor_jumps(
    problem: Distance, make: Callable[..., Algorithm], termination: str
) -> None:
    algorithm = make()
    algorithm.setup(problem, termination=TERMINATIONS[termination](problem.n_obj), seed=1)
    done, n_evals, bars = [0.0], [0], [0.0]
    while algorithm.has_next() and algorithm.evaluator.n_eval < 500:
        algorithm.next()
        done.append(algorithm.progress())
        n_evals.append(algorithm.evaluator.n_eval)
        bars.append(algorithm.termination.perc)
    steps, made = np.diff(done), np.diff(n_evals)
    assert (steps >= 0).all()
    assert (np.diff(bars) >= 0).all()
    assert 0.0 < done[-1] <= 1.0
    # A step is no more than its share of the shortest of these budgets.
    first = 2 if termination == "generations" else 1
    assert (steps[first:] <= (made[first:] + 7) / 60).all()
    if termination == "evaluations":
        assert n_evals[-1] == 300
    if termination == "any":  # sqp has no schedules to wait for
        assert n_evals[-1] == 300 or (done[-1] < 1.0 and isinstance(algorithm, SQP))
    if termination in ("none", "unlimited", "fmin"):
        assert done[-1] == n_evals[-1] / 10_000


def test_tolerances_wait_for_schedules_and_searches(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    algorithm = make()
    name = "moo" if problem.n_obj > 1 else "soo"
    algorithm.setup(problem, termination=get_termination(name), seed=1)
    algorithm.run()
    best = algorithm.opt.get("F").min()
    assert algorithm.progress() == 1.0 or isinstance(algorithm, SQP)
    if problem.n_obj > 1:
        assert algorithm.evaluator.n_eval >= 2000
        assert (algorithm.opt.get("CV") <= 0).all()
        return
    assert best == pytest.approx(0.0025, abs=1e-4)
    assert algorithm.n_searches > 0
    assert algorithm.evaluator.n_eval < 10_000


@pytest.mark.parametrize("name", ["hs", "mvmo"])
@pytest.mark.parametrize("function", ["rosenbrock", "g1"])
def test_a_run_with_tolerances_ends_near_the_optimum(name: str, function: str) -> None:
    problem = get_problem(function, **({"n_var": 10} if function == "rosenbrock" else {}))
    algorithm = minimize(problem, ALGORITHMS[name](problem), get_termination("soo"), seed=1)
    best = {"rosenbrock": 0.0, "g1": -15.0}[function]
    assert algorithm.F[0] == pytest.approx(best, abs=1e-4)
    assert algorithm.algorithm.progress() == 1.0
    assert algorithm.algorithm.evaluator.n_eval < 10_000


def test_values_to_reach_end_a_run_at_once(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    algorithm = make()
    algorithm.setup(problem, termination=("fmin", 0.1), seed=1)
    best = []
    while algorithm.has_next():
        algorithm.next()
        best.append(algorithm.opt.get("F")[algorithm.opt.get("CV")[:, 0] <= 0])
    assert best[-1].min() <= 0.1
    assert all(len(f) == 0 or f.min() > 0.1 for f in best[:-1])


def test_a_callback_ends_a_run(problem: Distance, make: Callable[..., Algorithm]) -> None:
    class Stop(Callback):
        def update(self, algorithm: Algorithm) -> None:
            if algorithm.n_gen == 4:
                algorithm.termination.terminate()

    result = minimize(problem, make(), ("n_eval", 500), callback=Stop(), seed=1)
    algorithm = result.algorithm
    assert algorithm.evaluator.n_eval < 20 + 5 * size_of(algorithm) + N_VAR
    assert result.opt is None or len(result.opt) > 0


def test_no_termination_is_ten_thousand_evaluations(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    algorithm = make()
    algorithm.setup(problem, seed=1)
    assert algorithm.affordable(10**6) == 10_000
    for _ in range(5):
        algorithm.next()
    assert algorithm.progress() == algorithm.evaluator.n_eval / 10_000


FORMS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda a: pickle.loads(pickle.dumps(a)),
    "cloudpickle": lambda a: cloudpickle.loads(cloudpickle.dumps(a)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_goes_on_like_the_original(
    problem: Distance, make: Callable[..., Algorithm], form: str
) -> None:
    algorithm = make()
    algorithm.setup(problem, termination=("n_eval", 160), seed=3)
    while algorithm.evaluator.n_eval < 67:
        algorithm.next()
    copied = FORMS[form](algorithm)
    for one in (algorithm, copied):
        one.run()
    same(copied, algorithm)


def test_a_finished_run_goes_on_with_a_larger_budget(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    first = minimize(problem, make(), ("n_eval", 100), seed=1).algorithm
    best = first.opt.get("F").min()
    stored = pickle.loads(pickle.dumps(first))
    stored.termination = MaximumFunctionCallTermination(400)
    assert stored.progress() == 0.25  # schedules follow the share of the new budget
    result = minimize(problem, stored, seed=1, copy_algorithm=False)
    assert result.algorithm.evaluator.n_eval == 400
    assert result.algorithm.progress() == 1.0
    if problem.n_obj == 1:
        assert result.F[0] <= best


def test_verbose_prints_a_line_for_each_generation(
    problem: Distance, make: Callable[..., Algorithm], capsys: pytest.CaptureFixture[str]
) -> None:
    minimize(problem, make(), ("n_gen", 25), seed=1, verbose=True)
    border, header, _, *lines = capsys.readouterr().out.splitlines()
    assert set(border) == {"="}
    columns = [name.strip() for name in header.split("|")]
    rows = [dict(zip(columns, line.split("|"), strict=True)) for line in lines]
    assert len(rows) == 25
    assert columns[:3] == ["n_gen", "n_eval", "done_%"]
    assert {"cv_min", "cv_avg"} < set(columns)
    assert ("f_min" in columns) == ("n_srch" in columns) == (problem.n_obj == 1)
    n_evals = [int(row["n_eval"]) for row in rows]
    assert all(a < b for a, b in pairwise(n_evals))
    assert [int(row["n_gen"]) for row in rows] == list(range(1, 26))
    assert float(rows[-1]["done_%"]) == 100.0
    if "n_grad" in columns:
        assert int(rows[-1]["n_grad"]) > 0


STARTS = np.array([[0.5, 0.5, 3.0, 6.0], [0.4, 0.2, 1.0, 2.0]])


@pytest.mark.parametrize(
    "sampling",
    [STARTS, Population.new(X=STARTS), FloatRandomSampling()],
    ids=["array", "population", "sampling"],
)
def test_runs_start_from_what_is_given(
    problem: Distance, make: Callable[..., Algorithm], sampling: Any
) -> None:
    algorithm = make(sampling=sampling)
    algorithm.setup(problem, termination=("n_eval", 60), seed=1)
    first = algorithm.ask()
    if not isinstance(sampling, FloatRandomSampling):
        np.testing.assert_array_equal(first.get("X")[:2], STARTS[: len(first)])
    algorithm.evaluator.eval(problem, first)
    algorithm.tell(infills=first)
    algorithm.run()
    assert algorithm.evaluator.n_eval == 60


def test_starts_that_a_problem_offers_come_first_unless_others_are_given(
    problem: Distance, make: Callable[..., Algorithm]
) -> None:
    problem.starts = STARTS
    for sampling, expected in ((None, STARTS), (STARTS[::-1], STARTS[::-1])):
        algorithm = make(sampling=sampling)
        algorithm.setup(problem, termination=("n_eval", 60), seed=1)
        first = algorithm.ask().get("X")
        np.testing.assert_array_equal(first[:2], expected[: len(first)])
        assert not (first[2:, np.newaxis] == STARTS).all(axis=-1).any()
    problem.starts = STARTS[:0]
    algorithm = make()
    algorithm.setup(problem, termination=("n_eval", 60), seed=1)
    assert not (algorithm.ask().get("X")[:, np.newaxis] == STARTS).all(axis=-1).any()


def test_a_runner_evaluates_in_parallel_with_the_same_result(
    way: tuple[str, str, bool], problem: Distance, make: Callable[..., Algorithm]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        parallel = OneByOne(way[1], way[2], lambda f, X: list(pool.map(f, X)))
        found = minimize(parallel, make(), ("n_eval", 90), seed=1).algorithm
    same(found, minimize(problem, make(), ("n_eval", 90), seed=1).algorithm)
