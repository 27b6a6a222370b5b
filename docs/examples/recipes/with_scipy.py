"""
scipy
=====

Any optimiser can ask for the values and slopes of a vector, here SLSQP of scipy.
Taps count as real on the way and are rounded at the end.
"""

import numpy as np
from scipy.optimize import minimize

from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee30")


def losses(x):
    found = problem.gradients(x)
    return found.F[0], found.dF[0]


def room(x):
    return -problem.gradients(x).G


def slopes_of_room(x):
    return -problem.gradients(x).dG


result = minimize(
    losses,
    problem.base_x,
    jac=True,
    bounds=np.column_stack([problem.xl, problem.xu]),
    constraints={"type": "ineq", "fun": room, "jac": slopes_of_room},
    method="SLSQP",
)

x = problem.snap(result.x[np.newaxis])[0]  # taps between positions go to the nearest
print(f"losses {losses(problem.base_x)[0]:.4f} MW, then {losses(x)[0]:.4f} MW")
print(
    f"broken limits: {len(problem.violations(problem.base_x))}, then {len(problem.violations(x))}"
)
