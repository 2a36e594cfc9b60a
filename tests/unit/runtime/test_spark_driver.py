"""What only the driver's pod knows of itself."""

from __future__ import annotations

import pytest

from tests.unit.core.world import job
from trainingjob.api.payload import POD_IP, SPARK_MASTER, STAGE_PAYLOAD, PreprocessPayload
from trainingjob.core import Settings, stages
from trainingjob.runtime.preprocess.engines import on_kubernetes

INPUT = {"uri": "pvc://datasets/in.csv", "format": "csv"}


@pytest.mark.parametrize(("ip", "host"), [("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")])
def test_executors_find_the_driver_by_either_kind_of_address(
    monkeypatch: pytest.MonkeyPatch, ip: str, host: str
) -> None:
    """kubeflow/spark-operator#2679: Spark ends at an IPv6 address without brackets."""
    made = job(preprocess={"input": INPUT, "engine": "spark"})
    (pod,) = stages.named("preprocess").pods(made, 1, Settings())
    env = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}
    payload = PreprocessPayload.model_validate_json(env[STAGE_PAYLOAD].replace("$$", "$"))
    monkeypatch.setenv(POD_IP, ip)
    monkeypatch.setenv(SPARK_MASTER, env[SPARK_MASTER])
    found = on_kubernetes.settings(payload)
    assert (found["spark.driver.host"], found["spark.driver.bindAddress"]) == (host, host)
