"""Feeder files from strangers: nothing is loaded or written, ordinary files pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gridproblems.engines.opendss import OpenDSSEngine, trial
from gridproblems.engines.opendss.context import build, new_context
from gridproblems.engines.opendss.load import opendssdirect
from gridproblems.feeders import load_feeder
from gridproblems.feeders._check import known_names
from gridproblems.feeders._make_names import NOT_ALLOWED, names_of_opendss
from gridproblems.feeders._syntax import Unreadable, tokens
from gridproblems.state import Settings

BASE = Settings.from_mapping({})
MAIN = """
New Circuit.small basekv=12.47 bus1=source pu=1.02 MVASC3=200000 200000
New LineCode.one nphases=3 r1=0.3 x1=0.4 r0=0.9 x0=1.2
~ NormAmps=580  {580 1.25 *}  // the rating in an emergency, in reverse Polish
New LoadShape.day npts=3 interval=1 mult=(1 0.5 0.25)
New Line.l1 source end one 1.0
New Generator.g bus1=end kv=12.47 kw=10 kvar=0
New Load.end bus1=end kv=12.47 kW=300 kvar=100
New EnergyMeter.m1 Line.l1 1
"""
TAIL = "Set VoltageBases=[12.47]\nCalcVoltageBases\n"

LOADS_A_LIBRARY = [
    'New Generator.h bus1=end kv=12.47 kw=1 model=6 UserModel="{so}"',
    "New Generator.h bus1=end kv=12.47 kw=1 model=6 userm={so}",
    "New Generator.h bus1=end kv=12.47 kw=1 ShaftModel={so}",
    "New Generator.h bus1=end kv=12.47 kw=1 shaftm={so}",
    "New Generator.h bus1=end kv=12.47 kw=1 sha={so}",
    "New Generator.h bus1=end kv=12.47 H=1 1 {so}",
    "New Generator.h bus1=end kv=12.47 UserData=x {so}",
    "Generator.g.H=1 1 {so}",
    "Generator.g.H=1, 1, ({so})",
    "Generator.g.D=1 {so}",
    "Generator.g.UserModel={so}",
    "Generator.g.userm={so}",
    'Generator.g.kw=(10" usermodel="{so})',
    "Generator.g.kw=(10' usermodel='{so})",
    'Generator.g.kw=[10" shaftmodel="{so}]',
    'Generator.g.kw=("1] usermodel={so} [")',
    'Edit "Generator.g" H=1 1 {so}',
    "Edit Generator.g usermodel={so}",
    "Edit object=Generator.g H=1 1 {so}",
    "BatchEdit Generator..* usermodel={so}",
    "BatchEdit Generator..* H=1 1 {so}",
    "Select Generator.g\n~ usermodel={so}",
    "Edit Generator.g kw=3\n~ H=1\n~ UserModel={so}",
    "Edit Generator.g kw=3\nMore H=1 1 {so}",
    "Generator.g.kw=3\nm D=1 {so}",
    "New PVSystem.p bus1=end kv=12.47 UserModel={so}",
    "New PVSystem.p bus1=end kv=12.47 class=1 {so}",
    "New Storage.s bus1=end kv=12.47 UserModel={so}",
    "New Storage.s bus1=end kv=12.47 DynaDLL={so}",
    "New Storage.s bus1=end kv=12.47 class=1 {so}",
    "New CapControl.c element=Line.l1 capacitor=c UserModel={so}",
    "New CapControl.c element=Line.l1 capacitor=c eventlog=no {so}",
    "New Generator.h like=g\n~ usermodel={so}",
]
WRITES_A_FILE = [
    "EnergyMeter.m1.terminal=1 Save",
    "EnergyMeter.m1.action=Zonedump",
    "New EnergyMeter.m2 Line.l1 1 Take",
    "New Monitor.mon Line.l1 1 0 Save",
    "RegControl.r1.tapdelay=2 yes",
    "RegControl.r1.debugtrace=y",
    "Generator.g.DebugTrace=yes",
    "Generator.g.dutystart=0 t",
    "New IndMach012.i bus1=end kv=12.47 debug=true",
    "LoadShape.day.dblfile=x dblsave",
    "LoadShape.day.action=SngSave",
    "LoadShape.day.action=d",
    "New TShape.t npts=2 temp=(1 2) action=dblsave",
    "New PriceShape.t npts=2 price=(1 2) action=s",
    "Solve mode=autoadd",
    "Solve mode=auto",
    "Solve mode=harmonics",
    "Solve mode=harm",
    "Solve mode=harmonicT",
    "Solve mode=h",
    "Set mode=autoadd",
    "Set mode=harmonicT\nSolve",
    "Set number=1 mode=harmonic",
    "Solve 1 2 3 4 5 6 7 harmonic",
    "Set DemandInterval=yes",
    "Set demand=yes",
    "Set TraceControl=yes",
    "Set Recorder=yes",
    "Set rec=yes",
    "Set QueryLog=yes",
    "Set Casename=x",
    "Set Overloadreport=yes",
    "Set AllowDuplicates=yes",
    "Set DataPath=..",
    "Set Editor=/bin/sh",
    "Save Circuit dir=x",
    "CD ..",
    "DOScmd 'touch x'",
    "AlignFile file=master.dss",
    "Distribute kw=10 file=x.dss",
    "CvrtLoadshapes",
    "Obfuscate",
    "Rephase StartLine=l1 scriptfilename=x.dss",
    "Var @x=usermodel",
    "New Generator.h @x=y",
    "Edit Generator.g kw=(@result)",
    "Wait",
    "_SolveNoControl",  # before anything is solved, it ends the process
]


def written(folder: Path, text: str, name: str = "master.dss") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read_quietly(path: Path, trust: bool = False) -> OpenDSSEngine:
    return OpenDSSEngine(load_feeder(path, trust))


# -- what OpenDSS dies of ------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [
        "New XYCurve.x points=enabled",
        "New EnergyMeter.x 3phaselosses=vreg",
        "New Transformer.t windings=100000000",
        "New LineCode.big nphases=60000",
        "New Load.q bus1=end.-5 kv=1",
    ],
)
def test_what_opendss_dies_of_is_an_error(tmp_path: Path, attack: str) -> None:
    with pytest.raises(ValueError, match="feeder master: OpenDSS dies of it"):
        read_quietly(written(tmp_path, f"{MAIN}{attack}\n{TAIL}"))


def test_what_never_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LIMIT_S", 5.0)
    text = f"{MAIN}{TAIL}Solve mode=yearly number=2000000000\n"
    with pytest.raises(ValueError, match="does not get done with it in 5 s; pass trust=True"):
        read_quietly(written(tmp_path, text))


def test_a_feeder_is_tried_once_and_a_trusted_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (calls.append(a), run(*a, **k))[1])
    monkeypatch.setattr(trial, "_passed", set())
    (tmp_path / "day.csv").write_text("1\n2\n3\n")
    text = f"{MAIN}LoadShape.day.mult=(file=day.csv)\n{TAIL}"
    read_quietly(written(tmp_path, text), trust=True)
    OpenDSSEngine(load_feeder("village"))
    assert len(calls) == 0
    for _ in range(2):
        read_quietly(written(tmp_path, text))
    assert len(calls) == 1
    (tmp_path / "day.csv").write_text("1\n2\n4\n")
    read_quietly(written(tmp_path, text))
    assert len(calls) == 2


# -- nothing is loaded or written ----------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A shared library, and the file that it makes when anything loads it."""
    folder = tmp_path_factory.mktemp("library")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail("no C compiler (cc): the test of the libraries cannot run")
        pytest.skip("no C compiler (cc)")
    marker = folder / "loaded"
    source = folder / "evil.c"
    source.write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n"
        "__attribute__((constructor)) static void loaded(void)\n"
        f'{{ close(open("{marker}", O_CREAT | O_WRONLY, 0644)); }}\n'
    )
    target = folder / "evil.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True)
    return target, marker


