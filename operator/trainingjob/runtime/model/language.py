"""What the training of a language model begins with: new weights, or those of a pretrained folder,
with small matrices beside them or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainingjob.api.v1alpha1.train import BuiltInModel
from trainingjob.api.v1alpha1.transformer import Pretrained, Transformer

from ..base.digest import digest_of, sha256
from ..base.errors import storage_errors
from . import lora, pretrained, pretrained_model, transformer
from .folder import Vocabulary

Mix = Callable[[int, int], int]
# Of a tensor that may be divided, and of its whole: this rank's part.
Mine = Callable[[Tensor, Any], Any]


class New:
    """Weights that are drawn."""

    def __init__(self, spec: Transformer, tokens: Vocabulary) -> None:
        self._tokens = tokens
        self._config = transformer.config_of(spec, tokens)
        self.network = transformer.build(self._config)

    def digest(self) -> str:
        """Of what it begins with, besides its spec."""
        return ""

    def fill(self, device: torch.device, seed: int, mix: Mix, mine: Mine) -> None:
        """Give the network its first weights."""
        transformer.fill(self.network, device, seed, mix, mine)

    def save(self, folder: Path | None, tokenizer: Path) -> None:
        """As ``transformer.save``: every rank has a part in it, one has the folder."""
        parameters = self.network.named_parameters()
        transformer.save(folder, self._config, parameters, tokenizer, self._tokens)


class Given:
    """The weights of a folder, which was looked at before.

    Raises StageFailure(InputUnreadable, SettingUnsuitable)."""

    def __init__(self, spec: Pretrained) -> None:
        self._folder = pretrained.look(spec)
        self.network: nn.Module = transformer.build(pretrained_model.config_of(self._folder))
        self._names = pretrained_model.names_of(self.network, self._folder)
        self._adapter = None if spec.lora is None else lora.add(self.network, spec.lora, spec.uri)

    def digest(self) -> str:
        """sha256 over the files of the folder."""
        with storage_errors("read the pretrained model"):
            return digest_of({path.name: sha256(path) for path in self._folder.files})

    def fill(self, device: torch.device, seed: int, mix: Mix, mine: Mine) -> None:
        """Give the network the folder's weights."""
        own = [name for name, _ in self.network.named_parameters() if not lora.is_own(name)]
        names = {name: self._names[lora.plain(name)] for name in own}
        pretrained_model.fill(self.network, self._folder, names, device, mine)
        lora.fill(self.network, seed, mix, mine)

    def save(self, folder: Path | None, tokenizer: Path) -> None:
        """Likewise; the small matrices are added to the weights, and kept in a folder beside."""
        weights = lora.merged(self.network)
        pretrained_model.save(folder, weights, self._folder, tokenizer)
        if self._adapter is not None:
            lora.save(folder, self.network, self._adapter)


def begin(spec: BuiltInModel, tokens: Vocabulary) -> New | Given:
    """A network on the meta device that knows how to come by its weights."""
    if spec.pretrained is not None:
        return Given(spec.pretrained)
    assert spec.transformer is not None
    return New(spec.transformer, tokens)
