"""Quantities of a solved grid, one value per situation, and objectives made of them.

A quantity is a function of settings and state that keeps all axes but the elements: shape
(..., n_situations). An objective is a quantity and two reductions, over time and over the rest. All
objectives are minimised; their names end in their unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from gridproblems.reductions import reduction, slope_of
from gridproblems.situations import Situations
from gridproblems.stability import loading_margin_percent
from gridproblems.state import (
    BusBranchSolution,
    ComplexArray,
    FloatArray,
    GridState,
    ModelSlope,
    Settings,
)

Quantity = Callable[[Settings, GridState], FloatArray]
Reduced = str | tuple[str, float]


def p_loss_mw(settings: Settings, state: GridState) -> FloatArray:
    """Active losses of lines, transformers and impedances. [MW]"""
    return state.p_loss_mw


def line_loss_mw(settings: Settings, state: GridState) -> FloatArray:
    """Active losses of the lines alone. [MW]"""
    losses: FloatArray = state.line_loss_mw.sum(axis=-1)
    return losses


def v_min_pu(settings: Settings, state: GridState) -> FloatArray:
    """The lowest bus voltage, maximised: its negative is minimised. [p.u.]"""
    vm_pu = state.vm_pu
    lowest: FloatArray = np.where(np.isnan(vm_pu), np.inf, vm_pu).min(axis=-1)
    return -lowest


def voltage_deviation_pu(settings: Settings, state: GridState) -> FloatArray:
    """Summed distance of load-bus voltages from 1 p.u. [p.u.]

    Load buses are those whose voltage no generator or external grid holds, as in the
    reactive-dispatch literature; a bus that a closed coupler joins to a machine's bus in the base
    case is none.
    """
    # compress keeps one candidate's values together, so that sums do not depend on the batch
    load_vm_pu = state.vm_pu.compress(state.layout.is_load_bus, axis=-1)
    deviation: FloatArray = np.nansum(np.abs(load_vm_pu - 1.0), axis=-1)
    return deviation


def l_index(settings: Settings, state: GridState) -> FloatArray:
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
        loads = model.load_buses
        if len(loads):
            _, _, no_load_v = _without_load(model)
            worst[row] = np.abs(1.0 - no_load_v / model.v_pu[loads]).max()
    return worst.reshape(state.converged.shape)


def _without_load(model: BusBranchSolution) -> tuple[csc_matrix, Any, ComplexArray]:
    """Rows of load buses in the admittance matrix, the factors of ``Y_LL``, and the voltages of
    load buses with their loads switched off, shape (n_loads,). [p.u.]"""
    loads, generators, v = model.load_buses, model.generator_buses, model.v_pu
    ybus = csc_matrix((model.ybus_pu, model.indices, model.indptr), (len(v), len(v)))
    of_loads = ybus[loads]
    held = of_loads[:, generators] @ v[generators]
    factors = splu(of_loads[:, loads].tocsc())
    return of_loads, factors, factors.solve(-held)


def l_index_slope(model: BusBranchSolution) -> ModelSlope:
    """Of `l_index`, at the load bus j with the largest, by voltages and admittances.

    With ``V0 = -Y_LL^-1 Y_LG V_G``, ``c = (1 - V0_j / V_j) / L_j`` and ``u = Y_LL^-T e_j``, the
    index moves by ``Re(conj(c) / V_j (u (dY_LL V0 + dY_LG V_G + Y_LG dV_G) + V0_j / V_j dV_j))``.
    """
    loads, generators, v = model.load_buses, model.generator_buses, model.v_pu
    by_v, by_ybus = np.zeros_like(v), np.zeros_like(model.ybus_pu)
    if not len(loads):
        return ModelSlope(by_v, by_ybus)
    of_loads, factors, no_load_v = _without_load(model)
    distance = 1.0 - no_load_v / v[loads]
    j = int(np.abs(distance).argmax())
    if distance[j] == 0:
        return ModelSlope(by_v, by_ybus)
    at = v[loads[j]]
    scaled = np.conj(distance[j]) / abs(distance[j]) / at
    unit = np.zeros(len(loads), dtype=complex)
    unit[j] = scaled
    w = np.zeros_like(v)
    w[loads] = factors.solve(unit, trans="T")
    voltage = v.copy()
    voltage[loads] = no_load_v
    column = np.repeat(np.arange(len(v)), np.diff(model.indptr))
    by_ybus[:] = np.conj(w[model.indices] * voltage[column])
    by_v[generators] = np.conj(of_loads[:, generators].T @ w[loads])
    by_v[loads[j]] = np.conj(scaled * no_load_v[j] / at)
    return ModelSlope(by_v, by_ybus)


def loading_percent(settings: Settings, state: GridState) -> FloatArray:
    """Largest loading of all lines and transformers. [%]"""
    largest: FloatArray = state["branch_loading_percent"].max(axis=-1, initial=0.0)
    return largest


def line_loading_percent(settings: Settings, state: GridState) -> FloatArray:
    """Loading of the most loaded line. [%]"""
    largest: FloatArray = state.line_loading_percent.max(axis=-1, initial=0.0)
    return largest


def exchange_mw(settings: Settings, state: GridState) -> FloatArray:
    """Power through external grids and slack generators, drawn and fed in alike. [MW]"""
    return np.abs(state.exchange_mw)


def _sum_slope(state: GridState, quantity: str) -> FloatArray:
    """Of the sum of a quantity's elements by the values of the state."""
    slope = np.zeros(state.values.shape)
    slope[..., state.layout.slices[quantity]] = 1.0
    return slope


