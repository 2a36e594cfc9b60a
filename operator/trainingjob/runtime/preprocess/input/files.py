"""The files of an input: where they lie, what their folders say, whether they can be read."""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trainingjob.api.uris import CLAIM, Uri
from trainingjob.api.v1alpha1.input import Input

from ... import storage
from ...base.errors import StageFailure
from ...base.text import listed
from .encodings import check_encoding, refuse_utf16
from .packing import HEAD_BYTES, open_bytes, packing_errors, packing_of, refuse_other_kinds

# Folders of one table, each a query of its own.
_MOST_PARTS = 1000

# What Windows leaves in folders.
_OF_WINDOWS = ("thumbs.db", "desktop.ini")

# What is in the folder of a table that keeps its earlier versions: whose it is, and what writes the
# rows as they are.
_VERSIONED = {
    ("_delta_log", "*.json"): (
        "Delta Lake",
        "deltalake.DeltaTable(PATH).to_pandas().to_parquet(…)",
    ),
    ("metadata", "*[0-9]*.metadata.json"): (
        "Iceberg",
        "pyiceberg's StaticTable.from_metadata(PATH).scan().to_pandas().to_parquet(…)",
    ),
    (".hoodie", "hoodie.properties"): (
        "Hudi",
        "spark.read.format('hudi').load(PATH).write.parquet(…)",
    ),
}

# How Hive writes a null in the name of a folder.
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

# Values of the partition columns, as their folders' names have them.
Partition = Mapping[str, str | None]


@dataclass(frozen=True)
class Source:
    """Files that hold the input, in the order of their names.

    ``partitions``: for each file the values that the folders KEY=VALUE above it give to columns;
    None for null. ``whole``: the size of the input that this is a part of; ``empty``: how many
    files are left out as there is nothing in them."""

    uri: str
    files: list[Path]
    partitions: Mapping[Path, Partition] = field(default_factory=dict)
    whole: int = 0
    empty: int = 0

    @property
    def paths(self) -> list[str]:
        """The same as text."""
        return [str(file) for file in self.files]

    @property
    def size(self) -> int:
        """Bytes, as they lie on the disk."""
        return self.whole or sum(file.stat().st_size for file in self.files)

    @property
    def keys(self) -> list[str]:
        """The names of the partition columns."""
        return list(next(iter(self.partitions.values()), {}))

    def part(self, files: Sequence[Path]) -> Source:
        """Some of the files."""
        partitions = {file: self.partitions[file] for file in files if file in self.partitions}
        return Source(self.uri, list(files), partitions, self.size)

    def replaced(self, others: Mapping[Path, Sequence[Path]]) -> Source:
        """The source with some files replaced by others that hold the same."""
        found = {file: others.get(file, [file]) for file in self.files}
        files = [new for file in self.files for new in found[file]]
        partitions = {
            new: values for file, values in self.partitions.items() for new in found[file]
        }
        return Source(self.uri, files, partitions, empty=self.empty)

    def parts(self, groups: Mapping[Path, Any] | None = None) -> list[Source]:
        """The files of each partition, and of each of some other groups, by themselves."""
        found: dict[Any, list[Path]] = {}
        for file in self.files:
            values = tuple(self.partitions.get(file, {}).values())
            found.setdefault((values, (groups or {}).get(file)), []).append(file)
        if len(found) > _MOST_PARTS:
            raise StageFailure(
                "InputUnreadable",
                f"{self.uri}: {len(found)} partitions, more than the {_MOST_PARTS} that can be "
                "read at once; write the table with fewer, or without",
            )
        return [self.part(files) for files in found.values()]


