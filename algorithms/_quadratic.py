"""The convex quadratic programme of a step, with constraints that may be violated at a price."""

from __future__ import annotations

from typing import NamedTuple

import clarabel
import numpy as np
import scipy.sparse as sp

#: Rows that come in at a time, so that a few violated ones are not followed one by one.
MAX_ROUNDS = 20
INSIDE = 1e-9


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
    B: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    price: float,
    rows: np.ndarray,
) -> Step:
    """Minimises ``g d + d B d / 2 + price sum(max(A d - b, 0))`` within ``low <= d <= high``.

    Only the constraints of a working set are in the programme; those that its solution violates
    come in until there are none.

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
    for _ in range(MAX_ROUNDS):
        d, own = _solved(g, B, A[rows], b[rows], low, high, price)
        multipliers = np.zeros(len(b))
        multipliers[rows] = own
        beyond = A @ d - b
        beyond[rows] = 0.0
        missing = np.flatnonzero(beyond > INSIDE)
        if not len(missing):
            break
        rows = np.union1d(rows, missing)
    return Step(d, multipliers, rows)


def _solved(
    g: np.ndarray,
    B: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    price: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The programme with all of its constraints, by Clarabel's interior-point method.

    Source: P. Goulart, Y. Chen, Clarabel: an interior-point solver for conic programs with
    quadratic objectives (2024), arXiv:2405.12762.
    """
    n, m = len(g), len(b)
    eye, slack = sp.eye(n), sp.eye(m)
    cost = sp.block_diag([sp.csc_matrix(B), sp.csc_matrix((m, m))])
    rows = sp.bmat(
        [[sp.csc_matrix(A), -slack], [None, -slack], [eye, None], [-eye, None]]
        if m
        else [[eye], [-eye]],
        format="csc",
    )
    sides = np.concatenate([b, np.zeros(m), high, -low])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    solver = clarabel.DefaultSolver(
        sp.triu(cost, format="csc"),
        np.concatenate([g, np.full(m, price)]),
        rows,
        sides,
        [clarabel.NonnegativeConeT(len(sides))],
        settings,
    )
    solution = solver.solve()
    x, multipliers = np.array(solution.x), np.array(solution.z)[:m]
    if not np.isfinite(x).all():
        return np.zeros(n), np.zeros(m)
    return np.clip(x[:n], low, high), np.maximum(multipliers, 0.0)
