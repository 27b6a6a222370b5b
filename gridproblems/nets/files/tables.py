"""Nets that pandapower saved as JSON, Excel or SQLite; nothing in a file runs.

pandapower's own readers make objects of what cells hold. Here workbooks and databases are read as
plain cells, written as the document that `gridproblems.nets.net_json` checks, and go its way.
"""

from __future__ import annotations

import io
import json
import math
import numbers
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandapower as pp
import pandas as pd

from gridproblems.nets.files.net_file import MAX_BYTES, NetFile, bytes_of
from gridproblems.nets.net_json import MAX_CELLS, net_of_document, parsed_or_text, read_net

MAX_TABLES = 500
MAX_PARTS = 2000  # of a zip archive
_FRAME = {"_module": "pandas.core.frame", "_class": "DataFrame", "orient": "split"}
#: Columns whose texts are JSON of objects with behaviour.
_OBJECTS = ("object", "recycle", "q_max_characteristic", "q_min_characteristic")
_GEODATA = ("bus_geodata", "line_geodata")  # of old versions, and no problem needs them


@dataclass(frozen=True)
class Table:
    """Plain cells.

    Attributes:
        columns: Names.
        index: Labels of the rows.
        rows: Cells: numbers, texts, flags or None.
    """

    columns: list[str]
    index: list[Any]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """Cells of a column, none where there is no such column."""
        if name not in self.columns:
            return []
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


def read_json(path: Path) -> NetFile:
    """The net of a file of ``pandapower.to_json``, see `gridproblems.nets.net_json.read_net`."""
    return NetFile(read_net(path), "pandapower JSON")


