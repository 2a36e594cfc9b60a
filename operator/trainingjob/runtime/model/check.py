"""What training code leaves in the model folder, looked at without torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.errors import StageFailure, storage_errors
from .folder import (
    CONFIG,
    ONNX,
    PREDICTIONS,
    PROGRAM,
    WEIGHTS,
    Kind,
    find,
    has_transformer,
    no_transformer,
)
from .unjudged import nothing_to_judge


def require(folder: Path, *, texts: bool = False) -> Kind:
    """What there is to judge in ``folder``, of ``texts`` a language model.

    Raises StageFailure(ModelMissing)."""
    if texts:
        if not has_transformer(folder):
            raise StageFailure("ModelMissing", no_transformer(folder))
        return "transformer"
    kind = find(folder)
    if kind is None:
        raise StageFailure("ModelMissing", nothing_to_judge(folder))
    return kind


def check_model(folder: Path, *, texts: bool = False) -> None:
    """Raise ModelMissing, ModelCorrupt or PredictionsInvalid unless evaluation can begin on what
    lies in ``folder``.

    A look at the outside: evaluation itself loads it.
    """
    with storage_errors("read the model"):
        require(folder, texts=texts)
        for name, (is_whole, reason) in _CHECKS.items():
            path = folder / name
            if path.is_file() and not is_whole(path):
                words = f"{path} is damaged: it is cut short, or no {_KINDS[name]}"
                raise StageFailure(reason, words)


# Of a file of protobuf, which knows no other: how many bytes a value of this type has, None where
# its length comes before it.
_FIXED = {1: 8, 2: None, 5: 4}
_GRAPH, _OPERATORS = 7, 8  # of ModelProto, which has neither without the other
_MOST_FIELDS = 100_000


def _is_onnx(path: Path) -> bool:
    """Whether the fields of the file, of which the graph is one, end where it ends. What is in the
    graph nobody looks at: that takes a process of its own."""
    size = path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as file:
        for _ in range(_MOST_FIELDS):
            if file.tell() == size:
                return {_GRAPH, _OPERATORS} <= seen
            tag = _varint(file)
            if tag is None or tag >> 3 == 0:
                return False
            seen.add(tag >> 3)
            if tag & 7 == 0:
                if _varint(file) is None:
                    return False
                continue
            length = _FIXED.get(tag & 7, -1)
            if length is None:
                length = _varint(file)
            if length is None or length < 0 or file.tell() + length > size:
                return False
            file.seek(length, 1)
    return False


def _varint(file: BinaryIO) -> int | None:
    """None at the end of the file, and for what is none.
    https://protobuf.dev/programming-guides/encoding/"""
    value = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return value
    return None


# What safetensors itself takes for a header. A file may be larger than the disk that it is on.
_HEADER_BYTES = 100_000_000


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(0, path.stat().st_size - 4))
        return head == file.read(4) == b"PAR1" and path.stat().st_size > 12


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, a JSON header of that length, the data that it describes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _HEADER_BYTES):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name[0] != "_"]
        except (ValueError, AttributeError, LookupError, TypeError):
            return False
    return size == 8 + length + max(ends, default=0)


def _is_json(path: Path) -> bool:
    if path.stat().st_size > _HEADER_BYTES:
        return False
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


_CHECKS: dict[str, tuple[Callable[[Path], bool], ReasonName]] = {
    PROGRAM: (zipfile.is_zipfile, "ModelCorrupt"),
    ONNX: (_is_onnx, "ModelCorrupt"),
    PREDICTIONS: (_is_parquet, "PredictionsInvalid"),
    WEIGHTS: (_is_safetensors, "ModelCorrupt"),
    CONFIG: (_is_json, "ModelCorrupt"),
}
_KINDS = {
    PROGRAM: "archive of torch.export.save",
    ONNX: "ONNX",
    PREDICTIONS: "parquet",
    WEIGHTS: "safetensors",
    CONFIG: "JSON",
}
