"""S3 on a bad day: a server out of breath, lines that are cut, nobody at home."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage import streams
from trainingjob.runtime.storage.remote import _connected

MIB = 2**20
DATA = random.Random(5).randbytes(40 * MIB)
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


class Server(ThreadingHTTPServer):
    """One object, ``bucket/x``. ``faults``: what becomes of the next requests for its bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.faults: list[str] = []
        self.sent = 0
        self.lock = threading.Lock()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._begin(200, len(DATA))

    def do_GET(self) -> None:
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self._begin(int(fault), len(SLOW_DOWN))
            self.wfile.write(SLOW_DOWN)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert asked is not None
        start, end = int(asked[1]), int(asked[2]) + 1
        self._begin(206, end - start, f"bytes {start}-{end - 1}/{len(DATA)}")
        part = DATA[start : start + MIB if fault == "cut" else end]
        with self.server.lock:
            self.server.sent += len(part)
        self.wfile.write(part)
        self.close_connection = True

    def _begin(self, status: int, length: int, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"1"')
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path))
        monkeypatch.setattr(streams, "_WAITS", (0.01,))
        _connected.cache_clear()
        yield made
        _connected.cache_clear()
        made.shutdown()


@pytest.mark.parametrize(
    ("what", "faults"),
    [
        ("nothing", []),
        ("a burst of slow-downs", ["503"] * 4),
        ("errors of the server", ["500", "502", "500"]),
        ("a line that is cut in the second piece", ["", "cut"]),
        ("lines that are cut, again and again", ["cut", "", "cut", "503", "cut"]),
    ],
)
def test_what_passes_by_itself_is_waited_for(server: Server, what: str, faults: list[str]) -> None:
    server.faults = [*faults]
    assert storage.fetch("s3://bucket/x").read_bytes() == DATA
    assert not server.faults
    cuts = faults.count("cut")
    assert server.sent <= len(DATA) + cuts * MIB, "gone on with, not begun anew"


def test_a_stream_goes_on_where_its_line_was_cut(server: Server) -> None:
    place = storage.resolve("s3://bucket/x")
    file = storage.source(place, len(DATA))
    assert isinstance(file, storage.RemoteFile)
    server.faults = ["cut", "500", "cut"]
    file.hold([(5, 9), (MIB, 30 * MIB)])
    server.faults = ["cut"]
    file.seek(MIB)
    assert file.read(29 * MIB) == DATA[MIB : 30 * MIB]
    assert server.faults, "what is held is not asked for again"
    assert file.read(10) == DATA[30 * MIB : 30 * MIB + 10]
    assert not list(place.parent.parent.rglob("x"))


def test_what_does_not_pass_is_told_and_leaves_no_half_of_a_file(
    server: Server, tmp_path: Path
) -> None:
    server.faults = ["cut"] * 100
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        storage.fetch("s3://bucket/x")
    assert error.value.reason == "StorageFailed"
    assert error.value.message.startswith("s3://bucket/x: ")
    assert "\n" not in error.value.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert time.monotonic() - began < 10
