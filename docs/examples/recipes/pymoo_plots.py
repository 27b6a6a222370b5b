"""
pymoo's plots
=============

What pymoo returns is what its plots take.
Three objectives in parallel coordinates, each scaled over the front, with one solution marked.
"""

from pymoo.optimize import minimize
from pymoo.visualization.pcp import PCP

from algorithms import ALGORITHMS
from gridproblems import ReactivePowerDispatch

names = ("p_loss_mw", "voltage_deviation_pu", "l_index")
problem = ReactivePowerDispatch("ieee14", objectives=names)
result = minimize(problem, ALGORITHMS["nsga2"](problem, pop_size=40), ("n_eval", 1200), seed=1)

print(f"{len(result.F)} nondominated points of {problem.n_obj} objectives")
plot = PCP(labels=[f"{name} [{unit}]" for name, unit in zip(names, problem.objective_units)])
plot.add(result.F, color="grey", alpha=0.3)
plot.add(result.F[result.F[:, 0].argmin()], linewidth=3, color="tab:blue")
plot.save("front.png", dpi=120)
