"""The bus/branch model that pandapower builds, as arrays an engine can change and solve.

pandapower translates a net once (``runpp`` on a private copy); what a field of the settings
changes in that model is written down here as positions in one parameter vector. The model is
pandapower's, so whatever pandapower represents is represented: switches, three-winding
transformers, wards, line charging, iron losses.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandapower as pp
import pandas as pd
from numpy.typing import NDArray
from pandapower.auxiliary import LoadflowNotConverged, pandapowerNet
from pandapower.build_branch import _calc_branch_values_from_trafo_df, _trafo_df_from_trafo3w
from pandapower.pypower.idx_brch import (
    BR_B,
    BR_B_ASYM,
    BR_G,
    BR_G_ASYM,
    BR_R,
    BR_STATUS,
    BR_X,
    F_BUS,
    SHIFT,
    T_BUS,
    TAP,
)
from pandapower.pypower.idx_bus import (
    BASE_KV,
    BS,
    CID_P,
    CID_Q,
    CZD_P,
    CZD_Q,
    GS,
    PD,
    QD,
    SL_FAC,
)
from pandapower.pypower.idx_gen import GEN_BUS, PG, QMAX, QMIN
from pandapower.pypower.makeYbus import branch_vectors
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from gridproblems.engines._kernels import (
    FROM_END,
    SAME_PU,
    TO_END,
    WHOLE,
    Arrays,
    ComplexArray,
    IntArray,
    assemble,
    prepare_all,
)
from gridproblems.engines.reference import (
    bus_groups,
    consumers,
    depends_on_voltage,
    layout_of,
    loads_mva,
    runpp_options,
)
from gridproblems.state import BusBranchSolution, Field, FloatArray, Layout

#: Columns that are numbers of the compiled model; every other column changes its structure.
NUMERIC_COLUMNS = {
    "gen": ("vm_pu", "p_mw", "in_service"),
    "ext_grid": ("vm_pu",),
    "load": ("p_mw", "q_mvar", "scaling"),
    "sgen": ("p_mw", "q_mvar", "scaling"),
    "storage": ("p_mw", "q_mvar", "scaling"),
    "shunt": ("p_mw", "q_mvar", "step"),
    "trafo": ("tap_pos", "in_service"),
    "trafo3w": ("tap_pos",),
    "line": ("in_service",),
    "switch": ("closed",),
}
#: Sections of the parameter vector: what they belong to, and the column of their base values.
SECTIONS = (
    ("setpoint", "vm_pu"),
    ("injection", "p_mw"),
    ("injection", "q_mvar"),
    ("injection", "scaling"),
    ("shunt", "p_mw"),
    ("shunt", "q_mvar"),
    ("shunt", "step"),
    ("tap", "tap_pos"),
    ("status", "in_service"),
    ("unit", "in_service"),
)
#: Tables whose elements are not, or not only, numbers of a bus/branch model.
UNREPRESENTED_TABLES = (
    "svc",
    "tcsc",
    "ssc",
    "vsc",
    "vsc_stacked",
    "vsc_bipolar",
    "line_dc",
    "bus_dc",
    "load_dc",
    "source_dc",
)
ANY = object()
#: Options of ``net.user_pf_options`` that the compiled model follows, with their values; it is
#: built by ``runpp`` and so follows all that only change numbers or the start.
REPRESENTED_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(
        (
            "calculate_voltage_angles",
            "trafo_model",
            "switch_rx_ratio",
            "voltage_depend_loads",
            "init",
            "init_vm_pu",
            "init_va_degree",
            "max_iteration",
            "tolerance_mva",
            "delta_q",
            "tdpf_delay_s",
            "tdpf_update_r_theta",
            "numba",
            "lightsim2grid",
            "v_debug",
            "use_umfpack",
            "permc_spec",
        ),
        ANY,
    ),
    "algorithm": ("nr",),
    "trafo_loading": ("current",),
    "trafo3w_losses": ("hv", "mv", "lv"),  # "star" puts a shunt inside the transformer
    "check_connectivity": (True,),
    "enforce_p_lims": (False,),
    "enforce_q_lims": (False, True),
    "distributed_slack": (False, True),
    "consider_line_temperature": (False,),
    "neglect_open_switch_branches": (False,),
    "tdpf": (False,),
    "run_control": (False,),
    "recycle": (None, False),
    "only_v_results": (False,),
}
_STATUS_COLUMNS = ("in_service", "closed")
_DC_COLUMNS = (BR_X, TAP, SHIFT)  # of pandapower's branch table, what the DC power flow needs
_MAX_TAP_ROWS = 100_000  # positions of tap changers that pandapower is asked for together
_INJECTION_SIGN = {"gen": 1.0, "sgen": 1.0, "load": -1.0, "storage": -1.0}
MAX_TAPS = 20_001


def _section(field: Field) -> int:
    """Section of the parameter vector that a numeric field belongs to."""
    if field.column in _STATUS_COLUMNS:
        return SECTIONS.index(("unit" if field.table == "gen" else "status", "in_service"))
    by_column = {"vm_pu": "setpoint", "tap_pos": "tap"}
    group = "shunt" if field.table == "shunt" else "injection"
    return SECTIONS.index((by_column.get(field.column, group), field.column))


def is_numeric(net: pandapowerNet, field: Field) -> bool:
    """Whether a field only changes numbers of the compiled model.

    Tap changers and shunts that follow a characteristic table, tap changers without whole limits,
    couplers between buses, and generators that go out of service beside other machines, as slacks,
    or where all share the slack's power, are left to pandapower.
    """
    if field.column not in NUMERIC_COLUMNS.get(field.table, ()):
        return False
    table = net[field.table].loc[list(field.elements)]
    if field.table == "switch":
        return bool(table["et"].isin(["l", "t"]).all())
    if (field.table, field.column) == ("gen", "in_service"):
        return not asks_for(net, "distributed_slack") and _stand_alone(net, field.elements)
    if field.table == "shunt" and "step_dependency_table" in table:
        return not table["step_dependency_table"].eq(True).any()
    if field.column == "tap_pos":
        if {"tap_min", "tap_max"} - set(table.columns):
            return False
        if "tap_dependency_table" in table and table["tap_dependency_table"].eq(True).any():
            return False
        limits = table[["tap_min", "tap_max"]].to_numpy(dtype=float)
        return bool(np.isfinite(limits).all() and (np.ptp(limits, axis=1) < MAX_TAPS).all())
    return True


def asks_for(net: pandapowerNet, option: str) -> bool:
    """Whether an option of the power flow is on in ``net.user_pf_options``."""
    return bool(net.get("user_pf_options", {}).get(option, False))


def beyond_numbers(net: pandapowerNet) -> str | None:
    """What of a net needs more than a bus/branch model whose buses are PQ, PV or slack, or None:
    powers that depend on voltage, reactive limits, or slack power that many machines share."""
    if depends_on_voltage(net):
        return "loads depend on voltage (const_z/const_i percent)"
    for option in ("enforce_q_lims", "distributed_slack"):
        if asks_for(net, option):
            return f"the net asks for the power flow option {option}=True"
    return None


def unsupported_reason(net: pandapowerNet) -> str | None:
    """Why the bus/branch model cannot stand for this net, or None."""
    for table in UNREPRESENTED_TABLES:
        if table in net and len(net[table]):
            return f"the net has elements in table {table!r}"
    for option, value in net.get("user_pf_options", {}).items():
        plain = REPRESENTED_OPTIONS.get(option, ())
        if plain is not ANY and value not in plain:
            return f"the net asks for the power flow option {option}={value!r}"
    return _unequal_slacks(net) or _unlike_limits(net) or _unlike_shares(net)


def _machines_at(net: pandapowerNet) -> dict[int, list[tuple[str, Any]]]:
    """Machines that hold the voltage of each group of buses that couplers may join.

    Whether they and the couplers are in service does not count here, for settings may change it.
    """
    group_of = bus_groups(net, net.switch.et == "b")
    columns = {"ext_grid": ("bus",), "gen": ("bus",), "dcline": ("from_bus", "to_bus")}
    found: dict[int, list[tuple[str, Any]]] = {}
    for table, ends in columns.items():
        for column in ends:
            for element, bus in net[table][column].items():
                found.setdefault(group_of[bus], []).append((table, element))
    return found


def _stand_alone(net: pandapowerNet, gens: tuple[Any, ...]) -> bool:
    """Whether each of some generators is no slack and holds the voltage of its buses alone."""
    alone = {machines[0] for machines in _machines_at(net).values() if len(machines) == 1}
    is_slack = net.gen.slack.astype(bool)
    return all(("gen", gen) in alone and not is_slack[gen] for gen in gens)


def _unlike_limits(net: pandapowerNet) -> str | None:
    """Why ``runpp`` keeps reactive limits otherwise than the Newton engine, or None."""
    if not asks_for(net, "enforce_q_lims"):
        return None
    option = "the power flow option enforce_q_lims=True"
    if asks_for(net, "distributed_slack"):
        return f"the net asks for {option} together with distributed_slack"
    if depends_on_voltage(net):
        return f"the net asks for {option}, and loads depend on voltage"
    if "reactive_capability_curve" in net.gen and net.gen.reactive_capability_curve.eq(True).any():
        return f"the net asks for {option} with capability curves"
    for machines in _machines_at(net).values():
        if len(machines) > 1:
            (first, a), (second, b) = machines[:2]
            return f"the net asks for {option}, with {first} {a} and {second} {b} at one bus"
    return None


def _unlike_shares(net: pandapowerNet) -> str | None:
    """Why ``runpp`` shares the slack's power otherwise than the Newton engine, or None."""
    if not asks_for(net, "distributed_slack"):
        return None
    option = "the power flow option distributed_slack=True"
    if len(net.xward):
        return f"the net asks for {option} and has extended wards"
    for machines in _machines_at(net).values():
        if len(machines) > 1:
            (first, a), (second, b) = machines[:2]
            return f"the net asks for {option}, with {first} {a} and {second} {b} at one bus"
    return None


