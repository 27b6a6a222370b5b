"""How much faster a day of 24 power flows is than 24 times ``pandapower.runpp``, side by side.

    python benchmarks/speed/series.py [--rounds 15] [--checked 50]
        [--out docs/tables/speed_series.md]

Each round times all ways one after the other, ratios are medians over rounds. "runpp" writes every
hour of an allocation into the net, runs ``pandapower.runpp`` with its defaults and reads the line
loadings. "in a population" is an evaluation out of 100 by `evaluate_many`, decoding, objective and
constraints included; "engine, 100" is the engine's share for all 100 of them. Then every engine is
compared with ``runpp`` at a tolerance of 1e-12 MVA on all hours of random allocations, the study's
100 evaluations run by its own GA on both ways, and longer series are solved.
"""

from __future__ import annotations

import copy
import resource
import statistics
from pathlib import Path
from typing import Annotated

import numpy as np
import pandapower as pp
import pandas as pd
import typer
from pandapower.auxiliary import pandapowerNet
from pymoo.core.problem import ElementwiseProblem
from pymoo.optimize import minimize
from ratios import POPULATION, seconds

from algorithms.permutation import order_ga
from gridproblems.engines import ENGINES
from gridproblems.tasks.allocation import DERAllocation

N_PLAIN = 2


def write_hour(net: pandapowerNet, problem: DERAllocation, x: np.ndarray, hour: int) -> None:
    """Puts one hour of an allocation into the tables of a net."""
    for block, order in zip(
        problem.profiles.codec.blocks, problem.profiles.codec.parts(x), strict=True
    ):
        table = net[block.field.table]
        table.loc[order, "p_mw"] = block.profiles.iloc[hour].to_numpy()


def plain_loading(
    net: pandapowerNet, problem: DERAllocation, x: np.ndarray, **options: float
) -> np.ndarray:
    """Line loadings of every hour by plain pandapower, (n_snapshots, n_lines). [%]"""
    loading = np.empty((problem.situations.n, len(net.line)))
    for hour in range(len(loading)):
        write_hour(net, problem, x, hour)
        pp.runpp(net, **options)
        loading[hour] = net.res_line.loading_percent
    return loading


class Plain(ElementwiseProblem):
    """The study's problem with ``runpp`` as it did it: objective only."""

    def __init__(self, problem: DERAllocation) -> None:
        super().__init__(n_var=problem.n_var, n_obj=1, xl=problem.xl, xu=problem.xu)
        self.permutation_blocks = problem.permutation_blocks
        self._problem, self._net = problem, copy.deepcopy(problem.net)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        out["F"] = plain_loading(self._net, self._problem, x).max(axis=1).sum()


def speed(problem: DERAllocation, X: np.ndarray, rounds: int) -> list[str]:
    """The table of times."""
    net = copy.deepcopy(problem.net)
    settings = problem.joint.decode(X)
    samples = []
    for _ in range(rounds):
        population = seconds(problem.evaluate_many, X) / len(X)
        engine = seconds(problem.engine.solve, settings)
        one = seconds(lambda: [problem.evaluate(x) for x in X[:30]]) / 30
        plain = seconds(lambda: [plain_loading(net, problem, x) for x in X[:N_PLAIN]]) / N_PLAIN
        samples.append((plain, population, engine, one))
    plain, population, engine, one = (statistics.median(c) for c in zip(*samples, strict=True))
    ratios = [sample[0] / sample[1] for sample in samples]
    return [
        "| 24 power flows | runpp [ms] | in a population [µs] | engine, 100 [ms] | one by one [µs] "
        "| runpp / population |",
        "|---|---|---|---|---|---|",
        f"| `lv18`, {problem.engine_name} | {plain * 1e3:.0f} | {population * 1e6:.0f} "
        f"| {engine * 1e3:.1f} | {one * 1e6:.0f} "
        f"| {statistics.median(ratios):,.0f} ({min(ratios):,.0f}-{max(ratios):,.0f}) |",
    ]


def agreement(problem: DERAllocation, X: np.ndarray) -> list[str]:
    """Largest differences of line loadings from ``runpp`` at a tolerance of 1e-12 MVA."""
    net = copy.deepcopy(problem.net)
    expected = np.array([plain_loading(net, problem, x, tolerance_mva=1e-12) for x in X])
    settings = problem.joint.decode(X)
    lines = [
        f"| engine | largest difference of {expected.size:,} line loadings [percentage points] |",
        "|---|---|",
    ]
    for name, engine in ENGINES.items():
        state = engine(problem.net).solve(settings)
        difference = np.abs(state.line_loading_percent - expected).max()
        lines.append(f"| {name} | {difference:.1e} |")
    return lines


def study(problem: DERAllocation) -> list[str]:
    """Seconds of the study's GA, population 10 and 10 generations, both ways."""

    def run(which: ElementwiseProblem) -> float:
        return seconds(lambda: minimize(which, order_ga(which), ("n_gen", 10), seed=1))

    ours, plain = run(problem), run(Plain(problem))
    return [
        "| the study's 100 evaluations | runpp [s] | ours [s] |",
        "|---|---|---|",
        f"| population 10, 10 generations | {plain:.0f} | {ours:.2f} |",
    ]


def long_series(problem: DERAllocation) -> list[str]:
    """Seconds and memory of one evaluation of a year."""
    lines = [
        "| one evaluation of | engine | s | memory so far [MB] |",
        "|---|---|---|---|",
    ]
    for name in ("sweep", "newton"):
        for text, days, per_hour in (("8,760 hours", 365, 1), ("35,040 quarters", 365, 4)):
            tables = {
                block.name: pd.concat(
                    [block.profiles.loc[block.profiles.index.repeat(per_hour)]] * days
                )
                for block in problem.profiles.codec.blocks
            }
            year = DERAllocation("lv18", **tables, hours=1 / per_hour, engine=name)
            taken = seconds(year.evaluate, year.base_x)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            lines.append(f"| {text} | {name} | {taken:.3f} | {peak:.0f} |")
    return lines


def main(
    rounds: int = 15,
    checked: Annotated[int, typer.Option(help="Allocations compared with runpp")] = 50,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the tables, and writes them where asked."""
    problem = DERAllocation("lv18")
    X = problem.snap(np.random.default_rng(0).random((max(POPULATION, checked), problem.n_var)))
    problem.evaluate(X)
    lines: list[str] = []
    for part in (
        speed(problem, X[:POPULATION], rounds),
        agreement(problem, X[:checked]),
        study(problem),
        long_series(problem),
    ):
        lines += [*part, ""]
        typer.echo("\n".join(lines[-len(part) - 1 :]))
    if out:
        out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
