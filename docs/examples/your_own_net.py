"""
A net of one's own
==================

Limits and controls are columns of a pandapower net, so any net that has them is a problem.
Here pandapower's 9-bus system gets voltage bands, and its generators are set anew.
"""

import pandapower.networks
from pymoo.optimize import minimize

from algorithms import HarmonySearch
from gridproblems import ReactivePowerDispatch

net = pandapower.networks.case9()
net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.95, 1.05
net.gen["min_vm_pu"], net.gen["max_vm_pu"] = 0.95, 1.05
net.ext_grid["min_vm_pu"], net.ext_grid["max_vm_pu"] = 0.95, 1.05

problem = ReactivePowerDispatch(net, objectives=("p_loss_mw",))
print(f"{problem.n_var} controls, {problem.n_ieq_constr} constraints, engine {problem.engine_name}")

result = minimize(problem, HarmonySearch(), ("n_eval", 2000), seed=1)
before = problem.base_state.p_loss_mw[0]
print(f"losses {before:.4f} MW before, {result.F[0]:.4f} MW after")
problem.figures(result.X)["voltage"].savefig("voltage.png")
