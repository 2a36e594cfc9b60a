"""Progress reports to $STATUS_URL: best effort, never in the way of the work."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime

from trainingjob.api.payload import STATUS_URL, ProgressReport, TrainerMetric, TrainerStatus

# People look at it: more often is no use. Twice a second keeps a progress bar alive.
_MIN_INTERVAL_SECONDS = 0.5
# A server that does not answer must not hold up the exit of the pod for longer than this.
_TIMEOUT_SECONDS = 2.0


class Reporter:
    """Sends the newest report from a thread of its own and drops those in between.

    Does nothing when $STATUS_URL is unset. ``due()`` is cheap: ask it before computing metrics.
    """

    def __init__(self) -> None:
        self._url = os.environ.get(STATUS_URL)
        self._started = time.monotonic()
        self._last = float("-inf")
        self._queue: queue.Queue[ProgressReport | None] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None

    def due(self) -> bool:
        """Whether a report would be sent now."""
        return self._url is not None and time.monotonic() - self._last >= _MIN_INTERVAL_SECONDS

    def report(
        self, done: float, metrics: dict[str, float] | None = None, *, eta: float | None = None
    ) -> None:
        """Tell that a share ``done`` (0 to 1) of the stage is done.

        ``metrics`` named ``epoch``, ``step`` and ``total_steps`` fill the fields of that name.
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
                    TrainerMetric(name=name, value=f"{value:.8g}")
                    for name, value in (metrics or {}).items()
                ],
                last_updated_time=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, daemon=True)
            self._thread.start()
        with suppress(queue.Full):
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
            request = urllib.request.Request(  # noqa: S310  the operator's URL
                str(self._url),
                data=json.dumps(report.to_dict()).encode(),
                headers={"Content-Type": "application/json"},
            )
            with suppress(OSError, ValueError):  # nobody listens: the work goes on
                urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310
