"""A real S3 server as a process: moto's, in the environment that the Makefile makes for it."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

from .build import ROOT
from .process import Component, ComponentError, free_ports
from .wait import wait_for

SERVER = ROOT / ".cache/s3/bin/moto_server"
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
# The server looks whether a request is signed, and not by whom.
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


class S3Server:
    """Listens at ``address``, from start to end of a ``with`` block; buckets live in its memory."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        if not SERVER.exists():
            raise ComponentError(
                f"there is no {SERVER}: `make {SERVER.parents[1]}/.built` makes it"
            )
        (port,) = free_ports(1)
        self._address, self._port = address, port
        self.endpoint = f"http://{address}:{port}"
        self._folder = tempfile.TemporaryDirectory(prefix="s3-")

    def __enter__(self) -> Self:
        command = [SERVER, "-H", self._address, "-p", str(self._port)]
        self._process = Component("s3", command, Path(self._folder.name) / "log")
        wait_for("the S3 server", self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._folder.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """By which clients find it and are let in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def put(self, key: str, data: bytes = b"") -> None:
        """Make a bucket, or an object: ``bucket/key``."""
        request = urllib.request.Request(f"{self.endpoint}/{key}", data=data, method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        request.add_header("Authorization", _SIGNED)
        urllib.request.urlopen(request, timeout=10).close()

    def get(self, key: str) -> bytes:
        """An object."""
        request = urllib.request.Request(f"{self.endpoint}/{key}")
        request.add_header("Authorization", _SIGNED)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def keys(self, bucket: str) -> list[str]:
        """The objects of a bucket."""
        tree = ElementTree.fromstring(self.get(f"{bucket}?list-type=2"))
        return sorted(str(found.text) for found in tree.iter(f"{_NAMESPACE}Key"))

    def _answers(self) -> bool:
        self._process.check()
        try:
            urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=1).close()
        except (urllib.error.URLError, OSError):
            return False
        return True
