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
from .folder import Vocabulary, Words

Mix = Callable[[int, int], int]
# Of a tensor that may be divided, and of its whole: this rank's part.
Mine = Callable[[Tensor, Any], Any]


class New:
    """Weights that are drawn."""

    def __init__(self, spec: Transformer, tokens: Vocabulary) -> None:
        self._tokens = tokens
        self._config = transformer.config_of(spec, tokens)

    def build(self) -> nn.Module:
        """The network on the meta device."""
        return transformer.build(self._config)

    def digest(self) -> str | None:
        """Of what it begins with, besides its spec."""
        return None

    def fill(
        self, network: nn.Module, device: torch.device, seed: int, mix: Mix, mine: Mine
    ) -> None:
        """Give the network its first weights."""
        transformer.fill(network, device, seed, mix, mine)

    def save(self, folder: Path | None, network: nn.Module, words: Words) -> None:
        """As ``transformer.save``: every rank has a part in it, one has the folder."""
        parameters = list(network.named_parameters())
        transformer.save(folder, self._config, parameters, words, self._tokens)


class Given:
    """The weights of a folder. Raises StageFailure(InputNotFound, InputUnreadable,
    SettingUnsuitable), also when it is built."""

    def __init__(self, spec: Pretrained, tokens: Vocabulary) -> None:
        self._spec, self._tokens = spec, tokens
        self._folder = pretrained.look(spec)
        self._config = pretrained_model.config_of(self._folder)
        self._names: dict[str, str] = {}
        self._adapter: Any = None

    def build(self) -> nn.Module:
        """The network on the meta device."""
        network = pretrained_model.build(self._folder, self._config)
        self._names = pretrained_model.names_of(network, self._folder)
        if self._spec.lora is not None:
            self._adapter = lora.add(network, self._spec.lora, self._spec.uri)
        return network

    def digest(self) -> str | None:
        """sha256 over the files of the folder."""
        with storage_errors("read the pretrained model"):
            return digest_of({path.name: sha256(path) for path in self._folder.files})

    def fill(
        self, network: nn.Module, device: torch.device, seed: int, mix: Mix, mine: Mine
    ) -> None:
        """Give the network the folder's weights."""
        own = [name for name, _ in network.named_parameters() if not lora.is_own(name)]
        names = {name: self._names[lora.plain(name)] for name in own}
        pretrained_model.fill(network, self._folder, names, device, mine)
        lora.fill(network, seed, mix, mine)

    def save(self, folder: Path | None, network: nn.Module, words: Words) -> None:
        """Likewise; the small matrices are added to the weights, and kept in a folder beside."""
        weights = lora.merged(network)
        pretrained_model.save(folder, weights, self._folder, words, self._tokens.end)
        if self._adapter is not None:
            lora.save(folder, network, self._adapter)


def begin(spec: BuiltInModel, tokens: Vocabulary) -> New | Given:
    """Of the model that the manifest names."""
    if spec.pretrained is not None:
        return Given(spec.pretrained, tokens)
    assert spec.transformer is not None
    return New(spec.transformer, tokens)
