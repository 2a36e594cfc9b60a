"""Language models: rows of tokens, each predicted from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.reported import Outputs

from ...dataset import suitable
from ...dataset.manifest import DatasetManifest
from ...dataset.rows import Rows
from ...dataset.tokens import IGNORED
from ...gang.place import Place
from ...model import language, transformer
from ...model.folder import Words
from ...storage import resolve
from ..budget import batch_of, rows_of_a_part
from ..data import mix
from ..tokens import TokenSplit
from . import Share


class TransformerFamily:
    """Raises StageFailure: DatasetInvalid, SplitEmpty, and those of a pretrained model."""

    loss_scale = 1.0

    def __init__(self, payload: TrainPayload, place: Place, device: torch.device) -> None:
        assert payload.model is not None
        self._folder = resolve(payload.dataset)
        manifest = DatasetManifest.read(self._folder)
        suitable.check(manifest, payload.task, self._folder)
        suitable.check_rows(manifest, "train", self._folder)
        assert manifest.tokens is not None
        self.tokens = manifest.tokens
        train, validation = (
            Rows(self._folder, manifest, name, []) for name in ("train", "validation")
        )
        at_once = rows_of_a_part(payload, place.world) * place.world
        self.training = TokenSplit(train, batch_of(payload), device)
        self.validation = TokenSplit(validation, at_once, device)
        self._seed = payload.seed
        self._beginning = language.begin(payload.model, self.tokens)
        template = manifest.chat_template
        self._words = Words(
            self._folder / manifest.tokenizer, self._folder / template if template else None
        )

    def build(self) -> nn.Module:
        return self._beginning.build()

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        return transformer.layers_of(network)

    def units(self, network: nn.Module) -> Sequence[nn.Module]:
        return transformer.units_of(network)

    def fill(
        self, network: nn.Module, device: torch.device, mine: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self._beginning.fill(network, device, self._seed, mix, mine)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
        """Of tokens int32 [m, L + 1], of which ``y``, int32 [m, L], are to be predicted."""
        return transformer.negative_log_likelihood(network, x, y)

    def blank(self) -> Share:
        device = self.training.device
        return (
            torch.zeros(1, self.training.width, dtype=torch.int32, device=device),
            torch.full((1, self.training.width - 1), IGNORED, dtype=torch.int32, device=device),
            None,
        )

    def flops(self, network: nn.Module) -> float | None:
        length = self.tokens.sequence_length
        return float(length * transformer.flops(network, length))

    def fingerprint(self) -> dict[str, Any]:
        digest = self._beginning.digest()
        return {} if digest is None else {"pretrained": digest}

    def words(self) -> str:
        count = self.tokens.splits["train"].tokens
        return f"{count} tokens in {self.training.rows} rows"

    def save(self, folder: Path | None, network: nn.Module) -> None:
        self._beginning.save(folder, network, self._words)

    def outputs(self, known: Outputs) -> Outputs:
        return known
