"""Whole jobs in real pods: Helm installs the operator, kubectl applies the manifest."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.chart.test_docs import commands
from tests.cluster.build import ROOT
from tests.cluster.hdfs.kerberos import REALM, SecureHdfs
from tests.cluster.hdfs.server import Hdfs
from tests.cluster.mesh import Mesh
from tests.cluster.node.node import Node
from tests.cluster.node.volumes import volume
from tests.cluster.s3 import S3Server
from tests.cluster.wait import wait_for
from tests.tables import tell

from .beside import is_beside, own_space, run_beside
from .jobs import EXAMPLES, GPU, JOB_SECONDS, Installation, Space

# Their executors ask for the whole node: one such job at a time.
# Three jobs at a time are what two cores do well: one of each lane, and one of the tests in order.
spark = pytest.mark.beside(lane="spark")
waiting = pytest.mark.beside(lane="waiting")
# Where no figures are of interest: a Java that does not optimise starts with less of the processor.
QUICK = {
    f"spark.{process}.extraJavaOptions": "-XX:TieredStopAtLevel=1"
    for process in ("driver", "executor")
}

# The issue's own limits.
GONE_SECONDS = 10
TOLD_SECONDS = 30
RESUMED_SECONDS = 10


@pytest.fixture(scope="session")
def installed(node: Node, images: dict[str, str]) -> Iterator[Installation]:
    made = Installation(node, images)
    made.install()
    yield made
    assert "Traceback" not in made.log(), made.log()


@pytest.fixture
def space(
    request: pytest.FixtureRequest, node: Node, installed: Installation
) -> Iterator[Space | None]:
    """The test's own. One that runs beside others has got one already."""
    if is_beside(request.node):
        yield None
        return
    with own_space(node) as space:
        yield space


@pytest.fixture(scope="module", autouse=True)
def begun(
    request: pytest.FixtureRequest, node: Node, images: dict[str, str], installed: Installation
) -> Iterator[None]:
    """What the tests that run beside others do begins before the first test."""
    with run_beside(request.session.items, node, images=images, installed=installed):
        yield


def metric(status: dict[str, Any], name: str) -> float:
    values = {metric["name"]: metric["value"] for metric in status["evaluation"]["metrics"]}
    return float(values[name])


def training(**more: Any) -> dict[str, Any]:
    """Long enough to be disturbed, with checkpoints to go on from."""
    train: dict[str, Any] = {
        "nodes": 2,
        "model": {"mlp": {"hidden": [64]}},
        "optimizer": {"adam": {"learningRate": 0.003}},
        "epochs": 400,
        "batchSize": 32,
        "checkpoint": {"everySteps": 50},
        "resources": {"limits": {GPU: 1}},
    }
    return train | more


PANDAS: dict[str, Any] = {
    "engine": "pandas",
    "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
    "steps": [{"scale": {"method": "standard"}}],
    "split": {"test": 0.2, "validation": 0.1, "seed": 7, "stratify": True},
}


def spark_of(uri: str) -> dict[str, Any]:
    """The preprocess stage of digits, with one executor."""
    job = yaml.safe_load((EXAMPLES / "digits/job.yaml").read_text(encoding="utf-8"))
    preprocess: dict[str, Any] = job["spec"]["preprocess"]
    preprocess["input"] = {"uri": uri, "format": "csv"}
    preprocess["executor"] |= {"instances": 1}
    return preprocess


# --- jobs that go well ------------------------------------------------------------------------


def predictions(folder: Path) -> list[dict[str, Any]]:
    """The rows of the files that the manifest names, in its order."""
    told = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    tables = [pq.read_table(folder / file["name"]) for file in told["files"]]
    return [row for table in tables for row in table.to_pylist()]


