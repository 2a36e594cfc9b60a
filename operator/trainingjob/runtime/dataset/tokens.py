"""The rows of a language model's dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from .. import storage
from ..base.errors import StageFailure
from .manifest import TOKENIZER

# How the names of files of weights end.
WEIGHTS = ".safetensors"

# Its columns.
TOKENS = "input_ids"
LENGTH = "length"


def tokenizer_file(uri: str) -> Path:
    """The file of a given tokenizer, or that of the folder which has it. Raises StageFailure."""
    path = storage.fetch(uri, but=WEIGHTS)
    return path / TOKENIZER if path.is_dir() else path


def tokens_of(
    path: Path, batch: pa.RecordBatch, width: int, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [n, width] and lengths int64 [n]. Raises StageFailure(DatasetInvalid)."""
    column, lengths = batch.column(0), batch.column(1)
    good = pa.types.is_list(column.type) and pa.types.is_integer(lengths.type)
    if good and not (column.null_count or lengths.null_count or column.flatten().null_count):
        ids = np.asarray(column.flatten())
        found = np.asarray(lengths, dtype=np.int64)
        if (
            ids.size == len(batch) * width
            and ids.dtype.kind in "iu"
            and (not ids.size or (ids.min() >= 0 and ids.max() < vocabulary))
            and (not len(found) or (found.min() >= 1 and found.max() <= width))
        ):
            return ids.reshape(len(batch), width).astype(np.int32, copy=False), found
    raise StageFailure(
        "DatasetInvalid",
        f"{path} has rows that are not {width} tokens below {vocabulary}, as its manifest says",
    )
