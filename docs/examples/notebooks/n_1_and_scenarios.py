"""
N-1 and scenarios
=================

Settings that hold with any line out, and units whose size suits many days instead of one.
Situations are what every candidate is tried in; they multiply.
"""

# %%
# N-1
# ---
#
# Voltages and taps of the 39-bus system, with every line out in turn. Line 21 alone supplies a bus,
# so it is left out.

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import GridProblem, Outages, Scenarios, Setpoints, Taps, Units
from gridproblems.by_situation import by_situation, situation_figures

controls = [Setpoints(), Taps()]
lines = [line for line in range(34) if line != 21]
secure = GridProblem("ieee39", controls, Outages(lines), "p_loss_mw")
secure

# %%
# First without outages: the losses are lower, and some outages break limits.

plain = GridProblem("ieee39", controls, None, "p_loss_mw")
careless = minimize(plain, MVMO(), ("n_eval", 300), seed=1)
survived = by_situation(secure, careless.X).survived
print(f"losses {careless.F[0]:.2f} MW, {survived.sum()} of {len(survived)} situations survived")

# %%
# Then with them.

result = minimize(secure, MVMO(), ("n_eval", 300), seed=1)
found = by_situation(secure, result.X)
print(f"losses {result.F[0]:.2f} MW, {found.survived.sum()} of {len(found.survived)} survived")
assert found.survived.all()
assert not survived.all()

# %%
# Which limit has the least room, and with which line out?

found.limits().head(5).round(4)

# %%
# Voltages of every bus over all situations.

situation_figures(found, secure)["voltage_fan"]

# %%
# Scenarios
# ---------
#
# Two generators for the 33-bus feeder, where the loads of a year are not known: 40 scenarios, half
# a standard deviation of 20 %. The mean loss is one wish, the mean of the worst tenth another.

scenarios = Scenarios(40, load=0.2, seed=1)
units = [Units("dg", 2, max_size=2.0)]
mean = GridProblem("case33bw", units, scenarios, "p_loss_kw")
worst = GridProblem("case33bw", units, scenarios, [("p_loss_kw", "cvar", 0.9)])
for name, problem in {"mean": mean, "worst tenth": worst}.items():
    x = minimize(problem, MVMO(), ("n_eval", 600), seed=1).X
    losses = [p.evaluate(x, return_values_of=["F"])[0] for p in (mean, worst)]
    sizes = ", ".join(f"{size:.2f}" for size in problem.describe(x)["size"])
    print(f"for the {name}: {sizes} MW, mean {losses[0]:.1f} kW, worst tenth {losses[1]:.1f} kW")
