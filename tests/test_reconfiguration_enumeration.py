"""All radial configurations of 33 buses: the table of the best hundred and every exact front."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from gridproblems import Reconfiguration
from gridproblems.evaluation import FAILED_F

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "references"))

import reconfiguration_enumeration as enumeration

OBJECTIVES = enumeration.OBJECTIVES
TOP_100 = Path(__file__).parent / "data" / "case33bw_top100.csv"


@pytest.fixture(scope="module")
def configurations() -> tuple[np.ndarray, np.ndarray]:
    """Values (n, 5) and open branches (n, 5) of all configurations that have a solution."""
    problem = enumeration.problem_of("case33bw", OBJECTIVES)
    values, branches = [], []
    for opened in enumeration.trees_from(problem, ()):
        values.append(problem.evaluation(enumeration.vectors(problem, opened))[0])
        branches.append(problem.graph.lines[opened] + 1)
    f, opened = np.concatenate(values), np.concatenate(branches)
    assert len(f) == len(np.unique(opened, axis=0)) == 50_751
    return f[f[:, 0] < FAILED_F], opened[f[:, 0] < FAILED_F]


def test_the_best_hundred(configurations: tuple[np.ndarray, np.ndarray]) -> None:
    f, opened = configurations
    with TOP_100.open() as file:
        rows = list(csv.DictReader(file))
    best = np.argsort(f[:, 0])[:100]
    assert opened[best].tolist() == [[int(row[f"open{i}"]) for i in range(1, 6)] for row in rows]
    losses = [float(row["loss_kw"]) for row in rows]
    np.testing.assert_allclose(f[best, 0], losses, rtol=0, atol=1e-6)
    v_min = [float(row["vmin_pu"]) for row in rows]
    np.testing.assert_allclose(-f[best, 2], v_min, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pair", list(itertools.combinations(OBJECTIVES, 2)), ids=" ".join)
def test_no_configuration_is_beyond_the_known_front(
    configurations: tuple[np.ndarray, np.ndarray], pair: tuple[str, str]
) -> None:
    f = configurations[0][:, [OBJECTIVES.index(name) for name in pair]]
    limits = {"vm_pu": None, "loading_percent": None}
    front = Reconfiguration("case33bw", pair, limits=limits).pareto_front()
    for point in front:
        assert np.abs(f - point).max(axis=1).min() < 1e-6  # is one of the configurations
        assert not ((f < point - 1e-6).all(axis=1)).any()
    covered = np.zeros(len(f), dtype=bool)
    for point in front:
        covered |= (f >= point - 1e-6).all(axis=1)
    assert covered.all()
    assert len(front) == len(enumeration.front(f))


def test_pieces_find_the_same_and_go_on_where_they_were(tmp_path: Path) -> None:
    first = enumeration.enumerate_case("case16", ("p_loss_kw",), 10, 1, tmp_path)
    (store,) = tmp_path.iterdir()
    done = json.loads(store.read_text())
    store.write_text(json.dumps(dict(list(done.items())[: len(done) // 2])))
    again = enumeration.enumerate_case("case16", ("p_loss_kw",), 10, 1, tmp_path)
    assert first[0] == again[0] == 190
    np.testing.assert_array_equal(first[2], again[2])
    np.testing.assert_array_equal(first[3], again[3])
    assert first[2].min() == pytest.approx(466.126733, abs=1e-6)


def test_what_cannot_open_stays_closed() -> None:
    """Two transformers side by side feed a mesh of which some lines have no switch."""
    net = pn.case33bw()
    hv = pp.create_bus(net, 110.0)
    net.ext_grid["bus"] = hv
    for _ in range(2):
        pp.create_transformer(net, hv, 0, "25 MVA 110/20 kV")
    problem = Reconfiguration(net, switchable=[1, 2, 4, 6, 9, 19, 24, *range(32, 37)])
    opened = np.concatenate(list(enumeration.trees_from(problem, ())))
    assert len(np.unique(opened, axis=0)) == len(opened) == problem.graph.n_spanning_trees() > 10
    assert problem.graph.switchable[opened].all()
    by_pieces = [
        trees
        for first in enumeration.pieces_of(problem)
        for trees in enumeration.trees_from(problem, first)
    ]
    assert len(np.concatenate(by_pieces)) == len(opened)
