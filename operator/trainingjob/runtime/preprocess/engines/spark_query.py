"""A user's query in Spark's SQL: nothing but a query, over no files, in ANSI mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession

from ...base.errors import StageFailure
from ...base.text import listed, one_line
from ..names import no_column

# A text that is no number is an error, as in DuckDB; and no file is a table.
_SETTINGS = {"spark.sql.ansi.enabled": "true", "spark.sql.runSQLOnFiles": "false"}


@contextmanager
def settings(session: SparkSession) -> Iterator[None]:
    """What holds while a query is analysed: its casts and sums keep it."""
    before = {key: session.conf.get(key) for key in _SETTINGS}
    try:
        for key, value in _SETTINGS.items():
            session.conf.set(key, value)
        yield
    finally:
        for key, old in before.items():
            session.conf.set(key, str(old))


def run(session: SparkSession, text: str, tables: Mapping[str, DataFrame]) -> DataFrame:
    """The query's frame, not yet computed; raises StageFailure(ExpressionInvalid)."""
    try:
        # Not session.sql, which runs a command at once.
        parsed = session._jsparkSession.sessionState().sqlParser().parseQuery(text)
    except ParseException as error:
        raise _invalid(f"a sql step is one query: SELECT … FROM data: {one_line(error)}") from error
    nodes = list(_nodes(parsed))
    _refuse_others(nodes, list(tables))
    for node in nodes:
        kind = node.getClass().getSimpleName()
        if kind == "Sample":
            raise _invalid("a sample has other rows at every run")
        below = node.children().apply(0).getClass().getSimpleName() if kind == "LocalLimit" else ""
        if below not in ("", "Sort"):
            raise _invalid("LIMIT needs ORDER BY: rows have no order of their own")
    try:
        made = session.sql(text)
    except AnalysisException as error:
        columns = [column for table in tables.values() for column in table.columns]
        raise _failure(error, list(dict.fromkeys(columns)), list(tables)) from error
    if all(map(_is_fixed, tables.values())) and not _is_fixed(made):
        raise _invalid("a function of it gives another result at every run, as rand does")
    return made


def _failure(error: AnalysisException, columns: list[str], tables: list[str]) -> StageFailure:
    condition, words = error.getCondition() or "", error.getMessageParameters() or {}
    if condition.startswith("UNRESOLVED_COLUMN"):
        name = words["objectName"].replace("`", "")
        return StageFailure("ColumnNotFound", no_column(name, columns))
    if condition.startswith("TABLE_OR_VIEW_NOT_FOUND"):
        name = words["relationName"].replace("`", "")
        return _invalid(f"there is no table {name}, only {listed(tables)}")
    return _invalid(one_line(error))


def _refuse_others(nodes: Sequence[Any], tables: list[str]) -> None:
    """Raises StageFailure for a table that is none of these, nor one that the query names: those
    of the session's catalog are not the job's inputs."""
    named = {*tables}
    for node in nodes:
        if node.getClass().getSimpleName() == "UnresolvedWith":
            named |= {one._1().lower() for one in _items(node.cteRelations())}
    for node in nodes:
        if node.getClass().getSimpleName() == "UnresolvedRelation":
            name = ".".join(_items(node.multipartIdentifier()))
            if name.lower() not in named:
                raise _invalid(f"there is no table {name}, only {listed(tables)}")


def _nodes(plan: Any) -> Iterator[Any]:
    """With those of subqueries and of tables that WITH names."""
    yield plan
    for child in (*_items(plan.children()), *_items(plan.innerChildren())):
        yield from _nodes(child)


def _items(sequence: Any) -> Iterator[Any]:
    """Of a sequence of Scala."""
    return map(sequence.apply, range(sequence.length()))


def _is_fixed(frame: DataFrame) -> bool:
    return bool(frame._jdf.queryExecution().analyzed().deterministic())


def _invalid(what: str) -> StageFailure:
    return StageFailure("ExpressionInvalid", what)