def _largest_slope(state: GridState, quantity: str, sign: float = 1.0) -> FloatArray:
    """Of a quantity's largest element (the smallest with sign -1) by the values of the state.

    The first of several; 0 where there is none, or where all loadings are 0.
    """
    slope = np.zeros(state.values.shape)
    columns = state.layout.slices[quantity]
    values = np.nan_to_num(sign * state.values[..., columns], nan=-np.inf)
    if values.shape[-1]:
        at = values.argmax(axis=-1, keepdims=True)
        np.put_along_axis(slope[..., columns], at, 1.0, axis=-1)
    return slope


def _deviation_slope(settings: Settings, state: GridState) -> FloatArray:
    """Of `voltage_deviation_pu`; 0 for a bus at exactly 1 p.u."""
    slope = np.zeros(state.values.shape)
    distance = np.where(state.layout.is_load_bus, state.vm_pu - 1.0, 0.0)
    slope[..., state.layout.slices["vm_pu"]] = np.sign(np.nan_to_num(distance))
    return slope


def _exchange_slope(settings: Settings, state: GridState) -> FloatArray:
    """Of `exchange_mw`; 0 at no exchange."""
    slope = _sum_slope(state, "ext_grid_p_mw")
    gens = state.layout.slices["gen_p_mw"]
    slope[..., gens] = state.layout.is_slack_gen if state.layout.is_slack_gen.any() else 0.0
    return slope * np.sign(state.exchange_mw)[..., np.newaxis]


#: Of quantities of the bus/branch model, how they move with it.
MODEL_SLOPES: Mapping[Quantity, Callable[[BusBranchSolution], ModelSlope]] = {
    l_index: l_index_slope,
}
#: How quantities move with the values of a state: functions of (settings, state), shape
#: (..., n_situations, layout.n_values). Kinks have the slope of one side. Of other quantities,
#: gradients are differences of power flows.
SLOPES: Mapping[Quantity, Quantity] = {
    p_loss_mw: lambda _, state: _sum_slope(state, "branch_loss_mw"),
    line_loss_mw: lambda _, state: _sum_slope(state, "line_loss_mw"),
    v_min_pu: lambda _, state: -_largest_slope(state, "vm_pu", -1.0),
    voltage_deviation_pu: _deviation_slope,
    loading_percent: lambda _, state: _largest_slope(state, "branch_loading_percent"),
    line_loading_percent: lambda _, state: _largest_slope(state, "line_loading_percent"),
    exchange_mw: _exchange_slope,
}


#: Quantities of the bus/branch model, which estimated states do not have.
OF_BUS_BRANCH = frozenset({l_index, loading_margin_percent})


