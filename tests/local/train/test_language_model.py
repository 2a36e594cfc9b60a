"""Language models: losses, checkpoints, the model's folder and its metrics, against transformers
and plain loops."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.gpu.__main__ import TINY
from tests.gpu.language import measure
from tests.local.train.language import BEST, TASK, history, payload_of
from trainingjob.api.payload import STAGE_PAYLOAD, EvaluatePayload
from trainingjob.local.node import free_port
from trainingjob.runtime import evaluate
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.model import check, transformer
from trainingjob.runtime.train import placement
from trainingjob.runtime.train.data import mix
from trainingjob.runtime.train.families.transformer import TransformerFamily
from trainingjob.runtime.train.tokens import TokenSplit


def test_the_folder_is_what_transformers_loads(dataset: Path, model: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = "Return a new sorted list from the items in iterable.\n"
    ids = Tokenizer.from_file(str(dataset / "tokenizer.json")).encode(text).ids
    assert tokenizer(text)["input_ids"] == ids
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token_id, network.generation_config.eos_token_id) == (0, 0)

    # The same network, put together from what lies there.
    tokens = DatasetManifest.read(dataset).tokens
    assert tokens is not None
    spec = payload_of(dataset, dataset).model
    assert spec is not None and spec.transformer is not None
    mine: Any = transformer.build(transformer.config_of(spec.transformer, tokens))
    transformer.fill(mine, torch.device("cpu"), 3, mix, lambda _, whole: whole)
    mine.load_state_dict(load_file(model / "model.safetensors"))
    rows = torch.tensor([ids[:16]])
    with torch.no_grad():
        assert torch.equal(mine.eval()(rows).logits, network(rows).logits)
        made = network.generate(rows[:, :4], max_new_tokens=8, do_sample=False)
    assert made.shape[1] <= 12


def test_weights_may_be_several_files(
    dataset: Path, model: Path, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "_FILE_BYTES", 40_000)
    several = trained() / "model"
    assert len(list(several.glob("model-*-of-*.safetensors"))) > 2
    one, other = (AutoModelForCausalLM.from_pretrained(path) for path in (model, several))
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def judged(dataset: Path, model: Path, output: Path, **more: Any) -> Any:
    payload = {
        "job": {"namespace": "default", "name": "words", "uid": "1"},
        "attempt": 1,
        "task": TASK,
        "metrics": ["perplexity", "bits_per_byte", "loss", "token_accuracy"],
        "dataset": f"file://{dataset}",
        "modelUri": f"file://{model}",
        "output": f"file://{output}/evaluation",
        **more,
    }
    text = json.dumps(payload)
    # What ranks find in their pod.
    told = {STAGE_PAYLOAD: json.dumps({"stage": "evaluate", **payload})}
    with mock.patch.dict(os.environ, told | {"MASTER_PORT": str(free_port())}):
        result = evaluate.run(EvaluatePayload.model_validate_json(text))
    return {metric.name: metric.value for metric in result.metrics or ()}


def test_metrics_are_transformers_own_over_every_token(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    test, train = (pq.read_table(dataset / split).to_pylist() for split in ("test", "train"))
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for row in test:
            ids = torch.tensor([row["input_ids"][: row["length"]]])
            out = network(ids, labels=ids)
            total += float(out.loss) * (row["length"] - 1)
            right += int((out.logits[0, :-1].argmax(-1) == ids[0, 1:]).sum())
            count += row["length"] - 1
    size = DatasetManifest.read(dataset).tokens.splits["test"].bytes  # type: ignore[union-attr]
    found = judged(dataset, model, tmp_path)
    assert found == pytest.approx(
        {
            "perplexity": math.exp(total / count),
            "bits_per_byte": total / math.log(2) / size,
            "loss": total / count,
            "token_accuracy": right / count,
        },
        rel=1e-5,
    )

    def counts(rows: list[dict[str, Any]]) -> np.ndarray:
        its = [one for row in rows for one in row["input_ids"][1 : row["length"]]]
        return np.bincount(its, minlength=300)

    seen, asked = counts(train) + 1, counts(test)
    unigram = math.exp(-(asked * np.log(seen / seen.sum())).sum() / asked.sum())
    written = json.loads((tmp_path / "evaluation/metrics.json").read_text())["metrics"]
    assert written["unigram_perplexity"] == pytest.approx(unigram)

    # By three processes, of which each has a third of the weights and some of the rows.
    together = judged(dataset, model, tmp_path / "gang", nodes=1, procsPerNode=3)
    assert together == pytest.approx(found, rel=1e-6)
    again = json.loads((tmp_path / "gang/evaluation/metrics.json").read_text())["metrics"]
    assert again == pytest.approx(written, rel=1e-6)


def test_a_gang_that_cannot_judge_says_why(dataset: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    truncated(folder)
    with pytest.raises(StageFailure, match="it cannot be judged by several") as caught:
        judged(dataset, folder, tmp_path, nodes=1, procsPerNode=2)
    assert caught.value.reason == "ModelCorrupt"
    assert "model.safetensors is damaged" in caught.value.message


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def changed(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    change.__name__ = str(values)
    return change


def incomplete(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def of_fewer_tokens(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:299].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    changed(vocab_size=299)(folder)


@pytest.mark.parametrize(
    ("damage", "reason", "words"),
    [
        (shutil.rmtree, "ModelMissing", "there is no model in"),
        (pickled, "ModelMissing", "read by unpickling could run any code: save them as safetens"),
        (without_config, "ModelMissing", "there is no config.json with model.safetensors"),
        (truncated, "ModelCorrupt", "cannot be loaded by transformers"),
        (incomplete, "ModelCorrupt", "lacks weights of the model that its config.json describes"),
        (changed(num_attention_heads=0), "ModelCorrupt", "cannot be loaded by transformers"),
        (not_finite, "ModelCorrupt", "predicts NaN or infinity"),
        (changed(model_type="nothing"), "ModelCorrupt", "cannot be loaded by transformers"),
        (changed(max_position_embeddings=8), "ModelCorrupt", "takes at most 8 tokens at once"),
        (of_fewer_tokens, "ModelCorrupt", "knows 299 tokens, and the dataset's tokenizer has 300"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_no_language_model_is_named(
    dataset: Path,
    model: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
    words: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder)
    with pytest.raises(StageFailure) as caught:
        judged(dataset, folder, tmp_path)
    assert (caught.value.reason, words in caught.value.message) == (reason, True), caught.value


def test_own_code_may_leave_such_a_folder(model: Path, tmp_path: Path) -> None:
    check.check_model(model, texts=True)
    with pytest.raises(StageFailure, match="there is no model"):
        check.check_model(tmp_path, texts=True)


def test_a_loss_that_is_not_finite_is_told(trained: Callable[..., Path]) -> None:
    with pytest.raises(StageFailure) as caught:
        trained(optimizer={"sgd": {"learningRate": 100.0}}, gradientClip=None, epochs=30)
    assert caught.value.reason == "LossNotFinite"
    assert "the loss became nan in epoch" in caught.value.message


def test_layers_that_are_compiled_learn_the_same(
    trained: Callable[..., Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured by torch's compiler, and run without its code generator."""
    monkeypatch.setattr(placement, "COMPILER", "eager")
    compiled = trained(compile=True, activationCheckpointing=True)
    losses, expected = ([row["loss"] for row in history(one)] for one in (compiled, model.parent))
    assert losses == pytest.approx(expected, rel=1e-5)


