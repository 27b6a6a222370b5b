"""Cases reproduce their sources: losses, published settings, admittances, limits."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from gridproblems import ReactivePowerDispatch
from gridproblems.cases import CASES, DATA, Case, SettingsByElement, load_case
from gridproblems.cases._build import build_net, frame

#: Has a test of its own, which builds it once.
LARGEST = "pegase9241"
DISPATCH_CASES = [name for name in CASES if "orpd" in load_case(name).tasks and name != LARGEST]
PUBLISHED_CASES = ("ieee6", "ieee14", "ieee39")

BASE_LOSS_MW = {
    "ieee6": 12.9102,
    "ieee14": 17.2006,
    "ieee39": 53.2610,
    "ieee30": 5.78656,
    "ieee30-19var-v1.05": 5.78656,
    "ieee30-13var-v1.10": 5.78656,
    "ieee30-13var-v1.05": 5.78656,
    "ieee57": 27.8638,
    "ieee57-shunt30": 27.8638,
    "ieee118": 132.8629,
    "ieee118-v1.10": 132.8629,
    "ieee300": 408.3156,
    "pegase1354": 1663.4617,
}

MEASURED_LINE_LOSS_MW = {
    "ieee6": {"base": 12.91015, "CBGA": 10.08959, "MVMO": 10.08954, "GA": 10.08950},
    "ieee14": {"base": 17.20064, "CBGA": 13.55841, "MVMO": 13.56042, "GA": 13.57335},
    "ieee39": {"base": 38.78976, "CBGA": 26.47682, "MVMO": 26.47879, "GA": 26.42129},
}

AS_PRINTED_LINE_LOSS_MW = {
    ("ieee14", "base"): 17.205521,
    ("ieee14", "GA"): 13.574926,
    ("ieee39", "MVMO"): 28.595443,
    ("ieee39", "GA"): 27.270695,
}

# Largest relative difference from the printed loadings: rounding of the printed settings, and one
# printed voltage that does not belong to its loadings (noted in the case).
LOADING_TOLERANCE = {
    ("ieee6", "base"): 1e-5,
    ("ieee6", "CBGA"): 1e-4,
    ("ieee6", "MVMO"): 2e-4,
    ("ieee6", "GA"): 1e-4,
    ("ieee14", "base"): 1e-5,
    ("ieee14", "CBGA"): 2e-4,
    ("ieee14", "MVMO"): 4e-3,
    ("ieee14", "GA"): 4e-4,
    ("ieee39", "base"): 1e-5,
    ("ieee39", "CBGA"): 1e-5,
    ("ieee39", "MVMO"): 2e-3,
    ("ieee39", "GA"): 5e-4,
}


def run(net: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp(net, init="dc", lightsim2grid=False, tolerance_mva=1e-8)


def set_values(net: Any, settings: SettingsByElement) -> None:
    for (table, column), values in settings.items():
        for index, value in values.items():
            assert index in net[table].index
            net[table].loc[index, column] = value


@pytest.fixture(scope="module", params=DISPATCH_CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return load_case(request.param)


def test_base_case_converges_to_the_known_loss(case: Case) -> None:
    net = case.net()
    run(net)
    loss_mw = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
    assert loss_mw == pytest.approx(BASE_LOSS_MW[case.name], abs=1e-4)
    assert net.trafo.tap_changer_type[net.trafo.tap_pos.notna()].eq("Ratio").all()


def test_net_is_fresh_each_time(case: Case) -> None:
    net = case.net()
    net.gen.loc[:, "vm_pu"] = 7.0
    assert not case.net().gen.vm_pu.eq(7.0).any()


def test_limits_are_in_the_columns_of_the_net(case: Case) -> None:
    net = case.net()
    for table in (net.bus, net.gen, net.ext_grid):
        assert np.isfinite(table[["min_vm_pu", "max_vm_pu"]].to_numpy(float)).all()
        assert (table.min_vm_pu < table.max_vm_pu).all()
    free = net.trafo.tap_min.notna()
    assert free.any()
    assert (net.trafo.tap_min[free] < net.trafo.tap_max[free]).all()
    if case.name in PUBLISHED_CASES:
        assert case.controls[:2] == ("gen", "tap")
        assert (net.bus.min_vm_pu == 0.9).all()
        assert (net.bus.max_vm_pu == 1.1).all()
        assert net.gen.min_q_mvar.isna().all()
    else:
        shunts = ("shunt",) if "ieee" in case.name else ()
        assert case.controls == ("gen", "ext_grid", "tap", *shunts)
        for table in (net.gen, net.ext_grid):
            assert np.isfinite(table[["min_q_mvar", "max_q_mvar"]].to_numpy(float)).all()


@pytest.mark.parametrize(
    ("name", "n_gen", "n_tap", "n_shunt"),
    [
        ("ieee30", 6, 4, 9),
        ("ieee30-13var-v1.05", 6, 4, 3),
        ("ieee57", 7, 15, 3),
        ("ieee118", 54, 9, 14),
        ("ieee300", 69, 129, 14),
    ],
)
def test_number_of_controls(name: str, n_gen: int, n_tap: int, n_shunt: int) -> None:
    net = load_case(name).net()
    assert len(net.gen) + len(net.ext_grid) == n_gen
    assert net.trafo.tap_min.notna().sum() == n_tap
    bounded = net.shunt[net.shunt.min_q_mvar.notna()]
    assert len(bounded) == n_shunt
    assert (bounded.min_q_mvar < bounded.max_q_mvar).all()


def test_pegase_is_the_shipped_net_with_rounded_ratios() -> None:
    net, shipped = load_case("pegase1354").net(), pn.case1354pegase()
    assert len(net.gen) + len(net.ext_grid) == 260
    assert net.trafo.tap_min.notna().sum() == 234
    assert net.trafo.tap_pos.min() == -1033  # the range reaches as far as the ratio of the source
    assert net.trafo.tap_min.min() == -1033
    assert net.bus.index.tolist() == shipped.bus.name.astype(int).tolist()
    assert net.line.name.is_unique
    assert net.trafo.name.is_unique
    ratio, source = (
        1.0 + t.tap_pos.fillna(0) * t.tap_step_percent.fillna(0) / 100
        for t in (net.trafo, shipped.trafo)
    )
    np.testing.assert_allclose(ratio, source, atol=0.5001e-4)
    run(net)
    run(shipped)
    np.testing.assert_allclose(net.res_bus.vm_pu.to_numpy(), shipped.res_bus.vm_pu, atol=1e-3)
    np.testing.assert_allclose(net.res_line.p_from_mw, shipped.res_line.p_from_mw, atol=1.0)


def test_the_largest_case() -> None:
    problem = ReactivePowerDispatch(LARGEST)
    np.testing.assert_array_equal(problem.starts, [problem.snap(problem.base_x)])
    assert problem.n_var == 1444 + 1 + 1319
    assert problem.base_values()[0] == pytest.approx(7938.9834, abs=1e-3)
    best = problem.best_known
    assert best is not None
    F, G = problem.evaluate(problem.encode(best.settings))
    assert F[0] == pytest.approx(best.value, abs=1e-6)
    assert G.max() < 1e-9
    assert best.relaxation_value == pytest.approx(best.value, rel=5e-5)
    net = load_case(LARGEST).net()
    set_values(net, best.settings)
    pp.runpp(net, init="auto", lightsim2grid=False, tolerance_mva=1e-6, max_iteration=50)
    assert net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum() == pytest.approx(
        best.value, abs=1e-4
    )


def test_limits_of_load_buses_differ_from_those_of_generators() -> None:
    net = load_case("ieee30-19var-v1.05").net()
    assert net.bus.max_vm_pu.loc[[1, 2, 5, 8, 11, 13]].eq(1.10).all()
    assert net.bus.max_vm_pu.drop([1, 2, 5, 8, 11, 13]).eq(1.05).all()


def test_ieee30_with_the_settings_of_matpower_gives_the_loss_of_matpower() -> None:
    net = load_case("ieee30").net()
    net.gen[["p_mw", "vm_pu"]] = [[40, 1.045], [0, 1.01], [0, 1.01], [0, 1.082], [0, 1.071]]
    net.ext_grid["vm_pu"] = 1.06
    ratio = {"6-9": 0.978, "6-10": 0.969, "4-12": 0.932, "28-27": 0.968}
    for name, value in ratio.items():
        net.trafo.loc[net.trafo.name == name, "tap_pos"] = round((value - 1) * 1e4)
    net.shunt.loc[net.shunt.bus == 10, "q_mvar"] = -19.0
    net.shunt.loc[net.shunt.bus == 24, "q_mvar"] = -4.3
    run(net)
    assert net.res_line.pl_mw.sum() == pytest.approx(17.5569, abs=1e-4)


@pytest.mark.parametrize("name", PUBLISHED_CASES)
@pytest.mark.parametrize("solution", ["base", "CBGA", "MVMO", "GA"])
def test_published_settings_reproduce(name: str, solution: str) -> None:
    case = load_case(name)
    published = case.published[solution]
    net = case.net()
    set_values(net, published.settings)
    run(net)
    loss_mw = net.res_line.pl_mw.sum()
    assert loss_mw == pytest.approx(MEASURED_LINE_LOSS_MW[name][solution], abs=1e-5)
    assert loss_mw == pytest.approx(published.loss_mw, abs=1e-3)
    assert published.line_loading_percent is not None
    assert set(published.line_loading_percent) == set(net.line.name)
    printed = np.array([published.line_loading_percent[line] for line in net.line.name])
    np.testing.assert_allclose(
        net.res_line.loading_percent, printed, rtol=LOADING_TOLERANCE[name, solution]
    )
    assert (published.run_time_s is None) == (solution == "base")

    assert bool(published.as_printed) == ((name, solution) in AS_PRINTED_LINE_LOSS_MW)
    if published.as_printed:
        set_values(net, published.as_printed)
        run(net)
        expected = AS_PRINTED_LINE_LOSS_MW[name, solution]
        assert net.res_line.pl_mw.sum() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", PUBLISHED_CASES)
def test_base_case_of_the_net_is_the_published_one(name: str) -> None:
    case = load_case(name)
    net, same = case.net(), case.net()
    set_values(same, case.published["base"].settings)
    assert pp.toolbox.nets_equal(net, same)
    slack = case.fixed["ext_grid", "vm_pu"]
    assert slack == {0: 1.05}
    for solution in ("CBGA", "MVMO", "GA"):
        assert case.published[solution].settings["ext_grid", "vm_pu"] == slack


def pi_model(net: Any, lines: Any, trafos: Any) -> np.ndarray:
    """Bus admittance matrix of MATPOWER's branch model at the tap positions of the net. [pu]"""
    position = {bus: i for i, bus in enumerate(net.bus.index)}
    ybus = np.zeros((len(position), len(position)), dtype=complex)
    for row in net.shunt[~net.shunt.name.str.startswith("charging")].itertuples():
        ybus[position[row.bus], position[row.bus]] += (row.p_mw - 1j * row.q_mvar) / net.sn_mva
    branches = [(r.from_bus, r.to_bus, r.r_pu, r.x_pu, r.b_pu, 1.0) for r in lines.itertuples()]
    for r, tap_pos in zip(trafos.itertuples(), net.trafo.tap_pos, strict=True):
        ratio = 1 + (tap_pos - r.tap_neutral) * r.tap_step_percent / 100
        ends = (r.hv_bus, r.lv_bus) if r.tap_side == "hv" else (r.lv_bus, r.hv_bus)
        shift = np.deg2rad(getattr(r, "shift_degree", 0.0)) * (1 if r.tap_side == "hv" else -1)
        tap = ratio * np.exp(1j * shift)
        branches.append((*ends, r.r_pu, r.x_pu, getattr(r, "b_pu", 0.0), tap))
    for tap_bus, other_bus, r_pu, x_pu, b_pu, tap in branches:
        f, t = position[tap_bus], position[other_bus]
        series = 1 / (r_pu + 1j * x_pu)
        ybus[f, f] += (series + 0.5j * b_pu) / abs(tap) ** 2
        ybus[t, t] += series + 0.5j * b_pu
        ybus[f, t] -= series / np.conj(tap)
        ybus[t, f] -= series / tap
    return ybus


