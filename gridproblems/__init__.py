"""Power-grid optimisation problems for pymoo."""

from __future__ import annotations

from gridproblems.controls import Control
from gridproblems.errors import GridProblemError, PowerFlowNotConverged, UnsupportedByEngine
from gridproblems.net_problem import NetProblem
from gridproblems.problem import GridProblem
from gridproblems.state import GridState, Settings
from gridproblems.tasks.orpd import ReactivePowerDispatch
from gridproblems.tasks.reconfiguration import Reconfiguration
from gridproblems.tasks.regulators import RegulatorControl

__all__ = [
    "PROBLEMS",
    "Control",
    "GridProblem",
    "GridProblemError",
    "GridState",
    "NetProblem",
    "PowerFlowNotConverged",
    "ReactivePowerDispatch",
    "Reconfiguration",
    "RegulatorControl",
    "Settings",
    "UnsupportedByEngine",
]

__version__ = "0.1.0"

#: Tasks by the name that the command line uses.
PROBLEMS: dict[str, type[GridProblem]] = {
    "orpd": ReactivePowerDispatch,
    "reconfiguration": Reconfiguration,
    "regulators": RegulatorControl,
}
