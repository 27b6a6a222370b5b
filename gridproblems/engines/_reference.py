"""The reference engine: plain ``pandapower.runpp``, slow and always right."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandapower as pp
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet

from gridproblems.state import (
    QUANTITIES,
    BusBranchSolution,
    FloatArray,
    GridState,
    Layout,
    Settings,
)


def runpp_options(net: pandapowerNet) -> dict[str, Any]:
    """Options of every power flow of this package: pandapower's own Newton, tight tolerance."""
    return {
        "lightsim2grid": False,
        "tolerance_mva": tolerance_mva(net),
        "calculate_voltage_angles": True,
    }


def tolerance_mva(net: pandapowerNet) -> float:
    """Largest power mismatch of a solved bus: 1e-8 MVA, less in nets of less than 100 MW."""
    load_mw = float(np.nansum(np.abs(net.load.p_mw.to_numpy(dtype=float))))
    return 1e-8 * min(1.0, max(load_mw / 100.0, 1e-3))


_RESULTS = {
    "vm_pu": ("res_bus", "vm_pu"),
    "va_degree": ("res_bus", "va_degree"),
    "line_loss_mw": ("res_line", "pl_mw"),
    "line_loading_percent": ("res_line", "loading_percent"),
    "trafo_loss_mw": ("res_trafo", "pl_mw"),
    "trafo_loading_percent": ("res_trafo", "loading_percent"),
    "trafo3w_loss_mw": ("res_trafo3w", "pl_mw"),
    "trafo3w_loading_percent": ("res_trafo3w", "loading_percent"),
    "impedance_loss_mw": ("res_impedance", "pl_mw"),
    "gen_p_mw": ("res_gen", "p_mw"),
    "gen_q_mvar": ("res_gen", "q_mvar"),
    "ext_grid_p_mw": ("res_ext_grid", "p_mw"),
    "ext_grid_q_mvar": ("res_ext_grid", "q_mvar"),
}


def layout_of(net: pandapowerNet) -> Layout:
    """The layout of the states of a net."""
    held = [
        bus
        for table in ("gen", "ext_grid")
        for bus in net[table].bus[net[table].in_service.astype(bool)]
    ]
    layout = Layout(
        {quantity: len(net[table]) for quantity, table in QUANTITIES.items()},
        ~np.isin(net.bus.index.to_numpy(), held),
    )
    layout.join("branch_loss_mw", "line_loss_mw", "impedance_loss_mw")
    layout.join("branch_loading_percent", "line_loading_percent", "trafo3w_loading_percent")
    return layout


def apply_settings(net: pandapowerNet, settings: Settings, row: int = 0) -> None:
    """Writes the settings of one power flow into the tables of a net, in place."""
    for field, values in Settings(settings.fields, settings.rows[row]):
        table = net[field.table]
        dtype = table[field.column].dtype
        if dtype.kind == "b":
            values = values.astype(bool)
        elif dtype.kind in "iu" and np.array_equal(values, np.rint(values)):
            values = values.astype(dtype)
        else:
            table[field.column] = table[field.column].astype(float)
        table.loc[list(field.elements), field.column] = values


def unsupplied_loads(net: pandapowerNet) -> list[int]:
    """Indices of loads in service whose bus has no voltage in a solved net."""
    dead = ~np.isfinite(net.res_bus.vm_pu.reindex(net.load.bus).to_numpy(dtype=float))
    return net.load.index[dead & net.load.in_service.to_numpy(dtype=bool)].tolist()


class ReferenceEngine:
    """Solves anything pandapower can model by ``pandapower.runpp`` on a private copy.

    Args:
        net: The base case; it is copied and never changed.
    """

    releases_gil = False

    def __init__(self, net: pandapowerNet) -> None:
        self._net = copy.deepcopy(net)
        self._layout = layout_of(net)
        self._options = runpp_options(net)

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, one power flow after the other."""
        shape, n = settings.shape, len(settings.rows)
        values = np.full((n, self._layout.n_values), np.nan)
        converged = np.zeros(n, dtype=bool)
        n_unsupplied = np.zeros(n, dtype=np.int64)
        models: dict[int, dict[str, Any]] = {}
        for t in range(n):
            net = self._with(settings, t)
            try:
                pp.runpp(net, **self._options)
            except LoadflowNotConverged:
                continue
            if "V" not in net._ppc["internal"]:  # no branch in service: nothing was solved
                continue
            converged[t] = True
            n_unsupplied[t] = len(unsupplied_loads(net))
            models[t] = net._ppc["internal"]
            for quantity, (table, column) in _RESULTS.items():
                values[t, self._layout.slices[quantity]] = _column(net, table, column)
        return GridState(
            self._layout,
            values.reshape(*shape, -1),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            lambda t: _bus_branch_solution(models[t]),
        )

    def check(self, settings: Settings) -> None:
        """pandapower solves any settings."""

    def _with(self, settings: Settings, row: int) -> pandapowerNet:
        """A net of its own for one power flow: the tables that settings change are copies."""
        net = copy.copy(self._net)
        for table in {field.table for field in settings.fields}:
            net[table] = self._net[table].copy()
        apply_settings(net, settings, row)
        return net


def _column(net: pandapowerNet, table: str, column: str) -> FloatArray:
    """A result column in the row order of its element table; branches out of service carry 0."""
    result = net[table]
    if column not in result:
        return np.zeros(len(result))
    values = result[column].reindex(net[table.removeprefix("res_")].index).to_numpy(dtype=float)
    return values if table == "res_bus" else np.nan_to_num(values, nan=0.0)


def _bus_branch_solution(model: dict[str, Any]) -> BusBranchSolution:
    ybus = model["Ybus"].tocsc()
    return BusBranchSolution(
        indptr=ybus.indptr,
        indices=ybus.indices,
        ybus_pu=ybus.data,
        v_pu=model["V"],
        generator_buses=np.concatenate([model["ref"], model["pv"]]).astype(np.int32),
        load_buses=model["pq"].astype(np.int32),
    )
