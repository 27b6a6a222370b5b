"""
Gradients through the power flow
================================

How losses and limits move with every setting, exactly, for the price of a few power flows.
With them a search needs tens of evaluations where one without needs thousands.
"""

# %%
# Slopes
# ------
#
# ``dF`` and ``dG`` of a vector: by how much objectives and constraints change per unit of each
# variable. Taps count as real here.

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pymoo.optimize import minimize

from algorithms import ALGORITHMS
from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee57")
x = (problem.base_x + problem.xl + problem.xu) / 3  # away from the bounds
F, G, dF, dG = problem.gradients(x)
print(f"losses {F[0]:.3f} MW, {len(G)} constraints, slopes {dF.shape} and {dG.shape}")

# %%
# Central differences of power flows say the same, at two power flows per variable.

step = 1e-4 * (problem.xu - problem.xl)
moves = np.diag(step)
differences = [
    (problem.gradients(x + move).F[0] - problem.gradients(x - move).F[0]) / (2 * size)
    for move, size in zip(moves, step)
]
largest = abs(dF[0]).max()
assert np.allclose(dF[0], differences, rtol=1e-4, atol=1e-6 * largest)

# %%
# Which settings matter most, over their whole range?

whole = pd.Series(dF[0] * (problem.xu - problem.xl), index=list(problem.vars))
top = whole[whole.abs().sort_values().index[-10:]]
figure = Figure(figsize=(7.0, 3.8), layout="constrained")
axes = figure.subplots()
axes.barh(top.index, top)
axes.axvline(0.0, color="black", linewidth=0.8)
axes.set_xlabel("change of the losses over the range of the setting [MW]")
figure

# %%
# A search with slopes
# --------------------
#
# Sequential quadratic programming asks for slopes and second derivatives; Harmony Search without
# its local search and pymoo's genetic algorithm do not.

searches = {
    "sqp": (ALGORITHMS["sqp"](problem, n_starts=1), 60),
    "hs without local search": (ALGORITHMS["hs"](problem, local_search=False), 2000),
    "ga": (ALGORITHMS["ga"](problem), 2000),
}
best, found = problem.best_known.value, {}
for name, (algorithm, n_evals) in searches.items():
    done = minimize(problem, algorithm, ("n_eval", n_evals), seed=1)
    assert done.CV[0] <= 0
    found[name] = done.F[0]
    gap = 100 * (done.F[0] / best - 1)
    n = done.algorithm.evaluator.n_eval
    print(f"{name}: {done.F[0]:.4f} MW after {n}, {gap:.4f} % above the best known")
assert found["sqp"] < found["ga"]

# %%
# Second derivatives
# ------------------
#
# Of a weighted sum of objectives and constraints, as of a Lagrangian; here of the losses alone.
# Along a line through settings the quadratic model predicts what the power flow finds.

weights = np.zeros(problem.n_obj + problem.n_ieq_constr)
weights[0] = 1.0
H = problem.hessian(x, weights)
direction = 0.02 * (problem.xu - problem.xl) * np.random.default_rng(1).normal(size=problem.n_var)
direction = np.clip(x + direction, problem.xl, problem.xu) - x
predicted = F[0] + dF[0] @ direction + direction @ H @ direction / 2
there = problem.gradients(x + direction).F[0]
print(f"{F[0]:.4f} MW at the start, {predicted:.4f} MW predicted, {there:.4f} MW there")
assert abs(predicted - there) < 0.1 * abs(F[0] + dF[0] @ direction - there) + 1e-3
