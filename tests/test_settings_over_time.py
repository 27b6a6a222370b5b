"""Settings over time as vectors again: every kind of control, also beside others, by value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gridproblems import GridProblem, Reconfiguration
from gridproblems.controls import Profiles, Schedules, Setpoints, Switching, Taps, Units
from gridproblems.grids import NetGrid
from gridproblems.situations import Hours, Outages, Scenarios
from gridproblems.state import Settings
from gridproblems.testing import random_vectors

NO_LIMITS = {"vm_pu": None, "loading_percent": None}
DAY = Hours({"load.p_mw": np.outer(np.linspace(0.5, 1.2, 6), np.full(11, 5.0))})
FEEDER_DAY = Hours({"load.p_mw": np.outer(np.linspace(0.5, 1.2, 6), np.full(32, 0.1))})


def profiles(**more: Any) -> GridProblem:
    day = Profiles().hours(NetGrid("lv18"), 1.0)
    return GridProblem("lv18", [Profiles()], day, "p_loss_kw", **more)


MAKE: dict[str, Callable[[], GridProblem]] = {
    "profiles": profiles,
    "taps in periods": lambda: GridProblem(
        "ieee14", [Taps(), Setpoints()], DAY, periods={"taps": 3}
    ),
    "outages": lambda: GridProblem("ieee14", [Taps()], Outages([0, 1]) * DAY, periods={"taps": 2}),
    "switching in periods": lambda: GridProblem(
        "case33bw",
        [Switching()],
        FEEDER_DAY,
        "p_loss_kw",
        NO_LIMITS,
        periods={"switching": 3},
    ),
    "storages beside switching": lambda: GridProblem(
        "case33bw",
        [Schedules(storages=[{"bus": 5, "power_mw": 0.3, "energy_mwh": 0.6}]), Switching()],
        FEEDER_DAY,
        "p_loss_kw",
        NO_LIMITS,
    ),
}


@pytest.mark.parametrize("name", MAKE)
def test_settings_over_time_are_encoded(name: str) -> None:
    problem = MAKE[name]()
    assert problem.situations.n > 1
    for x in random_vectors(problem, 8):
        decoded = problem.decode(x)
        settings = Settings(decoded.fields, decoded.values)  # nothing but the values
        again = problem.encode(settings)
        np.testing.assert_allclose(
            problem.decode(again).values, decoded.values, rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(again, problem.snap(again), rtol=1e-12, atol=1e-12)


def test_what_one_vector_cannot_do_over_time_is_refused() -> None:
    problem = MAKE["taps in periods"]()
    decoded = problem.decode(problem.base_x)
    values = decoded.values.copy()
    names = [f"{f}[{e}]" for f in decoded.fields for e in f.elements]
    first_tap = next(i for i, name in enumerate(names) if name.startswith("trafo"))
    values[1, first_tap] += 1.0  # hours 0 and 1 are one period
    with pytest.raises(ValueError, match=r"trafo\.tap_pos\[\d\]: .* it changes within period 0"):
        problem.encode(Settings(decoded.fields, values))
    values = decoded.values.copy()
    values[3, names.index("gen.vm_pu[0]")] = 1.0123
    with pytest.raises(ValueError, match=r"gen\.vm_pu\[0\]: .* it changes over time"):
        problem.encode(Settings(decoded.fields, values))
    with pytest.raises(ValueError, match=r"expected one row or 6, one per situation, .* got 4"):
        problem.encode(Settings(decoded.fields, decoded.values[:4]))
    with pytest.raises(ValueError, match="no value given"):
        problem.encode(Settings((), np.zeros((6, 0))))
    with pytest.raises(ValueError, match=r"settings: expected \d+ values of .*tap_pos.*, got 3"):
        problem.encode(Settings(decoded.fields, decoded.values[:, :3]))


def test_what_settings_do_not_tell_needs_the_vector_they_came_from() -> None:
    units = GridProblem("case33bw", [Units("dg", 2)], FEEDER_DAY, "p_loss_kw", NO_LIMITS)
    x = units.snap(random_vectors(units, 1)[0])
    decoded = units.decode(x)
    np.testing.assert_array_equal(units.encode(decoded), x)
    with pytest.raises(ValueError, match="use encode_units"):
        units.encode(Settings(decoded.fields, decoded.values))
    days = Profiles().hours(NetGrid("lv18"), 1.0)
    scaled = GridProblem(
        "lv18", [Profiles()], Scenarios({"load.p_mw": [1.1, 0.9]}) * days, "p_loss_kw"
    )
    x = scaled.snap(random_vectors(scaled, 1)[0])
    decoded = scaled.decode(x)
    np.testing.assert_array_equal(scaled.encode(decoded), x)
    with pytest.raises(ValueError, match=r"situations scale load\.p_mw"):
        scaled.encode(Settings(decoded.fields, decoded.values))


def test_configurations_of_a_day_are_encoded() -> None:
    loads = np.outer(np.linspace(0.4, 1.0, 4), np.full(32, 0.1))
    problem = Reconfiguration("case33bw", series={("load", "p_mw"): loads}, periods=2)
    x = problem.snap(random_vectors(problem, 1)[0])
    half = problem.n_var // 2
    assert (x[:half] != x[half:]).any()
    decoded = problem.decode(x)
    np.testing.assert_array_equal(problem.encode(Settings(decoded.fields, decoded.values)), x)
