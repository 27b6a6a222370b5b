"""The sweep beside plain ``runpp`` on random configurations of every packaged feeder."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandapower as pp
import pytest
from pandapower.auxiliary import LoadflowNotConverged

from gridproblems import Reconfiguration
from gridproblems.cases import CASES, load_case
from gridproblems.engines import SweepEngine
from gridproblems.state import Field, Settings

FEEDERS = [name for name in CASES if "reconfiguration" in load_case(name).tasks]


@pytest.mark.parametrize("n", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FEEDERS)
def test_sweep_equals_runpp_on_random_configurations(name: str, n: int) -> None:
    """Trees; in one of ten a line more is closed, in one of ten a line more is open.

    Trees that collapse are no answer for either; loops are none for the sweep.
    """
    problem = Reconfiguration(name, coding="spanning_tree")
    net = load_case(name).net()
    rng = np.random.default_rng(3)
    closed = problem.switching.codec.closed(rng.random((n, problem.n_var)))[:, 0]
    statuses = np.ones((len(closed), len(net.line)))
    for row, tree in zip(statuses, closed, strict=True):
        row[problem.graph.lines[~tree]] = 0.0
        kind = rng.random()
        if kind < 0.2:
            row[rng.choice(np.flatnonzero(row == float(kind >= 0.1)))] = float(kind < 0.1)
    lines = (Field("line", "in_service", tuple(net.line.index)),)
    state = SweepEngine(net).solve(Settings(lines, statuses[:, np.newaxis]))

    n_equal = n_meshed = n_failed = 0
    for i, row in enumerate(statuses):
        net.line["in_service"] = row.astype(bool)
        try:
            pp.runpp(net, lightsim2grid=False, tolerance_mva=1e-11, max_iteration=30)
        except LoadflowNotConverged:
            assert not state.converged[i, 0]
            n_failed += 1
            continue
        vm_pu = net.res_bus.vm_pu.to_numpy()
        graph = nx.MultiGraph()
        graph.add_edges_from(zip(net.line.from_bus[row > 0], net.line.to_bus[row > 0], strict=True))
        sources = net.ext_grid.bus.tolist()
        graph.add_nodes_from(sources)
        graph.add_edges_from((sources[0], other) for other in sources[1:])
        alive = graph.subgraph(nx.node_connected_component(graph, sources[0]))
        if alive.number_of_edges() >= len(alive):
            assert not state.converged[i, 0]
            n_meshed += 1
        elif len(alive) == len(sources):  # no line is left at a source: nothing to solve
            assert not state.candidate(i).solved
        else:
            assert state.converged[i, 0]
            np.testing.assert_allclose(state.vm_pu[i, 0], vm_pu, rtol=0, atol=1e-8)
            loss_mw = net.res_line.pl_mw.fillna(0.0)
            np.testing.assert_allclose(state.line_loss_mw[i, 0], loss_mw, rtol=0, atol=1e-6)
            dead = np.isnan(net.res_bus.vm_pu.reindex(net.load.bus).to_numpy())
            assert state.n_unsupplied[i, 0] == dead.sum()
            n_equal += 1
    assert n_equal > n / 5
    assert n_meshed > 0
    assert n_failed > 0 or n < 500 or name == "case16"
