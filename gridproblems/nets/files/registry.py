"""The formats of grid files, one line each."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gridproblems._names import with_nearest
from gridproblems.nets.files.net_file import NetFile

_HERE = "gridproblems.nets.files"


@dataclass(frozen=True)
class Format:
    """A format of files that hold a grid.

    Attributes:
        name: What a reader calls it.
        endings: Of its files, in small letters.
        reader: Function ``(path) -> NetFile``, as ``module:name``.
        needs: Packages beside those of gridproblems: module and how to install it.
    """

    name: str
    endings: tuple[str, ...]
    reader: str
    needs: tuple[tuple[str, str], ...] = ()


FORMATS: tuple[Format, ...] = (
    Format("pandapower JSON", (".json",), f"{_HERE}.tables:read_json"),
    Format(
        "pandapower Excel",
        (".xlsx",),
        f"{_HERE}.tables:read_excel",
        (("openpyxl", "openpyxl"),),
    ),
    Format("pandapower SQLite", (".sqlite", ".sqlite3", ".db"), f"{_HERE}.tables:read_sqlite"),
    Format("MATPOWER", (".m",), f"{_HERE}.matpower:read_m"),
    Format("MATPOWER in MATLAB's format", (".mat",), f"{_HERE}.matpower:read_mat"),
    Format("UCTE", (".uct", ".ucte"), f"{_HERE}.converted:read_ucte"),
    Format("CIM (CGMES)", (".xml", ".zip"), f"{_HERE}.converted:read_cim", (("lxml", "lxml"),)),
    Format("PowerFactory", (".pfd",), f"{_HERE}.converted:read_powerfactory"),
)
_REFUSED = {
    (".p", ".pkl", ".pickle"): (
        "pickle files can run code and are refused; save the net with pandapower.to_json"
    ),
    (".xls", ".xlsm", ".xlsb", ".ods"): "save the workbook as .xlsx, without macros",
    (".raw", ".rawx"): "PSS/E files are not read; convert it with MATPOWER's psse2mpc",
    (".dss",): "an OpenDSS file: a feeder, see gridproblems.feeders",
}


def read_file(path: Path) -> NetFile:
    """The net in a file, whose ending says the format; nothing in a file runs.

    Raises:
        ValueError: No such file, an ending that stands for no format, a package is missing, or
            what the reader refuses; the message begins with the path.
    """
    ending = path.suffix.lower()
    for endings, advice in _REFUSED.items():
        if ending in endings:
            raise ValueError(f"{path}: {advice}")
    _check_there(path)
    known = {e: f for f in FORMATS for e in f.endings}
    if ending not in known:
        if _begins_like_json(path):
            return _reader(FORMATS[0])(path)
        named = with_nearest(ending or "without an ending", known)
        raise ValueError(f"{path}: files {named} are not read" if ending else _no_ending(path))
    chosen = known[ending]
    for module, package in chosen.needs:
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"{path}: {chosen.name} needs the package {package}: pip install {package}"
            )
    return _reader(chosen)(path)


def _no_ending(path: Path) -> str:
    known = ", ".join(e for f in FORMATS for e in f.endings)
    return f"{path}: a file without ending; expected one of {known}"


def _check_there(path: Path) -> None:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # a name that no file can have
        is_folder = is_file = False
    if not is_file:
        raise ValueError(f"{path}: no such file{', it is a folder' * is_folder}")


def _begins_like_json(path: Path) -> bool:
    """Whether a file of another ending may hold a net as pandapower writes it."""
    try:
        with path.open("rb") as file:
            beginning = file.read(200)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    return beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" or not beginning


def _reader(chosen: Format) -> Callable[[Path], NetFile]:
    module, _, name = chosen.reader.partition(":")
    found: Callable[[Path], NetFile] = getattr(importlib.import_module(module), name)
    return found
