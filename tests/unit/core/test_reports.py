"""What others have reported of their clusters and operators: what ours makes of it, in whose words,
and with which remedy. Each row names the report."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.api.v1alpha1 import REASONS
from trainingjob.core import Observation, PodEvent, PodView, Settings, diagnose, ownership, status

from .world import at, ended, job, own_status, running, stamp, world

NAME = "digits-train-1-0"
PULL = 'failed to pull and unpack image "r.test/x:1": '
OWN: Any = object()  # the remedy of the reason itself


def view(**found: Any) -> PodView:
    labels = {f"trainingjob.dev/{key}": value for key, value in MARKS.items()}
    meta = {"name": NAME, "labels": labels, "creationTimestamp": stamp(0)}
    return PodView.from_dict({"metadata": meta, "spec": {"nodeName": "gpu-7"}, "status": found})


MARKS = {"stage": "train", "attempt": "1", "index": "0"}


def waits(reason: str, message: str) -> PodView:
    wait = {"waiting": {"reason": reason, "message": message}}
    return view(phase="Pending", containerStatuses=[{"name": "train", "state": wait}])


def pull(message: str) -> PodView:
    return waits("ErrImagePull", PULL + message)


def scheduling(message: str, reason: str = "Unschedulable") -> PodView:
    told = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return view(phase="Pending", conditions=[told])


def died(code: int, message: str = "", reason: str = "Error", **more: Any) -> PodView:
    end = {"exitCode": code, "reason": reason, "message": message, "finishedAt": stamp(9)}
    end["startedAt"] = stamp(5)
    own = [{"name": "train", "state": {"terminated": end}}]
    return view(phase="Failed", containerStatuses=own, **more)


NODES = "0/4 nodes are available: "
PODS = [
    # Registries: what may pass is waited for, what does not is not.
    ("jenkinsci/helm-charts#1586", pull("failed to copy: 429 Too Many Requests"), "Registry", OWN),
    (
        "flyteorg/flyte#7362",
        waits(
            "ImagePullBackOff", f"Back-off pulling image: ErrImagePull: {PULL}429 Too Many Requests"
        ),
        "Registry",
        OWN,
    ),
    ("a registry that is down", pull("dial tcp 10.0.0.9:443: connection refused"), "Registry", OWN),
    ("its gateway", pull("unexpected status: 503 Service Unavailable"), "Registry", OWN),
    ("a node's disk", pull("write /var/lib/x: no space left on device"), "Registry", OWN),
    ("the kubelet's own word", waits("RegistryUnavailable", "x"), "Registry", OWN),
    ("a typo, or its DNS", pull("dial tcp: lookup r.test: no such host"), "ImagePull", OWN),
    ("a DNS that is slow", pull("dial tcp: lookup r.test: i/o timeout"), "ImagePull", OWN),
    ("its number is no status", pull("r.test/x:1.503 : not found"), "ImagePull", OWN),
    ("no rights", pull("unexpected status: 401 Unauthorized"), "ImagePull", OWN),
    ("no such tag", pull("r.test/x:1: not found"), "ImagePull", OWN),
    ("argoproj/argoproj#56", pull("no match for platform in manifest"), "ImagePull", "io/arch"),
    ("its certificate", pull("tls: x509: unknown authority"), "ImagePull", "trust"),
    # Nodes that are slow with a container, and programs for other nodes.
    (
        "containerd/containerd#4604",
        waits("CreateContainerError", 'name "train_x_0" is reserved for "abc"'),
        "StartFailed",
        OWN,
    ),
    (
        "amazonlinux/amazon-linux-2023#1097",
        waits("CreateContainerError", "context deadline exceeded"),
        "StartFailed",
        OWN,
    ),
    ("a bad mount", waits("CreateContainerError", "no such x"), "ContainerConfigError", OWN),
    (
        "argoproj/argo-workflows#2482",
        died(1, 'standard_init_linux.go:190: exec user process caused "exec format error"'),
        "CommandNotFound",
        "kubernetes.io/arch",
    ),
    (
        "Skarlso/crd-bootstrap#113",
        died(255, "exec /manager: exec format error      \n"),
        "CommandNotFound",
        "kubernetes.io/arch",
    ),
    ("code that says so", died(1, "a\nexec /x: exec format error"), "ScriptFailed", OWN),
    (
        "more than Linux takes",
        died(128, 'exec: "/bin/sh": argument list too long', "StartError"),
        "ContainerConfigError",
        "shorten args",
    ),
    # Schedulers, and what they say of nodes and claims.
    ("volcano-sh/volcano#2416", scheduling("not ready", "Undetermined"), "Unschedulable", OWN),
    ("volcano-sh/volcano#3976", scheduling("not ready", "Schedulable"), "Unschedulable", OWN),
    (
        "kubeflow/kubeflow#5275",
        scheduling(
            f"{NODES}1 node(s) had untolerated taint {{nvidia.com/gpu: present}}, 3 Insufficient "
            "nvidia.com/gpu. preemption: 0/4 nodes are available"
        ),
        "Unschedulable",
        "free resources, ask for less, or tolerate nvidia.com/gpu in template.tolerations",
    ),
    (
        "control planes take no jobs",
        scheduling(
            f"{NODES}1 node(s) had untolerated taint {{node-role.kubernetes.io/control-plane: }}, "
            "3 Insufficient memory"
        ),
        "Unschedulable",
        OWN,
    ),
    *(
        (
            what,
            scheduling(f"{NODES}4 node(s) had untolerated taint {{{taint}: }}"),
            "Unschedulable",
            "; see to the nodes that take no pods",
        )
        for what, taint in (
            ("kubernetes/kubernetes#118286", "node.kubernetes.io/unreachable"),
            ("kubernetes/autoscaler#4456", "ToBeDeletedByClusterAutoscaler"),
            ("a CNI that starts", "node.cilium.io/agent-not-ready"),
        )
    ),
    (
        "aws/karpenter-provider-aws#2971",
        scheduling(f"{NODES}4 node(s) had volume node affinity conflict"),
        "Unschedulable",
        "; use a volume that these nodes reach",
    ),
    (
        "kubernetes/kubernetes#81020",
        scheduling(f"{NODES}4 node(s) didn't match Pod's node affinity/selector"),
        "Unschedulable",
        "; correct template.nodeSelector",
    ),
    (
        "google/dranet#30",
        scheduling('resourceclaim "gpu" not found'),
        "Unschedulable",
        "template.resourceClaims",
    ),
    (
        "kubernetes/kubernetes#89910",
        scheduling('persistentvolumeclaim "data" is being deleted'),
        "ClaimMissing",
        "anew once it is gone",
    ),
    (
        "kubernetes/kubernetes#105245",
        scheduling('persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"'),
        "ClaimMissing",
        "its volume is lost",
    ),
    # Who ended it.
    ("kubeflow/spark-operator#2775", died(143), "ProcessKilled", OWN),
    ("argoproj/argo-workflows#3374", died(137), "ProcessKilled", OWN),
    ("a crash of its own", died(139), "ScriptFailed", OWN),
    ("no signal, but exit -1", died(255, "fatal"), "ScriptFailed", OWN),
]


@pytest.mark.parametrize(("what", "pod", "reason", "remedy"), PODS, ids=[row[0] for row in PODS])
def test_what_a_pod_shows(what: str, pod: PodView, reason: str, remedy: Any) -> None:
    found = diagnose.waiting_of(pod) or diagnose.failure_of(pod)
    assert found is not None
    assert found.reason.startswith(reason)
    told = found.with_remedy()
    assert (REASONS[found.reason].remedy if remedy is OWN else remedy) in told
    assert remedy is OWN or REASONS[found.reason].remedy not in told


EVENTS = [
    ("volcano-sh/volcano#1894", 'configmap "train-code" not found', "ContainerConfigError", OWN),
    ("a Secret", 'for volume "k" : secret "keytab" not found', "ContainerConfigError", OWN),
    ("a key", "references non-existent config key: a.py", "ContainerConfigError", OWN),
    ("kubernetes/kubernetes#93563", "Multi-Attach error", "StartFailed", "ReadWriteMany"),
    ("no CSI driver", "not in the list of registered CSI drivers", "StartFailed", "CSI driver"),
    ("a server that refuses", "mount.nfs: access denied by server", "StartFailed", OWN),
]


@pytest.mark.parametrize(("what", "message", "reason", "remedy"), EVENTS)
def test_what_events_tell_of_a_mount(what: str, message: str, reason: str, remedy: Any) -> None:
    found = diagnose.explained(view(phase="Pending"), PodEvent("FailedMount", message))
    assert found is not None
    assert found.reason == reason
    assert (REASONS[found.reason].remedy if remedy is OWN else remedy) in found.with_remedy()


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("no PriorityClass with name high was found", "template.priorityClassName"),
        ("unable to validate against any security context constraint", "given a security context"),
        ("because it is being terminated", "its namespace is being deleted"),
        ("maximum cpu usage per Container is 1", REASONS["PodRefused"].remedy),
    ],
)
def test_what_the_api_server_refuses_says_what_to_do_about_it(message: str, remedy: str) -> None:
    found = diagnose.refusal_of(NAME, message)
    assert found.reason == "PodRefused"
    assert remedy in diagnose.with_remedy(found.reason, found.message)


def test_a_queue_that_may_not_be_there_says_where_to_look() -> None:
    """kubernetes-sigs/kueue#1352."""
    labels = {f"trainingjob.dev/{key}": value for key, value in MARKS.items()}
    for gate, remedy in (
        ("kueue.x-k8s.io/admission", "no LocalQueue of that name"),
        ("theirs/gate", REASONS["SchedulingGated"].remedy),
    ):
        spec = {"schedulingGates": [{"name": gate}]}
        pod = {"metadata": {"name": NAME, "labels": labels}, "spec": spec, "status": {}}
        found = diagnose.waiting_of(PodView.from_dict(pod))
        assert found is not None
        assert remedy in found.with_remedy()


