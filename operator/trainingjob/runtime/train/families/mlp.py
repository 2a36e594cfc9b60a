"""Perceptrons: features to classes, or to a value.

A regression's target is standardised by the training split's mean and deviation, so that one
learning rate suits labels of any scale; losses are told in the label's own unit (squared), or in
that of its transform. Weights count in the training loss alone, not in the validation loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.reported import Outputs
from trainingjob.api.v1alpha1.train import Mlp

from ...base.errors import StageFailure
from ...dataset import suitable
from ...dataset.manifest import DatasetManifest
from ...dataset.rows import Rows
from ...gang.place import Place
from ...model.mlp import ModelConfig, build, save_model
from ...model.target import Target, Transform
from ...model.transformer import local
from ...storage import resolve
from ..budget import batch_of
from ..data import Split
from ..weights import Weights
from . import Share, whole

# Of the validation split, at a time.
_VALIDATION_ROWS = 8192


class MlpFamily:
    """Raises StageFailure: DatasetInvalid and those of its features, labels and weights."""

    tokens = None

    def __init__(self, payload: TrainPayload, place: Place, device: torch.device) -> None:
        folder = resolve(payload.dataset)
        manifest = DatasetManifest.read(folder)
        features = suitable.learnable(manifest, payload.task, payload.sample_weight)
        train, validation = (
            Rows(folder, manifest, name, features) for name in ("train", "validation")
        )
        self.training = Split(train, batch_of(payload), device)
        self.validation = Split(validation, _VALIDATION_ROWS, device)
        if self.training.rows == 0:
            raise StageFailure("SplitEmpty", "the dataset's train split is empty")
        self.training.weights = Weights.of_split(
            self.training.source, payload.class_weights, payload.sample_weight
        )
        target = target_of(payload, self.training, self.validation)
        self.training.target = self.validation.target = target
        assert payload.task.type != "languageModel"  # the manifest's rules
        self.config = ModelConfig(
            task=payload.task.type,
            label=manifest.label,
            features=features,
            classes=manifest.classes,
            mlp=(payload.model and payload.model.mlp) or Mlp(),
            target_mean=target.mean,
            target_std=target.std,
            target_transform=target.transform,
            sample_weight=payload.sample_weight,
            dataset_digest=manifest.digest,
            pipeline=manifest.pipeline,
        )
        self.loss_scale = self.config.target_std**2
        self._seed, self._export = payload.seed, payload.export

    def build(self) -> nn.Module:
        with torch.device("meta"):
            return build(self.config)

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        return [layer for layer in network.children() if isinstance(layer, nn.Linear)]

    def units(self, network: nn.Module) -> Sequence[nn.Module]:
        return self.layers(network)

    def fill(
        self, network: nn.Module, device: torch.device, mine: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        torch.manual_seed(self._seed)
        drawn = build(self.config).to(device)
        if all(local(one) is one for one in network.parameters()):
            # to_empty brings sympy, which takes half a second.
            network.load_state_dict(drawn.state_dict(), assign=True)
            return
        network.to_empty(device=device)
        with torch.no_grad():
            for parameter, first in zip(network.parameters(), drawn.parameters(), strict=True):
                local(parameter).copy_(mine(parameter, first))

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
        """Cross-entropy, or squared error of the standardised target."""
        reduction = "sum" if weights is None else "none"
        out = network(x).float()
        if self.config.task == "classification":
            loss = F.cross_entropy(out, y, reduction=reduction)
        else:
            loss = F.mse_loss(out.squeeze(1), y, reduction=reduction)
        return loss if weights is None else loss @ weights

    def blank(self) -> Share:
        device, classes = self.training.device, self.config.task == "classification"
        return (
            torch.zeros(1, len(self.config.features), device=device),
            torch.zeros(1, dtype=torch.int64 if classes else torch.float32, device=device),
            torch.zeros(1, device=device),
        )

    def flops(self, network: nn.Module) -> float | None:
        return None

    def fingerprint(self) -> dict[str, Any]:
        return {"task": self.config.task, "features": self.config.features}

    def words(self) -> str:
        return f"{self.training.rows} rows, {len(self.config.features)} features"

    def save(self, folder: Path | None, network: nn.Module) -> None:
        weights = {name: whole(one).detach().cpu() for name, one in network.named_parameters()}
        if folder is None:
            return
        save_model(folder, self.config, weights)
        if self._export is not None:
            from ...model.export import write_variants  # it needs onnx

            arrays = {name: one.numpy() for name, one in weights.items()}
            write_variants(folder, self.config, arrays, self._export)

    def outputs(self, known: Outputs) -> Outputs:
        classes = self.config.classes
        told = {"features": len(self.config.features), "classes": len(classes) if classes else None}
        return known.model_copy(update=told)


def target_of(payload: TrainPayload, training: Split, validation: Split) -> Target:
    """What is learned of a regression's label: standardised by the training split's moments.

    Raises StageFailure(SettingUnsuitable) for labels that the transform does not take."""
    if payload.task.type != "regression":
        return Target()
    transform: Transform | None = "log1p" if payload.target_transform == "log1p" else None
    training.target = validation.target = Target(transform)
    mean, std = training.target_statistics()
    if transform is not None:
        # For what it refuses: now, and not after the first epoch.
        validation.target_statistics()
    return Target(transform, mean, std)
