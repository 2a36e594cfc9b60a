"""How rows are divided, and what needs which split."""

from __future__ import annotations

from ...base import Rule
from ..split import cel_may_have
from .cel import LABEL, SPLIT, trained

STRATIFIED = trained(
    cel=f"!has(self.preprocess) || !has({SPLIT}.stratify) || !{SPLIT}.stratify "
    "|| self.task.type == 'classification'",
    message="split.stratify needs task.type classification",
    holds=lambda self: (
        self.preprocess is None
        or not self.preprocess.split.stratify
        or self.task.type == "classification"
    ),
)

RULES: tuple[Rule, ...] = (
    trained(
        cel=f"!has(self.preprocess) || !has({SPLIT}.folds) || self.task.type != 'languageModel'",
        message="preprocess.split.folds is for classification and regression",
        holds=lambda self: (
            self.preprocess is None
            or self.preprocess.split.folds is None
            or self.task.type != "languageModel"
        ),
    ),
    trained(
        cel=f"!has(self.preprocess) || !has({SPLIT}.folds) || has(self.evaluate)",
        message="preprocess.split.folds needs evaluate, which judges the model of each fold",
        holds=lambda self: (
            self.preprocess is None
            or self.preprocess.split.folds is None
            or self.evaluate is not None
        ),
    ),
    trained(
        cel=f"!has(self.preprocess) || !has({SPLIT}.folds) || has(self.train.script) "
        "|| has(self.train.code) || !(has(self.train.command) && has(self.train.image))",
        message="preprocess.split.folds needs our runtime, which trains the model of each "
        "fold: an image whose command runs as it stands does not have it; set train.script or "
        "train.code",
        holds=lambda self: (
            self.preprocess is None
            or self.preprocess.split.folds is None
            or (self.train.script or self.train.code) is not None
            or self.train.command is None
            or self.train.image is None
        ),
    ),
    trained(
        cel="!has(self.train.earlyStopping) || !has(self.preprocess) "
        f"|| {cel_may_have('validation', SPLIT)}",
        message="train.earlyStopping needs a validation split: "
        "set preprocess.split.validation above 0, or preprocess.split.files.validation",
        holds=lambda self: (
            self.train.early_stopping is None
            or self.preprocess is None
            or self.preprocess.split.may_have("validation")
        ),
    ),
    trained(
        cel="!has(self.train.search) || !has(self.preprocess) "
        f"|| (!has({SPLIT}.folds) && {cel_may_have('validation', SPLIT)})",
        message="train.search compares models by a validation split: set "
        "preprocess.split.validation above 0, or preprocess.split.files.validation, and leave "
        "out preprocess.split.folds",
        holds=lambda self: (
            self.train.search is None
            or self.preprocess is None
            or (
                self.preprocess.split.folds is None and self.preprocess.split.may_have("validation")
            )
        ),
    ),
    trained(
        cel="!has(self.preprocess) || ("
        f"(!has({SPLIT}.by) || !({LABEL} in {SPLIT}.by))"
        f" && (!has({SPLIT}.time) || {LABEL} != {SPLIT}.time)"
        f" && (!has({SPLIT}.column) || {LABEL} != {SPLIT}.column))",
        message="rows cannot be divided by the label, the text or the messages: "
        "preprocess.split must name other columns",
        holds=lambda self: (
            self.preprocess is None or self.task.label not in self.preprocess.split.columns
        ),
    ),
    trained(
        cel=f"!has(self.preprocess) || !has({SPLIT}.column) || !has(self.task.features) || "
        f"!self.task.features.exists(f, f == {SPLIT}.column)",
        message="the column of preprocess.split.column is no feature: leave it out of "
        "task.features",
        holds=lambda self: (
            self.preprocess is None
            or self.preprocess.split.column is None
            or self.preprocess.split.column not in (self.task.features or ())
        ),
    ),
)
