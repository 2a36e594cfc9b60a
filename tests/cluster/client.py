"""A small HTTP client for the API server: keep-alive, one connection per thread."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any

# The server closes idle connections after 90 seconds.
IDLE_SECONDS = 60
Response = tuple[int, dict[str, Any]]


class Client:
    """Thread-safe; knows a token for each user."""

    def __init__(self, port: int, ca_file: Path, tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self._port = port
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._local = threading.local()
        self._generation = 0
        self._connections: dict[threading.Thread, http.client.HTTPSConnection] = {}

    def forget_connections(self) -> None:
        """The server is another one now: old connections lead nowhere."""
        self._generation += 1

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in list(self._connections.values()):
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        user: str = "admin",
        content_type: str | None = None,
        timeout: float = 30,
    ) -> Response:
        """The status code and the decoded body; text that is no JSON object as ``{"text": ...}``.

        ``body``: a JSON value, or text or bytes to be sent as they are. Without ``content_type``
        it is JSON, and for PATCH a merge patch.
        """
        headers = {
            "Authorization": f"Bearer {self.tokens[user]}",
            "Accept": "application/json",
            "User-Agent": "tests/1",
        }
        if body is not None:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            headers["Content-Type"] = content_type or kind
            if not isinstance(body, str | bytes):
                body = json.dumps(body)
            if isinstance(body, str):
                body = body.encode()
        connection = self._connection()
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except BaseException:
            # Half a conversation cannot be continued, and nothing is sent twice: a test must know
            # how often it has asked.
            connection.close()
            raise
        return response.status, _decode(data)

    def _connection(self) -> http.client.HTTPSConnection:
        local = self._local
        connection: http.client.HTTPSConnection | None = getattr(local, "connection", None)
        now = time.monotonic()
        if connection is None:
            connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context)
            local.connection = connection
            for thread in list(self._connections):
                if not thread.is_alive() and (left := self._connections.pop(thread, None)):
                    left.close()
            self._connections[threading.current_thread()] = connection
        elif local.generation != self._generation or now - local.used > IDLE_SECONDS:
            connection.close()  # connects anew by itself
        local.generation, local.used = self._generation, now
        return connection


def _decode(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"text": data.decode(errors="replace")}
