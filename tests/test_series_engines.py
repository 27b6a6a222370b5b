"""Every engine against ``pandapower.runpp`` on whole days of random allocations."""

from __future__ import annotations

import copy

import numpy as np
import pandapower as pp
import pytest

from gridproblems import DERAllocation
from gridproblems.engines import ENGINES

N_ALLOCATIONS, N_REFERENCE = 50, 3


@pytest.fixture(scope="module")
def problem() -> DERAllocation:
    return DERAllocation("lv18")


@pytest.fixture(scope="module")
def allocations(problem: DERAllocation) -> np.ndarray:
    random = np.random.default_rng(18)
    return problem.snap(random.random((N_ALLOCATIONS, problem.n_var)))


@pytest.fixture(scope="module")
def loading_percent(problem: DERAllocation, allocations: np.ndarray) -> np.ndarray:
    """By ``runpp``, (n_allocations, 24, n_lines)."""
    net = copy.deepcopy(problem.net)
    expected = np.empty((N_ALLOCATIONS, 24, len(net.line)))
    for i, x in enumerate(allocations):
        parts = zip(problem.profiles.codec.blocks, problem.profiles.codec.parts(x), strict=True)
        elements = [(block, np.array(block.field.elements)[order]) for block, order in parts]
        for hour in range(24):
            for block, places in elements:
                net[block.field.table].loc[places, "p_mw"] = block.profiles.iloc[hour].to_numpy()
            pp.runpp(net, tolerance_mva=1e-12)
            expected[i, hour] = net.res_line.loading_percent
    return expected


@pytest.mark.parametrize("name", list(ENGINES))
def test_line_loadings_of_all_hours_equal_runpp(
    name: str, problem: DERAllocation, allocations: np.ndarray, loading_percent: np.ndarray
) -> None:
    n = N_REFERENCE if name == "reference" else N_ALLOCATIONS  # runpp itself, hour by hour
    state = ENGINES[name](problem.net).solve(problem.profiles.codec.decode(allocations[:n]))
    assert state.solved.all()
    np.testing.assert_allclose(state.line_loading_percent, loading_percent[:n], rtol=0, atol=1e-6)
