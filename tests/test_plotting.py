"""The figures draw the data they are given: checked on line data, not on pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from gridproblems import ReactivePowerDispatch, Reconfiguration
from gridproblems._names import in_words
from gridproblems.controls.block import Change
from gridproblems.plotting import (
    plot_branch_loading,
    plot_changes,
    plot_convergence,
    plot_pareto_front,
    plot_screening,
    plot_voltage_profile,
)
from gridproblems.plotting.topology import bus_positions


@pytest.fixture(scope="module")
def problem() -> ReactivePowerDispatch:
    return ReactivePowerDispatch("ieee14")


@pytest.fixture(scope="module")
def x(problem: ReactivePowerDispatch) -> np.ndarray:
    return 0.5 * (problem.xl + problem.xu)


def drawn(axes: Axes, label: str) -> np.ndarray:
    """Values of the line with this label."""
    return np.asarray(
        next(line.get_ydata() for line in axes.lines if line.get_label() == label), dtype=float
    )


def limits(axes: Axes) -> list[np.ndarray]:
    """Values of the limit lines, in the order they were drawn."""
    return [patch.get_data().values for patch in axes.patches if isinstance(patch, StepPatch)]


def tick_labels(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_xticklabels()]


def legend_labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def many_branches(n_lines: int) -> tuple[Any, Any]:
    """A net with more lines than fit, loaded 1, 2, ... percent, and a limit on every other."""
    loading = np.arange(1.0, n_lines + 1.0)
    limit = np.where(np.arange(n_lines) % 2 == 0, 100.0, np.nan)
    line = pd.DataFrame({"name": [f"L{i}" for i in range(n_lines)], "max_loading_percent": limit})
    empty = pd.DataFrame({"name": []})
    state = SimpleNamespace(line_loading_percent=loading[np.newaxis])
    state.snapshot = lambda t: state
    return {"line": line, "trafo": empty, "trafo3w": empty}, state


def test_voltage_profile_draws_both_states_and_the_band(
    problem: ReactivePowerDispatch, x: np.ndarray
) -> None:
    figure = plot_voltage_profile(problem.net, problem.base_state, problem.solve(x), title="ieee14")
    (axes,) = figure.axes
    np.testing.assert_array_equal(drawn(axes, "before"), problem.base_state.vm_pu[0])
    np.testing.assert_array_equal(drawn(axes, "after"), problem.solve(x).vm_pu[0])
    lower, upper = limits(axes)
    np.testing.assert_array_equal(lower, problem.net.bus.min_vm_pu)
    np.testing.assert_array_equal(upper, problem.net.bus.max_vm_pu)
    assert tick_labels(axes) == [str(bus) for bus in problem.net.bus.index]
    assert "[p.u.]" in axes.get_ylabel()
    assert legend_labels(figure) == ["before", "after", "limit"]
    low, high = problem.solve(x).vm_pu.min(), problem.solve(x).vm_pu.max()
    assert f"ieee14: bus voltages {problem.base_state.vm_pu.min():.3f}" in axes.get_title("left")
    assert f"{low:.3f} to {high:.3f} p.u. after" in axes.get_title("left")


def test_voltage_profile_counts_buses_outside_the_band(x: np.ndarray) -> None:
    narrow = ReactivePowerDispatch("ieee14")
    vm_pu = narrow.solve(x).vm_pu[0]
    narrow.net.bus["max_vm_pu"] = np.sort(vm_pu)[-4]
    title = (
        plot_voltage_profile(narrow.net, narrow.base_state, narrow.solve(x))
        .axes[0]
        .get_title("left")
    )
    assert title.endswith("p.u. (3 outside the limits) after")


def test_voltage_profile_of_the_base_case_alone(problem: ReactivePowerDispatch) -> None:
    (axes,) = plot_voltage_profile(problem.net, problem.base_state).axes
    assert {line.get_label() for line in axes.lines} == {"before"}


@pytest.mark.parametrize(("n_buses", "marker"), [(150, "o"), (151, "None")])
def test_many_buses_are_lines(n_buses: int, marker: str) -> None:
    rng = np.random.default_rng(1)
    states = []
    for values in 1.0 + 0.1 * rng.random((2, 1, n_buses)):
        state = SimpleNamespace(vm_pu=values)
        state.snapshot = lambda t, state=state: state
        states.append(state)
    net: Any = SimpleNamespace(bus=pd.DataFrame({"max_vm_pu": np.full(n_buses, 1.1)}))
    (axes,) = plot_voltage_profile(net, *states).axes
    for label, state in zip(("before", "after"), states, strict=True):
        np.testing.assert_array_equal(drawn(axes, label), state.vm_pu[0])
    assert {line.get_marker() for line in axes.lines} == {marker}
    assert len(axes.collections) == 1  # stems, or the area between


def test_a_screening_names_what_differs_between_its_rows() -> None:
    names = ["s1a 200 kW", "s2b 200 kW"]
    screening: Any = SimpleNamespace(
        bus_vm_pu=pd.DataFrame([[1.0, 0.98], [0.97, 1.01]], index=names, columns=["a", "b"]),
        table=pd.DataFrame({"disturbance": names, "voltage_fitness": [0.1, 0.3]}),
    )
    axes = plot_screening(screening, title="feeder").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["s1a", "s2b"]
    assert axes.get_ylabel() == "disturbance, each 200 kW"
    assert axes.get_title("left").endswith("worst for the voltages: s2b 200 kW")


@pytest.mark.parametrize(
    ("name", "unit", "words"),
    [
        ("p_loss_kw", "kW", "losses [kW]"),
        ("probability_of_v_min_pu", "", "probability of lowest voltage"),
        ("saidi_hours_per_year", "h/a", "SAIDI [h/a]"),
        ("unit_cost_eur_per_year", "EUR/a", "unit cost [EUR/a]"),
        ("something_of_ones_own", "", "something of ones own"),
    ],
)
def test_quantities_in_words(name: str, unit: str, words: str) -> None:
    assert in_words(name, unit) == words


def test_branch_loading_draws_lines_and_transformers(
    problem: ReactivePowerDispatch, x: np.ndarray
) -> None:
    figure = plot_branch_loading(problem.net, problem.base_state, problem.solve(x))
    lines, trafos = figure.axes
    state = problem.solve(x)
    np.testing.assert_array_equal(
        drawn(lines, "before"), problem.base_state.line_loading_percent[0]
    )
    np.testing.assert_array_equal(drawn(lines, "after"), state.line_loading_percent[0])
    np.testing.assert_array_equal(drawn(trafos, "after"), state.trafo_loading_percent[0])
    assert tick_labels(lines) == list(problem.net.line.name)
    assert lines.get_ylabel() == "loading [%]"
    before, after = (s.line_loading_percent.max() for s in (problem.base_state, state))
    assert lines.get_title("left") == f"highest {before:.1f} → {after:.1f} %"


def test_branch_loading_of_a_large_grid_shows_the_most_loaded() -> None:
    figure = plot_branch_loading(*many_branches(100), most_loaded=10)
    (axes,) = figure.axes
    np.testing.assert_array_equal(drawn(axes, "before"), np.arange(100.0, 90.0, -1.0))
    assert tick_labels(axes) == [f"L{i}" for i in range(99, 89, -1)]
    assert axes.get_xlabel() == "line, 10 most loaded of 100"
    (limit,) = limits(axes)
    np.testing.assert_array_equal(limit, [np.nan, 100.0] * 5)


def test_branch_loading_needs_a_branch() -> None:
    with pytest.raises(ValueError, match="many has no line and no transformer"):
        plot_branch_loading(*many_branches(0), title="many")


def test_convergence_starts_where_something_is_feasible() -> None:
    history = pd.DataFrame(
        {"evaluations": [1, 4, 10, 30, 50], "best": [np.nan, np.nan, 7.0, 5.0, 5.0]}
    )
    figure = plot_convergence(history, best_known=4.5, ylabel="p_loss_mw [MW]", title="run")
    (axes,) = figure.axes
    np.testing.assert_array_equal(drawn(axes, "best so far"), history["best"])
    np.testing.assert_array_equal(drawn(axes, "best known 4.5"), [4.5, 4.5])
    (shaded,) = axes.patches
    assert shaded.get_label() == "no feasible point yet"
    assert shaded.get_extents().transformed(axes.transData.inverted()).x1 == pytest.approx(10.0)
    assert axes.get_title("left") == "run: 5 after 50 evaluations"
    low, high = axes.get_ylim()
    assert low < 4.5 < 7.0 < high


def test_convergence_without_any_feasible_point_shows_the_violation() -> None:
    history = pd.DataFrame(
        {"evaluations": [1, 50], "best": [np.nan, np.nan], "violation": [3.0, 2.0]}
    )
    (axes,) = plot_convergence(history, best_known=4.5, ylabel="p_loss_mw [MW]").axes
    np.testing.assert_array_equal(drawn(axes, "best so far"), [3.0, 2.0])
    assert axes.get_ylabel() == "violation"
    assert axes.get_title("left") == "nothing feasible in 50 evaluations"


def test_pareto_front_draws_the_points_in_order() -> None:
    F = np.array([[3.0, 1.0], [1.0, 3.0], [1.5, 1.5]])
    figure = plot_pareto_front(F, ["a [MW]", "b [p.u.]"], base=[4.0, 4.0], knee=2, title="run")
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1.0, 1.5, 3.0])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3.0, 1.5, 1.0])
    np.testing.assert_array_equal(drawn(axes, "knee"), [1.5])
    np.testing.assert_array_equal(drawn(axes, "before"), [4.0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a [MW]", "b [p.u.]")
    assert axes.get_title("left") == "run: 3 nondominated points"


@pytest.mark.parametrize(
    ("shape", "names"), [((3, 3), ["a", "b"]), ((3, 2), ["a"]), ((2,), ["a", "b"])]
)
def test_pareto_front_needs_two_objectives(shape: tuple[int, ...], names: list[str]) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        plot_pareto_front(np.zeros(shape), names)


@pytest.mark.parametrize("snapshot", [-1, 3, None])
def test_a_snapshot_that_there_is_not(problem: ReactivePowerDispatch, snapshot: Any) -> None:
    for plot in (plot_voltage_profile, plot_branch_loading):
        with pytest.raises(ValueError, match=f"snapshot: expected 0 to 0, got {snapshot}"):
            plot(problem.net, problem.base_state, snapshot=snapshot)


def test_feeder_marks_what_was_opened_and_closed() -> None:
    problem = Reconfiguration("case33bw")
    block = problem.joint.placed[0].block

    def opened(x: Any) -> set[int]:
        return set(block.open_lines(x)[0])

    X = np.random.default_rng(1).uniform(problem.xl, problem.xu, (50, problem.n_var))
    before = opened(problem.base_x)
    x = next(x for x in problem.joint.snap(X) if problem.solves(x) and opened(x) != before)
    figure = problem.figures(x)["feeder"]
    halos = [
        {c.get_label(): len(c.get_segments()) for c in axes.collections if "ed" in c.get_label()}
        for axes in figure.axes[:2]
    ]
    for of_panel in halos:
        assert of_panel.pop("closed") > 20
    assert halos == [
        {},
        {"opened": len(opened(x) - before), "closed again": len(before - opened(x))},
    ]


# -- what was changed ------------------------------------------------------------------------------


def test_changed_settings_are_marked_where_they_are(problem: ReactivePowerDispatch) -> None:
    x = problem.base_x.copy()
    x[0] += 0.02  # set-point of bus 2
    x[1] = problem.xl[1]  # tap of 5-6, whose base is at the upper end
    x[-1] = 12.5  # reactive power at bus 8
    figure = problem.figures(x)["changes"]
    (axes,) = figure.axes
    marked = {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}
    assert {"voltage up", "tap down", "reactive power fed in up"} < set(marked)
    positions = bus_positions(problem.grid.net)
    place = {bus: i for i, bus in enumerate(problem.grid.net.bus.index)}
    np.testing.assert_allclose(marked["voltage up"], [positions[place[2]]])
    np.testing.assert_allclose(marked["reactive power fed in up"], [positions[place[8]]])
    ends = problem.grid.net.trafo.loc[0, ["hv_bus", "lv_bus"]]
    middle = positions[[place[bus] for bus in ends]].mean(axis=0)
    np.testing.assert_allclose(marked["tap down"], [middle])
    texts = {text.get_text() for text in axes.texts}
    assert texts == {
        "2: V 1.000 → 1.020",
        f"{ends.iloc[0]}-{ends.iloc[1]}: tap {int(problem.base_x[1])} → {int(x[1])}",
        "8: Q 0 → 12.5",
    }
    assert axes.get_title("left") == "ieee14: 3 changes"
    assert "changes" not in problem.figures(problem.base_x)
    assert "changes" not in problem.figures(None)


def test_powers_at_a_bus_are_one_mark(problem: ReactivePowerDispatch) -> None:
    net = problem.apply(problem.base_x)
    bus = int(net.sgen.bus[0])
    given = [
        Change("sgen", "p_mw", 0, 1.0, 4.0),
        Change("load", "p_mw", int(net.load.index[net.load.bus == bus][0]), 10.0, 8.0),
        Change("shunt_that_is_none", "q_mvar", 0, 0.0, 1.0),
    ]
    (axes,) = plot_changes(net, given).axes
    assert [text.get_text() for text in axes.texts] == [f"{bus}: P -9 → -4"]
    assert axes.get_title("left") == "1 change"


def test_labels_of_changes_stand_apart() -> None:
    problem = ReactivePowerDispatch("ieee30")
    x = problem.snap(0.5 * (problem.xl + problem.xu))
    figure = problem.figures(x)["changes"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (axes,) = figure.axes
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) > 10
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert overlaps <= 2
    (legend,) = figure.legends
    assert not legend.get_window_extent(renderer).overlaps(axes.get_window_extent(renderer))
