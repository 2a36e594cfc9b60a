"""What Spark itself makes of the template that its executors are made by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.unit.core.world import job
from trainingjob.api.payload import STAGE_PAYLOAD
from trainingjob.core import Settings, stages


def executor(spark: SparkSession, **template: Any) -> dict[str, Any]:
    """An executor's pod, after the step by which Spark settles where its shuffle goes."""
    data = {"uri": "pvc://datasets/in.csv", "format": "csv"}
    made = job(preprocess={"input": data, "template": template})
    (pod,) = stages.named("preprocess").pods(made, 1, Settings())
    env = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}
    told = json.loads(env[STAGE_PAYLOAD].replace("$$", "$"))["kubernetes"]["executorTemplate"]
    jvm: Any = spark._jvm
    kubernetes, option = jvm.org.apache.spark.deploy.k8s, jvm.scala.Option
    json_of_pods = jvm.io.fabric8.kubernetes.client.utils.Serialization
    pod_class = jvm.java.lang.Class.forName("io.fabric8.kubernetes.api.model.Pod")
    name = option.apply("spark-kubernetes-executor")
    template_pod = kubernetes.KubernetesUtils.selectSparkContainer(
        json_of_pods.unmarshal(json.dumps(told), pod_class), name
    )
    conf = jvm.org.apache.spark.SparkConf(False)
    of_executor = kubernetes.KubernetesExecutorConf(conf, "app", "1", option.apply(None), 0)
    step = kubernetes.features.LocalDirsFeatureStep(of_executor, "/var/data/spark-1")
    settled = step.configurePod(template_pod)
    found: dict[str, Any] = json.loads(json_of_pods.asJson(settled.pod()))
    found["spec"]["containers"] = [json.loads(json_of_pods.asJson(settled.container()))]
    return found["spec"]


@pytest.mark.parametrize(
    ("template", "folder", "kind"),
    [
        ({}, "/tmp", "emptyDir"),
        ({"scratch": {"size": "5Gi", "storageClassName": "ssd"}}, "/tmp", "ephemeral"),
        ({"scratch": {"size": "5Gi"}}, "/tmp", "emptyDir"),
    ],
)
def test_the_shuffle_goes_to_the_scratch(
    template: dict[str, Any], folder: str, kind: str, spark: SparkSession
) -> None:
    spec = executor(spark, **template)

    (container,) = spec["containers"]
    assert {"name": "SPARK_LOCAL_DIRS", "value": folder} in container["env"]
    (mount,) = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == folder]
    (volume,) = [v for v in spec["volumes"] if v["name"] == mount]
    assert kind in volume
    # Nothing beside it that nobody has bounded.
    disks = [v for v in spec["volumes"] if {"emptyDir", "ephemeral"} & {*v}]
    assert len(disks) == 1
