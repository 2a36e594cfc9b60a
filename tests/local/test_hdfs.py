"""Jobs whose data and artefacts lie in HDFS, on two real NameNodes and a DataNode.

What the server has is looked at through Java's own client.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hdfs_native import Client

from tests.cluster.hdfs.server import Hdfs
from tests.cluster.s3 import S3Server
from tests.tables import tell
from trainingjob.api.payload import CleanupPayload, PreprocessPayload
from trainingjob.runtime import cleanup, preprocess, storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DataFile, DatasetManifest, SplitInfo
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.storage import hdfs
from trainingjob.runtime.storage.ownership import claim
from trainingjob.runtime.storage.publish import place_of
from trainingjob.runtime.storage.remote import _connected

from .harness import DEADLINE_SECONDS, Outcome, base, cli, rows, start, write_job
from .preprocess.both import payload
from .test_s3 import HIDDEN, MINE, by_pandas, text


@pytest.fixture(scope="module")
def server() -> Iterator[Hdfs]:
    with Hdfs() as made:
        for number in range(2):
            made.put(f"/data/in-{number}.csv", text(rows()[number::2]))
        made.put("/data/other.txt", b"no data")
        yield made


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with S3Server() as made:
        yield made


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process as a pod that has seen nothing yet."""
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "copies"))
    _connected.cache_clear()
    yield tmp_path / "copies"
    _connected.cache_clear()


