"""The relaxation that proves optima: exact on one configuration, below the optimum on all."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gridproblems import Reconfiguration
from gridproblems.cases import load_case

pytest.importorskip("clarabel")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "references"))

from _tree_relaxation import (
    BACKWARD,
    FORWARD,
    OPEN,
    Feeder,
    Infeasible,
    Relaxation,
    demand_behind,
    propagate,
)
from reconfiguration_relaxation import BranchExchange, Search, with_state

BASE_KW = 1e4


def two_paths() -> Feeder:
    """A ring 0-1-2-0 with lines of 0.01, 0.02 and 0.03 p.u. resistance and a tail 2-3."""
    return Feeder(
        ends=np.array([[0, 1], [1, 2], [2, 0], [3, 2]]),
        r_pu=np.array([0.01, 0.02, 0.03, 0.01]),
        x_pu=np.zeros(4),
        p_pu=np.array([0.0, 0.2, 0.1, 0.1]),
        q_pu=np.zeros(4),
        base_kw=BASE_KW,
    )


def with_open(feeder: Feeder, branches: tuple[int, ...]) -> np.ndarray:
    """Domains with these branches, numbered from 1, open and all others closed."""
    domains = feeder.all_states()
    for k in range(len(domains)):
        domains = with_state(domains, k, OPEN if k + 1 in branches else domains[k] & ~OPEN)
    return propagate(feeder, domains)


def test_states_that_no_tree_has_are_taken_away() -> None:
    feeder = two_paths()
    domains = feeder.all_states()
    assert domains.tolist() == [OPEN | FORWARD, 7, OPEN | BACKWARD, BACKWARD]
    opened = propagate(feeder, with_state(domains, 0, OPEN))
    assert opened.tolist() == [OPEN, BACKWARD, BACKWARD, BACKWARD]
    assert demand_behind(feeder, opened)[0].tolist() == pytest.approx([0.4, 0.2, 0.4, 0.1])
    with pytest.raises(Infeasible):
        propagate(feeder, with_state(opened, 2, OPEN))
    ring = with_state(with_state(domains, 0, FORWARD), 2, BACKWARD)
    assert propagate(feeder, ring)[1] == OPEN  # the third line would close a loop


def test_bound_of_one_line_by_hand() -> None:
    """0.4 p.u. through 0.05 p.u.: v = (1 + sqrt(1 - 0.08)) / 2, loss = 0.05 (0.4 / v)^2."""
    feeder = Feeder(
        ends=np.array([[1, 0]]),
        r_pu=np.array([0.05]),
        x_pu=np.array([0.0]),
        p_pu=np.array([0.0, 0.4]),
        q_pu=np.zeros(2),
        base_kw=BASE_KW,
    )
    domains = feeder.all_states()
    assert domains.tolist() == [BACKWARD]
    relaxation = Relaxation(feeder, domains, feeder.widest_v_range())
    loss_kw, share = relaxation.least_loss_kw()
    v = (1 + np.sqrt(1 - 4 * 0.05 * 0.4)) / 2
    assert loss_kw == pytest.approx(BASE_KW * 0.05 * (0.4 / v) ** 2, rel=1e-6)
    assert share.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("name", "branches", "expected_kw"),
    [
        ("case16", (14, 15, 16), 511.435615),
        ("case33bw", (33, 34, 35, 36, 37), 202.677126),
        ("case33bw", (7, 9, 14, 32, 37), 139.551347),
        ("case69", (14, 58, 61, 69, 70), 98.604598),
    ],
)
def test_bound_of_one_configuration_is_its_loss(
    name: str, branches: tuple[int, ...], expected_kw: float
) -> None:
    feeder = Feeder.from_net(load_case(name).net())
    relaxation = Relaxation(feeder, with_open(feeder, branches), feeder.widest_v_range())
    assert relaxation.least_loss_kw()[0] == pytest.approx(expected_kw, rel=1e-6)


@pytest.mark.parametrize("name", ["case16", "case33bw", "case69"])
def test_bound_is_below_every_configuration_in_the_domains(name: str) -> None:
    problem = Reconfiguration(load_case(name).net(), coding="spanning_tree")
    feeder = Feeder.from_net(problem.net)
    domains, v_range = feeder.all_states(), feeder.widest_v_range()
    least_kw, share = Relaxation(feeder, domains, v_range).least_loss_kw()
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    rng = np.random.default_rng(0)
    for x in rng.random((5, problem.n_var)):
        opened = {line + 1 for line in problem.open_lines(x)[0]}
        try:
            part_kw, _ = Relaxation(
                feeder, with_open(feeder, tuple(opened)), v_range
            ).least_loss_kw()
        except Infeasible:  # no power flow supplies these loads on this tree
            assert not problem.solve(x).solved
            continue
        assert part_kw == pytest.approx(problem.evaluate(x)[0][0], rel=1e-6)
        assert least_kw < part_kw


def search_from_as_built(name: str) -> tuple[Search, float]:
    """A search that has to find the optimum itself, and the losses known to be the least."""
    case = load_case(name)
    [known] = [b for b in case.best_known if b.objectives == ("p_loss_kw",)]
    best = BranchExchange(Reconfiguration(case.net(), coding="spanning_tree"))
    assert best.loss_kw > 1.05 * known.value
    return Search(Feeder.from_net(case.net()), best), known.value


def finish(search: Search, least_kw: float) -> None:
    while search.parts:
        search.step()
    assert search.best.loss_kw == pytest.approx(least_kw, abs=1e-6)
    assert search.bound_kw == pytest.approx(least_kw, rel=1.01e-6)


def test_search_proves_the_enumerated_optimum() -> None:
    search, least_kw = search_from_as_built("case16")
    search.root(Console(quiet=True))
    finish(search, least_kw)


def test_search_proves_the_enumerated_optimum_also_when_it_was_stopped(tmp_path: Path) -> None:
    search, least_kw = search_from_as_built("case33bw")
    search.root(Console(quiet=True))
    search.step()
    assert search.parts
    assert search.bound_kw < 0.99 * least_kw
    search.save(tmp_path / "work.npz", 12.0)
    again, _ = search_from_as_built("case33bw")
    assert again.load(tmp_path / "work.npz") == 12.0
    assert again.best.loss_kw == search.best.loss_kw
    assert again.bound_kw == search.bound_kw
    for part, same in zip(sorted(search.parts), sorted(again.parts), strict=True):
        np.testing.assert_array_equal(part.domains, same.domains)
    finish(search, least_kw)
    finish(again, least_kw)
