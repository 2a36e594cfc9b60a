"""The claim that is made for a job, and when one that is there is taken for it."""

from __future__ import annotations

import copy
import json
from typing import Any

import kubernetes_validate
import pytest

from trainingjob.core import Settings, claim, stages

from .world import RESULTS, ended, failed, job, world

PANDAS = {"engine": "pandas", "input": {"uri": "pvc://datasets/in.csv", "format": "csv"}}
ONE = {"preprocess": PANDAS, "train": {"model": {"mlp": {}}}}
KEPT = {"annotations": {"trainingjob.dev/kept": "true"}}
OWNER = {
    "apiVersion": "trainingjob.dev/v1alpha1",
    "kind": "TrainingJob",
    "name": "digits",
    "uid": "uid-1",
    "controller": True,
    "blockOwnerDeletion": False,
}


def made(pvc: dict[str, Any], **spec: Any) -> dict[str, Any]:
    (found,) = claim.wanted(job(storage={"pvc": pvc}, **(spec or ONE)), "preprocess")
    return found


def spec_of(size: str, mode: str, **more: str) -> dict[str, Any]:
    return {"accessModes": [mode], "resources": {"requests": {"storage": size}}, **more}


GANG_OF_TWO = {"model": {"mlp": {}}, "nodes": 2}


@pytest.mark.parametrize(
    ("pvc", "spec", "expected"),
    [
        ({"size": "10Gi"}, ONE, spec_of("10Gi", "ReadWriteOnce")),
        ({"size": 2**30}, ONE, spec_of("1073741824", "ReadWriteOnce")),
        (
            {"size": "10Gi", "storageClassName": "ssd"},
            ONE,
            spec_of("10Gi", "ReadWriteOnce", storageClassName="ssd"),
        ),
        # Spark's executors, or a gang: on several nodes.
        (
            {"size": "10Gi"},
            ONE | {"preprocess": PANDAS | {"engine": "spark"}},
            spec_of("10Gi", "ReadWriteMany"),
        ),
        ({"size": "10Gi"}, ONE | {"train": GANG_OF_TWO}, spec_of("10Gi", "ReadWriteMany")),
        (
            {"size": "10Gi", "accessModes": ["ReadWriteOnce"]},
            ONE | {"train": GANG_OF_TWO},
            spec_of("10Gi", "ReadWriteOnce"),
        ),
    ],
)
def test_a_claim_has_what_the_manifest_asks_for(
    pvc: dict[str, Any], spec: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = made(pvc, **spec)

    assert (found["metadata"]["name"], found["spec"]) == ("digits-storage", expected)
    kubernetes_validate.validate(found, "1.37", strict=True)


def test_one_that_is_kept_has_no_owner_and_the_other_goes_with_its_job() -> None:
    kept, gone = made({"size": "1Gi"}), made({"size": "1Gi", "whenDeleted": "delete"})

    assert "ownerReferences" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == KEPT["annotations"]
    assert gone["metadata"]["ownerReferences"] == [OWNER]
    assert made({"size": "1Gi", "whenDeleted": "keep"}) == kept


def test_all_stages_lie_on_it() -> None:
    found = job(storage={"pvc": {"size": "1Gi"}}, **ONE)
    for stage in stages.of(found):
        for pod in stage.pods(found, 1, Settings()):
            claims = [v.get("persistentVolumeClaim", {}) for v in pod["spec"]["volumes"]]
            assert {"claimName": "digits-storage"} in claims


def test_it_is_made_before_the_first_pod_and_by_the_first_stage_alone() -> None:
    it = world(storage={"pvc": {"size": "1Gi"}}, **ONE)
    made = ["PersistentVolumeClaim digits-storage", "NetworkPolicy digits-stages"]
    assert it.created == [*made, "digits-preprocess-1-0"]
    # Where nobody has seen it, as on a cluster, each attempt of this stage looks for it.
    it.children.clear()
    it.created.clear()
    it.finish("preprocess", lambda pod, at: failed(pod, at, "ScriptFailed"))
    it.seconds += 60
    it.settle()
    assert it.created == [*made, "digits-preprocess-2-0"]

    result = RESULTS["preprocess"] | {
        "outputs": {"uri": "pvc://digits-storage/team/digits/dataset", "digest": "sha256:1"}
    }
    it.finish("preprocess", lambda pod, at: ended(pod, at, message=json.dumps({"result": result})))
    assert it.created[3:] == ["digits-train-1-0"]


def other(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata}


def size(size: str) -> dict[str, Any]:
    return {"spec": {"resources": {"requests": {"storage": size}}}}


GANG = OWNER | {"name": "gang", "uid": "uid-7"}
LEFT_BY_ANOTHER = other(labels={"trainingjob.dev/job": "gang"})
FOUND: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "the very one": ("keep", {}, None),
    "the very one, of a job that takes it along": ("delete", {}, None),
    "somebody's own": ("keep", other(labels={}, annotations={}), "is not of this job"),
    "one with our label alone": ("keep", other(annotations={}), "is not of this job"),
    "what another job has left": ("keep", LEFT_BY_ANOTHER, "is not of this job"),
    "another job's": ("keep", other(ownerReferences=[GANG]), "belongs to TrainingJob gang"),
    "that of a job of this name before": (
        "delete",
        other(ownerReferences=[OWNER | {"uid": "uid-0"}]),
        "belongs to TrainingJob digits",
    ),
    "ours and somebody else's": (
        "delete",
        other(ownerReferences=[OWNER, GANG]),
        "belongs to TrainingJob digits, TrainingJob gang",
    ),
    "somebody's own, where it is to be deleted": (
        "delete",
        other(ownerReferences=None, labels={}),
        "is not of this job",
    ),
    "one that was kept, where it is to be deleted": (
        "delete",
        other(ownerReferences=None, **KEPT),
        "an earlier job has left, and storage.pvc.whenDeleted is delete",
    ),
    "one that goes": ("keep", other(deletionTimestamp="2026-01-01T00:00:00Z"), "is being deleted"),
    "a smaller one": (
        "keep",
        size("5Gi"),
        "has 5Gi where storage.pvc.size is 10Gi (enlarge it, or ask for less)",
    ),
    "one that was enlarged": ("keep", size("1Ti"), None),
    "one of a size in other words": ("keep", size("1e12"), None),
    "one of another class": (
        "keep",
        {"spec": {"storageClassName": "hdd"}},
        "is of class hdd where storage.pvc.storageClassName is ssd",
    ),
    "one that fewer pods can use": (
        "keep",
        {"spec": {"accessModes": ["ReadWriteOncePod"]}},
        "has accessModes ReadWriteOncePod where ReadWriteOnce is needed",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_is_there_is_taken_only_if_it_is_the_jobs_and_has_what_is_asked(what: str) -> None:
    when_deleted, change, words = FOUND[what]
    wanted = made({"size": "10Gi", "storageClassName": "ssd", "whenDeleted": when_deleted})
    found = copy.deepcopy(wanted)
    for part, values in change.items():
        found[part] |= values

    blocker = claim.blocker(wanted, found)

    assert (blocker is None) == (words is None)
    if blocker is not None:
        assert blocker.reason == "NameConflict"
        assert blocker.message.startswith("there is a PersistentVolumeClaim digits-storage that ")
        assert str(words) in blocker.message
