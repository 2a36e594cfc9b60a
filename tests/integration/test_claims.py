"""The claim that is made for a job, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakekubelet import FakeKubelet
from tests.cluster.wait import wait_for
from tests.tables import tell
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import claim

from .harness import Namespace, Operator, manifest, operator

CLAIMS = "persistentvolumeclaims"


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane) -> Iterator[Operator]:
    with operator(control_plane) as running:
        yield running


@pytest.fixture
def space(control_plane: ControlPlane, served: Operator, namespace: str) -> Iterator[Namespace]:
    with FakeKubelet(control_plane, [namespace], 0.05):
        yield Namespace(control_plane, namespace)


def asking(size: str = "1Gi", **more: Any) -> dict[str, Any]:
    pvc = {"size": size, "accessModes": ["ReadWriteOnce"], **more}
    return manifest(storage={"pvc": pvc})


def the_claim(space: Namespace) -> dict[str, Any]:
    found = space.get(CLAIMS, "digits-storage")
    assert found is not None
    return found


def goes(space: Namespace) -> bool:
    return "deletionTimestamp" in the_claim(space)["metadata"]


def let_go(space: Namespace) -> None:
    """What a controller does that is not among ours, when no pod uses the claim any more."""
    space.patch(CLAIMS, "digits-storage", {"metadata": {"finalizers": None}})


def test_a_claim_is_kept_and_a_later_job_of_the_name_goes_on_with_it(space: Namespace) -> None:
    space.run(asking())
    status = space.wait("digits", phase="Succeeded")
    made = the_claim(space)
    assert made["spec"]["resources"] == {"requests": {"storage": "1Gi"}}
    assert status["stages"][0]["outputs"]["uri"].startswith("pvc://digits-storage/")
    for pod in space.list("pods"):
        claims = [v.get("persistentVolumeClaim", {}) for v in pod["spec"]["volumes"]]
        assert {"claimName": "digits-storage"} in claims
        assert pod["metadata"]["creationTimestamp"] >= made["metadata"]["creationTimestamp"]

    space.delete("trainingjobs", "digits")
    wait_for("its pods to be gone", lambda: space.pods() == [])
    space.run(asking())
    space.wait("digits", phase="Succeeded")
    assert the_claim(space)["metadata"]["uid"] == made["metadata"]["uid"]

    # Larger than it is, it is not resized, and the job says so.
    space.delete("trainingjobs", "digits")
    wait_for("its pods to be gone", lambda: space.pods() == [])
    space.run(asking("2Gi"))
    told = space.wait("digits", reason="NameConflict")["message"]
    assert "has 1Gi where storage.pvc.size is 2Gi (enlarge it, or ask for less)" in told
    assert the_claim(space)["spec"]["resources"] == made["spec"]["resources"]


def test_a_quota_that_the_claim_uses_up_is_not_in_its_own_way(space: Namespace) -> None:
    """The API server counts before it looks whether there is one of that name."""
    hard = {"hard": {"persistentvolumeclaims": "1"}}
    space.create("resourcequotas", {"metadata": {"name": "one"}, "spec": hard})
    wait_for("the quota", lambda: (space.get("resourcequotas", "one") or {}).get("status"))
    for _ in range(2):
        space.run(asking())
        space.wait("digits", phase="Succeeded")
        space.delete("trainingjobs", "digits")
        wait_for("its pods to be gone", lambda: space.pods() == [])


def test_a_claim_is_deleted_with_its_job(space: Namespace) -> None:
    space.run(asking(whenDeleted="delete"))
    space.wait("digits", phase="Succeeded")
    made = the_claim(space)
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == space.job("digits")["metadata"]["uid"]

    space.delete("trainingjobs", "digits")

    wait_for("the claim to go, too", lambda: goes(space))
    # Meanwhile a job of the same name waits, and then has one of its own.
    space.run(asking(whenDeleted="delete"))
    space.wait("digits", reason="NameConflict")
    let_go(space)
    space.wait("digits", phase="Succeeded")
    assert the_claim(space)["metadata"]["uid"] != made["metadata"]["uid"]


def test_one_that_was_made_without_our_hearing_of_it_is_found(space: Namespace) -> None:
    """As by an operator that died between its call and the answer."""
    job = asking(whenDeleted="delete")
    job["spec"]["suspend"] = True
    space.run(job)
    space.wait("digits", phase="Suspended")
    (wanted,) = claim.wanted(TrainingJob.from_dict(space.job("digits")), "preprocess")
    uid = space.create(CLAIMS, wanted)["metadata"]["uid"]

    space.patch("trainingjobs", "digits", {"spec": {"suspend": False}})

    space.wait("digits", phase="Succeeded")
    assert the_claim(space)["metadata"]["uid"] == uid


def test_somebody_elses_claim_is_left_as_it_is_and_the_job_goes_on_without_it(
    space: Namespace,
) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    theirs = space.create(CLAIMS, {"metadata": {"name": "digits-storage"}, "spec": spec})
    begun = time.monotonic()
    space.run(asking(whenDeleted="delete"))
    status = space.wait("digits", reason="NameConflict")
    tell("a claim is in the way", time.monotonic() - begun, status)
    assert (
        "there is a PersistentVolumeClaim digits-storage that is not of this job"
        in (status["message"])
    )
    assert space.pods() == []
    found = the_claim(space)
    assert (found["metadata"]["uid"], found["spec"]) == (theirs["metadata"]["uid"], theirs["spec"])

    space.delete(CLAIMS, "digits-storage")
    let_go(space)
    space.wait("digits", phase="Succeeded")
