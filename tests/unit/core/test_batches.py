"""Large gangs are made bit by bit, and what cannot be made at all is not begun."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.test_size import TOO_LARGE
from tests.unit.core.world import World, at, ended, manifest, world
from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import Settings, status

DATASET = {"uri": "pvc://datasets/digits"}


def gang(nodes: int, **more: Any) -> World:
    train = {"nodes": nodes, "model": {"mlp": {"hidden": [64]}}, "dataset": DATASET}
    made = World(manifest(preprocess=None, evaluate=None, train=train, **more))
    made.manifest["spec"] = {k: v for k, v in made.manifest["spec"].items() if v is not None}
    return made


def batches(w: World) -> list[int]:
    """How many pods each step makes, until there is nothing to make."""
    sizes = []
    while True:
        before = len(w.pods)
        w.reconcile()
        if len(w.pods) == before:
            return sizes
        sizes.append(len(w.pods) - before)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (1, [1]),
        (5, [5]),
        (8, [8]),
        (9, [8, 1]),
        (40, [8, 8, 16, 8]),
        (1000, [8, 8, 16, *[32] * 30, 8]),
    ],
)
def test_pods_are_made_in_growing_batches(nodes: int, expected: list[int]) -> None:
    w = gang(nodes)

    assert batches(w) == expected
    assert len(w.pods) == nodes
    assert w.stage("train")["pods"]["desired"] == nodes
    assert w.writes <= 2, "not for each batch"


def test_where_the_first_are_refused_no_others_are_tried() -> None:
    w = gang(1000)
    tried: list[str] = []

    def refuse(child: dict[str, Any]) -> None:
        if child["kind"] == "Pod":
            tried.append(child["metadata"]["name"])

    w.create = refuse  # type: ignore[method-assign]
    for _ in range(5):
        w.reconcile()
    assert len(set(tried)) == 8


def test_pods_that_vanish_from_a_large_gang_are_an_attempt_that_failed() -> None:
    w = gang(100)
    batches(w)
    for pod in w.pods.values():
        pod["status"]["phase"] = "Running"
        pod["status"]["startTime"] = "2026-01-01T00:00:00Z"
    w.settle()
    del w.pods["digits-train-1-37"]
    w.record()
    assert w.stage("train")["attempt"] == 2


@pytest.mark.parametrize(
    ("what", "spec", "field", "remedy"), TOO_LARGE[2:], ids=[case[0] for case in TOO_LARGE[2:]]
)
def test_a_spec_that_pods_cannot_be_given_is_the_jobs_end(
    what: str, spec: dict[str, Any], field: str, remedy: str
) -> None:
    w = World(manifest(**spec))
    w.settle()

    assert w.created == []
    assert (w.status["phase"], w.status["reason"]) == ("Failed", "SpecTooLarge")
    assert field in w.status["message"]
    assert remedy in w.status["message"]
    assert "shorten the manifest, delete the job and apply it again" in w.status["message"]
    assert w.status["lastFailure"]["class"] == "configuration"


def test_one_whose_later_stage_is_too_large_does_not_begin() -> None:
    large = {"env": [{"name": f"V{n}", "value": "x" * 32768} for n in range(20)]}
    w = world(evaluate=large)

    assert w.created == []
    assert w.status["message"].startswith("the pods of evaluate would be given")


def test_one_that_was_accepted_before_and_runs_is_left_alone() -> None:
    w = world()
    large = [{"name": f"V{n}", "value": "x" * 32768} for n in range(20)]
    w.manifest["spec"]["preprocess"]["env"] = large
    w.settle()

    assert w.status["phase"] == "Preprocessing"
    assert status(w.observe(), at(1)) == TrainingJob.from_dict(w.manifest).status


def test_an_operator_that_is_brought_up_to_date_completes_a_gang_as_it_was_begun() -> None:
    w = gang(12)
    w.act()
    assert len(w.of("train")) == 8
    images = {"spark": "spark:2", "torch": "torch:2"}
    w.settings = Settings(images=images)
    w.settle()

    assert {image(pod) for pod in w.of("train")} == {"trainingjob-torch:latest"}
    assert w.stage("train")["image"] == "trainingjob-torch:latest", "that runs"
    for pod in w.of("train"):
        ended(pod, 1, code=137)
    w.settle()
    assert {image(pod) for pod in w.of("train")} == {"torch:2"}
    assert w.stage("train")["image"] == "torch:2"


def image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])
