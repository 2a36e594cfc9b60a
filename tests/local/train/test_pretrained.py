"""Models that training goes on from, against transformers' own loading."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.local.preprocess.both import payload
from tests.local.train.language import environment, make_dataset, payload_of
from tests.unit.preprocess import chats
from trainingjob.api.payload import EvaluatePayload
from trainingjob.api.v1alpha1.transformer import Lora, Pretrained
from trainingjob.runtime import evaluate, preprocess
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.dataset.rows import Rows
from trainingjob.runtime.model import generate, language, pretrained, pretrained_model, transformer
from trainingjob.runtime.model.folder import Words
from trainingjob.runtime.train import worker
from trainingjob.runtime.train.budget import rate_factor
from trainingjob.runtime.train.data import mix
from trainingjob.runtime.train.tokens import TokenSplit

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOKENS: Any = SimpleNamespace(end=2)
OF_GPT2 = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}


def made(folder: Path, kind: str, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    """A folder as transformers saves it, with weights that are not those of a new model."""
    sizes = OF_GPT2 if kind == "gpt2" else SIZES
    config = AutoConfig.for_model(kind, **{**sizes, **more})
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.to(dtype).save_pretrained(folder)
    return model


def loaded(folder: Path) -> Any:
    found = pretrained.look(Pretrained(uri=f"file://{folder}"))
    config = pretrained_model.config_of(found)
    model = transformer.build(config)
    names = pretrained_model.names_of(model, found)
    pretrained_model.fill(model, found, names, torch.device("cpu"), lambda _, whole: whole)
    return found, model.eval()


@pytest.mark.parametrize("kind", pretrained.ARCHITECTURES)
def test_the_model_is_what_transformers_loads_and_saves(tmp_path: Path, kind: str) -> None:
    made(tmp_path / "given", kind)
    found, model = loaded(tmp_path / "given")
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path / "given").eval()
    rows = torch.randint(3, 97, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = oracle(input_ids=rows).logits
        assert torch.equal(model(input_ids=rows).logits, expected)
    assert len(transformer.layers_of(model)) == 2

    (tmp_path / "again").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    pretrained_model.save(
        tmp_path / "again", model.named_parameters(), found, Words(tmp_path / "tokenizer.json"), 1
    )
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=rows).logits, expected)
    kept = json.loads((tmp_path / "again/config.json").read_text())
    assert kept == {**json.loads((tmp_path / "given/config.json").read_text()), "dtype": "float32"}


def logits(model: Any, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=rows).logits


# Of peft.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize(
    ("kind", "targets"), [("llama", ["q_proj", "mlp.up_proj"]), ("gpt2", None), ("qwen3", None)]
)
def test_what_lora_learned_is_in_the_weights_and_in_the_adapter(
    tmp_path: Path, kind: str, targets: list[str] | None
) -> None:
    """peft reads the adapter, and gives the logits of the weights that it was added to."""
    import peft

    made(tmp_path / "given", kind)
    chosen = Lora(rank=3, alpha=5, targets=targets)
    given = language.Given(Pretrained(uri=f"file://{tmp_path}/given", lora=chosen), TOKENS)
    network = given.build()
    given.fill(network, torch.device("cpu"), 3, mix, lambda _, whole: whole)
    rows = torch.randint(3, 97, (2, 24), generator=torch.Generator().manual_seed(1))
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "given")
    # B begins with 0: nothing has changed yet.
    assert torch.equal(logits(network, rows), logits(before, rows))

    learned = [one for one in network.parameters() if one.requires_grad]
    assert len(learned) == 2 * 2 * {"llama": 2, "gpt2": 4, "qwen3": 7}[kind]
    with torch.no_grad():
        for one in learned:
            one.add_(torch.randn(one.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    (tmp_path / "model").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    given.save(tmp_path / "model", network, Words(tmp_path / "tokenizer.json"))
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), rows)
    unchanged = logits(before, rows)
    adapted = peft.PeftModel.from_pretrained(before, tmp_path / "model/adapter")
    torch.testing.assert_close(merged, logits(adapted, rows), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged, logits(network, rows), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(merged, unchanged, rtol=1e-2, atol=1e-2)


# Of peft.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize(
    ("kind", "lora", "more"),
    [
        ("llama", None, {}),
        ("qwen3", None, {"head_dim": 16, "tie_word_embeddings": True}),
        ("gpt2", None, {}),
        ("llama", Lora(rank=2), {}),
        ("llama", Lora(rank=2, targets=["down_proj"]), {"tie_word_embeddings": True}),
        ("gpt2", Lora(rank=2), {}),
    ],
)
def test_operations_of_a_token_are_those_that_torch_counts(
    tmp_path: Path, kind: str, lora: Lora | None, more: dict[str, Any]
) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    made(tmp_path, kind, **more)
    given = language.Given(Pretrained(uri=f"file://{tmp_path}", lora=lora), TOKENS)
    network: Any = given.build()
    # As products of matrices, which it counts on every device.
    network.set_attn_implementation("eager")
    given.fill(network, torch.device("cpu"), 3, mix, lambda _, whole: whole)
    rows = torch.randint(3, 97, (2, 25), generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as counted:
        transformer.negative_log_likelihood(network, rows, rows[:, 1:]).backward()
    expected = transformer.flops(network, 24) * 48
    if lora is not None:
        # Nobody needs the gradient of what the first adapter reads, or of what is before it.
        first = transformer.layers_of(network)[0]
        names = ["c_attn", "q_proj", "k_proj", "v_proj"]
        if lora.targets == ["down_proj"]:
            names += ["o_proj", "gate_proj", "up_proj", "down_proj"]
            heads = network.config.num_attention_heads * network.config.head_dim
            expected -= 8 * heads * 24 * 48
        for name, module in first.named_modules():
            if name.rpartition(".")[2] in names:
                its = module.base_layer if hasattr(module, "base_layer") else module
                expected -= 2 * its.weight.numel() * 48
        for name, one in first.named_parameters():
            if "lora_A" in name and any(f"{its}." in name for its in names):
                expected -= 2 * one.numel() * 48
    assert counted.get_total_flops() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("target", ["lm_head", "c_attn", "norm", "_proj", "self_attn"])
def test_targets_that_do_not_exist_are_refused_by_those_that_do(
    tmp_path: Path, target: str
) -> None:
    made(tmp_path / "given", "llama")
    spec = Pretrained(uri=f"file://{tmp_path}/given", lora=Lora(rank=2, targets=["q_proj", target]))
    with pytest.raises(StageFailure) as caught:
        language.Given(spec, TOKENS).build()
    assert caught.value.reason == "SettingUnsuitable"
    assert caught.value.message == (
        f"train.model.pretrained.lora.targets: the model has no linear layer {target} "
        "(down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj)"
    )


@pytest.mark.parametrize("value", [0, -1, 10**30, "four", None, {"a": 1}])
@pytest.mark.parametrize("field", ["num_attention_heads", "hidden_size"])
def test_sizes_that_are_none_of_a_model_are_told(tmp_path: Path, field: str, value: Any) -> None:
    made(tmp_path, "llama")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(StageFailure) as caught:
        language.Given(Pretrained(uri=f"file://{tmp_path}"), TOKENS).build()
    assert caught.value.reason == "InputUnreadable"
    assert f"config.json of file://{tmp_path}" in caught.value.message


@pytest.mark.parametrize("other", [False, True])
def test_one_table_of_tokens_that_is_two_in_the_files(tmp_path: Path, other: bool) -> None:
    """transformers takes both then; as one, the model would be another."""
    made(tmp_path, "llama", tie_word_embeddings=True)
    weights = load_file(tmp_path / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = table + 1 if other else table.clone()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    oracle: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(oracle.lm_head.weight, oracle.model.embed_tokens.weight) is not other
    given = language.Given(Pretrained(uri=f"file://{tmp_path}"), TOKENS)
    if not other:
        given.build()
        return
    with pytest.raises(StageFailure, match="set tie_word_embeddings to false there") as caught:
        given.build()
    assert caught.value.reason == "InputUnreadable"


def test_weights_that_are_not_finite_are_told(tmp_path: Path) -> None:
    made(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"][3, 5] = float("inf")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageFailure, match=r"lm_head.weight of file.* NaN or infinite") as caught:
        loaded(tmp_path)
    assert caught.value.reason == "InputUnreadable"


SPLIT = {"test": 0.2, "validation": 0.1}
LORA = {"rank": 4, "targets": ["q_proj", "v_proj", "down_proj"]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def given(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With biases, and embeddings that are the last layer, too: in bfloat16, in several files."""
    folder = tmp_path_factory.mktemp("given")
    model = made(folder, "qwen2", torch.bfloat16, vocab_size=300, tie_word_embeddings=True)
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    shutil.copyfile(dataset / "tokenizer.json", folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 32}')
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return folder


