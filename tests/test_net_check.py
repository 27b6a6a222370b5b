"""Nets that would fail or give silent nonsense are refused, and the message names the place."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pandas as pd
import pytest
from pandapower.auxiliary import pandapowerNet
from pandapower.control import ContinuousTapControl

from gridproblems import ReactivePowerDispatch
from gridproblems.nets.network import (
    check_net,
    label_of,
    loading_limits,
    machine_limits,
    number,
    voltage_limits,
)


@pytest.fixture(scope="module")
def built() -> pandapowerNet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = networks.example_multivoltage()
    net.bus["max_vm_pu"] = 1.1
    pp.create_storage(net, 10, 0.1, 1.0)
    pp.create_motor(net, 10, 0.1, 0.9)
    pp.create_asymmetric_load(net, 12, 0.01, 0.01)
    pp.create_ward(net, 11, 0.1, 0.1, 0.1, 0.1)
    return net


@pytest.fixture
def net(built: pandapowerNet) -> pandapowerNet:
    return copy.deepcopy(built)


def cell(table: str, column: str, value: Any, row: int = 0) -> Callable[[pandapowerNet], None]:
    def change(net: pandapowerNet) -> None:
        net[table][column] = net[table][column].astype(object)
        net[table].iat[row, list(net[table].columns).index(column)] = value

    return change


def index(table: str, labels: Callable[[list[int]], list[Any]]) -> Callable[[pandapowerNet], None]:
    def change(net: pandapowerNet) -> None:
        net[table].index = pd.Index(labels(list(net[table].index)))

    return change


def drop(table: str, column: str) -> Callable[[pandapowerNet], None]:
    def change(net: pandapowerNet) -> None:
        net[table] = net[table].drop(columns=column)

    return change


def set_entry(name: str, value: Any) -> Callable[[pandapowerNet], None]:
    return lambda net: net.__setitem__(name, value)


def twice(table: str) -> Callable[[pandapowerNet], None]:
    def change(net: pandapowerNet) -> None:
        net[table] = pd.concat([net[table], net[table][["name"]]], axis=1)

    return change


REFUSED: dict[str, tuple[Callable[[pandapowerNet], Any], str]] = {
    "no table": (lambda net: net.pop("shunt"), "the net has no table 'shunt'"),
    "a list for a table": (set_entry("load", []), "a list for the table 'load'"),
    "no column": (drop("line", "max_i_ka"), "line: no column 'max_i_ka'"),
    "no flag": (drop("gen", "slack"), "gen: no column 'slack'"),
    "no ends": (drop("trafo3w", "mv_bus"), "trafo3w: no column 'mv_bus'"),
    "a column twice": (twice("load"), "load: the column 'name' occurs twice"),
    "index twice": (index("line", lambda i: [i[0], *i[:-1]]), "line: the index 0 occurs twice"),
    "index of text": (index("load", lambda i: [f"L{k}" for k in i]), "load: the index 'L0' is no"),
    "index of halves": (index("load", lambda i: [k + 0.5 for k in i]), "load: the index 0.5 is no"),
    "index of NaN": (index("sgen", lambda i: [np.nan, *i[1:]]), "sgen: the index nan is no"),
    "negative index": (index("gen", lambda i: [-1 - k for k in i]), "gen: the index -1 is neg"),
    "endless index": (index("gen", lambda i: [10**12 + k for k in i]), "gen: the index 1000000"),
    "service unknown": (cell("load", "in_service", None), "load 0 has None"),
    "service NaN": (cell("bus", "in_service", np.nan), "bus.in_service: bus 0 has nan"),
    "service in words": (cell("line", "in_service", "False"), "line 0 has 'False'"),
    "switch half closed": (cell("switch", "closed", 0.5), "switch.closed: switch 0 has 0.5"),
    "power in words": (cell("load", "p_mw", "1.0"), "load.p_mw: load 0 has '1.0', no number"),
    "power as a pair": (cell("load", "p_mw", (1, 2)), r"load.p_mw: load 0 has \(1, 2\), no number"),
    "limit in words": (cell("bus", "max_vm_pu", "high"), "bus.max_vm_pu: bus 0 has 'high'"),
    "power missing": (cell("sgen", "q_mvar", None), "sgen.q_mvar: sgen 0 has no finite value"),
    "power infinite": (cell("load", "scaling", np.inf), "load.scaling: load 0 has no finite value"),
    "power endless": (cell("load", "p_mw", 10**400), "load.p_mw: load 0 has no finite value"),
    "iron losses missing": (cell("trafo", "pfe_kw", np.nan), "trafo.pfe_kw: trafo 0 has no finite"),
    "ward missing": (cell("ward", "pz_mw", None), "ward.pz_mw: ward 0 has no finite value"),
    "no voltage level": (cell("bus", "vn_kv", 0.0), "bus.vn_kv: bus 0 has 0, expected a positive"),
    "no parallel line": (cell("line", "parallel", 0), "line.parallel: line 0 has 0, expected"),
    "negative rating": (cell("trafo", "sn_mva", -1.0), "trafo.sn_mva: trafo 0 has -1, expected"),
    "set-point 0": (cell("gen", "vm_pu", 0), "gen.vm_pu: gen 0 has 0, expected a positive"),
    "line of length 0": (cell("line", "length_km", 0.0), "line 0: no impedance"),
    "ideal transformer": (cell("trafo", "vk_percent", 0.0), "trafo 0 has no impedance"),
    "load nowhere": (cell("load", "bus", 999), "load.bus: load 0 is at bus 999, unknown"),
    "load at no bus": (cell("load", "bus", None), "load.bus: load 0 is at bus None, unknown"),
    "motor nowhere": (cell("motor", "bus", 999), "motor.bus: motor 0 is at bus 999, unknown"),
    "switch nowhere": (cell("switch", "bus", 999), "switch.bus: switch 0 is at bus 999, unknown"),
    "switch of nothing": (cell("switch", "element", 999), "switch 0 is at bus 999, unknown"),
    "switch of no kind": (cell("switch", "et", "x"), "switch.et: switch 0 has 'x'; known: b, l"),
    "switch at no end": (
        cell("switch", "bus", 0, row=-1),
        "which is no end of trafo 1",
    ),
    "base power 0": (set_entry("sn_mva", 0), "net.sn_mva: expected a positive number, got 0"),
    "frequency in words": (set_entry("f_hz", "50"), "net.f_hz: expected a positive number"),
    "options as a list": (set_entry("user_pf_options", [1]), "user_pf_options: expected a dict"),
    "unknown option of runpp": (
        set_entry("user_pf_options", {"algorithm": "x"}),
        "pandapower cannot build the power flow of this net",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", REFUSED)
def test_bad_nets_are_refused(change: str, net: pandapowerNet) -> None:
    mutate, words = REFUSED[change]
    mutate(net)
    with pytest.raises(ValueError, match=words) as caught:
        check_net(net)
    assert "\n" not in str(caught.value)


def test_a_sound_net_is_left_as_it_is(net: pandapowerNet, built: pandapowerNet) -> None:
    check_net(net)
    for name, table in built.items():
        if isinstance(table, pd.DataFrame) and not name.startswith(("_", "res_")):
            pd.testing.assert_frame_equal(net[name], table, obj=name)


def test_objects_become_what_they_stand_for(net: pandapowerNet, built: pandapowerNet) -> None:
    flags = (("bus", "in_service"), ("load", "in_service"), ("switch", "closed"), ("gen", "slack"))
    numbers = (("load", "p_mw"), ("line", "parallel"), ("trafo", "tap_pos"), ("bus", "max_vm_pu"))
    for table, column in (*flags, *numbers, ("load", "bus"), ("switch", "element")):
        net[table][column] = net[table][column].astype(object)
    net.load["in_service"] = [1 if on else 0 for on in net.load.in_service]
    net.bus.loc[net.bus.index[0], "max_vm_pu"] = None
    net.load.index = net.load.index.astype(float)
    check_net(net)
    for table, column in flags:
        assert net[table][column].dtype == bool
        np.testing.assert_array_equal(net[table][column], built[table][column])
    for table, column in numbers:
        assert net[table][column].dtype == float
    assert np.isnan(net.bus.max_vm_pu.iloc[0])
    assert net.load.index.equals(built.load.index)
    assert net.load.bus.tolist() == built.load.bus.tolist()


def test_object_flags_do_not_change_a_problem() -> None:
    net = networks.case4gs()
    net.line.loc[3, "in_service"] = False
    expected = ReactivePowerDispatch(net, controls=["gen"])
    for table in ("bus", "line", "load", "gen", "ext_grid"):
        net[table]["in_service"] = net[table]["in_service"].astype(object)
    found = ReactivePowerDispatch(net, controls=["gen"])
    assert found.base_values() == expected.base_values()


@pytest.mark.parametrize("table", ["load", "sgen", "storage", "motor", "ward", "asymmetric_load"])
def test_what_is_at_a_bus_out_of_service_is_named_with_the_true_reason(
    table: str, net: pandapowerNet
) -> None:
    bus = pp.create_bus(net, vn_kv=10.0, in_service=False)
    net[table].loc[net[table].index[0], "bus"] = bus
    with pytest.raises(ValueError, match=f"{table} 0 in service at bus {bus} out of service"):
        check_net(net)
    net[table].loc[net[table].index[0], "in_service"] = False
    check_net(net)


@pytest.mark.parametrize("table", ["load", "sgen", "storage", "motor", "ward", "asymmetric_load"])
def test_what_has_no_supply_is_named(table: str, net: pandapowerNet) -> None:
    bus = pp.create_bus(net, vn_kv=10.0)
    net[table].loc[net[table].index[0], "bus"] = bus
    words = rf"buses \[{bus}\] are disconnected from every external grid, but {table} 0 is there"
    with pytest.raises(ValueError, match=words):
        check_net(net)


def test_controllers_in_service_are_named_once() -> None:
    net = networks.case4gs()
    bus = pp.create_bus(net, vn_kv=20.0)
    tap = {"tap_side": "hv", "tap_pos": 0, "tap_neutral": 0, "tap_min": -2, "tap_max": 2}
    tap |= {"tap_step_percent": 1.5, "tap_step_degree": 0.0, "tap_changer_type": "Ratio"}
    pp.create_transformer_from_parameters(net, 0, bus, 40, 230, 20, 0.3, 10, 10, 0.1, **tap)
    ContinuousTapControl(net, 0, 1.0)
    with pytest.warns(UserWarning, match="controllers in service are not run") as caught:
        ReactivePowerDispatch(net, controls=["gen"])
    (message,) = [str(w.message) for w in caught if "controllers" in str(w.message)]
    assert "controller 0 (ContinuousTapControl)" in message
    assert caught[0].filename == __file__
    net.controller["in_service"] = False
    ReactivePowerDispatch(net, controls=["gen"])


@pytest.mark.parametrize("limits", [None, {"loading_percent": 80.0}])
def test_a_line_without_rating_cannot_keep_a_limit(limits: dict[str, float] | None) -> None:
    net = networks.case4gs()
    net.line["max_loading_percent"] = 100.0
    net.line.loc[1, ["max_i_ka", "name"]] = [0.0, "to the mill"]
    with pytest.raises(ValueError, match=r"line 1 \(to the mill\): max_i_ka is 0, so no candidate"):
        ReactivePowerDispatch(net, controls=["gen"], limits=limits)
    ReactivePowerDispatch(net, controls=["gen"], limits={"loading_percent": None})
    net.line.loc[1, "max_i_ka"] = np.nan
    with pytest.warns(UserWarning, match=r"max_i_ka is missing, .* of line 1 \(to the mill\)"):
        assert len(loading_limits(net, None)) == 3


@pytest.mark.parametrize(("table", "name"), [("line", "line 2"), ("trafo", "trafo 0")])
def test_limits_of_0_percent_are_refused(table: str, name: str, net: pandapowerNet) -> None:
    element = int(name.split()[1])
    net[table]["max_loading_percent"] = 100.0
    net[table].loc[element, "max_loading_percent"] = 0.0
    with pytest.raises(ValueError, match=rf"{name}.* loading_percent: a limit of 0 %"):
        loading_limits(net, None)
    with pytest.raises(ValueError, match=r"line 0.* a limit of 0 %, which no candidate"):
        loading_limits(net, 0)


@pytest.mark.parametrize("band", [3, "ab", (0.9,), (1.1, 0.9), (0.9, None), (0.9, 1.0, 1.1), {}])
def test_bands_that_are_no_pairs_are_refused(band: Any, net: pandapowerNet) -> None:
    with pytest.raises(ValueError, match=r"limits: vm_pu: expected \(low, high\), got"):
        voltage_limits(net, band)
    with pytest.raises(ValueError, match=r"limits: gen_q_mvar: expected \(low, high\), got"):
        machine_limits(net, "gen", "q_mvar", band)


def test_limits_that_are_no_numbers_are_refused(net: pandapowerNet) -> None:
    with pytest.raises(ValueError, match="limits: loading_percent: expected a number, got 'x'"):
        loading_limits(net, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no voltage is below the upper limit of 0"):
        voltage_limits(net, (0.0, 0.0))
    net.load["n_customers"] = "many"
    with pytest.raises(ValueError, match=r"load.n_customers: load 0 has 'many', expected a number"):
        number(net, "load", 0, "n_customers")


@pytest.mark.parametrize("name", [None, np.nan, pd.NA, "", "0", 0])
def test_elements_without_a_name_are_called_by_their_index(name: Any, net: pandapowerNet) -> None:
    net.load["name"] = net.load["name"].astype(object)
    net.load.iat[0, list(net.load.columns).index("name")] = name
    assert label_of(net, "load", 0) == "load 0"


@pytest.mark.parametrize("value", ["x", 7, [1], {"a": 1}, None])
def test_characteristics_that_are_no_table_are_as_if_absent(value: Any, net: pandapowerNet) -> None:
    net["characteristic"] = value
    net.trafo["tap_dependent_impedance"] = True
    with pytest.raises(ValueError, match="tap_dependent_impedance is set, but the net has no"):
        check_net(net)
