"""Grids: what is controlled, a pandapower net or an OpenDSS feeder, with one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridproblems._lazy import lazily

if TYPE_CHECKING:
    from gridproblems.grids.feeder import FeederGrid
    from gridproblems.grids.net import NetGrid
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "gridproblems.grids.feeder": ("FeederGrid",),
            "gridproblems.grids.net": ("NetGrid",),
        },
    )

__all__ = ["FeederGrid", "NetGrid"]
