"""The steps that clean data and make features."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from ..base import Model, Rule, exactly_one_of
from .common import Column, Columns
from .features import (
    Bin,
    Clip,
    DateParts,
    GroupRare,
    HashEncode,
    HashText,
    Log1p,
    MissingIndicator,
    ParseNumber,
    Quantile,
    TargetEncode,
    Tfidf,
)
from .input import ColumnType
from .join import Join

Expression = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


def _in_64_bits(value: object) -> object:
    """As JSON has it, for which 1e20 and 100000000000000000000 are one number."""
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


Scalar = Annotated[
    bool | int | float | Annotated[str, StringConstraints(max_length=4096)],
    AfterValidator(_in_64_bits),
]


class DropDuplicates(Model):
    """Keep one row of those that are equal."""

    subset: Columns | None = Field(None, description="Columns to compare; all when unset.")


class DropNa(Model):
    """Drop rows with nulls."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.how) && has(self.thresh))",
            message="how and thresh exclude each other",
            holds=lambda self: self.how is None or self.thresh is None,
        ),
    )

    how: Literal["any", "all"] | None = Field(
        None, description="Drop where any, or only where all, are null; `any` when unset."
    )
    subset: Columns | None = Field(None, description="Columns to look at; all when unset.")
    thresh: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Keep rows with at least so many non-null values."
    )


class FillNa(Model):
    """Replace nulls. Mean, median and mode come from the training split."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.value) == (self.strategy == 'value')",
            message="value must be set when strategy is value, and only then",
            holds=lambda self: (self.value is not None) == (self.strategy == "value"),
        ),
    )

    strategy: Literal["value", "mean", "median", "mode"] = Field(
        "value", description="Where the replacement comes from."
    )
    value: Scalar | None = Field(
        None, description="The replacement for strategy `value`: number, text or boolean."
    )
    columns: Columns | None = Field(
        None,
        description="Columns to fill; when unset, all that the replacement fits "
        "(mean and median: numeric ones), the label excepted.",
    )


Types = Annotated[list[ColumnType], Field(min_length=1, max_length=6)]
COLUMNS_OR_TYPES = Rule(
    cel="has(self.columns) || has(self.types)",
    message="columns or types must be set",
    holds=lambda self: self.columns is not None or self.types is not None,
)


class Select(Model):
    """Keep these columns, in this order, and those of these types. By a pattern or a type, the
    label is kept in any case."""

    rules: ClassVar[tuple[Rule, ...]] = (COLUMNS_OR_TYPES,)

    columns: Columns | None = Field(
        None, description="Columns to keep, or patterns of their names (`price_*`)."
    )
    types: Types | None = Field(None, description="Types of columns to keep.")


class Drop(Model):
    """Drop these columns, and those of these types. By a pattern or a type, the label never is."""

    rules: ClassVar[tuple[Rule, ...]] = (COLUMNS_OR_TYPES,)

    columns: Columns | None = Field(
        None, description="Columns to drop, or patterns of their names (`price_*`)."
    )
    types: Types | None = Field(None, description="Types of columns to drop.")


class Rename(Model):
    """Rename columns."""

    columns: Annotated[dict[str, Column], Field(min_length=1, max_length=4096)] = Field(
        description="Old name to new name; `old_*: new_*` renames all that begin so."
    )


class Cast(Model):
    """Change the type of columns; a value that does not fit becomes null."""

    columns: Annotated[dict[str, ColumnType], Field(min_length=1, max_length=4096)] = Field(
        description="Column, or pattern of names (`price_*`), to type."
    )


class Filter(Model):
    """Keep rows for which a condition holds."""

    where: Expression = Field(description="A Spark SQL condition over the columns.")


class WithColumn(Model):
    """Add or replace a column."""

    name: Column = Field(description="Name of the column.")
    expr: Expression = Field(description="A Spark SQL expression over the columns.")


class EncodeLabels(Model):
    """Categories to 0, 1, … in sorted order; nulls stay, categories not seen in training are -1."""

    columns: Columns = Field(description="Columns to encode.")


class OneHot(Model):
    """A column to one 0/1 column per category, named `column_category`, all 0 for an unseen one."""

    columns: Columns = Field(description="Columns to encode.")
    max_categories: Annotated[int, Field(ge=1, le=1000)] = Field(
        100, description="More categories than this in the training split are an error."
    )


class Scale(Model):
    """Bring numeric columns to one scale."""

    method: Literal["standard", "minmax"] = Field(
        "standard",
        description="`standard`: zero mean, unit variance; `minmax`: 0 to 1. "
        "A constant column becomes 0.",
    )
    columns: Columns | None = Field(
        None, description="Columns to scale; all numeric ones except the label when unset."
    )


class Sql(Model):
    """A query over the table `data`."""

    query: Expression = Field(
        description="One query in the engine's own SQL, DuckDB's or Spark's; the result replaces "
        "the data. `inputs` are tables under their names."
    )


class Step(Model):
    """One step: exactly one of the fields. In every list of columns, `*` stands for any part of a
    name: `price_*` are the columns whose names begin so, the label excepted."""

    drop_duplicates: DropDuplicates | None = Field(None, description="Drop equal rows.")
    dropna: DropNa | None = Field(None, description="Drop rows with nulls.")
    fillna: FillNa | None = Field(None, description="Replace nulls.")
    missing_indicator: MissingIndicator | None = Field(None, description="Mark nulls by 0/1.")
    select: Select | None = Field(None, description="Keep columns.")
    drop: Drop | None = Field(None, description="Drop columns.")
    rename: Rename | None = Field(None, description="Rename columns.")
    cast: Cast | None = Field(None, description="Change types.")
    parse_number: ParseNumber | None = Field(None, description="Texts like `$1,234` to numbers.")
    filter: Filter | None = Field(None, description="Keep rows by a condition.")
    with_column: WithColumn | None = Field(None, description="Compute a column.")
    date_parts: DateParts | None = Field(None, description="Dates to numbers.")
    group_rare: GroupRare | None = Field(None, description="Rare categories to one.")
    encode_labels: EncodeLabels | None = Field(None, description="Categories to integers.")
    one_hot: OneHot | None = Field(None, description="Categories to 0/1 columns.")
    hash_encode: HashEncode | None = Field(None, description="Many categories to few columns.")
    target_encode: TargetEncode | None = Field(None, description="Categories to label means.")
    hash_text: HashText | None = Field(None, description="Free text to columns, by hashes.")
    tfidf: Tfidf | None = Field(None, description="Free text to columns, by its words.")
    clip: Clip | None = Field(None, description="Bound numbers.")
    log1p: Log1p | None = Field(None, description="Logarithm of 1 + x.")
    scale: Scale | None = Field(None, description="Scale numeric columns.")
    quantile: Quantile | None = Field(None, description="Numbers to their rank.")
    bin: Bin | None = Field(None, description="Numbers to bins.")
    join: Join | None = Field(None, description="Add the columns of a table of `inputs`.")
    sql: Sql | None = Field(None, description="A query over the table `data`.")


Step.rules = (exactly_one_of(*Step.model_fields),)
