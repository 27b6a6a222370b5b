from __future__ import annotations

import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.core.variable import Binary, Choice, Integer, Real, Variable
from scipy.stats import chisquare, kstest

from algorithms._variables import AT_BOUNDS, Variables

MIXED = {
    "x": Real(bounds=(-1.0, 3.0)),
    "k": Integer(bounds=(2, 6)),
    "on": Binary(),
    "size": Choice(options=[0.5, 1.0, 4.0]),
    "type": Choice(options=["a", "b", "c"]),
}


def mixed() -> Variables:
    return Variables(Problem(vars=MIXED))


def test_kinds_and_bounds_come_from_the_declared_variables() -> None:
    v = mixed()
    assert v.names == ["x", "k", "on", "size", "type"]
    np.testing.assert_array_equal(v.lower, [-1, 2, 0, 0, 0])
    np.testing.assert_array_equal(v.upper, [3, 6, 1, 2, 2])
    np.testing.assert_array_equal(v.real, [True, False, False, False, False])
    np.testing.assert_array_equal(v.ordered, [False, True, False, True, False])
    np.testing.assert_array_equal(v.nominal, [False, False, True, False, True])


def test_numbers_in_ascending_or_descending_order_are_ordered_others_are_not() -> None:
    options = [[1, 2, 5], [5.0, 1.0], [1, 5, 2], [False, True], [1, "a"], [1, 1, 2]]
    v = Variables(Problem(vars={i: Choice(options=o) for i, o in enumerate(options)}))
    np.testing.assert_array_equal(v.ordered, [True, True, False, False, False, False])


def test_numeric_bounds_beside_vars_mean_vectors() -> None:
    problem = Problem(vars=MIXED, xl=np.array([-1, 2, 0, 0, 0.0]), xu=np.array([3, 6, 1, 2, 2.0]))
    v = Variables(problem)
    assert not v.takes_dicts
    np.testing.assert_array_equal(
        v.population(np.array([[0.5, 3, 1, 2, 0]]))[0].X, [0.5, 3, 1, 2, 0]
    )


def test_vtype_stands_in_for_missing_vars() -> None:
    whole = Variables(Problem(n_var=2, xl=0, xu=9, vtype=int))
    assert whole.ordered.all()
    assert whole.population(np.array([[1.0, 9.0]]))[0].X.dtype == int
    binary = Variables(Problem(n_var=2, xl=0, xu=1, vtype=bool))
    assert binary.nominal.all()
    assert Variables(Problem(n_var=2, xl=0, xu=1)).real.all()


def test_dicts_hold_native_values_and_come_back() -> None:
    v = mixed()
    row = np.array([[0.25, 4, 1, 2, 1]])
    point = v.population(row)[0].X
    assert point == {"x": 0.25, "k": 4, "on": True, "size": 4.0, "type": "b"}
    assert [type(point[k]) for k in ("x", "k", "on")] == [float, int, bool]
    np.testing.assert_array_equal(v.vectors([point]), row)


def test_snap_clips_and_rounds_into_a_new_array() -> None:
    X = np.array([[9.0, 2.6, -3.0, 1.4, 1.6]])
    np.testing.assert_array_equal(mixed().snap(X), [[3, 3, 0, 1, 2]])
    np.testing.assert_array_equal(X, [[9.0, 2.6, -3.0, 1.4, 1.6]])


def test_every_allowed_value_is_drawn_equally_often() -> None:
    X = mixed().sample(6000, np.random.default_rng(1))
    for column, values in ((1, [2, 3, 4, 5, 6]), (2, [0, 1]), (4, [0, 1, 2])):
        found, counts = np.unique(X[:, column], return_counts=True)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_allclose(counts / 6000, 1 / len(values), atol=0.03)
    assert X[:, 0].min() >= -1.0
    assert X[:, 0].max() <= 3.0
    assert abs(X[:, 0].mean() - 1.0) < 0.1


def test_step_moves_discrete_values_to_the_nearest_other_ones() -> None:
    X = np.tile([0.5, 2.0, 1.0, 2.0, 1.0], (400, 1))
    stepped = mixed().step(X, np.random.default_rng(2))
    assert set(stepped[:, 0]) == {0.5}
    assert set(stepped[:, 1]) == {3.0}
    assert set(stepped[:, 2]) == {0.0}
    assert set(stepped[:, 3]) == {1.0}
    assert set(stepped[:, 4]) == {0.0, 2.0}


