"""The Hessian of a Lagrangian from the slopes of the points that a search has seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_matrix

MOST_PAIRS = 150
MOST_NUMBERS = 20_000_000  # of all slopes kept, 160 MB
FEWEST_PAIRS = 5
SHORTEST = 1e-8
SMALLEST = 1e-6
FIRST_SHARE = 1e-2
FLATTEST = 1e-8  # eigenvalue of an exact Hessian, over the largest
KEPT_ENTRIES = 40  # of a sparse matrix, per row on average


class Pair(NamedTuple):
    """What slopes change by along a step, all per range of the variables.

    Attributes:
        s: The step, shape (n,).
        of_objective: Change of the objective's slopes, shape (n,).
        of_constraints: Change of the slopes of those constraints that are kept, shape (m_kept, n).
        rows: Which these are.
    """

    s: np.ndarray
    of_objective: np.ndarray
    of_constraints: np.ndarray
    rows: np.ndarray


class Curvature:
    """Remembers how slopes change, and builds Powell's damped BFGS matrix of it anew each time.

    The Lagrangian changes with the multipliers, so a matrix that is carried along mixes Hessians of
    different functions. The pairs here keep objective and constraints apart; for the multipliers of
    the moment all are put together again, also those of points that were not taken.

    The matrix starts at a multiple of the identity, the median curvature along the steps (after
    Shanno & Phua 1978, Math. Programming 14:149-160, doi:10.1007/BF01588962).
    """

    def __init__(self) -> None:
        self._pairs: list[Pair] = []

    def learn(
        self,
        s: np.ndarray,
        of_objective: np.ndarray,
        of_constraints: np.ndarray,
        near: np.ndarray,
    ) -> None:
        """Takes a pair; steps of no length are left out, the oldest pairs go.

        Args:
            near: The constraints that multipliers are likely to be of. Where there is no room for
                `MOST_PAIRS` pairs of all constraints, only these are kept, and others count as
                straight.
        """
        if float(s @ s) < SHORTEST**2:
            return
        has_room = of_constraints.size * MOST_PAIRS <= MOST_NUMBERS
        rows = np.arange(len(of_constraints)) if has_room else near
        self._pairs.append(Pair(s, of_objective, of_constraints[rows], rows))
        n_most = MOST_NUMBERS // max(1, len(rows) * len(s))
        del self._pairs[: -min(MOST_PAIRS, max(FEWEST_PAIRS, n_most))]

    def hessian(self, multipliers: np.ndarray | None, slope: np.ndarray) -> np.ndarray:
        """A positive definite matrix, shape (n, n).

        Args:
            multipliers: Of the constraints, shape (m,); None while there are none.
            slope: The objective's at this moment, shape (n,), which sets the size of the matrix
                while there are no pairs.
        """
        pairs = [
            (p.s, p.of_objective + (0.0 if multipliers is None else multipliers[p.rows] @ p[2]))
            for p in self._pairs
        ]
        along = [float(s @ y) / float(s @ s) for s, y in pairs]
        positive = [c for c in along if c > SMALLEST]
        first = FIRST_SHARE * float(np.abs(slope).max(initial=0.0))
        size = float(np.median(positive)) if positive else max(SMALLEST, first)
        B = size * np.eye(len(slope))
        for s, y in pairs:
            B = updated(B, s, y)
        return B


def convex(H: np.ndarray) -> np.ndarray:
    """The matrix with the magnitudes of its eigenvalues, so that it is positive definite.

    Args:
        H: Symmetric, shape (n, n).

    Source: P. E. Gill, W. Murray, M. H. Wright, Practical Optimization, Academic Press 1981,
    section 4.4.2.1.
    """
    values, vectors = np.linalg.eigh(H)
    size = np.abs(values)
    made: np.ndarray = (vectors * np.maximum(size, FLATTEST * size.max(initial=1e-12))) @ vectors.T
    return made


def sparse(B: np.ndarray) -> csc_matrix:
    """The largest entries of a positive definite matrix, which stays so: the magnitudes of what is
    left out are added to the diagonal.

    Args:
        B: Symmetric, shape (n, n).
    """
    n = len(B)
    size = np.abs(B)
    n_small = max(0, B.size - KEPT_ENTRIES * n)
    least = np.partition(size, n_small - 1, axis=None)[n_small - 1] if n_small else 0.0
    is_kept = size > least
    is_kept[np.diag_indices(n)] = True
    kept = np.where(is_kept, B, 0.0)
    kept[np.diag_indices(n)] += np.where(is_kept, 0.0, size).sum(axis=1)
    return csc_matrix(kept)


def updated(B: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Powell's damped BFGS update of a positive definite matrix, which stays so.

    ``B + r r' / s'r - B s s'B / s'B s`` with ``r = theta y + (1 - theta) B s`` and ``theta = 1``
    where ``s'y >= 0.2 s'B s``, else ``0.8 s'B s / (s'B s - s'y)`` (Powell 1978, equation 5.10).
    """
    sy, Bs = float(s @ y), B @ s
    sBs = float(s @ Bs)
    if sBs < 1e-18:
        return B
    theta = 1.0 if sy >= 0.2 * sBs else 0.8 * sBs / (sBs - sy)
    r = theta * y + (1.0 - theta) * Bs
    new: np.ndarray = B + np.outer(r, r) / float(s @ r) - np.outer(Bs, Bs) / sBs
    return new
