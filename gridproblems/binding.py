"""From what a user writes to parts: the grid, and the blocks of controls on it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pandapower.auxiliary import pandapowerNet

from gridproblems._arguments import shown
from gridproblems.controls import CONTROLS
from gridproblems.controls.block import Block
from gridproblems.controls.direct import FixedBlock
from gridproblems.feeders import FEEDERS, Feeder, check_grid_name
from gridproblems.grids.net import NetGrid
from gridproblems.objectives import Objective
from gridproblems.situations import Situations
from gridproblems.words import part_of

#: What a reader calls the kinds of grids.
GRID_KINDS = {"net": "pandapower net", "feeder": "feeder of OpenDSS"}


def grid_of(given: Any) -> Any:
    """A grid of its own from a name, a net, a file or a grid.

    Raises:
        ValueError: There is none of that name.
    """
    if hasattr(given, "present_settings"):
        return copy.deepcopy(given)
    if not isinstance(given, (str, Path, Feeder, pandapowerNet)):
        raise ValueError(f"grid: expected a case, feeder, net, file or grid, got {shown(given)}")
    if isinstance(given, Feeder) or str(given) in FEEDERS or str(given).lower().endswith(".dss"):
        from gridproblems.grids.feeder import FeederGrid

        return FeederGrid(given)
    check_grid_name(given)
    return NetGrid(given)


def parts_of(controls: Any) -> list[Any]:
    """The controls of an argument ``controls``, words turned into objects."""
    kinds = [
        part_of("control", control, CONTROLS) if isinstance(control, str) else control
        for control in listed_argument("controls", controls)
    ]
    for control in kinds:
        if not hasattr(control, "bind"):
            raise ValueError(
                f"controls: expected parts such as Taps(), or names such as 'taps', got {control!r}"
            )
    return kinds


def blocks_of(
    controls: Sequence[Any], periods: Mapping[str, int], grid: Any, situations: Situations
) -> list[Block]:
    """The blocks of controls: first all add to the grid, then all are bound to it."""
    for control in controls:
        of_grid = getattr(control, "of_grid", grid.kind)
        if of_grid != grid.kind:
            fitting = [
                k for k, c in CONTROLS.items() if getattr(c, "of_grid", grid.kind) == grid.kind
            ]
            raise ValueError(
                f"controls: {type(control).__name__} is for a {GRID_KINDS[of_grid]}, and "
                f"{grid.name} is a {GRID_KINDS[grid.kind]}; known: {', '.join(fitting)}"
            )
    prepared = [control.prepare(grid) for control in controls]
    blocks = [
        control.bind(grid, situations, own) for control, own in zip(controls, prepared, strict=True)
    ]
    taken = {
        (f.table, f.column, element)
        for block in blocks
        if not isinstance(block, FixedBlock)
        for f in block.fields
        for element in f.elements
    }
    blocks = [b.without(taken) if isinstance(b, FixedBlock) else b for b in blocks]
    called = {make: name for name, make in CONTROLS.items()}
    names = [
        called.get(type(control), block.kind)
        for control, block in zip(controls, blocks, strict=True)
    ]
    return _over_periods(blocks, names, periods, situations)


def _over_periods(
    blocks: Sequence[Block],
    names: Sequence[str],
    periods: Mapping[str, int],
    situations: Situations,
) -> list[Block]:
    """The blocks with as many periods as are asked for, by their kind or their name in `CONTROLS`.

    Raises:
        ValueError: No control of that name, or a number that cannot be.
    """
    known = [*names, *(block.kind for block in blocks)]
    for name in periods:
        if name not in known:
            listed = ", ".join(dict.fromkeys(known))
            raise ValueError(f"periods: no control is called {name!r}; known: {listed}")
    asked = [periods.get(name, periods.get(b.kind)) for name, b in zip(names, blocks, strict=True)]
    return [
        block if n is None else block.over_periods(int(n), situations)
        for block, n in zip(blocks, asked, strict=True)
    ]


def listed_argument(argument: str, given: Any) -> Sequence[Any]:
    """One part, or several, as a list.

    Raises:
        ValueError: None at all, or no list.
    """
    if isinstance(given, (str, Objective)) or callable(given) or hasattr(given, "bind"):
        return (given,)
    if not isinstance(given, (Sequence, np.ndarray)) or isinstance(given, bytes):
        raise ValueError(f"{argument}: expected a list of names or functions, got {shown(given)}")
    if not len(given):
        raise ValueError(f"{argument}: expected at least one")
    return list(given)
