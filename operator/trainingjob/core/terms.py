"""The words in which Kubernetes says what is wrong with a pod, and what we make of them.

All that kubelet, scheduler, controllers and containerd write from Kubernetes 1.30 to 1.37: a test
compares this with a list from their sources (tests/unit/core/terms). What is in no table accuses
nobody: see `diagnose`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..api.v1alpha1.reasons import ReasonName


@dataclass(frozen=True)
class Term:
    """``reason``: of ours; None where nothing is wrong. ``what``: what happened to the pod, for a
    message that goes on with Kubernetes' own words."""

    reason: ReasonName | None
    what: str = ""


_ENDED = "was ended by its node"
_REFUSED = Term("NodeRefused", "was not taken by its node")
_IMAGE = Term("ImagePullFailed")
_CONFIG = Term("ContainerConfigError")

# status.reason of a pod.
POD: Mapping[str, Term] = {
    # Without the condition DisruptionTarget for its own limits, else for the node's need: see
    # pkg/kubelet/eviction/eviction_manager.go.
    "Evicted": Term("Disrupted", "was evicted by its node"),
    "Preempting": Term("Disrupted", "had to make way for a critical pod"),
    "Terminated": Term("Disrupted", "was ended, as its node shuts down"),
    "Shutdown": Term("Disrupted", "was ended, as its node shuts down"),
    "NodeLost": Term("NodeLost", _ENDED),
    # Nobody but admission or a mutating webhook sets it.
    "DeadlineExceeded": Term(
        "PodLost", "ran longer than the activeDeadlineSeconds that somebody has put into its spec"
    ),
    # A node that does not take a pod which was given to it: another may.
    **dict.fromkeys(
        (
            "AppArmor",
            "EmptyPodSharedPoolError",
            "Infeasible",
            "InitContainerRestartPolicyForbidden",
            "InvalidNodeInfo",
            "NodeAffinity",
            "NodeName",
            "NodePorts",
            "NodeShutdown",
            "NodeUnschedulable",
            "OutOfcpu",
            "OutOfephemeral-storage",
            "OutOfmemory",
            "OutOfpods",
            "PodFeatureUnsupported",
            "PodLevelResourcesNotSupported",
            "PodLevelTopologyAffinityError",
            "PodOSNotSupported",
            "PodOSSelectorNodeLabelDoesNotMatch",
            "SupplementalGroupsPolicyNotSupported",
            "SysctlForbidden",
            "TaintToleration",
            "TopologyAffinityError",
            "UnexpectedAdmissionError",
            "UnexpectedPredicateFailureType",
            "UnknownReason",
            "VolumeAttachmentLimitExceeded",
        ),
        _REFUSED,
    ),
}
# Of any device: OutOfnvidia.com/gpu.
_OUT_OF = "OutOf"

# state.waiting.reason of a container.
WAITING: Mapping[str, Term] = {
    "ContainerCreating": Term(None),
    "PodInitializing": Term(None),
    **dict.fromkeys(
        (
            "ErrImageNeverPull",
            "ErrImagePull",
            "ImageInspectError",
            "ImagePullBackOff",
            "ImageVolumeMountFailed",
            "InvalidImageName",
            "SignatureValidationFailed",
        ),
        _IMAGE,
    ),
    **dict.fromkeys(
        (
            "CreateContainerConfigError",
            "CreateContainerError",
            "PostStartHookError",
            "PreCreateHookError",
            "PreStartHookError",
            "RROUnsupported",
            "RunContainerError",
        ),
        _CONFIG,
    ),
    "RegistryUnavailable": Term("RegistryUnavailable"),
    # Of a native sidecar: ours is never started twice.
    "CrashLoopBackOff": Term("InitContainerFailed"),
}