def find(source: Input) -> Source:
    """The files of ``source``; raises StageFailure(InputNotFound, InputUnreadable)."""
    path = storage.fetch(source.uri)
    found = _files([path] if path.exists() else _matches(path))
    if not found:
        what = f"{path} is an empty folder" if path.is_dir() else f"there is no file at {path}"
        what = (
            "there is no such object"
            if storage.is_copy(path)
            else f"{what}{_near(path, source.uri)}"
        )
        raise StageFailure("InputNotFound", f"{source.uri}: {what}")
    for file in found:
        with readable(file):
            if not stat.S_ISREG(file.stat().st_mode):
                words = f"{file} is no file but a pipe, a socket or a device"
                raise StageFailure("InputUnreadable", words)
            os.close(os.open(file, os.O_RDONLY))
    if source.format != "raw":
        _refuse_versions(source.uri, path)
    if not any(file.stat().st_size for file in found):
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    if source.format == "raw":
        return Source(source.uri, found)  # what they mean is the script's to say
    files = [file for file in found if file.stat().st_size]
    partitions = _partitions(source.uri, path, files)
    return Source(source.uri, files, partitions, empty=len(found) - len(files))


def _refuse_versions(uri: str, path: Path) -> None:
    """Raises StageFailure(InputUnreadable) for the folder of a table that keeps its earlier
    versions: some of its files have rows that are deleted, or are there once more."""
    folder = path if path.is_dir() else _before_glob(path)
    while "=" in folder.name.strip("="):  # a partition of it
        folder = folder.parent
    for (inner, pattern), (name, write) in _VERSIONED.items():
        if any((folder / inner).glob(pattern)):
            raise StageFailure(
                "InputUnreadable",
                f"{uri} is in a table of {name}, whose folder also has files of its earlier "
                f"versions: write the rows as they are now with {write}",
            )


def _near(path: Path, uri: str) -> str:
    """What there is where a file was looked for."""
    folder = path
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir() or folder == folder.parent:
        return ""
    lacks = path.relative_to(folder).parts[0]
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names and (found := Uri.parse(uri)).scheme is CLAIM:
        claim = found.authority
        if folder == storage.resolve(f"{CLAIM.start}{claim}/"):
            return (
                f": the claim {claim} is empty; on one machine it is the folder {claim} beside the "
                f"manifest, or --claim {claim}=FOLDER"
            )
    if not names:
        return f": {folder} is empty"
    near = difflib.get_close_matches(lacks, names, n=1, cutoff=0.7)
    near = near or [name for name in names if name.lower() == lacks.lower()]
    if near and not glob.has_magic(lacks):
        return f"; did you mean {near[0]}?"
    return f": {folder} has {listed(names)}"


def _partitions(uri: str, path: Path, files: Sequence[Path]) -> dict[Path, Partition]:
    """What the folders KEY=VALUE say that the URI does not name one by one.

    Raises StageFailure(ColumnsDiffer) where they are not the same keys for every file."""
    fixed = path if path.is_dir() else _before_glob(path)
    found: dict[Path, Partition] = {}
    for file in files:
        below = file.parent.relative_to(fixed).parts if file.is_relative_to(fixed) else ()
        pairs = [part.split("=", 1) for part in below if "=" in part.lstrip("=")]
        found[file] = {
            unquote(key): None if value in ("", _HIVE_NULL) else unquote(value)
            for key, value in pairs
        }
        if len(found[file]) < len(pairs):
            words = f"{file} lies in two folders of one key"
            raise StageFailure("DuplicateColumns", words)
    first = found[files[0]]
    for file, values in found.items():
        if list(values) != list(first):
            raise StageFailure(
                "ColumnsDiffer",
                f"{uri}: {file} lies in folders of {listed(list(values)) or 'no partition'}, "
                f"{files[0]} in those of {listed(list(first)) or 'no partition'}",
            )
    return found if first else {}


def _before_glob(path: Path) -> Path:
    """The folder above the first part of a path that has a wildcard; above a file."""
    for place, part in enumerate(path.parts):
        if glob.has_magic(part):
            # t/month=1/* names a partition, and its files are of that month.
            while place and "=" in path.parts[place - 1].strip("="):
                place -= 1
            return Path(*path.parts[:place])
    return path.parent


def _is_hidden(name: str) -> bool:
    """As Hadoop and editors hide files; a partition is none of these, whatever its key."""
    return (
        name.startswith(".")
        or (name.startswith("_") and "=" not in name)
        or name.lower() in _OF_WINDOWS
    )


