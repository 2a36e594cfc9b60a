"""What all tests share: the tables that are printed at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import tables

# A file is run by one process: those of a minute or more begin first, the longest before the
# others, so that all processes end together.
LONGEST = [
    "unit/core/test_properties.py",
    "unit/core/test_batches.py",
    "unit/preprocess/test_sql.py",
    "faults/test_faults.py",
    "integration/test_operator_restarts.py",
    "integration/test_bounds.py",
    "integration/test_operator_jobs.py",
    "local/test_examples.py",
    "local/test_chaos.py",
    "local/test_bad_input.py",
    "local/preprocess/test_split.py",
    "local/preprocess/test_equivalence.py",
    "local/preprocess/test_reading_csv.py",
    "local/train/test_language_model.py",
    "local/train/test_language_gangs.py",
    "local/test_rerun.py",
    "local/test_s3.py",
    "local/test_hdfs.py",
    "local/test_cache.py",
    "local/test_no_model.py",
    "local/test_cli.py",
    "local/train/test_pretrained.py",
    "local/train/test_user_code.py",
    "local/train/test_resume.py",
    "local/test_real_data.py",
    "local/test_progress.py",
    "local/test_hdfs_kerberos.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its rows to the process that prints them."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["situations"], output["tables"] = tables.rows, tables.others


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    output = getattr(node, "workeroutput", {})
    tables.rows += output.get("situations", [])
    tables.others += output.get("tables", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in tables.table():
        terminalreporter.write_line(line)
