"""Reads pandapower JSON files from strangers, so that nothing in them can run.

``pandapower.from_json`` makes any object that a file names: it imports the module, looks up the
class or function, and fills instances from the file. Here a file is read as plain JSON, checked
whole, and written anew with nothing but a net and tables; only that text goes to pandapower.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pandapower as pp
import pandas as pd
from pandapower.auxiliary import pandapowerNet
from pandapower.convert_format import convert_format

from gridproblems._warn import warn_user
from gridproblems.nets.files.net_file import MAX_BYTES

MAX_DEPTH = 32
MAX_CELLS = 10_000_000  # of one table whose file gives cells by name, most may be absent

_NETS = {("pandapower.auxiliary", "pandapowerNet")}
_TABLES = {(module, "DataFrame") for module in ("pandas", "pandas.core.frame")}
_SERIES = {(module, "Series") for module in ("pandas", "pandas.core.series")}
_SEQUENCES = {
    ("builtins", "tuple"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("numpy", "array"),
    ("pandas", "Index"),
    ("pandas", "RangeIndex"),
    ("pandas", "Int64Index"),
    ("pandas", "Float64Index"),
}
_NUMPY_NUMBER = re.compile(r"(bool_?|u?int(8|16|32|64)|float(16|32|64))")
_SHAPES = {("shapely", name) for name in ("Point", "LineString", "Polygon")}
#: Data that no problem needs and that is not plain: it is left out of the net.
_LEFT_OUT = {
    ("networkx", "Graph"),
    ("networkx", "DiGraph"),
    ("networkx", "MultiGraph"),
    ("networkx", "MultiDiGraph"),
    ("geopandas.geodataframe", "GeoDataFrame"),
}
#: Objects of pandapower in these columns, such as controllers; their rows are left out.
_BEHAVIOUR_COLUMN = re.compile(r"object|controller|.*_characteristic")
_BEHAVIOUR = re.compile(r"pandapower\.(control|timeseries|protection)(\.\w+)*")
_INSIDE_BEHAVIOUR = re.compile(
    r"(<class ')?(pandapower|numpy|pandas|networkx|shapely)(\.[\w.]+)?('>)?"
)

_TABLE_KEYS = {
    "orient",
    "dtype",
    "typ",
    "index_name",
    "column_name",
    "index_names",
    "column_names",
    "is_multiindex",
    "is_multicolumn",
}
_DTYPE = re.compile(
    r"object|str|string|category|[Bb]ool(ean)?|[Uu]?[Ii]nt(8|16|32|64)|[Ff]loat(16|32|64)"
    r"|complex(64|128)|(datetime|timedelta)64\[(s|ms|us|ns)\]"
)
_GEOMETRIES = (
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
    "Feature",
    "FeatureCollection",
)
_GONE = object()  # stands for a value that is left out


class _Refused(ValueError):
    """What is wrong, and where in the file (empty: the file as a whole)."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)


