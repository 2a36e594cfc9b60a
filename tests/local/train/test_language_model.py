"""Language models: losses, checkpoints, the model's folder and its metrics, against transformers
and plain loops."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
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
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tests.gpu.__main__ import TINY
from tests.gpu.language import measure
from tests.local.train.language import TASK, environment, make_dataset, payload_of
from tests.local.train.problems import classification
from trainingjob.api.payload import STAGE_PAYLOAD, EvaluatePayload
from trainingjob.local.node import free_port
from trainingjob.runtime import evaluate
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.model import check, transformer
from trainingjob.runtime.train import placement, worker
from trainingjob.runtime.train.budget import rate_factor
from trainingjob.runtime.train.data import mix
from trainingjob.runtime.train.families.transformer import TransformerFamily
from trainingjob.runtime.train.tokens import TokenSplit

ROOT = Path(__file__).parents[3]
PERCEPTRON = {
    "task": {"type": "classification", "label": "label"},
    "model": {"mlp": {"hidden": [16, 9]}},
    "batchSize": 41,
    "gradientAccumulation": 3,
    "gradientClip": 0.2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def gangs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of what several gangs left."""
    base = tmp_path_factory.mktemp("gangs")
    scenarios: list[dict[str, Any]] = [
        {"name": "whole", "world": 2},
        {"name": "alone", "world": 1, "after": "whole"},
        {"name": "three", "world": 3, "after": "whole", "damaged": True},
        {"name": "stopped", "world": 2, "stop": 1},
        {"name": "stopped", "world": 2},
    ]
    return run_gangs(base, dataset, scenarios)


# None is better than the first epoch by that much.
BEST: dict[str, Any] = {
    "earlyStopping": {"patience": 2, "minDelta": 1000},
    "schedule": None,
    "epochs": 9,
}


@pytest.fixture(scope="module")
def ways(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same of gangs whose weights lie otherwise on the ranks."""
    base = tmp_path_factory.mktemp("ways")
    classification(base)
    again = {"activationCheckpointing": True, "gradientAccumulation": 2}
    on_nodes = {"sharding": "hybrid", "nodes": 2, "procsPerNode": 2}
    divided = PERCEPTRON | {"sharding": "full", "dataset": f"file://{base}/dataset"}
    scenarios: list[dict[str, Any]] = [
        {"name": "replicas", "world": 2, "train": {"sharding": "none", **again}},
        # From the checkpoints of replicas.
        {"name": "hybrid", "world": 4, "here": 2, "after": "replicas", "train": on_nodes | again},
        {"name": "perceptron", "world": 2, "train": divided},
        {"name": "best", "world": 2, "train": BEST},
        {"name": "averaged", "world": 2, "train": {"ema": 0.5}},
    ]
    return run_gangs(base, dataset, scenarios)


def run_gangs(
    base: Path, dataset: Path, scenarios: list[dict[str, Any]], seconds: float = 280
) -> dict[str, Path]:
    """Folders by the names of the scenarios."""
    every = {"checkpoint": {"everySteps": 2, "keep": 9}}
    for scenario in scenarios:
        folder = base / scenario["name"]
        folder.mkdir(exist_ok=True)
        scenario["train"] = every | scenario.get("train", {})
        scenario |= {"folder": str(folder), "dataset": str(dataset)}
    told = base / "scenarios.json"
    told.write_text(json.dumps(scenarios))
    done = subprocess.run(
        [sys.executable, "-m", "tests.local.train.language", str(told)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    return {scenario["name"]: Path(scenario["folder"]) for scenario in scenarios}


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "model/history.json").read_text())


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains in this process."""

    def train(**more: Any) -> Path:
        folder = tmp_path_factory.mktemp("alone")
        before, debug = dict(os.environ), torch.get_deterministic_debug_mode()
        os.environ |= environment(0, 1, 1)
        try:
            worker.work(payload_of(dataset, folder, **more))
        finally:
            torch.set_deterministic_debug_mode(debug)
            os.environ.clear()
            os.environ |= before
        return folder

    return train


@pytest.fixture(scope="module")
def model(trained: Callable[..., Path]) -> Path:
    return trained() / "model"


def by_hand(dataset: Path) -> list[float]:
    """The mean loss of each epoch, as a loop in a notebook computes it: transformers' own model and
    loss, row by row."""
    manifest = DatasetManifest.read(dataset)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 1:
                assert name.endswith("norm.weight")
                assert (parameter == 1).all()
                continue
            generator = torch.Generator().manual_seed(mix(3, transformer.zlib.crc32(name.encode())))
            parameter.normal_(0.0, 0.02, generator=generator)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01, weight_decay=0.1)
    data = TokenSplit(Rows(dataset, manifest, "train", []), 50)
    schedule = worker.TrainPayload.model_validate_json(
        json.dumps(payload_of(dataset, dataset).to_dict())
    ).schedule
    losses, step = [], 0
    for epoch in range(2):
        total, tokens = 0.0, 0
        for ids, targets, _, _ in data.batches(3, epoch, 0, 1):
            lengths = (targets >= 0).sum(1) + 1
            summed = torch.zeros(())
            for row, length in zip(ids.long(), lengths.tolist(), strict=True):
                labels = row[None, :length]
                summed = summed + network(labels, labels=labels).loss * (length - 1)
            count = int((lengths - 1).sum())
            optimizer.zero_grad()
            (summed / count).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.param_groups[0]["lr"] = 0.01 * rate_factor(
                schedule, step, 2 * data.steps, epoch
            )
            optimizer.step()
            step, total, tokens = step + 1, total + summed.item(), tokens + count
        losses.append(total / tokens)
    return losses


