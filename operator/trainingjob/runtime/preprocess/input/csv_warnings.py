"""What people are told about how their CSV was read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ...base.text import listed
from ..engines.arrow import beyond
from ..expressions.date_formats import formats_of
from ..names import flow, in_sql, quoted
from ..notes import Notes
from .called import field
from .csv_files import last_record, lines_of
from .csv_tally import Mixed, Tally
from .texts import (
    BIG,
    CODES,
    DIGITS,
    INFINITE,
    LONG,
    ZEROS,
    is_day,
    nulls,
    number_pattern,
)

if TYPE_CHECKING:
    from .csv import Csv

# Of countries, states and languages.
_CODE = re.compile("[A-Z]{2}")

# How the first field of a row of sums begins, in small letters.
_TOTALS = {
    *("total", "totals", "grand total", "sum", "overall", "all"),
    *("gesamt", "summe", "insgesamt", "totale", "totaal", "suma", "итого", "合計", "总计"),
}

# Texts among numbers that a warning shows.
_SHOWN = 5


def tell(csv: Csv, kinds: Mapping[str, ColumnType], tally: Tally, notes: Notes) -> None:
    """Warn of what a reader may have taken for something else than was meant."""
    source, heads = csv.source, csv.heads
    first = heads.names[0]
    if first in heads.unnamed or re.fullmatch(r"Unnamed: 0(\.\d+)?", first):
        how = f"has no name and is read as {first}" if first in heads.unnamed else f"is {first}"
        notes.warn(
            "IndexColumn",
            f"{source.uri}: the first column {how}: it looks like the index of the frame that was "
            f"written; `drop: {{columns: [{flow(first)}]}}`",
        )
    if heads.names_below:
        has = "have" if heads.unnamed[1:] else "has"
        notes.names_below = (
            f"{listed(heads.unnamed)} {has} no name in the first line, and line "
            f"{heads.names_below} looks like names; if it has them, set "
            f"{field('options.skipRows')} to {heads.names_below - 1}"
        )
        notes.warn("NamesBelow", f"{source.uri}: {notes.names_below}")
    names = next(iter(heads.of_file.values()))  # others have no column of the sample
    if csv.options.header and _are_values(names, heads.sample, csv.options):
        notes.names_below = (
            "the first line looks like values and not like names; if it is a row, set "
            f"{field('options.header')} to false: columns are c0, c1, … then"
        )
        notes.warn("NamesMissing", f"{source.uri}: {notes.names_below}")
    _tell_of_totals(csv, notes)
    for (name, kind), code in zip(kinds.items(), tally.codes, strict=True):
        where = f"{source.uri}: {name}"
        if kind == "string" and code and not code & ~DIGITS:
            if code & ZEROS:
                notes.warn(
                    "ReadAsText",
                    f"{where} is text: some of its digits have leading zeros, as codes have, and "
                    "numbers would lose them; "
                    f"`cast: {{columns: {{{flow(name)}: bigint}}}}` for numbers",
                )
            else:
                notes.warn("ReadAsText", f"{where} is text: {beyond()}")
        if kind == "double" and code & (LONG | BIG):
            notes.warn(
                "ValuesRounded",
                f"{where} has numbers with more than 15 digits before the point, and some with a "
                "fraction: they are read as doubles, which hold 15 to 17 digits",
            )
        if kind == "double" and code & INFINITE:
            notes.warn(
                "ValuesBecameNull",
                f"{where}: infinite values, or numbers beyond 1.8e308, are read as null",
            )
    if csv.options.trim is None:
        _tell_of_blanks(csv, kinds, notes)
    for name, code in zip(heads.names, tally.codes, strict=True):
        # A line of names makes text of all columns.
        if name not in csv.wanted and code & CODES["string"] and not heads.names_below:
            _tell_of_texts(csv, name, code, tally.mixed.get(name), notes)
    for name in tally.nulls:
        place = heads.names.index(name)
        texts = {record[place].strip(" ") for record in heads.sample if len(record) > place} - {""}
        codes = texts - {"NA"}
        if len(codes) < len(texts) and codes and all(_CODE.fullmatch(text) for text in codes):
            notes.warn(
                "ValuesBecameNull",
                f'{source.uri}: {name}: "NA" among codes of two letters is read as null; if it is '
                f"one of them, set {field('options.nullValues')} to []",
            )
    if tally.nulls:
        notes.log(
            f"{source.uri}: texts such as NA and null are read as null in {listed(tally.nulls)}; "
            f"{field('options.nullValues')} says which do"
        )


def _are_values(names: Sequence[str], sample: Sequence[Sequence[str]], options: CsvOptions) -> bool:
    """Whether each name is like the values below it, a number above numbers, one of the texts or a
    text for null, or half of them are numbers; but for those that grow or fall, as names such as
    1990, 1991 do, and 0, 1, 2, …, with which frames are written that have no names."""
    if len(names) < 2 or not sample or [*names] == [str(place) for place in range(len(names))]:
        return False
    is_number = re.compile(rf"{number_pattern(options)}|[0-9]{{1,3}}(,[0-9]{{3}})+").fullmatch
    none = {*nulls(options)}
    columns = [*zip(names, zip(*sample, strict=True), strict=True)]
    numbers = [
        name
        for name, values in columns
        if is_number(name)
        and all(is_number(text) for text in map(str.strip, values) if text not in none)
    ]
    if not numbers:
        return False
    seen = [[int(digits) for digits in re.findall("[0-9]{1,18}", name)] for name in numbers]
    grow = all(one < other for one, other in itertools.pairwise(seen))
    fall = all(one > other for one, other in itertools.pairwise(seen))
    if len(seen) > 2 and (grow or fall) and all(name.isdecimal() for name in numbers):
        return False
    if all(name in numbers or name in values or name in none for name, values in columns):
        return True
    return len(seen) > 2 and 2 * len(seen) >= len(names) and not grow


def _tell_of_totals(csv: Csv, notes: Notes) -> None:
    """Warn of a last row that sums up those above it, as spreadsheets and reports have it."""
    row = last_record(csv.plain.files[-1], csv.plain_options)
    if len(row) != csv.width:
        return
    for place, (name, text) in enumerate(zip(csv.heads.names, row, strict=True)):
        if text.strip(" :").lower() not in _TOTALS:
            continue
        if not any(text in record[place : place + 1] for record in csv.heads.sample[:-1]):
            notes.warn(
                "TotalsRow",
                f"{csv.source.uri}: the last row has {quoted(text)} in {name}, as one that sums up "
                "those above it; if it does, "
                f"`{_without(name, text)}` leaves it out",
            )
        return


def _tell_of_blanks(csv: Csv, kinds: Mapping[str, ColumnType], notes: Notes) -> None:
    """Warn of columns of text with blanks around the first values."""
    found: dict[str, str] = {}
    for place, name in enumerate(csv.heads.names):
        if (csv.wanted[name].kind if name in csv.wanted else kinds[name]) != "string":
            continue
        for text in (record[place] for record in csv.heads.sample if len(record) > place):
            bare = text.strip(" ")
            if text != bare != "" and bare not in nulls(csv.options):
                found[name] = text
                break
    if found:
        has = "has" if len(found) == 1 else "have"
        notes.warn(
            "BlanksKept",
            f"{csv.source.uri}: {listed(list(found))} {has} blanks around texts, as "
            f"{quoted(next(iter(found.values())))}, which are part of the values; to cut them, set "
            f"{field('options.trim')} to true",
        )


def _tell_of_texts(csv: Csv, name: str, code: int, mixed: Mixed | None, notes: Notes) -> None:
    """Warn of a column that is text because of a few values, or only by how it is written."""
    source, options = csv.source, csv.options
    where = f"{source.uri}: {name} is text"
    if mixed and max(mixed.numbers, mixed.dates) > mixed.others:
        dates = mixed.dates > mixed.numbers
        what, kind = ("dates", "date") if dates else ("numbers", "double")
        kind = "timestamp" if dates and code & CODES["timestamp"] else kind
        number, none = re.compile(number_pattern(options)), nulls(options)
        fits: Callable[[str], Any] = is_day if dates else number.fullmatch
        found = lines_of(
            source, options, name, lambda text: not fits(text) and text not in none, _SHOWN
        )
        texts = list(found) or list(dict.fromkeys((mixed.least, mixed.greatest)))
        shown = ", ".join(f"{quoted(t)} ({found[t]})" if t in found else quoted(t) for t in texts)
        listing = ", ".join(map(quoted, texts))
        if mixed.others == 1 and (again := _no_row(csv, name, texts[0], found)):
            notes.warn(
                "ReadAsText",
                f"{where}: {shown} is {again}; `{_without(name, texts[0])}` leaves the line out, "
                f"then `cast: {{columns: {{{flow(name)}: {kind}}}}}`",
            )
            return
        notes.warn(
            "ReadAsText",
            f"{where}: {max(mixed.numbers, mixed.dates)} of its values are {what}, "
            f"{mixed.others} are not: {shown}; if that stands for null, set "
            f"{field('options.nullValues')} to [{listing}]; else "
            f"`cast: {{columns: {{{flow(name)}: {kind}}}}}` makes null of it",
        )
        return
    place = csv.heads.names.index(name)
    some = [record[place].strip(" ") for record in csv.heads.sample if len(record) > place]
    some = [text for text in some if text and text not in nulls(options)]
    marks = {*"".join(some)}
    advice = next(
        (words for of, form, words in _STYLES if marks & {*of} and _all_match(form, some)), None
    )
    if forms := formats_of(some):
        said = [f"{{{flow(name)}: {_in_flow(form)}}}" for form in forms]
        advice = f"dateFormats to {' or '.join(said)} for dates"
        if "yyyy" not in forms[0]:
            advice += "; of yy the years are 2000 to 2099"
    if advice:
        notes.warn("ReadAsText", f"{where}: {quoted(some[0])}; set {field(advice)}")


def _no_row(csv: Csv, name: str, text: str, found: Mapping[str, str]) -> str:
    """What a line may be whose text in a column is the only one that is no number; "" if a row."""
    if text == name:
        return "the column's name again"
    width, first = csv.width, next((r for r in csv.heads.sample if any(r)), [])
    below = found.get(text, "").endswith(", line 2") and len(first) == width > 1
    number = re.compile(number_pattern(csv.options))
    if below and not any(number.fullmatch(value.strip(" ")) for value in first):
        return "below the names, in a line without numbers, such as one of units"
    return ""


def _without(name: str, text: str) -> str:
    """The step that leaves out the rows with a text."""
    value = text.replace("'", "''")
    return f"filter: {{where: \"coalesce({in_sql(name)}, '') <> '{value}'\"}}"


def _in_flow(form: str) -> str:
    """A format in YAML's braces."""
    return f'"{form}"' if "," in form else form


