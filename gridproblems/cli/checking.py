"""Command line: ``gridproblems check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gridproblems.cases import CASES
from gridproblems.cli.errors import one_line_errors
from gridproblems.feeders import FEEDERS, check_grid_name


def check(
    grid: Annotated[
        str, typer.Argument(help="Path to a grid file, a SimBench code, or the name of a case")
    ],
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors")] = False,
) -> None:
    """Read a grid, say what was changed or left out on the way, check and solve it once."""
    with one_line_errors(debug):
        if grid in CASES or not (grid in FEEDERS or Path(grid).suffix.lower() == ".dss"):
            check_grid_name(grid)
            from gridproblems.grids.read import missing_limits, read_grid

            report = read_grid(grid)
            lines = report.lines
            if missing := missing_limits(report.net):
                lines.append(f"Not limited in its tables: {', '.join(missing)}; see --limit.")
        else:
            from gridproblems.grids.feeder import FeederGrid

            circuit = FeederGrid(grid).circuit
            lines = [
                f"OpenDSS feeder: {len(circuit.nodes)} nodes, {len(circuit.lines)} lines, "
                f"{len(circuit.transformers)} transformers, {len(circuit.regulators)} regulators",
                "It converges, and its controls come to rest.",
            ]
        for line in lines:
            typer.echo(line)
