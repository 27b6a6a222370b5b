"""Loading margin: how much loads can grow before the power flow has no solution.

A continuation power flow on the equations of a solved state, after

    V. Ajjarapu, C. Christy, The continuation power flow: a tool for steady state voltage stability
    analysis, IEEE Transactions on Power Systems 7 (1992) 416-423, doi 10.1109/59.141737.

Active and reactive power of all loads grow by the same factor, ``(1 + lambda) (p + j q)``, or
those of some by weights of their own (`gridproblems.growth`); generators and static generators stay
unless they pick up, and slack machines give what is missing. With ``S`` what a
bus feeds into the grid, ``g`` what is generated there and ``d`` its demand, of which loads are
``l``, the equations are

    S(angle, vm) = g + lambda k - (d + lambda l) f(vm) + share * sigma,

where k is what machines pick up (nothing unless a `Growth` says so), f is 1 but for loads that
depend on voltage, and sigma is the power that machines share where no slack has all of it. Along
the curve of their solutions lambda rises up to the nose, where
the Jacobian of the power flow is singular; the curve is followed by a predictor along its tangent
and a corrector that holds the voltage or angle that changes most (local parametrisation), with
which the equations stay regular there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from gridproblems.constraints import Measure
from gridproblems.growth import BoundGrowth
from gridproblems.state import BusBranchSolution, ComplexArray, FloatArray, GridState, Settings

#: Margins are not followed further: loads that hardly matter have no nose. [%]
LARGEST_PERCENT = 1e5
_MISMATCH_PU = 1e-9  # of the corrector
_MAX_CORRECTIONS = 8
_SAME_LAMBDA = 1e-7  # relative to 1 + lambda, at the nose
_SAME_PU = 1e-8  # distance to a reactive limit or a set-point that counts as none
_SAME_VOLTAGE_PU = 1e-6  # the same for the state that is given
_MAX_ROUNDS = 20
_STEP_VM_PU, _STEP_RAD = 0.08, 0.15  # largest changes of a step of 1
_FIRST_STEP, _LARGEST_STEP, _LEAST_STEP = 0.5, 2.0, 1e-5
_MAX_STEPS = 1000


def loading_margin_percent(settings: Settings, state: GridState) -> FloatArray:
    """How much all loads can grow before the power flow has no solution, maximised. [%]

    Minimised is the negative. What grows are the elements of the table ``load``, active and
    reactive power alike; generation stays but for the slack's. Machines keep their voltages; with
    ``enforce_q_lims`` as far as their reactive limits go, to which they come and from which they
    return as loads grow. Margins end at `LARGEST_PERCENT`; a
    situation without solution has none, 0.

    The nose is located to about 1e-7 of the load there. Should the corrector find no way on, the
    largest growth up to there counts, which is a lower bound.

    Raises:
        ValueError: The engine gives no bus/branch model.

    Source:
        V. Ajjarapu, C. Christy, The continuation power flow: a tool for steady state voltage
        stability analysis, IEEE Transactions on Power Systems 7 (1992) 416-423,
        doi 10.1109/59.141737.
    """
    return -margins_percent(state)


def margins_percent(
    state: GridState, settings: Settings | None = None, growth: BoundGrowth | None = None
) -> FloatArray:
    """Loading margin of every power flow of a state, shape (..., n_snapshots), 0 where it fails.

    Args:
        state: The state.
        settings: That it was solved with, where a direction is given.
        growth: The direction, None for all loads alike.
    """
    converged = state.converged.ravel()
    margins = np.zeros(len(converged))
    for row in np.flatnonzero(converged):
        model = state.bus_branch(int(row))
        if growth is None:
            margins[row] = 100.0 * largest_growth(model)
        else:
            assert settings is not None
            drawn, given = growth.in_row(settings, int(row))
            margins[row] = 100.0 * largest_growth(
                model, _of_buses(model, drawn), _of_buses(model, given)
            )
    return margins.reshape(state.converged.shape)


def _of_buses(model: BusBranchSolution, of_rows: NDArray[Any]) -> NDArray[Any]:
    """Powers by the rows of a net's buses as those of the buses of the model."""
    found = np.zeros(len(model.v_pu), dtype=of_rows.dtype)
    known = model.row_bus >= 0
    np.add.at(found, model.row_bus[known], of_rows[known])
    return found


