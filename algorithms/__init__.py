"""Optimisation algorithms for pymoo: Harmony Search, MVMO, and mixed variables for pymoo's own."""

from __future__ import annotations

from algorithms.harmony_search import HarmonySearch
from algorithms.mixed import AllowedSampling, MixedCMAES, SnapToGrid
from algorithms.mvmo import MVMO
from algorithms.neighbours import NeighbourMutation
from algorithms.registry import ALGORITHMS

__all__ = [
    "ALGORITHMS",
    "MVMO",
    "AllowedSampling",
    "HarmonySearch",
    "MixedCMAES",
    "NeighbourMutation",
    "SnapToGrid",
]
