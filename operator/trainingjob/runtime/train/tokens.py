"""Rows of tokens, in the windows of every dataset."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from ..base.errors import StageFailure
from ..dataset.rows import Rows
from ..dataset.tokens import columns_of, tokens_of
from .data import WINDOW_BYTES, Buffers, Split


class TokenSplit(Split):
    """A split of a language model's dataset.

    Its batches are tokens int32 [m, L + 1], targets int32 [m, L] and weights [m], a row's tokens to
    predict, so that the weight of a global batch is theirs. Raises StageFailure(DatasetInvalid)
    when a file is not what the manifest says."""

    def __init__(
        self,
        source: Rows,
        batch: int,
        device: torch.device | None = None,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        tokens = source.manifest.tokens
        if tokens is None:
            raise StageFailure("DatasetInvalid", f"{source.folder} has no tokens")
        self.width = tokens.sequence_length + 1
        self._vocabulary, self._columns = tokens.vocab_size, columns_of(tokens)
        super().__init__(source, batch, device, window_bytes)

    def _row(self) -> tuple[list[str], int]:
        return self._columns, 8 * self.width + 4

    def _kinds(self) -> list[tuple[tuple[int, ...], torch.dtype]]:
        ids, targets = ((self.width,), torch.int32), ((self.width - 1,), torch.int32)
        return [ids, targets, ((), torch.float32)]

    def _fill(
        self,
        path: Path,
        batch: pa.RecordBatch,
        window: Buffers,
        part: slice,
    ) -> None:
        ids, targets, weights = window
        found = tokens_of(path, batch, self.width, self._vocabulary)
        ids.numpy()[part], targets.numpy()[part] = found
        assert weights is not None
        weights.numpy()[part] = (found[1] >= 0).sum(axis=1)
