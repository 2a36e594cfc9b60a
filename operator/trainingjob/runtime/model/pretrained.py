"""A model that training goes on from, looked at from outside: without torch.

A folder as Hugging Face's save_pretrained leaves it: config.json, the tokenizer, and safetensors in
one file or in several that an index names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainingjob.api.v1alpha1.transformer import Pretrained

from .. import storage
from ..base import bounded, tokenizing
from ..base.errors import StageFailure, storage_errors
from ..base.text import listed, one_line
from .answers import GENERATION
from .folder import (
    CONFIG,
    INDEX,
    TEMPLATE,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    Vocabulary,
    is_there,
    links_out,
)

FIELD = "train.model.pretrained"
# By config.json's model_type: each was compared with what transformers makes of it, tensor by
# tensor (tests/local/train/test_pretrained.py).
ARCHITECTURES = (
    *("gemma", "gemma2", "gemma3_text", "gpt2", "granite", "llama", "mistral"),
    *("olmo2", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2"),
)
# How many tokens a model takes at once is called so in config.json.
_LENGTHS = ("max_position_embeddings", "n_positions")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# safetensors' own bound, and what no index or config comes near.
_MOST_JSON = 100_000_000
# Of a config, which has a few thousand; of a tokenizer, the largest of which have 35 million.
_MOST_CONFIG = 2**24
_MOST_TOKENIZER = 128 * 2**20
_LAYERS = ("num_hidden_layers", "n_layer")
# Of a tokenizer, whoever wrote it; beside it there may be others.
_OF_TOKENIZER = (
    *(TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"),
    *(TEMPLATE, "vocab.json", "merges.txt", "tokenizer.model"),
)


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies, and its shape."""

    file: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Folder:
    """Of a model: its config.json, and its tensors by name."""

    uri: str
    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def files(self) -> list[Path]:
        """What counts of the folder."""
        weights = {tensor.file for tensor in self.tensors.values()}
        return sorted({*weights, self.path / CONFIG, *self.companions})

    @property
    def companions(self) -> list[Path]:
        """The files of the tokenizer, and how to generate."""
        names = (*_OF_TOKENIZER, GENERATION)
        return [self.path / name for name in names if is_there(self.path, name)]


def look(spec: Pretrained) -> Folder:
    """The folder, which was brought.

    Raises StageFailure(InputNotFound, InputUnreadable, SettingUnsuitable) unless it is whole, of an
    architecture that is known here, and its weights are numbers that can be trained."""
    path = storage.resolve(spec.uri)
    if not path.is_dir():
        raise _absent(spec.uri)
    return look_at(spec.uri, path)


def look_at(uri: str, path: Path) -> Folder:
    """The same of a folder that is there, called by its ``uri``."""
    with storage_errors("read the pretrained model"):
        config, tensors = _config(uri, path), _tensors(uri, path)
    # A model is built layer by layer before its weights are looked for.
    layers = next((config[name] for name in _LAYERS if name in config), 0)
    if not isinstance(layers, int) or layers > len(tensors):
        why = f"by its {CONFIG} it has {layers} layers, and there are {len(tensors)} weights in all"
        raise _unreadable(why, uri)
    return Folder(uri, path, config, tensors)


def look_ahead(uri: str, length: int) -> None:
    """Before tokens are made for a model by its own tokenizer, in rows of ``length``: what can be
    known of it then. Remote weights are brought for training alone. Raises StageFailure as ``look``
    and ``check``."""
    path = storage.resolve(uri)
    storage.bring(path, storage.sizes(path, [CONFIG, TOKENIZER]))
    if not path.is_dir():
        raise _absent(f"{uri} with a {CONFIG}" if storage.is_copy(path) else uri)
    if storage.is_copy(path):
        with storage_errors("read the pretrained model"):
            config = _config(uri, path)
    else:
        config = look_at(uri, path).config
    _must_have_room(uri, config, length)
    if not is_there(path, TOKENIZER):
        raise _unreadable(
            f"it has no {TOKENIZER}{links_out(path)}: save its tokenizer there as well, by "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…), or name one in "
            "preprocess.tokenize.from",
            uri,
        )


def check(folder: Folder, tokens: Vocabulary, tokenizer: Path) -> None:
    """Raises StageFailure(SettingUnsuitable) for a dataset that the model cannot learn from;
    ``tokenizer``: the file that it has."""
    _must_have_room(folder.uri, folder.config, tokens.sequence_length)
    size = folder.config.get("vocab_size")
    own = folder.path / TOKENIZER
    with storage_errors("read the pretrained model"):
        same = not own.is_file() or own.read_bytes() == tokenizer.read_bytes()
        found, known = ("", "") if same else (_vocabulary(tokenizer), _vocabulary(own))
    if found != known:
        raise StageFailure(
            "SettingUnsuitable",
            f"the dataset's tokenizer, of {tokens.vocab_size} tokens, is not that of {folder.uri}"
            f"{'' if size is None else f', whose model has {size}'}: leave "
            "preprocess.tokenize.from unset to take the model's own",
        )
    if isinstance(size, int) and tokens.vocab_size > size:
        raise StageFailure(
            "SettingUnsuitable",
            f"the dataset's tokenizer has {tokens.vocab_size} tokens, and the model of "
            f"{folder.uri} {size}: take the tokenizer that it was trained with, or where tokens "
            "were added to that, save the model after resize_token_embeddings",
        )


