"""Many power flows at once: lanes, elimination, and Newton beside lightsim2grid and scipy."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandapower.networks as pn
import pytest
from nets import feeder, meshed, switched, tap_zoo
from numba import njit
from pandapower.auxiliary import pandapowerNet
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu, spsolve

from gridproblems._compile import is_stored
from gridproblems.cases import load_case
from gridproblems.engines import NewtonEngine, _lanes
from gridproblems.engines._batched import (
    CONVERGED,
    FAILED,
    OFF_TABLE,
    BatchedNewton,
    structure_of,
)
from gridproblems.engines._compiled import CompiledModel, compile_model
from gridproblems.engines._elimination import (
    eliminate,
    factorise,
    minimum_degree,
    solve,
    solve_transposed,
)
from gridproblems.engines._lanes import LANES, lane_array, load, store
from gridproblems.engines._newton import DEFAULT_ITERATIONS, HIGH_PU, _OneByOne, _splits
from gridproblems.state import Field, FloatArray, Settings

TOLERANCE_MVA = 1e-8


# -- lanes --------------------------------------------------------------------------------


@njit
def _sines(x: FloatArray, s: FloatArray, c: FloatArray) -> None:
    for i in range(len(x)):
        sine, cosine = _lanes.sine_cosine(load(x, i))
        store(s, i, sine)
        store(c, i, cosine)


def test_sine_and_cosine_of_lanes() -> None:
    x, s, c = (lane_array(4000) for _ in range(3))
    rng = np.random.default_rng(1)
    x[:1000] = rng.uniform(-np.pi, np.pi, (1000, LANES))
    x[1000:2000] = rng.normal(0, 1e-4, (1000, LANES))
    x[2000:3000] = rng.uniform(-1e4, 1e4, (1000, LANES))
    x[3000:] = np.arange(1000 * LANES).reshape(-1, LANES) * (np.pi / 4) - 1000 * np.pi
    x[0, :3] = 0.0, np.pi, -np.pi
    _sines(x, s, c)
    np.testing.assert_allclose(s, np.sin(x), rtol=0, atol=2.3e-16)
    np.testing.assert_allclose(c, np.cos(x), rtol=0, atol=2.3e-16)
    small = np.abs(x) < 0.1
    np.testing.assert_allclose(s[small], np.sin(x[small]), rtol=2.3e-16, atol=0)


@njit
def _operations(x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b * 2.0 - 1.0 / a)
    store(out, 1, -_lanes.absolute(a) - b)
    store(out, 2, _lanes.larger(a, b))
    store(out, 3, _lanes.where_less(a, b, a, b))
    store(out, 4, _lanes.square_root(_lanes.absolute(b)))
    store(out, 5, _lanes.nearest(a))
    store(out, 6, _lanes.subtract_product(a, b, _lanes.multiply_add(a, b, a)))
    store(out, 7, 3.0 + _lanes.lanes(2))


def test_operations_of_lanes() -> None:
    x, y, out = lane_array(1), lane_array(1), lane_array(8)
    x[0], y[0] = np.linspace(-3.3, 4.1, LANES), np.linspace(2.0, -5.0, LANES)
    y[0, 1] = np.nan
    _operations(x, y, out)
    a, b = x[0], y[0]
    np.testing.assert_array_equal(out[0], a + b * 2.0 - 1.0 / a)
    np.testing.assert_array_equal(out[1], -np.abs(a) - b)
    np.testing.assert_array_equal(out[2], np.maximum(a, b))
    np.testing.assert_array_equal(out[3], np.where(a < b, a, b))
    np.testing.assert_array_equal(out[4], np.sqrt(np.abs(b)))
    np.testing.assert_array_equal(out[5], np.rint(a))
    np.testing.assert_allclose(out[6], np.where(np.isnan(b), np.nan, a), atol=1e-14)
    np.testing.assert_array_equal(out[7], 5.0)
    assert x.ctypes.data % 64 == 0


# -- elimination --------------------------------------------------------------------------


@njit
def _factorise(a: FloatArray, growth: FloatArray, e: Any) -> None:
    store(growth, 0, factorise(a, e))


def random_graph(n: int, n_edges: int, seed: int) -> tuple[list[set[int]], np.ndarray]:
    rng = np.random.default_rng(seed)
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for i, j in rng.integers(0, n, (n_edges, 2)).tolist():
        if i != j:
            neighbours[i].add(j)
            neighbours[j].add(i)
    return neighbours, rng.integers(1, 3, n)


@pytest.mark.parametrize(("n", "n_edges"), [(1, 0), (2, 1), (5, 0), (12, 20), (60, 90), (30, 400)])
def test_solutions_are_those_of_scipy(n: int, n_edges: int) -> None:
    neighbours, sizes = random_graph(n, n_edges, seed=n)
    e = eliminate(minimum_degree(neighbours, sizes), neighbours, sizes)
    size = np.diff(e.first)
    row = np.concatenate(
        [np.repeat(np.arange(e.first[g], e.first[g + 1]), e.length[g]) for g in range(n)]
    )
    column = np.concatenate(
        [np.tile(e.column[e.column_start[g] : e.column_start[g + 1]], size[g]) for g in range(n)]
    )
    assert len(row) == e.n_entries
    rng = np.random.default_rng(3)
    a, x, y, growth = (lane_array(k) for k in (len(row), e.n_unknowns, e.n_unknowns, 1))
    a[:] = rng.normal(size=a.shape) + 10.0 * (row == column)[:, np.newaxis]
    matrices = [coo_matrix((a[:, lane].copy(), (row, column))).tocsc() for lane in range(LANES)]
    x[:] = y[:] = b = rng.normal(size=x.shape)
    _factorise(a, growth, e)
    solve(a, x, e)
    solve_transposed(a, y, e)
    assert (growth < 10).all()
    for lane, matrix in enumerate(matrices):
        np.testing.assert_allclose(x[:, lane], spsolve(matrix, b[:, lane]), atol=1e-12)
        np.testing.assert_allclose(y[:, lane], spsolve(matrix.T, b[:, lane]), atol=1e-12)


def test_a_weak_pivot_shows_as_growth_in_its_lane() -> None:
    e = eliminate(np.array([0]), [set()], np.array([2]))
    a, growth = lane_array(4), lane_array(1)
    a[:] = np.array([1.0, 1.0, 1.0, 2.0])[:, np.newaxis]
    a[3, 2], a[3, 3], a[0, 4] = 1.0 + 1e-12, 1.0, np.nan
    _factorise(a, growth, e)
    assert growth[0, 2] > 1e11
    assert np.isinf(growth[0, 3])
    assert np.isnan(growth[0, 4])
    np.testing.assert_allclose(growth[0, [0, 1, 5, 6, 7]], 2.0)


def test_minimum_degree_keeps_a_tree_without_fill() -> None:
    rng = np.random.default_rng(5)
    neighbours: list[set[int]] = [set() for _ in range(200)]
    for i in range(1, 200):
        j = int(rng.integers(0, i))
        neighbours[i].add(j)
        neighbours[j].add(i)
    sizes = np.ones(200, dtype=np.int64)
    e = eliminate(minimum_degree(neighbours, sizes), neighbours, sizes)
    assert e.n_entries == 200 + 2 * 199


def test_fill_is_about_that_of_superlu() -> None:
    net = load_case("ieee300").net()
    model, _ = compile_model(net, ())
    e = structure_of(model)[1]
    pattern = coo_matrix(
        (
            np.ones(len(model.indices)),
            (model.indices, np.repeat(np.arange(len(net.bus)), np.diff(model.indptr))),
        )
    ).tocsr()
    unknowns = np.concatenate([model.pv, model.pq, model.pq])
    jacobian = pattern[unknowns][:, unknowns].tolil()
    jacobian.setdiag(100.0)
    lu = splu(jacobian.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    assert e.n_entries < 1.1 * (lu.L.nnz + lu.U.nnz - len(unknowns))


# -- Newton -------------------------------------------------------------------------------


def dispatch_fields(net: pandapowerNet) -> tuple[Field, ...]:
    """Every kind of number that the net has."""
    fields = [
        Field(table, column, tuple(int(i) for i in net[table].index))
        for table, column in (
            ("gen", "vm_pu"),
            ("ext_grid", "vm_pu"),
            ("gen", "p_mw"),
            ("load", "p_mw"),
            ("load", "q_mvar"),
            ("sgen", "scaling"),
            ("storage", "p_mw"),
            ("shunt", "q_mvar"),
            ("line", "in_service"),
        )
        if table in net and len(net[table])
    ]
    taps = net.trafo.index[net.trafo.tap_min.notna() & net.trafo.tap_max.notna()]
    if len(taps):
        fields.append(Field("trafo", "tap_pos", tuple(int(i) for i in taps)))
    return tuple(fields)


def some_parameters(model: CompiledModel, spread: float, n: int) -> FloatArray:
    """Parameters around the base case, from the same to far away, lines out now and then."""
    rng = np.random.default_rng(7)
    a = model.arrays
    parameters = np.tile(model.parameters, (n, 1))
    size = spread * np.linspace(0.0, 1.0, n)[:, np.newaxis] ** 2
    s = a.sections
    setpoint, power, tap = (slice(s[i], s[j]) for i, j in ((0, 1), (1, 4), (7, 8)))
    parameters[:, setpoint] += size * rng.uniform(-0.1, 0.1, (n, s[1] - s[0]))
    parameters[:, power] *= 1 + size * rng.uniform(-1.0, 2.0, (n, s[4] - s[1]))
    first, count = a.tap_first, a.tap_count
    parameters[:, tap] = rng.integers(first, first + count, (n, len(first)))
    if s[9] > s[8]:
        out = rng.integers(s[8], s[9], n)
        parameters[np.arange(0, n, 3), out[::3]] = 0.0
    return parameters


NETS = {
    "ieee14": lambda: load_case("ieee14").net(),
    "ieee39": lambda: load_case("ieee39").net(),
    "ieee118": lambda: load_case("ieee118").net(),
    "ieee300": lambda: load_case("ieee300").net(),
    "tap zoo": tap_zoo,
    "mv oberrhein": switched,
    "feeder": feeder,
    "case14": meshed,
    "case57": pn.case57,
    "example": pn.example_multivoltage,
}


@pytest.mark.parametrize("name", NETS)
def test_batched_newton_is_lightsim2grid(name: str) -> None:
    net = NETS[name]()
    fields = dispatch_fields(net)
    model, places = compile_model(net, fields)
    parameters = some_parameters(model, 1.0, 150)
    parameters = parameters[~_splits(model, parameters)]
    n = len(parameters)
    assert len(places) == sum(len(field.elements) for field in fields)

    tolerance_pu = TOLERANCE_MVA / model.arrays.base_mva
    one_by_one = _OneByOne(model, tolerance_pu, DEFAULT_ITERATIONS).solve(parameters)
    rows = np.full_like(one_by_one.rows, np.nan)
    v = np.full((n, len(model.slack_weights)), np.nan, dtype=complex)
    status = newton_of(model).solve(parameters, np.arange(n), rows, v)

    assert one_by_one.on_table.all()
    assert set(status) <= {CONVERGED, FAILED}
    solved = status == CONVERGED
    assert solved.sum() > 40
    high = np.abs(one_by_one.v_pu).max(axis=1) > HIGH_PU
    from_the_dc_start = ~solved & one_by_one.converged & ~high
    assert from_the_dc_start.sum() <= n // 20
    np.testing.assert_array_equal(
        solved | from_the_dc_start, one_by_one.converged & (~high | (model.dc is None))
    )
    np.testing.assert_allclose(v[solved], one_by_one.v_pu[solved], rtol=0, atol=1e-8)
    expected = one_by_one.rows[solved]
    size = np.maximum(1.0, np.abs(expected))
    np.testing.assert_allclose(rows[solved] / size, expected / size, rtol=0, atol=1e-6)
    assert np.isnan(rows[~solved]).all()


def newton_of(model: CompiledModel) -> BatchedNewton:
    tolerance_pu = TOLERANCE_MVA / model.arrays.base_mva
    band_pu = (0.0, np.inf if model.dc is None else HIGH_PU)
    return BatchedNewton(model, structure_of(model), tolerance_pu, DEFAULT_ITERATIONS, band_pu)


def test_order_and_neighbours_change_no_bit() -> None:
    net = load_case("ieee118").net()
    model, _ = compile_model(net, dispatch_fields(net))
    parameters = some_parameters(model, 3.0, 61)
    together = newton_of(model)

    def solve_in(order: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = np.full((61, model.layout.n_values), np.nan)
        v = np.full((61, 118), np.nan, dtype=complex)
        status = together.solve(parameters, order, rows, v)
        return rows, v, status

    forwards = solve_in(np.arange(61))
    assert set(forwards[2]) == {CONVERGED, FAILED}
    rng = np.random.default_rng(2)
    for order in (np.arange(61)[::-1].copy(), rng.permutation(61), rng.permutation(61)):
        for found, expected in zip(solve_in(order), forwards, strict=True):
            np.testing.assert_array_equal(found, expected)
    for i in (0, 7, 30, 60):
        rows, v, status = solve_in(np.array([i]))
        np.testing.assert_array_equal(rows[i], forwards[0][i])
        np.testing.assert_array_equal(v[i], forwards[1][i])
        assert status[i] == forwards[2][i]


def test_positions_off_the_table_are_told() -> None:
    net = load_case("ieee39").net()
    model, _ = compile_model(net, dispatch_fields(net))
    parameters = np.tile(model.parameters, (3, 1))
    parameters[1, model.arrays.sections[7]] = 1000
    parameters[2, model.arrays.sections[7]] = 0.5
    rows = np.full((3, model.layout.n_values), np.nan)
    status = newton_of(model).solve(
        parameters, np.arange(3), rows, np.zeros((3, 39), dtype=complex)
    )
    assert status.tolist() == [CONVERGED, OFF_TABLE, OFF_TABLE]


def test_sensitivities_are_central_differences() -> None:
    net = load_case("ieee30").net()
    fields = (Field("load", "p_mw", (12,)), Field("load", "q_mvar", (12,)))
    model, places = compile_model(net, fields)
    together = newton_of(model)
    structure = structure_of(model)[0]
    step_mw = 1e-3

    def voltages(parameters: FloatArray) -> np.ndarray:
        n = len(parameters)
        rows = np.empty((n, model.layout.n_values))
        v = np.empty((n, len(model.slack_weights)), dtype=complex)
        assert (together.solve(parameters, np.arange(n), rows, v) == CONVERGED).all()
        return v

    base = np.tile(model.parameters, (10, 1))
    base[:, places[0]] += np.linspace(0, 5, 10)
    v = voltages(base)
    bus = int(model.arrays.injection_bus[0])
    assert bus in model.pq
    sides = np.zeros((10, 2, len(model.pv) + 2 * len(model.pq)))
    sides[:, 0, structure.angle[bus]] = sides[:, 1, structure.magnitude[bus]] = -1.0
    found = together.solve_linear(base, v, sides) / model.arrays.base_mva  # per MW of load
    pq = model.pq
    for k, place in enumerate(places):
        up, down = base.copy(), base.copy()
        up[:, place] += step_mw
        down[:, place] -= step_mw
        difference = (np.log(voltages(up)) - np.log(voltages(down))) / (2 * step_mw)
        for quantity, rows in ((difference.imag, structure.angle), (difference.real, None)):
            at = structure.magnitude[pq] if rows is None else rows[pq]
            np.testing.assert_allclose(found[:, k, at], quantity[:, pq], rtol=0, atol=1e-9)

    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(2, 10, 1, sides.shape[2]))
    solved = together.solve_linear(base, v, right)
    adjoint = together.solve_linear(base, v, left, transposed=True)
    np.testing.assert_allclose((left * solved).sum(axis=2), (adjoint * right).sum(axis=2))


def test_a_singular_jacobian_is_an_error() -> None:
    net = load_case("ieee14").net()
    model, _ = compile_model(net, ())
    v = np.zeros((1, len(model.slack_weights)), dtype=complex)
    sides = np.ones((1, 1, len(model.pv) + 2 * len(model.pq)))
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        newton_of(model).solve_linear(model.parameters[np.newaxis], v, sides)


def test_compiled_code_is_stored() -> None:
    assert is_stored(factorise)


WITHOUT_STORED_CODE = """
import numpy as np
import pandapower.networks as pn
{first}
from gridproblems.engines import NewtonEngine
from gridproblems.engines._batched import solve_blocks
from gridproblems.state import Field, Settings

