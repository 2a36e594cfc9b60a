"""A job's NetworkPolicy and a gang's Service are made again when somebody deletes them."""

from __future__ import annotations

import pytest

from trainingjob.core import Blocker, plan

from .world import World, at, running, world

NAMES = {"NetworkPolicy": "digits-stages", "Service": "digits-train"}
KINDS = [*NAMES]


def training(**spec: object) -> World:
    w = world(preprocess=None, train=TRAIN, **spec)
    for pod in w.of("train"):
        running(pod, 1)
    w.settle()
    return w


TRAIN = {
    "nodes": 2,
    "model": {"mlp": {"hidden": [64]}},
    "dataset": {"uri": "pvc://datasets/digits"},
}


def wanted(w: World) -> list[str]:
    return [child["kind"] for child in plan(w.observe(), at(w.seconds)).create]


@pytest.mark.parametrize("gone", [[kind] for kind in KINDS] + [KINDS], ids=str)
def test_while_the_gang_runs(gone: list[str]) -> None:
    w = training()
    assert wanted(w) == []
    for kind in gone:
        del w.children[kind, NAMES[kind]]

    assert wanted(w) == gone
    w.settle()
    assert {kind for kind, _ in w.children} == {*KINDS}
    assert w.stage("train")["attempt"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_before_its_next_attempt(kind: str) -> None:
    w = training()
    del w.children[kind, NAMES[kind]]
    for pod in w.of("train"):
        pod["status"] = {"phase": "Failed", "reason": "Evicted"}
    w.settle()

    assert w.stage("train")["attempt"] == 2
    assert (kind, NAMES[kind]) in w.children


def test_what_cannot_be_made_again_is_reported_and_the_gang_runs_on() -> None:
    w = training()
    del w.children["Service", NAMES["Service"]]
    taken = "there is a Service digits-train that is not of this job; it is left as it is"
    w.blockers = (Blocker(NAMES["Service"], "NameConflict", taken),)
    w.record()

    stage = w.stage("train")
    assert (stage["phase"], stage["reason"], stage["attempt"]) == ("Running", "NameConflict", 1)
    assert taken in w.status["message"]
    w.blockers = ()
    w.settle()
    assert w.stage("train")["reason"] == "Running"


def test_not_when_nobody_needs_them() -> None:
    w = training()
    w.children.clear()
    w.manifest["spec"]["suspend"] = True
    w.settle()
    assert not w.children

    done = training(evaluate=None)
    done.finish("train")
    done.children.clear()
    assert done.status["phase"] == "Succeeded"
    assert wanted(done) == []
