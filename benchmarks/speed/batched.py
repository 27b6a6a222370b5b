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

from gridproblems.cases import CASES, load_case
from gridproblems.engines import NewtonEngine
from gridproblems.state import Field, Settings

N_POWER_FLOWS = 256
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


def measure(name: str, rounds: int) -> list[str]:
    """One row of the table."""
    net = net_of(name)
    pp.runpp(net, tolerance_mva=1e-8)
    p, q = changed_loads(net)
    elements = tuple(int(i) for i in net.load.index)
    fields = (Field("load", "p_mw", elements), Field("load", "q_mvar", elements))
    values = np.concatenate([p, q], axis=1)
    settings = Settings(fields, values[:, np.newaxis, :])
    alone = Settings(fields, values[:1, np.newaxis, :])
    engine, other = NewtonEngine(net), NewtonEngine(net)
    other.solve(alone)
    for space in other._local.spaces.values():
        space._together = None
    solved, expected = engine.solve(settings), other.solve(settings)
    assert solved.solved.all()
    assert expected.solved.all()
    np.testing.assert_allclose(solved.vm_pu, expected.vm_pu, rtol=0, atol=1e-7)
    series = time_series(net, p, q)
    if series:
        vm_pu = np.abs(series())
        np.testing.assert_allclose(vm_pu, solved.vm_pu.reshape(vm_pu.shape), rtol=0, atol=1e-6)

    ways: list[Callable[[], Any]] = [lambda: engine.solve(settings), lambda: other.solve(settings)]
    ways += [series] if series else []
    samples = [[seconds(way) / N_POWER_FLOWS for way in ways] for _ in range(rounds)]
    singly = statistics.median(seconds(lambda: engine.solve(alone)) for _ in range(10 * rounds))
    times = [f"{statistics.median(column) * 1e6:.1f}" for column in zip(*samples, strict=True)]
    ratios = [
        f"{statistics.median(sample[k] / sample[0] for sample in samples):.1f}"
        for k in range(1, len(ways))
    ]
    missing = [] if series else ["-"]
    return [
        f"`{name}`",
        str(len(net.bus)),
        *times,
        *missing,
        *ratios,
        *missing,
        f"{singly * 1e6:.0f}",
    ]


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
    for name in case or ["case39", "case118", "case300", "case1354pegase"]:
        rows.append(measure(name, rounds))
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    typer.echo(table)
    if out:
        out.write_text(f"{table}\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
