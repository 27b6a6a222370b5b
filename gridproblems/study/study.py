"""`Study`: algorithms against problems over seeds, resumable, in one file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from joblib._parallel_backends import LokyBackend
from pymoo.core.algorithm import Algorithm
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gridproblems._arguments import check_arguments, shown
from gridproblems._own import trusted
from gridproblems._results import parameters_of
from gridproblems.fingerprint import fingerprint_of
from gridproblems.study.blobs import vector_key
from gridproblems.study.describe import facts_of, solution_of
from gridproblems.study.plans import drop_plan, keep_plan, plan_of, plans_path
from gridproblems.study.run import (
    Interrupt,
    Job,
    Outcome,
    fresh_problem,
    make_problem,
    run_job,
)
from gridproblems.study.specs import (
    AlgorithmSpec,
    ProblemSpec,
    algorithm_of,
    by_name,
    described,
    portable,
)
from gridproblems.study.store import RunKey, Store, StudyFileError, may_write, this_process
from gridproblems.study.workers import outcomes, run_apart

if TYPE_CHECKING:
    from gridproblems.study.results import Results

WARM_UP_EVALUATIONS, TRIAL_EVALUATIONS = 20, 200
LONGEST_TRIAL_S = 10.0
RENEW_S, ASK_AGAIN_S = 10.0, 0.5
MOST_DESCRIBED = 200

OnOutcome = Callable[[RunKey, Outcome], None]


class Study:
    """Every algorithm on every problem with every seed, at the same budget of evaluations.

    Runs that the file holds already are not repeated, so a study that was stopped goes on where
    it was, and one with more seeds, algorithms or problems adds what is missing.

    Args:
        path: The SQLite file with the results; made if it does not exist.
        problems: By name ``"task:case"``, ``"task:case?option=value&..."``, any pymoo problem, or a
            callable without arguments that makes one. A list of texts names each by its text.
            What it is made of identifies it (`gridproblems.fingerprint`): when a net, a limit or
            the code of the user changes, its old runs do not stand for the new problem.
        algorithms: By name a name in ``algorithms.ALGORITHMS``, with parameters as
            ``"hs?pop_size=20"``, any pymoo algorithm that did not run yet, or a callable of
            (problem, n_evals) that makes one. Class and all parameters and operators identify it.
        seeds: How many (1, 2, ...), or which.
        n_evals: Evaluations of a run, or of a run by name of the problem.
        timeout_s: Longest time of a run, None for any; a run that takes longer is ended and stored
            as failed. [s]

    Raises:
        ValueError: Nothing to compare, an unknown name (the nearest is suggested), an algorithm
            that cannot solve one of the problems, or a bad number.
        TypeError: An unknown parameter of an algorithm.
    """

    def __init__(
        self,
        path: str | Path,
        problems: Mapping[str, ProblemSpec] | Iterable[str],
        algorithms: Mapping[str, AlgorithmSpec] | Iterable[str],
        seeds: int | Sequence[int] = 31,
        n_evals: int | Mapping[str, int] = 10_000,
        timeout_s: float | None = None,
    ) -> None:
        check_arguments(
            Study.__init__,
            {
                "path": path,
                "problems": problems,
                "algorithms": algorithms,
                "seeds": seeds,
                "n_evals": n_evals,
            },
        )
        self.path = Path(path)
        is_number = isinstance(timeout_s, Real) and not isinstance(timeout_s, bool)
        if timeout_s is not None and not (is_number and 0.0 < timeout_s < math.inf):
            raise ValueError(f"timeout_s: expected more than 0 s, or None, got {shown(timeout_s)}")
        self.timeout_s = timeout_s
        self.problems = by_name("problems", problems)
        self.algorithms = by_name("algorithms", algorithms)
        self.seeds = list(range(1, seeds + 1)) if isinstance(seeds, int) else list(seeds)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds: expected different numbers from 0 on, got {seeds}")
        budgets = n_evals if isinstance(n_evals, Mapping) else dict.fromkeys(self.problems, n_evals)
        if set(budgets) != set(self.problems):
            raise ValueError(f"n_evals: expected {sorted(self.problems)}, got {sorted(budgets)}")
        if min(budgets.values()) < 1:
            raise ValueError(f"n_evals: expected at least 1, got {n_evals}")
        self.budgets = {name: int(budgets[name]) for name in self.problems}
        self._facts: dict[str, dict[str, Any]] = {}
        self.jobs: dict[RunKey, Job] = self._make_jobs()

    def _make_jobs(self) -> dict[RunKey, Job]:
        self._specs = {name: portable(spec) for name, spec in self.problems.items()}
        makers = {name: portable(spec) for name, spec in self.algorithms.items()}
        self._fingerprints: dict[str, str] = {}
        identities = {}
        for name, spec in self._specs.items():
            _, self._fingerprints[name] = make_problem(spec)
            problem = fresh_problem(spec, self._fingerprints[name])
            self._facts[name] = facts_of(problem)
            for algorithm, maker in makers.items():
                made = algorithm_of(maker, problem, self.budgets[name])
                identities[name, algorithm] = _identity(made), fingerprint_of(made)
        jobs = {}
        for seed in self.seeds:
            for name, spec in self._specs.items():
                for algorithm, maker in makers.items():
                    parameters, fingerprint = identities[name, algorithm]
                    key = RunKey(
                        name, described(self.problems[name]), algorithm, parameters, seed,
                        self.budgets[name], self._fingerprints[name], fingerprint,
                    )  # fmt: skip
                    jobs[key] = Job(
                        name, algorithm, seed, self.budgets[name], spec, maker,
                        self._fingerprints[name], trusted=trusted(),
                    )  # fmt: skip
        return jobs

    def missing(self) -> dict[RunKey, Job]:
        """What is not finished: never run or interrupted, and last what failed."""
        if not self.path.exists():
            return dict(self.jobs)
        with Store(self.path, read_only=True) as store:
            statuses = {run.key: run.outcome.status for run in store.runs()}
        left = {key: job for key, job in self.jobs.items() if statuses.get(key) != "finished"}
        return dict(sorted(left.items(), key=lambda pair: pair[0] in statuses))

    def run(
        self,
        n_jobs: int = 1,
        progress: bool = True,
        on_outcome: OnOutcome | None = None,
        checkpoint_every: int | None = None,
    ) -> None:
        """Does what is missing; every finished run is in the file at once.

        Runs are spread over worker processes. Fewer runs than workers: the evaluations of a run
        are spread over those left (grid problems only). Under
        ``joblib.parallel_config(backend="dask")`` or ``"ray"`` the runs go to that cluster.
        A run that fails is stored with its traceback, and repeated by the next call, after all
        others. So is one that ends its process, or takes longer than ``timeout_s`` (on a cluster
        both are left to the cluster). Several processes, also on several machines with a common
        folder, share the runs of one file; each call returns when nothing is left to do.

        Args:
            n_jobs: Workers, -1 for all cores.
            progress: Show a bar with the time left.
            on_outcome: Called in this process with every run of its own after it is stored.
            checkpoint_every: A run that is not finished keeps its evaluations in a folder beside
                the file, so that it goes on after a kill: every so many, None for every ten
                seconds, 0 for never; not on a cluster.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was finished is stored.
            StudyFileError: The file cannot be read or written.
            ValueError: ``timeout_s`` on a cluster; ``checkpoint_every`` is no whole number.
        """
        if checkpoint_every is not None and not (
            type(checkpoint_every) is int and checkpoint_every >= 0
        ):
            raise ValueError(
                f"checkpoint_every: expected 0 or more, or None, got {shown(checkpoint_every)}"
            )
        workers = joblib.effective_n_jobs(n_jobs)
        cluster = not isinstance(joblib.parallel.get_active_backend()[0], LokyBackend)
        if cluster and self.timeout_s is not None:
            raise ValueError("timeout_s: expected None where joblib hands the runs to a cluster")
        since = 0
        if self.path.exists():
            with Store(self.path, read_only=True) as store:
                since = store.last_id()
        missing = self.missing()
        if missing or self._facts_differ():
            with Store(self.path) as store:
                for name, spec in self.problems.items():
                    facts = self._facts[name]
                    store.set_problem(name, described(spec), facts, self._fingerprints[name])
                if missing:
                    with self._kept(missing, cluster, checkpoint_every) as jobs:
                        turns = _Turns(store, jobs, since)
                        self._run(turns, workers, cluster, progress, on_outcome)
        self.describe()

    @contextmanager
    def _kept(
        self, missing: dict[RunKey, Job], cluster: bool, every: int | None
    ) -> Iterator[dict[RunKey, Job]]:
        """Jobs that say where their evaluations are kept; what is left to do stands beside them."""
        plan = plan_of(
            self.problems, self.algorithms, self.seeds, self.budgets, self.timeout_s, every
        )
        path, folder = plans_path(self.path), self.path.with_name(f"{self.path.stem}-runs")
        if plan is not None:
            keep_plan(path, plan)
        if cluster or every == 0:
            yield missing
        else:
            folder.mkdir(exist_ok=True)
            kept = {}
            for key, job in missing.items():
                name = hashlib.sha256(key.as_text().encode()).hexdigest()[:32]
                where = str((folder / f"{name}.bin").absolute())
                kept[key] = replace(job, checkpoint=where, checkpoint_every=every)
            try:
                yield kept
            finally:
                with suppress(OSError):  # runs that are not finished, or of others
                    folder.rmdir()
        if plan is not None and not self.missing():
            drop_plan(path, plan)

    def _run(
        self, turns: _Turns, workers: int, cluster: bool, progress: bool, tell: OnOutcome | None
    ) -> None:
        workers, total = min(workers, len(turns.left)), workers
        with Interrupt() as interrupt, turns, _display(turns, progress) as display:
            if cluster:
                made = _cluster_outcomes(turns, workers, total // workers)
            else:
                made = outcomes(
                    turns.next_job, workers, total // workers, self.timeout_s, turns.renew
                )
            with closing(made):
                for job, outcome in made:
                    interrupt.hold(True)
                    key = turns.keys[job.problem, job.algorithm, job.seed]
                    turns.store.add(key, outcome)
                    if job.checkpoint:
                        Path(job.checkpoint).unlink(missing_ok=True)
                    interrupt.hold(False)
                    display(key, outcome)
                    if tell is not None:
                        tell(key, outcome)

    def _facts_differ(self) -> bool:
        with Store(self.path, read_only=True) as store:
            stored = store.problems()
        return any(
            stored.get((name, described(spec), self._fingerprints[name]))
            != json.loads(json.dumps(self._facts[name]))
            for name, spec in self.problems.items()
        ) and may_write(self.path)

    def describe(self) -> None:
        """Puts the settings of the best points of each problem into words, in the file.

        `run` and `report` do so by themselves.
        """
        if not may_write(self.path):
            return
        results = self.results()
        for name, spec in self.problems.items():
            of_problem = name, described(spec)
            fingerprint = self._fingerprints[name]
            with Store(self.path, read_only=True) as store:
                have = store.solutions(*of_problem, fingerprint)
            wanted: dict[str, tuple[Any, bool]] = {}
            for entry in results.entries:
                if entry.name != name:
                    continue
                front = results.front(entry.label)
                for x in front["x"].iloc[:MOST_DESCRIBED]:
                    wanted.setdefault(vector_key(x), (x, False))
                for x in results.chosen(entry.label)["x"]:
                    wanted[vector_key(x)] = (x, True)
            wanted = {
                key: (x, full)
                for key, (x, full) in wanted.items()
                if key not in have or (full and not have[key].get("full"))
            }
            if not wanted:
                continue
            problem = fresh_problem(self._specs[name], fingerprint)
            solutions = {
                key: {**solution_of(problem, x, pictures=full), "full": full}
                for key, (x, full) in wanted.items()
            }
            with Store(self.path) as store:
                store.set_solutions(*of_problem, solutions, fingerprint)

    def plan(self, n_jobs: int = 1) -> pd.DataFrame:
        """What `run` would do, and how long: one row per problem and algorithm.

        Columns: problem, algorithm, evaluations, stored and missing runs, s_per_run, and s, the
        wall time of the missing runs on ``n_jobs`` workers. Times are those of stored runs, or of
        a trial of up to 200 evaluations, which stores nothing.
        """
        missing = self.missing()
        workers = joblib.effective_n_jobs(n_jobs)
        known: dict[tuple[Any, ...], float] = {}
        if self.path.exists():
            with Store(self.path, read_only=True) as store:
                known = store.times()
        groups: dict[tuple[Any, ...], list[RunKey]] = defaultdict(list)
        for key in self.jobs:
            groups[_kind(key)].append(key)
        rows = []
        for kind, keys in groups.items():
            to_do = [key for key in keys if key in missing]
            seconds = known.get(kind)
            if seconds is None:
                seconds = _trial_s(self.jobs[keys[0]], self.timeout_s)
            rows.append(
                {
                    "problem": keys[0].problem,
                    "algorithm": keys[0].algorithm,
                    "evaluations": keys[0].budget,
                    "stored": len(keys) - len(to_do),
                    "missing": len(to_do),
                    "s_per_run": seconds,
                    "s": len(to_do) * seconds / workers,
                }
            )
        return pd.DataFrame(rows)

    # -- what came of it --------------------------------------------------------------------

    def results(self) -> Results:
        """The runs of this study that are stored, for analysis."""
        from gridproblems.study.results import Results

        return Results(self.path, keys=self.jobs)

    def table(self) -> pd.DataFrame:
        """One row per problem and algorithm; see `gridproblems.study.analyse.table`."""
        from gridproblems.study.analyse import table

        return table(self.results())

    def report(self, path: str | Path, figures: bool = False) -> Path:
        """Writes the report, one HTML file; with ``figures`` also PNG files beside it."""
        from gridproblems.study.report import write_report

        self.describe()
        return write_report(self.results(), path, figures=figures)


def _identity(algorithm: Algorithm) -> str:
    """Class and plain parameters of an algorithm as JSON."""
    return json.dumps(
        {"class": type(algorithm).__name__, **parameters_of(algorithm)}, sort_keys=True
    )


def _trial_s(job: Job, timeout_s: float | None) -> float:
    """Expected time of a run, from a short one of its own kind that is stored nowhere. [s]"""
    seconds = np.inf
    for trial in (WARM_UP_EVALUATIONS, TRIAL_EVALUATIONS):
        trial = min(trial, job.budget)
        if seconds * trial / job.budget < LONGEST_TRIAL_S or trial <= WARM_UP_EVALUATIONS:
            outcome = run_apart(replace(job, budget=trial), timeout_s)
            seconds = outcome.run_time_s * job.budget / max(outcome.evaluations, 1)
    return float(seconds)


def _kind(key: RunKey) -> tuple[Any, ...]:
    return key.problem, key.spec, key.algorithm, key.parameters, key.budget


class _Turns:
    """Hands out the runs of a study, none that another process is at.

    Args:
        store: The file.
        jobs: What is to be done.
        since: Number of the latest run in the file when this process began.

    Attributes:
        left: What nobody has done yet, as far as is known.
        done_by_others: Called with the key of every run that another process did.
    """

    def __init__(self, store: Store, jobs: Mapping[RunKey, Job], since: int) -> None:
        self.store = store
        self.left = dict(jobs)
        self.keys = {(k.problem, k.algorithm, k.seed): k for k in jobs}
        self.done_by_others: Callable[[RunKey], None] = lambda key: None
        self._since = since
        self._owner = this_process()
        self._renewed_s = self._asked_s = -math.inf

    def __enter__(self) -> _Turns:
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(StudyFileError):  # claims of a process that ended are void anyway
            self.store.drop_claims(self._owner)

    def renew(self) -> None:
        """Says from time to time that this process is still at work."""
        now = time.monotonic()
        if now - self._renewed_s > RENEW_S:
            self.store.renew_claims(self._owner)
            self._renewed_s = now

    def next_job(self) -> Job | str | None:
        """A job that is this process's own now, "wait", or None when all is done."""
        now = time.monotonic()
        if now - self._asked_s < ASK_AGAIN_S:
            return "wait" if self.left else None
        for key in list(self.left):
            answer = self.store.claim(key, self._since, self._owner)
            if answer == "mine":
                return self.left.pop(key)
            if answer == "done":
                del self.left[key]
                self.done_by_others(key)
        self._asked_s = now  # others are at all that is left
        return "wait" if self.left else None


