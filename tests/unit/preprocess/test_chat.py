"""Conversations to tokens, of which the answers' are learned, against transformers' own masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.local.preprocess.both import run
from trainingjob.api.v1alpha1.job import Task
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.dataset import suitable
from trainingjob.runtime.preprocess.tokens import chat

from .chats import CHATML, CHATS, FORGETS, TASK, TRIMMED, folder, marked, plain, source

NO_SPLIT = {"test": 0.0, "validation": 0.0}


def made(path: Path, chats: list[Any], tokenize: dict[str, Any], **more: Any) -> Any:
    given = {"task": TASK, "tokenize": tokenize, "format": "json", "split": NO_SPLIT, **more}
    return run("pandas", source(path / "chats.json", chats), path / "out", **given)


def rows_of(found: Any) -> list[dict[str, Any]]:
    _, files = found
    return [row for table in files.values() for row in table.to_pylist()]


def conversations(rows: list[dict[str, Any]], end: int) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels between ends of text, in any order; none of them may be an end itself."""
    found = []
    for row in rows:
        ids, labels, size = row["input_ids"], row["labels"], row["length"]
        assert set(ids[size:]) <= {end}
        assert set(labels[size:]) <= {-100}
        start = 0
        for at in range(size):
            if ids[at] == end and labels[at] == -100:
                found.append((ids[start:at], labels[start:at]))
                start = at + 1
        assert start == size
    return sorted(found)


@pytest.mark.parametrize(
    ("template", "given"),
    [
        (CHATML, plain(CHATML)),
        (CHATML, marked(CHATML)),
        (TRIMMED, plain(TRIMMED)),
        (FORGETS, plain(FORGETS)),
    ],
    ids=["chatml", "marked", "trimmed", "forgets"],
)
def test_answers_are_learned_as_transformers_masks_them(
    tmp_path: Path, template: str, given: str
) -> None:
    path = folder(tmp_path / "model", given)
    chats = [c for c in CHATS if template is not TRIMMED or "</s>" not in json.dumps(c)]
    # Of text that is a special token, Hugging Face makes one as well.
    tokenize = {"from": f"file://{path}", "sequenceLength": 900, "endOfText": "<s>"}
    found = made(tmp_path, chats, tokenize)
    tool = AutoTokenizer.from_pretrained(path)
    expected = []
    for one in chats:
        its: Any = tool.apply_chat_template(
            one,
            chat_template=marked(template),
            return_assistant_tokens_mask=True,
            return_dict=True,
        )
        ids, mask = its["input_ids"], its["assistant_masks"]
        assert any(mask)
        expected.append((ids, [i if m else -100 for i, m in zip(ids, mask, strict=True)]))
    if template is TRIMMED:  # whose texts begin with what is taken for the end of text here
        expected = [(ids[1:], labels[1:]) for ids, labels in expected]
        rows = [row | {"input_ids": row["input_ids"]} for row in rows_of(found)]
        got = [one for one in conversations(rows, tool.convert_tokens_to_ids("<s>")) if one[0]]
    else:
        got = conversations(rows_of(found), tool.convert_tokens_to_ids("<s>"))
    assert got == sorted(expected)
    manifest, _ = found
    counted = sum(label != -100 for row in rows_of(found) for label in row["labels"])
    assert manifest.tokens.splits["train"].tokens == counted
    assert (tmp_path / "out/chat_template.jinja").read_text() == given


def test_a_learned_vocabulary_has_a_template_that_marks_answers(tmp_path: Path) -> None:
    found = made(tmp_path, CHATS, {"vocabSize": 400, "sequenceLength": 900})
    manifest, _ = found
    tool = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    learned = []
    for row in rows_of(found):
        answer: list[int] = []
        for label in row["labels"]:
            if label != -100:
                answer.append(label)
            elif answer:
                learned.append(answer)
                answer = []
        learned += [answer] if answer else []
    end = manifest.tokens.end
    assert all(answer[-1] == end for answer in learned)
    said = [m["content"] for c in CHATS for m in c if m["role"] == "assistant"]
    assert sorted(tool.decode(answer[:-1]) for answer in learned) == sorted(said)
    text = (tmp_path / "out/chat_template.jinja").read_text()
    assert text == chat.DEFAULT


def test_conversations_are_packed_whole_and_long_ones_go_on(tmp_path: Path) -> None:
    short = made(tmp_path, CHATS, {"vocabSize": 400, "sequenceLength": 40})
    (tmp_path / "long").mkdir()
    long = made(tmp_path / "long", CHATS, {"vocabSize": 400, "sequenceLength": 900})
    manifests = [manifest.tokens.splits["train"] for manifest, _ in (short, long)]
    # Nothing that is to be learned is lost.
    assert manifests[0] == manifests[1]
    assert all(any(label != -100 for label in row["labels"]) for row in rows_of(short))
    for row in rows_of(short):
        for at, (token, label) in enumerate(zip(row["input_ids"], row["labels"], strict=True)):
            assert label in (-100, token)
            assert at or label == -100


@pytest.mark.parametrize(("length", "many"), [(400, 0), (40, 1)])
def test_conversations_that_are_longer_than_a_row_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int, many: int
) -> None:
    short = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    long = [{"role": "user", "content": "why " * 30}, {"role": "assistant", "content": "c"}]
    made(tmp_path, [short, long], {"vocabSize": 257, "sequenceLength": length})
    told = f"of 2 conversations that were looked at {many} have more tokens than a row, whose"
    assert (told in capsys.readouterr().out) == bool(many)


