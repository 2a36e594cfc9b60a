"""JSON in DuckDB: what its values are, and a reader for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ..expressions.duckdb_dialect import DUCKDB
from .arrow import is_list
from .frame import MOST_JSON, JsonForm, JsonFound

if TYPE_CHECKING:
    from .duckdb import DuckdbEngine

_FORMATS: dict[JsonForm, str] = {"lines": "newline_delimited", "array": "array"}

# DuckDB reads commas at an end, NaN and infinities, which are not JSON; a text may look like them.
_SUSPICIOUS = r"(?i),\s*[\]}]|[:\[,]\s*[-+]?(nan|inf|infinity)\s*[,\]}]"

_TEXT = "CAST(value AS VARCHAR)"
# Of lists: whole numbers that a double may round, and numbers that it cannot hold.
_LONG = rf"regexp_matches({_TEXT}, '[\[,]-?[0-9]{{16,}}[,\]]')"
_INFINITE = f"""CASE WHEN regexp_matches({_TEXT}, '[eE][+]?[0-9]{{3}}|[0-9]{{309}}')
THEN len(list_filter(from_json(value, '["DOUBLE"]'), lambda x: isinf(x))) > 0 ELSE FALSE END"""
_KIND = f"""CASE type
WHEN 'NULL' THEN 'null'
WHEN 'BOOLEAN' THEN 'boolean'
WHEN 'VARCHAR' THEN 'string'
WHEN 'OBJECT' THEN CASE WHEN len(json_keys(value)) <> len(list_distinct(json_keys(value)))
  THEN 'malformed' ELSE 'object' END
WHEN 'ARRAY' THEN CASE CAST(json_structure(value) AS VARCHAR)
  WHEN '["UBIGINT"]' THEN CASE WHEN regexp_matches({_TEXT}, '[0-9]{{19}}') THEN 'huges'
    WHEN {_LONG} THEN 'longs' ELSE 'integers' END
  WHEN '["BIGINT"]' THEN CASE WHEN {_LONG} THEN 'longs' ELSE 'integers' END
  WHEN '["DOUBLE"]' THEN CASE WHEN {_INFINITE} THEN 'infinites'
    WHEN {_LONG} THEN 'huges' ELSE 'numbers' END
  WHEN '["VARCHAR"]' THEN 'texts'
  WHEN '["NULL"]' THEN 'empty'
  ELSE 'nested' END
WHEN 'DOUBLE' THEN CASE WHEN regexp_matches({_TEXT}, '^-?[0-9]+$') THEN 'huge'
  WHEN isinf(CAST({_TEXT} AS DOUBLE)) THEN 'infinite' ELSE 'number' END
ELSE CASE WHEN try_cast({_TEXT} AS BIGINT) IS NULL THEN 'huge'
  WHEN try_cast({_TEXT} AS BIGINT) BETWEEN -9007199254740992 AND 9007199254740992
  THEN 'integer' ELSE 'long' END
END"""


def objects(engine: DuckdbEngine, paths: str, form: JsonForm) -> str:
    """A view of the objects."""
    return engine.view(
        f"SELECT json, filename AS file FROM read_json_objects([{paths}], "
        f"format = '{_FORMATS[form]}', filename = true, hive_partitioning = false)"
    )


def level(engine: DuckdbEngine, objects: str, depth: int) -> list[JsonFound]:
    """As ``Engine.json_level``."""
    found = []
    if depth == 0:
        kind = (
            "CASE WHEN json_type(json) <> 'OBJECT' OR len(keys) <> len(list_distinct(keys)) "
            f"THEN 'malformed' WHEN regexp_matches(CAST(json AS VARCHAR), '{_SUSPICIOUS}') "
            "THEN 'suspicious' ELSE 'object' END"
        )
        rows = engine.rows(
            f"SELECT {kind} AS k, count(*), count(DISTINCT file), min(file) "
            f"FROM (SELECT *, json_keys(json) AS keys FROM {objects}) GROUP BY k"
        )
        found = [JsonFound((), row[0], row[1], None, None, row[2], row[3]) for row in rows]
        if any(one.kind == "malformed" for one in found):
            return found
    values = (
        f"SELECT [e.key] AS path, o.file, e.value, e.type FROM {objects} o, json_each(o.json) e"
    )
    for _ in range(depth):
        values = (
            "SELECT list_append(o.path, e.key) AS path, o.file, e.value, e.type "
            f"FROM (SELECT * FROM ({values}) WHERE type = 'OBJECT') o, json_each(o.value) e"
        )
    length = "CASE WHEN type = 'ARRAY' THEN json_array_length(value) END"
    rows = engine.rows(
        "SELECT path, coalesce(k, 'any'), count(*), min(n), max(n), count(DISTINCT file), "
        f"min(file) FROM (SELECT path, file, {_KIND} AS k, {length} AS n FROM ({values})) "
        f"GROUP BY GROUPING SETS ((path, k), (path)) LIMIT {MOST_JSON + 1}"
    )
    return found + [JsonFound(tuple(path), *rest) for path, *rest in rows]


def reading(paths: str, form: JsonForm, schema: pa.Schema) -> str:
    """A query that reads the objects."""
    columns = ", ".join(f"{DUCKDB.ident(f.name)}: {DUCKDB.text(_type(f.type))}" for f in schema)
    return (
        f"SELECT * FROM read_json([{paths}], format = '{_FORMATS[form]}', columns = {{{columns}}}, "
        "hive_partitioning = false)"
    )


def _type(type_: pa.DataType) -> str:
    if pa.types.is_struct(type_):
        fields = ", ".join(f"{DUCKDB.ident(field.name)} {_type(field.type)}" for field in type_)
        return f"STRUCT({fields})"
    if is_list(type_):
        return f"{_type(type_.value_type)}[]"
    plain = {pa.bool_(): "BOOLEAN", pa.int64(): "BIGINT", pa.float64(): "DOUBLE"}
    return plain.get(type_, "VARCHAR")
