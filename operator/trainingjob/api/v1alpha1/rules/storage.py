"""Where a job reads and writes, and what of it stays."""

from __future__ import annotations

from ... import uris
from ...base import Rule
from .cel import PRETRAINED, SPLIT

_FILES = " + ".join(
    f"(has({SPLIT}.files) && has({SPLIT}.files.{name}) ? [{SPLIT}.files.{name}] : [])"
    for name in ("validation", "test")
)
_WRITTEN = "(has(self.storage.uri) ? [self.storage.uri] : [])"
# What preprocess reads.
_READ = (
    f"[self.preprocess.input.uri] + {_FILES} + (has(self.preprocess.inputs) ? "
    "self.preprocess.inputs.map(k, self.preprocess.inputs[k].uri) : []) + "
    "(has(self.preprocess.tokenize) && has(self.preprocess.tokenize.from) ? "
    "[self.preprocess.tokenize.from] : [])"
)

RULES: tuple[Rule, ...] = (
    Rule(
        # What predict reads the operator knows.
        cel=f"!has(self.storage.hdfs) || has(self.predict) || ({_WRITTEN} + "
        f"(has(self.preprocess) ? {_READ} : []) + "
        "(has(self.train) && has(self.train.dataset) ? [self.train.dataset.uri] : []) + "
        f"(has(self.train) && {PRETRAINED} ? [self.train.model.pretrained.uri] : []) + "
        + " + ".join(
            f"(has(self.{stage}) && has(self.{stage}.code) && has(self.{stage}.code.uri) ? "
            f"[self.{stage}.code.uri] : [])"
            for stage in ("preprocess", "train", "evaluate")
        )
        + ")"
        f".exists(u, u.startsWith('{uris.HDFS.start}'))",
        message=f"storage.hdfs needs a uri that begins with {uris.HDFS.start}",
        holds=lambda self: (
            self.storage.hdfs is None or any(uri.startswith(uris.HDFS.start) for uri in self.uris)
        ),
    ),
    Rule(
        cel="!has(self.policy) || !has(self.policy.retain) || "
        "!has(self.policy.retain.datasets) || has(self.preprocess)",
        message="policy.retain.datasets needs preprocess: a dataset that was given always stays",
        holds=lambda self: (
            self.policy.retain is None
            or self.policy.retain.datasets is None
            or self.preprocess is not None
        ),
    ),
)
