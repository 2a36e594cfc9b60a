"""Where artefacts lie, and how they are written: aside, then renamed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainingjob.api.payload import CLAIMS_DIR

from . import s3
from .base.errors import StageFailure


def resolve(uri: str) -> Path:
    """The path of a ``pvc://CLAIM/path`` or ``file:///path`` URI in this pod; of ``s3://BUCKET/key``
    that of the pod's copy, which ``fetch`` makes.

    Raises StageFailure(StorageUnavailable) when the claim is not mounted here.
    """
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    if uri.startswith(s3.SCHEME):
        return s3.place(uri)
    claim, _, rest = uri.removeprefix("pvc://").partition("/")
    mounted = Path(os.environ.get(CLAIMS_DIR, "/mnt/claims")) / claim
    if not mounted.is_dir():
        raise StageFailure("StorageUnavailable", f"claim {claim} of {uri} is not mounted")
    return mounted / rest


def fetch(uri: str) -> Path:
    """As ``resolve``, for reading: what lies in S3 is brought first. Raises StageFailure."""
    return s3.download(uri) if uri.startswith(s3.SCHEME) else resolve(uri)


def store(path: Path) -> None:
    """A folder or file was written in its place: where that is a copy, bring it to S3."""
    if s3.is_copy(path):
        s3.upload(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, also from S3. Raises OSError, StageFailure."""
    if s3.is_copy(path):
        s3.remove(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def write_aside(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that replaces it when the block succeeds.

    Readers see the old folder or the new one, never half of one. What an earlier writer that
    died has left behind is removed first.
    """
    aside = target.parent / f".{target.name}.writing"
    old = target.parent / f".{target.name}.old"
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        sync_tree(aside)
        if target.exists():
            target.rename(old)
        aside.rename(target)
        sync_file(target.parent)
        store(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_file(target: Path, text: str) -> None:
    """A file that replaces ``target``, whoever else writes it at the same time.

    Raises OSError, StageFailure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        aside.write_text(text, encoding="utf-8")
        sync_file(aside)
        aside.replace(target)
        sync_file(target.parent)
        store(target)
    finally:
        aside.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Bring every file below ``folder`` to the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync_file(Path(root) / name)
        sync_file(Path(root))


def sync_file(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
