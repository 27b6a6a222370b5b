"""Placement: published sites and sizes, units and their powers, capacity, outages, costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from nets import switched, two_bus
from pandapower.auxiliary import pandapowerNet
from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems.controls.economics import UnitCost, annuity_factor
from gridproblems.controls.unit_codec import UNIT_KINDS, candidate_buses
from gridproblems.engines.reference import runpp_options
from gridproblems.nets.contingency import secure_lines
from gridproblems.tasks.placement import DERPlacement

PUBLISHED = pd.read_csv(Path(__file__).parent / "data" / "dg_33bus.csv", dtype=str).fillna("")
DEVICES: dict[str, dict[str, Any]] = {
    "none": {"kind": "dg"},
    "DG unity pf": {"kind": "dg"},
    "DG optimal pf": {"kind": "dg", "power_factor": (0.5, 1.0)},
    "capacitor": {"kind": "capacitor"},
}


def published_units(row: Any) -> list[dict[str, float]]:
    """The units of a row of the published table."""
    numbers = [[float(v) for v in row[column].split()] for column in ("buses", "p_mw", "q_mvar")]
    return [
        {"bus": bus, "size": q, "power_factor": 1.0}
        if row.device == "capacitor"
        else {"bus": bus, "size": p, "power_factor": p / np.hypot(p, q)}
        for bus, p, q in zip(*numbers, strict=True)
    ]


@pytest.mark.parametrize("number", range(len(PUBLISHED)))
def test_published_sites_and_sizes(number: int) -> None:
    row = PUBLISHED.iloc[number]
    units = published_units(row)
    problem = DERPlacement(
        row.case, max(len(units), 1), objectives=("p_loss_kw", "v_min_pu"), **DEVICES[row.device]
    )
    x = problem.encode_units(units) if units else problem.base_x
    loss_kw, v_min_pu = problem.evaluate(x)[0]
    assert loss_kw == pytest.approx(float(row.loss_kw), abs=0.01)
    assert -v_min_pu == pytest.approx(float(row.v_min_pu), abs=1e-4)
    net = problem.apply(x)
    assert 1e3 * net.res_line.pl_mw.sum() == pytest.approx(loss_kw, abs=1e-5)
    assert len(net.sgen) == len(units)


def test_the_best_sites_of_two_generators_are_found() -> None:
    problem = DERPlacement("case33bw", 2, "dg")
    result = minimize(problem, MVMO(), ("n_evals", 3000), seed=1)
    assert result.F[0] == pytest.approx(85.910, rel=0.005)
    assert sorted(problem.units(result.X)["bus"]) == [13, 30]


# -- the variables ----------------------------------------------------------------------------


def test_the_walk_keeps_neighbours_together() -> None:
    walk = candidate_buses(DERPlacement("case33bw").net, None)
    laterals = [[19, 20, 21, 22], [23, 24, 25], [26, 27, 28, 29, 30, 31, 32, 33]]
    main = [2, *laterals[0], 3, *laterals[1], 4, 5, 6, *laterals[2], *range(7, 19)]
    assert walk == main


def test_powers_of_every_kind() -> None:
    problem = DERPlacement(
        small(),
        kind=("pv", "dg", "capacitor", "storage"),
        max_size=4.0,
        power_factor=-0.8,
        storage_hours=4.0,
        series={("load", "p_mw"): [[1.0], [2.0]]},
        profile=[0.5, 1.0],
        battery={"round_trip_efficiency": 1.0},
    )
    schedule = pd.DataFrame({"storage 1 p_share": [0.25, -0.25]})
    x = problem.encode_units(
        [{"bus": 1, "size": 2.0}] * 2 + [{"bus": 2, "size": 1.0}] * 2, schedule
    )
    p_mw, q_mvar = problem.placed.codec.powers(x)
    np.testing.assert_allclose(p_mw, [[1.0, 2.0, 0.0, -0.25], [2.0, 2.0, 0.0, 0.25]])
    np.testing.assert_allclose(q_mvar, [[-0.75, -1.5, 1.0, 0.0], [-1.5, -1.5, 1.0, 0.0]])
    settings = problem.decode(x)
    np.testing.assert_allclose(
        settings.values, [[3.0, -0.25, -2.25, 1.0, 1.0], [4.0, 0.25, -3.0, 1.0, 2.0]]
    )
    np.testing.assert_allclose(problem.schedule(x)["storage 1 soc"], [0.5625, 0.5])
    net = problem.apply(x, 1)
    np.testing.assert_allclose(net.storage[["p_mw", "max_e_mwh"]], [[-0.25, 4.0]])
    assert net.load.p_mw[0] == 2.0
    np.testing.assert_allclose(problem.solve(x).vm_pu[1], net.res_bus.vm_pu, atol=1e-9)


def test_units_at_one_bus_add_up_and_the_description_says_so() -> None:
    two, one = DERPlacement("case33bw", 2, "dg"), DERPlacement("case33bw", 1, "dg")
    x = two.encode_units([{"bus": 30, "size": 0.4}, {"bus": 30, "size": 0.7}])
    alone = one.encode_units([{"bus": 30, "size": 1.1}])
    assert two.evaluate(x)[0][0] == pytest.approx(one.evaluate(alone)[0][0], abs=1e-9)
    assert two.describe(x)["with"].tolist() == ["dg 2", "dg 1"]
    assert one.describe(alone)["with"].tolist() == [""]


def test_equal_units_in_another_order_are_one_vector() -> None:
    problem = DERPlacement("case33bw", kind=("dg", "capacitor", "dg"))
    units = [{"bus": 30, "size": 1.0}, {"bus": 12, "size": 0.5}, {"bus": 14, "size": 0.7}]
    x = problem.encode_units(units)
    y = problem.encode_units([units[2], units[1], units[0]])
    np.testing.assert_array_equal(x, y)
    assert problem.units(x)["kind"].tolist() == ["dg", "capacitor", "dg"]
    assert set(problem.units(x)["bus"]) == {12, 14, 30}


def test_sizes_in_steps() -> None:
    problem = DERPlacement("case33bw", 1, "capacitor", size_step=0.15, max_size=0.5)
    x = np.array([[0, 0.07], [0, 0.08], [0, 0.5]])
    np.testing.assert_allclose(problem.snap(x)[:, 1], [0.0, 0.15, 0.45])


def test_buses_as_choices() -> None:
    problem = DERPlacement("case33bw", 1, "dg", bus_variable="choice", buses=[30, 6])
    assert problem.joint.variables[0].options == (6.0, 30.0)
    x = {"dg 1 bus": 6.0, "dg 1 size_mw": 2.5753}
    assert problem.evaluate(np.array([0.0, 2.5753]))[0][0] == pytest.approx(103.966, abs=0.001)
    assert problem.units(x)["bus"].tolist() == [6]


# -- over time --------------------------------------------------------------------------------


def test_energy_and_exchange_over_a_day_against_runpp() -> None:
    names = ("energy_loss_kwh", "exchange_energy_kwh", "exchange_peak_kw")
    problem = DERPlacement("lv18", 2, "pv", names, max_size=0.03, hours=0.5)
    x = np.random.default_rng(3).uniform(problem.xl, problem.xu)
    nets = [problem.apply(x, t) for t in range(24)]
    loss_kw = [1e3 * (net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()) for net in nets]
    grid_kw = np.array([1e3 * net.res_ext_grid.p_mw.sum() for net in nets])
    expected = [0.5 * sum(loss_kw), 0.5 * np.abs(grid_kw).sum(), np.abs(grid_kw).max()]
    np.testing.assert_allclose(problem.evaluate(x)[0], expected, rtol=1e-6)


def test_series_and_profile_from_files(tmp_path: Path) -> None:
    pd.DataFrame({"hour": [0, 1], "a": [1.0, 2.0]}).to_csv(tmp_path / "load.csv", index=False)
    pd.DataFrame({"hour": [0, 1], "pv": [0.0, 0.5]}).to_csv(tmp_path / "pv.csv", index=False)
    problem = DERPlacement(
        small(), series={"load.p_mw": tmp_path / "load.csv"}, profile=tmp_path / "pv.csv"
    )
    x = problem.encode_units([{"bus": 1, "size": 1.0}])
    np.testing.assert_allclose(problem.decode(x).values, [[0.0, 0.0, 1.0], [0.5, 0.0, 2.0]])


def test_constraints_of_every_snapshot() -> None:
    worst = DERPlacement("lv18", 1, "pv", max_size=0.2)
    each = DERPlacement("lv18", 1, "pv", max_size=0.2, every_snapshot=True)
    x = worst.encode_units([{"bus": 9, "size": 0.2}])
    g_worst, g_each = worst.evaluate(x)[1][1:], each.evaluate(x)[1][1:]
    assert g_worst.max() > 0
    np.testing.assert_allclose(g_each.reshape(24, -1).max(axis=0), g_worst)


# -- objectives -------------------------------------------------------------------------------


def test_annuity() -> None:
    assert annuity_factor(0.05, 20) == pytest.approx(0.0802425872, abs=1e-10)
    assert annuity_factor(0.0, 20) == 0.05
    years, rate = 15, 0.08  # what is owed is paid back after the last year
    owed = 1.0
    for _ in range(years):
        owed = owed * (1 + rate) - annuity_factor(rate, years)
    assert owed == pytest.approx(0.0, abs=1e-12)


def test_unit_cost_by_hand() -> None:
    costs = {
        "dg": {"rate": 0.0, "years": 10, "per_mw": 1000.0, "per_unit": 50.0},
        "storage": UnitCost(0.0, 20, per_mw=100.0, per_mwh=200.0, operation_share=0.05),
    }
    problem = DERPlacement(
        small(),
        kind=("dg", "dg", "storage"),
        objectives=("unit_cost_eur_per_year",),
        series={("load", "p_mw"): [[1.0], [2.0]]},
        storage_hours=(1.0, 4.0),
        max_size=3.0,
        costs=costs,
    )
    units = [{"bus": 1, "size": 0.0}, {"bus": 2, "size": 2.0}]
    x = problem.encode_units([*units, {"bus": 2, "size": 1.0, "storage_hours": 3.0}])
    assert problem.evaluate(x)[0][0] == pytest.approx(2050 / 10 + 700 * (1 / 20 + 0.05))
    assert problem.base_values()[0] == 0.0


def test_hosting_capacity_against_the_closed_form() -> None:
    """One bus at its upper voltage limit: |v^2 - z conj(s)| = v for the injection s at v."""
    net = two_bus()
    net.bus["max_vm_pu"] = 1.0
    problem = DERPlacement(net, 1, "dg", ("hosting_capacity_mw",), {"loading_percent": None})
    r, x, v, q = 0.01, 0.04, 1.0, -0.5
    a, b = r**2 + x**2, -2 * r * (v**2 - x * q) - 2 * x * r * q
    c = (v**2 - x * q) ** 2 + (r * q) ** 2 - v**2
    p_mw = (-b - np.sqrt(b**2 - 4 * a * c)) / (2 * a)
    sizes = np.array([[0.0, 0.1], [0.0, 0.9], [0.0, 0.0]])
    f = problem.evaluate(sizes)[0][:, 0]
    np.testing.assert_allclose(f, [-(p_mw + 1.0), -(p_mw + 1.0), 0.0], atol=2e-5)
    np.testing.assert_array_equal(problem.evaluate(sizes[1])[0], f[1])
    limited = DERPlacement(
        net, 1, "dg", ("hosting_capacity_mw",), {"loading_percent": None}, max_hosting_mw=0.5
    )
    assert limited.evaluate(sizes[1])[0][0] == pytest.approx(-0.5)


def test_hosting_names_what_binds_the_cap_and_the_scaled_sizes() -> None:
    problem = DERPlacement("lv18", 2, "pv", ("hosting_capacity_mw",), max_size=0.01)
    x = problem.encode_units([{"bus": 5, "size": 0.002}, {"bus": 9, "size": 0.006}])
    hosting = problem.hosting(x)
    assert hosting.capacity_mw == pytest.approx(-problem.evaluate(x)[0][0], rel=1e-9)
    assert not hosting.at_cap
    assert hosting.sizes == pytest.approx([0.25 * hosting.capacity_mw, 0.75 * hosting.capacity_mw])
    inside = DERPlacement("lv18", 2, "pv", max_size=10.0)
    scaled = pd.DataFrame({"bus": [5, 9], "size": hosting.sizes})
    assert not inside.violations(inside.encode_units(scaled))
    scaled["size"] *= 1.001
    broken = inside.violations(inside.encode_units(scaled))
    assert hosting.binding[0] in {violation.name for violation in broken}

    capped = DERPlacement(
        "lv18", 2, "pv", ("hosting_capacity_mw",), max_size=0.01, max_hosting_mw=0.0005
    )
    assert capped.hosting(x).at_cap
    assert capped.hosting(x).capacity_mw == pytest.approx(0.0005)
    assert "ended at its cap max_hosting_mw = 0.0005 MW" in " ".join(capped.remarks(x))
    nothing = capped.hosting(capped.base_x)
    assert (nothing.capacity_mw, nothing.at_cap, nothing.binding) == (0.0, False, ())


def test_hosting_capacity_without_any_limit_is_refused() -> None:
    for net in ("case33bw", switched()):
        with pytest.raises(ValueError, match="neither voltage band nor loading limits"):
            DERPlacement(net, 1, "dg", ("hosting_capacity_mw",))


def test_buses_that_couplers_join_to_a_source_are_no_candidates_by_themselves() -> None:
    net = two_bus()
    busbar, beyond, open_ = (pp.create_bus(net, 10.0) for _ in range(3))
    pp.create_switch(net, 0, busbar, et="b", closed=True)
    pp.create_switch(net, busbar, beyond, et="b", closed=True)
    pp.create_switch(net, 0, open_, et="b", closed=False)
    pp.create_line_from_parameters(net, 1, open_, 1.0, 1.0, 4.0, 0.0, max_i_ka=1.0)
    assert sorted(DERPlacement(net, 1, "dg").placed.codec.buses) == [1, open_]
    named = DERPlacement(net, 1, "dg", buses=[beyond, 1])
    assert sorted(named.placed.codec.buses) == [1, beyond]
    net.line["in_service"] = False
    net.load["in_service"] = False
    net.sgen["in_service"] = False
    with pytest.raises(ValueError, match="joined to one by closed couplers"):
        candidate_buses(net, None)


def test_hosting_capacity_is_where_the_first_limit_is_reached() -> None:
    problem = DERPlacement("lv18", 2, "pv", ("hosting_capacity_mw",), max_size=0.01)
    units = [{"bus": 9, "size": 0.001}, {"bus": 14, "size": 0.002}]
    capacity = -problem.evaluate(problem.encode_units(units))[0][0]
    for factor, feasible in ((0.999, True), (1.001, False)):
        larger = DERPlacement("lv18", 2, "pv", max_size=1.0)
        scaled = [{**unit, "size": factor * unit["size"] * capacity / 0.003} for unit in units]
        g = larger.evaluate(larger.encode_units(scaled))[1]
        assert (g <= 0).all() == feasible


# -- voltage-dependent loads, outages ---------------------------------------------------------


def test_loads_of_constant_impedance() -> None:
    problem = DERPlacement(two_bus(), 1, "dg", zip_percent=(100.0, 0.0))
    v = 1 / (1 + (0.01 + 0.04j) * (1.0 - 0.5j))  # the load is an admittance
    assert problem.base_state.vm_pu[0, 1] == pytest.approx(abs(v), abs=1e-8)


def test_loads_of_mixed_voltage_dependence_against_runpp() -> None:
    problem = DERPlacement("case33bw", 2, "dg", zip_percent=(30.0, 50.0))
    x = problem.encode_units([{"bus": 14, "size": 0.8}, {"bus": 30, "size": 1.0}])
    net = problem.apply(x)
    assert (net.load.const_z_q_percent == 30.0).all()
    assert (net.load.const_i_p_percent == 50.0).all()
    assert problem.evaluate(x)[0][0] == pytest.approx(1e3 * net.res_line.pl_mw.sum(), abs=1e-5)
    constant = DERPlacement("case33bw", 2, "dg")  # low voltages draw less of the others
    assert problem.evaluate(x)[0][0] < 0.99 * constant.evaluate(x)[0][0]


def ring() -> pandapowerNet:
    """A source, a double line, a ring of three buses, a bus at the end of a single line."""
    net = pp.create_empty_network(sn_mva=1.0, name="ring")
    pp.create_buses(net, 5, vn_kv=20.0, min_vm_pu=0.9, max_vm_pu=1.1)
    pp.create_ext_grid(net, 0)
    for a, b in ((0, 1), (0, 1), (1, 2), (2, 3), (3, 1), (3, 4)):
        pp.create_line_from_parameters(
            net, a, b, 5.0, 0.3, 0.35, 10.0, max_i_ka=0.2, max_loading_percent=100.0
        )
    for bus, p_mw in ((2, 2.0), (3, 1.5), (4, 1.0)):
        pp.create_load(net, bus, p_mw=p_mw, q_mvar=0.3 * p_mw)
    return net


def test_worst_outage_against_runpp() -> None:
    lines = [0, 1, 2, 3, 4]
    assert secure_lines(ring()) == tuple(lines)
    with pytest.warns(UserWarning, match=r"lines \[5\] are left out"):
        problem = DERPlacement(ring(), 2, "dg", outages="lines")
    assert problem.engine_name == "newton"
    X = np.random.default_rng(2).uniform(problem.xl, problem.xu, (3, problem.n_var))
    G = problem.evaluate(X)[1]
    names = list(problem.constraint_names)
    for x, g in zip(X, G, strict=True):
        loading, vm_pu = [], []
        for line in lines:
            net = problem.apply(x)
            net.line.at[line, "in_service"] = False
            pp.runpp(net, **runpp_options(net))
            loading.append(net.res_line.loading_percent)
            vm_pu.append(net.res_bus.vm_pu)
        got = [g[names.index(f"n-1 line {line} loading_percent")] for line in range(6)]
        np.testing.assert_allclose(got, np.max(loading, axis=0) / 100 - 1, atol=1e-7)
        low = g[names.index("n-1 bus 4 vm_pu min")]
        assert low == pytest.approx((0.9 - np.min(vm_pu, axis=0)[4]) / 0.2, abs=1e-7)
        assert g[names.index("n-1 power_flow")] == 0
        np.testing.assert_array_equal(problem.evaluate(x)[1], g)


def test_an_outage_that_diverges_is_a_violation() -> None:
    net = ring()
    net.load["p_mw"] *= 4
    net.line.loc[[2, 4], "length_km"] = 10.0
    limits = {"vm_pu": (0.3, 1.5), "loading_percent": 1e4}
    problem = DERPlacement(net, 1, "dg", limits=limits, outages=[2, 4])
    f, g = problem.evaluate(problem.base_x)
    assert f[0] < 1e9
    assert g[list(problem.constraint_names).index("n-1 power_flow")] == 1


# -- bad input --------------------------------------------------------------------------------


def small() -> pandapowerNet:
    net = pp.create_empty_network(sn_mva=1.0, name="small")
    pp.create_buses(net, 3, vn_kv=20.0)
    pp.create_ext_grid(net, 0)
    for bus in (1, 2):
        pp.create_line_from_parameters(net, bus - 1, bus, 1.0, 0.3, 0.35, 10.0, max_i_ka=0.3)
    pp.create_load(net, 2, p_mw=1.0, q_mvar=0.2)
    return net


TWO = {("load", "p_mw"): [[1.0], [2.0]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "wind"}, "unknown kind 'wind'.*; known: pv, dg, capacitor, storage"),
        ({"n_units": 0}, "n_units: expected 1, one per kind, got 0"),
        ({"n_units": 3, "kind": ("pv", "dg")}, "n_units: expected 2, one per kind, got 3"),
        ({"buses": [2, 99]}, "the net has no bus 99; it has 0, 1, 2"),
        ({"buses": [2, 2]}, "each once"),
        ({"bus_variable": "real"}, "bus_variable: unknown 'real'.*; known: integer, choice"),
        ({"max_size": -1.0}, "max_size of pv: expected a positive size, got -1.0"),
        ({"size_step": -1.0}, "size_step: expected 0 or more"),
        ({"power_factor": 1.2}, "power_factor: expected a number or a pair"),
        ({"power_factor": 0.0}, r"power_factor: expected in \(0, 1\]"),
        ({"power_factor": (0.9, 0.8)}, "a lower and a higher limit"),
        ({"storage_hours": 0.0}, "storage_hours: expected more than 0"),
        ({"kind": "storage"}, "a storage cannot return to its start within one snapshot"),
        ({"battery": {"soc_start": 0.9, "soc_max": 0.8}}, "cannot return to its start 0.9"),
        ({"battery": {"round_trip_efficiency": 1.1}}, r"expected in \(0, 1\], got 1.1"),
        ({"battery": {"efficiency": 0.9}}, "battery: unknown 'efficiency'; known: round_trip"),
        ({"series": TWO}, "profile: expected the output of pv"),
        ({"series": TWO, "profile": [1.0]}, "profile: expected 2 numbers"),
        ({"series": TWO, "profile": [0.5, 700.0]}, "shares of the rated power.* 700.0"),
        ({"series": {("load", "p_mw"): [[1.0], [-2.0]]}}, "negative in row 1"),
        ({"series": {("load", "p_mw"): [[1.0], [np.nan]]}}, "no finite value in row 1"),
        ({"series": {("load", "p_mw"): [[1.0, 1.0]]}}, r"expected shape \(n_snapshots, 1\)"),
        ({"hours": 0.0}, "hours"),
        ({"limits": {"vm": 1}}, r"limits: unknown 'vm'"),
        ({"outages": "lines"}, "every line of this net cuts off buses"),
        ({"outages": [1]}, "lose supply without line 1"),
        ({"outages": [7]}, "the net has no line 7 in service"),
        ({"zip_percent": (80.0, 30.0)}, "zip_percent: expected shares"),
        ({"costs": {"wind": {"rate": 0.05, "years": 20}}}, "costs: unknown kind 'wind'"),
        ({"costs": {"pv": {"rate": 0.05}}}, "costs of pv: 'years' is missing"),
        ({"costs": {"pv": {"rate": -0.05, "years": 20}}}, "costs of pv: rate: expected 0 or more"),
        ({"objectives": ("unit_cost_eur_per_year",)}, "costs: expected those of pv"),
        ({"objectives": ("hosting_capacity_mw",), "kind": "capacitor"}, "units of kind pv or dg"),
        (
            {"objectives": ("hosting_capacity_mw",), "limits": {"vm_pu": (1.01, 1.1)}},
            "the grid without units already violates bus 2 vm_pu min",
        ),
        ({"max_hosting_mw": 0.0}, "max_hosting_mw: expected a positive power"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DERPlacement(small(), **arguments)


def test_kw_given_as_mw_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"series load\.p_mw: .* MW in total.*kW"):
        DERPlacement(
            small(), 1, "dg", series={("load", "p_mw"): [[900.0]]}, require_base_solution=False
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda units: units[:1], "units: expected 2 rows, got 1"),
        (lambda units: [units[0], {**units[1], "bus": 0}], "pv 2: bus 0 is no candidate.*1, 2"),
        (lambda units: [{**units[0], "size": 7.0}, units[1]], "pv 1: size 7.0 is not within"),
    ],
)
def test_bad_units(change: Callable[[list[dict[str, float]]], Any], message: str) -> None:
    problem = DERPlacement(small(), 2)
    with pytest.raises(ValueError, match=message):
        problem.encode_units(change([{"bus": 1, "size": 0.5}, {"bus": 2, "size": 0.5}]))


def test_settings_that_do_not_know_their_units() -> None:
    problem = DERPlacement(small(), 1, "dg")
    settings = problem.decode(problem.base_x).as_mapping()
    with pytest.raises(ValueError, match="use encode_units"):
        problem.encode(settings)
    with pytest.raises(ValueError, match="a table 'units', as apply gives"):
        problem.encode(small())


# -- files and figures ------------------------------------------------------------------------


def test_files_and_figures(tmp_path: Path) -> None:
    problem = DERPlacement("lv18", kind=tuple(UNIT_KINDS), max_size=0.02)
    x = np.random.default_rng(4).uniform(problem.xl, problem.xu)
    problem.write(x, tmp_path)
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "units.csv")["size"], problem.units(x)["size"], rtol=1e-12
    )
    assert len(pd.read_csv(tmp_path / "schedule.csv")) == 24
    read = pp.from_json(str(tmp_path / "net.json"))
    np.testing.assert_allclose(problem.encode(read), problem.snap(x), rtol=1e-9, atol=1e-12)
    figures = problem.figures(x)
    (axes, _) = figures["units"].axes
    drawn = {c.get_label(): c for c in axes.collections if c.get_label() in UNIT_KINDS}
    assert set(drawn) == set(UNIT_KINDS)
    areas = {kind: float(c.get_sizes()[0]) for kind, c in drawn.items()}
    sizes = problem.units(x).set_index("kind")["size"]
    assert max(areas, key=lambda kind: areas[kind]) == sizes.idxmax()
    upper, lower = figures["schedule"].axes
    shown = upper.lines[0].get_ydata()
    np.testing.assert_allclose(shown[:-1], 1e3 * problem.schedule(x)["storage 1 p_mw"])
    assert lower.get_ylabel() == "state of charge [%]"
    assert {"line_loading", "voltage_band"} < set(figures)
    assert set(DERPlacement("case33bw").figures(None)) == {"voltage", "loading"}
