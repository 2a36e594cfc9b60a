"""A server as a process: clients that are wrong, slow or too many, and damaged models."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.serve.build import Made, made, request
from tests.unit.serve.malformed import bodies

from .servers import Server, ask

COLUMNS = ["x", "Full size", "count", "city", "day", "member"]
INFER = "/v2/models/digits/infer"
# As in a pod, but that it gives slow clients less time, and that its model takes 2 ms for a row.
PROGRAM = """
import sys, time
from trainingjob.runtime.serve import app, process, served
app._LEAST_SECONDS, process._KEEPALIVE_SECONDS = 1.0, 2.0
work = served.Served.answers
def slowly(self, columns):
    time.sleep(0.002 * len(next(iter(columns.values()))))
    return work(self, columns)
served.Served.answers = slowly
from trainingjob.runtime.__main__ import main
sys.exit(main())
"""
# So many requests of so many rows wait, and as many are at work.
WAIT, ROWS = 4, 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(model: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    # On all addresses: it lingers after SIGTERM, until all have heard of it.
    one = Server(model, folder, PROGRAM, host="0.0.0.0", max_queued_rows=WAIT * ROWS)
    yield one
    one.kill()


@pytest.fixture(scope="module")
def port(server: Server) -> int:
    return server.ready()


class Connection:
    """One of HTTP/1.1 by hand: what is sent may be no HTTP."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        self._writer.close()

    async def send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. Raises IncompleteReadError when it is closed before."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def post(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(post(body))
        return await self.answer()


