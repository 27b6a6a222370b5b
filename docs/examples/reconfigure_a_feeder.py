"""
Which lines to open
===================

The 33-bus feeder is switched to the radial configuration with the fewest losses.
The table is the plan to switch to it, one step per row.
"""

from pymoo.optimize import minimize

from algorithms import HarmonySearch
from gridproblems import Reconfiguration

problem = Reconfiguration("case33bw")
result = minimize(problem, HarmonySearch(), ("n_evals", 500), seed=1)

print(f"losses {problem.base_values()[0]:.3f} kW now, {result.F[0]:.3f} kW then")
print(f"best known {problem.best_known.value:.3f} kW ({problem.best_known.status})")
print(problem.describe(result.X).to_string(index=False))
problem.figures(result.X)["feeder"].savefig("feeder.png")
