"""What a model folder holds, looked at from outside: without torch, whoever wrote it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from ..base.text import size_in_words
from ..base.within import is_within

PROGRAM = "model.pt2"
ONNX = "model.onnx"
PREDICTIONS = "predictions.parquet"
WEIGHTS = "model.safetensors"
_JSON_BYTES = 2**24  # of a config, which has a few thousand; the file may be larger than its disk
INDEX = "model.safetensors.index.json"  # of weights in several files
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"  # of a language model
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
ADAPTER = "adapter_config.json"  # of a model that lies elsewhere
VARIANTS = "variants"  # a folder of folders: a built-in model in other forms
HISTORY = "history.json"  # the losses of each epoch of built-in training
# What tells our config.json from that of other libraries, Hugging Face's above all.
FORMAT: Literal["trainingjob.dev/model"] = "trainingjob.dev/model"
# Ours before it had that mark.
_UNMARKED = {"version", "task", "label", "features", "mlp"}

Kind = Literal["program", "onnx", "builtIn", "predictions", "textClassifier", "transformer"]
TEXT_CLASSIFIER: Literal["textClassifier"] = "textClassifier"
# Models that own code leaves, by what they are, in the order in which they are looked for.
OF_OWN_CODE: dict[Kind, str] = {"program": PROGRAM, "onnx": ONNX}
# All that can be run, on any rows.
RUNNABLE: tuple[Kind, ...] = (*OF_OWN_CODE, "builtIn")

# By suffix: files that hold a model of some library.
PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".tar")
OF_LIBRARIES = (
    *(".safetensors", ".onnx", ".h5", ".hdf5", ".keras", ".pb", ".tflite", ".gguf", ".npz", ".npy"),
    *(".ubj", ".cbm", ".distcp", ".index", ".msgpack"),
)
_MODELS = (*PICKLED, *OF_LIBRARIES, ".pt2", ".parquet")
# What people look at afterwards: TensorBoard's logs, by name; by folder those of Lightning, and of
# trackers that have no server.
_EVENTS = "events.out.tfevents."
_RECORDS = ("lightning_logs", "mlruns", "wandb")
# A folder of caches may be large; what is looked for is not deep in one.
_MOST_ENTRIES = 20_000
_SHOWN = 3


class Vocabulary(Protocol):
    """The tokens that a model learns from, as the dataset's manifest tells them."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def end_of_text(self) -> str: ...
    @property
    def sequence_length(self) -> int: ...


class Words(NamedTuple):
    """The files of a dataset that go with its model: the tokenizer, and a chat template."""

    tokenizer: Path
    template: Path | None = None


@dataclass(frozen=True)
class File:
    """A regular file with something in it; ``path`` is relative to the folder looked at."""

    path: Path
    size: int
    written: int  # its mtime, in ns

    @property
    def is_model(self) -> bool:
        """Whether its name is one that models have."""
        return self.path.suffix.lower() in _MODELS

    @property
    def is_record(self) -> bool:
        """Whether it tells how a training went, as TensorBoard and its like read it."""
        return self.path.name.startswith(_EVENTS) or self.path.parts[0] in _RECORDS


def find(folder: Path) -> Kind | None:
    """What the evaluation judges; None when there is nothing that it can.

    In order of precedence: what can be run on the test split is believed before what somebody says
    about it, a program before a built-in model because only user code leaves one.
    """
    for kind, name in OF_OWN_CODE.items():
        if is_there(folder, name):
            return kind
    weights = is_there(folder, WEIGHTS)
    ours = _is_ours(folder / CONFIG) if is_there(folder, CONFIG) else False
    if weights and ours:
        return "builtIn"
    if is_there(folder, PREDICTIONS):
        return "predictions"
    if _has_text_classifier(folder):
        return TEXT_CLASSIFIER
    # Damaged, and then perhaps ours: loading it will tell.
    return "builtIn" if weights and ours is None else None


def has_transformer(folder: Path) -> bool:
    """Whether there is a language model, as Hugging Face's save_pretrained leaves one."""
    config = _config(folder)
    return has_weights(folder) and isinstance(config.get("model_type"), str)


def has_weights(folder: Path) -> bool:
    """Whether there are safetensors, in one file or in several."""
    return any(is_there(folder, name) for name in (WEIGHTS, INDEX))


