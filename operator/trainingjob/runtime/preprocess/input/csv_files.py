"""CSV files, looked at line by line: their heads, and the first line that is wrong."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainingjob.api.v1alpha1.input import WHITESPACE, CsvOptions

from ...base.errors import StageFailure
from ..names import quoted
from .called import field
from .encodings import open_text
from .files import Source, columns_differ, readable
from .packing import packing_of
from .records import Records, found_delimiter, found_out, has_blanks_before_quotes
from .scratch import Budget, Scratch

# Records that the first guess of the types comes from.
_SAMPLE_RECORDS = 1000
_SAMPLE_VALUES = 200_000

# Records that may stand before a table.
_PREAMBLE = 100

# Records within which the names may stand, and the bytes within which the last record may.
_NAMES_WITHIN = 10
_LAST_BYTES = 4096

# Characters that the delimiter is found out from.
_SAMPLE_CHARS = 256 * 2**10

# How far to look for the line of a value.
_SEARCHED_LINES = 200_000

_LINE_BREAK = re.compile(r"\s*[\r\n]+\s*")

# The delimiter of files that are written anew.
PLAIN = ","


@dataclass(frozen=True)
class CsvHeads:
    """Names of the columns: those of the first file in their order, then what others have besides.
    ``unnamed``: those that have none there. ``sample``: the first file's first records. ``odd``:
    whether a file begins with lines, or has line breaks in names, that no engine takes."""

    names: list[str]
    of_file: Mapping[Path, tuple[str, ...]]
    unnamed: list[str]
    sample: list[list[str]]
    odd: bool = False
    names_below: int = 0  # a line of the first file that has the names instead, as it looks


@contextmanager
def records_of(file: Path, options: CsvOptions) -> Iterator[Records]:
    """The records of a file, unpacked. Raises StageFailure(InputNotUtf8, InputMalformed)."""
    with readable(file), open_text(file, None) as text:
        records = None
        try:
            records = Records(text, options)
            yield records
        except csv.Error as error:
            line = records.line if records else 1
            message = f"{file}, line {line}: {_words(error, options)}"
            raise StageFailure("InputMalformed", message) from error


def _words(error: csv.Error, options: CsvOptions) -> str:
    """What Python's reader says, with the option that may help."""
    if "unexpected end of data" in str(error) or "field limit" in str(error):
        return (
            f"the quote that opens here is not closed; if {options.quote} is a character like any "
            f"other in this file, set {field('options.quote')} to an empty text"
        )
    if "expected after" in str(error):
        other = field("options.escape")
        escape = "" if options.escape else f", or {other} if a backslash stands before it"
        return (
            f"{error}: a quote inside a field must be doubled; set {field('options.quote')} to an "
            f"empty text if fields have no quotes{escape}"
        )
    return str(error)


def as_written(source: Source, options: CsvOptions) -> CsvOptions:
    """The options with what the first lines show: the delimiter, unless they have one.

    Raises StageFailure(InputMalformed) where they have one that is not in the file and another
    one is."""
    for file in source.files:
        with readable(file), open_text(file, None) as text:
            sample = text.read(_SAMPLE_CHARS)
        if not sample.strip():
            continue
        if len(sample) == _SAMPLE_CHARS:
            sample = sample[: sample.rfind("\n") + 1] or sample
        found = found_delimiter(sample, options)
        given = options.delimiter
        if given is None:
            return found_out(sample, options, found)
        if given not in (found, WHITESPACE) and given not in sample and found in sample:
            raise StageFailure(
                "InputMalformed",
                f"{file} has no {quoted(given)} in its first lines, but {quoted(found)} between "
                f"fields: remove {field('options.delimiter')}, or set it to that",
            )
        return found_out(sample, options, given)
    return options.model_copy(update={"delimiter": options.delimiter or PLAIN})