@pytest.fixture
def service(
    server: Hdfs, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URI of the name service, whose first NameNode is dead; afterwards one is active."""
    write_conf(tmp_path / "conf", server.conf("127.0.0.1:1"))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path / "conf"))
    yield server.service
    server.wake()


def write_conf(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)


def job(server: Hdfs, name: str, **preprocess: Any) -> dict[str, Any]:
    manifest = base()
    spec = manifest["spec"]
    manifest["metadata"]["name"] = name
    spec["storage"]["uri"] = f"{server.uri}/runs"
    spec["preprocess"]["input"]["uri"] = f"{server.uri}/data/in-*.csv"
    spec["preprocess"] |= preprocess
    spec["policy"] = {"retries": {"infrastructure": 0}}
    return manifest


def run(folder: Path, manifest: dict[str, Any], *others: dict[str, Any]) -> Outcome:
    return cli(folder, "run", str(write_job(folder, manifest, *others)), "-o", "json")


def test_a_job_from_hdfs_to_hdfs(tmp_path: Path, server: Hdfs) -> None:
    """While it trains, another NameNode becomes active and the only DataNode starts anew."""
    manifest = job(server, "pandas")
    spec = manifest["spec"]
    spec["storage"] = {
        "uri": f"{server.service}/runs",
        "hdfs": {"configMap": {"name": "hadoop-conf"}},
    }
    spec["preprocess"]["input"]["uri"] = f"{server.service}/data/in-*.csv"
    spec["train"] |= {"nodes": 2, "epochs": 60, "checkpoint": {"everySteps": 7, "keep": 2}}
    place = "/runs/default/pandas/"
    # Somebody else's, of an earlier run of the name.
    server.put(f"{place}dataset/train/part-00099.parquet", b"old")
    process = start(
        tmp_path, "run", str(write_job(tmp_path, manifest, server.config_map())), "-o", "json"
    )
    checkpoints = server.path(f"{place}checkpoints")
    while process.poll() is None and not server.files.exists(checkpoints):
        time.sleep(0.05)
    server.fail_over()
    server.cluster.restartDataNode(0)
    assert process.poll() is None, "it trains"
    outcome = Outcome(0, *process.communicate(timeout=DEADLINE_SECONDS))

    assert process.returncode == 0, outcome.stderr
    assert outcome.metrics()["accuracy"] >= 0.9
    assert {stage["attempt"] for stage in outcome.status["stages"]} == {1}
    below = [key.removeprefix(place) for key in server.keys(place)]
    assert {"dataset/manifest.json", "model/config.json", "evaluation/metrics.json"} <= {*below}
    assert "dataset/train/part-00099.parquet" not in below
    assert len({key.split("/")[1] for key in below if key.startswith("checkpoints/step-")}) == 2
    hidden = [key for key in below if "/." in f"/{key}"]
    assert {*hidden} == HIDDEN, "nothing half-written stays"
    metrics = json.loads(server.get(f"{place}evaluation/metrics.json"))
    assert metrics["metrics"]["accuracy"] == outcome.metrics()["accuracy"]


def test_spark_reads_and_writes_where_the_data_lies(tmp_path: Path, server: Hdfs) -> None:
    """As the engine pandas does. The name service, of which one NameNode is dead, is known to the
    ConfigMap alone, and only the user may see the input, of which one file must be written anew
    for Spark."""
    for number, pack in enumerate((gzip.compress, bytes)):
        # Its name does not say that it is packed.
        server.put(f"/of-trainer/in-{number}.csv", pack(text(rows()[number::2])))
    # A try that died in its midst.
    died = "/out/default/named/dataset/train"
    server.put(f"{died}/.part-00000-ofatry.parquet.1", b"half")
    above = [died.rsplit("/", up)[0] for up in range(4)]
    for folder in ("/of-trainer", "/out", died, *above):
        server.files.mkdirs(server.path(folder))
        server.files.setOwner(server.path(folder), "trainer", "trainer")
        server.files.setPermission(server.path(folder), server.permission("700"))
    manifest = job(server, "named", engine="spark")
    spec = manifest["spec"]
    spec["storage"] = {
        "uri": "hdfs://analytics/out",
        "hdfs": {"configMap": {"name": "hadoop-conf"}, "user": "trainer"},
    }
    spec["preprocess"]["input"]["uri"] = "hdfs://analytics/of-trainer"
    spec["train"] = {"script": {"inline": MINE}}
    del spec["evaluate"]
    outcome = run(tmp_path, manifest, server.config_map("127.0.0.1:1"))

    assert outcome.code == 0, outcome.stderr
    keys = server.keys("/out/default/named")
    odd = {key.partition("named/")[2] for key in keys if "/." in key or "/spark" in key}
    assert odd == HIDDEN, keys
    assert server.get("/out/default/named/model/notes.txt") == b"mine"
    status = server.files.getFileStatus(server.path("/out/default/named/dataset/manifest.json"))
    assert status.getOwner() == "trainer"
    files = [io.BytesIO(server.get(key)) for key in keys if "/dataset/train/" in key]
    by_spark = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert by_spark == by_pandas(tmp_path / "alone", manifest)


@pytest.mark.parametrize(
    ("source", "target"), [("hdfs", "s3"), ("s3", "hdfs"), ("file", "s3"), ("file", "hdfs")]
)
def test_one_storage_is_read_and_another_one_has_the_dataset(
    server: Hdfs,
    store: S3Server,
    copies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
) -> None:
    """Of one job; once more, which replaces it; and in another job's place, from the cache."""
    bucket = f"{source}-{target}"
    store.put(bucket)
    for number in range(2):
        store.put(f"{bucket}/data/in-{number}.csv", text(rows()[number::2]))
        (tmp_path / f"in-{number}.csv").write_bytes(text(rows()[number::2]))
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    places = {
        "hdfs": f"{server.uri}/data",
        "s3": f"s3://{bucket}/data",
        "file": f"file://{tmp_path}",
    }
    runs = {"hdfs": f"{server.uri}/mixed-{source}", "s3": f"s3://{bucket}/runs"}[target]

    def made(job: str, *, kept: bool = False) -> tuple[Any, DatasetManifest, list[str]]:
        """What the stage tells, what a reader finds, and all that lies there."""
        given = payload(
            "pandas", tmp_path, tmp_path, task={"type": "classification", "label": "label"}
        )
        told = given.to_dict() | {"output": f"{runs}/default/{job}/dataset"}
        told["input"] = {"uri": f"{places[source]}/in-*.csv", "format": "csv"}
        if kept:
            told["cache"] = {"records": f"{runs}/default/.cache/preprocess", "conditions": "1"}
        result = preprocess.run(PreprocessPayload.model_validate(told))
        shutil.rmtree(copies)  # another pod
        manifest = DatasetManifest.read(storage.fetch(told["output"]))
        files = place_of(storage.resolve(told["output"])).files()
        assert {*files} == {*manifest.names}
        return result, manifest, files

    first, one, its = made("one", kept=True)
    again, two, others = made("one")
    cached, three, _ = made("two", kept=True)
    assert (first.cached, again.cached, cached.cached) == (None, None, True)
    assert one.digest == two.digest == three.digest == cached.outputs.digest
    assert {*its} & {*others} == {"manifest.json"}
    assert one.splits["train"].rows == 100
    removed(f"{runs}/default", two)
    shutil.rmtree(copies)
    DatasetManifest.read(storage.fetch(f"{runs}/default/two/dataset"))


def removed(runs: str, manifest: DatasetManifest) -> None:
    """The dataset of the job ``one`` goes, and checkpoints that it has; what is another's stays."""
    saved = f"{runs}/one/checkpoints"
    claim(storage.resolve(saved), "ours")
    storage.write_file(storage.resolve(f"{saved}/step-5/state.json"), '{"uid": "ours"}')
    dataset, checkpoints = (
        place_of(storage.resolve(uri)) for uri in (f"{runs}/one/dataset", saved)
    )
    for writer, run in (("other", "theirs"), (str(manifest.writer), "ours")):
        before = len(dataset.files()), len(checkpoints.files())
        asked = CleanupPayload(
            output=f"{runs}/one",
            dataset=f"{runs}/one/dataset",
            dataset_run=writer,
            checkpoints=saved,
            checkpoints_run=run,
        )
        told = cleanup.run(asked).outputs.warnings
        if run == "theirs":
            assert told is not None
            assert len(told) == 2
            assert before == (len(dataset.files()), len(checkpoints.files()))
    assert told is None
    assert (dataset.files(), checkpoints.files()) == (["manifest.json"], [])
    with pytest.raises(StageFailure, match="was removed when its job had ended"):
        DatasetManifest.read(storage.fetch(f"{runs}/one/dataset"))


def test_rows_are_read_from_where_they_lie(server: Hdfs, service: str, copies: Path) -> None:
    """Of two files of several row groups, while the only DataNode starts anew, and while no
    NameNode is active; nothing comes to the disk but the manifest."""
    rng = np.random.default_rng(3)
    table = pa.table({name: rng.normal(size=5000) for name in ("a", "b", "c", "y")})
    files = []
    for number in range(2):
        part = table.slice(2500 * number, 2500)
        made = io.BytesIO()
        pq.write_table(part, made, row_group_size=700)
        name = f"part-{number}.parquet"
        server.put(f"/rows/dataset/train/{name}", made.getvalue())
        size = len(made.getvalue())
        files.append(DataFile(name=name, rows=len(part), bytes=size, sha256="sha256:0"))
    splits = {"train": SplitInfo(rows=len(table), files=files)}
    columns = dict.fromkeys(table.column_names, "double")
    manifest = DatasetManifest(
        label="y", task="regression", features=["a", "b", "c"], columns=columns, splits=splits
    )
    server.put("/rows/dataset/manifest.json", json.dumps(manifest.to_dict()).encode())

    folder = storage.fetch(f"{service}/rows/dataset/manifest.json").parent
    rows = Rows(folder, DatasetManifest.read(folder), "train", ["a", "b", "c"])
    read = []
    for _, batch in rows.batches(["a", "y"], 500):
        read.append(batch)
        if len(read) == 2:
            server.cluster.restartDataNode(0)
        if len(read) == 5:
            soon_active(server, 2.0)
    assert pa.Table.from_batches(read).equals(table.select(["a", "y"]))
    assert [path.name for path in copies.rglob("*") if path.is_file()] == ["manifest.json"]

    server.put("/rows/dataset/train/part-1.parquet", b"short")
    with pytest.raises(StageFailure, match=r"/train/part-1\.parquet is missing or not") as error:
        DatasetManifest.read(folder)
    assert service in str(error.value)


def soon_active(server: Hdfs, seconds: float) -> None:
    """The NameNodes fail over, and so long none of them is active."""
    server.rest()
    threading.Timer(seconds, server.wake, [1 - server.active]).start()


def test_name_nodes_that_fail_over_are_waited_for(server: Hdfs, service: str) -> None:
    uri = f"{service}/over/model"
    soon_active(server, 2.5)
    publish(uri, "a", "b")
    soon_active(server, 2.5)
    assert sorted(path.name for path in storage.fetch(uri).iterdir()) == ["a", "b"]


def test_a_safe_mode_that_ends_is_waited_for(server: Hdfs, copies: Path) -> None:
    uri = f"{server.uri}/safe/model"
    publish(uri, "a")
    server.safe_mode(True)
    threading.Timer(1.0, server.safe_mode, [False]).start()
    publish(uri, "b")
    assert server.keys("/safe") == ["/safe/model/b"]


# --- what is wrong, as a stage finds it -----------------------------------------------------------


def shown(failure: StageFailure) -> dict[str, str]:
    return {"phase": "Failed", "reason": failure.reason, "message": failure.message}


def told(what: str, uri: str, reason: str, words: str) -> None:
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        storage.fetch(uri)
    tell_of(what, error.value, began, uri, reason, words)


def tell_of(
    what: str, failure: StageFailure, began: float, uri: str, reason: str, words: str
) -> None:
    seconds = time.monotonic() - began
    tell(what, seconds, shown(failure))
    assert failure.reason == reason
    assert words in str(failure)
    assert uri.rstrip("/") in str(failure)
    assert "\n" not in str(failure)
    assert seconds < 10, "told in seconds"


def test_what_is_not_there_is_not_brought(server: Hdfs, copies: Path) -> None:
    assert not storage.fetch(f"{server.uri}/nothing.csv").exists()
    found = storage.fetch(f"{server.uri}/data/in-*.csv")
    assert sorted(path.name for path in found.parent.iterdir()) == ["in-0.csv", "in-1.csv"]
    # Brought whole, by another client than the one that wrote it.
    assert (found.parent / "in-1.csv").read_bytes() == server.get("/data/in-1.csv")


@pytest.mark.parametrize(
    ("what", "uri", "reason", "words"),
    [
        (
            "no NameNode",
            "hdfs://127.0.0.1:1/x",
            "StorageFailed",
            "no NameNode answers at 127.0",
        ),
        ("no such host", "hdfs://nowhere.invalid:8020/x", "StorageFailed", "no host of the name"),
        ("no such service", "hdfs://analytics/x", "StorageUnavailable", "storage.hdfs.configMap"),
    ],
)
def test_a_cluster_that_is_not_there(
    copies: Path, what: str, uri: str, reason: str, words: str
) -> None:
    told(what, uri, reason, words)


def test_nobody_is_active(server: Hdfs, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdfs, "_PATIENCE_SECONDS", 2)
    server.rest()
    told("no NameNode is active", f"{service}/x", "StorageFailed", "no NameNode of analytics is")


def test_a_name_node_that_is_not_the_active_one(
    server: Hdfs, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdfs, "_PATIENCE_SECONDS", 0.1)
    uri = f"{server.uri}/x"
    server.fail_over()
    told("a NameNode on standby", uri, "StorageFailed", "name the name service")


def test_what_is_forbidden(server: Hdfs, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.put("/secret/in.csv", b"x\n")
    server.files.setPermission(server.path("/secret"), server.permission("700"))
    monkeypatch.setenv("HADOOP_USER_NAME", "stranger")
    told(
        "HDFS denies access",
        f"{server.uri}/secret/in.csv",
        "StorageUnavailable",
        "access is denied: Permission denied: user=stranger, access=EXECUTE",
    )


def publish(uri: str, *names: str) -> Path:
    with storage.write_aside(storage.resolve(uri)) as folder:
        for name in names:
            (folder / name).write_text(name)
    return storage.resolve(uri)


def test_a_folder_takes_the_place_of_another(server: Hdfs, copies: Path) -> None:
    uri = f"{server.uri}/place/model"
    publish(uri, "a", "b")
    publish(uri, "b", "c")
    assert server.keys("/place") == ["/place/model/b", "/place/model/c"]
    storage.write_file(storage.resolve(f"{server.uri}/place/one.json"), "first")
    storage.write_file(storage.resolve(f"{server.uri}/place/one.json"), "second")
    assert server.get("/place/one.json") == b"second"
    storage.remove(storage.resolve(uri))
    assert server.keys("/place") == ["/place/one.json"]


@pytest.mark.parametrize(
    ("what", "reason", "words"),
    [
        ("HDFS in safe mode", "StorageFailed", "hdfs dfsadmin -safemode leave"),
        ("a quota of files is used up", "DiskFull", "NameSpace quota"),
        ("a quota of bytes is used up", "DiskFull", "DiskSpace quota"),
    ],
)
def test_what_cannot_be_written_leaves_what_was_there(
    server: Hdfs,
    copies: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    reason: str,
    words: str,
) -> None:
    monkeypatch.setattr(hdfs, "_PATIENCE_SECONDS", 0.1)
    uri = f"{server.uri}/full/model"
    publish(uri, "a")
    if "safe mode" in what:
        server.safe_mode(True)
    elif "files" in what:
        server.quota("/full", files=4)
    else:
        server.quota("/full", space=10)
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        publish(uri, "b", "c", "d")
    server.safe_mode(False)
    server.quota("/full")
    tell_of(what, error.value, began, f"{server.uri}/full/", reason, words)
    assert server.keys("/full/model") == ["/full/model/a"]
    publish(uri, "b", "c", "d")
    assert server.keys("/full") == [f"/full/model/{name}" for name in "bcd"]


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def test_a_writer_that_was_killed_is_swept_by_the_next(
    server: Hdfs, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of publishing: a reader has the old folder, none, or the new one, whole."""
    steps, last = 0, sys.maxsize

    def counted(name: str) -> None:
        method = getattr(Client, name)

        def call(self: Client, *args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > last:
                raise Killed
            return method(self, *args, **options)

        monkeypatch.setattr(Client, name, call)

    for name in ("mkdirs", "create", "rename", "delete"):
        counted(name)
    uri = f"{server.uri}/killed/model"
    old, new = ({f"/killed/model/{kind}-{n}" for n in (1, 2)} for kind in ("old", "new"))
    for survived in range(100):
        last = sys.maxsize
        publish(uri, "old-1", "old-2")
        assert {*server.keys("/killed")} == old
        steps, last = 0, survived
        try:
            publish(uri, "new-1", "new-2")
        except Killed:
            seen = {key for key in server.keys("/killed") if key.startswith("/killed/model/")}
            assert seen in (old, set(), new), survived
        else:
            break
    assert survived > 5
    assert {*server.keys("/killed")} == new
