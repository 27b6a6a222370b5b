"""Reference of dispatch that survives every outage: one nonlinear programme with all outages.

The programme of `orpd_relaxation` with the equations, voltages and machines of every outage beside
those of the whole grid, and the same set-points, taps and shunts in all (preventive). Losses are
those of the whole grid. Ipopt solves it from several starts with continuous taps; the best results
have their taps rounded in batches, and what a plain loop of ``pandapower.runpp`` over the outages
finds feasible is kept; ``p_loss_mw`` is null where that is none. It is a local optimum and no
proven bound.

Before that every outage is solved with the whole grid alone: where Ipopt finds no settings that
keep the limits then, from any start, the outage is left out and named. The others are added, those
that cost least first, as long as settings are found that survive all of them.

    python benchmarks/references/secure_dispatch.py --case ieee39 --starts 4

writes ``benchmarks/references/secure_dispatch.json``. Needs casadi (``pip install casadi``).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import casadi as ca
import numpy as np
import pandapower as pp
import typer
from numpy.typing import NDArray
from orpd_relaxation import (
    FEASIBLE,
    ROUNDED_AT_ONCE,
    VM_MARGIN_PU,
    Relaxation,
    Settings,
    distinct,
    limits,
    losses_mw,
    run,
)
from pandapower.topology import unsupplied_buses

from gridproblems.cases import load_case

FloatArray = NDArray[np.float64]
Outage = tuple[str, int]

FILE = Path(__file__).with_suffix(".json")
EMERGENCY_VM_PU = {"ieee57": (0.9, 1.1)}
"""Voltage band after an outage where it is not that of every day. [p.u.]"""
WITHOUT_Q_LIMITS = ("ieee57",)
"""Cases whose machines may leave their reactive limits after an outage.

