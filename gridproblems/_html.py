"""Tables of pages, whose cells are escaped already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def html_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    kind: str,
    classes: Sequence[str] = (),
    names: bool = False,
) -> str:
    """A table within a box that scrolls.

    Args:
        head: Names of the columns.
        rows: Cells; what they hold has to be escaped already, as has the head.
        kind: Class of the box.
        classes: Class of every column, empty for none; fewer than columns leave the others without.
        names: Every cell says the name of its column, for pages that show rows as cards.
    """
    of_column = [f" class='{name}'" if name else "" for name in classes]
    of_column += [""] * (len(head) - len(of_column))
    told = [f' data-name="{name}"' if names else "" for name in head]
    top = "".join(f"<th{c}>{name}</th>" for c, name in zip(of_column, head, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, of_column, told, row))}</tr>" for row in rows)
    rows_html = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="{kind}"><table>{rows_html}</table></div>'


def _cell(of_column: str, told: str, cell: str) -> str:
    return f"<td{of_column}{told}>{cell}</td>"
