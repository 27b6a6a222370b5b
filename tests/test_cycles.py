"""The minimum cycle basis is that of networkx, cycle for cycle, also where several are shortest."""

from __future__ import annotations

import networkx as nx
import pytest

from gridproblems.nets.cycles import minimum_cycle_basis


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_have_the_basis_of_networkx(seed: int) -> None:
    graph = nx.gnm_random_graph(20 + seed % 9, 26 + seed % 17, seed=seed)
    assert minimum_cycle_basis(graph) == nx.minimum_cycle_basis(graph)


def test_a_lattice_has_its_squares() -> None:
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 5))
    basis = minimum_cycle_basis(graph)
    assert basis == nx.minimum_cycle_basis(graph)
    assert sorted(map(len, basis)) == [4] * 12


def test_parts_and_trees() -> None:
    assert minimum_cycle_basis(nx.path_graph(5)) == []
    two = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4))
    assert [sorted(cycle) for cycle in minimum_cycle_basis(two)] == [[0, 1, 2], [3, 4, 5, 6]]
