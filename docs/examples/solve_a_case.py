"""
Losses of a packaged case
=========================

The losses of the IEEE 14-bus system are minimised by voltages, taps and compensators.
The table says what to set, and ``net`` is the solved pandapower net with it.
"""

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee14", objectives=("line_loss_mw",))
result = minimize(problem, MVMO(), ("n_eval", 2000), seed=1)

print(f"losses {result.F[0]:.4f} MW, best known {problem.best_known.value:.4f} MW")
print(problem.describe(result.X).to_string(index=False))

net = problem.apply(result.X)  # a solved pandapower net with these settings
print(f"highest voltage {net.res_bus.vm_pu.max():.4f} p.u.")

problem.figures(result.X)["voltage"].savefig("voltage.png")
