"""Reads names and numbers of a circuit that OpenDSS has built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from gridproblems.engines.opendss.circuit import Circuit, Regulator
from gridproblems.engines.opendss.elements import is_on, names_of, property_of, steps_of
from gridproblems.engines.opendss.memory import remembering
from gridproblems.feeders import Feeder
from gridproblems.state import FloatArray

PHASES = ("1", "2", "3")
KM_PER_UNIT = {0: 1.0, 1: 1.609344, 2: 0.3048, 3: 1.0, 4: 1e-3, 5: 3.048e-4, 6: 2.54e-5, 7: 1e-5}


def circuit_of(dss: Any, feeder: Feeder) -> Circuit:
    """Reads names and numbers of a circuit.

    Raises:
        ValueError: A bus has no voltage base, or a regulator moves something else than the tap
            of a transformer.
    """
    nodes: list[str] = []
    buses: list[str] = []
    first_node: list[int] = []
    kv_base: dict[str, float] = {}
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        kv_base[bus.lower()] = dss.Bus.kVBase()
        phases = [str(node) for node in dss.Bus.Nodes() if str(node) in PHASES]
        if not phases:
            continue
        if not dss.Bus.kVBase():
            raise ValueError(f"feeder {feeder.name}: {_without_base(dss, bus)}")
        first_node.append(len(nodes))
        buses.append(bus.lower())
        nodes += [f"{bus.lower()}.{phase}" for phase in phases]
    place = {node: i for i, node in enumerate(nodes)}
    loads, load_nodes = {}, {}
    for load in dss.Loads:
        name = load.Name().lower()
        loads[name] = (load.kW(), load.kvar())
        bus = dss.CktElement.BusNames()[0].partition(".")[0].lower()
        found = (place.get(f"{bus}.{node}") for node in dss.CktElement.NodeOrder())
        known = [i for i in found if i is not None]
        if known:
            load_nodes[name] = np.array(known, dtype=np.int64)
    capacitor_controls = {
        name: property_of(dss, "CapControl", name, "capacitor").lower()
        for name in names_of(dss, "CapControl")
    }
    return Circuit(
        nodes=tuple(nodes),
        buses=tuple(buses),
        first_node=np.array(first_node, dtype=np.int64),
        base_kv=np.array([kv_base[bus] for bus in buses], dtype=float),
        distance_km=_distances(dss, buses),
        loads=loads,
        load_nodes=load_nodes,
        regulators={name: _regulator(dss, name, kv_base) for name in names_of(dss, "RegControl")},
        capacitor_steps={name: steps_of(dss, name) for name in names_of(dss, "Capacitor")},
        capacitor_controls=capacitor_controls,
        irradiance={p.Name().lower(): p.Irradiance() for p in dss.PVsystems},
        load_multiplier=dss.Solution.LoadMult(),
        volt_var=_volt_var_curves(dss),
        load_shapes={s.Name().lower(): np.array(s.PMult()) for s in dss.LoadShape},
        lines=tuple(names_of(dss, "Line")),
        transformers=tuple(names_of(dss, "Transformer")),
        generators=tuple(names_of(dss, "Generator")),
        remembers=tuple(sorted(remembering(dss, feeder, capacitor_controls))),
    )


def _without_base(dss: Any, bus: str) -> str:
    """Why a bus has no nominal voltage."""
    if not np.isnan(_distances(dss, [bus.lower()])[0]):
        return (
            f"bus {bus} has no nominal voltage; end the feeder file with Set VoltageBases=[...] "
            "and CalcVoltageBases"
        )
    loads = [
        load.Name()
        for load in dss.Loads
        if dss.CktElement.BusNames()[0].partition(".")[0].lower() == bus.lower()
    ]
    at_bus = f"; loads without supply there: {', '.join(loads)}" if loads else ""
    return f"bus {bus} has no way to the source and so no nominal voltage{at_bus}"


def _regulator(dss: Any, name: str, kv_base: dict[str, float]) -> Regulator:
    control = dss.RegControls
    control.Name(name)
    transformer = control.Transformer().lower()
    if transformer not in names_of(dss, "Transformer"):
        raise ValueError(f"regulator {name}: {transformer!r} is no transformer")
    control.Name(name)
    dss.Transformers.Name(transformer)
    dss.Transformers.Wdg(control.Winding())
    is_delta = dss.Transformers.IsDelta()
    dss.Transformers.Wdg(control.TapWinding())
    step = (dss.Transformers.MaxTap() - dss.Transformers.MinTap()) / dss.Transformers.NumTaps()
    dss.Circuit.SetActiveElement(f"Transformer.{transformer}")
    bus = dss.CktElement.BusNames()[control.Winding() - 1].partition(".")[0].lower()
    nominal_v = kv_base[bus] * 1e3 / control.PTRatio() * (np.sqrt(3.0) if is_delta else 1.0)
    return Regulator(
        name=name,
        transformer=transformer,
        vreg_v=control.ForwardVreg(),
        nominal_v=float(nominal_v),
        tap=control.TapNumber(),
        min_tap=round((dss.Transformers.MinTap() - 1.0) / step),
        max_tap=round((dss.Transformers.MaxTap() - 1.0) / step),
    )


def _volt_var_curves(dss: Any) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Voltages [p.u.] and reactive powers [p.u.] of the curves that inverter controls follow."""
    curves = {}
    for control in names_of(dss, "InvControl"):
        name = property_of(dss, "InvControl", control, "vvc_curve1").lower()
        if property_of(dss, "InvControl", control, "mode").upper() == "VOLTVAR" and name:
            dss.XYCurves.Name(name)
            curves[name] = (np.array(dss.XYCurves.XArray()), np.array(dss.XYCurves.YArray()))
    return curves


def _distances(dss: Any, buses: Sequence[str]) -> FloatArray:
    """Length of lines on the shortest way from the source to each bus, NaN without one. [km]"""
    graph = nx.Graph()
    for branch in dss.PDElements.AllNames():
        if not is_on(dss, branch):
            continue
        ends = [name.partition(".")[0].lower() for name in dss.CktElement.BusNames()]
        length = 0.0
        if branch.lower().startswith("line."):
            dss.Lines.Name(branch.partition(".")[2])
            length = dss.Lines.Length() * KM_PER_UNIT[int(dss.Lines.Units())]
        graph.add_weighted_edges_from((ends[0], end, length) for end in ends[1:])
    dss.Vsources.First()
    source = dss.CktElement.BusNames()[0].partition(".")[0].lower()
    graph.add_node(source)
    found = nx.single_source_dijkstra_path_length(graph, source)
    return np.array([found.get(bus, np.nan) for bus in buses])
