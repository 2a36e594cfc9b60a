"""fillna: replace nulls."""

from __future__ import annotations

from datetime import date, datetime

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import FillNa

from ..engines.frame import NUMERIC, Frame
from ..expressions.dialect import Value
from ..statistics import modes, moments
from .step import Fitted, Where


def fillna(spec: FillNa, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Replace nulls. Filled with a mean or a median, whole numbers become doubles."""
    if spec.columns is not None:
        where.require(frame, spec.columns)
    if spec.strategy == "value":
        return _fill_value(spec, frame, where)
    numbers = spec.strategy != "mode"
    columns = spec.columns or [
        name
        for name, kind in frame.columns.items()
        if name not in where.apart and (kind in NUMERIC or not numbers)
    ]
    for name in columns:
        if numbers and frame.columns[name] not in NUMERIC:
            raise where.failure(
                f"column {name} is a {frame.columns[name]}: it has no {spec.strategy}"
            )
    if not columns:
        return frame, {"values": {}}
    columns = list(dict.fromkeys(columns))
    values: list[Value | None]
    if spec.strategy == "mean":
        values = [None if found is None else found.mean for found in moments(where, frame, columns)]
    elif spec.strategy == "median":
        middles = where.engine.middle(frame, columns, where.train)
        values = [
            None if low is None else float(low) / 2 + float(high) / 2 for low, high in middles
        ]
    else:
        values = modes(where, frame, columns)
    fill: dict[str, Value] = {}
    for name, value in zip(columns, values, strict=True):
        if value is None:
            raise where.failure(f"column {name} has no value in the training split")
        fill[name] = value
    changed = {
        name: _filled(where, frame, name, value, "double" if numbers else frame.columns[name])
        for name, value in fill.items()
    }
    texts = {
        name: str(value) if isinstance(value, date | datetime) else value
        for name, value in fill.items()
    }
    return where.replace(frame, changed), {"values": texts}


def _fill_value(spec: FillNa, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    assert spec.value is not None
    columns = spec.columns or [
        name
        for name, kind in frame.columns.items()
        if name not in where.apart and _fits(spec.value, kind)
    ]
    changed = {}
    for name in columns:
        kind = frame.columns[name]
        if not _fits(spec.value, kind):
            raise where.failure(f"{spec.value!r} does not fit column {name}, which is a {kind}")
        changed[name] = _filled(where, frame, name, spec.value, kind)
    return where.replace(frame, changed), {"values": dict.fromkeys(changed, spec.value)}


def _fits(value: Value, kind: ColumnType) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int):
        return kind == "double" or (kind == "bigint" and -(2**63) <= value < 2**63)
    if isinstance(value, float):
        return kind == "double" or (kind == "bigint" and value.is_integer() and abs(value) < 2**63)
    return kind == "string"


def _filled(
    where: Where, frame: Frame, name: str, value: Value, kind: ColumnType
) -> tuple[str, ColumnType]:
    present = where.dialect.cast(where.dialect.ident(name), frame.columns[name], kind)
    return f"coalesce({present}, {where.dialect.literal(value, kind)})", kind
