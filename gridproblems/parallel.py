"""Evaluates a population in parallel: chunks, the compiled grid kept in each worker."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
import joblib
import numpy as np
from numpy.typing import NDArray

from gridproblems._arguments import shown

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
            folder = tempfile.TemporaryDirectory(prefix="gridproblems-")
            weakref.finalize(self, folder.cleanup)
            self._file = str(Path(folder.name) / "problem.pkl")
            Path(self._file).write_bytes(cloudpickle.dumps(problem))
        return self._file


def _evaluate_stored(path: str, chunk: NDArray[Any]) -> tuple[Outputs, dict[str, int]]:
    problem = _load(path)
    before = problem.counts.as_dict()
    outputs = problem.evaluate_many(chunk)
    after = problem.counts.as_dict()
    return outputs, {name: after[name] - before[name] for name in after}


@lru_cache(maxsize=4)
def _load(path: str) -> EvaluatedInBatches:
    problem: EvaluatedInBatches = cloudpickle.loads(Path(path).read_bytes())
    return problem
