"""One evaluation: this package beside plain pandapower, in one run.

Run by ``make bench``; pytest-benchmark prints the ratio to the fastest of each group. These are
timings, not tests; `ratios.py` prints the same as medians of interleaved pairs.
"""

from __future__ import annotations

import pytest
from plain import plain_evaluation, random_vectors
from pytest_benchmark.fixture import BenchmarkFixture

from gridproblems import ReactivePowerDispatch

CASES = ("ieee14", "ieee39", "ieee118", "ieee300")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["newton in a population of 100", "newton one by one", "runpp"])
def test_one_evaluation(benchmark: BenchmarkFixture, case: str, way: str) -> None:
    benchmark.group = f"one evaluation, {case}"
    problem = ReactivePowerDispatch(case)
    vectors = random_vectors(problem, 100)
    problem.evaluate(vectors[:2])
    if way == "newton in a population of 100":
        benchmark.extra_info["evaluations per round"] = 100
        benchmark.name = f"{way} (time of all 100)"
        benchmark(problem.evaluate, vectors)
    elif way == "newton one by one":
        benchmark(problem.evaluate, vectors[0])
    else:
        benchmark(plain_evaluation(problem), vectors[0])
