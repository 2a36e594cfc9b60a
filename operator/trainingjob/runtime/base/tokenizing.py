"""Tokenizers that other people made, run in a process of their own of bounded time and memory:
``python -m trainingjob.runtime.base.tokenizing``.

A tokenizer.json has regular expressions, which may backtrack without end, and replacements that may
make gigabytes of a text. Texts and tokens pass as Arrow's streams.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from . import bounded
from .digest import digest_of_text
from .errors import StageFailure
from .text import cut

# Of the processor: to load it, and for texts besides one for so many bytes; a hundredth of that is
# usual.
LOAD_SECONDS, SECONDS = 60.0, 10.0
_BYTES_A_SECOND = 64 * 2**10
# Beside what the library takes, and of each thread of its: texts take thirty times their size.
_MEMORY_BYTES, _THREAD_BYTES = 2 * 2**30, 128 * 2**20
_LOAD, _NUMBER, _ENCODE, _DECODE, _VOCABULARY = b"l", b"n", b"e", b"d", b"v"
_SPECIAL, _OFFSETS = b"special", b"offsets"
# Of a text, characters in a message.
_SHOWN = 40
_LISTS = pa.list_(pa.int32())


class Known(NamedTuple):
    """What a tokenizer says of itself: tokens that are added to its vocabulary, whether each is
    special, and the size of all."""

    added: dict[str, tuple[int, bool]]
    size: int


class Tokens(NamedTuple):
    """Of each text its tokens, and of each of these where its characters begin and end."""

    ids: pa.ListArray
    starts: pa.ListArray | None
    ends: pa.ListArray | None


class Bounded:
    """A tokenizer by its JSON. ``threads``: of the process; unset: one a core."""

    def __init__(self, tokenizer: str, threads: int | None = None) -> None:
        self._json = tokenizer.encode()
        if threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(threads)
        memory = _MEMORY_BYTES + (threads or os.cpu_count() or 1) * _THREAD_BYTES
        self._process = bounded.Process(__name__, memory, self._load)
        self._known: Known | None = None

    def _load(self) -> None:
        told = json.loads(self._process.ask(_LOAD + self._json, LOAD_SECONDS))
        self._known = Known({k: (one, special) for k, one, special in told["added"]}, told["size"])

    def known(self) -> Known:
        """Raises bounded.TooMuch, and bounded.Refused for what is no tokenizer."""
        if self._known is None:
            self._load()
        assert self._known is not None
        return self._known

    def number(self, token: str) -> int | None:
        """Of a token; None unless it has it. Raises as ``known``."""
        found: int | None = json.loads(self._process.ask(_NUMBER + token.encode(), SECONDS))
        return found

    def encode(
        self, texts: pa.Array | Sequence[str], *, special: bool, offsets: bool = False
    ) -> Tokens:
        """``special``: special tokens that are written in a text are such, and no text. Raises
        bounded.TooMuch, bounded.Refused."""
        texts = pa.array(texts, type=pa.string())
        schema = pa.schema(
            [("text", pa.string())], {_SPECIAL: b"%d" % special, _OFFSETS: b"%d" % offsets}
        )
        question = _ENCODE + _stream(pa.record_batch([texts], schema=schema))
        answer = self._process.ask(question, SECONDS + texts.nbytes / _BYTES_A_SECOND)
        found = _batch(answer).columns
        return Tokens(found[0], *(found[1:] if offsets else (None, None)))

    def decode(self, ids: Sequence[int]) -> str:
        """Their text, without special tokens. Raises bounded.TooMuch, bounded.Refused."""
        return self._process.ask(_DECODE + json.dumps([*ids]).encode(), SECONDS).decode()

    def vocabulary(self) -> str:
        """The digest of all tokens and their numbers. Raises as ``known``."""
        return self._process.ask(_VOCABULARY, LOAD_SECONDS).decode()

    def close(self) -> None:
        """End the process."""
        self._process.close()


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _batch(stream: bytes) -> pa.RecordBatch:
    return pa.ipc.open_stream(stream).read_next_batch()


def load(tokenizer: str) -> Any:
    """The library's, which gives all tokens of a text, and the same ones each time."""
    from tokenizers import Tokenizer

    tool = Tokenizer.from_str(tokenizer)
    tool.no_truncation()
    tool.no_padding()
    if getattr(tool.model, "dropout", None):
        tool.model.dropout = None
    return tool


