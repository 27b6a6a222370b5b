"""
nevergrad
=========

An optimiser of nevergrad is asked for vectors and told their values and by how much they break
limits. ``problem.snap`` makes taps whole.
"""

import nevergrad as ng
import numpy as np

from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee14", objectives="line_loss_mw")
box = ng.p.Array(init=problem.base_x, lower=problem.xl, upper=problem.xu)
box.random_state.seed(1)
optimiser = ng.optimizers.TwoPointsDE(box, budget=1000)

best, settings = np.inf, problem.base_x
for _ in range(optimiser.budget):
    asked = optimiser.ask()
    x = problem.snap(asked.value)
    F, G = problem.evaluate(x, return_values_of=["F", "G"])
    optimiser.tell(asked, F[0], constraint_violation=np.maximum(G, 0.0))
    if G.max() <= 0.0 and F[0] < best:
        best, settings = F[0], x

print(f"losses {best:.4f} MW, broken limits: {len(problem.violations(settings))}")
