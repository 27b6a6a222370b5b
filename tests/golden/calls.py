"""Calls that the documentation promises: name -> the text that makes the problem.

`tests/golden/table.py` stores what they answer; the text is evaluated with the names of this
module. Add a call by adding a line, then write the table anew.
"""

# ruff: noqa: F401 (the texts use the imports)

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
from nets import feeder, meshed, tap_zoo, two_bus
from pandapower import networks as pn
from pandapower.auxiliary import pandapowerNet

from gridproblems import (
    Battery,
    Control,
    DERAllocation,
    DERPlacement,
    GridProblem,
    GridState,
    ReactivePowerDispatch,
    Reconfiguration,
    RegulatorControl,
    Settings,
    StorageSchedule,
    UnitCost,
)
from gridproblems.cases import load_case
from gridproblems.disturbances import LoadChange, LoadMultiplier, Outage, Together

__all__ = ["CALLS", "make"]

#: Case by case what each task does, then what its options change.
CALLS = {
    # reactive power dispatch
    "orpd-ieee6": 'ReactivePowerDispatch("ieee6")',
    "orpd-ieee14": 'ReactivePowerDispatch("ieee14")',
    "orpd-ieee30": 'ReactivePowerDispatch("ieee30")',
    "orpd-ieee30-19var-v1.05": 'ReactivePowerDispatch("ieee30-19var-v1.05")',
    "orpd-ieee30-13var-v1.10": 'ReactivePowerDispatch("ieee30-13var-v1.10")',
    "orpd-ieee30-13var-v1.05": 'ReactivePowerDispatch("ieee30-13var-v1.05")',
    "orpd-ieee39": 'ReactivePowerDispatch("ieee39")',
    "orpd-ieee57": 'ReactivePowerDispatch("ieee57")',
    "orpd-ieee57-shunt30": 'ReactivePowerDispatch("ieee57-shunt30")',
    "orpd-ieee118": 'ReactivePowerDispatch("ieee118")',
    "orpd-ieee118-v1.10": 'ReactivePowerDispatch("ieee118-v1.10")',
    "orpd-ieee300": 'ReactivePowerDispatch("ieee300")',
    "orpd-objectives": (
        'ReactivePowerDispatch("ieee14", ("p_loss_mw", "line_loss_mw", "voltage_deviation_pu",'
        ' "l_index", "loading_percent"))'
    ),
    "orpd-own-objective": (
        'ReactivePowerDispatch("ieee14", (reactive_generation_mvar,), ("gen", "tap"),'
        ' {"vm_pu": (0.95, 1.05)})'
    ),
    "orpd-groups": (
        'ReactivePowerDispatch("ieee14", controls=("gen", "tap", "compensator", "ext_grid"))'
    ),
    "orpd-elements": 'ReactivePowerDispatch("ieee30", controls={"tap": [0, 1], "shunt": [1]})',
    "orpd-limits": (
        'ReactivePowerDispatch("ieee39", limits={"vm_pu": (0.95, 1.05), "gen_q_mvar": None,'
        ' "loading_percent": 90.0})'
    ),
    "orpd-aggregate": 'ReactivePowerDispatch("ieee57", aggregate=True)',
    "orpd-cache": 'ReactivePowerDispatch("ieee14", cache=True)',
    "orpd-newton": 'ReactivePowerDispatch("ieee14", engine="newton")',
    "orpd-reference": 'ReactivePowerDispatch("ieee6", engine="reference")',
    "orpd-mixed": (
        'ReactivePowerDispatch(tap_zoo(), ("p_loss_mw", "voltage_deviation_pu"),'
        ' ("gen", "tap",'
        ' Control("sgen", "q_mvar", (0,), "choice", -3.0, 3.0, "Mvar", (-3.0, 0.0, 1.0, 3.0)),'
        ' Control("shunt", "step", (1,), "binary", 0, 1)),'
        ' {"gen_vm_pu": (0.95, 1.05), "vm_pu": (0.9, 1.1), "loading_percent": 120.0})'
    ),
    "orpd-case14": (
        'ReactivePowerDispatch(meshed(), controls=("gen", "ext_grid"),'
        ' limits={"gen_vm_pu": (0.95, 1.05), "ext_grid_vm_pu": (0.95, 1.05)})'
    ),
    "orpd-case9": "ReactivePowerDispatch(case9_with_limits())",
    # reconfiguration
    "reconfiguration-case16": 'Reconfiguration("case16")',
    "reconfiguration-case33bw": 'Reconfiguration("case33bw")',
    "reconfiguration-case33mg": 'Reconfiguration("case33mg")',
    "reconfiguration-case69": 'Reconfiguration("case69")',
    "reconfiguration-case118zh": 'Reconfiguration("case118zh")',
    "reconfiguration-case136ma": 'Reconfiguration("case136ma")',
    "reconfiguration-spanning-tree": 'Reconfiguration("case33bw", coding="spanning_tree")',
    "reconfiguration-loops": 'Reconfiguration("case33bw", coding="loops")',
    "reconfiguration-switches": "Reconfiguration(feeder())",
    "reconfiguration-objectives": (
        'Reconfiguration(feeder_with_reliability(), ("p_loss_kw", "voltage_deviation_pu",'
        ' "v_min_pu", "loading_percent", "switching_actions", "saifi_per_year",'
        ' "saidi_hours_per_year"))'
    ),
    "reconfiguration-limits": (
        'Reconfiguration("case33bw", limits={"vm_pu": (0.93, 1.05), "loading_percent": None})'
    ),
    "reconfiguration-switchable": (
        'Reconfiguration("case33bw", switchable=[5, 6, 8, 10, 13, 24, 27, 31, 32, 33, 34, 35, 36])'
    ),
    "reconfiguration-series": (
        'Reconfiguration("case33bw", ("energy_loss_kwh", "switching_actions"),'
        ' series={("load", "p_mw"): load_series("case33bw", 6)}, hours=4.0)'
    ),
    "reconfiguration-periods": (
        'Reconfiguration("case33bw", ("energy_loss_kwh", "switching_actions"),'
        ' series={("load", "p_mw"): load_series("case33bw", 6)}, hours=4.0, periods=3,'
        " max_switching_actions=8)"
    ),
    "reconfiguration-newton": 'Reconfiguration("case33bw", engine="newton")',
    "reconfiguration-aggregate": (
        'Reconfiguration("case69", limits={"vm_pu": (0.9, 1.1)}, aggregate=True)'
    ),
    "reconfiguration-aggregate-of-none": 'Reconfiguration("case33bw", aggregate=True)',
    # allocation
    "allocation-lv18": 'DERAllocation("lv18")',
    "allocation-objectives": (
        'DERAllocation("lv18", objectives=("line_loading_sum_percent", "line_loading_max_percent",'
        ' "energy_loss_kwh", "exchange_energy_kwh", "exchange_peak_kw", "voltage_deviation_pu",'
        ' "loading_percent"), hours=0.5)'
    ),
    "allocation-load-only": (
        'DERAllocation(load_case("lv18").net(), load=load_series("lv18", 4),'
        ' objectives="energy_loss_kwh")'
    ),
    "allocation-every-snapshot": (
        'DERAllocation("lv18", limits={"vm_pu": (0.95, 1.037)}, every_snapshot=True)'
    ),
    "allocation-aggregate": 'DERAllocation("lv18", aggregate=True)',
    "allocation-zip": 'DERAllocation("lv18", zip_percent=(30.0, 20.0))',
    "allocation-newton": 'DERAllocation("lv18", engine="newton")',
    # placement
    "placement-pv": 'DERPlacement("lv18", 2, "pv", max_size=0.03)',
    "placement-dg": 'DERPlacement("case33bw", n_units=3, kind="dg")',
    "placement-case33mg": 'DERPlacement("case33mg", n_units=2, kind="dg")',
    "placement-case69": 'DERPlacement("case69", n_units=2, kind=("dg", "capacitor"))',
    "placement-capacitor": (
        'DERPlacement("case33bw", 3, "capacitor", ("p_loss_kw", "voltage_deviation_pu"),'
        " size_step=0.15, max_size=1.2)"
    ),
    "placement-choice": (
        'DERPlacement("case33bw", 2, "dg", bus_variable="choice", buses=[30, 6, 14, 25],'
        " power_factor=0.9)"
    ),
    "placement-mixed": (
        'DERPlacement("lv18", kind=("pv", "pv", "storage"), objectives=("energy_loss_kwh",'
        ' "exchange_energy_kwh", "exchange_peak_kw"), max_size={"pv": 0.02, "storage": 0.005},'
        " power_factor=(0.9, 1.0), storage_hours=(1.0, 4.0))"
    ),
    "placement-battery": (
        'DERPlacement("lv18", 1, "storage", ("exchange_peak_kw",), max_size=0.01,'
        ' battery={"round_trip_efficiency": 0.81, "soc_min": 0.1}, repair=False, hours=0.5)'
    ),
    "placement-cost": (
        'DERPlacement("case33bw", kind=("dg", "capacitor"), objectives=("p_loss_kw",'
        ' "unit_cost_eur_per_year"), costs={"dg": {"rate": 0.05, "years": 20, "per_mw": 9e5},'
        ' "capacitor": UnitCost(rate=0.05, years=30, per_mw=2e4, per_unit=1e3)})'
    ),
    "placement-hosting": ('DERPlacement("lv18", 2, "pv", ("hosting_capacity_mw",), max_size=0.01)'),
    "placement-every-snapshot": (
        'DERPlacement("lv18", 1, "pv", max_size=0.2, every_snapshot=True, sort=False)'
    ),
    "placement-outages": 'DERPlacement(ring(), 2, "dg", outages="lines")',
    "placement-outages-series": (
        'DERPlacement(ring(), 1, "dg", limits={"vm_pu": (0.97, 1.03), "loading_percent": 60.0},'
        ' outages=[2, 4], series={("load", "p_mw"): RING_LOADS}, aggregate=True)'
    ),
    "placement-zip": 'DERPlacement("case33bw", 2, "dg", zip_percent=(30.0, 50.0))',
    "placement-newton": (
        'DERPlacement("case33bw", 2, "dg", limits={"vm_pu": (0.9, 1.1)}, engine="newton",'
        " aggregate=True)"
    ),
    # storage
    "storage-lv18": 'StorageSchedule("lv18", STORAGES)',
    "storage-no-repair": 'StorageSchedule("lv18", STORAGES, repair=False)',
    "storage-objectives": (
        'StorageSchedule("lv18", STORAGES, ("exchange_peak_kw", "energy_loss_kwh",'
        ' "line_loading_sum_percent"), {"vm_pu": (0.97, 1.03), "loading_percent": 80.0},'
        " battery=Battery(round_trip_efficiency=0.85, soc_min=0.1, soc_max=0.9), hours=0.5,"
        " every_snapshot=True)"
    ),
    "storage-own-series": (
        "StorageSchedule(two_bus(), [{'bus': 1, 'power_mw': 1.0, 'energy_mwh': 2.0}],"
        ' limits={"vm_pu": None, "loading_percent": None},'
        ' series={("load", "p_mw"): [[1.0], [4.0], [2.0], [3.0]]})'
    ),
    "storage-outages": (
        "StorageSchedule(ring(), [{'bus': 2, 'power_mw': 0.2, 'energy_mwh': 0.4}],"
        ' ("energy_loss_kwh",), outages="lines",'
        ' series={("load", "p_mw"): RING_LOADS})'
    ),
    # regulators
    "regulators-ieee123": 'RegulatorControl("ieee123", disturbance=LoadChange("s1a", kw=200.0))',
    "regulators-ieee123-taps": (
        'RegulatorControl("ieee123", variables="taps", disturbance=LoadMultiplier(2.0))'
    ),
    "regulators-ieee123-capacitors": (
        'RegulatorControl("ieee123", ("voltage_fitness", "p_loss_kw"),'
        ' capacitors=["C83"], regulators=["creg1a", "creg4a"])'
    ),
    "regulators-ieee123-robust": (
        'RegulatorControl("ieee123", variables="taps", combine="worst",'
        ' disturbance=[None, LoadMultiplier(1.5), Outage("capacitor.c83"), Outage("line.l32")])'
    ),
    "regulators-village": (
        'RegulatorControl("village", ("voltage_fitness", "node_voltage_fitness",'
        ' "node_voltage_deviation_pu", "p_loss_kw", "voltage_unbalance_percent",'
        ' "tap_movements"), "taps", capacitors=True, volt_var=True)'
    ),
    "regulators-mean": (
        'RegulatorControl("village", combine="mean",'
        ' disturbance=[None, Outage("capacitor.farm"), Together([LoadMultiplier(1.2), LoadChange('
        '"milla", factor=2.0, keep_power_factor=False)])])'
    ),
    "regulators-limits": (
        'RegulatorControl("village", variables="taps",'
        ' limits={"vm_pu": (0.95, 1.05), "loading_percent": 100.0})'
    ),
    "regulators-bounds": 'RegulatorControl("ieee123", vreg_v=(115.0, 125.0), vreg_span_v=8.0)',
    "regulators-day": (
        'RegulatorControl("village", ("node_voltage_fitness", "tap_operations"),'
        ' load_shape="default", disturbance=LoadMultiplier(2.0), limits={"vm_pu": (0.9, 1.1)},'
        " aggregate=True)"
    ),
}

