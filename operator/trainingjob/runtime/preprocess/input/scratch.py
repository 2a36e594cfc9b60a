"""Files written anew so that both engines can read them: unpacked, in UTF-8, as plain CSV.

They lie beside the stage's output, under a hidden name: Spark's executors see the claim that the
output is on, and not this pod's /tmp, which is also the smaller of the two. Of a try that was
killed the next one removes them.
"""

from __future__ import annotations

import codecs
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ...base.errors import StageFailure, storage_errors
from ...storage import discard
from . import packing
from .encodings import UTF8, open_text, refuse_utf8_as
from .files import Source
from .packing import (
    MOST_TIMES,
    SUFFIXES,
    members_of,
    open_bytes,
    packing_errors,
    packing_of,
)

_CHUNK = 2**20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARKS = {codecs.BOM_UTF8: "utf-8", **dict.fromkeys(_UTF16_MARKS, "utf-16")}
# Of the disk so much stays free for others, or as much as was written, whichever is less.
_KEPT_FREE = 0.05
_MOST_MEMBERS = 10_000
# Characters of a name, from its end: of any of them it fits a file system.
_LONGEST_NAME = 60


class Scratch:
    """A folder for such files, made when it is needed; a context that removes it."""

    def __init__(self, beside: Path | None = None) -> None:
        """``beside``: the output; without it, the folder lies where temporary files do."""
        self._folder = beside.parent / f".{beside.name}.reading" if beside else None
        self._made: Path | None = None
        self._origin: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.remove()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Also what a try before has left. Raises StageFailure, OSError."""
        for folder in (self._folder, self._made):
            if folder is not None:
                discard(folder)
        self._made = None

    def place(self, name: str, origin: str) -> Path:
        """Where to write what comes from ``origin``: a path of its own."""
        name = name[-_LONGEST_NAME:]
        with storage_errors("unpack the input"):
            if self._made is None:
                if self._folder is None:
                    self._made = Path(tempfile.mkdtemp(prefix="trainingjob-"))
                else:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._made = self._folder
            folder = self._made / str(len(self._origin))
            folder.mkdir()
        self._origin[str(folder / name)] = origin
        return folder / name

    def named(self, message: str) -> str:
        """A message that names the user's files and not those here."""
        for path, origin in reversed(self._origin.items()):
            message = message.replace(path, origin)
        return message

    def write(self, name: str, origin: str, pieces: Iterable[bytes], budget: Budget) -> Path:
        """A file of these pieces, which is there when all of it is. Raises StageFailure."""
        target = self.place(name, origin)
        aside = target.with_name(f".{target.name}")
        with storage_errors("write the input anew"), aside.open("wb") as out:
            for piece in pieces:
                out.write(piece)
                budget.spend(len(piece), target.parent)
            out.close()
            aside.replace(target)
        return target


class Budget:
    """How much may come out of packed files: no table is packed to a thousandth, and the disk is
    others', too."""

    def __init__(self, file: Path) -> None:
        self._file, self._packed, self._written = file, file.stat().st_size, 0

    def spend(self, count: int, folder: Path) -> None:
        """So many bytes were written to ``folder``; raises StageFailure."""
        self._written += count
        if self._written > max(packing.SURELY_FINE, MOST_TIMES * self._packed):
            raise StageFailure(
                "InputUnreadable",
                f"{self._file} of {self._packed} bytes unpacks to more than {self._written}: "
                f"over {MOST_TIMES} times its size, which no table does",
            )
        disk = shutil.disk_usage(folder)
        if disk.free < min(_KEPT_FREE * disk.total, self._written):
            raise StageFailure(
                "DiskFull",
                f"{self._file} does not fit on the disk when it is written anew: {folder} has "
                f"{disk.free >> 20} MiB left after {self._written >> 20} MiB of it",
            )


def unpacked(source: Source, scratch: Scratch, *, native: Sequence[str] = ()) -> Source:
    """The same files with all that is packed written to ``scratch``, but for ``native`` packings
    that the engine reads itself. Raises StageFailure(InputUnreadable, DiskFull)."""
    found: dict[Path, list[Path]] = {}
    for file in source.files:
        packing = packing_of(file)
        if packing is None or _is_native(file, packing, native):
            continue
        budget = Budget(file)
        if packing == "zip":
            found[file] = list(_members(file, scratch, budget))
            continue
        name = file.stem if file.suffix.lower() in SUFFIXES else file.name
        with packing_errors(file), open_bytes(file) as stream:
            found[file] = [scratch.write(name, str(file), _chunks(stream), budget)]
    for file, parts in found.items():
        for part in parts:
            if (packing := packing_of(part)) and not _is_native(part, packing, native):
                words = f"{file} is packed twice, {packing} in it; unpack it once"
                raise StageFailure("InputUnreadable", words)
    return source.replaced(found) if found else source


def _is_native(file: Path, packing: str, native: Sequence[str]) -> bool:
    return packing in native and SUFFIXES.get(file.suffix) == packing


def in_utf8(source: Source, encoding: str | None, scratch: Scratch) -> Source:
    """The same files in UTF-8. Raises StageFailure(InputNotUtf8, InputMalformed, DiskFull)."""
    if encoding in (None, *UTF8):
        return source
    found = {}
    for file in source.files:
        if not encoding.startswith("utf-16"):
            refuse_utf8_as(file, encoding)
        found[file] = [_rewritten(file, encoding, scratch)]
    return source.replaced(found)


def without_marks(source: Source, scratch: Scratch) -> Source:
    """The same files in UTF-8, where a byte order mark says which encoding they have: no engine
    takes JSON with one. Raises StageFailure(InputNotUtf8, DiskFull)."""
    found = {}
    for file in source.files:
        with packing_errors(file), open_bytes(file) as stream:
            head = stream.read(3)
        encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
        if encoding:
            found[file] = [_rewritten(file, encoding, scratch)]
    return source.replaced(found) if found else source


def _rewritten(file: Path, encoding: str, scratch: Scratch) -> Path:
    with open_text(file, encoding) as text:
        pieces = (part.encode() for part in iter(lambda: text.read(_CHUNK), ""))
        # The name may say that the file is packed, which the new one is not.
        return scratch.write(f"{file.name}.txt", str(file), pieces, Budget(file))


def _members(file: Path, scratch: Scratch, budget: Budget) -> Iterator[Path]:
    members = members_of(file)
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise StageFailure("InputUnreadable", f"{file} has {len(members)} files")
    with packing_errors(file), zipfile.ZipFile(file) as archive:
        for member in members:
            origin = f"{file}, {member.filename}" if len(members) > 1 else str(file)
            try:
                stream = archive.open(member)
            except NotImplementedError as error:
                raise StageFailure("InputUnreadable", f"{file}: {error}") from error
            with stream:
                yield scratch.write(Path(member.filename).name, origin, _chunks(stream), budget)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(_CHUNK), b"")
