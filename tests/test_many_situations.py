"""Products of situations that are solved in chunks: equal values, memory that does not grow."""

from __future__ import annotations

import io
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from nets import two_bus
from rich.console import Console

from gridproblems import (
    Chance,
    Control,
    DERPlacement,
    GridProblem,
    GridState,
    Hours,
    PowerFlowProgress,
    Scenarios,
    Settings,
)
from gridproblems.cases import load_case

DAY = 24
LOAD = 0.8 + 0.3 * np.sin(np.arange(DAY) / 4.0)
SUN = np.clip(np.sin((np.arange(DAY) - 6.0) / 12.0 * np.pi), 0.0, 1.0)


def placement(n_scenarios: int, n_jobs: int = 1) -> DERPlacement:
    return DERPlacement(
        "case33bw",
        3,
        situations=Hours(load=LOAD, pv=SUN)
        * Scenarios(n_scenarios, load=0.1, pv=0.2, seed=1, method="sobol"),
        objectives=[("p_loss_kw", "mean"), ("p_loss_kw", "cvar", 0.95)],
        limits={"vm_pu": Chance(0.9, (0.93, 1.05)), "loading_percent": None},
        max_size=1.5,
        n_jobs=n_jobs,
    )


def some_x(problem: GridProblem) -> np.ndarray:
    return problem.snap(np.random.default_rng(1).uniform(problem.xl, problem.xu))


@pytest.fixture
def in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 2 * DAY)


def test_the_peak_of_memory_does_not_grow_with_the_product(in_chunks: None) -> None:
    """What is kept of a situation is its name, weight and value per objective."""
    placement(2).evaluate(placement(2).base_x)  # compiled, loaded

    def peak(n_scenarios: int) -> int:
        tracemalloc.start()
        problem = placement(n_scenarios)
        x = some_x(problem)
        problem.evaluate(np.array([x, problem.base_x]))
        problem.base_values(), problem.solves(x), problem.violations(x)
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        n_state = problem.grid.layout().n_values + problem.joint.n_values
        per_situation.append(8 * n_state)
        return largest

    per_situation: list[int] = []
    few, many = 32, 160
    growth = (peak(many) - peak(few)) / ((many - few) * DAY)
    assert growth < 0.2 * per_situation[0]


def test_all_that_is_asked_of_a_problem_is_the_same_in_chunks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = placement(5)
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 2 * DAY)
    chunks = placement(5)
    assert (len(whole.evaluation.chunks), len(chunks.evaluation.chunks)) == (1, 3)
    x = some_x(whole)
    assert (whole.engine_name, whole.fingerprint()) == (chunks.engine_name, chunks.fingerprint())
    for a, b in (
        (whole.evaluate(x), chunks.evaluate(x)),
        (whole.base_values(), chunks.base_values()),
        (whole.present_entries(), chunks.present_entries()),
        (whole.entries(x), chunks.entries(x)),
        (whole.base_settings.values, chunks.base_settings.values),
        (whole.base_state.values, chunks.base_state.values),
        (whole.solve(x).values, chunks.solve(x).values),
        (whole.solve(x).values, np.concatenate([s.values for s in chunks.states(x)])),
        (whole.solve(x).bus_branch(77).v_pu, chunks.solve(x).bus_branch(77).v_pu),
        (whole.base_state.bus_branch(50).v_pu, chunks.base_state.bus_branch(50).v_pu),
        (whole.apply(x, 101).res_bus.values, chunks.apply(x, 101).res_bus.values),
    ):
        np.testing.assert_array_equal(np.concatenate(a, axis=None), np.concatenate(b, axis=None))
    assert whole.violations(x) == chunks.violations(x)
    assert whole.solves(x) == chunks.solves(x) is True
    assert whole.controlled(x) == chunks.controlled(x)
    for problem, name in ((whole, "whole"), (chunks, "chunks")):
        (tmp_path / name).mkdir()
        problem.write(x, tmp_path / name)
    assert (tmp_path / "whole/net.json").read_text() == (tmp_path / "chunks/net.json").read_text()


def test_figures_of_many_situations_show_the_worst_series(in_chunks: None) -> None:
    problem = placement(5)
    x = some_x(problem)
    worst = int(problem.solve(x)["branch_loading_percent"].max(axis=1).argmax()) // DAY
    figures = problem.figures(x)
    title = f"situations {worst * DAY + 1} to {worst * DAY + DAY} of {5 * DAY}"
    for name in ("line_loading", "voltage_band"):
        assert title in figures[name].axes[0].get_title("left")


