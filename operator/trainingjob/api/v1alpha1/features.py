"""The steps that make features of numbers, categories, texts and dates."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ..base import Model, Rule
from .common import Column, Columns

# Beyond 64 bits the API server would refuse whole numbers of any size.
Bound = Annotated[float, Field(ge=-1e18, le=1e18)]
Share = Annotated[float, Field(ge=0, le=1)]
# What stands beside a number: without digits, signs and marks of its own.
UNIT = r"^[^0-9.,+()%\x00-\x1f-]+$"
Unit = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=UNIT)]
FewColumns = Annotated[list[Column], Field(min_length=1, max_length=64)]

NUMERIC_COLUMNS = "Columns; all numeric ones except the label when unset."


class ParseNumber(Model):
    """Texts such as `$1,234`, `12%`, `(3.5)` or `1.234,5` to doubles. `12%` is 0.12, `(3.5)` is
    -3.5; signs of currencies are left out. Groups of digits must be of three (or, as in India,
    of two before the last three): `1,23` is no number when the decimal mark is a point."""

    columns: Columns = Field(description="Columns to read; numbers among them become doubles.")
    decimal: Literal[".", ","] | None = Field(
        None,
        description="The decimal mark, `.` when unset. The other of the two, a blank and an "
        "apostrophe may stand between groups of digits.",
    )
    units: Annotated[list[Unit], Field(min_length=1, max_length=16)] | None = Field(
        None, description="Texts that may stand before or behind the number: `kg`, `EUR`."
    )
    invalid: Literal["fail", "setNull"] | None = Field(
        None,
        description="What becomes of a text that is no number: the job fails, with their count and "
        "examples, or it becomes null, with a warning; `fail` when unset.",
    )


class Clip(Model):
    """Bring numbers below a bound up to it, and those above one down to it. Nulls stay."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.min) || has(self.max) || has(self.minQuantile) || has(self.maxQuantile)",
            message="one of min, max, minQuantile and maxQuantile must be set",
            holds=lambda self: (
                (self.min, self.max, self.min_quantile, self.max_quantile) != (None,) * 4
            ),
        ),
        Rule(
            cel="!(has(self.min) && has(self.minQuantile)) && !(has(self.max) && "
            "has(self.maxQuantile))",
            message="a bound is either a number or a quantile",
            holds=lambda self: (
                None in (self.min, self.min_quantile) and None in (self.max, self.max_quantile)
            ),
        ),
        Rule(
            cel="(!has(self.min) || !has(self.max) || self.min <= self.max) && "
            "(!has(self.minQuantile) || !has(self.maxQuantile) || "
            "self.minQuantile <= self.maxQuantile)",
            message="the lower bound must not be greater than the upper one",
            holds=lambda self: (
                _ordered(self.min, self.max) and _ordered(self.min_quantile, self.max_quantile)
            ),
        ),
    )

    columns: Columns | None = Field(None, description=NUMERIC_COLUMNS)
    min: Bound | None = Field(None, description="The least value.")
    max: Bound | None = Field(None, description="The greatest value.")
    min_quantile: Share | None = Field(
        None, description="Share of the training rows' values that lie below the least value."
    )
    max_quantile: Share | None = Field(
        None, description="Share of the training rows' values that lie below the greatest value."
    )


def _ordered(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low <= high


class Log1p(Model):
    """ln(1 + x), for amounts that are spread over orders of magnitude. A value of -1 or less has
    none and fails the job."""

    columns: Columns = Field(description="Numeric columns.")


class Quantile(Model):
    """A number to the share of the training rows' values below it, 0 to 1, interpolated: rank
    instead of size. As scikit-learn's QuantileTransformer."""

    columns: Columns | None = Field(None, description=NUMERIC_COLUMNS)
    quantiles: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        None,
        description="Quantiles that are stored, 100 when unset; never more than there are values.",
    )


