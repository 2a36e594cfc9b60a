"""Language models: rows of tokens, each predicted from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob.api.payload import TrainPayload
from trainingjob.api.v1alpha1.status import Outputs

from ...dataset import suitable
from ...dataset.manifest import TOKENIZER, DatasetManifest
from ...dataset.rows import Rows
from ...model import transformer
from ...storage import resolve
from ..budget import rows_of_a_part
from ..data import mix
from ..gang import Gang
from ..place import Place
from ..tokens import TokenSplit
from . import Share


class TransformerFamily:
    """Raises StageFailure: DatasetInvalid, SplitEmpty."""

    loss_scale = 1.0

    def __init__(self, payload: TrainPayload, place: Place, device: torch.device) -> None:
        spec = payload.model.transformer if payload.model is not None else None
        assert spec is not None
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
        self.training = TokenSplit(train, payload.batch_size or 32, device)
        self.validation = TokenSplit(validation, at_once, device)
        self._seed = payload.seed
        self._config = transformer.config_of(spec, self.tokens)

    def build(self) -> nn.Module:
        return transformer.build(self._config)

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        return transformer.layers_of(network)

    def fill(
        self, network: nn.Module, device: torch.device, mine: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        transformer.fill(network, device, self._seed, mix, mine)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
        """Of tokens int32 [m, L + 1], of which the first ``y`` of a row are real."""
        return transformer.negative_log_likelihood(network, x, y)

    def blank(self) -> Share:
        device = self.training.device
        return (
            torch.zeros(1, self.training.width, dtype=torch.int32, device=device),
            torch.ones(1, dtype=torch.int64, device=device),
            None,
        )

    def flops(self, network: nn.Module) -> float | None:
        """Forward and backward through all weights but the table of inputs, and attention's own
        (Chowdhery et al., 2022, appendix B)."""
        config: Any = network.config
        weights = sum(one.numel() for one in network.parameters())
        if not config.tie_word_embeddings:
            weights -= config.vocab_size * config.hidden_size
        attention = config.num_hidden_layers * config.hidden_size * self.tokens.sequence_length
        return 6.0 * weights + 12.0 * attention

    def fingerprint(self, gang: Gang) -> dict[str, Any]:
        return {}

    def words(self) -> str:
        count = self.tokens.splits["train"].tokens
        return f"{count} tokens in {self.training.rows} rows"

    def save(self, folder: Path | None, network: nn.Module) -> None:
        transformer.save(
            folder,
            config=self._config,
            parameters=list(network.named_parameters()),
            tokenizer=self._folder / TOKENIZER,
            tokens=self.tokens,
        )

    def outputs(self, known: Outputs) -> Outputs:
        return known
