"""What a server takes and holds at once is bounded, and nobody keeps the others out."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainingjob.runtime.serve import app as app_module
from trainingjob.runtime.serve import batches, protocol
from trainingjob.runtime.serve.served import Answers, BadRow, load

from .build import Made, request
from .infer import COLUMNS, INFER, Client, infer, opened, with_input


async def test_bodies_are_bounded(classes: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    client, app = await opened(classes, max_body_bytes=1000)
    status, told = await infer(client, b" " * 1001)
    assert (status, told["error"]) == (413, "the body has 1001 bytes, and 1000 are the most")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    answer = await client.post(INFER, data=pieces())  # nobody said how long it is
    assert answer.status == 413
    answer = await client.post(INFER, data=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status == 415
    # A client that never ends its body does not hold the server up.
    monkeypatch.setattr(app_module, "_BODY_SECONDS", 0.3)
    assert client.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{{".encode())
    assert (await client.get("/v2/health/live")).status == 200
    assert b" 408 " in await reader.readline()
    writer.close()
    # Nor does one that sends less and less.
    monkeypatch.setattr(app_module, "_BODY_SECONDS", 30.0)
    monkeypatch.setattr(app_module, "_LEAST_SECONDS", 0.5)
    monkeypatch.setattr(app_module, "_LEAST_BYTES", 100)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n".encode())
    writer.write(b" " * 200)
    answer_line = asyncio.create_task(reader.readline())
    while not answer_line.done():
        writer.write(b" ")
        await asyncio.sleep(0.05)
    assert b" 408 " in answer_line.result()
    writer.close()
    while app._held:
        await asyncio.sleep(0.01)
    await client.close()
    await app.close()


async def upload(client: Client, length: int, sent: int) -> asyncio.StreamWriter:
    """A request that announces a body, and sends some of it and nothing more."""
    assert client.port is not None
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode() + b" " * sent)
    return writer


async def test_uploads_that_stand_still_do_not_keep_others_out(
    classes: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, app = await opened(classes)
    asked = request(classes.rows("test")[:1], COLUMNS)
    # They hold what they have sent, which is nothing.
    idle = [await upload(client, app_module.MAX_BODY_BYTES, 0) for _ in range(6)]
    while app.state.in_flight < 6:
        await asyncio.sleep(0.01)
    assert app._held == 0
    assert (await infer(client, asked))[0] == 200
    # When great ones hold all that they may, small ones have room still.
    monkeypatch.setattr(app_module, "_HELD_BYTES", 20_000)
    monkeypatch.setattr(app_module, "_SMALL_BYTES", 5_000)
    monkeypatch.setattr(app_module, "_FOR_SMALL_BYTES", 8_000)
    great = [await upload(client, 10_000, 9_999) for _ in range(2)]
    while app._held < 19_998:
        await asyncio.sleep(0.01)
    assert (await infer(client, asked))[0] == 200
    answer = await client.post(INFER, data=b" " * 5_001)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    small = [await upload(client, 4_001, 4_000) for _ in range(2)]
    while app._held < 27_998:
        await asyncio.sleep(0.01)
    assert (await infer(client, asked))[0] == 429
    for one in idle + great + small:
        one.close()
    while app._held:
        await asyncio.sleep(0.01)
    assert (await infer(client, asked))[0] == 200
    await client.close()
    await app.close()


def held(app: Any) -> tuple[threading.Event, threading.Event, list[int]]:
    """The model computes when the first is set; the second is, once it has rows: how many each
    time."""
    assert app.state.batches is not None
    gate, begun, sizes = threading.Event(), threading.Event(), list[int]()
    work = app.state.batches._work

    def slowly(columns: Any) -> Any:
        sizes.append(len(columns["x"]))
        begun.set()
        assert gate.wait(30)
        return work(columns)

    app.state.batches._work = slowly
    return gate, begun, sizes


async def test_rows_that_wait_are_bounded_and_answered_together(classes: Made) -> None:
    client, app = await opened(classes, max_queued_rows=8)
    gate, begun, sizes = held(app)
    rows = classes.rows("test")
    asked = [request(rows[at : at + 2], COLUMNS) for at in range(0, 10, 2)]
    first = asyncio.create_task(infer(client, asked[0]))
    await asyncio.to_thread(begun.wait, 30)
    more = [asyncio.create_task(infer(client, one)) for one in asked[1:]]
    while app.state.batches.queued < 8:
        await asyncio.sleep(0.01)
    answer = await client.post(INFER, json=asked[0])
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert (await answer.json())["error"] == "8 rows wait already: try again later"
    # One that has gone is not computed.
    more[0].cancel()
    while not app.state.batches._waiting[0].answers.done():
        await asyncio.sleep(0.01)
    gate.set()
    found = [await first, *(await asyncio.gather(*more[1:]))]
    assert sizes == [2, 6]
    for at, (status, told) in zip((0, 4, 6, 8), found, strict=True):
        assert status == 200
        expected = classes.expected(rows[at : at + 2])
        np.testing.assert_allclose(told["outputs"][1]["data"], expected.ravel(), atol=1e-5)
    await client.close()
    await app.close()


async def test_long_texts_that_wait_are_bounded_and_not_all_in_one_batch(
    classes: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 25_000)
    client, app = await opened(classes)
    gate, begun, sizes = held(app)
    asked = with_input("city", data=["a" * 10_000])(request(classes.rows("test")[:1], COLUMNS))
    length = len(json.dumps(asked))
    monkeypatch.setattr(app_module, "_FOR_SMALL_BYTES", 0)
    first = asyncio.create_task(infer(client, asked))
    await asyncio.to_thread(begun.wait, 30)
    more = [asyncio.create_task(infer(client, asked)) for _ in range(6)]
    while app.state.batches.queued < 6:
        await asyncio.sleep(0.01)
    # What waits is held still.
    assert app._held >= 7 * length
    monkeypatch.setattr(app_module, "_HELD_BYTES", app._held + length - 1)
    assert (await infer(client, asked))[0] == 429
    # One that has gone leaves nothing behind.
    more[0].cancel()
    while not app.state.batches._waiting[0].answers.done():
        await asyncio.sleep(0.01)
    assert not app.state.batches._waiting[0].columns
    gate.set()
    found = [await first, *(await asyncio.gather(*more[1:]))]
    assert [status for status, _ in found] == [200] * 6
    assert sizes == [1, 2, 2, 1]
    assert app._held == 0
    await client.close()
    await app.close()


async def test_in_a_batch_only_who_sent_a_bad_row_is_told(classes: Made) -> None:
    client, app = await opened(classes)
    assert app.state.batches is not None
    rows = classes.rows("test")[:6]
    good = request(rows, COLUMNS)
    bad = with_input("count", data=[1, 2, None, 4, 5, 6])(good)
    found = await asyncio.gather(*(infer(client, one) for one in (good, bad, good, bad, good)))
    assert [status for status, _ in found] == [200, 400, 200, 400, 200]
    await client.close()
    await app.close()


async def test_a_few_bad_rows_do_not_end_batching_for_all(classes: Made) -> None:
    served, runs, lengths = load(classes.payload()), 0, []

    def counted(columns: Any) -> Any:
        nonlocal runs
        runs += 1
        return served.answers(columns)

    queue = batches.Batches(counted, 16_384, lengths.append)
    frame = classes.rows("test")[:1]
    columns = {
        name: protocol.column_of(one["data"], kind, name)
        for one, (name, kind) in zip(
            request(frame, [*served.inputs])["inputs"], served.inputs.items(), strict=True
        )
    }
    bad = columns | {"count": pa.array([None], type=pa.int64())}
    found = await asyncio.gather(
        *(queue.answers(bad if at % 50 == 7 else columns, 1) for at in range(600)),
        return_exceptions=True,
    )
    expected = classes.expected(frame)
    for at, one in enumerate(found):
        if at % 50 == 7:
            assert isinstance(one, BadRow)
        else:
            assert isinstance(one, Answers)
            np.testing.assert_allclose(one.scores, expected, atol=1e-5)
    # Each of the twelve is found by halves, beside what the batch is made of.
    assert runs < 12 * 2 * 7
    assert sum(lengths) == 588
    await queue.close()
    served.close()


async def test_a_mistake_of_ours_ends_a_request_and_not_the_server(
    classes: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    client, app = await opened(classes)
    assert app.state.batches is not None
    work = app.state.batches._work
    asked = request(classes.rows("test")[:1], COLUMNS)

    def fails(columns: Any) -> Any:
        raise MemoryError("secret\nplace")

    app.state.batches._work = fails
    status, told = await infer(client, asked)
    assert (status, "secret" in told["error"]) == (500, False)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["event"], line["error"]) == ("failed", "MemoryError: secret place")
    app.state.batches._work = work
    assert (await infer(client, asked))[0] == 200
    await client.close()
    await app.close()


async def test_answers_are_bounded_and_others_are_answered_while_they_are_written(
    client: Client, classes: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = classes.rows("test")
    asked = request(rows, COLUMNS)
    _, wanted = await infer(client, asked)
    written, begun, gate = protocol.written, threading.Event(), threading.Event()

    def slowly(*given: Any) -> bytes:
        if given[1].rows > 1:
            begun.set()
            assert gate.wait(30)
        return written(*given)

    monkeypatch.setattr(protocol, "written", slowly)
    monkeypatch.setattr(protocol, "PIECE", 7)
    great = asyncio.create_task(infer(client, asked))
    await asyncio.to_thread(begun.wait, 30)
    assert (await infer(client, request(rows[:1], COLUMNS)))[0] == 200
    gate.set()
    assert await great == (200, wanted)
    # Three classes and the prediction of each row.
    monkeypatch.setattr(protocol, "MOST_OUTPUTS", 4 * len(rows))
    assert (await infer(client, asked))[0] == 200
    monkeypatch.setattr(protocol, "MOST_OUTPUTS", 4 * len(rows) - 1)
    status, told = await infer(client, asked)
    assert (status, f"a request has 1 to {len(rows) - 1} rows" in told["error"]) == (400, True)


async def test_others_are_answered_while_a_large_body_is_read(
    client: Client, classes: Made
) -> None:
    rows = classes.rows("test")[:1]
    asked, large = request(rows, COLUMNS), request(rows, [*COLUMNS, "note"])
    large["inputs"][-1] |= {"datatype": "BYTES", "data": ["a, b"] * 1_500_000}
    body = json.dumps(large).encode()
    assert 2**23 < len(body) < 2**24
    status, told = await infer(client, body)
    assert (status, told["error"]) == (400, "a list has more than 16384 values")
    large["inputs"][-1] |= {"data": ["a, b" * 50] * 16_000, "shape": [1]}
    reading = asyncio.create_task(infer(client, json.dumps(large).encode()))
    answered = 0
    while not reading.done():
        assert (await infer(client, asked))[0] == 200
        answered += 1
    # One that does not count: it may have come before the other was read.
    assert (answered > 1, (await reading)[0]) == (True, 200)


async def test_who_does_not_take_an_answer_is_left(
    classes: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, app = await opened(classes)
    monkeypatch.setattr(app_module, "_SEND_SECONDS", 0.3)
    long = b" " * (64 * 2**20)
    monkeypatch.setattr(protocol, "written", lambda *given: long)
    body = json.dumps(request(classes.rows("test")[:1], COLUMNS)).encode()
    assert client.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1000)
    writer.write(
        f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    assert b" 200 " in await reader.readline()
    while app.state.in_flight:
        await asyncio.sleep(0.01)
    assert app._held == 0
    got = 0
    with suppress(ConnectionError):
        while piece := await reader.read(2**20):
            got += len(piece)
    assert got < len(long)
    writer.close()
    await client.close()
    await app.close()