def test_one_node_of_two_processes(space: Space) -> None:
    """Of which neither rows nor checkpoints are kept, and whose model predicts in another form."""
    source = {"uri": "pvc://datasets/digits.csv", "format": "csv"}
    space.example(
        "digits/job.yaml",
        preprocess=PANDAS,
        train=training(
            nodes=1, procsPerNode=2, epochs=10, export={"quantize": {"int8": {"maxDrop": 0.1}}}
        ),
        predict={"input": source, "keep": ["target"], "variant": "int8"},
        policy={"retain": {"checkpoints": "never", "datasets": "onFailure"}},
    )
    status = space.succeeds("digits")
    assert metric(status, "accuracy") >= 0.9
    stage = status["stages"][-1]
    assert (stage["name"], stage["attempt"]) == ("predict", 1), space.story("digits")
    rows = predictions(space.artefacts("digits") / "predictions")
    assert stage["outputs"]["rows"] == {"predicted": len(rows), "unpredicted": 0}
    assert len(rows) == len((space.datasets / "digits.csv").read_text().splitlines()) - 1
    right = sum(row["target"] == row["prediction"] for row in rows)
    assert right >= 0.9 * len(rows)
    cleanup = space.cleaned("digits")
    assert cleanup["phase"] == "Succeeded", space.story("digits")
    left = [path for path in space.artefacts("digits").rglob("*") if path.is_file()]
    kept = {path.relative_to(space.artefacts("digits")).as_posix() for path in left}
    assert "model/model.safetensors" in kept
    rows = {path for path in kept if path.startswith(("dataset/", "checkpoints/"))}
    assert rows == {"dataset/manifest.json"}


# As somebody else's program in the cluster asks: by the Service's name.
ASK = """
import sys, urllib.request
body = sys.stdin.buffer.read()
with urllib.request.urlopen(sys.argv[1], data=body, timeout=30) as answer:
    sys.stdout.write(answer.read().decode())
"""


def answers(space: Space, name: str, card: dict[str, Any]) -> list[float]:
    """What the Service predicts for the raw rows that evaluation has kept."""
    raw = card["dataset"]["raw"]
    kinds = {"double": "FP64", "bigint": "INT64", "boolean": "BOOL"}
    inputs = [
        {
            "name": column,
            "shape": [len(raw["rows"])],
            "datatype": kinds.get(raw["columns"][column], "BYTES"),
            "data": [row[place] for row in raw["rows"]],
        }
        for place, column in enumerate(raw["needed"])
    ]
    url = f"http://{name}:8080/v2/models/{name}/infer"
    told = space.control_plane.kubectl(
        *("exec", "--namespace", space.name, "--stdin", f"deployment/{name}", "--"),
        *("python", "-c", ASK, url),
        input=json.dumps({"inputs": inputs}),
    )
    (prediction,) = json.loads(told.stdout)["outputs"]
    return [float(value) for value in prediction["data"]]


def test_a_model_is_served_and_one_that_does_not_prove_itself_never_is(space: Space) -> None:
    deploy = {"deployment": {"replicas": 2}, "deadlineSeconds": 180}
    space.example("diabetes/job.yaml", deploy=deploy)
    status = space.succeeds("diabetes")
    assert status["deployment"]["replicas"] == {"desired": 2, "ready": 2}
    accepted = space.artefacts("diabetes") / "accepted"
    (folder,) = accepted.glob("[0-9a-f]*/")
    card = json.loads((folder / "trainingjob.json").read_text(encoding="utf-8"))
    judged = pytest.approx([value for (value,) in card["outputs"]], rel=1e-3)
    assert answers(space, "diabetes", card) == judged

    # The job goes, and the service stays.
    space.delete("trainingjobs", "diabetes")
    wait_for("its pods to go", lambda: not any(p.endswith("-1-0") for p in space.pods()))
    assert answers(space, "diabetes", card) == judged

    # The next one passes its gates, and its files are damaged before anybody serves it.
    train = yaml.safe_load((EXAMPLES / "diabetes/job.yaml").read_text())["spec"]["train"]
    passes = {"gates": [{"metric": "rmse", "max": 1000}]}
    space.example("diabetes/job.yaml", deploy=deploy, train=train | {"seed": 1}, evaluate=passes)
    found = wait_for(
        "the next model", lambda: {*accepted.glob("[0-9a-f]*/")} - {folder}, seconds=JOB_SECONDS
    )
    (weights,) = next(iter(found)).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    status = space.ends("diabetes")
    assert status["reason"] == "RolloutFailed", space.story("diabetes")
    assert "ModelCorrupt" in status["message"]
    assert status["deployment"]["phase"] == "RolledBack"
    assert answers(space, "diabetes", card) == judged


