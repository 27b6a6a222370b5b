"""Objectives: functions of settings and state, in physical units, all minimised.

Over several snapshots, sums are averaged and extremes are the worst of all snapshots. Functions
reduce the last two axes of a state, (..., n_snapshots, n_elements), so that they give one value for
the state of one candidate and one per candidate for a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from gridproblems._names import with_nearest
from gridproblems.state import GridState, Settings

ObjectiveFunction = Callable[[Settings, GridState], Any]


def p_loss_mw(settings: Settings, state: GridState) -> Any:
    """Active losses of lines, transformers and impedances, mean over snapshots. [MW]"""
    return state.p_loss_mw.mean(axis=-1)


def line_loss_mw(settings: Settings, state: GridState) -> Any:
    """Active losses of the lines alone, mean over snapshots. [MW]"""
    return state.line_loss_mw.sum(axis=-1).mean(axis=-1)


def p_loss_kw(settings: Settings, state: GridState) -> Any:
    """Active losses of lines, transformers and impedances, mean over snapshots. [kW]"""
    return 1e3 * p_loss_mw(settings, state)


def v_min_pu(settings: Settings, state: GridState) -> Any:
    """The lowest bus voltage of all snapshots, maximised: its negative is minimised. [p.u.]"""
    vm_pu = state.vm_pu
    return -np.where(np.isnan(vm_pu), np.inf, vm_pu).min(axis=(-2, -1))


def voltage_deviation_pu(settings: Settings, state: GridState) -> Any:
    """Summed distance of load-bus voltages from 1 p.u., mean over snapshots. [p.u.]

    Load buses are those whose voltage no generator or external grid holds, as in the
    reactive-dispatch literature; a bus that a closed coupler joins to a machine's bus in the base
    case is none.
    """
    # compress keeps one candidate's values together, so that sums do not depend on the batch
    load_vm_pu = state.vm_pu.compress(state.layout.is_load_bus, axis=-1)
    return np.nansum(np.abs(load_vm_pu - 1.0), axis=-1).mean(axis=-1)


def l_index(settings: Settings, state: GridState) -> Any:
    """Largest voltage-stability index L of all load buses, 0 without load, 1 at collapse.

    ``L_j = |1 - sum_i F_ji V_i / V_j|`` with ``F = -Y_LL^-1 Y_LG``: the sum is the voltage of
    load bus j with its load switched off and the generators' voltages held.

    Source:
        P. Kessel, H. Glavitsch, Estimating the voltage stability of a power system, IEEE
        Transactions on Power Delivery 1 (1986) 346-354, doi 10.1109/TPWRD.1986.4308013.
    """
    worst = np.zeros(state.converged.size)
    for row in range(len(worst)):
        model = state.bus_branch(row)
        loads, generators, v = model.load_buses, model.generator_buses, model.v_pu
        if not len(loads):
            continue
        ybus = csc_matrix((model.ybus_pu, model.indices, model.indptr), (len(v), len(v)))
        of_loads = ybus[loads]
        held = of_loads[:, generators] @ v[generators]
        no_load_v = splu(of_loads[:, loads].tocsc()).solve(-held)
        worst[row] = np.abs(1.0 - no_load_v / v[loads]).max()
    return worst.reshape(state.converged.shape).max(axis=-1)


def loading_percent(settings: Settings, state: GridState) -> Any:
    """Largest loading of all lines and transformers. [%]"""
    return state["branch_loading_percent"].max(axis=(-2, -1), initial=0.0)


@dataclass(frozen=True)
class Objective:
    """A named objective with its unit.

    Attributes:
        function: Of (settings, state).
        batched: Whether the function also takes a batch and gives one value per candidate; others
            get one candidate at a time.
        is_negative: Whether the value is the negative of what the name says, which is to be large;
            results show the quantity itself.
    """

    name: str
    unit: str
    function: ObjectiveFunction
    batched: bool = False
    is_negative: bool = False

    def __call__(self, settings: Settings, state: GridState) -> Any:
        """Value of one candidate, or values (n_candidates,) of a batch."""
        if self.batched or state.values.ndim == 2:
            return self.function(settings, state)
        return np.array(
            [
                self.function(settings.candidate(i), state.candidate(i))
                for i in range(len(state.values))
            ]
        )


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("p_loss_mw", "MW", p_loss_mw, True),
        Objective("line_loss_mw", "MW", line_loss_mw, True),
        Objective("p_loss_kw", "kW", p_loss_kw, True),
        Objective("voltage_deviation_pu", "p.u.", voltage_deviation_pu, True),
        Objective("v_min_pu", "p.u.", v_min_pu, True, is_negative=True),
        Objective("l_index", "", l_index, True),
        Objective("loading_percent", "%", loading_percent, True),
    )
}


def resolve_objective(
    objective: str | ObjectiveFunction | Objective, known: Mapping[str, Objective] = OBJECTIVES
) -> Objective:
    """The objective of a name, or a user's function of (settings, state) as an objective.

    Raises:
        ValueError: The name is unknown, or the argument is neither name nor callable.
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective not in known:
            raise ValueError(f"objectives: unknown objective {with_nearest(objective, known)}")
        return known[objective]
    if callable(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        return Objective(name, "", objective)
    raise ValueError(f"objectives: expected a name or a callable, got {objective!r}")
