"""What the command line knows before anything heavy is loaded, and that nothing heavy is."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

import algorithms
import gridproblems
from algorithms import ALGORITHMS
from gridproblems import PROBLEMS
from gridproblems import _declared as declared
from gridproblems.cli import app, names
from gridproblems.cli.listing import objectives
from gridproblems.controls import CONTROLS
from gridproblems.controls.placed_capacitors import PlacedCapacitorBlock
from gridproblems.controls.switching import SwitchingBlock
from gridproblems.controls.units import UnitBlock
from gridproblems.engines import ENGINES
from gridproblems.grids.feeder import OF_FEEDERS
from gridproblems.objectives import OBJECTIVES
from gridproblems.problem import arguments_of
from gridproblems.situations import SITUATIONS

HEAVY = {"numpy", "pandas", "scipy", "numba", "pandapower", "pymoo", "matplotlib", "plotly"}
REGISTRIES: dict[str, Mapping[str, Any]] = {
    names.TASKS: PROBLEMS,
    names.ALGORITHMS: ALGORITHMS,
    names.CONTROLS: CONTROLS,
    names.SITUATIONS: SITUATIONS,
    names.ENGINES: ENGINES,
}


def loaded_by(program: str) -> set[str]:
    """Top-level modules that a program has loaded at its end, whatever way it ends."""
    ending = (
        "import atexit, json, sys\natexit.register(lambda: print(json.dumps([*sys.modules])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ending + program], capture_output=True, text=True, check=False
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("package", ["gridproblems", "algorithms"])
def test_importing_the_packages_loads_nothing_heavy(package: str) -> None:
    loaded = loaded_by(f"import {package}")
    assert package in loaded
    assert not loaded & HEAVY


def test_all_names_of_algorithms_are_there() -> None:
    assert set(algorithms.__all__) <= set(dir(algorithms))
    for name in algorithms.__all__:
        assert getattr(algorithms, name) is not None
    assert algorithms.mvmo.MVMO is algorithms.MVMO
    with pytest.raises(AttributeError, match="has no attribute 'MVMOO'"):
        algorithms.MVMOO  # noqa: B018


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["solve", "--help"],
        ["list"],
        ["solve", "orpdd", "--case", "ieee14"],
        ["solve", "orpd", "--case", "ieee15"],
        ["solve", "orpd", "--case", "ieee14", "--algorithm", "hss"],
        ["solve", "orpd", "--case", "ieee14", "--option", "fixd=1"],
        ["solve", "--case", "case33bw", "--control", "units:dg:max_siz=3"],
        ["compare", "orpd:ieee139"],
        ["compare", "orpd:ieee39", "--algorithms", "hss"],
        ["compare", "--study", "paper"],
        ["report", "nowhere"],
    ],
)
def test_help_list_and_wrong_words_load_nothing_heavy(words: list[str]) -> None:
    program = f"import sys\nsys.argv = ['gridproblems', *{words!r}]\n"
    loaded = loaded_by(program + "from gridproblems.__main__ import main\nmain()\n")
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("where", REGISTRIES)
def test_declared_names_are_those_of_the_registry(where: str) -> None:
    registry = REGISTRIES[where]
    places = declared.places_in(where)
    assert list(places) == list(registry)
    for name, place in places.items():
        doc = (inspect.getdoc(registry[name]) or "").split("\n\n")[0].replace("\n", " ")
        assert declared.summary(place) == doc


@pytest.mark.parametrize("where", [names.CONTROLS, names.SITUATIONS])
def test_declared_arguments_are_those_of_the_parts(where: str) -> None:
    for name, place in declared.places_in(where).items():
        make: Callable[..., Any] = REGISTRIES[where][name]
        assert list(declared.arguments(place)) == list(inspect.signature(make).parameters)


@pytest.mark.parametrize("task", PROBLEMS)
def test_declared_arguments_are_those_of_the_tasks(task: str) -> None:
    found = declared.arguments(declared.places_in(names.TASKS)[task])
    if "options" in found:
        shared = declared.arguments("gridproblems.problem:Options")
        found = (*(n for n in found if n != "options"), *shared)
    assert list(found) == list(arguments_of(PROBLEMS[task]))


def test_declared_objectives_are_those_there_are() -> None:
    assert list(declared.names_in(names.OBJECTIVES)) == list(OBJECTIVES)
    assert list(names.feeder_objectives()) == list(OF_FEEDERS)
    for block in (SwitchingBlock, UnitBlock, PlacedCapacitorBlock):
        place = f"{block.__module__}:{block.__name__}"
        assert place in names.blocks()
        assert list(names.own_objectives(place)) == [*block.objective_methods, *block.searches]
    assert len(names.blocks()) == 3
    assert (names.block_of("taps"), names.block_of("nothing")) == (None, None)
    assert names.controls_of("reconfiguration") == ["switching"]
    assert names.controls_of("placement") == ["units"]
    told = objectives()
    for name, objective in OBJECTIVES.items():
        assert f", {objective.over_time} in time" in told[name]
        assert f"[{objective.unit}]" in told[name] or not objective.unit


def test_every_public_name_can_be_had() -> None:
    for name in gridproblems.__all__:
        assert getattr(gridproblems, name) is not None
    assert set(gridproblems.__all__) <= set(dir(gridproblems))
    assert gridproblems.errors.GridProblemError is gridproblems.GridProblemError
    with pytest.raises(AttributeError, match="no attribute 'Tapss'"):
        _ = gridproblems.Tapss  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--objective", "p_loss_w"), "unknown objective 'p_loss_w' (did you mean 'p_loss_mw'?)"),
        (("--engine", "newtn"), "unknown engine 'newtn' (did you mean 'newton'?)"),
        (("--limit", "vm=0.9,1.1"), "limits: unknown 'vm' (did you mean 'vm_pu'?)"),
        (("--control", "tapp"), "controls: unknown group 'tapp' (did you mean 'tap'?)"),
        (("--situations", "hour"), "no situation is called 'hour' (did you mean 'hours'?)"),
    ],
)
def test_wrong_words_name_the_nearest(words: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["solve", "orpd", "--case", "ieee14", *words])
    assert result.exit_code == 2
    assert message in result.stderr
