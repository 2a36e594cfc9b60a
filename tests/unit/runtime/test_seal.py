"""The key of a sealed test split: how a pod gets it, and what can be read with it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import seal
from trainingjob.runtime.dataset.seal import Seal

KEY = "ab" * 32
SEAL = Seal(bytes.fromhex(KEY))
TABLE = pa.table({"x": [1.5, 2.5], "y": ["secret", "known"]})


@contextmanager
def operator(*answers: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """Answers so, one after the other, the last one for good; its address, and who has asked."""
    left, asked = [*answers], []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            code, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


@pytest.fixture(autouse=True)
def pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-pod\n")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
    monkeypatch.delenv("KUBEFLOW_TRAINER_SERVER_CA_CERT", raising=False)
    monkeypatch.delenv("STATUS_URL", raising=False)
    monkeypatch.setattr(seal, "_PAUSE_SECONDS", 0.0)


def test_a_pod_asks_until_the_operator_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    later = [(403, "of no TrainingJob"), (503, "keys"), (429, "too often")]
    with operator(*later, (200, f'{{"key": "{KEY}"}}')) as (url, asked):
        monkeypatch.setenv("STATUS_URL", url)
        assert seal.ask() == SEAL
    assert asked == ["Bearer of-the-pod"] * 4


@pytest.mark.parametrize(
    ("code", "body", "times", "says"),
    [
        (500, "kept in no Secret", 1, "the operator does not give it: 500: kept in no Secret"),
        (401, "no token", 1, "401: no token"),
        (403, "of stage train", 3, "403: of stage train"),
        (200, '{"key": "short"}', 3, "key"),
    ],
)
def test_what_keeps_a_pod_from_the_key_is_told(
    monkeypatch: pytest.MonkeyPatch, code: int, body: str, times: int, says: str
) -> None:
    monkeypatch.setattr(seal, "_TRIES", 3)
    with operator((code, body)) as (url, asked):
        monkeypatch.setenv("STATUS_URL", url)
        with pytest.raises(StageFailure, match=says) as told:
            seal.ask()
    assert told.value.reason == "KeyUnavailable"
    assert len(asked) == times


def test_without_an_operator_that_hears_pods_there_is_no_key() -> None:
    with pytest.raises(StageFailure, match="no operator hears this pod") as told:
        seal.ask()
    assert told.value.reason == "KeyUnavailable"


def write(folder: Path, name: str, by: Seal = SEAL) -> Path:
    path = folder / f"{name}01234567.parquet"
    with pq.ParquetWriter(path, TABLE.schema, encryption_properties=by.encryption(name)) as writer:
        writer.write_table(TABLE)
    return path


def read(path: Path, by: Seal) -> pa.Table:
    with pq.ParquetFile(path, decryption_properties=by.decryption(path)) as file:
        return file.read()


def test_a_file_is_read_by_its_key_under_its_name_alone(tmp_path: Path) -> None:
    path, other = write(tmp_path, "part-00000-stamp"), write(tmp_path, "part-00001-stamp")
    assert read(path, pickle.loads(pickle.dumps(SEAL))).equals(TABLE)
    with pytest.raises(OSError, match="decryption"):
        read(path, Seal(b"0" * 32))
    with pytest.raises(OSError, match="decrypt"):
        pq.read_table(path)
    other.replace(path)
    with pytest.raises(OSError, match="decryption"):
        read(path, SEAL)


def test_nothing_of_the_rows_nor_of_the_key_is_in_the_open(tmp_path: Path) -> None:
    there = write(tmp_path, "part-00000-stamp").read_bytes()
    for told in (b"secret", b"known", b"schema", SEAL.key, SEAL.id.encode()):
        assert told not in there
    assert KEY not in repr(SEAL)
    assert str(SEAL.key) not in repr(SEAL)
