"""Small nets for the tests: each shows something that engines tend to get wrong."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandapower.networks as pn
from pandapower.auxiliary import pandapowerNet


def two_bus(p_mw: float = 10.0, q_mvar: float = 5.0) -> pandapowerNet:
    """A slack at 1 p.u., a line of 1 + 4j ohm at 10 kV, a load; worked by hand in the tests."""
    net = pp.create_empty_network(sn_mva=1.0, name="two bus")
    pp.create_buses(net, 2, vn_kv=10.0, min_vm_pu=0.9, max_vm_pu=1.1)
    pp.create_ext_grid(net, 0, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, 0, 1, 1.0, 1.0, 4.0, 0.0, max_i_ka=1.0, max_loading_percent=100.0
    )
    pp.create_load(net, 1, p_mw=p_mw / 10, q_mvar=q_mvar / 10)
    pp.create_sgen(net, 1, p_mw=0.0, q_mvar=0.0, controllable=True, min_q_mvar=-1.0, max_q_mvar=1.0)
    return net


def tap_zoo() -> pandapowerNet:
    """Taps on either side, odd neutral positions, phase shift, parallel units, iron losses."""
    net = pp.create_empty_network(sn_mva=100.0, name="tap zoo")
    buses = pp.create_buses(net, 7, vn_kv=[110, 110, 20, 20, 20, 10, 20])
    pp.create_ext_grid(net, buses[0], vm_pu=1.02)
    pp.create_line_from_parameters(net, 0, 1, 20.0, 0.06, 0.4, 9.0, 0.6, parallel=2, g_us_per_km=1)
    common = {"sn_mva": 40.0, "vkr_percent": 0.4, "vk_percent": 12.0, "pfe_kw": 30.0}
    for hv, lv, side, neutral, shift, parallel, kind in (
        (1, 2, "hv", 0, 0.0, 1, "Ratio"),
        (1, 3, "lv", 5, 150.0, 2, "Ratio"),
        (1, 6, "hv", -3, 150.0, 1, "Symmetrical"),
    ):
        pp.create_transformer_from_parameters(
            net,
            buses[hv],
            buses[lv],
            vn_hv_kv=112.0,
            vn_lv_kv=21.0,
            i0_percent=0.2,
            shift_degree=shift,
            tap_side=side,
            tap_neutral=neutral,
            tap_pos=neutral,
            tap_min=neutral - 8,
            tap_max=neutral + 8,
            tap_step_percent=1.25,
            tap_step_degree=10.0 if kind == "Symmetrical" else np.nan,
            tap_changer_type=kind,
            parallel=parallel,
            df=0.9,
            **common,
        )
    pp.create_transformer3w_from_parameters(
        net,
        hv_bus=1,
        mv_bus=4,
        lv_bus=5,
        vn_hv_kv=110.0,
        vn_mv_kv=20.0,
        vn_lv_kv=10.0,
        sn_hv_mva=40.0,
        sn_mv_mva=30.0,
        sn_lv_mva=15.0,
        vk_hv_percent=10.0,
        vk_mv_percent=9.0,
        vk_lv_percent=8.0,
        vkr_hv_percent=0.3,
        vkr_mv_percent=0.31,
        vkr_lv_percent=0.32,
        pfe_kw=30.0,
        i0_percent=0.1,
        tap_side="mv",
        tap_neutral=0,
        tap_pos=0,
        tap_min=-6,
        tap_max=6,
        tap_step_percent=1.5,
        tap_changer_type="Ratio",
    )
    pp.create_gen(net, 4, p_mw=5.0, vm_pu=1.01, min_q_mvar=-10, max_q_mvar=20, scaling=0.9)
    pp.create_gen(net, 4, p_mw=3.0, vm_pu=1.01, min_q_mvar=-5, max_q_mvar=5)
    pp.create_gen(net, 0, p_mw=7.0, vm_pu=1.02)
    pp.create_impedance(net, 2, 6, rft_pu=0.02, xft_pu=0.1, sn_mva=20.0)
    pp.create_ward(net, 3, ps_mw=1.0, qs_mvar=0.5, pz_mw=0.4, qz_mvar=0.3)
    pp.create_xward(
        net, 6, ps_mw=0.5, qs_mvar=0.2, pz_mw=0.1, qz_mvar=0.1, r_ohm=1.0, x_ohm=4.0, vm_pu=1.0
    )
    pp.create_shunt(net, 2, q_mvar=-2.0, p_mw=0.05, step=1, max_step=3, vn_kv=21.0)
    pp.create_shunt(net, 3, q_mvar=-1.0, step=2, max_step=4)
    for bus, p_mw in zip(buses[2:], (9.0, 12.0, 6.0, 4.0, 7.0), strict=True):
        pp.create_load(net, bus, p_mw=p_mw, q_mvar=0.4 * p_mw, scaling=0.9)
    pp.create_sgen(
        net,
        3,
        p_mw=2.0,
        q_mvar=0.5,
        scaling=0.8,
        controllable=True,
        min_q_mvar=-3.0,
        max_q_mvar=3.0,
    )
    pp.create_storage(net, 2, p_mw=0.5, max_e_mwh=5.0, q_mvar=0.1)
    return net


def switched() -> pandapowerNet:
    """A real medium-voltage grid with many switches, two slacks and open ring points."""
    net = pn.mv_oberrhein()
    net.name = "mv_oberrhein"
    return net


def feeder() -> pandapowerNet:
    """Low-voltage feeder: phase-shifting taps, iron losses, charged cables, ties, line switches."""
    net = pp.create_empty_network(sn_mva=1.0, name="feeder")
    buses = pp.create_buses(net, 9, vn_kv=[20.0, 20.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 20.0])
    pp.create_ext_grid(net, 0, vm_pu=1.02)
    for ends, length_km, kind in (
        ((0, 1), 3.0, "NA2XS2Y 1x95 RM/25 12/20 kV"),
        ((2, 3), 0.2, "NAYY 4x150 SE"),
        ((3, 4), 0.15, "NAYY 4x50 SE"),
        ((4, 5), 0.1, "NAYY 4x50 SE"),
        ((2, 6), 0.1, "NAYY 4x150 SE"),
        ((6, 7), 0.2, "NAYY 4x50 SE"),
        ((5, 7), 0.1, "NAYY 4x50 SE"),
        ((1, 8), 12.0, "NA2XS2Y 1x95 RM/25 12/20 kV"),
    ):
        pp.create_line(net, *(buses[end] for end in ends), length_km=length_km, std_type=kind)
    net.line.loc[1, "parallel"] = 2
    trafo = pp.create_transformer(net, 1, 2, "0.63 MVA 20/0.4 kV", tap_pos=1)
    for line, bus in ((6, 5), (6, 7), (2, 4), (4, 2), (4, 6), (7, 1), (7, 8)):
        pp.create_switch(net, bus, line, et="l", closed=line != 6)
    pp.create_switch(net, 1, trafo, et="t")
    for bus, p_mw in zip(buses[2:8], (0.05, 0.04, 0.03, 0.05, 0.06, 0.02), strict=True):
        pp.create_load(net, bus, p_mw=p_mw, q_mvar=0.3 * p_mw, scaling=0.9)
    pp.create_sgen(net, 5, p_mw=0.06, q_mvar=0.01, scaling=0.8)
    pp.create_storage(net, 7, p_mw=0.02, max_e_mwh=0.1)
    pp.create_shunt(net, 6, q_mvar=-0.02, p_mw=0.001, step=1, max_step=3)
    return net


def meshed() -> pandapowerNet:
    """IEEE 14 buses as shipped, for outages."""
    net = pn.case14()
    net.name = "case14"
    return net


#: Takes away every limit that a net's tables may have, and the warning of those they have not.
NO_LIMITS = dict.fromkeys(
    ("vm_pu", "loading_percent", "gen_q_mvar", "ext_grid_p_mw", "ext_grid_q_mvar")
)
