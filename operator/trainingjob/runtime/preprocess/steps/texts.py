"""hashText, tfidf, hashEncode: texts to a fixed number of columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from trainingjob.api.v1alpha1.features import HashEncode, HashText, Tfidf
from trainingjob.api.v1alpha1.input import ColumnType

from .. import apply
from ..engines.frame import Frame
from . import chosen
from .step import Fitted, Where

HASHED_WORDS = 256
HASHED_VALUES = 32
_WORDS = 256
# Longer words are no words that a column could be named after.
_LONGEST_WORD = 64
# What all columns of a step become together.
_MOST_COLUMNS = 16_384


def hash_text(spec: HashText, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: see ``apply.hashed_words``; nothing is learned."""
    size = spec.features or HASHED_WORDS
    function = partial(apply.hashed_words, size=size)
    names = chosen.texts(frame, where, spec.columns)
    return _widened(frame, where, dict.fromkeys(names, (function, _numbered(size)))), {}


def hash_encode(spec: HashEncode, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: see ``apply.hashed_value``; nothing is learned. Numbers are hashed as text."""
    where.require(frame, spec.columns)
    size = spec.features or HASHED_VALUES
    function = partial(apply.hashed_value, size=size)
    return _widened(frame, where, dict.fromkeys(spec.columns, (function, _numbered(size)))), {}


def tfidf(spec: Tfidf, frame: Frame, where: Where) -> tuple[Frame, Fitted]:
    """Applied: see ``apply.weighted_words``, with the words and weights that are stored."""
    names = chosen.texts(frame, where, spec.columns)
    tokens = where.engine.function(apply.words, "string", "texts")
    ((rows,),) = where.engine.rows(f"SELECT count(*) FROM {frame.view} WHERE {where.train}")
    learned: dict[str, dict[str, float]] = {}
    made: dict[str, tuple[Callable[..., Any], Sequence[str]]] = {}
    for name in names:
        counts = _words_of(spec, name, tokens, frame, where)
        if not counts:
            raise where.failure(
                f"column {name} has no words in the training split"
                + (f" that {spec.min_rows} rows have" if (spec.min_rows or 1) > 1 else "")
            )
        learned[name] = {
            word: math.log((1 + rows) / (1 + count)) + 1 for word, count in sorted(counts.items())
        }
        places = {word: place for place, word in enumerate(learned[name])}
        function = partial(
            apply.weighted_words, places=places, weights=list(learned[name].values())
        )
        made[name] = (function, list(places))
    return _widened(frame, where, made), {"weights": learned}


def _words_of(spec: Tfidf, name: str, tokens: str, frame: Frame, where: Where) -> dict[str, int]:
    """The most frequent words of the training rows, and in how many of them each is."""
    words = f"{tokens}({where.dialect.ident(name)})"
    each = where.dialect.exploded(words)
    first = where.dialect.exploded(where.dialect.distinct(words))
    source = f"FROM {frame.view} WHERE {where.train}"
    found = where.engine.rows(
        f"SELECT word, sum(one) AS times, sum(first) AS rows_with FROM ("
        f"SELECT {each} AS word, 1 AS one, 0 AS first {source} UNION ALL "
        f"SELECT {first} AS word, 0 AS one, 1 AS first {source}) AS t "
        f"WHERE length(word) <= {_LONGEST_WORD} GROUP BY word "
        f"HAVING sum(first) >= {spec.min_rows or 1} "
        f"ORDER BY times DESC, word LIMIT {spec.features or _WORDS}"
    )
    return {word: int(count) for word, _, count in found}


def _numbered(size: int) -> Sequence[str]:
    return [str(number) for number in range(size)]


def _widened(
    frame: Frame, where: Where, made: Mapping[str, tuple[Callable[..., Any], Sequence[str]]]
) -> Frame:
    """The frame with columns in place of some: what a function gives of one, and the endings of
    their names."""
    width = sum(len(endings) for _, endings in made.values())
    if width > _MOST_COLUMNS:
        raise where.failure(
            f"{width} columns would be made, more than {_MOST_COLUMNS}: set fewer features"
        )
    arrays: dict[str, str] = {}
    calls = []
    for number, (name, (function, _)) in enumerate(made.items()):
        arrays[name] = f"trainingjob_array_{number}"
        value = where.dialect.cast(where.dialect.ident(name), frame.columns[name], "string")
        called = where.engine.function(function, "string", "doubles")
        calls.append(f"{called}({value}) AS {arrays[name]}")
    columns: dict[str, tuple[str, ColumnType]] = {}
    for name, same in where.unchanged(frame).items():
        if name not in made:
            columns[name] = same
            continue
        for place, ending in enumerate(made[name][1]):
            value = where.dialect.item(arrays[name], place)
            chosen.add(where, columns, frame, f"{name}_{ending}", (value, "double"))
    source = f"(SELECT *, {', '.join(calls)} FROM {frame.view}) AS data"
    return where.project(frame, columns, source=source)
