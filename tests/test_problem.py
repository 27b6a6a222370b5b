"""`GridProblem`: engines chosen, cache, aggregation, parallel runs, user objectives."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from nets import tap_zoo, two_bus
from pandapower.auxiliary import pandapowerNet
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.constraints.as_penalty import ConstraintsAsPenalty
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

import gridproblems.engines.choice
from algorithms import MVMO
from gridproblems import (
    GridState,
    ReactivePowerDispatch,
    Reconfiguration,
    Settings,
    UnsupportedByEngine,
)
from gridproblems.engines import NewtonEngine, ReferenceEngine


def vectors(problem: ReactivePowerDispatch, n: int) -> np.ndarray:
    return np.random.default_rng(6).uniform(problem.xl, problem.xu, (n, problem.n_var))


def test_user_callables_are_objectives() -> None:
    def slack_p_mw(settings: Settings, state: GridState) -> float:
        return float(state.ext_grid_p_mw.sum())

    def moved_taps(settings: Settings, state: GridState) -> float:
        return float(sum(abs(v - 9100) for v in settings.get("trafo", "tap_pos").values()))

    problem = ReactivePowerDispatch("ieee6", (slack_p_mw, moved_taps, "p_loss_mw"))
    assert problem.objective_names == ("slack_p_mw", "moved_taps", "p_loss_mw")
    x = problem.base_x + np.array([0, 7, 5, 0, 0])
    f, _ = problem.evaluate(x)
    net = problem.apply(x)
    assert f == pytest.approx([net.res_ext_grid.p_mw[0], 12.0, f[2]], abs=1e-6)


def test_a_user_objective_that_is_not_finite_is_a_failure() -> None:
    problem = ReactivePowerDispatch("ieee6", (lambda settings, state: float("nan"),))
    f, g = problem.evaluate(problem.base_x)
    assert np.isfinite(f).all()
    assert g.max() > 0
    assert problem.counts.failed == 1


def test_repeated_vectors_are_answered_from_memory() -> None:
    plain, cached = (ReactivePowerDispatch("ieee14", cache=cache) for cache in (False, True))
    x = np.vstack([plain.snap(vectors(plain, 6))] * 3)
    x[6:12, [v.kind != "real" for v in plain.joint.variables]] += 0.2  # the same on the grid
    np.testing.assert_array_equal(plain.evaluate(x)[0], cached.evaluate(x)[0])
    assert plain.counts.as_dict() == {
        "evaluated": 18,
        "cached": 0,
        "failed": 0,
        "power_flows": 18,
    }
    assert cached.counts.as_dict() == {
        "evaluated": 18,
        "cached": 12,
        "failed": 0,
        "power_flows": 6,
    }
    small = ReactivePowerDispatch("ieee14", cache=2)
    small.evaluate(vectors(small, 5))
    small.evaluate(vectors(small, 5)[:1])
    assert small.counts.cached == 0
    assert len(small._cache) == 2


def test_aggregate_gives_one_entry_per_kind() -> None:
    each = ReactivePowerDispatch("ieee14")
    one = ReactivePowerDispatch("ieee14", aggregate=True)
    assert one.constraint_names == ("power_flow", "vm_pu")
    for x in vectors(each, 30):
        _, g = each.evaluate(x)
        _, aggregated = one.evaluate(x)
        positive = g[1:][g[1:] > 0].sum()
        assert aggregated[1] == pytest.approx(positive if positive > 0 else g[1:].max())


@pytest.mark.parametrize("engine", ["newton", "reference"])
def test_parallel_equals_serial(engine: str) -> None:
    """Threads for the newton engine, worker processes for the reference."""
    serial = ReactivePowerDispatch("ieee14", engine=engine)
    parallel = ReactivePowerDispatch("ieee14", engine=engine, n_jobs=2)
    x = vectors(serial, 9)
    for _ in range(2):
        for a, b in zip(serial.evaluate(x), parallel.evaluate(x), strict=True):
            np.testing.assert_array_equal(a, b)
    assert parallel.counts.as_dict() == serial.counts.as_dict()
    results = [minimize(p, GA(pop_size=8), ("n_evals", 24), seed=3) for p in (serial, parallel)]
    np.testing.assert_array_equal(results[0].X, results[1].X)


def test_same_seed_same_result_and_history_copies() -> None:
    problem = ReactivePowerDispatch("ieee14")
    results = [
        minimize(problem, MVMO(), ("n_evals", 60), seed=2, save_history=history)
        for history in (False, True)
    ]
    np.testing.assert_array_equal(results[0].X, results[1].X)
    assert results[1].history


def test_constraints_as_penalty_leaves_the_problem_alone() -> None:
    problem = ReactivePowerDispatch("ieee14")
    n_ieq_constr = problem.n_ieq_constr
    penalised = ConstraintsAsPenalty(problem, penalty=100.0)
    result = minimize(penalised, GA(pop_size=8), ("n_evals", 24), seed=1)
    assert np.isfinite(result.F).all()
    assert problem.n_ieq_constr == n_ieq_constr


def test_evaluate_answers_as_pymoo_would() -> None:
    problem = ReactivePowerDispatch("ieee14")
    X = np.random.default_rng(0).uniform(problem.xl, problem.xu, (5, problem.n_var))
    before = problem.counts.as_dict()["evaluated"]
    F, G = problem.evaluate(X)
    assert problem.counts.as_dict()["evaluated"] == before + 5
    f, g = problem.evaluate(X[2])
    assert (f.shape, g.shape) == ((1,), (problem.n_ieq_constr,))
    out = problem.evaluate(X, return_values_of=["F", "G"], return_as_dictionary=True)
    one = problem.evaluate(X[2], return_values_of=["F", "G"])
    for found, expected in ((F, out["F"]), (G, out["G"]), (f, F[2]), (g, G[2]), (f, one[0])):
        np.testing.assert_array_equal(found, expected)
    problem.callback = lambda x, out: out["F"].fill(7.0)
    assert problem.evaluate(X[2])[0][0] == 7.0


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"return_values_of": None},
        {"return_values_of": ["F"]},
        {"return_values_of": ["X", "F"]},
        {"return_values_of": ["F", "G", "H"], "return_as_dictionary": True},
        {"return_as_dictionary": True},
        {"return_values_of": [], "return_as_dictionary": True},
        {"return_values_of": ["F", "CV"]},
    ],
    ids=str,
)
def test_evaluate_without_pymoos_loop_is_pymoos_evaluate(asked: dict[str, Any]) -> None:
    problem = Reconfiguration("case33bw")
    X = np.random.default_rng(0).uniform(problem.xl, problem.xu, (7, problem.n_var))
    for x in (X, X[3]):
        own, theirs = problem.evaluate(x, **asked), Problem.evaluate(problem, x, **asked)
        if "return_as_dictionary" in asked:
            assert own.keys() == theirs.keys()
            own, theirs = list(own.values()), list(theirs.values())
        elif not isinstance(theirs, tuple):
            own, theirs = [own], [theirs]
        assert len(own) == len(theirs)
        for mine, pymoos in zip(own, theirs, strict=True):
            assert mine.dtype == pymoos.dtype
            np.testing.assert_array_equal(mine, pymoos, strict=True)


def test_auto_takes_the_reference_where_newton_does_not_fit() -> None:
    net = tap_zoo()
    pp.set_user_pf_options(net, enforce_p_lims=True)
    problem = ReactivePowerDispatch(net, limits={"gen_vm_pu": (0.95, 1.05)})
    assert problem.engine_name == "reference"
    assert "enforce_p_lims=True" in problem.engine_note
    with pytest.raises(UnsupportedByEngine, match="enforce_p_lims=True"):
        ReactivePowerDispatch(net, engine="newton", limits={"gen_vm_pu": (0.95, 1.05)})


def test_auto_falls_back_when_an_engine_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(NewtonEngine):
        def __init__(self, net: pandapowerNet) -> None:
            heavier = copy.deepcopy(net)
            heavier.load["p_mw"] *= 1.001
            super().__init__(heavier)

    engines: dict[str, Any] = {"wrong": Wrong, "reference": ReferenceEngine}
    monkeypatch.setattr(gridproblems.engines.choice, "ENGINES", engines)
    net = two_bus()
    with pytest.warns(UserWarning, match="vm_pu differs from pandapower.runpp by"):
        problem = ReactivePowerDispatch(net)
    assert problem.engine_name == "reference"
    assert "differs from pandapower.runpp" in problem.engine_note


def test_the_callers_net_is_never_changed() -> None:
    net = tap_zoo()
    problem = ReactivePowerDispatch(net, limits={"gen_vm_pu": (0.95, 1.05)})
    problem.apply(problem.xu)
    problem.evaluate(problem.xl)
    assert net.trafo.tap_pos.tolist() == [0, 5, -3]
    net.load["p_mw"] = 0.0
    assert problem.net.load.p_mw.sum() > 0


def twice_the_losses(settings: Settings, state: GridState) -> float:
    return 2.0 * float(state.p_loss_mw.sum())


def test_callables_of_a_module_are_pickled_with_the_problem() -> None:
    problem = ReactivePowerDispatch("ieee14", twice_the_losses)
    again = pickle.loads(pickle.dumps(problem))
    assert again.evaluate(problem.base_x)[0] == problem.evaluate(problem.base_x)[0]
    assert again.objective_names == ("twice_the_losses",)


def test_a_stored_state_says_that_its_matrix_is_gone() -> None:
    problem = ReactivePowerDispatch("ieee14")
    state = problem.solve(problem.base_x)
    again = pickle.loads(pickle.dumps(state))
    np.testing.assert_array_equal(again.vm_pu, state.vm_pu)
    with pytest.raises(ValueError, match=r"no bus admittance matrix: .* copied or stored"):
        again.bus_branch(0)
    with pytest.raises(ValueError, match="read-only"):
        again.vm_pu[:] = 1.0


def test_names_from_a_net_are_escaped_in_notebooks() -> None:
    net = two_bus()
    net.name = "<script>alert(1)</script>"
    table = ReactivePowerDispatch(net)._repr_html_()
    assert "&lt;script&gt;" in table
    assert "<script" not in table