def test_own_code_of_two_pods(space: Space) -> None:
    space.succeeds(space.example("own-code/job.yaml"))


def test_two_jobs_at_once(space: Space) -> None:
    for name in ("one", "two"):
        space.example("diabetes/job.yaml", name)
    for name in ("one", "two"):
        space.succeeds(name)


def test_credentials_from_a_secret(space: Space) -> None:
    word = "s3cr3t-w0rd"
    space.create("secrets", {"metadata": {"name": "hub"}, "stringData": {"HF_TOKEN": word}})
    script = f"import os\nassert len(os.environ['HF_TOKEN']) == {len(word)}\n"
    script += "open(os.environ['TRAININGJOB_OUTPUT_DIR'] + '/model.bin', 'w').write('a model')\n"
    train = {"nodes": 2, "script": {"inline": script}, "envFrom": [{"secretRef": {"name": "hub"}}]}
    name = space.example("digits/job.yaml", preprocess=PANDAS, train=train, evaluate=None)
    space.succeeds(name)
    assert word not in json.dumps([space.job(name), space.list("pods")])


def test_a_job_in_s3_with_credentials_from_a_secret(space: Space, node: Node) -> None:
    secret = {"envFrom": [{"secretRef": {"name": "s3"}}]}
    with S3Server(node.network.host) as server:
        space.create("secrets", {"metadata": {"name": "s3"}, "stringData": server.variables})
        server.put("models")
        server.put("raw-data")
        server.put("raw-data/digits.csv", (space.datasets / "digits.csv").read_bytes())
        preprocess = PANDAS | secret
        preprocess["input"] = {"uri": "s3://raw-data/*.csv", "format": "csv"}
        name = space.example(
            "digits/job.yaml",
            storage={"uri": "s3://models/runs"},
            preprocess=preprocess,
            train=training(epochs=10) | secret,
            evaluate={"metrics": ["accuracy"]} | secret,
        )
        assert metric(space.succeeds(name), "accuracy") >= 0.9
        found = server.get(f"models/runs/{space.name}/digits/evaluation/metrics.json")
    assert json.loads(found)["samples"] > 300


def test_the_first_job_of_the_page_for_installation(
    node: Node, installed: Installation, namespace: str
) -> None:
    for name in ("datasets", "training"):
        volume(node, namespace, name)  # in place of a storage class
    busybox = node.images.busybox()
    for _, *arguments in commands("The first job"):
        words = [word.replace("team-a", namespace) for word in arguments]
        if "deploy/first-job.yaml" in words:
            text = (ROOT / words[-1]).read_text(encoding="utf-8")
            text = text.replace("busybox:1.37", busybox)
            node.control_plane.kubectl(*words[:-1], "-", input=text)
        else:
            paths = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words]
            told = node.control_plane.kubectl(*paths).stdout
    assert "diabetes" in told and "Succeeded" in told


# --- jobs that are disturbed ------------------------------------------------------------------


