"""An OpenDSS script as a list of commands, read with the files it redirects to and checked.

A feeder file is a program: OpenDSS runs its commands as they come, and some of them write, delete
or run things. Only commands, options and properties that describe or solve a circuit pass; what
passes is run as it was read here, not from the file once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OBJECT_VERBS = frozenset({"new", "edit", "more", "m", "~", "batchedit"})
OPTION_VERBS = frozenset({"set", "solve"})
PLAIN_VERBS = frozenset(
    {
        "?",
        "addbusmarker",
        "allocateloads",
        "buildy",
        "buscoords",
        "calcv",
        "calcvoltagebases",
        "clear",
        "clearall",
        "clearbusmarkers",
        "close",
        "disable",
        "enable",
        "init",
        "interpolate",
        "latlongcoords",
        "makebuslist",
        "open",
        "reset",
        "select",
        "setbusxy",
        "setkvbase",
        "setloadandgenkv",
    }
)
REDIRECT_VERBS = frozenset({"redirect", "compile"})
OPTIONS = frozenset(
    {
        "%growth",
        "%mean",
        "%normal",
        "%stddev",
        "algorithm",
        "allocationfactors",
        "allowduplicates",
        "basefrequency",
        "cfactors",
        "cktmodel",
        "controlmode",
        "defaultbasefrequency",
        "defaultdaily",
        "defaultyearly",
        "earthmodel",
        "emergvmaxpu",
        "emergvminpu",
        "frequency",
        "genmult",
        "h",
        "hour",
        "ldcurve",
        "loadmodel",
        "loadmult",
        "loadshapeclass",
        "longlinecorrection",
        "markcapacitors",
        "markercode",
        "markpvsystems",
        "markregulators",
        "markswitches",
        "marktransformers",
        "maxcontroliter",
        "maxiterations",
        "miniterations",
        "mode",
        "neglectloady",
        "nodewidth",
        "normvmaxpu",
        "normvminpu",
        "number",
        "random",
        "sec",
        "stepsize",
        "switchmarkercode",
        "time",
        "tolerance",
        "transmarkercode",
        "transmarkersize",
        "trapezoidal",
        "voltagebases",
        "year",
        "zonelock",
    }
)
#: Properties that load programs or write files. OpenDSS takes beginnings of names for the whole.
REFUSED_PROPERTIES = ("action", "debugtrace", "dynadata", "dynadll", "userdata", "usermodel")
HARMLESS_ACTIONS = frozenset({"clear", "close", "normalize", "open", "reset", "trip"})
#: No class has one of `REFUSED_PROPERTIES` among its first two, which may come without a name.
MAX_UNNAMED = 2

_TOKEN = re.compile(
    r"""\s*,?\s*
    (?:(?P<name>(?:(?!//)[^\s=,!"'(\[{])+)\s*=\s*)?
    (?P<value>"[^"]*"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|(?:(?!//)[^\s,=!])+)""",
    re.VERBOSE,
)
_QUOTES = "\"'()[]{}"
_COMMENT = re.compile(
    r"""(?:"[^"]*"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|(?!//)[^!])*""", re.VERBOSE
)


@dataclass(frozen=True)
class Command:
    """One line of a script.

    Attributes:
        text: What OpenDSS is told.
        where: File and line, for messages.
        folder: Where paths in the line start, empty if it has none.
    """

    text: str
    where: str = ""
    folder: str = ""

    @property
    def edited(self) -> str:
        """The object that an ``Edit`` names and OpenDSS passes over if it does not exist."""
        if not self.text.lower().startswith("edit"):
            return ""
        (_, verb), *rest = _tokens(self.text)
        return rest[0][1] if verb.lower() == "edit" and rest else ""


def read_script(path: Path, trust: bool) -> tuple[Command, ...]:
    """The commands of a script and of the files it redirects to, in the order they run.

    Args:
        path: The master file.
        trust: Let every command pass, also those that write files or run programs.

    Raises:
        ValueError: A file is missing, redirects to itself, or has a command that is not for
            circuits; the message names file and line.
    """
    commands, _ = _read(path.expanduser().resolve(), trust, "", ())
    return commands


def _read(
    path: Path, trust: bool, asked_by: str, above: tuple[Path, ...]
) -> tuple[tuple[Command, ...], Path]:
    """Commands of one file, and the folder in which a script that compiles it goes on."""
    if not path.is_file():
        raise ValueError(f"{asked_by or 'feeder'}: the file {path} does not exist")
    if path in above:
        raise ValueError(f"{asked_by}: {path.name} redirects to itself")
    commands: list[Command] = []
    folder = path.parent
    for where, line in _lines(path):
        tokens = list(_tokens(line))
        name, verb = tokens[0] if tokens else ("", "")
        if not name and verb.lower() in REDIRECT_VERBS:
            if len(tokens) < 2:
                raise ValueError(f"{where}: {verb} names no file")
            found = _find(folder, tokens[1][1])
            inner, end = _read(found, trust, where, (*above, path))
            commands += inner
            if verb.lower() == "compile":
                folder = end
            continue
        if not trust:
            if _TOKEN.sub("", line).strip(", \t"):
                raise ValueError(f"{where}: {line!r} cannot be read: expected name=value pairs")
            _check(tokens, where)
        commands.append(Command(line, where, str(folder)))
    return tuple(commands), folder


def _find(folder: Path, name: str) -> Path:
    """The file of a redirection; backslashes are separators and ``.dss`` may be left out."""
    path = folder / name.replace("\\", "/")
    with_suffix = path.with_name(f"{path.name}.dss")
    return with_suffix.resolve() if not path.is_file() and with_suffix.is_file() else path.resolve()


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """File and line of each command, and its text without comments."""
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
        match = _COMMENT.match(line)
        command = match.group().strip(", \t") if match else ""
        if command:
            yield f"{path.name}:{number}", command


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Name and value pairs of a command, the name empty where there is none."""
    for match in _TOKEN.finditer(text):
        value = match["value"]
        if value[0] in _QUOTES:
            value = value[1:-1]
        yield (match["name"] or "").lower(), value.strip()


def _check(tokens: list[tuple[str, str]], where: str) -> None:
    """Raises ValueError for what is not on the lists."""
    (name, verb), *rest = tokens
    verb = verb.lower()
    if any("@" in part for token in tokens for part in token):
        raise _refused(where, "variables (@)")
    if name:
        _check_property(name.rpartition(".")[2], tokens[0][1], where)
        _check_properties(rest, where, MAX_UNNAMED)
    elif verb in OBJECT_VERBS:
        named = verb in {"new", "edit", "batchedit"}
        _check_properties(rest[1:] if named else rest, where, MAX_UNNAMED if named else 0)
    elif verb in OPTION_VERBS:
        for option, _ in rest:
            if option not in OPTIONS:
                raise _refused(where, f"the option {option!r}" if option else "a nameless option")
    elif verb not in PLAIN_VERBS:
        raise _refused(where, f"the command {verb!r}")


def _check_properties(tokens: list[tuple[str, str]], where: str, n_unnamed: int) -> None:
    for place, (name, value) in enumerate(tokens):
        if name:
            _check_property(name, value, where)
            n_unnamed = 0
        elif place >= n_unnamed:
            raise _refused(where, f"the value {value!r} without the name of its property")


def _check_property(name: str, value: str, where: str) -> None:
    for refused in REFUSED_PROPERTIES:
        if refused.startswith(name) and value.lower() not in HARMLESS_ACTIONS:
            raise _refused(where, f"the property {name!r}")


def _refused(where: str, what: str) -> ValueError:
    return ValueError(
        f"{where}: {what} is refused, as it may write files or run programs; "
        "pass trust=True if you know where the feeder comes from"
    )
