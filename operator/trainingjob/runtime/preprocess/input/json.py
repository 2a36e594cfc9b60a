"""Reading JSON: one object a line."""

from __future__ import annotations

import codecs
import json
from typing import Any

from trainingjob.api.v1alpha1.input import ColumnType

from ...base.errors import StageFailure
from ...base.text import listed
from ..engines.arrow import beyond
from ..engines.frame import Engine, Frame
from ..names import refuse_duplicates
from ..notes import Notes
from .files import Source, check_utf8, malformed, open_bytes, readable
from .partitions import partition_kinds, partition_values

# The JSON types of a key's values, nulls aside, and the type of its column.
_JSON_TYPES: dict[frozenset[str], ColumnType] = {
    frozenset(): "string",
    frozenset({"boolean"}): "boolean",
    frozenset({"integer"}): "bigint",
    frozenset({"huge"}): "string",
    frozenset({"number"}): "double",
    frozenset({"integer", "number"}): "double",
    frozenset({"string"}): "string",
}


def read_json(engine: Engine, source: Source, notes: Notes) -> Frame:
    """Columns in the order of the first object's keys, then others by name. Text stays text."""
    refuse_byte_order_marks(source)
    try:
        found = engine.json_types(source)
    except StageFailure as failure:
        check_json(source)
        raise malformed(source, failure) from failure
    if any(kind == "malformed" for _, kind, _ in found):
        check_json(source)
        raise StageFailure("InputMalformed", f"{source.uri}: not one JSON object a line")
    if not any(kind == "object" for _, kind, _ in found):
        raise StageFailure("InputEmpty", f"{source.uri}: the input has no rows")
    notes.rows = sum(count for name, kind, count in found if name is None and kind == "object")
    types: dict[str, set[str]] = {name: set() for name in first_json_keys(source)}
    for name, kind, _ in sorted(row for row in found if row[0] is not None):
        types.setdefault(name, set()).update({kind} - {"null"})  # type: ignore[arg-type]
    if not types:
        raise StageFailure("InputEmpty", f"{source.uri}: the objects have no keys")
    refuse_duplicates(source.uri, [*types, *source.keys])
    columns: dict[str, ColumnType] = {}
    for name, kinds in types.items():
        if "number" in kinds and kinds & {"long", "huge"}:
            notes.warn(
                "ValuesRounded",
                f"{source.uri}: {name} has whole numbers beyond 2**53 among numbers with a "
                "fraction: they are read as doubles, which hold 15 to 17 digits",
            )
            kinds -= {"long", "huge"}
        elif "huge" in kinds and kinds <= {"integer", "long", "huge"}:
            notes.warn("ReadAsText", f"{source.uri}: {name} is text: {beyond()}")
            kinds = {"huge"}
        kinds = {"integer" if kind in ("long",) else kind for kind in kinds}
        if frozenset(kinds) not in _JSON_TYPES:
            what = (
                "nested values" if "nested" in kinds else f"values of types {listed(sorted(kinds))}"
            )
            raise StageFailure(
                "InputMalformed",
                f"{source.uri}: {name} has {what}; a column has values of one type",
            )
        columns[name] = _JSON_TYPES[frozenset(kinds)]
    dialect = engine.dialect
    selected = [
        f"{dialect.finite(dialect.ident(name)) if kind == 'double' else dialect.ident(name)} "
        f"AS {dialect.ident(name)}"
        for name, kind in columns.items()
    ]
    if not source.keys:
        raw = engine.read_json(source, columns)
        return Frame(engine.view(f"SELECT {', '.join(selected)} FROM {raw}"), columns)
    queries = []
    for part in source.parts():
        raw = engine.read_json(part, columns)
        values = partition_values(dialect, source, part)
        queries.append(f"SELECT {', '.join([*selected, *values])} FROM {raw}")
    return Frame(engine.view(" UNION ALL ".join(queries)), columns | partition_kinds(source))


def check_json(source: Source) -> None:
    """The same for JSON: raises StageFailure for the first line that is not an object."""
    for file in source.files:
        check_utf8(file)
        with readable(file), open_bytes(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
                except ValueError as error:
                    message = f"{file}, line {number}: {error}"
                    raise StageFailure("InputMalformed", message) from error
                if not isinstance(value, dict):
                    raise StageFailure("InputMalformed", f"{file}, line {number}: not an object")


def refuse_byte_order_marks(source: Source) -> None:
    """Raises StageFailure(InputMalformed): a JSON text must not begin with one, and DuckDB reads
    none that does."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                message = f"{file}, line 1: a byte order mark; write the file without one"
                raise StageFailure("InputMalformed", message)


def first_json_keys(source: Source) -> list[str]:
    """The keys of the first object."""
    for file in source.files:
        with readable(file), open_bytes(file) as stream:
            for line in stream:
                if line.strip():
                    try:
                        return list(json.loads(line))
                    except ValueError as error:
                        message = f"{file}, line 1: {error}"
                        raise StageFailure("InputMalformed", message) from error
    return []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
