"""A folder of Hugging Face's with a classifier of texts is judged as transformers itself would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, log_loss, r2_score
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.datasets import write_dataset
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.labels import Classes
from trainingjob.runtime.evaluate import texts
from trainingjob.runtime.evaluate.text_classifier import TextClassifier
from trainingjob.runtime.evaluate.texts import order

from .build import World

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "the", "film", "was", "not"),
    *("good", "bad", "fine", "awful", "long"),
]
MOST = 12
TEXTS = [
    *("good film", "the film was not bad", "awful", "a film", "not a good film"),
    *("the film was not good , it was awful", "fine"),
    "the film was long " * 9 + "not good",  # longer than any of these models takes
] * 6
KINDS = ["bad", "good", "so-so"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZE = {**SMALL, "intermediate_size": 16, "vocab_size": len(WORDS)}


def tokenizer(**options: Any) -> Any:
    words = {word: number for number, word in enumerate(WORDS)}
    tool = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tool.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    given = {"pad_token": "[PAD]", "unk_token": "[UNK]"} | options
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tool, **given)


def bert(folder: Path, **config: Any) -> None:
    """With weights large enough that the texts matter."""
    torch.manual_seed(3)
    given = {"num_labels": 3, "max_position_embeddings": MOST} | config
    made = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZE | given))
    for weights in made.parameters():
        weights.data *= 5
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def by_transformers(folder: Path, given: list[str]) -> list[dict[str, float]]:
    """What its pipeline says of each, by label; of longer texts the beginning alone."""
    pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    found = pipe(given, top_k=None, truncation=True, max_length=MOST)
    return [{one["label"]: one["score"] for one in row} for row in found]


class _Here:
    """In place of the process, which takes seconds to start."""

    def __init__(self, path: Path) -> None:
        self._model = TextClassifier.load(path.parent)
        self.labels, self.most, self.predict = (
            self._model.labels, self._model.most, self._model.predict,
        )  # fmt: skip

    def close(self) -> None:
        """It has nothing to end."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "SandboxedTexts", _Here)


@pytest.fixture
def reviews(world: World) -> World:
    """Texts beside a number, and the kind of each."""
    table = pa.table(
        {
            "length": [float(len(text)) for text in TEXTS],
            "text": TEXTS,
            "label": [KINDS[number % 3] for number in range(len(TEXTS))],
        }
    )
    write(world, table)
    return world


def write(world: World, table: pa.Table) -> None:
    write_dataset(
        world.dataset, {"train": table, "test": table}, label=world.label, task=world.task
    )


def test_it_is_judged_as_by_transformers_own_pipeline(
    reviews: World, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {0: "so-so", 1: "bad", 2: "good"}  # in another order than the dataset's classes
    bert(reviews.model, id2label=names, label2id={name: key for key, name in names.items()})
    scores = by_transformers(reviews.model, TEXTS)
    truth = [KINDS[number % 3] for number in range(len(TEXTS))]
    found = reviews.values("accuracy", "log_loss")
    taken = [max(row, key=lambda name: row[name]) for row in scores]
    assert len({*taken}) > 1, "or the order of the labels would not matter"
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, taken))
    matrix = np.array([[row[name] for name in KINDS] for row in scores], dtype=np.float64)
    matrix /= matrix.sum(axis=1, keepdims=True)  # which float32 has rounded
    assert found["log_loss"] == pytest.approx(log_loss(truth, matrix, labels=KINDS), rel=1e-5)
    assert reviews.report()["source"] == "textClassifier"
    assert f"6 of 48 texts are longer than the {MOST} tokens" in capfd.readouterr().out


@pytest.mark.usefixtures("here")
def test_one_value_for_a_number(world: World) -> None:
    world.task = "regression"
    values = [float(number % 5) for number in range(len(TEXTS))]
    write(world, pa.table({"text": TEXTS, "label": values}))
    bert(world.model, num_labels=1, problem_type="regression")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(world.model).eval()
    with torch.inference_mode():
        given = tokenizer()(TEXTS, padding=True, truncation=True, max_length=MOST)
        found = model(**{name: torch.tensor(x) for name, x in given.items()}).logits[:, 0]
    assert world.values("r2")["r2"] == pytest.approx(r2_score(values, found.numpy()), rel=1e-4)


def gpt2(folder: Path) -> None:
    """Without a token of padding: one text at a time."""
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=MOST, num_labels=3
    )
    transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer(pad_token=None).save_pretrained(folder)


def roberta(folder: Path) -> None:
    """Whose positions begin behind that of padding."""
    config = transformers.RobertaConfig(
        **SIZE, num_labels=3, max_position_embeddings=MOST + 1, pad_token_id=0
    )
    transformers.RobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def distilbert(folder: Path) -> None:
    """Which takes no kinds of tokens."""
    config = transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=16, num_labels=3,
        max_position_embeddings=MOST,
    )  # fmt: skip
    transformers.DistilBertForSequenceClassification(config).save_pretrained(folder)
    names = ["input_ids", "attention_mask"]
    tokenizer(model_input_names=names).save_pretrained(folder)


