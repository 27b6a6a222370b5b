"""Limits: which ones a net lacks, what may be given for them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pandapower.networks as pn
import pytest
from nets import feeder

from gridproblems import (
    PROBLEMS,
    DERPlacement,
    MissingLimits,
    ReactivePowerDispatch,
    Reconfiguration,
)


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
    with pytest.raises(ValueError, match=r"^limits: "):
        PROBLEMS[task](case, limits=limits, **more)