def csv_heads(source: Source, options: CsvOptions) -> CsvHeads:
    """The names of the columns.

    Raises StageFailure(InputEmpty, InputMalformed, InputNotUtf8, ColumnsDiffer)."""
    names: list[str] | None = None
    unnamed: list[str] = []
    sample: list[list[str]] = []
    of_file: dict[Path, tuple[str, ...]] = {}
    odd = False
    for file in source.files:
        first, others, lines = _head(file, options, _SAMPLE_RECORDS if names is None else 0)
        if first is None:
            continue
        odd |= lines or (options.header and any(map(_LINE_BREAK.search, first)))
        found = named(first, options)
        of_file[file] = tuple(found)
        if names is None:
            names = list(found)
            sample = [record for record in others if len(record) == len(found)]
            if options.header:
                unnamed = [
                    name for name, text in zip(found, first, strict=True) if not text.strip()
                ]
        elif not {*found} & {*names}:
            raise columns_differ(file, found, next(iter(of_file)), names)
        known, times = set(names), Counter(found)
        names += [name for name in found if name not in known or times[name] > 1]
    if names is None:
        raise StageFailure("InputEmpty", f"{source.uri}: the input is empty")
    below = 0
    if unnamed and unnamed != names[:1]:  # that one is an index
        below = _names_below(next(iter(of_file)), options)
    return CsvHeads(names, of_file, unnamed, sample, odd, below)


def named(first: list[str], options: CsvOptions) -> list[str]:
    """The names that a file's first record gives to its columns."""
    if options.header:
        names = [_LINE_BREAK.sub(" ", name.strip("\ufeff").strip()) for name in first]
        return [name or f"c{index}" for index, name in enumerate(names)]
    return [f"c{index}" for index in range(len(first))]


def _names_below(file: Path, options: CsvOptions) -> int:
    """The line of the first of some records that has a text of its own in every field, where the
    first record has none in some, and numbers below; 0 if no one does."""
    with suppress(csv.Error, StageFailure), records_of(file, options) as records:
        for record in itertools.islice(records, 1, _NAMES_WITHIN):
            line, texts = records.line, {text.strip() for text in record}
            if len(texts) == len(record) > 1 and "" not in texts:
                below = next(records, [])
                return line if any(map(_has_digit, below)) > any(map(_has_digit, texts)) else 0
    return 0


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def last_record(file: Path, options: CsvOptions) -> list[str]:
    """The last record of a file that is not packed, if it is a line of some length; else none."""
    if packing_of(file) is not None:
        return []
    with file.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - _LAST_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()[1:]
    last = next((line for line in reversed(lines) if line.strip()), "")
    with suppress(csv.Error):
        return next(Records(io.StringIO(last), options.model_copy(update={"skip_rows": None})), [])
    return []


def _head(
    file: Path, options: CsvOptions, count: int
) -> tuple[list[str] | None, list[list[str]], bool]:
    """The first record of a file, if there is any, up to so many that follow, and whether other
    lines stand before it."""
    others: list[list[str]] = []
    with records_of(file, options) as records:
        begin = next(records, None)
        first = begin or next((record for record in records if record), None)
        with suppress(csv.Error):  # an engine that comes to this record says so
            fewer = _SAMPLE_VALUES // max(1, len(first or ()))
            others += itertools.islice(records, min(count, max(fewer, 20)))
    return first, others, records.says_delimiter or (options.header and begin != first)


def check_csv(options: CsvOptions, heads: CsvHeads) -> bool:
    """Read every file line by line and raise StageFailure(InputNotUtf8, InputMalformed) for the
    first that is wrong; returns whether a field has a line break.

    Slow: only for when an engine has found that something may be wrong."""
    line_breaks = False
    for file, names in heads.of_file.items():
        for _, breaks in _checked(file, options, len(names)):
            line_breaks |= breaks
    return line_breaks


def _checked(file: Path, options: CsvOptions, width: int) -> Iterator[tuple[list[str], bool]]:
    """The records that are rows, names included, and whether each has a line break."""
    with records_of(file, options) as records:
        place = 0
        for row in records:
            if not row:
                continue
            # Engines cut off empty fields at the end.
            if len(row) < width or any(row[width:]):
                raise StageFailure(
                    "InputMalformed",
                    f"{file}, line {records.line}: {len(row)} fields instead of {width}"
                    f"{_advice(row, width, place, file, options, records)}",
                )
            place += 1
            yield row[:width], records.last_line > records.line


