"""Tables of numbers from CSV files of any usual kind, and from workbooks.

Separators are commas, semicolons or tabs; numbers have a decimal point or, where commas do not
separate columns, a decimal comma. What could be read in two ways is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gridproblems.nets.files.net_file import MAX_BYTES

#: Names of a first column that is the time or a number of the row.
TIME_COLUMNS = (
    "", "date", "datetime", "hour", "hours", "index", "snapshot", "step", "t", "time", "timestamp",
    "unnamed: 0", "datum", "uhrzeit", "zeit", "zeitpunkt", "zeitstempel",
)  # fmt: skip
_SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas"}
_POINT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?(\d+,?\d*|,\d+)([eE][-+]?\d+)?")
_BOTH = re.compile(r"[-+]?[\d.,']+([eE][-+]?\d+)?")
_WORKBOOKS = (".xlsx",)


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A table of finite numbers, one column per name in the first row, the time left out.

    Args:
        path: Of a text file, or of a workbook with one sheet; ``file.xlsx#name`` is one of several.
        name: What to call the table in messages.

    Raises:
        ValueError: No such file, no table, or a cell that is no number or could be two; the message
            names line and column.
    """
    workbook, _, sheet = str(path).rpartition("#")
    if Path(workbook).suffix.lower() in _WORKBOOKS and not path.exists():
        return _of_rows(_sheet_rows(Path(workbook), sheet, name), f"{name}: {path}", "", "row")
    if not path.is_file():
        raise ValueError(f"{name}: no such file: {path}")
    if path.suffix.lower() in _WORKBOOKS:
        return _of_rows(_sheet_rows(path, "", name), f"{name}: {path}", "", "row")
    rows, separator = _text_rows(path, name)
    return _of_rows(rows, f"{name}: {path}", separator, "line")


# -- text -----------------------------------------------------------------------------------------


