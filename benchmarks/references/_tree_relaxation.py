"""Lower bounds on the losses of radial configurations: a cone relaxation of the DistFlow equations.

A line is open, or carries power in one of its two directions. A lower bound follows from letting
lines be all of these in part. Each direction of a line has its own share, power P + jQ at its
start, squared current l and squared voltages v at both ends:

    v_j = v_i - 2 (r P + x Q) + (r^2 + x^2) l     voltage drop from i to j
    P^2 + Q^2 <= v_i l                            in place of the equation
    v_low share <= v_i, v_j <= v_high share       so what is not used carries nothing
    sum of shares into a bus = 1                  every bus has one line towards the source
    P - r l >= share * (demand behind j)          and the same for Q

Where every line has one state the bound is the loss of that configuration, because nothing keeps
voltages from above and losses fall with rising voltage. Sources:

    M. E. Baran, F. F. Wu, Network reconfiguration in distribution systems for loss reduction and
    load balancing, IEEE Trans. Power Delivery 4 (1989) 1401-1407, doi:10.1109/61.25627.
    R. A. Jabr, R. Singh, B. C. Pal, Minimum loss network reconfiguration using mixed-integer convex
    programming, IEEE Trans. Power Systems 27 (2012) 1106-1115, doi:10.1109/TPWRS.2011.2180406.
    J. A. Taylor, F. S. Hover, Convex models of distribution system reconfiguration, IEEE Trans.
    Power Systems 27 (2012) 1407-1413, doi:10.1109/TPWRS.2012.2184307.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import clarabel
import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

OPEN, FORWARD, BACKWARD = 1, 2, 4  # states of a line; a domain is a sum of those still possible
STATES = (OPEN, FORWARD, BACKWARD)
SOURCE = 0
HIGHEST_V_PU = 1.2  # assumed of feeders whose loads feed in; without feed-in it is the source's

FloatArray = NDArray[np.float64]
Domains = NDArray[np.int64]
Terms = list[tuple[int, float]]  # columns and factors of a linear expression


class Infeasible(Exception):
    """No radial configuration is left."""


@dataclass(frozen=True, eq=False)
class Feeder:
    """Lines and demand in p.u.; all sources are node 0, at 1 p.u.

    Attributes:
        ends: Nodes of every line, forward from the first to the second, shape (n_lines, 2).
        r_pu, x_pu: Series impedance of every line.
        p_pu, q_pu: Demand of every node.
        base_kw: One p.u. of power. [kW]
    """

    ends: NDArray[np.int64]
    r_pu: FloatArray
    x_pu: FloatArray
    p_pu: FloatArray
    q_pu: FloatArray
    base_kw: float

    @classmethod
    def from_net(cls, net: Any) -> Feeder:
        """The feeder of a pandapower net of lines without charging, loads and sources at 1 p.u."""
        sources = set(net.ext_grid.bus)
        others = [bus for bus in net.bus.index if bus not in sources]
        node = {**dict.fromkeys(sources, SOURCE), **{bus: i + 1 for i, bus in enumerate(others)}}
        base_ohm = net.bus.vn_kv.to_numpy()[0] ** 2 / net.sn_mva
        demand = np.zeros((2, len(others) + 1))
        np.add.at(
            demand,
            (slice(None), net.load.bus.map(node).to_numpy()),
            net.load[["p_mw", "q_mvar"]].to_numpy().T / net.sn_mva,
        )
        return cls(
            net.line[["from_bus", "to_bus"]].map(node.__getitem__).to_numpy(),
            (net.line.r_ohm_per_km * net.line.length_km).to_numpy() / base_ohm,
            (net.line.x_ohm_per_km * net.line.length_km).to_numpy() / base_ohm,
            demand[0],
            demand[1],
            1e3 * net.sn_mva,
        )

    @property
    def feeds_in(self) -> bool:
        """Whether a node has negative demand."""
        return bool((self.p_pu < 0).any() or (self.q_pu < 0).any())

    def all_states(self) -> Domains:
        """Every state of every line; lines on no loop carry power away from the source."""
        graph = nx.MultiGraph()
        graph.add_edges_from((a, b, k) for k, (a, b) in enumerate(self.ends.tolist()))
        distance = nx.single_source_shortest_path_length(graph, SOURCE)
        domains = np.full(len(self.ends), OPEN | FORWARD | BACKWARD)
        for a, b in nx.bridges(nx.Graph(graph)):
            if graph.number_of_edges(a, b) == 1:
                (k,) = graph[a][b]
                first, second = self.ends[k]
                domains[k] = FORWARD if distance[first] < distance[second] else BACKWARD
        return propagate(self, domains)

    def widest_v_range(self) -> FloatArray:
        """Squared voltages that are certain, shape (n_nodes, 2)."""
        high = HIGHEST_V_PU**2 if self.feeds_in else 1.0
        v_range = np.tile([0.0, high], (len(self.p_pu), 1))
        v_range[SOURCE] = 1.0
        return v_range


def propagate(feeder: Feeder, domains: Domains) -> Domains:
    """Takes away states that no radial configuration in the domains has.

    Raises:
        Infeasible: A line or a node has nothing left, or lines close a loop.
    """
    domains = domains.copy()
    into: list[list[tuple[int, int]]] = [[] for _ in feeder.p_pu]
    for k, (a, b) in enumerate(feeder.ends.tolist()):
        into[b].append((k, FORWARD))
        into[a].append((k, BACKWARD))
    changed = True
    while changed:
        changed = False
        for node, arcs in enumerate(into):
            possible = [(k, state) for k, state in arcs if domains[k] & state]
            certain = [(k, state) for k, state in possible if domains[k] == state]
            if node == SOURCE:
                remove = possible
            elif not possible or len(certain) > 1:
                raise Infeasible
            elif len(possible) == 1 and not certain:
                k, state = possible[0]
                domains[k] = state
                changed = True
                continue
            else:
                remove = [arc for arc in possible if certain and arc != certain[0]]
            for k, state in remove:
                domains[k] &= ~state
                changed = True
                if not domains[k]:
                    raise Infeasible
    certain_lines = nx.Graph(feeder.ends[(domains & OPEN) == 0].tolist())
    if certain_lines.number_of_edges() and not nx.is_forest(certain_lines):
        raise Infeasible
    return domains


def demand_behind(feeder: Feeder, domains: Domains) -> FloatArray:
    """Demand that is certainly supplied through each node, its own included, shape (2, n_nodes)."""
    arcs = [
        tuple(ends if domain == FORWARD else ends[::-1])
        for ends, domain in zip(feeder.ends.tolist(), domains.tolist(), strict=True)
        if domain in (FORWARD, BACKWARD)
    ]
    demand = np.array([feeder.p_pu, feeder.q_pu])
    graph = nx.DiGraph(arcs)
    for node in reversed(list(nx.topological_sort(graph))):
        for child in graph.successors(node):
            demand[:, node] += demand[:, child]
    return demand


def times(terms: Terms, factor: float) -> Terms:
    """A multiple of a linear expression."""
    return [(column, factor * value) for column, value in terms]


@dataclass
class Cone:
    """p^2 + q^2 <= v current."""

    p: int
    q: int
    v: Terms
    current: int


@dataclass
class Model:
    """Linear rows (sum of terms, right-hand side) and cones over numbered columns."""

    n_columns: int = 0
    equal_rows: list[tuple[Terms, float]] = field(default_factory=list)
    least_rows: list[tuple[Terms, float]] = field(default_factory=list)
    cones: list[Cone] = field(default_factory=list)

    def columns(self, n: int) -> range:
        """New columns."""
        self.n_columns += n
        return range(self.n_columns - n, self.n_columns)

    def equal(self, terms: Terms, b: float = 0.0) -> None:
        """The sum of terms is b."""
        self.equal_rows.append((terms, b))

    def at_least(self, terms: Terms, b: float = 0.0) -> None:
        """The sum of terms is b or more."""
        self.least_rows.append((terms, b))

    def between(self, terms: Terms, limits: FloatArray, shares: Terms, rest: float = 0.0) -> None:
        """The sum of terms is within the limits times (rest + sum of shares)."""
        low, high = limits.tolist()
        self.at_least(terms + times(shares, -low), low * rest)
        self.at_least(times(terms, -1.0) + times(shares, high), -high * rest)

    def minimise(self, cost: FloatArray) -> Any:
        """The solution of Clarabel for a linear cost."""
        rows = self.equal_rows + [(times(terms, -1.0), -b) for terms, b in self.least_rows]
        for c in self.cones:  # (v + l, v - l, 2p, 2q) is in the second-order cone
            v = times(c.v, -1.0)
            rows += [
                ([*v, (c.current, -1.0)], 0.0),
                ([*v, (c.current, 1.0)], 0.0),
                ([(c.p, -2.0)], 0.0),
                ([(c.q, -2.0)], 0.0),
            ]
        at = np.repeat(np.arange(len(rows)), [len(terms) for terms, _ in rows])
        entries = [entry for terms, _ in rows for entry in terms]
        columns, factors = zip(*entries, strict=True)
        shape = (len(rows), self.n_columns)
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_threads = 1
        solver = clarabel.DefaultSolver(
            sparse.csc_matrix((self.n_columns, self.n_columns)),
            cost,
            sparse.csc_matrix((factors, (at, columns)), shape),
            np.array([b for _, b in rows]),
            [
                clarabel.ZeroConeT(len(self.equal_rows)),
                clarabel.NonnegativeConeT(len(self.least_rows)),
                *[clarabel.SecondOrderConeT(4)] * len(self.cones),
            ],
            settings,
        )
        return solver.solve()


@dataclass
class Arc:
    """One direction of a line.

    Attributes:
        tail, head: Its nodes; power flows from tail to head.
        p, q, current: Columns of power at the tail and of the squared current.
        share: Column of its share, None where it is certain.
        send, receive: Squared voltages at tail and head, times the share.
    """

    line: int
    tail: int
    head: int
    p: int
    q: int
    current: int
    share: int | None
    send: Terms
    receive: Terms


class Relaxation:
    """The relaxation for some domains; columns 0 .. n_nodes - 1 are squared voltages.

    Args:
        feeder: The feeder.
        domains: Possible states of every line, as `propagate` leaves them.
        v_range: Lowest and highest squared voltage of every node, shape (n_nodes, 2).
    """

    def __init__(self, feeder: Feeder, domains: Domains, v_range: FloatArray) -> None:
        self.feeder, self.domains = feeder, domains
        self.model = Model()
        self.model.columns(len(feeder.p_pu))
        self.model.equal([(SOURCE, 1.0)], 1.0)
        self.arcs: list[Arc] = []
        behind = demand_behind(feeder, domains)
        for k in np.flatnonzero(domains != OPEN).tolist():
            pair = [
                self._arc(k, state, v_range, behind)
                for state in (FORWARD, BACKWARD)
                if domains[k] & state
            ]
            if pair[0].share is not None:
                self._share_line(k, pair, v_range)
            self.arcs += pair
        for node in range(1, len(feeder.p_pu)):
            self._balance(node)
        self.loss_kw = [
            (arc.current, float(feeder.r_pu[arc.line] * feeder.base_kw)) for arc in self.arcs
        ]

    def _arc(self, k: int, state: int, v_range: FloatArray, behind: FloatArray) -> Arc:
        model, feeder = self.model, self.feeder
        tail, head = feeder.ends[k].tolist() if state == FORWARD else feeder.ends[k].tolist()[::-1]
        r, x = float(feeder.r_pu[k]), float(feeder.x_pu[k])
        p, q, current = model.columns(3)
        drop = [(p, -2 * r), (q, -2 * x), (current, r * r + x * x)]
        if self.domains[k] == state:
            send: Terms = [(tail, 1.0)]
            model.equal([*send, *drop, (head, -1.0)])
            arc = Arc(k, tail, head, p, q, current, None, send, [(head, 1.0)])
        else:
            (share,) = model.columns(1)
            send = [(share, 1.0)]
            if tail != SOURCE:
                send = [(model.columns(1)[0], 1.0)]
                model.between(send, v_range[tail], [(share, 1.0)])
            arc = Arc(k, tail, head, p, q, current, share, send, send + drop)
            model.between(arc.receive, v_range[head], [(share, 1.0)])
            model.at_least([(share, 1.0)])
            if not feeder.feeds_in:
                model.at_least([(p, 1.0), (current, -r), (share, -float(behind[0, head]))])
                model.at_least([(q, 1.0), (current, -x), (share, -float(behind[1, head]))])
        model.cones.append(Cone(p, q, send, current))
        return arc

    def _share_line(self, k: int, pair: list[Arc], v_range: FloatArray) -> None:
        """What the directions of a line leave is the share in which it is open."""
        model, may_open = self.model, bool(self.domains[k] & OPEN)
        used: Terms = [(arc.share, 1.0) for arc in pair if arc.share is not None]
        if may_open:
            model.at_least(times(used, -1.0), -1.0)
        else:
            model.equal(used, 1.0)
        for node in self.feeder.ends[k].tolist():
            if node == SOURCE:
                continue
            left: Terms = [(node, 1.0)]
            for arc in pair:
                left += times(arc.send if arc.tail == node else arc.receive, -1.0)
            if may_open:
                model.between(left, v_range[node], times(used, -1.0), 1.0)
            else:
                model.equal(left)

    def _balance(self, node: int) -> None:
        into = [arc for arc in self.arcs if arc.head == node]
        out = [arc for arc in self.arcs if arc.tail == node]
        feeder = self.feeder
        for demand, z, power in ((feeder.p_pu, feeder.r_pu, "p"), (feeder.q_pu, feeder.x_pu, "q")):
            terms: Terms = [(getattr(arc, power), -1.0) for arc in out]
            for arc in into:
                terms += [(getattr(arc, power), 1.0), (arc.current, -float(z[arc.line]))]
            self.model.equal(terms, float(demand[node]))
        shares: Terms = [(arc.share, 1.0) for arc in into if arc.share is not None]
        if shares:
            self.model.equal(shares, 1.0)

    def least_loss_kw(self) -> tuple[float, FloatArray]:
        """A lower bound on the loss, and the share of every line in every state, (n_lines, 3).

        Raises:
            Infeasible: There is no configuration in the domains.
        """
        cost = np.zeros(self.model.n_columns)
        for column, factor in self.loss_kw:
            cost[column] = factor
        least_kw, x = self._solved(cost)
        share = np.zeros((len(self.domains), 3))
        for arc in self.arcs:
            state = 1 if arc.tail == self.feeder.ends[arc.line, 0] else 2
            share[arc.line, state] = 1.0 if arc.share is None else x[arc.share]
        share[:, 0] = 1.0 - share.sum(axis=1)
        return least_kw, share

    def v_range_of(self, node: int, most_kw: float) -> tuple[float, float]:
        """Least and largest squared voltage of a node with losses of at most ``most_kw``.

        Raises:
            Infeasible: No configuration in the domains loses that little.
        """
        rows = self.model.least_rows
        rows.append((times(self.loss_kw, -1.0), -most_kw))
        try:
            cost = np.zeros(self.model.n_columns)
            cost[node] = 1.0
            return self._solved(cost)[0], -self._solved(-cost)[0]
        finally:
            rows.pop()

    def _solved(self, cost: FloatArray) -> tuple[float, FloatArray]:
        """The dual value, minus infinity where the solver does not get there, and the columns."""
        solution = self.model.minimise(cost)
        status = str(solution.status)
        if status == "PrimalInfeasible":
            raise Infeasible
        value = min(solution.obj_val, solution.obj_val_dual) if status == "Solved" else -np.inf
        return value, np.array(solution.x)
