"""What we set (`Settings`) and what the grid did (`GridState`): frozen, in physical units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
SettingsMapping = Mapping[tuple[str, str], Mapping[Any, float]]


@dataclass(frozen=True)
class Field:
    """One column of one pandapower table, for some of its elements.

    Args:
        table: Name of the pandapower table, for example ``"gen"``.
        column: Name of the column, for example ``"vm_pu"``.
        elements: Index labels of the elements, in the order of the values; names in OpenDSS.
    """

    table: str
    column: str
    elements: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


class Settings:
    """A delta on the base case: one value per field element, for one candidate or for many.

    Args:
        fields: The columns that are set.
        values: The elements of the fields one after the other, in the tool's units: shape
            (n_values,) for a candidate whose snapshots are alike, (n_snapshots, n_values) for one
            over time, (n_candidates, n_snapshots, n_values) for a batch.
    """

    __slots__ = ("fields", "values")

    def __init__(self, fields: tuple[Field, ...], values: FloatArray) -> None:
        self.fields = fields
        self.values = values

    @classmethod
    def from_mapping(cls, mapping: SettingsMapping) -> Settings:
        """Builds settings from ``{("gen", "vm_pu"): {0: 1.02, 3: 0.99}, ...}``."""
        fields = tuple(Field(*key, tuple(values)) for key, values in mapping.items())
        flat = [float(v) for values in mapping.values() for v in values.values()]
        return cls(fields, np.array(flat, dtype=float))

    def as_mapping(self) -> dict[tuple[str, str], dict[Any, float]]:
        """The inverse of `from_mapping`, for settings of a single power flow."""
        if len(self.rows) != 1:
            raise ValueError("settings of several snapshots have no single value per element")
        result: dict[tuple[str, str], dict[Any, float]] = {}
        for field, values in self:
            result.setdefault((field.table, field.column), {}).update(
                zip(field.elements, values.ravel().tolist(), strict=True)
            )
        return result

    @property
    def n_snapshots(self) -> int:
        """Number of snapshots, 1 when the values hold for all alike."""
        return 1 if self.values.ndim == 1 else self.values.shape[-2]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the power flows: (n_snapshots,), for a batch (n_candidates, n_snapshots)."""
        return (1,) if self.values.ndim == 1 else self.values.shape[:-1]

    @property
    def rows(self) -> FloatArray:
        """One row per power flow, snapshots of a candidate one after the other, (n, n_values)."""
        return self.values.reshape(math.prod(self.shape), self.values.shape[-1])

    def candidate(self, i: int) -> Settings:
        """Settings of one candidate of a batch."""
        values = self.values[i]
        return Settings(self.fields, values[0] if len(values) == 1 else values)

    def candidates(self, which: NDArray[np.int64]) -> Settings:
        """A batch of some candidates of this batch."""
        return Settings(self.fields, self.values[which])

    def __iter__(self) -> Iterator[tuple[Field, FloatArray]]:
        """Yields each field with its values, shape (..., n_elements)."""
        start = 0
        for field in self.fields:
            stop = start + len(field.elements)
            yield field, self.values[..., start:stop]
            start = stop

    def get(self, table: str, column: str) -> dict[Any, FloatArray]:
        """Values set in one column by element, each of shape () or (..., n_snapshots)."""
        return {
            element: values[..., i]
            for field, values in self
            if (field.table, field.column) == (table, column)
            for i, element in enumerate(field.elements)
        }


#: Quantities of a grid state with the pandapower table that gives their length and row order.
QUANTITIES: dict[str, str] = {
    "vm_pu": "bus",
    "va_degree": "bus",
    "line_loss_mw": "line",
    "trafo_loss_mw": "trafo",
    "trafo3w_loss_mw": "trafo3w",
    "impedance_loss_mw": "impedance",
    "line_loading_percent": "line",
    "trafo_loading_percent": "trafo",
    "trafo3w_loading_percent": "trafo3w",
    "gen_p_mw": "gen",
    "gen_q_mvar": "gen",
    "ext_grid_p_mw": "ext_grid",
    "ext_grid_q_mvar": "ext_grid",
}


