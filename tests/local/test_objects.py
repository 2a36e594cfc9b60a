"""Google's and Azure's stores, by their emulators: what S3's tests ask of a store, asked of each.

A further one is a row of ``SERVERS``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.azurite.server import Azurite
from tests.cluster.fakegcs.server import FakeGcs
from tests.tables import tell
from trainingjob.api.payload import CleanupPayload
from trainingjob.api.uris import Uri
from trainingjob.runtime import cleanup, storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.storage.publish import place_of
from trainingjob.runtime.storage.remote import _connected, connect

from .harness import Outcome, base, cli, rows, write_job
from .test_s3 import text

pytestmark = pytest.mark.nightly

SERVERS = [Azurite, FakeGcs]
Server = Azurite | FakeGcs


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as made:
        made.make("models")
        for number in range(2):
            made.put("models", f"data/in-{number}.csv", text(rows()[number::2]))
        yield made


@pytest.fixture(autouse=True)
def pod(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as a pod that has seen nothing yet."""
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "copies"))
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    _connected.cache_clear()
    yield
    _connected.cache_clear()


@pytest.fixture
def place(server: Server) -> str:
    """The URI of what the server has."""
    return server.form.format("models")


def job(place: str, **policy: Any) -> dict[str, Any]:
    manifest = base()
    spec = manifest["spec"]
    spec["storage"]["uri"] = f"{place}/runs"
    spec["preprocess"]["input"]["uri"] = f"{place}/data/in-*.csv"
    spec["train"] |= {"nodes": 2, "epochs": 10, "checkpoint": {"everySteps": 7, "keep": 2}}
    spec["policy"] = {"retries": {"infrastructure": 0}, **policy}
    return manifest


def run(folder: Path, manifest: dict[str, Any]) -> Outcome:
    return cli(folder, "run", str(write_job(folder, manifest)), "-o", "json")


def test_a_job(server: Server, place: str, tmp_path: Path) -> None:
    """Once, and again as another one, from the cache, which keeps neither rows nor checkpoints."""
    below = {}
    for name, policy in (("one", {}), ("two", {"retain": {"datasets": "never"}})):
        manifest = job(place, cache=True, **policy)
        manifest["metadata"]["name"] = name
        outcome = run(tmp_path, manifest)
        assert outcome.code == 0, outcome.stderr
        assert outcome.metrics()["accuracy"] >= 0.9
        prefix = f"runs/default/{name}/"
        keys = (key for key in server.keys("models") if key.startswith(prefix))
        below[name] = {key.removeprefix(prefix) for key in keys}
        metrics = json.loads(server.get("models", f"{prefix}evaluation/metrics.json"))
        assert metrics["metrics"]["accuracy"] == outcome.metrics()["accuracy"]
        cached = [stage.get("cached") for stage in outcome.status["stages"]]
        assert cached == [None, None, None] if name == "one" else [True, True, None]
    assert len({key.split("/")[1] for key in below["one"] if "/step-" in key}) == 2
    assert {key for key in below["two"] if key.startswith("dataset/")} == {"dataset/manifest.json"}


def test_of_two_who_replace_a_file_one_does_it(place: str) -> None:
    bucket = connect(Uri.parse(f"{place}/x"))
    assert bucket.state("swap/x") is None
    assert bucket.swap("swap/x", b"first", None)
    assert not bucket.swap("swap/x", b"late", None)
    state = bucket.state("swap/x")
    assert bucket.swap("swap/x", b"second", state)
    assert bucket.state("swap/x") != state
    assert not bucket.swap("swap/x", b"too late", state)
    assert bucket.read("swap/x", 0, 6) == b"second"


def test_a_folder_takes_the_place_of_another(server: Server, place: str) -> None:
    for names in (("a", "b/c", "made.json"), ("b/c", "d")):
        with storage.write_aside(storage.resolve(f"{place}/folders/one")) as folder:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(name)
    keys = [key for key in server.keys("models") if key.startswith("folders/")]
    assert keys == ["folders/one/b/c", "folders/one/d"]
    storage.remove(storage.resolve(f"{place}/folders/one"))
    storage.remove(storage.resolve(f"{place}/folders/nothing"))
    place_of(storage.resolve(f"{place}/folders")).discard(["nothing", "nothing more"])
    assert not [key for key in server.keys("models") if key.startswith("folders/")]


