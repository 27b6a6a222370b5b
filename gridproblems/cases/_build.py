"""From the tables of a data file to a pandapower net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridproblems.cases.pi_branch import Tee

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandapower.auxiliary import pandapowerNet

Band = tuple[float, float]


def frame(table: Mapping[str, Any]) -> pd.DataFrame:
    """One table of a data file, with its constant columns filled in."""
    rows = pd.DataFrame(table["rows"], columns=table["columns"])
    return rows.assign(**table.get("constant", {}))


def build_net(
    tables: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    f_hz: float,
    sn_mva: float,
    generator_vm_pu: Band,
    load_vm_pu: Band,
) -> pandapowerNet:
    """Builds the base case: indices of buses are the published bus numbers.

    Every other table is indexed from 0 in the order of the data file, with the published names.

    Args:
        tables: Rows of bus, load, ext_grid, gen, sgen, shunt, line and trafo as in the data files.
            Branch impedances are in pu of ``sn_mva`` and of the voltages of their buses. A
            transformer's ideal ratio sits at the winding ``tap_side``, its impedance and charging
            at the other side of that ratio (MATPOWER User's Manual, section 3.2, with the tap
            winding as from-bus). A transformer without rating ``sn_mva`` has the base power.
        title: Name of the net.
        f_hz: Frequency the line charging is converted with. [Hz]
        sn_mva: Base power. [MVA]
        generator_vm_pu: Bounds of buses with a generator or slack, and of their set-points. [pu]
        load_vm_pu: Bounds of all other buses. [pu]

    Returns:
        A net with the limit columns that the problems read.
    """
    import pandapower as pp

    data = {name: frame(table) for name, table in tables.items()}
    net = pp.create_empty_network(name=title, f_hz=f_hz, sn_mva=sn_mva)

    bus = data["bus"]
    vn_kv = bus.set_index("bus")["vn_kv"].astype(float)
    regulated = bus["bus"].isin([*data["gen"]["bus"], *data["ext_grid"]["bus"]])
    pp.create_buses(
        net,
        len(bus),
        vn_kv=vn_kv.to_numpy(),
        index=bus["bus"].to_numpy(),
        name=bus["bus"].astype(str),
        min_vm_pu=np.where(regulated, generator_vm_pu[0], load_vm_pu[0]),
        max_vm_pu=np.where(regulated, generator_vm_pu[1], load_vm_pu[1]),
    )
    bounds = {"min_vm_pu": generator_vm_pu[0], "max_vm_pu": generator_vm_pu[1]}
    for slack in data["ext_grid"].to_dict("records"):
        pp.create_ext_grid(net, **slack, **bounds)
    pp.create_gens(net, **_columns(data["gen"]), **bounds)
    pp.create_loads(net, **_columns(data["load"]))
    if "sgen" in data:
        pp.create_sgens(net, **_columns(data["sgen"]))
    if "shunt" in data:
        pp.create_shunts(net, **_columns(data["shunt"]))
    _add_lines(net, data["line"], vn_kv)
    _add_trafos(net, data["trafo"], vn_kv)
    return net


def build_feeder(data: Mapping[str, Any], *, title: str) -> pandapowerNet:
    """Builds a distribution network of one voltage level from its data file.

    Indices of buses are the published bus numbers, line i is the published branch i + 1. There are
    no limits; a rated current of 1 kA gives line loadings a unit.

    Args:
        data: ``vn_kv``, ``n_buses``, ``sources`` (buses at 1.0 pu), loads in kW and kvar, branches
            in ohm, numbers of the ``normally_open`` branches.
        title: Name of the net.
    """
    import pandapower as pp

    load, branch = frame(data["tables"]["load"]), frame(data["tables"]["branch"])
    net = pp.create_empty_network(name=title, f_hz=data["f_hz"], sn_mva=data["sn_mva"])
    buses = np.arange(1, data["n_buses"] + 1)
    pp.create_buses(net, len(buses), data["vn_kv"], index=buses, name=buses.astype(str))
    for source in data["sources"]:
        pp.create_ext_grid(net, source, name=str(source))
    pp.create_loads(
        net,
        load["bus"].to_numpy(),
        p_mw=load["p_kw"].to_numpy(float) / 1e3,
        q_mvar=load["q_kvar"].to_numpy(float) / 1e3,
        name=load["bus"].astype(str).to_numpy(),
    )
    pp.create_lines_from_parameters(
        net,
        from_buses=branch["from_bus"].to_numpy(),
        to_buses=branch["to_bus"].to_numpy(),
        length_km=1.0,
        r_ohm_per_km=branch["r_ohm"].to_numpy(float),
        x_ohm_per_km=branch["x_ohm"].to_numpy(float),
        c_nf_per_km=0.0,
        max_i_ka=1.0,
        name=[f"{a}-{b}" for a, b in zip(branch["from_bus"], branch["to_bus"], strict=True)],
        in_service=~np.isin(branch.index + 1, data["normally_open"]),
    )
    return net


def _columns(data: pd.DataFrame) -> dict[str, Any]:
    """Arguments of a bulk create function."""
    columns: dict[str, Any] = {name: data[name].to_numpy() for name in data.columns}
    columns["buses"] = columns.pop("bus")
    return columns


def _add_lines(net: pandapowerNet, line: pd.DataFrame, vn_kv: pd.Series) -> None:
    import pandapower as pp

    length_km = line["length_km"].to_numpy(float)
    base_ohm = vn_kv[line["from_bus"]].to_numpy() ** 2 / net.sn_mva
    susceptance_s = line["b_pu"].to_numpy(float) / base_ohm
    pp.create_lines_from_parameters(
        net,
        from_buses=line["from_bus"].to_numpy(),
        to_buses=line["to_bus"].to_numpy(),
        length_km=length_km,
        r_ohm_per_km=line["r_pu"].to_numpy(float) * base_ohm / length_km,
        x_ohm_per_km=line["x_pu"].to_numpy(float) * base_ohm / length_km,
        c_nf_per_km=susceptance_s / (2e-9 * np.pi * net.f_hz) / length_km,
        max_i_ka=line["max_i_ka"].to_numpy(float),
        name=line["name"].to_numpy(),
    )


def _add_trafos(net: pandapowerNet, trafo: pd.DataFrame, vn_kv: pd.Series) -> None:
    import pandapower as pp

    impedance_pu = trafo["r_pu"].to_numpy(float) + 1j * trafo["x_pu"].to_numpy(float)
    charging_pu = trafo["b_pu"].to_numpy(float) if "b_pu" in trafo else np.zeros(len(trafo))
    tap_at_hv = (trafo["tap_side"] == "hv").to_numpy()
    tee = Tee(impedance_pu, charging_pu)
    rating_mva = trafo.get("sn_mva", pd.Series(net.sn_mva, trafo.index)).to_numpy(float)
    rating_pu = rating_mva / net.sn_mva
    pp.create_transformers_from_parameters(
        net,
        hv_buses=trafo["hv_bus"].to_numpy(),
        lv_buses=trafo["lv_bus"].to_numpy(),
        sn_mva=rating_mva,
        vn_hv_kv=vn_kv[trafo["hv_bus"]].to_numpy(),
        vn_lv_kv=vn_kv[trafo["lv_bus"]].to_numpy(),
        vk_percent=100 * np.sign(tee.series_pu.imag) * np.abs(tee.series_pu) * rating_pu,
        vkr_percent=100 * tee.series_pu.real * rating_pu,
        pfe_kw=1e3 * net.sn_mva * tee.magnetising_pu.real,
        i0_percent=100 * np.abs(tee.magnetising_pu) / rating_pu,
        shift_degree=trafo.get("shift_degree", pd.Series(0.0, trafo.index)).to_numpy(float),
        tap_side=trafo["tap_side"].to_numpy(),
        tap_neutral=trafo["tap_neutral"].to_numpy(),
        tap_min=trafo["tap_min"].to_numpy(float),
        tap_max=trafo["tap_max"].to_numpy(float),
        tap_pos=trafo["tap_pos"].to_numpy(),
        tap_step_percent=trafo["tap_step_percent"].to_numpy(float),
        tap_changer_type="Ratio",
        name=trafo["name"].to_numpy(),
        leakage_resistance_ratio_hv=tee.share_at(tap_at_hv).real,
        leakage_reactance_ratio_hv=tee.share_at(tap_at_hv).imag,
    )
    capacitive = np.flatnonzero(tee.shunt_pu)
    if len(capacitive):
        away = np.where(tap_at_hv, trafo["lv_bus"], trafo["hv_bus"])[capacitive]
        pp.create_shunts(
            net,
            buses=away,
            q_mvar=-net.sn_mva * tee.shunt_pu[capacitive],
            name=["charging of " + name for name in trafo["name"].iloc[capacitive]],
        )
