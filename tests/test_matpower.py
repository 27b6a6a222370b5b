"""MATPOWER files: the power flow of the file, what is said of the rest, and what is refused."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matpower_reference
import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pandas as pd
import pytest
import scipy.io
from pandapower.converter.matpower import to_mpc
from typer.testing import CliRunner

from gridproblems import read_grid
from gridproblems.cli import app
from gridproblems.grids import NetGrid
from gridproblems.nets.files.matpower import KIND, case_of, read_m, read_mat
from gridproblems.nets.files.matpower_text import read_fields
from gridproblems.nets.net_check import check_net
from gridproblems.nets.network import load_net

#: Everything that a branch, bus or machine of a case can be; made up.
CASE = """function mpc = everything
%EVERYTHING  a case of our own
mpc.version = '2';
mpc.baseMVA = 50;
%   number type Pd Qd Gs Bs area Vm Va baseKV zone Vmax Vmin
mpc.bus = [
    1   3   0    0   0    0   1 1.02 10 110 1 1.1 0.9;
    2   2   12   4   0    0   1 1.01 0  110 1 1.1 0.9;   % a comment; with ; and ]
    3   1   20   7   0.3  9   1 1    0  110 1 1.1 0.9;
    4   1   15   -2  0    0   1 1    0  20  1 1.1 0.9;
    5   1   -6   1   0    0   1 1    0  20  1 1.1 0.9;
    6   1   9    3   0   -2   1 1    0  110 1 1.1 0.9;
    7   4   3    1   1    0   1 1    0  110 1 1.1 0.9;
    8   1   2    1   0    0   1 1    0  110 1 1.1 0.9
];
mpc.gen = [
    1  0   0  40 -40 1.02 100 1 90 0;
    1  7   2  10 -10 1.02 100 1 20 0;
    2  10  0  20 -20 1.03 100 1 40 0;
    2  5   0  20 -20 1.01 100 1 40 0;   % the last set-point holds
    4  4   1  5  -5  1    100 1 8  0;
    6  3   1  5  -5  1    100 0 8  0;
    7  3   1  5  -5  1    100 1 8  0;
];
%   from to r x b rateA rateB rateC ratio angle status angmin angmax
mpc.branch = [
    1  2  0.01  0.06  0.03  60 70 80 0     0    1 -360 360;
    1  3  0.02  0.09  0.04  0  0  0  0     0    1 -30  30;
    2  3  0.012 -0.03 0     40 0  0  0     0    1 -360 360;  % a series capacitor
    3  4  0.005 0.11  0     35 0  0  0.978 0    1 -360 360;
    4  3  0.006 0.12  0.02  35 0  0  1.03  0    1 -360 360;  % tap at the lower voltage, charged
    2  5  0.004 0.10  -0.01 30 0  0  0     0    1 -360 360;  % no ratio, unlike voltages
    2  6  0.01  0.05  0.01  30 0  0  1     -4   1 -360 360;  % phase shifter
    3  6  0.01  0.05  0.01  30 0  0  0.9523809523809523 3 1 -360 360;
    4  5  0.03  0.0   0.002 30 0  0  0     0    1 -360 360;  % no reactance
    4  5  -0.03 0.09  0.002 30 0  0  0     0    1 -360 360;  % negative resistance
    3  5  0.0   -0.08 0     30 0  0  1.01  0    1 -360 360;
    3  5  0.02  0.0   0     30 0  0  1.01  0    1 -360 360;
    6  7  0.01  0.05  0     30 0  0  0     0    1 -360 360;  % to an isolated bus
    1  6  0.01  0.05  0     30 0  0  0     0    0 -360 360;
    6  8  0     0     0     30 0  0  0     0    0 -360 360;  % a coupler, open
    6  8  0.01  0.04  0     Inf 0 0  0     0    1 -360 360;
];
mpc.gencost = [
    2  100 0 3  0.02 20 5 0;
    2  0   0 2  21   7  0 0;
    1  0   0 2  0    0  40 800;
    2  0   0 4  1    2  3  4;
    2  0   0 1  9    0  0  0;
    2  0   0 3  0    0  0  0;
    2  0   0 3  0    0  0  0;
];
mpc.dcline = [
    1 6 1 10 8.9 0 0 1.01 1 1 12 -5 5 -5 5 1 0.01;
];
mpc.bus_name = {'North'; 'It''s B'; 'C [old]; x'; 'D'; 'E'; 'F'; 'G'; 'H'};
mpc.reserves.zones = [1 1];
"""


def written(tmp_path: Path, text: str, name: str = "everything.m") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def matpower_text(mpc: dict[str, Any]) -> str:
    """A case file of matrices."""
    lines = ["function mpc = written", "mpc.version = '2';", f"mpc.baseMVA = {mpc['baseMVA']!r};"]
    for name in ("bus", "gen", "branch"):
        rows = [" ".join(repr(float(v)) for v in row) for row in np.real(mpc[name])]
        lines += [f"mpc.{name} = [", *(f"  {row};" for row in rows), "];"]
    return "\n".join(lines)


def distance_pu(case: Any, net: Any) -> float:
    """Between MATPOWER's own equations and pandapower's solution, as complex voltages."""
    pp.runpp(net, tolerance_mva=1e-9, numba=False, lightsim2grid=False)
    kept, v = matpower_reference.solve(case)
    found = net.res_bus.iloc[kept]
    angle = np.deg2rad(found.va_degree.to_numpy())
    return float(np.abs(found.vm_pu.to_numpy() * np.exp(1j * angle) - v).max())


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    # an open coupler leaves a bus to its other branch, and MATPOWER's equations know no couplers
    return written(tmp_path, CASE)


def test_every_kind_of_branch_has_the_power_flow_of_the_file(everything: Path) -> None:
    case = case_of(read_fields(CASE).values, [])
    found = read_m(everything)
    check_net(found.net)
    # the open coupler has no impedance, which the equations cannot hold
    case.branch[14, 3] = 1.0
    assert distance_pu(case, found.net) < 1e-9
    assert found.kind == KIND


def test_elements_keep_the_numbers_of_the_file(everything: Path) -> None:
    net = load_net(everything)
    assert net.bus.index.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert net.bus.name[[1, 2, 3]].tolist() == ["North", "It's B", "C [old]; x"]
    assert net.line.index.tolist() == [1, 2, 3, 9, 10, 13, 14, 16]
    assert net.trafo.index.tolist() == [4, 5, 6, 7, 8, 11, 12]
    assert net.trafo.hv_bus.tolist() == [3, 4, 2, 2, 3, 3, 3]  # the from-buses
    assert net.trafo.name[[4, 12]].tolist() == ["3-4", "3-5 (2)"]
    assert net.switch.loc[15, ["bus", "element", "et"]].tolist() == [6, 8, "b"]
    assert not net.switch.closed.at[15]
    assert not net.line.in_service[[13, 14]].any()
    assert net.ext_grid.loc[1, ["vm_pu", "va_degree"]].tolist() == [1.02, 10.0]
    assert net.gen.index.tolist() == [3, 4, 7]
    assert net.gen.vm_pu.tolist() == [1.01, 1.01, 1.0]
    assert net.gen.in_service.tolist() == [True, True, False]
    assert net.sgen.index.tolist() == [2, 5, 6]
    assert net.sgen.in_service.tolist() == [True, True, False]
    assert net.load.p_mw[[2, 5]].tolist() == [12.0, -6.0]
    assert not net.load.in_service.at[7]
    assert not net.shunt.in_service.at[7]


def test_limits_and_costs_are_taken_over(everything: Path) -> None:
    net = load_net(everything)
    assert net.line.max_i_ka.at[1] == pytest.approx(60 / (3**0.5 * 110))
    assert net.line.max_loading_percent.isna().tolist() == [False, True] + [False] * 5 + [True]
    assert net.trafo.sn_mva.tolist() == [35, 35, 30, 30, 30, 30, 30]
    assert net.bus.loc[1, ["min_vm_pu", "max_vm_pu"]].tolist() == [0.9, 1.1]
    assert net.gen.loc[3, ["min_p_mw", "max_p_mw", "min_q_mvar", "max_q_mvar"]].tolist() == [
        0.0, 40.0, -20.0, 20.0,
    ]  # fmt: skip
    assert net.ext_grid.loc[1, ["min_q_mvar", "max_q_mvar", "max_p_mw"]].tolist() == [-50, 50, 90]
    of = net.poly_cost.set_index(["et", "element"])
    columns = ["cp0_eur", "cp1_eur_per_mw", "cp2_eur_per_mw2"]
    assert of.loc[("ext_grid", 1), columns].tolist() == [5.0, 20.0, 0.02]
    assert of.loc[("sgen", 2), columns].tolist() == [7.0, 21.0, 0.0]
    assert of.loc[("sgen", 5), columns].tolist() == [9.0, 0.0, 0.0]
    assert ("gen", 4) not in of.index
    assert net.pwl_cost.points.tolist() == [[[0.0, 40.0, 20.0]]]
    assert net.pwl_cost[["et", "element"]].to_numpy().tolist() == [["gen", 3]]
    line = net.dcline.loc[1]
    assert not line.in_service
    assert (line.p_mw, line.loss_mw, line.loss_percent) == (10.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "words",
    [
        "not read: reserves.zones",
        "1 isolated bus (type 4) out of service",
        "1 generator at the slack's bus keep their active power as static generators",
        "generator rows 5 at buses of type 1 hold no voltage",
        "generators at bus 2 have different set-points; that of the last row holds",
        "costs of start-up and shut-down are left out",
        "gencost rows 4 are left out: neither a polynomial of degree 2",
        "1 branch without impedance: switches between their buses (rows 15)",
        "3 transformers with capacitive charging: part of it is a shunt at the to-bus",
        "2 branches without a rating",
        "ratings B and C are not used",
        "1 branch without a ratio join unlike base voltages",
        "limits on the angle of 1 branch are left out",
        "1 DC line out of service, as in MATPOWER without toggle_dcline",
    ],
)
def test_what_was_changed_or_lost_is_said(everything: Path, words: str) -> None:
    assert [note for note in read_m(everything).notes if words in note]


def test_taps_can_move_where_the_ratio_is_a_whole_step(everything: Path) -> None:
    net = load_net(everything)
    assert net.trafo.tap_pos[[4, 5]].tolist() == [-220.0, 300.0]
    assert net.trafo.tap_side[[4, 5]].tolist() == ["hv", "hv"]
    assert net.trafo.tap_changer_type.at[8] is None  # 1 / 1.05: in the rated voltage
    assert net.trafo.vn_hv_kv.at[8] == pytest.approx(110 / 1.05)
    case = case_of(read_fields(CASE).values, [])
    case.branch[14, 3] = 1.0
    case.branch[[3, 4], 8] = 0.95, 1.05  # also of the charged one
    net.trafo.loc[[4, 5], "tap_pos"] = -500, 500
    assert distance_pu(case, net) < 1e-9


def test_a_branch_that_no_transformer_can_be_is_an_impedance(tmp_path: Path) -> None:
    # charging so large that no inductive magnetising branch is left
    text = CASE.replace("2  6  0.01  0.05  0.01", "2  6  0.01  0.05  30.0")
    case = case_of(read_fields(text).values, [])
    found = read_m(written(tmp_path, text))
    assert found.net.impedance.index.tolist() == [7]
    assert [n for n in found.notes if "that no transformer of pandapower can be" in n]
    case.branch[14, 3] = 1.0
    y_bus = matpower_reference.admittances(case).toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp(found.net, numba=False, lightsim2grid=False, max_iteration=1, tolerance_mva=1e9)
    lookup = found.net._pd2ppc_lookups["bus"][[1, 2, 3, 4, 5, 6, 8]]
    order = [*range(6), 7]
    solved = found.net._ppc["internal"]["Ybus"].toarray()[np.ix_(lookup, lookup)]
    np.testing.assert_allclose(solved, y_bus[np.ix_(order, order)], rtol=1e-9, atol=1e-9)


#: Twenty nets of pandapower's, most of them MATPOWER cases.
NETS: dict[str, Callable[..., Any]] = {
    make.__name__: make
    for make in (
        pn.case4gs, pn.case5, pn.case6ww, pn.case9, pn.create_cigre_network_mv, pn.case14,
        pn.case24_ieee_rts, pn.case30, pn.case_ieee30, pn.case33bw, pn.case39, pn.case57,
        pn.case89pegase, pn.case118, pn.case145, pn.case_illinois200, pn.case300,
        pn.GBreducednetwork, pn.iceland, pn.case1354pegase,
    )
}  # fmt: skip


def matrices_of(net: Any) -> dict[str, Any]:
    """Those that pandapower's own converter makes of a net."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpc = to_mpc(net, init="flat", calculate_voltage_angles=True)["mpc"]
    return {name: np.real(v) if name in ("bus", "gen", "branch") else v for name, v in mpc.items()}


