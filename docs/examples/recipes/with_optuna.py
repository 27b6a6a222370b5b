"""
Optuna
======

Optuna suggests one value per variable and is told objective and constraints. ``problem.vars`` has
kinds and bounds; pymoo's sign of constraints is also Optuna's, at most 0 is feasible.
"""

import optuna
from pymoo.core.variable import Integer

from gridproblems import ReactivePowerDispatch

problem = ReactivePowerDispatch("ieee14", objectives="line_loss_mw")


def trial_of(trial):
    x = {}
    for name, variable in problem.vars.items():
        suggest = trial.suggest_int if isinstance(variable, Integer) else trial.suggest_float
        x[name] = suggest(name, *variable.bounds)
    F, G = problem.evaluate([x], return_values_of=["F", "G"])
    for name, value in zip(problem.constraint_names, G[0]):
        trial.set_constraint(name, float(value))
    return F[0, 0]


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
study.enqueue_trial(dict(zip(problem.vars, problem.base_x)))  # the grid as it is
study.optimize(trial_of, n_trials=100)

best = study.best_trial
print(f"losses {best.value:.4f} MW, broken limits: {len(problem.violations(best.params))}")
print(problem.describe(best.params).to_string(index=False))
