"""Which stages a job has, and which of them need others, or a dataset."""

from __future__ import annotations

from ...base import Rule
from .cel import OWN_JUDGE, trained

# A model that was accepted before.
_NAMED = {
    stage: f"(has(self.{stage}) && has(self.{stage}.model))" for stage in ("deploy", "predict")
}
_PROMOTES = f"({' || '.join(_NAMED.values())})"

RULES: tuple[Rule, ...] = (
    Rule(
        cel=f"has(self.train) != {_PROMOTES}",
        message="train must be set, unless the job only uses an accepted model, which "
        "deploy.model or predict.model names",
        holds=lambda self: (self.train is not None) != (self.promoted is not None),
    ),
    Rule(
        cel="has(self.train) == has(self.task)",
        message="task must be set, unless the job only uses an accepted model",
        holds=lambda self: (self.train is None) == (self.task is None),
    ),
    Rule(
        cel="has(self.train) || (!has(self.preprocess) && !has(self.evaluate))",
        message="a job that only uses an accepted model has neither preprocess nor evaluate",
        holds=lambda self: self.train is not None or (self.preprocess or self.evaluate) is None,
    ),
    Rule(
        cel="has(self.train) || (has(self.storage.uri) && ("
        + " || ".join(
            f"({named} && self.{stage}.model.uri.startsWith(self.storage.uri + '/'))"
            for stage, named in _NAMED.items()
        )
        + "))",
        message="deploy.model.uri, or predict.model.uri, must be below storage.uri",
        holds=lambda self: (
            self.train is not None
            or (
                self.storage.uri is not None
                and self.promoted is not None
                and self.promoted.uri.startswith(f"{self.storage.uri}/")
            )
        ),
    ),
    Rule(
        cel="!has(self.deploy) || has(self.evaluate) || has(self.deploy.model)",
        message="deploy needs evaluate: only a model that was judged is served",
        holds=lambda self: self.deploy is None or (self.evaluate or self.deploy.model) is not None,
    ),
    Rule(
        cel=f"!has(self.predict) || has(self.evaluate) || {_PROMOTES}",
        message="predict needs evaluate: only a model that was judged predicts",
        holds=lambda self: (
            self.predict is None or self.evaluate is not None or self.promoted is not None
        ),
    ),
    Rule(
        cel="!has(self.deploy) || !has(self.predict) || !has(self.predict.model)",
        message="predict.model is for a job without deploy: with it, the model that is served "
        "predicts",
        holds=lambda self: (
            self.deploy is None or self.predict is None or self.predict.model is None
        ),
    ),
    trained(
        cel="!has(self.predict) || self.task.type != 'languageModel'",
        message="predict is for classification and regression: a language model predicts no "
        "rows of a table",
        holds=lambda self: self.predict is None or self.task.type != "languageModel",
    ),
    trained(
        cel="!has(self.preprocess) || !has(self.train.dataset)",
        message="either preprocess or train.dataset must be set, and not both",
        holds=lambda self: self.preprocess is None or self.train.dataset is None,
    ),
    trained(
        cel="has(self.preprocess) || has(self.train.dataset) || (!has(self.train.model) && "
        f"(!has(self.evaluate) || ({OWN_JUDGE} && !has(self.deploy) && "
        "!has(self.predict))) && !has(self.train.streamDataset))",
        message="either preprocess or train.dataset must be set: train.model, "
        "train.streamDataset and evaluate need a dataset, and so do deploy and predict; own "
        "code alone may do without",
        holds=lambda self: (
            self.has_dataset
            or (
                (self.train.model, self.train.stream_dataset) == (None, None)
                and (
                    self.evaluate is None
                    or (self.judges_itself and (self.deploy or self.predict) is None)
                )
            )
        ),
    ),
)
