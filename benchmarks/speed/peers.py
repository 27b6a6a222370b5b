"""The same power flows by the engines and by other packages, one after the other in each round.

    python benchmarks/speed/peers.py [--rounds 9] [--out docs/tables/speed_peers.md]

Two jobs: every load changed by itself, and every line out that leaves nobody without supply. All
times are wall-clock time on one thread, medians over rounds in microseconds per power flow; "times
newton" are medians of the ratios of a round. The engines give voltages and all results of
branches and machines; lightsim2grid's batch classes voltages only, on its own conversion of the
net; pandapower's `run_timeseries` writes bus voltages and `run_contingency` the extremes of
voltages and loadings, both by ``runpp``; power-grid-model, radial nets only, voltages of buses.
"difference" is that of the farthest voltage from the engine `newton`; a way is left out where it
cannot represent the net. Needs ``pip install gridproblems[peers]``.
"""

from __future__ import annotations

import copy
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandapower as pp
import pandas as pd
import power_grid_model as pgm
import typer
from batched import N_POWER_FLOWS, changed_loads, net_of, seconds, time_series
from lightsim2grid.lightsim2grid_cpp import ContingencyAnalysisCPP, ScenarioSweepCPP
from lightsim2grid.network import init_from_pandapower
from numpy.typing import NDArray
from outages import secure_lines
from pandapower.auxiliary import pandapowerNet
from pandapower.contingency import run_contingency
from pandapower.control import ConstControl
from pandapower.timeseries import DFData, OutputWriter, run_timeseries
from table import show_table

from gridproblems.engines import NewtonEngine, SweepEngine
from gridproblems.errors import UnsupportedByEngine
from gridproblems.state import Field, Settings

#: A way solves all power flows of a job and gives the voltages of all buses. [p.u.]
Way = Callable[[], NDArray[np.float64]]

LOAD_NETS = ("case33bw", "case136ma", "case39", "case118", "case300")
OUTAGE_NETS = ("case39", "case118")
N_SLOW = 24  # power flows of ways that take milliseconds for each


def engine_way(engine: NewtonEngine | SweepEngine, settings: Settings) -> Way:
    """An engine of this package."""
    return lambda: engine.solve(settings).vm_pu[:, 0]


def converted(net: pandapowerNet) -> tuple[Any, NDArray[np.complex128]] | None:
    """lightsim2grid's own model and its base case, None where that is not that of ``runpp``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            grid = init_from_pandapower(net, pp_orig_file="pandapower_v3")
        except (RuntimeError, ValueError, TypeError):
            return None
    base = grid.ac_pf(np.full(len(net.bus), 1.04, dtype=complex), 10, 1e-8)
    if not len(base) or not np.allclose(np.abs(base), net.res_bus.vm_pu, atol=1e-6):
        return None
    return grid, base


def sweep_of_loads(net: pandapowerNet, p: np.ndarray, q: np.ndarray) -> Way | None:
    """lightsim2grid's `ScenarioSweepCPP` with changed loads."""
    model = converted(net)
    if model is None:
        return None
    scenarios = ScenarioSweepCPP(model[0])

    def run() -> NDArray[np.float64]:
        scenarios.clear()
        scenarios.modify_load_p(p)
        scenarios.modify_load_q(q)
        scenarios.compute(model[1], 10, 1e-8)
        return np.abs(scenarios.get_voltages())

    return run


def pandapower_series(net: pandapowerNet, p: np.ndarray, q: np.ndarray) -> Way:
    """pandapower's `run_timeseries`, a few steps; it keeps what it can from step to step."""
    net = copy.deepcopy(net)
    p, q = p[:N_SLOW], q[:N_SLOW]
    for column, values in (("p_mw", p), ("q_mvar", q)):
        profiles = pd.DataFrame(values, columns=[f"{load}" for load in net.load.index])
        ConstControl(
            net,
            element="load",
            variable=column,
            element_index=list(net.load.index),
            profile_name=list(profiles.columns),
            data_source=DFData(profiles),
        )

    def run() -> NDArray[np.float64]:
        net.pop("output_writer", None)
        writer = OutputWriter(net, range(len(p)), log_variables=[("res_bus", "vm_pu")])
        run_timeseries(net, range(len(p)), verbose=False)
        return writer.output["res_bus.vm_pu"].to_numpy()

    return run


