"""`gridproblems.testing`: its checks over all registries, and that each finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower.networks as pn
import pytest
from nets import tap_zoo
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population

from algorithms import ALGORITHMS, MVMO
from gridproblems import GridProblem
from gridproblems.cases import load_case
from gridproblems.controls import CONTROLS, Control, Schedules, Setpoints, Taps
from gridproblems.controls.direct import DirectBlock
from gridproblems.engines import ENGINES, NewtonEngine
from gridproblems.grids import FeederGrid
from gridproblems.objectives import OBJECTIVES
from gridproblems.situations import Hours, Situations
from gridproblems.state import Field, GridState, Settings
from gridproblems.testing import check_algorithm, check_control, check_engine, check_problem

STORAGES = [{"bus": bus, "power_mw": 0.002, "energy_mwh": 0.005} for bus in (9, 18)]
#: Controls that need another grid than 14 buses or the village, or situations, or arguments.
WHERE: dict[str, tuple[Any, Any, Any]] = {
    "shunts": (CONTROLS["shunts"](), tap_zoo(), None),
    "powers": (CONTROLS["powers"](), pn.case14(), None),
    "compensators": (CONTROLS["compensators"](), tap_zoo(), None),
    "switching": (CONTROLS["switching"](), "case33bw", None),
    "profiles": (CONTROLS["profiles"](), "lv18", Hours(n=24)),
    "schedules": (Schedules(STORAGES), "lv18", Hours()),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control(name: str) -> None:
    make = CONTROLS[name]
    usual = "village" if getattr(make, "of_grid", "net") == "feeder" else "ieee14"
    control, grid, situations = WHERE[name] if name in WHERE else (make(), usual, None)
    check_control(control, grid, situations)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_nets(name: str) -> None:
    objective = OBJECTIVES[name]
    problem = GridProblem("ieee14", [Setpoints(), Taps()], objectives=[name])
    check_problem(problem, 4)
    assert objective.name == name
    unit = {"p.u.": "pu", "%": "percent", "": ""}.get(objective.unit, objective.unit.lower())
    assert name.endswith(unit)


@pytest.mark.parametrize("name", FeederGrid("village").objectives_in(Situations()))
def test_every_objective_of_feeders(name: str) -> None:
    check_problem(GridProblem("village", ["regulators", "capacitors"], objectives=[name]), 4)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine(name: str) -> None:
    net = load_case("case33bw").net()
    check_engine(ENGINES[name], net, (Field("load", "p_mw", tuple(net.load.index)),))


def single_objective() -> list[str]:
    """Algorithms that take a problem with one objective and mixed variables."""
    from gridproblems.testing import MixedProblem

    found = []
    for name, make in ALGORITHMS.items():
        try:
            make(MixedProblem(vectors=True))
        except ValueError:
            continue
        found.append(name)
    return found


@pytest.mark.parametrize("name", single_objective())
def test_every_algorithm(name: str) -> None:
    check_algorithm(
        lambda problem: ALGORITHMS[name](problem),
        vectors=name != "mixed-ga",
        own_generator=name != "cmaes",  # pymoo's draws from numpy's global one
    )


# -- what is wrong is found ------------------------------------------------------------------------


class Ratio(DirectBlock):
    """Taps that may be spoilt."""

    spoilt = ""

    def values(self, x: Any, situations: Situations) -> Any:
        values = super().values(x, situations)
        if self.spoilt == "batch":
            values = values + 0.01 * (len(x) > 1)
        return values[..., :-1] if self.spoilt == "shape" else values

    @property
    def gathered(self) -> None:
        return None

    def snap(self, x: Any) -> Any:
        snapped = super().snap(x)
        return snapped + 0.25 if self.spoilt == "snap" else snapped


class Ratios:
    """The taps of 14 buses as a stranger writes them."""

    def __init__(self, spoilt: str = "") -> None:
        self.spoilt = spoilt

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> DirectBlock:
        """Two taps."""
        own = [Control("trafo", "tap_pos", (e,), "integer", -3, 3) for e in (0, 1)]
        block = Ratio("ratios", own, grid)
        block.spoilt = self.spoilt
        return block


def test_a_control_of_a_stranger() -> None:
    check_control(Ratios(), "ieee14")


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("batch", "values depend on the batch"),
        ("shape", "2 values are set, but"),
        ("snap", "snapping twice moves|snapping leaves|base_x is not snapped"),
    ],
)
def test_spoilt_controls_are_found(spoilt: str, message: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=message):
        check_control(Ratios(spoilt), "ieee14")


class HighVoltage(NewtonEngine):
    """Voltages a little too high."""

    def solve(self, settings: Settings) -> GridState:
        """The state, spoilt."""
        state = super().solve(settings)
        values = state.values.copy()
        values[..., state.layout.slices["vm_pu"]] += 1e-3
        return GridState(state.layout, values, state.converged, state.n_unsupplied)


def test_a_spoilt_engine_is_found() -> None:
    with pytest.raises(AssertionError, match=r"vm_pu differs from runpp by 1\.0e-03"):
        check_engine(HighVoltage, load_case("ieee14").net())


class Unseeded(GA):
    """Draws from numpy's global generator."""

    def _infill(self) -> Population:
        off = super()._infill()
        x = off.get("X")
        drawn = np.random.uniform(size=len(x))  # noqa: NPY002
        off.set("X", np.column_stack([np.clip(x[:, :1] + 0.01 * drawn[:, None], -2, 2), x[:, 1:]]))
        return off


class Outside(MVMO):
    """Leaves the bounds."""

    def _infill(self) -> Population:
        off = super()._infill()
        off.set("X", off.get("X") + np.array([10.0, 0.0, 0.0, 0.0, 0.0]))
        return off


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unseeded(pop_size=20), "the same seed gives another run"),
        (lambda: Outside(local_search=False), "is out of bounds"),
        (lambda: GA(pop_size=20), "is not whole"),
    ],
)
def test_spoilt_algorithms_are_found(make: Callable[[], Algorithm], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_algorithm(lambda problem: make())


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda settings, state: np.random.uniform(), "F differs by"),  # noqa: NPY002
        (lambda settings, state: 2e9, "none of 30 random vectors solves"),
    ],
)
def test_spoilt_objectives_are_found(spoilt: Any, message: str) -> None:
    problem = GridProblem("ieee14", [Setpoints()], objectives=[spoilt])
    with pytest.raises(AssertionError, match=message):
        check_problem(problem, 4)
