"""What keeps pods from starting: told at once, and not borne for ever."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from trainingjob.core import Blocker, plan

from .world import World, at, ended, manifest, own_status, running, stamp, world


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ({"reason": "ImagePullBackOff", "message": "no such image"}, "ImagePullFailed"),
        ({"reason": "CreateContainerConfigError", "message": "no key x"}, "ContainerConfigError"),
    ],
)
def test_pods_that_wait_say_why_and_end_at_the_startup_deadline(waiting, reason):
    w = world(policy={"startupDeadlineSeconds": 50})
    pod = w.of("preprocess")[0]
    pod["status"] = {
        "phase": "Pending",
        "containerStatuses": [own_status(pod, {"waiting": waiting})],
    }
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Preprocessing", reason)
    assert waiting["message"] in w.status["message"]
    assert plan(w.observe(), at(20)).requeue_after == 30
    w.seconds = 50
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "StartupDeadlineExceeded")
    assert waiting["message"] in w.status["message"]
    assert not w.of("preprocess"), "a pod that waits is released"


def waits(reason: str, message: str = "why", name: str = "train") -> dict[str, Any]:
    """The status of a pod that its kubelet cannot start."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": name, "state": state}]}


def unschedulable(message: str) -> dict[str, Any]:
    """The status of a pod that finds no node."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"phase": "Pending", "conditions": [condition | {"message": message}]}


NO_CLAIM = unschedulable('persistentvolumeclaim "data" not found')


@pytest.mark.parametrize(
    ("status", "reason", "grace"),
    [
        (waits("ErrImagePull"), "ImagePullFailed", 150),
        (waits("CreateContainerConfigError"), "ContainerConfigError", 60),
        (NO_CLAIM, "ClaimMissing", 60),
    ],
)
def test_what_does_not_pass_by_itself_fails_the_stage_after_its_grace(status, reason, grace):
    w = world()
    w.finish("preprocess")
    one, other = w.of("train")
    running(one, w.seconds)
    w.seconds = 30  # a slow start is not counted
    other["status"] = status
    w.settle()
    assert w.stage("train")["waitingSince"] == stamp(30)
    w.seconds = 30 + grace - 1
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Training", reason)
    assert plan(w.observe(), at(w.seconds)).requeue_after == 1
    w.seconds += 1
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", reason)
    assert w.status["lastFailure"]["pod"] == other["metadata"]["name"]
    assert not w.of("train"), "the rest of the gang is released"


def test_the_grace_begins_anew_when_the_pod_waits_for_something_else():
    w = world()
    pod = w.of("preprocess")[0]
    for seconds, found in ((0, NO_CLAIM), (50, waits("ErrImagePull")), (100, NO_CLAIM)):
        w.seconds, pod["status"] = seconds, found
        w.settle()
    assert w.stage("preprocess")["waitingSince"] == stamp(100)
    running(pod, 110)
    w.settle()
    assert "waitingSince" not in w.stage("preprocess")


def test_a_crd_that_drops_the_time_of_waiting_does_not_make_us_write_for_ever():
    w = world()
    w.of("preprocess")[0]["status"] = waits("ErrImagePull")
    w.settle()
    del w.stage("preprocess")["waitingSince"]
    before = w.writes
    for _ in range(5):
        w.seconds += 50
        w.settle()
    assert (w.writes, w.status["reason"]) == (before, "ImagePullFailed")


def test_a_pod_that_does_not_go_is_told():
    """Its node is dead, and nobody says that it is: the API server keeps the pod."""
    w = world()
    w.finish("preprocess")
    stuck = copy.deepcopy(w.of("train")[0])
    running(stuck, w.seconds)
    for pod in w.of("train"):
        ended(pod, w.seconds, code=137)
    w.record()
    stuck["metadata"]["deletionTimestamp"] = stamp(w.seconds + 30)
    stuck["spec"]["nodeName"] = "gpu-7"
    w.pods = {stuck["metadata"]["name"]: stuck}
    assert w.status["reason"] == "Restarting"
    assert plan(w.observe(), at(w.seconds)).requeue_after == 60
    w.seconds += 60
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Training", "PodStuck")
    assert "digits-train-1-0 on node gpu-7" in w.status["message"]
    assert w.of("train") == [stuck], "no second writer beside it"
    w.pods = {}
    w.settle()
    names = [pod["metadata"]["name"] for pod in w.of("train")]
    assert names == ["digits-train-2-0", "digits-train-2-1"]


def test_what_a_cluster_may_yet_have_room_for_is_waited_for_until_the_startup_deadline():
    w = world()
    w.of("preprocess")[0]["status"] = unschedulable("0/1 nodes have nvidia.com/gpu")
    w.settle()
    assert w.status["reason"] == "Unschedulable"
    assert "0/1 nodes have nvidia.com/gpu" in w.status["message"]
    w.seconds = 599
    w.settle()
    assert w.status["phase"] == "Preprocessing"
    w.seconds = 600
    w.settle()
    assert w.status["reason"] == "StartupDeadlineExceeded"
    assert "Unschedulable: pod digits-preprocess-1-0 finds no node" in w.status["message"]


REFUSED = "digits-preprocess-1-0 was refused: exceeded quota: gpus"
QUOTA = "wait for other pods to end, ask for less, or raise the quota"
SILENT = "check the API server and its admission webhooks"
ENDS = {
    "startupDeadlineSeconds": ("StartupDeadlineExceeded", "ApiUnavailable", SILENT),
    "activeDeadlineSeconds": ("DeadlineExceeded", "QuotaExceeded", QUOTA),
}


@pytest.mark.parametrize("policy", ENDS)
def test_the_end_of_waiting_says_for_what(policy):
    reason, blocked, remedy = ENDS[policy]
    w = World(manifest(policy={policy: 50}))
    w.blockers = (Blocker("digits-preprocess-1-0", blocked, REFUSED),)
    w.record()
    assert w.status["reason"] == blocked
    w.seconds = 50
    w.record()

    assert (w.status["phase"], w.status["reason"]) == ("Failed", reason)
    assert f"{blocked}: {REFUSED}; {remedy}" in w.status["message"]
    assert w.status["message"].endswith(f"raise policy.{policy}")


def test_the_end_of_a_job_that_works_blames_nothing():
    w = world(policy={"activeDeadlineSeconds": 50})
    running(w.of("preprocess")[0], 1)
    w.settle()
    w.seconds = 50
    w.settle()
    took = "the job took longer than 50 s; raise policy.activeDeadlineSeconds"
    assert w.status["message"] == took


def test_a_queue_that_holds_pods_back_by_a_gate_takes_as_long_as_it_takes():
    w = world(preprocess=None, train=GANG)
    one, other = w.of("train")
    for pod in (one, other):
        pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Training", "SchedulingGated")
    assert "gate kueue.x-k8s.io/admission" in w.status["message"]
    w.seconds = 5000
    w.settle()
    del one["spec"]["schedulingGates"]
    w.settle()
    assert w.status["reason"] == "SchedulingGated", "the other one waits yet"

    # Nor does what else is in its way count as yet.
    one["status"] |= unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    w.settle()
    assert w.status["reason"] == "SchedulingGated"

    del other["spec"]["schedulingGates"]
    one["status"]["conditions"] = []
    w.settle()
    assert w.status["reason"] == "Starting"
    w.seconds += 599
    w.settle()
    assert w.status["phase"] == "Training"
    w.seconds += 1
    w.settle()
    assert w.status["reason"] == "StartupDeadlineExceeded", "from then on the deadline counts"


GANG = {
    "nodes": 2,
    "model": {"mlp": {"hidden": [64]}},
    "dataset": {"uri": "pvc://datasets/digits"},
}


def test_a_pod_whose_containers_are_not_made_is_named_after_a_while():
    """Its node knows why, in Events alone: a volume that another node has, say."""
    w = world()
    pod = w.of("preprocess")[0]
    pod["spec"]["nodeName"] = "gpu-7"
    pod["status"] |= waits("ContainerCreating", name="preprocess")
    w.settle()
    assert (w.status["reason"], w.status["message"]) == ("Starting", "")
    assert plan(w.observe(), at(0)).requeue_after == 30
    w.seconds = 30
    w.settle()
    assert w.status["reason"] == "Starting"
    assert "pod digits-preprocess-1-0 on node gpu-7: its containers" in w.status["message"]
    w.seconds = 600
    w.settle()
    assert w.status["reason"] == "StartupDeadlineExceeded"
    assert "kubectl describe pod digits-preprocess-1-0" in w.status["message"]
