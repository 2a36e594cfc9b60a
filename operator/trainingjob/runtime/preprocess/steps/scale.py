"""scale: bring numeric columns to one scale."""

from __future__ import annotations

import math

from trainingjob.api.v1alpha1.input import ColumnType
from trainingjob.api.v1alpha1.steps import Scale

from ..engines.frame import NUMERIC, Frame
from ..expressions.many import Same
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
    dialect, zero = where.dialect, where.dialect.double(0.0)
    changed: dict[str, tuple[str | Same, ColumnType]] = {}
    for name, of in fitted.items():
        value = f"CAST({dialect.ident(name)} AS DOUBLE)"
        if of["divisor"] == 0:
            scaled = Same(value, lambda v: f"CASE WHEN {v} IS NOT NULL THEN {zero} END")
        else:
            own = (of["offset"], of["divisor"])
            scaled = Same(value, lambda v, o, d: dialect.finite(f"(({v} - {o}) / {d})"), own)
        changed[name] = (scaled, "double")
    return where.replace(frame, changed), {"columns": fitted}


def _parameters(
    spec: Scale, columns: list[str], frame: Frame, where: Where
) -> list[tuple[float, float]]:
    """Offset and divisor; a divisor of 0 stands for a column that is constant."""
    minmax = spec.method == "minmax"
    found = where.engine.figures(
        frame, columns, where.train, ("least", "greatest") if minmax else ("mean", "deviation")
    )
    parameters = [
        (one, (other - one) if minmax else other) if one is not None else (0.0, 0.0)
        for one, other in found
    ]
    for name, ends in zip(columns, parameters, strict=True):
        if not all(map(math.isfinite, ends)):
            raise where.failure(
                f"column {name} spans more than a double holds; bring its values nearer together, "
                f"as `clip: {{columns: [{name}], min: -1e18, max: 1e18}}` before it does"
            )
    return parameters
