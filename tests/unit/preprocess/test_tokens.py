"""Texts to rows of tokens, on engine pandas; tests/local has the same on Spark."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.implementations import ByteLevelBPETokenizer  # type: ignore[attr-defined]

from tests.local.preprocess.both import run
from trainingjob.runtime.base import tokenizing
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.cache import artefact
from trainingjob.runtime.cache.beneath import Beneath
from trainingjob.runtime.dataset.manifest import DatasetManifest
from trainingjob.runtime.preprocess.tokens import coverage, pack, stage, tokenizer

TEXTS = [part for text in topics.values() for part in text.split("\n\n")][:400]
TASK = {"type": "languageModel", "text": "body"}
NO_SPLIT = {"test": 0.0, "validation": 0.0}
TOKENIZE = {"vocabSize": 400, "sequenceLength": 16}


def source(folder: Path, texts: list[Any]) -> Path:
    path = folder / "texts.json"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    return path


def made(folder: Path, texts: list[Any], **more: Any) -> Any:
    given = {"task": TASK, "tokenize": TOKENIZE, "format": "json", "split": NO_SPLIT, **more}
    return run("pandas", source(folder, texts), folder / "out", **given)


def stream(rows: list[dict[str, Any]]) -> list[int]:
    """The tokens of a file, as its rows overlap by one."""
    found: list[int] = []
    for row in rows:
        found += row["input_ids"][bool(found) : row["length"]]
    return found


def texts_of(folder: Path, rows: list[dict[str, Any]], end: int = 0) -> list[str]:
    """What stands between the ends of text."""
    tool = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = stream(rows)
    assert ids[0] == ids[-1] == end
    parts: list[list[int]] = [[]]
    for one in ids[1:]:
        if one == end:
            parts.append([])
        else:
            parts[-1].append(one)
    return tool.decode_batch(parts[:-1], skip_special_tokens=False)


def test_every_text_is_in_one_split_token_by_token(tmp_path: Path) -> None:
    manifest, files = made(tmp_path, TEXTS, split={"test": 0.2, "validation": 0.1})

    found = {split: texts_of(tmp_path / "out", t.to_pylist()) for (split, _), t in files.items()}
    assert sorted(text for its in found.values() for text in its) == sorted(
        {text for text in TEXTS if text}
    )
    for split, its in found.items():
        counts = manifest.tokens.splits[split]
        assert counts.documents == len(its)
        assert counts.bytes == sum(len(text.encode()) for text in its)
        (table,) = (t for (name, _), t in files.items() if name == split)
        assert counts.tokens == len(stream(table.to_pylist())) - 1


def test_the_tokenizer_is_the_library_s_own_of_the_training_split(tmp_path: Path) -> None:
    manifest, files = made(tmp_path, TEXTS, split={"test": 0.5})

    (train,) = (table for (split, _), table in files.items() if split == "train")
    texts = texts_of(tmp_path / "out", train.to_pylist())
    oracle = ByteLevelBPETokenizer()
    oracle.train_from_iterator(
        texts,
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        min_frequency=0,
        show_progress=False,
    )
    mine = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    assert mine.get_vocab() == oracle.get_vocab()
    assert manifest.tokens.vocab_size == 400
    ids = [one for text in texts for one in [*oracle.encode(text).ids, 0]]
    assert stream(train.to_pylist())[1:] == ids


def batches(
    rows: list[tuple[int, int, list[int]]], cuts: random.Random
) -> Iterator[pa.RecordBatch]:
    while rows:
        some, rows = rows[: (cut := cuts.randint(1, 7))], rows[cut:]
        files, splits, ids = zip(*some, strict=True)
        table = pa.table([files, splits, range(len(some)), ids], names=[*pack.PLACE, pack.TOKENS])
        # Slices, as a reader gives them: their lists do not begin with the first value.
        whole = pa.concat_tables([table, table]).combine_chunks().cast(pack.ENCODED)
        yield whole.to_batches()[0].slice(len(some))


@pytest.mark.parametrize("seed", range(30))
def test_packing_is_what_a_plain_loop_does(seed: int) -> None:
    rng = random.Random(seed)
    length, end, bits = rng.randint(2, 12), 0, 2
    rows = [
        (file, split, [rng.randint(1, 99) for _ in range(rng.choice([0, 1, 3, 30]))])
        for file in range(3)
        for split in range(3)
        for _ in range(rng.choice([0, 1, 2, 20]))
    ]
    expected = []
    for file in range(3):
        for split in range(3):
            its = [ids for f, s, ids in rows if (f, s) == (file, split)]
            tokens = [end] + [one for ids in its for one in [*ids, end]]
            for number, at in enumerate(range(0, len(tokens) - 1 if its else 0, length)):
                ids = tokens[at : at + length + 1]
                filled = ids + [end] * (length + 1 - len(ids))
                place = number + (file << (64 - bits)) - 2**63
                expected.append([file, split, place, filled, len(ids)])

    found = pa.Table.from_batches(
        pack.pack(batches(rows, rng), length, end, bits), schema=pack.PACKED
    )
    assert [list(row.values()) for row in found.to_pylist()] == expected


def test_copies_are_dropped_and_those_of_the_test_split_stay(tmp_path: Path) -> None:
    split = {"column": "part"}
    path = tmp_path / "texts.csv"
    rows = ["one,train", "two,train", "one,test", "three,validation", "two,validation", "two,train"]
    path.write_text("body,part\n" + "\n".join(rows) + "\n")
    tokenize = {"vocabSize": 257, "sequenceLength": 8}
    more: dict[str, Any] = {"task": TASK, "split": split}
    failure = run("pandas", path, tmp_path / "out", tokenize=tokenize, **more)
    assert failure == (
        "SplitEmpty",
        "the train split has no rows; there are 3 in all (without 3 copies)",
    )

    path.write_text("body,part\n" + "\n".join([*rows, "four,train", "four,train"]) + "\n")
    _, files = run("pandas", path, tmp_path / "out", tokenize=tokenize, **more)
    found = {s: sorted(texts_of(tmp_path / "out", t.to_pylist())) for (s, _), t in files.items()}
    assert found == {"train": ["four"], "validation": ["three", "two"], "test": ["one"]}


def test_an_end_of_text_that_is_written_in_a_text_is_text(tmp_path: Path) -> None:
    text = "before<|endoftext|>after"
    _, files = made(tmp_path, [text, *TEXTS])
    assert text in texts_of(tmp_path / "out", next(iter(files.values())).to_pylist())


@pytest.mark.parametrize("name", ["</s>", "<|endoftext|>"])
def test_a_tokenizer_may_be_given(tmp_path: Path, name: str) -> None:
    chosen = tokenizer.learn(TEXTS, 300, name)
    given = tmp_path / "tokenizer.json"
    tool = Tokenizer.from_str(chosen.text)
    # What people's files have, and packing has no use for.
    tool.enable_truncation(3)
    tool.enable_padding(length=50)
    tool.save(str(given))
    tokenize = {"from": f"file://{given}", "sequenceLength": 16}
    manifest, files = made(tmp_path, TEXTS, tokenize=tokenize)
    assert (manifest.tokens.end_of_text, manifest.tokens.vocab_size) == (name, 300)
    assert (tmp_path / "out/tokenizer.json").read_text() == given.read_text()
    rows = next(iter(files.values())).to_pylist()
    assert sorted(texts_of(tmp_path / "out", rows)) == sorted({text for text in TEXTS if text})


NO_TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "version": "1.0"}


@pytest.mark.parametrize(
    "texts, more, reason, words",
    [
        (["a"], {"task": {**TASK, "text": "text"}}, "ColumnNotFound", "task.text: there is no"),
        ([1, 2], {}, "SettingUnsuitable", "task.text: column body is of type bigint"),
        (["a", None, "b", None], {}, "TextInvalid", "null in 2 of 4 rows: drop those with `dropna"),
        (["", ""], {}, "NoRowsLeft", "the text body is empty in all of 2 rows"),
        (["  ", "\n\t\f\r "], {}, "NoRowsLeft", "the text body is empty in all of 2 rows"),
        (["a", "b" * 101], {}, "TextInvalid", "up to 101 bytes in a row, and 100 is the most"),
        (["a", "ä" * 51], {}, "TextInvalid", "up to 102 bytes"),
        (["ab ab", "b"], {}, "SettingUnsuitable", "the training split have 259 tokens"),
        (
            ["a", "a"],
            {"split": {"test": 0.5}},
            "SplitEmpty",
            "the train split has no rows; there are 1 in all (without 1 copies)",
        ),
        (
            ["a", "b"],
            {"steps": [{"filter": {"where": "length(body) > 9"}}]},
            "NoRowsLeft",
            "no text is left after the last step",
        ),
    ],
    ids=str,
)
def test_texts_that_cannot_be_learned_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[Any],
    more: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    monkeypatch.setattr(stage, "LONGEST_BYTES", 100)
    found = made(tmp_path, texts, **more)
    assert found[0] == reason
    assert words in found[1]


def test_files_of_texts_that_cannot_be_read(tmp_path: Path) -> None:
    """Where DuckDB's own words would not say what to do."""
    latin = pa.array([b"ab", b"caf\xe9"])
    texts = pa.Array.from_buffers(pa.string(), len(latin), latin.buffers())
    pq.write_table(pa.table({"body": texts}), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps({"body": "ab " * (12 * 2**20)}))
    for name, reason, words in (
        ("a.parquet", "InputNotUtf8", f'a text of {tmp_path}/a.parquet is not UTF-8: "caf'),
        ("a.json", "InputMalformed", f"an object of {tmp_path}/a.json is longer than 16777216"),
    ):
        more: dict[str, Any] = {"tokenize": TOKENIZE, "format": name.removeprefix("a.")}
        found = run("pandas", tmp_path / name, tmp_path / "out", task=TASK, **more)
        assert found[0] == reason, found
        assert words in found[1]