def read_net(path: Path) -> pandapowerNet:
    """The net in a pandapower JSON file, converted to the format of this pandapower.

    Controllers, characteristics and other objects with behaviour are left out with one warning
    that names them; internal entries (names that begin with ``_``) without.

    Args:
        path: A file as `pandapower.to_json` writes it, of any version.

    Raises:
        ValueError: The file cannot be read, is too large or too deep, is no JSON or no net, is
            encrypted, or holds an object that no net needs; the message names its place.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path}: {size / 2**20:.0f} MiB, expected at most 256 MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a pandapower JSON file in UTF-8: {error}") from error
    if text.startswith("gAAAA"):
        raise ValueError(
            f"{path}: an encrypted net; open it with pandapower.from_json and its key, and save "
            "it without one"
        )
    if text.lstrip()[:1] != "{":
        raise ValueError(f"{path}: expected a pandapower JSON file (pandapower.to_json)")
    try:
        document = _parse(text, "")
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from error
    return net_of_document(document, path)


def net_of_document(document: Any, path: Path) -> pandapowerNet:
    """The net of parsed JSON, as `read_net`; other readers make such a document of their tables.

    Args:
        document: A net as pandapower's JSON has it, or a dict of named tables.
        path: Where it comes from, for messages.

    Raises:
        ValueError: As `read_net`.
    """
    cleaner = _Cleaner()
    try:
        safe_text = cleaner.net(document)
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from error
    net = _decode(safe_text, path)
    if cleaner.left_out:
        warn_user(f"{path}: left out, a file can carry data only: {_first(cleaner.left_out)}")
    return net


def parsed_or_text(text: str) -> Any:
    """A text as parsed JSON where it is some, else the text.

    Raises:
        ValueError: JSON that no file needs, see `read_net`.
    """
    try:
        return _loads(text, "a cell")
    except _Refused:
        raise
    except ValueError:
        return text


def _decode(safe_text: str, path: Path) -> pandapowerNet:
    """The net that pandapower makes of a cleaned text.

    pandapower raises all kinds of errors on malformed data; all mean that the file is no net.
    """
    with warnings.catch_warnings():
        # old formats, and pandas about its own reader
        warnings.simplefilter("ignore")
        try:
            net = pp.from_json_string(safe_text)
            if not isinstance(net, pandapowerNet):
                raise ValueError(f"holds a {type(net).__name__}, expected a pandapower net")
            for table, empty in pp.create_empty_network().items():
                if isinstance(empty, pd.DataFrame) and not isinstance(net[table], pd.DataFrame):
                    raise ValueError(f"{table}: expected a table, got {type(net[table]).__name__}")
            convert_format(net)
        except Exception as error:
            reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: not a pandapower net: {reason}") from error
    return net


def _parse(text: str, place: str) -> Any:
    """Plain JSON."""
    try:
        return _loads(text, place)
    except _Refused:
        raise
    except ValueError as error:
        raise _Refused(place, f"not a pandapower JSON file: {error}") from None


def _loads(text: str, place: str) -> Any:
    """Plain JSON.

    Raises:
        _Refused: Duplicate keys, numbers of endless digits, endless nesting.
        ValueError: No JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = _twice([name for name, _ in pairs])
            raise _Refused(place, f"the key {_shown(twice)} occurs twice")
        return found

    def whole(digits: str) -> int:
        if len(digits) > 25:
            raise _Refused(place, f"the number {digits[:12]}... has {len(digits)} digits")
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=whole)
    except RecursionError:
        raise _Refused(place, f"nested deeper than {MAX_DEPTH} levels") from None


