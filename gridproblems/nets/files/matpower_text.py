"""Reads MATPOWER case files (``.m``) as data: a file's text is never handed to an interpreter.

Case files are MATLAB functions. What they hold is assignments of numbers, matrices and lists of
texts, sometimes followed by arithmetic on whole columns (kW to MW, ohm to p.u.). These are read by
a small grammar with numbers, columns, ``+ - * / ^`` and five functions; anything else is refused
with its line, since leaving it out would change the grid silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gridproblems.state import FloatArray

MAX_ELEMENTS = 20_000_000  # of all matrices
MAX_DEPTH = 40
_BUS = "BUS_I BUS_TYPE PD QD GS BS BUS_AREA VM VA BASE_KV ZONE VMAX VMIN"
_BRANCH = "F_BUS T_BUS BR_R BR_X BR_B RATE_A RATE_B RATE_C TAP SHIFT BR_STATUS"
_GEN = "GEN_BUS PG QG QMAX QMIN VG MBASE GEN_STATUS PMAX PMIN"
#: Named columns of MATPOWER's lists of them, from 1.
COLUMNS: dict[str, dict[str, int]] = {
    function: {name: i for i, name in enumerate(names.split(), start=1)}
    for function, names in (
        ("idx_bus", _BUS),
        ("idx_brch", _BRANCH),
        ("idx_gen", _GEN),
        ("idx_cost", "MODEL STARTUP SHUTDOWN NCOST COST"),
    )
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "acos": np.arccos,
}
_CONSTANTS = {"pi": math.pi, "Inf": math.inf, "inf": math.inf, "NaN": math.nan, "nan": math.nan}
_NUMBER = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?|[Ii]nf|NaN|nan)")
_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)"
    r"|(?P<operator>\.[*/^]|[-+*/^():,\[\]])|(?P<space>\s+)"
)
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)(?P<place>\([^=()]*\))?\s*=(?!=)")
_INDICES = re.compile(r"\[(?P<names>[^\]=]*)\]\s*=\s*(?P<function>idx_\w+)\s*")
_FUNCTION = re.compile(r"function\b[^\n]*")
_SWITCHED_OFF = re.compile(r"if[ \t]*\(?[ \t]*(?P<name>[A-Za-z]\w*)[ \t]*\)?[ \t]*[,;]?[ \t]*\n")
_INNER = re.compile(
    r"^[ \t]*(?P<word>if|for|while|switch|try|else|elseif|end|endif)\b", re.MULTILINE
)
_END = re.compile(r"(end|endfunction|return)\b")


class NotData(ValueError):
    """A statement that is no data, with its line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


@dataclass
class Fields:
    """What a case file assigns.

    Attributes:
        values: Name without that of the struct -> number, matrix of shape (rows, columns), text,
            or list of texts.
        computed: Columns that arithmetic in the file changed.
    """

    values: dict[str, Any] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)


def read_fields(text: str) -> Fields:
    """The assignments in the text of a case file.

    Raises:
        NotData: Anything that is no data; the message names the line.
    """
    return _Reader(_without_comments(text)).read()


def _without_comments(text: str) -> str:
    """The text with comments and continuations made blank; lines keep their numbers."""
    lines, depth = [], 0
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        bare = line.strip()
        if bare in ("%{", "#{"):
            depth += 1
        elif bare in ("%}", "#}") and depth:
            depth -= 1
        elif not depth:
            lines.append(_before_comment(line))
            continue
        lines.append("")
    return "\n".join(lines)


def _before_comment(line: str) -> str:
    """A line without its comment; an ellipsis, which goes on in the next one, stays."""
    if "%" not in line and "..." not in line:
        return line
    quote = ""
    for i, c in enumerate(line):
        if quote:
            quote = "" if c == quote else quote
        elif c == '"' or (c == "'" and (not i or line[i - 1] in " \t{[(,;=")):
            quote = c
        elif c == "%":
            return line[:i]
        elif line.startswith("...", i):
            return line[: i + 3]
    return line


