"""Language models: how well the tokens of the test split are predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainingjob.api.payload import EvaluatePayload, StageResult
from trainingjob.api.v1alpha1.status import Outputs, ScoreValue

from ..base.digest import digest_of_folder, sha256
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.progress import Reporter
from ..dataset import suitable
from ..dataset.manifest import ROWS, DatasetManifest, Tokens
from ..dataset.rows import Rows
from ..dataset.tokens import LENGTH, TOKENS, tokens_of
from ..model import transformer
from ..model.check import require
from ..storage import fetch, resolve, write_aside
from . import accepted
from .report import MetricsFile

# Logits at a time.
_NUMBERS = 2**25


def run(payload: EvaluatePayload) -> StageResult:
    """Judge the model, write ``metrics.json`` and, if all gates pass, the accepted model's record.

    Raises StageFailure: DatasetInvalid, SplitEmpty, ModelMissing, ModelCorrupt, BaselineInvalid.
    """
    folder = fetch(payload.dataset, but=ROWS)  # which are read from where they lie
    manifest = DatasetManifest.read(folder)
    # It may have been prepared by another job.
    suitable.check(manifest, payload.task, folder)
    suitable.check_rows(manifest, "test", folder)
    tokens = manifest.tokens
    assert tokens is not None
    baseline = accepted.baseline_of(payload)
    model = fetch(payload.model_uri)
    kind = require(model, texts=True)
    with storage_errors("read the model"):
        digest = digest_of_folder(model)
    with storage_errors("evaluate the model"):
        test = Rows(folder, manifest, "test", [])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sums = judged(transformer.load(model, tokens, device), test, tokens, device)
        alone = unigram(Rows(folder, manifest, "train", []), test, tokens)
    metrics = sums.metrics(tokens.splits["test"].bytes)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise StageFailure(
                "ModelCorrupt", f"{model} predicts NaN or infinity: {name} is {value}"
            )
    log(
        f"perplexity {metrics['perplexity']:.4g}; by the frequencies of single tokens it would be "
        f"{alone:.4g}"
    )
    report = MetricsFile(
        task=manifest.task,
        samples=test.count,
        metrics={**metrics, "unigram_perplexity": alone},
        undefined={},
        source=kind,
        model_uri=payload.model_uri,
        model_digest=digest,
        dataset_uri=payload.dataset,
        dataset_digest=manifest.digest,
    )
    output = resolve(payload.output)
    with storage_errors("write the metrics"), write_aside(output) as aside:
        written = sha256(report.write(aside))
    accepted.keep_if_accepted(payload, report, baseline)
    return StageResult(
        outputs=Outputs(uri=payload.output, digest=written),
        metrics=[ScoreValue(name=name, value=metrics[name]) for name in payload.metrics],
        samples=test.count,
        dataset_digest=report.dataset_digest,
        model_digest=digest,
        baseline=baseline,
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


@torch.inference_mode()
def judged(model: Any, rows: Rows, tokens: Tokens, device: torch.device) -> Sums:
    """Run through the rows; memory: the model, and a bounded number of logits."""
    reporter = Reporter()
    sums, done = Sums(), 0
    length = tokens.sequence_length
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and limit < length:
        raise StageFailure(
            "ModelCorrupt",
            f"the model takes at most {limit} tokens at once, and the dataset's rows have {length}",
        )
    size = max(1, _NUMBERS // (length * tokens.vocab_size))
    try:
        for path, batch in rows.batches([TOKENS, LENGTH], size):
            ids, lengths = tokens_of(path, batch, length + 1, tokens.vocab_size)
            there, counts = (torch.from_numpy(np.array(one)).to(device) for one in (ids, lengths))
            logits = transformer.logits_of(model, there)
            targets = transformer.targets_of(there, counts)
            sums.loss += float(transformer.loss_of(logits, targets).double())
            sums.right += int((logits.argmax(-1) == targets).sum())
            sums.tokens += int(lengths.sum()) - len(lengths)
            done += len(batch)
            if reporter.due():
                reporter.report(done / rows.count)
    finally:
        reporter.close()
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
    for path, batch in rows.batches([TOKENS, LENGTH], max(1, _NUMBERS // width // 8)):
        ids, lengths = tokens_of(path, batch, width, tokens.vocab_size)
        real = ids[:, 1:][np.arange(1, width) < lengths[:, None]]
        found += np.bincount(real, minlength=tokens.vocab_size)
    return found