def test_no_more_chunks_are_solved_once_all_candidates_have_failed(in_chunks: None) -> None:
    net = load_case("case33bw").net()
    control = Control("ext_grid", "vm_pu", (0,), "real", 0.9, 1.1)
    heavy = Hours({"load.scaling": np.full((DAY, len(net.load)), 50.0)}) * Scenarios(
        {"load.p_mw": np.ones(8)}
    )
    problem = GridProblem(
        net, [control], heavy, ["p_loss_kw"], limits={"vm_pu": None}, require_base_solution=False
    )
    F, G = problem.evaluate(problem.base_x)
    assert F[0] == 1e9
    assert G[0] >= 1e3
    assert problem.counts.power_flows == 2 * DAY
    assert np.isnan(problem.base_values()[0])


def test_a_loop_in_one_of_many_situations_is_seen_by_the_choice_of_the_engine(
    in_chunks: None,
) -> None:
    """The sweep solves radial grids alone; tie line 32 closes in one scenario of the last chunk."""
    net = load_case("case33bw").net()
    status = np.zeros((5, 1))
    status[4] = 1.0
    net.line.loc[net.line.index >= 32, "in_service"] = False
    net.line.loc[32, "in_service"] = True
    control = Control("ext_grid", "vm_pu", (0,), "real", 0.9, 1.1)
    hours = Hours({"load.scaling": np.outer(LOAD, np.ones(len(net.load)))})

    def engine(given: np.ndarray) -> str:
        scenarios = Scenarios({"line.in_service": given})
        return GridProblem(
            net, [control], hours * scenarios, ["p_loss_kw"], limits={"vm_pu": None}
        ).engine_name

    only_tie = np.ones((5, len(net.line.index[net.line.in_service])))
    only_tie[:4, -1] = 0.0
    assert engine(only_tie) == "newton"
    only_tie[4, -1] = 0.0
    assert engine(only_tie) == "sweep"


@pytest.mark.parametrize("together", [10_000, 2 * DAY], ids=["whole", "in chunks"])
def test_threads_share_the_situations_of_one_candidate_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", together)
    monkeypatch.setattr("gridproblems.parallel._LEAST_IN_THREADS", 1)
    alone, shared = placement(5), placement(5, n_jobs=2)
    seen: list[int] = []
    solve = shared.engine.solve

    def noted(settings: Settings) -> GridState:
        seen.append(threading.get_ident())
        return solve(settings)

    monkeypatch.setattr(shared.engine, "solve", noted)
    X = np.array([some_x(alone)])
    for a, b in zip(alone.evaluate(X), shared.evaluate(X), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(seen) == (2 if together > 5 * DAY else 3)
    assert threading.get_ident() not in seen
    assert shared.counts.as_dict() == alone.counts.as_dict()
    copied = pickle.loads(pickle.dumps(shared))
    np.testing.assert_array_equal(copied.evaluate(X)[0], alone.evaluate(X)[0])


def test_processes_share_the_situations_of_one_candidate_with_the_same_bits() -> None:
    def problem(n_jobs: int) -> GridProblem:
        return GridProblem(
            two_bus(p_mw=2.0),
            [Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)],
            Hours({"load.p_mw": [[1.0], [3.0]]}) * Scenarios({"load.q_mvar": [2.0, 1.0, 1.5]}),
            [("p_loss_kw", "cvar", 0.6)],
            limits={"vm_pu": Chance(0.6, (0.99, 1.05))},
            engine="reference",
            n_jobs=n_jobs,
        )

    alone, shared = problem(1), problem(2)
    assert len(shared.evaluation._workers.shares(shared.evaluation, 1)) == 2
    for x in (0.97, 1.02):
        for a, b in zip(alone.evaluate([x]), shared.evaluate([x]), strict=True):
            np.testing.assert_array_equal(a, b)
    assert shared.counts.as_dict() == alone.counts.as_dict()


def test_what_needs_all_situations_at_once_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gridproblems.parallel._LEAST_IN_THREADS", 1)
    control = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)
    hours = Hours({"load.p_mw": [[1.0], [3.0]]})
    given = {"limits": {"vm_pu": None}, "engine": "sweep", "n_jobs": 2}
    plain = GridProblem(two_bus(p_mw=2.0), [control], hours, ["p_loss_kw"], **given)
    own = [lambda settings, state: state.p_loss_mw.sum()]
    whole = GridProblem(two_bus(p_mw=2.0), [control], hours, own, **given)
    assert plain.evaluation._workers.shares(plain.evaluation, 1) == [slice(0, 1), slice(1, 2)]
    assert plain.evaluation._workers.shares(plain.evaluation, 2) == []
    assert whole.evaluation._workers.shares(whole.evaluation, 1) == []


def test_a_bar_of_power_flows_is_drawn_on_terminals_only(in_chunks: None) -> None:
    problem = placement(5)
    x = some_x(problem)
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        with PowerFlowProgress(problem.counts, 5 * DAY, console):
            problem.evaluate(x)
        shown = console.file.getvalue()
        assert ("120/120 power flows" in shown) == is_terminal
        assert bool(shown) == is_terminal
