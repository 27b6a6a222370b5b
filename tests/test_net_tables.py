"""Nets in workbooks, databases and files of other formats: what is read, what is refused."""

from __future__ import annotations

import json
import sqlite3
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from pandapower.control import ConstControl

from gridproblems import read_grid
from gridproblems.nets.files import registry
from gridproblems.nets.net_check import check_net
from gridproblems.nets.network import load_net

openpyxl = pytest.importorskip("openpyxl")
WRITERS: dict[str, Callable[..., None]] = {".xlsx": pp.to_excel, ".sqlite": pp.to_sqlite}
FUNCTION = {"_module": "os", "_class": "function", "_object": "system"}


def saved(net: Any, tmp_path: Path, ending: str) -> Path:
    path = tmp_path / f"net{ending}"
    WRITERS[ending](net, str(path))
    return path


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("make", [pn.case9, pn.example_multivoltage], ids=lambda m: m.__name__)
def test_saved_nets_have_the_same_power_flow(
    make: Callable[[], Any], ending: str, tmp_path: Path
) -> None:
    net = make()
    net.name = "our net"
    net.user_pf_options = {"trafo_model": "pi"}
    path = saved(net, tmp_path, ending)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = load_net(path)
    check_net(read)
    pp.runpp(net, numba=False, lightsim2grid=False)
    pp.runpp(read, numba=False, lightsim2grid=False)
    np.testing.assert_allclose(read.res_bus, net.res_bus, rtol=0, atol=1e-12)
    assert (read.name, read.f_hz, read.sn_mva) == ("our net", net.f_hz, net.sn_mva)
    assert read.user_pf_options == {"trafo_model": "pi"}
    assert read.load.in_service.dtype == bool
    assert read.line.from_bus.dtype == net.line.from_bus.dtype
    assert read.std_types["line"].keys() == net.std_types["line"].keys()
    assert read.bus.name.tolist() == net.bus.name.tolist()


@pytest.mark.parametrize("ending", WRITERS)
def test_controllers_are_left_out_with_a_warning(ending: str, tmp_path: Path) -> None:
    net = pn.case4gs()
    ConstControl(net, element="load", variable="p_mw", element_index=[0])
    path = saved(net, tmp_path, ending)
    with pytest.warns(UserWarning, match=r"left out, a file can carry data only: net\.controller"):
        read = load_net(path)
    assert not len(read.controller)


def with_cell(path: Path, value: Any) -> Path:
    """The saved net with another name of its first load."""
    if path.suffix == ".xlsx":
        book = openpyxl.load_workbook(path)
        sheet = book["load"]
        place = [cell.value for cell in sheet[1]].index("name") + 1
        sheet.cell(2, place).value = value
        book.save(path)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute('UPDATE load SET name = ? WHERE "index" = 0', (value,))
        connection.close()
    return path


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "cell",
    [json.dumps(FUNCTION), json.dumps([FUNCTION]), json.dumps(json.dumps(FUNCTION))],
    ids=["plain", "in a list", "in a text"],
)
def test_objects_in_cells_are_refused(cell: str, ending: str, tmp_path: Path) -> None:
    path = with_cell(saved(pn.case4gs(), tmp_path, ending), cell)
    with pytest.raises(ValueError, match=r"net\.load\.name, row 0: a text that holds an object"):
        load_net(path)


@pytest.mark.parametrize("ending", WRITERS)
def test_objects_among_controllers_are_refused(ending: str, tmp_path: Path) -> None:
    net = pn.case4gs()
    net["controller"] = net.controller.reindex([0])
    net.controller["object"] = json.dumps(FUNCTION)
    path = tmp_path / f"net{ending}"
    frame = net.controller[["object"]]
    net["controller"] = frame.iloc[:0]
    net["thing"] = frame.rename(columns={"object": "recycle"})
    WRITERS[ending](net, str(path))
    with pytest.raises(ValueError, match=r"net\.thing\.recycle, row 0: holds an object of"):
        load_net(path)


def test_formulas_are_not_computed(tmp_path: Path) -> None:
    path = saved(pn.case4gs(), tmp_path, ".xlsx")
    book = openpyxl.load_workbook(path)
    place = [cell.value for cell in book["load"][1]].index("p_mw") + 1
    book["load"].cell(2, place).value = '=WEBSERVICE("http://localhost/")'
    book.save(path)
    with pytest.raises(ValueError, match=r"load\.p_mw: load 0 has no finite value"):
        read_grid(path)
    book["load"].cell(2, place).value = "#DIV/0!"
    book.save(path)
    with pytest.raises(ValueError, match=r"load\.p_mw: load 0 has '#DIV/0!', no number"):
        read_grid(path)


def archive(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


def test_archives_that_grow_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.xlsx"
    cases = [
        ({"xl/workbook.xml": bytes(300 * 2**20)}, "more than 256 MiB when unpacked"),
        ({f"xl/{i}.xml": b"" for i in range(2001)}, "an archive of 2001 parts"),
        ({"xl/workbook.xml": DOCTYPE}, r"xl/workbook\.xml has a document type"),
        (
            {"xl/workbook.xml": DOCTYPE.decode().encode("utf-16")},
            r"xl/workbook\.xml has a document type",
        ),
        ({"../../outside.xml": b"<x/>"}, "no workbook of Excel"),
        ({"[Content_Types].xml": b"<Types/>"}, "no workbook of Excel"),
    ]
    for parts, words in cases:
        with pytest.raises(ValueError, match=words) as caught:
            load_net(archive(path, parts))
        assert str(caught.value).startswith(str(path))
    assert not (tmp_path.parent.parent / "outside.xml").exists()


WORKSHEET = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
)


