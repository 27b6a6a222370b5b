"""The convex quadratic programme of a step, with constraints that may be violated at a price."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import piqp
from scipy.sparse import block_diag, csc_matrix, csr_matrix, hstack, issparse

MAX_ROUNDS = 20
INSIDE = 1e-9
PRICED = 1e-6  # share by which a multiplier is above the price
SMALL = 1e-4  # entries of a constraint in a sparse programme, over its largest
SETTLED = 1e-8  # change of what is left out of a sparse programme


class Step(NamedTuple):
    """A step and what it rests on.

    Attributes:
        d: The step, shape (n,).
        multipliers: Of the constraints, 0 for those that do not bind, shape (m,).
        rows: The constraints that the programme had.
    """

    d: np.ndarray
    multipliers: np.ndarray
    rows: np.ndarray


def best_step(
    g: np.ndarray,
    B: np.ndarray | csc_matrix,
    A: np.ndarray | csr_matrix,
    b: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    price: float,
    rows: np.ndarray,
) -> Step:
    """Minimises ``g d + d B d / 2 + price sum(max(A d - b, 0))`` within ``low <= d <= high``.

    Only the constraints of a working set are in the programme; those that its solution violates
    come in until there are none. Constraints that hold at ``d = 0`` are hard at first, which needs
    no variable for their violation and is the same as long as no multiplier is above the price;
    with one that is, all may be violated.

    With a sparse ``B`` the programme has the larger entries of ``A`` alone; what the others add at
    its solution is a part of ``b`` in the next round, until that settles.

    Args:
        g: Shape (n,).
        B: Positive definite, shape (n, n).
        A, b: Constraints, shapes (m, n) and (m,).
        low, high: Bounds, shape (n,); ``low <= 0 <= high``.
        price: Of a violation.
        rows: The constraints to start with.
    """
    d = np.zeros(len(g))
    multipliers = np.zeros(len(b))
    may_violate = b < 0.0
    kept = _largest_entries(csr_matrix(A)) if issparse(B) else A
    left_out = np.zeros(len(b))
    for _ in range(MAX_ROUNDS):
        soft = np.flatnonzero(may_violate[rows])
        sides = (b - left_out)[rows]
        is_solved, d, own = _solved(g, B, kept[rows], sides, low, high, price, soft)
        multipliers = np.zeros(len(b))
        multipliers[rows] = own
        pays = not is_solved or bool((own > price * (1.0 + PRICED)).any())
        is_hard = pays and len(soft) < len(rows)
        may_violate |= is_hard
        beyond = A @ d - b
        beyond[rows] = 0.0
        missing = np.flatnonzero(beyond > INSIDE)
        before, left_out = left_out, A @ d - kept @ d if issparse(B) else left_out
        is_settled = np.abs(left_out - before)[rows].max(initial=0.0) < SETTLED
        if not len(missing) and not is_hard and is_settled:
            break
        rows = np.union1d(rows, missing)
    return Step(d, multipliers, rows)


def _largest_entries(A: csr_matrix) -> csr_matrix:
    """The entries that are not small against the largest of their row."""
    size = abs(A)
    largest = size.max(axis=1).toarray().ravel()
    kept = A.copy()
    kept.data[size.data <= SMALL * np.repeat(largest, np.diff(A.indptr))] = 0.0
    kept.eliminate_zeros()
    return kept


def _solved(
    g: np.ndarray,
    B: np.ndarray | csc_matrix,
    A: np.ndarray | csr_matrix,
    b: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    price: float,
    soft: np.ndarray,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """The programme with all of its constraints, by the interior-point method of PIQP.

    Source: R. Schwan, Y. Jiang, D. Kuhn, C. N. Jones, PIQP: a proximal interior-point quadratic
    programming solver, CDC 2023, doi:10.1109/CDC49753.2023.10383915.

    Args:
        soft: The constraints that may be violated.

    Returns:
        Whether the solver says so, the solution and its multipliers.
    """
    n, m, k = len(g), len(b), len(soft)
    if issparse(B):
        cost = block_diag([B, csc_matrix((k, k))], format="csc")
        own = csc_matrix((np.full(k, -1.0), (soft, np.arange(k))), (m, k))
        rows = hstack([A, own], format="csc")
        solver = piqp.SparseSolver()
    else:
        cost = np.zeros((n + k, n + k), order="F")
        cost[:n, :n] = B
        rows = np.zeros((m, n + k), order="F")
        rows[:, :n] = A if isinstance(A, np.ndarray) else A.toarray()
        rows[soft, n + np.arange(k)] = -1.0
        solver = piqp.DenseSolver()
    solver.settings.verbose = False
    solver.setup(
        cost,
        np.concatenate([g, np.full(k, price)]),
        G=rows if m else None,
        h_u=b if m else None,
        x_l=np.concatenate([low, np.zeros(k)]),
        x_u=np.concatenate([high, np.full(k, np.inf)]),
    )
    is_solved = solver.solve() == piqp.PIQP_SOLVED
    d = np.array(solver.result.x)[:n]
    multipliers = np.array(solver.result.z_u)[:m] if m else np.zeros(0)
    if not (np.isfinite(d).all() and np.isfinite(multipliers).all()):
        return False, np.zeros(n), np.zeros(m)
    return is_solved, np.clip(d, low, high), np.maximum(multipliers, 0.0)
