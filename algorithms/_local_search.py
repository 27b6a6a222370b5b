"""Gradient-based local search that asks for evaluations instead of making them."""

from __future__ import annotations

from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet
from scipy.optimize import minimize

from algorithms._variables import Variables


class Values(NamedTuple):
    """What is known of one point: f, g <= 0, h = 0 and the constraint violation."""

    f: float
    g: np.ndarray
    h: np.ndarray
    cv: float


class LocalSearch:
    """SLSQP with finite differences, one batch of points at a time.

    SciPy calls the function it minimises; an ask-and-tell algorithm, its budget and its checkpoints
    need the reverse. So SLSQP runs in a greenlet that stops at the first point whose values are
    missing. The greenlet is no part of the state: SLSQP is deterministic, and a copy of the search
    runs it again on the values known so far, up to the same point.
    """

    def __init__(
        self,
        variables: Variables,
        start: np.ndarray,
        margin: float = 1e-4,
        difference: float = 1e-6,
        tolerance: float = 1e-6,
        max_iterations: int = 100,
    ) -> None:
        """Prepare a search from an allowed point; it need not be feasible.

        Args:
            start: Flat vector, shape (n_var,).
            margin: Distance kept from inequality constraints, so that rounded variables and the
                tolerance of SLSQP do not end just outside. [unit of the constraint]
            difference: Step of the forward differences as a share of the range, for real variables.
            tolerance: Smallest gain that counts, as a share of the objective at ``start`` where
                that is larger than 1.
            max_iterations: Most iterations of SLSQP.
        """
        self.descent = Descent(variables, start, margin, difference, tolerance, max_iterations)
        self._running: greenlet | None = None
        self._thread = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}

    def ask(self) -> np.ndarray | None:
        """The points to evaluate next, shape (n, n_var); None when the search has ended."""
        if self.descent.is_idle():
            return None
        if self._running is None or self._thread != get_ident():  # greenlets stay in their thread
            self._running, self._thread = greenlet(self.descent.run), get_ident()
        if self._running.dead:
            return None
        self._running.parent = getcurrent()
        points: np.ndarray | None = self._running.switch()
        return points

    def tell(
        self, X: np.ndarray, F: np.ndarray, G: np.ndarray, H: np.ndarray, CV: np.ndarray
    ) -> None:
        """Take the values at the points of the last ``ask``, one row each."""
        self.descent.tell(X, F, G, H, CV)


