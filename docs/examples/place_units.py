"""
Where generators and storages, how large
========================================

Three generators lower the losses of the 33-bus feeder; PV and a storage lower a day's exchange with
the grid. Buses, sizes and power factors are found together.
"""

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import DERPlacement

problem = DERPlacement("case33bw", n_units=3, kind="dg")
result = minimize(problem, MVMO(), ("n_evals", 1000), seed=1)
print(f"losses {problem.base_values()[0]:.3f} kW before, {result.F[0]:.3f} kW with")
print(problem.describe(result.X).to_string(index=False))
problem.figures(result.X)["units"].savefig("units.png")

day = DERPlacement(
    "lv18",
    kind=("pv", "storage"),
    objectives=("exchange_energy_kwh",),
    max_size={"pv": 0.02, "storage": 0.005},
    storage_hours=(1.0, 4.0),
)
result = minimize(day, MVMO(), ("n_evals", 1000), seed=1)
print(f"exchange {day.base_values()[0]:.1f} kWh before, {result.F[0]:.1f} kWh with")
print(day.units(result.X).to_string(index=False))
