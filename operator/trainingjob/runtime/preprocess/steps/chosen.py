"""The columns that a step means: patterns and types become names, before it runs.

The dataset's manifest has the step with these names, so that it means the same columns when the
pipeline is applied to other data.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from trainingjob.api.base import Model
from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.join import Join
from trainingjob.api.v1alpha1.steps import Cast, Drop, Rename, Select

from ...base.errors import StageFailure
from ...base.text import listed
from ...dataset.meant import ANY, matches
from ..engines.frame import NUMERIC, Frame
from .step import Where


def concrete(spec: Model, frame: Frame, where: Where) -> Model:
    """The step with names alone; a pattern never means the label.

    Raises StageFailure(ColumnNotFound) for a pattern or a type that no column has."""
    if isinstance(spec, Join):
        return spec  # its columns are another table's
    if isinstance(spec, Cast | Rename):
        return _by_name(spec, frame, where)
    field = next((name for name in ("columns", "subset") if name in type(spec).model_fields), "")
    given = getattr(spec, field, None)
    types = getattr(spec, "types", None)
    names = list(given) if isinstance(given, list) else []
    if not (types or any(_is_pattern(name, frame.columns) for name in names)):
        return spec
    found: list[str] = []
    for name in names:
        if not _is_pattern(name, frame.columns):
            found.append(name)
            continue
        # What no dataset can hold can be dropped all the same.
        also = frame.unread if isinstance(spec, Drop) else ()
        same = [column for column in [*frame.columns, *also] if matches(name, column)]
        if not same:
            raise _nothing_like(where, name, frame.columns)
        found += [column for column in same if column not in where.apart]
    for kind in types or ():
        same = [column for column, its in frame.columns.items() if its == kind]
        if not same:
            typed = listed([f"{column} ({its})" for column, its in frame.columns.items()])
            raise StageFailure(
                "ColumnNotFound", f"{where.text}: no column is a {kind} (columns: {typed})"
            )
        found += [column for column in same if column not in where.apart]
    if not found:
        raise StageFailure(
            "ColumnNotFound",
            f"{where.text}: only the label {where.label} is such a column, and a pattern or a type "
            "never means the label: write its name",
        )
    if isinstance(spec, Select):
        found += [column for column in frame.columns if column in where.apart]
    update: dict[str, object] = {field: list(dict.fromkeys(found))}
    return spec.model_copy(update=update | ({"types": None} if types else {}))


def _by_name(spec: Cast | Rename, frame: Frame, where: Where) -> Model:
    """The same of a step that says something of each column; of a name it counts more than of a
    pattern, and of a later pattern more than of an earlier one."""
    patterns = [key for key in spec.columns if _is_pattern(key, frame.columns)]
    if not patterns:
        return spec
    found: dict[str, str] = {}
    for pattern in patterns:
        same = [name for name in frame.columns if matches(pattern, name)]
        if not same:
            raise _nothing_like(where, pattern, frame.columns)
        to = spec.columns[pattern]
        if isinstance(spec, Rename) and not pattern.count(ANY) == to.count(ANY) == 1:
            raise where.failure(
                f"{pattern}: {to}: a pattern and the new name have one {ANY} each, which stands "
                "for the same part",
                "ColumnNotFound",
            )
        begin, _, end = pattern.partition(ANY)
        for name in same:
            part = name[len(begin) : len(name) - len(end)]
            if name not in where.apart:
                found[name] = to.replace(ANY, part) if isinstance(spec, Rename) else to
    named = {key: to for key, to in spec.columns.items() if key not in patterns}
    return spec.model_copy(update={"columns": found | named})


def _is_pattern(name: str, columns: Collection[str]) -> bool:
    return ANY in name and name not in columns


def _nothing_like(where: Where, pattern: str, columns: Collection[str]) -> StageFailure:
    core = max(pattern.split(ANY), key=len).lower()
    inside = [name for name in columns if core and core in name.lower()]
    near = inside or difflib.get_close_matches(
        core, [name.lower() for name in columns], n=3, cutoff=0.5
    )
    close = [name for name in columns if name in inside or name.lower() in near]
    hint = f"; there is {', '.join(close[:3])}" if close else ""
    return StageFailure(
        "ColumnNotFound",
        f"{where.text}: no column is named like {pattern}{hint} (columns: {listed(columns)})",
    )


def numeric(frame: Frame, where: Where, columns: Sequence[str] | None) -> list[str]:
    """The columns of a step for numbers, without repetition: those that are given, or all numeric
    features. Raises StageFailure(ColumnNotFound, StepFailed)."""
    if columns is None:
        return [n for n, kind in frame.columns.items() if kind in NUMERIC and n not in where.apart]
    where.require(frame, columns)
    for name in columns:
        kind = frame.columns[name]
        if kind not in NUMERIC:
            remedy = {
                "string": f"`parseNumber: {{columns: [{name}]}}` before it reads texts as numbers",
                "boolean": f"`cast: {{columns: {{{name}: bigint}}}}` before it makes 0 and 1 of it",
            }.get(kind, f"`dateParts: {{columns: [{name}], parts: [year, month]}}` makes numbers")
            raise where.failure(f"column {name} is a {kind}, not a number; {remedy}")
    return list(dict.fromkeys(columns))


def texts(frame: Frame, where: Where, columns: Sequence[str]) -> list[str]:
    """The same of a step for texts."""
    where.require(frame, columns)
    for name in columns:
        if frame.columns[name] != "string":
            raise where.failure(
                f"column {name} is a {frame.columns[name]}, not text; "
                f"`cast: {{columns: {{{name}: string}}}}` before it makes text of it"
            )
    return list(dict.fromkeys(columns))


def add(
    where: Where,
    made: dict[str, tuple[str, ColumnType]],
    frame: Frame,
    name: str,
    value: tuple[str, ColumnType],
) -> None:
    """A new column beside those that are ``made``, whose name no other has.

    Raises StageFailure(DuplicateColumns)."""
    if name in made or name in frame.columns:
        raise where.failure(
            f"column {name} is there already; rename it before this step", "DuplicateColumns"
        )
    made[name] = value
