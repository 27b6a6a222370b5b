"""Feeders: packaged tables, master files with redirections, and what is refused in them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gridproblems.engines.opendss import OpenDSSEngine
from gridproblems.feeders import FEEDERS, load_feeder
from gridproblems.state import GridState, Settings

BASE = Settings.from_mapping({})
CIRCUIT = """
New Circuit.small basekv=12.47 bus1=source
New Line.l1 bus1=source bus2=end length=1 units=km
New Load.end bus1=end phases=3 kv=12.47 kW=300 kvar=100
Set VoltageBases=[12.47]
CalcVoltageBases
"""


def solve(path: Path, trust: bool = False) -> GridState:
    return OpenDSSEngine(load_feeder(path, trust)).solve(BASE)


def written(folder: Path, text: str, name: str = "master.dss") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ieee123() -> OpenDSSEngine:
    return OpenDSSEngine(load_feeder("ieee123"))


def test_ieee123_has_the_published_size(ieee123: OpenDSSEngine) -> None:
    circuit = ieee123.circuit
    assert len(circuit.buses) == 132
    assert len(circuit.nodes) == 278
    assert len(circuit.loads) == 91
    assert sum(kw for kw, _ in circuit.loads.values()) == 3490.0
    assert sum(kvar for _, kvar in circuit.loads.values()) == 1920.0
    assert list(circuit.capacitor_steps) == ["c83", "c88a", "c90b", "c92c"]
    assert {name: r.vreg_v for name, r in circuit.regulators.items()} == {
        "creg1a": 120.0,
        "creg2a": 120.0,
        "creg3a": 120.0,
        "creg3c": 120.0,
        "creg4a": 124.0,
        "creg4b": 124.0,
        "creg4c": 124.0,
    }


def test_ieee123_base_case_is_that_of_the_model_it_comes_from(ieee123: OpenDSSEngine) -> None:
    state = ieee123.solve(BASE)
    assert state.solved
    np.testing.assert_array_equal(state["tap"][0], [6, 0, 2, 0, 10, 4, 6])
    bus, node = state["bus_mean_vm_pu"], state["node_vm_pu"]
    np.testing.assert_allclose([bus.min(), bus.max()], [0.9846, 1.0453], atol=5e-5)
    np.testing.assert_allclose([node.min(), node.max()], [0.9792, 1.0500], atol=5e-5)


def test_ieee123_with_a_large_load(ieee123: OpenDSSEngine) -> None:
    large = Settings.from_mapping(
        {("load", "kw"): {"s1a": 200.0}, ("load", "kvar"): {"s1a": 100.0}}
    )
    np.testing.assert_array_equal(ieee123.solve(large)["tap"][0], [6, 0, 2, 0, 10, 3, 6])


def test_ieee123_distances(ieee123: OpenDSSEngine) -> None:
    """149 - l115 0.4 kft - 1 - l3 0.3 kft - 7; switches are a metre long."""
    distance_km = dict(zip(ieee123.circuit.buses, ieee123.circuit.distance_km, strict=True))
    assert distance_km["150"] == 0.0
    assert distance_km["7"] == pytest.approx(0.7 * 0.3048 + 0.001)


@pytest.mark.parametrize("name", FEEDERS)
def test_every_feeder_supplies_its_loads(name: str) -> None:
    state = OpenDSSEngine(load_feeder(name)).solve(BASE)
    assert state.solved
    assert not np.isnan(state.values).any()
    assert state["source_p_kw"] > state["p_loss_kw"]


def test_redirections_comments_and_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    feeder = tmp_path / "feeder"
    head, tail = CIRCUIT.split("New Load", 1)
    written(feeder, f"Redirect parts\\loads.dss ! the loads\n{tail.splitlines()[-1]}\n", "rest.dss")
    written(feeder, f"New Load{tail.splitlines()[0]}\nRedirect ../shape\n", "parts/loads.dss")
    written(feeder, "New LoadShape.mine npts=3 interval=1 mult=(file=mine.csv)\n", "shape.dss")
    written(feeder, "1.0\n0.5\n0.25\n", "mine.csv")
    master = written(
        feeder,
        f"/* a comment\n over lines */\nClear // all\n{head}\nredirect rest.dss\n"
        "Set VoltageBases=[12.47]\nCalcV\n",
    )
    before = sorted(tmp_path.rglob("*"))
    engine = OpenDSSEngine(load_feeder(master))
    assert engine.solve(BASE).solved
    np.testing.assert_array_equal(engine.circuit.load_shapes["mine"], [1.0, 0.5, 0.25])
    assert Path.cwd() == elsewhere
    assert sorted(tmp_path.rglob("*")) == before


def test_a_master_file_that_compiles_another(tmp_path: Path) -> None:
    """After Compile, relative paths start where the compiled file is."""
    written(tmp_path, CIRCUIT, "model/circuit.dss")
    written(tmp_path, "New Capacitor.c bus1=end kvar=50 kv=12.47\n", "model/extra.dss")
    master = written(tmp_path, 'Compile "model/circuit.dss"\nRedirect extra.dss\n')
    assert list(OpenDSSEngine(load_feeder(master)).circuit.capacitor_steps) == ["c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Redirect nowhere.dss", r"master\.dss:1: the file .*nowhere\.dss does not exist"),
        ("! first\nRedirect master.dss", r"master\.dss:2: master\.dss redirects to itself"),
        ("Redirect", r"master\.dss:1: Redirect names no file"),
        (f"{CIRCUIT}New Line.l2 bus9=a", r"master\.dss:7: class line has no property 'bus9'"),
        ("New Foo.x b=1", r"master\.dss:1: OpenDSS has no class 'Foo'"),
        (f"{CIRCUIT}New Line.l1 bus1=a", r"master\.dss:7: OpenDSS refuses .*Duplicate new"),
        (f"{CIRCUIT}Edit RegControl.nope vreg=3", r"master\.dss:7: .*'Edit .*\"nope\" not found"),
        (f"{CIRCUIT}Load.nope.kW=3", r"master\.dss:7: OpenDSS refuses .*\"nope\" not found"),
        (f"{CIRCUIT}New LoadShape.x mult=(file=no.csv)", r"master\.dss:7: .*no\.csv"),
        (f"{CIRCUIT}Load.end.kW=3\n~ usermodel=x.so", "class load has no property 'usermodel'"),
        (f"{CIRCUIT}Load.end.kW=3\n~ x.so", r"master\.dss:8: OpenDSS refuses .*x\.so"),
        (f"{CIRCUIT}New Generator.g 3 end 12.47 x.so", r"master\.dss:7: OpenDSS refuses .*x\.so"),
        (f"{CIRCUIT}New PVSystem.p bus1=end kva=5 x.so", r"master\.dss:7: OpenDSS refuses .*x\.so"),
        ("Set DefaultBaseFrequency=60", "feeder master: its commands build no circuit"),
        ("New Circuit.x\nNew Line.l bus1=sourcebus bus2=b", "bus sourcebus has no nominal voltage"),
        ("New Circuit.x = = 3", r"master\.dss:1: .* cannot be read"),
    ],
)
def test_bad_scripts_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(written(tmp_path, text))


def test_unknown_feeders() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'ieee123'.*; known: ieee123"):
        load_feeder("ieee13")
    with pytest.raises(ValueError, match=r"the file .*missing\.dss does not exist"):
        load_feeder("missing.dss")


@pytest.mark.parametrize(
    "command",
    [
        "Save Circuit",
        "DOScmd 'rm file'",
        "CD ..",
        "Set DataPath=..",
        "Set datap=..",
        "Set Editor=/bin/sh",
        "Set Recorder=yes",
        "Set DemandInterval=yes",
        "Solve mode=snapshot recorder=yes",
        "Set ..",
        "New Generator.g bus1=end UserModel=evil.so",
        "New Generator.g bus1=end userm=evil.so",
        "New Generator.g bus1=end shaftmodel='x' usermodel = 'evil.so'",
        "Generator.g.UserModel=evil.so",
        "New PVSystem.p bus1=end class=5 evil.so",
        "New Generator.g d=3 evil.so",
        "New RegControl.r debugtrace=yes",
        "New LoadShape.s npts=2 mult=[1 1] action=dblsave",
        "New EnergyMeter.m Line.l1 1 Save",
        "Var @x=usermodel",
        "New Generator.g @x=evil.so",
        "Distribute kw=100",
        "Rephase",
    ],
)
def test_commands_that_write_or_run_things_are_refused(tmp_path: Path, command: str) -> None:
    written(tmp_path, CIRCUIT.replace("CalcVoltageBases", command), "inner.dss")
    with pytest.raises(ValueError, match=r"inner\.dss:6: .* is refused.*trust=True"):
        load_feeder(written(tmp_path, "Redirect inner.dss\n"))


@pytest.mark.parametrize(
    "command",
    [
        "New Transformer.t phases=3 windings=2 XHL=(8 1000 /) // comment\n~ wdg=1 bus=end kv=12.47",
        "New EnergyMeter.m Line.l1 1",
        "Set mode=snapshot number=1",
        "Load.end.kW=310 kvar=90",
        "Open Line.l1 1\nClose Line.l1 1",
        "New SwtControl.s SwitchedObj=Line.l1 SwitchedTerm=1 action=close",
        "Solve",
    ],
)
def test_commands_of_circuits_pass(tmp_path: Path, command: str) -> None:
    assert load_feeder(written(tmp_path, CIRCUIT + command)).commands


def test_trusted_feeders_run_every_command(tmp_path: Path) -> None:
    out = tmp_path / "v.csv"
    master = written(tmp_path, f"{CIRCUIT}Solve\nExport Voltages {out}\n")
    with pytest.warns(UserWarning, match="left out what only reports"):
        solve(master)
    assert not out.exists()
    assert solve(master, trust=True).solved
    assert out.exists()


def test_text_that_is_a_comment_here_never_reaches_opendss(tmp_path: Path) -> None:
    commands = load_feeder(written(tmp_path, f"{CIRCUIT}Solve ! Export Voltages\n")).commands
    assert commands[-1].text == "Solve"
    assert commands[-1].where == "master.dss:7"
    assert commands[-1].folder == os.fspath(tmp_path)
