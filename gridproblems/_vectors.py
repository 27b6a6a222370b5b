"""Vectors and dicts of variables that users and algorithms hand over, as arrays of numbers."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from gridproblems.controls import Variable
from gridproblems.state import FloatArray

_SHOWN = 5  # names of variables in a message


def numbers(x: Any, variables: Sequence[Variable]) -> FloatArray:
    """An array of vectors, shape (..., n_var), of finite numbers.

    Raises:
        ValueError: Another shape, text or other objects, NaN or infinity; the message names the
            variable.
    """
    array = x if isinstance(x, np.ndarray) else _array(x, len(variables))
    if array.dtype != np.float64:
        array = _converted(array, variables)
    if not array.ndim or array.shape[-1] != len(variables):
        raise ValueError(f"x: expected {len(variables)} values, got an array of {array.shape}")
    if not math.isfinite(array.sum()):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            raise _unexpected(variables, int(bad[0][-1]), array[tuple(bad[0])])
    return array


def of_dict(x: Mapping[Any, Any], variables: Sequence[Variable]) -> FloatArray:
    """The vector of a dict of variables, shape (n_var,); choices become positions.

    Raises:
        ValueError: A variable is missing or unknown, a value is no option or no finite number.
    """
    names = [v.name for v in variables]
    if x.keys() != set(names):
        missing = [name for name in names if name not in x]
        if missing:
            raise ValueError(f"x: no value for variable {missing[0]!r}")
        unknown = next(name for name in x if name not in names)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ValueError(
            f"x: unknown variable {unknown!r}; known: {', '.join(names[:_SHOWN])}{more}"
        )
    return np.array([_position(x[v.name], v, i) for i, v in enumerate(variables)])


def _position(value: Any, variable: Variable, i: int) -> float:
    if not isinstance(value, (Real, np.bool_)) or not math.isfinite(value):
        raise _unexpected([variable], 0, value, i)
    if not variable.options:
        return float(value)
    if value not in variable.options:
        raise ValueError(
            f"x[{i}] ({variable.name}): {value} is no option of {list(variable.options)}"
        )
    return float(variable.options.index(value))


def _array(x: Any, n_var: int) -> np.ndarray:
    if x is None or isinstance(x, (str, bytes)):
        raise ValueError(f"x: expected {n_var} values, got {reprlib.repr(x)}")
    try:
        array = np.asarray(x)
        return np.asarray(x, dtype=object) if array.dtype.kind in "SU" else array
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"x: expected {n_var} values, got {reprlib.repr(x)}, which is no array of numbers"
        ) from error


def _converted(array: np.ndarray, variables: Sequence[Variable]) -> FloatArray:
    """Whole numbers, booleans and objects that are numbers as floats; nothing else."""
    if array.dtype.kind in "biuf":
        return array.astype(float)
    if array.ndim and array.shape[-1] == len(variables):
        for place in np.ndindex(array.shape):
            value = array[place]
            if isinstance(value, (str, bytes, complex)) or not isinstance(value, (Real, np.bool_)):
                raise _unexpected(variables, place[-1], value)
        return array.astype(float)
    raise ValueError(f"x: expected {len(variables)} values, got {reprlib.repr(array.tolist())}")


def _unexpected(
    variables: Sequence[Variable], i: int, value: Any, place: int | None = None
) -> ValueError:
    what = "NaN" if isinstance(value, Real) and value != value else reprlib.repr(value)
    if isinstance(value, np.floating):
        what = "NaN" if np.isnan(value) else str(float(value))
    return ValueError(
        f"x[{i if place is None else place}] ({variables[i].name}): expected a number, got {what}"
    )
