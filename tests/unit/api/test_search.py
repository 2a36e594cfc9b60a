"""What a search may try: each setting is checked as if it stood in train."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.corpus import good
from trainingjob.api.errors import check_manifest
from trainingjob.api.v1alpha1.search import applied, whole_numbers
from trainingjob.api.v1alpha1.train import Train

RATE = "optimizer.adam.learningRate"


def problems(*parameters: dict[str, Any], **train: Any) -> list[str]:
    job = good("search-minimal")
    job["spec"]["train"]["search"]["parameters"] = list(parameters)
    job["spec"]["train"] |= train
    return [str(problem) for problem in check_manifest(job)[1]]


@pytest.mark.parametrize(
    ("parameter", "train", "words"),
    [
        ({"field": "optimizer.adam.learnRate", "values": [0.1]}, {}, "there is no field learnRate"),
        ({"field": RATE, "min": 0.1, "max": 1000}, {}, "cannot be 1000.0: input should be less"),
        (
            {"field": RATE, "values": [0.1, "x"]},
            {},
            'cannot be "x": input should be a valid number',
        ),
        ({"field": "batchSize", "values": [8.5]}, {}, "cannot be 8.5: input should be a valid int"),
        ({"field": "batchSize", "min": 1.5, "max": 8}, {}, "batchSize takes whole numbers"),
        ({"field": "model.mlp.activation", "values": ["elu"]}, {}, 'cannot be "elu"'),
        ({"field": "model.mlp.hidden", "values": [8]}, {}, "input should be a valid list"),
        ({"field": "model.mlp.hidden[1]", "values": [8]}, {}, "the list in train has no [1]"),
        ({"field": "model.mlp.hidden.size", "values": [8]}, {}, "there is nothing below it"),
        ({"field": "model.mlp.hidden[0].x", "values": [8]}, {}, "there is nothing below it"),
        ({"field": "epochs.x", "values": [8]}, {"epochs": 3}, "there is nothing below it"),
        ({"field": "epochs[0]", "values": [8]}, {"epochs": 3}, "the list in train has no [0]"),
        ({"field": "model[0]", "values": [8]}, {}, "the list in train has no [0]"),
        ({"field": RATE, "values": [1]}, {"optimizer": {"sgd": {}}}, "exactly one of sgd, adam"),
        ({"field": "model.gradientBoosting.maxLeaves", "values": [8]}, {}, "exactly one of mlp"),
        ({"field": "nodes", "values": [2]}, {}, "nodes cannot be searched for: model, optimizer"),
        ({"field": "search.trials", "values": [2]}, {}, "search.trials cannot be searched for"),
        ({"field": "classWeights", "values": ["balanced"]}, {}, "cannot be searched for"),
    ],
)
def test_a_setting_that_train_does_not_take_is_refused(
    parameter: dict[str, Any], train: dict[str, Any], words: str
) -> None:
    (problem,) = problems(parameter, **train)
    assert problem.startswith(f"spec.train: search: {parameter['field']}")
    assert words in problem


def test_the_model_that_pods_mount_is_given() -> None:
    job = good("pretrained")
    parameter = {"field": "model.pretrained.uri", "values": ["pvc://a/b"]}
    job["spec"]["train"]["search"] = {"trials": 2, "parameters": [parameter]}
    assert "model.pretrained.uri cannot be searched for" in str(check_manifest(job)[1])


def test_settings_are_put_where_their_paths_lead_and_change_nothing_else() -> None:
    train = {"model": {"mlp": {"hidden": [64, 32]}}, "epochs": 3}

    found = applied(train, {RATE: 0.1, "model.mlp.hidden[1]": 8, "batchSize": 16})

    assert found == {
        "model": {"mlp": {"hidden": [64, 8]}},
        "epochs": 3,
        "batchSize": 16,
        "optimizer": {"adam": {"learningRate": 0.1}},
    }
    assert train == {"model": {"mlp": {"hidden": [64, 32]}}, "epochs": 3}


@pytest.mark.parametrize(
    ("field", "whole"),
    [("batchSize", True), ("model.mlp.hidden[0]", True), (RATE, False), ("no.such", False)],
)
def test_fields_of_whole_numbers_are_known(field: str, whole: bool) -> None:
    assert whole_numbers(Train, field) == whole
