"""Controls: the blocks of ``x``, one kind per file.

A control as a user writes it (`Setpoints`, `Taps`, ...) knows no grid and can be pickled. On a grid
it becomes a `Block`, which knows its variables and what they set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gridproblems.controls.block import Block, ControlKind
from gridproblems.controls.direct import Control, Fixed
from gridproblems.controls.feeder_controls import Capacitors, Regulators, VoltVar
from gridproblems.controls.placed_capacitors import PlacedCapacitors
from gridproblems.controls.powers import Powers
from gridproblems.controls.profiles import Profiles
from gridproblems.controls.schedules import Schedules
from gridproblems.controls.setpoints import Setpoints
from gridproblems.controls.shunts import Compensators, Shunts
from gridproblems.controls.switching import Switching
from gridproblems.controls.taps import Taps
from gridproblems.controls.units import Units

__all__ = [
    "CONTROLS",
    "Block",
    "Capacitors",
    "Compensators",
    "Control",
    "ControlKind",
    "Fixed",
    "PlacedCapacitors",
    "Powers",
    "Profiles",
    "Regulators",
    "Schedules",
    "Setpoints",
    "Shunts",
    "Switching",
    "Taps",
    "Units",
    "VoltVar",
]

#: Controls by the name that the command line and specifications use.
CONTROLS: dict[str, Callable[..., Any]] = {
    "setpoints": Setpoints,
    "powers": Powers,
    "taps": Taps,
    "shunts": Shunts,
    "compensators": Compensators,
    "switching": Switching,
    "units": Units,
    "profiles": Profiles,
    "schedules": Schedules,
    "regulators": Regulators,
    "capacitors": Capacitors,
    "placed_capacitors": PlacedCapacitors,
    "voltvar": VoltVar,
}
