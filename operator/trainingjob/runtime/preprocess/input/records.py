"""The records of a CSV file, one by one, with the lines that they begin at: what Python's reader
does not know (comments, lines to skip, runs of blanks, long delimiters) is done to the lines."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import IO

from trainingjob.api.v1alpha1.input import WHITESPACE, CsvOptions

# Bytes of a record; the engine's own bound is the same.
LONGEST_RECORD = 16 * 2**20
# Lines that show whether blanks stand before quotes.
_LOOKED_AT = 100
# Stands for a delimiter of several characters: nobody writes it.
_UNIT = "\x1f"
# The line with which Excel writes and reads what stands between fields.
_NUMBER = re.compile(r"[-+]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][-+]?[0-9]+)?")
_SEP = re.compile(r'\ufeff?"?sep=([^\r\n])"?\s*', re.I)
_QUOTED_OR_TAB = r"({0}[^{0}]*{0})|\t"

csv.field_size_limit(LONGEST_RECORD)


class Written(CsvOptions):
    """How files are written, as far as it was found out. ``blanks_before_quotes``: blanks after a
    delimiter do not count, since quotes stand behind them."""

    blanks_before_quotes: bool = False


class Records(Iterator[list[str]]):
    """Records of a text; a blank line is an empty one. ``says_delimiter``: whether the first line
    did so, and is none of them. Raises csv.Error."""

    def __init__(self, text: IO[str], options: CsvOptions) -> None:
        self._text, self._options = text, options
        self._number = 0
        self._begins = True
        self.line = 1  # where the last record begins
        self._delimiter = options.delimiter or ","
        self._blanks = self._delimiter == WHITESPACE
        self._long = not self._blanks and len(self._delimiter) > 1
        for _ in range(options.skip_rows or 0):
            if not self._next_line():
                break
        self._held = self._next_line()
        self.says_delimiter = _SEP.fullmatch(self._held) is not None
        if self.says_delimiter:
            self._held = ""
        self._reader = csv.reader(
            self._lines(),
            delimiter=" " if self._blanks else _UNIT if self._long else self._delimiter,
            quotechar=options.quote or None,
            quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
            escapechar=None if options.escape == options.quote else options.escape,
            skipinitialspace=self._blanks or has_blanks_before_quotes(options),
            strict=True,
        )

    @property
    def last_line(self) -> int:
        """Where the last record ends."""
        return self._number

    def __next__(self) -> list[str]:
        self._begins = True
        record = next(self._reader)
        if self._long:
            return [field.replace(_UNIT, self._delimiter) for field in record]
        return record

    def _next_line(self) -> str:
        line = self._text.readline(LONGEST_RECORD)
        self._number += bool(line)
        if len(line) == LONGEST_RECORD:
            raise csv.Error(f"the line is longer than {LONGEST_RECORD >> 20} MiB")
        return line

    def _lines(self) -> Iterator[str]:
        comment = self._options.comment
        while line := self._held or self._next_line():
            self._held = ""
            if self._begins:
                if comment and line.lstrip().startswith(comment):
                    continue
                self.line, self._begins = self._number, False
            yield self._prepared(line)

    def _prepared(self, line: str) -> str:
        if self._long:
            return line.replace(self._delimiter, _UNIT)
        if not self._blanks:
            return line
        quote = self._options.quote
        if "\t" in line:
            quoted = _QUOTED_OR_TAB.format(re.escape(quote)) if quote else "()\t"
            line = re.sub(quoted, lambda match: match[1] or " ", line)
        end = len(line.rstrip("\r\n"))
        return line[:end].strip(" ") + line[end:]


def has_blanks_before_quotes(options: CsvOptions) -> bool:
    """The same of options that may be the user's alone."""
    return isinstance(options, Written) and options.blanks_before_quotes


def found_out(sample: str, options: CsvOptions, delimiter: str) -> Written:
    """The options with a delimiter, and what else the first lines show."""
    lines = sample.splitlines()[:_LOOKED_AT]
    blanks = False
    if len(delimiter) == 1 and not delimiter.isspace() and options.quote:
        mark, quote = re.escape(delimiter), re.escape(options.quote)
        quoted = re.compile(f"{mark} +{quote}[^{quote}]*{quote} *({mark}|$)")
        blanks = sum(bool(quoted.search(line)) for line in lines) * 2 > len(lines)
    given = options.model_dump() | {"delimiter": delimiter, "blanks_before_quotes": blanks}
    return Written(**given)


def found_delimiter(sample: str, options: CsvOptions) -> str:
    """What stands between the fields of a file that begins with these lines: what gives the
    records as many fields as the first one has.

    Where several do, with names in the first line the one that gives the most, and without them
    not the comma, which is in numbers, too; where none does, the one that fits most records."""
    if said := _SEP.match(sample):
        return said[1]
    scores: list[tuple[float, ...]] = []
    candidates = [",", ";", "\t", "|", "^", "~", "\x01", WHITESPACE]
    for place, delimiter in enumerate(candidates):
        widths = _widths(sample, options.model_copy(update={"delimiter": delimiter}))
        first = widths[0] if widths else 0
        fitting = sum(width == first for width in widths)
        blanks = delimiter == WHITESPACE
        whole = fitting == len(widths)
        if blanks and len(widths) > 2 and _is_of_r(sample, options):
            whole, fitting = True, len(widths)
        # Words are separated by blanks, too: those count when nothing else is there.
        fits = first > 1 and (whole and fitting > 2 if blanks else fitting > len(widths) / 2)
        preferred = first if options.header else delimiter != ","
        scores.append((fits, not blanks, whole, preferred, -place))
    best = max(range(len(candidates)), key=scores.__getitem__)
    return candidates[best] if scores[best][0] else ","


def _is_of_r(sample: str, options: CsvOptions) -> bool:
    """Whether it is a table as R writes it: rows have names, and these have none. Texts of several
    words are none: in R's there are numbers."""
    given = options.model_copy(update={"delimiter": WHITESPACE})
    try:
        names, *rows = [one for one in Records(io.StringIO(sample, newline=""), given) if one]
    except (csv.Error, ValueError):
        return False
    return all(
        len(row) == len(names) + 1 and any(_NUMBER.fullmatch(text) for text in row[1:])
        for row in rows
    )


def _widths(sample: str, options: CsvOptions) -> list[int]:
    """Numbers of fields, without empty ones at the end, of which a row may have too many; where the
    first record has one, of that alone."""
    widths: list[int] = []
    try:
        for record in Records(io.StringIO(sample, newline=""), options):
            if not record:
                continue
            width = len(record)
            while widths and width > widths[0] and not record[width - 1]:
                width -= 1
            widths.append(width)
            if widths == [1]:
                break
    except csv.Error:
        return widths[: len(widths) // 2]  # a quote that another delimiter would close
    return widths