#: What pandapower's own converter to these matrices loses, so that they are another grid.
LOST = {
    "case24_ieee_rts": "set-points of several generators at a bus",
    "case118": "conductance of magnetising branches",
    "case145": "conductance of magnetising branches",
    "case300": "conductance of magnetising branches",
    "GBreducednetwork": "conductance of magnetising branches",
}


@pytest.mark.parametrize("name", NETS)
def test_twenty_nets_written_and_read_have_the_same_voltages(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    options: dict[str, Any] = {"numba": False, "lightsim2grid": False, "tolerance_mva": 1e-9}
    pp.runpp(net, **options)
    mpc = matrices_of(net)
    order = net._pd2ppc_lookups["bus"][net.bus.index]
    text = matpower_text(mpc)
    read = load_net(written(tmp_path, text, f"{name}.m"))
    check_net(read)
    assert distance_pu(case_of(read_fields(text).values, []), read) < 1e-6
    if name not in LOST:
        there = read.res_bus.iloc[order]
        np.testing.assert_allclose(there.vm_pu, net.res_bus.vm_pu, rtol=0, atol=1e-6)
        np.testing.assert_allclose(there.va_degree, net.res_bus.va_degree, rtol=0, atol=1e-5)


def test_the_matlab_format_holds_the_same_net(everything: Path, tmp_path: Path) -> None:
    fields = read_fields(CASE).values
    mpc = {name: v for name, v in fields.items() if "." not in name}
    mpc["bus_name"] = np.array(mpc["bus_name"], dtype=object).reshape(-1, 1)
    net = load_net(everything)
    for compressed in (False, True):
        path = tmp_path / f"case{compressed}.mat"
        scipy.io.savemat(path, {"mpc": mpc}, do_compression=compressed)
        other = read_mat(path).net
        for table in ("bus", "line", "trafo", "gen", "sgen", "ext_grid", "load", "poly_cost"):
            assert other[table].equals(net[table]), table
    scipy.io.savemat(
        tmp_path / "bare.mat", {n: mpc[n] for n in ("baseMVA", "bus", "gen", "branch")}
    )
    assert read_mat(tmp_path / "bare.mat").net.line.equals(net.line)


ARITHMETIC = """function mpc = feeder
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [ %% kW and kvar
    1 3 0   0  0 0 1 1 0 12.66 1 1   1;
    2 1 100 60 0 0 1 1 0 22/sqrt(3) 1 1.1 0.9;
    3 1 90  40 0 0 1 1 0 12.66 1 1.1 0.9;
];
mpc.gen = [1 0 0 10 -10 1 100 1 10 0];
mpc.branch = [
    1 2 0.0922 0.0470 0 0 0 0 0 0 1 -360 360;
    2 3 0.4930 0.2511 0 0 0 0 0 0 1 -360 360];
[PQ, PV, REF, NONE, BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA, VM, ...
    VA, BASE_KV, ZONE, VMAX, VMIN, LAM_P, LAM_Q, MU_VMAX, MU_VMIN] = idx_bus;
[F_BUS, T_BUS, BR_R, BR_X] = idx_brch;
Vbase = mpc.bus(1, BASE_KV) * 1e3;      %% in Volts
Sbase = mpc.baseMVA * 1e6;
mpc.branch(:, [BR_R BR_X]) = mpc.branch(:, [BR_R BR_X]) / (Vbase^2 / Sbase);
mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3;
pf = 0.85;
mpc.bus(:, QD) = mpc.bus(:, PD) * sin(acos(pf));
fixed = 0;
if fixed
    k = find(isinf(mpc.gen(:, PMIN)));
    delete everything
end
"""


def test_arithmetic_on_columns_is_done() -> None:
    found = read_fields(ARITHMETIC)
    case = case_of(found.values, [])
    assert found.computed == ["branch BR_R BR_X", "bus PD, QD", "bus QD"]
    assert case.bus[:, 2].tolist() == [0.0, 0.1, 0.09]
    assert case.bus[1, 3] == pytest.approx(0.1 * np.sin(np.arccos(0.85)))
    assert case.bus[1, 9] == pytest.approx(22 / 3**0.5)
    assert case.branch[0, 2] == pytest.approx(0.0922 / (12.66**2 / 10))


ATTACKS = {
    "system('touch marker');": r"line 2: \"system\('touch marker'\);\" is no data, and nothing",
    "!touch marker": "line 2: '!touch marker' is no data",
    "mpc.baseMVA = system('touch marker');": "line 2: \"'touch",
    "mpc.baseMVA = eval(1);": r"line 2: eval: expected a matrix that stands above",
    "mpc.bus = load('x.mat');": "line 2: \"'x.mat",
    "mpc.bus = [1 2; fopen(1) 3];": r"line 2: bus: 'fopen\(1\)' is no number",
    "mpc.bus = [1 2; 3];": "line 2: bus: expected 2 numbers as in the first row, got 1",
    "mpc.bus = [1 2": "line 2: bus: the matrix has no end",
    "mpc.bus = [1_0 2];": "line 2: bus: '1_0' is no number",
    "mpc.bus = [1 2]';": "line 2: bus: transposed matrices are not read",
    "mpc.bus_name = {'a": "line 2: a text without end",
    "mpc.bus_name = {@run};": "line 2: bus_name: expected a list of texts, got '@run",
    "mpc.baseMVA = 10 ^ ;": "line 2: .*expected a number",
    "mpc.baseMVA = " + "(" * 5000 + "1": "line 2: too many brackets",
    "mpc.baseMVA = 1e999;": "the matrix bus is missing",
    "if true, delete('x'), end": "line 2: .* is no data",
    "for k = 1:9e99, end": "line 2: .* is no data",
    "other.bus = [1 2];\nmpc.gen = [1 2];": "line 3: mpc.gen: a field of another struct than other",
    "mpc.version = '2';": "no MATPOWER case: the matrix bus is missing",
    "\0\1\2": "no text, expected a MATPOWER case file",
}


@pytest.mark.parametrize("statement", ATTACKS)
def test_what_is_no_data_is_refused(
    statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, f"function mpc = attack\n{statement}\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=ATTACKS[statement]) as caught:
        load_net(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("12   4   0 ", "NaN  4   0 ", "bus: row 2 has nan in column Pd, expected a number"),
        ("12   4   0 ", "1e999 4 0 ", "bus: row 2 has inf in column Pd"),
        ("    2   2   12", "    1   2   12", "bus: the number 1 occurs twice"),
        ("    2   2   12", "    2.5 2   12", "bus: row 2 has the number 2.5, no whole number"),
        ("    2   2   12", "    2   6   12", "bus: row 2 has the type 6, expected 1 to 4"),
        ("    1  2  0.01", "    1  9  0.01", "branch: row 1 has to-bus 9, no bus of the case"),
        ("    1  2  0.01", "    1  1  0.01", "branch: row 1 begins and ends at bus 1"),
        ("    2  10  0 ", "    12 10  0 ", "gen: row 3 has bus 12, no bus of the case"),
        ("35 0  0  0.978", "35 0  0  -0.97", "branch: row 4 has the ratio -0.97"),
        ("0.005 0.11  0   ", "0 0 0 ", r"branch: row 4 \(3-4\) has no impedance"),
        ("mpc.baseMVA = 50;", "mpc.baseMVA = 0;", "baseMVA: expected a positive number, got 0"),
    ],
)
def test_what_cannot_be_is_named(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in CASE
    with pytest.raises(ValueError, match=words):
        load_net(written(tmp_path, CASE.replace(old, new, 1)))


def test_matlab_files_that_are_none(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "case.mat"
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    bomb = zlib.compress(bytes(2**29), 9)
    cases = {
        b"\x89HDF\r\n": "a MATLAB 7.3 file; save it with",
        b"MATLAB 7.3 MAT-file".ljust(600): "a MATLAB 7.3 file",
        b"": "an empty file",
        b"nothing like it": "no MATLAB file",
        head + b"\x0f\0\0\0" + len(bomb).to_bytes(4, "little") + bomb: "more than 256 MiB of data",
        head + b"\x0f\0\0\0\x08\0\0\0notzlibs": "no MATLAB file",
    }
    for content, words in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words) as caught:
            load_net(path)
        assert str(caught.value).startswith(str(path))
    scipy.io.savemat(path, {"mpc": {"bus": [[1.0, 3.0]], "baseMVA": 1.0}})
    with pytest.raises(
        ValueError, match="bus: expected a matrix of at least one row and 13 columns"
    ):
        load_net(path)


def test_large_bus_numbers_and_no_reference_bus(tmp_path: Path) -> None:
    text = CASE.replace("\n    8   1   2 ", "\n    90000001 1 2 ").replace("6  8 ", "6  90000001 ")
    found = read_m(written(tmp_path, text.replace("    1   3   0 ", "    1   1   0 ")))
    assert found.net.bus.index.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [n for n in found.notes if n.startswith("buses are numbered anew")]
    assert [
        n for n in found.notes if "no reference bus has a generator in service: bus 2 is it" in n
    ]
    assert found.net.ext_grid.bus.tolist() == [2]


def test_a_grid_remembers_what_reading_it_changed(everything: Path) -> None:
    grid = NetGrid(str(everything))
    assert grid.name == "everything"
    assert grid.notes == read_m(everything).notes
    assert copy.deepcopy(grid).notes == grid.notes
    assert NetGrid("ieee14").notes == ()


def test_the_report_of_a_grid(everything: Path) -> None:
    report = read_grid(everything)
    assert report.solved
    assert report.lines[0] == (
        "MATPOWER: 8 buses, 8 lines, 7 transformers, 1 switch, 1 external grid, 3 generators, "
        "3 static generators, 7 loads, 6 shunts, 1 DC line"
    )
    stored = pd.Series([1.02, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0], [1, 2, 3, 4, 5, 6, 8])
    assert report.vm_error_pu == pytest.approx((report.net.res_bus.vm_pu - stored).abs().max())
    solved = CliRunner().invoke(app, ["check", str(everything)])
    assert solved.exit_code == 0, solved.output
    assert solved.output.splitlines() == report.lines
    lost = CliRunner().invoke(app, ["check", str(everything.parent / "none.m")])
    assert lost.exit_code == 2
    assert "none.m: no such file" in lost.output


def test_a_case_file_and_a_table_give_a_secure_dispatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1] / "docs" / "examples" / "own_grid")
    words = "solve orpd --case five_bus.m --series load=day.csv --situations outages:lines"
    done = CliRunner().invoke(app, [*words.split(), "--evals", "300", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (folder,) = tmp_path.iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["feasible"]
    assert result["before"][0] == "Read: ratings in MVA (rateA) limit the current at rated voltage"
    assert [line for line in result["before"] if "breaks 2 limits: n-1 gen 2 q_mvar max" in line]
    assert {"n-1 vm_pu", "n-1 line_loading_percent"} <= {
        limit["name"] for limit in result["limits"]
    }
    assert "ratings in MVA (rateA)" in (folder / "summary.md").read_text()
    for name in ("report.html", "settings.csv", "situations.csv", "voltage_fan.png"):
        assert (folder / name).stat().st_size > 100
