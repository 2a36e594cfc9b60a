"""What a job reads."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .. import uris
from ..base import Model, Rule
from .common import NO_PARENT, Column, InputUri
from .patterns import (
    DATE_FORMAT,
    DELIMITER,
    NO_LINE_END,
    NO_NUL,
    ONE_CHARACTER,
    TIME_ZONE,
)

ColumnType = Literal["boolean", "bigint", "double", "string", "date", "timestamp"]

Encoding = Literal[
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "latin-1",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-15",
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "cp437",
    "cp850",
    "koi8-r",
    "mac-roman",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "big5",
]

Character = Annotated[str, StringConstraints(min_length=1, max_length=1, pattern=ONE_CHARACTER)]
NullText = Annotated[str, StringConstraints(max_length=64, pattern=NO_NUL)]
DateFormat = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=DATE_FORMAT)]

# The word for blanks and tabs, any number of them, between fields.
WHITESPACE = "whitespace"

# The column of format text.
TEXT = "text"

# Runs of letters that the pattern of a date format takes for two fields in a row.
_TOO_LONG = "yyyyy|MMMMM|ddd|HHH|hhh|mmm|sss|SSSSSSS|aa|XX"


class CsvOptions(Model):
    """How a CSV file is written."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.delimiter) || self.delimiter != self.quote",
            message="delimiter and quote must differ",
            holds=lambda self: self.delimiter != self.quote,
        ),
        Rule(
            cel="!has(self.nullValue) || !has(self.nullValues)",
            message="nullValue and nullValues must not both be set: nullValues has any number",
            holds=lambda self: self.null_value is None or self.null_values is None,
        ),
        Rule(
            cel="!has(self.thousands) || self.thousands != "
            "(has(self.decimal) ? self.decimal : '.')",
            message="thousands and decimal must differ; decimal is '.' when unset",
            holds=lambda self: self.thousands != (self.decimal or "."),
        ),
        Rule(
            cel="!has(self.escape) || !has(self.delimiter) || self.escape != self.delimiter",
            message="escape and delimiter must differ",
            holds=lambda self: self.escape is None or self.escape != self.delimiter,
        ),
        Rule(
            cel="!has(self.comment) || (self.comment != self.quote && "
            "(!has(self.delimiter) || self.comment != self.delimiter))",
            message="comment must be neither delimiter nor quote",
            holds=lambda self: (
                self.comment is None or self.comment not in (self.quote, self.delimiter)
            ),
        ),
    )

    header: bool = Field(True, description="The first line names the columns (else c0, c1, …).")
    delimiter: (
        Annotated[str, StringConstraints(min_length=1, max_length=10, pattern=DELIMITER)] | None
    ) = Field(
        None,
        description="What stands between fields: a character, up to four that are signs (`::`), or "
        "`whitespace` for any number of blanks and tabs. Unset: found out from the first lines.",
    )
    quote: Annotated[str, StringConstraints(max_length=1, pattern=NO_LINE_END)] = Field(
        '"',
        description="One character around fields that contain the delimiter; empty: fields have "
        "no quotes.",
    )
    escape: Character | None = Field(
        None,
        description="One character before a quote or delimiter that is part of a field, such as "
        "`\\`. A doubled quote always is.",
    )
    comment: Character | None = Field(
        None, description="One character; lines that begin with it are left out."
    )
    skip_rows: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        None, description="How many lines to leave out at the beginning of each file."
    )
    encoding: Encoding | None = Field(
        None, description="How the file's characters are written. Unset: UTF-8."
    )
    trim: bool | None = Field(
        None,
        description="Whether blanks around texts are cut: of `a, b` comes `b`. Unset: they stay, "
        "and a warning names the columns. Around numbers, dates and nulls they never count.",
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="What stands before the fraction of a number. Unset: a point."
    )
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        None, description="What groups the digits of a number: with `,`, 1,234 is 1234."
    )
    null_value: NullText | None = Field(
        None,
        description="As `nullValues`, of one text: the text of a null, besides an empty field.",
    )
    null_values: Annotated[list[NullText], Field(max_length=64)] | None = Field(
        None,
        description="The texts that stand for null, besides an empty field. Unset: those of "
        "pandas, such as NA, N/A, NaN, null and None. An empty list: none.",
    )


