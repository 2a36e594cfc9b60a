"""Gangs that a scheduler of Kubernetes 1.36 and later places as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Blocker, Settings, stages

from .test_suspend import suspend
from .world import World, failed, manifest

GROUPED = Settings(pod_groups="scheduling.k8s.io/v1beta1")


def grouped(settings: Settings = GROUPED, **spec: Any) -> World:
    made = World(train_of(**spec), settings=settings)
    made.settle()
    return made


def train_of(nodes: int = 2) -> dict[str, Any]:
    dataset = {"uri": "pvc://training/dataset"}
    train = {"dataset": dataset, "nodes": nodes, "model": {"mlp": {"hidden": [64]}}}
    return manifest(preprocess=None, evaluate=None, train=train)


def groups(w: World) -> dict[str, str]:
    """Of each pod that was ever made."""
    return {
        name: pod["spec"].get("schedulingGroup", {}).get("podGroupName", "")
        for name, pod in w.ever.items()
    }


def test_the_group_comes_before_its_pods_and_has_all_of_them() -> None:
    w = grouped()
    assert w.created[0] == "PodGroup digits-train-of-2"
    assert groups(w) == dict.fromkeys(("digits-train-1-0", "digits-train-1-1"), "digits-train-of-2")


NONE: dict[str, tuple[Settings, int]] = {
    "the operator was not told to": (Settings(), 2),
    "a single pod is no gang": (GROUPED, 1),
}


@pytest.mark.parametrize(("settings", "nodes"), NONE.values(), ids=NONE)
def test_there_is_none(settings: Settings, nodes: int) -> None:
    w = grouped(settings, nodes=nodes)
    assert {*groups(w).values()} == {""}
    assert not any(name.startswith("PodGroup") for name in w.created)


def test_a_gang_of_another_size_has_another_group() -> None:
    """Their number cannot be changed in Kubernetes 1.36."""
    w = grouped()
    suspend(w, True)
    w.settle()
    w.manifest["spec"]["train"]["nodes"] = 3
    suspend(w, False)
    w.seconds += 100
    w.settle()
    assert "PodGroup digits-train-of-3" in w.created
    assert [*groups(w).values()][-3:] == ["digits-train-of-3"] * 3


def test_a_long_name_is_made_to_fit() -> None:
    long = train_of(nodes=1000)
    long["metadata"]["name"] = "x" * 50
    first = stages.named("train").pods(TrainingJob.from_dict(long), 1, GROUPED, [0])[0]
    assert len(first["spec"]["schedulingGroup"]["podGroupName"]) <= 63


BEGUN = {
    "with groups, by an operator that has them no more": (GROUPED, Settings()),
    "without, by one that had none": (Settings(), GROUPED),
}


@pytest.mark.parametrize(("before", "after"), BEGUN.values(), ids=BEGUN)
def test_a_gang_is_completed_as_it_was_begun(before: Settings, after: Settings) -> None:
    """Else the scheduler would wait for pods that never come."""
    w = World(train_of(), settings=before)
    w.act()
    del w.pods["digits-train-1-1"]  # the operator dies in the midst of it
    w.created.remove("digits-train-1-1")
    w.settings = after
    w.settle()
    assert len({*groups(w).values()}) == 1


def test_a_group_that_cannot_be_made_is_why_the_gang_waits() -> None:
    w = World(train_of(), settings=GROUPED)
    words = 'podgroups is forbidden: User "x" cannot create resource "podgroups"'
    w.blockers = (Blocker("digits-train-of-2", "OperatorForbidden", words),)
    w.record()
    assert w.status["reason"] == "OperatorForbidden"
    assert words in w.status["message"]


def test_each_attempt_asks_for_it_anew() -> None:
    """Somebody may have removed it."""
    w = grouped()
    w.children = {key: child for key, child in w.children.items() if key[0] != "PodGroup"}
    w.created = [name for name in w.created if not name.startswith("PodGroup")]
    w.finish("train", lambda pod, seconds: failed(pod, seconds, "ScriptFailed"))
    w.seconds += 1000
    w.settle()
    assert w.stage("train")["attempt"] == 2
    assert "PodGroup digits-train-of-2" in w.created
