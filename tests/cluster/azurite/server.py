"""Azurite, Microsoft's emulator of blob storage, from npm; containers live in its memory."""

from __future__ import annotations

import base64
import hmac
import shutil
import socket
import tempfile
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

from ..build import ROOT
from ..process import Component, ComponentError, free_ports
from ..wait import wait_for

FOLDER = ROOT / ".cache/azurite"
_SERVER = FOLDER / "node_modules/.bin/azurite-blob"
# Every emulator's, and no secret:
# https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_API = "2021-08-06"


class Azurite:
    """Listens at ``endpoint`` from start to end of a ``with`` block."""

    form = "az://{}"

    def __init__(self) -> None:
        node = shutil.which("node")
        if node is None or not _SERVER.exists():
            raise ComponentError(f"there is no {_SERVER}: `make {FOLDER}/.built` installs it")
        self._node = node
        (self._port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self._port}/{_ACCOUNT}"
        self._folder = tempfile.TemporaryDirectory(prefix="azurite-")

    def __enter__(self) -> Self:
        command = [
            *(self._node, str(_SERVER), "--blobPort", str(self._port), "--inMemoryPersistence"),
            *("--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]
        self._process = Component("azurite", command, Path(self._folder.name) / "log")
        wait_for("Azure's emulator", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._folder.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """By which clients find it and are let in."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def make(self, container: str) -> None:
        """A container."""
        self._ask("PUT", container, "restype=container")

    def put(self, container: str, key: str, data: bytes) -> None:
        self._ask("PUT", f"{container}/{key}", data=data)

    def get(self, container: str, key: str) -> bytes:
        return self._ask("GET", f"{container}/{key}")

    def keys(self, container: str) -> list[str]:
        listed = self._ask("GET", container, "comp=list", "restype=container")
        return sorted(str(found.text) for found in ElementTree.fromstring(listed).iter("Name"))

    def _ask(self, method: str, path: str, *query: str, data: bytes = b"") -> bytes:
        """As https://learn.microsoft.com/en-us/rest/api/storageservices/authorize-with-shared-key
        has it."""
        headers = {"x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
        headers["x-ms-version"] = _API
        if data:
            headers |= {"x-ms-blob-type": "BlockBlob"}
        told = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        asked = "".join(f"\n{one.replace('=', ':')}" for one in sorted(query))
        kind = "application/octet-stream" if data else ""
        before = f"{method}\n\n\n{len(data) or ''}\n\n{kind}\n\n\n\n\n\n\n"
        text = f"{before}{told}/{_ACCOUNT}/{_ACCOUNT}/{path}{asked}"
        digest = hmac.digest(base64.b64decode(_KEY), text.encode(), "sha256")
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
        if data:
            headers["Content-Type"] = kind
        url = f"{self.endpoint}/{path}" + (f"?{'&'.join(query)}" if query else "")
        request = urllib.request.Request(url, data or None, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        self._process.check()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