def test_a_trusted_feeder_loads_the_library(library: tuple[Path, Path], tmp_path: Path) -> None:
    """So that the test below can fail. OpenDSS then misses functions in it and says so."""
    so, marker = library
    assert not marker.exists()
    master = written(tmp_path, f"{MAIN}{LOADS_A_LIBRARY[0].format(so=so)}\n{TAIL}")
    with pytest.raises(ValueError, match="OpenDSS refuses"):
        read_quietly(master, trust=True)
    assert marker.exists()
    marker.unlink()


@pytest.mark.parametrize("attack", LOADS_A_LIBRARY)
def test_no_library_is_loaded(library: tuple[Path, Path], tmp_path: Path, attack: str) -> None:
    so, marker = library
    master = written(tmp_path, f"{MAIN}{attack.format(so=so)}\n{TAIL}")
    with pytest.raises(ValueError, match=r"master\.dss:1\d: .* is refused, .*trust=True"):
        read_quietly(master)
    assert not marker.exists()


@pytest.mark.parametrize("attack", WRITES_A_FILE)
def test_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "1\n2\n", "x")
    master = written(tmp_path, f"{MAIN}{attack}\n{TAIL}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"master\.dss:1\d: .* is refused, .*trust=True"):
        read_quietly(master)
    assert sorted(tmp_path.rglob("*")) == before


def test_all_refusals_are_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, "Save Circuit\nNew Load.a kw=3\nDOScmd ls\n", "inner.dss")
    master = written(tmp_path, f"{MAIN}Redirect inner.dss\nSolve mode=autoadd\nNew Foo.x\n{TAIL}")
    with pytest.raises(ValueError, match="3 lines are refused") as error:
        load_feeder(master)
    for part in (
        "inner.dss:1: the command 'Save'",
        "inner.dss:3: the command 'DOScmd'",
        "master.dss:11: the solution mode autoadd",
        "master.dss:12: OpenDSS has no class 'Foo'",
        "trust=True",
        "--option trust=true",
    ):
        assert part in str(error.value)


