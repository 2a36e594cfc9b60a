"""What an edited manifest changes, told stage by stage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trainingjob.api.v1alpha1 import TrainingJob
from trainingjob.core import stages
from trainingjob.core.policy import edits

from .world import manifest

Edit = Callable[[dict[str, Any]], Any]
SCRIPT = {"script": {"configMap": {"name": "code", "key": "train.py"}}}
STAGES = ("preprocess", "train", "evaluate")


def job(edit: Edit = lambda spec: None) -> TrainingJob:
    value = copy.deepcopy(manifest())
    edit(value["spec"])
    return TrainingJob.from_dict(value)


# what is edited -> the stages that were made by it
EDITS: dict[str, tuple[Edit, set[str]]] = {
    "nothing": (lambda spec: None, set()),
    "a default, written out": (lambda spec: spec["train"].update(seed=0), set()),
    "the policy": (lambda spec: spec.update(policy={"retries": {"application": 3}}), set()),
    "the task": (lambda spec: spec["task"].update(label="other"), set(STAGES)),
    "the storage": (lambda spec: spec["storage"].update(uri="pvc://other"), set(STAGES)),
    "the split": (lambda spec: spec["preprocess"].update(split={"seed": 9}), {"preprocess"}),
    "the epochs": (lambda spec: spec["train"].update(epochs=99), {"train"}),
    "a gate": (
        lambda spec: spec["evaluate"].update(gates=[{"metric": "accuracy", "min": 0.5}]),
        {"evaluate"},
    ),
    "the seal of the test split": (
        lambda spec: spec["evaluate"].update(sealed=True),
        {"preprocess", "evaluate"},
    ),
    "how much memory": (
        lambda spec: spec["train"].update(resources={"requests": {"memory": "1Gi"}}),
        set(),
    ),
}


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS)
def test_the_stages_that_an_edit_is_about(edit, expected):
    found = {name for name in STAGES if edits.of_stage(name, job(), job(edit), {}, {})}
    assert found == expected


@pytest.mark.parametrize(
    ("tokenize", "expected"), [({}, {"preprocess", "train"}), ({"from": "pvc://t"}, {"train"})]
)
def test_a_pretrained_model_is_also_its_tokenizer(tokenize, expected):
    def edit(spec: dict[str, Any], uri: str) -> None:
        spec |= {
            "task": {"type": "languageModel", "text": "body"},
            "preprocess": {
                "input": {"uri": "pvc://data/x.json", "format": "json"},
                "tokenize": {"sequenceLength": 8, **tokenize},
            },
            "train": {"model": {"pretrained": {"uri": uri}}},
            "evaluate": {"metrics": ["perplexity"]},
        }

    old, new = (job(partial(edit, uri=uri)) for uri in ("pvc://one", "pvc://two"))
    assert {name for name in STAGES if edits.of_stage(name, old, new, {}, {})} == expected


def with_script(spec: dict[str, Any]) -> None:
    spec["train"] = dict(SCRIPT)


MAPS: dict[str, tuple[dict[str, str], list[str]]] = {
    "the same": ({"train.py": "1", "other": "1"}, []),
    "another key": ({"train.py": "1", "other": "2"}, []),
    "its own key": ({"train.py": "2", "other": "1"}, ["ConfigMap code: train.py"]),
}


@pytest.mark.parametrize(("data", "expected"), MAPS.values(), ids=MAPS)
def test_a_script_in_a_config_map_is_compared_by_its_text(data, expected):
    before = {"code": {"train.py": "1", "other": "1"}}
    scripted = job(with_script)
    assert edits.of_stage("train", scripted, scripted, before, {"code": data}) == expected
    assert edits.of_stage("evaluate", scripted, scripted, before, {"code": data}) == []


def test_code_in_a_config_map_is_compared_file_by_file():
    train = {"code": {"configMap": {"name": "code"}}, "command": ["python", "a.py"]}
    coded = job(lambda spec: spec.update(train=train))
    before, after = ({"code": {"a.py": "1", "b.py": text}} for text in "12")
    assert edits.of_stage("train", coded, coded, before, before) == []
    assert edits.of_stage("train", coded, coded, before, after) == ["ConfigMap code: b.py"]
    gone = {"code": {"a.py": "1"}}
    assert edits.of_stage("train", coded, coded, before, gone) == ["ConfigMap code: b.py"]


OVER: dict[str, tuple[Edit, Edit, bool]] = {
    "epochs of the built-in training": (
        lambda spec: None,
        lambda spec: spec["train"].update(epochs=99),
        True,
    ),
    "its nodes": (lambda spec: None, lambda spec: spec["train"].update(nodes=3), False),
    "its metrics": (
        lambda spec: None,
        lambda spec: spec["evaluate"].update(metrics=["roc_auc"]),
        False,
    ),
    "arguments of own code": (
        with_script,
        lambda spec: spec.update(train=SCRIPT | {"args": ["--epochs=9"]}),
        False,
    ),
    "from the built-in training to own code": (lambda spec: None, with_script, True),
}


@pytest.mark.parametrize(("before", "after", "expected"), OVER.values(), ids=OVER)
def test_whether_training_can_go_on_from_its_checkpoints(before, after, expected):
    assert stages.named("train").starts_over(job(before), job(after)) is expected
