"""Jobs that run beside those of the files before: what they take is mostly time."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
import yaml

from tests.cluster.hdfs.kerberos import REALM, SecureHdfs
from tests.cluster.hdfs.server import Hdfs
from tests.cluster.node.node import Node
from tests.cluster.s3 import S3Server
from tests.cluster.wait import wait_for
from tests.tables import tell

from .jobs import EXAMPLES, GPU, JOB_SECONDS, Space
from .parts import PANDAS, QUICK, TOLD_SECONDS, metric, spark, spark_of, training, waiting


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
    begun, attempt = time.monotonic(), space.stage(name, "preprocess")["attempt"]
    if attempt > 1:
        print(space.story(name))
    space.kill_process(f"digits-preprocess-{attempt}-0", "trainingjob.runtime")
    space.tells_failure("a Spark driver is killed", name, begun)
    status = space.succeeds(name)

    assert status["stages"][0]["attempt"] == attempt + 1
    assert status["lastFailure"]["class"] == "infrastructure"
    assert not any(f"digits-{attempt}-exec" in pod for pod in space.pods())


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
