"""Engine spark: nothing of the table of values is changed without a word, nor otherwise than by
engine pandas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.preprocess.exact import ROWS, check
from trainingjob.runtime.preprocess.engines.frame import Engine
from trainingjob.runtime.preprocess.engines.spark import SparkEngine
from trainingjob.runtime.preprocess.input import csv
from trainingjob.runtime.preprocess.input import json as json_input


@pytest.fixture(scope="module")
def engine(spark: Any) -> Iterator[Engine]:
    with SparkEngine({}) as spark_engine:
        # Compiling code for a handful of rows would take most of the time.
        spark_engine.session.conf.set("spark.sql.codegen.wholeStage", "false")
        spark_engine.session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        yield spark_engine


@pytest.mark.parametrize("name", ROWS)
def test_values_are_kept_or_told(
    name: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As large files are read: those that are not inspected on the driver, where DuckDB would do it.
    for module in (csv, json_input):
        monkeypatch.setattr(module, "_SMALL_BYTES", 0)
    check(name, engine, tmp_path)
