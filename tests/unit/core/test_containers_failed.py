"""Why our container failed: the statuses are written as the kubelet 1.36 writes them."""

from __future__ import annotations

import pytest

from trainingjob.core.diagnose import failure_of

from .containers import NO_PROGRAM, PROXY, REPORT, ended, running, status, view, waiting

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