# state.terminated.reason of a container.
ENDED: Mapping[str, Term] = {
    "Completed": Term(None),
    "Error": Term(None),
    "OOMKilled": Term("OutOfMemory", "used more memory than its limit"),
    "ContainerStatusUnknown": Term(
        "NodeLost", "was lost by its node, which has found no trace of its container"
    ),
    # containerd's, with exit code 255.
    "Unknown": Term("NodeLost", "was lost by its node's container runtime, which found no end"),
    # containerd's with exit code 128, and Docker's: the message tells a program that is not there
    # from a node's own trouble.
    "StartError": Term("StartFailed", "could not be started"),
    "ContainerCannotRun": Term("StartFailed", "could not be started"),
}

# Reasons of the condition PodScheduled=False.
SCHEDULING: Mapping[str, Term] = {
    "Unschedulable": Term("Unschedulable", "finds no node"),
    "SchedulerError": Term("Unschedulable", "could not be scheduled"),
    "SchedulingGated": Term("SchedulingGated"),
}

# Conditions of a pod that somebody is about to end for others' sake: Kubernetes' own, and Kueue's,
# whose reasons are its own words.
DISRUPTED = ("DisruptionTarget", "TerminationTarget")
# So Volcano says the same, as the reason of Ready=False, before it deletes the pod.
UNREADY_EVICTED = "Evict"
# Reasons of the condition DisruptionTarget=True: nobody's fault, all of them.
DISRUPTIONS = (
    "DeletionByDeviceTaintManager",
    "DeletionByPodGC",
    "DeletionByTaintManager",
    "EvictionByEvictionAPI",
    "PreemptionByScheduler",
    "TerminationByKubelet",
)


# Reasons of Events about a pod that waits, those first that say most; of others nothing is made but
# words. The kubelet's, the scheduler's and the attach-detach controller's.
EVENTS: Mapping[str, Term] = {
    "FailedScheduling": Term("Unschedulable"),
    "FailedAttachVolume": Term("StartFailed"),
    "FailedMapVolume": Term("StartFailed"),
    "FailedMountOnFilesystemMismatch": Term("StartFailed"),
    "FailedMount": Term("StartFailed"),
    "FailedPrepareDynamicResources": Term("StartFailed"),
    "FailedCreatePodSandBox": Term("StartFailed"),
    "FailedCreatePodContainer": Term("StartFailed"),
    "FailedNodeDeclaredFeaturesCheck": Term("StartFailed"),
    "NetworkNotReady": Term("StartFailed"),
}


# What a registry, the way to it or a node's disk is the cause of, and what may pass by itself. A
# name that is not known may as well be wrong.
_PASSES = re.compile(
    r"toomanyrequests|too many requests|rate limit|QPS exceeded|i/o timeout|deadline exceeded"
    r"|TLS handshake timeout|connection re(fused|set)|no route to host|network is unreachable"
    r"|unexpected EOF|code = Unavailable|registry is unavailable|no space left on device"
    r"|50[0234] (Internal|Bad|Service|Gateway)",
    re.IGNORECASE,
)
_LOOKUP = "lookup "
# What a container runtime says that is short of breath; the kubelet tries again.
_BUSY = re.compile(
    r"deadline ?exceeded|is reserved for|transport is closing|connection refused", re.I
)
# A mount of what the manifest names.
_NO_SOURCE = re.compile(
    r'(configmap|secret) "[^"]+" not found|references non-existent (config|secret) key'
)


def of_wait(reason: str, message: str) -> ReasonName | None:
    """Of a container that waits; None where nothing is wrong with it."""
    term = WAITING.get(reason)
    if term is None:
        return None
    if term.reason == "ImagePullFailed" and _PASSES.search(message) and _LOOKUP not in message:
        return "RegistryUnavailable"
    if reason == "CreateContainerError" and _BUSY.search(message):
        return "StartFailed"
    return term.reason


def of_event(reason: str, message: str) -> ReasonName | None:
    """Of an Event about a pod that waits; None for one that only has words."""
    term = EVENTS.get(reason)
    if reason == "FailedMount" and _NO_SOURCE.search(message):
        return "ContainerConfigError"
    return term.reason if term is not None else None


def of_pod(reason: str) -> Term | None:
    """Of a pod's ``reason``; None for one that nobody knows."""
    return POD.get(reason) or (_REFUSED if reason.startswith(_OUT_OF) else None)
