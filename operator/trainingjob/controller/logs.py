"""Logs on stderr: text for people, or one JSON object a line."""

from __future__ import annotations

import logging

from pythonjsonlogger.json import JsonFormatter

from ..api.printable import escaped

_TEXT = "%(asctime)s %(levelname)-7s %(message)s"
_FIELDS = {"asctime": "time", "levelname": "level", "name": "logger"}


class TextFormatter(logging.Formatter):
    """A message is a line, whatever of others' text is in it; a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escaped(record.message, keep="\t")
        return super().formatMessage(record)


def configure(kind: str, level: str) -> None:
    """Set up the root logger."""
    handler = logging.StreamHandler()
    if kind == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields=_FIELDS,
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # kopf tells every event at INFO, aiohttp every probe.
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if level != "debug":
        # Failed requests are told once, by the scope that they are for; what breaks kopf is told
        # by us in one line, and it by each of its tasks with a traceback.
        for name in ("kopf._cogs", "kopf._core"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