With these limits, or with the voltage band of every day, no settings are known that survive all the
outages together that can be survived one at a time.
"""


def outages_of(net: Any) -> list[Outage]:
    """Lines and transformers whose outage leaves every bus supplied."""
    found = []
    for table in ("line", "trafo"):
        for element in net[table].index[net[table].in_service.astype(bool)]:
            net[table].loc[element, "in_service"] = False
            if not unsupplied_buses(net):
                found.append((table, int(element)))
            net[table].loc[element, "in_service"] = True
    return found


class SecureRelaxation(Relaxation):
    """The programme of one case with some of its outages.

    Args:
        name: Of the case.
        outages: Table and index of each.
    """

    def __init__(self, name: str, outages: Sequence[Outage]) -> None:
        self.outages = list(outages)
        self.emergency_vm_pu = EMERGENCY_VM_PU.get(name)
        self.has_q_limits = name not in WITHOUT_Q_LIMITS
        case = load_case(name)
        super().__init__(case, "p_loss_mw", case.controls)

    def _build(self) -> None:
        values = [ca.SX.sym(c.column, len(c.index)) for c in self.controls]
        net = self._compile()
        symbols, equal, loss = self._situation(net, values)
        for table, element in self.outages:
            row = self._lookup["branch"][table][0] + net[table].index.get_loc(element)
            more, equations, _ = self._situation(net, values, int(row))
            symbols, equal = [*symbols, *more], [*equal, *equations]
        self._solver = self._programme([*symbols, *values], loss, equal)
        self._set_bounds(net, self._bus_of[net.bus.index], self._n_bus, self._base_mva)
        self._repeat_bounds(net)

    def _repeat_bounds(self, net: Any) -> None:
        """Bounds and start of every outage, from those of the whole grid."""
        n, n_outages = self._n_state, len(self.outages)
        for name in ("_lower", "_upper", "_start"):
            values = getattr(self, name)
            own = values[:n].copy()
            if self.emergency_vm_pu and name != "_start":
                low, high = self.emergency_vm_pu
                buses = self._bus_of[net.bus.index]
                is_lower = name == "_lower"
                own[buses] = low + VM_MARGIN_PU if is_lower else high - VM_MARGIN_PU
            if not self.has_q_limits and name != "_start":
                machines = slice(2 * self._n_bus, n - len(net.ext_grid))
                own[machines] = -np.inf if name == "_lower" else np.inf
            values = np.concatenate([values[:n], np.tile(own, n_outages), values[n:]])
            setattr(self, name, values)
        self._n_state = n * (1 + n_outages)

    def random_start(self, rng: np.random.Generator) -> FloatArray:
        """Controls uniform within their bounds, states as in the base case."""
        x = self._start.copy()
        n = self._n_state
        x[n:] = rng.uniform(self._lower[n:], self._upper[n:])
        return x

    def evaluate(self, settings: Settings) -> tuple[float, float] | None:
        """Loss in MW and largest violation in any outage, by ``pandapower.runpp``."""
        net = self.with_settings(settings)
        try:
            run(net)
            loss, worst = losses_mw(net, self.objective), _violation(net, None)
            for table, element in self.outages:
                net[table].loc[element, "in_service"] = False
                run(net)
                found = _violation(net, self.emergency_vm_pu, self.has_q_limits)
                worst = max(worst, found)
                net[table].loc[element, "in_service"] = True
        except pp.LoadflowNotConverged:
            return None
        return loss, worst


def _violation(net: Any, band: tuple[float, float] | None, has_q_limits: bool = True) -> float:
    """Largest violation of voltage band and generator limits of a solved net, p.u. or Mvar."""
    excess = []
    machines = (("gen", "q_mvar"), ("ext_grid", "q_mvar")) if has_q_limits else ()
    for table, quantity in (("bus", "vm_pu"), *machines):
        lower, upper = limits(net, table, quantity)
        if table == "bus" and band:
            lower, upper = (np.full(len(net.bus), end) for end in band)
        values = net[f"res_{table}"][quantity].to_numpy()
        excess.append(np.maximum(lower - values, values - upper).max(initial=0.0))
    return float(max(excess))


@lru_cache(maxsize=2)
def _relaxation(name: str, outages: tuple[Outage, ...]) -> SecureRelaxation:
    return SecureRelaxation(name, outages)


def start_of(relaxation: SecureRelaxation, seed: int) -> FloatArray:
    """The base case for seed 0, else a random start."""
    if seed == 0:
        return np.clip(relaxation._start, relaxation._lower, relaxation._upper)
    return relaxation.random_start(np.random.default_rng(seed))


def alone(name: str, outage: Outage, starts: int) -> float:
    """Losses of the best settings for the whole grid and one outage, infinite without any. [MW]"""
    relaxation = _relaxation(name, (outage,))
    found = [relaxation.solve(start_of(relaxation, seed)) for seed in range(starts)]
    return min((value for value, _ in filter(None, found)), default=np.inf)


def together(name: str, batch: Sequence[Outage], kept: tuple[Outage, ...]) -> tuple[Outage, ...]:
    """The outages kept, and as many of a batch as can be survived with them.

    All of the batch at once where Ipopt finds settings, else its halves one after the other.
    """
    relaxation = SecureRelaxation(name, (*kept, *batch))
    if relaxation.solve(start_of(relaxation, 0)):
        return (*kept, *batch)
    if len(batch) == 1:
        return kept
    half = len(batch) // 2
    return together(name, batch[half:], together(name, batch[:half], kept))


def _solve(name: str, outages: tuple[Outage, ...], seed: int) -> tuple[float, FloatArray] | None:
    relaxation = _relaxation(name, outages)
    return relaxation.solve(start_of(relaxation, seed))


def _round(
    name: str, outages: tuple[Outage, ...], x: FloatArray, share: float
) -> tuple[float, Settings] | None:
    relaxation = _relaxation(name, outages)
    rounded = relaxation.round(x, share)
    if rounded is None:
        return None
    settings = relaxation.settings(rounded)
    measured = relaxation.evaluate(settings)
    if measured is None or measured[1] > FEASIBLE:
        typer.echo(f"  rounded {share:g}: {measured}")
        return None
    return measured[0], settings


def reference(name: str, starts: int, jobs: int) -> dict[str, Any]:
    """The entry of the file for one case."""
    began = time.perf_counter()
    every = outages_of(load_case(name).net())
    with ProcessPoolExecutor(jobs) as pool:
        values = list(pool.map(alone, [name] * len(every), every, [starts] * len(every)))
    order = [every[i] for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    lost = [o for o, value in zip(every, values, strict=True) if not np.isfinite(value)]
    outages = tuple(sorted(together(name, order, ())))
    not_together = sorted(set(order) - set(outages))
    typer.echo(f"{name}: {len(outages)} outages; not alone: {lost}, not together: {not_together}")
    n = range(starts)
    with ProcessPoolExecutor(jobs) as pool:
        solved = list(pool.map(_solve, [name] * starts, [outages] * starts, n))
        optima = [found for found in solved if found]
        typer.echo(f"  relaxed {sorted(round(value, 6) for value, _ in optima)}")
        best = distinct(optima)[:2]
        asked = [(x, share) for _, x in best for share in ROUNDED_AT_ONCE]
        n_asked = len(asked)
        tried = pool.map(_round, [name] * n_asked, [outages] * n_asked, *zip(*asked, strict=True))
        rounded = [found for found in tried if found]
    value, settings = min(rounded, key=lambda found: found[0], default=(None, {}))
    return {
        "outages": [list(o) for o in outages],
        "not_survivable": [list(o) for o in lost],
        "not_together": [list(o) for o in not_together],
        "emergency_vm_pu": EMERGENCY_VM_PU.get(name),
        "has_q_limits_after_outages": name not in WITHOUT_Q_LIMITS,
        "relaxed_mw": min(value for value, _ in optima),
        "p_loss_mw": value,
        "settings": {f"{table}.{column}": values for (table, column), values in settings.items()},
        "starts": starts,
        "converged": len(optima),
        "seconds": round(time.perf_counter() - began),
    }


def main(
    case: Annotated[list[str], typer.Option()],
    starts: int = 4,
    jobs: int = 1,
) -> None:
    """Solves the programme of each case, and writes its value and settings."""
    for name in case:
        found = reference(name, starts, jobs)
        typer.echo(f"  {found['p_loss_mw']} MW in {found['seconds']} s")
        known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        text = json.dumps({**known, name: found}, indent=1, sort_keys=True)
        FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