class _Cleaner:
    """Turns parsed JSON into what may go to pandapower: a net, tables, plain data.

    Attributes:
        left_out: Places and classes of what was left out.
    """

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def net(self, document: Any) -> str:
        """The text for pandapower.

        Raises:
            _Refused: No net, or something that a net does not need.
        """
        if _is_typed(document):
            if _pair(document, "") not in _NETS:
                raise _Refused(
                    "", f"holds an object of {_named(document)}, expected a pandapower net"
                )
            _only_keys(document, {"_object"}, "")
            content = document.get("_object")
            if isinstance(content, str):  # as written by early versions
                content = _parse(content, "")
        else:
            content = document
        if not isinstance(content, dict) or _is_typed(content):
            raise _Refused("", "expected a pandapower net, an object of named tables")
        if "bus" not in content:
            raise _Refused("", "not a pandapower net: no table of buses")
        cleaned = {}
        for name, value in content.items():
            place = f"net.{_text(name, 'net', 1)}"
            if name.startswith("res_") and _is_typed(value) and value.get("is_multiindex"):
                continue  # results, made anew
            found = self.value(value, place, 1)
            if found is not _GONE and not name.startswith("_"):  # pandapower's own, made anew
                cleaned[name] = found
        if _is_typed(document):
            (module, class_name) = _pair(document, "")
            return json.dumps({"_module": module, "_class": class_name, "_object": cleaned})
        return json.dumps(cleaned)

    def value(self, value: Any, place: str, depth: int, column: str | None = None) -> Any:
        """Plain data or a table; `_GONE` for what is left out. A column is that of the cell."""
        if isinstance(value, str):
            return _text(value, place, depth)
        if not isinstance(value, (dict, list)):
            return value
        if depth > MAX_DEPTH:
            raise _Refused(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, list):
            found = [self.value(v, f"{place}[{i}]", depth + 1, column) for i, v in enumerate(value)]
            return [None if v is _GONE else v for v in found]
        if _is_typed(value):
            return self._typed(value, place, depth, column)
        _check_size(value, place)
        cleaned = {}
        for key, v in value.items():
            inner = self.value(v, f"{place}.{_text(key, place, depth)}", depth + 1, column)
            cleaned[key] = None if inner is _GONE else inner
        return cleaned

    def _typed(self, value: dict[str, Any], place: str, depth: int, column: str | None) -> Any:
        pair = _pair(value, place)
        if pair in _TABLES | _SERIES and column is None:
            return self._table(value, place, depth, series=pair in _SERIES)
        if pair in _SEQUENCES:
            _only_keys(value, {"_object", "dtype"}, place)
            content = value.get("_object")
            if not isinstance(content, list):
                raise _Refused(place, f"{_named(value)}: expected a list, got {_shown(content)}")
            return self.value(content, place, depth + 1, column)
        if pair[0] == "numpy" and _NUMPY_NUMBER.fullmatch(pair[1]):
            _only_keys(value, {"_object", "dtype"}, place)
            return _number(value, place)
        if pair == ("builtins", "complex"):
            _only_keys(value, {"_object", "dtype"}, place)
            return _text(str(value.get("_object")), place, depth)
        if pair in _SHAPES:
            _only_keys(value, {"_object"}, place)
            return _geometry(self.value(value.get("_object"), place, depth + 1, column), place)
        if pair in _LEFT_OUT:
            _check_behaviour(value, place, depth)
            self.left_out.append(f"{place} ({pair[1]})")
            return _GONE
        if _is_behaviour(pair, column):
            _check_behaviour(value, place, depth)
            self.left_out.append(f"{place} ({pair[1]})")
            return _GONE
        raise _Refused(
            place,
            f"holds an object of {_named(value)}, which no net needs and which could run code; "
            "save the net without it",
        )

    def _table(self, value: dict[str, Any], place: str, depth: int, series: bool) -> dict[str, Any]:
        """A DataFrame or Series: options checked, cells cleaned, rows with behaviour left out."""
        _only_keys(value, {"_object", *_TABLE_KEYS}, place)
        for key in ("is_multiindex", "is_multicolumn"):
            if value.get(key, False) is not False:
                raise _Refused(place, "tables with several index levels are not read")
        if value.get("typ", "series" if series else "frame") != ("series" if series else "frame"):
            raise _Refused(place, f"typ: unknown {_shown(value['typ'])}")
        _check_dtype(value.get("dtype"), place)
        text = value.get("_object")
        if not isinstance(text, str):
            raise _Refused(place, f"expected the text of a table, got {_shown(text)}")
        content = _parse(text, place)
        orient = value.get("orient", "index" if series else "columns")
        if orient == "split":
            content = self._split(content, place, depth, series)
        elif orient in ("columns", "index"):
            content = self._nested(content, place, depth, series)
        else:
            raise _Refused(place, f"orient: unknown {_shown(orient)}")
        cleaned: dict[str, Any] = {
            key: value[key] for key in ("_module", "_class", "orient", "typ") if key in value
        }
        if value.get("dtype") is not None:
            cleaned["dtype"] = value["dtype"]
        for key in ("index_name", "column_name"):
            if isinstance(value.get(key), str):
                cleaned[key] = _text(value[key], place, depth)
        return {**cleaned, "_object": json.dumps(content)}

    def _split(self, content: Any, place: str, depth: int, series: bool) -> dict[str, Any]:
        """Cleaned columns, index and rows of cells."""
        labels = ("name", "index") if series else ("columns", "index")
        if not isinstance(content, dict) or set(content) - {"name"} != {*labels, "data"} - {"name"}:
            raise _Refused(place, "expected a table of columns, index and data")
        index, rows = _labels(content["index"], f"{place} index"), content["data"]
        columns = [place] if series else _labels(content["columns"], f"{place} columns")
        if (twice := _twice([str(column) for column in columns])) is not None:
            raise _Refused(place, f"the column {_shown(twice)} occurs twice")
        if not isinstance(rows, list) or len(rows) != len(index):
            raise _Refused(place, f"expected {len(index)} rows of data, as many as the index has")
        kept_index, kept_rows = [], []
        for label, row in zip(index, rows, strict=True):
            cells = [row] if series else row
            where = f"{place}, row {label}"
            if not isinstance(cells, list) or len(cells) != len(columns):
                raise _Refused(where, f"expected {len(columns)} cells, one per column")
            found = [
                cell
                if cell is None or isinstance(cell, (int, float))
                else self._cell(cell, place, label, column, depth)
                for column, cell in zip(columns, cells, strict=True)
            ]
            if not any(cell is _GONE for cell in found):
                kept_index.append(label)
                kept_rows.append(found[0] if series else found)
        cleaned = {"index": kept_index, "data": kept_rows}
        if series:
            name = content.get("name")
            return {"name": _text(name, place, depth) if isinstance(name, str) else None, **cleaned}
        return {"columns": columns, **cleaned}

    def _nested(self, content: Any, place: str, depth: int, series: bool) -> dict[str, Any]:
        """Cleaned cells by outer and inner label, as pandas writes without ``split``."""
        if not isinstance(content, dict):
            raise _Refused(place, "expected a table, an object of columns")
        if series:
            return {
                _text(label, place, depth): _without_gaps(
                    self._cell(cell, place, label, place, depth)
                )
                for label, cell in content.items()
            }
        for label, cells in content.items():
            if not isinstance(cells, dict):
                raise _Refused(f"{place}.{_shown(label)}", "expected cells by row")
        _check_size(content, place)
        return {
            _text(outer, place, depth): {
                _text(row, place, depth): _without_gaps(self._cell(cell, place, row, outer, depth))
                for row, cell in cells.items()
            }
            for outer, cells in content.items()
        }

    def _cell(self, cell: Any, place: str, row: Any, column: Any, depth: int) -> Any:
        where = f"{place}.{column}, row {row}"
        found = self.value(cell, where, depth + 1, str(column))
        return _geometry(found, where) if column == "geo" else found


