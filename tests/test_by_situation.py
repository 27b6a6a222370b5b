"""What settings do in every situation, against plain loops of power flows and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from nets import two_bus
from typer.testing import CliRunner

from gridproblems import Chance, Control, GridProblem, Hours, Outages, Scenarios
from gridproblems.by_situation import SHARES, by_situation, situation_figures
from gridproblems.cli import app
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.evaluation import FAILED_F
from gridproblems.plotting import plot_price_of_security, plot_situation_bars, plot_voltage_fan

SLACK = Control("ext_grid", "vm_pu", (0,), "real", 0.95, 1.05)
FACTORS = [0.5, 2.0, 1.0]


def scenarios(limits: Any, weights: Any = None, objectives: Any = ("p_loss_kw",)) -> GridProblem:
    of = Scenarios({"load.p_mw": FACTORS, "load.q_mvar": FACTORS}, weights)
    return GridProblem(two_bus(), [SLACK], of, objectives, limits)


@pytest.fixture(scope="module")
def outages() -> GridProblem:
    lines = [0, 1, 2, 3]
    limits = {"vm_pu": (1.0, 1.1), "loading_percent": 40.0}
    return GridProblem("ieee14", ["setpoints"], Outages(lines), limits=limits)


def test_a_limit_binds_in_the_situation_where_a_plain_loop_finds_it(outages: GridProblem) -> None:
    x = outages.base_x
    found = by_situation(outages, x)
    net = outages.apply(x)
    of_line = {}
    for line in range(4):
        net.line["in_service"] = net.line.index != line
        pp.runpp(net, tolerance_mva=1e-10)
        of_line[f"line {line} out"] = net.res_line.loading_percent.copy()
    name = outages.grid.label("line", 4)
    one = next(b for b in found.bindings if b.name == f"n-1 {name} loading_percent")
    worst = max(of_line, key=lambda out: of_line[out][4])
    assert one.situation == worst
    assert found.names[one.number or 0] == worst
    assert one.value == pytest.approx(of_line[worst][4], rel=1e-7)
    assert (one.limit, one.unit) == (40.0, "%")
    assert one.margin == pytest.approx(40.0 - one.value, rel=1e-9)
    assert one.room == pytest.approx(one.margin / 40.0)


def test_rooms_are_the_entries_of_the_constraints(outages: GridProblem) -> None:
    found = by_situation(outages, outages.base_x)
    rooms = {b.name: b.room for b in found.bindings}
    entries = outages.evaluation.entries.names, outages.entries(outages.base_x)
    compared = {name: -value for name, value in zip(*entries, strict=True) if name in rooms}
    assert len(compared) == len(rooms) == len(entries[0]) - 1  # all but the count of failures
    assert rooms == pytest.approx(compared, abs=1e-14)
    assert [b.room for b in found.bindings] == sorted(rooms.values())


def test_violations_of_a_situation_are_those_of_its_own_power_flow(outages: GridProblem) -> None:
    found = by_situation(outages, outages.base_x)
    net = outages.apply(outages.base_x, 2)  # line 1 out
    vm_pu, loading = net.res_bus.vm_pu, net.res_line.loading_percent
    beyond = np.concatenate(
        [(1.0 - vm_pu) / 0.1, (vm_pu - 1.1) / 0.1, loading / 40 - 1,
         net.res_trafo.loading_percent / 40 - 1]
    )  # fmt: skip
    assert found.names[2] == "line 1 out"
    assert found.violation[2] == pytest.approx(np.maximum(beyond, 0).sum(), rel=1e-5)
    assert found.n_broken[2] == (beyond > 1e-9).sum()
    assert found.room[2] == pytest.approx(-beyond.max(), rel=1e-6)
    assert not found.survived[2]
    assert found.weight.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    table = found.table()
    assert table["p_loss_mw [MW]"][2] == pytest.approx(
        net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum(), rel=1e-7
    )


def test_shares_of_voltages_by_hand() -> None:
    problem = scenarios({}, weights=[1.0, 1.0, 2.0])
    vm_pu = np.sort(problem.solve([1.0]).vm_pu[:, 1])  # of factors 2, 1, 0.5
    found = by_situation(problem, [1.0])
    low, middle, high = vm_pu
    expected = [low, low, low, middle, middle, high, high]  # weights 1, 2, 1
    np.testing.assert_allclose(found.voltages_by_bus()[:, 1], expected, rtol=1e-14)
    assert found.voltages_by_bus()[:, 0] == pytest.approx(np.ones(len(SHARES)))


def test_voltages_by_time_are_those_of_all_buses_and_scenarios() -> None:
    hours = Hours({"load.p_mw": np.array([[2.0], [4.0]])})
    of = Scenarios({"load.q_mvar": [0.5, 2.0]}) * hours
    problem = GridProblem(two_bus(), [SLACK], of, limits={"vm_pu": None})
    vm_pu = problem.solve([1.0]).vm_pu.reshape(2, 2, 2)  # scenario, hour, bus
    by_time = by_situation(problem, [1.0]).voltages_by_time()
    assert by_time.shape == (len(SHARES), 2)
    for t in range(2):
        values = np.sort(vm_pu[:, t].ravel())
        np.testing.assert_array_equal(by_time[[0, 2, 3, -1], t], values[[0, 0, 1, 3]])


def test_a_chance_is_decided_by_the_situation_at_its_share() -> None:
    problem = scenarios({"vm_pu": Chance(0.6, (0.9, 1.1)), "loading_percent": None})
    (one,) = [
        b for b in by_situation(problem, [1.0]).bindings if b.name == "bus 1 vm_pu min in 60 %"
    ]
    assert one.situation == "scenario 2"  # the middle load
    assert one.value == pytest.approx(problem.solve([1.0]).vm_pu[2, 1], rel=1e-14)


def test_situations_in_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by_situation(scenarios({}, objectives=["v_min_pu"]), [1.02])
    monkeypatch.setattr("gridproblems.evaluation.MAX_SITUATIONS", 2)
    problem = scenarios({}, objectives=["v_min_pu"])
    assert len(problem.evaluation.chunks) == 2
    chunks = by_situation(problem, [1.02])
    assert chunks.bindings == whole.bindings
    np.testing.assert_array_equal(chunks.objectives["v_min_pu"], whole.objectives["v_min_pu"])
    assert (whole.objectives["v_min_pu"] > 0.9).all()  # as it is shown, not its negative
    np.testing.assert_array_equal(chunks.vm_pu, whole.vm_pu)
    assert problem.counts.power_flows == 0


def heavy() -> GridProblem:
    """Two parallel lines, of which one alone cannot carry the load."""
    net = two_bus(100.0, 0.0)
    pp.create_line_from_parameters(net, 0, 1, 1.0, *net.line.loc[0, [
        "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "max_i_ka"]])  # fmt: skip
    net.line["x_ohm_per_km"] *= 1.5
    return GridProblem(
        net,
        [SLACK],
        Outages({"line": [0, 1]}),
        limits={"vm_pu": (0.5, 1.1), "loading_percent": 1e6},
    )


def test_an_outage_without_solution_has_no_values() -> None:
    problem = heavy()
    found = by_situation(problem, [1.05])
    assert found.solved.tolist() == [True, False, False]
    assert np.isnan(found.violation).tolist() == [False, True, True]
    assert np.isnan(found.objectives["p_loss_mw"]).tolist() == [False, True, True]
    assert found.survived.tolist() == [True, False, False]
    assert not any(b.name.startswith("n-1") for b in found.bindings)


def test_what_fails_where_it_must_not_has_no_situations() -> None:
    problem = scenarios({})
    with pytest.raises(PowerFlowNotConverged):
        by_situation(problem.with_engine(_Fails(problem.engine)), [1.0])
    with pytest.raises(ValueError, match="x: expected 1 values"):
        by_situation(problem, [1.0, 2.0])


class _Fails:
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def solve(self, settings: Any) -> Any:
        state = self._engine.solve(settings)
        state.converged[...] = False
        return state


# -- survived outages ---------------------------------------------------------------------------


def test_survived_outages_are_those_of_a_plain_loop() -> None:
    lines = [0, 1, 3, 6, 8]
    free = {"vm_pu": None, "gen_q_mvar": None, "ext_grid_q_mvar": None}
    given = "ieee30", ["setpoints"], Outages(lines), ["p_loss_mw", "survived_outages"]
    open_problem = GridProblem(*given, free)
    X = np.random.default_rng(3).uniform(open_problem.xl, open_problem.xu, (6, 5))
    low = float(np.median([open_problem.solve(x).vm_pu[1:].min(axis=1) for x in X]))
    problem = GridProblem(*given, {**free, "vm_pu": (low, 1.2)})
    F, G = problem.evaluate(X)
    for x, f in zip(X, F, strict=True):
        survived = 0
        for line in lines:
            net = problem.apply(x)
            net.line.loc[line, "in_service"] = False
            pp.runpp(net, tolerance_mva=1e-10)
            survived += bool(net.res_bus.vm_pu.min() >= low)
        assert -f[1] == survived
        assert by_situation(problem, x).survived[1:].sum() == survived
    assert len(np.unique(F[:, 1])) > 1
    assert problem.objective_signs.tolist() == [1.0, -1.0]
    assert not [name for name in problem.constraint_names if name.startswith("n-1")]
    assert G.shape[1] == len(problem.constraint_names)


def test_survived_outages_without_solution_and_of_failed_candidates() -> None:
    net = heavy().grid.given
    problem = GridProblem(
        net, [SLACK], Outages({"line": [0, 1]}), ["survived_outages"], {"vm_pu": (0.5, 1.1)}
    )
    assert problem.evaluate([1.05])[0].tolist() == [0.0]
    failed = problem.with_engine(_Fails(problem.engine))
    assert failed.evaluate([1.05])[0].tolist() == [FAILED_F]


def test_counting_outages_needs_outages_and_no_limit_that_holds_in_all() -> None:
    with pytest.raises(ValueError, match="survived_outages: expected outages among the situations"):
        GridProblem("ieee14", ["setpoints"], objectives=["survived_outages"])
    one = {"loading_margin_percent": 20.0}
    of = ("ieee14", ["setpoints"], Outages([0, 1]), ["survived_outages"], one)
    with pytest.raises(ValueError, match="survived_outages: the limit loading_margin_percent"):
        GridProblem(*of)
    problem = GridProblem(*of, emergency_limits={"loading_margin_percent": None})
    assert "loading_margin_percent" in problem.constraint_names


# -- figures and reports ------------------------------------------------------------------------


def test_fans_and_bars_draw_what_was_found(outages: GridProblem) -> None:
    found = by_situation(outages, outages.base_x)
    figures = situation_figures(found, outages)
    assert sorted(figures) == ["situations", "voltage_fan"]
    (axes,) = figures["voltage_fan"].axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata()[:-1], found.voltages_by_bus()[3])
    assert [t.get_text() for t in axes.get_xticklabels()] == outages.grid.voltage_labels
    left, right = figures["situations"].axes
    widths = [bar.get_width() for bar in left.patches]
    np.testing.assert_allclose(widths, np.sort(found.objectives["p_loss_mw"])[::-1])
    widths = [bar.get_width() for bar in right.patches]
    np.testing.assert_allclose(widths, np.sort(found.violation)[::-1] * 100)
    assert left.get_xlabel() == "p_loss_mw [MW]"


def test_bars_beyond_the_first_thirty_are_counted_and_failures_come_first() -> None:
    violation = np.r_[np.nan, np.linspace(0.1, 0.0, 40)]
    figure = plot_situation_bars(
        [f"s{i}" for i in range(41)], np.r_[np.nan, np.arange(40.0)], violation, label="loss"
    )
    left, right = figure.axes
    assert left.get_title("left") == "the worst 30 of 40"
    assert right.get_title("left") == "the worst 30 of 40"
    assert [t.get_text() for t in right.get_yticklabels()][:3] == ["s0", "s1", "s2"]
    assert [text.get_text() for text in right.texts] == ["no solution"]
    figure = plot_situation_bars(["", "b"], np.array([2.0, 1.0]), np.zeros(2), largest_first=False)
    (only,) = figure.axes
    assert [t.get_text() for t in only.get_yticklabels()] == ["b", "as it is"]


def test_fan_over_time_and_price_of_security() -> None:
    vm_pu = np.linspace(0.9, 1.1, 5)[:, np.newaxis] * np.ones(4)
    figure = plot_voltage_fan(vm_pu, (0, 0.1, 0.5, 0.9, 1), hours=0.5, band=(0.95, 1.05))
    (axes,) = figure.axes
    assert axes.get_xlim() == (0.0, 2.0)
    assert [line.get_label() for line in axes.lines] == ["median", "limit", "limit"]
    figure = plot_price_of_security(
        np.arange(3), {"a": np.array([1.0, 2.0, np.nan])}, n_outages=2, known={"best": (2.0, 2.5)}
    )
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 2.0, np.nan])
    assert axes.get_xlabel() == "outages survived, of 2"


def test_a_run_says_which_situation_binds(tmp_path: Path) -> None:
    asked = ["solve", "grid", "--case", "ieee14", "--control", "setpoints", "--evals", "20"]
    asked += ["--situations", "outages:[0,1]", "--quiet", "--out", str(tmp_path), "--debug"]
    found = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert found.exit_code == 0
    folder = Path(found.stdout.strip())
    text = (folder / "summary.md").read_text(encoding="utf-8")
    assert "## Which situation binds" in text
    assert "line 0 out" in text
    assert len((folder / "situations.csv").read_text().splitlines()) == 4
    assert (folder / "limits.csv").read_text().startswith("name,situation,value,limit,margin,unit")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h2>voltage fan</h2>" in page
    assert "<h2>situations</h2>" in page
    assert json.loads((folder / "result.json").read_text())["converged"]
