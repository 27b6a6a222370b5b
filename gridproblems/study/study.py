"""`Study`: algorithms against problems over seeds, resumable, in one file."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from pymoo.core.algorithm import Algorithm
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gridproblems._results import parameters_of
from gridproblems.study.describe import facts_of, solution_of
from gridproblems.study.run import Interrupt, Job, Outcome, fresh_problem, run_job
from gridproblems.study.specs import (
    AlgorithmSpec,
    ProblemSpec,
    algorithm_of,
    by_name,
    described,
    portable,
)
from gridproblems.study.store import RunKey, Store, vector_key

if TYPE_CHECKING:
    from gridproblems.study.results import Results

WARM_UP_EVALUATIONS, TRIAL_EVALUATIONS = 20, 200
LONGEST_TRIAL_S = 10.0
MOST_DESCRIBED = 200

OnOutcome = Callable[[RunKey, Outcome], None]


class Study:
    """Every algorithm on every problem with every seed, at the same budget of evaluations.

    Runs that the file holds already are not repeated, so a study that was stopped goes on where
    it was, and one with more seeds, algorithms or problems adds what is missing.

    Args:
        path: The SQLite file with the results; made if it does not exist.
        problems: By name ``"task:case"``, ``"task:case?option=value&..."``, or a callable without
            arguments that makes any pymoo problem. A list of texts names each by its text. The
            name of a callable is what identifies the problem: give a changed one another name.
        algorithms: By name a name in ``algorithms.ALGORITHMS``, with parameters as
            ``"hs?pop_size=20"``, or a callable of (problem, n_evals) that makes any pymoo
            algorithm. Name, class and plain parameters identify it.
        seeds: How many (1, 2, ...), or which.
        n_evals: Evaluations of a run, or of a run by name of the problem.

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
    ) -> None:
        self.path = Path(path)
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
        specs = {name: portable(spec) for name, spec in self.problems.items()}
        makers = {name: portable(spec) for name, spec in self.algorithms.items()}
        parameters = {}
        for name, spec in specs.items():
            problem = fresh_problem(spec)
            self._facts[name] = facts_of(problem)
            for algorithm, maker in makers.items():
                made = algorithm_of(maker, problem, self.budgets[name])
                parameters[name, algorithm] = _identity(made)
        return {
            RunKey(
                name, described(self.problems[name]), algorithm, parameters[name, algorithm],
                seed, self.budgets[name],
            ): Job(name, algorithm, seed, self.budgets[name], spec, maker)
            for seed in self.seeds
            for name, spec in specs.items()
            for algorithm, maker in makers.items()
        }  # fmt: skip

    def missing(self) -> dict[RunKey, Job]:
        """What is not finished: never run, interrupted or failed."""
        if not self.path.exists():
            return dict(self.jobs)
        with Store(self.path) as store:
            finished = store.keys()
        return {key: job for key, job in self.jobs.items() if key not in finished}

    def run(
        self, n_jobs: int = 1, progress: bool = True, on_outcome: OnOutcome | None = None
    ) -> None:
        """Does what is missing; every finished run is in the file at once.

        Runs are spread over worker processes. Fewer runs than workers: the evaluations of a run
        are spread over those left (grid problems only). Under
        ``joblib.parallel_config(backend="dask")`` or ``"ray"`` the runs go to that cluster.
        A run that fails is stored with its traceback, and repeated by the next call.

        Args:
            n_jobs: Workers, -1 for all cores.
            progress: Show a bar with the time left.
            on_outcome: Called in this process with every run after it is stored.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was finished is stored.
        """
        missing = self.missing()
        with Store(self.path) as store:
            for name, spec in self.problems.items():
                store.set_problem(name, described(spec), self._facts[name])
            if missing:
                with Interrupt() as interrupt, _display(store, missing, progress) as display:
                    keys = {(k.problem, k.algorithm, k.seed): k for k in missing}
                    with closing(_outcomes(missing, n_jobs, interrupt)) as outcomes:
                        for job, outcome in outcomes:
                            interrupt.hold(True)
                            key = keys[job.problem, job.algorithm, job.seed]
                            store.add(key, outcome)
                            interrupt.hold(False)
                            display(key, outcome)
                            if on_outcome is not None:
                                on_outcome(key, outcome)
        self._describe_solutions()

    def _describe_solutions(self) -> None:
        """Puts the settings of the best points of each problem into words, in the file."""
        results = self.results()
        for name, spec in self.problems.items():
            with Store(self.path) as store:
                have = store.solutions(name, described(spec))
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
            problem = fresh_problem(portable(spec))
            solutions = {
                key: {**solution_of(problem, x, pictures=full), "full": full}
                for key, (x, full) in wanted.items()
            }
            with Store(self.path) as store:
                store.set_solutions(name, described(spec), solutions)

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
            with Store(self.path) as store:
                known = store.times()
        groups: dict[tuple[Any, ...], list[RunKey]] = defaultdict(list)
        for key in self.jobs:
            groups[_kind(key)].append(key)
        rows = []
        for kind, keys in groups.items():
            to_do = [key for key in keys if key in missing]
            seconds = known.get(kind)
            if seconds is None:
                seconds = _trial_s(self.jobs[keys[0]])
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

        self._describe_solutions()
        return write_report(self.results(), path, figures=figures)


def _identity(algorithm: Algorithm) -> str:
    """Class and plain parameters of an algorithm as JSON."""
    return json.dumps(
        {"class": type(algorithm).__name__, **parameters_of(algorithm)}, sort_keys=True
    )


def _trial_s(job: Job) -> float:
    """Expected time of a run, from a short one of its own kind that is stored nowhere. [s]"""
    seconds = np.inf
    for trial in (WARM_UP_EVALUATIONS, TRIAL_EVALUATIONS):
        trial = min(trial, job.budget)
        if seconds * trial / job.budget < LONGEST_TRIAL_S or trial <= WARM_UP_EVALUATIONS:
            _, outcome = run_job(replace(job, budget=trial), driver=os.getpid())
            seconds = outcome.run_time_s * job.budget / max(outcome.evaluations, 1)
    return float(seconds)


def _kind(key: RunKey) -> tuple[Any, ...]:
    return key.problem, key.spec, key.algorithm, key.parameters, key.budget


def _outcomes(
    jobs: Mapping[RunKey, Job], n_jobs: int, interrupt: Interrupt
) -> Generator[tuple[Job, Outcome], None, None]:
    """Outcomes as they come, from workers or from this process."""
    available = joblib.effective_n_jobs(n_jobs)
    workers = min(available, len(jobs))
    eval_jobs = available // workers
    if available == 1 or workers == 1:
        for job in jobs.values():
            yield run_job(job, eval_jobs, os.getpid(), interrupt)
        return
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
    yield from parallel(
        joblib.delayed(run_job)(job, eval_jobs, os.getpid()) for job in jobs.values()
    )


@contextmanager
def _display(
    store: Store, jobs: Mapping[RunKey, Job], enabled: bool
) -> Iterator[Callable[[RunKey, Outcome], None]]:
    """A bar with runs done, time left and the latest run; failures are printed."""
    times = {kind: [seconds, 1.0] for kind, seconds in store.times().items()}
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

    with bar:
        yield show


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"