class _Reader:
    """Goes through a text from statement to statement."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._found = Fields()
        self._numbers: dict[str, float] = {}  # names of columns and of the file's own numbers
        self._struct = ""
        self._elements = 0

    def read(self) -> Fields:
        while self._skip():
            self._statement()
        return self._found

    def _skip(self) -> bool:
        """Goes to the next statement, False at the end."""
        found = re.compile(r"(?:\s|;|,|\.\.\.)*").match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)

    def _line(self, at: int | None = None) -> int:
        return self._text.count("\n", 0, self._at if at is None else at) + 1

    def _statement(self) -> None:
        if found := _FUNCTION.match(self._text, self._at):
            if self._found.values:
                raise NotData(self._line(), "a second function; expected one case per file")
            self._at = found.end()
            return
        if (found := _END.match(self._text, self._at)) or (
            found := _INDICES.match(self._text, self._at)
        ):
            if "function" in found.groupdict():
                self._name_columns(found["names"], found["function"])
            self._at = found.end()
            return
        if found := _SWITCHED_OFF.match(self._text, self._at):
            self._skip_block(found)
            return
        found = _ASSIGNMENT.match(self._text, self._at)
        if not found:
            raise NotData(
                self._line(),
                f"{_shown(self._text[self._at :])} is no data, and nothing in a file is run; let "
                "MATPOWER evaluate it and save the result with savecase",
            )
        start, self._at = self._at, found.end()
        self._spaces()
        name = self._own_name(found["name"])
        following = self._text[self._at : self._at + 1]
        if found["place"] is not None:
            self._set_columns(name, found["place"], start)
        elif following == "[":
            self._found.values[name] = self._matrix(name)
        elif following == "{":
            self._found.values[name] = self._texts(name)
        elif following in ("'", '"'):
            self._found.values[name] = self._quoted()
        else:
            value = self._expression(start)
            if np.ndim(value):
                raise NotData(self._line(start), f"{name}: expected a number")
            self._numbers[found["name"]] = self._found.values[name] = float(value)

    def _skip_block(self, found: re.Match[str]) -> None:
        """``if name ... end`` where the file itself has set the name to 0."""
        inner = _INNER.search(self._text, found.end())
        is_off = self._numbers.get(found["name"]) == 0.0
        if not is_off or inner is None or not inner["word"].startswith("end"):
            raise NotData(
                self._line(), f"{_shown(found[0])} is no data, and nothing in a file is run"
            )
        self._at = inner.end()

    def _spaces(self) -> None:
        found = re.compile(r"(?:[ \t]|\.\.\.[ \t]*\n)*").match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _own_name(self, name: str) -> str:
        """A name without that of the struct, which is that of the first dotted name."""
        struct, dot, rest = name.partition(".")
        if not dot:
            return name
        self._struct = self._struct or struct
        if struct != self._struct:
            raise NotData(self._line(), f"{name}: a field of another struct than {self._struct}")
        return rest

    def _name_columns(self, names: str, function: str) -> None:
        """``[PQ, PV, ...] = idx_bus``: the names stand for MATPOWER's columns."""
        if function not in COLUMNS:
            raise NotData(self._line(), f"{function} is no list of columns that is known")
        known = COLUMNS[function]
        for name in re.split(r"[\s,]+", names.replace("...", " ").strip()):
            if name in known:
                self._numbers[name] = known[name]

    def _matrix(self, name: str) -> FloatArray:
        """``[1 2; 3 4]`` of plain numbers."""
        start = self._at
        end = self._text.find("]", start)
        if end < 0:
            raise NotData(self._line(start), f"{name}: the matrix has no end")
        content = self._text[start + 1 : end]
        self._at = end + 1
        if self._text[self._at : self._at + 1] == "'":
            raise NotData(self._line(end), f"{name}: transposed matrices are not read")
        rows: list[list[float]] = []
        is_plain = content.isascii() and "_" not in content  # Python reads more as numbers
        for offset, row in _rows(content):
            numbers = row.replace(",", " ").split()
            if not numbers:
                continue
            try:
                if not is_plain:
                    raise ValueError
                rows.append([float(word) for word in numbers])
            except ValueError:
                line = self._line(start + 1 + offset)
                rows.append([self._entry(name, word, line) for word in numbers])
            if len(rows[-1]) != len(rows[0]):
                raise NotData(
                    self._line(start + 1 + offset),
                    f"{name}: expected {len(rows[0])} numbers as in the first row, got "
                    f"{len(rows[-1])}",
                )
            self._elements += len(numbers)
            if self._elements > MAX_ELEMENTS:
                raise NotData(self._line(start + 1 + offset), "the matrices are too large")
        width = len(rows[0]) if rows else 0
        return np.array(rows, dtype=float).reshape(len(rows), width)

    def _entry(self, name: str, word: str, line: int) -> float:
        """A number, also as arithmetic without blanks, ``135/sqrt(3)``."""
        if _NUMBER.fullmatch(word) and len(word) <= 400:
            return float(word.replace("d", "e").replace("D", "e"))
        try:
            with np.errstate(all="ignore"):
                return float(_Arithmetic(word, line, self._numbers, self._value).value())
        except (NotData, TypeError):
            raise NotData(line, f"{name}: {_shown(word)} is no number") from None

    def _texts(self, name: str) -> list[str]:
        """``{'a'; 'b'}``; numbers among them as they are written."""
        start = self._at
        found: list[str] = []
        self._at += 1
        while True:
            skipped = re.compile(r"(?:\s|[;,]|\.\.\.)*").match(self._text, self._at)
            self._at = skipped.end() if skipped else self._at
            c = self._text[self._at : self._at + 1]
            if c == "}":
                self._at += 1
                return found
            if c in ("'", '"'):
                found.append(self._quoted())
            elif number := _NUMBER.match(self._text, self._at):
                found.append(number[0])
                self._at = number.end()
            else:
                raise NotData(
                    self._line() if c else self._line(start),
                    f"{name}: expected a list of texts, got {_shown(self._text[self._at :])}"
                    if c
                    else f"{name}: the list has no end",
                )

    def _quoted(self) -> str:
        quote, start = self._text[self._at], self._at
        end = start + 1
        while True:
            end = self._text.find(quote, end)
            if end < 0 or "\n" in self._text[start:end]:
                raise NotData(self._line(start), "a text without end")
            if self._text[end + 1 : end + 2] != quote:
                break
            end += 2
        self._at = end + 1
        return self._text[start + 1 : end].replace(quote * 2, quote)

    # -- arithmetic -----------------------------------------------------------------------------

    def _set_columns(self, name: str, place: str, start: int) -> None:
        """``mpc.bus(:, [PD, QD]) = expression``."""
        columns = self._columns(name, place, start)
        value = self._expression(start)
        matrix = self._found.values[name]
        if np.ndim(value) and np.shape(value) != (len(matrix), len(columns)):
            raise NotData(self._line(start), f"{name}: the columns have another shape")
        matrix[:, columns] = value
        words = place.strip("()").partition(",")[2].strip(" []")
        self._found.computed.append(f"{name} {words}")

    def _columns(self, name: str, place: str, start: int) -> list[int]:
        """``(:, [PD, QD])`` of a matrix as column numbers from 0."""
        rows, _, words = place.strip()[1:-1].partition(",")
        matrix = self._found.values.get(name)
        numbers = [self._numbers.get(w, w) for w in words.strip(" []").replace(",", " ").split()]
        try:
            columns = [int(n) - 1 for n in numbers]
        except ValueError:
            columns = []
        if (
            not isinstance(matrix, np.ndarray)
            or rows.strip() != ":"
            or not columns
            or min(columns) < 0
        ):
            raise NotData(self._line(start), f"{name}{place}: expected columns such as (:, PD)")
        if max(columns) >= matrix.shape[1]:
            raise NotData(self._line(start), f"{name}{place}: {name} has {matrix.shape[1]} columns")
        return columns

    def _expression(self, start: int) -> Any:
        """The value of the arithmetic up to the end of the line."""
        end = self._at
        while True:
            found = re.compile(r"[^;\n]*").match(self._text, end)
            end = found.end() if found else len(self._text)
            if self._text[:end].rstrip(" \t").endswith("...") and end < len(self._text):
                end += 1
                continue
            break
        source = self._text[self._at : end].replace("...", " ")
        line = self._line(start)
        self._at = end
        parser = _Arithmetic(source, line, self._numbers, self._value)
        with np.errstate(all="ignore"):
            return parser.value()

    def _value(self, name: str, arguments: str | None, line: int) -> Any:
        """A field of the struct: a number, an element or columns of a matrix."""
        own = name.partition(".")[2] if "." in name else name
        found = self._found.values.get(own)
        if arguments is None:
            if isinstance(found, float):
                return found
            raise NotData(line, f"{name}: expected a number that stands above")
        if not isinstance(found, np.ndarray):
            raise NotData(line, f"{name}: expected a matrix that stands above")
        row, _, column = arguments[1:-1].partition(",")
        if row.strip() == ":":
            return found[:, self._columns(own, arguments, self._at)]
        place = [self._numbers.get(w.strip(), w.strip()) for w in (row, column)]
        try:
            i, j = (int(number) - 1 for number in place)
        except ValueError:
            i = j = -1
        if not (0 <= i < found.shape[0] and 0 <= j < found.shape[1]):
            raise NotData(line, f"{name}{arguments}: expected one element or columns")
        return float(found[i, j])