def test_exit_codes_beyond_all_signals_are_none() -> None:
    found = diagnose.failure_of(died(255, "fatal"))
    assert found is not None
    assert (found.exit_code, found.signal) == (255, None)
    assert "exited with code 255" in found.message
    crash = diagnose.failure_of(died(139))
    assert crash is not None and "died of signal SIGSEGV" in crash.message


@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_pod_that_somebody_deleted_is_lost_however_its_program_took_it(code: int) -> None:
    pod = died(code).__dict__ | {"deleting": True, "phase": "Failed"}
    found = diagnose.failure_of(PodView(**pod))
    assert found is not None
    assert found.reason == "PodLost"
    assert "was deleted" in found.message


WORDS = "Pod is evicted, because of preempt"


@pytest.mark.parametrize(
    "told",
    [
        {"type": "TerminationTarget", "status": "True", "reason": "StoppedByX", "message": WORDS},
        {"type": "Ready", "status": "False", "reason": "Evict", "message": WORDS},
    ],
    ids=["marin-community/marin#7806", "volcano-sh/volcano#2560"],
)
def test_a_queue_that_preempts_is_charged_to_nobody(told: dict[str, str]) -> None:
    """Kueue and Volcano say so by conditions of their own, then delete the pod."""
    w = world()
    w.finish("preprocess")
    for pod in w.of("train"):
        running(pod, w.seconds)
    w.settle()
    pod = w.of("train")[0]
    pod["status"]["conditions"] = [told]
    pod["metadata"]["deletionTimestamp"] = stamp(w.seconds + 30)
    w.record()
    stage = w.stage("train")
    counts = {"infrastructure": 0, "application": 0, "disruption": 1}
    assert (stage["attempt"], stage["failures"]) == (2, counts)
    assert w.status["lastFailure"]["reason"] == "Disrupted"
    assert WORDS in w.status["lastFailure"]["message"]


