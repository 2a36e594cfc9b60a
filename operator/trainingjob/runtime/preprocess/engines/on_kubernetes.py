"""Spark's driver in a pod: settings that only the pod itself can make."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from trainingjob.api.payload import POD_IP, SPARK_MASTER, PreprocessPayload


def settings(payload: PreprocessPayload) -> dict[str, str]:
    """The manifest's settings and, where Kubernetes is the master, the operator's over them."""
    told = payload.kubernetes
    if told is None or not os.environ.get(SPARK_MASTER, "").startswith("k8s://"):
        return payload.spark_conf
    folder = Path(tempfile.mkdtemp(prefix="trainingjob-spark-"))
    template = folder / "executor.json"
    # JSON is YAML.
    template.write_text(json.dumps(told.executor_template), encoding="utf-8")
    address = os.environ[POD_IP]
    if ":" in address:  # Spark takes IPv6 in brackets alone, and Kubernetes writes none
        address = f"[{address}]"
    ours = {
        # Both: executors call the host, and are told what the driver is bound to.
        "spark.driver.host": address,
        "spark.driver.bindAddress": address,
        "spark.kubernetes.executor.podTemplateFile": str(template),
    }
    return payload.spark_conf | told.conf | ours
