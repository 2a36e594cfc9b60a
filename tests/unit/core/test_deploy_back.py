"""A rollout that fails goes back to the model before, whatever happens meanwhile."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST, URI, WORSE, Serving, judged, served
from tests.unit.core.world import at, stamp
from trainingjob.core import plan
from trainingjob.core.names import ANNOTATION_PREVIOUS

# What the new pods do, how long it takes, and what is told of it.
TROUBLES: dict[str, tuple[str, float, str]] = {
    "a server that gives up for good": ("ModelCorrupt", 1, "ModelCorrupt: ModelCorrupt happened"),
    "one that fails again and again": (
        "StorageFailed",
        155,
        "StorageFailed: StorageFailed happened",
    ),
}


def between_starts(it: Serving, **state: Any) -> None:
    """The container that has failed waits for its next start; or is as ``state`` says."""
    (own,) = it.servers[0]["status"]["containerStatuses"]
    own["lastState"] = own.get("lastState") or own["state"]
    own["state"] = state or {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    it.settle()


@pytest.mark.parametrize("case", TROUBLES)
def test_pods_that_fail_bring_back_the_model_before(case: str) -> None:
    reason, seconds, words = TROUBLES[case]
    it = served()
    template = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    assert it.deployment["spec"]["template"] != template
    assert json.loads(it.deployment["metadata"]["annotations"][ANNOTATION_PREVIOUS]) == template
    assert it.status["deployment"]["previous"] == {
        "modelUri": URI,
        "modelDigest": DIGEST,
    }
    it.crashes(reason)
    between_starts(it)
    it.seconds += seconds
    it.settle()

    assert [it.status["phase"], it.status["reason"]] == ["Failed", "RolloutFailed"]
    assert it.status["message"].startswith(f"{words}; {DIGEST} is served again; mend ")
    assert it.status["lastFailure"]["class"] == "verdict"
    assert it.status["deployment"]["phase"] == "RolledBack"
    assert it.status["deployment"]["modelDigest"] == DIGEST
    assert it.deployment["spec"]["template"] == template
    assert it.rests()


def test_a_pod_that_failed_once_and_then_is_ready_is_no_trouble() -> None:
    it = judged()
    it.crashes("StorageFailed")
    assert it.stage("deploy")["reason"] == "StorageFailed"
    it.servers[0]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    it.seconds += 300
    it.settle()
    assert it.stage("deploy")["message"] == "1 of 2 pods are ready"
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_a_pod_that_failed_once_and_loads_again_has_until_the_deadline() -> None:
    it = judged()
    it.crashes("StorageFailed")
    between_starts(it, running={"startedAt": stamp(it.seconds)})
    it.seconds += 400
    it.settle()
    assert [it.status["phase"], it.stage("deploy")["reason"]] == ["Deploying", "StorageFailed"]
    assert (plan(it.observe(), at(it.seconds)).requeue_after or 0) > 100
    it.seconds += 300
    it.settle()
    assert it.status["reason"] == "RolloutFailed"
    assert "0 of 2 pods were ready after 600 s; StorageFailed: " in it.status["message"]


def test_a_pod_that_fails_again_and_again_is_told_from_one_that_loads() -> None:
    it = judged()
    it.crashes("StorageFailed")
    between_starts(it, running={"startedAt": stamp(it.seconds)})
    it.seconds += 200
    it.settle()
    assert it.status["phase"] == "Deploying"
    between_starts(it)
    assert it.status["reason"] == "RolloutFailed"


def test_a_pod_that_is_evicted_has_another_in_its_place() -> None:
    it = judged()
    pod = it.server(running={"startedAt": stamp(0)})
    pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    pod["status"]["containerStatuses"] = []
    it.rolls(updated=2, available=1)
    assert it.stage("deploy")["reason"] == "Disrupted"
    it.seconds += 300
    it.settle()
    assert it.status["phase"] == "Deploying"
    it.rolled()
    assert it.status["phase"] == "Succeeded"


SLOW: dict[str, tuple[dict[str, Any], str]] = {
    "nothing is known": ({}, "the pods did not start"),
    "it runs and is not ready": (
        {"running": {"startedAt": stamp(0)}},
        "pod digits-0 runs and is not ready; its log says what it does",
    ),
    "no image": (
        {"waiting": {"reason": "ContainerCreating"}},
        "the pods did not start",
    ),
}


@pytest.mark.parametrize("case", SLOW)
def test_the_deadline_brings_back_the_model_before(case: str) -> None:
    state, words = SLOW[case]
    it = served(deadlineSeconds=100)
    it.again()
    it.judged(WORSE)
    if state:
        it.server(**state)
    it.rolls(updated=1, available=2)
    it.seconds += 50
    it.settle()
    assert it.status["phase"] == "Deploying"
    it.seconds += 60
    it.settle()
    assert it.status["reason"] == "RolloutFailed"
    assert it.status["message"].startswith(f"0 of 2 pods were ready after 100 s; {words}")
    assert it.status["deployment"]["phase"] == "RolledBack"


def test_an_image_that_cannot_be_pulled_is_given_its_time_and_no_more() -> None:
    it = judged()
    it.server(waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    it.rolls(updated=1, available=0)
    assert it.stage("deploy")["reason"] == "ImagePullFailed"
    it.seconds += 160
    it.settle()
    assert it.status["message"].startswith("ImagePullFailed: pod digits-0 waits: no such image; no")


def test_kubernetes_may_give_up_first() -> None:
    it = judged()
    gave_up = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet has timed out progressing",
    }
    it.rolls(updated=1, available=0, conditions=[gave_up])
    assert it.status["reason"] == "RolloutFailed"


def test_a_first_model_that_fails_is_not_left_to_try_for_ever() -> None:
    it = judged()
    it.crashes("ModelCorrupt")
    assert it.status["message"].startswith(
        "ModelCorrupt: ModelCorrupt happened; no model was served before; mend "
    )
    assert it.status["deployment"]["phase"] == "Failed"
    assert it.deployment["spec"]["replicas"] == 0
    assert it.rests()

    # Run again, it is tried again.
    it.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "deploy:1"}
    it.servers.clear()
    it.settle()
    assert it.deployment["spec"]["replicas"] == 2
    it.rolled()
    assert [it.status["phase"], it.status["deployment"]["phase"]] == ["Succeeded", "Ready"]
    assert ANNOTATION_PREVIOUS not in it.deployment["metadata"]["annotations"]


def test_what_failed_is_never_what_is_gone_back_to() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    for digest in ("b", "c"):
        it.again(uid=f"uid-{digest}")
        it.judged("sha256:" + digest * 64)
        it.crashes("ModelCorrupt")
        assert it.status["deployment"]["phase"] == "RolledBack", digest
        assert it.deployment["spec"]["template"] == good


def test_a_job_that_is_deleted_in_mid_rollout_leaves_the_way_back() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    it.again(uid="uid-3")
    it.judged("sha256:" + "c" * 64)
    it.crashes("ModelCorrupt")
    assert it.deployment["spec"]["template"] == good


def test_the_same_model_again_changes_nothing() -> None:
    it = served()
    before = copy.deepcopy(it.objects)
    it.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": "deploy:1"}
    it.settle()
    assert it.status["phase"] == "Succeeded"
    assert it.stage("deploy")["attempt"] == 2
    assert it.objects == before
    it.again()
    it.judged()
    assert it.status["phase"] == "Succeeded"
    assert it.objects == before


def test_status_tells_the_model_before() -> None:
    it = served()
    it.again()
    it.judged(WORSE)
    it.rolled()
    told = it.status["deployment"]
    assert (told["modelDigest"], told["previous"]["modelDigest"]) == (WORSE, DIGEST)


@pytest.mark.parametrize("lost", [*itertools.product(range(6), ["act", "record"])])
@pytest.mark.parametrize("goes_well", [True, False])
def test_an_operator_that_dies_before_or_after_any_write_comes_to_the_same_end(
    goes_well: bool, lost: tuple[int, str]
) -> None:
    """At one step it does the one half, and not the other."""
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    count, which = lost
    if goes_well:
        it.deployment["status"] |= {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
        it.deployment["status"]["observedGeneration"] = it.deployment["metadata"]["generation"]
    else:
        message = json.dumps({"error": {"reason": "ModelCorrupt", "message": "it is cut"}})
        end = {"exitCode": 1, "message": message, "finishedAt": stamp(it.seconds)}
        it.server(terminated=end)
    for step in range(8):
        it.seconds += 1
        if step == count:
            getattr(it, which)()
        else:
            it.reconcile()
    assert it.status["deployment"]["phase"] == ("Ready" if goes_well else "RolledBack")
    assert (it.deployment["spec"]["template"] == good) is not goes_well


def test_an_operator_that_is_brought_up_to_date_in_mid_rollout_leaves_the_way_back() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    it.rolls(updated=1, available=2)
    it.settings = replace(it.settings, images={**it.settings.images, "torch": "torch:next"})
    it.settle()
    (container,) = it.deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "torch:next"
    it.crashes("ModelCorrupt")
    assert it.deployment["spec"]["template"] == good
    assert it.status["deployment"]["phase"] == "RolledBack"


def test_an_operator_that_was_away_longer_than_the_deadline_gives_all_of_it_again() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    it.rolls(updated=1, available=2)
    # All pods become ready while there is no operator, and the next one has another image.
    ready = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    it.deployment["status"] |= ready
    it.settings = replace(it.settings, images={**it.settings.images, "torch": "torch:next"})
    it.seconds += 5000
    it.settle()
    assert it.status["phase"] == "Deploying"
    (container,) = it.deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "torch:next"
    assert json.loads(it.deployment["metadata"]["annotations"][ANNOTATION_PREVIOUS]) == good
    it.seconds += 500
    it.settle()
    assert it.status["phase"] == "Deploying"
    it.rolled()
    assert it.status["deployment"]["phase"] == "Ready"
    assert it.status["deployment"]["previous"]["modelDigest"] == DIGEST


def test_the_deadline_that_began_anew_ends() -> None:
    it = served()
    it.again()
    it.judged(WORSE)
    it.rolls(updated=1, available=2)
    it.settings = replace(it.settings, images={**it.settings.images, "torch": "torch:next"})
    it.seconds += 5000
    it.rolls(updated=1, available=2)
    it.seconds += 700
    it.settle()
    assert it.status["reason"] == "RolloutFailed"
    assert it.status["deployment"]["modelDigest"] == DIGEST


def test_a_status_that_was_lost_changes_nothing_about_the_way_back() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    del it.status["deployment"]
    it.crashes("ModelCorrupt")
    assert it.deployment["spec"]["template"] == good
    assert it.status["deployment"]["phase"] == "RolledBack"
