"""What a step may lose of the values that it converts: the tallies of casts and of categories."""

from __future__ import annotations

from collections.abc import Mapping

from trainingjob.api.v1alpha1.input import ColumnType

from ..account import Tally
from ..advice import of_cast
from ..engines.frame import Frame
from ..expressions.dialect import Dialect

# Casts that have a result for every value.
_WHOLE: set[tuple[ColumnType, ColumnType]] = {
    ("boolean", "bigint"),
    ("boolean", "double"),
    ("bigint", "boolean"),
    ("double", "boolean"),
    ("date", "timestamp"),
    ("timestamp", "date"),
    ("timestamp", "bigint"),
}
# Whole numbers up to here are doubles as well.
_EXACT = 2**53


def of_column(
    dialect: Dialect, name: str, source: ColumnType, target: ColumnType, value: str, result: str
) -> list[Tally]:
    """Of ``value`` that a cast makes ``result`` of, both SQL."""
    there = f"{value} IS NOT NULL"
    tallies = []
    if source != target and target != "string" and (source, target) not in _WHOLE:
        tallies.append(
            Tally(
                name,
                there,
                f"{result} IS NULL",
                value,
                source,
                became=f"became null as {target}",
                advice=lambda samples: of_cast(name, source, target, samples),
            )
        )
    if (source, target) == ("bigint", "double"):
        least, most = (dialect.literal(sign * _EXACT, "bigint") for sign in (-1, 1))
        back = f"CAST({result} AS {dialect.type_name('bigint')})"
        tallies = [
            Tally(
                name,
                there,
                # The greatest doubles are beyond the bigints.
                f"NOT ({value} BETWEEN {least} AND {most}) AND (abs({result}) >= "
                f"{dialect.double(2.0**63)} OR {back} <> {value})",
                value,
                source,
                became="were rounded: a double holds 15 to 17 digits",
                reason="ValuesRounded",
                when_all="warn",
            )
        ]
    if (source, target) == ("double", "bigint"):
        tallies.append(
            Tally(
                name,
                there,
                f"{result} IS NOT NULL AND {value} <> floor({value})",
                value,
                source,
                became="lost their fraction",
                when_all="tell",
                when_some="tell",
            )
        )
    return tallies


def unseen(name: str, held_out: str, there: str, test: str, remedy: str = "") -> Tally:
    """Of values ``there`` in rows that are ``held_out``: whether the training split has them not,
    by ``test``."""
    remedy = remedy or (
        f"`groupRare: {{columns: [{name}], minCount: 10}}` before it makes one category of those "
        "and of the rare ones"
    )
    return Tally(
        name,
        f"{held_out} AND {there}",
        test,
        "",
        "null",
        became="in held-out rows are of categories that no training row has",
        reason="CategoriesUnseen",
        when_all="warn",
        remedy=remedy,
        warn_from=0.05,
    )


def casts(columns: Mapping[str, ColumnType], frame: Frame, dialect: Dialect) -> list[Tally]:
    """Of a cast step."""
    tallies: list[Tally] = []
    for name, kind in columns.items():
        quoted = dialect.ident(name)
        result = dialect.cast(quoted, frame.columns[name], kind)
        tallies += of_column(dialect, name, frame.columns[name], kind, quoted, result)
    return tallies
