"""Commands as names and values, split exactly as OpenDSS splits them (``ParserDel.pas``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

CLOSING = {'"': '"', "'": "'", "(": ")", "[": "]", "{": "}"}
BLANK = " \t"

_UNQUOTED = re.compile(r"(?:[^,= \t!/]|/(?!/))*")
_SPACE = re.compile(r"[ \t]*")


class Token(NamedTuple):
    """A part of a command.

    Attributes:
        name: What stands before the equals sign, empty without one.
        value: What stands after it, without quotes.
        quote: The character that opens the value, empty without quotes.
    """

    name: str
    value: str
    quote: str = ""

    @property
    def text(self) -> str:
        """The value with its quotes."""
        return f"{self.quote}{self.value}{CLOSING[self.quote]}" if self.quote else self.value


class Unreadable(ValueError):
    """OpenDSS would silently read something else: a quote does not close, a value is empty."""


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a command or of a value.

    Raises:
        Unreadable: A quote is not closed, where OpenDSS would read to the end of the line; a value
            is empty, where it would leave out the rest.
    """
    place = _skip(text, 0)
    while place < len(text):
        first, quote, place, delimiter = _token(text, place, " ")
        name = ""
        if delimiter == "=":
            name = first
            first, quote, place, _ = _token(text, place, "=")
        if not first:
            rest = text[place:].lstrip(", \t")
            if name or (rest and not rest.startswith(("!", "//"))):
                raise Unreadable(f"the value before {rest!r} is empty" if rest else "no value")
            return
        yield Token(name, first, quote)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _token(text: str, place: int, delimiter: str) -> tuple[str, str, int, str]:
    """A token, its opening quote, where the next one begins, and what ended it.

    The delimiter before it is kept behind a quoted token: OpenDSS does not look for another.
    """
    quote = text[place] if place < len(text) and text[place] in CLOSING else ""
    if quote:
        end = text.find(CLOSING[quote], place + 1)
        if end < 0:
            raise Unreadable(f"the quote {quote} is not closed")
        token = text[place + 1 : end]
        place = end + 1
    else:
        found = _UNQUOTED.match(text, place)
        assert found is not None  # it matches the empty text
        token, place = found.group(), found.end()
        if place < len(text):
            delimiter = " " if text[place] in BLANK else text[place]
            if delimiter in "!/":
                return token, quote, len(text), "!"
        else:
            delimiter = " "
    if delimiter == " ":
        place = _skip(text, place)
    if place < len(text) and text[place] in ",=":
        delimiter = text[place]
        place += 1
    return token, quote, _skip(text, place), delimiter
