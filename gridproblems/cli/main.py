"""The command line: its commands and what they are called."""

from __future__ import annotations

import typer

from gridproblems.cli.checking import check
from gridproblems.cli.listing import list_everything
from gridproblems.cli.resuming import resume
from gridproblems.cli.solving import solve
from gridproblems.cli.studies import compare, export, report

app = typer.Typer(
    help="Power-grid optimisation problems for pymoo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Power-grid optimisation problems for pymoo."""


app.command("list")(list_everything)
app.command()(check)
app.command()(solve)
app.command()(resume)
app.command()(compare)
app.command()(report)
app.command()(export)
