"""Pods into which the cluster puts containers of its own, on a real API server: its admission does
so, and statuses are written as the kubelet writes them, sorted by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import podstatus
from tests.cluster.controlplane import ControlPlane
from tests.cluster.mesh import Mesh
from tests.cluster.wait import wait_for
from tests.tables import tell

from .harness import Namespace, Operator, gang, operator

NO_RETRIES = {"retries": {"infrastructure": 0, "application": 0}}
STARTED = "2030-01-01T00:00:00Z"  # a node's clock that is fast

State = dict[str, Any]
RUNNING: State = {"running": {"startedAt": STARTED}}
INITIALIZING: State = {"waiting": {"reason": "PodInitializing"}}


@pytest.fixture(scope="module")
def mesh(control_plane: ControlPlane) -> Iterator[Namespace]:
    """A namespace whose pods have a sidecar and an init container."""
    space = Namespace(control_plane, control_plane.namespace())
    with Mesh(control_plane, space.name, "agent:1"):
        yield space
    control_plane.request("DELETE", f"/api/v1/namespaces/{space.name}")


@pytest.fixture(scope="module")
def served(mesh: Namespace) -> Iterator[Operator]:
    with operator(mesh.control_plane, mesh.name) as running:
        yield running


def ended(code: int = 0, message: str = "", reason: str = "", started: str = STARTED) -> State:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "message": message,
            "startedAt": started,
            "finishedAt": STARTED,
        }
    }


def report(reason: str, message: str) -> str:
    return json.dumps({"error": {"reason": reason, "message": message}})


GOOD = "a good report"  # of the pod that is there


def told(pod: State, phase: str, train: State, proxy: State, init: State | None = None) -> State:
    """What the kubelet writes about a pod with these three containers."""
    if train.get("terminated", {}).get("message") == GOOD:
        train = {"terminated": train["terminated"] | {"message": podstatus.report(pod)}}
    common = {"image": "x", "imageID": "", "ready": False, "restartCount": 0}
    return {
        "phase": phase,
        "initContainerStatuses": [common | {"name": "setup", "state": init or ended()}],
        "containerStatuses": [
            common | {"name": "agent", "state": proxy},
            common | {"name": "train", "state": train},
        ],
    }


NO_PROGRAM = 'exec: "torchrunn": executable file not found in $PATH'
LOG = "Traceback (most recent call last)\n\x1b[31mValueError: too deep\n"

# What happens to the pod: its phase, and the states of ours, of the sidecar and of the init
# container; then the job's phase and reason, words of its message, and whether the pod stays.
FATES: dict[str, tuple[tuple[Any, ...], tuple[str, str], str, bool]] = {
    "done, the sidecar lives": (
        ("Running", ended(message=GOOD), RUNNING),
        ("Succeeded", "Completed"),
        "done",
        False,
    ),
    "failed, the sidecar lives": (
        ("Running", ended(1, report("DiskFull", "no room")), RUNNING),
        ("Failed", "DiskFull"),
        "no room",
        False,
    ),
    "both are done": (
        ("Succeeded", ended(message=GOOD), ended()),
        ("Succeeded", "Completed"),
        "done",
        True,
    ),
    "done, the sidecar was killed": (
        ("Failed", ended(message=GOOD), ended(137)),
        ("Succeeded", "Completed"),
        "done",
        True,
    ),
    "no memory, the sidecar ended well": (
        ("Failed", ended(137, reason="OOMKilled"), ended()),
        ("Failed", "OutOfMemory"),
        "used more memory than its limit",
        True,
    ),
    "no image, the sidecar lives": (
        ("Running", {"waiting": {"reason": "ImagePullBackOff", "message": "no such"}}, RUNNING),
        ("Training", "ImagePullFailed"),
        "waits: no such",
        True,
    ),
    "the init container has failed": (
        ("Failed", INITIALIZING, INITIALIZING, ended(1, "iptables: no\n")),
        ("Failed", "InitContainerFailed"),
        "init container setup exited with code 1: iptables: no",
        True,
    ),
    "the init container has no image": (
        ("Pending", INITIALIZING, INITIALIZING, {"waiting": {"reason": "ImagePullBackOff"}}),
        ("Training", "ImagePullFailed"),
        "init container setup waits: ImagePullBackOff",
        True,
    ),
    "no such program": (
        (
            "Running",
            ended(128, NO_PROGRAM, "StartError", "1970-01-01T00:00:00Z"),
            RUNNING,
        ),
        ("Failed", "CommandNotFound"),
        NO_PROGRAM,
        False,
    ),
    "a log and no report": (
        ("Running", ended(1, LOG), RUNNING),
        ("Failed", "ScriptFailed"),
        "exited with code 1",
        False,
    ),
}


def test_a_stage_is_as_its_own_container_is_and_the_pod_is_ended(
    mesh: Namespace, served: Operator
) -> None:
    jobs = {f"s-{number}": what for number, what in enumerate(FATES)}
    for name in jobs:
        mesh.run(gang(1, name, policy=NO_RETRIES))
    for name, what in jobs.items():
        pod = mesh.wait_for_pod(f"{name}-train-1-0")
        assert len(pod["spec"]["containers"]) == 2
        status = told(pod, *FATES[what][0])
        mesh.patch("pods", pod["metadata"]["name"], {"status": status}, "status")
    for name, what in jobs.items():
        _, (phase, reason), words, _ = FATES[what]
        status = mesh.wait(name, phase=phase, reason=reason)
        tell(what, 0.0, status)
        assert words in status["message"], what
        assert mesh.stage(name, "train")["attempt"] == 1
    usage = mesh.stage("s-8", "train")["usage"]
    assert not any(usage.values()), "it never ran"
    tail = mesh.status("s-9")["lastFailure"]["logTail"]
    assert tail == LOG.replace("\x1b", r"\u001b")

    stays = [f"{name}-train-1-0" for name, what in jobs.items() if FATES[what][3]]
    wait_for("the others to be ended", lambda: mesh.pods() == sorted(stays))


def test_a_node_that_refuses_a_pod_is_charged_to_nobody(mesh: Namespace, served: Operator) -> None:
    mesh.run(gang(1, "refused", policy=NO_RETRIES))
    message = "Pod was rejected: Allocate failed due to no healthy devices present"
    mesh.wait_for_pod("refused-train-1-0")
    status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": message}
    mesh.patch("pods", "refused-train-1-0", {"status": status}, "status")
    mesh.wait_for_pod("refused-train-2-0")
    wait_for("the failure to be told", lambda: "lastFailure" in mesh.status("refused"))
    failure = mesh.status("refused")["lastFailure"]
    tell("a node refuses a pod", 0.0, mesh.status("refused"))
    assert (failure["reason"], failure["class"]) == ("NodeRefused", "disruption")
    assert message in failure["message"]


@pytest.mark.parametrize("code", [None, 0])
def test_a_rank_that_is_done_may_go_while_another_works(
    mesh: Namespace, served: Operator, code: int | None
) -> None:
    """Its sidecar lives, or has ended."""
    name = "gang" if code is None else "gang-over"
    mesh.run(gang(2, name))
    pods = [mesh.wait_for_pod(f"{name}-train-1-{index}") for index in range(2)]
    for pod in pods:
        status = told(pod, "Running", RUNNING, RUNNING)
        mesh.patch("pods", pod["metadata"]["name"], {"status": status}, "status")
    wait_for("the gang to run", lambda: mesh.stage(name, "train").get("reason") == "Running")
    first, second = (pod["metadata"]["name"] for pod in pods)
    phase, proxy = ("Running", RUNNING) if code is None else ("Succeeded", ended())
    mesh.patch("pods", second, {"status": told(pods[1], phase, ended(), proxy)}, "status")
    wait_for(
        "that it is done",
        lambda: mesh.stage(name, "train")["pods"].get("completedIndexes") == "1",
    )
    mesh.delete("pods", second)
    mesh.patch(
        "pods", first, {"status": told(pods[0], phase, ended(message=GOOD), proxy)}, "status"
    )
    mesh.wait(name, phase="Succeeded")
    assert mesh.stage(name, "train")["attempt"] == 1
