"""
A problem made of parts
=======================

What no task says is put together from a grid, controls, situations, objectives and limits.
Here: dispatch that survives the loss of a line, and open lines, generators and capacitors at once.
"""

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import GridProblem, Outages, Setpoints, Switching, Taps, Units

# reactive dispatch that survives the loss of any line but 21, without which a bus has no supply
lines = [line for line in range(34) if line != 21]
secure = GridProblem("ieee39", [Setpoints(), Taps()], Outages(lines), "p_loss_mw")
result = minimize(secure, MVMO(), ("n_eval", 300), seed=1)
print(f"{secure.situations.n} situations, losses {result.F[0]:.2f} MW")

# which lines to open, and where three generators and two capacitors help most
joint = GridProblem(
    "case33bw",
    [Switching(), Units("dg", 3, max_size=1.5), Units("capacitor", 2, max_size=0.6)],
    objectives="p_loss_kw",
    limits={"vm_pu": (0.95, 1.05)},
)
result = minimize(joint, MVMO(), ("n_eval", 1000), seed=1)
print(f"losses {result.F[0]:.1f} kW")
print(joint.describe(result.X).to_string(index=False))
joint.figures(result.X)["units"].savefig("units.png")
