"""Functions that DuckDB lacks in Spark's exact meaning, on Arrow arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .spark_texts import (
    bigint_of,
    boolean_of,
    date_of,
    double_of,
    strict_bigint_of,
    timestamp_of,
)


def register(db: duckdb.DuckDBPyConnection) -> None:
    """Add ``java_…`` functions to a connection."""
    _add(db, "round", _round, ["DOUBLE", "BIGINT"], "DOUBLE")
    _add(db, "upper", _on_texts(pc.ascii_upper, str.upper), ["VARCHAR"], "VARCHAR")
    _add(db, "lower", _on_texts(pc.ascii_lower, str.lower), ["VARCHAR"], "VARCHAR")
    _add(db, "double", _text_of_doubles, ["DOUBLE"], "VARCHAR")
    for kind, read, type_, gives in (
        ("boolean", boolean_of, pa.bool_(), "BOOLEAN"),
        ("bigint", bigint_of, pa.int64(), "BIGINT"),
        ("strict_bigint", strict_bigint_of, pa.int64(), "BIGINT"),
        ("double", double_of, pa.float64(), "DOUBLE"),
        ("date", date_of, pa.date32(), "DATE"),
        ("timestamp", timestamp_of, pa.timestamp("us"), "TIMESTAMP"),
    ):
        _add(db, f"read_{kind}", _on_distinct(read, type_), ["VARCHAR"], gives, gives_nulls=True)


def _add(
    db: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., Any],
    takes: list[str],
    gives: str,
    *,
    gives_nulls: bool = False,
) -> None:
    db.create_function(  # type: ignore[call-overload]
        f"java_{name}",
        function,
        [duckdb.type(kind) for kind in takes],
        duckdb.type(gives),
        type="arrow",
        null_handling="special" if gives_nulls else "default",
    )


def text_of_double(value: float) -> str:
    """Java's Double.toString: 1.0, 0.001, 1.0E7, 1.0E-4."""
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    shortest = Decimal(repr(value))
    if len(shortest.normalize().as_tuple().digits) == 1:
        shortest = Decimal(f"{value:.1e}")  # Java prints two digits at least: 4.9E-324
    sign, digits, exponent = shortest.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + exponent  # digits before the decimal point
    minus = "-" if sign else ""
    if 1e-3 <= abs(value) < 1e7:
        if point <= 0:
            return f"{minus}0.{'0' * -point}{text}"
        return f"{minus}{text[:point].ljust(point, '0')}.{text[point:] or '0'}"
    return f"{minus}{text[0]}.{text[1:] or '0'}E{point - 1}"


def _on_texts(
    ascii_only: Callable[[Any], Any], function: Callable[[str], str]
) -> Callable[[pa.Array], pa.Array]:
    def call(values: Any) -> pa.Array:
        column = _one_array(values)
        if pc.all(pc.string_is_ascii(column)).as_py() is not False:
            return ascii_only(column)
        return pa.array([text and function(text) for text in column.to_pylist()], type=pa.string())

    return call


def _on_distinct(function: Callable[[str], Any], gives: pa.DataType) -> Callable[[Any], pa.Array]:
    """A slow function, called once for each text that occurs."""

    def call(values: Any) -> pa.Array:
        encoded = _one_array(values).dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        found = pa.array([function(text) for text in texts], type=gives)
        return found.take(encoded.indices)

    return call


def _round(values: Any, places: Any) -> pa.Array:
    """Half up, away from zero, of the decimal number that is printed for the double."""
    column, digits = _one_array(values), _one_array(places)
    nulls = np.asarray(column.is_null())
    numbers = np.asarray(column.fill_null(0.0), dtype=np.float64)
    place = int(digits[0].as_py()) if len(digits) else 0
    scale = 10.0**place
    with np.errstate(all="ignore"):
        scaled = np.abs(numbers) * scale
        whole = np.floor(scaled + 0.5)
        rounded = np.copysign(whole / scale, numbers)
        # Near a half, or too large to tell, the digits decide.
        unsure = (np.abs(scaled - np.floor(scaled) - 0.5) < 1e-3) | ~(scaled < 2.0**40)
    unit = Decimal(1).scaleb(-place)
    for index in np.flatnonzero(unsure & np.isfinite(numbers) & ~nulls):
        value = float(numbers[index])
        if abs(value) < 2.0**53:
            rounded[index] = float(Decimal(repr(value)).quantize(unit, ROUND_HALF_UP))
        else:
            rounded[index] = value
    rounded = np.where(np.isfinite(numbers), rounded, numbers)
    return pa.array(rounded, mask=nulls)


def _text_of_doubles(values: Any) -> pa.Array:
    texts = [v if v is None else text_of_double(v) for v in _one_array(values).to_pylist()]
    return pa.array(texts, type=pa.string())


def _one_array(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
