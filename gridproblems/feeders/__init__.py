"""Distribution feeders for OpenDSS: packaged ones by name, others from their master file.

>>> from gridproblems.feeders import FEEDERS, load_feeder
>>> len(load_feeder("ieee123").commands)
251
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridproblems._names import with_nearest
from gridproblems.cases import CASES, is_bare_name
from gridproblems.feeders._script import Command, read_script
from gridproblems.feeders._tables import commands_of_tables

__all__ = [
    "FEEDERS",
    "Command",
    "Feeder",
    "check_feeder_name",
    "check_grid_name",
    "load_feeder",
]

DATA = Path(__file__).parent / "data"

FEEDERS: dict[str, str] = {
    "ieee123": "IEEE 123-node test feeder: 7 regulators, 4 capacitors, 91 loads, 4.16 kV",
    "village": "made-up feeder with 7 buses: 3 regulators, a capacitor, solar with volt-var curve",
}


@dataclass(frozen=True)
class Feeder:
    """The commands that build a circuit; it crosses process borders as it is.

    ``Feeder("ieee123")`` is a packaged one; `load_feeder` reads that of a master file.

    Attributes:
        name: Key in `FEEDERS`, or the name of the master file without its ending.
        title: One line.
        commands: What OpenDSS is told, in order; none for those of the packaged feeder.
        trusted: Whether it is known that OpenDSS survives it; else it is tried in another process.
    """

    name: str
    title: str = ""
    commands: tuple[Command, ...] = ()
    trusted: bool = False

    def __post_init__(self) -> None:
        if not self.commands:
            packaged = load_feeder(self.name)
            for name in ("title", "commands", "trusted"):
                object.__setattr__(self, name, getattr(packaged, name))


def check_feeder_name(name: str) -> None:
    """Refuses what is neither a packaged feeder nor the path of a master file.

    Raises:
        ValueError: The nearest known name is suggested.
    """
    if name not in FEEDERS and Path(name).suffix.lower() != ".dss":
        raise ValueError(
            f"feeder: no feeder is called {with_nearest(name, FEEDERS)}; "
            "or give the path of a .dss file"
        )


def check_grid_name(given: Any) -> None:
    """Refuses a text that is no packaged case or feeder and does not look like a file.

    Raises:
        ValueError: The nearest known name is suggested.
    """
    known = [*CASES, *FEEDERS]
    if is_bare_name(given) and given not in known:
        raise ValueError(
            f"grid: no case or feeder is called {with_nearest(given, known)}; or pass a net, "
            "a Feeder, or the path of a pandapower JSON or OpenDSS file"
        )


def load_feeder(feeder: str | Path, trust: bool = False) -> Feeder:
    """A packaged feeder, or that of a master file.

    Args:
        feeder: Name in `FEEDERS`, or path of a ``.dss`` file.
        trust: Run every command of the file, also those that write files or run programs.

    Raises:
        ValueError: The name is unknown, a file is missing, or a command is refused.
    """
    name = str(feeder)
    if name == "ieee123":
        commands = commands_of_tables(DATA / name, name)
        return Feeder(name, FEEDERS[name], tuple(Command(text, name) for text in commands), True)
    if name in FEEDERS:
        commands_of_file = read_script(DATA / name / "master.dss", trust=False)
        return Feeder(name, FEEDERS[name], commands_of_file, True)
    check_feeder_name(name)
    path = Path(feeder)
    return Feeder(path.stem, str(path), read_script(path, trust), trust)