@pytest.mark.parametrize("form", ["nested", "text", "parquet"])
def test_messages_may_be_nested_or_json(tmp_path: Path, form: str) -> None:
    import pyarrow.parquet as pq

    tokenize = {"vocabSize": 400, "sequenceLength": 64}
    expected = rows_of(made(tmp_path, CHATS, tokenize))
    chats: list[Any] = CHATS
    if form == "parquet":
        # A field that is null where others have it.
        named = [[m | {"name": None} for m in c] for c in CHATS]
        pq.write_table(pa.table({"messages": named, "id": range(len(CHATS))}), tmp_path / "x")
        found = run(
            "pandas",
            tmp_path / "x",
            tmp_path / "again",
            task=TASK,
            tokenize=tokenize,
            format="parquet",
            split=NO_SPLIT,
        )
    else:
        if form == "text":
            chats = [json.dumps(c, indent=1) for c in CHATS]
        (tmp_path / "other").mkdir()
        found = made(tmp_path / "other", chats, tokenize)
    assert rows_of(found) == expected


def test_a_dataset_of_conversations_is_none_of_texts(tmp_path: Path) -> None:
    manifest, _ = made(tmp_path, CHATS, {"vocabSize": 300, "sequenceLength": 16})
    suitable.check(manifest, Task(type="languageModel", messages="messages"))
    with pytest.raises(StageFailure, match=r"prepared for task\.messages, and the task has text"):
        suitable.check(manifest, Task(type="languageModel", text="messages"))


GOOD = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
BAD: list[tuple[Any, str]] = [
    ("no json", "is no JSON"),
    ("{}", "is no list of messages"),
    (["a"], "message 1 is no object"),
    ([{"from": "human", "value": "a"}], "role of message 1 is missing (it has from, value)"),
    ([{}], "role of message 1 is missing (it has nothing)"),
    (
        [*GOOD, {"role": "assistant", "content": None, "tool_calls": []}],
        "content of message 3 is m",
    ),
    ([{"role": "user", "content": [{"type": "text"}]}], "content of message 1 is no text"),
    (
        [GOOD[0], {"role": "bo\nt", "content": "x"}],
        "no message is of role assistant, which is what is learned (roles: user, bo\\nt)",
    ),
    ([GOOD[0], {"role": "assistant", "content": " \n"}], "what role assistant says is empty"),
    ([], "no message is of role assistant"),
]


@pytest.mark.parametrize(("value", "words"), BAD, ids=[words for _, words in BAD])
def test_what_is_no_conversation_is_said(tmp_path: Path, value: Any, words: str) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    found = made(tmp_path, [json.dumps(GOOD), text], {"vocabSize": 300, "sequenceLength": 8})
    assert found[0] == "TextInvalid"
    assert found[1].startswith(
        f"task.messages: 1 of 2 conversations in messages cannot be learned from, such as one of "
        f"which {words}"
    )


TEMPLATES = [
    ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ("{% for", "unexpected 'end of template'"),
    ("{% for m in messages %}{{ m.content[:1] }}{% endfor %}", "it changes what answers say"),
    (
        "{% for m in messages %}{{ m.content.split('b')[-1] }}{% endfor %}",
        "it changes what answers say: put {% generation %} around them",
    ),
    ("{{ messages[0].content }}", "it leaves out every answer"),
    ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"),
    ("{{ 'a' * 10**9 }}", "it takes more than 512 MiB of memory"),
]


@pytest.mark.parametrize(("template", "words"), TEMPLATES, ids=[words for _, words in TEMPLATES])
def test_a_template_that_makes_nothing_of_them_is_said(
    tmp_path: Path, template: str, words: str
) -> None:
    path = folder(tmp_path / "model", None, chat_template=template)
    found = made(tmp_path, [GOOD, GOOD], {"from": f"file://{path}", "sequenceLength": 8})
    assert found[0] == "TextInvalid"
    expected = "task.messages: the chat template makes nothing of 1 of 1 conversations in messages"
    assert found[1].startswith(expected)
    assert words in found[1]


CALL = {"role": "assistant", "content": "c", "tool_calls": [{"type": "function"}]}
MARKS = (
    "{% for m in messages %}{% generation %}{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{% endgeneration %}{% endfor %}"
)


@pytest.mark.parametrize("template", [None, plain(CHATML), marked(CHATML), MARKS])
def test_calls_of_tools_are_learned_or_said_to_be_none(
    tmp_path: Path, template: str | None
) -> None:
    path = folder(tmp_path / "model", template)
    tokenize = {"from": f"file://{path}", "sequenceLength": 64}
    found = made(tmp_path, [[GOOD[0], CALL], GOOD], tokenize)
    if template == MARKS:
        assert rows_of(found)
        return
    assert found[0] == "TextInvalid"
    assert "1 of 2 conversations in messages" in found[1]
    assert "an answer calls tools, of which the template learns nothing" in found[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({"chat_template": 5}), "is no text, nor a list that has one of the name"),
        (json.dumps({"chat_template": [{"name": "rag"}]}), "is no text, nor a list that has one"),
        ("[]", "is no tokenizer_config.json"),
        ("{", "is no tokenizer_config"),
        (json.dumps({"chat_template": " " * 2**21}), "a chat template that is larger than any"),
    ],
    ids=["a number", "no default", "a list", "half", "too large"],
)
def test_a_config_of_the_tokenizer_that_is_none(tmp_path: Path, content: str, words: str) -> None:
    path = folder(tmp_path / "model", None)
    (path / "tokenizer_config.json").write_text(content)
    found = made(tmp_path, [GOOD, GOOD], {"from": f"file://{path}", "sequenceLength": 8})
    assert found[0] == "InputMalformed"
    assert words in found[1]
