"""How much of the texts a given tokenizer has tokens for: many have none for other languages, and
leave out what they do not know, or make one token of all of it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable

import numpy as np

from ...base import tokenizing
from ...base.errors import StageFailure
from ..engines.frame import HASH, SPLIT, TRAIN, Engine
from ..notes import Notes

# Of texts of the training split, and of each as many characters.
_TEXTS, _CHARS = 128, 2048
# Shares of characters without a token: from the first on it is told, above the other one refused.
_TOLD, _MOST = 0.01, 0.5


def check(engine: Engine, view: str, text: str, tokenizer: str, given: str, notes: Notes) -> None:
    """``text``: of the view's rows, in SQL; ``given``: the field that names the tokenizer.

    Raises StageFailure(SettingUnsuitable) where most of the texts would be lost."""
    found = engine.arrow(
        f"SELECT substring({text}, 1, {_CHARS}) AS text FROM {view} "
        f"WHERE {SPLIT} = {TRAIN} ORDER BY {HASH} LIMIT {_TEXTS}"
    )
    texts = found.column("text").to_pylist()
    share = unknown(texts, tokenizer, given)
    if share < _TOLD:
        return
    words = (
        f"{given} has no tokens for {share:.0%} of the characters of {len(texts)} texts that were "
        "looked at"
    )
    if share > _MOST:
        raise StageFailure(
            "SettingUnsuitable",
            f"{words}: name a tokenizer that knows them, or leave it unset and have one learned by "
            "vocabSize",
        )
    notes.log(f"warning: {words}: they are lost, or all become one token")


def unknown(texts: Iterable[str], tokenizer: str, given: str) -> float:
    """The share of characters but blanks that no token stands for, or the unknown one does."""
    # As many tokenizers read them, whose offsets then have but the first part of a composed letter.
    its = [unicodedata.normalize("NFC", one) for one in texts]
    made = tokenizing.Tool(tokenizer, given, None).encode(its, special=False, offsets=True)
    assert made.starts is not None
    assert made.ends is not None
    nothing = _unknown_token(tokenizer)
    characters = lost = 0
    columns = (made.ids.to_pylist(), made.starts.to_pylist(), made.ends.to_pylist())
    for text, ids, starts, ends in zip(its, *columns, strict=True):
        known = np.zeros(len(text) + 1, dtype=bool)
        for one, start, end in zip(ids, starts, ends, strict=True):
            if one != nothing:
                known[start:end] = True
        blank = np.array([one.isspace() for one in text], dtype=bool)
        characters += int((~blank).sum())
        lost += int((~blank & ~known[: len(text)]).sum())
    return lost / max(1, characters)


def _unknown_token(tokenizer: str) -> int | None:
    """The number of the token for what is unknown, of a tokenizer.json that was loaded once."""
    model = json.loads(tokenizer)["model"]
    if (number := model.get("unk_id")) is not None:
        return int(number)
    vocabulary, token = model.get("vocab"), model.get("unk_token")
    found = vocabulary.get(token) if isinstance(vocabulary, dict) and token is not None else None
    return None if found is None else int(found)
