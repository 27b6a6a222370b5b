"""Grids: what is controlled, a pandapower net or an OpenDSS feeder, with one protocol."""

from __future__ import annotations

from gridproblems.grids.feeder import FeederGrid
from gridproblems.grids.net import NetGrid

__all__ = ["FeederGrid", "NetGrid"]
