"""The server of an accepted model: ``python -m tests.perf serve``.

Rows a second ÷ a bare loop over the same pipeline and model; the median time of a single row; from
the start of the process until it is ready. Beside it, in turns, those of these that are installed:
MLServer, and an application as people write it by hand with FastAPI. To have them without changing
what the rest runs on: ``uv pip install --target DIR fastapi uvicorn mlserver``, remove what DIR has
of pandas and aiohttp, and ``PYTHONPATH=DIR``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tests.cluster.process import free_ports
from tests.unit.serve.build import Made, made, request
from trainingjob.api.payload import RESULT_FILE, STAGE_PAYLOAD
from trainingjob.runtime.preprocess.fitted.columns import ARROW
from trainingjob.runtime.serve.served import load

COLUMNS = ["x", "Full size", "count", "city", "day", "member"]
SINGLES, SECONDS, CONNECTIONS, ROWS = 400, 4.0, 4, 512
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = made(Path(folder) / "made")
        rows = model.rows("test")
        many = pd.concat([rows] * (ROWS // len(rows) + 1))[:ROWS]
        found: dict[str, list[float]] = {}

        def note(what: str, value: float) -> None:
            found.setdefault(what, []).append(value)

        peers: dict[str, Callable[[], Any]] = {"ours": lambda: _ours(model, folder)}
        if _installed("fastapi", "uvicorn"):
            peers["FastAPI"] = lambda: _fastapi(model)
        if _installed("mlserver"):
            peers["MLServer"] = lambda: _mlserver(model, folder)
        for _ in range(ROUNDS):
            note("bare loop: rows/s", _bare(model, many))
            for name, start in peers.items():
                with start() as (port, seconds):
                    path = "/predict" if name == "FastAPI" else "/v2/models/digits/infer"
                    body = _body(name, rows[:1]), _body(name, many)
                    note(f"{name}: ready, s", seconds)
                    note(f"{name}: one row, ms", _single(port, path, body[0]))
                    note(f"{name}: rows/s", _rows(port, path, body[1]))
        for what, values in found.items():
            print(f"{what:24} {statistics.median(values):10.2f}")
        ratio = statistics.median(found["ours: rows/s"]) / statistics.median(
            found["bare loop: rows/s"]
        )
        print(f"rows/s ÷ a bare loop     {ratio:10.2f}")


def _body(name: str, rows: pd.DataFrame) -> bytes:
    asked = request(rows, COLUMNS)
    if name == "FastAPI":
        values = {one["name"]: one["data"] for one in asked["inputs"]}
        asked = {
            "rows": [
                dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)
            ]
        }
    return json.dumps(asked).encode()


def _bare(model: Made, rows: pd.DataFrame) -> float:
    """Rows a second of a loop without a server."""
    served = load(model.payload())
    columns = {
        name: pa.array(rows[name], type=ARROW[kind], from_pandas=True)
        for name, kind in served.inputs.items()
    }
    for _ in range(10):
        served.answers(columns)
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS:
        served.answers(columns)
        done += len(rows)
    served.close()
    return done / took


def _single(port: int, path: str, body: bytes) -> float:
    """The median, in ms, over one connection."""
    connection = _connection(port)
    times = []
    for _ in range(SINGLES):
        began = time.perf_counter()
        _ask(connection, path, body)
        times.append(time.perf_counter() - began)
    return statistics.median(times[50:]) * 1000


def _rows(port: int, path: str, body: bytes) -> float:
    """Rows a second over several connections."""
    done = [0] * CONNECTIONS
    end = time.perf_counter() + SECONDS

    def client(number: int) -> None:
        connection = _connection(port)
        while time.perf_counter() < end:
            _ask(connection, path, body)
            done[number] += ROWS

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def _connection(port: int) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: HTTPConnection, path: str, body: bytes) -> None:
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    assert answer.status == 200, told


@contextmanager
def _ours(model: Made, folder: str) -> Iterator[tuple[int, float]]:
    payload = model.payload(host="127.0.0.1", port=0)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainingjob.runtime"],
        env={
            **os.environ,
            STAGE_PAYLOAD: payload.model_dump_json(by_alias=True, exclude_none=True),
            RESULT_FILE: str(Path(folder) / "termination"),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield int(told["address"].rpartition(":")[2]), time.perf_counter() - began
    finally:
        process.terminate()
        process.communicate()


def _installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) for name in names)


def _fastapi(model: Made) -> AbstractContextManager[tuple[int, float]]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.perf.by_hand", str(model.folder), str(port)]
    return _peer(command, port, "/docs")


def _mlserver(model: Made, folder: str) -> AbstractContextManager[tuple[int, float]]:
    """As it comes, but that the model is in its own process: more would be more than we have."""
    port, grpc, metrics = free_ports(3)
    place = Path(tempfile.mkdtemp(dir=folder))
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
    }
    (place / "settings.json").write_text(json.dumps(settings))
    settings = {"name": "digits", "implementation": "tests.perf.by_mlserver.Model"}
    settings["parameters"] = {"uri": str(model.folder)}
    (place / "model-settings.json").write_text(json.dumps(settings))
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(place)]
    return _peer(command, port, "/v2/models/digits/ready")


@contextmanager
def _peer(command: list[str], port: int, path: str) -> Iterator[tuple[int, float]]:
    """Its port, and after how many seconds it answered at ``path``."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port, path):
            assert process.poll() is None, "it has ended"
            time.sleep(0.02)
        yield port, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
