"""Where pods report progress: the operator's endpoint, on the loopback of one machine."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

from ..api.payload import ProgressReport, SealKey
from ..api.v1alpha1 import StageName
from ..core import stages
from ..core.progress import Reported, newest, reported

_MOST_BYTES = 64 * 1024


class ProgressServer:
    """Listens while in its ``with`` block and calls ``notify``, from its thread, at each report.
    ``seal_key``: what the test split is sealed by, for pods that may read it."""

    def __init__(
        self, namespace: str, name: str, notify: Callable[[], None], seal_key: Callable[[], str]
    ) -> None:
        self._job = [namespace, name]
        self._seal_key = seal_key
        self._notify = notify
        # Other users of the machine cannot report: they do not know it.
        self.token = secrets.token_urlsafe(16)
        self.since = datetime.now(UTC)
        self.latest: Reported | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a client that sends half a request

            def do_POST(self) -> None:
                self._answer(server._receive(self))

            def do_GET(self) -> None:
                self._answer(*server._sealed_by(self))

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.timeout = None
        self._closing = False

    @property
    def url(self) -> str:
        """For Settings.status_url."""
        return f"http://127.0.0.1:{self._http.server_port}"

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
        if not self._known(request):
            return 401
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
        except ValueError:
            return 400
        before = self.latest
        self.latest = newest(before, reported(report, stage, attempt, index, datetime.now(UTC)))
        if self.latest is not before:
            self._notify()
        # As Kubeflow Trainer answers.
        return 200

    def _sealed_by(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        """As the operator answers: the HTTP status, and the body."""
        if not self._known(request):
            return 401, b""
        where = self._where(request.path)
        if where is None:
            return 404, b""
        if not stages.unseals(where[0]):
            return 403, b""
        return 200, SealKey(key=self._seal_key()).model_dump_json().encode()

    def _known(self, request: BaseHTTPRequestHandler) -> bool:
        told = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return secrets.compare_digest(told.encode(errors="replace"), self.token.encode())

    def _where(self, path: str) -> tuple[StageName, int, int] | None:
        parts = path.strip("/").split("/")
        if len(parts) != 5 or parts[:2] != self._job:
            return None
        if not (parts[3].isdecimal() and parts[4].isdecimal()):
            return None
        for stage in get_args(StageName):
            if stage == parts[2]:
                return stage, int(parts[3][:9]), int(parts[4][:9])
        return None
