"""Tasks by name."""

from __future__ import annotations

from gridproblems.problem import GridProblem
from gridproblems.tasks.allocation import DERAllocation
from gridproblems.tasks.orpd import ReactivePowerDispatch
from gridproblems.tasks.placement import DERPlacement
from gridproblems.tasks.reconfiguration import Reconfiguration
from gridproblems.tasks.regulators import RegulatorControl
from gridproblems.tasks.storage import StorageSchedule

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
