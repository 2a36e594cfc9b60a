"""What of a job may change, by the API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.corpus import good
from trainingjob.api.crd import IMMUTABLE

from .crd import Jobs


def rather(label: str) -> dict[str, Any]:
    """Affinity to nodes that have a label."""
    term = {"matchExpressions": [{"key": label, "operator": "Exists"}]}
    wish = {"weight": 1, "preference": term}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def job_of_all_blocks() -> dict[str, Any]:
    manifest = good("minimal")
    manifest["spec"] |= {
        "preprocess": {
            "input": {"uri": "pvc://datasets/digits.csv", "format": "csv"},
            "steps": [{"fillna": {"value": 1}}, {"dropna": {}}],
        },
        "train": {
            "model": {"mlp": {"hidden": [64]}},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "optimizer": {"sgd": {"learningRate": 0.5}},
            "resources": {"limits": {"cpu": 1}},
            "template": {"nodeSelector": {"pool": "gpu"}, "affinity": rather("zone")},
        },
        "evaluate": {"gates": [{"metric": "accuracy", "min": 0.9}]},
    }
    return manifest


# A merge patch of the spec, and the field that the server names.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another label": ({"task": {"label": "other"}}, "spec.task"),
    "features that were left to the data": ({"task": {"features": ["a"]}}, "spec.task"),
    "another place": ({"storage": {"uri": "pvc://training/other"}}, "spec.storage"),
    "another input": ({"preprocess": {"input": {"uri": "pvc://d/b.csv"}}}, "spec.preprocess"),
    "another split": ({"preprocess": {"split": {"seed": 1}}}, "spec.preprocess"),
    "no steps": ({"preprocess": {"steps": None}}, "spec.preprocess"),
    "steps in another order": (
        {"preprocess": {"steps": [{"dropna": {}}, {"fillna": {"value": 1}}]}},
        "spec.preprocess",
    ),
    "a value that CEL does not see": (
        {"preprocess": {"steps": [{"fillna": {"value": 2}}, {"dropna": {}}]}},
        "spec.preprocess",
    ),
    "the same value of another type": (
        {"preprocess": {"steps": [{"fillna": {"value": "1"}}, {"dropna": {}}]}},
        "spec.preprocess",
    ),
    "a dataset instead of preprocessing": (
        {"preprocess": None, "train": {"dataset": {"uri": "pvc://d/dataset"}}},
        "spec.preprocess",
    ),
    "a larger gang": ({"train": {"nodes": 2}}, "spec.train"),
    "another image": ({"train": {"image": "other:2"}}, "spec.train"),
    "more epochs": ({"train": {"epochs": 100}}, "spec.train"),
    "wider layers": ({"train": {"model": {"mlp": {"hidden": [128]}}}}, "spec.train"),
    "a smaller step": ({"train": {"optimizer": {"sgd": {"learningRate": 0.1}}}}, "spec.train"),
    "a variable less": ({"train": {"env": [{"name": "A", "value": "1"}]}}, "spec.train"),
    "more memory": ({"train": {"resources": {"limits": {"memory": "1Gi"}}}}, "spec.train"),
    "the same quantity in other words": (
        {"train": {"resources": {"limits": {"cpu": "1"}}}},
        "spec.train",
    ),
    "other nodes": ({"train": {"template": {"nodeSelector": {"pool": "cpu"}}}}, "spec.train"),
    "a wish for other nodes, of which CEL does not see the terms": (
        {"train": {"template": {"affinity": rather("rack")}}},
        "spec.train",
    ),
    "a lower gate": (
        {"evaluate": {"gates": [{"metric": "accuracy", "min": 0.1}]}},
        "spec.evaluate",
    ),
    "no evaluation": ({"evaluate": None}, "spec.evaluate"),
}
ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing new": {},
    "more retries": {"policy": {"retries": {"application": 7}}},
    "no retries": {"policy": {"retries": {"application": 0, "infrastructure": 0}}},
    "a deadline": {"policy": {"activeDeadlineSeconds": 3600}},
    "another deadline": {"policy": {"startupDeadlineSeconds": 60}},
    "a stop": {"suspend": True},
    "no stop": {"suspend": False},
    "no policy, which is the default policy": {"policy": None},
    "defaults made explicit": {
        "preprocess": {"engine": "spark"},
        "train": {"nodes": 1, "model": {"mlp": {"activation": "relu", "dropout": 0}}},
    },
    "defaults that are null": {"preprocess": {"split": None}, "train": {"seed": None}},
    "the same numbers in other words": {"train": {"optimizer": {"sgd": {"learningRate": 5e-1}}}},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_job_cannot_get(what: str, jobs: Jobs) -> None:
    patch, field = REFUSED[what]
    jobs.create(job_of_all_blocks())
    before = jobs.get()

    status, answer = jobs.patch({"spec": patch})

    assert (status, answer["reason"]) == (422, "Invalid")
    assert f"{field}: Forbidden: {IMMUTABLE}" in answer["message"]
    assert jobs.get() == before


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_job_can_get(what: str, jobs: Jobs) -> None:
    before = jobs.create(job_of_all_blocks())

    status, after = jobs.patch({"spec": ACCEPTED[what]})

    assert status == 200, after
    different = before["spec"] != after["spec"]
    mutable = ("policy", "suspend")
    assert different == any(ACCEPTED[what].get(field) is not None for field in mutable)
    assert after["metadata"]["generation"] == 1 + different


OTHER_NODES = {"template": {"nodeSelector": {"pool": "b"}, "tolerations": [{"key": "spot"}]}}
# A merge patch of a suspended job's spec, and the field that the server names; None: it is taken.
WHILE_SUSPENDED: dict[str, tuple[dict[str, Any], str | None]] = {
    "other nodes for each stage": (
        {"preprocess": OTHER_NODES, "train": OTHER_NODES, "evaluate": OTHER_NODES},
        None,
    ),
    "a larger gang": ({"train": {"nodes": 4}}, None),
    "a larger gang elsewhere, and it goes on": (
        {"train": {"nodes": 4, **OTHER_NODES}, "suspend": False},
        None,
    ),
    "no template": ({"train": {"template": None}}, None),
    "other terms, of which CEL does not see the inside": (
        {"train": {"template": {"affinity": rather("rack")}}},
        None,
    ),
    "other nodes and more epochs": ({"train": {"epochs": 7, **OTHER_NODES}}, "spec.train"),
    "more epochs": ({"train": {"epochs": 7}}, "spec.train"),
    "weights, which CEL does not see": (
        {"train": {"classWeights": "balanced"}},
        "spec.train",
    ),
    "another label": ({"task": {"label": "other"}}, "spec.task"),
    "other nodes and another input": (
        {"preprocess": {"input": {"uri": "pvc://d/b.csv"}, **OTHER_NODES}},
        "spec.preprocess",
    ),
    "other nodes and a lower gate": (
        {"evaluate": {"gates": [{"metric": "accuracy", "min": 0.1}], **OTHER_NODES}},
        "spec.evaluate",
    ),
    "no evaluation": ({"evaluate": None}, "spec.evaluate"),
}


@pytest.mark.parametrize("what", WHILE_SUSPENDED)
def test_a_suspended_job_can_get_other_nodes_and_nothing_else(what: str, jobs: Jobs) -> None:
    """What queues do before they resume a job, in the same update or before."""
    patch, field = WHILE_SUSPENDED[what]
    manifest = job_of_all_blocks()
    manifest["spec"]["suspend"] = True
    before = jobs.create(manifest)

    status, answer = jobs.patch({"spec": patch})

    if field is None:
        assert status == 200, answer
        assert answer["spec"] != before["spec"]
    else:
        assert (status, answer["reason"]) == (422, "Invalid")
        assert f"{field}: Forbidden: {IMMUTABLE}" in answer["message"]


def test_a_job_gets_its_own_nodes_back_as_it_is_suspended(jobs: Jobs) -> None:
    jobs.create(job_of_all_blocks())
    patch = {"spec": {"suspend": True, "train": {"nodes": 3, **OTHER_NODES}}}
    assert jobs.patch(patch)[0] == 200


@pytest.mark.parametrize("block", ["preprocess", "evaluate"])
def test_a_job_cannot_get_a_stage_that_it_was_made_without(block: str, jobs: Jobs) -> None:
    manifest = job_of_all_blocks()
    patch: dict[str, Any] = {block: manifest["spec"].pop(block)}
    if block == "preprocess":
        manifest["spec"]["train"]["dataset"] = {"uri": "pvc://d/dataset"}
        patch["train"] = {"dataset": None}
    jobs.create(manifest)

    status, answer = jobs.patch({"spec": patch})

    assert status == 422
    assert f"spec.{block}: Forbidden: {IMMUTABLE}" in answer["message"]


def test_labels_and_annotations_may_change(jobs: Jobs) -> None:
    jobs.create(job_of_all_blocks())

    metadata = {"labels": {"team": "vision"}, "annotations": {"note": "x"}}
    status, after = jobs.patch({"metadata": metadata})

    assert status == 200
    assert after["metadata"]["generation"] == 1


def test_the_policy_of_the_largest_jobs_can_still_change(jobs: Jobs) -> None:
    """What a rule may cost at run time depends on the size of the object."""
    manifest = job_of_all_blocks()
    steps = [{"filter": {"where": f"a > {i} and " + "x" * 3000}} for i in range(256)]
    manifest["spec"]["preprocess"]["steps"] = steps
    manifest["spec"]["train"]["env"] = [{"name": f"V{i}", "value": "v" * 1500} for i in range(256)]
    assert len(json.dumps(manifest)) > 1_100_000
    jobs.create(manifest)

    assert jobs.patch({"spec": {"policy": {"retries": {"application": 7}}}})[0] == 200
    steps[-1] = {"filter": {"where": "a"}}
    status, answer = jobs.patch({"spec": {"preprocess": {"steps": steps}}})
    assert status == 422
    assert f"spec.preprocess: Forbidden: {IMMUTABLE}" in answer["message"]
