"""The server, whose buckets tests see as folders."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Self

from ..build import BIN, CACHE, Module
from ..process import Component, ComponentError, free_ports
from ..wait import wait_for

TOOLS = Module(Path(__file__).parent, CACHE / ".built-versitygw")
_SERVER = BIN / "versitygw"


class Versitygw:
    """Listens at ``endpoint`` from start to end of a ``with`` block."""

    def __init__(self) -> None:
        if not _SERVER.exists():
            raise ComponentError(f"there is no {_SERVER}: `make {TOOLS.stamp}` builds it")
        (self._port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._temporary = tempfile.TemporaryDirectory(prefix="versitygw-")
        self._folder = Path(self._temporary.name)
        self.buckets = self._folder / "buckets"

    def __enter__(self) -> Self:
        for name in ("buckets", "about"):
            (self._folder / name).mkdir()
        command = [
            *(str(_SERVER), "--port", f"127.0.0.1:{self._port}", "--region", "eu-central-1"),
            *("--access", "trainer", "--secret", "very-secret", "--quiet"),
            # Not every file system of tests keeps what it would write beside the files.
            *("posix", "--sidecar", str(self._folder / "about"), str(self.buckets)),
        ]
        self._process = Component("versitygw", command, self._folder / "log")
        wait_for("the S3 server", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._temporary.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """By which clients find it and are let in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "trainer",
            "AWS_SECRET_ACCESS_KEY": "very-secret",
            "AWS_REGION": "eu-central-1",
        }

    def put(self, bucket: str, key: str, data: bytes) -> None:
        path = self.buckets / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def keys(self, bucket: str) -> list[str]:
        folder = self.buckets / bucket
        found = (path for path in folder.rglob("*") if path.is_file())
        keys = (path.relative_to(folder).as_posix() for path in found)
        return sorted(key for key in keys if not key.startswith("."))

    def _answers(self) -> bool:
        self._process.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