def _must_have_room(uri: str, config: Mapping[str, Any], length: int) -> None:
    most = next((config[name] for name in _LENGTHS if config.get(name)), None)
    if isinstance(most, int) and length > most:
        raise StageFailure(
            "SettingUnsuitable",
            f"preprocess.tokenize.sequenceLength is {length}, and the model of {uri} takes at most "
            f"{most} tokens at once: set at most {most}",
        )


def _vocabulary(path: Path) -> str:
    """The digest of its tokens. It may be anybody's."""
    if path.stat().st_size > _MOST_TOKENIZER:
        raise _unreadable(f"{path.name} is larger than any tokenizer", path.parent)
    try:
        with closing(tokenizing.Bounded(path.read_text(encoding="utf-8"), threads=1)) as tool:
            tool.known()
            return tool.vocabulary()
    except (ValueError, bounded.TooMuch, bounded.Refused) as error:
        why = f"{path.name} is no tokenizer: {one_line(error)}"
        raise _unreadable(why, path.parent) from error


def _config(uri: str, path: Path) -> Mapping[str, Any]:
    if not is_there(path, CONFIG):
        if gguf := sorted(path.glob("*.gguf")):
            why = f"{gguf[0].name} is of llama.cpp: take the folder that it was made of"
            raise _unreadable(why, uri)
        if is_there(path, "adapter_config.json"):
            raise _unreadable("it is an adapter alone: merge it into its model first", uri)
        why = f"there is no {CONFIG}, as save_pretrained leaves it{links_out(path)}"
        raise _unreadable(why, uri)
    config = _json(path / CONFIG, uri, _MOST_CONFIG)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise StageFailure(
            "SettingUnsuitable",
            f"{FIELD}: {uri} is of model_type {kind}, which is not trained here "
            f"({listed(ARCHITECTURES)} are)",
        )
    if config.get("quantization_config"):
        raise StageFailure(
            "SettingUnsuitable",
            f"{FIELD}: {uri} is quantized, and cannot be trained: take the model it was made of",
        )
    return config


def _tensors(uri: str, path: Path) -> dict[str, Tensor]:
    if is_there(path, INDEX):
        where = _json(path / INDEX, uri).get("weight_map")
        if not isinstance(where, dict) or not where:
            raise _unreadable(f"{INDEX} names no weights", uri)
        names = sorted({str(name) for name in where.values()})
    elif is_there(path, WEIGHTS):
        where, names = {}, [WEIGHTS]
    else:
        pickled = sorted(one.name for one in path.iterdir() if one.suffix in _PICKLED)
        if pickled:
            raise _unreadable(
                f"{pickled[0]} is read by unpickling, which could run any code: save the model "
                "as safetensors",
                uri,
            )
        raise _unreadable(f"there is no {WEIGHTS}", uri)
    absent = [name for name in names if Path(name).name != name or not is_there(path, name)]
    if absent:
        raise _unreadable(
            f"{len(absent)} of {len(names)} files of weights are missing ({listed(absent)})"
            f"{links_out(path)}",
            uri,
        )
    found = {key: one for name in names for key, one in _of_file(path / name, uri)}
    lost = [name for name in where if name not in found]
    if lost:
        raise _unreadable(f"the files lack weights that {INDEX} names ({listed(lost)})", uri)
    return found


def _of_file(path: Path, uri: str) -> Iterator[tuple[str, Tensor]]:
    """Eight bytes of length, a JSON header of that length, the data that it describes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= min(size - 8, _MOST_JSON) else b""
    spans = []
    try:
        for name, about in json.loads(text).items():
            if name == "__metadata__":
                continue
            shape = tuple(about["shape"])
            if not all(isinstance(one, int) and one >= 0 for one in shape):
                raise ValueError(name)
            width = _FLOATS.get(about["dtype"])
            start, stop = about["data_offsets"]
            spans.append((start, stop))
            if width is None:
                raise StageFailure(
                    "SettingUnsuitable",
                    f"{FIELD}: {name} of {uri} is of type {about['dtype']}, and cannot be trained: "
                    "take the model before it was quantized",
                )
            if stop - start != width * math.prod(shape):
                raise ValueError(name)
            yield name, Tensor(path, shape)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
        raise _unreadable(f"{path.name} is damaged", uri) from error
    spans.sort()
    begins, ends = [start for start, _ in spans], [0, *(stop for _, stop in spans)]
    if size != 8 + length + ends[-1]:
        raise _unreadable(f"{path.name} is damaged: it has {size} bytes", uri)
    if begins != ends[:-1]:
        raise _unreadable(f"{path.name} is damaged: its tensors overlap, or have gaps", uri)


def _json(path: Path, uri: str, most: int = _MOST_JSON) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size <= most else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _unreadable(f"{path.name} is damaged", uri)
    return found


def _absent(uri: str) -> StageFailure:
    return StageFailure("InputNotFound", f"{FIELD}: there is no folder {uri}")


def _unreadable(why: str, where: str | Path) -> StageFailure:
    return StageFailure("InputUnreadable", f"{FIELD}: {where} is no model to go on from: {why}")
