"""The reference engine: plain ``pandapower.runpp``, slow and always right."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import networkx as nx
import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import NDArray
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from pandapower.pypower.idx_bus import (
    BUS_TYPE,
    CID_P,
    CID_Q,
    CZD_P,
    CZD_Q,
    PD,
    PQ,
    PV,
    QD,
    SL_FAC,
)
from pandapower.pypower.idx_gen import GEN_BUS, QMAX, QMIN, VG

from gridproblems.state import (
    QUANTITIES,
    BusBranchSolution,
    FloatArray,
    GridState,
    Layout,
    Settings,
)

#: Tables whose elements must be served, with the columns of their buses: all that draw power, but
#: no generators of any kind, whatever the sign of their power.
CONSUMERS = {
    "load": ("bus",),
    "asymmetric_load": ("bus",),
    "motor": ("bus",),
    "ward": ("bus",),
    "xward": ("bus",),
    "storage": ("bus",),
    "dcline": ("from_bus", "to_bus"),
}
#: What pandapower raises where it has no solution: `UserWarning` is its refusal of a net, such as
#: one without reference bus, or with different set-points at one bus.
NO_SOLUTION = (LoadflowNotConverged, UserWarning)


def runpp_options(net: pandapowerNet) -> dict[str, Any]:
    """Options of every power flow of this package: pandapower's own Newton, tight tolerance.

    Without pandapower's compiled loops, which every process compiles anew (3 to 5 s) to save a
    fifth of a power flow. Other options are those in ``net.user_pf_options``, as in any ``runpp``.
    """
    return {
        "lightsim2grid": False,
        "numba": False,
        # pandapower compares it with mismatches in p.u. of sn_mva
        "tolerance_mva": tolerance_mva(net) / float(net.sn_mva),
        "max_iteration": max_iterations(net),
    }


def tolerance_mva(net: pandapowerNet) -> float:
    """Largest power mismatch of a solved bus: below 1e-8 MVA, less in nets under 100 MW. [MVA]"""
    load_mw = float(np.nansum(np.abs(net.load.p_mw.to_numpy(dtype=float))))
    # pandapower takes its own default of 1e-8 for an option that was not given
    return 0.99e-8 * min(1.0, max(load_mw / 100.0, 1e-3))


def max_iterations(net: pandapowerNet) -> int | str:
    """Iterations of a power flow: the user's number, else pandapower's, ``"auto"``.

    Where loads depend on voltage, 200: ``runpp`` leaves that out of its Jacobian and needs many.
    """
    options = net.get("user_pf_options", {})
    if depends_on_voltage(net) and options.get("algorithm", "nr") == "nr":
        return options.get("max_iteration", 200)
    return options.get("max_iteration", "auto")


def depends_on_voltage(net: pandapowerNet) -> bool:
    """Whether loads in service have shares of constant impedance or constant current."""
    if not net.get("user_pf_options", {}).get("voltage_depend_loads", True):
        return False
    factors = [c for c in net.load.columns if c.startswith("const_")]
    in_service = net.load.in_service.astype(bool)
    return bool((net.load.loc[in_service, factors].to_numpy(dtype=float) != 0).any())


def consumers(net: pandapowerNet) -> list[tuple[str, int, int]]:
    """Consumers in service: table, index and bus; DC lines once per end."""
    return [
        (table, element, bus)
        for table, columns in CONSUMERS.items()
        for column in columns
        for element, bus in net[table].loc[net[table].in_service.astype(bool), column].items()
    ]


def bus_groups(net: pandapowerNet, joins: pd.Series) -> dict[int, int]:
    """For each bus the first of the buses that some of the switches join it with.

    Args:
        net: The net.
        joins: Which of its switches, all between two buses, join them.
    """
    graph = nx.Graph()
    graph.add_nodes_from(net.bus.index)
    pairs = net.switch.loc[joins, ["bus", "element"]]
    graph.add_edges_from(pairs.itertuples(index=False, name=None))
    return {bus: min(group) for group in nx.connected_components(graph) for bus in group}


def fused_buses(net: pandapowerNet) -> dict[int, int]:
    """For each bus the first of the buses that closed couplers without impedance join it with."""
    is_coupler = (net.switch.et == "b") & net.switch.closed.astype(bool)
    return bus_groups(net, is_coupler & ~(net.switch.z_ohm > 0))


_ENDS = ("from_bus", "to_bus")
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
    first = fused_buses(net)
    held = {
        first.get(bus, bus)
        for table, columns in {"gen": ("bus",), "ext_grid": ("bus",), "dcline": _ENDS}.items()
        for column in columns
        for bus in net[table].loc[net[table].in_service.astype(bool), column]
    }
    layout = Layout(
        {quantity: len(net[table]) for quantity, table in QUANTITIES.items()},
        np.array([first[bus] not in held for bus in net.bus.index], dtype=np.bool_),
        net.gen.slack.to_numpy(dtype=np.bool_),
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


def unsupplied(net: pandapowerNet) -> list[tuple[str, int]]:
    """Consumers in service (`CONSUMERS`) whose bus has no voltage in a solved net."""
    vm_pu = net.res_bus.vm_pu
    dead = set(vm_pu.index[~np.isfinite(vm_pu.to_numpy(dtype=float))])
    return [(table, element) for table, element, bus in consumers(net) if bus in dead]


def has_unknowns(net: pandapowerNet) -> bool:
    """Whether a net that ``runpp`` has run on had more to solve than buses that sources hold."""
    return bool(np.isin(net._ppc["bus"][:, BUS_TYPE], (PQ, PV)).any())


class ReferenceEngine:
    """Solves anything pandapower can model by ``pandapower.runpp`` on a private copy.

    Settings that ``runpp`` refuses, such as those without any source, are states that did not
    converge.

    Args:
        net: The base case; it is copied and never changed.
        for_many: Whether compiling pandapower's loops is worth the time, as for a run.
    """

    releases_gil = False

    def __init__(self, net: pandapowerNet, for_many: bool = True) -> None:
        self._net = copy.deepcopy(net)
        self._layout = layout_of(net)
        self._options = runpp_options(net)
        if for_many:
            del self._options["numba"]  # as in the net's own options, else compiled

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, one power flow after the other."""
        shape, n = settings.shape, len(settings.rows)
        values = np.full((n, self._layout.n_values), np.nan)
        converged = np.zeros(n, dtype=bool)
        n_unsupplied = np.zeros(n, dtype=np.int64)
        models: dict[int, dict[str, Any]] = {}
        loads: dict[int, NDArray[np.complex128]] = {}
        row_bus: dict[int, NDArray[np.int64]] = {}
        for t in range(n):
            net = self._with(settings, t)
            try:
                pp.runpp(net, **self._options)
            except NO_SOLUTION:
                continue
            if not has_unknowns(net):  # no branch in service: nothing was solved
                continue
            converged[t] = True
            n_unsupplied[t] = len(unsupplied(net))
            models[t] = net._ppc["internal"]
            loads[t] = loads_mva(net, len(models[t].get("bus", ())))  # no model of some algorithms
            row_bus[t] = _row_bus(net, len(loads[t]))
            for quantity, (table, column) in _RESULTS.items():
                values[t, self._layout.slices[quantity]] = _column(net, table, column)
        return GridState(
            self._layout,
            values.reshape(*shape, -1),
            converged.reshape(shape),
            n_unsupplied.reshape(shape),
            lambda t: _bus_branch_solution(self._net, models[t], loads[t], row_bus[t]),
        )

    def check(self, settings: Settings) -> None:
        """pandapower solves any settings."""

    def _with(self, settings: Settings, row: int) -> pandapowerNet:
        """A net of its own for one power flow: the tables that change are copies.

        ``runpp`` adds generators and converters for DC lines, and may start from results.
        """
        net = copy.copy(self._net)
        changed = {"gen", "vsc"} | {field.table for field in settings.fields}
        changed |= {table for table in net if table.startswith("res_")}
        for table in changed & set(net):
            net[table] = self._net[table].copy()
        apply_settings(net, settings, row)
        return net


