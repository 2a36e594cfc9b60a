"""A server, and requests to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from trainingjob.runtime.serve.app import App
from trainingjob.runtime.serve.served import load

from .build import Made

INFER = "/v2/models/digits/infer"
COLUMNS = ["x", "Full size", "count", "city", "day", "member"]

Client = TestClient[Any, Any]


async def opened(made: Made, *, serve: bool = True, **more: Any) -> tuple[Client, App]:
    app = App(made.payload(**more))
    if serve:
        app.serve(load(made.payload()))
    client = TestClient(TestServer(app.application, handler_cancellation=True))
    await client.start_server()
    return client, app


async def infer(client: Client, body: Any, **more: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(INFER, data=data, **more)
    return answer.status, await answer.json()


def with_input(name: str, /, **more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(asked: dict[str, Any]) -> dict[str, Any]:
        inputs = [{**one, **more} if one["name"] == name else one for one in asked["inputs"]]
        return asked | {"inputs": inputs}

    return change


def tensors(*some: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda asked: asked | {"inputs": [*asked["inputs"], *some]}
