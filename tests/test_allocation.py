"""Allocation: convention, codec, objectives by hand, limits, moves, results and bad input."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower.auxiliary import pandapowerNet
from pymoo.optimize import minimize
from scipy.stats import spearmanr

from algorithms import ALGORITHMS
from algorithms.permutation import order_ga, permutation_ga
from gridproblems.cases import load_case
from gridproblems.objectives import OBJECTIVES
from gridproblems.state import GridState, Layout, Settings
from gridproblems.tasks.allocation import DERAllocation

OVER_TIME = [n for n in OBJECTIVES if n.startswith(("line_loading", "energy", "exchange"))]


@pytest.fixture(scope="module")
def problem() -> DERAllocation:
    return DERAllocation()


def permutations(problem: DERAllocation, n: int, seed: int = 1) -> np.ndarray:
    return problem.snap(np.random.default_rng(seed).random((n, problem.n_var)))


def tables() -> dict[str, pd.DataFrame]:
    profiles = load_case("lv18").profiles
    return {kind: pd.read_csv(path).drop(columns="hour") for kind, path in profiles.items()}


def test_the_network_is_that_of_the_study() -> None:
    net = load_case("lv18").net()
    assert list(zip(net.line.from_bus, net.line.to_bus, strict=True)) == [
        (2, 3), (2, 10), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (10, 11), (11, 12),
        (12, 13), (13, 14), (14, 15), (15, 16), (16, 17), (17, 18),
    ]  # fmt: skip
    assert (net.line.r_ohm_per_km * net.line.length_km).to_numpy() == pytest.approx(0.0642)
    assert (net.line.max_i_ka == 0.142).all()
    assert net.trafo.loc[0, ["hv_bus", "lv_bus", "sn_mva", "vk_percent"]].tolist() == [1, 2, 0.4, 6]
    assert net.ext_grid.vm_pu.tolist() == [1.02]
    for table in (net.load, net.sgen):
        assert table.bus.tolist() == list(range(2, 19))
        assert (table.q_mvar == 0.005).all()
    assert set(net.bus.min_vm_pu) == {0.95}
    assert set(net.bus.max_vm_pu) == {1.05}
    assert set(net.line.max_loading_percent) == set(net.trafo.max_loading_percent) == {100}


def test_profile_k_goes_to_element_order_k(problem: DERAllocation) -> None:
    x = permutations(problem, 1)[0]
    generation, load = x[:17].astype(int), x[17:].astype(int)
    given = tables()
    settings = problem.decode(x)
    assert settings.n_snapshots == 24
    for k in range(17):
        at = settings.get("sgen", "p_mw")[generation[k]]
        np.testing.assert_array_equal(at, given["generation"].iloc[:, k])
        np.testing.assert_array_equal(
            settings.get("load", "p_mw")[load[k]], given["load"].iloc[:, k]
        )


def test_identity_is_before_and_agrees_with_runpp(problem: DERAllocation) -> None:
    given, net = tables(), load_case("lv18").net()
    total = 0.0
    for hour in range(24):
        net.sgen["p_mw"] = given["generation"].iloc[hour].to_numpy()
        net.load["p_mw"] = given["load"].iloc[hour].to_numpy()
        pp.runpp(net, tolerance_mva=1e-12)
        total += net.res_line.loading_percent.max()
    assert problem.base_values()[0] == pytest.approx(total, abs=1e-7)
    assert problem.evaluate(problem.base_x)[0][0] == pytest.approx(total, abs=1e-7)
    np.testing.assert_array_equal(problem.base_x, np.tile(np.arange(17), 2))
    assert problem.permutation_blocks == (17, 17)


def test_random_allocations_have_the_known_mean(problem: DERAllocation) -> None:
    f, g = problem.evaluate(permutations(problem, 2000))
    assert f.mean() == pytest.approx(99.5, abs=0.4)
    assert (g <= 0).all()


# -- codec ---------------------------------------------------------------------------------


def test_ranks_stand_for_permutations(problem: DERAllocation) -> None:
    keys = np.random.default_rng(2).uniform(-3, 40, (6, 34))
    keys[0, :17] = 1.0  # all alike: their order
    ranks = problem.snap(keys)
    np.testing.assert_array_equal(ranks[0, :17], np.arange(17))
    for row, order in zip(keys, ranks, strict=True):
        for part in (slice(0, 17), slice(17, 34)):
            np.testing.assert_array_equal(np.sort(order[part]), np.arange(17))
            assert (np.diff(row[part][order[part].argsort()]) >= 0).all()
    np.testing.assert_array_equal(problem.snap(ranks), ranks)
    np.testing.assert_array_equal(problem.snap(keys[3]), ranks[3])


def test_batches_and_single_vectors_agree(problem: DERAllocation) -> None:
    X = permutations(problem, 5)
    batch = problem.profiles.codec.decode(X)
    assert batch.values.shape == (5, 24, 34)
    for i, x in enumerate(X):
        np.testing.assert_array_equal(problem.profiles.codec.decode(x).values, batch.values[i])


def test_encode_is_the_inverse(problem: DERAllocation) -> None:
    for x in permutations(problem, 3):
        np.testing.assert_array_equal(problem.encode(problem.decode(x)), x)
        np.testing.assert_array_equal(problem.encode(problem.apply(x, 12)), x)
    orders = {"sgen": x[:17].astype(int), "load": x[17:].astype(int)}
    by_number = {
        (table, "profile"): {element: float(k) for k, element in enumerate(order)}
        for table, order in orders.items()
    }
    np.testing.assert_array_equal(problem.encode(by_number), x)
    noon = DERAllocation(**{kind: table.iloc[[12]] for kind, table in tables().items()})
    settings = noon.decode(x)
    np.testing.assert_array_equal(noon.encode(settings), x)
    np.testing.assert_array_equal(noon.encode(settings.as_mapping()), x)


def test_equal_profiles_can_be_encoded() -> None:
    load = tables()["load"]
    load.iloc[:, 3] = load.iloc[:, 8]
    problem = DERAllocation(load=load)
    x = permutations(problem, 1)[0]
    again = problem.encode(problem.decode(x))
    np.testing.assert_array_equal(problem.decode(again).values, problem.decode(x).values)


def test_what_is_no_allocation_cannot_be_encoded(problem: DERAllocation) -> None:
    settings = problem.decode(problem.base_x)
    values = settings.values.copy()
    values[:, 5] = values[:, 4]
    with pytest.raises(ValueError, match=r"sgen\.p_mw: not a permutation .* sgen 5 are none"):
        problem.encode(Settings(settings.fields, values))
    with pytest.raises(ValueError, match=r"an array of \(24, 34\), got \(34,\)"):
        problem.encode(Settings(settings.fields, values[3]))
    net = problem.apply(problem.base_x)
    net.load.loc[3, "profile"] = "7"
    with pytest.raises(ValueError, match="load: not a permutation of the profiles"):
        problem.encode(net)
    with pytest.raises(ValueError, match=r"sgen\.p_mw: no value given for element 0"):
        problem.encode({("load", "p_mw"): {0: 0.0}})


# -- objectives and limits -----------------------------------------------------------------


def test_objectives_over_time_by_hand() -> None:
    lengths = {"line_loss_mw": 2, "line_loading_percent": 2, "ext_grid_p_mw": 2}
    layout = Layout(lengths)
    layout.join("branch_loss_mw", "line_loss_mw", "line_loss_mw")
    one = [
        [0.001, 0.002, 10.0, 30.0, 0.5, 0.1],
        [0.002, 0.003, 50.0, 20.0, -0.9, 0.1],
        [0.000, 0.001, 15.0, 5.0, 0.1, 0.1],
    ]
    values = np.array([one, np.array(one) * 2])
    state = GridState(layout, values, np.ones((2, 3), bool), np.zeros((2, 3), int))
    half_hours = {kind: table.iloc[:3] for kind, table in tables().items()}
    situations = DERAllocation(**half_hours, hours=0.5).situations
    expected = {
        "line_loading_sum_percent": 30 + 50 + 15,
        "line_loading_max_percent": 50,
        "energy_loss_kwh": 0.5 * (3 + 5 + 1),
        "exchange_energy_kwh": 0.5 * (600 + 800 + 200),
        "exchange_peak_kw": 800,
    }
    assert set(expected) == set(OVER_TIME)
    for name, value in expected.items():
        objective, none = OBJECTIVES[name], Settings.from_mapping({})
        np.testing.assert_allclose(objective(none, state, situations), [value, 2 * value])
        assert objective(none, state.candidate(0), situations) == pytest.approx(value)


def test_all_objectives_and_hours() -> None:
    names = (*OVER_TIME, "voltage_deviation_pu", "loading_percent", "p_loss_kw")
    one, quarter = DERAllocation(objectives=names), DERAllocation(objectives=names, hours=0.25)
    ratio = quarter.base_values() / one.base_values()
    energies = ["energy" in name for name in names]
    np.testing.assert_allclose(ratio, np.where(energies, 0.25, 1.0))
    f = dict(zip(names, one.base_values(), strict=True))
    assert f["energy_loss_kwh"] == pytest.approx(24 * f["p_loss_kw"])
    generated, used = tables()["generation"].sum(axis=1), tables()["load"].sum(axis=1)
    exchange = np.abs(used - generated).sum() * 1e3
    assert f["exchange_energy_kwh"] == pytest.approx(exchange, abs=f["energy_loss_kwh"])
    assert one.objective_units == ("%", "%", "kWh", "kWh", "kW", "p.u.", "%", "kW")


def test_limits_of_the_worst_or_of_every_snapshot(problem: DERAllocation) -> None:
    worst, every = problem, DERAllocation(every_snapshot=True)
    x = permutations(problem, 4)
    _, g = worst.evaluate(x)
    _, g_every = every.evaluate(x)
    n = len(worst.constraint_names) - 1
    assert n == 2 * 18 + 16 + 1
    assert g_every.shape == (4, 1 + 24 * n)
    np.testing.assert_allclose(g_every[:, 1:].reshape(4, 24, n).max(axis=1), g[:, 1:])
    assert every.constraint_names[1] == "bus 1 vm_pu max at 0"
    state = problem.solve(x[0])
    highest = state.vm_pu[:, -1].max()
    place = worst.constraint_names.index("bus 18 vm_pu max")
    assert g[0, place] == pytest.approx((highest - 1.05) / 0.1)
    tight = DERAllocation(limits={"vm_pu": None, "loading_percent": 7.0})
    loading = np.concatenate([state.line_loading_percent, state.trafo_loading_percent], axis=1)
    np.testing.assert_allclose(tight.evaluate(x[0])[1][1:], (loading.max(axis=0) - 7.0) / 7.0)


# -- moves ---------------------------------------------------------------------------------


def test_neighbours_are_swaps(problem: DERAllocation) -> None:
    x = permutations(problem, 1)[0]
    near = problem.neighbours(x)
    assert len(near) == 150
    assert len(np.unique(near, axis=0)) == 150
    changed = near != x
    assert (changed.sum(axis=1) == 2).all()
    assert (changed[:, :17].sum(axis=1) % 2 == 0).all()
    np.testing.assert_array_equal(problem.snap(near), near)
    np.testing.assert_array_equal(problem.neighbours(x, 12), near[:12])


@pytest.mark.parametrize(
    "objective",
    ["line_loading_sum_percent", "energy_loss_kwh", "exchange_peak_kw", "voltage_deviation_pu"],
)
def test_neighbours_come_in_the_order_of_their_values(objective: str) -> None:
    problem = DERAllocation(objectives=objective)
    for x in permutations(problem, 3):
        near = problem.neighbours(x)
        f, _ = problem.evaluate(near)
        assert spearmanr(f[:, 0], np.arange(len(f)))[0] > 0.95
        assert f[:12].min() < problem.evaluate(x)[0][0]


def test_violations_come_before_the_objective() -> None:
    problem = DERAllocation(objectives="energy_loss_kwh", limits={"vm_pu": (0.95, 1.037)})
    x = problem.base_x
    before = np.maximum(problem.evaluate(x)[1], 0).sum()
    assert before > 0
    _, g = problem.evaluate(problem.neighbours(x))
    violation = np.maximum(g, 0).sum(axis=1)
    assert violation[:12].max() < before
    assert spearmanr(violation, np.arange(len(violation)))[0] > 0.9


# -- a net of your own, results, algorithms ------------------------------------------------


def street(n_homes: int = 3) -> pandapowerNet:
    """A source at 0.4 kV and homes along a cable, each with a load, the first with a roof."""
    net = pp.create_empty_network(sn_mva=1.0, name="street")
    pp.create_buses(net, n_homes + 1, 0.4)
    pp.create_ext_grid(net, 0)
    for home in range(n_homes):
        pp.create_line(net, home, home + 1, 0.1, "NAYY 4x50 SE")
        pp.create_load(net, home + 1, p_mw=0.0)
    pp.create_sgen(net, 1, p_mw=0.002)
    return net


def test_loads_alone_of_your_own_net() -> None:
    net = street()
    net.load.loc[1, "in_service"] = False
    load = pd.DataFrame({"big": [0.03, 0.02], "small": [0.01, 0.02]})
    problem = DERAllocation(net, load=load, objectives="energy_loss_kwh")
    assert problem.n_var == 2
    assert problem.permutation_blocks == (2,)
    assert problem.profiles.codec.fields[0].elements == (0, 2)
    f, _ = problem.evaluate(np.array([[0.0, 1.0], [1.0, 0.0]]))  # the big one near, or far
    assert f[0] < f[1]
    np.testing.assert_array_equal(problem.neighbours(problem.base_x), [[1, 0]])
    table = problem.describe([1.0, 0.0])
    assert table.new.tolist() == ["small", "big"]
    assert table.base.tolist() == ["big", "small"]
    assert table.bus.tolist() == [1, 3]
    assert table.energy_kwh.tolist() == pytest.approx([30.0, 50.0])
    solved = problem.apply([1.0, 0.0], 1)
    assert solved.load.profile.dropna().to_dict() == {0: "small", 2: "big"}
    assert solved.load.p_mw.tolist() == [0.02, 0.0, 0.02]


def test_many_swaps_and_snapshots_are_ranked_by_a_part_of_them() -> None:
    random = np.random.default_rng(4)
    sizes = random.random(30)  # of the homes: a part of the day tells them apart
    problem = DERAllocation(street(30), load=0.002 * sizes * random.random((200, 30)))
    x = permutations(problem, 1)[0]
    near = problem.neighbours(x)
    assert len(near) == 150 < 30 * 29 / 2
    np.testing.assert_array_equal(problem.neighbours(x), near)
    f, _ = problem.evaluate(near)
    assert spearmanr(f[:, 0], np.arange(150))[0] > 0.8


def test_describe_write_and_figures(problem: DERAllocation, tmp_path: Path) -> None:
    x = permutations(problem, 1)[0]
    table = problem.describe(x)
    assert len(table) == 34
    k = int(np.flatnonzero(x[:17] == 4)[0])  # the profile at sgen 4
    row = table[table.control == "generation of sgen 4 (household 6)"].iloc[0]
    assert (row.bus, row.base, row.new) == (6, "4", str(k))
    problem.write(x, tmp_path)
    generation = pd.read_csv(tmp_path / "generation_p_mw.csv", index_col="snapshot")
    np.testing.assert_allclose(generation["sgen 4"], tables()["generation"].iloc[:, k], rtol=1e-12)
    net = pp.from_json(str(tmp_path / "net.json"))
    state = problem.solve(x)
    worst = state["branch_loading_percent"].max(axis=1).argmax()
    np.testing.assert_allclose(net.res_bus.vm_pu, state.vm_pu[worst], atol=1e-8)
    figures = problem.figures(x)
    assert set(figures) == {"line_loading", "voltage_band", "map"}
    (axes,) = figures["line_loading"].axes
    steps = {patch.get_label(): patch.get_data().values for patch in axes.patches}
    np.testing.assert_allclose(steps["after"], state.line_loading_percent.max(axis=1))
    assert steps["before"].sum() == pytest.approx(problem.base_values()[0])
    assert "before sum 118.73 %, highest 10.84 %" in axes.get_title(loc="left")
    limits = {line.get_ydata()[0] for line in figures["voltage_band"].axes[0].lines}
    assert limits == {0.95, 1.05}
    assert len(figures["map"].axes) == 3  # two panels and the colour bar
    assert len(problem.figures(None)["map"].axes) == 2
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")


@pytest.mark.parametrize("name", ["ga", "pso", "de", "cmaes", "hs", "mvmo"])
def test_vector_algorithms_give_allocations(problem: DERAllocation, name: str) -> None:
    result = minimize(problem, ALGORITHMS[name](problem), ("n_evals", 150), seed=1)
    np.testing.assert_array_equal(problem.snap(result.X), result.X)
    assert result.F[0] == problem.evaluate(result.X)[0][0] < 99.5


def test_permutation_algorithms_beat_the_mean_by_far(problem: DERAllocation) -> None:
    study = minimize(problem, order_ga(problem), ("n_gen", 20), seed=1)
    assert study.algorithm.evaluator.n_eval == 200
    assert study.F[0] < 92
    ours = minimize(problem, permutation_ga(problem), ("n_evals", 1500), seed=1)
    assert ours.F[0] < 85.3


def test_best_known(problem: DERAllocation) -> None:
    best = problem.best_known
    assert best is not None
    f, g = problem.evaluate(problem.encode(best.settings))
    assert f[0] == pytest.approx(best.value, abs=1e-7)
    assert (g <= 0).all()
    assert DERAllocation(limits={"vm_pu": None}).best_known is None
    assert DERAllocation(load=tables()["load"]).best_known is None
    assert DERAllocation(objectives="energy_loss_kwh").best_known is None


# -- bad input -----------------------------------------------------------------------------


def spoiled(kind: str, row: int, column: int, value: Any) -> dict[str, pd.DataFrame]:
    table = tables()[kind]
    table.iloc[row, column] = value
    return {kind: table}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load": np.zeros((24, 16))}, r"load: expected 17 columns, one per element, .*\(24, 16\)"),
        ({"load": np.zeros((23, 17))}, "generation has 24 rows and load 23"),
        (spoiled("load", 3, 5, np.nan), "load: column '5' has no finite value in row 3"),
        (spoiled("load", 7, 2, -1e-3), r"load: column '2' is negative in row 7 \(-0\.001\)"),
        (spoiled("generation", 0, 0, -1e-3), "generation: column '0' is negative in row 0"),
        ({"generation": "sun.csv"}, r"generation: no such file: sun\.csv"),
        ({"case": street()}, "generation, load: expected profiles for at least one of them"),
        ({"case": "lv19"}, "no case is called 'lv19'"),
        ({"objectives": ("loss",)}, "unknown objective 'loss'.*line_loading_sum_percent"),
        ({"limits": {"vm": 1}}, r"limits: unknown 'vm'.*; known: vm_pu, loading_percent"),
        ({"hours": 0}, "hours: expected a positive duration, got 0"),
    ],
)
def test_bad_input(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DERAllocation(**options)


def test_kw_as_mw_is_warned_of() -> None:
    load = 1e3 * tables()["load"]
    with pytest.warns(UserWarning, match="load: .* looks like kW, divide it by 1000") as caught:
        DERAllocation(load=load, require_base_solution=False)
    assert caught[0].filename == __file__


def test_what_fails_is_a_finite_worst_value() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = DERAllocation(load=1e3 * tables()["load"], require_base_solution=False)
    f, g = problem.evaluate(permutations(problem, 2))
    assert np.isfinite(f).all()
    assert (g[:, 0] > 0).all()
    assert problem.counts.failed == 2
    assert len(problem.neighbours(problem.base_x, 12)) == 12
