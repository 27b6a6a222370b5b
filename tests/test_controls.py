"""The codec between vectors and settings, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gridproblems.controls.direct import Control, ControlSet
from gridproblems.controls.variables import bounds
from gridproblems.state import Field, Settings


@pytest.fixture
def controls() -> ControlSet:
    return ControlSet(
        [
            Control("gen", "vm_pu", (3, 4), "real", 0.9, 1.1, "p.u."),
            Control("trafo", "tap_pos", (0,), "integer", -8, 8),
            Control("gen", "vm_pu", (7,), "real", 0.95, 1.05, "p.u."),
            Control("shunt", "step", (1,), "binary", 0, 1),
            Control("shunt", "q_mvar", (2,), "choice", -5.0, 0.0, "Mvar", (-5.0, -2.5, 0.0)),
        ],
        fixed={("ext_grid", "vm_pu"): {0: 1.05}},
    )


def test_decode_by_hand(controls: ControlSet) -> None:
    xl, xu, whole = bounds(controls)
    assert xl.tolist() == [0.9, -8, 0.95, 0, 0]
    assert xu.tolist() == [1.1, 8, 1.05, 1, 2]
    assert whole.tolist() == [v.kind != "real" for v in controls.variables]
    on_grid = controls.snap([1.3, 2.6, 1.0, 0.4, 1.2])
    assert on_grid.tolist() == [1.1, 3.0, 1.0, 0.0, 1.0]
    assert controls.decode(on_grid).as_mapping() == {
        ("gen", "vm_pu"): {3: 1.1, 4: 1.1, 7: 1.0},
        ("trafo", "tap_pos"): {0: 3.0},
        ("shunt", "step"): {1: 0.0},
        ("shunt", "q_mvar"): {2: -2.5},
        ("ext_grid", "vm_pu"): {0: 1.05},
    }


def test_encode_is_the_inverse(controls: ControlSet) -> None:
    rng = np.random.default_rng(0)
    xl, xu, _ = bounds(controls)
    for x in controls.snap(rng.uniform(xl - 0.3, xu + 0.3, (50, 5))):
        assert controls.encode(controls.decode(x).as_mapping()).tolist() == x.tolist()
        assert controls.snap(x).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({("gen", "vm_pu"): {3: 1.0, 4: 1.01, 7: 1.0}}, r"gen.vm_pu\[3\]: elements that share"),
        ({("gen", "vm_pu"): {3: 1.0, 7: 1.0}}, r"gen.vm_pu\[3\]: no value given for element 4"),
        ({("gen", "vm_pu"): {3: 1.2, 4: 1.2, 7: 1.0}}, r"1.2 not within \[0.9, 1.1\]"),
        ({("trafo", "tap_pos"): {0: 2.5}}, r"trafo.tap_pos\[0\]: value 2.5 is no whole number"),
        ({("shunt", "q_mvar"): {2: -1.0}}, r"shunt.q_mvar\[2\]: -1.0 is no option"),
    ],
)
def test_encode_refuses_what_is_off_the_grid(
    controls: ControlSet, change: dict[tuple[str, str], dict[int, float]], message: str
) -> None:
    settings = controls.decode(controls.snap([1.0, 0, 1.0, 0, 0])).as_mapping() | change
    with pytest.raises(ValueError, match=message):
        controls.encode(settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gen", "vm_pu", (0,), "real", 1.1, 0.95), r"gen.vm_pu\[0\]: lower bound 1.1 above upper"),
        (("gen", "vm_pu", (0,), "real", np.nan, 1.1), "bounds must be finite"),
        (("gen", "vm_pu", (0,), "floating", 0.9, 1.1), "known kinds: real, integer"),
        (("gen", "vm_pu", (0,), "choice", 0.9, 1.1), "at least two options"),
    ],
)
def test_bad_controls_are_refused(arguments: tuple, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        Control(*arguments)


def test_bad_sets_are_refused() -> None:
    one = Control("gen", "vm_pu", (0,), "real", 0.9, 1.1)
    with pytest.raises(ValueError, match="nothing to optimise"):
        ControlSet([])
    with pytest.raises(ValueError, match=r"gen.vm_pu\[0\] is set by more than one control"):
        ControlSet([one, one])
    with pytest.raises(ValueError, match=r"gen.vm_pu\[0\] is set by more than one control"):
        ControlSet([one], fixed={("gen", "vm_pu"): {0: 1.0}})


def test_settings_mapping_and_snapshots() -> None:
    settings = Settings.from_mapping({("gen", "vm_pu"): {2: 1.0, 5: 1.1}})
    assert settings.get("gen", "vm_pu") == {2: 1.0, 5: 1.1}
    assert settings.n_snapshots == 1
    series = Settings(settings.fields, np.array([[1.0, 1.1], [0.9, 1.0]]))
    assert series.n_snapshots == 2
    assert series.get("gen", "vm_pu")[5].tolist() == [1.1, 1.0]
    with pytest.raises(ValueError, match="several snapshots"):
        series.as_mapping()


def test_batches_and_series() -> None:
    """Candidates come first, snapshots next; what is fixed may change over time."""
    one = Control("sgen", "p_mw", (4,), "real", 0, 5)
    x = np.array([[1.0], [2.0], [3.0]])
    static = ControlSet([one], fixed={("load", "p_mw"): {0: 7.0}})
    assert static.n_snapshots == 1
    assert static.decode(x).values.tolist() == [[[1, 7]], [[2, 7]], [[3, 7]]]
    assert static.decode(x).candidate(1).as_mapping() == static.decode(x[1]).as_mapping()

    loads = Settings((Field("load", "p_mw", (0,)),), np.array([[7.0], [8.0]]))
    series = ControlSet([one], fixed=loads)
    assert series.n_snapshots == 2
    assert series.decode(x[1]).values.tolist() == [[2, 7], [2, 8]]
    batch = series.decode(x)
    assert batch.shape == (3, 2)
    assert batch.rows.tolist() == [[1, 7], [1, 8], [2, 7], [2, 8], [3, 7], [3, 8]]
    assert batch.candidate(2).get("load", "p_mw")[0].tolist() == [7, 8]
    assert batch.candidates(np.array([2, 0])).values[:, 0, 0].tolist() == [3, 1]


def test_integers_keep_the_whole_numbers_within_their_bounds() -> None:
    control = Control("trafo", "tap_pos", (0,), "integer", -1.5, 1.5)
    codec = ControlSet([control])
    assert (control.lower, control.upper) == (-1, 1)
    assert codec.snap([[-9.0], [-1.5], [1.4], [1.5], [9.0]]).ravel().tolist() == [-1, -1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0,), "integer", 0.2, 0.8), r"t.c\[0\]: no whole number within \[0.2, 0.8\]"),
        (((0,), "integer", np.nan, 1), "bounds must be finite, got nan and 1"),
        (((0,), "real", None, 1), "bounds must be finite, got None and 1"),
        (((0,), "real", "0", 1), "bounds must be finite"),
        (((0,), "binary", 0, 2), "bounds of a binary are 0 and 1, got 0 and 2"),
        (((0,), "binary", 1, 1), "bounds of a binary are 0 and 1"),
        ((0, "real", 0, 1), "t.c: elements: expected index labels in a tuple, got 0"),
        (("01", "real", 0, 1), "elements: expected index labels in a tuple"),
        (((), "real", 0, 1), "elements: expected at least one"),
        (((0,), None, 0, 1), "kind None; known kinds: real"),
        (((0,), "choice", 0, 2, "", (0, np.nan, 2)), "options must be finite, got nan"),
        (((0,), "choice", 0, 2, "", (0, "2")), "options must be finite, got '2'"),
        (((0,), "choice", 0, 2, "", (0, 2, 2.0)), "an option is given twice"),
        (((0,), "choice", 0, 2, "", 2), "options: expected a tuple, got 2"),
        (((0,), "real", 0, 2, "", (0, 2)), "only a choice has options, not a real"),
    ],
)
def test_controls_that_mean_nothing_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Control("t", "c", *arguments)
