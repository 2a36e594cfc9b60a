"""Jobs whose data and artefacts lie in S3, on a real S3 server."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cluster.s3 import S3Server
from tests.tables import tell
from trainingjob.api.payload import PreprocessPayload
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, stages
from trainingjob.runtime import preprocess
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.preprocess.engines import s3a

from .harness import Outcome, base, cli, rows, start, write_job
from .test_chaos import processes


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as made:
        yield made


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest) -> str:
    """The test's own, with ``data/in-0.csv`` and ``data/in-1.csv``."""
    name = f"b{abs(hash(request.node.name))}"
    server.put(name)
    for number in range(2):
        server.put(f"{name}/data/in-{number}.csv", text(rows()[number::2]))
    server.put(f"{name}/data/other.txt", b"no data")
    return name


# What a job keeps for itself beside its artefacts.
HIDDEN = {".results/preprocess.json", ".results/train.json", "checkpoints/.job"}
MINE = """
import os, pathlib
data = pathlib.Path(os.environ["TRAININGJOB_INPUT_DIR"])
assert list((data / "train").glob("*.parquet")), data
(pathlib.Path(os.environ["TRAININGJOB_OUTPUT_DIR"]) / "notes.txt").write_text("mine")
"""


def by_pandas(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The training rows that the engine pandas makes of the same data in a folder."""
    folder.mkdir()
    for number in range(2):
        (folder / f"in-{number}.csv").write_bytes(text(rows()[number::2]))
    spec = manifest["spec"]
    spec["storage"] = {"uri": f"file://{folder}"}
    spec["preprocess"] |= {
        "engine": "pandas",
        "input": {"uri": f"file://{folder}", "format": "csv"},
    }
    (pod,) = stages.named("preprocess").pods(TrainingJob.from_dict(manifest), 1, Settings())
    told = {v["name"]: v.get("value", "") for v in pod["spec"]["containers"][0]["env"]}
    preprocess.run(PreprocessPayload.model_validate_json(told["TRAININGJOB_STAGE"]))
    files = sorted(folder.glob("default/*/dataset/train/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def text(data: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(data[0]))
    writer.writeheader()
    writer.writerows(data)
    return file.getvalue().encode()


def job(bucket: str, **train: Any) -> dict[str, Any]:
    manifest = base()
    spec = manifest["spec"]
    spec["storage"]["uri"] = f"s3://{bucket}/runs"
    spec["preprocess"]["input"]["uri"] = f"s3://{bucket}/data/in-*.csv"
    spec["train"] |= train
    spec["policy"] = {"retries": {"infrastructure": 0}}
    return manifest


def run(folder: Path, server: S3Server, manifest: dict[str, Any]) -> Outcome:
    """As somebody whose environment has the credentials."""
    return asked(folder, server, "run", str(write_job(folder, manifest)), "-o", "json")


def asked(folder: Path, server: S3Server, *arguments: str) -> Outcome:
    """Likewise any command."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        return cli(folder, *arguments)


def test_a_job_from_s3_to_s3(tmp_path: Path, server: S3Server, bucket: str) -> None:
    manifest = job(bucket, nodes=2, epochs=10, checkpoint={"everySteps": 7, "keep": 2})
    new = f"s3://{bucket}/data/in-*.csv"
    manifest["spec"]["predict"] = {
        "input": {"uri": new, "format": "csv"},
        "output": f"s3://{bucket}/results",
        "keep": ["label"],
    }
    server.put(f"{bucket}/results/mine.parquet", b"stays")
    outcome = run(tmp_path, server, manifest)

    assert outcome.code == 0, outcome.stderr
    assert outcome.metrics()["accuracy"] >= 0.9
    assert outcome.status["stages"][0]["outputs"]["rows"] == {
        "test": 40,
        "train": 140,
        "validation": 20,
    }
    runs = [key for key in server.keys(bucket) if key.startswith("runs/")]
    parts = {"/".join(key.split("/")[3:5]) for key in runs}
    assert {"dataset/manifest.json", "dataset/train", "model/config.json"} <= parts
    assert "evaluation/metrics.json" in parts
    assert len({part for part in parts if part.startswith("checkpoints/step-")}) == 2
    metrics = json.loads(server.get(f"{bucket}/runs/default/small/evaluation/metrics.json"))
    assert metrics["metrics"]["accuracy"] == outcome.metrics()["accuracy"]

    told = json.loads(server.get(f"{bucket}/results/predictions.json"))
    (file,) = told["files"]
    left = {key.partition("/")[2] for key in server.keys(bucket) if key.startswith("results/")}
    assert left == {file["name"], "predictions.json", "mine.parquet"}
    predicted = pq.read_table(io.BytesIO(server.get(f"{bucket}/results/{file['name']}")))
    both = [rows()[number::2] for number in range(2)]
    assert predicted["label"].to_pylist() == [row["label"] for part in both for row in part]
    # The command reads the model and the rows from there, too.
    shown = asked(tmp_path, server, "predict", "small", new)
    assert shown.code == 0, shown.stderr
    found = [row["prediction"] for row in csv.DictReader(shown.stdout.splitlines())]
    assert found == predicted["prediction"].to_pylist()
    assert shown.seconds < 60


def test_spark_reads_and_writes_s3_as_the_engine_pandas_does(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    """By Hadoop's client, whose jars the Makefile fetches; one file must be written anew for it."""
    assert s3a.is_there()
    server.put(f"{bucket}/data/in-1.csv", gzip.compress(text(rows()[1::2])))
    manifest = job(bucket)
    manifest["spec"]["preprocess"]["engine"] = "spark"
    manifest["spec"]["train"] = {"script": {"inline": MINE}}
    del manifest["spec"]["evaluate"]
    outcome = run(tmp_path, server, manifest)

    assert outcome.code == 0, outcome.stderr
    assert server.get(f"{bucket}/runs/default/small/model/notes.txt") == b"mine"
    place = f"{bucket}/runs/default/small/dataset"
    told = DatasetManifest.model_validate_json(server.get(f"{place}/manifest.json"))
    files = [f"{place}/train/{file.name}" for file in told.splits["train"].files]
    by_spark = [row for f in files for row in pq.read_table(io.BytesIO(server.get(f))).to_pylist()]
    assert by_spark == by_pandas(tmp_path / "alone", manifest)
    left = {k for k in server.keys(bucket) if k.startswith("runs/default/small/dataset")}
    assert left == {f"runs/default/small/dataset/{name}" for name in told.names}
    hidden = {key.partition("small/")[2] for key in server.keys(bucket) if "/." in key}
    assert hidden == HIDDEN, "nor what was written anew"


def test_a_second_run_replaces_what_the_first_has_left(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    server.put(f"{bucket}/runs/default/small/dataset/train/part-00099.parquet", b"old")
    server.put(f"{bucket}/runs/default/small-2/dataset/manifest.json", b"a neighbour's")
    manifest = job(bucket)
    del manifest["spec"]["evaluate"]
    assert run(tmp_path, server, manifest).code == 0
    keys = server.keys(bucket)
    assert "runs/default/small/dataset/train/part-00099.parquet" not in keys
    assert "runs/default/small-2/dataset/manifest.json" in keys


def test_a_model_is_held_to_the_last_one_accepted_in_s3(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    key = f"{bucket}/runs/default/small/accepted/metrics.json"
    digests = {"datasetDigest": "sha256:1", "modelDigest": "sha256:2"}
    record = {"version": 1, "uid": "1", "metrics": {"accuracy": 1.75}} | digests
    server.put(key, json.dumps(record).encode())
    manifest = job(bucket)
    gate = {"metric": "accuracy", "noWorseThan": "lastAccepted", "tolerance": 0.5}
    manifest["spec"]["evaluate"]["gates"] = [gate]
    manifest["spec"]["policy"]["retain"] = {"checkpoints": "never", "datasets": "onFailure"}
    place = "runs/default/small/"

    def left() -> set[str]:
        keys = (key.removeprefix(place) for key in server.keys(bucket) if key.startswith(place))
        return {key for key in keys if key.startswith(("checkpoints/", "dataset/"))}

    outcome = run(tmp_path, server, manifest)
    assert outcome.code == 3, outcome.stderr
    words = "is worse than 1.75 of the last accepted model on other test data by more than 0.5"
    assert words in outcome.status["message"]
    assert outcome.status["cleanup"]["kinds"] == ["checkpoints"], "for whoever looks into it"
    assert {key.split("/")[0] for key in left()} == {"dataset"}
    assert len(left()) > 3

    gate["tolerance"] = 1
    outcome = run(tmp_path, server, manifest)
    assert outcome.code == 0, outcome.stderr
    assert outcome.status["cleanup"]["phase"] == "Succeeded"
    assert left() == {"dataset/manifest.json"}
    written = json.loads(server.get(key))
    assert written["uid"] == outcome.object["metadata"]["uid"]
    assert written["baseline"] == {"metrics": {"accuracy": 1.75}, "datasetDigest": "sha256:1"}


STREAMS = """
import words
import json, os, pathlib
from obstore.store import from_url
folder, uri = pathlib.Path(os.environ["TRAININGJOB_INPUT_DIR"]), os.environ["TRAININGJOB_INPUT_URI"]
assert not list(folder.rglob("*.parquet")), "nothing is copied"
told = json.loads((folder / "manifest.json").read_text())["splits"]["train"]["files"]
http = {"allow_http": True}
store = from_url(uri, client_options=http)
rows = [len(store.get(f"train/{file['name']}").bytes()) for file in told]
assert rows == [file["bytes"] for file in told]
(pathlib.Path(os.environ["TRAININGJOB_OUTPUT_DIR"]) / "notes.txt").write_text(words.DONE)
from_url(os.environ["TRAININGJOB_CHECKPOINT_URI"], client_options=http).put("one", b"1")
"""


def test_own_code_streams_the_dataset_and_keeps_its_checkpoints(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    manifest = job(bucket)
    server.put(f"{bucket}/repo/src/train.py", STREAMS.encode())
    server.put(f"{bucket}/repo/src/words.py", b"DONE = 'streamed'")
    server.put(f"{bucket}/repo/.git/index", b"\0")
    source = {"uri": f"s3://{bucket}/repo", "workingDir": "src"}
    manifest["spec"]["train"] = {"code": source, "streamDataset": True}
    del manifest["spec"]["evaluate"]
    outcome = run(tmp_path, server, manifest)
    assert outcome.code == 0, outcome.stderr
    assert server.get(f"{bucket}/runs/default/small/model/notes.txt") == b"streamed"
    assert server.get(f"{bucket}/runs/default/small/checkpoints/one") == b"1"


def test_another_job_is_restored_from_the_cache(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    manifest = job(bucket)
    manifest["spec"]["policy"]["cache"] = True
    del manifest["spec"]["evaluate"]
    for name, cached in (("one", None), ("two", True), ("one", True)):
        manifest["metadata"]["name"] = name
        outcome = run(tmp_path, server, manifest)
        assert outcome.code == 0, outcome.stderr
        assert [stage.get("cached") for stage in outcome.status["stages"]] == [cached, cached]
    keys = server.keys(bucket)
    assert len([key for key in keys if key.startswith("runs/default/.cache/")]) == 2
    below = [
        # Without the writer's stamp.
        {
            re.sub(r"(part-\d{5})-\w+", r"\1", key.removeprefix(prefix))
            for key in keys
            if key.startswith(prefix)
        }
        for prefix in ("runs/default/one/", "runs/default/two/")
    ]
    assert below[0] >= below[1] >= {"dataset/manifest.json", "model/model.safetensors"}


def test_training_that_was_killed_goes_on_from_its_checkpoint_in_s3(
    tmp_path: Path, server: S3Server, bucket: str
) -> None:
    manifest = job(bucket, epochs=800, checkpoint={"everySteps": 200})
    manifest["spec"]["policy"]["retries"]["infrastructure"] = 1
    del manifest["spec"]["evaluate"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        runner = start(tmp_path, "run", str(write_job(tmp_path, manifest)), "-o", "json")
    deadline = time.monotonic() + 60
    # A checkpoint is complete once its state, which is written last, is there.
    while not any(key.endswith("/state.json") for key in server.keys(bucket)):
        assert time.monotonic() < deadline, runner.communicate(timeout=1)
        time.sleep(0.05)
    for process in processes(tmp_path, "train"):
        with suppress(ProcessLookupError):  # it has died with another one
            os.kill(process, signal.SIGKILL)
    stdout, stderr = runner.communicate(timeout=120)
    assert runner.returncode == 0, stderr
    assert json.loads(stdout)["status"]["stages"][1]["attempt"] == 2
    log = cli(tmp_path, "logs", "small", "--stage", "train").stdout
    assert "resuming from checkpoint" in log


@pytest.mark.parametrize(
    ("what", "change", "reason", "words"),
    [
        ("no such object", {"input": "s3://{bucket}/nothing.csv"}, "InputNotFound", "no such obj"),
        ("no such bucket", {"input": "s3://no-such-bucket/x"}, "StorageUnavailable", "no such buc"),
        ("no bucket to write to", {"storage": "s3://no-such-bucket/x"}, "StorageUnavailable", "no"),
        ("no server", {"endpoint": "http://127.0.0.1:1"}, "StorageFailed", "s3://"),
        (
            "no bucket for Spark to write to",
            {"storage": "s3://no-such-bucket/x", "engine": "spark"},
            "StorageUnavailable",
            "s3://no-such-bucket/x/default/small/dataset/manifest.json: there is no such bucket",
        ),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path,
    server: S3Server,
    bucket: str,
    what: str,
    change: dict[str, str],
    reason: str,
    words: str,
) -> None:
    manifest = job(bucket)
    if "input" in change:
        manifest["spec"]["preprocess"]["input"]["uri"] = change["input"].format(bucket=bucket)
    if "storage" in change:
        manifest["spec"]["storage"]["uri"] = change["storage"]
    manifest["spec"]["preprocess"]["engine"] = change.get("engine", "pandas")
    env = [{"name": "AWS_ENDPOINT_URL", "value": change.get("endpoint", server.endpoint)}]
    manifest["spec"]["preprocess"]["env"] = env
    outcome = run(tmp_path, server, manifest)
    assert outcome.code == 1, what
    tell(what, outcome.seconds, outcome.status)
    assert outcome.status["reason"] == reason, outcome.status
    assert words in outcome.status["message"]
