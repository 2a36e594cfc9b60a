"""What a job reads."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import NO_PARENT, Uri

ColumnType = Literal["boolean", "bigint", "double", "string", "date", "timestamp"]

CHARACTER = r"^[^\x00\r\n]$"

Character = Annotated[str, StringConstraints(min_length=1, max_length=1, pattern=CHARACTER)]


class CsvOptions(Model):
    """How a CSV file is written."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.delimiter != self.quote",
            message="delimiter and quote must differ",
            holds=lambda self: self.delimiter != self.quote,
        ),
    )

    header: bool = Field(True, description="The first line names the columns (else c0, c1, …).")
    delimiter: Character = Field(",", description="One character between fields.")
    quote: Character = Field(
        '"', description="One character around fields that contain the delimiter."
    )
    null_value: Annotated[str, StringConstraints(max_length=64)] = Field(
        "", description="The text of a null, besides an empty field."
    )


class Input(Model):
    """The raw data: a file, a folder or a glob; `.gz` is unpacked."""

    rules: ClassVar[tuple[Rule, ...]] = (
        NO_PARENT,
        Rule(
            cel="self.format == 'csv' || !has(self.options)",
            message="options apply to format csv only",
            holds=lambda self: self.format == "csv" or self.options is None,
        ),
    )

    uri: Uri = Field(
        description="`pvc://CLAIM/path` or `file:///path`: a file, a folder, or a glob "
        "(`*`, `?`, `[ab]`)."
    )
    format: Literal["csv", "json", "parquet", "orc", "raw"] = Field(
        description="`json` means one object a line, or one array of objects; `raw` that nothing "
        "is read before the script, which is `preprocess(paths, context)`."
    )
    options: CsvOptions | None = Field(None, description="For CSV.")
