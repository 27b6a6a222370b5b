"""
A grid of one's own
===================

From the tables of a small grid to settings for a whole day, checked by pandapower itself.
A file would do in place of the tables: pandapower JSON, Excel, SQLite, MATPOWER, OpenDSS.
"""

# %%
# The grid
# --------
#
# A ring of four 20-kV buses behind a transformer, with a load at each and a solar park at the far
# end. What may be set and what must hold are columns: the tap changer has a range, the park may
# give or take reactive power, buses have a band of voltages, lines and the transformer a rating.

import pandapower as pp
import pandas as pd
from pymoo.optimize import minimize

from algorithms import HarmonySearch
from gridproblems import Hours, ReactivePowerDispatch, read_grid

net = pp.create_empty_network(name="ring")
pp.create_bus(net, 110.0)
pp.create_buses(net, 4, 20.0, min_vm_pu=0.98, max_vm_pu=1.04)
pp.create_ext_grid(net, 0, vm_pu=1.01)
pp.create_transformer(
    net, 0, 1, "25 MVA 110/20 kV", max_loading_percent=100.0, tap_pos=0, tap_min=-9, tap_max=9
)
for start, end, km in [(1, 2, 8.0), (2, 3, 6.0), (3, 4, 6.0), (1, 4, 9.0)]:
    pp.create_line(net, start, end, km, "NA2XS2Y 1x240 RM/25 12/20 kV", max_loading_percent=100.0)
pp.create_sgen(net, 3, p_mw=9.0, controllable=True, min_q_mvar=-4.0, max_q_mvar=4.0, name="park")
for bus, p_mw in [(1, 5.0), (2, 6.0), (3, 3.0), (4, 4.0)]:
    pp.create_load(net, bus, p_mw=p_mw, q_mvar=p_mw / 3.0)

# %%
# The report says what was read, what is missing, and whether the grid solves.

print(read_grid(net))

# %%
# A day
# -----
#
# Factors of all loads, and the power of the park. A path of a CSV file or a workbook works as well.

day = pd.DataFrame(
    {
        "load": [0.5, 0.45, 0.5, 0.8, 0.9, 0.9, 1.0, 0.9, 0.85, 1.0, 1.1, 0.7],
        "park": [0.0, 0.0, 0.0, 1.0, 4.0, 7.5, 9.0, 8.0, 4.5, 1.0, 0.0, 0.0],
    }
)
situations = Hours({"load": day.load, "sgen.p_mw": day[["park"]].to_numpy()}, hours=2.0)
problem = ReactivePowerDispatch(
    net, objectives="p_loss_mw", situations=situations, controls=("tap", "compensator")
)
problem

# %%
# One setting of tap and reactive power for the whole day, the mean losses as low as they get within
# the limits.

result = minimize(problem, HarmonySearch(), ("n_eval", 500), seed=1)
problem.describe(result.X)

# %%
# As the grid is, voltages leave their band; with the new settings they stay inside.

before, after = problem.violations(problem.base_x), problem.violations(result.X)
print(f"broken limits: {len(before)} before, {len(after)} after")
print(f"mean losses: {1000 * result.F[0]:.1f} kW")
assert before
assert not after

# %%

problem.figures(result.X)["voltage_band"]

# %%
# Apply it
# --------
#
# ``apply`` gives the solved pandapower net of one of the hours. The power flow of pandapower says
# the same as the engine that the search used.

noon = problem.apply(result.X, 6)
pp.runpp(noon)
state = problem.solve(result.X)
assert abs(noon.res_bus.vm_pu.to_numpy() - state.vm_pu[6]).max() < 1e-8
pp.to_json(noon, "noon.json")
noon.res_bus.round(4)
