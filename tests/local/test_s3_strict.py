"""Jobs on an S3 server that looks at signatures, regions and conditions as AWS does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.versitygw.server import Versitygw
from tests.tables import tell
from trainingjob.api.uris import Uri
from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage.remote import _connected, connect

from .harness import cli, rows, write_job
from .test_s3 import job, text

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def server() -> Iterator[Versitygw]:
    with Versitygw() as made:
        for number in range(2):
            made.put("models", f"data/in-{number}.csv", text(rows()[number::2]))
        yield made


@pytest.fixture(autouse=True)
def pod(server: Versitygw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as a pod that has seen nothing yet."""
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "copies"))
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    _connected.cache_clear()
    yield
    _connected.cache_clear()


def test_a_job_from_s3_to_s3(server: Versitygw, tmp_path: Path) -> None:
    manifest = job("models", nodes=2, epochs=10, checkpoint={"everySteps": 7, "keep": 2})
    outcome = cli(tmp_path, "run", str(write_job(tmp_path, manifest)), "-o", "json")
    assert outcome.code == 0, outcome.stderr
    place = "runs/default/small"
    below = [key.removeprefix(f"{place}/") for key in server.keys("models")]
    assert {"dataset/manifest.json", "model/config.json"} <= {*below}
    assert len({key.split("/")[1] for key in below if key.startswith("checkpoints/step-")}) == 2
    metrics = json.loads((server.buckets / f"models/{place}/evaluation/metrics.json").read_bytes())
    assert metrics["metrics"]["accuracy"] == outcome.metrics()["accuracy"]


def test_of_two_who_replace_a_file_one_does_it() -> None:
    bucket = connect(Uri.parse("s3://models/x"))
    assert bucket.swap("swap/x", b"first", None)
    assert not bucket.swap("swap/x", b"late", None)
    state = bucket.state("swap/x")
    assert bucket.swap("swap/x", b"second", state)
    assert not bucket.swap("swap/x", b"too late", state)
    assert bucket.read("swap/x", 0, 6) == b"second"


@pytest.mark.parametrize(
    ("what", "variable", "value", "words"),
    [
        ("a wrong secret key", "AWS_SECRET_ACCESS_KEY", "guess", "the secret key is wrong"),
        ("a key that nobody has", "AWS_ACCESS_KEY_ID", "nobody", "access key does not exist"),
        ("a region of another bucket", "AWS_REGION", "us-west-2", "set AWS_REGION"),
    ],
)
def test_who_is_not_let_in_is_told_why(
    what: str, variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    uri = "s3://models/data/in-0.csv"
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        storage.fetch(uri)
    failure = error.value
    seconds = time.monotonic() - began
    tell(what, seconds, {"phase": "Failed", "reason": failure.reason, "message": failure.message})
    assert failure.reason == "StorageUnavailable"
    assert failure.message.startswith(f"{uri}: ")
    assert words in failure.message
    assert seconds < 10


def test_a_bucket_that_is_not_there() -> None:
    with pytest.raises(StageFailure, match="there is no such bucket"):
        storage.fetch("s3://nothing/in.csv")
