"""One start of the search with gradients: down to the next optimum, then to whole values."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from pymoo.core.individual import Individual
from scipy.sparse import csr_matrix, issparse, vstack

from algorithms._largest import LargestOf, Pieces
from algorithms._offered import offered
from algorithms._trust_region import LARGE, HessianOf, Point, TrustRegion
from algorithms._variables import Variables

INSIDE = 1e-6  # violation of a constraint that a search of few variables may still mend
TIGHTER = 1.5  # what constraints are tightened by at first, over their violation after a rounding
MOST_BACK = 10  # roundings that are taken back
FINE = 500  # ordered variables of more values are rounded last and together
COARSE = 100.0  # tolerance of searches whose end is rounded, over that of the last
MOST_VARIABLES = 5000  # of problems whose Hessians are used
SLOPES = ("dF", "dG", "dG_near", "dF_pieces", "dG_pieces")


class RoundedSearch:
    """Asks for values and slopes of one point at a time; ordered variables count as real at first.

    A share of the ordered variables left is rounded and held, the nearest first or those that are
    drawn, and the rest is solved again, until all are whole. Where that leaves no point within the
    constraints, those beyond are tightened by what they are beyond, and the search goes on from
    where it was before. Nominal variables stay as they are at the start.

    Args:
        variables: Of the problem.
        start: Flat vector, shape (n_var,).
        rounding: Share of the ordered variables of few values that is rounded at a time.
        radius: Largest step at first, as a share of the range of a variable.
        margin: Distance kept from constraints. [their unit]
        tolerance: Smallest gain that counts, as a share of the objective where above 1.
        hessian: The problem's own Hessians, see `hessian_of`.
        random_state: Draws the order of rounding, None: the nearest first.
    """

    def __init__(
        self,
        variables: Variables,
        start: np.ndarray,
        rounding: float = 0.5,
        radius: float = 0.2,
        margin: float = 1e-7,
        tolerance: float = 1e-7,
        hessian: HessianOf | None = None,
        random_state: np.random.Generator | None = None,
    ) -> None:
        self.variables = variables
        self.rounding, self.radius = rounding, radius
        self.margin, self.tolerance = margin, tolerance
        self._random_state = random_state
        self._held = variables.nominal.copy()
        self._before: tuple[TrustRegion, np.ndarray] | None = None  # the last rounding
        self._n_back = 0
        self._asked: np.ndarray | None = None
        low, high = self._bounds(start)
        self._search: TrustRegion | LargestOf = TrustRegion(
            start, low, high, self._span(), radius, margin, self._needed(), hessian=hessian
        )

    def ask(self) -> np.ndarray | None:
        """The next point, shape (n_var,), the same until it is told; None when all is whole and
        solved."""
        if self._asked is None:
            self._asked = self._search.ask()
            while self._asked is None and self._round():
                self._asked = self._search.ask()
        return self._asked

    def tell(self, found: Individual) -> None:
        """Takes the evaluated point that was asked for, and its slopes away: a population with them
        would take gigabytes where there are thousands of variables and limits.

        Raises:
            ValueError: The problem gives no slopes.
        """
        point, pieces = _point_of(found), _pieces_of(found, "F")
        for name in SLOPES:
            found.set(name, np.zeros(0))
        self._asked = None
        if isinstance(self._search, LargestOf):
            self._search.tell(_dense(point), pieces)
        elif pieces is not None and point.is_known:
            low, high = self._bounds(point.x)
            how = (self.radius, self.margin, self._needed())
            self._search = LargestOf(_dense(point), pieces, low, high, self._span(), *how)
        else:
            self._search.tell(point)

    def _span(self) -> np.ndarray:
        """What a step of 1 is for each variable."""
        span: np.ndarray = np.where(self.variables.span > 0, self.variables.span, 1.0)
        return span

    def _needed(self) -> float:
        """Tolerance of a search: a coarse one while there are variables to be rounded."""
        to_round = (self.variables.ordered & ~self._held).any()
        return self.tolerance * (COARSE if to_round else 1.0)

    def _bounds(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of a search in which some variables are held."""
        v = self.variables
        return np.where(self._held, x, v.lower), np.where(self._held, x, v.upper)

    def _round(self) -> bool:
        """Rounds some of the ordered variables that are left; whether there were any."""
        if self._goes_back():
            return True
        left = np.flatnonzero(self.variables.ordered & ~self._held)
        at = self._search.at
        if not len(left) or at is None or not at.is_known:
            return False
        whole = self.variables.snap(at.x[np.newaxis])[0]
        coarse = left[self.variables.span[left] < FINE]
        share = self.rounding if len(coarse) else 1.0
        left = coarse if len(coarse) else left
        n_now = int(np.ceil(share * len(left)))
        if isinstance(self._search, TrustRegion):
            self._before = self._search, self._held.copy()
        if self._random_state is None:
            order = np.argsort(np.abs(at.x - whole)[left], kind="stable")
        else:
            order = self._random_state.permutation(len(left))
        self._held[left[order[:n_now]]] = True
        low, high = self._bounds(np.where(self._held, whole, at.x))
        self._search = self._search.restricted(low, high, 0.1 * self.radius, self._needed())
        return True

    def _goes_back(self) -> bool:
        """Takes the last rounding back where it left nothing within the constraints."""
        if self._before is None or self._n_back == MOST_BACK:
            return False
        (search, held), self._before = self._before, None
        at = self._search.at
        if at is None or not at.is_known or _is_inside(at) or not _is_inside(search.at):
            return False
        self._held = held
        self._n_back += 1
        assert search.at is not None
        low, high = self._bounds(search.at.x)
        radius, tolerance = 0.1 * self.radius, self._needed()
        self._search = search.restricted(low, high, radius, tolerance)
        # twice as far every time, for the same values may come again
        self._search.tighten(TIGHTER * 2.0 ** (self._n_back - 1) * np.maximum(at.g, 0.0))
        return True


