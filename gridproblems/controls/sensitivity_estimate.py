"""A first-order estimate of states from changed powers, to rank moves without a power flow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems.engines import Engine
from gridproblems.state import FloatArray, GridState, Settings


class SensitivityEstimate:
    """States near a working point, as linear functions of the values of settings.

    Everything is linear but the loading and the losses of lines: these follow the complex voltage
    drop along the line, which is linear, by its magnitude and the square of it, with factors from
    the working point. The powers of the working point should load every line.

    Args:
        engine: Solves the working point and one power flow more per value.
        net: Its lines say which voltages a drop is between.
        settings: The working point, of one snapshot.
        step: Change of each value for the finite differences, in its unit.
    """

    def __init__(self, engine: Engine, net: pandapowerNet, settings: Settings, step: float) -> None:
        self._origin = settings.rows[0]
        n = len(self._origin)
        rows = self._origin + step * np.eye(n + 1, n, -1)
        state = engine.solve(Settings(settings.fields, rows))
        place = {bus: i for i, bus in enumerate(net.bus.index)}
        ends = [[place[bus] for bus in net.line[end]] for end in ("from_bus", "to_bus")]
        voltage = state.vm_pu * np.exp(1j * np.deg2rad(state.va_degree))
        drop = np.nan_to_num(voltage[:, ends[0]] - voltage[:, ends[1]])
        values = np.nan_to_num(state.values)
        self.solved = bool(state.solved)
        self._layout = state.layout
        slacks = [
            (f"{table}_p_mw", row)
            for table in ("ext_grid", "gen")
            for row in np.flatnonzero(net[table].get("slack", net[table].in_service).astype(bool))
        ]
        self._exchange = state.layout.slices[slacks[0][0]].start + slacks[0][1] if slacks else None
        self._values, self._value_slopes = values[0], (values[1:] - values[0]) / step
        self._drop, self._drop_slopes = drop[0], (drop[1:] - drop[0]) / step
        size = np.abs(drop[0])
        per_drop = np.divide(1.0, size, out=np.zeros(len(size)), where=size > 0)
        self._loading_per_drop = state.line_loading_percent[0] * per_drop
        self._loss_per_drop2 = state.line_loss_mw[0] * per_drop**2

    def exchanges(
        self, values: FloatArray, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> GridState:
        """States after two values have changed places in all snapshots, a batch of one per pair.

        Args:
            values: Settings before, shape (n_snapshots, n_values).
            first, second: Which values change places, shape (n_pairs,) each.
        """
        beyond = values - self._origin
        moved = (values[:, second] - values[:, first]).T[..., np.newaxis]

        def after(at_origin: NDArray, slopes: NDArray) -> NDArray:
            estimate: NDArray = moved * (slopes[first] - slopes[second])[:, np.newaxis]
            estimate += at_origin + beyond @ slopes
            return estimate

        state = after(self._values, self._value_slopes)
        drop = after(self._drop, self._drop_slopes)
        drop2 = drop.real**2 + drop.imag**2
        slices = self._layout.slices
        state[..., slices["line_loading_percent"]] = np.sqrt(drop2) * self._loading_per_drop
        losses = state[..., slices["line_loss_mw"]]
        more = drop2 @ self._loss_per_drop2 - losses.sum(axis=-1)
        losses[:] = drop2 * self._loss_per_drop2
        if self._exchange is not None:  # which of several does not matter to their sum
            state[..., self._exchange] += more
        shape = state.shape[:-1]
        return GridState(
            self._layout, state, np.ones(shape, dtype=bool), np.zeros(shape, dtype=np.int64)
        )