def test_many_refusals_are_counted(tmp_path: Path) -> None:
    master = written(tmp_path, "DOScmd ls\n" * 100)
    with pytest.raises(ValueError, match=r"100 lines are refused(.|\n)*and 80 more"):
        load_feeder(master)


def test_files_that_redirect_without_end(tmp_path: Path) -> None:
    for i in range(20):
        written(tmp_path, f"Redirect f{i + 1}\nRedirect f{i + 1}\n", f"f{i}.dss")
    written(tmp_path, "Clear\n", "f20.dss")
    with pytest.raises(ValueError, match="redirections"):
        load_feeder(tmp_path / "f0.dss")


def test_reports_are_left_out_with_one_warning(tmp_path: Path) -> None:
    reports = [
        "Show Voltages LN Nodes",
        "expo voltages",
        "Plot Profile",
        "Summary",
        "Help",
        "? Line.l1.r1",
        "Dump",
        "Visualize what=voltages element=Line.l1",
        "FileEdit master.dss",
    ]
    master = written(tmp_path, "\n".join([MAIN, TAIL, "Solve", *reports]))
    with pytest.warns(UserWarning, match="left out what only reports") as told:
        engine = read_quietly(master)
    assert len(told) == 1
    assert all(report in str(told[0].message) for report in reports)
    assert "master.dss:" in str(told[0].message)
    assert engine.solve(BASE).solved
    assert list(tmp_path.iterdir()) == [master]


# -- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        "New LoadShape.x npts=3 mult=(file={file})",
        "New LoadShape.x npts=3 csvfile={file}",
        "New LoadShape.x 3 1.0 mult=[dblfile={file}]",
        "New XYcurve.x npts=3 csvfile={file}",
        "BusCoords {file}",
    ],
)
def test_files_are_read_within_the_folder_only(tmp_path: Path, use: str) -> None:
    inside = written(tmp_path / "feeder", "1.0, 1\n0.5, 2\n0.25, 3\n", "shapes/mine.csv")
    outside = written(tmp_path, "1\n2\n3\n", "secret.csv")
    for name in ("../secret.csv", "..\\secret.csv", str(outside), "shapes/../../secret.csv"):
        with pytest.raises(ValueError, match=r"reading .* outside the folder .* is refused"):
            load_feeder(written(tmp_path / "feeder", f"{MAIN}{use.format(file=name)}\n"))
    with pytest.raises(ValueError, match=r"none\.csv does not exist"):
        load_feeder(written(tmp_path / "feeder", f"{MAIN}{use.format(file='none.csv')}\n"))
    feeder = load_feeder(
        written(tmp_path / "feeder", f"{MAIN}{use.format(file='shapes/mine.csv')}\n{TAIL}")
    )
    assert any(str(inside) in command.text for command in feeder.commands)


def test_links_out_of_the_folder_are_outside(tmp_path: Path) -> None:
    outside = written(tmp_path, "1\n2\n3\n", "secret.csv")
    folder = tmp_path / "feeder"
    folder.mkdir()
    (folder / "mine.csv").symlink_to(outside)
    with pytest.raises(ValueError, match="outside the folder"):
        load_feeder(written(folder, f"{MAIN}New LoadShape.x npts=3 csvfile=mine.csv\n"))


