"""An emulator of Google's storage, a Go module; buckets live in its memory."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Self

from ..build import BIN, CACHE, Module
from ..process import Component, ComponentError, free_ports
from ..wait import wait_for
from .xml import Xml

TOOLS = Module(Path(__file__).parent, CACHE / ".built-fakegcs")
_SERVER = BIN / "fake-gcs-server"


class FakeGcs:
    """Listens at ``endpoint`` from start to end of a ``with`` block."""

    form = "gs://{}"

    def __init__(self) -> None:
        if not _SERVER.exists():
            raise ComponentError(f"there is no {_SERVER}: `make {TOOLS.stamp}` builds it")
        (self._port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._folder = tempfile.TemporaryDirectory(prefix="fakegcs-")

    def __enter__(self) -> Self:
        command = [
            *(str(_SERVER), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self._port)),
            *("-backend", "memory", "-public-host", f"127.0.0.1:{self._port}"),
        ]
        self._process = Component("fakegcs", command, Path(self._folder.name) / "log")
        wait_for("Google's emulator", self._answers)
        self._xml = Xml(self._port)
        threading.Thread(target=self._xml.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._xml.shutdown()
        self._xml.server_close()
        self._process.stop()
        self._folder.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """By which clients find it; it lets everybody in."""
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self._xml.server_port}"}

    def make(self, bucket: str) -> None:
        """A bucket."""
        self._ask("POST", "storage/v1/b?project=test", json.dumps({"name": bucket}).encode())

    def put(self, bucket: str, key: str, data: bytes) -> None:
        name = urllib.parse.quote(key, safe="")
        self._ask("POST", f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data)

    def get(self, bucket: str, key: str) -> bytes:
        name = urllib.parse.quote(key, safe="")
        return self._ask("GET", f"storage/v1/b/{bucket}/o/{name}?alt=media")

    def keys(self, bucket: str) -> list[str]:
        listed = json.loads(self._ask("GET", f"storage/v1/b/{bucket}/o"))
        return sorted(str(item["name"]) for item in listed.get("items", ()))

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.endpoint}/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        self._process.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
