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

from gridproblems.engines import Linearised
from gridproblems.evaluation import FAILED_G, MAX_TOGETHER, Evaluation, OfBlocks
from gridproblems.linear_states import Between, LinearStates, Pieces, has_slope
from gridproblems.objectives import Objective
from gridproblems.state import FloatArray, Settings

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Steps of differences, as shares of a variable's range.
DIFFERENCE = 1e-4
#: Situations of which all pieces of an objective are found.
MAX_PIECES = 1_000


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


class Gradients:
    """Values and slopes of relaxed vectors (`Joint.relaxed`).

    Args:
        evaluation: Everything between a vector and its values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        #: Gets the linearised states of vectors as they are found, None for nobody.
        self.keep: Callable[[LinearStates], None] | None = None
        self._linearise: Callable[[Settings], Linearised] | None = getattr(
            evaluation.engine, "linearise", None
        )
        self._of_state_F = np.array([not isinstance(o, OfBlocks) for o in evaluation.objectives])
        #: Where the entries of each group of limits stand, and those of each further constraint.
        self.limit_entries: list[slice] = []
        self.grid_entries: list[slice] = []
        self.block_entries: list[slice] = []
        at = 1
        for group, limit in evaluation.limits:
            at += bool(group)
            self.limit_entries.append(slice(at, at := at + len(limit.names)))
        for constraint in evaluation.constraints:
            self.grid_entries.append(slice(at, at := at + len(constraint.names)))
        for own, _ in evaluation.of_blocks:
            self.block_entries.append(slice(at, at := at + len(own.names)))
        self._n_entries = at
        #: Values between whole numbers, with every entry of the constraints.
        self._values = copy.copy(evaluation)
        self._values.aggregate = False
        self._values.constraint_names = ("power_flow", *evaluation.entries.names)
        if self._linearise is not None:
            self._values.engine = Between(evaluation.engine, self._linearise)

    @property
    def is_exact(self) -> bool:
        """Whether no objective or constraint of any vector needs differences of power flows."""
        objectives, entries = self.rough()
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
        parts = [self._some(chunk, self.states(chunk), with_dG, near) for chunk in chunks]
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
        states = None if objective is None else self.states(X)
        return None if objective is None or states is None else states.pieces(objective)

    def with_pieces(
        self, X: FloatArray, *, with_dG: bool, near: float | None = None
    ) -> tuple[Gradient, Pieces | None]:
        """What a call and `pieces` give, from the same states where they are solved together."""
        objective = self._largest()
        if objective is None or len(X) > self._n_together:
            return self(X, with_dG=with_dG, near=near), self.pieces(X)
        states = self.states(X)
        found = self._some(X, states, with_dG, near)
        return found, None if states is None else states.pieces(objective)

    @property
    def _n_together(self) -> int:
        """Number of vectors that are solved together."""
        return max(1, MAX_TOGETHER // self.evaluation.situations.n)

    def _largest(self) -> Objective | None:
        """The objective, where it is a single one that is the largest of not too many situations
        with slopes."""
        e = self.evaluation
        objective = e.objectives[0]
        if (
            len(e.objectives) > 1
            or not isinstance(objective, Objective)
            or not has_slope(objective)
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
        if not self.evaluation.aggregate:
            return entries
        G = np.concatenate([entries[:, :1], self.evaluation.aggregated(entries[:, 1:])], axis=1)
        failed = entries[:, 0] > 0.0
        G[failed] = FAILED_G
        G[failed, 0] = entries[failed, 0]
        return G

    def _some(
        self, X: FloatArray, states: LinearStates | None, with_dG: bool, near: float | None
    ) -> Gradient:
        e, n, n_var = self.evaluation, len(X), X.shape[1]
        F, entries = self._values(X) if states is None else states.values()
        solved = entries[:, 0] <= 0.0
        n_entries = self._n_entries if with_dG else 0
        dF, dG = np.zeros((n, F.shape[1], n_var)), np.zeros((n, n_entries, n_var))
        self._of_settings(X, dF, dG, with_dG)
        rough = self.rough()
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

    def linearised(self, settings: Settings, counts: bool = True) -> Linearised:
        """The linearised states of settings, of an engine that has them; counts power flows."""
        assert self._linearise is not None
        if counts:
            self.evaluation.counts.add(power_flows=len(settings.rows))
        return self._linearise(settings)

    def states(self, X: FloatArray) -> LinearStates | None:
        """The linearised states of vectors, None for engines that have none."""
        if self._linearise is None:
            return None
        states = LinearStates(self._values, self._linearise, self.limit_entries, X)
        if self.keep is not None:
            self.keep(states)
        return states

    def rough(self) -> tuple[BoolArray, BoolArray]:
        """Objectives and entries that only differences of power flows tell."""
        objectives = [
            not isinstance(o, OfBlocks) and not has_slope(o) for o in self.evaluation.objectives
        ]
        entries = np.zeros(self._n_entries, dtype=bool)
        for part, constraint in zip(self.grid_entries, self.evaluation.constraints, strict=True):
            entries[part] = not getattr(constraint, "is_stepwise", False)
        return np.array(objectives), entries

    def _of_settings(self, X: FloatArray, dF: FloatArray, dG: FloatArray, with_dG: bool) -> None:
        """Slopes of objectives and constraints of settings alone, put in place."""
        e = self.evaluation
        for i, objective in enumerate(e.objectives):
            if isinstance(objective, OfBlocks):
                for own, part in objective.parts:
                    dF[:, i, part] += self.own_slopes(own, X, part)
        if not with_dG:
            return
        for rows, (constraint, part) in zip(self.block_entries, e.of_blocks, strict=True):
            dG[:, rows, part] = self.own_slopes(constraint, X, part)

    def own_slopes(self, own: Any, X: FloatArray, part: slice) -> FloatArray:
        """Slopes of an objective or constraint of one block, by the entries of the block.

        Returns:
            Shape (n, n_own) or (n, n_entries, n_own).
        """
        x = X[:, part]
        (block,) = (
            p.block for p in self.evaluation.joint.placed if p.part == part and p.block.variables
        )
        if own.slopes is not None and not block.is_stepwise:
            slopes: FloatArray = own.slopes(x)
            return slopes
        shape = own.function(x).shape
        found = np.zeros((*shape, x.shape[1]))
        if block.is_stepwise:
            return found
        low, high = self.evaluation.joint.xl[part], self.evaluation.joint.xu[part]
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
        for part in self.block_entries:
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
        joint = self.evaluation.joint
        can_move: BoolArray = joint.counts_as_real | joint.counts_in_steps
        return can_move

    def _differences(self, X: FloatArray, variables: IntArray) -> tuple[FloatArray, FloatArray]:
        """Slopes by some variables from power flows on both sides, all in one batch.

        Within bounds; where the power flow of a side fails, from the other side alone.

        Returns:
            Of the objectives, shape (n, n_obj, n_moved), and the entries, (n, n_entries, n_moved).
        """
        joint = self.evaluation.joint
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
        parts = [dG[:, :1]]
        for own, counts in self._counting(entries):
            parts.append(np.einsum("nk,nkv->nv", counts, dG[:, own])[:, np.newaxis])
        return np.concatenate(parts, axis=1)

    def _counting(self, entries: FloatArray) -> Iterator[tuple[IntArray, BoolArray]]:
        """Of every kind of constraints its entries, and which of them make the aggregated value:
        all that are violated, or the worst, shape (n, n_own)."""
        kind_of_entry = self.evaluation.kind_of_entry
        for kind in range(kind_of_entry.max(initial=-1) + 1):
            own = 1 + np.flatnonzero(kind_of_entry == kind)
            values = entries[:, own]
            violated = values > 0.0
            worst = np.zeros(values.shape, dtype=bool)
            np.put_along_axis(worst, values.argmax(axis=1)[:, np.newaxis], True, axis=1)
            yield own, np.where(violated.any(axis=1, keepdims=True), violated, worst)

    def of_entries(self, entries: FloatArray, of_G: FloatArray) -> FloatArray:
        """Weights of every entry of the constraints, of those of G, shape (n_entries,).

        Args:
            entries: Values of every entry at the vector, shape (1, n_entries).
            of_G: Shape (n_ieq,).
        """
        if not self.evaluation.aggregate:
            return of_G
        found = np.zeros(entries.shape[1])
        for weight, (own, counts) in zip(of_G[1:], self._counting(entries), strict=True):
            found[own] = weight * counts[0]
        return found


def _taken(values: FloatArray, which: IntArray) -> FloatArray:
    """One of three values along the last axis but one."""
    taken = np.take_along_axis(values, which[..., np.newaxis, :], axis=-2)
    side: FloatArray = taken[..., 0, :]
    return side
