"""sql: a query over the table `data`. Once rows are divided, it runs over each split."""

from __future__ import annotations

from collections.abc import Mapping

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import Sql

from ..engines.frame import SPLIT, SPLIT_NUMBER, Frame
from ..expressions.queries import Relation, compile_query
from ..expressions.sqltext import refusal
from ..expressions.syntax import Unportable
from .losses import of_query
from .step import Fitted, Where


def query(spec: Sql, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """The query's result replaces the data. Its rows are new, as if they had been read here: their
    hash comes from their own content."""
    where.watch(frame, of_query(where, spec.query, frame))
    names = ", ".join(where.dialect.ident(name) for name in frame.columns)
    if not frame.is_split:
        view, columns = _run(
            spec, Relation(f"SELECT {names} FROM {frame.view}", frame.columns), where
        )
        return where.engine.hashed(Frame(view, columns)), {}
    parts = []
    columns = {}
    for number in SPLIT_NUMBER.values():
        data = Relation(f"SELECT {names} FROM {frame.view} WHERE {SPLIT} = {number}", frame.columns)
        view, columns = _run(spec, data, where)
        parts.append(f"SELECT *, {number} AS {SPLIT} FROM {view}")
    joined = where.engine.view(" UNION ALL ".join(parts))
    return where.engine.hashed(Frame(joined, columns, (SPLIT,), frame.layout)), {}


def _run(spec: Sql, data: Relation, where: Where) -> tuple[str, Mapping[str, ColumnType]]:
    engine = where.engine
    try:
        compiled = compile_query(spec.query, data, where.dialect, where.text)
        return engine.view(compiled.sql), compiled.columns
    except Unportable as part:
        if not engine.runs_spark_sql:
            raise refusal(where, part) from part
    view = engine.spark_query(spec.query, engine.view(data.sql))
    columns: dict[str, ColumnType] = {}
    selected = []
    for name, kind in engine.columns_of(view):
        if kind is None:
            raise where.failure(
                f"column {name} of the result is of a type that a dataset cannot hold"
            )
        columns[name] = kind
        value = f"CAST({where.dialect.ident(name)} AS {where.dialect.type_name(kind)})"
        value = where.dialect.finite(value) if kind == "double" else value
        selected.append(f"{value} AS {where.dialect.ident(name)}")
    return engine.view(f"SELECT {', '.join(selected)} FROM {view}"), columns
