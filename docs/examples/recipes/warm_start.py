"""
Start from known settings
=========================

A run starts from the grid as it is and from an earlier run.
``sampling`` takes vectors, evaluated or not.
"""

import numpy as np
from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee30")
earlier = minimize(problem, MVMO(), ("n_eval", 300), seed=1)

rng = np.random.default_rng(2)
others = rng.uniform(problem.xl, problem.xu, (8, problem.n_var))
start = np.vstack([problem.base_x, earlier.X, others])
result = minimize(problem, MVMO(sampling=problem.snap(start)), ("n_eval", 500), seed=1)

print(f"losses {earlier.F[0]:.4f} MW, then {result.F[0]:.4f} MW")
