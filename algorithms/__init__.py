"""Optimisation algorithms for pymoo: Harmony Search, MVMO, permutations, mixed variables.

Names are loaded at their first use (PEP 562): importing the package takes no time.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.harmony_search import HarmonySearch
    from algorithms.mixed import AllowedSampling, MixedCMAES, SnapToGrid
    from algorithms.mvmo import MVMO
    from algorithms.neighbours import NeighbourMutation
    from algorithms.permutation import (
        BlockCrossover,
        CycleCrossover,
        InsertionMutation,
        OneOf,
        PermutationGA,
        PermutationSampling,
        SwapMutation,
    )
    from algorithms.registry import ALGORITHMS
    from algorithms.sqp import SQP

__all__ = [
    "ALGORITHMS",
    "MVMO",
    "SQP",
    "AllowedSampling",
    "BlockCrossover",
    "CycleCrossover",
    "HarmonySearch",
    "InsertionMutation",
    "MixedCMAES",
    "NeighbourMutation",
    "OneOf",
    "PermutationGA",
    "PermutationSampling",
    "SnapToGrid",
    "SwapMutation",
]

_MODULES = {
    "harmony_search": ("HarmonySearch",),
    "mixed": ("AllowedSampling", "MixedCMAES", "SnapToGrid"),
    "mvmo": ("MVMO",),
    "neighbours": ("NeighbourMutation",),
    "permutation": (
        "BlockCrossover",
        "CycleCrossover",
        "InsertionMutation",
        "OneOf",
        "PermutationGA",
        "PermutationSampling",
        "SwapMutation",
    ),
    "registry": ("ALGORITHMS",),
    "sqp": ("SQP",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f"algorithms.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"algorithms.{name}")
    else:
        raise AttributeError(f"module 'algorithms' has no attribute {name!r}")
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
