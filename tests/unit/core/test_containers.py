"""Which container of a pod is ours: the statuses are written as the kubelet 1.36 writes them.

pkg/kubelet/kubelet_pods.go (sorted by name; a pod's phase is about all of its containers),
eviction_manager.go, lifecycle/predicate.go, nodeshutdown_manager_linux.go. The runtimes' words are
those of runc, crun and containerd.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob.core import PodView
from trainingjob.core.diagnose import failure_of, result_of, waiting_of

LABELS = {
    "trainingjob.dev/stage": "train",
    "trainingjob.dev/attempt": "1",
    "trainingjob.dev/index": "0",
}
CREATED = "2026-11-28T07:00:00Z"
RESULT = json.dumps({"result": {"outputs": {"uri": "pvc://runs"}}})
REPORT = json.dumps({"error": {"reason": "DiskFull", "message": "no room"}})

State = dict[str, Any]


def status(name: str, state: State, **more: Any) -> State:
    return {"name": name, "image": "x", "restartCount": 0, "state": state, **more}


def running(at: str = "2026-11-28T07:00:10Z") -> State:
    return {"running": {"startedAt": at}}


def waiting(reason: str, message: str = "") -> State:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int = 0, message: str = "", reason: str = "", **more: Any) -> State:
    told = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "message": message,
        "startedAt": "2026-11-28T07:00:10Z",
        "finishedAt": "2026-11-28T07:01:00Z",
    }
    return {"terminated": told | more}


def view(
    phase: str,
    *beside: State,
    train: State | None = None,
    init: tuple[State, ...] = (),
    meta: State | None = None,
    **more: Any,
) -> PodView:
    """A pod whose own container is in the state ``train``, with others beside it."""
    statuses = [*beside, *([status("train", train)] if train is not None else [])]
    found = {"phase": phase, "initContainerStatuses": [*init], **more}
    found["containerStatuses"] = sorted(statuses, key=lambda container: container["name"])
    metadata = {"name": "p", "labels": LABELS, "creationTimestamp": CREATED} | (meta or {})
    return PodView.from_dict({"metadata": metadata, "status": found})


NO_COMMIT = json.dumps({"error": {"reason": "RepositoryInvalid", "message": "has no commit"}})


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (ended(1, NO_COMMIT), "RepositoryInvalid", "has no commit"),
        (ended(137, reason="OOMKilled"), "OutOfMemory", "used more memory than its limit"),
        (ended(1, "Traceback"), "ScriptFailed", "exited with code 1"),
    ],
)
def test_the_container_that_fetches_code_tells_why_it_failed(state, reason, words):
    """As the kubelet has a pod whose init container has failed."""
    before = status("trainingjob-code", state)
    pod = view("Failed", train=waiting("PodInitializing"), init=(before,))
    failure = failure_of(pod)
    assert (failure.reason, words in failure.message) == (reason, True)
    assert (pod.phase, pod.over) == ("Failed", True)


def test_a_pod_whose_code_is_being_fetched_has_not_begun():
    for state in (running(), ended()):
        before = status("trainingjob-code", state)
        pod = view("Pending", train=waiting("PodInitializing"), init=(before,))
        assert (pod.phase, pod.started, failure_of(pod)) == ("Pending", None, None)
    pod = view("Running", train=running(), init=(status("trainingjob-code", ended()),))
    assert (pod.phase, pod.started is not None) == ("Running", True)


def test_an_init_container_of_others_is_still_theirs():
    before = status("setup", ended(1, NO_COMMIT))
    pod = view("Failed", train=waiting("PodInitializing"), init=(before,))
    assert failure_of(pod).reason == "InitContainerFailed"


PROXY = status("istio-proxy", running())
DRAINED = [
    {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": "2026-11-28T07:00:50Z",
    }
]


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


NO_PROGRAM = 'exec: "torchrunn": executable file not found in $PATH'
RUNC = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
    "runc create failed: "
)


@pytest.mark.parametrize(
    ("situation", "pod", "reason", "words"),
    [
        ("its report", view("Running", PROXY, train=ended(1, REPORT)), "DiskFull", "no room"),
        (
            "more memory than its limit",
            view("Running", PROXY, train=ended(137, reason="OOMKilled")),
            "OutOfMemory",
            "pod p used more memory than its limit",
        ),
        (
            "its exit code, and not the sidecar's",
            view("Failed", status("a", ended(137)), train=ended(3)),
            "ScriptFailed",
            "pod p exited with code 3",
        ),
        (
            "the init container's exit code and message",
            view(
                "Failed",
                train=waiting("PodInitializing"),
                init=(status("istio-init", ended(1, "iptables:\n not permitted")),),
            ),
            "InitContainerFailed",
            "pod p did not start: init container istio-init exited with code 1: "
            "iptables: not permitted",
        ),
        (
            "an init container out of memory",
            view(
                "Failed",
                train=waiting("PodInitializing"),
                init=(status("vault", ended(137, reason="OOMKilled")),),
            ),
            "InitContainerFailed",
            "init container vault exited with code 137 (OOMKilled)",
        ),
        (
            "a program that is not there",
            view(
                "Failed",
                train=ended(128, NO_PROGRAM, "StartError", startedAt="1970-01-01T00:00:00Z"),
            ),
            "CommandNotFound",
            NO_PROGRAM,
        ),
        (
            "as runc has it since 1.2",
            view(
                "Failed",
                train=ended(
                    128,
                    RUNC + "unable to start container process: error during "
                    'container init: exec: "./train": stat ./train: no such file or directory',
                    "StartError",
                ),
            ),
            "CommandNotFound",
            "could not be started",
        ),
        (
            "as crun has it",
            view(
                "Failed",
                train=ended(
                    127,
                    "crun: executable file `torchrunn` not found in $PATH: No "
                    "such file or directory: OCI runtime attempted to invoke a command that was "
                    "not found",
                    "StartError",
                ),
            ),
            "CommandNotFound",
            "torchrunn",
        ),
        (
            "another CPU's program",
            view("Failed", train=ended(128, RUNC + "exec /train: exec format error", "StartError")),
            "CommandNotFound",
            "exec format error",
        ),
        (
            "a driver that does not load is the node's",
            view(
                "Failed",
                train=ended(
                    128,
                    RUNC + "unable to start container process: error during "
                    "container init: error running prestart hook #0: exit status 1, stderr: "
                    "nvidia-container-cli: initialization error: load library failed: "
                    "libnvidia-ml.so.1: cannot open shared object file: no such file or directory",
                    "StartError",
                ),
            ),
            "StartFailed",
            "libnvidia-ml.so.1",
        ),
        (
            "a mount that fails is the node's",
            view(
                "Failed",
                train=ended(
                    128,
                    RUNC + 'error mounting "/var/lib/x" to rootfs at "/data": '
                    "no such file or directory",
                    "StartError",
                ),
            ),
            "StartFailed",
            "error mounting",
        ),
        *(
            (
                f"its node refuses it: {reason}",
                view("Failed", reason=reason, message=f"Pod was rejected: {reason} {reason}"),
                "NodeRefused",
                f"pod p was not taken by its node ({reason}: Pod was rejected: {reason} {reason})",
            )
            for reason in (
                *("OutOfcpu", "OutOfpods", "OutOfnvidia.com/gpu", "UnexpectedAdmissionError"),
                *("TopologyAffinityError", "NodeAffinity", "NodeShutdown", "SomethingNewer"),
            )
        ),
        (
            "evicted for its own limits",
            view(
                "Failed",
                train=ended(137),
                reason="Evicted",
                message="Pod ephemeral local storage usage exceeds the total limit of containers "
                "1Gi. ",
            ),
            "StorageLimitExceeded",
            "exceeds the total limit of containers 1Gi",
        ),
        (
            "evicted for the limit of a volume, and it says that it was stopped",
            view(
                "Failed",
                train=ended(
                    143, '{"error": {"reason": "Disrupted", "message": "stopped by SIGTERM"}}'
                ),
                reason="Evicted",
                message='Usage of EmptyDir volume "cache" exceeds the limit "1Gi". ',
            ),
            "StorageLimitExceeded",
            'Usage of EmptyDir volume "cache"',
        ),
        (
            "evicted for its scratch",
            view(
                "Failed",
                train=ended(137),
                reason="Evicted",
                message='Usage of EmptyDir volume "trainingjob-tmp" exceeds the limit "20Gi". ',
            ),
            "StorageLimitExceeded",
            'exceeds the limit "20Gi" (/tmp: train.template.scratch.size)',
        ),
        (
            "evicted for its container's limit",
            view(
                "Failed",
                train=ended(137),
                reason="Evicted",
                message='Container train exceeded its local ephemeral storage limit "1Gi". ',
            ),
            "StorageLimitExceeded",
            "Container train exceeded",
        ),
        (
            "evicted for its node's need",
            view(
                "Failed",
                train=ended(137),
                reason="Evicted",
                message="The node was low on resource: memory. Threshold quantity: 100Mi",
            ),
            "Disrupted",
            "The node was low on resource: memory",
        ),
        (
            "ended as a whole",
            view("Failed", train=ended(137), reason="DeadlineExceeded", message="Pod was active"),
            "PodLost",
            "DeadlineExceeded: Pod was active",
        ),
        (
            "another kubelet's word beside an exit code",
            view("Failed", train=ended(3), reason="ProviderFailed"),
            "ScriptFailed",
            "pod p exited with code 3 (ProviderFailed)",
        ),
        (
            "its node has started anew and found no trace of it",
            view(
                "Pending",
                status(
                    "train",
                    waiting("ContainerCreating"),
                    lastState=ended(
                        137, "The container could not be located", "ContainerStatusUnknown"
                    ),
                ),
            ),
            "NodeLost",
            "found no trace",
        ),
        (
            "started a second time",
            view("Running", status("train", running(), lastState=ended(137), restartCount=1)),
            "ProcessKilled",
            "was killed",
        ),
        (
            "deleted, and it obeyed with exit code 0",
            view(
                "Succeeded",
                train=ended(),
                meta={"deletionTimestamp": "2026-11-28T07:01:00Z"},
            ),
            "PodLost",
            "was deleted",
        ),
    ],
)
def test_why_our_container_failed(situation, pod, reason, words):
    failure = failure_of(pod)
    assert failure is not None, situation
    assert failure.reason == reason, situation
    assert words in failure.message, situation


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
