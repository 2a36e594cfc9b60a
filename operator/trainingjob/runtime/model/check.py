"""What training code leaves in the model folder, looked at without torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from trainingjob.api.v1alpha1.reasons import ReasonName

from ..base.errors import StageFailure, storage_errors
from .folder import (
    CONFIG,
    PREDICTIONS,
    PROGRAM,
    WEIGHTS,
    Kind,
    find,
    has_transformer,
    no_transformer,
    nothing_to_judge,
)


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
                raise StageFailure(reason, f"{path} is damaged")


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
    PREDICTIONS: (_is_parquet, "PredictionsInvalid"),
    WEIGHTS: (_is_safetensors, "ModelCorrupt"),
    CONFIG: (_is_json, "ModelCorrupt"),
}
