"""How the scripts beside this file show their tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer


def show_table(rows: Sequence[Sequence[str]], out: Path | None) -> None:
    """Prints a table in Markdown, and writes it where asked.

    Args:
        rows: Head, the line of dashes below it, and the body.
        out: File to write, None for none.
    """
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    typer.echo(table)
    if out:
        out.write_text(f"{table}\n", encoding="utf-8")
