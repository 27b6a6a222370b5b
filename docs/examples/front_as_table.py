"""A front as a table, with names, units and settings."""

import pandas as pd
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import Reconfiguration

problem = Reconfiguration("case33bw", objectives=("p_loss_kw", "switching_actions"))
result = minimize(problem, ALGORITHMS["nsga2"](problem), ("n_eval", 2000), seed=1)

front = pd.DataFrame(result.F * problem.objective_signs, columns=problem.objective_names)
plans = [problem.describe(x) for x in result.X]
front["lines opened"] = [", ".join(plan.line[plan.action == "open"].astype(str)) for plan in plans]
print(front.drop_duplicates().sort_values("switching_actions").to_string(index=False))