def _is_inside(at: Point | None) -> bool:
    return at is not None and at.is_known and float(at.g.max(initial=0.0)) <= INSIDE


def _dense(point: Point) -> Point:
    return point if isinstance(point.dg, np.ndarray) else point._replace(dg=point.dg.toarray())


def values_of(problem: Any) -> list[str]:
    """What a search asks for: of many variables the slopes of constraints near to their limits
    alone, as a sparse matrix, where the attribute ``gives_near_slopes`` says that there are."""
    is_near = problem.n_var > LARGE and bool(offered(problem, "gives_near_slopes"))
    slopes = [name for name in SLOPES if name != ("dG" if is_near else "dG_near")]
    return ["F", "G", "H", "F_pieces", "G_pieces", *slopes]


def hessian_of(problem: Any) -> HessianOf | None:
    """The Hessians that a problem offers: its method ``hessian(x, weights)``, where its attribute
    ``gives_hessian`` says that it has them and there are not too many variables."""
    if not (getattr(problem, "gives_hessian", False) and problem.n_var <= MOST_VARIABLES):
        return None
    return partial(_hessian, problem)


def _hessian(problem: Any, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The problem's Hessian; the weights of pieces of constraints, which come last, count none."""
    found: np.ndarray = problem.hessian(x, weights[: problem.n_obj + problem.n_ieq_constr])
    return found


def gives_slopes(found: Individual) -> bool:
    """Whether an evaluated individual has slopes of its objective and constraints."""
    n_var, n_g = np.size(found.X), np.size(found.G)
    df, dg = np.asarray(found.dF, dtype=float), _of_constraints(found)
    has_all = df.shape == (1, n_var) and np.prod(dg.shape) == n_g * n_var
    entries = dg.data if issparse(dg) else dg
    return bool(has_all and not np.isinf(df).any() and not np.isinf(entries).any())


def _of_constraints(found: Individual) -> np.ndarray | csr_matrix:
    """Slopes of the constraints, or of those near to their limits where these have come."""
    near = found.get("dG_near")
    return near if issparse(near) else np.asarray(found.dG, dtype=float)


def _point_of(found: Individual) -> Point:
    """A point with its slopes.

    Raises:
        ValueError: The problem gives none.
    """
    if not gives_slopes(found):
        raise ValueError("sqp: expected a problem that gives dF and dG where it is asked for them")
    x = np.asarray(found.X, dtype=float)
    df, dg = np.asarray(found.dF, dtype=float), _of_constraints(found)
    g, dg = np.asarray(found.G, dtype=float), dg if issparse(dg) else dg.reshape(-1, len(x))
    of_g = _pieces_of(found, "G")
    if of_g is not None:
        stack = vstack if issparse(dg) else np.vstack
        g, dg = np.append(g, of_g.f), stack([dg, of_g.df])
    return Point(x, float(found.F[0]), g, df[0], dg)


def _pieces_of(found: Individual, name: str) -> Pieces | None:
    """The functions that objective or constraints are the largest of, None without any."""
    f, df = (
        np.asarray(found.get(key), dtype=float) for key in (f"{name}_pieces", f"d{name}_pieces")
    )
    if f.ndim != 1 or df.ndim != 2 or np.isinf(df).any():
        return None
    return Pieces(f, df)