def _is_typed(value: Any) -> bool:
    return isinstance(value, dict) and ("_module" in value or "_class" in value)


def _is_behaviour(pair: tuple[str, str], column: str | None) -> bool:
    module, class_name = pair
    return (
        column is not None
        and _BEHAVIOUR_COLUMN.fullmatch(column) is not None
        and _BEHAVIOUR.fullmatch(module) is not None
        and class_name not in ("function", "method")
    )


def _check_size(content: dict[str, Any], place: str) -> None:
    """Refuses few cells that pandas would spread over a huge table."""
    rows: set[str] = set()
    for cells in content.values():
        if isinstance(cells, dict):
            rows.update(cells)
    if len(rows) * len(content) > MAX_CELLS:
        raise _Refused(place, f"a table of {len(rows)} by {len(content)} cells is too large")


def _twice(names: list[str]) -> str | None:
    """The first name that was there before."""
    met: set[str] = set()
    for name in names:
        if name in met:
            return name
        met.add(name)
    return None


def _pair(value: dict[str, Any], place: str) -> tuple[str, str]:
    """Module and class of a typed object."""
    module, class_name = value.get("_module"), value.get("_class")
    if not isinstance(module, str) or not isinstance(class_name, str):
        raise _Refused(place, "an object needs both _module and _class, as texts")
    return module, class_name


def _named(value: dict[str, Any]) -> str:
    return f"the class {_shown(value['_module'])} {_shown(value['_class'])}"


