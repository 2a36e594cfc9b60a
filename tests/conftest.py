"""What all tests share: the table of what status told, at the end."""

from __future__ import annotations

import pytest

from .tables import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in table():
        terminalreporter.write_line(line)