class MarginAlong:
    """`loading_margin_percent` in a direction.

    Args:
        growth: The direction.
    """

    def __init__(self, growth: BoundGrowth) -> None:
        self.growth = growth

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """The negative margin of every power flow, shape (..., n_snapshots). [%]"""
        return -margins_percent(state, settings, self.growth)


class LoadingMargin:
    """A least loading margin in every situation, see `loading_margin_percent`.

    Args:
        least_percent: The margin that must be left. [%]
        growth: The direction in which loads grow, None for all alike.
        group: Group of limits that it belongs to, with which its entry is named.
        rows: The situations of that group, None for all.
    """

    needs_state = True
    kinds = ("loading_margin_percent",)

    def __init__(
        self,
        least_percent: float,
        growth: BoundGrowth | None = None,
        group: str = "",
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.least_percent, self.growth, self.rows = float(least_percent), growth, rows
        self.names = (f"{group} loading_margin_percent".strip(),)
        self.measures = (
            Measure(self.least_percent, self.least_percent, "%", False, self.names[0]),
        )

    def of_group(self, group: str, rows: NDArray[np.int64]) -> LoadingMargin:
        """The same in some situations alone."""
        return LoadingMargin(self.least_percent, self.growth, group, rows)

    def of_each(self, settings: Settings, state: GridState) -> FloatArray:
        """What is missing of the margin in every situation, in terms of it, (..., n, 1)."""
        margins = margins_percent(state, settings, self.growth)
        missing: FloatArray = (1.0 - margins / self.least_percent)[..., np.newaxis]
        return missing

    def __call__(self, settings: Settings, state: GridState) -> FloatArray:
        """The same in the worst situation, shape (..., 1)."""
        if self.rows is not None:
            if settings.values.ndim > 1:
                settings = Settings(settings.fields, settings.values[..., self.rows, :])
            state = state.snapshots(self.rows)
        worst: FloatArray = self.of_each(settings, state).max(axis=-2)
        return worst


class _Point(NamedTuple):
    """A point of the curve: all quantities, and the direction of the curve (of any length)."""

    y: FloatArray
    tangent: FloatArray


def largest_growth(
    model: BusBranchSolution,
    drawn: ComplexArray | None = None,
    given: FloatArray | None = None,
) -> float:
    """Growth of loads at the nose of the curve of solutions that a solved power flow is on.

    Args:
        model: The solved power flow.
        drawn: What one more lambda draws at 1 p.u.; None: all loads, shape (n_model_buses,).
        given: What machines give for it, likewise; None: the slack alone.

    Returns:
        Lambda, 0.2 for 20 %; at most that of `LARGEST_PERCENT`.
    """
    most = LARGEST_PERCENT / 100.0
    curve = _Curve(model, drawn, given)
    point = curve.start()
    step = _FIRST_STEP
    if point is None:  # the power flow is singular here
        return 0.0
    for _ in range(_MAX_STEPS):
        length = curve.size(point.tangent)
        if point.y[-1] >= most or length * (most - point.y[-1]) < step * point.tangent[-1] * 1e-3:
            return most
        following = curve.step(point, step)
        if following is None:
            step /= 2.0
            if step < _LEAST_STEP:
                break
            continue
        step = min(1.5 * step, _LARGEST_STEP)
        hit = curve.first_limit(point, following)
        end = following if hit is None else hit.point
        if end.tangent[-1] <= 0.0:
            return curve.nose(point, end)
        point = end if hit is None else curve.switch(hit)
        if point is None:  # the limit itself is the end
            return float(end.y[-1])
    return float(point.y[-1])


#: Of machines with reactive limits: they hold their voltage, or one of the limits.
_HOLDS, _AT_MIN, _AT_MAX = 0, 1, 2


class _Hit(NamedTuple):
    """Where a machine reaches or leaves a reactive limit, 0 for the lower, 1 for the upper."""

    point: _Point
    machine: int
    limit: int


class _Curve:
    """The equations of a solved power flow whose loads grow.

    Quantities ``y`` are the angles and magnitudes of all buses, sigma and lambda; those that
    slacks and machines hold are no unknowns.
    """

    def __init__(
        self,
        model: BusBranchSolution,
        drawn: ComplexArray | None = None,
        given: FloatArray | None = None,
    ) -> None:
        self.n = n = len(model.v_pu)
        alive = np.isfinite(model.v_pu)
        v = np.where(alive, model.v_pu, 1.0)
        self.y0 = np.concatenate([np.angle(v), np.abs(v), [0.0, 0.0]])
        self.i: NDArray[np.int64] = model.indices.astype(np.int64)
        self.j = np.repeat(np.arange(n), np.diff(model.indptr))
        self.ybus = model.ybus_pu
        self.load = model.load_pu if drawn is None else drawn
        self.picked_up = np.zeros(n) if given is None else given
        self.demand = model.demand_pu
        self.zip = model.zip_share
        self.share = model.slack_share
        self.machine_bus, self.setpoint = model.limit_buses, model.setpoint_pu
        self.q_min, self.q_max = model.q_min_pu, model.q_max_pu
        self.has_p, self.has_q = alive.copy(), np.zeros(n, dtype=np.bool_)
        self.has_angle = alive.copy()
        self.has_angle[model.slack_buses] = False
        if not len(self.share):
            self.has_p[model.slack_buses] = False
        self.has_q[model.load_buses] = alive[model.load_buses]
        self.generated = self._fed(self.y0)[0] + self._drawn(self.y0)[0]
        q = self._machine_q(self.y0)
        at_limit = np.where(q - self.q_min < self.q_max - q, _AT_MIN, _AT_MAX)
        self.role = np.where(self.has_q[self.machine_bus], at_limit, _HOLDS)
        self._arrange()
        self._settle()
        #: Those whose role is what it should be; others stay as they are.
        self.watched = np.asarray((self._room(self.y0) > -_SAME_VOLTAGE_PU).all(axis=1))

    def _arrange(self) -> None:
        """Where the entries of the Jacobian go, with lambda as its last column."""
        n = self.n
        row = np.full(2 * n, -1)
        is_row = np.concatenate([self.has_p, self.has_q])
        row[is_row] = np.arange(is_row.sum())
        free = np.concatenate([self.has_angle, self.has_q, [len(self.share) > 0, True]])
        column = np.full(2 * n + 2, -1)
        column[free] = np.arange(free.sum())
        self.rows, self.free, self.column = is_row, np.flatnonzero(free), column
        self.n_rows = int(is_row.sum())
        i, j, d = self.i, self.j, np.arange(n)
        # by angle, by magnitude, their own parts on the diagonal, sigma, lambda
        of_row = [(i, i + n)] * 2 + [(d, d + n)] * 2 + [(d, d + n)] * 2
        of_column = [j, j + n, d, d + n, np.full(n, 2 * n), np.full(n, 2 * n + 1)]
        rows = np.concatenate([row[part] for pair in of_row for part in pair])
        columns = np.concatenate([column[part] for part in of_column for _ in range(2)])
        self._used = (rows >= 0) & (columns >= 0)
        keys, self._entry = np.unique(
            columns[self._used] * self.n_rows + rows[self._used], return_inverse=True
        )
        self._n_entries = len(keys)
        self._indices = keys % max(1, self.n_rows)
        self._indptr = np.searchsorted(keys, np.arange(len(self.free) + 1) * self.n_rows)

    # -- equations ---------------------------------------------------------------------------

    def _fed(self, y: FloatArray) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """What buses feed into the grid, (n,), and its part by every entry of the admittances."""
        v = y[self.n : 2 * self.n] * np.exp(1j * y[: self.n])
        part = v[self.i] * np.conj(self.ybus * v[self.j])
        total = np.bincount(self.i, part.real, self.n) + 1j * np.bincount(self.i, part.imag, self.n)
        return total, part

    def _drawn(self, y: FloatArray) -> tuple[NDArray[np.complex128], ...]:
        """Demand, its slope by the magnitude, and by lambda, (n,) each."""
        demand, load = self.demand + y[-1] * self.load, self.load
        if not len(self.zip):
            return demand, np.zeros_like(demand), load
        vm = y[self.n : 2 * self.n]
        z_p, i_p, z_q, i_q = self.zip.T
        p, q = (1.0 + z * (vm**2 - 1.0) + i * (vm - 1.0) for z, i in ((z_p, i_p), (z_q, i_q)))
        dp, dq = (2.0 * z * vm + i for z, i in ((z_p, i_p), (z_q, i_q)))
        return (
            demand.real * p + 1j * demand.imag * q,
            demand.real * dp + 1j * demand.imag * dq,
            load.real * p + 1j * load.imag * q,
        )

    def _mismatch(self, y: FloatArray) -> FloatArray:
        missing = self._fed(y)[0] + self._drawn(y)[0] - self.generated - y[-1] * self.picked_up
        if len(self.share):
            missing = missing - self.share * y[-2]
        return np.concatenate([missing.real, missing.imag])[self.rows]

    def _jacobian(self, y: FloatArray) -> FloatArray:
        """Its entries by column, see `_arrange`."""
        vm = y[self.n : 2 * self.n]
        fed, part = self._fed(y)
        _, by_vm, by_lambda = self._drawn(y)
        share = self.share if len(self.share) else np.zeros(self.n)
        parts = (
            -1j * part,
            part / vm[self.j],
            1j * fed,
            fed / vm + by_vm,
            -share.astype(np.complex128),
            by_lambda - self.picked_up,
        )
        data = np.concatenate([half for one in parts for half in (one.real, one.imag)])
        entries = np.bincount(self._entry, data[self._used], self._n_entries)
        return entries.astype(np.float64, copy=False)

    def _solve(self, y: FloatArray, held: int, right: FloatArray | None) -> FloatArray | None:
        """Change of all quantities with ``J change = right``, one of them held, shape of ``y``.

        Without a right side the held one changes by 1 along the curve. None where singular.
        """
        data = self._jacobian(y)
        k = self.column[held]
        first, last = self._indptr[k], self._indptr[k + 1]
        if right is None:
            right = np.zeros(self.n_rows)
            right[self._indices[first:last]] = -data[first:last]
        indptr = np.delete(self._indptr, k)
        indptr[k:] -= last - first
        without = np.delete(data, np.s_[first:last]), np.delete(self._indices, np.s_[first:last])
        matrix = csc_matrix((*without, indptr), (self.n_rows, self.n_rows))
        try:
            found = splu(matrix).solve(right)
        except RuntimeError:  # singular
            return None
        change = np.zeros(len(y))
        change[np.delete(self.free, k)] = found
        return change if np.isfinite(found).all() else None

    def tangent(self, y: FloatArray, held: int, sign: float) -> FloatArray | None:
        """Direction of the curve in which a quantity rises or falls; None where singular."""
        tangent = self._solve(y, held, None)
        if tangent is not None:
            tangent[held] = 1.0
            tangent *= np.sign(sign)
        return tangent

    def correct(self, y: FloatArray, held: int) -> FloatArray | None:
        """The point of the curve with the same value of one quantity; None where Newton fails."""
        y = y.copy()
        for _ in range(_MAX_CORRECTIONS):
            missing = self._mismatch(y)
            if not np.isfinite(missing).all():
                return None
            if np.abs(missing).max(initial=0.0) < _MISMATCH_PU:
                return y
            change = self._solve(y, held, -missing)
            if change is None:
                return None
            y += change
        return None

    # -- along the curve ---------------------------------------------------------------------

    def _scaled(self, change: FloatArray) -> FloatArray:
        """Changes of angles and magnitudes in terms of those of a step of 1, shape (2 n,)."""
        n = self.n
        return np.concatenate([change[:n] / _STEP_RAD, change[n : 2 * n] / _STEP_VM_PU])

    def size(self, change: FloatArray) -> float:
        """The largest change of an angle or a magnitude, in terms of a step of 1."""
        return float(np.abs(self._scaled(change)).max(initial=0.0))

    def start(self) -> _Point | None:
        """The solved power flow; None where it is singular."""
        tangent = self.tangent(self.y0, len(self.y0) - 1, 1.0)
        return None if tangent is None else _Point(self.y0, tangent)

    def step(self, point: _Point, step: float) -> _Point | None:
        """Predictor and corrector; None where the step is too long."""
        scaled = self._scaled(point.tangent)
        length = np.abs(scaled).max()
        held = int(np.abs(scaled).argmax())
        predicted = point.y + step / length * point.tangent
        y = self.correct(predicted, held)
        if y is None or self.size(y - predicted) > 0.5 * step:
            return None
        tangent = self.tangent(y, held, point.tangent[held])
        if tangent is None:
            return None
        after = self._scaled(tangent)
        turn = scaled @ after / (np.linalg.norm(scaled) * np.linalg.norm(after))
        return _Point(y, tangent) if turn > 0.5 else None

    def nose(self, before: _Point, after: _Point) -> float:
        """Largest lambda between a point where it rises and one where it falls.

        The held quantity is the one whose rise or fall is surest in between; where lambda has its
        largest value by it is found by cubic interpolation, corrected until that is exact.
        """
        way = np.sign(self._scaled(after.y - before.y))
        sure = np.minimum(
            *(way * self._scaled(p.tangent) / self.size(p.tangent) for p in (before, after))
        )
        held = int(sure.argmax())
        best = max(before.y[-1], after.y[-1])
        for _ in range(30):
            a, b = (p.tangent / p.tangent[held] for p in (before, after))
            width = after.y[held] - before.y[held]
            rise = after.y - before.y
            # lambda'(s) = c2 s^2 + c1 s + c0 with s from 0 to 1
            c0, c1, c2 = (
                width * a,
                6 * rise - width * (4 * a + 2 * b),
                3 * width * (a + b) - 6 * rise,
            )
            root = np.sqrt(max(0.0, c1[-1] ** 2 - 4 * c2[-1] * c0[-1]))
            s = 2 * c0[-1] / (root - c1[-1]) if root > c1[-1] else 0.5
            s = min(max(s, 1e-3), 1.0 - 1e-3)
            y = self.correct(before.y + s * (c0 + s * (c1 / 2 + s * c2 / 3)), held)
            tangent = None if y is None else self.tangent(y, held, before.tangent[held])
            if y is None or tangent is None:
                break
            best = max(best, y[-1])
            if abs(tangent[-1] / tangent[held] * width) < _SAME_LAMBDA * (1.0 + best):
                break
            if tangent[-1] > 0.0:
                before = _Point(y, tangent)
            else:
                after = _Point(y, tangent)
        return float(best)

    # -- reactive limits ---------------------------------------------------------------------

    def _machine_q(self, y: FloatArray) -> FloatArray:
        """What machines with limits inject. [p.u.]"""
        q: FloatArray = (self._fed(y)[0] + self._drawn(y)[0]).imag[self.machine_bus]
        return q

    def _room(self, y: FloatArray) -> FloatArray:
        """How far machines are from having to change their role, negative beyond that. [p.u.]

        Those that hold their voltage are within their limits; at the lower limit the voltage is
        above the set-point, at the upper limit below it.

        Returns:
            At the lower and at the upper limit, shape (n_machines, 2); infinity for the other one.
        """
        q, above = self._machine_q(y), y[self.n + self.machine_bus] - self.setpoint
        none = np.full(len(q), np.inf)
        at_lower = np.choose(self.role, [q - self.q_min, above, none])
        return np.stack([at_lower, np.choose(self.role, [self.q_max - q, none, -above])], axis=1)

    def _settle(self) -> None:
        """Machines that a power flow has left at a limit they need not be at hold their voltages.

        ``runpp`` takes machines to a limit and never back. Where no other solution is found, the
        one that was given stays.
        """
        given = self.y0, self.generated.copy(), self.role.copy(), self.has_q.copy()
        for _ in range(_MAX_ROUNDS):
            wrong = np.argwhere(self._room(self.y0) < -_SAME_VOLTAGE_PU)
            if not len(wrong):
                return
            y = self.y0.copy()
            for k, limit in wrong.tolist():
                self._change_role(k, limit)
                if self.role[k] == _HOLDS:
                    y[self.n + self.machine_bus[k]] = self.setpoint[k]
            self._arrange()
            found = self.correct(y, len(y) - 1)
            if found is None:
                break
            self.y0 = found
        self.y0, self.generated, self.role, self.has_q = given
        self._arrange()

    def _change_role(self, k: int, limit: int) -> None:
        """A machine that holds its voltage stays at a limit, 0 or 1, one at that limit holds it."""
        bus = self.machine_bus[k]
        if self.role[k] == _HOLDS:
            self.role[k] = (_AT_MIN, _AT_MAX)[limit]
            q_pu = (self.q_min, self.q_max)[limit][k]
            self.generated[bus] = self.generated[bus].real + 1j * q_pu
        else:
            self.role[k] = _HOLDS
        self.has_q[bus] = self.role[k] != _HOLDS

    def first_limit(self, before: _Point, after: _Point) -> _Hit | None:
        """Where the first of the machines changes its role between two points, if one does."""
        crosses = self.watched[:, np.newaxis] & (self._room(after.y) < -_SAME_PU)
        if not crosses.any():
            return None
        held = int(np.abs(self._scaled(after.y - before.y)).argmax())
        own = np.nonzero(crosses)
        start, stop = before.y, after.y
        first, last = self._room(start)[own], self._room(stop)[own]
        for _ in range(60):
            if first.min() <= _SAME_PU:
                break
            share = (first / (first - last))[last < 0.0].min()
            y = self.correct(start + min(max(share, 0.02), 0.98) * (stop - start), held)
            if y is None:
                break
            room = self._room(y)[own]
            if room.min() >= 0.0:
                start, first = y, room
            else:
                stop, last = y, room
        tangent = self.tangent(start, held, after.y[held] - before.y[held])
        found = _Point(start, before.tangent if tangent is None else tangent)
        k, limit = np.transpose(own)[first.argmin()].tolist()
        return _Hit(found, k, limit)

    def switch(self, hit: _Hit) -> _Point | None:
        """Gives a machine its new role; None where loads cannot grow with it.

        There the voltage would have to rise at the upper limit, or the like.
        """
        k, y = hit.machine, hit.point.y
        self._change_role(k, hit.limit)
        self._arrange()
        tangent = self.tangent(y, len(y) - 1, 1.0)
        if tangent is None:
            return None
        little = y + _LEAST_STEP / self.size(tangent) * tangent
        more = self._room(little)[k, hit.limit] - self._room(y)[k, hit.limit]
        return _Point(y, tangent) if more > 0.0 else None
