"""What a kind of model brings to training; all else is the same for all of them (loop.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.reported import Outputs

from ...dataset.manifest import Tokens
from ...gang.place import Place
from ..data import Split

# Inputs, targets and, of rows that are weighed, their weights: of some rows.
Share = tuple[Tensor, Tensor, Tensor | None]


class Family(Protocol):
    """A model that can be trained: its data was looked at, and how it is to be.

    It is made before the ranks meet, so that a dataset that cannot be used is told by all of them
    at once."""

    @property
    def training(self) -> Split:
        """In batches of a step."""

    @property
    def validation(self) -> Split:
        """In batches of any size."""

    @property
    def tokens(self) -> Tokens | None:
        """Of a language model's dataset."""

    @property
    def loss_scale(self) -> float:
        """What losses are multiplied by for people: to the label's own unit."""

    def build(self) -> nn.Module:
        """The network on the meta device: shapes without memory."""

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        """Its parts that are alike and follow each other."""

    def units(self, network: nn.Module) -> Sequence[nn.Module]:
        """Its parts, as they follow each other, of which a rank has one whole at a time where it is
        divided over ranks."""

    def fill(
        self, network: nn.Module, device: torch.device, mine: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        """Memory on the device, and the first weights: the same for any number of ranks.
        ``mine(parameter, whole)``: this rank's part of the whole of a parameter."""

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
        """Summed over the rows by their weights; over tokens by how many there are to predict."""

    def blank(self) -> Share:
        """A row that does not count."""

    def flops(self, network: nn.Module) -> float | None:
        """Floating point operations that a row is learned by; None where nobody counts them."""

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must have in common with the one that saved, beside the settings."""

    def words(self) -> str:
        """What it learns from, for the log."""

    def save(self, folder: Path | None, network: nn.Module) -> None:
        """Write the model into ``folder``; a rank without one only takes part in bringing the
        weights together. Raises OSError."""

    def outputs(self, known: Outputs) -> Outputs:
        """With what status tells of the model itself."""


def family_of(payload: TrainPayload, place: Place, device: torch.device) -> Family:
    """Of the built-in model that the manifest names. Raises StageFailure: DatasetInvalid,
    SplitEmpty, and those of features, labels and weights."""
    from .mlp import MlpFamily
    from .transformer import TransformerFamily

    if payload.model is not None and payload.model.of_language:
        return TransformerFamily(payload, place, device)
    return MlpFamily(payload, place, device)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be divided over the ranks, which all ask for it."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()
