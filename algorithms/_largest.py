"""Local search for the largest of several functions, with all of them as constraints.

Minimises ``t`` where ``p_k(x) <= t`` for every piece k: of an objective that is a maximum the
search then knows all pieces, and does not follow the slope of one from kink to kink.

Source:
    S. P. Han, Variable metric methods for minimizing a class of nondifferentiable functions,
    Mathematical Programming 20 (1981) 1-13, doi 10.1007/BF01589328.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from algorithms._trust_region import Point, TrustRegion

FAR = 1e12  # bounds of t, in its spans


class Pieces(NamedTuple):
    """Functions of which the objective is the largest.

    Attributes:
        f: Their values, shape (n_pieces,).
        df: Their slopes, shape (n_pieces, n).
    """

    f: np.ndarray
    df: np.ndarray


class LargestOf:
    """A `TrustRegion` in x and t; asked and told as one in x alone.

    Told values come with t at the largest piece, so that no step ends with a t that lags behind.

    Args:
        point, pieces: Where the search begins.
        low, high: Bounds of x.
        span: What a step of 1 is for each variable.
        radius, margin, tolerance: Of the `TrustRegion`.
    """

    def __init__(
        self,
        point: Point,
        pieces: Pieces,
        low: np.ndarray,
        high: np.ndarray,
        span: np.ndarray,
        radius: float,
        margin: float,
        tolerance: float,
    ) -> None:
        self._scale = max(1.0, abs(point.f))
        self._margin, self._n_pieces = margin, len(pieces.f)
        reach = float((np.abs(pieces.df) * span).sum(axis=1).max(initial=0.0))
        self._t_span = max(self._scale, reach)
        start = self._extended(point, pieces)
        self._search = TrustRegion(
            start.x,
            *self._bounds(low, high),
            np.append(span, self._t_span),
            radius,
            margin,
            tolerance,
        )
        self._search.ask()
        self._search.tell(start)

    @property
    def at(self) -> Point | None:
        """The point the search has got to; of it x and whether it is known are those in x."""
        at = self._search.at
        return None if at is None else at._replace(x=at.x[:-1])

    def ask(self) -> np.ndarray | None:
        """As `TrustRegion.ask`."""
        z = self._search.ask()
        return None if z is None else z[:-1]

    def tell(self, point: Point, pieces: Pieces | None) -> None:
        """Takes values and slopes of the point that was asked for, None where it has none."""
        self._search.tell(self._extended(point, pieces))

    def restricted(
        self, low: np.ndarray, high: np.ndarray, radius: float, tolerance: float
    ) -> LargestOf:
        """As `TrustRegion.restricted`."""
        new = copy.copy(self)
        new._search = self._search.restricted(*self._bounds(low, high), radius, tolerance)
        return new

    def _bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        far = FAR * self._t_span
        return np.append(low, -far), np.append(high, far)

    def _extended(self, point: Point, pieces: Pieces | None) -> Point:
        """The point with t at the largest piece, and pieces less t among the constraints."""
        n, scale = len(point.x), self._scale
        if pieces is None or not (point.is_known and np.isfinite(pieces.f).all()):
            g = np.append(point.g, np.zeros(self._n_pieces))
            unknown = np.zeros((len(g), n + 1))
            return Point(np.append(point.x, 0.0), np.inf, g, np.zeros(n + 1), unknown)
        t = float(pieces.f.max()) + 1.01 * self._margin * scale
        of_pieces = np.column_stack([pieces.df, -np.ones(len(pieces.f))]) / scale
        of_constraints = np.column_stack([point.dg, np.zeros(len(point.g))])
        return Point(
            np.append(point.x, t),
            t,
            np.append(point.g, (pieces.f - t) / scale),
            np.append(np.zeros(n), 1.0),
            np.vstack([of_constraints, of_pieces]),
        )
