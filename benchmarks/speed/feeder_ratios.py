"""One evaluation of the 123-node feeder beside the bare calls of OpenDSS, in one run.

    python benchmarks/speed/feeder_ratios.py [--rounds 15] [--out docs/tables/opendss.md]

Each round times all ways one after the other; ratios are medians over rounds. "Bare" is the least
that has to be done with OpenDSS: settings through the regulator interface, ``SolveDirect`` and
``Solve``. "Published loop" reads the voltages as the published script does, bus by bus in Python.
"One / two threads" is the gain of ``n_jobs=2``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from table import show_table

from gridproblems.disturbances import LoadChange
from gridproblems.tasks.regulators import RegulatorControl

POPULATION = 60
DISTURBANCE = LoadChange("s1a", kw=200.0)


def random_vectors(problem: RegulatorControl, n: int) -> np.ndarray:
    """Snapped vectors."""
    return problem.snap(
        np.random.default_rng(0).uniform(problem.xl, problem.xu, (n, problem.n_var))
    )


def bare_evaluation(problem: RegulatorControl, variables: str) -> Callable[[np.ndarray], Any]:
    """Settings, ``SolveDirect`` and ``Solve`` in a disturbed context, which it returns."""
    context = problem.apply(problem.base_x)
    regulators, solution = context.RegControls, context.Solution
    start = [regulator.tap for regulator in problem.circuit.regulators.values()]

    def evaluate(x: np.ndarray) -> Any:
        for i, value in enumerate(x.tolist()):
            regulators.Idx(i + 1)
            if variables == "vreg":
                regulators.ForwardVreg(value)
            regulators.TapNumber(start[i] if variables == "vreg" else int(value))
        solution.SolveDirect()
        solution.Solve()
        return context

    return evaluate


def fitness_bus_by_bus(context: Any) -> float:
    """The fitness with a loop over buses, as in the published script."""
    means = []
    for bus in context.Circuit.AllBusNames():
        context.Circuit.SetActiveBus(bus)
        magnitudes = context.Bus.puVmagAngle()[::2]
        means.append(sum(magnitudes) / len(magnitudes))
    total = 0.0
    for v in means:
        if v < 0.95:
            total += 1000.0 * (0.95 - v) ** 2
        elif v > 1.05:
            total += 1000.0 * (v - 1.05) ** 2
        else:
            total += (v - 1.0) ** 2
    return total + 10.0 * float(np.var(means))


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure(variables: str, rounds: int) -> list[str]:
    """One row of the table."""
    problem = RegulatorControl(variables=variables, disturbance=DISTURBANCE)
    threads = RegulatorControl(variables=variables, disturbance=DISTURBANCE, n_jobs=2)
    bare = bare_evaluation(problem, variables)
    x = random_vectors(problem, POPULATION)
    f = problem.evaluate(x, return_values_of=["F"])[:, 0]
    np.testing.assert_array_equal(threads.evaluate(x, return_values_of=["F"])[:, 0], f)
    np.testing.assert_allclose([fitness_bus_by_bus(bare(v)) for v in x[:5]], f[:5], rtol=1e-12)

    samples = []
    for _ in range(rounds):
        samples.append(
            [
                seconds(lambda: [bare(v) for v in x]) / POPULATION,
                seconds(problem.evaluate, x) / POPULATION,
                seconds(threads.evaluate, x) / POPULATION,
                seconds(lambda: [fitness_bus_by_bus(bare(v)) for v in x]) / POPULATION,
                seconds(lambda: [problem.evaluate(v) for v in x]) / POPULATION,
            ]
        )

    def ratio(slower: int, faster: int) -> str:
        ratios = [sample[slower] / sample[faster] for sample in samples]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"

    times = [f"{statistics.median(column) * 1e6:.0f}" for column in zip(*samples, strict=True)]
    what = "set-points" if variables == "vreg" else "taps"
    return [what, *times, ratio(1, 0), ratio(1, 2), ratio(3, 1)]


def main(
    rounds: int = 15,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Prints the table, and writes it where asked."""
    header = [
        "variables",
        "bare [µs]",
        "in a population [µs]",
        "two threads [µs]",
        "published loop [µs]",
        "one by one [µs]",
        "population / bare",
        "one / two threads",
        "published loop / population",
    ]
    rows = [header, ["---"] * len(header), measure("vreg", rounds), measure("taps", rounds)]
    show_table(rows, out)


if __name__ == "__main__":
    typer.run(main)
