"""What the literature adds to Harmony Search and MVMO, tried here and not in the package.

Names for `tune.py compare`, beside those of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from pymoo.core.algorithm import Algorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from algorithms import MVMO, HarmonySearch
from algorithms._hybrid import HybridAlgorithm
from algorithms._variables import Variables


class OppositionStart(HybridAlgorithm):
    """Also evaluates the opposite of every first solution, and starts from the better half.

    Rahnamayan, Tizhoosh & Salama (2008), IEEE Trans. Evol. Comput. 12(1):64-79,
    doi:10.1109/TEVC.2007.894200.
    """

    def _initialize_infill(self) -> Population:
        first = super()._initialize_infill()
        X = self.variables.vectors(ind.X for ind in first)
        opposite = self.variables.snap(self.variables.lower + self.variables.upper - X)
        return Population.merge(first, self.variables.population(opposite))

    def _start(self, infills: Population) -> None:
        order = np.lexsort(infills.get("f", "cv"))
        super()._start(infills[order[: len(infills) // 2]])


class OppositionHS(OppositionStart, HarmonySearch):
    """Harmony Search from an opposition-based start."""


class OppositionMVMO(OppositionStart, MVMO):
    """MVMO from an opposition-based start."""


class OtherPitch(HarmonySearch):
    """Harmony Search with another pitch adjustment."""

    pitch: Callable[..., np.ndarray]

    def _propose(self) -> np.ndarray:
        plain = self.variables
        self.variables = copy(plain)
        pitch = partial(type(self).pitch, plain, self.memory)
        self.variables.pitch = pitch  # type: ignore[method-assign]
        try:
            return super()._propose()
        finally:
            self.variables = plain


def towards_extremes(
    variables: Variables,
    memory: np.ndarray,
    X: np.ndarray,
    share: np.ndarray,
    at_bounds: str,
    random_state: np.random.Generator,
) -> np.ndarray:
    """A random part of the way to the largest or the smallest note of the memory.

    Self-adaptive Harmony Search: Wang & Huang (2010), Expert Syst. Appl. 37(4):2826-2837,
    doi:10.1016/j.eswa.2009.09.008.
    """
    up = random_state.random(X.shape) < 0.5
    ends = np.where(up, memory.max(axis=0), memory.min(axis=0))
    moved = variables.snap(X + random_state.random(X.shape) * (ends - X))
    return np.where(variables.nominal, variables.pitch(X, share, at_bounds, random_state), moved)


def by_differences(
    variables: Variables,
    memory: np.ndarray,
    X: np.ndarray,
    share: np.ndarray,
    at_bounds: str,
    random_state: np.random.Generator,
) -> np.ndarray:
    """Half of the harmonies move by a part of the difference of two remembered ones.

    As in differential evolution: Storn & Price (1997), J. Glob. Optim. 11:341-359,
    doi:10.1023/A:1008202821328. The others as in the package.
    """
    a, b = random_state.integers(len(memory), size=(2, len(X)))
    factor = random_state.random((len(X), 1))
    moved = variables.snap(X + factor * (memory[a] - memory[b]))
    whole = random_state.random((len(X), 1)) < 0.5
    plain = variables.pitch(X, share, at_bounds, random_state)
    return np.where(whole & ~variables.nominal, moved, plain)


class SelfAdaptiveHS(OtherPitch):
    """Harmony Search with the pitch of `towards_extremes`; its rate falls from 1 to 0."""

    pitch = staticmethod(towards_extremes)

    def __init__(self, par: tuple[float, float] = (1.0, 0.0), **kwargs: Any) -> None:
        """Options of `HarmonySearch`."""
        super().__init__(par=par, **kwargs)


class DifferenceHS(OtherPitch):
    """Harmony Search with the pitch of `by_differences`."""

    pitch = staticmethod(by_differences)


def _maker(cls: type[Algorithm]) -> Callable[..., Algorithm]:
    def make(problem: Problem, **parameters: Any) -> Algorithm:
        return cls(**parameters)

    return make


VARIANTS: dict[str, Callable[..., Algorithm]] = {
    "hs-opposition": _maker(OppositionHS),
    "hs-selfadaptive": _maker(SelfAdaptiveHS),
    "hs-difference": _maker(DifferenceHS),
    "mvmo-sh-opposition": _maker(OppositionMVMO),
}
