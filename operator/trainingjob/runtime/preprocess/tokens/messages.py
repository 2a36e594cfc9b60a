"""The column of conversations, in SQL: looked at, and in one form in both engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pyarrow as pa

from ...base import tokenizing
from ...base.errors import StageFailure
from ...base.text import cut
from ..engines.frame import HASH, SPLIT, TRAIN, Engine, Frame
from ..notes import Notes
from . import chat
from .tokenizer import Chosen

# Conversations, and characters of a token.
_LOOKED_AT, _CHARS = 128, 64


def canonical(engine: Engine, frame: Frame, name: str) -> Frame:
    """The frame with each conversation as compact JSON; as it is when it has no such column.

    Raises StageFailure(TextInvalid) for values that are no conversations."""
    if frame.columns.get(name) != "string":
        return frame
    function = engine.function(chat.canonical, "string", "text")
    column = engine.dialect.ident(name)
    selected = [
        f"{function}({column}) AS {column}" if one == name else engine.dialect.ident(one)
        for one in frame.columns
    ]
    view = engine.view(f"SELECT {', '.join([*selected, *frame.hidden])} FROM {frame.view}")
    made = engine.keep(frame.over(view))
    mark = engine.dialect.text(chat.WRONG)
    wrong = f"substring({column}, 1, 1) = {mark}"
    why = f"substring({column}, {len(chat.WRONG) + 1})"
    _refuse(engine, made, "{} cannot be learned from, such as one of which {}", name, why, wrong)
    return made


def check(engine: Engine, frame: Frame, name: str, way: chat.Way) -> None:
    """Raises StageFailure(TextInvalid) for conversations that the template makes nothing of."""
    call: Callable[[pa.Array], pa.Array] = partial(chat.unusable, way=way)
    function = engine.function(call, "string", "text")
    column = engine.dialect.ident(name)
    view = engine.view(f"SELECT {column}, {function}({column}) AS why FROM {frame.view}")
    found = engine.keep(Frame(view, {name: "string", "why": "string"}))
    _refuse(engine, found, "the chat template makes nothing of {}: {}", name, "why", "TRUE")


def warn_of_long(
    engine: Engine, view: str, name: str, chosen: Chosen, length: int, notes: Notes
) -> None:
    """Tell of conversations that a row of ``length`` tokens has no room for: what is at their ends
    is learned without what is at their beginnings. Some of the training split are looked at."""
    assert chosen.way is not None
    found = engine.arrow(
        f"SELECT {engine.dialect.ident(name)} AS text FROM {view} "
        f"WHERE {SPLIT} = {TRAIN} ORDER BY {HASH} LIMIT {_LOOKED_AT}"
    )
    texts = (chat.rendered(json.loads(one), chosen.way)[0] for one in found["text"].to_pylist())
    # More characters than so many tokens have.
    its = [text[: (length + 1) * _CHARS] for text in texts]
    ids = tokenizing.Tool(chosen.text, chosen.given, None).encode(its, special=True).ids
    long = sum(count > length for count in ids.value_lengths().to_pylist())
    if long:
        notes.log(
            f"warning: of {len(its)} conversations that were looked at {long} have more tokens "
            f"than a row, whose preprocess.tokenize.sequenceLength is {length}: answers at their "
            "ends are learned without their beginnings"
        )


def _refuse(engine: Engine, frame: Frame, message: str, name: str, why: str, where: str) -> None:
    ((rows, count, words),) = engine.rows(
        f"SELECT count(*), count(words), min(words) FROM "
        f"(SELECT CASE WHEN {where} THEN {why} END AS words FROM {frame.view}) AS t"
    )
    if count:
        of = f"{count} of {rows} conversations in {name}"
        raise StageFailure("TextInvalid", f"task.messages: {message.format(of, cut(words, 300))}")