def test_files_come_back_whole_and_are_read_by_pieces(
    server: Server, place: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 80_000  # more than one piece
    big = storage.resolve(f"{place}/large/x")
    big.parent.mkdir(parents=True)
    big.write_bytes(data)
    storage.store(big)
    shutil.rmtree(tmp_path / "copies")
    file = storage.source(big, len(data))
    assert isinstance(file, storage.RemoteFile)
    file.hold([(5, 9), (2**20, 10 * 2**20)])
    file.seek(2**20)
    assert file.read(9 * 2**20) == data[2**20 : 10 * 2**20]
    assert not big.exists()
    assert storage.fetch(f"{place}/large/x").read_bytes() == data
    found = storage.fetch(f"{place}/data/in-*.csv")
    assert sorted(path.name for path in found.parent.iterdir()) == ["in-0.csv", "in-1.csv"]
    assert not storage.fetch(f"{place}/nothing.csv").exists()


def test_what_another_run_has_written_stays(server: Server, place: str) -> None:
    manifest = DatasetManifest(
        label="y", task="regression", features=["a"], columns={}, splits={}, stamp="7"
    )
    server.put("models", "kept/dataset/manifest.json", manifest.text.encode())
    asked = CleanupPayload(
        output=f"{place}/kept", dataset=f"{place}/kept/dataset", dataset_run="ours"
    )
    (warning,) = cleanup.run(asked).outputs.warnings or ()
    assert "was written by another run" in warning.message


@pytest.mark.parametrize(
    ("what", "server", "env", "uri", "reason", "words"),
    [
        ("no such container", Azurite, {}, "az://box/x", "StorageUnavailable", "no such container"),
        (
            "a wrong key",
            Azurite,
            {"AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="},
            "az://models/x",
            "StorageUnavailable",
            "the account's key or token is wrong",
        ),
        (
            "what is no key",
            Azurite,
            {"AZURE_STORAGE_ACCOUNT_KEY": "no key!"},
            "az://models/x",
            "StorageUnavailable",
            "AZURE_STORAGE_ACCOUNT_KEY is not a key in base64",
        ),
        (
            "no account",
            Azurite,
            {"AZURE_STORAGE_ACCOUNT_NAME": None},
            "az://models/x",
            "StorageUnavailable",
            "set AZURE_STORAGE_ACCOUNT_NAME",
        ),
        (
            "nobody there",
            Azurite,
            {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/a"},
            "az://models/x",
            "StorageFailed",
            "az://models/x: ",
        ),
        ("no such bucket", FakeGcs, {}, "gs://box/x", "StorageUnavailable", "no such bucket"),
        (
            "what is no key of an account",
            FakeGcs,
            {"STORAGE_EMULATOR_HOST": None, "GOOGLE_SERVICE_ACCOUNT_KEY": "guess"},
            "gs://models/x",
            "StorageUnavailable",
            "GOOGLE_SERVICE_ACCOUNT_KEY is not the JSON of a key",
        ),
        (
            "nobody there",
            FakeGcs,
            {"STORAGE_EMULATOR_HOST": "127.0.0.1:1"},
            "gs://models/x",
            "StorageFailed",
            "gs://models/x: ",
        ),
    ],
    indirect=["server"],
)
def test_what_is_wrong_is_told_in_seconds(
    server: Server,
    what: str,
    env: dict[str, str | None],
    uri: str,
    reason: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in env.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        storage.fetch(uri)
    failure, seconds = error.value, time.monotonic() - began
    tell(what, seconds, {"phase": "Failed", "reason": failure.reason, "message": failure.message})
    assert failure.reason == reason
    assert words in failure.message
    assert uri in failure.message
    assert "\n" not in failure.message
    assert seconds < 10
