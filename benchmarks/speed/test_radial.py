"""Configurations of the 33-bus feeder and days of the 18-bus network, beside plain pandapower.

Run by ``make bench``. These are timings, not tests; `reconfiguration.py` and `series.py` print the
same as medians of interleaved rounds.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from ratios import POPULATION
from reconfiguration import plain_loss_kw, working_vectors
from series import plain_loading

from gridproblems import DERAllocation, Reconfiguration

WAYS = ("sweep in a population of 100", "sweep one by one", "runpp")


@pytest.mark.parametrize("way", WAYS)
def test_one_configuration(benchmark: BenchmarkFixture, way: str) -> None:
    benchmark.group = "one configuration of case33bw"
    problem = Reconfiguration("case33bw")
    vectors = working_vectors(problem, POPULATION)
    plain = copy.deepcopy(problem)
    plain.net = copy.deepcopy(problem.net)
    measure(benchmark, way, problem, vectors, lambda: plain_loss_kw(plain, vectors[0]))


@pytest.mark.parametrize("way", WAYS)
def test_one_day(benchmark: BenchmarkFixture, way: str) -> None:
    benchmark.group = "24 power flows of lv18"
    problem = DERAllocation("lv18")
    vectors = problem.snap(np.random.default_rng(0).random((POPULATION, problem.n_var)))
    net = copy.deepcopy(problem.net)
    measure(benchmark, way, problem, vectors, lambda: plain_loading(net, problem, vectors[0]))


def measure(benchmark, way, problem, vectors, plain) -> None:  # type: ignore[no-untyped-def]
    """One way of a group; a population's time is that of all its vectors."""
    problem.evaluate(vectors[:2])
    if way == WAYS[0]:
        benchmark.extra_info["evaluations per round"] = POPULATION
        benchmark.name = f"{way} (time of all 100)"
        benchmark(problem.evaluate_many, vectors)
    elif way == WAYS[1]:
        benchmark(problem.evaluate, vectors[0])
    else:
        benchmark(plain)
