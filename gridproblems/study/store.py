"""The file of a study: SQLite, written by one process at a time, a transaction per finished run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gridproblems.errors import GridProblemError
from gridproblems.study.blobs import MOST_BYTES, from_blob, to_blob
from gridproblems.study.run import Outcome

#: Scripts that lead from one version of the schema to the next; never change one, add one.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE problems (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        facts TEXT NOT NULL,
        UNIQUE (name, spec)
    );
    CREATE TABLE machines (id INTEGER PRIMARY KEY, description TEXT NOT NULL UNIQUE);
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        problem_id INTEGER NOT NULL REFERENCES problems (id),
        algorithm TEXT NOT NULL,
        parameters TEXT NOT NULL,
        seed INTEGER NOT NULL,
        budget INTEGER NOT NULL,
        status TEXT NOT NULL,
        traceback TEXT NOT NULL,
        evaluations INTEGER NOT NULL,
        infeasible INTEGER NOT NULL,
        diverged INTEGER NOT NULL,
        cached INTEGER NOT NULL,
        run_time_s REAL NOT NULL,
        violation REAL NOT NULL,
        F BLOB NOT NULL,
        X BLOB NOT NULL,
        G BLOB NOT NULL,
        curve BLOB NOT NULL,
        machine_id INTEGER NOT NULL REFERENCES machines (id),
        finished_at TEXT NOT NULL,
        UNIQUE (problem_id, algorithm, parameters, seed, budget)
    );
    CREATE TABLE solutions (
        problem_id INTEGER NOT NULL REFERENCES problems (id),
        x TEXT NOT NULL,
        description TEXT NOT NULL,
        UNIQUE (problem_id, x)
    );
    """,
    # fingerprints, checksums, the number of runs, and who is at work on what
    """
    CREATE TABLE problems_2 (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        facts TEXT NOT NULL,
        checksum TEXT NOT NULL,
        UNIQUE (name, spec, fingerprint)
    );
    CREATE TABLE runs_2 (
        id INTEGER PRIMARY KEY,
        problem_id INTEGER NOT NULL REFERENCES problems_2 (id),
        algorithm TEXT NOT NULL,
        parameters TEXT NOT NULL,
        algorithm_fingerprint TEXT NOT NULL,
        seed INTEGER NOT NULL,
        budget INTEGER NOT NULL,
        status TEXT NOT NULL,
        traceback TEXT NOT NULL,
        evaluations INTEGER NOT NULL,
        infeasible INTEGER NOT NULL,
        diverged INTEGER NOT NULL,
        cached INTEGER NOT NULL,
        run_time_s REAL NOT NULL,
        violation REAL NOT NULL,
        F BLOB NOT NULL,
        X BLOB NOT NULL,
        G BLOB NOT NULL,
        curve BLOB NOT NULL,
        machine_id INTEGER NOT NULL REFERENCES machines (id),
        finished_at TEXT NOT NULL,
        checksum TEXT NOT NULL,
        UNIQUE (problem_id, algorithm, parameters, algorithm_fingerprint, seed, budget)
    );
    CREATE TABLE solutions_2 (
        problem_id INTEGER NOT NULL REFERENCES problems_2 (id),
        x TEXT NOT NULL,
        description TEXT NOT NULL,
        checksum TEXT NOT NULL,
        UNIQUE (problem_id, x)
    );
    INSERT INTO problems_2 SELECT id, name, spec, '', facts, '' FROM problems;
    INSERT INTO runs_2 SELECT id, problem_id, algorithm, parameters, '', seed, budget, status,
        traceback, evaluations, infeasible, diverged, cached, run_time_s, violation, F, X, G,
        curve, machine_id, finished_at, '' FROM runs;
    INSERT INTO solutions_2 SELECT problem_id, x, description, '' FROM solutions;
    DROP TABLE solutions;
    DROP TABLE runs;
    DROP TABLE problems;
    ALTER TABLE problems_2 RENAME TO problems;
    ALTER TABLE runs_2 RENAME TO runs;
    ALTER TABLE solutions_2 RENAME TO solutions;
    CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 1), n_runs INTEGER NOT NULL);
    INSERT INTO totals SELECT 1, count(*) FROM runs;
    CREATE TABLE claims (run TEXT PRIMARY KEY, owner TEXT NOT NULL, seen_s REAL NOT NULL)
    """,
    # gradients and processor time, null for the runs so far
    """
    ALTER TABLE runs ADD COLUMN gradients INTEGER;
    ALTER TABLE runs ADD COLUMN processor_time_s REAL
    """,
)

