"""Where pods report progress: the operator's endpoint, on the loopback of one machine."""

from __future__ import annotations

import math
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

from ..api.payload import ProgressReport
from ..api.v1alpha1 import MetricValue, Progress, StageName

_MOST_BYTES = 64 * 1024
_MOST_METRICS = 32
_LONGEST_NAME = 128
_LARGEST = 2**31


def progress_of(report: ProgressReport, stage: StageName, now: datetime) -> Progress:
    """Status from the wire format, whose metric values are text. Metrics named ``epoch``,
    ``step`` and ``total_steps`` become the fields; what is no finite number is dropped."""
    wire = report.trainer_status
    values: dict[str, float] = {}
    for metric in wire.metrics:
        try:
            value = float(metric.value)
        except ValueError:
            continue
        if math.isfinite(value) and len(metric.name) <= _LONGEST_NAME:
            values[metric.name] = value
    counts = {
        name: max(0, min(_LARGEST, int(values.pop(name))))
        for name in ("epoch", "step", "total_steps")
        if name in values
    }
    eta = wire.estimated_remaining_seconds
    return Progress(
        stage=stage,
        percent=max(0, min(100, wire.progress_percentage or 0)),
        epoch=counts.get("epoch"),
        step=counts.get("step"),
        total_steps=counts.get("total_steps"),
        eta_seconds=None if eta is None else max(0, min(_LARGEST, eta)),
        metrics=[
            MetricValue(name=name, value=value)
            for name, value in list(values.items())[:_MOST_METRICS]
        ],
        # Not the pod's clock: people compare it with ours.
        updated_time=now,
    )


class ProgressServer:
    """Listens while in its ``with`` block and calls ``notify``, from its thread, at each report."""

    def __init__(self, namespace: str, name: str, notify: Callable[[], None]) -> None:
        self._job = [namespace, name]
        self._notify = notify
        # Other users of the machine cannot report: they do not know the path.
        self._token = secrets.token_urlsafe(16)
        self._latest: tuple[tuple[int, int], Progress] | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a client that sends half a request

            def do_POST(self) -> None:
                self.send_response(server._receive(self))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.timeout = None
        self._closing = False

    @property
    def url(self) -> str:
        """For Settings.status_url."""
        return f"http://127.0.0.1:{self._http.server_port}/{self._token}"

    @property
    def latest(self) -> Progress | None:
        """The newest report of the newest attempt; of several ranks, the first one's."""
        return self._latest[1] if self._latest else None

    def __enter__(self) -> ProgressServer:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        # serve_forever would poll; this wakes the thread instead.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._http.server_port), timeout=1).close()
        self._thread.join(timeout=1)
        self._http.server_close()

    def _serve(self) -> None:
        while not self._closing:
            self._http.handle_request()

    def _receive(self, request: BaseHTTPRequestHandler) -> int:
        """Take a report; the HTTP status to answer."""
        where = self._where(request.path)
        if where is None:
            return 404
        stage, attempt, index = where
        try:
            length = int(request.headers.get("Content-Length", ""))
        except ValueError:
            return 411
        if not 0 <= length <= _MOST_BYTES:
            return 413
        try:
            report = ProgressReport.model_validate_json(request.rfile.read(length))
            progress = progress_of(report, stage, datetime.now(UTC))
        except (ValueError, OverflowError):
            return 400
        # Later attempts and stages come later; of the ranks that report, the first is heard.
        key = (attempt, -index)
        if self._latest is None or self._latest[1].stage != stage or self._latest[0] <= key:
            self._latest = (key, progress)
            self._notify()
        return 204

    def _where(self, path: str) -> tuple[StageName, int, int] | None:
        parts = path.strip("/").split("/")
        if len(parts) != 6 or not secrets.compare_digest(
            parts[0].encode(errors="replace"), self._token.encode()
        ):
            return None
        if parts[1:3] != self._job or not (parts[4].isdecimal() and parts[5].isdecimal()):
            return None
        for stage in get_args(StageName):
            if stage == parts[3]:
                return stage, int(parts[4][:9]), int(parts[5][:9])
        return None