def spec_of(given: Path, lora: dict[str, Any] | None) -> dict[str, Any]:
    return {"pretrained": {"uri": f"file://{given}", **({"lora": lora} if lora else {})}}


@pytest.fixture(scope="module")
def gangs(dataset: Path, given: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("gangs")
    kinds = {"full": (3, None), "lora": (2, LORA)}
    every = {"checkpoint": {"everySteps": 2, "keep": 9}, "epochs": 1}
    scenarios = [
        {
            "folder": str(base / name),
            "world": world,
            "dataset": str(dataset),
            "train": {**every, "model": spec_of(given, lora)},
        }
        for name, (world, lora) in kinds.items()
    ]
    for name in kinds:
        (base / name).mkdir()
    told = base / "scenarios.json"
    told.write_text(json.dumps(scenarios))
    done = subprocess.run(
        [sys.executable, "-m", "tests.local.train.language", str(told)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    return {name: base / name for name in kinds}


def by_hand(dataset: Path, model: Any, parameters: list[Any]) -> float:
    """The mean loss of an epoch, as a loop in a notebook computes it."""
    schedule = payload_of(dataset, dataset, epochs=1).schedule
    optimizer = torch.optim.AdamW(parameters, 0.01, weight_decay=0.1)
    data = TokenSplit(Rows(dataset, DatasetManifest.read(dataset), "train", []), 50)
    total, tokens = 0.0, 0
    for step, (ids, targets, _, _) in enumerate(data.batches(3, 0, 0, 1)):
        # The model shifts them itself.
        labels = torch.nn.functional.pad(targets.long(), (1, 0), value=-100)
        summed, count = torch.zeros(()), int((labels >= 0).sum())
        for row, its in zip(ids.long()[:, None], labels[:, None], strict=True):
            summed = summed + model(input_ids=row, labels=its).loss * (its >= 0).sum()
        optimizer.zero_grad()
        (summed / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = 0.01 * rate_factor(schedule, step, data.steps, 0)
        optimizer.step()
        total, tokens = total + summed.item(), tokens + count
    return total / tokens


# Of peft.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("name", ["full", "lora"])
def test_gangs_learn_what_a_plain_loop_learns(
    dataset: Path, given: Path, gangs: dict[str, Path], name: str
) -> None:
    import peft

    model: Any = AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32)
    if name == "lora":
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=LORA["targets"])
        model = peft.get_peft_model(model, config)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_A" in key:
                    own = key.removeprefix("base_model.model.").encode()
                    generator = torch.Generator().manual_seed(mix(3, zlib.crc32(own)))
                    torch.nn.init.kaiming_uniform_(parameter, a=5**0.5, generator=generator)
    learned = [one for one in model.parameters() if one.requires_grad]
    loss = by_hand(dataset, model.train(), learned)
    folder = gangs[name]
    (row,) = json.loads((folder / "model/history.json").read_text())
    assert row["loss"] == pytest.approx(loss, rel=1e-5)

    rows = torch.randint(3, 300, (2, 16), generator=torch.Generator().manual_seed(1))
    after = AutoModelForCausalLM.from_pretrained(folder / "model")
    torch.testing.assert_close(logits(after, rows), logits(model, rows), rtol=1e-3, atol=1e-4)
    assert sorted(one.name for one in (folder / "model").iterdir()) == sorted(
        [
            *("config.json", "generation_config.json", "history.json", "model.safetensors"),
            *("tokenizer.json", "tokenizer_config.json"),
            *(["adapter"] if name == "lora" else []),
        ]
    )
    # A checkpoint has what is learned, and no more.
    newest = max((folder / "checkpoints").glob("step-*"))
    held = sum(len(load_file(part)) for part in newest.glob("part-*"))
    assert held == len(list(newest.glob("part-*"))) * 3 * len(learned)


def test_a_run_does_not_go_on_from_checkpoints_of_another_pretrained_model(
    dataset: Path, given: Path, gangs: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "given"
    shutil.copytree(given, other)
    spec = Pretrained(uri=f"file://{other}", lora=Lora(**LORA))
    before = language.Given(spec, TOKENS).digest()
    assert before == language.Given(Pretrained(uri=f"file://{given}"), TOKENS).digest()
    (file, *_) = sorted(other.glob("*.safetensors"))
    weights = {name: tensor + 1 for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    assert language.Given(spec, TOKENS).digest() != before

    newest = max((gangs["lora"] / "checkpoints").glob("step-*"))
    state = json.loads((newest / "state.json").read_text())
    assert state["fingerprint"]["pretrained"] == before


def test_of_conversations_the_answers_are_learned_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"task": chats.TASK, "tokenize": {"vocabSize": 400, "sequenceLength": 64}}
    source = chats.source(tmp_path / "chats.json", chats.CHATS)
    given = payload("pandas", source, tmp_path / "dataset", format="json", split=SPLIT, **more)
    preprocess.run(given)
    model: Any = made(tmp_path / "given", "llama", vocab_size=400, max_position_embeddings=64)
    for name, value in environment(0, 1, 1).items():
        monkeypatch.setenv(name, value)
    debug = torch.get_deterministic_debug_mode()
    spec = spec_of(tmp_path / "given", None)
    try:
        worker.work(
            payload_of(tmp_path / "dataset", tmp_path, task=chats.TASK, model=spec, epochs=1)
        )
    finally:
        torch.set_deterministic_debug_mode(debug)
    loss = by_hand(tmp_path / "dataset", model.train(), list(model.parameters()))
    (row,) = json.loads((tmp_path / "model/history.json").read_text())
    assert row["loss"] == pytest.approx(loss, rel=1e-5)
    # People who load it find the template.
    tool = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = tool.apply_chat_template([chats.said("user", "a")], tokenize=False)
    assert text == "<|user|>\na\n"

    total, right, count = 0.0, 0, 0
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    for one in pq.read_table(tmp_path / "dataset/test").to_pylist():
        ids, labels = (torch.tensor([one[name]]) for name in ("input_ids", "labels"))
        with torch.no_grad():
            out = after(input_ids=ids, labels=labels)
        counted = labels[0, 1:] >= 0
        total += float(out.loss) * int(counted.sum())
        right += int((out.logits[0, :-1].argmax(-1) == labels[0, 1:])[counted].sum())
        count += int(counted.sum())
    told = {
        "job": {"namespace": "default", "name": "words", "uid": "1"},
        "attempt": 1,
        "task": chats.TASK,
        "metrics": ["loss", "token_accuracy"],
        "dataset": f"file://{tmp_path}/dataset",
        "modelUri": f"file://{tmp_path}/model",
        "output": f"file://{tmp_path}/evaluation",
    }
    result = evaluate.run(EvaluatePayload.model_validate_json(json.dumps(told)))
    found = {metric.name: metric.value for metric in result.metrics or ()}
    expected = {"loss": total / count, "token_accuracy": right / count}
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_model_goes_on_with_a_text(given: Path, tmp_path: Path) -> None:
    def asked(**more: Any) -> str:
        plain = {"text": "The ", "chat": False, "tokens": 8, "temperature": 0.0, "seed": 0}
        request = {"uri": f"file://{given}", **plain, **more}
        return generate.generated(generate.Request(**request))

    tool = AutoTokenizer.from_pretrained(given)
    model = AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32).eval()
    ids = [tool.eos_token_id, *tool("The ", add_special_tokens=False)["input_ids"]]
    made = []
    while len(made) < 8 and tool.eos_token_id not in made:
        made.append(int(logits(model, torch.tensor([[*ids, *made]]))[0, -1].argmax()))
    assert asked() == "The " + tool.decode(made, skip_special_tokens=True)
    assert asked(temperature=1.0, seed=1) == asked(temperature=1.0, seed=1)
    assert len({asked(temperature=5.0, seed=seed) for seed in range(4)}) > 1
    # 32 tokens are all that it takes.
    assert asked(tokens=4096) == asked(tokens=32 - len(ids))

    with pytest.raises(StageFailure, match="tokens, and the model takes at most 32 at once"):
        asked(text="word " * 40)
    with pytest.raises(StageFailure, match="chat template makes nothing of the text"):
        asked(chat=True)
    with pytest.raises(StageFailure, match="there is no model in"):
        asked(uri=f"file://{tmp_path}/nothing")
    copy = tmp_path / "copy"
    shutil.copytree(given, copy)
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(StageFailure, match=r"the tokenizer in .* cannot be loaded"):
        asked(uri=f"file://{copy}")
