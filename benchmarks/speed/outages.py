"""Single outages: the engine `newton` beside lightsim2grid's contingency analysis and `runpp`.

    python benchmarks/speed/outages.py [--net case118] [--rounds 15]

All lines whose outage leaves nobody without supply, one at a time, by both in the same run, one
after the other in each round. `newton` gives all results of branches and machines, lightsim2grid's
class voltages on its own conversion of the net; these are compared first. Then all generators that
are no slack, one at a time, beside a loop around ``pandapower.runpp``, the engine `reference`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import typer
from lightsim2grid.lightsim2grid_cpp import ContingencyAnalysisCPP
from lightsim2grid.network import init_from_pandapower
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems.engines import NewtonEngine, ReferenceEngine
from gridproblems.state import Field, Settings


def secure_lines(net: pandapowerNet) -> list[int]:
    """Lines that are no bridge of the grid."""
    cut = {frozenset(edge[:2]) for edge in nx.bridges(nx.Graph(create_nxgraph(net)))}
    ends = net.line[["from_bus", "to_bus"]]
    parallel = ends.duplicated(keep=False)
    return [
        int(line)
        for line, a, b in ends.itertuples()
        if parallel[line] or frozenset((a, b)) not in cut
    ]


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> str:
    """One line of the output."""
    net = getattr(pn, name)()
    pp.runpp(net)
    lines = secure_lines(net)
    in_service = 1.0 - np.eye(len(lines))
    field = Field("line", "in_service", tuple(lines))
    settings = Settings((field,), in_service[:, np.newaxis, :])
    engine = NewtonEngine(net)
    grid = init_from_pandapower(net, pp_orig_file="pandapower_v3")
    base = grid.ac_pf(np.full(len(net.bus), 1.04, dtype=complex), 10, 1e-8)
    analysis = ContingencyAnalysisCPP(grid)
    analysis.add_multiple_n1(lines)

    def contingencies() -> None:
        analysis.compute(base, 10, 1e-8)

    state = engine.solve(settings)
    contingencies()
    vm_pu = np.abs(analysis.get_voltages())
    both = (vm_pu > 0).any(axis=1) & state.converged[:, 0]
    np.testing.assert_allclose(vm_pu[both], state.vm_pu[both, 0], rtol=0, atol=1e-6)

    samples = [
        (seconds(lambda: engine.solve(settings)), seconds(contingencies)) for _ in range(rounds)
    ]
    ours, theirs = (1e3 * statistics.median(column) for column in zip(*samples, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in samples)
    return (
        f"{name}: {len(lines)} outages, {int(both.sum())} solved by both; newton {ours:.1f} ms, "
        f"ContingencyAnalysisCPP {theirs:.1f} ms, {ratio:.1f} times as long"
    )


def measure_generators(name: str, rounds: int) -> str:
    """A line of the output about generators."""
    net = getattr(pn, name)()
    gens = net.gen.index[net.gen.in_service.astype(bool) & ~net.gen.slack.astype(bool)]
    field = Field("gen", "in_service", tuple(int(gen) for gen in gens))
    settings = Settings((field,), 1.0 - np.eye(len(gens))[:, np.newaxis, :])
    engine = NewtonEngine(net)
    start = time.perf_counter()
    expected = ReferenceEngine(net).solve(settings)
    runpp = 1e3 * (time.perf_counter() - start)
    state = engine.solve(settings)
    np.testing.assert_array_equal(state.converged, expected.converged)
    both = state.converged[:, 0]
    np.testing.assert_allclose(state.vm_pu[both], expected.vm_pu[both], rtol=0, atol=1e-7)
    newton = 1e3 * statistics.median(seconds(lambda: engine.solve(settings)) for _ in range(rounds))
    return (
        f"{name}: {len(gens)} generators out, {int(both.sum())} solved by both; newton "
        f"{newton:.1f} ms, runpp {runpp:.0f} ms, {runpp / newton:.0f} times as long"
    )


def main(
    net: Annotated[list[str] | None, typer.Option(help="Net of pandapower; repeatable.")] = None,
    rounds: int = 15,
) -> None:
    """Prints two lines per net."""
    for name in net or ["case39", "case118", "case300"]:
        typer.echo(measure(name, rounds))
        typer.echo(measure_generators(name, rounds))


if __name__ == "__main__":
    typer.run(main)
