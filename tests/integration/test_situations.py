"""Fifty situations side by side: how soon status tells each, and in which words.

Every reason of docs/status.md but those that need more than one pod's fate; ELSEWHERE names them.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tests.cluster import behaviour
from tests.cluster.behaviour import Behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.tables import tell
from trainingjob.api.v1alpha1 import REASONS

from .harness import Namespace, gang, manifest, operator

# What the operator finds by itself; the others are reported by pods.
FOUND = {
    *("InvalidSpec", "NameConflict", "ClaimMissing", "Unschedulable", "ImagePullFailed"),
    *(
        "PodAltered",
        "ContainerConfigError",
        "PodStuck",
        "PodRefused",
        "QuotaExceeded",
        "ServiceAccountMissing",
    ),
    *("OperatorForbidden", "ApiUnavailable", "ResultInvalid", "GateFailed", "DeadlineExceeded"),
    *("StartupDeadlineExceeded", "PodLost", "NodeLost", "NoProgress", "Disrupted"),
    *("InitContainerFailed", "NodeRefused", "StartFailed", "StorageLimitExceeded"),
    "SchedulingGated",
    "KServeMissing",
    "RegistryUnavailable",
}
# Who reaches what needs more than one pod's fate.
ELSEWHERE = {
    "ApiUnavailable": "test_operator_refusals",
    "Disrupted": "test_operator_jobs",
    "InvalidSpec": "test_operator_refusals",
    "InitContainerFailed": "test_sidecars",
    "KServeMissing": "test_kserve",
    "NameConflict": "test_operator_jobs",
    "NoProgress": "test_progress",
    "NodeRefused": "test_sidecars",
    "OperatorForbidden": "test_rbac",
    "PodAltered": "test_operator_strangers",
    "PodRefused": "test_operator_refusals",
    "SchedulingGated": "test_operator_strangers",
    "PodStuck": "tests/unit/core/test_waiting, as a pod has half a minute to go",
    "QuotaExceeded": "test_operator_refusals",
    "ServiceAccountMissing": "test_operator_refusals",
}
NO_RETRIES = {"retries": {"infrastructure": 0, "application": 0}}
# Of one operator, one control plane and all these jobs on two cores.
MOST_SECONDS = 15.0


@dataclass(frozen=True)
class Situation:
    """What happens to a job's pods, and what status is to say then."""

    what: str
    fate: Behaviour
    phase: str
    reason: str
    spec: dict[str, Any] | None = None  # else one pod that trains
    ends: bool = True


def reported(reason: str) -> Situation:
    error = {"error": {"reason": reason, "message": f"{reason} happened here"}}
    return Situation(
        f"a pod reports {reason}", behaviour.fail(1, json.dumps(error)), "Failed", reason
    )


def waits(what: str, fate: Behaviour, reason: str) -> Situation:
    return Situation(what, fate, "Training", reason, ends=False)


LOST = Behaviour(seconds=0.2, deleted=True, grace=0.5)

