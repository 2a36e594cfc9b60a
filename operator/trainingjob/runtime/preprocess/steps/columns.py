"""Steps that change which columns there are, or what they hold."""

from __future__ import annotations

from dataclasses import replace

from trainingjob.api.v1alpha1.steps import Cast, Drop, Rename, Select, WithColumn

from ..engines.frame import Frame
from ..names import check_names
from .losses import casts
from .step import Fitted, Where


def select(spec: Select, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Keep these columns, in this order."""
    names = spec.columns or []
    where.require(frame, names)
    same = where.unchanged(frame)
    made = where.project(frame, {name: same[name] for name in names})
    return replace(made, unread={}), {}


def drop(spec: Drop, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Drop columns."""
    names = spec.columns or []
    where.require(frame, [name for name in names if name not in frame.unread])
    kept = {k: v for k, v in where.unchanged(frame).items() if k not in names}
    if not kept:
        raise where.failure("no column is left", "NoFeatures")
    unread = {k: v for k, v in frame.unread.items() if k not in names}
    return replace(where.project(frame, kept), unread=unread), {}


def rename(spec: Rename, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Rename columns, all at once."""
    where.require(frame, spec.columns)
    names = [spec.columns.get(name, name) for name in frame.columns]
    check_names(where.text, names)
    return where.project(frame, dict(zip(names, where.unchanged(frame).values(), strict=True))), {}


def cast(spec: Cast, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Change types; a value that does not fit becomes null."""
    where.require(frame, spec.columns)
    changed = {
        name: (where.dialect.cast(where.dialect.ident(name), frame.columns[name], kind), kind)
        for name, kind in spec.columns.items()
    }
    where.watch(frame, casts(spec.columns, frame, where.dialect))
    return where.replace(frame, changed), {}


def with_column(spec: WithColumn, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Add or replace a column."""
    from .expressions import expression, of_expression

    check_names(where.text, [spec.name])
    value = expression(where, spec.expr, frame)
    kind = "string" if value.kind == "null" else value.kind
    sql = where.dialect.literal(None, kind) if value.kind == "null" else value.sql
    where.watch(frame, of_expression(where, spec.expr, frame, spec.name))
    return where.replace(frame, {spec.name: (sql, kind)}), {}
