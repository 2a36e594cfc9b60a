"""What pods report of a stage: it stands in status as they say it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from ..base import Plain

Word = Annotated[str, StringConstraints(max_length=128)]
Message = Annotated[str, StringConstraints(max_length=2048)]
Digest = Annotated[str, StringConstraints(max_length=128)]
# What pods count: a number that every reader of JSON keeps as it is.
Count = Annotated[int, Field(ge=0, le=2**53)]


class StatusModel(Plain):
    """Status may have been written by a newer operator: fields that we do not know are dropped."""

    model_config = ConfigDict(extra="ignore")


class StageWarning(StatusModel):
    """What a stage that went well found all the same."""

    reason: Word = Field(description="What it is, in one word.")
    message: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="The same for people, and what to do."
    )


class ClassShare(StatusModel):
    """How much of each split's rows a class is; unset for a split without rows."""

    label: Annotated[str, StringConstraints(max_length=32)] = Field(
        description="The class, cut when it is long."
    )
    train: float | None = Field(None, description="Of the training split.")
    validation: float | None = Field(None, description="Of the validation split.")
    test: float | None = Field(None, description="Of the test split.")


class LabelMoments(StatusModel):
    """The label in a split, for regression."""

    split: Word = Field(description="Which split.")
    mean: float = Field(description="Mean.")
    deviation: float = Field(description="Standard deviation.")


class SplitReport(StatusModel):
    """How alike the splits are, when all steps are done."""

    duplicated_test_rows: Count = Field(
        0,
        description="Rows of the test split that the training split has, too, features and label. "
        "Many of them are natural for few columns of categories; else the test says too much.",
    )
    classes: Annotated[list[ClassShare], Field(max_length=8)] | None = Field(
        None, description="The largest classes."
    )
    label: Annotated[list[LabelMoments], Field(max_length=3)] | None = Field(
        None, description="The label, for regression."
    )


class Searched(StatusModel):
    """What `train.search` has found; `search.json` beside the model has every trial."""

    trials: Count = Field(description="Trials that were made.")
    pruned: Count = Field(description="Of those, ended early.")
    failed: Count = Field(description="Of those, with a loss that is no number.")
    best: Count = Field(description="The trial whose model is kept, from 1.")
    settings: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=128)],
            Annotated[str, StringConstraints(max_length=128)],
        ],
        Field(max_length=8),
    ] = Field(description="Its settings, as JSON, by their fields.")


class Outputs(StatusModel):
    """What a stage left behind."""

    uri: Annotated[str, StringConstraints(max_length=1280)] = Field(description="Where it lies.")
    digest: Digest = Field(
        "", description="sha256 of the artefact's manifest, which holds the digests of its files."
    )
    rows: Annotated[dict[str, Count], Field(max_length=8)] | None = Field(
        None, description="Rows by split; of predictions, `predicted` and `unpredicted`."
    )
    folds: Annotated[list[Count], Field(max_length=20)] | None = Field(
        None, description="Rows of each fold; they are among those for training."
    )
    splits: SplitReport | None = Field(None, description="How alike the splits are.")
    features: Count | None = Field(None, description="Number of feature columns.")
    classes: Count | None = Field(None, description="Number of classes.")
    steps: Count | None = Field(None, description="Optimizer steps done.")
    epochs: Count | None = Field(None, description="Epochs done.")
    loss: float | None = Field(None, description="Last training loss.")
    validation_loss: float | None = Field(None, description="Validation loss of the kept weights.")
    device: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="What it was trained on."
    )
    search: Searched | None = Field(None, description="Of `train.search`.")
    warnings: Annotated[list[StageWarning], Field(max_length=16)] | None = Field(
        None, description="What looks wrong with the result; the log has all of them."
    )
    account: (
        Annotated[list[Annotated[str, StringConstraints(max_length=256)]], Field(max_length=32)]
        | None
    ) = Field(
        None,
        description="What each step did to rows, columns and values, a line a step; the log and "
        "the dataset's manifest have all of it.",
    )


DEVIATION = "Sample standard deviation over the folds, if there are any."
TEST = "Where there are folds and a test split: the final model's value on that."


class MetricValue(StatusModel):
    """A number with a name."""

    name: Word = Field(description="Name.")
    value: float = Field(description="Value.")


class ScoreValue(MetricValue):
    """A metric of a model, or the mean of the models of the folds."""

    deviation: float | None = Field(None, description=DEVIATION)
    test: float | None = Field(None, description=TEST)


class Variant(StatusModel):
    """Another form of the model, judged on the same rows."""

    name: Word = Field(description="Its folder in `model/variants`: `onnx` or `int8`.")
    metrics: Annotated[list[ScoreValue], Field(max_length=64)] | None = Field(
        None, description="Those of the model; unset if it cannot be run."
    )
    bytes: Count = Field(description="Of its file.")
    latency_ms: float | None = Field(
        None, description="Of a single row in evaluation's pod, the median, in milliseconds."
    )
    accepted: bool = Field(description="Whether it loses no more than `maxDrop`.")
    message: Message = Field("", description="If not, why.")
