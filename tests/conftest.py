"""What all tests share: the tables that are printed at the end."""

from __future__ import annotations

from typing import Any

import pytest

from . import tables


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
