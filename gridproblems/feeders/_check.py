"""What a line of a feeder file means to OpenDSS, and whether a stranger may say it.

Every value is resolved to its property by the class's own order, abbreviations by OpenDSS's rule
(the first name that begins so). What passes is written anew, each property by its full name, each
object by its class and name, each file by its whole path: OpenDSS is told what was checked here and
nothing else, however it would have read the line itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gridproblems.feeders._make_names import NAMES_FILE, READ_FILES
from gridproblems.feeders._syntax import CLOSING, Token, Unreadable, tokens

OBJECT_VERBS = frozenset({"new", "edit", "more", "m", "~", "batchedit"})
PLAIN_VERBS = frozenset(
    {
        "addbusmarker",
        "allocateloads",
        "buildy",
        "calcvoltagebases",
        "clear",
        "clearall",
        "clearbusmarkers",
        "close",
        "disable",
        "enable",
        "init",
        "interpolate",
        "makebuslist",
        "open",
        "reprocessbuses",
        "reset",
        "setbusxy",
        "setkvbase",
        "setloadandgenkv",
    }
)
COORDINATE_VERBS = frozenset({"buscoords", "giscoords", "latlongcoords"})
#: Commands that tell or show something and leave the circuit as it is.
REPORT_VERBS = frozenset(
    {
        "?",
        "about",
        "allpceatbus",
        "allpdeatbus",
        "capacity",
        "cktlosses",
        "classes",
        "comhelp",
        "comparecases",
        "currents",
        "di_plot",
        "dump",
        "export",
        "exportoverloads",
        "exportvviolations",
        "fileedit",
        "formedit",
        "get",
        "help",
        "losses",
        "nodediff",
        "nodelist",
        "panel",
        "phaselosses",
        "plot",
        "powers",
        "puvoltages",
        "quit",
        "seqcurrents",
        "seqpowers",
        "seqvoltages",
        "show",
        "summary",
        "top",
        "totalpowers",
        "totals",
        "userclasses",
        "uuids",
        "varnames",
        "varvalues",
        "vdiff",
        "visualize",
        "voltages",
        "yearlycurves",
        "ysc",
        "zsc",
        "zsc012",
        "zsc10",
        "zscrefresh",
        "_showcontrolqueue",
    }
)
OPTIONS = frozenset(
    {
        "%growth",
        "%mean",
        "%normal",
        "%stddev",
        "algorithm",
        "allocationfactors",
        "basefrequency",
        "capmarkercode",
        "capmarkersize",
        "cfactors",
        "cktmodel",
        "controlmode",
        "daisysize",
        "defaultbasefrequency",
        "defaultdaily",
        "defaultyearly",
        "earthmodel",
        "emergvmaxpu",
        "emergvminpu",
        "frequency",
        "fusemarkercode",
        "fusemarkersize",
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
        "markfuses",
        "markpvsystems",
        "markreclosers",
        "markregulators",
        "markrelays",
        "markstorage",
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
        "numallociterations",
        "number",
        "pricecurve",
        "pricesignal",
        "pvmarkercode",
        "pvmarkersize",
        "random",
        "reclosermarkercode",
        "reclosermarkersize",
        "regmarkercode",
        "regmarkersize",
        "relaymarkercode",
        "relaymarkersize",
        "sampleenergymeters",
        "seasonrating",
        "seasonsignal",
        "sec",
        "stepsize",
        "storemarkercode",
        "storemarkersize",
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
#: Harmonic modes save voltages to a file, AutoAdd keeps a log.
REFUSED_MODES = frozenset({"autoadd", "h", "harmonic", "harmonics", "harmonict"})
MIN_MODE = 2
#: Of the classes whose ``Action`` may also write files.
ACTIONS: dict[str, tuple[str, ...]] = {
    "energymeter": ("clear",),
    "loadshape": ("normalize",),
    "monitor": ("clear", "reset"),
    "priceshape": (),
    "tshape": (),
}
NO = frozenset({"0", "f", "false", "n", "no"})
ARRAY_FILES = frozenset({"dblfile", "file", "sngfile"})
ARRAY_OPTIONS = frozenset({"column", "header"})
ARRAY_QUOTES = "([{"
SPECIAL = "\"'()[]{}="
CIRCUIT_BUS1 = "bus1"  # `New Circuit` names the first property of the source itself


class Refused(ValueError):
    """A line that may write files or run programs."""


class Unknown(ValueError):
    """A line that OpenDSS would not understand."""


@dataclass(frozen=True)
class Names:
    """What OpenDSS knows, in lower case, with the place of each name and of its beginnings."""

    commands: dict[str, str]
    options: tuple[str, ...]
    option_of: dict[str, str]
    modes: tuple[str, ...]
    properties: dict[str, tuple[str, ...]]
    property_of: dict[str, dict[str, str]]
    not_allowed: frozenset[tuple[str, str]]


@cache
def known_names() -> Names:
    """The names of ``data/opendss_names.json``."""
    read = json.loads(NAMES_FILE.read_text(encoding="utf-8"))
    properties, not_allowed = {}, set()
    for kind, listed in read["classes"].items():
        lower = [name.lower() for name in listed]
        properties[kind.lower()] = tuple(name.lstrip("!") for name in lower)
        not_allowed |= {(kind.lower(), name[1:]) for name in lower if name.startswith("!")}
    options = tuple(name.lower() for name in read["options"])
    return Names(
        commands=_beginnings([name.lower() for name in read["commands"]]),
        options=options,
        option_of=_beginnings(options),
        modes=tuple(name.lower() for name in read["modes"]),
        properties=properties,
        property_of={kind: _beginnings(listed) for kind, listed in properties.items()},
        not_allowed=frozenset(not_allowed),
    )


def _beginnings(names: Sequence[str]) -> dict[str, str]:
    """Full names by themselves and by what they begin with; the first name has a beginning."""
    found = {name: name for name in reversed(names)}
    for name in names:
        for length in range(1, len(name)):
            found.setdefault(name[:length], name)
    return found


@dataclass(frozen=True)
class Told:
    """What OpenDSS is told for a line.

    Attributes:
        text: The command, empty if there is nothing to tell.
        selects: Object that must exist, in quotes, for OpenDSS passes over an ``Edit`` of another.
        report: The command if it is a report, which is left out.
        files: Whole paths of the files that it reads, as they are in the text.
    """

    text: str = ""
    selects: str = ""
    report: str = ""
    files: tuple[str, ...] = ()


class Checker:
    """Reads the lines of one feeder in their order and remembers what ``~`` goes on with.

    Args:
        root: Folder of the master file.
        trust: Let every property, option and mode pass.
    """

    def __init__(self, root: Path, trust: bool) -> None:
        self._names = known_names()
        self._root = root
        self._trust = trust
        self._folder = root
        self._files: list[str] = []
        self._object: tuple[str, str] | None = None

    def tell(self, parts: Sequence[Token], folder: Path) -> Told:
        """What OpenDSS is told for a line.

        Args:
            parts: The line, at least one token.
            folder: Where paths start.

        Raises:
            Refused: It may write files or run programs.
            Unknown: OpenDSS would not understand it.
        """
        self._folder, self._files = folder, []
        if any("@" in part for token in parts for part in (token.name, token.value)):
            self._object = None
            raise Refused("variables (@)")
        head = parts[0]
        if head.name:
            return self._property_edit(head, parts[1:])
        verb = self.verb(head)
        if verb in OBJECT_VERBS:
            return self._object_command(verb, parts[1:])
        if verb in {"set", "solve"}:
            if verb == "solve":
                self._object = None
            return Told(f"{verb.capitalize()}{self._options(parts[1:])}")
        if verb in REPORT_VERBS:
            return Told(report=verb)
        if verb == "select":
            kind, name = self._kind_and_name(parts[1:2])
            self._object = (kind, name)
            return Told(f'Select "{kind}.{name}"{_joined(parts[2:])}')
        self._object = None
        if verb in COORDINATE_VERBS:
            return Told(f'{verb} "{self._file(_value(parts, verb))}"', files=tuple(self._files))
        if verb in PLAIN_VERBS:
            for token in parts[1:]:
                self._checked(token)
            return Told(f"{verb.capitalize()}{_joined(parts[1:])}")
        raise Refused(f"the command {head.value!r}")

    def verb(self, head: Token) -> str:
        """The command that a first token is an abbreviation of.

        Raises:
            Unknown: There is no such command.
        """
        verb = self._names.commands.get(head.value.lower())
        if verb is None:
            raise Unknown(f"no command is called {head.value!r}")
        return verb

    def _object_command(self, verb: str, parts: Sequence[Token]) -> Told:
        if verb in {"more", "m", "~"}:
            if self._object is None:
                raise Refused(f"{verb} after no object")
            kind, name = self._object
            text = f'Edit "{kind}.{name}"{self._properties(kind, parts)}'
            return Told(text, files=tuple(self._files))
        self._object = None
        kind, name = self._kind_and_name(parts[:1])
        if kind == "circuit":
            if verb != "new":
                return Told()  # OpenDSS does nothing
            self._object = ("vsource", "source")
            text = f'New "circuit.{name}"{self._properties("vsource", parts[1:], CIRCUIT_BUS1)}'
            return Told(text, files=tuple(self._files))
        if verb != "batchedit":
            self._object = (kind, name)
        selects = f'"{kind}.{name}"' if verb == "edit" else ""
        text = f'{verb.capitalize()} "{kind}.{name}"{self._properties(kind, parts[1:])}'
        return Told(text, selects, files=tuple(self._files))

    def _property_edit(self, head: Token, others: Sequence[Token]) -> Told:
        """``Class.Name.Property=value``; the unnamed values after it follow that property."""
        self._object = None
        kind, first, rest = head.name.partition(".")
        name, second, wanted = rest.partition(".")
        if not (first and second):
            raise Unknown(f"{head.name!r}: expected Class.Name.Property=value")
        _check_name(name)
        kind = self._kind(kind)
        self._object = (kind, name)
        parts = [Token(wanted, head.value, head.quote), *others]
        text = f'Edit "{kind}.{name}"{self._properties(kind, parts)}'
        return Told(text, f'"{kind}.{name}"', files=tuple(self._files))

    def _kind_and_name(self, parts: Sequence[Token]) -> tuple[str, str]:
        """Class and name of an object, ``Class.Name`` or ``object=Class.Name``."""
        if not parts:
            raise Unknown("expected Class.Name")
        token = parts[0]
        if token.name and not "object".startswith(token.name.lower()):
            raise Unknown(f"expected Class.Name, got {token.name}={token.text}")
        kind, dot, name = token.value.partition(".")
        if not (dot and name):
            raise Unknown(f"{token.value!r}: expected Class.Name")
        _check_name(name)
        return "circuit" if kind.lower() == "circuit" else self._kind(kind), name

    def _kind(self, kind: str) -> str:
        if kind.lower() not in self._names.properties:
            raise Unknown(f"OpenDSS has no class {kind!r}")
        return kind.lower()

    def _properties(self, kind: str, parts: Sequence[Token], after: str = "") -> str:
        """The values with the full names of their properties.

        Args:
            kind: Class of the object.
            parts: The values, named and unnamed.
            after: Property that an unnamed first value follows, empty for the first property.
        """
        order = self._names.properties[kind]
        text = []
        last = order.index(after) if after else -1
        for token in parts:
            if token.name:
                wanted = self._names.property_of[kind].get(token.name.lower())
                if wanted is None:
                    raise Unknown(f"class {kind} has no property {token.name!r}")
                last = order.index(wanted)
            else:
                last += 1
                if last >= len(order):
                    raise Unknown(f"the value {token.text!r} comes after the last property")
            text.append(f" {order[last]}={self._property_value(kind, order[last], token)}")
        return "".join(text)

    def _property_value(self, kind: str, name: str, token: Token) -> str:
        if not self._trust:
            if name == "debugtrace" and token.value.lower() in NO:
                return "no"
            if (kind, name) in self._names.not_allowed:
                raise Refused(f"the property {name} of class {kind}")
            if name == "action" and kind in ACTIONS:
                value = token.value.lower()
                for allowed in ACTIONS[kind]:
                    if allowed.startswith(value):
                        return allowed
                raise Refused(f"action={token.text} of class {kind}")
        elif (kind, name) in self._names.not_allowed:
            found = self._folder / token.value.replace("\\", "/")
            if not is_file(found):
                return token.text
            self._files.append(str(found.resolve()))
            return f'"{self._files[-1]}"'
        if name in READ_FILES:
            return f'"{self._file(token.value)}"'
        return self._checked(token)

    def _options(self, parts: Sequence[Token]) -> str:
        """The options of Set and Solve with their full names."""
        order = self._names.options
        text = []
        last = -1
        for token in parts:
            if token.name:
                wanted = self._names.option_of.get(token.name.lower())
                if wanted is None:
                    raise Unknown(f"Unknown parameter: no option is called {token.name!r}")
                last = order.index(wanted)
            else:
                last += 1
                if last >= len(order):
                    raise Unknown(f"the value {token.text!r} comes after the last option")
            option = order[last]
            if not self._trust and option not in OPTIONS:
                raise Refused(f"the option {option!r}")
            value = self._mode(token) if option == "mode" else self._checked(token)
            text.append(f" {option}={value}")
        return "".join(text)

    def _mode(self, token: Token) -> str:
        """A solution mode, by OpenDSS's rule: a whole name or the first that begins so."""
        value, modes = token.value.lower(), self._names.modes
        found = [mode for mode in modes if mode == value] or [
            mode for mode in modes if len(value) >= MIN_MODE and mode.startswith(value)
        ]
        if not found:
            raise Unknown(f"no solution mode is called {token.value!r}")
        if found[0] in REFUSED_MODES and not self._trust:
            raise Refused(f"the solution mode {found[0]}")
        return found[0]

    def _checked(self, token: Token) -> str:
        """A value as it was, files in it by their whole path.

        Raises:
            Refused: It has quotes inside that do not enclose a part of it, or names other than
                those of files.
        """
        if not token.quote:
            if any(quote in token.value for quote in "\"'"):
                raise Refused(f"the quote inside {token.value!r}")
            return token.value
        if any(character in token.value for character in "\"'="):
            return self._array(token)
        return token.text

    def _array(self, token: Token) -> str:
        try:
            parts = list(tokens(token.value))
        except Unreadable:
            raise Refused(f"the quote inside {token.text!r}") from None
        text = []
        for part in parts:
            names_file = part.name.lower() in ARRAY_FILES
            if any(character in part.value for character in ("\"'" if names_file else SPECIAL)):
                raise Refused(f"the quote inside {token.text!r}")
            if not part.name:
                text.append(part.text)
            elif names_file:
                text.append(f'{part.name}="{self._file(part.value)}"')
            elif any(option.startswith(part.name.lower()) for option in ARRAY_OPTIONS):
                text.append(f"{part.name}={part.text}")
            else:
                raise Refused(f"{part.name}= inside {token.text!r}")
        inner = ", ".join(text)
        for quote in (token.quote, *ARRAY_QUOTES):
            if quote in ARRAY_QUOTES and CLOSING[quote] not in inner:
                return f"{quote}{inner}{CLOSING[quote]}"
        raise Refused(f"the brackets inside {token.text!r}")

    def _file(self, name: str) -> Path:
        """The whole path of a file to read.

        Raises:
            Unknown: There is no such file.
            Refused: It is neither below the folder of the master file nor below that of the script.
        """
        path = (self._folder / name.replace("\\", "/")).resolve()
        inside = any(path.is_relative_to(folder) for folder in (self._root, self._folder))
        if not self._trust and not inside:
            raise Refused(f"reading {name!r}, which is outside the folder {self._root},")
        if not is_file(path):
            raise Unknown(f"the file {path} does not exist")
        if '"' in str(path):
            raise Refused(f"the quote in the path {path}")
        self._files.append(str(path))
        return path


def is_file(path: Path) -> bool:
    """Whether a path is a file; one that is too long or may not be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _check_name(name: str) -> None:
    if '"' in name:
        raise Refused(f"the quote in the name {name!r}")


def _value(parts: Sequence[Token], verb: str) -> str:
    if len(parts) < 2:
        raise Unknown(f"{verb} names no file")
    return parts[1].value


def _joined(parts: Sequence[Token]) -> str:
    return "".join(f" {t.name}={t.text}" if t.name else f" {t.text}" for t in parts)
