"""The input: which files, how they are written, and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import io
import itertools
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from trainingjob.api.v1alpha1.input import CsvOptions, Input

from ... import s3, storage
from ...errors import StageFailure
from ..names import listed, one_line

# Packed formats that people bring and that only one of the engines could read, or none.
_UNKNOWN_PACKING = (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")

# Records that the first guess of the types comes from.
_SAMPLE_RECORDS = 1000

# How far to look for the line of a value.
_SEARCHED_LINES = 200_000
# How Arrow names the columns of an index without names.
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")
# Folders of one table, each a query of its own.
_MOST_PARTS = 1000
# How Hive writes a null in the name of a folder.
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

csv.field_size_limit(sys.maxsize)

# Values of the partition columns, as their folders' names have them.
Partition = Mapping[str, str | None]


@dataclass(frozen=True)
class Source:
    """Files that hold the input, in the order of their names.

    ``partitions``: for each file the values that the folders KEY=VALUE above it give to columns;
    None for null. ``whole``: the size of the input that this is a part of."""

    uri: str
    files: list[Path]
    partitions: Mapping[Path, Partition] = field(default_factory=dict)
    whole: int = 0

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
    if path.exists():
        found = [path] if path.is_file() else sorted(_files_below(path))
    else:
        matches = sorted(Path(match) for match in glob.glob(str(path)))  # noqa: PTH207
        found = [
            file
            for match in matches
            for file in ([match] if match.is_file() else sorted(_files_below(match)))
        ]
    if not found:
        what = f"{path} is an empty folder" if path.is_dir() else f"there is no file at {path}"
        if s3.is_copy(path):
            what = "there is no such object"
        raise StageFailure("InputNotFound", f"{source.uri}: {what}")
    for file in found:
        if file.suffix.lower() in _UNKNOWN_PACKING:
            raise StageFailure("InputUnreadable", f"{file}: only .gz is unpacked")
        with readable(file):
            os.close(os.open(file, os.O_RDONLY))
    if not any(file.stat().st_size for file in found):
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    files = [file for file in found if file.stat().st_size]
    return Source(source.uri, files, _partitions(source.uri, path, files))


def _partitions(uri: str, path: Path, files: Sequence[Path]) -> dict[Path, Partition]:
    """What the folders KEY=VALUE say that the URI does not name one by one.

    Raises StageFailure(ColumnsDiffer) where they are not the same keys for every file."""
    fixed = path if path.is_dir() else _before_glob(path)
    found: dict[Path, Partition] = {}
    for file in files:
        below = file.parent.relative_to(fixed).parts if file.is_relative_to(fixed) else ()
        pairs = [part.split("=", 1) for part in below if "=" in part.strip("=")]
        found[file] = {
            unquote(key): None if value == _HIVE_NULL else unquote(value) for key, value in pairs
        }
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
            return Path(*path.parts[:place])
    return path.parent


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder tree, without those that Hadoop and editors hide."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(root) / name for name in names if not name.startswith((".", "_")))


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn errors of reading ``file`` into StageFailures."""
    try:
        yield
    except UnicodeDecodeError:
        _check_utf8(file)
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StageFailure(
            "InputUnreadable", f"{file} is not a whole gzip file: {error}"
        ) from error
    except OSError as error:
        raise StageFailure("InputUnreadable", f"cannot read {file}: {error.strerror}") from error


def open_bytes(file: Path) -> IO[bytes]:
    """A file for reading, unpacked."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


@dataclass(frozen=True)
class CsvHeads:
    """Names of the columns of each file, the same ones in some order; those of the first file give
    theirs. ``unnamed``: those that have none there. ``sample``: the first file's first records."""

    names: list[str]
    of_file: Mapping[Path, tuple[str, ...]]
    unnamed: list[str]
    sample: list[list[str]]


def csv_heads(source: Source, options: CsvOptions) -> CsvHeads:
    """The names of the columns.

    Raises StageFailure(InputEmpty, InputMalformed, InputNotUtf8, ColumnsDiffer)."""
    names: list[str] | None = None
    unnamed: list[str] = []
    sample: list[list[str]] = []
    of_file: dict[Path, tuple[str, ...]] = {}
    for file in source.files:
        first, others = _head(file, options, _SAMPLE_RECORDS if names is None else 0)
        if first is None:
            continue
        found = (
            [name.strip() or f"c{index}" for index, name in enumerate(first)]
            if options.header
            else [f"c{index}" for index in range(len(first))]
        )
        if any("\n" in name or "\r" in name for name in found):
            raise StageFailure(
                "InputMalformed", f"{file}, line 1: a column's name has a line break"
            )
        of_file[file] = tuple(found)
        if names is None:
            names, sample = found, [record for record in others if len(record) == len(found)]
            if options.header:
                unnamed = [
                    name for name, text in zip(found, first, strict=True) if not text.strip()
                ]
        elif sorted(names) != sorted(found):
            raise columns_differ(file, found, next(iter(of_file)), names)
    if names is None:
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    return CsvHeads(names, of_file, unnamed, sample)


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
    return StageFailure("ColumnsDiffer", f"{file} {' and '.join(parts)}, unlike {first}")


