"""Second derivatives through the power flow, checked against differences and by hand."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from golden.calls import make
from nets import feeder, tap_zoo, two_bus
from test_gradients import (
    LIMITS,
    OF_CONTROLS,
    WHAT_NEWTON_SOLVES,
    on_the_zoo,
    own_quantity,
    solved_by_newton,
    zoo_of_controls,
)

from gridproblems import GridProblem, ReactivePowerDispatch, evaluation
from gridproblems.controls import Control, Setpoints, Taps
from gridproblems.engines import ENGINES
from gridproblems.errors import UnsupportedByEngine
from gridproblems.hessians import Hessians
from gridproblems.objectives import OBJECTIVES
from gridproblems.situations import Hours, Outages, Scenarios
from gridproblems.testing import check_hessian

#: Controls of feeders in OpenDSS, whose slopes are differences.
OF_FEEDERS = ("regulators", "capacitors", "voltvar", "placed_capacitors")
CALLS = (
    "orpd-ieee6",
    "orpd-ieee14",
    "orpd-ieee30",
    "orpd-objectives",
    "orpd-aggregate",
    "orpd-mixed",
    "orpd-case9",
    "allocation-lv18",
    "allocation-aggregate",
    "allocation-zip",
    "placement-dg",
    "placement-mixed",
    "placement-battery",
    "placement-cost",
)


def test_losses_of_two_buses_are_those_worked_by_hand() -> None:
    """With ``u = v^2``, ``u^2 + (2 (r p + x q) - 1) u + (r^2 + x^2)(p^2 + q^2) = 0`` and losses
    ``r (p^2 + q^2) / u`` at 1 MVA and 100 ohm."""
    problem = GridProblem(two_bus(), [Control("load", "p_mw", (0,), "real", 0.5, 2.0)])
    r, x, q, p = 0.01, 0.04, 0.5, 1.3
    z = r * r + x * x
    a, b = 2.0 * (r * p + x * q) - 1.0, z * (p * p + q * q)
    da, db, ddb = 2.0 * r, 2.0 * z * p, 2.0 * z
    s, ds, dds = a * a - 4.0 * b, 2.0 * a * da - 4.0 * db, 2.0 * da * da - 4.0 * ddb
    u = (-a + s**0.5) / 2.0
    du = (-da + ds / (2.0 * s**0.5)) / 2.0
    ddu = (dds / (2.0 * s**0.5) - ds * ds / (4.0 * s**1.5)) / 2.0
    n, dn, ddn = p * p + q * q, 2.0 * p, 2.0
    expected = r * (ddn / u - 2.0 * dn * du / u**2 + n * (2.0 * du**2 / u**3 - ddu / u**2))
    assert problem.evaluate([p])[0][0] == pytest.approx(r * n / u, rel=1e-9)
    assert problem.hessian([p], [1.0]) == pytest.approx(np.array([[expected]]), rel=1e-6)
    assert problem.hessian([p], [2.5]) == pytest.approx(np.array([[2.5 * expected]]), rel=1e-6)
    # of the limit (0.9 - v) / 0.2, with v the square root of u
    of_v = ddu / (2.0 * u**0.5) - du * du / (4.0 * u**1.5)
    weights = np.zeros(1 + problem.n_ieq_constr)
    weights[1 + problem.constraint_names.index("bus 1 vm_pu min")] = 1.0
    assert problem.hessian([p], weights) == pytest.approx(np.array([[-of_v / 0.2]]), rel=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_documented_calls_have_the_hessians_of_differences(name: str) -> None:
    check_hessian(make(name))


@pytest.mark.parametrize("name", [name for name in OF_CONTROLS if name not in OF_FEEDERS])
def test_every_control_has_the_hessian_of_differences(name: str) -> None:
    check_hessian(OF_CONTROLS[name]())


def test_every_number_of_a_model_together() -> None:
    check_hessian(on_the_zoo(["p_loss_mw", "voltage_deviation_pu", "exchange_energy_kwh"]))


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "loading_margin_percent"])
def test_every_objective_has_the_hessian_of_differences(name: str) -> None:
    hours = Hours({"load.p_mw": np.linspace(0.5, 1.0, 3)[:, None] * [[9.0, 12.0, 6.0, 4.0, 7.0]]})
    controls = [
        c for c in zoo_of_controls() if getattr(c, "table", "") != "load" or c.column != "p_mw"
    ]
    check_hessian(GridProblem(tap_zoo(), controls, hours, objectives=[name], limits=LIMITS))


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "reference"])
def test_engines_with_slopes_have_the_same_hessian(engine: str) -> None:
    controls = [Taps(), Control("sgen", "p_mw", (0,), "real", -0.05, 0.05)]
    limits = {"vm_pu": (0.9, 1.1), "loading_percent": 100.0}
    problem, other = (
        GridProblem(feeder(), controls, objectives=["p_loss_kw"], limits=limits, engine=name)
        for name in (engine, "newton")
    )
    x = problem.xl + 0.4 * (problem.xu - problem.xl)
    weights = np.linspace(0.5, 1.5, 1 + problem.n_ieq_constr)
    check_hessian(problem, x)
    expected = other.hessian(x, weights)
    size = np.abs(expected).max()
    np.testing.assert_allclose(problem.hessian(x, weights), expected, atol=1e-6 * size)


@WHAT_NEWTON_SOLVES
def test_hessians_go_through_what_newton_solves(make_net: Any, situations: Any) -> None:
    problem = solved_by_newton(make_net(), situations)
    check_hessian(problem, problem.xl + 0.41 * (problem.xu - problem.xl))


@pytest.mark.parametrize(
    ("situations", "over"),
    [
        (Outages([0, 1, 4]), None),
        (Outages([0, 1, 4]) * Hours({"load.q_mvar": np.full((2, 11), 3.0)}), None),
        (Scenarios({"gen.p_mw": [0.8, 1.0, 1.3]}, [1.0, 2.0, 1.0]), ("cvar", 0.5)),
        (Scenarios({"gen.p_mw": [0.8, 1.0, 1.3]}, [1.0, 2.0, 1.0]), "max"),
    ],
    ids=["outages", "outages in time", "cvar of scaled controls", "max of scaled controls"],
)
def test_hessians_go_through_situations(situations: Any, over: Any) -> None:
    net = pn.case14()
    net.line["max_i_ka"], net.line["max_loading_percent"] = 0.5, 100.0
    net.gen[["min_vm_pu", "max_vm_pu"]] = 0.95, 1.05
    controls = [Setpoints(), Control("gen", "p_mw", (0,), "real", 20.0, 60.0)]
    objective: Any = "p_loss_mw"
    if over is not None:
        objective = (objective, *(over if isinstance(over, tuple) else (over,)))
    check_hessian(GridProblem(net, controls, situations, [objective], {"vm_pu": (0.9, 1.1)}))


def test_situations_in_several_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = np.linspace(0.3, 1.1, 8)[:, None] * np.array([[9.0, 12.0, 6.0, 4.0, 7.0]])
    arguments = (tap_zoo(), [Setpoints(band_pu=(0.95, 1.05)), Taps()], Hours({"load.p_mw": loads}))
    whole = GridProblem(*arguments, ["energy_loss_kwh", "v_min_pu"], LIMITS)
    x = whole.xl + 0.37 * (whole.xu - whole.xl)
    weights = np.linspace(0.5, 1.5, 2 + whole.n_ieq_constr)
    expected = whole.hessian(x, weights)
    monkeypatch.setattr(evaluation, "MAX_SITUATIONS", 3)
    in_parts = GridProblem(*arguments, ["energy_loss_kwh", "v_min_pu"], LIMITS)
    found = in_parts.hessian(x, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


def test_exact_second_derivatives_are_those_of_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = on_the_zoo(["p_loss_mw", "exchange_energy_kwh"])
    x = problem.xl + 0.37 * (problem.xu - problem.xl)
    span = problem.xu - problem.xl
    weights = np.linspace(-1.0, 1.5, 2 + problem.n_ieq_constr)
    before = problem.counts.power_flows
    exact = problem.hessian(x, weights) * np.outer(span, span)
    assert problem.counts.power_flows == before + 1
    monkeypatch.setattr(Hessians, "_add_exact", Hessians._add_differences)
    differences = problem.hessian(x, weights) * np.outer(span, span)
    assert problem.counts.power_flows > before + 2 * problem.n_var
    np.testing.assert_allclose(exact, differences, rtol=0, atol=1e-7 * np.abs(exact).max())


@pytest.mark.parametrize("bus", ["hv_bus", "lv_bus"])
def test_taps_of_a_transformer_that_is_open_at_one_end(bus: str) -> None:
    net = tap_zoo()
    net.trafo[["i0_percent", "pfe_kw"]] = 20.0, 400.0  # so that the open one counts
    switch = pp.create_switch(net, int(net.trafo.at[0, bus]), 0, et="t", closed=True)
    open_or_not = Control("switch", "closed", (int(switch),), "binary", 0, 1)
    problem = GridProblem(net, [open_or_not, Taps(), Setpoints(band_pu=(0.95, 1.05))])
    x = problem.xl + 0.37 * (problem.xu - problem.xl)
    x[0] = 0.0
    check_hessian(problem, x)


def test_at_bounds_the_hessian_is_that_of_the_inside() -> None:
    problem = ReactivePowerDispatch("ieee14", ("p_loss_mw", "l_index"))
    for end in (problem.xl, problem.xu):
        inside = np.where(end == problem.xl, 1.0, -1.0) * 1e-5 * (problem.xu - problem.xl)
        expected, found = (problem.hessian(x, [1.0, 100.0]) for x in (end + inside, end))
        size = np.abs(np.outer(*[problem.xu - problem.xl] * 2) * expected).max()
        difference = np.outer(*[problem.xu - problem.xl] * 2) * (found - expected)
        assert np.abs(difference).max() < 1e-3 * size


def test_a_power_flow_that_fails_has_a_hessian_of_zero() -> None:
    problem = GridProblem(two_bus(), [Control("load", "p_mw", (0,), "real", 0.5, 500.0)])
    assert not problem.hessian(problem.xu, [1.0]).any()


def test_what_has_no_slopes_has_no_hessian() -> None:
    problem = on_the_zoo([own_quantity, "p_loss_mw"])
    x = problem.xl + 0.4 * (problem.xu - problem.xl)
    with pytest.raises(UnsupportedByEngine, match="own_quantity"):
        problem.hessian(x, [1.0, 1.0])
    plain = on_the_zoo(["p_loss_mw"])
    assert np.array_equal(problem.hessian(x, [0.0, 1.0]), plain.hessian(x, [1.0]))
    other = GridProblem("village", ["regulators"])
    with pytest.raises(UnsupportedByEngine, match="hessian"):
        other.hessian(other.xl, np.ones(other.n_obj))


def test_problems_say_whether_their_hessians_are_exact() -> None:
    assert ReactivePowerDispatch("ieee14").gives_hessian
    assert not ReactivePowerDispatch("ieee14", ("p_loss_mw", "l_index")).gives_hessian
    assert not on_the_zoo([own_quantity]).gives_hessian
    assert not GridProblem("village", ["regulators"]).gives_hessian
    unknown = [Setpoints(), Control("gen", "scaling", (0,), "real", 0.8, 1.2)]
    assert not GridProblem("ieee14", unknown).gives_hessian


def test_the_power_flow_of_the_slopes_serves_the_hessian_too() -> None:
    problem = ReactivePowerDispatch("ieee14")
    expected = problem.hessian(problem.base_x, [1.0])
    assert problem.counts.power_flows == 1
    problem.gradients(problem.base_x)
    assert np.array_equal(problem.hessian(problem.base_x, [1.0]), expected)
    assert np.array_equal(problem.hessian(problem.base_x, [1.0]), expected)
    assert problem.counts.power_flows == 2
    assert problem.counts.evaluated == 1  # a Hessian is no evaluation
    assert np.array_equal(
        pickle.loads(pickle.dumps(problem)).hessian(problem.base_x, [1]), expected
    )


@pytest.mark.parametrize("weights", [[1.0, 2.0], [], np.ones((1, 1)), [np.nan], 1.0])
def test_weights_of_another_shape_are_refused(weights: Any) -> None:
    problem = ReactivePowerDispatch("ieee14")
    with pytest.raises(ValueError, match=rf"expected 1 .*or {1 + problem.n_ieq_constr} "):
        problem.hessian(problem.base_x, weights)


def test_names_of_variables_are_taken_too() -> None:
    problem = ReactivePowerDispatch("ieee14")
    by_name = dict(zip(problem.vars, problem.base_x, strict=True))
    assert np.array_equal(problem.hessian(by_name, [1]), problem.hessian(problem.base_x, [1]))