def test_a_rank_killed_in_mid_training_resumes_from_the_checkpoint(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    space.runs("digits", "train")
    checkpoints = space.artefacts("digits") / "checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("step-*/state.json")), JOB_SECONDS)
    killed = time.monotonic()
    space.kill_process("digits-train-1-1", "trainingjob.runtime")
    space.tells_failure("a rank is killed", "digits", killed)
    space.wait_for_pod("digits-train-2-1")
    space.runs("digits", "train")
    newest = max(path.stat().st_mtime for path in checkpoints.glob("step-*"))
    wait_for(
        "the first step after the resume",
        lambda: any(p.stat().st_mtime > newest for p in checkpoints.glob("step-*")),
        JOB_SECONDS,
    )
    print(f"killed → training again: {time.monotonic() - killed:.1f} s (goal {RESUMED_SECONDS})")
    status = space.succeeds("digits")

    train = status["stages"][1]
    assert train["attempt"] == 2
    assert status["lastFailure"]["pod"] == "digits-train-1-1"
    assert metric(status, "accuracy") >= 0.9


def test_a_training_pod_that_is_deleted(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    space.runs("digits", "train")
    begun = time.monotonic()
    space.delete("pods", "digits-train-1-0")
    space.tells_failure("a training pod is deleted", "digits", begun)
    status = space.succeeds("digits")

    assert status["stages"][1]["attempt"] == 2
    assert status["lastFailure"]["reason"] == "PodLost"


@pytest.mark.parametrize("stage", [pytest.param("preprocess", marks=spark), "train", "evaluate"])
def test_a_job_deleted_in_every_stage_is_gone_and_frees_its_gpus(space: Space, stage: str) -> None:
    preprocess = None if stage == "preprocess" else PANDAS
    more = {} if preprocess is None else {"preprocess": preprocess}
    epochs = 5 if stage == "evaluate" else 5000
    name = space.example("digits/job.yaml", train=training(epochs=epochs), **more)
    wait_for(stage, lambda: space.stage(name, stage).get("pods", {}).get("ready"), JOB_SECONDS)
    space.delete("trainingjobs", name)
    seconds = space.gone()

    print(f"deleted in {stage} → all pods gone: {seconds:.1f} s (goal {GONE_SECONDS})")
    assert space.gpus_in_use() == 0


def test_a_job_that_is_suspended_in_training_goes_on_from_its_checkpoint(space: Space) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=100))
    checkpoints = space.artefacts("digits") / "checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("step-*/state.json")), JOB_SECONDS)
    begun = time.monotonic()
    space.patch("trainingjobs", "digits", {"spec": {"suspend": True}})
    status = space.wait("digits", phase="Suspended")
    tell("it is suspended in training", time.monotonic() - begun, status)
    wait_for("the GPUs to be free", lambda: space.gpus_in_use() == 0, 30)
    space.patch("trainingjobs", "digits", {"spec": {"suspend": False}})
    space.wait_for_pod("digits-train-2-0")
    status = space.succeeds("digits")

    assert "lastFailure" not in status
    log = space.control_plane.kubectl("logs", "-n", space.name, "digits-train-2-0").stdout
    assert "resuming from checkpoint" in log, log


def test_sidecars_that_never_end_hold_up_nothing_and_hide_nothing(
    node: Node, space: Space, images: dict[str, str]
) -> None:
    with Mesh(space.control_plane, space.name, node.images.busybox(), native=True):
        good = space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=5))
        fails = {"image": images["torch"], "command": ["python", "-c", "print('begun'); 1 / 0"]}
        bad = space.example(
            "digits/job.yaml",
            "fails",
            preprocess=PANDAS,
            train={"nodes": 1} | fails,
            policy={"retries": {"application": 0}},
        )
        status = space.succeeds(good)
        failure = space.ends(bad)["lastFailure"]
    space.tells_end("it goes well beside sidecars that never end", status)
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    assert (failure["reason"], failure["exitCode"]) == ("ScriptFailed", 1), space.story(bad)
    assert "begun" in failure["logTail"] and "ZeroDivisionError" in failure["logTail"]
    space.gone(60)
    assert space.gpus_in_use() == 0