#: Storages of the schedules.
STORAGES = [{"bus": bus, "power_mw": 0.002, "energy_mwh": 0.006} for bus in (9, 18)]
RING_LOADS = [[1.0, 0.8], [2.5, 1.5], [1.5, 2.0]]


def make(name: str) -> GridProblem:
    """The problem of a call."""
    problem: GridProblem = eval(CALLS[name], dict(globals()))
    return problem


def reactive_generation_mvar(settings: Settings, state: GridState) -> float:
    """Summed magnitude of the reactive power of the generators. [Mvar]"""
    return float(np.abs(state.gen_q_mvar).sum(axis=1).mean())


def case9_with_limits() -> pandapowerNet:
    """A net that pandapower ships, with the columns that make it a problem."""
    net = pn.case9()
    for table in ("bus", "gen", "ext_grid"):
        net[table]["min_vm_pu"], net[table]["max_vm_pu"] = 0.95, 1.05
    return net


def feeder_with_reliability() -> pandapowerNet:
    """The 33-bus feeder with failure rates, repair times and customers."""
    net = load_case("case33bw").net()
    net.line["failure_rate_per_year"] = 0.1 * net.line.r_ohm_per_km * net.line.length_km
    net.line["repair_hours"] = 2.0 + np.arange(len(net.line)) % 3
    net.load["n_customers"] = 1 + np.arange(len(net.load)) % 7
    return net


def load_series(case: str, n_snapshots: int) -> pd.DataFrame:
    """Loads of a case that rise and fall over a day, (n_snapshots, n_loads). [MW]"""
    p_mw = load_case(case).net().load.p_mw
    shape = 0.75 + 0.35 * np.sin(2 * np.pi * (np.arange(n_snapshots) + 1) / n_snapshots)
    return pd.DataFrame(shape[:, np.newaxis] * p_mw.to_numpy(), columns=p_mw.index)


def ring() -> pandapowerNet:
    """A source, a double line and a ring of three buses: any line can be out."""
    net = pp.create_empty_network(sn_mva=1.0, name="ring")
    pp.create_buses(net, 4, vn_kv=20.0, min_vm_pu=0.9, max_vm_pu=1.1)
    pp.create_ext_grid(net, 0)
    for ends in ((0, 1), (0, 1), (1, 2), (2, 3), (3, 1)):
        pp.create_line_from_parameters(
            net, *ends, 5.0, 0.3, 0.35, 10.0, max_i_ka=0.2, max_loading_percent=100.0
        )
    for bus, p_mw in ((2, 2.0), (3, 1.5)):
        pp.create_load(net, bus, p_mw=p_mw, q_mvar=0.3 * p_mw)
    return net
