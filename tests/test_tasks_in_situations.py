"""Every task in hours, scenarios and outages against a plain loop of single power flows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandapower as pp
import pytest

from gridproblems import (
    PROBLEMS,
    DERAllocation,
    DERPlacement,
    Disturbances,
    GridProblem,
    Hours,
    Outages,
    ReactivePowerDispatch,
    Reconfiguration,
    RegulatorControl,
    Scenarios,
    StorageSchedule,
)
from gridproblems.testing import random_vectors

OBJECTIVES = [("p_loss_kw", "mean"), ("p_loss_kw", "max")]
SCALES = (0.9, 1.1)
SCENARIOS = Scenarios({"load.p_mw": SCALES, "load.q_mvar": SCALES})
BAND = {"vm_pu": (0.97, 1.03)}
HOURS = Hours(load=[0.5, 0.8])
STORAGE = [{"bus": 12, "power_mw": 5.0, "energy_mwh": 20.0}]


@dataclass(frozen=True)
class Instance:
    """A task: made with situations, in what hours, and which lines of it can go out."""

    make: Callable[[Any], GridProblem]
    hours: Hours = HOURS
    lines: tuple[int, ...] = ()


INSTANCES = {
    "orpd": Instance(
        lambda s: ReactivePowerDispatch(
            "ieee14",
            OBJECTIVES,
            limits={**BAND, "gen_q_mvar": None, "ext_grid_q_mvar": None},
            situations=s,
        ),
        lines=(3, 6),
    ),
    "reconfiguration": Instance(
        lambda s: Reconfiguration("case33bw", OBJECTIVES, limits=BAND, situations=s)
    ),
    "allocation": Instance(
        lambda s: DERAllocation("lv18", objectives=OBJECTIVES, limits=BAND, situations=s),
        Hours(n=24),
    ),
    "placement": Instance(
        lambda s: DERPlacement("ieee14", 2, "dg", OBJECTIVES, BAND, max_size=10.0, situations=s),
        lines=(3, 6),
    ),
    "storage": Instance(
        lambda s: StorageSchedule("ieee14", STORAGE, OBJECTIVES, BAND, situations=s),
        lines=(3, 6),
    ),
    "grid": Instance(
        lambda s: GridProblem(
            "ieee14", ["setpoints", "taps"], s, OBJECTIVES, BAND, periods={"taps": 2}
        ),
        lines=(3, 6),
    ),
}


def losses_and_voltages(net: Any) -> tuple[float, np.ndarray]:
    """What ``runpp`` says of a net: losses of all branches in kW, and voltages."""
    pp.runpp(net)
    losses = sum(float(net[t].pl_mw.sum()) for t in ("res_line", "res_trafo", "res_trafo3w"))
    return 1e3 * losses, net.res_bus.vm_pu.to_numpy()


def worst_beyond(vm_pu: list[np.ndarray], problem: GridProblem, group: str) -> dict[str, float]:
    """How far buses leave the band at worst, by the names of the entries. [p.u.]"""
    low, high = np.min(vm_pu, axis=0), np.max(vm_pu, axis=0)
    found = {}
    for name in problem.constraint_names:
        words = name.removeprefix(group).split()
        if name.startswith(group) and words[0] == "bus" and words[-2] == "vm_pu":
            bus = list(problem.grid.net.bus.index).index(int(words[1]))
            is_upper = words[-1] == "max"
            found[name] = high[bus] - BAND["vm_pu"][1] if is_upper else BAND["vm_pu"][0] - low[bus]
    return found


@pytest.mark.parametrize("task", INSTANCES)
def test_a_task_in_situations_is_a_loop_of_power_flows(task: str) -> None:
    given = INSTANCES[task]
    single = given.make(given.hours)
    whole = given.make(
        Outages(given.lines) * SCENARIOS * given.hours if given.lines else SCENARIOS * given.hours
    )
    assert type(whole) is PROBLEMS[task]
    n_time = single.situations.n
    assert whole.situations.n == n_time * len(SCALES) * (1 + len(given.lines))
    x = whole.snap(random_vectors(whole, 1)[0])
    F, G = whole.evaluate(x)
    losses = np.empty((len(SCALES), n_time))
    before, after = [], []
    for i, scale in enumerate(SCALES):
        for t in range(n_time):
            net = single.apply(x, t)
            net.load[["p_mw", "q_mvar"]] *= scale
            losses[i, t], vm_pu = losses_and_voltages(net)
            before.append(vm_pu)
            for line in given.lines:
                net.line.loc[line, "in_service"] = False
                after.append(losses_and_voltages(net)[1])
                net.line.loc[line, "in_service"] = True
    daily = losses.mean(axis=1)
    np.testing.assert_allclose(F, [daily.mean(), daily.max()], rtol=1e-7)
    scale_of = dict(
        zip(whole.evaluation.entries.names, whole.evaluation.entries.measures, strict=True)
    )
    groups = {"": before, "n-1 ": after} if after else {"": before}
    for group, vm_pu in groups.items():
        expected = worst_beyond(vm_pu, whole, group)
        assert len(expected) >= 2
        for name, beyond in expected.items():
            entry = G[whole.constraint_names.index(name)]
            assert entry * scale_of[name].scale == pytest.approx(beyond, abs=1e-8), name


def test_regulators_in_situations_are_a_loop_of_power_flows() -> None:
    """The worst and the mean of a load that grows, each in a power flow of its own."""
    changes = (None, 1.2, 0.7)

    def problem(situations: Any, objectives: Any = "node_voltage_fitness") -> GridProblem:
        return RegulatorControl(
            "ieee123", objectives, "taps", situations=situations, limits={"vm_pu": (0.95, 1.05)}
        )

    names = [("node_voltage_fitness", "mean"), ("node_voltage_fitness", "max")]
    whole = problem(Disturbances(changes), names)
    x = whole.snap(random_vectors(whole, 1)[0])
    F, G = whole.evaluate(x)
    each = [problem(Disturbances((change,))).evaluate(x) for change in changes]
    values = np.array([f[0] for f, _ in each])
    assert np.ptp(values) > 0
    np.testing.assert_allclose(F, [values.mean(), values.max()], rtol=1e-9)
    np.testing.assert_allclose(G, np.max([g for _, g in each], axis=0), rtol=1e-9)


def test_every_task_is_here() -> None:
    assert {*INSTANCES, "regulators"} == set(PROBLEMS)