class Input(Model):
    """The raw data: a file, a folder or a glob; `.gz`, `.bz2`, `.xz`, `.zst` and `.zip` are
    unpacked."""

    rules: ClassVar[tuple[Rule, ...]] = (
        NO_PARENT,
        Rule(
            cel="self.format == 'csv' || !has(self.options)",
            message="options apply to format csv only",
            holds=lambda self: self.format == "csv" or self.options is None,
        ),
        Rule(
            cel="self.format == 'text' || !has(self.documents)",
            message="documents applies to format text only",
            holds=lambda self: self.format == "text" or self.documents is None,
        ),
        Rule(
            cel="self.format != 'raw' || "
            "(!has(self.schema) && !has(self.dateFormats) && !has(self.timeZone))",
            message="schema, dateFormats and timeZone do not apply to format raw",
            holds=lambda self: (
                self.format != "raw" or not (self.types or self.date_formats or self.time_zone)
            ),
        ),
        Rule(
            cel="self.format in ['csv', 'json', 'raw'] || !has(self.timeZone)",
            message="timeZone applies to formats csv and json only",
            holds=lambda self: self.format in ("csv", "json", "raw") or self.time_zone is None,
        ),
        Rule(
            cel="!has(self.dateFormats) || self.dateFormats.all(k, "
            "self.dateFormats[k].contains('yy') && "
            f"!self.dateFormats[k].matches('{_TOO_LONG}'))",
            message="dateFormats must have a year each, as yyyy or yy, "
            "and no letters in a row beyond what the format knows",
            holds=lambda self: all(
                "yy" in text and not re.search(_TOO_LONG, text)
                for text in (self.date_formats or {}).values()
            ),
        ),
        Rule(
            cel="!has(self.dateFormats) || !has(self.schema) || self.dateFormats.all(k, "
            "!(k in self.schema) || self.schema[k] in ['date', 'timestamp'])",
            message="a column of dateFormats must be a date or a timestamp in schema, or not there",
            holds=lambda self: all(
                (self.types or {}).get(name, "date") in ("date", "timestamp")
                for name in self.date_formats or {}
            ),
        ),
    )

    uri: InputUri = Field(
        description=f"{uris.listed('or', '`')}: a file, a folder, or a glob (`*`, `?`, `[ab]`)."
    )
    format: Literal["csv", "json", "parquet", "orc", "text", "raw"] = Field(
        description="`json` means one object a line, or one array of objects; `text` the column "
        "`text` of documents; `raw` that nothing is read before the script, which is "
        "`preprocess(paths, context)`."
    )
    documents: Literal["files", "lines"] | None = Field(
        None, description="Format text: what is a document; files when unset."
    )
    options: CsvOptions | None = Field(None, description="For CSV.")
    types: Annotated[dict[Column, ColumnType], Field(min_length=1, max_length=4096)] | None = Field(
        None,
        alias="schema",
        description="Column to type, for columns whose type must not be found out: "
        "`{zip: string}` keeps 02134. A value that does not fit fails the job.",
    )
    date_formats: (
        Annotated[dict[Column, DateFormat], Field(min_length=1, max_length=256)] | None
    ) = Field(
        None,
        description="Column to how its dates or timestamps are written, in Spark's letters: "
        "`{joined: dd/MM/yyyy}`. Letters: yyyy yy MM M MMM MMMM dd d HH H hh h mm m ss s S a XXX; "
        "text in '…'. With hours it is a timestamp, else a date, unless `schema` says which.",
    )
    time_zone: Annotated[str, StringConstraints(max_length=64, pattern=TIME_ZONE)] | None = Field(
        None,
        description="Zone of timestamps that say none, such as Europe/Berlin. Unset: UTC.",
    )