class _Arithmetic:
    """Recursive descent over a line of arithmetic; values are numbers or columns."""

    def __init__(
        self,
        source: str,
        line: int,
        numbers: dict[str, float],
        field_value: Callable[[str, str | None, int], Any],
    ) -> None:
        self._line, self._numbers, self._field = line, numbers, field_value
        self._source = source
        self._tokens = list(self._split(source))
        self._at, self._depth = 0, 0

    def _split(self, source: str) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(source):
            found = _TOKEN.match(source, at)
            if not found:
                raise NotData(self._line, f"{_shown(source[at:])} is no arithmetic that is read")
            at = found.end()
            if found.lastgroup != "space":
                yield str(found.lastgroup), found[0], found.start()

    def value(self) -> Any:
        result = self._sum()
        if self._at < len(self._tokens):
            raise NotData(self._line, f"unexpected {_shown(self._tokens[self._at][1])}")
        return result

    def _next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str, int]:
        if self._at >= len(self._tokens):
            raise NotData(self._line, f"{_shown(self._source)}: expected a number")
        self._at += 1
        return self._tokens[self._at - 1]

    def _sum(self) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotData(self._line, "too many brackets")
        result = self._product()
        while self._next() in ("+", "-"):
            operator, other = self._take()[1], self._product()
            result = result + other if operator == "+" else result - other
        self._depth -= 1
        return result

    def _product(self) -> Any:
        result = self._power()
        while self._next() in ("*", "/", ".*", "./"):
            operator, other = self._take()[1], self._power()
            if operator in ("*", "/") and np.ndim(other) and (np.ndim(result) or operator == "/"):
                raise NotData(self._line, "products of matrices are not read; use .* and ./")
            if np.ndim(result) and np.ndim(other) and np.shape(result) != np.shape(other):
                raise NotData(self._line, "columns of another shape")
            result = np.multiply(result, other) if "*" in operator else np.divide(result, other)
        return result

    def _power(self) -> Any:
        sign = 1.0
        while self._next() in ("+", "-"):
            sign = -sign if self._take()[1] == "-" else sign
        result = self._atom()
        while self._next() in ("^", ".^"):
            self._take()
            inner = 1.0
            while self._next() in ("+", "-"):
                inner = -inner if self._take()[1] == "-" else inner
            result = np.power(result, inner * self._atom())
        return sign * result

    def _atom(self) -> Any:
        kind, text, _ = self._take()
        if kind == "number":
            return float(text)
        if text == "(":
            result = self._sum()
            self._expect(")")
            return result
        if kind != "name":
            raise NotData(self._line, f"unexpected {_shown(text)}")
        if text in _FUNCTIONS and self._next() == "(":
            self._take()
            result = _FUNCTIONS[text](self._sum())
            self._expect(")")
            return result
        if self._next() == "(":
            return self._field(text, self._arguments(), self._line)
        if text in self._numbers:
            return self._numbers[text]
        return _CONSTANTS[text] if text in _CONSTANTS else self._field(text, None, self._line)

    def _arguments(self) -> str:
        """The text of an index, without brackets inside."""
        start = self._take()[2]
        end = self._source.find(")", start)
        while self._next() and self._next() != ")":
            self._take()
        self._expect(")")
        return self._source[start : end + 1]

    def _expect(self, text: str) -> None:
        if self._next() != text:
            raise NotData(self._line, f"expected {text}")
        self._take()


def _rows(content: str) -> Iterator[tuple[int, str]]:
    """Rows of a matrix with their offsets; an ellipsis joins two lines."""
    joined = re.sub(r"\.\.\.[ \t]*\n", lambda m: " " * len(m[0]), content)
    at = 0
    for row in re.split(r"[;\n]", joined):
        yield at, row
        at += len(row) + 1


def _shown(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    line = "".join(c if c.isprintable() else " " for c in line)
    return repr(line if len(line) <= 50 else f"{line[:47]}...")
