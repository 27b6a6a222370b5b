"""Optimal reactive power dispatch: published results, controls found, bad input refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import tap_zoo, two_bus

from gridproblems import Control, PowerFlowNotConverged, ReactivePowerDispatch
from gridproblems.cases import load_case

# Computation 10 (2022) 128, tables 8-13: line losses as printed, and as the settings give them
PUBLISHED_MW = {
    "ieee6": {"base": 12.91015, "CBGA": 10.08959, "MVMO": 10.08954, "GA": 10.08950},
    "ieee14": {"base": 17.20064, "CBGA": 13.55841, "MVMO": 13.56042, "GA": 13.57335},
    "ieee39": {"base": 38.78976, "CBGA": 26.47682, "MVMO": 26.47879, "GA": 26.42129},
}


@pytest.mark.parametrize("case", PUBLISHED_MW)
def test_published_settings_give_the_published_losses(case: str) -> None:
    controls = (*load_case(case).controls, "ext_grid")
    problem = ReactivePowerDispatch(case, ("line_loss_mw", "p_loss_mw"), controls)
    for name, measured_mw in PUBLISHED_MW[case].items():
        published = problem.case.published[name]
        f, g = problem.evaluate(problem.encode(published.settings))
        assert f[0] == pytest.approx(measured_mw, abs=1e-4)
        assert f[0] == pytest.approx(published.loss_mw, abs=1.1e-3)
        assert (g.max() > 0.1) == (name == "base")  # the base cases violate 0.9 p.u.


@pytest.mark.parametrize("case", ["ieee6", "ieee14", "ieee39", "ieee30", "ieee57", "ieee118"])
def test_best_known_is_feasible_and_reproduces(case: str) -> None:
    for objective in ("p_loss_mw", "line_loss_mw"):
        problem = ReactivePowerDispatch(case, (objective,))
        best = problem.best_known
        assert best is not None
        f, g = problem.evaluate(problem.encode(best.settings))
        assert f[0] == pytest.approx(best.value, abs=1e-6)
        assert g.max() <= 1e-7
        assert problem.pareto_front().tolist() == [[best.value]]


def test_best_known_belongs_to_objectives_controls_and_limits() -> None:
    assert ReactivePowerDispatch("ieee14", ("l_index",)).best_known is None
    assert ReactivePowerDispatch("ieee14", controls=("gen",)).best_known is None
    assert ReactivePowerDispatch("ieee14", limits={"vm_pu": (0.95, 1.05)}).best_known is None
    free = ReactivePowerDispatch("ieee14", controls=("gen", "tap", "compensator", "ext_grid"))
    assert free.best_known is not None
    assert free.best_known.value == pytest.approx(12.277861, abs=1e-5)


def test_controls_of_the_published_systems() -> None:
    problem = ReactivePowerDispatch("ieee39")
    kinds = [c.kind for c in problem.joint.controls]
    assert kinds == ["real"] * 9 + ["integer"] * 12
    assert (problem.xl[9:] == 9100).all()
    assert (problem.xu[9:] == 11100).all()
    assert problem.decode(problem.base_x).as_mapping()["ext_grid", "vm_pu"] == {0: 1.05}
    assert problem.n_ieq_constr == 1 + 2 * 39
    assert ReactivePowerDispatch("ieee30").n_var == 19
    assert ReactivePowerDispatch("ieee30-13var-v1.05").n_var == 13
    assert ReactivePowerDispatch("ieee57").n_var == 25
    assert ReactivePowerDispatch("ieee118").n_var == 77


def test_controls_found_in_a_net() -> None:
    problem = ReactivePowerDispatch(tap_zoo(), limits={"gen_vm_pu": (0.98, 1.04)})
    found = {c.name: (c.kind, c.lower, c.upper, c.elements) for c in problem.joint.controls}
    assert found == {
        "gen.vm_pu[0]": ("real", 0.98, 1.04, (0, 1)),  # two at a bus; gen 2 is at the slack's bus
        "trafo.tap_pos[0]": ("integer", -8, 8, (0,)),
        "trafo.tap_pos[1]": ("integer", -3, 13, (1,)),
        "trafo.tap_pos[2]": ("integer", -11, 5, (2,)),
        "trafo3w.tap_pos[0]": ("integer", -6, 6, (0,)),
        "shunt.step[0]": ("integer", 0, 3, (0,)),
        "shunt.step[1]": ("integer", 0, 4, (1,)),
        "sgen.q_mvar[0]": ("real", -3.0, 3.0, (0,)),
    }
    assert problem.engine_name == "newton"


def test_controls_are_selectable() -> None:
    net = tap_zoo()
    taps = ReactivePowerDispatch(net, controls={"tap": [1], "shunt": [0]})
    assert [c.name for c in taps.joint.controls] == ["trafo.tap_pos[1]", "shunt.step[0]"]
    own = Control("sgen", "q_mvar", (0,), "choice", -1.0, 1.0, "Mvar", (-1.0, 0.0, 1.0))
    mixed = ReactivePowerDispatch(net, controls=(own, "tap"))
    assert mixed.n_var == 5
    assert mixed.apply(mixed.xu).sgen.q_mvar[0] == 1.0
    net.shunt["max_step"] = 1
    net.shunt["step"] = 1
    switched = ReactivePowerDispatch(net, controls={"shunt": [0]})
    assert switched.joint.controls[0].kind == "binary"


def test_generators_joined_by_a_coupler_share_their_set_point() -> None:
    net = pn.case14()
    bus = pp.create_bus(net, net.bus.vn_kv[1], min_vm_pu=0.94, max_vm_pu=1.06)
    pp.create_switch(net, 1, bus, et="b", closed=True)
    pp.create_gen(net, bus, p_mw=1.0, vm_pu=float(net.gen.vm_pu[0]))
    problem = ReactivePowerDispatch(net, controls=("gen",))
    assert (0, 4) in [c.elements for c in problem.joint.controls]
    net = problem.apply(problem.base_x)
    losses_mw = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
    assert problem.evaluate(problem.base_x)[0][0] == pytest.approx(losses_mw, abs=1e-6)


def test_limits_come_from_the_tables_and_can_be_changed() -> None:
    net = pn.case14()
    with pytest.warns(UserWarning, match="without tap_min and tap_max: trafo 0, trafo 1, trafo 2"):
        kinds = ReactivePowerDispatch(net).constraint_names
    assert "bus 0 (1) vm_pu max" in kinds
    assert any(name.endswith("q_mvar min") for name in kinds)
    none = dict.fromkeys(("vm_pu", "loading_percent", "gen_q_mvar", "ext_grid_p_mw"))
    free = ReactivePowerDispatch(net, ("p_loss_mw",), ("gen",), {**none, "ext_grid_q_mvar": None})
    assert free.constraint_names == ("power_flow",)
    tight = ReactivePowerDispatch(
        net, ("p_loss_mw",), ("gen",), limits={"vm_pu": (1.0, 1.02), "radial": True}
    )
    assert tight.constraint_names[-1] == "radial"
    _, g = tight.evaluate(tight.base_x)
    named = dict(zip(tight.constraint_names, g, strict=True))
    assert named["radial"] == 7.0  # 20 branches, 14 buses
    assert named["bus 0 (1) vm_pu max"] == pytest.approx((1.06 - 1.02) / 0.05)


def test_own_net_and_path_give_the_same_problem(tmp_path: Path) -> None:
    net = load_case("ieee14").net()
    path = tmp_path / "grid.json"
    pp.to_json(net, str(path))
    x = ReactivePowerDispatch(net).base_x
    values = [ReactivePowerDispatch(source).evaluate(x)[0][0] for source in (net, path, str(path))]
    assert values[1] == values[2] == pytest.approx(values[0], abs=1e-9)


def test_describe_and_apply_agree() -> None:
    problem = ReactivePowerDispatch("ieee6", ("line_loss_mw",))
    x = problem.encode(problem.case.published["GA"].settings)
    table = problem.describe(x)
    assert list(table.columns) == ["control", "unit", "base", "new", "lower", "upper"]
    assert table.new.tolist()[:3] == [1.0999, 11099, 11099]
    assert table.base.tolist()[:3] == [1.0, 9100, 9100]
    net = problem.apply(x)
    assert net.res_line.pl_mw.sum() == pytest.approx(problem.evaluate(x)[0][0], abs=1e-7)
    assert net.ext_grid.vm_pu[0] == 1.05
    assert problem.net.trafo.tap_pos.tolist() == [9100, 9100]


def broken(change: Any) -> Any:
    def make() -> Any:
        net = pn.case14()
        net.trafo[["tap_min", "tap_max", "tap_neutral", "tap_pos"]] = [-8, 8, 0, 0]
        net.trafo["tap_step_percent"] = 1.25
        net.trafo["tap_side"] = "hv"
        net.trafo["tap_changer_type"] = "Ratio"
        change(net)
        return net

    return make


def set_value(table: str, element: int, column: str, value: Any) -> Any:
    def change(net: Any) -> None:
        if column == "min_vm_pu":
            net.gen[["min_vm_pu", "max_vm_pu"]] = [0.9, 1.1]
        net[table][column] = net[table][column].astype(object)
        net[table].loc[element, column] = value

    return broken(change)


def isolate_bus(net: Any) -> None:
    net.line.loc[(net.line.from_bus == 13) | (net.line.to_bus == 13), "in_service"] = False


BAD_NETS = {
    r"trafo 2: tap_min 9 above tap_max 8": set_value("trafo", 2, "tap_min", 9),
    r"trafo 2: tap_max is missing": set_value("trafo", 2, "tap_max", np.nan),
    r"trafo 1: tap_changer_type is None, so pandapower would ignore": set_value(
        "trafo", 1, "tap_changer_type", None
    ),
    r"trafo 0: tap_pos is missing": set_value("trafo", 0, "tap_pos", np.nan),
    r"load.p_mw: load 3 has no finite value": set_value("load", 3, "p_mw", np.nan),
    r"line.x_ohm_per_km: line 2 has no finite": set_value("line", 2, "x_ohm_per_km", np.nan),
    r"load.bus: load 4 is at bus 99, unknown": set_value("load", 4, "bus", 99),
    r"gen.vm_pu\[1\]: lower bound 1.2 above upper": set_value("gen", 1, "min_vm_pu", 1.2),
    r"buses \[13\] are disconnected .* load 10 is there": broken(isolate_bus),
    r"neither an external grid nor a slack": set_value("ext_grid", 0, "in_service", False),
}


@pytest.mark.parametrize("message", BAD_NETS)
def test_bad_nets_are_refused(message: str) -> None:
    net = BAD_NETS[message]()
    for table, column in (("ext_grid", "in_service"), ("load", "bus")):
        net[table][column] = net[table][column].infer_objects()
    with pytest.raises(ValueError, match=message):
        ReactivePowerDispatch(net)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"case": "ieee41"}, r"'ieee41' .did you mean 'ieee14'.*; known: ieee6, ieee14"),
        ({"case": "ieee6", "objectives": ("losses",)}, "unknown objective 'losses'.*; known"),
        ({"case": "ieee6", "objectives": ()}, "objectives: expected at least one"),
        ({"case": "ieee6", "controls": ("taps",)}, "unknown group 'taps'.*; known: gen, ext_grid"),
        ({"case": "ieee6", "controls": ("shunt",)}, "nothing to control in group 'shunt'"),
        ({"case": "ieee6", "controls": {"gen": [7]}}, "the net has no gen 7"),
        ({"case": "ieee6", "limits": {"voltage": 1}}, r"limits: unknown 'voltage'.*; known"),
        ({"case": "ieee6", "engine": "fast"}, "unknown engine 'fast'.*; known: auto, sweep"),
        ({"case": "ieee6", "n_jobs": 0}, "n_jobs: expected a positive number"),
        ({"case": "missing.json"}, "missing.json: no such file"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReactivePowerDispatch(**arguments)


def test_bad_own_controls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no column gen\.vm"):
        ReactivePowerDispatch("ieee6", controls=(Control("gen", "vm", (0,), "real", 0.9, 1.1),))
    with pytest.raises(ValueError, match="the net has no gen 5"):
        ReactivePowerDispatch("ieee6", controls=(Control("gen", "vm_pu", (5,), "real", 0.9, 1.1),))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    pickled = tmp_path / "net.p"
    pickled.write_bytes(b"")
    with pytest.raises(ValueError, match="pickle files can run code and are refused"):
        ReactivePowerDispatch(pickled)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"other.json: (holds a|not a pandapower)"):
        ReactivePowerDispatch(other)
    other.write_text("not json at all")
    with pytest.raises(ValueError, match="expected a pandapower JSON file"):
        ReactivePowerDispatch(other)


def test_nothing_to_control_is_refused() -> None:
    net = two_bus()
    net.sgen["controllable"] = False
    with pytest.raises(ValueError, match="no controls found"):
        ReactivePowerDispatch(net)


def test_defaults_in_use_are_said() -> None:
    net = pn.case14()
    net.bus[["min_vm_pu", "max_vm_pu"]] = np.nan
    with pytest.warns(UserWarning, match=r"gen \[0, 1, 2, 3\]: no voltage limits .* 0.95..1.05"):
        problem = ReactivePowerDispatch(net, controls=("gen",), limits={"vm_pu": None})
    assert problem.xl.tolist() == [0.95] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        limits = {"gen_vm_pu": (0.9, 1.1), "vm_pu": None}
        ReactivePowerDispatch(net, controls=("gen",), limits=limits)


def test_base_case_that_diverges_is_said_and_allowed_by_choice() -> None:
    net = load_case("ieee14").net()
    net.load["scaling"] = 10.0
    with pytest.raises(PowerFlowNotConverged, match="base case does not converge"):
        ReactivePowerDispatch(net)
    problem = ReactivePowerDispatch(net, require_base_solution=False)
    f, g = problem.evaluate(problem.base_x)
    assert np.isfinite(f).all()
    assert g.max() > 0
    with pytest.raises(PowerFlowNotConverged, match="these settings diverge"):
        problem.apply(problem.base_x)