@pytest.mark.parametrize(
    "content, reason, words",
    [
        (None, "InputNotFound", "is no file"),
        (b"\xff", "InputMalformed", "is no tokenizer.json of Hugging Face's tokenizers"),
        (b"[]", "InputMalformed", "is no tokenizer.json"),
        (b"{}", "InputMalformed", "is no tokenizer.json"),
        (json.dumps(NO_TOKENIZER).encode(), "SettingUnsuitable", "no token for the end of a text"),
    ],
    ids=str,
)
def test_a_file_that_is_no_tokenizer(
    tmp_path: Path, content: bytes | None, reason: str, words: str
) -> None:
    given = tmp_path / "given.json"
    if content is not None:
        given.write_bytes(content)
    tokenize = {"from": f"file://{given}", "sequenceLength": 16}
    found = made(tmp_path, ["a", "b"], tokenize=tokenize)
    assert found[0] == reason
    assert words in found[1]


def whole_words(tmp_path: Path, words: set[str]) -> str:
    """A tokenizer of these words, with one token for all others."""
    vocabulary = {one: n for n, one in enumerate(["[UNK]", "[EOS]", *sorted(words)])}
    tool = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tool.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tool.add_special_tokens(["[EOS]"])
    tool.save(str(tmp_path / "given.json"))
    return f"file://{tmp_path}/given.json"