# --- jobs that cannot go well -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "change", "expected"),
    [
        (
            "a command that does not exist",
            {"command": ["/no/such/program"]},
            {"reason": "CommandNotFound", "class": "configuration"},
        ),
        (
            "memory that is not enough",
            {"resources": {"limits": {"memory": "120Mi"}}},
            {"reason": "OutOfMemory", "class": "outOfMemory"},
        ),
        (
            "user code that exits with 3",
            {"script": {"inline": "import sys\nsys.exit(3)\n"}},
            {"reason": "ScriptFailed", "class": "application", "exitCode": 3},
        ),
    ],
)
def test_a_failure_in_a_pod_is_told_with_its_class(
    space: Space, what: str, change: dict[str, Any], expected: dict[str, Any]
) -> None:
    train = training(nodes=1, epochs=1)
    if "resources" not in change:
        for built_in in ("model", "optimizer", "epochs", "batchSize", "checkpoint"):
            del train[built_in]
    name = space.example("digits/job.yaml", preprocess=PANDAS, train=train | change)
    status = space.ends(name)
    space.tells_end(what, status)

    assert status["phase"] == "Failed", space.story(name)
    last = status["lastFailure"]
    assert {key: last[key] for key in expected} == expected, json.dumps(last)


def test_a_gate_that_fails(space: Space) -> None:
    gates = {"gates": [{"metric": "accuracy", "min": 0.9999}]}
    name = space.example(
        "digits/job.yaml", preprocess=PANDAS, train=training(nodes=1, epochs=1), evaluate=gates
    )
    status = space.ends(name)
    space.tells_end("a gate fails", status)

    assert (status["phase"], status["reason"]) == ("Failed", "GateFailed")


# --- jobs that run beside those above: what they take is mostly time --------------------------


@spark
def test_digits_spark_driver_two_executors_and_a_gang_with_gpus(space: Space) -> None:
    space.example("digits/job.yaml")
    seen: set[str] = set()

    def watch() -> bool:
        seen.update(space.pods())
        return space.stage("digits", "preprocess").get("phase") == "Succeeded"

    wait_for("the preprocess stage", watch, JOB_SECONDS)
    space.runs("digits", "train")
    assert space.gpus_in_use() == 2
    status = space.succeeds("digits")
    space.tells_end("it goes well", status)

    assert metric(status, "accuracy") >= 0.95
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    executors = {name for name in seen if "-exec-" in name}
    assert len(executors) == 2
    assert status["stages"][0]["executors"]["desired"] == 2
    assert space.gpus_in_use() == 0
    assert (space.artefacts("digits") / "model").is_dir()


def on_spark() -> dict[str, Any]:
    job = yaml.safe_load((EXAMPLES / "digits/job.yaml").read_text(encoding="utf-8"))
    return {**job["spec"]["preprocess"], "sparkConf": QUICK}


@spark
def test_spark_takes_executors_as_it_needs_them(space: Space) -> None:
    preprocess = on_spark()
    preprocess["executor"] |= {"instances": 1, "maxInstances": 3}
    name = space.example("digits/job.yaml", preprocess=preprocess)
    seen: set[str] = set()

    def watch() -> bool:
        seen.update(pod for pod in space.pods() if "-exec-" in pod)
        return space.stage(name, "preprocess").get("phase") == "Succeeded"

    wait_for("the preprocess stage", watch, JOB_SECONDS)
    status = space.succeeds(name)
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    assert 1 <= len(seen) <= 3
    assert not any("-exec-" in pod for pod in space.pods()), "they go with their driver"


@spark
def test_a_spark_executor_that_is_killed_costs_no_attempt(space: Space) -> None:
    name = space.example("digits/job.yaml", preprocess=on_spark())
    executor = wait_for("an executor to run", lambda: _running(space, "-exec-"), JOB_SECONDS)
    space.delete("pods", executor, gracePeriodSeconds=0)
    status = space.succeeds(name)

    assert status["stages"][0]["attempt"] == 1, space.story(name)


