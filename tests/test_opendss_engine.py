"""The OpenDSS engine: exact reset, failures as values, names, memory only where asked for."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from gridproblems.engines.opendss import OpenDSSEngine, context, engine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.feeders import DATA, Command, Feeder, load_feeder
from gridproblems.state import Field, Settings

REGULATORS_123 = ("creg1a", "creg2a", "creg3a", "creg3c", "creg4a", "creg4b", "creg4c")
BASE = Settings.from_mapping({})
FEW = 30


def with_commands(name: str, *commands: str) -> Feeder:
    """A packaged feeder with more in it."""
    feeder = load_feeder(name)
    return Feeder("more", "", (*feeder.commands, *(Command(text, "test") for text in commands)))


def set_points(n: int) -> Settings:
    """Random set-points of the regulators of ieee123, a batch of n candidates."""
    values = np.random.default_rng(3).uniform(112.0, 130.0, (n, 1, len(REGULATORS_123)))
    return Settings((Field("regcontrol", "vreg_v", REGULATORS_123),), values)


def everything(n: int) -> Settings:
    """Random settings of all kinds of the village feeder, switched elements included."""
    rng = np.random.default_rng(4)
    fields = (
        Field("regcontrol", "vreg_v", ("rega", "regc")),
        Field("regcontrol", "tap", ("regb",)),
        Field("capacitor", "steps", ("farm",)),
        Field("load", "kw", ("hill", "farma")),
        Field("load", "kvar", ("farma",)),
        Field("pvsystem", "irradiance", ("solar",)),
        Field("xycurve", "y_pu", ("voltvar[2]", "voltvar[5]")),
        Field("solution", "load_multiplier", ("all",)),
        Field("line", "closed", ("l4",)),
        Field("pvsystem", "closed", ("solar",)),
    )
    low = [116, 116, -16, 0, 0, 0, 0, 0, 0, -0.9, 0.2, 0, 0]
    high = [126, 126, 16, 2, 900, 600, 300, 1, 0.9, 0, 1.6, 1, 1]
    whole = [2, 3, 11, 12]
    values = rng.uniform(low, high, (n, 1, 13))
    values[..., whole] = values[..., whole].round()
    return Settings(fields, values)


def reverse(settings: Settings) -> Settings:
    return Settings(settings.fields, settings.values[::-1])


@pytest.fixture(scope="module")
def ieee123() -> OpenDSSEngine:
    return OpenDSSEngine(load_feeder("ieee123"))


@pytest.fixture(scope="module")
def village() -> OpenDSSEngine:
    return OpenDSSEngine(load_feeder("village"))


def solved_values(engine: OpenDSSEngine, settings: Settings) -> np.ndarray:
    """Values of a batch, in a worker process."""
    return engine.solve(settings).values


def test_order_threads_processes_and_fresh_circuits_change_nothing(ieee123: OpenDSSEngine) -> None:
    settings = set_points(FEW)
    state = ieee123.solve(settings)
    assert state.converged.all()
    np.testing.assert_array_equal(ieee123.solve(reverse(settings)).values[::-1], state.values)
    halves = [Settings(settings.fields, part) for part in np.array_split(settings.values, 2)]
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(ieee123.solve, halves))
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), state.values)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        values = list(processes.map(solved_values, [ieee123] * 2, halves))
    np.testing.assert_array_equal(np.concatenate(values), state.values)
    for i in range(0, FEW, 6):
        fresh = OpenDSSEngine(load_feeder("ieee123")).solve(settings.candidate(i))
        np.testing.assert_array_equal(fresh.values, state.values[i])


CAPACITOR_CONTROL = (
    "New CapControl.c element=Line.l3 terminal=1 capacitor=farm type=voltage ptratio=60 "
    "onsetting=119 offsetting=123 delay=30"
)


@pytest.mark.parametrize(
    ("commands", "remembers"),
    [
        ((), ()),
        ((CAPACITOR_CONTROL,), ()),
        ((CAPACITOR_CONTROL, "Solve"), ("CapControl",)),
        (
            (
                "New CapControl.c element=Line.l3 terminal=1 capacitor=farm type=pf "
                "onsetting=0.9 offsetting=0.98 delay=30",
            ),
            ("CapControl",),
        ),
        (("Capacitor.farm.states=[1 0]", CAPACITOR_CONTROL), ()),
        (
            (
                "New Capacitor.hill bus1=hill phases=3 kvar=300 kv=12.47",
                CAPACITOR_CONTROL,
                "New CapControl.h element=Line.l3 terminal=1 capacitor=hill type=kvar "
                "onsetting=100 offsetting=-150 delay=15 deadtime=300",
                "New Capacitor.barn bus1=barn.2 phases=1 kvar=100 kv=7.2",
                "New CapControl.i element=Line.l1 terminal=1 capacitor=barn type=current "
                "onsetting=60 offsetting=20 ctratio=1 delay=20 vmin=115 vmax=126 voltoverride=yes",
            ),
            (),
        ),
        (
            (CAPACITOR_CONTROL, CAPACITOR_CONTROL.replace("CapControl.c", "CapControl.d")),
            ("CapControl",),
        ),
        (("New Generator.g bus1=hill kv=12.47 kW=200 model=3 kvar=10",), ("Generator",)),
    ],
    ids=[
        "inverter",
        "capacitor control",
        "capacitor control after a solution",
        "power factor",
        "one step on",
        "three capacitor controls",
        "two controls of one capacitor",
        "voltage generator",
    ],
)
@pytest.mark.parametrize("sets_capacitor", [True, False])
def test_reset_is_exact_for_all_settings_and_controls(
    commands: tuple[str, ...], remembers: tuple[str, ...], sets_capacitor: bool
) -> None:
    feeder = with_commands("village", *commands)
    engine = OpenDSSEngine(feeder)
    assert engine.circuit.remembers == remembers
    settings = everything(FEW)
    if not sets_capacitor:
        place = [i for i in range(13) if i != 3]
        kept = [field for field in settings.fields if field.table != "capacitor"]
        settings = Settings(tuple(kept), settings.values[..., place])
    if engine.circuit.generators:
        switched = np.random.default_rng(8).integers(0, 2, (FEW, 1, 1)).astype(float)
        settings = Settings(
            (*settings.fields, Field("generator", "closed", ("g",))),
            np.concatenate([settings.values, switched], axis=-1),
        )
    state = engine.solve(settings)
    backwards = engine.solve(reverse(settings))
    np.testing.assert_array_equal(backwards.values[::-1], state.values)
    for i in range(0, FEW, 5):
        fresh = OpenDSSEngine(feeder).solve(settings.candidate(i))
        np.testing.assert_array_equal(fresh.values, state.values[i])


def test_an_outage_of_a_capacitor_outlasts_the_reset_of_its_control() -> None:
    feeder = with_commands("village", CAPACITOR_CONTROL)
    engine = OpenDSSEngine(feeder)
    fields = (Field("capacitor", "closed", ("farm",)), Field("load", "kw", ("hill",)))
    values = np.array([[0, 300], [0, 301], [1, 302], [0, 303], [1, 304]]).reshape(5, 1, 2)
    settings = Settings(fields, values.astype(float))
    state = engine.solve(settings)
    np.testing.assert_array_equal(engine.solve(reverse(settings)).values[::-1], state.values)
    for i in range(5):
        fresh = OpenDSSEngine(feeder).solve(settings.candidate(i))
        np.testing.assert_array_equal(fresh.values, state.values[i])


def test_names_with_dots_and_blanks(tmp_path: Path) -> None:
    """The same feeder under other names gives the same, whatever is set."""
    plain = load_feeder("village")
    odd = {
        "rega": "reg.a 1", "farm": "farm/cap=1", "hill": "hill (new)", "solar": "solar.2",
        "voltvar": "volt var", "l4": "lane.4 b",
    }  # fmt: skip
    text = (DATA / "village" / "master.dss").read_text(encoding="utf-8")
    for kind, name in (
        ("RegControl", "rega"), ("Capacitor", "farm"), ("Load", "hill"), ("PVSystem", "solar"),
        ("XYCurve", "voltvar"), ("Line", "l4"),
    ):  # fmt: skip
        text = text.replace(f"New {kind}.{name} ", f'New "{kind}.{odd[name]}" ')
    text = text.replace("DERList=[PVSystem.solar]", 'DERList=["PVSystem.solar.2"]')
    text = text.replace("vvc_curve1=voltvar", 'vvc_curve1="volt var"').replace("BusCoords", "!")
    (tmp_path / "master.dss").write_text(text, encoding="utf-8")
    engine = OpenDSSEngine(load_feeder(tmp_path / "master.dss"))
    settings = everything(FEW)
    renamed = tuple(
        Field(f.table, f.column, tuple(_renamed(e, f.table, odd) for e in f.elements))
        for f in settings.fields
    )
    expected = OpenDSSEngine(plain).solve(settings)
    np.testing.assert_array_equal(
        engine.solve(Settings(renamed, settings.values)).values, expected.values
    )


def _renamed(element: str, table: str, odd: dict[str, str]) -> str:
    if table == "regcontrol" or element in ("farm", "hill", "solar", "l4"):
        return odd.get(element, element)
    return element.replace("voltvar", odd["voltvar"])


def test_a_control_limit_of_the_feeder_file_is_no_failure() -> None:
    """OpenDSS gives up a Solve in the file after 1 round (error 485); the engine has its own."""
    feeder = with_commands("village", "Set MaxControlIter=1", "RegControl.rega.vreg=126", "Solve")
    assert OpenDSSEngine(feeder).solve(BASE).solved


def test_a_capacitor_that_is_set_is_kept_from_its_control(village: OpenDSSEngine) -> None:
    always_on = (
        "New CapControl.c element=Line.l3 terminal=1 capacitor=farm type=voltage ptratio=60 "
        "onsetting=130 offsetting=140 delay=30"
    )
    controlled = OpenDSSEngine(with_commands("village", always_on))
    off, on = (Settings.from_mapping({("capacitor", "steps"): {"farm": n}}) for n in (0.0, 2.0))
    quantity = "node_vm_pu"
    np.testing.assert_allclose(
        controlled.solve(BASE)[quantity], village.solve(on)[quantity], atol=1e-4
    )
    for settings in (off, on):
        np.testing.assert_allclose(
            controlled.solve(settings)[quantity], village.solve(settings)[quantity], atol=1e-9
        )
    assert np.abs(village.solve(on)[quantity] - village.solve(off)[quantity]).max() > 1e-3


def test_what_is_not_set_any_more_goes_back(village: OpenDSSEngine) -> None:
    before = village.solve(BASE).values
    village.solve(everything(3))
    np.testing.assert_array_equal(village.solve(BASE).values, before)
    assert village.solve(BASE)["tap"].any()


def test_pickled_engine_is_the_same(village: OpenDSSEngine) -> None:
    settings = everything(4)
    copy = cloudpickle.loads(cloudpickle.dumps(village))
    np.testing.assert_array_equal(copy.solve(settings).values, village.solve(settings).values)
    assert len(cloudpickle.dumps(village)) < 20_000


THREADS_AFTER_A_CHANGED_ENVIRONMENT = """
import os, threading
os.environ["BEFORE"] = "1"
from gridproblems.engines.opendss import OpenDSSEngine
from gridproblems.feeders import load_feeder
from gridproblems.state import Settings
engine = OpenDSSEngine(load_feeder("village"))
for i in range(2000):
    os.environ[f"LATER{i}"] = "y" * 100
