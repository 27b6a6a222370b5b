"""`Switching`: which lines of a distribution network to open so that it stays radial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from gridproblems._arguments import shown
from gridproblems._warn import warn_user
from gridproblems.controls.block import (
    Block,
    BlockConstraint,
    PlacedBlock,
    Shown,
    mappings_of_periods,
)
from gridproblems.controls.encodings import SwitchingCodec, make_encoding
from gridproblems.controls.reliability import Interruptions
from gridproblems.nets.network import label_of
from gridproblems.nets.topology import (
    BoolArray,
    SwitchingGraph,
    count_loops_and_islands,
    demand_mva,
    estimate_exchanges,
    incidence,
    is_closed,
    line_switches,
    switching_graph,
)
from gridproblems.situations import Situations
from gridproblems.state import FloatArray, Settings, SettingsMapping

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Switching:
    """Opens and closes lines of a net so that it stays radial and supplies every load.

    All external grids count as one source, and the closed branches form a spanning tree. Parallel
    branches that cannot open, such as two transformers side by side, count as one; a line that what
    cannot open already bridges is open in every candidate. Lines with switches are switched by
    them, others by ``in_service``.

    Attributes:
        encoding: How vectors stand for open lines: ``"nearest_tree"`` (one open line per short
            loop, made radial), ``"spanning_tree"`` (random keys) or ``"loops"`` (one open line per
            fundamental loop, as in many studies; most vectors are not radial and infeasible).
        switchable: Lines that can open and close. None: those with switches of their own, or all
            lines if the net has no line switches.
        max_switching_actions: Most openings and closings over the series, the first
            configuration against the present one included.
        periods: Number of configurations over the series, one after the other.

    Source:
        M. E. Baran, F. F. Wu, Network reconfiguration in distribution systems for loss reduction
        and load balancing, IEEE Trans. Power Delivery 4 (1989) 1401-1407, doi:10.1109/61.25627.
    """

    of_grid: ClassVar[str] = "net"

    encoding: str = "nearest_tree"
    switchable: Sequence[int] | None = None
    max_switching_actions: int | None = None
    periods: int = 1

    def __post_init__(self) -> None:
        most = self.max_switching_actions
        if most is not None and most < 0:
            raise ValueError(f"max_switching_actions: expected 0 or more, got {most}")

    def prepare(self, grid: Any) -> None:
        """Adds nothing."""

    def bind(self, grid: Any, situations: Situations, prepared: None) -> Block:
        """The lines of a net that can open and close.

        Raises:
            ValueError: A load that no configuration can supply; nothing to switch; an unknown
                encoding; more periods than snapshots.
        """
        graph = switching_graph(grid.net, self.switchable)
        return SwitchingBlock(self, grid, graph, situations, self.periods)


class SwitchingBlock(Block):
    """Radial configurations of a net, one per period.

    Args:
        control: The control.
        grid: The net.
        graph: Its switching graph.
        situations: What is in time is divided into periods.
        n_periods: Number of configurations, one after the other.
    """

    kind = "switching"
    is_stepwise = True
    has_neighbours = True
    objective_methods: Mapping[str, str] = {
        "switching_actions": "",
        "saifi_per_year": "1/a",
        "saidi_hours_per_year": "h/a",
    }

    def __init__(
        self,
        control: Switching,
        grid: Any,
        graph: SwitchingGraph,
        situations: Situations,
        n_periods: int,
    ) -> None:
        if not 1 <= n_periods <= situations.n_time:
            raise ValueError(
                f"periods: expected 1 to {situations.n_time}, the snapshots of the series, "
                f"got {n_periods}"
            )
        self._control, self._grid, net = control, grid, grid.net
        self._net = net
        self.graph = graph
        self.base_closed = graph.nearest_tree(graph.closed)
        opened = graph.lines[graph.closed & ~self.base_closed].tolist()
        opened += [line for line in graph.always_open if is_closed(net, "line", line)]
        if opened or not np.array_equal(self.base_closed, graph.closed):
            warn_user(
                f"the net is not radial; taken as present configuration with lines {opened} open"
            )
        each_period = Settings((), np.zeros((n_periods, 0)))
        encoding = make_encoding(control.encoding, net, graph)
        self.codec = SwitchingCodec(net, graph, encoding, each_period, n_periods)
        self.variables, self.fields = self.codec.variables, self.codec.fields
        self._incidence = incidence(graph.edges, graph.n_nodes)
        self._current_pu = np.conj(demand_mva(net, graph)) / net.sn_mva
        self._interruptions = Interruptions(net, graph)
        self._period_of = np.arange(situations.n_time) * n_periods // situations.n_time
        constraints = []
        if not encoding.always_radial:
            constraints.append(BlockConstraint(("radial",), ("radial",), self._loops_and_islands))
        if control.max_switching_actions is not None:
            names = ("switching_actions",)
            constraints.append(BlockConstraint(names, names, self._actions_beyond))
        self.constraints = tuple(constraints)

    def over_periods(self, n_periods: int, situations: Situations) -> Block:
        """One configuration per period; switching actions are counted through all of them."""
        return SwitchingBlock(self._control, self._grid, self.graph, situations, n_periods)

    # -- vectors ---------------------------------------------------------------------------

    @property
    def base_x(self) -> FloatArray:
        """A vector of the present configuration."""
        return np.tile(self.codec.encoding.encode(self.base_closed), self.codec.n_periods)

    def snap(self, x: FloatArray) -> FloatArray:
        """The vectors that are evaluated in place of these."""
        return self.codec.snap(x)

    def values(self, x: FloatArray, situations: Situations) -> FloatArray:
        """Statuses of lines and switches, shape (n, n_periods, n_values)."""
        return self.codec.decode(x).values

    def encode(self, settings: SettingsMapping) -> FloatArray:
        """A vector with these statuses, the same in every period."""
        return self.codec.encode(settings)

    def encode_series(self, settings: Settings) -> FloatArray:
        """A vector with the statuses of every period."""
        each = mappings_of_periods(settings, self.codec.n_periods)
        n = len(self.codec.encoding.variables)
        return np.concatenate([self.codec.encode(mapping)[:n] for mapping in each])

    def encode_open_lines(self, lines: Sequence[int]) -> FloatArray:
        """A vector that opens exactly these lines, in every period.

        Raises:
            ValueError: A line that cannot open, or the rest is no spanning tree.
        """
        closed = np.ones(len(self.graph.edges), dtype=bool)
        for line in lines:
            if not isinstance(line, Integral):
                raise ValueError(f"lines: expected indices of net.line, got {shown(line)}")
            if line in self.graph.always_open:
                continue
            edges = np.flatnonzero(self.graph.lines == line)
            if line < 0 or not len(edges):
                raise ValueError(f"line {line} cannot open: it is on no loop, or not switchable")
            closed[edges] = False
        return np.tile(self.codec.encoding.encode(closed), self.codec.n_periods)

    def open_lines(self, x: FloatArray) -> list[list[int]]:
        """Lines (index of ``net.line``) that a vector opens, one list per period."""
        always = self.graph.always_open
        closed = self.codec.closed(x)
        return [sorted([*self.graph.lines[~row].tolist(), *always]) for row in closed]

    def describe(self, x: FloatArray) -> pd.DataFrame:
        """Switching actions from the present configuration, in an order that keeps all supplied.

        Every line is closed before another on the loop it closes is opened. Columns: step, action,
        control, line, and where there are any, period and switches.
        """
        rows: list[dict[str, Any]] = []
        present = self.base_closed
        for period, closed in enumerate(self.codec.closed(x)):
            for action, e in _in_order(self.graph.edges, present, closed, self.graph.n_nodes):
                line = int(self.graph.lines[e])
                start, end = self._net.line.loc[line, ["from_bus", "to_bus"]]
                row = {
                    "step": len(rows) + 1,
                    "action": action,
                    "control": f"{label_of(self._net, 'line', line)}, bus {start} to {end}",
                    "line": line,
                }
                if self.codec.n_periods > 1:
                    row["period"] = period
                if self.codec.has_switches:
                    own = line_switches(self._net, line)
                    row["switches"] = ", ".join(label_of(self._net, "switch", s) for s in own)
                rows.append(row)
            present = closed
        columns = list(rows[0]) if rows else ["step", "action", "control", "line"]
        return pd.DataFrame(rows, columns=columns, dtype=object)

    def figures(self, x: FloatArray | None, shown: Shown) -> dict[str, Figure]:
        """The feeder with its open branches before and after, at the first snapshot."""
        from gridproblems.plotting import plot_feeder

        opened = {"before": self.open_lines(self.base_x)[0]}
        if x is not None:
            opened["after"] = self.open_lines(x)[0]
        panels = {name: (lines, shown.states[name]) for name, lines in opened.items()}
        return {"feeder": plot_feeder(self._net, panels, title=shown.title)}

    # -- objectives and constraints of the configuration alone -----------------------------

    def switching_actions(self, x: FloatArray) -> FloatArray:
        """Openings and closings from the present configuration through all periods."""
        closed = self.codec.closed(x)
        before = np.broadcast_to(self.base_closed, closed[..., :1, :].shape)
        changes = closed != np.concatenate([before, closed[..., :-1, :]], axis=-2)
        total: FloatArray = changes.sum(axis=(-2, -1)).astype(float)
        return total

    def saifi_per_year(self, x: FloatArray) -> FloatArray:
        """Interruptions of the average customer, mean over time. [1/a]

        A fault interrupts everybody behind it on the way from the source, so a customer has the
        failures of all lines on the way. Columns ``failure_rate_per_year`` of ``net.line`` and
        ``n_customers`` of ``net.load`` (1 where missing).

        Source: IEEE Std 1366, System Average Interruption Frequency Index.
        """
        return self._in_time(self._interruptions.per_customer(self.codec.closed(x))[0])

    def saidi_hours_per_year(self, x: FloatArray) -> FloatArray:
        """Hours of interruption of the average customer, mean over time. [h/a]

        As `saifi_per_year`, every failure times ``repair_hours`` of ``net.line``.

        Source: IEEE Std 1366, System Average Interruption Duration Index.
        """
        return self._in_time(self._interruptions.per_customer(self.codec.closed(x))[1])

    def _in_time(self, of_periods: FloatArray) -> FloatArray:
        mean: FloatArray = of_periods[..., self._period_of].mean(axis=-1)
        return mean

    def _loops_and_islands(self, x: FloatArray) -> FloatArray:
        """Number of loops and islands, the most of all periods, shape (n, 1)."""
        closed = self.codec.closed(x)
        rows = closed.reshape(-1, closed.shape[-1])
        loops, islands = count_loops_and_islands(self.graph.edges, rows, self.graph.n_nodes)
        worst = (loops + islands).reshape(closed.shape[:-1]).max(axis=-1)
        most: FloatArray = worst[..., np.newaxis].astype(float)
        return most

    def _actions_beyond(self, x: FloatArray) -> FloatArray:
        """Actions beyond the limit as a share of it, shape (n, 1)."""
        most = self._control.max_switching_actions or 0
        beyond: FloatArray = (self.switching_actions(x) - most) / max(most, 1)
        return beyond[..., np.newaxis]

    # -- moves -----------------------------------------------------------------------------

    def neighbours(
        self, x: FloatArray, n_wanted: int | None, placed: PlacedBlock, evaluation: Any
    ) -> FloatArray:
        """Branch exchanges of a vector, those that promise the lowest losses first.

        One line closes and another on the loop it closes opens. The order follows an estimate
        with constant load currents, which needs no power flow. None for a vector that is not
        radial.
        """
        own = x[placed.part]
        per_period = self.codec.closed(own)
        exchanges: list[tuple[float, int, int, int]] = []
        for period, closed in enumerate(per_period):
            if not np.array_equal(self.graph.nearest_tree(closed), closed):
                return np.empty((0, len(own)))
            close, open_, change = estimate_exchanges(
                self.graph.edges,
                closed,
                self.graph.switchable,
                self.graph.r_pu,
                self._current_pu,
                *self._incidence,
            )
            best = np.argsort(change, kind="stable")[:n_wanted]
            exchanges += [(change[i], period, close[i], open_[i]) for i in best]
        exchanges.sort(key=lambda exchange: exchange[0])
        width = len(self.codec.encoding.variables)
        found = np.tile(own, (len(exchanges[:n_wanted]), 1))
        for y, (_, period, close, open_) in zip(found, exchanges, strict=False):
            exchanged = per_period[period].copy()
            exchanged[close], exchanged[open_] = True, False
            y[period * width : (period + 1) * width] = self.codec.encoding.encode(exchanged)
        return found


def _in_order(
    edges: np.ndarray, before: BoolArray, after: BoolArray, n_nodes: int
) -> list[tuple[str, int]]:
    """Closings and openings in turn from one spanning tree to another."""
    present = before.copy()
    actions: list[tuple[str, int]] = []
    for close in np.flatnonzero(after & ~before):
        actions.append(("close", int(close)))
        present[close] = True
        for open_ in np.flatnonzero(present & ~after):
            present[open_] = False
            rows = present[np.newaxis]
            if count_loops_and_islands(edges, rows, n_nodes)[1][0] == 0:
                actions.append(("open", int(open_)))
                break
            present[open_] = True
    return actions
