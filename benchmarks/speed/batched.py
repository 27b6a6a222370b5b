"""Power flows with changed loads: many at once, one by one, and lightsim2grid's time series.

    python benchmarks/speed/batched.py [--case ieee118] [--rounds 15] [--out docs/tables/...]

All ways solve the same power flows in the same run, one way after the other in each round; times
are medians over rounds in microseconds per power flow, ratios are medians of the ratios of a
round. "together" is the engine `newton`, from settings to all results of branches and machines;
"one by one" is the same engine with lightsim2grid's solver in place of its own, as it is where
the compiled code cannot be stored; "TimeSeriesCPP" is lightsim2grid's batch class, voltages only,
on its own conversion of the net. Before timing, results are compared: with the other way to
1e-7 p.u. in every power flow, with TimeSeriesCPP where its conversion gives the voltages of
`runpp` in the base case. "alone" is one call of the engine for a single power flow.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import typer
from lightsim2grid.lightsim2grid_cpp import TimeSeriesCPP
from lightsim2grid.network import init_from_pandapower
from pandapower.auxiliary import pandapowerNet
from table import show_table

from gridproblems.cases import CASES, load_case
from gridproblems.engines import NewtonEngine
from gridproblems.state import Field, GridState, Settings

N_POWER_FLOWS = 256
NETS = ("case39", "case118", "case300", "case1354pegase")
HEADER = (
    "net",
    "buses",
    "together [µs]",
    "one by one [µs]",
    "TimeSeriesCPP [µs]",
    "one by one / together",
    "TimeSeriesCPP / together",
    "alone [µs]",
)


def net_of(name: str) -> pandapowerNet:
    """A packaged case, or a net that pandapower ships."""
    return load_case(name).net() if name in CASES else getattr(pn, name)()


def changed_loads(net: pandapowerNet) -> tuple[np.ndarray, np.ndarray]:
    """Active and reactive powers of all loads, each load scaled by itself, (n, n_loads)."""
    rng = np.random.default_rng(1)
    factor = rng.uniform(0.85, 1.1, (N_POWER_FLOWS, len(net.load)))
    return factor * net.load.p_mw.to_numpy(), factor * net.load.q_mvar.to_numpy()


def time_series(net: pandapowerNet, p: np.ndarray, q: np.ndarray) -> Callable[[], Any] | None:
    """lightsim2grid's batch of these loads, None where its conversion is not that of ``runpp``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            grid = init_from_pandapower(net, pp_orig_file="pandapower_v3")
        except (RuntimeError, ValueError, TypeError):
            return None
    start = np.full(len(net.bus), 1.04, dtype=complex)
    if not len(base := grid.ac_pf(start.copy(), 10, 1e-8)):
        return None
    if not np.allclose(np.abs(base), net.res_bus.vm_pu, atol=1e-6):
        return None
    series = TimeSeriesCPP(grid)
    generators = np.array([[g.target_p_mw for g in grid.get_generators()]] * len(p))
    static = np.array([[g.target_p_mw for g in grid.get_static_generators()]] * len(p))
    static = np.ascontiguousarray(static.reshape(len(p), -1))

    def run() -> Any:
        series.compute_Vs(generators, static, p, q, base, 10, 1e-8)
        return series.get_voltages()

    return run


class Ways:
    """Ways to solve the same power flows, each a call; see the top of this file.

    Attributes:
        calls: "together", "one by one", and "TimeSeriesCPP" where its conversion is right.
        alone: A single power flow.
    """

    def __init__(self, name: str) -> None:
        net = net_of(name)
        pp.runpp(net, tolerance_mva=1e-8)
        self.n_buses = len(net.bus)
        p, q = changed_loads(net)
        elements = tuple(int(i) for i in net.load.index)
        fields = (Field("load", "p_mw", elements), Field("load", "q_mvar", elements))
        settings = Settings(fields, np.concatenate([p, q], axis=1)[:, np.newaxis, :])
        first = settings.candidates(np.arange(1))
        engine, other = NewtonEngine(net), NewtonEngine(net)
        other.solve(first)
        for space in other._local.spaces.values():
            space._together = None
        self.alone: Callable[[], Any] = lambda: engine.solve(first)
        self.calls: dict[str, Callable[[], Any]] = {
            "together": lambda: engine.solve(settings),
            "one by one": lambda: other.solve(settings),
        }
        series = time_series(net, p, q)
        if series:
            self.calls["TimeSeriesCPP"] = series
        self._compare(engine.solve(settings), other.solve(settings), series)

    def _compare(
        self, solved: GridState, expected: GridState, series: Callable[[], Any] | None
    ) -> None:
        """All ways give the same voltages."""
        assert solved.solved.all()
        assert expected.solved.all()
        np.testing.assert_allclose(solved.vm_pu, expected.vm_pu, rtol=0, atol=1e-7)
        if series:
            vm_pu = np.abs(series())
            np.testing.assert_allclose(vm_pu, solved.vm_pu.reshape(vm_pu.shape), rtol=0, atol=1e-6)


def measure(name: str, rounds: int) -> list[str]:
    """One row of the table."""
    ways = Ways(name)
    calls = list(ways.calls.values())
    samples = [[seconds(call) / N_POWER_FLOWS for call in calls] for _ in range(rounds)]
    alone = statistics.median(seconds(ways.alone) for _ in range(10 * rounds))
    times = [f"{statistics.median(column) * 1e6:.1f}" for column in zip(*samples, strict=True)]
    ratios = [
        f"{statistics.median(sample[k] / sample[0] for sample in samples):.1f}"
        for k in range(1, len(calls))
    ]
    missing = ["-"] * (3 - len(calls))
    columns = [*times, *missing, *ratios, *missing, f"{alone * 1e6:.0f}"]
    return [f"`{name}`", str(ways.n_buses), *columns]


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(
    case: Annotated[list[str] | None, typer.Option(help="Case; may be repeated.")] = None,
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    rows = [list(HEADER), ["---"] + ["--:"] * (len(HEADER) - 1)]
    for name in case or NETS:
        rows.append(measure(name, rounds))
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