SITUATIONS = [
    *(reported(reason) for reason in REASONS if reason not in FOUND),
    Situation("it goes well", behaviour.succeed(), "Succeeded", "Completed"),
    Situation("it runs", behaviour.run(), "Training", "Running", ends=False),
    waits("nobody touches the pod", behaviour.never(), "Starting"),
    waits("no such image", behaviour.image_pull_fails(), "ImagePullFailed"),
    waits(
        "a registry that is out of breath",
        behaviour.image_pull_fails("429 Too Many Requests"),
        "RegistryUnavailable",
    ),
    waits("no such Secret", behaviour.config_error(), "ContainerConfigError"),
    waits("no room", behaviour.unschedulable(), "Unschedulable"),
    waits(
        "no such claim",
        behaviour.unschedulable('persistentvolumeclaim "data" not found'),
        "ClaimMissing",
    ),
    Situation("exit code 3", behaviour.fail(3), "Failed", "ScriptFailed"),
    Situation("no such command", behaviour.fail(127), "Failed", "CommandNotFound"),
    Situation("SIGKILL", behaviour.die(), "Failed", "ProcessKilled"),
    Situation("SIGSEGV", behaviour.die(11), "Failed", "ScriptFailed"),
    Situation(
        "the node is gone", Behaviour(exit_code=1, pod_reason="NodeLost"), "Failed", "NodeLost"
    ),
    Situation(
        "a driver that does not load",
        Behaviour(exit_code=128, reason="StartError", message="nvidia-container-cli: no driver"),
        "Failed",
        "StartFailed",
    ),
    Situation(
        "more disk than its limit",
        Behaviour(
            exit_code=137,
            pod_reason="Evicted",
            pod_message="Container train exceeded its local ephemeral storage limit 1Gi.",
        ),
        "Failed",
        "StorageLimitExceeded",
    ),
    Situation("somebody deletes the pod", LOST, "Failed", "PodLost"),
    Situation("out of memory", behaviour.out_of_memory(), "Failed", "OutOfMemory"),
    Situation("a report that is none", behaviour.succeed(message="{"), "Failed", "ResultInvalid"),
    Situation(
        "suspended at creation",
        behaviour.succeed(),
        "Suspended",
        "Suspended",
        gang(1, suspend=True)["spec"],
        ends=False,
    ),
    Situation(
        "it takes too long",
        behaviour.run(),
        "Failed",
        "DeadlineExceeded",
        gang(1, policy={"activeDeadlineSeconds": 1})["spec"],
    ),
    Situation(
        "it does not start in time",
        behaviour.never(),
        "Failed",
        "StartupDeadlineExceeded",
        gang(1, policy={"startupDeadlineSeconds": 1})["spec"],
    ),
    Situation(
        "a gate fails",
        behaviour.succeed(),
        "Failed",
        "GateFailed",
        manifest(evaluate={"gates": [{"metric": "accuracy", "min": 0.9999}]})["spec"],
    ),
]


def test_every_reason_has_its_situation_here_or_elsewhere() -> None:
    seen = {situation.reason for situation in SITUATIONS}
    assert set(REASONS) - seen == ELSEWHERE.keys()


def test_every_situation_has_its_reason_in_words_and_soon(
    control_plane: ControlPlane, namespace: str
) -> None:
    space = Namespace(control_plane, namespace)
    situations = {f"s-{number}": situation for number, situation in enumerate(SITUATIONS)}
    told: dict[str, tuple[float, dict[str, Any]]] = {}

    def script(pod: dict[str, Any]) -> Behaviour:
        return situations[pod["metadata"]["labels"]["trainingjob.dev/job"]].fate

    with (
        FakeKubelet(control_plane, [space.name], 0.05, script),
        operator(control_plane, space.name),
    ):
        begun = {}
        for name, situation in situations.items():
            spec = situation.spec or gang(1, policy=NO_RETRIES)["spec"]
            begun[name] = time.monotonic()
            space.run({**gang(1, name), "spec": spec})
        deadline = time.monotonic() + MOST_SECONDS
        while len(told) < len(situations) and time.monotonic() < deadline:
            for job in space.list("trainingjobs"):
                name, status = job["metadata"]["name"], job.get("status") or {}
                expected = (situations[name].phase, situations[name].reason)
                if name not in told and (status.get("phase"), status.get("reason")) == expected:
                    told[name] = (time.monotonic() - begun[name], status)
            time.sleep(0.02)
        missing = {
            situation.what: space.status(name).get("reason")
            for name, situation in situations.items()
            if name not in told
        }
    for name, (seconds, status) in told.items():
        tell(situations[name].what, seconds, status)
    assert not missing
    assert len(told) >= 50
    for name, (_, status) in told.items():
        if status["reason"] in REASONS:
            assert REASONS[status["reason"]].remedy in status["message"], situations[name].what
        assert ("completionTime" in status) == situations[name].ends
