"""Conversations to tokens: the same code in both engines.

Sent to Spark's Python workers as it stands. A conversation is
the JSON of a list of messages, objects with a role and a content, as chat datasets of Hugging Face
have it. A chat template makes a text of it; what of that text the assistant says is learned.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from trainingjob.runtime.base import templates, tokenizing

from .pack import WHERE, in_parts, lists

# What is not to be predicted: cross_entropy's own.
IGNORED = -100
TOKENS, LABELS, LENGTH = "input_ids", "labels", "length"
_LISTS = [pa.field(name, pa.list_(pa.int32())) for name in (TOKENS, LABELS)]
ENCODED = pa.schema([*WHERE, *_LISTS])
# How many tokens of a row are to be predicted.
ANSWERS = "answers"
ROW = [_LISTS[0], pa.field(LENGTH, pa.int32()), _LISTS[1], pa.field(ANSWERS, pa.int32())]
PACKED = pa.schema([*WHERE, *ROW])
# Where a tokenizer has no template of its own. What is generated is learned.
DEFAULT = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] + eos_token }}{% endgeneration %}
{%- else %}{{- message['content'] }}{% endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{% endif %}"""
# What begins a text that is no conversation, before the words about it: no JSON does.
WRONG = "!"
# Of a role, characters in a message, and how many of them.
_SHOWN = 20
_CALLS = ("tool_calls", "function_call")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Pairs of characters that no text uses, to find the answers by.
_MARKS = [("\ue000", "\ue001"), ("\ue4f2", "\ue4f3"), ("\uf7a8", "\uf7a9")]


class Way(NamedTuple):
    """How conversations become texts: the template, the special tokens by the names that templates
    use, and all special tokens."""

    template: str
    special: Mapping[str, str]
    ends: Sequence[str]


def canonical(texts: pa.Array) -> pa.Array:
    """Each conversation as compact JSON, without what is null; WRONG and words of what is none."""
    return pa.array([_canonical(text) for text in texts.to_pylist()], type=pa.string())


def unusable(texts: pa.Array, way: Way) -> pa.Array:
    """Words about each conversation that the template makes nothing of to learn from; null of
    others."""
    return pa.array([_unusable(text, way) for text in texts.to_pylist()], type=pa.string())


def contents(texts: pa.Array) -> pa.Array:
    """What is said in each conversation."""
    found = [t and "\n".join(one["content"] for one in json.loads(t)) for t in texts.to_pylist()]
    return pa.array(found, type=pa.string())


def _canonical(text: str | None) -> str | None:
    if text is None or text == "null":
        return None
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):
        return f"{WRONG}is no JSON"
    if not isinstance(messages, list):
        return f"{WRONG}is no list of messages"
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            return f"{WRONG}message {number} is no object"
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                what = "no text" if message.get(key) is not None else "missing"
                keys = ", ".join(sorted(map(str, message)))
                return f"{WRONG}{key} of message {number} is {what} (it has {keys or 'nothing'})"
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    if not said:
        roles = [json.dumps(message["role"][:_SHOWN])[1:-1] for message in messages[:_SHOWN]]
        its = f" (roles: {', '.join(dict.fromkeys(roles))})" if roles else ""
        return f"{WRONG}no message is of role assistant, which is what is learned{its}"
    if not any(content.strip() for content in said):
        return f"{WRONG}what role assistant says is empty"
    given = [{k: v for k, v in message.items() if v is not None} for message in messages]
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def _unusable(text: str | None, way: Way) -> str | None:
    if text is None:
        return None
    try:
        _, spans = rendered(json.loads(text), way)
    except ValueError as error:
        return str(error)[:200]
    return None if any(start < end for start, end in spans) else "it leaves out every answer"


def rendered(messages: list[dict[str, Any]], way: Way) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and where the answers are in it: by the template's own marks
    (`{% generation %}`) or, without such, the contents of the assistant's messages, each with the
    special token that ends it.

    Raises ValueError with what the template raises, or takes, or when it changes what an answer
    says."""
    own = _GENERATION.search(way.template) is not None
    calls = any(message.get(key) for message in messages for key in _CALLS)
    if calls and not (own and any(key in way.template for key in _CALLS)):
        raise ValueError("an answer calls tools, of which the template learns nothing")

    def render(its: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
        return templates.render(its, way.template, way.special, spans=own)

    text, spans = render(messages)
    if own:
        return text, spans
    every = json.dumps(messages, ensure_ascii=False) + way.template
    begin, end = next(pair for pair in _MARKS if not {*pair} & {*every})
    # Some templates cut blanks around contents.
    for cut in (str, str.strip):
        marked = [
            message | {"content": f"{begin}{cut(message['content'])}{end}"}
            if message["role"] == "assistant"
            else message
            for message in messages
        ]
        found, _ = render(marked)
        # As often as there are answers: some templates leave out what was thought, with our mark.
        answers = sum(message["role"] == "assistant" for message in messages)
        marks = found.count(begin), found.count(end)
        whole = marks in ((answers, answers), (0, 0))
        if whole and found.replace(begin, "").replace(end, "") == text:
            return text, list(_marked(found, begin, end, way.ends))
    raise ValueError("it changes what answers say: put {% generation %} around them in it")


def _marked(text: str, begin: str, end: str, ends: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The spans between marks, in the text without these, each with a special token behind it."""
    words = "|".join(map(re.escape, sorted(ends, key=len, reverse=True)))
    behind = re.compile(rf"\s*(?:{words})") if words else re.compile("")
    before = 0  # marks that were passed
    for part in re.finditer(f"{begin}(.*?){end}", text, re.DOTALL):
        start = part.start() - before
        stop = start + len(part[1])
        before += 2
        its = behind.match(text, part.end())
        yield start, stop + (0 if its is None else len(its[0]))


