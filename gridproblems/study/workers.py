"""Processes that run jobs: one that dies, exits or hangs costs its own run and no other."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import IO, Any

from gridproblems.fingerprint import is_packaged
from gridproblems.study.run import Job, Outcome, machine, run_job

MOST_IDLE = 2
STARTS_WITHIN_S = 300.0
TICK_S = 0.25

#: What `outcomes` asks for the next job; None if there is none, "wait" if there may be one later.
NextJob = Callable[[], "Job | str | None"]


class Worker:
    """A process that runs one job after another, and a thread that talks to it.

    Args:
        answers: Gets (this worker, outcome), or (this worker, None) when the process has ended.
    """

    def __init__(self, answers: queue.SimpleQueue[tuple[Worker, Any]]) -> None:
        self.answers = answers
        self.job: Job | None = None
        self.since_s = time.monotonic()
        self.is_ready = self._has_closed = False
        self._state = _surroundings()
        self._started_s = time.time()
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from gridproblems.study.workers import serve; serve()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._talk, daemon=True).start()

    def _talk(self) -> None:
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        try:
            _receive(replies)
            self.since_s, self.is_ready = time.monotonic(), True
            while (request := self._inbox.get()) is not None:
                self.since_s = time.monotonic()
                _send(requests, request)
                outcome = pickle.loads(_receive(replies))
                self.answers.put((self, outcome))
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            self._has_closed = True
            self.answers.put((self, None))

    def give(self, job: Job, eval_jobs: int) -> None:
        """Sends a job; its outcome comes through ``answers``."""
        self.job = job
        self.since_s = time.monotonic()
        self._inbox.put(pickle.dumps((job, eval_jobs, os.getpid())))

    def is_late(self, timeout_s: float | None) -> bool:
        """Whether its run takes longer than allowed; the time to start is no part of it."""
        limit_s = timeout_s if self.is_ready else STARTS_WITHIN_S
        return limit_s is not None and time.monotonic() - self.since_s > limit_s

    def is_up_to_date(self) -> bool:
        """Whether a new process would run the same code in the same place."""
        if self._process.poll() is not None or self._state != _surroundings():
            return False
        return _newest_code_s() < self._started_s

    def end(self) -> str:
        """Ends the process with all that it started, and says how it ended."""
        self._inbox.put(None)
        if self._has_closed:  # it is about to end, or has ended
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5.0)
        ended_itself = self._process.poll() is not None
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        if not ended_itself:
            return "it was ended"
        if code >= 0:
            return f"it ended with exit code {code}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"it was killed by {name}" + (" (no memory left?)" if code == -9 else "")
        return f"it was killed by signal {-code}"


def outcomes(
    next_job: NextJob,
    n_workers: int,
    eval_jobs: int = 1,
    timeout_s: float | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[Job, Outcome], None, None]:
    """Outcomes of jobs as they come, each run in a process of its own kind.

    Args:
        next_job: Asked whenever a worker is free; "wait" asks again soon.
        n_workers: Processes at a time.
        eval_jobs: Workers that evaluate the populations of a run.
        timeout_s: Longest time of a run, None for any. [s]
        tick: Called again and again as long as there is work.
    """
    answers: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
    free, busy = _taken(n_workers, answers), set[Worker]()
    try:
        more = True
        while more or busy:
            tick()
            while more and len(busy) < n_workers:
                job = next_job()
                if job is None:
                    more = False
                if not isinstance(job, Job):
                    break
                worker = free.pop() if free else Worker(answers)
                busy.add(worker)
                worker.give(job, eval_jobs)
            for worker in [w for w in busy if w.is_late(timeout_s)]:
                busy.discard(worker)
                yield _job_of(worker), _ended(worker, _too_long(worker, timeout_s))
            try:
                worker, outcome = answers.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if worker not in busy:  # ended because it was late
                continue
            busy.discard(worker)
            if outcome is None:
                yield _job_of(worker), _ended(worker, "RuntimeError: the process of the run died")
            else:
                free.append(worker)
                yield _job_of(worker), outcome
    finally:
        for worker in busy:
            worker.end()
        _keep(free)


def run_apart(job: Job, timeout_s: float | None = None) -> Outcome:
    """The outcome of one job, run in another process."""
    left = [job]
    ((_, outcome),) = outcomes(lambda: left.pop() if left else None, 1, 1, timeout_s)
    return outcome


def serve() -> None:
    """What a worker does: reads jobs, writes outcomes, until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what a run prints is no outcome
    os.dup2(2, 1)
    _send(replies, b"ready")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            job, eval_jobs, driver = pickle.loads(_receive(requests))
            _, outcome = run_job(job, eval_jobs, driver)
            _send(replies, pickle.dumps(outcome))


def _job_of(worker: Worker) -> Job:
    assert worker.job is not None
    return worker.job


def _too_long(worker: Worker, timeout_s: float | None) -> str:
    if not worker.is_ready:
        return f"TimeoutError: no process to run it started within {STARTS_WITHIN_S:g} s"
    return f"TimeoutError: it took longer than timeout_s = {timeout_s:g} s"


def _ended(worker: Worker, reason: str) -> Outcome:
    seconds = time.monotonic() - worker.since_s
    return Outcome(
        status="failed",
        traceback=f"{reason}: {worker.end()}",
        run_time_s=seconds,
        machine=machine(),
    )


def _send(file: IO[bytes], data: bytes) -> None:
    file.write(len(data).to_bytes(8, "little") + data)
    file.flush()


def _receive(file: IO[bytes]) -> bytes:
    """The next message; EOFError when there is none."""
    length = file.read(8)
    if len(length) < 8:
        raise EOFError
    size = int.from_bytes(length, "little")
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


# -- workers that wait for the next study of this process ---------------------------------------

_IDLE: list[Worker] = []
_IDLE_LOCK = threading.Lock()


def _taken(most: int, answers: queue.SimpleQueue[tuple[Worker, Any]]) -> list[Worker]:
    """Idle workers that would do as new ones; the others end."""
    with _IDLE_LOCK:
        idle, _IDLE[:] = list(_IDLE), []
    good = [worker for worker in idle if worker.is_up_to_date()]
    for worker in idle:
        if worker not in good[:most]:
            worker.end()
    for worker in good[:most]:
        worker.answers = answers
    return good[:most]


def _keep(workers: list[Worker]) -> None:
    with _IDLE_LOCK:
        kept = workers[: max(0, MOST_IDLE - len(_IDLE))]
        _IDLE.extend(kept)
    for worker in workers:
        if worker not in kept:
            worker.end()


@atexit.register
def _end_idle() -> None:
    with _IDLE_LOCK:
        idle, _IDLE[:] = list(_IDLE), []
    for worker in idle:
        worker.end()


def _surroundings() -> tuple[Any, ...]:
    return os.getcwd(), tuple(sys.path), tuple(sorted(os.environ.items()))


def _newest_code_s() -> float:
    """When a file with code of the user was last written, of all that are imported."""
    newest = 0.0
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and not is_packaged(file):
            with contextlib.suppress(OSError):
                newest = max(newest, os.stat(file).st_mtime)
    return newest