def test_huge_sheets_are_refused(tmp_path: Path) -> None:
    path = saved(pn.case4gs(), tmp_path, ".xlsx")
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    sheets = [name for name in parts if name.startswith("xl/worksheets/")]
    rows = b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (i, i) for i in range(1, 800))
    parts[sheets[0]] = WORKSHEET + rows + b"</sheetData></worksheet>"
    with pytest.raises(ValueError, match="too many cells"):
        load_net(archive(path, parts))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE VIRTUAL TABLE extra USING fts5(x)", "table extra: no plain table"),
        ("DROP TABLE bus", "not a pandapower net: no table of buses, but"),
        ("UPDATE bus SET name = x'00ff'", "a cell holds bytes, expected numbers and texts"),
        ("UPDATE load SET p_mw = 'many'", r"load\.p_mw: load 0 has 'many', no number"),
        ("UPDATE load SET p_mw = 9e999", r"load\.p_mw: load 0 has no finite value|cannot build"),
        ("UPDATE line SET from_bus = 99", r"line\.from_bus: line 0 is at bus 99, unknown"),
    ],
)
def test_databases_that_hold_something_else(statement: str, words: str, tmp_path: Path) -> None:
    path = saved(pn.case4gs(), tmp_path, ".sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    content = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        read_grid(path)
    assert path.read_bytes() == content


def test_views_and_triggers_of_a_database_never_run(tmp_path: Path) -> None:
    path = saved(pn.case4gs(), tmp_path, ".sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIEW gen2 AS SELECT load_extension('x') FROM bus")
        connection.execute(
            "CREATE TRIGGER t AFTER UPDATE ON bus BEGIN SELECT load_extension('x'); END"
        )
    connection.close()
    assert "gen2" not in load_net(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"", "an empty file"),
        ("a.xlsx", b"no archive", "no zip archive that can be read"),
        ("a.xlsx", b"PK\x03\x04 broken", "no zip archive that can be read"),
        ("a.sqlite", b"nothing", "no SQLite database"),
        ("a.db", b"SQLite format 3\0" + bytes(50), "the database cannot be read"),
        ("a.json", b"PK\x03\x04", "expected a pandapower JSON file"),
        ("a.m", b"PK\x03\x04\0", "no text, expected a MATPOWER case file"),
        ("a.m", b"{}", "is no data"),
        ("a.csv", b"1,2", r"files '\.csv'.* are not read"),
        ("a.xyz", b"1,2", r"files '\.xyz'.*known: \.json, \.xlsx"),
        ("a", b"1,2", r"a file without ending; expected one of \.json"),
        ("a.xls", b"1", r"save the workbook as \.xlsx"),
        ("a.xlsm", b"1", "without macros"),
        ("a.raw", b"1", "psse2mpc"),
        ("a.pkl", b"1", "pickle files can run code and are refused"),
        ("a.pfd", b"1", "only PowerFactory itself opens its projects"),
        ("a.uct", b"1", "no UCTE file, which begins with blocks"),
        ("a.uct", b"##C\nnothing\n##N\n", "pandapower's converter cannot read it"),
        ("a.xml", DOCTYPE, "has a document type"),
        ("a.xml", b"<x/>", "CIM|pandapower's converter cannot read it"),
        ("a.zip", b"1", "no zip archive that can be read"),
    ],
)
def test_each_file_that_is_none_has_one_line(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_net(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("ending", [e for f in registry.FORMATS for e in f.endings])
def test_folders_and_missing_files(ending: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_net(tmp_path / f"missing{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(ValueError, match="no such file, it is a folder"):
        load_net(tmp_path / f"folder{ending}")


@pytest.mark.parametrize("ending", [".m", ".json", ".xlsx", ".sqlite", ".mat", ".uct", ".zip"])
def test_files_that_may_not_be_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / f"secret{ending}"
    path.write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read every file
    with pytest.raises(ValueError, match="cannot be read: Permission denied"):
        load_net(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(pn.case4gs(), tmp_path, ".xlsx")
    find_spec = registry.importlib.util.find_spec
    monkeypatch.setattr(
        registry.importlib.util, "find_spec", lambda n: None if n == "openpyxl" else find_spec(n)
    )
    with pytest.raises(ValueError, match="needs the package openpyxl: pip install openpyxl"):
        load_net(path)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="platform: simbench needs Python 3.11")
def test_simbench_codes_are_grids() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package itself
        report = read_grid("1-LV-rural1--0-sw")
    assert report.kind == "SimBench"
    assert report.net.trafo.tap_changer_type.tolist() == ["Ratio"]
    assert report.solved
    with pytest.raises(ValueError, match="no network has the code '1-LV-rural9--0-sw'"):
        load_net("1-LV-rural9--0-sw")
