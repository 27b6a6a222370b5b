"""Power-grid optimisation problems for pymoo."""

from __future__ import annotations

from gridproblems import _start  # noqa: F401 first, for Ctrl-C during the other imports
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
from gridproblems.problem import GridProblem
from gridproblems.situations import Disturbances, Hours, Outages, Scenarios
from gridproblems.state import GridState, Settings
from gridproblems.tasks.allocation import DERAllocation
from gridproblems.tasks.orpd import ReactivePowerDispatch
from gridproblems.tasks.placement import DERPlacement
from gridproblems.tasks.reconfiguration import Reconfiguration
from gridproblems.tasks.regulators import RegulatorControl
from gridproblems.tasks.storage import StorageSchedule

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
    "Hours",
    "LoadChange",
    "MissingLimits",
    "Outages",
    "PlacedCapacitors",
    "PowerFlowNotConverged",
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
]

__version__ = "0.1.0"

#: Tasks by the name that the command line uses; ``"grid"`` is the problem made of parts.
PROBLEMS: dict[str, type[GridProblem]] = {
    "orpd": ReactivePowerDispatch,
    "reconfiguration": Reconfiguration,
    "regulators": RegulatorControl,
    "allocation": DERAllocation,
    "placement": DERPlacement,
    "storage": StorageSchedule,
    "grid": GridProblem,
}
