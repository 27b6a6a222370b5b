"""Lines of Markdown tables: text in the first column, figures to the right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def line(cells: Iterable[str]) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"


def head(names: Sequence[str]) -> list[str]:
    """The names of the columns and the rule below them."""
    return [line(names), f"|---|{'---:|' * (len(names) - 1)}"]
