"""Steps for numbers: missingIndicator, clip, log1p, quantile, bin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from trainingjob.api.v1alpha1.features import Bin, Clip, Log1p, MissingIndicator, Quantile
from trainingjob.api.v1alpha1.input import ColumnType

from .. import apply
from ..account import Tally
from ..engines.frame import Frame, Gives
from .chosen import add, numeric
from .sample import sorted_values
from .step import Fitted, Where

_BINS = 5
_QUANTILES = 100
# A bin that is no wider than this is none (scikit-learn's KBinsDiscretizer has the same).
_NARROW = 1e-8


def missing_indicator(spec: MissingIndicator, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """``column_missing``, 1 for null. Applied: of the columns listed."""
    if spec.columns is None:
        candidates = [name for name in frame.columns if name not in where.apart]
        counts = ", ".join(
            ["count(*)", *(f"count({where.dialect.ident(name)})" for name in candidates)]
        )
        ((rows, *found),) = where.engine.rows(
            f"SELECT {counts} FROM {frame.view} WHERE {where.train}"
        )
        names = [name for name, count in zip(candidates, found, strict=True) if count < rows]
    else:
        where.require(frame, spec.columns)
        names = list(dict.fromkeys(spec.columns))
    made = where.unchanged(frame)
    for name in names:
        test = f"{where.dialect.ident(name)} IS NULL"
        value = f"CAST(CASE WHEN {test} THEN 1 ELSE 0 END AS BIGINT)"
        add(where, made, frame, f"{name}_missing", (value, "bigint"))
    return where.project(frame, made), {"columns": names}


def has_quantiles(spec: Clip) -> bool:
    """Whether a bound comes from the training split."""
    return spec.min_quantile is not None or spec.max_quantile is not None


def clip(spec: Clip, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: below ``min`` is ``min``, above ``max`` is ``max``, of each column."""
    columns = numeric(frame, where, spec.columns)
    bounds: dict[str, tuple[float | None, float | None]] = {}
    if has_quantiles(spec):
        for name, values in sorted_values(where, frame, columns):
            low, high = (
                given if share is None else float(np.percentile(values, 100 * share))
                for given, share in ((spec.min, spec.min_quantile), (spec.max, spec.max_quantile))
            )
            # A given bound beyond the other one, which is learned, wins.
            if low is not None and high is not None and low > high:
                low, high = (high, high) if spec.max is not None else (low, low)
            bounds[name] = (low, high)
    else:
        bounds = dict.fromkeys(columns, (spec.min, spec.max))
    changed: dict[str, tuple[str, ColumnType]] = {}
    for name, ends in bounds.items():
        kind = frame.columns[name]
        whole = all(end is None or (end.is_integer() and abs(end) < 2**53) for end in ends)
        kind = "bigint" if kind == "bigint" and whole else "double"
        column = where.dialect.cast(where.dialect.ident(name), frame.columns[name], kind)
        cases = "".join(
            f" WHEN {column} {sign} {where.dialect.literal(end, kind)} "
            f"THEN {where.dialect.literal(end, kind)}"
            for sign, end in zip("<>", ends, strict=True)
            if end is not None
        )
        changed[name] = (f"CASE{cases} ELSE {column} END", kind)
    fitted = {
        name: {key: end for key, end in zip(("min", "max"), ends, strict=True) if end is not None}
        for name, ends in bounds.items()
    }
    return where.replace(frame, changed), {"columns": fitted}


def log1p(spec: Log1p, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """ln(1 + x). Applied: as it says; nothing is learned.

    With u = 1 + x rounded, ln(u) x / (u - 1) is exact to a few last digits where ln(u) is not
    (Goldberg, What every computer scientist should know about floating-point arithmetic, 1991,
    theorem 4)."""
    columns = numeric(frame, where, spec.columns)
    changed: dict[str, tuple[str, ColumnType]] = {}
    tallies = []
    one = where.dialect.double(1.0)
    for name in columns:
        x = where.dialect.cast(where.dialect.ident(name), frame.columns[name], "double")
        u = f"({one} + {x})"
        small = f"WHEN {u} = {one} THEN {x}"
        log = f"CASE {small} WHEN {x} > -{one} THEN ln({u}) * ({x} / ({u} - {one})) END"
        changed[name] = (log, "double")
        tallies.append(
            Tally(
                name,
                f"{x} IS NOT NULL",
                f"{x} <= -{one}",
                where.dialect.ident(name),
                frame.columns[name],
                became="are -1 or less, of which there is no logarithm of 1 + x",
                when_all="fail",
                when_some="fail",
                remedy=f"`clip: {{columns: [{name}], min: 0}}` before it, or leave the column out",
            )
        )
    where.watch(frame, tallies)
    return where.replace(frame, changed), {"columns": columns}


def bins(spec: Bin, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: the number of borders that are not greater than the value."""
    columns = numeric(frame, where, spec.columns)
    if spec.borders is not None:
        borders = {name: [float(border) for border in spec.borders] for name in columns}
    else:
        borders = _borders(spec.method or "quantile", spec.bins or _BINS, columns, frame, where)
    changed: dict[str, tuple[str, ColumnType]] = {}
    for name, inner in borders.items():
        # Not a CASE: DuckDB takes a millisecond a column and query to plan one.
        changed[name] = (
            _applied(where, frame, name, partial(apply.bin_of, borders=inner), "bigint"),
            "bigint",
        )
    return where.replace(frame, changed), {"borders": borders}


def _borders(
    method: str, number: int, columns: Sequence[str], frame: Frame, where: Where
) -> dict[str, list[float]]:
    """The borders between the bins, as KBinsDiscretizer has them."""
    if method == "uniform" and columns:
        found = {}
        ends = where.engine.figures(frame, columns, where.train, ("least", "greatest"))
        for name, (least, greatest) in zip(columns, ends, strict=True):
            if least is None:
                raise where.failure(f"column {name} has no value in the training split")
            edges = np.linspace(least, greatest, number + 1)
            found[name] = edges[1:-1].tolist() if least < greatest else []
        return found
    shares = np.linspace(0, 100, number + 1)
    found = {}
    for name, values in sorted_values(where, frame, columns):
        edges = np.percentile(values, shares, method="averaged_inverted_cdf")
        wide = np.concatenate(([True], np.diff(edges) > _NARROW))
        found[name] = edges[wide][1:-1].tolist()
    return found


def quantile(spec: Quantile, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: see ``apply.rank``, with the quantiles that are stored."""
    columns = numeric(frame, where, spec.columns)
    changed: dict[str, tuple[str, ColumnType]] = {}
    found: dict[str, list[float]] = {}
    for name, values in sorted_values(where, frame, columns):
        shares = np.linspace(0, 1, min(spec.quantiles or _QUANTILES, len(values)))
        found[name] = np.percentile(values, 100 * shares).tolist()
        function = partial(apply.rank, quantiles=found[name])
        changed[name] = (_applied(where, frame, name, function, "double"), "double")
    return where.replace(frame, changed), {"quantiles": found}


def _applied(
    where: Where, frame: Frame, name: str, function: Callable[..., Any], gives: Gives
) -> str:
    """SQL of what a function in ``apply.py`` makes of a column as a double."""
    called = where.engine.function(function, "double", gives)
    return (
        f"{called}({where.dialect.cast(where.dialect.ident(name), frame.columns[name], 'double')})"
    )
