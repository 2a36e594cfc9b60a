"""Events of Kubernetes explain a pod that waits, and only such a one."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.core import Observation, PodEvent, Settings, fold, podevents

from .world import World, at, running, stamp

HEARS = Settings(pod_events=True)
ATTACH = "Multi-Attach error for volume pvc-1: it is used by pod other-0"


def event(reason: str, message: str, seconds: float, kind: str = "Warning", **more: Any) -> Any:
    return {
        "metadata": {"creationTimestamp": stamp(0)},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": stamp(seconds),
        **more,
    }


SCHEDULED = event("Scheduled", "assigned", 1, "Normal")
ATTACHING = event("FailedAttachVolume", ATTACH, 2)
TIMED_OUT = "Unable to attach or mount volumes: timed out waiting for the condition"


@pytest.mark.parametrize(
    ("what", "events", "told"),
    [
        ("none", [], None),
        ("it has a node", [SCHEDULED], None),
        (
            "a volume that is used elsewhere",
            [SCHEDULED, event("FailedAttachVolume", ATTACH, 2)],
            PodEvent("FailedAttachVolume", ATTACH),
        ),
        (
            "and what follows from that says less",
            [
                event("FailedMount", TIMED_OUT, 130),
                SCHEDULED,
                event("FailedAttachVolume", ATTACH, 2),
            ],
            PodEvent("FailedAttachVolume", ATTACH),
        ),
        (
            "it was attached in the end",
            [
                event("FailedAttachVolume", ATTACH, 2),
                event("Pulling", "pulling image", 60, "Normal"),
            ],
            None,
        ),
        (
            "the last of the same kind",
            [event("FailedMount", "first", 5), event("FailedMount", "then", 9)],
            PodEvent("FailedMount", "then"),
        ),
        (
            "what came again is the last",
            [
                event("FailedMount", "b", 9),
                event("FailedMount", "a", 5, series={"lastObservedTime": stamp(20)}),
            ],
            PodEvent("FailedMount", "a"),
        ),
        (
            "of events.k8s.io, with parts of seconds",
            [
                SCHEDULED,
                event(
                    "FailedScheduling",
                    "0/1 nodes",
                    0,
                    lastTimestamp=None,
                    eventTime="2026-01-01T00:00:01.5Z",
                ),
            ],
            PodEvent("FailedScheduling", "0/1 nodes"),
        ),
        (
            "a warning that nobody knows",
            [SCHEDULED, event("Weird", "words\nof two lines", 3)],
            PodEvent("Weird", "words of two lines"),
        ),
    ],
)
def test_which_event_says_why_a_pod_waits(what: str, events: Any, told: PodEvent | None) -> None:
    assert podevents.telling(events) == told, what


def waiting(settings: Settings = HEARS) -> World:
    w = World(settings=settings)
    w.settle()
    (pod,) = w.of("preprocess")
    pod["spec"]["nodeName"] = "gpu-7"
    return w


def told(w: World, event: PodEvent | None = None) -> Observation:
    obs = w.observe()
    events = {pod.uid: event for pod in obs.pods} if event else {}
    return Observation(**{**vars(obs), "told": events})


@pytest.mark.parametrize(
    ("what", "settings", "seconds", "change", "asked"),
    [
        ("it has just been made", HEARS, 4, {}, False),
        ("it has waited for some time", HEARS, 5, {}, True),
        ("nobody may list events", Settings(), 5, {}, False),
        ("its status says why", HEARS, 50, "no image", False),
        ("it runs", HEARS, 50, "runs", False),
    ],
)
def test_events_are_asked_for_when_a_pod_waits_without_a_word(
    what: str, settings: Settings, seconds: float, change: Any, asked: bool
) -> None:
    w = waiting(settings)
    (pod,) = w.of("preprocess")
    if change == "runs":
        running(pod, 1)
    elif change:
        state = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        pod["status"] = {"containerStatuses": [{"name": "preprocess", "state": state}]}
    found = fold(w.observe(), at(seconds)).plan
    assert (found.explain is not None) == asked, what
    if what == "it has just been made":
        assert found.requeue_after == 1.0


def test_the_events_words_are_the_stages() -> None:
    w = waiting()
    after = fold(told(w, PodEvent("FailedAttachVolume", ATTACH)), at(6)).status
    assert (after.phase, after.reason) == ("Preprocessing", "StartFailed")
    assert after.message.startswith(
        f"pod digits-preprocess-1-0 on node gpu-7 waits: FailedAttachVolume: {ATTACH}; use a claim"
    )
    assert fold(told(w), at(6)).status.reason == "Starting"
    w.manifest["status"] = after.to_dict()
    late = fold(told(w, PodEvent("FailedAttachVolume", ATTACH)), at(601)).status
    assert late.reason == "StartupDeadlineExceeded"
    assert ATTACH in late.message
    (pod,) = w.of("preprocess")
    running(pod, 8)
    assert fold(told(w, PodEvent("FailedAttachVolume", ATTACH)), at(9)).status.reason == "Running"


def test_words_that_nobody_knows_blame_nobody() -> None:
    w = waiting()
    after = fold(told(w, PodEvent("Weird", "words")), at(60)).status
    assert after.reason == "Starting"
    assert "pod digits-preprocess-1-0 on node gpu-7 waits: Weird: words" in after.message
