"""encodeLabels and oneHot: categories as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import EncodeLabels, OneHot

from ..engines.frame import Frame
from ..expressions.dialect import Value
from ..statistics import categories
from .losses import unseen
from .step import Fitted, Where

# They are listed in the dataset's manifest.
_MAX_LABELS = 100_000


def encode_labels(spec: EncodeLabels, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """A value's place among the sorted values of the training split; -1 for others."""
    columns = list(dict.fromkeys(spec.columns))
    where.require(frame, columns)
    found = categories(where, frame, columns, _MAX_LABELS)
    source = f"{frame.view} AS data"
    changed: dict[str, tuple[str, ColumnType]] = {}
    for index, (name, values) in enumerate(found.items()):
        codes = where.engine.table(
            {f"value{index}": frame.columns[name], f"code{index}": "bigint"},
            [(value, code) for code, value in enumerate(values)],
        )
        quoted = f"data.{where.dialect.ident(name)}"
        source += f" LEFT JOIN {codes} ON {quoted} = {codes}.value{index}"
        code = f"coalesce({codes}.code{index}, CAST(-1 AS BIGINT))"
        changed[name] = (f"CASE WHEN {quoted} IS NOT NULL THEN {code} END", "bigint")
    same = {
        name: (f"data.{quoted}", kind) for name, (quoted, kind) in where.unchanged(frame).items()
    }
    made = where.project(frame, {**same, **changed}, source=source)
    held_out = f"NOT ({where.train})"
    tallies = []
    for name in found:
        code = where.dialect.ident(name)
        test = f"{code} = {where.dialect.literal(-1, 'bigint')}"
        tallies.append(unseen(name, held_out, f"{code} IS NOT NULL", test))
    where.watch(made, tallies)
    return made, _fitted(found)


def one_hot(spec: OneHot, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """One 0/1 column per value of the training split, in place of the column."""
    where.require(frame, spec.columns)
    found = categories(where, frame, list(dict.fromkeys(spec.columns)), spec.max_categories)
    columns: dict[str, tuple[str, ColumnType]] = {}
    tallies = []
    for name, (quoted, kind) in where.unchanged(frame).items():
        if name not in found:
            columns[name] = (quoted, kind)
            continue
        known = ", ".join(where.dialect.literal(value, kind) for value in found[name])
        test = f"{quoted} NOT IN ({known})" if known else "TRUE"
        tallies.append(unseen(name, f"NOT ({where.train})", f"{quoted} IS NOT NULL", test))
        for value in found[name]:
            encoded = f"{name}_{text_of(value)}"
            if encoded in columns or encoded in frame.columns:
                raise where.failure(f"column {encoded} is there already", "DuplicateColumns")
            test = f"{quoted} = {where.dialect.literal(value, kind)}"
            columns[encoded] = (
                f"CAST(CASE WHEN {test} THEN 1 ELSE 0 END AS BIGINT)",
                "bigint",
            )
    if not columns:
        raise where.failure("no column is left", "NoFeatures")
    where.watch(frame, tallies)
    return where.project(frame, columns), _fitted(found)


def text_of(value: Value) -> str:
    """A category in a column's name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _fitted(found: dict[str, list[Value]]) -> Fitted:
    return {"categories": {name: _json(values) for name, values in found.items()}}


def _json(values: Sequence[Value]) -> list[bool | int | float | str]:
    return [str(value) if isinstance(value, date) else value for value in values]
