"""Limits: which ones a net lacks, what may be given for them."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from matplotlib.patches import StepPatch
from nets import feeder, two_bus

from gridproblems import (
    PROBLEMS,
    DERPlacement,
    MissingLimits,
    ReactivePowerDispatch,
    Reconfiguration,
)
from gridproblems.outlook import CheckedLimits, checked_limits, outlook


@pytest.mark.parametrize(
    "make", [ReactivePowerDispatch, Reconfiguration, DERPlacement], ids=lambda task: task.__name__
)
def test_a_net_without_limits_warns_and_says_which_are_missing(make: Any) -> None:
    net = feeder()
    with pytest.warns(MissingLimits) as caught:
        make(net)
    (warning,) = [w for w in caught if w.category is MissingLimits]
    assert warning.filename == __file__
    for words in ("no voltage band", "no loading limit of lines and transformers", "--limit vm_pu"):
        assert words in str(warning.message)


@pytest.mark.parametrize(
    ("limits", "missing"),
    [
        ({"vm_pu": (0.9, 1.1)}, ["loading_percent"]),
        ({"loading_percent": 100.0}, ["vm_pu"]),
        ({"loading_percent": 100.0, "vm_pu": (0.9, 1.1)}, []),
        ({"loading_percent": None, "vm_pu": None}, []),  # somebody who means it
        ({"vm_pu": None}, ["loading_percent"]),
    ],
)
def test_only_limits_that_nobody_spoke_of_are_missed(limits: Any, missing: list[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ReactivePowerDispatch(feeder(), limits=limits)
    texts = [str(w.message) for w in caught if w.category is MissingLimits]
    assert len(texts) == bool(missing)
    for name in ("vm_pu", "loading_percent"):
        assert any(f"--limit {name}=" in text for text in texts) == (name in missing)


def test_packaged_cases_and_nets_with_limits_of_their_own_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MissingLimits)
        Reconfiguration("case33bw")
        DERPlacement("case33bw")
        ReactivePowerDispatch("ieee39")
        ReactivePowerDispatch(pn.case9())


@pytest.mark.parametrize(
    "limits",
    [
        *(3, "vm_pu", [0.9, 1.1], {"vm_pu": 1.0}, {"vm_pu": (1.1, 0.9)}, {"vm_pu": (0.9, None)}),
        *({"vm_pu": (math.nan, 1.1)}, {"loading_percent": 0.0}, {"loading_percent": (0, 100)}),
        *({"loading_percent": "100"}, {"vm_pu": "no"}, {7: 1}, {"loading_percent": True}),
    ],
)
@pytest.mark.parametrize("task", list(PROBLEMS))
def test_limits_that_cannot_be_are_refused_by_every_task(task: str, limits: Any) -> None:
    case = {"regulators": "village", "storage": "lv18", "allocation": "lv18"}.get(task, "case33bw")
    more: dict[str, Any] = {}
    if task == "storage":
        more["storages"] = [{"bus": 9, "power_mw": 0.003, "energy_mwh": 0.009}]
    if task == "grid":
        more["controls"] = "switching"
    with pytest.raises(ValueError, match=r"^limits: "):
        PROBLEMS[task](case, limits=limits, **more)


def test_given_limits_are_those_of_the_figures_and_of_written_nets(tmp_path: Path) -> None:
    net = two_bus()
    given = {"vm_pu": (0.97, 1.03), "loading_percent": None}
    problem = ReactivePowerDispatch(net, limits=given)
    axes = problem.figures(problem.base_x)["voltage"].axes[0]
    drawn = [patch.get_data().values for patch in axes.patches if isinstance(patch, StepPatch)]
    assert [set(values) for values in drawn] == [{0.97}, {1.03}]
    problem.write(problem.base_x, tmp_path)
    written = pp.from_json(str(tmp_path / "net.json"))
    assert set(written.bus.min_vm_pu) == {0.97}
    assert written.line.max_loading_percent.isna().all()
    assert set(net.bus.min_vm_pu) == {0.9}  # the caller's net stays
    placement = DERPlacement(net, 1, "dg", limits=given)
    assert set(placement.apply(placement.base_x).bus.max_vm_pu) == {1.03}
    again = ReactivePowerDispatch(written, limits={"loading_percent": None})
    assert again.constraint_names == problem.constraint_names


def test_checked_limits_count_elements_and_span_their_limits() -> None:
    net = two_bus()
    net.bus.loc[0, "max_vm_pu"] = 1.06
    problem = ReactivePowerDispatch(net)
    by_name = {limit.name: limit for limit in checked_limits(problem)}
    assert by_name["vm_pu"] == CheckedLimits("vm_pu", 2, (0.9, 0.9), (1.06, 1.1), "p.u.")
    assert str(by_name["vm_pu"]) == "vm_pu from 0.9 to 1.06..1.1 p.u. (2)"
    assert str(by_name["line_loading_percent"]) == "line_loading_percent to 100 % (1)"
    secure = DERPlacement("lv18", limits={"vm_pu": None}, every_snapshot=True)
    assert [str(limit) for limit in checked_limits(secure)] == [
        "line_loading_percent to 100 % (16)",
        "trafo_loading_percent to 100 % (1)",
    ]


def test_violations_are_distances_in_physical_units_nearest_first() -> None:
    net = two_bus(p_mw=60.0, q_mvar=30.0)
    problem = ReactivePowerDispatch(
        net, limits={"vm_pu": (0.97, 1.1), "loading_percent": 1.0}, engine="reference"
    )
    x = problem.base_x
    state = problem.solve(x)
    beyond = {
        "bus 1 vm_pu min": 0.97 - state.vm_pu[0, 1],
        "line 0 loading_percent": state.line_loading_percent[0, 0] - 1.0,
    }
    assert min(beyond.values()) > 0
    found = problem.violations(x)
    assert {v.name: v.beyond for v in found} == pytest.approx(beyond)
    assert [v.share for v in found] == sorted(v.share for v in found)
    G = problem.evaluate(x)[1]
    assert sum(v.share for v in found) == pytest.approx(np.maximum(G, 0).sum())
    assert {v.name: (v.limit, v.unit) for v in found} == {
        "bus 1 vm_pu min": (0.97, "p.u."),
        "line 0 loading_percent": (1.0, "%"),
    }
    assert f"line 0 loading_percent 1 % by {beyond['line 0 loading_percent']:.3g} %" in map(
        str, found
    )


def test_limits_that_no_setting_can_mend_are_named_before_the_search() -> None:
    net = two_bus()
    net.ext_grid["vm_pu"] = 1.08  # no control: bus 0 stays there
    problem = ReactivePowerDispatch(net, limits={"vm_pu": (0.9, 1.05), "loading_percent": None})
    seen = outlook(problem)
    assert {v.name for v in seen.now} == {"bus 0 vm_pu max", "bus 1 vm_pu max"}
    assert seen.unmoved == ("bus 0 vm_pu max",)
    assert seen.n_solved == seen.n_settings > 10
    (fixed,) = [v for v in seen.never if v.name == "bus 0 vm_pu max"]
    assert fixed.beyond == pytest.approx(0.03)
    text = "\n".join(seen.lines)
    assert "As it is the grid breaks 2 limits" in text
    assert "None of them changed these at all: bus 0 vm_pu max" in text
    assert problem.counts.evaluated == problem.counts.power_flows == problem.counts.failed == 0


def test_what_one_setting_mends_is_not_said_to_be_beyond_mending() -> None:
    problem = ReactivePowerDispatch("ieee39")  # its base case is below 0.9 p.u.
    seen = outlook(problem)
    mended = {v.name for v in problem.violations(problem.encode(problem.best_known.settings))}
    assert seen.now
    assert not mended
    assert not seen.unmoved
    assert not any("None of them changed" in line for line in seen.lines)


def test_a_grid_within_its_limits_says_nothing_before_the_search() -> None:
    assert outlook(ReactivePowerDispatch(two_bus())).lines == []
