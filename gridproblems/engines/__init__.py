"""Engines: one method, ``solve(settings) -> GridState``, and no memory between calls."""

from __future__ import annotations

from typing import Protocol

from pandapower.auxiliary import pandapowerNet

from gridproblems.engines._newton import NewtonEngine
from gridproblems.engines._sensitivities import Linearised
from gridproblems.engines._sweep import SweepEngine
from gridproblems.engines.reference import ReferenceEngine
from gridproblems.state import GridState, Settings

__all__ = ["ENGINES", "Engine", "Linearised", "NewtonEngine", "ReferenceEngine", "SweepEngine"]


class Engine(Protocol):
    """What a problem needs of a power-flow engine.

    The state depends on the settings alone, never on the calls before. A power flow that does
    not converge is a state with ``converged`` False. ``releases_gil`` says whether threads
    solve side by side.

    An engine may offer ``linearise(settings) -> Linearised``: the state and how it moves with the
    settings. Gradients of others are differences of power flows.
    """

    releases_gil: bool

    def __init__(self, net: pandapowerNet) -> None:
        """Raises `UnsupportedByEngine` when the engine cannot represent the net."""

    def check(self, settings: Settings) -> None:
        """Raises `UnsupportedByEngine` when the engine cannot solve settings like these."""
        ...

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings, of one candidate or of a batch."""
        ...


#: Engines by name, fastest first; ``engine="auto"`` takes the first that fits.
ENGINES: dict[str, type[Engine]] = {
    "sweep": SweepEngine,
    "newton": NewtonEngine,
    "reference": ReferenceEngine,
}