def _unequal_slacks(net: pandapowerNet) -> str | None:
    """Names slack machines at one bus between which ``runpp`` does not share in equal parts.

    By slack weight it shares only what the DC power flow before has not shared already. Whether
    machines and couplers between their buses are in service does not count here, for settings may
    change it.
    """
    group_of = bus_groups(net, net.switch.et == "b")
    at_bus: dict[int, list[tuple[str, int]]] = {}
    for table in ("ext_grid", "gen"):
        is_slack = net[table].get("slack", pd.Series(True, net[table].index)).astype(bool)
        for element in net[table].index[is_slack]:
            at_bus.setdefault(group_of[net[table].at[element, "bus"]], []).append((table, element))
    for machines in at_bus.values():
        weights = [float(net[t].at[e, "slack_weight"]) for t, e in machines]
        equal = len(set(weights)) == 1 and (machines[-1][0] == "ext_grid" or not any(weights))
        if len(machines) > 1 and not equal:
            names = " and ".join(
                f"{t} {e} (slack_weight {w:g})" for (t, e), w in zip(machines, weights, strict=True)
            )
            return f"{names} share the power of a slack bus in unequal parts"
    return None


class NothingToSolve(Exception):
    """No branch connects anything to a voltage source, or pandapower refuses the net."""


