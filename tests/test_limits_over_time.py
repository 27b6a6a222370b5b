"""Limits on operations per day and on ramps against sums made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gridproblems import (
    GridProblem,
    Hours,
    Outages,
    ReactivePowerDispatch,
    Reconfiguration,
    Scenarios,
    StorageSchedule,
)
from gridproblems.controls import Taps
from gridproblems.outlook import checked_limits
from gridproblems.testing import check_gradients
from gridproblems.words import limits_of

TAPS = "tap_operations_per_day"


def day_of(n: int, hours: float = 1.0) -> Hours:
    return Hours(n=n, hours=hours)


def dispatch(situations: object, periods: int, limit: float, **more: object) -> GridProblem:
    return GridProblem(
        "ieee14",
        [Taps([0, 1])],
        situations,
        limits={"vm_pu": None, "gen_q_mvar": None, TAPS: limit},
        periods={"taps": periods},
        **more,  # type: ignore[arg-type]
    )


def entries(problem: GridProblem, x: np.ndarray) -> dict[str, float]:
    G = problem.evaluate(x)[1]
    own = [i for i, name in enumerate(problem.constraint_names) if name.endswith(TAPS)]
    return {problem.constraint_names[i]: float(G[i]) for i in own}


def positions(problem: GridProblem, *moves: tuple[float, float]) -> np.ndarray:
    """A vector whose two taps stand so far above their lowest positions, one pair per period."""
    return problem.xl + np.array(moves, dtype=float).ravel()


def test_operations_of_a_day_are_added_up() -> None:
    problem = dispatch(day_of(24), 6, 4)
    x = positions(problem, (0, 0), (2, 1), (1, 1), (1, 1), (3, 1), (3, 0))
    found = entries(problem, x)
    assert list(found) == [f"{problem.grid.label('trafo', i)} {TAPS}" for i in (0, 1)]
    # 2 + 1 + 0 + 2 + 0 = 5 of 4, and 1 + 0 + 0 + 0 + 1 = 2 of 4
    assert list(found.values()) == pytest.approx([(5 - 4) / 4, (2 - 4) / 4], abs=1e-15)
    broken = [v for v in problem.violations(x) if v.name.endswith(TAPS)]
    assert [(v.beyond, v.limit, v.unit) for v in broken] == [(1.0, 4.0, "operations per day")]
    assert f"{TAPS} to 4 operations per day (2)" in map(str, checked_limits(problem))


def test_every_day_of_a_series_counts_by_itself() -> None:
    """Two days of four snapshots of six hours; a change at midnight is of the second day."""
    problem = dispatch(day_of(8, 6.0), 8, 3)
    first_day = [(0, 0), (3, 0), (3, 0), (3, 0)]
    second_day = [(1, 0), (1, 5), (1, 4), (2, 4)]
    found = entries(problem, positions(problem, *first_day, *second_day))
    # 3 in the first day, 2 + 1 in the second; 5 + 1 in the second
    assert list(found.values()) == pytest.approx([0.0, 1.0], abs=1e-15)


def test_no_operation_at_all_can_be_asked_for() -> None:
    problem = dispatch(day_of(2), 2, 0)
    assert list(entries(problem, positions(problem, (1, 0), (1, 2))).values()) == [0.0, 2.0]


def test_scenarios_and_outages_change_no_operations() -> None:
    both = Outages([3]) * Scenarios({"load.p_mw": [0.9, 1.0]}) * day_of(3)
    problem = dispatch(both, 3, 2)
    found = entries(problem, positions(problem, (0, 0), (1, 0), (0, 3)))
    assert list(found.values()) == pytest.approx([0.0, 0.5], abs=1e-15)


def test_one_value_for_all_hours_never_operates() -> None:
    problem = ReactivePowerDispatch(
        "ieee14", situations=day_of(3), limits={TAPS: 8, "vm_pu": None}, controls=["tap"]
    )
    assert set(entries(problem, problem.xu).values()) == {-1.0}


def test_ramps_are_changes_per_hour() -> None:
    """A storage of 0.02 MW that goes from -0.01 to 0.02 within half an hour: 0.06 MW/h."""
    storage = [{"bus": 5, "power_mw": 0.02, "energy_mwh": 0.2}]
    series = {("load", "p_mw"): np.full((4, 17), 0.001)}
    problem = StorageSchedule(
        "lv18",
        storage,
        series=series,
        hours=0.5,
        repair=False,
        limits={"ramp_mw_per_h": 0.04, "vm_pu": None, "loading_percent": None},
    )
    x = problem.base_x.copy()
    x[:] = [-0.01, 0.02, 0.01, 0.0]
    (place,) = [i for i, n in enumerate(problem.constraint_names) if "ramp" in n]
    powers = problem.decode(x).get("storage", "p_mw")[0]
    assert np.abs(np.diff(powers)).max() == pytest.approx(0.03)
    assert problem.evaluate(x)[1][place] == pytest.approx((0.06 - 0.04) / 0.04)
    slopes = problem.gradients(x).dG[place]
    np.testing.assert_allclose(slopes, [-1 / 0.5 / 0.04, 1 / 0.5 / 0.04, 0.0, 0.0])


def test_slopes_of_operations_are_signs_of_changes() -> None:
    problem = dispatch(day_of(6), 3, 2)
    x = positions(problem, (0.25, 1.0), (1.5, 1.0), (1.0, 2.75))
    gradient = problem.gradients(x)
    rows = [i for i, n in enumerate(problem.constraint_names) if n.endswith(TAPS)]
    assert gradient.G[rows] == pytest.approx([(1.25 + 0.5 - 2) / 2, (1.75 - 2) / 2])
    np.testing.assert_allclose(
        2.0 * gradient.dG[rows],  # signs; a position that does not move has a slope of 0 there
        [[-1, 0, 2, 0, -1, 0], [0, 0, 0, -1, 0, 1]],
    )
    shares = np.array([0.4, 0.5, 0.6, 0.5, 0.55, 0.52])
    check_gradients(problem, problem.xl + shares * (problem.xu - problem.xl))


def test_what_cannot_be_limited_over_time_is_refused() -> None:
    taps = [Taps([0, 1])]
    with pytest.raises(ValueError, match=r"tap_operations_per_day: needs hours .* 1 situation "):
        GridProblem("ieee14", taps, limits={TAPS: 8})
    with pytest.raises(ValueError, match=r"shunt_operations_per_day: no control sets steps of"):
        GridProblem("ieee14", taps, day_of(2), limits={"shunt_operations_per_day": 8})
    for wrong in (-1, True, "8", (0, 8), np.inf):
        with pytest.raises(ValueError, match=r"tap_operations_per_day: expected a number of 0"):
            GridProblem("ieee14", taps, day_of(2), limits={TAPS: wrong})
    with pytest.raises(ValueError, match="emergency_limits: tap_operations_per_day"):
        GridProblem("ieee14", taps, day_of(2), emergency_limits={TAPS: 8})
    plain = GridProblem("ieee14", taps, day_of(2), limits={TAPS: None})
    assert not [name for name in plain.constraint_names if name.endswith(TAPS)]


def test_limits_of_the_grid_that_are_no_quantities_tell_problems_apart() -> None:
    given: list[dict[str, object]] = [
        {},
        {"radial": True},
        {"loading_margin_percent": 5},
        {"loading_margin_percent": 10},
    ]
    prints = [
        GridProblem("ieee14", [Taps([0, 1])], limits=limits).fingerprint() for limits in given
    ]
    again = GridProblem("ieee14", [Taps([0, 1])], limits=given[1]).fingerprint()
    assert len(set(prints)) == len(given)
    assert again == prints[1]


def test_limits_over_time_tell_problems_apart_and_come_in_words() -> None:
    one, other = dispatch(day_of(4), 4, 3), dispatch(day_of(4), 4, 4)
    assert one.fingerprint() != other.fingerprint()
    assert limits_of(["tap_operations_per_day=8"]) == {TAPS: 8.0}
    assert TAPS in str(one)
    aggregated = dispatch(day_of(4), 4, 3, aggregate=True)
    assert TAPS in aggregated.constraint_names


def test_switch_operations_by_hand() -> None:
    problem = Reconfiguration(
        "case33bw",
        situations=Hours(load=[1.0, 0.9, 0.8, 0.9]),
        periods=4,
        limits={"switch_operations_per_day": 2, "vm_pu": None, "loading_percent": None},
    )
    base = [32, 33, 34, 35, 36]
    one, other = (problem.encode_open_lines(lines) for lines in (base, [6, *base[1:]]))
    quarter = len(one) // 4
    x = np.concatenate([one[:quarter], other[:quarter], one[:quarter], other[:quarter]])
    _, g = problem.evaluate(x)
    entries = dict(zip(problem.constraint_names, g, strict=True))
    moved = {name for name, value in entries.items() if value > -1.0 and "switch" in name}
    assert len(moved) == 2  # lines 6 and 32, thrice each: (3 - 2) / 2
    assert all(entries[name] == 0.5 for name in moved)
