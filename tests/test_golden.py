"""Documented calls answer what they answered before: F and G to the last bit.

On another processor or with other versions of the packages that compute, numbers agree to 1e-12
of their size (of 1 where they are smaller); power flows with ``outages=`` always by that measure.
A change of values that is meant writes the table anew: ``python tests/golden/table.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from golden.calls import CALLS
from golden.table import Arrays, answers, platform, shortened, stored_arrays, stored_form
from golden.table import stored_names as read_names

TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def stored_names() -> dict[str, Any]:
    return read_names()


def assert_equal_arrays(found: Arrays, expected: Arrays) -> None:
    """Equal to the last bit, NaN being equal to NaN."""
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name], err_msg=name, strict=True)


def assert_close_arrays(found: Arrays, expected: Arrays) -> None:
    """Equal to `TOLERANCE` of their size; digests are not compared."""
    assert list(found) == list(expected)
    for name, array in found.items():
        if not name.endswith("digest"):
            scale = np.maximum(1.0, np.abs(expected[name]))
            np.testing.assert_allclose(
                array / scale, expected[name] / scale, rtol=0, atol=TOLERANCE, err_msg=name
            )


def assert_close_texts(found: Any, expected: Any, where: str) -> None:
    """Equal, numbers within `TOLERANCE` of their size."""
    if isinstance(found, float) and isinstance(expected, (int, float)):
        assert math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE), where
    elif isinstance(found, list) and isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, pair in enumerate(zip(found, expected, strict=True)):
            assert_close_texts(*pair, f"{where}[{i}]")
    else:
        assert found == expected, where


def test_the_table_has_every_call(stored_names: dict[str, Any]) -> None:
    assert list(stored_names["calls"]) == list(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_table(name: str, stored_names: dict[str, Any]) -> None:
    arrays, texts = answers(name)
    found, expected = stored_form(arrays), stored_arrays(name)
    same_platform = stored_names["platform"] == platform()
    texts, stored_texts = shortened(texts), stored_names["calls"][name]
    assert list(texts) == list(stored_texts)
    for key, text in texts.items():
        assert_close_texts(text, stored_texts[key], key)
    if same_platform and "outages=" not in CALLS[name]:
        assert_equal_arrays(found, expected)
    else:
        assert_close_arrays(found, expected)


def test_a_change_of_one_bit_is_seen() -> None:
    stored = stored_arrays("orpd-ieee14")
    changed = {name: array.copy() for name, array in stored.items()}
    assert_equal_arrays(changed, stored)
    changed["F"][7, 0] = np.nextafter(changed["F"][7, 0], np.inf)
    with pytest.raises(AssertionError, match="F"):
        assert_equal_arrays(changed, stored)
    assert_close_arrays(changed, stored)
    changed["F"][7, 0] *= 1 + 1e-11
    with pytest.raises(AssertionError, match="F"):
        assert_close_arrays(changed, stored)
