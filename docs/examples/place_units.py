"""Three generators that lower the losses of the 33-bus feeder, and a day with PV and a storage."""

from pymoo.optimize import minimize

from algorithms import MVMO
from gridproblems import DERPlacement

problem = DERPlacement("case33bw", n_units=3, kind="dg")
result = minimize(problem, MVMO(), ("n_evals", 1000), seed=1)
print(f"losses {problem.base_values()[0]:.3f} kW before, {result.F[0]:.3f} kW with")
print(problem.describe(result.X).to_string(index=False))

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
