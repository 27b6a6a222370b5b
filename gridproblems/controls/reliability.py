"""How often and how long customers of a radial grid are interrupted."""

from __future__ import annotations

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._compile import compiled
from gridproblems.nets.network import label_of, number
from gridproblems.nets.topology import BoolArray, SwitchingGraph, branches, incidence
from gridproblems.state import FloatArray


class Interruptions:
    """Expected interruptions where a fault interrupts everything behind it.

    A customer is interrupted by the failures of all lines between the source and its bus, each for
    as long as its repair takes. Transformers and couplers do not fail.

    Args:
        net: ``net.line`` has ``failure_rate_per_year`` and ``repair_hours``, ``net.load`` may have
            ``n_customers`` (1 where missing).
        graph: Its switching graph.
    """

    def __init__(self, net: pandapowerNet, graph: SwitchingGraph) -> None:
        self._net, self._graph = net, graph

    def per_customer(self, closed: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Interruptions [1/a] and hours of interruption [h/a] of the average customer.

        Args:
            closed: Which edges of the graph are closed, shape (..., n_edges).

        Returns:
            Two arrays of shape (...).

        Raises:
            ValueError: Failure rates or repair times are missing.
        """
        net, graph = self._net, self._graph
        found = branches(net, graph)
        rate = np.zeros(len(found.ends))
        hours = np.zeros(len(found.ends))
        for i, (table, element) in enumerate(found.elements):
            if table == "line":
                rate[i] = self._needed(element, "failure_rate_per_year")
                hours[i] = rate[i] * self._needed(element, "repair_hours")
        customers = np.zeros(found.n_buses)
        for load in net.load.index[net.load.in_service.astype(bool)]:
            count = number(net, "load", load, "n_customers")
            at = found.place[net.load.at[load, "bus"]]
            customers[at] += 1.0 if np.isnan(count) else count
        rows = closed.reshape(-1, closed.shape[-1])
        alive = np.ones((len(rows), len(found.ends)), dtype=bool)
        switched = found.edge >= 0
        alive[:, switched] = rows[:, found.edge[switched]]
        start, incident = incidence(found.ends, found.n_buses)
        totals = _totals(
            found.ends, alive, start, incident, found.source, np.stack([rate, hours]), customers
        )
        per = totals / customers.sum()
        return per[:, 0].reshape(closed.shape[:-1]), per[:, 1].reshape(closed.shape[:-1])

    def _needed(self, line: int, column: str) -> float:
        value = number(self._net, "line", line, column)
        if not value >= 0:
            raise ValueError(
                f"{label_of(self._net, 'line', line)}: {column} is missing or negative"
            )
        return value


@compiled
def _totals(  # type: ignore[no-untyped-def]
    ends, alive, incident_start, incident, source, weights, customers
):
    """For each graph and weight, the weights on the way to each bus times its customers."""
    n_buses = len(customers)
    totals = np.zeros((len(alive), len(weights)))
    order = np.empty(n_buses, dtype=np.int64)
    reached = np.empty(n_buses, dtype=np.bool_)
    sums = np.zeros((n_buses, len(weights)))
    for row in range(len(alive)):
        reached[:] = False
        order[0], reached[source] = source, True
        sums[source] = 0.0
        n, i = 1, 0
        while i < n:
            a = order[i]
            i += 1
            for w in range(len(weights)):
                totals[row, w] += sums[a, w] * customers[a]
            for k in range(incident_start[a], incident_start[a + 1]):
                e = incident[k]
                b = ends[e, 0] + ends[e, 1] - a
                if alive[row, e] and not reached[b]:
                    reached[b] = True
                    for w in range(len(weights)):
                        sums[b, w] = sums[a, w] + weights[w, e]
                    order[n] = b
                    n += 1
    return totals
