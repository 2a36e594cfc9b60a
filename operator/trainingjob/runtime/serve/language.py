"""A language model that is served, and the proof that it is the one that was judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .. import storage
from ..base.errors import StageFailure
from ..evaluate.publication import Card
from ..model import transformer
from ..model.generation import Options, Piece, Writer

# Tokens that a request may ask for, where the model does not say how many it takes.
MOST_TOKENS = 4096

# How far an output may be off, relative to the greater of 1 and its size.
TOLERANCE = 1e-4


class Language:
    """A model that was loaded. Raises StageFailure(ModelCorrupt)."""

    def __init__(self, folder: Path, card: Card) -> None:
        self.folder, self.card = folder, card
        self.writer = Writer(folder)

    @property
    def version(self) -> str:
        """Of the model."""
        return self.card.name

    @property
    def limit(self) -> int:
        """Tokens of a prompt and what follows it."""
        return self.writer.limit or 2 * MOST_TOKENS

    def prove(self, tolerance: float | None = None, rows: int | None = None) -> int:
        """As ``Served.prove``, by the loss of each row that evaluation has kept."""
        texts = self.card.texts
        judged = texts.losses[:rows] if texts is not None else []
        if texts is None or not judged:
            raise StageFailure(
                "SelfTestFailed",
                f"{storage.shown(self.folder)} has no rows with the losses that were judged: an "
                "earlier version has published it, or a gang has judged it, as models that are too "
                "large for one process are; serve it by vLLM",
            )
        some = slice(0, len(judged))
        given = np.array(
            transformer.losses(self.writer.model, texts.ids[some], texts.targets[some])
        )
        wanted = np.array(judged)
        off = np.abs(given - wanted) / np.maximum(1.0, np.abs(wanted))
        wrong = np.flatnonzero(~(off <= (TOLERANCE if tolerance is None else tolerance)))
        if len(wrong):
            at = int(wrong[0])
            raise StageFailure(
                "SelfTestFailed",
                f"{len(wrong)} of {len(judged)} rows of the evaluation have another loss now: row "
                f"{at + 1} gives {given[at]:.6g}, and {wanted[at]:.6g} was judged",
            )
        return len(judged)

    def pieces(
        self, prompt: Sequence[int], options: Options, stops: Sequence[str]
    ) -> Iterator[Piece]:
        """As ``Writer.pieces``."""
        return self.writer.pieces(prompt, options, stops)

    def close(self) -> None:
        """Let go of what it holds."""
        self.writer.close()
