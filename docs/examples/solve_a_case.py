"""Minimise the losses of a packaged case and look at the settings."""

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee14", objectives=("line_loss_mw",))
result = minimize(problem, MVMO(), ("n_eval", 2000), seed=1)

print(f"losses {result.F[0]:.4f} MW, best known {problem.best_known.value:.4f} MW")
print(problem.describe(result.X).to_string(index=False))

net = problem.apply(result.X)  # a solved pandapower net with these settings
print(f"highest voltage {net.res_bus.vm_pu.max():.4f} p.u.")
