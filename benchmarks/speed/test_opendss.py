"""One evaluation of the 123-node feeder: this package beside the bare calls of OpenDSS.

Run by ``make bench``. These are timings, not tests; `feeder_ratios.py` prints the same as medians
of interleaved pairs.
"""

from __future__ import annotations

import pytest
from feeder_ratios import DISTURBANCE, bare_evaluation, fitness_bus_by_bus, random_vectors
from pytest_benchmark.fixture import BenchmarkFixture

from gridproblems.tasks.regulators import RegulatorControl

POPULATION = 20


@pytest.mark.parametrize("variables", ["vreg", "taps"])
@pytest.mark.parametrize("way", ["bare", "one thread", "two threads", "published loop"])
def test_population(benchmark: BenchmarkFixture, variables: str, way: str) -> None:
    benchmark.group = f"{POPULATION} evaluations of ieee123, {variables}"
    n_jobs = 2 if way == "two threads" else 1
    problem = RegulatorControl(variables=variables, disturbance=DISTURBANCE, n_jobs=n_jobs)
    x = random_vectors(problem, POPULATION)
    bare = bare_evaluation(problem, variables)
    if way == "bare":
        benchmark(lambda: [bare(v) for v in x])
    elif way == "published loop":
        benchmark(lambda: [fitness_bus_by_bus(bare(v)) for v in x])
    else:
        problem.evaluate(x)
        benchmark(problem.evaluate, x)