def _advice(
    row: list[str],
    width: int,
    place: int,
    file: Path,
    options: CsvOptions,
    rest: Records,
) -> str:
    """What may be the matter with a record of another number of fields; ``rest`` are those after
    it."""
    if place > 1 and len(row) == 1 < width and _ends_here(rest):
        return (
            "; it is the last one: if it is a note below the table, or a line that was cut, remove "
            "it from the file"
        )
    if place > _PREAMBLE or options.skip_rows:
        return ""
    with records_of(file, options) as records:
        some = [(records.line, row) for row in itertools.islice(records, _SAMPLE_RECORDS) if row]
    if any(text.lstrip().startswith(("“", "„", "”")) for text in row):
        return '; curly quotes are no quotes of CSV: write the file with " around fields'
    most = max((len(row) for _, row in some), key=[len(row) for _, row in some].count)
    first = next(line for line, row in some if len(row) == most)
    if (some[0][1][0].startswith("#") or row[0].startswith("#")) and not options.comment:
        return (
            f'; set {field("options.comment")} to "#" if lines that begin so are none of the data'
        )
    if any(text.startswith("'") for text in row) and any(text.endswith("'") for text in row):
        quote = field("options.quote")
        return f'; if single quotes stand around fields, set {quote} to "\'"'
    lengths = {len(row) for _, row in some[1:]}
    is_table = most > 1 and all(len(row) == most for line, row in some if line >= first)
    if width == 1 and len(some[0][1]) == 1 and not is_table:
        return (
            f"; if each line is one text, set {field('format')} to text and documents to "
            f"lines, or {field('options.delimiter')} to a sign that no line has"
        )
    if lengths == {width - 1} and not some[0][1][-1].strip():
        return "; the first line ends with a delimiter, and no other does: remove it there"
    is_title = width == 1 and not any(map(_has_digit, some[1][1]))
    if (
        len(row) == width + 1 == most
        and not is_title
        and all(len(row) == most for _, row in some[1:])
    ):
        return (
            "; the first of each line may be a row's name, as R writes them: give that column a "
            "name in the first line"
        )
    if most == 2 * width and not is_title and all(len(row) == most for _, row in some[1:]):
        return (
            "; if commas stand in numbers as well as between them, write the file with another "
            "delimiter, such as a semicolon"
        )
    if first > 1 and most != width:
        return (
            f"; if the table begins in line {first}, set {field('options.skipRows')} to {first - 1}"
        )
    return ""


def is_odd(options: CsvOptions, heads: CsvHeads) -> bool:
    """Whether the engines have no option for how the files are written."""
    return (
        len(options.delimiter or PLAIN) > 1
        or not options.quote
        or heads.odd
        or has_blanks_before_quotes(options)
        or any((options.escape, options.comment, options.skip_rows))
    )


def written_anew(
    source: Source, options: CsvOptions, heads: CsvHeads, scratch: Scratch
) -> tuple[Source, CsvOptions]:
    """The files as plain CSV in ``scratch``, and the options to read them with. Raises
    StageFailure."""
    found = {}
    for file, names in heads.of_file.items():
        rows = _checked(file, options, len(names))
        if options.header:
            next(rows)
            rows = itertools.chain([([*names], False)], rows)
        lines = _lines(rows)
        found[file] = [scratch.write(f"{file.name}.csv", str(file), lines, Budget(file))]
    plain = CsvOptions(header=options.header, delimiter=PLAIN)
    return source.part(list(heads.of_file)).replaced(found), plain


def _ends_here(records: Records) -> bool:
    """Whether no record with several fields follows."""
    try:
        return all(len(record) < 2 for record in itertools.islice(records, _PREAMBLE))
    except csv.Error:
        return False


class _Line:
    """What a writer writes."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _lines(rows: Iterator[tuple[list[str], bool]]) -> Iterator[bytes]:
    line = _Line()
    writer = csv.writer(line, lineterminator="\r\n")
    for row, _ in rows:
        writer.writerow(row)
        yield line.text.encode()


def lines_of(
    source: Source, options: CsvOptions, column: str, wanted: Callable[[str], bool], count: int
) -> dict[str, str]:
    """``in.csv, line 9`` by text: where fields of a column, blanks around them cut, first have
    texts that are ``wanted``, of which so many are looked for among the first lines. The column is
    named as in the first file."""
    found: dict[str, str] = {}
    left = _SEARCHED_LINES
    for file in source.files:
        with suppress(csv.Error, StageFailure), records_of(file, options) as records:
            place = -1
            for row in records:
                if not row:
                    continue
                if place < 0:
                    names = named(row, options)
                    place = names.index(column) if column in names else len(row)
                    if options.header:
                        continue
                value = row[place].strip(" ") if len(row) > place else ""
                if value and value not in found and wanted(value):
                    found[value] = f"{file.name}, line {records.line}"
                left -= 1
                if left <= 0 or len(found) == count:
                    return found
    return found