def llama(folder: Path) -> None:
    """Which looks at the last token before the padding."""
    config = transformers.LlamaConfig(
        **SIZE, num_key_value_heads=2, num_labels=3, max_position_embeddings=MOST, pad_token_id=0
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer(model_max_length=MOST).save_pretrained(folder)


@pytest.mark.parametrize("make", [gpt2, roberta, distilbert, llama], ids=lambda f: f.__name__)
def test_architectures_are_as_in_transformers(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    model = TextClassifier.load(tmp_path)
    logits, cut = model.predict(TEXTS[:8])
    assert (model.most, cut) == (MOST, 1)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = [
        [row[label] for label in model.labels] for row in by_transformers(tmp_path, TEXTS[:8])
    ]
    assert scores == pytest.approx(np.array(expected), abs=1e-5)


def change(folder: Path, **config: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def without_its_head(folder: Path) -> None:
    """transformers itself would make up what is missing, by chance."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["classifier.weight"]
    save_file(weights, path, {"format": "pt"})


def code_of_its_own(folder: Path) -> None:
    change(
        folder,
        model_type="mine",
        auto_map={"AutoConfig": "mine.Config", "AutoModelForSequenceClassification": "mine.Model"},
    )
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def pickled(folder: Path) -> None:
    """An index that names a pickle."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": {"classifier.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def of_another_tokenizer(folder: Path) -> None:
    other = tokenizer()
    other.add_tokens(["film2", "film3"])
    other.save_pretrained(folder)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights that are missing": (without_its_head, "lacks weights that its config asks for"),
    "code of its own": (code_of_its_own, "is no model of transformers"),
    "weights that are pickled": (pickled, "is no model of transformers"),
    "another tokenizer": (of_another_tokenizer, "knows 14 tokens, and its tokenizer has 16"),
    "several labels a row": (
        lambda folder: change(folder, problem_type="multi_label_classification"),
        "gives a row several labels",
    ),
    "numbers of few bits": (
        lambda folder: change(folder, quantization_config={"quant_method": "bitsandbytes"}),
        "is quantized",
    ),
    "no sizes of a model": (lambda folder: change(folder, hidden_size=-4), "is no model of"),
}


@pytest.mark.parametrize(("spoil", "words"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_for(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    bert(tmp_path)
    spoil(tmp_path)
    with pytest.raises(StageFailure, match=words) as caught:
        TextClassifier.load(tmp_path)
    assert caught.value.reason == "ModelCorrupt"
    assert "\n" not in caught.value.message
    assert not (tmp_path / "ran").exists()


CLASSES = Classes([False, True])
ORDERS: dict[str, tuple[list[str], Classes, list[int]]] = {
    "names in another order": (["b", "a"], Classes(["a", "b"]), [1, 0]),
    "names that nobody gave": (["LABEL_0", "LABEL_1"], Classes(["a", "b"]), [0, 1]),
    "booleans": (["true", "false"], CLASSES, [1, 0]),
    "whole numbers": (["2", "1"], Classes([1.0, 2.0]), [1, 0]),
}


@pytest.mark.parametrize(("labels", "classes", "expected"), ORDERS.values(), ids=ORDERS)
def test_labels_are_found_by(labels: list[str], classes: Classes, expected: list[int]) -> None:
    assert order(Path("config.json"), labels, classes) == expected


@pytest.mark.parametrize("labels", [["a"], ["a", "c"], ["a", "b", "c"], ["a", "a"], ["LABEL_0"]])
def test_labels_that_are_not_the_classes_are_named(labels: list[str]) -> None:
    with pytest.raises(StageFailure, match="id2label=dict") as caught:
        order(Path("config.json"), labels, Classes(["a", "b"]))
    assert f"has the labels {', '.join(labels)}" in caught.value.message


@pytest.mark.usefixtures("here")
def test_which_column_is_text_must_be_clear(world: World) -> None:
    bert(world.model)
    labels = ["a", "b", "c"]
    write(world, pa.table({"x": [1.0, 2.0, 3.0], "label": labels}))
    failure = world.failure("accuracy")
    assert (failure.reason, "there is none of text" in failure.message) == (
        "SettingUnsuitable",
        True,
    )
    write(world, pa.table({"title": labels, "body": labels, "label": labels}))
    failure = world.failure("accuracy")
    assert "there are 2 of text (title, body): name it in task.features" in failure.message
    world.features = ["body"]
    assert world.values("accuracy")


@pytest.mark.usefixtures("here")
def test_a_text_that_is_not_there_is_named(world: World) -> None:
    bert(world.model)
    write(world, pa.table({"text": ["a", None, "film"], "label": ["a", "b", "c"]}))
    failure = world.failure("accuracy")
    assert failure.reason == "FeatureHasNulls"
    assert "feature text in " in failure.message and "has 1 nulls" in failure.message
