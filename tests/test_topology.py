"""The switching graph: what can be switched, how many trees there are, what moves promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import feeder, two_bus
from pandapower.auxiliary import pandapowerNet

from gridproblems.nets.topology import (
    SwitchingGraph,
    count_loops_and_islands,
    demand_mva,
    estimate_exchanges,
    incidence,
    spanning_trees,
    switching_graph,
)


def ring(n_buses: int = 4, chords: tuple[tuple[int, int], ...] = ()) -> pandapowerNet:
    """A ring from bus 0 with its last line open; 1 ohm a line at 10 kV, 1 MVA: 0.01 p.u."""
    net = pp.create_empty_network(sn_mva=1.0, name="ring")
    pp.create_buses(net, n_buses, vn_kv=10.0)
    pp.create_ext_grid(net, 0)
    ends = [(i, (i + 1) % n_buses) for i in range(n_buses)]
    for i, (a, b) in enumerate([*ends, *chords]):
        pp.create_line_from_parameters(
            net, a, b, 1.0, 1.0, 1.0, 0.0, max_i_ka=1.0, in_service=i < n_buses - 1
        )
    for bus in range(1, n_buses):
        pp.create_load(net, bus, p_mw=0.1 * bus, q_mvar=0.0)
    return net


def test_graphs_with_known_numbers_of_trees() -> None:
    assert switching_graph(ring(5)).n_spanning_trees() == 5
    k4 = switching_graph(ring(4, ((0, 2), (1, 3))))  # Cayley: 4^(4 - 2)
    assert (k4.n_spanning_trees(), k4.n_loops) == (16, 3)
    feeder33 = switching_graph(pn.case33bw())
    assert (feeder33.n_spanning_trees(), feeder33.n_loops) == (50_751, 5)
    assert len(feeder33.edges) == 36  # the line at the substation is on no loop


def test_parallel_lines_and_joined_sources() -> None:
    net = ring(4)
    pp.create_line_from_parameters(net, 1, 2, 1.0, 1.0, 1.0, 0.0, 1.0, in_service=False)
    graph = switching_graph(net)
    assert graph.n_spanning_trees() == 7  # both parallel lines open, or one and another: 1 + 2 x 3
    pp.create_ext_grid(net, 2)  # buses 0 and 2 are one node: three lines to bus 1, two to bus 3
    with_two = switching_graph(net)
    assert with_two.n_nodes == 3
    assert with_two.n_spanning_trees() == 3 * 2


def test_trees_and_loops_of_a_ring() -> None:
    graph = switching_graph(ring(4))
    tree = graph.nearest_tree(graph.closed)
    np.testing.assert_array_equal(tree, [True, True, True, False])
    (loop,) = graph.fundamental_loops(tree)
    assert graph.lines[loop].tolist() == [3, 2, 1, 0]  # the open line, then around from bus 3
    (short,) = graph.short_loops()
    assert sorted(short.tolist()) == [0, 1, 2, 3]
    keys = np.array([[0.9, 0.1, 0.5, 0.7]])
    np.testing.assert_array_equal(spanning_trees(graph.edges, keys, 4), [[True, False, True, True]])


def test_loops_and_islands_are_counted() -> None:
    graph = switching_graph(ring(4, ((0, 2),)))
    closed = np.array(
        [
            [True, True, True, False, False],  # a tree
            [True, True, True, True, True],  # all closed
            [True, True, False, False, True],  # a triangle, and bus 3 alone
            [False, False, False, False, False],
        ]
    )
    loops, islands = count_loops_and_islands(graph.edges, closed, graph.n_nodes)
    assert loops.tolist() == [0, 2, 1, 0]
    assert islands.tolist() == [0, 0, 1, 3]


def test_short_loops_are_a_basis() -> None:
    net = pn.case33bw()
    graph = switching_graph(net)
    matrix = np.zeros((graph.n_loops, len(graph.edges)), dtype=int)
    for row, loop in zip(matrix, graph.short_loops(), strict=True):
        row[loop] = 1
        cycle = nx.Graph(graph.edges[loop].tolist())
        assert set(dict(cycle.degree).values()) == {2}  # it closes
        for a, b in zip(loop, np.roll(loop, -1), strict=True):  # neighbours meet
            assert set(graph.edges[a]) & set(graph.edges[b])
    assert np.linalg.matrix_rank(matrix) == graph.n_loops
    ties = graph.fundamental_loops(graph.nearest_tree(graph.closed))
    assert matrix.sum() < sum(len(loop) for loop in ties)


def test_exchange_estimate_by_hand() -> None:
    """Loads of 0.1, 0.2, 0.3 p.u. at buses 1, 2, 3; line 3-0 is open, 0.01 p.u. each."""
    net = ring(4)
    graph = switching_graph(net)
    current = np.conj(demand_mva(net, graph))
    np.testing.assert_allclose(current, [0.0, 0.1, 0.2, 0.3])
    close, open_, change = estimate_exchanges(
        graph.edges,
        graph.nearest_tree(graph.closed),
        graph.switchable,
        graph.r_pu,
        current,
        *incidence(graph.edges, graph.n_nodes),
    )
    assert set(close) == {3}
    # flows 0.6, 0.5, 0.3 along 0-1-2-3: 0.01 x (0.36 + 0.25 + 0.09) = 0.007 p.u. of losses
    losses = {
        0: 0.01 * (0.6**2 + 0.3**2 + 0.1**2),  # 0 -> 3 -> 2 -> 1
        1: 0.01 * (0.1**2 + 0.5**2 + 0.2**2),  # 0 -> 1, 0 -> 3 -> 2
        2: 0.01 * (0.3**2 + 0.2**2 + 0.3**2),  # 0 -> 1 -> 2, 0 -> 3
    }
    for e, gain in zip(open_, change, strict=True):
        assert gain == pytest.approx(losses[int(e)] - 0.007, abs=1e-12)


def test_branches_that_never_switch() -> None:
    net = feeder()
    graph = switching_graph(net)
    assert set(graph.lines[graph.switchable]) == {4, 6, 2}  # those with switches, on the loop
    assert (graph.lines == -1).sum() == 3  # lines 1, 3 and 5 stay closed
    assert graph.n_loops == 1


def test_open_branches_that_loads_need_are_closed_in_all_trees() -> None:
    net = ring(4)
    bus = pp.create_bus(net, 10.0)
    stub = pp.create_line_from_parameters(net, 2, bus, 1, 1, 1, 0, 1, in_service=False)
    assert switching_graph(net).always_closed == ()
    assert switching_graph(net).node_of_bus[4] == -1
    pp.create_load(net, bus, p_mw=0.1)
    graph = switching_graph(net)
    assert graph.always_closed == (stub,)
    assert graph.node_of_bus[4] == graph.node_of_bus[2]


def without_impedance() -> pandapowerNet:
    net = ring()
    net.line.loc[1, ["r_ohm_per_km", "x_ohm_per_km"]] = 0.0
    return net


def two_switches_at_one_end() -> pandapowerNet:
    net = ring()
    pp.create_switch(net, 1, 1, et="l")
    pp.create_switch(net, 1, 1, et="l")
    return net


def cut_off_for_good() -> pandapowerNet:
    net = ring()
    pp.create_load(net, pp.create_bus(net, 10.0, name="far"), p_mw=0.1, name="lost")
    return net


def fixed_loop() -> pandapowerNet:
    net = ring(4, ((0, 2),))
    net.line["in_service"] = True
    pp.create_switch(net, 2, 2, et="l")
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_bus, "no switchable line is on a loop"),
        (without_impedance, r"line 1: no impedance"),
        (two_switches_at_one_end, r"line 1: several switches at bus 1"),
        (cut_off_for_good, r"load 3 \(lost\): no configuration can supply it"),
        (fixed_loop, r"on a loop that no switchable line can open"),
    ],
)
def test_bad_nets_are_refused(make: Callable[[], pandapowerNet], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        switching_graph(make())


def trees_by_trying(graph: SwitchingGraph) -> list[tuple[int, ...]]:
    """The lines open in each radial configuration, by trying all sets of them."""
    found = []
    for lines in itertools.combinations(graph.lines[graph.switchable].tolist(), graph.n_loops):
        closed = nx.MultiGraph()
        closed.add_nodes_from(range(graph.n_nodes))
        edges = graph.edges[~np.isin(graph.lines, lines)].tolist()
        closed.add_edges_from(edges)
        if nx.is_connected(closed):
            found.append(lines)
    return found


def beside_transformers() -> pandapowerNet:
    """A ring of lines 0 to 3 behind two transformers side by side, and line 4 beside a coupler."""
    net = ring(4)
    hv = pp.create_bus(net, 110.0)
    net.ext_grid["bus"] = hv
    for _ in range(2):
        pp.create_transformer(net, hv, 0, "25 MVA 110/10 kV")
    twin = pp.create_bus(net, 10.0)
    pp.create_switch(net, 2, twin, et="b")
    pp.create_line_from_parameters(net, 2, twin, 1.0, 1.0, 1.0, 0.0, 1.0)
    return net


def between_sources() -> pandapowerNet:
    """Sources at buses 0 and 2, which line 4 joins: the ring is two loops at one node."""
    net = ring(4, ((0, 2),))
    pp.create_ext_grid(net, 2)
    return net


def some_lines_fixed() -> pandapowerNet:
    """Of the 16 trees of a ring of 4 with both chords those that keep lines 0 and 4 closed."""
    net = ring(4, ((0, 2), (1, 3)))
    net.line["in_service"] = True
    for line in (1, 2, 3, 5):
        pp.create_switch(net, net.line.from_bus[line], line, et="l")
    return net


def parallel_cables_on_a_loop() -> pandapowerNet:
    """Lines 0 and 4 are side by side and cannot open; lines 1 to 3 close the loop."""
    net = ring(4, ((0, 1),))
    net.line["in_service"] = True
    for line in (1, 2, 3):
        pp.create_switch(net, line, line, et="l")
    return net


@pytest.mark.parametrize(
    ("make", "n_trees", "always_open"),
    [
        (beside_transformers, 4, (4,)),
        (between_sources, 4, (4,)),
        (some_lines_fixed, 3, (1,)),
        (parallel_cables_on_a_loop, 3, ()),
    ],
)
def test_what_cannot_open_is_closed_in_every_tree(
    make: Callable[[], pandapowerNet], n_trees: int, always_open: tuple[int, ...]
) -> None:
    graph = switching_graph(make())
    trees = trees_by_trying(graph)
    assert (len(trees), graph.always_open) == (n_trees, always_open)
    assert graph.n_spanning_trees() == n_trees
    loops = graph.short_loops()
    assert len(loops) == graph.n_loops
    assert min(map(len, loops)) > 1


def test_parallel_cables_share_the_current() -> None:
    graph = switching_graph(parallel_cables_on_a_loop())
    assert graph.r_pu[~graph.switchable] == pytest.approx([0.005])


def test_lines_at_a_bus_out_of_service_are_no_way() -> None:
    net = ring(5, ((1, 3),))
    net.load = net.load[net.load.bus != 2]
    net.bus.loc[2, "in_service"] = False
    graph = switching_graph(net)
    assert graph.lines.tolist() == [0, 3, 4, 5]


def test_all_that_takes_power_has_to_be_supplied() -> None:
    net = ring(4)
    far = pp.create_bus(net, 10.0)
    pp.create_motor(net, far, pn_mech_mw=0.1, cos_phi=0.9)
    with pytest.raises(ValueError, match="motor 0: no configuration can supply it"):
        switching_graph(net)


def test_a_line_that_its_switches_cannot_close_is_refused() -> None:
    net = ring()
    pp.create_switch(net, 3, 3, et="l")
    with pytest.raises(ValueError, match="switchable: line 3 is out of service and has switches"):
        switching_graph(net, [0, 3])


def test_unknown_switchable_line() -> None:
    with pytest.raises(ValueError, match="no line 77"):
        switching_graph(ring(), [0, 77])
