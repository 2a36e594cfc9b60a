"""What is no model to go on from, told before anything is learned; without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.unit.runtime.test_cache_key import dataset, train
from trainingjob.api.v1alpha1.train import BuiltInModel
from trainingjob.api.v1alpha1.transformer import Pretrained
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.cache import inputs_of_train
from trainingjob.runtime.dataset.manifest import Tokens
from trainingjob.runtime.model import pretrained
from trainingjob.runtime.preprocess.tokens import tokenizer

Change = Callable[[Path], Any]
INDEX = "model.safetensors.index.json"
CONFIG = {"model_type": "llama", "vocab_size": 300, "max_position_embeddings": 16}
TOKENS = Tokens(
    tokenizer="sha256:" + "0" * 64,
    vocab_size=300,
    end_of_text="<|endoftext|>",
    end=0,
    sequence_length=16,
    splits={},
)


def folder(path: Path) -> Path:
    path.mkdir()
    where = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file({f"w{number}": np.zeros((4, 2), np.float32)}, path / name)
        where[f"w{number}"] = name
    (path / INDEX).write_text(json.dumps({"weight_map": where}))
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "tokenizer.json").write_text(tokenizer.learn(["ab ab cd"] * 9, 258, "</s>").text)
    return path


def without(*names: str) -> Change:
    return lambda path: [(path / name).unlink() for name in names]


def written(name: str, content: bytes) -> Change:
    return lambda path: (path / name).write_bytes(content)


def config(**values: Any) -> Change:
    return written("config.json", json.dumps({**CONFIG, **values}).encode())


def index(**where: str) -> Change:
    return written(INDEX, json.dumps({"weight_map": where}).encode())


def packed(*, shape: list[Any] | None = None, **offsets: list[int]) -> Change:
    """safetensors of F32, each tensor where it is said to be."""
    header = {
        name: {"dtype": "F32", "shape": shape or [2], "data_offsets": where}
        for name, where in offsets.items()
    }
    text = json.dumps(header).encode()
    data = bytes(max(end for _, end in offsets.values()))
    return written(FIRST, len(text).to_bytes(8, "little") + text + data)


def gguf(path: Path) -> None:
    without("config.json", FIRST, SECOND, INDEX)(path)
    (path / "model-Q4.gguf").write_bytes(b"GGUF")


def cut(path: Path) -> None:
    file = path / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def pickled(path: Path) -> None:
    without(INDEX)(path)
    (path / "pytorch_model.bin").touch()


def quantized(path: Path) -> None:
    save_file({"w2": np.zeros((4, 2), np.int8)}, path / "model-00002-of-00002.safetensors")


def adapter(path: Path) -> None:
    (path / "config.json").rename(path / "adapter_config.json")


def linked(path: Path) -> None:
    """As Hugging Face's own cache has it."""
    (path / SECOND).rename(path.parent / "blob")
    (path / SECOND).symlink_to(path.parent / "blob")


FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
BAD: list[tuple[Change, str, str]] = [
    (shutil.rmtree, "InputNotFound", "there is no folder file://"),
    (without("config.json"), "InputUnreadable", "there is no config.json, as save_pretrained"),
    (adapter, "InputUnreadable", "it is an adapter alone: merge it into its model first"),
    (written("config.json", b"{"), "InputUnreadable", "config.json is damaged"),
    (written("config.json", b"[" * 9000), "InputUnreadable", "config.json is damaged"),
    (config(model_type="bert"), "SettingUnsuitable", "is of model_type bert, which is not trained"),
    (config(model_type=None), "SettingUnsuitable", "is of model_type None"),
    (config(quantization_config={"bits": 4}), "SettingUnsuitable", "is quantized, and cannot be"),
    (written("config.json", b" " * (2**24 + 1)), "InputUnreadable", "config.json is damaged"),
    (
        config(num_hidden_layers=10**9),
        "InputUnreadable",
        "by its config.json it has 1000000000 layers, and there are 2 weights in all",
    ),
    (config(n_layer="many"), "InputUnreadable", "by its config.json it has many layers"),
    (quantized, "SettingUnsuitable", "w2 of file:///"),
    (pickled, "InputUnreadable", "pytorch_model.bin is read by unpickling, which could run any"),
    (without(INDEX), "InputUnreadable", "there is no model.safetensors"),
    (without(SECOND), "InputUnreadable", f"1 of 2 files of weights are missing ({SECOND})"),
    (linked, "InputUnreadable", f"({SECOND} is a link out of it: copy the file itself)"),
    (index(w1="../x"), "InputUnreadable", "1 of 1 files of weights are missing (../x)"),
    (index(), "InputUnreadable", f"{INDEX} names no weights"),
    (index(w1=FIRST, w3=FIRST), "InputUnreadable", f"lack weights that {INDEX} names (w3)"),
    (cut, "InputUnreadable", f"{SECOND} is damaged"),
    (written(FIRST, b"\xff" * 20), "InputUnreadable", f"{FIRST} is damaged"),
    (written(FIRST, b""), "InputUnreadable", f"{FIRST} is damaged"),
    (written(FIRST, b"\2\0\0\0\0\0\0\0[]"), "InputUnreadable", f"{FIRST} is damaged"),
    (packed(a=[0, 8], b=[0, 8]), "InputUnreadable", f"{FIRST} is damaged: its tensors overlap, or"),
    (packed(a=[0, 8], b=[0, 8], c=[16, 24]), "InputUnreadable", f"{FIRST} is damaged: its tensors"),
    (packed(a=[0, 8], b=[16, 24]), "InputUnreadable", f"{FIRST} is damaged: its tensors overlap"),
    (packed(shape=[-1, -2], a=[0, 8]), "InputUnreadable", f"{FIRST} is damaged"),
    (packed(shape=["2"], a=[0, 8]), "InputUnreadable", f"{FIRST} is damaged"),
    (gguf, "InputUnreadable", "model-Q4.gguf is of llama.cpp: take the folder that it was made of"),
]


