"""
An objective of one's own
=========================

An objective is a function of settings and solved grid; a line of Python is enough.
Here generators give as little reactive power as possible within a narrower voltage band.
"""

import numpy as np
from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import GridState, ReactivePowerDispatch, Settings


def reactive_generation_mvar(settings: Settings, state: GridState) -> float:
    """Summed magnitude of the reactive power of the generators. [Mvar]"""
    return float(np.abs(state.gen_q_mvar).sum(axis=1).mean())


problem = ReactivePowerDispatch(
    "ieee14",
    objectives=(reactive_generation_mvar,),
    controls=("gen", "tap"),
    limits={"vm_pu": (0.95, 1.05)},
)
result = minimize(problem, MVMO(), ("n_eval", 1000), seed=1)
print(f"{result.F[0]:.3f} Mvar, violation {result.CV[0]:.3g}")
problem.figures(result.X)["voltage"].savefig("voltage.png")
