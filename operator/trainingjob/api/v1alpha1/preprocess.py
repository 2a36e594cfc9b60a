"""Stage 1: from raw files to a cleaned, split dataset."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from ..base import Model, Rule, exactly_one_of
from .common import (
    ENV_FROM,
    NO_PARENT,
    Column,
    Columns,
    Env,
    EnvFroms,
    Image,
    PodTemplate,
    Resources,
    Script,
    Uri,
)

Expression = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


def _in_64_bits(value: object) -> object:
    """As JSON has it, for which 1e20 and 100000000000000000000 are one number."""
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


Scalar = Annotated[
    bool | int | float | Annotated[str, StringConstraints(max_length=4096)],
    AfterValidator(_in_64_bits),
]
ColumnType = Literal["boolean", "bigint", "double", "string", "date", "timestamp"]
Fraction = Annotated[float, Field(ge=0, le=0.9)]
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
    format: Literal["csv", "json", "parquet"] = Field(description="`json` means one object a line.")
    options: CsvOptions | None = Field(None, description="For CSV.")


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


class Select(Model):
    """Keep these columns, in this order."""

    columns: Columns = Field(description="Columns to keep.")


class Drop(Model):
    """Drop columns."""

    columns: Columns = Field(description="Columns to drop.")


class Rename(Model):
    """Rename columns."""

    columns: Annotated[dict[str, Column], Field(min_length=1, max_length=4096)] = Field(
        description="Old name to new name."
    )


class Cast(Model):
    """Change the type of columns; a value that does not fit becomes null."""

    columns: Annotated[dict[str, ColumnType], Field(min_length=1, max_length=4096)] = Field(
        description="Column to type."
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

    query: Expression = Field(description="Spark SQL; the result replaces the data.")


class Step(Model):
    """One step: exactly one of the fields."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "drop_duplicates",
            "dropna",
            "fillna",
            "select",
            "drop",
            "rename",
            "cast",
            "filter",
            "with_column",
            "encode_labels",
            "one_hot",
            "scale",
            "sql",
        ),
    )

    drop_duplicates: DropDuplicates | None = Field(None, description="Drop equal rows.")
    dropna: DropNa | None = Field(None, description="Drop rows with nulls.")
    fillna: FillNa | None = Field(None, description="Replace nulls.")
    select: Select | None = Field(None, description="Keep columns.")
    drop: Drop | None = Field(None, description="Drop columns.")
    rename: Rename | None = Field(None, description="Rename columns.")
    cast: Cast | None = Field(None, description="Change types.")
    filter: Filter | None = Field(None, description="Keep rows by a condition.")
    with_column: WithColumn | None = Field(None, description="Compute a column.")
    encode_labels: EncodeLabels | None = Field(None, description="Categories to integers.")
    one_hot: OneHot | None = Field(None, description="Categories to 0/1 columns.")
    scale: Scale | None = Field(None, description="Scale numeric columns.")
    sql: Sql | None = Field(None, description="A query over the table `data`.")


class Split(Model):
    """How rows are divided: in a random order that comes from the seed and from each row as it was
    read (after the script, if there is one, and after the last `sql` step before the division),
    copies of a row each for itself. Neither the order of rows and files, nor the engine, nor a
    step that computes, renames or drops columns changes who goes where."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.test + self.validation <= 0.9000001",  # sums of fractions are not exact
            message="test and validation together must leave at least 0.1 for training",
            holds=lambda self: self.test + self.validation <= 0.9000001,
        ),
    )

    test: Fraction = Field(0.2, description="Share of rows held out for the evaluation.")
    validation: Fraction = Field(0.1, description="Share of rows for early stopping.")
    seed: Annotated[int, Field(ge=0, le=2147483647)] = Field(
        0, description="Another seed, another division."
    )
    stratify: bool = Field(
        False, description="Keep the label's distribution in every split (classification)."
    )
    rare: Literal["keepInTrain", "drop", "fail"] | None = Field(
        None,
        description="What becomes of the rows of a class that is too rare to be in every split: "
        "all of them are for training, or dropped, either with a warning in status, or the job "
        "fails; `keepInTrain` when unset.",
    )


class Driver(Model):
    """The Spark driver pod, or the one pod of engine `pandas`."""

    resources: Resources | None = Field(None, description="Its resources.")


class Executor(Model):
    """The Spark executor pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.maxInstances) || self.maxInstances >= self.instances",
            message="maxInstances must not be less than instances",
            holds=lambda self: self.max_instances is None or self.max_instances >= self.instances,
        ),
    )

    instances: Annotated[int, Field(ge=1, le=1000)] = Field(2, description="How many.")
    max_instances: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Spark's dynamic allocation: more executors than `instances` while tasks wait "
        "for one, up to so many, and no idle ones. Without it there are always `instances`.",
    )
    resources: Resources | None = Field(None, description="Resources of each.")


# Keys that the operator sets itself, with the reason told in docs/reference.md.
RESERVED_SPARK_CONF = (
    "spark.master",
    "spark.submit.",
    "spark.app.name",
    "spark.driver.host",
    "spark.driver.bindAddress",
    "spark.kubernetes.",
    "spark.authenticate",
    "spark.network.crypto.",
    "spark.executor.instances",
    "spark.dynamicAllocation.enabled",
    "spark.dynamicAllocation.initialExecutors",
    "spark.dynamicAllocation.minExecutors",
    "spark.dynamicAllocation.maxExecutors",
    "spark.ui.",
)


class Preprocess(Model):
    """From raw files to a cleaned, split dataset of parquet files."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.engine == 'spark' || (!has(self.sparkConf) && !has(self.executor))",
            message="sparkConf and executor apply to engine spark only",
            holds=lambda self: (
                self.engine == "spark" or (self.spark_conf is None and self.executor is None)
            ),
        ),
        Rule(
            cel="!has(self.sparkConf) || self.sparkConf.all(k, "
            + " && ".join(f"!k.startsWith('{key}')" for key in RESERVED_SPARK_CONF)
            + ")",
            message="sparkConf must not set keys that the operator sets: "
            + ", ".join(RESERVED_SPARK_CONF),
            holds=lambda self: (
                not any(key.startswith(RESERVED_SPARK_CONF) for key in self.spark_conf or ())
            ),
        ),
    )

    engine: Literal["spark", "pandas"] = Field(
        "spark",
        description="`spark` for data of any size, `pandas` for what fits on one machine "
        "(starts ten times faster); the same steps give the same result.",
    )
    image: Image | None = Field(None, description="Container image; the operator's when unset.")
    input: Input = Field(description="The raw data.")
    script: Script | None = Field(
        None,
        description="Own code, run before the steps: a Python module with "
        "`preprocess(frame, context) -> frame`, frame being the engine's.",
    )
    steps: Annotated[list[Step], Field(max_length=256)] | None = Field(
        None, description="Run in order. From the first fitted step on, splits go separate ways."
    )
    split: Split = Field(default_factory=Split, description="How rows are divided.")
    driver: Driver | None = Field(None, description="The driver pod.")
    executor: Executor | None = Field(None, description="The executor pods (Spark).")
    spark_conf: (
        Annotated[
            dict[str, Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=256)
        ]
        | None
    ) = Field(None, description="Spark settings; those the operator sets are refused.")
    env: Env | None = Field(None, description="Environment variables.")
    env_from: EnvFroms | None = Field(None, description=ENV_FROM)
    template: PodTemplate | None = Field(None, description="Parts of the pods.")
