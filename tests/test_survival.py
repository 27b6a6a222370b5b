"""Outages that nothing survives, the controls that a file without ranges needs, and the README's
commands for an own grid."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from typer.testing import CliRunner

from gridproblems import GridProblem, Outages
from gridproblems.cli.main import app
from gridproblems.controls import Powers, Taps
from gridproblems.study.survival import survival, without

ROOT = Path(__file__).parents[1]


def weak_corridor() -> Any:
    """A load of 100 MW behind two lines of 60 MVA, one of 20 MW behind two of 60 MVA, a generator
    at the second."""
    net = pp.create_empty_network(sn_mva=100.0, name="weak corridor")
    pp.create_buses(net, 3, vn_kv=110.0, min_vm_pu=0.9, max_vm_pu=1.1)
    pp.create_ext_grid(net, 0, vm_pu=1.02)
    for bus in (1, 1, 2, 2):
        pp.create_line_from_parameters(
            net, 0, bus, 10.0, 0.05, 0.3, 0.0, max_i_ka=60 / 110 / 3**0.5, max_loading_percent=100
        )
    pp.create_load(net, 1, p_mw=100.0)
    pp.create_load(net, 2, p_mw=20.0)
    limits = {"min_vm_pu": 0.95, "max_vm_pu": 1.05, "min_p_mw": 0.0, "max_p_mw": 200.0}
    pp.create_gen(net, 2, p_mw=10.0, vm_pu=1.0, **limits)
    return net


def make(net: Any) -> Any:
    return lambda situations, engine: GridProblem(
        net, ["setpoints", "powers"], situations, engine=engine
    )


def test_outages_that_overload_what_is_left_are_lost() -> None:
    found = survival(make(weak_corridor()), "outages:lines")
    assert found.names == ("line 0 out", "line 1 out", "line 2 out", "line 3 out")
    assert [one.name for one in found.lost] == ["line 0 out", "line 1 out"]
    assert not found.whole
    (broken,) = found.lost[0].broken
    assert broken.name.startswith("n-1 line 1")
    assert broken.limit == 100.0
    assert 60.0 < broken.beyond < 70.0  # 100 MW on 60 MVA, at a voltage below 1.02 p.u.
    assert str(found.lost[0]).startswith("line 0 out (n-1 line 1")


def test_a_grid_that_breaks_limits_as_a_whole_loses_no_outage() -> None:
    net = weak_corridor()
    net.load.loc[0, "p_mw"] = 150.0
    found = survival(make(net), Outages("lines"))
    assert not found.lost
    assert {v.name.split(" loading")[0] for v in found.whole} == {"line 0", "line 1"}


def test_survivable_needs_outages() -> None:
    with pytest.raises(ValueError, match="expected outages among the --situations"):
        survival(make(weak_corridor()), "hours:n=2")
    done = CliRunner().invoke(app, ["solve", "orpd", "--case", "ieee14", "--survivable"])
    assert done.exit_code == 2
    assert "expected outages among the --situations" in done.output


def test_words_without_outages() -> None:
    assert without("hours:n=2*outages:lines", ["line 3 out", "trafo 1 out"]) == (
        'hours:n=2*outages:lines:without=["line 3", "trafo 1"]'
    )
    assert without("outages", ["line 0 out"]) == 'outages:without=["line 0"]'


def test_outages_without_some() -> None:
    def names(**more: Any) -> list[str]:
        words = Outages("lines", pairs={"corridor": [0, 2]}, **more)
        problem = GridProblem(weak_corridor(), ["setpoints"], words)
        return list(problem.situations.axes[0].names[1:])

    everything = ["line 0 out", "line 1 out", "line 2 out", "line 3 out", "corridor"]
    assert names() == everything
    assert names(without=[1, "line 2", "line 3 out", "corridor"]) == ["line 0 out"]
    assert names(without=3) == everything[:3] + everything[4:]
    with pytest.raises(ValueError, match=r"without: no outage is called 'line 9' \(did you mean"):
        names(without=[9])
    with pytest.raises(ValueError, match="without: expected a list like"):
        Outages("lines", without=3.5)


def test_a_run_leaves_out_what_cannot_be_survived(tmp_path: Path) -> None:
    path = tmp_path / "weak.json"
    pp.to_json(weak_corridor(), str(path))
    words = f"solve --case {path} --control setpoints,powers --objective p_loss_mw --evals 60"
    asked = [*words.split(), "--situations", "outages:lines", "--survivable"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Left out, 2 of 4 outages that no settings were found to survive:" in done.output
    (folder,) = (tmp_path / "out").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["feasible"]
    assert any(line.startswith("  line 0 out (n-1 line 1") for line in result["before"])
    assert "line 1 out (n-1 line 0" in (folder / "summary.md").read_text()
    situations = (folder / "situations.csv").read_text()
    assert "line 2 out" in situations
    assert "line 0 out" not in situations


# -- controls --------------------------------------------------------------------------------------


def test_powers_are_those_with_a_range_that_are_no_slack() -> None:
    net = weak_corridor()
    pp.create_gen(net, 1, 5.0, slack=True, min_p_mw=0, max_p_mw=9, in_service=False)
    pp.create_gen(net, 2, 5.0, vm_pu=1.0, min_p_mw=0, max_p_mw=9, controllable=False)
    pp.create_sgen(net, 1, 5.0, min_p_mw=1.0, max_p_mw=8.0, controllable=True)
    problem = GridProblem(net, ["powers", "powers:sgen"])
    assert [v.name for v in problem.joint.variables] == ["gen.p_mw[0]", "sgen.p_mw[0]"]
    assert problem.xl.tolist() == [0.0, 1.0]
    assert problem.xu.tolist() == [200.0, 8.0]
    solved = problem.apply([30.0, 8.0])
    assert solved.res_gen.p_mw[0] == pytest.approx(30.0)
    fed = 125.0 - 30.0 - 8.0 - 5.0 + solved.res_line.pl_mw.sum()  # the other generator gives 5
    assert solved.res_ext_grid.p_mw.sum() == pytest.approx(fed - 5.0)
    net.gen.loc[1, "in_service"] = True
    with pytest.raises(ValueError, match=r"gen 1.*: a slack"):
        GridProblem(net, [Powers(elements=[1])])
    net.gen["max_p_mw"] = np.nan
    with pytest.raises(ValueError, match=r"gen 0.*: needs min_p_mw and max_p_mw"):
        GridProblem(net, [Powers(elements=[0])])
    with pytest.raises(ValueError, match="unknown table 'load'"):
        Powers("load")


def with_transformers() -> Any:
    """A transformer whose ratio is 0.978 by its tap, one that has none, one with its own range."""
    net = pp.create_empty_network(sn_mva=100.0)
    pp.create_buses(net, 4, vn_kv=[110.0, 20.0, 20.0, 20.0])
    pp.create_ext_grid(net, 0)
    more = {"sn_mva": 40.0, "vn_lv_kv": 20.0, "vkr_percent": 0.4, "vk_percent": 12.0}
    tap = {"tap_side": "hv", "tap_neutral": 0, "tap_changer_type": "Ratio"}
    rated = {"vn_hv_kv": 110.0, "pfe_kw": 0.0, "i0_percent": 0.0}
    for bus, own in (
        (1, {**rated, **tap, "tap_pos": -220, "tap_step_percent": 0.01}),
        (2, {**rated, "vn_hv_kv": 99.0}),
        (3, {**rated, **tap, "tap_pos": 1, "tap_step_percent": 1.5, "tap_min": -2, "tap_max": 2}),
    ):
        pp.create_transformer_from_parameters(net, 0, bus, **more, **own)
        pp.create_load(net, bus, 10.0, 3.0)
    return net


def test_transformers_without_a_range_get_a_band() -> None:
    net = with_transformers()
    problem = GridProblem(net, [Taps(band=(0.9, 1.1), step=0.0125)])
    # (0.9 - 0.978) / 0.0125 = -6.24, (1.1 - 0.978) / 0.0125 = 9.76; from 0.9 up, 0.2 / 0.01125
    assert problem.xl.tolist() == [-6, 0, -2]
    assert problem.xu.tolist() == [9, 17, 2]
    assert problem.base_x.tolist() == [0, 0, 1]
    pp.runpp(net, tolerance_mva=1e-8)
    assert problem.base_state.vm_pu[0] == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-9)
    moved = problem.apply([4, 8, 1])
    for row, ratio in ((0, 0.978 + 4 * 0.0125), (1, 0.9 * (1 + 8 * 0.0125))):
        net.trafo.loc[row, ["tap_pos", "vn_hv_kv"]] = 0, 110.0 * ratio
    pp.runpp(net, tolerance_mva=1e-8)
    assert moved.res_bus.vm_pu.to_numpy() == pytest.approx(net.res_bus.vm_pu.to_numpy(), abs=1e-9)


def test_a_band_reaches_to_the_present_ratio() -> None:
    net = with_transformers()
    problem = GridProblem(net, ["taps:band=[0.95,1.05]:step=0.025"])
    assert problem.xl.tolist() == [-1, 0, -2]
    assert problem.xu.tolist() == [2, 6, 2]  # the second is at 0.9: (1.05 - 0.9) / 0.0225


def test_bands_that_are_none() -> None:
    for band in ((1.1, 0.9), (0.0, 1.0), (0.9,), "wide", (0.9, np.nan)):
        with pytest.raises(ValueError, match="band: expected"):
            Taps(band=band)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step: expected a ratio"):
        Taps(band=(0.9, 1.1), step=0.0)
    net = with_transformers()
    net.trafo.loc[0, "tap_side"] = "lv"
    with pytest.raises(ValueError, match="tap on the low-voltage side"):
        GridProblem(net, [Taps(band=(0.9, 1.1))])


def test_dispatch_takes_a_band_too() -> None:
    done = CliRunner().invoke(
        app, ["solve", "orpd", "--case", "ieee14", "--control", "taps:bnad=[0.9,1.1]"]
    )
    assert done.exit_code == 2
    assert "unexpected keyword argument bnad" in done.output.replace("'", "")


# -- the README -----------------------------------------------------------------------------------


def test_the_commands_of_the_readme_give_a_secure_dispatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "five_bus.m" in b]
    lines = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    assert [line[:2] for line in lines] == [
        ["gridproblems", "check"],
        ["gridproblems", "solve"],
        ["gridproblems", "solve"],
    ]
    for name in ("five_bus.m", "day.csv"):
        source = ROOT / "docs" / "examples" / "own_grid" / name
        (tmp_path / name).write_bytes(source.read_bytes())
    monkeypatch.chdir(tmp_path)
    for line in lines:
        done = CliRunner().invoke(app, line[1:])
        assert done.exit_code == 0, done.output
    folders = sorted((tmp_path / "results").iterdir())
    assert len(folders) == 2
    for folder in folders:
        result = json.loads((folder / "result.json").read_text())
        assert result["feasible"]
        assert "n-1 line_loading_percent" in {limit["name"] for limit in result["limits"]}
        assert len((folder / "settings.csv").read_text().splitlines()) > 2
        assert (folder / "voltage_fan.png").stat().st_size > 1000
        assert "data:image/png" in (folder / "report.html").read_text()
