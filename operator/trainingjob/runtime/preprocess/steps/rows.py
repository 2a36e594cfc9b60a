"""Steps that drop rows. Once rows are divided, each split is looked at by itself."""

from __future__ import annotations

from trainingjob.api.v1alpha1.steps import DropDuplicates, DropNa, Filter

from ..engines.frame import HASH, SPLIT, Frame
from .step import Fitted, Where


def drop_duplicates(spec: DropDuplicates, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Keep one row of those that are equal: the one with the smallest hash, for rows have no
    order of their own."""
    if spec.subset is None and set(frame.hidden) <= {HASH, SPLIT}:
        return where.engine.distinct(frame), {}
    names = [where.dialect.ident(name) for name in frame.columns]
    split = [SPLIT] if frame.is_split else []
    subset = spec.subset or list(frame.columns)
    where.require(frame, subset)
    listed = ", ".join([*(where.dialect.ident(name) for name in subset), *split])
    kept = ", ".join([*names, *frame.hidden])
    query = (
        f"SELECT {kept} FROM (SELECT *, row_number() OVER (PARTITION BY {listed} ORDER BY {HASH}) "
        f"AS trainingjob_place FROM {frame.view}) AS t WHERE trainingjob_place = 1"
    )
    return frame.over(where.engine.view(query)), {}


def dropna(spec: DropNa, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Drop rows with nulls."""
    names = spec.subset or list(frame.columns)
    where.require(frame, names)
    tests = [f"{where.dialect.ident(name)} IS NOT NULL" for name in dict.fromkeys(names)]
    if spec.thresh is not None:
        present = " + ".join(f"CASE WHEN {test} THEN 1 ELSE 0 END" for test in tests)
        condition = f"{present} >= {spec.thresh}"
    else:
        condition = (" OR " if spec.how == "all" else " AND ").join(tests)
    return where.project(frame, where.unchanged(frame), where=condition), {}


def filter_rows(spec: Filter, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Keep rows for which a condition holds."""
    from .expressions import expression, of_expression

    condition = expression(where, spec.where, frame)
    if condition.kind == "null":
        return where.project(frame, where.unchanged(frame), where="FALSE"), {}
    if condition.kind != "boolean":
        raise where.failure(
            f"{spec.where} is a {condition.kind}, not a condition", "ExpressionInvalid"
        )
    where.watch(frame, of_expression(where, spec.where, frame))
    return where.project(frame, where.unchanged(frame), where=condition.sql), {}
