"""Engines: one method, ``solve(settings) -> GridState``, and no memory between calls."""

from __future__ import annotations

from typing import Protocol

from pandapower.auxiliary import pandapowerNet

from gridproblems.engines._newton import NewtonEngine
from gridproblems.engines._reference import ReferenceEngine
from gridproblems.state import GridState, Settings

__all__ = ["ENGINES", "Engine", "NewtonEngine", "ReferenceEngine"]


class Engine(Protocol):
    """What a problem needs of a power-flow engine.

    The state depends on the settings alone, never on the calls before. A power flow that does
    not converge is a state with ``converged`` False. ``releases_gil`` says whether threads
    solve side by side.
    """

    releases_gil: bool

    def __init__(self, net: pandapowerNet) -> None:
        """Raises `UnsupportedByEngine` when the engine cannot represent the net."""

    def solve(self, settings: Settings) -> GridState:
        """Solves the base case with these settings."""
        ...


#: Engines by name, fastest first; ``engine="auto"`` takes the first that fits.
ENGINES: dict[str, type[Engine]] = {"newton": NewtonEngine, "reference": ReferenceEngine}
