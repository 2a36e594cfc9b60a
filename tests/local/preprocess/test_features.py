"""The steps for features: both engines give the same, and what is stored is enough to do so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.preprocess.features import CLASSES, frame
from tests.unit.preprocess.test_columns import COMMA, POINT

from .both import same

# One run each: a step after the other, as far as they do not need each other's columns.
STEPS: dict[str, tuple[list[dict[str, Any]], dict[str, Any] | None]] = {
    "numbers": (
        [
            {"missingIndicator": {}},
            {"clip": {"columns": ["x"], "minQuantile": 0.05, "max": 50}},
            {"clip": {"columns": ["n"], "min": 0, "max": 9}},
            {"log1p": {"columns": ["x"]}},
            {"quantile": {"columns": ["full", "constant"], "quantiles": 20}},
            {"bin": {"columns": ["n"], "bins": 4}},
            {"bin": {"columns": ["x"], "method": "uniform"}},
            {"bin": {"columns": ["code"], "borders": [2, 4.5]}},
        ],
        None,
    ),
    "texts and dates": (
        [
            {"hashText": {"columns": ["review"], "features": 8}},
            {"hashEncode": {"columns": ["code", "yes"], "features": 3}},
            {"dateParts": {"columns": ["day"], "parts": ["year", "quarter", "month", "week", "day", "dayOfWeek", "dayOfYear", "isWeekend", "daysSince1970"]}},
            {"dateParts": {"columns": ["when"], "parts": ["dayOfWeek", "hour", "minute", "second", "daysSince1970"]}},
        ],
        None,
    ),
    "learned of texts and categories": (
        [
            {"tfidf": {"columns": ["review"], "features": 9, "minRows": 5}},
            {"targetEncode": {"columns": ["code"]}},
            {"groupRare": {"columns": ["city"], "minShare": 0.1}},
            {"oneHot": {"columns": ["city"]}},
        ],
        None,
    ),
    "means of classes": (
        [{"drop": {"types": ["double", "timestamp"], "columns": ["d*"]}}, {"targetEncode": {"columns": ["c*"], "smooth": 3}}],
        CLASSES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_features(name: str, spark: Any, tmp_path: Path) -> None:
    steps, task = STEPS[name]
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    pq.write_table(table, tmp_path / "data.parquet")
    result = same(tmp_path / "data.parquet", tmp_path, steps, format="parquet", task=task)
    assert not isinstance(result[0], str), result


@pytest.mark.parametrize(
    ("decimal", "texts", "units"), [(".", POINT, ["kg", "USD"]), (",", COMMA, None)], ids=[".", ","]
)
def test_numbers_as_people_write_them(
    decimal: str, texts: dict[str, Any], units: list[str] | None, spark: Any, tmp_path: Path
) -> None:
    table = pa.table(
        {"text": list(texts), "price": list(texts), "y": [1.0] * (len(texts) - 1) + [2.0]}
    )
    pq.write_table(table, tmp_path / "data.parquet")
    step = {"columns": ["price"], "decimal": decimal, "units": units, "invalid": "setNull"}
    result = same(
        tmp_path / "data.parquet",
        tmp_path,
        [{"parseNumber": step}],
        format="parquet",
        split={"test": 0.0, "validation": 0.0},
    )
    assert not isinstance(result[0], str), result
