"""Progress reports to $STATUS_URL: best effort, never in the way of the work.

As Kubeflow Trainer has it: a bearer token, read from its file each time since it is renewed, and a
certificate of the server's own.
"""

from __future__ import annotations

import json
import os
import queue
import ssl
import threading
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from itertools import islice
from pathlib import Path

from trainingjob.api.payload import (
    MOST_METRICS,
    STATUS_CA,
    STATUS_TOKEN,
    STATUS_URL,
    ProgressReport,
    TrainerMetric,
    TrainerStatus,
)

# Twice a second keeps a progress bar alive, on one machine.
_MIN_INTERVAL_SECONDS = 0.5
# In a cluster an operator that hears a thousand jobs writes the status of each every 5 s at most.
_CLUSTER_INTERVAL_SECONDS = 5.0
# A server that does not answer must not hold up the exit of the pod for longer than this.
_TIMEOUT_SECONDS = 2.0
_ANSWER_BYTES = 4096


class Reporter:
    """Sends the newest report from a thread of its own and drops those in between.

    Does nothing when $STATUS_URL is unset. ``due()`` is cheap: ask it before computing metrics.
    """

    def __init__(self) -> None:
        self._url = os.environ.get(STATUS_URL)
        remote = (self._url or "").startswith("https:")
        self._interval = _CLUSTER_INTERVAL_SECONDS if remote else _MIN_INTERVAL_SECONDS
        self._started = time.monotonic()
        self._last = float("-inf")
        self._queue: queue.Queue[ProgressReport | None] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None

    def due(self) -> bool:
        """Whether a report would be sent now."""
        return self._url is not None and time.monotonic() - self._last >= self._interval

    def report(
        self, done: float, metrics: dict[str, float] | None = None, *, eta: float | None = None
    ) -> None:
        """Tell that a share ``done`` (0 to 1) of the stage is done.

        ``metrics`` named as TrainerStatus says fill fields of status.
        ``eta`` in seconds; estimated from the time so far when unset.
        """
        if self._url is None:
            return
        now = time.monotonic()
        self._last = now
        if eta is None and done > 0:
            eta = (now - self._started) * (1 - done) / done
        report = ProgressReport(
            trainer_status=TrainerStatus(
                progress_percentage=max(0, min(100, int(done * 100))),
                estimated_remaining_seconds=None if eta is None else round(eta),
                metrics=[
                    TrainerMetric(name=name, value=_text(value))
                    for name, value in islice((metrics or {}).items(), MOST_METRICS)
                ],
                last_updated_time=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, daemon=True)
            self._thread.start()
        with suppress(queue.Empty):
            self._queue.get_nowait()
        self._queue.put_nowait(report)

    def close(self) -> None:
        """Send what waits and stop; returns within a few seconds whatever the server does."""
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=_TIMEOUT_SECONDS)
            except queue.Full:
                return
            self._thread.join(timeout=_TIMEOUT_SECONDS)

    def _send_all(self) -> None:
        while (report := self._queue.get()) is not None:
            # Nobody listens, or somebody else: the work goes on, and so do reports.
            with suppress(OSError, ValueError, HTTPException):
                self._send(report)

    def _send(self, report: ProgressReport) -> None:
        """Raises OSError, ValueError and HTTPException."""
        call(json.dumps(report.to_dict()).encode())


def _text(value: float) -> str:
    """A count as it is, another number by eight digits."""
    return str(value) if isinstance(value, int) else f"{value:.8g}"


def call(body: bytes | None = None) -> bytes:
    """POST what is told to $STATUS_URL, or GET what the pod may know: the answer, if it is short.
    Raises OSError, ValueError and HTTPException."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token := os.environ.get(STATUS_TOKEN):
        headers["Authorization"] = f"Bearer {Path(token).read_text(encoding='ascii').strip()}"
    authority, context = os.environ.get(STATUS_CA), None
    if authority:
        context = ssl.create_default_context(cafile=authority)
    request = urllib.request.Request(  # noqa: S310  the operator's URL
        os.environ[STATUS_URL], data=body, headers=headers
    )
    # Proxies are the way out of the cluster: the operator is in it.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
        found: bytes = answer.read(_ANSWER_BYTES)
        return found
