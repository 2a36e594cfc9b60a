"""The rows of a language model's dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from .. import storage
from ..base.errors import StageFailure
from .columns import numbers
from .manifest import TEMPLATE, TOKENIZER, Tokens

TOKENIZER_CONFIG = "tokenizer_config.json"
# How the names of files of weights end.
WEIGHTS = ".safetensors"

# Its columns.
TOKENS = "input_ids"
LENGTH = "length"
LABELS = "labels"  # of conversations
# What is not to be predicted: cross_entropy's own.
IGNORED = -100


def tokenizer_file(uri: str) -> Path:
    """The file of a given tokenizer, or that of the folder which has it. Raises StageFailure."""
    path = storage.fetch(uri, but=WEIGHTS)
    return path / TOKENIZER if path.is_dir() else path


def tokenizer_files(uri: str, *, chat: bool) -> dict[str, Path]:
    """That, and for a ``chat`` those beside it, as far as they are there, which have its template.
    Raises StageFailure, also for a link that leads out of the claim."""
    path = tokenizer_file(uri)
    found = {TOKENIZER: path}
    if chat:
        if path.name == TOKENIZER and uri.endswith(f"/{TOKENIZER}"):
            storage.fetch(uri.removesuffix(f"/{TOKENIZER}"), but=WEIGHTS)
        beside = (path.with_name(name) for name in (TEMPLATE, TOKENIZER_CONFIG))
        found |= {one.name: one for one in beside if one.is_file()}
    for one in found.values():
        storage.require_on_claim(one)
    return found


def columns_of(tokens: Tokens) -> list[str]:
    """The columns that are read: the tokens, and how many of them are real or which are to be
    predicted."""
    return [TOKENS, LENGTH if tokens.chat_template is None else LABELS]


def tokens_of(
    path: Path, batch: pa.RecordBatch, width: int, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [n, width] and targets int32 [n, width - 1]: what is to be predicted from each
    token and those before it, or IGNORED. Raises StageFailure(DatasetInvalid)."""
    ids = _lists(batch.column(0), width)
    other = batch.column(1)
    if ids is not None and _are_below(ids, vocabulary):
        targets = ids[:, 1:].copy()
        if pa.types.is_integer(other.type) and not other.null_count:
            lengths = numbers(other).astype(np.int64)
            if not len(lengths) or (lengths.min() >= 1 and lengths.max() <= width):
                targets[np.arange(1, width) >= lengths[:, None]] = IGNORED
                return ids, targets
        labels = _lists(other, width)
        if labels is not None and ((labels == IGNORED) | (labels == ids)).all():
            targets[labels[:, 1:] == IGNORED] = IGNORED
            return ids, targets
    raise StageFailure(
        "DatasetInvalid",
        f"{path} has rows that are not {width} tokens below {vocabulary}, as its manifest says",
    )


def _lists(column: pa.Array, width: int) -> np.ndarray | None:
    """Int32 [n, width]; None unless it has lists of so many whole numbers."""
    if not pa.types.is_list(column.type) or column.null_count:
        return None
    found = column.flatten()
    if not pa.types.is_integer(found.type) or found.null_count or len(found) != len(column) * width:
        return None
    return numbers(found).reshape(len(column), width).astype(np.int32, copy=False)


def _are_below(ids: np.ndarray, vocabulary: int) -> bool:
    return not ids.size or bool(ids.min() >= 0 and ids.max() < vocabulary)