def grid_model(
    net: pandapowerNet, p: np.ndarray, q: np.ndarray, method: pgm.CalculationMethod
) -> Way | None:
    """power-grid-model of a net of lines, loads and one external grid, else None."""
    tables = {name for name in ("gen", "sgen", "trafo", "trafo3w", "shunt") if len(net[name])}
    if tables or len(net.ext_grid) != 1:
        return None
    n_bus, n_line, n_load = len(net.bus), len(net.line), len(net.load)
    place = pd.Series(np.arange(n_bus), index=net.bus.index)
    node = pgm.initialize_array("input", "node", n_bus)
    node["id"], node["u_rated"] = np.arange(n_bus), net.bus.vn_kv * 1e3
    line = pgm.initialize_array("input", "line", n_line)
    line["id"] = n_bus + np.arange(n_line)
    line["from_node"], line["to_node"] = place[net.line.from_bus], place[net.line.to_bus]
    length = net.line.length_km / net.line.parallel
    line["from_status"] = line["to_status"] = net.line.in_service
    line["r1"], line["x1"] = net.line.r_ohm_per_km * length, net.line.x_ohm_per_km * length
    line["c1"] = net.line.c_nf_per_km * 1e-9 * net.line.length_km * net.line.parallel
    line["tan1"] = 0.0
    source = pgm.initialize_array("input", "source", 1)
    source["id"], source["node"] = n_bus + n_line, place[net.ext_grid.bus.iloc[0]]
    source["status"], source["u_ref"] = 1, net.ext_grid.vm_pu.iloc[0]
    source["sk"] = 1e20  # no impedance of its own
    load = pgm.initialize_array("input", "sym_load", n_load)
    load["id"] = n_bus + n_line + 1 + np.arange(n_load)
    load["node"], load["status"] = place[net.load.bus], net.load.in_service
    load["type"] = pgm.LoadGenType.const_power
    load["p_specified"], load["q_specified"] = net.load.p_mw * 1e6, net.load.q_mvar * 1e6
    model = pgm.PowerGridModel({"node": node, "line": line, "source": source, "sym_load": load})
    update = pgm.initialize_array("update", "sym_load", p.shape)
    update["id"] = load["id"]
    update["p_specified"], update["q_specified"] = p * 1e6, q * 1e6

    def run() -> NDArray[np.float64]:
        result = model.calculate_power_flow(
            update_data={"sym_load": update},
            calculation_method=method,
            error_tolerance=1e-10,
            threading=-1,
            output_component_types=["node"],
        )
        return result["node"]["u_pu"]

    return run


def ways_with_loads(name: str) -> dict[str, Way]:
    """Ways to solve changed loads."""
    net = net_of(name)
    pp.runpp(net, tolerance_mva=1e-8)
    p, q = changed_loads(net)
    elements = tuple(int(i) for i in net.load.index)
    fields = (Field("load", "p_mw", elements), Field("load", "q_mvar", elements))
    settings = Settings(fields, np.concatenate([p, q], axis=1)[:, np.newaxis, :])
    ways: dict[str, Way | None] = {"newton": engine_way(NewtonEngine(net), settings)}
    try:
        sweep = SweepEngine(net)
        sweep.check(settings)
        ways["sweep"] = engine_way(sweep, settings)
    except UnsupportedByEngine:
        pass
    series = time_series(net, p, q)
    ways["lightsim2grid TimeSeriesCPP"] = series and (lambda: np.abs(series()))
    ways["lightsim2grid ScenarioSweepCPP"] = sweep_of_loads(net, p, q)
    if "sweep" in ways:
        for method in ("iterative_current", "newton_raphson"):
            chosen = pgm.CalculationMethod[method]
            ways[f"power-grid-model {method}"] = grid_model(net, p, q, chosen)
    ways["pandapower run_timeseries"] = pandapower_series(net, p, q)
    return {way: call for way, call in ways.items() if call is not None}


