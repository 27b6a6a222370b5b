"""Formats that pandapower's own converters read, UCTE and CIM (CGMES), and PowerFactory's way."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pandapower.auxiliary import pandapowerNet

from gridproblems.nets.files.net_file import NetFile, bytes_of
from gridproblems.nets.files.tables import check_archive, check_xml

MAX_LINES = 20  # that a converter logs


def read_ucte(path: Path) -> NetFile:
    """The net of a UCTE-DEF file, by ``pandapower.converter.from_ucte``.

    Raises:
        ValueError: Unreadable, or what the converter cannot read.
    """
    content = bytes_of(path)
    if b"##" not in content[:10_000] or b"\0" in content:
        raise ValueError(f"{path}: no UCTE file, which begins with blocks such as ##C and ##N")

    def convert() -> pandapowerNet:
        from pandapower.converter.ucte import from_ucte

        return from_ucte(str(path), slack_as_gen=False)

    return _converted(path, "UCTE", convert)


def read_cim(path: Path) -> NetFile:
    """The net of a CIM file (CGMES 2.4.15), a zip archive of its profiles or one XML file.

    Raises:
        ValueError: Unreadable, XML with a document type, or what the converter cannot read.
    """
    content = bytes_of(path)
    if path.suffix.lower() == ".zip":
        check_archive(content, path)
    else:
        check_xml(content, path, path.name)

    def convert() -> pandapowerNet:
        from pandapower.converter.cim.cim2pp.from_cim import from_cim

        return from_cim(str(path), create_tap_controller=False, ignore_errors=False)

    return _converted(path, "CIM", convert)


def read_powerfactory(path: Path) -> NetFile:
    """Not without PowerFactory.

    Raises:
        ValueError: Always; the message says how to export the grid.
    """
    raise ValueError(
        f"{path}: only PowerFactory itself opens its projects; export the grid there to pandapower "
        "JSON (pandapower.converter.powerfactory) and give that file, see docs/files.md"
    )


def _converted(path: Path, kind: str, convert: Callable[[], pandapowerNet]) -> NetFile:
    """What a converter of pandapower makes of a file, and what it said on the way."""
    with _said() as lines, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = convert()
        except Exception as error:  # converters raise all kinds of errors on data they do not know
            raise ValueError(
                f"{path}: pandapower's converter cannot read it: {type(error).__name__}: {error}"
            ) from error
    if not len(net.bus):
        raise ValueError(f"{path}: pandapower's converter cannot read it: no buses in it")
    notes = (f"converted by pandapower's converter of {kind} files, which has its own losses",)
    _fill_weights(net)
    return NetFile(net, kind, notes + tuple(dict.fromkeys(lines))[:MAX_LINES])


def _fill_weights(net: pandapowerNet) -> None:
    """Weights of the slack that a converter left out: none of generators, all of external grids."""
    for table, weight in (("gen", 0.0), ("ext_grid", 1.0)):
        if "slack_weight" in net[table]:
            net[table]["slack_weight"] = net[table].slack_weight.astype(float).fillna(weight)


@contextmanager
def _said() -> Iterator[list[str]]:
    """Warnings that pandapower's converters log meanwhile, instead of their printing."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(" ".join(record.getMessage().split())[:200])

    loggers = [logging.getLogger(name) for name in ("pandapower", "ucte", "cim")]
    handler = Collector(logging.WARNING)
    before = [(log.propagate, log.level) for log in loggers]
    for log in loggers:
        log.addHandler(handler)
        log.propagate = False
    try:
        yield lines
    finally:
        for log, (propagate, level) in zip(loggers, before, strict=True):
            log.removeHandler(handler)
            log.propagate = propagate
            log.setLevel(level)
