"""Power flows with changed loads: the ways of `batched.py` beside each other.

Run by ``make bench``; these are timings, not tests.
"""

from __future__ import annotations

import pytest
from batched import N_POWER_FLOWS, NETS, Ways
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("name", NETS[:3])
@pytest.mark.parametrize("way", ["together", "one by one", "TimeSeriesCPP"])
def test_changed_loads(benchmark: BenchmarkFixture, name: str, way: str) -> None:
    benchmark.group = f"{N_POWER_FLOWS} power flows with changed loads, {name}"
    benchmark(Ways(name).calls[way])
