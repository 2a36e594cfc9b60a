"""What Spark is told of S3, and of what its executors do not read."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import ROOT
from tests.local.preprocess.both import payload
from trainingjob.api.payload import PreprocessPayload
from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.engines import connectors

PREFIX = "spark.hadoop.fs.s3a."


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the jars, and nobody's variables."""
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "REGION", "DEFAULT_REGION", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    folder = tmp_path / "share/trainingjob/s3"
    folder.mkdir(parents=True)
    (folder / "hadoop-aws-1.jar").touch()


def told(**more: Any) -> PreprocessPayload:
    made = payload("spark", Path("/in.csv"), Path("/out"))
    return PreprocessPayload.model_validate(made.to_dict() | more)


SPLIT = {"files": {"test": "s3://bucket/test.csv"}}


@pytest.mark.parametrize(
    ("more", "there"),
    [
        ({}, False),
        ({"output": "s3://bucket/out"}, True),
        ({"input": {"uri": "s3://bucket/x.csv", "format": "csv"}}, True),
        ({"inputs": {"more": {"uri": "s3://bucket/x.csv", "format": "csv"}}}, True),
        ({"split": SPLIT}, True),
        ({"output": "hdfs://name/out"}, False),
    ],
)
def test_spark_has_the_jars_where_data_lies_in_s3(more: dict[str, Any], there: bool) -> None:
    assert bool(connectors.settings(told(**more))) is there


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {"endpoint.region": "us-east-1"}),
        ({"AWS_REGION": "eu-west-3"}, {"endpoint.region": "eu-west-3"}),
        (
            {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_DEFAULT_REGION": "x"},
            {
                "endpoint": "http://minio:9000",
                "path.style.access": "true",
                "endpoint.region": "x",
            },
        ),
    ],
)
def test_spark_is_told_what_the_variables_say(
    env: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = connectors.settings(told(output="s3://bucket/out"))
    names = ("endpoint", "endpoint.region", "path.style.access")
    assert {n: found[PREFIX + n] for n in names if PREFIX + n in found} == expected
    assert "secret" not in str(found), "executors have it from the Secret"


def test_a_class_path_of_the_users_own_stays(tmp_path: Path) -> None:
    given = {"spark.driver.extraClassPath": "/mine/*", f"{PREFIX}retry.limit": "9"}
    found = connectors.settings(told(output="s3://bucket/out", sparkConf=given))
    jars = f"{tmp_path}/share/trainingjob/s3/*"
    assert found["spark.driver.extraClassPath"] == f"/mine/*:{jars}"
    assert found["spark.executor.extraClassPath"] == jars
    assert f"{PREFIX}retry.limit" not in found


def test_the_jars_are_of_the_hadoop_that_sparks_wheel_has() -> None:
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None and spec.origin is not None
    (has,) = (Path(spec.origin).parent / "jars").glob("hadoop-client-api-*.jar")
    version = has.stem.removeprefix("hadoop-client-api-")
    assert f" hadoop-aws-{version}.jar\n" in (ROOT / "images/spark/s3/jars.sha256").read_text()


def test_without_the_jars_this_machine_reads_copies_and_another_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share/trainingjob/s3/hadoop-aws-1.jar").unlink()
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path))
    one = told(output="s3://bucket/out")
    monkeypatch.delenv("TRAININGJOB_SPARK_MASTER", raising=False)
    assert connectors.settings(one) == {}
    copy = storage.resolve("s3://bucket/in.csv")
    assert storage.spark_uri(copy, connectors.unread({})) == f"file://{tmp_path}/s3/bucket/in.csv"
    monkeypatch.setenv("TRAININGJOB_SPARK_MASTER", "k8s://https://kubernetes.default")
    with pytest.raises(StageFailure, match="jars this image does not have") as failure:
        connectors.settings(one)
    assert failure.value.reason == "ModuleMissing"


@pytest.mark.parametrize(
    ("uri", "conf", "words"),
    [
        ("gs://bucket/in.csv", {}, "Google's connector, which an image of your own must have"),
        ("gs://bucket/in.csv", {"spark.hadoop.fs.gs.impl": "x"}, None),
        ("az://box/in.csv", {}, "where our URIs have none: copy the data to a claim"),
        ("hdfs://name/in.csv", {}, None),
    ],
)
@pytest.mark.parametrize("field", ["input", "output"])
def test_executors_that_do_not_read_a_place_say_what_to_add(
    field: str, uri: str, conf: dict[str, str], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"uri": uri, "format": "csv"} if field == "input" else uri
    one = told(**{field: value}, sparkConf=conf)
    monkeypatch.delenv("TRAININGJOB_SPARK_MASTER", raising=False)
    assert connectors.settings(one) == {}, "the driver brings it"
    monkeypatch.setenv("TRAININGJOB_SPARK_MASTER", "k8s://https://kubernetes.default")
    if words is None:
        assert connectors.settings(one) == {}
        return
    with pytest.raises(StageFailure) as failure:
        connectors.settings(one)
    assert failure.value.reason == "ModuleMissing"
    assert failure.value.message.startswith(f"{uri}: engine spark reads this by ")
    assert words in failure.value.message
    assert failure.value.message.endswith("or use engine pandas")