def test_columns_of_files(tmp_path: Path) -> None:
    written(tmp_path, "a,b\n1,10\n2,20\n3,30\n", "mine.csv")
    text = "New LoadShape.x npts=3 interval=1 mult=(file=mine.csv, col=2, header=yes)\n"
    engine = read_quietly(written(tmp_path, f"{MAIN}{text}{TAIL}"))
    np.testing.assert_array_equal(engine.circuit.load_shapes["x"], [10.0, 20.0, 30.0])


# -- what OpenDSS is told is what the file says ----------------------------------------------


def test_names_are_those_of_the_installed_opendss() -> None:
    names = names_of_opendss()
    known = known_names()
    assert {kind.lower() for kind in names["classes"]} == set(known.properties)
    for kind, listed in names["classes"].items():
        assert [n.lower().lstrip("!") for n in listed] == list(known.properties[kind.lower()])
    assert [name.lower() for name in names["options"]] == list(known.options)
    assert [name.lower() for name in names["modes"]] == list(known.modes)
    assert {name for _, name in known.not_allowed} == NOT_ALLOWED


@pytest.mark.parametrize("kind", ["Line", "Load", "Capacitor", "Vsource", "XYcurve", "Generator"])
def test_abbreviations_are_those_of_opendss(kind: str) -> None:
    """Every beginning of every name, as the list of properties of an object resolves it."""
    dss = new_context()
    dss.Text.Command("New Circuit.x")
    dss.Text.Command(f"New {kind}.mine" if kind != "Vsource" else "Select Vsource.source")
    known = known_names()
    full = [name.lower() for name in dss.Element.AllPropertyNames()]
    assert list(known.properties[kind.lower()]) == full
    for name in full:
        for length in range(1, len(name) + 1):
            found = known.property_of[kind.lower()][name[:length]]
            first = next(n for n in full if n == name[:length] or n.startswith(name[:length]))
            assert found == (name[:length] if name[:length] in full else first)


def test_an_abbreviation_sets_the_property_that_opendss_means() -> None:
    """Numbers under each beginning of a name: OpenDSS itself says which property took them."""
    known = known_names()
    numbers = ["length", "r1", "x1", "r0", "x0", "c1", "c0", "rg", "xg", "rho", "normamps"]
    for name in numbers:
        for length in range(1, len(name) + 1):
            told, direct = new_context(), new_context()
            for dss, wanted in (
                (told, known.property_of["line"][name[:length]]),
                (direct, name[:length]),
            ):
                dss.Text.Command("New Circuit.x")
                dss.Text.Command("New Line.l bus1=sourcebus bus2=b")
                try:
                    dss.Text.Command(f"Edit Line.l {wanted}=3")
                except opendssdirect.DSSException as error:
                    dss.Text.Command(f"Edit Line.l bus2=c ! {type(error).__name__}")
            for prop in known.properties["line"]:
                values = []
                for dss in (told, direct):
                    dss.Text.Command(f"? Line.l.{prop}")
                    values.append(dss.Text.Result())
                assert values[0] == values[1], (name[:length], prop)
        if name != "length":
            continue


LINES = [
    "New Line.l1 a b one 1.0",
    "~ kvs=(12.47 4.16) kvas=[1000, 1000], conns='wye delta'",
    "a=1,b=2 , c = 3 d= (4) e =[5]f{6}g",
    '"a b" = "c d" e',
    "x=a/b y=a//b z=3",
    "x=1!y z",
    "x=(1!2) y",
    "x=(1//2) y=2",
    "a\tb\tc=\t3",
    "mult=(file=x.csv, col=2)",
    "New object=Line.x bus1=a.1.2 bus2={3 4 *}",
    "%r=1 x/r=3 y|z",
    "a,b,c",
    "(1)(2)(3)",
    "(1),(2) (3)",
]


@pytest.mark.parametrize("line", LINES)
def test_lines_are_split_as_opendss_splits_them(line: str) -> None:
    assert [(t.name, t.value) for t in tokens(line)] == split_by_opendss(line)


def split_by_opendss(line: str) -> list[tuple[str, str]]:
    parser = opendssdirect.dss.Parser
    parser.CmdString(line)
    parts = []
    while True:
        name = parser.NextParam()
        value = parser.StrValue()
        if not value:
            return parts
        parts.append((name, value))