def post(body: bytes) -> bytes:
    return (
        f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


def body_of(model: Made, rows: int) -> bytes:
    return json.dumps(request(model.rows("test")[:rows], COLUMNS)).encode()


def test_a_server_answers_what_was_judged(server: Server, port: int, model: Made) -> None:
    assert (server.told["rows"], server.told["digest"]) == (32, model.digest)
    rows = model.rows("test")[:4]
    status, told = ask(f"http://127.0.0.1:{port}", INFER, request(rows, COLUMNS))
    assert status == 200
    np.testing.assert_allclose(
        np.reshape(told["outputs"][1]["data"], (4, 3)), model.expected(rows), atol=1e-5
    )


def _line(text: str) -> Callable[[random.Random], bytes]:
    return lambda _: f"{text}\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode("latin-1")


def _header(text: str, body: str = "{}") -> Callable[[random.Random], bytes]:
    return lambda _: f"POST {INFER} HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\n{body}".encode("latin-1")


# What is no request to this server, whatever its body is.
HEADS: dict[str, Callable[[random.Random], bytes]] = {
    "noise": lambda chance: chance.randbytes(60).replace(b"\n", b"-") + b"\r\n\r\n",
    "TLS": lambda chance: b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + chance.randbytes(193),
    "HTTP/2": lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another method": _line(f"BREW {INFER} HTTP/1.1"),
    "a method in small letters": _line(f"post {INFER} HTTP/1.1"),
    "a method for something else": _line(f"DELETE {INFER} HTTP/1.1"),
    "a version": _line(f"POST {INFER} HTTP/9.9"),
    "a blank in the path": _line(f"POST {INFER} x HTTP/1.1"),
    "a zero in the path": _line("POST /v2/\x00 HTTP/1.1"),
    "percents": _line("POST /v2/models/%ff%00%zz/infer HTTP/1.1"),
    "letters beyond ASCII": _line("POST /v2/models/\xe8/infer HTTP/1.1"),
    "half of an address": _line("POST http://[::1/x HTTP/1.1"),
    "a port that is none": _line("POST http://a:99999999/x HTTP/1.1"),
    "another model": _line("POST /v2/models/../../etc/passwd HTTP/1.1"),
    "a long path": _line(f"POST /{'a' * 9000} HTTP/1.1"),
    "a header without a colon": _header("Content-Length 2"),
    "a blank in a header's name": _header("Content Length: 2"),
    "a long header": _header(f"X: {'a' * 20_000}"),
    "many headers": _header("\r\n".join(f"X{number}: 1" for number in range(300))),
    "no host": lambda _: f"POST {INFER} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    "less than no bytes": _header("Content-Length: -1"),
    "a length that is none": _header("Content-Length: two"),
    "two lengths": _header("Content-Length: 2\r\nContent-Length: 3"),
    "a length beyond 64 bits": _header(f"Content-Length: {'9' * 30}"),
    "a length beyond all bounds": _header(f"Content-Length: {2**40}"),
    "a length, and pieces": _header("Content-Length: 2\r\nTransfer-Encoding: chunked"),
    "pieces of another kind": _header("Transfer-Encoding: gzip"),
    "a piece of no size": _header("Transfer-Encoding: chunked", "zz\r\n"),
    "a piece that does not end": _header("Transfer-Encoding: chunked", '5\r\n{"id"XX\r\n'),
    "a piece beyond 64 bits": _header("Transfer-Encoding: chunked", f"{'f' * 20}\r\n{{}}"),
    "packed": _header("Content-Encoding: gzip\r\nContent-Length: 2"),
    "packed in no way": _header("Content-Encoding: \xff\r\nContent-Length: 2"),
    "packed, in pieces": _header(
        "Content-Encoding: gzip\r\nTransfer-Encoding: chunked", "2\r\n\x1f\x8b\r\n0\r\n\r\n"
    ),
    "binary data": _header("Inference-Header-Content-Length: 1\r\nContent-Length: 2"),
    "another expectation": _header("Expect: 200-ok\r\nContent-Length: 2"),
    "no body": _header("X: 1", ""),
}  # fmt: skip


async def test_a_thousand_malformed_requests_are_told_in_words_and_the_server_lives(
    server: Server, port: int, model: Made
) -> None:
    chance = random.Random(5)
    heads = [*HEADS.items()]
    some = [(name, make(chance)) for name, make in (heads[n % len(heads)] for n in range(500))]
    some += [("a body", post(body)) for body in bodies(json.loads(body_of(model, 2)), 500)]
    limit = asyncio.Semaphore(8)
    found: list[tuple[str, bytes, int, bytes]] = []

    async def send(name: str, data: bytes) -> None:
        async with limit, asyncio.timeout(30), Connection(port) as connection:
            await connection.send(data)
            status, headers, body = await connection.answer()
            if headers["content-type"].startswith("application/json") and status != 200:
                body = json.loads(body)["error"].encode()
            found.append((name, data, status, body))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for one in some:
            group.create_task(send(*one))
    assert len(found) == 1000
    harmless = [one for one in found if one[2] == 200]
    # Some changes leave a request that is none the worse for it.
    assert {name for name, *_ in harmless} <= {"a body"}
    assert len(harmless) < 150
    for name, data, status, words in found:
        assert status == 200 or (400 <= status < 500 and len(words) > 8), (name, data, status)
    assert ask(f"http://127.0.0.1:{port}", "/v2/health/ready")[0] == 200
    # Anybody may send such: that writes no tracebacks into the log, nor what was sent.
    assert server.errors.read_text() == ""


async def test_slow_clients_are_left_and_do_not_keep_others_waiting(port: int, model: Made) -> None:
    head, body = post(body_of(model, 1)).split(b"\r\n\r\n")
    whole = head + b"\r\n\r\n" + body

    async def slow(sent: int, pause: float) -> tuple[int, float]:
        """The status that one gets who sends the rest byte by byte, and after how long."""
        began = time.monotonic()
        async with Connection(port) as connection:
            answer = asyncio.ensure_future(connection.answer())
            at = sent
            try:
                await connection.send(whole[:at])
                while not answer.done():
                    await asyncio.wait([answer], timeout=pause)
                    await connection.send(whole[at : at + 1])
                    at += 1
            except ConnectionError:
                pass
            try:
                status = (await answer)[0]
            except (asyncio.IncompleteReadError, ConnectionError):
                status = 0
        return status, time.monotonic() - began

    kinds = {"nothing": (0, 60.0), "of the head": (20, 0.1), "of the body": (len(head) + 20, 0.1)}
    clients = {
        name: [asyncio.create_task(slow(*kind)) for _ in range(30)] for name, kind in kinds.items()
    }
    every = [task for tasks in clients.values() for task in tasks]
    times = []
    async with asyncio.timeout(30):
        while not all(task.done() for task in every):
            began = time.monotonic()
            async with Connection(port) as connection:
                status, _, _ = await connection.post(body_of(model, 1))
            assert status == 200
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    assert statistics.median(times) < 1
    assert {task.result()[0] for task in clients["of the body"]} == {408}
    assert {task.result()[0] for name in ("nothing", "of the head") for task in clients[name]} == {
        0
    }
    assert max(task.result()[1] for task in every) < 10


async def test_ten_times_its_load_is_refused_but_for_a_tenth_and_nothing_is_lost_at_the_end(
    server: Server, port: int, model: Made
) -> None:
    body = body_of(model, ROWS)
    took: list[float] = []
    refused: list[str] = []
    leave = asyncio.Event()

    async def client() -> None:
        """Asks until it is told that the server goes, and minds neither who refuses nor who
        closes; whatever it has asked must be answered."""
        while not leave.is_set():
            async with Connection(port) as connection:
                closed = False
                while not (closed or leave.is_set()):
                    began = time.monotonic()
                    status, headers, _ = await connection.post(body)
                    closed = headers.get("connection") == "close"
                    if status == 200:
                        took.append(time.monotonic() - began)
                    else:
                        assert (status, headers["retry-after"]) == (429, "1")
                        refused.append(headers["retry-after"])
                        await asyncio.sleep(0.05)

    async def watch() -> list[float]:
        """As those who send requests to pods that are ready; how long each answer took."""
        times = []
        while True:
            began = time.monotonic()
            async with Connection(port) as connection:
                await connection.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
                status, _, _ = await connection.answer()
            times.append(time.monotonic() - began)
            if status != 200:
                leave.set()
                return times
            await asyncio.sleep(0.05)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        # Twice WAIT have room, those at work and those that wait.
        for _ in range(10 * 2 * WAIT):
            group.create_task(client())
        looks = group.create_task(watch())
        while len(took) < 60:
            await asyncio.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
    code, events = await asyncio.to_thread(server.ended)
    assert (code, [event["event"] for event in events]) == (0, ["draining", "stopped"])
    assert time.monotonic() - began < 15
    # If all of them waited, the last one would for 2.5 s; those that may are done in a tenth.
    assert sorted(took)[int(len(took) * 0.99)] < 1.5
    assert len(refused) > len(took)
    assert max(looks.result()) < 2
    assert ("Traceback" in server.errors.read_text(), server.result.exists()) == (False, False)


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def _judged_otherwise(folder: Path) -> None:
    path = folder / "trainingjob.json"
    card = json.loads(path.read_text())
    card["outputs"][0] = card["outputs"][0][::-1]
    path.write_text(json.dumps(card))


# tests/unit/serve/test_served.py has the other ways: missing, of another digest, without a card …
DAMAGED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (_truncated, "ModelCorrupt", "they were changed, or lost in part"),
    "that does not reproduce": (
        _judged_otherwise,
        "SelfTestFailed",
        "1 of 32 rows of the evaluation have other outputs now: ",
    ),
}


def test_a_model_that_is_damaged_ends_the_server_with_the_reason(
    model: Made, tmp_path: Path
) -> None:
    servers = {}
    for case, (damage, _, _) in DAMAGED.items():
        folder = tmp_path / case / "accepted"
        shutil.copytree(model.accepted, folder)
        damage(folder)
        servers[case] = Server(model, tmp_path / case, model_uri=f"file://{folder}")
    for case, (_, reason, words) in DAMAGED.items():
        code, events = servers[case].ended()
        assert (code, events) == (1, []), case
        error = json.loads(servers[case].result.read_text())["error"]
        assert (error["reason"], words in error["message"]) == (reason, True), (case, error)
