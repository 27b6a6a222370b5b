"""Net files from strangers: nothing in them runs, and what is a net still loads."""

import copy
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pandas as pd
import pytest
from pandapower.control import ConstControl, ContinuousTapControl
from pandapower.control.util.characteristic import SplineCharacteristic
from pandapower.timeseries import DFData
from typer.testing import CliRunner

from gridproblems import ReactivePowerDispatch
from gridproblems.cli import app
from gridproblems.nets.net_json import MAX_DEPTH
from gridproblems.nets.network import load_net
from gridproblems.study.specs import problem_of

Document = dict[str, Any]
NET = {"_module": "pandapower.auxiliary", "_class": "pandapowerNet"}
FUNCTION = {"_module": "netfile_payload", "_class": "function", "_object": "run"}
INSTANCE = {
    "_module": "pandapower.io_utils",
    "_class": "JSONSerializableClass",
    "_object": json.dumps({"__reduce_ex__": FUNCTION}),
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists as soon as anything imports or calls the payload."""
    path = tmp_path / "marker"
    module = tmp_path / "modules" / "netfile_payload.py"
    module.parent.mkdir()
    module.write_text(
        f"from pathlib import Path\nPath({str(path)!r}).touch()\n"
        "class Thing:\n    pass\n"
        "def run(*args, **kwargs):\n    return (str, ())\n"
    )
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.delitem(sys.modules, "netfile_payload", raising=False)
    return path


@pytest.fixture(scope="module")
def document() -> Document:
    """The parsed JSON of a small net."""
    return json.loads(pp.to_json(networks.case4gs()))


def with_entry(doc: Document, value: Any, name: str = "thing") -> Document:
    doc["_object"][name] = value
    return doc


def with_cell(doc: Document, value: Any, column: str = "name", table: str = "load") -> Document:
    text = doc["_object"][table]
    content = json.loads(text["_object"])
    if column not in content["columns"]:
        content["columns"].append(column)
        content["data"] = [[*row, None] for row in content["data"]]
    content["data"][0][content["columns"].index(column)] = value
    text["_object"] = json.dumps(content)
    text["dtype"][column] = "object"
    return doc


def with_table(doc: Document, change: Callable[[Document], None], table: str = "load") -> Document:
    change(doc["_object"][table])
    return doc


def with_content(
    doc: Document, change: Callable[[Document], None], table: str = "load"
) -> Document:
    content = json.loads(doc["_object"][table]["_object"])
    change(content)
    doc["_object"][table]["_object"] = json.dumps(content)
    return doc


def typed(module: Any, class_name: Any, content: Any, **more: Any) -> Document:
    return {"_module": module, "_class": class_name, "_object": content, **more}


def escaped(value: Any) -> str:
    """JSON that spells its letters as \\uXXXX, so that no substring gives it away."""
    return json.dumps(value).replace("_m", "\\u005f\\u006d").replace("_c", "\\u005f\\u0063")


def nested_text(value: Any, n: int) -> str:
    text = json.dumps(value)
    for _ in range(n):
        text = json.dumps(text)
    return text


def controller(content: Any) -> Document:
    return typed("pandapower.control.controller.const_control", "ConstControl", content)


def sparse(n: int) -> str:
    return json.dumps({f"c{i}": {str(i): 1.0} for i in range(n)})


#: Form of the attack: what becomes of a document, and words of the message.
ATTACKS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "function in the net": (lambda d: with_entry(d, FUNCTION), "net.thing: holds an object"),
    "function under an internal name": (
        lambda d: with_entry(d, FUNCTION, "_ppc"),
        "net._ppc: holds an object",
    ),
    "function of the system": (
        lambda d: with_entry(d, typed("os", "function", "system")),
        "net.thing: .*'os' 'function'",
    ),
    "function of pandapower": (
        lambda d: with_entry(d, typed("pandapower.io_utils", "function", "importlib")),
        "net.thing: holds an object",
    ),
    "built-in function": (
        lambda d: with_entry(d, typed("builtins", "eval", "print(1)")),
        "'builtins' 'eval'",
    ),
    "class of an unknown module": (
        lambda d: with_entry(d, typed("netfile_payload", "Thing", {})),
        "'netfile_payload' 'Thing'",
    ),
    "submodule that looks like pandas": (
        lambda d: with_entry(d, typed("netfile_payload.pandas", "DataFrame", "{}")),
        "'netfile_payload.pandas'",
    ),
    "object without _object": (
        lambda d: with_entry(d, {"_module": "netfile_payload", "_class": "Thing", "x": 1}),
        "'netfile_payload' 'Thing'",
    ),
    "object of early versions": (
        lambda d: with_entry(d, {"_module": "netfile_payload", "_class": "Thing", "_state": {}}),
        "'netfile_payload' 'Thing'",
    ),
    "filled instance": (lambda d: with_entry(d, INSTANCE), "net.thing: holds an object"),
    "function in standard types": (
        lambda d: with_entry(d, {"line": {"a": {"r": FUNCTION}}}, "std_types"),
        "net.std_types.line.a.r: ",
    ),
    "function in options of runpp": (
        lambda d: with_entry(d, {"init": FUNCTION}, "user_pf_options"),
        "net.user_pf_options.init: ",
    ),
    "function in a list": (lambda d: with_entry(d, [1, [FUNCTION]]), r"net.thing\[1\]\[0\]: "),
    "function in a tuple": (
        lambda d: with_entry(d, typed("builtins", "tuple", [FUNCTION])),
        r"net.thing\[0\]: ",
    ),
    "function in an array": (
        lambda d: with_entry(d, typed("numpy", "array", [[FUNCTION]], dtype="object")),
        r"net.thing\[0\]\[0\]: ",
    ),
    "function in a graph": (
        lambda d: with_entry(d, typed("networkx", "MultiGraph", {"nodes": [{"id": FUNCTION}]})),
        "net.thing: ",
    ),
    "function in a table cell": (lambda d: with_cell(d, FUNCTION), "net.load.name, row 0: "),
    "function in a list in a cell": (lambda d: with_cell(d, [FUNCTION]), r"net.load.name, row 0\["),
    "function in coordinates": (
        lambda d: with_cell(d, {"type": "Point", "coordinates": [FUNCTION, 1]}, "geo", "bus"),
        "net.bus.geo, row 0.coordinates",
    ),
    "unknown geometry": (
        lambda d: with_cell(d, {"type": "__loader__", "name": "x"}, "geo", "bus"),
        "net.bus.geo, row 0: expected a GeoJSON geometry",
    ),
    "instance in a table cell": (lambda d: with_cell(d, INSTANCE), "net.load.name, row 0: "),
    "text of a function in a cell": (
        lambda d: with_cell(d, json.dumps(FUNCTION)),
        "net.load.name, row 0: a text that holds an object",
    ),
    "escaped text of a function": (
        lambda d: with_entry(d, escaped(FUNCTION)),
        "net.thing: a text that holds an object",
    ),
    "text of text of a function": (
        lambda d: with_cell(d, nested_text(escaped(FUNCTION), 3)),
        "net.load.name, row 0: a text that holds an object",
    ),
    "object as the name of an entry": (
        lambda d: with_entry(d, 1, json.dumps(FUNCTION)),
        "net: a text that holds an object",
    ),
    "object as the name of a column": (
        lambda d: with_content(d, lambda c: c["columns"].__setitem__(0, json.dumps(FUNCTION))),
        "net.load columns: a text that holds an object",
    ),
    "net in a net": (
        lambda d: with_entry(d, {**NET, "_object": {"bus": FUNCTION}}),
        "net.thing: holds an object of the class 'pandapower.auxiliary' 'pandapowerNet'",
    ),
    "net as text": (
        lambda d: {**NET, "_object": json.dumps(with_entry(d, FUNCTION)["_object"])},
        "net.thing: holds an object",
    ),
    "table in a cell": (
        lambda d: with_cell(d, typed("pandas.core.frame", "DataFrame", "{}")),
        "net.load.name, row 0: ",
    ),
    "table as a path": (
        lambda d: with_table(d, lambda t: t.__setitem__("_object", "/etc/passwd.json")),
        "net.load: not a pandapower JSON file",
    ),
    "table as a list of functions": (
        lambda d: with_table(d, lambda t: t.__setitem__("_object", [FUNCTION])),
        "net.load: expected the text of a table",
    ),
    "arguments of the table reader": (
        lambda d: with_table(d, lambda t: t.__setitem__("storage_options", {"a": 1})),
        "net.load: .* unexpected 'storage_options'",
    ),
    "type of a column": (
        lambda d: with_table(d, lambda t: t["dtype"].__setitem__("name", "S999999999")),
        "net.load.name: dtype: 'S999999999'",
    ),
    "orientation of a table": (
        lambda d: with_table(d, lambda t: t.__setitem__("orient", FUNCTION)),
        "net.load: orient: unknown",
    ),
    "tuples in an index": (
        lambda d: with_table(d, lambda t: t.__setitem__("is_multiindex", True)),
        "net.load: tables with several index levels",
    ),
    "few cells spread over a huge table": (
        lambda d: with_table(
            d, lambda t: t.update(_object=sparse(20_000), orient="columns", dtype=None)
        ),
        "net.load: a table of 20000 by 20000 cells is too large",
    ),
    "function in a controller": (
        lambda d: with_cell(d, controller(json.dumps({"f": FUNCTION})), "object"),
        "net.load.object, row 0: holds an object of the class 'netfile_payload'",
    ),
    "special method of a controller": (
        lambda d: with_cell(d, controller(json.dumps({"__deepcopy__": 1})), "object"),
        "an object with the attribute '__deepcopy__'",
    ),
    "controller of a stranger": (
        lambda d: with_cell(d, typed("netfile_payload", "Thing", "{}"), "object", "bus"),
        "net.bus.object, row 0: holds an object",
    ),
    "function of a controller module": (
        lambda d: with_cell(d, typed("pandapower.control", "function", "ConstControl"), "object"),
        "net.load.object, row 0: holds an object",
    ),
    "class as a list": (
        lambda d: with_entry(d, typed(["netfile_payload"], ["Thing"], {})),
        "net.thing: an object needs both _module and _class",
    ),
    "module without class": (
        lambda d: with_entry(d, {"_module": "netfile_payload", "x": 1}),
        "net.thing: an object needs both _module and _class",
    ),
    "buffer of numpy": (
        lambda d: with_entry(d, typed("numpy", "void", 10**12)),
        "'numpy' 'void'",
    ),
    "number of numpy that is none": (
        lambda d: with_entry(d, typed("numpy", "float64", [1.0])),
        "net.thing: .* is no number",
    ),
    "arguments of a tuple": (
        lambda d: with_entry(d, typed("builtins", "tuple", [], order="C")),
        "net.thing: .* unexpected 'order'",
    ),
    "series with a function": (
        lambda d: with_entry(
            d,
            typed(
                "pandas.core.series",
                "Series",
                json.dumps({"name": "a", "index": [0], "data": [FUNCTION]}),
                dtype="object",
                orient="split",
                typ="series",
            ),
        ),
        "net.thing.net.thing, row 0: ",
    ),
    "root is an instance": (
        lambda d: INSTANCE,
        "net.json: holds an object of the class 'pandapower.io_utils'",
    ),
    "root is a function": (
        lambda d: FUNCTION,
        "net.json: holds an object of the class 'netfile_payload'",
    ),
    "root of early versions": (
        lambda d: {"bus": {"name": {"0": FUNCTION}}, "version": 1.2},
        "net.bus.name.0: ",
    ),
    "early versions spread over a huge table": (
        lambda d: {"bus": json.loads(sparse(20_000)), "version": 1.2},
        "net.bus: a table of 20000 by 20000 cells is too large",
    ),
    "duplicate key that hides a function": (
        lambda d: '{"bus": ' + json.dumps(FUNCTION) + ', "bus": {}}',
        "net.json: the key 'bus' occurs twice",
    ),
    "duplicate key behind many": (
        lambda d: "{" + ",".join(f'"{i}":0' for i in range(200_000)) + ',"199999":0}',
        "net.json: the key '199999' occurs twice",
    ),
    "the same column as number and text": (
        lambda d: with_table(
            d, lambda t: t.__setitem__("_object", '{"columns":[1,"1"],"index":[],"data":[]}')
        ),
        "net.load: the column '1' occurs twice",
    ),
    "duplicate key in a table": (
        lambda d: with_table(d, lambda t: t.__setitem__("_object", '{"data": 1, "data": []}')),
        "net.load: the key 'data' occurs twice",
    ),
    "deep lists": (
        lambda d: with_entry(d, json.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))),
        "nested deeper than",
    ),
    "endlessly deep lists": (
        lambda d: '{"bus": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "net.json: nested deeper than",
    ),
    "deep text": (
        lambda d: with_entry(d, "[" * 100_000 + "]" * 100_000),
        "net.thing: nested deeper than",
    ),
    "endless number": (
        lambda d: '{"bus": ' + "9" * 5_000 + "}",
        "net.json: the number 999999999999... has 5000 digits",
    ),
    "pickle": (lambda d: "\x80\x04cos\nsystem\n", "expected a pandapower JSON file"),
    "list": (lambda d: json.dumps([FUNCTION]), "expected a pandapower JSON file"),
    "no net": (lambda d: {"a": 1}, "no table of buses"),
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "net.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("form", ATTACKS)
def test_attacks_are_refused_and_run_nothing(
    form: str, document: Document, marker: Path, tmp_path: Path
) -> None:
    make, words = ATTACKS[form]
    path = write(tmp_path, make(copy.deepcopy(document)))
    with pytest.raises(ValueError, match=words) as caught:
        load_net(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not marker.exists()
    assert "netfile_payload" not in sys.modules


def test_the_payload_works_where_nothing_guards(
    document: Document, marker: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, with_entry(copy.deepcopy(document), FUNCTION))
    pp.from_json(str(path))
    assert marker.exists()


@pytest.mark.parametrize(
    "way",
    [
        lambda path: ReactivePowerDispatch(str(path)),
        lambda path: problem_of(f"orpd:{path}"),
        lambda path: problem_of(f"reconfiguration:{path}"),
    ],
)
def test_every_way_in_refuses(
    way: Callable[[Path], Any], document: Document, marker: Path, tmp_path: Path
) -> None:
    path = write(tmp_path, with_cell(copy.deepcopy(document), FUNCTION))
    with pytest.raises(ValueError, match=r"net\.load\.name, row 0: holds an object"):
        way(path)
    assert not marker.exists()


def test_the_command_line_refuses(document: Document, marker: Path, tmp_path: Path) -> None:
    path = write(tmp_path, with_entry(copy.deepcopy(document), INSTANCE))
    result = CliRunner().invoke(
        app, ["solve", "orpd", "--case", str(path), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code != 0
    assert "net.thing" in result.output
    assert not marker.exists()


def assert_same_net(found: Any, expected: Any) -> None:
    names = {name for name in expected if not name.startswith("_")}
    assert {name for name in found if not name.startswith("_")} == names
    for name in names:
        if isinstance(expected[name], pd.DataFrame):
            pd.testing.assert_frame_equal(found[name], expected[name], obj=name)
        else:
            assert found[name] == expected[name], name


@pytest.mark.parametrize(
    "make",
    [
        networks.case14,
        networks.case33bw,
        networks.case118,
        networks.mv_oberrhein,
        networks.example_multivoltage,
        networks.create_cigre_network_mv,
        networks.create_kerber_landnetz_freileitung_1,
        networks.ieee_european_lv_asymmetric,
        networks.create_dickert_lv_network,
    ],
)
def test_saved_nets_load_as_pandapower_loads_them(make: Callable[[], Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = make()
    path = tmp_path / "net.json"
    pp.to_json(net, str(path))
    assert_same_net(load_net(path), pp.from_json(str(path)))


def test_results_and_geodata_and_profiles_load(tmp_path: Path) -> None:
    net = networks.case4gs()
    net.bus["geo"] = '{"coordinates":[1.5,2.0],"type":"Point"}'
    net["profiles"] = {"load": pd.DataFrame({"a": [0.1, 1 / 3]}, index=[5, 6])}
    net["loadcases"] = pd.DataFrame({"p": [1.0]}, index=["high"])
    net["note"] = "{not an object}"
    net["sizes"] = np.array([1, 2])
    net["pair"] = (1, 2.5)
    net["flag"] = np.bool_(False)
    net["weight"] = np.float64("nan")
    pp.runpp(net)
    path = tmp_path / "net.json"
    pp.to_json(net, str(path))
    found = load_net(path)
    pd.testing.assert_frame_equal(found.res_bus, net.res_bus)
    pd.testing.assert_frame_equal(found.profiles["load"], net.profiles["load"])
    pd.testing.assert_frame_equal(found.loadcases, net.loadcases)
    assert list(found.bus.geo) == list(net.bus.geo)
    assert (found.note, found.sizes, found.pair) == ("{not an object}", [1, 2], [1, 2.5])
    assert found.flag is False
    assert np.isnan(found.weight)


def test_coordinates_of_a_file_are_texts(document: Document, tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [1.0, 2.0]}
    path = write(tmp_path, with_cell(copy.deepcopy(document), point, "geo", "bus"))
    assert json.loads(load_net(path).bus.geo[0]) == point


def test_values_are_read_to_the_last_digit(tmp_path: Path) -> None:
    net = networks.case4gs()
    net.load.p_mw = [0.1 + 0.2, 1 / 3, 1.1e-30, 123456789.12345678]
    path = tmp_path / "net.json"
    path.write_text(json.dumps(json.loads(pp.to_json(net))))
    # pandas writes 15 digits; what the file says is what is read
    written = json.loads(json.loads(path.read_text())["_object"]["load"]["_object"])
    column = written["columns"].index("p_mw")
    assert load_net(path).load.p_mw.tolist() == [row[column] for row in written["data"]]


def test_controllers_are_left_out_with_a_warning(tmp_path: Path) -> None:
    net = networks.mv_oberrhein()
    ContinuousTapControl(net, 114, 1.0)
    data = DFData(pd.DataFrame({"p": [1.0, 2.0]}))
    ConstControl(net, "load", "p_mw", [0], profile_name=["p"], data_source=data)
    SplineCharacteristic(net, [0, 1, 2], [3, 4, 5])
    path = tmp_path / "net.json"
    pp.to_json(net, str(path))
    with pytest.warns(UserWarning, match="left out") as caught:
        found = load_net(path)
    (message,) = [str(w.message) for w in caught]
    for name in ("ContinuousTapControl", "ConstControl", "SplineCharacteristic"):
        assert name in message
    assert not len(found.controller)
    assert not len(found.characteristic)
    assert len(found.load) == len(net.load)


def test_a_format_of_dicts_is_converted(tmp_path: Path) -> None:
    net = networks.case4gs()
    tables = {
        name: json.loads(table.drop(columns="geo", errors="ignore").to_json())
        for name, table in net.items()
        if isinstance(table, pd.DataFrame) and len(table) and not name.startswith(("_", "res"))
    }
    path = write(tmp_path, {**tables, "name": "old", "version": "3.0.0", "sn_mva": 100})
    found = load_net(path)
    pd.testing.assert_series_equal(found.load.p_mw, net.load.p_mw)
    assert found.version == pp.__version__


def test_encrypted_nets_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "gAAAAABmZm9yIGV4YW1wbGU=")  # how every Fernet token begins
    with pytest.raises(ValueError, match=r"an encrypted net; open it with pandapower\.from_json"):
        load_net(path)


def test_newer_nets_are_named(document: Document, tmp_path: Path) -> None:
    newer = copy.deepcopy(document)
    newer["_object"].update(version="99.0.0", format_version="99.0.0")
    with pytest.raises(ValueError, match=r"newer than the current.*pandapower version"):
        load_net(write(tmp_path, newer))


@pytest.mark.parametrize("source", ["missing.json", "a" * 5_000 + ".json", "", "nul\0.json"])
def test_what_is_no_file_is_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_net(tmp_path / source)


@pytest.mark.parametrize("source", [5, None, [1], {"bus": 1}])
def test_what_is_no_source_is_named(source: Any) -> None:
    with pytest.raises(ValueError, match="expected a pandapower net or the path"):
        load_net(source)
