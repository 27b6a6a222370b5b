"""Profiles in files: every usual form gives the same numbers, what has two readings is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nets import two_bus

from gridproblems import GridProblem, Hours
from gridproblems.nets.case_series import case_series, elements_of_header
from gridproblems.nets.files.number_table import read_table
from gridproblems.words import task_and_case, with_series

VALUES = [[1.5, 0.25], [-2.0, 1e-3], [3.0, 4.0]]
FORMS = {
    "commas": b"a,b\n1.5,0.25\n-2,1e-3\n3,4\n",
    "semicolons": b"a;b\n1.5;.25\n-2;0.001\n3.;4\n",
    "decimal commas": b"a;b\n1,5;0,25\n-2;1e-3\n3;4,0\n",
    "tabs and decimal commas": b"a\tb\n1,5\t0,25\n-2\t0,001\n3\t4\n",
    "windows": b"a;b\r\n1,5;0,25\r\n-2;0,001\r\n3;4\r\n",
    "byte order mark": b"\xef\xbb\xbfa,b\n1.5,0.25\n-2,1e-3\n3,4\n",
    "utf-16": "a;b\n1,5;0,25\n-2;0,001\n3;4\n".encode("utf-16"),
    "separator said": b"sep=;\na;b\n1,5;0,25\n-2;0,001\n3;4\n",
    "comments and blank lines": b"# made up\n\na,b\n1.5,0.25\n\n-2,1e-3\n3,4\n\n",
    "separators at the end": b"a;b;\n1,5;0,25;\n-2;0,001;\n3;4;\n",
    "quoted": b'"a","b"\n"1.5","0.25"\n"-2","1e-3"\n"3","4"\n',
    "blanks": b"a , b\n 1.5 , 0.25\n -2, 1e-3\n3 , 4\n",
    "time": b"time,a,b\n2024-01-01 0:00,1.5,0.25\n2024-01-01 1:00,-2,1e-3\n2 h,3,4\n",
    "numbered": b",a,b\n0,1.5,0.25\n1,-2,1e-3\n2,3,4\n",
    "date and time": b"Datum;Uhrzeit;a;b\n1.1.2024;0:00;1,5;0,25\n1.1.2024;1:00;-2;0,001\nx;;3;4\n",
    "a column of texts": b"wann,a,b\nfirst,1.5,0.25\nsecond,-2,1e-3\nthird,3,4\n",
    "latin-1": "wann;a;b\nfrüh;1,5;0,25\nspät;-2;0,001\ndann;3;4\n".encode("latin-1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_numbers_in_every_form(form: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(FORMS[form])
    table = read_table(path, "load")
    assert table.columns.tolist() == ["a", "b"]
    np.testing.assert_array_equal(table, VALUES)


def test_one_column_and_an_umlaut(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("Küche\n0,5\n1,25\n".encode("latin-1"))
    table = read_table(path, "load")
    assert table["Küche"].tolist() == [0.5, 1.25]


def test_workbooks(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "table.xlsx"
    frame = pd.DataFrame(VALUES, columns=["a", "b"], index=pd.date_range("2024-01-01", periods=3))
    frame.to_excel(path, index_label="time")
    np.testing.assert_array_equal(read_table(path, "load"), VALUES)
    with pd.ExcelWriter(path) as writer:
        frame.to_excel(writer, sheet_name="one")
        (frame * 2).to_excel(writer, sheet_name="two")
    with pytest.raises(ValueError, match=r"got 2: one, two; give one as table\.xlsx#name"):
        read_table(path, "load")
    np.testing.assert_array_equal(read_table(Path(f"{path}#two"), "load"), 2 * np.array(VALUES))
    with pytest.raises(ValueError, match="no sheet 'three'; known: one, two"):
        read_table(Path(f"{path}#three"), "load")
    pd.DataFrame([["1,5"]], columns=["a"]).to_excel(path, index=False)
    with pytest.raises(ValueError, match="row 2, column 'a': '1,5' is ambiguous"):
        read_table(path, "load")
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="no zip archive that can be read"):
        read_table(path, "load")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no CSV table: it is empty"),
        (b"\n\n", "is no CSV table: it is empty"),
        (b"a,b\n", "expected rows below the header, got none"),
        (b"a,b\n1,5,2\n", "line 2: expected 2 columns .*, got 3; where commas separate columns"),
        (b'a,b\n"1,5",2\n', "line 2, column 'a': '1,5' is ambiguous"),
        (b"a;b\n1;2;3\n", "line 2: expected 2 columns as in the header, got 3$"),
        (b"a;b\n1\n", "line 2: expected 2 columns as in the header, got 1"),
        (b"a;b\n1,5;1.5\n", "'1,5' has a decimal comma, but '1.5' .*column 'b'.* a point"),
        (b"a;b\n1.234,5;1\n", "column 'a': '1.234,5': give numbers without marks for thousands"),
        (b"a;b\n1,234,567;1\n", "column 'a': '1,234,567': give numbers without marks"),
        (b"a;b\n1'234;1\n", "column 'a': \"1'234\": give numbers without marks"),
        (b"a,b\n1,2\n3,x\n", "line 3, column 'b': 'x' is no number"),
        (b"a,b\n1,2\n3,\n", "line 3, column 'b': an empty cell"),
        (b"a,b\n1,2\n3,nan\n", "line 3, column 'b': 'nan' is no number"),
        (b"a,b\n1,2\nx,4\n", "line 3, column 'a': 'x' is no number"),
        (b"a,b\n=1+1,2\n1,2\n", "line 2, column 'a': '=1\\+1' is no number"),
        (b"1.5,2.5\n1,2\n", "line 1: expected names of the columns, got numbers"),
        (b"a,a\n1,2\n", "line 1: the name 'a' occurs twice"),
        (b"a,,b\n1,2,3\n", "line 1: a column without a name"),
        (b'a,b\n"1,2\n', "is no CSV table"),
        (b"a\0,b\n1,2\n", "no text"),
        (b"PK\x03\x04", "no text"),
        (b"sep=|\na|b\n", "columns separated by '\\|' are not read"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_table(path, "series load.p_mw")
    assert str(caught.value).startswith("series load.p_mw: ")
    assert "\n" not in str(caught.value)


def three_loads() -> object:
    net = two_bus()
    net.load = pd.concat([net.load.iloc[[0]]] * 3, ignore_index=True)
    net.load["name"] = ["mill", "farm", "school"]
    return net


@pytest.mark.parametrize(
    ("header", "elements"),
    [
        (["0", "1", "2"], [0, 1, 2]),
        (["2", "0"], [2, 0]),
        (["school", "mill"], [2, 0]),
        (["x", "y", "z"], [0, 1, 2]),
        (["1", "2", "3"], [0, 1, 2]),  # numbered from 1: in their order
    ],
)
def test_columns_stand_for_elements(header: list[str], elements: list[int]) -> None:
    assert elements_of_header(three_loads(), "load", header, "series") == elements


def test_columns_of_a_frame_are_indices_or_names() -> None:
    net = three_loads()
    names = [str(name) for name in net.load["name"]]
    by_name = pd.DataFrame([[1.0, 2.0]], columns=[names[2], names[0]])
    by_index = pd.DataFrame([[1.0, 2.0]], columns=[net.load.index[2], net.load.index[0]])
    settings = [case_series(net, None, {"load.p_mw": table}) for table in (by_name, by_index)]
    for found in settings:
        assert found is not None
        assert found.fields[0].elements == (net.load.index[2], net.load.index[0])
    with pytest.raises(ValueError, match=r"series load\.p_mw: the net has no load church"):
        case_series(net, None, {"load.p_mw": by_name.set_axis([names[2], "church"], axis=1)})


def test_columns_that_stand_for_nothing_are_named() -> None:
    net = three_loads()
    with pytest.raises(ValueError, match=r"expected 3 columns, .* no load is called 'church'"):
        elements_of_header(net, "load", ["mill", "church"], "series load.p_mw")
    net.load["name"] = ["1", "0", "2"]
    with pytest.raises(ValueError, match=r"stands for indices \[1, 0\].* these names, \[0, 1\]"):
        elements_of_header(net, "load", ["1", "0"], "series load.p_mw")
    assert elements_of_header(net, "load", ["0", "1", "2"], "series load.p_mw") == [0, 1, 2]


def test_series_of_files(tmp_path: Path) -> None:
    net = three_loads()
    path = tmp_path / "p.csv"
    path.write_text("hour;school;mill\n0;1,5;2\n1;2,5;3\n")
    settings = case_series(net, None, {"load.p_mw": path})
    values = {load: list(p) for load, p in settings.get("load", "p_mw").items()}
    assert values == {2: [1.5, 2.5], 0: [2.0, 3.0]}
    path.write_text("mill\n-0.5\n")
    assert case_series(net, None, {"load.q_mvar": path}).n_snapshots == 1  # reactive power may be
    with pytest.raises(ValueError, match="column 'mill' is negative in row 0"):
        case_series(net, None, {"load.p_mw": path})


def test_factors_of_all_loads_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("time;factor\n0:00;0,5\n1:00;1\n")
    parts = {"controls": ["setpoints"], "objectives": "p_loss_mw", "limits": {}}
    of_file = GridProblem("ieee14", situations=Hours(load=path), **parts)
    of_list = GridProblem("ieee14", situations=Hours(load=[0.5, 1.0]), **parts)
    in_words = GridProblem("ieee14", situations=with_series(None, [f"load={path}"]), **parts)
    for problem in (of_file, in_words):
        assert problem.base_values().tolist() == of_list.base_values().tolist()


@pytest.mark.parametrize(
    ("situations", "expected"),
    [
        (None, 'hours:series={"load.p_mw": "a.csv"}'),
        ("outages:lines", 'hours:series={"load.p_mw": "a.csv"}*outages:lines'),
        ("outages*hours", 'outages*hours:series={"load.p_mw": "a.csv"}'),
        ("hours:hours=0.25", 'hours:hours=0.25:series={"load.p_mw": "a.csv"}'),
        ("typical_hours:4", 'typical_hours:4:series={"load.p_mw": "a.csv"}'),
    ],
)
def test_series_in_words(situations: str | None, expected: str) -> None:
    assert with_series(situations, ["load.p_mw=a.csv"]) == expected
    spec = "orpd:net.m?series=load.p_mw=a.csv" + (f"&situations={situations}" if situations else "")
    assert task_and_case(spec) == ("orpd", "net.m", {"situations": expected})


def test_series_that_are_none() -> None:
    assert with_series("outages", []) == "outages"
    with pytest.raises(ValueError, match="--series load: expected name=file"):
        with_series(None, ["load"])
    with pytest.raises(ValueError, match="load is given twice"):
        with_series(None, ["load=a.csv", "load=b.csv"])
    with pytest.raises(ValueError, match="has series already"):
        with_series("hours:series=day", ["load=a.csv"])