def test_a_queue_that_tidies_up_does_not_undo_what_was_done() -> None:
    w = world()
    pod = w.of("preprocess")[0]
    ended(pod, 5, code=0)
    told = {"type": "TerminationTarget", "status": "True", "lastTransitionTime": stamp(9)}
    pod["status"]["conditions"] = [told]
    assert PodView.from_dict(pod).phase == "Succeeded"


def test_a_registry_that_is_out_of_breath_has_the_time_of_the_startup_deadline() -> None:
    w = world()
    pod = w.of("preprocess")[0]
    state = {"waiting": {"reason": "ErrImagePull", "message": "429 Too Many Requests"}}
    pod["status"] = {"phase": "Pending", "containerStatuses": [own_status(pod, state)]}
    for seconds in (10, 599):
        w.seconds = seconds
        w.settle()
        assert (w.status["phase"], w.status["reason"]) == ("Preprocessing", "RegistryUnavailable")
    w.seconds = 600
    w.settle()
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "StartupDeadlineExceeded")
    assert "429 Too Many Requests" in w.status["message"]


@pytest.mark.parametrize(
    ("serves", "told"), [(True, "0 of 2 executors run: the driver has made none"), (False, "")]
)
def test_a_driver_that_may_make_no_executors_says_where_to_look(serves: bool, told: str) -> None:
    """kubeflow/spark-operator#2790, #810: what a quota refuses a driver, it tells its log alone."""
    w = world(preprocess={"input": {"uri": "pvc://d/in.csv", "format": "csv"}, "engine": "spark"})
    w.settings = Settings(serves=serves)
    running(w.of("preprocess")[0], 10)
    for seconds, message in ((299, ""), (300, told)):
        w.seconds = seconds
        w.settle()
        assert (w.status["phase"], w.status["reason"]) == ("Preprocessing", "Running")
        assert w.status["message"].startswith(message)
        assert bool(w.status["message"]) == bool(message)