def test_without_a_compiler_that_is_said(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(StageFailure) as caught:
        trained(compile=True)
    assert caught.value.reason == "SettingUnsuitable"
    assert "train.compile needs a C++ compiler" in caught.value.message


def test_a_budget_of_tokens_ends_in_the_middle_of_an_epoch(
    dataset: Path, trained: Callable[..., Path]
) -> None:
    tokens = DatasetManifest.read(dataset).tokens
    assert tokens is not None
    count = tokens.splits["train"].tokens
    steps = math.ceil(count / 16 / 50)
    rows = history(trained(tokens=count + 2 * 50 * 16 + 5, epochs=None))
    assert [row["step"] for row in rows] == [steps, steps + 2]


def test_a_language_model_stops_early_and_keeps_the_best(
    dataset: Path, trained: Callable[..., Path], model: Path
) -> None:
    folder = trained(**BEST)
    assert len(history(folder)) == 3
    once = trained(schedule=None, epochs=1)
    kept, first = (load_file(one / "model/model.safetensors") for one in (folder, once))
    for name, tensor in first.items():
        assert torch.equal(kept[name], tensor)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {},
            "raise train.gradientAccumulation above 1, set train.activationCheckpointing, or lower "
            "train.batchSize",
        ),
        (
            {"gradientAccumulation": 50, "activationCheckpointing": True},
            "lower train.batchSize, divide the model over more train.nodes, or shorten ",
        ),
    ],
)
def test_memory_that_does_not_suffice_names_what_lowers_it(
    trained: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    words: str,
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TransformerFamily, "loss", full)
    with pytest.raises(StageFailure, match=r"with \d+\.\d GB in use at its peak") as caught:
        trained(**settings)
    assert (caught.value.reason, words in caught.value.message) == ("OutOfMemory", True), caught


def rows_of(ids: list[list[int]], lengths: list[int]) -> Iterator[tuple[str, Any]]:
    yield "input_ids", ids
    yield "length", lengths


@pytest.mark.parametrize(
    ("ids", "lengths"),
    [
        ([[1] * 16], [16]),
        ([[1] * 17], [18]),
        ([[1] * 17], [0]),
        ([[300] + [1] * 16], [17]),
        ([[-1] + [1] * 16], [17]),
        ([None], [17]),
    ],
    ids=str,
)
def test_rows_that_are_not_the_manifest_s_are_refused(
    dataset: Path, tmp_path: Path, ids: Any, lengths: list[int]
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(dataset, folder)
    (file,) = (folder / "validation").iterdir()
    table = pq.read_table(file).slice(0, 1)
    schema = table.schema
    pq.write_table(type(table).from_pydict(dict(rows_of(ids, lengths)), schema=schema), file)
    manifest = DatasetManifest.model_validate_json((folder / "manifest.json").read_text())
    info = manifest.splits["validation"]
    one = info.model_copy(
        update={"rows": 1, "files": [info.files[0].model_copy(update={"rows": 1})]}
    )
    found = manifest.model_copy(update={"splits": {**manifest.splits, "validation": one}})
    split = TokenSplit(Rows(folder, found, "validation", []), 4)
    with pytest.raises(StageFailure, match="rows that are not 17 tokens below 300"):
        list(split.batches(0, 0, 0, 1))


def test_what_a_gpu_is_asked_works_on_a_cpu(tmp_path: Path) -> None:
    figures = measure(tmp_path, TINY, cpu=True)
    assert figures["resumes_with_the_same_state"] is True
    assert figures["loss"] == pytest.approx(math.log(300), rel=0.02), "tokens at random"
    assert {name: value > 0 for name, value in figures.items() if isinstance(value, float)} == {
        "tokens_per_second": True,
        "of_a_plain_loop": True,
        "loss": True,
        "checkpoint_stall_seconds": True,
        "checkpoint_written_seconds": True,
    }