class DCBranches(NamedTuple):
    """Branches of the DC power flow in which ``runpp`` finds the angles it starts with.

    Susceptances (p.u.) and phase shifts (rad) per branch, and per row of ``Arrays.tap_y_pu``.
    """

    b_pu: FloatArray
    shift_rad: FloatArray
    tap_b_pu: FloatArray
    tap_shift_rad: FloatArray


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A net as pandapower's bus/branch model, with the places that settings change."""

    layout: Layout
    n_unsupplied: int
    consumer_bus: IntArray  # model bus of every consumer in service that has supply
    switchable: IntArray  # PV buses that become PQ buses as units go out or reach their limits
    slack_share: FloatArray  # of every bus in the power that machines share; none where a slack has
    load_fixed_mva: ComplexArray  # of every bus, without the loads that settings change
    load_injection: IntArray  # these among the injections
    reference: NDArray[np.int32]
    pv: NDArray[np.int32]
    pq: NDArray[np.int32]
    slack_weights: FloatArray
    arrays: Arrays
    parameters: FloatArray  # of the base case
    # admittance matrix (CSC) without shunts and without the branches that settings change
    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    ybus_fixed_pu: ComplexArray
    branch_position: IntArray  # (n_branches, 4) places in the matrix data
    diagonal_position: IntArray
    varying_branch: IntArray
    # set-points of machines at one bus, (n_pairs, 2): places in the parameters, -1 where fixed
    paired_place: IntArray
    paired_setpoint_pu: FloatArray
    dc: DCBranches | None  # None where ``runpp`` does not start from a DC power flow


def compile_model(net: pandapowerNet, fields: tuple[Field, ...]) -> tuple[CompiledModel, IntArray]:
    """Compiles a net for settings of the given numeric fields.

    Args:
        net: The base case; it is copied and never changed.
        fields: Numeric fields (`is_numeric`).

    Returns:
        The model, and for each value of the settings its place in the parameter vector, -1
        where the value has no effect (an element out of service or without supply).

    Raises:
        NothingToSolve: The net has no branch to solve for, or ``runpp`` refuses it.
    """
    base = net
    net = copy.deepcopy(net)
    for field in fields:
        if field.column in _STATUS_COLUMNS:
            net[field.table].loc[list(field.elements), field.column] = True
    _translate(net)
    start = None
    if any(not (net[f.table][f.column] == base[f.table][f.column]).all() for f in fields):
        start = copy.deepcopy(base)
        with contextlib.suppress(NothingToSolve):
            _translate(start)
    return _Compiler(base, net, fields, start).compile()


def _translate(net: pandapowerNet) -> None:
    """Lets pandapower build its model of a net and where it would start, in ``net._ppc``.

    Raises:
        NothingToSolve: See `compile_model`.
    """
    options = dict(net.get("user_pf_options", {}))
    if options.pop("enforce_q_lims", None) is not None:  # it would switch buses before it is solved
        net["user_pf_options"] = options
    try:
        pp.runpp(net, **{**runpp_options(net), "max_iteration": 0})
    except LoadflowNotConverged:
        pass
    except UserWarning as error:
        raise NothingToSolve(str(error)) from None
    except (ValueError, NotImplementedError) as error:
        if asks_for(net, "distributed_slack"):  # an island whose machines share nothing
            raise NothingToSolve(str(error)) from None
        raise
    if "V" not in net._ppc["internal"]:
        raise NothingToSolve


def bus_branch_solution(
    model: CompiledModel, parameters: FloatArray, v_pu: ComplexArray
) -> BusBranchSolution:
    """Admittances and voltages of one solved power flow of a model."""
    a = model.arrays
    _, _, _, demand, y, shunt = prepare_all(parameters[np.newaxis], a)
    ybus = assemble(
        y,
        shunt,
        model.ybus_fixed_pu,
        model.varying_branch,
        model.branch_position,
        model.diagonal_position,
    )
    pv, pq = bus_kinds(model, parameters, v_pu)
    p, q, scaling = (parameters[a.sections[i] : a.sections[i + 1]] for i in (1, 2, 3))
    load, own = model.load_fixed_mva.copy(), model.load_injection
    np.add.at(load, a.injection_bus[own], (scaling * (p + 1j * q))[own])
    kept = ~np.isin(a.limit_bus, a.unit_bus[parameters[a.sections[9] :] == 0])
    return BusBranchSolution(
        indptr=model.indptr,
        indices=model.indices,
        ybus_pu=ybus[0],
        v_pu=v_pu,
        generator_buses=np.concatenate([model.reference, pv]),
        load_buses=pq,
        slack_buses=model.reference,
        load_pu=load / a.base_mva,
        demand_pu=demand[0] / a.base_mva,
        zip_share=a.zip_share,
        slack_share=model.slack_share,
        limit_buses=a.limit_bus[kept],
        q_min_pu=a.limit_min_mvar[kept] / a.base_mva,
        q_max_pu=a.limit_max_mvar[kept] / a.base_mva,
        setpoint_pu=_setpoints(model, parameters)[a.limit_bus[kept]],
        row_bus=a.row_bus,
    )


