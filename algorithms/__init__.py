"""Optimisation algorithms for pymoo: Harmony Search, MVMO, permutations, mixed variables."""

from __future__ import annotations

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
