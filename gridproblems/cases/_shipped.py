"""Large networks that pandapower ships, with the limits of a reactive dispatch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from pandapower.auxiliary import pandapowerNet

#: Columns of set-points and branches that would be limits nobody asked for.
_UNUSED = {"line": ["max_loading_percent"], "trafo": ["max_loading_percent"]}


def build_shipped(data: Mapping[str, Any], *, title: str) -> pandapowerNet:
    """Builds the base case from the net of `pandapower.networks`.

    Indices of buses are the published bus numbers; other tables keep pandapower's, from 0, and
    elements are called by their buses. Transformers with a ratio get a tap changer with the steps
    of the data file, which passes through the ratio rounded to a step; its range is that of the
    file, and reaches as far as the ratio where that is outside.

    Args:
        data: ``shipped``, the name in `pandapower.networks`; ``tap_step_percent`` and ``tap_max``,
            steps to either side.
        title: Name of the net.
    """
    import pandapower.networks as pn
    from pandapower import toolbox

    net = getattr(pn, data["shipped"])()
    net.name = title
    toolbox.reindex_buses(net, dict(zip(net.bus.index, net.bus["name"].astype(int), strict=True)))
    for table in ("ext_grid", "gen", "sgen", "load", "shunt"):
        net[table]["name"] = net[table]["bus"].astype(str)
    _name_branches(net.line, "from_bus", "to_bus")
    _name_branches(net.trafo, "hv_bus", "lv_bus")
    for table, columns in _UNUSED.items():
        net[table].drop(columns=columns, inplace=True)
    for table in ("gen", "ext_grid"):
        for end in ("min_vm_pu", "max_vm_pu"):
            net[table][end] = net.bus.loc[net[table]["bus"], end].to_numpy()
    _set_taps(net.trafo, float(data["tap_step_percent"]), int(data["tap_max"]))
    return net


def _name_branches(table: pd.DataFrame, first: str, second: str) -> None:
    """Calls branches by their buses, parallel ones besides by their number."""
    names = table[first].astype(str) + "-" + table[second].astype(str)
    number = names.groupby(names).cumcount()
    table["name"] = names + np.where(number > 0, "#" + (number + 1).astype(str), "")


def _set_taps(trafo: pd.DataFrame, step_percent: float, tap_max: int) -> None:
    """Tap changers for the transformers that have a ratio; the others have none."""
    has_ratio = trafo["tap_step_percent"].notna()
    ratio_percent = (trafo["tap_pos"] - trafo["tap_neutral"]) * trafo["tap_step_percent"]
    position = (ratio_percent / step_percent).round()
    trafo["tap_pos"] = position.where(has_ratio)
    trafo["tap_step_percent"] = np.where(has_ratio, step_percent, np.nan)
    trafo["tap_min"] = np.minimum(position, -tap_max).where(has_ratio)
    trafo["tap_max"] = np.maximum(position, tap_max).where(has_ratio)