#: A claim that nobody has renewed for so long is void. [s]
CLAIM_LASTS_S = 120.0
_NUMBERS = ("evaluations", "infeasible", "diverged", "cached")
_TIMES = ("run_time_s", "violation")
_ARRAYS = ("F", "X", "G", "curve")
#: Columns that older files lack, and what their runs have instead. Checksums are of them where they
#: are known, so that those of older runs hold.
_ADDED = {"gradients": -1, "processor_time_s": math.nan}
_OF_KEY = ("algorithm", "parameters", "algorithm_fingerprint", "seed", "budget")
#: What a run's checksum is of, in this order, after name, spec and fingerprint of its problem.
_OF_RUN = (*_OF_KEY, "status", "traceback", *_NUMBERS, *_TIMES, *_ARRAYS, "finished_at")
_MOST_UNPACKED_BYTES = 2**32
_SQLITE_LIMIT_LENGTH = 0  # of sqlite3.h
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # at the end only behind another file's name


class StudyFileError(GridProblemError):
    """The file of a study cannot be read or written: damaged, full disk, no permission, locked."""


@dataclass(frozen=True)
class RunKey:
    """What identifies a run; two runs with the same key have the same results.

    Attributes:
        problem: Name of the problem.
        spec: Its specification; "callable" or "object" where there is no text.
        algorithm: Name of the algorithm.
        parameters: Its class and plain parameters, as JSON in the order of their names.
        seed: Seed of the random numbers.
        budget: Evaluations.
        problem_fingerprint, algorithm_fingerprint: What they were made of, see
            `gridproblems.fingerprint`; empty for runs of files that had none.
    """

    problem: str
    spec: str
    algorithm: str
    parameters: str
    seed: int
    budget: int
    problem_fingerprint: str = ""
    algorithm_fingerprint: str = ""

    def as_text(self) -> str:
        """The key as one text, the same for equal keys only."""
        return json.dumps(list(asdict(self).values()))


@dataclass(frozen=True)
class StoredRun:
    """A run in the file; ``is_checked`` says whether it has a checksum, which then agrees."""

    key: RunKey
    outcome: Outcome
    finished_at: str
    is_checked: bool = True


