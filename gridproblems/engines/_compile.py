"""How compiled loops are compiled: once, for all later processes, where that can be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

_OPTIONS = {"nogil": True, "error_model": "numpy"}


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function at its first call and stores the result beside the package.

    Where the package's folder cannot be written numba takes the user's cache folder. Where that
    cannot be written either, the function is compiled anew in every process: `is_stored` tells.
    """
    return _compiled(function, {})


def compiled_in_place(function: Callable[..., Any]) -> Any:
    """As `compiled`, for a part of a loop that is put in where it is called."""
    return _compiled(function, {"inline": "always"})


def _compiled(function: Callable[..., Any], options: dict[str, str]) -> Any:
    try:
        return njit(cache=True, **_OPTIONS, **options)(function)
    except RuntimeError:  # numba found no folder to write to
        return njit(**_OPTIONS, **options)(function)


def is_stored(function: Any) -> bool:
    """Whether later processes find a compiled function ready."""
    return function.stats.cache_path is not None
