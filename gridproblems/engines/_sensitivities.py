"""Solved power flows with their sensitivities, for engines on pandapower's bus/branch model.

What an engine gives as `Linearised` it made of `LinearRows`: power flows of one compiled model
with their solution, from which slopes follow by the factors of `BatchedNewton`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridproblems.engines._batched import BatchedNewton, Structure
from gridproblems.engines._compiled import CompiledModel
from gridproblems.engines._curvatures import second_slopes
from gridproblems.engines._kernels import ComplexArray, IntArray
from gridproblems.engines._lanes import LANES
from gridproblems.engines._tangents import (
    STATUS,
    ByModel,
    Places,
    adjoint_sides,
    adjoint_slopes,
    movements,
    right_sides,
)
from gridproblems.state import FloatArray, GridState, ModelSlope

_MAX_NUMBERS = 250_000  # of one array of right-hand sides, so that it stays near the processor


class LinearRows:
    """Solved power flows of one model.

    Args:
        rows: Which power flows of the batch these are, shape (n,).
        model, structure, places: The model, and what is known of it.
        newton: Solves linear equations with their Jacobians.
        parameters: Parameter vectors, shape (n, n_parameters).
        v: Voltages, shape (n, n_model_buses). [p.u.]
        tap_slope: Of the admittances of branches with tap changers by the position, shape
            (n, n_tap_branches, 4). [p.u.]
        tap_curvature: Their second derivatives.
        parameter_of: Parameter that each value of the settings is, -1 for those without effect.
    """

    def __init__(
        self,
        rows: IntArray,
        model: CompiledModel,
        structure: Structure,
        places: Places,
        newton: BatchedNewton,
        parameters: FloatArray,
        v: ComplexArray,
        tap_slope: ComplexArray,
        tap_curvature: ComplexArray,
        parameter_of: IntArray,
    ) -> None:
        self.rows, self.parameter_of = rows, parameter_of
        self._newton, self._places = newton, places
        self._solved = (parameters, v, tap_slope)
        self._tap_curvature = tap_curvature
        self._a, self._m, self._n_results = model.arrays, structure, model.layout.n_values
        self._branch_position = model.branch_position
        self._diagonal_position = model.diagonal_position
        self._n_nonzeros = len(model.indices)

    def moved(self, which: IntArray) -> LinearRows:
        """The same as part of a larger batch, ``which`` of it are the power flows of this one."""
        new = copy.copy(self)
        new.rows = which[self.rows]
        return new

    @cached_property
    def is_regular(self) -> NDArray[np.bool_]:
        """Which power flows have a Jacobian that can be solved with, shape (n,)."""
        every = np.arange(len(self.rows))
        sides = np.zeros((len(self.rows), 1, self._n_unknowns))
        regular = np.ones(len(self.rows), dtype=np.bool_)
        try:
            self._linear(every, sides)
        except np.linalg.LinAlgError:
            for i in every:
                try:
                    self._linear(every[i : i + 1], sides[:1])
                except np.linalg.LinAlgError:
                    regular[i] = False
        return regular

    @property
    def _n_unknowns(self) -> int:
        return int((self._m.angle >= 0).sum() + (self._m.magnitude >= 0).sum())

    def _linear(self, some: IntArray, sides: FloatArray, transposed: bool = False) -> FloatArray:
        """Solves linear equations; those of few power flows share the lanes of a block."""
        parameters, v = self._solved[0][some], self._solved[1][some]
        n, n_sides, n_unknowns = sides.shape
        n_shares = min(LANES // n, n_sides) if n else 1
        if n_shares < 2:
            return self._newton.solve_linear(parameters, v, sides, transposed=transposed)
        n_each = -(-n_sides // n_shares)
        spread = np.zeros((n, n_shares * n_each, n_unknowns))
        spread[:, :n_sides] = sides
        solutions = self._newton.solve_linear(
            np.repeat(parameters, n_shares, axis=0),
            np.repeat(v, n_shares, axis=0),
            spread.reshape(n * n_shares, n_each, n_unknowns),
            transposed=transposed,
        )
        return solutions.reshape(n, n_shares * n_each, n_unknowns)[:, :n_sides]

    def _chunks(self, n: int, n_sides: int) -> Iterator[slice]:
        n_together = max(1, _MAX_NUMBERS // max(1, n_sides * self._n_unknowns))
        n_together = max(LANES, n_together // LANES * LANES)
        for first in range(0, n, n_together):
            yield slice(first, min(n, first + n_together))

    def forward(self, places: IntArray, columns: IntArray, wanted: IntArray) -> FloatArray:
        """How columns of the state move with values of the settings.

        Args:
            places: Which of these power flows, shape (n,).
            columns: Values of the settings, shape (n_columns,).
            wanted: Columns of the state, shape (n_wanted,).

        Returns:
            Shape (n, n_wanted, n_columns).
        """
        place = np.full(self._n_results, -1, dtype=np.int64)
        distinct, where = np.unique(wanted, return_inverse=True)
        place[distinct] = np.arange(len(distinct))
        parameter = self.parameter_of[columns]
        moves = np.flatnonzero(parameter >= 0)
        own = parameter[moves]
        found = np.empty((len(places), len(wanted), len(columns)))
        is_whole = np.array_equal(distinct, wanted) and len(moves) == len(columns)
        if not is_whole:
            found[:] = 0.0
        for some in self._chunks(len(places), len(own)):
            if not len(own) or not len(wanted):
                break
            rows = places[some]
            solved = tuple(part[rows] for part in self._solved)
            sides = np.empty((len(rows), len(own), self._n_unknowns))
            right_sides(*solved, own, sides, self._a, self._m, self._places)
            solutions = self._linear(rows, sides)
            results = found[some] if is_whole else np.empty((len(rows), len(distinct), len(own)))
            movements(*solved, own, solutions, place, results, self._a, self._m, self._places)
            if not is_whole:
                found[some, :, moves] = results[:, where]
        return found

    def adjoint(
        self,
        places: IntArray,
        weights: FloatArray,
        n_values: int,
        of_model: Mapping[int, Sequence[ModelSlope]],
    ) -> FloatArray:
        """Slopes of weighted sums of columns of the state by the values of the settings.

        Args:
            places: Which of these power flows, shape (n,).
            weights: Shape (n, n_sums, n_state_columns).
            n_values: Number of values of the settings.
            of_model: Further slopes of some of the sums, one per power flow.

        Returns:
            Shape (n, n_sums, n_values).
        """
        n_sums = weights.shape[1]
        found = np.zeros((len(places), n_sums, n_values))
        values = np.flatnonzero(self.parameter_of >= 0)
        for some in self._chunks(len(places), n_sums):
            rows = places[some]
            solved = tuple(part[rows] for part in self._solved)
            sides = np.empty((len(rows), n_sums, self._n_unknowns))
            own = np.ascontiguousarray(weights[some])
            by_model = self._by_model(of_model, some, n_sums)
            adjoint_sides(*solved, own, by_model, sides, self._a, self._m, self._places)
            solutions = self._linear(rows, sides, transposed=True)
            slopes = np.empty((len(rows), n_sums, solved[0].shape[1]))
            known = (self._a, self._m, self._places)
            adjoint_slopes(*solved, own, by_model, solutions, slopes, *known)
            found[some, :, values] = slopes[:, :, self.parameter_of[values]]
        return found

    def curvature(self, places: IntArray, columns: IntArray, weights: FloatArray) -> FloatArray:
        """Second derivatives of a weighted sum of columns of the state by values of the settings.

        Args:
            places: Which of these power flows, shape (n,).
            columns: Values of the settings, shape (n_columns,).
            weights: Shape (n, n_state_columns).

        Returns:
            Shape (n, n_columns, n_columns).
        """
        known = (self._a, self._m, self._places)
        parameter = self.parameter_of[columns]
        moves = np.flatnonzero(parameter >= 0)
        own = parameter[moves]
        found = np.zeros((len(places), len(columns), len(columns)))
        for some in self._chunks(len(places), len(own)):
            if not len(own):
                break
            rows = places[some]
            solved = tuple(part[rows] for part in self._solved)
            n, n_own = len(rows), len(own)
            w = np.ascontiguousarray(weights[some])
            multipliers = np.empty((n, 1, self._n_unknowns))
            by_model = self._by_model({}, some, 1)
            adjoint_sides(*solved, w[:, np.newaxis], by_model, multipliers, *known)
            multipliers = self._linear(rows, multipliers, transposed=True)[:, 0]
            sides = np.empty((n, n_own, self._n_unknowns))
            right_sides(*solved, own, sides, *known)
            solutions = self._linear(rows, sides)
            by_unknown = np.zeros_like(solutions)
            by_parameter = np.empty((n, n_own, n_own))
            second_slopes(
                *solved,
                self._tap_curvature[rows],
                own,
                solutions,
                w,
                np.ascontiguousarray(multipliers),
                by_unknown,
                by_parameter,
                *known,
            )
            own_found = by_unknown @ np.swapaxes(solutions, 1, 2) + by_parameter
            found[np.ix_(np.arange(some.start, some.stop), moves, moves)] = own_found
        return found

    def _by_model(
        self, of_model: Mapping[int, Sequence[ModelSlope]], some: slice, n_sums: int
    ) -> ByModel:
        """Slopes of sums by the bus/branch model as arrays."""
        n = some.stop - some.start
        places = (self._branch_position, self._diagonal_position)
        if not of_model:
            none = np.zeros((n, 0, 0), dtype=np.complex128)
            return ByModel(none, none, *places)
        v = np.zeros((n, n_sums, len(self._diagonal_position)), dtype=np.complex128)
        ybus = np.zeros((n, n_sums, self._n_nonzeros), dtype=np.complex128)
        for k, slopes in of_model.items():
            for i, slope in enumerate(slopes[some]):
                v[i, k], ybus[i, k] = slope.v, slope.ybus
        return ByModel(v, ybus, *places)


class Linearised:
    """States of power flows, and how they move with the settings.

    Args:
        state: Of the batch; tap changers may stand between whole positions.
        parts: The power flows with known slopes.
        has_slope: Which values of the settings the slopes can be asked for, shape (n_values,).
    """

    def __init__(
        self, state: GridState, parts: Sequence[LinearRows], has_slope: NDArray[np.bool_]
    ) -> None:
        self.state, self._parts, self.has_slope = state, tuple(parts), has_slope
        n = state.converged.size
        self._part = np.full(n, -1, dtype=np.int64)
        self._place = np.zeros(n, dtype=np.int64)
        for i, part in enumerate(self._parts):
            self._part[part.rows] = i
            self._place[part.rows] = np.arange(len(part.rows))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which power flows have slopes, shape (n_rows,); others did not converge, have a Jacobian
        that is nearly singular, or settings off the range of the model."""
        known = np.zeros(len(self._part), dtype=np.bool_)
        for part in self._parts:
            known[part.rows] = part.is_regular
        return known

    def of_rows(self, state: GridState, which: IntArray) -> Linearised:
        """The same slopes, for some power flows of a larger batch.

        Args:
            state: Of that batch.
            which: Where these power flows stand in it, shape (n_rows,).
        """
        parts = [part.moved(which) for part in self._parts]
        return Linearised(state, parts, self.has_slope)

    def forward(self, rows: IntArray, columns: IntArray, wanted: IntArray) -> FloatArray:
        """How columns of the state move with values of the settings.

        Args:
            rows: Power flows with known slopes, snapshots of a candidate one after the other.
            columns: Values of the settings.
            wanted: Columns of the state.

        Returns:
            Shape (n_rows, n_wanted, n_columns), per unit of the setting.
        """
        if len(self._parts) == 1:
            return self._parts[0].forward(self._place[rows], columns, wanted)
        found = np.empty((len(rows), len(wanted), len(columns)))
        for i, part in enumerate(self._parts):
            own = np.flatnonzero(self._part[rows] == i)
            if len(own):
                found[own] = part.forward(self._place[rows[own]], columns, wanted)
        return found

    def adjoint(
        self,
        rows: IntArray,
        weights: FloatArray,
        of_model: Mapping[int, Sequence[ModelSlope]] | None = None,
    ) -> FloatArray:
        """Slopes of weighted sums of columns of the state by the values of the settings.

        Args:
            rows: Power flows with known slopes, snapshots of a candidate one after the other.
            weights: Shape (n_rows, n_sums, layout.n_values).
            of_model: Slopes by the bus/branch model that some of the sums have besides, one per
                power flow.

        Returns:
            Shape (n_rows, n_sums, n_values).
        """
        n_values = len(self.has_slope)
        found = np.empty((len(rows), weights.shape[1], n_values))
        for i, part in enumerate(self._parts):
            own = np.flatnonzero(self._part[rows] == i)
            if len(own):
                every = own.tolist()
                slopes = {k: [each[j] for j in every] for k, each in (of_model or {}).items()}
                places = self._place[rows[own]]
                found[own] = part.adjoint(places, weights[own], n_values, slopes)
        return found

    def curvature(self, rows: IntArray, columns: IntArray, weights: FloatArray) -> FloatArray:
        """Second derivatives of a weighted sum of columns of the state by values of the settings.

        Which element or end decides a value stays as it is.

        Args:
            rows: Power flows with known slopes, snapshots of a candidate one after the other.
            columns: Values of the settings, each with a slope.
            weights: Shape (n_rows, layout.n_values).

        Returns:
            Shape (n_rows, n_columns, n_columns), symmetric but for rounding.
        """
        found = np.empty((len(rows), len(columns), len(columns)))
        for i, part in enumerate(self._parts):
            own = np.flatnonzero(self._part[rows] == i)
            if len(own):
                found[own] = part.curvature(self._place[rows[own]], columns, weights[own])
        return found


def parameter_of(places: IntArray, source: IntArray, n_values: int) -> IntArray:
    """Parameter that each value of the settings is, -1 for those without effect.

    Args:
        places, source: Parameters, and the value each takes.
        n_values: Number of values of the settings.
    """
    found = np.full(n_values, -1, dtype=np.int64)
    found[source] = places
    return found


def has_slope(parameter: IntArray, sections: IntArray) -> NDArray[np.bool_]:
    """Which values are parameters with slopes, or without effect: all but statuses."""
    smooth: NDArray[np.bool_] = parameter < sections[STATUS]
    return smooth