def test_a_given_tokenizer_that_knows_little_of_the_texts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = ["aaaa bbbb", "aaaa\n cccc", "aaaa  aaaa"]
    told = []
    for number, words in enumerate((set(), {"aaaa"}, {"aaaa", "bbbb", "cccc"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        tokenize = {"from": whole_words(folder, words), "sequenceLength": 2}
        found = made(folder, texts, tokenize=tokenize)
        told.append((found[1] if isinstance(found[0], str) else "", capfd.readouterr().out))
    nothing, (_, some), (_, all_) = told
    words = "given.json has no tokens for 100% of the characters of 3 texts that were looked at"
    assert words in nothing[0]
    assert nothing[0].endswith("or leave it unset and have one learned by vocabSize")
    assert "has no tokens for 33% of the characters of 3 texts that were looked at: they" in some
    assert "no tokens for" not in all_


def test_characters_that_a_tokenizer_drops_count_as_unknown() -> None:
    tool = Tokenizer(models.BPE({"a": 0, "b": 1, "</s>": 2}, []))
    assert coverage.unknown(["ab z", "é  a"], tool.to_str(), "x") == pytest.approx(2 / 5)


def _with(**parts: Any) -> dict[str, Any]:
    """A tokenizer's JSON with other parts."""
    return json.loads(tokenizer.learn(TEXTS, 300, tokenizer.END).text) | parts


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _replace(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


def bombs() -> dict[str, tuple[dict[str, Any], str]]:
    growing = [_replace("a" * 100)] * 5
    return {
        "an expression that gives up": (_with(pre_tokenizer=_split("(a+)+$")), "retry-limit"),
        "one that is slow at each place": (_with(pre_tokenizer=_split("a*[^a-z]")), "longer than"),
        "texts that grow": (
            _with(normalizer={"type": "Sequence", "normalizers": growing}),
            "it takes (more than .* MiB of memory|longer than)",
        ),
    }


@pytest.mark.parametrize("what", bombs())
def test_a_given_tokenizer_that_takes_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(tokenizing, "SECONDS", 0.5)
    monkeypatch.setattr(tokenizing, "_MEMORY_BYTES", 2**28)
    monkeypatch.setattr(tokenizing, "_KEPT", {})
    its, words = bombs()[what]
    given = tmp_path / "given.json"
    given.write_text(json.dumps(its))
    tokenize = {"from": f"file://{given}", "sequenceLength": 16}
    found = made(tmp_path, ["b", "a" * 60_000 + "c"], tokenize=tokenize)
    assert found[0] == "SettingUnsuitable"
    assert f"preprocess.tokenize.from: {given} cannot make tokens of" in found[1]
    assert 'begins "aaaaa' in found[1]
    assert re.search(words, found[1])
    assert found[1].endswith("or leave it unset and have one learned by vocabSize")


def test_a_given_tokenizer_gives_the_same_tokens_each_time(tmp_path: Path) -> None:
    """Without the chance by which some leave out merges in training."""
    its = _with()
    plain = json.dumps(its)
    its["model"]["dropout"] = 0.5
    drawn = json.dumps(its)
    found = []
    for text in (plain, drawn):
        (tmp_path / "given.json").write_text(text)
        tokenize = {"from": f"file://{tmp_path}/given.json", "sequenceLength": 16}
        _, files = made(tmp_path, TEXTS, tokenize=tokenize)
        found.append(next(iter(files.values())).to_pylist())
    assert found[0] == found[1]


def test_a_dataset_is_restored_with_its_tokenizer(tmp_path: Path) -> None:
    manifest, _ = made(tmp_path, TEXTS)
    copy = tmp_path / "copy"
    artefact._copy_dataset(Beneath(tmp_path, tmp_path / "out"), copy, manifest.digest, "2")
    restored = DatasetManifest.read(copy)
    assert restored.digest == manifest.digest
    texts = [(copy / name).read_text() for name in ("tokenizer.json", restored.tokenizer)]
    assert texts == [(tmp_path / "out/tokenizer.json").read_text()] * 2

    (copy / restored.tokenizer).write_text("{}")
    with pytest.raises(StageFailure, match="missing or not as its manifest says"):
        DatasetManifest.read(copy)
    shutil.rmtree(copy)
