"""Somebody asks for the model before."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.unit.core.serving import DIGEST, WORSE, Serving, deploying, served
from tests.unit.core.world import at, ended
from trainingjob.core import Blocker, applied, events, stages
from trainingjob.core.names import ANNOTATION_PREVIOUS
from trainingjob.core.stages.deploy import children


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
