"""Gradients of objectives and constraints by the variables, through the power flow.

The chain has four links, each where it belongs: how settings move with ``x`` (`Block.moves`), how
the state moves with settings (an engine's ``linearise``), how quantities move with the state
(`objectives.SLOPES`, `StateLimits.slopes`) and how reductions move with the situations
(`Objective.slope`). What one of them does not know, differences of power flows tell.

Whole numbers count as real between whole values where the grid has a meaning there (tap positions,
steps of shunts); buses, choices and statuses have slopes of 0. Nothing is repaired: charge limits
of storages are constraints here. At kinks the slope is that of one side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gridproblems._compile import compiled
from gridproblems.constraints import StateLimitSlopes
from gridproblems.controls.joint import Slopes
from gridproblems.engines import Engine, Linearised
from gridproblems.evaluation import (
    FAILED_G,
    MAX_TOGETHER,
    AnyObjective,
    Evaluation,
    OfBlocks,
    some_situations,
)
from gridproblems.objectives import MODEL_SLOPES, SLOPES, Objective
from gridproblems.state import FloatArray, GridState, ModelSlope, Settings

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Steps of differences, as shares of a variable's range.
DIFFERENCE = 1e-4
#: Situations of which all pieces of an objective are found.
MAX_PIECES = 1_000
_MAX_MOVED = 500_000  # movements of limited values that are found together


class Gradient(NamedTuple):
    """Values and slopes of n vectors.

    Attributes:
        F: Objectives, shape (n, n_obj).
        G: Constraints, shape (n, n_ieq).
        dF: Slopes of the objectives, shape (n, n_obj, n_var); 0 where the power flow fails.
        dG: Slopes of the constraints, shape (n, n_ieq, n_var), likewise.
    """

    F: FloatArray
    G: FloatArray
    dF: FloatArray
    dG: FloatArray


class Pieces(NamedTuple):
    """The situations of an objective that is the largest of them.

    Attributes:
        F: Value of each, shape (n, n_pieces); the objective is the largest.
        dF: Its slopes, shape (n, n_pieces, n_var); 0 where the power flow fails.
    """

    F: FloatArray
    dF: FloatArray


class Gradients:
    """Values and slopes of relaxed vectors (`Joint.relaxed`).

    Args:
        evaluation: Everything between a vector and its values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._e = evaluation
        self._linearise: Callable[[Settings], Linearised] | None = getattr(
            evaluation.engine, "linearise", None
        )
        self._of_state_F = np.array([not isinstance(o, OfBlocks) for o in evaluation.objectives])
        #: Where the entries of each group of limits stand, and those of each further constraint.
        self._limit_entries: list[slice] = []
        self._grid_entries: list[slice] = []
        self._block_entries: list[slice] = []
        at = 1
        for group, limit in evaluation.limits:
            at += bool(group)
            self._limit_entries.append(slice(at, at := at + len(limit.names)))
        for constraint in evaluation.constraints:
            self._grid_entries.append(slice(at, at := at + len(constraint.names)))
        for own, _ in evaluation.of_blocks:
            self._block_entries.append(slice(at, at := at + len(own.names)))
        self._n_entries = at
        #: Values between whole numbers, with every entry of the constraints.
        self._values = copy.copy(evaluation)
        self._values.aggregate = False
        self._values.constraint_names = ("power_flow", *evaluation.entries.names)
        if self._linearise is not None:
            self._values.engine = _Between(evaluation.engine, self._linearise)

    @property
    def is_exact(self) -> bool:
        """Whether no objective or constraint of any vector needs differences of power flows."""
        objectives, entries = self._rough()
        return self._linearise is not None and not objectives.any() and not entries.any()

    def __call__(
        self, X: FloatArray, *, with_dG: bool = True, near: float | None = None
    ) -> Gradient:
        """Of relaxed vectors, shape (n, n_var).

        Args:
            X: The vectors.
            with_dG: Whether slopes of constraints are asked for, which cost one solution per
                setting that moves; without, ``dG`` has no rows.
            near: Find slopes of those limits of the grid only that are violated or as near as
                this to be; those of others are then 0. None for all.
        """
        n_together = self._n_together
        chunks = [X[i : i + n_together] for i in range(0, len(X), n_together)]
        parts = [self._some(chunk, self._states(chunk), with_dG, near) for chunk in chunks]
        if len(parts) == 1:
            return parts[0]
        F, G, dF, dG = map(np.concatenate, zip(*parts, strict=True))
        return Gradient(F, G, dF, dG)

    def pieces(self, X: FloatArray) -> Pieces | None:
        """Every situation's value and slopes of the one objective that is the largest of them.

        Args:
            X: Relaxed vectors, shape (n, n_var).

        Returns:
            None where the problem has several objectives or its objective is something else, where
            slopes are not known, or with more than `MAX_PIECES` situations.
        """
        objective = self._largest()
        states = None if objective is None else self._states(X)
        return None if objective is None or states is None else states.pieces(objective)

    def with_pieces(self, X: FloatArray, *, with_dG: bool) -> tuple[Gradient, Pieces | None]:
        """What a call and `pieces` give, from the same states where they are solved together."""
        objective = self._largest()
        if objective is None or len(X) > self._n_together:
            return self(X, with_dG=with_dG), self.pieces(X)
        states = self._states(X)
        found = self._some(X, states, with_dG, None)
        return found, None if states is None else states.pieces(objective)

    @property
    def _n_together(self) -> int:
        """Number of vectors that are solved together."""
        return max(1, MAX_TOGETHER // self._e.situations.n)

    def _largest(self) -> Objective | None:
        """The objective, where it is a single one that is the largest of not too many situations
        with slopes."""
        e = self._e
        objective = e.objectives[0]
        if (
            len(e.objectives) > 1
            or not isinstance(objective, Objective)
            or not _has_slope(objective)
            or not objective.is_largest_of(e.situations)
            or not 1 < len(e.situations.counted) <= MAX_PIECES
            or len(e.chunks) > 1
        ):
            return None
        return objective

    def values(self, X: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Objectives and constraints of relaxed vectors alone, without slopes."""
        F, entries = self._values(X)
        return F, self._constraints(entries)

    def _constraints(self, entries: FloatArray) -> FloatArray:
        """Constraints of all their entries: aggregated where the problem does so."""
        if not self._e.aggregate:
            return entries
        G = np.concatenate([entries[:, :1], self._e.aggregated(entries[:, 1:])], axis=1)
        failed = entries[:, 0] > 0.0
        G[failed] = FAILED_G
        G[failed, 0] = entries[failed, 0]
        return G

    def _some(
        self, X: FloatArray, states: _States | None, with_dG: bool, near: float | None
    ) -> Gradient:
        e, n, n_var = self._e, len(X), X.shape[1]
        F, entries = self._values(X) if states is None else states.values()
        solved = entries[:, 0] <= 0.0
        n_entries = self._n_entries if with_dG else 0
        dF, dG = np.zeros((n, F.shape[1], n_var)), np.zeros((n, n_entries, n_var))
        self._of_settings(X, dF, dG, with_dG)
        rough = self._rough()
        if states is None:
            known, rough_variables = ~solved, np.ones(n_var, dtype=bool)
        else:
            wanted = entries >= -np.inf if near is None else entries >= -near
            known, rough_variables = states.add_slopes(solved, wanted, dF, dG)
        self._add_differences(X, solved, known, rough, rough_variables, dF, dG)
        if not solved.all():
            dF[~solved] = dG[~solved] = 0.0
        if e.aggregate and with_dG:
            dG = self._aggregated(entries, dG)
        return Gradient(F, self._constraints(entries), dF, dG)

    def _states(self, X: FloatArray) -> _States | None:
        """The linearised states of vectors, None for engines that have none."""
        if self._linearise is None:
            return None
        return _States(self._values, self._linearise, self._limit_entries, X)

    def _rough(self) -> tuple[BoolArray, BoolArray]:
        """Objectives and entries that only differences of power flows tell."""
        objectives = [not isinstance(o, OfBlocks) and not _has_slope(o) for o in self._e.objectives]
        entries = np.zeros(self._n_entries, dtype=bool)
        for part, constraint in zip(self._grid_entries, self._e.constraints, strict=True):
            entries[part] = not getattr(constraint, "is_stepwise", False)
        return np.array(objectives), entries

    def _of_settings(self, X: FloatArray, dF: FloatArray, dG: FloatArray, with_dG: bool) -> None:
        """Slopes of objectives and constraints of settings alone, put in place."""
        e = self._e
        for i, objective in enumerate(e.objectives):
            if isinstance(objective, OfBlocks):
                for own, part in objective.parts:
                    dF[:, i, part] += self._own_slopes(own, X, part)
        if not with_dG:
            return
        for rows, (constraint, part) in zip(self._block_entries, e.of_blocks, strict=True):
            dG[:, rows, part] = self._own_slopes(constraint, X, part)

    def _own_slopes(self, own: Any, X: FloatArray, part: slice) -> FloatArray:
        """Slopes of an objective or constraint of one block, by the entries of the block.

        Returns:
            Shape (n, n_own) or (n, n_entries, n_own).
        """
        x = X[:, part]
        (block,) = (p.block for p in self._e.joint.placed if p.part == part and p.block.variables)
        if own.slopes is not None and not block.is_stepwise:
            slopes: FloatArray = own.slopes(x)
            return slopes
        shape = own.function(x).shape
        found = np.zeros((*shape, x.shape[1]))
        if block.is_stepwise:
            return found
        low, high = self._e.joint.xl[part], self._e.joint.xu[part]
        for v in np.flatnonzero(block.counts_as_real):
            below, above = x.copy(), x.copy()
            below[:, v] = np.maximum(x[:, v] - DIFFERENCE * (high[v] - low[v]), low[v])
            above[:, v] = np.minimum(x[:, v] + DIFFERENCE * (high[v] - low[v]), high[v])
            step = (above[:, v] - below[:, v]).reshape(-1, *(1,) * (len(shape) - 1))
            change = own.function(above) - own.function(below)
            np.divide(change, step, out=found[..., v], where=step > 0)
        return found

    # -- differences -----------------------------------------------------------------------

    def _add_differences(
        self,
        X: FloatArray,
        solved: BoolArray,
        known: BoolArray,
        rough: tuple[BoolArray, BoolArray],
        rough_variables: BoolArray,
        dF: FloatArray,
        dG: FloatArray,
    ) -> None:
        """Slopes that nothing else tells, put in place.

        Args:
            X: Relaxed vectors.
            solved: Which of them have values.
            known: Of which the state's slopes are known.
            rough: Objectives and entries that differences tell for all variables.
            rough_variables: Variables by which differences tell all slopes of the state.
            dF, dG: Slopes.
        """
        of_state_G = np.ones(self._n_entries, dtype=bool)
        for part in self._block_entries:
            of_state_G[part] = False
        of_state_G[0] = False
        with_dG = dG.shape[1] > 0
        of_state_G &= with_dG
        everything = np.ones(X.shape[1], dtype=bool)
        jobs = [
            (solved & ~known, self._of_state_F, of_state_G, everything),
            (solved & known, rough[0], rough[1] & with_dG, everything),
            (solved & known, self._of_state_F, of_state_G, rough_variables),
        ]
        for which, objectives, entries, variables in jobs:
            own = np.flatnonzero(which)
            if not (len(own) and variables.any() and (objectives.any() or entries.any())):
                continue
            moved = np.flatnonzero(variables & self._can_move())
            if len(moved):
                by_F, by_G = self._differences(X[own], moved)
                f, g = np.flatnonzero(objectives), np.flatnonzero(entries)
                dF[np.ix_(own, f, moved)] = by_F[:, f]
                if with_dG:
                    dG[np.ix_(own, g, moved)] = by_G[:, g]

    def _can_move(self) -> BoolArray:
        """Variables that differences are taken by."""
        joint = self._e.joint
        can_move: BoolArray = joint.counts_as_real | joint.counts_in_steps
        return can_move

    def _differences(self, X: FloatArray, variables: IntArray) -> tuple[FloatArray, FloatArray]:
        """Slopes by some variables from power flows on both sides, all in one batch.

        Within bounds; where the power flow of a side fails, from the other side alone.

        Returns:
            Of the objectives, shape (n, n_obj, n_moved), and the entries, (n, n_entries, n_moved).
        """
        joint = self._e.joint
        n, m = len(X), len(variables)
        real = joint.counts_as_real[variables]
        step = np.where(real, DIFFERENCE * (joint.xu - joint.xl)[variables], 1.0)
        sides = np.repeat(X[:, np.newaxis, np.newaxis], 3, axis=1).repeat(m, axis=2)
        each = np.arange(m)
        for k, sign in enumerate((-1.0, 0.0, 1.0)):
            moved = X[:, variables] + sign * step
            bounds = joint.xl[variables], joint.xu[variables]
            sides[:, k, each, variables] = np.clip(moved, *bounds)
        F, G = self._values(joint.relaxed(sides.reshape(-1, X.shape[1])))
        failed = (G[:, 0] > 0.0).reshape(n, 3, m)
        at = sides[:, :, each, variables]
        first, last = np.where(failed[:, 0], 1, 0), np.where(failed[:, 2], 1, 2)
        found = []
        for values in (F, G):
            values = np.moveaxis(values.reshape(n, 3, m, -1), -1, 1)
            ends = [_taken(values, k[:, np.newaxis]) for k in (first, last)]
            length = _taken(at, last) - _taken(at, first)
            slope = np.zeros(ends[0].shape)
            np.divide(
                ends[1] - ends[0], length[:, np.newaxis], out=slope, where=length[:, np.newaxis] > 0
            )
            found.append(slope)
        return found[0], found[1]

    def _aggregated(self, entries: FloatArray, dG: FloatArray) -> FloatArray:
        """Slopes of `Evaluation.aggregated`."""
        kind_of_entry = self._e.kind_of_entry
        parts = [dG[:, :1]]
        for kind in range(kind_of_entry.max(initial=-1) + 1):
            own = 1 + np.flatnonzero(kind_of_entry == kind)
            values = entries[:, own]
            violated = values > 0.0
            worst = np.zeros(values.shape, dtype=bool)
            np.put_along_axis(worst, values.argmax(axis=1)[:, np.newaxis], True, axis=1)
            counts = np.where(violated.any(axis=1, keepdims=True), violated, worst)
            parts.append(np.einsum("nk,nkv->nv", counts, dG[:, own])[:, np.newaxis])
        return np.concatenate(parts, axis=1)


def _taken(values: FloatArray, which: IntArray) -> FloatArray:
    """One of three values along the last axis but one."""
    taken = np.take_along_axis(values, which[..., np.newaxis, :], axis=-2)
    side: FloatArray = taken[..., 0, :]
    return side


class _Between:
    """An engine whose tap changers may stand between whole positions."""

    def __init__(self, engine: Engine, linearise: Callable[[Settings], Linearised]) -> None:
        self.releases_gil, self._linearise = engine.releases_gil, linearise

    def check(self, settings: Settings) -> None:
        """Any settings."""

    def solve(self, settings: Settings) -> GridState:
        """The state of settings."""
        return self._linearise(settings).state


class _States:
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

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Objectives, and every entry of the constraints."""
        if self._whole is None:
            return self._e(self._X)
        _, settings, linear = self._whole
        F, G = self._e.judge(self._X, settings, linear.state)
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
            (i, o) for i, o in enumerate(e.objectives) if isinstance(o, Objective) and _has_slope(o)
        ]
        with_dG = dG.shape[1] > 0
        known, slopes, limits = self._weights(solved, [o for _, o in smooth], with_dG)
        lacking = np.zeros(self._X.shape[1], dtype=bool)
        which = solved & known
        for rows, settings, linear in self._chunks():
            moves, unknown = e.joint.slopes(self._X, rows)
            unknown[moves.variable[~linear.has_slope[moves.column]]] = True
            lacking |= unknown
            part = _Part(e, rows, settings, linear, moves, which)
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
        part = _Part(e, rows, settings, linear, moves, solved)
        part.add_pieces(objective, dF)
        return Pieces(objective.factor * values, dF)

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


class _Part:
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
        _chain_backward(by_settings, rows, vector, places, *self._moves, dF)

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
        _chain_backward(by_settings, rows, own, np.zeros(1, np.int64), *self._moves, each)

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
        """Adds slopes of limits, one forward solution per setting that moves and power flow.

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
        order = np.argsort(flow, kind="stable")
        vector, entry, flow = vector[order], entry[order], flow[order]
        rows, first = np.unique(flow, return_index=True)
        columns = np.unique(self._moves.column)
        wanted, place = np.unique(limits.columns[entry], return_inverse=True)
        first = np.append(first, len(flow))
        column = np.searchsorted(columns, self._moves.column)
        factor = limits.factor[entry]
        n_together = max(1, _MAX_MOVED // max(1, len(columns) * len(wanted)))
        n_together = max(8, n_together // 8 * 8)  # engines solve eight at a time
        for at in range(0, len(rows), n_together):  # few, so that they stay near the processor
            own = rows[at : at + n_together]
            moved = self._linear.forward(own, columns, wanted)
            _chain_forward(
                moved,
                own,
                first[at : at + n_together + 1],
                vector,
                entry,
                place,
                factor,
                column,
                self._moves.start,
                self._moves.variable,
                self._moves.slope,
                dG,
            )


def _has_slope(objective: AnyObjective) -> bool:
    """Whether it is known how a quantity moves with the state."""
    return isinstance(objective, Objective) and (
        objective.quantity in SLOPES or objective.quantity in MODEL_SLOPES
    )


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
def _chain_backward(  # type: ignore[no-untyped-def]
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
