"""What accounts ask of the API itself: pods that pass for ours, and what drivers may not do."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

from tests.integration.tenants import PODS, Tenants, executor, pod_of

from .probe import Probe

_DRY = PODS + "?dryRun=All"
_MERGE = "application/merge-patch+json"
_BARE = {"containers": [{"name": "a", "image": "b"}]}
_MARKS = ("job", "stage", "attempt", "index", "role")


def marks(tenants: Tenants) -> Iterator[Probe]:
    """Pods that bear the marks of a job's, made or changed by anybody but the operator."""
    forged = {
        f"the label {name}, {value}": {"labels": {f"trainingjob.dev/{name}": value}}
        for name, value in itertools.product(_MARKS, ("1", "train", "executor"))
    }
    forged["an owner"] = {"ownerReferences": pod_of("a")["metadata"]["ownerReferences"]}
    forged["what serves, and an index"] = {
        "labels": {"trainingjob.dev/stage": "deploy", "trainingjob.dev/index": "0"}
    }
    for (what, meta), who in itertools.product(forged.items(), ("admin", "pods")):
        user = who if who == "admin" else tenants.user(who)
        pod = {"metadata": {"name": "plain"} | meta, "spec": _BARE}
        yield Probe("marks", who, f"makes {what}", user, "POST", _DRY, pod)
        path = f"{PODS}/theirs"
        yield Probe("marks", who, f"gives {what}", user, "PATCH", path, {"metadata": meta}, _MERGE)
    for name in _MARKS:
        gone = {"metadata": {"labels": {f"trainingjob.dev/{name}": None}}}
        path = f"{PODS}/one-preprocess-1-0"
        what = f"takes the label {name} from a driver"
        if name != "role":
            yield Probe("marks", "admin", what, "admin", "PATCH", path, gone, _MERGE)
    labels = {"trainingjob.dev/job": "a", "trainingjob.dev/stage": "deploy", "team": "a"}
    pod = {"metadata": {"name": "plain", "labels": labels}, "spec": _BARE}
    user = tenants.user("pods")
    # As a ReplicaSet's controller makes it; without a Deployment of a job's own it is nobody's.
    yield Probe("marks", "pods", "a pod that serves", user, "POST", _DRY, pod, taken=True)
    yield Probe(
        "marks", "operator", "a driver", tenants.operator, "POST", _DRY, pod_of("a"), taken=True
    )


def drivers(tenants: Tenants, driver: str, owner: dict[str, str]) -> Iterator[Probe]:
    """Executors that are none, by the token of a driver."""
    good = executor("one", owner)
    for what, change in _executors(owner).items():
        pod = copy.deepcopy(good)
        change(pod)
        yield Probe("driver", "spark", f"an executor {what}", driver, "POST", _DRY, pod)
    account = tenants.user("trainingjob-spark")
    yield Probe("driver", "spark", "by a token of no pod", account, "POST", _DRY, good)
    yield Probe("driver", "spark", "an executor", driver, "POST", _DRY, good, taken=True)


def _executors(owner: dict[str, str]) -> dict[str, Any]:
    def label(name: str, value: str | None) -> Any:
        def change(pod: dict[str, Any]) -> None:
            labels = pod["metadata"]["labels"]
            labels.pop(f"trainingjob.dev/{name}", None)
            if value is not None:
                labels[f"trainingjob.dev/{name}"] = value

        return change

    def owned(*owners: dict[str, Any]) -> Any:
        return lambda pod: pod["metadata"].update(ownerReferences=list(owners))

    def spec(**more: Any) -> Any:
        return lambda pod: pod["spec"].update(more)

    def volume(source: dict[str, Any], name: str = "v") -> Any:
        return spec(volumes=[{"name": name} | source])

    token = {"serviceAccountToken": {"path": "token"}}
    secret = {"secret": {"name": "theirs"}}
    of_job = pod_of("one")["metadata"]["ownerReferences"][0]
    # A good owner, and more.
    ours = owner | {"controller": True}
    return {
        **{f"without the label {name}": label(name, None) for name in ("job", "attempt", "role")},
        **{
            f"of the {name} {value}": label(name, value)
            for name, value in (("job", "two"), ("attempt", "2"), ("role", "cleaner"))
        },
        "with an index": label("index", "0"),
        "of nobody": owned(),
        "of two": owned(ours, ours | {"name": "other", "uid": "2", "controller": False}),
        "of a job": owned(of_job),
        "of another pod": owned(ours | {"uid": "2"}),
        "of another kind": owned(ours | {"kind": "Node"}),
        "with an account": spec(serviceAccountName="all"),
        "with its driver's account": spec(serviceAccountName="trainingjob-spark"),
        "with a token": spec(automountServiceAccountToken=True),
        "with a token by default": lambda pod: pod["spec"].pop("automountServiceAccountToken"),
        "with a Secret": volume({"secret": {"secretName": "theirs"}}),
        "with a Secret among others": volume({"projected": {"sources": [secret]}}),
        "with a token among others": volume({"projected": {"sources": [token]}}),
        "with its node's disk": volume({"hostPath": {"path": "/"}}),
        "with a keytab of its node's": volume({"hostPath": {"path": "/"}}, "trainingjob-keytab"),
    }


