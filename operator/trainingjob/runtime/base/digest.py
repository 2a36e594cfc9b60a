"""Digests: ``sha256:<hex>`` of files, folders and JSON values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .within import files_in


def sha256(path: Path) -> str:
    """``sha256:<hex>`` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_text(text: str) -> str:
    """``sha256:<hex>`` of a text's UTF-8."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def digest_of(value: Any) -> str:
    """``sha256:<hex>`` of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_of_text(text)


def digest_of_folder(folder: Path, but: str = "") -> str:
    """sha256 over the names and sha256 of all files in ``folder``, ``but`` for one of them."""
    return digest_of({name: sha256(folder / name) for name in files_in(folder) if name != but})
