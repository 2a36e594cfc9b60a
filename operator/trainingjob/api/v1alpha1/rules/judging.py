"""What a model is judged on, and by whom."""

from __future__ import annotations

from ...base import Rule
from ..split import cel_may_have
from .cel import OWN_JUDGE, SPLIT, trained

RULES: tuple[Rule, ...] = (
    trained(
        cel=f"!has(self.evaluate) || !has(self.preprocess) || has({SPLIT}.folds) "
        f"|| {OWN_JUDGE} || {cel_may_have('test', SPLIT)}",
        message="evaluate needs a test split: set preprocess.split.test above 0, or "
        "preprocess.split.files.test",
        holds=lambda self: (
            self.evaluate is None
            or self.preprocess is None
            or self.preprocess.split.folds is not None
            or self.judges_itself
            or self.preprocess.split.may_have("test")
        ),
    ),
    trained(
        cel=f"!has(self.preprocess) || !has({SPLIT}.folds) || !has(self.evaluate) || !{OWN_JUDGE}",
        message="evaluate with own code judges one model: without preprocess.split.folds",
        holds=lambda self: (
            self.preprocess is None or self.preprocess.split.folds is None or not self.judges_itself
        ),
    ),
    trained(
        cel=f"!has(self.train.export) || !has(self.evaluate) || !{OWN_JUDGE}",
        message="train.export has its variants judged by metrics of ours: evaluate without own "
        "code",
        holds=lambda self: self.train.export is None or not self.judges_itself,
    ),
)
