"""Pods that somebody else has made, as good as they can: under the chart's rights, on a real API
server. The kubelet's part, the status of a forged pod, is an admin's here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster import behaviour
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.podstatus import report
from tests.cluster.wait import wait_for
from tests.tables import tell
from trainingjob.core.signing import key_id

from .harness import Namespace, manifest, operator
from .test_operator_refusals import POLICIES
from .test_progress import to_listen
from .test_rbac import RELEASE, applied, rendered

SECRET = f"{RELEASE}-status"
DATASET = {"nodes": 1, "model": {"mlp": {}}, "dataset": {"uri": "pvc://datasets/digits"}}


@pytest.fixture
def home(control_plane: ControlPlane) -> Iterator[tuple[str, str]]:
    """The operator's namespace, and the user that it is there."""
    name = control_plane.namespace()
    objects = rendered(control_plane, name, "namespaces=null")
    yield name, applied(control_plane, name, objects)
    control_plane.kubectl("delete", "-f", "-", input=yaml.safe_dump_all(objects))


def served(control_plane: ControlPlane, home: tuple[str, str], space: str, key: bool = True) -> Any:
    """An operator of that namespace and of its neighbours; ``key``: it signs its pods."""
    arguments = to_listen("127.0.0.1", home[0], SECRET) if key else ()
    return operator(control_plane, user=home[1], arguments=arguments)