# A resource, and a body of it; POST makes one, the others change what is there.
_CORE = "/api/v1/namespaces/{}/"
_ASKED: dict[str, tuple[str, str]] = {
    "its variables by a Secret": ("GET", _CORE + "secrets/theirs"),
    "all Secrets": ("GET", _CORE + "secrets"),
    "a Secret": ("POST", _CORE + "secrets"),
    "a ConfigMap": ("POST", _CORE + "configmaps"),
    "all ConfigMaps": ("DELETE", _CORE + "configmaps"),
    "to see ConfigMaps": ("GET", _CORE + "configmaps"),
    "a Service": ("POST", _CORE + "services"),
    "no Services": ("DELETE", _CORE + "services"),
    "a claim": ("POST", _CORE + "persistentvolumeclaims"),
    "no claims": ("DELETE", _CORE + "persistentvolumeclaims"),
    "a token": ("POST", _CORE + "serviceaccounts/default/token"),
    "an account": ("POST", _CORE + "serviceaccounts"),
    "another's limits": ("POST", _CORE + "resourcequotas"),
    "an Event": ("POST", _CORE + "events"),
    "a shell in a pod": ("POST", _CORE + "pods/theirs/exec?command=sh"),
    "a port of a pod": ("POST", _CORE + "pods/theirs/portforward"),
    "a log of a pod": ("GET", _CORE + "pods/theirs/log"),
    "a node for a pod": ("POST", _CORE + "pods/theirs/binding"),
    "a pod gone": ("POST", _CORE + "pods/theirs/eviction"),
    "another container": ("PATCH", _CORE + "pods/theirs/ephemeralcontainers"),
    "another verdict of a pod": ("PATCH", _CORE + "pods/theirs/status"),
    "another pod's label": ("PATCH", _CORE + "pods/theirs"),
    "a job": ("POST", "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs"),
    "another verdict": (
        "PATCH",
        "/apis/trainingjob.dev/v1alpha1/namespaces/{}/trainingjobs/one/status",
    ),
    "a Job": ("POST", "/apis/batch/v1/namespaces/{}/jobs"),
    "a Deployment": ("POST", "/apis/apps/v1/namespaces/{}/deployments"),
    "no walls": ("DELETE", "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"),
    "a role": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"),
    "a role of another": ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"),
    "all pods of all": ("GET", "/api/v1/pods"),
    "all nodes": ("GET", "/api/v1/nodes"),
    "another namespace's pods": ("GET", "/api/v1/namespaces/kube-system/pods"),
    "a pod in another namespace": ("POST", "/api/v1/namespaces/kube-system/pods"),
    "no policies": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    ),
}
# What accounts other than a driver's may do of that, by their own rights.
_MAY = {"a job", "its variables by a Secret", "another pod's label"}


def rights(driver: str, tenants: Tenants) -> Iterator[Probe]:
    """What the driver's token, and an author who may make jobs, have no right to."""
    for (what, (method, path)), who in itertools.product(_ASKED.items(), ("spark", "jobs")):
        if who == "jobs" and what in _MAY:
            continue
        user = driver if who == "spark" else tenants.user(who)
        merge = _MERGE if method == "PATCH" else None
        body = None if method in ("GET", "DELETE") else {"metadata": {"name": "a"}}
        yield Probe("rights", who, what, user, method, path, body, merge)
