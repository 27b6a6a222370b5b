"""N-1: limits that hold with each line out in turn, as a constraint that any problem can have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems.constraints import Limit, Measure, StateLimits
from gridproblems.engines import Engine
from gridproblems.state import Field, FloatArray, GridState, Layout, Settings

_MAX_TOGETHER = 1024  # power flows in one call of the engine


class LineOutages:
    """Limits in the worst outage of one line, for all snapshots.

    The first entry counts the outages (of all snapshots) whose power flow diverges or leaves a
    load without supply; the others are the worst value per limit of the outages that solve.

    Args:
        lines: Lines (index of ``net.line``) that go out one at a time; see `secure_lines`.
        limits: One per entry.
        layout: Layout of the states.

    Attributes:
        engine: Solves the outages; the problem sets it to its own.
    """

    needs_state = True
    engine: Engine

    def __init__(self, lines: Sequence[int], limits: Sequence[Limit], layout: Layout) -> None:
        self.lines = tuple(lines)
        self._limits = StateLimits(limits, layout)
        self.names = ("n-1 power_flow", *(f"n-1 {name}" for name in self._limits.names))
        self.kinds = ("n-1 power_flow", *(f"n-1 {kind}" for kind in self._limits.kinds))
        self.measures = (Measure(unit="outages without solution"), *self._limits.measures)

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Failed outages and distance beyond each limit in the worst one, (..., n_entries)."""
        one = settings.values.ndim < 3
        values = settings.values.reshape(-1, settings.n_snapshots, settings.values.shape[-1])
        together = max(1, _MAX_TOGETHER // (len(values) * settings.n_snapshots))
        worst = np.full((len(values), len(self.names)), -np.inf)
        worst[:, 0] = 0.0
        for first in range(0, len(self.lines), together):
            out = self.lines[first : first + together]
            self._judge(settings.fields, values, out, worst)
        worst[np.isneginf(worst)] = 0.0  # nothing solved: the count says so
        return worst[0] if one else worst

    def _judge(
        self, fields: tuple[Field, ...], values: FloatArray, out: Sequence[int], worst: FloatArray
    ) -> None:
        """Takes the worst of what is known and some more outages, in place."""
        n, n_snapshots, n_values = values.shape
        wide = np.ones((len(out), n, n_snapshots, n_values + len(self.lines)))
        wide[..., :n_values] = values
        for i, line in enumerate(out):
            wide[i, ..., n_values + self.lines.index(line)] = 0.0
        settings = Settings(
            (*fields, Field("line", "in_service", self.lines)),
            wide.reshape(-1, n_snapshots, wide.shape[-1]),
        )
        state = self.engine.solve(settings)
        failed = ~(state.converged & (state.n_unsupplied == 0))
        worst[:, 0] += failed.reshape(len(out), n, -1).sum(axis=(0, 2))
        beyond = self._limits(settings, state)
        beyond[failed.any(axis=-1)] = -np.inf
        beyond = beyond.reshape(len(out), n, -1).max(axis=0)
        worst[:, 1:] = np.maximum(worst[:, 1:], beyond)


def outage_lines(net: pandapowerNet, outages: Any) -> tuple[int, ...]:
    """The lines of an argument ``outages``: named ones, or all that can go out.

    Args:
        net: The net.
        outages: ``"lines"`` for all lines in service whose outage leaves every bus supplied (others
            are left out with a warning), or lines by index.

    Raises:
        ValueError: No such line, a line without which buses lose supply, or none is left.
    """
    secure = secure_lines(net)
    in_service = net.line.index[net.line.in_service.astype(bool)]
    if isinstance(outages, str):
        if outages != "lines":
            raise ValueError(f"outages: expected 'lines' or lines by index, got {outages!r}")
        left_out = [int(line) for line in in_service if line not in secure]
        if not secure:
            raise ValueError(
                "outages: every line of this net cuts off buses when it goes out, as in any radial "
                "grid; no units can prevent that"
            )
        if left_out:
            warnings.warn(
                f"outages: lines {left_out} are left out, buses lose supply without them",
                stacklevel=4,
            )
        return secure
    for line in outages:
        if line not in in_service:
            raise ValueError(f"outages: the net has no line {line} in service")
        if line not in secure:
            raise ValueError(f"outages: buses lose supply without line {line}, whatever the units")
    if not len(outages):
        raise ValueError("outages: expected at least one line")
    return tuple(int(line) for line in outages)


def secure_lines(net: pandapowerNet) -> tuple[int, ...]:
    """Lines in service whose outage leaves every bus supplied that is supplied now."""
    graph = create_nxgraph(net, respect_switches=True)
    source = ("source",)
    sources = [*net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    sources += [*net.gen.bus[net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)]]
    graph.add_edges_from((source, bus, ("source", bus)) for bus in sources)
    supplied = nx.node_connected_component(graph, source)
    single = nx.Graph(graph.subgraph(supplied))
    bridges = {frozenset(edge) for edge in nx.bridges(single)}
    found = []
    for line in net.line.index[net.line.in_service.astype(bool)]:
        start, end = net.line.loc[line, ["from_bus", "to_bus"]]
        if not (start in supplied and graph.has_edge(start, end, ("line", line))):
            continue
        has_parallel = graph.number_of_edges(start, end) > 1
        if has_parallel or frozenset((start, end)) not in bridges:
            found.append(int(line))
    return tuple(found)
