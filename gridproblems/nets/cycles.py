"""A minimum cycle basis of graphs whose edges all count the same, fast enough for large feeders."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

Edge = tuple[Any, Any]


def minimum_cycle_basis(graph: nx.Graph) -> list[list[Hashable]]:
    """The nodes of each cycle of a basis with the fewest edges in all.

    It is that of `networkx.minimum_cycle_basis`, in the same order, which looks for a shortest way
    from every node to its copy in the lifted graph of each cycle (J. de Pina, Applications of
    shortest path methods, PhD thesis, University of Amsterdam, 1995; T. Kavitha, K. Mehlhorn,
    D. Michail, K. Paluch, An O(m^2 n) algorithm for minimum cycle basis of graphs, Algorithmica 52
    (2008) 333-349, doi:10.1007/s00453-007-9064-z). Such a way crosses between the copies at an edge
    of the vector that the cycle is not orthogonal to, so that the distances from the ends of these
    few edges say where the shortest one can begin.

    Args:
        graph: A graph without parallel edges.
    """
    found: list[list[Hashable]] = []
    for nodes in nx.connected_components(graph):
        found += _of_component(graph.subgraph(nodes))
    return found


def _of_component(graph: nx.Graph) -> list[list[Hashable]]:
    tree = list(nx.minimum_spanning_edges(graph, weight=None, data=False))
    chords = graph.edges - tree - {(b, a) for a, b in tree}
    orthogonal: list[set[Edge]] = [{edge} for edge in chords]
    lifted = _Lifted(graph)
    cycles: list[list[Hashable]] = []
    while orthogonal:
        base = orthogonal.pop()
        cycle = lifted.shortest_cycle(base)
        cycles.append([b for _, b in cycle])
        orthogonal = [
            _difference(vector, base) if _product(vector, cycle) else vector
            for vector in orthogonal
        ]
    return cycles


def _product(vector: set[Edge], cycle: Iterable[Edge]) -> int:
    """Of two vectors of edges over the field of 0 and 1."""
    return sum(edge in vector or edge[::-1] in vector for edge in cycle) % 2


def _difference(one: set[Edge], other: set[Edge]) -> set[Edge]:
    """Edges in one of two vectors, whatever their direction."""
    return {e for e in one if e not in other and e[::-1] not in other} | {
        e for e in other if e not in one and e[::-1] not in one
    }


class _Lifted:
    """Two copies of a graph, with the edges of a vector leading from one to the other."""

    def __init__(self, graph: nx.Graph) -> None:
        self._graph = graph
        self._nodes = list(graph)
        place = {node: i for i, node in enumerate(self._nodes)}
        self._place = place
        self._ends = np.array([(place[a], place[b]) for a, b in graph.edges], dtype=np.int64)
        self._number = {frozenset(edge): i for i, edge in enumerate(graph.edges)}

    def shortest_cycle(self, base: set[Edge]) -> list[Edge]:
        """The edges of a shortest cycle that has an odd number of edges in common with a vector."""
        start = self._start(base)
        lifted = nx.Graph()
        for a, b in self._graph.edges:
            crosses = (a, b) in base or (b, a) in base
            pairs = [(a, (b, 1)), ((a, 1), b)] if crosses else [(a, b), ((a, 1), (b, 1))]
            lifted.add_edges_from(pairs, weight=1)
        way = nx.shortest_path(lifted, source=start, target=(start, 1), weight="weight")
        nodes = [node if node in self._graph else node[0] for node in way]
        return _without_pairs(list(itertools.pairwise(nodes)))

    def _start(self, base: set[Edge]) -> Hashable:
        """The first node whose way to its copy is shortest."""
        n = len(self._nodes)
        crosses = np.zeros(len(self._ends), dtype=bool)
        crosses[[self._number[frozenset(edge)] for edge in base]] = True
        a, b = self._ends.T
        shift = np.where(crosses, n, 0)
        rows = np.concatenate([a, a + n])
        columns = np.concatenate([b + shift, np.where(crosses, b, b + n)])
        matrix = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(2 * n, 2 * n))
        sources = np.unique(a[crosses])
        distances = dijkstra(matrix, directed=False, unweighted=True, indices=sources)
        # from a node past an end of a crossing edge to the copy of the node
        through = distances[:, :n] + distances[:, n:]
        return self._nodes[int(through.min(axis=0).argmin())]


def _without_pairs(edges: list[Edge]) -> list[Edge]:
    """The edges that occur an odd number of times, once and in order."""
    left: set[Edge] = set()
    for edge in edges:
        if edge in left:
            left.remove(edge)
        elif edge[::-1] in left:
            left.remove(edge[::-1])
        else:
            left.add(edge)
    kept = []
    for edge in edges:
        for either in (edge, edge[::-1]):
            if either in left:
                kept.append(either)
                left.remove(either)
                break
    return kept
