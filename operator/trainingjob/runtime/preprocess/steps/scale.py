"""scale: bring numeric columns to one scale."""

from __future__ import annotations

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import Scale

from ..engines.frame import NUMERIC, Frame
from ..statistics import moments, ranges
from .step import Fitted, Where


def scale(spec: Scale, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """(value - offset) / divisor, both from the training split; nulls stay."""
    if spec.columns is not None:
        where.require(frame, spec.columns)
    columns = list(
        dict.fromkeys(
            spec.columns
            or [n for n, kind in frame.columns.items() if kind in NUMERIC and n not in where.apart]
        )
    )
    for name in columns:
        if frame.columns[name] not in NUMERIC:
            raise where.failure(f"column {name} is a {frame.columns[name]}, not a number")
    if not columns:
        return frame, {}
    fitted: dict[str, dict[str, float]] = {}
    for name, (offset, divisor) in zip(
        columns, _parameters(spec, columns, frame, where), strict=True
    ):
        fitted[name] = {"offset": offset, "divisor": divisor}
    double = where.dialect.double
    changed: dict[str, tuple[str, ColumnType]] = {}
    for name, of in fitted.items():
        value = f"CAST({where.dialect.ident(name)} AS DOUBLE)"
        if of["divisor"] == 0:
            scaled = f"CASE WHEN {value} IS NOT NULL THEN {double(0.0)} END"
        else:
            quotient = f"(({value} - {double(of['offset'])}) / {double(of['divisor'])})"
            scaled = where.dialect.finite(quotient)
        changed[name] = (scaled, "double")
    return where.replace(frame, changed), {"columns": fitted}


def _parameters(
    spec: Scale, columns: list[str], frame: Frame, where: Where
) -> list[tuple[float, float]]:
    """Offset and divisor; a divisor of 0 stands for a column that is constant."""
    if spec.method == "minmax":
        return [
            (float(least), float(greatest) - float(least)) if count else (0.0, 0.0)
            for count, least, greatest in ranges(where, frame, columns)
        ]
    return [
        (found.mean, found.deviation) if found else (0.0, 0.0)
        for found in moments(where, frame, columns)
    ]
