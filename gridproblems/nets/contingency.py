"""Which lines, transformers and generators of a net can go out, alone or together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import networkx as nx
from pandapower.auxiliary import pandapowerNet
from pandapower.topology import create_nxgraph

from gridproblems._names import with_nearest
from gridproblems._warn import warn_user
from gridproblems.state import Field

#: Outages in words.
_ALL = {"lines": {"line": "lines"}, "trafos": {"trafo": "trafos"}, "gens": {"gen": "gens"}}
_WORDS = {
    "line": ("line", "lines"),
    "trafo": ("transformer", "transformers"),
    "gen": ("generator", "generators"),
}
_ENDS = {"line": ("from_bus", "to_bus"), "trafo": ("hv_bus", "lv_bus")}
Element = tuple[str, int]


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
    if isinstance(outages, tuple) and outages and all(word in _ALL for word in outages):
        outages = {table: own for word in outages for table, own in _ALL[word].items()}
    if not isinstance(outages, Mapping):
        outages = {"line": outages}
    find: dict[str, Callable[..., tuple[int, ...]]] = {
        "line": partial(outage_branches, table="line"),
        "trafo": partial(outage_branches, table="trafo"),
        "gen": outage_gens,
    }
    if not outages:
        raise ValueError("outages: expected lines, trafos or gens, got an empty mapping")
    for table in outages:
        if table not in find:
            raise ValueError(f"outages: unknown table {with_nearest(str(table), find)}")
    return tuple(
        Field(table, "in_service", find[table](net, outages=asked))
        for table, asked in outages.items()
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


def outage_branches(net: pandapowerNet, table: str, outages: Any) -> tuple[int, ...]:
    """The lines or transformers of an argument ``outages``: named ones, or all that can go out.

    Args:
        net: The net.
        table: ``"line"`` or ``"trafo"``.
        outages: ``"lines"`` or ``"trafos"`` for all in service whose outage leaves every bus
            supplied (others are left out with a warning), or elements by index.

    Raises:
        ValueError: No such element, one without which buses lose supply, or none is left.
    """
    what, whats = _WORDS[table]
    secure = secure_branches(net, table)
    in_service = net[table].index[net[table].in_service.astype(bool)]
    if isinstance(outages, str):
        if outages != f"{table}s":
            raise ValueError(
                f"outages: expected 'lines', 'gens', lines by index, 'trafos', or a mapping of "
                f"them, got {outages!r}"
            )
        left_out = [int(branch) for branch in in_service if branch not in secure]
        if not secure:
            radial = ", as in any radial grid" if table == "line" else ""
            raise ValueError(
                f"outages: every {what} of this net cuts off buses when it goes out{radial}; no "
                "units can prevent that"
            )
        if left_out:
            warn_user(f"outages: {whats} {left_out} are left out, buses lose supply without them")
        return secure
    for branch in outages:
        if branch not in in_service:
            raise ValueError(f"outages: the net has no {what} {branch} in service")
        if branch not in secure:
            raise ValueError(
                f"outages: buses lose supply without {what} {branch}, whatever the units"
            )
    if not len(outages):
        raise ValueError(f"outages: expected at least one {what}")
    return tuple(int(branch) for branch in outages)


def outage_sets(net: pandapowerNet, given: Any) -> tuple[tuple[str, tuple[Element, ...]], ...]:
    """What goes out together, of an argument ``pairs``.

    Args:
        net: The net.
        given: As for `gridproblems.situations.Outages`.

    Returns:
        Of each set its name and its elements, table and index.

    Raises:
        ValueError: It is none, an element cannot go out, or buses lose supply without a set.
    """
    if not isinstance(given, (Mapping, Sequence)) or isinstance(given, str):
        raise ValueError(f"pairs: expected a list such as [(3, 5)], or names, got {given!r}")
    named = given.items() if isinstance(given, Mapping) else [("", own) for own in given]
    graph, supplied = _supplied(net)
    found = []
    for name, own in named:
        if not isinstance(own, Sequence) or isinstance(own, str) or not own:
            raise ValueError(f"pairs: expected elements such as (3, 'trafo 2'), got {own!r}")
        elements = tuple(_element(net, element) for element in own)
        if len(set(elements)) < len(elements):
            raise ValueError(f"pairs: {own!r} names an element twice")
        words = " and ".join(f"{table} {element}" for table, element in elements)
        if not _stays_supplied(net, graph, supplied, elements):
            raise ValueError(f"pairs: buses lose supply without {words}, whatever the units")
        found.append((str(name) or f"{words} out", elements))
    return tuple(found)


def _element(net: pandapowerNet, given: Any) -> Element:
    """``3`` for a line, ``"trafo 2"`` or ``("trafo", 2)``."""
    table, index = "line", given
    if isinstance(given, str):
        table, _, text = given.partition(" ")
        index = int(text) if text.strip().isdigit() else None
    elif isinstance(given, Sequence) and len(given) == 2:
        table, index = given
    if table not in _WORDS or not isinstance(index, Integral) or isinstance(index, bool):
        raise ValueError(
            f"pairs: expected a line by index, or 'trafo 2', 'gen 0' or ('gen', 0), got {given!r}"
        )
    if table == "gen":
        return "gen", outage_gens(net, [index])[0]
    if index not in net[table].index or not net[table].at[index, "in_service"]:
        raise ValueError(f"pairs: the net has no {_WORDS[table][0]} {index} in service")
    return table, int(index)


def _stays_supplied(
    net: pandapowerNet, graph: Any, supplied: set[Any], elements: tuple[Element, ...]
) -> bool:
    """Whether all buses that are supplied now are so without some branches."""
    left = graph.subgraph(supplied).copy()
    for table, element in elements:
        if table != "gen":
            start, end = net[table].loc[element, list(_ENDS[table])]
            if left.has_edge(start, end, (table, element)):
                left.remove_edge(start, end, (table, element))
    return bool(nx.is_connected(left))


def _supplied(net: pandapowerNet) -> tuple[Any, set[Any]]:
    """Buses and branches as a graph with one source, and the nodes that it supplies."""
    graph = create_nxgraph(net, respect_switches=True)
    source = ("source",)
    sources = [*net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]]
    sources += [*net.gen.bus[net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)]]
    graph.add_edges_from((source, bus, ("source", bus)) for bus in sources)
    return graph, nx.node_connected_component(graph, source)


def secure_lines(net: pandapowerNet) -> tuple[int, ...]:
    """Lines in service whose outage leaves every bus supplied that is supplied now."""
    return secure_branches(net, "line")


def secure_branches(net: pandapowerNet, table: str) -> tuple[int, ...]:
    """Lines or transformers in service whose outage leaves every bus supplied that is so now."""
    graph, supplied = _supplied(net)
    single = nx.Graph(graph.subgraph(supplied))
    bridges = {frozenset(edge) for edge in nx.bridges(single)}
    found = []
    for branch in net[table].index[net[table].in_service.astype(bool)]:
        start, end = net[table].loc[branch, list(_ENDS[table])]
        if not (start in supplied and graph.has_edge(start, end, (table, branch))):
            continue
        has_parallel = graph.number_of_edges(start, end) > 1
        if has_parallel or frozenset((start, end)) not in bridges:
            found.append(int(branch))
    return tuple(found)
