"""Second derivatives of weighted sums of objectives and constraints, as of a Lagrangian.

Every objective and limit is, in the situation and at the element that decide it, a value of one
state, and keeps its weight there: kinks between situations or elements have no curvature. What
remains are second derivatives of weighted sums of states (`Linearised.curvature`), chained with how
settings move with vectors. For quantities of the bus/branch model (`MODEL_SLOPES`) they are central
differences of exact slopes instead, all power flows in one batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from gridproblems.engines import Linearised
from gridproblems.errors import UnsupportedByEngine
from gridproblems.evaluation import MAX_TOGETHER, Evaluation, OfBlocks
from gridproblems.gradients import DIFFERENCE, Gradients
from gridproblems.linear_states import LinearStates, Weighted, chain_backward
from gridproblems.objectives import MODEL_SLOPES, Objective
from gridproblems.state import FloatArray, ModelSlope, Settings

#: Points that differences are taken of, in steps, the vector itself last, and what each counts,
#: over the step: in the middle of a range, at its lower end (1) and at its upper (-1).
POINTS = {
    0: ((-1.0, 1.0, 0.0), (-0.5, 0.5, 0.0)),
    1: ((1.0, 2.0, 0.0), (2.0, -0.5, -1.5)),
    -1: ((-1.0, -2.0, 0.0), (-2.0, 0.5, 1.5)),
}
_MAX_CURVATURES = 20_000_000  # of all power flows at a time
_MAX_WEIGHTS = 20_000_000  # of all power flows that are solved together
ALIKE = 1e-2  # relative difference of curvatures on one side of a kink


class Hessians:
    """Hessians at relaxed vectors (`Joint.relaxed`).

    Args:
        evaluation: Everything between a vector and its values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._e, self._gradients = evaluation, Gradients(evaluation)

    def is_exact(self, x: FloatArray) -> bool:
        """Whether Hessians of any weights are known and exact, looked up at a vector."""
        e = self._e
        if not self._gradients.is_exact or any(
            isinstance(o, Objective) and o.quantity in MODEL_SLOPES for o in e.objectives
        ):
            return False
        X, rows = e.joint.relaxed(x[np.newaxis]), slice(0, 1)
        moves, lacking = e.joint.slopes(X, rows)
        linear = self._gradients.linearised(e.joint.decode(X, rows), counts=False)
        return not lacking.any() and bool(linear.has_slope[moves.column].all())

    def __call__(
        self,
        x: FloatArray,
        of_F: FloatArray,
        of_G: FloatArray,
        states: LinearStates | None = None,
    ) -> FloatArray:
        """Of ``of_F @ F + of_G @ G``.

        Args:
            x: A relaxed vector, shape (n_var,).
            of_F, of_G: Weights, shapes (n_obj,) and (n_ieq,).
            states: Those of the vector, None: they are solved.

        Returns:
            Shape (n_var, n_var), symmetric; 0 where the power flow fails, and for variables that
            do not count as real.

        Raises:
            UnsupportedByEngine: Something with a weight has no slopes but differences of power
                flows.
        """
        n_var = len(x)
        states = states or self._gradients.states(x[np.newaxis])
        if states is None:
            raise UnsupportedByEngine(
                "hessian: the engine has no slopes, and differences of differences of power flows "
                "are none"
            )
        entries = states.values(counts=False)[1]
        if entries[0, 0] > 0.0:
            return np.zeros((n_var, n_var))
        of_entries = self._gradients.of_entries(entries, of_G)
        self._check(of_F, of_entries)
        found = np.zeros((n_var, n_var))
        self._add_own(x, of_F, of_entries, found)
        for weighted in states.weighted(of_F, of_entries):
            if not len(weighted.situation):
                continue
            if weighted.of_model:
                self._add_differences(x, weighted, found)
            else:
                self._add_exact(x, weighted, found)
        return (found + found.T) / 2.0

    def _check(self, of_F: FloatArray, of_entries: FloatArray) -> None:
        """Refuses what has a weight and no slopes."""
        objectives, entries = self._gradients.rough()
        weighted = np.flatnonzero(objectives & (of_F != 0))
        names = [self._e.objectives[i].name for i in weighted]
        rough_entries = np.flatnonzero((entries & (of_entries != 0))[1:])
        names += [self._e.entries.names[k] for k in rough_entries]
        if names:
            raise UnsupportedByEngine(
                f"hessian: the slopes of {names[0]} are differences of power flows, and "
                "differences of differences are no second derivatives; give it a weight of 0"
            )

    # -- through the power flow ------------------------------------------------------------

    def _add_exact(self, x: FloatArray, weighted: Weighted, found: FloatArray) -> None:
        """Adds the curvature of the states, and that of settings that are no linear functions."""
        e, rows, linear = self._e, weighted.rows, weighted.linear
        situation = weighted.situation
        moves, lacking = e.joint.slopes(x[np.newaxis], rows)
        lacking[moves.variable[~linear.has_slope[moves.column]]] = True
        self._check_variables(lacking)
        if not linear.known[situation].all():
            self._add_differences(x, weighted, found)
            return
        columns = np.unique(moves.column)
        n_together = max(1, _MAX_CURVATURES // max(1, len(columns)) ** 2)
        for first in range(0, len(situation), n_together):
            some = slice(first, first + n_together)
            curvatures = linear.curvature(situation[some], columns, weighted.weights[some])
            for flow, curvature in zip(situation[some].tolist(), curvatures, strict=True):
                own = slice(moves.start[flow], moves.start[flow + 1])
                variables, place = np.unique(moves.variable[own], return_inverse=True)
                at = place, np.searchsorted(columns, moves.column[own])
                shape = (len(variables), len(columns))
                by_x = csr_matrix((moves.slope[own], at), shape)
                found[np.ix_(variables, variables)] += by_x @ (by_x @ curvature).T
        self._add_settings(x, weighted, found)

    def _add_settings(self, x: FloatArray, weighted: Weighted, found: FloatArray) -> None:
        """Adds what settings that are no linear functions of vectors curve by, from differences of
        their slopes; no power flow."""
        e, situation = self._e, weighted.situation
        bent = np.zeros(len(x), dtype=np.bool_)
        for placed in e.joint.placed:
            own = placed.block.moves(x[np.newaxis, placed.part], e.situations)
            bent[placed.part] = own is not None and own.slope.ndim > 1
        moved = np.flatnonzero(self._moving & bent)
        if not len(moved):
            return
        n_rows, n = weighted.rows.stop - weighted.rows.start, len(situation)
        by_settings = weighted.linear.adjoint(situation, weighted.weights[:, np.newaxis])
        X, _, counts = self._around(x, moved)
        slopes = np.zeros((len(X), 1, len(x)))
        vector = np.repeat(np.arange(len(X)), n)
        moves, _ = e.joint.slopes(X, weighted.rows)
        flows = vector * n_rows + np.tile(situation, len(X))
        of_all = np.tile(by_settings, (len(X), 1, 1))
        chain_backward(of_all, flows, vector, np.zeros(1, np.int64), *moves, slopes)
        sides = slopes[:-1, 0].reshape(2, len(moved), len(x))
        column = counts[:, 0, np.newaxis] * sides[0] + counts[:, 1, np.newaxis] * sides[1]
        found[:, moved] += (column + counts[:, 2, np.newaxis] * slopes[-1]).T

    @property
    def _moving(self) -> NDArray[np.bool_]:
        """Variables that have slopes, shape (n_var,)."""
        joint = self._e.joint
        moving: NDArray[np.bool_] = joint.counts_as_real & (joint.xu > joint.xl)
        return moving

    def _check_variables(self, lacking: NDArray[np.bool_]) -> None:
        """Refuses variables by which the slopes of settings or states are not known."""
        if lacking.any():
            name = self._e.joint.variables[int(np.flatnonzero(lacking)[0])].name
            raise UnsupportedByEngine(f"hessian: it is not known how the grid moves with {name}")

    def _around(
        self, x: FloatArray, moved: NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Points on both sides of a vector within its bounds, for differences.

        Returns:
            The points, first those of one side, then of the other, then the vector, shape
            (2 * n_moved + 1, n_var); in steps, how far they are, and what each of the three counts
            in the derivative, shape (n_moved, 3) each.
        """
        joint = self._e.joint
        step = DIFFERENCE * (joint.xu - joint.xl)[moved]
        at = np.where(x[moved] - step < joint.xl[moved], 1, 0)
        at = np.where(x[moved] + step > joint.xu[moved], -1, at)
        steps, counts = (np.array([POINTS[k][i] for k in at.tolist()]) for i in (0, 1))
        X = np.tile(x, (2 * len(moved) + 1, 1))
        for side in (0, 1):
            rows = side * len(moved) + np.arange(len(moved))
            X[rows, moved] += steps[:, side] * step
        return X, steps * step[:, np.newaxis], counts / step[:, np.newaxis]

    def _add_differences(self, x: FloatArray, weighted: Weighted, found: FloatArray) -> None:
        """Adds central differences of slopes of the sum, all power flows in few batches."""
        moved = np.flatnonzero(self._moving)
        if not len(moved):
            return
        X, steps, counts = self._around(x, moved)
        slopes, known = self._slopes(X, weighted)
        middle = slopes[-1]
        sides = slopes[:-1].reshape(2, len(moved), len(x))
        fails = ~known[:-1].reshape(2, len(moved))
        for k, v in enumerate(moved.tolist()):
            own = counts[k]
            if fails[:, k].any():  # from the side that solves
                good = int(fails[0, k])
                own = np.zeros(3)
                if not fails[good, k]:
                    own[good] = 1.0 / steps[k, good]
                    own[2] = -own[good]
            column = own[0] * sides[0, k] + own[1] * sides[1, k] + own[2] * middle
            found[:, v] += column

    def _slopes(self, X: FloatArray, weighted: Weighted) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Slopes of the sum at relaxed vectors, (n, n_var), and which are known, (n,)."""
        n_flows, n_values = weighted.weights.shape
        n_together = max(1, min(MAX_TOGETHER, _MAX_WEIGHTS // n_values) // n_flows)
        parts = [self._some(X[i : i + n_together], weighted) for i in range(0, len(X), n_together)]
        slopes, known = map(np.concatenate, zip(*parts, strict=True))
        return slopes, known

    def _some(self, X: FloatArray, weighted: Weighted) -> tuple[FloatArray, NDArray[np.bool_]]:
        """As `_slopes`, of vectors that are solved together."""
        e, rows, situation = self._e, weighted.rows, weighted.situation
        n, n_rows, n_flows = len(X), rows.stop - rows.start, len(situation)
        whole = e.joint.decode(X, rows)
        settings = Settings(whole.fields, whole.values[:, situation])
        linear = self._gradients.linearised(settings)
        moves, lacking = e.joint.slopes(X, rows)
        lacking[moves.variable[~linear.has_slope[moves.column]]] = True
        self._check_variables(lacking)
        solved = (linear.known & linear.state.converged.ravel()).reshape(n, n_flows)
        known = np.asarray(solved.all(axis=1))
        vector, flow = np.nonzero(np.repeat(known[:, np.newaxis], n_flows, axis=1))
        own = vector * n_flows + flow
        weights = weighted.weights[flow][:, np.newaxis]
        by_settings = linear.adjoint(own, weights, _of_model(weighted, linear, own, flow))
        found = np.zeros((n, 1, X.shape[1]))
        places = np.zeros(1, dtype=np.int64)
        chain_backward(
            by_settings, vector * n_rows + situation[flow], vector, places, *moves, found
        )
        return found[:, 0], known

    # -- of settings alone -----------------------------------------------------------------

    def _add_own(
        self, x: FloatArray, of_F: FloatArray, of_entries: FloatArray, found: FloatArray
    ) -> None:
        """Adds objectives and constraints of single blocks, by differences of their slopes."""
        e = self._e
        for weight, objective in zip(of_F, e.objectives, strict=True):
            if isinstance(objective, OfBlocks) and weight != 0:
                for own, part in objective.parts:
                    self._add_one(x, own, part, np.full(1, weight), found)
        for rows, (constraint, part) in zip(
            self._gradients.block_entries, e.of_blocks, strict=True
        ):
            weights = of_entries[rows]
            if weights.any():
                self._add_one(x, constraint, part, weights, found)

    def _add_one(
        self, x: FloatArray, own: Any, part: slice, weights: FloatArray, found: FloatArray
    ) -> None:
        """Adds a function of one block; a kink at the vector or near it has no curvature.

        Differences over a step and over half of it are alike where there is none.
        """
        joint = self._e.joint
        moved = np.flatnonzero(self._moving[part])
        if not len(moved):
            return
        step = DIFFERENCE * (joint.xu - joint.xl)[part][moved]
        shifts = np.array([0.0, -1.0, -0.5, 0.5, 1.0])
        X = np.tile(x, (len(shifts), len(moved), 1))
        X[:, np.arange(len(moved)), part.start + moved] += shifts[:, np.newaxis] * step
        X[..., part] = np.clip(X[..., part], joint.xl[part], joint.xu[part])
        slopes = self._gradients.own_slopes(own, X.reshape(-1, len(x)), part)
        slopes = slopes.reshape(len(shifts), len(moved), len(weights), -1)
        length = X[:, np.arange(len(moved)), part.start + moved] - x[part.start + moved]
        length = length[1:, :, np.newaxis, np.newaxis]
        curvature = np.full((4, *slopes.shape[1:]), np.nan)
        np.divide(slopes[1:] - slopes[0], length, out=curvature, where=length != 0)
        below, above = _of_side(curvature[0], curvature[1]), _of_side(curvature[3], curvature[2])
        both = np.stack([below, above])
        n_known = np.isfinite(both).sum(axis=0)
        mean = np.nansum(both, axis=0) / np.maximum(n_known, 1)
        found[part, part.start + moved] += np.einsum("mkv,k->vm", mean, weights)


def _of_side(whole: FloatArray, half: FloatArray) -> FloatArray:
    """The curvature of one side where differences over a step and half of it agree, else NaN."""
    size = np.maximum(np.abs(whole), np.abs(half))
    agree = np.abs(whole - half) <= ALIKE * size + 1e-9
    side: FloatArray = np.where(agree, half, np.nan)
    return side


def _of_model(
    weighted: Weighted, linear: Linearised, rows: NDArray[np.int64], flow: NDArray[np.int64]
) -> dict[int, list[ModelSlope]]:
    """Slopes of the sum by the bus/branch model, one per power flow; none where it has none."""
    if not weighted.of_model:
        return {}
    found: list[ModelSlope] = []
    for row, own in zip(rows.tolist(), flow.tolist(), strict=True):
        model = linear.state.bus_branch(row)
        parts = [MODEL_SLOPES[q](model) * float(each[own]) for q, each in weighted.of_model]
        v, ybus = sum(part.v for part in parts), sum(part.ybus for part in parts)
        found.append(ModelSlope(np.asarray(v), np.asarray(ybus)))
    return {0: found}