def test_random_lines_are_split_as_opendss_splits_them() -> None:
    """What cannot be read here is what OpenDSS reads to the end of the line or not at all."""
    random = np.random.default_rng(1)
    n_read = 0
    for _ in range(20_000):
        size = random.integers(1, 16)
        line = "".join(random.choice(list("ab1.,= \t()[]{}\"'!/|"), size))
        try:
            parts = [(t.name, t.value) for t in tokens(line)]
        except Unreadable:
            continue
        n_read += 1
        assert parts == split_by_opendss(line), repr(line)
    assert n_read > 1000


def test_a_feeder_in_the_style_of_public_ones(tmp_path: Path) -> None:
    """Unnamed values, reverse Polish, continuation, abbreviations: as OpenDSS compiles it."""
    text = """Clear
New object=circuit.Public basekv=115 1.00 0.0 60.0 3 200000 210000
~ X1R1=4 3
Edit Vsource.Source pu=1.01
New Transformer.Sub  Phases=3 Windings=2  XHL=(8 1000 /)
~ wdg=1 bus=SourceBus conn=delta kv=115 kva=5000 %r=(.5 1000 /)
~ wdg=2, bus=650, conn=Wye, kv=4.16, kva=5000, %r=(.5 1000 /)
New XfmrCode.t1 phases=1 windings=3 xhl=2.04 xht=2.04 xlt=1.36 %noload=.2 %im=.5
New "WireData.a_b 1/0" GMRac=0.00446 GMRunits=ft 0.398 in normamps=230
~ Rac=0.885 Runits=mi 230 {230 1.25 *}
New LineCode.mtx601 nphases=3 BaseFreq=60
~ rmatrix = (0.3465 | 0.1560 0.3375 | 0.1580 0.1535 0.3414 )
~ xmatrix = (1.0179 | 0.5017 1.0478 | 0.4236 0.3849 1.0348 )
~ units=mi   !km
~ NormAmps=580  {580 1.25 *}
New Line.650632 Phases=3 Bus1=650.1.2.3 Bus2=632.1.2.3 LineCode=mtx601 Length=2000 units=ft
New Line.a.b Bus1=632 671 mtx601 (2000 5.28 / 1000 /)  !! a name with a dot
New 'Line.two words' 671 680 mtx601 .1
Edit "Line.two words" Length=.2
New load.671 Bus1=671.1.2.3  Phases=3 Conn=Delta Model=1 kV=4.16  kW=1155 kvar=660
New Load.a 1 680.1 2.4 170 .9 1
New Load.b phases=1, bus1=680.2, kv=2.4, kw=(100 70 +), pf=.85
Load.b.pf=0.9 1
load.b.vminpu=.8  1.2
BatchEdit Load.[ab] vminn=0.9
New Capacitor.Cap1 671 phases=3 kvar=600 kv=4.16
New Monitor.m element=line.650632 1 0
New Energymeter.m Line.650632 1
New SwtControl.s SwitchedObj=Line.650632 SwitchedTerm=1 action=c lock=yes
Set Voltagebases=[115, 4.16]
calcv
Set maxcontroliter=30 maxiter=50
Solve mode=snap
Open Line.650632 1
Close Line.650632 1
"""
    master = written(tmp_path, text)
    told, direct = new_context(), opendssdirect.dss.NewContext()
    build(told, load_feeder(master))
    direct.Basic.AllowChangeDir(False)
    direct.Text.Command(f'Compile "{master}"')
    values = []
    for dss in (told, direct):
        dss.Solution.Solve()
        assert dss.Solution.Converged()
        values.append((dss.Circuit.AllNodeNames(), dss.Circuit.AllBusVMag(), dss.Circuit.Losses()))
    assert values[0] == values[1]
    assert len(values[0][0]) == 15
    for element, prop in (("LineCode.mtx601", "emergamps"), ("Vsource.source", "mvasc1")):
        results = []
        for dss in (told, direct):
            dss.Text.Command(f"? {element}.{prop}")
            results.append(float(dss.Text.Result()))
        assert results[0] == results[1] == {"emergamps": 725.0, "mvasc1": 210000.0}[prop]


