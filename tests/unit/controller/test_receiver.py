"""Reports of pods, by HTTP: who is heard, how often, and how much of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from tests.unit.cluster.test_cache import job, pod
from trainingjob.api.payload import ProgressReport
from trainingjob.cluster import JOBS, PODS, Cache, Key
from trainingjob.controller.listener import Listener
from trainingjob.controller.progress import Receiver, Reports
from trainingjob.controller.tokens import Bearer, Tokens, Untrusted

PODS_OF_JOB = ("digits-train-1-0", "digits-train-1-1")
OTHERS = ("digits-preprocess-1-0", "digits-evaluate-1-0")
KEY = "ab" * 32


class Names:
    """In the place of tokens: whoever comes is the pod that it says it is."""

    async def pod(self, token: str) -> Bearer:
        if token not in PODS_OF_JOB + OTHERS:
            raise Untrusted("made up")
        return Bearer("team", token, f"uid-{token}")


class Port:
    def __init__(self) -> None:
        cache = Cache()
        cache.apply(JOBS, job(1))
        for name in PODS_OF_JOB + OTHERS:
            cache.apply(PODS, pod(2, name))
        cache.trust("uid-1", cache.pods(("team", "digits"), "uid-1"))
        self.reports = Reports()
        self.keys = {"uid-1": KEY, "uid-2": "cd" * 32}
        self.answer: Any = None
        self.notified: list[Key] = []
        self.answered: list[int] = []
        self.receiver = Receiver(
            cache,
            cast("Tokens", Names()),
            self.reports,
            lambda key, _: self.notified.append(key),
            self.answered.append,
            lambda uid: self.keys.get(uid, ""),
        )
        self.listener = Listener(
            web.Server(self.receiver.receive), malformed=self.receiver.malformed
        )
        self.url = ""

    async def post(
        self, body: bytes, name: str = PODS_OF_JOB[0], method: str = "POST", **more: Any
    ) -> int:
        headers = {"Authorization": f"Bearer {name}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url, data=body, headers=headers, **more) as answer,
        ):
            if answer.content_type == "application/json":
                self.answer = await answer.json()
            self.retry_after = answer.headers.get("Retry-After")
            return answer.status


@asynccontextmanager
async def port() -> AsyncIterator[Port]:
    made = Port()
    made.url = f"http://127.0.0.1:{await made.listener.start(0)}"
    try:
        yield made
    finally:
        await made.listener.close()


def report(step: int = 1, metrics: int = 0) -> bytes:
    found = [{"name": "step", "value": str(step)}]
    found += [{"name": f"m{number}", "value": "1"} for number in range(metrics)]
    return json.dumps({"trainerStatus": {"metrics": found}}).encode()


async def test_a_pod_is_heard_so_often_and_the_others_beside_it() -> None:
    async with port() as made:
        answers = [await made.post(report(step)) for step in range(12)]
        assert answers[:10] == [200] * 10
        assert 429 in answers[10:]
        assert made.retry_after == "1"
        assert await made.post(report(), PODS_OF_JOB[1]) == 200
    assert made.notified == [("team", "digits")] * answers.count(200)


async def test_who_is_heard_too_often_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with port() as made:
        for step in range(10):
            await made.post(report(step))

        def fail(_: object) -> None:
            raise AssertionError("it was parsed")

        monkeypatch.setattr(ProgressReport, "model_validate_json", fail)
        assert await made.post(report()) == 429


async def test_a_pod_has_one_request_at_a_time() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield report()[:5]
        began.set()
        await ended.wait()
        yield report()[5:]

    began, ended = asyncio.Event(), asyncio.Event()
    async with port() as made:
        first = asyncio.create_task(made.post(cast("bytes", slowly())))
        await began.wait()
        await asyncio.sleep(0.05)
        assert await made.post(report()) == 429
        assert await made.post(report(), PODS_OF_JOB[1]) == 200
        ended.set()
        assert await first == 200
        assert await made.post(report(2)) == 200


@pytest.mark.parametrize(
    ("what", "body", "code"),
    [
        ("as many metrics as are taken", report(metrics=127), 200),
        ("one more", report(metrics=128), 400),
        ("lists of nothing", b'{"trainerStatus":{"metrics":[' + b"0," * 4000 + b"0]}}", 400),
        ("no JSON", b"{", 400),
        ("nothing", b"", 400),
        ("deep", b'{"trainerStatus":' * 400, 400),
        ("as long as can be", report() + b" " * (8192 - len(report())), 200),
        ("longer", report() + b" " * 8192, 413),
    ],
)
async def test_a_report_is_short(what: str, body: bytes, code: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async with port() as made:
        assert await made.post(body) == code
        assert await made.post(cast("bytes", chunks())) == code, "without a length"
        assert made.answered == [code, code]


async def test_who_is_refused_is_told() -> None:
    async with port() as made:
        assert await made.post(report(), "somebody") == 401
        assert await made.post(report(), method="PUT") == 405


async def test_the_key_of_the_test_split_is_for_pods_that_may_read_it() -> None:
    async with port() as made:
        for name in PODS_OF_JOB:
            assert await made.post(b"", name, "GET") == 403
        assert await made.post(b"", "somebody", "GET") == 401
        assert made.answer is None
        for name in OTHERS:
            assert await made.post(b"", name, "GET") == 200
            assert made.answer == {"key": KEY}
        made.keys.clear()
        assert await made.post(b"", OTHERS[0], "GET") == 500


async def test_who_asks_for_the_key_too_often_waits() -> None:
    async with port() as made:
        assert 429 in [await made.post(b"", OTHERS[0], "GET") for _ in range(12)]
