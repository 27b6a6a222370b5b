"""Evaluates in parallel: many candidates, or the situations of few; each worker keeps the grid."""

from __future__ import annotations

import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import joblib
import numpy as np
from numpy.typing import NDArray

from gridproblems._arguments import shown
from gridproblems.evaluation import Evaluation, Part
from gridproblems.state import FloatArray, GridState

_LEAST_IN_THREADS = 1024  # power flows; fewer are solved sooner than shared

Outputs = list[dict[str, Any]]


class EvaluatedInBatches(Protocol):
    """What the runner needs of a problem."""

    engine: Any
    counts: Any

    def evaluate_many(self, X: Any) -> Outputs:
        """What pymoo expects in ``out``, for each vector."""
        ...


class PopulationRunner:
    """pymoo's ``elementwise_runner`` for grid problems.

    An engine with ``n_threads`` starts its own threads where they pay. Else threads where the
    engine releases the GIL, else joblib's worker processes, which load the problem once. (joblib's
    threads cost 10 to 25 ms a call, for they are started anew and waited for by polling; that is
    more than a population of 100 takes.) The results are those of a serial run, in the same order.

    Args:
        n_jobs: Number of workers, -1 for all cores.

    Raises:
        ValueError: ``n_jobs`` is 0 or no whole number.
    """

    def __init__(self, n_jobs: int) -> None:
        if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0:
            raise ValueError(
                f"n_jobs: expected a positive number, or -1 for all cores, got {shown(n_jobs)}"
            )
        self.n_jobs: int = joblib.effective_n_jobs(n_jobs)
        self._file: str | None = None
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"n_jobs": self.n_jobs, "_file": None, "_threads": None}

    def __call__(self, f: Callable[[Any], dict[str, Any]], X: NDArray[Any]) -> Outputs:
        """Evaluates all vectors of a population.

        Args:
            f: pymoo's evaluation function of one vector; it knows the problem.
            X: The vectors, shape (n, n_var), or n dicts of variables.
        """
        problem: EvaluatedInBatches = f.problem  # type: ignore[attr-defined]
        if not self.asks_workers(problem, len(X)):
            return problem.evaluate_many(X)
        chunks = np.array_split(X, min(self.n_jobs, len(X)))
        if problem.engine.releases_gil:
            self._threads = self._threads or ThreadPoolExecutor(self.n_jobs)
            parts = list(self._threads.map(problem.evaluate_many, chunks))
        else:
            parallel = joblib.Parallel(n_jobs=self.n_jobs, backend="loky")
            path = self._stored(problem)
            results = parallel(joblib.delayed(_evaluate_stored)(path, chunk) for chunk in chunks)
            parts = [part for part, _ in results]
            for _, counts in results:
                problem.counts.add(**counts)
        return [output for part in parts for output in part]

    def asks_workers(self, problem: EvaluatedInBatches, n: int) -> bool:
        """Whether several workers evaluate n vectors."""
        return self.n_jobs > 1 and n > 1 and getattr(problem.engine, "n_threads", 1) == 1

    def _stored(self, problem: EvaluatedInBatches) -> str:
        """A file with the problem, written once and removed with this runner."""
        if self._file is None:
            self._file = _stored_for(self, problem)
        return self._file


class SituationRunner:
    """Solves the situations of a few candidates side by side, with the bits of one worker.

    Threads where the engine releases the GIL, else joblib's worker processes. An engine with
    ``n_threads`` shares its power flows itself. Of the parts that are solved no more wait to be
    reduced than there are workers.

    Args:
        n_jobs: Number of workers.
        engine: The engine; evaluations with another one are not shared.
    """

    def __init__(self, n_jobs: int, engine: Any) -> None:
        self.n_jobs, self._engine = n_jobs, engine
        self._path: str | None = None
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"n_jobs": self.n_jobs, "_engine": self._engine, "_path": None, "_threads": None}

    def shares(self, evaluation: Evaluation, n: int) -> list[slice]:
        """The situations in parts for n candidates; none where one worker is to solve all."""
        s, engine = evaluation.situations, self._engine
        least = _LEAST_IN_THREADS if engine.releases_gil else 2
        if not 0 < n < self.n_jobs or n * s.n < least or evaluation.engine is not engine:
            return []
        if hasattr(engine, "n_threads") or not evaluation.can_split or _is_worker():
            return []
        if not engine.releases_gil and evaluation.needs_solution:
            return []  # which does not come back from another process
        if len(evaluation.chunks) > 1:
            return list(evaluation.chunks)
        step = -(-s.n // self.n_jobs)
        if s.n_time > 1 and (s.n > s.n_time or getattr(engine, "sequential", False)):
            step = -(-step // s.n_time) * s.n_time
        parts = [slice(first, min(s.n, first + step)) for first in range(0, s.n, step)]
        return parts if len(parts) > 1 else []

    def __call__(
        self, evaluation: Evaluation, X: FloatArray, shares: list[slice]
    ) -> Iterator[Part]:
        """Vectors decoded and solved, in the order of the parts; counts the power flows."""
        if not self._engine.releases_gil:
            yield from self._in_processes(evaluation, X, shares)
            return
        self._threads = self._threads or ThreadPoolExecutor(self.n_jobs)
        waiting: deque[Future[Part]] = deque()
        for rows in shares:
            waiting.append(self._threads.submit(evaluation.part, X, rows))
            if len(waiting) > self.n_jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _in_processes(
        self, evaluation: Evaluation, X: FloatArray, shares: list[slice]
    ) -> Iterator[Part]:
        if self._path is None:
            self._path = _stored_for(self, evaluation)
        parallel = joblib.Parallel(self.n_jobs, backend="loky", return_as="generator")
        states = parallel(joblib.delayed(_solve_stored)(self._path, X, rows) for rows in shares)
        for rows, state in zip(shares, states, strict=True):
            settings = evaluation.joint.decode(X, rows)
            evaluation.counts.add(power_flows=len(settings.rows))
            yield rows, settings, state


def _is_worker() -> bool:
    """Whether this is one of joblib's workers, whose siblings take the other cores."""
    backend, _ = joblib.parallel.get_active_backend()
    return bool(backend.nesting_level)


def _stored_for(owner: object, value: Any) -> str:
    """A file with a value, removed with its owner."""
    folder = tempfile.TemporaryDirectory(prefix="gridproblems-")
    weakref.finalize(owner, folder.cleanup)
    path = Path(folder.name) / "stored.pkl"
    path.write_bytes(cloudpickle.dumps(value))
    return str(path)


def _solve_stored(path: str, X: FloatArray, rows: slice) -> GridState:
    evaluation: Evaluation = _load(path)
    return evaluation.part(X, rows)[2]


def _evaluate_stored(path: str, chunk: NDArray[Any]) -> tuple[Outputs, dict[str, int]]:
    problem: EvaluatedInBatches = _load(path)
    before = problem.counts.as_dict()
    outputs = problem.evaluate_many(chunk)
    after = problem.counts.as_dict()
    return outputs, {name: after[name] - before[name] for name in after}


@lru_cache(maxsize=4)
def _load(path: str) -> Any:
    return cloudpickle.loads(Path(path).read_bytes())