@pytest.mark.parametrize(
    "text",
    [
        "New LoadShape.x npts=2 mult=(1 2) action=normalize",
        "New LoadShape.x npts=2 mult=(1 2) action=n",
        "New Monitor.x Line.l1 1 0 clear",
        "New SwtControl.s SwitchedObj=Line.l1 SwitchedTerm=1 action=o",
        "Solve mode=daily number=3",
        "Solve mode=dir",
        "Set mode=snap",
        "New Generator.x bus1=end kv=12.47 kw=1 debugtrace=no",
        "New Load.x bus1=end kv=12.47 kw=1 !quote ' in a comment",
        'New Transformer.t windings=2 buses=["end" "low"] kvs=[12.47 0.4]',
        "Select Line.l1\n~ length=2",
        "\x1a",
        "Set normvminpu=.95 1.05",
    ],
)
def test_harmless_lines_pass(tmp_path: Path, text: str) -> None:
    assert read_quietly(written(tmp_path, f"{MAIN}{text}\n{TAIL}")).circuit.nodes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("New Line.l2 bus9=a", "class line has no property 'bus9'"),
        ("New Line.l2 Like=l1 3", "the value '3' comes after the last property"),
        ("New Foo.x b=1", "OpenDSS has no class 'Foo'"),
        ("New l2 bus1=a", "'l2': expected Class.Name"),
        ("kW=3", "'kW': expected Class.Name.Property=value"),
        ("Frobnicate", "no command is called 'Frobnicate'"),
        ("Set frob=3", "no option is called 'frob'"),
        ("Solve mode=frob", "no solution mode is called 'frob'"),
        ("New Line.l2 bus1=(a", r"cannot be read: the quote \( is not closed"),
        ("New Line.l2 bus1=a,,b", "cannot be read: the value before 'b' is empty"),
        ("New Line.l2 bus1=\x00 a", "cannot be read: it has control characters"),
        ("BusCoords", "buscoords names no file"),
        (f"BusCoords {'x' * 5000}", "the file .*xxx does not exist"),
        (f"Redirect {'x' * 5000}", "the file .*xxx does not exist"),
    ],
)
def test_what_opendss_would_not_understand(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"master\.dss:10: .*{message}") as error:
        load_feeder(written(tmp_path, f"{MAIN}{text}\n"))
    assert "trust" not in str(error.value)


@pytest.mark.parametrize("line", ["~ length=3", "Solve\n~ length=3", "BatchEdit Line..* l=2\n~ 1"])
def test_a_continuation_of_nothing_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="~ after no object is refused"):
        load_feeder(written(tmp_path, line))


# -- trusted feeders ---------------------------------------------------------------------------


def test_building_a_trusted_feeder_leaves_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces, reports and saved shapes go elsewhere, files are still read from the folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / "feeder"
    written(folder, "1\n2\n3\n", "mine.csv")
    text = """
New LoadShape.x npts=3 interval=1 mult=(file=mine.csv) action=dblsave
Generator.g.DebugTrace=yes
Set TraceControl=yes
Solve
Export Voltages
Export Voltages v.csv
Dump
Save Circuit dir=saved
"""
    master = written(folder, f"{MAIN}{TAIL}{text}")
    before = sorted(tmp_path.rglob("*"))
    engine = read_quietly(master, trust=True)
    np.testing.assert_array_equal(engine.circuit.load_shapes["x"], [1.0, 2.0, 3.0])
    assert engine.solve(BASE).solved
    assert sorted(tmp_path.rglob("*")) == before
    assert Path.cwd() == elsewhere


def test_a_trusted_feeder_may_change_its_folder(tmp_path: Path) -> None:
    written(tmp_path, "1\n2\n3\n", "shapes/mine.csv")
    for change in ("CD shapes", "Set DataPath=shapes", "set datap=shapes"):
        text = f"{MAIN}{change}\nNew LoadShape.x npts=3 interval=1 csvfile=mine.csv\n{TAIL}"
        engine = read_quietly(written(tmp_path, text), trust=True)
        np.testing.assert_array_equal(engine.circuit.load_shapes["x"], [1.0, 2.0, 3.0])


def test_two_workers_may_trace(tmp_path: Path) -> None:
    """Each context has its own files: OpenDSS locks those that it writes."""
    master = written(tmp_path, f"{MAIN}Generator.g.DebugTrace=yes\n{TAIL}Set TraceControl=yes\n")
    engine = read_quietly(master, trust=True)
    batch = [Settings.from_mapping({("load", "kw"): {"end": 100.0 * i}}) for i in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(2) as pool:
            states = list(pool.map(engine.solve, batch))
    assert all(state.solved for state in states)
    contexts = [engine.open(BASE)[0] for _ in range(3)]
    assert all(context.Solution.Converged() for context in contexts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["master.dss"]
