"""How loops are compiled: at the first call, and stored for later processes where that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function; it runs without the lock of the interpreter.

    numba stores the result beside the package or, where that cannot be written, in the user's
    cache folder (or in that of ``NUMBA_CACHE_DIR``). Where there is no folder to write to, every
    process compiles anew: see `is_stored`.
    """
    return _compiled(function, {})


def compiled_in_place(function: Callable[..., Any]) -> Any:
    """As `compiled`, for a part of a loop that is put in where it is called."""
    return _compiled(function, {"inline": "always"})


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no folder to write to
        return njit(nogil=True, **options)(function)


def is_stored(function: Any) -> bool:
    """Whether later processes find a compiled function ready.

    None is where there is no folder to write to, or with ``NUMBA_DISABLE_JIT``.
    """
    stats = getattr(function, "stats", None)
    return stats is not None and stats.cache_path is not None
