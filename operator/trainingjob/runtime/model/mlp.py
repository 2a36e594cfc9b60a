"""The built-in network, and the folder ``model/`` that holds one when it is trained.

model.safetensors  the weights, by the names of torch.nn.Sequential
config.json        everything else that inference needs: ``ModelConfig``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from trainingjob.api.base import Model
from trainingjob.api.v1alpha1.train import Mlp

from ..base.errors import StageFailure, storage_errors
from .folder import CONFIG, FORMAT, WEIGHTS
from .target import Target, Transform

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}
# Bounds the memory of predict; rows of the widest layer times 4 bytes.
_PREDICT_ROWS = 16384


class ModelConfig(Model):
    """``model/config.json``."""

    # What it was saved with before it had a format is ours, too.
    format: Literal["trainingjob.dev/model"] = FORMAT
    version: Literal[1] = 1
    task: Literal["classification", "regression"]
    label: str
    features: list[str] = Field(description="Columns in the order of the network's inputs.")
    classes: list[bool | int | float | str] | None = Field(
        None, description="Classification: the label's value behind each logit."
    )
    mlp: Mlp
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

    @property
    def target(self) -> Target:
        """From the label to what the network learns, and back."""
        return Target(self.target_transform, self.target_mean, self.target_std)

    @property
    def outputs(self) -> int:
        """Width of the network's last layer."""
        return len(self.classes or ()) if self.task == "classification" else 1


class BuiltIn:
    """A trained built-in model on the CPU."""

    def __init__(self, config: ModelConfig, network: nn.Sequential) -> None:
        self.config = config
        self.network = network.eval()

    @torch.inference_mode()
    def predict(self, features: np.ndarray | Tensor) -> Tensor:
        """Of features [n, d]: logits [n, k] float32, or values [n] float64 in the label's unit."""
        rows = torch.as_tensor(features, dtype=torch.float32)
        starts = range(0, max(1, len(rows)), _PREDICT_ROWS)
        out = torch.cat([self.network(rows[at : at + _PREDICT_ROWS]) for at in starts])
        if self.config.task == "classification":
            return out
        return torch.from_numpy(self.config.target.back(out.squeeze(1).double().numpy()))


def build(config: ModelConfig) -> nn.Sequential:
    """The network with torch's default initialisation, drawn from torch's global generator."""
    layers: list[nn.Module] = []
    width = len(config.features)
    for hidden in config.mlp.hidden:
        layers += [nn.Linear(width, hidden), ACTIVATIONS[config.mlp.activation]()]
        if config.mlp.dropout > 0:
            layers.append(nn.Dropout(config.mlp.dropout))
        width = hidden
    layers.append(nn.Linear(width, config.outputs))
    return nn.Sequential(*layers)


def save_model(folder: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Write both files into ``folder``; raises OSError."""
    # Bytes first: safetensors' own save_file wraps a full disk into an error of its own.
    (folder / WEIGHTS).write_bytes(
        safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
    )
    text = json.dumps(config.to_dict(), indent=1, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_model(folder: Path) -> BuiltIn:
    """Read what ``save_model`` wrote. Nothing is unpickled.

    Raises StageFailure(ModelMissing) when a file is missing, StageFailure(ModelCorrupt) when
    one is not what it should be.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise StageFailure("ModelMissing", f"there is no {name} in {folder}")
    with storage_errors("read the model"):
        text = (folder / CONFIG).read_bytes()
        data = (folder / WEIGHTS).read_bytes()
    try:
        config = ModelConfig.model_validate_json(text)
    except ValidationError as error:
        raise StageFailure(
            "ModelCorrupt", f"{folder / CONFIG} does not describe a built-in model"
        ) from error
    with torch.device("meta"):
        network = build(config)
    try:
        weights = safetensors.torch.load(data)
        network.load_state_dict(weights, assign=True)
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise StageFailure(
            "ModelCorrupt", f"{folder / WEIGHTS} does not hold the weights of its config.json"
        ) from error
    if any(
        value.dtype != torch.float32 or not bool(value.isfinite().all())
        for value in weights.values()
    ):
        raise StageFailure("ModelCorrupt", f"{folder / WEIGHTS} has weights that are not finite")
    return BuiltIn(config, network)
