"""Spark on pods: what the driver is told, and what status says of its executors."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from tests.unit.core.world import World, job, manifest, running, world
from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core import Observation, PodView, Settings, stages, status

from .world import at

INPUT = {"uri": "pvc://datasets/in.csv", "format": "csv"}


def payload(**preprocess: Any) -> dict[str, Any]:
    made = job(preprocess={"input": INPUT} | preprocess)
    (pod,) = stages.named("preprocess").pods(made, 2, Settings())
    env = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}
    told: dict[str, Any] = json.loads(env[STAGE_PAYLOAD].replace("$$", "$"))
    return told


@pytest.mark.parametrize(
    ("what", "resources", "expected"),
    [
        ("nothing asked, Spark's defaults", None, {}),
        (
            "whole CPUs are Spark's cores, memory is heap and overhead",
            {"limits": {"cpu": 2, "memory": "4Gi"}},
            {
                "spark.executor.cores": "2",
                "spark.kubernetes.executor.request.cores": "2",
                "spark.kubernetes.executor.limit.cores": "2",
                "spark.executor.memory": "3277m",
                "spark.executor.memoryOverhead": "819m",
            },
        ),
        (
            "a part of a CPU is one core",
            {"requests": {"cpu": "500m"}},
            {"spark.executor.cores": "1", "spark.kubernetes.executor.request.cores": "500m"},
        ),
        (
            "the limit counts for cores, the request for the node",
            {"requests": {"cpu": "500m"}, "limits": {"cpu": "3"}},
            {
                "spark.executor.cores": "3",
                "spark.kubernetes.executor.request.cores": "500m",
                "spark.kubernetes.executor.limit.cores": "3",
            },
        ),
        (
            "little memory is still enough for Spark to start",
            {"limits": {"memory": "716800Ki"}},
            {"spark.executor.memory": "512m", "spark.executor.memoryOverhead": "188m"},
        ),
    ],
)
def test_executors_get_what_the_manifest_gives_them(
    what: str, resources: dict[str, Any] | None, expected: dict[str, str]
) -> None:
    executor = {"instances": 3} | ({"resources": resources} if resources else {})
    conf = payload(executor=executor)["kubernetes"]["conf"]
    sizes = {
        key: value
        for key, value in conf.items()
        if key.startswith(("spark.executor.", "spark.kubernetes.executor."))
        and key.rpartition(".")[2] in ("cores", "memory", "memoryOverhead")
    }

    assert sizes == expected
    assert conf["spark.executor.instances"] == "3"


def test_the_driver_is_told_who_it_is_and_talks_to_its_own_alone() -> None:
    told = payload(sparkConf={"spark.sql.shuffle.partitions": "7"})
    conf = told["kubernetes"]["conf"]

    assert conf["spark.kubernetes.driver.pod.name"] == "digits-preprocess-2-0"
    assert conf["spark.kubernetes.namespace"] == "team"
    assert conf["spark.kubernetes.executor.label.trainingjob.dev/job"] == "digits"
    assert conf["spark.kubernetes.executor.label.trainingjob.dev/attempt"] == "2"
    assert conf["spark.authenticate"] == "true"
    assert conf["spark.network.crypto.cipher"] == "AES/GCM/NoPadding"
    assert told["sparkConf"] == {"spark.sql.shuffle.partitions": "7"}


def test_what_spark_puts_on_disks_is_encrypted_unless_the_user_says_otherwise() -> None:
    key = "spark.io.encryption.enabled"
    assert payload()["kubernetes"]["conf"][key] == "true"
    assert key not in payload(sparkConf={key: "false"})["kubernetes"]["conf"]


def test_the_drivers_heap_follows_its_pod_unless_the_user_says_otherwise() -> None:
    driver = {"resources": {"limits": {"memory": "4Gi"}}}

    assert payload(driver=driver)["kubernetes"]["conf"]["spark.driver.memory"] == "3277m"
    told = payload(driver=driver, sparkConf={"spark.driver.memory": "1g"})
    assert "spark.driver.memory" not in told["kubernetes"]["conf"]


def test_executors_come_and_go_when_the_manifest_lets_them() -> None:
    fixed = payload(executor={"instances": 3})["kubernetes"]["conf"]
    assert fixed["spark.dynamicAllocation.enabled"] == "false"
    conf = payload(executor={"instances": 1, "maxInstances": 4})["kubernetes"]["conf"]
    assert "spark.executor.instances" not in conf
    prefix = "spark.dynamicAllocation."
    told = {k.removeprefix(prefix): v for k, v in conf.items() if k.startswith(prefix)}
    assert told == {
        "enabled": "true",
        "shuffleTracking.enabled": "true",
        "initialExecutors": "1",
        "minExecutors": "1",
        "maxExecutors": "4",
    }


def test_executors_see_the_same_secrets_as_the_driver() -> None:
    source = {"secretRef": {"name": "s3"}}
    template = payload(envFrom=[source])["kubernetes"]["executorTemplate"]
    assert template["spec"]["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "s3", "optional": False}}
    ]


def test_executors_get_tokens_of_every_cluster_that_wants_kerberos() -> None:
    hdfs = {
        "configMap": {"name": "hadoop-conf"},
        "kerberos": {
            "principal": "trainer@EXAMPLE.COM",
            "keytabSecret": {"name": "trainer", "key": "keytab"},
        },
    }
    read = {"input": {"uri": "hdfs://raw:8020/in.csv", "format": "csv"}}
    made = job(storage={"uri": "hdfs://analytics/runs", "hdfs": hdfs}, preprocess=read)
    (pod,) = stages.named("preprocess").pods(made, 1, Settings())
    env = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}
    told = json.loads(env[STAGE_PAYLOAD].replace("$$", "$"))["kubernetes"]
    clusters = "hdfs://analytics,hdfs://raw:8020"
    assert told["conf"]["spark.kerberos.access.hadoopFileSystems"] == clusters
    # Their Python, which writes the dataset, logs in by itself.
    executor = told["executorTemplate"]["spec"]
    seen = {item["name"] for item in executor["containers"][0]["env"]}
    assert {"TRAININGJOB_KEYTAB", "TRAININGJOB_PRINCIPAL", "HADOOP_CONF_DIR"} <= seen
    assert "trainer" in [v["secret"]["secretName"] for v in executor["volumes"] if "secret" in v]


def test_names_of_executors_fit_for_the_longest_job() -> None:
    longest = manifest()
    longest["metadata"]["name"] = "x" * 40
    made = type(job()).from_dict(longest)
    (pod,) = stages.named("preprocess").pods(made, 999, Settings())
    told = next(e for e in pod["spec"]["containers"][0]["env"] if e["name"] == STAGE_PAYLOAD)
    prefix = json.loads(told["value"])["kubernetes"]["conf"][
        "spark.kubernetes.executor.podNamePrefix"
    ]

    assert len(prefix) <= 47


def test_executors_are_restricted_have_no_token_and_see_the_claims() -> None:
    template = payload(
        executor={"resources": {"limits": {"nvidia.com/gpu": 1, "memory": "2Gi"}}},
        template={
            "labels": {"team": "vision"},
            "annotations": {"note": "n"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
        },
        env=[{"name": "MODE", "value": "fast"}],
    )["kubernetes"]["executorTemplate"]
    spec = template["spec"]
    (container,) = spec["containers"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["env"] == [{"name": "MODE", "value": "fast"}]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert container["name"] == "spark-kubernetes-executor", "Spark looks for it by this name"
    assert template["metadata"]["labels"] == {"team": "vision"}
    assert template["metadata"]["annotations"] == {
        "note": "n",
        "kubectl.kubernetes.io/default-container": "spark-kubernetes-executor",
    }
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/mnt/claims/datasets", "/mnt/claims/training", "/tmp"} <= mounts

    container["image"] = "spark:1"
    template["metadata"]["name"] = "executor"
    kubernetes_validate.validate(template, "1.36", strict=True)


def test_pandas_has_no_word_of_spark() -> None:
    told = payload(engine="pandas")

    assert told["sparkConf"] == {}
    assert "kubernetes" not in told


def executor(number: int, **state: Any) -> PodView:
    return PodView(
        name=f"digits-1-exec-{number}",
        uid=f"uid-exec-{number}",
        stage="preprocess",
        attempt=1,
        index=-1,
        phase=state.pop("phase", "Running"),
        **state,
    )


def with_executors(made: World, *executors: PodView) -> dict[str, Any]:
    seen = made.observe()
    told = Observation(job=seen.job, pods=seen.pods, executors=executors, settings=Settings())
    (stage, *_) = status(told, at(made.seconds)).to_dict()["stages"]
    return stage


def test_status_counts_executors_and_tells_why_some_do_not_start() -> None:
    made = world(preprocess={"input": INPUT, "executor": {"instances": 2}})
    for pod in made.of("preprocess"):
        running(pod, 1)
    made.settle()
    assert "executors" not in made.stage("preprocess")

    waiting = executor(2, phase="Pending", unschedulable="0/1 nodes: Insufficient cpu.")
    stage = with_executors(made, executor(1), waiting)
    assert stage["executors"] == {"desired": 2, "ready": 1, "failed": 0}
    assert stage["phase"] == "Running"
    assert stage["reason"] == "Unschedulable"
    assert stage["message"].startswith("1 of 2 executors run: pod digits-1-exec-2 finds no node")

    stage = with_executors(made, executor(1), executor(2))
    assert stage["executors"]["ready"] == 2
    # More than the manifest's number: dynamic allocation.
    stage = with_executors(made, executor(1), executor(2), executor(3, phase="Pending"))
    assert stage["executors"] == {"desired": 3, "ready": 2, "failed": 0}
    assert stage["reason"] == "Running"
