"""How much engine spark does for a table: counted, never timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.preprocess.test_work import CLASSES, STEPS, table
from trainingjob.runtime.preprocess.engines import spark as engine

from .both import run, same


def test_few_jobs_run_and_no_step_is_computed_twice(spark: Any, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text(table(400))
    tracker = spark.sparkContext.statusTracker()
    before = set(tracker.getJobIdsForGroup(None))
    made = run("spark", source, tmp_path / "out", STEPS, task=CLASSES)
    assert len(made) == 2 and not isinstance(made[0], str), made
    jobs = len(set(tracker.getJobIdsForGroup(None)) - before)
    # Those of a shuffle are two, and what is kept is computed in three. Four are of the rows that
    # a server of the model proves itself by.
    assert jobs <= 30


def test_the_driver_and_the_executors_find_the_same(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Medians, equal hashes and rows of test that are in train: of large tables as of small ones."""
    source = tmp_path / "data.csv"
    source.write_text(table(400))
    steps = [{"fillna": {"strategy": "median", "columns": ["a"]}}, {"drop": {"columns": ["b"]}}]
    monkeypatch.setattr(engine, "_COLLECTED", 100)
    same(source, tmp_path, steps, task=CLASSES)
