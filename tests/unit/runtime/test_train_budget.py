"""How long training goes on, and what cannot be divided."""

from __future__ import annotations

from typing import Any

import pytest

from trainingjob.api.payload import TrainPayload
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest, SplitInfo, TokenCounts, Tokens
from trainingjob.runtime.train.budget import Budget, budget_of, check_batch, rows_of_a_part

MLP = {"mlp": {}}
LLAMA = {"transformer": {"architecture": "llama", "layers": 1, "hidden": 8, "heads": 1}}


def payload(**train: Any) -> TrainPayload:
    known = {
        "job": {"namespace": "default", "name": "words", "uid": "1"},
        "attempt": 1,
        "task": {"type": "languageModel", "text": "body"},
        "nodes": 1,
        "procs_per_node": 1,
        "seed": 0,
        "needs_model": False,
        "dataset": "file:///d",
        "checkpoints": "file:///c",
        "model_uri": "file:///m",
    }
    return TrainPayload.model_validate(known | train)


def manifest(
    rows: int, tokens: int | None = None, chat_template: str | None = None
) -> DatasetManifest:
    """Rows of 10 tokens."""
    told = tokens and Tokens(
        chat_template=chat_template,
        tokenizer="sha256:" + "0" * 64,
        vocab_size=300,
        end_of_text="<|endoftext|>",
        end=0,
        sequence_length=10,
        splits={"train": TokenCounts(documents=1, bytes=1, tokens=tokens)},
    )
    return DatasetManifest(
        label="body",
        task="languageModel" if tokens else "regression",
        features=[],
        columns={},
        splits={"train": SplitInfo(rows=rows, files=[])},
        tokens=told or None,
    )


# rows, tokens, settings -> steps, epochs
BUDGETS = [
    ("ten epochs of a perceptron", 100, None, {}, (40, 10)),
    ("as many as are asked for", 100, None, {"epochs": 3, "batch_size": 50}, (6, 3)),
    ("one of a language model", 100, 995, {}, (4, 1)),
    ("tokens of less than an epoch", 100, 995, {"tokens": 700}, (2, 1)),
    ("exactly an epoch", 100, 995, {"tokens": 995}, (4, 1)),
    ("the last batch of an epoch is smaller", 100, 995, {"tokens": 990}, (3, 1)),
    ("two epochs and a half", 100, 995, {"tokens": 2 * 995 + 640}, (10, 3)),
    ("a step", 100, 995, {"tokens": 320}, (1, 1)),
]


@pytest.mark.parametrize(
    ("rows", "tokens", "settings", "found"), [b[1:] for b in BUDGETS], ids=[b[0] for b in BUDGETS]
)
def test_how_many_steps_there_are(
    rows: int, tokens: int | None, settings: dict[str, Any], found: tuple[int, int]
) -> None:
    assert budget_of(payload(**settings), manifest(rows, tokens)) == Budget(*found)


@pytest.mark.parametrize(("tokens", "steps"), [(25, 1), (199, 7), (100, 4), (350, 14)])
def test_of_conversations_the_answers_count(tokens: int, steps: int) -> None:
    """100 of them in 4 steps an epoch, whatever else is in the rows."""
    template = "sha256:" + "0" * 64
    found = budget_of(payload(tokens=tokens), manifest(100, 100, template))
    assert found.steps == steps


def test_a_budget_below_a_step_says_what_a_step_takes() -> None:
    with pytest.raises(StageFailure) as caught:
        budget_of(payload(tokens=319), manifest(100, 995))
    assert caught.value.reason == "SettingUnsuitable"
    assert caught.value.message == (
        "train.tokens is 319, and a step learns from 320: train.batchSize 32 rows of 10; raise "
        "train.tokens or lower train.batchSize"
    )


# model, processes, settings -> words, or the rows of a part
BATCHES: list[tuple[str, Any, int, dict[str, Any], str | int]] = [
    ("shares may be unequal", LLAMA, 3, {}, 11),
    ("a row each", LLAMA, 32, {}, 1),
    ("a process without a row", LLAMA, 33, {}, "33 processes cannot share: raise it to 33 or more"),
    ("in parts of two rows", LLAMA, 2, {"gradient_accumulation": 8}, 2),
    (
        "in more parts than rows",
        LLAMA,
        2,
        {"gradient_accumulation": 17},
        "cannot share in 17 parts (train.gradientAccumulation): raise it to 34 or more, or lower",
    ),
    ("a perceptron's rank may have none", MLP, 40, {}, 1),
    ("but not its parts", MLP, 8, {"gradient_accumulation": 5}, "raise it to 40 or more"),
]


@pytest.mark.parametrize(
    ("model", "world", "settings", "found"), [b[1:] for b in BATCHES], ids=[b[0] for b in BATCHES]
)
def test_what_a_batch_is_divided_into(
    model: Any, world: int, settings: dict[str, Any], found: str | int
) -> None:
    asked = payload(model=model, nodes=world, **settings)
    if isinstance(found, int):
        check_batch(asked)
        assert rows_of_a_part(asked, world) == found
        return
    with pytest.raises(StageFailure) as caught:
        check_batch(asked)
    assert (caught.value.reason, found in caught.value.message) == ("SettingUnsuitable", True)
