"""Outages of several kinds, alone and together, against a plain loop of ``runpp``."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest
from nets import feeder

from gridproblems import GridProblem, Hours, Outages
from gridproblems.grids import FeederGrid
from gridproblems.situations import axes_of

BAND = {"vm_pu": (0.9, 1.1), "loading_percent": None}


def fourteen_buses() -> Any:
    net = pn.case14()
    net.gen[["min_vm_pu", "max_vm_pu"]] = 0.95, 1.1
    return net


def loop(net: Any, outages: list[list[tuple[str, int]]]) -> np.ndarray:
    """Bus voltages with nothing and with each set of elements out."""
    found = []
    for out in [[], *outages]:
        one = copy.deepcopy(net)
        for table, element in out:
            one[table].loc[element, "in_service"] = False
        pp.runpp(one, tolerance_mva=1e-8)
        found.append(one.res_bus.vm_pu.to_numpy())
    return np.array(found)


@pytest.mark.parametrize(
    ("outages", "names", "out"),
    [
        (
            Outages({"line": [3], "trafo": [0, 2]}),
            ["line 3 out", "trafo 0 out", "trafo 2 out"],
            [[("line", 3)], [("trafo", 0)], [("trafo", 2)]],
        ),
        (
            Outages([4], pairs=[(1, 5), (3, "trafo 1"), (("gen", 1), 4)]),
            [
                "line 4 out",
                "line 1 and line 5 out",
                "line 3 and trafo 1 out",
                "gen 1 and line 4 out",
            ],
            [
                [("line", 4)],
                [("line", 1), ("line", 5)],
                [("line", 3), ("trafo", 1)],
                [("gen", 1), ("line", 4)],
            ],
        ),
        (
            Outages(None, pairs={"corridor": [1, 3, "gen 2"], "alone": [5]}),
            ["corridor", "alone"],
            [[("line", 1), ("line", 3), ("gen", 2)], [("line", 5)]],
        ),
    ],
    ids=["kinds", "pairs", "named"],
)
def test_outages_are_those_of_a_plain_loop(
    outages: Outages, names: list[str], out: list[list[tuple[str, int]]]
) -> None:
    problem = GridProblem(fourteen_buses(), ["setpoints"], outages, limits=BAND)
    assert problem.situations.names == ["", *names]
    expected = loop(problem.net, out)
    state = problem.base_state
    np.testing.assert_allclose(state.vm_pu, expected, atol=1e-8)
    X = problem.base_x[np.newaxis]
    g = problem.evaluation.judge(
        X, problem.joint.decode(X), problem.evaluation.solve(problem.joint.decode(X))
    )[1][0]
    assert g[list(problem.constraint_names).index("n-1 power_flow")] == 0.0


def test_all_lines_and_transformers_that_leave_the_grid_whole() -> None:
    with pytest.warns(UserWarning, match="are left out, buses lose supply") as caught:
        problem = GridProblem("ieee39", ["setpoints"], Outages("lines", "trafos"), limits=BAND)
    texts = [str(warning.message) for warning in caught]
    assert [text.split(" [")[0] for text in texts] == ["outages: lines", "outages: transformers"]
    names = problem.situations.names
    lines = [name for name in names if name.startswith("line")]
    trafos = [name for name in names if name.startswith("trafo")]
    assert len(lines) + len(trafos) == len(names) - 1
    assert len(problem.net.trafo) > len(trafos) > 0
    out = [[(name.split()[0], int(name.split()[1]))] for name in trafos]
    expected = loop(problem.net, out)
    rows = [names.index(name) for name in trafos]
    solved = problem.base_state.converged[rows]
    np.testing.assert_allclose(
        problem.base_state.vm_pu[rows][solved], expected[1:][solved], atol=1e-8
    )
    assert solved.all()


def test_outages_as_written_can_be_pickled_and_said_in_words() -> None:
    for outages in (Outages("lines", "trafos"), Outages(None, pairs=[(1, "trafo 2")]) * Hours(n=2)):
        assert pickle.loads(pickle.dumps(outages)) == outages
    assert axes_of("outages:lines:trafos") == (Outages("lines", "trafos"),)
    assert axes_of('outages:null:pairs=[[1, 5], [3, "trafo 1"]]') == (
        Outages(None, pairs=[[1, 5], [3, "trafo 1"]]),
    )


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (3, "pairs: expected a list"),
        ([3], r"pairs: expected elements such as \(3, 'trafo 2'\), got 3"),
        ([()], "pairs: expected elements"),
        ([(1, "bus 2")], "pairs: expected a line by index, or 'trafo 2'"),
        ([(1, "trafo x")], "pairs: expected a line by index"),
        ([(1, True)], "pairs: expected a line by index"),
        ([(1, 99)], "pairs: the net has no line 99 in service"),
        ([(1, "trafo 99")], "the net has no transformer 99 in service"),
        ([(1, "gen 99")], "the net has no generator 99 in service"),
        ([(1, 1)], "names an element twice"),
        ([(0, 1)], "buses lose supply without line 0 and line 1, whatever the units"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridProblem(fourteen_buses(), ["setpoints"], Outages(None, pairs=pairs), limits=BAND)


def test_outages_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        ValueError, match="outages: expected lines, trafos, gens or pairs, got none"
    ):
        GridProblem(fourteen_buses(), ["setpoints"], Outages(None), limits=BAND)
    with pytest.raises(ValueError, match="expected words like 'lines', 'trafos'"):
        Outages([1], "trafos")
    with pytest.raises(ValueError, match="every transformer of this net cuts off buses"):
        Outages("trafos").bind(GridProblem(feeder(), ["switching"], limits=BAND).grid)
    with pytest.raises(ValueError, match="a feeder is radial"):
        Outages(None, pairs=[(1, 2)]).bind(FeederGrid("village"))


@pytest.mark.filterwarnings("ignore:outages. lines .37. are left out")
def test_an_outage_without_solution_is_a_broken_limit_of_a_candidate_that_solves(
    tmp_path: Path,
) -> None:
    problem = GridProblem("ieee57", ["taps", "setpoints"], Outages("lines"))
    x = problem.base_x
    state = problem.solve(x)
    assert not state.solved
    assert problem.solves(x)
    broken = {violation.name: violation for violation in problem.violations(x)}
    assert broken["n-1 power_flow"].beyond == np.count_nonzero(~state.converged)
    problem.write(x, tmp_path)  # the most loaded of those that solve
    written = pp.from_json(str(tmp_path / "net.json"))
    worst = float(np.nanmax(state["branch_loading_percent"]))
    found = [written[f"res_{t}"].loading_percent.max() for t in ("line", "trafo")]
    assert max(found) == pytest.approx(worst, abs=1e-5)