@pytest.mark.parametrize("name", ["ieee6", "ieee14", "ieee39", "ieee30", "ieee57", "ieee300"])
def test_admittances_equal_the_pi_model_at_any_tap_position(name: str) -> None:
    net = load_case(name).net()
    tables = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["tables"]
    rng = np.random.default_rng(1)
    free = net.trafo.tap_min.notna()
    for scale in (0.0, 0.3):
        steps = scale * rng.integers(net.trafo.tap_min[free], net.trafo.tap_max[free] + 1)
        net.trafo.loc[free, "tap_pos"] = net.trafo.tap_neutral[free] + steps.astype(int)
        if scale == 0.3 and name in ("ieee6", "ieee14", "ieee39"):
            net.trafo["tap_pos"] = rng.integers(net.trafo.tap_min, net.trafo.tap_max + 1)
        run(net)
        expected = pi_model(net, frame(tables["line"]), frame(tables["trafo"]))
        order = net._pd2ppc_lookups["bus"][net.bus.index.to_numpy()]
        measured = net._ppc["internal"]["Ybus"].toarray()[np.ix_(order, order)]
        np.testing.assert_allclose(measured, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tap_side", ["hv", "lv"])
@pytest.mark.parametrize("b_pu", [0.0, -0.2, 0.4])
@pytest.mark.parametrize(("tap_pos", "ratio"), [(-1000, 0.9), (250, 1.025)])
def test_transformer_by_hand(tap_side: str, b_pu: float, tap_pos: int, ratio: float) -> None:
    """z = 0.03 + j0.04 pu gives y = 12 - j16 pu; the tap bus sees (y + jb/2) / ratio**2."""
    tap_bus, other_bus = (1, 2) if tap_side == "hv" else (2, 1)
    net = build_net(
        {
            "bus": {"columns": ["bus", "vn_kv"], "rows": [[1, 132], [2, 33]]},
            "load": {"columns": ["name", "bus", "p_mw", "q_mvar"], "rows": [["2", 2, 5, 1]]},
            "ext_grid": {"columns": ["name", "bus", "vm_pu"], "rows": [["1", 1, 1.0]]},
            "gen": {"columns": ["name", "bus", "p_mw", "vm_pu"], "rows": []},
            "line": {
                "columns": ["name", "from_bus", "to_bus", "r_pu", "x_pu", "b_pu"],
                "constant": {"length_km": 1, "max_i_ka": 1},
                "rows": [],
            },
            "trafo": {
                "columns": ["name", "hv_bus", "lv_bus", "r_pu", "x_pu", "b_pu", "tap_pos"],
                "constant": {
                    "tap_side": tap_side,
                    "tap_neutral": 0,
                    "tap_min": -1000,
                    "tap_max": 1000,
                    "tap_step_percent": 0.01,
                },
                "rows": [["1-2", 1, 2, 0.03, 0.04, b_pu, tap_pos]],
            },
        },
        title="hand",
        f_hz=50.0,
        sn_mva=100.0,
        generator_vm_pu=(0.9, 1.1),
        load_vm_pu=(0.9, 1.1),
    )
    run(net)
    ybus = net._ppc["internal"]["Ybus"].toarray()
    lookup = net._pd2ppc_lookups["bus"]
    f, t = lookup[tap_bus], lookup[other_bus]
    assert ybus[f, f] == pytest.approx((12 - 16j + 0.5j * b_pu) / ratio**2, abs=1e-9)
    assert ybus[t, t] == pytest.approx(12 - 16j + 0.5j * b_pu, abs=1e-9)
    assert ybus[f, t] == pytest.approx(-(12 - 16j) / ratio, abs=1e-9)
    assert ybus[t, f] == pytest.approx(-(12 - 16j) / ratio, abs=1e-9)


def test_unknown_case_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ieee15'.*ieee14.*ieee300"):
        load_case("ieee15")


def test_data_files_and_list_of_cases_agree() -> None:
    in_files = [
        case
        for file in DATA.glob("*.json")
        for case in json.loads(file.read_text(encoding="utf-8"))["cases"]
    ]
    assert sorted(in_files) == sorted(CASES)


def violation(values: Any, table: Any, quantity: str) -> float:
    """Largest excess over the limits of a table, 0 without limits."""
    excess = [
        (sign * (values - table[f"{end}_{quantity}"])).max()
        for end, sign in (("min", -1), ("max", 1))
        if f"{end}_{quantity}" in table
    ]
    return float(np.nanmax([0.0, *excess]))


def test_best_known_values_are_feasible_and_reproduce(case: Case) -> None:
    assert case.best_known
    for best in case.best_known:
        net = case.net()
        set_values(net, case.fixed)
        set_values(net, best.settings)
        run(net)
        assert set(best.controls) >= set(case.controls)
        loss_mw = net.res_line.pl_mw.sum()
        if best.objectives == ("p_loss_mw",):
            loss_mw += net.res_trafo.pl_mw.sum()
        assert loss_mw == pytest.approx(best.value, abs=1e-7)
        assert best.relaxation_value is not None
        assert best.relaxation_value == pytest.approx(best.value, rel=5e-5)

        assert violation(net.res_bus.vm_pu, net.bus, "vm_pu") < 1e-9
        for table in ("gen", "ext_grid"):
            assert violation(net[f"res_{table}"].q_mvar, net[table], "q_mvar") < 1e-9
            assert violation(net[table].vm_pu, net[table], "vm_pu") == 0.0
        free = net.trafo[net.trafo.tap_min.notna()]
        assert free.tap_pos.between(free.tap_min, free.tap_max).all()
        for table in (net.sgen, net.shunt):
            if "min_q_mvar" in table:
                assert violation(table.q_mvar, table, "q_mvar") == 0.0


@pytest.mark.parametrize(
    ("name", "objective", "slack_is_free", "value_mw"),
    [
        ("ieee6", "line_loss_mw", False, 10.089037),
        ("ieee6", "line_loss_mw", True, 9.261776),
        ("ieee14", "line_loss_mw", False, 13.558364),
        ("ieee14", "line_loss_mw", True, 12.277861),
        ("ieee39", "line_loss_mw", False, 26.312076),
        ("ieee39", "line_loss_mw", True, 26.135174),
        ("ieee39", "p_loss_mw", False, 38.327990),
        ("ieee118", "p_loss_mw", True, 114.8594),
        ("ieee118-v1.10", "p_loss_mw", True, 106.0989),
    ],
)
def test_best_known_values(name: str, objective: str, slack_is_free: bool, value_mw: float) -> None:
    """Values found independently of the reference optimiser of this project."""
    [best] = [
        best
        for best in load_case(name).best_known
        if best.objectives == (objective,) and ("ext_grid" in best.controls) == slack_is_free
    ]
    assert best.value == pytest.approx(value_mw, abs=1e-4 if "118" in name else 2e-6)


def test_best_known_value_of_the_problem(case: Case) -> None:
    problem = ReactivePowerDispatch(case.name)
    best = problem.best_known
    assert best is not None
    assert best.objectives == ("p_loss_mw",)
    out = problem.evaluate(problem.encode(best.settings)[None], return_as_dictionary=True)
    assert out["F"][0, 0] == pytest.approx(best.value, abs=1e-7)
    assert out["G"].max() < 1e-9
    assert problem.n_var == sum(len(values) for values in best.settings.values())


def test_tables_of_the_documentation_are_those_of_the_data() -> None:
    path = Path(__file__).parents[1] / "docs" / "make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    assert spec is not None
    assert spec.loader is not None
    make_tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tables)
    assert {page.name for page in make_tables.PAGES} == {"cases.md", "proven.md"}
    for page in make_tables.PAGES:
        assert page.read_text(encoding="utf-8") == make_tables.page(page)
