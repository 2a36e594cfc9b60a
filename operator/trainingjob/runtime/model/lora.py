"""LoRA (Hu et al., 2021): small matrices A and B beside frozen ones W, which become
W + (alpha / rank) · B · A in the end. peft makes the layers and reads the adapter's files."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from trainingjob.api.v1alpha1.transformer import Lora

from ..base.errors import StageFailure
from ..base.text import listed
from . import transformer

FOLDER = "adapter"
_NAME = "default"  # peft's own of an adapter
_MARK = ".lora_"


def add(model: nn.Module, spec: Lora, uri: str) -> Any:
    """Put the matrices into a model on the meta device, and freeze all else; peft's config.

    Raises StageFailure(SettingUnsuitable) for targets that the model does not have."""
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    linear = {
        name.rpartition(".")[2]: module
        for layer in transformer.layers_of(model)
        for name, module in layer.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }
    targets = spec.targets or sorted(linear)
    known = [name for name, _ in model.named_modules()]
    for target in targets:
        if target.rpartition(".")[2] not in linear or not any(
            f".{name}".endswith(f".{target}") for name in known
        ):
            raise StageFailure(
                "SettingUnsuitable",
                f"train.model.pretrained.lora.targets: the model has no linear layer {target} "
                f"({listed(sorted(linear))})",
            )
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha if spec.alpha is not None else 2 * spec.rank,
        target_modules=[*targets],
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=uri,
    )
    inject_adapter_in_model(config, model, adapter_name=_NAME, low_cpu_mem_usage=True)
    return config


def fill(
    model: nn.Module,
    seed: int,
    mix: Callable[[int, int], int],
    mine: Callable[[Tensor, Any], Any],
) -> None:
    """As peft: A is uniform, by Kaiming; B is 0. Each A from a generator of its own, as
    ``transformer.fill`` has it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _MARK not in name:
                continue
            whole = torch.zeros(parameter.shape)
            if "lora_A" in name:
                generator = torch.Generator().manual_seed(mix(seed, zlib.crc32(name.encode())))
                nn.init.kaiming_uniform_(whole, a=math.sqrt(5), generator=generator)
            transformer.local(parameter).copy_(mine(parameter, whole))


def plain(name: str) -> str:
    """What a parameter is called without the adapter."""
    return name.replace(".base_layer.", ".")


def is_own(name: str) -> bool:
    """Whether a parameter is the adapter's."""
    return _MARK in name


@dataclass(frozen=True)
class Merged:
    """A weight with what its adapter adds, put together when it is written."""

    weight: Tensor
    module: Any

    def numel(self) -> int:
        """As a tensor's."""
        return self.weight.numel()

    def element_size(self) -> int:
        """As a tensor's."""
        return self.weight.element_size()

    def full_tensor(self) -> Tensor:
        """On every rank."""
        first, second = (_whole(part[_NAME].weight) for part in self._parts)
        added = second @ first * self.module.scaling[_NAME]
        return _whole(self.weight) + (added.T if self.module.fan_in_fan_out else added)

    @property
    def _parts(self) -> tuple[Any, Any]:
        return self.module.lora_A, self.module.lora_B


def merged(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The weights of the model as it was, with what was learned."""
    modules = dict(model.named_modules())
    for name, parameter in model.named_parameters():
        if is_own(name):
            continue
        module = modules.get(name.removesuffix(".base_layer.weight"))
        adapted = name.endswith(".base_layer.weight") and hasattr(module, "lora_A")
        yield plain(name), Merged(parameter, module) if adapted else parameter


def save(folder: Path | None, model: nn.Module, config: Any) -> None:
    """Write the adapter alone, as peft reads it, into ``folder/adapter``; every rank has a part in
    it. Raises OSError."""
    found = {
        f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": _whole(parameter)
        for name, parameter in model.named_parameters()
        if is_own(name)
    }
    if folder is None:
        return
    place = folder / FOLDER
    place.mkdir()
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}
    (place / "adapter_model.safetensors").write_bytes(
        safetensors.torch.save(held, {"format": "pt"})
    )
    config.save_pretrained(place)


def _whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
