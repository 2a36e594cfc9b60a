"""A pretrained folder as a model to train, and back into such a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.text import listed
from . import transformer
from .answers import stop_at_answers
from .folder import CONFIG, TEMPLATE, TOKENIZER, Words
from .pretrained import FIELD, Folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Of old files: what is computed today, and never was a weight.
_COMPUTED = ("rotary_emb.inv_freq", "position_ids", "attn.bias", "attn.masked_bias")
# Of a table of tokens, compared at a time.
_ROWS = 4096
# By which gpt2 and others call shares of activations to drop.
_DROPOUTS = ("dropout", "pdrop")


class Whole:
    """A tensor in a file, of which rows are read when they are asked for."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices
        self.shape = torch.Size(slices.get_shape())

    def __getitem__(self, rows: slice) -> Tensor:
        if rows.start is not None and rows.start >= rows.stop:
            return torch.empty(0, *self.shape[1:])
        return self._slices[rows]


def config_of(folder: Folder) -> PreTrainedConfig:
    """Its config for training: nothing is dropped by chance, so that a step learns the same with
    any number of processes. Raises StageFailure(InputUnreadable)."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise _not_understood(folder, error) from error
    for name, share in config.to_dict().items():
        if (
            name.endswith(_DROPOUTS)
            and "classifier" not in name
            and isinstance(share, float)
            and share
        ):
            log(f"{FIELD}: {name} of {share} in {CONFIG} is not applied")
            setattr(config, name, 0.0)
    return config


def build(folder: Folder, config: PreTrainedConfig) -> nn.Module:
    """The model without weights, on the meta device. Raises StageFailure(InputUnreadable) for sizes
    that are none of a model."""
    try:
        return transformer.build(config)
    except Exception as error:
        raise _not_understood(folder, error) from error


def _not_understood(folder: Folder, error: Exception) -> StageFailure:
    words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, KeyError):
        words = f"it knows no {error}"
    message = f"{FIELD}: transformers makes no model of {CONFIG} of {folder.uri}: {words}"
    return StageFailure("InputUnreadable", message)


def names_of(model: Any, folder: Folder) -> dict[str, str]:
    """The names that a model's parameters have in the files.

    Raises StageFailure(InputUnreadable) when some are not there, or of another shape, or when there
    are others."""
    prefix = f"{model.base_model_prefix}."
    parameters = dict(model.named_parameters())
    names = {
        name: name if name in folder.tensors else name.removeprefix(prefix) for name in parameters
    }
    lost = [name for name, its in names.items() if its not in folder.tensors]
    left = {*folder.tensors} - {*names.values()} - {*model.state_dict()}
    left = {name for name in left if not name.endswith(_COMPUTED)}
    for words, these in (("lacks", lost), ("also has", sorted(left))):
        if these:
            raise StageFailure(
                "InputUnreadable",
                f"{FIELD}: {folder.uri} {words} weights of a {folder.config['model_type']} as its "
                f"{CONFIG} describes it ({listed(these)})",
            )
    for name, parameter in parameters.items():
        shape = folder.tensors[names[name]].shape
        if tuple(parameter.shape) != shape:
            raise StageFailure(
                "InputUnreadable",
                f"{FIELD}: {name} of {folder.uri} has the shape {list(shape)}, and by its {CONFIG} "
                f"it is {list(parameter.shape)}",
            )
    with storage_errors("read the pretrained model"):
        _must_be_tied(model, folder, names)
    return names


def _must_be_tied(model: Any, folder: Folder, names: dict[str, str]) -> None:
    """Raises StageFailure(InputUnreadable) where the files have other values for a parameter that
    is another one, too: transformers takes it for one of its own then."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        source = first[id(parameter)]
        if name == source or name not in folder.tensors:
            continue
        if not _equal(folder, names[source], name):
            raise StageFailure(
                "InputUnreadable",
                f"{FIELD}: by {CONFIG} of {folder.uri} {name} is {source}, and its files have "
                "other values of it: set tie_word_embeddings to false there",
            )


def _equal(folder: Folder, one: str, other: str) -> bool:
    if folder.tensors[one].shape != folder.tensors[other].shape:
        return False
    files = (folder.tensors[name].file for name in (one, other))
    with safe_open(next(files), framework="pt") as ours, safe_open(next(files), "pt") as its:
        first, second = ours.get_slice(one), its.get_slice(other)
        return all(
            torch.equal(first[at : at + _ROWS], second[at : at + _ROWS])
            for at in range(0, folder.tensors[one].shape[0], _ROWS)
        )


def fill(
    model: Any,
    folder: Folder,
    names: dict[str, str],
    device: torch.device,
    mine: Callable[[Tensor, Any], Any],
) -> None:
    """Give a model without memory its weights, as float32: of each tensor ``mine(parameter,
    whole)`` alone is read, this rank's part. Parameters without a name in the files are left."""
    model.to_empty(device=device)
    model.tie_weights()
    parameters = dict(model.named_parameters())
    by_file: dict[Path, list[str]] = {}
    for name, its in names.items():
        by_file.setdefault(folder.tensors[its].file, []).append(name)
    with storage_errors("read the pretrained model"), torch.no_grad():
        for path, its_names in by_file.items():
            with safe_open(path, framework="pt") as source:
                for name in its_names:
                    part = mine(parameters[name], Whole(source.get_slice(names[name])))
                    rows = part[:] if isinstance(part, Whole) else part
                    if not rows.isfinite().all():
                        raise StageFailure(
                            "InputUnreadable",
                            f"{FIELD}: {name} of {folder.uri} has values that are NaN or infinite: "
                            "take a model that was saved before it broke",
                        )
                    transformer.local(parameters[name]).copy_(rows)
    transformer.fill_buffers(model)


def save(
    folder: Path | None,
    parameters: Iterable[tuple[str, Tensor]],
    origin: Folder,
    words: Words,
    end: int,
) -> None:
    """As ``transformer.save``, with the origin's own files beside the weights."""
    transformer.save_weights(folder, parameters)
    if folder is None:
        return
    for path in origin.companions:
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(words.tokenizer, folder / TOKENIZER)
    if words.template is not None:
        shutil.copyfile(words.template, folder / TEMPLATE)
    config = {name: value for name, value in origin.config.items() if name != "torch_dtype"}
    (folder / CONFIG).write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    if words.template is not None:
        stop_at_answers(folder, end)
