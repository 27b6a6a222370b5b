"""Disjoint sets of numbered nodes; ``above`` points from each node towards its representative."""

from __future__ import annotations

from gridproblems._compile import compiled


@compiled
def find(above, node):  # type: ignore[no-untyped-def]
    """Representative of a node's set."""
    while above[node] != node:
        above[node] = above[above[node]]
        node = above[node]
    return node


@compiled
def union(above, a, b):  # type: ignore[no-untyped-def]
    """Joins the sets of two nodes; False if they were one already."""
    a, b = find(above, a), find(above, b)
    if a == b:
        return False
    above[a] = b
    return True
