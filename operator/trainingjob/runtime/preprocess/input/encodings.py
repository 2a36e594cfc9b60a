"""Files in other encodings than UTF-8: which one it may be, and where it is not the one named."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...base.errors import StageFailure
from ..names import quoted
from .called import field
from .packing import open_bytes

UTF8 = ("utf-8", "utf-8-sig")

# So much is looked at to guess.
_LOOKED_AT = 4 * 2**20
_OPTION = "options.encoding"


@contextmanager
def open_text(file: Path, encoding: str | None) -> Iterator[IO[str]]:
    """A file for reading, unpacked, line ends as they are.

    Raises StageFailure(InputNotUtf8) with the line where it is not of its encoding."""
    with open_bytes(file) as stream:
        python = "utf-8-sig" if encoding in (None, *UTF8) else encoding
        try:
            yield io.TextIOWrapper(stream, encoding=python, newline="")
        except UnicodeError as error:
            check_encoding(file, encoding)
            raise StageFailure("InputNotUtf8", f"{file}: {error}") from error


def check_encoding(file: Path, encoding: str | None = None, *, option: bool = True) -> None:
    """Raises StageFailure(InputNotUtf8) for the first line that is not of the encoding, with a
    guess of the right one. ``option``: whether the user can name it."""
    codec = codecs.lookup(encoding or "utf-8")
    if codec.name.startswith("utf-16"):
        _check_whole(file, codec.name)
        return
    with open_bytes(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode(codec.name)
            except UnicodeError as error:
                name = "UTF-8" if encoding in (None, *UTF8) else encoding
                message = f"{file}, line {number}: not {name}{_advice(file, line, option)}"
                raise StageFailure("InputNotUtf8", message) from error


def refuse_utf8_as(file: Path, encoding: str) -> None:
    """Raises StageFailure(InputMalformed) for a file of UTF-8 that is to be read in an encoding
    that takes any bytes: "é" would become "Ã©"."""
    with open_bytes(file) as stream:
        head = stream.read(_LOOKED_AT)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeError:
        return
    if not head.isascii() and b"\x00" not in head:
        line = next(line for line in text.splitlines() if not line.isascii())
        raise StageFailure(
            "InputMalformed",
            f"{file} is UTF-8 and not {encoding}: {quoted(_around(line))} in it; remove "
            f"{field(_OPTION)}",
        )


def refuse_utf16(file: Path) -> None:
    """Raises StageFailure(InputNotUtf8) for a file that its zeros show to be UTF-16, though no mark
    says so: each of them is UTF-8, too."""
    guess = _guessed(file, b"")
    if guess and guess.startswith("utf-16"):
        message = f"{file}: not UTF-8 but, it seems, {guess}; set {field(_OPTION)} to {guess}"
        raise StageFailure("InputNotUtf8", message)


def _check_whole(file: Path, codec: str) -> None:
    decoder = codecs.getincrementaldecoder(codec)()
    with open_bytes(file) as stream:
        lines = 1
        try:
            while chunk := stream.read(2**20):
                lines += decoder.decode(chunk).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            guess = _guessed(file, b"")
            other = f"; set {field(_OPTION)} to {guess}" if guess and guess != codec else ""
            message = f"{file}, line {lines} or later: not {codec}{other}"
            raise StageFailure("InputNotUtf8", message) from error


def _advice(file: Path, line: bytes, option: bool) -> str:
    guess = _guessed(file, line)
    if guess is None:
        return f"; set {field(_OPTION)} to the encoding that it was written in" if option else ""
    shown = ""
    if not guess.startswith("utf-16"):
        shown = f": {quoted(_around(line.decode(guess, errors='replace').strip()))} in it"
    what = f" but, it seems, {guess}{shown}"
    return f"{what}; set {field(_OPTION)} to {guess}" if option else what


def _guessed(file: Path, line: bytes) -> str | None:
    with open_bytes(file) as stream:
        head = stream.read(_LOOKED_AT)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    begin = head[:4096]
    for encoding, zeros, others in (
        ("utf-16-le", begin[1::2], begin[::2]),
        ("utf-16-be", begin[::2], begin[1::2]),
    ):
        # Where both are zero a file was only made longer than it is.
        if zeros.count(0) * 2 > len(zeros) > 0 and others.count(0) * 4 < len(others):
            return encoding
    try:
        head.decode("utf-8")
        if not head.isascii() and not line:
            return "utf-8"
    except UnicodeError:
        pass
    high = [byte for byte in head + line if byte >= 0x80]
    if not high:
        return None
    # Of languages in Latin letters few letters in a row are not ASCII.
    dense = _runs(head + line) > 2
    if dense and sum(byte >= 0xC0 for byte in high) > 0.9 * len(high):
        return "cp1251"
    # The first bytes of Japanese syllables; the second ones may be ASCII.
    syllables = sum(byte in (0x82, 0x83) for byte in high) > 0.15 * len(high)
    west = ("shift_jis", "cp1252") if syllables else ("cp1252",)
    for encoding in ("shift_jis", "gb18030", "big5") if dense else west:
        try:
            (head + line).decode(encoding)
        except UnicodeError:
            continue
        has_controls = any(byte < 0xA0 for byte in high)
        return "latin-1" if encoding == "cp1252" and not has_controls else encoding
    return None


def _runs(data: bytes) -> float:
    """How many bytes beyond ASCII stand in a row, in the mean."""
    high = [byte >= 0x80 for byte in data[:65536]]
    begins = sum(now and not before for before, now in zip([False, *high], high, strict=False))
    return sum(high) / begins if begins else 0.0


def _around(line: str) -> str:
    """What stands around the first character beyond ASCII."""
    place = next((i for i, character in enumerate(line) if not character.isascii()), 0)
    return line[max(place - 10, 0) : place + 10]