def test_what_has_an_executor_is_not_late() -> None:
    w = world(preprocess={"input": {"uri": "pvc://d/in.csv", "format": "csv"}, "engine": "spark"})
    running(w.of("preprocess")[0], 10)
    seen = w.observe()
    made = PodView("e", "u", "preprocess", 1, -1, "Running")
    found = status(Observation(job=seen.job, pods=seen.pods, executors=(made,)), at(500))
    assert (found.reason, found.message) == ("Running", "")


def test_whose_an_object_is_that_is_in_the_way() -> None:
    """kubernetes/kubernetes#131917: a job is made anew while its predecessor's pods still go."""
    made = job()
    meta: dict[str, Any] = {"namespace": "team", "deletionTimestamp": stamp(0)}
    owner = {"apiVersion": "trainingjob.dev/v1alpha1", "kind": "TrainingJob", "controller": True}
    meta["ownerReferences"] = [owner | {"name": "digits", "uid": "uid-0"}]
    words = ownership.whose(made, {"metadata": meta})
    assert words == "is of an earlier TrainingJob of this name, and is being deleted"
    told = diagnose.conflict_of(NAME, "Pod", words)
    assert "nothing, if it goes by itself" in diagnose.with_remedy(told.reason, told.message)
    meta["ownerReferences"] = [owner | {"name": "other", "uid": "uid-0"}]
    assert ownership.whose(made, {"metadata": meta}) == "belongs to TrainingJob other"
    assert ownership.whose(made, {"metadata": {"namespace": "team"}}) == "is not of this job"