@spark
def test_a_spark_driver_that_is_killed_is_a_new_attempt(space: Space) -> None:
    name = space.example("digits/job.yaml", preprocess=on_spark())
    wait_for("an executor to run", lambda: _running(space, "-exec-"), JOB_SECONDS)
    begun = time.monotonic()
    space.kill_process("digits-preprocess-1-0", "trainingjob.runtime")
    space.tells_failure("a Spark driver is killed", name, begun)
    status = space.succeeds(name)

    assert status["stages"][0]["attempt"] == 2
    assert status["lastFailure"]["class"] == "infrastructure"
    assert not any("digits-1-exec" in pod for pod in space.pods())


def _running(space: Space, part: str) -> str:
    for pod in space.list("pods"):
        if part in pod["metadata"]["name"] and pod["status"].get("phase") == "Running":
            return str(pod["metadata"]["name"])
    return ""


@waiting
def test_a_rank_that_stands_still_is_noticed_and_its_gang_restarted(space: Space) -> None:
    # Beside others a process may take long to begin.
    stall = {"afterSeconds": 60, "action": "restart"}
    train = training(epochs=150)
    space.example("digits/job.yaml", preprocess=PANDAS, train=train, policy={"stall": stall})
    space.runs("digits", "train")
    wait_for("a checkpoint", lambda: space.status("digits").get("checkpoint"), JOB_SECONDS)
    space.kill_process("digits-train-1-1", "trainingjob.runtime", "STOP")
    stopped = time.monotonic()
    wait_for("the stall", lambda: space.status("digits").get("lastFailure"), JOB_SECONDS)
    print(f"stopped → told: {time.monotonic() - stopped:.1f} s (asked for: 60)")
    status = space.succeeds("digits")

    assert status["lastFailure"]["reason"] == "NoProgress"
    assert status["stages"][1]["attempt"] == 2
    log = space.control_plane.kubectl("logs", "-n", space.name, "digits-train-2-0").stdout
    assert "resuming from checkpoint" in log, log


BLOCKED: dict[str, tuple[dict[str, Any], str]] = {
    "an image that does not exist": ({"image": "registry.test/nothing:1"}, "ImagePullFailed"),
    "a claim that does not exist": (
        {
            "template": {
                "volumes": [{"name": "more", "persistentVolumeClaim": {"claimName": "nothing"}}],
                "volumeMounts": [{"name": "more", "mountPath": "/more"}],
            }
        },
        "ClaimMissing",
    ),
    "a Secret that does not exist": (
        {"envFrom": [{"secretRef": {"name": "nothing"}}]},
        "ContainerConfigError",
    ),
    "more GPUs than the node has": ({"resources": {"limits": {GPU: 9}}}, "Unschedulable"),
}


@waiting
@pytest.mark.parametrize("what", BLOCKED)
def test_what_keeps_a_gang_from_starting_is_told_and_the_rest_is_released(
    space: Space, what: str
) -> None:
    change, reason = BLOCKED[what]
    name = space.example(
        "digits/job.yaml",
        preprocess=PANDAS,
        train=training(epochs=1) | change,
        policy={"startupDeadlineSeconds": 40},
    )
    wait_for("train", lambda: space.stage(name, "train").get("startTime"), JOB_SECONDS)
    begun = time.monotonic()
    status = space.wait(name, seconds=40, reason=reason)
    seconds = time.monotonic() - begun
    print(f"{what} → told: {seconds:.1f} s (goal {TOLD_SECONDS})")
    tell(what, seconds, status)
    status = space.ends(name)
    space.tells_end(f"{what}, for 40 s", status)

    assert (status["phase"], status["reason"]) == ("Failed", "StartupDeadlineExceeded")
    wait_for("the gang to be released", lambda: space.gpus_in_use() == 0, 60)


