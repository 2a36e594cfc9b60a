"""What a language model needs of the other parts, and they of it."""

from __future__ import annotations

from ...base import Rule
from .cel import PRETRAINED, trained

RULES: tuple[Rule, ...] = (
    trained(
        # A stored job without a task must not keep its status from being written.
        cel="!has(self.preprocess) || !has(self.task) || "
        "has(self.preprocess.tokenize) == (self.task.type == 'languageModel')",
        message="task.type languageModel needs preprocess.tokenize, and the others have none",
        holds=lambda self: (
            self.preprocess is None
            or (self.preprocess.tokenize is not None) == (self.task.type == "languageModel")
        ),
    ),
    trained(
        cel="!has(self.train.model) || !has(self.task) || "
        "(has(self.train.model.mlp) || has(self.train.model.gradientBoosting)) == "
        "(self.task.type != 'languageModel')",
        message="train.model.transformer and train.model.pretrained learn a languageModel, "
        "train.model.mlp and train.model.gradientBoosting classification and regression",
        holds=lambda self: (
            self.train.model is None
            or self.train.model.of_language == (self.task.type == "languageModel")
        ),
    ),
    trained(
        cel="!has(self.preprocess) || !has(self.preprocess.tokenize) || ("
        f"{PRETRAINED} ? !has(self.preprocess.tokenize.vocabSize) : "
        "has(self.preprocess.tokenize.vocabSize) || has(self.preprocess.tokenize.from))",
        message="preprocess.tokenize needs vocabSize or from; with train.model.pretrained, "
        "whose own tokenizer is taken when from is unset, there is no vocabSize",
        holds=lambda self: (
            self.preprocess is None
            or self.preprocess.tokenize is None
            or (
                self.preprocess.tokenize.vocab_size is None
                if self.pretrained is not None
                else (self.preprocess.tokenize.vocab_size or self.preprocess.tokenize.from_)
                is not None
            )
        ),
    ),
)