threads = [
    threading.Thread(target=engine.solve, args=(Settings.from_mapping({}),)) for _ in range(2)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("finished", engine.releases_gil)
"""


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


def test_threads_survive_new_environment_variables() -> None:
    """OpenDSS keeps a pointer to the environment; without care each new thread crashes."""
    result = run_python(THREADS_AFTER_A_CHANGED_ENVIRONMENT)
    assert (result.returncode, result.stdout) == (0, "finished True\n"), result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="platform: seen on Linux")
def test_no_threads_where_opendss_was_loaded_by_others() -> None:
    text = THREADS_AFTER_A_CHANGED_ENVIRONMENT.split("for i in range")[0]
    result = run_python(f"import opendssdirect\n{text}\nprint(engine.releases_gil)")
    assert result.stdout == "False\n", result.stderr


def test_tight_tolerance_agrees(ieee123: OpenDSSEngine) -> None:
    tight = OpenDSSEngine(load_feeder("ieee123"), tolerance=1e-12)
    difference = tight.solve(BASE)["node_vm_pu"] - ieee123.solve(BASE)["node_vm_pu"]
    assert 0.0 < np.abs(difference).max() < 1e-6


def test_set_taps_stay(ieee123: OpenDSSEngine) -> None:
    taps = np.random.default_rng(5).integers(-16, 17, (10, 1, 7)).astype(float)
    state = ieee123.solve(Settings((Field("regcontrol", "tap", REGULATORS_123),), taps))
    np.testing.assert_array_equal(state["tap"], taps)


def test_regulators_keep_their_set_points(ieee123: OpenDSSEngine) -> None:
    """Without line drop, creg2a holds its bus within half of its band of 2 V."""
    values = np.array([[[v]] for v in (114.0, 118.0, 122.0)])
    state = ieee123.solve(Settings((Field("regcontrol", "vreg_v", ("creg2a",)),), values))
    node = ieee123.circuit.nodes.index("9r.1")
    nominal_v = ieee123.circuit.regulators["creg2a"].nominal_v
    held_v = state["node_vm_pu"][:, 0, node] * nominal_v
    assert (np.abs(held_v - values.ravel()) < 1.0 + 0.2).all()


def test_balance_of_power() -> None:
    """With constant-power loads alone, the source gives loads and losses."""
    feeder = with_commands(
        "village",
        "InvControl.solar.enabled=no",
        "PVSystem.solar.enabled=no",
        "BatchEdit Load..* model=1 vminpu=0.8",
    )
    engine = OpenDSSEngine(feeder, tolerance=1e-10)
    state = engine.solve(BASE)
    load_kw = sum(kw for kw, _ in engine.circuit.loads.values())
    assert state["source_p_kw"][0, 0] == pytest.approx(load_kw + state["p_loss_kw"][0, 0], abs=1e-3)


def test_nodes_are_mapped_by_name(ieee123: OpenDSSEngine) -> None:
    """Each quantity of a node against the one OpenDSS gives for that bus alone."""
    context, converged = ieee123.open(BASE)
    assert converged
    state = ieee123.solve(BASE)
    for bus in ("150", "9r", "48", "114", "300_open"):
        context.Circuit.SetActiveBus(bus)
        magnitude, angle = np.array(context.Bus.puVmagAngle()).reshape(-1, 2).T
        places = [ieee123.circuit.nodes.index(f"{bus}.{n}") for n in context.Bus.Nodes()]
        np.testing.assert_allclose(state["node_vm_pu"][0, places], magnitude, rtol=1e-12)
        np.testing.assert_allclose(state["node_va_degree"][0, places], angle, rtol=1e-9)
        mean = state["bus_mean_vm_pu"][0, ieee123.circuit.buses.index(bus)]
        assert mean == pytest.approx(magnitude.mean(), rel=1e-12)


def test_loadings_are_those_of_the_elements(ieee123: OpenDSSEngine) -> None:
    context, _ = ieee123.open(BASE)
    state = ieee123.solve(BASE)
    for kind, names in (("Line", ieee123.circuit.lines), ("Transformer", ("reg1a", "xfm1"))):
        for name in names[:3]:
            context.Circuit.SetActiveElement(f"{kind}.{name}")
            amps = np.array(context.CktElement.CurrentsMagAng())[::2]
            phases = amps[: context.CktElement.NumPhases()]
            percent = 100.0 * phases.max() / context.CktElement.NormalAmps()
            if kind == "Line":
                measured = state["line_loading_percent"][0, ieee123.circuit.lines.index(name)]
            else:
                place = ieee123.circuit.transformers.index(name)
                measured = state["trafo_loading_percent"][0, place]
            assert measured == pytest.approx(percent, rel=1e-3)


def test_a_line_out_leaves_loads_without_supply(ieee123: OpenDSSEngine) -> None:
    """Behind l67 hang the loads of buses 72 to 96."""
    state = ieee123.solve(Settings.from_mapping({("line", "closed"): {"l67": 0.0}}))
    behind = [name for name in ieee123.circuit.loads if 73 <= int(name[1:].rstrip("abc")) <= 96]
    assert state.n_unsupplied[0] == len(behind)
    assert not state.solved
    dead = [n for n, v in zip(ieee123.circuit.nodes, state["node_vm_pu"][0], strict=True) if v != v]
    assert {node.split(".")[0] for node in dead} >= {"72", "80", "96"}
    assert "67.1" not in dead


def test_a_disabled_load_is_not_without_supply() -> None:
    disabled = ("Open Line.l4 1", "Load.barnb.enabled=no", "Load.hill.enabled=no")
    engine = OpenDSSEngine(with_commands("village", *disabled))
    assert engine.solve(BASE).solved
    assert engine.unsupplied_loads(BASE) == ()


def test_loads_without_supply_have_names(village: OpenDSSEngine) -> None:
    out = Settings.from_mapping({("line", "closed"): {"l2": 0.0}})
    assert village.unsupplied_loads(out) == ("barnb", "farma", "farmbc", "hill")
    assert village.unsupplied_loads(BASE) == ()


def test_a_bus_without_a_way_to_the_source_is_named_with_its_loads() -> None:
    island = ("New Load.far bus1=nowhere kv=12.47 kw=3",)
    with pytest.raises(
        ValueError, match=r"bus nowhere has no way to the source .*supply there: far"
    ):
        OpenDSSEngine(with_commands("village", *island))


def test_an_open_end_without_loads_is_no_failure(ieee123: OpenDSSEngine) -> None:
    state = ieee123.solve(Settings.from_mapping({("line", "closed"): {"l99": 0.0}}))
    assert state.solved
    assert np.isnan(state["node_vm_pu"]).sum() == 3
    assert np.isnan(state["bus_mean_vm_pu"]).sum() == 1


def test_controls_that_do_not_come_to_rest_fail() -> None:
    """OpenDSS calls the power flow converged, the regulators would go on."""
    few = OpenDSSEngine(load_feeder("ieee123"), max_control_iterations=2)
    state = few.solve(set_points(5))
    assert not state.converged.any()
    np.testing.assert_array_equal(state.n_unsupplied, 0)


def test_a_power_flow_that_diverges_fails_and_leaves_no_trace() -> None:
    feeder = with_commands("village", "BatchEdit Load..* vminpu=0.01 vlowpu=0.01 model=1")
    engine = OpenDSSEngine(feeder)
    fields = (Field("solution", "load_multiplier", ("all",)),)
    state = engine.solve(Settings(fields, np.array([1.0, 12.0, 1.0]).reshape(3, 1, 1)))
    np.testing.assert_array_equal(state.converged[:, 0], [True, False, True])
    np.testing.assert_array_equal(state.values[0], state.values[2])


@pytest.mark.parametrize(
    ("key", "element", "message"),
    [
        (("regcontrol", "vreg_v"), "creg9", "the feeder has no regcontrol 'creg9'; known: creg1a"),
        (("load", "kw"), "nope", "the feeder has no load 'nope'; known: s1a"),
        (("load", "color"), "s1a", "load.color cannot be set; known: regcontrol.vreg_v"),
        (("tree", "kw"), "s1a", "'tree': no such kind of element; known: regcontrol"),
        (("pvsystem", "irradiance"), "solar", "no pvsystem 'solar'; known: none"),
    ],
)
def test_unknown_settings_are_refused(
    ieee123: OpenDSSEngine, key: tuple[str, str], element: str, message: str
) -> None:
    settings = Settings.from_mapping({key: {element: 1.0}})
    for method in (ieee123.check, ieee123.solve):
        with pytest.raises(UnsupportedByEngine, match=message):
            method(settings)


class TestSequence:
    """Snapshots that follow each other."""

    shape = np.array([0.4, 0.8, 1.3, 0.9, 0.4])

    def settings(self, vreg_v: list[float]) -> Settings:
        fields = (
            Field("regcontrol", "vreg_v", ("rega",)),
            Field("solution", "load_multiplier", ("all",)),
        )
        rows = [[[v, m] for m in self.shape] for v in vreg_v]
        return Settings(fields, np.array(rows))

    def test_the_next_hour_goes_on_from_the_last(self) -> None:
        engine = OpenDSSEngine(load_feeder("village"), sequential=True)
        alone = OpenDSSEngine(load_feeder("village"))
        taps = engine.solve(self.settings([122.0]))["tap"][0]
        independent = alone.solve(self.settings([122.0]))["tap"][0]
        np.testing.assert_array_equal(taps[0], independent[0])
        assert (taps[-1] != independent[-1]).any()  # same load as at first, another way there
        np.testing.assert_array_equal(independent[-1], independent[0])

    def test_candidates_do_not_see_each_other(self) -> None:
        engine = OpenDSSEngine(load_feeder("village"), sequential=True)
        settings = self.settings([118.0, 122.0, 125.0, 119.0])
        state = engine.solve(settings)
        np.testing.assert_array_equal(engine.solve(reverse(settings)).values[::-1], state.values)
        fresh = OpenDSSEngine(load_feeder("village"), sequential=True).solve(settings.candidate(2))
        np.testing.assert_array_equal(fresh.values, state.values[2])

    def test_open_solves_the_way_to_a_snapshot(self) -> None:
        engine = OpenDSSEngine(load_feeder("village"), sequential=True)
        state = engine.solve(self.settings([122.0]))
        context, converged = engine.open(self.settings([122.0]).candidate(0), snapshot=4)
        assert converged
        context.RegControls.Name("rega")
        assert context.RegControls.TapNumber() == state["tap"][0, 4, 0]


def test_working_directory_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    OpenDSSEngine(load_feeder("village")).solve(everything(2))
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())


def test_collecting_an_engine_while_another_takes_a_context_does_not_block() -> None:
    """The collector can run anywhere, also inside the taking of a context."""
    feeder = load_feeder("village")
    engines = [OpenDSSEngine(feeder) for _ in range(2)]
    taken = context.take_context
    settings = Settings.from_mapping({})
    expected = engines[0].solve(settings).values

    def collecting_take(feeder: Feeder) -> Any:
        with context._creation_lock:
            engines.clear()
            gc.collect()
        return taken(feeder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "take_context", collecting_take)
        again = OpenDSSEngine(feeder)
    np.testing.assert_array_equal(again.solve(settings).values, expected)


def test_a_new_context_leaves_the_working_directory_alone(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from gridproblems.engines.opendss.context import new_context\n"  # loads OpenDSS here
        "os.chdir(sys.argv[1])\n"
        "for _ in range(3):\n"
        "    new_context()\n"
        "    assert os.path.samefile(os.getcwd(), sys.argv[1]), os.getcwd()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