def _text_rows(path: Path, name: str) -> tuple[list[tuple[int, list[str]]], str]:
    """Numbers and cells of the lines that hold some, and the separator."""
    text = _decoded(path, name)
    lines = text.splitlines()
    asked = re.fullmatch(r"sep=(.)", lines[0].strip('" \t')) if lines else None
    first = 1 if asked else 0
    while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#")):
        first += 1
    if first == len(lines):
        raise ValueError(f"{name}: {path} is no CSV table: it is empty")
    separator = asked[1] if asked else _separator(lines[first])
    if separator not in _SEPARATORS:
        raise ValueError(f"{name}: {path}: columns separated by {separator!r} are not read")
    try:
        reader = csv.reader(io.StringIO("\n".join(lines[first:])), delimiter=separator, strict=True)
        rows = [(first + reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{name}: {path} is no CSV table: {error}") from error
    return [(line, row) for line, row in rows if any(row)], separator


def _decoded(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{name}: {path}: above 256 MiB")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {path} cannot be read: {error.strerror}") from error
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text or content[:2] == b"PK":
        raise ValueError(f"{name}: {path} is no CSV table: no text")
    return text


def _separator(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    found = [separator for separator in _SEPARATORS if separator in bare]
    return found[0] if found else ";"  # one column


# -- workbooks ------------------------------------------------------------------------------------


def _sheet_rows(path: Path, sheet: str, name: str) -> list[tuple[int, list[str]]]:
    from gridproblems.nets.files.tables import sheet_cells

    if not path.is_file():
        raise ValueError(f"{name}: no such file: {path}")
    try:
        sheets = {n: rows for n, rows in sheet_cells(path).items() if rows}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if sheet and sheet not in sheets:
        raise ValueError(f"{name}: {path}: no sheet {sheet!r}; known: {', '.join(sheets)}")
    if not sheet and len(sheets) != 1:
        known = f": {', '.join(sheets)}; give one as {path.name}#name" if sheets else ""
        raise ValueError(f"{name}: {path}: expected one sheet with cells, got {len(sheets)}{known}")
    rows = sheets[sheet or next(iter(sheets))]
    texts = [(i, [_text(cell) for cell in row]) for i, row in enumerate(rows, start=1)]
    return [(i, row) for i, row in texts if any(row)]


def _text(cell: Any) -> str:
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell).strip()


# -- cells ----------------------------------------------------------------------------------------


def _of_rows(
    rows: list[tuple[int, list[str]]], where: str, separator: str, word: str
) -> pd.DataFrame:
    """The table of rows of texts.

    Args:
        rows: Number and cells of each.
        where: How messages begin.
        separator: Of the columns, "" in a workbook.
        word: What a row is called.
    """
    if not rows:
        raise ValueError(f"{where}: an empty table")
    (line, header), *body = rows
    width = len(header)
    if not separator:
        width = max(len(row) for _, row in rows)
        header = [*header, *[""] * (width - len(header))]
        body = [(i, [*row, *[""] * (width - len(row))]) for i, row in body]
    while width > 1 and not header[-1] and all(len(r) < width or not r[-1] for _, r in body):
        width -= 1  # a separator at the end of every line
        header, body = header[:width], [(i, row[:width]) for i, row in body]
    for i, row in body:
        if len(row) != width:
            raise ValueError(f"{where}: {word} {i}: {_other_width(row, width, separator)}")
    if not body:
        raise ValueError(f"{where}: expected rows below the header, got none")
    if any(_POINT.fullmatch(cell) and not cell.isdigit() for cell in header):
        raise ValueError(f"{where}: {word} {line}: expected names of the columns, got numbers")
    comma = _decimal_comma(header, body, where, separator, word)
    number = _COMMA if comma else _POINT
    skipped = 0
    while skipped < width - 1 and header[skipped].lower() in TIME_COLUMNS:
        skipped += 1
    if not skipped and width > 1 and not any(number.fullmatch(row[0]) for _, row in body):
        skipped = 1
    names = header[skipped:]
    if len(set(names)) < len(names) or "" in names:
        twice = next(n for i, n in enumerate(names) if not n or n in names[:i])
        what = f"the name {twice!r} occurs twice" if twice else "a column without a name"
        raise ValueError(f"{where}: {word} {line}: {what}")
    for i, row in body:
        for column, cell in zip(names, row[skipped:], strict=True):
            if not number.fullmatch(cell):
                what = f"{cell!r} is no number" if cell else "an empty cell"
                raise ValueError(f"{where}: {word} {i}, column {column!r}: {what}")
    plain = (",".join(row[skipped:]) for _, row in body)
    if comma:
        plain = (",".join(c.replace(",", ".") for c in row[skipped:]) for _, row in body)
    frame = pd.read_csv(io.StringIO("\n".join(plain)), header=None, dtype=float)
    return frame.set_axis(names, axis=1)


def _other_width(row: Sequence[str], width: int, separator: str) -> str:
    said = f"expected {width} columns as in the header, got {len(row)}"
    if separator == "," and len(row) > width:
        return (
            f"{said}; where commas separate columns numbers have a decimal point, 1.5, else "
            "separate columns by semicolons"
        )
    return said


def _decimal_comma(
    header: Sequence[str],
    body: Sequence[tuple[int, list[str]]],
    where: str,
    separator: str,
    word: str,
) -> bool:
    """Whether numbers have a decimal comma.

    Raises:
        ValueError: A number that could be two, or numbers of both kinds.
    """
    with_comma = with_point = None
    for i, row in body:
        for column, cell in zip(header, row, strict=True):
            if column.lower() in TIME_COLUMNS or not _BOTH.fullmatch(cell):
                continue
            place = f"{where}: {word} {i}, column {column!r}"
            if "'" in cell or ("," in cell and "." in cell) or cell.count(",") > 1:
                raise ValueError(f"{place}: {cell!r}: give numbers without marks for thousands")
            if "," in cell and separator in (",", ""):
                raise ValueError(
                    f"{place}: {cell!r} is ambiguous; expected a number with a decimal point"
                )
            if "," in cell:
                with_comma = with_comma or (place, cell)
            elif "." in cell and _POINT.fullmatch(cell):
                with_point = with_point or (place, cell)
    if with_comma and with_point:
        raise ValueError(
            f"{with_comma[0]}: {with_comma[1]!r} has a decimal comma, but {with_point[1]!r} "
            f"({with_point[0].rpartition(': ')[2]}) a point; use one of them"
        )
    return with_comma is not None