class Layout:
    """Where each quantity stands in the rows of a state's value array.

    Args:
        lengths: Number of elements of each quantity, in the order of the rows.
        is_load_bus: Which buses have a voltage that no machine holds in the base case, neither at
            the bus nor at one that a closed coupler joins to it, shape (n_buses,).
        is_slack_gen: Which generators are slacks, shape (n_gens,).
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        is_load_bus: NDArray[np.bool_] | None = None,
        is_slack_gen: NDArray[np.bool_] | None = None,
    ) -> None:
        none = np.zeros(0, dtype=np.bool_)
        self.is_load_bus = none if is_load_bus is None else is_load_bus
        self.is_slack_gen = none if is_slack_gen is None else is_slack_gen
        self.slices: dict[str, slice] = {}
        start = 0
        for quantity, length in lengths.items():
            self.slices[quantity] = slice(start, start + length)
            start += length
        self.n_values = start

    def join(self, name: str, first: str, last: str) -> None:
        """Names the neighbouring quantities from ``first`` to ``last`` together."""
        self.slices[name] = slice(self.slices[first].start, self.slices[last].stop)


@dataclass(frozen=True)
class BusBranchSolution:
    """Solved bus/branch model of one snapshot, for objectives that need the admittances.

    Demand is what all consumers draw, less static generators; of it, shares may fall with voltage.

    Attributes:
        indptr, indices: Sparsity pattern of the bus admittance matrix, CSC.
        ybus_pu: Its values, shape (n_nonzeros,). [p.u.]
        v_pu: Complex bus voltages, shape (n_model_buses,). [p.u.]
        generator_buses: Model buses whose voltage is held (PV and slack).
        load_buses: The other model buses (PQ).
        slack_buses: Of the generator buses those whose angle is held (slack).
        load_pu: What the loads of the net draw at 1 p.u., shape (n_model_buses,). [p.u.]
        demand_pu: Demand at 1 p.u., the loads among it, shape (n_model_buses,). [p.u.]
        zip_share: Shares of the demand with constant impedance and constant current, of its active
            and of its reactive power, shape (n_model_buses, 4); no rows where none depends on
            voltage.
        slack_share: Share of each bus in the slack's power, shape (n_model_buses,); none where
            slack buses have all of it.
        limit_buses: Buses whose machine, no slack, has reactive limits that are kept; PQ buses
            among them are those at a limit.
        q_min_pu, q_max_pu, setpoint_pu: Its limits and its set-point, shape (n_limit_buses,).
            [p.u.]
        row_bus: Model bus of every row of the net's table of buses, -1 for none.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    ybus_pu: NDArray[np.complex128]
    v_pu: NDArray[np.complex128]
    generator_buses: NDArray[np.int32]
    load_buses: NDArray[np.int32]
    slack_buses: NDArray[np.int32]
    load_pu: NDArray[np.complex128]
    demand_pu: NDArray[np.complex128]
    zip_share: FloatArray
    slack_share: FloatArray
    limit_buses: NDArray[np.int64]
    q_min_pu: FloatArray
    q_max_pu: FloatArray
    setpoint_pu: FloatArray
    row_bus: NDArray[np.int64]


@dataclass(frozen=True)
class ModelSlope:
    """How a number moves with the bus/branch model: by ``Re(conj(slope) dz)`` of each.

    Attributes:
        v: Slopes by the complex voltages, shape (n_model_buses,). [1/p.u.]
        ybus: Slopes by the admittances, in the order of `BusBranchSolution`. [1/p.u.]
    """

    v: NDArray[np.complex128]
    ybus: NDArray[np.complex128]

    def __mul__(self, factor: float) -> ModelSlope:
        return ModelSlope(self.v * factor, self.ybus * factor)