def test_losses_are_those_of_a_plain_loop_and_parts_change_nothing(
    dataset: Path, model: Path, trained: Callable[..., Path], gangs: dict[str, Path]
) -> None:
    expected = by_hand(dataset)
    in_parts = trained(gradientAccumulation=7)
    for folder in (model.parent, in_parts, gangs["whole"]):
        assert [row["loss"] for row in history(folder)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["alone", "three", "stopped"])
def test_a_run_goes_on_with_another_number_of_ranks(gangs: dict[str, Path], name: str) -> None:
    rows, others = history(gangs["whole"]), history(gangs[name])
    for row, other in zip(rows, others, strict=True):
        assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-5)
    weights, found = (load_file(gangs[one] / "model/model.safetensors") for one in ("whole", name))
    assert weights.keys() == found.keys()
    for key, tensor in weights.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4)


def test_wherever_weights_lie_it_learns_the_same(model: Path, ways: dict[str, Path]) -> None:
    """Copies on each rank, from whose checkpoints go on halves on each of two nodes."""
    for name in ("replicas", "hybrid"):
        for row, other in zip(history(model.parent), history(ways[name]), strict=True):
            assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-4), name
    files = {path.name for path in (ways["hybrid"] / "checkpoints").glob("*/part-*")}
    assert "part-00001-of-00002.safetensors" in files


@pytest.mark.parametrize(("name", "settings"), [("best", BEST), ("averaged", {"ema": 0.5})])
def test_what_two_ranks_keep_beside_the_newest_weights_is_what_one_keeps(
    ways: dict[str, Path], trained: Callable[..., Path], name: str, settings: dict[str, Any]
) -> None:
    """All of it: validation leaves the outermost weights whole on each rank."""
    alone = load_file(trained(**settings) / "model/model.safetensors")
    for key, tensor in load_file(ways[name] / "model/model.safetensors").items():
        torch.testing.assert_close(tensor, alone[key], rtol=1e-3, atol=1e-4, msg=key)


def test_a_perceptron_that_is_divided_learns_the_same(
    ways: dict[str, Path], trained: Callable[..., Path]
) -> None:
    divided = ways["perceptron"]
    alone = trained(**PERCEPTRON, dataset=f"file://{divided.parent}/dataset")
    for row, other in zip(history(alone), history(divided), strict=True):
        assert list(other.values()) == pytest.approx(list(row.values()), rel=1e-4)
    assert len(list((divided / "checkpoints").glob("*/part-00001-of-00002*"))) > 1


def test_a_gang_that_is_asked_to_stop_saves(gangs: dict[str, Path]) -> None:
    """The second run of the same folder has overwritten what the ranks said."""
    saved = sorted(path.name for path in (gangs["stopped"] / "checkpoints").glob("step-*"))
    assert "step-000000002" in saved
    for folder in (gangs["stopped"] / "checkpoints").glob("step-*"):
        names = sorted(path.name for path in folder.iterdir())
        assert names == [
            "part-00000-of-00002.safetensors",
            "part-00001-of-00002.safetensors",
            "state.json",
        ]


def test_ranks_hold_a_share_each(gangs: dict[str, Path]) -> None:
    folder = max((gangs["three"] / "checkpoints").glob("step-*"))
    sizes = [path.stat().st_size for path in sorted(folder.glob("part-*"))]
    weights = (gangs["three"] / "model/model.safetensors").stat().st_size
    assert len(sizes) == 3
    # Weights and two moments, divided; the rest is names and rounding.
    assert max(sizes) < 3 * weights / 3 * 1.25


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
