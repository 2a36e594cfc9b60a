"""A message in the log is one line, whatever a tenant has the API server say."""

from __future__ import annotations

import logging
import sys

from trainingjob.controller.logs import TextFormatter


def test_nobody_writes_lines_of_the_log_that_are_not_ours() -> None:
    said = "no\n2026-11-29 17:00:00,000 ERROR   forged\x1b[2J\u202e größer"
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s refused: %s", ("a/b", said), None)
    told = TextFormatter("%(levelname)s %(message)s").format(record)
    assert told == (
        r"ERROR a/b refused: no\u000a2026-11-29 17:00:00,000 ERROR   forged\u001b[2J\u202e größer"
    )


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "bug", (), sys.exc_info())
    told = TextFormatter("%(message)s").format(record).splitlines()
    assert told[0] == "bug"
    assert told[1].startswith("Traceback")
    assert told[-1] == "ValueError: x"
