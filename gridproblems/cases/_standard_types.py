"""From the tables of a data file to a net of pandapower's standard types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gridproblems.cases._build import frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandapower.auxiliary import pandapowerNet


def build_from_types(data: Mapping[str, Any], *, title: str) -> pandapowerNet:
    """Builds a net whose lines and transformers are standard types of pandapower.

    Indices of buses are the published bus numbers; all other tables are indexed from 0 in the order
    of the data file.

    Args:
        data: ``f_hz``, ``sn_mva``, ``vm_pu`` (bounds of every bus), ``max_loading_percent`` (of
            every branch), and rows of bus, ext_grid, load, sgen, line and trafo.
        title: Name of the net.
    """
    import pandapower as pp

    tables = {name: frame(table) for name, table in data["tables"].items()}
    net = pp.create_empty_network(name=title, f_hz=data["f_hz"], sn_mva=data["sn_mva"])
    low, high = data["vm_pu"]
    for row in tables["bus"].to_dict("records"):
        pp.create_bus(
            net,
            vn_kv=row["vn_kv"],
            index=row["bus"],
            name=str(row["bus"]),
            min_vm_pu=low,
            max_vm_pu=high,
        )
    create = {
        "ext_grid": pp.create_ext_grid,
        "load": pp.create_load,
        "sgen": pp.create_sgen,
        "line": pp.create_line,
        "trafo": pp.create_transformer,
    }
    limits = {"max_loading_percent": data["max_loading_percent"]}
    for name, function in create.items():
        for row in tables[name].to_dict("records"):
            function(net, **row, **(limits if name in ("line", "trafo") else {}))
    return net
