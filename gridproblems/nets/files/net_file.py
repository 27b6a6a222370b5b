"""What a reader of grid files gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pandapower.auxiliary import pandapowerNet

MAX_BYTES = 256 * 2**20  # the largest net of pandapower.networks needs 15 MB


@dataclass(frozen=True)
class NetFile:
    """A net that was read, and what became of what the file holds.

    Attributes:
        net: In pandapower's tables, not yet checked.
        kind: What the file is, such as ``"MATPOWER"``.
        notes: What was changed, added or left out, one sentence each.
        voltages: Voltages that the file itself holds: bus -> (vm_pu, va_degree). [p.u., degree]
    """

    net: pandapowerNet
    kind: str
    notes: tuple[str, ...] = ()
    voltages: dict[int, tuple[float, float]] = field(default_factory=dict)


def bytes_of(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ValueError: No such file, unreadable, empty, or above 256 MiB.
    """
    try:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path}: {size / 2**20:.0f} MiB, expected at most 256 MiB")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise ValueError(f"{path}: an empty file")
    return content


def counted(n: int, one: str, many: str = "") -> str:
    """``1 line``, ``2 lines``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(names: list[str], n: int = 5) -> str:
    """The first names."""
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more