class GridState:
    """A solved grid: frozen arrays of shape (..., n_snapshots, n_elements) in the tool's row order.

    The state of one candidate has arrays (n_snapshots, n_elements), that of a batch
    (n_candidates, n_snapshots, n_elements); functions that reduce the last axes suit both.

    Sign convention: generators and external grids are positive when they inject, losses are
    positive. Buses out of service or without supply have NaN voltages; a snapshot that did not
    converge has meaningless values and ``converged`` False.

    Args:
        layout: Where each quantity stands in ``values``.
        values: Shape (..., n_snapshots, layout.n_values); quantities are views of it.
        converged: Shape (..., n_snapshots).
        n_unsupplied: Number of consumers in service on buses without supply, shape
            (..., n_snapshots): loads, also asymmetric ones, motors, wards, storages, and ends of
            DC lines.
        solution: Gives the bus/branch solution of a power flow, by its row, when an objective asks
            for it; None where the engine has none.
    """

    def __init__(
        self,
        layout: Layout,
        values: FloatArray,
        converged: NDArray[np.bool_],
        n_unsupplied: NDArray[np.int64],
        solution: Callable[[int], BusBranchSolution] | None = None,
    ) -> None:
        values.flags.writeable = False
        self.layout = layout
        self.values = values
        self.converged = converged
        self.n_unsupplied = n_unsupplied
        self._solution = solution

    def __getstate__(self) -> dict[str, Any]:
        """All but the bus/branch solution, which holds what only its engine can use."""
        return {**self.__dict__, "_solution": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.values.flags.writeable = False

    @property
    def solved(self) -> Any:
        """Whether every snapshot converged and supplies every load; (n_candidates,) of a batch."""
        return (self.converged & (self.n_unsupplied == 0)).all(axis=-1)

    @property
    def n_snapshots(self) -> int:
        """Number of snapshots, 1 for a static task."""
        return self.values.shape[-2]

    def snapshot(self, t: int) -> GridState:
        """One snapshot of the state of one candidate.

        Raises:
            ValueError: There is no such snapshot.
        """
        if not isinstance(t, Integral) or not 0 <= t < self.n_snapshots:
            raise ValueError(f"snapshot: expected 0 to {self.n_snapshots - 1}, got {t}")
        return self._part(np.s_[t : t + 1], np.array([t]))

    def batch(self) -> GridState:
        """The state of one candidate as a batch of one."""
        return GridState(
            self.layout,
            self.values[np.newaxis],
            self.converged[np.newaxis],
            self.n_unsupplied[np.newaxis],
            self._solution,
        )

    def snapshots(self, which: NDArray[np.int64]) -> GridState:
        """The states of a batch in some of its snapshots."""
        n = self.n_snapshots
        solution = self._solution
        rows = (np.arange(len(self.values))[:, np.newaxis] * n + which).ravel()
        return GridState(
            self.layout,
            self.values.take(which, axis=-2),
            self.converged[..., which],
            self.n_unsupplied[..., which],
            None if solution is None else lambda row: solution(int(rows[row])),
        )

    def candidate(self, i: int) -> GridState:
        """The state of one candidate of a batch."""
        return self._part(i, i * self.n_snapshots + np.arange(self.n_snapshots))

    def candidates(self, which: NDArray[np.int64]) -> GridState:
        """The states of some candidates of a batch, a batch again."""
        rows = which[:, np.newaxis] * self.n_snapshots + np.arange(self.n_snapshots)
        return self._part(which, rows.ravel())

    def _part(self, index: Any, rows: NDArray[np.int64]) -> GridState:
        solution = self._solution
        return GridState(
            self.layout,
            self.values[index],
            self.converged[index],
            self.n_unsupplied[index],
            None if solution is None else lambda row: solution(int(rows[row])),
        )

    def bus_branch(self, row: int) -> BusBranchSolution:
        """Admittances and complex voltages of the bus/branch model of one power flow.

        Args:
            row: The snapshot; in a batch the snapshots of all candidates one after the other.

        Raises:
            ValueError: The engine has no bus/branch model.
        """
        if self._solution is None:
            raise ValueError(
                "this state has no bus admittance matrix: its engine gives none, or it was copied "
                "or stored; solve again, or use another engine"
            )
        return self._solution(row)

    def __getitem__(self, quantity: str) -> FloatArray:
        """A quantity of the layout, shape (..., n_snapshots, n_elements)."""
        return self.values[..., self.layout.slices[quantity]]

    @property
    def vm_pu(self) -> FloatArray:
        """Bus voltage magnitudes, (..., n_snapshots, n_buses). [p.u.]"""
        return self["vm_pu"]

    @property
    def va_degree(self) -> FloatArray:
        """Bus voltage angles, (..., n_snapshots, n_buses). [degree]"""
        return self["va_degree"]

    @property
    def line_loss_mw(self) -> FloatArray:
        """Active losses per line, (..., n_snapshots, n_lines). [MW]"""
        return self["line_loss_mw"]

    @property
    def line_loading_percent(self) -> FloatArray:
        """Larger end current over the rated current, (..., n_snapshots, n_lines). [%]"""
        return self["line_loading_percent"]

    @property
    def trafo_loss_mw(self) -> FloatArray:
        """Active losses per two-winding transformer, (..., n_snapshots, n_trafos). [MW]"""
        return self["trafo_loss_mw"]

    @property
    def trafo_loading_percent(self) -> FloatArray:
        """Larger winding current over its rated current, (..., n_snapshots, n_trafos). [%]"""
        return self["trafo_loading_percent"]

    @property
    def trafo3w_loss_mw(self) -> FloatArray:
        """Active losses per three-winding transformer, (..., n_snapshots, n_trafo3w). [MW]"""
        return self["trafo3w_loss_mw"]

    @property
    def trafo3w_loading_percent(self) -> FloatArray:
        """Largest winding current over its rated current, (..., n_snapshots, n_trafo3w). [%]"""
        return self["trafo3w_loading_percent"]

    @property
    def impedance_loss_mw(self) -> FloatArray:
        """Active losses per impedance element, (..., n_snapshots, n_impedances). [MW]"""
        return self["impedance_loss_mw"]

    @property
    def gen_p_mw(self) -> FloatArray:
        """Active power of generators, injection positive, (..., n_snapshots, n_gens). [MW]"""
        return self["gen_p_mw"]

    @property
    def gen_q_mvar(self) -> FloatArray:
        """Reactive power of generators, injection positive, (..., n_snapshots, n_gens). [Mvar]"""
        return self["gen_q_mvar"]

    @property
    def ext_grid_p_mw(self) -> FloatArray:
        """Active power from external grids, (..., n_snapshots, n_ext_grids). [MW]"""
        return self["ext_grid_p_mw"]

    @property
    def ext_grid_q_mvar(self) -> FloatArray:
        """Reactive power from external grids, (..., n_snapshots, n_ext_grids). [Mvar]"""
        return self["ext_grid_q_mvar"]

    @property
    def exchange_mw(self) -> FloatArray:
        """Active power from all slacks, external grids and generators, (..., n_snapshots). [MW]"""
        total: FloatArray = self.ext_grid_p_mw.sum(axis=-1)
        if self.layout.is_slack_gen.any():
            slack_gens = self.gen_p_mw.compress(self.layout.is_slack_gen, axis=-1)
            total = total + slack_gens.sum(axis=-1)
        return total

    @property
    def p_loss_mw(self) -> FloatArray:
        """Active losses of all branches, (..., n_snapshots). [MW]"""
        return self["branch_loss_mw"].sum(axis=-1)
