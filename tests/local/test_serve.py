"""Servers as processes, and `trainingjob serve` and `predict`."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.core.world import manifest
from tests.unit.serve.build import Made, frame, made, request
from trainingjob.api.payload import RESULT_FILE, STAGE_PAYLOAD
from trainingjob.local.store import Workspace

from .harness import cli, start

COLUMNS = ["x", "Full size", "count", "city", "day", "member"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("model"))


class Server:
    """A server's container."""

    def __init__(self, model: Made, folder: Path, **more: Any) -> None:
        self.result = folder / "termination"
        payload = model.payload(**{"host": "127.0.0.1", "port": 0, **more})
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainingjob.runtime"],
            env={
                **os.environ,
                STAGE_PAYLOAD: payload.model_dump_json(by_alias=True, exclude_none=True),
                RESULT_FILE: str(self.result),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told: dict[str, Any] = {}

    def ready(self) -> str:
        """Its address, once it says that it is ready."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told = json.loads(line)
            if self.told["event"] == "ready":
                return str(self.told["address"])
        raise AssertionError(self.process.communicate())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, list[str]]:
        """Its exit code, and the events that it tells at its end."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line)["event"] for line in out.splitlines()]


@pytest.fixture
def server(model: Made, tmp_path: Path) -> Iterator[Server]:
    # As in a pod: it lingers after SIGTERM, until all have heard of it.
    one = Server(model, tmp_path, host="0.0.0.0")
    yield one
    one.process.kill()
    one.process.communicate()


def ask(address: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{address}{path}", data, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_server_answers_and_loses_no_request_when_it_is_stopped(
    server: Server, model: Made
) -> None:
    address = server.ready()
    assert server.told["rows"] == 32
    assert server.told["digest"] == model.digest
    rows = model.rows("test")[:4]
    asked = request(rows, COLUMNS)
    status, told = ask(address, "/v2/models/digits/infer", asked)
    assert status == 200
    np.testing.assert_allclose(
        np.reshape(told["outputs"][1]["data"], (4, 3)), model.expected(rows), atol=1e-5
    )
    # Clients that go on until they are told to go elsewhere.
    host = address.removeprefix("http://").replace("0.0.0.0", "127.0.0.1")
    answered: list[int] = []
    leave = threading.Event()
    body = json.dumps(asked)

    def client() -> None:
        connection = HTTPConnection(host, timeout=30)
        while not leave.is_set():
            connection.request("POST", "/v2/models/digits/infer", body)
            answer = connection.getresponse()
            answer.read()
            answered.append(answer.status)
            if answer.getheader("Connection") == "close":
                connection = HTTPConnection(host, timeout=30)

    def watch() -> None:
        """As those who send requests to pods that are ready."""
        while ask(f"http://{host}", "/v2/health/ready")[0] == 200:
            time.sleep(0.05)
        leave.set()

    threads = [threading.Thread(target=one) for one in (client, client, client, watch)]
    for one in threads:
        one.start()
    while len(answered) < 50:
        time.sleep(0.01)
    began = time.monotonic()
    code, events = server.end()
    for one in threads:
        one.join()
    assert (code, events) == (0, ["draining", "stopped"])
    assert time.monotonic() - began < 15
    assert {*answered} == {200}
    assert not server.result.exists()


def test_a_model_that_does_not_reproduce_ends_the_server_with_the_reason(
    model: Made, tmp_path: Path
) -> None:
    folder = tmp_path / "accepted"
    shutil.copytree(model.accepted, folder)
    card = json.loads((folder / "trainingjob.json").read_text())
    card["outputs"][0] = card["outputs"][0][::-1]
    (folder / "trainingjob.json").unlink()
    (folder / "trainingjob.json").write_text(json.dumps(card))
    server = Server(model, tmp_path, model_uri=f"file://{folder}")
    out, _ = server.process.communicate(timeout=60)
    assert (server.process.returncode, '"ready"' in out) == (1, False)
    error = json.loads(server.result.read_text())["error"]
    assert error["reason"] == "SelfTestFailed"
    assert error["message"].startswith("1 of 32 rows of the evaluation have other outputs now: ")


@pytest.fixture(scope="module")
def folder(model: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job was run: the model is on a claim."""
    folder = tmp_path_factory.mktemp("work")
    value = manifest()
    value["metadata"] = {"name": "digits", "namespace": "default", "uid": "1"}
    value["spec"]["storage"] = {"uri": "pvc://runs"}
    home = Workspace(folder / ".trainingjob").home("default", "digits")
    home.save(value)
    home.save_run({"claims": {"runs": str(folder / "runs")}})
    shutil.copytree(model.folder / "accepted", folder / "runs/default/digits/accepted")
    return folder


def test_the_last_accepted_model_is_served_here(folder: Path, model: Made) -> None:
    process = start(folder, "serve", "digits", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.partition(" is served at ")[2].partition(": ")[0]
    assert line.endswith("32 rows of its evaluation got the outputs that were judged\n"), line
    status, told = ask(address, "/v2/models/digits")
    assert (status, told["versions"]) == (200, [model.accepted.name])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_rows_of_a_file_are_predicted_in_their_order(folder: Path, model: Made) -> None:
    rows = frame(3000, seed=4)
    expected = model.expected(rows)
    rows.assign(more=1).to_csv(folder / "new.csv", index=False)
    rows.to_parquet(folder / "new.parquet")
    outcome = cli(folder, "predict", "digits", "new.csv", "--keep", "note")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr == "not used, as the model has not seen them: y, more\n"
    found = [*csv.DictReader(outcome.stdout.splitlines())]
    assert list(found[0]) == [
        "note", "prediction", "probability_a", "probability_b", "probability_c",
    ]  # fmt: skip
    assert [row["note"] for row in found] == rows["note"].tolist()
    scores = [[float(row[f"probability_{name}"]) for name in "abc"] for row in found]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert [row["prediction"] for row in found] == ["abc"[at] for at in expected.argmax(axis=1)]
    outcome = cli(folder, "predict", "digits", "new.parquet", "-o", "out.parquet")
    assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
    table = pq.read_table(folder / "out.parquet").to_pandas()
    np.testing.assert_allclose(table[[f"probability_{n}" for n in "abc"]], expected, atol=1e-5)


def test_a_file_of_which_nothing_can_be_made_is_told_why(folder: Path) -> None:
    """tests/unit/serve has the other reasons."""
    frame(10).drop(columns="city").to_csv(folder / "bad.csv", index=False)
    outcome = cli(folder, "predict", "digits", "bad.csv", "-o", "bad-out.csv")
    assert outcome.code == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"error: file://{folder}/bad.csv: there is no column city (columns: x, ")
    assert not [*folder.glob("*bad-out*")]
