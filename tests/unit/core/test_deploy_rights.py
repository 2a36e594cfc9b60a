"""What the operator may not touch, by its rights or because it is somebody else's."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.core.serving import DIGEST, WORSE, Serving, deploying, held, judged, served
from tests.unit.core.world import World, at, stamp
from trainingjob.core import Blocker, plan, status


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
