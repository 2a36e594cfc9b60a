"""What a stage took, added up as its attempts end."""

from __future__ import annotations

import pytest

from trainingjob.core import PodView

from .world import disrupted, ended, manifest, running, stamp, succeeded, world

RESOURCES = {
    "requests": {"cpu": "500m", "memory": "2Gi"},
    "limits": {"nvidia.com/gpu": 1, "cpu": 2, "rdma/hca": 1},
}


def training():
    return world(train=manifest()["spec"]["train"] | {"resources": RESOURCES})


def run(w, seconds, fate):
    """The gang starts five seconds after it was made, and meets its fate so long after."""
    for pod in w.of("train"):
        running(pod, w.seconds + 5)
    begun = w.seconds + 5
    w.seconds += 5 + seconds
    for pod in w.of("train"):
        fate(pod, w.seconds)
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        state["startedAt"] = stamp(begun)
    w.settle()


def test_attempts_are_added_up_and_what_failed_is_told():
    w = training()
    w.finish("preprocess")
    run(w, 60, lambda p, s: ended(p, s, code=137))
    assert w.stage("train")["usage"] == {
        "gpuSeconds": 120,
        "failedGpuSeconds": 120,
        "lostGpuSeconds": 120,
        "cpuSeconds": 60,
        "memoryGiBSeconds": 240,
        "waitingSeconds": 5,
    }
    run(w, 100, succeeded)
    assert w.stage("train")["usage"] == {
        "gpuSeconds": 320,
        "failedGpuSeconds": 120,
        "lostGpuSeconds": 120,
        "cpuSeconds": 160,
        "memoryGiBSeconds": 640,
        "waitingSeconds": 10,
    }
    before = w.stage("train")["usage"]
    w.finish("evaluate")
    assert w.stage("train")["usage"] == before, "counted once"


def test_only_what_came_after_the_last_checkpoint_is_lost():
    w = training()
    w.finish("preprocess")
    w.seconds += 45
    w.report("train", step=30, checkpoint_step=20)
    w.settle()
    assert w.status["checkpoint"]["step"] == 20
    w.seconds -= 45
    run(w, 60, lambda p, s: ended(p, s, code=137))
    usage = w.stage("train")["usage"]
    assert (usage["failedGpuSeconds"], usage["lostGpuSeconds"]) == (120, 40)
    run(w, 10, lambda p, s: ended(p, s, code=137))
    usage = w.stage("train")["usage"]
    assert (usage["failedGpuSeconds"], usage["lostGpuSeconds"]) == (140, 60), "it kept nothing new"


def test_an_attempt_that_only_the_pods_know_counts():
    w = training()
    w.finish("preprocess")
    run(w, 60, lambda p, s: ended(p, s, code=137))
    w.stage("train")["attempt"] = 1  # edited by hand
    run(w, 100, lambda p, s: ended(p, s, code=137))
    assert w.stage("train")["attempt"] == 3
    assert w.stage("train")["usage"]["gpuSeconds"] == 120 + 200
    assert [past["attempt"] for past in w.status["history"]] == [1, 2]


def test_a_suspended_attempt_counts():
    w = training()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    w.seconds += 30
    w.manifest["spec"]["suspend"] = True
    w.settle()
    usage = w.stage("train")["usage"]
    assert (usage["gpuSeconds"], usage["failedGpuSeconds"]) == (60, 60)


def test_pods_that_never_ran_took_nothing():
    w = training()
    w.finish("preprocess", disrupted)
    w.finish("preprocess")
    assert w.stage("preprocess")["usage"]["gpuSeconds"] == 0


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"limits": {"nvidia.com/gpu": "2"}}, (2, 0, 0)),
        ({"limits": {"nvidia.com/mig-1g.10gb": 3, "amd.com/gpu": 1}}, (4, 0, 0)),
        ({"limits": {"google.com/tpu": 4, "cpu": "1500m", "memory": "1Gi"}}, (4, 1.5, 2**30)),
        ({"limits": {"rdma/hca": 1, "ephemeral-storage": "1Gi"}}, (0, 0, 0)),
        ({"requests": {"cpu": "100000n", "memory": "1Ei"}}, (0, 0, 0)),
        ({}, (0, 0, 0)),
    ],
)
def test_what_a_pod_asks_for(resources, expected):
    labels = {f"trainingjob.dev/{name}": value for name, value in LABELS.items()}
    pod = {
        "metadata": {"name": "p", "labels": labels},
        "spec": {"containers": [{"resources": resources}]},
    }
    view = PodView.from_dict(pod)
    assert (view.gpus, view.cpus, view.memory) == expected


LABELS = {"stage": "train", "attempt": "1", "index": "0"}
