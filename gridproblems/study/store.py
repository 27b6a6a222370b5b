"""The file of a study: SQLite, written by one process, a transaction per finished run."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
)


@dataclass(frozen=True)
class RunKey:
    """What identifies a run; two runs with the same key have the same results.

    Attributes:
        problem: Name of the problem.
        spec: Its specification, "callable" where the name alone stands for it.
        algorithm: Name of the algorithm.
        parameters: Its class and plain parameters, as JSON in the order of their names.
        seed: Seed of the random numbers.
        budget: Evaluations.
    """

    problem: str
    spec: str
    algorithm: str
    parameters: str
    seed: int
    budget: int


@dataclass(frozen=True)
class StoredRun:
    """A run in the file."""

    key: RunKey
    outcome: Outcome
    finished_at: str


class Store:
    """The results of studies in one SQLite file.

    A killed process loses the runs it had not finished, and nothing else: a run is written in one
    transaction, and the next opening rolls back what was half written.

    Args:
        path: The file; made with its folder if it does not exist.
        read_only: Raise if there is no such file.

    Raises:
        FileNotFoundError: ``read_only``, and there is no file.
        ValueError: The file is of a newer version, or no study.
    """

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        if read_only and not self.path.is_file():
            raise FileNotFoundError(f"no study in {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ValueError(f"{self.path} is not the file of a study: {error}") from error
        except ValueError:
            self._db.close()
            raise

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

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with _Transaction(self._db):
            version = self._version()  # another process may have been first
            if version > len(MIGRATIONS):
                raise ValueError(
                    f"{self.path} is of schema version {version}, this program knows versions up "
                    f"to {len(MIGRATIONS)}: update gridproblems"
                )
            if version == 0 and self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise ValueError(f"{self.path} is not the file of a study: it has other tables")
            for script in MIGRATIONS[version:]:
                for statement in filter(str.strip, script.split(";")):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    # -- writing --------------------------------------------------------------------------

    def add(self, key: RunKey, outcome: Outcome) -> None:
        """Stores a run, in place of a failed one with the same key; a finished one stays."""
        values = {
            **{k: v for k, v in asdict(key).items() if k not in ("problem", "spec")},
            **{
                name: getattr(outcome, name)
                for name in (
                    "status",
                    "traceback",
                    "evaluations",
                    "infeasible",
                    "diverged",
                    "cached",
                    "run_time_s",
                    "violation",
                )
            },
            "F": to_blob(outcome.F),
            "X": to_blob(outcome.X),
            "G": to_blob(outcome.G),
            "curve": to_blob(outcome.curve),
            "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        with _Transaction(self._db):
            values["problem_id"] = self._problem_id(key.problem, key.spec)
            description = json.dumps(outcome.machine, sort_keys=True)
            self._db.execute(
                "INSERT OR IGNORE INTO machines (description) VALUES (?)", (description,)
            )
            (values["machine_id"],) = self._db.execute(
                "SELECT id FROM machines WHERE description = ?", (description,)
            ).fetchone()
            self._db.execute(
                "DELETE FROM runs WHERE problem_id = :problem_id AND algorithm = :algorithm "
                "AND parameters = :parameters AND seed = :seed AND budget = :budget "
                "AND status = 'failed'",
                values,
            )
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            self._db.execute(
                f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT "
                "(problem_id, algorithm, parameters, seed, budget) DO NOTHING",
                values,
            )

    def set_problem(self, name: str, spec: str, facts: dict[str, Any]) -> None:
        """Stores what analysis needs to know of a problem, or brings it up to date."""
        with _Transaction(self._db):
            self._db.execute(
                "INSERT INTO problems (name, spec, facts) VALUES (?, ?, ?) "
                "ON CONFLICT (name, spec) DO UPDATE SET facts = excluded.facts",
                (name, spec, json.dumps(facts, sort_keys=True)),
            )

    def set_solutions(self, name: str, spec: str, described: dict[str, dict[str, Any]]) -> None:
        """Stores what vectors of variables mean in the words of the grid, by `vector_key`."""
        with _Transaction(self._db):
            problem_id = self._problem_id(name, spec)
            self._db.executemany(
                "INSERT OR REPLACE INTO solutions (problem_id, x, description) VALUES (?, ?, ?)",
                [(problem_id, x, json.dumps(entry)) for x, entry in described.items()],
            )

    def _problem_id(self, name: str, spec: str) -> int:
        row = self._db.execute(
            "SELECT id FROM problems WHERE name = ? AND spec = ?", (name, spec)
        ).fetchone()
        if row is None:
            raise ValueError(f"problem {name!r} ({spec}) is not in {self.path}")
        return int(row[0])

    # -- reading --------------------------------------------------------------------------

    def keys(self, status: str = "finished") -> set[RunKey]:
        """Keys of the runs of a status."""
        rows = self._db.execute(
            "SELECT name, spec, algorithm, parameters, seed, budget FROM runs "
            "JOIN problems ON problems.id = problem_id WHERE status = ?",
            (status,),
        )
        return {RunKey(*row) for row in rows}

    def runs(self) -> Iterator[StoredRun]:
        """All runs, by problem, budget, algorithm, parameters and seed."""
        rows = self._db.execute(
            "SELECT name, spec, algorithm, parameters, seed, budget, status, traceback, "
            "evaluations, infeasible, diverged, cached, run_time_s, violation, F, X, G, curve, "
            "description, finished_at FROM runs JOIN problems ON problems.id = problem_id "
            "JOIN machines ON machines.id = machine_id "
            "ORDER BY problem_id, budget, algorithm, parameters, seed"
        )
        for row in rows:
            F, X, G, curve = map(from_blob, row[14:18])
            outcome = Outcome(*row[6:14])
            outcome.F, outcome.X, outcome.G, outcome.curve = F, X, G, curve
            outcome.machine = json.loads(row[18])
            yield StoredRun(RunKey(*row[:6]), outcome, row[19])

    def times(self) -> dict[tuple[str, str, str, str, int], float]:
        """Mean run time of finished runs by problem, spec, algorithm, parameters and budget. [s]"""
        rows = self._db.execute(
            "SELECT name, spec, algorithm, parameters, budget, avg(run_time_s) FROM runs "
            "JOIN problems ON problems.id = problem_id WHERE status = 'finished' "
            "GROUP BY problem_id, algorithm, parameters, budget"
        )
        return {tuple(row[:5]): row[5] for row in rows}

    def problems(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Facts of every problem, by name and specification."""
        rows = self._db.execute("SELECT name, spec, facts FROM problems ORDER BY id")
        return {(name, spec): json.loads(facts) for name, spec, facts in rows}

    def solutions(self, name: str, spec: str) -> dict[str, dict[str, Any]]:
        """Described vectors of a problem, by `vector_key`."""
        rows = self._db.execute(
            "SELECT x, description FROM solutions JOIN problems ON problems.id = problem_id "
            "WHERE name = ? AND spec = ?",
            (name, spec),
        )
        return {x: json.loads(description) for x, description in rows}


class _Transaction:
    """All or nothing; takes the lock for writing at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.execute("COMMIT" if exc_type is None else "ROLLBACK")


def to_blob(values: NDArray[Any] | list[dict[str, Any]]) -> bytes:
    """An array as compressed npz, dicts of variables as JSON."""
    if isinstance(values, list):
        return json.dumps(values, default=_plain).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.asarray(values))
    return buffer.getvalue()


def from_blob(blob: bytes) -> Any:
    """The inverse of `to_blob`."""
    if blob.startswith(b"PK"):
        with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
            return arrays["a"]
    return json.loads(blob)


def vector_key(x: Any) -> str:
    """One vector, or one dict of variables, as text."""
    return json.dumps(x if isinstance(x, dict) else np.asarray(x).tolist(), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"expected plain values as variables, got {value!r}")
