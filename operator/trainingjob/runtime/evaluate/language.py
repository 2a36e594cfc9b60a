"""Language models: how well the tokens of the test split are predicted."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base.errors import StageFailure, told_of_memory
from ..base.log import log
from ..dataset.manifest import Tokens
from ..dataset.rows import Rows
from ..dataset.tokens import IGNORED, columns_of, tokens_of
from ..gang.collectives import Gang
from ..model import divided, transformer
from .judgement import Judgement

# Logits at a time.
_NUMBERS = 2**25


def judge(
    model: Path, test: Rows, told: Callable[[int], None], gang: Gang | None = None
) -> Judgement:
    """Metrics over all tokens of the split; ``told`` how many rows are done. Over a ``gang``
    weights and rows are divided, and ranks but the first get none.

    Raises StageFailure: DatasetInvalid, ModelCorrupt."""
    tokens = test.manifest.tokens
    assert tokens is not None
    with _enough_memory():
        network = divided.load(model, tokens, gang) if gang else transformer.load(model, tokens)
        sums = judged(network, test, tokens, told, gang)
    if gang is not None and gang.rank > 0:
        return Judgement()
    metrics = sums.metrics(tokens.splits["test"].bytes)
    if tokens.chat_template is not None:
        del metrics["bits_per_byte"]  # of answers alone nobody has counted the bytes
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise StageFailure(
                "ModelCorrupt", f"{model} predicts NaN or infinity: {name} is {value}"
            )
    alone = unigram(replace(test, split="train"), test, tokens)
    log(
        f"perplexity {metrics['perplexity']:.4g}; by the frequencies of single tokens it would be "
        f"{alone:.4g}"
    )
    return Judgement({**metrics, "unigram_perplexity": alone})


def _enough_memory() -> AbstractContextManager[None]:
    return told_of_memory(
        lambda error: (
            f"evaluating the model ran out of memory ({error}): divide it over "
            "evaluate.nodes and evaluate.procsPerNode"
        )
    )


@dataclass
class Sums:
    """Over tokens that were predicted: their negative log-likelihood, in nats, how many they are,
    and of how many the most likely one was right."""

    loss: float = 0.0
    tokens: int = 0
    right: int = 0

    def metrics(self, size: int) -> dict[str, float]:
        """By name; ``size``: the bytes of the texts."""
        loss = self.loss / self.tokens
        return {
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "bits_per_byte": self.loss / math.log(2) / size,
            "loss": loss,
            "token_accuracy": self.right / self.tokens,
        }


@torch.no_grad()
def judged(
    model: Any,
    rows: Rows,
    tokens: Tokens,
    told: Callable[[int], None],
    gang: Gang | None = None,
) -> Sums:
    """Run through the rows; memory: the model, and a bounded number of logits. Over a ``gang`` each
    rank has its share of a batch, and the sums are those of all."""
    sums = Sums()
    length = tokens.sequence_length
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and limit < length:
        raise StageFailure(
            "ModelCorrupt",
            f"the model takes at most {limit} tokens at once, and the dataset's rows have {length}",
        )
    device = model.device
    rank, world = (0, 1) if gang is None else (gang.rank, gang.world)
    size = max(1, _NUMBERS // (length * tokens.vocab_size))
    for path, batch in rows.batches(columns_of(tokens), size * world):
        share = -(-len(batch) // world)
        found = tokens_of(path, batch.slice(rank * share, share), length + 1, tokens.vocab_size)
        if not len(found[0]):
            # What is divided all ranks gather: of one without rows it is a row that does not count.
            found = np.zeros((1, length + 1)), np.full((1, length), IGNORED)
        ids, targets = (torch.from_numpy(np.array(one)).to(device) for one in found)
        logits = transformer.logits_of(model, ids)
        sums.loss += float(transformer.loss_of(logits, targets).double())
        sums.right += int((logits.argmax(-1) == targets).sum())
        sums.tokens += int((targets >= 0).sum())
        told(len(batch))
    if gang is not None:
        all_ = torch.tensor([*astuple(sums)], dtype=torch.float64, device=device)
        gang.all_reduce(all_)
        loss, count, right = all_.tolist()
        return Sums(loss, int(count), int(right))
    return sums


def unigram(train: Rows, test: Rows, tokens: Tokens) -> float:
    """The perplexity of a model that knows how often each token is in the training split, and
    nothing else; with one more of each, so that none is impossible."""
    seen, asked = (_counts(rows, tokens) for rows in (train, test))
    likely = np.log((seen + 1) / (seen.sum() + len(seen)))
    return float(np.exp(-(asked * likely).sum() / asked.sum()))


def _counts(rows: Rows, tokens: Tokens) -> np.ndarray:
    found = np.zeros(tokens.vocab_size)
    width = tokens.sequence_length + 1
    for path, batch in rows.batches(columns_of(tokens), max(1, _NUMBERS // width // 8)):
        _, targets = tokens_of(path, batch, width, tokens.vocab_size)
        found += np.bincount(targets[targets >= 0], minlength=tokens.vocab_size)
    return found
