"""Which pods count as those of a job's Deployment: all above them must be the job's."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.cluster import Cache
from trainingjob.cluster.resources import BY_KIND

KEY = ("team", "digits")
LABELS = {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "deploy"}
ROLLOUT = {"trainingjob.dev/rollout": "now"}


def owned(kind: str, name: str, uid: str, version: str = "apps/v1") -> list[dict[str, Any]]:
    return [
        {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True},
    ]


def template() -> dict[str, Any]:
    return {"replicas": 2, "template": {"metadata": {"labels": LABELS | ROLLOUT}}}


class World:
    """A Deployment, its ReplicaSet and a pod of that, each of which a test may change."""

    name = "digits"  # of the Deployment that the job asks for

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            "Deployment": {
                "metadata": self.meta("digits", "d")
                | {"annotations": {"trainingjob.dev/kept": "true"}},
                "spec": template(),
            },
            "ReplicaSet": {
                "metadata": self.meta("digits-7f", "r")
                | {"ownerReferences": owned("Deployment", "digits", "d")},
                "spec": template(),
            },
            "Pod": {
                "metadata": self.meta("digits-7f-x", "p")
                | {"ownerReferences": owned("ReplicaSet", "digits-7f", "r")},
                "status": {"phase": "Running"},
            },
        }

    def meta(self, name: str, uid: str) -> dict[str, Any]:
        labels = LABELS | ROLLOUT
        base = {"name": name, "namespace": "team", "uid": uid, "resourceVersion": "5"}
        return base | {"labels": labels}

    def seen(self) -> list[str]:
        cache = Cache()
        for kind, obj in self.objects.items():
            cache.apply(BY_KIND[kind], obj)
        assert cache.pods(KEY, "uid-1") == (), "they are none of a stage's own"
        assert cache.reporter(("team", "digits-7f-x"), "p") is None
        return [pod.name for pod in cache.servers(KEY, cache.children(KEY, "uid-1"), self.name)]


def test_pods_of_the_present_template_are_found() -> None:
    assert World().seen() == ["digits-7f-x"]


def test_so_are_those_of_a_deployment_that_goes_with_its_job() -> None:
    world = World()
    meta = world.objects["Deployment"]["metadata"]
    del meta["annotations"]
    owner = owned("TrainingJob", "digits", "uid-1", "trainingjob.dev/v1alpha1")
    meta["ownerReferences"] = owner
    assert world.seen() == ["digits-7f-x"]
    owner[0]["uid"] = "uid-of-the-job-before"
    assert world.seen() == []


FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    "a ReplicaSet of another Deployment": (
        "ReplicaSet",
        {"ownerReferences": owned("Deployment", "digits", "other")},
    ),
    "a ReplicaSet of nobody": ("ReplicaSet", {"ownerReferences": []}),
    "a pod of another ReplicaSet": (
        "Pod",
        {"ownerReferences": owned("ReplicaSet", "digits-7f", "other")},
    ),
    "a pod of nobody": ("Pod", {"ownerReferences": []}),
    "a pod that says to be of the Deployment": (
        "Pod",
        {"ownerReferences": owned("Deployment", "digits", "d")},
    ),
    "a pod of another group's ReplicaSet": (
        "Pod",
        {"ownerReferences": owned("ReplicaSet", "digits-7f", "r", "their.dev/v1")},
    ),
    "a Deployment that says nothing of a job": ("Deployment", {"annotations": {}}),
    "a Deployment of another stage's labels": (
        "Deployment",
        {"labels": {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "train"}},
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_others_make_is_not(case: str) -> None:
    kind, change = FORGED[case]
    world = World()
    world.objects[kind]["metadata"] |= change
    assert world.seen() == []


def test_pods_of_a_deployment_that_the_job_has_left_under_another_name_do_not_count() -> None:
    world = World()
    world.name = "digits-v2"
    assert world.seen() == []


def test_pods_of_the_template_before_do_not_count() -> None:
    world = World()
    old = {**template(), "template": {"metadata": {"labels": LABELS | {"x": "y"}}}}
    world.objects["ReplicaSet"]["spec"] = old
    assert world.seen() == []


def test_a_kept_object_is_no_child_of_a_gang() -> None:
    """Who may make Services cannot have a gang take one for its own by our annotation."""
    cache = Cache()
    labels = {"trainingjob.dev/job": "digits", "trainingjob.dev/stage": "train"}
    meta = World().meta("digits-train", "s") | {"labels": labels}
    meta["annotations"] = {"trainingjob.dev/kept": "true"}
    cache.apply(BY_KIND["Service"], {"metadata": meta})
    assert cache.children(KEY, "uid-1") == ()


def test_deployments_of_a_namespace_are_known_whatever_job_holds_them() -> None:
    cache = Cache()
    for namespace, job in (("team", "digits"), ("team", "live"), ("other", "digits")):
        obj = World().objects["Deployment"]
        labels = LABELS | {"trainingjob.dev/job": job}
        meta = {"name": job, "namespace": namespace, "uid": f"{namespace}-{job}", "labels": labels}
        cache.apply(BY_KIND["Deployment"], obj | {"metadata": obj["metadata"] | meta})
    assert [view.name for view in cache.deployments("team")] == ["digits", "live"]
    assert cache.deployments("nobody") == ()


class OfKServe(World):
    """An InferenceService above the Deployment, which KServe has made."""

    def __init__(self) -> None:
        super().__init__()
        meta, kserve = self.meta("digits", "i"), "serving.kserve.io/v1beta1"
        made = self.objects.pop("Deployment")
        made["metadata"] = self.meta("digits-predictor", "d") | {
            "ownerReferences": owned("InferenceService", "digits", "i", kserve)
        }
        self.objects["ReplicaSet"]["metadata"]["ownerReferences"] = owned(
            "Deployment", "digits-predictor", "d"
        )
        pod = self.objects["Pod"]
        pod["metadata"]["labels"] |= {"serving.kserve.io/inferenceservice": "digits"}
        own = {"name": "kserve-container", "state": {"terminated": {"exitCode": 3}}}
        pod["status"]["containerStatuses"] = [own]
        service = {
            "metadata": meta | {"annotations": {"trainingjob.dev/kept": "true"}},
            "spec": {"predictor": {"minReplicas": 2, "labels": ROLLOUT}},
        }
        self.objects = {"InferenceService": service, "Deployment": made, **self.objects}


def test_kserves_deployment_and_its_pods_are_those_of_the_job() -> None:
    world = OfKServe()
    assert world.seen() == ["digits-7f-x"]
    cache = Cache()
    changed = [cache.apply(BY_KIND[kind], obj) for kind, obj in world.objects.items()]
    assert changed == [KEY] * 4, "each of them has the job looked at"
    children = cache.children(KEY, "uid-1")
    found = [(child.kind, child.name, child.rollout, child.replicas) for child in children]
    assert found == [
        ("Deployment", "digits-predictor", "now", 2),
        ("InferenceService", "digits", "now", 2),
    ]
    (pod,) = cache.servers(KEY, children, "digits")
    assert pod.exit_code == 3, "our container has the name that KServe wants"
    assert [view.name for view in cache.deployments("team")] == ["digits-predictor", "digits"]


ODD: list[dict[str, Any]] = [
    {"predictor": {"minReplicas": None}},
    {"predictor": {"minReplicas": "x", "labels": ["a"]}},
    {"predictor": "none", "template": 7},
]


@pytest.mark.parametrize("spec", ODD, ids=str)
def test_one_that_is_odd_is_read_all_the_same(spec: dict[str, Any]) -> None:
    """A CRD that somebody else installs may let anything pass."""
    cache, odd = Cache(), OfKServe().objects["InferenceService"] | {"spec": spec, "status": []}
    cache.apply(BY_KIND["InferenceService"], odd)
    (child,) = cache.children(KEY, "uid-1")
    assert (child.replicas, child.rollout, child.status) == (1, "", {})


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "Pod"])
def test_what_others_make_below_an_inference_service_is_not(kind: str) -> None:
    world = OfKServe()
    world.objects[kind]["metadata"]["ownerReferences"][0]["uid"] = "other"
    assert world.seen() == []
