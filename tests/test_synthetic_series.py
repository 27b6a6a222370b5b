"""The synthetic day and year, and shapes in time, by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gridproblems import DERPlacement, GridProblem, Hours, ReactivePowerDispatch, StorageSchedule
from gridproblems.controls import Setpoints, Units
from gridproblems.grids import NetGrid
from gridproblems.nets.synthetic import HOUSEHOLDS, load_shapes, pv_shape
from gridproblems.situations import Situations, axes_of
from gridproblems.state import Settings


def table(settings: Settings, name: str, column: str) -> np.ndarray:
    """One column per element, one row per situation."""
    return np.column_stack(list(settings.get(name, column).values()))


@pytest.mark.parametrize("case", HOUSEHOLDS)
@pytest.mark.parametrize(("name", "n"), [("day", 24), ("year", 8760)])
def test_every_case_has_a_day_and_a_year(case: str, name: str, n: int) -> None:
    grid = NetGrid(case)
    (axis,) = (a.bind(grid) for a in axes_of(f"hours:{name}"))
    assert len(axis) == n
    assert axis.is_time
    again = Hours(name).bind(NetGrid(case))
    for one, other in zip(axis.deltas, again.deltas, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    loads = load_shapes(name, case, len(grid.net.load))
    assert loads.max() == 1.0
    assert loads.min() > 0.05
    sun = axis.drivers["pv"]
    assert sun.max() <= 1.0
    assert sun.min() == 0.0
    assert not sun.reshape(-1, 24)[:, [0, 1, 2, 22, 23]].any()


def test_the_formulas_of_a_day() -> None:
    """A load that were a household alone peaks in the evening; the sun on June 21 at noon is 1."""
    share = np.random.default_rng(1).uniform(0.6, 1.0, 32)
    day = load_shapes("day", "case33bw", 32)
    h = np.arange(24.0)
    house = 0.40 + 0.25 * np.exp(-(((h - 7.5) / 1.8) ** 2) / 2)
    house += 0.10 * np.exp(-(((h - 13.0) / 2.0) ** 2) / 2)
    house += 0.60 * np.exp(-(((h - 19.5) / 2.6) ** 2) / 2)
    # around the clock: hours before 7.5 of this bell are those of the evening before
    house[:8] += 0.60 * np.exp(-(((h[:8] + 4.5) / 2.6) ** 2) / 2)
    work = 0.35 + 0.65 / (1 + np.exp(-(h - 7) / 0.8)) / (1 + np.exp(h - 18))
    mixed = share * (house / house.max())[:, None] + (1 - share) * (work / work.max())[:, None]
    np.testing.assert_allclose(day, mixed / mixed.max(), atol=2e-5)
    assert pv_shape("day")[12] == 1.0
    assert 1000.0 < pv_shape("year").sum() < 1400.0  # full-load hours


def test_loads_and_generators_of_a_day_reach_the_power_flow() -> None:
    problem = ReactivePowerDispatch("ieee57", situations=Hours("day"))
    settings = problem.decode(problem.base_x)
    net = problem.grid.given
    factors = load_shapes("day", "ieee57", len(net.load))
    np.testing.assert_allclose(table(settings, "load", "p_mw"), factors * net.load.p_mw.to_numpy())
    total = factors @ net.load.p_mw.to_numpy() / net.load.p_mw.sum()
    np.testing.assert_allclose(table(settings, "gen", "p_mw"), np.outer(total, net.gen.p_mw))
    assert problem.base_state.converged.all()
    low_voltage = StorageSchedule(
        "lv18", [{"bus": 5, "power_mw": 0.02, "energy_mwh": 0.04}], situations=Hours("day")
    )
    shapes = {"load": load_shapes("day", "lv18", 17), "sgen": pv_shape("day")[:, np.newaxis]}
    day = low_voltage.decode(low_voltage.base_x)
    for delta in NetGrid("lv18").series(None):
        name = delta.field.table
        peaks = delta.values.max(axis=0)
        np.testing.assert_allclose(table(day, name, "p_mw"), shapes[name] * peaks)


def test_shapes_multiply_all_loads_and_drive_pv() -> None:
    problem = GridProblem(
        "case33bw", [Units("pv", 1)], Hours(load=[0.5, 1.0], pv=[0.0, 0.4]), ["p_loss_kw"]
    )
    x = problem.xu
    settings = problem.decode(x)
    net = problem.grid.given
    expected = np.outer([0.5, 1.0], net.load.q_mvar)
    np.testing.assert_allclose(table(settings, "load", "q_mvar"), expected)
    assert problem.situations.driver("pv").tolist() == [0.0, 0.4]  # type: ignore[union-attr]
    assert Hours(load=[0.5, 1.0]) == Hours({"load": [0.5, 1.0]})
    each = np.linspace(0.5, 1.0, 64).reshape(2, 32)
    own = GridProblem("case33bw", [Units("pv", 1)], Hours(load=each, pv=[0.0, 0.4]))
    powers = table(own.decode(own.xl), "load", "p_mw")
    np.testing.assert_allclose(powers, each * net.load.p_mw.to_numpy())


def test_series_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no series is called 'dya' \(did you mean 'day'\?\)"):
        Situations([Hours("dya").bind(NetGrid("ieee57"))])
    with pytest.raises(ValueError, match=r"case69 has none; cases with one: ieee30, ieee57"):
        Hours("day").bind(NetGrid("case69"))
    with pytest.raises(ValueError, match="load: expected it in series or by itself"):
        Hours({"load": [1.0]}, load=[1.0])
    with pytest.raises(ValueError, match=r"series load.p_mw: expected finite numbers of shape"):
        Hours(load=np.ones((2, 3))).bind(NetGrid("ieee57"))
    with pytest.raises(ValueError, match="a feeder has no series of that name"):
        GridProblem("ieee123", ["regulators"], Hours("day"))
    with pytest.raises(ValueError, match="profile: cannot go with situations"):
        DERPlacement("case33bw", 1, situations=Hours("day"), profile=[1.0])
    with pytest.raises(ValueError, match="expected 3 rows as in the first table, got 2"):
        GridProblem("ieee57", [Setpoints()], Hours(load=[1.0] * 3, pv=[1.0] * 2))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"load": ["a", 1.0]}, "series load.p_mw: expected a list of finite numbers, got"),
        ({"load": [["a"]]}, r"series load.p_mw: expected finite numbers of shape \(n_snapshots, 2"),
        ({"load": [1.0, 1.0], "pv": ["a", 1.0]}, "series pv: expected a list of finite numbers"),
        ({"load": [1.0, 1.0], "pv": [object(), 1.0]}, "series pv: expected a list of finite"),
    ],
)
def test_shapes_that_are_no_numbers_are_named(shapes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridProblem("ieee30", ["taps"], Hours(**shapes))