@spark
def test_a_job_in_hdfs_by_a_name_service_of_a_config_map(space: Space, node: Node) -> None:
    with Hdfs(node.network.host) as server:
        server.put("/data/digits.csv", (space.datasets / "digits.csv").read_bytes())
        server.files.mkdirs(server.path("/runs"))
        server.files.setOwner(server.path("/runs"), "trainer", "trainer")
        space.create("configmaps", server.config_map())
        hdfs = {"configMap": {"name": "hadoop-conf"}, "user": "trainer"}
        name = space.example(
            "digits/job.yaml",
            storage={"uri": "hdfs://analytics/runs", "hdfs": hdfs},
            preprocess=spark_of("hdfs://analytics/data/*.csv"),
            train=training(epochs=10),
        )
        status = space.succeeds(name)
        place = f"/runs/{space.name}/{name}"
        metrics = json.loads(server.get(f"{place}/evaluation/metrics.json"))
        owner = server.files.getFileStatus(server.path(f"{place}/model")).getOwner()
    assert metrics["metrics"]["accuracy"] == metric(status, "accuracy") >= 0.9
    assert owner == "trainer"
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


@pytest.mark.nightly
@spark
def test_a_job_in_hdfs_with_kerberos_and_encrypted_wires(space: Space, node: Node) -> None:
    """The driver logs in with the keytab, its executor reads with tokens; a gang of two and the
    evaluation read what it has written, and nothing else is kept."""
    with SecureHdfs(node.network.host) as server:
        server.put("/data/digits.csv", (space.datasets / "digits.csv").read_bytes())
        for folder in ("/data", "/runs"):
            server.files.mkdirs(server.path(folder))
            server.files.setOwner(server.path(folder), "trainer", "trainer")
            server.files.setPermission(server.path(folder), server.permission("700"))
        space.create("configmaps", server.config_map())
        keytab = base64.b64encode(server.trainer.read_bytes()).decode()
        space.create("secrets", {"metadata": {"name": "keytab"}, "data": {"keytab": keytab}})
        kerberos = {
            "principal": f"trainer@{REALM}",
            "keytabSecret": {"name": "keytab", "key": "keytab"},
        }
        hdfs = {"configMap": {"name": "hadoop-conf"}, "kerberos": kerberos}
        name = space.example(
            "digits/job.yaml",
            storage={"uri": "hdfs://analytics/runs", "hdfs": hdfs},
            preprocess=spark_of("hdfs://analytics/data/*.csv"),
            train=training(epochs=10),
            policy={"retain": {"checkpoints": "never", "datasets": "never"}},
        )
        status = space.succeeds(name)
        cleanup = space.cleaned(name)
        place = f"/runs/{space.name}/{name}"
        left = [key.removeprefix(f"{place}/") for key in server.keys(place)]
        owner = server.files.getFileStatus(server.path(f"{place}/model")).getOwner()
    assert owner == "trainer"
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    assert cleanup["phase"] == "Succeeded", cleanup
    assert "model/config.json" in left
    kept = [key for key in left if key.startswith(("dataset/", "checkpoints/"))]
    assert kept == ["dataset/manifest.json"]
    assert keytab not in json.dumps([space.job(name), space.list("pods")])


@pytest.mark.nightly
@spark
def test_spark_reads_and_writes_s3_in_pods(space: Space, node: Node) -> None:
    secret = {"envFrom": [{"secretRef": {"name": "s3"}}]}
    with S3Server(node.network.host) as server:
        space.create("secrets", {"metadata": {"name": "s3"}, "stringData": server.variables})
        for bucket in ("models", "raw-data"):
            server.put(bucket)
        server.put("raw-data/digits.csv", (space.datasets / "digits.csv").read_bytes())
        name = space.example(
            "digits/job.yaml",
            storage={"uri": "s3://models/runs"},
            preprocess=spark_of("s3://raw-data/*.csv") | secret,
            train=training(epochs=10) | secret,
            evaluate={"metrics": ["accuracy"]} | secret,
        )
        status = space.succeeds(name)
        place = f"models/runs/{space.name}/{name}"
        told = json.loads(server.get(f"{place}/dataset/manifest.json"))
        keys = server.keys("models")
    assert metric(status, "accuracy") >= 0.9
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]
    below = f"runs/{space.name}/{name}/dataset/train/"
    files = {below + file["name"] for file in told["splits"]["train"]["files"]}
    assert files == {key for key in keys if key.startswith(below)}


