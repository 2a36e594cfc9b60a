"""How many tasks a shuffle is."""

from __future__ import annotations

import pytest

from trainingjob.api.payload import SPARK_MASTER
from trainingjob.runtime.base import cpus
from trainingjob.runtime.preprocess.engines.spark_session import partitions

TWO = {"spark.executor.instances": "2", "spark.executor.cores": "3"}
UP_TO_TEN = TWO | {"spark.dynamicAllocation.maxExecutors": "10"}
MIB = 2**20


@pytest.mark.parametrize(
    ("conf", "size", "expected"),
    [
        (TWO, 1, 6),
        (TWO, 192 * MIB, 6),
        (TWO, 192 * MIB + 1, 7),
        (TWO, 2**40, 32768),
        (UP_TO_TEN, 1, 30),
        ({}, 0, 1),
    ],
)
def test_one_a_core_of_the_executors_and_more_for_large_input(
    monkeypatch: pytest.MonkeyPatch, conf: dict[str, str], size: int, expected: int
) -> None:
    monkeypatch.setenv(SPARK_MASTER, "k8s://https://kubernetes.default.svc:443")
    assert partitions(conf, size) == expected


def test_one_a_core_of_this_machine() -> None:
    assert partitions(TWO) == cpus.available()