@pytest.mark.parametrize(
    ("damage", "reason", "words"), BAD, ids=[f"{n}: {one[2]}" for n, one in enumerate(BAD)]
)
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, damage: Change, reason: str, words: str
) -> None:
    path = folder(tmp_path / "given")
    spec = Pretrained(uri=f"file://{path}")
    assert [one.shape for one in pretrained.look(spec).tensors.values()] == [(4, 2), (4, 2)]
    pretrained.look_ahead(spec.uri, 16)
    damage(path)
    for look in (lambda: pretrained.look(spec), lambda: pretrained.look_ahead(spec.uri, 16)):
        with pytest.raises(StageFailure) as caught:
            look()
        assert (caught.value.reason, words in caught.value.message) == (reason, True), caught.value


def test_a_model_without_a_tokenizer_has_to_have_one_where_tokens_are_made_by_it(
    tmp_path: Path,
) -> None:
    path = folder(tmp_path / "given")
    without("tokenizer.json")(path)
    pretrained.look(Pretrained(uri=f"file://{path}"))  # they were made by another one
    with pytest.raises(StageFailure, match=r"it has no tokenizer.json: save its tokenizer there"):
        pretrained.look_ahead(f"file://{path}", 16)


def test_before_tokens_are_made_a_remote_model_is_known_by_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are not brought, and nobody has to know of them."""
    path = folder(tmp_path / "given")
    without(FIRST, SECOND, INDEX)(path)
    asked: set[str] = set()

    class Store:
        """What lies in that folder is in S3, and beside it what nobody wants."""

        def find(self, base: str) -> dict[str, int]:
            files = {f"given/{one.name}": one.stat().st_size for one in path.iterdir()}
            files |= {"given/model.safetensors": 10**12, "given/pytorch_model.bin": 10**12}
            return {name: size for name, size in files.items() if name.startswith(base)}

        def read(self, name: str, start: int, end: int) -> bytes:
            asked.add(name)
            return (path / Path(name).name).read_bytes()[start:end]

    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "copies"))
    monkeypatch.setattr(pretrained.storage.copies, "connect", lambda uri: Store())
    pretrained.look_ahead("s3://models/given", 16)
    assert asked == {"given/config.json", "given/tokenizer.json"}
    with pytest.raises(StageFailure, match=r"sequenceLength is 17, and the model of s3://models/"):
        pretrained.look_ahead("s3://models/given", 17)
    config(model_type="bert")(path)
    with pytest.raises(StageFailure, match="is of model_type bert"):
        pretrained.look_ahead("s3://models/given", 16)
    for one in path.iterdir():
        one.unlink()
    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "others"))
    with pytest.raises(StageFailure, match="there is no folder s3://models/given with a config"):
        pretrained.look_ahead("s3://models/given", 16)


OTHER: list[tuple[Change, dict[str, int], str]] = [
    (config(), {"sequence_length": 17}, "takes at most 16 tokens at once: set at most 16"),
    (
        config(max_position_embeddings=None, n_positions=8),
        {},
        "sequenceLength is 16, and the model of",
    ),
    (config(), {"vocab_size": 301}, "has 301 tokens, and the model of"),
    (config(vocab_size=299), {}, "299: take the tokenizer that it was trained with, or where tok"),
    (
        written("tokenizer.json", tokenizer.learn(["ab"], 257, "</s>").text.encode()),
        {},
        "whose model has 300: leave preprocess.tokenize.from unset to take the model's own",
    ),
    (written("tokenizer.json", b"{}"), {}, "tokenizer.json is no tokenizer"),
]


@pytest.mark.parametrize(("change", "more", "words"), OTHER, ids=[words for *_, words in OTHER])
def test_a_dataset_of_another_tokenizer_or_of_longer_rows_is_refused(
    tmp_path: Path, change: Change, more: dict[str, int], words: str
) -> None:
    path = folder(tmp_path / "given")
    spec = Pretrained(uri=f"file://{path}")
    given = shutil.copyfile(path / "tokenizer.json", tmp_path / "tokenizer-1.json")
    pretrained.check(pretrained.look(spec), TOKENS, given)
    # The same tokens, written in another way.
    text = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(text))
    pretrained.check(pretrained.look(spec), TOKENS, given)
    change(path)
    with pytest.raises(StageFailure) as caught:
        tokens = TOKENS.model_copy(update=more)
        pretrained.check(pretrained.look(spec), tokens, given)
    assert words in caught.value.message


def test_the_files_of_the_model_count_in_the_key_of_the_cache(tmp_path: Path) -> None:
    path = folder(tmp_path / "given")
    (path / "README.md").write_text("no part of the model")
    model = BuiltInModel(pretrained=Pretrained(uri=f"file://{path}"))

    def seen() -> dict[str, str]:
        payload = train(dataset=dataset(tmp_path / "dataset"), model=model)
        return dict(inputs_of_train(payload).digests)

    before = seen()
    names = ["config.json", FIRST, SECOND, "tokenizer.json"]
    assert sorted(before) == ["dataset", *(f"pretrained {name}" for name in names)]
    save_file({"w1": np.ones((4, 2), np.float32)}, path / FIRST)
    changed = {name for name, digest in seen().items() if before[name] != digest}
    assert changed == {f"pretrained {FIRST}"}