def bus_kinds(
    model: CompiledModel, parameters: FloatArray, v_pu: ComplexArray
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """PV and PQ buses of one power flow: those of units out of service are PQ, and those whose
    voltages have left their set-points, for their machines are at a reactive limit."""
    a = model.arrays
    free = a.unit_bus[parameters[a.sections[9] :] == 0]
    if len(a.limit_bus):
        setpoint = _setpoints(model, parameters)
        left = np.abs(np.abs(v_pu[a.limit_bus]) - setpoint[a.limit_bus]) > SAME_PU
        free = np.concatenate([free, a.limit_bus[left]])
    if not len(free):
        return model.pv, model.pq
    is_free = np.isin(model.pv, free)
    return model.pv[~is_free], np.sort(np.concatenate([model.pq, model.pv[is_free]]))


def _setpoints(model: CompiledModel, parameters: FloatArray) -> FloatArray:
    """Voltages that machines hold; of no meaning for other buses, shape (n_model_buses,)."""
    setpoint: FloatArray = np.abs(model.arrays.v_start_pu)
    setpoint[model.arrays.setpoint_bus] = parameters[: model.arrays.sections[1]]
    return setpoint


def equal_setpoints(model: CompiledModel, parameters: FloatArray) -> NDArray[np.bool_]:
    """Whether machines at one bus have one set-point, as ``runpp`` demands, shape (n_rows,)."""
    if not len(model.paired_place):
        return np.ones(len(parameters), dtype=np.bool_)
    setpoint = np.repeat(model.paired_setpoint_pu[np.newaxis], len(parameters), axis=0)
    varies = model.paired_place >= 0
    setpoint[:, varies] = parameters[:, model.paired_place[varies]]
    return np.asarray(np.isclose(setpoint[..., 1], setpoint[..., 0]).all(axis=-1))


def dc_start(
    model: CompiledModel,
    dc: DCBranches,
    parameters: FloatArray,
    v_pu: ComplexArray,
    s_pu: ComplexArray,
    shunt_pu: ComplexArray,
    y_pu: ComplexArray,
) -> ComplexArray:
    """Where ``runpp`` starts this very power flow: angles of its DC power flow.

    Args:
        model: The model; every bus must be connected to a slack.
        dc: Its DC branches.
        parameters, v_pu, s_pu, shunt_pu, y_pu: Of one power flow, see `_kernels.prepare`; the
            magnitudes of the voltages and the angles of the slacks stay.

    Returns:
        Shape (n_model_buses,), NaN where the DC power flow has no solution.
    """
    a = model.arrays
    b, shift = dc.b_pu.copy(), dc.shift_rad.copy()
    if len(a.tap_branch):
        position = parameters[a.sections[7] : a.sections[8]] - a.tap_first
        row = a.tap_row + np.rint(position).astype(np.int64)[a.tap_changer]
        b[a.tap_branch], shift[a.tap_branch] = dc.tap_b_pu[row], dc.tap_shift_rad[row]
    b[y_pu[:, 1] == 0] = 0.0  # open
    f, t = a.branch_from, a.branch_to
    p = s_pu.real - shunt_pu.real
    np.add.at(p, f, b * shift)
    np.subtract.at(p, t, b * shift)
    places = np.concatenate([f, f, t, t]), np.concatenate([f, t, f, t])
    matrix = csc_matrix((np.concatenate([b, -b, -b, b]), places), (len(p), len(p)))
    angle = np.angle(v_pu)
    free = np.concatenate([model.pv, model.pq])
    of_free = matrix[free]
    known = of_free[:, model.reference] @ angle[model.reference]
    try:
        angle[free] = splu(of_free[:, free].tocsc()).solve(p[free] - known)
    except RuntimeError:  # susceptances that cancel; from NaN Newton does not converge
        angle[:] = np.nan
    start: ComplexArray = np.abs(v_pu) * np.exp(1j * angle)
    return start


class _Compiler:
    """Reads a net that pandapower has translated; `compile` returns what the engines need."""

    def __init__(
        self,
        base: pandapowerNet,
        net: pandapowerNet,
        fields: tuple[Field, ...],
        start: pandapowerNet | None,
    ) -> None:
        self.base, self.net, self.fields, self.start = base, net, fields, start
        self.internal: dict[str, Any] = net._ppc["internal"]
        self.bus, self.gen, self.branch = (
            self.internal[table].real for table in ("bus", "gen", "branch")
        )
        self.base_mva = float(self.internal["baseMVA"])
        self.n_bus = len(self.bus)
        self.bus_lookup = net._pd2ppc_lookups["bus"]
        self.branch_of_ppc_row = _compress(self.internal["branch_is"])
        self.gen_of_ppc_row = _compress(self.internal["gen_is"])
        self.layout = layout_of(net)

    def compile(self) -> tuple[CompiledModel, IntArray]:
        """Puts the parts together."""
        members: dict[str, dict[tuple[str, int], int]] = {group: {} for group, _ in SECTIONS}
        for field in self.fields:
            group = members[SECTIONS[_section(field)][0]]
            for element in field.elements:
                if self._bus_of(field.table, element) >= 0:
                    group.setdefault((field.table, element), len(group))
        setpoints, injections, taps, status, units = (
            list(members[group]) for group in ("setpoint", "injection", "tap", "status", "unit")
        )
        shunts = [element for _, element in members["shunt"]]

        lengths = [len(members[group]) for group, _ in SECTIONS]
        sections = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parameters = np.array(
            [
                self._base_value(*key, column)
                for group, column in SECTIONS
                for key in members[group]
            ],
            dtype=float,
        )
        places = []
        for field in self.fields:
            section = _section(field)
            group = members[SECTIONS[section][0]]
            for element in field.elements:
                place = group.get((field.table, element), -1)
                places.append(place + sections[section] if place >= 0 else -1)

        status_branch = np.array([self._switched(t, e)[0] for t, e in status], dtype=np.int64)
        status_end = np.array([self._switched(t, e)[1] for t, e in status], dtype=np.int64)
        tap, tap_rows = self._tap_tables(taps)
        varying = np.union1d(tap["tap_branch"], status_branch).astype(np.int64)
        shunt_bus = np.array([self._bus_of("shunt", e) for e in shunts], dtype=np.int64)
        shunt_kv = np.array([self.net.shunt.at[e, "vn_kv"] for e in shunts], dtype=float)
        shunt_y = (self.bus[shunt_bus, BASE_KV] / shunt_kv) ** 2 / self.base_mva
        p, q, scaling = (parameters[sections[i] : sections[i + 1]] for i in (1, 2, 3))
        sp, sq, step = (parameters[sections[i] : sections[i + 1]] for i in (4, 5, 6))
        injection_bus = np.array([self._bus_of(t, e) for t, e in injections], dtype=np.int64)
        injection_sign = np.array([_INJECTION_SIGN[t] for t, _ in injections], dtype=float)
        is_machine = np.array([t == "gen" for t, _ in injections], dtype=bool)
        injected = injection_sign * scaling * (p + 1j * q)

        branch_from = self.branch[:, F_BUS].astype(np.int64)
        branch_to = self.branch[:, T_BUS].astype(np.int64)
        ytt, yff, yft, ytf = branch_vectors(self.internal["branch"], len(self.branch))
        branch_y = np.stack([yff, yft, ytf, ytt], axis=1)
        y_shunt = (self.bus[:, GS] + 1j * self.bus[:, BS]) / self.base_mva
        np.subtract.at(y_shunt, shunt_bus, step * (sp - 1j * sq) * shunt_y)
        indptr, indices, branch_position, diagonal_position = _pattern(
            self.n_bus, branch_from, branch_to
        )
        ybus = np.zeros(len(indices), dtype=complex)
        fixed = np.setdiff1d(np.arange(len(self.branch)), varying)
        np.add.at(ybus, branch_position[fixed], branch_y[fixed])

        demand = self.bus[:, PD] + 1j * self.bus[:, QD]
        np.add.at(demand, injection_bus[~is_machine], injected[~is_machine])
        machines = self._machines(members["injection"], members["unit"])
        s_fixed = -demand
        np.add.at(s_fixed, self.gen[:, GEN_BUS].astype(int), self._scheduled())
        np.subtract.at(s_fixed, injection_bus[is_machine], injected[is_machine])

        reference, pv = self.internal["ref"], self.internal["pv"]
        slack_share = np.zeros(0)
        if asks_for(self.net, "distributed_slack"):  # the first slack alone has a given angle
            reference, pv = reference[:1], np.concatenate([reference[1:], pv])
            slack_share = self.bus[:, SL_FAC].astype(float)
        weights = np.zeros(self.n_bus)
        weights[reference] = 1.0 / len(reference)
        unit_bus = np.array([self._bus_of(t, e) for t, e in units], dtype=np.int64)
        limits = self._reactive_limits(pv)
        limit_at = {bus: i for i, bus in enumerate(limits["limit_bus"].tolist())}
        consumer_bus = self._model_bus([bus for _, _, bus in consumers(self.net)])
        arrays = Arrays(
            base_mva=self.base_mva,
            v_start_pu=self._start(),
            s_fixed_mva=s_fixed,
            demand_fixed_mva=demand,
            shunt_fixed_pu=y_shunt,
            zip_share=self._zip_share(),
            branch_from=branch_from,
            branch_to=branch_to,
            branch_y_pu=branch_y,
            sections=sections,
            setpoint_bus=np.array([self._bus_of(t, e) for t, e in setpoints], dtype=np.int64),
            setpoint_base_pu=parameters[: sections[1]],
            injection_bus=injection_bus,
            injection_sign=injection_sign,
            injection_is_machine=is_machine,
            shunt_bus=shunt_bus,
            shunt_y_pu=shunt_y,
            status_branch=status_branch,
            status_end=status_end,
            row_bus=self._model_bus(self.net.bus.index.to_numpy()),
            **tap,
            **self._mean_start(),
            **self._branch_results(),
            **machines,
            **self._units(units, unit_bus, members),
            **limits,
            machine_limit=_places(machines["machine_bus"].tolist(), limit_at),
        )
        model = CompiledModel(
            layout=self.layout,
            n_unsupplied=int((consumer_bus < 0).sum()),
            consumer_bus=consumer_bus[consumer_bus >= 0],
            switchable=np.union1d(unit_bus, limits["limit_bus"]).astype(np.int64),
            slack_share=slack_share,
            load_fixed_mva=loads_mva(
                self.net, self.n_bus, [e for t, e in injections if t == "load"]
            ),
            load_injection=np.flatnonzero([t == "load" for t, _ in injections]),
            reference=reference.astype(np.int32),
            pv=pv.astype(np.int32),
            pq=self.internal["pq"].astype(np.int32),
            slack_weights=weights,
            arrays=Arrays(*(_contiguous(value) for value in arrays)),
            parameters=parameters,
            indptr=indptr,
            indices=indices,
            ybus_fixed_pu=ybus,
            branch_position=branch_position,
            diagonal_position=diagonal_position,
            varying_branch=varying,
            **self._paired_setpoints(members["setpoint"]),
            dc=self._dc_branches(tap_rows),
        )
        return model, np.array(places, dtype=np.int64)

    def _base_value(self, table: str, element: int, column: str) -> float:
        """Value of a parameter in the base case; generators inject no scheduled Q."""
        if table == "gen" and column == "q_mvar":
            return 0.0
        if table == "switch":
            column = "closed"
        return float(self.base[table].at[element, column])

    def _model_bus(self, buses: Any) -> IntArray:
        """Model bus of pandapower buses, -1 for those out of service or without supply."""
        found = self.bus_lookup[np.asarray(buses, dtype=np.int64)]
        return np.where((found >= 0) & (found < self.n_bus), found, -1).astype(np.int64)

    def _bus_of(self, table: str, element: int) -> int:
        """Model bus of an element in service, -1 when it has no effect on the model."""
        if table == "switch":
            kind, branch = self.net.switch.loc[element, ["et", "element"]]
            return self._bus_of("line" if kind == "l" else "trafo", branch)
        row = self.net[table].index.get_loc(element)
        if not bool(self.net[table].at[element, "in_service"]):
            return -1
        if table in ("line", "trafo", "trafo3w"):
            branches = self._branches(table, element)
            return int(self.branch[branches[0], F_BUS]) if min(branches) >= 0 else -1
        if not bool(self.net._is_elements[table][row]):
            return -1
        return int(self._model_bus([self.net[table].at[element, "bus"]])[0])

    def _branches(self, table: str, element: int) -> list[int]:
        """Model branches of an element: one, or three of a three-winding transformer."""
        first, last = self.net._pd2ppc_lookups["branch"][table]
        row = self.net[table].index.get_loc(element)
        n_windings = 3 if table == "trafo3w" else 1
        step = (last - first) // n_windings
        return [int(self.branch_of_ppc_row[first + row + k * step]) for k in range(n_windings)]

    def _switched(self, table: str, element: int) -> tuple[int, int]:
        """Model branch that a status connects, and whether all of it or one end.

        A line with one open end stays charged from the other, and a transformer magnetised. Which
        end a switch is at follows pandapower's ``_gather_branch_switch_info``.
        """
        if table != "switch":
            return self._branches(table, element)[0], WHOLE
        kind, branch, bus = self.net.switch.loc[element, ["et", "element", "bus"]]
        if kind == "t":
            end = FROM_END if bus == self.net.trafo.at[branch, "hv_bus"] else TO_END
            return self._branches("trafo", branch)[0], end
        end = TO_END if bus == self.net.line.at[branch, "to_bus"] else FROM_END
        return self._branches("line", branch)[0], end

    def _zip_share(self) -> FloatArray:
        """Shares of the demand of every model bus that fall with voltage; none where none do."""
        share: FloatArray = self.bus[:, [CZD_P, CID_P, CZD_Q, CID_Q]]
        return share if share.any() else share[:0]

    def _tap_tables(self, taps: list[tuple[str, int]]) -> tuple[dict[str, Any], FloatArray]:
        """Branch admittances at every position of the tap changers that settings move.

        Returns:
            Parts of `Arrays`, and `_DC_COLUMNS` of pandapower's branch of every row of the table.
        """
        lowest, highest = (
            [int(self.net[table].at[element, column]) for table, element in taps]
            for column in ("tap_min", "tap_max")
        )
        positions = [np.arange(a, b + 1) for a, b in zip(lowest, highest, strict=True)]
        branch, changer, row = [], [], []
        tables: list[ComplexArray] = []
        branches = [np.zeros((0, len(_DC_COLUMNS)))]
        n_rows = 0
        for some in _alike(taps, [len(p) for p in positions]):
            table = taps[some[0]][0]
            elements, own = [taps[i][1] for i in some], [positions[i] for i in some]
            admittances, rows = self._tap_admittances(table, elements, own)
            branches.append(rows)
            at = 0
            for i, element, n in zip(some, elements, map(len, own), strict=True):
                for b in self._branches(table, element):
                    branch.append(b)
                    changer.append(i)
                    row.append(n_rows)
                    tables.append(admittances[at : at + n])
                    n_rows, at = n_rows + n, at + n
        return {
            "tap_first": np.array(lowest, dtype=np.int64),
            "tap_count": np.array([len(p) for p in positions], dtype=np.int64),
            "tap_branch": np.array(branch, dtype=np.int64),
            "tap_changer": np.array(changer, dtype=np.int64),
            "tap_row": np.array(row, dtype=np.int64),
            "tap_y_pu": np.concatenate(tables) if tables else np.zeros((0, 4), dtype=complex),
        }, np.concatenate(branches)

    def _tap_admittances(
        self, table: str, elements: list[int], positions: list[IntArray]
    ) -> tuple[ComplexArray, FloatArray]:
        """What pandapower makes of transformers at their positions, (n, 4).

        Args:
            table: ``"trafo"``, or ``"trafo3w"`` for a single transformer, whose three windings
                follow each other.
            elements: Transformers.
            positions: Of each.

        Returns:
            The admittances, and `_DC_COLUMNS` of pandapower's branch table, one row each.
        """
        counts = [len(own) for own in positions]
        repeated = self.net[table].loc[np.repeat(elements, counts)].copy()
        repeated["tap_pos"] = np.concatenate(positions)
        if table == "trafo":
            net, frame = self.net, repeated
        else:
            net = copy.copy(self.net)
            net["trafo3w"] = repeated
            row = self.net.trafo3w.index.get_loc(elements[0])
            aux = dict(self.net._pd2ppc_lookups["aux"])
            aux["trafo3w"] = np.repeat(aux["trafo3w"][row], counts[0])
            net["_pd2ppc_lookups"] = dict(self.net._pd2ppc_lookups, aux=aux)
            frame = _trafo_df_from_trafo3w(net)
        values = _calc_branch_values_from_trafo_df(net, self.net._ppc, frame)
        rows = np.zeros((len(values[0]), self.internal["branch"].shape[1]))
        rows[:, BR_STATUS] = 1.0
        for column, value in zip(
            (BR_R, BR_X, BR_G, BR_B, BR_G_ASYM, BR_B_ASYM, TAP, SHIFT), values, strict=True
        ):
            rows[:, column] = value
        # a step so large that the winding has no turns left gives no admittance
        impossible = ~((rows[:, TAP] > 0) & np.isfinite(rows).all(axis=1))
        rows[np.ix_(impossible, (BR_X, TAP))] = 1.0
        rows[np.ix_(impossible, (BR_R, BR_G, BR_B, BR_G_ASYM, BR_B_ASYM, SHIFT))] = 0.0
        ytt, yff, yft, ytf = branch_vectors(rows, len(rows))
        admittances = np.stack([yff, yft, ytf, ytt], axis=1)
        admittances[impossible] = np.nan
        return admittances, rows[:, _DC_COLUMNS]

    def _dc_branches(self, tap_rows: FloatArray) -> DCBranches | None:
        """What the DC power flow needs; None where ``runpp`` starts otherwise."""
        start = self.net._options["init_va_degree"]
        if not (isinstance(start, str) and start == "dc"):
            return None
        numbers = []
        for rows in (self.branch[:, _DC_COLUMNS], tap_rows):
            x, tap, shift = rows.T
            ratio = np.where(tap == 0, 1.0, tap)
            numbers += [1.0 / (x * ratio), np.deg2rad(shift)]
        return DCBranches(*numbers)

    def _branch_results(self) -> dict[str, Any]:
        """Where each branch's losses and loading go, and percent per p.u. of current."""
        net, n = self.net, len(self.branch)
        kv = self.bus[:, BASE_KV]
        ka = np.stack(
            [
                self.base_mva / np.sqrt(3) / kv[self.branch[:, end].astype(int)]
                for end in (F_BUS, T_BUS)
            ],
            axis=1,
        )
        loading = np.zeros((n, 2))
        loss_column = np.full(n, -1, dtype=np.int64)
        loading_column = np.full(n, -1, dtype=np.int64)
        lookup = net._pd2ppc_lookups["branch"]
        with np.errstate(divide="ignore"):
            line_rating = 100.0 / (net.line.max_i_ka * net.line.df * net.line.parallel)
            trafo_rating = (
                100.0 * np.sqrt(3) / (net.trafo.sn_mva * net.trafo.parallel * net.trafo.df)
            )
        t3 = net.trafo3w
        ratings: dict[str, list[Any]] = {
            "line": [(line_rating, line_rating)],
            "trafo": [(trafo_rating * net.trafo.vn_hv_kv, trafo_rating * net.trafo.vn_lv_kv)],
            "trafo3w": [
                (100.0 * np.sqrt(3) * t3.vn_hv_kv / t3.sn_hv_mva, None),
                (None, 100.0 * np.sqrt(3) * t3.vn_mv_kv / t3.sn_mv_mva),
                (None, 100.0 * np.sqrt(3) * t3.vn_lv_kv / t3.sn_lv_mva),
            ],
            "impedance": [(None, None)],
        }
        for table, windings in ratings.items():
            if table not in lookup:
                continue
            step = len(net[table])
            for k, ends in enumerate(windings):
                first = lookup[table][0] + k * step
                branches = self.branch_of_ppc_row[first : first + step]
                alive = branches >= 0
                b = branches[alive]
                loss = self.layout.slices[f"{table}_loss_mw"]
                loss_column[b] = np.arange(loss.start, loss.stop)[alive]
                if f"{table}_loading_percent" in self.layout.slices:
                    columns = self.layout.slices[f"{table}_loading_percent"]
                    loading_column[b] = np.arange(columns.start, columns.stop)[alive]
                for end, rating in enumerate(ends):
                    if rating is not None:
                        loading[b, end] = ka[b, end] * rating.to_numpy(dtype=float)[alive]
        return {
            "branch_loading": np.where(np.isnan(loading), 0.0, loading),  # no rating: not loaded
            "branch_loss_column": loss_column,
            "branch_loading_column": loading_column,
        }

    def _machines(
        self, injections: dict[tuple[str, int], int], units: dict[tuple[str, int], int]
    ) -> dict[str, Any]:
        """Generators and external grids in service, and how they share their bus's power.

        The shares are pandapower's (``pypower.pfsoln``): reactive power in proportion to the
        reactive range, the active power of a slack bus in equal parts (`_unequal_slacks`).
        """
        net, gen = self.net, self.gen
        gen_bus = gen[:, GEN_BUS].astype(int)
        n_at_bus = np.bincount(gen_bus, minlength=self.n_bus)[gen_bus]
        q_range = gen[:, QMAX] - gen[:, QMIN]
        bus_min, bus_range = (
            np.bincount(gen_bus, weights=w, minlength=self.n_bus)[gen_bus]
            for w in (gen[:, QMIN], q_range)
        )
        by_range = (n_at_bus > 1) & (bus_range != 0)
        q_share = np.where(
            by_range,
            q_range / np.where(by_range, bus_range + np.finfo(float).eps, 1.0),
            1 / n_at_bus,
        )
        q_offset = np.where(by_range, gen[:, QMIN] - q_share * bus_min, 0.0)

        scheduled = self._scheduled()
        # model row, p column, q column, place among the injections and among the units
        rows: list[tuple[int, int, int, int, int]] = []
        for table in ("gen", "ext_grid"):
            p_columns, q_columns = (
                self.layout.slices[f"{table}_{quantity}"] for quantity in ("p_mw", "q_mvar")
            )
            for i, element, row in self._machine_rows(table):
                rows.append(
                    (
                        row,
                        p_columns.start + i,
                        q_columns.start + i,
                        injections.get((table, element), -1),
                        units.get((table, element), -1),
                    )
                )
        is_slack = np.zeros(len(gen), dtype=bool)
        is_slack[self.gen_of_ppc_row[self.internal["ref_gens"]]] = True
        is_slack &= np.isin(gen_bus, self.internal["ref"])
        if asks_for(net, "distributed_slack"):  # each is alone at its bus and has what is left
            is_slack |= self.bus[gen_bus, SL_FAC] != 0
        n_slack = np.bincount(gen_bus, weights=is_slack, minlength=self.n_bus)[gen_bus]
        p_share = np.where(is_slack, 1 / np.maximum(n_slack, 1), 0.0)
        p_offset = np.where(is_slack, 0.0, scheduled)
        model, p_column, q_column, injection, unit = (
            np.array(rows, dtype=np.int64).reshape(-1, 5).T.copy()
        )
        # what DC lines feed into a slack's bus is scheduled, but no machine of the state
        unlisted = np.ones(len(gen), dtype=bool)
        unlisted[model] = False
        unlisted &= np.isin(gen_bus, self.internal["ref"])
        fed = np.bincount(gen_bus, weights=unlisted * gen[:, PG], minlength=self.n_bus)[gen_bus]
        p_offset = p_offset - p_share * fed
        return {
            "machine_bus": gen_bus[model].astype(np.int64),
            "machine_p_column": p_column,
            "machine_q_column": q_column,
            "machine_injection": injection,
            "machine_unit": unit,
            "machine_p_mw": p_offset[model],
            "machine_p_share": p_share[model],
            "machine_q_mvar": q_offset[model],
            "machine_q_share": q_share[model],
        }

    def _machine_rows(self, table: str) -> list[tuple[int, Any, int]]:
        """Machines of a table that the model has: place, index, and row among its machines."""
        found = []
        for i, element in enumerate(self.net[table].index):
            if self.net._is_elements[table][i]:
                row = int(self.gen_of_ppc_row[self.net._pd2ppc_lookups[table][element]])
                if row >= 0:
                    found.append((i, element, row))
        return found

    def _scheduled(self) -> FloatArray:
        """Power that machines are to inject, 0 for external grids. [MW]

        pandapower's own table has for slacks what they have injected.
        """
        scheduled: FloatArray = self.gen[:, PG].copy()
        gen = self.net.gen
        for _, _, row in self._machine_rows("ext_grid"):
            scheduled[row] = 0.0
        for _, element, row in self._machine_rows("gen"):
            scheduled[row] = gen.at[element, "p_mw"] * gen.at[element, "scaling"]
        return scheduled

    def _units(
        self,
        units: list[tuple[str, int]],
        unit_bus: IntArray,
        members: dict[str, dict[tuple[str, int], int]],
    ) -> dict[str, Any]:
        """Generators that settings take out of service, each alone at its bus."""
        gen = self.net.gen
        p_mw = [
            0.0
            if unit in members["injection"]
            else gen.at[unit[1], "p_mw"] * gen.at[unit[1], "scaling"]
            for unit in units
        ]
        return {
            "unit_bus": unit_bus,
            "unit_p_mw": np.array(p_mw, dtype=float),
            "unit_injection": _places(units, members["injection"]),
            "unit_setpoint": _places(units, members["setpoint"]),
            "unit_setpoint_pu": np.array([gen.at[e, "vm_pu"] for _, e in units], dtype=float),
        }

    def _reactive_limits(self, pv: NDArray[np.int64]) -> dict[str, Any]:
        """Limits of the machines at PV buses, where the power flow is to keep them."""
        gen_bus = self.gen[:, GEN_BUS].astype(np.int64)
        kept = np.isin(gen_bus, pv) & asks_for(self.base, "enforce_q_lims")
        order = np.argsort(gen_bus[kept])
        return {
            "limit_bus": gen_bus[kept][order],
            "limit_min_mvar": self.gen[kept, QMIN][order],
            "limit_max_mvar": self.gen[kept, QMAX][order],
        }

    def _start(self) -> ComplexArray:
        """Where ``runpp`` starts in the base case; what is open there, as with all closed."""
        v: ComplexArray = self.internal["V"].copy()
        start = self.start
        if start is not None and "V" in start._ppc["internal"]:
            v_base = start._ppc["internal"]["V"]
            buses = self.net.bus.index.to_numpy()
            here, there = self.bus_lookup[buses], start._pd2ppc_lookups["bus"][buses]
            in_both = (here >= 0) & (here < self.n_bus) & (there >= 0) & (there < len(v_base))
            v[here[in_both]] = v_base[there[in_both]]
            units = [gen for f in self.fields if f.table == "gen" for gen in f.elements]
            for bus in [self._bus_of("gen", gen) for gen in units]:
                if bus >= 0:  # out of service in the base case, and held here
                    v[bus] *= abs(self.internal["V"][bus]) / abs(v[bus])
        return v

    def _paired_setpoints(self, setpoints: dict[tuple[str, int], int]) -> dict[str, Any]:
        """Set-points of the first machine of a bus beside those of the others there."""
        at_bus: dict[int, list[tuple[int, float]]] = {}
        for table in ("ext_grid", "gen"):
            for element, vm_pu in self.net[table].vm_pu.items():
                bus = self._bus_of(table, element)
                if bus >= 0:
                    place = setpoints.get((table, element), -1)
                    at_bus.setdefault(bus, []).append((place, float(vm_pu)))
        lines = self.net.dcline[self.net.dcline.in_service.astype(bool)]
        for end in ("from", "to"):
            buses = self._model_bus(lines[f"{end}_bus"])
            for bus, vm_pu in zip(buses.tolist(), lines[f"vm_{end}_pu"], strict=True):
                if bus >= 0:
                    at_bus.setdefault(bus, []).append((-1, float(vm_pu)))
        pairs = np.array(
            [(found[0], other) for found in at_bus.values() for other in found[1:]], dtype=float
        ).reshape(-1, 2, 2)
        return {
            "paired_place": pairs[..., 0].astype(np.int64),
            "paired_setpoint_pu": pairs[..., 1],
        }

    def _mean_start(self) -> dict[str, Any]:
        """Buses that ``runpp`` starts at the mean set-point of the machines in service."""
        options = self.base.get("user_pf_options", {})
        by_mean = not {"init", "init_vm_pu"} & set(options)
        mean = float(self.net._options["init_vm_pu"]) if by_mean else 1.0
        held = np.zeros(self.n_bus, dtype=bool)
        held[self.gen[:, GEN_BUS].astype(int)] = True
        is_mean = by_mean & ~held & (np.abs(np.abs(self.internal["V"]) - mean) < 1e-12)
        in_service = (self.net[table].in_service.astype(bool) for table in ("ext_grid", "gen"))
        return {
            "mean_start_bus": np.flatnonzero(is_mean).astype(np.int64),
            "n_machines": sum(int(table.sum()) for table in in_service),
            "mean_start_pu": mean,
        }


def _alike(taps: list[tuple[str, int]], counts: list[int]) -> Iterator[list[int]]:
    """Tap changers that pandapower can be asked for together: of transformers of two windings
    that follow each other, up to a number of positions; others alone."""
    some: list[int] = []
    n_rows = 0
    for i, (table, _) in enumerate(taps):
        is_more = table != "trafo" or n_rows + counts[i] > _MAX_TAP_ROWS
        if some and (is_more or taps[some[0]][0] != table):
            yield some
            some, n_rows = [], 0
        some.append(i)
        n_rows += counts[i]
    if some:
        yield some


def _places(elements: list[Any], among: dict[Any, int]) -> IntArray:
    """Place of elements among others, -1 for none."""
    return np.array([among.get(element, -1) for element in elements], dtype=np.int64)


def _contiguous(value: Any) -> Any:
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value


def _compress(mask: NDArray[np.bool_]) -> IntArray:
    """For each row its place among the rows kept by the mask, -1 for the others."""
    return np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int64)


def _pattern(
    n_bus: int, f: IntArray, t: IntArray
) -> tuple[NDArray[np.int32], NDArray[np.int32], IntArray, IntArray]:
    """CSC pattern of the admittance matrix and the places of branches and diagonal in it."""
    diagonal = np.arange(n_bus)
    rows = np.concatenate([f, f, t, t, diagonal])
    columns = np.concatenate([f, t, f, t, diagonal])
    pattern = csc_matrix((np.ones(len(rows)), (rows, columns)), (n_bus, n_bus))
    pattern.sort_indices()
    keys = np.repeat(diagonal, np.diff(pattern.indptr)) * n_bus + pattern.indices
    places = np.searchsorted(keys, columns * n_bus + rows).astype(np.int64)
    n = len(f)
    return (
        pattern.indptr.astype(np.int32),
        pattern.indices.astype(np.int32),
        places[: 4 * n].reshape(4, n).T.copy(),
        places[4 * n :],
    )
