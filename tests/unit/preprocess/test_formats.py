"""The tables of formats and joins of docs/preprocessing.md: each row is tried."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.steps import Step
from trainingjob.runtime.preprocess.engines.duckdb import DuckdbEngine
from trainingjob.runtime.preprocess.input.read import read_input

PAGE = (Path(__file__).parents[3] / "docs" / "preprocessing.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## Formats and several files") :].partition("\n## ")[0]
EXAMPLES = re.findall(r"^\| [^|]*?`(\{.*?\})` \| `(\w+)`[^|]* \| (.*) \|$", SECTION, re.M)
JOINS = re.findall(r"^- .*: `((?:join|sql): .*)`$", SECTION, re.M)


def test_the_page_has_them() -> None:
    assert (len(EXAMPLES), len(JOINS)) == (3, 4)


@pytest.mark.parametrize(("row", "form", "columns"), EXAMPLES)
def test_data_becomes_what_the_page_says(row: str, form: str, columns: str, tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_text(row + "\n" + row + "\n")
    (tmp_path / "array.json").write_text(json.dumps([json.loads(row)] * 2, indent=2))
    pd.DataFrame([json.loads(row)] * 2).to_parquet(tmp_path / "table.parquet")
    expected = re.findall(r"[\w.]+", columns)
    for file, kind in (("lines.json", form), ("array.json", form), ("table.parquet", "parquet")):
        source = Input.model_validate({"uri": f"file://{tmp_path}/{file}", "format": kind})
        with DuckdbEngine() as engine:
            frame = read_input(engine, source)
            assert (list(frame.columns), frame.unread) == (expected, {})
            values = re.findall(r"[\d.]+", row)
            ((found, *_), _) = [[row] for row in engine.rows(f"SELECT * FROM {frame.view}")]
            assert list(found) == [float(value) for value in values]


@pytest.mark.parametrize("text", JOINS)
def test_joins_of_the_page_are_steps(text: str) -> None:
    step: Any = yaml.safe_load(text)
    assert Step.model_validate(step).to_dict() == step