@waiting
def test_a_language_model_over_two_pods_of_which_one_is_killed(space: Space) -> None:
    """Each pod holds half of the weights and writes its part of a checkpoint."""
    job = yaml.safe_load((EXAMPLES / "language-model/job.yaml").read_text(encoding="utf-8"))
    # Of two epochs, which tests/local has; the gate is of both.
    train = job["spec"]["train"] | {"epochs": 1, "checkpoint": {"everySteps": 10}}
    judged = {"metrics": ["perplexity"]}
    name = space.example("language-model/job.yaml", train=train, evaluate=judged)
    checkpoints = space.artefacts(name) / "checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("step-*/state.json")), JOB_SECONDS)
    space.kill_process(f"{name}-train-1-1", "trainingjob.runtime")
    status = space.succeeds(name)

    assert status["stages"][1]["attempt"] == 2
    # Which of the two is seen first depends on the moment.
    assert status["lastFailure"]["class"] == "infrastructure", status["lastFailure"]
    log = space.control_plane.kubectl("logs", "-n", space.name, f"{name}-train-2-0").stdout
    assert "resuming from checkpoint" in log, log
    assert metric(status, "perplexity") < 300, "of a vocabulary of 1024"
    assert (space.artefacts(name) / "model/model.safetensors").is_file()


# --- an operator, or a node, that is disturbed: nothing may run beside it ---------------------


def test_the_operator_killed_in_every_stage(space: Space, installed: Installation) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=50))
    for stage in ("preprocess", "train", "evaluate"):
        wait_for(stage, lambda s=stage: space.stage("digits", s).get("startTime"), JOB_SECONDS)
        installed.kill()
        installed.wait()
    status = space.succeeds("digits")

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_progress_is_live_and_the_next_operator_hears_it_too(
    space: Space, installed: Installation
) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=5000))

    def step() -> int:
        progress: dict[str, int] = space.status("digits").get("progress") or {}
        return progress.get("step", 0)

    wait_for("progress", step, JOB_SECONDS)
    wait_for("a checkpoint", lambda: space.status("digits").get("checkpoint"), 60)
    installed.kill()
    installed.wait()
    before = step()
    wait_for("more of it", lambda: step() > before, 60)
    assert space.stage("digits", "train")["attempt"] == 1


def test_the_operator_upgraded_in_mid_run(space: Space, installed: Installation) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=80))
    space.runs("digits", "train")
    installed.install(log={"level": "debug"})
    status = space.succeeds("digits")
    installed.install()

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_helm_uninstall_leaves_running_jobs_and_reinstall_picks_them_up(
    space: Space, installed: Installation
) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=80))
    space.runs("digits", "train")
    before = {pod["metadata"]["uid"] for pod in space.list("pods")}
    installed.uninstall()
    assert {pod["metadata"]["uid"] for pod in space.list("pods")} == before
    installed.install()
    status = space.succeeds("digits")

    assert [stage["attempt"] for stage in status["stages"]] == [1, 1, 1]


def test_the_node_restarted_during_training(space: Space, node: Node) -> None:
    space.example("digits/job.yaml", preprocess=PANDAS, train=training(epochs=120))
    space.runs("digits", "train")
    node.restart("kubelet", "containerd")
    status = space.succeeds("digits")
    space.tells_end("the node is restarted in training", status)

    assert status["stages"][1]["attempt"] <= 2