def _column(net: pandapowerNet, table: str, column: str) -> FloatArray:
    """A result column in the row order of its element table; branches out of service carry 0."""
    result = net[table]
    if column not in result:
        return np.zeros(len(result))
    values = result[column].reindex(net[table.removeprefix("res_")].index).to_numpy(dtype=float)
    return values if table == "res_bus" else np.where(np.isnan(values), 0.0, values)


def loads_mva(
    net: pandapowerNet, n_buses: int, without: Collection[Any] = ()
) -> NDArray[np.complex128]:
    """What the loads in service draw at 1 p.u. at every bus of the model of a translated net.

    Args:
        net: A net that ``runpp`` has run on.
        n_buses: Number of buses of its model.
        without: Loads that do not count.

    Returns:
        Shape (n_buses,). [MVA]
    """
    load = net.load
    bus = net._pd2ppc_lookups["bus"][load.bus.to_numpy()]
    counts = net._is_elements["load"].astype(bool) & (bus >= 0) & (bus < n_buses)
    counts &= ~load.index.isin(without)
    p, q, scaling = (load[c].to_numpy(dtype=float) for c in ("p_mw", "q_mvar", "scaling"))
    total = np.zeros(n_buses, dtype=np.complex128)
    np.add.at(total, bus[counts], (scaling * (p + 1j * q))[counts])
    return total


