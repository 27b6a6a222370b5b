"""
Whose generation and load where
===============================

Seventeen homes get generation and load profiles so that lines are loaded least over a day.
A profile goes to exactly one home, so a solution is a permutation.
"""

from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import DERAllocation

problem = DERAllocation("lv18")  # 17 homes, 24 hours; or your own net and two tables
algorithm = ALGORITHMS["permutation-ga"](problem, pop_size=20)
result = minimize(problem, algorithm, ("n_evals", 500), seed=1)

before, after = problem.base_values()[0], result.F[0]
print(f"sum of the largest line loadings: before {before:.2f} %, after {after:.2f} %,")
print(f"best known {problem.best_known.value:.2f} %")
print(problem.describe(result.X).head(5).to_string(index=False))
problem.figures(result.X)["line_loading"].savefig("line_loading.png")