assert type(solve_blocks).__name__ == {dispatcher!r}
engine = NewtonEngine(pn.case14())
settings = Settings((Field("gen", "vm_pu", (0, 1)),), np.array([[1.02, 1.03], [1.0, 1.04]]))
state = engine.solve(settings)
(space,) = engine._local.spaces.values()
assert space._together is None
print(repr(state.vm_pu.tolist()))
"""
NOWHERE_TO_WRITE = "import numba.core.caching as c; c.CompileResultCacheImpl._locator_classes = []"


@pytest.mark.parametrize(
    ("first", "dispatcher", "variables"),
    [
        (NOWHERE_TO_WRITE, "CPUDispatcher", {"NUMBA_OPT": "0"}),
        ("", "function", {"NUMBA_DISABLE_JIT": "1"}),
    ],
)
def test_lightsim2grid_serves_where_compiled_code_cannot_be_stored(
    first: str, dispatcher: str, variables: dict[str, str]
) -> None:
    code = WITHOUT_STORED_CODE.format(first=first, dispatcher=dispatcher)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    values = np.array([[1.02, 1.03], [1.0, 1.04]])
    here = NewtonEngine(pn.case14()).solve(Settings((Field("gen", "vm_pu", (0, 1)),), values))
    np.testing.assert_allclose(ast.literal_eval(run.stdout), here.vm_pu, rtol=0, atol=1e-9)


def test_what_fails_together_is_solved_by_lightsim2grid(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([[1.02, 1.03], [1.0, 1.04], [0.99, 1.0]])
    settings = Settings((Field("gen", "vm_pu", (0, 1)),), values)
    engine = NewtonEngine(pn.case14())
    expected = engine.solve(settings)
    (space,) = engine._local.spaces.values()
    solve_together = space._together.solve

    def without_the_second(*arguments: Any) -> np.ndarray:
        status = solve_together(*arguments)
        arguments[2][1] = np.nan
        status[1] = FAILED
        return status

    monkeypatch.setattr(space._together, "solve", without_the_second)
    found = engine.solve(settings)
    assert found.converged.all()
    np.testing.assert_array_equal(found.values[[0, 2]], expected.values[[0, 2]])
    np.testing.assert_allclose(found.values[1], expected.values[1], rtol=1e-9, atol=1e-9)
    assert found.bus_branch(1).v_pu == pytest.approx(expected.bus_branch(1).v_pu, abs=1e-9)
