"""The switching graph of a net: which lines can open, its radial trees, and moves between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems._compile import compiled
from gridproblems._union_find import find, union
from gridproblems.nets.cycles import minimum_cycle_basis
from gridproblems.nets.network import label_of, number
from gridproblems.state import FloatArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

SOURCE = 0
_BRANCHES = {
    "line": (("from_bus", "to_bus"),),
    "trafo": (("hv_bus", "lv_bus"),),
    "impedance": (("from_bus", "to_bus"),),
    "trafo3w": (("hv_bus", "mv_bus"), ("hv_bus", "lv_bus")),
}
_LOADS = ("load", "asymmetric_load", "motor", "ward", "xward", "storage")


@dataclass(frozen=True, eq=False)
class SwitchingGraph:
    """What a net can be switched to: every radial configuration is a spanning tree of this graph.

    Nodes are buses, joined where closed couplers join them; all external grids are node 0, so that
    feeders of several sources are radial together. Edges are the branches on at least one loop
    when everything switchable is closed; all other branches are the same in every tree. Parallel
    branches that cannot open, such as two transformers side by side, are one edge.

    Attributes:
        edges: The nodes of each edge, shape (n_edges, 2).
        lines: Line of each edge, -1 for a branch that stays closed, shape (n_edges,).
        closed: Whether each edge is closed now, shape (n_edges,).
        r_pu: Series resistance of each edge. [p.u. of the net's base power]
        n_nodes: Number of nodes.
        always_closed: Lines outside the graph that must be closed, as loads are behind them.
        always_open: Lines outside the graph that must be open, as what cannot open joins their
            ends: both at sources, at one bus, or beside a transformer, say.
        node_of_bus: Node of each row of the bus table, -1 for buses no tree can reach.
    """

    edges: IntArray
    lines: IntArray
    closed: BoolArray
    r_pu: FloatArray
    n_nodes: int
    always_closed: tuple[int, ...]
    always_open: tuple[int, ...]
    node_of_bus: IntArray

    @property
    def n_loops(self) -> int:
        """Number of lines that are open in every radial configuration."""
        return len(self.edges) - self.n_nodes + 1

    @property
    def switchable(self) -> BoolArray:
        """Which edges can open, shape (n_edges,)."""
        return self.lines >= 0

    def n_spanning_trees(self) -> int:
        """Number of radial configurations, by Kirchhoff's theorem in whole numbers.

        Nodes joined by edges that cannot open are one, so that all trees counted have these.
        """
        joined = np.arange(self.n_nodes)
        for a, b in self.edges[~self.switchable].tolist():
            union(joined, a, b)
        roots = [int(find(joined, a)) for a in range(self.n_nodes)]
        number_of = {a: i for i, a in enumerate(dict.fromkeys(roots))}
        laplacian = [[0] * len(number_of) for _ in number_of]
        for ends in self.edges[self.switchable].tolist():
            a, b = (number_of[roots[end]] for end in ends)
            laplacian[a][a] += 1
            laplacian[b][b] += 1
            laplacian[a][b] -= 1
            laplacian[b][a] -= 1
        return _determinant([row[1:] for row in laplacian[1:]])

    def nearest_tree(self, closed: BoolArray) -> BoolArray:
        """A spanning tree that keeps as many of these edges closed as a tree can, (n_edges,)."""
        keys = np.where(self.switchable, closed.astype(float), 2.0)
        return spanning_trees(self.edges, keys[np.newaxis], self.n_nodes)[0]

    def fundamental_loops(self, tree: BoolArray) -> list[IntArray]:
        """For each edge outside a tree the switchable edges of the loop it closes, in order.

        Each starts with the edge outside the tree and goes around from its second node.
        """
        loops = []
        graph = nx.Graph()
        for e in np.flatnonzero(tree):
            graph.add_edge(*self.edges[e].tolist(), edge=int(e))
        for e in np.flatnonzero(~tree):
            a, b = self.edges[e].tolist()
            path = nx.shortest_path(graph, b, a) if a != b else [a]
            around = [e, *(graph.edges[pair]["edge"] for pair in itertools.pairwise(path))]
            loops.append(np.array([k for k in around if self.switchable[k]], dtype=np.int64))
        return loops

    def short_loops(self) -> list[IntArray]:
        """A minimum cycle basis, each loop as its switchable edges in order around it."""
        graph = nx.Graph()
        middle = self.n_nodes
        for e, (a, b) in enumerate(self.edges.tolist()):  # a node in every edge: parallel edges
            graph.add_edges_from([(a, middle + e), (middle + e, b)])
        loops = []
        for cycle in minimum_cycle_basis(graph):
            around = nx.find_cycle(graph.subgraph(cycle))
            edges = [start - middle for start, _ in around if start >= middle]
            loops.append(np.array([e for e in edges if self.switchable[e]], dtype=np.int64))
        return loops


def switching_graph(net: pandapowerNet, switchable: Sequence[int] | None = None) -> SwitchingGraph:
    """Finds what can be switched in a net.

    Args:
        net: A net in which every load is supplied.
        switchable: Lines that can open and close. None: those with switches of their own, or all
            lines if the net has no line switches.

    Raises:
        ValueError: A line that does not exist, has no impedance or several switches at one end;
            loops that no switchable line can open; nothing to open; a load without any path.
    """
    lines = _switchable_lines(net, switchable)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    node, source = _joined_buses(net)
    graph = nx.MultiGraph()
    graph.add_nodes_from(node.tolist())
    dead = set(net.bus.index[~net.bus.in_service.astype(bool)])
    for table, ends in _BRANCHES.items():
        for element in net[table].index:
            if dead.intersection(net[table].at[element, c] for pair in ends for c in pair):
                continue
            line = int(element) if table == "line" and element in lines else -1
            closed = is_closed(net, table, element)
            if line < 0 and not closed:
                continue
            for start, end in ends:
                a, b = (place[net[table].at[element, c]] for c in (start, end))
                r_pu = _resistance_pu(net, table, element)
                graph.add_edge(
                    int(node[a]), int(node[b]), line=line, closed=closed, r_pu=r_pu, table=table,
                    element=element,
                )  # fmt: skip
    return _reduced(net, graph, node, source)


@dataclass(frozen=True, eq=False)
class Branches:
    """All branches that are closed in some configuration, bus by bus.

    Attributes:
        ends: Buses of each branch, numbered from 0 with couplers and sources joined, (n, 2).
        edge: Its edge in the switching graph, -1 for what is the same in every tree, (n,).
        elements: Table and index of each branch.
        place: Number of each pandapower bus.
        source: Number of the external grids.
        n_buses: One more than the largest number.
    """

    ends: IntArray
    edge: IntArray
    elements: tuple[tuple[str, int], ...]
    place: dict[int, int]
    source: int
    n_buses: int


def branches(net: pandapowerNet, graph: SwitchingGraph) -> Branches:
    """The branches of a net and what the switching graph makes of them."""
    node, source = _joined_buses(net)
    place = {bus: int(node[i]) for i, bus in enumerate(net.bus.index)}
    edge_of = {int(line): e for e, line in enumerate(graph.lines) if line >= 0}
    ends, edges, elements = [], [], []
    for table, columns in _BRANCHES.items():
        for element in net[table].index:
            edge = edge_of.get(int(element), -1) if table == "line" else -1
            always = table == "line" and element in graph.always_closed
            if table == "line" and element in graph.always_open:
                continue
            if edge < 0 and not always and not is_closed(net, table, element):
                continue
            for start, end in columns:
                ends.append([place[net[table].at[element, c]] for c in (start, end)])
                edges.append(edge)
                elements.append((table, int(element)))
    return Branches(
        np.array(ends, dtype=np.int64),
        np.array(edges, dtype=np.int64),
        tuple(elements),
        place,
        source,
        len(node),
    )


def _joined_buses(net: pandapowerNet) -> tuple[IntArray, int]:
    """A number per row of the bus table, equal for joined buses, and that of the sources."""
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    joined = np.arange(len(place))
    for _, switch in net.switch[(net.switch.et == "b") & net.switch.closed.astype(bool)].iterrows():
        union(joined, place[switch.bus], place[switch.element])
    slack = net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)
    grids = net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]
    sources = [place[bus] for bus in (*grids, *net.gen.bus[slack])]
    for source in sources[1:]:
        union(joined, sources[0], source)
    node = np.array([find(joined, i) for i in range(len(joined))])
    return node, int(node[sources[0]])


def _switchable_lines(net: pandapowerNet, asked: Sequence[int] | None) -> set[int]:
    own = net.switch[net.switch.et == "l"]
    twice = own.duplicated(["element", "bus"])
    if twice.any():
        line, bus = own.loc[twice, ["element", "bus"]].iloc[0]
        raise ValueError(f"{label_of(net, 'line', line)}: several switches at bus {bus}, give one")
    if asked is None:
        lines = set(own.element) if len(own) else set(net.line.index)
        if len(own):
            lines &= set(net.line.index[net.line.in_service.astype(bool)])
    else:
        lines = set(asked)
        for line in asked:
            if line not in net.line.index:
                raise ValueError(f"switchable: the net has no line {line}")
    for line in sorted(lines):
        row = net.line.loc[line]
        if row.r_ohm_per_km * row.length_km == 0 and row.x_ohm_per_km * row.length_km == 0:
            raise ValueError(
                f"{label_of(net, 'line', line)}: no impedance (r and x are 0); model it as a switch"
            )
        if not row.in_service and (own.element == line).any():
            raise ValueError(
                f"switchable: {label_of(net, 'line', line)} is out of service and has switches of "
                "its own; put it in service and open them, or leave it out"
            )
    return {int(line) for line in lines}


def line_switches(net: pandapowerNet, line: int) -> list[int]:
    """The switches that open a line, none where its ``in_service`` does."""
    return net.switch.index[(net.switch.et == "l") & (net.switch.element == line)].tolist()


def is_closed(net: pandapowerNet, table: str, element: int) -> bool:
    if not net[table].at[element, "in_service"]:
        return False
    kind = {"line": "l", "trafo": "t", "trafo3w": "t3"}.get(table)
    own = net.switch[(net.switch.et == kind) & (net.switch.element == element)]
    return bool(own.closed.all())


def _resistance_pu(net: pandapowerNet, table: str, element: int) -> float:
    row = net[table].loc[element]
    if table == "line":
        base_ohm = net.bus.at[row.from_bus, "vn_kv"] ** 2 / net.sn_mva
        return float(row.r_ohm_per_km * row.length_km / row.parallel / base_ohm)
    if table == "trafo":
        return float(row.vkr_percent / 100 * net.sn_mva / row.sn_mva / row.parallel)
    if table == "impedance":
        return float(row.rft_pu * net.sn_mva / row.sn_mva)
    return float(row.vkr_hv_percent / 100 * net.sn_mva / row.sn_hv_mva)


def _reduced(
    net: pandapowerNet, graph: nx.MultiGraph, node: IntArray, source: int
) -> SwitchingGraph:
    """The graph without what no tree can change."""
    loaded = _loads_by_node(net, node)
    alive = nx.node_connected_component(graph, source)
    lost = [load for at, loads in loaded.items() if at not in alive for load in loads]
    if lost:
        raise ValueError(f"{label_of(net, *lost[0])}: no configuration can supply it")
    graph = graph.subgraph(alive).copy()
    _merge_parallel(net, graph, len(node))
    always_open = _open_for_good(graph, len(node))
    always_closed = _closed_for_good(graph, source, set(loaded))
    bridges = [(a, b) for a, b in nx.bridges(nx.Graph(graph)) if graph.number_of_edges(a, b) == 1]
    joined = np.arange(len(node))
    for a, b in bridges:
        union(joined, a, b)
        graph.remove_edge(a, b)
    of_node = {n: int(find(joined, n)) for n in graph}
    first = of_node[source]
    number_of = {first: SOURCE}
    for n in sorted(set(of_node.values())):
        number_of.setdefault(n, len(number_of))
    edges = sorted(graph.edges(data=True), key=lambda e: (e[2]["line"] < 0, e[2]["line"]))
    if not any(data["line"] >= 0 for *_, data in edges):
        raise ValueError(
            "nothing to reconfigure: no switchable line is on a loop that another can open"
            + f" (lines {list(always_open)} have to stay open)" * bool(always_open)
        )
    return SwitchingGraph(
        edges=np.array(
            [[number_of[of_node[a]], number_of[of_node[b]]] for a, b, _ in edges], dtype=np.int64
        ),
        lines=np.array([data["line"] for *_, data in edges], dtype=np.int64),
        closed=np.array([data["closed"] for *_, data in edges], dtype=bool),
        r_pu=np.array([data["r_pu"] for *_, data in edges]),
        n_nodes=len(number_of),
        always_closed=always_closed,
        always_open=always_open,
        node_of_bus=np.array(
            [number_of[of_node[n]] if n in of_node else -1 for n in node.tolist()], dtype=np.int64
        ),
    )


def _merge_parallel(net: pandapowerNet, graph: nx.MultiGraph, n_nodes: int) -> None:
    """Makes one edge of parallel branches that cannot open, with the resistance of all.

    Raises:
        ValueError: Other loops of branches that cannot open.
    """
    joined = np.arange(n_nodes)
    first: dict[tuple[int, int], dict[str, float]] = {}
    for a, b, key, data in list(graph.edges(keys=True, data=True)):
        if data["line"] >= 0:
            continue
        pair = (min(a, b), max(a, b))
        if a == b:  # at one bus, or at two sources: the same in every tree
            graph.remove_edge(a, b, key)
        elif pair in first:
            r1, r2 = first[pair]["r_pu"], data["r_pu"]
            first[pair]["r_pu"] = r1 * r2 / (r1 + r2) if r1 + r2 else 0.0
            graph.remove_edge(a, b, key)
        elif union(joined, a, b):
            first[pair] = data
        else:
            raise ValueError(
                f"{label_of(net, data['table'], data['element'])}: on a loop that no switchable "
                "line can open"
            )


def _open_for_good(graph: nx.MultiGraph, n_nodes: int) -> tuple[int, ...]:
    """Takes out the switchable lines between nodes that what cannot open joins."""
    joined = np.arange(n_nodes)
    for a, b, line in graph.edges(data="line"):
        if line < 0:
            union(joined, a, b)
    removed = []
    for a, b, key, line in list(graph.edges(keys=True, data="line")):
        if line >= 0 and find(joined, a) == find(joined, b):
            graph.remove_edge(a, b, key)
            removed.append(line)
    return tuple(sorted(removed))


def _closed_for_good(graph: nx.MultiGraph, source: int, loaded: set[int]) -> tuple[int, ...]:
    """Open lines on no loop: those that loads need, and what is behind the others goes."""
    needed = []
    for a, b in list(nx.bridges(nx.Graph(graph))):
        if not graph.has_edge(a, b) or graph.number_of_edges(a, b) > 1:
            continue
        (key, data), *_ = graph[a][b].items()
        if data["closed"]:
            continue
        graph.remove_edge(a, b, key)
        beyond = set(graph) - nx.node_connected_component(graph, source)
        if beyond & loaded:
            graph.add_edge(a, b, key, **data)
            needed.append(data["line"])
        else:
            graph.remove_nodes_from(beyond)
    return tuple(needed)


def _loads_by_node(net: pandapowerNet, node: IntArray) -> dict[int, list[tuple[str, int]]]:
    """Table and index of everything at each node that has to be supplied."""
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    loads: dict[int, list[tuple[str, int]]] = {}
    for table in _LOADS:
        elements = net[table] if table in net else net.load.iloc[:0]
        for element in elements.index[elements.in_service.astype(bool)]:
            at = int(node[place[elements.at[element, "bus"]]])
            loads.setdefault(at, []).append((table, int(element)))
    return loads


def demand_mva(net: pandapowerNet, graph: SwitchingGraph) -> NDArray[np.complex128]:
    """Scheduled demand of each node, generation negative, shape (n_nodes,). [MVA]"""
    total = np.zeros(graph.n_nodes, dtype=np.complex128)
    place = {bus: i for i, bus in enumerate(net.bus.index)}
    for table, sign in (("load", 1.0), ("storage", 1.0), ("sgen", -1.0)):
        for element in net[table].index[net[table].in_service.astype(bool)]:
            at = graph.node_of_bus[place[net[table].at[element, "bus"]]]
            if at < 0:
                continue
            p, q, scaling = (number(net, table, element, c) for c in ("p_mw", "q_mvar", "scaling"))
            total[at] += sign * np.nan_to_num(scaling, nan=1.0) * (p + 1j * np.nan_to_num(q))
    return total


def _determinant(matrix: list[list[int]]) -> int:
    """Determinant of a matrix of whole numbers, exact (Bareiss)."""
    rows = [list(row) for row in matrix]
    n, sign, previous = len(rows), 1, 1
    for k in range(n - 1):
        if rows[k][k] == 0:
            swap = next((i for i in range(k + 1, n) if rows[i][k]), None)
            if swap is None:
                return 0
            rows[k], rows[swap], sign = rows[swap], rows[k], -sign
        for i in range(k + 1, n):
            for j in range(k + 1, n):
                rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) // previous
        previous = rows[k][k]
    return sign * rows[-1][-1] if n else 1


@compiled
def spanning_trees(edges, keys, n_nodes):  # type: ignore[no-untyped-def]
    """Maximum spanning trees (Kruskal 1956).

    Args:
        edges: Shape (n_edges, 2).
        keys: Edges with larger keys come first, shape (n_trees, n_edges).
        n_nodes: Number of nodes.

    Returns:
        Whether each edge is in each tree, shape (n_trees, n_edges).
    """
    trees = np.zeros(keys.shape, dtype=np.bool_)
    above = np.empty(n_nodes, dtype=np.int64)
    for t in range(len(keys)):
        above[:] = np.arange(n_nodes)
        for e in np.argsort(-keys[t], kind="mergesort"):
            trees[t, e] = union(above, edges[e, 0], edges[e, 1])
    return trees


@compiled
def count_loops_and_islands(edges, closed, n_nodes):  # type: ignore[no-untyped-def]
    """Independent loops and parts without connection to node 0 of graphs.

    Args:
        edges: Shape (n_edges, 2).
        closed: Shape (n_graphs, n_edges).
        n_nodes: Number of nodes.

    Returns:
        Two arrays of shape (n_graphs,).
    """
    n_loops = np.zeros(len(closed), dtype=np.int64)
    n_islands = np.zeros(len(closed), dtype=np.int64)
    above = np.empty(n_nodes, dtype=np.int64)
    for t in range(len(closed)):
        above[:] = np.arange(n_nodes)
        n_parts = n_nodes
        for e in range(len(edges)):
            if closed[t, e]:
                if union(above, edges[e, 0], edges[e, 1]):
                    n_parts -= 1
                else:
                    n_loops[t] += 1
        n_islands[t] = n_parts - 1
    return n_loops, n_islands


@compiled
def root_tree(edges, tree, incident_start, incident, order, parent):  # type: ignore[no-untyped-def]
    """Orders a spanning tree from node 0.

    Args:
        order: Filled with the nodes, parents before children, shape (n_nodes,).
        parent: Filled with the edge to the parent of each node, -1 for node 0.
    """
    parent[:] = -2
    order[0], parent[0] = 0, -1
    n, i = 1, 0
    while i < n:
        a = order[i]
        for k in range(incident_start[a], incident_start[a + 1]):
            e = incident[k]
            if not tree[e] or e == parent[a]:
                continue
            b = edges[e, 0] + edges[e, 1] - a
            parent[b] = e
            order[n] = b
            n += 1
        i += 1


def incidence(edges: IntArray, n_nodes: int) -> tuple[IntArray, IntArray]:
    """Edges at each node: those of node a are ``incident[start[a] : start[a + 1]]``."""
    ends = edges.T.ravel()
    start = np.searchsorted(np.sort(ends), np.arange(n_nodes + 1)).astype(np.int64)
    incident = np.tile(np.arange(len(edges)), 2)[np.argsort(ends, kind="stable")]
    return start, incident


@compiled
def estimate_exchanges(  # type: ignore[no-untyped-def]
    edges, tree, switchable, r_pu, current, incident_start, incident
):
    """What losses change when one edge closes and another on its loop opens.

    With constant load currents, opening an edge that carries J sends J around the loop the other
    way, so losses change by ``|J|^2 sum r - 2 Re(conj(J) sum r J_k)`` (S. Civanlar, J. J. Grainger,
    H. Yin, S. S. H. Lee, Distribution feeder reconfiguration for loss reduction, IEEE Trans. Power
    Delivery 3 (1988) 1217-1223, doi:10.1109/61.193906, give the same idea for feeders).

    Args:
        edges, tree, switchable, r_pu: The graph and a spanning tree of it.
        current: Complex load current of each node. [p.u.]
        incident_start, incident: See `incidence`.

    Returns:
        Edges to close, edges to open, estimated change of losses [p.u.]; each (n_exchanges,).
    """
    n_nodes = len(current)
    order, parent = np.empty(n_nodes, dtype=np.int64), np.empty(n_nodes, dtype=np.int64)
    root_tree(edges, tree, incident_start, incident, order, parent)
    below = current.copy()  # current of the edge to the parent, towards the node
    depth = np.zeros(n_nodes, dtype=np.int64)
    for i in range(1, n_nodes):
        b = order[i]
        depth[b] = depth[edges[parent[b], 0] + edges[parent[b], 1] - b] + 1
    for i in range(n_nodes - 1, 0, -1):
        b = order[i]
        below[edges[parent[b], 0] + edges[parent[b], 1] - b] += below[b]

    most = 0
    for e in range(len(edges)):
        most += 0 if tree[e] else n_nodes
    close, open_ = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    change = np.empty(most)
    path = np.empty(n_nodes, dtype=np.int64)
    flow = np.empty(n_nodes, dtype=np.complex128)
    n = 0
    for e in range(len(edges)):
        if tree[e]:
            continue
        a, b = edges[e, 0], edges[e, 1]
        length = 0
        total_r, total_rj = r_pu[e], 0j
        while a != b:  # up from the deeper end; flow is positive from edges[e, 1] to edges[e, 0]
            if depth[a] >= depth[b]:
                up, k, sign = a, parent[a], 1.0
                a = edges[k, 0] + edges[k, 1] - a
            else:
                up, k, sign = b, parent[b], -1.0
                b = edges[k, 0] + edges[k, 1] - b
            path[length], flow[length] = k, sign * below[up]
            total_r += r_pu[k]
            total_rj += r_pu[k] * flow[length]
            length += 1
        for i in range(length):
            if not switchable[path[i]]:
                continue
            j = flow[i]
            close[n], open_[n] = e, path[i]
            change[n] = (j.real * j.real + j.imag * j.imag) * total_r - 2.0 * (
                np.conj(j) * total_rj
            ).real
            n += 1
    return close[:n], open_[:n], change[:n]
