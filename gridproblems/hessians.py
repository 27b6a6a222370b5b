"""Second derivatives of weighted sums of objectives and constraints, as of a Lagrangian.

Every objective and limit is, in the situation and at the element that decide it, a value of one
state, and keeps its weight there: kinks between situations or elements have no curvature. What
remains is how slopes of weighted sums of states move, which one backward solution per power flow
tells (`Linearised.adjoint`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridproblems.engines import Linearised
from gridproblems.errors import UnsupportedByEngine
from gridproblems.evaluation import MAX_TOGETHER, Evaluation, OfBlocks
from gridproblems.gradients import DIFFERENCE, Gradients
from gridproblems.linear_states import Weighted, chain_backward
from gridproblems.objectives import MODEL_SLOPES
from gridproblems.state import FloatArray, ModelSlope, Settings

#: Points that differences are taken of, in steps, the vector itself last, and what each counts,
#: over the step: in the middle of a range, at its lower end (1) and at its upper (-1).
POINTS = {
    0: ((-1.0, 1.0, 0.0), (-0.5, 0.5, 0.0)),
    1: ((1.0, 2.0, 0.0), (2.0, -0.5, -1.5)),
    -1: ((-1.0, -2.0, 0.0), (-2.0, 0.5, 1.5)),
}
_MAX_WEIGHTS = 20_000_000  # of all power flows that are solved together
ALIKE = 1e-2  # relative difference of curvatures on one side of a kink


class Hessians:
    """Hessians at relaxed vectors (`Joint.relaxed`).

    Args:
        evaluation: Everything between a vector and its values.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._e, self._gradients = evaluation, Gradients(evaluation)

    def __call__(self, x: FloatArray, of_F: FloatArray, of_G: FloatArray) -> FloatArray:
        """Of ``of_F @ F + of_G @ G``.

        Args:
            x: A relaxed vector, shape (n_var,).
            of_F, of_G: Weights, shapes (n_obj,) and (n_ieq,).

        Returns:
            Shape (n_var, n_var), symmetric; 0 where the power flow fails, and for variables that
            do not count as real.

        Raises:
            UnsupportedByEngine: Something with a weight has no slopes but differences of power
                flows.
        """
        n_var = len(x)
        states = self._gradients.states(x[np.newaxis])
        if states is None:
            raise UnsupportedByEngine(
                "hessian: the engine has no slopes, and differences of differences of power flows "
                "are none"
            )
        entries = states.values()[1]
        if entries[0, 0] > 0.0:
            return np.zeros((n_var, n_var))
        of_entries = self._gradients.of_entries(entries, of_G)
        self._check(of_F, of_entries)
        found = np.zeros((n_var, n_var))
        self._add_own(x, of_F, of_entries, found)
        for weighted in states.weighted(of_F, of_entries):
            if len(weighted.situation):
                self._add_differences(x, weighted, found)
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

    def _add_differences(self, x: FloatArray, weighted: Weighted, found: FloatArray) -> None:
        """Adds central differences of slopes of the sum, all power flows in few batches."""
        joint = self._e.joint
        moved = np.flatnonzero(joint.counts_as_real & (joint.xu > joint.xl))
        if not len(moved):
            return
        step = DIFFERENCE * (joint.xu - joint.xl)[moved]
        at = np.where(x[moved] - step < joint.xl[moved], 1, 0)
        at = np.where(x[moved] + step > joint.xu[moved], -1, at)
        steps, counts = (np.array([POINTS[k][i] for k in at.tolist()]) for i in (0, 1))
        X = np.tile(x, (2 * len(moved) + 1, 1))
        rows = np.arange(len(moved))
        for side in (0, 1):
            X[side * len(moved) + rows, moved] += steps[:, side] * step
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
            found[:, v] += column / step[k]

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
        if lacking.any():
            name = e.joint.variables[int(np.flatnonzero(lacking)[0])].name
            raise UnsupportedByEngine(f"hessian: it is not known how the grid moves with {name}")
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
        moved = np.flatnonzero((joint.counts_as_real & (joint.xu > joint.xl))[part])
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