def mallory(control_plane: ControlPlane, namespace: str) -> str:
    """Somebody who may make pods there, and nothing else anywhere."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "delete"]}
    subject = {"kind": "ServiceAccount", "name": "mallory", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mallory"}
    group = "/apis/rbac.authorization.k8s.io/v1"
    for path, body in (
        (f"/api/v1/namespaces/{namespace}/serviceaccounts", {}),
        (f"{group}/namespaces/{namespace}/roles", {"rules": [rule]}),
        (f"{group}/namespaces/{namespace}/rolebindings", {"subjects": [subject], "roleRef": role}),
    ):
        made = {"metadata": {"name": "mallory"}} | body
        status, answer = control_plane.request("POST", path, made)
        assert status == 201, answer
    control_plane.service_account_kubeconfig(namespace, "mallory")
    return f"system:serviceaccount:{namespace}:mallory"


def forge(
    space: Namespace,
    user: str,
    job: dict[str, Any],
    name: str,
    attempt: str | None = None,
    over: bool = True,
) -> dict[str, Any]:
    """A pod with our labels and owner, which stays whatever the garbage collector wants; over, it
    tells of a result elsewhere."""
    meta = job["metadata"]
    stage, number, index = name.removeprefix(f"{meta['name']}-").split("-")
    wanted = {
        "metadata": {
            "name": name,
            "labels": {
                "trainingjob.dev/job": meta["name"],
                "trainingjob.dev/stage": stage,
                "trainingjob.dev/attempt": attempt or number,
                "trainingjob.dev/index": index,
            },
            "ownerReferences": [
                {
                    "apiVersion": "trainingjob.dev/v1alpha1",
                    "kind": "TrainingJob",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                }
            ],
            "finalizers": ["mallory.test/stay"],
        },
        "spec": {"containers": [{"name": stage, "image": "evil"}]},
    }
    status, made = space.control_plane.request("POST", space.path("pods"), wanted, user=user)
    assert status == 201, made
    if over:
        message = json.loads(report(made, {"accuracy": 1.0}) or "{}")
        message["result"]["outputs"]["uri"] = "pvc://evil/model"
        state = {"exitCode": 0, "message": json.dumps(message), "reason": "Completed"}
        container = {"name": stage, "image": "evil", "imageID": "", "ready": False}
        container |= {"restartCount": 0, "state": {"terminated": state}}
        told = {"phase": "Succeeded", "containerStatuses": [container]}
        space.patch("pods", name, {"status": told}, "status")
    return made


def let_go(space: Namespace, name: str) -> None:
    space.patch("pods", name, {"metadata": {"finalizers": None}})
    space.delete("pods", name)


def touch(space: Namespace, name: str) -> None:
    """The operator looks at the job."""
    space.patch("trainingjobs", name, {"metadata": {"annotations": {"touched": str(time.time())}}})


@pytest.mark.parametrize("over", [True, False], ids=["that are over", "that are not"])
def test_pods_of_another_namespace_are_nothing_to_a_job(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str, over: bool
) -> None:
    victim = Namespace(control_plane, namespace)
    tenant = Namespace(control_plane, control_plane.namespace())
    user = mallory(control_plane, tenant.name)
    forbidden, _ = control_plane.request("GET", victim.path("trainingjobs"), user=user)
    assert forbidden == 403
    with (
        FakeKubelet(control_plane, [namespace], 0.05, lambda _: behaviour.run()) as kubelet,
        served(control_plane, home, namespace),
    ):
        victim.run(manifest("gate", preprocess=None, train=DATASET))
        victim.wait("gate", phase="Training", reason="Running")
        before = {pod["metadata"]["uid"] for pod in victim.list("pods")}
        job = victim.job("gate")
        # The same names as the true ones have, and attempts that nobody has begun.
        for name in ("gate-train-1-0", "gate-evaluate-1-0", "gate-train-7-0", "gate-evaluate-5-0"):
            forge(tenant, user, job, name, over=over)
        touch(victim, "gate")
        kubelet.tell("gate-train-1-0", behaviour.succeed(), namespace)
        victim.wait("gate", phase="Evaluating", reason="Running")
        assert before <= {pod["metadata"]["uid"] for pod in victim.list("pods")}
        kubelet.tell("gate-evaluate-1-0", behaviour.succeed(), namespace)
        status = victim.wait("gate", phase="Succeeded")

        assert [stage["attempt"] for stage in status["stages"]] == [1, 1]
        assert status["evaluation"]["metrics"][0]["value"] < 1
        places = [stage["outputs"]["uri"] for stage in status["stages"]]
        assert all(place.startswith("pvc://training/runs/") for place in places)
        assert victim.pods() == ["gate-evaluate-1-0", "gate-train-1-0"]
        for name in tenant.pods():
            let_go(tenant, name)
    control_plane.request("DELETE", f"/api/v1/namespaces/{tenant.name}")


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without a key"])
def test_pods_of_attempts_that_nobody_has_begun_are_nothing_to_a_job(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str, key: bool
) -> None:
    space = Namespace(control_plane, namespace)
    user = mallory(control_plane, namespace)
    with (
        FakeKubelet(control_plane, [namespace], 0.05, lambda _: behaviour.run()) as kubelet,
        served(control_plane, home, namespace, key),
    ):
        space.run(manifest("gate", preprocess=None, train=DATASET))
        space.wait("gate", phase="Training", reason="Running")
        job = space.job("gate")
        forge(space, user, job, "gate-train-7-0")
        forge(space, user, job, "gate-train-1-9")
        forge(space, user, job, "gate-train-8-0", attempt="9" * 60)
        touch(space, "gate")
        kubelet.tell("gate-train-1-0", behaviour.succeed(), namespace)
        space.wait("gate", phase="Evaluating", reason="Running")
        kubelet.tell("gate-evaluate-1-0", behaviour.succeed(), namespace)
        status = space.wait("gate", phase="Succeeded")

        assert [stage["attempt"] for stage in status["stages"]] == [1, 1]
        assert "gate-train-7-0" in space.pods(), "it is left as it is"
        for name in ("gate-train-7-0", "gate-train-1-9", "gate-train-8-0"):
            let_go(space, name)


def test_a_pod_that_takes_the_name_of_ours_before_we_do_is_not_believed(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str
) -> None:
    space = Namespace(control_plane, namespace)
    user = mallory(control_plane, namespace)
    with (
        FakeKubelet(control_plane, [namespace], 0.05, lambda _: behaviour.run()) as kubelet,
        served(control_plane, home, namespace),
    ):
        space.run(manifest("gate", preprocess=None, train=DATASET))
        space.wait("gate", phase="Training", reason="Running")
        forge(space, user, space.job("gate"), "gate-evaluate-1-0")
        kubelet.tell("gate-train-1-0", behaviour.succeed(), namespace)
        begun = time.monotonic()
        status = space.wait("gate", reason="NameConflict")
        tell("a pod that somebody else made in our name", time.monotonic() - begun, status)
        assert "a Pod gate-evaluate-1-0 that this operator has not made" in status["message"]
        assert "evaluation" not in status

        let_go(space, "gate-evaluate-1-0")
        space.wait("gate", phase="Evaluating", reason="Running", seconds=90)
        kubelet.tell("gate-evaluate-1-0", behaviour.succeed(), namespace)
        status = space.wait("gate", phase="Succeeded")
        assert status["evaluation"]["metrics"][0]["value"] < 1


@pytest.mark.parametrize("what", ["before us did not sign", "before us had another key"])
def test_pods_of_the_operator_before_us_go_on(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str, what: str
) -> None:
    space = Namespace(control_plane, namespace)
    with FakeKubelet(control_plane, [namespace], 0.05, lambda _: behaviour.run()) as kubelet:
        with served(control_plane, home, namespace, key="another" in what):
            space.run(manifest("gate", preprocess=None, train=DATASET))
            space.wait("gate", phase="Training", reason="Running")
        first = space.stage("gate", "train").get("signer")
        assert (first is None) is ("another" not in what)
        if "another" in what:
            path = f"/api/v1/namespaces/{home[0]}/secrets/{SECRET}"
            status, answer = control_plane.request("PATCH", path, {"data": None})
            assert status == 200, answer
        with served(control_plane, home, namespace):
            touch(space, "gate")
            kubelet.tell("gate-train-1-0", behaviour.succeed(), namespace)
            space.wait("gate", phase="Evaluating", reason="Running")
            kubelet.tell("gate-evaluate-1-0", behaviour.succeed(), namespace)
            status = space.wait("gate", phase="Succeeded")
    assert [stage["attempt"] for stage in status["stages"]] == [1, 1]
    assert len(status["stages"][1]["signer"]) == len(key_id(b""))
    assert status["stages"][1]["signer"] != first


def test_a_policy_that_alters_our_labels_is_told(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str
) -> None:
    space = Namespace(control_plane, namespace)
    # A pod that is of no use is deleted before a kubelet has started it.
    fates = [behaviour.never()]
    with (
        FakeKubelet(control_plane, [namespace], 0.05, lambda _: fates[-1]),
        served(control_plane, home, namespace),
    ):
        alter_pods(space, RELABELLED)
        space.run(manifest("gate", preprocess=None, evaluate=None, train=DATASET))
        begun = time.monotonic()
        status = space.wait("gate", reason="PodAltered")
        tell("a policy that alters our labels", time.monotonic() - begun, status)
        words = "alters pod gate-train-1-0: label trainingjob.dev/index changed to 'x'"
        assert words in status["message"]
        wait_for("the pod to be gone", lambda: space.pods() == [])
        for kind in ("policies", "policybindings"):
            path = f"{POLICIES}/mutatingadmission{kind}/relabel-{space.name}"
            control_plane.request("DELETE", path)
        fates.append(behaviour.succeed())
        status = space.wait("gate", phase="Succeeded", seconds=90)
        assert status["stages"][0]["attempt"] == 1


def test_a_queue_may_hold_pods_back_by_a_gate(
    control_plane: ControlPlane, home: tuple[str, str], namespace: str
) -> None:
    """For as long as it takes: the startup deadline counts from when it lets go."""
    space, never = Namespace(control_plane, namespace), behaviour.never()
    policy = {"startupDeadlineSeconds": 1}
    with (
        FakeKubelet(control_plane, [namespace], 0.05, lambda _: never),
        served(control_plane, home, namespace),
    ):
        alter_pods(space, GATED)
        begun = time.monotonic()
        space.run(manifest("gate", preprocess=None, evaluate=None, train=DATASET, policy=policy))
        status = space.wait("gate", reason="SchedulingGated")
        tell("a queue's gate on a pod", time.monotonic() - begun, status)
        assert "gate-train-1-0 waits for the scheduling gate queue.test/turn" in status["message"]
        wait_for("its deadline to be over", lambda: time.monotonic() > begun + 3)
        assert space.status("gate")["reason"] == "SchedulingGated"
        space.patch("pods", "gate-train-1-0", {"spec": {"schedulingGates": None}})
        space.wait("gate", phase="Failed", reason="StartupDeadlineExceeded")


RELABELLED = 'Object{metadata: Object.metadata{labels: {"trainingjob.dev/index": "x"}}}'
GATED = (
    "Object{spec: Object.spec{schedulingGates: "
    '[Object.spec.schedulingGates{name: "queue.test/turn"}]}}'
)


def alter_pods(space: Namespace, change: str) -> None:
    """By a policy of the cluster."""
    name = f"relabel-{space.name}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    spec = {
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule | {"resources": ["pods"]}]},
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": change}}
        ],
    }
    match = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
    binding = {"policyName": name, "matchResources": {"namespaceSelector": match}}
    for kind, body in (("policies", spec), ("policybindings", binding)):
        path = f"{POLICIES}/mutatingadmission{kind}"
        made = {"metadata": {"name": name}, "spec": body}
        status, answer = space.control_plane.request("POST", path, made)
        assert status == 201, answer
    probe = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}

    def holds() -> bool:
        path = space.path("pods") + "?dryRun=All"
        _, answer = space.control_plane.request("POST", path, probe)
        return bool(answer["metadata"].get("labels") or answer["spec"].get("schedulingGates"))

    wait_for("the policy to hold", holds)
