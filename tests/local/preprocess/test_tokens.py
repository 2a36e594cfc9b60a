"""A language model's dataset: the same tokenizer, tokens and rows on both engines."""

from __future__ import annotations

import json
import random
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from tests.local.preprocess.both import run, same
from tests.unit.preprocess import chats
from tests.unit.preprocess.test_tokens import bombs
from trainingjob.runtime.preprocess.engines import frame

_RNG = random.Random(0)
_WORDS = sorted({word for text in topics.values() for word in text.split()})
TEXTS = [" ".join(_RNG.choices(_WORDS, k=_RNG.randint(0, 40))) for _ in range(300)]
TEXTS += [f"{text} more" for text in TEXTS[:60]]
TEXTS += ["Ünïcödé 😀 \n\tx" * 3, "<|endoftext|>", *TEXTS[:20]]
BLANK = " \n\t\r\f "
TEXTS += [BLANK, "\x0b", "\u00a0", "\0", "\x01\x1f\x7f"]
TASK = {"type": "languageModel", "text": "body"}


def write(path: Path, format: str) -> Path:
    if format == "parquet":
        pq.write_table(pa.table({"body": TEXTS, "id": range(len(TEXTS))}), path)
    else:
        lines = (json.dumps({"body": text, "id": n}) for n, text in enumerate(TEXTS))
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "format, files, split, near",
    [
        ("json", 1, {"test": 0.2, "validation": 0.1, "seed": 3}, None),
        ("parquet", 4, {"test": 0.2, "by": ["id"]}, {"similarity": 0.7, "words": 3}),
    ],
)
def test_both_engines_make_the_same_tokens(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
    files: int,
    split: dict[str, Any],
    near: dict[str, Any] | None,
) -> None:
    monkeypatch.setattr(frame, "ROWS_PER_FILE", -(-len(TEXTS) // files))
    manifest, found = same(
        write(tmp_path / "texts", format),
        tmp_path,
        [{"filter": {"where": "body not like '%never there%'"}}],
        format=format,
        task=TASK,
        split=split,
        tokenize={"vocabSize": 500, "sequenceLength": 32, "nearDuplicates": near},
    )
    assert len([name for name, _ in found if name == "train"]) == files
    tokens = manifest.tokens
    count = sum(one.documents for one in tokens.splits.values())
    different = len({*TEXTS} - {"", BLANK})
    assert count == different if near is None else different - 60 < count < different - 20


def test_text_that_is_not_utf_8_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """Parquet holds it as text, and does not look."""
    buffers = [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    pq.write_table(
        pa.table({"body": pa.Array.from_buffers(pa.string(), 2, buffers)}), tmp_path / "texts"
    )
    failure = run(
        "spark",
        tmp_path / "texts",
        tmp_path / "out",
        format="parquet",
        task=TASK,
        split={"test": 0.0, "validation": 0.0},
        tokenize={"vocabSize": 257, "sequenceLength": 32},
    )
    assert failure == ("InputNotUtf8", "the text body is not UTF-8 in 1 of 2 rows")


def test_a_tokenizer_that_takes_too_much_is_said_by_spark(
    spark: SparkSession, tmp_path: Path
) -> None:
    its, words = bombs()["an expression that gives up"]
    (tmp_path / "given.json").write_text(json.dumps(its))
    (tmp_path / "texts.json").write_text(json.dumps({"body": "a" * 200 + "c"}) + "\n")
    failure = run(
        "spark",
        tmp_path / "texts.json",
        tmp_path / "out",
        format="json",
        task=TASK,
        split={"test": 0.0, "validation": 0.0},
        tokenize={"from": f"file://{tmp_path}/given.json", "sequenceLength": 32},
    )
    assert failure[0] == "SettingUnsuitable"
    assert "given.json cannot make tokens of 1 texts" in failure[1]
    assert words in failure[1]


@pytest.mark.parametrize("form", ["nested", "parquet"])
def test_both_engines_make_the_same_of_conversations(
    spark: SparkSession, tmp_path: Path, form: str
) -> None:
    """By a template of its own, which marks no answers."""
    given = chats.folder(tmp_path / "model", chats.plain(chats.CHATML))
    if form == "parquet":
        named = [[one | {"name": None} for one in chat] for chat in chats.CHATS]
        pq.write_table(pa.table({"messages": named}), tmp_path / "chats")
    else:
        chats.source(tmp_path / "chats", chats.CHATS)
    manifest, _ = same(
        tmp_path / "chats",
        tmp_path,
        [],
        format="parquet" if form == "parquet" else "json",
        task=chats.TASK,
        split={"test": 0.2, "seed": 3},
        tokenize={"from": f"file://{given}/tokenizer.json", "sequenceLength": 64},
    )
    assert manifest.tokens.splits["test"].documents == round(0.2 * len(chats.CHATS))


def test_a_conversation_that_is_none_is_said_by_spark(spark: SparkSession, tmp_path: Path) -> None:
    source = chats.source(tmp_path / "chats", [*chats.CHATS[:3], [{"from": "human", "value": "a"}]])
    failure = run(
        "spark",
        source,
        tmp_path / "out",
        format="json",
        task=chats.TASK,
        split={"test": 0.0, "validation": 0.0},
        tokenize={"vocabSize": 300, "sequenceLength": 32},
    )
    assert failure[0] == "TextInvalid"
    assert "role of message 1 is missing (it has from, value)" in failure[1]
