"""Parts of jobs that several tests have."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .jobs import EXAMPLES, GPU

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