@pytest.mark.parametrize("at_bounds", AT_BOUNDS)
def test_pitch_stays_within_the_distance_and_is_right_on_average(at_bounds: str) -> None:
    v = mixed()
    X = np.tile([1.0, 4.0, 1.0, 1.0, 1.0], (20_000, 1))
    pitched = v.pitch(X, np.array([0.1, 0.1, 0.3, 0.25, 0.3]), at_bounds, np.random.default_rng(3))
    assert np.abs(pitched[:, 0] - 1.0).max() <= 0.4
    assert set(pitched[:, 1]) == {3.0, 4.0, 5.0}
    # |U(-1, 1) * 0.1 * 4| is 0.2 on average, so one integer in five moves.
    assert np.mean(pitched[:, 1] != 4.0) == pytest.approx(0.2, abs=0.01)
    assert pitched[:, 1].mean() == pytest.approx(4.0, abs=0.01)
    assert np.mean(pitched[:, 2] != 1.0) == pytest.approx(0.3, abs=0.015)
    assert np.mean(pitched[:, 4] != 1.0) == pytest.approx(0.3, abs=0.015)


def test_moves_out_of_the_bounds_are_mirrored_or_clipped() -> None:
    v = Variables(Problem(vars={"x": Real(bounds=(0.0, 1.0)), "k": Integer(bounds=(0, 4))}))
    X, share = np.tile([0.1, 0.0], (20_000, 1)), np.array([0.3, 0.5])
    clipped = v.pitch(X, share, "clip", np.random.default_rng(5))
    mirrored = v.pitch(X, share, "reflect", np.random.default_rng(5))
    # 0.1 + U(-0.3, 0.3) is below 0 with chance 1/3; mirrored it covers (0, 0.2) twice.
    assert np.mean(clipped[:, 0] == 0.0) == pytest.approx(1 / 3, abs=0.01)
    assert not np.isin(mirrored[:, 0], [0.0, 1.0]).any()
    assert np.mean(mirrored[:, 0] < 0.2) == pytest.approx(2 / 3, abs=0.01)
    # From 0 by 2 U(-1, 1), rounded: -2, ..., 2 with chances 1, 2, 2, 2, 1 of 8; -1 becomes 0, -2 1.
    chances = np.bincount(mirrored[:, 1].astype(int), minlength=5) / 20_000
    np.testing.assert_allclose(chances, [4 / 8, 3 / 8, 1 / 8, 0.0, 0.0], atol=0.01)
    assert np.mean(clipped[:, 1] == 0.0) == pytest.approx(5 / 8, abs=0.01)
    inside = (mirrored >= v.lower) & (mirrored <= v.upper)
    assert inside.all()


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_mirrored_moves_leave_every_value_as_likely_as_it_was(share: float) -> None:
    v = Variables(Problem(vars={"x": Real(bounds=(-3.0, 5.0)), "k": Integer(bounds=(2, 6))}))
    rng = np.random.default_rng(6)
    X = v.sample(50_000, rng)
    for _ in range(3):
        X = v.pitch(X, np.full(2, share), "reflect", rng)
    assert kstest(X[:, 0], "uniform", (-3.0, 8.0)).pvalue > 0.01
    assert chisquare(np.bincount(X[:, 1].astype(int))[2:]).pvalue > 0.01
    clipped = v.pitch(X, np.full(2, share), "clip", rng)
    assert kstest(clipped[:, 0], "uniform", (-3.0, 8.0)).pvalue < 1e-6


def test_a_fixed_variable_stays() -> None:
    v = Variables(Problem(vars={"k": Integer(bounds=(3, 3)), "c": Choice(options=["only"])}))
    rng = np.random.default_rng(4)
    X = v.sample(20, rng)
    pitched = [v.pitch(X, np.array([1.0, 1.0]), at_bounds, rng) for at_bounds in AT_BOUNDS]
    for moved in (X, v.step(X, rng), *pitched):
        np.testing.assert_array_equal(moved, np.tile([3.0, 0.0], (20, 1)))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"a": Real(bounds=(2.0, 1.0))}, "'a': lower bound 2.0 above upper bound 1.0"),
        ({"a": Real()}, "'a': bounds must be finite"),
        ({"a": Variable()}, "'a': expected Real, Integer, Binary or Choice, got Variable"),
    ],
)
def test_bad_variables_are_named(variables: dict[str, Variable], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Variables(Problem(vars=variables))


def test_bad_points_are_named() -> None:
    v = mixed()
    with pytest.raises(ValueError, match=r"'type': expected one of .* got 'z'"):
        v.vectors([{"x": 0.0, "k": 2, "on": True, "size": 1.0, "type": "z"}])
    with pytest.raises(ValueError, match="expected vectors of 5 variables"):
        v.vectors([np.zeros(3)])
    with pytest.raises(ValueError, match="expected the variables"):
        v.vectors([{"x": 0.0}])