@dataclass(frozen=True)
class Objective:
    """A quantity, how it is reduced to one value per candidate, and what that is called.

    Attributes:
        name: Its name, ends in its unit.
        unit: Its unit.
        quantity: Function of (settings, state), one value per situation.
        over_time: Reduction over the snapshots in time, see `gridproblems.reductions`.
        over_rest: Reduction over scenarios and disturbances.
        factor: What the reduced value is multiplied by.
        is_negative: Whether the value is the negative of what the name says, which is to be large;
            results show the quantity itself.
    """

    name: str
    unit: str
    quantity: Quantity
    over_time: Reduced = "mean"
    over_rest: Reduced = "mean"
    factor: float = 1.0
    is_negative: bool = False

    def __post_init__(self) -> None:
        reduction(self.over_time), reduction(self.over_rest)

    def __call__(
        self, settings: Settings, state: GridState, situations: Situations | None = None
    ) -> Any:
        """One value per candidate, (...); without situations the snapshots are hours in time."""
        return self.reduce(self.quantity(settings, state), situations)

    def reduce(self, values: FloatArray, situations: Situations | None = None) -> FloatArray:
        """One value per candidate.

        Args:
            values: Of the counted situations, shape (..., n_counted).
            situations: Their weights and durations; None: hours in time.

        Returns:
            Shape (...).
        """
        hours = 1.0 if situations is None else situations.hours
        factor = self.factor * hours if self.over_time == "energy" else self.factor
        if situations is not None and self.over_time in ("sum", "energy"):
            factor *= situations.stands_for
        n = values.shape[-1]
        n_time = n if situations is None else situations.n_time
        if n > 1 and n_time > 1:
            in_time = values.reshape(*values.shape[:-1], n // n_time, n_time)
            values = reduction(self.over_time)(in_time, np.ones(n_time))
        if n > n_time and situations is not None:
            reduced = reduction(self.over_rest)(values, situations.rest_weight)
        else:
            reduced = values[..., 0]
        return factor * reduced if factor != 1.0 else reduced

    def slope(self, values: FloatArray, situations: Situations) -> FloatArray:
        """How `reduce` moves with each of its values, shape (..., n_counted)."""
        factor = self.factor * (situations.hours if self.over_time == "energy" else 1.0)
        factor *= situations.stands_for if self.over_time in ("sum", "energy") else 1.0
        n, n_time = values.shape[-1], situations.n_time
        slope = np.ones((*values.shape[:-1], n // n_time, n_time))
        if n > 1 and n_time > 1:
            in_time = values.reshape(slope.shape)
            weight = np.ones(n_time)
            slope = slope_of(self.over_time, in_time, weight) * 1.0
            values = reduction(self.over_time)(in_time, weight)
        if n > n_time:
            slope *= slope_of(self.over_rest, values, situations.rest_weight)[..., np.newaxis]
        return factor * slope.reshape(*slope.shape[:-2], n)

    def is_largest_of(self, situations: Situations) -> bool:
        """Whether it is the largest of the values of counted situations, times its factor."""
        n, n_time = len(situations.counted), situations.n_time
        reductions = [self.over_time] * (n_time > 1) + [self.over_rest] * (n > n_time)
        return self.factor > 0 and all(how == "max" for how in reductions)

    def over(self, time: Reduced | None = None, rest: Reduced | None = None) -> Objective:
        """The same quantity with other reductions."""
        return replace(self, over_time=time or self.over_time, over_rest=rest or self.over_rest)

    def exceeding(self, bound: float) -> tuple[Objective, Reduced]:
        """The probability that it exceeds a bound (for `is_negative`, that it falls below one).

        Args:
            bound: In the unit of the objective.

        Returns:
            An objective without unit, and the reduction it is to have.

        Raises:
            ValueError: A bound that is no finite number.
        """
        reduction(("probability", bound))
        sign = -1.0 if self.is_negative else 1.0
        name = f"probability_of_{self.name}"
        plain = replace(self, name=name, unit="", factor=1.0, is_negative=False)
        return plain, ("probability", sign * bound / self.factor)


#: Objectives on pandapower nets by name.
OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("p_loss_mw", "MW", p_loss_mw),
        Objective("line_loss_mw", "MW", line_loss_mw),
        Objective("p_loss_kw", "kW", p_loss_mw, factor=1e3),
        Objective("voltage_deviation_pu", "p.u.", voltage_deviation_pu),
        Objective("v_min_pu", "p.u.", v_min_pu, "max", "max", is_negative=True),
        Objective("l_index", "", l_index, "max", "max"),
        Objective("loading_percent", "%", loading_percent, "max", "max"),
        Objective(
            "loading_margin_percent", "%", loading_margin_percent, "max", "max", is_negative=True
        ),
        Objective("line_loading_sum_percent", "%", line_loading_percent, "sum"),
        Objective("line_loading_max_percent", "%", line_loading_percent, "max", "max"),
        Objective("energy_loss_kwh", "kWh", p_loss_mw, "energy", factor=1e3),
        Objective("exchange_energy_kwh", "kWh", exchange_mw, "energy", factor=1e3),
        Objective("exchange_peak_kw", "kW", exchange_mw, "max", "max", factor=1e3),
    )
}