def _all_match(pattern: str, texts: list[str]) -> bool:
    return all(re.fullmatch(pattern, text) for text in texts)


# How numbers are written, too, with one of these marks -> what to set.
_STYLES = [
    (
        ",",
        r"[+-]?[0-9]{1,3}(,[0-9]{3})*",
        "options.thousands to a comma if it groups the digits, or decimal to a "
        "comma if it stands before the fraction",
    ),
    (
        ",",
        r"[+-]?([0-9]{1,3}([.][0-9]{3})+|[0-9]+),[0-9]+|[+-]?[0-9]+|[+-]?[0-9]{1,3}([.][0-9]{3})+",
        "options.decimal to a comma for numbers, and thousands to a point if "
        "that groups their digits",
    ),
    (
        ",",
        r"[+-]?([0-9]{1,3}(,[0-9]{2,3})*,[0-9]{3}|[0-9]{1,3})([.][0-9]+)?",
        "options.thousands to a comma for numbers",
    ),
    (
        "'",
        r"[+-]?[0-9]{1,3}('[0-9]{3})*([.][0-9]+)?",
        'options.thousands to "\'" for numbers',
    ),
    (
        " \u00a0\u202f",
        "[+-]?[0-9]{1,3}([ \u00a0\u202f][0-9]{3})*([.,][0-9]+)?",
        'options.thousands to " " for numbers, and decimal to a comma if that '
        "stands before their fraction",
    ),
]
