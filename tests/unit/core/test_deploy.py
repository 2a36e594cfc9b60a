"""A model that passed is served; one that does not prove itself leaves the one before."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST, Serving, deploying, held, judged, served
from tests.unit.core.world import World, at, ended, manifest, stamp
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import (
    Blocker,
    ChildView,
    Settings,
    applied,
    claim,
    events,
    plan,
    stages,
    status,
)
from trainingjob.core.names import ANNOTATION_PREVIOUS, accepted_model_uri, accepted_uri
from trainingjob.core.stages.deploy import children

WORSE = "sha256:" + "b" * 64
URI = accepted_model_uri(TrainingJob.from_dict(manifest()), DIGEST, "sha256:1")


def test_nothing_is_made_before_the_model_was_accepted_and_status_says_so() -> None:
    it = Serving()
    it.settle()
    for stage in ("preprocess", "train"):
        it.finish(stage)
        assert not it.objects
    for pod in it.of("evaluate"):
        result = {
            "outputs": {"uri": "pvc://training/runs/team/digits/evaluation"},
            "metrics": [{"name": "accuracy", "value": 0.95}],
            "modelDigest": DIGEST,
        }
        ended(pod, 1, message=json.dumps({"result": result}))
    it.act()
    assert not it.objects, "the verdict is not stored yet"
    it.record()
    it.act()
    assert it.applies == ["Service", "PodDisruptionBudget", "Deployment"]


def test_the_model_is_served_once_all_pods_are_ready() -> None:
    it = judged()
    assert [it.status["phase"], it.stage("deploy")["reason"]] == ["Deploying", "RollingOut"]
    assert it.stage("deploy")["message"] == "0 of 2 pods are ready"
    told = {"stage": "serve", "modelUri": URI, "digest": DIGEST, "name": "digits"}
    assert it.payload == told
    it.rolls(updated=1, available=1)
    assert it.status["deployment"]["phase"] == "RollingOut"

    it.rolled()

    assert [it.status["phase"], it.status["message"]] == [
        "Succeeded",
        "the model passed all gates; Deployment digits serves it",
    ]
    assert it.status["deployment"] == {
        "phase": "Ready",
        "kind": "Deployment",
        "name": "digits",
        "endpoint": "http://digits.team.svc:8080/v2/models/digits",
        "modelUri": URI,
        "modelDigest": DIGEST,
        "replicas": {"desired": 2, "ready": 2},
    }
    (condition,) = [c for c in it.status["conditions"] if c["type"] == "Deployed"]
    assert (condition["status"], condition["reason"]) == ("True", "Ready")
    # Once made, and once marked as one that has proven itself.
    assert it.applies == ["Service", "PodDisruptionBudget", "Deployment", "Deployment"]
    assert it.rests()


def test_a_worse_model_leaves_the_one_that_is_served_alone() -> None:
    it = served()
    before, count = copy.deepcopy(it.objects), len(it.applies)
    it.again()

    def worse(pod: dict[str, Any], seconds: float) -> None:
        result = {
            "outputs": {"uri": "pvc://training/runs/team/digits/evaluation"},
            "metrics": [{"name": "accuracy", "value": 0.5}],
            "modelDigest": WORSE,
        }
        ended(pod, seconds, message=json.dumps({"result": result}))

    it.finish("preprocess")
    it.finish("train")
    it.finish("evaluate", worse)

    assert [it.status["phase"], it.status["reason"]] == ["Failed", "GateFailed"]
    assert it.status["deployment"]["phase"] == "Ready"
    assert it.status["deployment"]["modelDigest"] == DIGEST
    (condition,) = [c for c in it.status["conditions"] if c["type"] == "Deployed"]
    assert (condition["status"], condition["reason"]) == ("False", "OtherModel")
    assert (it.objects, len(it.applies)) == (before, count)


def test_the_same_files_with_another_threshold_are_rolled_out() -> None:
    task = {"type": "classification", "label": "x"}
    jobs = [manifest(task=task, evaluate={"threshold": at}) for at in (0.3, 0.9)]
    uris = {accepted_model_uri(TrainingJob.from_dict(job), DIGEST, "") for job in jobs}
    assert len(uris) == 2
    assert all(uri.rpartition("/")[2].startswith(f"{'a' * 12}-") for uri in uris)


def test_evaluation_is_told_which_models_are_in_use() -> None:
    it = served()
    it.again()
    it.finish("preprocess")
    it.finish("train")
    (pod,) = it.of("evaluate")
    (told,) = [
        json.loads(v["value"])
        for v in pod["spec"]["containers"][0]["env"]
        if v["name"] == "TRAININGJOB_STAGE"
    ]
    assert told["inUse"] == [URI.rpartition("/")[2]]


def deployment_named(name: str, uri: str, before: str = "") -> ChildView:
    notes = {"trainingjob.dev/model-uri": uri}
    if before:
        template = {"metadata": {"annotations": {"trainingjob.dev/model-uri": before}}, "spec": {}}
        notes["trainingjob.dev/previous"] = json.dumps(template)
    return ChildView("Deployment", name, annotations=notes)


def test_also_those_of_deployments_that_the_job_does_not_ask_for_any_more() -> None:
    job = TrainingJob.from_dict(manifest())
    ours = accepted_uri(job)
    children = [
        deployment_named("old-name", f"{ours}/one", f"{ours}/two"),
        deployment_named("digits", f"{ours}/one"),
        deployment_named("of-another-job", "s3://elsewhere/accepted/three"),
        ChildView("Service", "digits", annotations={"trainingjob.dev/model-uri": f"{ours}/four"}),
    ]
    assert applied.in_use(job, children) == ("one", "two")


def test_evaluation_is_told_of_a_deployment_by_another_name() -> None:
    it = served()
    it.again()
    ours = accepted_uri(TrainingJob.from_dict(it.manifest))
    it.children["Deployment", "old-name"] = deployment_named("old-name", f"{ours}/one")
    it.finish("preprocess")
    it.finish("train")
    (pod,) = it.of("evaluate")
    env = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    assert json.loads(env["TRAININGJOB_STAGE"])["inUse"] == [URI.rpartition("/")[2], "one"]


GIVEN = {"uri": "pvc://runs/team/digits/accepted/bbbbbbbbbbbb-9c1f02ab", "digest": WORSE}


def promoting(**more: Any) -> dict[str, Any]:
    """A job that only deploys the model that another one has accepted."""
    job = manifest(deploy={"deployment": {"replicas": 2}, "model": GIVEN, "name": "live", **more})
    job["metadata"] |= {"name": "promote", "uid": "uid-of-promote"}
    job["spec"]["storage"] = {"uri": "pvc://runs"}
    for field in ("task", "preprocess", "train", "evaluate"):
        job["spec"].pop(field, None)
    return job


def test_a_job_without_training_serves_the_model_that_it_names() -> None:
    it = Serving(promoting())
    it.settle()
    assert (it.status["phase"], it.applies) == (
        "Deploying",
        ["Service", "PodDisruptionBudget", "Deployment"],
    )
    assert [stage["name"] for stage in it.status["stages"]] == ["deploy"]
    told = {"stage": "serve", "modelUri": GIVEN["uri"], "digest": WORSE, "name": "live"}
    assert it.payload == told
    it.rolled()
    assert it.status["phase"] == "Succeeded"
    assert it.status["deployment"]["modelDigest"] == WORSE
    (condition,) = [c for c in it.status["conditions"] if c["type"] == "Deployed"]
    assert (condition["status"], condition["reason"]) == ("True", "Ready")
    assert it.rests()


def test_one_that_does_not_prove_itself_leaves_the_one_before() -> None:
    it = Serving(promoting())
    it.settle()
    it.rolled()
    other = GIVEN | {"digest": DIGEST}
    it.manifest = promoting(model=other)
    it.again()
    it.crashes("ModelCorrupt")
    it.settle()
    assert (it.status["phase"], it.status["reason"]) == ("Failed", "RolloutFailed")
    assert it.payload["digest"] == WORSE
    assert it.status["deployment"]["phase"] == "RolledBack"


def test_without_the_rights_it_says_so_and_makes_nothing() -> None:
    it = Serving(promoting(), settings=Settings())
    it.settle()
    assert (it.status["phase"], it.status["reason"]) == ("Failed", "OperatorForbidden")
    assert not it.objects


def test_the_model_that_another_job_has_promoted_is_in_use() -> None:
    it = Serving()
    ours = accepted_uri(TrainingJob.from_dict(it.manifest))
    it.promoted = (deployment_named("live", f"{ours}/one"), deployment_named("b", "s3://other/two"))
    it.settle()
    it.finish("preprocess")
    it.finish("train")
    (pod,) = it.of("evaluate")
    env = {v["name"]: v.get("value") for v in pod["spec"]["containers"][0]["env"]}
    assert json.loads(env["TRAININGJOB_STAGE"])["inUse"] == ["one"]


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


# --- by hand -----------------------------------------------------------------------------------


def asked(it: Serving, value: str) -> None:
    it.manifest["metadata"]["annotations"] = {"trainingjob.dev/rerun": value}
    it.seconds += 1
    it.settle()


def test_the_model_before_is_served_again_when_somebody_asks_and_the_newer_one_after_that() -> None:
    it = served()
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.again()
    it.judged(WORSE)
    it.rolled()
    newer = copy.deepcopy(it.deployment["spec"]["template"])
    assert not it.rests() or it.status["phase"] == "Succeeded"

    asked(it, "rollback:1")
    assert it.deployment["spec"]["template"] == good
    assert it.status["phase"] == "Deploying"
    it.rolled()
    assert [it.status["phase"], it.status["deployment"]["phase"]] == ["Succeeded", "RolledBack"]
    assert it.status["deployment"]["modelDigest"] == DIGEST
    assert it.status["message"].endswith("Deployment digits serves the model before")
    assert it.rests()

    asked(it, "deploy:2")
    assert it.deployment["spec"]["template"] == newer
    it.rolled()
    assert it.status["deployment"]["phase"] == "Ready"
    assert it.status["deployment"]["previous"]["modelDigest"] == DIGEST


def test_a_way_back_that_does_not_become_ready_is_told_and_the_newer_one_serves() -> None:
    it = served()
    it.again()
    it.judged(WORSE)
    it.rolled()
    asked(it, "rollback:1")
    it.crashes("ModelMissing")
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "RolloutFailed"]
    assert it.status["message"].startswith("ModelMissing: ModelMissing happened; mend ")
    assert it.deployment["spec"]["replicas"] == 2


def test_there_is_no_way_back_without_a_model_before() -> None:
    it = served()
    before = copy.deepcopy(it.objects)
    job = it.observe().job
    asked(it, "rollback:1")
    assert (it.status["phase"], it.status["rerun"]) == ("Succeeded", "rollback:1")
    assert it.objects == before
    told = events(it.observe().job, job.status, it.observe().job.status, at(0))
    assert [event["reason"] for event in told] == ["RerunInvalid"]
    assert "status does not know the one before" in told[0]["message"]


def test_a_way_back_that_was_refused_in_mid_training_has_no_effect_later() -> None:
    it = served()
    asked(it, "train:1")
    asked(it, "rollback:2")
    assert it.status["phase"] == "Training"
    it.judged(WORSE)
    assert it.deployment["spec"]["replicas"] == 2
    assert it.status["deployment"]["modelDigest"] == WORSE
    it.rolled()
    assert it.status["deployment"]["phase"] == "Ready"


def test_a_way_back_that_was_asked_of_an_earlier_job_is_none_of_the_next_ones() -> None:
    it = served()
    asked(it, "rollback:1")
    it.again()
    it.judged()
    assert it.deployment["spec"]["replicas"] == 2
    assert [it.status["phase"], it.status["deployment"]["phase"]] == ["Succeeded", "Ready"]


def test_a_first_job_with_the_annotation_serves_its_model() -> None:
    made = deploying()
    made["metadata"]["annotations"] = {"trainingjob.dev/rerun": "rollback:1"}
    it = Serving(made)
    it.settle()
    it.judged()
    it.rolled()
    assert [it.status["phase"], it.status["deployment"]["phase"]] == ["Succeeded", "Ready"]


def two() -> Serving:
    """The second model is served, and the first one is known."""
    it = served()
    it.again()
    it.judged(WORSE)
    it.rolled()
    return it


def refused(it: Serving, value: str) -> str:
    """What is told of a way back that is asked for, and changes nothing."""
    before, job = copy.deepcopy(it.objects), it.observe().job
    asked(it, value)
    assert it.objects == before
    after = it.observe().job
    (told,) = (e for e in events(after, job.status, after.status, at(0)) if "Rerun" in e["reason"])
    assert told["reason"] == "RerunInvalid"
    return str(told["message"])


def test_the_model_before_is_served_again_although_the_newest_has_failed_its_gates() -> None:
    it = two()
    it.again(uid="uid-3")

    def worse(pod: dict[str, Any], seconds: float) -> None:
        result = {
            "outputs": {"uri": "pvc://training/runs/team/digits/evaluation"},
            "metrics": [{"name": "accuracy", "value": 0.5}],
            "modelDigest": "sha256:" + "c" * 64,
        }
        ended(pod, seconds, message=json.dumps({"result": result}))

    it.finish("preprocess")
    it.finish("train")
    it.finish("evaluate", worse)
    assert it.status["reason"] == "GateFailed"
    asked(it, "rollback:1")
    assert it.status["phase"] == "Deploying"
    assert (
        it.deployment["spec"]["template"]["metadata"]["annotations"]["trainingjob.dev/model-digest"]
        == DIGEST
    )
    it.rolled()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "GateFailed"]
    assert it.status["deployment"]["phase"] == "RolledBack"
    assert [it.stage(s)["attempt"] for s in ("preprocess", "train", "evaluate")] == [1, 1, 1]
    assert it.rests()


def test_a_way_back_needs_stages_that_have_succeeded_and_says_which_has_not() -> None:
    it = two()
    asked(it, "train:1")
    words = refused(it, "rollback:2")
    assert "deploy can go back only when train has succeeded, or the job is over" in words


def test_a_way_back_runs_no_other_stage_again_whatever_was_removed() -> None:
    it = served()
    it.manifest["spec"]["policy"] = {"retain": {"datasets": "never"}}
    it.again()
    it.judged(WORSE)
    it.rolled()
    for pod in it.pods.values():
        if "trainingjob.dev/role" in pod["metadata"]["labels"]:
            uri = "pvc://training/runs/team/digits"
            result = {"outputs": {"uri": uri}, "metrics": []}
            ended(pod, it.seconds, message=json.dumps({"result": result}))
    it.settle()
    assert it.status["cleanup"]["removed"] == ["datasets"]
    asked(it, "rollback:1")
    assert it.status["phase"] == "Deploying"
    assert it.status["deployment"]["modelDigest"] == DIGEST
    assert [it.stage(name)["phase"] for name in ("preprocess", "train")] == ["Succeeded"] * 2
    it.rolled()
    assert it.status["deployment"]["phase"] == "RolledBack"
    assert it.status["cleanup"]["removed"] == ["datasets"]


def test_a_deployment_that_has_lost_the_model_before_is_not_said_to_serve_it() -> None:
    it = two()
    del it.deployment["metadata"]["annotations"][ANNOTATION_PREVIOUS]
    asked(it, "rollback:1")
    assert it.status["reason"] == "RolloutFailed"
    assert "the Deployment does not know the model before" in it.status["message"]
    assert it.deployment["spec"]["replicas"] == 2


def test_one_that_worked_and_has_nothing_before_it_is_left_as_it_is() -> None:
    it = served()
    template = copy.deepcopy(it.deployment["spec"]["template"])
    it.deployment["status"] |= {"availableReplicas": 0}
    asked(it, "deploy:1")
    it.crashes("ModelCorrupt")
    assert it.status["reason"] == "RolloutFailed"
    assert "no model was served before, and this one is left as it is" in it.status["message"]
    assert it.status["deployment"]["phase"] == "Failed"
    assert it.deployment["spec"]["replicas"] == 2
    assert it.deployment["spec"]["template"] == template
    assert it.rests()


def test_what_works_is_never_scaled_to_nothing_on_the_way_back() -> None:
    it = served()
    (wanted,) = (
        c
        for c in stages.named("deploy").others(it.observe().job, it.settings)
        if c["kind"] == "Deployment"
    )
    made = applied.body(children.back(wanted), it.deployment, lambda name: False)
    assert not isinstance(made, Blocker)
    assert made["spec"]["replicas"] == 2
    assert made["spec"]["template"] == it.deployment["spec"]["template"]


# --- who may not -------------------------------------------------------------------------------


def test_an_operator_without_the_rights_says_so_before_anything_runs() -> None:
    it = World(deploying())
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "OperatorForbidden"]
    assert "spec.deploy: this operator was started without --deploy" in it.status["message"]
    assert "deploy.enabled" in it.status["message"]
    assert not it.pods


def test_one_that_lost_them_meanwhile_leaves_what_is_served() -> None:
    it = served()
    before = copy.deepcopy(it.objects)
    it.again()
    it.settings = World().settings
    it.judged(WORSE)
    assert it.status["reason"] == "OperatorForbidden"
    assert it.objects == before


IN_THE_WAY: dict[str, tuple[dict[str, Any], str]] = {
    "somebody's own": (held(by=""), "that is not of this job"),
    "another job's that is there": (
        held(by="other"),
        "that job other holds (choose another deploy.name, or delete that job)",
    ),
    "a chart's": (
        held(by="", ownerReferences=[{"kind": "App", "name": "shop", "uid": "x"}]),
        "that belongs to App shop",
    ),
    "one that goes": (held(deletionTimestamp=stamp(0)), "that is being deleted"),
}


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_somebody_elses_is_told_and_not_touched(case: str, kind: str) -> None:
    theirs, words = IN_THE_WAY[case]
    it = Serving(jobs=("other",))
    it.objects[kind, "digits"] = copy.deepcopy(theirs)
    it.settle()
    it.judged()
    assert it.objects[kind, "digits"] == theirs
    assert it.status["phase"] == "Deploying"
    assert it.stage("deploy")["reason"] == "NameConflict"
    assert words in it.stage("deploy")["message"]
    if kind == "Service":
        assert ("Deployment", "digits") not in it.objects

    del it.objects[kind, "digits"]
    it.settle()
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_it_is_not_in_the_way_for_ever() -> None:
    it = Serving()
    it.objects["Service", "digits"] = held(by="")
    it.settle()
    it.judged()
    it.seconds += 601
    it.settle()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "NameConflict"]


def test_a_job_of_another_name_goes_on_with_what_a_job_that_is_gone_has_left() -> None:
    it = served(name="model")
    good = copy.deepcopy(it.deployment["spec"]["template"])
    it.jobs = ("digits",)
    it.again(name="tonight")
    it.judged(WORSE)
    assert it.stage("deploy")["reason"] == "NameConflict"
    assert it.deployment["spec"]["template"] == good
    it.jobs = ()
    it.settle()
    assert it.status["deployment"]["previous"]["modelDigest"] == DIGEST
    it.rolled()
    assert it.status["phase"] == "Succeeded"
    assert it.deployment["metadata"]["labels"]["trainingjob.dev/job"] == "tonight"


def test_one_that_is_kept_does_not_become_one_that_goes() -> None:
    it = served()
    it.manifest["spec"]["deploy"]["keep"] = False
    it.again()
    it.judged(WORSE)
    assert it.stage("deploy")["reason"] == "NameConflict"
    assert "an earlier job has left, and deploy.keep is false" in it.stage("deploy")["message"]


def test_a_rollout_that_cannot_be_marked_ends_at_its_deadline_and_does_not_spin() -> None:
    """Somebody has changed one of our fields after it was applied."""
    it = judged(deadlineSeconds=100)
    conflict = Blocker("digits", "NameConflict", "Deployment digits: conflict with kubectl-edit")
    before = len(it.applies)

    def record() -> None:
        it.act = lambda: None  # type: ignore[method-assign]
        it.blockers = (conflict,)
        it.rolled()

    record()
    assert [it.status["phase"], it.stage("deploy")["reason"]] == ["Deploying", "NameConflict"]
    assert "conflict with kubectl-edit" in it.stage("deploy")["message"]
    assert (plan(it.observe(), at(it.seconds)).requeue_after or 0) > 0
    it.seconds += 101
    it.blockers = ()  # an operator that has just begun does not know of it
    assert plan(it.observe(), at(it.seconds)).requeue_after is None
    assert status(it.observe(), at(it.seconds)).phase == "Deploying"
    record()
    assert [it.status["phase"], it.status["reason"]] == ["Failed", "NameConflict"]
    assert it.status["deployment"]["phase"] == "Ready"
    assert len(it.applies) == before


# --- how it is made ----------------------------------------------------------------------------


def test_what_is_kept_has_no_owner_and_what_goes_has() -> None:
    for keep, owners in ((None, 0), (True, 0), (False, 1)):
        it = judged(keep=keep)
        for obj in it.objects.values():
            assert len(obj["metadata"].get("ownerReferences", ())) == owners


def test_one_pod_needs_no_budget_and_its_number_is_left_to_others() -> None:
    it = judged(deployment={})
    assert {kind for kind, _ in it.objects} == {"Service", "Deployment"}
    it.deployment["spec"]["replicas"] = 3  # by an autoscaler
    it.rolled()
    assert it.deployment["spec"]["replicas"] == 3


def test_an_autoscaler_keeps_the_number_that_it_has_set() -> None:
    it = served()
    it.deployment["spec"]["replicas"] = 5
    it.deployment["metadata"]["managedFields"] = [
        {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ]
    it.again()
    it.judged(WORSE)
    assert it.deployment["spec"]["replicas"] == 5


def test_the_pods_are_as_restricted_as_all_others_and_as_the_manifest_says() -> None:
    it = judged(
        name="model",
        selfTest={"rows": 16, "tolerance": 0.01},
        deadlineSeconds=100,
        deployment={
            "replicas": 3,
            "image": "server:1",
            "port": 80,
            "resources": {"limits": {"cpu": "2"}},
            "env": [{"name": "A", "value": "b"}],
            "template": {"nodeSelector": {"disk": "ssd"}, "labels": {"team": "ml"}},
        },
    )
    made = it.objects["Deployment", "model"]["spec"]
    assert made["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert (made["replicas"], made["progressDeadlineSeconds"]) == (3, 100)
    pod, meta = made["template"]["spec"], made["template"]["metadata"]
    (container,) = pod["containers"]
    assert made["selector"]["matchLabels"].items() <= meta["labels"].items()
    assert meta["labels"]["team"] == "ml"
    assert (pod["restartPolicy"], pod["nodeSelector"]) == ("Always", {"disk": "ssd"})
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (claim,) = [m for m in container["volumeMounts"] if m["name"] == "trainingjob-claim-0"]
    assert claim["readOnly"] is True
    assert (container["image"], container["resources"]) == ("server:1", {"limits": {"cpu": "2"}})
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert (env["A"], env["OMP_NUM_THREADS"]) == ("b", "2")
    told = json.loads(env["TRAININGJOB_STAGE"])
    assert (told["name"], told["selfTestRows"], told["tolerance"]) == ("model", 16, 0.01)
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    (port,) = it.objects["Service", "model"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    assert it.objects["Service", "model"]["spec"]["selector"] == made["selector"]["matchLabels"]
    assert it.status["deployment"]["endpoint"] == "http://model.team.svc:80/v2/models/model"


def test_the_claim_that_is_made_for_the_job_is_for_several_pods() -> None:
    for deploy, mode in ((None, "ReadWriteOnce"), ({"deployment": {}}, "ReadWriteMany")):
        made = manifest(
            storage={"pvc": {"size": "1Gi"}}, deploy=deploy, train={"model": {"mlp": {}}}
        )
        made["spec"]["preprocess"]["engine"] = "pandas"
        (wanted,) = claim.wanted(TrainingJob.from_dict(made), "preprocess")
        assert wanted["spec"]["accessModes"] == [mode]


# --- what else happens to a job ----------------------------------------------------------------


def test_a_suspended_job_waits_and_does_not_use_up_its_time() -> None:
    it = judged()
    it.manifest["spec"]["suspend"] = True
    it.manifest["metadata"]["generation"] = 2
    it.seconds += 1
    it.settle()
    it.seconds += 10000
    it.settle()
    assert it.status["phase"] == "Suspended"
    it.manifest["spec"]["suspend"] = False
    it.manifest["metadata"]["generation"] = 3
    it.settle()
    assert it.status["phase"] == "Deploying"
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_the_jobs_deadline_does_not_end_a_rollout() -> None:
    it = judged()
    it.manifest["spec"]["policy"] = {"activeDeadlineSeconds": 60}
    it.seconds += 100
    it.settle()
    assert it.status["phase"] == "Deploying"
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_one_that_is_deleted_in_mid_rollout_is_made_again() -> None:
    it = judged()
    it.objects.clear()
    it.settle()
    assert it.applies.count("Deployment") == 2
    it.rolled()
    assert it.status["phase"] == "Succeeded"


def test_the_events_tell_that_it_fails_and_that_it_has_failed() -> None:
    it = judged()
    job = it.observe().job
    it.crashes("ModelCorrupt")
    after = it.observe().job.status
    assert [e["reason"] for e in events(job, job.status, after, at(0))] == ["RolloutFailed"]
