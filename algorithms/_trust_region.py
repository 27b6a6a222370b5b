"""Sequential quadratic programming in a trust region, one point at a time.

Every step solves a quadratic model of the Lagrangian with linear constraints that may be violated
at a price (elastic mode), and is taken where the merit, objective and price of violations, falls as
the model says (Fletcher's S l1 QP). The Hessian is the problem's own where it offers one, made
convex (`convex`), else Powell's damped BFGS for the multipliers of the moment (`Curvature`).

Sources:
    R. Fletcher, Practical Methods of Optimization, 2nd edition, Wiley 1987, section 14.4.
    M. J. D. Powell, A fast algorithm for nonlinearly constrained optimization calculations,
    Numerical Analysis, Lecture Notes in Mathematics 630 (1978) 144-157, doi 10.1007/BFb0067703.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, diags, issparse

from algorithms._curvature import Curvature, convex, sparse
from algorithms._quadratic import Step, best_step

NEAR = 0.02  # constraints this near to their limits are in the first programme of a step
SMALLEST_RADIUS = 1e-7
SMALLEST_PRICE, LARGEST_PRICE = 1e-3, 1e7
PRICE_OVER_MULTIPLIERS = 3.0
ALLOWED = 1e-8  # sum of violations of a model's solution
LARGE = 1000  # variables above which programmes are sparse


#: Gives the Hessian, shape (n, n), of a weighted sum of objective and constraints: of a vector,
#: shape (n,), and the weights, shape (1 + m,).
HessianOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Point(NamedTuple):
    """A point and what is known of it.

    Attributes:
        x: Shape (n,), real variables and those that count as real.
        f: Objective.
        g: Constraints, feasible where <= 0, shape (m,).
        df: Slopes of the objective, shape (n,).
        dg: Slopes of the constraints, shape (m, n); a sparse matrix has those of constraints near
            to their limits alone.
    """

    x: np.ndarray
    f: float
    g: np.ndarray
    df: np.ndarray
    dg: np.ndarray | csr_matrix

    @property
    def is_known(self) -> bool:
        """Whether all is finite, and not all slopes are 0, as those of failed evaluations are."""
        dg = self.dg if isinstance(self.dg, np.ndarray) else self.dg.data
        parts = (self.f, self.g, self.df, dg)
        is_finite = all(bool(np.isfinite(part).all()) for part in parts)
        return is_finite and bool(self.df.any() or dg.any())

    def with_rows_of(self, other: Point) -> Point:
        """With slopes of those constraints that are near to their limits at another point alone."""
        if isinstance(self.dg, np.ndarray) or isinstance(other.dg, np.ndarray):
            return self
        n_own, n_others = np.diff(self.dg.indptr), np.diff(other.dg.indptr)
        is_new = ((n_own == 0) & (n_others > 0)).astype(float)
        return self._replace(dg=csr_matrix(self.dg + diags(is_new) @ other.dg))


class Trial(NamedTuple):
    """A point tried, the step to it, and how much the merit fell."""

    point: Point
    step: Step
    gain: float


class TrustRegion:
    """A local search that asks for values and slopes of one point at a time.

    Args:
        start: Where it begins, shape (n,).
        low, high: Bounds; variables whose bounds are equal stay.
        span: What a step of 1 is for each variable, shape (n,).
        radius: Largest step at first, as a share of ``span``.
        margin: Distance kept from constraints, so that searches end inside, of all or of each.
        tolerance: Smallest gain that counts, as a share of the objective where that is above 1.
        max_iterations: Most points.
        hessian: The problem's own Hessians, None where it offers none.
    """

    def __init__(
        self,
        start: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        span: np.ndarray,
        radius: float = 0.2,
        margin: float | np.ndarray = 1e-7,
        tolerance: float = 1e-7,
        max_iterations: int = 200,
        hessian: HessianOf | None = None,
    ) -> None:
        self._low, self._high, self._span = low, high, span
        self._radius, self._tolerance = radius, tolerance
        self._margin: float | np.ndarray = margin  # of all constraints, or of each
        self._left = max_iterations
        self._start = np.clip(start, low, high)
        self._free = np.flatnonzero(high > low)
        self._price, self._least_price = 10.0, SMALLEST_PRICE
        self._scale = 1.0
        self._curvature, self._hessian_of = Curvature(), hessian
        self._multipliers: np.ndarray | None = None
        self._n_idle = 0
        self._step: Step | None = None
        self._B: np.ndarray | csc_matrix = np.zeros((0, 0))  # of the step
        self._predicted = 0.0
        self._first: Trial | None = None  # the step that a correction is of
        #: The point the search has got to, None before the first values.
        self.at: Point | None = None

    def ask(self) -> np.ndarray | None:
        """The next point, shape (n,), None when the search has ended."""
        if self.at is None:
            return self._start
        self._left -= 1
        while self._left > 0 and len(self._free):
            if self._step is None:
                self._find_step(self.at)
            gains = self._n_idle < 2 and self._predicted > 0.1 * self._tolerance
            if gains and self._radius > SMALLEST_RADIUS:
                assert self._step is not None
                x: np.ndarray = self.at.x.copy()
                x[self._free] += self._step.d * self._span[self._free]
                return np.clip(x, self._low, self._high)
            if self._violation(self.at) <= self.at.g.size * 1e-9 or self._price >= LARGEST_PRICE:
                return None
            self._price = self._least_price = 10.0 * self._price  # violations do not pay yet
            self._radius, self._n_idle = max(self._radius, 1e-2), 0
            self._step = None
        return None

    def tell(self, point: Point) -> None:
        """Takes values and slopes of the point that was asked for."""
        if self.at is None:
            self.at = point
            self._scale = max(1.0, abs(point.f))
            if not point.is_known:
                self._left = 0
            return
        assert self._step is not None
        trial = Trial(point, self._step, self._gain_of(point))
        if point.is_known:
            self._learn(self.at, point)
            self.at = self.at.with_rows_of(point)
        if self._first is None and -np.inf < trial.gain < 0.25 * self._predicted:
            self._first = trial
            if self._find_correction(self.at, trial):  # the same step with true constraints
                return
        if self._first is not None and self._first.gain > trial.gain:
            trial = self._first
        self._first = self._step = None
        self._judge(trial)

    def _judge(self, trial: Trial) -> None:
        """Takes the point that was tried or not, and sets the radius for the next step."""
        length = float(np.abs(trial.step.d).max(initial=0.0))
        agreement = trial.gain / self._predicted
        if trial.gain <= 0.0 or agreement <= 1e-4:
            self._radius = 0.3 * min(self._radius, length)
            return
        self._n_idle = self._n_idle + 1 if trial.gain < self._tolerance else 0
        self.at = trial.point
        if agreement > 0.75 and length > 0.8 * self._radius:
            self._radius = min(1.0, 2.0 * self._radius)
        elif agreement < 0.25:
            self._radius = 0.5 * length

    def _gain_of(self, point: Point) -> float:
        assert self.at is not None
        return self._merit(self.at) - self._merit(point) if point.is_known else -np.inf

    def restricted(
        self, low: np.ndarray, high: np.ndarray, radius: float, tolerance: float
    ) -> TrustRegion:
        """A search from here within other bounds, with what was learnt of the curvature."""
        assert self.at is not None
        start = np.clip(self.at.x, low, high)
        new = TrustRegion(
            start,
            low,
            high,
            self._span,
            radius,
            self._margin,
            tolerance,
            hessian=self._hessian_of,
        )
        new._price = self._price
        new._curvature, new._multipliers = self._curvature, self._multipliers
        return new

    def tighten(self, margin: np.ndarray) -> None:
        """Keeps more distance from the constraints, shape (m,)."""
        self._margin = self._margin + margin

    def _violation(self, point: Point) -> float:
        return float(np.maximum(point.g + self._margin, 0.0).sum())

    def _merit(self, point: Point) -> float:
        return float(point.f / self._scale) + self._price * self._violation(point)

    def _find_step(self, at: Point) -> None:
        """The best step of the model, and what the merit falls by if the model is right.

        The price of violations falls to a few times the multipliers, for a price far above them
        refuses steps along curved constraints; it rises where that lets the model violate less.
        """
        df, g, A, low, high = self._model(at)
        B = self._B = self._programme_hessian(at)
        rows = np.flatnonzero(g > -NEAR)

        def left(step: Step) -> float:
            return float(np.maximum(g + A @ step.d, 0.0).sum())

        step = best_step(df, B, A, -g, low, high, self._price, rows)
        while left(step) > ALLOWED and self._price < LARGEST_PRICE:
            dearer = best_step(df, B, A, -g, low, high, 10.0 * self._price, step.rows)
            if left(dearer) > 0.9 * left(step):
                break
            step, self._price = dearer, 10.0 * self._price
        needed = PRICE_OVER_MULTIPLIERS * float(step.multipliers.max(initial=0.0))
        self._price = min(self._price, max(needed, self._least_price))
        self._step, self._multipliers = step, step.multipliers
        change = float(df @ step.d + 0.5 * step.d @ B @ step.d)
        less = float(np.maximum(g, 0.0).sum()) - left(step)
        self._predicted = self._price * less - change

    def _find_correction(self, at: Point, tried: Trial) -> bool:
        """The best step with the constraints as they are at the point tried (second order).

        Returns:
            Whether it is another step.
        """
        df, _, A, low, high = self._model(at)
        B = self._B if issparse(self._B) else self._programme_hessian(at)
        sides = A @ tried.step.d - (tried.point.g + self._margin)
        step = best_step(df, B, A, sides, low, high, self._price, tried.step.rows)
        self._step = step
        return bool(np.abs(step.d - tried.step.d).max(initial=0.0) > 1e-9)

    def _model(
        self, at: Point
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | csr_matrix, np.ndarray, np.ndarray]:
        """Slopes, constraints and bounds of a step of the free variables, per `span`."""
        span = self._span[self._free]
        g, own = at.g + self._margin, at.dg[:, self._free]
        A = own @ diags(span) if issparse(own) else own * span
        df = at.df[self._free] * span / self._scale
        low = np.maximum((self._low - at.x)[self._free] / span, -self._radius)
        high = np.minimum((self._high - at.x)[self._free] / span, self._radius)
        return df, g, A, np.minimum(low, 0.0), np.maximum(high, 0.0)

    def _programme_hessian(self, at: Point) -> np.ndarray | csc_matrix:
        """That of the merit's objective, sparse where there are many variables."""
        B = self._hessian(at) / self._scale
        return sparse(B) if len(B) > LARGE else B

    def _hessian(self, at: Point) -> np.ndarray:
        """Of the Lagrangian by the free variables, per `span`, positive definite."""
        multipliers = None if self._multipliers is None else self._scale * self._multipliers
        own = np.ix_(self._free, self._free)
        if self._hessian_of is not None:
            of_G = np.zeros(len(at.g)) if multipliers is None else multipliers
            H = self._hessian_of(at.x, np.append(1.0, of_G)) * np.outer(self._span, self._span)
            if np.isfinite(H).all():
                return convex(H[own])
        # also what was learnt while more variables moved
        return self._curvature.hessian(multipliers, at.df * self._span)[own]

    def _learn(self, before: Point, after: Point) -> None:
        """Takes how slopes change between two points, per `span`."""
        assert self._step is not None
        span = self._span
        step, of_objective = (after.x - before.x) / span, (after.df - before.df) * span
        if issparse(after.dg):  # constraints count as straight
            none = np.zeros(0, dtype=np.int64)
            self._curvature.learn(step, of_objective, np.zeros((0, len(span))), none)
            return
        near = np.flatnonzero((before.g > -NEAR) | (after.g > -NEAR))
        of_constraints = (after.dg - before.dg) * span
        rows = np.union1d(near, self._step.rows)
        self._curvature.learn(step, of_objective, of_constraints, rows)
