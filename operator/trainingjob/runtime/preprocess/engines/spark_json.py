"""What the values of JSON are, found by Spark's executors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...storage import from_spark
from .frame import MOST_JSON, JsonFound

if TYPE_CHECKING:
    from .spark import SparkEngine

# A double holds none of these.
_INFINITE = "abs({}) = double('Infinity')"
# Of lists: whole numbers that a double may round.
_LONG = r"rlike(to_json(value), '[\\[,]-?[0-9]{16,}[,\\]]')"
# A whole number beyond 64 bits is a decimal without a fraction.
_KIND = f"""CASE
WHEN t = 'VOID' THEN 'null'
WHEN t = 'BOOLEAN' THEN 'boolean'
WHEN t = 'STRING' THEN 'string'
WHEN t LIKE 'OBJECT<%' THEN 'object'
WHEN t = 'ARRAY<BIGINT>' THEN CASE WHEN {_LONG} THEN 'longs' ELSE 'integers' END
WHEN rlike(t, '^ARRAY<(DECIMAL[^<>]*|DOUBLE)>$') THEN CASE
  WHEN exists(try_variant_get(value, '$', 'array<double>'), x -> {_INFINITE.format("x")})
  THEN 'infinites' WHEN {_LONG} THEN 'huges' ELSE 'numbers' END
WHEN t = 'ARRAY<STRING>' THEN 'texts'
WHEN t = 'ARRAY<VOID>' THEN 'empty'
WHEN t = 'BIGINT' THEN CASE WHEN try_variant_get(value, '$', 'bigint')
  BETWEEN -9007199254740992 AND 9007199254740992 THEN 'integer' ELSE 'long' END
WHEN rlike(t, '^DECIMAL[(](19|[23][0-9]),0[)]$') THEN 'huge'
WHEN t = 'DOUBLE' AND {_INFINITE.format("try_variant_get(value, '$', 'double')")} THEN 'infinite'
WHEN t LIKE 'DECIMAL%' OR t = 'DOUBLE' THEN 'number'
ELSE 'nested' END"""
# A variant makes a double of a whole number of more than 38 digits: so many nines are as huge.
_VAST = (
    r"regexp_replace(value, '([:\\[,]\\s*-?)[0-9]{39,999}(?=\\s*[,\\]}])', "
    f"concat('$1', '{'9' * 38}'))"
)
_LENGTH = """CASE WHEN t LIKE 'ARRAY<%'
THEN array_size(try_variant_get(value, '$', 'array<variant>')) END"""


def level(engine: SparkEngine, lines: str, depth: int) -> list[JsonFound]:
    """As ``Engine.json_level``, of a view of (value, file): the lines as text."""
    # The parser stops at the end of a value: only in brackets is what follows found, too.
    parsed = engine.view(
        f"SELECT CASE WHEN is_valid_utf8(value) THEN try_parse_json('[' || {_VAST} || ']') END "
        f"AS v, file FROM {lines} WHERE rlike(value, '\\\\S')"
    )
    first, second = (f"variant_get(v, '$[{place}]', 'variant')" for place in (0, 1))
    objects = engine.view(
        f"SELECT CASE WHEN schema_of_variant({first}) LIKE 'OBJECT<%' AND {second} IS NULL "
        f"THEN {first} END AS v, file FROM {parsed}"
    )
    found = []
    if depth == 0:
        rows = engine.rows(
            "SELECT CASE WHEN v IS NULL THEN 'malformed' ELSE 'object' END AS k, count(*), "
            f"count(DISTINCT file), min(file) FROM {objects} GROUP BY 1"
        )
        found = [
            JsonFound((), row[0], row[1], None, None, row[2], from_spark(row[3])) for row in rows
        ]
        if any(one.kind == "malformed" for one in found):
            return found
    values = (
        "SELECT array(key) AS path, file, value, schema_of_variant(value) AS t "
        f"FROM {objects}, LATERAL variant_explode(v)"
    )
    for _ in range(depth):
        values = (
            "SELECT array_append(o.path, e.key) AS path, o.file, e.value, "
            "schema_of_variant(e.value) AS t "
            f"FROM (SELECT * FROM ({values}) WHERE t LIKE 'OBJECT<%') AS o, "
            "LATERAL variant_explode(o.value) AS e"
        )
    rows = engine.rows(
        "SELECT path, coalesce(k, 'any'), count(*), min(n), max(n), count(DISTINCT file), "
        f"min(file) FROM (SELECT path, file, {_KIND} AS k, {_LENGTH} AS n FROM ({values})) "
        f"GROUP BY path, k GROUPING SETS ((path, k), (path)) LIMIT {MOST_JSON + 1}"
    )
    return found + [
        JsonFound(tuple(path), kind, total, shortest, longest, files, from_spark(file))
        for path, kind, total, shortest, longest, files, file in rows
    ]
