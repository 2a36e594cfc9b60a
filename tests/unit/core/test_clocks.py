"""Clocks of nodes are shown and decide nothing: whatever they say, the job takes the same way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainingjob.core import plan

from .world import RESULTS, World, at, manifest, stamp

HOUR = 3600
# Seconds by which the clock of the nodes is off.
SKEWS = [-30 * 24 * HOUR, -HOUR, -20, 20, 600, HOUR, 30 * 24 * HOUR]
RESOURCES = {"limits": {"nvidia.com/gpu": 1, "cpu": 2}}
POLICY = {
    "ttlSecondsAfterFinished": 600,
    "startupDeadlineSeconds": 60,
    "stall": {"afterSeconds": 4000, "action": "restart"},
}


def container(pod: dict[str, Any], state: dict[str, Any], phase: str) -> None:
    name = pod["metadata"]["labels"]["trainingjob.dev/stage"]
    pod["status"] = {"phase": phase, "containerStatuses": [{"name": name, "state": state}]}


class Nodes:
    """Kubelets whose clock is off by ``skew``."""

    def __init__(self, skew: int) -> None:
        policy = {"policy": POLICY}
        train = manifest()["spec"]["train"] | {"resources": RESOURCES}
        self.world, self.skew = World(manifest(train=train, **policy)), skew
        self.world.listening_since = at(0)
        self.story: list[object] = []
        self.began: dict[str, str] = {}
        self.settle()

    def settle(self) -> None:
        w = self.world
        w.settle()
        status = w.status
        again = plan(w.observe(), at(w.seconds)).requeue_after
        # Before the first report of an attempt, policy.stall can only ask the nodes.
        silent = w.reported is None or w.reported.attempt != w.stage("train")["attempt"]
        again = None if silent and status["phase"] == "Training" else again
        self.story.append((w.seconds, status["phase"], status["reason"], sorted(w.pods), again))

    def passes(self, seconds: int) -> None:
        self.world.seconds += seconds
        self.settle()

    def run(self, stage: str) -> None:
        for pod in self.world.of(stage):
            started = stamp(self.world.seconds + self.skew)
            self.began[pod["metadata"]["name"]] = started
            container(pod, {"running": {"startedAt": started}}, "Running")
        self.settle()

    def end(self, stage: str, code: int = 0, reason: str = "") -> None:
        for pod in self.world.of(stage):
            message: dict[str, Any] = {"result": RESULTS[stage]}
            if pod["metadata"]["labels"]["trainingjob.dev/index"] != "0":
                message = {}
            if code:
                message = {"error": {"reason": reason, "message": "it happened"}}
            terminated = {
                "exitCode": code,
                "message": json.dumps(message),
                "startedAt": self.began[pod["metadata"]["name"]],
                "finishedAt": stamp(self.world.seconds + self.skew),
            }
            container(pod, {"terminated": terminated}, "Failed" if code else "Succeeded")
        self.settle()


def lived(skew: int) -> Nodes:
    """A long preprocess stage, a gang that fails twice and stalls once, and the end of all."""
    nodes = Nodes(skew)
    nodes.passes(10)
    nodes.run("preprocess")
    nodes.passes(2 * HOUR)
    nodes.end("preprocess")
    nodes.passes(5)
    for _ in range(2):
        nodes.run("train")
        nodes.passes(100)
        nodes.world.report("train", attempt=nodes.world.stage("train")["attempt"], step=1)
        nodes.passes(HOUR)
        nodes.end("train", code=1, reason="DiskFull")
        nodes.passes(10)
    nodes.run("train")
    nodes.world.report("train", attempt=nodes.world.stage("train")["attempt"], step=2)
    nodes.passes(3999)
    nodes.passes(1)
    nodes.passes(10)
    nodes.run("train")
    nodes.passes(100)
    nodes.end("train")
    nodes.passes(1)
    nodes.run("evaluate")
    nodes.passes(1)
    nodes.end("evaluate")
    nodes.passes(599)
    return nodes


TRUE = lived(0)


def test_the_job_does_what_the_test_is_about() -> None:
    status = TRUE.world.status
    assert status["phase"] == "Succeeded"
    reasons = [past["reason"] for past in status["history"]]
    assert reasons == ["DiskFull", "DiskFull", "NoProgress"]
    end = TRUE.world.seconds
    assert not plan(TRUE.world.observe(), at(end)).delete_job
    assert plan(TRUE.world.observe(), at(end + 1)).delete_job


@pytest.mark.parametrize("skew", SKEWS)
def test_clocks_that_are_off_change_nothing_but_what_is_shown(skew: int) -> None:
    found = lived(skew)
    assert found.story == TRUE.story
    assert plan(found.world.observe(), at(found.world.seconds + 1)).delete_job
    assert _decided(found.world.status) == _decided(TRUE.world.status)


@pytest.mark.parametrize("skew", SKEWS)
def test_what_is_shown_is_plausible(skew: int) -> None:
    status, end = lived(skew).world.status, stamp(TRUE.world.seconds)
    for past in status["history"]:
        assert stamp(0) <= past["startTime"] <= past["completionTime"] <= end
    for stage in status["stages"]:
        took, found = TRUE.world.stage(stage["name"])["usage"], stage["usage"]
        for what, most in took.items():
            assert 0 <= found[what] <= most + 4 * HOUR, what
        if stage["name"] != "train":  # what was stopped while it ran says only when it began
            assert found["cpuSeconds"] == took["cpuSeconds"]


@pytest.mark.parametrize("skew", SKEWS)
def test_training_that_never_reports_has_stalled_all_the_same(skew: int) -> None:
    nodes = Nodes(skew)
    nodes.run("preprocess")
    nodes.end("preprocess")
    nodes.run("train")
    nodes.passes(POLICY["stall"]["afterSeconds"] + POLICY["startupDeadlineSeconds"])
    assert nodes.world.status["history"][0]["reason"] == "NoProgress"


def _decided(status: dict[str, Any]) -> dict[str, Any]:
    """Without what nodes say when."""
    found = json.loads(json.dumps(status))
    for past in found["history"]:
        del past["startTime"]
    for stage in found["stages"]:
        del stage["usage"]
    return found
