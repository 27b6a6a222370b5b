"""Which lines and generators of a net can go out one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems._names import with_nearest
from gridproblems._warn import warn_user
from gridproblems.state import Field

#: Outages in words.
_ALL = {"lines": {"line": "lines"}, "gens": {"gen": "gens"}}


def outage_fields(net: pandapowerNet, outages: Any) -> tuple[Field, ...]:
    """Columns ``in_service`` of what can go out, of an argument ``outages``.

    Args:
        net: The net.
        outages: As for `gridproblems.situations.Outages`.

    Raises:
        ValueError: It is none of these, or what it names cannot go out.
    """
    if isinstance(outages, str) and outages in _ALL:
        outages = _ALL[outages]
    if not isinstance(outages, Mapping):
        outages = {"line": outages}
    find = {"line": outage_lines, "gen": outage_gens}
    if not outages:
        raise ValueError("outages: expected lines or generators, got an empty mapping")
    for table in outages:
        if table not in find:
            raise ValueError(f"outages: unknown table {with_nearest(str(table), find)}")
    return tuple(
        Field(table, "in_service", find[table](net, asked)) for table, asked in outages.items()
    )


def outage_gens(net: pandapowerNet, outages: Any) -> tuple[int, ...]:
    """The generators that are to go out one at a time: named ones, or all that are no slack.

    Args:
        net: The net.
        outages: ``"gens"`` for all in service but slacks, or generators by index.

    Raises:
        ValueError: No such generator, a slack, or none is left.
    """
    in_service = net.gen[net.gen.in_service.astype(bool)]
    others = in_service.index[~in_service.slack.astype(bool)]
    if isinstance(outages, str):
        if outages != "gens":
            raise ValueError(f"outages: expected 'gens' or generators by index, got {outages!r}")
        if not len(others):
            raise ValueError("outages: the net has no generator in service but slacks")
        return tuple(int(gen) for gen in others)
    for gen in outages:
        if gen not in in_service.index:
            raise ValueError(f"outages: the net has no generator {gen} in service")
        if gen not in others:
            raise ValueError(f"outages: generator {gen} is a slack, which the grid cannot lose")
    if not len(outages):
        raise ValueError("outages: expected at least one generator")
    return tuple(int(gen) for gen in outages)


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
            raise ValueError(
                f"outages: expected 'lines', 'gens', lines by index, or a mapping of both, got "
                f"{outages!r}"
            )
        left_out = [int(line) for line in in_service if line not in secure]
        if not secure:
            raise ValueError(
                "outages: every line of this net cuts off buses when it goes out, as in any radial "
                "grid; no units can prevent that"
            )
        if left_out:
            warn_user(f"outages: lines {left_out} are left out, buses lose supply without them")
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
