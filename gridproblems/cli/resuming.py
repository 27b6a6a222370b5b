"""Command line: ``gridproblems resume``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gridproblems._own import trust as trust_files
from gridproblems.cli.asked import RUN, asked_in
from gridproblems.cli.errors import one_line_errors
from gridproblems.cli.solving import solve_asked
from gridproblems.cli.studies import FILE, resume_studies

RESULT = "result.json"


def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of a run or a study")],
    jobs: Annotated[
        int | None, typer.Option(help="Parallel evaluations or runs; by default as before")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="File with parts of your own that the run uses, my.py; without this it is not "
            "run. Repeatable"
        ),
    ] = None,
    mixed_versions: Annotated[
        bool,
        typer.Option(
            "--mixed-versions", help="Go on although versions of packages are others than before"
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the folder only")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors")] = False,
) -> None:
    """Go on with a run or study that was interrupted or killed.

    It ends as if it had never stopped, bit for bit: the evaluations that the folder holds are not
    made again. Nothing that the folder names is run but what --trust names too.
    """
    with one_line_errors(debug):
        folder = folder.resolve()
        trust_files(*(trust or ()))
        if (folder / RUN).is_file():
            asked = asked_in(folder)
            asked = asked if jobs is None else replace(asked, jobs=jobs)
            _enter(asked.folder)
            solve_asked(asked, quiet, folder=folder, mixed_versions=mixed_versions)
        elif resume_studies(folder, jobs, quiet):
            return
        elif (folder / RESULT).is_file():
            typer.echo(f"{folder}: the run has finished, there is nothing left to do", err=True)
        elif (folder / FILE).is_file():
            typer.echo(
                f"{folder}: the study has finished, there is nothing left to do; one that was made "
                "in Python goes on with its script",
                err=True,
            )
        else:
            raise FileNotFoundError(f"{folder}: no run or study that could go on")


def _enter(folder: str) -> None:
    """Goes where the words were said, so that paths in them are found again."""
    if os.path.isdir(folder):
        os.chdir(folder)