def _matches(pattern: Path) -> list[Path]:
    """What a glob finds, without what is hidden unless the glob names it so."""
    above = _before_glob(pattern)
    found = sorted(map(Path, glob.glob(str(pattern), recursive=True)))  # noqa: PTH207
    if any(map(_is_hidden, pattern.relative_to(above).parts)):
        return found
    return [one for one in found if not any(map(_is_hidden, one.relative_to(above).parts))]


def _files(paths: Sequence[Path]) -> list[Path]:
    """These files, and those below these folders that are not hidden. Links are followed; what
    several paths lead to is there once: ** names folders and what is in them, and a link may lead
    to a folder above it.

    Raises StageFailure(InputUnreadable) for a link that leads out of the claim."""
    found: dict[Path, Path] = {}
    folders: set[Path] = set()
    for path in paths:
        real = storage.require_on_claim(path)
        if not real.is_dir():
            found.setdefault(real, path)
            continue
        for root, inner, names in os.walk(path, followlinks=True):
            if (real := storage.require_on_claim(Path(root))) in folders:
                inner.clear()
                continue
            folders.add(real)
            inner[:] = sorted(name for name in inner if not _is_hidden(name))
            for file in (Path(root) / name for name in sorted(names) if not _is_hidden(name)):
                found.setdefault(storage.require_on_claim(file), file)
    return sorted(found.values())


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn errors of reading ``file`` into StageFailures."""
    try:
        with packing_errors(file):
            yield
    except UnicodeDecodeError:
        check_utf8(file)
        raise
    except OSError as error:
        raise StageFailure("InputUnreadable", f"cannot read {file}: {error.strerror}") from error


@contextmanager
def one_of(source: Source, file: Path) -> Iterator[None]:
    """Where ``file`` is refused: say how to read the others alone, if it is unlike them."""
    try:
        yield
    except StageFailure as failure:
        others = Counter(other.suffix for other in source.files if other.suffix != file.suffix)
        if not others or failure.reason != "InputUnreadable":
            raise
        ((suffix, _),) = others.most_common(1)
        raise StageFailure(failure.reason, f"{failure.message}{_rest(suffix)}") from failure


def _rest(suffix: str) -> str:
    return f"; if one of them is none of the data, name the rest by a glob, such as *{suffix}"


def refuse_others(source: Source, *, table: bool = False, pages: bool = False) -> None:
    """Raises StageFailure(InputUnreadable) for a file that is no text, or no ``table`` of text,
    with what it is; ``pages`` of HTML and XML may be what is wanted."""
    for file in source.files:
        with one_of(source, file), readable(file):
            packing = packing_of(file)
            if packing != "zip":
                with open_bytes(file) as stream:
                    head = stream.read(HEAD_BYTES)
                    refuse_other_kinds(file, head, table=table, pages=pages)
                    if table and head.count(0) * 3 > len(head):
                        refuse_utf16(file)


def columns_differ(
    file: Path, names: Sequence[str], first: Path, others: Sequence[str]
) -> StageFailure:
    """Which columns a file has that the first one lacks, and the other way round."""
    lacks = [name for name in others if name not in names]
    more = [name for name in names if name not in others]
    parts = [f"lacks {listed(lacks)}"] if lacks else []
    parts += [f"has {listed(more)} besides"] if more else []
    if not parts:
        parts = [f"has {len(names)} columns and not {len(others)}"]
    other = _rest(file.suffix) if file.suffix != first.suffix else ""
    return StageFailure("ColumnsDiffer", f"{file} {' and '.join(parts)}, unlike {first}{other}")


def check_utf8(file: Path, *, option: bool = False) -> None:
    """Raises StageFailure(InputNotUtf8) for the first line that is not UTF-8."""
    with readable(file):
        check_encoding(file, option=option)


def malformed(source: Source, failure: StageFailure) -> StageFailure:
    """What an engine says of a file that it cannot read, and that we find nothing wrong with."""
    if failure.reason != "StepFailed":
        return failure
    return StageFailure("InputMalformed", f"{source.uri}: {failure.message}")
