"""Controls that set columns as they are, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gridproblems.controls import Control
from gridproblems.controls.block import Block
from gridproblems.controls.direct import DirectBlock, Fixed
from gridproblems.controls.joint import Joint
from gridproblems.controls.variables import bounds
from gridproblems.situations import Axis, Delta, Situations
from gridproblems.state import Field, FloatArray, Settings, SettingsMapping


class Everything:
    """A grid in which every column of every element is 1."""

    has_between = True

    def present(self, field: Field) -> FloatArray:
        return np.ones(len(field.elements))

    def label(self, table: str, element: object) -> str:
        return f"{table} {element}"


GRID = Everything()


def joint(controls: list[Control], fixed: Any = None, loads: list[float] | None = None) -> Joint:
    """Controls and fixed settings side by side; load 0 over time."""
    axes = []
    if loads is not None:
        changes = Delta(Field("load", "p_mw", (0,)), np.array(loads)[:, np.newaxis])
        axes.append(Axis(tuple(map(str, loads)), (changes,), is_time=True))
    situations = Situations(axes)
    blocks: list[Block] = [DirectBlock("control", controls, GRID)]
    if fixed:
        blocks.append(Fixed(fixed).bind(GRID, situations, None))
    return Joint(blocks, situations, GRID)


@pytest.fixture
def controls() -> Joint:
    return joint(
        [
            Control("gen", "vm_pu", (3, 4), "real", 0.9, 1.1, "p.u."),
            Control("trafo", "tap_pos", (0,), "integer", -8, 8),
            Control("gen", "vm_pu", (7,), "real", 0.95, 1.05, "p.u."),
            Control("shunt", "step", (1,), "binary", 0, 1),
            Control("shunt", "q_mvar", (2,), "choice", -5.0, 0.0, "Mvar", (-5.0, -2.5, 0.0)),
        ],
        fixed={("ext_grid", "vm_pu"): {0: 1.05}},
    )


def mapping_of(controls: Joint, x: FloatArray) -> SettingsMapping:
    return controls.decode(x[np.newaxis]).candidate(0).as_mapping()


def test_decode_by_hand(controls: Joint) -> None:
    xl, xu, whole = bounds(controls)
    assert xl.tolist() == [0.9, -8, 0.95, 0, 0]
    assert xu.tolist() == [1.1, 8, 1.05, 1, 2]
    assert whole.tolist() == [v.kind != "real" for v in controls.variables]
    snapped = controls.snap([1.3, 2.6, 1.0, 0.4, 1.2])
    assert snapped.tolist() == [1.1, 3.0, 1.0, 0.0, 1.0]
    assert mapping_of(controls, snapped) == {
        ("gen", "vm_pu"): {3: 1.1, 4: 1.1, 7: 1.0},
        ("trafo", "tap_pos"): {0: 3.0},
        ("shunt", "step"): {1: 0.0},
        ("shunt", "q_mvar"): {2: -2.5},
        ("ext_grid", "vm_pu"): {0: 1.05},
    }


def test_encode_is_the_inverse(controls: Joint) -> None:
    rng = np.random.default_rng(0)
    xl, xu, _ = bounds(controls)
    for x in controls.snap(rng.uniform(xl - 0.3, xu + 0.3, (50, 5))):
        assert controls.encode(mapping_of(controls, x)).tolist() == x.tolist()
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
def test_encode_refuses_what_no_vector_says(
    controls: Joint, change: dict[tuple[str, str], dict[int, float]], message: str
) -> None:
    settings = mapping_of(controls, controls.snap([1.0, 0, 1.0, 0, 0])) | change
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
        DirectBlock("control", [], GRID)
    with pytest.raises(ValueError, match=r"gen.vm_pu\[0\] is set by more than one control"):
        DirectBlock("control", [one, one], GRID)
    with pytest.raises(ValueError, match=r"gen.vm_pu\[0\] is set by both control and fixed"):
        joint([one], {("gen", "vm_pu"): {0: 1.0}})
    with pytest.raises(ValueError, match=r"load.p_mw\[0\] is set by both control and the situ"):
        joint([Control("load", "p_mw", (0,), "real", 0, 1)], loads=[1.0, 2.0])


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
    """Candidates come first, situations next; what is fixed may change over time."""
    one = Control("sgen", "p_mw", (4,), "real", 0, 5)
    x = np.array([[1.0], [2.0], [3.0]])
    static = joint([one], {("load", "p_mw"): {0: 7.0}})
    assert static.decode(x).values.tolist() == [[[1, 7]], [[2, 7]], [[3, 7]]]

    series = joint([one], loads=[7.0, 8.0])
    batch = series.decode(x)
    assert batch.shape == (3, 2)
    assert batch.rows.tolist() == [[1, 7], [1, 8], [2, 7], [2, 8], [3, 7], [3, 8]]
    assert batch.candidate(2).get("load", "p_mw")[0].tolist() == [7, 8]
    assert batch.candidates(np.array([2, 0])).values[:, 0, 0].tolist() == [3, 1]
    assert series.decode(x, slice(1, 2)).values.tolist() == [[[1, 8]], [[2, 8]], [[3, 8]]]


def test_integers_keep_the_whole_numbers_within_their_bounds() -> None:
    control = Control("trafo", "tap_pos", (0,), "integer", -1.5, 1.5)
    block = DirectBlock("control", [control], GRID)
    assert (control.lower, control.upper) == (-1, 1)
    assert block.snap([[-9.0], [-1.5], [1.4], [1.5], [9.0]]).ravel().tolist() == [-1, -1, 1, 1, 1]


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
