"""Pods that were deleted and do not go: told, and deleted by force where the policy says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from trainingjob.core import PodView, forced, plan

from .world import World, at, ended, failed, running, stamp, succeeded, world

GRACE = 30


def dying(fate: Any = None, **policy: object) -> World:
    """The second rank of a gang failed at second 0, and the first is on a node that is dead: it was
    deleted, and is stuck from second 60 on."""
    w = world(policy=policy)
    w.finish("preprocess")
    w.seconds = 0
    stuck, other = w.of("train")
    running(stuck, 0)
    (fate or (lambda pod, s: ended(pod, s, code=137)))(other, 0)
    w.record()
    stuck["spec"]["nodeName"] = "gpu-7"
    delete(w, stuck)
    w.pods = {stuck["metadata"]["name"]: stuck}
    return w


def delete(w: World, pod: dict[str, Any]) -> None:
    pod["metadata"] |= {
        "deletionTimestamp": stamp(w.seconds + GRACE),
        "deletionGracePeriodSeconds": GRACE,
    }


def names(w: World) -> list[str]:
    return [pod["metadata"]["name"] for pod in w.of("train")]


def forced_at(w: World, seconds: float) -> list[str]:
    return [pod.name for pod in plan(w.observe(), at(seconds)).force]


STUCK = ["digits-train-1-0"]
NEXT = ["digits-train-2-0", "digits-train-2-1"]


def test_the_next_attempt_begins_when_the_time_is_over_and_not_sooner():
    w = dying(forceDeleteAfterSeconds=60)
    for seconds in (0, 60, 89):
        w.seconds = seconds
        w.settle()
        assert names(w) == STUCK, "no second writer beside it"
    assert plan(w.observe(), at(89)).requeue_after == 1
    failure, history = w.status["lastFailure"], w.status["history"]
    w.seconds = 90
    w.settle()
    assert names(w) == NEXT
    assert (w.status["lastFailure"], w.status["history"]) == (failure, history)
    assert w.stage("train")["clearedTime"] == stamp(90)
    w.finish("train")
    assert w.stage("train")["phase"] == "Succeeded"


def test_without_the_policy_it_stays():
    w = dying(startupDeadlineSeconds=86400)
    for seconds in (60, 3600, 86399):
        w.seconds = seconds
        w.settle()
        assert (w.status["reason"], names(w)) == ("PodStuck", STUCK)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({}, "was deleted and does not go; check its node"),
        (
            {"forceDeleteAfterSeconds": 300},
            "does not go; it is deleted by force at 2026-01-01T00:05:30Z, as policy.force",
        ),
    ],
)
def test_what_will_happen_is_told_once(policy, words):
    w = dying(**policy)
    w.seconds = 60
    w.settle()
    assert words in w.status["message"]
    before = w.writes
    for _ in range(5):
        w.seconds += 20
        w.settle()
    assert w.writes == before


def test_status_tells_of_it_before_it_happens():
    """By that it knows afterwards since when there is room for the next attempt."""
    w = dying(forceDeleteAfterSeconds=30)
    w.seconds = 5000  # nobody looked in between
    assert forced_at(w, w.seconds) == []
    w.record()
    assert w.status["reason"] == "PodStuck"
    assert forced_at(w, w.seconds) == STUCK


@pytest.mark.parametrize("late", [0, 1000], ids=["in time", "after an outage"])
def test_the_startup_deadline_waits_for_it_and_counts_anew_afterwards(late):
    w = dying(forceDeleteAfterSeconds=60, startupDeadlineSeconds=90)
    w.seconds = 60
    w.settle()
    w.seconds = 90 + late
    w.act()
    assert names(w) == []
    w.record()
    assert (w.status["phase"], w.status["reason"]) == ("Training", "Starting")
    w.settle()
    assert names(w) == NEXT
    w.seconds += 89
    w.settle()
    assert w.status["phase"] == "Training"
    w.seconds += 1
    w.settle()
    assert w.status["reason"] == "StartupDeadlineExceeded"


def test_pods_that_cannot_be_made_afterwards_have_the_whole_startup_time_and_no_more():
    w = dying(forceDeleteAfterSeconds=60, startupDeadlineSeconds=90)
    w.refuse()
    for seconds, phase in ((60, "Training"), (90, "Training"), (179, "Training"), (180, "Failed")):
        w.seconds = seconds
        w.settle()
        assert w.status["phase"] == phase, seconds
    assert w.status["reason"] == "StartupDeadlineExceeded"


@pytest.mark.parametrize(
    ("what", "policy", "end"),
    [
        ("it cannot be deleted by force, either", {"forceDeleteAfterSeconds": 60}, 150),
        ("force would come later than the deadline", {"forceDeleteAfterSeconds": 90}, 90),
        ("no force", {}, 90),
    ],
)
def test_the_startup_deadline_ends_a_job_that_waits_in_vain(what, policy, end):
    w = dying(startupDeadlineSeconds=90, **policy)
    for seconds, phase in ((60, "Training"), (end - 1, "Training"), (end, "Failed")):
        w.seconds = seconds
        w.record()
        assert w.status["phase"] == phase, seconds
    assert w.status["reason"] == "StartupDeadlineExceeded"
    assert "digits-train-1-0 on node gpu-7" in w.status["message"]


def test_one_that_a_finalizer_keeps_is_told_and_not_forced_again():
    w = dying(forceDeleteAfterSeconds=60)
    w.seconds = 60
    w.settle()
    w.seconds = 90
    assert forced_at(w, 90) == STUCK
    # So the API server answers.
    w.pods[STUCK[0]]["metadata"] |= {
        "deletionTimestamp": stamp(90),
        "deletionGracePeriodSeconds": 0,
        "finalizers": ["kueue.x-k8s.io/managed"],
    }
    for seconds in (90, 91, 500):
        w.seconds = seconds
        w.settle()
        assert (w.status["reason"], names(w)) == ("PodStuck", STUCK)
        message = w.status["message"]
        assert "a finalizer keeps it, kueue.x-k8s.io/managed; wait for who has set it" in message
        assert "--force" not in message
    todo = plan(w.observe(), at(500))
    assert (todo.empty, todo.requeue_after) == (True, 100), "until the startup deadline"
    assert w.stage("train")["waitingSince"] == stamp(60)


@pytest.mark.parametrize("known", [True, False])
def test_what_has_ended_and_a_finalizer_keeps_holds_up_no_other_attempt(known: bool):
    """kubernetes-sigs/kueue#13830, #1648. Where its kubelet has not said that it has ended, as on a
    dead node that somebody calls failed (#9649), it may yet write."""
    w = dying()
    stuck = w.pods[STUCK[0]]
    stuck["metadata"] |= {"deletionGracePeriodSeconds": 0, "finalizers": ["theirs/x"]}
    ended(stuck, 40, code=143)
    if not known:
        stuck["status"] = {"phase": "Failed"}
    w.seconds = 70
    w.settle()
    made = [name for name in names(w) if name not in STUCK]
    assert made == (["digits-train-2-0", "digits-train-2-1"] if known else [])
    assert w.status["reason"] == ("Starting" if known else "PodStuck")
    todo = plan(w.observe(), at(70))
    assert (todo.create, todo.delete, todo.force) == ((), (), ())
    if known:
        w.finish("train")
        w.finish("evaluate")
        assert w.status["phase"] == "Succeeded"


def test_a_job_that_is_over_lets_go_of_its_pods_too():
    w = dying(lambda pod, s: failed(pod, s, "FeatureHasNulls"), forceDeleteAfterSeconds=60)
    final = copy.deepcopy(w.status)
    assert final["phase"] == "Failed"
    assert plan(w.observe(), at(30)).requeue_after == 60
    assert (forced_at(w, 89), forced_at(w, 90)) == ([], STUCK)
    w.seconds = 90
    w.settle()
    assert (names(w), w.status) == ([], final)


def test_a_suspended_job_lets_go_of_its_pods_too():
    w = dying(forceDeleteAfterSeconds=60)
    w.manifest["spec"]["suspend"] = True
    w.settle()
    assert w.status["phase"] == "Suspended"
    assert (forced_at(w, 89), forced_at(w, 90)) == ([], STUCK)


def test_a_stage_that_is_done_lets_go_of_its_pods_too():
    w = world(policy={"forceDeleteAfterSeconds": 60})
    w.finish("preprocess")
    first, last = w.of("train")
    succeeded(first, w.seconds)
    running(last, w.seconds)
    delete(w, last)
    due = w.seconds + GRACE + 60
    w.settle()
    assert w.stage("train")["phase"] == "Succeeded"
    assert (forced_at(w, due - 1), forced_at(w, due)) == ([], ["digits-train-1-1"])


def test_a_pod_of_the_present_attempt_is_not_forced_before_status_has_the_next():
    w = world(policy={"forceDeleteAfterSeconds": 60})
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    delete(w, w.of("train")[0])
    assert forced_at(w, 1000) == []
    assert w.stage("train")["attempt"] == 1


@pytest.mark.parametrize(("finalizers", "forced"), [([], 1), (["orphan"], 0)])
def test_the_pods_of_a_job_that_is_deleted_go_as_well(finalizers: list[str], forced: int):
    """Whatever keeps the job; but those that somebody wants to keep without it."""
    w = dying(forceDeleteAfterSeconds=60)
    w.seconds = 60
    w.settle()
    w.manifest["metadata"] |= {"deletionTimestamp": stamp(60), "finalizers": finalizers}
    assert len(plan(w.observe(), at(1000)).force) == forced


def test_the_policy_takes_effect_when_it_is_set_afterwards():
    w = dying()
    w.seconds = 500
    w.settle()
    assert forced_at(w, 500) == []
    w.manifest["spec"]["policy"] = {"forceDeleteAfterSeconds": 30}
    assert forced_at(w, 500) == STUCK


def test_a_crd_that_drops_the_time_does_not_make_us_write_for_ever():
    w = dying(forceDeleteAfterSeconds=60)
    w.create = lambda child: None  # type: ignore[method-assign]
    for seconds in (60, 90):
        w.seconds = seconds
        w.settle()
    del w.stage("train")["clearedTime"]
    before = w.writes
    for _ in range(5):
        w.seconds += 50
        w.settle()
    assert w.writes == before


def test_the_event_names_the_pod_and_its_node_and_is_one_for_each_pod():
    w = dying(forceDeleteAfterSeconds=60)
    job, pod = w.observe().job, w.observe().pods[0]
    one, again = forced(job, pod, at(90)), forced(job, pod, at(95))
    assert (one["type"], one["reason"]) == ("Warning", "PodForced")
    assert "pod digits-train-1-0 on node gpu-7 was deleted by force" in one["message"]
    assert one["metadata"]["name"] == again["metadata"]["name"]
    other = copy.deepcopy(w.pods["digits-train-1-0"])
    other["metadata"]["uid"] = "another"
    name = forced(job, PodView.from_dict(other), at(90))["metadata"]["name"]
    assert name != one["metadata"]["name"]
