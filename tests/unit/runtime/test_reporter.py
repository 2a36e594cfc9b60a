"""Reports of progress: whatever answers, the next one is sent."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from trainingjob.api.payload import STATUS_TOKEN, STATUS_URL, ProgressReport
from trainingjob.runtime.base.progress import Reporter

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Server(socketserver.ThreadingTCPServer):
    """Gives the answers one by one, and then a fine one each time."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[bytes] = []
        self.heard = 0


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Server)
        self.request.recv(65536)
        self.server.heard += 1
        self.request.sendall(self.server.answers.pop(0) if self.server.answers else FINE)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv(STATUS_TOKEN, raising=False)
    with Server() as made:
        monkeypatch.setenv(STATUS_URL, f"http://127.0.0.1:{made.server_address[1]}")
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield made
        made.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", id="an error"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"garbage\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"x" * 70000, id="a line without end"),
    ],
)
def test_whatever_is_answered_the_next_report_is_sent(server: Server, answer: bytes) -> None:
    server.answers = [answer]
    reporter = Reporter()
    for number in (1, 2):
        reporter.report(0.1 * number)
        deadline = time.monotonic() + 5
        while server.heard < number and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.heard == number
    reporter.close()


def test_reports_do_not_take_the_way_out_of_the_cluster(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy for downloads, as in train.env, knows no operator."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reporter = Reporter()
    reporter.report(0.5)
    reporter.close()
    assert server.heard == 1


def test_counts_are_told_as_they_are_and_other_numbers_by_eight_digits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[ProgressReport] = []
    monkeypatch.setattr(Reporter, "_send", lambda self, report: sent.append(report))
    reporter = Reporter()
    reporter.report(0.5, {"rows": 3_000_000_001, "loss": 0.123456789012})
    reporter.close()
    metrics = {one.name: one.value for one in sent[0].trainer_status.metrics}
    assert metrics == {"rows": "3000000001", "loss": "0.12345679"}
