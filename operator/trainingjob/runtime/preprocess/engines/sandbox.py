"""A user's query in a DuckDB of its own, which has one table and no files.

Its settings forbid files, extensions and further settings, for good, before it sees the query; a
SELECT can change nothing in it but what is thrown away with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..names import no_column

_LOCKS = ("enable_external_access = false", "lock_configuration = true")
_ONE_QUERY = "a sql step is one query: SELECT … FROM data"
_COLUMN = re.compile(r'Referenced column "(.+?)" not found')
_TABLE = re.compile(r"Table with name (.+?) does not exist")


def run(text: str, tables: Mapping[str, pa.Table], names: list[str], spill: str) -> pa.Table:
    """What a query in DuckDB's SQL makes of tables, of which it may need fewer than there are
    ``names``; what it cannot hold in memory it puts into the folder ``spill``.

    Raises StageFailure(ExpressionInvalid, ColumnNotFound) and duckdb.Error for what happens when
    it runs."""
    with duckdb.connect(
        config={
            "temp_directory": spill,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
    ) as db:
        db.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            db.register(name, table)
        for lock in _LOCKS:
            db.execute(f"SET {lock}")
        try:
            _check(db, text)
            return db.sql(text).to_arrow_table()
        except duckdb.PermissionException as error:
            raise _invalid(f"it reads the table {listed(names)} alone, and no files") from error
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            columns = [column for table in tables.values() for column in table.column_names]
            raise _failure(str(error), list(dict.fromkeys(columns)), names) from error


def _check(db: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises StageFailure for what is not one query, or one whose result is left to chance."""
    statements = duckdb.extract_statements(text)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise _invalid(_ONE_QUERY)
    ((found,),) = db.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    chance = {
        name
        for (name,) in db.execute(
            "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
        ).fetchall()
    }
    tree = json.loads(found)
    if tree["error"]:
        raise _invalid(f"{_ONE_QUERY}: {one_line(tree['error_message'])}")
    for node in _nodes(tree):
        if node.get("function_name") in chance:
            raise _invalid(f"{node['function_name']} gives another result at every run")
        if node.get("sample"):
            raise _invalid("a sample has other rows at every run")
        modifiers = [one["type"] for one in node.get("modifiers") or ()]
        if "LIMIT_MODIFIER" in modifiers and "ORDER_MODIFIER" not in modifiers:
            raise _invalid("LIMIT needs ORDER BY: rows have no order of their own")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from _nodes(part)


def _failure(words: str, columns: list[str], names: list[str]) -> StageFailure:
    if found := _COLUMN.search(words):
        return StageFailure("ColumnNotFound", no_column(found[1], columns))
    if found := _TABLE.search(words):
        return _invalid(f"there is no table {found[1]}, only {listed(names)}")
    return _invalid(one_line(words))


def _invalid(what: str) -> StageFailure:
    return StageFailure("ExpressionInvalid", what)
