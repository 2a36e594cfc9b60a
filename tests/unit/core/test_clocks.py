"""Clocks of nodes are shown and decide nothing: whatever they say, the job takes the same way. Our
own may be set while a job waits: it waits no longer for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from trainingjob.core import Blocker, plan

from .world import RESULTS, World, at, failed, manifest, running, stamp, succeeded

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


def to_its_retry(w: World) -> None:
    """After three failures there is a pause of seconds."""
    w.settle()
    w.finish("preprocess")
    for _ in range(3):
        w.seconds += 60
        w.settle()
        w.finish("train", lambda pod, seconds: failed(pod, seconds, "DiskFull"))
    assert not w.of("train") and w.stage("train")["attempt"] == 4


def to_its_place_in_line(w: World) -> None:
    """Its quota had no room for the second pod."""
    w.settle()
    succeeded(w.of("preprocess")[0], w.seconds)
    w.record()
    w.act()
    del w.pods["digits-train-1-1"]
    w.created.remove("digits-train-1-1")
    w.blockers = (Blocker("digits-train-1-1", "QuotaExceeded", "exceeded quota: q"),)
    for _ in range(2):
        w.record()
        w.seconds += 10
    w.blockers = ()
    w.act()
    assert w.stage("train")["retryTime"] and not w.of("train")


def to_a_rank_that_hangs(w: World) -> None:
    """It has not ended when the model was there."""
    to_its_retry(w)
    w.seconds += 60
    w.settle()
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    succeeded(w.of("train")[0], w.seconds)
    w.record()


WAITS = (to_its_retry, to_its_place_in_line, to_a_rank_that_hangs)


@pytest.mark.parametrize("step", SKEWS)
@pytest.mark.parametrize("waits", WAITS)
def test_a_wait_is_no_longer_when_our_own_clock_is_set(
    waits: Callable[[World], None], step: int
) -> None:
    w = World(manifest(policy={"retries": {"infrastructure": 5}}))
    w.seconds = 60 * 24 * HOUR
    waits(w)
    w.seconds += step
    w.settle()
    w.seconds += 65
    w.settle()
    at_work = {pod["metadata"]["name"] for pod in w.pods.values() if not _is_over(pod)}
    if waits is to_a_rank_that_hangs:
        assert not any(name.startswith("digits-train") for name in at_work), "it holds its GPU"
    else:
        assert at_work == {f"digits-train-{w.stage('train')['attempt']}-{i}" for i in (0, 1)}
    for stage in ("train", "evaluate"):
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    assert all(value >= 0 for stage in w.status["stages"] for value in stage["usage"].values())


@pytest.mark.parametrize("step", [-30 * 24 * HOUR, -HOUR, -20])
def test_what_blocks_a_stage_fails_it_in_its_time_although_our_clock_is_set_back(step: int) -> None:
    w = World()
    w.seconds = 60 * 24 * HOUR
    w.blockers = (Blocker("digits-preprocess-1-0", "PodRefused", "no"),)
    w.record()
    w.seconds += step
    w.record()
    w.seconds += 61
    w.record()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "PodRefused")


def with_a_stage_done(w: World) -> None:
    w.settle()
    succeeded(w.of("preprocess")[0], w.seconds)
    w.record()


@pytest.mark.parametrize("before", [to_its_retry, with_a_stage_done])
def test_a_stage_that_nobody_tried_to_start_is_not_late(before: Callable[[World], None]) -> None:
    w = World(manifest(policy={"retries": {"infrastructure": 5}}))
    before(w)
    w.seconds += 24 * HOUR  # the operator was away
    w.settle()
    assert len(w.of("train")) == 2
    w.seconds += 599
    w.settle()
    assert w.status["phase"] == "Training", "it has all of its time"
    for stage in ("train", "evaluate"):
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"


def _is_over(pod: dict[str, Any]) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _decided(status: dict[str, Any]) -> dict[str, Any]:
    """Without what nodes say when."""
    found = json.loads(json.dumps(status))
    for past in found["history"]:
        del past["startTime"]
    for stage in found["stages"]:
        del stage["usage"]
    return found
