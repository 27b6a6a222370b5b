"""Runs that a kill at any moment does not end: every evaluation is kept, none is made twice.

A `Checkpoint` is a file to which the values of evaluated points are appended. The same run started
again with the same file gets them from there, without a power flow, until they are used up. An
algorithm that depends on its seed and on these values alone is then where it was, bit for bit,
whatever it keeps in memory; nothing of it is stored, so a file can hold no code.

What is asked for is compared with the file at every step. A run that goes another way - another
algorithm, seed, budget or problem, a limit in time, a generator of random numbers without a seed -
ends with `CheckpointError` instead of continuing as something else.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import platform
import struct
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem
from pymoo.core.termination import Termination
from pymoo.termination.max_time import TimeBasedTermination

from gridproblems.errors import GridProblemError
from gridproblems.fingerprint import fingerprint_of_problem

try:
    import fcntl
except ImportError:  # Windows: two runs on one file are not noticed
    fcntl = None  # type: ignore[assignment]

#: Packages whose versions decide the bits of a run.
PACKAGES = ("gridproblems", "pymoo", "pandapower", "lightsim2grid", "numpy", "scipy", "numba")
#: How often is written where nothing else is said. [s]
INTERVAL_S = 10.0
#: A file grows no larger; what comes later would be computed again.
MOST_BYTES = 4 * 2**30
_MOST_WAITING_BYTES = 2**23
_MOST_ARRAY_BYTES = 2**31
_MAGIC = b"gridproblems evaluations 1\n"
_FRAME = struct.Struct("<II")  # length, CRC-32
_RECORD = struct.Struct("<dI16sI")  # time [s], points, digest of what was asked, length of a head
_KINDS = frozenset({"<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "|u1", "<u2", "<u4", "<u8", "|b1"})


class CheckpointError(GridProblemError):
    """A checkpoint is of another run, in use, or no checkpoint; the message says which."""


class CheckpointInUse(CheckpointError):
    """Another process is at the run."""


class _Record(NamedTuple):
    """The values of some points that were evaluated together."""

    elapsed_s: float
    n: int
    digest: bytes
    head: dict[str, Any]
    data: bytes


class Checkpoint:
    """The evaluations of one run in a file.

    Give its `evaluator` to ``pymoo.optimize.minimize``, with a seed. The file may be deleted when
    the run has finished.

    Args:
        path: The file; what an earlier call of the same run left there is used first.
        problem: What is solved.
        every: Write after so many evaluations, None for every ten seconds. A kill costs what was
            not written yet, which is computed again with the same values.
        told: What else has to be the same, by name, plain values.
        mixed_versions: Go on with evaluations of other versions of the packages.
        fingerprint: Of the problem, if known.

    Attributes:
        n_kept: Evaluations that the file held.

    Raises:
        CheckpointError: The file is of another run or version, in use, or no checkpoint.
        ValueError: ``every`` is no whole number from 1 on.
    """

    def __init__(
        self,
        path: str | Path,
        problem: Problem,
        every: int | None = None,
        told: Mapping[str, Any] | None = None,
        mixed_versions: bool = False,
        fingerprint: str = "",
    ) -> None:
        if every is not None and not (type(every) is int and every >= 1):
            raise ValueError(f"every: expected a whole number from 1 on, or None, got {every!r}")
        self.path = Path(path)
        self.every = every
        self.n_kept = 0
        self._is_on = True
        self._told = {
            "fingerprint": fingerprint or fingerprint_of_problem(problem),
            "told": json.loads(json.dumps(dict(told or {}))),
            "versions": versions(),
        }
        self._made = self._start = self._written_s = self._synced_s = time.perf_counter()
        self._waiting: list[bytes] = []
        self._n_waiting = self._waiting_bytes = self._n_answered = 0
        self._records: Iterator[_Record] = iter(())
        self._next: _Record | None = None
        self._file: IO[bytes] | None = None
        self._end = 0
        if self.path.exists():
            self._open_old(mixed_versions)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def evaluator(self) -> CheckpointedEvaluator:
        """A new evaluator that asks this checkpoint first."""
        return CheckpointedEvaluator(checkpoint=self)

    @property
    def is_replaying(self) -> bool:
        """Whether the file still has evaluations to answer with."""
        return self._next is not None

    @property
    def run_time_s(self) -> float:
        """Time of the run so far, that of earlier calls included. [s]"""
        return time.perf_counter() - self._start

    @property
    def earlier_s(self) -> float:
        """Time that earlier calls took, less what getting here again has taken. [s]"""
        return self._made - self._start

    def evaluate(self, problem: Problem, X: NDArray[Any], **asked: Any) -> dict[str, Any]:
        """What ``problem.evaluate`` gives as a dictionary, from the file as long as it has any.

        Args:
            problem: What is solved.
            X: Vectors, or an object array of dicts.
            **asked: As of ``problem.evaluate``; ``return_values_of`` among them.

        Raises:
            CheckpointError: The file holds other points here.
        """
        digest = _digest(X, asked.get("return_values_of") or ())
        if self._next is not None:
            return self._answered(problem, X, digest)
        counts = getattr(problem, "counts", None)
        before = counts.as_dict() if counts is not None else {}
        out: dict[str, Any] = problem.evaluate(X, **asked)
        if self._is_on:
            after = counts.as_dict() if counts is not None else {}
            self._keep(X, digest, out, {name: after[name] - before[name] for name in after})
        return out

    def _answered(self, problem: Problem, X: NDArray[Any], digest: bytes) -> dict[str, Any]:
        record = self._next
        assert record is not None
        if (record.n, record.digest) != (len(X), digest):
            raise CheckpointError(
                f"{self.path}: after {self._n_answered} evaluations the run asks for other points "
                "than the file holds: another algorithm, seed or budget, or an algorithm that does "
                "not repeat itself"
            )
        try:
            out = _values(record, X)
        except (ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
            raise CheckpointError(f"{self.path}: damaged ({error})") from error
        counts = getattr(problem, "counts", None)
        if counts is not None:
            counts.add(**{k: int(v) for k, v in record.head["counts"].items()})
        self._n_answered += record.n
        self._start = time.perf_counter() - record.elapsed_s
        self._next = next(self._records, None)
        if self._next is None:
            self._written_s = time.perf_counter()
        return out

    def _keep(
        self, X: NDArray[Any], digest: bytes, out: Mapping[str, Any], counts: Mapping[str, int]
    ) -> None:
        """Notes the values of points, and writes when it is time."""
        try:
            head, data = _packed(out, X)
        except ValueError as error:
            self._stop(str(error))
            return
        text = json.dumps({"arrays": head, "counts": dict(counts)}).encode("ascii")
        record = _RECORD.pack(self.run_time_s, len(X), digest, len(text)) + text + data
        frame = _FRAME.pack(len(record), zlib.crc32(record)) + record
        self._waiting.append(frame)
        self._n_waiting += len(X)
        self._waiting_bytes += len(frame)
        if (
            self._waiting_bytes > _MOST_WAITING_BYTES
            or (self.every is not None and self._n_waiting >= self.every)
            or (self.every is None and time.perf_counter() - self._written_s > INTERVAL_S)
        ):
            self.flush()

    def flush(self) -> None:
        """Writes what is not written yet; the first time also makes the file.

        What cannot be written - a full disk - ends the checkpoint with a warning, not the run.

        Raises:
            CheckpointError: Another process writes to the file.
        """
        if not self._is_on or self._next is not None:
            return
        if self._end + self._waiting_bytes > MOST_BYTES:
            self._stop(f"it is as large as it may be, {MOST_BYTES / 2**30:g} GiB")
            return
        try:
            file = self._opened()
            file.seek(self._end)
            file.truncate()
            _write(file, b"".join(self._waiting))
            self._end = file.tell()
            if time.perf_counter() - self._synced_s > INTERVAL_S:
                os.fsync(file.fileno())
                self._synced_s = time.perf_counter()
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        self._waiting, self._n_waiting, self._waiting_bytes = [], 0, 0
        self._written_s = time.perf_counter()

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        if self._waiting:
            self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._is_on = False

    def remove(self) -> None:
        """Closes and deletes the file."""
        self._waiting = []
        self.close()
        self.path.unlink(missing_ok=True)

    def _stop(self, why: str) -> None:
        """Goes on without writing; what the file holds stays good."""
        self._is_on, self._waiting = False, []
        if self._file is not None and self._file.writable():
            with suppress(OSError):  # a torn end is left out when it is read
                self._file.truncate(self._end)
        warnings.warn(
            f"checkpoint {self.path}: {why}; after a kill, what comes from here on would be "
            "computed again",
            stacklevel=2,
        )

    def _opened(self) -> IO[bytes]:
        """The file, made if there is none yet."""
        if self._file is None:
            made = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            self._file = os.fdopen(made, "r+b", buffering=0)
            _lock(self._file, self.path)
            if os.fstat(made).st_size:
                raise CheckpointInUse(f"{self.path}: another process has written to it")
            text = json.dumps(self._told).encode("ascii")
            _write(self._file, _MAGIC + _FRAME.pack(len(text), zlib.crc32(text)) + text)
            self._end = self._file.tell()
        return self._file

    # -- what an earlier call left --------------------------------------------------------

    def _open_old(self, mixed_versions: bool) -> None:
        try:
            self._file = self.path.open("r+b", buffering=0)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise CheckpointError(f"{self.path}: {error.strerror}") from error
            self._file = self.path.open("rb", buffering=0)
        try:
            _lock(self._file, self.path)
            self._read_old(self._file, mixed_versions)
        except BaseException:
            self._file.close()
            raise

    def _read_old(self, file: IO[bytes], mixed_versions: bool) -> None:
        start = file.read(len(_MAGIC))
        if start != _MAGIC[: len(start)]:
            raise CheckpointError(f"{self.path} is no checkpoint")
        head = next(_frames(file, len(start)), None)
        if head is None:
            self._begin_again(file, len(start))
            return
        first, self._end = head
        self._check_told(_told_of(first, self.path), mixed_versions)
        for record, end in _frames(file, self._end):
            n = _RECORD.unpack_from(record)[1] if len(record) >= _RECORD.size else 0
            self.n_kept += n
            last = end
        if self.n_kept:
            self._records = _records(self.path, self._end, last)
            self._next = next(self._records)
            self._end = last

    def _begin_again(self, file: IO[bytes], n_start: int) -> None:
        """Empties a file whose process was killed while it wrote the head.

        Raises:
            CheckpointError: There is more than such a process can have left.
        """
        rest = os.fstat(file.fileno()).st_size - n_start
        file.seek(n_start)
        length = _FRAME.unpack(file.read(_FRAME.size))[0] if rest >= _FRAME.size else rest
        if rest > length or not file.writable():
            raise CheckpointError(f"{self.path}: damaged, its head cannot be read")
        file.seek(0)
        file.truncate()
        file.close()
        self._file = None

    def _check_told(self, told: dict[str, Any], mixed_versions: bool) -> None:
        if told.get("fingerprint") != self._told["fingerprint"]:
            raise CheckpointError(
                f"{self.path}: of another problem: its grid, limits, objectives or code of your "
                "own are not what they were"
            )
        for name in sorted({*told["told"], *self._told["told"]}):
            then, now = told["told"].get(name), self._told["told"].get(name)
            if then != now:
                raise CheckpointError(f"{self.path}: {name} was {then!r}, and is {now!r} now")
        then, now = told["versions"], self._told["versions"]
        other = [f"{k} {then.get(k)} (now {now[k]})" for k in now if then.get(k) != now[k]]
        if other and not mixed_versions:
            raise CheckpointError(
                f"{self.path}: made with {', '.join(other)}, whose values may differ in the last "
                "bits: install these versions, or allow mixed versions"
            )


class CheckpointedEvaluator(Evaluator):
    """pymoo's evaluator, whose values come through a checkpoint where there is one."""

    def __init__(self, checkpoint: Checkpoint | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.checkpoint = checkpoint

    def _eval(self, problem: Any, pop: Any, evaluate_values_of: list[str], **kwargs: Any) -> None:
        asked = problem if self.checkpoint is None else _Asked(problem, self.checkpoint)
        super()._eval(asked, pop, evaluate_values_of, **kwargs)


class _Asked:
    """A problem whose ``evaluate`` goes through a checkpoint."""

    def __init__(self, problem: Problem, checkpoint: Checkpoint) -> None:
        self._problem, self._checkpoint = problem, checkpoint

    def evaluate(self, X: NDArray[Any], **asked: Any) -> dict[str, Any]:
        return self._checkpoint.evaluate(self._problem, X, **asked)


def why_not(algorithm: Algorithm, termination: Termination | None = None) -> str:
    """Why a run of an algorithm cannot be continued; empty where nothing is known against it.

    Args:
        algorithm: As it is before its run.
        termination: Of the run, where the algorithm does not hold it.
    """
    if isinstance(algorithm, NSGA3):  # also pymoo's U-NSGA-III
        name = type(algorithm).__name__
        return f"{name} also draws from a generator of random numbers without a seed"
    if any(map(_is_in_time, (algorithm.termination, termination))):
        return "a limit in time ends a run at another evaluation every time"
    return ""


def _is_in_time(termination: Any) -> bool:
    if isinstance(termination, TimeBasedTermination):
        return True
    parts = getattr(termination, "criteria", getattr(termination, "terminations", ()))
    return any(map(_is_in_time, parts))


def versions() -> dict[str, str]:
    """Versions of what decides the bits of a run."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _lock(file: IO[bytes], path: Path) -> None:
    """Makes sure that no other process writes; file systems without locks are trusted."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise CheckpointInUse(f"{path}: the run is still going, in another process") from error


def _write(file: IO[bytes], data: bytes) -> None:
    """Writes all of it; a disk that gets full takes a part first, and raises then."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _frames(file: IO[bytes], start: int) -> Iterator[tuple[bytes, int]]:
    """Whole frames from a place on, and where each ends; a torn or damaged one is the end."""
    size = os.fstat(file.fileno()).st_size
    while start + _FRAME.size <= size:
        file.seek(start)
        length, crc = _FRAME.unpack(file.read(_FRAME.size))
        if start + _FRAME.size + length > size:
            return
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != crc:
            return
        start += _FRAME.size + length
        yield payload, start


def _records(path: Path, start: int, end: int) -> Iterator[_Record]:
    """The records between two places of a file, through a handle of its own.

    Raises:
        CheckpointError: A record is not as it was written.
    """
    with path.open("rb", buffering=0) as file:
        for payload, place in _frames(file, start):
            if place > end:
                return
            try:
                elapsed_s, n, digest, length = _RECORD.unpack_from(payload)
                head = json.loads(payload[_RECORD.size : _RECORD.size + length])
                if not isinstance(head["arrays"], list) or not isinstance(head["counts"], dict):
                    raise TypeError("expected arrays and counts")
                data = payload[_RECORD.size + length :]
            except (struct.error, ValueError, TypeError, KeyError, RecursionError) as error:
                raise CheckpointError(f"{path}: damaged ({error})") from error
            yield _Record(elapsed_s, n, digest, head, data)


def _told_of(payload: bytes, path: Path) -> dict[str, Any]:
    try:
        told = json.loads(payload)
        if not all(isinstance(told[name], dict) for name in ("told", "versions")):
            raise TypeError("expected what was told")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    return dict(told)


def _digest(X: NDArray[Any], asked: Sequence[str]) -> bytes:
    """Of points and of which of their values are asked for; equal for equal bits only."""
    found = blake2b(repr((list(asked), X.shape, X.dtype.str)).encode(), digest_size=16)
    if X.dtype.kind in "iufb":
        found.update(np.ascontiguousarray(X).data)
    else:
        found.update("\n".join(map(_text, X.ravel().tolist())).encode("utf-8", "surrogatepass"))
    return found.digest()


def _text(value: Any) -> str:
    """A plain value with all its bits."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_text(k)}:{_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    return value.hex() if isinstance(value, float) else repr(value)


def _packed(out: Mapping[str, Any], X: NDArray[Any]) -> tuple[list[list[Any]], bytes]:
    """Arrays as a table of what they are, and their bytes.

    Raises:
        ValueError: Values that are no numbers.
    """
    head: list[list[Any]] = []
    data = []
    for name, value in out.items():
        if value is None:
            head.append([name, None])
            continue
        array = np.asarray(value)
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        if name == "X" and _is_same(array, X):
            head.append([name, "asked", order])
            continue
        kind = array.dtype.newbyteorder("<").str
        if kind not in _KINDS:
            raise ValueError(f"{name}: expected numbers, got values of kind {array.dtype}")
        raw = array.astype(kind, copy=False).tobytes(order=order)  # type: ignore[arg-type]
        packing = "raw"
        if 2 * np.count_nonzero(array) < array.size:
            packing, raw = "zlib", zlib.compress(raw, 1)
        head.append([name, kind, order, list(array.shape), packing, len(raw)])
        data.append(raw)
    return head, b"".join(data)


def _is_same(array: NDArray[Any], X: NDArray[Any]) -> bool:
    return (
        array.dtype == X.dtype == np.float64
        and array.shape == X.shape
        and bool((array.view(np.int64) == X.view(np.int64)).all())
        if array.flags.c_contiguous and X.flags.c_contiguous
        else False
    )


def _values(record: _Record, X: NDArray[Any]) -> dict[str, Any]:
    """The arrays of a record as they were, new ones."""
    out: dict[str, Any] = {}
    place = 0
    for name, kind, *more in record.head["arrays"]:
        if kind is None:
            out[name] = None
            continue
        if kind == "asked":
            out[name] = np.array(X, order=more[0])
            continue
        order, shape, packing, length = more
        if kind not in _KINDS or order not in ("C", "F") or min(shape, default=0) < 0:
            raise ValueError(f"{name} of kind {kind!r} and shape {shape}")
        n_bytes = math.prod(shape) * np.dtype(kind).itemsize
        if n_bytes > _MOST_ARRAY_BYTES:
            raise ValueError(f"{name} of shape {shape}")
        raw = record.data[place : place + length]
        place += length
        if packing == "zlib":
            raw = zlib.decompressobj().decompress(raw, n_bytes + 1)
        values = np.frombuffer(raw, dtype=kind).astype(np.dtype(kind).newbyteorder("="))
        out[name] = np.array(values.reshape(shape, order=order), order=order)
    return out
