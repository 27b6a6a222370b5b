"""LU factors of many matrices with one sparsity pattern, without pivoting.

The pattern, an order that keeps the factors sparse and the list of everything that elimination
does are made once (`eliminate`). The compiled functions then work on the numbers of `LANES`
matrices at once. Unknowns come in groups of one or two that have the same neighbours (angle and
magnitude of the voltage of a bus), so a step combines up to two rows with up to two others.

Factors are in an array of lanes with a row per stored entry, group after group and row after row:
columns of earlier groups (L), those of the group, columns of later groups (U). Diagonals of U are
stored as their reciprocals.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled, compiled_in_place
from gridproblems.engines._kernels import IntArray
from gridproblems.engines._lanes import (
    absolute,
    lanes,
    larger,
    load,
    store,
    subtract_product,
)

Indices = NDArray[np.int32]


class Elimination(NamedTuple):
    """What elimination does with a pattern; groups and unknowns are in the order of elimination.

    Attributes:
        first: First unknown of every group, and the number of unknowns, (n_groups + 1,).
        start: Where the first row of every group starts among the entries.
        length: Entries of a row of every group.
        n_lower: Entries of a row that belong to earlier groups.
        column_start: Where the columns of every group start in ``column``.
        column: Columns of a row of every group, ascending.
        step_start: First step of every group, and the number of steps.
        step_entry: Entry that a step makes zero (that of the first column, in the first row).
        step_group: Earlier group that a step uses.
        target_start: Where the targets of every step start in ``target``.
        target: For every later column of the earlier group the entry of the first row to change.
    """

    first: Indices
    start: Indices
    length: Indices
    n_lower: Indices
    column_start: Indices
    column: Indices
    step_start: Indices
    step_entry: Indices
    step_group: Indices
    target_start: Indices
    target: Indices

    @property
    def n_entries(self) -> int:
        """Number of stored entries."""
        return int(self.start[-1])

    @property
    def n_unknowns(self) -> int:
        """Number of unknowns."""
        return int(self.first[-1])


def minimum_degree(neighbours: Sequence[set[int]], sizes: IntArray) -> IntArray:
    """Order of elimination: always a group with the fewest unknowns beside it.

    Args:
        neighbours: Of every group the others that it has entries with, symmetric.
        sizes: Number of unknowns of every group.
    """
    graph = [set(others) for others in neighbours]
    size = sizes.tolist()
    degree = [sum(size[j] for j in others) for others in graph]
    queue = [(d, i) for i, d in enumerate(degree)]
    heapq.heapify(queue)
    order: list[int] = []
    done = [False] * len(graph)
    while queue:
        d, i = heapq.heappop(queue)
        if done[i] or d != degree[i]:
            continue
        done[i] = True
        order.append(i)
        clique = graph[i]
        for j in clique:
            graph[j] |= clique
            graph[j] -= {i, j}
            degree[j] = sum(size[k] for k in graph[j])
            heapq.heappush(queue, (degree[j], j))
    return np.array(order, dtype=np.int64)


def eliminate(order: IntArray, neighbours: Sequence[set[int]], sizes: IntArray) -> Elimination:
    """The steps that eliminate groups in an order.

    Args:
        order: Groups in the order of elimination.
        neighbours, sizes: As for `minimum_degree`, in the numbers that ``order`` uses.
    """
    n = len(order)
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    size = np.asarray(sizes, dtype=np.int64)[order]
    first = np.concatenate([[0], np.cumsum(size)])
    later, earlier = _fill(order, place, neighbours)

    def unknowns(groups: list[int]) -> IntArray:
        parts = [np.arange(first[g], first[g + 1]) for g in groups]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    columns = [unknowns([*earlier[g], g, *later[g]]) for g in range(n)]
    beyond = [unknowns(later[g]) for g in range(n)]
    length = np.array([len(c) for c in columns], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(length * size)]).astype(np.int64)
    entries = [
        start[g] + np.searchsorted(columns[g], first[k]) for g in range(n) for k in earlier[g]
    ]
    targets = [
        start[g] + np.searchsorted(columns[g], beyond[k]) for g in range(n) for k in earlier[g]
    ]
    n_targets = [len(part) for part in targets]
    empty = np.zeros(0, dtype=np.int64)
    parts = {
        "first": first,
        "start": start,
        "length": length,
        "n_lower": [int(size[earlier[g]].sum()) for g in range(n)],
        "column_start": np.concatenate([[0], np.cumsum(length)]),
        "column": np.concatenate([empty, *columns]),
        "step_start": np.concatenate([[0], np.cumsum([len(part) for part in earlier])]),
        "step_entry": entries,
        "step_group": [k for g in range(n) for k in earlier[g]],
        "target_start": np.concatenate([[0], np.cumsum(n_targets)]),
        "target": np.concatenate([empty, *targets]),
    }
    return Elimination(**{name: np.array(part, dtype=np.int32) for name, part in parts.items()})


def _fill(
    order: IntArray, place: IntArray, neighbours: Sequence[set[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """For every group, in order, the later and the earlier ones that it gets entries with."""
    n = len(order)
    upper: list[set[int]] = [
        {j for j in place[list(neighbours[old])].tolist() if j > g} if neighbours[old] else set()
        for g, old in enumerate(order.tolist())
    ]
    lower: list[list[int]] = [[] for _ in range(n)]
    later: list[list[int]] = []
    for g in range(n):
        beyond = sorted(upper[g])
        later.append(beyond)
        for j in beyond:
            lower[j].append(g)
        if beyond:
            upper[beyond[0]] |= set(beyond[1:])
    return later, lower


@compiled
def factorise(a, e):  # type: ignore[no-untyped-def]
    """Replaces entries by factors.

    Args:
        a: Entries, array of lanes; zeros where only the factors have an entry.
        e: `Elimination`.

    Returns:
        Lanes: the largest ratio of a diagonal before and after elimination. A large one means
        that the pivot was small and digits are lost.
    """
    growth = lanes(0.0)
    for g in range(len(e.length)):
        two_rows = e.first[g + 1] - e.first[g] == 2
        width = e.length[g]
        diagonal = e.start[g] + e.n_lower[g]
        before = absolute(load(a, diagonal))
        below = diagonal + width  # second row, first column of the group
        before_2 = absolute(load(a, below + 1)) if two_rows else before

        for step in range(e.step_start[g], e.step_start[g + 1]):
            k = e.step_group[step]
            if two_rows:
                _step_of_two(a, e, step, k, width)
            else:
                _step_of_one(a, e, step, k)

        inverse = 1.0 / load(a, diagonal)
        store(a, diagonal, inverse)
        growth = larger(growth, before * absolute(inverse))
        if two_rows:
            factor = load(a, below) * inverse
            store(a, below, factor)
            for t in range(1, width - e.n_lower[g]):
                changed = subtract_product(factor, load(a, diagonal + t), load(a, below + t))
                store(a, below + t, changed)
            inverse = 1.0 / load(a, below + 1)
            store(a, below + 1, inverse)
            growth = larger(growth, before_2 * absolute(inverse))
    return growth


@compiled_in_place
def _step_of_one(a, e, step, k):  # type: ignore[no-untyped-def]
    """Eliminates the columns of an earlier group from a single row."""
    entry = e.step_entry[step]
    width = e.length[k]
    diagonal = e.start[k] + e.n_lower[k]
    first_target, last_target = e.target_start[step], e.target_start[step + 1]
    l1 = load(a, entry) * load(a, diagonal)
    store(a, entry, l1)
    if e.first[k + 1] - e.first[k] == 2:
        below = diagonal + width
        l2 = subtract_product(l1, load(a, diagonal + 1), load(a, entry + 1)) * load(a, below + 1)
        store(a, entry + 1, l2)
        source = diagonal + 2 - first_target
        for t in range(first_target, last_target):
            target = e.target[t]
            changed = subtract_product(l1, load(a, source + t), load(a, target))
            store(a, target, subtract_product(l2, load(a, source + width + t), changed))
    else:
        source = diagonal + 1 - first_target
        for t in range(first_target, last_target):
            target = e.target[t]
            store(a, target, subtract_product(l1, load(a, source + t), load(a, target)))


@compiled_in_place
def _step_of_two(a, e, step, k, row):  # type: ignore[no-untyped-def]
    """Eliminates the columns of an earlier group from two rows, ``row`` entries apart."""
    entry = e.step_entry[step]
    width = e.length[k]
    diagonal = e.start[k] + e.n_lower[k]
    first_target, last_target = e.target_start[step], e.target_start[step + 1]
    inverse = load(a, diagonal)
    l1, m1 = load(a, entry) * inverse, load(a, entry + row) * inverse
    store(a, entry, l1)
    store(a, entry + row, m1)
    if e.first[k + 1] - e.first[k] == 2:
        below = diagonal + width
        beside, inverse = load(a, diagonal + 1), load(a, below + 1)
        l2 = subtract_product(l1, beside, load(a, entry + 1)) * inverse
        m2 = subtract_product(m1, beside, load(a, entry + row + 1)) * inverse
        store(a, entry + 1, l2)
        store(a, entry + row + 1, m2)
        source = diagonal + 2 - first_target
        for t in range(first_target, last_target):
            target = e.target[t]
            u1, u2 = load(a, source + t), load(a, source + width + t)
            changed = subtract_product(l1, u1, load(a, target))
            store(a, target, subtract_product(l2, u2, changed))
            changed = subtract_product(m1, u1, load(a, target + row))
            store(a, target + row, subtract_product(m2, u2, changed))
    else:
        source = diagonal + 1 - first_target
        for t in range(first_target, last_target):
            target = e.target[t]
            u1 = load(a, source + t)
            store(a, target, subtract_product(l1, u1, load(a, target)))
            store(a, target + row, subtract_product(m1, u1, load(a, target + row)))


@compiled
def solve(a, x, e):  # type: ignore[no-untyped-def]
    """Solves with the factors: ``x`` is the right-hand side and becomes the solution.

    Args:
        a: Factors, as `factorise` leaves them.
        x: Array of lanes, a row per unknown in the order of elimination.
        e: `Elimination`.
    """
    n = len(e.length)
    for g in range(n):
        i = e.first[g]
        column = e.column_start[g]
        entry, width = e.start[g], e.length[g]
        x1 = load(x, i)
        if e.first[g + 1] - i == 2:
            x2 = load(x, i + 1)
            for t in range(e.n_lower[g]):
                value = load(x, e.column[column + t])
                x1 = subtract_product(load(a, entry + t), value, x1)
                x2 = subtract_product(load(a, entry + width + t), value, x2)
            x2 = subtract_product(load(a, entry + width + e.n_lower[g]), x1, x2)
            store(x, i + 1, x2)
        else:
            for t in range(e.n_lower[g]):
                x1 = subtract_product(load(a, entry + t), load(x, e.column[column + t]), x1)
        store(x, i, x1)
    for h in range(n):
        g = n - 1 - h
        i = e.first[g]
        column = e.column_start[g]
        entry, width = e.start[g], e.length[g]
        diagonal = entry + e.n_lower[g]
        x1 = load(x, i)
        if e.first[g + 1] - i == 2:
            x2 = load(x, i + 1)
            for t in range(e.n_lower[g] + 2, width):
                value = load(x, e.column[column + t])
                x1 = subtract_product(load(a, entry + t), value, x1)
                x2 = subtract_product(load(a, entry + width + t), value, x2)
            x2 = x2 * load(a, diagonal + width + 1)
            x1 = subtract_product(load(a, diagonal + 1), x2, x1)
            store(x, i + 1, x2)
        else:
            for t in range(e.n_lower[g] + 1, width):
                x1 = subtract_product(load(a, entry + t), load(x, e.column[column + t]), x1)
        store(x, i, x1 * load(a, diagonal))


@compiled
def solve_transposed(a, x, e):  # type: ignore[no-untyped-def]
    """As `solve`, with the transposed matrices."""
    n = len(e.length)
    for g in range(n):
        i = e.first[g]
        entry, width = e.start[g], e.length[g]
        diagonal = entry + e.n_lower[g]
        x1 = load(x, i) * load(a, diagonal)
        store(x, i, x1)
        if e.first[g + 1] - i == 2:
            x2 = subtract_product(load(a, diagonal + 1), x1, load(x, i + 1))
            x2 = x2 * load(a, diagonal + width + 1)
            store(x, i + 1, x2)
            for t in range(e.n_lower[g] + 2, width):
                c = e.column[e.column_start[g] + t]
                changed = subtract_product(load(a, entry + t), x1, load(x, c))
                store(x, c, subtract_product(load(a, entry + width + t), x2, changed))
        else:
            for t in range(e.n_lower[g] + 1, width):
                c = e.column[e.column_start[g] + t]
                store(x, c, subtract_product(load(a, entry + t), x1, load(x, c)))
    for h in range(n):
        g = n - 1 - h
        i = e.first[g]
        entry, width = e.start[g], e.length[g]
        if e.first[g + 1] - i == 2:
            x2 = load(x, i + 1)
            x1 = subtract_product(load(a, entry + width + e.n_lower[g]), x2, load(x, i))
            store(x, i, x1)
            for t in range(e.n_lower[g]):
                c = e.column[e.column_start[g] + t]
                changed = subtract_product(load(a, entry + t), x1, load(x, c))
                store(x, c, subtract_product(load(a, entry + width + t), x2, changed))
        else:
            x1 = load(x, i)
            for t in range(e.n_lower[g]):
                c = e.column[e.column_start[g] + t]
                store(x, c, subtract_product(load(a, entry + t), x1, load(x, c)))