def encode(
    batches: Iterator[pa.RecordBatch],
    tokenizer: str,
    given: str | None,
    way: Way,
    threads: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of PLACE and a conversation, in any order, as ENCODED; else as ``pack.encode``. A label
    is the token itself where it is an answer's, as in transformers' `assistant_masks`."""
    tool = tokenizing.Tool(tokenizer, given, threads)
    for batch in batches:
        for part in in_parts(batch):
            made = [rendered(json.loads(text), way) for text in part.column(3).to_pylist()]
            texts = pa.array([text for text, _ in made], type=pa.string())
            found = tool.encode(texts, special=True, offsets=True)
            ids, starts, ends = map(_arrays, found)
            labels = [
                np.where(_within(start, end, spans), its, np.int32(IGNORED))
                for its, start, end, (_, spans) in zip(ids, starts, ends, made, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(
                [*part.columns[:3], found.ids, lists(labels)], schema=ENCODED
            )


def _within(starts: np.ndarray, ends: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which tokens have a character in one of the spans."""
    found = np.zeros(len(starts), dtype=bool)
    for start, end in spans:
        found |= (starts < end) & (ends > start)
    return found


def pack(
    batches: Iterator[pa.RecordBatch], length: int, end: int, bits: int
) -> Iterator[pa.RecordBatch]:
    """ENCODED rows in the order of PLACE as PACKED, of sequence ``length``: as many conversations
    as a row has room for, an end of text behind each. One that is longer than a row goes on in the
    next ones. ``bits``: how many leading bits of a place are the number of its file."""
    rows = _Rows((-1, -1), length + 1, end, bits)
    for batch in batches:
        places = zip(*(batch.column(index).to_pylist() for index in (0, 1)), strict=True)
        ids, labels = (_arrays(batch.column(index)) for index in (3, 4))
        for place, its, answers in zip(places, ids, labels, strict=True):
            if place != rows.place:
                yield from rows.rest()
                rows = _Rows(place, length + 1, end, bits)
            rows.add(its, answers)
        yield from rows.whole()
    yield from rows.rest()


def _arrays(column: pa.ListArray) -> list[np.ndarray]:
    values, offsets = np.asarray(column.values), np.asarray(column.offsets)
    return [values[start:stop] for start, stop in itertools.pairwise(offsets)]


class _Rows:
    """The rows of a file and split; those of ``done`` are whole."""

    def __init__(self, place: tuple[int, int], width: int, end: int, bits: int) -> None:
        self.place, self._width, self._end, self._bits = place, width, end, bits
        self._done: list[tuple[np.ndarray, np.ndarray, int]] = []
        self._open: list[tuple[np.ndarray, np.ndarray]] = []
        self._room = width
        self._number = 0

    def add(self, ids: np.ndarray, labels: np.ndarray) -> None:
        """A conversation."""
        ids = np.append(ids, np.int32(self._end))
        labels = np.append(labels, np.int32(IGNORED))
        if len(ids) > self._room:
            self._close()
        while len(ids) > self._width:
            self._open = [(ids[: self._width], labels[: self._width])]
            self._close()
            # The last token of a row is the first of the next one.
            ids, labels = ids[self._width - 1 :], labels[self._width - 1 :]
        self._open.append((ids, labels))
        self._room -= len(ids)

    def _close(self) -> None:
        if self._open:
            ids, labels = (np.concatenate(parts) for parts in zip(*self._open, strict=True))
            labels[0] = IGNORED  # nothing is before it in its row
            # Without an answer there is nothing to learn.
            if (labels != IGNORED).any():
                self._done.append((ids, labels, len(ids)))
        self._open, self._room = [], self._width

    def whole(self) -> Iterator[pa.RecordBatch]:
        """The rows that nothing is added to any more."""
        if not self._done:
            return
        count, width = len(self._done), self._width
        ids = np.full((count, width), self._end, dtype=np.int32)
        labels = np.full((count, width), IGNORED, dtype=np.int32)
        for row, (its, answers, size) in enumerate(self._done):
            ids[row, :size], labels[row, :size] = its, answers
        lengths = np.array([size for *_, size in self._done], dtype=np.int32)
        file, split = self.place
        # Within the file's range of places, one after the other.
        least = (file << (64 - self._bits)) - 2**63
        places = np.arange(self._number, self._number + count, dtype=np.int64) + np.int64(least)
        self._number += count
        self._done = []
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(np.full(count, file, dtype=np.int32)),
                pa.array(np.full(count, split, dtype=np.int8)),
                pa.array(places),
                lists([*ids]),
                pa.array(lengths),
                lists([*labels]),
                pa.array((labels != IGNORED).sum(axis=1, dtype=np.int32)),
            ],
            schema=PACKED,
        )

    def rest(self) -> Iterator[pa.RecordBatch]:
        """The last ones."""
        self._close()
        yield from self.whole()