def architecture(folder: Path) -> str | None:
    """What Hugging Face's config.json calls the model's class; None without such a file."""
    config = _config(folder)
    found = config.get("architectures") or config.get("model_type")
    name = found[0] if isinstance(found, list) else found
    return name if isinstance(name, str) and "format" not in config else None


def is_classifier(architecture: str) -> bool:
    """Whether it takes a text, and gives a value of each of its labels."""
    return architecture.endswith("ForSequenceClassification")


def _has_text_classifier(folder: Path) -> bool:
    """Of which nothing lies elsewhere."""
    whole = has_weights(folder) and is_there(folder, TOKENIZER) and not is_there(folder, ADAPTER)
    return whole and is_classifier(architecture(folder) or "")


def _config(folder: Path) -> dict[str, Any]:
    found = json_of(folder / CONFIG) if is_there(folder, CONFIG) else None
    return found if isinstance(found, dict) else {}


def no_transformer(folder: Path) -> str:
    """The message about a folder without one."""
    found = files(folder)
    if not found:
        return f"there is no model in {folder}{links_out(folder)}"
    why = f"there is no {CONFIG} with {WEIGHTS} beside it, as save_pretrained leaves them"
    if any(file.path.suffix.lower() in PICKLED for file in found):
        why = "weights that are read by unpickling could run any code: save them as safetensors"
    return f"{in_words(found)} in {folder} is no language model: {why}{links_out(folder)}"


def is_there(folder: Path, name: str) -> bool:
    """Whether it is a file of the folder, and not a link out of it: that leads nowhere once the
    pod is gone."""
    return (folder / name).is_file() and is_within(folder / name, folder)


def files(folder: Path, depth: int = 100) -> list[File]:
    """The files below ``folder`` that are neither hidden nor empty, in the order of their paths.

    Links are not followed; at most 20 000 entries are looked at. Folders that cannot be read are
    passed over.
    """
    return sorted(_walk(folder, depth), key=lambda file: file.path)


def in_words(found: Sequence[File]) -> str:
    """``model.pt (3.1 MB), log.txt (2 kB) and 4 more``: models first, then the larger ones."""
    first = sorted(found, key=lambda file: (not file.is_model, -file.size, file.path))
    words = [f"{file.path} ({size_in_words(file.size)})" for file in first[:_SHOWN]]
    more = len(first) - _SHOWN
    return f"{', '.join(words)} and {more} more" if more > 0 else " and ".join(words)


def nothing_left(folder: Path) -> str:
    """The message about a folder in which ``files`` finds nothing."""
    return f"the training code ended well and left nothing in {folder}{links_out(folder)}"


def links_out(folder: Path) -> str:
    """A remark about links that lead out of the folder; "" without any."""
    try:
        links = sorted(path.name for path in folder.iterdir() if path.is_symlink())
    except OSError:
        return ""
    out = [name for name in links if not is_there(folder, name)]
    return f" ({out[0]} is a link out of it: copy the file itself)" if out else ""


def _is_ours(path: Path) -> bool | None:
    """Whether this is the config of a built-in model; None when it cannot be told."""
    config = json_of(path)
    if config is None:
        return None
    if not isinstance(config, dict):
        return False
    return config.get("format") == FORMAT if "format" in config else config.keys() >= _UNMARKED


def json_of(path: Path) -> Any:
    """What is in the file; None unless it is JSON, no larger than any config. Raises OSError."""
    if path.stat().st_size > _JSON_BYTES:
        return None
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def _walk(folder: Path, depth: int) -> Iterator[File]:
    entries = 0
    waiting = [(folder, Path(), depth)]
    while waiting:
        place, relative, left = waiting.pop()
        try:
            with os.scandir(place) as found:
                for entry in found:
                    entries += 1
                    if entries > _MOST_ENTRIES:
                        return
                    if entry.name.startswith(".") or entry.name == "__pycache__":
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if left > 1:
                            waiting.append((Path(entry.path), relative / entry.name, left - 1))
                    elif entry.is_file(follow_symlinks=False):
                        about = entry.stat(follow_symlinks=False)
                        if about.st_size:
                            yield File(relative / entry.name, about.st_size, about.st_mtime_ns)
        except OSError:
            continue
