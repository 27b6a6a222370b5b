"""Solved power flows of vectors in all situations, and slopes through them.

One link of the chain of `gridproblems.gradients`: between how settings move with ``x`` and how
entries of F and G move with the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled
from gridproblems.constraints import StateLimitSlopes
from gridproblems.controls.joint import Slopes
from gridproblems.engines import Engine, Linearised
from gridproblems.evaluation import AnyObjective, Evaluation, some_situations
from gridproblems.objectives import MODEL_SLOPES, SLOPES, Objective, Quantity
from gridproblems.state import FloatArray, GridState, ModelSlope, Settings

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_MAX_MOVED = 500_000  # movements of limited values that are found together
_MAX_SUMS, _MAX_WEIGHTS = 128, 8_000_000  # weighted sums of a power flow, and weights, together
_FEW = 0.2  # limits of a power flow over the settings that move


class Pieces(NamedTuple):
    """The situations of an objective that is the largest of them.

    Attributes:
        F: Value of each, shape (n, n_pieces); the objective is the largest.
        dF: Its slopes, shape (n, n_pieces, n_var); 0 where the power flow fails.
    """

    F: FloatArray
    dF: FloatArray


class Weighted(NamedTuple):
    """A weighted sum of objectives and limits of one vector, as a sum over some situations.

    Which situation and element decides a largest value is that of the vector.

    Attributes:
        rows: Situations that were solved together, of which these are some.
        linear: The linearised states of all of them.
        situation: Those with a weight, counted from the first of ``rows``, shape (n_flows,).
        weights: Of the values of their states, shape (n_flows, n_values).
        of_model: Quantities of the bus/branch model, and their weights, shape (n_flows,) each.
    """

    rows: slice
    linear: Linearised
    situation: IntArray
    weights: FloatArray
    of_model: tuple[tuple[Quantity, FloatArray], ...]


def has_slope(objective: AnyObjective) -> bool:
    """Whether it is known how a quantity moves with the state."""
    return isinstance(objective, Objective) and (
        objective.quantity in SLOPES or objective.quantity in MODEL_SLOPES
    )


class Between:
    """An engine whose tap changers may stand between whole positions."""

    def __init__(self, engine: Engine, linearise: Callable[[Settings], Linearised]) -> None:
        self.releases_gil, self._linearise = engine.releases_gil, linearise

    def check(self, settings: Settings) -> None:
        """Any settings."""

    def solve(self, settings: Settings) -> GridState:
        """The state of settings."""
        return self._linearise(settings).state


class LinearStates:
    """Linearised states of vectors in all situations, chunk by chunk.

    Args:
        evaluation: Of values between whole numbers, with every entry of the constraints.
        linearise: The engine's.
        limit_entries: Where the entries of each group of limits stand.
        X: Relaxed vectors, shape (n, n_var).
    """

    def __init__(
        self,
        evaluation: Evaluation,
        linearise: Callable[[Settings], Linearised],
        limit_entries: list[slice],
        X: FloatArray,
    ) -> None:
        self._e, self._linearise, self._X = evaluation, linearise, X
        self._limit_entries = limit_entries
        self._whole: tuple[slice, Settings, Linearised] | None = None
        if len(evaluation.chunks) == 1:
            self._whole = self._linearised(evaluation.chunks[0])

    def _linearised(self, rows: slice) -> tuple[slice, Settings, Linearised]:
        settings = self._e.joint.decode(self._X, rows)
        self._e.counts.add(power_flows=len(settings.rows))
        return rows, settings, self._linearise(settings)

    def _chunks(self) -> Iterator[tuple[slice, Settings, Linearised]]:
        """Situations that are solved together; kept where that is all, else solved again."""
        if self._whole is not None:
            yield self._whole
        else:
            for rows in self._e.chunks:
                yield self._linearised(rows)

    def values(self, counts: bool = True) -> tuple[FloatArray, FloatArray]:
        """Objectives, and every entry of the constraints; counts what fails."""
        if self._whole is None:
            return self._e(self._X)
        _, settings, linear = self._whole
        F, G = self._e.judge(self._X, settings, linear.state)
        if counts:
            self._e.counts.add(failed=int((G[:, 0] > 0.0).sum()))
        return F, G

    def add_slopes(
        self, solved: BoolArray, wanted: BoolArray, dF: FloatArray, dG: FloatArray
    ) -> tuple[BoolArray, BoolArray]:
        """Adds the slopes of what depends on states.

        Args:
            solved: Which vectors have values.
            wanted: Entries of the constraints whose slopes are asked for, shape (n, n_entries).
            dF, dG: Slopes of objectives and of every entry of the constraints, or of none.

        Returns:
            Which vectors have all their slopes, shape (n,), and variables whose effect on the
            state is not known, shape (n_var,).
        """
        e = self._e
        smooth = [
            (i, o) for i, o in enumerate(e.objectives) if isinstance(o, Objective) and has_slope(o)
        ]
        with_dG = dG.shape[1] > 0
        known, slopes, limits = self._weights(solved, [o for _, o in smooth], with_dG)
        lacking = np.zeros(self._X.shape[1], dtype=bool)
        which = solved & known
        for rows, settings, linear in self._chunks():
            moves, unknown = e.joint.slopes(self._X, rows)
            unknown[moves.variable[~linear.has_slope[moves.column]]] = True
            lacking |= unknown
            part = LinearPart(e, rows, settings, linear, moves, which)
            part.add_objectives(smooth, slopes, dF)
            for k, found in enumerate(limits):
                own = self._limit_entries[k]
                part.add_limits(found, wanted[:, own], dG[:, own])
        return known, lacking

    def pieces(self, objective: Objective) -> Pieces | None:
        """Values and slopes of all counted situations; None where they are not known.

        Args:
            objective: The largest of them.
        """
        e, (n, n_var) = self._e, self._X.shape
        assert self._whole is not None
        rows, settings, linear = self._whole
        state, counted = linear.state, e.situations.counted
        moves, unknown = e.joint.slopes(self._X, rows)
        unknown[moves.variable[~linear.has_slope[moves.column]]] = True
        solved = e.solves(state)
        good = state.converged & (state.n_unsupplied == 0)
        known = (linear.known.reshape(good.shape) | ~good).all(axis=1)
        if unknown.any() or not known[solved].all():
            return None
        of_counted = Settings(settings.fields, settings.values[:, counted])
        values = objective.quantity(of_counted, some_situations(state, counted))
        dF = np.zeros((n, len(counted), n_var))
        part = LinearPart(e, rows, settings, linear, moves, solved)
        part.add_pieces(objective, dF)
        return Pieces(objective.factor * values, dF)

    def weighted(self, of_F: FloatArray, of_entries: FloatArray) -> Iterator[Weighted]:
        """The sum of objectives and entries of the one vector, chunk by chunk.

        Args:
            of_F: Weights of the objectives, shape (n_obj,); those without slopes are left out.
            of_entries: Weights of every entry of the constraints, shape (n_entries,); those that
                are no limits of the grid are left out.
        """
        e = self._e
        smooth = [
            (weight, o)
            for weight, o in zip(of_F, e.objectives, strict=True)
            if weight != 0.0 and isinstance(o, Objective) and has_slope(o)
        ]
        solved = np.ones(1, dtype=bool)
        _, slopes, limits = self._weights(solved, [o for _, o in smooth], with_limits=True)
        for rows, settings, linear in self._chunks():
            state, n_rows = linear.state, rows.stop - rows.start
            here = _within(e.situations.counted, rows)
            at = np.searchsorted(e.situations.counted, here)
            there = here - rows.start
            of_counted = Settings(settings.fields, settings.values[:, there])
            counted = some_situations(state, there)
            weights = np.zeros((n_rows, state.values.shape[-1]))
            of_model: list[tuple[Quantity, FloatArray]] = []
            for (factor, objective), slope in zip(smooth, slopes, strict=True):
                each = factor * slope[0, at]
                if objective.quantity in SLOPES:
                    own = SLOPES[objective.quantity](of_counted, counted)[0]
                    weights[there] += own * each[:, np.newaxis]
                else:
                    whole = np.zeros(n_rows)
                    whole[there] = each
                    of_model.append((objective.quantity, whole))
            for entries, found in zip(self._limit_entries, limits, strict=True):
                snapshot, factor = found.snapshot[0], of_entries[entries] * found.factor[0]
                inside = (snapshot >= rows.start) & (snapshot < rows.stop) & found.moves[0]
                places = snapshot[inside] - rows.start, found.columns[0, inside]
                np.add.at(weights, places, factor[inside])
            counts = weights.any(axis=1)
            for _, whole in of_model:
                counts |= whole != 0.0
            own_rows = np.flatnonzero(counts)
            models = tuple((quantity, whole[own_rows]) for quantity, whole in of_model)
            yield Weighted(rows, linear, own_rows, weights[own_rows], models)

    def _weights(
        self, solved: BoolArray, objectives: list[Objective], with_limits: bool
    ) -> tuple[BoolArray, list[FloatArray], list[StateLimitSlopes]]:
        """Which vectors have linearised states, the weights of the counted situations in every
        objective, and the situations that decide every limit."""
        e, s, n = self._e, self._e.situations, len(self._X)
        known = np.ones(n, dtype=bool)
        values = [np.zeros((n, len(s.counted))) for _ in objectives]
        found: list[StateLimitSlopes | None] = [None] * len(e.limits)
        for rows, settings, linear in self._chunks():
            state = linear.state
            good = state.converged & (state.n_unsupplied == 0)
            known &= (linear.known.reshape(good.shape) | ~good).all(axis=1)
            here = _within(s.counted, rows)
            of_counted = Settings(settings.fields, settings.values[:, here - rows.start])
            counted = some_situations(state, here - rows.start)
            for own, objective in zip(values, objectives, strict=True):
                at = np.searchsorted(s.counted, here)
                own[:, at] = objective.quantity(of_counted, counted)
            for k, (_, limit) in enumerate(e.limits if with_limits else ()):
                own_rows = _within(e.limit_rows[k], rows)
                if len(own_rows):
                    if len(limit.chance) and len(e.chunks) > 1:
                        raise ValueError(
                            f"{limit.names[limit.chance[0]]}: a chance over more situations than "
                            "are solved together has no slopes here"
                        )
                    there = own_rows - rows.start
                    new = limit.slopes(some_situations(state, there), good[:, there])
                    new = new._replace(snapshot=own_rows[new.snapshot])
                    before = found[k]
                    found[k] = new if before is None else _worse(before, new)
        weights = [
            np.where(solved[:, np.newaxis], o.slope(v, s), 0.0)
            for o, v in zip(objectives, values, strict=True)
        ]
        return known, weights, [f for f in found if f is not None]


class LinearPart:
    """Slopes through the states of one chunk of situations.

    Args:
        evaluation: Of the problem.
        rows: The situations.
        settings, linear: Of all vectors in them.
        moves: How the settings move with the variables.
        which: Vectors whose slopes are added, shape (n,).
    """

    def __init__(
        self,
        evaluation: Evaluation,
        rows: slice,
        settings: Settings,
        linear: Linearised,
        moves: Slopes,
        which: BoolArray,
    ) -> None:
        self._e, self._rows, self._which = evaluation, rows, which
        self._settings, self._linear, self._moves = settings, linear, moves
        self._n_rows = rows.stop - rows.start

    def add_objectives(
        self, smooth: list[tuple[int, Objective]], weights: list[FloatArray], dF: FloatArray
    ) -> None:
        """Adds slopes of objectives, one backward solution per objective and power flow.

        Args:
            smooth: The objectives, with their places in F.
            weights: Of the counted situations in each, shape (n, n_counted).
            dF: Slopes, shape (n, n_obj, n_var).
        """
        here = _within(self._e.situations.counted, self._rows)
        if not smooth or not len(here):
            return
        at = np.searchsorted(self._e.situations.counted, here)
        weight = np.stack([own[:, at] for own in weights], axis=2)  # (n, n_here, n_smooth)
        vector, place = np.nonzero((weight != 0.0).any(axis=2) & self._which[:, np.newaxis])
        rows, by_settings = self._backward(
            [o for _, o in smooth], weight[vector, place], vector, here[place] - self._rows.start
        )
        places = np.array([i for i, _ in smooth])
        chain_backward(by_settings, rows, vector, places, *self._moves, dF)

    def add_pieces(self, objective: Objective, dF: FloatArray) -> None:
        """Adds slopes of every counted situation of an objective.

        Args:
            objective: The largest of them.
            dF: Slopes, shape (n, n_counted, n_var).
        """
        counted = self._e.situations.counted
        vector, place = np.nonzero(np.repeat(self._which[:, np.newaxis], len(counted), axis=1))
        weight = np.full((len(vector), 1), objective.factor)
        situation = counted[place] - self._rows.start
        rows, by_settings = self._backward([objective], weight, vector, situation)
        each = dF.reshape(-1, 1, dF.shape[-1])
        own = vector * len(counted) + place
        chain_backward(by_settings, rows, own, np.zeros(1, np.int64), *self._moves, each)

    def _backward(
        self,
        objectives: list[Objective],
        weight: FloatArray,
        vector: IntArray,
        situation: IntArray,
    ) -> tuple[IntArray, FloatArray]:
        """Slopes of weighted objectives by the settings in some power flows.

        Args:
            objectives: Their quantities.
            weight: Shape (n_flows, n_objectives).
            vector, situation: Which power flows, situations of the chunk.

        Returns:
            Where these stand in the batch, and the slopes, (n_flows, n_objectives, n_values).
        """
        rows = vector * self._n_rows + situation
        settings = Settings(self._settings.fields, self._settings.values[vector, situation])
        state = _some_rows(self._linear.state, rows)
        slopes = np.zeros((len(rows), len(objectives), state.values.shape[-1]))
        of_model: dict[int, list[ModelSlope]] = {}
        for k, objective in enumerate(objectives):
            quantity = objective.quantity
            if quantity in SLOPES:
                slopes[:, k] = SLOPES[quantity](settings, state) * weight[:, k, np.newaxis]
            else:
                of_model[k] = [
                    MODEL_SLOPES[quantity](self._linear.state.bus_branch(int(row))) * factor
                    for row, factor in zip(rows, weight[:, k], strict=True)
                ]
        return rows, self._linear.adjoint(rows, slopes, of_model)

    def add_limits(self, limits: StateLimitSlopes, asked: BoolArray, dG: FloatArray) -> None:
        """Adds slopes of limits.

        By one forward solution per setting that moves and power flow, or by one backward solution
        per entry where these are few.

        Args:
            limits: The situations that decide the entries.
            asked: Which of these entries, shape (n, n_entries).
            dG: Their slopes, shape (n, n_entries, n_var).
        """
        inside = (limits.snapshot >= self._rows.start) & (limits.snapshot < self._rows.stop)
        vector, entry = np.nonzero(inside & limits.moves & asked & self._which[:, np.newaxis])
        if not len(entry):
            return
        flow = vector * self._n_rows + limits.snapshot[vector, entry] - self._rows.start
        n_entries, columns = np.bincount(flow), np.unique(self._moves.column)
        is_few = n_entries[flow] <= _FEW * len(columns)
        for is_backward in (False, True):
            some = np.flatnonzero(is_few == is_backward)
            some = some[np.argsort(flow[some], kind="stable")]
            add = self._add_backward if is_backward else self._add_forward
            if len(some):
                add(limits, vector[some], entry[some], flow[some], columns, dG)

    def _add_forward(
        self,
        limits: StateLimitSlopes,
        vector: IntArray,
        entry: IntArray,
        flow: IntArray,
        columns: IntArray,
        dG: FloatArray,
    ) -> None:
        """Adds slopes of limits, ordered by power flow, by forward solutions."""
        rows, first = np.unique(flow, return_index=True)
        wanted, place = np.unique(limits.columns[vector, entry], return_inverse=True)
        first = np.append(first, len(flow))
        column = np.searchsorted(columns, self._moves.column)
        factor = limits.factor[vector, entry]
        n_together = max(1, _MAX_MOVED // max(1, len(columns) * len(wanted)))
        n_together = max(8, n_together // 8 * 8)  # engines solve eight at a time
        for at in range(0, len(rows), n_together):  # few, so that they stay near the processor
            own = rows[at : at + n_together]
            moved = self._linear.forward(own, columns, wanted)
            ends = first[at : at + n_together + 1]
            of_entries = (vector, entry, place, factor, column)
            _chain_forward(moved, own, ends, *of_entries, *self._moves_by_flow, dG)

    def _add_backward(
        self,
        limits: StateLimitSlopes,
        vector: IntArray,
        entry: IntArray,
        flow: IntArray,
        columns: IntArray,
        dG: FloatArray,
    ) -> None:
        """Adds slopes of limits, ordered by power flow, by backward solutions."""
        n_values = self._linear.state.values.shape[-1]
        place = np.arange(len(flow)) - np.searchsorted(flow, flow)
        for at in range(0, int(place.max()) + 1, _MAX_SUMS):
            some = np.flatnonzero((place >= at) & (place < at + _MAX_SUMS))
            rows, first = np.unique(flow[some], return_index=True)
            first = np.append(first, len(some))
            n_sums = int(np.diff(first).max())
            n_together = max(8, _MAX_WEIGHTS // (n_sums * n_values) // 8 * 8)
            for begin in range(0, len(rows), n_together):
                own, ends = rows[begin : begin + n_together], first[begin : begin + n_together + 1]
                here = some[ends[0] : ends[-1]]
                weights = np.zeros((len(own), n_sums, n_values))
                of_row = np.searchsorted(own, flow[here])
                weights[of_row, place[here] - at, limits.columns[vector[here], entry[here]]] = (
                    limits.factor[vector[here], entry[here]]
                )
                by_settings = self._linear.adjoint(own, weights)
                of_entries = (vector[here], entry[here], place[here] - at, np.ones(len(here)))
                ends = ends - ends[0]
                _chain_forward(
                    by_settings,
                    own,
                    ends,
                    *of_entries,
                    self._moves.column,
                    *self._moves_by_flow,
                    dG,
                )

    @property
    def _moves_by_flow(self) -> tuple[IntArray, IntArray, FloatArray]:
        return self._moves.start, self._moves.variable, self._moves.slope


def _within(situations: IntArray, rows: slice) -> IntArray:
    """Those of some situations that are in a chunk."""
    return situations[(situations >= rows.start) & (situations < rows.stop)]


def _worse(one: StateLimitSlopes, other: StateLimitSlopes) -> StateLimitSlopes:
    """Of every entry the situation that decides it, of two chunks."""
    is_worse = other.values > one.values
    return one._replace(
        values=np.where(is_worse, other.values, one.values),
        snapshot=np.where(is_worse, other.snapshot, one.snapshot),
        moves=np.where(is_worse, other.moves, one.moves),
    )


def _some_rows(state: GridState, rows: IntArray) -> GridState:
    """Some power flows of a batch as one candidate."""
    n_values = state.values.shape[-1]
    return GridState(
        state.layout,
        state.values.reshape(-1, n_values)[rows],
        state.converged.ravel()[rows],
        state.n_unsupplied.ravel()[rows],
    )


@compiled
def chain_backward(  # type: ignore[no-untyped-def]
    by_settings, rows, vector, places, start, column, variable, slope, dF
):
    """Adds slopes by settings times slopes of settings, ``dF += by_settings @ moves``."""
    for r in range(len(rows)):
        for entry in range(start[rows[r]], start[rows[r] + 1]):
            for k in range(len(places)):
                moved = by_settings[r, k, column[entry]] * slope[entry]
                dF[vector[r], places[k], variable[entry]] += moved


@compiled
def _chain_forward(  # type: ignore[no-untyped-def]
    moved, rows, first, vector, entry, place, factor, column, start, variable, slope, dG
):
    """Adds movements of limited values by settings times slopes of settings.

    Entries of the constraints are ordered by power flow; those of power flow ``rows[r]`` are
    ``first[r]`` to ``first[r + 1]``.
    """
    for r in range(len(rows)):
        begin, end = start[rows[r]], start[rows[r] + 1]
        in_a_row = True
        for e in range(begin + 1, end):
            if variable[e] != variable[e - 1] + 1 or column[e] != column[e - 1] + 1:
                in_a_row = False
                break
        for k in range(first[r], first[r + 1]):
            row, own, by = dG[vector[k], entry[k]], moved[r, place[k]], factor[k]
            if in_a_row and end > begin:
                n, v, c = end - begin, variable[begin], column[begin]
                _add_products(row[v : v + n], by, own[c : c + n], slope[begin:end])
            else:
                for e in range(begin, end):
                    row[variable[e]] += by * own[column[e]] * slope[e]


@compiled
def _add_products(found, factor, moved, slope):  # type: ignore[no-untyped-def]
    """``found += factor * moved * slope``."""
    for i in range(len(found)):
        found[i] += factor * moved[i] * slope[i]
