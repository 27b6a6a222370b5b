"""Reconfiguration of distribution networks: which lines to open so that the grid stays radial."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import check_arguments, shown
from gridproblems.cases import Case
from gridproblems.codings import SwitchingCodec, make_coding
from gridproblems.constraints import Constraint, StateLimits
from gridproblems.engines._reference import layout_of
from gridproblems.net_problem import NetProblem
from gridproblems.network import label_of, net_of_case
from gridproblems.objectives import Objective, ObjectiveFunction
from gridproblems.reliability import Interruptions
from gridproblems.series import series_settings
from gridproblems.state import FloatArray, GridState, Settings
from gridproblems.tasks._limits import check_limits, grid_limits
from gridproblems.topology import (
    BoolArray,
    count_loops_and_islands,
    demand_mva,
    estimate_exchanges,
    incidence,
    is_closed,
    line_switches,
    switching_graph,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Reconfiguration(NetProblem):
    """Opens and closes lines of a net so that it stays radial and supplies every load.

    Every candidate is a radial configuration: all external grids count as one source, and the
    closed branches form a spanning tree. Parallel branches that cannot open, such as two
    transformers side by side, count as one; a line that what cannot open already bridges is open in
    every candidate. Lines with switches are switched by them, others by ``in_service``.

    Args:
        case: Name of a packaged case (`gridproblems.cases.CASES`), a pandapower net, or the path
            of a pandapower JSON file. What is closed in it is the present configuration.
        objectives: Any of `OBJECTIVES` and `OBJECTIVE_METHODS`, or callables of (settings, state).
        coding: How vectors stand for open lines: ``"nearest_tree"`` (one open line per short loop,
            made radial), ``"spanning_tree"`` (random keys) or ``"loops"`` (one open line per
            fundamental loop, as in many studies; most vectors are not radial and infeasible).
        limits: Overrides the limits in the net's tables; None takes a limit away: ``vm_pu`` (low,
            high) at all buses, ``loading_percent`` of all branches.
        switchable: Lines that can open and close. None: those with switches of their own, or all
            lines if the net has no line switches.
        series: Tables over time, ``{("load", "p_mw"): table, ...}``, one row per snapshot and one
            column per element, as DataFrame or array.
        hours: Duration of a snapshot. [h]
        periods: Number of configurations over the series, one after the other; 1 for one
            configuration at all times.
        max_switching_actions: Most openings and closings over the series, the first
            configuration against the present one included.
        engine, n_jobs, cache, aggregate, require_base_solution: See `NetProblem`.

    Raises:
        ValueError: Unknown case, objective, coding or limit; a load that no configuration can
            supply; nothing to switch; bad data. The message names the element.
        PowerFlowNotConverged: The present configuration does not converge and has to.
        UnsupportedByEngine: The named engine cannot represent the net.

    Source:
        M. E. Baran, F. F. Wu, Network reconfiguration in distribution systems for loss reduction
        and load balancing, IEEE Trans. Power Delivery 4 (1989) 1401-1407, doi:10.1109/61.25627.
    """

    OBJECTIVE_METHODS: Mapping[str, str] = {
        "switching_actions": "",
        "energy_loss_kwh": "kWh",
        "saifi_per_year": "1/a",
        "saidi_hours_per_year": "h/a",
    }

    codec: SwitchingCodec

    def __init__(
        self,
        case: str | Path | pandapowerNet,
        objectives: Sequence[str | ObjectiveFunction | Objective] = ("p_loss_kw",),
        coding: str = "nearest_tree",
        limits: Mapping[str, Any] | None = None,
        *,
        switchable: Sequence[int] | None = None,
        series: Mapping[tuple[str, str], Any] | None = None,
        hours: float = 1.0,
        periods: int = 1,
        max_switching_actions: int | None = None,
        engine: str = "auto",
        n_jobs: int = 1,
        cache: bool | int = False,
        aggregate: bool = False,
        require_base_solution: bool = True,
    ) -> None:
        check_arguments(Reconfiguration.__init__, locals())
        net, self.case = net_of_case(case)
        limits = check_limits(limits)
        if not hours > 0:
            raise ValueError(f"hours: expected a positive duration, got {hours}")
        self.hours = hours
        self.graph = switching_graph(net, switchable)
        self._base_closed = self.graph.nearest_tree(self.graph.closed)
        opened = self.graph.lines[self.graph.closed & ~self._base_closed].tolist()
        opened += [line for line in self.graph.always_open if is_closed(net, "line", line)]
        if opened or not np.array_equal(self._base_closed, self.graph.closed):
            warnings.warn(
                f"the net is not radial; taken as present configuration with lines {opened} open",
                stacklevel=2,
            )
        codec = SwitchingCodec(
            net,
            self.graph,
            make_coding(coding, net, self.graph),
            series_settings(net, series) if series else None,
            periods,
        )
        constraints: list[Constraint] = []
        if not codec.coding.always_radial:
            constraints.append(_Radial(codec))
        if max_switching_actions is not None:
            constraints.append(_SwitchingLimit(self.switching_actions, max_switching_actions))
        entries = grid_limits(net, limits, self.case)
        constraints.append(StateLimits(entries, layout_of(net)))
        self._incidence = incidence(self.graph.edges, self.graph.n_nodes)
        self._current_pu = np.conj(demand_mva(net, self.graph)) / net.sn_mva
        self._interruptions = Interruptions(net, self.graph)
        super().__init__(
            net,
            codec,
            objectives,
            constraints,
            engine=engine,
            n_jobs=n_jobs,
            cache=cache,
            aggregate=aggregate,
            require_base_solution=require_base_solution,
            name=self.case.name if self.case else str(net.name or "net"),
        )
        self.base_values()  # raises where the net lacks what an objective needs
        restricted = entries or max_switching_actions is not None or switchable is not None
        if self.case and not restricted and series is None:
            self._find_known(self.case)

    def _find_known(self, case: Case) -> None:
        """The best known value, or the best known front, of the case for these objectives."""
        names = self.objective_names
        for best in case.best_known:
            if best.objectives == names:
                self.best_known = best
        for front in case.fronts:
            if sorted(front.objectives) == sorted(names):
                order = [front.objectives.index(name) for name in names]
                values = tuple(tuple(row[i] for i in order) for row in front.values)
                self.known_front = replace(front, objectives=names, values=values)

    # -- what it is now, and what a vector means ------------------------------------------

    @property
    def base_x(self) -> FloatArray:
        """A vector of the present configuration."""
        return np.tile(self.codec.coding.encode(self._base_closed), self.codec.n_periods)

    def _base_settings(self, codec: Any) -> Settings:
        return codec.decode(np.tile(codec.coding.encode(self._base_closed), codec.n_periods))

    def open_lines(self, x: ArrayLike | Mapping[str, Any]) -> list[list[int]]:
        """Lines (index of ``net.line``) that a vector opens, one list per period."""
        closed = self.codec.closed(self._checked(x))
        always = self.graph.always_open
        return [sorted([*self.graph.lines[~row].tolist(), *always]) for row in closed]

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
        return np.tile(self.codec.coding.encode(closed), self.codec.n_periods)

    def describe(self, x: ArrayLike | Mapping[str, Any]) -> pd.DataFrame:
        """Switching actions from the present configuration, in an order that keeps all supplied.

        Every line is closed before another on the loop it closes is opened. Columns: step, action,
        control, line, and where there are any, period and switches.
        """
        rows: list[dict[str, Any]] = []
        present = self._base_closed
        for period, closed in enumerate(self.codec.closed(self._checked(x))):
            for action, e in _in_order(self.graph.edges, present, closed, self.graph.n_nodes):
                line = int(self.graph.lines[e])
                start, end = self.net.line.loc[line, ["from_bus", "to_bus"]]
                row = {
                    "step": len(rows) + 1,
                    "action": action,
                    "control": f"{label_of(self.net, 'line', line)}, bus {start} to {end}",
                    "line": line,
                }
                if self.codec.n_periods > 1:
                    row["period"] = period
                if self.codec.has_switches:
                    own = line_switches(self.net, line)
                    row["switches"] = ", ".join(label_of(self.net, "switch", s) for s in own)
                rows.append(row)
            present = closed
        columns = list(rows[0]) if rows else ["step", "action", "control", "line"]
        return pd.DataFrame(rows, columns=columns, dtype=object)

    def figures(self, x: Any) -> dict[str, Figure]:
        """Voltages and loadings before and after, and the feeder with its open branches."""
        from gridproblems.plotting_topology import plot_feeder

        return {**super().figures(x), "feeder": plot_feeder(self, x)}

    # -- objectives ------------------------------------------------------------------------

    def switching_actions(self, settings: Settings, state: GridState | None = None) -> Any:
        """Openings and closings from the present configuration through all periods."""
        closed = self.codec.closed_in(settings)
        before = np.broadcast_to(self._base_closed, closed[..., :1, :].shape)
        changes = closed != np.concatenate([before, closed[..., :-1, :]], axis=-2)
        return changes.sum(axis=(-2, -1)).astype(float)

    def energy_loss_kwh(self, settings: Settings, state: GridState) -> Any:
        """Active losses over all snapshots, times their duration. [kWh]"""
        return 1e3 * self.hours * state.p_loss_mw.sum(axis=-1)

    def saifi_per_year(self, settings: Settings, state: GridState) -> Any:
        """Interruptions of the average customer, mean over snapshots. [1/a]

        A fault interrupts everybody behind it on the way from the source, so a customer has the
        failures of all lines on the way. Columns ``failure_rate_per_year`` of ``net.line`` and
        ``n_customers`` of ``net.load`` (1 where missing).

        Source: IEEE Std 1366, System Average Interruption Frequency Index.
        """
        return self._interruptions.per_customer(self.codec.closed_in(settings))[0].mean(axis=-1)

    def saidi_hours_per_year(self, settings: Settings, state: GridState) -> Any:
        """Hours of interruption of the average customer, mean over snapshots. [h/a]

        As `saifi_per_year`, every failure times ``repair_hours`` of ``net.line``.

        Source: IEEE Std 1366, System Average Interruption Duration Index.
        """
        return self._interruptions.per_customer(self.codec.closed_in(settings))[1].mean(axis=-1)

    # -- moves -----------------------------------------------------------------------------

    def neighbours(self, x: FloatArray, n_wanted: int | None = None) -> FloatArray:
        """Branch exchanges of a vector, those that promise the lowest losses first.

        One line closes and another on the loop it closes opens. The order follows an estimate
        with constant load currents, which needs no power flow.

        Args:
            x: A vector of a radial configuration, shape (n_var,).
            n_wanted: Most neighbours wanted, None for all.

        Returns:
            Shape (n_exchanges, n_var), snapped; none for a vector that is not radial.
        """
        snapped = self._checked(x)
        per_period = self.codec.closed(snapped)
        exchanges: list[tuple[float, int, int, int]] = []
        for period, closed in enumerate(per_period):
            if not np.array_equal(self.graph.nearest_tree(closed), closed):
                return np.empty((0, len(snapped)))
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
        width = len(self.codec.coding.variables)
        found = np.tile(snapped, (len(exchanges[:n_wanted]), 1))
        for y, (_, period, close, open_) in zip(found, exchanges, strict=False):
            exchanged = per_period[period].copy()
            exchanged[close], exchanged[open_] = True, False
            y[period * width : (period + 1) * width] = self.codec.coding.encode(exchanged)
        return found


class _Radial:
    """No loops and no islands, for codings that can have them."""

    names = ("radial",)
    kinds = ("radial",)
    needs_state = False

    def __init__(self, codec: SwitchingCodec) -> None:
        self._codec = codec

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Number of loops and islands, the most of all snapshots, shape (..., 1)."""
        closed = self._codec.closed_in(settings)
        graph = self._codec.graph
        rows = closed.reshape(-1, closed.shape[-1])
        loops, islands = count_loops_and_islands(graph.edges, rows, graph.n_nodes)
        worst = (loops + islands).reshape(closed.shape[:-1]).max(axis=-1)
        return worst[..., np.newaxis].astype(float)


class _SwitchingLimit:
    """A largest number of switching actions."""

    names = ("switching_actions",)
    kinds = ("switching_actions",)
    needs_state = False

    def __init__(self, count: Any, most: int) -> None:
        if most < 0:
            raise ValueError(f"max_switching_actions: expected 0 or more, got {most}")
        self._count, self._most = count, most

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """Actions beyond the limit as a share of it, shape (..., 1)."""
        beyond = self._count(settings) - self._most
        return np.asarray(beyond / max(self._most, 1))[..., np.newaxis]


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