def read_excel(path: Path) -> NetFile:
    """The net of a workbook of ``pandapower.to_excel``; formulas are not computed.

    Raises:
        ValueError: Unreadable, no workbook, too large, or no net.
    """
    sheets = sheet_cells(path)
    try:
        tables = {name: _table_of_rows(rows, name) for name, rows in sheets.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    has_formulas = _has_formulas(path)
    notes = ("formulas are not computed; the values that Excel stored are read",)
    return NetFile(net_of_tables(tables, path), "pandapower Excel", notes if has_formulas else ())


def read_sqlite(path: Path) -> NetFile:
    """The net of a database of ``pandapower.to_sqlite``; only plain tables are read.

    Raises:
        ValueError: Unreadable, no database, too large, or no net.
    """
    content = bytes_of(path)
    if not content.startswith(b"SQLite format 3\0"):
        raise ValueError(f"{path}: no SQLite database")
    try:
        tables = _database(path)
    except (sqlite3.Error, OverflowError) as error:
        raise ValueError(f"{path}: the database cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return NetFile(net_of_tables(tables, path), "pandapower SQLite")


# -- workbooks ------------------------------------------------------------------------------------


def check_archive(content: bytes, path: Path) -> None:
    """Refuses zip archives that are huge unpacked, lie about it, or hold XML that grows.

    Raises:
        ValueError: The message says what.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            total = 0
            if len(parts) > MAX_PARTS:
                raise ValueError(f"{path}: an archive of {len(parts)} parts")
            for part in parts:
                if part.flag_bits & 1:
                    raise ValueError(f"{path}: encrypted; save it without a password")
                with archive.open(part) as file:
                    head = file.read(2048)
                    total += len(head)
                    check_xml(head, path, part.filename)
                    while chunk := file.read(2**20):
                        total += len(chunk)
                        if total > MAX_BYTES:
                            raise ValueError(f"{path}: more than 256 MiB when unpacked")
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise ValueError(f"{path}: no zip archive that can be read: {error}") from error


def check_xml(head: bytes, path: Path, part: str) -> None:
    """Refuses document types, which may hold entities that grow or name other files."""
    if b"<!" not in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"\0" not in head[:4]:
        return
    if head.lstrip()[:1] == b"<" or head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        text = head.replace(b"\0", b"").upper()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ValueError(f"{path}: {part} has a document type, which no workbook or grid needs")


def sheet_cells(path: Path) -> dict[str, list[list[Any]]]:
    """Rows of plain cells of every sheet of a workbook; formulas are not computed.

    Raises:
        ValueError: Unreadable, no workbook, too large, or the package openpyxl is missing.
    """
    check_archive(bytes_of(path), path)
    try:
        import openpyxl
    except ImportError as error:
        raise ValueError(f"{path}: needs the package openpyxl: pip install openpyxl") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # all kinds of errors on malformed workbooks
        raise ValueError(f"{path}: no workbook of Excel: {error}") from error
    try:
        if len(book.sheetnames) > MAX_TABLES:
            raise ValueError(f"{path}: a workbook of {len(book.sheetnames)} sheets")
        n_cells, sheets = 0, {}
        for sheet in book.worksheets:
            sheet.reset_dimensions()
            rows: list[list[Any]] = []
            for row in sheet.iter_rows(values_only=True):
                n_cells += max(len(row), 1)
                if n_cells > MAX_CELLS:
                    raise ValueError(f"{path}: too many cells")
                rows.append([_cell(value) for value in row])
            while rows and all(cell is None for cell in rows[-1]):
                rows.pop()
            sheets[str(sheet.title)] = rows
        return sheets
    except Exception as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: no workbook of Excel: {error}") from error
    finally:
        book.close()


def _table_of_rows(rows: list[list[Any]], name: str) -> Table:
    """The first row holds the names, the first column the index."""
    if not rows:
        return Table([], [], [])
    heads = rows[0][1:]
    while heads and heads[-1] is None:
        heads.pop()
    for place, head in enumerate(heads):
        if head is None:
            raise ValueError(f"sheet {name}: column {place + 2} has no name in the first row")
    n = len(heads)
    body = [[*row, *[None] * (n + 1 - len(row))] for row in rows[1:]]
    columns = [str(head) for head in heads]
    return Table(columns, [row[0] for row in body], [row[1 : n + 1] for row in body])


def _has_formulas(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        sheets = [n for n in archive.namelist() if n.startswith("xl/worksheets/")]
        return any(re.search(rb"<f[ >]", archive.read(name)) for name in sheets)


# -- databases ------------------------------------------------------------------------------------


def _database(path: Path) -> dict[str, Table]:
    """All plain tables; the file is opened for reading, and nothing else is allowed."""
    uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
        )
        found = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        if len(found) > MAX_TABLES:
            raise ValueError(f"a database of {len(found)} tables")
        n_cells, tables = 0, {}
        for name, statement in found:
            if not re.match(r"\s*CREATE\s+TABLE\b", str(statement), re.IGNORECASE):
                raise ValueError(f"table {name}: no plain table")
            quoted = str(name).replace('"', '""')
            cursor = connection.execute(f'SELECT * FROM "{quoted}"')
            columns = [str(entry[0]) for entry in cursor.description]
            rows = []
            for row in cursor:
                n_cells += len(row)
                if n_cells > MAX_CELLS:
                    raise ValueError("too many cells")
                rows.append([_cell(value) for value in row])
            tables[str(name)] = _without_index(Table(columns, [], rows))
        return tables
    finally:
        connection.close()


def _without_index(table: Table) -> Table:
    """A table whose column ``index`` has become the labels of its rows."""
    if "index" not in table.columns:
        return Table(table.columns, list(range(len(table.rows))), table.rows)
    place = table.columns.index("index")
    columns = [c for c in table.columns if c != "index"]
    rows = [[*row[:place], *row[place + 1 :]] for row in table.rows]
    return Table(columns, [row[place] for row in table.rows], rows)


# -- documents ------------------------------------------------------------------------------------


def net_of_tables(tables: Mapping[str, Table], path: Path) -> Any:
    """The net of named tables as pandapower's Excel and SQLite files have them.

    Raises:
        ValueError: No net, or something that no net needs.
    """
    if "bus" not in tables:
        known = ", ".join(list(tables)[:5])
        raise ValueError(
            f"{path}: not a pandapower net: no table of buses{f', but {known}' if known else ''}"
        )
    try:
        document = _document(tables)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return net_of_document(document, path)


def _document(tables: Mapping[str, Table]) -> dict[str, Any]:
    kinds = _kinds(tables.get("dtypes"))
    document: dict[str, Any] = {}
    for name, table in tables.items():
        if name == "dtypes" or name in _GEODATA or name.startswith(("_", "res_")):
            continue
        if not table.rows and name != "bus":  # pandapower's own empty one has the right columns
            continue
        if name == "parameters":
            document |= _parameters(table)
        elif name == "user_pf_options":
            document[name] = dict(zip(table.columns, table.rows[0], strict=True))
        elif name.endswith("_std_types"):
            types = document.setdefault("std_types", {})
            types[name.removesuffix("_std_types")] = {
                str(label): {c: v for c, v in zip(table.columns, row, strict=True) if v is not None}
                for label, row in zip(table.index, table.rows, strict=True)
            }
        elif name.endswith("_profiles"):
            profiles = document.setdefault("profiles", {})
            profiles[name.removesuffix("_profiles")] = _frame(name, table, {})
        else:
            document[name] = _frame(name, table, kinds)
    return document


def _parameters(table: Table) -> dict[str, Any]:
    """What stands beside the tables: a row of values, in old files a column."""
    if table.columns == ["parameter"]:
        found = dict(zip(map(str, table.index), table.column("parameter"), strict=True))
    else:
        found = dict(zip(table.columns, table.rows[0], strict=True))
    known = set(pp.create_empty_network())
    return {
        name: ("" if name == "name" and value is None else value)
        for name, value in found.items()
        if name in known or isinstance(value, (int, float, str))
    }


def _kinds(dtypes: Table | None) -> dict[tuple[str, str], str]:
    """(table, column) -> dtype, of the file or else of pandapower's empty net."""
    kinds = dict(_pandapower_kinds())
    if dtypes is not None:
        entries = (dtypes.column(name) for name in ("element", "column", "dtype"))
        for element, column, kind in zip(*entries, strict=False):
            kinds[str(element), str(column)] = str(kind)
    return kinds


@cache
def _pandapower_kinds() -> dict[tuple[str, str], str]:
    return {
        (name, column): str(dtype)
        for name, table in pp.create_empty_network().items()
        if isinstance(table, pd.DataFrame)
        for column, dtype in table.dtypes.items()
    }


def _frame(name: str, table: Table, kinds: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A table as pandapower's JSON has it."""
    columns, dtypes = [], {}
    for place, column in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        if column in _OBJECTS:
            cells = [parsed_or_text(cell) if isinstance(cell, str) else cell for cell in cells]
        cells, dtypes[column] = _typed(cells, kinds.get((name, column), ""))
        columns.append(cells)
    rows = (
        [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in table.index]
    )
    index = [_label(label) for label in table.index]
    content = {"columns": table.columns, "index": index, "data": rows}
    return {**_FRAME, "dtype": dtypes, "_object": json.dumps(content)}


def _typed(cells: Sequence[Any], kind: str) -> tuple[list[Any], str]:
    """Cells in the type that they had, and its name."""
    plain = [cell for cell in cells if cell is not None]
    is_number = all(_is_number(cell) for cell in plain)
    if not plain and kind.startswith(("float", "object")):
        return list(cells), kind
    if not plain:
        return list(cells), "object"
    if kind == "bool" and len(plain) == len(cells) and all(cell in (0, 1) for cell in plain):
        return [bool(cell) for cell in cells], "bool"
    if all(isinstance(cell, bool) for cell in plain):
        return list(cells), "bool" if len(plain) == len(cells) else "object"
    if not is_number or kind == "object":
        return list(cells), "object"
    is_whole = all(float(cell).is_integer() and abs(cell) < 2**53 for cell in plain)
    if is_whole and len(plain) == len(cells) and not kind.startswith("float"):
        bits = re.fullmatch(r"uint(8|16|32)", kind)
        fits = bits and 0 <= min(cells) <= max(cells) < 2 ** int(bits[1])
        return [int(cell) for cell in cells], kind if fits else "int64"
    return [None if cell is None else float(cell) for cell in cells], "float64"


def _is_number(cell: Any) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _label(label: Any) -> Any:
    if isinstance(label, float) and label.is_integer() and abs(label) < 2**53:
        return int(label)
    return label


def _cell(value: Any) -> Any:
    """A plain cell.

    Raises:
        ValueError: Bytes, which no net holds.
    """
    if isinstance(value, (bytes, bytearray)):
        raise ValueError("a cell holds bytes, expected numbers and texts")
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(1e308, value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
