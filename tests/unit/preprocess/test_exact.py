"""Engine pandas: nothing of the table of values is changed without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine

from .exact import ROWS, check


@pytest.mark.parametrize("name", ROWS)
def test_values_are_kept_or_told(name: str, tmp_path: Path) -> None:
    with DuckdbEngine() as engine:
        check(name, engine, tmp_path)
