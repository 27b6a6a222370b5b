"""Files that are there as a whole or not at all; cells that no spreadsheet takes for formulas."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Where a spreadsheet, with whatever separator it expects, may see the beginning of a formula.
_FORMULA = re.compile(r"""(^|[;,\t\r\n])(\s*"?\s*)([=+\-@\t\r])""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*(?=$|[;,\t\r\n\s])")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` to write to, moved there in the end.

    Whatever happens before, an old file stays as it is: an error, a full disk, a killed process.
    """
    target = Path(os.path.realpath(path))
    number, name = tempfile.mkstemp(
        prefix=f".{target.stem[:40]}-", suffix=f".part{target.suffix}", dir=target.parent
    )
    os.close(number)
    new = Path(name)
    try:
        yield new
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        new.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file as a whole, or leaves the old one."""
    with replaced(path) as new:
        new.write_text(text, encoding="utf-8", errors="replace")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table as a whole, or leaves the old one; texts are `harmless`."""
    told = frame.copy()
    for i, dtype in enumerate(frame.dtypes):
        if dtype.kind not in "iufb":
            column = frame.iloc[:, i].map(harmless).astype(object)
            told.isetitem(i, column)
    told.columns = [harmless(name) for name in frame.columns]
    with replaced(path) as new:
        told.to_csv(new, index=False, errors="replace")


def write_xlsx(path: Path, sheets: Mapping[str, pd.DataFrame]) -> bool:
    """Writes tables as the sheets of a workbook, as a whole, or leaves the old one.

    Returns:
        Whether openpyxl, which writes it, is installed; nothing is written without.
    """
    if find_spec("openpyxl") is None:
        return False
    import pandas as pd

    with replaced(path) as new, pd.ExcelWriter(new, engine="openpyxl") as workbook:
        for name, frame in sheets.items():
            told = frame.map(harmless)
            told.columns = pd.Index([harmless(column) for column in frame.columns])
            told.to_excel(workbook, sheet_name=name[:31], index=False)
    return True


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers, also as text, stay as they are.

    Spreadsheets run what begins with ``= + - @``, a tab or a carriage return. A quote in front
    makes it text. The same within a cell after anything that separates cells elsewhere.
    """
    if not isinstance(cell, str):
        return cell

    def quoted(match: re.Match[str]) -> str:
        start = match.start(3)
        if match.group(3) in "+-" and _NUMBER.match(cell, start):
            return match.group(0)
        return f"{match.group(1)}'{match.group(2)}{match.group(3)}"

    return _FORMULA.sub(quoted, cell)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
