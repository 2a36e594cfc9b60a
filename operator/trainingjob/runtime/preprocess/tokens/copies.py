"""Texts that repeat others, or nearly do, are left out.

Of several the first one stays, test before validation before train: nothing that the model is
judged on was learned, nor nearly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyarrow as pa

from trainingjob.api.v1alpha1.tokenize import NearDuplicates

from ..engines.frame import HASH, SPLIT, Engine, Frame
from . import alike

_SIMILARITY = 0.8
_WORDS = 5


def without_copies(
    engine: Engine, frame: Frame, text: str, near: NearDuplicates | None, said: str
) -> tuple[Frame, list[str]]:
    """The rows of divided texts without copies and, by ``near``, near ones; and how many those
    were, in words. ``said``: SQL of what of a text is compared for the latter."""
    on_spark = engine.dialect.name == "spark"
    digest = f"sha2({text}, 256)" if on_spark else f"sha256({text})"
    frame, repeated = _without_later(engine, frame, digest)
    words = [f"{repeated} copies"] if repeated else []
    if near is None:
        return frame, words
    bands, rows = alike.banding(near.similarity or _SIMILARITY)
    call: Callable[[pa.Array], pa.Array] = partial(
        alike.keys, bands=bands, rows=rows, words=near.words or _WORDS
    )
    found = f"{engine.function(call, 'string', 'bigints')}({said})"
    frame, repeated = _without_later(
        engine, frame, f"explode({found})" if on_spark else f"unnest({found})"
    )
    return frame, [*words, f"{repeated} near-duplicates"]


def _without_later(engine: Engine, frame: Frame, key: str) -> tuple[Frame, int]:
    """Without the rows that share one of their keys with an earlier row; how many those were.

    Each key costs as much as its rows: a row may be left out for one that is, too."""
    later = engine.keep(
        Frame(
            engine.view(
                f"SELECT DISTINCT {SPLIT}, {HASH} FROM (SELECT {SPLIT}, {HASH}, row_number() OVER "
                f"(PARTITION BY k ORDER BY {SPLIT}, {HASH}) AS place FROM "
                f"(SELECT {SPLIT}, {HASH}, {key} AS k FROM {frame.view}) AS t) AS t WHERE place > 1"
            ),
            {},
            (SPLIT, HASH),
        )
    )
    ((count,),) = engine.rows(f"SELECT count(*) FROM {later.view}")
    if not count:
        return frame, 0
    names = ", ".join([*map(engine.dialect.ident, frame.columns), *frame.hidden])
    view = engine.view(
        f"SELECT {names} FROM {frame.view} AS r WHERE NOT EXISTS (SELECT 1 FROM {later.view} AS c "
        f"WHERE c.{SPLIT} = r.{SPLIT} AND c.{HASH} = r.{HASH})"
    )
    return replace(frame, view=view), count
