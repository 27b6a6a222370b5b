"""Power-grid optimisation problems for pymoo.

Names are loaded at their first use: importing the package takes no time.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from gridproblems import _start  # noqa: F401 first, for Ctrl-C during the other imports
from gridproblems._clash import clash
from gridproblems._lazy import lazily

if TYPE_CHECKING:
    from gridproblems._progress import PowerFlowProgress
    from gridproblems.constraints import Chance
    from gridproblems.controls import (
        Capacitors,
        Compensators,
        Control,
        Fixed,
        PlacedCapacitors,
        Profiles,
        Regulators,
        Schedules,
        Setpoints,
        Shunts,
        Switching,
        Taps,
        Units,
        VoltVar,
    )
    from gridproblems.controls.economics import UnitCost
    from gridproblems.controls.state_of_charge import Battery
    from gridproblems.disturbances import LoadChange
    from gridproblems.errors import (
        GridProblemError,
        MissingLimits,
        PowerFlowNotConverged,
        UnsupportedByEngine,
    )
    from gridproblems.feeders import Feeder
    from gridproblems.grids.read import read_grid
    from gridproblems.growth import Growth
    from gridproblems.problem import GridProblem
    from gridproblems.situations import Disturbances, Hours, Outages, Scenarios
    from gridproblems.state import GridState, Settings
    from gridproblems.tasks.allocation import DERAllocation
    from gridproblems.tasks.orpd import ReactivePowerDispatch
    from gridproblems.tasks.placement import DERPlacement
    from gridproblems.tasks.reconfiguration import Reconfiguration
    from gridproblems.tasks.registry import PROBLEMS
    from gridproblems.tasks.regulators import RegulatorControl
    from gridproblems.tasks.storage import StorageSchedule
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "gridproblems._progress": ("PowerFlowProgress",),
            "gridproblems.constraints": ("Chance",),
            "gridproblems.controls": (
                "Capacitors",
                "Compensators",
                "Control",
                "Fixed",
                "PlacedCapacitors",
                "Profiles",
                "Regulators",
                "Schedules",
                "Setpoints",
                "Shunts",
                "Switching",
                "Taps",
                "Units",
                "VoltVar",
            ),
            "gridproblems.controls.economics": ("UnitCost",),
            "gridproblems.controls.state_of_charge": ("Battery",),
            "gridproblems.disturbances": ("LoadChange",),
            "gridproblems.errors": (
                "GridProblemError",
                "MissingLimits",
                "PowerFlowNotConverged",
                "UnsupportedByEngine",
            ),
            "gridproblems.feeders": ("Feeder",),
            "gridproblems.growth": ("Growth",),
            "gridproblems.grids.read": ("read_grid",),
            "gridproblems.problem": ("GridProblem",),
            "gridproblems.situations": (
                "Disturbances",
                "Hours",
                "Outages",
                "Scenarios",
            ),
            "gridproblems.state": (
                "GridState",
                "Settings",
            ),
            "gridproblems.tasks.allocation": ("DERAllocation",),
            "gridproblems.tasks.orpd": ("ReactivePowerDispatch",),
            "gridproblems.tasks.placement": ("DERPlacement",),
            "gridproblems.tasks.reconfiguration": ("Reconfiguration",),
            "gridproblems.tasks.registry": ("PROBLEMS",),
            "gridproblems.tasks.regulators": ("RegulatorControl",),
            "gridproblems.tasks.storage": ("StorageSchedule",),
        },
    )

__all__ = [
    "PROBLEMS",
    "Battery",
    "Capacitors",
    "Chance",
    "Compensators",
    "Control",
    "DERAllocation",
    "DERPlacement",
    "Disturbances",
    "Feeder",
    "Fixed",
    "GridProblem",
    "GridProblemError",
    "GridState",
    "Growth",
    "Hours",
    "LoadChange",
    "MissingLimits",
    "Outages",
    "PlacedCapacitors",
    "PowerFlowNotConverged",
    "PowerFlowProgress",
    "Profiles",
    "ReactivePowerDispatch",
    "Reconfiguration",
    "RegulatorControl",
    "Regulators",
    "Scenarios",
    "Schedules",
    "Setpoints",
    "Settings",
    "Shunts",
    "StorageSchedule",
    "Switching",
    "Taps",
    "UnitCost",
    "Units",
    "UnsupportedByEngine",
    "VoltVar",
    "read_grid",
]

__version__ = "0.2.0"

if (_found := clash()) is not None:
    warnings.warn(_found, stacklevel=2)
