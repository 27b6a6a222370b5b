"""Profiles from tables and files: what is read, what is refused, and what is warned of."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandapower.networks as pn
import pandas as pd
import pytest
from nets import two_bus

from gridproblems.cases import load_case
from gridproblems.nets.profiles import profile_table, simbench_net, warn_of_kw


def test_packaged_profiles() -> None:
    profiles = load_case("lv18").profiles
    assert list(profiles) == ["generation", "load"]
    for kind, total_mwh in (("generation", 0.216), ("load", 0.151)):
        table = profile_table(profiles[kind], kind, 17)
        assert table.shape == (24, 17)
        assert table.to_numpy().sum() == pytest.approx(total_mwh, abs=1e-6)
    generation = profile_table(profiles["generation"], "generation")
    assert (generation.iloc[[0, 1, 2, 3, 22, 23]] == 0).all(axis=None)  # night


def test_the_same_table_in_every_form(tmp_path: Path) -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    frame = pd.DataFrame(values, columns=["a", "b", "c"], index=[10, 20])
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.to_csv(tmp_path / "unnamed.csv")
    frame.to_csv(tmp_path / "hour.csv", index_label="Hour")
    dated = frame.set_index(pd.Index(["2024-01-01 00:00", "2024-01-01 01:00"], name="when"))
    dated.to_csv(tmp_path / "dated.csv")
    sources = [frame, *(tmp_path / f"{name}.csv" for name in ("plain", "unnamed", "hour", "dated"))]
    for source in sources:
        table = profile_table(source, "load", 3)
        np.testing.assert_array_equal(table, values)
        assert list(table.columns) == ["a", "b", "c"]
        assert list(table.index) == [0, 1]
    np.testing.assert_array_equal(profile_table(values, "load", 3), values)
    np.testing.assert_array_equal(profile_table(str(tmp_path / "plain.csv"), "load"), values)
    assert list(frame.index) == [10, 20]


def frame_with(value: object) -> pd.DataFrame:
    return pd.DataFrame({"a": [0.1, 0.2], "b": [0.3, value]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((24, 16)), r"load: expected 2 columns, one per element, got .* \(24, 16\)"),
        (np.zeros(24), r"load: expected a DataFrame, the path .* got shape \(24,\)"),
        (np.zeros((0, 2)), r"load: expected at least one row and one column, got \(0, 2\)"),
        (frame_with(np.nan), r"load: column 'b' has no finite value in row 1 \(nan\)"),
        (frame_with(np.inf), r"load: column 'b' has no finite value in row 1 \(inf\)"),
        (frame_with("1,5"), r"load: column 'b' has no finite value in row 1 \(1,5\)"),
        (frame_with(-0.4), r"load: column 'b' is negative in row 1 \(-0.4\)"),
        ("nowhere.csv", "load: no such file: nowhere.csv"),
    ],
)
def test_bad_tables(source: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_table(source, "load", 2)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("")
    with pytest.raises(ValueError, match=r"generation: .*empty\.csv is no CSV table"):
        profile_table(path, "generation")


def test_kw_given_as_mw() -> None:
    net = load_case("lv18").net()
    load = profile_table(load_case("lv18").profiles["load"], "load")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_kw(net, {"load": load})
        warn_of_kw(pn.case33bw(), {"load": 1e3 * load})  # its lines have no real rating
    with pytest.warns(UserWarning, match=r"load: 14\.78 MW in total, but the grid is rated 0\.4 M"):
        warn_of_kw(net, {"load": 1e3 * load})
    feeder = two_bus()  # no transformer: sqrt(3) * 10 kV * 1 kA at the external grid
    with pytest.warns(UserWarning, match=r"200 MW in total, but the grid is rated 17\.32 MVA"):
        warn_of_kw(feeder, {"load": pd.DataFrame([[200.0]])})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="platform: simbench needs Python 3.11")
def test_simbench_series_move_the_taps_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package itself
        net, series = simbench_net("1-LV-rural1--0-sw", slice(40, 60))
    assert {key: table.shape for key, table in series.items()} == {
        ("load", "p_mw"): (20, 13),
        ("load", "q_mvar"): (20, 13),
        ("sgen", "p_mw"): (20, 4),
    }
    assert list(series["load", "p_mw"].columns) == net.load.index.tolist()
    assert (net.trafo.tap_changer_type == "Ratio").all()
    assert (net.trafo.tap_step_percent > 0).all()
    with pytest.raises(ValueError, match="no network has the code '1-LV'"):
        simbench_net("1-LV")


def test_simbench_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simbench", None)
    with pytest.raises(ValueError, match="pip install simbench"):
        simbench_net("1-LV-rural1--0-sw")