class Bin(Model):
    """Numbers to the number of the bin, 0, 1, …, that they lie in; nulls stay."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.borders) || !(has(self.method) || has(self.bins))",
            message="with borders, method and bins are not set",
            holds=lambda self: self.borders is None or (self.method, self.bins) == (None, None),
        ),
        Rule(
            cel="!has(self.borders) || self.borders.isSorted()",
            message="borders must rise",
            holds=lambda self: self.borders is None or self.borders == sorted(self.borders),
        ),
    )

    columns: Columns | None = Field(None, description=NUMERIC_COLUMNS)
    method: Literal["quantile", "uniform"] | None = Field(
        None,
        description="Bins of as many training rows each, or of equal width; `quantile` when unset.",
    )
    bins: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="How many, 5 when unset; fewer where borders fall together."
    )
    borders: Annotated[list[Bound], Field(min_length=1, max_length=99)] | None = Field(
        None, description="Own borders, rising; a value on a border is in the upper bin."
    )


class MissingIndicator(Model):
    """Add `column_missing`, 1 where the column is null and else 0. It goes before fillna."""

    columns: Columns | None = Field(
        None,
        description="Columns; when unset, all with nulls in training rows, the label excepted.",
    )


class GroupRare(Model):
    """Categories that few training rows have become one; those that no training row has, too."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.minCount), has(self.minShare), has(self.keep)].filter(x, x).size() == 1",
            message="exactly one of minCount, minShare, keep must be set",
            holds=lambda self: [self.min_count, self.min_share, self.keep].count(None) == 2,
        ),
    )

    columns: Columns = Field(description="Columns of text.")
    min_count: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="Categories of fewer training rows are rare."
    )
    min_share: Share | None = Field(
        None,
        description="Categories of a smaller share of the training rows with a value are rare.",
    )
    keep: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="All but so many of the most frequent categories are rare."
    )
    other: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="The category that they become, `other` when unset."
    )


class HashText(Model):
    """Free text to a fixed number of features, which needs no training: each word counts, with a
    sign, for the feature that its hash names; the features of a row have length 1. Equal to
    scikit-learn's HashingVectorizer: words of two or more letters, digits and `_`, in lower case.
    The features `column_0`, `column_1`, … take the column's place; null is 0 everywhere."""

    columns: FewColumns = Field(description="Columns of text.")
    features: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Features of each column, 256 when unset."
    )


class Tfidf(Model):
    """Free text to the weights of the most frequent words of the training rows. Equal to
    scikit-learn's TfidfVectorizer: words as hashText has them (of at most 64 characters), weight
    count × (ln((1 + rows) / (1 + rows with the word)) + 1), the features of a row have length 1.
    The features `column_word` take the column's place; null is 0 everywhere."""

    columns: FewColumns = Field(description="Columns of text.")
    features: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Words of each column, 256 when unset: the most frequent ones."
    )
    min_rows: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="Words in fewer training rows are left out, 1 when unset."
    )


class HashEncode(Model):
    """Many categories to a fixed number of features, which needs no training: 1 or -1 in the
    feature that the category's hash names, 0 in the others. Equal to scikit-learn's FeatureHasher.
    The features `column_0`, `column_1`, … take the column's place; null is 0 everywhere."""

    columns: FewColumns = Field(description="Columns to encode.")
    features: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Features of each column, 32 when unset."
    )


class TargetEncode(Model):
    """A category to the mean of the label in training rows of it, drawn towards the mean of all
    rows the more, the fewer they are. Equal to scikit-learn's TargetEncoder: a training row gets
    the mean of rows of other folds, so that its own label is not in it. Of classes it is the share
    of the second one; of more than two, `column_class` for each takes the column's place. Null is
    a category; one that no training row has becomes the mean of all."""

    columns: Columns = Field(description="Columns to encode.")
    smooth: Annotated[float, Field(ge=0, le=1e9)] | None = Field(
        None,
        description="Rows that the mean of all counts for; from the variances when unset.",
    )
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        None, description="Folds of the training rows, 5 when unset."
    )


DatePart = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "dayOfWeek",
    "dayOfYear",
    "isWeekend",
    "hour",
    "minute",
    "second",
    "daysSince1970",
]


class DateParts(Model):
    """Dates and times to numbers, named `column_part`, in the column's place; nulls stay. Times
    are in UTC. dayOfWeek is 0 on Monday, week is that of ISO 8601, isWeekend is 1 on Saturday and
    Sunday, daysSince1970 of a time has a fraction."""

    columns: Columns = Field(description="Columns of dates or timestamps.")
    parts: Annotated[list[DatePart], Field(min_length=1, max_length=12)] = Field(
        description="What to take of them."
    )
