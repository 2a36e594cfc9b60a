"""Which container of a pod is ours: the statuses are written as the kubelet 1.36 writes them.

pkg/kubelet/kubelet_pods.go (sorted by name; a pod's phase is about all of its containers),
eviction_manager.go, lifecycle/predicate.go, nodeshutdown_manager_linux.go. The runtimes' words are
those of runc, crun and containerd.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.core import PodView
from trainingjob.core.diagnose import failure_of, result_of, waiting_of

from .containers import (
    CREATED,
    DRAINED,
    LABELS,
    NO_PROGRAM,
    PROXY,
    REPORT,
    RESULT,
    State,
    ended,
    running,
    status,
    view,
    waiting,
)


@pytest.mark.parametrize(
    ("situation", "pod", "phase", "lingers"),
    [
        ("ours works, a sidecar lives", view("Running", PROXY, train=running()), "Running", False),
        (
            "ours works, a sidecar cannot be pulled",
            view("Pending", status("agent", waiting("ErrImagePull")), train=running()),
            "Running",
            False,
        ),
        (
            "ours waits, a sidecar lives",
            view("Running", PROXY, train=waiting("ImagePullBackOff")),
            "Pending",
            False,
        ),
        ("ours is done, a sidecar lives", view("Running", PROXY, train=ended()), "Succeeded", True),
        (
            "ours is done, a sidecar cannot be pulled",
            view("Pending", status("agent", waiting("ErrImagePull")), train=ended()),
            "Succeeded",
            True,
        ),
        ("ours failed, a sidecar lives", view("Running", PROXY, train=ended(1)), "Failed", True),
        (
            "ours is done, a sidecar was killed",
            view("Failed", status("istio-proxy", ended(137)), train=ended()),
            "Succeeded",
            False,
        ),
        (
            "ours failed, the sidecar ended well",
            view("Failed", status("istio-proxy", ended()), train=ended(3)),
            "Failed",
            False,
        ),
        (
            "a native sidecar outlives ours",
            view("Running", train=ended(), init=(status("istio-proxy", running()),)),
            "Succeeded",
            True,
        ),
        (
            "its init container failed",
            view("Failed", train=waiting("PodInitializing"), init=(status("setup", ended(1)),)),
            "Failed",
            False,
        ),
        ("no status of ours yet", view("Pending"), "Pending", False),
        (
            "refused by its node: no status at all",
            view("Failed", reason="OutOfcpu"),
            "Failed",
            False,
        ),
        ("evicted before it could start", view("Failed", reason="Evicted"), "Failed", False),
        (
            "it was drained and obeyed with exit code 0",
            view("Running", PROXY, train=ended(), conditions=DRAINED),
            "Failed",
            True,
        ),
        (
            "it was done before it was drained",
            view(
                "Running",
                PROXY,
                train=ended(finishedAt="2026-11-28T07:00:49Z"),
                conditions=DRAINED,
            ),
            "Succeeded",
            True,
        ),
        (
            "it was deleted and obeyed with exit code 0",
            view(
                "Succeeded",
                train=ended(),
                meta={
                    "deletionTimestamp": "2026-11-28T07:01:20Z",
                    "deletionGracePeriodSeconds": 30,
                },
            ),
            "Failed",
            False,
        ),
        (
            "it was done, and deleted later",
            view(
                "Succeeded",
                train=ended(),
                meta={
                    "deletionTimestamp": "2026-11-28T07:02:20Z",
                    "deletionGracePeriodSeconds": 30,
                },
            ),
            "Succeeded",
            False,
        ),
    ],
)
def test_a_pod_is_as_its_own_container_is(situation, pod, phase, lingers):
    assert (pod.phase, pod.lingers) == (phase, lingers), situation


@pytest.mark.parametrize(
    ("situation", "pod", "reason", "words"),
    [
        (
            "ours cannot be pulled, a sidecar lives",
            view("Running", PROXY, train=waiting("ImagePullBackOff", "Back-off pulling")),
            "ImagePullFailed",
            "pod p waits: Back-off pulling",
        ),
        (
            "an init container cannot be pulled",
            view(
                "Pending",
                train=waiting("PodInitializing"),
                init=(status("istio-init", waiting("ImagePullBackOff")),),
            ),
            "ImagePullFailed",
            "pod p: init container istio-init waits: ImagePullBackOff",
        ),
        (
            "a sidecar before ours cannot be pulled",
            view(
                "Pending",
                status("istio-proxy", waiting("ErrImagePull", "denied")),
                train=waiting("ContainerCreating"),
            ),
            "ImagePullFailed",
            "pod p: container istio-proxy waits: denied",
        ),
        (
            "a native sidecar crashes again and again",
            view(
                "Pending",
                train=waiting("PodInitializing"),
                init=(
                    status(
                        "istio-proxy",
                        waiting("CrashLoopBackOff", "back-off 10s restarting failed container"),
                        lastState=ended(1, "no certificate"),
                    ),
                ),
            ),
            "InitContainerFailed",
            "init container istio-proxy waits: back-off 10s restarting failed container; "
            "exited with code 1: no certificate",
        ),
    ],
)
def test_what_keeps_our_container_from_starting_is_named(situation, pod, reason, words):
    failure = waiting_of(pod)
    assert failure is not None, situation
    assert failure.reason == reason, situation
    assert words in failure.message, situation


def test_a_container_that_runs_waits_for_none_beside_it():
    pod = view("Pending", status("agent", waiting("ImagePullBackOff")), train=running())
    assert waiting_of(pod) is None


def test_a_result_counts_while_sidecars_live():
    result = result_of(view("Running", PROXY, train=ended(0, RESULT)))
    assert result is not None and result.outputs.uri == "pvc://runs"
    assert result_of(view("Running", status("a", ended(0, RESULT)), train=running())) is None


@pytest.mark.parametrize(
    ("situation", "state", "started", "finished"),
    [
        ("it never ran", ended(128, startedAt="1970-01-01T00:00:00Z"), None, "07:01:00"),
        ("Go's zero time", ended(128, startedAt="0001-01-01T00:00:00Z"), None, "07:01:00"),
        ("nothing is known", ended(137, startedAt=None, finishedAt=None), None, None),
        ("a node whose clock is slow", running("2026-11-28T06:00:00Z"), "07:00:00", None),
        (
            "it ended, too, before it was made",
            ended(0, startedAt="2026-11-28T06:00:00Z", finishedAt="2026-11-28T06:30:00Z"),
            "07:00:00",
            "07:00:00",
        ),
        ("a good clock", ended(), "07:00:10", "07:01:00"),
    ],
)
def test_no_time_before_the_pod_is_believed(situation, state, started, finished):
    pod = view("Running", train=state)
    told = [at and at.strftime("%H:%M:%S") for at in (pod.started, pod.finished)]
    assert told == [started, finished], situation


# --- whatever stands beside ours ----------------------------------------------------------------

STATES = [
    running(),
    waiting("ImagePullBackOff", "no such image"),
    waiting("PodInitializing"),
    ended(),
    ended(0, RESULT),
    ended(0, "[]"),
    ended(1, REPORT),
    ended(1, "Traceback"),
    ended(137, reason="OOMKilled"),
    ended(127),
    ended(128, NO_PROGRAM, "StartError"),
]
others = st.dictionaries(
    st.sampled_from(["a", "istio-proxy", "train-logs", "trai", "zz", "Train"]),
    st.sampled_from(STATES),
    max_size=4,
)


def kubelet_phase(states: list[State]) -> str:
    """getPhase of the kubelet, for restartPolicy Never."""
    if any("waiting" in state for state in states):
        return "Pending"
    if any("running" in state for state in states):
        return "Running"
    return "Failed" if any(s["terminated"]["exitCode"] for s in states) else "Succeeded"


def verdict(pod: PodView) -> object:
    """All that is told of our container."""
    facts = (pod.phase, pod.exit_code, pod.signal, pod.message, pod.started, pod.finished)
    failure = failure_of(pod)
    told = failure and (failure.reason, failure.message, failure.exit_code, failure.log_tail)
    return facts, told, [wait for wait in pod.waits if not wait.who], result_of(pod)


@settings(max_examples=300, deadline=None)
@given(own=st.sampled_from(STATES), beside=others, order=st.randoms(use_true_random=False))
def test_neither_order_nor_others_change_the_verdict_on_ours(own, beside, order):
    def made(states: dict[str, State]) -> dict[str, Any]:
        found = [status(name, state) for name, state in states.items()]
        order.shuffle(found)
        return {
            "metadata": {"name": "p", "labels": LABELS, "creationTimestamp": CREATED},
            "status": {"phase": kubelet_phase([*states.values()]), "containerStatuses": found},
        }

    alone, among = (PodView.from_dict(made({"train": own} | more)) for more in ({}, beside))
    assert verdict(among) == verdict(alone)
    waits = [waiting_of(pod) for pod in (alone, among)]
    if own == STATES[1]:
        assert [wait and wait.message for wait in waits] == ["pod p waits: no such image"] * 2
