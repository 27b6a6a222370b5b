"""Solved power flows with their sensitivities, for engines on pandapower's bus/branch model.

What an engine gives as `Linearised` it made of `LinearRows`: power flows of one compiled model
with their solution, from which slopes follow by the factors of `BatchedNewton`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gridproblems.engines._batched import BatchedNewton, Structure
from gridproblems.engines._compiled import CompiledModel
from gridproblems.engines._kernels import ComplexArray, IntArray
from gridproblems.engines._tangents import (
    STATUS,
    Places,
    adjoint_sides,
    adjoint_slopes,
    movements,
    places_of,
    right_sides,
)
from gridproblems.state import FloatArray, GridState

_MAX_NUMBERS = 4_000_000  # of one array of right-hand sides


class LinearRows:
    """Solved power flows of one model.

    Args:
        rows: Which power flows of the batch these are, shape (n,).
        model, structure: The model, and what Newton's method knows of it.
        newton: Solves linear equations with their Jacobians.
        parameters: Parameter vectors, shape (n, n_parameters).
        v: Voltages, shape (n, n_model_buses). [p.u.]
        tap_slope: Of the admittances of branches with tap changers by the position, shape
            (n, n_tap_branches, 4). [p.u.]
        parameter_of: Parameter that each value of the settings is, -1 for those without effect.
    """

    def __init__(
        self,
        rows: IntArray,
        model: CompiledModel,
        structure: Structure,
        newton: BatchedNewton,
        parameters: FloatArray,
        v: ComplexArray,
        tap_slope: ComplexArray,
        parameter_of: IntArray,
    ) -> None:
        self.rows, self.parameter_of = rows, parameter_of
        self._newton = newton
        self._solved = (parameters, v, tap_slope)
        self._a, self._m, self._n_results = model.arrays, structure, model.layout.n_values

    def moved(self, which: IntArray) -> LinearRows:
        """The same as part of a larger batch, ``which`` of it are the power flows of this one."""
        new = copy.copy(self)
        new.rows = which[self.rows]
        return new

    @cached_property
    def _places(self) -> Places:
        return places_of(self._a)

    @cached_property
    def is_regular(self) -> NDArray[np.bool_]:
        """Which power flows have a Jacobian that can be solved with, shape (n,)."""
        sides = np.zeros((len(self.rows), 1, self._n_unknowns))
        regular = np.ones(len(self.rows), dtype=np.bool_)
        try:
            self._linear(slice(None), sides)
        except np.linalg.LinAlgError:
            for i in range(len(self.rows)):
                try:
                    self._linear(slice(i, i + 1), sides[:1])
                except np.linalg.LinAlgError:
                    regular[i] = False
        return regular

    @property
    def _n_unknowns(self) -> int:
        return int((self._m.angle >= 0).sum() + (self._m.magnitude >= 0).sum())

    def _linear(
        self, some: slice | IntArray, sides: FloatArray, transposed: bool = False
    ) -> FloatArray:
        parameters, v, _ = self._solved
        return self._newton.solve_linear(parameters[some], v[some], sides, transposed=transposed)

    def _chunks(self, places: IntArray, n_sides: int) -> Sequence[IntArray]:
        n_together = max(1, _MAX_NUMBERS // max(1, n_sides * self._n_unknowns))
        return [places[i : i + n_together] for i in range(0, len(places), n_together)]

    def forward(self, places: IntArray, columns: IntArray, wanted: IntArray) -> FloatArray:
        """How columns of the state move with values of the settings.

        Args:
            places: Which of these power flows, shape (n,).
            columns: Values of the settings, shape (n_columns,).
            wanted: Columns of the state, shape (n_wanted,).

        Returns:
            Shape (n, n_columns, n_wanted).
        """
        place = np.full(self._n_results, -1, dtype=np.int64)
        distinct, where = np.unique(wanted, return_inverse=True)
        place[distinct] = np.arange(len(distinct))
        parameter = self.parameter_of[columns]
        moves = np.flatnonzero(parameter >= 0)
        own = parameter[moves]
        found = np.zeros((len(places), len(columns), len(wanted)))
        if not len(moves) or not len(wanted):
            return found
        for some in self._chunks(np.arange(len(places)), len(own)):
            solved = tuple(part[places[some]] for part in self._solved)
            sides = np.empty((len(some), len(own), self._n_unknowns))
            right_sides(*solved, own, sides, self._a, self._m, self._places)
            solutions = self._linear(places[some], sides)
            results = np.empty((len(some), len(own), len(distinct)))
            movements(*solved, own, solutions, place, results, self._a, self._m, self._places)
            found[some[:, np.newaxis], moves] = results[:, :, where]
        return found

    def adjoint(self, places: IntArray, weights: FloatArray, n_values: int) -> FloatArray:
        """Slopes of weighted sums of columns of the state by the values of the settings.

        Args:
            places: Which of these power flows, shape (n,).
            weights: Shape (n, n_sums, n_state_columns).
            n_values: Number of values of the settings.

        Returns:
            Shape (n, n_sums, n_values).
        """
        n_sums = weights.shape[1]
        found = np.zeros((len(places), n_sums, n_values))
        values = np.flatnonzero(self.parameter_of >= 0)
        for some in self._chunks(np.arange(len(places)), n_sums):
            solved = tuple(part[places[some]] for part in self._solved)
            sides = np.empty((len(some), n_sums, self._n_unknowns))
            own = np.ascontiguousarray(weights[some])
            adjoint_sides(*solved, own, sides, self._a, self._m, self._places)
            solutions = self._linear(places[some], sides, transposed=True)
            slopes = np.empty((len(some), n_sums, solved[0].shape[1]))
            adjoint_slopes(*solved, own, solutions, slopes, self._a, self._m, self._places)
            found[some[:, np.newaxis], :, values] = np.moveaxis(
                slopes[:, :, self.parameter_of[values]], 2, 1
            )
        return found


class Linearised:
    """States of power flows, and how they move with the settings.

    Args:
        state: Of the batch; tap changers may stand between whole positions.
        parts: The power flows with known slopes.
        has_slope: Which values of the settings the slopes can be asked for, shape (n_values,).

    Attributes:
        known: Which power flows have slopes, shape (n_rows,); others did not converge, have a
            Jacobian that is nearly singular, or settings off the range of the model.
    """

    def __init__(
        self, state: GridState, parts: Sequence[LinearRows], has_slope: NDArray[np.bool_]
    ) -> None:
        self.state, self._parts, self.has_slope = state, tuple(parts), has_slope
        n = state.converged.size
        self.known = np.zeros(n, dtype=np.bool_)
        self._part = np.full(n, -1, dtype=np.int64)
        self._place = np.zeros(n, dtype=np.int64)
        for i, part in enumerate(self._parts):
            self.known[part.rows] = part.is_regular
            self._part[part.rows] = i
            self._place[part.rows] = np.arange(len(part.rows))

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
            Shape (n_rows, n_columns, n_wanted), per unit of the setting.
        """
        found = np.empty((len(rows), len(columns), len(wanted)))
        for i, part in enumerate(self._parts):
            own = np.flatnonzero(self._part[rows] == i)
            if len(own):
                found[own] = part.forward(self._place[rows[own]], columns, wanted)
        return found

    def adjoint(self, rows: IntArray, weights: FloatArray) -> FloatArray:
        """Slopes of weighted sums of columns of the state by the values of the settings.

        Args:
            rows: Power flows with known slopes, snapshots of a candidate one after the other.
            weights: Shape (n_rows, n_sums, layout.n_values).

        Returns:
            Shape (n_rows, n_sums, n_values).
        """
        n_values = len(self.has_slope)
        found = np.empty((len(rows), weights.shape[1], n_values))
        for i, part in enumerate(self._parts):
            own = np.flatnonzero(self._part[rows] == i)
            if len(own):
                found[own] = part.adjoint(self._place[rows[own]], weights[own], n_values)
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
