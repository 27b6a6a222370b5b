"""The judge of the best known losses starts its power flow anew where it diverges."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandapower as pp
import pytest

pytest.importorskip("casadi")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "references"))

import orpd_relaxation

from gridproblems.cases import load_case


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes power flows diverge from "dc", and those of "net 2" from everywhere."""
    runpp, starts = pp.runpp, []

    def diverging(net: Any, init: str, **kwargs: Any) -> None:
        starts.append(init)
        if init == "dc" or net.name == "net 2":
            raise pp.LoadflowNotConverged
        runpp(net, init=init, **kwargs)

    monkeypatch.setattr(orpd_relaxation.pp, "runpp", diverging)
    return starts


def test_a_power_flow_that_diverges_from_dc_starts_from_elsewhere(started: list[str]) -> None:
    net = load_case("ieee14").net()
    orpd_relaxation.run(net)
    assert started == ["dc", "auto"]
    losses = orpd_relaxation.losses_mw(net, "p_loss_mw")
    pp.runpp(net, init="flat", tolerance_mva=1e-9)
    assert losses == pytest.approx(net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum(), rel=1e-9)


def test_one_that_diverges_from_everywhere_says_so(started: list[str]) -> None:
    net = load_case("ieee14").net()
    net.name = "net 2"
    with pytest.raises(pp.LoadflowNotConverged):
        orpd_relaxation.run(net)
    assert started == ["dc", "auto", "flat"]
