"""How scripts beside this file show a table per problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer


def show_sections(
    first: str, names: Iterable[str], section: Callable[[str], list[str]], out: Path | None
) -> None:
    """Prints a line and a section per name, each once it is made, and writes them where asked.

    Args:
        first: The line.
        names: Of the problems.
        section: Gives the lines of one, the last of them empty.
        out: Markdown file to write, None for none.
    """
    lines = [first, ""]
    typer.echo(first)
    for name in names:
        found = section(name)
        typer.echo("\n".join(found))
        lines += found
    if out:
        out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
