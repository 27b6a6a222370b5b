"""Storages: state of charge by hand, repair of schedules, limits, schedules of a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from nets import two_bus
from pandapower.auxiliary import pandapowerNet
from pymoo.optimize import minimize

from algorithms import ALGORITHMS, MVMO
from gridproblems.controls.state_of_charge import Battery
from gridproblems.tasks.placement import DERPlacement
from gridproblems.tasks.storage import StorageSchedule

LOADS = {("load", "p_mw"): [[1.0], [3.0], [1.0], [3.0]]}
ONE = [{"bus": 1, "power_mw": 1.0, "energy_mwh": 2.0}]


def scheduled(**arguments: Any) -> StorageSchedule:
    """A line with a load of 1 and 3 MW in turn, and a storage of 1 MW and 2 MWh."""
    given: dict[str, Any] = {"storages": ONE, "series": LOADS, **arguments}
    return StorageSchedule(two_bus(), limits={"vm_pu": None, "loading_percent": None}, **given)


# -- what a storage can do --------------------------------------------------------------------


def test_state_of_charge_by_hand() -> None:
    """Efficiency 0.9 each way; 1 h at full power charges 2 h of capacity by 0.45."""
    battery = Battery(round_trip_efficiency=0.81, soc_start=0.2)
    soc = battery.soc(np.array([1.0, -0.5, 0.0]), np.array(2.0), hours=1.0)
    np.testing.assert_allclose(soc, [0.2, 0.65, 0.65 - 0.25 / 0.9, 0.65 - 0.25 / 0.9])


def test_a_round_trip_loses_what_the_efficiency_says() -> None:
    battery = Battery(round_trip_efficiency=0.8)
    soc = battery.soc(np.array([0.5, -0.4]), np.array(1.0), hours=0.5)
    assert soc[-1] == pytest.approx(soc[0])  # 0.25 taken in, 0.8 * 0.25 given back


@pytest.mark.parametrize("efficiency", [1.0, 0.7])
@pytest.mark.parametrize("start", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("duration", [0.4, 3.0, 40.0])
def test_repaired_schedules_are_feasible(efficiency: float, start: float, duration: float) -> None:
    low, high = min(start, 0.1), max(start, 0.9)
    battery = Battery(efficiency, low, high, start)
    share = np.random.default_rng(1).uniform(-1.5, 1.5, (50, 2, 24))
    hours = np.array([duration, 2 * duration])
    repaired = battery.repair(share, hours, 0.5)
    assert np.abs(repaired).max() <= 1
    soc = battery.soc(repaired, np.broadcast_to(hours, (50, 2)), 0.5)
    assert soc.min() >= low - 1e-9
    assert soc.max() <= high + 1e-9
    np.testing.assert_allclose(soc[..., -1], start, atol=1e-9)
    np.testing.assert_array_equal(battery.repair(repaired, hours, 0.5), repaired)
    assert np.ptp(repaired, axis=-1).min() > 0.01


def test_a_feasible_schedule_is_left_alone() -> None:
    share = np.array([0.3, -0.3 * 0.81, 0.0, 0.4, -0.4 * 0.81])
    battery = Battery(round_trip_efficiency=0.81)
    np.testing.assert_array_equal(battery.repair(share, np.array(2.0), 1.0), share)


def test_repair_shifts_all_snapshots_alike() -> None:
    battery = Battery(round_trip_efficiency=1.0)
    repaired = battery.repair(np.array([0.5, 0.1, 0.3, 0.1]), np.array(10.0), 1.0)
    np.testing.assert_allclose(repaired, [0.25, -0.15, 0.05, -0.15], atol=1e-12)


def test_limits_of_the_settings_alone() -> None:
    problem = scheduled(battery={"round_trip_efficiency": 1.0, "soc_max": 0.8}, repair=False)
    x = np.array([1.0, 1.0, -0.4, 0.0])  # of a capacity of 2: 0.5, 1, 1.5, 1.3, 1.3
    g = dict(zip(problem.constraint_names, problem.evaluate(x)[1], strict=True))
    name = "storage at bus 1"
    assert g[f"{name} max"] == pytest.approx(1.5 - 0.8, abs=2e-6)
    assert g[f"{name} min"] == pytest.approx(-0.5, abs=2e-6)
    assert g[f"{name} end"] == pytest.approx(1.3 - 0.5, abs=2e-6)
    assert (problem.evaluate(problem.base_x)[1] <= 0).all()


# -- schedules of a grid ----------------------------------------------------------------------


def test_every_snapshot_against_runpp() -> None:
    problem = scheduled(objectives=("exchange_energy_kwh", "energy_loss_kwh"), hours=0.5)
    x = problem.snap(np.array([0.7, -0.9, 0.8, -0.5]))
    nets = [problem.apply(x, t) for t in range(4)]
    grid_kw = [1e3 * net.res_ext_grid.p_mw.sum() for net in nets]
    loss_kw = [1e3 * net.res_line.pl_mw.sum() for net in nets]
    expected = [0.5 * sum(grid_kw), 0.5 * sum(loss_kw)]
    np.testing.assert_allclose(problem.evaluate(x)[0], expected, rtol=1e-8)
    np.testing.assert_allclose([net.storage.p_mw[0] for net in nets], x)
    soc = problem.schedule(x)["storage at bus 1 soc"]
    assert nets[2].storage.soc_percent[0] == pytest.approx(100 * soc[2])


def test_charging_is_a_load() -> None:
    problem = scheduled(battery={"round_trip_efficiency": 1.0})
    state = problem.solve(np.array([0.5, -0.5, 0.0, 0.0]))
    change = state.ext_grid_p_mw[:, 0] - problem.base_state.ext_grid_p_mw[:, 0]
    np.testing.assert_allclose(change, [0.5, -0.5, 0.0, 0.0], atol=0.05)  # and losses


def test_the_peak_is_shaved_to_the_mean() -> None:
    """Without storage losses a load of 1 and 3 MW in turn becomes 2 MW at all times."""
    problem = scheduled(battery={"round_trip_efficiency": 1.0, "soc_start": 0.4})
    flat = problem.evaluate(np.array([1.0, -1.0, 1.0, -1.0]))[0][0]
    result = minimize(problem, MVMO(local_search=False), ("n_evals", 2000), seed=1)
    assert result.CV[0] == 0
    assert flat <= result.F[0] < 1.001 * flat
    assert flat < 0.68 * problem.base_values()[0]


def test_the_linear_start_by_hand() -> None:
    """Efficiency 0.9 each way: what is charged with 1 MW comes back with 0.81 MW."""
    problem = scheduled(battery={"round_trip_efficiency": 0.81})
    np.testing.assert_allclose(problem.starts, [[1.0, -0.81, 1.0, -0.81]], atol=1e-6)


@pytest.mark.parametrize("objectives", [("energy_loss_kwh",), ("exchange_peak_kw", "p_loss_kw")])
def test_no_linear_start_without_a_largest_value(objectives: tuple[str, ...]) -> None:
    assert scheduled(objectives=objectives).starts.shape == (0, 4)


def test_a_linear_start_does_not_charge_and_discharge_at_once() -> None:
    """Burning energy would shave the peak of what is fed in; a storage has no way to do that."""
    series = {("load", "p_mw"): np.ones((4, 1)), ("sgen", "p_mw"): np.full((4, 1), 4.0)}
    limits = {"vm_pu": None, "loading_percent": None}
    problem = StorageSchedule(two_bus(), ONE, limits=limits, series=series)
    np.testing.assert_allclose(problem.starts, np.zeros((1, 4)), atol=1e-6)


@pytest.mark.parametrize("algorithm", ["sqp", "hs", "mvmo"])
def test_a_peak_over_a_day_in_a_few_evaluations(algorithm: str) -> None:
    """The best known value is that of linear programmes at the solution before, until it stays."""
    places = [{"bus": bus, "power_mw": 0.003, "energy_mwh": 0.009} for bus in (9, 18)]
    problem = StorageSchedule("lv18", places)
    best_known = 9.96377
    (start,) = problem.starts
    f, g = problem.evaluate(start)
    assert f[0] <= 1.006 * best_known
    assert (g <= 0).all()
    result = minimize(problem, ALGORITHMS[algorithm](problem), ("n_eval", 40), seed=1)
    assert result.F[0] <= 1.0005 * best_known
    assert (problem.evaluate(result.X)[1] <= 0).all()


def test_two_storages_of_a_net() -> None:
    net = with_storages()
    problem = StorageSchedule(net, series=LOADS, limits={"vm_pu": None, "loading_percent": None})
    assert problem.schedules.codec.names == ("storage 0 (a)", "storage 2 (c)")
    np.testing.assert_allclose(problem.schedules.codec.power_mw, [0.5, 0.3])
    described = problem.describe(np.array([0.2, -0.1, 0.0, 0.0, 0.3, -0.2, 0.1, -0.1]))
    assert described["energy_mwh"].tolist() == pytest.approx([2.0, 0.9])
    assert described["bus"].tolist() == [1, 1]
    x = problem.snap(np.random.default_rng(2).uniform(problem.xl, problem.xu))
    applied = problem.apply(x, 3)
    np.testing.assert_array_equal(problem.encode(applied), x)
    np.testing.assert_array_equal(problem.encode(problem.decode(x)), x)
    assert applied.storage.p_mw.tolist() == pytest.approx([x[3], 0.1, x[7]])


def with_storages() -> pandapowerNet:
    net = two_bus()
    pp.create_storage(net, 1, p_mw=0.0, max_e_mwh=2.0, sn_mva=0.5, name="a")
    pp.create_storage(net, 1, p_mw=0.1, max_e_mwh=2.0, in_service=False, name="b")
    pp.create_storage(net, 1, p_mw=0.0, max_e_mwh=0.9, min_p_mw=-0.3, max_p_mw=0.2, name="c")
    return net


def test_placed_and_scheduled_storages_are_the_same() -> None:
    schedule = scheduled()
    placed = DERPlacement(
        two_bus(),
        1,
        "storage",
        ("exchange_peak_kw",),
        {"vm_pu": None, "loading_percent": None},
        series=LOADS,
    )
    shares = np.array([0.6, -0.7, 0.5, -0.4])
    x = np.concatenate([[0.0, 1.0], shares])
    f, g = placed.evaluate(x)
    assert f[0] == pytest.approx(schedule.evaluate(shares)[0][0], abs=1e-9)
    assert (g <= 0).all()
    np.testing.assert_allclose(placed.snap(x)[2:], schedule.snap(shares), atol=1e-12)


# -- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"series": None}, "a storage cannot return to its start within one snapshot"),
        ({"series": {("load", "p_mw"): [[1.0]]}}, "cannot return to its start within one"),
        ({"storages": None}, "the net has no storage in service"),
        ({"storages": []}, "storages: expected bus, power_mw and energy_mwh"),
        ({"storages": [{"bus": 1, "power_mw": 1.0}]}, "energy_mwh is missing"),
        ({"storages": [{**ONE[0], "bus": 7}]}, "storages: the net has no bus 7 in service"),
        ({"storages": [{**ONE[0], "energy_mwh": 0.0}]}, "storage at bus 1: expected a positive"),
        ({"battery": {"soc_start": 0.1, "soc_min": 0.2}}, "cannot return to its start 0.1"),
        ({"battery": {"soc_max": 1.2}}, "soc_max: expected a share of the capacity"),
        ({"hours": -1.0}, "hours"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scheduled(**arguments)


@pytest.mark.parametrize(
    ("p_mw", "message"),
    [
        ([0.5, 0.0, 0.0, 0.0], "storage at bus 1: does not return to its start: .* 0.737171"),
        ([0.9, 0.9, 0.0, 0.0], "state of charge 1.35381 after snapshot 1 is not within"),
        ([1.5, 0.0, 0.0, 0.0], "power 1.5 of its rating in snapshot 0"),
        ([0.0, np.nan, 0.0, 0.0], "power nan of its rating in snapshot 1"),
        ([0.0, 0.0], "schedule: expected 4 rows, got 2"),
    ],
)
def test_schedules_that_cannot_be(p_mw: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scheduled().encode_schedule(pd.DataFrame({"storage at bus 1 p_mw": p_mw}))


def test_a_placed_storage_that_cannot_return_is_named() -> None:
    problem = DERPlacement(two_bus(), 1, "storage", series=LOADS)
    schedule = pd.DataFrame({"storage 1 p_share": [0.5, 0.0, 0.0, 0.0]})
    with pytest.raises(ValueError, match="storage 1: does not return to its start"):
        problem.encode_units([{"bus": 1, "size": 1.0}], schedule)
    with pytest.raises(ValueError, match="column 'storage 1 p_share' is missing"):
        problem.encode_units([{"bus": 1, "size": 1.0}], schedule.add_suffix("?"))
    with pytest.raises(ValueError, match=r"expected an array of \(4, 1\), got \(3, 1\)"):
        problem.encode_units([{"bus": 1, "size": 1.0}], schedule[:3])


def test_settings_and_nets_without_a_schedule() -> None:
    problem = scheduled()
    with pytest.raises(ValueError, match="a table 'storage_schedule', as apply gives"):
        problem.encode(two_bus())
    with pytest.raises(ValueError, match="use encode_schedule"):
        problem.encode({("storage", "p_mw"): {0: 0.1}})
    with pytest.raises(ValueError, match="column 'storage at bus 1 p_mw' is missing"):
        problem.encode_schedule(pd.DataFrame({"p_mw": [0.0] * 4}))


def test_files_and_figures(tmp_path: Path) -> None:
    problem = scheduled()
    x = problem.snap(np.array([0.7, -0.9, 0.8, -0.5]))
    problem.write(x, tmp_path)
    written = pd.read_csv(tmp_path / "schedule.csv")
    np.testing.assert_allclose(written["storage at bus 1 p_mw"], x, rtol=1e-12)
    read = pp.from_json(str(tmp_path / "net.json"))
    np.testing.assert_allclose(problem.encode(read), x, rtol=1e-9)
    figures = problem.figures(x)
    upper, lower = figures["schedule"].axes
    np.testing.assert_allclose(upper.lines[0].get_ydata()[:-1], 1e3 * x)
    soc = problem.schedule(x)["storage at bus 1 soc"]
    np.testing.assert_allclose(lower.lines[0].get_ydata(), [50.0, *(100 * soc)])
    assert set(problem.figures(None)) == {"line_loading", "voltage_band"}


def test_a_schedule_within_the_tolerance_of_the_constraints_is_not_repaired() -> None:
    storages = [{"bus": bus, "power_mw": 0.003, "energy_mwh": 0.009} for bus in (9, 18)]
    problem = StorageSchedule("lv18", storages)
    x = problem.snap(np.random.default_rng(1).uniform(0.1 * problem.xl, 0.1 * problem.xu))
    x[3] += 4e-7 * 0.009  # less than a millionth of the capacity too much at the end
    F, G, _, _ = problem.gradients(x)
    assert 0.0 < abs(problem.schedule(x)["storage at bus 9 soc"].iloc[-1] - 0.5) < 1e-6
    assert (G <= 0.0).all()
    assert np.array_equal(problem.snap(x), x)
    assert np.array_equal(problem.evaluate(x)[0], F)
    x[3] += 4e-6 * 0.009
    assert (problem.gradients(x).G > 0.0).any()
    assert not np.array_equal(problem.snap(x), x)
