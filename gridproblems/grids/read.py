"""`read_grid`: a grid file, and what became of what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
from pandapower.auxiliary import pandapowerNet

from gridproblems.cases import CASES, check_case_name, load_case
from gridproblems.engines.reference import NO_SOLUTION, runpp_options
from gridproblems.nets.files.net_file import NetFile, counted
from gridproblems.nets.net_check import check_net
from gridproblems.nets.network import loading_limits, net_file_of, voltage_limits

_TABLES = (
    ("bus", "bus", "buses"),
    ("line", "line", "lines"),
    ("trafo", "transformer", "transformers"),
    ("trafo3w", "three-winding transformer", "three-winding transformers"),
    ("impedance", "impedance", "impedances"),
    ("switch", "switch", "switches"),
    ("ext_grid", "external grid", "external grids"),
    ("gen", "generator", "generators"),
    ("sgen", "static generator", "static generators"),
    ("load", "load", "loads"),
    ("shunt", "shunt", "shunts"),
    ("storage", "storage", "storages"),
    ("dcline", "DC line", "DC lines"),
)


@dataclass(frozen=True)
class GridReport:
    """A grid that was read, checked and solved once.

    Attributes:
        net: The net, with the results of its power flow.
        kind: What it was made of, such as ``"MATPOWER"``.
        notes: What was changed, added or left out, one sentence each.
        solved: Whether its power flow converges.
        vm_error_pu: Largest distance to the voltages that the file itself holds; None without any.
            [p.u.]
    """

    net: pandapowerNet
    kind: str
    notes: tuple[str, ...]
    solved: bool
    vm_error_pu: float | None = None

    @property
    def lines(self) -> list[str]:
        """The report as sentences."""
        net = self.net
        parts = [counted(len(net[t]), one, many) for t, one, many in _TABLES if len(net[t])]
        said = [f"{self.kind}: {', '.join(parts)}"]
        said += [f"- {note}" for note in self.notes]
        if not self.solved:
            return [*said, "The power flow does not converge."]
        vm_pu = net.res_bus.vm_pu[net.bus.in_service.astype(bool)].dropna()
        said.append(
            f"The power flow converges: voltages {vm_pu.min():.4f} to {vm_pu.max():.4f} p.u., load "
            f"{net.res_load.p_mw.sum():.6g} MW, losses {_losses_mw(net):.6g} MW."
        )
        if self.vm_error_pu is not None:
            said.append(
                "The voltages in the file differ from it by at most "
                f"{self.vm_error_pu:.1e} p.u.; files often hold rounded or older ones."
            )
        return said

    def __str__(self) -> str:
        return "\n".join(self.lines)


def read_grid(source: str | Path | pandapowerNet) -> GridReport:
    """Reads, checks and solves a grid of any format; nothing in a file runs.

    Args:
        source: Path of a file (`gridproblems.nets.files.registry.FORMATS`), a SimBench code, the
            name of a packaged case, or a net.

    Raises:
        ValueError: No such file, what its reader refuses, or a net that would give silent nonsense;
            one line that names the element.

    >>> print(read_grid("case9.m"))  # doctest: +SKIP
    MATPOWER: 9 buses, 9 lines, 1 external grid, 2 generators, 3 loads
    """
    found = _file_of(source)
    net = found.net
    check_net(net)
    try:
        pp.runpp(net, **runpp_options(net))
    except NO_SOLUTION:
        return GridReport(net, found.kind, found.notes, False)
    error = None
    if found.voltages:
        vm_pu = net.res_bus.vm_pu
        distances = [abs(vm - vm_pu.at[bus]) for bus, (vm, _) in found.voltages.items()]
        error = float(np.nanmax(distances))
    return GridReport(net, found.kind, found.notes, True, error)


def missing_limits(net: pandapowerNet) -> list[str]:
    """Limits that the tables of a net do not hold, in words."""
    checks: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("voltages", lambda: voltage_limits(net, None)),
        ("loadings", lambda: loading_limits(net, None)),
    )
    return [words for words, find in checks if not find()]


def _file_of(source: str | Path | pandapowerNet) -> NetFile:
    if isinstance(source, str) and source in CASES:
        return NetFile(load_case(source).net(), f"packaged case {source}")
    check_case_name(source)
    return net_file_of(source)


def _losses_mw(net: pandapowerNet) -> float:
    tables = ("res_line", "res_trafo", "res_trafo3w", "res_impedance")
    return float(sum(np.nansum(net[t].pl_mw.to_numpy(dtype=float)) for t in tables if len(net[t])))
