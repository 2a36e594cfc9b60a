"""What training code leaves in the model folder, looked at without torch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from ..errors import StageFailure, storage_errors
from ..storage import digest_of, sha256

EXPORTED = "model.pt2"
PREDICTIONS = "predictions.parquet"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def digest_of_folder(folder: Path) -> str:
    """sha256 over the names and sha256 of all files below ``folder``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of({path.relative_to(folder).as_posix(): sha256(path) for path in files})


def check_model(folder: Path) -> None:
    """Raise ModelMissing or ModelCorrupt unless evaluation can begin on what lies in ``folder``.

    A look at the outside: evaluation itself loads it.
    """
    checks = {
        EXPORTED: zipfile.is_zipfile,
        PREDICTIONS: _is_parquet,
        WEIGHTS: _is_safetensors,
        CONFIG: _is_json,
    }
    found = [name for name in checks if (folder / name).is_file()]
    if not {EXPORTED, PREDICTIONS} & set(found) and not {WEIGHTS, CONFIG} <= set(found):
        raise StageFailure("ModelMissing", f"the training code left no model in {folder}")
    with storage_errors("read the model"):
        for name in found:
            if not checks[name](folder / name):
                reason = "PredictionsInvalid" if name == PREDICTIONS else "ModelCorrupt"
                raise StageFailure(reason, f"{folder / name} is damaged")


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
        if length > size - 8:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name[0] != "_"]
        except (ValueError, AttributeError, LookupError, TypeError):
            return False
    return size == 8 + length + max(ends, default=0)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
