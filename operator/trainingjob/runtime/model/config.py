"""The folder ``model/`` of a built-in model: ``config.json``, which has all that inference needs
beside the numbers in ``model.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from trainingjob.api.base import Model
from trainingjob.api.v1alpha1.boosting import GradientBoosting
from trainingjob.api.v1alpha1.train import Mlp

from ..base.errors import StageFailure, storage_errors
from .folder import CONFIG, FORMAT, WEIGHTS
from .target import Target, Transform


class ModelConfig(Model):
    """``model/config.json``: exactly one of ``mlp`` and ``gradient_boosting``."""

    # What it was saved with before it had a format is ours, too.
    format: Literal["trainingjob.dev/model"] = FORMAT
    version: Literal[1] = 1
    task: Literal["classification", "regression"]
    label: str
    features: list[str] = Field(description="Columns in the order of the network's inputs.")
    classes: list[bool | int | float | str] | None = Field(
        None, description="Classification: the label's value behind each logit."
    )
    mlp: Mlp | None = None
    gradient_boosting: GradientBoosting | None = None
    categories: dict[str, list[str]] | None = Field(
        None,
        description="Trees: of each text its values in training, which are learned as 0, 1, ….",
    )
    target_mean: float = Field(0.0, description="Regression: the network's output is")
    target_std: float = Field(1.0, description="(target - target_mean) / target_std,")
    target_transform: Transform | None = Field(
        None, description="where target is this function of the label, or the label itself."
    )
    sample_weight: str | None = Field(
        None, description="The column that weighed the rows in training; no feature."
    )
    dataset_digest: str = Field("", description="What it was trained on.")
    pipeline: list[dict[str, Any]] = Field(
        default_factory=list,
        description="The dataset's preparation with its statistics: inference repeats it.",
    )

    @model_validator(mode="after")
    def _has_one(self) -> ModelConfig:
        if (self.mlp is None) == (self.gradient_boosting is None):
            raise ValueError("neither or both of mlp and gradientBoosting")
        return self

    @property
    def target(self) -> Target:
        """From the label to what the network learns, and back."""
        return Target(self.target_transform, self.target_mean, self.target_std)

    @property
    def outputs(self) -> int:
        """Width of the network's last layer."""
        return len(self.classes or ()) if self.task == "classification" else 1


def write(folder: Path, config: ModelConfig, numbers: bytes) -> None:
    """Both files; raises OSError."""
    (folder / WEIGHTS).write_bytes(numbers)
    text = json.dumps(config.to_dict(), indent=1, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_config(folder: Path) -> ModelConfig:
    """The config of a model whose files are both there. Raises StageFailure(ModelMissing,
    ModelCorrupt)."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise StageFailure("ModelMissing", f"there is no {name} in {folder}")
    with storage_errors("read the model"):
        text = (folder / CONFIG).read_bytes()
    try:
        return ModelConfig.model_validate_json(text)
    except ValidationError as error:
        raise StageFailure(
            "ModelCorrupt", f"{folder / CONFIG} does not describe a built-in model"
        ) from error


def read(folder: Path) -> tuple[ModelConfig, bytes]:
    """The config, and what ``model.safetensors`` has. Raises StageFailure(ModelMissing,
    ModelCorrupt)."""
    config = read_config(folder)
    with storage_errors("read the model"):
        return config, (folder / WEIGHTS).read_bytes()