def ways_with_outages(name: str) -> dict[str, Way]:
    """Ways to solve outages of single lines."""
    net = net_of(name)
    pp.runpp(net, tolerance_mva=1e-8)
    lines = secure_lines(net)
    field = Field("line", "in_service", tuple(lines))
    settings = Settings((field,), (1.0 - np.eye(len(lines)))[:, np.newaxis, :])
    ways: dict[str, Way] = {"newton": engine_way(NewtonEngine(net), settings)}
    model = converted(net)
    if model is not None:
        grid, base = model
        analysis = ContingencyAnalysisCPP(grid)
        analysis.add_multiple_n1(lines)
        scenarios = ScenarioSweepCPP(converted(net)[0])  # type: ignore[index]
        out = np.zeros((len(lines), len(net.line)), dtype=bool)
        out[np.arange(len(lines)), [net.line.index.get_loc(line) for line in lines]] = True

        def contingencies() -> NDArray[np.float64]:
            analysis.compute(base, 10, 1e-8)
            return np.abs(analysis.get_voltages())

        def masked() -> NDArray[np.float64]:
            scenarios.clear()
            scenarios.set_contingency_lines(out)
            scenarios.compute(base, 10, 1e-8)
            return np.abs(scenarios.get_voltages())

        ways["lightsim2grid ContingencyAnalysisCPP"] = contingencies
        ways["lightsim2grid ScenarioSweepCPP"] = masked

    def pandapowers() -> NDArray[np.float64]:
        result = run_contingency(net, {"line": {"index": lines[:N_SLOW]}}, write_to_net=False)
        return np.array([result["bus"]["min_vm_pu"], result["bus"]["max_vm_pu"]])

    ways["pandapower run_contingency"] = pandapowers
    return ways


def difference(way: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of a voltage from those of the engine. [p.u.]"""
    if way == "pandapower run_contingency":
        few = expected[:N_SLOW]
        found, expected = found, np.array([few.min(axis=0), few.max(axis=0)])
    return float(np.abs(found - expected[: len(found)]).max())


def rows_of(job: str, name: str, ways: dict[str, Way], rounds: int) -> list[list[str]]:
    """Rows of the table, one per way."""
    found = {way: call() for way, call in ways.items()}
    numbers = {
        way: N_SLOW if way.startswith("pandapower") else len(found["newton"]) for way in ways
    }
    samples = [
        {way: seconds(call) / numbers[way] for way, call in ways.items()} for _ in range(rounds)
    ]
    rows = []
    for way in ways:
        time_us = 1e6 * statistics.median(sample[way] for sample in samples)
        times = statistics.median(sample[way] / sample["newton"] for sample in samples)
        far = difference(way, found[way], found["newton"])
        assert far < 1e-5, (name, way, far)
        rows.append([job, f"`{name}`", way, f"{time_us:,.1f}", f"{times:,.1f}", f"{far:.0e}"])
    return rows


def main(
    rounds: int = 9,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    header = ["power flows", "net", "way", "one [µs]", "times newton", "difference [p.u.]"]
    rows = [header, ["---", "---", "---", "--:", "--:", "--:"]]
    for name in LOAD_NETS:
        rows += rows_of(f"{N_POWER_FLOWS} with other loads", name, ways_with_loads(name), rounds)
    for name in OUTAGE_NETS:
        rows += rows_of("every line out", name, ways_with_outages(name), rounds)
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