def _row_bus(net: pandapowerNet, n_buses: int) -> NDArray[np.int64]:
    """Bus of the model for every row of the table of buses, -1 for none."""
    found = net._pd2ppc_lookups["bus"][net.bus.index.to_numpy()].astype(np.int64)
    return np.where((found >= 0) & (found < n_buses), found, -1)


def _bus_branch_solution(
    net: pandapowerNet,
    model: dict[str, Any],
    load_mva: NDArray[np.complex128],
    row_bus: NDArray[np.int64],
) -> BusBranchSolution:
    if not {"Ybus", "V", "pq"} <= set(model):
        raise ValueError("the algorithm of this net's user_pf_options leaves no admittance matrix")
    options = net.get("user_pf_options", {})
    ybus = model["Ybus"].tocsc()
    bus, gen, base_mva = model["bus"].real, model["gen"].real, float(model["baseMVA"])
    slack, pv = model["ref"], model["pv"]
    share = np.zeros(0)
    if options.get("distributed_slack"):  # the first slack alone has a given angle
        slack, pv = slack[:1], np.concatenate([slack[1:], pv])
        share = bus[:, SL_FAC]
    zip_share = bus[:, [CZD_P, CID_P, CZD_Q, CID_Q]]
    gen_bus = gen[:, GEN_BUS].astype(np.int64)
    kept = ~np.isin(gen_bus, slack) & bool(options.get("enforce_q_lims"))
    return BusBranchSolution(
        indptr=ybus.indptr,
        indices=ybus.indices,
        ybus_pu=ybus.data,
        v_pu=model["V"],
        generator_buses=np.concatenate([slack, pv]).astype(np.int32),
        load_buses=model["pq"].astype(np.int32),
        slack_buses=slack.astype(np.int32),
        load_pu=load_mva / base_mva,
        demand_pu=(bus[:, PD] + 1j * bus[:, QD]) / base_mva,
        zip_share=zip_share if zip_share.any() else zip_share[:0],
        slack_share=share,
        limit_buses=gen_bus[kept],
        q_min_pu=gen[kept, QMIN] / base_mva,
        q_max_pu=gen[kept, QMAX] / base_mva,
        setpoint_pu=gen[kept, VG],
        row_bus=row_bus,
    )
