"""sql: a query over the table `data`. Once rows are divided, it runs over each split."""

from __future__ import annotations

from trainingjob.api.v1alpha1.steps import Sql

from ..engines.frame import SPLIT, SPLIT_NUMBER, Frame
from .step import Fitted, Where


def query(spec: Sql, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """The query's result replaces the data. Its rows are new, as if they had been read here: their
    hash comes from their own content."""
    engine = where.engine
    where.leave_out(frame.unread)
    names = ", ".join(where.dialect.ident(name) for name in frame.columns)
    data = f"SELECT {names} FROM {frame.view}"
    others = {name: where.tables[name].view for name in where.tables}

    def run(data: str) -> Frame:
        return engine.query(spec.query, {"data": engine.view(data)} | others)

    if not frame.is_split:
        return engine.hashed(run(data), computed=True), {}
    parts = {number: run(f"{data} WHERE {SPLIT} = {number}") for number in SPLIT_NUMBER.values()}
    columns, *rest = (part.columns for part in parts.values())
    if any(other != columns for other in rest):
        raise where.failure("the result has other columns or types in some splits than in others")
    rows = (f"SELECT *, {number} AS {SPLIT} FROM {part.view}" for number, part in parts.items())
    joined = Frame(engine.view(" UNION ALL ".join(rows)), columns, (SPLIT,), frame.layout)
    return engine.hashed(joined, computed=True), {}
