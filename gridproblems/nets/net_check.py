"""Checks a pandapower net before anything is computed, and brings its columns into their types."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.topology
import pandas as pd
from numpy.typing import NDArray
from pandapower.auxiliary import pandapowerNet

from gridproblems._warn import warn_user
from gridproblems.engines.reference import NO_SOLUTION, runpp_options

_SIDES = ("hv", "mv", "lv")
#: Bus columns of the elements that are checked.
ENDS = {
    **dict.fromkeys(
        (
            "load",
            "sgen",
            "gen",
            "ext_grid",
            "shunt",
            "storage",
            "motor",
            "ward",
            "xward",
            "asymmetric_load",
            "asymmetric_sgen",
            "switch",
        ),
        ("bus",),
    ),
    "line": ("from_bus", "to_bus"),
    "trafo": ("hv_bus", "lv_bus"),
    "trafo3w": ("hv_bus", "mv_bus", "lv_bus"),
    "impedance": ("from_bus", "to_bus"),
    "dcline": ("from_bus", "to_bus"),
}
#: Columns that the power flow needs as finite numbers of every element in service.
_FINITE = {
    "bus": ("vn_kv",),
    "line": (
        "length_km",
        "r_ohm_per_km",
        "x_ohm_per_km",
        "c_nf_per_km",
        "g_us_per_km",
        "parallel",
        "df",
    ),
    "trafo": (
        "sn_mva",
        "vn_hv_kv",
        "vn_lv_kv",
        "vk_percent",
        "vkr_percent",
        "pfe_kw",
        "i0_percent",
        "shift_degree",
        "parallel",
        "df",
    ),
    "trafo3w": (
        *(f"sn_{side}_mva" for side in _SIDES),
        *(f"vn_{side}_kv" for side in _SIDES),
        *(f"vk_{side}_percent" for side in _SIDES),
        *(f"vkr_{side}_percent" for side in _SIDES),
        "pfe_kw",
        "i0_percent",
        "shift_mv_degree",
        "shift_lv_degree",
    ),
    "impedance": (
        *(f"{what}{way}_pu" for what in "rx" for way in ("ft", "tf")),
        *(f"{what}{end}_pu" for what in "gb" for end in "ft"),
        "sn_mva",
    ),
    "load": ("p_mw", "q_mvar", "scaling"),
    "sgen": ("p_mw", "q_mvar", "scaling"),
    "storage": ("p_mw", "q_mvar", "scaling"),
    "gen": ("p_mw", "vm_pu", "scaling", "slack_weight"),
    "ext_grid": ("vm_pu", "va_degree", "slack_weight"),
    "shunt": ("p_mw", "q_mvar", "step", "vn_kv"),
    "ward": ("ps_mw", "qs_mvar", "pz_mw", "qz_mvar"),
    "xward": ("ps_mw", "qs_mvar", "pz_mw", "qz_mvar", "r_ohm", "x_ohm", "vm_pu", "slack_weight"),
    "motor": ("pn_mech_mw", "loading_percent", "cos_phi", "efficiency_percent", "scaling"),
    **dict.fromkeys(
        ("asymmetric_load", "asymmetric_sgen"),
        (
            *(f"p_{phase}_mw" for phase in "abc"),
            *(f"q_{phase}_mvar" for phase in "abc"),
            "scaling",
        ),
    ),
    "dcline": ("p_mw", "loss_percent", "loss_mw", "vm_from_pu", "vm_to_pu"),
}
#: Those of them that must be above 0.
_POSITIVE = {
    "bus": ("vn_kv",),
    "line": ("parallel", "df"),
    "trafo": ("sn_mva", "vn_hv_kv", "vn_lv_kv", "parallel", "df"),
    "trafo3w": tuple(c for c in _FINITE["trafo3w"] if c.startswith(("sn_", "vn_"))),
    "impedance": ("sn_mva",),
    "gen": ("vm_pu",),
    "ext_grid": ("vm_pu",),
    "shunt": ("vn_kv",),
    "xward": ("vm_pu",),
    "motor": ("cos_phi", "efficiency_percent"),
    "dcline": ("vm_from_pu", "vm_to_pu"),
}
_ALSO_NEEDED = {
    "load": ("const_z_p_percent", "const_i_p_percent", "const_z_q_percent", "const_i_q_percent"),
    "line": ("max_i_ka",),
    "switch": ("element", "et", "z_ohm"),
    "gen": ("sn_mva",),
    "trafo3w": ("tap_side", "tap_at_star_point"),
}
_FLAGS = {"switch": ("closed",), "gen": ("in_service", "slack")}
#: Further columns that are numbers where they are given.
_LIMITS = tuple(
    f"{end}_{quantity}"
    for end in ("min", "max")
    for quantity in ("vm_pu", "p_mw", "q_mvar", "loading_percent", "e_mwh")
)
_MOVING_TAPS = ("Ratio", "Symmetrical", "Ideal")  # changer types whose neutral position counts
_SWITCHED = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}
#: Elements that feed or take power: without supply, or at a bus out of service, they are lost.
_SUPPLIED = (
    "load",
    "sgen",
    "gen",
    "ext_grid",
    "storage",
    "motor",
    "ward",
    "xward",
    "asymmetric_load",
    "asymmetric_sgen",
)
#: pandapower keeps tables that are as long as the largest of these indices.
_LOOKED_UP = ("bus", "gen", "ext_grid", "xward", "dcline")
MAX_INDEX = 10_000_000


def check_net(net: pandapowerNet) -> None:
    """Refuses nets whose power flow would fail or be silent nonsense; tidies the others in place.

    Columns of numbers, flags and buses that came as objects become float, bool and int; indices
    become int; empty tables get the columns that they lack. Nothing else is changed.

    Args:
        net: A private copy of a user's net.

    Raises:
        ValueError: A table or column is missing, an index is no unique whole number; no number, or
            none that is possible, in a column the power flow needs; a branch, switch or element at
            a bus that does not exist; an element in service at a bus out of service; no external
            grid or slack generator; elements on buses without connection to one; pandapower
            cannot build the power flow. The message names table and element.

    Warns:
        UserWarning: Controllers are in service, which no engine runs.
    """
    for table in ("bus", *ENDS):
        _check_table(net, table)
    for table in ("bus", *ENDS):
        for column in _flags(table):
            net[table][column] = _as_flags(net, table, column)
        for column in _number_columns(net, table):
            _tidy_numbers(net, table, column)
        _check_numbers(net, table)
    _check_general(net)
    for table, columns in ENDS.items():
        for column in columns:
            _tidy_ends(net, table, column)
    _check_switches(net)
    _check_impedances(net)
    slack_gens = net.gen.in_service & net.gen.slack
    if not net.ext_grid.in_service.any() and not slack_gens.any():
        raise ValueError("the net has neither an external grid nor a slack generator in service")
    _check_supply(net)
    _check_characteristics(net)
    _check_power_flow(net)
    _warn_of_controllers(net)


def _check_table(net: pandapowerNet, table: str) -> None:
    """The table is there with the columns that pandapower needs and an index of whole numbers."""
    frame = net.get(table)
    if not isinstance(frame, pd.DataFrame):
        what = "has no table" if frame is None else f"has a {type(frame).__name__} for the table"
        raise ValueError(
            f"the net {what} {table!r}; pandapower.create_empty_network makes it, "
            "pandapower.convert_format adds what older nets lack"
        )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(f"{table}: the column {twice!r} occurs twice")
    needed = (
        *ENDS.get(table, ()),
        *_flags(table),
        *_FINITE.get(table, ()),
        *_ALSO_NEEDED.get(table, ()),
    )
    missing = [column for column in (*needed, *_more_needed(table, frame)) if column not in frame]
    if not len(frame):
        always = (*ENDS.get(table, ()), *_flags(table))
        for column in set(missing) - set(always):
            frame[column] = np.zeros(0)
        missing = [column for column in missing if column in always]
    if missing:
        raise ValueError(
            f"{table}: no column {missing[0]!r}, which the power flow needs; "
            "pandapower.convert_format adds what older nets lack"
        )
    _tidy_index(net, table)


def _more_needed(table: str, frame: pd.DataFrame) -> list[str]:
    """Columns that pandapower reads because of what others hold."""
    if table == "shunt" and "step_dependency_table" in frame:
        return ["id_characteristic_table"]
    found = []
    for tap in ("tap", "tap2") if table == "trafo" else ():
        side, kind = f"{tap}_side", f"{tap}_changer_type"
        if {f"{tap}_pos", side, kind} <= set(frame.columns):
            moves = frame[side].isin(("hv", "lv")) & frame[kind].isin(_MOVING_TAPS)
            found += [f"{tap}_neutral"] if moves.any() else []
    return found


def _tidy_index(net: pandapowerNet, table: str) -> None:
    index = net[table].index
    advice = "; renumber with pandapower.toolbox.reindex_elements"
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ValueError(f"{table}: the index {twice} occurs twice{advice}")
    if index.dtype.kind not in "iu" or isinstance(index, pd.MultiIndex):
        for label in index:
            if not isinstance(label, numbers.Real) or label != label or label % 1:
                raise ValueError(f"{table}: the index {label!r} is no whole number{advice}")
        index = pd.Index([int(label) for label in index], dtype=np.int64, name=index.name)
        net[table] = net[table].set_axis(index)
    if len(index) and index.min() < 0:
        raise ValueError(f"{table}: the index {index.min()} is negative{advice}")
    if len(index) and table in _LOOKED_UP and index.max() > MAX_INDEX:
        raise ValueError(
            f"{table}: the index {index.max()} is above {MAX_INDEX}, and pandapower's memory grows "
            f"with the largest{advice}"
        )


def _flags(table: str) -> tuple[str, ...]:
    return _FLAGS.get(table, ("in_service",))


def _as_flags(net: pandapowerNet, table: str, column: str) -> NDArray[np.bool_]:
    values = net[table][column]
    if values.dtype == bool:
        return values.to_numpy()
    flags = np.empty(len(values), dtype=bool)
    for i, (element, value) in enumerate(values.items()):
        real = isinstance(value, (numbers.Real, np.bool_))
        if not real or value not in (0, 1):
            raise ValueError(
                f"{table}.{column}: {table} {element} has {value!r}, expected True or False"
            )
        flags[i] = bool(value)
    return flags


@cache
def _numeric_of_pandapower() -> dict[str, tuple[str, ...]]:
    """Columns of numbers by table, as pandapower creates them."""
    return {
        table: tuple(c for c, dtype in frame.dtypes.items() if str(dtype)[:3] in ("flo", "uin"))
        for table, frame in pp.create_empty_network().items()
        if isinstance(frame, pd.DataFrame)
    }


def _number_columns(net: pandapowerNet, table: str) -> list[str]:
    """Columns of numbers that the table has, those of buses apart."""
    known = {*_numeric_of_pandapower()[table], *_FINITE.get(table, ()), *_LIMITS}
    return [c for c in net[table].columns if c in known and c not in ENDS.get(table, ())]


def _tidy_numbers(net: pandapowerNet, table: str, column: str) -> None:
    """Objects become floats, None and missing ones NaN.

    Raises:
        ValueError: Something that is no number.
    """
    values = net[table][column]
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiu":
        return
    found = np.full(len(values), np.nan)
    for i, (element, value) in enumerate(values.items()):
        if value is None or value is pd.NA or value is pd.NaT:
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
            raise ValueError(f"{table}.{column}: {table} {element} has {value!r}, no number")
        try:
            found[i] = float(value)
        except OverflowError:
            found[i] = np.inf
    net[table][column] = found


def _check_numbers(net: pandapowerNet, table: str) -> None:
    frame = net[table][net[table].in_service] if "in_service" in net[table] else net[table]
    for column in _FINITE.get(table, ()) if len(frame) else ():
        values = frame[column].to_numpy(dtype=float)
        bad = frame.index[~np.isfinite(values)]
        if len(bad):
            raise ValueError(f"{table}.{column}: {table} {bad[0]} has no finite value")
        if column in _POSITIVE.get(table, ()) and (values <= 0).any():
            bad = frame.index[values <= 0]
            value = frame.at[bad[0], column]
            raise ValueError(
                f"{table}.{column}: {table} {bad[0]} has {value:g}, expected a positive value"
            )


def _check_general(net: pandapowerNet) -> None:
    """What stands beside the tables."""
    for name in ("sn_mva", "f_hz"):
        value = net.get(name)
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not 0 < float(value) < np.inf:
            raise ValueError(f"net.{name}: expected a positive number, got {value!r}")
    if not isinstance(net.get("user_pf_options", {}), dict):
        raise ValueError("net.user_pf_options: expected a dict of options of pandapower.runpp")


def _tidy_ends(net: pandapowerNet, table: str, column: str) -> None:
    buses = net[table][column]
    try:
        lost = ~buses.isin(net.bus.index)
    except TypeError:  # what cannot be looked up
        lost = pd.Series(True, index=buses.index)
    if lost.any():
        element = buses.index[lost][0]
        raise ValueError(
            f"{table}.{column}: {table} {element} is at bus {buses.at[element]}, unknown"
        )
    if buses.dtype.kind not in "iu":
        net[table][column] = buses.astype(np.int64)


def _check_switches(net: pandapowerNet) -> None:
    """Every switch belongs to something, at one of its ends."""
    for kind, bus, element, switch in zip(
        net.switch.et, net.switch.bus, net.switch.element, net.switch.index, strict=True
    ):
        table = _SWITCHED.get(kind) if isinstance(kind, str) else None
        if table is None:
            known = ", ".join(_SWITCHED)
            raise ValueError(f"switch.et: switch {switch} has {kind!r}; known: {known}")
        if not isinstance(element, numbers.Real) or element not in net[table].index:
            raise ValueError(f"switch.element: switch {switch} is at {table} {element}, unknown")
        if kind != "b" and not any(net[table].at[element, end] == bus for end in ENDS[table]):
            raise ValueError(
                f"switch.bus: switch {switch} is at bus {bus}, which is no end of {table} {element}"
            )
    if net.switch.element.dtype.kind not in "iu":
        net.switch["element"] = net.switch.element.astype(np.int64)


def _check_impedances(net: pandapowerNet) -> None:
    """Lines and transformers in service have impedances other than 0."""
    for table in ("trafo", "trafo3w"):
        frame = net[table][net[table].in_service]
        for column in [c for c in _FINITE[table] if c.startswith("vk_")]:
            if (frame[column] == 0).any():
                element = frame.index[frame[column] == 0][0]
                raise ValueError(f"{table}.{column}: {table} {element} has no impedance (0)")
    line = net.line[net.line.in_service]
    ohm = line.length_km * np.hypot(line.r_ohm_per_km, line.x_ohm_per_km)
    if (ohm == 0).any():
        raise ValueError(
            f"line {line.index[ohm == 0][0]}: no impedance (length, or r and x, are 0); "
            "model it as a switch between its buses"
        )


def _check_supply(net: pandapowerNet) -> None:
    """No element in service is without supply."""
    off = set(net.bus.index[~net.bus.in_service])
    dead = pandapower.topology.unsupplied_buses(net, respect_switches=True) - off
    for table in _SUPPLIED:
        elements = net[table][net[table].in_service]
        at_off = elements.index[elements.bus.isin(off)]
        if len(at_off):
            raise ValueError(
                f"{table} {_listed(at_off)} in service at bus "
                f"{_listed(elements.bus[at_off])} out of service: pandapower leaves it out; put "
                f"the bus into service, or take the {table} out of it"
            )
        lost = elements[elements.bus.isin(dead)]
        if len(lost):
            buses = sorted({int(bus) for bus in lost.bus})
            raise ValueError(
                f"buses {buses} are disconnected from every external grid, but {table} "
                f"{lost.index[0]} is there; connect them or take the {table} out of service"
            )


def _check_characteristics(net: pandapowerNet) -> None:
    """Characteristics that are objects are not read from files."""
    table = net.get("characteristic")
    known = table.index if isinstance(table, pd.DataFrame) else ()
    for kind in ("trafo", "trafo3w"):
        if "tap_dependent_impedance" not in net[kind] or len(known):
            continue
        wanting = net[kind].index[net[kind].tap_dependent_impedance.eq(True)]
        if len(wanting):
            raise ValueError(
                f"{kind} {wanting[0]}: tap_dependent_impedance is set, but the net has no "
                "characteristics (they are objects, which are not read from files); use "
                "trafo_characteristic_table"
            )


def _check_power_flow(net: pandapowerNet) -> None:
    """pandapower can build the power flow, whether it converges or not.

    pandapower raises all kinds of errors on data that it did not expect.
    """
    try:
        pp.runpp(copy.deepcopy(net), **runpp_options(net))
    except NO_SOLUTION:  # what it is without a solution for is said by who needs one
        pass
    except Exception as error:
        raise ValueError(
            f"pandapower cannot build the power flow of this net: {type(error).__name__}: {error}"
        ) from error


def _warn_of_controllers(net: pandapowerNet) -> None:
    table = net.get("controller")
    if not isinstance(table, pd.DataFrame) or not {"in_service", "object"} <= set(table.columns):
        return
    names = [
        f"controller {i} ({type(row.object).__name__})"
        for i, row in table.iterrows()
        if row.in_service is not None and bool(row.in_service)
    ]
    if names:
        warn_user(
            f"controllers in service are not run, what they control stays as it is: "
            f"{_listed(names)}; take them out of service"
        )


def _listed(values: Iterable[Any], n: int = 5) -> str:
    shown: Sequence[Any] = list(values)
    more = f" and {len(shown) - n} more" if len(shown) > n else ""
    return ", ".join(str(value) for value in shown[:n]) + more
