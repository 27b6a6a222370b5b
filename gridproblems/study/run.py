"""One run of a study: an algorithm on a problem with one seed and an exact budget."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
import random
import signal
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray
from pymoo.core.algorithm import Algorithm
from pymoo.core.individual import Individual
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from threadpoolctl import threadpool_limits

from gridproblems._own import trust
from gridproblems._progress import Recorder
from gridproblems.checkpoints import (
    Checkpoint,
    CheckpointedEvaluator,
    CheckpointError,
    CheckpointInUse,
    why_not,
)
from gridproblems.fingerprint import fingerprint_of_problem
from gridproblems.parallel import PopulationRunner
from gridproblems.problem import GridProblem
from gridproblems.study.blobs import to_blob
from gridproblems.study.specs import algorithm_of, problem_of

FloatArray = NDArray[np.float64]

PACKAGES = ("gridproblems", "pymoo", "pandapower", "lightsim2grid", "numpy", "scipy", "numba")


@dataclass(frozen=True)
class Job:
    """What identifies a run, and how to make its parts in a worker.

    Attributes:
        problem, algorithm: Names.
        problem_spec, algorithm_spec: Text, or a pickled callable or object.
        seed: Seed of all random numbers of the run.
        budget: Evaluations.
        problem_fingerprint: Of what the problem has to be, empty if anything will do.
        checkpoint: File that keeps the evaluations until the run is stored, empty for none.
        checkpoint_every: See `gridproblems.checkpoints.Checkpoint`.
        trusted: Files of the user that may be run, see `gridproblems._own`.
    """

    problem: str
    algorithm: str
    seed: int
    budget: int
    problem_spec: str | bytes
    algorithm_spec: str | bytes
    problem_fingerprint: str = ""
    checkpoint: str = ""
    checkpoint_every: int | None = None
    trusted: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        status: "finished" or "failed".
        traceback: Of a failed run.
        evaluations: How many were made.
        infeasible: Of these, violating a constraint.
        diverged: Of these, without a result: power flow diverged, or a value not finite.
        cached: Of these, answered from the cache of the problem.
        run_time_s: Wall time. [s]
        gradients: Of the evaluations, how many gave slopes too; -1 for runs of files that had none.
        processor_time_s: Of the process that ran it, of the latest one where it was continued; NaN
            for runs of files that had none. [s]
        violation: Sum of violated constraints of the final points, 0 when feasible.
        F: Final points: nondominated and feasible, or the one of least violation,
            shape (n_points, n_obj).
        X: Their variables: an array (n_points, n_var), or a list of dicts.
        G: Their constraints, inequalities then equalities, shape (n_points, n_constraints).
        curve: Every improvement, as columns evaluation, time [s], violation and the objectives,
            shape (n_improvements, 3 + n_obj). With several objectives an improvement is a point
            that no earlier one dominates.
        machine: Versions and processor.
    """

    status: str = "finished"
    traceback: str = ""
    evaluations: int = 0
    infeasible: int = 0
    diverged: int = 0
    cached: int = 0
    run_time_s: float = 0.0
    gradients: int = 0
    processor_time_s: float = 0.0
    violation: float = np.inf
    F: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    X: Any = field(default_factory=lambda: np.empty((0, 0)))
    G: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    curve: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    machine: dict[str, str] = field(default_factory=dict)


class BudgetSpent(Exception):
    """Ends a run in the middle of a generation."""


