"""Codings of radial configurations: vectors to open lines and back.

Every encoding turns vectors ``x`` (n, n_var) into the edges of a `SwitchingGraph` that are closed,
(n, n_edges), and finds a vector for given closed edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet

from gridproblems._compile import compiled
from gridproblems._names import with_nearest
from gridproblems._union_find import union
from gridproblems.controls.variables import Variable
from gridproblems.nets.network import label_of
from gridproblems.nets.topology import (
    BoolArray,
    IntArray,
    SwitchingGraph,
    line_switches,
    spanning_trees,
)
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping


class Encoding(Protocol):
    """What the codec of a reconfiguration problem needs.

    Attributes:
        variables: One per entry of ``x``.
        always_radial: Whether every vector is a radial configuration.
    """

    variables: tuple[Variable, ...]
    always_radial: bool

    def snap(self, x: FloatArray) -> FloatArray:
        """The vectors that are evaluated in place of these, shape (n, n_var)."""
        ...

    def closed(self, x: FloatArray) -> BoolArray:
        """Which edges snapped vectors close, shape (n, n_edges)."""
        ...

    def encode(self, closed: BoolArray) -> FloatArray:
        """A vector (n_var,) for closed edges (n_edges,); ValueError if there is none."""
        ...


class SpanningTree:
    """Random keys: the lines with the largest keys that form a tree are closed.

    Always radial, and every radial configuration has a vector.
    """

    always_radial = True

    def __init__(self, graph: SwitchingGraph, labels: Sequence[str]) -> None:
        self._graph = graph
        self.variables = tuple(Variable(f"key of {label}", "real", 0.0, 1.0) for label in labels)

    def snap(self, x: FloatArray) -> FloatArray:
        """Keys within [0, 1]."""
        return np.clip(x, 0.0, 1.0)

    def closed(self, x: FloatArray) -> BoolArray:
        """The maximum spanning trees of the keys."""
        keys = np.full((len(x), len(self._graph.edges)), 2.0)
        keys[:, self._graph.switchable] = x
        return spanning_trees(self._graph.edges, keys, self._graph.n_nodes)

    def encode(self, closed: BoolArray) -> FloatArray:
        """Key 1 for closed lines, 0 for open ones."""
        _require_tree(self._graph, closed)
        return closed[self._graph.switchable].astype(float)


class Loops:
    """One open line per fundamental loop of the present configuration, as in many studies.

    An integer counts along its loop, 0 is the line that is open now. Vectors whose lines do not
    break all loops, or cut off a part of the grid, are not radial.
    """

    always_radial = False

    def __init__(self, graph: SwitchingGraph, loops: Sequence[IntArray]) -> None:
        self._graph = graph
        self._loops = loops
        self._lengths = np.array([len(loop) for loop in loops])
        self._edges = np.full((len(loops), self._lengths.max()), -1, dtype=np.int64)
        for i, loop in enumerate(loops):
            self._edges[i, : len(loop)] = loop
        self.variables = tuple(
            Variable(f"open line of loop {i + 1}", "integer", 0.0, float(len(loop) - 1))
            for i, loop in enumerate(loops)
        )

    def snap(self, x: FloatArray) -> FloatArray:
        """Whole positions on the loops."""
        return np.rint(np.clip(x, 0.0, self._lengths - 1.0))

    def closed(self, x: FloatArray) -> BoolArray:
        """All edges but the chosen ones."""
        chosen = self._edges[np.arange(len(self._loops)), x.astype(np.int64)]
        closed = np.ones((len(x), len(self._graph.edges)), dtype=bool)
        np.put_along_axis(closed, chosen, False, axis=1)
        return closed

    def encode(self, closed: BoolArray) -> FloatArray:
        """The positions of the open lines, each on a loop of its own as far as they suffice."""
        position = match_loops(np.flatnonzero(~closed), self._edges, self._lengths)
        for loop in np.flatnonzero(position < 0).tolist():
            on_loop = np.flatnonzero(~closed[self._loops[loop]])
            if not len(on_loop):
                lines = self._graph.lines[self._loops[loop]].tolist()
                raise ValueError(f"no line is open on the loop of lines {lines}")
            position[loop] = on_loop[0]
        left = ~closed
        left[self._edges[np.arange(len(position)), position]] = False
        if left.any():
            line = self._graph.lines[np.flatnonzero(left)[0]]
            raise ValueError(f"line {line} is open beside one open line on every loop")
        return position.astype(float)


class NearestTree(Loops):
    """As `Loops`, but on the shortest loops, and what is not radial becomes the nearest tree.

    Loops are opened one after the other, each at its line or, where that would cut off a part of
    the grid, at the nearest line on the loop that does not. Always radial, and every radial
    configuration has exactly one snapped vector.
    """

    always_radial = True

    def snap(self, x: FloatArray) -> FloatArray:
        """Positions of the open lines of radial configurations."""
        whole = super().snap(x).astype(np.int64)
        graph = self._graph
        repair(whole, self._edges, self._lengths, graph.edges, graph.switchable, graph.n_nodes)
        return whole.astype(float)

    def encode(self, closed: BoolArray) -> FloatArray:
        """The positions of the open lines, each on a loop of its own."""
        _require_tree(self._graph, closed)
        return super().encode(closed)


def _require_tree(graph: SwitchingGraph, closed: BoolArray) -> None:
    tree = graph.nearest_tree(closed)
    if not np.array_equal(tree, closed):
        e = int(np.flatnonzero(tree != closed)[0])
        what = "a loop stays closed" if closed[e] else "a part of the grid is cut off"
        raise ValueError(f"the configuration is not radial: {what} at line {graph.lines[e]}")


ENCODINGS = ("nearest_tree", "spanning_tree", "loops")
_ALWAYS_CLOSED, _ALWAYS_OPEN = -1, -2


def make_encoding(name: str, net: pandapowerNet, graph: SwitchingGraph) -> Encoding:
    """The encoding of a name.

    Raises:
        ValueError: The name is unknown.
    """
    if name == "spanning_tree":
        lines = graph.lines[graph.switchable]
        return SpanningTree(graph, [label_of(net, "line", line) for line in lines])
    if name == "loops":
        return Loops(graph, graph.fundamental_loops(graph.nearest_tree(graph.closed)))
    if name == "nearest_tree":
        return NearestTree(graph, graph.short_loops())
    raise ValueError(f"encoding: unknown encoding {with_nearest(name, ENCODINGS)}")


class SwitchingCodec:
    """The codec of reconfiguration problems: an encoding, and where statuses go in the settings.

    Args:
        net: The net.
        graph: Its switching graph.
        encoding: Turns vectors into closed edges.
        series: Settings of every candidate with one row per snapshot, if any.
        n_periods: Number of configurations in the series, one after the other.
    """

    def __init__(
        self,
        net: pandapowerNet,
        graph: SwitchingGraph,
        encoding: Encoding,
        series: Settings | None = None,
        n_periods: int = 1,
    ) -> None:
        self.graph, self.encoding, self.n_periods = graph, encoding, n_periods
        self._series = series or Settings((), np.zeros((1, 0)))
        self.n_snapshots = self._series.n_snapshots
        if not 1 <= n_periods <= self.n_snapshots:
            raise ValueError(
                f"periods: expected 1 to {self.n_snapshots}, the snapshots of the series, "
                f"got {n_periods}"
            )
        #: Period of each snapshot, shape (n_snapshots,).
        self.period = np.arange(self.n_snapshots) * n_periods // self.n_snapshots

        whole: dict[int, int] = {}  # line: edge, _ALWAYS_CLOSED or _ALWAYS_OPEN
        switches: dict[int, int] = {}
        edge_of = {int(line): e for e, line in enumerate(graph.lines) if line >= 0}
        edge_of.update(dict.fromkeys(graph.always_closed, _ALWAYS_CLOSED))
        edge_of.update(dict.fromkeys(graph.always_open, _ALWAYS_OPEN))
        for line, edge in edge_of.items():
            own = line_switches(net, line)
            switches.update(dict.fromkeys(own, edge))
            if not own:
                whole[line] = edge
        kinds = ((("line", "in_service"), whole), (("switch", "closed"), switches))
        self.fields = (
            *(Field(*key, tuple(edges)) for key, edges in kinds if edges),
            *self._series.fields,
        )
        self.has_switches = bool(switches)
        #: Edge of each status, `_ALWAYS_CLOSED` or `_ALWAYS_OPEN` for those that never change.
        self._edge = np.array([*whole.values(), *switches.values()], dtype=np.int64)
        places = {int(e): i for i, e in enumerate(self._edge)}
        self._place = np.array([places.get(e, -1) for e in range(len(graph.edges))])
        self.variables = tuple(
            v if n_periods == 1 else Variable(f"{v.name} in period {p}", v.kind, v.lower, v.upper)
            for p in range(n_periods)
            for v in encoding.variables
        )

    def snap(self, x: ArrayLike) -> FloatArray:
        """The vectors that are evaluated in place of these, shape (..., n_var)."""
        x = np.asarray(x, dtype=float)
        return self.encoding.snap(x.reshape(-1, len(self.encoding.variables))).reshape(x.shape)

    def closed(self, x: FloatArray) -> BoolArray:
        """Which edges snapped vectors close, shape (..., n_periods, n_edges)."""
        closed = self.encoding.closed(x.reshape(-1, len(self.encoding.variables)))
        return closed.reshape(*x.shape[:-1], self.n_periods, -1)

    def decode(self, x: FloatArray) -> Settings:
        """Settings of snapped vectors, of one or of a batch."""
        return self.settings(self.closed(x))

    def settings(self, closed: BoolArray) -> Settings:
        """Settings with these edges closed, shape (..., n_periods, n_edges)."""
        n_status = len(self._edge)
        n_values = n_status + self._series.values.shape[-1]
        values = np.empty((*closed.shape[:-2], self.n_snapshots, n_values))
        statuses = closed[..., self.period, :][..., self._edge]
        statuses[..., self._edge < 0] = self._edge[self._edge < 0] == _ALWAYS_CLOSED
        values[..., :n_status] = statuses
        values[..., n_status:] = self._series.values
        return Settings(self.fields, values)

    def closed_in(self, settings: Settings) -> BoolArray:
        """Which edges settings close, shape (..., n_snapshots, n_edges)."""
        closed = settings.values[..., self._place] != 0
        closed[..., self._place < 0] = True
        return closed

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """A vector with these statuses, the same in every period.

        Raises:
            ValueError: A status is missing, or the configuration is not radial.
        """
        statuses = []
        for field in self.fields[: len(self.fields) - len(self._series.fields)]:
            column = settings.get((field.table, field.column), {})
            for element in field.elements:
                if element not in column:
                    raise ValueError(f"{field}[{element}]: no value given")
                statuses.append(bool(column[element]))
        closed = np.ones(len(self.graph.edges), dtype=bool)
        for edge, status in zip(self._edge, statuses, strict=True):
            if edge >= 0:
                closed[edge] &= status
        return np.tile(self.encoding.encode(closed), self.n_periods)


@compiled
def match_loops(opened, loop_edges, lengths):  # type: ignore[no-untyped-def]
    """Gives every loop one of the open edges on it (augmenting paths, Kuhn 1955).

    Args:
        opened: Open edges, shape (n_open,).
        loop_edges: Edges of each loop, shape (n_loops, longest), the first ``lengths`` count.

    Returns:
        Position of its edge on each loop, -1 where there is none, shape (n_loops,).
    """
    n_loops = len(lengths)
    position = np.full((len(opened), n_loops), -1, dtype=np.int64)
    for i in range(len(opened)):
        for k in range(n_loops):
            for j in range(lengths[k]):
                if loop_edges[k, j] == opened[i]:
                    position[i, k] = j
    owner = np.full(n_loops, -1, dtype=np.int64)
    came_from = np.empty(n_loops, dtype=np.int64)
    queue = np.empty(len(opened) + 1, dtype=np.int64)
    for first in range(len(opened)):
        came_from[:] = -1
        queue[0] = first
        head, tail, free = 0, 1, -1
        while head < tail and free < 0:
            i = queue[head]
            head += 1
            for k in range(n_loops):
                if position[i, k] >= 0 and came_from[k] < 0:
                    came_from[k] = i
                    if owner[k] < 0:
                        free = k
                        break
                    queue[tail] = owner[k]
                    tail += 1
        k = free
        while k >= 0:  # pass loops on along the path that led here
            i = came_from[k]
            previous = -1
            for other in range(n_loops):
                if owner[other] == i:
                    previous = other
            owner[k] = i
            k = previous if i != first else -1
    result = np.full(n_loops, -1, dtype=np.int64)
    for k in range(n_loops):
        if owner[k] >= 0:
            result[k] = position[owner[k], k]
    return result


@compiled
def repair(x, loop_edges, lengths, edges, switchable, n_nodes):  # type: ignore[no-untyped-def]
    """Moves positions on loops until the open edges leave a spanning tree, in place.

    Args:
        x: Positions, shape (n, n_loops).
        loop_edges, lengths: See `match_loops`.
        edges: Nodes of each edge, shape (n_edges, 2).
        switchable: Which edges can open, shape (n_edges,).
        n_nodes: Number of nodes.
    """
    n_loops = len(lengths)
    above = np.empty(n_nodes, dtype=np.int64)
    closed = np.empty(len(edges), dtype=np.bool_)
    for row in range(len(x)):
        closed[:] = True
        for k in range(n_loops):
            length = lengths[k]
            for step in range(length):
                shift = (step + 1) // 2 if step % 2 else -(step // 2)
                position = (x[row, k] + shift) % length
                e = loop_edges[k, position]
                if not closed[e]:
                    continue
                closed[e] = False
                if _connected(edges, closed, above):
                    break
                closed[e] = True
        above[:] = np.arange(n_nodes)
        for e in range(len(edges)):
            if not switchable[e]:
                union(above, edges[e, 0], edges[e, 1])
        for e in range(len(edges)):  # loops whose edges all had to stay closed: open any others
            if closed[e] and switchable[e]:
                closed[e] = union(above, edges[e, 0], edges[e, 1])
        x[row] = match_loops(np.flatnonzero(~closed), loop_edges, lengths)


@compiled
def _connected(edges, closed, above):  # type: ignore[no-untyped-def]
    """Whether the closed edges connect all nodes."""
    above[:] = np.arange(len(above))
    n_parts = len(above)
    for e in range(len(edges)):
        if closed[e] and union(above, edges[e, 0], edges[e, 1]):
            n_parts -= 1
    return n_parts == 1