def _only_keys(value: dict[str, Any], known: set[str], place: str) -> None:
    """Refuses keys that pandapower would hand on as arguments."""
    unknown = set(value) - known - {"_module", "_class"}
    if unknown or "_object" not in value:
        what = f"unexpected {_shown(min(unknown))}" if unknown else "no _object"
        raise _Refused(place, f"{_named(value)}: {what}")


def _check_dtype(dtype: Any, place: str) -> None:
    for column, name in dtype.items() if isinstance(dtype, dict) else [("", dtype)]:
        if name is None and not column:
            continue
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise _Refused(f"{place}.{column}" if column else place, f"dtype: {_shown(name)}")
        _text(column, place, 0)


def _labels(labels: Any, place: str) -> list[Any]:
    if not isinstance(labels, list) or any(isinstance(label, (dict, list)) for label in labels):
        raise _Refused(place, "expected a list of names or numbers")
    return [_text(label, place, 0) if isinstance(label, str) else label for label in labels]


def _number(value: dict[str, Any], place: str) -> float | int | bool:
    """The plain number of a numpy one."""
    content, kind = value["_object"], value["_class"]
    if kind.startswith("bool") and content in (True, False, "true", "false"):
        return content in (True, "true")
    if isinstance(content, str) and len(content) < 40:
        with contextlib.suppress(ValueError):
            content = float(content) if kind.startswith("float") else int(content)
    if isinstance(content, (int, float)):
        return content
    raise _Refused(place, f"{_named(value)}: {_shown(content)} is no number")


def _text(text: str, place: str, depth: int) -> str:
    """A text that nobody can take for an object later, also after decoding it as JSON."""
    if "_module" in text and "_class" in text:
        raise _Refused(place, f"a text that holds an object: {_shown(text)}")
    if text.lstrip()[:1] in ("{", "[", '"'):
        if depth > MAX_DEPTH:
            raise _Refused(place, f"nested deeper than {MAX_DEPTH} levels")
        try:
            inner = _loads(text, place)
        except _Refused:
            raise
        except ValueError:
            return text  # no JSON, so nothing decodes it
        _check_plain(inner, place, depth + 1)
    return text


def _check_plain(value: Any, place: str, depth: int) -> None:
    """Refuses objects, however deep, in JSON that came as text."""
    if depth > MAX_DEPTH:
        raise _Refused(place, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _text(value, place, depth)
    elif isinstance(value, list):
        for v in value:
            _check_plain(v, place, depth + 1)
    elif isinstance(value, dict):
        if _is_typed(value):
            raise _Refused(place, "a text that holds an object with _module or _class")
        for key, v in value.items():
            _text(key, place, depth)
            _check_plain(v, place, depth + 1)


def _check_behaviour(value: Any, place: str, depth: int) -> None:
    """Refuses what no controller of pandapower holds, although it is left out anyway."""
    if depth > MAX_DEPTH:
        raise _Refused(place, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if value.lstrip()[:1] in ("{", "["):
            _check_behaviour(_parse(value, place), place, depth + 1)
    elif isinstance(value, list):
        for v in value:
            _check_behaviour(v, place, depth + 1)
    elif isinstance(value, dict):
        if _is_typed(value):
            module, class_name = _pair(value, place)
            known = _INSIDE_BEHAVIOUR.fullmatch(module) or (module, class_name) in _LEFT_OUT
            if not known and (module, class_name) not in _SEQUENCES | {("builtins", "complex")}:
                raise _Refused(place, f"holds an object of {_named(value)}, which could run code")
        for key, v in value.items():
            if key.startswith("__"):
                raise _Refused(place, f"an object with the attribute {_shown(key)}")
            _check_behaviour(v, place, depth + 1)


def _geometry(cell: Any, place: str) -> Any:
    """A cell of coordinates as text, the way pandapower 3 keeps it."""
    if not isinstance(cell, dict):
        return cell
    if cell.get("type") not in _GEOMETRIES:
        raise _Refused(place, f"expected a GeoJSON geometry, got {_shown(cell)}")
    return json.dumps(cell)


def _without_gaps(cell: Any) -> Any:
    return None if cell is _GONE else cell


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _first(names: list[str], n: int = 5) -> str:
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more
