"""A model that passed is served; one that does not prove itself leaves the one before."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.unit.core.serving import DIGEST, URI, WORSE, Serving, judged, served
from tests.unit.core.world import at, ended, manifest
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import ChildView, Settings, applied, events
from trainingjob.core.names import accepted_model_uri, accepted_uri


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
