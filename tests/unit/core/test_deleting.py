"""A job that somebody has deleted, and that a finalizer keeps: it stops its pods, and says so."""

from __future__ import annotations

import pytest

from .world import World, at, failed, manifest, running, stamp, succeeded, world


def delete(w: World, *finalizers: str) -> None:
    """As the API server does it."""
    meta = {"deletionTimestamp": stamp(w.seconds), "finalizers": [*finalizers]}
    w.manifest["metadata"] |= meta
    w.manifest["metadata"]["generation"] += 1


def condition(w: World, kind: str) -> str:
    return next(c["status"] for c in w.status["conditions"] if c["type"] == kind)


def to_train(w: World) -> None:
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()


def test_its_pods_are_stopped_and_none_are_made():
    w = world()
    to_train(w)
    delete(w, "kueue.x-k8s.io/managed-job")
    w.act()  # what is to be known is stored already: no status has to come before
    assert not w.of("train")
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Deleting", "Deleting")
    message = w.status["message"]
    assert message.startswith("the job is being deleted; its pods are stopped; it stays until")
    assert "kueue.x-k8s.io/managed-job" in message
    assert (condition(w, "Reconciling"), condition(w, "Failed")) == ("False", "False")
    assert w.rests(), "nothing is left to do"
    before = list(w.created)
    w.seconds += 10_000
    w.settle()
    assert w.created == before
    assert w.status["phase"] == "Deleting"
    assert "lastFailure" not in w.status


def test_it_says_how_many_are_left():
    w = world()
    to_train(w)
    delete(w)
    for pod in w.of("train"):
        pod["metadata"] |= {"deletionTimestamp": stamp(30), "deletionGracePeriodSeconds": 30}
    w.record()
    assert w.status["message"] == "the job is being deleted; its pods are stopped: 2 are left"
    assert condition(w, "Reconciling") == "True"
    (stopped,) = w.status["history"]
    assert (stopped["reason"], stopped["stage"]) == ("Deleting", "train")
    assert not any(w.stage("train")["failures"].values()), "charged to nobody"


@pytest.mark.parametrize(
    ("what", "spec", "until", "phase"),
    [
        ("before its first pods ran", {}, 0, "Deleting"),
        ("suspended", {"suspend": True}, 0, "Deleting"),
        ("past its deadline", {"policy": {"activeDeadlineSeconds": 5}}, 600, "Deleting"),
        ("of another controller", {"managedBy": "kueue.x-k8s.io/multikueue"}, 0, "Pending"),
    ],
)
def test_a_job_that_is_not_over(what: str, spec: dict, until: int, phase: str):
    w = World(manifest(**spec))
    delete(w, "someone.test/stay")
    w.seconds = until
    w.settle()
    assert w.status["phase"] == phase
    assert not w.created


def test_a_result_that_is_there_counts_and_a_failure_does_not():
    w = world()
    delete(w, "someone.test/stay")
    succeeded(w.of("preprocess")[0], 1)
    w.settle()
    assert w.stage("preprocess")["phase"] == "Succeeded"
    assert (w.status["phase"], len(w.of("train"))) == ("Deleting", 0)
    w = world()
    delete(w, "someone.test/stay")
    failed(w.of("preprocess")[0], 1, "InputNotFound")
    w.settle()
    assert w.status["phase"] == "Deleting"


@pytest.mark.parametrize("policy", [{}, {"cleanPods": "always"}, {"ttlSecondsAfterFinished": 60}])
def test_a_verdict_stands(policy: dict):
    w = world(policy=policy)
    for stage in ("preprocess", "train", "evaluate"):
        w.finish(stage)
    delete(w, "someone.test/stay")
    w.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "train:1"}
    w.seconds += 1000
    w.settle()
    assert w.status["phase"] == "Succeeded"
    assert w.status["observedGeneration"] == 2
    assert w.rests(), "it is deleted already, and not again"


def test_a_pod_that_does_not_go_is_forced_as_the_policy_says():
    w = world(policy={"forceDeleteAfterSeconds": 60})
    (pod,) = w.of("preprocess")
    pod["metadata"] |= {"deletionTimestamp": stamp(30), "deletionGracePeriodSeconds": 30}
    running(pod, 0)
    delete(w, "someone.test/stay")
    w.seconds = 40
    w.settle()
    assert w.of("preprocess")
    w.seconds = 95
    w.settle()
    assert not w.of("preprocess")
    assert at(w.seconds)
