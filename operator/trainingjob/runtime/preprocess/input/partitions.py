"""Columns that the names of folders give: KEY=VALUE."""

from __future__ import annotations

from collections.abc import Callable

from trainingjob.api.v1alpha1.input import ColumnType, CsvOptions

from ..expressions.dialect import Dialect
from .files import Source
from .texts import CODES, ZEROS_ONLY, codes_of_sample, kind_of_codes


def partition_kinds(source: Source) -> dict[str, ColumnType]:
    """The types of the partition columns, as those of CSV but that 01 is a number there."""
    kinds: dict[str, ColumnType] = {}
    for key in source.keys:
        values = sorted({v for p in source.partitions.values() if (v := p[key]) is not None})
        (codes,) = codes_of_sample([[value] for value in values], CsvOptions(null_values=[]), 1)
        kinds[key] = kind_of_codes(CODES["bigint"] if codes in ZEROS_ONLY else codes)
    return kinds


def partition_values(
    dialect: Dialect, whole: Source, part: Source, named: Callable[[str], str] | None = None
) -> list[str]:
    """The partition columns of files that have the same values in them, as SQL; ``named``: what
    they are called there."""
    texts = part.partitions.get(part.files[0], {})
    found = []
    for key, kind in partition_kinds(whole).items():
        text = texts[key]
        if text is None:
            value = dialect.literal(None, kind)
        else:
            value = dialect.read(kind, dialect.text(text))
        found.append(f"{value} AS {(named or dialect.ident)(key)}")
    return found
