"""Errors and warnings of the command line: one line each on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from gridproblems.errors import GridProblemError

BAD_INPUT = 2


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Bad input ends in one line on stderr and exit code 2, unless the traceback is wanted.

    Warnings are one line each on stderr too.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line_warning
            yield
    except (ValueError, TypeError, GridProblemError, OSError) as error:
        if debug:
            raise
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None


def _one_line_warning(
    message: Warning | str, category: type[Warning], *where: Any, **further: Any
) -> None:
    typer.echo(f"Warning: {message}", err=True)
