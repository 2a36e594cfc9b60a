"""JSON of any size, read so that other threads get their turn.

``json.loads`` lets nobody else run until it is done: a quarter of a second for a body of 16 MiB, a
second for one of empty lists. Here lists are read in pieces, and a list that is longer than any
request may have is refused before its values are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Never

from pydantic_core import from_json

_SPACE = re.compile(r"[ \t\n\r]*")
# Characters of a piece, which takes a millisecond or less.
_PIECE = 16 * 2**10
# Lists and objects in each other.
_DEPTH = 20


class TooLong(ValueError):
    """A list has more values than it may have."""


def loads(text: str, most: int, constant: Callable[[str], Never]) -> Any:
    """As ``json.loads(text, parse_constant=constant)``, but that no list has more than ``most``
    values. Raises JSONDecodeError, RecursionError, ValueError, TooLong."""
    reader = _Reader(text, most, constant)
    value, at = reader.value(reader.space(0), 0)
    at = reader.space(at)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    return value


class _Reader:
    def __init__(self, text: str, most: int, constant: Callable[[str], Never]) -> None:
        self._text, self._most = text, most
        self._decoder = json.JSONDecoder(parse_constant=constant)

    def space(self, at: int) -> int:
        """Behind the blanks."""
        found = _SPACE.match(self._text, at)
        return found.end() if found is not None else at

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """The value that begins there, and where it ends."""
        if depth > _DEPTH:
            raise RecursionError
        first = self._text[at : at + 1]
        if first == "[":
            return self._list(at + 1, depth + 1)
        if first == "{":
            return self._object(at + 1, depth + 1)
        return self._decoder.raw_decode(self._text, at)

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self.space(at)
        if self._text[at : at + 1] == "]":
            return found, at + 1
        singly = 0  # up to here value by value
        while True:
            if at >= singly:
                some, at, singly = self._piece(at)
                found += some
            value, at = self.value(at, depth)
            found.append(value)
            if len(found) > self._most:
                raise TooLong(f"a list has more than {self._most} values")
            at, more = self._next(at, "]")
            if not more:
                return found, at

    def _piece(self, at: int) -> tuple[list[Any], int, int]:
        """Values of a list up to a comma, where the next one begins, and 0. What is before a comma
        may be no whole values, as the comma is within one: then none, and where the piece ends."""
        end = self._text.rfind(",", at, at + _PIECE)
        if end < 0:
            return [], at, at
        try:
            some = from_json(f"[{self._text[at:end]}]", allow_inf_nan=False)
        except ValueError:
            return [], at, end
        # Blanks before a comma are no value.
        return (some, self.space(end + 1), 0) if some else ([], at, end)

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self.space(at)
        if self._text[at : at + 1] == "}":
            return found, at + 1
        while True:
            if self._text[at : at + 1] != '"':
                words = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(words, self._text, at)
            name, at = self._decoder.raw_decode(self._text, at)
            at = self.space(at)
            if self._text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", self._text, at)
            found[name], at = self.value(self.space(at + 1), depth)
            at, more = self._next(at, "}")
            if not more:
                return found, at

    def _next(self, at: int, end: str) -> tuple[int, bool]:
        """Behind the comma, or behind the end."""
        at = self.space(at)
        mark = self._text[at : at + 1]
        if mark == ",":
            return self.space(at + 1), True
        if mark == end:
            return at + 1, False
        raise json.JSONDecodeError("Expecting ',' delimiter", self._text, at)