class BudgetEvaluator(CheckpointedEvaluator):
    """Evaluates until the budget is spent, then raises `BudgetSpent`; never one more.

    pymoo's own terminations look at the budget after a generation only.
    """

    def __init__(
        self,
        budget: int,
        callback: Callable[[Population], None],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__(checkpoint, callback=callback)
        self.budget = budget

    def eval(
        self,
        problem: Problem,
        pop: Population | Individual,
        skip_already_evaluated: bool | None = None,
        evaluate_values_of: list[str] | None = None,
        count_evals: bool = True,
        **kwargs: Any,
    ) -> Any:
        """As pymoo's, of as many individuals as are left of the budget.

        Raises:
            BudgetSpent: Not all could be evaluated.
        """
        group = Population.create(pop) if isinstance(pop, Individual) else pop
        left = self.budget - self.n_eval
        wanted: Sequence[int] = range(len(group))
        if len(wanted) > left:
            skip = self.skip_already_evaluated
            if skip_already_evaluated is not None:
                skip = skip_already_evaluated
            values = evaluate_values_of or self.evaluate_values_of
            done = [skip and individual.evaluated.issuperset(values) for individual in group]
            wanted = [i for i in wanted if not done[i]]
        if len(wanted) <= left:
            return super().eval(
                problem, pop, skip_already_evaluated, evaluate_values_of, count_evals, **kwargs
            )
        if left > 0:
            some = group[wanted[:left]]
            super().eval(problem, some, skip_already_evaluated, evaluate_values_of, **kwargs)
        raise BudgetSpent


class RunRecorder(Recorder):
    """A `Recorder` with an exact budget that also keeps constraints, times and counts.

    Attributes:
        infeasible, diverged: Evaluations that violate a constraint, or whose values are not finite.
    """

    def __init__(
        self,
        n_obj: int,
        budget: int,
        interrupt: Interrupt | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__(n_obj, budget, checkpoint=checkpoint)
        self.evaluator = BudgetEvaluator(budget, self._record, checkpoint)
        self.infeasible = self.diverged = 0
        self._interrupt = interrupt
        self._rows: list[tuple[float, ...]] = []
        self._constraints: dict[int, FloatArray] = {}

    @property
    def curve(self) -> FloatArray:
        """See `Outcome.curve`."""
        return np.array(self._rows, dtype=float).reshape(-1, 3 + self.F.shape[1])

    @property
    def G(self) -> FloatArray:
        """Constraints of the points in `F`, shape (n_points, n_constraints)."""
        rows = [self._constraints[id(x)] for x in self.X]
        return np.array(rows, dtype=float).reshape(len(rows), -1) if rows else np.empty((0, 0))

    def _record(self, population: Population) -> None:
        """Counts every individual, and looks closer at those that may be better."""
        time_s, first = self.run_time_s, self.evaluations - len(population) + 1
        self._account()
        F, violations = population.get("F", "CV")
        violations = violations[:, 0]
        finite = np.isfinite(violations) & np.isfinite(F).all(axis=1)
        self.diverged += int((~finite).sum())
        self.infeasible += int((violations[finite] > 0.0).sum())
        promising = finite & (violations <= self.violation)
        if F.shape[1] == 1 and self.feasible:
            promising &= F[:, 0] < self.F[0, 0]
        for i in np.flatnonzero(promising):
            if self._add(first + int(i), population[i]):
                evaluation = max(first + int(i), int(self._rows[-1][0]) if self._rows else 1)
                self._rows.append((evaluation, time_s, float(violations[i]), *F[i].tolist()))
                self._constraints[id(self.X[-1])] = np.concatenate(
                    [population[i].G, population[i].H]
                )
        if self._interrupt is not None:
            self._interrupt.raise_if_asked()


class Interrupt:
    """Ctrl-C ends a study at once, but never while a result is being written.

    Evaluations ask `raise_if_asked` too, because a KeyboardInterrupt that is raised anywhere can
    be swallowed by pymoo or a destructor. Without effect outside the main thread.
    """

    def __init__(self) -> None:
        self._asked = self._held = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def hold(self, held: bool) -> None:
        """While held, Ctrl-C waits; it takes effect when released."""
        self._held = held
        if not held:
            self.raise_if_asked()

    def raise_if_asked(self) -> None:
        """Raises KeyboardInterrupt after a Ctrl-C."""
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        self._asked = True
        if not self._held:
            raise KeyboardInterrupt


def run_job(
    job: Job, eval_jobs: int = 1, driver: int = 0, interrupt: Interrupt | None = None
) -> tuple[Job, Outcome]:
    """Runs a job; whatever goes wrong in it is part of the outcome.

    The outcome depends on the job alone, times excepted: the problem is fresh, one thread does
    linear algebra, and the global generators start from the seed (some algorithms draw from them).

    Args:
        job: The run.
        eval_jobs: Workers that evaluate a population, for grid problems.
        driver: Process that started this one: Ctrl-C is left to it, and its workers end with it.
        interrupt: Asked after every batch of evaluations.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if os.getpid() != driver and in_main_thread:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() == driver:
        _end_with(driver)
    start = time.perf_counter()
    outcome = Outcome(machine=machine())
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with threadpool_limits(1):
            try:
                _run(job, eval_jobs, interrupt, outcome)
            except CheckpointError:  # it does not repeat itself, so it begins again
                Path(job.checkpoint).unlink(missing_ok=True)
                _run(replace(job, checkpoint=""), eval_jobs, interrupt, outcome)
    except (Exception, SystemExit):  # noqa: BLE001 - a failed run must not stop the others
        outcome.status, outcome.traceback = "failed", traceback.format_exc()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    outcome.run_time_s += time.perf_counter() - start
    return job, outcome


def _run(job: Job, eval_jobs: int, interrupt: Interrupt | None, outcome: Outcome) -> None:
    trust(*job.trusted)
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)  # noqa: NPY002
    problem = fresh_problem(job.problem_spec, job.problem_fingerprint)
    if eval_jobs > 1 and isinstance(problem, GridProblem):
        problem.elementwise_runner = PopulationRunner(eval_jobs)
    algorithm = algorithm_of(job.algorithm_spec, problem, job.budget)
    checkpoint = _checkpoint(job, problem, algorithm)
    recorder = RunRecorder(problem.n_obj, job.budget, interrupt, checkpoint)
    with checkpoint or nullcontext(), suppress(BudgetSpent):
        minimize(
            problem,
            algorithm,
            ("n_eval", job.budget),
            seed=job.seed,
            evaluator=recorder.evaluator,
            copy_algorithm=False,
        )
    outcome.run_time_s = max(0.0, checkpoint.earlier_s) if checkpoint is not None else 0.0
    outcome.evaluations, outcome.gradients = recorder.evaluations, recorder.gradients
    outcome.processor_time_s = recorder.processor_time_s
    outcome.infeasible, outcome.diverged = recorder.infeasible, recorder.diverged
    if isinstance(problem, GridProblem):
        outcome.cached = problem.counts.cached
        outcome.diverged += problem.counts.failed
    outcome.violation = float(recorder.violation)
    outcome.F, outcome.G, outcome.curve = recorder.F, recorder.G, recorder.curve
    outcome.X = list(recorder.X)
    if not any(isinstance(x, dict) for x in outcome.X):
        outcome.X = np.array(outcome.X)
    else:
        to_blob(outcome.X)  # variables that cannot be kept are the fault of this run


def _checkpoint(job: Job, problem: Problem, algorithm: Algorithm) -> Checkpoint | None:
    """Where the evaluations of a run are kept; what is of another run is thrown away."""
    if not job.checkpoint or why_not(algorithm):
        return None
    for _ in range(2):
        try:
            return Checkpoint(
                job.checkpoint,
                problem,
                job.checkpoint_every,
                fingerprint=job.problem_fingerprint,
            )
        except CheckpointInUse:
            break
        except CheckpointError:
            Path(job.checkpoint).unlink(missing_ok=True)
    return None


def make_problem(spec: str | bytes) -> tuple[Problem, str]:
    """A problem of a specification as it is at this moment, and its fingerprint."""
    made = problem_of(spec)
    fingerprint = fingerprint_of_problem(made)
    _remember(spec, fingerprint, made)
    return made, fingerprint


def fresh_problem(spec: str | bytes, fingerprint: str = "") -> Problem:
    """A problem of a specification, with nothing left in it of an earlier run.

    A grid problem keeps its compiled grid, which has no memory; any other is pickled and back.

    Args:
        spec: Text, or a pickled callable or object.
        fingerprint: What it has to be, empty if anything will do.

    Raises:
        ValueError: A grid problem became another one, because a file was changed.
    """
    if (spec, fingerprint) not in _MADE:
        made = problem_of(spec)
        if fingerprint and isinstance(made, GridProblem) and made.fingerprint() != fingerprint:
            raise ValueError(
                "the problem is not what it was when the study was made: a file behind it was "
                "changed; make the study again"
            )
        _remember(spec, fingerprint, made)
    _MADE.move_to_end((spec, fingerprint))
    made, pickled = _MADE[spec, fingerprint]
    if isinstance(made, GridProblem):
        return made.with_engine(made.engine)  # its cache and counts are left behind
    return problem_of(spec) if pickled is None else cloudpickle.loads(pickled)


#: Problems made in this process, by specification and fingerprint, pickled if they are no grid
#: problems and can be.
_MADE: OrderedDict[tuple[str | bytes, str], tuple[Problem, bytes | None]] = OrderedDict()
_MOST_MADE = 32


def _remember(spec: str | bytes, fingerprint: str, made: Problem) -> None:
    pickled = None
    if not isinstance(made, GridProblem):
        with suppress(pickle.PicklingError, TypeError, AttributeError):
            pickled = cloudpickle.dumps(made)
    _MADE[spec, fingerprint] = (made, pickled)
    while len(_MADE) > _MOST_MADE:
        _MADE.popitem(last=False)


@lru_cache
def _end_with(driver: int) -> None:
    """Ends this worker soon after the process that started it, should that be killed."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@lru_cache
def machine() -> dict[str, str]:
    """Versions of what computes the results, and the processor."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{os.cpu_count()} x {platform.machine()}",
    }