def _head(file: Path, options: CsvOptions, count: int) -> tuple[list[str] | None, list[list[str]]]:
    """The first record of a file, if there is any, and up to so many that follow."""
    with readable(file), open_bytes(file) as stream:
        records = _records(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), options)
        try:
            begin = next(records, None)
            first = begin or next((record for record in records if record), None)
        except csv.Error as error:
            raise StageFailure("InputMalformed", f"{file}, line 1: {error}") from error
        if options.header and first and not begin:
            message = f"{file}, line 1: blank, where the names of the columns should be"
            raise StageFailure("InputMalformed", message)
        others: list[list[str]] = []
        with suppress(csv.Error):  # an engine that comes to this record says so
            others += itertools.islice(records, count)
    return first, others


def check_csv(source: Source, options: CsvOptions, width: int) -> bool:
    """Read every file line by line and raise StageFailure(InputNotUtf8, InputMalformed) for the
    first that is wrong; returns whether a field has a line break.

    Slow: only for when an engine has found that something may be wrong."""
    line_breaks = False
    for file in source.files:
        _check_utf8(file)
        with readable(file), open_bytes(file) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            reader = _records(text, options)
            line = 1
            try:
                for row in reader:
                    # Engines cut off empty fields at the end.
                    if row and (len(row) < width or any(row[width:])):
                        raise StageFailure(
                            "InputMalformed",
                            f"{file}, line {line}: {len(row)} fields instead of {width}",
                        )
                    line_breaks |= reader.line_num > line
                    line = reader.line_num + 1
            except csv.Error as error:
                raise StageFailure("InputMalformed", f"{file}, line {line}: {error}") from error
    return line_breaks


def check_json(source: Source) -> None:
    """The same for JSON: raises StageFailure for the first line that is not an object."""
    for file in source.files:
        _check_utf8(file)
        with readable(file), open_bytes(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
                except ValueError as error:
                    message = f"{file}, line {number}: {error}"
                    raise StageFailure("InputMalformed", message) from error
                if not isinstance(value, dict):
                    raise StageFailure("InputMalformed", f"{file}, line {number}: not an object")


def refuse_byte_order_marks(source: Source) -> None:
    """Raises StageFailure(InputMalformed): a JSON text must not begin with one, and DuckDB reads
    none that does."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                message = f"{file}, line 1: a byte order mark; write the file without one"
                raise StageFailure("InputMalformed", message)


def first_json_keys(source: Source) -> list[str]:
    """The keys of the first object."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            for line in stream:
                if line.strip():
                    try:
                        return list(json.loads(line))
                    except ValueError as error:
                        message = f"{file}, line 1: {error}"
                        raise StageFailure("InputMalformed", message) from error
    return []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class ParquetHead:
    """Of one file: its columns without those that are ``index``, the index of the pandas frame that
    it was written from."""

    schema: pa.Schema
    index: list[str]
    rows: int


def parquet_heads(source: Source) -> dict[Path, ParquetHead]:
    """The files' heads; all have the same columns.

    Raises StageFailure(InputUnreadable, InputEmpty, ColumnsDiffer)."""
    heads: dict[Path, ParquetHead] = {}
    for file in source.files:
        try:
            with readable(file):
                footer = pq.read_metadata(file)
                schema = footer.schema.to_arrow_schema().remove_metadata()
        except (pa.ArrowException, ValueError) as error:
            message = f"{file} is not a parquet file: {one_line(error)}"
            raise StageFailure("InputUnreadable", message) from error
        index = [name for name in _pandas_index(footer.metadata or {}) if name in schema.names]
        index += [n for n in schema.names if _INDEX_LEVEL.fullmatch(n) and n not in index]
        if len(index) == len(schema.names):
            index = []  # nothing else would be left
        kept = pa.schema([field for field in schema if field.name not in index])
        heads[file] = ParquetHead(kept, index, footer.num_rows)
        first = next(iter(heads))
        if sorted(kept.names) != sorted(heads[first].schema.names):
            raise columns_differ(file, kept.names, first, heads[first].schema.names)
    if not any(head.rows for head in heads.values()):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    return heads


def _pandas_index(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The columns that pandas' own reader makes the index of, not columns; one that only counts
    the rows is no column at all."""
    try:
        found = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def line_of(source: Source, options: CsvOptions, column: str, value: str) -> str:
    """``in.csv, line 9``: where a field of a column first has this text, blanks around it cut;
    "" when that is not among the first lines. The column is named as in the first file."""
    for file in source.files:
        lines = 0
        with suppress(csv.Error, StageFailure), readable(file), open_bytes(file) as stream:
            reader = _records(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), options)
            place, line = -1, 1
            for row in reader:
                if place < 0 and row:
                    names = [name.strip() or f"c{i}" for i, name in enumerate(row)]
                    names = names if options.header else [f"c{i}" for i in range(len(row))]
                    place = names.index(column) if column in names else len(row)
                    if options.header:
                        line = reader.line_num + 1
                        continue
                if len(row) > place and row[place].strip(" ") == value:
                    return f"{file.name}, line {line}"
                line, lines = reader.line_num + 1, lines + 1
                if lines > _SEARCHED_LINES:
                    return ""
    return ""


def _records(text: IO[str], options: CsvOptions) -> Any:
    return csv.reader(text, delimiter=options.delimiter, quotechar=options.quote, strict=True)


def _check_utf8(file: Path) -> None:
    with readable(file), open_bytes(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                message = f"{file}, line {number}: not UTF-8"
                raise StageFailure("InputNotUtf8", message) from error
