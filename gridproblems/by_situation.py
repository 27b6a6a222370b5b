"""What settings do in each situation: which of them a limit binds in, objectives, voltages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from gridproblems.constraints import Measure, StateLimits
from gridproblems.errors import PowerFlowNotConverged
from gridproblems.evaluation import Evaluation, some_situations
from gridproblems.objectives import Objective
from gridproblems.problem import GridProblem, voltage_band
from gridproblems.reductions import quantile, quantile_place
from gridproblems.stability import LoadingMargin
from gridproblems.state import FloatArray, GridState, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Shares of the weight of the situations at which voltages are given.
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Voltages that are kept; of more, those of situations at equal distances.
MAX_VOLTAGES = 20_000_000
_VOLTAGES = ("vm_pu", "node_vm_pu")


@dataclass(frozen=True)
class Binding:
    """A limit in the situation that comes nearest to breaking it, or breaks it most.

    Attributes:
        name: Of the limit.
        situation: Name of the situation, empty for the grid as it is, and of a limit on settings
            alone.
        number: Which one it is; None where no single one decides.
        value: The quantity there, NaN where the limit is none of a quantity. [unit]
        limit: The limit, NaN likewise. [unit]
        margin: How far it is from being broken, negative beyond it. [unit]
        unit: Of these.
        room: The margin in terms of the band, the rating or the reactive range.
    """

    name: str
    situation: str
    number: int | None
    value: float
    limit: float
    margin: float
    unit: str
    room: float


@dataclass(frozen=True, eq=False)
class BySituation:
    """One vector in every situation.

    Attributes:
        names: Of the situations, empty for the grid as it is.
        group: Group of limits of each, ``"n-1"`` for outages.
        weight: Share in objectives; 0 for those that limits alone see, shape (n,).
        limit_weight: By it chances and the shares of voltages count, shape (n,).
        time: Snapshot in time, shape (n,), and its duration ``hours``. [h]
        solved: Whether the power flow solves and supplies all, shape (n,).
        objectives: Per objective of the grid its value, as it is shown, NaN where nothing is
            solved, shape (n,).
        units: Their units.
        maximised: Names of those that are to be large.
        violation: Sum of the amounts beyond limits, each in terms of its band or rating, NaN where
            nothing is solved, shape (n,).
        n_broken: Number of limits that are broken, shape (n,).
        nearest: Name of the limit that is nearest to being broken, or broken most, per situation.
        room: What is left to it in terms of its band or rating, NaN without limits, shape (n,).
        bindings: Every limit in the situation that decides it, least room first.
        voltages_of: Situations whose voltages are kept, shape (n_kept,).
        vm_pu: Their voltages, NaN without supply, shape (n_kept, n_buses). [p.u.]
    """

    names: list[str]
    group: tuple[str, ...]
    weight: FloatArray
    limit_weight: FloatArray
    time: NDArray[np.int64]
    hours: float
    solved: NDArray[np.bool_]
    objectives: Mapping[str, FloatArray]
    units: Mapping[str, str]
    maximised: frozenset[str]
    violation: FloatArray
    n_broken: NDArray[np.int64]
    nearest: list[str]
    room: FloatArray
    bindings: tuple[Binding, ...]
    voltages_of: NDArray[np.int64]
    vm_pu: FloatArray

    @property
    def survived(self) -> NDArray[np.bool_]:
        """Situations that solve and break no limit, shape (n,)."""
        held: NDArray[np.bool_] = self.solved & (self.n_broken == 0)
        return held

    def table(self) -> pd.DataFrame:
        """One row per situation, in their order."""
        return pd.DataFrame(
            {
                "situation": self.names,
                "group": self.group,
                "weight": self.weight,
                "solved": self.solved,
                **{
                    f"{name} [{self.units[name]}]" if self.units[name] else name: values
                    for name, values in self.objectives.items()
                },
                "violation": self.violation,
                "broken limits": self.n_broken,
                "nearest limit": self.nearest,
                "room [%]": 100.0 * self.room,
            }
        )

    def limits(self) -> pd.DataFrame:
        """One row per limit in the situation that decides it, least room first."""
        columns = ("name", "situation", "value", "limit", "margin", "unit")
        found = pd.DataFrame([{c: getattr(one, c) for c in columns} for one in self.bindings])
        if len(found):
            found["room [%]"] = [100.0 * one.room for one in self.bindings]
        return found

    def voltages_by_bus(self) -> FloatArray:
        """Voltages of every bus that `SHARES` of the weight of the situations do not exceed.

        Returns:
            Shape (len(SHARES), n_buses), NaN for buses without supply. [p.u.]
        """
        weight = self.limit_weight[self.voltages_of]
        return _shares(self.vm_pu, np.broadcast_to(weight[:, np.newaxis], self.vm_pu.shape))

    def voltages_by_time(self) -> FloatArray:
        """The same of all buses and situations of each snapshot in time, (len(SHARES), n_time)."""
        n_time = int(self.time.max()) + 1
        found = np.full((len(SHARES), n_time), np.nan)
        weight, time = self.limit_weight[self.voltages_of], self.time[self.voltages_of]
        for t in range(n_time):
            own = time == t
            values = self.vm_pu[own].reshape(-1, 1)
            of_value = np.repeat(weight[own], self.vm_pu.shape[1])[:, np.newaxis]
            found[:, t] = _shares(values, of_value)[:, 0]
        return found


def situation_figures(found: BySituation, problem: GridProblem) -> dict[str, Figure]:
    """Fans of voltages, and bars of the first objective and of the violations, by name.

    Args:
        found: Of several situations.
        problem: What it was found for.
    """
    from gridproblems.plotting import plot_situation_bars, plot_voltage_fan

    shown: dict[str, Figure] = {}
    title, band = problem.name, voltage_band(problem.limits[0][1])
    if found.vm_pu.size:
        by_bus = found.voltages_by_bus()
        labels = problem.grid.voltage_labels
        shown["voltage_fan"] = plot_voltage_fan(
            by_bus, SHARES, labels=labels, band=band, title=title
        )
        if problem.situations.n_time > 1:
            shown["voltage_fan_over_time"] = plot_voltage_fan(
                found.voltages_by_time(), SHARES, hours=found.hours, band=band, title=title
            )
    for name, values in [*found.objectives.items()][:1]:
        shown["situations"] = plot_situation_bars(
            found.names,
            values,
            found.violation,
            label=f"{name} [{found.units[name]}]" if found.units[name] else name,
            largest_first=name not in found.maximised,
            title=title,
        )
    return shown


def by_situation(problem: GridProblem, x: ArrayLike | Mapping[str, Any]) -> BySituation:
    """What a vector does in each situation; nothing of it counts as an evaluation.

    Situations are solved as many at a time as in an evaluation, so that memory does not grow with
    their number but for a few numbers of each.

    Args:
        problem: The problem.
        x: Shape (n_var,), or a dict of variables.

    Raises:
        ValueError: Wrong length, NaN, or out of bounds.
        PowerFlowNotConverged: A situation that must solve does not, or leaves loads unsupplied.
    """
    evaluation = problem.with_engine(problem.engine).evaluation  # with counts of its own
    own = problem.vector(x)
    taken = _Taken(evaluation)
    for rows in evaluation.chunks:
        settings = evaluation.joint.decode(own[np.newaxis], rows)
        state = evaluation.solve(settings)
        good = (state.converged & (state.n_unsupplied == 0))[0]
        if not good[evaluation.situations.must_solve[rows]].all():
            raise PowerFlowNotConverged(f"{problem.name}: no state that limits could be checked in")
        taken.add(rows, settings, state, good)
    return taken.result(own)


@dataclass
class _Limits:
    """What is known of the limits of one kind after some situations.

    Attributes:
        names, measures: Of the entries.
        beyond: The largest distance beyond each, shape (n_entries,).
        situation: Where that is, -1 for nowhere yet.
        each: Distances in every situation where a share of them decides, else nothing.
    """

    names: tuple[str, ...]
    measures: tuple[Measure, ...]
    beyond: FloatArray = field(init=False)
    situation: NDArray[np.int64] = field(init=False)
    each: list[tuple[NDArray[np.int64], FloatArray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.beyond = np.full(len(self.names), -np.inf)
        self.situation = np.full(len(self.names), -1)

    def add(self, rows: NDArray[np.int64], beyond: FloatArray) -> None:
        """Takes up distances in some situations, shape (len(rows), n_entries)."""
        at = beyond.argmax(axis=0)
        largest = np.take_along_axis(beyond, at[np.newaxis], axis=0)[0]
        new = largest > self.beyond
        self.beyond[new], self.situation[new] = largest[new], rows[at[new]]
        if any(measure.share < 1.0 for measure in self.measures):
            self.each.append((rows, beyond))

    def decide(self, weight: FloatArray) -> None:
        """Puts the situation at its share in place of the worst one."""
        if not self.each:
            return
        rows = np.concatenate([rows for rows, _ in self.each])
        beyond = np.concatenate([beyond for _, beyond in self.each])
        for i, measure in enumerate(self.measures):
            if measure.share < 1.0 and np.isfinite(self.beyond[i]):
                at = quantile_place(beyond[:, i], weight[rows], measure.share)
                self.beyond[i], self.situation[i] = beyond[at, i], rows[at]


class _Taken:
    """Values of one vector, taken up from one chunk of situations after the other."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._e = evaluation
        s = self._s = evaluation.situations
        self._objectives = [o for o in evaluation.objectives if isinstance(o, Objective)]
        self._values = {o.name: np.full(s.n, np.nan) for o in self._objectives}
        self._solved = np.zeros(s.n, dtype=bool)
        self._violation, self._room = np.full(s.n, np.nan), np.full(s.n, np.inf)
        self._n_broken = np.zeros(s.n, dtype=np.int64)
        self._nearest = [""] * s.n
        self._limits = {
            id(limit): _limits_of(group, limit)
            for group, limit in (*evaluation.limits, *evaluation.counted)
        }
        self._further = [
            (c, _Limits(tuple(c.names), tuple(getattr(c, "measures", [Measure()] * len(c.names)))))
            for c in evaluation.constraints
        ]
        self._kept: list[NDArray[np.int64]] = []
        self._vm_pu: list[FloatArray] = []

    def add(
        self, rows: slice, settings: Settings, state: GridState, good: NDArray[np.bool_]
    ) -> None:
        """Takes up the states of some situations, as a batch of one."""
        here = np.arange(rows.start, rows.stop)
        self._solved[rows] = good
        solved = np.flatnonzero(good)
        if not len(solved):
            return
        alive = some_situations(state, solved)
        of_alive = Settings(settings.fields, settings.values[:, solved])
        for o in self._objectives:
            self._values[o.name][here[solved]] = _value_of_each(o, of_alive, alive, self._s.hours)
        self._violation[here[solved]] = 0.0
        limits = [*self._e.limits, *self._e.counted]
        limit_rows = [*self._e.limit_rows, *self._e.counted_rows]
        for (_, limit), own in zip(limits, limit_rows, strict=True):
            which = solved[np.isin(here[solved], own)]
            if len(which) and limit.limits:
                beyond = limit.beyond(some_situations(state, which), missing=-np.inf)[0]
                self._add(self._limits[id(limit)], here[which], beyond)
        for constraint, limits_of in self._further:
            if isinstance(constraint, LoadingMargin):
                own = here if constraint.rows is None else constraint.rows
                which = solved[np.isin(here[solved], own)]
                if len(which):
                    of_which = Settings(settings.fields, settings.values[:, which])
                    beyond = constraint.of_each(of_which, some_situations(state, which))[0]
                    self._add(limits_of, here[which], beyond)
            else:
                limits_of.beyond = constraint(settings, state)[0]
        self._keep(here[solved], alive)

    def _add(self, limits: _Limits, rows: NDArray[np.int64], beyond: FloatArray) -> None:
        if not beyond.size:
            return
        limits.add(rows, beyond)
        self._violation[rows] += np.maximum(beyond, 0.0).sum(axis=1)
        self._n_broken[rows] += (beyond > 0.0).sum(axis=1)
        at = beyond.argmax(axis=1)
        for row, i, room in zip(rows, at, -beyond.max(axis=1), strict=True):
            if room < self._room[row]:
                self._room[row], self._nearest[row] = room, limits.names[i]

    def _keep(self, rows: NDArray[np.int64], state: GridState) -> None:
        """Keeps voltages, of every so many situations where there are too many."""
        quantity = next((q for q in _VOLTAGES if q in state.layout.slices), None)
        if quantity is None:
            return
        columns = state.layout.slices[quantity]
        n_values = self._s.n * (columns.stop - columns.start)
        step = max(1, -(-n_values // MAX_VOLTAGES))
        own = np.flatnonzero(rows % step == 0)
        self._kept.append(rows[own])
        self._vm_pu.append(state.values[0, own, columns].copy())

    def result(self, x: FloatArray) -> BySituation:
        """All of it."""
        s, names = self._s, self._s.names
        of_state = [*self._limits.values(), *(limits for _, limits in self._further)]
        for limits in of_state:
            limits.decide(s.limit_weight)
        found = [one for limits in of_state for one in _bindings(limits, names)]
        for (constraint, _), values in zip(
            self._e.of_blocks, self._e.of_settings(x[np.newaxis]), strict=True
        ):
            measures = constraint.measures or (Measure(),) * len(constraint.names)
            own = _Limits(tuple(constraint.names), measures)
            own.beyond = values[0]
            found += _bindings(own, names)
        found.sort(key=lambda one: one.room)
        n_buses = self._vm_pu[0].shape[1] if self._vm_pu else 0
        return BySituation(
            names,
            s.group,
            s.weight,
            s.limit_weight,
            s.time,
            s.hours,
            self._solved,
            self._values,
            {o.name: o.unit for o in self._objectives},
            frozenset(o.name for o in self._objectives if o.is_negative),
            self._violation,
            self._n_broken,
            self._nearest,
            np.where(np.isposinf(self._room), np.nan, self._room),
            tuple(found),
            np.concatenate(self._kept) if self._kept else np.zeros(0, dtype=np.int64),
            np.concatenate(self._vm_pu) if self._vm_pu else np.zeros((0, n_buses)),
        )


def _limits_of(group: str, limit: StateLimits) -> _Limits:
    n = len(limit.names) // (limit.n_each or 1)  # not those of every situation by itself
    names = limit.names[:n] if limit.n_each is None else [one.name for one in limit.limits]
    return _Limits(tuple(f"{group} {name}".strip() for name in names), limit.measures[:n])


def _value_of_each(
    objective: Objective, settings: Settings, state: GridState, hours: float
) -> FloatArray:
    """An objective in single situations, as it is shown, shape (n,)."""
    values = objective.quantity(settings, state)[0] * objective.factor
    if objective.over_time == "energy":
        values = values * hours
    shown: FloatArray = -values if objective.is_negative else values
    return shown


def _bindings(limits: _Limits, names: list[str]) -> list[Binding]:
    found = []
    for name, measure, beyond, at in zip(
        limits.names, limits.measures, limits.beyond, limits.situation, strict=True
    ):
        if np.isneginf(beyond):  # nothing solved, or nothing to supply
            continue
        margin = float(-beyond * measure.scale) + 0.0
        sign = -1.0 if measure.is_upper else 1.0
        situation, number = (names[at], int(at)) if at >= 0 else ("", None)
        value = measure.limit + sign * margin
        found.append(
            Binding(
                name,
                situation,
                number,
                value,
                measure.limit,
                margin,
                measure.unit,
                float(-beyond) + 0.0,
            )
        )
    return found


def _shares(values: FloatArray, weight: FloatArray) -> FloatArray:
    """`SHARES` of every column, by weight, NaN left out, shape (len(SHARES), n_columns)."""
    found = np.full((len(SHARES), values.shape[1]), np.nan)
    for i, (column, of_column) in enumerate(zip(values.T, weight.T, strict=True)):
        known = np.isfinite(column) & (of_column > 0)
        if known.any():
            own, own_weight = column[known], of_column[known]
            inner = [quantile(own, own_weight, share) for share in SHARES[1:-1]]
            found[:, i] = [own.min(), *inner, own.max()]
    return found
