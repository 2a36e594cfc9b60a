"""The example digits in real pods, as root: the operator ÷ the same pods made by hand.

By hand means that a script makes the pods of a stage when those of the stage before have ended.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import yaml

from tests.cluster.node.images import NAMES
from tests.cluster.node.node import Node
from tests.e2e.beside import RESTRICTED
from tests.e2e.jobs import EXAMPLES, JOB_SECONDS, Installation, Space
from tests.integration.harness import Namespace
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.cluster.resources import MADE
from trainingjob.core import Settings, stages

ROUNDS = 3
LOOK_SECONDS = 0.05


def by_operator(space: Space) -> float:
    """Seconds from apply to the verdict."""
    begun = time.monotonic()
    name = space.example("digits/job.yaml")
    status: dict[str, Any] = {}
    while status.get("phase") not in ("Succeeded", "Failed"):
        time.sleep(LOOK_SECONDS)
        status = space.status(name)
        assert time.monotonic() - begun < JOB_SECONDS, space.story(name)
    assert status["phase"] == "Succeeded", space.story(name)
    return time.monotonic() - begun


def by_hand(space: Space, images: dict[str, str]) -> float:
    """Seconds from the first pod to the end of the last."""
    manifest = yaml.safe_load((EXAMPLES / "digits/job.yaml").read_text(encoding="utf-8"))
    manifest["metadata"] |= {"namespace": space.name, "uid": "by-hand"}
    job = TrainingJob.from_dict(manifest)
    settings = Settings(images=images)
    begun = time.monotonic()
    for stage in stages.of(job):
        pods = stage.pods(job, 1, settings)
        for child in (*stage.others(job, Settings()), *pods):
            del child["metadata"]["ownerReferences"]  # there is no job that it could go with
            _make(space, child)
        names = {pod["metadata"]["name"] for pod in pods}
        while not all(_over(pod) for pod in space.list("pods") if pod["metadata"]["name"] in names):
            time.sleep(LOOK_SECONDS)
            assert time.monotonic() - begun < JOB_SECONDS
    return time.monotonic() - begun


def _make(space: Namespace, child: dict[str, Any]) -> None:
    path = MADE[child["kind"]].path(space.name)
    status, answer = space.control_plane.request("POST", path, child)
    assert status == 201, answer


def _over(pod: dict[str, Any]) -> bool:
    phase = pod["status"].get("phase")
    assert phase != "Failed", pod["status"]
    return bool(phase == "Succeeded")


def main() -> None:
    with Node(crd=False) as node:
        images = {name: node.images.ours(name) for name in NAMES}
        Installation(node, images).install()
        found: dict[str, list[float]] = {"operator": [], "by hand": []}
        # The first of each pulls the images.
        for number in range(ROUNDS + 1):
            for what in found:
                space = Space(node, node.control_plane.namespace(RESTRICTED))
                seconds = by_operator(space) if what == "operator" else by_hand(space, images)
                print(f"{what}: {seconds:.1f} s{'' if number else ' (not counted)'}", flush=True)
                if number:
                    found[what].append(seconds)
                node.control_plane.request("DELETE", f"/api/v1/namespaces/{space.name}")
        ratio = statistics.median(found["operator"]) / statistics.median(found["by hand"])
        print(f"digits in real pods, operator / by hand: {ratio:.2f} (goal 1.10)")
