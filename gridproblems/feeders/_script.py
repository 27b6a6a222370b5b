"""An OpenDSS script as a list of commands, read with the files it redirects to and checked.

A feeder file is a program: OpenDSS runs its commands as they come, and some of them write, delete
or run things. Only what describes or solves a circuit passes (see `_check`), and OpenDSS is told
what was checked, not the file once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gridproblems._warn import warn_user
from gridproblems.feeders._check import Checker, Refused, Told, Unknown, is_file
from gridproblems.feeders._syntax import Token, Unreadable, tokens

MAX_FILES = 10_000  # files that redirect to each other twice would never end
MAX_COMMANDS = 5_000_000
MAX_SHOWN = 20
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_FILE_END = "\x00\x0c\x1a"  # old editors and record files end so


@dataclass(frozen=True)
class Command:
    """One line of a script.

    Attributes:
        text: What OpenDSS is told.
        where: File and line, for messages.
        folder: Where paths in the line start, empty if it has none.
        line: The line as it is in the file.
        selects: Object that an ``Edit`` names, in quotes; OpenDSS passes over one that does not
            exist.
        by_trust: Whether the line would be refused or left out in a feeder that is not trusted.
        files: Whole paths of the data files that the line reads, as they are in the text.
    """

    text: str
    where: str = ""
    folder: str = ""
    line: str = ""
    selects: str = ""
    by_trust: bool = False
    files: tuple[str, ...] = ()


def read_script(path: Path, trust: bool) -> tuple[Command, ...]:
    """The commands of a script and of the files it redirects to, in the order they run.

    Commands that only report are left out, with one warning that lists them.

    Args:
        path: The master file.
        trust: Let every command pass, also those that write files or run programs.

    Raises:
        ValueError: A file is missing or redirects to itself, or lines may do more than describe a
            circuit, or OpenDSS would not understand them; the message names all with file and line.
    """
    path = path.expanduser().resolve()
    reader = _Reader(trust, Checker(path.parent, False), Checker(path.parent, True))
    reader.read(path, "", ())
    reader.complain()
    if reader.reports:
        warn_user(f"feeder {path.stem}: left out what only reports: {_shown(reader.reports, '; ')}")
    return tuple(reader.commands)


@dataclass
class _Reader:
    """Reads files line by line into commands and collects what is wrong with them."""

    trust: bool
    checker: Checker
    trusting: Checker
    commands: list[Command] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    n_files: int = 0

    def read(self, path: Path, asked_by: str, above: tuple[Path, ...]) -> Path:
        """Reads one file; returns the folder in which a script that compiles it goes on."""
        self.n_files += 1
        if self.n_files > MAX_FILES or len(self.commands) > MAX_COMMANDS:
            raise ValueError(
                f"{asked_by}: more than {MAX_FILES} redirections or {MAX_COMMANDS} commands"
            )
        if not is_file(path):
            self.unknown.append(f"{asked_by or 'feeder'}: the file {path} does not exist")
            return path.parent
        if path in above:
            self.unknown.append(f"{asked_by}: {path.name} redirects to itself")
            return path.parent
        folder = path.parent
        for where, line in _lines(path):
            parts = self._parts(where, line)
            if not parts:
                continue
            inner, is_compile = self._redirection(parts, where)
            if inner:
                end = self.read(_find(folder, inner), where, (*above, path))
                folder = end if is_compile else folder
            elif self.trust and (moved := self._moved(parts)):
                folder = (folder / moved.replace("\\", "/")).resolve()
            else:
                self._take(parts, where, folder, line)
        return folder

    def _parts(self, where: str, line: str) -> list[Token]:
        """The tokens of a line, none where it cannot be read."""
        try:
            if _CONTROL.search(line):
                raise Unreadable("it has control characters")
            return list(tokens(line))
        except Unreadable as error:
            if not self.trust:
                self.unknown.append(f"{where}: {line!r} cannot be read: {error}")
                return []
        return [Token("", line)]

    def _redirection(self, parts: Sequence[Token], where: str) -> tuple[str, bool]:
        """The file that a line redirects to, empty if it does not, and whether it compiles it."""
        head = parts[0]
        verb = "" if head.name else self._verb(head)
        if verb not in {"redirect", "compile"}:
            return "", False
        if len(parts) < 2:
            self.unknown.append(f"{where}: {head.value} names no file")
            return "", False
        return parts[1].value, verb == "compile"

    def _moved(self, parts: Sequence[Token]) -> str:
        """Folder that a trusted line changes to, empty if it does not.

        The paths of the lines after it start there; what OpenDSS writes does not go there.
        """
        verb = "" if parts[0].name else self._verb(parts[0])
        if verb == "cd" and len(parts) > 1:
            return parts[1].value
        if verb == "set" and len(parts) == 2 and "datapath".startswith(parts[1].name.lower()):
            return parts[1].value if len(parts[1].name) > len("da") else ""
        return ""

    def _verb(self, head: Token) -> str:
        try:
            return self.checker.verb(head)
        except Unknown:
            return ""

    def _take(self, parts: Sequence[Token], where: str, folder: Path, line: str) -> None:
        """Adds a line's command, or what is wrong with it."""
        by_trust = False
        try:
            told = self.checker.tell(parts, folder)
        except Refused as error:
            told, by_trust = Told(), True
            if not self.trust:
                self.refused.append(f"{where}: {error}")
        except Unknown as error:
            told, by_trust = Told(), True
            if not self.trust:
                self.unknown.append(f"{where}: {error}")
        if told.report and not self.trust:
            self.reports.append(f"{where} {line}")
        if self.trust:
            by_trust = by_trust or bool(told.report)
            trusted = self._trusted(parts, folder, line)
            told = trusted if by_trust else told
        if told.text:
            self.commands.append(
                Command(told.text, where, str(folder), line, told.selects, by_trust, told.files)
            )

    def _trusted(self, parts: Sequence[Token], folder: Path, line: str) -> Told:
        """What OpenDSS is told for a trusted line: its own words, unless files are in it."""
        try:
            told = self.trusting.tell(parts, folder)
        except (Refused, Unknown):
            return Told(line)
        return told if told.files else Told(line)

    def complain(self) -> None:
        """Raises ValueError if anything is wrong."""
        messages = list(self.unknown)
        if len(self.refused) == 1:
            messages.append(f"{self.refused[0]} {_REFUSED}; {_HINT}")
        elif self.refused:
            messages.append(
                f"{len(self.refused)} lines are refused, each {_REFUSED[len('is refused, ') :]}:\n"
                f"{_shown(self.refused, chr(10))}\n{_HINT}"
            )
        if messages:
            raise ValueError(_shown(messages, "\n"))


_REFUSED = "is refused, as it may write files or run programs"
_HINT = (
    "pass trust=True (on the command line: --option trust=true) if you know where the feeder "
    "comes from"
)


def _shown(lines: Sequence[str], separator: str) -> str:
    """The first lines, and how many more there are."""
    more = len(lines) - MAX_SHOWN
    shown = [*lines[:MAX_SHOWN], f"and {more} more"] if more > 0 else lines
    return separator.join(shown)


def _find(folder: Path, name: str) -> Path:
    """The file of a redirection; backslashes are separators and ``.dss`` may be left out."""
    path = folder / name.replace("\\", "/")
    with_suffix = path.with_name(f"{path.name}.dss")
    return (with_suffix if not is_file(path) and is_file(with_suffix) else path).resolve()


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """File and line of each line that is not blank and not in a block of comments, and its text."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    in_block = False
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        in_block = in_block or line.lstrip().startswith("/*")
        if in_block:
            in_block = "*/" not in line
            continue
        command = line.strip(f", \t{_FILE_END}")
        if command:
            yield f"{path.name}:{number}", command
