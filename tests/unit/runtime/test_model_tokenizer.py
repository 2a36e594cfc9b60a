"""Tokenizers that somebody else put into a model's folder, where the model is used."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library
from transformers import AutoTokenizer

from tests.unit.preprocess.chats import CHATML, plain
from tests.unit.preprocess.test_tokens import TEXTS, bombs
from trainingjob.runtime.base import bounded, tokenizing
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.model import pretrained
from trainingjob.runtime.model.answers import stop_at_answers
from trainingjob.runtime.model.tokenizer import Tokenizer
from trainingjob.runtime.preprocess.tokens.tokenizer import learn

LONG = "a" * 60_000 + "c"


def folder(path: Path, **parts: Any) -> Path:
    """Of a learned tokenizer, with other parts of its JSON."""
    its = json.loads(learn(TEXTS, 300, "<|endoftext|>").text)
    (path / "tokenizer.json").write_text(json.dumps(its | parts))
    return path


def test_its_tokens_and_texts_are_those_of_transformers(tmp_path: Path) -> None:
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"content": "<|endoftext|>", "__type": "AddedToken"},
        "eos_token": "<|endoftext|>",
        "chat_template": [
            {"name": "tool_use", "template": "no"},
            {"name": "default", "template": "a"},
        ],
    }
    (folder(tmp_path) / "tokenizer_config.json").write_text(json.dumps(about))
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    with closing(Tokenizer(tmp_path)) as tool:
        assert (tool.end, tool.template) == (theirs.eos_token_id, "a")
        assert tool.special == {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
        for text in (*TEXTS[:5], "é ü\n<|endoftext|>b"):
            ids = theirs(text, add_special_tokens=False)["input_ids"]
            assert tool.encode(text, special=True) == ids
            assert tool.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    (tmp_path / "chat_template.jinja").write_text("b")
    (tmp_path / "tokenizer_config.json").unlink()
    with closing(Tokenizer(tmp_path, 0)) as tool:
        assert (tool.end, tool.template) == (0, "b")
        assert tool.special == {"eos_token": "<|endoftext|>"}


BROKEN: dict[str, tuple[str, str | None, str]] = {
    "nothing there": ("tokenizer.json", None, "there is no tokenizer.json"),
    "not UTF-8": ("tokenizer.json", "\udcff", "codec can't decode"),
    "no tokenizer": ("tokenizer.json", '{"model": 1}', "expected|missing|data did not match"),
    "a config that is a list": ("tokenizer_config.json", "[]", "tokenizer_config.json is damaged"),
    "a config without end": ("tokenizer_config.json", "[" * 100_000, "is damaged"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_files_that_are_no_tokenizer_are_told(tmp_path: Path, what: str) -> None:
    name, content, words = BROKEN[what]
    path = folder(tmp_path) / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises((ValueError, bounded.Refused), match=words):
        Tokenizer(tmp_path)


def test_one_that_takes_too_much_ends_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "SECONDS", 0.5)
    monkeypatch.setattr(tokenizing, "_MEMORY_BYTES", 2**28)
    for place, (its, words) in enumerate(bombs().values()):
        (path := tmp_path / str(place)).mkdir()
        (path / "tokenizer.json").write_text(json.dumps(its))
        with closing(Tokenizer(path)) as tool:
            with pytest.raises((bounded.TooMuch, bounded.Refused), match=words):
                tool.encode(LONG, special=False)
            assert tool.encode("b", special=False)  # and it lives
    (path := tmp_path / "decoder").mkdir()
    its = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}
    more = [{**_added(300, "a" * 60 + "c"), "special": False}, _added(0, "<|endoftext|>")]
    folder(path, decoder=its, added_tokens=more[::-1])
    with closing(Tokenizer(path)) as tool:
        with pytest.raises((bounded.TooMuch, bounded.Refused), match=r"retry-limit|longer than"):
            tool.decode([300])
        assert tool.decode([70])


def _added(number: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": True}


def test_training_loads_none_in_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose loading takes too long, or whose patterns do."""

    def never(*_: Any) -> Any:
        raise AssertionError("it is loaded here")

    for name in ("from_file", "from_str", "from_buffer"):
        monkeypatch.setattr(Library, name, never, raising=True)
    path = folder(tmp_path)
    (path / "chat_template.jinja").write_text(plain(CHATML))
    stop_at_answers(path, 0)
    assert pretrained._vocabulary(path / "tokenizer.json")
    monkeypatch.setattr(tokenizing, "LOAD_SECONDS", 1e-3)
    words = {str(number): number for number in range(100_000)}
    folder(path, model={"type": "WordLevel", "vocab": words, "unk_token": "0"})
    with pytest.raises(StageFailure, match=r"is no tokenizer: it takes longer than 0\.001 s"):
        pretrained._vocabulary(path / "tokenizer.json")
    stop_at_answers(path, 5)
    after = json.loads((path / "generation_config.json").read_text())
    assert after == {"eos_token_id": [0, 5]}
