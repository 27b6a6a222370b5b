"""Files of studies from strangers, damaged ones, old ones, and ones that cannot be written."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_files import facts, finished, results

from gridproblems._written import write_text
from gridproblems.errors import GridProblemError
from gridproblems.study import Results
from gridproblems.study import store as store_module
from gridproblems.study.analyse import run_table
from gridproblems.study.blobs import MOST_BYTES, from_blob, to_blob
from gridproblems.study.describe import checked_solution
from gridproblems.study.export import export_csv, export_ioh
from gridproblems.study.run import Outcome
from gridproblems.study.store import MIGRATIONS, RunKey, Store, StoredRun, StudyFileError, checksum

N_RUNS = 12


def made(path: Path) -> Path:
    """A study of two problems, in one file without a journal."""
    problems = {"p": facts(reference=[[0.5]]), "two": facts(("f", "g"))}
    runs: dict[tuple[str, str, int], Outcome] = {}
    rng = np.random.default_rng(3)
    for name in ("a", "b"):
        for seed in (1, 2, 3):
            values = np.sort(rng.random(40))[::-1]
            curve = [[i + 1, 0.01 * i, 0.0, v] for i, v in enumerate(values)]
            runs["p", name, seed] = finished(curve)
            front = [[i + 1, 0.1 * i, 0.0, v, 1.0 - v] for i, v in enumerate(values[:5])]
            runs["two", name, seed] = finished(front)
    results(path, problems, runs)
    with Store(path) as store:
        store.set_solutions("p", "callable", {"[1.0, 0.0]": {"text": "so", "rows": []}})
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    return path


def read(path: Path) -> dict[RunKey, StoredRun]:
    with Store(path, read_only=True) as store:
        return {run.key: run for run in store.runs()}


def equal(one: StoredRun, other: StoredRun) -> bool:
    names = ("status", "evaluations", "infeasible", "cached", "violation", "run_time_s", "machine")
    return one.finished_at == other.finished_at and all(
        [
            *(getattr(one.outcome, n) == getattr(other.outcome, n) for n in names),
            *(
                np.array_equal(getattr(one.outcome, n), getattr(other.outcome, n))
                for n in ("F", "X", "G", "curve")
            ),
        ]
    )


# -- altered --------------------------------------------------------------------------------------


def test_flipped_bits_never_give_wrong_figures_and_lose_no_other_run(tmp_path: Path) -> None:
    path = made(tmp_path / "whole.db")
    whole = path.read_bytes()
    before, about = read(path), {e.label: e.facts for e in Results(path).entries}
    rng = random.Random(12)
    messages: list[str] = []
    told = kept = 0
    for trial in range(150):
        data = bytearray(whole)
        for _ in range(1 if trial % 3 else 4):
            position = rng.randrange(len(data))
            data[position] ^= 1 << rng.randrange(8)
        flipped = tmp_path / "flipped.db"
        flipped.write_bytes(data)
        try:
            found = Results(flipped)
        except (ValueError, GridProblemError) as error:
            messages.append(str(error))
            continue
        for run in found.runs:
            stored = StoredRun(run.key, run.outcome, before[run.key].finished_at)
            assert equal(before[run.key], stored), "a wrong figure passed"
        for entry in found.entries:
            assert entry.facts == about[entry.label]
        if len(found.runs) < N_RUNS:
            assert any("Left out, altered or damaged" in note for note in found.notes)
            told += 1
        kept += len(found.runs)
    assert told > 15
    assert kept > 100 * (N_RUNS - 4)
    assert len(messages) < 75
    assert not any("\n" in message for message in messages)


def forge(path: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    db.execute(statement, values)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("F", to_blob(np.array([[0.001]]))),
        ("curve", to_blob(np.array([[1, 0, 0, 0.001]]))),
        ("violation", 1.0),
        ("evaluations", 7),
        ("seed", 9),
        ("algorithm", "better"),
        ("parameters", '{"class": "Other"}'),
        ("status", "failed"),
        ("finished_at", "2020"),
        ("machine_id", 99),
        ("problem_id", 2),
        ("algorithm_fingerprint", "f" * 64),
        ("checksum", ""),
        ("checksum", None),
    ],
)
def test_a_changed_value_is_found_and_named(tmp_path: Path, column: str, value: Any) -> None:
    path = made_with_fingerprints(tmp_path / "s.db")
    if value is None:
        db = sqlite3.connect(path)
        (value,) = db.execute("SELECT checksum FROM runs WHERE id = 2").fetchone()
        db.close()
    forge(path, f"UPDATE runs SET {column} = ? WHERE id = 1", value)
    found = Results(path)
    assert len(found.runs) == 2
    (altered,) = found.altered
    assert altered.what.startswith("run 1")
    assert "run 1" in found.notes[0]


def made_with_fingerprints(path: Path) -> Path:
    with Store(path) as store:
        for name in ("p", "q"):
            store.set_problem(name, "callable", facts(), "a" * 64)
        for seed in (1, 2, 3):
            key = RunKey("p", "callable", "a", "{}", seed, 100, "a" * 64, "b" * 64)
            store.add(key, finished([[1, 0, 0, 2.0], [5, 0.1, 0, 1.0]]))
    return path


def test_runs_that_were_removed_or_added_by_hand_are_noticed(tmp_path: Path) -> None:
    path = made_with_fingerprints(tmp_path / "s.db")
    assert Results(path).altered == []
    forge(path, "DELETE FROM runs WHERE id = 2")
    (altered,) = Results(path).altered
    assert str(altered) == "the file: holds 2 runs where 3 were written"


@pytest.mark.parametrize("table", ["problems", "machines"])
def test_what_runs_refer_to_is_guarded_too(tmp_path: Path, table: str) -> None:
    path = made_with_fingerprints(tmp_path / "s.db")
    column, value = {
        "problems": ("facts", json.dumps(facts(("gain",)))),
        "machines": ("description", '{"pymoo": "9"}'),
    }[table]
    forge(path, f"UPDATE {table} SET {column} = ? WHERE id = 1", value)
    found = Results(path)
    assert found.runs == []
    assert len(found.altered) >= 3


def test_a_forged_description_is_left_out(tmp_path: Path) -> None:
    path = made(tmp_path / "s.db")
    assert Results(path).solutions("p")["[1.0, 0.0]"]["text"] == "so"
    forge(path, 'UPDATE solutions SET description = \'{"text": "forged"}\'')
    assert Results(path).solutions("p") == {}


def resigned(path: Path, change: dict[str, Any]) -> Results:
    """Results of a file in which somebody changed a run and computed its checksum anew."""
    with Store(path) as store:
        names = (*store_module._OF_RUN, *store_module._ADDED)
        row = store._db.execute(f"SELECT {', '.join(names)} FROM runs WHERE id = 1").fetchone()
        values = {**dict(zip(names, row, strict=True)), **change}
        (machine,) = store._db.execute("SELECT description FROM machines").fetchone()
        told = checksum("p", "callable", "a" * 64, machine, *values.values())
        marks = ", ".join(f"{name} = ?" for name in values)
        store._db.execute(
            f"UPDATE runs SET {marks}, checksum = ? WHERE id = 1", (*values.values(), told)
        )
    return Results(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"F": to_blob(np.array([[0.001]]))}, "final points are not among its improvements"),
        ({"F": to_blob(np.array([[1.0, 2.0]]))}, "expected 1 objectives"),
        ({"F": to_blob(np.array([[1e200]]))}, "beyond what any grid has"),
        ({"X": to_blob(np.zeros((1, 5)))}, "expected 2 variables"),
        ({"X": to_blob(np.zeros((2, 2)))}, "differ in number"),
        ({"evaluations": 3}, "improved after its last evaluation"),
        ({"curve": to_blob(np.array([[5, 0, 0, 2.0], [1, 0, 0, 1.0]]))}, "go back in time"),
        ({"seed": "<img src=x onerror=alert(1)>"}, "seed: expected int"),
        ({"evaluations": -1}, "evaluations: expected int from 0 on"),
        ({"violation": "0"}, None),  # SQLite makes it a number again
        ({"run_time_s": "<b>"}, "run_time_s: expected float"),
        ({"gradients": -2}, "gradients: expected int from 0 on"),
        ({"gradients": "<b>"}, "gradients: expected int"),
        ({"processor_time_s": -1.0}, "processor_time_s: expected float from 0 on"),
        ({"status": "<b>"}, "status: expected finished or failed"),
        ({"parameters": "["}, "parameters: expected JSON"),
        ({"F": b"not an array"}, "stored values cannot be read"),
        ({"X": b"[[1]]"}, "expected a list of variables by name"),
        ({"X": b"[" * 100_000}, "too deep"),
    ],
)
def test_nonsense_with_a_good_checksum_is_found_by_what_it_says(
    tmp_path: Path, change: dict[str, Any], message: str | None
) -> None:
    found = resigned(made_with_fingerprints(tmp_path / "s.db"), change)
    assert len(found.runs) == 2
    if message is not None:
        assert message in str(found.altered[0])


@pytest.mark.parametrize("change", [{"base": [10**400]}, {"base": [-(10**101)]}])
def test_numbers_beyond_floats_are_no_facts(tmp_path: Path, change: dict[str, Any]) -> None:
    outcomes = {("p", "a", seed): finished([[1, 0, 0, 1.0]]) for seed in (1, 2)}
    found = results(tmp_path / "s.db", {"p": {**facts(), **change}}, outcomes)
    assert not found.runs
    assert "base: expected a number" in str(found.altered[0])


def test_a_network_without_buses_is_left_out() -> None:
    names = ("positions", "buses", "sources", "vm_pu", "branches")
    lists: dict[str, list[Any]] = {name: [] for name in names}
    assert "network" not in checked_solution({"rows": [], "network": lists})


@pytest.mark.parametrize("name", ["..", "../..", "a" * 300, "\ud800"])
def test_exports_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    about = {**facts(), "units": ["MW" if name != "\ud800" else name]}
    outcomes = {("p", name, seed): finished([[1, 0, 0, 1.0]]) for seed in (1, 2)}
    if name == "\ud800":
        outcomes = {("p", "a", seed): o for (_, _, seed), o in outcomes.items()}
    found = results(tmp_path / "s.db", {"p": about}, outcomes)
    folder = (tmp_path / "out" / "ioh").resolve()
    assert all(path.resolve().is_relative_to(folder) for path in export_ioh(found, folder))
    export_csv(found, folder)
    write_text(tmp_path / "page", name)


def test_an_altered_run_is_repeated_and_replaced(tmp_path: Path) -> None:
    path = made_with_fingerprints(tmp_path / "s.db")
    key = RunKey("p", "callable", "a", "{}", 1, 100, "a" * 64, "b" * 64)
    forge(path, "UPDATE runs SET violation = 3.0 WHERE id = 1")
    with Store(path) as store:
        assert sorted(run.seed for run in Store.keys(store)) == [2, 3]
        store.add(key, finished([[1, 0, 0, 4.0]]))
        assert sorted(run.seed for run in Store.keys(store)) == [1, 2, 3]
        assert store.altered == []


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("by_link", [True, False])
def test_a_journal_deletes_no_other_file(tmp_path: Path, by_link: bool, read_only: bool) -> None:
    """A rollback journal may name another file, which SQLite deletes when it has rolled back."""
    path = made(tmp_path / "s.db")
    victim = tmp_path / "victim.txt"
    victim.write_text("precious\n")
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    page = 4096
    journal = magic + struct.pack(">5I", 0, 0, path.stat().st_size // page, 512, page)
    journal = journal.ljust(512, b"\0") + struct.pack(">I", 0x40000000 // page + 1) + name
    journal += struct.pack(">2I", len(name), sum(name)) + magic
    (tmp_path / "s.db-journal").write_bytes(journal)
    asked = tmp_path / "other.db" if by_link else path
    if by_link:
        asked.symlink_to(path)
    with pytest.raises(ValueError, match="names another file"):
        Store(asked, read_only=read_only)
    assert victim.is_file()


# -- bombs ----------------------------------------------------------------------------------------


def npz(header: bytes, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header + data)
    return buffer.getvalue()


def header_of(shape: Any, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "blob",
    [
        npz(header_of((2**40, 2**20)), b""),
        npz(header_of((MOST_BYTES // 8 + 1,)), b""),
        npz(header_of((-1, 8)), b""),
        npz(header_of((3,)), bytes(8)),
        npz(header_of((1,)), bytes(16)),
        npz(header_of((1,), "|O"), b"cos\nsystem\n(S'touch /tmp/x'\ntR."),
        npz(b"\x93NUMPY\x01\x00\x10\x00__import__('os')", b""),
        npz(b"\x93NUMPY\x09\x00", b""),
        b"PK\x03\x04",
        b"PK" + zlib.compress(bytes(1000)),
        b"[" * 10_000,
        b"{}",
        b"",
        b'[{"a": [1]}]',
    ],
)
def test_no_blob_is_unpacked_beyond_its_bounds(blob: bytes) -> None:
    with pytest.raises(ValueError, match="stored values"):
        from_blob(blob)


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte; a process with 200 MB more than it has must survive."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        file.write(header_of((2**27,)))
        for _ in range(64):
            file.write(bytes(2**24))
    (tmp_path / "bomb").write_bytes(buffer.getvalue())
    script = (
        "import resource, sys\n"
        "from gridproblems.study.blobs import from_blob\n"
        "blob = open(sys.argv[1], 'rb').read()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)\n"
        "try:\n    from_blob(blob)\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bomb")], capture_output=True, text=True
    )
    assert "would take 1,073,741,824 bytes" in done.stdout, done.stderr


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(order: Any) -> None:
    for values in (np.arange(6.0).reshape(2, 3), np.empty((0, 0)), np.array([[True]])):
        back = from_blob(to_blob(np.asarray(values, order=order)))
        assert np.array_equal(back, values)
        assert back.dtype == values.dtype


# -- other people's tables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS SELECT load_extension('x')",
        "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
        "CREATE TABLE more (a TEXT)",
        "DROP TABLE solutions",
        "ALTER TABLE runs ADD COLUMN extra TEXT",
    ],
)
def test_a_file_with_other_tables_is_refused(tmp_path: Path, statement: str) -> None:
    path = made(tmp_path / "s.db")
    forge(path, statement)
    for read_only in (True, False):
        with pytest.raises(ValueError, match="not the file of a study: it has other tables"):
            Store(path, read_only)


# -- old files ------------------------------------------------------------------------------------


def old(path: Path) -> Path:
    """A file as version 0.1 wrote it."""
    db = sqlite3.connect(path)
    db.executescript(MIGRATIONS[0])
    about = json.dumps(facts())
    db.execute("INSERT INTO problems VALUES (1, 'p', 'callable', ?)", (about,))
    db.execute('INSERT INTO machines VALUES (1, \'{"pymoo": "0.6.1"}\')')
    o = finished([[1, 0, 0, 2.0], [5, 0.1, 0, 1.0]])
    arrays = [to_blob(values) for values in (o.F, o.X, o.G, o.curve)]
    for seed in (1, 2):
        db.execute(
            "INSERT INTO runs VALUES (NULL, 1, 'a', '{}', ?, 100, 'finished', '', 100, 0, 0, 0, "
            "2.0, 0.0, ?, ?, ?, ?, 1, '2024')",
            (seed, *arrays),
        )
    db.execute("INSERT INTO solutions VALUES (1, '[1.0, 0.0]', '{\"text\": \"old\"}')")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    return path


def test_an_old_file_is_read_without_changing_it_and_says_what_is_not_known(
    tmp_path: Path,
) -> None:
    path = old(tmp_path / "s.db")
    before = path.read_bytes()
    found = Results(path)
    assert [run.outcome.F.tolist() for run in found.runs] == [[[1.0]], [[1.0]]]
    assert found.solutions("p")["[1.0, 0.0]"]["text"] == "old"
    (note,) = found.notes
    assert note.startswith("2 of 2 runs are from a file of version 0.1")
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db"]


def test_gradients_and_processor_time_of_old_runs_are_not_known(tmp_path: Path) -> None:
    path = old(tmp_path / "s.db")
    with Store(path) as store:
        store.set_problem("p", "callable", facts(), "c" * 64)
        key = RunKey("p", "callable", "a", "{}", 1, 100, "c" * 64, "d" * 64)
        new = finished([[1, 0, 0, 3.0]], gradients=7, processor_time_s=0.5)
        store.add(key, new)
    runs = run_table(Results(path))
    np.testing.assert_array_equal(runs.gradients, [np.nan, np.nan, 7.0])
    np.testing.assert_array_equal(runs.processor_s, [np.nan, np.nan, 0.5])


def test_old_runs_stand_beside_new_ones_never_for_them(tmp_path: Path) -> None:
    path = old(tmp_path / "s.db")
    with Store(path) as store:
        store.set_problem("p", "callable", facts(), "c" * 64)
        key = RunKey("p", "callable", "a", "{}", 1, 100, "c" * 64, "d" * 64)
        store.add(key, finished([[1, 0, 0, 3.0]]))
        assert len(store.runs()) == 3
        assert store.altered == []
    found = Results(path)
    assert [e.label for e in found.entries] == ["p, definition not known", "p, definition cccccccc"]
    mixed = replace(found.runs[-1].outcome, machine={"pymoo": "0.6.2"})
    with Store(path) as store:
        store.add(replace(key, seed=2), mixed)
    assert any("pymoo 0.6.1 (2 runs) and 0.6.2 (1 runs)" in n for n in Results(path).notes)


# -- no permission, no space ----------------------------------------------------------------------


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A study in a folder that the reader may not write to."""
    folder = Path(tempfile.mkdtemp())
    made(folder / "study.db")
    with Store(folder / "study.db"):
        pass  # in WAL mode again
    shutil.copy(folder / "study.db", folder / "copy.db")
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process without rights: root may write everywhere."""
    become = "import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setuid(65534)\n"
    imports = "import sys, encodings.cp437\nfrom gridproblems.study import Results, store\n"
    return subprocess.run(
        [sys.executable, "-c", imports + become + script, *arguments],
        capture_output=True,
        text=True,
        cwd="/tmp",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLCONFIGDIR": "/tmp"},
    )


def test_read_only_files_in_read_only_folders_can_be_read(foreign: Path) -> None:
    done = as_nobody("print(len(Results(sys.argv[1]).runs))", str(foreign))
    assert done.stdout.strip() == str(N_RUNS), done.stderr
    assert sorted(p.name for p in foreign.iterdir()) == ["copy.db", "study.db"]
    script = "try:\n    store.Store(sys.argv[1])\nexcept store.StudyFileError as e:\n    print(e)"
    done = as_nobody(script, str(foreign / "study.db"))
    assert "is read-only" in done.stdout, done.stderr


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = made_with_fingerprints(tmp_path / "s.db")
    key = RunKey("p", "callable", "big", "{}", 1, 100, "a" * 64, "b" * 64)
    big = finished([[1, 0, 0, 1.0]], G=np.random.default_rng(1).random((1, 200_000)))
    with Store(path) as store:
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StudyFileError, match=r"s\.db: the disk is full"):
            store.add(key, big)
        assert len(store.runs()) == 3
        assert store.altered == []


def test_a_locked_file_is_one_line(tmp_path: Path) -> None:
    path = made(tmp_path / "s.db")
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StudyFileError, match="another process holds it locked"):
            store.set_problem("x", "callable", facts())
        other.close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="cannot be opened"):
        Store(tmp_path)
