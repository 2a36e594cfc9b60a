"""Jobs that need nothing are known by a few words. That nothing is missed by this, World checks at
each step of all tests."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.unit.core.world import World, at, failed, manifest, running, succeeded, world
from trainingjob.core import Rest, at_rest

STAGES = ("preprocess", "train", "evaluate")


def finished(**policy: Any) -> World:
    w = world(policy=policy)
    for stage in STAGES:
        w.finish(stage)
    assert w.status["phase"] == "Succeeded"
    return w


def suspended() -> World:
    w = World(manifest(suspend=True))
    w.settle()
    assert w.status["phase"] == "Suspended"
    return w


def broken() -> World:
    w = world(policy={"retries": {"application": 0}})
    w.finish("preprocess", partial(failed, reason="InputNotFound"))
    assert w.status["phase"] == "Failed"
    return w


def theirs() -> World:
    return World(manifest(managedBy="kueue.x-k8s.io/multikueue"))


@pytest.mark.parametrize("make", [finished, suspended, broken, theirs])
def test_a_job_rests_when_nothing_is_to_be_done(make: Any) -> None:
    w = make()
    assert w.rests()
    w.seconds += 1e6
    assert w.rests(), "however long"


@pytest.mark.parametrize("make", [finished, suspended])
@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("asked for a rerun", {"annotations": {"trainingjob.dev/rerun": "train:1"}}),
        ("asked for what is no rerun", {"annotations": {"trainingjob.dev/rerun": "nothing"}}),
        ("edited", {"generation": 2}),
    ],
)
def test_a_job_that_rests_is_looked_at_when_it_was(
    make: Any, what: str, change: dict[str, Any]
) -> None:
    w = make()
    w.manifest["metadata"] |= change
    assert not w.rests()
    w.settle()
    if what == "edited":
        assert w.rests(), "again"


def test_a_job_that_is_let_go_does_not_rest() -> None:
    w = suspended()
    w.manifest["spec"]["suspend"] = False
    w.manifest["metadata"]["generation"] = 2
    assert not w.rests()


def test_jobs_under_way_do_not_rest() -> None:
    w = world()
    assert not w.rests()
    for pod in w.of("preprocess"):
        running(pod, 1)
    w.settle()
    assert not w.rests()
    assert at_rest(manifest()) is None


def test_a_suspended_job_rests_once_its_pods_are_gone() -> None:
    w = world()
    for pod in w.of("preprocess"):
        running(pod, 1)
    w.settle()
    w.manifest["spec"]["suspend"] = True
    w.manifest["metadata"]["generation"] = 2
    w.record()
    assert w.status["phase"] == "Suspended"
    assert not w.rests()
    w.settle()
    assert w.rests()


@pytest.mark.parametrize("clean", ["never", "onSuccess", "always"])
def test_pods_that_are_to_go_keep_a_job_from_resting(clean: str) -> None:
    w = finished(cleanPods=clean)
    assert w.rests()
    w.pods["digits-evaluate-1-0"] = pod = w.pods.get("digits-evaluate-1-0") or late_pod(w)
    running(pod, w.seconds)
    assert not w.rests(), "it is to end"
    succeeded(pod, w.seconds)
    assert w.rests() == (clean == "never")


def late_pod(w: World) -> dict[str, Any]:
    """Another world's, as one that an operator before us has made."""
    other = world()
    for stage in STAGES:
        other.finish(stage)
    return other.pods["digits-evaluate-1-0"]


def test_a_job_that_is_to_go_rests_until_then() -> None:
    w = finished(ttlSecondsAfterFinished=100)
    assert w.rests()
    rest = at_rest(w.manifest)
    assert rest is not None
    assert rest.until == at(w.seconds + 100)
    w.seconds += 100
    assert not w.rests()
    assert rest.over(at(w.seconds))
    assert rest.seconds(at(w.seconds)) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"spec": {"policy": {"ttlSecondsAfterFinished": "soon"}}},
        {"status": {"phase": "Succeeded", "observedGeneration": 1, "completionTime": "today"}},
        {"status": {"phase": ["Succeeded"], "observedGeneration": 1}},
        {"status": {"phase": "Succeeded"}},
        {"status": None},
        {"spec": None},
    ],
)
def test_what_cannot_be_read_is_looked_at(odd: dict[str, Any]) -> None:
    done = {"phase": "Succeeded", "observedGeneration": 1}
    meta = {"name": "digits", "namespace": "team", "uid": "uid-1", "generation": 1}
    job = {"metadata": meta, "spec": {}, "status": done} | odd
    assert at_rest(job) in (None, Rest("ended"))
