"""Objectives: functions of settings and state, in physical units, all minimised.

Over several snapshots, sums are averaged and extremes are the worst of all snapshots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from gridproblems.state import GridState, Settings

ObjectiveFunction = Callable[[Settings, GridState], float]


def p_loss_mw(settings: Settings, state: GridState) -> float:
    """Active losses of lines, transformers and impedances, mean over snapshots. [MW]"""
    return float(state.p_loss_mw.sum()) / state.n_snapshots


def line_loss_mw(settings: Settings, state: GridState) -> float:
    """Active losses of the lines alone, mean over snapshots. [MW]"""
    return float(state.line_loss_mw.sum()) / state.n_snapshots


def voltage_deviation_pu(settings: Settings, state: GridState) -> float:
    """Summed distance of load-bus voltages from 1 p.u., mean over snapshots. [p.u.]

    Load buses are those whose voltage no generator or external grid holds, as in the
    reactive-dispatch literature.
    """
    load_vm_pu = state.vm_pu[:, state.layout.is_load_bus]
    return float(np.nansum(np.abs(load_vm_pu - 1.0), axis=1).mean())


def l_index(settings: Settings, state: GridState) -> float:
    """Largest voltage-stability index L of all load buses, 0 without load, 1 at collapse.

    ``L_j = |1 - sum_i F_ji V_i / V_j|`` with ``F = -Y_LL^-1 Y_LG``: the sum is the voltage of
    load bus j with its load switched off and the generators' voltages held.

    Source:
        P. Kessel, H. Glavitsch, Estimating the voltage stability of a power system, IEEE
        Transactions on Power Delivery 1 (1986) 346-354, doi 10.1109/TPWRD.1986.4308013.
    """
    worst = 0.0
    for t in range(state.n_snapshots):
        model = state.bus_branch(t)
        loads, generators, v = model.load_buses, model.generator_buses, model.v_pu
        if not len(loads):
            continue
        ybus = csc_matrix((model.ybus_pu, model.indices, model.indptr), (len(v), len(v)))
        rows = ybus[loads]
        no_load_v = splu(rows[:, loads].tocsc()).solve(-(rows[:, generators] @ v[generators]))
        worst = max(worst, float(np.abs(1.0 - no_load_v / v[loads]).max()))
    return worst


def loading_percent(settings: Settings, state: GridState) -> float:
    """Largest loading of all lines and transformers. [%]"""
    loadings = state.values[:, state.layout.slices["branch_loading_percent"]]
    return float(loadings.max(initial=0.0))


@dataclass(frozen=True)
class Objective:
    """A named objective with its unit."""

    name: str
    unit: str
    function: ObjectiveFunction


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("p_loss_mw", "MW", p_loss_mw),
        Objective("line_loss_mw", "MW", line_loss_mw),
        Objective("voltage_deviation_pu", "p.u.", voltage_deviation_pu),
        Objective("l_index", "", l_index),
        Objective("loading_percent", "%", loading_percent),
    )
}


def resolve_objective(objective: str | ObjectiveFunction | Objective) -> Objective:
    """The objective of a name, or a user's function of (settings, state) as an objective.

    Raises:
        ValueError: The name is unknown, or the argument is neither name nor callable.
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(
                f"objectives: unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}"
            )
        return OBJECTIVES[objective]
    if callable(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        return Objective(name, "", objective)
    raise ValueError(f"objectives: expected a name or a callable, got {objective!r}")
