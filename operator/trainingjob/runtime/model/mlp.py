"""The built-in network, and its weights in ``model.safetensors``, by the names of
torch.nn.Sequential."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..base.errors import StageFailure
from .config import ModelConfig, read, write
from .folder import WEIGHTS

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}
# Bounds the memory of predict; rows of the widest layer times 4 bytes.
_PREDICT_ROWS = 16384


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
    assert config.mlp is not None
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
    whole = {name: value.contiguous() for name, value in weights.items()}
    write(folder, config, safetensors.torch.save(whole))


def load_model(folder: Path) -> BuiltIn:
    """Read what ``save_model`` wrote. Nothing is unpickled.

    Raises StageFailure(ModelMissing) when a file is missing, StageFailure(ModelCorrupt) when
    one is not what it should be.
    """
    config, data = read(folder)
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
