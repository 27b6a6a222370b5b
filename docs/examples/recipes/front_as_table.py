"""
A front as a DataFrame
======================

A front with names, units and settings, for a spreadsheet or a report.
Every row says which lines it opens.
"""

import pandas as pd
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import Reconfiguration
from gridproblems.plotting import plot_pareto_front

problem = Reconfiguration("case33bw", objectives=("p_loss_kw", "switching_actions"))
result = minimize(problem, ALGORITHMS["nsga2"](problem), ("n_eval", 2000), seed=1)

front = pd.DataFrame(result.F * problem.objective_signs, columns=problem.objective_names)
plans = [problem.describe(x) for x in result.X]
front["lines opened"] = [", ".join(plan.line[plan.action == "open"].astype(str)) for plan in plans]
front = front.drop_duplicates().sort_values("switching_actions")
print(front.to_string(index=False))

names = ["losses [kW]", "switching actions"]
plot_pareto_front(front[list(problem.objective_names)], names, title="33 buses").savefig(
    "front.png"
)