@dataclass(frozen=True)
class Altered:
    """Something in the file that is not as it was written, and is left out.

    Attributes:
        what: Which run, problem or description.
        reason: What is wrong with it.
    """

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class Store:
    """The results of studies in one SQLite file.

    A killed process loses the runs it had not finished, and nothing else: a run is written in one
    transaction, and the next opening rolls back what was half written.

    Every run has a checksum over all that is stored of it. It finds what was changed after it was
    written: by a disk, a copy, or a hand that changed a number. It cannot find what somebody
    computed a new checksum for; only running again proves a result.

    Args:
        path: The file; made with its folder if it does not exist.
        read_only: Raise if there is no such file, and never write to it or beside it where its
            folder does not allow it. An older version is brought up to date in a copy.

    Attributes:
        altered: What the latest reading found altered, and left out.

    Raises:
        FileNotFoundError: ``read_only``, and there is no file.
        ValueError: The file is of a newer version, or no study.
        StudyFileError: It cannot be opened: no permission, full disk, locked.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self.altered: list[Altered] = []
        if read_only and not self.path.is_file():
            raise FileNotFoundError(f"no study in {self.path}")
        self._check_journal()
        self._db = self._opened_for_reading() if read_only else self._opened_for_writing()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    # -- opening --------------------------------------------------------------------------

    def _check_journal(self) -> None:
        """Refuses a journal that names another file, which SQLite would delete; no study has one.

        Source: https://sqlite.org/fileformat2.html#the_rollback_journal, super-journals.
        """
        journal = Path(f"{os.path.realpath(self.path)}-journal")
        try:
            with journal.open("rb") as file:
                file.seek(max(journal.stat().st_size - len(_JOURNAL_MAGIC), 0))
                end = file.read()
        except OSError:
            return
        if end == _JOURNAL_MAGIC:
            raise ValueError(
                f"{journal} names another file that opening the study would delete; no study has "
                "such a journal: remove it"
            )

    def _opened_for_writing(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._one_kind_of_error():
            db = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
        try:
            with self._opening():
                _protect(db)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA foreign_keys = ON")
                self._migrate(db)
        except (ValueError, StudyFileError):
            db.close()
            raise
        return db

    def _opened_for_reading(self) -> sqlite3.Connection:
        """The file itself where that needs no writing, else a copy."""
        db = None
        try:
            # only who may write tidies up behind the last reader of a file in WAL mode
            mode = "rw" if may_write(self.path) else "ro"
            uri = f"{self.path.resolve().as_uri()}?mode={mode}"
            db = sqlite3.connect(uri, uri=True, timeout=60.0, isolation_level=None)
            _protect(db)
            db.execute("PRAGMA query_only = ON")
            version = _version_of(db)
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == len(MIGRATIONS):
                with self._opening():
                    self._check_schema(db, version)
                return db
        except sqlite3.OperationalError:  # a file in WAL mode in a folder of somebody else
            pass
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is not the file of a study: {error}") from error
        except ValueError:
            if db is not None:
                db.close()
            raise
        if db is not None:
            db.close()
        return self._opened_copy()

    def _opened_copy(self) -> sqlite3.Connection:
        folder = tempfile.TemporaryDirectory(prefix="gridproblems-")
        weakref.finalize(self, folder.cleanup)
        copied = Path(folder.name) / "study.db"
        for ending in ("", "-wal"):
            source = self.path.with_name(self.path.name + ending)
            if source.is_file():
                shutil.copyfile(source, copied.with_name(copied.name + ending))
        db = sqlite3.connect(copied, timeout=60.0, isolation_level=None)
        try:
            with self._opening():
                _protect(db)
                self._migrate(db)
        except (ValueError, StudyFileError):
            db.close()
            raise
        return db

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """What is no study is the fault of the argument; what the system refuses is not."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if _is_of_system(error):
                raise self._explained(error) from error
            raise ValueError(f"{self.path} is not the file of a study: {error}") from error

    @contextmanager
    def _one_kind_of_error(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> StudyFileError:
        text = str(error)
        for sign, reason in (
            ("disk is full", "the disk is full"),
            ("readonly", "the file or its folder is read-only"),
            ("locked", "another process holds it locked"),
            ("unable to open", "it cannot be opened; is it a file, and may you write there?"),
            ("disk I/O", "the disk reports an error, or is full"),
            ("malformed", "the file is damaged"),
        ):
            if sign in text:
                return StudyFileError(f"{self.path}: {reason} ({text})")
        return StudyFileError(f"{self.path}: {text}")

    def _migrate(self, db: sqlite3.Connection) -> None:
        if _version_of(db) == len(MIGRATIONS):
            self._check_schema(db, len(MIGRATIONS))
            return
        with _Transaction(db):
            version = _version_of(db)  # another process may have been first
            if version == len(MIGRATIONS):
                return
            self._check_schema(db, version)
            for statement in _statements(MIGRATIONS[version:]):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _check_schema(self, db: sqlite3.Connection, version: int) -> None:
        """Raises ValueError for tables, views and triggers that no study has."""
        if not 0 <= version <= len(MIGRATIONS):
            raise ValueError(
                f"{self.path} is of schema version {version}, this program knows versions up "
                f"to {len(MIGRATIONS)}: update gridproblems"
            )
        if _schema_of(db) != _expected_schema(MIGRATIONS[:version]):
            raise ValueError(f"{self.path} is not the file of a study: it has other tables")

    # -- writing --------------------------------------------------------------------------

    def add(self, key: RunKey, outcome: Outcome) -> None:
        """Stores a run, in place of a failed or altered one with the same key; others stay.

        Raises:
            StudyFileError: It cannot be written; then nothing of it is.
            ValueError: Its problem is not in the file, or a variable is no plain value.
        """
        values: dict[str, Any] = {
            **{name: getattr(key, name) for name in _OF_KEY},
            "status": outcome.status,
            "traceback": outcome.traceback,
            **{name: int(getattr(outcome, name)) for name in _NUMBERS},
            **{name: float(getattr(outcome, name)) for name in _TIMES},
            **{name: to_blob(getattr(outcome, name)) for name in _ARRAYS},
            "gradients": None if outcome.gradients < 0 else int(outcome.gradients),
            "processor_time_s": (
                None if math.isnan(outcome.processor_time_s) else float(outcome.processor_time_s)
            ),
            "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        machine = json.dumps(outcome.machine, sort_keys=True)
        of_problem = (key.problem, key.spec, key.problem_fingerprint)
        of_run = [values[name] for name in _OF_RUN] + _known(values[name] for name in _ADDED)
        values["checksum"] = checksum(*of_problem, machine, *of_run)
        with self._writing():
            values["problem_id"] = self._problem_id(*of_problem)
            self._db.execute("INSERT OR IGNORE INTO machines (description) VALUES (?)", (machine,))
            (values["machine_id"],) = self._db.execute(
                "SELECT id FROM machines WHERE description = ?", (machine,)
            ).fetchone()
            same = " AND ".join(f"{name} = :{name}" for name in ("problem_id", *_OF_KEY))
            values["id"] = self._last_id() + 1  # never one that was used before, see `claim`
            for (run_id,) in self._db.execute(
                f"SELECT id FROM runs WHERE {same}", values
            ).fetchall():
                found = self._read(run_id, _Tables(self._db, []))
                if isinstance(found, StoredRun) and found.outcome.status == "finished":
                    self._release(key)
                    return
                self._count(self._db.execute("DELETE FROM runs WHERE id = ?", (run_id,)), -1)
            names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
            self._count(self._db.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", values), 1)
            self._release(key)

    def _count(self, cursor: sqlite3.Cursor, sign: int) -> None:
        self._db.execute("UPDATE totals SET n_runs = n_runs + ?", (sign * cursor.rowcount,))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._one_kind_of_error(), _Transaction(self._db):
            yield

    def set_problem(
        self, name: str, spec: str, facts: dict[str, Any], fingerprint: str = ""
    ) -> None:
        """Stores what analysis needs to know of a problem, or brings it up to date."""
        text = json.dumps(facts, sort_keys=True)
        with self._writing():
            self._db.execute(
                "INSERT INTO problems (name, spec, fingerprint, facts, checksum) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (name, spec, fingerprint) "
                "DO UPDATE SET facts = excluded.facts, checksum = excluded.checksum",
                (name, spec, fingerprint, text, checksum(name, spec, fingerprint, text)),
            )

    def set_solutions(
        self, name: str, spec: str, described: dict[str, dict[str, Any]], fingerprint: str = ""
    ) -> None:
        """Stores what vectors of variables mean in the words of the grid, by `vector_key`."""
        of_problem = (name, spec, fingerprint)
        texts = {x: json.dumps(entry) for x, entry in described.items()}
        with self._writing():
            problem_id = self._problem_id(*of_problem)
            self._db.executemany(
                "INSERT OR REPLACE INTO solutions (problem_id, x, description, checksum) "
                "VALUES (?, ?, ?, ?)",
                [
                    (problem_id, x, text, checksum(*of_problem, x, text))
                    for x, text in texts.items()
                ],
            )

    def _problem_id(self, name: str, spec: str, fingerprint: str) -> int:
        row = self._db.execute(
            "SELECT id FROM problems WHERE name = ? AND spec = ? AND fingerprint = ?",
            (name, spec, fingerprint),
        ).fetchone()
        if row is None:
            raise ValueError(f"problem {name!r} ({spec}) is not in {self.path}")
        return int(row[0])

    # -- sharing work ---------------------------------------------------------------------

    def claim(self, key: RunKey, since: int, owner: str) -> str:
        """Asks for the work of a run.

        Args:
            key: The run.
            since: Latest number of a run (`last_id`) when this process began: one that failed
                before may be repeated, one that failed later was tried by somebody else.
            owner: Who asks, see `this_process`.

        Returns:
            "mine", "others" while somebody else is at it, "done" if it is finished or was tried.
        """
        text = key.as_text()
        with self._writing():
            where = " AND ".join(f"{name} = :{name}" for name in _OF_KEY)
            row = self._db.execute(
                f"SELECT runs.id, status FROM runs JOIN problems ON problems.id = problem_id "
                f"WHERE name = :problem AND spec = :spec AND fingerprint = :problem_fingerprint "
                f"AND {where}",
                asdict(key),
            ).fetchone()
            if row is not None and row[0] > since:
                return "done"
            held = self._db.execute(
                "SELECT owner, seen_s FROM claims WHERE run = ?", (text,)
            ).fetchone()
            if held is not None and held[0] != owner and _is_at_work(*held):
                return "others"
            self._db.execute(
                "INSERT OR REPLACE INTO claims (run, owner, seen_s) VALUES (?, ?, ?)",
                (text, owner, time.time()),
            )
            return "mine"

    def renew_claims(self, owner: str) -> None:
        """Says that a process is still at work."""
        with self._writing():
            self._db.execute("UPDATE claims SET seen_s = ? WHERE owner = ?", (time.time(), owner))

    def drop_claims(self, owner: str) -> None:
        """Gives back what a process has not done."""
        with self._writing():
            self._db.execute("DELETE FROM claims WHERE owner = ?", (owner,))

    def _release(self, key: RunKey) -> None:
        self._db.execute("DELETE FROM claims WHERE run = ?", (key.as_text(),))

    def is_at_work(self) -> bool:
        """Whether a process has claimed runs, and said lately that it is still there."""
        with self._one_kind_of_error():
            (n,) = self._db.execute(
                "SELECT count(*) FROM claims WHERE seen_s > ?", (time.time() - CLAIM_LASTS_S,)
            ).fetchone()
        return bool(n)

    def last_id(self) -> int:
        """Number of the latest run, 0 without any."""
        with self._one_kind_of_error():
            return self._last_id()

    def _last_id(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0])

    # -- reading --------------------------------------------------------------------------

    def keys(self, status: str = "finished") -> set[RunKey]:
        """Keys of the runs of a status; of altered runs none."""
        return {run.key for run in self.runs() if run.outcome.status == status}

    def runs(self) -> list[StoredRun]:
        """All runs, by problem, budget, algorithm, parameters and seed.

        Runs that are not as they were written are left out; `altered` names them.
        """
        self.altered = []
        with self._one_kind_of_error(), _Snapshot(self._db):
            tables = _Tables(self._db, self.altered)
            ids = self._ids()
            found: list[tuple[tuple[Any, ...], StoredRun]] = []
            unpacked = 0
            for run_id in ids:
                run = self._read(run_id, tables)
                if isinstance(run, Altered):
                    self.altered.append(run)
                    continue
                unpacked += sum(_size(getattr(run.outcome, name)) for name in _ARRAYS)
                if unpacked > _MOST_UNPACKED_BYTES:
                    raise StudyFileError(
                        f"{self.path}: its runs take more than {_MOST_UNPACKED_BYTES:,} bytes"
                    )
                key = run.key
                order = (
                    tables.order[key.problem, key.spec, key.problem_fingerprint],
                    key.budget, key.algorithm, key.parameters, key.seed,
                )  # fmt: skip
                found.append((order, run))
            self._check_number(len(ids))
        found.sort(key=lambda pair: pair[0])
        return [run for _, run in found]

    def _ids(self) -> list[int]:
        """Numbers of all runs, as many as a damaged file still tells."""
        ids: set[int] = set()
        for order in ("", "ORDER BY id", "ORDER BY id DESC", "ORDER BY problem_id DESC"):
            try:
                for (run_id,) in self._db.execute(f"SELECT id FROM runs {order}"):
                    ids.add(run_id)
            except sqlite3.OperationalError as error:
                if _is_of_system(error):
                    raise
            except sqlite3.DatabaseError as error:
                damage = Altered("the file", f"is damaged, runs may be missing ({error})")
                if damage not in self.altered:
                    self.altered.append(damage)
        return sorted(ids)

    def _check_number(self, n_found: int) -> None:
        try:
            row = self._db.execute("SELECT n_runs FROM totals").fetchone()
        except sqlite3.DatabaseError:
            row = None
        if row is None or row[0] != n_found:
            told = "an unknown number" if row is None else str(row[0])
            self.altered.append(
                Altered("the file", f"holds {n_found} runs where {told} were written")
            )

    def _read(self, run_id: int, tables: _Tables) -> StoredRun | Altered:
        """A run, checked."""
        what = f"run {run_id}"
        columns = ", ".join(("problem_id", "machine_id", "checksum", *_OF_RUN, *_ADDED))
        try:
            row = self._db.execute(f"SELECT {columns} FROM runs WHERE id = ?", (run_id,)).fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            return Altered(what, f"cannot be read ({error})")
        if row is None:
            return Altered(what, "cannot be read")
        problem, machine = tables.problems.get(row[0]), tables.machines.get(row[1])
        if problem is None or machine is None:
            return Altered(what, "belongs to a problem or machine that cannot be read")
        values = dict(zip((*_OF_RUN, *_ADDED), row[3:], strict=True))
        label = f"{problem.name}, {values['algorithm']}, seed {values['seed']}"
        of_run = [*row[3 : 3 + len(_OF_RUN)], *_known(row[3 + len(_OF_RUN) :])]
        expected = checksum(problem.name, problem.spec, problem.fingerprint, machine, *of_run)
        is_old = row[2] == "" and not (problem.fingerprint or values["algorithm_fingerprint"])
        if not is_old and row[2] != expected:
            return Altered(f"{what} ({label})", "was changed after it was written")
        try:
            return _run_of(problem, machine, values, not is_old)
        except ValueError as error:
            return Altered(f"{what} ({label})", str(error))

    def times(self) -> dict[tuple[str, str, str, str, int], float]:
        """Mean run time of finished runs by problem, spec, algorithm, parameters and budget. [s]"""
        with self._one_kind_of_error():
            rows = self._db.execute(
                "SELECT name, spec, algorithm, parameters, budget, avg(run_time_s) FROM runs "
                "JOIN problems ON problems.id = problem_id WHERE status = 'finished' "
                "GROUP BY name, spec, algorithm, parameters, budget"
            ).fetchall()
        return {tuple(row[:5]): float(row[5]) for row in rows}

    def problems(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Facts of every problem, by name, specification and fingerprint."""
        with self._one_kind_of_error():
            tables = _Tables(self._db, [])
        return {(p.name, p.spec, p.fingerprint): p.facts for p in tables.problems.values()}

    def solutions(self, name: str, spec: str, fingerprint: str = "") -> dict[str, dict[str, Any]]:
        """Described vectors of a problem, by `vector_key`; altered ones are left out."""
        of_problem = (name, spec, fingerprint)
        found = {}
        with self._one_kind_of_error():
            for x, text, told in self._db.execute(
                "SELECT x, description, solutions.checksum FROM solutions "
                "JOIN problems ON problems.id = problem_id "
                "WHERE name = ? AND spec = ? AND fingerprint = ?",
                of_problem,
            ):
                if told != checksum(*of_problem, x, text) and not (told == "" == fingerprint):
                    self.altered.append(Altered(f"a description of {name}", "was changed"))
                    continue
                description = _json_object(text)
                if description is not None:
                    found[x] = description
        return found


@dataclass(frozen=True)
class _Problem:
    name: str
    spec: str
    fingerprint: str
    facts: dict[str, Any]


class _Tables:
    """Problems and machines by number, as far as they are what was written."""

    def __init__(self, db: sqlite3.Connection, altered: list[Altered]) -> None:
        self.problems: dict[int, _Problem] = {}
        self.machines: dict[int, str] = {}
        for number, name, spec, fingerprint, text, told in _readable(
            db, "SELECT id, name, spec, fingerprint, facts, checksum FROM problems ORDER BY id"
        ):
            facts = _json_object(text)
            texts = all(isinstance(t, str) for t in (name, spec, fingerprint))
            is_old = told == "" == fingerprint
            if (
                texts
                and facts is not None
                and (is_old or told == checksum(name, spec, fingerprint, text))
            ):
                self.problems[number] = _Problem(name, spec, fingerprint, facts)
            else:
                altered.append(Altered(f"problem {name}", "its description was changed"))
        for number, text in _readable(db, "SELECT id, description FROM machines"):
            if _json_object(text) is not None:
                self.machines[number] = text
        self.order = {
            (p.name, p.spec, p.fingerprint): number for number, p in self.problems.items()
        }


def checksum(*parts: Any) -> str:
    """SHA-256 of texts, numbers and bytes in their order, 64 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, default=str).encode()
        found.update(f"{type(part).__name__} {len(data)} ".encode() + data)
    return found.hexdigest()


def may_write(path: Path) -> bool:
    """Whether this process may write to a file and its folder."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def this_process() -> str:
    """Who this process is, for claims: host, process, and a number of its own."""
    return f"{socket.gethostname()} {os.getpid()} {time.time_ns()}"


def _is_at_work(owner: Any, seen_s: Any) -> bool:
    """Whether the process that holds a claim lives, as far as can be told."""
    host, _, rest = str(owner).partition(" ")
    if host == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(rest.split()[0]), 0)
        except (ProcessLookupError, ValueError, IndexError, OverflowError):
            return False
        except PermissionError:
            pass
    return isinstance(seen_s, float) and abs(time.time() - seen_s) < CLAIM_LASTS_S


def _run_of(problem: _Problem, machine: str, values: dict[str, Any], is_checked: bool) -> StoredRun:
    """A run of stored values.

    Raises:
        ValueError: They are not what a run has.
    """
    texts = ("algorithm", "parameters", "algorithm_fingerprint", "traceback", "finished_at")
    for names, kind in ((texts, str), ((*_NUMBERS, "seed", "budget"), int), (_TIMES, float)):
        for name in names:
            value = values[name]
            if type(value) is not kind or not (isinstance(value, str) or value >= 0):
                raise ValueError(f"{name}: expected {kind.__name__} from 0 on, got {value!r:.60}")
    added: dict[str, Any] = {n: v if values[n] is None else values[n] for n, v in _ADDED.items()}
    for name, unknown in _ADDED.items():
        kind, value = type(unknown), values[name]
        if value is not None and (type(value) is not kind or value < 0):
            raise ValueError(f"{name}: expected {kind.__name__} from 0 on, got {value!r:.60}")
    if values["status"] not in ("finished", "failed"):
        raise ValueError(f"status: expected finished or failed, got {values['status']!r:.60}")
    if _json_object(values["parameters"]) is None:
        raise ValueError("parameters: expected JSON")
    arrays = {}
    for name in _ARRAYS:
        if not isinstance(values[name], bytes):
            raise ValueError(f"{name}: expected bytes")
        arrays[name] = from_blob(values[name])
        is_vectors = name == "X" and isinstance(arrays[name], list)
        if not is_vectors and getattr(arrays[name], "ndim", 0) != 2 and _size(arrays[name]):
            raise ValueError(f"{name}: expected rows of numbers")
    outcome = Outcome(
        **{name: values[name] for name in ("status", "traceback", *_NUMBERS, *_TIMES)},
        **added,
        **arrays,
        machine=json.loads(machine),
    )
    key = RunKey(
        problem.name, problem.spec, values["algorithm"], values["parameters"], values["seed"],
        values["budget"], problem.fingerprint, values["algorithm_fingerprint"],
    )  # fmt: skip
    return StoredRun(key, outcome, values["finished_at"], is_checked)


def _known(values: Iterable[Any]) -> list[Any]:
    """Those that are not null."""
    return [value for value in values if value is not None]


def _size(values: Any) -> int:
    """Bytes that an array takes; of vectors as dicts a guess."""
    return int(values.nbytes) if isinstance(values, np.ndarray) else 64 * sum(map(len, values))


def _json_object(text: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _readable(db: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows until the file is too damaged for more."""
    rows = db.execute(query)
    while True:
        try:
            row = rows.fetchone()
        except sqlite3.DatabaseError as error:
            if _is_of_system(error):
                raise
            return
        if row is None:
            return
        yield row


def _is_of_system(error: sqlite3.Error) -> bool:
    """Whether the system refuses, in contrast to a file that is damaged or something else."""
    signs = ("disk", "readonly", "locked", "unable to open", "memory")
    return isinstance(error, sqlite3.OperationalError) and any(s in str(error) for s in signs)


def _protect(db: sqlite3.Connection) -> None:
    """Settings for files that anybody may have written."""
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    if hasattr(db, "setlimit"):  # from Python 3.11 on
        db.setlimit(_SQLITE_LIMIT_LENGTH, MOST_BYTES)


def _version_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(scripts: Sequence[str]) -> list[str]:
    return [s for script in scripts for s in script.split(";") if s.strip()]


def _schema_of(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Tables, indices, views and triggers; quotes and spaces depend on the version of SQLite."""
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
    return {
        (kind, name, table, "".join(sql.replace('"', "").split()))
        for kind, name, table, sql in rows
        if not name.startswith("sqlite_stat")
    }


@lru_cache
def _expected_schema(migrations: tuple[str, ...]) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for statement in _statements(migrations):
            db.execute(statement)
        return _schema_of(db)


class _Transaction:
    """All or nothing; takes the lock for writing at once."""

    _BEGIN = "BEGIN IMMEDIATE"

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute(self._BEGIN)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


class _Snapshot(_Transaction):
    """Reads all that belongs together as it was at one moment."""

    _BEGIN = "BEGIN"
