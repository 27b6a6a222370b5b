"""
Regulators of an OpenDSS feeder
===============================

Taps of the IEEE 123-node feeder are set for twice the load, then set-points for several
disturbances. OpenDSS commands for a model of yours come with it.
"""

from pymoo.optimize import minimize

from algorithms import HarmonySearch
from gridproblems.disturbances import LoadMultiplier, Outage
from gridproblems.plotting import plot_screening
from gridproblems.tasks.regulators import RegulatorControl

problem = RegulatorControl("ieee123", variables="taps", disturbance=LoadMultiplier(2.0))
result = minimize(problem, HarmonySearch(), ("n_eval", 500), seed=1)
print(f"fitness {problem.base_values()[0]:.3f} before, {result.F[0]:.3f} after")
print(problem.script(result.X))  # OpenDSS commands for a model of yours

for name, figure in problem.figures(result.X).items():
    figure.savefig(f"{name}.png")

disturbances = [None, LoadMultiplier(1.5), Outage("capacitor.c83"), Outage("line.l32")]
robust = RegulatorControl("ieee123", disturbance=disturbances, combine="worst", n_jobs=2)
settings = minimize(robust, HarmonySearch(), ("n_eval", 100), seed=1).X
screening = robust.screening(disturbances, settings)
print(screening.table.to_string(index=False))
plot_screening(screening, title="ieee123").savefig("screening.png")