def encode(
    tool: Any, texts: pa.Array | Sequence[str], *, special: bool, offsets: bool = False
) -> Tokens:
    """As ``Bounded.encode``, here."""
    tool.encode_special_tokens = not special
    each = tool.encode_batch if offsets else tool.encode_batch_fast
    its = texts.to_pylist() if isinstance(texts, pa.Array) else [*texts]
    found = each(its, add_special_tokens=False)
    ids = pa.array([one.ids for one in found], type=_LISTS)
    if not offsets:
        return Tokens(ids, None, None)
    places = [tuple(zip(*one.offsets, strict=True)) or ((), ()) for one in found]
    starts, ends = (pa.array([one[at] for one in places], type=_LISTS) for at in (0, 1))
    return Tokens(ids, starts, ends)


class Tool:
    """A tokenizer for texts of a dataset. ``given``: the field that names it, when somebody else
    has made it; ``threads``: as ``Bounded`` has them."""

    def __init__(self, tokenizer: str, given: str | None, threads: int | None) -> None:
        if threads is not None:
            os.environ["RAYON_NUM_THREADS"] = str(threads)
        self._given = given
        self._own = load(tokenizer) if given is None else None
        self._bounded = None if given is None else _kept(tokenizer, threads)

    def encode(
        self, texts: pa.Array | Sequence[str], *, special: bool, offsets: bool = False
    ) -> Tokens:
        """As ``Bounded.encode``. Raises StageFailure(SettingUnsuitable)."""
        texts = pa.array(texts, type=pa.string())
        if self._bounded is None:
            return encode(self._own, texts, special=special, offsets=offsets)
        try:
            return self._bounded.encode(texts, special=special, offsets=offsets)
        except (bounded.TooMuch, bounded.Refused) as error:
            longest = json.dumps(max(texts.to_pylist(), key=len)[:_SHOWN])
            raise StageFailure(
                "SettingUnsuitable",
                f"{self._given} cannot make tokens of {len(texts)} texts of {texts.nbytes} bytes, "
                f"the longest of which begins {cut(longest, _SHOWN)}: {error}; "
                "look at the patterns and replacements of its normalizer and pre_tokenizer, or "
                "leave it unset and have one learned by vocabSize",
            ) from None


_KEPT: dict[tuple[str, int | None], Bounded] = {}


def _kept(tokenizer: str, threads: int | None) -> Bounded:
    """One for all tasks of this process: to start it takes as long as to tokenize megabytes."""
    key = (tokenizer, threads)
    if key not in _KEPT:
        _let_go()
        _KEPT[key] = Bounded(tokenizer, threads)
    return _KEPT[key]


@atexit.register
def _let_go() -> None:
    for one in _KEPT.values():
        one.close()
    _KEPT.clear()


def main(memory: int) -> None:
    """Answer each question."""
    import tokenizers  # noqa: F401 - before memory is bounded

    tool: Any = None

    def work(question: bytes) -> bytes:
        nonlocal tool
        if question[:1] == _LOAD:
            tool = load(question[1:].decode())
            added = [[t.content, i, t.special] for i, t in tool.get_added_tokens_decoder().items()]
            highest = max(tool.get_vocab().values(), default=-1)
            size = max(highest + 1, tool.get_vocab_size())
            return json.dumps({"added": added, "size": size}).encode()
        if question[:1] == _NUMBER:
            return json.dumps(tool.token_to_id(question[1:].decode())).encode()
        if question[:1] == _DECODE:
            text: str = tool.decode(json.loads(question[1:]), skip_special_tokens=True)
            return text.encode()
        if question[:1] == _VOCABULARY:
            return digest_of_text(json.dumps(sorted(tool.get_vocab().items()))).encode()
        batch = _batch(question[1:])
        given = batch.schema.metadata
        special, offsets = (given[name] == b"1" for name in (_SPECIAL, _OFFSETS))
        made = encode(tool, batch.column(0).to_pylist(), special=special, offsets=offsets)
        columns = [one for one in made if one is not None]
        return _stream(pa.record_batch(columns, names=Tokens._fields[: len(columns)]))

    bounded.answer(work, memory)


if __name__ == "__main__":
    main(int(sys.argv[1]))