def _cluster_outcomes(
    turns: _Turns, workers: int, eval_jobs: int
) -> Generator[tuple[Job, Outcome], None, None]:
    """Outcomes from the workers of joblib's active backend; all that is free is claimed at once."""
    while turns.left:
        jobs = _all_of(turns)
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(run_job)(job, eval_jobs, os.getpid()) for job in jobs)
        if turns.left:
            time.sleep(ASK_AGAIN_S)


def _all_of(turns: _Turns) -> list[Job]:
    jobs = []
    while isinstance(job := turns.next_job(), Job):
        jobs.append(job)
    return jobs


@contextmanager
def _display(turns: _Turns, enabled: bool) -> Iterator[Callable[[RunKey, Outcome], None]]:
    """A bar with runs done, time left and the latest run; failures are printed."""
    jobs = turns.left
    times = {kind: [seconds, 1.0] for kind, seconds in turns.store.times().items()}
    left: dict[tuple[Any, ...], int] = defaultdict(int)
    for key in jobs:
        left[_kind(key)] += 1
    start, spent = time.perf_counter(), 0.0
    console = Console(stderr=True)
    bar = Progress(
        BarColumn(bar_width=12),
        TextColumn("{task.completed:.0f}/{task.total:.0f} runs"),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=not enabled,
    )
    task = bar.add_task("starting", total=len(jobs))

    def show(key: RunKey, outcome: Outcome) -> None:
        nonlocal spent
        spent += outcome.run_time_s
        mean = times.setdefault(_kind(key), [0.0, 0.0])
        mean[0] += (outcome.run_time_s - mean[0]) / (mean[1] + 1.0)
        mean[1] += 1.0
        left[_kind(key)] -= 1
        usual = sum(m for m, _ in times.values()) / len(times)
        to_do = sum(n * times.get(kind, [usual])[0] for kind, n in left.items())
        wall = to_do * (time.perf_counter() - start) / max(spent, 1e-9)
        text = f"{_duration(wall)} left, {key.problem} {key.algorithm} seed {key.seed}"
        if outcome.status == "failed":
            reason = outcome.traceback.strip().splitlines()[-1]
            bar.console.print(f"failed: {key.problem} {key.algorithm} seed {key.seed}: {reason}",
                              markup=False, highlight=False)  # fmt: skip
        elif outcome.violation > 0.0:
            text += ": nothing feasible"
        elif outcome.F.shape[1] == 1:
            text += f": {outcome.F[0, 0]:.6g}"
        else:
            text += f": {len(outcome.F)} nondominated"
        bar.update(task, advance=1, description=text)

    def others(key: RunKey) -> None:
        left[_kind(key)] -= 1
        bar.update(task, advance=1)

    turns.done_by_others = others
    with bar:
        yield show


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
