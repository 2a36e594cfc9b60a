"""The port that every pod can reach: real sockets, real TLS, and clients that mean ill."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from trainingjob.controller import listener as under_test
from trainingjob.controller.buckets import Buckets
from trainingjob.controller.certificate import Authority
from trainingjob.controller.listener import Listener

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Port:
    """One that answers every request with its body."""

    def __init__(self) -> None:
        self.malformed = 0
        self.refused = 0
        authority = Authority.make(datetime.now(UTC))
        self._tls = authority.server("localhost", datetime.now(UTC))
        self._client = ssl.create_default_context(cadata=authority.pem)
        self.listener = Listener(
            web.Server(self._echo), malformed=lambda: self._count("malformed"), refused=self._refuse
        )
        self.number = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def _echo(self, request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    def _count(self, what: str) -> None:
        self.malformed += 1

    def _refuse(self) -> None:
        self.refused += 1

    async def start(self) -> None:
        self.number = await self.listener.start(0, self._tls)

    async def _connect(self, **options: Any) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number, **options)
        self._writers.append(writer)
        return reader, writer

    async def tcp(self) -> Streams:
        return await self._connect()

    async def tls(self) -> Streams:
        return await self._connect(ssl=self._client, server_hostname="localhost")

    async def end(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self.listener.close()
        await asyncio.sleep(0.01)  # whatever is aborted is closed in the loop's next turn

    async def ask(self, request: bytes = REQUEST) -> bytes:
        reader, writer = await self.tls()
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return answer


@asynccontextmanager
async def port() -> AsyncIterator[Port]:
    made = Port()
    await made.start()
    try:
        yield made
    finally:
        await made.end()


async def seconds_until_closed(streams: Streams) -> float:
    begun = time.monotonic()
    with suppress(ConnectionError, ssl.SSLError):
        await asyncio.wait_for(streams[0].read(), 20)
    streams[1].close()
    return time.monotonic() - begun


async def test_one_request_a_connection_and_then_goodbye() -> None:
    async with port() as made:
        answer = await made.ask()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    assert answer.endswith(b"{}")


@pytest.mark.parametrize(
    ("what", "encrypted", "sent"),
    [
        ("nothing", False, b""),
        ("half a handshake", False, b"\x16\x03\x01\x02\x00\x01\x00"),
        ("nothing after the handshake", True, b""),
        ("half a request line", True, b"POST / HT"),
        ("half a header", True, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le"),
        ("half a body", True, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"),
    ],
)
async def test_whoever_does_not_come_to_an_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, what: str, encrypted: bool, sent: bytes
) -> None:
    monkeypatch.setattr(under_test, "_HANDSHAKE_SECONDS", 0.3)
    monkeypatch.setattr(under_test, "_REQUEST_SECONDS", 0.6)
    async with port() as made:
        streams = await (made.tls() if encrypted else made.tcp())
        streams[1].write(sent)
        took = await seconds_until_closed(streams)

    assert took < (0.9 if encrypted else 0.6)


async def test_whoever_sends_a_byte_now_and_then_gains_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "_REQUEST_SECONDS", 0.6)
    async with port() as made:
        reader, writer = await made.tls()

        async def drip() -> None:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n")
            while True:
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        took = await seconds_until_closed((reader, writer))
        dripping.cancel()

    assert took < 1.2


async def test_connections_of_a_peer_are_few_and_the_oldest_makes_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "_MOST_OF_PEER", 4)
    monkeypatch.setattr(under_test, "_CHANCE_SECONDS", 0.3)
    async with port() as made:
        silent = [await made.tcp() for _ in range(4)]
        one_too_many = await made.tcp()
        assert await seconds_until_closed(one_too_many) < 0.2, "all of them are new"
        await asyncio.sleep(0.4)
        assert (await made.ask()).endswith(b"{}"), "one of them has had its chance"
        assert await seconds_until_closed(silent[0]) < 0.2
        assert made.refused == 2


async def test_connections_in_all_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_MOST", 4)
    async with port() as made:
        for _ in range(4):
            await made.tcp()
        assert await seconds_until_closed(await made.tcp()) < 0.2


async def test_a_peer_that_connects_without_end_is_slowed_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with port() as made:
        made.listener._rates = Buckets(0.001, 3)
        for _ in range(3):
            assert (await made.ask()).endswith(b"{}")
        assert await seconds_until_closed(await made.tcp()) < 0.2
        assert made.refused == 1


async def test_silent_connections_keep_nobody_from_being_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the same peer, and while it renews them."""
    monkeypatch.setattr(under_test, "_CHANCE_SECONDS", 0.2)
    async with port() as made:
        made.listener._rates = Buckets(1e6, 1000)
        for number in range(1000):
            await made.tcp()
            if number % 250 == 249:
                await asyncio.sleep(0.3)
                assert (await made.ask()).endswith(b"{}")
        assert len(made.listener._open) <= 64


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 9000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 200 + b"\r\n",
        b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=[
        "bytes",
        "no path",
        "another version",
        "a length below 0",
        "a long header",
        "many headers",
        "a long path",
    ],
)
async def test_what_is_no_http_is_counted_and_makes_no_noise(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with port() as made:
        answer = await made.ask(sent)

    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert made.malformed == 1
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_body_that_breaks_off_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    async with port() as made:
        answer = await made.ask(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        _, writer = await made.tls()
        writer.write(head + b"Content-Length: 9\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
        await asyncio.sleep(0.1)

    assert b" 400 " in answer.splitlines()[0]
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_what_is_no_tls_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with port() as made:
        streams = await made.tcp()
        streams[1].write(REQUEST)
        assert await seconds_until_closed(streams) < 1
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize("what", ["evicted", "no TLS", "gone", "slow", "served"])
async def test_what_a_connection_took_is_free_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """And not when the garbage collector finds it: 270 KiB each."""
    monkeypatch.setattr(under_test, "_REQUEST_SECONDS", 0.3)
    if what == "evicted":
        monkeypatch.setattr(under_test, "_MOST_OF_PEER", 1)
        monkeypatch.setattr(under_test, "_CHANCE_SECONDS", 0.0)

    def there() -> set[int]:
        found = (found for found in gc.get_objects() if type(found) is SSLProtocol)
        return {id(protocol) for protocol in found if protocol._server_side}

    async with port() as made:
        gc.collect()
        before = there()
        gc.disable()
        try:
            for _ in range(10):
                if what == "served":
                    await made.ask()
                    continue
                _, writer = await made.tcp()
                if what == "no TLS":
                    writer.write(REQUEST)
                if what == "gone":
                    writer.close()
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert there() <= before
        finally:
            gc.enable()


async def test_the_port_is_free_again_and_one_that_is_taken_is_told() -> None:
    async with port() as made:
        other = Listener(web.Server(made._echo))
        with pytest.raises(OSError, match="in use"):
            await other.start(made.number)
        number = made.number
    again = Listener(web.Server(made._echo))
    await again.start(number)
    await again.close()


def test_buckets() -> None:
    buckets: Buckets[str] = Buckets(2.0, 3)
    takes: list[Any] = [buckets.wait("a", 100.0) for _ in range(4)]
    assert takes == [0, 0, 0, 0.5]
    assert buckets.wait("b", 100.0) == 0, "each has one of its own"
    assert buckets.wait("a", 100.5) == 0
    assert buckets.wait("a", 100.5) == 0.5
    assert [buckets.wait("a", 200.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_remember_so_many() -> None:
    buckets: Buckets[int] = Buckets(1.0, 1)
    for number in range(20_000):
        buckets.wait(number, float(number))
    assert len(buckets._full) == 10_000