class Descent:
    """The table of values and the functions that SLSQP minimises with it.

    Knows nothing of the greenlet that it runs in: a search that nobody needs any more is then free
    at once, with its greenlet.

    Real and ordered variables move, nominal ones stay. SLSQP sees ordered variables as continuous;
    the points asked for are snapped, and differences span at least one whole step. On such a
    staircase SLSQP may never meet its own tolerance, so the search also ends when the points of
    ``PATIENCE`` gradients have brought nothing.

    Where SLSQP has ended it starts again with differences and margin ten times smaller, as long as
    the last start has brought a share of ``RESTART_GAIN`` of the objective, at most ``N_RESTARTS``
    times: forward differences are too coarse for the end of a badly scaled valley.
    """

    PATIENCE = 3
    N_RESTARTS = 3
    RESTART_GAIN = 1e-4

    def __init__(
        self,
        variables: Variables,
        start: np.ndarray,
        margin: float,
        difference: float,
        tolerance: float,
        max_iterations: int,
    ) -> None:
        """See `LocalSearch`."""
        self.variables = variables
        self.start = start
        self.margin = margin
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.moving = np.flatnonzero(~variables.nominal & (variables.span > 0))
        self.steps = np.where(variables.ordered, 1.0, difference * variables.span)[self.moving]
        self._known: dict[bytes, Values] = {}
        self._reached: dict[bytes, Values] = {}
        self._gradients: dict[bytes, tuple[np.ndarray, ...]] = {}
        self._best_merit = np.inf
        self._n_idle = 0
        self.n_starts = 0

    def is_idle(self) -> bool:
        """Whether there is nothing to move, or the last points have brought nothing."""
        n_moving = len(self.moving)
        return n_moving == 0 or self._n_idle > self.PATIENCE * (n_moving + 1)

    def run(self) -> None:
        """Runs SLSQP to its end, and again while that pays; stops where values are missing."""
        self._minimise()
        while self._starts_again():
            self._minimise()

    def _minimise(self) -> None:
        """Runs SLSQP from the start to its end."""
        low, span = self.variables.lower[self.moving], self.variables.span[self.moving]
        start = self._values(self.start)
        scale = max(1.0, abs(start.f))
        minimize(
            lambda z: self._reach(z).f / scale,
            (self.start[self.moving] - low) / span,
            jac=lambda z: self._slopes(z)[0] / scale,
            bounds=[(0.0, 1.0)] * len(self.moving),
            constraints=self._constraints(start),
            method="SLSQP",
            options={"ftol": self.tolerance, "maxiter": self.max_iterations},
        )

    def _starts_again(self) -> bool:
        """Moves the start to the best point known, if that is worth another search from there."""
        key, best = min(self._known.items(), key=lambda item: (item[1].cv, item[1].f))
        start = self._values(self.start)
        gained = best.cv < start.cv or start.f - best.f > self.RESTART_GAIN * abs(start.f)
        if not gained or self.n_starts == self.N_RESTARTS:
            return False
        self.n_starts += 1
        self.start = np.frombuffer(key)
        self.margin /= 10.0
        self.steps = np.where(self.variables.ordered[self.moving], self.steps, self.steps / 10.0)
        self._reached, self._gradients = {}, {}
        self._n_idle, self._best_merit = 0, best.f / max(1.0, abs(best.f)) + best.cv
        return True

    def tell(
        self, X: np.ndarray, F: np.ndarray, G: np.ndarray, H: np.ndarray, CV: np.ndarray
    ) -> None:
        """See `LocalSearch`."""
        for x, f, g, h, cv in zip(X, F, G, H, CV, strict=True):
            values = Values(float(f[0]), np.array(g), np.array(h), float(cv[0]))
            self._known[x.tobytes()] = values
            merit = values.f / max(1.0, abs(self._values(self.start).f)) + values.cv
            self._n_idle = 0 if merit < self._best_merit - self.tolerance else self._n_idle + 1
            self._best_merit = min(merit, self._best_merit)

    def _point(self, z: np.ndarray) -> np.ndarray:
        """The allowed point nearest to SLSQP's, whose moving variables run from 0 to 1."""
        x = self.start.copy()
        x[self.moving] = self.variables.lower[self.moving] + z * self.variables.span[self.moving]
        return self.variables.snap(x)

    def _values(self, x: np.ndarray) -> Values:
        key = x.tobytes()
        while key not in self._known:
            _wait_for(x[None])
        return self._known[key]

    def _reach(self, z: np.ndarray) -> Values:
        """Values at SLSQP's point, by its own key: a search that runs again needs it often."""
        key = z.tobytes()
        if key not in self._reached:
            self._reached[key] = self._values(self._point(z))
        return self._reached[key]

    def _slopes(self, z: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gradients of f, g and h by forward differences, backward at upper bounds.

        Shapes (n_moving,), (n_ieq, n_moving), (n_eq, n_moving); per range of the variable.
        """
        key = z.tobytes()
        if key not in self._gradients:
            x = self._point(z)
            outside = x[self.moving] + self.steps > self.variables.upper[self.moving]
            steps = np.where(outside, -self.steps, self.steps)
            X = np.repeat(x[None], len(steps), axis=0)
            X[np.arange(len(steps)), self.moving] += steps
            while missing := [row for row in X if row.tobytes() not in self._known]:
                _wait_for(np.array(missing))
            base = self._values(x)
            near = [self._known[row.tobytes()] for row in X]
            scale = self.variables.span[self.moving] / steps
            self._gradients[key] = tuple(
                np.array([v[part] - base[part] for v in near]).T * scale for part in range(3)
            )
        return self._gradients[key]

    def _constraints(self, start: Values) -> list[dict[str, object]]:
        inequality = {
            "type": "ineq",
            "fun": lambda z: -self._reach(z).g - self.margin,
            "jac": lambda z: -self._slopes(z)[1],
        }
        equality = {
            "type": "eq",
            "fun": lambda z: self._reach(z).h,
            "jac": lambda z: self._slopes(z)[2],
        }
        return [inequality] * (len(start.g) > 0) + [equality] * (len(start.h) > 0)


def _wait_for(points: np.ndarray) -> None:
    """Stops SLSQP until the values of points are known."""
    parent = getcurrent().parent
    assert parent is not None, "runs in the greenlet of a LocalSearch"
    parent.switch(points)
