"""
Two objectives
==============

Losses and voltage deviation of the 30-bus system cannot both be least.
NSGA-II finds the trade-offs, and the figure shows them.
"""

from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import ReactivePowerDispatch
from gridproblems.plotting import plot_pareto_front

problem = ReactivePowerDispatch("ieee30", objectives=("p_loss_mw", "voltage_deviation_pu"))
algorithm = ALGORITHMS["nsga2"](problem, pop_size=50)
result = minimize(problem, algorithm, ("n_eval", 3000), seed=1)

figure = plot_pareto_front(result.F, ["losses [MW]", "voltage deviation [p.u.]"], title="ieee30")
figure.savefig("front.png")
print(f"{len(result.F)} nondominated points")
